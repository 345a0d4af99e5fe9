# SPDX-License-Identifier: MPL-2.0
"""The traps of Kea's hook points, each with a test that falls into it if the hook does."""
import contextlib
import threading
import time

import pytest

import packet
from client import Ack, Nak, Silence
from compare import address_range
from hook import (addresses_of, binding, ends, force, held_down, let_go, log_lines, normal_pair, owned, pool, small,
                  status, wait_on_disk, wait_quiet, wait_same_view, wait_states)
from kea import kea_hook, subnet
from packet import Datagram, Message
from partner import ACTIVE, BACKUP, RELEASED, scripted_primary, update
from process import WaitTimeout, wait_until

FOREVER = 0xffffffff
MCLT = 10               # of failover_parameters()
POOL = address_range("10.64.1.1", "10.64.1.32")


@pytest.fixture(params=[0, 4], ids=["single-threaded", "multi-threaded"])
def threads(request):
    return request.param


def near(lifetime, wanted):
    """A second may have begun between the server's reading of its clock and the test's."""
    return wanted - 1 <= lifetime <= wanted


def counters(server, number=1):
    """(assigned, declined) addresses of a subnet."""
    return tuple(server.statistics(f"subnet[{number}].{name}") for name in ("assigned-addresses", "declined-addresses"))


def wait_counters(wanted, *servers):
    """Each server's (assigned, declined)."""
    wanted = list(wanted) if isinstance(wanted, list) else [wanted] * len(servers)
    wait_until(lambda: [counters(server) for server in servers] == wanted, 5,
               lambda: f"counters {wanted}, but {[counters(server) for server in servers]}")


def never_negative(*servers):
    for server in servers:
        for name, samples in server.query("statistic-get-all").items():
            assert isinstance(samples[0][0], str) or samples[0][0] >= 0, f"{server}: {name} is {samples[0][0]}"


# --- reserved addresses ----------------------------------------------------------------------------------------

def test_discover_by_a_client_whose_reserved_address_is_taken(bed, library, threads):
    """SKIP in lease4_select would crash Kea 2.2 here."""
    pair = primary, secondary = normal_pair(bed, library, subnets=[small(8)], threads=threads)
    holder = bed.client("primary")
    lease = holder.dora()
    late = bed.client()
    for server in pair:
        server.reload(bed.kea_config(
            hooks=[(library, bed.failover_parameters())], threads=threads,
            subnets=[small(8, reservations=[(late.mac, lease.address)])]))
    wait_states("normal/normal", *pair)
    for secs in 0, 10:
        assert late.discover(secs=secs) == [], "it gets neither its address, which is another's, nor any other one"
    assert isinstance(late.init_reboot(lease.address), Nak)
    assert not log_lines(primary, "callout_failed|CALLOUT_FAILED") and primary.is_alive() and secondary.is_alive()
    holder.release(lease)
    wait_quiet(*pair)
    assert late.dora(secs=10).address == lease.address
    never_negative(*pair)


@contextlib.contextmanager
def repeated(*actions):
    """Meanwhile these are done over and over, by a thread each."""
    over = threading.Event()

    def repeat(action):
        while not over.is_set():
            action()
    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_reserved_address_is_taken_while_it_is_being_offered(bed, library):
    """The race variant: free when the DISCOVER came in, the partner's client's when lease4_select is called. The log of
    Kea makes the time between the two longer."""
    client, holder, address = bed.client(), bed.client(), "10.64.1.5"
    sent = []
    with scripted_primary(bed, library, threads=4, severity="DEBUG",
                          subnets=[small(8, reservations=[(client.mac, address)])]) as (server, partner):
        mark = server.log.mark()

        def take_and_give():
            for status_, lifetime in (ACTIVE, 60), (RELEASED, 0):
                partner.send(update(address, status_, holder.mac, lifetime, xid=partner.next_xid()))

        def ask():
            sent.append(client._transmit(packet.DISCOVER, to=server, secs=10))
        with repeated(take_and_give, ask), contextlib.suppress(WaitTimeout):
            wait_until(lambda: not server.is_alive() or server.log.find("lease 0.0.0.0 will be advertised", mark), 10, "")
        wait_quiet(server)
        bed.wire.settle([server])
        assert {message.yiaddr for one in sent for message, _, _ in bed.wire.arrived(one.key)} == {address}
        assert not log_lines(server, "CALLOUT_FAILED")
        assert [offer.address for offer in client.discover(to=server)] == [address]


