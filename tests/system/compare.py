# SPDX-License-Identifier: MPL-2.0
"""Do both servers of a pair believe the same? Compares their bindings address by address."""
import dataclasses
import ipaddress
import math

from dhcpd import Dhcpd, DhcpdLease

# The names in the answer of the hook's command failover-binding, and the values of "owner" there.
COMMAND, ARGUMENT = "failover-binding", "ip-address"
FIELD_STATE, FIELD_OWNER, FIELD_ENDS = "binding-state", "owner", "ends"
FIELD_HARDWARE, FIELD_CLIENT_ID = "hw-address", "client-id"
OWNED_HERE, OWNED_THERE = "mine", "the partner's"
NEVER = "never"     # an end that doesn't come

OTHER_HOST = {"srv1": "srv2", "srv2": "srv1"}
FREE_STATES = ("free", "backup")


@dataclasses.dataclass
class Binding:
    """What one server says of one address. None: it doesn't say, or it doesn't matter in this state."""
    state: str                  # the draft's name; "free" also where the server spells it "backup"
    owner: str = None           # of a free address: the host whose it is to give
    ends: float = None          # of one that isn't free: Unix seconds
    hardware: str = None
    client_id: str = None       # hexadecimal


def kea_binding(kea, address):
    answer = kea.query(COMMAND, **{ARGUMENT: address})
    state = answer[FIELD_STATE].lower()
    if state in FREE_STATES:
        owners = {OWNED_HERE: kea.host.name, OWNED_THERE: OTHER_HOST[kea.host.name]}
        return Binding("free", owners[answer[FIELD_OWNER]])
    client_id = answer.get(FIELD_CLIENT_ID)
    ends = answer.get(FIELD_ENDS)
    return Binding(state, None, math.inf if ends == NEVER else ends, answer.get(FIELD_HARDWARE) or None,
                   client_id.replace(":", "").lower() if client_id else None)


def dhcpd_binding(lease, primary_host):
    """From a record of the lease file; primary_host is the host of the configured primary, whose FREE is."""
    if lease.state in FREE_STATES:
        return Binding("free", primary_host if lease.state == "free" else OTHER_HOST[primary_host])
    return Binding(lease.state, None, lease.ends, lease.hardware or None, lease.uid.hex() if lease.uid else None)


def view(server, addresses, primary_host="srv1"):
    """{address: Binding}, as this server sees it."""
    if isinstance(server, Dhcpd):
        leases = server.leases()
        # What nobody ever used is not in a lease file that dhcpd has written anew.
        unused = DhcpdLease("", "free")
        return {address: dhcpd_binding(leases.get(address, unused), primary_host) for address in addresses}
    return {address: kea_binding(server, address) for address in addresses}


def address_range(first, last):
    """All addresses of a pool."""
    first, last = (int(ipaddress.IPv4Address(address)) for address in (first, last))
    return [str(ipaddress.IPv4Address(number)) for number in range(first, last + 1)]


def differences(one, other, tolerance=2):
    """Of two views: a line for each field of each address on which they differ; ends may by `tolerance` s."""
    lines = []
    for address in sorted(one.keys() | other.keys(), key=ipaddress.IPv4Address):
        mine, theirs = one.get(address), other.get(address)
        if mine is None or theirs is None:
            lines.append(f"{address}: {mine} / {theirs}")
            continue
        for field in dataclasses.fields(Binding):
            left, right = getattr(mine, field.name), getattr(theirs, field.name)
            if not same(field.name, left, right, tolerance):
                lines.append(f"{address}: {field.name} {left} / {right}")
    return lines


def same(field, left, right, tolerance):
    if field == "ends" and None not in (left, right):
        return left == right or math.isfinite(left) and math.isfinite(right) and abs(left - right) <= tolerance
    return left == right


def assert_same_view(one, other, addresses, primary_host="srv1", tolerance=2):
    """Fails with all differences between two servers."""
    found = differences(view(one, addresses, primary_host), view(other, addresses, primary_host), tolerance)
    assert not found, f"{one} and {other} differ:\n" + "\n".join(found)
