# SPDX-License-Identifier: MPL-2.0
"""What two failover servers say to each other: a tap on the link, and the rules that a server has to keep to lest it
breaks an ISC dhcpd as its partner.

Numbers in the texts of the rules are those of the list that is the docstring of test_dhcpd.py.
"""
import collections
import dataclasses
import math
import os
import select
import socket
import struct
import threading
import time

from client import ETH_P_ALL, PACKET_OUTGOING
from packet import ip_text
from partner import (ADDRESS, BNDACK, BNDUPD, CONNECT, CONNECTACK, CONTACT, DISCONNECT, HBA, HEADER,
                     INTERRUPTED, MAX_UNACKED, MCLT, NAME, NORMAL, PARTNER_DOWN, POOLREQ, POOLRESP, PORT, RECEIVE_TIMER,
                     RECOVER, RECOVER_DONE, REJECT, SERVER_FLAGS, SERVER_STATE, STATE, STATUS, UPDDONE, UPDREQ, UPDREQALL)
from process import wait_until
from testbed import LINK_ADDRESSES

KINDS = {POOLREQ: "POOLREQ", POOLRESP: "POOLRESP", BNDUPD: "BNDUPD", BNDACK: "BNDACK", CONNECT: "CONNECT",
         CONNECTACK: "CONNECTACK", UPDREQALL: "UPDREQALL", UPDDONE: "UPDDONE", UPDREQ: "UPDREQ", STATE: "STATE",
         CONTACT: "CONTACT", DISCONNECT: "DISCONNECT"}
DDNS, IP_FLAGS = 9, 12
POTENTIAL_CONFLICT, PAUSED, SHUTDOWN, RESOLUTION_INTERRUPTED, CONFLICT_DONE, RECOVER_WAIT = 5, 7, 8, 10, 11, 254
STATES = {NORMAL: "normal", INTERRUPTED: "communications-interrupted", PARTNER_DOWN: "partner-down",
          POTENTIAL_CONFLICT: "potential-conflict", RECOVER: "recover", PAUSED: "paused", SHUTDOWN: "shutdown",
          RECOVER_DONE: "recover-done", RESOLUTION_INTERRUPTED: "resolution-interrupted",
          CONFLICT_DONE: "conflict-done", RECOVER_WAIT: "recover-wait"}
STATUSES = {1: "FREE", 2: "ACTIVE", 3: "EXPIRED", 4: "RELEASED", 5: "ABANDONED", 6: "RESET", 7: "BACKUP"}
STARTUP_FLAG = 1
FIN, SYN, RST = 1, 2, 4
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35     # as in asm-generic/socket.h
TIMESPEC = struct.Struct("@ll")


@dataclasses.dataclass
class Said:
    """One failover message, as it arrived at the other host. `link` is the connection: the addresses and ports of both
    ends, the dialler's first."""
    at: float               # monotonic
    speaker: str            # host
    link: tuple
    kind: int
    offset: int             # of the first option
    xid: int
    options: list           # (code, data)

    def option(self, code):
        return dict(self.options).get(code)

    def number(self, code):
        data = self.option(code)
        return None if data is None else int.from_bytes(data, "big")

    @property
    def address(self):
        data = self.option(ADDRESS)
        return data and ip_text(data)

    @property
    def status(self):
        return STATUSES.get(self.number(STATUS))

    @property
    def state(self):
        return STATES.get(self.number(SERVER_STATE), self.number(SERVER_STATE))

    def __str__(self):
        words = [f"{self.at:10.3f} {self.speaker} {KINDS.get(self.kind, self.kind)} {self.xid}"]
        if self.kind == STATE:
            words += [str(self.state), "startup" if self.number(SERVER_FLAGS) else ""]
        words += [word for word in (self.address, self.status) if word]
        if self.option(REJECT):
            words.append(f"rejected {self.number(REJECT)}")
        return " ".join(words)


def decoded(at, speaker, link, data):
    """(messages, the bytes that are left)"""
    messages = []
    while len(data) >= HEADER.size and len(data) >= struct.unpack("!H", data[:2])[0]:
        length, kind, offset, _, xid = HEADER.unpack(data[:HEADER.size])
        options, place = [], offset
        while place < length:
            code, size = struct.unpack("!HH", data[place:place + 4])
            options.append((code, data[place + 4:place + 4 + size]))
            place += 4 + size
        messages.append(Said(at, speaker, link, kind, offset, xid, options))
        data = data[length:]
    return messages, data


class Stream:
    """One direction of a TCP connection."""

    def __init__(self, sequence):
        self.next = sequence
        self.later = {}         # came before its turn
        self.data = b""

    def take(self, sequence, payload):
        self.later[sequence] = max(self.later.get(sequence, b""), payload, key=len)
        progress = True
        while progress:
            progress = False
            for start in list(self.later):
                known = (self.next - start) & 0xffffffff
                if known < 1 << 31:
                    new = self.later.pop(start)[known:]
                    self.data += new
                    self.next = (self.next + len(new)) & 0xffffffff
                    progress = progress or bool(new)


