/* SPDX-License-Identifier: MPL-2.0 */
/* state.h - the state machine of draft section 9, as one table. */
#ifndef FAILOVER_STATE_H
#define FAILOVER_STATE_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Events 0 to FAILOVER_STATES - 1: the partner shows that state. */
enum state_event {
    EVENT_LINK_DOWN = FAILOVER_STATES,
    EVENT_STARTUP_OVER,
    EVENT_UPDDONE,
    EVENT_WAIT_OVER,         /* RECOVER-WAIT */
    EVENT_AUTO_PARTNER_DOWN, /* the draft's safe period, section 10 */
    STATE_EVENTS
};

/* What the table says of (state, event); `next` may be one of the decisions below. */
enum state_decision {
    STAY = 0,
    /* 1 to FAILOVER_STATES - 1: that state */
    UNEXPECTED = FAILOVER_STATES, /* logged, nothing changes */
    ASK_ALL,                      /* stay, and send UPDREQALL */
    RECOVER_OR_CONFLICT,          /* design, rule 7 */
    WAIT_OR_DONE,                 /* RECOVER-WAIT, or RECOVER-DONE at first contact */
    CONFLICT_RESOLVED,            /* UPDDONE in POTENTIAL-CONFLICT: by role */
    CONFLICT_TURN,                /* the primary is done: the secondary asks */
    LET_DHCPD_ASK,                /* a dhcpd in RECOVER that asks for nothing is shown COMMUNICATIONS-INTERRUPTED */
};

struct state_row {
    uint8_t next;
    const char *section; /* of the draft, or the design's rule; null: the pair is missing from the table */
};

const struct state_row *state_lookup(enum failover_state state, enum state_event event);
const char *state_event_name(enum state_event event);

/* Applies an event. In STARTUP the partner's state is applied to the recorded state. */
void state_event(struct failover *f, enum state_event event);

/* The partner has sent STATE. */
void state_received(struct failover *f, const struct failover_message *m);

/* Enters `next` with a STOS of `stos`, does what entering it means, stores and announces it. */
void state_enter(struct failover *f, enum failover_state next, int64_t stos);

/* Begins STARTUP, as after a process start. */
void state_startup(struct failover *f);

/* What comes due by time alone. */
void state_tick(struct failover *f);
int64_t state_deadline(const struct failover *f);

/* In RECOVER and RECOVER-WAIT: the wall time at which RECOVER-WAIT ends. */
int64_t state_wait_over(const struct failover *f);
/* The monotonic ms at which auto-partner-down strikes; INT64_MAX: not pending. */
int64_t state_auto_partner_down(const struct failover *f);

/* Does a server in this state answer clients at all? For last_served. */
bool state_serves(enum failover_state state);

/* Becomes or remains acting primary, as entering PARTNER-DOWN means. */
void state_act_as_primary(struct failover *f);
enum failover_role state_acting_role(const struct failover *f);

/* The connection is a link now: announces the present state. */
void state_link_up(struct failover *f);
/* Sends the present state to the partner once it is stored. */
void state_announce(struct failover *f);
enum failover_state state_to_show(const struct failover *f);

#ifdef __cplusplus
}
#endif
#endif