def test_address_is_taken_away_while_it_is_being_given(bed, library):
    """The same between a REQUEST's verdict and its lease: no row and no count is left of what was not given."""
    client, holder, address = bed.client(), bed.client(), "10.64.1.5"
    with scripted_primary(bed, library, threads=4, severity="DEBUG", subnets=[small(8)]) as (server, partner):
        def take_and_give():
            for status_, lifetime in (ACTIVE, 60), (RELEASED, 0), (BACKUP, 0):
                partner.send(update(address, status_, holder.mac, lifetime, xid=partner.next_xid()))

        def ask():
            client._transmit(packet.REQUEST, to=server, requested=address, server_id=server.host.address)
        with repeated(take_and_give, ask):
            time.sleep(2)
        wait_quiet(server)
        bed.wire.settle([server])
        held, rows = binding(server, address), server.leases()
        if held["binding-state"] == "ACTIVE":
            assert rows[address]["hw-address"] == held["hw-address"]
        else:
            assert address not in rows
        assert counters(server) == (len(rows), 0)
        assert not log_lines(server, "CALLOUT_FAILED|LEASE_FAILED")


# --- expired rows --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("reclaim", [0, 1], ids=["Kea reclaims nothing", "Kea reclaims each second"])
def test_request_over_an_expired_row_of_another_client(bed, library, reclaim):
    """Kea counts such a row off before it asks the hook, and leaves it there if the hook says no."""
    pair = primary, secondary = normal_pair(bed, library, valid_lifetime=2,
                                            expired_leases_processing={"reclaim-timer-wait-time": reclaim})
    lease = bed.client("secondary").dora()
    wait_quiet(*pair)
    assert counters(secondary) == (1, 0)
    primary.pause()         # who alone ends leases in normal
    wait_until(lambda: time.time() > lease.ends + 1 and (reclaim == 0 or secondary.leases()[lease.address]["state"] == 2),
               5, "the lease is over")
    assert binding(secondary, lease.address)["binding-state"] == "ACTIVE", "the partner decides that it is over"
    other = bed.client("secondary")
    assert [offer.address == lease.address for offer in other.discover(hint=lease.address, to=secondary)] == [False]
    for _ in range(3):
        assert isinstance(other.request_raw(requested=lease.address, server_id=secondary.host.address, to=secondary)[0],
                          Nak)
        assert counters(secondary) == (0, 0)
    primary.resume()
    wait_quiet(*pair)
    wait_until(lambda: binding(secondary, lease.address)["binding-state"] == "FREE", 5, "expired on both")
    wait_states("normal/normal", *pair)
    wait_same_view(*pair, POOL)
    wait_counters((0, 0), *pair)
    never_negative(*pair)


def test_many_leases_expire_while_kea_reclaims_too(bed, library, threads):
    pair = normal_pair(bed, library, valid_lifetime=2, threads=threads)
    for _ in range(2):
        clients = [bed.client(role) for role in ("primary", "secondary") for _ in range(8)]
        leases = [client.dora() for client in clients]
        assert len({lease.address for lease in leases}) == len(leases)
        wait_until(lambda: all(status(server)["bindings"]["active"] == 0 for server in pair), 10, "all have ended")
        wait_quiet(*pair)
        for server in pair:
            never_negative(server)
            assert counters(server) == (0, 0)
            assert all(lease["state"] == 2 for lease in server.leases().values())
    wait_same_view(*pair, POOL)
    assert sum(status(server)["bindings"]["free-mine"] for server in pair) == len(POOL)


# --- lifetimes that don't end, and lease caching -----------------------------------------------------------------

def infinite_pair(bed, library, parameters=None):
    return normal_pair(bed, library, parameters, valid_lifetime=FOREVER)


def test_infinite_lifetime_is_capped_until_the_partner_knows(bed, library):
    pair = primary, secondary = infinite_pair(bed, library)
    client = bed.client("primary")
    offer, = client.discover()
    assert offer.lifetime == MCLT
    secondary.pause()
    lease = client.request(offer)
    assert lease.lifetime == MCLT
    for again in client.renew(lease), client.rebind(lease, to=primary), client.init_reboot(lease.address, to=primary):
        assert isinstance(again, Ack) and near(again.lifetime, MCLT), "nobody but this server knows of it"
    assert [near(offer.lifetime, MCLT) for offer in client.discover(to=primary)] == [True]
    assert near(primary.leases()[lease.address]["valid-lft"], MCLT)
    secondary.resume()
    wait_quiet(*pair)
    assert client.renew(lease).lifetime == FOREVER, "acknowledged: the MCLT rule has nothing against it any more"
    wait_quiet(*pair)
    assert ends(primary, lease.address) == ends(secondary, lease.address) == float("inf")
    wait_same_view(*pair, POOL)
    assert secondary.leases()[lease.address]["valid-lft"] == FOREVER
    client.release(lease)
    wait_quiet(*pair)
    assert binding(secondary, lease.address)["binding-state"] == "FREE" and counters(primary) == (0, 0)


