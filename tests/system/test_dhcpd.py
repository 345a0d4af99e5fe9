# SPDX-License-Identifier: MPL-2.0
"""An unmodified ISC dhcpd 4.4 as partner, in both roles.

What it takes to get along with a dhcpd. A test names in its docstring what it shows; what a single message or the order of
messages must be is checked after every test here (conversation.violations: those with a *).

 1* form of a message: offset, length of IP-flags, no NUL in the name, no option twice, known numbers only
 2* max-unacked-bndupd of at least 1, receive-timer of at least 9
 3  clocks within 60 s
 4  something is said in each third of dhcpd's receive-timer, whatever the database does
 5* as primary: CONNECT at once, with HBA and MCLT and xid 0; the first of two connections counts
 6* as secondary: CONNECTACK and STATE are the answer to CONNECT, nothing comes first
 7  5 s before it is called again after a reject
 8* xids: echoed exactly, above 0 in BNDUPD; each BNDUPD is answered once, on its connection
 9  POOLREQ is taken and answered in both roles
10  UPDDONE comes after the last acknowledgement, and answers the latest of overlapping requests
11* a dhcpd in normal is never shown a conflict; one in conflict-done only what leads out of it
12  potential-conflict is shown before conflict-done
13  the crossing updates of the first contact are rejected, and not sent again at once
14  an address that dhcpd has offered and gives away isn't used before its end
15* an accepting BNDACK has the address only
16, 17, 18  configurations that differ: roles, pools, mclt and split
21  stray connections
23  a lost database costs the MCLT
24  a restart in communications-interrupted beside a partner-down leads to potential-conflict
26, 27  shutdown lasts until the operator sets recover
28* no message that ends a dhcpd
"""
import contextlib
import glob
import os
import sqlite3
import time

import pytest

from client import Ack, Silence
from conversation import IP_FLAGS, violations
from hook import (DATABASE, addresses_of, binding, ends, force, locked, log_lines, near, owned, pending, roles, serve,
                  states, status, wait_known, wait_quiet, wait_states, wait_time, wait_written, wipe)
from load import Load
from mixed import HOSTS, LEASE, MCLT, OTHER, SIZE, Mixed
from packet import load_balance_bucket, mac_bytes
from partner import (ADDRESSES_TRANSFERRED, BNDACK, BNDUPD, CLIENT_ID, CONNECT, CONNECTACK, DISCONNECT, HARDWARE, POOLREQ,
                     POOLRESP, STATE, TEXT, UPDDONE, UPDREQALL, dial, is_closed)
from process import wait_until

POOL = addresses_of(SIZE)
SURELY_LATER = 7    # a release at the partner that comes so long after our renewal can't have been before it


class Clock:
    """A server's own clock, by Debian's package faketime; to be made before the server starts."""

    def __init__(self, server):
        self.path = os.path.join(server.host.path, "clock")
        self.set(0)
        server.environment |= {
            "LD_PRELOAD": glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0], "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_TIMESTAMP_FILE": f"{server.host.self_path}/clock"}

    def set(self, shift):
        """By how many seconds it is ahead of the real one."""
        with open(f"{self.path}.new", "w") as file:
            file.write(f"{shift:+d}\n")
        os.rename(f"{self.path}.new", self.path)


@pytest.fixture(params=["primary", "secondary"])
def role(request):
    """Ours."""
    return request.param


@pytest.fixture
def mixed(bed, library, role):
    """Makes a Mixed, and at the end checks all that ours has said on the wire."""
    made = []

    def make(**options):
        made.append(Mixed(bed, library, role, **options))
        return made[-1]
    yield make
    for pair in made:
        pair.said.close()
        found = violations(pair.said.messages, HOSTS[role])
        assert not found, "\n".join(found) + "\n" + pair.said.text(200)


# --- normal ----------------------------------------------------------------------------------------------------------

