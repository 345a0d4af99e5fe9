/* SPDX-License-Identifier: MPL-2.0 */
#include "peer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "balance.h"
#include "load_balance.h"
#include "state.h"
#include "update.h"

/* ms; dhcpd's 5 s between attempts, and a shorter leash than its 15 s for who connects and says nothing. */
#define REDIAL_MS    5000
#define HANDSHAKE_MS 10000
/* Connections that have not completed CONNECT: one that we dialled, two that we accepted. */
#define ACCEPTED_MAX 2
/* Draft 5.10: seconds of clock difference that are warned of; SKEW_LIMIT is refused. */
#define SKEW_WARNING 30
/* A partner that says nothing useful about its limits gets these. */
#define RECEIVE_TIMER_MIN 3
/* Messages that wait for their commit; a partner that fills this up is out of its mind. */
#define OUT_MAX 65536

/* What this library calls itself in vendor-class-identifier; the number is the version of the record below. */
static const char vendor_class[] = "kea-failover-1";

/*
 * Our vendor-specific option, between two of ours: version, acting primary (1: the configured primary, 2: the
 * configured secondary), flags, and since when (8 bytes, big-endian).
 */
#define VENDOR_RECORD_SIZE    11
#define VENDOR_FLAG_NO_RECORD 0x01
#define VENDOR_FLAG_FORGOT    0x02 /* whether or not it was made to serve since then */

static void link_down(struct failover *f, const char *why);

static struct failover_bytes bytes_of(const char *text) {
    return (struct failover_bytes){(const uint8_t *)text, (uint16_t)strlen(text)};
}

static bool bytes_equal(struct failover_bytes b, const char *text) {
    return b.length == strlen(text) && memcmp(b.data, text, b.length) == 0;
}

/* ---- Queue of messages ------------------------------------------------------------------------------------------- */

static void out_push(struct failover *f, const struct failover_message *m, bool reply, uint64_t barrier) {
    struct peer *p = &f->peer;
    if (p->link == NULL) {
        return;
    }
    if (p->out_count == p->out_size) {
        size_t size = p->out_size == 0 ? 64 : p->out_size * 2;
        struct outgoing *out = size > OUT_MAX ? NULL : malloc(size * sizeof(*out));
        if (out == NULL) {
            core_log(f, FAILOVER_ERROR, "%zu messages wait for the database: the connection is given up", p->out_count);
            peer_drop(f, "too many messages wait for the database");
            return;
        }
        for (size_t i = 0; i < p->out_count; i++) {
            out[i] = p->out[(p->out_head + i) % p->out_size];
        }
        free(p->out);
        p->out = out;
        p->out_size = size;
        p->out_head = 0;
    }
    p->out[(p->out_head + p->out_count++) % p->out_size] = (struct outgoing){*m, reply, barrier};
}

void peer_send(struct failover *f, const struct failover_message *m, uint64_t barrier) {
    out_push(f, m, false, barrier);
}

void peer_reply(struct failover *f, const struct failover_message *m, uint64_t barrier) {
    out_push(f, m, true, barrier);
}

/* ---- Connections ------------------------------------------------------------------------------------------------- */

static struct connection *find(struct failover *f, int id) {
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &f->peer.connections[i];
        if (c->phase != CONNECTION_UNUSED && c->id == id) {
            return c;
        }
    }
    return NULL;
}

/* What is written here leaves ahead of everything else, and waits for no commit. */
static void write_now(struct failover *f, struct connection *c, struct failover_message *m) {
    m->time = (uint32_t)f->now.wall;
    c->output_length += failover_message_encode(m, c->output + c->output_length, sizeof(c->output) - c->output_length);
}

static void close_connection(struct failover *f, struct connection *c) {
    if (f->peer.link == c) {
        f->peer.link = NULL;
    }
    c->phase = CONNECTION_CLOSING;
}

static void say_refused(struct failover *f, const char *why) {
    if (strcmp(f->peer.refused, why) == 0) {
        return;
    }
    strncpy(f->peer.refused, why, sizeof(f->peer.refused) - 1);
    core_log(f, FAILOVER_WARN, "no connection with the partner: %s; retried every 5 seconds", why);
}

