# SPDX-License-Identifier: MPL-2.0
"""Proves the harness itself, with plain Kea servers and a dhcpd pair."""
import math
import signal
import subprocess
import sys
import textwrap
import time
import types

import pytest

import packet
from client import Ack, Nak, Silence
from compare import address_range, assert_same_view, dhcpd_binding, differences, view
from dhcpd import DhcpdLease, dhcpd_config, parse_lease_file, parse_quoted
from kea import kea_hook, subnet
from network import NAMESPACES
from packet import load_balance_bucket, mac_bytes
from process import WaitTimeout, wait_until
from real_clients import Dhclient, Udhcpc
from testbed import Testbed

POOL = address_range("10.64.1.1", "10.64.1.32")


@pytest.fixture(params=[0, 2], ids=["single-threaded", "multi-threaded"])
def threads(request):
    return request.param


@pytest.fixture
def kea(bed):
    """One plain server."""
    return bed.start_all(bed.kea("srv1", bed.kea_config()))[0]


# --- pieces ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("identity, bucket", [
    ("", 0), ("00", 175), ("61", 20), ("001122334455", 135), ("01001122334455", 223), ("010a0000000001", 201),
    ("0a0000000002", 246), ("0a0000000004", 105), ("0a0000000005", 27), ("0a0000000006", 179), ("0a0000000007", 73),
    ("010a0000000003", 153), ("0a0000000008", 221), ("0a0000000009", 0), ("0a000000000a", 5), ("0a000000000b", 146),
    ("0a000000000c", 24), ("0a0000000010", 59)])
def test_load_balance_bucket(identity, bucket):
    assert load_balance_bucket(bytes.fromhex(identity)) == bucket


def test_message_survives_encoding():
    message = packet.Message(xid=0x12345678, secs=7, flags=0x8000, ciaddr="10.0.0.1", giaddr="10.0.0.2",
                             chaddr="0a:00:00:00:00:01", options={53: b"\x03", 61: b"\x01abc", 12: b"host"})
    datagram = packet.Datagram("0a:00:00:00:00:01", packet.BROADCAST_MAC, "0.0.0.0", "255.255.255.255", 68, 67,
                               message.encode())
    decoded = packet.Datagram.decode(datagram.encode())
    assert packet.Message.decode(decoded.payload.rstrip(b"\0")) == message
    assert (decoded.source, decoded.target_port, decoded.source_mac) == ("0.0.0.0", 67, "0a:00:00:00:00:01")


LEASE_FILE = textwrap.dedent(r'''
    failover peer "fo" state {
      my state normal at 3 2026/11/25 02:08:00;
      partner state communications-interrupted at 3 2026/11/25 02:08:01;
      mclt 30;
    }
    lease 10.64.1.1 {
      starts 3 2026/11/25 02:00:00;
      ends never;
      tstp 3 2026/11/25 02:00:10;
      binding state active;
      next binding state expired;
      rewind binding state free;
      reserved;
      hardware ethernet 0a:00:00:00:00:01;
      uid "\001\012\"\\a";
      client-hostname "x";
    }
    lease 10.64.1.1 {
      binding state fr''').lstrip()


def test_dhcpd_lease_file_is_read_up_to_its_last_whole_record():
    leases, records = parse_lease_file(LEASE_FILE)
    lease, record = leases["10.64.1.1"], records["fo"]
    assert (lease.state, lease.next_state, lease.rewind_state, lease.reserved) == ("active", "expired", "free", True)
    assert (lease.starts, lease.ends, lease.tstp - lease.starts, lease.tsfp) == (1795572000, float("inf"), 10, None)
    assert lease.uid == b'\x01\n"\\a' and lease.hardware == "0a:00:00:00:00:01"
    assert (record.my_state, record.partner_state, record.mclt) == ("normal", "communications-interrupted", 30)
    assert record.partner_since - record.my_since == 1
    assert parse_quoted(r'"\377"') == b"\xff"


def test_waiting_in_vain_says_for_what():
    with pytest.raises(WaitTimeout, match="still not: the moon"):
        wait_until(lambda: False, 0.05, "the moon")


# --- a plain Kea, seen by scripted clients -----------------------------------------------------------------------

