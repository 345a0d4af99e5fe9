/* SPDX-License-Identifier: MPL-2.0 */
/*
 * failover.h - the one public header of the failover core: what the shim and the tests may call.
 *
 * The core is sans-I/O. It takes bytes, events and the time as arguments; what it wants done comes back as bytes to
 * send (failover_output), actions for the transport (failover_next_action), changes of leases (failover_next_lease),
 * records to store (failover_host.store) and the next deadline (failover_deadline). It reads no clock, opens no
 * socket, starts no thread and draws no random number.
 *
 * One `struct failover` is one relationship. Nothing here locks: the caller holds one mutex for each relationship.
 *
 * Addresses are IPv4 in host byte order. Times are Unix seconds in 64 bits; FAILOVER_TIME_INFINITE has no end.
 * Lifetimes are seconds in 32 bits; FAILOVER_LIFETIME_INFINITE is DHCP's 0xffffffff. "The draft" is
 * draft-ietf-dhc-failover-12.
 */
#ifndef FAILOVER_H
#define FAILOVER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FAILOVER_LIFETIME_INFINITE UINT32_MAX
#define FAILOVER_NAME_MAX          255
#define FAILOVER_TEXT_MAX          256
#define FAILOVER_CLIENT_ID_MAX     255
/* How long a server may have gone on serving after the last time it recorded that it did (seconds). */
#define FAILOVER_SERVED_INTERVAL 5

struct failover;

/* The numbers are the wire's, but for RECOVER-WAIT (254 there). */
enum failover_state {
    FAILOVER_UNKNOWN = 0,
    FAILOVER_STARTUP = 1,
    FAILOVER_NORMAL = 2,
    FAILOVER_COMMUNICATIONS_INTERRUPTED = 3,
    FAILOVER_PARTNER_DOWN = 4,
    FAILOVER_POTENTIAL_CONFLICT = 5,
    FAILOVER_RECOVER = 6,
    FAILOVER_PAUSED = 7,
    FAILOVER_SHUTDOWN = 8,
    FAILOVER_RECOVER_DONE = 9,
    FAILOVER_RESOLUTION_INTERRUPTED = 10,
    FAILOVER_CONFLICT_DONE = 11,
    FAILOVER_RECOVER_WAIT = 12,
    FAILOVER_STATES
};

/* Binding status as on the wire. BACKUP is never stored: a free address is FREE and has an owner. */
enum failover_binding_status {
    FAILOVER_FREE = 1,
    FAILOVER_ACTIVE = 2,
    FAILOVER_EXPIRED = 3,
    FAILOVER_RELEASED = 4,
    FAILOVER_ABANDONED = 5,
    FAILOVER_RESET = 6,
    FAILOVER_BACKUP = 7,
    FAILOVER_BINDING_STATUSES
};

/* Whose a free address is. NOBODY: this server has no record and counts it as the partner's. */
enum failover_owner { FAILOVER_NOBODY = 0, FAILOVER_MINE = 1, FAILOVER_PARTNERS = 2 };

enum failover_role { FAILOVER_PRIMARY = 1, FAILOVER_SECONDARY = 2 };

enum failover_severity { FAILOVER_DEBUG, FAILOVER_INFO, FAILOVER_WARN, FAILOVER_ERROR };

enum failover_interrupted_leases { FAILOVER_REPLACE, FAILOVER_EXTEND };

/* The present moment: `wall` in Unix seconds, `mono` in milliseconds of a clock that never jumps. */
struct failover_clock {
    int64_t wall;
    int64_t mono;
};

/* Who a client is: its hardware address (htype, then chaddr) and its client identifier (option 61), if it sent one. */
struct failover_client {
    uint8_t hardware_length;
    uint8_t hardware[FAILOVER_HARDWARE_MAX];
    uint16_t id_length;
    uint8_t id[FAILOVER_CLIENT_ID_MAX];
};

struct failover_peer_address {
    uint32_t address;
    uint16_t port;
};

/* Ranges and defaults are those of the README; the shim checks them and says where a value is wrong. */
struct failover_config {
    char name[FAILOVER_NAME_MAX + 1];
    enum failover_role role; /* the configured one */
    struct failover_peer_address local;
    struct failover_peer_address partner;
    uint32_t mclt;                     /* seconds; a secondary's counts only until the primary has said its own */
    uint8_t hba[FAILOVER_HBA_SIZE];    /* likewise */
    uint32_t load_balance_max_seconds; /* 0: no load balancing */
    uint32_t max_response_delay;       /* seconds */
    uint32_t max_unacked_updates;
    uint32_t startup_delay;     /* seconds */
    uint32_t auto_partner_down; /* seconds; 0: off */
    enum failover_interrupted_leases interrupted_leases;
    bool partner_down_full;        /* partner-down-lease-time: "full" */
    uint32_t max_lease_misbalance; /* percent */
    uint32_t max_lease_ownership;  /* percent */
    uint32_t min_balance;          /* seconds */
    uint32_t max_balance;          /* seconds */
};

