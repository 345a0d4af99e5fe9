# SPDX-License-Identifier: MPL-2.0
"""Reservations: an address that belongs to its client, whichever server answers and whatever state it is in."""
import time

import pytest

from client import Ack, Nak, Silence
from hook import (addresses_of, binding, ends, force, held_down, is_free, let_go, near, normal_pair, owned, pair_config,
                  pool, serve, small, states, status, wait_free, wait_quiet, wait_same_view, wait_states, wipe)
from kea import subnet
from process import wait_until

MCLT = 10               # of failover_parameters()
LEASE = 60
SIZE = 8
POOL = addresses_of(SIZE)
INSIDE, OUTSIDE = POOL[2], "10.64.3.3"


def reserved_pair(bed, library, address, client=None, parameters=None, **options):
    """(pair, client): a pair in normal, and the client for whom both servers have reserved the address."""
    client = client or bed.client("primary")
    options.setdefault("subnets", [small(SIZE, reservations=[(client.mac, address)])])
    return normal_pair(bed, library, parameters, **{"valid_lifetime": LEASE, **options}), client


def reconfigured(bed, library, pair, reservations, parameters=None, **options):
    """Both servers, one after the other, with these reservations."""
    for server in pair:
        server.reload(pair_config(bed, library, parameters, valid_lifetime=LEASE,
                                  subnets=[small(SIZE, reservations=reservations)], **options))
        wait_states("normal/normal", *pair)
    wait_quiet(*pair)


def assert_silent(client, address, *servers):
    for server in servers:
        assert client.discover(secs=10, to=server) == [], f"by {server}"
        for answer in client.init_reboot(address, to=server), client.request_raw(
                requested=address, server_id=server.host.address, to=server):
            assert not answer, f"{answer} by {server}"


def assert_nobody_else_gets_it(bed, address, *servers):
    for server in servers:
        stranger = bed.client()
        assert address not in [offer.address for offer in stranger.discover(secs=10, hint=address, to=server)]
        answers = stranger.request_raw(requested=address, server_id=server.host.address, to=server)
        assert not any(isinstance(answer, Ack) for answer in answers)
        assert not isinstance(stranger.init_reboot(address, to=server), Ack)


# --- in each state -------------------------------------------------------------------------------------------------

def test_in_normal(bed, library):
    pair, client = reserved_pair(bed, library, INSIDE)
    offers = client.discover(secs=10)
    assert [offer.address for offer in offers] == [INSIDE, INSIDE], "whoever answers"
    lease = client.dora()
    assert lease.lifetime == MCLT
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for server in pair:
        for answer in (client.renew(lease, server=server), client.init_reboot(INSIDE, to=server)):
            assert isinstance(answer, Ack) and answer.lifetime in near(LEASE)
        wait_quiet(*pair)
    assert_nobody_else_gets_it(bed, INSIDE, *pair)
    client.release(lease, server=server)
    wait_free(INSIDE, *pair)
    assert_nobody_else_gets_it(bed, INSIDE, *pair)
    assert client.dora(server=pair[1], secs=10).address == INSIDE
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)


def test_outside_the_pools_in_normal(bed, library):
    """Kea's affair: the configured lifetime, from either server, and no binding."""
    pair, client = reserved_pair(bed, library, OUTSIDE)
    for server in pair:
        lease = client.dora(server=server, secs=10)
        assert (lease.address, lease.lifetime) == (OUTSIDE, LEASE)
        assert isinstance(client.renew(lease), Ack) and isinstance(client.init_reboot(OUTSIDE, to=server), Ack)
        assert server.command("failover-binding", ip_address=OUTSIDE)["result"] == 3
        assert server.statistics("subnet[1].assigned-addresses") == 1
    assert_nobody_else_gets_it(bed, OUTSIDE, *pair)
    client.release(lease)
    assert not server.leases()


