# SPDX-License-Identifier: MPL-2.0
"""Servers that are only started, to see what they say to their configuration: mostly they have to refuse it."""
import copy
import os
import re

from hook import log_lines
from kea import environment, subnet
from process import wait_until

NO_MCLT_WARNING = 120       # less is warned of


def parameters(server):
    """The hook's, to be changed."""
    return server.config["Dhcp4"]["hooks-libraries"][-1]["parameters"]


def why_not(server):
    """Starts a server that has to refuse; what the hook logs for it."""
    server.start(wait=False)
    wait_until(lambda: not server.is_alive(), 10, lambda: f"{server} refuses to start; {server.log.tail(5)}")
    assert server.process.returncode > 0
    server.process = None
    lines = log_lines(server, "ERROR.*FAILOVER_CONFIGURATION_FAILED")
    assert len(lines) == 1, server.log.text()
    return lines[0].partition("FAILOVER_CONFIGURATION_FAILED ")[2]


def place_in_file(server, line):
    """The line of the configuration file that a message points to."""
    number = int(re.search(r"kea\.json:(\d+):\d+\)", line)[1])
    with open(os.path.join(server.host.path, "kea.json")) as file:
        return file.read().splitlines()[number - 1]


def starts(server):
    """The warnings of a server that starts."""
    server.start()
    lines = log_lines(server, "FAILOVER_CONFIGURATION_RISKY")
    return [line.partition("FAILOVER_CONFIGURATION_RISKY ")[2] for line in lines]


def second(server, **changes):
    """Adds a relationship with another partner, over subnet 2."""
    first = parameters(server)["relationships"][0]
    other = copy.deepcopy(first) | {"name": "fo2", "subnets": [2], **changes}
    if "peers" not in changes:
        other["peers"][1] |= {"name": "server3", "address": "10.98.0.3"}
    for key in [key for key, value in other.items() if value is None]:
        del other[key]
    parameters(server)["relationships"].append(other)
    server.config["Dhcp4"]["subnet4"].append(subnet(2, "10.66.0.0/24", ["10.66.0.50 - 10.66.0.59"]))


def checked(server):
    """(exit code, what it says) of kea-dhcp4 -t with the server's configuration."""
    server.write_config()
    server.spawn([server.host.program(server.name), "-t", f"{server.host.self_path}/kea.json"],
                 environment(server.host))
    code = server.process.wait(10)
    server.process = None
    return code, server.log.text()
