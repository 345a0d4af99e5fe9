// SPDX-License-Identifier: MPL-2.0
//
// Lease times, the division of the pool, and who is answered by whom.
#include "balance.h"
#include "cases.h"

using namespace failover_test;

namespace {

void extend(failover_config &config) {
    config.interrupted_leases = FAILOVER_EXTEND;
}

} // namespace

// ---- C17 ------------------------------------------------------------------------------------------------------------

// Lifetimes without an end, or of 68 years, became very short ones. Here they are near the days on which 31 and 32 bits
// run out: bound by the MCLT at first, and then for ever or for as long as they say, at both servers.
TEST_F(Cases, C17_HugeLifetimesRollOver) {
    for (int64_t wall : {int64_t(1800000000), int64_t(2147483500), int64_t(4294967000)}) {
        for (uint32_t lifetime : {4294967295u, 2147483648u}) {
            now.wall = wall;
            desired = lifetime;
            start_normal(TEN);
            failover_client c = make_client(1);
            Lease lease = dora(*p, c);
            EXPECT_EQ(60u, lease.lifetime);
            pass(10);
            lease = request(*p, c, lease.address);
            EXPECT_EQ(lifetime, lease.lifetime);
            int64_t end = lifetime == FAILOVER_LIFETIME_INFINITE ? FAILOVER_TIME_INFINITE : now.wall + lifetime;
            EXPECT_EQ(end, p->binding(lease.address).ends);
            failover_binding theirs = s->binding(lease.address);
            EXPECT_GE(theirs.ends, end) << "never shorter, let alone past";
            EXPECT_TRUE(theirs.ends == end || theirs.ends == FAILOVER_TIME_INFINITE);
            EXPECT_GE(theirs.received, end);
            pass(80);
            EXPECT_EQ(FAILOVER_ACTIVE, p->binding(lease.address).status);
            EXPECT_EQ(FAILOVER_ACTIVE, s->binding(lease.address).status);
        }
    }
    desired = 3600;
}

// ---- C18 ------------------------------------------------------------------------------------------------------------

// A secondary that has never reached the primary doesn't know the MCLT and gives out leases of length zero. The design
// lets the configured value count until the primary has said its own, which is saved with the state.
TEST_F(Cases, C18_SecondaryDoesNotKnowTheMcltYet) {
    start_normal(TEN, extend);
    failover_client c = make_client(1);
    Lease lease = dora(*s, c);
    EXPECT_EQ(60u, lease.lifetime) << "the primary's";
    EXPECT_EQ(60u, s->record_->mclt) << "and saved";
    kill(*p);
    kill(*s);
    s->record_->mclt = 0; // an older file
    s->config_.mclt = 90;
    restart(*s);
    pass(10);
    ASSERT_EQ(CI, s->state());
    lease = request(*s, c, lease.address);
    EXPECT_EQ(Lease::ACK, lease.kind);
    EXPECT_GE(lease.lifetime, 90u);
    EXPECT_EQ(90u, new_client(*s, 2).lifetime);
    restart(*p);
    pass(6);
    EXPECT_EQ(60u, s->status(now).mclt);
}

TEST_F(CasesByMessage, C18_PrimaryThatSaysAnMcltOfZeroIsRefused) {
    make(FAILOVER_SECONDARY);
    start();
    partner_mclt = 0;
    int id = connect();
    send(id, connect_message());
    Received ack = take(FAILOVER_CONNECTACK, id);
    EXPECT_EQ(FAILOVER_REJECT_INVALID_MCLT, ack.m.reject_reason);
    EXPECT_TRUE(is_closed(id));
}

// ---- C19 ------------------------------------------------------------------------------------------------------------

