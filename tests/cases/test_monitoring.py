# SPDX-License-Identifier: MPL-2.0
"""Trouble reports about monitoring: C54, C55."""
import re
import socket
import time

from client import Ack
from hook import (addresses_of, force, log_lines, normal_pair, pair_config, serve, states, status, wait_known,
                  wait_quiet, wait_states)
from kea import kea_hook
from process import wait_until
from testbed import LINK_ADDRESSES

POOL = addresses_of(32)
LBMAX = 3


# --- C54: totals doubled, free leases shown as active -----------------------------------------------------------------

def test_c54_what_dashboards_count(bed, library):
    """Tools took free and backup addresses for active leases, or died of a state they didn't know. Here the lease
    database holds what clients hold and nothing else, on both servers alike; what failover knows besides stands apart.

    By the design a replica carries no user-context and no owner, and there is no count of "served here": whose an
    address is, failover-binding says. The sum over both servers counts each lease twice, as with libdhcp_ha."""
    hooks = [(library, bed.failover_parameters()), (kea_hook("libdhcp_stat_cmds.so"), None)]
    pair = primary, secondary = normal_pair(bed, library, hooks=hooks)
    leases = {bed.client(role).dora().address for role in ("primary", "secondary") for _ in range(5)}
    wait_quiet(*pair)
    for server, other in (primary, secondary), (secondary, primary):
        rows = server.leases()
        assert set(rows) == leases
        assert all(row["state"] == 0 and "user-context" not in row for row in rows.values())
        assert rows == other.leases()
        result = server.query("stat-lease4-get", subnet_id=1)["result-set"]
        row, = [dict(zip(result["columns"], row)) for row in result["rows"]]
        assert (row["total-addresses"], row["assigned-addresses"], row["declined-addresses"]) == (32, 10, 0)
        now = status(server)["bindings"]
        assert (now["active"], now["free-mine"], now["free-partners"]) == (10, 11, 11)
    assert sum(server.statistics("subnet[1].assigned-addresses") for server in pair) == 20


def test_c54_what_parsers_meet(bed, library):
    """status-get and statistic-get-all have all that plain Kea's have, and ours beside it in places of its own: Stork
    looks for "high-availability", an exporter for `subnet[ID].NAME`."""
    plain = bed.kea("srv1", bed.kea_config(subnets=None))
    plain.start()
    wanted_status, wanted_statistics = set(plain.query("status-get")), set(plain.query("statistic-get-all"))
    plain.stop()
    bed.programs.remove(plain)
    for server in normal_pair(bed, library):
        answer = server.query("status-get")
        assert set(answer) == wanted_status | {"failover"} and "high-availability" not in answer
        assert all(isinstance(item["name"], str) and isinstance(item["since"], int) for item in answer["failover"])
        statistics = server.query("statistic-get-all")
        assert wanted_statistics <= set(statistics)
        ours = {name for name in set(statistics) - wanted_statistics if not name.startswith("subnet[")}
        assert len(ours) > 10 and all(re.fullmatch(r"failover\[fo\]\.[a-z-]+", name) for name in ours)
        assert all(isinstance(statistics[name][0][0], int) for name in ours)


# --- C55: process alive, service dead ---------------------------------------------------------------------------------

def test_c55_the_port_is_in_use_at_the_start(bed, library):
    """After an update something else had the port, and the daemon idled for hours with a warning. It is an error here,
    in the status too, tried again until it works; and this server can still dial."""
    primary, secondary = (bed.kea(host, pair_config(bed, library)) for host in ("srv1", "srv2"))
    with primary.host.namespace.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind((LINK_ADDRESSES["srv1"], 647))
        other.listen()
        bed.start_all(primary, secondary)
        line, = log_lines(primary, "cannot listen for the partner")
        assert "ERROR" in line and "10.98.0.1 port 647" in line and "Address already in use" in line
        assert status(primary)["listening"] is False and status(secondary)["listening"] is True
        wait_states("normal/normal", primary, secondary)
        other.close()
        wait_until(lambda: status(primary)["listening"], 8, "it is tried again")
    assert primary.log.find("INFO.*listens for the partner now")
    assert len(log_lines(primary, "cannot listen")) == 1 and states(primary, secondary) == "normal/normal"


def test_c55_no_dhcp_socket_while_failover_says_normal(bed, library):
    """The case wants the hook to tell the partner when Kea has no open sockets; that was for decision, and the design
    doesn't have it. What it has: nobody is left to a server that doesn't answer. The partner serves those clients when
    they have waited for load-balance-max-seconds, renews everybody's leases, and gets more addresses from the deaf
    server, which is there but for its clients. And an operator can take the deaf server out with one command."""
    pair = primary, secondary = normal_pair(bed, library, {"load_balance_max_seconds": LBMAX})
    client = bed.client("primary")
    lease = client.dora()
    wait_known(secondary, lease)
    primary.host.namespace.ip("link set eth0 down")
    primary.reload()
    wait_states("normal/normal", *pair)
    assert primary.log.find("DHCPSRV_(OPEN_SOCKET_FAIL|NO_SOCKETS_OPEN)|DHCP4_OPEN_SOCKETS_FAILED")
    begin = time.monotonic()
    newcomer = bed.client("primary")
    assert newcomer.discover(to=secondary) == []
    wait_until(lambda: newcomer.discover(to=secondary), 2 * LBMAX, "it is helped")
    assert time.monotonic() - begin > LBMAX - 0.1
    assert isinstance(serve(newcomer, secondary), Ack)
    assert isinstance(client.renew(lease, server=secondary), Ack)
    force(primary, "shutdown")
    wait_states("shutdown/partner-down", *pair)
    assert bed.client("primary").discover(to=secondary, secs=0)