/* Fills in what the README gives as defaults; name, role and addresses remain the caller's. */
void failover_config_defaults(struct failover_config *config);

/* The durable memory of a relationship. */
struct failover_record {
    enum failover_state state;
    int64_t stos; /* start time of state */
    enum failover_state partner_state;
    int64_t partner_stos; /* in the partner's clock */
    uint32_t mclt;        /* in force for grants; 0: never learnt */
    uint32_t mclt_before; /* the one before it, for waits until mclt_taken + mclt_before (design, rule 10) */
    int64_t mclt_taken;   /* when the partner took the present MCLT; 0: not yet */
    int32_t skew;         /* partner's clock minus ours at the last measurement, seconds */
    enum failover_role acting_primary; /* which of the configured roles acts as primary ... */
    int64_t acting_since;              /* ... since when; 0 while it is the configured one */
    bool link_held_down;               /* by force-state communications-interrupted */
    uint32_t epoch;                    /* counts entries into NORMAL: marks of earlier epochs are void */
    enum failover_owner default_owner; /* of addresses that have no record of their own */
    int64_t last_served;               /* see FAILOVER_SERVED_INTERVAL */
    int64_t last_granted;              /* when a client was last given or extended a lease here */
    int64_t last_heard;                /* when the partner was last heard of, to FAILOVER_SERVED_INTERVAL */
    uint8_t hba[FAILOVER_HBA_SIZE];
    bool hba_known;
    char process[33]; /* the process that wrote this, by its random id */
};

/* The durable memory of one address. */
struct failover_binding {
    uint32_t address;
    enum failover_binding_status status;
    enum failover_owner owner;     /* counts while FREE */
    int64_t starts;                /* start time of the binding's state */
    int64_t ends;                  /* promised end; ABANDONED: end of the probation; FREE: not before this */
    int64_t given;                 /* end of the lease as last given to the client here or there */
    int64_t cltt;                  /* client's last transaction time; 0: none */
    int64_t sent;                  /* potential expiry of our next or last BNDUPD */
    int64_t acked;                 /* design, section 1 */
    int64_t received;              /* potential expiry of the partner's last accepted BNDUPD for this lease */
    uint32_t xid;                  /* DHCP transaction that made or last extended the lease here; 0: none */
    uint32_t extended_epoch;       /* extended or given while interrupted in that epoch; 0: not */
    uint16_t ip_flags;             /* as on the wire */
    bool update_due;               /* the partner doesn't know this yet */
    bool update_sent;              /* a BNDUPD for the present lease may have left, or the partner told us of it */
    bool state_sent;               /* a BNDUPD for the present status may have left */
    bool granted_here;             /* the last grant was this server's */
    bool made_partner_down;        /* the lease was first made in PARTNER-DOWN */
    bool reserved;                 /* a reservation of Kea's; not durable */
    struct failover_client client; /* FREE: the last one */
};

/* What the core asks of its surroundings at any time. `context` is handed back as it was given. */
struct failover_host {
    void *context;
    /*
     * Stores one record; exactly one of `relationship` and `binding` is set. The call returns at once. `sequence` grows
     * with each call, and failover_committed() tells later that everything up to a sequence is on disk; 0: nothing
     * waits for this record.
     */
    void (*store)(void *context, uint64_t sequence, const struct failover_record *relationship,
                  const struct failover_binding *binding);
    void (*log)(void *context, enum failover_severity severity, const char *text);
};

/* ---- Life -------------------------------------------------------------------------------------------------------- */

/* Null if there is no memory. */
struct failover *failover_create(const struct failover_config *config, const struct failover_host *host);
void failover_destroy(struct failover *f);

/*
 * Declares the addresses of one Kea pool, `first` to `last` inclusive, before anything is restored. False if it
 * overlaps a pool declared before, or memory is short.
 */
bool failover_add_pool(struct failover *f, uint32_t subnet_id, uint32_t first, uint32_t last);