// In partner-down leases stayed clamped, addresses came back after two MCLTs, and the log spoke of the peer's leases
// while there were own ones. By the design a renewal is for the MCLT unless `partner-down-lease-time` is "full", and an
// expired address that the partner was told of waits for the MCLT beyond whatever it may have promised (rule 5).
TEST_F(Cases, C19_PartnerDownLiftsTheLimitAfterOneMclt) {
    desired = 100;
    start_normal(TEN, [](failover_config &c) { c.partner_down_full = true; });
    failover_client c = make_client(1);
    Lease lease = dora(*p, c), ended = new_client(*p, 2);
    pass(30);
    ASSERT_EQ(100u, request(*p, c, lease.address).lifetime) << "acknowledged";
    kill(*s);
    pass(35);
    p->log_.clear();
    EXPECT_EQ(FAILOVER_EXPIRED, p->binding(ended.address).status) << "5 s ago, not acknowledged";
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    int64_t stos = now.wall;
    pass(1);
    EXPECT_EQ(100u, request(*p, c, lease.address).lifetime) << "a renewal is not cut";
    std::set<uint32_t> share = free_of(*p, FAILOVER_PARTNERS);
    failover_binding b = p->binding(ended.address);
    int64_t wait = std::max({stos, b.ends, b.sent, b.acked, b.received}) + 60;
    EXPECT_EQ(wait, failover_binding_wait_over(p->core_, ended.address));
    EXPECT_EQ(stos + 65 + 60, wait) << "the partner was told of 130 s";
    EXPECT_EQ(3, drain(*p, 20)) << "its own";
    p->log_.clear();
    pass(58);
    EXPECT_EQ(Lease::SILENCE, new_client(*p, 30).kind);
    EXPECT_TRUE(p->logged("come within reach in 1 s"));
    pass(1);
    EXPECT_EQ(stos + 60, now.wall);
    p->log_.clear();
    for (size_t i = 0; i < share.size(); i++) {
        Lease late = new_client(*p, 31 + unsigned(i));
        ASSERT_EQ(Lease::ACK, late.kind);
        EXPECT_EQ(1u, share.count(late.address));
        EXPECT_EQ(100u, late.lifetime) << "in full";
    }
    EXPECT_FALSE(p->logged("no own free address")) << "nothing misleading";
    pass(wait - now.wall - 1);
    EXPECT_NE(Lease::ACK, request(*p, make_client(40), ended.address).kind);
    pass(1);
    EXPECT_EQ(Lease::ACK, request(*p, make_client(40), ended.address).kind);
    desired = 3600;
}

// The same with the default, "mclt".
TEST_F(Cases, C19_PartnerDownRenewsForTheMcltByDefault) {
    start_normal(TEN);
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    ASSERT_EQ(3600u, request(*p, c, lease.address).lifetime);
    kill(*s);
    ASSERT_EQ(FAILOVER_OK, force(*p, PD).result);
    pass(1);
    EXPECT_EQ(60u, request(*p, c, lease.address).lifetime);
    pass(1000);
    EXPECT_EQ(60u, request(*p, c, lease.address).lifetime);
    EXPECT_EQ(60u, new_client(*p, 2).lifetime);
}

// ---- C21 ------------------------------------------------------------------------------------------------------------

// dhcpd lets 65 s of difference pass when a peer ends a lease early, which with short leases lets everything pass. Here
// it is what was measured of the clocks and one second (rule 11). That a short MCLT is warned of is in config_test.cc.
TEST_F(CasesByMessage, C21_FudgeOf65SecondsBreaksShortTimers) {
    for (int64_t difference : {0, 20}) {
        for (int64_t early : {22, 20, 1}) {
            desired = 45;
            partner_mclt = 30;
            skew = 0;
            start_normal(FAILOVER_SECONDARY, TEN, [](failover_config &c) { c.mclt = 30; });
            failover_client c = make_client(1);
            uint32_t address = POOL_FIRST + 2;
            EXPECT_EQ(30u, bind(c, address));
            acknowledge_all();
            EXPECT_EQ(45u, bind(c, address));
            acknowledge_all();
            int64_t ends = x->binding(address).ends;
            skew = difference;
            for (int64_t left = 45; left > early; left--) {
                send(Message(FAILOVER_CONTACT, partner_xid++));
                pass(1000);
            }
            forget();
            int reason = verdict(bndupd(address, FAILOVER_EXPIRED, &c, ends, ends, ends, ends - 45));
            bool allowed = early <= difference + 1;
            EXPECT_EQ(allowed ? 0 : FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION, reason)
                << early << " s early, clocks " << difference << " s apart";
            EXPECT_EQ(allowed ? FAILOVER_FREE : FAILOVER_ACTIVE, x->binding(address).status);
            x->kill();
            forget();
        }
    }
}

