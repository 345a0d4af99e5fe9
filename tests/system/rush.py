# SPDX-License-Identifier: MPL-2.0
"""Clients without a rest: they lease, renew, reboot and release again and again, and keep a book of what they were told.
At the end everything that a server remembers must agree with the books."""
import dataclasses
import random
import threading
import time

import packet
import process
from client import Ack, Nak
from hook import addresses_of, binding, kea_rows, log_lines, status, stored_bindings, wait_quiet, wait_same_view
from process import wait_until


@dataclasses.dataclass
class Hold:
    """A client has been told that it has this address, and until when."""
    client: object
    address: str
    begin: float
    end: float


class Threads:
    """A context manager: runs `work` once for each of `arguments`, in a thread of its own; work ends when `over` is set."""

    def __init__(self, work, arguments):
        self.over = threading.Event()
        self._threads = [threading.Thread(target=work, args=each, daemon=True) for each in arguments]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self._threads:
            thread.join()


class Rush(Threads):
    """check() is for afterwards."""
    ANSWER = 0.3        # s to wait for an answer
    LOST = 0.05         # so many answers get lost on their way
    BEHIND = 0.5        # s that a server may be behind with its packets

    def __init__(self, bed, count=8, seed=None):
        self.bed = bed
        self.wire = bed.wire        # made here, not by several threads at once
        self.holds = []
        self.errors = []
        self.acks = 0
        self._released = {}         # (client, address) -> when
        self._unheard = set()       # clients that have missed an answer, which may have been a refusal
        self._random = random.Random(count if seed is None else seed)
        super().__init__(self._run, [(bed.client(),) for _ in range(count)])

    def wait_acks(self, count, timeout=10, or_else=lambda: False):
        """Until so many more leases were given or extended."""
        before = self.acks
        wait_until(lambda: self.acks >= before + count or or_else(), timeout, "clients are served")

    def _run(self, client):
        try:
            hold = None
            while not self.over.is_set():
                hold = self._renew(client, hold) if hold else self._begin(client)
                time.sleep(self._random.uniform(0, 0.1))
        except Exception as error:
            self.errors.append(error)
            raise

    def _told(self, client, answer, sent, hold=None):
        """What the client has after an answer."""
        if self._random.random() < self.LOST:
            answer = None
        if answer is None:
            self._unheard.add(client)
        if isinstance(answer, Nak) and hold:
            hold.end = min(hold.end, answer.at)
            return None
        if isinstance(answer, Ack):
            self.acks += 1
            if hold is None:
                hold = Hold(client, answer.address, answer.at, 0)
                # A RELEASE of this address that a server has still to read would end the new lease, and rightly so.
                released = self._released.get((client, answer.address), 0)
                if answer.at - released > self.BEHIND * process.slowness:
                    self.holds.append(hold)
            assert answer.address == hold.address
            hold.end = sent + answer.lifetime
            hold.lease = answer
        return hold if hold and hold.end > time.time() else None

    def _begin(self, client):
        offers = client.request_raw(packet.DISCOVER, expect=1, timeout=self.ANSWER, secs=self._random.choice((0, 5)))
        if not offers:
            self._unheard.add(client)
        sent = time.time()
        return self._told(client, client.request(offers[0], timeout=self.ANSWER), sent) if offers else None

    def _renew(self, client, hold):
        sent = time.time()
        what = self._random.random()
        if what < 0.1:
            # A server that lives hears of it; in any case the client uses the address no more.
            hold.end = self._released[client, hold.address] = sent
            client._transmit(packet.RELEASE, to=self._random.choice(self.bed.servers), unicast=True,
                             ciaddr=hold.address)
            return None
        if what < 0.5:
            answer = client.renew(hold.lease, timeout=self.ANSWER)
        elif what < 0.8:
            answer = client.rebind(hold.lease, timeout=self.ANSWER)
        else:
            answer = client.init_reboot(hold.address, timeout=self.ANSWER)
        return self._told(client, answer, sent, hold)

    # --- afterwards ------------------------------------------------------------------------------------------

    def _last_holds(self):
        """{address: the hold that ended last}, if no address was two clients' at one time."""
        last = {}
        for hold in sorted(self.holds, key=lambda hold: hold.begin):
            before = last.get(hold.address)
            # Servers count whole seconds, and may be done with a lease when its client thinks there is a moment left.
            assert before is None or before.client is hold.client or before.end - 1 <= hold.begin, (
                f"{hold.address} is given to {hold.client} while it is {before.client}'s for {before.end - hold.begin} s")
            if before is None or hold.end > before.end:
                last[hold.address] = hold
        return last

    def check(self, pair, addresses=addresses_of(32)):
        """No address was two clients' at one time, and both servers know who has one now, in all that they remember by.
        Returns how many leases were still held by then."""
        assert not self.errors, self.errors
        last = self._last_holds()
        wait_quiet(*pair)
        wait_same_view(*pair, addresses)
        memories = [(f"{server}: {name}", memory(server)) for server in pair
                    for name, memory in (("its bindings", told_bindings(addresses)), ("failover.db", stored_bindings),
                                         ("lease4-get-all", kea_rows), ("leases4.csv", file_rows))]
        held = [hold for hold in last.values() if hold.end > time.time() + 1]
        for hold in held:
            for whose, memory in memories:
                there = memory.get(hold.address)
                if "lease" in whose:
                    # A refusal takes Kea's row away, and the binding stays to its end.
                    known = (there[0] == hold.client.mac if there else
                             hold.client in self._unheard or has_another_row(memory, hold.client))
                else:
                    known = there and there[0] == hold.client.mac and there[1] >= hold.end - 2
                assert known, f"{whose}: {there} where {hold} counts"
        self._check_servers(pair)
        return len(held)

    @staticmethod
    def _check_servers(pair):
        for server in pair:
            assert server.statistics("subnet[1].assigned-addresses") == sum(
                lease["state"] != 2 for lease in server.leases().values())
            assert not log_lines(server, "CALLOUT_FAILED|LEASE_FAILED| clash")
            assert status(server)["counters"]["clashes"] == 0


def has_another_row(memory, client):
    """Kea keeps one row for a client, that of its latest answer. This may be one that the client never saw, since it
    came late: with another address, or with an earlier end. The bindings have both, and the later end."""
    return any(mac == client.mac for mac, _ in memory.values())


def told_bindings(addresses):
    def memory(server):
        known = {address: binding(server, address) for address in addresses}
        return {address: (one["hw-address"], float("inf") if one["ends"] == "never" else one["ends"])
                for address, one in known.items() if one["binding-state"] == "ACTIVE"}
    return memory


def file_rows(server):
    return {address: (row["hwaddr"], int(row["expire"])) for address, row in server.lease_file().items()
            if row["state"] == "default"}
