// SPDX-License-Identifier: MPL-2.0
//
// Whole stories of two servers, and a soak: two servers under random clients, faults and operators, in which
// after every step no two clients may hold one address, and at whose end both have to be back in NORMAL and
// of one mind.
#include <cstdlib>
#include <random>
#include <set>

#include "story.h"

using namespace failover_test;

namespace {

constexpr failover_state NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED, PD = FAILOVER_PARTNER_DOWN,
                         RE = FAILOVER_RECOVER, RD = FAILOVER_RECOVER_DONE, SH = FAILOVER_SHUTDOWN;

std::string table_of(Server &x, failover_clock now) {
    std::string all;
    for (uint32_t a = x.first_; a <= x.last_; a++) {
        failover_binding b = x.binding(a);
        all += dotted(a) + " " + failover_binding_status_name(b.status) + " " + failover_owner_name(b.owner) +
               " ends " + std::to_string(b.ends - now.wall) + " sent " + std::to_string(b.sent - now.wall) + " acked " +
               std::to_string(b.acked - now.wall) + " received " + std::to_string(b.received - now.wall) +
               (b.update_due ? " due" : "") + (b.update_sent ? " known" : "") +
               (b.made_partner_down ? " made-alone" : "") + "\n";
    }
    return all;
}

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

// ---- The soak -------------------------------------------------------------------------------------------------------

class Soak : public Pair {
protected:
    struct Client {
        failover_client id;
        uint32_t address = 0; // what it believes to have
        Server *from = nullptr;
    };

    std::mt19937_64 random;
    std::vector<Client> clients;
    // Until when each client has been told that it has an address: true time.
    std::map<uint32_t, std::map<size_t, int64_t>> held;
    std::map<Server *, bool> stuck; // its disk takes nothing
    std::vector<std::string> history;
    bool failed = false;
    bool link_cut = false;
    int acks = 0, forces = 0, kills = 0, kills_before = 0;

    uint32_t below(uint32_t n) {
        return uint32_t(random() % n);
    }
    bool chance(double p) {
        return double(random() % 1000000) < p * 1000000;
    }
    Server &any() {
        return chance(0.5) ? *p : *s;
    }
    Server &other(Server &x) {
        return &x == p.get() ? *s : *p;
    }
    const char *name(const Server &x) {
        return &x == p.get() ? "P" : "S";
    }
    void note(const std::string &text) {
        auto state = [](Server &x) { return x.core_ == nullptr ? "dead" : failover_state_name(x.state()); };
        if (getenv("FAILOVER_TEST_LOG") != nullptr) {
            fprintf(stderr, "%s\n", text.c_str());
        }
        history.push_back(std::to_string(now.wall % 100000) + " [P " + state(*p) + ", S " + state(*s) + "] " + text);
    }
    void fail(const std::string &text) {
        if (failed) {
            return;
        }
        failed = true;
        std::string last;
        size_t from = history.size() > 2000 ? history.size() - 2000 : 0;
        for (size_t i = from; i < history.size(); i++) {
            last += history[i] + "\n";
        }
        for (Server *x : {p.get(), s.get()}) {
            if (x->core_ != nullptr) {
                last += std::string(name(*x)) + ":\n" + table_of(*x, at(*x));
            }
        }
        ADD_FAILURE() << "History:\n" << last << text;
    }