// ---- C23 ------------------------------------------------------------------------------------------------------------

// A wireless controller fails together with one server, and of a thousand access points half gets nothing. Its own
// addresses are served at once and no more; how long the rest waits is known beforehand.
TEST_F(Cases, C23_HalfOfABigWaveUnserved) {
    start_normal(40, [](failover_config &c) {
        extend(c); // who is served stays so
        c.auto_partner_down = 120;
    });
    EXPECT_EQ(20u, p->own_free(now));
    EXPECT_EQ(20u, s->own_free(now));
    for (unsigned n = 1; n <= 10; n++) {
        ASSERT_EQ(Lease::ACK, new_client(*s, n).kind);
    }
    uint32_t own = p->own_free(now);
    std::set<uint32_t> share = free_of(*s, FAILOVER_MINE);
    kill(*s);
    int64_t lost = now.wall;
    std::map<unsigned, uint32_t> served;
    std::vector<unsigned> waiting;
    auto until = [&](int64_t time) {
        while (now.wall < time) {
            for (auto &[n, address] : served) {
                ASSERT_EQ(Lease::ACK, request(*p, make_client(n), address).kind);
            }
            for (unsigned n : waiting) {
                ASSERT_EQ(Lease::SILENCE, new_client(*p, n).kind);
            }
            pass(std::min<int64_t>(20, time - now.wall));
        }
    };
    for (unsigned n = 100; n < 130; n++) {
        Lease lease = new_client(*p, n);
        if (lease.kind == Lease::ACK) {
            served[n] = lease.address;
        } else {
            waiting.push_back(n);
        }
        pass(n % 6 == 0 ? 1 : 0);
    }
    EXPECT_EQ(lost + 5, now.wall);
    EXPECT_EQ(own, served.size()) << "exactly its own at once";
    EXPECT_EQ(115, pending(*p, "auto-partner-down"));
    until(lost + 119);
    EXPECT_EQ(CI, p->state());
    EXPECT_EQ(1, pending(*p, "auto-partner-down"));
    until(lost + 120);
    EXPECT_EQ(PD, p->state());
    EXPECT_EQ(60, pending(*p, "partner's free addresses (STOS + MCLT)"));
    until(lost + 180);
    ASSERT_GE(share.size(), waiting.size());
    for (unsigned n : waiting) {
        Lease lease = new_client(*p, n);
        EXPECT_EQ(Lease::ACK, lease.kind) << "in the order in which they ask again";
        EXPECT_EQ(1u, share.count(lease.address));
    }
}

// ---- C24 ------------------------------------------------------------------------------------------------------------

// One odd lease went back and forth between two servers. Here the pool is divided once, the odd one stays with the
// primary, and a thousand rounds of both timers change nothing, nor when they strike in the same second.
TEST_F(Cases, C24_RebalancePingPong) {
    for (uint32_t size : {1, 2, 3, 11, 255}) {
        start_normal(size);
        uint64_t before = moved();
        EXPECT_EQ(size / 2, before) << "each gift is one update";
        pass(1000 * 63);
        for (int round = 0; round < 1000; round++) {
            balance_run(p->core_, BALANCE_ON_TIMER);
            balance_run(s->core_, BALANCE_ON_TIMER);
            settle();
        }
        EXPECT_EQ(before, moved()) << size;
        EXPECT_EQ(0, count_log(*p, "the partner gives") + count_log(*s, "the partner gives")) << "no POOLREQ";
        EXPECT_EQ(size - size / 2, p->own_free(now));
        EXPECT_EQ(size / 2, s->own_free(now));
        EXPECT_EQ("", difference(*p, *s));
    }
}

