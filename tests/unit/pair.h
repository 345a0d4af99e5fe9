// SPDX-License-Identifier: MPL-2.0
//
// Two cores in one process: a virtual clock, a link that can be cut, a database and a lease table for each server that
// live as long as the test wants. What is written to the database is kept, so that a server can be killed and started
// again from it.
#ifndef FAILOVER_TESTS_PAIR_H
#define FAILOVER_TESTS_PAIR_H

#include <algorithm>
#include <deque>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "server.h"

namespace failover_test {

// The primary `p` and the secondary `s`, a link between them and a clock over both.
class Pair : public ::testing::Test {
protected:
    void make(uint32_t addresses = 20, std::function<void(failover_config &)> change = nullptr) {
        in_flight_.clear(); // of servers of before
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
    // What a network does with dials that doesn't let them through: with this set, no dial of either server does.
    std::function<void(Server &)> instead_of_dial;
    // A connection of this server's own that leads nowhere; it is closed by reset_connections() or by the server.
    int connect_nowhere(Server &x) {
        int id = next_id_++;
        EXPECT_TRUE(failover_connected(x.core_, id, true, at(x)));
        x.connections_.push_back(id);
        return id;
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

    failover_verdict discover_verdict(Server &x, const failover_client &client, uint16_t secs = 100,
                                      failover_why *why = nullptr) {
        failover_why unused{};
        return x.discover_verdict(client, secs, at(x), why != nullptr ? why : &unused);
    }
    // What an OFFER would hold. `secs` is high, so that load balancing keeps out of it.
    Lease discover(Server &x, const failover_client &client, uint16_t secs = 100) {
        x.desired_ = desired;
        return x.discover(client, secs, next_xid, at(x));
    }
    Lease request(Server &x, const failover_client &client, uint32_t address, bool selects = false, uint32_t xid = 0) {
        x.desired_ = desired;
        Lease lease = x.request(client, address, selects, xid != 0 ? xid : next_xid++, at(x));
        if (lease.kind == Lease::ACK) {
            settle();
        }
        return lease;
    }
    Lease dora(Server &x, const failover_client &client) {
        Lease offer = discover(x, client);
        return offer.kind == Lease::ACK ? request(x, client, offer.address, true) : offer;
    }
    void release(Server &x, const failover_client &client, uint32_t address) {
        if (x.release(client, address, at(x))) {
            settle();
        }
    }
    void decline(Server &x, const failover_client &client, uint32_t address, int64_t probation = 86400) {
        if (x.decline(client, address, probation, at(x))) {
            settle();
        }
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
        if (instead_of_dial) {
            instead_of_dial(*x);
            return;
        }
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
