# SPDX-License-Identifier: MPL-2.0
"""The hook as tests and the demonstration look at it: pairs of servers, their states and bindings, and what an operator
and a fault can do to them."""
import contextlib
import glob
import ipaddress
import math
import os
import re
import sqlite3
import time

from client import Ack
from compare import address_range, differences, view
from kea import subnet
from process import wait_until

POOL_FIRST = "10.64.1.1"
DATABASE = "failover.db"        # in the server's directory


# --- configuration and start -----------------------------------------------------------------------------------

def pool(size, first=POOL_FIRST):
    """A Kea pool of that many addresses."""
    return f"{first} - {ipaddress.IPv4Address(first) + size - 1}"


def addresses_of(size, first=POOL_FIRST):
    """The addresses of pool(size, first)."""
    return address_range(*pool(size, first).split(" - "))


def small(size, **options):
    """The usual subnet with a pool of that many addresses."""
    return subnet(pools=[pool(size)], **options)


def pair_config(bed, library, parameters=None, **options):
    """A configuration with the hook; parameters: overrides of the relationship's, options: kea_config()'s. Kea itself
    logs warnings only, since the log of a test that fails would tell little else than commands received."""
    hooks = [(library, bed.failover_parameters(**(parameters or {})))]
    return bed.kea_config(**{"severity": "WARN", "hooks": hooks, **options})


def normal_pair(bed, library, parameters=None, **options):
    """Primary and secondary in normal, the free addresses divided; arguments as for pair_config()."""
    pair = bed.kea_pair(pair_config(bed, library, parameters, **options))
    wait_states("normal/normal", *pair)
    wait_quiet(*pair)
    return pair


def wipe(server):
    """A server that is not running loses its failover database and its leases."""
    assert not server.is_alive()
    for pattern in DATABASE, f"{DATABASE}-*", "leases4.csv*":
        for path in glob.glob(os.path.join(server.host.path, pattern)):
            os.remove(path)


# --- what it says -------------------------------------------------------------------------------------------------

def status(server):
    """The only relationship in the answer of failover-status."""
    relationship, = server.query("failover-status")["relationships"]
    return relationship


def states(*servers):
    return "/".join(status(server)["state"] for server in servers)


def roles(*servers):
    return "/".join(status(server)["role"] for server in servers)


def pending(server):
    """{step: seconds until it}"""
    return {step["step"]: step["seconds"] for step in status(server)["pending"]}


def wait_states(wanted, *servers, timeout=20):
    """wanted: the states of these servers, joined by a slash."""
    wait_until(lambda: states(*servers) == wanted, timeout,
               lambda: f"{wanted}, but {states(*servers)}; " + "; ".join(status(server)["why"] for server in servers))


def quiet(*servers):
    """Nothing waits for the partner any more."""
    all_status = [status(server) for server in servers]
    return all(one["updates-queued"] == one["updates-unacked"] == 0 for one in all_status)


def wait_quiet(*servers, timeout=10):
    """Until both servers have told each other everything, and nothing comes of that any more."""
    def settled():
        before = [status(server)["counters"] for server in servers]
        return quiet(*servers) and before == [status(server)["counters"] for server in servers]
    wait_until(settled, timeout, lambda: "; ".join(
        f"{one['updates-queued']} updates queued, {one['updates-unacked']} unacked" for one in map(status, servers)))


def binding(server, address):
    return server.query("failover-binding", ip_address=address)


def ends(server, address):
    """The end of the promise on an address in Unix seconds."""
    end = binding(server, address).get("ends", 0)
    return math.inf if end == "never" else end


def is_free(server, address):
    return binding(server, address)["binding-state"] == "FREE"


def owned(server, addresses):
    """Those of the addresses that are free and this server's to give."""
    return [address for address in addresses if binding(server, address).get("owner") == "mine"]


def used_up(*servers):
    """None has an address left to give. While interrupted that comes soon with `replace`, since who is refused gets
    another address and the one before is held."""
    return not any(status(server)["bindings"]["free-mine"] for server in servers)


def wait_free(address, *servers, timeout=15):
    """Until the address is free on all these servers."""
    wait_until(lambda: all(is_free(server, address) for server in servers), timeout,
               lambda: f"{address} is free, but {[binding(server, address) for server in servers]}")


def wait_same_view(one, other, addresses, timeout=10):
    """Until both servers say the same of each address."""
    def found():
        return differences(view(one, addresses), view(other, addresses))
    wait_until(lambda: not found(), timeout, lambda: f"{one} and {other} agree; they differ:\n" + "\n".join(found()))


def log_lines(server, pattern, since=None):
    """The lines of the hook that match a regular expression."""
    return [line for line in server.log.text(since).splitlines()
            if "failover-hooks" in line and re.search(pattern, line)]