TEST_F(Cases, C24_OneAddressLeft) {
    for (bool primarys : {true, false}) {
        start_normal(20);
        use_up(*p, primarys ? 1 : 0);
        use_up(*s, primarys ? 0 : 1);
        uint64_t before = moved();
        pass(100);
        EXPECT_LE(moved(), before + 1);
        before = moved();
        pass(1000 * 63);
        EXPECT_EQ(before, moved()) << "then silence";
        EXPECT_EQ(1u, p->own_free(now) + s->own_free(now));
        EXPECT_EQ("", difference(*p, *s));
    }
}

// A pool of one stays put, and the clients of the server that has nothing are answered by the other one.
TEST_F(Cases, C24_PoolOfOneIsServedToEverybody) {
    start_normal(1);
    EXPECT_EQ(FAILOVER_GO_ON, discover_verdict(*p, client_of(FAILOVER_SECONDARY, 0), 0));
    EXPECT_EQ(Lease::ACK, dora(*p, client_of(FAILOVER_SECONDARY, 0)).kind);
}

// POOLRESP says how many addresses are really given.
TEST_F(CasesByMessage, C24_PoolrespCountsWhatIsMoved) {
    start_normal(FAILOVER_PRIMARY);
    for (uint32_t i = 10; i < 20; i++) {
        failover_client c = make_client(200 + i);
        update(bndupd(POOL_FIRST + i, FAILOVER_ACTIVE, &c, now.wall + 600, now.wall + 900, now.wall, now.wall));
    }
    forget();
    send(Message(FAILOVER_POOLREQ, partner_xid++));
    uint32_t said = take(FAILOVER_POOLRESP).m.addresses_transferred;
    uint32_t given = 0;
    for (Received &r : in(link)) {
        given += r.m.type == FAILOVER_BNDUPD && r.m.binding_status == FAILOVER_BACKUP;
    }
    EXPECT_EQ(5u, said);
    EXPECT_EQ(said, given);
}

// ---- C25 ------------------------------------------------------------------------------------------------------------

// "Load balance to peer" although the peer has nothing to give: its clients starve.
TEST_F(Cases, C25_LoadBalanceToAnEmptyPeer) {
    start_normal(6);
    failover_client c1 = client_of(FAILOVER_PRIMARY, 0), c2 = client_of(FAILOVER_SECONDARY, 0);
    EXPECT_EQ(FAILOVER_SILENCE, discover_verdict(*s, c1, 0));
    EXPECT_EQ(3, drain(*p, 100));
    ASSERT_EQ(0u, p->own_free(now));
    ASSERT_EQ(3u, s->own_free(now));
    p->log_.clear();
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(Lease::SILENCE, discover(*p, c1, 0).kind);
        pass(1);
    }
    EXPECT_EQ(1, count_log(*p, "no own free address for a new client in normal: 3 free addresses are the partner's"));
    EXPECT_EQ(Lease::ACK, discover(*s, c1, 0).kind) << "at once";
    EXPECT_EQ(Lease::ACK, discover(*s, c2, 0).kind);
    pass(64); // a balance
    ASSERT_GT(p->own_free(now), 0u);
    failover_client fresh = client_of(FAILOVER_PRIMARY, 1);
    EXPECT_EQ(FAILOVER_SILENCE, discover_verdict(*s, fresh, 0)) << "the hash counts again";
    EXPECT_EQ(Lease::ACK, discover(*p, fresh, 0).kind);
}

// ---- C27 ------------------------------------------------------------------------------------------------------------

