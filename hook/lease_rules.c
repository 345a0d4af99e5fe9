/* SPDX-License-Identifier: MPL-2.0 */
#include "lease_rules.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "balance.h"
#include "load_balance.h"
#include "update.h"

/* ---- The table --------------------------------------------------------------------------------------------------- */

enum new_client { NOBODY_NEW, OWN, OWN_THEN_PARTNERS };
enum renewal { NO_RENEWAL, ANY_CLIENT, ONCE };
enum lease_end { UNHEARD, TELL, REWIND, HOLD };
enum lifetime { MCLT_RULE, LEFT_PLUS_MCLT, FOR_MCLT, FULL };

/* Section 2 of the design. A new client's lifetime is the MCLT rule's, which is the MCLT, but for FULL. */
struct lease_rule {
    enum new_client new_client;
    enum renewal renewal;
    enum lease_end lease_end;
    enum lifetime lifetime;
};

/* clang-format off */
static const struct lease_rule rules[FAILOVER_STATES] = {
    /*                                        new client         renewal      RELEASE  lifetime */
    [FAILOVER_STARTUP]                    = {NOBODY_NEW,        NO_RENEWAL,  UNHEARD},
    [FAILOVER_NORMAL]                     = {OWN,               ANY_CLIENT,  TELL,    MCLT_RULE},
    [FAILOVER_COMMUNICATIONS_INTERRUPTED] = {OWN,               ANY_CLIENT,  REWIND,  MCLT_RULE}, /* extend, or linked */
    [FAILOVER_PARTNER_DOWN]               = {OWN_THEN_PARTNERS, ANY_CLIENT,  TELL,    FOR_MCLT},
    [FAILOVER_RECOVER]                    = {NOBODY_NEW,        NO_RENEWAL,  UNHEARD},
    [FAILOVER_RECOVER_WAIT]               = {NOBODY_NEW,        NO_RENEWAL,  UNHEARD},
    [FAILOVER_RECOVER_DONE]               = {NOBODY_NEW,        ANY_CLIENT,  UNHEARD, MCLT_RULE},
    [FAILOVER_POTENTIAL_CONFLICT]         = {NOBODY_NEW,        NO_RENEWAL,  UNHEARD},
    [FAILOVER_CONFLICT_DONE]              = {NOBODY_NEW,        NO_RENEWAL,  UNHEARD},
    [FAILOVER_RESOLUTION_INTERRUPTED]     = {NOBODY_NEW,        ANY_CLIENT,  UNHEARD, MCLT_RULE},
    [FAILOVER_SHUTDOWN]                   = {NOBODY_NEW,        NO_RENEWAL,  UNHEARD},
};
static const struct lease_rule interrupted_replace = {OWN, ONCE, HOLD, LEFT_PLUS_MCLT};
static const struct lease_rule partner_down_full   = {OWN_THEN_PARTNERS, ANY_CLIENT, TELL, FULL};
/* clang-format on */

static bool linked(const struct failover *f) {
    return f->peer.state_known;
}

/* STOS + MCLT: from then on the partner's free addresses are taken too in PARTNER-DOWN (rule 5). */
static bool partners_time_is_over(const struct failover *f) {
    return core_sure_now(f) >= time_add(f->record.stos, core_wait_mclt(f));
}

static const struct lease_rule *rule_in_force(const struct failover *f) {
    bool interrupted = f->state == FAILOVER_COMMUNICATIONS_INTERRUPTED && !linked(f);
    if (interrupted && f->config.interrupted_leases == FAILOVER_REPLACE) {
        return &interrupted_replace;
    }
    if (f->requests.closing) {
        return &rules[FAILOVER_NORMAL]; /* the partner serves as soon as it has heard of the rest */
    }
    if (f->state == FAILOVER_PARTNER_DOWN && f->config.partner_down_full) {
        return &partner_down_full;
    }
    if (f->state == FAILOVER_RECOVER_DONE && f->record.partner_state == FAILOVER_PARTNER_DOWN) {
        /* It may give on at its end what was leased in its PARTNER-DOWN (rule 5), until it knows us to serve. */
        return &rules[FAILOVER_RECOVER_WAIT];
    }
    return &rules[f->state];
}

static bool is_silent(const struct lease_rule *rule) {
    return rule->renewal == NO_RENEWAL;
}