    // ---- What clients are told, and the safety sentence -----------------------------------------------------------------
    void told(size_t c, Server &x, const Lease &lease) {
        acks++;
        if (getenv("FAILOVER_TEST_TABLE") != nullptr) {
            for (Server *y : {p.get(), s.get()}) {
                if (y->core_ != nullptr) {
                    fprintf(stderr, "%s %ld\n%s", name(*y), long(now.wall % 100000), table_of(*y, at(*y)).c_str());
                }
            }
        }
        note("client " + std::to_string(c) + " has " + dotted(lease.address) + " from " + name(x) + " for " +
             std::to_string(lease.lifetime) + " s");
        clients[c].address = lease.address;
        clients[c].from = &x;
        for (auto &[holder, until] : held[lease.address]) {
            if (holder != c && until > now.wall) {
                fail(dotted(lease.address) + " is given to client " + std::to_string(c) + " by " + name(x) +
                     ", but client " + std::to_string(holder) + " holds it for " + std::to_string(until - now.wall) +
                     " s");
            }
        }
        int64_t &until = held[lease.address][c];
        until = std::max(until, now.wall + int64_t(lease.lifetime));
    }
    bool holds(size_t c) {
        auto &of = held[clients[c].address];
        return clients[c].address != 0 && of.count(c) > 0 && of[c] > now.wall;
    }
    void new_lease(size_t c) {
        std::vector<Server *> servers{p.get(), s.get()};
        std::shuffle(servers.begin(), servers.end(), random);
        for (Server *x : servers) {
            if (x->core_ == nullptr || chance(0.1)) {
                continue;
            }
            Lease offer = discover(*x, clients[c].id, uint16_t(below(8)));
            if (offer.kind != Lease::ACK) {
                continue;
            }
            if (chance(0.1)) {
                work(below(20));
                if (x->core_ == nullptr) {
                    return;
                }
            }
            Lease lease = request(*x, clients[c].id, offer.address, true);
            if (lease.kind == Lease::ACK) {
                told(c, *x, lease);
            }
            return;
        }
    }
    void renew(size_t c, bool everywhere) {
        uint32_t address = clients[c].address;
        uint32_t xid = next_xid++;
        std::vector<Server *> servers{clients[c].from};
        if (everywhere) {
            servers = {p.get(), s.get()};
        }
        bool refused = false, extended = false;
        for (Server *x : servers) {
            if (x->core_ == nullptr || failed) {
                continue;
            }
            Lease lease = request(*x, clients[c].id, address, false, xid);
            if (lease.kind == Lease::ACK) {
                extended = true;
                told(c, *x, lease);
            }
            refused = refused || lease.kind == Lease::NAK;
        }
        if (refused && !extended) {
            note("client " + std::to_string(c) + " is refused " + dotted(address));
            clients[c].address = 0;
            if (stuck[p.get()] || stuck[s.get()]) {
                held[address].erase(
                    c); // with its row gone and nothing written down, only the DHCPNAK itself protects it
            }
        }
    }
    void let_go(size_t c) {
        Server &x = chance(0.8) ? *clients[c].from : any();
        note("client " + std::to_string(c) + " releases " + dotted(clients[c].address) + " to " + name(x));
        held[clients[c].address].erase(c);
        if (x.core_ != nullptr && chance(0.9)) {
            release(x, clients[c].id, clients[c].address);
        }
        clients[c].address = 0;
    }
    // With a probation that is shorter than many leases.
    void give_back(size_t c) {
        Server &x = any();
        note("client " + std::to_string(c) + " declines " + dotted(clients[c].address) + " to " + name(x));
        held[clients[c].address].erase(c);
        if (x.core_ != nullptr) {
            decline(x, clients[c].id, clients[c].address, 120);
        }
        clients[c].address = 0;
    }
    void client_acts() {
        size_t c = below(uint32_t(clients.size()));
        if (clients[c].address == 0 || !holds(c)) {
            if (clients[c].address != 0 && chance(0.3)) {
                renew(c, true); // init-reboot, with an address of long ago
            } else {
                new_lease(c);
            }
            return;
        }
        uint32_t what = below(20);
        if (what < 12) {
            renew(c, false);
        } else if (what < 17) {
            renew(c, true);
        } else if (what < 19 || chance(0.7)) {
            let_go(c);
        } else {
            give_back(c);
        }
    }

    // ---- The servers' own work, a bit of it -----------------------------------------------------------------------------
    void work(uint32_t steps) {
        for (uint32_t i = 0; i < steps; i++) {
            if (chance(0.5)) {
                arrive();
            } else {
                Server &x = any();
                if (x.core_ != nullptr) {
                    step(x, !stuck[&x] && chance(0.7));
                }
            }
        }
    }
    std::set<Server *> went_on_alone;

    void time_goes_on(int64_t ms) {
        for (Server *x : {p.get(), s.get()}) {
            if (x->core_ != nullptr && x->state() == PD) {
                went_on_alone.insert(x);
            }
        }
        if (p->core_ != nullptr && s->core_ != nullptr && p->state() == NO && s->state() == NO) {
            went_on_alone.clear();
        }
        now.mono += ms;
        now.wall = true_start + (now.mono - 1000000) / 1000;
    }
    int64_t true_start = 0;

    // A while in which everything runs as it should.
    void calm(int64_t seconds) {
        for (int64_t i = 0; i < seconds * 4 && !failed; i++) {
            time_goes_on(250);
            for (int round = 0; round < 100; round++) {
                for (Server *x : {p.get(), s.get()}) {
                    if (x->core_ != nullptr) {
                        step(*x, !stuck[x]);
                    }
                }
                if (!arrive()) {
                    break;
                }
                while (arrive()) {
                }
            }
        }
    }

