// SPDX-License-Identifier: MPL-2.0
//
// core_bench - what the core costs by itself: nanoseconds for each lease event and for the next own free address by the
// size of the pool, bytes for each address, the time to load a /8, and the longest single call when a million leases are
// asked for, or a link is lost. Two cores, a link in memory, a database that forgets everything.
//
//   core_bench [--quick] [--json]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <malloc.h>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "failover.h"

namespace {

constexpr uint32_t FIRST = 0x0a000000; // 10.0.0.0
constexpr uint32_t SUBNET = 1;
constexpr int CONNECTION = 1;
constexpr size_t BATCH = 50;

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

// Heap in use; big blocks are mapped, and count only there.
size_t heapBytes() {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

// How long each call of one kind took.
struct Timing {
    // Nanoseconds for one of `count` in each call: the median call's, since other work on the machine hits some.
    double typical(size_t count) {
        std::nth_element(each.begin(), each.begin() + each.size() / 2, each.end());
        return each[each.size() / 2] * 1e9 / double(count);
    }

    double total = 0;
    double longest = 0;

    std::vector<double> each; // seconds

    template <typename F>
    auto operator()(F f) {
        struct Stop {
            Timing &timing;
            Clock::time_point start = Clock::now();
            ~Stop() {
                double seconds = secondsSince(start);
                timing.total += seconds;
                timing.longest = std::max(timing.longest, seconds);
                timing.each.push_back(seconds);
            }
        } stop{*this};
        return f();
    }
};

failover_client clientNumber(uint32_t n) {
    failover_client client{};
    client.hardware_length = 7;
    client.hardware[0] = 1;
    client.hardware[1] = 2;
    for (int i = 0; i < 4; i++) {
        client.hardware[3 + i] = uint8_t(n >> (24 - 8 * i));
    }
    client.id_length = 7;
    memcpy(client.id, client.hardware, 7);
    return client;
}

failover_clock now{1800000000, 1000000};

struct Server {
    failover *core = nullptr;
    failover_record record{};
    bool has_record = false;
    uint64_t stored = 0;
    bool connected = false;

    static void store(void *context, uint64_t, const failover_record *record, const failover_binding *) {
        auto *self = static_cast<Server *>(context);
        self->stored++;
        if (record != nullptr) {
            self->record = *record;
            self->has_record = true;
        }
    }
    static void log(void *, failover_severity severity, const char *text) {
        if (severity >= FAILOVER_ERROR) {
            fprintf(stderr, "%s\n", text);
        }
    }

    void create(failover_role role, uint32_t addresses) {
        failover_config config{};
        failover_config_defaults(&config);
        snprintf(config.name, sizeof(config.name), "bench");
        config.role = role;
        config.load_balance_max_seconds = 0;
        failover_host host{this, store, log};
        core = failover_create(&config, &host);
        if (core == nullptr || !failover_add_pool(core, SUBNET, FIRST, FIRST + addresses - 1) ||
            !failover_build(core, has_record ? &record : nullptr)) {
            fprintf(stderr, "no memory\n");
            exit(1);
        }
    }
    void destroy() {
        failover_destroy(core);
        core = nullptr;
    }
    void commit() {
        failover_committed(core, failover_sequence(core), now);
    }
    size_t drainLeases() {
        failover_lease_change change;
        size_t count = 0;
        while (failover_next_lease(core, &change)) {
            count++;
        }
        return count;
    }
};

// Two servers and the wire between them.
struct Pair {
    Server p, s;
    Timing receive, output, tick;

    ~Pair() {
        p.destroy();
        s.destroy();
    }
    void start(uint32_t addresses) {
        p.create(FAILOVER_PRIMARY, addresses);
        s.create(FAILOVER_SECONDARY, addresses);
        for (Server *x : {&p, &s}) {
            failover_start(x->core, "bench", now);
            failover_adopted_all(x->core, now);
        }
        settle();
    }
    // One turn of both main loops. False: nothing has moved.
    bool turn() {
        static uint8_t buffer[64 * FAILOVER_MESSAGE_SIZE_MAX];
        bool busy = false;
        for (Server *x : {&p, &s}) {
            Server *other = x == &p ? &s : &p;
            tick([&] { failover_tick(x->core, now); });
            x->commit();
            failover_action action;
            while (failover_next_action(x->core, &action)) {
                busy = true;
                if (action.type == FAILOVER_ACTION_DIAL && !x->connected) {
                    connect(*x, *other);
                }
            }
            busy = x->drainLeases() > 0 || busy;
            while (size_t size =
                       output([&] { return failover_output(x->core, CONNECTION, buffer, sizeof(buffer), now); })) {
                busy = true;
                receive([&] { failover_received(other->core, CONNECTION, buffer, size, now); });
                other->drainLeases();
            }
            if (failover_deadline(x->core) <= now.mono + 1) {
                now.mono++; // the next portion comes after a pause
                busy = true;
            }
        }
        return busy;
    }
    void settle() {
        while (turn()) {
        }
    }
    void lose() {
        for (Server *x : {&p, &s}) {
            x->connected = false;
            failover_disconnected(x->core, CONNECTION, "lost", now);
        }
    }

private:
    static void connect(Server &x, Server &other) {
        x.connected = other.connected = true;
        failover_connected(x.core, CONNECTION, true, now);
        failover_connected(other.core, CONNECTION, false, now);
    }
};

struct Results {
    std::vector<std::pair<std::string, double>> rows;
    bool json = false;

    void add(const std::string &name, double value, const char *unit, const char *text) {
        rows.emplace_back(name, value);
        if (!json) {
            printf("  %-46s %12.1f %s\n", text, value, unit);
            fflush(stdout);
        }
    }
    void print() const {
        if (!json) {
            return;
        }
        const char *separator = "{";
        for (const auto &[name, value] : rows) {
            printf("%s\n  \"%s\": %.3f", separator, name.c_str(), value);
            separator = ",";
        }
        printf("\n}\n");
    }
} results;

failover_ask askFor(const failover_client &client, uint32_t address, uint32_t xid) {
    failover_ask ask{};
    ask.client = &client;
    ask.address = address;
    ask.xid = xid;
    ask.desired = 3600;
    ask.selects_us = true;
    return ask;
}

bool give(Server &x, const failover_client &client, uint32_t address, uint32_t xid, uint32_t lifetime = 3600) {
    failover_ask ask = askFor(client, address, xid);
    return failover_bound(x.core, &ask, now.wall, lifetime, now);
}

// Own addresses of the primary, in the order in which they are given out, or in no order at all.
std::vector<uint32_t> ownAddresses(Server &x, size_t count, bool shuffle) {
    std::vector<uint32_t> addresses;
    for (size_t i = 0; i < count; i++) {
        addresses.push_back(failover_next_own(x.core, FIRST, now));
    }
    if (shuffle) {
        std::shuffle(addresses.begin(), addresses.end(), std::mt19937(1));
    }
    return addresses;
}

void need(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "NOT SO: %s\n", what);
        exit(1);
    }
}

