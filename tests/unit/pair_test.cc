// SPDX-License-Identifier: MPL-2.0
#include "pair.h"

using namespace failover_test;

TEST_F(Pair, FirstContactDividesThePool) {
    make(20);
    start();
    EXPECT_EQ(FAILOVER_NORMAL, p->state());
    EXPECT_EQ(FAILOVER_NORMAL, s->state());
    EXPECT_EQ(10u, p->own_free(now));
    EXPECT_EQ(10u, s->own_free(now));
    EXPECT_TRUE(p->logged("recover-wait is skipped"));
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 20; a++) {
        EXPECT_NE(p->binding(a).owner, s->binding(a).owner) << dotted(a);
    }
}

TEST_F(Pair, LeaseIsKnownToBoth) {
    start_normal();
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    ASSERT_EQ(Lease::ACK, lease.kind) << lease.why;
    EXPECT_EQ(60u, lease.lifetime);
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(lease.address).status);
    EXPECT_EQ(1u, s->rows_.count(lease.address));
    pass(30);
    lease = request(*p, c, lease.address);
    EXPECT_EQ(3600u, lease.lifetime);
    pass(10);
    lease = request(*s, c, lease.address);
    EXPECT_EQ(Lease::ACK, lease.kind);
    EXPECT_EQ(3600u, lease.lifetime);
}

TEST_F(Pair, InterruptionAndReturn) {
    start_normal();
    interrupt();
    mend();
    pass(6);
    EXPECT_EQ(FAILOVER_NORMAL, p->state());
    EXPECT_EQ(FAILOVER_NORMAL, s->state());
}
