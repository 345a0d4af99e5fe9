# SPDX-License-Identifier: MPL-2.0
"""kea-dhcp4 with its control agent, and how to write their configuration."""
import csv
import glob
import http.client
import json
import os
import socket

import watch
from process import Daemon, wait_until

AGENT_PORT = 8000
LEASE_STATES = {"0": "default", "1": "declined", "2": "expired-reclaimed", "3": "released"}


# --- configuration ---------------------------------------------------------------------------------------------

def kea_hook(name):
    """The path of one of Kea's own hook libraries, e.g. libdhcp_lease_cmds.so; $KEA_HOOKS names another folder."""
    folder = os.environ.get("KEA_HOOKS") or (glob.glob("/usr/lib/*/kea/hooks") + ["/usr/lib/kea/hooks"])[0]
    return os.path.join(folder, name)


def hyphenated(arguments):
    """Keyword arguments as Kea spells them: valid_lifetime becomes valid-lifetime."""
    return {key.replace("_", "-"): value for key, value in arguments.items()}


def merged(base, changes):
    """A copy of `base` with `changes` laid over it, map by map; a value of None removes the key."""
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


def subnet(number=1, prefix="10.64.0.0/16", pools=("10.64.1.1 - 10.64.1.32",), reservations=(), relay=(), **options):
    """One entry for `subnets`. A pool is a range, or (range, client-class). Options are Kea's, e.g. valid_lifetime=60.

    reservations: (MAC, address) pairs or Kea's maps; relay: addresses.
    """
    entry = {"id": number, "subnet": prefix, "pools": [], "reservations": [], **hyphenated(options)}
    for pool in pools:
        entry["pools"].append({"pool": pool} if isinstance(pool, str) else {"pool": pool[0], "client-class": pool[1]})
    for item in reservations:
        entry["reservations"].append(item if isinstance(item, dict) else {"hw-address": item[0], "ip-address": item[1]})
    if relay:
        entry["relay"] = {"ip-addresses": list(relay)}
    return entry


# Hosts in this subnet are never real clients: the harness asks for an address here to learn that a server has worked
# through everything that came before (see client.py). No relationship may cover it.
MARKER_SUBNET = subnet(999, "10.79.255.0/24", ["10.79.255.100 - 10.79.255.199"])


def kea_config(self_path, subnets=None, shared_networks=None, hooks=(), threads=0, persist=True, authoritative=True,
               severity="INFO", lease_commands=True, marker=True, **options):
    """A Dhcp4 configuration; the same one serves on both servers of a pair.

    self_path        where the server's own directory is (Testbed.self_path)
    subnets          list of subnet(); default: one
    shared_networks  {name: list of subnet()}
    hooks            (path, parameters) pairs, loaded after libdhcp_lease_cmds (see lease_commands)
    threads          0: single-threaded; else the number of packet threads
    severity         of all loggers but that of the failover hook, which always logs everything
    marker           whether MARKER_SUBNET is served
    options          any other global parameter, e.g. valid_lifetime=600; merged over what is here, None removes
    """
    if subnets is None:
        subnets = [] if shared_networks else [subnet()]
    libraries = [(kea_hook("libdhcp_lease_cmds.so"), None)] if lease_commands else []
    output = {"output_options": [{"output": "stdout"}]}
    config = {
        "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"},
        "control-socket": {"socket-type": "unix", "socket-name": f"{self_path}/ctrl"},
        "lease-database": {"type": "memfile", "persist": persist, "name": f"{self_path}/leases4.csv",
                           "lfc-interval": 0},
        "multi-threading": {"enable-multi-threading": threads > 0, "thread-pool-size": threads or 1,
                            "packet-queue-size": 64},
        "authoritative": authoritative,
        "valid-lifetime": 600,
        "expired-leases-processing": {"reclaim-timer-wait-time": 1},
        "hooks-libraries": [{"library": path, **({} if parameters is None else {"parameters": parameters})}
                            for path, parameters in [*libraries, *hooks]],
        "subnet4": list(subnets) + ([MARKER_SUBNET] if marker else []),
        "shared-networks": [{"name": name, "subnet4": members} for name, members in (shared_networks or {}).items()],
        # Of a query that it drops as a second one of its client Kea 2.2 writes at DEBUG what the first one holds, which
        # another thread is changing, and crashes.
        "loggers": [{"name": "kea-dhcp4", "severity": severity, "debuglevel": 99, **output},
                    {"name": "kea-dhcp4.bad-packets", "severity": "INFO", **output},
                    {"name": "kea-dhcp4.failover-hooks", "severity": "DEBUG", "debuglevel": 99, **output}],
    }
    return {"Dhcp4": merged(config, hyphenated(options))}


