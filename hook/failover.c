/* SPDX-License-Identifier: MPL-2.0 */
#include "failover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balance.h"
#include "core.h"
#include "lease_rules.h"
#include "load_balance.h"
#include "peer.h"
#include "state.h"
#include "update.h"

/* What concerns many bindings is done in portions, so that neither the lock nor the main loop is held for long. */
#define DUE_MAX        512
#define RESCHEDULE_MAX 2048

/* ---- Names ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *vendor; /* the other spelling that force-state takes; null: it can't be forced */
} states[FAILOVER_STATES] = {
    [FAILOVER_UNKNOWN] = {"unknown", NULL},
    [FAILOVER_STARTUP] = {"startup", "startup-state"},
    [FAILOVER_NORMAL] = {"normal", "normal-state"},
    [FAILOVER_COMMUNICATIONS_INTERRUPTED] = {"communications-interrupted", "comm-int-state"},
    [FAILOVER_PARTNER_DOWN] = {"partner-down", "partn-down-state"},
    [FAILOVER_POTENTIAL_CONFLICT] = {"potential-conflict", NULL},
    [FAILOVER_RECOVER] = {"recover", "recover-state"},
    [FAILOVER_PAUSED] = {"paused", NULL},
    [FAILOVER_SHUTDOWN] = {"shutdown", "shutdown-state"},
    [FAILOVER_RECOVER_DONE] = {"recover-done", NULL},
    [FAILOVER_RESOLUTION_INTERRUPTED] = {"resolution-interrupted", NULL},
    [FAILOVER_CONFLICT_DONE] = {"conflict-done", NULL},
    [FAILOVER_RECOVER_WAIT] = {"recover-wait", NULL},
};

const char *failover_state_name(enum failover_state state) {
    return states[state].name;
}

enum failover_state failover_forced_state(const char *text) {
    for (int i = 0; i < FAILOVER_STATES; i++) {
        bool named =
            states[i].vendor != NULL && (strcmp(text, states[i].name) == 0 || strcmp(text, states[i].vendor) == 0);
        if (named) {
            return (enum failover_state)i;
        }
    }
    return FAILOVER_UNKNOWN;
}

const char *failover_forced_states(void) {
    return "startup (startup-state), normal (normal-state), communications-interrupted (comm-int-state), "
           "partner-down (partn-down-state), recover (recover-state), shutdown (shutdown-state)";
}

const char *failover_binding_status_name(enum failover_binding_status status) {
    static const char *const names[FAILOVER_BINDING_STATUSES] = {
        "unknown", "FREE", "ACTIVE", "EXPIRED", "RELEASED", "ABANDONED", "RESET", "BACKUP",
    };
    return names[status];
}

const char *failover_role_name(enum failover_role role) {
    return role == FAILOVER_PRIMARY ? "primary" : "secondary";
}

const char *failover_owner_name(enum failover_owner owner) {
    static const char *const names[] = {"nobody's", "mine", "the partner's"};
    return names[owner];
}

struct address_text address_text(uint32_t a) {
    struct address_text t;
    snprintf(t.text, sizeof(t.text), "%u.%u.%u.%u", a >> 24 & 255, a >> 16 & 255, a >> 8 & 255, a & 255);
    return t;
}

struct client_text client_text(const struct failover_client *c) {
    bool has_hardware = c->hardware_length > 1; /* the first is its type */
    const uint8_t *bytes = has_hardware ? c->hardware + 1 : c->id;
    size_t length = has_hardware ? c->hardware_length - 1u : c->id_length;
    struct client_text t = {{0}};
    for (size_t i = 0; i < length && i < CLIENT_TEXT_BYTES; i++) {
        snprintf(t.text + strlen(t.text), sizeof(t.text) - strlen(t.text), i == 0 ? "%02x" : ":%02x", bytes[i]);
    }
    return t;
}

/* What the partner says may stand in a log line, but may not break it. */
void core_log(struct failover *f, enum failover_severity severity, const char *format, ...) {
    char text[768];
    va_list arguments;
    int prefix = snprintf(text, sizeof(text), "%s: ", f->config.name);
    va_start(arguments, format);
    vsnprintf(text + prefix, sizeof(text) - (size_t)prefix, format, arguments);
    va_end(arguments);
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 127) {
            *c = '?';
        }
    }
    f->host.log(f->host.context, severity, text);
}