bool peer_wanted(const struct failover *f) {
    bool over = f->state == FAILOVER_SHUTDOWN && f->shutdown_close == INT64_MAX;
    return !f->record.link_held_down && !over;
}

/* ---- Who is primary: the record that two of ours exchange -------------------------------------------------------- */

static bool has_no_record(const struct failover *f) {
    return f->record.default_owner == FAILOVER_NOBODY && f->record.last_served == 0;
}

static void put_vendor_record(const struct failover *f, uint8_t out[VENDOR_RECORD_SIZE]) {
    out[0] = 1;
    out[1] = (uint8_t)f->record.acting_primary;
    out[2] = has_no_record(f) ? VENDOR_FLAG_NO_RECORD : 0;
    out[2] |= f->record.default_owner == FAILOVER_NOBODY ? VENDOR_FLAG_FORGOT : 0;
    for (int i = 0; i < 8; i++) {
        out[3 + i] = (uint8_t)((uint64_t)f->record.acting_since >> (56 - 8 * i));
    }
}

static bool get_vendor_record(struct failover_bytes record, struct acting *acting, uint8_t *flags) {
    if (record.length != VENDOR_RECORD_SIZE || record.data[0] != 1 ||
        (record.data[1] != FAILOVER_PRIMARY && record.data[1] != FAILOVER_SECONDARY)) {
        return false;
    }
    uint64_t since = 0;
    for (int i = 0; i < 8; i++) {
        since = since << 8 | record.data[3 + i];
    }
    *acting = (struct acting){(enum failover_role)record.data[1], (int64_t)since};
    *flags = record.data[2];
    return true;
}

static struct acting acting(const struct failover *f) {
    return (struct acting){f->record.acting_primary, f->record.acting_since};
}

/* Both servers take the later record; a tie goes to the configured roles (design, "Who is primary"). */
static struct acting later_of(struct acting ours, struct acting theirs) {
    if (theirs.since != ours.since) {
        return theirs.since > ours.since ? theirs : ours;
    }
    return theirs.primary == ours.primary ? ours : (struct acting){FAILOVER_PRIMARY, ours.since};
}

static void take_vendor_record(struct failover *f, struct failover_bytes record) {
    struct acting theirs;
    uint8_t flags;
    if (!get_vendor_record(record, &theirs, &flags)) {
        return;
    }
    f->peer.partner_has_no_record = (flags & VENDOR_FLAG_NO_RECORD) != 0;
    f->peer.partner_forgot = (flags & (VENDOR_FLAG_NO_RECORD | VENDOR_FLAG_FORGOT)) != 0;
    struct acting later = later_of(acting(f), theirs);
    if (later.since == f->record.acting_since && later.primary == f->record.acting_primary) {
        return;
    }
    f->record.acting_primary = later.primary;
    f->record.acting_since = later.since;
    core_log(f, FAILOVER_INFO, "the configured %s is the acting primary", failover_role_name(f->record.acting_primary));
    core_store(f);
}

/* The roles of a connection: of what both have told at its beginning, though one of them may know better meanwhile. */
static enum failover_role agreed_primary(const struct connection *c, const struct failover_message *m) {
    struct acting theirs;
    uint8_t ignored;
    bool told = get_vendor_record(m->vendor_specific_options, &theirs, &ignored);
    return told ? later_of(c->told, theirs).primary : c->told.primary;
}

static bool is_ours(const struct failover_message *m) {
    struct failover_bytes vendor = m->vendor_class_identifier;
    return failover_has(m, FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER) && bytes_equal(vendor, vendor_class);
}

/* ---- CONNECT and CONNECTACK (7.8, 7.9) --------------------------------------------------------------------------- */

