// SPDX-License-Identifier: MPL-2.0
//
// Whole stories of two servers. Those that chance writes are the simulator's.
#include "story.h"

using namespace failover_test;

namespace {

constexpr failover_state NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED, PD = FAILOVER_PARTNER_DOWN,
                         RE = FAILOVER_RECOVER, RD = FAILOVER_RECOVER_DONE, SH = FAILOVER_SHUTDOWN;

} // namespace

// ---- Stories --------------------------------------------------------------------------------------------------------

TEST_F(Story, ShortOutage) {
    start_normal();
    failover_client a = make_client(1), b = make_client(2);
    Lease at_p = dora(*p, a), at_s = dora(*s, b);
    interrupt();
    // Everybody is served by whom he hears, within the rules of the interruption.
    pass(1);
    Lease c = new_client(*p, 3), d = new_client(*s, 4);
    ASSERT_EQ(Lease::ACK, c.kind);
    ASSERT_EQ(Lease::ACK, d.kind);
    EXPECT_NE(c.address, d.address);
    EXPECT_EQ(Lease::ACK, request(*s, a, at_p.address).kind);
    EXPECT_EQ(Lease::ACK, request(*p, b, at_s.address).kind);
    mend();
    pass(6);
    expect_peace();
    for (uint32_t address : {at_p.address, at_s.address, c.address, d.address}) {
        EXPECT_EQ(FAILOVER_ACTIVE, p->binding(address).status);
        EXPECT_EQ(p->binding(address).ends, s->binding(address).ends);
    }
    EXPECT_EQ(0u, clashes());
}

TEST_F(Story, KilledAndBackWithItsRecords) {
    start_normal();
    Lease lease = new_client(*s, 1);
    kill(*s);
    EXPECT_EQ(CI, p->state());
    Lease other = new_client(*p, 2);
    pass(5);
    restart(*s);
    EXPECT_EQ(NO, s->state()) << "no wait after a short outage";
    expect_peace();
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(lease.address).status);
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(other.address).status);
    EXPECT_EQ(1u, s->rows_.count(other.address));
}

TEST_F(Story, PartnerDownAndReturnByRecover) {
    start_normal();
    failover_client c = make_client(1);
    Lease lease = dora(*s, c);
    kill(*p);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    EXPECT_EQ(FAILOVER_PRIMARY, s->status(now).role);
    pass(30);
    Lease renewed = request(*s, c, lease.address);
    EXPECT_EQ(60u, renewed.lifetime);
    pass(31);
    EXPECT_EQ(19, drain(*s, 10)) << "the whole pool";
    renewed = request(*s, c, lease.address);
    EXPECT_EQ(60u, renewed.lifetime);
    pass(30);
    restart(*p);
    EXPECT_EQ(NO, p->state()) << "it was away for longer than the MCLT";
    expect_peace();
    EXPECT_EQ(FAILOVER_PRIMARY, s->status(now).role) << "who went on remains primary";
    EXPECT_EQ(FAILOVER_SECONDARY, p->status(now).role);
    EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind);
    EXPECT_EQ(Lease::SILENCE, new_client(*p, 90).kind) << "nothing is free that is taken";
    release(*p, c, lease.address);
    pass(7300);
    expect_peace();
    EXPECT_LE(p->own_free(now), 12u) << "and the shares come back when the leases have ended";
    EXPECT_LE(s->own_free(now), 12u);
    EXPECT_EQ(20u, p->own_free(now) + s->own_free(now));
    // The roles outlive the next interruption and restart.
    kill(*s);
    restart(*s);
    pass(10);
    expect_peace();
    EXPECT_EQ(FAILOVER_PRIMARY, s->status(now).role);
}

TEST_F(Story, PartnerDownOverriddenOnALiveLink) {
    start_normal();
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    EXPECT_EQ(FAILOVER_GUARDED, force(*s, PD).result);
    ASSERT_EQ(FAILOVER_OK, force(*s, PD, true).result);
    EXPECT_EQ(Lease::SILENCE, new_client(*p, 2).kind) << "the other one is silent in that moment";
    EXPECT_EQ(Lease::ACK, request(*s, c, lease.address).kind);
    EXPECT_EQ(Lease::ACK, new_client(*s, 3).kind);
    pass(61);
    expect_peace();
    EXPECT_EQ(0u, clashes());
}