/* ---- Time -------------------------------------------------------------------------------------------------------- */

int64_t time_add(int64_t a, int64_t b) {
    if (a == FAILOVER_TIME_INFINITE || b == FAILOVER_TIME_INFINITE) {
        return FAILOVER_TIME_INFINITE;
    }
    if (b > 0 && a > INT64_MAX - b) {
        return INT64_MAX;
    }
    return b < 0 && a < INT64_MIN - b ? INT64_MIN : a + b;
}

int64_t time_max(int64_t a, int64_t b) {
    return a > b ? a : b;
}

int64_t time_min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The latest time that any wait counts with, for how long a jump of the clock has to be remembered. */
static int64_t latest_wait(const struct failover *f) {
    int64_t latest = f->record.stos;
    for (uint32_t i = 0; i < f->table.record_count; i++) {
        const struct entry *e = table_record(&f->table, i);
        if (e != NULL) {
            latest = time_max(latest, time_max(e->ends, time_max(e->sent, time_max(e->acked, e->received))));
        }
    }
    return time_add(latest, core_wait_mclt(f));
}

/*
 * Rule 9: a wait is over when the wall clock says so and the monotonic clock agrees. A wall clock that jumps ahead is
 * trusted less by that much, until every wait that it may have cut short would have ended without the jump.
 */
void core_set_clock(struct failover *f, struct failover_clock now) {
    table_fold(&f->table, f->committed); /* whoever had an entry is done with it */
    int64_t expected = f->anchor.wall + (now.mono - f->anchor.mono) / 1000;
    int64_t jump = now.wall - expected;
    if (jump > 1 || jump < -1) {
        core_log(f, FAILOVER_WARN, "the clock has jumped by %lld s", (long long)jump);
        if (jump > 0) {
            int64_t wait = time_max(0, time_add(latest_wait(f), -expected));
            f->lag_until = wait > INT64_MAX / 2000 ? INT64_MAX : time_max(f->lag_until, now.mono + wait * 1000);
        }
        f->lag = time_max(0, f->lag + jump);
        f->anchor = now;
    }
    if (f->lag > 0 && now.mono >= f->lag_until) {
        f->lag = 0;
    }
    f->now = now;
}

int64_t core_skew(const struct failover *f) {
    return f->record.skew < 0 ? -(int64_t)f->record.skew : f->record.skew;
}

int64_t core_sure_now(const struct failover *f) {
    return f->now.wall - f->lag - core_skew(f);
}

int64_t core_mono_of(const struct failover *f, int64_t wall) {
    if (wall == FAILOVER_TIME_INFINITE) {
        return INT64_MAX;
    }
    int64_t left = time_add(wall, -core_sure_now(f));
    return left <= 0 ? f->now.mono : left > INT64_MAX / 2000 ? INT64_MAX : f->now.mono + left * 1000;
}

int64_t core_wait_mclt(const struct failover *f) {
    const struct failover_record *r = &f->record;
    bool old_counts =
        r->mclt_before > r->mclt && (r->mclt_taken == 0 || core_sure_now(f) < r->mclt_taken + (int64_t)r->mclt_before);
    return old_counts ? r->mclt_before : r->mclt;
}

int64_t core_grant_mclt(const struct failover *f) {
    const struct failover_record *r = &f->record;
    bool untaken = r->mclt_taken == 0 && r->mclt_before > 0 && r->mclt_before < r->mclt;
    return untaken ? r->mclt_before : r->mclt;
}

/* ---- Writing down ------------------------------------------------------------------------------------------------ */

uint64_t failover_take_sequence(struct failover *f) {
    return ++f->sequence;
}

uint64_t failover_sequence(const struct failover *f) {
    return f->sequence;
}

void core_store(struct failover *f) {
    f->host.store(f->host.context, failover_take_sequence(f), &f->record, NULL);
}

static void store_entry(struct failover *f, struct entry *e, uint64_t sequence) {
    struct failover_binding binding;
    entry_get(&f->table, e, &binding);
    f->table.recorded += !e->recorded;
    e->recorded = true;
    f->host.store(f->host.context, sequence, NULL, &binding);
}

