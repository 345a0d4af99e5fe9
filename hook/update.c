/* SPDX-License-Identifier: MPL-2.0 */
#include "update.h"

#include <string.h>

#include "balance.h"
#include "lease_rules.h"
#include "peer.h"
#include "state.h"

/* ms after which an update is sent again that one of ours has rejected: its own update for the address comes first. */
#define RETRY_MS 30000
/*
 * What the partner asked for is looked for in portions, and no further ahead than it takes it; and so are the marks that
 * must be on disk before an update leaves.
 */
#define SCAN_MAX  16384
#define AHEAD_MAX 1024
#define MARK_MAX  512
#define COUNT_MAX 2048
/* ms between two log lines about a transfer */
#define REPORT_MS 10000

/* ---- Sending ----------------------------------------------------------------------------------------------------- */

static void build(struct failover *f, const struct entry *e, struct failover_message *m,
                  struct failover_client *client) {
    *m = (struct failover_message){.type = FAILOVER_BNDUPD};
    m->assigned_ip_address = table_address(&f->table, e);
    m->binding_status = e->status == FAILOVER_FREE ? (uint8_t)balance_to_wire(f, e) : e->status;
    m->lease_expiration_time = e->ends;
    m->potential_expiration_time = e->sent;
    if (e->status == FAILOVER_RELEASED) {
        /* A release ends what was promised; here `sent` stays, until the partner has acknowledged that. */
        m->potential_expiration_time = e->ends;
    } else if (e->status == FAILOVER_ACTIVE) {
        /* Who asks for what it has told us itself gets that back, lest both forget it and leases shrink to the MCLT. */
        m->potential_expiration_time = time_max(e->sent, e->received);
    }
    m->start_time_of_state = e->starts;
    failover_put(m, FAILOVER_OPT_ASSIGNED_IP_ADDRESS);
    failover_put(m, FAILOVER_OPT_BINDING_STATUS);
    failover_put(m, FAILOVER_OPT_LEASE_EXPIRATION_TIME);
    failover_put(m, FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME);
    failover_put(m, FAILOVER_OPT_START_TIME_OF_STATE);
    if (e->cltt != 0) {
        m->client_last_transaction_time = e->cltt;
        failover_put(m, FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME);
    }
    if (e->ip_flags != 0) {
        m->ip_flags = e->ip_flags;
        failover_put(m, FAILOVER_OPT_IP_FLAGS);
    }
    entry_get_client(e, client); /* 7.1: an abandoned address is nobody's */
    if (client->id_length > 0) {
        m->client_identifier = (struct failover_bytes){client->id, client->id_length};
        failover_put(m, FAILOVER_OPT_CLIENT_IDENTIFIER);
    }
    if (client->hardware_length > 0) {
        m->client_hardware_address = (struct failover_bytes){client->hardware, client->hardware_length};
        failover_put(m, FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS);
    }
}

/* From now on these may be sent, and a crash must not forget that. */
static void mark_sent(struct failover *f) {
    struct entry *e = table_first_update(&f->table, QUEUED);
    for (int n = 0; n < MARK_MAX && e != NULL; n++, e = table_next_update(&f->table, e)) {
        if (!e->update_sent || !e->state_sent) {
            update_count_promise(f, e);
            e->update_sent = true;
            e->state_sent = true;
            core_store_entry(f, e);
        }
    }
}

bool update_next(struct failover *f, struct failover_message *m, struct failover_client *client) {
    struct entry *e = table_first_update(&f->table, QUEUED);
    if (!f->peer.state_known || e == NULL || f->unacked >= f->peer.partner_max_unacked) {
        return false;
    }
    update_count_promise(f, e);
    if (!e->update_sent || !e->state_sent) {
        mark_sent(f);
    }
    if (!core_is_on_disk(f, e)) {
        return false;
    }
    build(f, e, m, client);
    return true;
}

void update_left(struct failover *f, const struct failover_message *m) {
    struct entry *e = table_find(&f->table, m->assigned_ip_address);
    table_put_update(&f->table, e, IN_FLIGHT);
    e->update_xid = m->xid;
    e->in_flight = m->potential_expiration_time;
    e->changed_in_flight = false;
    f->unacked++;
    f->counters.updates_sent++;
}

/* The partner waits for UPDDONE behind the last of the bindings that it asked for. */
static void end_answer(struct failover *f) {
    struct requests *r = &f->requests;
    if (r->outstanding > 0 || r->scanning || !r->answering) {
        return;
    }
    r->answering = false;
    struct failover_message m = {.type = FAILOVER_UPDDONE, .xid = r->answer_xid};
    peer_reply(f, &m, f->sequence);
}

static void settled(struct failover *f, struct entry *e) {
    if (!e->requested) {
        return;
    }
    e->requested = false;
    f->requests.outstanding--;
    f->requests.answered++;
    end_answer(f);
}