def arrived(listener):
    """What has come to this end of the link and waits to be read: (time in ns, frame)."""
    while True:
        try:
            frame, ancillary, _, (_, _, kind, _, _) = listener.recvmsg(1 << 17, socket.CMSG_SPACE(TIMESPEC.size))
        except BlockingIOError:
            return
        seconds, rest = TIMESPEC.unpack(ancillary[0][2])
        if kind != PACKET_OUTGOING:
            yield seconds * 1_000_000_000 + rest, frame


class Conversation:
    """Listens on both ends of the link; what a cut keeps from an end isn't in here. Whoever looks at it sees all that
    had arrived before it looked. A context manager."""

    def __init__(self, bed):
        self._messages = []
        self._attempts = []
        self._streams = {}
        self._dialler = {}          # {the two ends as a set: the dialler's end}
        self._sockets = []
        for name in LINK_ADDRESSES:
            with bed.hosts[name].namespace.entered():
                listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
                listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 22)
                listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                listener.setblocking(False)
                listener.bind(("eth1", ETH_P_ALL))
            self._sockets.append(listener)
        self._closed = False
        self._wake = os.eventfd(0)
        self._progress = threading.Condition()
        self._taken_until = 0       # what had arrived then, in ns
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._catch_up()
        self._closed = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)
        for listener in self._sockets:
            listener.close()

    def _catch_up(self):
        now = time.time_ns()
        if self._thread.is_alive() and not self._closed:
            os.eventfd_write(self._wake, 1)
            with self._progress:
                self._progress.wait_for(lambda: self._taken_until >= now)

    def _receive(self):
        try:
            frames = []
            while not self._closed:
                ready, _, _ = select.select([*self._sockets, self._wake], [], [], 0 if frames else None)
                if self._wake in ready:
                    os.eventfd_read(self._wake)
                self._read(frames)
        except OSError:
            pass                    # the test bed is gone
        finally:
            self._reached(math.inf)

    def _read(self, frames):
        """Takes the frames of both ends in the order of their arrival. Those that came after the reading began wait for the
        next one in `frames`: what they answer may have come to the other end when that had been read."""
        begun = time.time_ns()
        for listener in self._sockets:
            frames.extend(arrived(listener))
        frames.sort(key=lambda arrival: arrival[0])
        since = time.monotonic_ns() - time.time_ns()
        while frames and frames[0][0] <= begun:
            at, frame = frames.pop(0)
            self._take((at + since) / 1e9, frame)
        self._reached(begun)

    def _reached(self, time_ns):
        with self._progress:
            self._taken_until = time_ns
            self._progress.notify_all()

    def _take(self, at, frame):
        if frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or frame[23] != socket.IPPROTO_TCP:
            return
        tcp = 14 + (frame[14] & 15) * 4
        source_port, target_port, sequence = struct.unpack("!HHI", frame[tcp:tcp + 8])
        if PORT not in (source_port, target_port):
            return
        flags = frame[tcp + 13]
        payload = frame[tcp + (frame[tcp + 12] >> 4) * 4:14 + struct.unpack("!H", frame[16:18])[0]]
        source, target = (ip_text(frame[26:30]), source_port), (ip_text(frame[30:34]), target_port)
        speaker = next((name for name, address in LINK_ADDRESSES.items() if address == source[0]), None)
        if flags & SYN:
            self._streams[source, target] = Stream((sequence + 1) & 0xffffffff)
            self._dialler.setdefault(frozenset((source, target)), source)
            if target_port == PORT:
                self._attempts.append((at, speaker))
        elif payload and (source, target) in self._streams:
            stream = self._streams[source, target]
            stream.take(sequence, payload)
            dialler = self._dialler[frozenset((source, target))]
            messages, stream.data = decoded(at, speaker, (dialler, target if dialler == source else source), stream.data)
            self._messages.extend(messages)

    # --- what was said --------------------------------------------------------------------------------------------

    @property
    def messages(self):
        self._catch_up()
        return list(self._messages)

    @property
    def attempts(self):
        """(monotonic time, host that dialled), at each connection that was opened or refused."""
        self._catch_up()
        return list(self._attempts)

    def mark(self):
        """For `since`."""
        return len(self.messages)

    def all(self, kind=None, speaker=None, since=0, address=None, status=None, state=None,
            rejected=None):
        """The messages of this kind by this server (a Daemon), and so on; None: any."""
        return [said for said in self.messages[since:]
                if kind in (None, said.kind) and (speaker is None or speaker.host.name == said.speaker)
                and address in (None, said.address) and status in (None, said.status) and state in (None, said.state)
                and rejected in (None, said.number(REJECT))]

    def wait(self, kind, speaker=None, timeout=10, **fields):
        """The first such message."""
        wait_until(lambda: self.all(kind, speaker, **fields), timeout,
                   lambda: f"{KINDS[kind]} of {speaker} {fields}; there was\n{self.text()}")
        return self.all(kind, speaker, **fields)[0]

    def unanswered(self):
        """The updates of the last connection that await their BNDACK."""
        messages, waiting = self.messages, {}
        linked = [said.link for said in messages if said.kind == CONNECTACK]
        for said in messages:
            if linked and said.link == linked[-1] and said.kind == BNDUPD:
                waiting[said.speaker, said.xid] = said
            elif linked and said.link == linked[-1] and said.kind == BNDACK:
                waiting.pop((next(name for name in LINK_ADDRESSES if name != said.speaker), said.xid), None)
        return list(waiting.values())

    def states(self, speaker, since=0):
        """The states that it showed, each once in a row."""
        shown = [said.state for said in self.all(STATE, speaker, since)]
        return [state for before, state in zip([None, *shown], shown) if state != before]

    def text(self, last=40):
        return "\n".join(map(str, self.messages[-last:]))


