# SPDX-License-Identifier: MPL-2.0
"""The command force-state as an operator sends it, by REST: what it does, what it refuses, and that it lasts."""
import contextlib
import itertools
import os
import random
import re
import sqlite3
import time

import pytest

from client import Ack, Nak, Silence
from hook import (DATABASE, addresses_of, binding, held_down, in_conflict, locked, log_lines, lose, normal_pair, owned,
                  pending, roles, serve, small, states, status, wait_quiet, wait_same_view, wait_states,
                  wipe)
from process import wait_until
from rush import Threads

MCLT, LEASE = 4, 600
POOL = addresses_of(32)
VENDORS_NAMES = {"startup": "startup-state", "normal": "normal-state", "communications-interrupted": "comm-int-state",
                 "partner-down": "partn-down-state", "recover": "recover-state", "shutdown": "shutdown-state"}
OTHER_STATES = ("recover-wait", "recover-done", "potential-conflict", "conflict-done", "resolution-interrupted",
                "paused", "unknown")
OK, ERROR, GUARDED = 0, 1, 4


def command(server, state, **arguments):
    """The whole answer to a force-state by REST."""
    return server.rest("force-state", state=state, **arguments)


def force(server, state, **arguments):
    """The arguments of a good answer."""
    answer = command(server, state, **arguments)
    assert answer["result"] == OK, answer
    return answer["arguments"]


def shut_down(server, partner):
    """By force; returns when the partner has been told and the link is closed."""
    force(server, "shutdown")
    wait_until(lambda: status(server)["link"] == status(partner)["link"] == "down", 4, "the link closes behind it")
    assert states(server, partner) == "shutdown/partner-down"


def stored(server):
    """The relationship's record in the database."""
    with contextlib.closing(sqlite3.connect(os.path.join(server.host.path, DATABASE))) as database:
        database.row_factory = sqlite3.Row
        row, = database.execute("SELECT * FROM relationship").fetchall()
        return dict(row)


def refused(server, result, state, **arguments):
    """The text of a bad answer; nothing has changed."""
    def look():
        now = status(server)
        return {key: now[key] for key in ("state", "since", "role", "link")}
    before = look()
    answer = command(server, state, **arguments)
    assert answer["result"] == result, answer
    assert "arguments" not in answer
    assert look() == before
    return answer["text"]


def refused_raw(server, **arguments):
    answer = server.rest("force-state", **arguments)
    assert answer["result"] == ERROR, answer
    return answer["text"]


# --- names and answers -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("spelling", [lambda state: state, VENDORS_NAMES.get], ids=["draft", "vendor"])
def test_every_state_in_both_spellings(server, spelling):
    before = "recover"
    for state in "communications-interrupted", "normal", "startup", "partner-down", "recover", "shutdown":
        mark = server.log.mark()
        answer = force(server, spelling(state), override=True)
        let_go = state == "normal"      # of the link that the one before holds down: both servers have to agree
        assert answer["state"] == status(server)["state"] == ("communications-interrupted" if let_go else state)
        assert answer["previous-state"] == before and answer["relationship"] == "fo"
        assert answer["role"] == "primary" and answer["partner-state"] == "unknown"
        assert abs(answer["since"] - time.time()) < 5
        assert len(answer["effects"]) >= 1
        for effect in answer["effects"]:
            assert effect[0].isupper() and effect.endswith("."), "a sentence"
        assert log_lines(server, f"WARN.*FAILOVER_FORCED fo: force-state {state}", mark)
        before = answer["state"]


def test_states_that_cannot_be_forced(server):
    for state in (*OTHER_STATES, "NORMAL", "normal ", "", "recover-wait-state"):
        text = refused(server, ERROR, state, override=True)
        for draft, vendor in VENDORS_NAMES.items():
            assert draft in text and vendor in text


