# SPDX-License-Identifier: MPL-2.0
"""Clients that live their own lives beside a test, as RFC 2131 has it: they lease, renew at T1, rebind at T2, come and go,
and ask again when they hear nothing. What each was told is kept, and judged at the end."""
import dataclasses
import random
import threading
import time

import packet
from client import REPLIES, Nak, Offer
from process import wait_until

# Seconds between transmissions of a client without a lease: those of RFC 2131, 4.1, divided by four. The last one repeats.
RETRANSMISSIONS = (1, 2, 4)
# A new client that isn't served by then has been let down: it has asked four times.
PATIENCE = sum(RETRANSMISSIONS)
# Who renews or rebinds asks again when half of the time is over, but not more often than this (RFC 2131, 4.4.5: 60 s).
RENEWAL_INTERVAL = 1
# A server reckons from the second in which it has answered, a client from the moment in which it has asked.
ROUNDING = 1
TICK = 0.01


class Somewhere:
    """A server known by its address alone, for Client._transmit()."""

    def __init__(self, host):
        self.host = host

    @staticmethod
    def is_responsive():
        return False        # nothing is to be waited for


@dataclasses.dataclass
class Held:
    """A lease by its client's own reckoning."""
    address: str
    server: str
    since: float
    until: float

    @property
    def t1(self):
        return self.since + 0.5 * (self.until - self.since)

    @property
    def t2(self):
        return self.since + 0.875 * (self.until - self.since)


class Life:
    """One client. Times are the wall clock's."""

    def __init__(self, load, client):
        self.load = load
        self.client = client
        self.lease = None
        self.sent = None            # the Transmission that is to be answered, and when it was sent
        self.sent_at = 0
        self.count = 0              # how often it was sent
        self.asking_since = 0       # the first DISCOVER of this attempt
        self.again = 0              # when to send something at the latest
        self.gone = False

    def _send(self, kind, **fields):
        if self.sent:
            self.load.bed.wire.forget(self.sent.key)
        self.sent_at = time.time()
        self.sent = self.client._transmit(kind, **fields)

    def _discover(self, now):
        if self.count == 0:
            self.asking_since = now
        self._send(packet.DISCOVER, secs=int(now - self.asking_since))
        self.again = now + RETRANSMISSIONS[min(self.count, len(RETRANSMISSIONS) - 1)]
        self.count += 1

    def _begin_again(self, now):
        self.lease, self.count = None, 0
        self._discover(now)

    def _extend(self, now):
        """RENEWING or REBINDING."""
        lease = self.lease
        self.again = max(now + (lease.until - now) / 2, now + RENEWAL_INTERVAL)
        if now < lease.t2:
            self.again = min(max(now + (lease.t2 - now) / 2, now + RENEWAL_INTERVAL), lease.t2)
            hosts = [host for host in self.load.bed.hosts.values() if host.address == lease.server]
            self._send(packet.REQUEST, to=Somewhere(hosts[0]), unicast=True, ciaddr=lease.address)
        else:
            self._send(packet.REQUEST, ciaddr=lease.address)

    def tick(self, now):
        if self.gone:
            return
        if self.sent:
            for message, source, at in self.load.bed.wire.arrived(self.sent.key):
                kind = REPLIES[self.sent.message.type].get(message.type)
                if kind:
                    self._hear(kind(self.sent, message, source, at), now)
                    return
        if self.lease and now >= self.lease.until:
            self.load.complain(f"{self} has lost {self.lease.address}: nobody has extended its lease in time")
            self._begin_again(now)
        elif self.lease:
            due = self.again if self.sent else self.lease.t1
            if now >= due:
                self._extend(now)
        elif now >= self.again:
            self._discover(now)

    def _hear(self, reply, now):
        if isinstance(reply, Offer):
            self._send(packet.REQUEST, xid=reply.xid, requested=reply.address, server_id=reply.server_id)
            self.again = now + RETRANSMISSIONS[0]
            return
        self.load.bed.wire.forget(self.sent.key)
        self.sent = None
        if isinstance(reply, Nak):
            if self.lease:
                self.load.complain(f"{self} was refused {self.lease.address} by {reply.source}")
            self._begin_again(now)
            return
        if self.lease is None:
            self.load.waits.append(now - self.asking_since)
        elif self.lease.address != reply.address:
            self.load.complain(f"{self} had {self.lease.address} and was given {reply.address}")
        self.load.given(self, reply, now)
        self.lease = Held(reply.address, reply.server_id, self.sent_at, self.sent_at + reply.lifetime)
        self.count = 0

    def leave(self, now, release):
        """For good; without a release its lease runs out."""
        self.gone = True
        if self.sent:
            self.load.bed.wire.forget(self.sent.key)
        if self.lease and release:
            hosts = [host for host in self.load.bed.hosts.values() if host.address == self.lease.server]
            self.client._transmit(packet.RELEASE, to=Somewhere(hosts[0]), unicast=True, ciaddr=self.lease.address,
                                  server_id=self.lease.server)
            self.load.released(self, now)

    def __str__(self):
        return f"{time.time() - self.load.began:.1f} s: {self.client}"


