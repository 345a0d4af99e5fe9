# SPDX-License-Identifier: MPL-2.0
"""A scripted failover partner: says to a server what a test wants it to say, true or not."""
import contextlib
import select
import socket
import struct
import threading
import time

from hook import pair_config, wait_states
from packet import ip_bytes, ip_text, mac_bytes
from process import wait_until
from testbed import LINK_ADDRESSES

PORT = 647
HEADER = struct.Struct("!HBBII")        # length, type, payload offset, time, xid

(POOLREQ, POOLRESP, BNDUPD, BNDACK, CONNECT, CONNECTACK, UPDREQALL, UPDDONE, UPDREQ, STATE, CONTACT,
 DISCONNECT) = range(1, 13)

# Option codes
ADDRESSES_TRANSFERRED, ADDRESS, STATUS, CLIENT_ID, HARDWARE, CLTT = 1, 2, 3, 4, 5, 6
HBA, END, MAX_UNACKED, MCLT, TEXT, POTENTIAL_END, RECEIVE_TIMER, VERSION = 11, 13, 14, 15, 16, 18, 19, 20
REJECT, NAME, SERVER_FLAGS, SERVER_STATE, STARTS, VENDOR_CLASS = 21, 22, 23, 24, 25, 28

FREE, ACTIVE, EXPIRED, RELEASED, ABANDONED, RESET, BACKUP = range(1, 8)
NORMAL, INTERRUPTED, PARTNER_DOWN, RECOVER, RECOVER_DONE = 2, 3, 4, 6, 9


def u8(value):
    return struct.pack("!B", value)


def u32(value):
    return struct.pack("!I", value & 0xffffffff)


class Message:
    """Options are {code: bytes}; what is wrong with a message is wrong because a test wants it so."""

    def __init__(self, kind, xid=0, options=None, at=None):
        self.type = kind
        self.xid = xid
        self.options = options or {}
        self.time = int(time.time()) if at is None else at

    def encode(self):
        options = b"".join(struct.pack("!HH", code, len(data)) + data for code, data in self.options.items())
        return HEADER.pack(HEADER.size + len(options), self.type, HEADER.size, self.time & 0xffffffff, self.xid) + options

    @classmethod
    def decode(cls, data):
        """The first message of the bytes and the rest; None if it isn't whole."""
        if len(data) < HEADER.size or len(data) < struct.unpack("!H", data[:2])[0]:
            return None, data
        length, kind, at, sent, xid = HEADER.unpack(data[:HEADER.size])
        options = {}
        while at < length:
            code, size = struct.unpack("!HH", data[at:at + 4])
            options[code] = data[at + 4:at + 4 + size]
            at += 4 + size
        return cls(kind, xid, options, sent), data[length:]

    def number(self, code):
        return int.from_bytes(self.options[code], "big") if code in self.options else None

    @property
    def address(self):
        return ip_text(self.options[ADDRESS]) if ADDRESS in self.options else None

    def __repr__(self):
        return f"<message {self.type}, xid {self.xid}, {self.options}>"


def update(address=None, status=None, mac=None, lifetime=None, xid=0, **options):
    """BNDUPD. lifetime: from now; options: more of them, as `cltt=...` for CLTT, each in bytes."""
    contents = {}
    now = int(time.time())
    if address is not None:
        contents[ADDRESS] = ip_bytes(address)
    if status is not None:
        contents[STATUS] = u8(status)
    if mac is not None:
        contents[HARDWARE] = b"\1" + mac_bytes(mac)
    if lifetime is not None:
        contents |= {END: u32(now + lifetime), POTENTIAL_END: u32(now + lifetime), CLTT: u32(now)}
    contents[STARTS] = u32(now)
    contents |= {globals()[name.upper()]: data for name, data in options.items()}
    return Message(BNDUPD, xid, {code: data for code, data in contents.items() if data is not None})


def dial(bed, host, server, source=None, port=PORT):
    """A bare connection to a server's failover port, from a host with an address on the link (or another source)."""
    connection = bed.hosts[host].namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(5)
    connection.bind((source or LINK_ADDRESSES[host], 0))
    connection.connect((LINK_ADDRESSES[server.host.name], port))
    return connection


def is_closed(connection, timeout=5):
    """Whether the other side closes the connection in this time; what it says before is left out."""
    connection.settimeout(timeout)
    try:
        while connection.recv(65536):
            pass
    except socket.timeout:
        return False
    except ConnectionError:
        pass
    return True