def test_arguments(server):
    assert "state" in refused_raw(server)
    assert "state" in refused_raw(server, state=4)
    assert "override" in refused_raw(server, state="partner-down", override="yes")
    assert "override" in refused_raw(server, state="partner-down", override=1)
    for since in "now", 1.5, True, None:
        assert "since" in refused_raw(server, state="partner-down", since=since)
    for since in 0, -1:
        assert "since" in refused_raw(server, state="partner-down", since=since)
    assert "relationship" in refused_raw(server, state="partner-down", relationship=1)
    assert "fo" in refused_raw(server, state="partner-down", relationship="other")
    text = refused_raw(server, state="partner-down", force=True)
    assert '"force"' in text and "override" in text and "since" in text
    assert states(server) == "recover"
    assert force(server, "partner-down", relationship="fo")["state"] == "partner-down"


# --- the guards ------------------------------------------------------------------------------------------------------

def test_normal_without_a_link_needs_override(bed, pair):
    primary, secondary = pair
    lose(secondary, primary)
    assert '"override": true' in refused(primary, GUARDED, "normal")
    assert force(primary, "normal", override=True)["state"] == "normal"
    for role in "primary", "secondary":
        client = bed.client(role)
        assert len(client.discover(to=primary)) == 1, "every client is answered, for the partner isn't there"
        mine = owned(primary, POOL)
        lease = serve(client, primary)
        assert lease.address in mine and lease.lifetime == MCLT
        for _ in range(2):
            assert client.renew(lease).lifetime == MCLT, "the partner never heard of it"
    secondary.start()
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_normal_while_the_partner_recovers_needs_patience(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": 60})
    lose(secondary, primary)
    wipe(secondary)
    secondary.start()
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    for override in False, True:
        assert "by itself" in refused(primary, GUARDED, "normal", override=override)
        text = refused(secondary, GUARDED, "normal", override=override)
        assert "recover-wait" in text and "partner-down" in text


def test_normal_in_recover_is_refused(server):
    for override in False, True:
        assert "force-state partner-down" in refused(server, GUARDED, "normal", override=override)


def test_normal_in_recover_done_is_refused(pair):
    primary, secondary = pair
    lose(secondary, primary)
    wipe(secondary)
    secondary.start()
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    primary.pause()
    wait_states("recover-done", secondary)
    for override in False, True:
        text = refused(secondary, GUARDED, "normal", override=override)
        assert "recover-done" in text and "force-state partner-down" in text
    primary.resume()
    wait_states("normal/normal", primary, secondary)


def test_normal_in_a_conflict_is_refused(pair):
    primary, secondary = pair
    with in_conflict(primary, secondary):
        for override in False, True:
            text = refused(primary, GUARDED, "normal", override=override)
            assert "potential-conflict" in text and "force-state partner-down" in text
        secondary.kill9()
        wait_states("resolution-interrupted", primary)
        for override in False, True:
            text = refused(primary, GUARDED, "normal", override=override)
            assert "resolution-interrupted" in text and "force-state partner-down" in text
    assert force(primary, "partner-down")["state"] == "partner-down", "the way out"
    secondary.start()
    wait_states("normal/normal", primary, secondary)


def test_normal_in_shutdown_is_refused(pair):
    primary, secondary = pair
    shut_down(primary, secondary)
    for override in False, True:
        assert "force-state startup" in refused(primary, GUARDED, "normal", override=override)
    force(primary, "startup")
    wait_states("normal/normal", primary, secondary)
    assert primary.log.find("startup -> recover")


def test_partner_down_with_a_living_partner_needs_override(bed, pair):
    primary, secondary = pair
    client = bed.client("secondary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    lease = client.renew(lease)     # outlasts the recover-wait
    assert lease.lifetime > MCLT + 5
    wait_quiet(primary, secondary)
    for server in primary, secondary:
        text = refused(server, GUARDED, "partner-down")
        assert '"override": true' in text and "normal" in text
    mark = secondary.log.mark()
    answer = force(primary, "partner-down", override=True)
    assert (answer["state"], answer["role"]) == ("partner-down", "primary")
    # Rule 7: over a living link the partner falls silent at once, recovers, and both return to normal.
    secondary.wait_log("normal -> recover", since=mark)
    assert isinstance(client.renew(lease, secondary), Silence)
    assert isinstance(client.renew(lease, primary), Ack)
    wait_states("normal/normal", primary, secondary)
    assert secondary.log.find("recover -> recover-wait") and primary.log.find("partner-down -> normal")
    assert not primary.log.find("conflict") and not secondary.log.find("conflict")
    assert isinstance(client.renew(lease, secondary), Ack)


def test_partner_down_overridden_on_the_secondary(pair):
    primary, secondary = pair
    assert force(secondary, "partner-down", override=True)["role"] == "primary"
    wait_until(lambda: roles(primary, secondary) == "secondary/primary", 3, "both agree on who is primary")
    wait_states("normal/normal", primary, secondary)
    assert roles(primary, secondary) == "secondary/primary"


def test_partner_down_with_a_partner_that_doesnt_serve_needs_no_override(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": 60})
    lose(secondary, primary)
    wipe(secondary)
    secondary.start()
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    assert force(primary, "partner-down")["state"] == "partner-down"
    wait_states("partner-down/recover-wait", primary, secondary)


def test_partner_down_without_a_record_warns(bed, server):
    effects = " ".join(force(server, "partner-down")["effects"])
    assert "no record" in effects and "given out twice" in effects
    assert serve(bed.client(), server) == [], "nothing is its own"
    wait_until(lambda: not pending(server), MCLT + 3, "STOS + MCLT is over")
    assert serve(bed.client(), server).lifetime == MCLT


# --- since -----------------------------------------------------------------------------------------------------------

def test_since(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": 6}, subnets=[small(8)])
    lose(secondary, primary)
    future = int(time.time()) + 60
    text = refused(primary, ERROR, "partner-down", since=future)
    assert "future" in text
    text = refused(primary, ERROR, "partner-down", since=int(time.time()) - 3600)
    last_heard = int(re.search(r"\d{9,}", text)[0])
    assert abs(last_heard - time.time()) < 5, "the text names the time of the partner's last message"
    refused(primary, ERROR, "partner-down", since=last_heard - 1, override=True)
    for state in set(VENDORS_NAMES) - {"partner-down"}:
        assert "since" in refused(primary, ERROR, state, since=last_heard, override=True)

    wait_until(lambda: time.time() > last_heard + 3, 8, "some time after that")
    answer = force(primary, "partner-down", since=last_heard)
    assert answer["since"] == status(primary)["since"] == last_heard
    assert pending(primary)["partner's free addresses (STOS + MCLT)"] <= 3
    clients = [bed.client() for _ in range(6)]
    own = [lease for lease in (serve(client, primary) for client in clients) if lease]
    assert len(own) == 4 and time.time() < last_heard + 6
    offer = wait_until(lambda: clients[-1].discover(to=primary), 5, "an address of the partner's")[0]
    assert last_heard + 6 <= offer.at < last_heard + 8, "the waits count from since"


def test_since_in_partner_down_moves_its_start(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": 60})
    lose(secondary, primary)
    died = int(time.time())
    wait_until(lambda: time.time() >= died + 2, 4, "some time after that")
    later = force(primary, "partner-down")["since"]
    assert later > died
    answer = force(primary, "partner-down", since=died + 1)
    assert (answer["state"], answer["since"]) == ("partner-down", died + 1)
    assert pending(primary)["partner's free addresses (STOS + MCLT)"] <= died + 1 + 60 - time.time() + 1
    assert force(primary, "partner-down")["since"] == died + 1, "without since its start stays"
    primary.kill9()
    primary.start()
    wait_states("partner-down", primary)
    assert status(primary)["since"] == died + 1


# --- the present state -----------------------------------------------------------------------------------------------

def test_forcing_the_present_state_changes_nothing(pair):
    primary, secondary = pair
    def again(server, state):
        before = status(server)
        answer = command(server, state)
        assert answer["result"] == OK and "already" in answer["text"]
        after = status(server)
        assert all(after[key] == before[key] for key in ("state", "since", "role", "link", "partner-state"))
        assert answer["arguments"]["previous-state"] == answer["arguments"]["state"] == state
    again(primary, "normal")
    again(secondary, "normal")
    force(primary, "communications-interrupted")
    again(primary, "communications-interrupted")
    wait_states("communications-interrupted", secondary)
    secondary.kill9()
    for state in "partner-down", "recover", "shutdown":
        force(primary, state)
        again(primary, state)


def test_forcing_communications_interrupted_in_it_adds_the_hold(pair):
    primary, secondary = pair
    lose(secondary, primary)
    since = status(primary)["since"]
    wait_until(lambda: time.time() > since + 1, 3, "a later second")
    assert force(primary, "communications-interrupted")["since"] == since
    assert status(primary)["link"] == "held-down"
    secondary.start()
    wait_states("communications-interrupted/communications-interrupted", primary, secondary)
    assert force(secondary, "communications-interrupted")["state"] == "communications-interrupted"
    force(primary, "normal")
    assert status(primary)["link"] == "down" and status(secondary)["link"] == "held-down"
    force(secondary, "normal")
    wait_states("normal/normal", primary, secondary)


# --- what each does --------------------------------------------------------------------------------------------------

def test_startup_is_silent_until_the_partner_answers(bed, library):
    primary, secondary = normal_pair(bed, library, {"startup_delay": 60}, valid_lifetime=LEASE)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    lose(secondary, primary)
    assert force(primary, "startup")["state"] == "startup"
    assert isinstance(client.renew(lease), Silence) and client.discover(to=primary) == []
    client.release(lease)
    assert binding(primary, lease.address)["binding-state"] == "ACTIVE"
    assert 50 < pending(primary)["end of startup"] <= 60
    secondary.start()
    wait_states("normal/normal", primary, secondary)
    connects = status(secondary)["counters"]["connects"]
    force(primary, "startup")
    wait_until(lambda: status(secondary)["counters"]["connects"] > connects, 5, "the link is dropped and made again")
    wait_states("normal/normal", primary, secondary)


@pytest.mark.parametrize("before, after", [("communications-interrupted", "communications-interrupted"),
                                           ("partner-down", "partner-down"), ("recover", "recover"),
                                           ("shutdown", "recover")])
def test_startup_without_a_partner_ends_in_the_state_from_before(pair, before, after):
    primary, secondary = pair
    lose(secondary, primary)
    if before != "communications-interrupted":
        force(primary, before)
    since = status(primary)["since"]
    assert force(primary, "startup")["state"] == "startup"
    wait_states(after, primary, timeout=5)
    assert before != after or status(primary)["since"] == since


def test_normal_lets_a_held_link_go(pair):
    primary, secondary = pair
    held_down(primary, secondary)
    answer = force(primary, "normal")
    assert answer["state"] == "communications-interrupted" and "let go" in answer["effects"][0]
    wait_states("normal/normal", primary, secondary, timeout=4)


def test_communications_interrupted_holds_the_link_down_until_another_force(pair):
    primary, secondary = pair
    for server, other in (primary, secondary), (secondary, primary):
        force(server, "communications-interrupted")
        wait_states("communications-interrupted/communications-interrupted", primary, secondary)

        def still_held():
            assert states(server) == "communications-interrupted"
            assert (status(server)["link"], status(other)["link"]) == ("held-down", "down")
        still_held()
        server.reload()
        still_held()
        server.kill9()
        server.start()
        wait_states("communications-interrupted", server)
        still_held()
        other.restart()
        wait_states("communications-interrupted", other)
        still_held()
        server.restart()
        wait_states("communications-interrupted", server)
        still_held()
        force(server, "normal")
        wait_states("normal/normal", primary, secondary)


@pytest.mark.parametrize("state", ["startup", "partner-down", "recover", "shutdown"])
def test_any_other_force_lets_the_link_go(pair, state):
    primary, secondary = pair
    held_down(primary, secondary)
    force(primary, state)
    if state == "shutdown":
        wait_states("shutdown/partner-down", primary, secondary)
        wait_until(lambda: status(primary)["link"] == "down", 8, "the link closes behind it")
        force(primary, "startup")
    wait_until(lambda: status(primary)["link"] == "up", 8, "the link is back")
    wait_states("normal/normal", primary, secondary)


def test_partner_down_lasts(bed, pair):
    primary, secondary = pair
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    lose(secondary, primary)
    served = time.time()
    since = force(primary, "partner-down")["since"]
    mark = primary.log.mark()
    primary.reload()
    assert not primary.log.find("startup", mark), "a reconfiguration is no start"
    assert (states(primary), status(primary)["since"]) == ("partner-down", since)
    assert isinstance(client.renew(lease), Ack)
    primary.kill9()
    primary.start()
    wait_states("partner-down", primary)
    assert (roles(primary), status(primary)["since"]) == ("primary", since)
    secondary.start()
    secondary.wait_log("startup -> recover")
    wait_states("normal/normal", primary, secondary)
    assert time.time() >= served + MCLT - 1, "the leases that it had given have ended"
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, POOL)


def test_recover_asks_for_everything_and_waits(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": MCLT}, valid_lifetime=LEASE)
    client = bed.client("secondary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    mark = primary.log.mark()
    answer = force(secondary, "recover")
    forced = time.time()
    assert answer["state"] == "recover"
    primary.wait_log("the partner asks for everything", since=mark)
    primary.wait_log("normal -> communications-interrupted: partner is in recover", since=mark)
    wait_states("communications-interrupted/recover-wait", primary, secondary)
    assert pending(secondary).get("end of recover-wait", 0) <= MCLT + 1
    assert isinstance(client.renew(lease), Silence)
    for _ in range(2):
        assert isinstance(client.renew(lease, primary), Ack), "the other one serves on"
        wait_quiet(primary, secondary)
    wait_states("normal/normal", primary, secondary)
    assert time.time() >= forced + MCLT - 1
    assert isinstance(client.renew(lease), Ack)


def test_recover_lasts_without_a_partner(bed, pair):
    primary, secondary = pair
    client = bed.client("primary")
    lease = client.dora()
    lose(secondary, primary)
    force(primary, "recover")
    for again in primary.reload, primary.restart:
        again()
        wait_states("recover", primary)
        assert isinstance(client.renew(lease), Silence)


def test_shutdown_is_told_and_held_until_a_process_start(bed, pair):
    primary, secondary = pair
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    begun = time.monotonic()
    answer = force(primary, "shutdown")
    assert answer["state"] == "shutdown" and time.monotonic() - begun < 2
    wait_states("partner-down", secondary, timeout=2)
    wait_until(lambda: status(primary)["link"] == "down", 4, "the link closes behind it")
    assert isinstance(client.renew(lease, primary), Silence) and isinstance(client.renew(lease, secondary), Ack)
    for how in "config-reload", "config-set":
        primary.reload(how=how)
        assert states(primary) == "shutdown"
        assert isinstance(client.renew(lease, primary), Silence)
    assert (status(secondary)["link"], states(secondary)) == ("down", "partner-down")
    primary.restart()
    primary.wait_log("startup -> recover")
    wait_states("normal/normal", primary, secondary)
    assert roles(primary, secondary) == "secondary/primary"


def test_shutdown_without_a_link_says_so(pair):
    primary, secondary = pair
    lose(secondary, primary)
    assert "can't be told" in " ".join(force(primary, "shutdown")["effects"])
    force(primary, "communications-interrupted")
    assert "let go" in " ".join(force(primary, "shutdown")["effects"])


def test_shutdown_can_be_left_by_partner_down(bed, pair):
    primary, secondary = pair
    shut_down(primary, secondary)
    secondary.kill9()
    assert force(primary, "partner-down")["state"] == "partner-down"
    assert serve(bed.client(), primary).lifetime == MCLT


# --- under load ------------------------------------------------------------------------------------------------------

class Crowd(Threads):
    """Clients that come, renew, and leave or just vanish, from several threads; each lease that one had is noted."""

    def __init__(self, bed, threads=4):
        self.bed = bed
        self.bed.wire           # made once, before several threads want it
        self.held = []          # (address, MAC, from, until)
        super().__init__(self._run, [()] * threads)

    def _run(self):
        while not self.over.is_set():
            client = self.bed.client()
            offers = client.discover(secs=10, expect=1, timeout=0.3)
            lease = offers and client.request(offers[0], timeout=0.3)
            if isinstance(lease, Ack):
                self.held.append((lease.address, client.mac, lease.at, self._keep(client, lease)))

    def _keep(self, client, lease):
        """The end of the client's time with its address."""
        while random.random() < 0.5:
            answer = client.renew(lease, random.choice(self.bed.servers), timeout=0.3)
            if isinstance(answer, Nak):
                return answer.at
            if isinstance(answer, Silence):
                return lease.ends
            lease = max(lease, answer, key=lambda one: one.ends)
        if random.random() < 0.5:
            return lease.ends
        released = time.time()
        client.release(lease)
        return released

    def clashes(self):
        """Leases of one address that two clients had at one time. Servers count in whole seconds."""
        return [(one, other) for one, other in itertools.combinations(sorted(self.held), 2)
                if one[0] == other[0] and one[1] != other[1] and other[2] < one[3] - 1 and one[2] < other[3] - 1]


def test_forcing_under_load(bed, library):
    """Many clients, several threads, one state after the other: never two clients with one address."""
    primary, secondary = normal_pair(bed, library, {"mclt": 2, "startup_delay": 1}, threads=4, valid_lifetime=3,
                                     subnets=[small(60)])
    with Crowd(bed) as crowd:
        for server, other in (primary, secondary), (secondary, primary):
            held_down(server, other)
            time.sleep(0.5)             # so that something happens meanwhile
            force(server, "normal")
            wait_states("normal/normal", primary, secondary)
            force(server, "recover")
            wait_states("normal/normal", primary, secondary)
            force(server, "startup")
            wait_states("normal/normal", primary, secondary)
            shut_down(server, other)
            time.sleep(0.5)
            server.restart()
            wait_states("normal/normal", primary, secondary)
    assert len(crowd.held) > 30
    assert crowd.clashes() == []
    wait_until(lambda: not primary.leases() and not secondary.leases(), 15, "all leases have ended")
    wait_quiet(primary, secondary)
    wait_same_view(primary, secondary, addresses_of(60))
    for server in primary, secondary:
        assert server.statistics("subnet[1].assigned-addresses") == 0
        assert status(server)["counters"]["clashes"] == 0


# --- on disk before the answer ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("state, after", [("communications-interrupted", "communications-interrupted"),
                                          ("normal", "communications-interrupted"), ("partner-down", "partner-down"),
                                          ("recover", "recover"), ("shutdown", "recover")])
def test_a_force_is_on_disk_before_the_answer(pair, state, after):
    primary, secondary = pair
    lose(secondary, primary)
    if state == "normal":
        force(primary, "partner-down")      # something else to come from
    answer = command(primary, state, override=True)
    primary.kill9()
    assert answer["result"] == OK and answer["arguments"]["state"] == state
    assert stored(primary)["state"] == state
    primary.start()
    wait_states(after, primary)
    assert state == "shutdown" or state != after or status(primary)["since"] == answer["arguments"]["since"]
    if state == "communications-interrupted":
        assert status(primary)["link"] == "held-down"


@pytest.mark.parametrize("state", ["communications-interrupted", "partner-down", "shutdown"])
def test_a_force_that_cannot_be_stored_changes_nothing(bed, pair, state):
    primary, secondary = pair
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    with locked(primary):
        begun = time.monotonic()
        text = refused(primary, ERROR, state, override=True)
        assert 1.5 < time.monotonic() - begun < 5, "it waits for 2 s at most"
        assert "database" in text and "nothing has changed" in text
        assert isinstance(client.renew(lease), Ack), "the server serves on in its state"
        assert states(primary, secondary) == "normal/normal"
        assert status(primary)["database"] == "not-written"
        wait_until(lambda: log_lines(primary, "can't be written"), 5, "the trouble is logged")
    wait_until(lambda: status(primary)["database"] == "written", 5, "the database is written again")
    wait_quiet(primary, secondary)
    assert len(log_lines(primary, "can't be written")) == 1 and log_lines(primary, "is written again")
    primary.kill9()
    assert stored(primary)["state"] == "normal" and not stored(primary)["link_held_down"]
    primary.start()
    wait_states("normal/normal", primary, secondary)
    assert force(primary, state, override=True)["state"] == state