def test_first_contact_and_balance(mixed):
    pair = mixed().start()
    assert pair.said.states(pair.ours)[:1] == ["recover"] and pair.said.states(pair.ours)[-1] == "normal"
    assert log_lines(pair.ours, "WARN.*first contact: neither server has a record")
    bindings = status(pair.ours)["bindings"]
    assert (bindings["free-mine"], bindings["free-partners"]) == (SIZE // 2, SIZE // 2)
    assert len(pair.theirs.backup_addresses()) == SIZE // 2
    assert not pair.said.all(DISCONNECT)


@pytest.mark.parametrize("client_id", [None, "mac"], ids=["without-identifier", "with-identifier"])
def test_lease_of_either_server_is_known_to_both_and_renewed_by_both(mixed, client_id):
    pair = mixed().start()
    for role, server in zip(("primary", "secondary"), pair.servers):
        client = pair.bed.client(role, client_id=client_id)
        lease = client.dora()
        assert lease.source == server.host.address and lease.lifetime == MCLT
        pair.wait_known_by_both(lease)
        pair.agree()
        record = pair.record(lease)
        assert (record.hardware, record.uid) == (client.mac, client.client_id)
        for by in reversed(pair.servers):
            lease = client.renew(lease, server=by)
            assert lease.source == by.host.address and lease.lifetime in near(LEASE)
            pair.wait_known_by_both(lease)
            pair.agree()
        rebound = client.rebind(lease)
        assert isinstance(rebound, Ack) and len(client.answers(rebound)) == 2
        pair.agree()


def test_release_at_either_server(mixed):
    pair = mixed().start()
    given = []
    for role, server in zip(("primary", "secondary"), pair.servers):
        for at in pair.servers:
            client = pair.bed.client(role)
            given.append((client, client.dora(server), at))
    for _, lease, _ in given:
        pair.wait_known_by_both(lease)
    # See the next test. dhcpd tells us no transaction of a client that it has never answered.
    wait_time(max(lease.at for _, lease, _ in given) + SURELY_LATER)
    mark = pair.said.mark()
    for client, lease, at in given:
        client.release(lease, at)
        wait_until(lambda: binding(pair.ours, lease.address)["binding-state"] == "FREE", 5, "free at ours")
        pair.agree()
    released = pair.said.all(BNDUPD, since=mark, status="RELEASED")
    assert sorted((said.address, said.speaker) for said in released) == sorted(
        (lease.address, at.host.name) for _, lease, at in given)
    assert not pair.ours.leases()


def test_release_that_may_be_older_than_our_renewal_ends_nothing(mixed):
    pair = mixed().start()
    client = pair.bed.client(pair.role)
    # To ours only: a dhcpd that hears our update before the client's REQUEST answers that too, whatever its server-id.
    lease = client.dora(pair.ours, to=pair.ours)
    pair.wait_known_by_both(lease)
    client.release(lease, pair.theirs)
    pair.said.wait(BNDACK, pair.ours, address=lease.address, rejected=15)
    pair.agree()
    assert pair.knows(lease) and lease.address in pair.ours.leases()


def test_decline(mixed):
    """By a client of either server, to that one only (as with a relay that knows one), and to both: a duel."""
    pair = mixed().start()
    heard_by = {pair.theirs: (pair.theirs, None), pair.ours: (pair.ours, pair.theirs, None)}    # Kea minds the server-id
    for role, server in zip(("primary", "secondary"), pair.servers):
        for to in heard_by[server]:
            client = pair.bed.client(role)
            lease = client.dora(server)
            pair.wait_known_by_both(lease)
            mark = pair.said.mark()
            client.decline(lease, to=to)
            wait_until(lambda: binding(pair.ours, lease.address)["binding-state"] == "ABANDONED", 5, "abandoned at ours")
            pair.agree()
            assert pair.record(lease).state == "abandoned" and not pair.record(lease).hardware
            for said in pair.said.all(BNDUPD, since=mark, status="ABANDONED"):
                assert not said.option(CLIENT_ID) and not said.option(HARDWARE)
            refused = pair.said.all(BNDACK, since=mark, rejected=16)
            assert {said.address for said in refused} <= {lease.address} and len(refused) <= 1, "13: not sent again"
            assert pair.bed.client(role).dora().address != lease.address
    assert status(pair.ours)["bindings"]["abandoned"] == 5


def test_expiry_is_the_primarys_to_tell(mixed):
    pair = mixed(mclt=3, lease=3).start()
    mark = pair.said.mark()
    leases = [pair.bed.client(role).dora() for role in ("primary", "secondary")]
    for lease in leases:
        pair.wait_known_by_both(lease)
    for lease in leases:
        wait_until(lambda: binding(pair.ours, lease.address)["binding-state"] == "FREE", 10, "free at ours")
        assert time.time() >= lease.ends - 1
    pair.agree()
    told = pair.said.all(BNDUPD, since=mark, status="EXPIRED")
    assert {said.speaker for said in told} == {"srv1"}, "dhcpd as primary would refuse it"
    assert {said.address for said in told} == {lease.address for lease in leases}
    assert not pair.said.all(BNDACK, rejected=2)


# --- one of them goes and returns -------------------------------------------------------------------------------------

def assert_normal_again(pair, *leases):
    """Both serve again, both know these leases, and a client of either server gets one of its own addresses."""
    pair.wait_normal()
    for lease in leases:
        pair.wait_known_by_both(lease)
    pair.agree()
    for role, server in zip(("primary", "secondary"), pair.servers):
        lease = pair.bed.client(role).dora()
        assert lease.source == server.host.address
        pair.wait_known_by_both(lease)
    pair.agree()


def test_dhcpd_is_killed_and_returns(mixed):
    pair = mixed().start()
    client = pair.bed.client(OTHER[pair.role])
    lease = client.dora(pair.theirs)
    pair.wait_known_by_both(lease)
    pair.theirs.kill9()
    wait_states("communications-interrupted", pair.ours)
    renewed = client.renew(lease, pair.ours)
    assert isinstance(renewed, Ack)
    new = serve(pair.bed.client(), pair.ours)
    pair.theirs.start()
    assert_normal_again(pair, renewed, new)


def test_we_are_killed_and_return(mixed):
    pair = mixed().start()
    client = pair.bed.client(pair.role)
    lease = client.dora(pair.ours)
    pair.wait_known_by_both(lease)
    wait_written(pair.ours, lease.address)
    pair.ours.kill9()
    pair.theirs.wait_state("communications-interrupted")
    renewed = client.renew(lease, pair.theirs)
    assert isinstance(renewed, Ack)
    new = serve(pair.bed.client(), pair.theirs)
    mark = pair.said.mark()
    pair.ours.start()
    assert_normal_again(pair, renewed, new)
    assert pair.said.states(pair.ours, mark) == ["communications-interrupted", "normal"]


@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=pytest.mark.long)])
def test_link_is_cut_and_mended_under_load(mixed, seconds):
    """For so long after both have noticed it. Each client is served throughout, and keeps its address."""
    pair = mixed(mclt=8, lease=24, size=64, parameters={"interrupted_leases": "extend"}).start()
    with Load(pair.bed) as load:
        load.wait_renewals(1)
        pair.bed.link.cut()
        pair.wait("communications-interrupted", "communications-interrupted")
        wait_time(time.time() + seconds)
        load.wait_renewals(1)
        pair.bed.link.mend()
        pair.wait_normal()
        load.wait_renewals(1)
        load.stop()
        pair.wait_quiet()
        for address, mac in load.holders().items():
            assert binding(pair.ours, address)["hw-address"] == mac == pair.theirs.leases()[address].hardware
    pair.agree()


