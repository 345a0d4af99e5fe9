# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about configuration: C04, C32, C33, C34, C35, C36, C61. What `kea-dhcp4 -t` finds is in
test_upgrade.py: it doesn't ask a hook library for its opinion, so "an error" is one at the start of the server here."""
import copy
import json
import os
import re
import time

import pytest

from client import Ack
from configuration import parameters, place_in_file, second, starts, why_not
from hook import (DATABASE, addresses_of, descriptors, log_lines, normal_pair, owned, pair_config, roles, serve,
                  status, wait_quiet, wait_states)
from kea import subnet
from process import wait_until
from testbed import LINK_ADDRESSES

POOL = addresses_of(32)


# --- C04: a configuration sync clones the identity --------------------------------------------------------------------

def test_c04_one_file_serves_both_servers(bed, library):
    """A sync tool copied the whole configuration, this-server-name included, and both nodes took themselves for the
    same server. Here nothing has to be left out of the copy: each finds itself by its address."""
    pair = primary, secondary = normal_pair(bed, library)
    files = []
    for server in pair:
        with open(os.path.join(server.host.path, "kea.json"), "rb") as file:
            files.append(file.read())
    assert files[0] == files[1]
    assert [status(server)["this-server-name"] for server in pair] == ["server1", "server2"]
    assert roles(*pair) == "primary/secondary"


@pytest.mark.parametrize("how", ["start", "config-reload"])
def test_c04_a_cloned_name_is_refused(bed, library, how):
    """The case wants the connection refused with a reason of its own. With this design it doesn't come so far: a
    this-server-name that says the opposite of the addresses is an error of the configuration, which names both peers.
    The other server serves all clients meanwhile."""
    cloned = pair_config(bed, library, {"this_server_name": "server1"})
    primary, secondary = bed.kea("srv1", cloned), bed.kea("srv2", pair_config(bed, library))
    bed.start_all(primary, secondary)
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    if how == "start":
        secondary.stop()
        secondary.config = cloned
        line = why_not(secondary)
    else:
        secondary.config = cloned
        secondary.write_config()
        assert secondary.command("config-reload")["result"] == 1
        line, = log_lines(secondary, "FAILOVER_CONFIGURATION_FAILED")
        client = bed.client()
        assert client.discover(secs=10, to=secondary, timeout=0.5) == [], "its safe state is silence"
    assert all(word in line for word in ("this-server-name", '"server1"', '"server2"', "address")), line
    wait_states("communications-interrupted", primary)
    assert isinstance(serve(bed.client("secondary"), primary), Ack)


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_c04_both_claim_the_same_role(bed, library, role):
    """Two files that differ where they must not: each server's own entry says the same role. The connection is refused
    with the reason, and who never served stays silent. Two secondaries wait for each other's CONNECT: there is nothing
    that either could refuse, so the one that gives up first says what is amiss."""
    pair = []
    for host in "srv1", "srv2":
        server = bed.kea(host, copy.deepcopy(pair_config(bed, library, {"startup_delay": 1})))
        for peer in parameters(server)["relationships"][0]["peers"]:
            mine = peer["address"] == LINK_ADDRESSES[host]
            peer["role"] = role if mine else {"primary": "secondary", "secondary": "primary"}[role]
        pair.append(server)
    bed.start_all(*pair)
    said = f"both servers (are|may be) configured as {role}"
    if role == "primary":
        for server in pair:
            server.wait_log(said)
    else:
        wait_until(lambda: any(log_lines(server, said) for server in pair), 15, "one of them says so")
    assert [status(server)["link"] for server in pair] == ["down", "down"]
    wait_states("recover/recover", *pair)
    assert bed.client().discover(secs=10) == []


# --- C32: pasted hyphens, missing parameters --------------------------------------------------------------------------

def test_c32_a_pasted_hyphen_is_an_unknown_key(kea):
    """Three lines copied from a web page had U+2010 where a hyphen belongs."""
    parameters(kea)["relationships"][0]["max\u2010response\u2010delay"] = 30
    kea.write_config = lambda: write_as_typed(kea)
    line = why_not(kea)
    assert line.startswith("relationships[0].max\u2010response\u2010delay (") and "unknown parameter" in line
    assert "max-response-delay" in line, "those that there are, to compare"
    assert "max\u2010response\u2010delay" in place_in_file(kea, line)


