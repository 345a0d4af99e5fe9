# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about threads: C42, C58."""
import os

import pytest

import packet
from client import Ack
from hook import (addresses_of, binding, descriptors, log_lines, normal_pair, owned, small, status, wait_quiet,
                  wait_same_view, wait_states)
from load import Load
from partner import dial
from process import wait_until

THREADS = 4


# --- C42: one DISCOVER processed twice --------------------------------------------------------------------------------

@pytest.mark.parametrize("rounds", [200, pytest.param(10_000, marks=pytest.mark.long)])
def test_c42_each_packet_comes_twice(bed, library, rounds):
    """Raw sockets saw each broadcast twice on a virtual interface, and two threads offered two addresses within one
    millisecond. An OFFER takes nothing here; from DISCOVER to RELEASE a client whose every packet comes twice holds one
    address, of two that there are."""
    pair = primary, secondary = normal_pair(bed, library, subnets=[small(4)], threads=THREADS)
    mine = owned(primary, addresses_of(4))
    assert len(mine) == 2
    client = bed.client("primary")

    def twice(transmission):
        bed.wire.send(transmission.frame)
        return transmission
    for _ in range(rounds):
        sent = twice(client._transmit(packet.DISCOVER, to=primary))
        offers = client._collect(sent, 2, 0.05) or client._collect(sent, 1, 1)
        assert offers and {offer.address for offer in offers} <= set(mine)
        sent = twice(client._transmit(packet.REQUEST, to=primary, xid=offers[0].xid, requested=offers[0].address,
                                      server_id=offers[0].server_id))
        acks = client._collect(sent, 2, 0.05) or client._collect(sent, 1, 1)
        assert acks and {(type(ack), ack.address) for ack in acks} == {(Ack, offers[0].address)}
        assert status(primary)["bindings"]["active"] == 1 and set(primary.leases()) == {offers[0].address}
        client.release(acks[0])
        wait_until(lambda: len(owned(primary, addresses_of(4))) == 2, 5, "both are there for the next round")


# --- C58: dead-locks and crashes at reconfigure, config-test, unload --------------------------------------------------

@pytest.mark.parametrize("rounds", [5, pytest.param(100, marks=pytest.mark.long)])
def test_c58_reconfigured_and_unloaded_with_a_stalled_partner(bed, library, rounds):
    """Under a load of clients, with several threads, and with a partner that holds its connection and says nothing:
    config-reload, config-test, config-set without the hook, which unloads it, and with it again. Clients go on being
    served throughout (nothing is parked), and nothing is left behind: no descriptor, no thread, no disabled service.

    (What races with a partner that answers is in system/test_durability.py, test_reconfigured_under_load.)"""
    pair = primary, secondary = normal_pair(
        bed, library, {"mclt": 12, "interrupted_leases": "extend", "load_balance_max_seconds": 0}, valid_lifetime=12,
        threads=THREADS, subnets=[small(128)])
    with_hook, without = primary.config, bed.kea_config(valid_lifetime=12, threads=THREADS, subnets=[small(128)],
                                                        severity="WARN")
    opened, threads = descriptors(primary), len(os.listdir(f"/proc/{primary.pid}/task"))
    secondary.pause()
    with Load(bed, size=32) as load:
        load.wait_served()
        for _ in range(rounds):
            primary.reload(with_hook)
            load.wait_served()
            connects = status(primary)["counters"]["connects"]
            assert primary.command("config-test", **with_hook)["result"] == 0
            assert primary.command("config-test", **without)["result"] == 0
            assert status(primary)["counters"]["connects"] == connects
            primary.reload(without, how="config-set")
            assert primary.command("failover-status")["result"] == 2, "no such command"
            load.wait_served()
            primary.reload(with_hook, how="config-set")
            wait_states("communications-interrupted", primary, timeout=5)
            load.wait_served()
        load.wait_renewals(1)
        holders = load.holders()
    secondary.resume()
    wait_states("normal/normal", *pair)
    wait_quiet(*pair)
    wait_same_view(*pair, addresses_of(128))
    for address, mac in holders.items():
        assert binding(secondary, address).get("hw-address", mac) == mac
    assert not log_lines(primary, "CALLOUT_FAILED|LEASE_FAILED")
    assert len(os.listdir(f"/proc/{primary.pid}/task")) == threads
    wait_until(lambda: descriptors(primary) <= opened, 5, lambda: f"{opened} descriptors, but {descriptors(primary)}")


def test_c58_unloading_closes_everything(bed, library):
    """The partner notices at once, the port is closed, and plain Kea serves. The case wants DISCONNECT before; the
    design ends a connection as dhcpd does when it ends: by closing it."""
    primary, secondary = normal_pair(bed, library, threads=THREADS)
    opened = descriptors(primary)
    primary.reload(bed.kea_config(threads=THREADS))
    wait_states("communications-interrupted", secondary, timeout=2)
    assert secondary.log.find("connection with the partner lost: closed by the partner")
    with pytest.raises(ConnectionRefusedError):
        dial(bed, "srv2", primary)
    assert descriptors(primary) <= opened - 5, "database, sockets and what waits for them"
    assert isinstance(bed.client().dora(primary), Ack)
    assert primary.query("status-get")["multi-threading-enabled"] is True