void core_store_entry(struct failover *f, struct entry *e) {
    e->stored = failover_take_sequence(f);
    store_entry(f, e, e->stored);
}

bool core_is_on_disk(const struct failover *f, const struct entry *e) {
    return e->stored <= f->committed;
}

bool core_is_living(const struct failover *f, const struct entry *e) {
    return e->status == FAILOVER_ACTIVE && e->ends > f->now.wall;
}

void core_change(struct failover *f, struct entry *e) {
    table_unlink(&f->table, e);
}

static void tell_partner(struct failover *f, struct entry *e) {
    bool linked = f->peer.link != NULL;
    e->update_due = true;
    e->state_sent = linked;
    e->update_sent = e->update_sent || linked;
    if (e->update_xid != 0) {
        e->changed_in_flight = true; /* queued when its BNDACK has come */
    } else {
        table_put_update(&f->table, e, QUEUED);
    }
}

void core_changed(struct failover *f, struct entry *e, enum what_follows follows) {
    if (follows == TELL_PARTNER) {
        tell_partner(f, e);
    } else if (e->update_xid == 0 && !e->requested) {
        bool nowhere = e->place == NO_UPDATE;
        table_put_update(&f->table, e, !e->update_due ? NO_UPDATE : nowhere ? PARKED : (enum update_place)e->place);
    }
    table_link(&f->table, e, core_sure_now(f));
    core_reschedule(f, e);
    if (follows == AT_LEISURE) {
        store_entry(f, e, 0);
    } else {
        core_store_entry(f, e);
    }
    balance_note_change(f, table_pool_of(&f->table, e));
}

void core_reschedule(struct failover *f, struct entry *e) {
    table_schedule(&f->table, e, lease_rules_due(f, e));
}

static void reschedule_some(struct failover *f) {
    for (int n = 0; n < RESCHEDULE_MAX && f->reschedule_from < f->table.record_count; n++) {
        struct entry *e = table_record(&f->table, f->reschedule_from++);
        if (e != NULL) {
            core_reschedule(f, e);
        }
    }
}

void core_reschedule_all(struct failover *f) {
    f->reschedule_from = 0;
    reschedule_some(f);
}

static struct failover_lease_change *new_change(struct failover *f, const struct entry *e) {
    struct changes *c = &f->changes;
    if (c->count == c->size) {
        size_t size = c->size == 0 ? 64 : c->size * 2;
        struct queued_change *items = malloc(size * sizeof(*items));
        if (items == NULL) {
            core_log(f, FAILOVER_ERROR, "out of memory: the lease on %s is not brought into Kea's database",
                     address_text(table_address(&f->table, e)).text);
            return NULL;
        }
        for (size_t i = 0; i < c->count; i++) {
            items[i] = c->items[(c->head + i) % c->size];
        }
        free(c->items);
        *c = (struct changes){items, 0, c->count, size};
    }
    struct queued_change *queued = &c->items[(c->head + c->count++) % c->size];
    *queued = (struct queued_change){.after_disk = !core_is_on_disk(f, e)};
    queued->change.lease.address = table_address(&f->table, e);
    queued->change.lease.cltt = e->cltt;
    queued->change.lease.ends = e->given;
    return &queued->change;
}

void core_lease_put(struct failover *f, const struct entry *e) {
    struct failover_lease_change *change = new_change(f, e);
    if (change != NULL) {
        change->type = FAILOVER_LEASE_PUT;
        entry_get_client(e, &change->lease.client);
    }
}

void core_lease_remove(struct failover *f, const struct entry *e, const struct failover_client *client, int64_t cltt) {
    struct failover_lease_change *change = new_change(f, e);
    if (change != NULL) {
        /* A retransmission moves the row's cltt, but not the binding's. */
        int64_t retransmitted = time_min(f->now.wall, time_add(cltt, LEASE_RULES_RETRANSMISSION));
        change->type = FAILOVER_LEASE_REMOVE;
        change->lease.client = *client;
        change->lease.cltt = time_max(cltt, retransmitted);
    }
}