/*
 * After the last pool: builds the binding table, with the record of the relationship or with null if the database has
 * none. False: no memory.
 */
bool failover_build(struct failover *f, const struct failover_record *record);
/* What the database has of an address. False: it is in no pool (any more), or memory is short. */
bool failover_restore_binding(struct failover *f, const struct failover_binding *binding);
/* A reservation of Kea's is for this address; one outside the pools is not ours to know. After failover_build(). */
void failover_reserve(struct failover *f, uint32_t address);

/*
 * Begins to live. `process` is the random id of this process, 32 characters at most: if the restored record bears the
 * same, this is a reconfiguration and the state goes on, else it is a start and begins in STARTUP (design, rule 13).
 */
void failover_start(struct failover *f, const char *process, struct failover_clock now);

/* A clean end of service: notes that this server has served until now. */
void failover_stop(struct failover *f, struct failover_clock now);

/* A lease as Kea's database has it. */
struct failover_lease {
    uint32_t address;
    struct failover_client client;
    int64_t cltt;
    int64_t ends;
    bool declined;
};

/*
 * Reconciliation after failover_start: one call for each row that Kea holds in a covered subnet, then one
 * failover_adopted_all. A lease found in either database counts, the later end wins (design, rule 12); what differs
 * comes out of failover_next_lease, what the partner doesn't know is queued for it.
 */
void failover_adopt(struct failover *f, const struct failover_lease *lease, struct failover_clock now);
void failover_adopted_all(struct failover *f, struct failover_clock now);

/* ---- Time -------------------------------------------------------------------------------------------------------- */

/* Does all that is due. Call it at failover_deadline() or later, and after every event below. */
void failover_tick(struct failover *f, struct failover_clock now);
/* The monotonic time in ms at which failover_tick() is due; INT64_MAX if never. */
int64_t failover_deadline(const struct failover *f);

/* ---- Storage ----------------------------------------------------------------------------------------------------- */

/* Everything up to `sequence` is on disk: what waited for it may leave. */
void failover_committed(struct failover *f, uint64_t sequence, struct failover_clock now);
/*
 * Is everything that is known of the address on disk? Before that Kea's row of its lease must not go while the client
 * may use it: the row is all that would outlive this process.
 */
bool failover_is_on_disk(struct failover *f, uint32_t address);
uint64_t failover_sequence(const struct failover *f);

/* ---- Link -------------------------------------------------------------------------------------------------------- */

enum failover_action_type { FAILOVER_ACTION_NONE, FAILOVER_ACTION_DIAL, FAILOVER_ACTION_CLOSE };

struct failover_action {
    enum failover_action_type type;
    int connection; /* CLOSE: which; what failover_output() still has for it goes first */
};

/* What the transport shall do next; false when there is nothing. */
bool failover_next_action(struct failover *f, struct failover_action *action);

/*
 * A TCP connection with the partner is up: `connection` is the transport's name for it, non-negative. False: too many
 * connections are open that have not completed CONNECT; close it.
 */
bool failover_connected(struct failover *f, int connection, bool dialled, struct failover_clock now);
void failover_dial_failed(struct failover *f, const char *why, struct failover_clock now);
void failover_received(struct failover *f, int connection, const uint8_t *data, size_t length,
                       struct failover_clock now);
void failover_disconnected(struct failover *f, int connection, const char *why, struct failover_clock now);
/*
 * Writes whole messages for `connection`, at most `capacity` (no less than FAILOVER_MESSAGE_SIZE_MAX) bytes, and
 * returns how many; 0: nothing can leave now.
 */
size_t failover_output(struct failover *f, int connection, uint8_t *out, size_t capacity, struct failover_clock now);

/* ---- Clients ----------------------------------------------------------------------------------------------------- */

enum failover_verdict { FAILOVER_GO_ON, FAILOVER_REFUSE, FAILOVER_SILENCE };

/* Why, in words for the log and for failover-binding. */
struct failover_why {
    char text[FAILOVER_TEXT_MAX];
};

/* A client that asks for an address: DISCOVER, REQUEST, or a lease that Kea is about to give. */
struct failover_ask {
    const struct failover_client *client;
    uint32_t address;
    uint32_t xid;
    uint32_t desired; /* lifetime that Kea would give, seconds */
    bool reserved;    /* the address is reserved for this client */
    bool selects_us;  /* REQUEST that carries this server's identifier */
};