/* What both messages carry. `vendor` is filled in and must live until the message is encoded. */
static void put_common(struct failover *f, struct failover_message *m, uint8_t vendor[VENDOR_RECORD_SIZE]) {
    put_vendor_record(f, vendor);
    m->relationship_name = bytes_of(f->config.name);
    m->max_unacked_bndupd = f->config.max_unacked_updates;
    m->receive_timer = f->config.max_response_delay;
    m->vendor_class_identifier = bytes_of(vendor_class);
    m->vendor_specific_options = (struct failover_bytes){vendor, VENDOR_RECORD_SIZE};
    m->protocol_version = 1;
    failover_put(m, FAILOVER_OPT_RELATIONSHIP_NAME);
    failover_put(m, FAILOVER_OPT_MAX_UNACKED_BNDUPD);
    failover_put(m, FAILOVER_OPT_RECEIVE_TIMER);
    failover_put(m, FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER);
    failover_put(m, FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS);
    failover_put(m, FAILOVER_OPT_PROTOCOL_VERSION);
}

static void send_connect(struct failover *f, struct connection *c) {
    uint8_t vendor[VENDOR_RECORD_SIZE];
    struct failover_message m = {.type = FAILOVER_CONNECT};
    put_common(f, &m, vendor);
    c->told = acting(f);
    m.mclt = f->record.mclt;
    m.hash_bucket_assignment = (struct failover_bytes){f->record.hba, FAILOVER_HBA_SIZE};
    failover_put(&m, FAILOVER_OPT_TLS_REQUEST);
    failover_put(&m, FAILOVER_OPT_MCLT);
    failover_put(&m, FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT);
    write_now(f, c, &m);
}

/* Refuses a CONNECT. As dhcpd: the name is that of the CONNECT, and without a known one our limits aren't told. */
static void reject_connect(struct failover *f, struct connection *c, const struct failover_message *connect,
                           enum failover_reject_reason reason, const char *text) {
    uint8_t vendor[VENDOR_RECORD_SIZE];
    struct failover_message m = {.type = FAILOVER_CONNECTACK, .xid = connect->xid};
    put_common(f, &m, vendor);
    m.present &= ~(1u << FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS);
    m.relationship_name = connect->relationship_name;
    if (reason == FAILOVER_REJECT_INVALID_PARTNER) {
        m.present &= ~(1u << FAILOVER_OPT_MAX_UNACKED_BNDUPD | 1u << FAILOVER_OPT_RECEIVE_TIMER);
    }
    if (!failover_has(connect, FAILOVER_OPT_RELATIONSHIP_NAME)) {
        m.present &= ~(1u << FAILOVER_OPT_RELATIONSHIP_NAME);
    }
    if (failover_has(connect, FAILOVER_OPT_TLS_REQUEST)) {
        failover_put(&m, FAILOVER_OPT_TLS_REPLY);
    }
    m.reject_reason = (uint8_t)reason;
    m.message = bytes_of(text);
    failover_put(&m, FAILOVER_OPT_REJECT_REASON);
    failover_put(&m, FAILOVER_OPT_MESSAGE);
    write_now(f, c, &m);
    close_connection(f, c);
    say_refused(f, text);
}

/* Refuses a CONNECTACK, or ends the link: DISCONNECT, then close. */
static void disconnect(struct failover *f, struct connection *c, enum failover_reject_reason reason, const char *text) {
    bool was_link = f->peer.link == c;
    struct failover_message m = {.type = FAILOVER_DISCONNECT, .reject_reason = (uint8_t)reason};
    m.xid = was_link ? f->peer.xid++ : 1;
    m.message = bytes_of(text);
    failover_put(&m, FAILOVER_OPT_REJECT_REASON);
    failover_put(&m, FAILOVER_OPT_MESSAGE);
    write_now(f, c, &m);
    close_connection(f, c);
    if (was_link) {
        link_down(f, text);
    } else {
        say_refused(f, text);
    }
}

static int64_t skew_of(const struct failover *f, const struct failover_message *m) {
    return (int64_t)m->time - (int64_t)(uint32_t)f->now.wall;
}

static bool skew_too_large(int64_t skew) {
    return skew > SKEW_LIMIT || skew < -SKEW_LIMIT;
}

static void note_skew(struct failover *f, int64_t skew) {
    f->record.skew = (int32_t)skew;
    bool much = skew > SKEW_WARNING || skew < -SKEW_WARNING;
    if (much && !f->peer.skew_warned) {
        core_log(f, FAILOVER_WARN, "the partner's clock is %lld s %s ours; more than %d s will be refused",
                 (long long)(skew < 0 ? -skew : skew), skew < 0 ? "behind" : "ahead of", SKEW_LIMIT);
    }
    f->peer.skew_warned = much;
}

