# SPDX-License-Identifier: MPL-2.0
"""A scripted DHCPv4 client: sends exactly the packets that a test asks for, and tells what came back.

Silence is an answer that tests must be able to prove. A client that hears nothing soon after it sent something sends
a marker to each server that should have heard it: a DISCOVER in a subnet of its own, which every server answers in
whatever failover state it is (kea.MARKER_SUBNET). A server works through its packets in order, so once the marker is
answered, nothing more will come for the packet before it. That takes milliseconds, and on a slow machine as long as
it must. Where a server answers no markers, the client listens for SILENCE seconds instead.
"""
import collections
import dataclasses
import os
import random
import select
import socket
import struct
import threading
import time

import packet
import process
from packet import Datagram, Message

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
ETH_P_ALL, PACKET_OUTGOING = 3, 4
EVERYBODY = "255.255.255.255"

QUICK = 0.2         # an answer usually comes within this time; after it, markers are sent
SILENCE = 0.7       # to listen where no marker helps
PATIENCE = 5        # the longest wait for the answer to a marker

DEFAULT_RELAY = "10.64.0.8"
MARKER_RELAY, MARKER_MAC = "10.79.255.9", "0e:00:00:00:00:01"


# --- what comes back -------------------------------------------------------------------------------------------

@dataclasses.dataclass
class Transmission:
    """A packet that was sent, and the servers that should have heard it."""
    message: Message
    frame: bytes
    audience: list

    @property
    def key(self):
        return self.message.xid, self.message.chaddr

    def __str__(self):
        return f"{packet.MESSAGE_NAMES[self.message.type]} of {self.message.chaddr}"


@dataclasses.dataclass
class Silence:
    """Nobody answered. False where a truth value is wanted."""
    sent: Transmission

    def __bool__(self):
        return False

    def __repr__(self):
        return f"<silence after {self.sent}>"


@dataclasses.dataclass(repr=False)
class Reply:
    """A server's answer. `at` is the wall clock's time when it came, `source` the address it came from."""
    sent: Transmission
    message: Message
    source: str
    at: float

    @property
    def address(self):
        return self.message.yiaddr

    @property
    def xid(self):
        return self.message.xid

    @property
    def server_id(self):
        return self.message.address_option(packet.SERVER_ID)

    @property
    def lifetime(self):
        return self.message.number_option(packet.LEASE_TIME)

    @property
    def t1(self):
        return self.message.number_option(packet.T1)

    @property
    def t2(self):
        return self.message.number_option(packet.T2)

    @property
    def ends(self):
        return self.at + self.lifetime

    def __repr__(self):
        return f"<{type(self).__name__} {self.address} for {self.lifetime} s by {self.server_id}, {self.sent}>"


class Offer(Reply):
    """DHCPOFFER"""


class Ack(Reply):
    """DHCPACK; it also is what the client then holds, its lease."""


class Nak(Reply):
    """DHCPNAK"""


# By what was sent: an OFFER that comes late is no answer to the REQUEST of the same transaction.
REPLIES = {packet.DISCOVER: {packet.OFFER: Offer}, packet.REQUEST: {packet.ACK: Ack, packet.NAK: Nak},
           packet.INFORM: {packet.ACK: Ack}}


# --- the wire --------------------------------------------------------------------------------------------------