// A release in the very second of the lease's end, or of the acknowledgement, leaves nothing behind that neither server
// feels responsible for; nor do two MCLTs without any traffic.
TEST_F(Cases, C27_TransitionalStatesLanguish) {
    start_normal();
    failover_client c = make_client(1);
    for (Server *x : {p.get(), s.get()}) {
        Lease lease = dora(*x, c);
        ASSERT_EQ(Lease::ACK, lease.kind);
        release(*x, c, lease.address);
        EXPECT_EQ(FAILOVER_FREE, p->binding(lease.address).status);
        EXPECT_EQ(FAILOVER_FREE, s->binding(lease.address).status);
        lease = dora(*x, c);
        ASSERT_EQ(Lease::ACK, lease.kind);
        pass(lease.lifetime - 1);
        stalled = true;
        now.wall++;
        now.mono += 1000;
        release(*x, c, lease.address); // at its very end
        stalled = false;
        settle();
        pass(1);
        EXPECT_EQ(FAILOVER_FREE, p->binding(lease.address).status);
        EXPECT_EQ(FAILOVER_FREE, s->binding(lease.address).status);
    }
    // Commits in groups: what is acknowledged leaves with the next commit, without any traffic.
    Lease lease = dora(*p, c);
    s->disk_works_ = false;
    release(*p, c, lease.address);
    pass(2);
    EXPECT_EQ(FAILOVER_RELEASED, p->binding(lease.address).status) << "not acknowledged yet";
    s->disk_works_ = true;
    settle();
    EXPECT_EQ(FAILOVER_FREE, p->binding(lease.address).status);
    pass(120);
    EXPECT_EQ("", difference(*p, *s));
}

// ---- C28 ------------------------------------------------------------------------------------------------------------

// A client declines to the secondary only, and the primary offers the bad address again. It comes back as the primary's
// after its probation: who of the two heard the DECLINE doesn't matter for that.
TEST_F(Cases, C28_DeclineSeenOnlyByTheSecondary) {
    start_normal(4);
    failover_client c = make_client(1);
    Lease lease = dora(*s, c);
    decline(*s, c, lease.address, 1000);
    EXPECT_EQ(FAILOVER_ABANDONED, p->binding(lease.address).status) << "the primary takes it";
    EXPECT_EQ(FAILOVER_ABANDONED, s->binding(lease.address).status);
    EXPECT_EQ(0u, p->rows_.count(lease.address));
    for (int i = 0; i < 40; i++) {
        for (Server *x : {p.get(), s.get()}) {
            EXPECT_NE(lease.address, new_client(*x, 2).address);
            EXPECT_NE(Lease::ACK, request(*x, make_client(3), lease.address).kind);
        }
        pass(20);
    }
    pass(300);
    EXPECT_EQ(FAILOVER_FREE, p->binding(lease.address).status) << "and comes back after its probation";
    EXPECT_EQ(FAILOVER_FREE, s->binding(lease.address).status);
    EXPECT_EQ("", difference(*p, *s));
}

// The server itself finds the address in use when it is about to offer it.
TEST_F(Cases, C28_DeclineByTheServer) {
    start_normal(4);
    uint32_t address = *free_of(*s, FAILOVER_MINE).begin();
    failover_declined(s->core_, address, now.wall + 1000, now);
    settle();
    EXPECT_EQ(FAILOVER_ABANDONED, p->binding(address).status);
    EXPECT_EQ(1u, s->own_free(now));
    for (Server *x : {p.get(), s.get()}) {
        EXPECT_NE(Lease::ACK, request(*x, make_client(3), address).kind);
    }
    pass(1001);
    EXPECT_EQ(FAILOVER_FREE, p->binding(address).status);
    EXPECT_EQ("", difference(*p, *s));
}

// ---- C40 ------------------------------------------------------------------------------------------------------------