/* Design, rule 10: a lower MCLT counts for waits only when the old one has passed since the partner took the new. */
static void learn_mclt(struct failover *f, uint32_t mclt) {
    if (f->record.mclt != mclt) {
        core_log(f, FAILOVER_INFO, "the primary's MCLT is %u s", mclt);
        bool learnt = f->record.mclt_taken != 0; /* else it was only this server's configuration, and never in force */
        f->record.mclt_before = learnt ? (uint32_t)core_wait_mclt(f) : 0;
        f->record.mclt = mclt;
        f->record.mclt_taken = f->now.wall;
        core_store(f);
        f->state_stored = f->sequence; /* STATE tells the primary that it is taken */
    }
    if (f->record.mclt_taken == 0) {
        f->record.mclt_taken = f->now.wall;
    }
}

static void learn_partner(struct failover *f, const struct connection *c, const struct failover_message *m) {
    struct peer *p = &f->peer;
    bool has_limit = failover_has(m, FAILOVER_OPT_MAX_UNACKED_BNDUPD) && m->max_unacked_bndupd > 0;
    bool has_timer = failover_has(m, FAILOVER_OPT_RECEIVE_TIMER) && m->receive_timer >= RECEIVE_TIMER_MIN;
    p->partner_max_unacked = has_limit ? m->max_unacked_bndupd : 1;
    p->partner_receive_timer = has_timer ? m->receive_timer : RECEIVE_TIMER_MIN;
    p->partner_is_ours = is_ours(m);
    p->partner_has_no_record = p->partner_forgot = false;
    if (p->partner_is_ours) {
        take_vendor_record(f, m->vendor_specific_options);
    }
    /* To a dhcpd the acting role never shows. */
    p->wire_primary = p->partner_is_ours ? agreed_primary(c, m) == f->config.role : f->config.role == FAILOVER_PRIMARY;
}

static void link_up(struct failover *f, struct connection *c, const struct failover_message *m) {
    struct peer *p = &f->peer;
    c->phase = CONNECTION_LINKED;
    p->link = c;
    p->state_known = p->announced = p->withdrawn = p->strangers_warned = false;
    p->xid = f->config.role == FAILOVER_PRIMARY ? 1 : 0; /* CONNECT was the primary's first */
    p->out_count = 0;
    p->last_sent = p->last_received = f->now.mono;
    p->refused[0] = '\0';
    p->redial = INT64_MAX;
    learn_partner(f, c, m);
    note_skew(f, skew_of(f, m));
    p->ahead = f->record.skew;
    f->counters.connects++;
    core_log(f, FAILOVER_INFO, "connected with the partner, %s",
             p->partner_is_ours ? "one of ours" : "not one of ours");
    update_link_up(f);
    core_store(f);
    state_link_up(f);
}