/* ---- May this client have this address? -------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool say(struct failover_why *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, sizeof(why->text), format, arguments);
    va_end(arguments);
    return false;
}

static const char *state_of(const struct failover *f) {
    return failover_state_name(f->state);
}

/* Rule 3: the mark of this interruption; entering NORMAL begins another epoch and so clears it. */
static bool is_extended(const struct failover *f, const struct entry *e) {
    return e->extended_epoch == f->record.epoch;
}

/*
 * Rule 3: the same transaction again, a retransmission. Some clients never change their xid: a renewal of theirs is
 * told from a retransmission by its time. RFC 2131 lets a client retransmit for about a minute (4.1), and renew not
 * long before half of its lease (4.4.5).
 */
static bool is_repeated(const struct failover *f, const struct entry *e, const struct failover_ask *ask) {
    bool same = e->status == FAILOVER_ACTIVE && e->granted_here && !e->tied && ask->xid != 0 && ask->xid == e->xid &&
                entry_is_client(e, ask->client);
    int64_t since = f->now.wall - e->cltt;
    return same && since >= 0 && since < LEASE_RULES_RETRANSMISSION && since < (e->given - e->cltt) / 3;
}

static bool may_renew(const struct failover *f, const struct entry *e, const struct failover_ask *ask,
                      struct failover_why *why) {
    const struct lease_rule *rule = rule_in_force(f);
    if (rule->new_client == NOBODY_NEW && e->ends <= f->now.wall) {
        /* Here nothing ends a lease, but the partner may have given the address on. */
        return say(why, "its lease has ended, and no new one is given in %s", state_of(f));
    }
    if (rule->renewal == ONCE && is_extended(f, e) && !is_repeated(f, e, ask)) {
        return say(why,
                   "its lease was given or extended during this interruption already (interrupted-leases: replace)");
    }
    return rule->renewal != NO_RENEWAL || say(why, "no lease is extended in %s", state_of(f));
}

/* 5.2.2: the same client may have back what the partner wasn't told of yet, but not what is held. */
static bool may_reactivate(const struct failover *f, const struct entry *e, const struct failover_ask *ask,
                           struct failover_why *why) {
    const struct lease_rule *rule = rule_in_force(f);
    bool own = (e->status == FAILOVER_EXPIRED || e->status == FAILOVER_RELEASED) && entry_is_client(e, ask->client);
    if (own && !e->state_sent && rule->lease_end != HOLD && rule->renewal != NO_RENEWAL) {
        return true;
    }
    return say(why,
               "the lease on it is %s, and the address waits until the partner has acknowledged that or is out of "
               "the way",
               failover_binding_status_name(e->status));
}

static bool may_allocate(const struct failover *f, const struct entry *e, const struct failover_ask *ask,
                         struct failover_why *why) {
    const struct lease_rule *rule = rule_in_force(f);
    if (rule->new_client == NOBODY_NEW) {
        return say(why, "no new client is served in %s", state_of(f));
    }
    if (e->reserved != ask->reserved) {
        return say(why, "the address is reserved for another client");
    }
    if (e->ends > core_sure_now(f)) {
        return say(why, "the address was offered by the partner and is kept back for a moment");
    }
    if (e->reserved || e->owner == FAILOVER_MINE) {
        return true; /* decision 4: a reserved address belongs to its client, whoever answers */
    }
    if (rule->new_client == OWN_THEN_PARTNERS && partners_time_is_over(f)) {
        return true;
    }
    return say(why, "the free address is %s", failover_owner_name(e->owner));
}

static bool may_have(const struct failover *f, const struct entry *e, const struct failover_ask *ask,
                     struct failover_why *why) {
    switch (e->status) {
    case FAILOVER_FREE:
        return may_allocate(f, e, ask, why);
    case FAILOVER_ACTIVE:
        if (entry_is_client(e, ask->client)) {
            return may_renew(f, e, ask, why);
        }
        return say(why, "the address is bound to another client");
    case FAILOVER_ABANDONED:
        return say(why, "the address is abandoned");
    default:
        return may_reactivate(f, e, ask, why);
    }
}

/* ---- For how long? (rule 1) -------------------------------------------------------------------------------------- */

static int64_t desired_end(const struct failover *f, uint32_t desired) {
    return desired == FAILOVER_LIFETIME_INFINITE ? FAILOVER_TIME_INFINITE : time_add(f->now.wall, desired);
}

