// SPDX-License-Identifier: MPL-2.0
//
// What clients see in each state, row by row, with lifetimes worked out by hand: the MCLT is 60 s and the
// configured lifetime 3600 s unless a test says otherwise.
#include "lease_rules.h"
#include "load_balance.h"
#include "partner.h"
#include "state.h"

using namespace failover_test;

namespace {

constexpr failover_state NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED, PD = FAILOVER_PARTNER_DOWN,
                         PC = FAILOVER_POTENTIAL_CONFLICT, RE = FAILOVER_RECOVER, SH = FAILOVER_SHUTDOWN,
                         RD = FAILOVER_RECOVER_DONE, RI = FAILOVER_RESOLUTION_INTERRUPTED, CD = FAILOVER_CONFLICT_DONE,
                         RW = FAILOVER_RECOVER_WAIT;

constexpr uint32_t OWN = POOL_FIRST, PARTNERS = POOL_FIRST + 15, ELSEWHERE = POOL_FIRST + 1000;

} // namespace

class Rules : public Scripted {
protected:
    const failover_client one = make_client(1, true), two = make_client(2), three = make_client(3);
    failover_why why{};

    // A lease of `client` on `address` in the database, made `ago` seconds ago.
    failover_binding lease(uint32_t address, const failover_client &client, int64_t ago, int64_t left, int64_t acked) {
        failover_binding b{};
        b.address = address;
        b.status = FAILOVER_ACTIVE;
        b.owner = address < POOL_FIRST + 10 ? FAILOVER_MINE : FAILOVER_PARTNERS;
        b.starts = b.cltt = now.wall - ago;
        b.ends = b.given = now.wall + left;
        b.acked = acked == 0 ? 0 : now.wall + acked;
        b.sent = b.acked;
        b.update_sent = b.state_sent = acked != 0;
        b.update_due = acked == 0;
        b.granted_here = true;
        b.client = client;
        return b;
    }
    // The core in `state`, as a reconfiguration leaves it, with these leases; linked where the state can't be
    // without.
    void in_state(failover_state state, std::vector<failover_binding> leases = {},
                  std::function<void(failover_config &)> change = nullptr) {
        make_known(FAILOVER_PRIMARY, state == NO ? CI : state == PC ? RI : state, 20, change);
        for (failover_binding &b : leases) {
            x->bindings_[b.address] = b;
        }
        snprintf(x->record_->process, sizeof(x->record_->process), "%s", x->process_.c_str());
        x->record_->last_served = now.wall;
        x->record_->stos = now.wall;
        start();
        if (state == NO || state == PC) {
            link_up_in(state == NO ? CI : PC);
        }
        ASSERT_EQ(state, x->state());
        forget();
    }
    std::string explained(uint32_t address) {
        failover_explain_binding(x->core(), address, now, &why);
        return why.text;
    }
    static void extend(failover_config &c) {
        c.interrupted_leases = FAILOVER_EXTEND;
    }
    static void full(failover_config &c) {
        c.partner_down_full = true;
    }
    // The link is kept alive meanwhile.
    void wait(int64_t seconds) {
        for (int64_t i = 0; i < seconds; i++) {
            pass(1000);
            if (x->status(now).linked && i % 5 == 0) {
                send(Message(FAILOVER_CONTACT, partner_xid++));
            }
        }
    }

    failover_verdict discover(const failover_client &client, uint16_t secs = 100) {
        return x->discover_verdict(client, secs, now, &why);
    }
    failover_verdict other() {
        return failover_on_other(x->core(), &why);
    }
    bool may_have(const failover_client &client, uint32_t address) {
        failover_ask a = ask(client, address);
        uint32_t lifetime;
        return failover_may_have(x->core(), &a, now, &lifetime, &why);
    }
    uint32_t next_own() {
        return failover_next_own(x->core(), POOL_FIRST, now);
    }
};

// ---- The silent states ----------------------------------------------------------------------------------------------

TEST_F(Rules, SilentStates) {
    for (failover_state state : {FAILOVER_STARTUP, RE, RW, PC, CD, SH}) {
        SCOPED_TRACE(failover_state_name(state));
        failover_binding held = lease(OWN, one, 10, 50, 3600);
        if (state == FAILOVER_STARTUP) {
            make_known(FAILOVER_PRIMARY, NO);
            x->bindings_[OWN] = held;
            start();
        } else {
            in_state(state, {held});
        }
        EXPECT_TRUE(failover_is_silent(x->core()));
        EXPECT_EQ(FAILOVER_SILENCE, discover(two));
        EXPECT_EQ(FAILOVER_SILENCE, discover(one));
        EXPECT_EQ(FAILOVER_SILENCE, request(one, OWN)) << "a renewal";
        EXPECT_EQ(FAILOVER_SILENCE, request(two, OWN + 1, true)) << "it was offered before";
        EXPECT_EQ(FAILOVER_SILENCE, request(two, OWN)) << "never DHCPNAK";
        EXPECT_EQ(FAILOVER_SILENCE, request(two, ELSEWHERE));
        EXPECT_EQ(FAILOVER_SILENCE, other()) << "RELEASE, DECLINE, INFORM";
        EXPECT_EQ(7u, x->status(now).counters.queries_silent);
        EXPECT_FALSE(may_have(one, OWN)) << "nor where Kea asks only when it answers";
        EXPECT_FALSE(may_have(two, OWN + 1));
        EXPECT_EQ(0u, next_own());
        EXPECT_EQ(0u, x->own_free(now));
        EXPECT_NE("", std::string(why.text));
        x->kill();
    }
}

TEST_F(Rules, SilentStatesEndNoLease) {
    for (failover_state state : {RE, RW, PC, CD, SH, RD}) {
        SCOPED_TRACE(failover_state_name(state));
        in_state(state, {lease(OWN, one, 10, 5, 3600)});
        wait(10);
        EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
        x->kill();
    }
}

TEST_F(Rules, ReservationsOutsideThePoolsAreServedInRecover) {
    for (failover_state state : {RE, RW, NO, CI, PD, PC, SH}) {
        SCOPED_TRACE(failover_state_name(state));
        in_state(state);
        bool served = state != PC && state != SH;
        EXPECT_EQ(served, failover_serves_outside_pools(x->core()));
        failover_ask a = ask(one, ELSEWHERE);
        a.reserved = true;
        EXPECT_EQ(served ? FAILOVER_GO_ON : FAILOVER_SILENCE, failover_on_request(x->core(), &a, now, &why));
        x->kill();
    }
}

// The time of whoever asks counts, whatever came due before it.
TEST_F(Rules, EveryQuestionBringsItsTime) {
    in_state(CI, {lease(OWN, one, 10, 50, 3600)});
    failover_ask a = ask(two, OWN + 1);
    uint32_t seconds = 0;
    const std::function<void()> questions[] = {
        [&] { failover_may_have(x->core(), &a, now, &seconds, &why); },
        [&] { failover_on_request(x->core(), &a, now, &why); },
        [&] { discover(three); },
        [&] { next_own(); },
        [&] { x->own_free(now); },
        [&] { failover_exhausted(x->core(), &three, now); },
        [&] { failover_bound(x->core(), &a, now.wall, 60, now); },
        [&] { failover_released(x->core(), OWN, &one, now); },
        [&] { failover_declined(x->core(), OWN, now.wall + 100, now); },
        [&] { failover_explain_binding(x->core(), OWN, now, &why); },
    };
    for (auto &question : questions) {
        now.wall++;
        now.mono += 1000;
        question();
        EXPECT_EQ(now.mono, x->core()->now.mono) << "question " << &question - questions;
    }
}

// ---- What happens to a lease ----------------------------------------------------------------------------------------

