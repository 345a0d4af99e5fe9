# SPDX-License-Identifier: MPL-2.0
"""What servers still know after a crash, a restart, a reconfiguration, or the loss of a database."""
import contextlib
import glob
import os
import re
import subprocess
import time

import pytest

from client import Ack, Nak, Silence
from hook import (DATABASE, addresses_of, binding, ends, force, held_down, let_go, log_lines, normal_pair, owned,
                  pair_config, pending, roles, serve, small, states, status, used_up, wait_known, wait_on_disk,
                  wait_quiet, wait_same_view, wait_states, wait_time, wipe)
from process import wait_until
from rush import Rush

MCLT = 5
POOL = addresses_of(32)


@pytest.fixture(params=[0, 4], ids=["single-threaded", "multi-threaded"])
def threads(request):
    return request.param


@pytest.fixture(params=["config-reload", "config-set"])
def how(request):
    return request.param


def remove(server, *patterns):
    """A server that is not running loses these files."""
    assert not server.is_alive()
    for pattern in patterns:
        for path in glob.glob(os.path.join(server.host.path, pattern)):
            os.remove(path)


def lose_database(server):
    remove(server, DATABASE, f"{DATABASE}-*")


def lose_leases(server):
    remove(server, "leases4.csv*")


def given(bed, pair, count=3):
    """{client: lease}: leases of both servers, for the configured time, known to both."""
    clients = [bed.client(role) for role in ("primary", "secondary") for _ in range(count)]
    leases = {client: client.dora() for client in clients}
    wait_quiet(*pair)
    leases = {client: client.renew(lease) for client, lease in leases.items()}
    assert all(isinstance(lease, Ack) for lease in leases.values())
    wait_quiet(*pair)
    return leases


def assert_kept(pair, leases):
    """Both servers know these leases, in both their databases, and extend them."""
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for client, lease in leases.items():
        for server in pair:
            held = binding(server, lease.address)
            assert (held["binding-state"], held["hw-address"]) == ("ACTIVE", client.mac), f"{server}: {held}"
            assert ends(server, lease.address) >= lease.ends - 2
            assert server.leases()[lease.address]["hw-address"] == client.mac
            answer = client.renew(lease, server=server)
            assert isinstance(answer, Ack) and answer.address == lease.address
            wait_quiet(*pair)
    for server in pair:
        assert server.statistics("subnet[1].assigned-addresses") == len(server.leases())


# --- under load ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("policy, threads", [("replace", 4), ("extend", 0)])
def test_link_lost_under_load(bed, library, policy, threads):
    """Both serve, without a word to each other, and meet again; a pool that is nearly used up."""
    pair = normal_pair(bed, library, {"interrupted_leases": policy, "mclt": 4}, valid_lifetime=6, threads=threads,
                       subnets=[small(16)])
    with Rush(bed) as rush:
        for number in range(4):
            held_down(pair[number % 2], pair[1 - number % 2])
            rush.wait_acks(20, or_else=lambda: used_up(*pair))
            let_go(pair[number % 2], pair[1 - number % 2])
    rush.check(pair, addresses_of(16))


def test_reconfigured_under_load(bed, library, threads, how):
    pair = normal_pair(bed, library, {"mclt": 4}, valid_lifetime=6, threads=threads)
    marks = [server.log.mark() for server in pair]
    with Rush(bed) as rush:
        for number in range(8):
            pair[number % 2].reload(how=how)
            if number % 3 == 0:
                wait_states("normal/normal", *pair)
        wait_states("normal/normal", *pair)
        rush.wait_acks(10)
    rush.check(pair)
    for server, mark in zip(pair, marks):
        assert not log_lines(server, "(->|goes on in) (startup|recover|partner-down|potential-conflict)", mark)