def failover_parameters(self_path, addresses, **overrides):
    """The hook's parameters with one relationship, the same for both servers, with times that suit a test.

    addresses: the primary's and the secondary's on the failover link. Overrides are keys of the relationship, e.g.
    mclt=30, subnets=[1, 2], interrupted_leases="extend"; None leaves a key out.
    """
    relationship = {
        "name": "fo",
        "peers": [{"name": f"server{number}", "role": role, "address": address, "port": 647}
                  for number, role, address in zip((1, 2), ("primary", "secondary"), addresses)],
        "mclt": 10, "split": 128, "load-balance-max-seconds": 3,
        "max-response-delay": 9, "max-unacked-updates": 100, "startup-delay": 3,
        "subnets": [1],
    }
    return {"database": f"{self_path}/failover.db", "relationships": [merged(relationship, hyphenated(overrides))]}


# --- the server ------------------------------------------------------------------------------------------------

def environment(host, more=None):
    """KEA_LOCKFILE_DIR=none: no lock between processes that log into one file. Without the other one the pid file
    would go where only the packaged service may write, and where two servers collide."""
    return {"KEA_PIDFILE_DIR": host.self_path, "KEA_LOCKFILE_DIR": "none", **(more or {})}


def request(command, arguments):
    """What is sent for a command. Some commands take a map without arguments for a mistake."""
    return {"command": command, **({"arguments": hyphenated(arguments)} if arguments else {})}