/* Kea's row may be the only one on disk of what was promised (rule 12): it stays until what follows is there too. */
static bool waits_for_disk(struct failover *f, const struct queued_change *queued) {
    return queued->after_disk && !failover_is_on_disk(f, queued->change.lease.address);
}

/* What has happened since counts: Kea has a lease of this server's already, and nothing older replaces or removes it. */
static bool bring_up_to_date(struct failover *f, struct failover_lease_change *change) {
    const struct entry *e = table_find(&f->table, change->lease.address);
    bool has_it = e->status == FAILOVER_ACTIVE && entry_is_client(e, &change->lease.client);
    if (change->type == FAILOVER_LEASE_REMOVE && !(has_it && e->granted_here)) {
        return true; /* and what the partner has given the client since is put next */
    }
    if (!has_it) {
        return false;
    }
    change->type = FAILOVER_LEASE_PUT;
    change->lease.cltt = e->cltt;
    change->lease.ends = e->given;
    return true;
}

bool failover_next_lease(struct failover *f, struct failover_lease_change *change) {
    struct changes *c = &f->changes;
    for (size_t left = c->count; left > 0; left--) {
        struct queued_change queued = c->items[c->head];
        c->head = (c->head + 1) % c->size;
        if (waits_for_disk(f, &queued)) {
            c->items[(c->head + c->count - 1) % c->size] = queued; /* behind the others */
            continue;
        }
        c->count--;
        *change = queued.change;
        if (bring_up_to_date(f, change)) {
            return true;
        }
    }
    return false;
}

/* ---- Life -------------------------------------------------------------------------------------------------------- */

void failover_config_defaults(struct failover_config *c) {
    c->local.port = c->partner.port = 647;
    c->mclt = 3600;
    c->load_balance_max_seconds = 3;
    c->max_response_delay = 60;
    c->max_unacked_updates = 100;
    c->startup_delay = 10;
    c->auto_partner_down = 0;
    c->interrupted_leases = FAILOVER_REPLACE;
    c->partner_down_full = false;
    c->max_lease_misbalance = 15;
    c->max_lease_ownership = 10;
    c->min_balance = 60;
    c->max_balance = 3600;
    failover_hba_from_split(128, c->hba);
}

struct failover *failover_create(const struct failover_config *config, const struct failover_host *host) {
    struct failover *f = calloc(1, sizeof(*f));
    if (f == NULL) {
        return NULL;
    }
    f->config = *config;
    f->host = *host;
    f->storing = true;
    f->state = FAILOVER_STARTUP;
    f->shutdown_close = f->next_balance = f->next_retry = INT64_MAX;
    f->record = (struct failover_record){
        .state = FAILOVER_RECOVER,
        .acting_primary = FAILOVER_PRIMARY,
        .epoch = 1,
        .default_owner = FAILOVER_NOBODY,
        .mclt = config->mclt,
    };
    return f;
}

void failover_destroy(struct failover *f) {
    if (f == NULL) {
        return;
    }
    table_free(&f->table);
    free(f->peer.out);
    free(f->changes.items);
    free(f);
}

bool failover_add_pool(struct failover *f, uint32_t subnet_id, uint32_t first, uint32_t last) {
    return table_add_pool(&f->table, subnet_id, first, last);
}

bool failover_build(struct failover *f, const struct failover_record *record) {
    if (record != NULL) {
        f->record = *record;
    }
    bool built = table_build(&f->table, f->record.default_owner);
    f->reschedule_from = f->forgot_from = UINT32_MAX;
    return built;
}

void failover_reserve(struct failover *f, uint32_t address) {
    table_fold(&f->table, f->committed);
    struct entry *e = table_find(&f->table, address);
    if (e != NULL && !e->reserved) {
        table_unlink(&f->table, e);
        e->reserved = true;
        table_link(&f->table, e, core_sure_now(f));
    }
}