class Happens : public Rules {
protected:
    // Each address is in one status, and counted there.
    void expect_counted(failover_binding_status status, uint64_t count = 1) {
        failover_status s = x->status(now);
        uint64_t all = 0;
        for (uint64_t n : s.by_status) {
            all += n;
        }
        EXPECT_EQ(20u, all) << failover_binding_status_name(status);
        EXPECT_EQ(count, s.by_status[status]) << failover_binding_status_name(status);
    }
};

TEST_F(Happens, EveryAddressIsCountedOnce) {
    in_state(NO);
    expect_counted(FAILOVER_FREE, 10);
    bind(one, OWN);
    expect_counted(FAILOVER_ACTIVE);
    acknowledge_all();
    release(one, OWN);
    expect_counted(FAILOVER_RELEASED);
    acknowledge_all();
    expect_counted(FAILOVER_RELEASED, 0);
    bind(one, OWN);
    failover_declined(x->core(), OWN, now.wall + 10, now);
    expect_counted(FAILOVER_ABANDONED);
    run();
    acknowledge_all();
    wait(11);
    expect_counted(FAILOVER_ABANDONED, 0);
    bind(two, OWN + 1);
    wait(61);
    expect_counted(FAILOVER_EXPIRED);
}

TEST_F(Happens, KeasRowGoesWithTheLease) {
    in_state(NO, {lease(OWN, one, 10, 50, 3600), lease(OWN + 1, two, 10, 50, 3600)});
    ASSERT_EQ(2u, x->rows_.size());
    release(one, OWN); // Kea may keep the row of a released lease
    EXPECT_EQ(0u, x->rows_.count(OWN));
    wait(51);
    EXPECT_EQ(0u, x->rows_.count(OWN + 1)) << "expired";
}

TEST_F(Happens, WhatIsOverIsNotReleasedAgain) {
    in_state(NO, {lease(OWN, one, 10, 50, 3600)});
    release(one, OWN);
    acknowledge_all();
    ASSERT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    release(one, OWN);
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status) << "its last client has nothing more to give back";
}

TEST_F(Happens, WhatIsDeclinedElsewhereIsNotOurs) {
    in_state(NO);
    failover_declined(x->core(), ELSEWHERE, now.wall + 100, now);
    expect_counted(FAILOVER_ABANDONED, 0);
}

// Only the acting primary ends a probation, and only where the partner can hear of it.
TEST_F(Happens, AProbationIsNotEndedAlone) {
    for (failover_state state : {CI, NO}) {
        for (bool connected : {false, true}) {
            if (state == NO && connected) {
                continue;
            }
            SCOPED_TRACE(std::string(failover_state_name(state)) + (connected ? ", with a link" : ""));
            in_state(CI);
            if (connected) {
                link_up_in(RE);
                ASSERT_EQ(CI, x->state());
            }
            if (state == NO) {
                link_up_in(CI);
                ASSERT_EQ(NO, x->state());
            }
            failover_declined(x->core(), OWN, now.wall + 10, now);
            run();
            acknowledge_all();
            if (state == NO) { // forced to it, when the partner that knows is gone
                disconnect(link);
                state_enter(x->core(), NO, now.wall);
            }
            wait(20);
            EXPECT_EQ(FAILOVER_ABANDONED, x->binding(OWN).status);
            x->kill();
            inbox.clear();
        }
    }
}

