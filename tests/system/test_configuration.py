# SPDX-License-Identifier: MPL-2.0
"""The hook's parameters: each mistake keeps the server from starting, with a line that names the key and its place."""
import copy
import json
import os
import re

import pytest

from client import MARKER_RELAY, Ack
from hook import (DATABASE, addresses_of, log_lines, normal_pair, owned, pair_config, serve, small, states, status,
                  wait_quiet, wait_states)
from kea import subnet
from process import wait_until
from testbed import Testbed

NO_MCLT_WARNING = 120       # less is warned of


@pytest.fixture(scope="module")
def shared_bed(request):
    """One test bed for all that only start a server, which mostly fails."""
    with Testbed(keep=request.config.getoption("keep")) as bed:
        yield bed


@pytest.fixture
def kea(shared_bed, library):
    """A server of the shared bed, not started, with a good configuration."""
    server = shared_bed.kea("srv1", pair_config(shared_bed, library, {"mclt": NO_MCLT_WARNING}))
    yield server
    server.stop()
    shared_bed.programs.remove(server)


def parameters(server):
    """The hook's, to be changed."""
    return server.config["Dhcp4"]["hooks-libraries"][-1]["parameters"]


def why_not(server):
    """Starts a server that has to refuse; what the hook logs for it."""
    server.start(wait=False)
    wait_until(lambda: not server.is_alive(), 10, lambda: f"{server} refuses to start; {server.log.tail(5)}")
    assert server.process.returncode > 0
    server.process = None
    lines = log_lines(server, "ERROR.*FAILOVER_CONFIGURATION_FAILED")
    assert len(lines) == 1, server.log.text()
    return lines[0].partition("FAILOVER_CONFIGURATION_FAILED ")[2]


def place_in_file(server, line):
    """The line of the configuration file that a message points to."""
    number = int(re.search(r"kea\.json:(\d+):\d+\)", line)[1])
    with open(os.path.join(server.host.path, "kea.json")) as file:
        return file.read().splitlines()[number - 1]


def starts(server):
    """The warnings of a server that starts."""
    server.start()
    lines = log_lines(server, "FAILOVER_CONFIGURATION_RISKY")
    return [line.partition("FAILOVER_CONFIGURATION_RISKY ")[2] for line in lines]


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


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_relationship_has_two_peers(kea, count):
    relationship = parameters(kea)["relationships"][0]
    third = {"name": "server3", "role": "secondary", "address": "10.98.0.3"}
    relationship["peers"] = (relationship["peers"] + [third])[:count]
    line = why_not(kea)
    assert line.startswith("relationships[0].peers (") and str(count) in line and "two" in line


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


def test_hba_and_split_exclude_each_other(kea):
    parameters(kea)["relationships"][0]["hba"] = "f0" * 32
    line = why_not(kea)
    assert "split" in line and "hba" in line


# --- who this server is ----------------------------------------------------------------------------------------------

def test_neither_peer_is_this_server(kea):
    for peer, address in zip(parameters(kea)["relationships"][0]["peers"], ("10.98.0.77", "10.98.0.78")):
        peer["address"] = address
    line = why_not(kea)
    assert line.startswith("relationships[0] (") and "this-server-name" in line
    assert '"server1"' in line and '"server2"' in line


def test_both_peers_are_this_server(kea):
    parameters(kea)["relationships"][0]["peers"][1]["address"] = kea.host.address
    line = why_not(kea)
    assert line.startswith("relationships[0] (") and "both" in line and "this-server-name" in line


def test_this_server_name_is_no_peers(kea):
    parameters(kea)["relationships"][0]["this-server-name"] = "server3"
    line = why_not(kea)
    assert all(name in line for name in ("this-server-name", "server1", "server2", "server3"))


def test_this_server_name_decides(kea):
    relationship = parameters(kea)["relationships"][0]
    relationship["this-server-name"] = "server2"
    relationship["peers"][1]["address"] = kea.host.address      # both are this server's
    starts(kea)
    assert (status(kea)["this-server-name"], status(kea)["configured-role"]) == ("server2", "secondary")
    assert status(kea)["partner-name"] == "server1" and status(kea)["listening"]


def test_an_address_that_comes_later(bed, library):
    """The server knows who it is by this-server-name; its address on the failover link isn't there yet."""
    primary, secondary = (bed.kea(host, pair_config(bed, library, {"this_server_name": name}))
                          for host, name in (("srv1", "server1"), ("srv2", "server2")))
    primary.host.namespace.ip("addr flush dev eth1")
    bed.start_all(primary, secondary)
    assert status(primary)["listening"] is False and status(secondary)["listening"] is True
    lines = log_lines(primary, "10.98.0.1")
    assert len(lines) == 1 and "listen" in lines[0]
    primary.host.namespace.ip("addr add 10.98.0.1/24 dev eth1")
    wait_states("normal/normal", primary, secondary)
    wait_until(lambda: status(primary)["listening"], 8, "it listens by now")
    assert len(log_lines(primary, "can't listen|be listened")) <= 1, "said once"


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


