// SPDX-License-Identifier: MPL-2.0
//
// The fourteen rules of the design, each as far as the core decides it.
#include "core.h"
#include "partner.h"

using namespace failover_test;

namespace {

constexpr failover_state ST = FAILOVER_STARTUP, NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED,
                         PD = FAILOVER_PARTNER_DOWN, PC = FAILOVER_POTENTIAL_CONFLICT, RE = FAILOVER_RECOVER,
                         SH = FAILOVER_SHUTDOWN, RD = FAILOVER_RECOVER_DONE, RI = FAILOVER_RESOLUTION_INTERRUPTED,
                         RW = FAILOVER_RECOVER_WAIT;

constexpr uint32_t OWN = POOL_FIRST, PARTNERS = POOL_FIRST + 15;

} // namespace

class TheRules : public Scripted {
protected:
    const failover_client one = make_client(1, true), two = make_client(2), three = make_client(3);
    failover_why why{};

    failover_binding lease(uint32_t address, const failover_client &client, int64_t left) {
        failover_binding b{};
        b.address = address;
        b.status = FAILOVER_ACTIVE;
        b.owner = address < POOL_FIRST + 10 ? FAILOVER_MINE : FAILOVER_PARTNERS;
        b.starts = b.cltt = now.wall - 100;
        b.ends = b.given = now.wall + left;
        b.sent = b.acked = now.wall + 3600;
        b.update_sent = b.state_sent = true;
        b.granted_here = true;
        b.client = client;
        return b;
    }
    // As a reconfiguration leaves it; NORMAL with a link.
    void in_state(failover_state state, std::vector<failover_binding> bindings = {},
                  std::function<void(failover_config &)> change = nullptr) {
        make_known(FAILOVER_PRIMARY, state == NO ? CI : state, 20, change);
        for (failover_binding &b : bindings) {
            x->bindings_[b.address] = b;
        }
        snprintf(x->record_->process, sizeof(x->record_->process), "%s", x->process_.c_str());
        x->record_->last_served = x->record_->stos = now.wall;
        start();
        if (dials > 0) {
            failover_dial_failed(x->core(), "Connection refused", now);
        }
        if (state == NO) {
            link_up_in(CI);
            send(state_message(NO, now.wall));
        }
        ASSERT_EQ(state, x->state());
        forget();
    }
    void wait(int64_t seconds) {
        for (int64_t i = 0; i < seconds; i++) {
            pass(1000);
            if (x->status(now).linked && i % 5 == 0) {
                send(Message(FAILOVER_CONTACT, partner_xid++));
            }
        }
    }
    uint32_t lifetime(const failover_client &client, uint32_t address) {
        failover_ask a = ask(client, address);
        uint32_t seconds = 0;
        return failover_may_have(x->core(), &a, now, &seconds, &why) ? seconds : 0;
    }
    bool may_have(const failover_client &client, uint32_t address) {
        return lifetime(client, address) != 0;
    }
    void force(failover_state state, bool over = true) {
        failover_force f{state, over, 0};
        failover_plan plan;
        failover_force_plan(x->core(), &f, now, &plan);
        ASSERT_EQ(FAILOVER_OK, plan.result) << plan.text;
        x->record_ = plan.record;
        failover_force_apply(x->core(), &f, &plan, now);
        run();
    }
};

class TwoServers : public Pair {};

// ---- 1: the MCLT rule -----------------------------------------------------------------------------------------------

TEST_F(TheRules, Rule01NoLifetimeEndsLaterThanTheLid) {
    for (failover_state state : {NO, CI, PD, RD, RI}) {
        for (bool other_policy : {false, true}) {
            for (int64_t acked : {0, 1, 59, 60, 61, 1000, 3600, 100000}) {
                for (int64_t left : {1, 59, 60, 61, 3000, 90000}) {
                    failover_binding b = lease(OWN, one, left);
                    b.acked = acked == 0 ? 0 : now.wall + acked - 30;
                    in_state(state, {b}, [&](failover_config &c) {
                        c.interrupted_leases = other_policy ? FAILOVER_EXTEND : FAILOVER_REPLACE;
                        c.partner_down_full = other_policy;
                    });
                    int64_t lid = std::max(b.acked, now.wall) + 60 - now.wall;
                    for (uint32_t wanted : {1u, 59u, 60u, 61u, 3600u, 1000000u, FAILOVER_LIFETIME_INFINITE}) {
                        desired = wanted;
                        uint32_t granted = lifetime(one, OWN);
                        ASSERT_NE(0u, granted) << why.text;
                        EXPECT_LE(int64_t(granted), lid)
                            << failover_state_name(state) << ", acked " << acked << ", left " << left << ", " << wanted;
                        if (wanted <= 60) {
                            EXPECT_EQ(wanted, granted) << "within the MCLT it is granted as it is";
                        }
                        if (state != CI || other_policy) {
                            EXPECT_LE(granted, wanted);
                        }
                        uint32_t fresh = lifetime(two, OWN + 1);
                        EXPECT_TRUE(state == RD || state == RI ? fresh == 0 : fresh == std::min(60u, wanted));
                    }
                    x->kill();
                    inbox.clear();
                }
            }
        }
    }
}

TEST_F(TheRules, Rule01TheLidCountsInForcedStatesToo) {
    in_state(CI, {lease(OWN, one, 100)});
    force(NO);
    EXPECT_EQ(3600u, lifetime(one, OWN));
    EXPECT_EQ(60u, lifetime(two, OWN + 1));
    force(PD);
    EXPECT_EQ(60u, lifetime(two, OWN + 1));
}

TEST_F(TheRules, Rule01ThePartnerIsToldNowPlusDesiredPlusHalfOfTheGrant) {
    in_state(NO);
    for (uint32_t wanted : {10u, 60u, 120u, 3600u, 86400u}) {
        desired = wanted;
        uint32_t granted = bind(make_client(wanted), OWN + wanted % 7);
        Received u = take(FAILOVER_BNDUPD);
        EXPECT_EQ(now.wall + wanted + granted / 2, u.m.potential_expiration_time);
        EXPECT_GE(u.m.potential_expiration_time, u.m.lease_expiration_time);
        send(bndack(u));
        release(make_client(wanted), OWN + wanted % 7);
        acknowledge_all();
    }
}

// ---- 2: the promised end --------------------------------------------------------------------------------------------