static void connect_received(struct failover *f, struct connection *c, const struct failover_message *m) {
    if (f->config.role == FAILOVER_PRIMARY) {
        reject_connect(f, c, m, FAILOVER_REJECT_INVALID_PARTNER, "both servers are configured as primary");
        return;
    }
    if (!failover_has(m, FAILOVER_OPT_RELATIONSHIP_NAME)) {
        reject_connect(f, c, m, FAILOVER_REJECT_INVALID_PARTNER, "missing relationship-name");
        return;
    }
    if (!bytes_equal(m->relationship_name, f->config.name)) {
        core_log(f, FAILOVER_WARN, "the partner calls the relationship \"%.*s\", this server \"%s\"",
                 (int)m->relationship_name.length, (const char *)m->relationship_name.data, f->config.name);
        reject_connect(f, c, m, FAILOVER_REJECT_INVALID_PARTNER, "unknown failover relationship name");
        return;
    }
    if (skew_too_large(skew_of(f, m))) {
        reject_connect(f, c, m, FAILOVER_REJECT_TIME_MISMATCH, "time offset too large");
        return;
    }
    if (!failover_has(m, FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT) ||
        m->hash_bucket_assignment.length != FAILOVER_HBA_SIZE) {
        reject_connect(f, c, m, FAILOVER_REJECT_HBA_CONFLICT, "invalid HBA");
        return;
    }
    if (!failover_has(m, FAILOVER_OPT_MCLT) || m->mclt == 0) {
        reject_connect(f, c, m, FAILOVER_REJECT_INVALID_MCLT, "invalid MCLT");
        return;
    }
    if (failover_has(m, FAILOVER_OPT_TLS_REQUEST) && m->tls_request == 2) {
        reject_connect(f, c, m, FAILOVER_REJECT_TLS_UNSUPPORTED, "TLS is not configured");
        return;
    }
    if (f->peer.link != NULL) {
        close_connection(f, c); /* as dhcpd: without a word, the first link counts */
        return;
    }
    learn_mclt(f, m->mclt);
    memcpy(f->record.hba, m->hash_bucket_assignment.data, FAILOVER_HBA_SIZE);
    f->record.hba_known = true;
    uint8_t vendor[VENDOR_RECORD_SIZE];
    struct failover_message ack = {.type = FAILOVER_CONNECTACK, .xid = m->xid};
    put_common(f, &ack, vendor);
    c->told = acting(f);
    if (failover_has(m, FAILOVER_OPT_TLS_REQUEST)) {
        failover_put(&ack, FAILOVER_OPT_TLS_REPLY);
    }
    write_now(f, c, &ack);
    link_up(f, c, m);
}

static void connectack_received(struct failover *f, struct connection *c, const struct failover_message *m) {
    if (f->config.role != FAILOVER_PRIMARY) {
        close_connection(f, c);
        say_refused(f, "both servers are configured as secondary");
        return;
    }
    if (!failover_has(m, FAILOVER_OPT_RELATIONSHIP_NAME)) {
        disconnect(f, c, FAILOVER_REJECT_INVALID_PARTNER, "missing relationship-name");
        return;
    }
    if (failover_has(m, FAILOVER_OPT_REJECT_REASON)) {
        struct failover_bytes said = m->message;
        core_log(f, FAILOVER_DEBUG, "CONNECT rejected: %s \"%.*s\"", failover_reject_text(m->reject_reason),
                 (int)said.length, said.length > 0 ? (const char *)said.data : "");
        close_connection(f, c);
        say_refused(f, failover_reject_text(m->reject_reason));
        return;
    }
    if (!bytes_equal(m->relationship_name, f->config.name)) {
        core_log(f, FAILOVER_WARN, "the partner calls the relationship \"%.*s\", this server \"%s\"",
                 (int)m->relationship_name.length, (const char *)m->relationship_name.data, f->config.name);
        disconnect(f, c, FAILOVER_REJECT_INVALID_PARTNER, "remote failover relationship name does not match");
        return;
    }
    if (f->peer.link != NULL) {
        disconnect(f, c, FAILOVER_REJECT_DUPLICATE_CONNECTION, "already connected");
        return;
    }
    if (skew_too_large(skew_of(f, m))) {
        disconnect(f, c, FAILOVER_REJECT_TIME_MISMATCH, "time offset too large");
        return;
    }
    link_up(f, c, m);
}

bool failover_connected(struct failover *f, int connection, bool dialled, struct failover_clock now) {
    core_set_clock(f, now);
    struct connection *slot = NULL;
    int accepted = 0;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &f->peer.connections[i];
        if (c->phase == CONNECTION_UNUSED) {
            slot = c;
        } else if (c->phase == CONNECTION_OPEN && !c->dialled) {
            accepted++;
        }
    }
    if (dialled) {
        f->peer.dialling = false;
    }
    if (slot == NULL || !peer_wanted(f) || (!dialled && accepted >= ACCEPTED_MAX)) {
        return false;
    }
    *slot = (struct connection){.phase = CONNECTION_OPEN, .id = connection, .dialled = dialled, .opened = now.mono};
    if (f->config.role != FAILOVER_PRIMARY) {
        return true; /* 7.8: the secondary never speaks first */
    }
    send_connect(f, slot);
    return true;
}

void failover_dial_failed(struct failover *f, const char *why, struct failover_clock now) {
    core_set_clock(f, now);
    f->peer.dialling = false;
    say_refused(f, why);
}

/* ---- Losing the link --------------------------------------------------------------------------------------------- */