# --- what breaks a dhcpd ---------------------------------------------------------------------------------------------

def check_words(said):
    """Each message by itself: 1, 2, 5, 15."""
    codes = [code for code, _ in said.options]
    if said.offset != HEADER.size:
        yield f"1: payload offset {said.offset}"
    if len(codes) != len(set(codes)):
        yield f"1: an option is repeated, {codes}"
    if DDNS in codes:
        yield "1: DDNS option"
    if said.option(IP_FLAGS) is not None and len(said.option(IP_FLAGS)) != 2:
        yield "1: length of IP-flags"
    if b"\0" in (said.option(NAME) or b""):
        yield "1: NUL in the name"
    if said.kind == BNDUPD and not said.status:
        yield f"1, 28: binding-status {said.number(STATUS)}"
    if said.kind == STATE and said.number(SERVER_STATE) not in STATES:
        yield f"1: server-state {said.number(SERVER_STATE)}"
    if said.kind in (CONNECT, CONNECTACK) and REJECT not in codes:
        if not said.number(MAX_UNACKED):
            yield "2: max-unacked-bndupd"
        if (said.number(RECEIVE_TIMER) or 0) < 9:
            yield "2: receive-timer"
    if said.kind == CONNECT and (said.xid != 0 or len(said.option(HBA) or b"") != 32 or not said.number(MCLT)):
        yield "5: CONNECT"
    if said.kind == BNDUPD and said.xid == 0:
        yield "8: BNDUPD with xid 0"
    if said.kind == BNDACK and REJECT not in codes and codes != [ADDRESS]:
        yield f"15: accepting BNDACK with options {codes}"


def check_answers(link, ours):
    """One connection: 5, 6, 8, 13."""
    unanswered, requests, spoken = {}, [], False
    for said in link:
        if said.speaker != ours:
            spoken = spoken or said.kind == CONNECT
            if said.kind == BNDUPD:
                unanswered[said.xid] = said.address
            if said.kind in (CONNECT, POOLREQ, UPDREQ, UPDREQALL):
                requests.append((said.kind, said.xid))
            continue
        if not spoken and said.kind not in (CONNECT, DISCONNECT):
            yield f"5, 6: {said} before CONNECT"
        spoken = True
        if said.kind == BNDACK and unanswered.pop(said.xid, None) != said.address:
            yield f"8: {said} answers nothing, or not that address"
        for answer, questions in (CONNECTACK, [CONNECT]), (POOLRESP, [POOLREQ]), (UPDDONE, [UPDREQ, UPDREQALL]):
            if said.kind == answer and not any((question, said.xid) in requests for question in questions):
                yield f"8: {said} answers nothing"
    updates = [said for said in link if said.speaker == ours and said.kind == BNDUPD]
    numbers = [said.xid for said in updates]
    if len(numbers) != len(set(numbers)):
        yield f"8: BNDUPDs with one and the same xid, {numbers}"


def check_states(link, ours):
    """One connection: what must not be shown to a dhcpd in these states; 11, 28."""
    theirs, first = None, True
    for said in link:
        if said.kind != STATE:
            continue
        if said.speaker != ours:
            theirs = said.state
            continue
        if first and said.state == "normal" and theirs not in ("normal", "communications-interrupted"):
            yield f"11: {said}, the first state of a connection"
        first = False
        if theirs == "normal" and said.state in ("potential-conflict", "resolution-interrupted", "conflict-done"):
            yield f"11: {said} to a dhcpd in normal, which shuts it down"
        if theirs == "conflict-done" and said.state not in ("normal", "potential-conflict", "resolution-interrupted"):
            yield f"11, 28: {said} to a dhcpd in conflict-done, which kills it"
        if theirs == "potential-conflict" and said.state == "normal":
            yield f"11: {said} to a dhcpd in potential-conflict, which shuts it down"


def violations(messages, ours):
    """What this host said that it must not say to a dhcpd: lines."""
    links = collections.defaultdict(list)
    for said in messages:
        links[said.link].append(said)
    found = [f"{problem} ({said})" for said in messages if said.speaker == ours for problem in check_words(said)]
    for link in links.values():
        found += [*check_answers(link, ours), *check_states(link, ours)]
    return found
