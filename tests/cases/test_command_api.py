# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about the command API: C57, C60."""
import copy
import json
import os

import pytest

from client import Ack
from configuration import parameters, starts, why_not
from hook import (addresses_of, binding, force, log_lines, normal_pair, owned, pair_config, pending, serve, states,
                  status, wait_known, wait_quiet, wait_states, wait_time)
from kea import environment, subnet
from process import wait_until

POOL = addresses_of(32)
MCLT = 3


# --- C57: maintenance that cannot be undone, or hits everybody --------------------------------------------------------

def shut_down_pair(bed, library):
    """(primary, secondary, client, its lease), where the secondary has been shut down by command in normal."""
    pair = primary, secondary = normal_pair(bed, library, {"mclt": MCLT, "startup_delay": 1})
    client = bed.client("secondary")
    lease = client.dora()
    wait_known(primary, lease)
    wait_quiet(*pair)
    answer = force(secondary, "shutdown")
    assert "The partner is told and goes to partner-down by itself." in answer["effects"]
    return primary, secondary, client, lease


def test_c57_the_partner_takes_over_at_once(bed, library):
    """shutdown is announced, and the partner goes to partner-down without an operator. It may give its own addresses
    and extend all leases at once; for those of the other server it waits for the MCLT. (The case would let it skip that
    wait where the other one had reported that nothing was queued; the design doesn't.)"""
    primary, secondary, client, lease = shut_down_pair(bed, library)
    theirs = set(owned(secondary, POOL))
    wait_states("partner-down/shutdown", primary, secondary)
    assert bed.client().discover(secs=10, to=secondary) == []
    assert isinstance(client.renew(lease, server=primary), Ack)
    since = status(primary)["since"]
    assert 0 < pending(primary)["partner's free addresses (STOS + MCLT)"] <= MCLT
    assert all(binding(primary, address)["wait-over"] == since + MCLT for address in theirs)
    taken = {serve(bed.client(), primary).address for _ in range(len(owned(primary, POOL)))}
    assert not taken & theirs
    wait_time(since + MCLT + 1)
    assert any(serve(bed.client(), primary).address in theirs for _ in POOL)


@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_c57_cancelled_before_it_was_stopped(bed, library, times):
    """By force-state startup, the design's word for it. Elsewhere a cancelled server returned to a state of maintenance
    and served in it. Here it comes back as after a start: by way of recover, since the partner has been alone
    meanwhile, and silent until both are in normal. Once more changes nothing about where it ends."""
    primary, secondary, client, lease = shut_down_pair(bed, library)
    mark = secondary.log.mark()
    for _ in range(times):
        answer = secondary.command("force-state", state="startup")
        assert answer["result"] == 0, answer
    assert secondary.command("force-state", state="normal", override=True)["result"] == 4
    wait_states("normal/normal", primary, secondary)
    ways = [line.partition("fo: state ")[2] for line in log_lines(secondary, "fo: state ", mark)]
    assert any("recover" in way for way in ways) and not any("communications-interrupted" in way for way in ways)
    assert isinstance(client.renew(lease, server=secondary), Ack)
    wait_quiet(primary, secondary)
    assert len(owned(primary, POOL)) + len(owned(secondary, POOL)) == 31


def test_c57_shut_down_twice_and_cancelled_after_the_stop(bed, library):
    """The second order finds the state as it is. After the stop there is nothing left to cancel: a new process comes
    back by itself."""
    primary, secondary, client, lease = shut_down_pair(bed, library)
    wait_states("partner-down/shutdown", primary, secondary)
    since = status(secondary)["since"]
    again = secondary.command("force-state", state="shutdown")
    assert again["result"] == 0 and again["text"] == "the state is shutdown already"
    assert status(secondary)["since"] == since
    secondary.stop()
    assert isinstance(client.rebind(lease), Ack)
    secondary.start()
    wait_states("normal/normal", primary, secondary)
    assert log_lines(secondary, "state recover-wait -> recover-done|state recover -> ")
    assert isinstance(client.renew(lease, server=secondary), Ack)