@pytest.mark.parametrize("policy", ["replace", "extend"])
def test_infinite_lifetime_while_interrupted(bed, library, policy):
    pair = primary, _ = infinite_pair(bed, library, {"interrupted_leases": policy})
    held_down(*pair)
    client = bed.client()
    lease = client.dora(server=primary)
    assert lease.lifetime == MCLT
    answer = client.renew(lease)
    if policy == "replace":
        assert isinstance(answer, Nak), "a lease given during the interruption is not extended"
        wait_on_disk(primary, lease)
        lease = client.dora(server=primary)
        assert lease.lifetime == MCLT
    else:
        assert near(answer.lifetime, MCLT)
    force(primary, "partner-down")
    assert near(client.renew(lease).lifetime, MCLT)


@pytest.mark.parametrize("lifetime", [0x80000000, FOREVER - 1])
def test_lifetime_beyond_2038_is_not_wrapped(bed, library, lifetime):
    pair = primary, secondary = normal_pair(bed, library, valid_lifetime=lifetime)
    client = bed.client("primary")
    lease = client.dora()
    assert lease.lifetime == MCLT
    wait_quiet(*pair)
    long_lease = client.renew(lease)
    assert long_lease.lifetime > 0x70000000
    wait_quiet(*pair)
    assert ends(primary, lease.address) > time.time() + 0x70000000 < ends(secondary, lease.address)
    assert near(client.renew(lease).lifetime, lifetime) or client.renew(lease).lifetime > 0x70000000


def cached_pair(bed, library, parameters=None, **options):
    return normal_pair(bed, library, parameters, **{"valid_lifetime": 60, "cache_threshold": 0.9, **options})


@pytest.mark.parametrize("cache", [{"cache_threshold": 0.9}, {"cache_threshold": 0.9, "cache_max_age": 30}],
                         ids=["threshold", "threshold and age"])
def test_cached_renewal_hands_out_what_is_left(bed, library, cache):
    pair = primary, _ = cached_pair(bed, library, **cache)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    told = status(primary)["counters"]["updates-sent"]
    time.sleep(1.1)         # whole seconds are what leases are counted in
    for answer in client.renew(lease), client.rebind(lease, to=primary), client.init_reboot(lease.address, to=primary):
        assert isinstance(answer, Ack)
        assert answer.lifetime < MCLT and abs(answer.ends - lease.ends) <= 1, "what is left of it"
    assert [abs(offer.ends - lease.ends) <= 1 for offer in client.discover()] == [True]
    assert status(primary)["counters"]["updates-sent"] == told, "nothing new to tell"
    wait_same_view(*pair, POOL)


def test_cached_renewal_while_interrupted(bed, library):
    """It extends nothing, so it is no extension in the sense of `replace`, and none that `replace` forbids is hidden
    in it."""
    pair = primary, secondary = cached_pair(bed, library)
    client, late = bed.client("primary"), bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    held_down(*pair)
    answer = client.renew(lease)
    assert isinstance(answer, Ack) and near(answer.lifetime, MCLT)
    assert not binding(primary, lease.address)["extended"]
    new = late.dora(server=primary)
    wait_on_disk(primary, new)
    assert isinstance(late.renew(new), Nak), "given during the interruption: its renewals are refused"
    assert new.address not in primary.leases()


def test_cached_renewal_in_partner_down_and_without_an_end(bed, library):
    pair = primary, _ = cached_pair(bed, library, valid_lifetime=FOREVER)
    held_down(*pair)
    force(primary, "partner-down")
    client = bed.client()
    lease = client.dora(server=primary)
    for answer in client.renew(lease), client.rebind(lease, to=primary):
        assert near(answer.lifetime, MCLT)


# --- INIT-REBOOT -----------------------------------------------------------------------------------------------------

@pytest.fixture(params=[True, False], ids=["authoritative", "not authoritative"])
def authoritative(request):
    return request.param


