// SPDX-License-Identifier: MPL-2.0
//
// Who owns the free addresses: the first division, gifts, POOLREQ and POOLRESP, by dhcpd's formulas.
#include <algorithm>
#include <numeric>
#include <set>

#include "balance.h"
#include "partner.h"
#include "state.h"
#include "story.h"

using namespace failover_test;

namespace {

// ---- Two servers ----------------------------------------------------------------------------------------------------

class Balance : public Pair {
protected:
    uint32_t moved() {
        return uint32_t(failover_get_counters(p->core_)->updates_sent + failover_get_counters(s->core_)->updates_sent);
    }
    size_t poolresps() const {
        size_t count = 0;
        for (const Server *x : {p.get(), s.get()}) {
            count += size_t(std::count_if(x->log_.begin(), x->log_.end(), [](const std::string &line) {
                return line.find("the partner gives") != std::string::npos;
            }));
        }
        return count;
    }
    // Each free address is the one server's in the eyes of both.
    void expect_agreement() {
        for (uint32_t a = p->first_; a <= p->last_; a++) {
            failover_binding mine = p->binding(a), theirs = s->binding(a);
            ASSERT_EQ(mine.status, theirs.status) << dotted(a);
            if (mine.status == FAILOVER_FREE) {
                EXPECT_NE(mine.owner, theirs.owner) << dotted(a);
                EXPECT_NE(FAILOVER_NOBODY, mine.owner) << dotted(a);
                EXPECT_NE(FAILOVER_NOBODY, theirs.owner) << dotted(a);
            }
        }
    }
    void expect_division(uint32_t primarys, uint32_t secondarys) {
        EXPECT_EQ(primarys, p->own_free(now));
        EXPECT_EQ(secondarys, s->own_free(now));
        expect_agreement();
    }
    // Leases one of the server's own addresses without an end: the first grant is the MCLT, the second is for
    // ever.
    void lease(Server &x, const failover_client &c) {
        desired = FAILOVER_LIFETIME_INFINITE;
        uint32_t address = own(x);
        for (int i = 0; i < 2; i++) {
            Lease l = request(x, c, address, true);
            ASSERT_EQ(Lease::ACK, l.kind) << l.why;
        }
        ASSERT_EQ(FAILOVER_TIME_INFINITE, x.binding(address).ends);
    }
    // Leases until the server has only `left` own addresses.
    void lease_until(Server &x, uint32_t left) {
        while (x.own_free(now) > left) {
            lease(x, make_client(++clients_));
        }
    }
    // An address that the server may give now.
    uint32_t own(Server &x) {
        return failover_next_own(x.core_, POOL_FIRST, now);
    }
    // Lets a client have an own address of the server and give it back, until it is free again.
    void use_and_release(Server &x, const failover_client &c) {
        Lease l = dora(x, c);
        ASSERT_EQ(Lease::ACK, l.kind) << l.why;
        release(x, c, l.address);
        ASSERT_EQ(FAILOVER_FREE, p->binding(l.address).status);
    }

private:
    unsigned clients_ = 0;
};

struct Division {
    uint32_t addresses, primarys, secondarys;
};

class FirstDivision : public Balance, public ::testing::WithParamInterface<Division> {};

TEST_P(FirstDivision, IsHalfAndTheOddOneStaysWithThePrimary) {
    start_normal(GetParam().addresses);
    expect_division(GetParam().primarys, GetParam().secondarys);
    EXPECT_EQ(GetParam().secondarys, moved()) << "each gift is one update, and nothing else has to be told";
}

INSTANTIATE_TEST_SUITE_P(Pools, FirstDivision,
                         ::testing::Values(Division{1, 1, 0}, Division{2, 1, 1}, Division{3, 2, 1}, Division{4, 2, 2},
                                           Division{11, 6, 5}, Division{20, 10, 10}, Division{255, 128, 127}),
                         [](const auto &info) { return "Of" + std::to_string(info.param.addresses); });

TEST_F(Balance, UsedAddressesComeToRestToo) {
    start_normal(11);
    for (unsigned n = 0; n < 30; n++) {
        use_and_release(n % 2 == 0 ? *p : *s, make_client(n + 1));
        pass(7);
    }
    pass(600);
    uint32_t before = moved();
    pass(1000 * 63);
    EXPECT_EQ(before, moved());
    EXPECT_EQ(11u, p->own_free(now) + s->own_free(now));
    EXPECT_GE(p->own_free(now), 4u);
    EXPECT_GE(s->own_free(now), 4u);
    expect_agreement();
}

TEST_F(Balance, AServerThatRunsDryIsGivenHalf) {
    for (bool primary : {true, false}) {
        start_normal(20);
        lease_until(primary ? *p : *s, 0);
        expect_division(primary ? 0 : 10, primary ? 10 : 0);
        pass(64); // one round of both timers
        expect_division(5, 5);
    }
}

TEST_F(Balance, AServerAsksAtMostOncePerBalanceInterval) {
    // The partner holds back 10 of the 20 because they are its clients', so what is asked for is never given.
    start_normal(20, [](failover_config &c) { c.max_lease_ownership = 100; });
    for (unsigned n = 0; n < 10; n++) {
        use_and_release(*p, client_of(FAILOVER_PRIMARY, n));
    }
    lease_until(*s, 0);
    pass(100 * 60);
    EXPECT_EQ(0u, s->own_free(now));
    EXPECT_GE(poolresps(), 90u);
    EXPECT_LE(poolresps(), 100u);
}

TEST_F(Balance, AllFreeAddressesAreOwnedByOneServerThroughAnInterruption) {
    start_normal(20);
    interrupt();
    EXPECT_EQ(10u, p->own_free(now));
    EXPECT_EQ(10u, s->own_free(now));
    for (uint32_t a = p->first_; a <= p->last_; a++) {
        EXPECT_NE(p->binding(a).owner, s->binding(a).owner);
    }
    ASSERT_EQ(Lease::ACK, dora(*p, make_client(1)).kind);
    ASSERT_EQ(Lease::ACK, dora(*s, make_client(2)).kind);
    EXPECT_EQ(INT64_MAX, balance_deadline(p->core_)) << "a lease doesn't wake it either";
    uint32_t before = moved();
    pass(1000);
    EXPECT_EQ(before, moved()) << "nobody gives anything away while nobody listens";
    EXPECT_EQ(INT64_MAX, balance_deadline(p->core_)) << "and nothing wakes it for that";
    EXPECT_EQ(INT64_MAX, balance_deadline(s->core_));
    mend();
    pass(6);
    expect_division(10, 10);
}

TEST_F(Balance, RestartsOfEitherServerKeepTheDivision) {
    start_normal(20);
    std::vector<failover_owner> before;
    for (uint32_t a = p->first_; a <= p->last_; a++) {
        before.push_back(p->binding(a).owner);
    }
    for (Server *x : {p.get(), s.get(), p.get()}) {
        kill(*x);
        pass(20);
        restart(*x);
        pass(30);
        ASSERT_EQ(FAILOVER_NORMAL, p->state());
        ASSERT_EQ(FAILOVER_NORMAL, s->state());
        expect_division(10, 10);
    }
    for (uint32_t a = p->first_; a <= p->last_; a++) {
        EXPECT_EQ(before[a - p->first_], p->binding(a).owner) << dotted(a);
    }
}

// Ownership is mine or the partner's, whatever it is called on the wire.
TEST_F(Balance, AChangeOfRolesChangesNoOwnership) {
    start_normal(20);
    std::vector<failover_owner> before;
    for (uint32_t a = s->first_; a <= s->last_; a++) {
        before.push_back(s->binding(a).owner);
    }
    kill(*p);
    ASSERT_EQ(FAILOVER_OK, force(*s, FAILOVER_PARTNER_DOWN).result);
    pass(10);
    restart(*p);
    pass(200);
    ASSERT_EQ(FAILOVER_NORMAL, p->state());
    ASSERT_EQ(FAILOVER_NORMAL, s->state());
    EXPECT_EQ(FAILOVER_PRIMARY, s->status(now).role);
    EXPECT_EQ(FAILOVER_SECONDARY, p->status(now).role);
    expect_division(10, 10);
    for (uint32_t a = s->first_; a <= s->last_; a++) {
        EXPECT_EQ(before[a - s->first_], s->binding(a).owner) << dotted(a);
    }
}

// ---- Reserved addresses ---------------------------------------------------------------------------------------------

TEST_F(Balance, ReservedAddressesAreNotDivided) {
    make(20);
    for (uint32_t n = 0; n < 5; n++) {
        p->reserved_.push_back(POOL_FIRST + n * 3);
        s->reserved_.push_back(POOL_FIRST + n * 3);
    }
    start();
    ASSERT_EQ(FAILOVER_NORMAL, p->state());
    EXPECT_EQ(8u, p->own_free(now));
    EXPECT_EQ(7u, s->own_free(now));
    EXPECT_EQ(7u, moved());
    pass(1000);
    EXPECT_EQ(7u, moved());
    for (Server *x : {p.get(), s.get()}) {
        EXPECT_EQ(5u, x->status(now).reserved);
        for (uint32_t n = 0; n < 20; n++) {
            uint32_t given = own(*x);
            EXPECT_EQ(0, std::count(p->reserved_.begin(), p->reserved_.end(), given)) << dotted(given);
        }
    }
    for (uint32_t a : p->reserved_) {
        EXPECT_EQ(0u, p->bindings_.count(a)) << "nothing was written of it";
    }
}

// ---- Client affinity ------------------------------------------------------------------------------------------------

TEST_F(Balance, AnAddressThatComesFreeGoesToTheServerOfItsLastClient) {
    start_normal(20);
    failover_client theirs = client_of(FAILOVER_SECONDARY, 0), mine = client_of(FAILOVER_PRIMARY, 0);
    Lease l = dora(*p, theirs);
    ASSERT_EQ(Lease::ACK, l.kind);
    release(*p, theirs, l.address);
    EXPECT_EQ(FAILOVER_PARTNERS, p->binding(l.address).owner);
    EXPECT_EQ(FAILOVER_MINE, s->binding(l.address).owner);
    expect_division(9, 11);
    l = dora(*s, mine);
    ASSERT_EQ(Lease::ACK, l.kind);
    release(*s, mine, l.address);
    EXPECT_EQ(FAILOVER_MINE, p->binding(l.address).owner);
    expect_division(10, 10);
}

TEST_F(Balance, AffinityEndsWhereThePartnerHasMoreThanItsShare) {
    start_normal(20);
    // hold is 10 % of 20: the secondary may have 2 pairs more, and then no more.
    for (unsigned n = 0; n < 8; n++) {
        use_and_release(*p, client_of(FAILOVER_SECONDARY, n));
    }
    expect_division(8, 12);
}

TEST_F(Balance, AnExpiredLeaseIsGivenByAffinityToo) {
    start_normal(20);
    failover_client theirs = client_of(FAILOVER_SECONDARY, 0);
    Lease l = dora(*p, theirs);
    pass(61); // the first grant is the MCLT
    EXPECT_EQ(FAILOVER_FREE, p->binding(l.address).status);
    EXPECT_EQ(FAILOVER_MINE, s->binding(l.address).owner);
    expect_agreement();
}

// ---- Without a record nothing is owned (design, rule 6) -------------------------------------------------------------

TEST_F(Balance, AServerWithoutARecordOwnsNothing) {
    make(20);
    p->start(now);
    settle();
    pass(30);
    EXPECT_EQ(FAILOVER_RECOVER, p->state());
    EXPECT_EQ(0u, p->own_free(now));
    EXPECT_EQ(0u, p->status(now).by_status[FAILOVER_FREE]);
    EXPECT_EQ(20u, p->status(now).by_status[FAILOVER_BACKUP]) << "counted as the partner's";
    EXPECT_EQ(FAILOVER_NOBODY, p->binding(POOL_FIRST).owner);
}

TEST_F(Balance, AServerWithoutARecordInPartnerDownWaitsForTheMclt) {
    make(20);
    p->start(now);
    settle();
    pass(30);
    ASSERT_EQ(FAILOVER_OK, force(*p, FAILOVER_PARTNER_DOWN).result);
    EXPECT_EQ(0u, p->own_free(now));
    EXPECT_EQ(Lease::SILENCE, discover(*p, make_client(1)).kind);
    pass(59);
    EXPECT_EQ(0u, p->own_free(now));
    pass(1);
    EXPECT_EQ(20u, p->own_free(now));
    EXPECT_EQ(Lease::ACK, dora(*p, make_client(1)).kind);
}

TEST_F(Balance, AfterFirstContactWhatNobodyUsedIsThePrimarys) {
    make(20);
    p->start(now);
    s->start(now);
    cut();
    settle();
    EXPECT_EQ(FAILOVER_NOBODY, p->binding(POOL_FIRST).owner);
    mend();
    pass(6);
    ASSERT_EQ(FAILOVER_NORMAL, p->state());
    EXPECT_EQ(FAILOVER_MINE, p->record_->default_owner);
    EXPECT_EQ(FAILOVER_PARTNERS, s->record_->default_owner);
    EXPECT_EQ(10u, p->bindings_.size()) << "only what was given away has a record";
    EXPECT_EQ(10u, s->bindings_.size());
    expect_division(10, 10);
}

TEST_F(Balance, AServerThatLostItsDatabaseIsToldWhatItOwns) {
    for (bool primary : {true, false}) {
        start_normal(20);
        s->config_.mclt = 60; // one file serves both: it waits no longer than the primary's MCLT
        std::vector<failover_owner> before;
        for (uint32_t a = p->first_; a <= p->last_; a++) {
            before.push_back(p->binding(a).owner);
        }
        Server &x = primary ? *p : *s;
        kill(x);
        x.lose_database();
        pass(5);
        restart(x);
        EXPECT_EQ(0u, x.own_free(now)) << "it is in recover";
        pass(200);
        ASSERT_EQ(FAILOVER_NORMAL, p->state());
        ASSERT_EQ(FAILOVER_NORMAL, s->state());
        expect_division(10, 10);
        for (uint32_t a = p->first_; a <= p->last_; a++) {
            EXPECT_EQ(before[a - p->first_], p->binding(a).owner) << dotted(a);
        }
    }
}

// Its leases were in Kea's database, so that it wrote them down before it knew whose anything is.
TEST_F(Balance, WhatIsNobodysOnDiskIsReadAsWhoseItHasBecome) {
    start_normal(20);
    s->config_.mclt = 60;
    failover_client c = make_client(1);
    lease(*s, c);
    kill(*s);
    s->lose_database();
    cut();
    restart(*s);
    uint32_t address = s->rows_.begin()->first;
    ASSERT_EQ(FAILOVER_NOBODY, s->bindings_[address].owner);
    mend();
    pass(200);
    ASSERT_EQ(FAILOVER_NORMAL, s->state());
    kill(*s);
    restart(*s);
    EXPECT_EQ(FAILOVER_PARTNERS, s->binding(address).owner) << "never divided, so the configured primary's";
    failover_status status = s->status(now);
    EXPECT_EQ(20u, std::accumulate(std::begin(status.by_status), std::end(status.by_status), uint64_t(0)));
}

// ---- One server, and a partner played by the test -------------------------------------------------------------------

class BalanceWire : public Scripted {
protected:
    // How the server's addresses came about, before it starts.
    void had(uint32_t n, failover_owner owner, const failover_client *last_client, int64_t ends = 0) {
        failover_binding b{};
        b.address = POOL_FIRST + n;
        b.status = FAILOVER_FREE;
        b.owner = owner;
        b.ends = ends;
        b.starts = b.sent = b.acked = now.wall - 1000;
        if (last_client != nullptr) {
            b.client = *last_client;
            b.cltt = now.wall - 2000;
        }
        b.update_sent = b.state_sent = true;
        x->bindings_[b.address] = b;
    }
    // The link comes up, both are in NORMAL: what comes is the balance on entry.
    void meet() {
        partner_max_unacked = 1000;
        start();
        link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
        ASSERT_EQ(FAILOVER_NORMAL, x->state());
    }
    // The addresses, by number, of the updates in the inbox; each has to be a gift.
    std::set<uint32_t> gifts() {
        std::set<uint32_t> numbers;
        uint8_t expected = x->config_.role == FAILOVER_PRIMARY ? FAILOVER_BACKUP : FAILOVER_FREE;
        for (const Received &r : in(link)) {
            if (r.m.type == FAILOVER_BNDUPD) {
                EXPECT_EQ(expected, r.m.binding_status);
                EXPECT_EQ(now.wall, r.m.start_time_of_state);
                EXPECT_EQ(now.wall, r.m.potential_expiration_time);
                numbers.insert(r.m.assigned_ip_address - POOL_FIRST);
            }
        }
        return numbers;
    }
    // As meet(), with the gifts left in the inbox.
    std::set<uint32_t> gifts_on_entry() {
        partner_max_unacked = 1000;
        start();
        link_up();
        send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
        EXPECT_EQ(FAILOVER_NORMAL, x->state());
        return gifts();
    }
    // All 20 are this server's; the first `used` were used before, by a client of `role`.
    void all_mine(failover_role me, uint32_t used, failover_role role) {
        make_known(me, FAILOVER_NORMAL, 20);
        for (uint32_t n = 0; n < 20; n++) {
            failover_client c = client_of(role, n);
            had(n, FAILOVER_MINE, n < used ? &c : nullptr);
        }
    }
    // The partner leases this address.
    void partner_leases(uint32_t n, unsigned client) {
        failover_client c = make_client(client);
        EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + n, FAILOVER_ACTIVE, &c, now.wall + 3600, now.wall + 7200, now.wall,
                                    now.wall)));
    }
};