// In NORMAL the acting primary ends leases; who is alone has to do it.
TEST_F(Happens, ASecondaryAloneEndsLeases) {
    make_known(FAILOVER_SECONDARY, CI);
    x->bindings_[OWN] = lease(OWN, one, 10, 50, 3600);
    start();
    state_enter(x->core(), NO, now.wall);
    pass(51000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
}

// Kea's row may be all that is on disk of a lease.
TEST_F(Happens, ALongerLeaseIsOnDiskBeforeItIsMadeShorter) {
    in_state(NO, {lease(OWN, one, 10, 50, 3600)});
    x->disk_works_ = false;
    ASSERT_EQ(3600u, bind(one, OWN));
    desired = 5000;
    EXPECT_EQ(3660u, bind(one, OWN));
    desired = 100;
    EXPECT_EQ(3660u, bind(one, OWN));
    x->disk_works_ = true;
    x->commit(now);
    EXPECT_EQ(100u, bind(one, OWN));
}

TEST_F(Happens, ALongerLeaseIsGivenAgainThoughThePartnerGaveAShorterOneMeanwhile) {
    in_state(NO, {lease(OWN, one, 10, 50, 3600)});
    x->disk_works_ = false;
    desired = 3000;
    ASSERT_EQ(3000u, bind(one, OWN));
    int64_t longer = now.wall + 3000;
    wait(100);
    send(bndupd(OWN, FAILOVER_ACTIVE, &one, now.wall + 200, now.wall + 260, now.wall, now.wall));
    EXPECT_EQ(longer, x->binding(OWN).given);
    desired = 100;
    EXPECT_EQ(2900u, bind(one, OWN));
    wait(100);
    x->disk_works_ = true;
    x->commit(now);
    send(bndupd(OWN, FAILOVER_ACTIVE, &one, now.wall + 300, now.wall + 360, now.wall, now.wall));
    EXPECT_EQ(now.wall + 300, x->binding(OWN).given);
}

TEST_F(Happens, TheLeaseBeforeIsNotGivenAgainToAnother) {
    in_state(NO, {lease(OWN, one, 10, 3000, 3600)});
    x->disk_works_ = false;
    send(bndupd(OWN, FAILOVER_RELEASED, &one, now.wall, now.wall, now.wall, now.wall));
    ASSERT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    ASSERT_FALSE(failover_is_on_disk(x->core(), OWN));
    EXPECT_EQ(60u, bind(two, OWN));
}

// In NORMAL the secondary ends no lease; its client may come back before the primary has ended it.
TEST_F(Happens, ALeaseThatIsOverGoesOnWhereNewClientsAreServed) {
    make_known(FAILOVER_SECONDARY, CI);
    x->bindings_[OWN] = lease(OWN, one, 10, 5, 3600);
    start();
    link_up_in(CI);
    ASSERT_EQ(NO, x->state());
    wait(10);
    ASSERT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    ASSERT_GT(now.wall, x->binding(OWN).ends);
    EXPECT_NE(0u, bind(one, OWN));
}

// Rule 5: the partner may have extended it.
TEST_F(Happens, WhatWasLeasedBeforePartnerDownWaitsForThePartnersClients) {
    in_state(NO);
    ASSERT_EQ(60u, bind(one, OWN));
    send(bndack(take(FAILOVER_BNDUPD)));
    send(state_message(SH, now.wall));
    ASSERT_EQ(PD, x->state());
    disconnect(link);
    pass(70000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
}

TEST_F(Happens, TheLastGrantIsRemembered) {
    in_state(CI);
    ASSERT_EQ(60u, bind(one, OWN));
    EXPECT_EQ(now.wall, x->core()->record.last_granted);
    now.wall -= 5;
    ASSERT_EQ(60u, bind(two, OWN + 1));
    EXPECT_EQ(now.wall + 5, x->core()->record.last_granted) << "a clock set back doesn't make it earlier";
}

// ---- The same transaction (rule 3) ----------------------------------------------------------------------------------

class SameTransaction : public Rules {
protected:
    // In NORMAL, where the first grant is for 60 s and, once the partner knows, the next for 3600.
    void granted() {
        in_state(NO);
        ASSERT_EQ(60u, bind(one, OWN, 77));
        send(bndack(take(FAILOVER_BNDUPD)));
    }
};

TEST_F(SameTransaction, InTheSameSecond) {
    granted();
    EXPECT_EQ(60u, bind(one, OWN, 77));
    EXPECT_EQ("", names(link)) << "nothing has happened that the partner had to hear of";
}

// Nobody renews so early, and nobody retransmits so late (RFC 2131, 4.4.5 and 4.1).
TEST_F(SameTransaction, UntilAThirdOfTheLeaseOrAMinute) {
    for (int64_t later : {19, 20}) {
        granted();
        wait(later);
        EXPECT_EQ(later < 20 ? 41u : 3600u, bind(one, OWN, 77));
    }
    for (int64_t later : {63, 64}) {
        granted();
        ASSERT_EQ(3600u, bind(one, OWN, 78));
        acknowledge_all();
        wait(later);
        EXPECT_EQ(later < 64 ? 3537u : 3600u, bind(one, OWN, 78));
    }
}

TEST_F(SameTransaction, NotOfALeaseThatIsOver) {
    in_state(PD, {lease(OWN, one, 10, 50, 3600)});
    ASSERT_EQ(60u, bind(one, OWN, 77));
    pass(2000);
    release(one, OWN);
    EXPECT_EQ(60u, bind(one, OWN, 77)) << "some clients never change their xid";
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
}

TEST_F(SameTransaction, NotOfALeaseThatWasReleasedAtThePartner) {
    in_state(NO);
    ASSERT_EQ(60u, bind(two, OWN, 77));
    send(bndack(take(FAILOVER_BNDUPD)));
    wait(6);
    ASSERT_EQ(0, verdict(bndupd(OWN, FAILOVER_RELEASED, &two, now.wall, now.wall, now.wall, now.wall)));
    ASSERT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    ASSERT_EQ(FAILOVER_MINE, x->binding(OWN).owner);
    EXPECT_EQ(60u, bind(two, OWN, 77));
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
}

TEST_F(SameTransaction, NotOfOneThatThePartnerHasAnsweredSince) {
    granted();
    wait(1);
    ASSERT_EQ(0, verdict(bndupd(OWN, FAILOVER_ACTIVE, &one, now.wall + 300, now.wall + 5000, now.wall, now.wall)));
    EXPECT_EQ(3600u, bind(one, OWN, 77));
}

// A Kea that has heard of the lease extends it, and we hear of that before its BNDACK.
TEST_F(SameTransaction, NotOfOneThatThePartnerHasExtendedBeforeItsBndack) {
    ours = true;
    in_state(NO);
    ASSERT_EQ(60u, bind(one, OWN, 77, true));
    wait(2);
    forget();
    ASSERT_EQ(0, verdict(bndupd(OWN, FAILOVER_ACTIVE, &one, now.wall + 300, now.wall + 5000, now.wall, now.wall)));
    EXPECT_EQ(3600u, bind(one, OWN, 77));
}

TEST_F(SameTransaction, NotOfAnotherClient) {
    granted();
    failover_ask a = ask(two, OWN, 77);
    EXPECT_FALSE(failover_bound(x->core(), &a, now.wall, 60, now));
}

TEST_F(SameTransaction, NotWithoutAnXid) {
    failover_binding b = lease(OWN, one, 10, 50, 3600);
    in_state(NO, {b});
    ASSERT_EQ(0u, x->binding(OWN).xid);
    failover_ask a = ask(one, OWN);
    a.xid = 0;
    uint32_t seconds = 0;
    ASSERT_TRUE(failover_may_have(x->core(), &a, now, &seconds, &why));
    EXPECT_EQ(3600u, seconds);
}

TEST_F(SameTransaction, NotOfTheFuture) {
    granted();
    now.wall -= 100; // the clock was set back
    EXPECT_EQ(3600u, bind(one, OWN, 77)) << "and not what is left by the wrong clock";
}

// ---- NORMAL ---------------------------------------------------------------------------------------------------------

class Normal : public Rules {};

TEST_F(Normal, NewClientGetsAnOwnAddressForTheMclt) {
    in_state(NO);
    EXPECT_EQ(FAILOVER_GO_ON, discover(one));
    EXPECT_EQ(OWN, next_own());
    EXPECT_EQ(60u, bind(one, OWN));
    EXPECT_EQ(9u, x->own_free(now));
}

TEST_F(Normal, LifetimesUpToTheMcltAreGrantedAsTheyAre) {
    in_state(NO);
    const std::pair<uint32_t, uint32_t> cases[] = {{1, 1}, {30, 30}, {59, 59}, {60, 60}, {61, 60}, {4294967294u, 60}};
    uint32_t address = OWN;
    for (auto &[wanted, granted] : cases) {
        desired = wanted;
        EXPECT_EQ(granted, bind(make_client(unsigned(address)), address)) << wanted;
        address++;
    }
}

TEST_F(Normal, RenewalIsWithinTheMcltRule) {
    // Acknowledged until 100 s from now: 100 + 60.
    in_state(NO, {lease(OWN, one, 30, 30, 100)});
    EXPECT_EQ(160u, bind(one, OWN));
    // Acknowledged far ahead: the configured lifetime.
    in_state(NO, {lease(OWN, one, 30, 30, 5000)});
    EXPECT_EQ(3600u, bind(one, OWN));
    // Acknowledged in the past: the MCLT.
    in_state(NO, {lease(OWN, one, 30, 30, -10)});
    EXPECT_EQ(60u, bind(one, OWN));
    // Never acknowledged.
    in_state(NO, {lease(OWN, one, 30, 30, 0)});
    EXPECT_EQ(60u, bind(one, OWN));
}

TEST_F(Normal, AnyClientIsRenewedHere) {
    failover_binding b = lease(PARTNERS, one, 30, 30, 3600);
    b.granted_here = false;
    in_state(NO, {b});
    EXPECT_EQ(FAILOVER_GO_ON, request(one, PARTNERS));
    EXPECT_EQ(3600u, bind(one, PARTNERS));
}

TEST_F(Normal, ReleaseIsToldAndWaits) {
    in_state(NO, {lease(OWN, one, 30, 30, 3600)});
    EXPECT_EQ(FAILOVER_GO_ON, other());
    release(one, OWN);
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(OWN).status);
    EXPECT_EQ(FAILOVER_RELEASED, take(FAILOVER_BNDUPD).m.binding_status);
    EXPECT_FALSE(may_have(two, OWN));
    EXPECT_FALSE(may_have(one, OWN)) << "the BNDUPD has left";
}

TEST_F(Normal, ReleaseThatWasNotToldYetMayBeTakenBack) {
    partner_max_unacked = 1;
    in_state(NO, {lease(OWN, one, 30, 30, 3600)});
    x->disk_works_ = false; // nothing leaves
    disconnect(link);
    EXPECT_EQ(CI, x->state());
    x->disk_works_ = true;
    x->config_.interrupted_leases = FAILOVER_EXTEND;
    in_state(CI, {lease(OWN, one, 30, 30, 3600)}, extend);
    release(one, OWN);
    EXPECT_FALSE(may_have(two, OWN));
    EXPECT_TRUE(may_have(one, OWN));
    EXPECT_EQ(3600u, bind(one, OWN)) << "with what the partner has acknowledged";
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
}

TEST_F(Normal, SomebodyElsesReleaseIsNone) {
    in_state(NO, {lease(OWN, one, 30, 30, 3600)});
    release(two, OWN);
    release(two, ELSEWHERE);
    release(two, OWN + 1);
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN + 1).status);
}

// Forced to normal alone: the partner's share stays the partner's, and it hears of everything before it is given on.
TEST_F(Normal, AloneTheRulesAreTheSame) {
    in_state(CI);
    ASSERT_EQ(60u, bind(one, OWN));
    state_enter(x->core(), NO, now.wall);
    release(one, OWN);
    pass(1000000);
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(OWN).status);
    EXPECT_FALSE(may_have(two, OWN));
    EXPECT_EQ(60u, bind(one, OWN)) << "but its own client may have it back meanwhile";
    EXPECT_FALSE(may_have(two, PARTNERS)) << "however long it lasts";
    EXPECT_EQ(9u, x->own_free(now));
}