class Wire:
    """The raw socket on the client host's interface that all clients of a test bed share.

    A thread sorts what comes in by transaction, and answers ARP requests for the addresses that clients and relays
    use (the kernel knows nothing of them).
    """

    def __init__(self, bed):
        self.bed = bed
        self.mac = bed.hosts["client"].mac
        self._owners = {}                                   # address -> MAC
        self._arrived = collections.defaultdict(list)       # (xid, chaddr) -> [(message, source, at)]
        self._news = threading.Condition()
        with bed.hosts["client"].namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._socket.bind(("eth0", ETH_P_ALL))
            index = socket.if_nametoindex("eth0")
        self._socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8x", index, PACKET_MR_PROMISC, 0))
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def close(self):
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)
        self._socket.close()

    def _receive(self):
        while True:
            ready, _, _ = select.select([self._socket, self._stop], [], [])
            if self._stop in ready:
                return
            frame, (_, _, kind, _, _) = self._socket.recvfrom(65536)
            if kind != PACKET_OUTGOING:
                self._take(frame)

    def _take(self, frame):
        asked = packet.arp_question(frame)
        if asked and asked[2] in self._owners:
            asker_mac, asker_address, address = asked
            self._socket.send(packet.arp_answer(self._owners[address], address, asker_mac, asker_address))
        datagram = Datagram.decode(frame)
        if not datagram or datagram.target_port not in (67, 68):
            return
        message = Message.decode(datagram.payload)
        if message and message.op == 2:
            with self._news:
                self._arrived[message.xid, message.chaddr].append((message, datagram.source, time.time()))
                self._news.notify_all()

    def own(self, address, mac):
        """From now on ARP finds `address` at `mac`."""
        self._owners[address] = mac

    def send(self, frame):
        self._socket.send(frame)

    def arrived(self, key):
        """[(message, source, time)] of a transaction so far."""
        with self._news:
            return list(self._arrived[key])

    def forget(self, key):
        with self._news:
            self._arrived.pop(key, None)

    def wait(self, predicate, timeout):
        """Until something came in that makes `predicate` true; returns whether it is."""
        with self._news:
            return self._news.wait_for(predicate, timeout)

    def settle(self, servers, enough=lambda: False):
        """Returns when these servers have worked through everything sent before, or earlier if enough() is true."""
        self._mark(servers, enough)
        threaded = [server for server in servers if not server.answers_in_order]
        if threaded and not enough():
            # One thread may still be at it although another one has answered a later packet. When all are at rest
            # its answer is under way, and will be here before that to a second marker.
            deadline = time.monotonic() + PATIENCE * process.slowness
            while not all(server.is_idle() for server in threaded) and time.monotonic() < deadline:
                time.sleep(0.001)
            self._mark(threaded, enough)

    def _mark(self, servers, enough):
        """Sends a marker to each of these servers, and again until all have answered or enough() is true."""
        waiting = {server.host.address: server for server in servers}
        marker = Message(xid=random.getrandbits(32), chaddr=MARKER_MAC, giaddr=MARKER_RELAY,
                         options={packet.MESSAGE_TYPE: bytes([packet.DISCOVER])})
        key = marker.xid, marker.chaddr
        self.own(MARKER_RELAY, self.mac)

        def settled():
            for _, source, _ in self._arrived[key]:
                waiting.pop(source, None)
            return enough() or not waiting

        deadline = time.monotonic() + PATIENCE * process.slowness
        while not self.wait(settled, 0) and time.monotonic() < deadline:
            for server in list(waiting.values()):
                self.send(Datagram(self.mac, server.host.mac, MARKER_RELAY, server.host.address, 67, 67,
                                   marker.encode()).encode())
            self.wait(settled, 0.5)


# --- the client ------------------------------------------------------------------------------------------------

