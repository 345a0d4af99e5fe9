/* SPDX-License-Identifier: MPL-2.0 */
#include "balance.h"

#include "lease_rules.h"
#include "peer.h"
#include "update.h"

/* Gifts in one turn, and free addresses looked at for whose they were; more follow when the partner has taken these. */
#define GIFTS_MAX 1024
#define LOOK_MAX  16384

/* ---- Ownership --------------------------------------------------------------------------------------------------- */

/* Whose everything is that is nobody's yet. */
static enum failover_owner first_owner(const struct failover *f) {
    return f->config.role == FAILOVER_PRIMARY ? FAILOVER_MINE : FAILOVER_PARTNERS;
}

enum failover_binding_status balance_to_wire(const struct failover *f, const struct entry *e) {
    bool mine = (e->owner == FAILOVER_NOBODY ? first_owner(f) : e->owner) == FAILOVER_MINE;
    return mine == f->peer.wire_primary ? FAILOVER_FREE : FAILOVER_BACKUP;
}

enum failover_owner balance_from_wire(const struct failover *f, enum failover_binding_status status) {
    return (status == FAILOVER_FREE) == f->peer.wire_primary ? FAILOVER_MINE : FAILOVER_PARTNERS;
}

void balance_take_ownership(struct failover *f) {
    if (f->record.default_owner != FAILOVER_NOBODY) {
        return;
    }
    f->record.default_owner = first_owner(f);
    /* Also what is on disk as nobody's: with this record it is read as this owner's. */
    table_take_nobodys(&f->table, first_owner(f));
    core_store(f);
    balance_run(f, BALANCE_ON_ENTRY);
}

/* ---- dhcpd's formulas (3.11) ------------------------------------------------------------------------------------- */

struct division {
    int64_t surplus;   /* half of what this server has more than the partner */
    int64_t threshold; /* misbalance that is let pass */
    int64_t hold;      /* surplus that is kept of addresses used before */
};

static struct division divide(const struct failover *f, const struct pool *p) {
    int64_t mine = p->free_count[FAILOVER_MINE];
    int64_t theirs = (int64_t)p->free_count[FAILOVER_PARTNERS] + p->free_count[FAILOVER_NOBODY];
    return (struct division){
        .surplus = (mine - theirs) / 2,
        .threshold = ((mine + theirs) * f->config.max_lease_misbalance + 50) / 100,
        .hold = ((mine + theirs) * f->config.max_lease_ownership + 50) / 100,
    };
}

static bool is_lacking(const struct division *d) {
    int64_t panic = d->threshold == 0 ? -1 : -2 * d->threshold;
    return d->surplus < panic;
}

/* Rule 12: from the moment its BNDUPD is queued the address is nobody's to allocate here. */
static void give(struct failover *f, struct entry *e) {
    core_change(f, e);
    e->owner = FAILOVER_PARTNERS;
    e->starts = e->sent = f->now.wall;
    core_changed(f, e, TELL_PARTNER);
}

static bool belongs_to_partner(const struct failover *f, const struct entry *e) {
    return e->client != NULL && !lease_rules_bucket_is_mine(f, lease_rules_bucket(e));
}

static bool never_used(const struct entry *e) {
    return e->client == NULL && e->cltt == 0;
}

/* Is this own free address one for the partner? In the first pass, what its clients had before. */
static bool is_gift(struct failover *f, const struct division *d, uint32_t index, int pass) {
    const struct entry *e = table_has_entry(&f->table, index) ? table_at(&f->table, index) : NULL;
    if (pass == 1) {
        return e != NULL && belongs_to_partner(f, e);
    }
    return d->surplus > (e == NULL || never_used(e) ? 0 : d->hold);
}

/* First what the partner's own clients had before, then the addresses that have been free longest. */
static uint32_t balance_pool(struct failover *f, struct pool *p) {
    struct division d = divide(f, p);
    uint32_t given = 0;
    for (int pass = 1; pass <= 2; pass++) {
        uint32_t next;
        int64_t enough = pass == 1 ? -d.hold : 0;
        uint32_t looked = 0;
        for (uint32_t i = p->free[FAILOVER_MINE].head; i != NO_ENTRY && d.surplus > enough; i = next) {
            if (given == GIFTS_MAX || looked++ == LOOK_MAX) {
                break;
            }
            next = table_list_next(&f->table, i);
            if (is_gift(f, &d, i, pass)) {
                give(f, table_at(&f->table, i));
                d.surplus--;
                given++;
            }
        }
    }
    p->balanced = f->now.mono;
    return given;
}