@pytest.mark.parametrize("policy", ["replace", "extend"])
def test_new_client_while_interrupted(bed, library, policy):
    """Both serve it, for the MCLT: there is nothing that the partner could have given to somebody else."""
    pair, client = reserved_pair(bed, library, INSIDE, parameters={"interrupted_leases": policy})
    held_down(*pair)
    for server in pair:
        lease = client.dora(server=server)
        assert (lease.address, lease.lifetime) == (INSIDE, MCLT)
    assert_nobody_else_gets_it(bed, INSIDE, *pair)
    let_go(*pair)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    assert isinstance(client.renew(lease), Ack)
    assert status(pair[0])["counters"]["clashes"] == 0


def test_old_client_while_interrupted_with_replace(bed, library):
    """Extended once; then refused, and never given another address instead."""
    pair, client = reserved_pair(bed, library, INSIDE)
    primary, secondary = pair
    lease = client.dora()
    wait_quiet(*pair)
    lease = client.renew(lease)
    wait_quiet(*pair)
    held_down(*pair)
    renewed = client.renew(lease)
    assert isinstance(renewed, Ack) and renewed.lifetime > LEASE
    assert isinstance(client.renew(lease), Nak)
    assert client.discover(secs=10, to=primary) == []
    assert_nobody_else_gets_it(bed, INSIDE, primary)
    let_go(*pair)
    wait_quiet(*pair)
    assert [offer.address for offer in client.discover(secs=10)] == [INSIDE, INSIDE]
    assert isinstance(client.renew(lease), Ack)


def test_old_client_while_interrupted_with_extend(bed, library):
    pair, client = reserved_pair(bed, library, INSIDE, parameters={"interrupted_leases": "extend"})
    lease = client.dora()
    wait_quiet(*pair)
    held_down(*pair)
    for server in pair:
        for _ in range(3):
            assert isinstance(client.renew(lease, server=server), Ack)
            assert [offer.address for offer in client.discover(to=server)] == [INSIDE]


@pytest.mark.parametrize("policy", ["replace", "extend"])
def test_released_while_interrupted(bed, library, policy):
    """Held with `replace`: for its own client too. With `extend` its client may have it back."""
    pair, client = reserved_pair(bed, library, INSIDE, parameters={"interrupted_leases": policy})
    primary, secondary = pair
    lease = client.dora()
    wait_quiet(*pair)
    held_down(*pair)
    client.release(lease, server=primary)
    assert binding(primary, INSIDE)["binding-state"] == "RELEASED"
    assert_nobody_else_gets_it(bed, INSIDE, primary)
    if policy == "replace":
        assert client.discover(secs=10, to=primary) == []
        assert isinstance(client.init_reboot(INSIDE, to=primary), Nak)
    else:
        assert [offer.address for offer in client.discover(to=primary)] == [INSIDE]
        assert client.dora(server=primary).lifetime in near(LEASE), "the partner still has it for that long"
        client.release(lease, server=primary)
    let_go(*pair)
    wait_free(INSIDE, *pair)
    assert client.dora(secs=10).address == INSIDE
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)


def test_in_partner_down(bed, library):
    pair, client = reserved_pair(bed, library, INSIDE)
    primary, secondary = pair
    primary.stop()
    force(secondary, "partner-down")
    lease = client.dora()
    assert (lease.address, lease.lifetime) == (INSIDE, MCLT)
    for _ in range(2):
        renewed = client.renew(lease)
        assert isinstance(renewed, Ack) and renewed.lifetime in near(MCLT)
    assert_nobody_else_gets_it(bed, INSIDE, secondary)
    client.release(lease)
    wait_until(lambda: is_free(secondary, INSIDE), 5, "made in partner-down: nobody else knows of it")
    assert client.dora().address == INSIDE
    assert_nobody_else_gets_it(bed, INSIDE, secondary)


