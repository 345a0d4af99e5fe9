# SPDX-License-Identifier: MPL-2.0
"""What clients see in each state: the table in the README, row by row, with real servers."""
import contextlib
import time

import pytest

from client import Ack, Nak, Silence
from hook import (addresses_of, binding, force, held_down, in_conflict, is_free, let_go, locked, log_lines, lose, near,
                  normal_pair, owned, pair_config, pending, roles, serve, small, states, status, wait_free, wait_known,
                  wait_on_disk, wait_quiet, wait_same_view, wait_states, wait_time, wipe)
from kea import subnet
from process import wait_until

MCLT, LEASE = 6, 600
POOL = addresses_of(32)
OUTSIDE_MAC, OUTSIDE = "0e:00:00:00:00:77", "10.64.3.3"     # a reservation in no pool


@pytest.fixture(params=[0, 2], ids=["single-threaded", "multi-threaded"])
def threads(request):
    return request.param


def pair(bed, library, threads=0, subnets=None, reservations=(), lease=LEASE, **parameters):
    """A pair in normal with the times of this file."""
    return normal_pair(bed, library, {"mclt": MCLT, **parameters}, threads=threads, valid_lifetime=lease,
                       subnets=subnets or [subnet(reservations=reservations)])


def known_lease(client, server, other):
    """A lease that the other server knows of, renewed to its full time."""
    lease = client.dora(server)
    wait_quiet(server, other)
    lease = client.renew(lease)
    assert lease.lifetime in near(LEASE)
    wait_quiet(server, other)
    return lease


def assert_silent(server, client, lease, newcomer, renews=False):
    """Nothing that a client can send is answered, or ends a lease; renews: but for a renewal by who has one."""
    state = states(server)
    assert newcomer.discover(secs=100, to=server) == [], f"DISCOVER in {state}"
    assert isinstance(newcomer.init_reboot(POOL[-1], to=server), Silence), f"INIT-REBOOT in {state}"
    answer = Ack if renews else Silence
    assert isinstance(client.renew(lease, server), answer), f"renewal in {state}"
    assert isinstance(client.rebind(lease, to=server), answer), f"REBINDING in {state}"
    assert isinstance(client.init_reboot(lease.address, to=server), answer), f"INIT-REBOOT in {state}"
    assert isinstance(client.inform("10.64.200.1", to=server), Silence), f"INFORM in {state}"
    client.release(lease, server)
    client.decline(lease, to=server)
    assert binding(server, lease.address)["binding-state"] == "ACTIVE", f"RELEASE or DECLINE in {state}"
    assert lease.address in server.leases()
    assert states(server) == state, "it has changed while the test looked at it"


def assert_moves(client, server, lease):
    """The client is refused its address, and gets another one of the server's own for the MCLT; that lease."""
    wait_on_disk(server, lease)
    assert isinstance(client.renew(lease, server), Nak)
    mine = owned(server, POOL)
    other = serve(client, server)
    assert other.address in mine and other.address != lease.address and other.lifetime == MCLT
    return other


def end_given(server, lease):
    """The end of the lease to the second, as this server, who gave it last, has it."""
    now = binding(server, lease.address)
    assert now["lease-expiration"] - now["client-last-transaction-time"] == lease.lifetime
    return now["lease-expiration"]


# --- startup ---------------------------------------------------------------------------------------------------------

def test_startup_is_silent_until_the_partners_state_is_known(bed, library, threads):
    primary, secondary = pair(bed, library, threads, startup_delay=60)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    secondary.kill9()
    primary.restart()
    assert states(primary) == "startup" and 30 < pending(primary)["end of startup"] <= 60
    assert_silent(primary, client, lease, bed.client("primary"))
    secondary.start()
    wait_states("normal/normal", primary, secondary, timeout=10)
    assert isinstance(client.renew(lease, primary), Ack)


