// SPDX-License-Identifier: MPL-2.0
//
// Two cores in one process: a virtual clock, a link that can be cut, a database and a lease table for each server that
// live as long as the test wants. What is written to the database is kept, so that a server can be killed and started
// again from it.
#ifndef FAILOVER_TESTS_PAIR_H
#define FAILOVER_TESTS_PAIR_H

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failover.h"

namespace failover_test {

constexpr uint32_t POOL_FIRST = 0x0a400a00; // 10.64.10.0
constexpr uint32_t SUBNET = 1;

inline std::string dotted(uint32_t a) {
    return std::to_string(a >> 24) + "." + std::to_string(a >> 16 & 255) + "." + std::to_string(a >> 8 & 255) + "." +
           std::to_string(a & 255);
}

inline failover_client make_client(unsigned n, bool with_id = false) {
    failover_client c{};
    c.hardware_length = 7;
    c.hardware[0] = 1;
    c.hardware[1] = 2;
    c.hardware[5] = uint8_t(n >> 8);
    c.hardware[6] = uint8_t(n);
    if (with_id) {
        c.id_length = 7;
        std::copy(c.hardware, c.hardware + 7, c.id);
    }
    return c;
}

// What a client was told.
struct Lease {
    enum Kind { ACK, NAK, SILENCE } kind = SILENCE;
    uint32_t address = 0;
    uint32_t lifetime = 0;
    std::string why;
};

// One server: a core, what it has stored, and the leases that its Kea would have.
class Server {
public:
    struct Row {
        failover_client client;
        int64_t cltt;
        int64_t ends;
    };

    Server(failover_config config, uint32_t first, uint32_t last) : config_(config), first_(first), last_(last) {
    }
    ~Server() {
        kill();
    }

    void start(failover_clock now) {
        failover_host host{this, store, log};
        core_ = failover_create(&config_, &host);
        ASSERT_TRUE(failover_add_pool(core_, SUBNET, first_, last_));
        ASSERT_TRUE(failover_build(core_, record_ ? &*record_ : nullptr));
        for (auto &[address, binding] : bindings_) {
            failover_restore_binding(core_, &binding);
        }
        for (uint32_t address : reserved_) {
            failover_reserve(core_, address);
        }
        failover_start(core_, process_.c_str(), now);
        for (auto &[address, row] : rows_) {
            failover_lease lease{address, row.client, row.cltt, row.ends, false};
            failover_adopt(core_, &lease, now);
        }
        failover_adopted_all(core_, now);
    }
    // As kill -9: what wasn't committed is lost.
    void kill() {
        failover_destroy(core_);
        core_ = nullptr;
        pending_.clear();
        connections_.clear();
    }
    void lose_database() {
        record_.reset();
        bindings_.clear();
    }

    void commit(failover_clock now) {
        if (!disk_works_ || core_ == nullptr) {
            return;
        }
        uint64_t sequence = 0;
        for (auto &item : pending_) {
            sequence = item.sequence;
            if (item.relationship) {
                record_ = *item.relationship;
            } else {
                bindings_[item.binding->address] = *item.binding;
            }
        }
        pending_.clear();
        if (sequence > 0) {
            failover_committed(core_, sequence, now);
        }
    }
    void apply_leases() {
        failover_lease_change change;
        while (core_ != nullptr && failover_next_lease(core_, &change)) {
            removals_ += change.type == FAILOVER_LEASE_REMOVE;
            auto row = rows_.find(change.lease.address);
            if (change.type == FAILOVER_LEASE_PUT) {
                bool same = row != rows_.end() && failover_same_client(&row->second.client, &change.lease.client);
                if (same && row->second.cltt > change.lease.cltt) {
                    continue;
                }
                rows_[change.lease.address] = Row{change.lease.client, change.lease.cltt, change.lease.ends};
            } else if (row != rows_.end() && failover_same_client(&row->second.client, &change.lease.client) &&
                       row->second.cltt <= change.lease.cltt) {
                rows_.erase(row);
            }
        }
    }

    failover *core() {
        return core_;
    }
    failover_state state() {
        return failover_current_state(core_);
    }
    failover_binding binding(uint32_t address) {
        failover_binding b{};
        EXPECT_TRUE(failover_get_binding(core_, address, &b)) << dotted(address);
        return b;
    }
    failover_status status(failover_clock now) {
        failover_status s;
        failover_get_status(core_, now, &s);
        return s;
    }
    uint32_t own_free(failover_clock now) {
        return failover_own_free(core_, first_, now);
    }
    bool logged(const std::string &text) const {
        return std::any_of(log_.begin(), log_.end(), [&](auto &line) { return line.find(text) != std::string::npos; });
    }

