// SPDX-License-Identifier: MPL-2.0
//
// The state machine, the clocks, and both servers alive apart.
#include "cases.h"

using namespace failover_test;

// ---- C01: no reconnect after a cut ----------------------------------------------------------------------------------

enum class Dial { DROPPED, REFUSED, TIMES_OUT, SILENT, ENDS_BEFORE_CONNECT, ENDS_AFTER_CONNECT };

static std::string name_of(Dial dial) {
    static const char *const names[] = {"DropsEverything",    "RefusesConnections", "LetsDialsTimeOut",
                                        "AcceptsAndIsSilent", "EndsBeforeConnect",  "EndsBeforeConnectack"};
    return names[int(dial)];
}

class C01 : public Cases, public ::testing::WithParamInterface<Dial> {
protected:
    std::map<Server *, int> dials;
    std::map<Server *, int64_t> pending_dials; // since when

    void break_network() {
        cut();
        instead_of_dial = [this](Server &x) {
            dials[&x]++;
            dial(x);
        };
    }
    void dial(Server &x) {
        switch (GetParam()) {
        case Dial::DROPPED:
            failover_dial_failed(x.core_, "No route to host", at(x));
            return;
        case Dial::REFUSED:
            failover_dial_failed(x.core_, "Connection refused", at(x));
            return;
        case Dial::TIMES_OUT:
            pending_dials[&x] = now.mono;
            return;
        case Dial::SILENT:
            connect_nowhere(x);
            return;
        default:
            int id = connect_nowhere(x);
            if (GetParam() == Dial::ENDS_AFTER_CONNECT) {
                std::vector<uint8_t> buffer(FAILOVER_MESSAGE_SIZE_MAX);
                failover_output(x.core_, id, buffer.data(), buffer.size(), at(x));
            }
            x.forget_connection(id);
            failover_disconnected(x.core_, id, "closed by the partner", at(x));
            return;
        }
    }
    // Dials that nobody answers fail when the transport has waited for 5 s.
    void suffer(int64_t seconds) {
        for (int64_t i = 0; i < seconds; i++) {
            pass(1);
            for (Server *x : {p.get(), s.get()}) {
                auto since = pending_dials.find(x);
                if (since != pending_dials.end() && now.mono - since->second >= 5000) {
                    pending_dials.erase(since);
                    failover_dial_failed(x->core_, "Connection timed out", at(*x));
                }
            }
        }
    }
};

// A router drops everything between the servers for ten minutes. Both have to notice, to try again for ever, and to be
// back within one retry period (5 s, 10 s where a dial is pending), whatever becomes of the dials meanwhile.
TEST_P(C01, NoReconnectAfterACut) {
    start_normal(TEN);
    break_network();
    suffer(30);
    EXPECT_TRUE(both_in(CI)) << "within max-response-delay";
    dials.clear();
    suffer(570);
    for (Server *x : {p.get(), s.get()}) {
        EXPECT_EQ(CI, x->state());
        EXPECT_GE(dials[x], 57) << "it never stops trying";
        EXPECT_LE(dials[x], 114) << "and waits 5 s each time";
    }
    mend();
    instead_of_dial = nullptr;
    suffer(GetParam() == Dial::TIMES_OUT ? 10 : 5);
    expect_peace();
}

INSTANTIATE_TEST_SUITE_P(Cases, C01,
                         ::testing::Values(Dial::DROPPED, Dial::REFUSED, Dial::TIMES_OUT, Dial::SILENT,
                                           Dial::ENDS_BEFORE_CONNECT, Dial::ENDS_AFTER_CONNECT),
                         [](const auto &info) { return name_of(info.param); });

// ---- C02 ------------------------------------------------------------------------------------------------------------

// One server is stopped, and after a while the other one says that the peer holds all free leases: that is right until
// the operator says that the partner is down, and one MCLT longer.
TEST_F(Cases, C02_PeerHoldsAllFreeLeases) {
    start_normal(TEN);
    kill(*s);
    std::set<uint32_t> share = free_of(*p, FAILOVER_PARTNERS);
    ASSERT_EQ(5u, share.size());
    int given = 0;
    for (unsigned n = 1; n <= 6; n++) {
        given += new_client(*p, n).kind == Lease::ACK;
    }
    EXPECT_EQ(5, given);
    for (int i = 0; i < 60; i++) {
        pass(10); // 10 * M in all
        EXPECT_EQ(Lease::SILENCE, new_client(*p, 6).kind) << "however long it lasts";
    }
    EXPECT_EQ(Lease::SILENCE, new_client(*p, 7).kind);
    EXPECT_EQ(2, count_log(*p, "no own free address for a new client in communications-interrupted: the partner's 5 "
                               "free addresses come within reach by force-state partner-down, if it is really down"))
        << "once for each client, with the state and the way out";
    EXPECT_EQ(CI, p->state());
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    int64_t forced = now.wall;
    for (unsigned n = 10; now.wall < forced + 60; n++) {
        Lease lease = new_client(*p, n);
        EXPECT_EQ(0u, share.count(lease.address));
        for (uint32_t address : share) {
            EXPECT_NE(Lease::ACK, request(*p, make_client(50), address).kind);
        }
        pass(10);
    }
    for (uint32_t address : share) {
        EXPECT_EQ(Lease::ACK, request(*p, make_client(200 + (address - POOL_FIRST)), address).kind)
            << "one MCLT after the force, all of them";
    }
}