@pytest.mark.parametrize("address", [INSIDE, OUTSIDE], ids=["in a pool", "outside"])
def test_in_recover_and_recover_wait(bed, library, address):
    """Outside all pools it is served: nobody else can have that address."""
    pair, client = reserved_pair(bed, library, address, parameters={"mclt": 8})
    primary, secondary = pair
    lease = client.dora()
    wait_quiet(*pair)
    held_down(*pair)
    secondary.pause()       # so that the primary hears nothing of it
    force(primary, "recover")
    assert states(primary) == "recover"

    def check():
        if address == INSIDE:
            assert_silent(client, address, primary)
            assert isinstance(client.renew(lease, server=primary), Silence)
            return
        offers = client.discover(to=primary)
        assert [offer.address for offer in offers] == [OUTSIDE]
        assert client.request(offers[0], to=primary).lifetime == LEASE
        assert isinstance(client.renew(lease, server=primary), Ack)
        assert isinstance(client.init_reboot(OUTSIDE, to=primary), Ack)
    check()
    assert bed.client().discover(secs=10, to=primary) == [], "others are not"
    secondary.resume()
    wait_states("recover-wait", primary)
    check()
    wait_states("normal/normal", *pair)
    wait_quiet(*pair)       # its lease of eight seconds may have ended just now, which the partner has to acknowledge
    assert [offer.address for offer in client.discover(secs=10, to=primary)] == [address]


@pytest.mark.parametrize("address", [INSIDE, OUTSIDE], ids=["in a pool", "outside"])
def test_in_startup_and_shutdown(bed, library, address):
    pair, client = reserved_pair(bed, library, address)
    primary, secondary = pair
    lease = client.dora()
    wait_quiet(*pair)
    force(primary, "shutdown")
    wait_states("shutdown/partner-down", *pair)
    assert_silent(client, address, primary)
    assert isinstance(client.renew(lease, server=primary), Silence)
    assert isinstance(client.renew(lease, server=secondary), Ack)
    for server in pair:
        server.stop()
    secondary.start()
    assert states(secondary) == "startup"
    assert client.discover(to=secondary) == []
    assert isinstance(client.renew(lease, server=secondary), Silence)
    wait_states("partner-down", secondary)
    assert isinstance(client.renew(lease, server=secondary), Ack)


def test_after_a_lost_database(bed, library):
    """A reserved address is its client's, record or none; both servers agree on that at once."""
    pair, client = reserved_pair(bed, library, INSIDE, parameters={"mclt": 3})
    primary, secondary = pair
    lease = client.dora()
    wait_quiet(*pair)
    lease = client.renew(lease)
    wait_quiet(*pair)
    primary.stop()
    wipe(primary)
    primary.start()
    wait_states("normal/normal", *pair)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    assert primary.leases()[INSIDE]["hw-address"] == client.mac
    assert isinstance(client.renew(lease, server=primary), Ack)


# --- who gets what --------------------------------------------------------------------------------------------------

def test_no_other_client_gets_it_and_it_is_not_balanced(bed, library):
    """Not when the pool runs out, not in partner-down after the MCLT; and it counts in nobody's share."""
    clients = {address: bed.client() for address in POOL[:4]}
    reservations = [(client.mac, address) for address, client in clients.items()]
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 2}, valid_lifetime=3,
                                            subnets=[small(SIZE, reservations=reservations)])
    for server in pair:
        assert status(server)["bindings"]["reserved"] == 4
        assert len(owned(server, POOL[4:])) == 2, "the rest is halved"
        assert all(binding(server, address)["reserved"] for address in clients)
    wait_same_view(*pair, POOL)
    held_down(*pair)
    for server in pair:
        taken = [serve(bed.client(), server) for _ in range(3)]
        assert [bool(lease) for lease in taken] == [True, True, False]
        assert {lease.address for lease in taken[:2]} <= set(POOL[4:])
    let_go(*pair)
    wait_quiet(*pair)
    secondary.stop()
    answer = force(primary, "partner-down")
    wait_until(lambda: all(is_free(primary, address) for address in POOL) and not status(primary)["pending"], 15,
               "all is free again, and STOS + MCLT over")
    crowd = [serve(bed.client(), primary) for _ in range(SIZE)]
    assert sorted(lease.address for lease in crowd if lease) == POOL[4:], answer
    for address, client in clients.items():
        assert client.dora().address == address