@pytest.mark.parametrize("policy", ["replace", "extend"])
@pytest.mark.parametrize("linked", [True, False], ids=["normal", "interrupted"])
def test_init_reboot(bed, library, authoritative, linked, policy):
    pair = primary, secondary = normal_pair(bed, library, {"interrupted_leases": policy}, authoritative=authoritative)
    client, other, stranger = bed.client("primary"), bed.client("primary"), bed.client("primary")
    lease, anothers = client.dora(), other.dora()
    wait_quiet(*pair)
    if not linked:
        held_down(*pair)
    mine, partners = owned(primary, POOL)[0], owned(secondary, POOL)[0]

    # A client that both know: at either server, as at any renewal
    for server in pair:
        answer = client.init_reboot(lease.address, to=server)
        assert isinstance(answer, Ack) and answer.address == lease.address
    # While interrupted the second renewal is refused, if so decided, whatever `authoritative` says
    answer = client.init_reboot(lease.address, to=primary)
    assert isinstance(answer, Nak if not linked and policy == "replace" else Ack)
    # The wrong address: another client's, or one in no pool
    assert isinstance(client.init_reboot(anothers.address, to=primary), Nak)
    assert isinstance(client.init_reboot("10.64.200.200", to=primary), Nak)
    assert isinstance(stranger.init_reboot(anothers.address, to=primary), Nak)
    # A free address of the partner's, who may know this client
    assert isinstance(stranger.init_reboot(partners, to=primary), Silence)
    assert isinstance(client.init_reboot(partners, to=primary), Silence)
    # An own one: nobody but this server can know, and as plain Kea it refuses only where it is authoritative
    assert isinstance(stranger.init_reboot(mine, to=primary), Nak if authoritative else Silence)
    never_negative(*pair)


# --- RELEASE and DECLINE while the server is silent ----------------------------------------------------------------

@pytest.mark.parametrize("state", ["shutdown", "recover"])
def test_release_and_decline_while_silent_leave_the_lease(bed, library, state, threads):
    pair = primary, _ = normal_pair(bed, library, threads=threads)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    if state == "recover":
        held_down(*pair)
    force(primary, state)
    before, row = binding(primary, lease.address), primary.leases()[lease.address]
    client.release(lease, server=primary)
    client.decline(lease, to=primary)
    assert primary.leases()[lease.address] == row
    after = binding(primary, lease.address)
    assert {key: after[key] for key in ("binding-state", "ends", "hw-address")} == {
        key: before[key] for key in ("binding-state", "ends", "hw-address")}
    assert counters(primary) == (1, 0)
    for answer in (client.renew(lease, server=primary), client.rebind(lease, to=primary),
                   client.init_reboot(lease.address, to=primary), client.inform(lease.address, to=primary)):
        assert isinstance(answer, Silence)
    assert client.discover(to=primary) == []


# --- statistics --------------------------------------------------------------------------------------------------------

def test_statistics_of_a_lease_and_its_renewals(bed, library, threads):
    pair = primary, secondary = normal_pair(bed, library, threads=threads)
    client = bed.client("primary")
    lease = client.dora()
    assert counters(primary) == (1, 0)
    wait_counters((1, 0), *pair)
    for server in pair:
        assert isinstance(client.renew(lease, server=server), Ack)
        assert counters(server) == (1, 0)
        wait_quiet(*pair)
    wait_counters((1, 0), *pair)
    client.release(lease, server=secondary)     # the one that it has spoken with last
    assert counters(secondary) == (0, 0)
    wait_counters((0, 0), *pair)
    assert not primary.leases() and not secondary.leases()
    # Its next life
    assert client.dora().address
    wait_counters((1, 0), *pair)
    never_negative(*pair)


def test_statistics_right_after_a_refused_renewal(bed, library, threads):
    pair = primary, secondary = normal_pair(bed, library, threads=threads, valid_lifetime=60)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    held_down(*pair)
    assert isinstance(client.renew(lease), Ack) and counters(primary) == (1, 0)
    wait_on_disk(primary, lease)
    for _ in range(3):
        assert isinstance(client.renew(lease), Nak)
        assert counters(primary) == (0, 0) and not primary.leases()
    other = client.dora(server=primary)
    assert other.address != lease.address and counters(primary) == (1, 0)
    assert binding(primary, lease.address)["binding-state"] == "ACTIVE", "promised until its end"
    for server in pair:
        never_negative(server)
        cumulative = server.statistics("subnet[1].cumulative-assigned-addresses")
        assert cumulative in (0, 1, 2), f"{server}: {cumulative}"
    let_go(*pair)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    wait_counters((1, 0), *pair)