# --- restarts -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("end", ["kill -9", "clean stop"])
@pytest.mark.parametrize("which", [0, 1], ids=["primary", "secondary"])
def test_restart(bed, library, which, end):
    pair = normal_pair(bed, library)
    leases = given(bed, pair)
    server = pair[which]
    if end == "kill -9":
        server.kill9()
        server.start()
    else:
        server.restart()
    wait_states("normal/normal", *pair)
    assert not log_lines(server, "recover"), "it knows where it was"
    assert_kept(pair, leases)
    free = [status(one)["bindings"] for one in pair]
    assert free[0]["free-mine"] + free[1]["free-mine"] + len(leases) == len(POOL)


def test_both_killed_and_restarted(bed, library, threads):
    pair = normal_pair(bed, library, threads=threads)
    leases = given(bed, pair)
    shares = [owned(server, POOL) for server in pair]
    for server in pair:
        server.kill9()
    bed.start_all(*pair)
    wait_states("normal/normal", *pair)
    assert [owned(server, POOL) for server in pair] == shares
    assert_kept(pair, leases)


def test_power_fails_on_both_and_one_returns(bed, library):
    """From normal, by way of startup, to communications-interrupted; never to more."""
    pair = primary, secondary = normal_pair(bed, library)
    leases = given(bed, pair)
    bed.link.cut()
    for server in pair:
        server.kill9()
    secondary.start()
    assert states(secondary) == "startup" and bed.client().discover(to=secondary, secs=10) == []
    wait_states("communications-interrupted", secondary)
    client, lease = next(iter(leases.items()))
    assert isinstance(client.renew(lease, server=secondary), Ack)
    assert isinstance(serve(bed.client(), secondary), Ack)
    bed.link.mend()
    primary.start()
    wait_states("normal/normal", *pair)
    assert_kept(pair, leases)


@pytest.mark.parametrize("which", [0, 1], ids=["primary", "secondary"])
def test_partner_down_survives_with_its_start_and_the_role(bed, library, which):
    pair = normal_pair(bed, library, {"mclt": MCLT, "startup_delay": 1})
    leases = given(bed, pair)
    server, other = pair[which], pair[1 - which]
    other.stop()
    forced = force(server, "partner-down")
    for restart in server.kill9, server.stop:
        restart()
        server.start()
        assert states(server) == "startup"
        wait_states("partner-down", server)
        now = status(server)
        assert (now["since"], now["role"]) == (forced["since"], "primary")
        whole_pool = [seconds for step, seconds in pending(server).items() if "STOS + MCLT" in step]
        left = forced["since"] + MCLT - time.time()
        assert (len(whole_pool) == 1) == (left > 0) or abs(left) < 1.5
    server.reload()
    assert (states(server), status(server)["since"], roles(server)) == ("partner-down", forced["since"], "primary")
    wait_time(forced["since"] + MCLT + 1)
    crowd = [serve(bed.client(), server) for _ in range(len(POOL) - len(leases))]
    assert all(isinstance(lease, Ack) for lease in crowd), "the whole pool, counted from the first start of the state"
    other.start()
    wait_states("normal/normal", *pair, timeout=40)
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)
    for _ in range(2):
        assert (roles(server), roles(other)) == ("primary", "secondary"), "the acting role lasts"
        for one in pair:
            one.kill9()
        bed.start_all(*pair)
        wait_states("normal/normal", *pair)


def test_hold_on_the_link_survives(bed, library):
    pair = primary, secondary = normal_pair(bed, library, {"startup_delay": 1})
    held_down(*pair)
    for restart in primary.kill9, primary.stop:
        restart()
        primary.start()
        wait_states("communications-interrupted/communications-interrupted", *pair)
        assert status(primary)["link"] == "held-down"
    primary.reload()
    assert (states(primary), status(primary)["link"]) == ("communications-interrupted", "held-down")
    let_go(*pair)