    void forget_connection(int id) {
        connections_.erase(std::remove(connections_.begin(), connections_.end(), id), connections_.end());
    }

    failover_config config_;
    uint32_t first_, last_;
    std::optional<failover_record> record_;
    std::map<uint32_t, failover_binding> bindings_;
    std::map<uint32_t, Row> rows_;
    std::vector<uint32_t> reserved_;
    std::vector<std::string> log_;
    std::string process_ = "process-1";
    bool disk_works_ = true;
    std::vector<int> connections_; // that its transport has
    int removals_ = 0;             // of rows that the core has asked for, there or not
    int64_t ahead_ = 0;            // seconds by which this server's wall clock is ahead of the true time
    failover *core_ = nullptr;

private:
    struct Item {
        uint64_t sequence;
        std::optional<failover_record> relationship;
        std::optional<failover_binding> binding;
    };
    std::vector<Item> pending_;

    static void store(void *context, uint64_t sequence, const failover_record *r, const failover_binding *b) {
        auto *self = static_cast<Server *>(context);
        Item item{sequence, {}, {}};
        if (r != nullptr) {
            item.relationship = *r;
        } else {
            item.binding = *b;
        }
        self->pending_.push_back(item);
    }
    static void log(void *context, failover_severity, const char *text) {
        static_cast<Server *>(context)->log_.push_back(text);
        if (getenv("FAILOVER_TEST_LOG") != nullptr) {
            fprintf(stderr, "  | %s\n", text);
        }
    }
};

// The primary `p` and the secondary `s`, a link between them and a clock over both.
class Pair : public ::testing::Test {
protected:
    void make(uint32_t addresses = 20, std::function<void(failover_config &)> change = nullptr) {
        failover_config config{};
        failover_config_defaults(&config);
        snprintf(config.name, sizeof(config.name), "fo1");
        config.mclt = 60;
        config.max_response_delay = 30;
        if (change) {
            change(config);
        }
        config.role = FAILOVER_PRIMARY;
        p = std::make_unique<Server>(config, POOL_FIRST, POOL_FIRST + addresses - 1);
        config.role = FAILOVER_SECONDARY;
        config.mclt = 3600; // learnt from the primary
        s = std::make_unique<Server>(config, POOL_FIRST, POOL_FIRST + addresses - 1);
    }
    void start() {
        p->start(at(*p));
        s->start(at(*s));
        settle();
    }
    // Both in NORMAL, the free addresses divided.
    void start_normal(uint32_t addresses = 20, std::function<void(failover_config &)> change = nullptr) {
        make(addresses, change);
        start();
        ASSERT_EQ(FAILOVER_NORMAL, p->state());
        ASSERT_EQ(FAILOVER_NORMAL, s->state());
        p->log_.clear();
        s->log_.clear();
    }

    // What this server takes for the present moment.
    failover_clock at(const Server &x) const {
        return failover_clock{now.wall + x.ahead_, now.mono};
    }

