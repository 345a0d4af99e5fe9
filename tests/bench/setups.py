# SPDX-License-Identifier: MPL-2.0
"""The set-ups that are measured side by side: plain Kea, Kea's libdhcp_ha, an ISC dhcpd failover pair, and ours."""
import dataclasses
import glob
import ipaddress
import os
import sqlite3
import time
import typing

from dhcpd import Dhcpd
from hook import status
from kea import ControlAgent, kea_hook, subnet
from process import wait_until
from testbed import LINK_ADDRESSES

PREFIX = "10.64.0.0/11"         # of which 10.64.0.0/16 holds the servers
FIRST = ipaddress.IPv4Address("10.65.0.0")
HA_PORT = 8001                  # of its own listeners; the control agents have 8000
MCLT = 600
LIFETIME = 4000
DHCPD_POOL = 16384              # dhcpd walks lists of a subnet's leases for each exchange
THREADS = max(2, os.cpu_count())
PATIENCE = 900                  # seconds for what takes long with a million leases


@dataclasses.dataclass
class Setup:
    """Servers that run, the serving one first."""
    name: str
    bed: object
    servers: list
    state: typing.Callable      # of the pair; for one server always the same
    service: str                # what state() says while all is well
    started: float              # monotonic

    def wait_service(self, timeout=PATIENCE):
        wait_until(lambda: self.state() == self.service, timeout, lambda: f"{self.name}: {self.state()}")
        return time.monotonic() - self.started

    def stop(self):
        for server in self.servers:
            server.stop(60)
        for server in self.servers:
            self.bed.programs.remove(server)


def address(n):
    return str(FIRST + n)


def pools(size, halves=False):
    if not halves:
        return [f"{FIRST} - {FIRST + size - 1}"]
    return [(f"{FIRST} - {FIRST + size // 2 - 1}", "HA_server1"),
            (f"{FIRST + size // 2} - {FIRST + size - 1}", "HA_server2")]


def kea_config(bed, size, halves=False, **options):
    """Logs warnings only, as a server in service would, and into no file that a test reads."""
    loggers = [{"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": "stdout"}]}]
    settings = {"valid_lifetime": LIFETIME, "renew_timer": LIFETIME // 2, "rebind_timer": LIFETIME * 7 // 8,
                "expired_leases_processing": {"reclaim-timer-wait-time": 10}, "marker": False, "loggers": loggers,
                "lease_commands": False, "option_data": [{"name": "domain-name-servers", "data": "192.0.2.1"}]}
    subnets = [subnet(1, PREFIX, pools(size, halves))]
    return bed.kea_config(subnets=subnets, **{**settings, **options})


def clear(bed):
    """No server finds anything of the one that ran before it."""
    for name in LINK_ADDRESSES:
        for path in glob.glob(os.path.join(bed.hosts[name].path, "*")):
            if not path.endswith(".log"):
                os.remove(path)


def keep_leases(_bed):
    """For clear: what is there is what the servers shall find."""


def _start(bed, servers):
    started = time.monotonic()
    for server in servers:
        server.start(wait=False)
    for server in servers:
        server.wait_ready(PATIENCE)
    return started


# ---- Plain Kea ------------------------------------------------------------------------------------------------------

def plain(bed, size, threads=0, prefix=()):
    clear(bed)
    server = bed.kea("srv1", kea_config(bed, size, threads=threads))
    server.prefix = list(prefix)
    return Setup("plain", bed, [server], lambda: "serves", "serves", _start(bed, [server]))


# ---- libdhcp_ha -----------------------------------------------------------------------------------------------------

def _ha_parameters(name, mode, threads):
    role = "secondary" if mode == "load-balancing" else "standby"
    port = HA_PORT if threads else 8000
    parameters = {"this-server-name": name, "mode": mode, "peers": [
        {"name": f"server{n}", "url": f"http://{place}:{port}/", "role": ("primary", role)[n - 1], "auto-failover": True}
        for n, place in zip((1, 2), LINK_ADDRESSES.values())]}
    if threads:
        parameters["multi-threading"] = {"enable-multi-threading": True, "http-dedicated-listener": True,
                                         "http-listener-threads": threads, "http-client-threads": threads}
    return {"high-availability": [parameters]}


def ha_state(server):
    pair, = server.query("status-get").get("high-availability") or [None]
    return pair["ha-servers"]["local"]["state"] if pair else "none"


def ha(mode):
    """libdhcp_ha with all its defaults, multi-threaded with its own listeners: the fastest that it can be."""
    def start(bed, size, threads=THREADS):
        clear(bed)
        servers = []
        for n, host in enumerate(LINK_ADDRESSES, 1):
            hooks = [(kea_hook("libdhcp_ha.so"), _ha_parameters(f"server{n}", mode, threads)),
                     (kea_hook("libdhcp_stat_cmds.so"), None)]
            config = kea_config(bed, size, mode == "load-balancing", hooks=hooks, threads=threads, lease_commands=True)
            servers.append(bed.kea(host, config))
        return Setup(f"ha {mode}", bed, servers, lambda: "/".join(map(ha_state, servers)), f"{mode}/{mode}",
                     _start(bed, servers))
    return start


# ---- ISC dhcpd ------------------------------------------------------------------------------------------------------

