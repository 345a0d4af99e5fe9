# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about DNS updates: C46, C47. With Kea's own DDNS server beside each DHCP server, and a DNS server
that tells what it was asked for.

The draft's messages carry no host names (its DDNS option makes a dhcpd hang up), so a server knows the name of a client
that has spoken to it. It has put that name into DNS by itself then, and takes it out by itself: the partner's words
only tell it when."""
import pytest

import packet
from client import Ack
from conversation import violations
from ddns import Dns, dhcp_options
from hook import force, lose, normal_pair, small, wait_free, wait_known, wait_quiet, wait_states, wait_time
from mixed import HOSTS, Mixed
from process import wait_until

MCLT, LEASE = 3, 6
SIZE = 8
SURELY_LATER = 7    # a release at the other server that comes so long after the renewal can't have been before it
VENDOR_CLASS = 60


def called(bed, name, role=None):
    """A client that tells its name."""
    return bed.client(role, options={packet.HOST_NAME: name.encode(), VENDOR_CLASS: b"phone"})


@pytest.fixture
def named(request, bed, library):
    """(primary, secondary, Dns): a pair in normal, by default with the short LEASE."""
    lifetime = getattr(request, "param", LEASE)
    pair = normal_pair(bed, library, {"mclt": MCLT, "startup_delay": 1}, valid_lifetime=lifetime, subnets=[small(SIZE)],
                       **dhcp_options())
    with Dns(bed, *(server.host for server in pair)) as dns:
        yield *pair, dns


def wait_name(dns, name, address):
    """Until DNS knows it both ways; None: not any more."""
    wait_until(lambda: dns.address(name) == address and (address is None or dns.name(address) == name), 5,
               lambda: f"{name} has {address}; the zone is {dns.zone}, deletes were {dns.deletes}")


# --- C46: who removes -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("named", [600], indirect=True)
def test_c46_released_at_the_other_server(bed, named):
    """c1 has its lease of the primary and releases it at the secondary; later the secondary gives the address to c2.

    By the case the server that processes the end removes the name. Here it is the one that has put it there, as soon as
    it is told of the end: the other one has never heard the name. One delete is sent, and c2's name is left alone."""
    primary, secondary, dns = named
    client = called(bed, "c1", "primary")
    lease = client.dora()
    wait_known(secondary, lease)
    wait_quiet(primary, secondary)
    lease = client.renew(lease)
    assert lease.lifetime > 500
    wait_known(secondary, lease)
    wait_name(dns, "c1", lease.address)
    assert primary.leases()[lease.address]["hostname"] == "c1.example.org"
    wait_time(lease.at + SURELY_LATER)
    client.release(lease, secondary)
    wait_free(lease.address, primary, secondary, timeout=5)
    wait_name(dns, "c1", None)
    wait_until(lambda: dns.name(lease.address) is None, 5, "its reverse name goes too")

    force(primary, "shutdown")
    wait_states("shutdown/partner-down", primary, secondary)
    other = called(bed, "c2")
    wait_until(lambda: lease.address in [offer.address for offer in other.discover(hint=lease.address, to=secondary)],
               MCLT + 3, "the secondary may give it by now")
    taken = other.dora(secondary, hint=lease.address)
    assert taken.address == lease.address
    wait_name(dns, "c2", lease.address)
    assert dns.deleted("c1") == [("srv1", True)] and dns.deleted("c2") == []


def test_c46_the_address_is_anothers_before_its_server_saw_the_end(bed, named):
    """The primary is down when c1's lease ends and the secondary, in partner-down, gives the address to c2. When the
    primary is back it finds c2 where it had c1: c1's name goes, once, and c2's stays."""
    primary, secondary, dns = named
    client = called(bed, "c1", "primary")
    lease = client.dora()
    wait_known(secondary, lease)
    wait_name(dns, "c1", lease.address)
    primary.kill9()
    wait_states("communications-interrupted", secondary)
    force(secondary, "partner-down")
    client.release(lease, secondary)
    other = called(bed, "c2")
    wait_until(lambda: lease.address in [offer.address for offer in other.discover(hint=lease.address, to=secondary)],
               3 * LEASE + MCLT, "the secondary may give it by now")
    taken = other.dora(secondary, hint=lease.address)
    wait_name(dns, "c2", taken.address)
    assert dns.address("c1") == lease.address, "nobody has removed it yet"
    primary.start()
    wait_states("normal/normal", primary, secondary)
    wait_quiet(primary, secondary)
    wait_name(dns, "c1", None)
    wait_name(dns, "c2", lease.address)
    assert dns.deleted("c1") == [("srv1", True)] and dns.deleted("c2") == []
    assert primary.leases()[lease.address]["hw-address"] == other.mac
    assert primary.leases()[lease.address]["hostname"] == ""