TEST_F(TheRules, Rule02AShorterRenewalDoesNotMoveIt) {
    in_state(NO, {lease(OWN, one, 3000)});
    int64_t promised = now.wall + 3000;
    desired = 100;
    EXPECT_EQ(100u, bind(one, OWN));
    EXPECT_EQ(promised, x->binding(OWN).ends);
    EXPECT_EQ(now.wall + 100, x->binding(OWN).given);
    EXPECT_EQ(promised, take(FAILOVER_BNDUPD).m.lease_expiration_time) << "it is what BNDUPD carries";
    wait(200);
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status) << "and what the end counts from";
    EXPECT_FALSE(may_have(two, OWN));
    EXPECT_TRUE(may_have(one, OWN)) << "for everyone but its client";
}

TEST_F(TheRules, Rule02NorDoesOneAtThePartner) {
    in_state(NO, {lease(OWN, one, 3000)});
    int64_t promised = now.wall + 3000;
    update(bndupd(OWN, FAILOVER_ACTIVE, &one, now.wall + 100, now.wall + 200, now.wall, now.wall));
    EXPECT_EQ(promised, x->binding(OWN).ends);
    EXPECT_EQ(now.wall + 100, x->rows_[OWN].ends) << "the client's own row ends where it was told";
}

TEST_F(TheRules, Rule02NorDoesARefusal) {
    in_state(CI, {lease(OWN, one, 300)});
    ASSERT_EQ(360u, bind(one, OWN));
    int64_t promised = now.wall + 360;
    ASSERT_EQ(FAILOVER_REFUSE, request(one, OWN));
    EXPECT_EQ(promised, x->binding(OWN).ends);
    pass(359000);
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    pass(1000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status) << "EXPIRED, never RELEASED";
    EXPECT_EQ(promised, x->binding(OWN).ends);
}

TEST_F(TheRules, Rule02ItsOwnReleaseAndDeclineDo) {
    in_state(NO, {lease(OWN, one, 3000), lease(OWN + 1, two, 3000)});
    release(one, OWN);
    EXPECT_EQ(now.wall, x->binding(OWN).ends);
    failover_declined(x->core(), OWN + 1, now.wall + 500, now);
    EXPECT_EQ(FAILOVER_ABANDONED, x->binding(OWN + 1).status);
    EXPECT_EQ(now.wall + 500, x->binding(OWN + 1).ends);
}

TEST_F(TheRules, Rule02AHeldAddressIsReleasedOrExpiredOnTheWire) {
    in_state(CI, {lease(OWN, one, 300), lease(OWN + 1, two, 10)});
    release(one, OWN);
    pass(11000);
    link_up();
    send(state_message(RE, now.wall));
    std::map<uint32_t, int> told;
    for (Received &r : in(link)) {
        if (r.m.type == FAILOVER_BNDUPD) {
            told[r.m.assigned_ip_address] = r.m.binding_status;
        }
    }
    EXPECT_EQ(FAILOVER_RELEASED, told[OWN]);
    EXPECT_EQ(FAILOVER_EXPIRED, told[OWN + 1]);
}

// ---- 3: renewal -----------------------------------------------------------------------------------------------------

TEST_F(TheRules, Rule03AnyRequestForAnAddressThatTheClientHolds) {
    for (bool selects : {false, true}) {
        in_state(CI, {lease(OWN, one, 300)});
        EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN, selects));
        ASSERT_NE(0u, bind(one, OWN));
        EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN, selects)) << "selecting is a renewal too";
    }
}

TEST_F(TheRules, Rule03TheSameTransactionIsAnsweredAsBefore) {
    for (failover_state state : {NO, CI, PD}) {
        in_state(state, {lease(OWN, one, 300)});
        uint32_t first = bind(one, OWN, 4242);
        int64_t ends = now.wall + first;
        wait(2);
        EXPECT_EQ(uint32_t(ends - now.wall), bind(one, OWN, 4242));
        EXPECT_EQ(ends, x->binding(OWN).given);
        x->kill();
        inbox.clear();
    }
}

TEST_F(TwoServers, Rule03TheMarkIsDurableAndEndsWithNormal) {
    start_normal();
    failover_client c = make_client(1);
    Lease first = dora(*p, c);
    interrupt();
    ASSERT_EQ(Lease::ACK, request(*p, c, first.address).kind);
    kill(*p);
    restart(*p);
    pass(10);
    ASSERT_EQ(CI, p->state());
    Lease again = request(*p, c, first.address);
    EXPECT_EQ(Lease::NAK, again.kind);
    Lease other = dora(*p, c);
    ASSERT_EQ(Lease::ACK, other.kind);
    EXPECT_NE(first.address, other.address) << "the next DISCOVER gets a different own address";
    EXPECT_EQ(60u, other.lifetime) << "for the MCLT";
    mend();
    pass(40);
    ASSERT_EQ(NO, p->state());
    EXPECT_EQ(Lease::ACK, request(*p, c, other.address).kind);
}

// ---- 4: verdicts (each in lease_rules_test.cc) ----------------------------------------------------------------------

TEST_F(TheRules, Rule04ThreeVerdicts) {
    in_state(CI, {lease(OWN, one, 300)});
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN));
    EXPECT_EQ(FAILOVER_SILENCE, request(two, PARTNERS)) << "the partner's to give, and no binding is known for it";
    EXPECT_EQ(FAILOVER_REFUSE, request(two, PARTNERS, true)) << "but it selected us";
    EXPECT_EQ(FAILOVER_REFUSE, request(two, POOL_FIRST - 1));
}

// ---- 5: waits in PARTNER-DOWN ---------------------------------------------------------------------------------------

class Waits : public TheRules {
protected:
    // An address that waits; the times are seconds from STOS, which is now.
    failover_binding waiting(failover_binding_status status, int64_t ends, int64_t sent, int64_t acked,
                             int64_t received, bool known = true) {
        failover_binding b = lease(OWN, one, ends);
        b.status = status;
        b.sent = now.wall + sent;
        b.acked = now.wall + acked;
        b.received = now.wall + received;
        b.update_due = true;
        b.update_sent = b.state_sent = known;
        return b;
    }
    // Free, for anybody, `after` seconds and not a second before.
    void expect_free_after(int64_t after) {
        int64_t passed = (now.wall - x->record_->stos);
        if (after > passed + 1) {
            pass((after - passed - 1) * 1000);
            EXPECT_FALSE(may_have(two, OWN)) << "a second before " << after;
            EXPECT_EQ(x->record_->stos + after, failover_binding_wait_over(x->core(), OWN));
            pass(1000);
        } else {
            run();
        }
        EXPECT_TRUE(may_have(two, OWN)) << "after " << after << ": " << why.text;
        EXPECT_EQ(FAILOVER_MINE, x->binding(OWN).owner);
        x->kill();
    }
};