TEST_F(BalanceWire, NeverUsedAddressesAreGivenUntilBothHaveTheSame) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    EXPECT_EQ(10u, gifts_on_entry().size());
}

// total 20, lts 10, hold (20 x 10 + 50) / 100 = 2: used ones are given until lts is 2.
TEST_F(BalanceWire, UsedAddressesAreGivenUntilTheHold) {
    all_mine(FAILOVER_PRIMARY, 20, FAILOVER_PRIMARY);
    EXPECT_EQ(8u, gifts_on_entry().size());
}

// A dhcpd may leave out when the client was last heard of; and an address that was abandoned has no client left.
TEST_F(BalanceWire, OneTraceOfUseIsEnough) {
    all_mine(FAILOVER_PRIMARY, 20, FAILOVER_PRIMARY);
    for (auto &[address, binding] : x->bindings_) {
        binding.cltt = 0;
    }
    EXPECT_EQ(8u, gifts_on_entry().size());
    forget();
    all_mine(FAILOVER_PRIMARY, 20, FAILOVER_PRIMARY);
    for (auto &[address, binding] : x->bindings_) {
        binding.client = failover_client{};
    }
    EXPECT_EQ(8u, gifts_on_entry().size());
}

TEST_F(BalanceWire, GiftsAreLogged) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    gifts_on_entry();
    EXPECT_TRUE(x->logged("balance: 10 free addresses go to the partner"));
    x->log_.clear();
    balance_run(x->core_, BALANCE_ON_TIMER);
    EXPECT_FALSE(x->logged("go to the partner")) << "a balance without gifts is no news";
}