// ---- C03 ------------------------------------------------------------------------------------------------------------

// Small routers, whose dhcpd died on the way from communications-interrupted to normal: the link comes and goes 200
// times, and for part of it the disk of one takes nothing. The design's rule 12 says what becomes of a state that can't
// be written: the server goes on in it, and the partner doesn't hear of it before it can. (The encoder writes byte by
// byte, so that there is no order of bytes to go wrong.)
TEST_F(Cases, C03_DiesBetweenInterruptedAndNormal) {
    start_normal(101, [](failover_config &c) { c.mclt = 1800; });
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    for (int i = 0; i < 200; i++) {
        bool full = i >= 50 && i < 100;
        p->disk_works_ = !full;
        cut();
        reset_connections();
        pass(1);
        ASSERT_EQ(CI, s->state());
        mend();
        pass(6);
        ASSERT_EQ(full ? CI : NO, s->state()) << "the other one hears only of what is on disk: round " << i;
        if (full) {
            ASSERT_EQ(NO, p->record_->state) << "the last that was written";
        }
    }
    expect_peace();
    EXPECT_EQ(Lease::ACK, request(*s, c, lease.address).kind);
    failover_storing(p->core_, false, "No space left on device");
    failover_storing(p->core_, false, "No space left on device");
    EXPECT_EQ(1, count_log(*p, "the failover database can't be written: No space left on device"));
}

// ---- C04 ------------------------------------------------------------------------------------------------------------

// A synchronisation tool copies the configuration with `this-server-name` in it, and both take themselves for the same
// server. (Without that name one file serves both, as the design has it.)
TEST_F(Cases, C04_SynchronisationClonesTheIdentity) {
    make(TEN);
    s->config_.role = FAILOVER_PRIMARY;
    start();
    pass(60);
    EXPECT_TRUE(both_in(RE)) << "in their safe state";
    EXPECT_EQ(Lease::SILENCE, new_client(*p, 1).kind);
    EXPECT_EQ(Lease::SILENCE, new_client(*s, 1).kind);
    EXPECT_TRUE(p->logged("both servers are configured as primary"));
    EXPECT_TRUE(s->logged("both servers are configured as primary"));
}

// ---- C05 ------------------------------------------------------------------------------------------------------------

// Contact interval and silence limit alike, and a healthy pair flaps. Here the interval is always a third of the
// partner's limit, so neither 10 nor 15 s does that, with 50 ms between the servers and no client for an hour.
TEST_F(Cases, C05_TimersAlikeAndThePairFlaps) {
    for (uint32_t limit : {9, 10, 15}) {
        start_normal(TEN, [limit](failover_config &c) { c.max_response_delay = limit; });
        stalled = true;
        int64_t start_wall = now.wall, start_mono = now.mono;
        for (int i = 0; i < 3600 * 20; i++) {
            now.mono += 50;
            now.wall = start_wall + (now.mono - start_mono) / 1000;
            while (arrive()) { // what was sent 50 ms ago
            }
            step(*p, true);
            step(*s, true);
        }
        stalled = false;
        EXPECT_EQ(0, state_changes(*p)) << limit;
        EXPECT_EQ(0, state_changes(*s)) << limit;
        EXPECT_TRUE(both_in(NO));
    }
}

// ---- C06 ------------------------------------------------------------------------------------------------------------

// The clocks drift apart by more than a minute, and both servers stop for good until they are restarted together. Here
// no state is for good: each serves its own share, and all is well as soon as the clocks are.
TEST_F(Cases, C06_ParkedForEverAfterTheClocksDriftedApart) {
    start_normal(TEN);
    s->ahead_ = 61;
    pass(31);
    EXPECT_TRUE(both_in(CI));
    EXPECT_TRUE(p->logged("time offset too large") || s->logged("time offset too large"));
    EXPECT_EQ(Lease::ACK, new_client(*p, 1).kind);
    EXPECT_EQ(Lease::ACK, new_client(*s, 2).kind);
    // S alone is restarted, and its clock is right again.
    kill(*s);
    s->ahead_ = 0;
    pass(3);
    restart(*s);
    pass(6);
    expect_peace();
    // The clock is wrong at a restart in the night: ten seconds of startup, and it serves.
    kill(*s);
    s->ahead_ = 61;
    restart(*s);
    EXPECT_EQ(FAILOVER_STARTUP, s->state());
    pass(10);
    EXPECT_TRUE(both_in(CI));
    EXPECT_EQ(Lease::ACK, new_client(*s, 3).kind);
    pass(3600);
    EXPECT_TRUE(both_in(CI)) << "it doesn't come to an end either";
    // It heals without a restart.
    s->ahead_ = 40;
    pass(6);
    expect_peace();
}