def test_statistics_of_a_declined_address(bed, library):
    """Seen by the secondary only (a primary that refuses it would offer the address again)."""
    pair = primary, secondary = normal_pair(bed, library, valid_lifetime=60, decline_probation_period=3)
    client = bed.client("secondary")
    lease = client.dora()
    wait_counters((1, 0), *pair)
    declined = time.time()
    client.decline(lease, to=secondary)
    assert counters(secondary) == (1, 1) and secondary.statistics("declined-addresses") == 1
    wait_quiet(*pair)
    for server in pair:
        assert binding(server, lease.address)["binding-state"] == "ABANDONED"
    assert counters(primary) == (0, 0), "Kea's database has there what clients hold"
    other = bed.client()
    for server in pair:
        assert [offer.address != lease.address for offer in other.discover(hint=lease.address, secs=10, to=server)] == [
            True]
        assert isinstance(other.init_reboot(lease.address, to=server), Nak)
    wait_until(lambda: binding(secondary, lease.address)["binding-state"] == "FREE", 15,
               "the probation is over, and the lease of before")
    assert time.time() >= declined + 2
    wait_counters((0, 0), *pair)
    for server in pair:
        assert server.statistics("declined-addresses") == 0
        never_negative(server)
    wait_same_view(*pair, POOL)


def test_statistics_of_an_expired_lease(bed, library):
    pair = primary, secondary = normal_pair(bed, library, valid_lifetime=2)
    for role in "primary", "secondary":
        lease = bed.client(role).dora()
        wait_counters((1, 0), *pair)
        wait_until(lambda: binding(secondary, lease.address)["binding-state"] == "FREE", 8, "expired")
        wait_counters((0, 0), *pair)
        never_negative(*pair)


# --- who a client is ---------------------------------------------------------------------------------------------------

def assert_served(bed, pair, client, address=None):
    """A whole life at both servers, with rows and counters; leaves nothing behind."""
    lease = client.dora(secs=10)
    assert address in (None, lease.address)
    wait_quiet(*pair)
    for server in pair:
        answer = client.renew(lease, server=server)
        assert isinstance(answer, Ack), f"{server}: {answer}"
        assert [offer.address for offer in client.discover(secs=10, to=server)] == [lease.address]
        assert client.init_reboot(lease.address, to=server)
        wait_quiet(*pair)
    wait_same_view(*pair, [lease.address])
    wait_counters((1, 0), *pair)
    client.release(lease, server=pair[-1])      # the one that it has spoken with last
    wait_quiet(*pair)
    wait_counters((0, 0), *pair)
    return lease.address


@pytest.mark.parametrize("match", [True, False], ids=["match-client-id", "not match-client-id"])
@pytest.mark.parametrize("client_id", [None, "mac", b"\xff\x01\x02\x03\x04duid", b"x" * 128, b"\0\0"],
                         ids=["none", "mac", "duid", "longest", "zeros"])
def test_client_identifiers(bed, library, client_id, match):
    pair = normal_pair(bed, library, match_client_id=match)
    assert_served(bed, pair, bed.client(client_id=client_id))


@pytest.mark.parametrize("client_id", [b"\x07", b"x" * 129, b"x" * 255], ids=["1 byte", "129 bytes", "255 bytes"])
def test_client_identifier_that_kea_does_not_take(bed, library, client_id):
    """Kea drops such a client's packets; the hook sees to it that no more comes of it."""
    pair = normal_pair(bed, library)
    client = bed.client(client_id=client_id)
    assert client.discover(secs=10) == []
    assert isinstance(client.init_reboot(POOL[0]), Silence)
    assert all(server.is_alive() and not server.leases() for server in pair)
    assert_served(bed, pair, bed.client())


def test_same_identifier_with_a_new_mac(bed, library):
    pair = normal_pair(bed, library)
    client = bed.client(client_id=b"\0the same")
    lease = client.dora(secs=10)
    wait_quiet(*pair)
    client.mac = bed.client().mac
    for server in pair:
        answer = client.renew(lease, server=server)
        assert isinstance(answer, Ack)
        assert [offer.address for offer in client.discover(secs=10, to=server)] == [lease.address]
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    assert all(binding(server, lease.address)["hw-address"] == client.mac for server in pair)
    wait_counters((1, 0), *pair)


def test_same_mac_with_a_new_identifier(bed, library):
    """Another client, as plain Kea has it: a boot loader and the system it loads."""
    pair = normal_pair(bed, library)
    first = bed.client(client_id=b"\0loader")
    second = bed.client(client_id=b"\0system")
    second.mac = first.mac
    one, other = first.dora(secs=10), second.dora(secs=10)
    assert one.address != other.address
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for server in pair:
        assert isinstance(second.renew(one, server=server), Nak)
        assert isinstance(second.renew(other, server=server), Ack)
        assert isinstance(first.renew(one, server=server), Ack)
    wait_quiet(*pair)
    wait_counters((2, 0), *pair)