def write_as_typed(server):
    """An editor doesn't escape what is beyond ASCII, as json.dump() does and Kea's parser doesn't understand."""
    with open(os.path.join(server.host.path, "kea.json"), "w") as file:
        json.dump(server.config, file, indent=2, ensure_ascii=False)


@pytest.mark.parametrize("key, value, words", [
    ("mlct", 60, 'unknown parameter "mlct"'), ("max-unacked-updates", 0, "must be 1 to 65535, not 0"),
    ("max-response-delay", "30", "must be an integer, not a string"),
    ("split", "128", "must be an integer, not a string")])
def test_c32_a_mistake_is_told_with_its_key_and_place(kea, key, value, words):
    """The user of the report commented such lines out, one after the other, until required ones were gone too."""
    parameters(kea)["relationships"][0][key] = value
    line = why_not(kea)
    assert re.match(rf"relationships\[0\]\.{key} \(.*kea\.json:\d+:\d+\): ", line) and words in line
    assert f'"{key}"' in place_in_file(kea, line)


def test_c32_a_key_that_stands_twice(kea):
    """Kea's own parser finds it, before the hook is asked."""
    kea.write_config()
    path = os.path.join(kea.host.path, "kea.json")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(re.sub(r'^( *)"mclt": \d+,$', r'\1"mclt": 120,\n\1"mclt": 3600,', text, flags=re.MULTILINE))
    kea.write_config = lambda: None
    kea.start(wait=False)
    wait_until(lambda: not kea.is_alive(), 10, "it refuses to start")
    kea.process = None
    assert kea.log.find(r"kea\.json:\d+:\d+: duplicate mclt entries")


def test_c32_defaults(kea):
    """Only name and peers must be given: everything else has a safe default, the primary's mclt too."""
    relationship = parameters(kea)["relationships"][0]
    parameters(kea)["relationships"] = [{"name": "fo", "peers": relationship["peers"]}]
    for peer in relationship["peers"]:
        del peer["port"]
    assert starts(kea) == []
    now = status(kea)
    assert (now["configured-role"], now["mclt"]) == ("primary", 3600)
    assert (now["state"], now["listening"]) == ("startup", True)
    assert 5 < now["pending"][0]["seconds"] <= 10, "startup-delay"
    assert now["bindings"]["free-partners"] == 32 + 100, "all subnets, the marker's too"
    assert os.path.exists(os.path.join(kea.host.path, DATABASE))


def test_c32_mclt_may_stand_on_both_and_the_primarys_counts(bed, library):
    """The one rule that the case asks for: since one file serves both servers, the secondary's mclt (and split) is no
    error. It is overruled at CONNECT, and the primary's is remembered."""
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


# --- C33: auto-partner-down rejected ----------------------------------------------------------------------------------

@pytest.mark.parametrize("value, words", [
    (-1, "must be 0 to 31622400, not -1"), ("300", "must be an integer, not a string"),
    (10 ** 9, "must be 0 to 31622400, not 1000000000"), (1e9, "must be an integer, not a real"),
    (0.5, "must be an integer, not a real")])
def test_c33_auto_partner_down_that_is_no_time(kea, value, words):
    """The word was unknown in one release and mistaken for another one in the next. 1e9 is a real number in Kea's
    JSON."""
    parameters(kea)["relationships"][0]["auto-partner-down"] = value
    assert words in why_not(kea)


@pytest.mark.parametrize("value, warnings", [
    (None, []), (0, []), (300, ["two clients"]), (60, ["two clients", "auto-partner-down is less than mclt"])])
def test_c33_auto_partner_down_is_off_by_default_and_warned_of(kea, value, warnings):
    if value is not None:
        parameters(kea)["relationships"][0]["auto-partner-down"] = value
    lines = starts(kea)
    assert len(lines) == len(warnings) and all(words in line for words, line in zip(warnings, lines)), lines
    assert "auto-partner-down" not in [step["step"] for step in status(kea)["pending"]]


def test_c33_ports_that_differ(bed, library):
    """The declaration of the report has port 647 and peer port 847."""
    config = pair_config(bed, library)
    config["Dhcp4"]["hooks-libraries"][-1]["parameters"]["relationships"][0]["peers"][1]["port"] = 847
    pair = bed.kea_pair(config)
    wait_states("normal/normal", *pair)
    assert [status(server)["listening"] for server in pair] == [True, True]


