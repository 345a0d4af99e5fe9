# SPDX-License-Identifier: MPL-2.0
"""The hook's other commands, by the control socket and by REST: what they answer, and what they don't take."""
import re
import time

import pytest

from hook import (addresses_of, binding, force, held_down, locked, lose, normal_pair, owned, pending, serve,
                  small, states, status, wait_quiet, wait_states, wipe)
from kea import subnet
from process import wait_until

MCLT, LEASE = 60, 600
POOL = addresses_of(32)
COMMANDS = ("force-state", "failover-status", "failover-binding", "failover-sync")
OK, ERROR, EMPTY = 0, 1, 3


def raw(server, name, arguments):
    """The answer to a command with arguments of any type, by REST."""
    server.rest("version-get")      # the agent runs
    answer, = server.agent.post({"command": name, "service": ["dhcp4"], "arguments": arguments}, 10)
    return answer


def refused(server, name, **arguments):
    """The text of an answer that says no."""
    answer = server.command(name, **arguments)
    assert answer["result"] == ERROR and "arguments" not in answer, answer
    assert answer == server.rest(name, **arguments), "the same by REST"
    return answer["text"]


# --- all of them -----------------------------------------------------------------------------------------------------

def test_the_commands_are_listed_and_answer_both_ways(server):
    listed = server.query("list-commands")
    assert set(COMMANDS) <= set(listed)
    for ask in server.command, server.rest:
        assert ask("failover-status")["result"] == OK
        assert ask("failover-binding", ip_address=POOL[0])["arguments"]["ip-address"] == POOL[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_no_command_takes(server, name):
    text = refused(server, name, nonsense=1)
    assert '"nonsense"' in text
    known = {"force-state": ("state", "relationship", "override", "since"), "failover-binding": ("ip-address",),
             "failover-status": ("relationship",), "failover-sync": ("relationship",)}[name]
    assert all(argument in text for argument in known), "those that it takes are listed"
    for arguments in [1], "fo", 5, True:
        answer = raw(server, name, arguments)
        assert answer["result"] == ERROR and "map" in answer["text"], answer
    if name != "failover-binding":
        more = {"state": "recover"} if name == "force-state" else {}
        for relationship in 1, True, ["fo"], {}:
            assert '"relationship" must be a string' in refused(server, name, relationship=relationship, **more)
        text = refused(server, name, relationship="other", **more)
        assert '"other"' in text and "fo" in text
    assert states(server) == "recover"


# --- failover-status -------------------------------------------------------------------------------------------------

def test_status_in_normal(pair):
    primary, secondary = pair
    for server, role, name, other in ((primary, "primary", "server1", "server2"),
                                      (secondary, "secondary", "server2", "server1")):
        answer = server.query("failover-status", relationship="fo")
        assert answer == server.query("failover-status") == server.rest("failover-status")["arguments"]
        now, = answer["relationships"]
        wanted = {"name": "fo", "state": "normal", "role": role, "configured-role": role, "partner-state": "normal",
                  "link": "up", "listening": True, "mclt": MCLT, "database": "written", "updates-queued": 0,
                  "updates-unacked": 0, "pending": [], "this-server-name": name, "partner-name": other}
        assert {key: now[key] for key in wanted} == wanted
        assert abs(now["skew"]) <= 1 and abs(now["since"] - time.time()) < 20
        assert abs(now["partner-since"] - now["since"]) <= 1
        assert now["bindings"] == {"active": 0, "free-mine": 16, "free-partners": 16, "expired": 0, "released": 0,
                                   "reset": 0, "abandoned": 0, "reserved": 0}
        assert now["why"] == "both servers serve, each from its own addresses; the partner is connected"


def test_status_counts(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": MCLT, "startup_delay": 1}, valid_lifetime=LEASE, subnets=[
        subnet(pools=["10.64.1.1 - 10.64.1.32"], reservations=[("0e:00:00:00:00:77", "10.64.1.32")])])
    free = [status(server)["bindings"] for server in (primary, secondary)]
    assert all(one["reserved"] == 1 and one["free-mine"] + one["free-partners"] == 32 for one in free)
    client, leaver, decliner = (bed.client("primary") for _ in range(3))
    lease, left, declined = (one.dora() for one in (client, leaver, decliner))
    wait_quiet(primary, secondary)
    held_down(primary, secondary)
    leaver.release(left, primary)
    decliner.decline(declined, to=primary)
    client.renew(lease)
    client.renew(lease)
    now = status(primary)
    assert (now["bindings"]["active"], now["bindings"]["released"], now["bindings"]["abandoned"]) == (1, 1, 1)
    assert now["counters"]["renewals-refused"] == now["counters"]["requests-refused"] == 1
    assert now["counters"]["connects"] == now["counters"]["disconnects"] == 1
    assert now["counters"]["clashes"] == 0 and now["counters"]["updates-rejected"] == 0
    assert now["updates-queued"] == 3 and now["link"] == "held-down"
    other = status(secondary)
    assert other["link"] == "down" and other["bindings"]["active"] == 3


