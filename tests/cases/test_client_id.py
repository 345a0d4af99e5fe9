# SPDX-License-Identifier: MPL-2.0
"""A trouble report about option 61 and MAC addresses: C50, a storm of conflicts after phones had changed their MACs
over night. Elsewhere ten rejects ended the service of the pair."""
import threading

import pytest

import partner as wire
from client import Ack
from hook import addresses_of, assert_serves, binding, serve, states, status, wait_quiet, wait_states
from partner import ACTIVE, BNDUPD, NORMAL, Partner, scripted_primary, update
from process import wait_until

POOL = addresses_of(32)
STORM = 50
IN_USE, LESS_CRITICAL = 2, 16


def new_mac(number):
    return f"0c:00:00:00:01:{number:02x}"


def assert_in_service(bed, server, partner):
    """Whatever was rejected, nothing has come of it for the link, the state, or clients."""
    assert not partner.closed and states(server) == "normal"
    assert status(server)["counters"]["disconnects"] == 0
    assert_serves(bed, server)


def test_c50_the_new_mac_of_an_address_that_the_partner_had_given(bed, library):
    """The standby holds yesterday's lease as ACTIVE, the partner has given the address to another MAC since: there is
    nothing to reject, fifty times in a row."""
    with scripted_primary(bed, library, share=POOL[:6]) as (server, partner):
        for number in range(STORM):
            address = POOL[8 + number % 16]
            assert partner.rejection(update(address, ACTIVE, new_mac(number), 60)) is None
            assert server.leases()[address]["hw-address"] == new_mac(number)
        counters = status(server)["counters"]
        assert counters["rejects-sent"] == counters["clashes"] == 0
        assert_in_service(bed, server, partner)


def test_c50_a_lease_given_here_and_given_by_the_primary_too(bed, library):
    """A real clash: by the draft's rules the secondary accepts what the primary says. It is counted and told."""
    with scripted_primary(bed, library, share=POOL[:6]) as (server, partner):
        client = bed.client()
        lease = serve(client, server)
        wait_quiet(server)
        other = new_mac(1)
        assert partner.rejection(update(lease.address, ACTIVE, other, 60)) is None
        assert binding(server, lease.address)["hw-address"] == other
        assert status(server)["counters"]["clashes"] == 1
        assert server.log.find(f"WARN.*clash: {lease.address} is bound to {client.mac} here and to {other} at the partner")
        assert client.renew(lease) != lease, "it is told to ask for another one"
        assert_in_service(bed, server, partner)


@pytest.fixture
def with_secondary(bed, lonely):
    """(primary, scripted partner) in normal."""
    with Partner(bed, lonely) as partner:
        partner.wait(wire.STATE)
        partner.state(NORMAL)
        wait_states("normal", lonely)
        yield lonely, partner


def test_c50_a_storm_of_rejects_stops_nothing(bed, with_secondary):
    """The primary rejects such updates with a reason that says what is held here, and sends its own. That is never
    counted towards an end of the service. (The case wants a counter for each reason; the design has one for all,
    "rejects-sent", and the reason in the log of who is rejected.)"""
    server, partner = with_secondary
    clients = {client: serve(client, server) for client in (bed.client() for _ in range(5))}
    wait_quiet(server)
    before = status(server)["counters"]["disconnects"]
    for number in range(STORM):
        lease = list(clients.values())[number % len(clients)]
        assert partner.rejection(update(lease.address, ACTIVE, new_mac(number), 60)) == IN_USE
    counters = status(server)["counters"]
    assert counters["rejects-sent"] == STORM and counters["disconnects"] == before
    for client, lease in clients.items():
        ours = partner.last(BNDUPD, address=lease.address)
        assert ours.options[wire.HARDWARE] == b"\1" + bytes.fromhex(client.mac.replace(":", ""))
        assert isinstance(client.renew(lease), Ack)
    assert not partner.closed and states(server) == "normal"
    assert_serves(bed, server)


def test_c50_a_busy_lease_is_never_a_reason(bed, library):
    """Threads that serve clients are at the same leases when the updates come. Such an update waits its turn, and is
    rejected by the draft's rules or not at all: with 16, where an update of ours for the address is under way."""
    with scripted_primary(bed, library, share=POOL[:8], threads=4) as (server, partner):
        clients = {client: serve(client, server) for client in (bed.client() for _ in range(4))}
        over, renewed = threading.Event(), []

        def renew(client, lease):
            while not over.is_set():
                renewed.append(client.renew(lease, timeout=1))
        workers = [threading.Thread(target=renew, args=pair) for pair in clients.items()]
        for worker in workers:
            worker.start()
        try:
            wait_until(lambda: len(renewed) > 20, 10, "clients renew")
            reasons = [partner.rejection(update(lease.address, ACTIVE, client.mac, 60))
                       for _ in range(STORM // 4) for client, lease in clients.items()]
        finally:
            over.set()
            for worker in workers:
                worker.join()
        assert set(reasons) <= {None, LESS_CRITICAL} and None in reasons, set(reasons)
        assert all(isinstance(answer, Ack) for answer in renewed)
        assert_in_service(bed, server, partner)