TEST_F(Waits, Rule05ThePartnersFreeAddressesAfterStosPlusMclt) {
    in_state(PD);
    pass(59000);
    EXPECT_FALSE(may_have(two, PARTNERS));
    EXPECT_EQ(x->record_->stos + 60, failover_binding_wait_over(x->core(), PARTNERS));
    pass(1000);
    EXPECT_TRUE(may_have(two, PARTNERS));
}

TEST_F(Waits, Rule05WhatThePartnerMayKnowMcltBeyondTheLatestOfFive) {
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_RESET, FAILOVER_ABANDONED}) {
        SCOPED_TRACE(failover_binding_status_name(status));
        in_state(PD, {waiting(status, -50, -40, -30, -20)});
        expect_free_after(60); // STOS
        in_state(PD, {waiting(status, -50, 100, 10, 20)});
        expect_free_after(160); // sent
        in_state(PD, {waiting(status, -50, 10, 200, 20)});
        expect_free_after(260); // acked
        in_state(PD, {waiting(status, -50, 10, 20, 300)});
        expect_free_after(360); // received
    }
    in_state(PD, {waiting(FAILOVER_ACTIVE, 400, 10, 20, 30)});
    expect_free_after(460); // promised end
    // A lower MCLT that the partner hasn't taken (rule 10).
    in_state(PD, {waiting(FAILOVER_EXPIRED, -50, 100, 10, 20)}, [](failover_config &c) { c.mclt = 20; });
    expect_free_after(160);
}

TEST_F(Waits, Rule05ALeaseOfThePartnersComesToWhoIsLeft) {
    in_state(PD, {lease(PARTNERS, one, 100)});
    pass(3660000); // the partner had acknowledged an hour
    EXPECT_EQ(FAILOVER_FREE, x->binding(PARTNERS).status);
    EXPECT_EQ(FAILOVER_MINE, x->binding(PARTNERS).owner);
}

TEST_F(Waits, WhatAnOperatorIsToldOfTheWait) {
    auto wait_over = [&](uint32_t address) { return failover_binding_wait_over(x->core(), address); };
    in_state(PD, {lease(PARTNERS + 1, one, 100)}, [](failover_config &c) { c.mclt = 20; });
    int64_t begin = now.wall;
    EXPECT_EQ(begin + 60, wait_over(PARTNERS)) << "the partner hasn't taken the lower MCLT";
    EXPECT_EQ(begin + 100, wait_over(PARTNERS + 1)) << "a lease";
    EXPECT_EQ(0, wait_over(OWN)) << "doesn't wait";
    EXPECT_EQ(0, wait_over(POOL_FIRST - 1)) << "in no pool";
    pass(60000);
    EXPECT_EQ(0, wait_over(PARTNERS)) << "over";
    in_state(CI);
    EXPECT_EQ(0, wait_over(PARTNERS)) << "no time brings it";
}

TEST_F(Waits, Rule05WhatThePartnerNeverHeardOfAtItsPromisedEnd) {
    in_state(PD, {waiting(FAILOVER_EXPIRED, -1, 3000, 0, 0, false)});
    expect_free_after(0);
    in_state(PD, {waiting(FAILOVER_ACTIVE, 100, 3000, 0, 0, false)});
    expect_free_after(100);
    in_state(PD, {waiting(FAILOVER_RELEASED, -1, 3000, 0, 0, false)}); // held until now
    expect_free_after(0);
}

TEST_F(Waits, Rule05WhatWasFirstLeasedInPartnerDownAtItsPromisedEnd) {
    in_state(PD);
    ASSERT_EQ(60u, bind(one, OWN));
    pass(30000);
    ASSERT_EQ(60u, bind(one, OWN));
    expect_free_after(90);
}

TEST_F(Waits, Rule05ButNotOnceThePartnerHasServedAgain) {
    in_state(PD);
    ASSERT_EQ(60u, bind(one, OWN));
    link_up();
    send(state_message(RE, now.wall));
    acknowledge_all();
    send(state_message(RD, now.wall));
    acknowledge_all();
    ASSERT_EQ(NO, x->state()) << "it may have extended that lease since";
    int64_t acked = x->binding(OWN).acked;
    disconnect(link);
    force(PD);
    pass((acked + 59 - now.wall) * 1000);
    EXPECT_FALSE(may_have(two, OWN));
    pass(1000);
    EXPECT_TRUE(may_have(two, OWN));
}

// The partner may have acted on a BNDUPD whose BNDACK never came.
TEST_F(Waits, Rule05WhatWasSentCountsAfterARelease) {
    in_state(NO);
    ASSERT_EQ(60u, bind(one, OWN));
    int64_t sent = take(FAILOVER_BNDUPD).m.potential_expiration_time;
    release(one, OWN); // waits for the BNDACK
    disconnect(link);
    force(PD);
    pass((sent + 59 - now.wall) * 1000);
    EXPECT_FALSE(may_have(two, OWN));
    pass(1000);
    EXPECT_TRUE(may_have(two, OWN));
}

TEST_F(Waits, Rule05AndAfterAShorterRenewal) {
    in_state(NO);
    ASSERT_EQ(60u, bind(one, OWN));
    Received first = take(FAILOVER_BNDUPD);
    int64_t sent = first.m.potential_expiration_time;
    desired = 20;
    ASSERT_EQ(20u, bind(one, OWN));
    EXPECT_EQ(sent, x->binding(OWN).sent);
    send(bndack(first));
    acknowledge_all();
    ASSERT_EQ(20u, bind(one, OWN));
    EXPECT_EQ(now.wall + 20 + 10, x->binding(OWN).sent) << "what is acknowledged is no longer in doubt";
}