def test_c46_both_servers_have_put_the_name_there(bed, named):
    """c1 has renewed at the other server, which has confirmed the name in DNS then. So when the lease ends both ask for
    its removal, and one delete has an effect: the second one finds nothing that is the client's. (The case counts
    requests; neither server can know of the other one's.)"""
    primary, secondary, dns = named
    client = called(bed, "c1", "primary")
    lease = client.dora()
    wait_name(dns, "c1", lease.address)
    wait_quiet(primary, secondary)
    lease = client.renew(lease, server=secondary)
    assert isinstance(lease, Ack)
    wait_until(lambda: secondary.leases()[lease.address]["hostname"], 5, "the secondary knows the name")
    dns.wait_added(secondary)
    wait_quiet(primary, secondary)
    client.release(lease, secondary)
    wait_until(lambda: len(dns.deleted("c1")) == 2, 5, lambda: dns.deletes)
    assert sorted(host for host, _ in dns.deleted("c1")) == ["srv1", "srv2"]
    assert [effect for _, effect in dns.deleted("c1")] == [True, False]
    wait_name(dns, "c1", None)


# --- C47: host name missing on the peer -------------------------------------------------------------------------------

def test_c47_the_partners_copy_has_no_name_and_takes_none_away(bed, named):
    """The copy at the partner has the address, the times, the MAC and the identifier, but no host name (README). DNS
    has the name all the same. The partner learns it when the client first speaks to it, and then puts it there itself;
    what the one says without a name takes away no name that the other knows."""
    primary, secondary, dns = named
    client = called(bed, "c1", "primary")
    client.client_id = b"\1the client"
    lease = client.dora()
    wait_known(secondary, lease)
    copy = secondary.leases()[lease.address]
    assert (copy["hw-address"], copy["client-id"]) == (client.mac, client.client_id.hex(":"))
    assert copy["hostname"] == "" and not copy["fqdn-fwd"] and not copy["fqdn-rev"]
    wait_name(dns, "c1", lease.address)

    client.options = {}
    wait_time(lease.at + 1)
    lease = client.renew(lease, server=secondary)
    wait_known(primary, lease)
    wait_quiet(primary, secondary)
    assert primary.leases()[lease.address]["hostname"] == "c1.example.org"
    assert dns.address("c1") == lease.address and dns.deletes == []

    client.options = {packet.HOST_NAME: b"c1"}
    lose(primary, secondary)
    lease = client.rebind(lease)
    assert isinstance(lease, Ack)
    assert secondary.leases()[lease.address]["hostname"] == "c1.example.org"
    wait_name(dns, "c1", lease.address)
    assert dns.deletes == []


def test_c47_a_dhcpd_takes_no_name_away(bed, library):
    """The same with a dhcpd as partner, who doesn't tell names either: an update of its keeps the one that is known
    here."""
    pair = Mixed(bed, library, "primary", lease=60, **dhcp_options())
    try:
        with Dns(bed, pair.ours.host) as dns:
            pair.start()
            client = called(bed, "c1", "primary")
            lease = client.dora(pair.ours)
            pair.wait_known_by_both(lease)
            wait_name(dns, "c1", lease.address)
            wait_time(lease.at + 1)
            lease = client.renew(lease, server=pair.theirs)
            pair.wait_known_by_both(lease)
            pair.agree()
            assert pair.ours.leases()[lease.address]["hostname"] == "c1.example.org"
            assert dns.address("c1") == lease.address and dns.deletes == []
    finally:
        pair.said.close()
    found = violations(pair.said.messages, HOSTS["primary"])
    assert not found, "\n".join(found)