TEST_F(Normal, LoadBalancing) {
    in_state(NO);
    int mine = 0, left = 0;
    for (unsigned n = 1; n <= 64; n++) {
        failover_client c = make_client(n);
        bool answered = discover(c, 0) == FAILOVER_GO_ON;
        (answered ? mine : left)++;
        EXPECT_EQ(FAILOVER_GO_ON, discover(c, 4)) << "it waits longer than load-balance-max-seconds";
        EXPECT_EQ(FAILOVER_GO_ON, discover(c, 0x0400)) << "the same, in the other byte order";
        EXPECT_EQ(answered ? FAILOVER_GO_ON : FAILOVER_SILENCE, discover(c, 3));
        EXPECT_EQ(FAILOVER_GO_ON, request(c, OWN, true)) << "a REQUEST is never balanced";
    }
    EXPECT_GT(mine, 16);
    EXPECT_GT(left, 16);
    EXPECT_EQ(uint64_t(2 * left), x->status(now).counters.queries_balanced);
}

TEST_F(Normal, LoadBalancingLeavesNobodyWaiting) {
    in_state(NO);
    failover_client c{};
    for (unsigned n = 1; n < 64; n++) {
        c = make_client(n);
        if (discover(c, 0) == FAILOVER_SILENCE) {
            break;
        }
    }
    wait(3);
    EXPECT_EQ(FAILOVER_SILENCE, discover(c, 0));
    wait(1);
    EXPECT_EQ(FAILOVER_GO_ON, discover(c, 0)) << "some clients never set secs";
    wait(60);
    EXPECT_EQ(FAILOVER_GO_ON, discover(c, 0)) << "it still waits after a minute";
    wait(61);
    EXPECT_EQ(FAILOVER_SILENCE, discover(c, 0)) << "after a longer pause it begins anew";
}

// It comes late where the connection was lost.
TEST_F(Normal, NewsOfBeforeTheClientAskedIsNoAnswer) {
    for (int64_t ahead : {0, 30}) {
        for (int64_t earlier : {1, 2}) {
            in_state(NO, {}, [](failover_config &c) { failover_hba_from_split(0, c.hba); });
            skew = ahead;
            send(Message(FAILOVER_CONTACT));
            ASSERT_EQ(FAILOVER_SILENCE, discover(two, 0));
            int64_t asked = now.wall;
            wait(2);
            lease_rules_partner_answered(x->core(), &two, asked + ahead - earlier);
            wait(2);
            EXPECT_EQ(earlier > 1 ? FAILOVER_GO_ON : FAILOVER_SILENCE, discover(two, 0)) << "clocks are rounded";
            skew = 0;
        }
    }
}

// When the partner has vanished with its half of the clients, and the link doesn't know that yet.
TEST_F(Normal, LoadBalancingForgetsNobodyWhoWaitsBesideManyOthers) {
    in_state(NO, {}, [](failover_config &c) { failover_hba_from_split(0, c.hba); });
    for (unsigned n = 1; n <= 500; n++) {
        ASSERT_EQ(FAILOVER_SILENCE, discover(make_client(n * 40503u), 0));
    }
    wait(4);
    for (unsigned n = 1; n <= 500; n++) {
        EXPECT_EQ(FAILOVER_GO_ON, discover(make_client(n * 40503u), 0)) << "client " << n;
    }
}

// More than can be remembered: those that have asked least recently are forgotten.
TEST_F(Normal, LoadBalancingTakesNobodyForAnother) {
    auto ask_all = [&](unsigned first, unsigned last) {
        int answered = 0;
        for (unsigned n = first; n <= last; n++) {
            answered += discover(make_client(n), 0) == FAILOVER_GO_ON;
        }
        return answered;
    };
    int remembered[2];
    for (bool partner_answers : {false, true}) {
        in_state(NO, {}, [](failover_config &c) { failover_hba_from_split(0, c.hba); });
        ASSERT_EQ(0, ask_all(1, 20000));
        if (partner_answers) {
            for (unsigned n = 30001; n <= 30300; n++) {
                failover_client c = make_client(n);
                lease_rules_partner_answered(x->core(), &c, now.wall);
            }
        }
        wait(4);
        EXPECT_EQ(0, ask_all(40001, 40100)) << "who asks for the first time";
        remembered[partner_answers] = 0;
        for (unsigned n = 20000; n > 0; n--) { // the latest first, who are those that are remembered
            remembered[partner_answers] += ask_all(n, n);
        }
    }
    EXPECT_GT(remembered[0], 300);
    EXPECT_EQ(remembered[0], remembered[1]) << "the partner has answered others";
}

TEST_F(Normal, AnAnswerOfThePartnersEndsTheWaiting) {
    for (bool with_id : {false, true}) {
        in_state(NO, {}, [](failover_config &c) { failover_hba_from_split(0, c.hba); });
        failover_client c = make_client(1, with_id);
        ASSERT_EQ(FAILOVER_SILENCE, discover(c, 0));
        wait(4);
        ASSERT_EQ(0, verdict(bndupd(PARTNERS, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall, now.wall, now.wall)));
        EXPECT_EQ(FAILOVER_SILENCE, discover(c, 0)) << "it asks anew, and the partner will answer anew";
    }
}

// The client could only be given an address of its own subnet.
TEST_F(Normal, NoLoadBalancingToAPartnerWithFreeAddressesElsewhere) {
    make_known(FAILOVER_PRIMARY, CI, 20, [](failover_config &c) { failover_hba_from_split(0, c.hba); });
    failover_host host{nullptr, [](void *, uint64_t, const failover_record *, const failover_binding *) {},
                       [](void *, failover_severity, const char *) {}};
    x->core_ = failover_create(&x->config_, &host);
    ASSERT_TRUE(failover_add_pool(x->core_, SUBNET, POOL_FIRST, POOL_FIRST));
    ASSERT_TRUE(failover_add_pool(x->core_, SUBNET + 1, POOL_FIRST + 1, POOL_FIRST + 19));
    ASSERT_TRUE(failover_build(x->core_, &*x->record_));
    failover_start(x->core_, "process-2", now);
    link_up();
    failover_committed(x->core_, failover_sequence(x->core_), now);
    send(state_message(CI, now.wall));
    ASSERT_EQ(NO, x->state());
    EXPECT_EQ(FAILOVER_GO_ON, discover(one, 0));
}

TEST_F(Normal, NoLoadBalancingToAPartnerWithoutFreeAddresses) {
    in_state(NO);
    for (uint32_t i = 10; i < 20; i++) {
        failover_client c = make_client(200 + i);
        update(bndupd(POOL_FIRST + i, FAILOVER_ACTIVE, &c, now.wall + 600, now.wall + 900, now.wall, now.wall));
    }
    for (unsigned n = 1; n <= 64; n++) {
        EXPECT_EQ(FAILOVER_GO_ON, discover(make_client(n), 0));
    }
}

TEST_F(Normal, LoadBalancingCanBeOff) {
    in_state(NO, {}, [](failover_config &c) { c.load_balance_max_seconds = 0; });
    for (unsigned n = 1; n <= 64; n++) {
        EXPECT_EQ(FAILOVER_GO_ON, discover(make_client(n), 0));
    }
}