// After one server is gone the other one refuses the clients of the first. It has to extend what it knows, and to be
// silent where the address is the partner's to give and the lease one that it never heard of.
TEST_F(Cases, C40_RenewalsRefusedByTheOtherServer) {
    start_normal(TEN);
    failover_client c1 = make_client(1), c3 = make_client(3);
    Lease lease = dora(*p, c1);
    uint32_t unheard = *free_of(*p, FAILOVER_MINE).begin();
    kill(*p);
    EXPECT_EQ(CI, s->state());
    pass(30);
    Lease renewed = request(*s, c1, lease.address);
    EXPECT_EQ(Lease::ACK, renewed.kind);
    EXPECT_EQ(30u + 60u, renewed.lifetime) << "what is left plus the MCLT";
    EXPECT_EQ(Lease::SILENCE, request(*s, c3, unheard).kind);
}

// ---- C41 ------------------------------------------------------------------------------------------------------------

// A `secs` of zero for ever, or in the wrong byte order, and one client is offered two addresses or none. 0x0100 can
// be either, and counts as 1 s; a client that has really been asking for so long is answered by the second clock, that
// of the server. Taking over never depends on clients.
TEST_F(Cases, C41_SecsOfZeroOrInTheWrongOrder) {
    start_normal(TEN);
    unsigned n = 0;
    auto at_s = [&](uint16_t secs) { return discover_verdict(*s, client_of(FAILOVER_PRIMARY, n++), secs); };
    for (uint16_t secs : {0x0000, 0x0100, 0x0300, 0x0003}) {
        EXPECT_EQ(FAILOVER_SILENCE, at_s(secs)) << secs;
    }
    for (uint16_t secs : {0x00ff, 0x0400, 0x0101}) {
        EXPECT_EQ(FAILOVER_GO_ON, at_s(secs)) << secs;
    }
    failover_client c = client_of(FAILOVER_PRIMARY, n);
    for (uint16_t secs = 253; secs < 256; secs++, pass(1)) {
        EXPECT_EQ(FAILOVER_GO_ON, discover_verdict(*s, c, secs));
    }
    c = client_of(FAILOVER_PRIMARY, n + 1);
    for (int i = 0; i < 4; i++, pass(1)) {
        EXPECT_EQ(FAILOVER_SILENCE, discover_verdict(*s, c, 0x0100));
    }
    EXPECT_EQ(FAILOVER_GO_ON, discover_verdict(*s, c, 0x0100)) << "it has been asking for longer than 3 s";
    kill(*p);
    EXPECT_EQ(CI, s->state()) << "with no client at all";
    EXPECT_EQ(FAILOVER_GO_ON, discover_verdict(*s, client_of(FAILOVER_PRIMARY, n + 2), 0));
}

// ---- C42 ------------------------------------------------------------------------------------------------------------

// One DISCOVER is seen twice, ten thousand times, and only two addresses are there to be given: an OFFER takes nothing,
// and one client never gets two.
TEST_F(Cases, C42_OneDiscoverProcessedTwice) {
    start_normal(4);
    ASSERT_EQ(2u, p->own_free(now));
    failover_client c = make_client(1);
    Lease first, second;
    for (int i = 0; i < 10000; i++) {
        first = discover(*p, c);
        second = discover(*p, c);
        ASSERT_EQ(Lease::ACK, second.kind);
    }
    EXPECT_EQ(2u, p->own_free(now));
    uint32_t xid = next_xid++;
    EXPECT_EQ(Lease::ACK, request(*p, c, first.address, true, xid).kind);
    EXPECT_EQ(1u, p->own_free(now));
    EXPECT_EQ(Lease::ACK, request(*p, c, first.address, true, xid).kind);
    EXPECT_EQ(1u, p->own_free(now));
    EXPECT_EQ(first.address, discover(*p, c).address) << "and from now on it is offered its own";
}

// ---- C44 ------------------------------------------------------------------------------------------------------------