bool failover_restore_binding(struct failover *f, const struct failover_binding *b) {
    table_fold(&f->table, f->committed);
    struct entry *e = table_find(&f->table, b->address);
    if (e == NULL) {
        return false;
    }
    table_unlink(&f->table, e);
    e->status = (uint8_t)b->status;
    /* What nobody owned when it was written has been taken together with all that has no record. */
    e->owner = (uint8_t)(b->owner == FAILOVER_NOBODY ? f->record.default_owner : b->owner);
    e->starts = b->starts;
    e->ends = b->ends;
    e->given = b->given;
    e->cltt = b->cltt;
    e->sent = b->sent;
    e->acked = b->acked;
    e->received = b->received;
    e->xid = b->xid;
    e->extended_epoch = b->extended_epoch;
    e->ip_flags = b->ip_flags;
    e->update_due = b->update_due;
    e->update_sent = b->update_sent;
    e->state_sent = b->state_sent;
    e->granted_here = b->granted_here;
    e->made_partner_down = b->made_partner_down;
    f->made_partner_down = f->made_partner_down || b->made_partner_down;
    f->table.recorded += !e->recorded;
    e->recorded = true;
    table_put_update(&f->table, e, e->update_due ? QUEUED : NO_UPDATE);
    bool kept = entry_set_client(e, &b->client);
    table_link(&f->table, e, 0); /* the time is not known yet: see list_anew() */
    if (e->granted_here) {
        f->record.last_granted = time_max(f->record.last_granted, e->cltt);
    }
    return kept;
}

/* The primary's configuration may say another MCLT than the partner has taken (rule 10). */
static void configure_mclt(struct failover *f) {
    bool says = f->config.role == FAILOVER_PRIMARY || f->record.mclt == 0;
    if (!says || f->record.mclt == f->config.mclt) {
        return;
    }
    if (f->record.mclt_taken != 0) {
        f->record.mclt_before = (uint32_t)core_wait_mclt(f); /* else the partner still has the one before */
    }
    f->record.mclt = f->config.mclt;
    f->record.mclt_taken = 0;
}

static void configure_hba(struct failover *f) {
    if (f->config.role == FAILOVER_PRIMARY || !f->record.hba_known) {
        memcpy(f->record.hba, f->config.hba, sizeof(f->record.hba));
    }
}

static int64_t may_have_served_until(const struct failover *f) {
    if (f->record.last_served == 0) {
        return f->now.wall;
    }
    return time_min(f->record.last_served + FAILOVER_SERVED_INTERVAL, f->now.wall);
}

/* Rule 13: the link went with the old library, nothing else has changed. */
static void go_on(struct failover *f) {
    f->state = f->record.state;
    f->entered = f->now.mono;
    f->next_served = f->now.mono;
    core_reschedule_all(f);
    core_log(f, FAILOVER_INFO, "goes on in %s", failover_state_name(f->state));
    state_event(f, EVENT_LINK_DOWN);
}

static void start(struct failover *f) {
    if (f->record.state == FAILOVER_SHUTDOWN) {
        /* 9.14: it comes back through RECOVER, since the partner has gone to PARTNER-DOWN. */
        f->record.state = FAILOVER_RECOVER;
        f->record.stos = f->now.wall;
    }
    core_log(f, FAILOVER_INFO, "starts; the state from before is %s", failover_state_name(f->record.state));
    state_startup(f);
}

/* What was restored before the time was known: free addresses are listed if they may be given by now. */
static void list_anew(struct failover *f) {
    for (uint32_t i = 0; i < f->table.record_count; i++) {
        struct entry *e = table_record(&f->table, i);
        if (e != NULL && !e->listed) {
            table_unlink(&f->table, e);
            table_link(&f->table, e, core_sure_now(f));
        }
    }
}

void failover_start(struct failover *f, const char *process, struct failover_clock now) {
    f->anchor = f->now = f->started = now;
    list_anew(f);
    f->restored = f->record.state;
    snprintf(f->process, sizeof(f->process), "%s", process);
    f->peer.redial = f->peer.lost = now.mono;
    f->next_reminder = now.mono + 60000;
    configure_mclt(f);
    configure_hba(f);
    f->recover_served = may_have_served_until(f);
    if (f->record.stos == 0) {
        f->record.stos = now.wall;
    }
    bool same_process = strncmp(f->record.process, f->process, sizeof(f->process)) == 0 && f->process[0] != '\0';
    if (same_process) {
        go_on(f);
    } else {
        start(f);
    }
}