TEST_F(Normal, LoadBalancingCountsOnlyWhileLinked) {
    in_state(CI);
    failover_force force{NO, true, 0};
    failover_plan plan;
    failover_force_plan(x->core(), &force, now, &plan);
    ASSERT_EQ(FAILOVER_OK, plan.result);
    failover_force_apply(x->core(), &force, &plan, now);
    ASSERT_EQ(NO, x->state());
    for (unsigned n = 1; n <= 64; n++) {
        EXPECT_EQ(FAILOVER_GO_ON, discover(make_client(n), 0));
    }
}

// ---- COMMUNICATIONS-INTERRUPTED, replace ----------------------------------------------------------------------------

class Replace : public Rules {};

TEST_F(Replace, NewClientGetsAnOwnAddressForTheMclt) {
    in_state(CI);
    EXPECT_EQ(FAILOVER_GO_ON, discover(one, 0)) << "all clients are answered";
    EXPECT_EQ(60u, bind(one, OWN));
    EXPECT_FALSE(may_have(two, PARTNERS));
    for (uint32_t i = 1; i < 10; i++) {
        EXPECT_EQ(60u, bind(make_client(10 + i), OWN + i));
    }
    EXPECT_EQ(0u, next_own());
    pass(1000000000);
    EXPECT_FALSE(may_have(two, PARTNERS)) << "however long it lasts";
}

TEST_F(Replace, ALeaseOfBeforeIsExtendedOnceByWhatIsLeftPlusTheMclt) {
    // 1000 s are left: 1060, though the configured lifetime is 3600 and the partner has acknowledged more
    // than that.
    in_state(CI, {lease(OWN, one, 2600, 1000, 5000)});
    EXPECT_EQ(1060u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN)) << "every later renewal is refused";
    EXPECT_EQ(1u, x->status(now).counters.renewals_refused);
}

TEST_F(Replace, WhatIsLeftMayExceedTheConfiguredLifetime) {
    // 3590 s are left: 3650.
    in_state(CI, {lease(OWN, one, 10, 3590, 5000)});
    EXPECT_EQ(3650u, bind(one, OWN));
}

TEST_F(Replace, ALeaseThatThePartnerNeverHeardOfIsExtendedForTheMclt) {
    // 50 s are left, but nothing was acknowledged: the lid of the MCLT rule.
    in_state(CI, {lease(OWN, one, 10, 50, 0)});
    EXPECT_EQ(60u, bind(one, OWN));
    // Acknowledged until 30 s from now: 30 + 60, less than 50 + 60.
    in_state(CI, {lease(OWN, one, 10, 50, 30)});
    EXPECT_EQ(90u, bind(one, OWN));
}

// A shorter renewal has ended already, and the address is held for what was promised before.
TEST_F(Replace, NothingIsLeftOfALeaseThatIsOver) {
    failover_binding b = lease(OWN, one, 100, 300, 5000);
    b.given = now.wall - 5;
    in_state(CI, {b});
    EXPECT_EQ(60u, bind(one, OWN));
}

TEST_F(Replace, WhatIsLeftPlusTheMcltIsNeverInfinite) {
    failover_binding b = lease(OWN, one, 100, 4294967290, 0);
    b.acked = FAILOVER_TIME_INFINITE;
    in_state(CI, {b});
    desired = 4294967294u;
    EXPECT_EQ(4294967294u, bind(one, OWN));
}

TEST_F(Replace, AShortConfiguredLifetimeIsGrantedAsItIs) {
    desired = 45;
    in_state(CI, {lease(OWN, one, 10, 35, 3600)});
    EXPECT_EQ(45u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
}

TEST_F(Replace, ALeaseGivenDuringTheInterruptionIsNotExtended) {
    in_state(CI);
    ASSERT_EQ(60u, bind(one, OWN));
    pass(30000);
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
    EXPECT_STREQ("its lease was given or extended during this interruption already (interrupted-leases: replace)", [&] {
        may_have(one, OWN);
        return why.text;
    }());
}

TEST_F(Replace, TheRefusedClientGetsAnotherAddress) {
    in_state(CI, {lease(OWN, one, 10, 300, 5000)});
    ASSERT_EQ(360u, bind(one, OWN));
    ASSERT_EQ(FAILOVER_REFUSE, request(one, OWN));
    EXPECT_EQ(FAILOVER_GO_ON, discover(one));
    EXPECT_FALSE(may_have(one, OWN)) << "it isn't offered its own one any more";
    uint32_t another = next_own();
    EXPECT_NE(OWN, another);
    EXPECT_EQ(60u, bind(one, another));
    // The old one stays bound until its promised end and is EXPIRED then, never RELEASED.
    pass(359000);
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
    EXPECT_FALSE(may_have(two, OWN));
    pass(1000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
    EXPECT_FALSE(may_have(two, OWN));
}

TEST_F(Replace, ARetransmissionIsAnsweredAsBefore) {
    in_state(CI, {lease(OWN, one, 2600, 1000, 5000)});
    ASSERT_EQ(1060u, bind(one, OWN, 77));
    pass(3000);
    EXPECT_EQ(1057u, bind(one, OWN, 77)) << "with the same end";
    EXPECT_EQ(now.wall + 1057, x->binding(OWN).ends);
    EXPECT_EQ(0u, bind(two, OWN, 77)) << "another client with that xid is another client";
    EXPECT_EQ(0u, bind(one, OWN, 78));
}

TEST_F(Replace, AClientThatNeverChangesItsXidIsNotExtendedForEver) {
    in_state(CI, {lease(OWN, one, 2600, 1000, 5000)});
    ASSERT_EQ(1060u, bind(one, OWN, 77));
    pass(530000);
    EXPECT_EQ(0u, bind(one, OWN, 77)) << "half of the lease is over: that is a renewal";
}

TEST_F(Replace, TheMarkIsDurable) {
    in_state(CI, {lease(OWN, one, 10, 300, 5000)});
    ASSERT_EQ(360u, bind(one, OWN));
    x->kill();
    start(); // a reconfiguration
    ASSERT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
    x->kill();
    x->process_ = "process-2";
    start();
    pass(10000);
    ASSERT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
}

TEST_F(Replace, NormalClearsTheMark) {
    in_state(CI, {lease(OWN, one, 10, 300, 5000)});
    ASSERT_EQ(360u, bind(one, OWN));
    link_up_in(CI);
    ASSERT_EQ(NO, x->state());
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN));
    disconnect(link);
    ASSERT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN)) << "another interruption";
    EXPECT_NE(0u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
}

TEST_F(Replace, AReleasedAddressIsHeldUntilNormal) {
    in_state(CI, {lease(OWN, one, 10, 300, 5000)});
    ASSERT_EQ(60u, bind(two, OWN + 1)); // the partner never hears of this one
    EXPECT_EQ(FAILOVER_GO_ON, other());
    release(one, OWN);
    release(two, OWN + 1);
    for (int64_t seconds : {0, 100, 100000}) {
        pass(seconds * 1000);
        for (uint32_t address : {OWN, OWN + 1}) {
            EXPECT_EQ(FAILOVER_RELEASED, x->binding(address).status) << "never ABANDONED";
            EXPECT_FALSE(may_have(one, address));
            EXPECT_FALSE(may_have(two, address)) << "not even its client gets it";
            EXPECT_FALSE(may_have(three, address));
        }
    }
    EXPECT_EQ(8u, x->own_free(now));
    link_up();
    forget();
    send(state_message(CI, now.wall));
    acknowledge_all();
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status);
}