def test_status_tells_what_is_pending_and_why(pair):
    primary, secondary = pair
    held_down(primary, secondary)
    assert "held down by force-state" in status(primary)["why"]
    assert "serves all clients from its own addresses" in status(secondary)["why"]
    secondary.stop()
    force(primary, "partner-down")
    assert 55 < pending(primary)["partner's free addresses (STOS + MCLT)"] <= 60
    why = status(primary)["why"]
    assert "serves alone" in why and "primary" in why
    wipe(secondary)
    secondary.start()
    wait_states("partner-down/recover-wait", primary, secondary)
    assert 55 < pending(secondary)["end of recover-wait"] <= 61
    assert "silent" in status(secondary)["why"] and status(secondary)["partner-state"] == "partner-down"
    force(secondary, "shutdown")
    assert "force-state" in status(secondary)["why"]


def test_status_while_the_database_hangs(pair):
    primary, _ = pair
    with locked(primary):
        wait_until(lambda: status(primary)["database"] == "not-written", 12, "it writes at least every 5 s")
    wait_until(lambda: status(primary)["database"] == "written", 5, "written again")


# --- failover-binding ------------------------------------------------------------------------------------------------

def test_binding_of_a_free_address(pair):
    for server in pair:
        mine = owned(server, POOL)
        assert len(mine) == 16
        for address in POOL:
            now = binding(server, address)
            owner = "mine" if address in mine else "the partner's"
            assert (now["binding-state"], now["owner"]) == ("FREE", owner)
            assert (now["relationship"], now["subnet-id"]) == ("fo", 1)
            assert "hw-address" not in now and now["reserved"] is False and now["partner-knows"] is True
            if address in mine:
                assert now["why"] == "a client would get it: for at most 60 s in normal"
            else:
                assert now["why"] == "a client would not get it: the free address is the partner's"


def test_binding_of_a_lease(bed, pair):
    primary, secondary = pair
    client = bed.client("primary", client_id="mac")
    lease = client.dora()
    wait_quiet(primary, secondary)
    for server in pair:
        now = binding(server, lease.address)
        assert now["binding-state"] == "ACTIVE" and "owner" not in now
        assert now["hw-address"] == client.mac and now["client-id"] == client.client_id.hex(":")
        assert now["ends"] == now["lease-expiration"] == now["client-last-transaction-time"] + MCLT
        assert abs(now["ends"] - lease.ends) <= 1.5
        assert now["acked-potential-expiration"] == now["client-last-transaction-time"] + LEASE + MCLT // 2
        assert now["extended"] is False and now["partner-knows"] is True
        longest = now["acked-potential-expiration"] + MCLT - now["client-last-transaction-time"]
        told = int(re.fullmatch(r"its client would get it: for at most (\d+) s in normal", now["why"])[1])
        assert LEASE < told <= longest
    assert binding(primary, lease.address)["sent-potential-expiration"]
    assert binding(secondary, lease.address)["received-potential-expiration"]
    held_down(primary, secondary)
    client.renew(lease)
    now = binding(primary, lease.address)
    assert now["extended"] is True and now["partner-knows"] is False
    assert "its client would not get it" in now["why"] and "replace" in now["why"]