def test_each_gets_its_own_under_load_balancing(bed, library):
    """The hash decides who answers, as for any client."""
    clients = {address: bed.client(role) for address, role in zip(POOL, ("primary", "secondary") * 2)}
    reservations = [(client.mac, address) for address, client in clients.items()]
    pair = primary, secondary = normal_pair(bed, library, subnets=[small(SIZE, reservations=reservations)])
    for number, (address, client) in enumerate(clients.items()):
        offer, = client.discover()
        assert (offer.address, offer.source) == (address, pair[number % 2].host.address)
        assert client.request(offer).address == address
        assert sorted(other.source for other in client.discover(secs=10)) == ["10.64.0.1", "10.64.0.2"]
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)


def test_by_client_identifier(bed, library):
    client = bed.client(client_id=b"\0its name")
    pair, _ = reserved_pair(bed, library, INSIDE, client, subnets=[
        small(SIZE, reservations=[{"client-id": client.client_id.hex(":"), "ip-address": INSIDE}])])
    lease = client.dora(secs=10)
    assert lease.address == INSIDE
    wait_quiet(*pair)
    client.mac = bed.client().mac           # another card
    for server in pair:
        assert isinstance(client.renew(lease, server=server), Ack)
        wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    impostor = bed.client()
    impostor.mac = client.mac
    assert not any(offer.address == INSIDE for offer in impostor.discover(secs=10))


@pytest.mark.parametrize("kind", ["duid", "circuit-id"])
def test_by_other_identifiers(bed, library, kind):
    if kind == "duid":
        client = bed.client(client_id=b"\xff\0\0\0\x07" + b"\0\3\0\1duid")
        value = b"\0\3\0\1duid"
    else:
        value = b"port 7"
        client = bed.client(relay=True, options={82: bytes([1, len(value)]) + value})
    pair, _ = reserved_pair(bed, library, INSIDE, client, host_reservation_identifiers=["circuit-id", "duid"], subnets=[
        small(SIZE, reservations=[{kind: value.hex(), "ip-address": INSIDE}])])
    lease = client.dora(secs=10)
    assert lease.address == INSIDE
    wait_quiet(*pair)
    held_down(*pair)
    offer, = client.discover(to=pair[1])
    assert offer.address == INSIDE
    assert_nobody_else_gets_it(bed, INSIDE, *pair)


def test_global_reservation(bed, library):
    client = bed.client("primary")
    pair, _ = reserved_pair(bed, library, INSIDE, client, subnets=[small(SIZE, reservations_global=True)],
                            reservations=[{"hw-address": client.mac, "ip-address": INSIDE}])
    lease = client.dora()
    assert (lease.address, lease.lifetime) == (INSIDE, MCLT)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    assert binding(pair[0], INSIDE)["reserved"]
    held_down(*pair)
    assert isinstance(client.renew(lease), Ack)
    assert_nobody_else_gets_it(bed, INSIDE, *pair)


def test_reservation_without_an_address(bed, library):
    """A host name only: for the hook a client like any other."""
    client = bed.client("primary")
    pair, _ = reserved_pair(bed, library, INSIDE, client, subnets=[
        small(SIZE, reservations=[{"hw-address": client.mac, "hostname": "printer"}])])
    assert status(pair[0])["bindings"]["reserved"] == 0
    lease = client.dora()
    assert lease.address in POOL and lease.lifetime == MCLT
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    assert isinstance(client.renew(lease, server=pair[1]), Ack)


def test_in_the_second_subnet_of_a_shared_network(bed, library):
    client = bed.client("primary")
    network = [subnet(1, "10.64.0.0/16", [pool(4)]),
               subnet(2, "10.65.0.0/24", [pool(4, "10.65.0.50")], reservations=[(client.mac, "10.65.0.51")])]
    pair = normal_pair(bed, library, {"subnets": [1, 2]}, shared_networks={"floor": network})
    lease = client.dora()
    assert lease.address == "10.65.0.51"
    wait_quiet(*pair)
    for server in pair:
        assert isinstance(client.renew(lease, server=server), Ack)
        wait_quiet(*pair)
    held_down(*pair)
    assert_nobody_else_gets_it(bed, "10.65.0.51", *pair)
    assert isinstance(client.renew(lease), Ack)