// Nanoseconds for one `f(i)`; `between` is called after each batch and isn't counted.
template <typename F, typename Between>
double inBatches(size_t count, F f, Between between) {
    Timing timing;
    for (size_t i = 0; i < count; i += BATCH) {
        timing([&] {
            for (size_t j = i; j < i + BATCH; j++) {
                f(j);
            }
        });
        between();
    }
    return timing.typical(BATCH);
}

template <typename F>
double inBatches(size_t count, F f) {
    return inBatches(count, f, [] {});
}

// ---- Lease events by the size of the pool ---------------------------------------------------------------------------

void benchEvents(uint32_t addresses) {
    std::string suffix = "." + std::to_string(addresses);
    if (!results.json) {
        printf("%u addresses\n", addresses);
    }
    Pair pair;
    size_t before = heapBytes();
    Timing load;
    load([&] {
        pair.p.create(FAILOVER_PRIMARY, addresses);
        failover_start(pair.p.core, "bench", now);
        failover_adopted_all(pair.p.core, now);
    });
    results.add("load_s" + suffix, load.total, "s", "to load");
    results.add("bytes" + suffix, double(heapBytes() - before) / addresses, "bytes",
                "for each address without a lease");
    pair.p.destroy();
    pair.p = Server();

    // The first division hands half of the addresses to the partner, so the pair has been through a lot here.
    Timing settle;
    settle([&] { pair.start(addresses); });
    need(failover_current_state(pair.p.core) == FAILOVER_NORMAL, "both are in normal");
    results.add("divide_ns" + suffix, settle.total * 1e9 / addresses, "ns", "an address, from load to both in normal");
    results.add("divide_longest_ms" + suffix, std::max(pair.tick.longest, pair.receive.longest) * 1e3, "ms",
                "the longest call meanwhile");
    results.add("bytes_divided" + suffix, double(heapBytes() - before) / 2 / addresses, "bytes",
                "for each address, half of them given away");

    const size_t count = std::min<size_t>(addresses / 4, 20000) / BATCH * BATCH;
    std::vector<uint32_t> own;
    results.add("next_own_ns" + suffix,
                inBatches(count * 4, [&](size_t) { failover_next_own(pair.p.core, FIRST, now); }), "ns",
                "next own free address");
    own = ownAddresses(pair.p, count, true);
    Timing written, read;
    double grant = inBatches(
        count,
        [&](size_t i) { need(give(pair.p, clientNumber(uint32_t(i)), own[i], uint32_t(i + 1)), "a lease is given"); },
        [&] {
            pair.receive = pair.output = Timing();
            pair.settle();
            written.each.push_back(pair.output.total);
            read.each.push_back(pair.receive.total);
        });
    results.add("grant_ns" + suffix, grant, "ns", "a lease given");
    results.add("written_ns" + suffix, written.typical(BATCH), "ns", "its update and the acknowledgement written");
    results.add("read_ns" + suffix, read.typical(BATCH), "ns", "the same read and carried out");
    double renew = inBatches(
        count,
        [&](size_t i) {
            need(give(pair.p, clientNumber(uint32_t(i)), own[i], uint32_t(i + 1000000)), "a lease is extended");
        },
        [&] { pair.settle(); });
    results.add("renew_ns" + suffix, renew, "ns", "a lease extended");
    uint32_t lifetime;
    failover_why why;
    double may = inBatches(count, [&](size_t i) {
        failover_client client = clientNumber(uint32_t(i));
        failover_ask ask = askFor(client, own[i], uint32_t(i + 2000000));
        need(failover_may_have(pair.p.core, &ask, now, &lifetime, &why), "a lease may be extended");
    });
    results.add("may_have_ns" + suffix, may, "ns", "may this client have it?");
    double release = inBatches(
        count,
        [&](size_t i) {
            failover_client client = clientNumber(uint32_t(i));
            failover_released(pair.p.core, own[i], &client, now);
        },
        [&] { pair.settle(); });
    results.add("release_ns" + suffix, release, "ns", "a lease released");
}