/* The end that this lease may have at the latest. */
static int64_t end_of_grant(const struct failover *f, const struct entry *e, const struct failover_ask *ask) {
    bool renewal = e->status != FAILOVER_FREE;
    int64_t now = f->now.wall;
    int64_t mclt = core_grant_mclt(f);
    int64_t desired = desired_end(f, ask->desired);
    int64_t lid = time_add(time_max(renewal ? e->acked : 0, now), mclt);
    switch (rule_in_force(f)->lifetime) {
    case FULL:
        return partners_time_is_over(f) ? desired : time_min(desired, lid);
    case FOR_MCLT:
        return time_min(desired, now + mclt);
    case LEFT_PLUS_MCLT:
        if (desired > now + mclt) {
            return time_min(time_add(time_max(e->given, now), mclt), lid);
        }
        return desired;
    default:
        return time_min(desired, lid);
    }
}

static uint32_t lifetime_until(const struct failover *f, int64_t end) {
    if (end == FAILOVER_TIME_INFINITE) {
        return FAILOVER_LIFETIME_INFINITE;
    }
    /* One short of infinite: it has an end. */
    return (uint32_t)time_min(time_max(end - f->now.wall, 1), FAILOVER_LIFETIME_INFINITE - 1);
}

static uint32_t lifetime(const struct failover *f, const struct entry *e, const struct failover_ask *ask) {
    if (is_repeated(f, e, ask)) {
        return lifetime_until(f, e->given);
    }
    int64_t end = end_of_grant(f, e, ask);
    /* Kea's row may be the only one on disk of a longer lease (rule 12): it is given again rather than replaced. */
    bool row_counts = e->status == FAILOVER_ACTIVE && !core_is_on_disk(f, e);
    return lifetime_until(f, row_counts ? time_max(end, e->given) : end);
}

bool failover_may_have(struct failover *f, const struct failover_ask *ask, struct failover_clock now, uint32_t *seconds,
                       struct failover_why *why) {
    core_set_clock(f, now);
    *seconds = ask->desired;
    const struct entry *e = table_find(&f->table, ask->address);
    if (e == NULL) {
        return true;
    }
    if (!may_have(f, e, ask, why)) {
        return false;
    }
    *seconds = lifetime(f, e, ask);
    return true;
}

/* ---- Verdicts ---------------------------------------------------------------------------------------------------- */

static enum failover_verdict silent_state(struct failover *f, struct failover_why *why) {
    f->counters.queries_silent++;
    say(why, "the server is silent in %s", state_of(f));
    return FAILOVER_SILENCE;
}

static enum failover_verdict refuse(struct failover *f) {
    f->counters.requests_refused++;
    return FAILOVER_REFUSE;
}

bool failover_is_silent(const struct failover *f) {
    return is_silent(rule_in_force(f));
}

bool failover_serves_outside_pools(const struct failover *f) {
    bool recovers = f->state == FAILOVER_RECOVER || f->state == FAILOVER_RECOVER_WAIT;
    return recovers || !is_silent(rule_in_force(f));
}

enum failover_verdict failover_on_other(struct failover *f, struct failover_why *why) {
    /* INFORM needs no address; RELEASE and DECLINE are heard where leases may end. */
    return rule_in_force(f)->lease_end == UNHEARD ? silent_state(f, why) : FAILOVER_GO_ON;
}

/* Rule 4. */
enum failover_verdict failover_on_request(struct failover *f, const struct failover_ask *ask, struct failover_clock now,
                                          struct failover_why *why) {
    core_set_clock(f, now);
    const struct lease_rule *rule = rule_in_force(f);
    const struct entry *e = table_find(&f->table, ask->address);
    if (e == NULL && ask->reserved && failover_serves_outside_pools(f)) {
        return FAILOVER_GO_ON;
    }
    if (is_silent(rule)) {
        return silent_state(f, why);
    }
    if (e == NULL) {
        say(why, "the address is in no pool");
        return refuse(f);
    }
    if (may_have(f, e, ask, why)) {
        return FAILOVER_GO_ON;
    }
    if (rule->new_client == NOBODY_NEW) {
        return silent_state(f, why);
    }
    bool unknown_here = e->status == FAILOVER_FREE && !e->reserved && !ask->selects_us;
    if (unknown_here) {
        f->counters.queries_silent++;
        return FAILOVER_SILENCE;
    }
    if (e->status == FAILOVER_ACTIVE && entry_is_client(e, ask->client)) {
        f->counters.renewals_refused++;
    }
    return refuse(f);
}