def stored_bindings(server):
    """{address: (MAC, end)} of the leases in its failover database, when all is written."""
    wait_until(lambda: status(server)["database"] == "written", 5, "the database is written")
    with contextlib.closing(sqlite3.connect(os.path.join(server.host.path, DATABASE))) as database:
        rows = database.execute("SELECT address, hardware, ends FROM binding WHERE status = 'ACTIVE'").fetchall()
    return {str(ipaddress.IPv4Address(address)): (hardware[1:].hex(":"), ends) for address, hardware, ends in rows}


def kea_rows(server):
    """{address: (MAC, end)} of the leases that Kea's own database has."""
    return {address: (lease["hw-address"], lease["cltt"] + lease["valid-lft"])
            for address, lease in server.leases().items() if lease["state"] == 0}


# --- what is done to it --------------------------------------------------------------------------------------------

def force(server, state, **arguments):
    """The arguments of the answer."""
    return server.query("force-state", state=state, **arguments)


def interrupted(bed, *servers):
    """Cuts the link; both servers notice within max-response-delay. To save that time the link is held down by force
    instead where a test doesn't mind: see held_down()."""
    bed.link.cut()
    wait_states("/".join(["communications-interrupted"] * len(servers)), *servers)


def held_down(*servers):
    """communications-interrupted on both servers, at once: one is forced to it and hangs up."""
    force(servers[0], "communications-interrupted")
    wait_states("/".join(["communications-interrupted"] * len(servers)), *servers)


def lose(server, partner):
    """The server dies, and its partner has noticed it."""
    server.kill9()
    wait_states("communications-interrupted", partner)


def let_go(*servers):
    force(servers[0], "normal")
    wait_states("/".join(["normal"] * len(servers)), *servers)


def wait_on_disk(server, lease):
    """Until the server's disk has the lease: only then it lets Kea forget it for another answer to the client."""
    wait_until(lambda: binding(server, lease.address)["on-disk"], 5, f"{server} has written {lease}")


def wait_written(server, address, timeout=5):
    """Until the server's disk has that its partner knows the lease, so that a kill doesn't make it forget that."""
    number = int(ipaddress.IPv4Address(address))

    def written():
        with contextlib.closing(sqlite3.connect(os.path.join(server.host.path, DATABASE))) as database:
            return database.execute("SELECT 1 FROM binding WHERE address = ? AND NOT update_due", (number,)).fetchone()
    wait_until(written, timeout, f"{server} has written down that its partner knows {address}")


@contextlib.contextmanager
def locked(server):
    """Meanwhile the server can't write its failover database, as if the disk hung: what it does stays in its memory,
    and its partner isn't told of it."""
    lock = sqlite3.connect(os.path.join(server.host.path, DATABASE), isolation_level=None)
    try:
        lock.execute("BEGIN IMMEDIATE")
        yield
    finally:
        lock.close()


@contextlib.contextmanager
def in_conflict(primary, secondary):
    """Both were forced to partner-down without seeing each other, and now they meet. But the primary's disk hangs, and
    until that works it can't tell what it has learnt, nor ask: it stays in potential-conflict meanwhile."""
    held_down(primary, secondary)
    force(secondary, "partner-down")
    secondary.pause()
    force(primary, "partner-down")
    with locked(primary):
        secondary.resume()
        wait_states("potential-conflict", primary)
        yield


def wait_time(when):
    """Until the clock shows this time: for what has no other sign."""
    wait_until(lambda: time.time() >= when, when - time.time() + 1, "that time")


def descriptors(server):
    """How many a running server has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


# --- clients ---------------------------------------------------------------------------------------------------------

def serve(client, server):
    """A lease of this server's, whatever load balancing says; what it answers otherwise, nothing if it offers none."""
    offers = client.discover(secs=10, to=server)
    return offers and client.request(offers[0])


def wait_known(server, lease):
    """The server has been told by its partner of the lease, up to its present end."""
    wait_until(lambda: ends(server, lease.address) >= lease.at + lease.lifetime - 2, 5,
               lambda: f"{server} knows {lease}, but {binding(server, lease.address)}")


def near(seconds):
    """A lifetime of that many seconds: the client and the server don't read their clocks in the same moment."""
    return range(int(seconds) - 1, int(seconds) + 2)


QUICKLY = 1             # s; usually a millisecond


def assert_serves(bed, server, clients=3):
    """New clients get leases and renew them, without having to wait."""
    for _ in range(clients):
        client = bed.client()
        begin = time.monotonic()
        lease = serve(client, server)
        assert isinstance(lease, Ack), f"{lease} of {server}"
        assert time.monotonic() - begin < QUICKLY
        client.release(lease)
