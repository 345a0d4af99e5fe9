/* SPDX-License-Identifier: MPL-2.0 */
#include "balance.h"

#include "lease_rules.h"
#include "peer.h"
#include "update.h"

/* ---- Ownership --------------------------------------------------------------------------------------------------- */

enum failover_binding_status balance_to_wire(const struct failover *f, const struct entry *e) {
    if (e->owner == FAILOVER_NOBODY) {
        return FAILOVER_FREE;
    }
    return (e->owner == FAILOVER_MINE) == f->peer.wire_primary ? FAILOVER_FREE : FAILOVER_BACKUP;
}

enum failover_owner balance_from_wire(const struct failover *f, enum failover_binding_status status) {
    return (status == FAILOVER_FREE) == f->peer.wire_primary ? FAILOVER_MINE : FAILOVER_PARTNERS;
}

void balance_take_ownership(struct failover *f) {
    if (f->record.default_owner != FAILOVER_NOBODY) {
        return;
    }
    enum failover_owner owner = f->config.role == FAILOVER_PRIMARY ? FAILOVER_MINE : FAILOVER_PARTNERS;
    f->record.default_owner = owner;
    for (uint32_t i = 0; i < f->table.entry_count; i++) {
        struct entry *e = &f->table.entries[i];
        if (e->owner != FAILOVER_NOBODY) {
            continue;
        }
        table_unlink(&f->table, e);
        e->owner = (uint8_t)owner;
        table_link(&f->table, e, core_sure_now(f));
        if (e->recorded) {
            core_store_entry(f, e);
        }
    }
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

/* First what the partner's own clients had before, then the addresses that have been free longest. */
static uint32_t balance_pool(struct failover *f, struct pool *p) {
    struct division d = divide(f, p);
    uint32_t given = 0;
    for (int pass = 1; pass <= 2; pass++) {
        uint32_t next;
        int64_t enough = pass == 1 ? -d.hold : 0;
        for (uint32_t i = p->free[FAILOVER_MINE].head; i != NO_ENTRY && d.surplus > enough; i = next) {
            struct entry *e = &f->table.entries[i];
            next = e->list_next;
            int64_t keep = never_used(e) ? 0 : d.hold;
            bool gift = pass == 1 ? belongs_to_partner(f, e) : d.surplus > keep;
            if (gift) {
                give(f, e);
                d.surplus--;
                given++;
            }
        }
    }
    p->balanced = f->now.mono;
    return given;
}

static bool may_balance(const struct failover *f) {
    return f->state == FAILOVER_NORMAL && f->peer.state_known;
}

uint32_t balance_run(struct failover *f, enum balance_occasion occasion) {
    if (!may_balance(f)) {
        f->next_balance = INT64_MAX;
        return 0;
    }
    uint32_t given = 0;
    bool lacking = false;
    for (size_t i = 0; i < f->table.pool_count; i++) {
        struct division d = divide(f, &f->table.pools[i]);
        lacking = lacking || is_lacking(&d);
        given += balance_pool(f, &f->table.pools[i]);
    }
    f->next_balance = INT64_MAX;
    for (size_t i = 0; i < f->table.pool_count; i++) {
        balance_note_change(f, &f->table.pools[i]);
    }
    if (given > 0) {
        core_log(f, FAILOVER_INFO, "balance: %u free addresses go to the partner", given);
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
    int64_t seconds = f->now.wall - f->table.entries[l->head].starts;
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

void balance_tick(struct failover *f) {
    if (f->now.mono >= f->next_balance) {
        balance_run(f, BALANCE_ON_TIMER);
    }
}

int64_t balance_deadline(const struct failover *f) {
    return f->next_balance;
}