// Of the partner's own clients until lts is -hold.
TEST_F(BalanceWire, AddressesOfThePartnersClientsAreGivenBeyondHalf) {
    all_mine(FAILOVER_PRIMARY, 20, FAILOVER_SECONDARY);
    EXPECT_EQ(12u, gifts_on_entry().size());
}

TEST_F(BalanceWire, AddressesOfThePartnersClientsAreGivenFirst) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    for (uint32_t n = 0; n < 20; n++) {
        failover_client c = client_of(n >= 15 ? FAILOVER_SECONDARY : FAILOVER_PRIMARY, n);
        had(n, FAILOVER_MINE, &c);
    }
    // 5 of the partner's clients: lts 5. Then the oldest of the others until lts is 2.
    EXPECT_EQ((std::set<uint32_t>{15, 16, 17, 18, 19, 0, 1, 2}), gifts_on_entry());
}

TEST_F(BalanceWire, TheSecondaryGivesByTheSameRules) {
    all_mine(FAILOVER_SECONDARY, 20, FAILOVER_SECONDARY);
    EXPECT_EQ(8u, gifts_on_entry().size());
    all_mine(FAILOVER_SECONDARY, 20, FAILOVER_PRIMARY);
    EXPECT_EQ(12u, gifts_on_entry().size());
}