def test_binding_that_has_ended(bed, pair):
    primary, secondary = pair
    leaver, decliner = bed.client("primary"), bed.client("primary")
    left, declined = leaver.dora(), decliner.dora()
    wait_quiet(primary, secondary)
    decliner.decline(declined, to=primary)
    wait_quiet(primary, secondary)
    for server in pair:
        now = binding(server, declined.address)
        assert now["binding-state"] == "ABANDONED" and "hw-address" not in now
        assert now["ends"] > time.time() + 3600 and "would not get it: the address is abandoned" in now["why"]
    held_down(primary, secondary)
    leaver.release(left)
    now = binding(primary, left.address)
    assert now["binding-state"] == "RELEASED" and now["hw-address"] == leaver.mac
    assert abs(now["ends"] - time.time()) < 5 and "RELEASED" in now["why"] and "partner" in now["why"]
    secondary.kill9()
    force(primary, "partner-down")
    assert binding(primary, left.address)["wait-over"] > time.time() + MCLT, "when it can be given again"
    theirs = next(address for address in POOL if binding(primary, address).get("owner") == "the partner's")
    assert binding(primary, theirs)["wait-over"] == status(primary)["since"] + MCLT


def test_binding_of_a_reserved_address(bed, library):
    mac, address = "0e:00:00:00:00:77", "10.64.1.5"
    primary, secondary = normal_pair(bed, library, subnets=[subnet(reservations=[(mac, address), (
        "0e:00:00:00:00:78", "10.64.3.3")])])
    for server in primary, secondary:
        now = binding(server, address)
        assert now["reserved"] is True and "the client it is reserved for would get it" in now["why"]
        assert server.command("failover-binding", ip_address="10.64.3.3")["result"] == EMPTY


def test_binding_while_the_server_is_silent(server):
    assert binding(server, POOL[0])["why"] == "the server is silent in recover"
    force(server, "shutdown")
    assert binding(server, POOL[0])["why"] == "the server is silent in shutdown"
    assert binding(server, POOL[0])["owner"] == "nobody's"


def test_binding_of_no_address(server):
    for address in "10.64.1.33", "10.64.2.1", "10.79.255.100", "192.0.2.1", "0.0.0.0", "255.255.255.255":
        answer = server.command("failover-binding", ip_address=address)
        assert answer["result"] == EMPTY and address in answer["text"], answer
    for text in "", "10.64.1", "10.64.1.256", "srv1", "fe80::1", " 10.64.1.1", "10.64.1.1/32":
        assert f'"{text}" is no IPv4 address' in refused(server, "failover-binding", ip_address=text)
    for wrong in 1, True, ["10.64.1.1"], {}:
        assert '"ip-address" must be a string' in refused(server, "failover-binding", ip_address=wrong)
    assert '"ip-address" is missing' in refused(server, "failover-binding")


# --- failover-sync ---------------------------------------------------------------------------------------------------

def test_sync_asks_for_everything(bed, pair):
    primary, secondary = pair
    lease = bed.client("secondary").dora()
    wait_quiet(primary, secondary)
    for server, other in (primary, secondary), (secondary, primary):
        mark, theirs = server.log.mark(), other.log.mark()
        answer = server.command("failover-sync")
        assert answer["result"] == OK and "UPDREQALL" in answer["text"]
        other.wait_log(r"the partner asks for everything: [1-9]\d* bindings", since=theirs)
        server.wait_log("the partner has sent everything", since=mark)
        assert states(primary, secondary) == "normal/normal"
    assert binding(primary, lease.address)["binding-state"] == "ACTIVE"