def test_a_lease_and_its_life(bed, threads):
    kea, = bed.start_all(bed.kea("srv1", bed.kea_config(threads=threads, valid_lifetime=60)))
    client = bed.client(client_id="mac")

    offer, = client.discover(hint="10.64.1.7")
    assert offer.address == "10.64.1.7"
    lease = client.request(offer)
    assert isinstance(lease, Ack) and lease.xid == offer.xid
    assert (lease.address, lease.lifetime, lease.server_id) == ("10.64.1.7", 60, kea.host.address)
    assert abs(lease.ends - time.time() - 60) < 5
    assert kea.leases()["10.64.1.7"]["client-id"] == client.client_id.hex(":")
    assert kea.lease_file()["10.64.1.7"]["state"] == "default"

    for answer in (client.renew(lease), client.rebind(lease), client.init_reboot(lease.address), client.repeat(lease)):
        assert isinstance(answer, Ack) and answer.address == lease.address
    assert isinstance(client.init_reboot("10.64.1.8"), Nak)
    assert isinstance(client.inform("10.64.200.1"), Ack)

    client.release(lease)
    assert not kea.leases() and not kea.lease_file()


def test_decline(bed, kea):
    client = bed.client()
    lease = client.dora()
    client.decline(lease)
    assert kea.lease_file()[lease.address]["state"] == "declined"
    assert client.dora().address != lease.address


def test_silence_is_proved_quickly(bed, threads):
    kea, = bed.start_all(bed.kea("srv1", bed.kea_config(threads=threads, authoritative=False)))
    client = bed.client()
    before = time.monotonic()
    answer = client.init_reboot("10.64.1.5")        # an unknown client is none of a non-authoritative server's business
    assert isinstance(answer, Silence) and not answer
    assert isinstance(client.repeat(answer), Silence)
    assert kea.statistics("pkt4-request-received") == 2
    assert time.monotonic() - before < 5