static void no_longer_in_flight(struct failover *f, struct entry *e) {
    e->update_xid = 0;
    f->unacked--;
    table_put_update(&f->table, e, NO_UPDATE);
}

void update_forget(struct failover *f, struct entry *e) {
    no_longer_in_flight(f, e);
    settled(f, e);
}

/* Seconds by which two clocks that the skew has brought together may still differ: it was measured over the link. */
#define UNCERTAIN 5

/* ---- A partner that has forgotten ---------------------------------------------------------------------------------- */

/* The last moment at which the partner can have served before it came to RECOVER, brought to our clock. */
static int64_t partner_served(const struct failover *f) {
    return time_min(f->now.wall, time_add(f->record.partner_stos, UNCERTAIN - (int64_t)f->record.skew));
}

void update_count_promise(struct failover *f, struct entry *e) {
    if (e->generation == f->table.generation) {
        return;
    }
    e->generation = f->table.generation;
    int64_t known = time_max(e->received, time_max(e->sent, e->acked));
    if (e->status != FAILOVER_ABANDONED) {
        known = time_max(known, partner_served(f)); /* that its client has given up nobody has extended */
    }
    int64_t promised = time_add(known, core_wait_mclt(f));
    bool may_last = e->status != FAILOVER_FREE && e->update_sent;
    if (may_last && promised > time_max(e->ends, f->now.wall)) {
        core_change(f, e);
        e->ends = promised;
        core_changed(f, e, TELL_PARTNER);
    }
}

static bool may_count_promises(const struct failover *f) {
    return f->forgot_from < f->table.record_count && f->sequence - f->committed < COUNT_MAX;
}

static void count_some_promises(struct failover *f) {
    for (int n = 0; n < COUNT_MAX && may_count_promises(f); n++) {
        struct entry *e = table_record(&f->table, f->forgot_from++);
        if (e != NULL) {
            update_count_promise(f, e);
        }
    }
}

/* ---- Requests for updates (7.3 to 7.5) --------------------------------------------------------------------------- */

void update_ask(struct failover *f, enum failover_message_type type) {
    if (f->requests.asked || f->requests.ask_pending) {
        return;
    }
    f->requests.ask_pending = true;
    f->requests.asked_all = type == FAILOVER_UPDREQALL;
    struct failover_message m = {.type = (uint8_t)type};
    peer_send(f, &m, 0);
}

void update_ask_left(struct failover *f, uint32_t xid) {
    f->requests.ask_pending = false;
    f->requests.asked = true;
    f->requests.asked_xid = xid;
    f->requests.received = 0;
    f->requests.began = f->now.mono;
    f->requests.next_report = f->now.mono + REPORT_MS;
}

void update_done_received(struct failover *f, const struct failover_message *m) {
    if (!f->requests.asked || m->xid != f->requests.asked_xid) {
        core_log(f, FAILOVER_INFO, "UPDDONE that answers no request of this connection is ignored");
        return;
    }
    f->requests.asked = false;
    core_log(f, FAILOVER_INFO, "the partner has sent everything it was asked for");
    if (f->requests.asked_all) {
        balance_take_ownership(f);
    }
    state_event(f, EVENT_UPDDONE);
}

/* 5.16: "everything" is what was ever used; addresses without a record are the configured primary's on both sides. */
static bool is_wanted(struct failover *f, uint32_t index) {
    if (f->requests.scanned_for == FAILOVER_UPDREQALL) {
        return table_is_recorded(&f->table, index);
    }
    return table_has_entry(&f->table, index) && table_at(&f->table, index)->update_due;
}

static void scan(struct failover *f) {
    struct requests *r = &f->requests;
    struct table *t = &f->table;
    for (int n = 0; n < SCAN_MAX && r->scan < t->entry_count && t->updates[QUEUED].count < AHEAD_MAX; n++) {
        uint32_t index = r->scan++;
        if (!is_wanted(f, index)) {
            continue;
        }
        struct entry *e = table_at(t, index);
        if (!e->requested) {
            e->requested = true;
            r->outstanding++;
        }
        if (e->update_xid == 0) {
            table_put_update(t, e, QUEUED);
        }
    }
    if (r->scan == t->entry_count) {
        r->scanning = false;
        end_answer(f);
    }
}

void update_request_received(struct failover *f, const struct failover_message *m) {
    struct requests *r = &f->requests;
    const struct list *u = f->table.updates;
    bool all = m->type == FAILOVER_UPDREQALL;
    /* 2.9: a second request before UPDDONE replaces the first, which is never answered. */
    r->partner_asked = r->answering = r->scanning = true;
    r->answer_xid = m->xid;
    r->scanned_for = m->type;
    r->scan = r->answered = 0;
    r->expected = all ? f->table.recorded : u[QUEUED].count + u[IN_FLIGHT].count + u[PARKED].count;
    r->began = f->now.mono;
    r->next_report = f->now.mono + REPORT_MS;
    core_log(f, FAILOVER_INFO, "the partner asks for %s: %u bindings", all ? "everything" : "updates", r->expected);
    scan(f);
}