def test_startup_ends_after_its_delay(bed, library):
    primary, secondary = pair(bed, library, startup_delay=1)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    secondary.kill9()
    primary.restart()
    wait_states("communications-interrupted", primary, timeout=5)
    assert isinstance(client.renew(lease, primary), Ack)
    assert serve(bed.client(), primary)


# --- normal ----------------------------------------------------------------------------------------------------------

def test_normal_each_server_leases_its_own_addresses_to_its_clients(bed, library, threads):
    primary, secondary = pair(bed, library, threads)
    assert not set(owned(primary, POOL)) & set(owned(secondary, POOL))
    for role, server, other in ("primary", primary, secondary), ("secondary", secondary, primary):
        for client_id in None, "mac":
            client = bed.client(role, client_id=client_id)
            mine = owned(server, POOL)
            offer, = client.discover()
            assert offer.source == server.host.address and offer.address in mine
            lease = client.request(offer)
            assert (lease.address, lease.lifetime) == (offer.address, MCLT)
            assert client.answers(lease) == [lease], "a selecting REQUEST that names the other server is not ours"
            wait_known(other, lease)
            assert other.leases()[lease.address]["hw-address"] == client.mac
            assert lease.address in other.lease_file()
    wait_same_view(primary, secondary, POOL)


def test_normal_any_server_renews_within_the_mclt_rule(bed, library, threads):
    primary, secondary = pair(bed, library, threads)
    for role, server, other in ("primary", primary, secondary), ("secondary", secondary, primary):
        client = bed.client(role)
        lease = client.dora()
        assert lease.lifetime == MCLT
        wait_quiet(primary, secondary)
        for by in other, server:
            lease = client.renew(lease, server=by)
            assert lease.source == by.host.address and lease.lifetime in near(LEASE)
            wait_known(other if by is server else server, lease)
            wait_quiet(primary, secondary)
        rebound = client.rebind(lease)
        assert len(client.answers(rebound)) == 2, "a broadcast for a known lease is answered by both"
        assert isinstance(client.init_reboot(lease.address), Ack)
        assert len({one.leases()[lease.address]["hw-address"] for one in (server, other)}) == 1
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_normal_no_lease_ends_later_than_acked_plus_mclt(bed, library):
    primary, secondary = pair(bed, library)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    acked = binding(primary, lease.address)["acked-potential-expiration"]
    assert acked in near(lease.ends + LEASE // 2), "the partner is told now + desired + granted / 2"
    for server in primary, secondary:
        server.reload(pair_config(bed, library, {"mclt": MCLT}, valid_lifetime=50 * LEASE))
    wait_states("normal/normal", primary, secondary)
    lease = client.renew(lease, primary)
    assert end_given(primary, lease) in (acked + MCLT - 1, acked + MCLT)
    short = pair_config(bed, library, {"mclt": MCLT}, valid_lifetime=MCLT - 2)
    for server in primary, secondary:
        server.reload(short)
    wait_states("normal/normal", primary, secondary)
    assert bed.client().dora().lifetime == MCLT - 2, "a desired lifetime within the rule is granted as it is"


def test_normal_nobody_waits_for_ever(bed, library):
    primary, secondary = pair(bed, library, load_balance_max_seconds=1)
    client = bed.client("primary")
    assert {offer.source for offer in client.discover(secs=2)} == {primary.host.address, secondary.host.address}
    patient = bed.client("secondary")
    assert [offer.source for offer in patient.discover()] == [secondary.host.address]
    wait_until(lambda: len(patient.discover(secs=0)) == 2, 5, "who always sends secs 0 is answered by both in the end")


def test_normal_release_is_told_to_the_partner(bed, library, threads):
    primary, secondary = pair(bed, library, threads)
    for role, server, other in ("primary", primary, secondary), ("secondary", secondary, primary):
        client = bed.client(role)
        lease = known_lease(client, server, other)
        client.release(lease, server)
        wait_free(lease.address, primary, secondary)
        assert not primary.leases() and not secondary.leases()
        wait_quiet(primary, secondary)
        wait_same_view(primary, secondary, POOL)
        owner, = [one for one in (primary, secondary) if lease.address in owned(one, POOL)]
        assert bed.client().discover(secs=10, hint=lease.address, to=owner)[0].address == lease.address
    for server in primary, secondary:
        assert server.statistics("subnet[1].assigned-addresses") == 0


def test_normal_release_at_the_other_server(bed, library):
    primary, secondary = pair(bed, library)
    clients = {bed.client(role): servers for role, servers in
               (("primary", (primary, secondary)), ("secondary", (secondary, primary)))}
    leases = {client: known_lease(client, *servers) for client, servers in clients.items()}
    wait_time(time.time() + 8)      # it must be certain, whatever the clocks, that the client has not renewed after that
    for client, (_, other) in clients.items():
        client.release(leases[client], other)
        wait_free(leases[client].address, primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)
    for server in primary, secondary:
        assert not server.leases() and server.statistics("subnet[1].assigned-addresses") == 0


def test_normal_expiry_is_told_to_the_partner(bed, library):
    primary, secondary = pair(bed, library, mclt=3)
    leases = [bed.client(role).dora() for role in ("primary", "secondary")]
    wait_quiet(primary, secondary)
    for lease in leases:
        wait_free(lease.address, primary, secondary)
        assert time.time() >= lease.ends - 1
    for server in primary, secondary:
        wait_until(lambda: not server.leases(), 5, "the expired rows are gone")
        assert server.statistics("subnet[1].assigned-addresses") == 0
    wait_same_view(primary, secondary, POOL)


def test_normal_partner_restarts(bed, library):
    primary, secondary = pair(bed, library)
    client = bed.client("secondary")
    lease = known_lease(client, secondary, primary)
    for server, other in (secondary, primary), (primary, secondary):
        server.stop()
        wait_states("communications-interrupted", other)
        newcomer = serve(bed.client(), other)
        assert newcomer.lifetime == MCLT
        server.start()
        wait_states("normal/normal", primary, secondary)
        wait_known(server, newcomer)
    assert isinstance(client.renew(lease), Ack)
    assert roles(primary, secondary) == "primary/secondary"
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


# --- communications-interrupted --------------------------------------------------------------------------------------

def test_interrupted_when_the_link_fails_and_normal_when_it_is_back(bed, library):
    primary, secondary = pair(bed, library)
    bed.link.cut()
    cut = time.monotonic()
    wait_states("communications-interrupted/communications-interrupted", primary, secondary)
    assert time.monotonic() - cut < 12, "max-response-delay is 9 s"
    leases = [serve(bed.client(), server) for server in (primary, secondary) for _ in range(3)]
    assert len({lease.address for lease in leases}) == 6
    bed.link.mend()
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_interrupted_replace_extends_once_what_is_left_plus_the_mclt(bed, library, threads):
    primary, secondary = pair(bed, library, threads)
    client, short = bed.client("primary"), bed.client("secondary")
    lease = known_lease(client, primary, secondary)
    short_lease = short.dora()
    wait_quiet(primary, secondary)
    held_down(primary, secondary)

    before = binding(primary, lease.address)["lease-expiration"]
    extended = client.renew(lease)
    assert extended.address == lease.address
    promised = end_given(primary, extended)
    assert promised in (before + MCLT - 1, before + MCLT)
    assert binding(primary, lease.address)["extended"] is True
    assert primary.leases()[lease.address]["valid-lft"] == extended.lifetime

    before = binding(secondary, short_lease.address)["lease-expiration"]
    extended_short = short.renew(short_lease)
    assert end_given(secondary, extended_short) in (before + MCLT - 1, before + MCLT)

    again = client.repeat(extended)
    assert isinstance(again, Ack) and again.ends == pytest.approx(extended.ends, abs=1.5), "a retransmission"
    wait_on_disk(primary, lease)
    for refused in (client.renew(lease, primary), client.rebind(lease, to=primary),
                    client.init_reboot(lease.address, to=primary), client.renew(lease, primary)):
        assert isinstance(refused, Nak), "every later renewal is refused"
    refused = binding(primary, lease.address)
    assert (refused["binding-state"], refused["ends"]) == ("ACTIVE", promised), "the promised end has not moved"
    assert lease.address not in primary.leases()
    assert_moves(client, primary, lease)
    assert isinstance(bed.client().init_reboot(lease.address, to=primary), Nak), "and nobody else the old one"
    for server in primary, secondary:
        assert server.statistics("subnet[1].assigned-addresses") == len(server.leases())


def test_interrupted_replace_new_leases_are_for_the_mclt_and_not_extended(bed, library, threads):
    primary, secondary = pair(bed, library, threads)
    held_down(primary, secondary)
    for server in primary, secondary:
        for role in "primary", "secondary":
            client = bed.client(role)
            assert len(client.discover()) == 2, "all clients are answered by both, no load balancing"
            mine = owned(server, POOL)
            lease = client.dora(server)
            assert lease.address in mine and lease.lifetime == MCLT
            other = assert_moves(client, server, lease)
            assert_moves(client, server, other)
    let_go(primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_interrupted_replace_a_lease_that_the_partner_never_heard_of(bed, library):
    primary, _ = pair(bed, library)
    bed.link.cut()
    client = bed.client("primary")
    lease = client.dora()               # still in normal
    assert states(primary) == "normal" and lease.lifetime == MCLT
    force(primary, "communications-interrupted")
    wait_time(lease.at + 2)
    extended = client.renew(lease)
    assert extended.lifetime == MCLT, "what is left plus the MCLT only where the partner knows the lease"
    assert isinstance(client.renew(lease), Nak)


def test_interrupted_replace_released_addresses_are_held_until_normal(bed, library, threads):
    primary, secondary = pair(bed, library, threads, subnets=[small(8)])
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    held_down(primary, secondary)
    newcomer = bed.client()
    fresh = serve(newcomer, primary)
    client.release(lease, primary)
    newcomer.release(fresh, primary)
    for released in lease, fresh:
        assert binding(primary, released.address)["binding-state"] == "RELEASED"
        assert isinstance(bed.client().init_reboot(released.address, to=primary), Nak)
    answers = [serve(one, primary) for one in (client, newcomer, bed.client(), bed.client())]
    given = [answer.address for answer in answers if answer]
    assert len(given) == 2, "half of the pool, but for the two that are held"
    assert not {lease.address, fresh.address} & set(given)
    assert "RELEASED" in binding(primary, lease.address)["why"]
    let_go(primary, secondary)
    wait_free(lease.address, primary, secondary)
    wait_free(fresh.address, primary, secondary)


def test_interrupted_replace_normal_clears_the_marks(bed, library):
    primary, secondary = pair(bed, library)
    client, moved = bed.client("primary"), bed.client("primary")
    lease = known_lease(client, primary, secondary)
    held_down(primary, secondary)
    extended = client.renew(lease)
    given = serve(moved, primary)
    let_go(primary, secondary)
    wait_known(secondary, extended)
    wait_known(secondary, given)
    wait_quiet(primary, secondary)
    assert client.renew(extended).lifetime in near(LEASE)
    assert moved.renew(given, secondary).lifetime in near(LEASE)
    assert binding(primary, lease.address)["extended"] is False
    held_down(primary, secondary)
    assert isinstance(client.renew(extended), Ack), "another interruption extends once again"


def test_interrupted_extend_renews_as_often_as_asked(bed, library, threads):
    primary, secondary = pair(bed, library, threads, interrupted_leases="extend")
    client, newcomer = bed.client("primary"), bed.client("secondary")
    lease = known_lease(client, primary, secondary)
    held_down(primary, secondary)
    assert len(newcomer.discover()) == 2
    acked = binding(primary, lease.address)["acked-potential-expiration"]
    for _ in range(3):
        lease = client.renew(lease, primary)
        assert isinstance(lease, Ack) and lease.lifetime in near(LEASE) and lease.ends <= acked + MCLT + 1
    mine = owned(primary, POOL)
    given = newcomer.dora(primary)
    assert given.address in mine
    for _ in range(3):
        assert given.lifetime == MCLT, "within the MCLT rule, of a lease that the partner never heard of"
        given = newcomer.renew(given, primary)
    assert isinstance(client.rebind(lease, to=primary), Ack)
    assert isinstance(client.init_reboot(lease.address, to=primary), Ack)


def test_interrupted_extend_rewinds_what_the_partner_never_heard_of(bed, library):
    primary, secondary = pair(bed, library, subnets=[small(8)], interrupted_leases="extend", mclt=3)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    held_down(primary, secondary)
    client.release(lease, primary)
    leaver, sleeper = bed.client(), bed.client()
    left, slept = serve(leaver, primary), serve(sleeper, primary)
    leaver.release(left, primary)
    wait_free(left.address, primary, timeout=3)
    assert binding(primary, left.address)["owner"] == "mine"
    assert bed.client().discover(hint=left.address, to=primary)[0].address == left.address
    wait_free(slept.address, primary, timeout=8)
    assert time.time() >= slept.ends - 1 and binding(primary, slept.address)["owner"] == "mine"
    assert binding(primary, lease.address)["binding-state"] == "RELEASED", "this one waits for the partner"
    assert isinstance(bed.client().init_reboot(lease.address, to=primary), Nak)
    let_go(primary, secondary)
    wait_free(lease.address, primary, secondary)


def test_interrupted_with_a_link_renews_and_releases_as_extend(bed, library):
    """The partner has lost its memory and recovers: there is a link, although the state is not normal yet."""
    primary, secondary = pair(bed, library, mclt=60)
    client, leaver = bed.client("primary"), bed.client("primary")
    lease, left = (known_lease(one, primary, secondary) for one in (client, leaver))
    lose(secondary, primary)
    lease = client.renew(lease)
    wipe(secondary)
    secondary.start()
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    assert status(primary)["link"] == "up"
    for _ in range(2):
        lease = client.renew(lease, primary)
        assert isinstance(lease, Ack), "extended during this interruption already, but there is a link"
    leaver.release(left, primary)
    wait_free(left.address, primary, secondary, timeout=3)
    assert serve(bed.client("secondary"), primary).lifetime == 60
    assert states(primary, secondary) == "communications-interrupted/recover-wait"
    wait_same_view(primary, secondary, POOL)


@pytest.mark.parametrize("policy, threads", [("replace", 0), ("replace", 2), ("extend", 2)])
def test_interrupted_and_the_own_addresses_used_up(bed, library, policy, threads):
    primary, secondary = pair(bed, library, threads, subnets=[small(6)], interrupted_leases=policy, mclt=30)
    held_down(primary, secondary)
    mine = owned(primary, addresses_of(6))
    clients = [bed.client() for _ in range(3)]
    held = [serve(client, primary) for client in clients]
    assert sorted(lease.address for lease in held) == sorted(mine)
    mark = primary.log.mark()
    unlucky = [bed.client() for _ in range(3)]
    for client in unlucky * 2:
        begun = time.monotonic()
        assert client.discover(to=primary) == []
        assert time.monotonic() - begun < 2, "no endless search"
    said = log_lines(primary, "no own free address", mark)
    assert len(said) == len(unlucky), "one line for each client"
    for line in said:
        assert "communications-interrupted" in line and "force-state partner-down" in line and " 3 " in line
    assert status(primary)["counters"]["exhausted"] >= 6
    offers = clients[0].discover(to=primary)
    assert [offer.address for offer in offers] == ([] if policy == "replace" else [held[0].address]), (
        "a lease that can't be extended is not offered either, and there is no other address")


# --- partner-down ----------------------------------------------------------------------------------------------------

def alone_in_partner_down(primary, secondary):
    lose(secondary, primary)
    return force(primary, "partner-down")["since"]


def test_partner_down_gives_own_addresses_at_once_and_the_partners_after_the_mclt(bed, library, threads):
    primary, secondary = pair(bed, library, threads, subnets=[small(8)], mclt=4)
    everything = addresses_of(8)
    client = bed.client("secondary")
    lease = known_lease(client, secondary, primary)
    stos = alone_in_partner_down(primary, secondary)
    theirs = [address for address in everything if binding(primary, address).get("owner") == "the partner's"]
    assert len(theirs) == 3
    renewed = client.renew(lease, primary)
    assert isinstance(renewed, Ack) and renewed.lifetime == 4, "always renewed, for the MCLT"
    leases = {}
    while own := serve(one := bed.client(), primary):
        assert own.lifetime == 4 and own.address not in theirs
        leases[one] = own
    assert len(leases) == 4 and time.time() < stos + 4
    assert "partner-down" in log_lines(primary, "no own free address")[-1]
    wait_time(stos + 2)         # so that these end later than the wait
    for one in leases:
        assert one.renew(leases[one]).lifetime == 4
    late = bed.client()
    offer = wait_until(lambda: late.discover(to=primary), 8, "an address of the partner's")[0]
    assert offer.at >= stos + 4 and offer.address in theirs
    assert late.request(offer).lifetime == 4
    assert not pending(primary)
    assert client.renew(renewed, primary).lifetime == 4


def test_partner_down_reclaims_when_the_waits_are_over(bed, library):
    primary, secondary = pair(bed, library, subnets=[small(8)], mclt=3, lease=4)
    client, leaver = bed.client("primary"), bed.client("primary")
    lease, held = client.dora(primary), leaver.dora(primary)
    wait_quiet(primary, secondary)
    lose(secondary, primary)
    leaver.release(held, primary)
    assert binding(primary, held.address)["binding-state"] == "RELEASED"
    stos = force(primary, "partner-down")["since"]

    # First made in partner-down: free at its promised end, which a RELEASE makes the present moment.
    made_here = bed.client()
    made = serve(made_here, primary)
    made_here.release(made, primary)
    wait_free(made.address, primary, timeout=2)
    assert bed.client().discover(hint=made.address, to=primary)[0].address == made.address
    forgotten = serve(bed.client(), primary)
    wait_free(forgotten.address, primary)
    assert forgotten.ends - 1 <= time.time() < forgotten.ends + 2

    # The partner was told of these: the MCLT beyond the latest time that either may have promised.
    def wait_over(given):
        wait_until(lambda: binding(primary, given.address)["binding-state"] != "ACTIVE", 8, "it has ended")
        now = binding(primary, given.address)
        latest = max([stos] + [now.get(f"{which}-potential-expiration", 0) for which in ("sent", "acked", "received")])
        assert now["wait-over"] == max(latest, now["ends"]) + 3
        return now["wait-over"]
    waits = [(given, wait_over(given)) for given in (held, lease)]
    for given, over in waits:
        assert isinstance(bed.client().init_reboot(given.address, to=primary), Nak)
        assert given.address not in [offer.address for offer in bed.client().discover(hint=given.address, to=primary)]
        assert time.time() < over and not is_free(primary, given.address)
    for given, over in waits:
        wait_free(given.address, primary)
        assert over <= time.time() < over + 2
        assert binding(primary, given.address)["owner"] == "mine"
        assert bed.client().discover(hint=given.address, to=primary)[0].address == given.address


def test_partner_down_full(bed, library):
    primary, secondary = pair(bed, library, mclt=4, partner_down_lease_time="full")
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    acked = binding(primary, lease.address)["acked-potential-expiration"]
    stos = alone_in_partner_down(primary, secondary)
    lease = client.renew(lease)
    assert lease.lifetime in near(LEASE) and lease.ends <= acked + 5, "within the MCLT rule"
    newcomer = bed.client()
    given = serve(newcomer, primary)
    assert given.lifetime == 4
    assert newcomer.renew(given).lifetime == 4 and time.time() < stos + 4
    wait_until(lambda: not pending(primary), 8, "STOS + MCLT is over")
    assert newcomer.renew(given).lifetime == LEASE, "the configured lifetime from now on"
    assert serve(bed.client(), primary).lifetime == LEASE


def test_auto_partner_down(bed, library):
    primary, secondary = pair(bed, library, auto_partner_down=2)
    assert "auto-partner-down" in "".join(log_lines(primary, "FAILOVER_CONFIGURATION_RISKY"))
    lose(secondary, primary)
    assert pending(primary)["auto-partner-down"] <= 2
    wait_states("partner-down", primary, timeout=5)


# --- recover ---------------------------------------------------------------------------------------------------------

def test_recover_is_silent_but_for_reservations_outside_the_pools(bed, library, threads):
    config = pair_config(bed, library, {"startup_delay": 1}, threads=threads, valid_lifetime=LEASE,
                         subnets=[subnet(reservations=[(OUTSIDE_MAC, OUTSIDE)])])
    server, = bed.start_all(bed.kea("srv2", config))
    wait_states("recover", server)
    newcomer = bed.client()
    assert newcomer.discover(secs=100) == []
    assert isinstance(newcomer.init_reboot(POOL[3]), Silence)
    assert isinstance(newcomer.inform("10.64.200.1"), Silence)
    reserved = bed.client()
    reserved.mac = OUTSIDE_MAC
    lease = reserved.dora()
    assert (lease.address, lease.lifetime) == (OUTSIDE, LEASE)
    assert isinstance(reserved.renew(lease), Ack) and isinstance(reserved.init_reboot(OUTSIDE), Ack)
    assert status(server)["counters"]["queries-silent"] >= 2 and states(server) == "recover"


def test_recover_wait_is_silent_but_for_reservations_outside_the_pools(bed, library, threads):
    primary, secondary = pair(bed, library, threads, reservations=[(OUTSIDE_MAC, OUTSIDE)], mclt=60)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    lose(secondary, primary)
    wipe(secondary)
    secondary.start()
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    assert pending(secondary)["end of recover-wait"] in range(50, 62), "from the process's start, without a record"
    assert_silent(secondary, client, lease, bed.client("secondary"))
    reserved = bed.client()
    reserved.mac = OUTSIDE_MAC
    assert reserved.dora(secondary).address == OUTSIDE
    assert states(secondary) == "recover-wait"


def test_recover_wait_lasts_the_mclt_from_the_last_moment_served(bed, library):
    primary, secondary = pair(bed, library, mclt=3)
    lose(secondary, primary)
    wipe(secondary)
    secondary.start()
    started = time.time()
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    assert pending(secondary).get("end of recover-wait", 0) <= 3 + 1
    wait_states("normal/normal", primary, secondary)
    assert time.time() >= started + 2, "without a record from the process's start"

    lose(secondary, primary)
    force(primary, "partner-down")
    wait_time(time.time() + 5 + 3 + 1)          # it records that it serves every 5 s
    secondary.start()
    wait_states("normal/normal", primary, secondary, timeout=3)
    assert secondary.log.find("recover -> recover-done") and not secondary.log.find("-> recover-wait")


def test_first_contact_skips_recover_wait_with_a_warning(bed, library):
    primary, secondary = pair(bed, library, mclt=3600)
    for server in primary, secondary:
        assert not server.log.find("recover-wait$") and server.log.find("first contact.*recover-wait is skipped")


@pytest.mark.parametrize("partner_state", ["communications-interrupted", "partner-down"])
def test_recover_done_only_renews(bed, library, partner_state):
    """And not even that while the partner may take the lease for one that nobody else can extend."""
    primary, secondary = pair(bed, library, mclt=3)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    lose(secondary, primary)
    wipe(secondary)
    if partner_state == "partner-down":
        force(primary, "partner-down")
    secondary.start()
    wait_states(f"{partner_state}/recover-wait", primary, secondary)
    primary.pause()
    wait_states("recover-done", secondary)
    assert_silent(secondary, client, lease, bed.client("secondary"), renews=partner_state != "partner-down")
    primary.resume()
    wait_states("normal/normal", primary, secondary)
    assert isinstance(client.renew(lease, primary), Ack)


# --- conflict --------------------------------------------------------------------------------------------------------

def test_potential_conflict_is_silent_and_ends_in_normal(bed, library, threads):
    primary, secondary = pair(bed, library, threads)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    with in_conflict(primary, secondary):
        assert_silent(primary, client, lease, bed.client("primary"))
    wait_states("normal/normal", primary, secondary)
    assert roles(primary, secondary) == "primary/secondary"
    assert isinstance(client.renew(lease, primary), Ack)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_conflict_done_is_silent(bed, library):
    primary, secondary = pair(bed, library)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    with contextlib.ExitStack() as second, contextlib.ExitStack() as first:
        # Step by step: what a server has learnt it tells when its disk works, what it is told it knows at once.
        first.enter_context(in_conflict(primary, secondary))
        mark = secondary.log.mark()
        second.enter_context(locked(secondary))
        first.close()
        wait_states("potential-conflict/potential-conflict", primary, secondary)
        secondary.wait_log("the partner asks for updates", since=mark)
        first.enter_context(locked(primary))
        second.close()
        wait_states("conflict-done/potential-conflict", primary, secondary)
        assert_silent(primary, client, lease, bed.client("primary"))
        assert_silent(secondary, client, lease, bed.client("secondary"))
    wait_states("normal/normal", primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_resolution_interrupted_only_renews(bed, library):
    primary, secondary = pair(bed, library, startup_delay=1)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    with in_conflict(primary, secondary):
        secondary.kill9()
        wait_states("resolution-interrupted", primary)
    assert_silent(primary, client, lease, bed.client("primary"), renews=True)
    primary.restart()
    wait_states("resolution-interrupted", primary)
    secondary.start()
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


# --- shutdown, and who is primary -------------------------------------------------------------------------------------

def test_shutdown_is_silent_and_the_partner_takes_over(bed, library):
    primary, secondary = pair(bed, library, mclt=4)
    client = bed.client("primary")
    lease = known_lease(client, primary, secondary)
    force(primary, "shutdown")
    served = time.time()
    wait_states("shutdown/partner-down", primary, secondary, timeout=3)
    wait_until(lambda: roles(primary, secondary) == "secondary/primary", 3, "both agree on who is primary")
    assert_silent(primary, client, lease, bed.client("primary"))
    assert isinstance(client.renew(lease, secondary), Ack)
    assert serve(bed.client("primary"), secondary).lifetime == 4
    assert status(primary)["link"] == status(secondary)["link"] == "down"
    primary.restart()
    wait_states("normal/normal", primary, secondary)
    assert primary.log.find("startup -> recover") and time.time() >= served + 3, "its own leases have ended"
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_acting_primary_lasts(bed, library):
    primary, secondary = pair(bed, library, mclt=2)
    lose(primary, secondary)
    force(secondary, "partner-down")
    assert roles(secondary) == "primary"
    primary.start()
    wait_states("normal/normal", primary, secondary)

    def agree():
        assert roles(primary, secondary) == "secondary/primary"
        assert [status(server)["configured-role"] for server in (primary, secondary)] == ["primary", "secondary"]
    agree()
    for server in primary, secondary:
        server.reload()
        wait_states("normal/normal", primary, secondary)
        agree()
    for server in primary, secondary:
        server.restart()
        wait_states("normal/normal", primary, secondary)
        agree()
    leases = [bed.client(role).dora() for role in ("primary", "secondary")]
    wait_quiet(primary, secondary)
    assert [lease.server_id for lease in leases] == [primary.host.address, secondary.host.address], (
        "split stays with the configured roles")
    wait_same_view(primary, secondary, POOL)
    lose(secondary, primary)
    force(primary, "partner-down")
    secondary.start()
    wait_states("normal/normal", primary, secondary)
    assert roles(primary, secondary) == "primary/secondary", "until the other one goes to partner-down"