def test_relayed_clients(bed):
    floor = [subnet(1, "10.64.0.0/16", ["10.64.1.1 - 10.64.1.2"]),
             subnet(2, "10.65.0.0/24", ["10.65.0.50 - 10.65.0.59"])]
    config = bed.kea_config(shared_networks={"floor": floor},
                            subnets=[subnet(3, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"])])
    kea1, kea2 = bed.kea_pair(config)
    addresses = [bed.client(relay=True).dora(server=kea1).address for _ in range(3)]
    assert addresses[2].startswith("10.65.0."), "the first subnet of the shared network is used up"
    client = bed.client(relay="10.66.0.1")
    lease = client.dora(server=kea2)
    assert lease.address.startswith("10.66.0.") and lease.source == kea2.host.address
    assert isinstance(client.renew(lease), Ack)
    # A relay that knows one server only
    assert [offer.source for offer in bed.client(relay="10.66.0.1").discover(to=kea1)] == [kea1.host.address]


def test_reservation_and_class(bed):
    config = bed.kea_config(
        client_classes=[{"name": "phone", "test": "option[60].text == 'phone'"}],
        subnets=[subnet(pools=["10.64.1.1 - 10.64.1.9", ("10.64.2.1 - 10.64.2.9", "phone")],
                        reservations=[("0e:00:00:00:00:77", "10.64.3.3")], valid_lifetime=77)])
    bed.start_all(bed.kea("srv1", config))
    client = bed.client()
    client.mac = "0e:00:00:00:00:77"
    lease = client.dora()
    assert (lease.address, lease.lifetime) == ("10.64.3.3", 77)
    assert bed.client(options={60: b"phone"}).dora(hint="10.64.2.5").address == "10.64.2.5"
    assert bed.client().dora(hint="10.64.2.6").address.startswith("10.64.1.")


def test_nak_for_anothers_address(bed, kea):
    lease, other = bed.client().dora(), bed.client()
    nak = other.renew(lease)
    assert isinstance(nak, Nak) and nak.server_id == kea.host.address
    assert isinstance(other.init_reboot(lease.address), Nak)


def test_two_servers_and_whom_a_packet_reaches(bed):
    kea1, kea2 = bed.kea_pair(bed.kea_config())
    client = bed.client()
    assert {offer.source for offer in client.discover()} == {"10.64.0.1", "10.64.0.2"}
    lease = client.dora(server=kea2)
    assert client.answers(lease) == [lease], "the other server keeps out of it"
    assert [offer.source for offer in client.discover(to=kea1)] == [kea1.host.address]
    assert client.renew(lease, server=kea1).source == kea1.host.address
    bed.lan.cut("srv1")
    assert [offer.source for offer in client.discover()] == [kea2.host.address]
    bed.lan.mend()
    bed.lan.cut_towards("srv1")
    assert [offer.source for offer in client.discover()] == [kea2.host.address]
    bed.lan.mend()
    assert len(client.discover()) == 2
    kea1.pause()
    assert [offer.source for offer in client.discover()] == [kea2.host.address]
    kea1.resume()
    assert len(bed.client().discover()) == 2


def test_clients_picked_by_their_hash(bed):
    for role, wanted in ("primary", range(0, 128)), ("secondary", range(128, 256)):
        assert load_balance_bucket(mac_bytes(bed.client(role).mac)) in wanted
        assert load_balance_bucket(bed.client(role, client_id="mac").client_id) in wanted


# --- a plain Kea, seen by its operator -----------------------------------------------------------------------------

def test_commands_by_socket_and_by_rest(bed, kea):
    lease = bed.client().dora()
    assert kea.rest("lease4-get", ip_address=lease.address)["arguments"]["hw-address"] == "0a:00:00:00:00:01"
    assert kea.rest("no-such-command")["result"] == 2
    assert kea.command("no-such-command")["result"] == 2
    with pytest.raises(AssertionError, match="no-such-command"):
        kea.query("no-such-command")
    assert kea.statistics("subnet[1].assigned-addresses") == 1
    assert kea.statistics("no-such-statistic") is None


def test_reload(bed, kea):
    mark = kea.log.mark()
    kea.reload()
    kea.wait_log("DHCP4_DYNAMIC_RECONFIGURATION", since=mark)
    for lifetime, how in (100, "config-reload"), (200, "config-set"):
        kea.reload(bed.kea_config(valid_lifetime=lifetime), how)
        assert bed.client().dora().lifetime == lifetime


def test_kill_and_restart(bed, kea):
    client = bed.client()
    lease = client.dora()
    first = kea.pid
    kea.kill9()
    assert not kea.is_alive() and isinstance(client.renew(lease), Silence)
    kea.start()
    assert kea.pid != first and kea.wait_log("DHCP4_STARTED")
    assert isinstance(client.renew(lease), Ack)
    kea.restart()
    assert list(kea.leases()) == [lease.address]


def test_a_server_that_cannot_start_is_told_with_its_log(bed):
    kea = bed.kea("srv1", bed.kea_config(no_such_parameter=1))
    with pytest.raises(AssertionError, match="no-such-parameter"):
        kea.start()
    kea.process = None


def test_both_servers_read_the_same_configuration(bed):
    parameters = bed.failover_parameters(mclt=30, interrupted_leases="extend", split=None)
    relationship, = parameters["relationships"]
    assert relationship["mclt"] == 30 and relationship["interrupted-leases"] == "extend"
    assert "split" not in relationship
    config = bed.kea_config(hooks=[(kea_hook("libdhcp_stat_cmds.so"), parameters)])
    kea1, kea2 = bed.kea_pair(config)
    assert kea1.query("config-get")["Dhcp4"]["hooks-libraries"][-1]["parameters"] == parameters
    assert kea2.query("stat-lease4-get")["result-set"]["rows"]
    lease = bed.client().dora(server=kea1)
    assert lease.address in kea1.lease_file() and not kea2.lease_file()
    with open(f"{kea1.host.path}/kea.json") as one, open(f"{kea2.host.path}/kea.json") as other:
        assert one.read() == other.read()


# --- the bed itself ------------------------------------------------------------------------------------------------

def test_a_dead_server_fails_the_bed_and_nothing_is_left():
    bed = Testbed()
    kea, = bed.start_all(bed.kea("srv1", bed.kea_config()))
    kea.signal(signal.SIGSEGV)
    kea.process.wait()
    with pytest.raises(AssertionError, match="ended by itself with signal SIGSEGV"):
        bed.close()
    for command in ["ip", "netns", "list"], ["ls", "/tmp", NAMESPACES]:
        assert bed.name not in subprocess.run(command, capture_output=True, text=True).stdout


# --- dhcpd ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def dhcpd_pair(bed):
    return bed.dhcpd_pair(max_response_delay=3)


def test_dhcpd_pair_serves(bed, dhcpd_pair):
    primary, secondary = dhcpd_pair
    leases = {}
    for role, server in ("primary", primary), ("secondary", secondary):
        client = bed.client(role, client_id="mac")
        lease = client.dora()
        assert lease.source == server.host.address
        leases[server.host.name] = client, lease
        wait_until(lambda: not differences(view(primary, POOL), view(secondary, POOL)), 5, "both lease files agree")
        record = server.leases()[lease.address]
        assert (record.state, record.hardware, record.uid) == ("active", client.mac, client.client_id)
        assert abs(record.ends - lease.ends) <= 2
    assert_same_view(primary, secondary, POOL)
    owners = {address: binding.owner for address, binding in view(primary, POOL).items()}
    assert set(owners.values()) == {"srv1", "srv2", None}
    untouched = next(address for address in POOL if owners[address] == "srv1")

    assert isinstance(client.renew(lease), Ack)
    rebound = client.rebind(lease)
    assert len(client.answers(rebound)) == 2, "either dhcpd answers a broadcast of a client that it knows"
    client, lease = leases["srv1"]
    client.release(lease)
    wait_until(lambda: primary.leases()[lease.address].state != "active", 5, "released")
    assert isinstance(bed.client().init_reboot("10.99.99.99"), Nak)
    assert isinstance(bed.client().init_reboot(untouched, to=secondary), Silence)


def test_dhcpd_pair_after_a_cut(bed, dhcpd_pair):
    primary, secondary = dhcpd_pair
    bed.link.cut()
    for server in primary, secondary:
        server.wait_state("communications-interrupted")
    assert len(bed.client().discover()) == 2, "the clients' side is whole"
    bed.link.mend()
    for server in primary, secondary:
        server.wait_state("normal")
        wait_until(lambda: server.recorded().my_state == "normal", 5, "recorded")


def test_link_that_is_cut_one_way(bed, dhcpd_pair):
    primary, secondary = dhcpd_pair
    bed.link.cut_towards("srv2")
    secondary.wait_log("timeout waiting for failover peer")
    primary.wait_state("communications-interrupted")        # it hears the other one hang up


def test_dhcpd_gives_way_to_kea_on_a_host(bed):
    dhcpd, = bed.start_all(bed.dhcpd("srv1", dhcpd_config()))
    client = bed.client()
    lease = client.dora(hint="10.64.1.3")
    dhcpd.stop()
    bed.start_all(bed.kea("srv1", bed.kea_config()))
    assert client.renew(lease).lifetime == lease.lifetime == 600


def test_dhcpd_is_forced_and_killed(bed):
    primary, secondary = bed.dhcpd_pair(mclt=3)       # which is how long a server that recovers waits
    primary.kill9()
    secondary.wait_state("communications-interrupted")
    secondary.force_state("partner-down")
    assert secondary.state() == secondary.recorded().my_state == "partner-down"
    primary.start()
    primary.wait_state("normal")
    assert primary.log.find("I move from normal to startup$") and primary.log.find("I move from startup to recover$")
    secondary.wait_state("normal")


class KeaWithHook:
    """Answers as the hook does."""

    def __init__(self, host, **answer):
        self.host = types.SimpleNamespace(name=host)
        self.answer = answer

    def query(self, _, **arguments):
        return self.answer | arguments


def test_views_of_kea_and_dhcpd_compare():
    leases, _ = parse_lease_file(LEASE_FILE)
    theirs = {"10.64.1.1": dhcpd_binding(leases["10.64.1.1"], "srv1")}
    kea = KeaWithHook("srv2", **{"binding-state": "ACTIVE", "ends": math.inf, "hw-address": "0a:00:00:00:00:01",
                                 "client-id": "01:0A:22:5C:61"})
    assert differences(view(kea, ["10.64.1.1"]), theirs) == []
    kea.answer |= {"ends": "never"}
    assert differences(view(kea, ["10.64.1.1"]), theirs) == []
    kea.answer |= {"ends": 5, "hw-address": "0a:00:00:00:00:02"}
    assert differences(view(kea, ["10.64.1.1"]), theirs) == [
        "10.64.1.1: ends 5 / inf", "10.64.1.1: hardware 0a:00:00:00:00:02 / 0a:00:00:00:00:01"]

    kea.answer = {"binding-state": "FREE", "owner": "mine"}
    other = KeaWithHook("srv1", **{"binding-state": "FREE", "owner": "the partner's"})
    assert_same_view(kea, other, ["10.64.1.1"])
    assert view(kea, ["10.64.1.1"])["10.64.1.1"] == dhcpd_binding(DhcpdLease("10.64.1.1", "backup"), "srv1")
    other.answer["owner"] = "mine"
    with pytest.raises(AssertionError, match="owner srv2 / srv1"):
        assert_same_view(kea, other, ["10.64.1.1"])


# --- real clients --------------------------------------------------------------------------------------------------

def test_udhcpc(bed, kea):
    client = Udhcpc(bed)
    client.start()
    lease = client.wait_bound()
    assert (lease.server, lease.lifetime) == (kea.host.address, 600)
    assert kea.leases()[lease.address]["hw-address"] == client.mac
    assert client.renew().address == lease.address
    client.release()
    wait_until(lambda: not kea.leases(), 5, "released")


def test_dhclient(bed, kea):
    client = Dhclient(bed)
    client.start()
    lease = client.wait_bound()
    assert lease.address in kea.leases()
    client.stop()
    client.start()
    assert client.wait_event("REBOOT").address == lease.address
    client.release()
    wait_until(lambda: not kea.leases(), 5, "released")


# --- googletest programs ---------------------------------------------------------------------------------------------

PROGRAM = """#!{python}
import json, os, sys
if "--gtest_list_tests" in sys.argv:
    print("Alpha.\\n  Good\\n  Bad\\n  Left\\nBeta/0.  # TypeParam = int\\n  Deep/0  # GetParam() = 1\\n  DISABLED_Off")
    sys.exit()
report = sys.argv[1].partition("json:")[2]
print("[ RUN      ] Alpha.Good\\n[       OK ] Alpha.Good (0 ms)\\n[ RUN      ] Alpha.Bad\\nbad luck\\n"
      "[  FAILED  ] Alpha.Bad (0 ms)\\n[ RUN      ] Alpha.Left")
if "{ending}" == "crash":
    sys.stdout.flush()
    os.abort()
def case(name, status="RUN", result="COMPLETED", **more):
    return dict(name=name, status=status, result=result, **more)
json.dump({{"testsuites": [
    {{"name": "Alpha", "testsuite": [case("Good"), case("Bad", failures=[{{"failure": "bad luck"}}]),
                                     case("Left", result="SKIPPED", skipped=[{{"message": "no mood"}}])]}},
    {{"name": "Beta/0", "testsuite": [case("Deep/0"), case("DISABLED_Off", "NOTRUN", "SUPPRESSED")]}}]}},
    open(report, "w"))
sys.exit(1)
"""


@pytest.mark.parametrize("ending, counts", [("exit", dict(passed=3, failed=1, skipped=2)),
                                            ("crash", dict(passed=1, failed=4, skipped=1))])
def test_googletest_cases_are_counted(tmp_path, ending, counts):
    program = tmp_path / "some_tests"
    program.write_text(PROGRAM.format(python=sys.executable, ending=ending))
    program.chmod(0o755)
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-k", "some_tests",
                           "--gtest", program, __file__], capture_output=True, text=True, cwd=tmp_path)
    closing = done.stdout.splitlines()[-1]
    for outcome, count in counts.items():
        assert f"{count} {outcome}" in closing or not count, done.stdout
    assert "bad luck" in done.stdout
    assert done.stdout.count("not over when") == (2 if ending == "crash" else 0)