TEST_F(Story, BothInPartnerDownAndAClash) {
    start_normal(4);
    interrupt();
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    pass(1);
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result); // the later one
    pass(61);
    ASSERT_EQ(4, drain(*p, 10));
    ASSERT_EQ(4, drain(*s, 20)) << "both take the whole pool";
    pass(20);
    mend();
    pass(6);
    expect_peace();
    EXPECT_TRUE(p->logged("state partner-down -> potential-conflict"));
    EXPECT_EQ(FAILOVER_PRIMARY, p->status(now).role) << "the later record wins";
    EXPECT_GE(clashes(), 4u) << "each is found and counted";
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 4; a++) {
        EXPECT_TRUE(p->logged("clash: " + dotted(a)) || s->logged("clash: " + dotted(a)));
        unsigned holder = s->binding(a).client.hardware[6];
        EXPECT_TRUE(holder >= 10 && holder < 14) << dotted(a) << ": the primary's client keeps it";
        for (unsigned n = 20; n < 24; n++) {
            EXPECT_EQ(Lease::NAK, request(*s, make_client(n), a).kind) << "and the other is told";
        }
    }
}

TEST_F(Story, ResolutionInterrupted) {
    start_normal(8, [](failover_config &c) { c.max_unacked_updates = 1; });
    interrupt();
    ASSERT_EQ(FAILOVER_OK, force(*s, PD).result);
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    pass(1);
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    ASSERT_EQ(Lease::ACK, lease.kind);
    for (unsigned n = 10; n < 13; n++) {
        new_client(*p, n);
        new_client(*s, n + 10);
    }
    // Into the middle of it.
    mend();
    stalled = true;
    auto both_in = [&](failover_state state) { return p->state() == state && s->state() == state; };
    for (int i = 0; i < 1000 && !both_in(FAILOVER_POTENTIAL_CONFLICT); i++) {
        now.mono += 100;
        now.wall = 1800000000 + (now.mono - 1000000) / 1000;
        step(*p, true);
        step(*s, true);
        arrive();
    }
    ASSERT_TRUE(both_in(FAILOVER_POTENTIAL_CONFLICT));
    EXPECT_EQ(Lease::SILENCE, request(*p, c, lease.address).kind);
    cut();
    reset_connections();
    stalled = false;
    settle();
    EXPECT_TRUE(both_in(FAILOVER_RESOLUTION_INTERRUPTED));
    EXPECT_EQ(Lease::SILENCE, new_client(*p, 90).kind) << "no new client";
    EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind) << "but renewals";
    pass(5);
    mend();
    pass(6);
    expect_peace();
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(lease.address).status);
}

// Both were down, and the disk of the one that had gone on takes nothing when they start again.
TEST_F(Story, PartnerDownIsToldThoughTheDiskHangsFromTheStart) {
    start_normal(4);
    kill(*s);
    pass(31);
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    pass(61);
    kill(*p);
    pass(600);
    p->disk_works_ = false;
    restart(*p);
    restart(*s);
    pass(60);
    EXPECT_EQ(PD, p->state());
    EXPECT_EQ(RE, s->state()) << "it has heard that its partner went on";
    p->disk_works_ = true;
    pass(120);
    EXPECT_EQ(NO, s->state());
}

// The client declines to a server whose partner doesn't hear of it, and gets the lease extended there.
TEST_F(Story, DeclineThatThePartnerHasNotHeardOf) {
    for (bool renews : {false, true}) {
        start_normal(4, [](failover_config &c) { c.interrupted_leases = FAILOVER_EXTEND; });
        failover_client c = make_client(1);
        Lease lease = dora(*s, c);
        ASSERT_EQ(Lease::ACK, lease.kind);
        lease = request(*s, c, lease.address);
        ASSERT_EQ(3600u, lease.lifetime);
        interrupt();
        decline(*p, c, lease.address, 100);
        pass(60);
        if (renews) {
            ASSERT_EQ(Lease::ACK, request(*s, c, lease.address).kind);
        }
        pass(60); // the probation is over
        p->disk_works_ = false;
        mend();
        pass(6);
        ASSERT_EQ(FAILOVER_NORMAL, p->state());
        EXPECT_EQ(renews ? FAILOVER_ACTIVE : FAILOVER_ABANDONED, p->binding(lease.address).status)
            << "the partner has not been told yet";
        EXPECT_EQ(FAILOVER_ACTIVE, s->binding(lease.address).status);
        p->disk_works_ = true;
        pass(60);
        failover_binding_status expected = renews ? FAILOVER_ACTIVE : FAILOVER_FREE;
        EXPECT_EQ(renews ? expected : FAILOVER_ABANDONED, s->binding(lease.address).status)
            << "abandoned until the end that its client was promised";
        pass(renews ? 60 : 3600);
        EXPECT_EQ(expected, p->binding(lease.address).status);
        EXPECT_EQ(expected, s->binding(lease.address).status);
        kill(*p);
        kill(*s);
    }
}