TEST_F(Waits, Rule05RewindOnlyWhereNoBndupdWasEverSent) {
    auto extend = [](failover_config &c) { c.interrupted_leases = FAILOVER_EXTEND; };
    in_state(CI, {}, extend);
    ASSERT_EQ(60u, bind(one, OWN));
    pass(60000);
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    // A link that was there for a moment: a BNDUPD may have left, acknowledged or not.
    in_state(CI, {}, extend);
    ASSERT_EQ(60u, bind(one, OWN));
    link_up();
    disconnect(link);
    pass(60000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
}

// ---- 6: no record, nothing owned ------------------------------------------------------------------------------------

TEST_F(TheRules, Rule06WithoutARecordNothingIsOwned) {
    for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
        make(role);
        start();
        pass(10000);
        ASSERT_EQ(RE, x->state());
        force(PD);
        EXPECT_EQ(0u, x->own_free(now));
        EXPECT_FALSE(may_have(one, OWN));
        EXPECT_EQ(FAILOVER_SILENCE, request(one, OWN));
        pass(59000);
        EXPECT_EQ(0u, x->own_free(now));
        pass(1000);
        EXPECT_EQ(20u, x->own_free(now)) << "new clients are served from STOS + MCLT";
        EXPECT_EQ(60u, bind(one, OWN));
        x->kill();
    }
}

TEST_F(TheRules, Rule06UntilUpddone) {
    make(FAILOVER_SECONDARY);
    start();
    link_up();
    forget();
    send(state_message(CI, now.wall));
    take(FAILOVER_STATE);
    uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
    ASSERT_EQ(FAILOVER_NOBODY, x->binding(OWN).owner);
    update(bndupd(PARTNERS, FAILOVER_BACKUP, nullptr, 0, now.wall, now.wall));
    EXPECT_EQ(FAILOVER_MINE, x->binding(PARTNERS).owner) << "what the partner says is so at once";
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(FAILOVER_PARTNERS, x->binding(OWN).owner) << "and addresses that nobody ever used are the primary's";
    EXPECT_EQ(FAILOVER_MINE, x->binding(PARTNERS).owner);
}

TEST_F(TwoServers, Rule06ALostDatabaseComesBackFromThePartner) {
    start_normal();
    std::vector<failover_owner> before;
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 20; a++) {
        before.push_back(s->binding(a).owner);
    }
    kill(*s);
    s->lose_database();
    restart(*s);
    pass(80);
    ASSERT_EQ(NO, s->state());
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 20; a++) {
        EXPECT_EQ(before[a - POOL_FIRST], s->binding(a).owner) << dotted(a);
    }
}

TEST_F(TwoServers, Rule06AlsoWhereItWentOnAloneWithoutIt) {
    start_normal();
    kill(*p);
    kill(*s);
    s->lose_database();
    s->config_.mclt = 60;
    restart(*s);
    pass(10);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    pass(70);
    failover_client c = make_client(1);
    ASSERT_EQ(Lease::ACK, dora(*s, c).kind);
    restart(*p);
    pass(200);
    ASSERT_EQ(NO, p->state());
    ASSERT_EQ(NO, s->state());
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 20; a++) {
        failover_binding b = p->binding(a), d = s->binding(a);
        EXPECT_EQ(b.status, d.status) << dotted(a);
        EXPECT_TRUE(b.status != FAILOVER_FREE || (b.owner != d.owner && d.owner != FAILOVER_NOBODY)) << dotted(a);
    }
}

// ---- 7: the partner's states ----------------------------------------------------------------------------------------

TEST_F(TheRules, Rule07RecoverSeenInNormalIsAnInterruptionWithALink) {
    in_state(NO);
    for (failover_state shown : {RE, RW}) {
        send(state_message(shown, now.wall));
        EXPECT_EQ(CI, x->state());
        EXPECT_FALSE(is_closed(link));
    }
    send(state_message(RD, now.wall));
    EXPECT_EQ(NO, x->state()) << "on its recover-done we go to normal";
}

TEST_F(TheRules, Rule07PartnerDownSeen) {
    struct {
        int64_t granted, partners_stos;
        failover_state expected;
    } cases[] = {
        {0, -50, RE},    // nothing granted at all
        {-100, -50, RE}, // the last before it
        {-50, -50, PC},  // the same second: it may have been after
        {-20, -50, PC},
    };
    for (auto &c : cases) {
        make_known(FAILOVER_PRIMARY, CI);
        x->record_->last_granted = c.granted == 0 ? 0 : now.wall + c.granted;
        start();
        link_up();
        send(state_message(PD, now.wall + c.partners_stos));
        EXPECT_EQ(c.expected, x->state()) << c.granted;
        x->kill();
    }
}

TEST_F(TheRules, Rule07PartnerDownSeenWithAnotherClock) {
    for (int64_t s : {30, -30}) {
        make_known(FAILOVER_PRIMARY, CI);
        x->record_->last_granted = now.wall - 40;
        start();
        skew = s;
        link_up();
        // In our clock it entered PARTNER-DOWN 20 s ago, after our last grant.
        send(state_message(PD, now.wall - 20 + s));
        EXPECT_EQ(RE, x->state());
        x->kill();
        skew = 0;
    }
}

TEST_F(TheRules, Rule07PartnerDownSeenOverALiveLinkInNormal) {
    in_state(NO);
    ASSERT_EQ(60u, bind(one, OWN));
    send(state_message(PD, now.wall));
    EXPECT_EQ(RE, x->state()) << "always, for it falls silent in this moment";
    EXPECT_TRUE(failover_is_silent(x->core()));
}

TEST_F(TheRules, Rule07ShutdownSeenIsPartnerDown) {
    for (failover_state state : {NO, CI}) {
        in_state(state);
        if (state == CI) {
            link_up();
        }
        send(state_message(SH, now.wall));
        EXPECT_EQ(PD, x->state());
        EXPECT_EQ(now.wall, x->record_->stos);
        x->kill();
    }
}

TEST_F(TheRules, Rule07ADhcpdIsFollowedToPotentialConflict) {
    in_state(NO);
    send(state_message(PC, now.wall));
    EXPECT_EQ(PC, x->state());
}

TEST_F(TwoServers, Rule07OverriddenAgainstALivingPartner) {
    start_normal();
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD, true).result);
    EXPECT_EQ(RW, p->state());
    EXPECT_EQ(PD, s->state());
    EXPECT_EQ(Lease::SILENCE, request(*p, c, lease.address).kind);
    EXPECT_EQ(Lease::ACK, request(*s, c, lease.address).kind);
    pass(61);
    EXPECT_EQ(NO, p->state());
    EXPECT_EQ(NO, s->state());
    EXPECT_EQ(FAILOVER_PRIMARY, s->status(now).role);
}