def test_marks_of_an_interruption_survive(bed, library):
    """`replace`: extended once is extended once, however often the server is killed in between."""
    pair = primary, secondary = normal_pair(bed, library, {"startup_delay": 1})
    leases = given(bed, pair, count=2)
    held_down(*pair)
    new = bed.client()
    of_now = new.dora(server=primary)
    once, never = list(leases)[:2]
    renewed = once.renew(leases[once], server=primary)
    assert isinstance(renewed, Ack)
    wait_on_disk(primary, of_now)
    wait_on_disk(primary, renewed)
    primary.kill9()
    primary.start()
    wait_states("communications-interrupted", primary)
    assert isinstance(once.renew(renewed, server=primary), Nak)
    assert isinstance(new.renew(of_now, server=primary), Nak)
    assert isinstance(never.renew(leases[never], server=primary), Ack)
    let_go(*pair)
    wait_quiet(*pair)
    assert isinstance(never.renew(leases[never], server=primary), Ack), "entering normal clears the marks"


def test_shutdown_ends_with_a_new_process(bed, library):
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 3})
    leases = given(bed, pair)
    force(primary, "shutdown")
    wait_states("shutdown/partner-down", *pair)
    primary.reload()
    assert states(primary) == "shutdown"
    primary.restart()
    assert states(primary) in ("startup", "recover", "recover-wait")
    assert bed.client().discover(to=primary, secs=10) == []
    wait_states("normal/normal", *pair)
    assert_kept(pair, leases)
    assert roles(*pair) == "secondary/primary"


# --- reconfigurations --------------------------------------------------------------------------------------------------

def test_reconfigured_in_normal(bed, library, how, threads):
    pair = normal_pair(bed, library, threads=threads)
    leases = given(bed, pair)
    for server in pair * 2:
        mark = server.log.mark()
        server.reload(how=how)
        assert states(server) in ("communications-interrupted", "normal"), "not in startup"
        client, lease = next(iter(leases.items()))
        assert isinstance(client.renew(lease, server=server), Ack), "no client waits for it"
        wait_states("normal/normal", *pair)
        assert not log_lines(server, "(->|goes on in) (startup|recover)", mark)
        wait_quiet(*pair)
    assert_kept(pair, leases)


def test_reconfigured_while_interrupted(bed, library, how):
    pair = primary, secondary = normal_pair(bed, library)
    leases = given(bed, pair, count=2)
    secondary.stop()
    wait_states("communications-interrupted", primary)
    since = status(primary)["since"]
    client, lease = next(iter(leases.items()))
    renewed = client.renew(lease, server=primary)
    primary.reload(how=how)
    assert (states(primary), status(primary)["since"]) == ("communications-interrupted", since)
    assert isinstance(client.renew(renewed, server=primary), Nak), "extended before the reconfiguration"
    assert isinstance(serve(bed.client(), primary), Ack)
    secondary.start()
    wait_states("normal/normal", *pair)


def test_reconfigured_in_shutdown_and_recover(bed, library, how):
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 6})
    leases = given(bed, pair)
    force(primary, "shutdown")
    wait_states("shutdown/partner-down", *pair)
    since = status(primary)["since"]
    primary.reload(how=how)
    assert (states(primary), status(primary)["since"]) == ("shutdown", since)
    assert bed.client().discover(to=primary, secs=10) == []
    force(primary, "recover")
    wait_states("recover-wait/partner-down", *pair)
    before = status(primary)
    over = pending(primary)["end of recover-wait"]
    primary.reload(how=how)
    assert (states(primary), status(primary)["since"]) == ("recover-wait", before["since"])
    # Whole seconds of two clocks are compared: it may be rounded otherwise than before.
    assert over - 2 <= pending(primary)["end of recover-wait"] <= over + 1
    assert bed.client().discover(to=primary, secs=10) == []
    client, lease = next(iter(leases.items()))
    assert isinstance(client.renew(lease, server=primary), Silence)
    wait_states("normal/normal", *pair)
    assert_kept(pair, leases)


