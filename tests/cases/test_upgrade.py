# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about upgrades, packaging and pools: C26, C51, C53."""
import os
import subprocess

import pytest

import partner as wire
from client import Ack
from configuration import checked, parameters, why_not
from conversation import RECOVER_WAIT, STATES, violations
from hook import (addresses_of, assert_serves, held_down, log_lines, normal_pair, owned, pair_config, pool, small,
                  states, status, wait_quiet, wait_states, wipe)
from kea import subnet
from mixed import HOSTS, Mixed
from partner import NORMAL, RECOVER, Partner, scripted_primary
from process import wait_until

POOL = addresses_of(32)


# --- C26: BACKUP addresses after failover is switched off -------------------------------------------------------------

def test_c26_without_the_hook_every_address_is_free(bed, library):
    """A lease file was copied to a stand-alone server, which never handed out what was in state backup. Ownership lives
    in the failover database only: plain Kea gives out every address that no client holds."""
    pair = primary, secondary = normal_pair(bed, library, subnets=[small(8)])
    client = bed.client("primary")
    lease = client.dora()
    wait_quiet(*pair)
    assert [len(owned(server, addresses_of(8))) for server in pair] == [3, 4]
    secondary.stop()
    for server in pair:
        server.stop()
        server.config = bed.kea_config(subnets=[small(8)])
    for server in pair:
        server.start()
        assert set(server.leases()) == {lease.address}, "no rows but those of clients"
        leases = {bed.client().dora(server).address for _ in range(7)}
        assert leases == set(addresses_of(8)) - {lease.address}
        server.stop()


def test_c26_a_pool_that_no_relationship_covers_any_more(bed, library):
    """The hook stays, the pool leaves the relationship: its records are dropped at the start with their number in the
    log, and its addresses are plain Kea's."""
    other = subnet(2, "10.66.0.0/24", [pool(4, "10.66.0.50")])
    primary, secondary = normal_pair(bed, library, {"subnets": [1, 2]}, subnets=[small(8), other])
    held_down(primary, secondary)
    mark = primary.log.mark()
    for server in primary, secondary:
        server.reload(pair_config(bed, library, {"subnets": [2]}, subnets=[small(8), other]))
    # Only what isn't the configured primary's by default has a record.
    line, = log_lines(primary, "4 bindings of addresses that are in no pool any more are dropped", mark)
    assert "WARN" in line
    assert status(primary)["bindings"]["free-mine"] + status(primary)["bindings"]["free-partners"] == 4
    assert len({bed.client().dora(primary).address for _ in range(8)}) == 8
    assert primary.command("failover-binding", ip_address=addresses_of(8)[0])["result"] == 3


# --- C51: wire and number changes between releases --------------------------------------------------------------------

@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_c51_dhcpd_4_is_understood_and_recover_wait_is_254(bed, library, role):
    """An old manual numbers the states otherwise than the source of 4.x does: partner-down is 1 there, and 4 here. With
    a real dhcpd 4.4 as partner nothing of what we say is amiss, and it reads our recover-wait as that.

    A 3.0.x is not refused by its number, as the case wants: a dhcpd of any release says protocol version 1, or nothing,
    and 4.x doesn't look at it; neither do we. There is none to be built here."""
    pair = Mixed(bed, library, role, mclt=4)
    try:
        pair.start()
        assert pair.ours.log.find("connected with the partner, not one of ours")
        client = bed.client(role)
        lease = client.dora(pair.ours)
        pair.agree()
        pair.ours.kill9()
        pair.theirs.wait_state("communications-interrupted")
        wipe(pair.ours)
        mark = pair.said.mark()
        pair.ours.start()
        pair.wait_normal()
        pair.said.wait(wire.STATE, pair.ours, since=mark, state="normal")
        shown = [said.number(wire.SERVER_STATE) for said in pair.said.all(wire.STATE, pair.ours, mark)]
        assert RECOVER_WAIT == 254 and shown.index(RECOVER) < shown.index(RECOVER_WAIT) < shown.index(NORMAL)
        assert pair.theirs.log.find("peer moves from recover to recover-wait")
        pair.agree()
        assert isinstance(client.renew(lease, pair.ours), Ack)
    finally:
        pair.said.close()
    found = violations(pair.said.messages, HOSTS[role])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("version", [None, b"\0", b"\2"], ids=["none", "0", "2"])
def test_c51_protocol_versions(bed, lonely, version):
    """The number is not what releases differ by: as dhcpd does, any is taken."""
    with Partner(bed, lonely, version=version) as partner:
        partner.wait(wire.STATE)
        partner.state(NORMAL)
        wait_states("normal", lonely)


