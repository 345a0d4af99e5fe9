/* SPDX-License-Identifier: MPL-2.0 */
/*
 * core.h - what the rooms of the core share: the relationship itself, and the services of failover.c that write it
 * down. Each room's own functions are in the header that bears its name.
 */
#ifndef FAILOVER_CORE_H
#define FAILOVER_CORE_H

#include "binding.h"
#include "failover.h"

/* Where one TCP connection is between its start and CONNECT/CONNECTACK being through. */
enum connection_phase {
    CONNECTION_UNUSED,
    CONNECTION_OPEN,   /* CONNECT is to come, or has been sent */
    CONNECTION_LINKED, /* the one that counts */
    CONNECTION_CLOSING /* to be closed once its last bytes are out */
};

#define CONNECTIONS_MAX 4

/* Who is acting primary, and since when (wall time). */
struct acting {
    enum failover_role primary;
    int64_t since;
};

struct connection {
    enum connection_phase phase;
    int id; /* the transport's name */
    bool dialled;
    int64_t opened;     /* mono ms */
    struct acting told; /* in our CONNECT or CONNECTACK */
    size_t input_length;
    uint8_t input[FAILOVER_MESSAGE_SIZE_MAX];
    size_t output_length; /* CONNECT, a rejecting CONNECTACK, DISCONNECT */
    uint8_t output[FAILOVER_MESSAGE_SIZE_MAX];
};

/* A message that waits for its turn and for its commit. */
struct outgoing {
    struct failover_message message; /* byte strings point to what lives as long as the relationship */
    bool reply;                      /* keeps its xid; all others are numbered at sending */
    uint64_t barrier;                /* leaves when everything up to this sequence is on disk */
};

struct peer {
    struct connection connections[CONNECTIONS_MAX];
    struct connection *link; /* null: none */
    bool state_known;        /* STATE was received on this link; false without one */
    bool announced;          /* STATE was sent on this link, or is about to be */
    bool withdrawn;          /* the link goes, lest the partner hears a state that breaks it */
    bool dialling;
    bool dial_now;
    int64_t redial;                 /* mono ms of the next attempt; INT64_MAX: none */
    int64_t last_sent;              /* mono ms */
    int64_t last_received;          /* mono ms */
    int64_t lost;                   /* mono ms at which the link went; INT64_MIN: never had one */
    uint32_t xid;                   /* the next to use */
    uint32_t partner_receive_timer; /* seconds */
    uint32_t partner_max_unacked;
    bool partner_is_ours;
    bool partner_has_no_record; /* and hasn't served since it has none */
    bool partner_forgot;        /* it doesn't know yet what it has promised before */
    bool wire_primary;          /* this server's acting role as agreed on this link */
    struct outgoing *out;       /* ring */
    size_t out_head, out_count, out_size;
    int32_t ahead; /* the greatest skew on this link: a message that was held up makes it seem smaller */
    bool skew_warned;
    bool strangers_warned;           /* on this link: it has addresses that this server hasn't */
    char refused[FAILOVER_TEXT_MAX]; /* why the last attempt failed, once logged */
};

/* Requests for updates: ours to the partner, and the partner's to us. */
struct requests {
    bool asked;     /* UPDREQ or UPDREQALL is out on this link */
    bool asked_all; /* it is UPDREQALL */
    uint32_t asked_xid;
    bool ask_pending;   /* one waits in the queue of messages and has no xid yet */
    bool partner_asked; /* for updates, on this link */
    bool answering;     /* the partner waits for UPDDONE */
    uint32_t answer_xid;
    uint32_t outstanding; /* entries with `requested` set */
    bool scanning;        /* not every entry was looked at whether it is part of the answer */
    uint8_t scanned_for;  /* UPDREQ or UPDREQALL */
    uint32_t scan;        /* index of the next one */
    uint32_t expected;    /* how many bindings the answer has, about */
    uint32_t answered;    /* of which the partner has acknowledged so many */
    uint64_t received;    /* updates since ours was asked */
    int64_t began;        /* mono ms */
    int64_t next_report;  /* mono ms of the next log line about it */
    bool closing;         /* PARTNER-DOWN ends when the partner, in RECOVER-DONE, has acknowledged them */
};

/* Clients that ask in vain: for what load balancing leaves to the partner, and to log exhaustion once for each. */
#define WAITING_SETS    512
#define WAITING_WAYS    8
#define WAITING_CLIENTS (WAITING_SETS * WAITING_WAYS)
struct waiting_client {
    uint64_t hash; /* 0: unused */
    int64_t first; /* mono ms */
    int64_t last;
};

struct queued_change {
    struct failover_lease_change change;
    bool after_disk; /* not before its binding is on disk */
};

struct changes {
    struct queued_change *items; /* ring */
    size_t head, count, size;
};