uint32_t update_close(struct failover *f) {
    struct requests *r = &f->requests;
    if (r->closing) {
        return r->outstanding;
    }
    r->closing = true;
    update_requeue(f);
    for (int place = QUEUED; place <= IN_FLIGHT; place++) {
        struct entry *e = table_first_update(&f->table, (enum update_place)place);
        for (; e != NULL; e = table_next_update(&f->table, e)) {
            if (e->update_due && !e->requested) {
                e->requested = true;
                r->outstanding++;
            }
        }
    }
    core_reschedule_all(f);
    return r->outstanding;
}

/* ---- How far a transfer is --------------------------------------------------------------------------------------- */

void update_progress(const struct failover *f, struct failover_transfer *t) {
    const struct requests *r = &f->requests;
    *t = (struct failover_transfer){.sending = r->answering, .receiving = r->asked};
    t->bindings = r->answering ? r->answered : r->received;
    t->seconds = (f->now.mono - r->began) / 1000;
    if (!r->answering) {
        return; /* the partner doesn't say how many there are */
    }
    t->expected = r->expected > r->answered ? r->expected : r->answered;
    t->percent = t->expected == 0 ? 100 : (unsigned)(t->bindings * 100 / t->expected);
    int64_t took = f->now.mono - r->began;
    t->left = r->answered == 0 ? -1 : took * (int64_t)(t->expected - r->answered) / r->answered / 1000;
}

static void report(struct failover *f) {
    struct requests *r = &f->requests;
    if ((!r->answering && !r->asked) || f->now.mono < r->next_report) {
        return;
    }
    r->next_report = f->now.mono + REPORT_MS;
    struct failover_transfer t;
    update_progress(f, &t);
    if (t.sending) {
        core_log(f, FAILOVER_INFO, "%llu of %llu bindings that the partner asked for are sent (%u %%), %lld s to go",
                 (unsigned long long)t.bindings, (unsigned long long)t.expected, t.percent, (long long)t.left);
    } else {
        core_log(f, FAILOVER_INFO, "%llu bindings have come from the partner, in %lld s",
                 (unsigned long long)t.bindings, (long long)t.seconds);
    }
}

/* ---- Link up and down -------------------------------------------------------------------------------------------- */

void update_requeue(struct failover *f) {
    struct entry *next;
    for (struct entry *e = table_first_update(&f->table, PARKED); e != NULL; e = next) {
        next = table_next_update(&f->table, e);
        if (!e->unwanted) {
            table_put_update(&f->table, e, QUEUED);
        }
    }
}

void update_tick(struct failover *f) {
    if (f->now.mono >= f->next_retry) {
        f->next_retry = INT64_MAX;
        update_requeue(f);
    }
    if (f->requests.scanning) {
        scan(f);
    }
    count_some_promises(f);
    report(f);
}

int64_t update_deadline(const struct failover *f) {
    const struct requests *r = &f->requests;
    int64_t deadline = f->next_retry;
    if (r->scanning && f->table.updates[QUEUED].count < AHEAD_MAX) {
        deadline = time_min(deadline, f->now.mono + PORTION_PAUSE_MS);
    }
    if (may_count_promises(f)) {
        deadline = time_min(deadline, f->now.mono + PORTION_PAUSE_MS);
    }
    return r->answering || r->asked ? time_min(deadline, r->next_report) : deadline;
}

void update_link_up(struct failover *f) {
    f->requests = (struct requests){0};
    update_requeue(f);
    mark_sent(f);
}

/*
 * The MCLT beyond what was told to either side, and beyond when it last served, it may have promised, to a client that
 * had ended its lease here too: its agreement to an end before that is worth nothing any more.
 *
 * That is counted when a binding is next looked at, and of all others in portions.
 */
void update_partner_forgot(struct failover *f) {
    f->table.generation++;
    f->forgot_from = 0;
    count_some_promises(f);
}

/* What was asked for on the link that is gone, and of what was sent on it everything. */
void update_link_down(struct failover *f) {
    bool requested = f->requests.outstanding > 0;
    struct entry *e, *next;
    f->requests = (struct requests){0};
    f->next_retry = INT64_MAX;
    f->unacked = 0;
    for (int place = IN_FLIGHT; place <= PARKED; place++) {
        for (e = table_first_update(&f->table, (enum update_place)place); e != NULL; e = next) {
            next = table_next_update(&f->table, e);
            e->unwanted = false;
            e->update_xid = 0;
            table_put_update(&f->table, e, QUEUED);
        }
    }
    for (e = requested ? table_first_update(&f->table, QUEUED) : NULL; e != NULL; e = next) {
        next = table_next_update(&f->table, e);
        e->requested = false;
        if (!e->update_due) {
            table_put_update(&f->table, e, NO_UPDATE);
        }
    }
    core_reschedule_all(f);
}