/* ---- Who answers a DISCOVER -------------------------------------------------------------------------------------- */

static uint64_t hash_of(const uint8_t *bytes, size_t length) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ bytes[i]) * 1099511628211u;
    }
    return hash;
}

/* The client, or in whose place it may come: who has asked least recently of those that share a set with it. */
static struct waiting_client *find_waiting(struct waiting_client *clients, uint64_t hash) {
    struct waiting_client *set = &clients[hash % WAITING_SETS * WAITING_WAYS], *found = set;
    for (struct waiting_client *w = set; w < set + WAITING_WAYS; w++) {
        if (w->hash == hash) {
            return w;
        }
        found = w->last < found->last ? w : found;
    }
    return found;
}

/* How long (ms) this client has been asking without a pause of more than a minute. */
static int64_t waiting_since(struct failover *f, struct waiting_client *clients, uint64_t hash) {
    struct waiting_client *w = find_waiting(clients, hash);
    if (w->hash != hash || f->now.mono - w->last > 60000) {
        *w = (struct waiting_client){hash, f->now.mono, f->now.mono};
    }
    w->last = f->now.mono;
    return f->now.mono - w->first;
}

void lease_rules_partner_answered(struct failover *f, const struct failover_client *client, int64_t cltt) {
    bool has_id = client->id_length > 0;
    uint64_t hash =
        has_id ? hash_of(client->id, client->id_length) : hash_of(client->hardware + 1, client->hardware_length - 1u);
    struct waiting_client *w = find_waiting(f->balanced, hash);
    int64_t began = f->now.wall - (f->now.mono - w->first) / 1000;
    /* News of before, which have waited for the connection, are no answer. A second is for both clocks' rounding. */
    if (w->hash == hash && time_add(cltt, 1 - (int64_t)f->record.skew) >= began) {
        *w = (struct waiting_client){0};
    }
}

static bool partner_has_free(struct failover *f, const struct failover_discover *d) {
    for (size_t i = 0; i < f->table.pool_count; i++) {
        const struct pool *p = &f->table.pools[i];
        for (size_t s = 0; s < d->subnet_count; s++) {
            if (p->subnet_id == d->subnets[s] && p->free_count[FAILOVER_PARTNERS] > 0) {
                return true;
            }
        }
    }
    return false;
}

bool lease_rules_bucket_is_mine(const struct failover *f, uint8_t bucket) {
    bool primarys = failover_bucket_is_primarys(f->record.hba, bucket);
    return primarys == (f->config.role == FAILOVER_PRIMARY);
}

uint8_t lease_rules_bucket(const struct entry *e) {
    const struct client_bytes *c = e->client;
    if (c->id_length > 0) {
        return failover_hash(c->bytes + c->hardware_length, c->id_length);
    }
    return failover_hash(c->bytes + 1, c->hardware_length - 1u);
}

/* 5.3, 9.8.2: in NORMAL, and only while linked, each answers its own buckets; nobody waits for ever. */
static bool is_left_to_partner(struct failover *f, const struct failover_discover *d) {
    uint32_t limit = f->config.load_balance_max_seconds;
    if (f->state != FAILOVER_NORMAL || !linked(f) || limit == 0) {
        return false;
    }
    if (lease_rules_bucket_is_mine(f, failover_hash(d->balance_key, d->balance_key_length)) ||
        failover_secs(d->secs) > limit || !partner_has_free(f, d)) {
        return false;
    }
    /* Some clients leave secs at zero for ever: the time since their first DISCOVER here counts instead. */
    uint64_t hash = hash_of(d->balance_key, d->balance_key_length);
    return waiting_since(f, f->balanced, hash) <= (int64_t)limit * 1000;
}