TEST_F(Replace, AnExpiredAddressIsHeldUntilNormal) {
    in_state(CI);
    ASSERT_EQ(60u, bind(one, OWN));
    pass(1000000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
    EXPECT_FALSE(may_have(one, OWN));
    EXPECT_FALSE(may_have(two, OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
    EXPECT_EQ(1u, x->status(now).counters.requests_refused);
    EXPECT_EQ(0u, x->status(now).counters.renewals_refused) << "there was nothing left to renew";
}

TEST_F(Replace, CountsOnlyWithoutALink) {
    in_state(CI, {lease(OWN, one, 2600, 1000, 5000)});
    ASSERT_EQ(60u, bind(two, OWN + 1));
    link_up_in(RE); // the partner recovers
    ASSERT_EQ(CI, x->state());
    EXPECT_EQ(FAILOVER_GO_ON, discover(three, 0)) << "no load balancing";
    EXPECT_EQ(3600u, bind(one, OWN)) << "as extend has it";
    EXPECT_EQ(3600u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_GO_ON, request(two, OWN + 1)) << "though given during the interruption";
    release(two, OWN + 1);
    wait(100);
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(OWN + 1).status) << "the partner is there and will be told";
    ASSERT_EQ(60u, bind(three, OWN + 2));
    disconnect(link);
    EXPECT_EQ(FAILOVER_GO_ON, request(three, OWN + 2)) << "the partner has heard of it: it is a lease of before";
}

TEST_F(Replace, ALeaseOfPartnerDownIsALeaseOfBefore) {
    in_state(PD);
    ASSERT_EQ(60u, bind(one, OWN));
    state_enter(x->core(), CI, now.wall);
    EXPECT_NE(0u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_REFUSE, request(one, OWN));
}

// ---- COMMUNICATIONS-INTERRUPTED, extend -----------------------------------------------------------------------------

class Extend : public Rules {};

TEST_F(Extend, RenewalsAreWithinTheMcltRuleAsOftenAsAsked) {
    in_state(CI, {lease(OWN, one, 10, 3590, 3600)}, extend);
    EXPECT_EQ(3600u, bind(one, OWN)); // 3600 + 60 would be allowed
    pass(1000000);
    EXPECT_EQ(2660u, bind(one, OWN)); // 2600 acknowledged + 60
    pass(2590000);
    EXPECT_EQ(70u, bind(one, OWN)); // 10 + 60
    pass(30000);
    EXPECT_EQ(60u, bind(one, OWN)); // the MCLT from now on
    pass(30000);
    EXPECT_EQ(60u, bind(one, OWN));
}

TEST_F(Extend, NewClientGetsAnOwnAddressForTheMcltAndIsRenewed) {
    in_state(CI, {}, extend);
    EXPECT_EQ(60u, bind(one, OWN));
    pass(30000);
    EXPECT_EQ(60u, bind(one, OWN));
    EXPECT_FALSE(may_have(two, PARTNERS));
}

TEST_F(Extend, ARewindableAddressComesBackAtItsEnd) {
    in_state(CI, {}, extend);
    ASSERT_EQ(60u, bind(one, OWN));
    pass(61000);
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    EXPECT_EQ(FAILOVER_MINE, x->binding(OWN).owner);
    EXPECT_TRUE(may_have(two, OWN)) << "for anybody";
    ASSERT_EQ(60u, bind(two, OWN + 1));
    release(two, OWN + 1);
    run();
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN + 1).status) << "a RELEASE ends it at once";
}

TEST_F(Extend, AResetWaitsForThePartner) {
    failover_binding b = lease(OWN, one, 10, -5, 0);
    b.status = FAILOVER_RESET;
    in_state(CI, {b}, extend);
    pass(1000000);
    EXPECT_EQ(FAILOVER_RESET, x->binding(OWN).status) << "it was the operator's word, and is for both";
}

TEST_F(Extend, OthersWaitForThePartner) {
    in_state(CI, {lease(OWN, one, 10, 50, 3600), lease(PARTNERS, two, 10, 50, 3600)}, extend);
    release(two, PARTNERS);
    pass(100000000);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(PARTNERS).status);
    EXPECT_FALSE(may_have(three, OWN));
    EXPECT_FALSE(may_have(three, PARTNERS));
}

TEST_F(Extend, AnEndedLeaseGoesOnForItsClientUntilThePartnerIsTold) {
    in_state(CI, {lease(OWN, one, 10, 50, 3600)}, extend);
    pass(51000);
    ASSERT_EQ(FAILOVER_EXPIRED, x->binding(OWN).status);
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN));
    EXPECT_EQ(3600u, bind(one, OWN));
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(OWN).status);
}

// ---- PARTNER-DOWN ---------------------------------------------------------------------------------------------------

class PartnerDown : public Rules {};

TEST_F(PartnerDown, AnyClientAndWhatWasExtendedInTheInterruptionToo) {
    for (bool to_the_full : {false, true}) {
        in_state(
            CI, {lease(OWN, one, 10, 50, 3600)}, to_the_full ? full : [](failover_config &) {});
        ASSERT_NE(0u, bind(one, OWN));
        ASSERT_EQ(60u, bind(two, OWN + 1));
        ASSERT_EQ(FAILOVER_REFUSE, request(one, OWN));
        state_enter(x->core(), PD, now.wall);
        EXPECT_NE(0u, bind(one, OWN)) << "always renewed";
        EXPECT_NE(0u, bind(two, OWN + 1));
    }
}

TEST_F(PartnerDown, AReleaseIsHeardAndMayBeTakenBack) {
    for (bool to_the_full : {false, true}) {
        in_state(
            PD, {lease(OWN, one, 10, 50, 3600)}, to_the_full ? full : [](failover_config &) {});
        EXPECT_EQ(FAILOVER_GO_ON, other());
        release(one, OWN);
        EXPECT_FALSE(may_have(two, OWN)) << "the partner may have extended it";
        EXPECT_NE(0u, bind(one, OWN));
    }
}

// The operator has taken it from its client.
TEST_F(PartnerDown, AResetLeaseIsNotItsClientsToHaveBack) {
    failover_binding b = lease(OWN, one, 10, -5, 300);
    b.status = FAILOVER_RESET;
    b.state_sent = false;
    in_state(PD, {b});
    EXPECT_FALSE(may_have(one, OWN));
    pass(360000);
    EXPECT_TRUE(may_have(one, OWN)) << "when its wait is over it is anybody's";
}

TEST_F(PartnerDown, OwnAtOnceAndThePartnersAfterStosPlusMclt) {
    in_state(PD);
    EXPECT_EQ(FAILOVER_GO_ON, discover(one, 0));
    EXPECT_EQ(60u, bind(one, OWN));
    EXPECT_FALSE(may_have(two, PARTNERS));
    EXPECT_EQ(9u, x->own_free(now));
    pass(59999);
    EXPECT_FALSE(may_have(two, PARTNERS));
    pass(1);
    EXPECT_TRUE(may_have(two, PARTNERS)) << "at STOS + MCLT exactly";
    EXPECT_EQ(60u, bind(two, PARTNERS));
    EXPECT_EQ(FAILOVER_GO_ON, request(three, PARTNERS + 1)) << "init-reboot too";
}

TEST_F(PartnerDown, AddressesInTheOrderOwnThenThePartners) {
    in_state(PD);
    pass(60000);
    EXPECT_EQ(20u, x->own_free(now));
    for (int i = 0; i < 10; i++) {
        uint32_t address = next_own();
        EXPECT_LT(address, POOL_FIRST + 10);
        bind(make_client(100 + unsigned(i)), address);
    }
    EXPECT_GE(next_own(), POOL_FIRST + 10);
}

TEST_F(PartnerDown, RenewalsAreForTheMclt) {
    in_state(PD, {lease(OWN, one, 10, 3590, 5000), lease(PARTNERS, two, 10, 50, 0)});
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(60u, bind(one, OWN)) << "whatever is acknowledged";
        EXPECT_EQ(60u, bind(two, PARTNERS));
        pass(40000);
    }
    desired = 20;
    EXPECT_EQ(20u, bind(one, OWN));
}