// Reserved and BOOTP leases are told by flags, and a dhcpd expects its flags back. (That no BOOTP client gets an
// address of the pool is in config_test.cc.)
TEST_F(CasesByMessage, C44_ReservedAndBootpFlags) {
    start_normal(FAILOVER_SECONDARY);
    failover_client c = make_client(1);
    Message flagged = bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall + 90, now.wall, now.wall);
    ASSERT_EQ(0, verdict(flagged.number(FAILOVER_OPT_IP_FLAGS, 0xff03)));
    EXPECT_EQ(FAILOVER_IP_FLAG_RESERVED | FAILOVER_IP_FLAG_BOOTP, x->binding(POOL_FIRST + 15).ip_flags);
    send(Message(FAILOVER_UPDREQALL, 5));
    std::map<uint32_t, uint16_t> flags;
    while (!in(link).empty() || x->status(now).updates_unacked > 0) {
        ASSERT_FALSE(in(link).empty());
        Received r = std::move(in(link).front());
        in(link).pop_front();
        if (r.m.type == FAILOVER_BNDUPD) {
            flags[r.m.assigned_ip_address] = r.m.ip_flags;
            send(bndack(r));
        }
    }
    EXPECT_EQ(3, flags.at(POOL_FIRST + 15)) << "they survive a round trip";
    update(bndupd(POOL_FIRST + 16, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall + 90, now.wall, now.wall));
    EXPECT_EQ(0, x->binding(POOL_FIRST + 16).ip_flags);
}

// ---- C49 ------------------------------------------------------------------------------------------------------------

// An address goes from a client with an identifier to one without, and the partner keeps the old identifier.
TEST_F(Cases, C49_StaleIdentifierAfterReuse) {
    start_normal(2);
    failover_client with = make_client(1, true), without = make_client(2);
    Lease lease = dora(*p, with);
    ASSERT_EQ(Lease::ACK, lease.kind);
    EXPECT_EQ(7, s->binding(lease.address).client.id_length);
    release(*p, with, lease.address);
    for (Server *x : {p.get(), s.get()}) {
        if (x->binding(lease.address).owner == FAILOVER_MINE) {
            ASSERT_EQ(Lease::ACK, request(*x, without, lease.address).kind);
            break;
        }
    }
    for (Server *x : {p.get(), s.get()}) {
        failover_binding b = x->binding(lease.address);
        EXPECT_EQ(0, b.client.id_length);
        EXPECT_TRUE(failover_same_client(&without, &b.client)) << "found by its hardware address";
        EXPECT_FALSE(failover_same_client(&with, &b.client)) << "and by the identifier of before nothing";
        EXPECT_EQ(0, x->rows_[lease.address].client.id_length);
    }
}

// ---- C50 ------------------------------------------------------------------------------------------------------------

// Phones have changed their addresses over night, the servers' databases differ, and after ten updates that the standby
// rejects the service stops. Here each is settled by itself, fifty in a minute change no state, and they are counted
// (together, not by their reasons).
TEST_F(CasesByMessage, C50_ResourceBusyStorm) {
    for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
        SCOPED_TRACE(failover_role_name(role));
        start_normal(role, 200);
        for (unsigned n = 0; n < 50; n++) {
            failover_client phone = make_client(100 + n);
            ASSERT_EQ(60u, bind(phone, POOL_FIRST + n));
        }
        acknowledge_all();
        for (unsigned n = 0; n < 50; n++) {
            failover_client changed = make_client(200 + n);
            int reason = verdict(
                bndupd(POOL_FIRST + n, FAILOVER_ACTIVE, &changed, now.wall + 60, now.wall + 90, now.wall, now.wall));
            EXPECT_EQ(role == FAILOVER_PRIMARY ? FAILOVER_REJECT_FATAL_CONFLICT : 0, reason);
            acknowledge_all();
            failover_client holder = x->binding(POOL_FIRST + n).client;
            EXPECT_EQ(role == FAILOVER_SECONDARY, failover_same_client(&changed, &holder));
            pass(100);
        }
        EXPECT_EQ(NO, x->state());
        EXPECT_EQ(role == FAILOVER_PRIMARY ? 50u : 0u, x->status(now).counters.rejects_sent);
        EXPECT_EQ(50u, x->status(now).counters.clashes);
        failover_client next = make_client(99);
        EXPECT_EQ(60u, bind(next, POOL_FIRST + 60)) << "and it serves";
        x->kill();
        forget();
    }
}