class Load:
    """A crowd of clients; a context manager, at whose end everything that was wrong fails the test.

    size     how many there are at a time
    turnover seconds after which one leaves and a new one comes; every other one releases its lease
    """

    def __init__(self, bed, size=12, turnover=2):
        self.bed = bed
        self.size = size
        self.turnover = turnover
        self.began = time.time()
        self.complaints = []
        self.waits = []             # of new clients, from the first DISCOVER to the DHCPACK
        self.renewals = 0
        self.lives = []
        self.random = random.Random(1)
        self._holders = {}          # address -> (Life, until)
        self._stop = threading.Event()
        self._failure = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None:
            self.assert_good()

    def stop(self):
        self._stop.set()
        self._thread.join()

    def wait_renewals(self, count):
        """Until each client can have renewed so many times more."""
        before = self.renewals
        wait_until(lambda: self.renewals >= before + count * self.size or self._failure, 60,
                   lambda: f"{count} renewals for each client; complaints: {self.complaints}")

    def wait_served(self):
        """Until clients are served after this moment, and so is everyone who waits for it now. A test that reconfigures a
        server, which costs the packets of that moment, waits so before it does it again: those who lost theirs ask again
        all at once, and the first answers would else be the sign to take the others' packets once more."""
        before = self.renewals + len(self.waits)
        wait_until(lambda: self.renewals + len(self.waits) > before + 1 or self._failure, 15,
                   lambda: f"served: {self.complaints}")
        waiting = [life for life in self.lives if life.sent]
        wait_until(lambda: not any(life.sent and not life.gone for life in waiting) or self._failure, 15,
                   lambda: f"served, {[life.client.mac for life in waiting if life.sent]}: {self.complaints}")

    def complain(self, text):
        self.complaints.append(text)

    def given(self, life, reply, now):
        holder, until = self._holders.get(reply.address, (life, 0))
        if holder is not life and until - ROUNDING > now:
            self.complain(f"{life} was given {reply.address} by {reply.source}, which {holder.client} holds for another "
                          f"{until - now:.1f} s")
        self.renewals += holder is life and until > now
        self._holders[reply.address] = life, life.sent_at + reply.lifetime

    def released(self, life, now):
        self._holders[life.lease.address] = life, now

    def holders(self):
        """{address: MAC} of what is held now."""
        now = time.time()
        return {life.lease.address: life.client.mac for life in self.lives
                if not life.gone and life.lease and life.lease.until > now}

    def _run(self):
        try:
            next_change = time.time() + self.turnover
            while not self._stop.wait(TICK):
                now = time.time()
                living = [life for life in self.lives if not life.gone]
                if len(living) < self.size:
                    self.lives.append(Life(self, self.bed.client()))
                if now >= next_change:
                    next_change = now + self.turnover
                    leaver = self.random.choice([life for life in living if life.lease] or [None])
                    if leaver:
                        leaver.leave(now, release=bool(len(self.lives) % 2))
                for life in self.lives:
                    life.tick(now)
        except BaseException as error:
            self._failure = error
            raise

    def assert_good(self):
        assert self._failure is None, self._failure
        late = [wait for wait in self.waits if wait > PATIENCE]
        waiting = [f"{life.client} has waited for {time.time() - life.asking_since:.1f} s" for life in self.lives
                   if not life.gone and not life.lease and time.time() - life.asking_since > PATIENCE]
        assert not self.complaints and not late and not waiting, "\n".join(
            [*self.complaints, *waiting, *(f"a new client waited for {wait:.1f} s" for wait in late)])
        assert self.waits and self.renewals
