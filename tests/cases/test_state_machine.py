# SPDX-License-Identifier: MPL-2.0
"""A trouble report about the state machine: C12, a second node that will not serve until it sees the first."""
from client import Ack, Silence
from hook import (addresses_of, force, log_lines, lose, normal_pair, owned, pair_config, pending, serve, states, status,
                  wait_known, wait_quiet, wait_states, wait_time)
from process import wait_until

POOL = addresses_of(32)
MCLT, STARTUP = 4, 6


def test_c12_a_reboot_without_the_partner(bed, library):
    """The saved state is normal, the partner is away: silent for startup-delay at most, then in
    communications-interrupted with its own share."""
    primary, secondary = normal_pair(bed, library, {"mclt": 60, "startup_delay": STARTUP})
    client = bed.client("secondary")
    lease = client.dora()
    wait_known(primary, lease)
    wait_quiet(primary, secondary)
    share = owned(secondary, POOL)
    lose(primary, secondary)
    secondary.kill9()
    secondary.start()
    assert states(secondary) == "startup" and 0 <= pending(secondary)["end of startup"] <= STARTUP
    assert isinstance(client.rebind(lease), Silence) and bed.client().discover(secs=10) == []
    wait_states("communications-interrupted", secondary, timeout=STARTUP + 1)
    assert owned(secondary, POOL) == share
    assert serve(bed.client("primary"), secondary).address in share
    assert isinstance(client.rebind(lease), Ack)


def test_c12_no_record_and_no_partner(bed, library):
    """A cookbook shipped a kludge to get past this. A server without a record can't know what its partner has promised:
    it stays in recover, silent, and its log says why and names the command once a minute.

    The way out is an order, as in the case, by the design's force-state partner-down. The MCLT counts from the order,
    and the answer says when service starts and at what price."""
    server = bed.kea("srv2", pair_config(bed, library, {"mclt": MCLT, "startup_delay": 1}))
    server.start()
    wait_states("recover", server)
    client = bed.client()
    assert client.discover(secs=10) == []
    assert "silent" in status(server)["why"]
    refusal = server.command("force-state", state="normal", override=True)
    assert refusal["result"] == 4 and "force-state partner-down" in refusal["text"]
    assert states(server) == "recover", "nothing else leads out"

    server.wait_log("in recover and silent", 60)
    line, = log_lines(server, "in recover and silent")
    assert "WARN" in line and "force-state partner-down" in line and "data is needed" in line
    assert states(server) == "recover" and client.discover(secs=100) == []

    answer = force(server, "partner-down")
    effects = " ".join(answer["effects"])
    assert f"one of 0 own free addresses at once, and one of the other 32 free ones in {MCLT} s" in effects
    assert "no record" in effects and "given out twice" in effects
    assert client.discover(secs=10) == []
    assert 0 < pending(server)["partner's free addresses (STOS + MCLT)"] <= MCLT
    wait_until(lambda: client.discover(secs=10), MCLT + 2, "it serves")
    lease = client.dora()
    assert lease.at >= answer["since"] + MCLT and lease.lifetime <= MCLT
    wait_time(lease.at + 1)
    assert isinstance(client.renew(lease), Ack)
