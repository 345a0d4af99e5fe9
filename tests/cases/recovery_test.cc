// SPDX-License-Identifier: MPL-2.0
//
// Databases that were lost, restored, renamed or left alone.
#include "cases.h"

using namespace failover_test;

// ---- C08 ------------------------------------------------------------------------------------------------------------

// The link is lost in the middle of a recovery, and again right before its end: the new server begins again, takes no
// late answer for the end, and its wait counts from its start, whatever became of the link.
TEST_F(Cases, C08_LinkLostInRecover) {
    start_normal(4096, [](failover_config &c) { c.max_unacked_updates = 10; });
    std::vector<uint32_t> leased;
    for (unsigned n = 1; n <= 2000; n++) {
        leased.push_back(new_client(*p, n).address);
        ASSERT_NE(0u, leased.back());
    }
    kill(*s);
    wipe(*s);
    pass(10);
    s->log_.clear();
    stalled = true;
    restart(*s);
    int64_t started = now.wall;
    auto run_until = [&](size_t known) {
        for (int i = 0; i < 1000000 && s->bindings_.size() < known; i++) {
            step(*p, true);
            step(*s, true);
            arrive();
            if (i % 200 == 199) {
                now.mono += 100;
                now.wall = 1800000000 + (now.mono - 1000000) / 1000;
            }
        }
        ASSERT_GE(s->bindings_.size(), known);
        EXPECT_EQ(RE, s->state());
    };
    size_t all = p->bindings_.size();
    EXPECT_GE(all, 2000u);
    run_until(all * 37 / 100);
    reset_connections();
    EXPECT_EQ(0u, p->status(now).updates_unacked) << "the window is free again";
    run_until(all); // all there is, but for UPDDONE
    reset_connections();
    EXPECT_EQ(RE, s->state());
    stalled = false;
    settle();
    pass(6);
    EXPECT_EQ(RW, s->state());
    EXPECT_EQ(CI, p->state());
    EXPECT_EQ(3u, s->status(now).counters.connects);
    EXPECT_EQ(1, count_log(*s, "the partner has sent everything it was asked for"));
    EXPECT_EQ(started + 60 - now.wall, pending(*s, "end of recover-wait")) << "from its start";
    for (uint32_t address : leased) {
        ASSERT_EQ(FAILOVER_ACTIVE, s->binding(address).status);
    }
    pass(started + 59 - now.wall);
    EXPECT_EQ(RW, s->state());
    pass(1);
    EXPECT_EQ(NO, s->state());
    EXPECT_EQ(1, count_log(*s, "state recover-done -> normal")) << "service begins once";
    pass(60);
    expect_peace();
}

// A late UPDDONE bears the number of a request that is over.
TEST_F(CasesByMessage, C08_LateAnswerToTheRequestOfBefore) {
    make(FAILOVER_SECONDARY);
    start();
    link_up();
    send(state_message(NO, now.wall - 1000));
    ASSERT_EQ(RE, x->state());
    auto asked = [&] {
        while (!in(link).empty()) {
            Received r = std::move(in(link).front());
            in(link).pop_front();
            if (r.m.type == FAILOVER_UPDREQALL) {
                return r.m.xid;
            }
        }
        ADD_FAILURE() << "nothing was asked for";
        return 0u;
    };
    asked();
    disconnect(link);
    pass(5000);
    link_up();
    send(state_message(NO, now.wall - 1000));
    uint32_t again = asked();
    send(Message(FAILOVER_UPDDONE, again + 1));
    EXPECT_EQ(RE, x->state());
    send(Message(FAILOVER_UPDDONE, again));
    EXPECT_EQ(RW, x->state());
}

// ---- C10 ------------------------------------------------------------------------------------------------------------

