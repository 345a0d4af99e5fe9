// SPDX-License-Identifier: MPL-2.0
//
// A whole core between two connections that say whatever the input says: rightly framed lies and raw bytes, while
// clients come, clocks jump, the disk fails, operators force states and the server is killed. What must hold whatever a
// partner says is checked after each event; the promises are kept here by their own count, not by the core's.
#include <cstring>
#include <deque>
#include <map>
#include <optional>

#include "failover.h"
#include "input.h"
#include "program.h"

using namespace fuzz;

namespace {

constexpr unsigned EVENTS_MAX = 300;
constexpr int64_t SLACK_MS = 3000; // each clock is rounded to a second, and a jump of one is none

// That an address is one client's until then, by this server's word or by the partner's that it has accepted.
struct Promise {
    enum { NONE, LEASE, PROBATION } kind = NONE; // of a declined address: nobody has it
    failover_client to{};
    int64_t mono = 0; // its end
    int64_t wall = 0;
};

struct Row { // of Kea's
    failover_client client;
    int64_t cltt, ends;
    bool declined;
};

struct Update { // that the core has sent
    uint32_t xid;
    uint32_t address;
};

struct Connection {
    int id = -1; // not there
    std::vector<Update> updates;
};

failover_client person(unsigned n, bool with_id) {
    failover_client c{};
    c.hardware_length = 7;
    c.hardware[0] = 1;
    c.hardware[1] = 2;
    c.hardware[6] = uint8_t(n);
    if (with_id) {
        c.id_length = 3;
        c.id[2] = uint8_t(n);
    }
    return c;
}

int64_t plus(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

class World {
public:
    explicit World(Input &input) : in(input) {
    }
    ~World() {
        failover_destroy(core);
    }
    World(const World &) = delete;
    World &operator=(const World &) = delete;

    void run() {
        begin();
        for (unsigned i = 0; i < EVENTS_MAX && !in.empty(); i++) {
            event();
            settle();
            look();
        }
    }

private:
    Input &in;
    failover *core = nullptr;
    failover_config config{};
    failover_clock now{1800000000, 1000000};
    char process[33] = "process-1";

    // What outlives the process: the failover database, Kea's rows. What is pending is lost with it.
    struct Item {
        uint64_t sequence;
        std::optional<failover_record> record;
        std::optional<failover_binding> binding;
    };
    std::deque<Item> pending;
    std::optional<failover_record> record;
    std::map<uint32_t, failover_binding> bindings;
    std::map<uint32_t, Row> rows;
    bool disk_works = true;
    bool reservations = false;

    Connection connections[2];
    int next_id = 0;
    bool ours = false; // the partner passes for one of ours
    uint32_t partner_xid = 50, client_xid = 100;
    size_t received = 0; // bytes, since the core last came to rest

    std::map<uint32_t, Promise> promises;
    std::map<uint32_t, bool> gifts; // told to be the partner's

    // ---- Values ---------------------------------------------------------------------------------------------------------
    uint32_t pool_address(unsigned n) const {
        n %= 2 * ADDRESSES;
        return n < ADDRESSES ? FIRST + n : SECOND + n - ADDRESSES;
    }
    // Mostly one of the pools, sometimes beside them.
    uint32_t address() {
        unsigned n = in.choice(2 * ADDRESSES + 4);
        return n < 2 * ADDRESSES       ? pool_address(n)
               : n < 2 * ADDRESSES + 3 ? FIRST - 1 + n % 3 * ADDRESSES
                                       : in.number(4);
    }
    int64_t step(unsigned n) const {
        int64_t size = int64_t(1) << (n / 2 % 32);
        return n % 2 == 0 ? size : -size;
    }
    // Around now, around the times of a binding, or anything.
    int64_t time(const failover_binding &b) {
        unsigned n = in.byte();
        const int64_t known[] = {b.ends, b.given, b.cltt, b.starts, b.sent, b.acked, now.wall};
        if (n < 64) {
            return std::max(int64_t(0), now.wall + step(n));
        }
        if (n < 250) {
            int64_t t = known[n % 7];
            return t == FAILOVER_TIME_INFINITE ? t : std::max(int64_t(0), t + int8_t(in.byte()));
        }
        return n == 250 ? FAILOVER_TIME_INFINITE : n == 251 ? 0 : in.number(4);
    }
    // Two have a reservation. 0: none, which is in no pool.
    uint32_t reserved_for(const failover_client &c) const {
        unsigned n = c.hardware[6];
        return reservations && n < 2 ? FIRST + n + 1 : 0;
    }
    failover_binding binding_of(uint32_t address) {
        failover_binding b{};
        failover_get_binding(core, address, &b);
        return b;
    }
    failover_status status() {
        failover_status s;
        failover_get_status(core, now, &s);
        return s;
    }

    // ---- The server -----------------------------------------------------------------------------------------------------
    static void store(void *context, uint64_t sequence, const failover_record *r, const failover_binding *b) {
        Item item{sequence, {}, {}};
        if (r != nullptr) {
            check_record(*r);
            item.record = *r;
        } else {
            check_binding(*b);
            item.binding = *b;
        }
        static_cast<World *>(context)->pending.push_back(item);
    }
    // What is stored has to be what the loader takes for sound.
    static void check_record(const failover_record &r) {
        const int64_t own[] = {r.stos, r.mclt_taken, r.last_served, r.last_granted, r.last_heard};
        for (int64_t t : own) {
            MUST(t >= 0 && t <= int64_t(1) << 40, "a record with the time %lld", (long long)t);
        }
        MUST(r.partner_stos >= 0 && r.acting_since >= 0, "a record with times before 1970");
        MUST(r.state > FAILOVER_STARTUP && r.state < FAILOVER_STATES && r.state != FAILOVER_PAUSED, "state %d",
             r.state);
        MUST(r.partner_state >= 0 && r.partner_state < FAILOVER_STATES, "partner's state %d", r.partner_state);
        MUST(r.acting_primary == FAILOVER_PRIMARY || r.acting_primary == FAILOVER_SECONDARY, "role %d",
             r.acting_primary);
    }
    static void check_binding(const failover_binding &b) {
        const int64_t all[] = {b.starts, b.ends, b.given, b.cltt, b.sent, b.acked, b.received};
        for (int64_t t : all) {
            MUST(t >= 0, "a binding with the time %lld", (long long)t);
        }
        MUST(b.status >= FAILOVER_FREE && b.status < FAILOVER_BACKUP, "status %d", b.status);
        MUST(b.client.hardware_length <= FAILOVER_HARDWARE_MAX && b.client.id_length <= FAILOVER_CLIENT_ID_MAX,
             "a client of %u and %u bytes", b.client.hardware_length, b.client.id_length);
    }
    static void log(void *, failover_severity, const char *text) {
        MUST(strlen(text) < 1024, "a line of %zu characters", strlen(text));
        if (is_talkative()) {
            fprintf(stderr, "  | %s\n", text);
        }
    }
    void begin() {
        uint8_t s[SETTINGS_SIZE];
        for (uint8_t &b : s) {
            b = in.byte();
        }
        failover_config_defaults(&config);
        snprintf(config.name, sizeof(config.name), "fo1");
        config.role = s[ROLE] & 1 ? FAILOVER_SECONDARY : FAILOVER_PRIMARY;
        config.max_response_delay = 30;
        config.interrupted_leases = s[POLICY] & 1 ? FAILOVER_EXTEND : FAILOVER_REPLACE;
        config.partner_down_full = (s[POLICY] & 2) != 0;
        config.load_balance_max_seconds = s[POLICY] & 4 ? 0 : 3;
        reservations = (s[POLICY] & 8) != 0;
        static const uint32_t mclts[] = {60, 1, 3600, 31622400}, downs[] = {0, 1, 60, 31622400};
        config.mclt = mclts[s[MCLT] % 4];
        config.auto_partner_down = downs[s[AUTO_DOWN] % 4];
        static const uint32_t unacked[] = {100, 1, 3, 65535};
        config.max_unacked_updates = unacked[s[LIMITS] & 3];
        config.min_balance = s[LIMITS] & 4 ? 0 : 60;
        config.max_balance = s[LIMITS] & 8 ? 0 : 3600;
        config.max_lease_misbalance = s[LIMITS] & 16 ? 0 : 15;
        const uint8_t *c = s + CLOCK_BYTES;
        uint32_t given = uint32_t(c[0]) << 24 | uint32_t(c[1]) << 16 | uint32_t(c[2]) << 8 | c[3];
        const int64_t walls[] = {1800000000, given, 0x7fffffff - 100, int64_t(UINT32_MAX) - 100};
        now.wall = std::max(walls[s[CLOCK] % 4], int64_t(100000));
        remember(s[MEMORY]);
        start();
        settle();
        look();
    }
    // An earlier life, in which half of the addresses were this server's.
    void remember(uint8_t memory) {
        auto state = failover_state((memory & 127) % FAILOVER_STATES);
        if (state <= FAILOVER_STARTUP || state == FAILOVER_PAUSED) {
            return;
        }
        failover_record r{};
        r.state = state;
        r.stos = now.wall - 1000;
        r.partner_state = FAILOVER_NORMAL;
        r.partner_stos = now.wall - 1000;
        r.mclt = config.mclt;
        r.mclt_taken = now.wall - 5000;
        r.acting_primary = FAILOVER_PRIMARY;
        r.epoch = 1;
        r.default_owner = config.role == FAILOVER_PRIMARY ? FAILOVER_MINE : FAILOVER_PARTNERS;
        r.last_served = r.last_heard = now.wall - 100;
        std::copy(std::begin(config.hba), std::end(config.hba), r.hba);
        r.hba_known = true;
        if (memory & 128) {
            memcpy(r.process, process, sizeof(process));
        }
        record = r;
        for (unsigned i = 0; i < 2 * ADDRESSES; i++) {
            failover_owner owner = i % 2 == 0 ? FAILOVER_MINE : FAILOVER_PARTNERS;
            if (owner != r.default_owner) {
                failover_binding b{};
                b.address = pool_address(i);
                b.status = FAILOVER_FREE;
                b.owner = owner;
                b.starts = b.sent = b.acked = now.wall - 1000;
                b.update_sent = b.state_sent = true;
                bindings[b.address] = b;
            }
        }
    }
    void start() {
        failover_host host{this, store, log};
        core = failover_create(&config, &host);
        MUST(failover_add_pool(core, 1, FIRST, FIRST + ADDRESSES - 1), "no pool");
        MUST(failover_add_pool(core, 2, SECOND, SECOND + ADDRESSES - 1), "no pool");
        MUST(failover_build(core, record ? &*record : nullptr), "no table");
        for (auto &[address, binding] : bindings) {
            failover_restore_binding(core, &binding);
        }
        for (unsigned n = 0; n < PEOPLE; n++) {
            failover_reserve(core, reserved_for(person(n, false)));
        }
        failover_start(core, process, now);
        for (auto &[address, row] : rows) {
            failover_lease lease{address, row.client, row.cltt, row.ends, row.declined};
            failover_adopt(core, &lease, now);
        }
        failover_adopted_all(core, now);
    }
    void commit(size_t most) {
        uint64_t sequence = 0;
        for (; !pending.empty() && most > 0; most--) {
            Item &item = pending.front();
            sequence = std::max(sequence, item.sequence);
            if (item.record) {
                record = *item.record;
            } else {
                bindings[item.binding->address] = *item.binding;
            }
            pending.pop_front();
        }
        if (sequence > 0) {
            failover_committed(core, sequence, now);
        }
    }
    void apply_leases() {
        failover_lease_change change;
        while (failover_next_lease(core, &change)) {
            const failover_lease &lease = change.lease;
            MUST(failover_subnet_of(core, lease.address) != 0, "a lease outside the pools");
            auto row = rows.find(lease.address);
            bool same = row != rows.end() && failover_same_client(&row->second.client, &lease.client);
            if (change.type == FAILOVER_LEASE_PUT && !(same && row->second.cltt > lease.cltt)) {
                MUST(lease.client.hardware_length + lease.client.id_length > 0, "a lease of nobody's");
                rows[lease.address] = Row{lease.client, lease.cltt, lease.ends, false};
            } else if (change.type == FAILOVER_LEASE_REMOVE && same && row->second.cltt <= lease.cltt) {
                rows.erase(row);
            }
        }
    }

    // Lets everything happen that happens without the clock. A server that never comes to rest eats a processor.
    void settle() {
        size_t messages = 0, most = 400 + received / FAILOVER_HEADER_SIZE;
        for (int round = 0;; round++) {
            MUST(round < 100, "the core never comes to rest in %s", failover_state_name(failover_current_state(core)));
            failover_tick(core, now);
            if (disk_works) {
                commit(SIZE_MAX);
            }
            apply_leases();
            bool busy = false;
            for (Connection &c : connections) {
                size_t sent = drain(c);
                busy = busy || sent > 0;
                messages += sent;
            }
            MUST(messages <= most, "%zu messages at a time", messages);
            busy = actions() || busy;
            if (!busy && failover_deadline(core) > now.mono && (!disk_works || pending.empty())) {
                break;
            }
        }
        received = 0;
    }
    bool actions() {
        bool busy = false;
        failover_action action;
        while (failover_next_action(core, &action)) {
            busy = true;
            for (Connection &c : connections) {
                if (action.type == FAILOVER_ACTION_CLOSE && c.id == action.connection) {
                    c = Connection{};
                }
            }
        }
        return busy;
    }

    // ---- What it says ---------------------------------------------------------------------------------------------------
    size_t drain(Connection &c) {
        uint8_t out[2 * FAILOVER_MESSAGE_SIZE_MAX];
        size_t messages = 0;
        if (c.id < 0) {
            return 0;
        }
        size_t size = failover_output(core, c.id, out, sizeof(out), now);
        MUST(size <= sizeof(out), "%zu bytes", size);
        for (size_t used = 0; used < size;) {
            failover_message m;
            size_t consumed = 0;
            failover_decode_result result = failover_message_decode(out + used, size - used, &m, &consumed);
            MUST(result == FAILOVER_DECODED, "the core has sent something that is %s", failover_decode_text(result));
            MUST(m.time == uint32_t(now.wall), "its time is %u", m.time);
            if (m.type == FAILOVER_BNDUPD) {
                check_update(m);
                c.updates.push_back({m.xid, m.assigned_ip_address});
            }
            used += consumed;
            messages++;
        }
        return messages;
    }
    // Rule 12: what is told is on disk.
    void check_update(const failover_message &m) {
        auto found = bindings.find(m.assigned_ip_address);
        MUST(m.xid != 0, "an update without a number");
        MUST(found != bindings.end(), "an update of an address without a record");
        const failover_binding &b = found->second;
        bool is_free = m.binding_status == FAILOVER_FREE || m.binding_status == FAILOVER_BACKUP;
        MUST(b.status == (is_free ? FAILOVER_FREE : m.binding_status), "told is %s, on disk %s",
             failover_binding_status_name(failover_binding_status(m.binding_status)),
             failover_binding_status_name(b.status));
        MUST(m.lease_expiration_time == FAILOVER_TIME_INFINITE || m.lease_expiration_time == b.ends,
             "told is %lld, on disk %lld", (long long)m.lease_expiration_time, (long long)b.ends);
        if (is_free && b.owner == FAILOVER_PARTNERS) {
            gifts[m.assigned_ip_address] = true;
        }
    }

    // ---- What must hold -------------------------------------------------------------------------------------------------
    void look() {
        failover_status s = status();
        uint64_t sum = 0;
        for (uint64_t count : s.by_status) {
            sum += count;
        }
        MUST(sum == 2 * ADDRESSES, "%llu addresses are counted", (unsigned long long)sum);
        MUST(s.state > FAILOVER_UNKNOWN && s.state < FAILOVER_STATES && s.state != FAILOVER_PAUSED, "state %d",
             s.state);
        MUST(s.pending_count <= FAILOVER_PENDING_MAX, "%zu steps", s.pending_count);
        MUST(s.updates_queued <= 2 * ADDRESSES && s.updates_unacked <= 2 * ADDRESSES, "%llu, %llu",
             (unsigned long long)s.updates_queued, (unsigned long long)s.updates_unacked);
        uint64_t counted[FAILOVER_BINDING_STATUSES] = {};
        for (unsigned i = 0; i < 2 * ADDRESSES; i++) {
            failover_binding b = binding_of(pool_address(i));
            counted[b.status == FAILOVER_FREE && b.owner != FAILOVER_MINE ? FAILOVER_BACKUP : b.status]++;
            MUST(b.status != FAILOVER_ACTIVE || b.client.hardware_length + b.client.id_length > 0, "leased to nobody");
        }
        for (unsigned i = 0; i < FAILOVER_BINDING_STATUSES; i++) {
            MUST(counted[i] == s.by_status[i], "%llu are %u, the status says %llu", (unsigned long long)counted[i], i,
                 (unsigned long long)s.by_status[i]);
        }
        for (uint32_t pool : {FIRST, SECOND}) {
            MUST(failover_own_free(core, pool, now) <= ADDRESSES, "too many own addresses");
        }
        check_rows();
    }
    // No row of Kea's may last longer than what is promised: it would outlive the binding. One that may be alone on disk
    // stays meanwhile.
    void check_rows() {
        for (auto &[address, row] : rows) {
            failover_binding b = binding_of(address);
            bool same = b.status == FAILOVER_ACTIVE && failover_same_client(&b.client, &row.client);
            MUST(!same || !failover_is_on_disk(core, address) || row.ends <= b.ends,
                 "Kea's row ends at %lld, the binding at %lld", (long long)row.ends, (long long)b.ends);
        }
    }
    void check_grant(const failover_client &to, uint32_t address, const failover_binding &before) {
        const Promise &p = promises[address];
        bool his = p.kind == Promise::LEASE && failover_same_client(&p.to, &to);
        MUST(p.kind == Promise::NONE || his || p.mono <= now.mono + SLACK_MS,
             "client %u is given %08x, which is promised to %u for %lld ms more", to.hardware[6], address,
             p.to.hardware[6], (long long)(p.mono - now.mono));
        failover_status s = status();
        bool reserved = address == reserved_for(to);
        MUST(!before.reserved || reserved || before.status != FAILOVER_FREE, "a reserved address is given to another");
        if (before.status == FAILOVER_FREE && !reserved && (gifts[address] || before.owner != FAILOVER_MINE)) {
            MUST(s.state == FAILOVER_PARTNER_DOWN && now.wall >= s.since + int64_t(s.mclt),
                 "the partner's free address is given in %s", failover_state_name(s.state));
        }
        gifts[address] = false;
    }
    void check_lifetime(const failover_ask &ask, const failover_binding &before, uint32_t lifetime) {
        failover_status s = status();
        bool again = ask.xid == before.xid && before.status == FAILOVER_ACTIVE;
        bool whole = s.state == FAILOVER_PARTNER_DOWN && config.partner_down_full;
        int64_t acked = before.status == FAILOVER_FREE ? 0 : before.acked;
        int64_t lid = plus(std::max(acked, now.wall), s.mclt);
        int64_t end = lifetime == FAILOVER_LIFETIME_INFINITE ? INT64_MAX : now.wall + int64_t(lifetime);
        // Kea's row may be the only one on disk of the promise before: it is given again.
        bool kept = !failover_is_on_disk(core, ask.address) && end <= before.given;
        MUST(lifetime > 0, "a lifetime of nothing");
        MUST(end <= lid || kept || (again && end <= before.given) || (whole && now.wall >= s.since + int64_t(s.mclt)),
             "the lease ends at %lld, the lid is %lld", (long long)end, (long long)lid);
        bool left_counts =
            s.state == FAILOVER_COMMUNICATIONS_INTERRUPTED && config.interrupted_leases == FAILOVER_REPLACE;
        MUST(lifetime <= std::max(ask.desired, 1u) || again || kept || left_counts, "%u s, Kea would give %u", lifetime,
             ask.desired);
    }

    // ---- Clients --------------------------------------------------------------------------------------------------------
    failover_ask ask(const failover_client &c, uint32_t address, uint32_t xid, uint32_t desired, bool selects) {
        failover_ask a{};
        a.client = &c;
        a.address = address;
        a.xid = xid;
        a.desired = desired;
        a.reserved = address == reserved_for(c);
        a.selects_us = selects;
        return a;
    }
    uint32_t desired() {
        static const uint32_t lifetimes[] = {3600, 600, 10, 1, 86400, 31622400, FAILOVER_LIFETIME_INFINITE, 0};
        return lifetimes[in.choice(8)];
    }
    // The address that would be offered; 0: none.
    uint32_t offer(const failover_client &c) {
        failover_why why{};
        uint32_t subnets[] = {1, 2};
        failover_discover d{};
        d.client = &c;
        d.balance_key = c.hardware + 1;
        d.balance_key_length = 6;
        d.secs = uint16_t(in.byte());
        d.subnets = subnets;
        d.subnet_count = 2;
        d.reserved = reserved_for(c);
        if (failover_on_discover(core, &d, now, &why) != FAILOVER_GO_ON) {
            return 0;
        }
        if (d.reserved != 0) {
            return d.reserved;
        }
        for (uint32_t pool : {FIRST, SECOND}) {
            for (uint32_t left = failover_own_free(core, pool, now); left > 0; left--) {
                uint32_t address = failover_next_own(core, pool, now);
                uint32_t lifetime;
                failover_ask a = ask(c, address, client_xid, 3600, false);
                MUST(address != 0, "an own address that isn't there");
                if (failover_may_have(core, &a, now, &lifetime, &why)) {
                    return address;
                }
            }
        }
        failover_exhausted(core, &c, now);
        return 0;
    }
    void request(const failover_client &c, uint32_t address, uint32_t xid, uint32_t desired, bool selects) {
        failover_why why{};
        failover_ask a = ask(c, address, xid, desired, selects);
        failover_binding before = binding_of(address);
        if (failover_on_request(core, &a, now, &why) != FAILOVER_GO_ON) {
            return;
        }
        uint32_t lifetime = 0;
        MUST(failover_may_have(core, &a, now, &lifetime, &why), "GO_ON, but: %s", why.text);
        if (failover_subnet_of(core, address) == 0) {
            return;
        }
        check_grant(c, address, before);
        check_lifetime(a, before, lifetime);
        MUST(failover_bound(core, &a, now.wall, lifetime, now), "the address was allowed a moment ago");
        int64_t wall = lifetime == FAILOVER_LIFETIME_INFINITE ? INT64_MAX : now.wall + int64_t(lifetime);
        promise(address, c, wall);
        rows[address] = Row{c, now.wall, wall, false};
    }
    // Rule 2: a shorter lease to the same client moves nothing.
    void promise(uint32_t address, const failover_client &to, int64_t wall) {
        int64_t left = wall > int64_t(1) << 40 ? INT64_MAX : std::max(int64_t(0), wall - now.wall) * 1000;
        if (is_talkative()) {
            fprintf(stderr, "%08x is promised to %u until %lld\n", address, to.hardware[6], (long long)wall);
        }
        Promise &p = promises[address];
        bool same = p.kind == Promise::LEASE && p.mono > now.mono && failover_same_client(&p.to, &to);
        int64_t mono = plus(now.mono, left);
        p = Promise{Promise::LEASE, to, same ? std::max(p.mono, mono) : mono, same ? std::max(p.wall, wall) : wall};
    }
    void give_back(uint32_t address, bool decline) {
        failover_why why{};
        auto row = rows.find(address);
        if (row == rows.end() || row->second.declined || failover_on_other(core, &why) != FAILOVER_GO_ON) {
            return;
        }
        failover_client c = row->second.client;
        if (!decline) {
            rows.erase(row);
            failover_released(core, address, &c, now);
            promises[address] = Promise{};
            return;
        }
        static const int64_t probations[] = {86400, 60, 1, 3600};
        int64_t probation = probations[in.choice(4)];
        row->second = Row{failover_client{}, now.wall, now.wall + probation, true};
        failover_declined(core, address, now.wall + probation, now);
        promises[address] = Promise{Promise::PROBATION, {}, now.mono + probation * 1000, now.wall + probation};
    }

    // ---- The partner ----------------------------------------------------------------------------------------------------
    Connection &connection() {
        return connections[in.byte() & 1];
    }
    bool connect(Connection &c, bool dialled) {
        if (c.id >= 0) {
            return true;
        }
        int id = next_id++;
        if (!failover_connected(core, id, dialled, now)) {
            return false;
        }
        c = Connection{id, {}};
        return true;
    }
    void receive(Connection &c, const uint8_t *data, size_t size, const failover_message *m) {
        if (c.id < 0) {
            return;
        }
        std::vector<failover_binding> before;
        for (unsigned i = 0; i < 2 * ADDRESSES; i++) {
            before.push_back(binding_of(pool_address(i)));
        }
        int32_t skew = status().skew;
        received += size;
        failover_received(core, c.id, data, size, now);
        for (const failover_binding &b : before) {
            note_change(b.address, b, binding_of(b.address), m, std::abs(int64_t(skew)));
        }
    }
    // What the partner may change of what is promised: rules 2 and 11. Without `m` it isn't known what it said.
    void note_change(uint32_t address, const failover_binding &before, const failover_binding &after,
                     const failover_message *m, int64_t skew) {
        bool same = failover_same_client(&before.client, &after.client);
        bool active = before.status == FAILOVER_ACTIVE && after.status == FAILOVER_ACTIVE && same;
        bool unchanged = before.status == after.status && before.owner == after.owner;
        if (active) {
            MUST(after.ends >= before.ends, "the partner cuts a lease short");
            if (after.ends > before.ends) {
                promise(address, after.client, after.ends);
            }
            return;
        }
        if (unchanged && before.status != FAILOVER_ACTIVE) {
            return;
        }
        bool is_end = m != nullptr && (m->binding_status == FAILOVER_EXPIRED || m->binding_status == FAILOVER_FREE ||
                                       m->binding_status == FAILOVER_BACKUP);
        if (m != nullptr && m->type == FAILOVER_BNDUPD && before.status == FAILOVER_ACTIVE && is_end) {
            MUST(before.ends <= now.wall + skew + 1, "the partner ends a lease that is promised until %lld, at %lld",
                 (long long)before.ends, (long long)now.wall);
        }
        bool ack = m != nullptr && m->type == FAILOVER_BNDACK;
        bool was_promised = before.status == FAILOVER_ACTIVE || before.status == FAILOVER_ABANDONED || !ack;
        if (was_promised) {
            promises[address] = Promise{};
        }
        if (after.status == FAILOVER_ACTIVE) {
            promise(address, after.client, after.ends);
        }
        gifts[address] = false;
    }
    void send(Connection &c, failover_message &m, int64_t skew) {
        uint8_t out[FAILOVER_MESSAGE_SIZE_MAX];
        m.time = uint32_t(now.wall + skew);
        size_t size = failover_message_encode(&m, out, sizeof(out));
        failover_message heard; // as the core hears it
        size_t consumed = 0;
        if (size > 0 && failover_message_decode(out, size, &heard, &consumed) == FAILOVER_DECODED) {
            receive(c, out, size, &heard);
        }
    }
    int64_t skew() {
        unsigned n = in.byte();
        return n < 128 ? 0 : n < 200 ? int64_t(n) - 164 : step(n);
    }
    static failover_bytes bytes(const char *text) {
        return failover_bytes{reinterpret_cast<const uint8_t *>(text), uint16_t(strlen(text))};
    }
    static void put(failover_message &m, std::initializer_list<failover_option> options) {
        for (failover_option option : options) {
            failover_put(&m, option);
        }
    }
    void vendor_record(uint8_t out[11]) {
        out[0] = 1;
        out[1] = uint8_t(1 + in.choice(2));
        out[2] = in.byte();
        int64_t since = time(failover_binding{});
        for (int i = 0; i < 8; i++) {
            out[3 + i] = uint8_t(uint64_t(since) >> (56 - 8 * i));
        }
    }
    // CONNECT for a secondary, CONNECTACK for a primary; each bit of `lies` spoils one thing.
    void handshake(Connection &c, unsigned lies, int64_t skew) {
        failover_message m{};
        uint8_t vendor[11];
        Bytes hba = in.bytes(lies & 1 ? 40 : 0);
        hba.resize(lies & 1 ? hba.size() : FAILOVER_HBA_SIZE, 0xf0);
        bool primary = (config.role == FAILOVER_PRIMARY) != ((lies & 2) != 0);
        m.type = primary ? FAILOVER_CONNECTACK : FAILOVER_CONNECT;
        m.xid = partner_xid++;
        m.relationship_name = bytes(lies & 4 ? "fo2" : "fo1");
        m.max_unacked_bndupd = lies & 8 ? in.number(4) : 10;
        m.receive_timer = lies & 8 ? in.number(4) : 30;
        m.mclt = lies & 16 ? in.number(4) : config.mclt;
        ours = (lies & 32) != 0;
        m.vendor_class_identifier = bytes(ours ? "kea-failover-1" : "isc-4.4.3-P1");
        m.hash_bucket_assignment = failover_bytes{hba.data(), uint16_t(hba.size())};
        put(m, {FAILOVER_OPT_RELATIONSHIP_NAME, FAILOVER_OPT_MAX_UNACKED_BNDUPD, FAILOVER_OPT_RECEIVE_TIMER,
                FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER, FAILOVER_OPT_PROTOCOL_VERSION, FAILOVER_OPT_MCLT,
                FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT});
        if (ours) {
            vendor_record(vendor);
            m.vendor_specific_options = failover_bytes{vendor, sizeof(vendor)};
            failover_put(&m, FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS);
        }
        if (lies & 64) {
            m.reject_reason = in.byte();
            m.message = bytes("because");
            put(m, {FAILOVER_OPT_REJECT_REASON, FAILOVER_OPT_MESSAGE});
        }
        if (lies & 128) {
            m.present &= ~in.number(4);
        }
        send(c, m, skew);
    }
    void show_state(Connection &c, unsigned state, unsigned flags, int64_t stos, int64_t skew) {
        failover_message m{};
        uint8_t vendor[11];
        m.type = FAILOVER_STATE;
        m.xid = partner_xid++;
        m.server_state = uint8_t(state);
        m.server_flags = uint8_t(flags & 1);
        m.start_time_of_state = stos;
        put(m, {FAILOVER_OPT_SERVER_STATE, FAILOVER_OPT_SERVER_FLAGS, FAILOVER_OPT_START_TIME_OF_STATE});
        if (flags & 2) {
            vendor_record(vendor);
            m.vendor_specific_options = failover_bytes{vendor, sizeof(vendor)};
            failover_put(&m, FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS);
        }
        if (flags & 4) {
            m.present &= ~in.number(4);
        }
        send(c, m, skew);
    }
    unsigned state_number() {
        unsigned n = in.choice(16);
        return n == 12 ? 254 : n;
    }
    void update(Connection &c) {
        failover_message m{};
        unsigned what = in.number(2);
        m.type = FAILOVER_BNDUPD;
        m.xid = what & 1 ? in.number(4) : partner_xid++;
        m.assigned_ip_address = address();
        m.binding_status = uint8_t(what & 2 ? in.byte() : FAILOVER_FREE + in.choice(7));
        failover_binding b = binding_of(m.assigned_ip_address);
        unsigned who = in.choice(2 * PEOPLE + 1);
        failover_client someone = who == 2 * PEOPLE ? b.client : person(who / 2, who % 2 == 1);
        m.client_hardware_address = failover_bytes{someone.hardware, someone.hardware_length};
        m.client_identifier = failover_bytes{someone.id, someone.id_length};
        m.lease_expiration_time = time(b);
        m.potential_expiration_time = time(b);
        m.start_time_of_state = time(b);
        m.client_last_transaction_time = time(b);
        m.ip_flags = uint16_t(in.byte());
        put(m, {FAILOVER_OPT_ASSIGNED_IP_ADDRESS, FAILOVER_OPT_BINDING_STATUS, FAILOVER_OPT_LEASE_EXPIRATION_TIME,
                FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME, FAILOVER_OPT_START_TIME_OF_STATE,
                FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME, FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS});
        if (someone.id_length > 0) {
            failover_put(&m, FAILOVER_OPT_CLIENT_IDENTIFIER);
        }
        if (what & 4) {
            failover_put(&m, FAILOVER_OPT_IP_FLAGS);
        }
        if (what & 8) {
            m.present &= ~in.number(4);
        }
        send(c, m, 0);
    }
    void acknowledge(Connection &c, const Update &u, uint8_t reject) {
        failover_message m{};
        m.type = FAILOVER_BNDACK;
        m.xid = u.xid;
        m.assigned_ip_address = u.address;
        failover_put(&m, FAILOVER_OPT_ASSIGNED_IP_ADDRESS);
        if (reject != 0) {
            m.reject_reason = reject;
            m.message = bytes("because");
            put(m, {FAILOVER_OPT_REJECT_REASON, FAILOVER_OPT_MESSAGE});
        }
        send(c, m, 0);
    }
    void acknowledge_all(Connection &c, uint8_t reject) {
        for (int round = 0; round < 10 && !c.updates.empty(); round++) {
            std::vector<Update> updates;
            std::swap(updates, c.updates);
            for (const Update &u : updates) {
                acknowledge(c, u, reject);
            }
            settle();
        }
    }
    void other(Connection &c) {
        static const uint8_t types[] = {FAILOVER_CONTACT, FAILOVER_UPDREQ,   FAILOVER_UPDREQALL, FAILOVER_UPDDONE,
                                        FAILOVER_POOLREQ, FAILOVER_POOLRESP, FAILOVER_DISCONNECT};
        failover_message m{};
        m.type = types[in.choice(7)];
        m.xid = in.byte();
        m.addresses_transferred = m.xid;
        failover_put(&m, FAILOVER_OPT_ADDRESSES_TRANSFERRED);
        send(c, m, skew());
    }
    void link_up() {
        int64_t off = skew();
        unsigned lies = in.byte() & (8 | 16 | 32);
        Connection &c = connections[0];
        if (!connect(c, config.role == FAILOVER_PRIMARY)) {
            return;
        }
        settle();
        handshake(c, lies, off);
        settle();
        unsigned state = in.choice(4);
        static const unsigned states[] = {FAILOVER_COMMUNICATIONS_INTERRUPTED, FAILOVER_NORMAL, FAILOVER_RECOVER_DONE,
                                          FAILOVER_RECOVER};
        show_state(c, states[state], 0, now.wall, off);
        settle();
        if (state == 0) {
            show_state(c, FAILOVER_NORMAL, 0, now.wall, off);
        }
    }

    // ---- Events ---------------------------------------------------------------------------------------------------------
    void pass(int64_t ms, bool at_once) {
        int64_t end = now.mono + ms, wall = now.wall, mono = now.mono;
        for (int stops = 0; now.mono < end; stops++) {
            int64_t next = at_once || stops > 50 ? end : std::min(end, failover_deadline(core));
            now.mono = std::max(next, now.mono + 1);
            now.wall = wall + (now.mono - mono) / 1000;
            settle();
        }
    }
    void restart(unsigned how) {
        bool everything = pending.empty() && (how & 3) != 3;
        if ((how & 3) == 1) { // a clean stop; its last record reaches the disk
            failover_stop(core, now);
            commit(SIZE_MAX);
            everything = true;
        }
        failover_destroy(core);
        core = nullptr;
        pending.clear();
        if ((how & 3) == 3) {
            record.reset();
            bindings.clear();
            gifts.clear();
        }
        if ((how & 4) == 0) {
            snprintf(process, sizeof(process), "process-%d", next_id);
        }
        for (Connection &c : connections) {
            c = Connection{};
        }
        next_id++;
        start();
        for (auto row = rows.begin(); row != rows.end();) { // those that have ended Kea reclaims
            row = row->second.ends <= now.wall ? rows.erase(row) : std::next(row);
        }
        for (auto &[address, p] : promises) {
            take_over(address, p, everything);
        }
        if (!everything) {
            gifts.clear();
        }
    }
    // What a new process knows of a promise. A jump of the clock before its start is beyond it.
    void take_over(uint32_t address, Promise &p, bool everything) {
        failover_binding b = binding_of(address);
        bool lease = p.kind == Promise::LEASE;
        bool known = lease && b.status == FAILOVER_ACTIVE && failover_same_client(&b.client, &p.to);
        // A row that was declined in the same second may be what was left over: nobody gets the address meanwhile.
        bool kept_back = lease && b.status == FAILOVER_ABANDONED;
        bool over = p.wall <= now.wall || p.mono <= now.mono + SLACK_MS;
        MUST(!everything || !lease || over || ((known || kept_back) && b.ends >= p.wall),
             "a restart forgets that %08x is promised to %u", address, p.to.hardware[6]);
        if (!known) {
            p = Promise{};
            return;
        }
        p.wall = std::min(p.wall, b.ends);
        int64_t left = p.wall == INT64_MAX ? INT64_MAX : p.wall <= now.wall ? 0 : (p.wall - now.wall) * 1000;
        p.mono = std::min(p.mono, plus(now.mono, left));
    }
    void force(failover_state state, bool override_guard, int64_t since) {
        failover_force force{state, override_guard, since};
        failover_plan plan;
        failover_force_plan(core, &force, now, &plan);
        MUST(plan.text[0] != '\0' && plan.effect_count <= FAILOVER_EFFECTS_MAX, "a plan without words");
        if (plan.result != FAILOVER_OK) {
            MUST(plan.result == FAILOVER_ERROR_RESULT || plan.result == FAILOVER_GUARDED, "result %d", plan.result);
            return;
        }
        failover_take_sequence(core);
        record = plan.record; // the shim writes it before everything that waits, and waits for it
        commit(SIZE_MAX);
        record = plan.record;
        failover_force_apply(core, &force, &plan, now);
        bool link_only = state == FAILOVER_NORMAL && plan.let_link_go && !plan.enter;
        MUST(link_only || failover_current_state(core) == state, "%s was forced, and it is in %s",
             failover_state_name(state), failover_state_name(failover_current_state(core)));
    }
    void operate(unsigned what) {
        failover_why why{};
        if (what == 0 && !failover_sync(core, now, &why)) {
            MUST(why.text[0] != '\0', "no reason");
        }
        if (what == 1) {
            MUST(!failover_is_silent(core) || failover_on_other(core, &why) == FAILOVER_SILENCE,
                 "silent, but for some");
            for (unsigned i = 0; i < 2 * ADDRESSES; i++) {
                failover_explain_binding(core, pool_address(i), now, &why);
                MUST(why.text[0] != '\0' && memchr(why.text, 0, sizeof(why.text)) != nullptr, "no reason");
                MUST(failover_binding_wait_over(core, pool_address(i)) >= 0, "a wait that was over in 1969");
            }
        }
    }
    void raw() {
        Connection &c = connection();
        Bytes bytes = in.bytes(in.number(2));
        receive(c, bytes.data(), bytes.size(), nullptr);
    }
    void event() {
        static const failover_state forced[] = {FAILOVER_STARTUP,
                                                FAILOVER_NORMAL,
                                                FAILOVER_COMMUNICATIONS_INTERRUPTED,
                                                FAILOVER_PARTNER_DOWN,
                                                FAILOVER_RECOVER,
                                                FAILOVER_SHUTDOWN};
        unsigned event = in.choice(EVENTS);
        if (is_talkative()) {
            fprintf(stderr, "event %u at %lld\n", event, (long long)now.wall);
        }
        switch (event) {
        case CONNECT: {
            Connection &c = connection();
            connect(c, in.byte() & 1);
            break;
        }
        case DISCONNECT: {
            Connection &c = connection();
            if (c.id >= 0) {
                int id = c.id;
                c = Connection{};
                failover_disconnected(core, id, "reset", now);
            }
            break;
        }
        case RAW:
            raw();
            break;
        case HANDSHAKE: {
            Connection &c = connection();
            unsigned lies = in.byte();
            handshake(c, lies, skew());
            break;
        }
        case STATE: {
            Connection &c = connection();
            unsigned state = state_number(), flags = in.byte();
            int64_t stos = time(failover_binding{});
            show_state(c, state, flags, stos, skew());
            break;
        }
        case UPDATE:
            update(connection());
            break;
        case ACK: {
            Connection &c = connection();
            unsigned which = in.byte();
            uint8_t reject = in.byte();
            if (!c.updates.empty()) {
                acknowledge(c, c.updates[which % c.updates.size()], reject < 128 ? 0 : reject);
            }
            break;
        }
        case ACK_ALL: {
            Connection &c = connection();
            uint8_t reject = in.byte();
            acknowledge_all(c, reject < 200 ? 0 : reject);
            break;
        }
        case OTHER:
            other(connection());
            break;
        case PASS: {
            unsigned n = in.byte();
            static const int64_t most = int64_t(4) * 366 * 86400 * 1000;
            pass(n == 255 ? in.number(4) : std::min(most, int64_t(100) << (n / 4 % 31)), n % 4 == 1);
            break;
        }
        case JUMP:
            now.wall = std::clamp(now.wall + step(in.byte()), int64_t(100000), int64_t(1) << 34);
            break;
        case COMMITS: {
            unsigned n = in.byte();
            disk_works = n % 4 != 0;
            failover_storing(core, disk_works, "disk full");
            commit(n % 4 == 2 ? 1 : 0);
            break;
        }
        case DORA: {
            unsigned n = in.choice(2 * PEOPLE);
            failover_client c = person(n / 2, n % 2 == 1);
            uint32_t lifetime = desired(), address = offer(c);
            if (address != 0) {
                request(c, address, client_xid++, lifetime, true);
            }
            break;
        }
        case REQUEST: {
            unsigned n = in.choice(2 * PEOPLE), how = in.byte();
            failover_client c = person(n / 2, n % 2 == 1);
            uint32_t wanted = address(), lifetime = desired();
            request(c, wanted, how & 1 ? client_xid : ++client_xid, lifetime, (how & 2) != 0);
            break;
        }
        case RELEASE:
            give_back(pool_address(in.byte()), false);
            break;
        case DECLINE:
            give_back(pool_address(in.byte()), true);
            break;
        case FORCE: {
            failover_state state = forced[in.choice(6)];
            unsigned how = in.byte();
            force(state, how & 1, how & 2 ? now.wall - (int64_t(1) << in.choice(20)) : 0);
            break;
        }
        case OPERATOR:
            operate(in.choice(2));
            break;
        case RESTART:
            restart(in.byte());
            break;
        case DIAL_FAILED:
            failover_dial_failed(core, "Connection refused", now);
            break;
        case LINK_UP:
            link_up();
            break;
        default:
            break;
        }
    }
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input input(data, size);
    World(input).run();
    return 0;
}