enum failover_verdict failover_on_discover(struct failover *f, const struct failover_discover *d,
                                           struct failover_clock now, struct failover_why *why) {
    core_set_clock(f, now);
    if (rule_in_force(f)->new_client == NOBODY_NEW) {
        return silent_state(f, why);
    }
    const struct entry *e = table_find(&f->table, d->reserved);
    struct failover_ask ask = {.client = d->client, .address = d->reserved, .reserved = true};
    if (e != NULL && !may_have(f, e, &ask, why)) {
        /* Decision 4: never another address; and Kea 2.2 to 3.0 crash if a reserved one is refused later. */
        f->counters.queries_silent++;
        return FAILOVER_SILENCE;
    }
    if (is_left_to_partner(f, d)) {
        f->counters.queries_balanced++;
        say(why, "load balancing leaves the client to the partner");
        return FAILOVER_SILENCE;
    }
    return FAILOVER_GO_ON;
}

/* ---- The next own free address ----------------------------------------------------------------------------------- */

static bool owner_counts(const struct failover *f, int owner) {
    const struct lease_rule *rule = rule_in_force(f);
    if (rule->new_client == NOBODY_NEW) {
        return false;
    }
    return owner == FAILOVER_MINE || (rule->new_client == OWN_THEN_PARTNERS && partners_time_is_over(f));
}

static const int own_first[] = {FAILOVER_MINE, FAILOVER_PARTNERS, FAILOVER_NOBODY};

uint32_t failover_next_own(struct failover *f, uint32_t pool_first, struct failover_clock now) {
    core_set_clock(f, now);
    struct pool *p = table_find_pool(&f->table, pool_first);
    for (int i = 0; p != NULL && i < 3; i++) {
        struct entry *e = owner_counts(f, own_first[i]) ? table_rotate(&f->table, p, own_first[i]) : NULL;
        if (e != NULL) {
            return table_address(&f->table, e);
        }
    }
    return 0;
}

uint32_t failover_own_free(struct failover *f, uint32_t pool_first, struct failover_clock now) {
    core_set_clock(f, now);
    const struct pool *p = table_find_pool(&f->table, pool_first);
    uint32_t count = 0;
    for (int i = 0; p != NULL && i < 3; i++) {
        count += owner_counts(f, own_first[i]) ? p->free[own_first[i]].count : 0;
    }
    return count;
}

/* What an operator can do about it, by state. */
static void explain_exhaustion(struct failover *f, struct failover_why *why) {
    unsigned long long partners = f->table.by_status[FAILOVER_BACKUP];
    if (f->state == FAILOVER_COMMUNICATIONS_INTERRUPTED) {
        say(why,
            "the partner's %llu free addresses come within reach by force-state partner-down, if it is really down",
            partners);
    } else if (f->state == FAILOVER_PARTNER_DOWN && !partners_time_is_over(f)) {
        long long wait = (long long)(time_add(f->record.stos, core_wait_mclt(f)) - core_sure_now(f));
        say(why, "the partner's %llu free addresses come within reach in %lld s", partners, wait);
    } else {
        say(why, "%llu free addresses are the partner's", partners);
    }
}

void failover_exhausted(struct failover *f, const struct failover_client *client, struct failover_clock now) {
    core_set_clock(f, now);
    f->counters.exhausted++;
    uint64_t hash = client->id_length > 0 ? hash_of(client->id, client->id_length)
                                          : hash_of(client->hardware, client->hardware_length);
    if (waiting_since(f, f->exhausted, hash) > 0) {
        return; /* once for each client */
    }
    struct failover_why why;
    explain_exhaustion(f, &why);
    core_log(f, FAILOVER_WARN, "no own free address for a new client in %s: %s", state_of(f), why.text);
}

/* ---- What has happened ------------------------------------------------------------------------------------------- */

void lease_rules_begin_lease(struct entry *e) {
    e->starts = e->ends = e->given = e->cltt = 0;
    e->sent = e->acked = e->received = 0;
    e->xid = 0;
    e->extended_epoch = 0;
    e->ip_flags = 0;
    e->update_sent = false;
    e->granted_here = e->tied = e->selected = false;
    e->made_partner_down = false;
}

/* Rule 1: the partner is told now + desired + granted / 2. */
static int64_t potential_expiry(const struct failover_ask *ask, int64_t cltt, uint32_t granted) {
    if (ask->desired == FAILOVER_LIFETIME_INFINITE) {
        return FAILOVER_TIME_INFINITE;
    }
    return cltt + (int64_t)ask->desired + granted / 2;
}