# --- C34: a relationship that no pool uses ----------------------------------------------------------------------------
#
# Coverage is by subnet: `subnets` in the relationship, not a reference in each pool. So a pool can't refer to a
# relationship that isn't there, and half of the pools of a subnet can't be covered; its like is half of a shared
# network, which is an error, since Kea moves clients between its subnets.

def test_c34_nothing_to_cover(kea):
    kea.config["Dhcp4"]["subnet4"] = []
    line = why_not(kea)
    assert '"fo"' in line and "no subnet 1" in line


def test_c34_no_subnet_at_all(kea):
    """Where `subnets` is left out, which means all, there may be none yet: a warning, not the error of the case."""
    del parameters(kea)["relationships"][0]["subnets"]
    kea.config["Dhcp4"]["subnet4"] = []
    warning, = starts(kea)
    assert '"fo"' in warning and "covers no subnet" in warning


def test_c34_a_subnet_that_is_not_there(kea):
    parameters(kea)["relationships"][0]["subnets"] = [1, 5]
    line = why_not(kea)
    assert '"fo"' in line and "no subnet 5" in line


@pytest.mark.parametrize("changes, words", [
    ({"name": "fo"}, ['"fo"']), ({"subnets": [2, 1]}, ['"fo"', '"fo2"', "subnet 1"]),
    ({"subnets": None}, ['"subnets"'])])
def test_c34_one_subnet_in_two_relationships(kea, changes, words):
    second(kea, **changes)
    line = why_not(kea)
    assert line.startswith("relationships (") and all(word in line for word in words)