TEST_F(BalanceWire, OldestFreeAddressesAreGivenFirst) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    std::set<uint32_t> first_ten = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    EXPECT_EQ(first_ten, gifts_on_entry());
}

TEST_F(BalanceWire, AMisbalanceWithinTheHoldIsLeftAlone) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    for (uint32_t n = 0; n < 20; n++) {
        failover_client c = client_of(FAILOVER_PRIMARY, n);
        had(n, n < 12 ? FAILOVER_MINE : FAILOVER_PARTNERS, &c); // lts is 2
    }
    EXPECT_TRUE(gifts_on_entry().empty());
}

TEST_F(BalanceWire, ConfigurationSaysHowMuchIsHeld) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20, [](failover_config &c) { c.max_lease_ownership = 0; });
    for (uint32_t n = 0; n < 20; n++) {
        failover_client c = client_of(FAILOVER_PRIMARY, n);
        had(n, FAILOVER_MINE, &c);
    }
    EXPECT_EQ(10u, gifts_on_entry().size());
}

TEST_F(BalanceWire, AddressesThatWaitForTheirEndCountButAreNotGiven) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    for (uint32_t n = 0; n < 20; n++) {
        had(n, FAILOVER_MINE, nullptr, n < 15 ? now.wall + 100 : 0); // offered by a dhcpd before it gave them
    }
    // lts is 10, but only five can go.
    EXPECT_EQ((std::set<uint32_t>{15, 16, 17, 18, 19}), gifts_on_entry());
}