    // Lets everything happen that happens without the clock.
    void settle() {
        if (stalled) {
            return;
        }
        for (int round = 0; round < 20000; round++) {
            bool busy = false;
            for (Server *x : {p.get(), s.get()}) {
                if (x->core_ != nullptr) {
                    failover_tick(x->core_, at(*x));
                    x->commit(at(*x));
                    x->apply_leases();
                    busy = actions(x) || busy;
                    busy = deliver(x) || busy;
                }
            }
            if (!busy) {
                return;
            }
        }
        FAIL() << "the servers never come to rest";
    }
    // The clock goes on, with a stop wherever something is due.
    void pass(int64_t seconds) {
        int64_t end = now.mono + seconds * 1000;
        int64_t start_mono = now.mono, start_wall = now.wall;
        while (now.mono < end) {
            int64_t next = end;
            for (Server *x : {p.get(), s.get()}) {
                if (x->core_ != nullptr) {
                    next = std::min(next, std::max(failover_deadline(x->core_), now.mono + 1));
                }
            }
            now.mono = next;
            now.wall = start_wall + (now.mono - start_mono) / 1000;
            settle();
        }
    }
    // Packets vanish; nobody is told.
    void cut() {
        cut_ = true;
        in_flight_.clear();
    }
    void mend() {
        cut_ = false;
    }
    // Both notice the loss, as after max-response-delay.
    void interrupt() {
        cut();
        pass(31);
        ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, p->state());
        ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, s->state());
    }
    void kill(Server &x) {
        x.kill();
        close_all(&x);
        settle();
    }
    void restart(Server &x) {
        x.process_ += "'";
        x.start(at(x));
        settle();
    }

    failover_plan force(Server &x, failover_state state, bool override_guard = false, int64_t since = 0) {
        failover_force force{state, override_guard, since};
        failover_plan plan;
        failover_force_plan(x.core_, &force, at(x), &plan);
        if (plan.result == FAILOVER_OK) {
            failover_take_sequence(x.core_);
            x.record_ = plan.record;
            failover_force_apply(x.core_, &force, &plan, at(x));
        }
        settle();
        return plan;
    }

    // ---- Clients, as Kea would serve them -------------------------------------------------------------------------------
    uint32_t next_xid = 100;

    failover_ask ask(const failover_client &client, uint32_t address, uint32_t xid, bool selects = false) {
        failover_ask a{};
        a.client = &client;
        a.address = address;
        a.xid = xid;
        a.desired = desired;
        a.selects_us = selects;
        return a;
    }
    failover_verdict discover_verdict(Server &x, const failover_client &client, uint16_t secs = 100,
                                      failover_why *why = nullptr) {
        failover_why unused{};
        uint32_t subnets[] = {SUBNET};
        failover_discover d{};
        d.client = &client;
        d.balance_key = client.id_length > 0 ? client.id : client.hardware + 1;
        d.balance_key_length = client.id_length > 0 ? client.id_length : client.hardware_length - 1u;
        d.secs = secs;
        d.subnets = subnets;
        d.subnet_count = 1;
        return failover_on_discover(x.core_, &d, at(x), why != nullptr ? why : &unused);
    }
    // What an OFFER would hold. `secs` is high, so that load balancing keeps out of it.
    Lease discover(Server &x, const failover_client &client, uint16_t secs = 100) {
        Lease lease;
        failover_why why{};
        if (discover_verdict(x, client, secs, &why) != FAILOVER_GO_ON) {
            lease.why = why.text;
            return lease;
        }
        for (auto &[address, row] : x.rows_) {
            if (failover_same_client(&row.client, &client)) {
                failover_ask a = ask(client, address, next_xid);
                if (failover_may_have(x.core_, &a, at(x), &lease.lifetime, &why)) {
                    lease.kind = Lease::ACK;
                    lease.address = address;
                    return lease;
                }
            }
        }
        uint32_t free = failover_own_free(x.core_, POOL_FIRST, at(x));
        while (free-- > 0) {
            lease.address = failover_next_own(x.core_, POOL_FIRST, at(x));
            failover_ask a = ask(client, lease.address, next_xid);
            if (x.rows_.count(lease.address) == 0 && failover_may_have(x.core_, &a, at(x), &lease.lifetime, &why)) {
                lease.kind = Lease::ACK;
                return lease;
            }
        }
        failover_exhausted(x.core_, &client, at(x));
        lease.address = 0;
        lease.why = "exhausted";
        return lease;
    }
    Lease request(Server &x, const failover_client &client, uint32_t address, bool selects = false, uint32_t xid = 0) {
        Lease lease;
        failover_why why{};
        failover_ask a = ask(client, address, xid != 0 ? xid : next_xid++, selects);
        failover_verdict verdict = failover_on_request(x.core_, &a, at(x), &why);
        lease.why = why.text;
        if (verdict != FAILOVER_GO_ON) {
            if (verdict == FAILOVER_REFUSE) {
                lease.kind = Lease::NAK;
                auto row = x.rows_.find(address);
                if (row != x.rows_.end() && failover_same_client(&row->second.client, &client)) {
                    x.rows_.erase(row);
                }
            }
            return lease;
        }
        EXPECT_TRUE(failover_may_have(x.core_, &a, at(x), &lease.lifetime, &why)) << why.text;
        for (auto row = x.rows_.begin(); row != x.rows_.end();) {
            row = failover_same_client(&row->second.client, &client) ? x.rows_.erase(row) : std::next(row);
        }
        int64_t wall = at(x).wall;
        x.rows_[address] = Server::Row{client, wall, wall + int64_t(lease.lifetime)};
        EXPECT_TRUE(failover_bound(x.core_, &a, wall, lease.lifetime, at(x)));
        lease.kind = Lease::ACK;
        lease.address = address;
        settle();
        return lease;
    }
    Lease dora(Server &x, const failover_client &client) {
        Lease offer = discover(x, client);
        return offer.kind == Lease::ACK ? request(x, client, offer.address, true) : offer;
    }
    void release(Server &x, const failover_client &client, uint32_t address) {
        failover_why why{};
        if (failover_on_other(x.core_, &why) != FAILOVER_GO_ON) {
            return;
        }
        x.rows_.erase(address);
        failover_released(x.core_, address, &client, at(x));
        settle();
    }

    // Kea keeps the row of a declined lease, in a state of its own, until its probation is over.
    void decline(Server &x, const failover_client &client, uint32_t address, int64_t probation = 86400) {
        failover_why why{};
        auto row = x.rows_.find(address);
        bool holds = row != x.rows_.end() && failover_same_client(&row->second.client, &client);
        if (!holds || failover_on_other(x.core_, &why) != FAILOVER_GO_ON) {
            return;
        }
        x.rows_.erase(row);
        failover_declined(x.core_, address, at(x).wall + probation, at(x));
        settle();
    }

    // ---- Step by step, for tests that look between the steps: with `stalled` set, settle() does nothing -----------------
    bool stalled = false;

    // What is due at `x`, committed or not; what it sends is on its way afterwards.
    void step(Server &x, bool commits) {
        failover_tick(x.core_, at(x));
        if (commits) {
            x.commit(at(x));
        }
        x.apply_leases();
        actions(&x);
        send(&x);
    }
    // The oldest that is on its way arrives; false if nothing is.
    bool arrive() {
        if (in_flight_.empty()) {
            return false;
        }
        Chunk c = in_flight_.front();
        in_flight_.pop_front();
        receive(c);
        return true;
    }
    // Every connection is lost with what is on its way, and both servers are told.
    void reset_connections() {
        in_flight_.clear();
        for (int id : std::vector<int>(open_)) {
            open_.erase(std::remove(open_.begin(), open_.end(), id), open_.end());
            for (Server *x : {p.get(), s.get()}) {
                if (x->core_ != nullptr) {
                    x->forget_connection(id);
                    failover_disconnected(x->core_, id, "Connection reset by peer", at(*x));
                }
            }
        }
    }

    failover_clock now{1800000000, 1000000};
    uint32_t desired = 3600;
    std::unique_ptr<Server> p, s;