    // ---- Faults and operators -------------------------------------------------------------------------------------------
    static bool is_on_record(const Server &x, std::initializer_list<failover_state> states) {
        return x.record_ && std::count(states.begin(), states.end(), x.record_->state) > 0;
    }
    bool is_down(const Server &x) {
        return x.core_ == nullptr;
    }
    // One of the two goes on in PARTNER-DOWN and the other doesn't know yet, on disk, that it has to recover.
    // Who cuts the link, or starts the other alone now, makes the mistake that the design's safety sentence
    // excepts.
    bool is_delicate() {
        for (Server *x : {p.get(), s.get()}) {
            Server &y = other(*x);
            bool alone = is_alone(*x);
            bool knows = is_on_record(y, {RE, SH}) || (y.record_ && y.record_->partner_state == PD);
            if (alone && !knows) {
                return true;
            }
        }
        return false;
    }
    // It has gone on in PARTNER-DOWN since both were in NORMAL, whether or not it could write that down.
    bool is_alone(Server &x) {
        return went_on_alone.count(&x) > 0;
    }

    // Nothing that a dead server has on disk, or in Kea's rows, is unknown to its partner.
    bool has_told_everything(Server &x) {
        for (auto &[address, b] : x.bindings_) {
            if (b.update_due) {
                return false;
            }
        }
        for (auto &[address, row] : x.rows_) {
            auto b = x.bindings_.find(address);
            if (b == x.bindings_.end() || b->second.cltt < row.cltt) {
                return false;
            }
        }
        return true;
    }

    void fault() {
        Server &x = any();
        Server &y = other(x);
        switch (below(6)) {
        case 0:
            if (link_cut) {
                note("the link is mended");
                mend();
                reset_connections();
                link_cut = false;
            } else if (!is_delicate()) {
                note("the link is cut");
                cut();
                link_cut = true;
            }
            break;
        case 1:
            if (is_down(x)) {
                // Not alone, while the one that went on in PARTNER-DOWN is itself down or out of reach.
                bool held = x.record_ && x.record_->link_held_down;
                if (is_alone(y) && !is_on_record(x, {RE, SH}) && (is_down(y) || link_cut || held)) {
                    break;
                }
                note(std::string(name(x)) + " starts");
                restart(x);
            } else if (!is_alone(x) || !is_delicate() || is_down(y)) {
                kills++;
                note(std::string(name(x)) + " is killed");
                stuck[&x] = false;
                kill(x);
            }
            break;
        case 2:
            if (!is_down(x)) {
                stuck[&x] = !stuck[&x];
                note(std::string("the disk of ") + name(x) + (stuck[&x] ? " hangs" : " works again"));
            }
            break;
        case 3:
            // Only where it was in NORMAL and its partner has all that it knew: a lease that was released at
            // one server and got back from the other while they didn't see each other isn't to be saved from
            // that.
            if (is_down(x) && is_on_record(x, {NO}) && !is_down(y) && is_on_record(y, {NO, CI}) &&
                (y.state() == NO || y.state() == CI) && has_told_everything(x) && chance(0.5)) {
                note(std::string(name(x)) + " loses its database");
                x.lose_database();
                if (chance(0.5)) {
                    x.rows_.clear();
                }
            }
            break;
        default:
            if (!is_down(x)) {
                operate(x);
            }
            break;
        }
    }
    // What an operator in his right mind may do.
    void operate(Server &x) {
        Server &y = other(x);
        failover_state state = x.state();
        bool serves = state == NO || state == CI;
        failover_state wanted = FAILOVER_UNKNOWN;
        bool over = false;
        switch (below(7)) {
        case 0:
            wanted = serves && !is_alone(y) ? CI : wanted;
            break;
        case 1:
            wanted = serves ? NO : wanted;
            over = state == CI && chance(0.5);
            break;
        case 2:
            wanted = serves ? RE : wanted;
            break;
        case 3:
            wanted = FAILOVER_STARTUP;
            break;
        case 4:
            // The other one has everything, and takes over.
            wanted = serves && !is_down(y) && (y.state() == NO || y.state() == CI) ? SH : wanted;
            break;
        default:
            // Only when the other one is silent for certain: it is down, or it has said that it is.
            if (is_down(y) || (is_on_record(y, {SH}) && y.state() == SH)) {
                wanted = PD;
            }
            break;
        }
        bool has_record = x.record_ && x.record_->default_owner != FAILOVER_NOBODY;
        if (wanted == FAILOVER_UNKNOWN || (wanted == PD && !has_record) ||
            (is_alone(y) && wanted != FAILOVER_STARTUP)) {
            return;
        }
        if (wanted == FAILOVER_STARTUP && is_delicate()) {
            return;
        }
        forces++;
        stuck[&x] = false; // the force waits for its commit
        x.commit(at(x));
        failover_plan plan = force(x, wanted, over);
        x.commit(at(x));
        note(std::string(name(x)) + " is forced to " + failover_state_name(wanted) + ": " + plan.text);
    }

