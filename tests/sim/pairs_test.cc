// SPDX-License-Identifier: MPL-2.0
//
// L1: with the link up and the clocks right, two servers are in NORMAL within the MCLT and three retries, whatever pair
// of states their records hold, and then come to one mind. Only an operator's word is waited for longer.
#include <optional>

#include "rest.h"
#include "small_world.h"

using namespace failover_sim;
using failover_test::make_client;
using failover_test::POOL_FIRST;

namespace {

constexpr int64_t SECOND = 1000, AGO = 1000, TOLD = 500;

// Every one that a record can hold; UNKNOWN stands for no record at all. STARTUP is where each of them begins, and
// PAUSED is only ever the partner's word.
const failover_state STATES[] = {FAILOVER_UNKNOWN,
                                 FAILOVER_NORMAL,
                                 FAILOVER_COMMUNICATIONS_INTERRUPTED,
                                 FAILOVER_PARTNER_DOWN,
                                 FAILOVER_POTENTIAL_CONFLICT,
                                 FAILOVER_RECOVER,
                                 FAILOVER_SHUTDOWN,
                                 FAILOVER_RECOVER_DONE,
                                 FAILOVER_RESOLUTION_INTERRUPTED,
                                 FAILOVER_CONFLICT_DONE,
                                 FAILOVER_RECOVER_WAIT};

// What the primary and the secondary have of the pool's first address; a client's number, or none.
struct Held {
    failover_binding_status status = FAILOVER_FREE;
    unsigned client = 0;
};
const struct {
    const char *text;
    Held of[2];
} BINDINGS[] = {
    {"no bindings", {}},
    {"a lease of the primary's", {{FAILOVER_ACTIVE, 1}, {}}},
    {"a lease of the secondary's", {{}, {FAILOVER_ACTIVE, 1}}},
    {"a lease that both know", {{FAILOVER_ACTIVE, 1}, {FAILOVER_ACTIVE, 1}}},
    {"a clash", {{FAILOVER_ACTIVE, 1}, {FAILOVER_ACTIVE, 2}}},
    {"a lease that has ended at the primary", {{FAILOVER_EXPIRED, 1}, {FAILOVER_ACTIVE, 1}}},
    {"a lease that was released to the secondary", {{FAILOVER_ACTIVE, 1}, {FAILOVER_RELEASED, 1}}},
};

class TwoRecords {
public:
    TwoRecords(failover_interrupted_leases policy, std::array<failover_state, 2> states)
        : start_{"", {}, policy, false, false, 0}, world(start_) {
        for (Machine &m : world.machines()) {
            give_record(m, states[size_t(m.index)], states[size_t(1 - m.index)]);
        }
    }
    void bind(const Held (&held)[2]) {
        for (Machine &m : world.machines()) {
            if (const Held &h = held[m.index]; h.status != FAILOVER_FREE && m.server->record_) {
                give_binding(m, h);
            }
        }
    }
    failover_record &record(int i) {
        return *world.machine(i).server->record_;
    }
    // One after the other.
    void start(int first, int64_t gap) {
        world.start(world.machine(first));
        world.run_until(world.ms + gap);
        world.start(world.machine(1 - first));
    }
    void expect_states(failover_state p, failover_state s) {
        EXPECT_STREQ(failover_state_name(p), failover_state_name(world.machine(0).state()));
        EXPECT_STREQ(failover_state_name(s), failover_state_name(world.machine(1).state()));
    }

private:
    Start start_;