TEST_F(BalanceWire, EachPoolIsDividedByItself) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    failover_host host{nullptr, [](void *, uint64_t, const failover_record *, const failover_binding *) {},
                       [](void *, failover_severity, const char *) {}};
    x->core_ = failover_create(&x->config_, &host);
    const uint32_t other_pool = POOL_FIRST + 100;
    ASSERT_TRUE(failover_add_pool(x->core_, SUBNET, other_pool, other_pool + 2));
    ASSERT_TRUE(failover_add_pool(x->core_, SUBNET, POOL_FIRST, POOL_FIRST + 19));
    ASSERT_TRUE(failover_build(x->core_, &*x->record_));
    failover_start(x->core_, "process-2", now);
    partner_max_unacked = 1000;
    auto all_on_disk = [&] { failover_committed(x->core_, failover_sequence(x->core_), now); };
    link_up();
    all_on_disk();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    all_on_disk();
    run();
    EXPECT_EQ((std::set<uint32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100}), gifts());
    EXPECT_EQ(10u, failover_own_free(x->core_, POOL_FIRST, now));
    EXPECT_EQ(2u, failover_own_free(x->core_, other_pool, now));
}

// ---- POOLREQ and POOLRESP -------------------------------------------------------------------------------------------

TEST_F(BalanceWire, PoolreqIsAnsweredWithTheNumberAheadOfTheGifts) {
    for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
        make_known(role, FAILOVER_NORMAL, 20);
        meet();
        send(state_message(FAILOVER_NORMAL, now.wall));
        forget();
        for (uint32_t n = 10; n < 20; n++) {
            partner_leases(n, n);
        }
        ASSERT_TRUE(in(link).empty()) << "nobody gives without being asked, before the timer";
        send(Message(FAILOVER_POOLREQ, 4711));
        Received answer = take(FAILOVER_POOLRESP);
        EXPECT_EQ(4711u, answer.m.xid);
        EXPECT_EQ(5u, answer.m.addresses_transferred);
        EXPECT_EQ(5u, gifts().size());
        EXPECT_EQ(5u, in(link).size());
    }
}

TEST_F(BalanceWire, PoolreqThatBringsNothingIsAnsweredWithZero) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    meet();
    for (uint32_t xid : {60u, 61u, 62u}) {
        send(Message(FAILOVER_POOLREQ, xid));
        Received answer = take(FAILOVER_POOLRESP);
        EXPECT_EQ(xid, answer.m.xid);
        EXPECT_TRUE(answer.has(FAILOVER_OPT_ADDRESSES_TRANSFERRED));
        EXPECT_EQ(0u, answer.m.addresses_transferred);
        EXPECT_TRUE(in(link).empty());
    }
}

TEST_F(BalanceWire, PoolreqOutsideNormalIsAnsweredWithZero) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    partner_max_unacked = 1000;
    start();
    link_up_in(FAILOVER_RECOVER);
    ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    send(Message(FAILOVER_POOLREQ, 60));
    EXPECT_EQ(0u, take(FAILOVER_POOLRESP).m.addresses_transferred);
    EXPECT_TRUE(in(link).empty());
}

TEST_F(BalanceWire, PoolrespIsTakenNoteOf) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL, 20);
    meet();
    send(Message(FAILOVER_POOLRESP, 60).number(FAILOVER_OPT_ADDRESSES_TRANSFERRED, 4));
    EXPECT_TRUE(x->logged("the partner gives 4 free addresses"));
    EXPECT_TRUE(in(link).empty());
}

// ---- Lack ------------------------------------------------------------------------------------------------------------

// total 10, threshold (10 x 15 + 50) / 100 = 2, panic -4: it takes less than that to ask.
TEST_F(BalanceWire, AServerAsksWhenItLacksMoreThanThePanicThreshold) {
    for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
        make_known(role, FAILOVER_NORMAL, 20);
        meet();
        send(state_message(FAILOVER_NORMAL, now.wall));
        desired = 100000;
        for (uint32_t n = 0; n < 9; n++) {
            ASSERT_GT(bind(make_client(n + 1), POOL_FIRST + n), 0u);
            acknowledge_all();
            ASSERT_GT(bind(make_client(n + 1), POOL_FIRST + n), 0u); // beyond the end of this test
            acknowledge_all();
        }
        // 1 mine, 10 theirs: lts is -4, and panic for 11 is -4.
        EXPECT_EQ("", names(link));
        for (int seconds = 0; seconds < 600; seconds += 10) {
            pass(10000);
            send(Message(FAILOVER_CONTACT, 70));
        }
        EXPECT_EQ(std::string::npos, names(link).find("POOLREQ"));
        ASSERT_GT(bind(make_client(10), POOL_FIRST + 9), 0u);
        acknowledge_all();
        ASSERT_GT(bind(make_client(10), POOL_FIRST + 9), 0u);
        acknowledge_all();
        forget();
        // 0 mine, 10 theirs: lts is -5, and panic for 10 is -4. Asked once in each interval of 60 s.
        int asked = 0;
        for (int seconds = 0; seconds < 600; seconds += 10) {
            pass(10000);
            for (const Received &r : in(link)) {
                asked += r.m.type == FAILOVER_POOLREQ;
            }
            forget();
            send(Message(FAILOVER_CONTACT, 80));
        }
        EXPECT_GE(asked, 9);
        EXPECT_LE(asked, 10);
    }
}