# --- reservations come and go ------------------------------------------------------------------------------------------

def test_address_is_another_clients_when_it_is_reserved(bed, library):
    """The reserved client waits for the promised end: neither its address nor another one before."""
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 4}, subnets=[small(SIZE)], valid_lifetime=LEASE)
    holder, client = bed.client("primary"), bed.client()
    lease = holder.dora()
    wait_quiet(*pair)
    reconfigured(bed, library, pair, [(client.mac, lease.address)], {"mclt": 4})
    for server in pair:
        assert binding(server, lease.address)["hw-address"] == holder.mac
        assert client.discover(secs=10, to=server) == []
        assert isinstance(client.init_reboot(lease.address, to=server), Nak)
        assert isinstance(holder.renew(lease, server=server), Nak), "Kea extends no lease of somebody else's address"
    other = holder.dora(secs=10)
    assert other.address != lease.address
    wait_quiet(*pair)
    assert isinstance(holder.renew(other), Ack)
    end = ends(primary, lease.address)
    wait_until(lambda: client.discover(secs=10), MCLT + 5, "its address is free at last")
    assert time.time() > end - 1
    assert client.dora(secs=10).address == lease.address
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for server in pair:
        assert server.statistics("subnet[1].assigned-addresses") == 2


def test_client_has_another_address_when_it_gets_a_reservation(bed, library):
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 4}, subnets=[small(SIZE)], valid_lifetime=LEASE)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    new = next(address for address in owned(secondary, POOL))
    reconfigured(bed, library, pair, [(client.mac, new)], {"mclt": 4})
    assert isinstance(client.renew(lease), Nak), "as plain Kea does"
    moved = client.dora(secs=10)
    assert moved.address == new
    wait_quiet(*pair)
    assert binding(primary, lease.address)["binding-state"] == "ACTIVE", "promised until its end"
    assert list(primary.leases()) == [new]
    for server in pair:
        wait_until(lambda: server.statistics("subnet[1].assigned-addresses") == 1 == len(server.leases()), 5,
                   lambda: f"one lease on {server}: {server.leases()}")
    wait_free(lease.address, *pair)
    wait_same_view(*pair, POOL)


def test_reservation_is_removed(bed, library):
    """Then it is an address like any other: its client keeps the lease, others get the address after it."""
    pair, client = reserved_pair(bed, library, INSIDE)
    lease = client.dora()
    wait_quiet(*pair)
    reconfigured(bed, library, pair, [])
    for server in pair:
        assert status(server)["bindings"]["reserved"] == 0 and not binding(server, INSIDE)["reserved"]
        answer = client.renew(lease, server=server)
        assert isinstance(answer, Ack) and answer.address == INSIDE
        wait_quiet(*pair)
    client.release(lease, server=pair[1])
    wait_free(INSIDE, *pair)
    owner, = [server for server in pair if owned(server, [INSIDE])]
    assert [offer.address for offer in bed.client().discover(hint=INSIDE, secs=10, to=owner)] == [INSIDE]


def test_declined_by_its_client(bed, library):
    """In use by somebody who shouldn't: nobody gets it for a while, its client included."""
    pair, client = reserved_pair(bed, library, INSIDE, decline_probation_period=3)
    lease = client.dora()
    wait_quiet(*pair)
    client.decline(lease)
    wait_quiet(*pair)
    for server in pair:
        assert binding(server, INSIDE)["binding-state"] == "ABANDONED"
        assert client.discover(secs=10, to=server) == []
    wait_free(INSIDE, *pair)
    assert client.dora(secs=10).address == INSIDE
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for server in pair:
        assert server.statistics("subnet[1].declined-addresses") == 0
        assert server.statistics("subnet[1].assigned-addresses") == 1