def test_sync_twice_and_without_a_partner(bed, pair):
    primary, secondary = pair
    bed.client("secondary").dora()
    with locked(primary):           # what it is sent it can't acknowledge
        assert primary.rest("failover-sync")["result"] == OK
        assert "has been asked already" in refused(primary, "failover-sync", relationship="fo")
    lose(secondary, primary)
    assert "no connection" in refused(primary, "failover-sync")


# --- Kea's own commands ----------------------------------------------------------------------------------------------

def test_status_get_carries_the_list(pair):
    primary, secondary = pair
    for server, role in (primary, "primary"), (secondary, "secondary"):
        answer = server.query("status-get")
        item, = answer["failover"]
        full = status(server)
        assert item == {key: full[key] for key in ("name", "state", "since", "role", "partner-state", "link", "why")}
        assert item["role"] == role and answer["pid"] == server.command("status-get")["arguments"]["pid"]
        assert server.rest("status-get")["arguments"]["failover"] == [item]


def test_statistics(bed, pair):
    primary, secondary = pair
    def wait_statistic(server, name, value):
        wait_until(lambda: server.statistics(f"failover[fo].{name}") == value, 4,
                   lambda: f"{name} is {value}, not {server.statistics(f'failover[fo].{name}')}")
    client = bed.client("primary")
    lease = client.dora()
    for server in pair:
        for name, value in {"state": 2, "linked": 1, "active": 1, "waiting": 0, "abandoned": 0, "updates-queued": 0,
                            "updates-unacked": 0, "updates-rejected": 0, "rejects-sent": 0, "clashes": 0,
                            "renewals-refused": 0, "requests-refused": 0, "exhausted": 0}.items():
            wait_statistic(server, name, value)
    wait_statistic(primary, "free-mine", 15)
    wait_statistic(primary, "free-partners", 16)
    wait_statistic(secondary, "free-mine", 16)
    wait_statistic(primary, "updates-sent", status(primary)["counters"]["updates-sent"])
    wait_statistic(secondary, "updates-received", status(primary)["counters"]["updates-sent"])
    wait_statistic(secondary, "queries-balanced", 1)
    wait_quiet(primary, secondary)
    held_down(primary, secondary)
    client.renew(lease)
    client.renew(lease)
    wait_statistic(primary, "state", 3)
    wait_statistic(primary, "linked", 0)
    wait_statistic(primary, "renewals-refused", 1)
    wait_statistic(primary, "requests-refused", 1)
    released = serve(client, primary)
    client.release(released, primary)
    wait_statistic(primary, "waiting", 1)
    force(primary, "shutdown")
    assert client.discover(to=primary) == []
    wait_statistic(primary, "state", 8)
    wait_statistic(primary, "queries-silent", status(primary)["counters"]["queries-silent"])
    assert primary.statistics("subnet[1].assigned-addresses") >= 0


def test_statistics_of_an_exhausted_pool(bed, library):
    primary, secondary = normal_pair(bed, library, {"mclt": MCLT}, subnets=[small(2)])
    held_down(primary, secondary)
    assert serve(bed.client(), primary) and bed.client().discover(to=primary) == []
    wait_until(lambda: primary.statistics("failover[fo].exhausted") == 1, 4, "counted")


def test_a_lease_added_by_command_is_taken_over(pair):
    primary, secondary = pair
    address = owned(primary, POOL)[0]
    assert primary.command("lease4-add", ip_address=address, hw_address="0a:0a:0a:0a:0a:0a", subnet_id=1,
                           valid_lft=120)["result"] == OK
    for server in pair:
        wait_until(lambda: binding(server, address)["binding-state"] == "ACTIVE", 5, "the partner is told")
        assert binding(server, address)["hw-address"] == "0a:0a:0a:0a:0a:0a"
    assert address in secondary.leases()
