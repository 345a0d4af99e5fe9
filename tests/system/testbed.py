# SPDX-License-Identifier: MPL-2.0
"""The network that the system tests run in.

                 lan: clients' side                      link: failover connection
        srv1.eth0    srv2.eth0    client.eth0           srv1.eth1    srv2.eth1
       10.64.0.1/12 10.64.0.2/12 10.64.0.9/12          10.98.0.1/24 10.98.0.2/24
             |            |            |                     |            |
             +-- bridge "lan" in sw ---+                     +- "link" ---+

Each host is a network namespace. The failover connection has a switch of its own, so that it can be cut and mended
while both servers go on hearing their clients. Any number of test beds can live on one machine at a time.
"""
import dataclasses
import itertools
import os
import shutil
import tempfile
import typing

from client import Client, Wire
from dhcpd import Dhcpd, dhcpd_config
from kea import Kea, failover_parameters, kea_config
from network import Namespace, Switch, remove_leftovers
from packet import load_balance_bucket, mac_bytes, mac_text
from process import wait_until

LAN_ADDRESSES = {"srv1": "10.64.0.1", "srv2": "10.64.0.2", "client": "10.64.0.9"}
LINK_ADDRESSES = {"srv1": "10.98.0.1", "srv2": "10.98.0.2"}
LOG_LINES = 60


@dataclasses.dataclass
class Host:
    """A namespace with a directory. `self_path` is how the programs of any host call their own directory."""
    name: str
    namespace: Namespace
    address: str
    mac: str
    path: str
    self_path: str
    program: typing.Callable        # name -> path of a copy that may be run


class Testbed:
    """Two servers' hosts and one for scripted clients; a context manager that leaves nothing behind.

    keep: leave the directory with configurations, logs and lease files.
    """
    __test__ = False        # pytest: this is no test in spite of its name
    _numbers = itertools.count(1)
    _open = []              # those whose logs are worth showing when a test fails

    def __init__(self, keep=False):
        remove_leftovers(r"fo(\d+)-\d+-\w+")
        self.name = f"fo{os.getpid()}-{next(self._numbers)}"
        self.keep = keep
        # Unix sockets are in here, and a path to one holds 107 bytes at most.
        self.path = tempfile.mkdtemp(prefix=f"{self.name}-", dir="/tmp")
        self.self_path = os.path.join(self.path, "self")
        os.mkdir(self.self_path)
        os.mkdir(os.path.join(self.path, "bin"))
        self.hosts = {}
        self.programs = []          # everything started or to be started: servers and real clients
        self._namespaces = []
        self._wire = None
        self._client_numbers = itertools.count(1)
        self._open.append(self)
        try:
            switches = self._namespace("sw")
            self.lan = Switch(switches, "lan")
            self.link = Switch(switches, "link")
            for name, address in LAN_ADDRESSES.items():
                self.add_host(name, address)
            for name, address in LINK_ADDRESSES.items():
                host = self.hosts[name]
                self.link.plug(host, "eth1", f"{address}/24", host.mac.replace("02:00", "02:01"))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- hosts and programs ----------------------------------------------------------------------------------

    def _namespace(self, name):
        namespace = Namespace(f"{self.name}-{name}")
        self._namespaces.append(namespace)
        return namespace

    def add_host(self, name, address=None):
        """A host on the clients' side; without an address it is for a real client."""
        host = Host(name, self._namespace(name), address, mac_text(bytes([2, 0, 0, 0, 0, len(self.hosts) + 1])),
                    os.path.join(self.path, name), self.self_path, self.program)
        os.mkdir(host.path)
        self.hosts[name] = host
        self.lan.plug(host, "eth0", address and f"{address}/12", host.mac)
        return host

    def program(self, name):
        """A copy of an installed program: where AppArmor confines it, it is confined by its path."""
        copy = os.path.join(self.path, "bin", name)
        if not os.path.exists(copy):
            found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
            assert found, f"{name} is not installed"
            shutil.copy(found, copy)
        return copy

    def add(self, program):
        self.programs.append(program)
        return program

    def kea(self, host, config):
        """A Kea server on host "srv1" or "srv2", not started. At its start it reads `config`."""
        return self.add(Kea(self.hosts[host], config))

    def kea_pair(self, config):
        """Both hosts with one and the same configuration, started."""
        return self.start_all(self.kea("srv1", config), self.kea("srv2", config))

    def dhcpd(self, host, config):
        return self.add(Dhcpd(self.hosts[host], config))

    def dhcpd_pair(self, **options):
        """A dhcpd failover pair in state normal, each server with addresses of its own; see dhcpd_config() for
        options. srv1 is the primary."""
        primary = self.dhcpd("srv1", self.dhcpd_config("primary", **options))
        secondary = self.dhcpd("srv2", self.dhcpd_config("secondary", **options))
        secondary.start()       # first: a primary that is refused calls again after 5 s only
        primary.start()
        for server in primary, secondary:
            server.wait_state("normal")
        # Without this a test could cut the link before the secondary has got its first address.
        wait_until(lambda: primary.backup_addresses() == secondary.backup_addresses() != [], 10,
                   "the secondary has its share of the addresses")
        return primary, secondary

    def start_all(self, *servers):
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.wait_ready()
        return servers

    @property
    def servers(self):
        return [program for program in self.programs if isinstance(program, (Kea, Dhcpd))]

    def kea_config(self, **options):
        """See kea_config(); the same for both servers."""
        return kea_config(self.self_path, **options)

    def dhcpd_config(self, role, **options):
        return dhcpd_config(role, list(LINK_ADDRESSES.values()), **options)

    def failover_parameters(self, **overrides):
        return failover_parameters(self.self_path, list(LINK_ADDRESSES.values()), **overrides)

    # --- clients ---------------------------------------------------------------------------------------------

    @property
    def wire(self):
        """The socket that all scripted clients share."""
        if self._wire is None:
            self._wire = Wire(self)
        return self._wire

    def client(self, role=None, split=128, client_id=None, **options):
        """A Client with a MAC never used in this test bed.

        role: "primary" or "secondary", the server whose the client is when loads are balanced by `split`.
        client_id: bytes, or "mac" for the usual 01 + MAC, which then is what is hashed.
        """
        while True:
            mac = mac_text(bytes([0x0a, 0, 0]) + next(self._client_numbers).to_bytes(3, "big"))
            client = Client(self, mac, client_id, **options)
            bucket = load_balance_bucket(client.client_id or mac_bytes(mac))
            if role is None or role == ("primary" if bucket < split else "secondary"):
                return client

    # --- the end ---------------------------------------------------------------------------------------------

    def logs(self):
        """[(title, the end of the log)] of everything that ran here."""
        programs = self.programs + [server.agent for server in self.servers if isinstance(server, Kea)]
        return [(f"{self.name}: log of {program}", program.log.tail(LOG_LINES))
                for program in programs if os.path.exists(program.log.path)]

    @classmethod
    def all_logs(cls):
        return [log for bed in cls._open for log in bed.logs()]

    def close(self):
        """Ends and removes everything; then fails if a program had died, or did not end as it should."""
        if self not in self._open:
            return
        problems = []
        for program in self.programs:
            try:
                program.stop()
            except Exception as error:
                problems.append(str(error))
        problems += [f"{server}: {finding}" for server in self.servers if isinstance(server, Kea)
                     for finding in server.findings()]
        if self._wire:
            self._wire.close()
        for namespace in self._namespaces:
            namespace.remove()
        if not self.keep:
            shutil.rmtree(self.path)
        self._open.remove(self)
        assert not problems, "\n".join(problems)