// Both databases are cleared. That can't be told from a first start, and by the design it skips the wait, as dhcpd does,
// with a warning that says what that means.
TEST_F(Cases, C10_BothDatabasesWiped) {
    start_normal(TEN);
    new_client(*p, 1);
    kill(*p);
    kill(*s);
    wipe(*p);
    wipe(*s);
    restart(*p);
    pass(1);
    restart(*s);
    pass(5);
    expect_peace();
    for (Server *x : {p.get(), s.get()}) {
        EXPECT_EQ(1, count_log(*x, "first contact: neither server has a record of the relationship, recover-wait is "
                                   "skipped; if a database was lost, clients of before may hold addresses that are "
                                   "given out again"));
    }
}

// Only one is: it waits for the MCLT, and the other one serves all the time.
TEST_F(Cases, C10_OneDatabaseWiped) {
    start_normal(200);
    std::vector<uint32_t> leased;
    for (unsigned n = 1; n <= 100; n++) {
        leased.push_back(new_client(*p, n).address);
    }
    pass(20);
    EXPECT_EQ(3600u, request(*p, make_client(1), leased[0]).lifetime);
    kill(*s);
    wipe(*s);
    pass(30);
    restart(*s);
    int64_t back = now.wall;
    EXPECT_EQ(CI, p->state());
    EXPECT_EQ(RW, s->state());
    while (now.wall < back + 60) {
        EXPECT_EQ(RW, s->state());
        EXPECT_EQ(Lease::SILENCE, new_client(*s, 1000).kind);
        EXPECT_EQ(Lease::ACK, request(*p, make_client(1), leased[0]).kind);
        pass(10);
    }
    expect_peace();
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(leased[0]).status) << "it has everything again";
    EXPECT_EQ(Lease::ACK, request(*s, make_client(1), leased[0]).kind);
    EXPECT_EQ(Lease::ACK, new_client(*s, 1000).kind);
}

// ---- C11 ------------------------------------------------------------------------------------------------------------

// To get a renamed relationship out of its wait, people lower the MCLT. That counts for what is granted from now on; for
// what was granted before the old one is waited for (rule 10). (What a new name means is in config_test.cc.)
TEST_F(Cases, C11_RenamingAndALowerMclt) {
    start_normal(TEN);
    ASSERT_EQ(60u, new_client(*s, 1).lifetime);
    kill(*p);
    p->config_.mclt = 20;
    restart(*p);
    pass(6);
    expect_peace();
    int64_t taken = now.wall;
    EXPECT_EQ(20u, new_client(*s, 2).lifetime);
    EXPECT_EQ(20u, new_client(*p, 3).lifetime);
    kill(*s);
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    pass(taken + 30 - now.wall);
    EXPECT_NE(Lease::ACK, request(*p, make_client(9), *free_of(*p, FAILOVER_PARTNERS).begin()).kind)
        << "an MCLT of 20 s would be over, and leases of 60 s are not";
    pass(taken + 61 - now.wall);
    EXPECT_EQ(Lease::ACK, request(*p, make_client(9), *free_of(*p, FAILOVER_PARTNERS).begin()).kind);
}

// ---- C15 ------------------------------------------------------------------------------------------------------------

// (a) The power goes in partner-down, and the server comes back alone: it is in partner-down, since when it was.
TEST_F(Cases, C15_PowerCutInPartnerDown) {
    start_normal(TEN);
    kill(*s);
    pass(20);
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    int64_t stos = now.wall;
    kill(*p); // in the next moment
    pass(30);
    restart(*p);
    EXPECT_EQ(FAILOVER_STARTUP, p->state());
    pass(10);
    EXPECT_EQ(PD, p->state());
    EXPECT_EQ(stos, p->status(now).since);
    pass(stos + 60 - now.wall);
    EXPECT_EQ(Lease::ACK, request(*p, make_client(1), *free_of(*p, FAILOVER_PARTNERS).begin()).kind)
        << "the wait has gone on meanwhile";
}