/* ---- BNDACK (7.2) ------------------------------------------------------------------------------------------------ */

static bool is_ended(const struct entry *e) {
    return e->status == FAILOVER_EXPIRED || e->status == FAILOVER_RELEASED || e->status == FAILOVER_RESET;
}

static void rejected(struct failover *f, struct entry *e, const struct failover_message *m) {
    struct failover_bytes said = m->message;
    f->counters.updates_rejected++;
    core_log(f, FAILOVER_INFO, "the partner rejects the update of %s (%s): %s \"%.*s\"",
             address_text(m->assigned_ip_address).text, failover_binding_status_name(e->status),
             failover_reject_text(m->reject_reason), (int)said.length, said.length > 0 ? (const char *)said.data : "");
    if (e->update_due) {
        table_put_update(&f->table, e, e->changed_in_flight ? QUEUED : PARKED);
    }
    e->unwanted = m->reject_reason == FAILOVER_REJECT_ILLEGAL_IP_ADDRESS;
    if (f->peer.partner_is_ours) {
        f->next_retry = time_min(f->next_retry, f->now.mono + RETRY_MS);
    }
}

/*
 * What the lease was promised is over. A dhcpd that were told a later potential expiry with a free address, in an
 * answer to its UPDREQALL, would give the address for that much longer than the MCLT (3.2).
 */
static void forget_promise(const struct failover *f, struct entry *e) {
    e->sent = time_min(e->ends, f->now.wall);
}

static void accepted(struct failover *f, struct entry *e) {
    f->counters.updates_acked++;
    bool told_again = !e->update_due && !e->changed_in_flight && e->acked == e->in_flight && !is_ended(e);
    if (told_again) {
        return; /* in an answer to UPDREQALL: there is nothing to write down */
    }
    core_change(f, e);
    e->acked = e->in_flight;
    if (e->changed_in_flight) {
        core_changed(f, e, TELL_PARTNER);
        return;
    }
    bool freed = is_ended(e);
    e->update_due = false;
    if (freed) {
        /* 5.2.2: only now does the address become available again, and it is the primary's. */
        e->status = FAILOVER_FREE;
        e->owner = (uint8_t)balance_from_wire(f, FAILOVER_FREE);
        forget_promise(f, e);
    }
    core_changed(f, e, freed ? QUIET : AT_LEISURE);
    if (freed) {
        balance_affinity(f, e);
    }
}

void update_acked(struct failover *f, const struct failover_message *m) {
    struct entry *e = table_find(&f->table, m->assigned_ip_address);
    if (e == NULL || e->update_xid == 0 || e->update_xid != m->xid) {
        core_log(f, FAILOVER_DEBUG, "BNDACK that answers no update of this connection is ignored");
        return;
    }
    no_longer_in_flight(f, e);
    bool is_last = !e->changed_in_flight;
    if (failover_has(m, FAILOVER_OPT_REJECT_REASON)) {
        rejected(f, e, m);
    } else {
        accepted(f, e);
    }
    if (is_last) {
        settled(f, e);
    }
}

/* ---- BNDUPD: is it accepted? (7.1.3) ----------------------------------------------------------------------------- */

enum check {
    ACCEPT,
    LATER_CLTT,  /* the draft's time 1: the client's last transaction is not before what is held here */
    AFTER_STATE, /* time 3: it is after the start of the state held here */
    NOT_RENEWED, /* an address can't have been abandoned before its client's last transaction here */
    SAME_CLIENT, /* (5): another client is a clash, which the secondary accepts */
    PROBATION,   /* (4), once the probation of an abandoned address is over: accepted */
};

/* By what is held (row) and what comes (column). The draft's time 2 is the design's rule 11, which is asked first. */
static const uint8_t checks[FAILOVER_BINDING_STATUSES][FAILOVER_BINDING_STATUSES] = {
    /* FREE accepts everything */
    [FAILOVER_ACTIVE] =
        {[FAILOVER_ACTIVE] = SAME_CLIENT, [FAILOVER_RELEASED] = LATER_CLTT, [FAILOVER_ABANDONED] = NOT_RENEWED},
    [FAILOVER_EXPIRED] = {[FAILOVER_ACTIVE] = LATER_CLTT},
    [FAILOVER_RELEASED] = {[FAILOVER_ACTIVE] = LATER_CLTT, [FAILOVER_EXPIRED] = LATER_CLTT},
    [FAILOVER_RESET] = {[FAILOVER_ACTIVE] = AFTER_STATE},
    [FAILOVER_ABANDONED] = {[FAILOVER_ACTIVE] = AFTER_STATE, /* softer than (4): it is leased there again */
                            [FAILOVER_EXPIRED] = PROBATION,
                            [FAILOVER_RELEASED] = PROBATION,
                            [FAILOVER_FREE] = PROBATION,
                            [FAILOVER_BACKUP] = PROBATION},
};