class QuietDhcpd(Dhcpd):
    """Its log goes to a file that nobody reads line by line while it is measured."""

    def state(self):
        return self.recorded().my_state


def dhcpd_pair(bed, size=DHCPD_POOL, threads=0):
    clear(bed)
    size = min(size, DHCPD_POOL)
    subnets = {PREFIX: (address(0), address(size - 1))}
    servers = [bed.add(QuietDhcpd(bed.hosts[host], bed.dhcpd_config(
        role, subnets=subnets, lifetime=LIFETIME, mclt=MCLT, max_response_delay=60, marker=False)))
        for host, role in zip(LINK_ADDRESSES, ("primary", "secondary"))]
    for n, server in enumerate(servers):
        _write_balanced(server, size, n)
    return Setup("dhcpd", bed, servers, lambda: "/".join(server.state() for server in servers), "normal/normal",
                 _start(bed, servers))


def _write_balanced(server, size, secondary):
    """A pair that has been in normal: a fresh one would first exchange each address."""
    stamp = time.strftime("%w %Y/%m/%d %H:%M:%S", time.gmtime(time.time() - 60))
    with open(server.lease_path, "w") as file:
        file.write(f'authoring-byte-order little-endian;\nfailover peer "{server.relationship}" state {{\n'
                   f"  my state normal at {stamp};\n  partner state normal at {stamp};\n"
                   + (f"  mclt {MCLT};\n" if secondary else "") + "}\n")
        for n in range(size):
            file.write(f"lease {address(n)} {{\n  binding state {('free', 'backup')[n % 2]};\n}}\n")


# ---- Ours -----------------------------------------------------------------------------------------------------------

class Ours:
    """The hook. `split` 256: the primary serves every client, its partner listens."""

    def __init__(self, library):
        self.library = library

    def config(self, bed, size, threads=0, **parameters):
        settings = {"mclt": MCLT, "max_response_delay": 60, "startup_delay": 10, **parameters}
        return kea_config(bed, size, threads=threads, hooks=[(self.library, bed.failover_parameters(**settings))])

    def __call__(self, bed, size, threads=0, split=256, prefixes=((), ()), prepare=clear, **parameters):
        prepare(bed)
        servers = [bed.kea(host, self.config(bed, size, threads, split=split, **parameters)) for host in LINK_ADDRESSES]
        for server, prefix in zip(servers, prefixes):
            server.prefix = list(prefix)
        return Setup("ours", bed, servers, lambda: "/".join(status(server)["state"] for server in servers),
                     "normal/normal", _start(bed, servers))

    def balanced(self, bed, size, threads=0):
        """Both serve, each its half of the clients."""
        return self(bed, size, threads, split=128)


def wait_quiet(setup, timeout=PATIENCE):
    """Until the free addresses are divided, and both know everything."""
    if setup.name != "ours":
        return
    def quiet():
        return all(one["updates-queued"] == one["updates-unacked"] == 0 for one in map(status, setup.servers))
    wait_until(lambda: quiet() and (time.sleep(0.2) or quiet()), timeout, f"{setup.name} is quiet")


# ---- Leases from nowhere --------------------------------------------------------------------------------------------

FIRST_MAC = 0x0a0000000000


def mac(n):
    return (FIRST_MAC + n).to_bytes(6, "big")


def write_lease_file(path, count, lifetime, skip=0):
    """Kea's memfile with that many leases, those of the addresses and the MACs from `skip` on."""
    ends = int(time.time()) + lifetime
    with open(path, "w") as file:
        file.write("address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,"
                   "user_context\n")
        for n in range(skip, skip + count):
            text = mac(n).hex(":")
            file.write(f"{FIRST + n},{text},01:{text},{lifetime},{ends},1,0,0,,0,\n")


def write_bindings(path, count, lifetime, here, skip=0):
    """The same in a failover database that exists; `here`: this server has given them."""
    now = int(time.time())
    first = int(FIRST)

    def rows():
        for n in range(skip, skip + count):
            yield ("fo", first + n, "ACTIVE", "mine", now, now + lifetime, now + lifetime, now,
                   now + 2 * lifetime if here else 0, now + 2 * lifetime, 0 if here else now + 2 * lifetime, n + 1, 0, 0,
                   0, 1, 1, int(here), 0, b"\1" + mac(n), b"\1" + mac(n))
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.executemany(f"INSERT INTO binding VALUES ({','.join('?' * 21)}, NULL)", rows())   # without a sum
    database.close()


def prefill(ours, bed, size, leases, lifetime=86400, skip=0, **options):
    """A pair of ours in normal in which both know that many leases."""
    with_leases = ours(bed, 16, **options)
    with_leases.wait_service()
    wait_quiet(with_leases)
    with_leases.stop()
    for n, host in enumerate(LINK_ADDRESSES):
        folder = bed.hosts[host].path
        write_lease_file(os.path.join(folder, "leases4.csv"), leases, lifetime, skip)
        write_bindings(os.path.join(folder, "failover.db"), leases, lifetime, n == 0, skip)
    setup = ours(bed, size, prepare=keep_leases, **options)
    setup.wait_service()
    wait_quiet(setup)
    return setup


def agents(setup):
    """The control agents that single-threaded libdhcp_ha speaks through."""
    for server in setup.servers:
        server.agent = ControlAgent(server.host)
        server.agent.start()