TEST_F(PartnerDown, FullRenewsWithinTheMcltRuleUntilStosPlusMclt) {
    in_state(PD, {lease(OWN, one, 10, 3590, 100), lease(OWN + 1, two, 10, 3590, 5000)}, full);
    EXPECT_EQ(160u, bind(one, OWN));
    EXPECT_EQ(3600u, bind(two, OWN + 1));
    EXPECT_EQ(60u, bind(three, OWN + 2));
    pass(59999);
    EXPECT_EQ(101u, bind(one, OWN)); // 41 acknowledged (100 - 59) + 60
    pass(1);
    EXPECT_EQ(3600u, bind(one, OWN)) << "and then for the configured lifetime";
    EXPECT_EQ(3600u, bind(make_client(9), PARTNERS)) << "new clients too";
    desired = FAILOVER_LIFETIME_INFINITE;
    EXPECT_EQ(FAILOVER_LIFETIME_INFINITE, bind(one, OWN));
}

TEST_F(PartnerDown, ReleaseIsReclaimedWhenItsWaitIsOver) {
    // Made alone: at once. Known to the partner until 300 s from now: MCLT beyond that.
    in_state(PD, {lease(OWN + 1, two, 10, 50, 300)});
    ASSERT_EQ(60u, bind(one, OWN));
    release(one, OWN);
    run();
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN).status);
    EXPECT_TRUE(may_have(three, OWN));
    release(two, OWN + 1);
    pass(359000);
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(OWN + 1).status);
    EXPECT_FALSE(may_have(three, OWN + 1));
    pass(1000);
    EXPECT_EQ(FAILOVER_FREE, x->binding(OWN + 1).status);
    EXPECT_EQ(FAILOVER_MINE, x->binding(OWN + 1).owner);
}

// ---- RECOVER-DONE and RESOLUTION-INTERRUPTED ------------------------------------------------------------------------

TEST_F(Rules, StatesThatOnlyRenew) {
    for (failover_state state : {RD, RI}) {
        SCOPED_TRACE(failover_state_name(state));
        in_state(state, {lease(OWN, one, 10, 50, 100)});
        EXPECT_FALSE(failover_is_silent(x->core()));
        EXPECT_EQ(FAILOVER_SILENCE, discover(two));
        EXPECT_EQ(FAILOVER_SILENCE, request(two, OWN + 1, true));
        EXPECT_EQ(FAILOVER_SILENCE, request(two, OWN)) << "no DHCPNAK where a new client isn't served";
        EXPECT_EQ(FAILOVER_SILENCE, other());
        EXPECT_EQ(0u, next_own());
        EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN));
        EXPECT_EQ(160u, bind(one, OWN)) << "within the MCLT rule";
        pass(150000);
        EXPECT_EQ(60u, bind(one, OWN)) << "however long it lasts";
        x->kill();
    }
}

TEST_F(Rules, StatesThatOnlyRenewDoSoForWhatWasExtendedInTheInterruptionToo) {
    for (failover_state state : {RD, RI}) {
        in_state(CI, {lease(OWN, one, 10, 50, 3600)});
        ASSERT_NE(0u, bind(one, OWN));
        state_enter(x->core(), state, now.wall);
        EXPECT_NE(0u, bind(one, OWN)) << failover_state_name(state);
    }
}

TEST_F(Rules, WhatHasEndedIsNotTakenBackInSilence) {
    for (failover_state state : {RE, RW, CD, SH}) {
        failover_binding b = lease(OWN, one, 10, -5, 300);
        b.status = FAILOVER_EXPIRED;
        b.state_sent = false;
        in_state(state, {b});
        EXPECT_FALSE(may_have(one, OWN)) << failover_state_name(state);
    }
}

TEST_F(Rules, WhatHasEndedIsRefusedWithTheWord) {
    failover_binding abandoned = lease(OWN, one, 10, 500, 300);
    abandoned.status = FAILOVER_ABANDONED;
    abandoned.client = failover_client{};
    in_state(CI, {abandoned});
    EXPECT_FALSE(may_have(two, OWN));
    EXPECT_STREQ("the address is abandoned", why.text);
}

// A partner in PARTNER-DOWN may give on, at the end that it knows, what it has leased alone.
TEST_F(Rules, RecoverDoneIsSilentWhileThePartnerIsInPartnerDown) {
    in_state(RD, {lease(OWN, one, 10, 50, 100)});
    link_up_in(PD);
    ASSERT_EQ(RD, x->state());
    EXPECT_EQ(FAILOVER_SILENCE, request(one, OWN));
    disconnect(link);
    EXPECT_EQ(FAILOVER_SILENCE, request(one, OWN));
    link_up_in(CI);
    ASSERT_EQ(RD, x->state());
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN));
}

// Nothing ends a lease there; but a partner that has gone to PARTNER-DOWN meanwhile may have given the address on.
TEST_F(Rules, WhoOnlyRenewsRenewsNothingThatHasEnded) {
    for (failover_state state : {RD, RI}) {
        in_state(state, {lease(OWN, one, 10, 50, 100)});
        now.wall += 49;
        EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN));
        now.wall += 1;
        EXPECT_EQ(FAILOVER_SILENCE, request(one, OWN));
        EXPECT_FALSE(may_have(one, OWN));
        x->kill();
    }
}

// ---- The three verdicts (rule 4) ------------------------------------------------------------------------------------

class Verdicts : public Rules {};

TEST_F(Verdicts, Refuse) {
    failover_binding abandoned{};
    abandoned.address = OWN + 3;
    abandoned.status = FAILOVER_ABANDONED;
    abandoned.ends = now.wall + 500;
    in_state(NO, {lease(OWN, one, 10, 50, 3600), abandoned});
    EXPECT_EQ(FAILOVER_REFUSE, request(two, ELSEWHERE)) << "no such pool";
    EXPECT_EQ(FAILOVER_REFUSE, request(two, PARTNERS, true)) << "it selected us for an address we may not give";
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN)) << "bound here to somebody else";
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN, true));
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN + 3)) << "abandoned";
    release(one, OWN);
    EXPECT_EQ(FAILOVER_REFUSE, request(two, OWN)) << "it waits for the partner";
    EXPECT_EQ(6u, x->status(now).counters.requests_refused);
    EXPECT_EQ(0u, x->status(now).counters.renewals_refused);
}

TEST_F(Verdicts, SilenceWhereTheAddressIsThePartnersToGive) {
    for (failover_state state : {NO, CI, PD}) {
        SCOPED_TRACE(failover_state_name(state));
        in_state(state);
        EXPECT_EQ(FAILOVER_SILENCE, request(two, PARTNERS)) << "init-reboot and rebinding";
        EXPECT_EQ(1u, x->status(now).counters.queries_silent);
        x->kill();
    }
}

TEST_F(Verdicts, GoOn) {
    in_state(NO, {lease(OWN, one, 10, 50, 3600)});
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN));
    EXPECT_EQ(FAILOVER_GO_ON, request(one, OWN, true));
    EXPECT_EQ(FAILOVER_GO_ON, request(two, OWN + 1));
    EXPECT_EQ(FAILOVER_GO_ON, request(two, OWN + 1, true));
}

