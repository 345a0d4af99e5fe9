# SPDX-License-Identifier: MPL-2.0
"""ISC dhcpd as a failover partner: its configuration, its lease file, its states and how to force them."""
import calendar
import dataclasses
import ipaddress
import math
import os
import re
import signal
import subprocess
import time

from kea import MARKER_SUBNET
from packet import ip_text
from process import Daemon, wait_until

RELATIONSHIP = "fo"
OMAPI_PORT = 7911
# How OMAPI numbers the states that an operator may force (dhcpd.conf(5) has them in the lease file by name).
STATE_NUMBERS = {"startup": 1, "normal": 2, "communications-interrupted": 3, "partner-down": 4,
                 "potential-conflict": 5, "recover": 6, "paused": 7, "shutdown": 8, "recover-done": 9,
                 "resolution-interrupted": 10, "conflict-done": 11, "recover-wait": 254}


# --- configuration ---------------------------------------------------------------------------------------------

def dhcpd_config(role=None, addresses=None, subnets=None, lifetime=600, relationship=RELATIONSHIP, mclt=10, split=128,
                 max_response_delay=10, max_unacked_updates=10, load_balance_max_seconds=3, peer_options=(),
                 options=(), marker=True):
    """The text of a dhcpd.conf.

    role          "primary" or "secondary", with addresses = (primary's, secondary's) on the failover link;
                  None: a server without failover
    subnets       {prefix: (first, last)}; each range is a pool of the relationship
    peer_options  further statements for the failover declaration, e.g. "auto-partner-down 5;"
    options       further global statements, e.g. "min-lease-time 10;"
    """
    subnets = {"10.64.0.0/16": ("10.64.1.1", "10.64.1.32")} if subnets is None else subnets
    lines = ["authoritative;", f"default-lease-time {lifetime};", f"max-lease-time {lifetime};",
             "ddns-update-style none;", "ping-check false;", f"omapi-port {OMAPI_PORT};",
             "dhcp-cache-threshold 0;",     # else an early renewal is answered without being recorded
             *options]
    if role:
        mine, partner = addresses if role == "primary" else reversed(addresses)
        lines += [f'failover peer "{relationship}" {{', f"  {role};",
                  f"  address {mine};", "  port 647;", f"  peer address {partner};", "  peer port 647;",
                  f"  max-response-delay {max_response_delay};", f"  max-unacked-updates {max_unacked_updates};",
                  f"  load balance max seconds {load_balance_max_seconds};",
                  *([f"  mclt {mclt};", f"  split {split};"] if role == "primary" else []), *peer_options, "}"]
    for prefix, (first, last) in subnets.items():
        lines += subnet_lines(prefix, [f'failover peer "{relationship}";'] if role else [], f"{first} {last}")
    if marker:
        lines += subnet_lines(MARKER_SUBNET["subnet"], [], MARKER_SUBNET["pools"][0]["pool"].replace(" - ", " "))
    return "\n".join(lines) + "\n"


def subnet_lines(prefix, statements, pool):
    network = ipaddress.IPv4Network(prefix)
    return [f"subnet {network.network_address} netmask {network.netmask} {{",
            "  pool {", *(f"    {statement}" for statement in statements), f"    range {pool};", "  }", "}"]


# --- the lease file --------------------------------------------------------------------------------------------

@dataclasses.dataclass
class DhcpdLease:
    """A lease record. Times are Unix seconds: inf for 'never', None where the file has none."""
    address: str
    state: str = ""             # binding state
    next_state: str = ""
    rewind_state: str = ""
    starts: float = None
    ends: float = None
    tstp: float = None
    tsfp: float = None
    atsfp: float = None
    cltt: float = None
    hardware: str = ""
    uid: bytes = None
    reserved: bool = False


@dataclasses.dataclass
class FailoverRecord:
    """A 'failover peer ... state' record."""
    my_state: str = ""
    my_since: float = None
    partner_state: str = ""
    partner_since: float = None
    mclt: int = None


def parse_time(text):
    """'3 2026/11/25 02:08:00' (UTC) or 'never'."""
    if text == "never":
        return math.inf
    return calendar.timegm(time.strptime(text.split(" ", 1)[1], "%Y/%m/%d %H:%M:%S"))


def parse_quoted(text):
    """A quoted string with octal and backslash escapes."""
    def byte(match):
        return chr(int(match[1], 8)) if match[1].isdigit() else match[1]
    return re.sub(r"\\([0-7]{3}|.)", byte, text.strip('"')).encode("latin-1")


def parse_uid(text):
    return parse_quoted(text) if text.startswith('"') else bytes.fromhex(text.replace(":", ""))


def parse_lease(address, body):
    lease = DhcpdLease(address)
    states = {"binding state": "state", "next binding state": "next_state", "rewind binding state": "rewind_state"}
    for line in re.findall(r"^  (.*);$", body, re.MULTILINE):
        word, _, rest = line.partition(" ")
        state = re.fullmatch(r"((?:next |rewind )?binding state) (\S+)", line)
        if state:
            setattr(lease, states[state[1]], state[2])
        elif word in ("starts", "ends", "tstp", "tsfp", "atsfp", "cltt"):
            setattr(lease, word, parse_time(rest))
        elif word == "hardware":
            lease.hardware = rest.split()[1]
        elif word == "uid":
            lease.uid = parse_uid(rest)
        elif word == "reserved":
            lease.reserved = True
    return lease