static void link_down(struct failover *f, const char *why) {
    struct peer *p = &f->peer;
    p->link = NULL;
    p->state_known = false;
    p->out_count = 0;
    p->lost = f->now.mono;
    p->redial = f->now.mono + REDIAL_MS;
    f->counters.disconnects++;
    core_log(f, FAILOVER_WARN, "connection with the partner lost: %s", why);
    update_link_down(f);
    state_event(f, EVENT_LINK_DOWN);
}

void failover_disconnected(struct failover *f, int connection, const char *why, struct failover_clock now) {
    core_set_clock(f, now);
    struct connection *c = find(f, connection);
    if (c == NULL) {
        return;
    }
    bool was_link = f->peer.link == c;
    bool was_open = c->phase == CONNECTION_OPEN;
    c->phase = CONNECTION_UNUSED;
    if (was_link) {
        link_down(f, why);
    } else if (was_open) {
        say_refused(f, why);
    }
}

void peer_disconnect(struct failover *f, enum failover_reject_reason reason, const char *text) {
    if (f->peer.link != NULL) {
        disconnect(f, f->peer.link, reason, text);
    }
}

void peer_drop(struct failover *f, const char *why) {
    bool was_linked = f->peer.link != NULL;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &f->peer.connections[i];
        if (c->phase == CONNECTION_OPEN || c->phase == CONNECTION_LINKED) {
            c->phase = CONNECTION_CLOSING;
        }
    }
    if (was_linked) {
        link_down(f, why);
    }
}

void peer_dial_now(struct failover *f) {
    f->peer.redial = f->now.mono;
}

/* ---- Receiving --------------------------------------------------------------------------------------------------- */

static bool valid_state(const struct failover_message *m) {
    bool number = (m->server_state >= 1 && m->server_state <= 11) || m->server_state == 254;
    return failover_has(m, FAILOVER_OPT_SERVER_STATE) && number;
}

static void state_message(struct failover *f, const struct failover_message *m) {
    if (!valid_state(m)) {
        core_log(f, FAILOVER_ERROR, "the partner shows state number %u, which the protocol doesn't have",
                 m->server_state);
        peer_disconnect(f, FAILOVER_REJECT_UNSPECIFIED, "unknown server-state");
        return;
    }
    if (f->peer.partner_is_ours && failover_has(m, FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS)) {
        take_vendor_record(f, m->vendor_specific_options);
    }
    if (f->record.mclt_taken == 0) {
        /* It came with CONNECT, and the secondary's STATE leaves when it has that on disk. */
        f->record.mclt_taken = f->now.wall;
        core_store(f);
    }
    state_received(f, m);
}

static void disconnect_message(struct failover *f, struct connection *c, const struct failover_message *m) {
    const char *why = failover_reject_text(m->reject_reason);
    bool was_link = f->peer.link == c;
    close_connection(f, c);
    if (was_link) {
        link_down(f, why);
    } else {
        say_refused(f, why);
    }
}

/* Messages of an established link; nothing of these is taken from any other connection. */
static void link_message(struct failover *f, const struct failover_message *m) {
    int64_t skew = skew_of(f, m);
    bool fresh = m->type == FAILOVER_CONTACT || m->type == FAILOVER_STATE;
    if (fresh && skew_too_large(skew)) {
        peer_disconnect(f, FAILOVER_REJECT_TIME_MISMATCH, "time offset too large");
        return;
    }
    if (fresh) {
        note_skew(f, skew);
        f->peer.ahead = f->record.skew > f->peer.ahead ? f->record.skew : f->peer.ahead;
    }
    switch (m->type) {
    case FAILOVER_STATE:
        state_message(f, m);
        break;
    case FAILOVER_BNDUPD:
        update_received(f, m);
        break;
    case FAILOVER_BNDACK:
        update_acked(f, m);
        break;
    case FAILOVER_UPDREQ:
    case FAILOVER_UPDREQALL:
        update_request_received(f, m);
        break;
    case FAILOVER_UPDDONE:
        update_done_received(f, m);
        break;
    case FAILOVER_POOLREQ:
        balance_poolreq_received(f, m->xid);
        break;
    case FAILOVER_POOLRESP:
        balance_poolresp_received(f, m->addresses_transferred);
        break;
    case FAILOVER_CONTACT:
        break;
    default: /* CONNECT, CONNECTACK */
        peer_disconnect(f, FAILOVER_REJECT_DUPLICATE_CONNECTION, "already connected");
        break;
    }
}