// ---- C12 ------------------------------------------------------------------------------------------------------------

// A second node that will not serve until it has seen the first. With a saved state it does, after `startup-delay`;
// without one only the operator can know that there is nobody, and the MCLT is waited for all the same.
TEST_F(Cases, C12_SecondNodeWillNotServeUntilItSeesTheFirst) {
    start_normal(TEN);
    kill(*p);
    kill(*s);
    // (a) with a saved state
    restart(*s);
    EXPECT_EQ(FAILOVER_STARTUP, s->state());
    EXPECT_EQ(Lease::SILENCE, new_client(*s, 1).kind);
    pass(10);
    EXPECT_EQ(CI, s->state());
    EXPECT_EQ(5, drain(*s, 1)) << "its own share";
    // (b) without
    kill(*s);
    s->lose_database();
    s->rows_.clear();
    s->config_.mclt = 60;
    s->log_.clear();
    restart(*s);
    pass(190);
    EXPECT_EQ(RE, s->state());
    EXPECT_EQ(Lease::SILENCE, new_client(*s, 2).kind);
    EXPECT_EQ(3, count_log(*s, "in recover and silent: the partner's data is needed before clients are served; if the "
                               "partner is gone for good, force-state partner-down"))
        << "once a minute";
    // (c) by the operator's order, and one MCLT later
    failover_plan plan = force(*s, PD);
    ASSERT_EQ(FAILOVER_OK, plan.result);
    EXPECT_NE(std::string::npos, effects_of(plan).find("free ones in 60 s")) << effects_of(plan);
    pass(59);
    EXPECT_EQ(Lease::SILENCE, new_client(*s, 2).kind);
    pass(1);
    EXPECT_EQ(Lease::ACK, new_client(*s, 2).kind);
}

// ---- C14 ------------------------------------------------------------------------------------------------------------

// The line between two sites is cut for ten minutes, both servers declare the other down by timer, and each gives .15
// to a client of its own. (That auto-partner-down is off by default and warned of is in config_test.cc.)
TEST_F(Cases, C14_BothSidesGoPartnerDownOnATimer) {
    start_normal(TEN, [](failover_config &c) { c.auto_partner_down = 60; });
    int64_t start = now.wall;
    cut();
    pass(91); // 30 s of silence, and the timer
    EXPECT_TRUE(both_in(PD));
    pass(start + 500 - now.wall);
    uint32_t fifteen = POOL_FIRST + 5;
    failover_client c1 = make_client(1), c2 = make_client(2);
    ASSERT_EQ(Lease::ACK, request(*p, c1, fifteen).kind);
    pass(10);
    ASSERT_EQ(Lease::ACK, request(*s, c2, fifteen).kind);
    Lease apart = new_client(*p, 3);
    pass(40);
    ASSERT_EQ(Lease::ACK, request(*p, c1, fifteen).kind);
    ASSERT_EQ(Lease::ACK, request(*s, c2, fifteen).kind);
    ASSERT_EQ(Lease::ACK, request(*p, make_client(3), apart.address).kind);
    pass(start + 600 - now.wall);
    mend();
    pass(6);
    EXPECT_TRUE(p->logged("state partner-down -> potential-conflict"));
    EXPECT_TRUE(s->logged("state partner-down -> potential-conflict"));
    expect_peace();
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(apart.address).status) << "the others are merged";
    // Lease by lease, with a counter and one line that names both clients, at the server that hears of the other's
    // lease: that is at least the one whose client loses it.
    EXPECT_GE(clashes(), 1u);
    for (Server *x : {p.get(), s.get()}) {
        int found = int(x->status(now).counters.clashes);
        EXPECT_LE(found, 1);
        EXPECT_EQ(found, count_log(*x, "clash: "));
        EXPECT_EQ(found, count_log(*x, "clash: " + dotted(fifteen) + " is bound to 02:00:00:00:00:0"));
        EXPECT_EQ(found, count_log(*x, "02:00:00:00:00:01"));
        EXPECT_EQ(found, count_log(*x, "02:00:00:00:00:02"));
    }
    EXPECT_TRUE(s->logged("at the partner, who keeps it"));
    failover_binding at_p = p->binding(fifteen), at_s = s->binding(fifteen);
    EXPECT_TRUE(failover_same_client(&at_p.client, &at_s.client));
    failover_client loser = failover_same_client(&at_p.client, &c1) ? c2 : c1;
    EXPECT_EQ(Lease::NAK, request(*p, loser, fifteen).kind);
    EXPECT_EQ(Lease::NAK, request(*s, loser, fifteen).kind);
}