def test_c34_half_of_a_shared_network(kea):
    floor = [subnet(1), subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"])]
    kea.config["Dhcp4"]["shared-networks"] = [{"name": "floor", "subnet4": floor}]
    kea.config["Dhcp4"]["subnet4"] = kea.config["Dhcp4"]["subnet4"][1:]
    line = why_not(kea)
    assert '"fo"' in line and "subnet 1" in line and "subnet 2" in line and "shared network" in line
    parameters(kea)["relationships"][0]["subnets"] = [1, 2]
    assert starts(kea) == []


def test_c34_a_subnet_that_no_relationship_covers_is_plain_kea(bed, library):
    """The fourth of the case's inputs: what isn't covered is served without failover, also while the hook is silent."""
    server, = bed.start_all(bed.kea("srv1", pair_config(bed, library, subnets=[
        subnet(1), subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"])])))
    assert bed.client().discover(secs=10) == []
    assert bed.client(relay="10.66.0.1").dora().lifetime == 600
    assert server.command("failover-binding", ip_address="10.66.0.50")["result"] == 3


# --- C35: duplicate names, a third member -----------------------------------------------------------------------------

def test_c35_three_mistakes_have_three_texts(kea):
    """A host called like its peer; a server that isn't in the list; a third server in it."""
    good = copy.deepcopy(parameters(kea)["relationships"][0])
    third = {"name": "server3", "role": "secondary", "address": "10.98.0.3"}
    texts = set()
    for changes, words in (
            ({"peers": [good["peers"][0], good["peers"][1] | {"name": "server1"}]}, ["both peers", '"server1"']),
            ({"this-server-name": "server3"}, ["this-server-name", '"server1"', '"server2"', '"server3"']),
            ({"peers": good["peers"] + [third]}, ["exactly two peers, not 3", "more servers take more relationships"])):
        parameters(kea)["relationships"] = [good | changes]
        line = why_not(kea)
        assert all(word in line for word in words), line
        texts.add(line.partition("): ")[2])
    assert len(texts) == 3


@pytest.mark.parametrize("count", [0, 1, 3])
def test_c35_a_relationship_has_two_peers(kea, count):
    """Several relationships are the way to more servers: see test_c57_hub_with_three_relationships."""
    relationship = parameters(kea)["relationships"][0]
    third = {"name": "server3", "role": "secondary", "address": "10.98.0.3"}
    relationship["peers"] = (relationship["peers"] + [third])[:count]
    line = why_not(kea)
    assert line.startswith("relationships[0].peers (") and str(count) in line and "two" in line


# --- C36: a wrong local address eats descriptors ----------------------------------------------------------------------

def test_c36_an_address_that_no_interface_bears(kea):
    """An error, where the server can't tell from it which of the peers it is."""
    for peer, address in zip(parameters(kea)["relationships"][0]["peers"], ("10.98.0.77", "10.98.0.78")):
        peer["address"] = address
    line = why_not(kea)
    assert line.startswith("relationships[0] (") and "this-server-name" in line
    assert '"server1"' in line and '"server2"' in line


def pass_a_round():
    """Of tries. What Kea had open for the last command is closed by then."""
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() > begin + 6, 7, "a round of tries")


def test_c36_an_address_that_comes_and_goes(bed, library):
    """Where this-server-name tells who it is the address may come later, and it may go. Each try to listen or to dial
    without it fails, and leaves no descriptor behind; a line in the log says so once. (Tries come every five seconds:
    what 24 hours of them would do one round shows too.)"""
    primary, secondary = (bed.kea(host, pair_config(bed, library, {"this_server_name": name}))
                          for host, name in (("srv1", "server1"), ("srv2", "server2")))
    primary.host.namespace.ip("addr flush dev eth1")
    bed.start_all(primary, secondary)
    assert status(primary)["listening"] is False and status(secondary)["listening"] is True
    lines = log_lines(primary, "10.98.0.1")
    assert len(lines) == 1 and "ERROR" in lines[0] and "cannot listen" in lines[0]
    dials = len(log_lines(secondary, "retried"))
    pass_a_round()
    before = descriptors(primary)
    pass_a_round()
    assert descriptors(primary) == before
    assert len(log_lines(primary, "ERROR")) == 1 and len(log_lines(primary, "no connection with the partner")) <= 1
    assert len(log_lines(secondary, "retried")) <= dials + 1
    primary.host.namespace.ip("addr add 10.98.0.1/24 dev eth1")
    wait_states("normal/normal", primary, secondary)
    wait_until(lambda: status(primary)["listening"], 8, "it listens by now")
    primary.host.namespace.ip("addr flush dev eth1")
    wait_states("communications-interrupted/communications-interrupted", primary, secondary)
    pass_a_round()
    assert descriptors(primary) <= before + 1, "what listens may stay, and serves again when the address is back"
    primary.host.namespace.ip("addr add 10.98.0.1/24 dev eth1")
    wait_states("normal/normal", primary, secondary)


# --- C61: everything to one side --------------------------------------------------------------------------------------

@pytest.mark.parametrize("split, server, silent", [(256, 0, 1), (0, 1, 0)])
def test_c61_split_to_one_side(bed, library, split, server, silent):
    """0 leaves all new clients to the secondary, 256 to the primary; the other one answers who has waited, and keeps
    its half of the free addresses."""
    servers = normal_pair(bed, library, {"split": split})
    for role in "primary", "secondary":
        assert [offer.source for offer in bed.client(role).discover()] == [servers[server].host.address]
    assert bed.client().discover(secs=4, to=servers[silent])
    assert [len(owned(one, POOL)) for one in servers] == [16, 16]


def test_c61_split_of_one_bucket(bed, library):
    """1 and 255 are no synonyms of 0 and 256."""
    pair = normal_pair(bed, library, {"split": 1})
    for split in 1, 255:
        for server in pair:
            parameters(server)["relationships"][0]["split"] = split
            server.reload()
        wait_states("normal/normal", *pair)
        for number, role in enumerate(("primary", "secondary")):
            client = bed.client(role, split=split)
            assert [offer.source for offer in client.discover()] == [pair[number].host.address]


@pytest.mark.parametrize("split", [257, -1])
def test_c61_split_beyond_its_range(kea, split):
    parameters(kea)["relationships"][0]["split"] = split
    assert f"must be 0 to 256, not {split}" in why_not(kea)


def test_c61_split_and_hba_exclude_each_other(kea):
    parameters(kea)["relationships"][0]["hba"] = "f0" * 32
    line = why_not(kea)
    assert "split" in line and "hba" in line


def test_c61_no_load_balancing_on_one_side_or_both(bed, library):
    """load-balance-max-seconds 0 is a value, not "unset": who has it answers every client, whatever the hash says."""
    pair = primary, secondary = normal_pair(bed, library, {"load_balance_max_seconds": 0})
    both = {server.host.address for server in pair}
    for role in "primary", "secondary":
        assert {offer.source for offer in bed.client(role).discover()} == both
    parameters(secondary)["relationships"][0]["load-balance-max-seconds"] = 3
    secondary.reload()
    wait_states("normal/normal", *pair)
    assert {offer.source for offer in bed.client("secondary").discover()} == both
    assert [offer.source for offer in bed.client("primary").discover()] == [primary.host.address]
