# SPDX-License-Identifier: MPL-2.0
"""The DHCP clients that people use, each on a host of its own, so that its address is the kernel's and its renewals
take the way they take in life."""
import dataclasses
import os
import signal

from process import Daemon, wait_until

# Run by a client at each event, with the event's name and address at hand under its own names.
SCRIPT = """#!/bin/sh
# $1: udhcpc's event; $reason: dhclient's
event=${1:-$reason} address=${ip:-$new_ip_address} server=${serverid:-$new_dhcp_server_identifier}
lifetime=${lease:-$new_dhcp_lease_time} mask=${mask:-$(echo "$new_subnet_mask" | tr . ' ' | {
    read -r a b c d; n=0
    for byte in $a $b $c $d; do while [ "$byte" -gt 0 ]; do n=$((n + byte % 2)) byte=$((byte / 2)); done; done
    echo $n; })}
interface=${interface:-eth0}
case $event in
    bound|renew|BOUND|RENEW|REBIND|REBOOT) ip addr replace "$address/$mask" dev "$interface" ;;
    deconfig|EXPIRE|FAIL|RELEASE|STOP|PREINIT) ip -4 addr flush dev "$interface"; ip link set "$interface" up ;;
esac
echo "$event ${address:--} ${lifetime:-0} ${server:--}" >> events
"""


@dataclasses.dataclass
class Event:
    """What a client told its script; see SCRIPT. Names are the client's own, e.g. bound, BOUND, nak, EXPIRE."""
    name: str
    address: str
    lifetime: int
    server: str


class RealClient(Daemon):
    """What udhcpc and dhclient have in common."""
    clean_exits = (0, -signal.SIGTERM)
    bound_events = ()

    def __init__(self, bed, program):
        super().__init__(bed.add_host(f"cl{len(bed.hosts) - 2}"), program)
        bed.add(self)
        script = os.path.join(self.host.path, "script")
        with open(script, "w") as file:
            file.write(SCRIPT)
        os.chmod(script, 0o755)

    @property
    def mac(self):
        return self.host.mac

    def events(self, *names):
        """All events so far, or those of these names."""
        path = os.path.join(self.host.path, "events")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            lines = [line.split() for line in file.read().splitlines()]
        events = [Event(name, address, int(lifetime), server) for name, address, lifetime, server in lines]
        return [event for event in events if not names or event.name in names]

    def wait_event(self, *names, timeout=20, after=0):
        """The first event of these names but for `after` earlier ones."""
        wait_until(lambda: len(self.events(*names)) > after, timeout,
                   lambda: f"{self} had {after + 1} of the events {names}; it had {self.events()}")
        return self.events(*names)[after]

    def wait_bound(self, timeout=20):
        """The event with which it got its address."""
        return self.wait_event(*self.bound_events, timeout=timeout)


class Udhcpc(RealClient):
    """busybox udhcpc"""
    bound_events = ("bound",)

    def __init__(self, bed):
        super().__init__(bed, "busybox")

    def start(self, *options):
        self.spawn([self.host.program("busybox"), "udhcpc", "-f", "-i", "eth0", "-s", f"{self.host.self_path}/script",
                    "-t", "5", "-T", "1", "-A", "1", *options])

    def renew(self, timeout=20):
        """Renews now; the event of that.

        udhcpc often loses a quick server's answer to its unicast (it comes to the socket that sent the request, which
        is about to be closed), and asks again by broadcast a second later.
        """
        count = len(self.events("renew"))
        self.signal(signal.SIGUSR1)
        return self.wait_event("renew", timeout=timeout, after=count)

    def release(self, timeout=20):
        """Gives its lease back, and stays idle after that."""
        count = len(self.events("deconfig"))
        self.signal(signal.SIGUSR2)
        self.wait_event("deconfig", timeout=timeout, after=count)


class Dhclient(RealClient):
    """ISC dhclient. Its lease file stays when it is stopped: started again it comes in INIT-REBOOT."""
    bound_events = ("BOUND", "REBOOT")

    def __init__(self, bed, statements=()):
        super().__init__(bed, "dhclient")
        with open(os.path.join(self.host.path, "dhclient.conf"), "w") as file:
            file.write("\n".join(["timeout 20;", "retry 1;", "initial-interval 1;", "backoff-cutoff 2;",
                                  "reboot 5;", *statements]) + "\n")

    def _arguments(self, *options):
        here = self.host.self_path
        return [self.host.program("dhclient"), "-4", *options, "-cf", f"{here}/dhclient.conf",
                "-lf", f"{here}/dhclient.leases", "-pf", f"{here}/dhclient.pid", "-sf", f"{here}/script", "eth0"]

    def start(self):
        open(os.path.join(self.host.path, "dhclient.leases"), "a").close()
        self.spawn(self._arguments("-d"))

    def release(self):
        """Ends the client, and gives its lease back as `dhclient -r` does."""
        self.stop()
        self.spawn(self._arguments("-d", "-r"))
        wait_until(lambda: not self.is_alive(), 10, f"{self} has released")
        self.process = None
