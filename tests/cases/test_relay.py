# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about relays, secs and renewals: C39, C40, C41."""
import time

import pytest

from client import Ack, Silence
from hook import (addresses_of, binding, ends, held_down, lose, near, normal_pair, owned, serve, status, wait_known,
                  wait_quiet, wait_states)
from process import wait_until

POOL = addresses_of(32)
MCLT = 10               # of failover_parameters()
LBMAX = 3


# --- C39: a helper address for one server only ------------------------------------------------------------------------

def test_c39_a_relay_that_knows_one_server_only(bed, library):
    """A router had one of the two servers as its helper, and half of its clients were never served: those whose hash is
    the other one's. Here that server answers them when their secs passes load-balance-max-seconds, and where secs stays
    zero when that time has passed since their first DISCOVER.

    The case also wants a counter for each relay and a line an hour, which the design doesn't have: "queries-balanced"
    is one counter for all."""
    primary, secondary = normal_pair(bed, library)
    clients = {role: [bed.client(role, relay=True) for _ in range(6)] for role in ("primary", "secondary")}
    for client in clients["secondary"]:
        assert [offer.source for offer in client.discover(to=secondary)] == [secondary.host.address]
    begin = time.monotonic()
    for client in clients["primary"]:
        assert client.discover(to=secondary) == []
        assert client.discover(to=secondary, secs=LBMAX) == []
    assert status(secondary)["counters"]["queries-balanced"] == 2 * len(clients["primary"])
    for client in clients["primary"][:3]:
        assert serve(client, secondary).source == secondary.host.address
    for client in clients["primary"][3:]:
        wait_until(lambda: client.discover(to=secondary, secs=0), 2 * LBMAX, "it isn't left alone for ever")
    assert time.monotonic() - begin > LBMAX
    assert status(primary)["counters"]["queries-balanced"] == 0, "it never heard of any"


# --- C40: renewals answered with NAK by the other node ----------------------------------------------------------------

def test_c40_a_client_of_the_dead_server_is_extended(bed, library):
    """The server that gave the lease is off. Its client gets no answer to its renewal, rebinds by broadcast, and the
    other server extends the lease within the MCLT rule instead of refusing it."""
    primary, secondary = normal_pair(bed, library)
    client = bed.client("primary")
    lease = client.dora()
    wait_known(secondary, lease)
    wait_quiet(primary, secondary)
    left = binding(secondary, lease.address)["received-potential-expiration"]
    lose(primary, secondary)
    assert isinstance(client.renew(lease, server=primary), Silence)
    answer = client.rebind(lease)
    assert isinstance(answer, Ack) and answer.source == secondary.host.address
    assert answer.address == lease.address and answer.lifetime > MCLT
    assert answer.at + answer.lifetime <= left + MCLT + 1, "what the partner knows, plus the MCLT"


@pytest.mark.parametrize("authoritative", [True, False], ids=["authoritative", "not authoritative"])
def test_c40_silence_where_the_partner_may_know_better(bed, library, authoritative):
    """A client that this server has no record of, with an address that is the partner's to give: silence, never a
    DHCPNAK, whatever `authoritative` says; and another address if it asks anew."""
    pair = primary, secondary = normal_pair(bed, library, authoritative=authoritative)
    held_down(*pair)
    client = bed.client()
    lease = client.dora(server=secondary)
    assert isinstance(client.rebind(lease, to=primary), Silence), "the primary has never heard of this lease"
    assert isinstance(client.init_reboot(lease.address, to=primary), Silence)
    assert [offer.address != lease.address for offer in client.discover(hint=lease.address, to=primary)] == [True]
    lose(secondary, primary)
    assert isinstance(client.rebind(lease), Silence), "the giver is down: still nobody says no"


def test_c40_a_request_that_selects_the_other_server(bed, library):
    """It isn't ours: ignored, and nothing is written down for it."""
    primary, secondary = normal_pair(bed, library)
    client = bed.client("secondary")
    offer, = client.discover()
    assert offer.source == secondary.host.address
    assert isinstance(client.request(offer, to=primary), Silence)
    secondary.stop()
    wait_states("communications-interrupted", primary)
    assert isinstance(client.request(offer), Silence)
    assert not primary.leases()


# --- C41: secs zero or byte-swapped -----------------------------------------------------------------------------------

def test_c41_secs_zero_or_byte_swapped(bed, library):
    """Some clients count in the wrong byte order, so that one second is 0x0100: they were answered by both servers at
    once. Above 255 with a low byte of zero the field is taken for a swapped one.

    The case wants that rule configurable and counted; the design makes it a rule. What it costs a client that has
    really waited for 256 s is in the last line: one more DISCOVER."""
    primary, secondary = normal_pair(bed, library)
    for secs, answered in ((0, False), (3, False), (0x0100, False), (0x0300, False), (4, True), (0x0400, True),
                           (0x00ff, True), (0x0a00, True), (0x0101, True)):
        for role, partner in ("primary", secondary), ("secondary", primary):
            offers = bed.client(role).discover(secs=secs, to=partner)
            assert bool(offers) == answered, f"secs {secs:#06x} of the {role}'s client at the partner: {offers}"
        assert len(bed.client("primary").discover(secs=secs)) == (2 if answered else 1)
    patient = bed.client("primary")
    assert [bool(patient.discover(secs=secs, to=secondary)) for secs in (0x0100, 0x0104)] == [False, True]


def test_c41_a_client_whose_secs_stay_zero(bed, library):
    """It isn't left to a partner that doesn't answer it."""
    primary, secondary = normal_pair(bed, library, {"load_balance_max_seconds": 2})
    client = bed.client("secondary")
    began = time.monotonic()
    assert client.discover(to=primary) == []
    wait_until(lambda: client.discover(to=primary), 5, "the primary takes pity on it")
    assert time.monotonic() - began > 1.9


def test_c41_taking_over_needs_no_number_of_clients(bed, library):
    """Elsewhere the survivor counts clients that the dead server leaves unanswered, and at night there are too few, or
    their secs stay zero. Here the lost connection is enough: the first client is served at once."""
    primary, secondary = normal_pair(bed, library)
    client, other = bed.client("primary"), bed.client("primary")
    lease = client.dora()
    assert lease.source == primary.host.address
    wait_known(secondary, lease)
    lose(primary, secondary)
    answer = client.rebind(lease, secs=0)
    assert isinstance(answer, Ack) and ends(secondary, lease.address) >= int(answer.ends) - 1
    mine = owned(secondary, POOL)
    fresh = other.dora(secs=0)
    assert fresh.address in mine and fresh.lifetime in near(MCLT)