def test_not_match_client_id_knows_a_client_by_its_mac(bed, library):
    pair = normal_pair(bed, library, match_client_id=False)
    client = bed.client(client_id=b"\0loader")
    lease = client.dora(secs=10)
    wait_quiet(*pair)
    client.client_id = b"\0system"
    for server in pair:
        assert isinstance(client.renew(lease, server=server), Ack)
        assert [offer.address for offer in client.discover(secs=10, to=server)] == [lease.address]
    client.client_id = None
    assert isinstance(client.renew(lease), Ack)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    wait_counters((1, 0), *pair)


def test_identifier_of_the_client_before_is_forgotten(bed, library):
    pair = normal_pair(bed, library, subnets=[small(2)])
    first = bed.client(client_id=b"\0first")
    lease = first.dora(secs=10)
    first.release(lease)
    wait_quiet(*pair)
    second = bed.client("primary")
    assert second.dora(secs=10).address
    wait_quiet(*pair)
    for server in pair:
        assert server.command("lease4-get-by-client-id", client_id=first.client_id.hex(":"))["result"] == 3
        assert len(server.query("lease4-get-by-hw-address", hw_address=second.mac)["leases"]) == 1


# --- networks, classes, relays -------------------------------------------------------------------------------------

def network(first=4, second=4):
    return [subnet(1, "10.64.0.0/16", [pool(first)]), subnet(2, "10.65.0.0/24", [pool(second, "10.65.0.50")])]


def drain(bed, server, limit=40, **options):
    """New clients until one gets no offer of this server's; the leases of the others."""
    leases = []
    for _ in range(limit):
        client = bed.client(**options)
        offers = client.discover(secs=10, to=server)
        if not offers:
            return leases
        leases.append(client.request(offers[0], to=server))
        assert isinstance(leases[-1], Ack), leases[-1]
    raise AssertionError(f"{server} still has addresses after {limit} clients")


def test_shared_network(bed, library, threads):
    """The first subnet's own half is used up: on to the second; both are: silence, and no endless search."""
    pair = primary, secondary = normal_pair(bed, library, {"subnets": [1, 2]}, shared_networks={"floor": network()},
                                            threads=threads)
    held_down(*pair)        # so that nothing is balanced meanwhile
    leases = drain(bed, primary)
    assert [lease.address[:6] for lease in leases] == ["10.64."] * 2 + ["10.65."] * 2
    others = drain(bed, secondary)
    assert [lease.address[:6] for lease in others] == ["10.64."] * 2 + ["10.65."] * 2
    assert len({lease.address for lease in leases + others}) == 8
    assert log_lines(primary, "no own free address for a new client in communications-interrupted.*partner-down")
    let_go(*pair)
    wait_quiet(*pair)
    addresses = address_range("10.64.1.1", "10.64.1.4") + address_range("10.65.0.50", "10.65.0.53")
    wait_same_view(*pair, addresses)
    for server in pair:
        assert counters(server, 1) == counters(server, 2) == (4, 0)
        never_negative(server)


def test_client_moves_to_the_other_subnet_and_keeps_one_row(bed, library):
    pair = primary, secondary = normal_pair(bed, library, {"subnets": [1, 2]}, valid_lifetime=60,
                                            shared_networks={"floor": network(2)})
    client = bed.client("primary")
    lease = client.dora()
    assert lease.address.startswith("10.64.")
    wait_quiet(*pair)
    held_down(*pair)
    assert isinstance(client.renew(lease), Ack)
    wait_on_disk(primary, lease)
    assert isinstance(client.renew(lease), Nak)
    other = client.dora(server=primary)
    assert other.address.startswith("10.65."), "the only own address of the first subnet is still promised"
    assert list(primary.leases()) == [other.address]
    assert (counters(primary, 1), counters(primary, 2)) == ((0, 0), (1, 0))
    let_go(*pair)
    wait_quiet(*pair)
    wait_until(lambda: list(secondary.leases()) == [other.address], 5, secondary.leases)
    assert (counters(secondary, 1), counters(secondary, 2)) == ((0, 0), (1, 0))