def test_c57_hub_with_three_relationships(bed, library):
    """A hub shares one subnet with each of three servers. An order is for one relationship: with several it has to be
    named, and the others don't notice."""
    networks = [subnet(1), subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"]),
                subnet(3, "10.67.0.0/24", ["10.67.0.50 - 10.67.0.59"])]
    spokes, relationships = [], []
    for number, host in enumerate(("srv2", "srv3", "srv4"), 1):
        if host != "srv2":
            there = bed.add_host(host, f"10.64.0.{number + 1}")
            bed.link.plug(there, "eth1", f"10.98.0.{number + 1}/24", there.mac.replace("02:00", "02:01"))
        spoke = bed.kea(host, pair_config(bed, library, {"subnets": [number]}, subnets=networks[number - 1:number]))
        relationship = parameters(spoke)["relationships"][0]
        relationship["name"] = f"fo{number}"
        relationship["peers"][1] |= {"name": f"spoke{number}", "address": f"10.98.0.{number + 1}"}
        spokes.append(spoke)
        relationships.append(copy.deepcopy(relationship))
    hub = bed.kea("srv1", pair_config(bed, library, subnets=networks))
    parameters(hub)["relationships"] = relationships
    bed.start_all(hub, *spokes)

    def all_states():
        return [one["state"] for one in hub.query("failover-status")["relationships"]]
    wait_until(lambda: all_states() == ["normal"] * 3, 15, all_states)
    wait_states("normal/normal/normal", *spokes)
    clients = [bed.client("primary", relay=relay) for relay in ("10.64.0.8", "10.66.0.1", "10.67.0.1")]
    leases = [client.dora(hub) for client in clients]
    for number, lease in enumerate(leases, 1):
        assert hub.query("failover-binding", ip_address=lease.address)["relationship"] == f"fo{number}"
        wait_until(lambda: set(spokes[number - 1].leases()) == {lease.address}, 5, "its partner is told")

    answer = hub.command("force-state", state="shutdown")
    assert answer["result"] == 1 and "fo1, fo2, fo3" in answer["text"] and '"relationship"' in answer["text"]
    assert hub.query("force-state", state="shutdown", relationship="fo2")["relationship"] == "fo2"
    assert all_states() == ["normal", "shutdown", "normal"]
    wait_states("normal/partner-down/normal", *spokes)
    assert [bool(client.renew(lease, hub)) for client, lease in zip(clients, leases)] == [True, False, True]
    hub.restart()
    wait_states("normal", spokes[0])
    one, = hub.query("failover-status", relationship="fo3")["relationships"]
    assert one["name"] == "fo3"
    assert [item["name"] for item in hub.query("status-get")["failover"]] == ["fo1", "fo2", "fo3"]


# --- C60: control channel trouble -------------------------------------------------------------------------------------

def test_c60_a_broken_control_channel_changes_nothing(bed, library):
    """An agent that can't reach the server, or that is asked without a password: operators were cut off, and pairs that
    speak by REST came apart. The partner's link is a connection of its own here."""
    pair = primary, secondary = normal_pair(bed, library)
    assert primary.rest("failover-status")["result"] == 0
    connects = status(primary)["counters"]["connects"]
    socket_path = os.path.join(primary.host.path, "ctrl")
    os.rename(socket_path, socket_path + ".away")
    answer = primary.rest("failover-status")
    assert answer["result"] == 1 and "unable to forward command to the dhcp4 service" in answer["text"]
    os.rename(socket_path + ".away", socket_path)
    primary.agent.stop()
    with_password(primary.agent)
    with pytest.raises(AssertionError, match="HTTP 401"):
        primary.agent.post({"command": "force-state", "service": ["dhcp4"], "arguments": {"state": "partner-down"}}, 5)
    assert states(*pair) == "normal/normal" and status(primary)["counters"]["connects"] == connects
    lease = bed.client("primary").dora()
    wait_known(secondary, lease)


def with_password(agent):
    """Starts the control agent so that it wants one."""
    host = agent.host
    config = {"Control-agent": {
        "http-host": host.address, "http-port": 8000,
        "control-sockets": {"dhcp4": {"socket-type": "unix", "socket-name": f"{host.self_path}/ctrl"}},
        "authentication": {"type": "basic", "realm": "kea", "clients": [{"user": "operator", "password": "secret"}]},
        "loggers": [{"name": "kea-ctrl-agent", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}
    with open(os.path.join(host.path, "agent.json"), "w") as file:
        json.dump(config, file)
    agent.spawn([host.program(agent.name), "-c", f"{host.self_path}/agent.json"], environment(host))
    agent.log.wait("CTRL_AGENT_STARTED")


@pytest.mark.parametrize("key, value, words", [
    ("max-response-delay", 2 ** 32 + 60, "9 to 86400, not 4294967356"),
    ("mclt", 2 ** 32 + 3600, "1 to 31622400, not 4294970896"),
    ("startup-delay", 2 ** 63 - 1, "1 to 3600, not 9223372036854775807"),
    ("load-balance-max-seconds", 70000, "0 to 65535, not 70000"),
    ("max-unacked-updates", 65537, "1 to 65535, not 65537")])
def test_c60_numbers_are_not_cut_off(kea, key, value, words):
    """A delay of 70000 was taken for 4464. Every number is read with 64 bits, and then its range is looked at."""
    parameters(kea)["relationships"][0][key] = value
    assert f"must be {words}" in why_not(kea)


def test_c60_a_delay_of_more_than_16_bits(kea):
    """Where it is within the range it is taken as it is."""
    parameters(kea)["relationships"][0]["max-response-delay"] = 70000
    assert starts(kea) == []


@pytest.mark.parametrize("address", ["2001:db8::2", "[2001:db8::2]"])
def test_c60_an_ipv6_literal(kea, address):
    parameters(kea)["relationships"][0]["peers"][1]["address"] = address
    assert f'"{address}" is no IPv4 address' in why_not(kea)