@pytest.mark.parametrize("number", [0, 12, 200, 253, 255])
def test_c51_states_that_do_not_exist(bed, library, number):
    """Such a number closes the connection, not the process; the next connection is good."""
    with scripted_primary(bed, library, share=POOL[:4]) as (server, partner):
        mark = server.log.mark()
        partner.state(number)
        partner.wait_closed()
        assert log_lines(server, f"ERROR.*state number {number}, which the protocol doesn't have", mark)
        wait_states("communications-interrupted", server)
        assert_serves(bed, server, 1)
    with Partner(bed, server) as partner:
        partner.state(NORMAL)
        wait_states("normal", server)


@pytest.mark.parametrize("number", sorted(STATES))
def test_c51_states_that_exist(bed, library, number):
    """Each is understood by its name, however unexpected it may be."""
    with scripted_primary(bed, library, share=POOL[:4]) as (server, partner):
        mark = server.log.mark()
        partner.state(number)
        wait_until(lambda: status(server)["partner-state"] == STATES[number] or partner.closed, 5, "it is heard")
        assert not log_lines(server, "which the protocol doesn't have", mark)
        assert server.is_alive() and states(server) != "unknown"


# --- C53: the library does not load -----------------------------------------------------------------------------------
#
# Libraries made for the purpose, which need ours and change one thing about it.

def linked_with(bed, name, source, *libraries):
    """A library of C source."""
    path = os.path.join(bed.path, name)
    found_at_run_time = [f"-Wl,-rpath,{os.path.dirname(needed)}" for needed in libraries]
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, "-x", "c", "-", "-x", "none", "-Wl,--no-as-needed",
                    *libraries, *found_at_run_time], input=source, text=True, check=True)
    return path


@pytest.fixture
def refuses(kea):
    """A function: why the server doesn't start with this library, as Kea logs it, and what kea-dhcp4 -t says."""
    def ask(path):
        kea.config["Dhcp4"]["hooks-libraries"][-1]["library"] = path
        code, text = checked(kea)
        assert code != 0 and path in text, text
        kea.start(wait=False)
        wait_until(lambda: not kea.is_alive(), 10, "it refuses to start")
        assert kea.process.returncode > 0
        kea.process = None
        lines = [line for line in kea.log.text().splitlines() if "ERROR" in line and path in line]
        assert lines, kea.log.text()
        return lines[0]
    return ask


def test_c53_built_for_another_version_of_kea(shared_bed, refuses, library):
    other = linked_with(shared_bed, "other_version.so", "int version(void) { return 20600; }", library)
    assert "HOOKS_INCORRECT_VERSION" in refuses(other)


def test_c53_a_symbol_that_kea_has_no_more(shared_bed, refuses, library):
    """After an update of Kea alone: a package has to depend on the exact version, and so says the README."""
    other = linked_with(shared_bed, "old_symbol.so", "int gone_since(void); int version(void) { return gone_since(); }",
                        library)
    line = refuses(other)
    assert "HOOKS_OPEN_ERROR" in line and "undefined symbol: gone_since" in line


def test_c53_a_library_that_ours_needs_is_missing(shared_bed, refuses, library):
    needed = linked_with(shared_bed, "libneeded.so", "int needed;")
    other = linked_with(shared_bed, "lacking.so", "", needed, library)
    os.remove(needed)
    line = refuses(other)
    assert "HOOKS_OPEN_ERROR" in line and "libneeded.so: cannot open shared object file" in line


def test_c53_a_wrong_path(refuses, library):
    """Another architecture has another path, and names differ between distributions. Any absolute path will do for Kea
    2.2, in its hooks directory or not: the tests here load ours from where it was built."""
    line = refuses("/usr/lib/riscv64-linux-gnu/kea/hooks/libdhcp_failover.so")
    assert "HOOKS_OPEN_ERROR" in line and "cannot open shared object file" in line


def test_c53_a_name_that_is_no_peers(kea):
    """The error names all three: the one that was given and those that there are."""
    relationship = parameters(kea)["relationships"][0]
    relationship["this-server-name"] = "kea-k3s-rpi"
    for peer, name in zip(relationship["peers"], ("kea1-k3s-rpi", "kea2-k3s-rpi")):
        peer["name"] = name
    line = why_not(kea)
    assert 'this-server-name "kea-k3s-rpi" is neither "kea1-k3s-rpi" nor "kea2-k3s-rpi"' in line


def test_c53_what_a_configuration_test_sees(kea):
    """kea-dhcp4 -t opens each library and asks it for its version, but doesn't load it: so it says nothing of our
    parameters (Kea 2.2; a later -T does), touches no database and no partner, and needs no address."""
    assert checked(kea)[0] == 0
    parameters(kea)["relationships"][0]["mlct"] = 60
    code, text = checked(kea)
    assert code == 0 and "mlct" not in text
    assert not [name for name in os.listdir(kea.host.path) if name.startswith("failover.db")]
    assert "mlct" in why_not(kea)