private:
    struct Wire {
        Server *from;
        int id;
    };
    struct Chunk {
        Server *to;
        int id;
        std::vector<uint8_t> bytes; // empty: closed
    };
    // Both ends of a connection have the same number.
    std::vector<int> open_;
    std::deque<Chunk> in_flight_;
    int next_id_ = 0;
    bool cut_ = false;

    Server *other(Server *x) {
        return x == p.get() ? s.get() : p.get();
    }
    bool actions(Server *x) {
        bool busy = false;
        failover_action action;
        while (failover_next_action(x->core_, &action)) {
            busy = true;
            if (action.type == FAILOVER_ACTION_DIAL) {
                dial(x);
            } else {
                x->forget_connection(action.connection);
                close(other(x), action.connection);
            }
        }
        return busy;
    }
    void dial(Server *x) {
        Server *y = other(x);
        if (cut_ || y->core_ == nullptr) {
            failover_dial_failed(x->core_, cut_ ? "timed out" : "Connection refused", at(*x));
            return;
        }
        int id = next_id_++;
        open_.push_back(id);
        if (!failover_connected(x->core_, id, true, at(*x))) {
            return;
        }
        x->connections_.push_back(id);
        if (!failover_connected(y->core_, id, false, at(*y))) {
            failover_disconnected(x->core_, id, "closed by the partner", at(*x));
            return;
        }
        y->connections_.push_back(id);
    }
    void close(Server *to, int id) {
        if (!cut_) {
            in_flight_.push_back(Chunk{to, id, {}});
        }
        open_.erase(std::remove(open_.begin(), open_.end(), id), open_.end());
    }
    void close_all(Server *dead) {
        in_flight_.clear();
        for (int id : std::vector<int>(open_)) {
            close(other(dead), id);
        }
    }
    void send(Server *x) {
        uint8_t buffer[4 * FAILOVER_MESSAGE_SIZE_MAX];
        for (int id : x->connections_) {
            size_t size = failover_output(x->core_, id, buffer, sizeof(buffer), at(*x));
            if (size > 0 && !cut_ && std::count(open_.begin(), open_.end(), id) > 0) {
                in_flight_.push_back(Chunk{other(x), id, std::vector<uint8_t>(buffer, buffer + size)});
            }
        }
    }
    void receive(const Chunk &c) {
        if (c.to->core_ == nullptr) {
            return;
        }
        if (c.bytes.empty()) {
            c.to->forget_connection(c.id);
            failover_disconnected(c.to->core_, c.id, "closed by the partner", at(*c.to));
        } else {
            failover_received(c.to->core_, c.id, c.bytes.data(), c.bytes.size(), at(*c.to));
        }
    }
    bool deliver(Server *x) {
        send(x);
        bool busy = false;
        std::deque<Chunk> arriving;
        std::swap(arriving, in_flight_);
        for (Chunk &c : arriving) {
            busy = busy || c.to->core_ != nullptr;
            receive(c);
        }
        return busy;
    }
};

} // namespace failover_test

#endif