struct refusal {
    enum failover_reject_reason reason; /* 0: accepted */
    const char *text;
};

static const struct refusal no_refusal = {0};

/* The partner knows the lease to its promised end, and its clock may say that this is reached. */
static bool ends_by_its_clock(const struct failover *f, const struct entry *e, const struct failover_message *m) {
    return m->lease_expiration_time >= e->ends && time_add(e->ends, -core_skew(f) - 1) <= f->now.wall;
}

static bool ends_lease(uint8_t status) {
    return status == FAILOVER_EXPIRED || status == FAILOVER_FREE || status == FAILOVER_BACKUP;
}

/*
 * The client's last transaction as the partner has it; 0: it doesn't say. dhcpd counts the requests that it has granted
 * itself, and no RELEASE: but that is when a released lease ends.
 */
static int64_t last_transaction(const struct failover *f, const struct failover_message *m) {
    int64_t cltt = m->client_last_transaction_time;
    bool released =
        m->binding_status == FAILOVER_RELEASED && m->lease_expiration_time <= f->now.wall + core_skew(f) + UNCERTAIN;
    return released ? time_max(cltt, m->lease_expiration_time) : cltt;
}

/* Their client's last transaction is not before ours: equal counts, since dhcpd doesn't tell those it answers from its
 * cache (3.6). */
static bool not_earlier(const struct failover *f, const struct failover_message *m, int64_t than) {
    /* What is held from the future, since a clock was set back, is of no use for that. */
    return time_add(last_transaction(f, m), core_skew(f) + UNCERTAIN + 1) >= time_min(than, f->now.wall);
}

/*
 * The client has renewed here and released at the partner: the release ends the lease only if it was certainly the
 * later of the two. Where it wasn't, the partner has to accept our renewal, so not_earlier() is the more generous of
 * the two.
 */
static bool certainly_later(const struct failover *f, const struct failover_message *m, int64_t than) {
    /* A clock that seems behind may only be a slow link. */
    int64_t ahead = time_max(f->peer.ahead, 0);
    return time_add(last_transaction(f, m), -ahead - UNCERTAIN) >= than;
}

/* A lease that is promised ahead outlives what is held of an ended one, unless its own client has ended it. */
static bool still_promised(const struct failover *f, const struct entry *e, const struct failover_message *m,
                           bool other_client) {
    bool ahead = m->binding_status == FAILOVER_ACTIVE && m->lease_expiration_time > f->now.wall;
    return ahead && (e->status == FAILOVER_EXPIRED || other_client);
}

static void report_clash(struct failover *f, const struct entry *e, const struct failover_client *theirs, bool stays) {
    struct failover_client ours;
    entry_get_client(e, &ours);
    f->counters.clashes++;
    core_log(f, FAILOVER_WARN, "clash: %s is bound to %s here and to %s at the partner, who %s",
             address_text(table_address(&f->table, e)).text, client_text(&ours).text, client_text(theirs).text,
             stays ? "has to give it up" : "keeps it");
}

/* Two clients hold the address: one has it from here, and nobody has taken it back meanwhile. */
static bool is_clash(const struct failover *f, const struct entry *e, const struct failover_message *m,
                     const struct failover_client *client) {
    bool both = core_is_living(f, e) && m->binding_status == FAILOVER_ACTIVE && m->lease_expiration_time > f->now.wall;
    return both && !entry_is_client(e, client) && e->granted_here;
}

/* A row of Kea's that was all there was of a lease may be left over from one of the partner's, which has taken it back
 * since. Then it is counted, but only held against what is certainly older. */
static bool counts_against(const struct failover *f, const struct entry *e, const struct failover_message *m) {
    return e->xid != 0 || !not_earlier(f, m, e->cltt);
}