static bool has_more(const struct failover *f, const struct pool *p, uint32_t given) {
    return given == GIFTS_MAX && divide(f, p).surplus > 0;
}

static bool may_balance(const struct failover *f) {
    return f->state == FAILOVER_NORMAL && f->peer.state_known;
}

uint32_t balance_run(struct failover *f, enum balance_occasion occasion) {
    f->balancing = false;
    if (!may_balance(f)) {
        f->next_balance = INT64_MAX;
        return 0;
    }
    uint32_t given = 0;
    bool lacking = false;
    for (size_t i = 0; i < f->table.pool_count; i++) {
        struct pool *p = &f->table.pools[i];
        struct division d = divide(f, p);
        lacking = lacking || is_lacking(&d);
        uint32_t gifts = balance_pool(f, p);
        f->balancing = f->balancing || has_more(f, p, gifts);
        given += gifts;
    }
    f->next_balance = INT64_MAX;
    for (size_t i = 0; i < f->table.pool_count; i++) {
        balance_note_change(f, &f->table.pools[i]);
    }
    if (given > 0) {
        core_log(f, FAILOVER_INFO, "balance: %u free addresses go to the partner%s", given,
                 f->balancing ? ", more will follow" : "");
    }
    if (occasion == BALANCE_ON_TIMER && lacking) {
        struct failover_message m = {.type = FAILOVER_POOLREQ};
        peer_send(f, &m, 0);
    }
    return given;
}

void balance_poolreq_received(struct failover *f, uint32_t xid) {
    struct failover_message m = {.type = FAILOVER_POOLRESP, .xid = xid};
    /* POOLRESP goes ahead of the gifts: updates wait for the queue of messages. */
    m.addresses_transferred = balance_run(f, BALANCE_ON_POOLREQ);
    failover_put(&m, FAILOVER_OPT_ADDRESSES_TRANSFERRED);
    peer_reply(f, &m, 0);
}

void balance_poolresp_received(struct failover *f, uint32_t given) {
    core_log(f, FAILOVER_INFO, "the partner gives %u free addresses", given);
}

void balance_affinity(struct failover *f, struct entry *e) {
    /* What has come free is the acting primary's: the other one never gets further than this. */
    if (!may_balance(f) || e->owner != FAILOVER_MINE || e->reserved || !belongs_to_partner(f, e)) {
        return;
    }
    struct division d = divide(f, table_pool_of(&f->table, e));
    if (d.surplus > -d.hold) {
        give(f, e);
    }
}

/* ---- When -------------------------------------------------------------------------------------------------------- */

/* Both servers' timers must not strike in the same second. */
static int64_t jitter(const struct failover *f) {
    return f->config.role == FAILOVER_PRIMARY ? 0 : 3000;
}

/* The longer the oldest free address has lain there, the longer it may lie on: ms. */
static int64_t age(const struct failover *f, const struct list *l) {
    if (l->head == NO_ENTRY) {
        return 0;
    }
    int64_t seconds = f->now.wall - table_starts(&f->table, l->head);
    return seconds * 1000 * f->config.max_lease_misbalance / 100;
}

static int64_t pool_deadline(const struct failover *f, const struct pool *p) {
    int64_t delay = time_min(2 * age(f, &p->free[FAILOVER_MINE]), age(f, &p->free[FAILOVER_PARTNERS]));
    delay = time_min(delay, (int64_t)f->config.max_balance * 1000);
    /* Without any least time a pool would be balanced again and again in one moment. */
    int64_t least = time_max((int64_t)f->config.min_balance * 1000, 1000);
    return time_max(f->now.mono + delay, p->balanced + least) + jitter(f);
}

void balance_note_change(struct failover *f, const struct pool *p) {
    f->next_balance = may_balance(f) ? time_min(f->next_balance, pool_deadline(f, p)) : INT64_MAX;
}

/* The partner has taken most of the last gifts: there is room for more. */
static bool may_go_on(const struct failover *f) {
    return f->balancing && f->table.updates[QUEUED].count < GIFTS_MAX / 2;
}

void balance_tick(struct failover *f) {
    if (may_go_on(f)) {
        balance_run(f, BALANCE_ON_ENTRY);
    } else if (f->now.mono >= f->next_balance) {
        balance_run(f, BALANCE_ON_TIMER);
    }
}

int64_t balance_deadline(const struct failover *f) {
    return may_go_on(f) ? f->now.mono : f->next_balance;
}
