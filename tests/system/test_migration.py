# SPDX-License-Identifier: MPL-2.0
"""A site moves from a pair of ISC dhcpds to a pair of Keas while its clients are served, as the README tells: first the
secondary is replaced, then the primary.

No address is held by two clients at any time, no client's address changes, no lease runs out for want of an answer, and
no new client waits for longer than load.PATIENCE, a few retransmissions.
"""
import time

import pytest

from dhcpd import parse_lease_file
from hook import addresses_of, binding, pair_config, pool, small, states, status, wait_quiet, wait_same_view, wait_states
from load import Load
from process import wait_until

MCLT, LEASE = 4, 12
SIZE = 64
POOL = addresses_of(SIZE)


def dhcpd_pair(bed):
    return bed.dhcpd_pair(subnets={"10.64.0.0/16": tuple(pool(SIZE).split(" - "))}, mclt=MCLT, lifetime=LEASE)


def replace(old, new, survivor, wait_survivor):
    """One dhcpd is stopped and Kea started in its place; until both are in normal."""
    old.stop()
    new.start()
    wait_states("recover-wait", new)
    assert wait_survivor() in ("communications-interrupted", "partner-down")
    wait_states("normal", new)
    wait_until(lambda: wait_survivor() == "normal", 10, f"{survivor} is in normal")


def active(dhcpd):
    """{address: MAC} of what a dhcpd that may be gone has given beyond now."""
    with open(dhcpd.lease_path) as file:
        leases, _ = parse_lease_file(file.read())
    return {address: lease.hardware for address, lease in leases.items()
            if lease.state == "active" and lease.ends > time.time()}


def assert_known(leases, *servers):
    """Those of the leases that live on are known to all of these servers."""
    for server in servers:
        for address, mac in leases.items():
            one = binding(server, address)
            assert one["binding-state"] != "ACTIVE" or one["hw-address"] == mac, f"{address}, {mac}: {one}"


@pytest.mark.parametrize("threads", [0, pytest.param(2, marks=pytest.mark.long)])
def test_dhcpd_pair_is_replaced_by_a_kea_pair(bed, library, threads):
    old_primary, old_secondary = dhcpd_pair(bed)
    config = pair_config(bed, library, {"mclt": MCLT, "interrupted_leases": "extend"}, threads=threads, valid_lifetime=LEASE,
                         subnets=[small(SIZE)])
    primary, secondary = bed.kea("srv1", config), bed.kea("srv2", config)
    with Load(bed) as load:
        load.wait_renewals(1)
        replace(old_secondary, secondary, old_primary, old_primary.state)
        wait_quiet(secondary)
        assert_known(active(old_secondary), secondary)
        assert_known(active(old_primary), secondary)
        load.wait_renewals(2)
        replace(old_primary, primary, secondary, lambda: states(secondary))
        wait_quiet(primary, secondary)
        assert_known(active(old_primary), primary, secondary)
        load.wait_renewals(2)
        load.stop()
        wait_quiet(primary, secondary)
        held = load.holders()
        for server in primary, secondary:
            for address, mac in held.items():
                assert binding(server, address).get("hw-address") == mac
    wait_same_view(primary, secondary, POOL)
    assert status(primary)["counters"]["clashes"] == status(secondary)["counters"]["clashes"] == 0