// ---- 8: last served -------------------------------------------------------------------------------------------------

TEST_F(TwoServers, Rule08RecoverWaitCountsFromTheLastRecordPlusFive) {
    start_normal();
    pass(33);
    kill(*p);
    int64_t served = p->record_->last_served;
    EXPECT_LE(now.wall - served, FAILOVER_SERVED_INTERVAL);
    pass(20);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    pass(10);
    restart(*p);
    ASSERT_EQ(RW, p->state());
    EXPECT_EQ(PD, s->state());
    pass(served + 5 + 60 - 1 - now.wall);
    EXPECT_EQ(RW, p->state());
    pass(1);
    EXPECT_EQ(NO, p->state());
}

TEST_F(TwoServers, Rule08ACleanStopIsKnownToTheSecond) {
    start_normal();
    pass(33);
    failover_stop(p->core_, now);
    p->commit(now);
    EXPECT_EQ(now.wall, p->record_->last_served);
}

// ---- 9: clocks ------------------------------------------------------------------------------------------------------

TEST_F(TheRules, Rule09AForwardJumpFreesNothingEarly) {
    failover_binding known = lease(OWN, one, -10);
    known.status = FAILOVER_EXPIRED;
    known.sent = known.acked = now.wall + 100;
    in_state(PD, {known, lease(OWN + 1, two, 50)});
    x->bindings_.clear();
    now.wall += 100000;
    run();
    EXPECT_TRUE(x->logged("the clock has jumped by 100000 s"));
    EXPECT_FALSE(may_have(three, PARTNERS)) << "STOS + MCLT is 60 s of real time away";
    EXPECT_FALSE(may_have(three, OWN));
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN + 1).status) << "nor has a lease ended";
    pass(49000);
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN + 1).status);
    pass(10000);
    EXPECT_FALSE(may_have(three, PARTNERS));
    EXPECT_NE(FAILOVER_ACTIVE, x->binding(OWN + 1).status);
    pass(1000);
    EXPECT_TRUE(may_have(three, PARTNERS));
    pass(99000);
    EXPECT_FALSE(may_have(three, OWN));
    pass(1000);
    EXPECT_TRUE(may_have(three, OWN)) << "160 s after STOS, jump or no jump";
}

TEST_F(TheRules, Rule09ABackwardJumpFreesNothingEarly) {
    in_state(PD, {lease(OWN + 1, two, 50)});
    now.wall -= 1000;
    run();
    pass(61000);
    EXPECT_FALSE(may_have(three, PARTNERS)) << "the wall clock has not passed it";
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN + 1).status);
    // It is put right again. That is a jump ahead for whoever was promised something meanwhile.
    failover_ask a = ask(one, OWN);
    ASSERT_TRUE(failover_bound(x->core(), &a, now.wall, 60, now));
    now.wall += 1000;
    run();
    pass(59000);
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    EXPECT_FALSE(may_have(three, PARTNERS));
    pass(1100000);
    EXPECT_TRUE(may_have(three, PARTNERS)) << "but nothing waits for ever";
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status);
}

TEST_F(TheRules, Rule09ABackwardAndThenALargerForwardJump) {
    in_state(PD);
    now.wall -= 1000;
    run();
    now.wall += 5000;
    run();
    pass(59000);
    EXPECT_FALSE(may_have(three, PARTNERS));
    pass(1100000);
    EXPECT_TRUE(may_have(three, PARTNERS));
}

TEST_F(TheRules, Rule09RecoverWaitIsNotShortenedByAJump) {
    make_known(FAILOVER_PRIMARY, NO);
    x->record_->last_served = now.wall - 5;
    start();
    link_up();
    forget();
    send(state_message(PD, now.wall));
    take(FAILOVER_STATE);
    uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
    send(Message(FAILOVER_UPDDONE, xid));
    ASSERT_EQ(RW, x->state());
    disconnect(link);
    now.wall += 500;
    pass(59000);
    EXPECT_EQ(RW, x->state());
    pass(2000);
    EXPECT_EQ(RD, x->state());
}

TEST_F(TheRules, Rule09WaitsAreLongerByTheSkew) {
    for (int64_t s : {25, -25}) {
        in_state(NO);
        skew = s;
        send(Message(FAILOVER_CONTACT, partner_xid++));
        disconnect(link);
        force(PD);
        pass(84000);
        EXPECT_FALSE(may_have(three, PARTNERS));
        pass(1000);
        EXPECT_TRUE(may_have(three, PARTNERS));
        x->kill();
        x->process_ = "process-2";
        start();
        EXPECT_EQ(s, x->status(now).skew) << "it is remembered";
        x->kill();
        x->process_ = "process-1";
        skew = 0;
        inbox.clear();
    }
}

TEST_F(TwoServers, Rule09TwoClocksNeverEndALeaseEarly) {
    for (int64_t ahead : {40, -40}) {
        make();
        s->config_.mclt = 60;
        p->ahead_ = ahead;
        start();
        ASSERT_EQ(NO, p->state());
        failover_client c = make_client(1);
        Lease lease = dora(*s, c); // its end is in the secondary's clock
        ASSERT_EQ(Lease::ACK, lease.kind);
        int64_t end = now.wall + lease.lifetime;
        while (now.wall < end) {
            EXPECT_EQ(FAILOVER_ACTIVE, p->binding(lease.address).status) << end - now.wall << " s before its end";
            pass(1);
        }
        pass(90);
        EXPECT_EQ(FAILOVER_FREE, p->binding(lease.address).status);
        EXPECT_EQ(FAILOVER_FREE, s->binding(lease.address).status);
        p->kill();
        s->kill();
        reset_connections();
    }
}

// ---- 10: a changed MCLT ---------------------------------------------------------------------------------------------

