# SPDX-License-Identifier: MPL-2.0
"""A pair of which one server is a Kea with the hook and the other an ISC dhcpd."""
import time

from compare import differences, view
from conversation import Conversation
from hook import (addresses_of, binding, near, pair_config, pool, small, wait_known, wait_quiet, wait_states)
from process import wait_until

MCLT, LEASE = 30, 600
SIZE = 16
HOSTS = {"primary": "srv1", "secondary": "srv2"}
OTHER = {"primary": "secondary", "secondary": "primary"}


class Mixed:
    """Kea with the hook and a dhcpd; `role` is Kea's. Starts nothing by itself.

    parameters are the relationship's, dhcpd are dhcpd_config()'s, both beyond what serves both.
    """

    def __init__(self, bed, library, role, mclt=MCLT, lease=LEASE, size=SIZE, parameters=None, dhcpd=None, **options):
        self.bed = bed
        self.role = role
        self.pool = addresses_of(size)
        # With 2 updates that may be on the way dhcpd acknowledges each at once, else after two seconds.
        parameters = {"mclt": mclt, "max_unacked_updates": 2, **(parameters or {})}
        self.ours = bed.kea(HOSTS[role], pair_config(bed, library, parameters, valid_lifetime=lease,
                                                     subnets=[small(size)], **options))
        ranges = {"10.64.0.0/16": tuple(pool(size).split(" - "))}
        self.theirs = bed.dhcpd(HOSTS[OTHER[role]], bed.dhcpd_config(
            OTHER[role], **{"mclt": mclt, "lifetime": lease, "subnets": ranges, **(dhcpd or {})}))
        self.said = Conversation(bed)

    @property
    def servers(self):
        """The primary, the secondary."""
        return (self.ours, self.theirs) if self.role == "primary" else (self.theirs, self.ours)

    def start(self):
        """Both, up to normal with the addresses divided. dhcpd first: it calls again after 5 s only."""
        self.theirs.start()
        self.ours.start()
        self.wait_normal()
        self.agree()
        return self

    def wait_normal(self, timeout=30):
        wait_states("normal", self.ours, timeout=timeout)
        self.theirs.wait_state("normal", timeout)

    def wait(self, ours, theirs, timeout=30):
        wait_states(ours, self.ours, timeout=timeout)
        self.theirs.wait_state(theirs, timeout)

    def disagreement(self):
        """Where dhcpd's lease file, our bindings and Kea's leases differ: lines."""
        bindings = {address: binding(self.ours, address) for address in self.pool}
        mine, theirs = view(self.ours, self.pool), view(self.theirs, self.pool)
        for address, one in bindings.items():
            given = one.get("lease-expiration", 0)
            if mine[address].state == theirs[address].state == "active" and given in near(theirs[address].ends):
                # dhcpd forgets a promised end as soon as it gives a shorter lease.
                mine[address].ends = theirs[address].ends
        found = differences(mine, theirs)
        # A binding lives to its promised end, a row to the end that the client was told last.
        held = {address for address, one in bindings.items()
                if one["binding-state"] == "ACTIVE" and one["lease-expiration"] > time.time()}
        rows = {address for address, row in self.ours.leases().items()
                if address in bindings and row["state"] == 0 and row["cltt"] + row["valid-lft"] > time.time()}
        return found + [f"{address}: Kea's row and our binding {bindings[address]}" for address in sorted(held ^ rows)]

    def wait_quiet(self, timeout=15):
        """Until each update is acknowledged, also in dhcpd's memory."""
        wait_quiet(self.ours, timeout=timeout)
        wait_until(lambda: not self.said.unanswered(), timeout,
                   lambda: "unanswered:\n" + "\n".join(map(str, self.said.unanswered())) + "\n" + self.said.text())

    def agree(self, timeout=15):
        """Waits until nobody has anything more to say, and both believe the same of every address."""
        self.wait_quiet(timeout)
        wait_until(lambda: not self.disagreement(), timeout,
                   lambda: "they disagree:\n" + "\n".join(self.disagreement()) + "\n" + self.said.text())

    def wait_known_by_both(self, lease):
        wait_known(self.ours, lease)
        wait_until(lambda: self.knows(lease), 10, lambda: f"dhcpd knows {lease}, but {self.record(lease)}")

    def record(self, lease):
        return self.theirs.leases().get(lease.address)

    def knows(self, lease):
        """dhcpd holds this lease, up to its present end."""
        record = self.record(lease)
        return record and record.state == "active" and record.ends >= lease.at + lease.lifetime - 2