def parse_failover(body):
    record = FailoverRecord()
    for who, state, since in re.findall(r"^  (my|partner) state (\S+) at (.+);$", body, re.MULTILINE):
        setattr(record, f"{who}_state", state)
        setattr(record, f"{who}_since", parse_time(since))
    mclt = re.search(r"^  mclt (\d+);$", body, re.MULTILINE)
    record.mclt = int(mclt[1]) if mclt else None
    return record


def parse_lease_file(text):
    """({address: DhcpdLease}, {relationship: FailoverRecord}): the last complete record of each."""
    leases, records = {}, {}
    for kind, name, body in re.findall(r'^(lease|failover peer) (.+?) (?:state )?\{\n(.*?)^\}$', text,
                                       re.MULTILINE | re.DOTALL):
        if kind == "lease":
            leases[name] = parse_lease(name, body)
        else:
            records[name.strip('"')] = parse_failover(body)
    return leases, records


# --- the server ------------------------------------------------------------------------------------------------

class Dhcpd(Daemon):
    """One dhcpd. `config` is what dhcpd_config() makes and may be changed between runs; so may `environment`."""
    answers_in_order = True
    clean_exits = (0, -signal.SIGTERM)

    def __init__(self, host, config, relationship=RELATIONSHIP):
        super().__init__(host, "dhcpd")
        self.config = config
        self.relationship = relationship
        self.environment = {}
        self.lease_path = os.path.join(host.path, "dhcpd.leases")

    @property
    def answers_markers(self):
        return f"subnet {ip_text(ipaddress.IPv4Network(MARKER_SUBNET['subnet']).network_address)}" in self.config

    def start(self, wait=True, timeout=20):
        with open(os.path.join(self.host.path, "dhcpd.conf"), "w") as file:
            file.write(self.config)
        open(self.lease_path, "a").close()      # dhcpd wants it to be there
        here = self.host.self_path
        # -d: the log to stderr. -user, -group: Debian's build would drop to an account that can't write here.
        self.spawn([self.host.program("dhcpd"), "-4", "-f", "-d", "-user", "root", "-group", "root",
                    "-cf", f"{here}/dhcpd.conf", "-lf", f"{here}/dhcpd.leases", "-pf", f"{here}/dhcpd.pid", "eth0"],
                   self.environment)
        if wait:
            self.wait_ready(timeout)

    def wait_ready(self, timeout=20):
        def ready():
            assert self.is_alive(), f"{self} ended while it started; its log ends\n{self.log.tail(15)}"
            return self.log.find("Server starting service")
        wait_until(ready, timeout, lambda: f"{self} serves; its log ends\n{self.log.tail(15)}")

    def restart(self):
        self.stop()
        self.start()

    def wait_log(self, pattern, timeout=10, since=None):
        return self.log.wait(pattern, timeout, since)

    def leases(self):
        """{address: DhcpdLease}"""
        with open(self.lease_path) as file:
            return parse_lease_file(file.read())[0]

    def backup_addresses(self):
        """The addresses that are the secondary's to give."""
        return sorted(address for address, lease in self.leases().items() if lease.state == "backup")

    def recorded(self):
        """The FailoverRecord that a restart would find."""
        with open(self.lease_path) as file:
            return parse_lease_file(file.read())[1].get(self.relationship, FailoverRecord())

    def _last_move(self, who):
        moves = self.log.find(rf"failover peer {self.relationship}: {who} moves? from \S+ to (\S+)")
        return moves[-1][1] if moves else None

    def state(self):
        """The state it is in now. (From the log of this run: while dhcpd starts the lease file still has the state
        from before.)"""
        return self._last_move("I") or "startup"

    def partner_state(self):
        """The partner's state as far as it was heard in this run; None: not at all."""
        return self._last_move("peer")

    def wait_state(self, state, timeout=30):
        wait_until(lambda: self.state() == state, timeout, lambda: f"{self} is {state}; it is {self.state()}")

    def force_state(self, state, timeout=10):
        """What an operator does with omshell. dhcpd checks nothing: it goes there from wherever it is."""
        script = "\n".join([f"server {self.host.address}", f"port {OMAPI_PORT}", "connect", "new failover-state",
                            f'set name = "{self.relationship}"', "open",
                            f"set local-state = {STATE_NUMBERS[state]}", "update"]) + "\n"
        before, mark = self.state(), self.log.mark()
        done = subprocess.run(["ip", "netns", "exec", self.host.namespace.name, "omshell"], input=script, text=True,
                              capture_output=True, timeout=timeout)
        assert "can't" not in done.stdout + done.stderr, f"{self}: omshell said\n{done.stdout}{done.stderr}"
        if before != state:
            self.wait_log(f"failover peer {self.relationship}: I move from {before} to {state}", timeout, mark)