class ControlAgent(Daemon):
    """kea-ctrl-agent, Kea's HTTP interface."""

    def __init__(self, host):
        super().__init__(host, "kea-ctrl-agent")

    def start(self):
        config = {"Control-agent": {
            "http-host": self.host.address, "http-port": AGENT_PORT,
            "control-sockets": {"dhcp4": {"socket-type": "unix", "socket-name": f"{self.host.self_path}/ctrl"}},
            "loggers": [{"name": "kea-ctrl-agent", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}
        path = os.path.join(self.host.path, "agent.json")
        with open(path, "w") as file:
            json.dump(config, file, indent=2)
        self.spawn([self.host.program(self.name), "-c", f"{self.host.self_path}/agent.json"], environment(self.host))
        self.log.wait("CTRL_AGENT_STARTED")

    def post(self, body, timeout):
        connection = http.client.HTTPConnection(self.host.address, AGENT_PORT)
        connection.sock = self.host.namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout)
        try:
            connection.sock.connect((self.host.address, AGENT_PORT))
            connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        assert answer.status == 200, f"HTTP {answer.status}: {text}"
        return json.loads(text)


class Kea(Daemon):
    """One kea-dhcp4. `config` is what kea_config() makes and may be changed between runs; so may `environment`, with
    more variables for the server."""
    wrapper = []        # what it runs under

    def __init__(self, host, config):
        super().__init__(host, "kea-dhcp4")
        self.config = config
        self.agent = ControlAgent(host)
        self.environment = {}

    # What the scripted clients want to know of any server
    @property
    def answers_markers(self):
        return any(item["id"] == MARKER_SUBNET["id"] for item in self.config["Dhcp4"]["subnet4"])

    @property
    def answers_in_order(self):
        return not self.config["Dhcp4"]["multi-threading"]["enable-multi-threading"]

    def write_config(self):
        with open(os.path.join(self.host.path, "kea.json"), "w") as file:
            json.dump(self.config, file, indent=2)

    def start(self, wait=True, timeout=20):
        """Returns when the server is configured and answers commands; wait=False: at once."""
        self.write_config()
        watching = watch.environment(hook["library"] for hook in self.config["Dhcp4"]["hooks-libraries"])
        self.spawn([*self.wrapper, self.host.program(self.name), "-c", f"{self.host.self_path}/kea.json"],
                   environment(self.host, watch.merged(watching, self.environment)))
        if wait:
            self.wait_ready(timeout)

    def wait_ready(self, timeout=20):
        def ready():
            assert self.is_alive(), f"{self} ended while it started; its log ends\n{self.log.tail(15)}"
            try:
                return self.command("version-get")
            except OSError:
                return False
        wait_until(ready, timeout, lambda: f"{self} answers commands; its log ends\n{self.log.tail(15)}")

    def kill9(self):
        """Killed while it writes its pid file it would not start any more; a service manager clears that away too."""
        super().kill9()
        for path in glob.glob(os.path.join(self.host.path, "*.pid")):
            os.remove(path)

    def stop(self, timeout=10):
        try:
            self.agent.stop(timeout)
        finally:
            super().stop(timeout)

    def findings(self):
        """What a sanitizer or valgrind has found in the hook, in all its runs."""
        return watch.findings(self.log.text(0))

    def restart(self):
        super().stop()
        self.start()

    def command(self, command, /, *, timeout=30, **arguments):
        """One command over the control socket; the whole answer. Underscores in argument names become hyphens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(timeout)
            control.connect(os.path.join(self.host.path, "ctrl"))
            control.sendall(json.dumps(request(command, arguments)).encode())
            answer = b""
            while chunk := control.recv(65536):
                answer += chunk
        if not answer:
            raise ConnectionError(f"{self} closed its control socket without an answer to {command}")
        return json.loads(answer)

    def query(self, command, /, **arguments):
        """The arguments of a command's answer; anything but result 0 fails the test."""
        answer = self.command(command, **arguments)
        assert answer["result"] == 0, f"{self}: {command} {arguments}: {answer}"
        return answer.get("arguments")

    def rest(self, command, /, *, timeout=30, **arguments):
        """The same as command(), as an operator does it: by HTTP to the control agent, which is started when first
        needed."""
        if not self.agent.is_alive():
            self.agent.start()
        return self.agent.post({**request(command, arguments), "service": ["dhcp4"]}, timeout)[0]

    def reload(self, config=None, how="config-reload"):
        """Reconfigures the running server: config-reload reads the file again, config-set sends it."""
        if config is not None:
            self.config = config
        self.write_config()
        if how == "config-set":
            return self.query("config-set", **self.config)
        return self.query("config-reload")

    def wait_log(self, pattern, timeout=10, since=None):
        return self.log.wait(pattern, timeout, since)

    def statistics(self, name):
        """The present value of a statistic, or None."""
        samples = self.query("statistic-get", name=name).get(name)
        return samples[0][0] if samples else None

    def leases(self):
        """{address: lease} as lease4-get-all has it."""
        answer = self.command("lease4-get-all")
        assert answer["result"] in (0, 3), answer
        return {lease["ip-address"]: lease for lease in answer["arguments"]["leases"]}

    def lease_file(self):
        """{address: row} as the lease file has it: what a restart would find."""
        leases = {}
        with open(os.path.join(self.host.path, "leases4.csv"), newline="") as file:
            for row in csv.DictReader(file):
                if row["valid_lifetime"] == "0":
                    leases.pop(row["address"], None)
                else:
                    row["state"] = LEASE_STATES[row["state"]]
                    leases[row["address"]] = row
        return leases