void failover_stop(struct failover *f, struct failover_clock now) {
    core_set_clock(f, now);
    if (state_serves(f->state)) {
        f->record.last_served = now.wall;
        core_store(f);
    }
}

/* ---- Reconciliation with Kea's leases (rule 12) ------------------------------------------------------------------ */

/* Kea's lease is news: it was made when this library didn't see it, or its record didn't reach the disk. */
static void take_lease(struct failover *f, struct entry *e, const struct failover_lease *lease) {
    bool same = e->status == FAILOVER_ACTIVE && entry_is_client(e, &lease->client);
    bool agreed = e->status == FAILOVER_FREE;
    int64_t promised = e->status == FAILOVER_ACTIVE ? e->ends : 0; /* to another client too */
    /*
     * One that had ended may have gone on, and the partner may have extended it; or both have agreed on its end, and
     * this is another: what the partner knew then is no licence for it.
     */
    int64_t known = agreed ? 0 : time_max(e->sent, time_max(e->acked, e->received));
    core_change(f, e);
    if (!same) {
        lease_rules_begin_lease(e);
    }
    if (!same || f->record.default_owner == FAILOVER_NOBODY) {
        e->update_sent = true; /* it may be one of the partner's, who has extended it since */
    }
    if (!entry_set_client(e, &lease->client)) {
        core_log(f, FAILOVER_ERROR, "out of memory: a lease of Kea's is not taken over");
    }
    e->status = FAILOVER_ACTIVE;
    e->starts = same ? e->starts : lease->cltt;
    e->cltt = time_max(e->cltt, lease->cltt);
    e->given = lease->ends;
    e->ends = time_max(promised, lease->ends);
    e->sent = time_max(known, lease->ends);
    e->granted_here = true;
    e->tied = false;
    e->xid = 0; /* whose grant it was isn't certain: Kea has rows for the partner's too */
    if (f->restored == FAILOVER_COMMUNICATIONS_INTERRUPTED) {
        e->extended_epoch = f->record.epoch; /* the mark may be what was lost */
    }
    f->record.last_granted = time_max(f->record.last_granted, lease->cltt);
    core_changed(f, e, TELL_PARTNER);
    e->adopted = true;
}

static void adopt_declined(struct failover *f, struct entry *e, const struct failover_lease *lease) {
    if (e->status == FAILOVER_ABANDONED || lease->ends <= f->now.wall) {
        return;
    }
    bool partners = core_is_living(f, e) && !e->granted_here;
    if (partners && e->cltt > time_add(lease->cltt, core_skew(f))) {
        return; /* the row was left over: the partner has given the address since */
    }
    /* In doubt nobody else gets it before both are over. */
    failover_declined(f, lease->address, partners ? time_max(e->ends, lease->ends) : lease->ends, f->now);
}

static bool is_news(const struct failover *f, const struct entry *e, const struct failover_lease *lease) {
    if (lease->ends <= f->now.wall) {
        return false;
    }
    if (e->status == FAILOVER_ACTIVE && entry_is_client(e, &lease->client)) {
        /* Another row than that of the partner's grant that is known here: by its clock it may seem older. */
        bool other_grant = !e->granted_here && (lease->cltt != e->cltt || lease->ends != e->given);
        int64_t cltt = time_add(lease->cltt, other_grant ? core_skew(f) : 0);
        return lease->ends > e->ends || cltt > e->cltt;
    }
    /*
     * What ended the lease, freed the address or gave it on is later than the lease: the row was left over. That may
     * have been at the partner, by its clock; in doubt the lease counts.
     */
    return time_add(lease->cltt, core_skew(f)) >= time_max(e->starts, e->cltt);
}