// The balance of each pool of this server's: what it has of it, and what the partner has.
TEST_F(BalanceWire, AServerOfFewAddressesAsksOnlyForAPair) {
    for (uint32_t theirs : {2u, 4u}) {
        SCOPED_TRACE(std::to_string(theirs) + " of the partner's and none of its own");
        make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, theirs, [](failover_config &c) { c.max_lease_misbalance = 0; });
        for (uint32_t n = 0; n < theirs; n++) {
            had(n, FAILOVER_PARTNERS, nullptr);
        }
        meet();
        forget();
        balance_run(x->core_, BALANCE_ON_TIMER);
        run();
        // The threshold is 0, and then one pair too few is let pass: lts is -1 and -2.
        EXPECT_EQ(theirs == 2 ? "" : "POOLREQ", names(link));
    }
}

TEST_F(BalanceWire, OnePoolThatLacksIsEnoughToAsk) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    for (uint32_t n = 0; n < 20; n++) {
        had(n, FAILOVER_PARTNERS, nullptr);
    }
    const uint32_t other_pool = POOL_FIRST + 100;
    x->start(now);
    x->kill();
    failover_host host{nullptr, [](void *, uint64_t, const failover_record *, const failover_binding *) {},
                       [](void *, failover_severity, const char *) {}};
    x->core_ = failover_create(&x->config_, &host);
    ASSERT_TRUE(failover_add_pool(x->core_, SUBNET, POOL_FIRST, POOL_FIRST + 19));
    ASSERT_TRUE(failover_add_pool(x->core_, SUBNET, other_pool, other_pool + 19));
    ASSERT_TRUE(failover_build(x->core_, &*x->record_));
    for (auto &[address, binding] : x->bindings_) {
        failover_restore_binding(x->core_, &binding);
    }
    failover_start(x->core_, "process-2", now);
    auto all_on_disk = [&] {
        failover_committed(x->core_, failover_sequence(x->core_), now);
        run();
    };
    link_up();
    all_on_disk();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    all_on_disk();
    forget();
    balance_run(x->core_, BALANCE_ON_TIMER);
    run();
    EXPECT_NE(std::string::npos, names(link).find("POOLREQ"));
}

// ---- When ------------------------------------------------------------------------------------------------------------

TEST_F(BalanceWire, BalanceIsRunWhenItIsDue) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    meet();
    acknowledge_all();
    now.mono = balance_deadline(x->core_);
    failover_tick(x->core_, now);
    EXPECT_GT(balance_deadline(x->core_), now.mono);
}

// A list may lie for 15 % of the time for which its oldest address has, and the own one for twice that.
TEST_F(BalanceWire, TheShorterOfBothListsDecides) {
    for (int64_t mine : {-400, -1000}) {
        make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
        for (uint32_t n = 0; n < 20; n++) {
            had(n, n < 10 ? FAILOVER_MINE : FAILOVER_PARTNERS, nullptr);
            x->bindings_[POOL_FIRST + n].starts = now.wall + (n < 10 ? mine : -1000);
        }
        meet();
        EXPECT_EQ(now.mono + (mine == -400 ? 120000 : 150000), balance_deadline(x->core_));
    }
}

TEST_F(BalanceWire, BalanceWaitsForTheMinimumInterval) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    meet();
    int64_t next = balance_deadline(x->core_);
    EXPECT_GE(next, now.mono + 60000);
    EXPECT_LE(next, now.mono + 3600000 + 4000);
}

TEST_F(BalanceWire, BalanceNeverWaitsLongerThanTheMaximum) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20, [](failover_config &c) { c.max_balance = 600; });
    now.wall += 10000000; // everything has been free for a third of a year
    meet();
    EXPECT_EQ(now.mono + 600000, balance_deadline(x->core_));
}

// A deadline that is always now would keep the main loop busy for ever.
TEST_F(BalanceWire, WithoutAMinimumIntervalTheServerStillComesToRest) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20, [](failover_config &c) { c.min_balance = c.max_balance = 0; });
    meet();
    EXPECT_GT(failover_deadline(x->core_), now.mono);
}

TEST_F(BalanceWire, WithoutALinkThereIsNoBalance) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    meet();
    disconnect(link);
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    EXPECT_EQ(0u, balance_run(x->core_, BALANCE_ON_TIMER));
}

// Forced to normal with nobody there: who is to be given anything hasn't said yet that it takes it.
TEST_F(BalanceWire, WhoIsForcedToNormalAloneGivesNothing) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    partner_max_unacked = 1000;
    start();
    failover_force force{FAILOVER_NORMAL, true, 0};
    failover_plan plan;
    failover_force_plan(x->core_, &force, now, &plan);
    ASSERT_EQ(FAILOVER_OK, plan.result) << plan.text;
    failover_force_apply(x->core_, &force, &plan, now);
    run();
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_EQ(0u, balance_run(x->core_, BALANCE_ON_TIMER));
    link_up();
    EXPECT_EQ(0u, balance_run(x->core_, BALANCE_ON_TIMER));
    EXPECT_EQ(20u, failover_own_free(x->core_, POOL_FIRST, now));
}