struct failover_discover {
    const struct failover_client *client;
    const uint8_t *balance_key; /* option 61 if sent, else chaddr */
    size_t balance_key_length;
    uint16_t secs;           /* the field as it came, in host byte order */
    const uint32_t *subnets; /* where the client may be served: the subnets of its shared network */
    size_t subnet_count;
    uint32_t reserved; /* the address reserved for it in a pool; 0: none */
};

/* Is DISCOVER answered? GO_ON or SILENCE. */
enum failover_verdict failover_on_discover(struct failover *f, const struct failover_discover *discover,
                                           struct failover_clock now, struct failover_why *why);
/* The three verdicts of the design's rule 4. An address in no pool of ours: GO_ON if reserved, else REFUSE. */
enum failover_verdict failover_on_request(struct failover *f, const struct failover_ask *ask, struct failover_clock now,
                                          struct failover_why *why);
/* GO_ON or SILENCE for INFORM, RELEASE and DECLINE. */
enum failover_verdict failover_on_other(struct failover *f, struct failover_why *why);
/* Is no client served at all in this state? */
bool failover_is_silent(const struct failover *f);
/* May a client be served from a reservation outside all pools? In RECOVER and RECOVER-WAIT too (design, decision 4). */
bool failover_serves_outside_pools(const struct failover *f);

/*
 * May this client have this address now, and for how long? `*lifetime` is never longer than what Kea would give,
 * but for what is left plus the MCLT under `replace`. An address in no pool of ours: yes, as Kea will.
 */
bool failover_may_have(struct failover *f, const struct failover_ask *ask, struct failover_clock now,
                       uint32_t *lifetime, struct failover_why *why);

/*
 * The next own free address of the pool that begins with `pool_first`, 0 if there is none. Each call gives another
 * one until all were given; failover_own_free() tells how many there are.
 */
uint32_t failover_next_own(struct failover *f, uint32_t pool_first, struct failover_clock now);
uint32_t failover_own_free(struct failover *f, uint32_t pool_first, struct failover_clock now);
/* No address was found for a client's DISCOVER: counted, and logged once for each client and state. */
void failover_exhausted(struct failover *f, const struct failover_client *client, struct failover_clock now);

/*
 * Kea has given `ask->client` the address until `cltt` + `lifetime`. False: it is not this client's to have any more,
 * the row must go again and the client must not be answered.
 */
bool failover_bound(struct failover *f, const struct failover_ask *ask, int64_t cltt, uint32_t lifetime,
                    struct failover_clock now);
void failover_released(struct failover *f, uint32_t address, const struct failover_client *client,
                       struct failover_clock now);
void failover_declined(struct failover *f, uint32_t address, int64_t until, struct failover_clock now);

/* ---- Leases for Kea ---------------------------------------------------------------------------------------------- */

enum failover_lease_change_type {
    FAILOVER_LEASE_PUT,   /* `client` holds the address until `ends`; any other row on it goes */
    FAILOVER_LEASE_REMOVE /* the row of `client` goes, unless its cltt is later than `cltt` */
};

struct failover_lease_change {
    enum failover_lease_change_type type;
    struct failover_lease lease;
};

/* The next change to bring into Kea's lease database; false when there is none that doesn't wait for the disk. */
bool failover_next_lease(struct failover *f, struct failover_lease_change *change);

/* ---- Operators --------------------------------------------------------------------------------------------------- */

enum failover_result { FAILOVER_OK = 0, FAILOVER_ERROR_RESULT = 1, FAILOVER_GUARDED = 4 };

struct failover_force {
    enum failover_state state;
    bool override_guard;
    int64_t since; /* with partner-down; 0: not given */
};

#define FAILOVER_EFFECTS_MAX 6

/* What a force would do; failover_force_plan() fills it in, failover_force_apply() carries it out. */
struct failover_plan {
    enum failover_result result;
    char text[FAILOVER_TEXT_MAX]; /* why not, or what has been done */
    enum failover_state previous;
    struct failover_record record; /* to be on disk before failover_force_apply() */
    bool let_link_go;              /* the force lets a held-down link go */
    bool enter;                    /* the state is entered anew */
    char effects[FAILOVER_EFFECTS_MAX][FAILOVER_TEXT_MAX];
    size_t effect_count;
};

/* Changes nothing. A result other than FAILOVER_OK: the text says why, and there is nothing to apply. */
void failover_force_plan(struct failover *f, const struct failover_force *force, struct failover_clock now,
                         struct failover_plan *plan);
void failover_force_apply(struct failover *f, const struct failover_force *force, const struct failover_plan *plan,
                          struct failover_clock now);