void failover_adopt(struct failover *f, const struct failover_lease *lease, struct failover_clock now) {
    core_set_clock(f, now);
    struct entry *e = table_find(&f->table, lease->address);
    if (e == NULL) {
        return;
    }
    if (lease->declined) {
        adopt_declined(f, e, lease);
        return;
    }
    bool same = e->status == FAILOVER_ACTIVE && entry_is_client(e, &lease->client);
    if (is_news(f, e, lease)) {
        if (core_is_living(f, e) && !same) {
            f->counters.clashes++;
            struct failover_client known;
            entry_get_client(e, &known);
            core_log(f, FAILOVER_WARN, "clash: %s is bound to %s in Kea's database and to %s in the failover database",
                     address_text(lease->address).text, client_text(&lease->client).text, client_text(&known).text);
        }
        take_lease(f, e, lease);
    } else if (same) {
        e->cltt = time_max(e->cltt, lease->cltt); /* what ends the binding removes the row too */
        e->adopted = lease->ends > now.wall || e->ends <= now.wall;
    } else {
        core_lease_remove(f, e, &lease->client, lease->cltt);
    }
}

void failover_adopted_all(struct failover *f, struct failover_clock now) {
    core_set_clock(f, now);
    for (uint32_t i = 0; i < f->table.record_count; i++) {
        struct entry *e = table_record(&f->table, i);
        if (e == NULL) {
            continue;
        }
        if (e->status == FAILOVER_ACTIVE && !e->adopted && e->given > now.wall) {
            core_lease_put(f, e);
        }
        e->adopted = false;
    }
}

/* ---- Time and storage -------------------------------------------------------------------------------------------- */

static void tick_bindings(struct failover *f) {
    int64_t sure = core_sure_now(f);
    struct entry *e;
    for (int i = 0; i < DUE_MAX && (e = table_first_due(&f->table)) != NULL && e->when <= sure; i++) {
        lease_rules_tick(f, e);
    }
}

void failover_tick(struct failover *f, struct failover_clock now) {
    core_set_clock(f, now);
    peer_tick(f);
    state_tick(f);
    reschedule_some(f);
    tick_bindings(f);
    balance_tick(f);
    update_tick(f);
}

int64_t failover_deadline(const struct failover *f) {
    int64_t deadline = time_min(peer_deadline(f), state_deadline(f));
    deadline = time_min(deadline, time_min(balance_deadline(f), update_deadline(f)));
    if (f->reschedule_from < f->table.record_count) {
        deadline = time_min(deadline, f->now.mono + PORTION_PAUSE_MS);
    }
    const struct entry *e = table_first_due(&f->table);
    return e == NULL ? deadline : time_min(deadline, core_mono_of(f, e->when));
}

void failover_committed(struct failover *f, uint64_t sequence, struct failover_clock now) {
    core_set_clock(f, now);
    f->committed = sequence > f->committed ? sequence : f->committed;
}

bool failover_is_on_disk(struct failover *f, uint32_t address) {
    const struct entry *e = table_find(&f->table, address);
    return e == NULL || core_is_on_disk(f, e);
}

void failover_storing(struct failover *f, bool works, const char *why) {
    if (works == f->storing) {
        return;
    }
    f->storing = works;
    if (works) {
        core_log(f, FAILOVER_INFO, "the failover database is written again");
    } else {
        core_log(f, FAILOVER_ERROR,
                 "the failover database can't be written: %s; the server serves on in %s and tells the partner nothing "
                 "until it can",
                 why, failover_state_name(f->state));
    }
}

/* ---- Operators --------------------------------------------------------------------------------------------------- */

const struct failover_record *failover_get_record(const struct failover *f) {
    return &f->record;
}

enum failover_state failover_current_state(const struct failover *f) {
    return f->state;
}

struct failover_counters *failover_get_counters(struct failover *f) {
    return &f->counters;
}

uint32_t failover_subnet_of(struct failover *f, uint32_t address) {
    const struct pool *p = table_find_pool(&f->table, address);
    return p == NULL ? 0 : p->subnet_id;
}

bool failover_get_binding(struct failover *f, uint32_t address, struct failover_binding *binding) {
    const struct entry *e = table_find(&f->table, address);
    if (e == NULL) {
        return false;
    }
    entry_get(&f->table, e, binding);
    return true;
}

bool failover_sync(struct failover *f, struct failover_clock now, struct failover_why *why) {
    core_set_clock(f, now);
    if (f->peer.link == NULL || !f->peer.state_known) {
        snprintf(why->text, sizeof(why->text), "there is no connection with the partner");
        return false;
    }
    if (f->requests.asked || f->requests.ask_pending) {
        snprintf(why->text, sizeof(why->text), "the partner has been asked already and has not sent everything yet");
        return false;
    }
    update_ask(f, FAILOVER_UPDREQALL);
    return true;
}