def test_reconfigured_with_another_pool(bed, library):
    """What is in no pool any more is dropped with a word; what is new is the configured primary's."""
    pair = normal_pair(bed, library, subnets=[small(16)])
    leases = given(bed, pair, count=1)
    for server in pair:
        server.reload(pair_config(bed, library, subnets=[small(32)]))
    wait_states("normal/normal", *pair)
    wait_quiet(*pair)
    assert sum(status(server)["bindings"]["free-mine"] for server in pair) == 32 - len(leases)
    assert_kept(pair, leases)
    for server in pair:
        server.reload(pair_config(bed, library, subnets=[small(4, number=1)]))
        assert len(log_lines(server, "WARN.*in no pool any more")) <= 1
    wait_states("normal/normal", *pair)
    bindings = [status(server)["bindings"] for server in pair]
    assert sum(sum(one[name] for name in ("free-mine", "free-partners", "active")) for one in bindings) == 8, bindings


def test_hook_removed_and_loaded_again(bed, library):
    """Unloaded it leaves nothing behind; leases made meanwhile are found at the next load."""
    pair = primary, secondary = normal_pair(bed, library)
    config = primary.config
    without = bed.kea_config()
    before = len(os.listdir(f"/proc/{primary.pid}/fd"))
    primary.reload(without)
    assert primary.command("failover-status")["result"] == 2
    wait_states("communications-interrupted", secondary)
    assert len(os.listdir(f"/proc/{primary.pid}/fd")) < before
    client = bed.client()
    address = owned(secondary, POOL)[0]
    mine = [one for one in POOL if one not in owned(secondary, POOL)][5]
    assert address != mine
    lease = client.request(client.discover(hint=mine, to=primary)[0])
    assert lease.address == mine and lease.lifetime == 600
    primary.reload(config)
    wait_states("normal/normal", *pair)
    wait_known(secondary, lease)
    assert binding(secondary, mine)["hw-address"] == client.mac
    wait_quiet(*pair)
    wait_same_view(*pair, POOL)


def test_hook_removed_while_kea_holds_rows_that_it_made(bed, library):
    """Kea destroys them when the library is no more in memory."""
    pair = normal_pair(bed, library)
    leases = [bed.client(role).dora() for role in ("primary", "secondary") * 3]
    for lease in leases:
        for server in pair:
            wait_known(server, lease)
    for server in pair:
        server.reload(bed.kea_config())
        server.reload()
        assert server.leases().keys() == {lease.address for lease in leases}


def descriptors(server):
    """What each open descriptor is, without the numbers of sockets."""
    folder = f"/proc/{server.pid}/fd"
    return sorted(os.readlink(f"{folder}/{number}").split("[")[0] for number in os.listdir(folder))


