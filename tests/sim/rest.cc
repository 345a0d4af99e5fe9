// SPDX-License-Identifier: MPL-2.0
#include "rest.h"

using failover_test::dotted;

namespace failover_sim {

constexpr int64_t SECOND = 1000;

int64_t Rest::longest_wait() const {
    return (int64_t(checks_.mclt_max) + checks_.skew() + stepped) * SECOND;
}

void Rest::take_faults_away() {
    world_.note("every fault is taken away");
    world_.mend();
    if (checks_.skew() > 50) {
        for (Machine &m : world_.machines()) {
            m.wall_ahead = 0;
        }
    }
    // Who went on in PARTNER-DOWN starts first.
    for (bool alone : {true, false}) {
        for (Machine &m : world_.machines()) {
            if (!m.runs() && checks_.is_alone(m) == alone) {
                world_.start(m);
            }
        }
    }
    for (Machine &m : world_.machines()) {
        failover_state state = m.state() == FAILOVER_STARTUP ? m.state_on_disk() : m.state();
        if (state == FAILOVER_SHUTDOWN) {
            world_.kill(m, Scene::Death::PROCESS);
            world_.start(m);
        } else if (failover_get_record(m.server->core_)->link_held_down) {
            bool serves = state == FAILOVER_NORMAL || state == FAILOVER_COMMUNICATIONS_INTERRUPTED;
            failover_plan plan = world_.force(m, serves ? FAILOVER_NORMAL : FAILOVER_STARTUP, false, 0);
            world_.note(std::string(m.name()) + " is let go: " + plan.text);
        }
    }
}

void Rest::find_back() {
    int64_t startup_delay = world_.machine(0).server->config_.startup_delay;
    int64_t limit = world_.ms + longest_wait() + 3 * 5 * SECOND + startup_delay * SECOND + 10 * SECOND;
    while (!world_.is_over() && world_.ms < limit) {
        if (world_.machine(0).state() == FAILOVER_NORMAL && world_.machine(1).state() == FAILOVER_NORMAL) {
            return;
        }
        world_.run_until(world_.ms + SECOND / 4);
    }
    world_.fail("L1: they don't come back to normal within the MCLT and three retries");
}

void Rest::find_clashes() {
    std::vector<uint32_t> twice = checks_.held_twice();
    if (world_.is_over() || twice.empty()) {
        return;
    }
    world_.run_until(world_.ms + 20 * SECOND);
    bool still = !checks_.held_twice().empty();
    if (still && checks_.clashes() == 0 && stepped == 0) { // by a clock that was set, one of them may be over
        world_.fail("S1: " + dotted(twice.front()) + " is held by two clients, and no server has found that");
    }
}

void Rest::come_to_rest() {
    if (world_.is_over()) {
        return;
    }
    world_.run_until(world_.ms + 130 * SECOND);
    check();
    uint32_t lifetime = world_.machine(0).server->desired_;
    world_.run_until(world_.ms + 2 * int64_t(lifetime) * SECOND + 3 * longest_wait() + 300 * SECOND);
    check();
    if (!world_.is_over()) {
        checks_.balanced();
    }
    uint64_t before = checks_.updates();
    world_.run_until(world_.ms + 200 * SECOND);
    if (!world_.is_over() && checks_.updates() != before) {
        world_.fail("S5: rebalancing goes on and on");
    }
}

// Leases still end and addresses are given away now and then: but soon nothing is on its way any more.
void Rest::check() {
    int64_t limit = world_.ms + 60 * SECOND;
    while (!world_.is_over() && !checks_.has_drained()) {
        if (world_.ms >= limit) {
            world_.fail("L3: the updates of " + std::string(world_.machine(0).name()) + " or " +
                        world_.machine(1).name() + " don't drain");
        }
        world_.run_until(world_.ms + 50);
    }
    if (!world_.is_over()) {
        checks_.of_one_mind();
    }
}

} // namespace failover_sim