# --- partner-down and recovery -----------------------------------------------------------------------------------------

SHORT = 3       # an MCLT that a test can wait for


def known_lease(pair, server):
    """(a client of this server, its lease, renewed to the full lease time and known to both)"""
    client = pair.bed.client("primary" if server is pair.servers[0] else "secondary")
    lease = client.dora(server)
    pair.wait_known_by_both(lease)
    pair.wait_quiet()

    def renewed():      # the BNDACK has arrived, but dhcpd may not have read it yet
        renewed = client.renew(lease, server)
        return renewed if renewed.lifetime in near(LEASE) else None
    lease = wait_until(renewed, 5, "a renewal for the full lease time")
    pair.wait_known_by_both(lease)
    pair.wait_quiet()
    return client, lease


def part(pair):
    """No link, and none to be had until mend(): both in communications-interrupted, without the time that it takes to
    notice a cut."""
    force(pair.ours, "communications-interrupted")
    pair.theirs.wait_state("communications-interrupted")
    pair.bed.link.cut()


def mend(pair):
    pair.bed.link.mend()
    if status(pair.ours)["link"] == "held-down":
        force(pair.ours, "normal")


def assert_silent(pair, client, lease):
    """We answer nobody, whatever dhcpd does."""
    assert isinstance(client.renew(lease, pair.ours), Silence)
    assert pair.bed.client().discover(secs=10, to=pair.ours) == []


def test_we_are_forced_to_partner_down_and_dhcpd_returns(mixed):
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.theirs)
    pair.theirs.kill9()
    wait_states("communications-interrupted", pair.ours)
    forced = force(pair.ours, "partner-down")
    assert forced["role"] == "primary"
    theirs = set(pair.pool) - set(owned(pair.ours, pair.pool)) - {lease.address}
    renewed = client.renew(lease, pair.ours)
    assert renewed.lifetime == SHORT
    wait_until(lambda: not pending(pair.ours), SHORT + 3, "STOS + MCLT is over")
    new = [serve(pair.bed.client(), pair.ours) for _ in range(SIZE - 1)]
    assert {one.address for one in new} >= theirs, "the partner's free addresses are given too"
    pair.theirs.start()
    pair.theirs.wait_log("I move from startup to recover")
    pair.wait_normal()
    assert pair.said.all(UPDREQALL, pair.theirs)
    pair.agree()
    assert roles(pair.ours) == pair.role


def test_dhcpd_is_forced_to_partner_down_and_we_return(mixed):
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.ours)
    wait_time(lease.at + 3)     # else it could be said that we have granted something since it is in partner-down
    pair.ours.kill9()
    pair.theirs.wait_state("communications-interrupted")
    pair.theirs.force_state("partner-down")
    renewed = client.renew(lease, pair.theirs)
    new = serve(pair.bed.client(), pair.theirs)
    mark = pair.said.mark()
    pair.ours.start()
    pair.said.wait(STATE, pair.ours, since=mark, state="recover")
    assert_silent(pair, client, lease)
    assert_normal_again(pair, renewed)
    assert pair.said.states(pair.ours, mark)[-3:] == ["recover-wait", "recover-done", "normal"]
    assert len(pair.said.all(UPDREQALL, pair.ours, mark)) == len(pair.said.all(UPDDONE, pair.theirs, mark)) == 1
    assert binding(pair.ours, new.address)["hw-address"] == new.message.chaddr


def test_dhcpd_is_forced_to_partner_down_while_we_live(mixed):
    """Rule 7: always recover when that comes over a live link in normal."""
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.ours)
    wait_time(lease.at + SURELY_LATER)     # else the client may have taken either server's answer last, and the later end stands
    mark = pair.said.mark()
    pair.theirs.force_state("partner-down")
    pair.said.wait(STATE, pair.ours, since=mark, state="recover")
    assert_silent(pair, client, lease)
    renewed = client.renew(lease, pair.theirs)
    assert_normal_again(pair, renewed)
    assert pair.said.states(pair.ours, mark) == ["recover", "recover-wait", "recover-done", "normal"]