TEST_F(TheRules, Rule10ALoweredMcltCountsForGrantsAtOnceAndForWaitsLater) {
    in_state(CI, {}, [](failover_config &c) { c.mclt = 20; });
    EXPECT_EQ(20u, bind(one, OWN));
    link_up_in(RE); // the partner takes it
    int64_t taken = now.wall;
    EXPECT_EQ(taken, x->record_->mclt_taken);
    disconnect(link);
    force(PD);
    // STOS + the old MCLT, since that has not passed since the partner took the new one.
    pass(59000);
    EXPECT_FALSE(may_have(three, PARTNERS));
    pass(1000);
    EXPECT_TRUE(may_have(three, PARTNERS)) << "60 s after the taking only the new one counts";
    in_state(PD, {}, [](failover_config &c) { c.mclt = 20; });
    pass(100000);
    EXPECT_TRUE(may_have(three, PARTNERS)) << "never taken: the old one counts";
}

TEST_F(TheRules, Rule10ALoweredMcltThatWasNeverTaken) {
    in_state(PD, {}, [](failover_config &c) { c.mclt = 20; });
    EXPECT_EQ(20u, lifetime(one, OWN));
    pass(59000);
    EXPECT_FALSE(may_have(three, PARTNERS));
    pass(1000);
    EXPECT_TRUE(may_have(three, PARTNERS));
}

TEST_F(TheRules, Rule10ARaisedMcltIsNotGrantedBeforeThePartnerHasTakenIt) {
    auto raised = [](failover_config &c) { c.mclt = 600; };
    in_state(CI, {}, raised);
    EXPECT_EQ(60u, lifetime(one, OWN));
    link = connect(true);
    Received c = take(FAILOVER_CONNECT);
    EXPECT_EQ(600u, c.m.mclt) << "the partner is offered it";
    EXPECT_EQ(60u, lifetime(one, OWN));
    send(connectack_message());
    EXPECT_EQ(60u, lifetime(one, OWN)) << "it need not have it on disk yet";
    send(state_message(CI, now.wall));
    EXPECT_EQ(600u, lifetime(one, OWN));
    in_state(PD, {}, raised);
    pass(599000);
    EXPECT_FALSE(may_have(three, PARTNERS)) << "waits count with the higher one at once";
    pass(1000);
    EXPECT_TRUE(may_have(three, PARTNERS));
}

TEST_F(TheRules, Rule10ChangedTwiceBeforeThePartnerHears) {
    in_state(CI, {}, [](failover_config &c) { c.mclt = 3600; });
    x->config_.mclt = 600;
    x->kill();
    start();
    EXPECT_EQ(60u, lifetime(one, OWN)) << "the partner still has 60";
    link_up_in(RE);
    EXPECT_EQ(600u, lifetime(one, OWN));
}

TEST_F(TwoServers, Rule10TheSecondaryTakesWhatThePrimarySays) {
    make();
    start();
    EXPECT_EQ(60u, s->status(now).mclt) << "its own configuration said 3600";
    kill(*p);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    pass(60);
    EXPECT_EQ(20u, s->own_free(now)) << "what was never in force is no old MCLT to wait for";
}

TEST_F(TwoServers, Rule10TheSecondaryWaitsForTheOldOneToo) {
    start_normal();
    kill(*p);
    p->config_.mclt = 20;
    restart(*p);
    pass(6);
    ASSERT_EQ(NO, s->state());
    EXPECT_EQ(20u, s->status(now).mclt);
    EXPECT_EQ(20u, dora(*s, make_client(1)).lifetime) << "grants at once";
    int64_t taken = s->record_->mclt_taken;
    kill(*p);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    pass(taken + 59 - now.wall);
    EXPECT_EQ(9u, s->own_free(now));
    pass(2);
    EXPECT_EQ(19u, s->own_free(now));
}

TEST_F(TheRules, Rule10StateSaysThatTheMcltIsOnDisk) {
    make_known(FAILOVER_SECONDARY, CI);
    start();
    x->disk_works_ = false;
    partner_mclt = 600;
    link = connect();
    send(connect_message());
    EXPECT_EQ("CONNECTACK", names(link));
    x->disk_works_ = true;
    run();
    EXPECT_EQ("CONNECTACK STATE", names(link));
    EXPECT_EQ(600u, x->record_->mclt);
}

// ---- 11: the partner can't end a living lease -----------------------------------------------------------------------

TEST_F(TwoServers, Rule11AnEarlyExpiryOfThePartnerIsPutRight) {
    start_normal();
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    interrupt();
    Lease longer = request(*s, c, lease.address); // the primary doesn't hear of it
    ASSERT_EQ(Lease::ACK, longer.kind);
    int64_t end = now.wall + longer.lifetime;
    pass(40);
    ASSERT_EQ(FAILOVER_EXPIRED, p->binding(lease.address).status);
    mend();
    pass(6);
    ASSERT_EQ(NO, p->state());
    for (Server *x : {p.get(), s.get()}) {
        EXPECT_EQ(FAILOVER_ACTIVE, x->binding(lease.address).status);
        EXPECT_EQ(end, x->binding(lease.address).ends);
    }
    EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind);
}

// ---- 12: announced means committed ----------------------------------------------------------------------------------

TEST_F(TheRules, Rule12NothingLeavesBeforeItsCommit) {
    in_state(NO);
    x->disk_works_ = false;
    ASSERT_EQ(60u, bind(one, OWN));
    send(bndupd(PARTNERS, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall));
    send(Message(FAILOVER_UPDREQALL, 5));
    EXPECT_EQ("", names(link));
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(PARTNERS).status) << "though it counts here already";
    EXPECT_EQ(0u, x->bindings_.count(OWN));
    x->disk_works_ = true;
    run();
    EXPECT_EQ(FAILOVER_ACTIVE, x->bindings_[OWN].status);
    EXPECT_EQ(FAILOVER_BNDACK, in(link).front().m.type);
}

TEST_F(TheRules, Rule12AGivenAddressIsNobodysFromTheMomentItIsQueued) {
    in_state(CI);
    x->kill();
    x->bindings_.clear(); // everything is this server's
    start();
    ASSERT_EQ(20u, x->own_free(now));
    x->disk_works_ = false;
    link_up();
    send(state_message(CI, now.wall));
    ASSERT_EQ(NO, x->state());
    EXPECT_EQ(10u, x->own_free(now)) << "half are given to the partner, which hasn't heard of it";
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 20; a++) {
        if (x->binding(a).owner == FAILOVER_PARTNERS) {
            EXPECT_FALSE(may_have(one, a));
        }
    }
}