bool failover_bound(struct failover *f, const struct failover_ask *ask, int64_t cltt, uint32_t granted,
                    struct failover_clock now) {
    core_set_clock(f, now);
    struct entry *e = table_find(&f->table, ask->address);
    struct failover_why why;
    if (e == NULL || is_repeated(f, e, ask)) {
        return true;
    }
    if (!may_have(f, e, ask, &why)) {
        core_log(f, FAILOVER_WARN, "%s was taken away while it was being given: %s", address_text(ask->address).text,
                 why.text);
        return false;
    }
    bool renewal = e->status != FAILOVER_FREE; /* or a lease that has just ended and goes on */
    core_change(f, e);
    /* The same client may come with another hardware address or identifier than before. */
    bool known = entry_set_client(e, ask->client);
    if (!renewal && !known) {
        core_changed(f, e, QUIET);
        return false;
    }
    if (!renewal) {
        if (e->update_xid != 0) {
            update_forget(f, e);
        }
        lease_rules_begin_lease(e);
        e->made_partner_down = f->state == FAILOVER_PARTNER_DOWN && !f->requests.closing;
        f->made_partner_down = f->made_partner_down || e->made_partner_down;
    }
    e->status = FAILOVER_ACTIVE;
    e->starts = cltt; /* of every grant, as dhcpd has it (3.3) */
    bool infinite = granted == FAILOVER_LIFETIME_INFINITE;
    e->given = infinite ? FAILOVER_TIME_INFINITE : cltt + (int64_t)granted;
    e->ends = time_max(e->ends, e->given); /* rule 2 */
    /* What may have reached the partner without its BNDACK reaching us counts until it is acknowledged (rule 5). */
    e->sent = time_max(e->update_due ? e->sent : 0, potential_expiry(ask, cltt, granted));
    e->cltt = cltt;
    e->xid = ask->xid;
    e->granted_here = true;
    e->tied = false;
    e->selected = ask->selects_us;
    if (f->state == FAILOVER_COMMUNICATIONS_INTERRUPTED && !linked(f)) {
        e->extended_epoch = f->record.epoch;
    }
    f->record.last_granted = time_max(f->record.last_granted, now.wall);
    core_changed(f, e, TELL_PARTNER);
    return true;
}

void failover_released(struct failover *f, uint32_t address, const struct failover_client *client,
                       struct failover_clock now) {
    core_set_clock(f, now);
    struct entry *e = table_find(&f->table, address);
    if (e == NULL || e->status != FAILOVER_ACTIVE || !entry_is_client(e, client)) {
        return;
    }
    update_count_promise(f, e); /* of before: the release ends it */
    core_change(f, e);
    e->status = FAILOVER_RELEASED;
    e->ends = e->given = e->cltt = now.wall;
    core_lease_remove(f, e, client, now.wall);
    core_changed(f, e, TELL_PARTNER);
}

void failover_declined(struct failover *f, uint32_t address, int64_t until, struct failover_clock now) {
    core_set_clock(f, now);
    struct entry *e = table_find(&f->table, address);
    if (e == NULL) {
        return;
    }
    update_count_promise(f, e);
    core_change(f, e);
    e->status = FAILOVER_ABANDONED;
    e->starts = e->cltt = now.wall;
    e->ends = e->given = until;
    entry_set_client(e, NULL);
    core_changed(f, e, TELL_PARTNER);
}

/* ---- What comes due ---------------------------------------------------------------------------------------------- */

static bool has_ended(const struct entry *e) {
    return e->status == FAILOVER_EXPIRED || e->status == FAILOVER_RELEASED || e->status == FAILOVER_RESET;
}

/* In NORMAL only the primary ends leases; who is silent or resolves a conflict ends none. */
static bool may_expire(const struct failover *f) {
    if (f->state == FAILOVER_NORMAL && linked(f)) {
        return f->peer.wire_primary;
    }
    return !is_silent(rule_in_force(f)) && f->state != FAILOVER_RECOVER_DONE;
}

/* A lease that this server alone knows, on an address that was its own (3.4). */
static bool is_rewindable(const struct failover *f, const struct entry *e) {
    return rule_in_force(f)->lease_end == REWIND && !e->update_sent && e->status != FAILOVER_RESET;
}

int64_t lease_rules_wait_over(const struct failover *f, const struct entry *e) {
    /* A partner that has heard of the lease takes no FREE before its end: its BNDACK of the release ends the wait. */
    bool alone = e->made_partner_down && e->status != FAILOVER_RELEASED;
    if (!e->update_sent || alone) {
        return e->ends;
    }
    int64_t latest = time_max(time_max(f->record.stos, e->ends), time_max(e->sent, time_max(e->acked, e->received)));
    return time_add(latest, core_wait_mclt(f));
}