static struct refusal check_against_held(struct failover *f, const struct entry *e, const struct failover_message *m,
                                         const struct failover_client *client) {
    if (core_is_living(f, e) && ends_lease(m->binding_status) && !ends_by_its_clock(f, e, m)) {
        return (struct refusal){FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION,
                                "the lease has been promised for longer"};
    }
    switch (checks[e->status][m->binding_status]) {
    case LATER_CLTT: {
        bool other_client = !entry_is_client(e, client);
        bool released_by_other = core_is_living(f, e) && other_client;
        bool renewed_here = core_is_living(f, e) && e->granted_here && !e->tied;
        bool later = renewed_here ? certainly_later(f, m, e->cltt) : not_earlier(f, m, e->cltt);
        if ((later && !released_by_other) || still_promised(f, e, m, other_client)) {
            return no_refusal;
        }
        return (struct refusal){FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION, "outdated binding information"};
    }
    case AFTER_STATE:
        if (not_earlier(f, m, e->starts)) {
            return no_refusal;
        }
        return (struct refusal){FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION, "outdated binding information"};
    case NOT_RENEWED:
        /* A dhcpd doesn't say when it was. */
        if (!f->peer.partner_is_ours || !core_is_living(f, e) || not_earlier(f, m, e->cltt)) {
            return no_refusal;
        }
        return (struct refusal){FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION, "outdated binding information"};
    case SAME_CLIENT: {
        if (!core_is_living(f, e) || entry_is_client(e, client)) {
            return no_refusal;
        }
        if (m->lease_expiration_time <= f->now.wall) {
            /* A lease of long ago, from who was silent when it ended: no clash, and not for a secondary to accept. */
            return (struct refusal){FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION, "outdated binding information"};
        }
        if (!is_clash(f, e, m, client)) {
            return no_refusal; /* the partner gave it, took it back and gave it on before it told us of either */
        }
        bool stays = f->peer.wire_primary && counts_against(f, e, m);
        report_clash(f, e, client, stays);
        if (!stays) {
            return no_refusal;
        }
        return (struct refusal){FAILOVER_REJECT_FATAL_CONFLICT, "address in use by other client"};
    }
    case PROBATION:
        if (e->ends <= f->now.wall) {
            return no_refusal;
        }
        return (struct refusal){FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION, "the address is abandoned"};
    default:
        return no_refusal;
    }
}

/*
 * Both have sent an update of one address before they saw the other's (3.6). True: ours stands. Between two of ours,
 * where one has the lease and the other its end, only who has the lease judges: were both to, by two clocks, each might
 * yield to the other.
 */
static bool duel_is_ours(const struct failover *f, const struct entry *e, const struct failover_message *m) {
    bool one_has_it = (e->status == FAILOVER_ACTIVE) != (m->binding_status == FAILOVER_ACTIVE);
    if (f->peer.partner_is_ours && one_has_it) {
        return e->status != FAILOVER_ACTIVE;
    }
    if (m->binding_status != FAILOVER_ACTIVE) {
        bool theirs = e->status == FAILOVER_ACTIVE && m->binding_status == FAILOVER_EXPIRED;
        return !theirs && f->peer.wire_primary;
    }
    if (e->status != FAILOVER_ACTIVE) {
        return false;
    }
    int64_t cltt = m->client_last_transaction_time;
    return f->peer.wire_primary ? e->cltt >= cltt : e->cltt > cltt;
}

static bool needs_client(uint8_t status) {
    return status == FAILOVER_ACTIVE || status == FAILOVER_EXPIRED || status == FAILOVER_RELEASED;
}

static struct refusal check_information(const struct failover_message *m) {
    bool status = m->binding_status >= FAILOVER_FREE && m->binding_status < FAILOVER_BINDING_STATUSES;
    if (!failover_has(m, FAILOVER_OPT_ASSIGNED_IP_ADDRESS) || !status) {
        return (struct refusal){FAILOVER_REJECT_MISSING_BINDING_INFORMATION, "missing binding information"};
    }
    if (m->client_hardware_address.length > FAILOVER_HARDWARE_MAX ||
        m->client_identifier.length > FAILOVER_CLIENT_ID_MAX) {
        return (struct refusal){FAILOVER_REJECT_UNKNOWN_REASON, "client hardware address or identifier too long"};
    }
    if (needs_client(m->binding_status) && m->client_hardware_address.length < 2) {
        return (struct refusal){FAILOVER_REJECT_MISSING_BINDING_INFORMATION, "missing client-hardware-address"};
    }
    if (m->binding_status == FAILOVER_ACTIVE && !failover_has(m, FAILOVER_OPT_LEASE_EXPIRATION_TIME)) {
        return (struct refusal){FAILOVER_REJECT_MISSING_BINDING_INFORMATION, "missing lease-expiration-time"};
    }
    return no_refusal;
}

static void get_client(const struct failover_message *m, struct failover_client *client) {
    *client = (struct failover_client){0};
    client->hardware_length = (uint8_t)m->client_hardware_address.length;
    client->id_length = m->client_identifier.length;
    if (client->hardware_length > 0) {
        memcpy(client->hardware, m->client_hardware_address.data, client->hardware_length);
    }
    if (client->id_length > 0) {
        memcpy(client->id, m->client_identifier.data, client->id_length);
    }
}