// Where the lease of before has ended nobody is in doubt, and nothing is busy.
TEST_F(CasesByMessage, C50_ExpiredLeaseGivesWay) {
    start_normal(FAILOVER_SECONDARY, TEN);
    failover_client old = make_client(1), changed = make_client(2);
    ASSERT_EQ(60u, bind(old, POOL_FIRST + 1));
    acknowledge_all();
    while (x->binding(POOL_FIRST + 1).ends >= now.wall) {
        send(Message(FAILOVER_CONTACT, partner_xid++));
        pass(10000);
    }
    forget();
    EXPECT_EQ(0, verdict(bndupd(POOL_FIRST + 1, FAILOVER_ACTIVE, &changed, now.wall + 60, now.wall + 90, now.wall,
                                now.wall)));
    EXPECT_EQ(0u, x->status(now).counters.clashes);
}

// Both servers have sent an update of the address before they saw the other's: the later transaction of a client wins.
TEST_F(Cases, C50_BothHaveGivenTheAddress) {
    start_normal(TEN, extend);
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    interrupt();
    request(*p, c, lease.address);
    pass(10);
    request(*s, c, lease.address);
    int64_t later = now.wall;
    mend();
    pass(6);
    expect_peace();
    EXPECT_EQ(later, p->binding(lease.address).cltt);
    EXPECT_EQ(later, s->binding(lease.address).cltt);
    EXPECT_EQ(0u, clashes());
}

// ---- C61 ------------------------------------------------------------------------------------------------------------

// One server shall answer alone while both are up: 256 has to be taken, and 0 is a number like another. (That 257, and
// split together with hba, are refused is in config_test.cc.)
TEST_F(Cases, C61_EverythingToOneSide) {
    for (unsigned split : {0, 1, 128, 255, 256}) {
        start_normal(20, [split](failover_config &c) { failover_hba_from_split(split, c.hba); });
        EXPECT_EQ(10u, p->own_free(now)) << "half of the free addresses, whatever the split";
        EXPECT_EQ(10u, s->own_free(now));
        unsigned primarys = 0, of_256 = 0;
        std::set<uint8_t> buckets;
        for (unsigned n = 1; buckets.size() < 256; n++) {
            failover_client c = make_client(n);
            if (!buckets.insert(failover_hash(c.hardware + 1, 6)).second) {
                continue;
            }
            of_256++;
            bool at_p = discover_verdict(*p, c, 0) == FAILOVER_GO_ON;
            bool at_s = discover_verdict(*s, c, 0) == FAILOVER_GO_ON;
            EXPECT_NE(at_p, at_s) << "by exactly one";
            primarys += at_p;
        }
        EXPECT_EQ(256u, of_256);
        EXPECT_EQ(split, primarys);
    }
}

TEST_F(Cases, C61_NoLoadBalancingOnOneSideOrBoth) {
    for (bool both : {false, true}) {
        make(20, [](failover_config &c) { c.load_balance_max_seconds = 0; });
        s->config_.load_balance_max_seconds = both ? 0 : 3;
        start();
        ASSERT_TRUE(both_in(NO));
        for (failover_role role : {FAILOVER_PRIMARY, FAILOVER_SECONDARY}) {
            failover_client c = client_of(role, 0);
            EXPECT_EQ(FAILOVER_GO_ON, discover_verdict(*p, c, 0));
            bool at_s = both || role == FAILOVER_SECONDARY;
            EXPECT_EQ(at_s ? FAILOVER_GO_ON : FAILOVER_SILENCE, discover_verdict(*s, c, 0));
        }
    }
}