static void add_pending(struct failover_status *s, const char *what, int64_t seconds) {
    s->pending[s->pending_count++] = (struct failover_pending_step){what, time_max(seconds, 0)};
}

static void fill_pending(const struct failover *f, struct failover_status *s) {
    int64_t sure = core_sure_now(f);
    if (f->state == FAILOVER_STARTUP) {
        add_pending(s, "end of startup", (f->startup_over - f->now.mono) / 1000);
    }
    if (state_auto_partner_down(f) != INT64_MAX) {
        add_pending(s, "auto-partner-down", (state_auto_partner_down(f) - f->now.mono) / 1000);
    }
    if (f->state == FAILOVER_RECOVER_WAIT) {
        add_pending(s, "end of recover-wait", state_wait_over(f) - sure);
    }
    int64_t whole_pool = time_add(f->record.stos, core_wait_mclt(f));
    if (f->state == FAILOVER_PARTNER_DOWN && whole_pool > sure) {
        add_pending(s, "partner's free addresses (STOS + MCLT)", whole_pool - sure);
    }
}

static const char *link_words(const struct failover *f) {
    if (f->record.link_held_down) {
        return "the link is held down by force-state";
    }
    if (f->peer.link == NULL) {
        return f->peer.refused[0] != '\0' ? f->peer.refused : "there is no connection with the partner";
    }
    return f->peer.state_known ? "the partner is connected" : "the partner is connected, its state isn't known yet";
}

/* One sentence: what this state means, and what it waits for. */
static void fill_why(const struct failover *f, char *why, size_t size) {
    static const char *const meanings[FAILOVER_STATES] = {
        [FAILOVER_STARTUP] = "silent until the partner's state is known or startup-delay is over",
        [FAILOVER_NORMAL] = "both servers serve, each from its own addresses",
        [FAILOVER_COMMUNICATIONS_INTERRUPTED] = "serves all clients from its own addresses, for it can't know what the "
                                                "partner does",
        [FAILOVER_PARTNER_DOWN] = "the partner is taken for down, this server is primary and serves alone",
        [FAILOVER_POTENTIAL_CONFLICT] = "silent while bindings are reconciled, since both may have served alone",
        [FAILOVER_RECOVER] = "silent until the partner has sent everything it knows",
        [FAILOVER_SHUTDOWN] = "silent by force-state, until a restart of the server or another force",
        [FAILOVER_RECOVER_DONE] = "only extends leases until the partner goes to normal",
        [FAILOVER_RESOLUTION_INTERRUPTED] = "only extends leases, since the partner was lost while bindings were "
                                            "reconciled",
        [FAILOVER_CONFLICT_DONE] = "silent until the partner has been told its part",
        [FAILOVER_RECOVER_WAIT] = "silent until every lease that it may have given before has ended",
        [FAILOVER_PAUSED] = "silent",
        [FAILOVER_UNKNOWN] = "",
    };
    snprintf(why, size, "%s; %s", meanings[f->state], link_words(f));
}

void failover_get_status(struct failover *f, struct failover_clock now, struct failover_status *s) {
    core_set_clock(f, now);
    *s = (struct failover_status){
        .state = f->state,
        .since = f->record.stos,
        .configured_role = f->config.role,
        .role = state_acting_role(f),
        .partner_state = f->record.partner_state,
        .partner_since = f->record.partner_stos,
        .linked = f->peer.link != NULL && f->peer.state_known,
        .link_held_down = f->record.link_held_down,
        .partner_is_ours = f->peer.link != NULL && f->peer.partner_is_ours,
        .skew = f->record.skew,
        .mclt = f->record.mclt,
        .reserved = f->table.reserved,
        .updates_queued = f->table.updates[QUEUED].count,
        .updates_unacked = f->unacked,
        .storing = f->storing,
        .counters = f->counters,
    };
    update_progress(f, &s->transfer);
    memcpy(s->by_status, f->table.by_status, sizeof(s->by_status));
    fill_pending(f, s);
    fill_why(f, s->why, sizeof(s->why));
}