    void give_record(Machine &m, failover_state state, failover_state partner) {
        if (state == FAILOVER_UNKNOWN) {
            return;
        }
        int64_t now = world.wall_of(m);
        const failover_config &config = m.server->config_;
        failover_record r{};
        r.state = state;
        r.partner_state = partner;
        r.stos = r.partner_stos = now - AGO;
        r.mclt = r.mclt_before = config.mclt;
        r.mclt_taken = 1;
        r.acting_primary = FAILOVER_PRIMARY;
        r.epoch = 1;
        r.default_owner = m.index == 0 ? FAILOVER_MINE : FAILOVER_PARTNERS;
        r.last_served = r.last_heard = now - 1;
        r.last_granted = now - 2;
        memcpy(r.hba, config.hba, sizeof(r.hba));
        r.hba_known = true;
        m.server->record_ = r;
    }
    void give_binding(Machine &m, const Held &held) {
        int64_t now = world.wall_of(m);
        failover_binding b{};
        b.address = POOL_FIRST;
        b.status = held.status;
        b.owner = m.server->record_->default_owner;
        b.starts = b.cltt = now - 50;
        b.ends = b.given = held.status == FAILOVER_ACTIVE ? now + 50 : now - 2;
        b.sent = b.acked = b.received = now + TOLD;
        b.granted_here = true;
        b.xid = 7;
        b.update_due = b.update_sent = true;
        b.client = make_client(held.client);
        m.server->bindings_[b.address] = b;
        if (held.status == FAILOVER_ACTIVE) {
            m.server->rows_[b.address] = failover_test::Server::Row{b.client, b.cltt, b.given};
        }
    }

public:
    SmallWorld world;
};

class Pairs : public ::testing::TestWithParam<std::tuple<failover_state, failover_state>> {};

TEST_P(Pairs, ComeBackToNormalAndToOneMind) {
    auto [p, s] = GetParam();
    for (failover_interrupted_leases policy : {FAILOVER_REPLACE, FAILOVER_EXTEND}) {
        for (auto &bindings : BINDINGS) {
            for (int first : {0, 1}) {
                for (int64_t gap : {0 * SECOND, 30 * SECOND}) {
                    TwoRecords two(policy, {{p, s}});
                    two.bind(bindings.of);
                    two.start(first, gap);
                    Rest rest(two.world, two.world.checks);
                    rest.find_back();
                    rest.come_to_rest();
                    EXPECT_EQ("", two.world.failure)
                        << (policy == FAILOVER_REPLACE ? "replace, " : "extend, ") << bindings.text << ", "
                        << two.world.machine(first).name() << " starts first by " << gap / SECOND << " s\n"
                        << two.world.last_events();
                }
            }
        }
    }
}

std::string state_words(failover_state state) {
    std::string name = state == FAILOVER_UNKNOWN ? "no record" : failover_state_name(state);
    std::replace_if(
        name.begin(), name.end(), [](char c) { return !isalnum(c); }, '_');
    return name;
}

std::string name_of(const ::testing::TestParamInfo<Pairs::ParamType> &info) {
    return state_words(std::get<0>(info.param)) + "_and_" + state_words(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(From, Pairs, ::testing::Combine(::testing::ValuesIn(STATES), ::testing::ValuesIn(STATES)),
                         name_of);

// ---- What waits for an operator ---------------------------------------------------------------------------------------

constexpr int64_t LONG = 1000 * SECOND;

TEST(WaitsForAnOperator, ALinkThatIsHeldDown) {
    for (int held : {0, 1}) {
        TwoRecords two(FAILOVER_REPLACE, {{FAILOVER_COMMUNICATIONS_INTERRUPTED, FAILOVER_COMMUNICATIONS_INTERRUPTED}});
        two.record(held).link_held_down = true;
        two.start(0, 0);
        two.world.run_until(LONG);
        two.expect_states(FAILOVER_COMMUNICATIONS_INTERRUPTED, FAILOVER_COMMUNICATIONS_INTERRUPTED);
        two.world.force(two.world.machine(held), FAILOVER_NORMAL, false, 0);
        Rest(two.world, two.world.checks).find_back();
        EXPECT_EQ("", two.world.failure);
    }
}

// Through a reconfiguration, until another force or a new process.
TEST(WaitsForAnOperator, Shutdown) {
    for (int shut : {0, 1}) {
        for (bool by_force : {false, true}) {
            TwoRecords two(FAILOVER_REPLACE, {{FAILOVER_NORMAL, FAILOVER_NORMAL}});
            SmallWorld &world = two.world;
            Machine &m = world.machine(shut);
            two.start(0, 0);
            Rest(world, world.checks).find_back();
            ASSERT_EQ("", world.failure);
            world.force(m, FAILOVER_SHUTDOWN, false, 0);
            world.run_until(world.ms + 10 * SECOND);
            world.reload(m);
            world.run_until(world.ms + LONG);
            EXPECT_EQ(FAILOVER_SHUTDOWN, m.state());
            EXPECT_EQ(FAILOVER_PARTNER_DOWN, world.other(m).state());
            if (by_force) {
                world.force(m, FAILOVER_STARTUP, false, 0);
            } else {
                world.kill(m, Scene::Death::PROCESS);
                world.start(m);
            }
            Rest(world, world.checks).find_back();
            EXPECT_EQ("", world.failure);
        }
    }
}

} // namespace
