# SPDX-License-Identifier: MPL-2.0
"""The hook's parameters: each mistake keeps the server from starting, with a line that names the key and its place."""
import copy
import json
import os

import pytest

from client import MARKER_RELAY, Ack
from configuration import parameters, place_in_file, second, starts, why_not
from hook import (addresses_of, log_lines, normal_pair, owned, pair_config, serve, small, states, status, wait_quiet,
                  wait_states)
from kea import subnet
from process import wait_until

# --- mistakes in a relationship --------------------------------------------------------------------------------------

@pytest.mark.parametrize("key, value, words", [
    ("name", 5, "string"), ("name", "", "characters"), ("name", "x" * 256, "characters"),
    ("mclt", 0, "1 to"), ("mclt", -1, "1 to"), ("mclt", 366 * 86400 + 1, "to 31622400"), ("mclt", "60", "integer"),
    ("mclt", 1.5, "integer"), ("mclt", True, "integer"), ("mclt", [60], "integer"),
    ("split", -1, "0 to 256"), ("split", 257, "0 to 256"), ("split", "128", "integer"),
    ("load-balance-max-seconds", -1, "0 to"), ("load-balance-max-seconds", 65536, "to 65535"),
    ("max-response-delay", 8, "9 to"), ("max-response-delay", 86401, "to 86400"),
    ("max-unacked-updates", 0, "1 to"), ("max-unacked-updates", 65536, "to 65535"),
    ("startup-delay", 0, "1 to"), ("startup-delay", 3601, "to 3600"),
    ("auto-partner-down", -1, "0 to"), ("auto-partner-down", False, "integer"),
    ("interrupted-leases", "keep", '"extend" or "replace"'), ("interrupted-leases", "Replace", '"extend" or "replace"'),
    ("interrupted-leases", 1, "string"), ("partner-down-lease-time", "MCLT", '"full" or "mclt"'),
    ("max-lease-misbalance", 101, "0 to 100"), ("max-lease-ownership", 101, "0 to 100"),
    ("min-balance", -1, "0 to"), ("max-balance", 86401, "to 86400"),
    ("subnets", 1, "list"), ("subnets", [], "all subnets"), ("this-server-name", 1, "string"),
    ("peers", {}, "list"), ("mlct", 60, "mclt"), ("Name", "fo", "name")])
def test_a_wrong_value_or_key(kea, key, value, words):
    parameters(kea)["relationships"][0][key] = value
    line = why_not(kea)
    assert line.startswith(f"relationships[0].{key} (") and words in line
    assert f'"{key}"' in place_in_file(kea, line)


@pytest.mark.parametrize("value, place, words", [
    ([0], "subnets[0]", "1 to"), ([1, "1"], "subnets[1]", "integer"), ([1, 1], "subnets[1]", "twice")])
def test_a_wrong_subnet(kea, value, place, words):
    parameters(kea)["relationships"][0]["subnets"] = value
    line = why_not(kea)
    assert line.startswith(f"relationships[0].{place} (") and words in line


@pytest.mark.parametrize("changes, place, words", [
    ({"name": None}, "peers[0]", '"name"'), ({"role": None}, "peers[0]", '"role"'),
    ({"address": None}, "peers[0]", '"address"'), ({"name": 1}, "peers[0].name", "string"),
    ({"role": "standby"}, "peers[0].role", '"primary" or "secondary"'),
    ({"address": "srv1"}, "peers[0].address", "srv1"), ({"address": "fe80::1"}, "peers[0].address", "IPv4"),
    ({"address": "10.98.0.256"}, "peers[0].address", "10.98.0.256"),
    ({"address": 1}, "peers[0].address", "string"), ({"port": 0}, "peers[0].port", "1 to"),
    ({"port": 65536}, "peers[0].port", "to 65535"), ({"port": "647"}, "peers[0].port", "integer"),
    ({"adress": "10.98.0.1"}, "peers[0].adress", "address"),
    ({"role": "secondary"}, "peers", "primary"), ({"name": "server2"}, "peers", '"server2"'),
    ({"address": "10.98.0.2"}, "peers", "same address")])