TEST_F(Verdicts, Reservations) {
    make_known(FAILOVER_PRIMARY, CI);
    x->reserved_ = {OWN + 5, PARTNERS};
    x->bindings_[OWN + 6] = lease(OWN + 6, two, 10, 50, 3600);
    x->reserved_.push_back(OWN + 6);
    start();
    pass(10000);
    ASSERT_EQ(CI, x->state());
    for (uint32_t address : {OWN + 5, PARTNERS}) {
        failover_ask a = ask(one, address);
        a.reserved = true;
        EXPECT_EQ(FAILOVER_GO_ON, failover_on_request(x->core(), &a, now, &why))
            << "a reserved address belongs to its client, whoever answers";
        EXPECT_EQ(FAILOVER_REFUSE, request(two, address)) << "and to nobody else";
    }
    failover_ask held = ask(one, OWN + 6);
    held.reserved = true;
    EXPECT_EQ(FAILOVER_REFUSE, failover_on_request(x->core(), &held, now, &why)) << "another client has it still";
    EXPECT_EQ(8u, x->own_free(now)) << "it is nobody's free address";
    // While another client still holds it, its own one is not given another, and not served.
    uint32_t subnets[] = {SUBNET};
    failover_discover d{};
    d.client = &one;
    d.balance_key = one.id;
    d.balance_key_length = one.id_length;
    d.subnets = subnets;
    d.subnet_count = 1;
    d.reserved = OWN + 6;
    EXPECT_EQ(FAILOVER_SILENCE, failover_on_discover(x->core(), &d, now, &why));
    d.reserved = OWN + 5;
    EXPECT_EQ(FAILOVER_GO_ON, failover_on_discover(x->core(), &d, now, &why));
    d.reserved = ELSEWHERE;
    EXPECT_EQ(FAILOVER_GO_ON, failover_on_discover(x->core(), &d, now, &why));
}

TEST_F(Verdicts, AddressTakenAwayWhileItWasBeingGiven) {
    in_state(NO);
    failover_ask a = ask(one, OWN);
    ASSERT_EQ(FAILOVER_GO_ON, failover_on_request(x->core(), &a, now, &why));
    ASSERT_EQ(0, verdict(bndupd(OWN, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall)));
    EXPECT_FALSE(failover_bound(x->core(), &a, now.wall, 60, now));
    EXPECT_TRUE(
        x->logged("10.64.10.0 was taken away while it was being given: the address is bound to another client"));
    failover_client holder = x->binding(OWN).client;
    EXPECT_TRUE(failover_same_client(&two, &holder));
}

TEST_F(Verdicts, AddressOutsideThePoolsIsNotOurs) {
    in_state(CI);
    failover_ask a = ask(one, ELSEWHERE);
    uint32_t lifetime = 0;
    EXPECT_TRUE(failover_may_have(x->core(), &a, now, &lifetime, &why));
    EXPECT_EQ(3600u, lifetime) << "as Kea would";
    EXPECT_TRUE(failover_bound(x->core(), &a, now.wall, 3600, now));
    EXPECT_EQ(0u, failover_next_own(x->core(), ELSEWHERE, now));
    EXPECT_EQ(0u, failover_own_free(x->core(), ELSEWHERE, now));
}

// ---- Lifetimes that know no end -------------------------------------------------------------------------------------

TEST_F(Rules, ALifetimeIsNeverZero) {
    failover_binding b = lease(OWN, one, 100, -5, -10);
    in_state(CI, {b}, [](failover_config &c) { c.mclt = 1; });
    EXPECT_GE(bind(two, OWN + 1), 1u);
    desired = 0;
    EXPECT_EQ(1u, bind(three, OWN + 2));
}

// ---- Exhaustion -----------------------------------------------------------------------------------------------------

TEST_F(Rules, ExhaustionIsLoggedOnceForEachClientWithTheWayOut) {
    auto says = [&](const std::string &text) {
        return std::count_if(x->log_.begin(), x->log_.end(),
                             [&](const std::string &line) { return line.find(text) != std::string::npos; });
    };
    in_state(CI);
    for (int i = 0; i < 5; i++) {
        failover_exhausted(x->core(), &one, now);
        pass(1000);
    }
    failover_exhausted(x->core(), &two, now);
    state_enter(x->core(), RI, now.wall);
    state_enter(x->core(), CI, now.wall);
    EXPECT_EQ(2, says("no own free address for a new client in communications-interrupted: the partner's 10 free "
                      "addresses come within reach by force-state partner-down, if it is really down"));
    EXPECT_EQ(6u, x->status(now).counters.exhausted);
    pass(1000);
    failover_exhausted(x->core(), &two, now);
    EXPECT_EQ(3, says("by force-state partner-down")) << "once more after another state";

    in_state(PD);
    pass(20000);
    failover_exhausted(x->core(), &one, now);
    EXPECT_EQ(1, says("in partner-down: the partner's 10 free addresses come within reach in 40 s"));
    pass(60000);
    failover_exhausted(x->core(), &two, now);
    EXPECT_EQ(1, says("in partner-down: 10 free addresses are the partner's")) << "nothing misleading once they are";
    in_state(NO);
    failover_exhausted(x->core(), &one, now);
    EXPECT_EQ(1, says("in normal: 10 free addresses are the partner's"));
}

TEST_F(Rules, ExhaustionNamesTheTimeThatCounts) {
    in_state(PD, {}, [](failover_config &c) { c.mclt = 20; }); // the partner hasn't taken it: 60 s count
    x->kill();
    x->record_->skew = 10;
    start();
    pass(20000);
    failover_exhausted(x->core(), &one, now);
    EXPECT_TRUE(x->logged("within reach in 50 s"));
}

TEST_F(Rules, ExhaustionIsLoggedForEachOfTwoClientsWithOneHardwareAddress) {
    in_state(CI);
    failover_client another = one;
    another.id[another.id_length - 1]++;
    for (const failover_client &client : {one, another, one}) {
        pass(1000);
        failover_exhausted(x->core(), &client, now);
    }
    EXPECT_EQ(2, std::count_if(x->log_.begin(), x->log_.end(), [](const std::string &line) {
                  return line.find("no own free address") != std::string::npos;
              }));
}

TEST_F(Rules, BindingsAreExplained) {
    in_state(CI, {lease(OWN, one, 10, 50, 3600)});
    EXPECT_EQ("its client would get it: for at most 110 s in communications-interrupted", explained(OWN));
    EXPECT_EQ("a client would get it: for at most 60 s in communications-interrupted", explained(OWN + 1));
    EXPECT_EQ("a client would not get it: the free address is the partner's", explained(PARTNERS));
    EXPECT_EQ("the address is in no pool of this relationship", explained(ELSEWHERE));
    bind(one, OWN);
    EXPECT_EQ("its client would not get it: its lease was given or extended during this interruption already "
              "(interrupted-leases: replace)",
              explained(OWN));
    failover_reserve(x->core(), OWN + 2);
    EXPECT_EQ("the client it is reserved for would get it: for at most 60 s in communications-interrupted",
              explained(OWN + 2));
    in_state(RE);
    EXPECT_EQ("the server is silent in recover", explained(OWN));
    EXPECT_EQ(0u, x->status(now).counters.queries_silent) << "asking isn't serving";
}

TEST_F(Rules, ABindingIsExplainedWithTheLongestLeaseThatItsClientCanGet) {
    in_state(NO, {lease(OWN, one, 10, 50, 3600)});
    EXPECT_EQ("its client would get it: for at most 3660 s in normal", explained(OWN));
    EXPECT_EQ("a client would get it: for at most 60 s in normal", explained(OWN + 1));
    in_state(CI, {lease(OWN, one, 10, 50, 3600)}, extend);
    EXPECT_EQ("its client would get it: for at most 3660 s in communications-interrupted", explained(OWN));
    in_state(PD, {lease(OWN, one, 10, 50, 3600)});
    EXPECT_EQ("its client would get it: for at most 60 s in partner-down", explained(OWN));
    in_state(PD, {lease(OWN, one, 10, 590, 3600)}, full);
    EXPECT_EQ("its client would get it: for at most 3660 s in partner-down", explained(OWN));
    wait(60);
    EXPECT_EQ("its client would get it: for the configured lifetime in partner-down", explained(OWN));
}