int64_t lease_rules_due(const struct failover *f, const struct entry *e) {
    bool partner_down = f->state == FAILOVER_PARTNER_DOWN && !f->requests.closing;
    if (e->status == FAILOVER_ACTIVE) {
        return may_expire(f) ? e->ends : INT64_MAX;
    }
    if (e->status == FAILOVER_FREE) {
        return e->listed || e->reserved ? INT64_MAX : e->ends; /* whatever the clock has been doing since */
    }
    if (e->status == FAILOVER_ABANDONED && !partner_down) {
        /* A partner that hasn't heard of it may have extended the lease of before. */
        bool primary = f->state == FAILOVER_NORMAL && linked(f) && f->peer.wire_primary;
        return primary && !e->update_due ? e->ends : INT64_MAX;
    }
    if (partner_down) {
        return lease_rules_wait_over(f, e);
    }
    return is_rewindable(f, e) ? e->ends : INT64_MAX;
}

static void expire(struct failover *f, struct entry *e) {
    struct failover_client client;
    entry_get_client(e, &client);
    core_change(f, e);
    e->status = FAILOVER_EXPIRED;
    core_lease_remove(f, e, &client, e->cltt);
    core_changed(f, e, TELL_PARTNER);
}

static void make_free(struct failover *f, struct entry *e, enum failover_owner owner) {
    core_change(f, e);
    e->status = FAILOVER_FREE;
    e->owner = (uint8_t)owner;
    e->starts = f->now.wall;
    e->sent = e->ends;
    core_changed(f, e, TELL_PARTNER);
}

void lease_rules_tick(struct failover *f, struct entry *e) {
    update_count_promise(f, e);
    if (e->status == FAILOVER_FREE) {
        core_change(f, e); /* only to be listed now */
        core_changed(f, e, QUIET);
        return;
    }
    if (lease_rules_due(f, e) > core_sure_now(f)) {
        core_reschedule(f, e); /* the link has changed since it was scheduled */
        return;
    }
    if (e->status == FAILOVER_ACTIVE) {
        expire(f, e);
        return;
    }
    assert(has_ended(e) || e->status == FAILOVER_ABANDONED);
    bool rewound = has_ended(e) && f->state != FAILOVER_PARTNER_DOWN;
    make_free(f, e, rewound ? (enum failover_owner)e->owner : FAILOVER_MINE);
}

int64_t failover_binding_wait_over(struct failover *f, uint32_t address) {
    const struct entry *e = table_find(&f->table, address);
    if (e == NULL) {
        return 0;
    }
    int64_t due = lease_rules_due(f, e);
    if (f->state == FAILOVER_PARTNER_DOWN && e->status == FAILOVER_FREE && e->owner != FAILOVER_MINE) {
        due = time_add(f->record.stos, core_wait_mclt(f));
    }
    return due == INT64_MAX || due <= f->now.wall ? 0 : due;
}

void failover_explain_binding(struct failover *f, uint32_t address, struct failover_clock now,
                              struct failover_why *why) {
    core_set_clock(f, now);
    const struct entry *e = table_find(&f->table, address);
    struct failover_client client = {0};
    if (e == NULL) {
        say(why, "the address is in no pool of this relationship");
        return;
    }
    if (is_silent(rule_in_force(f))) {
        silent_state(f, why);
        f->counters.queries_silent--;
        return;
    }
    entry_get_client(e, &client);
    struct failover_ask ask = {.client = &client,
                               .address = address,
                               .desired = FAILOVER_LIFETIME_INFINITE,
                               .reserved = e->reserved};
    const char *who = e->status == FAILOVER_ACTIVE ? "its client"
                      : e->reserved                ? "the client it is reserved for"
                                                   : "a client";
    struct failover_why no;
    if (!may_have(f, e, &ask, &no)) {
        say(why, "%s would not get it: %s", who, no.text);
        return;
    }
    uint32_t longest = lifetime(f, e, &ask);
    if (longest == FAILOVER_LIFETIME_INFINITE) {
        say(why, "%s would get it: for the configured lifetime in %s", who, state_of(f));
        return;
    }
    say(why, "%s would get it: for at most %u s in %s", who, longest, state_of(f));
}