def test_our_shutdown(mixed):
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.ours)
    force(pair.ours, "shutdown")
    pair.theirs.wait_state("partner-down", 5)
    assert_silent(pair, client, lease)
    wait_until(lambda: status(pair.ours)["link"] == "down", 10, "the link is closed")
    pair.ours.stop()
    renewed = client.renew(lease, pair.theirs)
    assert isinstance(renewed, Ack)
    mark = pair.said.mark()
    pair.ours.start()
    assert_normal_again(pair, renewed)
    assert pair.said.states(pair.ours, mark)[0] == "recover"


def test_dhcpds_shutdown_by_its_operator(mixed):
    """27: it stays shut down over a restart, until its operator sets recover."""
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.theirs)
    pair.theirs.force_state("shutdown")
    wait_states("partner-down", pair.ours)
    renewed = client.renew(lease, pair.ours)
    assert isinstance(renewed, Ack)
    pair.theirs.restart()
    pair.said.wait(STATE, pair.theirs, state="shutdown")
    assert isinstance(client.renew(renewed, pair.theirs), Silence)
    pair.theirs.wait_state("shutdown")
    wait_until(lambda: status(pair.ours)["link"] == "up", 10, "the link is kept")
    assert states(pair.ours) == "partner-down" and isinstance(client.renew(renewed, pair.ours), Ack)
    pair.theirs.force_state("recover")
    assert_normal_again(pair)


def test_dhcpd_is_told_to_recover(mixed):
    """By local-state 6, as for a suspect database; rule 7: we go to communications-interrupted meanwhile."""
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.theirs)
    mark = pair.said.mark()
    pair.theirs.force_state("recover")
    pair.said.wait(STATE, pair.theirs, since=mark, state="recover-wait")
    assert states(pair.ours) == "communications-interrupted"
    renewed = client.renew(lease, pair.ours)
    assert isinstance(renewed, Ack)
    assert_normal_again(pair, renewed)
    assert pair.said.states(pair.ours, mark) == ["communications-interrupted", "normal"]
    done = pair.said.wait(UPDDONE, pair.ours, since=mark)
    asked = pair.said.all(UPDREQALL, pair.theirs, mark)
    assert done.xid == asked[-1].xid, "10: the latest of overlapping requests is answered"


def test_dhcpd_pauses(mixed):
    pair = mixed(mclt=SHORT).start()
    pair.theirs.force_state("paused")
    wait_states("communications-interrupted", pair.ours)
    assert serve(pair.bed.client(OTHER[pair.role]), pair.ours)
    pair.theirs.force_state("recover")
    assert_normal_again(pair)


# --- a lost database ---------------------------------------------------------------------------------------------------

def test_dhcpd_loses_its_database(mixed):
    """23: it is silent for the MCLT, and we serve everybody. We stay in communications-interrupted."""
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.theirs)
    other, other_lease = known_lease(pair, pair.ours)
    pair.theirs.kill9()
    wait_states("communications-interrupted", pair.ours)
    os.remove(pair.theirs.lease_path)
    mark = pair.said.mark()
    pair.theirs.start()
    pair.theirs.wait_state("recover-wait")
    wait_until(lambda: not pair.said.unanswered(), 5, "it has everything")
    renewed = client.renew(lease, pair.ours)
    assert renewed.lifetime in near(LEASE), "what it has told us is not lost when we tell it that again"
    assert isinstance(client.renew(lease, pair.theirs), Silence)
    assert_normal_again(pair, renewed, other_lease)
    assert pair.said.states(pair.ours, mark) == ["communications-interrupted", "normal"]


def test_we_lose_our_database(mixed):
    pair = mixed(mclt=SHORT).start()
    client, lease = known_lease(pair, pair.theirs)
    other, other_lease = known_lease(pair, pair.ours)
    pair.ours.kill9()
    pair.theirs.wait_state("communications-interrupted")
    wipe(pair.ours)
    mark = pair.said.mark()
    pair.ours.start()
    wait_states("recover-wait", pair.ours)
    assert_silent(pair, client, lease)
    renewed = other.renew(other_lease, pair.theirs)
    assert_normal_again(pair, renewed, lease)
    assert pair.said.states(pair.ours, mark) == ["recover", "recover-wait", "recover-done", "normal"]
    assert isinstance(client.renew(lease, pair.ours), Ack)


# --- both served alone -------------------------------------------------------------------------------------------------

def both_in_partner_down(pair):
    """Both serve alone, without a link."""
    part(pair)
    pair.theirs.force_state("partner-down")
    force(pair.ours, "partner-down")


def conflict_leases(pair, leases):
    """Each server renews the lease of the other and gives a new one; all leases of now."""
    (client, lease), (other, other_lease) = leases
    return [client.renew(lease, pair.ours), other.renew(other_lease, pair.theirs),
            serve(pair.bed.client(), pair.ours), serve(pair.bed.client(), pair.theirs)]