struct failover {
    struct failover_config config;
    struct failover_host host;
    struct failover_record record;
    enum failover_state state;    /* STARTUP, or record.state */
    enum failover_state restored; /* the state from before this process or this library */
    char process[33];
    struct failover_clock now;
    struct failover_clock started;
    struct failover_clock anchor; /* the wall clock is expected to go on from here as the monotonic one does */
    int64_t lag;       /* seconds by which the wall clock has jumped ahead of what we trust (design, rule 9) */
    int64_t lag_until; /* mono ms */
    uint64_t sequence; /* of the last record handed out */
    uint64_t committed;
    uint64_t state_stored; /* sequence of the record with the present state: STATE waits for no more than that */
    bool storing;
    struct table table;
    struct peer peer;
    struct requests requests;
    uint32_t reschedule_from; /* records from this one on have the timer of an earlier state */
    uint32_t forgot_from;     /* of records from this one on the promises of a partner that forgot aren't counted yet */
    bool made_partner_down;   /* some entry may have that mark */
    struct changes changes;
    uint32_t unacked;       /* entries with an update_xid */
    bool first_contact;     /* both in RECOVER with no record: RECOVER-WAIT is skipped */
    int64_t recover_served; /* the last moment this server can have served, for RECOVER-WAIT */
    int64_t entered;        /* mono ms at which the state was entered in this process */
    int64_t startup_over;   /* mono ms */
    int64_t shutdown_close; /* mono ms at which the link is closed in SHUTDOWN; INT64_MAX: not */
    int64_t next_served;    /* mono ms of the next record of last_served */
    int64_t next_balance;   /* mono ms; INT64_MAX: none */
    bool balancing;         /* the last balance has more to give */
    int64_t next_retry;     /* mono ms at which updates that the partner rejected are sent again; INT64_MAX: none */
    int64_t next_reminder;  /* mono ms of the next log line in RECOVER without a partner */
    struct waiting_client balanced[WAITING_CLIENTS];
    struct waiting_client exhausted[WAITING_CLIENTS];
    struct failover_counters counters;
};

/* ms of pause for the clients between two portions of what concerns many bindings */
#define PORTION_PAUSE_MS 1

/* ---- Writing down (failover.c) ----------------------------------------------------------------------------------- */

/* Hands the record of the relationship, or of one binding, to the host. */
void core_store(struct failover *f);
void core_store_entry(struct failover *f, struct entry *e);
/* Is what this server knows of the address on disk? */
bool core_is_on_disk(const struct failover *f, const struct entry *e);
/* Is it leased, and the end of that lease ahead? */
bool core_is_living(const struct failover *f, const struct entry *e);

/* Every change of a binding begins and ends with these: lists, counts, timer, record and update queue follow. */
void core_change(struct failover *f, struct entry *e);
enum what_follows {
    QUIET,
    TELL_PARTNER,
    AT_LEISURE, /* as QUIET; and nothing waits until it is on disk, for what is there is no less safe */
};
void core_changed(struct failover *f, struct entry *e, enum what_follows follows);
/* Only the timer: something else than the binding has changed. */
void core_reschedule(struct failover *f, struct entry *e);
/* The first of them now, the others in portions by the tick: what comes due meanwhile comes due a little later. */
void core_reschedule_all(struct failover *f);

void core_lease_put(struct failover *f, const struct entry *e);
/* The row of `client` on the address of `e` goes, unless the client was last heard of after `cltt`. */
void core_lease_remove(struct failover *f, const struct entry *e, const struct failover_client *client, int64_t cltt);

void core_log(struct failover *f, enum failover_severity severity, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "a.b.c.d" in one of a few static buffers' worth of `text`. */
struct address_text {
    char text[16];
};
struct address_text address_text(uint32_t address);
/* The hardware address of a client, or its identifier where it has none, in hexadecimal; the first bytes of a long one. */
#define CLIENT_TEXT_BYTES 20
struct client_text {
    char text[3 * CLIENT_TEXT_BYTES];
};
struct client_text client_text(const struct failover_client *client);
/* Every entry point sets the clock first; a jump of the wall clock is seen here. */
void core_set_clock(struct failover *f, struct failover_clock now);
/* Seconds by which the partner's clock was off ours when it was last measured, either way. */
int64_t core_skew(const struct failover *f);
/* The wall time that waits are measured by: behind by the partner's skew, and not fooled by a jump. */
int64_t core_sure_now(const struct failover *f);
/* The monotonic ms at which core_sure_now() reaches `wall`. */
int64_t core_mono_of(const struct failover *f, int64_t wall);

/* a + b without wrapping; no end stays no end. */
int64_t time_add(int64_t a, int64_t b);
int64_t time_max(int64_t a, int64_t b);
int64_t time_min(int64_t a, int64_t b);

/*
 * The MCLT that waits count with (design, rule 10), and the one for grants: a higher one counts only once the partner
 * has taken it, because its waits would be too short for it.
 */
int64_t core_wait_mclt(const struct failover *f);
int64_t core_grant_mclt(const struct failover *f);

#endif
