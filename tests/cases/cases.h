// SPDX-License-Identifier: MPL-2.0
//
// Trouble that people had with DHCP failover, each report a test that bears its number in the log of cases. What a
// case says is right is what its test asserts, and where the design decides otherwise the test says so.
#ifndef FAILOVER_TESTS_CASES_H
#define FAILOVER_TESTS_CASES_H

#include <set>

#include "partner.h"
#include "story.h"

namespace failover_test {

constexpr failover_state NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED, PD = FAILOVER_PARTNER_DOWN,
                         RE = FAILOVER_RECOVER, RW = FAILOVER_RECOVER_WAIT, PC = FAILOVER_POTENTIAL_CONFLICT;

// The pool of most cases: .10 to .19, here .0 to .9 of POOL_FIRST.
constexpr uint32_t TEN = 10;

// Two servers in memory.
class Cases : public Story {
protected:
    bool both_in(failover_state state) {
        return p->state() == state && s->state() == state;
    }
    // The free addresses that are this server's, or the partner's.
    std::set<uint32_t> free_of(Server &x, failover_owner owner) {
        std::set<uint32_t> found;
        for (uint32_t a = x.first_; a <= x.last_; a++) {
            failover_binding b = x.binding(a);
            if (b.status == FAILOVER_FREE && b.owner == owner) {
                found.insert(a);
            }
        }
        return found;
    }
    // Seconds until a step that failover-status says is pending; -1 if it isn't.
    int64_t pending(Server &x, const std::string &what) {
        failover_status status = x.status(at(x));
        for (size_t i = 0; i < status.pending_count; i++) {
            if (status.pending[i].what == what) {
                return status.pending[i].seconds;
            }
        }
        return -1;
    }
    std::string effects_of(const failover_plan &plan) {
        std::string all;
        for (size_t i = 0; i < plan.effect_count; i++) {
            all += std::string(plan.effects[i]) + "\n";
        }
        return all;
    }
    // How many addresses have changed hands: with no clients each update is a gift.
    uint64_t moved() {
        return p->status(now).counters.updates_sent + s->status(now).counters.updates_sent;
    }
    // Leases what a server has, but for `left`, for ever.
    void use_up(Server &x, uint32_t left) {
        desired = FAILOVER_LIFETIME_INFINITE;
        for (unsigned n = &x == p.get() ? 100 : 200; x.own_free(now) > left; n++) {
            Lease lease = new_client(x, n);
            ASSERT_EQ(FAILOVER_LIFETIME_INFINITE, request(x, make_client(n), lease.address).lifetime);
        }
        desired = 3600;
    }
    // Server's disk is gone: what failover knew, and Kea's leases.
    void wipe(Server &x) {
        x.lose_database();
        x.rows_.clear();
    }
    int state_changes(Server &x) {
        return count_log(x, " -> ");
    }
};

// One server, and a partner that the test plays message by message.
class CasesByMessage : public Scripted {};

} // namespace failover_test

#endif