def test_both_were_in_partner_down(mixed):
    pair = mixed().start()
    leases = [known_lease(pair, pair.theirs), known_lease(pair, pair.ours)]
    both_in_partner_down(pair)
    now = conflict_leases(pair, leases)
    mark = pair.said.mark()
    mend(pair)
    assert_normal_again(pair, *now)
    assert "potential-conflict" in pair.said.states(pair.ours, mark)
    assert "potential-conflict" in pair.said.states(pair.theirs, mark)
    if pair.role == "primary":
        shown = pair.said.states(pair.ours, mark)
        assert shown[-3:] == ["potential-conflict", "conflict-done", "normal"], "12: it waits for that order"
    assert status(pair.ours)["counters"]["clashes"] == 0


def test_dhcpd_restarts_in_interrupted_while_we_are_in_partner_down(mixed):
    """24: it goes to potential-conflict, and we follow it there."""
    pair = mixed().start()
    known_lease(pair, pair.theirs)
    part(pair)
    pair.theirs.kill9()
    force(pair.ours, "partner-down")
    mark = pair.said.mark()
    pair.bed.link.mend()
    pair.theirs.start()
    assert_normal_again(pair)
    assert "potential-conflict" in pair.said.states(pair.ours, mark)


def test_we_served_after_dhcpd_went_to_partner_down(mixed):
    """Rule 7: that is a conflict, for us too."""
    pair = mixed().start()
    client, lease = known_lease(pair, pair.ours)
    part(pair)
    pair.theirs.force_state("partner-down")
    wait_time(time.time() + 2)
    renewed = client.renew(lease, pair.ours)
    new = serve(pair.bed.client(), pair.ours)
    mark = pair.said.mark()
    mend(pair)
    assert_normal_again(pair, renewed, new)
    assert "potential-conflict" in pair.said.states(pair.ours, mark)


def test_partner_down_overridden_against_a_living_dhcpd(mixed):
    """It goes to potential-conflict at once, as does a dhcpd in normal that sees partner-down."""
    pair = mixed().start()
    known_lease(pair, pair.ours)
    assert pair.ours.command("force-state", state="partner-down")["result"] == 4
    mark = pair.said.mark()
    force(pair.ours, "partner-down", override=True)
    pair.said.wait(STATE, pair.theirs, since=mark, state="potential-conflict")
    assert_normal_again(pair)


@contextlib.contextmanager
def stuck_in_conflict(pair, state="potential-conflict"):
    """Meanwhile we are in this state of the resolution and tell dhcpd nothing of it, since our database is locked."""
    with locked(pair.ours):
        mend(pair)
        wait_states(state, pair.ours)
        pair.theirs.wait_state("potential-conflict")
        yield


def test_resolution_is_interrupted_and_dhcpd_returns(mixed):
    pair = mixed().start()
    leases = [known_lease(pair, pair.theirs), known_lease(pair, pair.ours)]
    both_in_partner_down(pair)
    now = conflict_leases(pair, leases)
    with stuck_in_conflict(pair):
        pair.theirs.kill9()
        wait_states("resolution-interrupted", pair.ours)
    client, lease = leases[0]
    renewed = client.renew(now[0], pair.ours)
    assert isinstance(renewed, Ack) and pair.bed.client().discover(secs=10, to=pair.ours) == []
    mark = pair.said.mark()
    pair.theirs.start()
    assert_normal_again(pair, renewed, *now[1:])
    assert pair.said.states(pair.ours, mark)[0] == "potential-conflict", "9.11: where it goes as soon as they talk again"


def test_resolution_is_interrupted_and_we_return(mixed):
    pair = mixed().start()
    leases = [known_lease(pair, pair.theirs), known_lease(pair, pair.ours)]
    both_in_partner_down(pair)
    now = conflict_leases(pair, leases)
    with stuck_in_conflict(pair):
        pass
    wait_until(lambda: pair.said.all(STATE, pair.ours, state="potential-conflict"), 5, "it is told")
    pair.ours.kill9()
    pair.ours.start()
    assert_normal_again(pair, *now)


# --- what breaks a dhcpd: 11, 12, 28 -------------------------------------------------------------------------------------

def remember(pair, **record):
    """We are stopped, and remember this when we start again."""
    pair.ours.stop()
    if pair.theirs.is_alive():
        pair.theirs.wait_state("communications-interrupted")
    with contextlib.closing(sqlite3.connect(os.path.join(pair.ours.host.path, DATABASE))) as database, database:
        for column, value in (record | {"stos": int(time.time())}).items():
            database.execute(f"UPDATE relationship SET {column} = ?, sum = NULL", (value,))


@pytest.mark.parametrize("role", ["secondary"], indirect=True)     # only a primary is ever in conflict-done
@pytest.mark.parametrize("state", ["normal", "potential-conflict", "partner-down", "recover-done"])
def test_dhcpd_still_waits_in_conflict_done_for_our_normal(mixed, state):
    """It was lost with the link, or we were killed before: anything else than what resolves the conflict would kill
    dhcpd now."""
    pair = mixed().start()
    remember(pair, state=state, partner_state="conflict-done")
    pair.theirs.force_state("conflict-done")
    mark = pair.said.mark()
    pair.ours.start()
    assert_normal_again(pair)
    assert pair.said.states(pair.ours, mark) == ["potential-conflict", "normal"]