def test_a_wrong_peer(kea, changes, place, words):
    peer = parameters(kea)["relationships"][0]["peers"][0]
    for key, value in changes.items():
        peer[key] = value
        if value is None:
            del peer[key]
    line = why_not(kea)
    assert line.startswith(f"relationships[0].{place} (") and words in line
    assert place_in_file(kea, line)


@pytest.mark.parametrize("key", ["name", "peers"])
def test_a_missing_key(kea, key):
    del parameters(kea)["relationships"][0][key]
    line = why_not(kea)
    assert line.startswith("relationships[0] (") and f'"{key}"' in line and "missing" in line


@pytest.mark.parametrize("hba, words", [("ff" * 31, "32 bytes"), ("f" * 65, "32 bytes"), ("zz" * 32, "32 bytes")])
def test_a_wrong_hba(kea, hba, words):
    relationship = parameters(kea)["relationships"][0]
    relationship |= {"hba": hba}
    del relationship["split"]
    line = why_not(kea)
    assert line.startswith("relationships[0].hba (") and words in line


# --- who this server is ----------------------------------------------------------------------------------------------

def test_both_peers_are_this_server(kea):
    parameters(kea)["relationships"][0]["peers"][1]["address"] = kea.host.address
    line = why_not(kea)
    assert line.startswith("relationships[0] (") and "both" in line and "this-server-name" in line


def test_this_server_name_decides(kea):
    relationship = parameters(kea)["relationships"][0]
    relationship["this-server-name"] = "server2"
    relationship["peers"][1]["address"] = kea.host.address      # both are this server's
    starts(kea)
    assert (status(kea)["this-server-name"], status(kea)["configured-role"]) == ("server2", "secondary")
    assert status(kea)["partner-name"] == "server1" and status(kea)["listening"]


# --- the whole of it -------------------------------------------------------------------------------------------------

def test_no_parameters(kea):
    del kea.config["Dhcp4"]["hooks-libraries"][-1]["parameters"]
    assert '"relationships" is missing' in why_not(kea)


@pytest.mark.parametrize("changes, start, words", [
    ({"relationships": None}, "", '"relationships"'), ({"relationships": []}, "relationships (", "empty"),
    ({"relationships": {}}, "relationships (", "list"), ({"relationships": [5]}, "relationships[0] (", "map"),
    ({"datbase": "/tmp/x"}, "datbase (", "database, relationships"), ({"database": 5}, "database (", "string"),
    ({"database": ""}, "database (", "characters")])
def test_a_mistake_at_the_top(kea, changes, start, words):
    for key, value in changes.items():
        parameters(kea)[key] = value
        if value is None:
            del parameters(kea)[key]
    line = why_not(kea)
    assert line.startswith(start) and words in line


def test_a_database_that_cannot_be_made(kea):
    parameters(kea)["database"] = "/nowhere/failover.db"
    line = why_not(kea)
    assert "database" in line and "/nowhere/failover.db" in line


@pytest.mark.parametrize("turned", [False, True])
def test_two_relationships_between_the_same_addresses(kea, turned):
    peers = copy.deepcopy(parameters(kea)["relationships"][0]["peers"])
    if turned:
        for peer, role in zip(peers, ("secondary", "primary")):
            peer["role"] = role
    second(kea, peers=peers)
    line = why_not(kea)
    assert line.startswith("relationships (") and '"fo"' in line and '"fo2"' in line and "addresses" in line


def test_another_program_refuses_the_hook(kea):
    """The control agent would load it too, and has nothing that fails over."""
    config = {"Control-agent": {"http-host": kea.host.address, "http-port": 8001, "hooks-libraries":
                                kea.config["Dhcp4"]["hooks-libraries"][-1:]}}
    with open(os.path.join(kea.host.path, "agent-with-hook.json"), "w") as file:
        json.dump(config, file)
    agent = kea.agent
    agent.spawn([kea.host.program(agent.name), "-c", f"{kea.host.self_path}/agent-with-hook.json"],
                {"KEA_PIDFILE_DIR": kea.host.self_path, "KEA_LOCKFILE_DIR": "none"})
    wait_until(lambda: not agent.is_alive(), 10, "it refuses to start")
    agent.process = None
    assert agent.log.find("failed to load|HOOKS_LOAD_ERROR|symbol")


# --- what is taken ---------------------------------------------------------------------------------------------------