/* ---- BNDUPD: what accepting it does ------------------------------------------------------------------------------ */

static void take_times(struct entry *e, const struct failover_message *m) {
    if (failover_has(m, FAILOVER_OPT_START_TIME_OF_STATE)) {
        e->starts = m->start_time_of_state;
    }
    if (failover_has(m, FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME)) {
        e->received = e->acked = m->potential_expiration_time;
    }
    e->cltt = time_max(e->cltt, m->client_last_transaction_time);
    e->ip_flags = m->ip_flags & (FAILOVER_IP_FLAG_RESERVED | FAILOVER_IP_FLAG_BOOTP);
}

static void note_whose_is_the_last(const struct failover *f, struct entry *e, int64_t cltt) {
    /* Told back, or by chance the same, it is in our clock; and a second is for both clocks' rounding. */
    int64_t theirs = cltt == e->cltt ? cltt : time_add(cltt, -(int64_t)f->peer.ahead);
    e->granted_here = e->granted_here && theirs <= e->cltt + 1;
    /* A Kea that has not acknowledged what the client took from us can only have given it its lease before. */
    bool before = e->selected && e->update_due && f->peer.partner_is_ours;
    e->tied = theirs >= e->cltt && !before;
}

static void become_active(struct failover *f, struct entry *e, const struct failover_message *m, bool same) {
    if (!same) {
        lease_rules_begin_lease(e);
    }
    e->status = FAILOVER_ACTIVE;
    int64_t theirs = m->lease_expiration_time;
    /* Where both have answered one request, the client may have taken either. And ours may be in Kea's row alone. */
    bool ours_may_be_last = e->granted_here && !certainly_later(f, m, e->cltt);
    bool ours_counts = ours_may_be_last || !core_is_on_disk(f, e);
    e->given = ours_counts ? time_max(e->given, theirs) : theirs;
    /* Design, rule 2: a shorter renewal at the partner moves no promised end. */
    e->ends = time_max(e->ends, theirs);
    /* Whose clock cltt is in: the later of the two grants counts. */
    int64_t ours = e->cltt;
    note_whose_is_the_last(f, e, m->client_last_transaction_time);
    take_times(e, m);
    if (e->granted_here) {
        e->cltt = ours;
    }
    if (e->ends == theirs) {
        e->update_due = false;
    }
    core_lease_put(f, e);
}

static void become_free(struct failover *f, struct entry *e, const struct failover_message *m) {
    e->status = FAILOVER_FREE;
    e->owner = (uint8_t)balance_from_wire(f, m->binding_status == FAILOVER_BACKUP ? FAILOVER_BACKUP : FAILOVER_FREE);
    /* dhcpd tells a future end with addresses that it has offered: nobody gets them before (3.2). RESET has none. */
    bool has_end = m->binding_status != FAILOVER_RESET && m->lease_expiration_time != FAILOVER_TIME_INFINITE;
    e->ends = has_end ? m->lease_expiration_time : 0;
    e->update_due = false;
    take_times(e, m);
    forget_promise(f, e);
}

static void become_abandoned(struct entry *e, const struct failover_message *m) {
    e->status = FAILOVER_ABANDONED;
    /* Its client may have had it from us again since; the later of two probations counts. */
    e->ends = time_max(e->ends, m->lease_expiration_time);
    e->update_due = false;
    take_times(e, m);
}

/* The partner would end the probation before the lease that was given here meanwhile. A dhcpd has a day for it. */
static bool is_longer_than_told(const struct failover *f, const struct entry *e, const struct failover_message *m) {
    return e->status == FAILOVER_ABANDONED && f->peer.partner_is_ours && e->ends > m->lease_expiration_time;
}

/* An abandoned address has no client; who frees one may leave out who had it, and then it is kept for affinity. */
static bool take_client(struct entry *e, const struct failover_message *m, const struct failover_client *client) {
    if (m->binding_status == FAILOVER_ABANDONED) {
        return entry_set_client(e, NULL);
    }
    return client->hardware_length == 0 || entry_set_client(e, client);
}