@pytest.mark.parametrize("role", ["primary"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True], ids=["alive", "restarted"])
def test_dhcpds_normal_was_lost_while_we_are_in_conflict_done(mixed, restarts):
    pair = mixed().start()
    if restarts:
        pair.theirs.kill9()         # in normal, which is what it starts with
    remember(pair, state="conflict-done", partner_state="potential-conflict")
    if restarts:
        pair.theirs.start()
    mark = pair.said.mark()
    pair.ours.start()
    assert_normal_again(pair)
    assert pair.said.states(pair.ours, mark)[-1] == "normal"


def test_dhcpd_is_in_normal_while_we_resolve_a_conflict(mixed):
    """It would shut itself down if it saw that; it leaves normal when we hang up."""
    pair = mixed().start()
    remember(pair, state="resolution-interrupted", partner_state="potential-conflict")
    pair.theirs.force_state("normal")
    pair.ours.start()
    pair.ours.wait_log("the partner in normal must not see potential-conflict")
    assert_normal_again(pair)


def test_dhcpd_recovers_and_asks_for_nothing(mixed):
    """It doesn't when it meets recover-wait or recover-done on a new connection."""
    pair = mixed(mclt=SHORT).start()
    known_lease(pair, pair.ours)
    remember(pair, state="recover-wait", partner_state="partner-down")
    pair.theirs.force_state("recover")
    mark = pair.said.mark()
    pair.ours.start()
    assert_normal_again(pair)
    assert pair.said.states(pair.ours, mark)[-2:] == ["communications-interrupted", "normal"]


# --- free addresses ----------------------------------------------------------------------------------------------------

QUICK = ["min-balance 1;", "max-balance 2;"]       # dhcpd's words; a minute and an hour else


def use_up(pair, server, count=None):
    """New clients take this server's own free addresses; their leases."""
    count = len(own_addresses(pair, server)) if count is None else count
    leases = [serve(pair.bed.client(), server) for _ in range(count)]
    pair.agree()
    return leases


def own_addresses(pair, server):
    """The free ones, as we see them."""
    owner = "mine" if server is pair.ours else "the partner's"
    bindings = {address: binding(pair.ours, address) for address in pair.pool}
    return [address for address, one in bindings.items() if one.get("owner") == owner]