def second(server, **changes):
    """Adds a relationship with another partner, over subnet 2."""
    first = parameters(server)["relationships"][0]
    other = copy.deepcopy(first) | {"name": "fo2", "subnets": [2], **changes}
    if "peers" not in changes:
        other["peers"][1] |= {"name": "server3", "address": "10.98.0.3"}
    for key in [key for key, value in other.items() if value is None]:
        del other[key]
    parameters(server)["relationships"].append(other)
    server.config["Dhcp4"]["subnet4"].append(subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"]))


@pytest.mark.parametrize("changes, words", [
    ({"name": "fo"}, ['"fo"']), ({"subnets": [2, 1]}, ['"fo"', '"fo2"', "subnet 1"]),
    ({"subnets": None}, ['"subnets"'])])
def test_two_relationships_that_exclude_each_other(kea, changes, words):
    second(kea, **changes)
    line = why_not(kea)
    assert line.startswith("relationships (") and all(word in line for word in words)


@pytest.mark.parametrize("turned", [False, True])
def test_two_relationships_between_the_same_addresses(kea, turned):
    peers = copy.deepcopy(parameters(kea)["relationships"][0]["peers"])
    if turned:
        for peer, role in zip(peers, ("secondary", "primary")):
            peer["role"] = role
    second(kea, peers=peers)
    line = why_not(kea)
    assert line.startswith("relationships (") and '"fo"' in line and '"fo2"' in line and "addresses" in line


def test_a_subnet_that_is_not_there(kea):
    parameters(kea)["relationships"][0]["subnets"] = [1, 5]
    line = why_not(kea)
    assert '"fo"' in line and "no subnet 5" in line


def test_half_of_a_shared_network(kea):
    floor = [subnet(1), subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"])]
    kea.config["Dhcp4"]["shared-networks"] = [{"name": "floor", "subnet4": floor}]
    kea.config["Dhcp4"]["subnet4"] = kea.config["Dhcp4"]["subnet4"][1:]
    line = why_not(kea)
    assert '"fo"' in line and "subnet 1" in line and "subnet 2" in line and "shared network" in line
    parameters(kea)["relationships"][0]["subnets"] = [1, 2]
    assert starts(kea) == []


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

def test_defaults(kea):
    """Only name and peers must be given."""
    relationship = parameters(kea)["relationships"][0]
    parameters(kea)["relationships"] = [{"name": "fo", "peers": relationship["peers"]}]
    for peer in relationship["peers"]:
        del peer["port"]
    assert starts(kea) == []
    now = status(kea)
    assert (now["mclt"], now["state"], now["listening"]) == (3600, "startup", True)
    assert 5 < now["pending"][0]["seconds"] <= 10, "startup-delay"
    assert now["bindings"]["free-partners"] == 32 + 100, "all subnets, the marker's too"
    assert os.path.exists(os.path.join(kea.host.path, DATABASE))


def test_the_primarys_mclt_and_split_count(bed, library):
    primary = bed.kea("srv1", pair_config(bed, library, {"mclt": 25, "split": 256}))
    secondary = bed.kea("srv2", pair_config(bed, library, {"mclt": 70, "split": 0}))
    bed.start_all(primary, secondary)
    wait_states("normal/normal", primary, secondary)
    assert status(primary)["mclt"] == status(secondary)["mclt"] == 25
    for role in "primary", "secondary":
        offer, = bed.client(role).discover()
        assert (offer.source, offer.lifetime) == (primary.host.address, 25)
    secondary.restart()
    primary.kill9()
    wait_states("communications-interrupted", secondary)
    assert status(secondary)["mclt"] == 25, "it is remembered"
    assert serve(bed.client(), secondary).lifetime == 25


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


def test_a_hasty_auto_partner_down_is_warned_of(kea):
    parameters(kea)["relationships"][0]["auto-partner-down"] = 60
    assert "less than mclt" in starts(kea)[1]


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


# --- two partners ----------------------------------------------------------------------------------------------------

def test_two_relationships_with_two_partners(bed, library):
    third = bed.add_host("srv3", "10.64.0.3")
    bed.link.plug(third, "eth1", "10.98.0.3/24", third.mac.replace("02:00", "02:01"))
    subnets = [subnet(1), subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"])]
    configs = {host: pair_config(bed, library, subnets=[subnets[index] for index in covered])
               for host, covered in (("srv1", (0, 1)), ("srv2", (0,)), ("srv3", (1,)))}
    hub, one, other = (bed.kea(host, configs[host]) for host in configs)
    second(hub)
    hub.config["Dhcp4"]["subnet4"].pop()
    parameters(other)["relationships"] = copy.deepcopy(parameters(hub)["relationships"][1:])
    bed.start_all(hub, one, other)

    def both():
        return {relationship["name"]: relationship["state"] for relationship in
                hub.query("failover-status")["relationships"]}
    wait_until(lambda: both() == {"fo": "normal", "fo2": "normal"}, 15, both)
    wait_states("normal/normal", one, other)
    clients = bed.client("primary"), bed.client("primary", relay="10.66.0.1")
    leases = [client.dora(hub) for client in clients]
    assert hub.query("failover-binding", ip_address=leases[0].address)["relationship"] == "fo"
    assert hub.query("failover-binding", ip_address=leases[1].address)["relationship"] == "fo2"
    wait_until(lambda: leases[0].address in one.leases() and leases[1].address in other.leases(), 5, "both are told")

    answer = hub.command("force-state", state="shutdown")
    assert answer["result"] == 1 and "fo, fo2" in answer["text"] and '"relationship"' in answer["text"]
    assert hub.query("force-state", state="shutdown", relationship="fo2")["relationship"] == "fo2"
    assert both() == {"fo": "normal", "fo2": "shutdown"}
    assert isinstance(clients[0].renew(leases[0]), Ack)
    assert not clients[1].renew(leases[1], hub)
    wait_states("normal/partner-down", one, other)
    hub.restart()
    wait_states("normal", one)
    assert hub.query("failover-status", relationship="fo")["relationships"][0]["name"] == "fo"
    assert [item["name"] for item in hub.query("status-get")["failover"]] == ["fo", "fo2"]