// ---- C37 ------------------------------------------------------------------------------------------------------------

// The relationship is called fo1 on one server and fo-1 on the other. It is told apart by its name, and both lines say
// both names. (Who isn't at the partner's configured address isn't listened to at all, so a NAT between the two has to
// be in `peers`: there is no strict-address.)
TEST_F(Cases, C37_RelationshipNamesDiffer) {
    make(TEN);
    snprintf(s->config_.name, sizeof(s->config_.name), "fo-1");
    start();
    pass(60);
    EXPECT_TRUE(both_in(RE));
    EXPECT_TRUE(p->logged("unknown") || p->logged("relationship"));
    EXPECT_EQ(1, count_log(*p, "fo1: no connection with the partner: ")) << "once";
    EXPECT_TRUE(s->logged("the partner calls the relationship \"fo1\", this server \"fo-1\""));
}

// ---- C51 ------------------------------------------------------------------------------------------------------------

// State numbers have changed between releases of dhcpd. Those of 4.x count, RECOVER-WAIT is 254 on the wire, and what
// is no state closes the connection, not the process.
TEST_F(CasesByMessage, C51_StateNumbersOfOtherReleases) {
    for (int number = 0; number < 256; number++) {
        if (number > 12 && number < 254) {
            continue;
        }
        start_normal(FAILOVER_PRIMARY);
        send(Message(FAILOVER_STATE, partner_xid++)
                 .number(FAILOVER_OPT_SERVER_STATE, number)
                 .number(FAILOVER_OPT_SERVER_FLAGS, 0)
                 .number(FAILOVER_OPT_START_TIME_OF_STATE, now.wall));
        bool known = (number >= 1 && number <= 11) || number == 254;
        EXPECT_EQ(!known, is_closed(link)) << number;
        EXPECT_EQ(!known, x->logged("which the protocol doesn't have")) << number;
        if (!known) {
            EXPECT_EQ(CI, x->state()) << number;
        }
        x->kill();
    }
    start_normal(FAILOVER_SECONDARY);
    failover_force force{RE, false, 0};
    failover_plan plan;
    failover_force_plan(x->core_, &force, now, &plan);
    failover_force_apply(x->core_, &force, &plan, now);
    run();
    Received request;
    for (Received &r : in(link)) {
        if (r.m.type == FAILOVER_UPDREQALL) {
            request = std::move(r);
        }
    }
    forget();
    send(Message(FAILOVER_UPDDONE, request.m.xid));
    EXPECT_EQ(RW, x->state());
    EXPECT_EQ(254, take(FAILOVER_STATE).m.server_state);
}

// ---- C57 ------------------------------------------------------------------------------------------------------------

// Maintenance that can't be undone. Here the shutdown is announced and the partner takes over at once; its partner's
// free addresses wait for the MCLT all the same; and who cancels is in normal again by the ordinary way, twice too.
TEST_F(Cases, C57_MaintenanceThatCannotBeUndone) {
    start_normal(TEN);
    failover_client c = make_client(1);
    Lease lease = dora(*s, c);
    for (int round = 0; round < 2; round++) {
        p->log_.clear();
        ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_SHUTDOWN).result);
        EXPECT_EQ(PD, p->state()) << "at once";
        int64_t stos = now.wall;
        EXPECT_EQ(Lease::SILENCE, request(*s, c, lease.address).kind);
        EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind);
        std::set<uint32_t> share = free_of(*p, FAILOVER_PARTNERS);
        EXPECT_GE(share.size(), 4u);
        EXPECT_NE(Lease::ACK, request(*p, make_client(9), *share.begin()).kind) << "STOS + M";
        EXPECT_EQ(60, pending(*p, "partner's free addresses (STOS + MCLT)"));
        pass(3);
        ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_STARTUP).result);
        ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_STARTUP).result);
        pass(stos + 59 - now.wall);
        EXPECT_EQ(RW, s->state()) << "the partner may have given what was its own";
        EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind);
        pass(5);
        expect_peace();
    }
    // The same, after it was stopped in between.
    ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_SHUTDOWN).result);
    pass(3);
    kill(*s);
    pass(20);
    restart(*s);
    EXPECT_EQ(RW, s->state()) << "it comes back through recover";
    EXPECT_EQ(PD, p->state());
    EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind);
    pass(60);
    expect_peace();
}