    // ---- One seed -------------------------------------------------------------------------------------------------------
    void run(uint64_t seed, int steps) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        random.seed(seed);
        held.clear();
        history.clear();
        clients.clear();
        stuck.clear();
        went_on_alone.clear();
        failed = false;
        link_cut = false;
        kills_before = kills;
        mend();
        if (p != nullptr) {
            reset_connections(); // of the seed before
        }
        next_xid = 100;
        now = failover_clock{1800000000, 1000000};
        true_start = now.wall;
        stalled = false;
        uint32_t addresses = 4 + below(12);
        static const uint32_t lifetimes[] = {3600, 200, 50};
        desired = lifetimes[below(3)];
        make(addresses, [&](failover_config &c) {
            c.interrupted_leases = chance(0.5) ? FAILOVER_REPLACE : FAILOVER_EXTEND;
            c.partner_down_full = chance(0.5);
            c.max_unacked_updates = chance(0.5) ? 2 : 100;
            c.min_balance = 10;
            c.max_balance = 60;
        });
        s->config_.mclt = 60;
        p->ahead_ = int64_t(below(7)) - 3;
        s->ahead_ = int64_t(below(7)) - 3;
        start();
        stalled = true;
        for (uint32_t i = 0; i < addresses + 3; i++) {
            clients.push_back(Client{make_client(i + 1, chance(0.5)), 0, nullptr});
        }
        for (int i = 0; i < steps && !failed; i++) {
            work(below(12));
            if (chance(0.5)) {
                client_acts();
            }
            if (chance(0.04)) {
                fault();
            }
            if (chance(0.02)) {
                calm(below(40));
            }
            time_goes_on(below(1500));
        }
        if (!failed) {
            recover_everything();
        }
        p->kill();
        s->kill();
        stalled = false;
    }

    // Within max-lease-ownership, on both sides.
    bool is_balanced() {
        int mine = int(p->own_free(at(*p))), theirs = int(s->own_free(at(*s)));
        return std::abs(mine - theirs) <= 2 * (((mine + theirs) * 10 + 50) / 100) + 1;
    }

    // Whatever has happened: with every fault gone they come back to NORMAL, agree, and have their shares.
    void recover_everything() {
        note("every fault is gone");
        mend();
        reset_connections();
        link_cut = false;
        stuck.clear();
        // Who went on in PARTNER-DOWN starts first.
        for (bool alone : {true, false}) {
            for (Server *x : {p.get(), s.get()}) {
                if (is_down(*x) && is_alone(*x) == alone) {
                    restart(*x);
                    force(*x, FAILOVER_STARTUP); // lets a link go that was held down
                }
            }
        }
        for (Server *x : {p.get(), s.get()}) {
            if (x->state() == SH) {
                kill(*x);
                restart(*x);
            } else if (failover_get_record(x->core_)->link_held_down) {
                force(*x, NO);
            }
        }
        for (int i = 0; i < 60 && !failed && (p->state() != NO || s->state() != NO); i++) {
            calm(10);
        }
        calm(120);
        note("and some time has passed");
        if (failed) {
            return;
        }
        if (p->state() != NO || s->state() != NO) {
            fail("they don't come back to normal");
            return;
        }
        std::string differs = difference(*p, *s);
        if (!differs.empty()) {
            fail("they differ: " + differs);
            return;
        }
        for (Server *x : {p.get(), s.get()}) {
            for (auto &[address, row] : x->rows_) {
                failover_binding b = x->binding(address);
                if (row.ends > at(*x).wall &&
                    (b.status != FAILOVER_ACTIVE || !failover_same_client(&row.client, &b.client))) {
                    fail(std::string(name(*x)) + " has a row for " + dotted(address) + " and no binding");
                }
            }
        }
        for (int i = 0; i < 20 && !is_balanced(); i++) {
            calm(30); // leases still end
        }
        if (!is_balanced()) {
            fail("they aren't balanced: " + std::to_string(p->own_free(at(*p))) + " and " +
                 std::to_string(s->own_free(at(*s))));
        }
        // What a killed server didn't write down (a release, a lease taken back by the partner) may look like
        // a clash with the row that Kea still has. Without that, a clash that is reported is one.
        for (Server *x : {p.get(), s.get()}) {
            if (kills == kills_before && x->logged("clash")) {
                fail(std::string(name(*x)) + " has reported a clash though there was none");
            }
        }
    }
};

// FAILOVER_SOAK_SEEDS: how many seeds; FAILOVER_SOAK_SEED: the first, or the only one if that is all that is
// given.
TEST_F(Soak, RandomSeeds) {
    const char *first = getenv("FAILOVER_SOAK_SEED");
    const char *count = getenv("FAILOVER_SOAK_SEEDS");
    uint64_t seed = first != nullptr ? strtoull(first, nullptr, 10) : 1;
    uint64_t end = seed + (count != nullptr ? strtoull(count, nullptr, 10) : first != nullptr ? 1 : 250);
    for (; seed < end && !HasFailure(); seed++) {
        run(seed, 1500);
    }
    printf("%d leases, %d forces, %d kills\n", acks, forces, kills);
}