// ---- Whose what nobody ever used is (5.16) ---------------------------------------------------------------------------

// A server without a record, forced to serve before it could ask: when it has asked, it owns and divides.
TEST_F(BalanceWire, UpddoneMakesAnOwnerOfWhoHadNoRecord) {
    make(FAILOVER_PRIMARY);
    partner_max_unacked = 1000;
    start();
    state_enter(x->core_, FAILOVER_PARTNER_DOWN, now.wall);
    run();
    link_up_in(FAILOVER_RECOVER);
    send(state_message(FAILOVER_RECOVER_DONE, now.wall));
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    ASSERT_EQ(FAILOVER_NOBODY, x->record_->default_owner);
    take(FAILOVER_STATE);
    send(Message(FAILOVER_UPDDONE, take(FAILOVER_UPDREQALL).m.xid));
    EXPECT_EQ(FAILOVER_MINE, x->record_->default_owner);
    EXPECT_EQ(10u, gifts().size());
}

TEST_F(BalanceWire, WhoHadNoRecordAsksWhenItEntersNormal) {
    ours = true;
    make(FAILOVER_SECONDARY);
    start();
    state_enter(x->core_, FAILOVER_PARTNER_DOWN, now.wall);
    run();
    link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
    ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    state_enter(x->core_, FAILOVER_NORMAL, now.wall);
    run();
    EXPECT_EQ("STATE UPDREQALL", names(link)) << "the partner may have nothing more to say by itself";
}

// Forced to normal alone, it asks as soon as there is somebody to ask.
TEST_F(BalanceWire, WhoHadNoRecordAndIsInNormalAsksThePartnerThatComes) {
    make(FAILOVER_SECONDARY);
    start();
    state_enter(x->core_, FAILOVER_NORMAL, now.wall);
    run();
    for (failover_state theirs : {FAILOVER_NORMAL, FAILOVER_COMMUNICATIONS_INTERRUPTED}) {
        ours = true;
        link_up();
        forget();
        send(state_message(theirs, now.wall));
        ASSERT_EQ(FAILOVER_NORMAL, x->state());
        take(FAILOVER_STATE);
        uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
        send(state_message(theirs, now.wall));
        EXPECT_EQ("", names(link)) << "once is enough";
        if (theirs == FAILOVER_NORMAL) {
            disconnect(link);
            state_enter(x->core_, FAILOVER_NORMAL, now.wall);
        } else {
            send(Message(FAILOVER_UPDDONE, xid));
            EXPECT_EQ(FAILOVER_PARTNERS, x->record_->default_owner);
        }
    }
}

// The two configurations have exchanged their roles: that changes no ownership, of what was never used either.
TEST_F(BalanceWire, WhoOwnsAlreadyTakesNothingAnew) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    x->record_->default_owner = FAILOVER_PARTNERS;
    meet();
    failover_why why{};
    ASSERT_TRUE(failover_sync(x->core_, now, &why)) << why.text;
    run();
    send(Message(FAILOVER_UPDDONE, take(FAILOVER_UPDREQALL).m.xid));
    EXPECT_EQ(FAILOVER_PARTNERS, x->record_->default_owner);
}

// A reserved address may be leased before anything is owned; the partner takes it for the configured primary's as this
// one does, whoever acts as one.
TEST_F(BalanceWire, WhatIsStillNobodysIsThePrimarysOnTheWire) {
    for (failover_role acting : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
        make(FAILOVER_PRIMARY, 20, [](failover_config &c) { c.interrupted_leases = FAILOVER_EXTEND; });
        x->reserved_ = {POOL_FIRST};
        start();
        state_enter(x->core_, FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall);
        failover_client c = make_client(1);
        failover_ask a = ask(c, POOL_FIRST);
        a.reserved = true;
        ASSERT_TRUE(failover_bound(x->core_, &a, now.wall, 60, now));
        pass(61000);
        ASSERT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status) << "rewound";
        ASSERT_EQ(FAILOVER_NOBODY, x->binding(POOL_FIRST).owner);
        ours = acting == FAILOVER_SECONDARY;
        acting_primary = acting;
        acting_since = ours ? now.wall : 0;
        link_up();
        send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
        ASSERT_EQ(FAILOVER_NORMAL, x->state());
        bool told = false;
        for (const Received &r : in(link)) {
            if (r.m.type == FAILOVER_BNDUPD) {
                EXPECT_EQ(POOL_FIRST, r.m.assigned_ip_address);
                EXPECT_EQ(ours ? FAILOVER_BACKUP : FAILOVER_FREE, r.m.binding_status);
                told = true;
            }
        }
        EXPECT_TRUE(told);
        x->kill();
        inbox.clear();
    }
}

// ---- A gift is nobody's from the moment its update is queued (rule 12) ----------------------------------------------

TEST_F(BalanceWire, AGiftIsNobodysWhileItsRecordIsNotOnDisk) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    partner_max_unacked = 1000;
    start();
    link_up();
    x->disk_works_ = false;
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_TRUE(gifts().empty()) << "nothing is announced that isn't committed";
    EXPECT_EQ(10u, failover_own_free(x->core_, POOL_FIRST, now));
    for (int i = 0; i < 40; i++) {
        EXPECT_GE(failover_next_own(x->core_, POOL_FIRST, now), POOL_FIRST + 10);
    }
    for (uint32_t n = 0; n < 10; n++) {
        EXPECT_EQ(0u, bind(make_client(n), POOL_FIRST + n)) << "given away, though the partner doesn't know yet";
    }
    x->disk_works_ = true;
    run();
    EXPECT_EQ(10u, gifts().size());
}