def test_pool_guarded_by_a_class(bed, library):
    pair = primary, secondary = normal_pair(
        bed, library, client_classes=[{"name": "phone", "test": "option[60].text == 'phone'"}],
        subnets=[subnet(pools=[pool(4), (pool(4, "10.64.2.1"), "phone")])])
    held_down(*pair)
    plain = drain(bed, primary)
    assert [lease.address[:8] for lease in plain] == ["10.64.1."] * 2, "never from the phones' pool"
    phones = drain(bed, primary, options={60: b"phone"})
    assert [lease.address[:8] for lease in phones] == ["10.64.2."] * 2
    # No way in for others, asked for by name
    free = owned(secondary, address_range("10.64.2.1", "10.64.2.4"))[0]
    stranger = bed.client()
    assert [offer.address[:8] for offer in stranger.discover(hint=free, to=secondary)] == ["10.64.1."]
    answers = stranger.request_raw(requested=free, server_id=secondary.host.address, to=secondary)
    assert not any(isinstance(answer, Ack) for answer in answers)


def test_hint_for_an_address_of_the_partners(bed, library, threads):
    primary, secondary = normal_pair(bed, library, threads=threads)
    mine, partners = owned(primary, POOL), owned(secondary, POOL)
    for server, own, other in (primary, mine, partners), (secondary, partners, mine):
        for hint in other:
            offer, = bed.client().discover(hint=hint, secs=10, to=server)
            assert offer.address in own and offer.lifetime == MCLT
        assert [offer.address for offer in bed.client().discover(hint=own[3], secs=10, to=server)] == [own[3]]
    client = bed.client()
    answer, = client.request_raw(requested=partners[0], server_id=primary.host.address, to=primary)
    assert isinstance(answer, Nak), "it selected this server for an address that this server may not give"
    assert client.request_raw(requested=partners[0], server_id=secondary.host.address, to=primary) == []
    assert counters(primary) == (0, 0)


def test_client_that_lost_its_ack(bed, library):
    pair = primary, _ = normal_pair(bed, library, valid_lifetime=60)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    end = binding(primary, lease.address)["ends"]
    time.sleep(1.1)         # so that a lease begun anew would have another end
    again = client.repeat(lease)
    assert isinstance(again, Ack) and again.address == lease.address
    assert abs(again.ends - lease.ends) <= 1, "the end of before, although the partner would allow more now"
    assert binding(primary, lease.address)["ends"] == end
    # The same with a renewal, in an interruption that allows one only
    wait_quiet(*pair)
    held_down(*pair)
    renewed = client.renew(lease)
    again = client.repeat(renewed)
    assert isinstance(again, Ack) and abs(again.ends - renewed.ends) <= 1
    assert isinstance(client.renew(lease), Nak), "another transaction"


def test_bootp_client(bed, library):
    """It would keep its address for ever: none of a shared pool; a reservation outside is its own."""
    inside, outside = bed.client(), bed.client()
    parameters = bed.failover_parameters()
    pair = bed.kea_pair(bed.kea_config(
        hooks=[(kea_hook("libdhcp_bootp.so"), None), (library, parameters)],
        subnets=[small(8, reservations=[(outside.mac, "10.64.3.3")])]))
    wait_states("normal/normal", *pair)
    wait_quiet(*pair)
    for client in inside, outside:
        frame = Datagram(client.mac, packet.BROADCAST_MAC, "0.0.0.0", "255.255.255.255", 68, 67,
                         Message(xid=7, chaddr=client.mac).encode()).encode()
        bed.wire.send(frame)
        bed.wire.settle(pair)
    for server in pair:
        assert list(server.leases()) == ["10.64.3.3"]
        assert log_lines(server, f"{inside.mac}.*BOOTP clients get no address")
        assert status(server)["bindings"]["active"] == 0


def test_relayed_clients(bed, library):
    pair = primary, secondary = normal_pair(
        bed, library, {"subnets": [1, 2]},
        subnets=[small(8), subnet(2, "10.66.0.0/24", [pool(8, "10.66.0.50")])])
    leases = []
    for role in "primary", "secondary":
        for _ in range(3):
            client = bed.client(role, relay="10.66.0.1")
            leases.append(client.dora())
            wait_quiet(*pair)
            for server in pair:
                assert isinstance(client.renew(leases[-1], server=server), Ack)
                assert isinstance(client.rebind(leases[-1], to=server), Ack)
    assert {lease.source for lease in leases} == {primary.host.address, secondary.host.address}
    wait_quiet(*pair)
    wait_same_view(*pair, address_range("10.66.0.50", "10.66.0.57"))
    assert counters(primary, 2) == counters(secondary, 2) == (6, 0)
    held_down(*pair)
    nak = bed.client(relay="10.66.0.1").init_reboot(leases[0].address, to=primary)
    assert isinstance(nak, Nak) and nak.message.giaddr == "10.66.0.1"