TEST_F(TheRules, Rule12TheDatabaseSaysOnceThatItCantBeWritten) {
    in_state(NO);
    for (int i = 0; i < 5; i++) {
        failover_storing(x->core(), false, "disk full");
    }
    auto says = [](const std::string &line) { return line.find("can't be written: disk full") != std::string::npos; };
    EXPECT_EQ(1, std::count_if(x->log_.begin(), x->log_.end(), says));
    EXPECT_FALSE(x->status(now).storing);
    EXPECT_EQ(NO, x->state()) << "it serves on in its state";
    EXPECT_EQ(60u, bind(one, OWN));
    failover_storing(x->core(), true, "");
    EXPECT_TRUE(x->logged("written again"));
}

TEST_F(TheRules, Rule12TheRowOfALeaseStaysUntilTheLeaseIsOnDisk) {
    in_state(CI);
    x->disk_works_ = false;
    ASSERT_EQ(60u, bind(one, OWN));
    EXPECT_FALSE(failover_is_on_disk(x->core(), OWN)) << "after a kill nobody else would know of it";
    EXPECT_TRUE(failover_is_on_disk(x->core(), OWN + 1));
    x->disk_works_ = true;
    run();
    EXPECT_TRUE(failover_is_on_disk(x->core(), OWN));
}

class Adopt : public TheRules {
protected:
    // The next start of a server in CI finds this row in Kea's database, and what it has itself in bindings_.
    void row(const failover_client &client, int64_t cltt, int64_t ends) {
        x->rows_[OWN] = Server::Row{client, now.wall + cltt, now.wall + ends};
    }
    void begin(std::vector<failover_binding> bindings = {}) {
        make_known(FAILOVER_PRIMARY, CI);
        for (failover_binding &b : bindings) {
            x->bindings_[b.address] = b;
        }
    }
    void go() {
        start();
        pass(10000);
        ASSERT_EQ(CI, x->state());
    }
    void start_with_declined(int64_t cltt, int64_t ends) {
        x->start(now);
        failover_lease declined{OWN, {}, now.wall + cltt, now.wall + ends, true};
        failover_adopt(x->core(), &declined, now);
        failover_adopted_all(x->core(), now);
        run();
    }
    failover_binding ended(failover_binding_status status, int64_t when) {
        failover_binding b = lease(OWN, one, when);
        b.status = status;
        b.cltt = now.wall + when;
        return b;
    }
};

TEST_F(Adopt, Rule12ALeaseThatOnlyKeaHasCounts) {
    begin();
    row(one, -20, 40);
    go();
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    EXPECT_TRUE(x->binding(OWN).update_due) << "the partner hears of it";
    EXPECT_EQ(now.wall + 30, x->binding(OWN).ends);
    EXPECT_EQ(1u, x->rows_.count(OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN));
}

TEST_F(Adopt, Rule12ALeaseThatOnlyTheRecordHasCounts) {
    begin({lease(OWN, one, 500)});
    go();
    ASSERT_EQ(1u, x->rows_.count(OWN)) << "Kea gets it again";
    EXPECT_EQ(now.wall + 490, x->rows_[OWN].ends);
}

TEST_F(Adopt, Rule12TheLaterEndWins) {
    begin({lease(OWN, one, 500)});
    row(one, -20, 3000);
    go();
    EXPECT_EQ(now.wall + 2990, x->binding(OWN).ends);
    begin({lease(OWN, one, 500)});
    row(one, -200, 100);
    go();
    EXPECT_EQ(now.wall + 490, x->binding(OWN).ends);
}

TEST_F(Adopt, Rule12ARenewalWithAnEarlierEndIsStillTheLastTransaction) {
    begin({lease(OWN, one, 500)});
    row(one, -20, 40);
    go();
    EXPECT_EQ(now.wall - 30, x->binding(OWN).cltt);
    EXPECT_EQ(now.wall + 490, x->binding(OWN).ends) << "the promised end stays";
}

TEST_F(Adopt, Rule12ARowThatWasLeftOverGoes) {
    for (auto status : {FAILOVER_RELEASED, FAILOVER_FREE}) {
        begin({ended(status, -5)});
        row(one, -100, 3000); // Kea was killed before it deleted it
        go();
        EXPECT_EQ(status, x->binding(OWN).status);
        EXPECT_EQ(0u, x->rows_.count(OWN));
    }
}

TEST_F(Adopt, Rule12ALeaseMadeInTheVerySecondCounts) {
    failover_binding freed = ended(FAILOVER_FREE, -20);
    freed.starts = now.wall - 20;
    begin({freed});
    row(two, -20, 40);
    go();
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
}

TEST_F(Adopt, Rule12ALeaseThatHasEndedMeanwhileDoesNotCount) {
    begin();
    row(one, -100, -1);
    go();
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    EXPECT_EQ(0u, x->rows_.count(OWN));
}

TEST_F(Adopt, Rule12ARowThatIsOverGoesWithItsBinding) {
    begin({lease(OWN, one, -60)});
    row(one, -50, -1); // the renewal was on no disk of ours
    go();
    EXPECT_EQ(now.wall - 60, x->binding(OWN).cltt);
}

TEST_F(Adopt, Rule12ALeaseThatWentOnAfterItsEndKeepsItsPast) {
    begin({ended(FAILOVER_RELEASED, -50)});
    row(one, -20, 40);
    go();
    failover_binding b = x->binding(OWN);
    EXPECT_EQ(FAILOVER_ACTIVE, b.status);
    EXPECT_TRUE(b.update_sent) << "the partner may have extended it: there is nothing to rewind";
    EXPECT_EQ(now.wall - 10 + 3600, b.sent) << "to be waited for";
    EXPECT_EQ(0, b.acked)
        << "but both may have agreed on the end, and this be another lease that the partner doesn't know";
}

TEST_F(Adopt, Rule12AnotherClientsRowIsAClashWhereBothLive) {
    begin({lease(OWN, one, 500)});
    row(two, -20, 40);
    go();
    EXPECT_EQ(1u, x->status(now).counters.clashes);
    failover_binding b = x->binding(OWN);
    EXPECT_TRUE(failover_same_client(&two, &b.client)) << "who got it last";
    EXPECT_EQ(now.wall + 490, b.ends) << "but nobody else before both have ended";
    begin({lease(OWN, one, -30)});
    row(two, -20, 40);
    go();
    EXPECT_EQ(0u, x->status(now).counters.clashes) << "one of the two had ended";
}