// ---- A million leases -----------------------------------------------------------------------------------------------

// Fills the primary, tells the secondary, and returns when both know everything.
void fill(Pair &pair, uint32_t leases) {
    pair.start(leases * 2);
    for (uint32_t i = 0; i < leases; i++) {
        uint32_t address = failover_next_own(pair.p.core, FIRST, now);
        need(give(pair.p, clientNumber(i), address, i + 1), "a lease is given");
        if (i % 1000 == 0) {
            pair.turn();
        }
    }
    pair.settle();
}

template <typename F>
void oneCall(const char *name, const char *text, F f) {
    Timing timing;
    timing(f);
    results.add(name, timing.total * 1e3, "ms", text);
}

void benchMillion(uint32_t leases) {
    if (!results.json) {
        printf("%u leases\n", leases);
    }
    size_t before = heapBytes();
    Pair pair;
    fill(pair, leases);
    results.add("lease_bytes", double(heapBytes() - before) / 2 / leases, "bytes",
                "for each lease, with the free address beside it");
    oneCall("link_lost_ms", "the link is lost", [&] { pair.lose(); });
    pair.tick = pair.receive = Timing();
    now.mono += 5000;
    now.wall += 5;
    Timing again;
    again([&] { pair.settle(); });
    results.add("link_back_ms", std::max(pair.tick.longest, pair.receive.longest) * 1e3, "ms",
                "longest call when it is back");

    // A database is lost: the secondary begins anew and asks for everything.
    pair.lose();
    pair.s.destroy();
    pair.s = Server();
    pair.s.create(FAILOVER_SECONDARY, leases * 2);
    failover_start(pair.s.core, "bench-2", now);
    failover_adopted_all(pair.s.core, now);
    pair.tick = pair.receive = pair.output = Timing();
    now.mono += 5000;
    now.wall += 5;
    size_t heap = heapBytes(), most = heap;
    Timing everything;
    everything([&] {
        while (pair.turn()) {
            most = std::max(most, heapBytes());
        }
    });
    failover_status status;
    failover_get_status(pair.s.core, now, &status);
    need(status.by_status[FAILOVER_ACTIVE] == leases, "the partner knows every lease again");
    results.add("everything_s", everything.total, "s", "UPDREQALL to UPDDONE, both sides");
    results.add("everything_ns", everything.total * 1e9 / leases, "ns", "for each lease");
    results.add("everything_receive_ms", pair.receive.longest * 1e3, "ms", "the longest call that receives");
    results.add("everything_output_ms", pair.output.longest * 1e3, "ms", "the longest call that sends");
    results.add("everything_tick_ms", pair.tick.longest * 1e3, "ms", "the longest tick");

    pair.lose();
    failover_plan plan;
    failover_force force{FAILOVER_PARTNER_DOWN, false, 0};
    oneCall("force_ms", "force-state partner-down", [&] {
        failover_force_plan(pair.p.core, &force, now, &plan);
        need(plan.result == FAILOVER_OK, "partner-down can be forced");
        failover_take_sequence(pair.p.core);
        failover_force_apply(pair.p.core, &force, &plan, now);
    });
    oneCall("force_tick_ms", "the tick behind it", [&] { failover_tick(pair.p.core, now); });
    oneCall("jump_ms", "the clock jumps by an hour", [&] {
        now.wall += 3600;
        failover_tick(pair.p.core, now);
    });
}

} // namespace

int main(int count, char **arguments) {
    bool quick = false;
    for (int i = 1; i < count; i++) {
        quick = quick || strcmp(arguments[i], "--quick") == 0;
        results.json = results.json || strcmp(arguments[i], "--json") == 0;
    }
    std::vector<uint32_t> sizes = {1000, 10000, 100000, 1000000};
    if (!quick) {
        sizes.push_back(16000000);
    }
    for (uint32_t size : sizes) {
        benchEvents(size);
    }
    benchMillion(quick ? 100000 : 1000000);
    results.print();
}