class Client:
    """One client. It keeps no state between calls: the test hands in the offer or lease that a message is about.

    client_id  bytes, "mac" for 01 + MAC, or None for no option 61
    relay      an address (giaddr) if this client is behind a relay, True for a usual one
    options    {code: bytes} sent in every message

    In all methods `to` names the one server that hears the packet (as with a relay that knows one server only);
    normally all do. `timeout` replaces the markers by a time to listen.
    """

    def __init__(self, bed, mac, client_id=None, relay=None, options=None, broadcast_flag=False):
        self.bed = bed
        self.mac = mac
        self.client_id = b"\x01" + packet.mac_bytes(mac) if client_id == "mac" else client_id
        self.relay = DEFAULT_RELAY if relay is True else relay
        self.options = options or {}
        self.broadcast_flag = broadcast_flag

    def __repr__(self):
        return f"<client {self.mac}>"

    # --- sending and collecting ------------------------------------------------------------------------------

    def _audience(self, to):
        return [server for server in ([to] if to else self.bed.servers)
                if server.is_responsive() and server.host.name not in self.bed.lan.impaired]

    def _transmit(self, kind, to=None, unicast=False, xid=None, secs=0, ciaddr=None, requested=None, server_id=None,
                  options=None):
        """Sends a message; unicast: to the server's address and not through the relay, as a bound client does."""
        relay = None if unicast else self.relay
        contents = {packet.MESSAGE_TYPE: bytes([kind])}
        if self.client_id is not None:
            contents[packet.CLIENT_ID] = self.client_id
        if requested:
            contents[packet.REQUESTED_ADDRESS] = packet.ip_bytes(requested)
        if server_id:
            contents[packet.SERVER_ID] = packet.ip_bytes(server_id)
        contents[packet.PARAMETER_LIST] = bytes([packet.SUBNET_MASK, packet.LEASE_TIME, packet.T1, packet.T2])
        contents |= self.options | (options or {})
        message = Message(xid=random.getrandbits(32) if xid is None else xid, secs=secs, chaddr=self.mac,
                          flags=0x8000 if self.broadcast_flag else 0, ciaddr=ciaddr or "0.0.0.0",
                          giaddr=relay or "0.0.0.0", options=contents)
        if ciaddr:
            self.bed.wire.own(ciaddr, self.mac)
        if relay:
            self.bed.wire.own(relay, self.bed.wire.mac)
        frame = Datagram(source_mac=self.bed.wire.mac if relay else self.mac,
                         target_mac=to.host.mac if to else packet.BROADCAST_MAC,
                         source=relay or message.ciaddr,
                         target=to.host.address if to and (relay or unicast) else EVERYBODY,
                         source_port=67 if relay else 68, target_port=67, payload=message.encode()).encode()
        sent = Transmission(message, frame, self._audience(to))
        self._send(sent)
        return sent

    def _send(self, sent):
        self.bed.wire.forget(sent.key)
        self.bed.wire.send(sent.frame)

    def _collect(self, sent, expect, timeout):
        """The answers to a transmission; expect: how many are enough, None: one from each server that heard it."""
        wire = self.bed.wire
        kinds = REPLIES.get(sent.message.type, {})

        def answers():
            return [kinds[message.type](sent, message, source, at)
                    for message, source, at in wire.arrived(sent.key) if message.type in kinds]

        def unanswered():
            heard = {answer.source for answer in answers()}
            return [server for server in sent.audience if server.host.address not in heard]

        def enough():
            return not unanswered() if expect is None else len(answers()) >= expect

        if timeout is not None:
            wire.wait(enough, timeout)
        elif not all(server.answers_markers for server in sent.audience):
            wire.wait(enough, SILENCE * process.slowness)
        elif not wire.wait(enough, QUICK):
            wire.settle(unanswered(), enough)
        return answers()

    def request_raw(self, kind=packet.REQUEST, expect=1, timeout=None, **fields):
        """Any message at all; the list of answers. Fields: those of _transmit()."""
        return self._collect(self._transmit(kind, **fields), expect, timeout)

    def _first(self, sent, timeout):
        answers = self._collect(sent, 1, timeout)
        return answers[0] if answers else Silence(sent)

    # --- what clients do (RFC 2131) --------------------------------------------------------------------------

    def discover(self, secs=0, hint=None, to=None, expect=None, timeout=None, **fields):
        """The list of offers, by default of all servers that make one."""
        return self.request_raw(packet.DISCOVER, expect, timeout, secs=secs, requested=hint, to=to, **fields)

    def request(self, offer, to=None, timeout=None, **fields):
        """Takes an offer: the REQUEST of state SELECTING."""
        return self._first(self._transmit(packet.REQUEST, to=to, xid=offer.xid, secs=offer.sent.message.secs,
                                          requested=offer.address, server_id=offer.server_id, **fields), timeout)

    def dora(self, server=None, secs=0, hint=None, to=None):
        """Discover, offer, request, ack; the Ack. server: whose offer to take, else the first one."""
        offers = self.discover(secs, hint, to, expect=None if server else 1)
        taken = [offer for offer in offers if not server or offer.server_id == server.host.address]
        assert taken, f"{self} got no offer{f' of {server}' if server else ''} but {offers}"
        answer = self.request(taken[0], to)
        assert isinstance(answer, Ack), f"{self} took {taken[0]} and got {answer}"
        return answer

    def _server_of(self, lease):
        """The server with the address that the client remembers; of several that have been there, the one that runs."""
        there = [server for server in self.bed.servers if server.host.address == lease.server_id]
        assert there, f"no server has the address in {lease}"
        return max(there, key=lambda server: server.is_alive())

    def renew(self, lease, server=None, timeout=None, **fields):
        """RENEWING: to the server that gave the lease, or another one."""
        return self._first(self._transmit(packet.REQUEST, to=server or self._server_of(lease), unicast=True,
                                          ciaddr=lease.address, **fields), timeout)

    def rebind(self, lease, to=None, timeout=None, **fields):
        """REBINDING: to all servers."""
        return self._first(self._transmit(packet.REQUEST, to=to, ciaddr=lease.address, **fields), timeout)

    def init_reboot(self, address, to=None, timeout=None, **fields):
        """INIT-REBOOT: the client remembers an address and asks whether it may have it again."""
        return self._first(self._transmit(packet.REQUEST, to=to, requested=address, **fields), timeout)

    def release(self, lease, server=None):
        """Returns when the server has worked on it."""
        server = server or self._server_of(lease)
        self.bed.wire.settle(self._transmit(packet.RELEASE, to=server, unicast=True, ciaddr=lease.address,
                                            server_id=server.host.address).audience)

    def decline(self, lease, to=None):
        """Returns when all servers have worked on it."""
        self.bed.wire.settle(self._transmit(packet.DECLINE, to=to, requested=lease.address,
                                            server_id=lease.server_id).audience)

    def inform(self, address, to=None, timeout=None):
        """The client has this address by other means and asks for the rest."""
        return self._first(self._transmit(packet.INFORM, to=to, ciaddr=address), timeout)

    def repeat(self, last, timeout=None):
        """Sends the packet that led to this result (or silence) once more, byte for byte."""
        self.bed.wire.settle(last.sent.audience)        # a second server's answer to the first one may be under way
        self._send(last.sent)
        return self._first(last.sent, timeout)

    def answers(self, last):
        """All answers to the packet that led to this result, when no more will come."""
        return self._collect(last.sent, None, None)
