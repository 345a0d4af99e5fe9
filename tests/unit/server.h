// SPDX-License-Identifier: MPL-2.0
//
// One server in memory: a core, what it has on disk, and the leases that its Kea would have. What is written is kept as
// long as the test wants, so that a server can be killed and started again from it.
#ifndef FAILOVER_TESTS_SERVER_H
#define FAILOVER_TESTS_SERVER_H

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <optional>
#include <set>
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
        for (auto &[first, last] : other_pools_) {
            ASSERT_TRUE(failover_add_pool(core_, SUBNET, first, last));
        }
        ASSERT_TRUE(failover_build(core_, record_ ? &*record_ : nullptr));
        for (auto &[address, binding] : bindings_) {
            failover_restore_binding(core_, &binding);
        }
        for (uint32_t address : reserved_) {
            failover_reserve(core_, address);
        }
        for (auto &[address, client] : reservations_) {
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
        uint64_t sequence = write(pending_.size());
        if (sequence > 0) {
            failover_committed(core_, sequence, now);
        }
    }
    bool is_awaited() const {
        return std::any_of(pending_.begin(), pending_.end(), [](const Item &item) { return item.sequence != 0; });
    }
    // Records that wait for the disk, and what puts the first `count` of them on it: the sequence of the last one.
    size_t pending() const {
        return pending_.size();
    }
    uint64_t write(size_t count) {
        uint64_t sequence = 0;
        for (size_t i = 0; i < count; i++) {
            Item &item = pending_[i];
            sequence = std::max(sequence, item.sequence);
            if (item.relationship) {
                record_ = *item.relationship;
                states_written_.insert({record_->state, record_->stos});
            } else {
                bindings_[item.binding->address] = *item.binding;
            }
        }
        pending_.erase(pending_.begin(), pending_.begin() + long(count));
        return sequence;
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

    // ---- Clients, as Kea and the shim would serve them ------------------------------------------------------------------
    failover_ask ask(const failover_client &client, uint32_t address, uint32_t xid, bool selects = false) const {
        failover_ask a{};
        a.client = &client;
        a.address = address;
        a.xid = xid;
        a.desired = desired_;
        a.selects_us = selects;
        a.reserved = reservation(client) == address;
        return a;
    }
    failover_verdict discover_verdict(const failover_client &client, uint16_t secs, failover_clock now,
                                      failover_why *why) {
        uint32_t subnets[] = {SUBNET};
        failover_discover d{};
        d.client = &client;
        d.balance_key = client.id_length > 0 ? client.id : client.hardware + 1;
        d.balance_key_length = client.id_length > 0 ? client.id_length : client.hardware_length - 1u;
        d.secs = secs;
        d.subnets = subnets;
        d.subnet_count = 1;
        d.reserved = reservation(client);
        return failover_on_discover(core_, &d, now, why);
    }
    // What an OFFER would hold.
    Lease discover(const failover_client &client, uint16_t secs, uint32_t xid, failover_clock now) {
        Lease lease;
        failover_why why{};
        if (discover_verdict(client, secs, now, &why) != FAILOVER_GO_ON) {
            lease.why = why.text;
            return lease;
        }
        auto offer = [&](uint32_t address) {
            failover_ask a = ask(client, address, xid);
            if (!failover_may_have(core_, &a, now, &lease.lifetime, &why)) {
                return false;
            }
            lease.kind = Lease::ACK;
            lease.address = address;
            return true;
        };
        if (!remove_useless_rows(client, 0, xid, now)) {
            return lease;
        }
        if (uint32_t reserved = reservation(client); reserved != 0) {
            EXPECT_TRUE(offer(reserved)) << why.text;
            return lease;
        }
        for (auto &[address, row] : rows_) {
            if (failover_same_client(&row.client, &client) && offer(address)) {
                return lease;
            }
        }
        for (uint32_t free = failover_own_free(core_, first_, now); free > 0; free--) {
            uint32_t address = failover_next_own(core_, first_, now);
            auto row = rows_.find(address);
            bool live = row != rows_.end() && row->second.ends > now.wall;
            if (!live && offer(address)) {
                return lease;
            }
        }
        failover_exhausted(core_, &client, now);
        lease.why = "exhausted";
        return lease;
    }
    Lease request(const failover_client &client, uint32_t address, bool selects, uint32_t xid, failover_clock now) {
        Lease lease;
        failover_why why{};
        failover_ask a = ask(client, address, xid, selects);
        failover_verdict verdict = failover_on_request(core_, &a, now, &why);
        lease.why = why.text;
        if (verdict == FAILOVER_SILENCE) {
            return lease;
        }
        bool all_may_go = remove_useless_rows(client, address, xid, now);
        if (verdict == FAILOVER_REFUSE) {
            lease.kind = Lease::NAK;
            return lease;
        }
        if (!all_may_go) {
            return lease;
        }
        EXPECT_TRUE(failover_may_have(core_, &a, now, &lease.lifetime, &why)) << why.text;
        for (auto row = rows_.begin(); row != rows_.end();) {
            row = failover_same_client(&row->second.client, &client) ? rows_.erase(row) : std::next(row);
        }
        rows_[address] = Row{client, now.wall, now.wall + int64_t(lease.lifetime)};
        EXPECT_TRUE(failover_bound(core_, &a, now.wall, lease.lifetime, now));
        lease.kind = Lease::ACK;
        lease.address = address;
        return lease;
    }
    bool release(const failover_client &client, uint32_t address, failover_clock now) {
        failover_why why{};
        if (!has_row(client, address) || failover_on_other(core_, &why) != FAILOVER_GO_ON) {
            return false;
        }
        rows_.erase(address);
        failover_released(core_, address, &client, now);
        return true;
    }
    // Kea keeps the row of a declined lease, in a state of its own, until its probation is over.
    bool decline(const failover_client &client, uint32_t address, int64_t probation, failover_clock now) {
        failover_why why{};
        if (!has_row(client, address) || failover_on_other(core_, &why) != FAILOVER_GO_ON) {
            return false;
        }
        rows_.erase(address);
        failover_declined(core_, address, now.wall + probation, now);
        return true;
    }
    bool has_row(const failover_client &client, uint32_t address) const {
        auto row = rows_.find(address);
        return row != rows_.end() && failover_same_client(&row->second.client, &client);
    }
    // Decision 3 of the design. False: a row that the client's request ends may not go yet.
    bool remove_useless_rows(const failover_client &client, uint32_t requested, uint32_t xid, failover_clock now) {
        bool all_may_go = true;
        for (auto row = rows_.begin(); row != rows_.end();) {
            auto next = std::next(row);
            if (failover_same_client(&row->second.client, &client)) {
                failover_ask a = ask(client, row->first, xid);
                uint32_t lifetime;
                failover_why why;
                bool useful = failover_may_have(core_, &a, now, &lifetime, &why);
                bool goes = !useful || (requested != 0 && requested != row->first);
                if (goes && row->second.ends > now.wall && !failover_is_on_disk(core_, row->first)) {
                    all_may_go = false;
                } else if (!useful) {
                    rows_.erase(row);
                }
            }
            row = next;
        }
        return all_may_go;
    }
    // It has a lease that is not on disk yet.
    bool waits_for_disk(const failover_client &client, failover_clock now) {
        return std::any_of(rows_.begin(), rows_.end(), [&](auto &row) {
            return failover_same_client(&row.second.client, &client) && row.second.ends > now.wall &&
                   !failover_is_on_disk(core_, row.first);
        });
    }
    // Own free addresses on which there is a row still, for what freed them is not on disk yet.
    uint32_t kept_for_disk(failover_clock now) {
        return uint32_t(std::count_if(rows_.begin(), rows_.end(), [&](auto &row) {
            failover_binding b = binding(row.first);
            bool own = b.status == FAILOVER_FREE && (b.owner == FAILOVER_MINE || state() == FAILOVER_PARTNER_DOWN);
            return own && row.second.ends > now.wall && !failover_is_on_disk(core_, row.first);
        }));
    }

    // The address that is reserved for a client; 0: none.
    uint32_t reservation(const failover_client &client) const {
        for (auto &[address, owner] : reservations_) {
            if (failover_same_client(&owner, &client)) {
                return address;
            }
        }
        return 0;
    }

    void forget_connection(int id) {
        connections_.erase(std::remove(connections_.begin(), connections_.end(), id), connections_.end());
    }

    failover_config config_;
    uint32_t first_, last_;
    std::vector<std::pair<uint32_t, uint32_t>> other_pools_;
    std::optional<failover_record> record_;
    std::map<uint32_t, failover_binding> bindings_;
    std::map<uint32_t, Row> rows_;
    std::set<std::pair<failover_state, int64_t>> states_written_; // with their start times
    std::vector<uint32_t> reserved_;
    std::map<uint32_t, failover_client> reservations_; // those of clients that ask
    uint32_t desired_ = 3600;                          // Kea's valid-lifetime
    std::vector<std::string> log_;
    std::string process_ = "process-1";
    bool disk_works_ = true;
    std::vector<int> connections_; // that its transport has
    int stored_ = 0;               // records that the core has handed over
    int removals_ = 0;             // of rows that the core has asked for, there or not
    int64_t ahead_ = 0;            // seconds by which this server's wall clock is ahead of the true time
    failover *core_ = nullptr;

    struct Item {
        uint64_t sequence;
        std::optional<failover_record> relationship;
        std::optional<failover_binding> binding;
    };
    std::vector<Item> pending_; // records that wait for the disk

private:
    static void store(void *context, uint64_t sequence, const failover_record *r, const failover_binding *b) {
        auto *self = static_cast<Server *>(context);
        Item item{sequence, {}, {}};
        self->stored_++;
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

} // namespace failover_test

#endif