def test_an_hba_as_dhcpd_writes_it(bed, library):
    hba = ":".join(["ff"] * 16 + ["00"] * 16)     # split 128
    primary, secondary = normal_pair(bed, library, {"split": None, "hba": hba})
    for role, server in ("primary", primary), ("secondary", secondary):
        assert [offer.source for offer in bed.client(role).discover()] == [server.host.address]


def test_comments_and_user_contexts(kea):
    relationship = parameters(kea)["relationships"][0]
    for place in parameters(kea), relationship, relationship["peers"][0]:
        place["comment"] = "why"
        place["user-context"] = {"anything": [1, 2]}
    assert starts(kea) == []


@pytest.mark.parametrize("changes, words", [
    ({"mclt": 119}, ["mclt", "120"]), ({"split": 0}, ["split 0", "primary"]),
    ({"split": 256}, ["split 256", "secondary"]), ({"auto-partner-down": 3600}, ["auto-partner-down", "two clients"])])
def test_what_is_risky_is_warned_of(kea, changes, words):
    parameters(kea)["relationships"][0] |= changes
    warning, = starts(kea)
    assert '"fo"' in warning and all(word in warning for word in words)


def test_lease_caching_is_warned_of(kea):
    kea.config["Dhcp4"]["subnet4"][0]["cache-threshold"] = 0.5
    warning, = starts(kea)
    assert '"fo"' in warning and "subnet 1" in warning and "caching" in warning


# --- reconfiguration -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["config-reload", "config-set"])
@pytest.mark.parametrize("changes", [{"mclt": 0}, {"subnets": [5]}], ids=["parameter", "subnet"])
def test_after_a_reconfiguration_that_fails_nobody_is_served_without_the_rules(bed, library, how, changes):
    """Kea goes on with the configuration of before, but without its hook."""
    primary, secondary = normal_pair(bed, library)
    good = primary.config
    theirs = owned(secondary, addresses_of(32))
    primary.config = pair_config(bed, library, changes)
    primary.write_config()
    answer = primary.command(how, **(primary.config if how == "config-set" else {}))
    assert answer["result"] == 1, answer
    assert log_lines(primary, "FAILOVER_CONFIGURATION_FAILED.*(mclt|no subnet 5)")
    assert primary.command("failover-status")["result"] in (1, 2)
    client = bed.client("primary")
    for secs in 0, 100:
        assert client.discover(to=primary, secs=secs, timeout=0.5) == []
    assert not client.init_reboot(theirs[0], to=primary, timeout=0.5)
    if changes == {"subnets": [5]}:     # Kea has got as far as to open its sockets again
        assert bed.client(relay=MARKER_RELAY).discover(to=primary), "a subnet that isn't covered never notices"
    wait_states("communications-interrupted", secondary)
    assert serve(client, secondary).address in theirs
    primary.reload(good)
    wait_states("normal/normal", primary, secondary)
    assert bed.client("primary").dora().source == primary.host.address


def test_a_reconfiguration_that_kea_itself_refuses_leaves_the_hook_alone(bed, library):
    primary, secondary = normal_pair(bed, library)
    connects = status(primary)["counters"]["connects"]
    bad = copy.deepcopy(primary.config)
    bad["Dhcp4"]["no-such-key"] = 1
    assert primary.command("config-set", **bad)["result"] == 1
    assert states(primary, secondary) == "normal/normal" and status(primary)["counters"]["connects"] == connects
    assert primary.command("config-test", **primary.config)["result"] == 0
    assert states(primary, secondary) == "normal/normal" and status(primary)["counters"]["connects"] == connects


def test_pools_and_subnets_change(bed, library):
    primary, secondary = normal_pair(bed, library, {"subnets": None}, subnets=[small(8)], marker=False)
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(primary, secondary)
    more = pair_config(bed, library, {"subnets": None}, marker=False, subnets=[
        small(16), subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"])])
    for server in primary, secondary:
        server.reload(more)
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    assert isinstance(client.renew(lease), Ack)
    assert bed.client("primary", relay="10.66.0.1").dora().address.startswith("10.66.0.")
    for server in primary, secondary:
        free = status(server)["bindings"]
        assert free["free-mine"] + free["free-partners"] + free["active"] == 26
        assert abs(free["free-mine"] - free["free-partners"]) <= 4