class Partner:
    """The partner of a running server, with the address of the host on which no other server may run.

    A thread reads what the server says and keeps it in `received`. It answers updates with BNDACK, requests for
    updates with UPDDONE (see `acks`, `answers`), and sends CONTACT every two seconds. While `reading` is false it
    takes nothing off the connection.
    """

    def __init__(self, bed, server, acks=True, answers=True, skew=0, **connect):
        """connect: changes to the options of CONNECT or CONNECTACK, as NAME=b"...", None leaves one out."""
        self.server = server
        self.primary = server.host.name == "srv2"       # of the two this one
        self.acks = acks
        self.answers = answers
        self.skew = skew
        self.received = []
        self.xid = 1000
        self.closed = False
        self._connect_changes = {globals()[name.upper()]: data for name, data in connect.items()}
        self._lock = threading.Lock()
        self.connection = dial(bed, "srv1" if self.primary else "srv2", server)
        self.connection.settimeout(None)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 10, 0))
        self.reading = True
        self.silent = False         # no CONTACT either
        self._next_contact = time.monotonic() + 2
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if self.primary:
            self.send(Message(CONNECT, 0, self.hello()))
        else:
            self._wait_for(CONNECT)
            self.send(Message(CONNECTACK, self.last(CONNECT).xid, self.hello()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def hello(self):
        options = {NAME: b"fo", MAX_UNACKED: u32(100), RECEIVE_TIMER: u32(9), VENDOR_CLASS: b"scripted", VERSION: u8(1)}
        if self.primary:
            options |= {27: u8(0), MCLT: u32(10), HBA: b"\xff" * 16 + b"\0" * 16}
        options |= self._connect_changes
        return {code: data for code, data in options.items() if data is not None}

    # --- what passes ---------------------------------------------------------------------------------------------

    def _read(self):
        data = b""
        while not self.closed:
            if time.monotonic() > self._next_contact and not self.silent:
                self._next_contact += 2
                self.send(Message(CONTACT, self.next_xid()))
            if not self.reading:
                time.sleep(0.01)
                continue
            try:
                if not select.select([self.connection], [], [], 0.2)[0]:
                    continue
                more = self.connection.recv(65536)
            except (OSError, ValueError):
                more = b""
            if not more:
                self.closed = True
                return
            data += more
            while True:
                message, data = Message.decode(data)
                if message is None:
                    break
                self._take(message)

    def _take(self, message):
        if message.type == BNDUPD and self.acks:
            self.send(Message(BNDACK, message.xid, {ADDRESS: message.options[ADDRESS]}))
        if message.type in (UPDREQ, UPDREQALL) and self.answers:
            self.send(Message(UPDDONE, message.xid))
        self.received.append(message)

    def next_xid(self):
        self.xid += 1
        return self.xid

    def send(self, *messages):
        self.send_raw(b"".join(self._encode(message) for message in messages))

    def _encode(self, message):
        message.time += self.skew
        return message.encode()

    def send_raw(self, data):
        with self._lock, contextlib.suppress(OSError):
            self.connection.sendall(data)

    def all(self, kind, xid=None, address=None):
        return [message for message in list(self.received) if message.type == kind and xid in (None, message.xid)
                and address in (None, message.address)]

    def last(self, kind, **fields):
        return self.all(kind, **fields)[-1]

    def _wait_for(self, kind, timeout=10, after=0, **fields):
        wait_until(lambda: len(self.all(kind, **fields)) > after, timeout,
                   lambda: f"a message {kind} {fields}; there were {self.received[-5:]}, closed: {self.closed}")
        return self.all(kind, **fields)[after]

    wait = _wait_for

    def wait_closed(self, timeout=10):
        wait_until(lambda: self.closed, timeout, f"{self.server} hangs up")

    # --- what it says -----------------------------------------------------------------------------------------------

    def state(self, state, since=None, flags=0):
        now = int(time.time()) + self.skew
        self.send(Message(STATE, self.next_xid(), {SERVER_STATE: u8(state), SERVER_FLAGS: u8(flags),
                                                   STARTS: u32(now if since is None else since)}))

    def to_normal(self):
        """First contact of two servers without a record, up to normal."""
        self.state(RECOVER)
        wait_until(lambda: any(message.number(SERVER_STATE) == RECOVER_DONE for message in self.all(STATE)), 10,
                   "the server is in recover-done")
        self.state(RECOVER_DONE)
        wait_until(lambda: any(message.number(SERVER_STATE) == NORMAL for message in self.all(STATE)), 10,
                   "the server is in normal")
        self.state(NORMAL)

    def update(self, message, timeout=10):
        """Sends a BNDUPD and returns the BNDACK."""
        message.xid = self.next_xid()
        self.send(message)
        return self._wait_for(BNDACK, timeout, xid=message.xid)

    def rejection(self, message):
        """The reject reason with which a BNDUPD is answered; None: accepted."""
        return self.update(message).number(REJECT)

    def close(self):
        self.closed = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.connection.close()


@contextlib.contextmanager
def scripted_primary(bed, library, parameters=None, acks=True, share=(), **options):
    """A secondary in normal and its scripted partner, who has given it these addresses; arguments as for
    pair_config()."""
    server, = bed.start_all(bed.kea("srv2", pair_config(bed, library, parameters, **options)))
    with Partner(bed, server, acks=acks) as partner:
        partner.to_normal()
        wait_states("normal", server)
        for address in share:
            assert partner.rejection(update(address, BACKUP)) is None
        yield server, partner
