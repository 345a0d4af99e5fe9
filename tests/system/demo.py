# SPDX-License-Identifier: MPL-2.0
"""Two Kea servers with the hook, a real client and an operator with curl: what happens, line by line.

Every line is checked before it is printed; the first that isn't so ends the demonstration with an error. The client is
busybox's udhcpc, which renews by itself at half of its lease.
"""
import json
import subprocess
import sys
import time

from hook import ends, pair_config, roles, serve, small, status, wait_states
from packet import load_balance_bucket, mac_bytes
from process import wait_until
from real_clients import Udhcpc
from testbed import Testbed

MCLT = 16          # busybox takes no lease for a shorter one
LEASE = 36
POOL = 8
START = time.monotonic()


def show(text):
    print(f"{time.monotonic() - START:6.1f} s  {text}", flush=True)


def check(holds, otherwise):
    if not holds:
        sys.exit(f"NOT SO: {otherwise}")


def curl(server, command, **arguments):
    """One command to a server's control agent, by REST as an operator would."""
    body = json.dumps({"command": command, "service": ["dhcp4"], "arguments": arguments})
    url = f"http://{server.host.address}:8000/"
    done = subprocess.run(["ip", "netns", "exec", server.host.namespace.name, "curl", "-sS", "-X", "POST", "-H",
                           "Content-Type: application/json", "-d", body, url], capture_output=True, text=True)
    check(done.returncode == 0, f"curl to {url}: {done.stderr}")
    return json.loads(done.stdout)[0]


def force(server, state, **arguments):
    answer = curl(server, "force-state", state=state, **arguments)
    check(answer["result"] == 0, f"force-state {state}: {answer}")
    return answer["arguments"]


def lifetime_near(event, wanted):
    """The client and the server don't read their clocks in the same moment."""
    return wanted - 2 <= event.lifetime <= wanted


def wait_told(server, lease):
    """The partner has been told of the lease, up to its present end."""
    wait_until(lambda: ends(server, lease.address) >= time.time() + lease.lifetime - 3, 5,
               f"the partner knows the lease of {lease.address}")


def primarys_client(bed):
    """udhcpc on a host whose client identifier load balancing leaves to the primary."""
    while True:
        client = Udhcpc(bed)
        if load_balance_bucket(b"\1" + mac_bytes(client.mac)) < 128:
            return client


def in_normal(client, secondary):
    """A lease and its renewal, both known to both; the address."""
    client.start()
    first = client.wait_bound()
    check(lifetime_near(first, MCLT), f"the first lease is for {first.lifetime} s")
    wait_told(secondary, first)
    show(f"a new client gets {first.address} for {first.lifetime} s (the MCLT), and both servers know it")
    renewed = client.wait_event("renew")
    check(lifetime_near(renewed, LEASE), f"the renewal in normal is for {renewed.lifetime} s")
    wait_told(secondary, renewed)
    show(f"it renews: {renewed.lifetime} s, the configured lease time, since the partner has acknowledged the lease")
    return first.address


def interrupted(bed, client, primary, secondary, address):
    """The link is cut and the partner gone: one renewal, then another address."""
    bed.link.cut()
    wait_states("communications-interrupted/communications-interrupted", primary, secondary)
    show("the link between the servers is cut: communications-interrupted on both, and both serve")
    secondary.stop()
    renewed = client.wait_event("renew", after=1)
    left = LEASE - LEASE // 2
    check(renewed.address == address and abs(renewed.lifetime - (left + MCLT)) < 3,
          f"the first renewal while interrupted: {renewed}, with {left} s left")
    show(f"the partner's host fails; the client's first renewal: {renewed.lifetime} s, what was left plus the MCLT")
    client.wait_event("nak")
    other = client.wait_event("bound", after=1)
    check(other.address != address and lifetime_near(other, MCLT), f"after the DHCPNAK it has {other}")
    show(f"its second renewal is refused (DHCPNAK), and it gets {other.address} for {other.lifetime} s instead")


def partner_down(bed, primary):
    """Forced by the operator: first the own addresses, after the MCLT the whole pool."""
    refused = curl(primary, "force-state", state="normal")
    check(refused["result"] == 4, f"force-state normal without a partner: {refused}")
    show(f"curl: force-state normal -> result 4: {refused['text'].split(',')[0]}")
    forced = force(primary, "partner-down")
    check(forced["state"] == "partner-down" and forced["role"] == "primary", f"{forced}")
    show(f"curl: force-state partner-down -> {forced['state']}, role {forced['role']}")
    crowd = [bed.client() for _ in range(POOL)]
    at_once = [one for one in crowd if serve(one, primary)]
    check(0 < len(at_once) < POOL // 2, f"{len(at_once)} of {POOL} new clients got an address at once")
    wait_until(lambda: not status(primary)["pending"], MCLT + 5, "STOS + MCLT is over")
    later = [one for one in crowd if one not in at_once and serve(one, primary)]
    check(len(later) >= POOL // 2, f"only {len(later)} more clients got an address after the MCLT")
    show(f"of {POOL} new clients {len(at_once)} get its own addresses at once, {len(later)} more the partner's after "
         f"the MCLT: the whole pool")


def partner_returns(bed, primary, secondary):
    bed.link.mend()
    secondary.start()
    secondary.wait_log("state startup -> recover", timeout=20)
    show("the partner returns by way of recover: silent, while the first sends it everything and serves on")
    wait_states("normal/normal", primary, secondary, timeout=60)
    check(roles(primary, secondary) == "primary/secondary", f"roles {roles(primary, secondary)}")
    show("both servers are back: normal/normal")


def planned_shutdown(primary, secondary):
    force(primary, "shutdown")
    wait_states("shutdown/partner-down", primary, secondary, timeout=5)
    wait_until(lambda: roles(primary, secondary) == "secondary/primary", 5, lambda: f"roles {roles(primary, secondary)}")
    show("curl: force-state shutdown on the first -> the second is told, goes to partner-down and is primary now")


def demonstrate(bed, library):
    primary, secondary = bed.kea_pair(pair_config(bed, library, {"mclt": MCLT}, valid_lifetime=LEASE,
                                                  subnets=[small(POOL)]))
    primary.rest("failover-status")     # starts its control agent
    wait_states("normal/normal", primary, secondary)
    free = status(primary)["bindings"]
    check(free["free-mine"] == free["free-partners"] == POOL // 2, f"the pool is not divided: {free}")
    show(f"two Kea servers with one configuration: normal/normal, and each owns half of the {POOL} addresses")
    client = primarys_client(bed)
    address = in_normal(client, secondary)
    interrupted(bed, client, primary, secondary, address)
    partner_down(bed, primary)
    partner_returns(bed, primary, secondary)
    planned_shutdown(primary, secondary)


def main():
    with Testbed() as bed:
        try:
            demonstrate(bed, sys.argv[1])
        except BaseException:
            for title, text in bed.logs():
                print(f"--- {title}\n{text}", file=sys.stderr)
            raise
    print("all of it was so")


if __name__ == "__main__":
    main()