/* The sequence under which the shim stores plan->record itself, ahead of failover_force_apply(). */
uint64_t failover_take_sequence(struct failover *f);
/* The durable record as it stands; what a failed force writes back. */
const struct failover_record *failover_get_record(const struct failover *f);
/* In SHUTDOWN: STATE(SHUTDOWN) has not left yet though the link is up. */
bool failover_shutdown_unsent(const struct failover *f);

/* Asks the partner for everything. False: `why` says what is in the way. */
bool failover_sync(struct failover *f, struct failover_clock now, struct failover_why *why);

/* The states that force-state takes, in both spellings; UNKNOWN if `text` is none of them. */
enum failover_state failover_forced_state(const char *text);
/* The accepted spellings as one text, for errors. */
const char *failover_forced_states(void);

const char *failover_state_name(enum failover_state state);
const char *failover_binding_status_name(enum failover_binding_status status);
const char *failover_role_name(enum failover_role role);
/* "mine", "the partner's" or "nobody's". */
const char *failover_owner_name(enum failover_owner owner);

struct failover_counters {
    uint64_t updates_sent, updates_received, updates_acked, updates_rejected; /* rejected by the partner */
    uint64_t rejects_sent;
    uint64_t renewals_refused;   /* DHCPNAK because of `replace` */
    uint64_t requests_refused;   /* every DHCPNAK that the hook caused */
    uint64_t queries_silent;     /* dropped because of the state or the partner's ownership */
    uint64_t queries_balanced;   /* left to the partner by load balancing */
    uint64_t addresses_replaced; /* own address offered in place of Kea's candidate */
    uint64_t exhausted;          /* DISCOVER without an own free address */
    uint64_t clashes;            /* addresses found bound to two clients */
    uint64_t connects, disconnects;
};

/* A step that is pending, and the seconds until it. */
struct failover_pending_step {
    const char *what;
    int64_t seconds;
};
#define FAILOVER_PENDING_MAX 4

/* Everything that one server asked the other for. */
struct failover_transfer {
    bool sending, receiving;
    uint64_t bindings; /* sent and acknowledged, or received, so far */
    uint64_t expected; /* SENDING: how many there are; else 0 */
    int64_t seconds;   /* since it began */
    unsigned percent;  /* SENDING */
    int64_t left;      /* SENDING: seconds that the rest will take; -1: not known yet */
};

struct failover_status {
    enum failover_state state;
    int64_t since;
    enum failover_role configured_role;
    enum failover_role role; /* the acting one */
    enum failover_state partner_state;
    int64_t partner_since;
    bool linked; /* CONNECT is through and the partner's state is known */
    bool link_held_down;
    bool partner_is_ours; /* the partner is this library, not a dhcpd */
    int32_t skew;
    uint32_t mclt;
    uint64_t by_status[FAILOVER_BINDING_STATUSES]; /* FREE: free and mine; BACKUP: free and not mine */
    uint64_t reserved;
    uint64_t updates_queued, updates_unacked;
    struct failover_transfer transfer;
    bool storing; /* the database took everything so far */
    struct failover_pending_step pending[FAILOVER_PENDING_MAX];
    size_t pending_count;
    struct failover_counters counters;
    char why[2 * FAILOVER_TEXT_MAX];
};

void failover_get_status(struct failover *f, struct failover_clock now, struct failover_status *status);
/* The state as clients see it; cheap. */
enum failover_state failover_current_state(const struct failover *f);
struct failover_counters *failover_get_counters(struct failover *f);

/* The subnet whose pool has the address; 0: it is in no pool of this relationship. */
uint32_t failover_subnet_of(struct failover *f, uint32_t address);
/* The binding of an address; false: it is in no pool of this relationship. */
bool failover_get_binding(struct failover *f, uint32_t address, struct failover_binding *binding);
/* When an address that waits is over its wait; 0: it doesn't wait for a time. */
int64_t failover_binding_wait_over(struct failover *f, uint32_t address);
/* Why a client would or would not get the address now, in a sentence. */
void failover_explain_binding(struct failover *f, uint32_t address, struct failover_clock now,
                              struct failover_why *why);
/* Tells whether the database can be written; it is logged once, when that changes. */
void failover_storing(struct failover *f, bool works, const char *why);

/* The same client, as Kea's Lease4::belongsToClient() has it: by identifier if both have one, else by hardware. */
bool failover_same_client(const struct failover_client *a, const struct failover_client *b);

#ifdef __cplusplus
}
#endif
#endif