def memory(server):
    """Resident kB."""
    with open(f"/proc/{server.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


def test_thirty_reconfigurations_leak_nothing(bed, library, threads):
    pair = primary, secondary = normal_pair(bed, library, threads=threads, subnets=[small(1000, number=1)])

    def reconfigure(times):
        for _ in range(times):
            primary.reload()
            wait_states("normal/normal", *pair)
        wait_quiet(*pair)
        return memory(primary), len(os.listdir(f"/proc/{primary.pid}/task"))
    used, tasks = reconfigure(10)
    opened = descriptors(primary)
    used_later, tasks_later = reconfigure(20)
    assert tasks_later == tasks
    # Those of commands just answered are closed a moment later.
    wait_until(lambda: len(descriptors(primary)) <= len(opened), 5, lambda: f"{opened}; {descriptors(primary)}")
    wait_until(lambda: len(descriptors(secondary)) <= len(opened) + 1, 5, lambda: f"{opened}; {descriptors(secondary)}")
    assert used_later - used < 4000, f"{used} kB, and 20 reconfigurations later {used_later}"


# --- lost databases ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("which", [0, 1], ids=["primary", "secondary"])
@pytest.mark.parametrize("lose", [lose_database, wipe], ids=["failover database", "all databases"])
def test_partner_loses_its_database(bed, library, which, lose):
    """It recovers: silent until it has been told everything and the MCLT is over, while the other one serves."""
    pair = normal_pair(bed, library, {"mclt": 4})
    leases = given(bed, pair)
    server, other = pair[which], pair[1 - which]
    server.stop()
    lose(server)
    started = time.time()
    server.start()
    asked = 0
    while states(server) != "normal":
        recovering = states(server)
        offers = bed.client().discover(secs=10)
        assert [offer.source for offer in offers if states(server) != "normal"] in ([other.host.address], [])
        asked += recovering in ("recover", "recover-wait")
        assert time.time() < started + 20
    assert asked > 2 and time.time() >= started + 3
    assert log_lines(server, "state recover -> recover-wait") and log_lines(other, "the partner asks for everything")
    wait_states("normal/normal", *pair)
    assert_kept(pair, leases)


def test_partner_loses_its_database_while_the_other_is_in_partner_down(bed, library):
    pair = primary, secondary = normal_pair(bed, library, {"mclt": 4})
    leases = given(bed, pair)
    primary.stop()
    wipe(primary)
    force(secondary, "partner-down")
    late = bed.client()
    leases[late] = serve(late, secondary)
    primary.start()

    def in_normal():
        assert isinstance(late.renew(leases[late]), Ack)     # for the MCLT each time
        return states(*pair) == "normal/normal"
    wait_until(in_normal, 20, lambda: f"normal/normal, but {states(*pair)}")
    assert log_lines(primary, "state recover -> recover-wait")
    assert_kept(pair, leases)
    assert roles(*pair) == "secondary/primary", "it learns who is primary too"


def test_kea_loses_its_leases(bed, library):
    """The rows come back from the bindings, with their counters."""
    pair = primary, _ = normal_pair(bed, library)
    leases = given(bed, pair)
    primary.stop()
    lose_leases(primary)
    primary.start()
    assert sorted(primary.leases()) == sorted(lease.address for lease in leases.values())
    assert primary.statistics("subnet[1].assigned-addresses") == len(leases)
    wait_states("normal/normal", *pair)
    assert_kept(pair, leases)


def test_both_lose_their_failover_databases(bed, library):
    """As at first contact; the leases that Kea holds are adopted and told to the partner."""
    pair = normal_pair(bed, library)
    leases = given(bed, pair)
    late = bed.client()
    held_down(*pair)
    leases[late] = serve(late, pair[1])         # which the other one doesn't know
    for server in pair:
        server.stop()
        lose_database(server)
    bed.start_all(*pair)
    wait_states("normal/normal", *pair)
    for server in pair:
        assert log_lines(server, "WARN.*first contact: neither server has a record")
    assert_kept(pair, leases)


def test_alone_without_a_record(bed, library):
    """Silent for ever; an operator can end that, at the price that the answer names."""
    pair = primary, secondary = normal_pair(bed, library, {"mclt": MCLT, "startup_delay": 1})
    leases = given(bed, pair)
    for server in pair:
        server.stop()
    lose_database(primary)
    primary.start()
    wait_states("recover", primary)
    client, lease = next(iter(leases.items()))
    assert isinstance(client.renew(lease, server=primary), Silence)
    assert bed.client().discover(secs=10, to=primary) == []
    assert "silent until the partner has sent everything" in status(primary)["why"]
    answer = force(primary, "partner-down")
    assert any("no record" in effect for effect in answer["effects"])
    assert isinstance(client.renew(lease, server=primary), Ack), "a lease that Kea's database knew"
    assert bed.client().discover(secs=10, to=primary) == [], "no record, nothing owned"
    wait_time(answer["since"] + MCLT + 1)
    assert isinstance(serve(bed.client(), primary), Ack)


# --- clocks ---------------------------------------------------------------------------------------------------------------------

# Adds to the wall clock of a program what the file named in its environment says, and leaves the monotonic ones alone.
FALSE_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile long *offset;
static long get(void) {
    static long none;
    if (offset == NULL) {
        int fd = open(getenv("CLOCK_OFFSET"), O_RDONLY);
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
        offset = map == MAP_FAILED ? &none : map;
    }
    return *offset;
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += get();
    return result;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t != NULL) *t = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    tv->tv_sec = now.tv_sec;
    tv->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


class FalseClock:
    """A server's clock, that can be set; from its next start on."""

    def __init__(self, bed, server):
        source, library = (os.path.join(bed.path, f"clock.{kind}") for kind in ("c", "so"))
        with open(source, "w") as file:
            file.write(FALSE_CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self.path = os.path.join(bed.path, "offset")
        self.set(0)
        server.environment = {"LD_PRELOAD": library, "CLOCK_OFFSET": self.path}

    def set(self, seconds):
        """So much ahead of the test's own."""
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as file:
            file.write(int(seconds).to_bytes(8, "little", signed=True))


@contextlib.contextmanager
def clock_pair(bed, library, offset=0, parameters=None, **options):
    """(primary, secondary, the secondary's clock), started."""
    config = pair_config(bed, library, parameters, **options)
    primary, secondary = bed.kea("srv1", config), bed.kea("srv2", config)
    clock = FalseClock(bed, secondary)
    clock.set(offset)
    bed.start_all(primary, secondary)
    yield primary, secondary, clock


@pytest.mark.parametrize("offset", [45, -45])
def test_clocks_differ_a_little(bed, library, offset):
    with clock_pair(bed, library, offset) as (primary, secondary, _):
        wait_states("normal/normal", primary, secondary)
        wait_quiet(primary, secondary)
        assert abs(status(primary)["skew"] - offset) <= 1 and abs(status(secondary)["skew"] + offset) <= 1
        for server in primary, secondary:
            assert len(log_lines(server, "WARN.*the partner's clock is 4[456] s (ahead|behind)")) == 1
        client = bed.client("primary")
        lease = client.dora()
        assert lease.lifetime == 10, "the MCLT"
        wait_quiet(primary, secondary)
        for server in primary, secondary, primary:
            renewed = client.renew(lease, server=server)
            assert isinstance(renewed, Ack) and renewed.lifetime <= 600
            wait_quiet(primary, secondary)
        client.release(renewed)
        wait_quiet(primary, secondary)
        assert status(primary)["counters"]["clashes"] == 0


def test_clocks_differ_too_much(bed, library):
    """More than a minute is refused with the reason; it heals by itself when the clock is right again."""
    with clock_pair(bed, library, 90) as (primary, secondary, clock):
        for server in primary, secondary:
            server.wait_log("no connection with the partner: .*time (offset|mismatch) too (large|great)")
            assert "time" in status(server)["why"]
        clock.set(0)
        wait_states("normal/normal", primary, secondary)


def test_clock_jumps_ahead(bed, library):
    """No lease is ended by it and no wait cut short; the link is refused until the clock is right again."""
    with clock_pair(bed, library, subnets=[small(8)], valid_lifetime=60) as (primary, secondary, clock):
        wait_states("normal/normal", primary, secondary)
        wait_quiet(primary, secondary)
        leases = {client: client.dora() for client in (bed.client("secondary") for _ in range(2))}
        wait_quiet(primary, secondary)
        leases = {client: client.renew(lease) for client, lease in leases.items()}
        wait_quiet(primary, secondary)
        clock.set(1000)
        secondary.wait_log("WARN.*the clock has jumped by (999|1000|1001) s")
        wait_states("communications-interrupted/communications-interrupted", primary, secondary)
        for client, lease in leases.items():
            assert binding(secondary, lease.address)["binding-state"] == "ACTIVE"
            other = bed.client()
            assert lease.address not in [offer.address for offer in other.discover(hint=lease.address, to=secondary)]
            assert isinstance(other.init_reboot(lease.address, to=secondary), Nak)
        clock.set(0)
        wait_states("normal/normal", primary, secondary)
        wait_quiet(primary, secondary)
        for client, lease in leases.items():
            for server in primary, secondary:
                assert isinstance(client.renew(lease, server=server), Ack)
                wait_quiet(primary, secondary)
        assert status(secondary)["counters"]["clashes"] == 0
