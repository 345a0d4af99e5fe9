# SPDX-License-Identifier: MPL-2.0
"""Network namespaces and the switches between them."""
import contextlib
import ctypes
import fcntl
import os
import re
import socket
import subprocess
import tempfile

NAMESPACES = "/run/netns"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*arguments, stdin=None):
    """Runs a short command to its end; its own words are in the error if it fails."""
    done = subprocess.run(arguments, input=stdin, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, "setns: " + os.strerror(number))


class Namespace:
    """A named network namespace; `ip netns exec NAME` gets you into it by hand."""

    def __init__(self, name):
        self.name = name
        # The very first "ip netns add" of a machine mounts /run/netns, and two at once trip over each other.
        with open(os.path.join(tempfile.gettempdir(), "failover-testbed.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            run("ip", "netns", "add", name)
        with self.entered():
            for which in ("all", "default"):
                with contextlib.suppress(FileNotFoundError):
                    with open(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6", "w") as setting:
                        setting.write("1")
        self.ip("link set lo up")

    def ip(self, *lines):
        """Runs several lines of ip(8) at once."""
        run("ip", "-netns", self.name, "-batch", "-", stdin="\n".join(lines) + "\n")

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in this namespace meanwhile: only to open sockets or files, which stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(os.path.join(NAMESPACES, self.name), os.O_RDONLY)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def socket(self, *arguments):
        """A socket that belongs to this namespace and can be used from anywhere."""
        with self.entered():
            return socket.socket(*arguments)

    def remove(self):
        run("ip", "netns", "del", self.name)


class Switch:
    """A bridge in its own namespace with a cable to each host, and the ways in which such a thing fails.

    In all of them the carrier stays up and packets just vanish: nobody gets a reset or an error for them.
    """

    def __init__(self, namespace, name):
        self.namespace = namespace
        self.name = name
        self.ports = {}
        self.macs = {}
        self.impaired = set()       # hosts that don't hear everything
        namespace.ip(f"link add name br-{name} type bridge forward_delay 0 mcast_snooping 0", f"link set br-{name} up")

    def plug(self, host, interface, address, mac):
        """Lays a cable from this switch to `interface` in the host's namespace."""
        port = f"{self.name}-{host.name}"
        self.ports[host.name] = port
        self.namespace.ip(f"link add name {port} type veth peer name {interface} netns {host.namespace.name}"
                          f" address {mac}",
                          f"link set {port} master br-{self.name} up")
        host.namespace.ip(*([f"addr add {address} broadcast + dev {interface}"] if address else []),
                          f"link set {interface} up")
        self.macs[host.name] = mac
        self._know(host.name, "replace")

    def _know(self, host, how):
        """From the start, since what comes for a host that was never heard goes to all, whom raw sockets would hear."""
        run("ip", "netns", "exec", self.namespace.name, "bridge", "fdb", how, self.macs[host], "dev", self.ports[host],
            "master", "static")

    def _set(self, host, *settings):
        run("ip", "netns", "exec", self.namespace.name, "bridge", "link", "set", "dev", self.ports[host], *settings)

    def cut(self, host=None):
        """Nothing passes from or to this host (by name; None: any host)."""
        for name in [host] if host else self.ports:
            self._set(name, "state", "0")
            self.impaired.add(name)

    def cut_towards(self, host):
        """One way only: nothing reaches this host any more, but it is still heard."""
        self.impaired.add(host)
        self._know(host, "del")
        self._set(host, "learning", "off", "flood", "off", "mcast_flood", "off", "bcast_flood", "off")
        self.namespace.ip(f"link set {self.ports[host]} type bridge_slave fdb_flush")

    def mend(self):
        """Everything passes again."""
        self.impaired.clear()
        for name in self.ports:
            self._set(name, "state", "3")
            self._set(name, "learning", "on", "flood", "on", "mcast_flood", "on", "bcast_flood", "on")
            self._know(name, "replace")


def remove_leftovers(pattern):
    """Removes namespaces whose maker is dead. Group 1 of `pattern` finds the maker's pid in a namespace's name."""
    for name in os.listdir(NAMESPACES) if os.path.isdir(NAMESPACES) else []:
        owner = re.fullmatch(pattern, name)
        if owner and not os.path.exists(f"/proc/{owner[1]}"):
            with contextlib.suppress(RuntimeError):     # somebody else may sweep at the same time
                run("ip", "netns", "del", name)