static void message_received(struct failover *f, struct connection *c, const struct failover_message *m) {
    if (m->type == FAILOVER_DISCONNECT) {
        disconnect_message(f, c, m);
        return;
    }
    if (f->peer.link == c) {
        f->peer.last_received = f->now.mono;
        f->record.last_heard = f->now.wall;
        link_message(f, m);
        return;
    }
    if (m->type == FAILOVER_CONNECT) {
        connect_received(f, c, m);
        return;
    }
    if (m->type == FAILOVER_CONNECTACK) {
        connectack_received(f, c, m);
        return;
    }
    close_connection(f, c);
    say_refused(f, "the partner sent something else than CONNECT or CONNECTACK first");
}

/* Takes messages off the front of the input until it is used up, or the connection is. */
static void take_messages(struct failover *f, struct connection *c) {
    size_t used = 0;
    while (c->phase == CONNECTION_OPEN || c->phase == CONNECTION_LINKED) {
        struct failover_message m;
        size_t consumed = 0;
        enum failover_decode_result result =
            failover_message_decode(c->input + used, c->input_length - used, &m, &consumed);
        if (result == FAILOVER_INCOMPLETE) {
            break;
        }
        if (result != FAILOVER_DECODED) {
            core_log(f, FAILOVER_ERROR, "bad message from the partner: %s", failover_decode_text(result));
            disconnect(f, c, FAILOVER_REJECT_UNSPECIFIED, failover_decode_text(result));
            return;
        }
        used += consumed;
        message_received(f, c, &m);
    }
    memmove(c->input, c->input + used, c->input_length - used);
    c->input_length -= used;
}

void failover_received(struct failover *f, int connection, const uint8_t *data, size_t length,
                       struct failover_clock now) {
    core_set_clock(f, now);
    struct connection *c = find(f, connection);
    while (c != NULL && length > 0 && (c->phase == CONNECTION_OPEN || c->phase == CONNECTION_LINKED)) {
        size_t room = sizeof(c->input) - c->input_length;
        size_t part = length < room ? length : room;
        memcpy(c->input + c->input_length, data, part);
        c->input_length += part;
        data += part;
        length -= part;
        take_messages(f, c);
    }
}

/* ---- Sending ----------------------------------------------------------------------------------------------------- */

static bool contact_due(const struct failover *f) {
    /* 8.3: at a third of the time after which the partner gives us up, counted from whatever we sent last. */
    return f->now.mono - f->peer.last_sent >= (int64_t)f->peer.partner_receive_timer * 1000 / 3;
}

/* The next message of the queue that may leave. */
static bool next_queued(struct failover *f, struct failover_message *m) {
    struct peer *p = &f->peer;
    if (p->out_count == 0 || p->out[p->out_head].barrier > f->committed) {
        return false;
    }
    struct outgoing *o = &p->out[p->out_head];
    *m = o->message;
    if (!o->reply) {
        m->xid = p->xid++;
    }
    p->out_head = (p->out_head + 1) % p->out_size;
    p->out_count--;
    if (m->type == FAILOVER_UPDREQ || m->type == FAILOVER_UPDREQALL) {
        update_ask_left(f, m->xid);
    }
    return true;
}

/* Updates wait until the queue is empty, so that acknowledgements and POOLRESP are ahead of them. */
static bool next_update(struct failover *f, struct failover_message *m, struct failover_client *client) {
    struct peer *p = &f->peer;
    if (p->out_count > 0 || !update_next(f, m, client)) {
        return false;
    }
    m->xid = p->xid++;
    if (m->xid == 0) {
        m->xid = p->xid++; /* 1.3: dhcpd takes 0 for "none outstanding" */
    }
    update_left(f, m);
    return true;
}