TEST_F(BalanceWire, AGiftIsNotAnnouncedBeforeItIsOnDisk) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    meet();
    for (uint32_t n = 10; n < 20; n++) {
        partner_leases(n, n);
    }
    x->disk_works_ = false;
    send(Message(FAILOVER_POOLREQ, 60));
    EXPECT_EQ(5u, take(FAILOVER_POOLRESP).m.addresses_transferred);
    EXPECT_EQ(5u, failover_own_free(x->core_, POOL_FIRST, now)) << "given away already";
    EXPECT_EQ("", names(link));
    x->disk_works_ = true;
    run();
    EXPECT_EQ(5u, gifts().size());
}

TEST_F(BalanceWire, AGiftThatWasNotAcknowledgedIsNotTakenBack) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    EXPECT_EQ(10u, gifts_on_entry().size());
    disconnect(link);
    ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    EXPECT_EQ(10u, failover_own_free(x->core_, POOL_FIRST, now));
    EXPECT_EQ(0u, bind(make_client(1), POOL_FIRST));
    forget();
    link_up();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    EXPECT_EQ(10u, gifts().size()) << "the same ones again";
    EXPECT_EQ(10u, failover_own_free(x->core_, POOL_FIRST, now));
}

TEST_F(BalanceWire, AGiftOutlivesAKillBetweenItsCommitAndItsUpdate) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    partner_max_unacked = 0; // the partner takes no update for now
    start();
    link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    x->kill();
    x->process_ = "process-2";
    forget();
    partner_max_unacked = 1000;
    start();
    EXPECT_EQ(FAILOVER_PARTNERS, x->binding(POOL_FIRST).owner);
    link_up();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    EXPECT_EQ(10u, gifts().size());
    EXPECT_EQ(10u, failover_own_free(x->core_, POOL_FIRST, now));
}

TEST_F(BalanceWire, AGiftThatTheDiskNeverSawIsStillMineAfterAKill) {
    all_mine(FAILOVER_PRIMARY, 0, FAILOVER_PRIMARY);
    start();
    link_up();
    x->disk_works_ = false;
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    EXPECT_EQ(FAILOVER_PARTNERS, x->binding(POOL_FIRST).owner);
    x->kill();
    x->disk_works_ = true;
    x->process_ = "process-2";
    start();
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST).owner) << "the partner was never told";
}

TEST_F(BalanceWire, APartnersGiftIsOursOnceItIsAccepted) {
    for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
        make_known(role, FAILOVER_NORMAL, 20);
        meet();
        failover_binding_status ours = role == FAILOVER_PRIMARY ? FAILOVER_FREE : FAILOVER_BACKUP;
        ASSERT_EQ(FAILOVER_PARTNERS, x->binding(POOL_FIRST + 15).owner);
        EXPECT_EQ(0u, bind(make_client(1), POOL_FIRST + 15));
        EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 15, ours, nullptr, 0, now.wall, now.wall)));
        EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST + 15).owner);
        EXPECT_EQ(11u, failover_own_free(x->core_, POOL_FIRST, now));
        EXPECT_GT(bind(make_client(1), POOL_FIRST + 15), 0u);
    }
}

// What the partner gives is not its own client's to have back: it would go to and fro.
TEST_F(BalanceWire, AGiftIsKeptWhoeverHadItLast) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL, 20);
    meet();
    failover_client c = client_of(FAILOVER_SECONDARY, 0);
    EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 15, FAILOVER_FREE, &c, 0, now.wall, now.wall)));
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST + 15).owner);
    EXPECT_TRUE(in(link).empty());
    EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall, now.wall, now.wall)));
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST + 15).owner) << "a lease is no gift";
    EXPECT_TRUE(in(link).empty());
    EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 15, FAILOVER_RELEASED, &c, now.wall, now.wall, now.wall, now.wall)));
    EXPECT_EQ(FAILOVER_PARTNERS, x->binding(POOL_FIRST + 15).owner) << "affinity is for what comes free";
}

// A dhcpd tells a future end with addresses that it has offered.
TEST_F(BalanceWire, AGiftWithAFutureEndIsNotUsedBeforeThat) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL, 20);
    meet();
    EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 15, FAILOVER_BACKUP, nullptr, now.wall + 20, now.wall, now.wall)));
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST + 15).owner);
    EXPECT_EQ(10u, failover_own_free(x->core_, POOL_FIRST, now));
    EXPECT_EQ(0u, bind(make_client(1), POOL_FIRST + 15));
    pass(21000);
    EXPECT_EQ(11u, failover_own_free(x->core_, POOL_FIRST, now));
    EXPECT_GT(bind(make_client(1), POOL_FIRST + 15), 0u);
}

// The partner's clock is behind: by its time the offer lasts longer (rule 9).
TEST_F(BalanceWire, AGiftWithAFutureEndWaitsForThePartnersClock) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL, 20);
    skew = -10;
    meet();
    EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 15, FAILOVER_BACKUP, nullptr, now.wall + 20, now.wall, now.wall)));
    pass(25000);
    EXPECT_EQ(0u, bind(make_client(1), POOL_FIRST + 15));
    pass(5000);
    EXPECT_GT(bind(make_client(1), POOL_FIRST + 15), 0u);
}

} // namespace