// (b) Kea's leases are gone (on a tmpfs), the failover database isn't. By the design what either of them knows counts
// (rule 12), so the leases come back from there, and nothing has to be recovered.
TEST_F(Cases, C15_LeasesGoneButNotTheState) {
    start_normal(TEN);
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    kill(*p);
    p->rows_.clear();
    restart(*p);
    pass(6);
    expect_peace();
    EXPECT_EQ(1u, p->rows_.count(lease.address));
    EXPECT_EQ(Lease::ACK, request(*p, c, lease.address).kind);
    EXPECT_EQ(Lease::NAK, request(*p, make_client(2), lease.address).kind);
}

// (c) The other way round: recover, and the leases that Kea has are not forgotten.
TEST_F(Cases, C15_StateGoneButNotTheLeases) {
    start_normal(TEN);
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    ASSERT_EQ(3600u, request(*p, c, lease.address).lifetime);
    kill(*p);
    kill(*s);
    p->lose_database();
    restart(*p);
    pass(60);
    EXPECT_EQ(RE, p->state());
    EXPECT_EQ(FAILOVER_ACTIVE, p->binding(lease.address).status);
    restart(*s);
    pass(130);
    expect_peace();
    EXPECT_EQ(FAILOVER_ACTIVE, s->binding(lease.address).status);
}

// (d) A database cut short at every byte is in store_test.cc (StoreDamaged, StoreKilled). What it protects is this: no
// state is told to the partner before it is on disk.
TEST_F(Cases, C15_NothingIsToldBeforeItIsOnDisk) {
    start_normal(TEN);
    p->disk_works_ = false;
    Lease lease = new_client(*p, 1);
    pass(5);
    EXPECT_EQ(FAILOVER_FREE, s->binding(lease.address).status);
    cut();
    reset_connections();
    pass(1);
    EXPECT_TRUE(both_in(CI));
    mend();
    pass(6);
    EXPECT_EQ(CI, s->state()) << "it would be normal, had the other one said so";
    kill(*p); // power
    p->disk_works_ = true;
    restart(*p);
    pass(6);
    expect_peace();
}

// ---- C62 ------------------------------------------------------------------------------------------------------------

// The library was unloaded, Kea served alone from what was the partner's, and failover is switched on again. By the
// design the leases made meanwhile are taken over at the start as any other (rule 12), and neither a conflict nor a swap
// of roles is needed. A client whose address was given on by both is a clash that is found and counted.
TEST_F(Cases, C62_StandAloneAndFailoverSwitchedOnAgain) {
    start_normal(20);
    failover_client old = make_client(1);
    Lease of_before = dora(*p, old);
    ASSERT_EQ(3600u, request(*p, old, of_before.address).lifetime);
    kill(*p);
    kill(*s);
    pass(1000);
    // Plain Kea gives out what was the primary's.
    std::map<uint32_t, failover_client> given;
    for (uint32_t a = POOL_FIRST; a < POOL_FIRST + 20 && given.size() < 5; a++) {
        auto b = s->bindings_.find(a);
        bool primarys = b == s->bindings_.end() || b->second.owner == FAILOVER_PARTNERS;
        if (primarys && a != of_before.address) {
            given[a] = make_client(40 + (a - POOL_FIRST));
            s->rows_[a] = Server::Row{given[a], now.wall, now.wall + 3600};
        }
    }
    ASSERT_EQ(5u, given.size());
    pass(60);
    restart(*s);
    restart(*p); // with its old database
    pass(6);
    expect_peace();
    EXPECT_EQ(FAILOVER_PRIMARY, p->status(now).role);
    for (auto &[address, client] : given) {
        failover_binding b = p->binding(address);
        EXPECT_EQ(FAILOVER_ACTIVE, b.status) << dotted(address);
        EXPECT_TRUE(failover_same_client(&client, &b.client));
        EXPECT_EQ(Lease::ACK, request(*p, client, address).kind);
        EXPECT_EQ(Lease::NAK, request(*p, make_client(99), address).kind);
    }
    EXPECT_EQ(Lease::ACK, request(*s, old, of_before.address).kind);
    EXPECT_EQ(0u, clashes());
}