def test_packets_wait_while_the_server_has_no_turn(bed, library):
    """Kea's own socket holds less than 200 of them and drops the rest."""
    count = 1000
    primary, _ = normal_pair(bed, library)
    client = bed.client("primary")
    for wanted in (count, 2 * count):
        primary.pause()
        for _ in range(count):
            client.discover(to=primary, timeout=0)
        primary.resume()
        wait_until(lambda: primary.statistics("pkt4-offer-sent") >= wanted, 10,
                   lambda: f"{wanted} offers, but {primary.statistics('pkt4-offer-sent')}")
        primary.reload()    # opens the sockets again


# --- the operator's hands ------------------------------------------------------------------------------------------------

def test_lease_added_by_the_operator(bed, library):
    pair = primary, secondary = normal_pair(bed, library)
    client = bed.client()
    address = owned(primary, POOL)[3]
    primary.query("lease4-add", ip_address=address, hw_address=client.mac, subnet_id=1, valid_lft=300)
    wait_quiet(*pair)
    wait_until(lambda: address in secondary.leases(), 5, "the partner knows it")
    for server in pair:
        assert binding(server, address)["hw-address"] == client.mac
        assert counters(server) == (1, 0)
        assert [offer.address for offer in client.discover(secs=10, to=server)] == [address]
        assert isinstance(client.init_reboot(address, to=server), Ack)
    wait_same_view(*pair, POOL)


def test_lease_deleted_by_the_operator(bed, library):
    """The client may still use it: nobody else gets it before its end, and it can be renewed."""
    pair = primary, secondary = normal_pair(bed, library, subnets=[small(2)])
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    primary.query("lease4-del", ip_address=lease.address)
    assert counters(primary) == (0, 0)
    other = bed.client()
    assert lease.address not in [offer.address for offer in other.discover(secs=10, hint=lease.address)]
    assert isinstance(other.init_reboot(lease.address, to=primary), Nak)
    assert isinstance(client.renew(lease), Ack)
    wait_quiet(*pair)
    wait_counters((1, 0), *pair)
    wait_same_view(*pair, address_range("10.64.1.1", "10.64.1.2"))
    primary.query("lease4-wipe", subnet_id=1)
    assert isinstance(client.renew(lease), Ack)
    wait_quiet(*pair)
    wait_counters((1, 0), *pair)
    never_negative(*pair)


# --- big pools ---------------------------------------------------------------------------------------------------------------

BIG = 65000


def timed(function):
    """(result, seconds)"""
    begin = time.monotonic()
    result = function()
    return result, time.monotonic() - begin


def test_big_pool_without_an_own_address(bed, library):
    """A server without a record owns nothing until STOS + MCLT: Kea must not be left to try each address."""
    server, = bed.start_all(bed.kea("srv1", bed.kea_config(
        hooks=[(library, bed.failover_parameters(mclt=3600))],
        subnets=[subnet(prefix="10.64.0.0/13", pools=["10.65.0.1 - 10.69.255.254"])])))
    force(server, "partner-down")
    assert status(server)["bindings"]["free-mine"] == 0
    times = []
    for _ in range(5):
        _, seconds = timed(lambda: bed.wire.settle([server]) if bed.client()._transmit(packet.DISCOVER) else None)
        times.append(seconds)
    assert min(times) < 0.3, times
    assert server.statistics("v4-allocation-fail") == 5
    assert status(server)["counters"]["exhausted"] == 5


def test_big_subnets_of_a_shared_network_without_an_own_address(bed, library):
    """Kea tries each address of a subnet before it goes on to the next: that takes seconds here, for each client."""
    nets = [subnet(number, f"10.{65 + number}.0.0/16", [pool(BIG, f"10.{65 + number}.0.1")]) for number in range(1, 9)]
    nets.append(small(8, number=9))
    with scripted_primary(bed, library, {"subnets": list(range(1, 10))}, shared_networks={"floor": nets}) as (
            server, partner):
        for address in addresses_of(2):
            assert partner.rejection(update(address, BACKUP)) is None
        times = []
        for _ in range(4):
            offers, seconds = timed(lambda: bed.client(relay="10.66.255.254").discover(secs=10, timeout=10))
            assert [offer.address in addresses_of(2) for offer in offers] == [True]
            times.append(seconds)
        assert min(times) < 0.3, times