static bool next_message(struct failover *f, struct failover_message *m, struct failover_client *client) {
    if (next_queued(f, m) || next_update(f, m, client)) {
        return true;
    }
    if (!contact_due(f)) {
        return false;
    }
    *m = (struct failover_message){.type = FAILOVER_CONTACT, .xid = f->peer.xid++};
    return true;
}

size_t failover_output(struct failover *f, int connection, uint8_t *out, size_t capacity, struct failover_clock now) {
    core_set_clock(f, now);
    struct connection *c = find(f, connection);
    if (c == NULL) {
        return 0;
    }
    assert(capacity >= FAILOVER_MESSAGE_SIZE_MAX);
    size_t size = c->output_length;
    memcpy(out, c->output, size);
    c->output_length = 0;
    if (f->peer.link != c) {
        return size;
    }
    struct failover_message m;
    struct failover_client client;
    while (capacity - size >= FAILOVER_MESSAGE_SIZE_MAX && next_message(f, &m, &client)) {
        uint8_t vendor[VENDOR_RECORD_SIZE];
        m.time = (uint32_t)now.wall;
        if (m.type == FAILOVER_STATE && f->peer.partner_is_ours) {
            put_vendor_record(f, vendor);
            m.vendor_specific_options = (struct failover_bytes){vendor, sizeof(vendor)};
            failover_put(&m, FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS);
        }
        size_t written = failover_message_encode(&m, out + size, capacity - size);
        assert(written > 0);
        size += written;
        f->peer.last_sent = now.mono;
    }
    return size;
}

bool failover_next_action(struct failover *f, struct failover_action *action) {
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &f->peer.connections[i];
        if (c->phase == CONNECTION_CLOSING && c->output_length == 0) {
            *action = (struct failover_action){FAILOVER_ACTION_CLOSE, c->id};
            c->phase = CONNECTION_UNUSED;
            return true;
        }
    }
    if (f->peer.dial_now) {
        f->peer.dial_now = false;
        f->peer.dialling = true;
        *action = (struct failover_action){FAILOVER_ACTION_DIAL, -1};
        return true;
    }
    return false;
}

bool failover_shutdown_unsent(const struct failover *f) {
    return f->state == FAILOVER_SHUTDOWN && f->peer.link != NULL && f->peer.out_count > 0;
}

/* ---- Time -------------------------------------------------------------------------------------------------------- */

static bool may_dial(const struct failover *f) {
    return f->peer.link == NULL && peer_wanted(f) && !f->peer.dialling && !f->peer.dial_now;
}

void peer_tick(struct failover *f) {
    struct peer *p = &f->peer;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &p->connections[i];
        if (c->phase == CONNECTION_OPEN && f->now.mono - c->opened >= HANDSHAKE_MS) {
            close_connection(f, c);
            say_refused(f, f->config.role == FAILOVER_PRIMARY
                               ? "the partner accepts connections but doesn't complete CONNECT"
                               : "the partner accepts connections but doesn't complete CONNECT, which is the primary's "
                                 "to send: both servers may be configured as secondary");
        }
    }
    if (p->link != NULL && f->now.mono - p->last_received >= (int64_t)f->config.max_response_delay * 1000) {
        peer_disconnect(f, FAILOVER_REJECT_NO_TRAFFIC, "no traffic within max-response-delay");
    }
    if (p->link != NULL && p->withdrawn) {
        peer_drop(f, "the partner would be broken by this server's state as it is now");
    }
    if (may_dial(f) && f->now.mono >= p->redial) {
        p->redial = f->now.mono + REDIAL_MS;
        p->dial_now = true;
    }
}

int64_t peer_deadline(const struct failover *f) {
    const struct peer *p = &f->peer;
    int64_t deadline = may_dial(f) ? p->redial : p->link != NULL && p->withdrawn ? f->now.mono : INT64_MAX;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (p->connections[i].phase == CONNECTION_OPEN) {
            deadline = time_min(deadline, p->connections[i].opened + HANDSHAKE_MS);
        }
    }
    if (p->link != NULL) {
        deadline = time_min(deadline, p->last_sent + ((int64_t)p->partner_receive_timer * 1000 + 2) / 3);
        deadline = time_min(deadline, p->last_received + (int64_t)f->config.max_response_delay * 1000);
    }
    return deadline;
}
