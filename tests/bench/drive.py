# SPDX-License-Identifier: MPL-2.0
"""Clients: perfdhcp for rates and latencies, and a crowd that asks again as RFC 2131 says, for faults."""
import itertools
import os
import random
import re
import select
import shutil
import socket
import subprocess
import threading
import time

import packet
from packet import Message

RELAY = "10.64.0.9"             # the client host's address: the clients are behind a relay that knows both servers
TICK = os.sysconf("SC_CLK_TCK")
LOST = 0.01                     # a rate passes if fewer clients than this lack their DHCPACK
_populations = itertools.count(1)
_shifts = itertools.count()


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else None


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024


class Population:
    """Clients that come back. Each run begins with another one of them: perfdhcp counts its transactions from the same
    number each time, and a client with the transaction of its last lease is taken for a retransmission."""

    def __init__(self, size):
        self.size = size
        self.base = 0x0a0000000000 + next(_populations) * 0x1000000

    def everyone(self):
        return self._clients(0, self.size)

    def some(self):
        return self._clients(next(_shifts) % 50 * (self.size // 100), self.size // 2)

    def _clients(self, first, count):
        return ["-R", str(count), "-b", "mac=" + (self.base + first).to_bytes(6, "big").hex(":")]


# ---- perfdhcp -------------------------------------------------------------------------------------------------------

def _parse(text):
    """{section: {"sent": n, "received": n, "delays": [ms]}} of perfdhcp's report."""
    sections, name, stamps = {}, None, False
    for line in text.splitlines():
        title = re.match(r"\*\*\*(Statistics for|Timestamps for packets): (.*)\*\*\*", line)
        if title:
            name, stamps = title[2], title[1] != "Statistics for"
            sections.setdefault(name, {"sent": 0, "received": 0, "delays": []})
        elif line.startswith("***"):
            name = None
        elif name and stamps:
            pair = re.match(r"sent / received: (\S+) / (\S+)", line)
            if pair:
                sections[name]["delays"].append((float(pair[2]) - float(pair[1])) * 1000)
        elif name:
            count = re.match(r"(sent|received) packets: (\d+)", line)
            if count:
                sections[name][count[1]] = int(count[2])
    return sections


def perfdhcp(setup, rate, seconds, clients, timestamps=False, count=0):
    """One run: what came of so many DORAs a second, for so many seconds or of a count. `clients`: of a Population."""
    program = shutil.which("perfdhcp", path=os.environ["PATH"] + ":/usr/sbin")
    namespace = setup.bed.hosts["client"].namespace.name
    command = ["ip", "netns", "exec", namespace, program, "-4", "-g", "single", "-l", RELAY,
               "-r", str(max(1, int(rate))), *clients, "-W", "1000000", *(["-n", str(count)] if count else ["-p", str(seconds)]),
               *(["-xt"] if timestamps else []), "-B", "255.255.255.255"]
    before = [cpu_seconds(server.pid) for server in setup.servers]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    took = time.monotonic() - began
    sections = _parse(done.stdout)
    if "DISCOVER-OFFER" not in sections or "REQUEST-ACK" not in sections:
        raise RuntimeError(f"perfdhcp: {' '.join(command)}: {done.stdout[-500:]}")
    sent, acks = sections["DISCOVER-OFFER"]["sent"], sections["REQUEST-ACK"]["received"]
    wanted = count or rate * seconds
    return {"sent": sent, "acks": acks, "rate": acks / (took - 1 if count else seconds),
            "good": acks > sent * (1 - LOST) and sent >= 0.97 * wanted,
            "cpu_us": [(cpu_seconds(server.pid) - cpu) * 1e6 / max(acks, 1)
                       for server, cpu in zip(setup.servers, before)],
            "delays": sections["REQUEST-ACK"]["delays"]}


def fill(setup, population, rate=1000):
    """Every client of the population gets its lease."""
    return perfdhcp(setup, rate, 0, population.everyone(), count=population.size)["acks"]


def _settle(setup, population):
    """After an overload, until a trickle is fully answered again."""
    for _ in range(15):
        if perfdhcp(setup, 50, 1, population.some())["good"]:
            return
        time.sleep(0.5)


def search(setup, population, start, seconds, step=1.2, tolerance=1.1):
    """The highest rate with fewer than 1 % lost. A rate fails if it fails twice: one stall of 20 ms, whoever's,
    overflows a server's socket buffer."""
    low, high, rate, best = None, None, start, None
    while True:
        for _ in range(2):
            result = perfdhcp(setup, rate, seconds, population.some())
            if result["good"]:
                break
            _settle(setup, population)
        if result["good"]:
            low, best = rate, result
        else:
            high = rate
        if low is None:
            rate /= step
            if rate < 10:
                return {"rate": 0, "cpu_us": []}
        elif high is None:
            rate *= step
        elif high / low < tolerance:
            return best
        else:
            rate = (high * low) ** 0.5


# ---- A crowd --------------------------------------------------------------------------------------------------------

class Client:
    """One new client, from its first DISCOVER to its DHCPACK."""

    def __init__(self, number, now):
        self.mac = "0e:%02x:%02x:%02x:%02x:%02x" % tuple(number.to_bytes(5, "big"))
        self.xid = random.getrandbits(32)
        self.born = now
        self.again = now
        self.tries = 0
        self.offer = None
        self.offered = None
        self.served = None
        self.by = None

    def message(self, now, kind):
        return Message(xid=self.xid, chaddr=self.mac, giaddr=RELAY, secs=int(now - self.born), options={
            packet.MESSAGE_TYPE: bytes([kind]), packet.CLIENT_ID: b"\1" + packet.mac_bytes(self.mac)})


class Crowd:
    """`rate` new clients a second behind a relay that knows both servers; a context manager."""

    _number = itertools.count(1)

    def __init__(self, bed, rate, patient=True):
        self.rate = rate
        self.patient = patient              # whether they ask again
        self.clients = []
        self.began = time.monotonic()
        self._waiting = {}
        self._socket = bed.hosts["client"].namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((RELAY, 67))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _send(self, client, now):
        if client.offer and client.tries < 4:
            address, server = client.offer
            message = client.message(now, packet.REQUEST)
            message.options[packet.REQUESTED_ADDRESS] = address
            message.options[packet.SERVER_ID] = server
            client.again = now + 4
            client.tries += 1
        else:
            client.offer = None
            message = client.message(now, packet.DISCOVER)
            client.again = now + (4 << min(client.tries, 3)) + random.uniform(-1, 1)
            client.tries += 1
        self._socket.sendto(message.encode(), ("255.255.255.255", 67))

    def _receive(self, now):
        message = Message.decode(self._socket.recv(2048))
        client = message and self._waiting.get(message.xid)
        if not client or message.op != 2:
            return
        if message.type == packet.OFFER and not client.offer:
            client.offer = socket.inet_aton(message.yiaddr), message.options[packet.SERVER_ID]
            client.offered = now
            client.tries = 0
            self._send(client, now)
        elif message.type == packet.ACK:
            client.served, client.by = now, message.address_option(packet.SERVER_ID)
            del self._waiting[client.xid]
        elif message.type == packet.NAK:
            client.offer, client.again = None, now

    def _run(self):
        while not self._stop.is_set():
            now = time.monotonic()
            while len(self.clients) < (now - self.began) * self.rate:
                client = Client(next(self._number) + int(time.time()) % 65536 * 65536, now)
                self.clients.append(client)
                self._waiting[client.xid] = client
                self._send(client, now)
            if self.patient:
                for client in [one for one in self._waiting.values() if now >= one.again]:
                    self._send(client, now)
            until = self.began + len(self.clients) / self.rate
            while select.select([self._socket], [], [], max(0, min(until - time.monotonic(), 0.05)))[0]:
                self._receive(time.monotonic())

    # --- what they saw ---

    def served(self, since=0):
        return [client for client in list(self.clients) if client.served and client.born >= since]

    def first_offer(self, since):
        return min([client.offered for client in list(self.clients) if client.offered and client.offered >= since],
                   default=None)

    def waits(self, since=0):
        return [client.served - client.born for client in self.served(since)]

    def nobody_waits(self, age=1):
        now = time.monotonic()
        return not any(now - client.born > age for client in list(self._waiting.values()))

    def longest_gap(self, since=0):
        """The longest time in which nobody was served."""
        times = sorted(client.served for client in list(self.clients) if client.served and client.served >= since)
        if not times:
            return time.monotonic() - (since or self.began)
        if since:
            times.insert(0, since)
        return max([later - earlier for earlier, later in zip(times, times[1:])] or [0])

    def worst_wait(self, since):
        """Of those that were not served yet at `since` and of all later ones; who still waits counts with its wait so
        far."""
        now = time.monotonic()
        return max([(client.served or now) - client.born for client in list(self.clients)
                    if not client.served or client.served >= since] or [0])