TEST_F(Adopt, Rule12ADeclinedRow) {
    begin();
    start_with_declined(-5, 500);
    EXPECT_EQ(FAILOVER_ABANDONED, x->binding(OWN).status);
    EXPECT_EQ(now.wall + 500, x->binding(OWN).ends);
}

TEST_F(Adopt, Rule12ADeclinedRowEndsALeaseThatWasGivenHereOrIsOver) {
    for (bool here : {true, false}) {
        SCOPED_TRACE(here);
        failover_binding before = lease(OWN, one, here ? 500 : -1);
        before.granted_here = here;
        before.cltt = now.wall - (here ? 5 : 2);
        begin({before});
        start_with_declined(-5, 60);
        EXPECT_EQ(FAILOVER_ABANDONED, x->binding(OWN).status);
        EXPECT_EQ(now.wall + 60, x->binding(OWN).ends);
    }
}

TEST_F(Adopt, Rule12ADeclinedRowMayBeLeftOverFromBeforeThePartnersLease) {
    for (int64_t skew : {0, 3}) {
        for (int64_t later : {skew, skew + 1}) {
            SCOPED_TRACE(later);
            failover_binding theirs = lease(OWN, one, 500);
            theirs.granted_here = false;
            theirs.cltt = now.wall - 5 + later;
            begin({theirs});
            x->record_->skew = int32_t(-skew);
            start_with_declined(-5, 60);
            failover_binding b = x->binding(OWN);
            EXPECT_EQ(now.wall + 500, b.ends) << "nobody else before both are over";
            EXPECT_EQ(later > skew ? FAILOVER_ACTIVE : FAILOVER_ABANDONED, b.status);
            EXPECT_EQ(later > skew, x->has_row(one, OWN)) << "it is put in its place";
        }
    }
}

TEST_F(Adopt, Rule12WithoutARecordEveryRowMayBeKnownToThePartner) {
    make(FAILOVER_PRIMARY);
    row(one, -20, 40);
    start();
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    EXPECT_TRUE(x->binding(OWN).update_sent);
    force(PD);
    pass(90000);
    EXPECT_FALSE(may_have(two, OWN)) << "MCLT beyond its end";
    pass(11000);
    EXPECT_TRUE(may_have(two, OWN));
}

TEST_F(Adopt, Rule12WhatIsFreeIsListedAfterAStart) {
    make_known(FAILOVER_PRIMARY, CI);
    x->record_->skew = 7;
    failover_binding used = ended(FAILOVER_FREE, -500);
    x->bindings_[OWN] = used;
    failover_binding never{};
    never.address = OWN + 1;
    never.status = FAILOVER_FREE;
    never.owner = FAILOVER_MINE;
    x->bindings_[OWN + 1] = never;
    failover_binding later = used;
    later.address = OWN + 2;
    later.ends = now.wall + 100;
    x->bindings_[OWN + 2] = later;
    go();
    EXPECT_EQ(9u, x->own_free(now));
    pass(98000);
    EXPECT_EQ(10u, x->own_free(now)) << "and the last when it may be given";
}

// ---- 13: a reconfiguration is no start ------------------------------------------------------------------------------

TEST_F(TheRules, Rule13TheStateGoesOnAtOnce) {
    const std::pair<failover_state, failover_state> cases[] = {{NO, CI}, {CI, CI}, {PD, PD}, {RE, RE},
                                                               {RW, RW}, {RD, RD}, {RI, RI}, {SH, SH}};
    for (auto &[state, expected] : cases) {
        in_state(state, {lease(OWN, one, 300)});
        int64_t stos = x->record_->stos;
        failover_stop(x->core(), now);
        x->commit(now);
        x->kill();
        now.wall += 2;
        now.mono += 2000;
        start();
        EXPECT_EQ(expected, x->state()) << failover_state_name(state);
        if (expected == state) {
            EXPECT_EQ(stos, x->record_->stos);
        }
        EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
        x->kill();
        inbox.clear();
    }
}

TEST_F(TheRules, Rule13AnotherProcessIsAStart) {
    for (const char *process : {"process-2", "", "process-", "process-11"}) {
        in_state(CI);
        x->kill();
        x->process_ = process;
        start();
        EXPECT_EQ(ST, x->state()) << "\"" << process << "\"";
        x->kill();
    }
}

TEST_F(TheRules, Rule13AReconfigurationInStartupBeginsItAgain) {
    make_known(FAILOVER_PRIMARY, CI);
    start();
    ASSERT_EQ(ST, x->state());
    pass(5000);
    x->kill();
    start();
    EXPECT_EQ(ST, x->state());
}

TEST_F(TheRules, Rule13TheInterruptionAndItsMarksGoOn) {
    in_state(CI, {lease(OWN, one, 300)});
    ASSERT_NE(0u, bind(one, OWN));
    x->kill();
    start();
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
    in_state(NO, {lease(OWN, one, 300)});
    ASSERT_NE(0u, bind(one, OWN));
    x->kill();
    start();
    ASSERT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN)) << "this interruption has only begun";
}

// ---- 14: silence is per relationship --------------------------------------------------------------------------------

TEST_F(TheRules, Rule14OneRelationshipIsSilentAndAnotherServes) {
    in_state(RE);
    std::unique_ptr<Server> silent = std::move(x);
    in_state(CI);
    EXPECT_TRUE(failover_is_silent(silent->core()));
    EXPECT_FALSE(failover_is_silent(x->core()));
    EXPECT_EQ(FAILOVER_SILENCE, failover_on_other(silent->core(), &why));
    EXPECT_EQ(FAILOVER_GO_ON, failover_on_other(x->core(), &why));
    EXPECT_EQ(60u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_FREE, silent->binding(OWN).status);
}

TEST_F(TheRules, Rule14AddressesThatNoRelationshipCovers) {
    in_state(CI);
    EXPECT_EQ(SUBNET, failover_subnet_of(x->core(), OWN));
    EXPECT_EQ(0u, failover_subnet_of(x->core(), POOL_FIRST - 1));
    EXPECT_EQ(0u, failover_subnet_of(x->core(), POOL_FIRST + 20));
    failover_binding b;
    EXPECT_FALSE(failover_get_binding(x->core(), POOL_FIRST + 20, &b));
}