def test_we_ask_dhcpd_for_free_addresses(mixed):
    pair = mixed(parameters={"min_balance": 1, "max_balance": 2}).start()
    use_up(pair, pair.ours, SIZE // 2 - 1)
    mark = pair.said.mark()
    assert serve(pair.bed.client(), pair.ours)
    asked = pair.said.wait(POOLREQ, pair.ours, since=mark)
    answered = pair.said.wait(POOLRESP, pair.theirs, since=mark)
    assert asked.xid == answered.xid and answered.number(ADDRESSES_TRANSFERRED) == SIZE // 4
    wait_until(lambda: len(own_addresses(pair, pair.ours)) == SIZE // 4, 5, "we have been given some")
    pair.agree()
    assert serve(pair.bed.client(), pair.ours)


def test_dhcpd_asks_us_for_free_addresses(mixed):
    pair = mixed(dhcpd={"peer_options": QUICK}).start()
    use_up(pair, pair.theirs, SIZE // 2 - 1)
    mark = pair.said.mark()
    assert serve(pair.bed.client(), pair.theirs)
    asked = pair.said.wait(POOLREQ, pair.theirs, since=mark)
    answered = pair.said.wait(POOLRESP, pair.ours, since=mark)
    # It may ask before its last client has chosen; half of the difference is what it gets.
    known = pair.said.messages[:pair.said.messages.index(asked)]
    leased = {said.address for said in pair.said.all(BNDUPD, pair.theirs, status="ACTIVE") if said in known}
    given = len(leased) // 2
    assert asked.xid == answered.xid and answered.number(ADDRESSES_TRANSFERRED) == given >= SIZE // 4 - 1
    gifts = [said for said in pair.said.all(BNDUPD, pair.ours, mark) if said.status in ("FREE", "BACKUP")]
    before = pair.said.messages[pair.said.messages.index(answered):]
    assert all(gift in before for gift in gifts), "9: POOLRESP goes ahead of the gifts"
    wait_until(lambda: len(own_addresses(pair, pair.theirs)) == given, 5, "dhcpd has been given some")
    pair.agree()
    assert serve(pair.bed.client(), pair.theirs)


@pytest.mark.parametrize("number", [0, 1], ids=["primary-has-none", "secondary-has-none"])
def test_who_has_no_free_address_is_helped_out_at_once(mixed, number):
    """A client is not left to a server that is known to have no free address."""
    pair = mixed().start()
    use_up(pair, pair.servers[number])
    for role in "primary", "secondary":
        offer, = pair.bed.client(role).discover()
        assert offer.source == pair.servers[1 - number].host.address


def test_offered_address_that_dhcpd_gives_away(mixed):
    """14: it comes with the end of the offer, and is nobody's before."""
    pair = mixed(parameters={"min_balance": 1, "max_balance": 2}).start()
    for address in own_addresses(pair, pair.theirs):
        assert pair.bed.client().discover(secs=10, hint=address, to=pair.theirs)
    use_up(pair, pair.ours)
    wait_until(lambda: own_addresses(pair, pair.ours), 10, "dhcpd gives some of its own")
    pair.agree()
    given = own_addresses(pair, pair.ours)
    for address in given:
        assert ends(pair.ours, address) > time.time() + 60
        assert "offered by the partner" in binding(pair.ours, address)["why"]
    assert pair.bed.client().discover(secs=10, to=pair.ours) == []


# --- load balancing ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("split", [128, 50])
def test_both_agree_whose_a_client_is(mixed, split):
    pair = mixed(size=64, parameters={"split": split}, dhcpd={"split": split}).start()
    primary, secondary = (server.host.address for server in pair.servers)
    for number in range(20):
        client = pair.bed.client(client_id="mac" if number % 2 else None)
        offer, = client.discover()
        bucket = load_balance_bucket(client.client_id or mac_bytes(client.mac))
        assert offer.source == (primary if bucket < split else secondary), f"bucket {bucket}"
    assert len(pair.bed.client().discover(secs=3)) == 1
    assert len(pair.bed.client().discover(secs=4)) == 2


# --- the connection ----------------------------------------------------------------------------------------------------

def test_clocks_that_differ_by_more_than_a_minute(mixed):
    """3: refused with the reason, healed by itself."""
    pair = mixed()
    clock = Clock(pair.theirs)
    clock.set(-70)
    pair.theirs.start()
    pair.ours.start()
    pair.ours.wait_log("time offset too large|time mismatch", 10)
    assert "time" in status(pair.ours)["why"] and states(pair.ours) in ("startup", "recover")
    clock.set(-50)
    pair.wait_normal()
    assert log_lines(pair.ours, "WARN.*the partner's clock is (50|51) s behind")
    assert status(pair.ours)["skew"] in (-51, -50)


@pytest.mark.parametrize("shift", [-20, +20])
def test_clocks_that_differ_a_little(mixed, shift):
    """3: ends are not corrected for the difference, neither here nor there."""
    pair = mixed(mclt=60)
    Clock(pair.theirs).set(shift)
    pair.start()
    assert status(pair.ours)["skew"] in (shift - 1, shift)
    client = pair.bed.client(OTHER[pair.role])
    lease = client.dora(pair.theirs)
    wait_until(lambda: binding(pair.ours, lease.address)["binding-state"] == "ACTIVE", 5, "known")
    pair.agree()
    assert abs(ends(pair.ours, lease.address) - (lease.ends + shift)) < 3
    other = pair.bed.client(pair.role).dora(pair.ours)
    wait_until(lambda: pair.record(other).state == "active", 5, "known")
    pair.agree()


def test_names_that_differ(mixed):
    pair = mixed(dhcpd={"relationship": "fo2"})
    pair.theirs.start()
    pair.ours.start()
    refused = pair.said.wait(CONNECTACK, rejected=8)
    if pair.role == "primary":
        pair.ours.wait_log("no connection with the partner: connection rejected, invalid failover partner")
    else:
        assert refused.option(TEXT) == b"unknown failover relationship name"
        assert log_lines(pair.ours, 'the partner calls the relationship "fo2", this server "fo"')
        pair.theirs.wait_log("Failover CONNECT to fo2 rejected: Connection rejected, invalid failover partner")
    dials = [at for at, host in pair.said.attempts if host == pair.ours.host.name]
    wait_until(lambda: len([1 for _, host in pair.said.attempts if host == pair.ours.host.name]) > len(dials), 10,
               "we call again")
    dials = [at for at, host in pair.said.attempts if host == pair.ours.host.name]
    assert min(later - at for at, later in zip(dials, dials[1:])) > 4.9, "7: not before five seconds are over"


def test_changed_mclt(mixed):
    """18: the primary's counts, and the secondary's is overwritten by it."""
    pair = mixed(parameters={"mclt": 20}, dhcpd={"mclt": 20}).start()
    if pair.role == "secondary":
        pair.theirs.config = pair.theirs.config.replace("mclt 20;", "mclt 45;")
        pair.theirs.restart()
    else:
        config = pair.ours.config
        config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["relationships"][0]["mclt"] = 45
        pair.ours.reload(config)
    wait_until(lambda: status(pair.ours)["mclt"] == 45, 10, "we have it")
    pair.wait_normal()
    assert pair.role == "secondary" or pair.theirs.recorded().mclt == 45
    for role, server in zip(("primary", "secondary"), pair.servers):
        assert pair.bed.client(role).dora(server).lifetime == 45


def test_secondarys_own_mclt_does_not_count(mixed):
    """18, and with it split."""
    pair = mixed(parameters={"mclt": 50, "split": 256}, dhcpd={"mclt": 20, "split": 128})
    if pair.role == "primary":
        pair.theirs.config = pair.theirs.config.replace("  secondary;", "  secondary;\n  mclt 20;")
    pair.start()
    if pair.role == "primary":
        assert status(pair.ours)["mclt"] == pair.theirs.recorded().mclt == 50
        assert [offer.source for offer in pair.bed.client("secondary").discover()] == [pair.ours.host.address]
    else:
        assert status(pair.ours)["mclt"] == 20
        assert [offer.source for offer in pair.bed.client("secondary").discover()] == [pair.ours.host.address]
        assert [offer.source for offer in pair.bed.client("primary").discover()] == [pair.theirs.host.address]


def test_both_configured_as_primary_or_as_secondary(mixed):
    """16"""
    pair = mixed()
    other = "primary" if pair.role == "primary" else "secondary"
    config = pair.theirs.config.replace(f"  {OTHER[pair.role]};", f"  {other};")
    if pair.role == "primary":
        config = config.replace("  primary;", "  primary;\n  mclt 30;\n  split 128;")
    else:
        config = config.replace("  mclt 30;\n", "").replace("  split 128;\n", "")
    pair.theirs.config = config
    pair.theirs.start()
    pair.ours.start()
    pair.ours.wait_log("both servers are configured as primary" if pair.role == "primary" else
                       "doesn't complete CONNECT", 20)
    assert status(pair.ours)["link"] == "down" and states(pair.ours) in ("startup", "recover")


def test_pools_that_differ(mixed):
    """17: what only one of them has is rejected with 1, by either."""
    pair = mixed(dhcpd={"subnets": {"10.64.0.0/16": ("10.64.1.5", "10.64.1.20")}})
    pair.pool = addresses_of(12, "10.64.1.5")
    pair.theirs.start()
    pair.ours.start()
    pair.wait_normal()
    wait_until(lambda: len(log_lines(pair.ours, "WARN.*the partner has 10.64.1.*both need the same pools")) == 1, 5,
               "a warning")
    assert pair.said.all(BNDACK, pair.ours, rejected=1)
    only_ours = pair.bed.client()
    address = next(address for address in addresses_of(4) if binding(pair.ours, address)["owner"] == "mine") \
        if pair.role == "primary" else None
    if address:
        offer, = only_ours.discover(secs=10, hint=address, to=pair.ours)
        lease = only_ours.request(offer)
        pair.said.wait(BNDACK, pair.theirs, rejected=1, address=lease.address)
    mark = pair.said.mark()
    lease = pair.bed.client(OTHER[pair.role]).dora(pair.theirs)
    wait_known(pair.ours, lease) if lease.address in pair.pool else None
    assert len(pair.said.all(BNDUPD, pair.ours, mark, address=address or "none")) == 0, "not sent again"
    wait_until(lambda: not pair.disagreement(), 5, lambda: "\n".join(pair.disagreement()))


def test_both_call_at_once(mixed):
    """5, 6: whichever connection comes first is kept, by both."""
    pair = mixed()
    for _ in range(3):
        mark = pair.said.mark()
        pair.bed.start_all(pair.theirs, pair.ours)
        pair.wait_normal()
        wait_quiet(pair.ours)
        links = {said.link for said in pair.said.all(STATE, since=mark)}
        assert len(links) == 1
        pair.ours.stop()
        pair.theirs.stop()


def test_stray_connections(mixed):
    """21: from the partner's address too, they are in nobody's way."""
    pair = mixed()
    pair.ours.start()
    strays = [dial(pair.bed, pair.theirs.host.name, pair.ours) for _ in range(4)]
    pair.theirs.start()
    pair.wait_normal()
    strays += [dial(pair.bed, pair.theirs.host.name, pair.ours) for _ in range(4)]
    assert all(is_closed(stray, 15) for stray in strays)
    for stray in strays:
        stray.close()
    assert states(pair.ours) == "normal"
    pair.agree()


def test_keepalive_while_the_database_hangs(mixed):
    """4: at least every third of what dhcpd waits for, or it hangs up."""
    pair = mixed(dhcpd={"max_response_delay": 6}).start()
    mark = pair.said.mark()
    with locked(pair.ours):
        serve(pair.bed.client(), pair.ours)
        wait_time(time.time() + 8)
        said = [item.at for item in pair.said.all(speaker=pair.ours, since=mark)]
    assert max(later - at for at, later in zip(said, said[1:])) < 2.5, said
    assert not pair.said.all(CONNECT, since=mark)
    pair.agree()


# --- what else dhcpd tells -----------------------------------------------------------------------------------------------

ENDLESS = {51: b"\xff\xff\xff\xff"}


def test_reserved_by_an_endless_lease(mixed):
    """IP-flags RESERVED, by dhcpd's infinite-is-reserved: accepted, and kept when we renew."""
    pair = mixed(dhcpd={"options": ["infinite-is-reserved on;"]}).start()
    client = pair.bed.client(OTHER[pair.role], options=ENDLESS)
    lease = client.dora(pair.theirs)
    pair.wait_known_by_both(lease)
    pair.agree()
    told = pair.said.wait(BNDUPD, pair.theirs, address=lease.address, status="ACTIVE")
    assert told.option(IP_FLAGS) == b"\0\1" and pair.record(lease).reserved
    mark = pair.said.mark()
    renewed = client.renew(lease, pair.ours)
    told = pair.said.wait(BNDUPD, pair.ours, since=mark, address=lease.address)
    assert told.option(IP_FLAGS) == b"\0\1"
    pair.agree()
    assert pair.record(renewed).reserved
    wait_time(renewed.at + 1)
    client.release(renewed, pair.theirs)
    pair.agree()