static struct refusal accept(struct failover *f, struct entry *e, const struct failover_message *m,
                             const struct failover_client *client) {
    struct failover_client holder;
    entry_get_client(e, &holder);
    bool was_active = e->status == FAILOVER_ACTIVE;
    bool same = was_active && entry_is_client(e, client);
    core_change(f, e);
    if (!take_client(e, m, client)) {
        core_changed(f, e, QUIET);
        return (struct refusal){FAILOVER_REJECT_UNSPECIFIED, "out of memory"};
    }
    if (was_active && !(same && m->binding_status == FAILOVER_ACTIVE)) {
        core_lease_remove(f, e, &holder, e->cltt);
    }
    if (m->binding_status == FAILOVER_ACTIVE) {
        become_active(f, e, m, same);
        lease_rules_partner_answered(f, client, m->client_last_transaction_time);
    } else if (m->binding_status == FAILOVER_ABANDONED) {
        become_abandoned(e, m);
    } else {
        become_free(f, e, m);
    }
    e->update_sent = true; /* the partner knows of this lease: there is nothing to rewind */
    e->state_sent = true;
    /* Still due: the promise here is the longer one. Its update of before is forgotten. */
    core_changed(f, e, e->update_due || is_longer_than_told(f, e, m) ? TELL_PARTNER : QUIET);
    if (e->status == FAILOVER_FREE && needs_client(m->binding_status)) {
        balance_affinity(f, e);
    }
    return no_refusal;
}

static void answer(struct failover *f, const struct failover_message *m, struct refusal refusal) {
    struct failover_message ack = {.type = FAILOVER_BNDACK, .xid = m->xid};
    ack.assigned_ip_address = m->assigned_ip_address;
    failover_put(&ack, FAILOVER_OPT_ASSIGNED_IP_ADDRESS);
    if (refusal.reason == 0) {
        peer_reply(f, &ack, f->sequence);
        return;
    }
    f->counters.rejects_sent++;
    core_log(f, FAILOVER_DEBUG, "update of %s rejected: %s", address_text(m->assigned_ip_address).text, refusal.text);
    ack.reject_reason = (uint8_t)refusal.reason;
    ack.message = (struct failover_bytes){(const uint8_t *)refusal.text, (uint16_t)strlen(refusal.text)};
    failover_put(&ack, FAILOVER_OPT_REJECT_REASON);
    failover_put(&ack, FAILOVER_OPT_MESSAGE);
    peer_reply(f, &ack, 0);
}

/* Ours stands in a duel; but what the partner promised the same client is promised. */
static void learn_longer_promise(struct failover *f, struct entry *e, const struct failover_message *m,
                                 const struct failover_client *client) {
    bool both_have_it = e->status == FAILOVER_ACTIVE && m->binding_status == FAILOVER_ACTIVE;
    if (both_have_it && entry_is_client(e, client)) {
        core_change(f, e);
        e->ends = time_max(e->ends, m->lease_expiration_time);
        core_changed(f, e, QUIET);
    }
}

/* Once for each connection: there may be thousands of them. */
static void warn_of_stranger(struct failover *f, uint32_t address) {
    if (!f->peer.strangers_warned) {
        core_log(f, FAILOVER_WARN, "the partner has %s in a pool and this server hasn't: both need the same pools",
                 address_text(address).text);
    }
    f->peer.strangers_warned = true;
}

static struct refusal receive(struct failover *f, const struct failover_message *m) {
    struct refusal refusal = check_information(m);
    if (refusal.reason != 0) {
        return refusal;
    }
    struct entry *e = table_find(&f->table, m->assigned_ip_address);
    if (e == NULL) {
        warn_of_stranger(f, m->assigned_ip_address);
        return (struct refusal){FAILOVER_REJECT_ILLEGAL_IP_ADDRESS, "unknown IP address"};
    }
    update_count_promise(f, e);
    struct failover_client client;
    get_client(m, &client);
    if (e->update_xid != 0 && duel_is_ours(f, e, m)) {
        if (f->peer.wire_primary && is_clash(f, e, m, &client)) {
            report_clash(f, e, &client, true); /* a secondary sees it when the primary insists */
        }
        learn_longer_promise(f, e, m, &client);
        return (struct refusal){FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION,
                                "incoming update is less critical than outgoing update"};
    }
    refusal = check_against_held(f, e, m, &client);
    if (refusal.reason == 0) {
        if (e->update_xid != 0) {
            update_forget(f, e);
        }
        return accept(f, e, m, &client);
    }
    /*
     * The partner shall hear what is held here. In a duel it rejects what is on its way to it, but for a dhcpd where that
     * is a lease: it takes one.
     */
    if (e->update_xid == 0 || f->peer.partner_is_ours || e->status != FAILOVER_ACTIVE) {
        core_change(f, e);
        core_changed(f, e, TELL_PARTNER);
    }
    return refusal;
}

/* Nothing has happened in the future, whatever the partner says: only its clock may be ahead, by no more than the
 * limit. */
static int64_t past(const struct failover *f, int64_t time) {
    return time_min(time, f->now.wall + SKEW_LIMIT);
}

void update_received(struct failover *f, const struct failover_message *m) {
    struct failover_message update = *m;
    update.client_last_transaction_time = past(f, m->client_last_transaction_time);
    update.start_time_of_state = past(f, m->start_time_of_state);
    f->counters.updates_received++;
    f->requests.received++;
    answer(f, &update, receive(f, &update));
}
