/* SPDX-License-Identifier: MPL-2.0 */
#include "state.h"

#include <assert.h>
#include <string.h>

#include "balance.h"
#include "peer.h"
#include "update.h"

#define ST FAILOVER_STARTUP
#define NO FAILOVER_NORMAL
#define CI FAILOVER_COMMUNICATIONS_INTERRUPTED
#define PD FAILOVER_PARTNER_DOWN
#define PC FAILOVER_POTENTIAL_CONFLICT
#define RE FAILOVER_RECOVER
#define PA FAILOVER_PAUSED
#define SH FAILOVER_SHUTDOWN
#define RD FAILOVER_RECOVER_DONE
#define RI FAILOVER_RESOLUTION_INTERRUPTED
#define CD FAILOVER_CONFLICT_DONE
#define RW FAILOVER_RECOVER_WAIT

/*
 * The whole machine. Sections are the draft's, rules the design's. In STARTUP the recorded state's row counts (9.3.2).
 *
 * Two cells are softer than the draft's: PARTNER-DOWN stays where the partner shows NORMAL or
 * COMMUNICATIONS-INTERRUPTED, because rule 7 leaves it to the partner whether it recovers or conflicts, and it says so
 * as soon as it has seen our PARTNER-DOWN. And RECOVER-DONE ends a POTENTIAL-CONFLICT, because who recovered has given
 * up what it claimed; dhcpd would wait there for ever. One is harder: a dhcpd in RECOVER that meets RECOVER-WAIT or
 * RECOVER-DONE on a new connection doesn't ask for anything, and both would be silent for ever; it asks who shows it
 * COMMUNICATIONS-INTERRUPTED, which is as safe for us as it is whenever a partner recovers. And two that are both in
 * CONFLICT-DONE, which the draft doesn't know, begin again: each would wait for the other's NORMAL for ever.
 */
/* clang-format off */
static const struct state_row table[FAILOVER_STATES][STATE_EVENTS] = {
    [FAILOVER_UNKNOWN] = {{UNEXPECTED, "9.1"}},
    [ST] = {{UNEXPECTED, "9.3.2"}},
    [NO] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.8.4"}, [ST] = {UNEXPECTED, "9.8.4"},
        [NO] = {STAY, "9.8"},         [CI] = {STAY, "9.9.3"},     [PD] = {RE, "rule 7"},
        [PC] = {PC, "rule 7"},        [RE] = {CI, "rule 7"},      [PA] = {CI, "9.8.4"},
        [SH] = {PD, "9.8.4"},         [RD] = {STAY, "9.9.3"},     [RI] = {PC, "9.9.3"},
        [CD] = {PC, "9.9.3"},         [RW] = {CI, "rule 7"},
        [EVENT_LINK_DOWN] = {CI, "9.8.4"},
        [EVENT_STARTUP_OVER] = {CI, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [CI] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.9.3"}, [ST] = {UNEXPECTED, "9.9.3"},
        [NO] = {NO, "9.9.3"},         [CI] = {NO, "9.9.3"},       [PD] = {RECOVER_OR_CONFLICT, "rule 7"},
        [PC] = {PC, "9.9.3"},         [RE] = {STAY, "9.9.3"},     [PA] = {STAY, "9.9.3"},
        [SH] = {PD, "9.9.3"},         [RD] = {NO, "9.9.3"},       [RI] = {PC, "9.9.3"},
        [CD] = {PC, "9.9.3"},         [RW] = {STAY, "9.9.3"},
        [EVENT_LINK_DOWN] = {STAY, "9.9"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {PD, "10"},
    },
    [PD] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.4.3"}, [ST] = {UNEXPECTED, "9.4.3"},
        [NO] = {STAY, "rule 7"},      [CI] = {STAY, "rule 7"},    [PD] = {PC, "9.4.3"},
        [PC] = {PC, "9.4.3"},         [RE] = {STAY, "9.4.3"},     [PA] = {STAY, "9.4.3"},
        [SH] = {STAY, "9.4.3"},       [RD] = {NO, "9.4.3"},       [RI] = {PC, "9.4.3"},
        [CD] = {PC, "9.4.3"},         [RW] = {STAY, "9.4.3"},
        [EVENT_LINK_DOWN] = {STAY, "9.4.2"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [PC] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.10.3"}, [ST] = {UNEXPECTED, "9.10.3"},
        [NO] = {UNEXPECTED, "9.10.3"}, [CI] = {STAY, "9.9.3"},    [PD] = {STAY, "9.4.3"},
        [PC] = {STAY, "9.10.3"},      [RE] = {STAY, "9.5.2"},     [PA] = {STAY, "9.13"},
        [SH] = {PD, "rule 7"},        [RD] = {NO, "9.7.2"},       [RI] = {STAY, "9.11.3"},
        [CD] = {CONFLICT_TURN, "9.10.3"}, [RW] = {STAY, "9.6.2"},
        [EVENT_LINK_DOWN] = {RI, "9.10.3"},
        [EVENT_STARTUP_OVER] = {RI, "9.3.2"},
        [EVENT_UPDDONE] = {CONFLICT_RESOLVED, "9.10.3"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [RE] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.5.2"}, [ST] = {UNEXPECTED, "9.5.2"},
        [NO] = {ASK_ALL, "9.5.2"},    [CI] = {ASK_ALL, "9.5.2"},  [PD] = {ASK_ALL, "9.5.2"},
        [PC] = {PC, "9.5.2"},         [RE] = {ASK_ALL, "9.5.2"},  [PA] = {ASK_ALL, "9.5.2"},
        [SH] = {PD, "rule 7"},        [RD] = {ASK_ALL, "9.5.2"},  [RI] = {PC, "9.5.2"},
        [CD] = {PC, "9.5.2"},         [RW] = {ASK_ALL, "9.5.2"},
        [EVENT_LINK_DOWN] = {STAY, "9.5.2"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {WAIT_OR_DONE, "9.5.2"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [PA] = {{UNEXPECTED, "9.13"}},
    [SH] = {
        [FAILOVER_UNKNOWN] = {STAY, "9.14.3"}, [ST] = {STAY, "9.14.3"},
        [NO] = {STAY, "9.14.3"},      [CI] = {STAY, "9.14.3"},    [PD] = {STAY, "9.14.2"},
        [PC] = {STAY, "9.14.3"},      [RE] = {STAY, "9.14.3"},    [PA] = {STAY, "9.14.3"},
        [SH] = {STAY, "9.14.3"},      [RD] = {STAY, "9.14.3"},    [RI] = {STAY, "9.14.3"},
        [CD] = {STAY, "9.14.3"},      [RW] = {STAY, "9.14.3"},
        [EVENT_LINK_DOWN] = {STAY, "9.14.2"},
        [EVENT_STARTUP_OVER] = {STAY, "9.14.3"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [RD] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.7.2"}, [ST] = {UNEXPECTED, "9.7.2"},
        [NO] = {NO, "9.7.2"},         [CI] = {STAY, "9.7.2"},     [PD] = {STAY, "9.7.2"},
        [PC] = {PC, "9.2"},           [RE] = {LET_DHCPD_ASK, "9.7.2"}, [PA] = {STAY, "9.7.2"},
        [SH] = {PD, "rule 7"},        [RD] = {NO, "9.7.2"},       [RI] = {PC, "9.2"},
        [CD] = {PC, "9.2"},           [RW] = {STAY, "9.7.2"},
        [EVENT_LINK_DOWN] = {STAY, "9.7.2"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [RI] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.11.3"}, [ST] = {UNEXPECTED, "9.11.3"},
        [NO] = {PC, "9.11.3"},        [CI] = {PC, "9.11.3"},      [PD] = {PC, "9.11.3"},
        [PC] = {PC, "9.11.3"},        [RE] = {PC, "9.11.3"},      [PA] = {STAY, "9.13"},
        [SH] = {PD, "rule 7"},        [RD] = {PC, "9.11.3"},      [RI] = {PC, "9.11.3"},
        [CD] = {PC, "9.11.3"},        [RW] = {PC, "9.11.3"},
        [EVENT_LINK_DOWN] = {STAY, "9.11"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [CD] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.12.3"}, [ST] = {UNEXPECTED, "9.12.3"},
        [NO] = {NO, "9.12.3"},        [CI] = {STAY, "9.12.2"},    [PD] = {STAY, "9.12.2"},
        [PC] = {STAY, "9.12.2"},      [RE] = {STAY, "9.12.2"},    [PA] = {STAY, "9.13"},
        [SH] = {PD, "rule 7"},        [RD] = {NO, "9.7.2"},       [RI] = {STAY, "9.12.2"},
        [CD] = {PC, "9.2"},           [RW] = {STAY, "9.12.2"},
        [EVENT_LINK_DOWN] = {STAY, "9.12.3"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {UNEXPECTED, "9.6"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
    [RW] = {
        [FAILOVER_UNKNOWN] = {UNEXPECTED, "9.6.2"}, [ST] = {UNEXPECTED, "9.6.2"},
        [NO] = {STAY, "9.6.2"},       [CI] = {STAY, "9.6.2"},     [PD] = {STAY, "9.6.2"},
        [PC] = {STAY, "9.6.2"},       [RE] = {STAY, "9.6.2"},     [PA] = {STAY, "9.6.2"},
        [SH] = {STAY, "9.6.2"},       [RD] = {STAY, "9.6.2"},     [RI] = {STAY, "9.6.2"},
        [CD] = {STAY, "9.6.2"},       [RW] = {STAY, "9.6.2"},
        [EVENT_LINK_DOWN] = {STAY, "9.6.2"},
        [EVENT_STARTUP_OVER] = {STAY, "9.3.2"},
        [EVENT_UPDDONE] = {STAY, "7.5"},
        [EVENT_WAIT_OVER] = {RD, "9.6.2"},
        [EVENT_AUTO_PARTNER_DOWN] = {UNEXPECTED, "10"},
    },
};
/* clang-format on */

/* A server is never UNKNOWN or PAUSED, and in STARTUP another row counts: one cell stands for all. */
const struct state_row *state_lookup(enum failover_state state, enum state_event event) {
    bool never = state == FAILOVER_UNKNOWN || state == ST || state == PA;
    return &table[state][never ? 0 : event];
}

const char *state_event_name(enum state_event event) {
    static const char *const names[] = {
        [EVENT_LINK_DOWN - FAILOVER_STATES] = "link down",
        [EVENT_STARTUP_OVER - FAILOVER_STATES] = "partner not heard of during startup",
        [EVENT_UPDDONE - FAILOVER_STATES] = "UPDDONE",
        [EVENT_WAIT_OVER - FAILOVER_STATES] = "end of recover-wait",
        [EVENT_AUTO_PARTNER_DOWN - FAILOVER_STATES] = "auto-partner-down",
    };
    return event < EVENT_LINK_DOWN ? failover_state_name((enum failover_state)event) : names[event - FAILOVER_STATES];
}

bool state_serves(enum failover_state state) {
    return state == NO || state == CI || state == PD || state == RD || state == RI;
}

enum failover_role state_acting_role(const struct failover *f) {
    bool primary = f->record.acting_primary == f->config.role;
    return primary ? FAILOVER_PRIMARY : FAILOVER_SECONDARY;
}

void state_act_as_primary(struct failover *f) {
    f->record.acting_primary = f->config.role;
    f->record.acting_since = f->now.wall;
}

/* ---- Announcing -------------------------------------------------------------------------------------------------- */

enum failover_state state_to_show(const struct failover *f) {
    return f->record.state; /* in STARTUP the one from before */
}

/*
 * Three states of dhcpd break when they see the wrong one: it ends by itself in CONFLICT-DONE, and in NORMAL and
 * POTENTIAL-CONFLICT it goes to SHUTDOWN, where only an operator gets it out.
 */
static bool breaks_dhcpd(enum failover_state show, enum failover_state theirs) {
    switch (theirs) {
    case CD:
        return show != NO && show != PC && show != RI;
    case NO:
        return show == PC || show == RI || show == CD;
    default:
        return theirs == PC && show == NO;
    }
}

/* Which of them it is in isn't known before its first STATE, that it always sends unasked: ours waits for it where the
 * two of them may be in the middle of a resolution, or nothing at all is known. */
static bool waits_for_dhcpd(const struct failover *f, enum failover_state show) {
    enum failover_state theirs = f->record.partner_state;
    bool nothing_known = theirs == FAILOVER_UNKNOWN && !f->peer.wire_primary; /* only a primary is in CONFLICT-DONE */
    return show == RI || show == CD || theirs == PC || theirs == CD || nothing_known;
}

void state_announce(struct failover *f) {
    enum failover_state show = state_to_show(f);
    if (f->peer.link == NULL || f->peer.withdrawn) {
        return;
    }
    if (!f->peer.partner_is_ours && !f->peer.state_known && waits_for_dhcpd(f, show)) {
        return;
    }
    if (!f->peer.partner_is_ours && breaks_dhcpd(show, f->record.partner_state)) {
        core_log(f, FAILOVER_WARN, "the partner in %s must not see %s: the connection is given up for now",
                 failover_state_name(f->record.partner_state), failover_state_name(show));
        f->peer.withdrawn = true;
        return;
    }
    f->peer.announced = true;
    struct failover_message m = {.type = FAILOVER_STATE};
    m.server_state = show == RW ? 254 : (uint8_t)show;
    m.server_flags = f->state == ST ? FAILOVER_SERVER_FLAG_STARTUP : 0;
    m.start_time_of_state = f->record.stos;
    failover_put(&m, FAILOVER_OPT_SERVER_STATE);
    failover_put(&m, FAILOVER_OPT_SERVER_FLAGS);
    failover_put(&m, FAILOVER_OPT_START_TIME_OF_STATE);
    peer_send(f, &m, f->state_stored);
}

/* ---- Entering a state -------------------------------------------------------------------------------------------- */

static bool linked(const struct failover *f) {
    return f->peer.state_known;
}

/* The last moment at which this server can have served, seen from a state that doesn't (design, rule 8). */
static int64_t last_served(const struct failover *f, enum failover_state previous) {
    if (state_serves(previous)) {
        return f->now.wall;
    }
    if (f->record.last_served == 0) {
        return f->started.wall;
    }
    return time_min(f->record.last_served + FAILOVER_SERVED_INTERVAL, f->now.wall);
}

static void enter_normal(struct failover *f) {
    f->record.epoch++;
    if (f->peer.link != NULL && !f->peer.partner_is_ours) {
        /* A dhcpd knows no acting roles: back in NORMAL the configured ones count again. */
        f->record.acting_primary = FAILOVER_PRIMARY;
        f->record.acting_since = 0;
    }
}

/* Rule 6: a server that came here without a record, by way of a forced state, owns nothing until it has asked. */
static void ask_if_nobodys(struct failover *f) {
    if (linked(f) && f->record.default_owner == FAILOVER_NOBODY) {
        update_ask(f, FAILOVER_UPDREQALL);
    }
}

static void enter_recover(struct failover *f) {
    if (linked(f)) {
        update_ask(f, FAILOVER_UPDREQALL);
    }
}

static void enter_potential_conflict(struct failover *f) {
    if (!linked(f)) {
        return;
    }
    bool my_turn = f->peer.wire_primary || f->record.partner_state == CD;
    if (my_turn) {
        update_ask(f, FAILOVER_UPDREQ);
    }
}

static void enter_shutdown(struct failover *f) {
    f->record.last_served = f->now.wall;
    f->shutdown_close = f->now.mono + 5000;
}

/* What was leased in PARTNER-DOWN alone may be extended by the partner as soon as it serves again (rule 5). */
static void leave_partner_down(struct failover *f) {
    if (!f->made_partner_down) {
        return;
    }
    f->made_partner_down = false;
    for (uint32_t i = 0; i < f->table.record_count; i++) {
        struct entry *e = table_record(&f->table, i);
        if (e != NULL && e->made_partner_down) {
            e->made_partner_down = false;
            core_store_entry(f, e);
        }
    }
}

void state_enter(struct failover *f, enum failover_state next, int64_t stos) {
    enum failover_state previous = f->state;
    assert(next > FAILOVER_UNKNOWN && next < FAILOVER_STATES && next != ST && next != PA);
    if (next == RE) {
        f->recover_served = last_served(f, previous);
        f->first_contact = false;
    }
    f->state = next;
    f->record.state = next;
    f->record.stos = stos;
    f->entered = f->now.mono;
    f->shutdown_close = INT64_MAX;
    f->requests.closing = false;
    f->next_served = f->now.mono;
    memset(f->exhausted, 0, sizeof(f->exhausted));
    memcpy(f->record.process, f->process, sizeof(f->record.process));
    if (next == PD) {
        state_act_as_primary(f);
    } else {
        leave_partner_down(f);
    }
    if (next == NO) {
        enter_normal(f);
    }
    if (next == SH) {
        enter_shutdown(f);
    }
    core_store(f);
    f->state_stored = f->sequence;
    state_announce(f);
    core_reschedule_all(f);
    if (next == NO) {
        update_requeue(f);
        balance_run(f, BALANCE_ON_ENTRY);
        ask_if_nobodys(f);
    }
    if (next == RE) {
        enter_recover(f);
    }
    if (next == PC) {
        enter_potential_conflict(f);
    }
    if (next == RD && (linked(f) || f->record.partner_state == SH)) {
        /* The partner said long ago what we wait for, and won't say it again. */
        state_event(f, (enum state_event)f->record.partner_state);
    }
}

/* ---- Events ------------------------------------------------------------------------------------------------------ */

/* Has anything been granted since the partner entered its state? Its clock is brought to ours, a second is for both
 * clocks' rounding. */
static bool granted_since_partners_state(const struct failover *f) {
    return f->record.last_granted >= time_add(f->record.partner_stos, -(int64_t)f->record.skew - 1);
}

static enum failover_state decide(struct failover *f, enum failover_state from, uint8_t next) {
    switch (next) {
    case RECOVER_OR_CONFLICT:
        return granted_since_partners_state(f) ? PC : RE;
    case WAIT_OR_DONE:
        if (f->first_contact) {
            core_log(f, FAILOVER_WARN,
                     "first contact: neither server has a record of the relationship, recover-wait is skipped; if a "
                     "database was lost, clients of before may hold addresses that are given out again");
            return RD;
        }
        return state_wait_over(f) <= core_sure_now(f) ? RD : RW;
    case CONFLICT_RESOLVED:
        if (f->record.partner_state == CD) {
            return NO; /* also where the roles have changed since it went there: it waits for our NORMAL */
        }
        return f->peer.wire_primary ? CD : from;
    case CONFLICT_TURN:
        update_ask(f, FAILOVER_UPDREQ); /* the acting primary has */
        return from;
    case LET_DHCPD_ASK:
        return f->peer.partner_is_ours || f->first_contact || f->requests.partner_asked ? from : CI;
    case ASK_ALL:
        if (f->state != ST) {
            update_ask(f, FAILOVER_UPDREQALL);
        }
        return from;
    default:
        if ((from == PD || from == CI) && next == NO && f->record.partner_state == RD && update_close(f) > 0) {
            return from; /* with NORMAL it gives out its own addresses: it has to know first which of them are taken */
        }
        return next == STAY || next == UNEXPECTED ? from : (enum failover_state)next;
    }
}

/* The one hole that the draft leaves (9.3.2, "reasons to wait"): the partner may be in PARTNER-DOWN by now. */
static void warn_of_start_alone(struct failover *f) {
    int64_t away = f->now.wall - f->record.last_served;
    if (f->record.last_served != 0 && away > core_wait_mclt(f)) {
        core_log(
            f, FAILOVER_WARN,
            "starts alone after %lld s, more than the MCLT: if the partner has been in partner-down meanwhile and is "
            "down itself now, it may have given this server's addresses to others",
            (long long)away);
    }
}

/* Leaves STARTUP for the state from before, whose start time stays. */
static void resume(struct failover *f) {
    f->state = f->record.state;
    f->entered = f->now.mono;
    f->next_served = f->now.mono;
    memcpy(f->record.process, f->process, sizeof(f->record.process));
    core_log(f, FAILOVER_INFO, "state startup -> %s", failover_state_name(f->state));
    core_store(f);
    state_announce(f);
    core_reschedule_all(f);
    if (f->state == RE) {
        enter_recover(f);
    }
}

void state_link_up(struct failover *f) {
    if (f->state == NO) {
        core_log(f, FAILOVER_INFO, "state normal -> communications-interrupted: it was forced without a link");
        state_enter(f, CI, f->now.wall); /* the way to a common NORMAL is from there: the partner may have to be told */
        return;
    }
    state_announce(f);
}

static bool ends_startup(enum state_event event) {
    return event < EVENT_LINK_DOWN || event == EVENT_STARTUP_OVER;
}

void state_event(struct failover *f, enum state_event event) {
    enum failover_state from = state_to_show(f);
    const struct state_row *row = state_lookup(from, event);
    bool shown = event < EVENT_LINK_DOWN;
    if (f->requests.closing && shown && event != (enum state_event)RD) {
        f->requests.closing = false;
        core_reschedule_all(f);
    }
    if (f->state == ST && !ends_startup(event)) {
        return;
    }
    if (event == EVENT_STARTUP_OVER && state_serves(from)) {
        warn_of_start_alone(f);
    }
    if (row->next == UNEXPECTED) {
        core_log(f, FAILOVER_WARN, "%s%s is not expected in %s (section %s): ignored", shown ? "partner's state " : "",
                 state_event_name(event), failover_state_name(from), row->section);
    }
    enum failover_state next = decide(f, from, row->next);
    if (next != from) {
        core_log(f, next == PC || next == RI || next == PD ? FAILOVER_WARN : FAILOVER_INFO,
                 "state %s -> %s: %s%s (%s%s)", failover_state_name(f->state), failover_state_name(next),
                 shown ? "partner is in " : "", state_event_name(event), row->section[0] == 'r' ? "" : "section ",
                 row->section);
        state_enter(f, next, f->now.wall);
        return;
    }
    if (f->state == ST) {
        resume(f);
    }
}

static enum failover_state from_wire(uint8_t number) {
    return number == 254 ? RW : (enum failover_state)number;
}

/* Neither server has a record: dhcpd can't say so, its RECOVER (or RECOVER-DONE, if it was faster) is taken for it. */
static void note_first_contact(struct failover *f) {
    bool no_record = f->record.default_owner == FAILOVER_NOBODY && f->record.last_served == 0;
    if (!no_record) {
        return;
    }
    enum failover_state theirs = f->record.partner_state;
    bool first = f->peer.partner_is_ours ? theirs == RE && f->peer.partner_has_no_record : theirs == RE || theirs == RD;
    f->first_contact = f->first_contact || first;
}

static void take_state(struct failover *f, const struct failover_message *m) {
    enum failover_state theirs = from_wire(m->server_state);
    int64_t stos = failover_has(m, FAILOVER_OPT_START_TIME_OF_STATE) ? m->start_time_of_state : f->now.wall;
    bool startup = (m->server_flags & FAILOVER_SERVER_FLAG_STARTUP) != 0;
    if (theirs != f->record.partner_state || stos != f->record.partner_stos) {
        core_log(f, FAILOVER_INFO, "partner moves from %s to %s%s", failover_state_name(f->record.partner_state),
                 failover_state_name(theirs), startup ? " (in startup)" : "");
        f->record.partner_state = theirs;
        f->record.partner_stos = stos;
        core_store(f);
    }
    f->peer.state_known = true;
    note_first_contact(f);
    if (theirs == RE && f->peer.partner_forgot) { /* only ours says so */
        update_partner_forgot(f);
    }
    if (f->state == SH && theirs == PD) {
        f->shutdown_close = f->now.mono;
    }
    if (startup && state_to_show(f) == PD) {
        /* 9.4.3: a partner in STARTUP moves nobody out of PARTNER-DOWN. */
        if (f->state == ST) {
            resume(f);
        }
        return;
    }
    state_event(f, (enum state_event)theirs);
}

void state_received(struct failover *f, const struct failover_message *m) {
    take_state(f, m);
    if (!f->peer.announced) {
        state_announce(f);
    }
}

/* ---- Startup and time -------------------------------------------------------------------------------------------- */

void state_startup(struct failover *f) {
    const struct state_row *row = state_lookup(f->record.state, EVENT_STARTUP_OVER);
    if (row->next != STAY && row->next != UNEXPECTED) {
        f->record.state = (enum failover_state)row->next;
        f->record.stos = f->now.wall;
    }
    /* The state from before may be RECOVER, after SHUTDOWN: what an earlier RECOVER of this process found is over. */
    f->recover_served = last_served(f, f->state);
    f->first_contact = false;
    f->state = ST;
    f->entered = f->now.mono;
    f->startup_over = f->now.mono + (int64_t)f->config.startup_delay * 1000;
    /* What was restored unchanged is on disk: a partner that starts too must hear of PARTNER-DOWN, whatever ours does. */
    bool on_disk = f->record.process[0] != '\0' && f->record.state == f->restored;
    core_store(f);
    f->state_stored = on_disk ? 0 : f->sequence;
}

int64_t state_wait_over(const struct failover *f) {
    return time_add(f->recover_served, core_wait_mclt(f));
}

int64_t state_auto_partner_down(const struct failover *f) {
    bool counts =
        f->state == CI && f->config.auto_partner_down > 0 && f->peer.link == NULL && !f->record.link_held_down;
    return counts ? time_max(f->peer.lost, f->entered) + (int64_t)f->config.auto_partner_down * 1000 : INT64_MAX;
}

static void note_served(struct failover *f) {
    if (!state_serves(f->state) || f->now.mono < f->next_served) {
        return;
    }
    f->record.last_served = f->now.wall;
    /* A second early, so that the record is never older than the interval. */
    f->next_served = f->now.mono + (FAILOVER_SERVED_INTERVAL - 1) * 1000;
    core_store(f);
}

/* A server that waits in RECOVER for a partner says once a minute what it waits for, and the way out. */
static void remind(struct failover *f) {
    if (f->state != RE || linked(f) || f->now.mono < f->next_reminder) {
        return;
    }
    f->next_reminder = f->now.mono + 60000;
    core_log(f, FAILOVER_WARN,
             "in recover and silent: the partner's data is needed before clients are served; if the partner is gone "
             "for good, force-state partner-down");
}

void state_tick(struct failover *f) {
    if (f->state == ST && f->now.mono >= f->startup_over) {
        state_event(f, EVENT_STARTUP_OVER);
    }
    if (f->state == RW && state_wait_over(f) <= core_sure_now(f)) {
        state_event(f, EVENT_WAIT_OVER);
    }
    if (state_auto_partner_down(f) <= f->now.mono) {
        state_event(f, EVENT_AUTO_PARTNER_DOWN);
    }
    if (f->requests.closing) {
        state_event(f, (enum state_event)RD); /* once more: has it acknowledged everything? */
    }
    if (f->shutdown_close <= f->now.mono) {
        f->shutdown_close = INT64_MAX;
        peer_drop(f, "shutdown is announced");
    }
    note_served(f);
    remind(f);
}

/* What the state itself waits for. */
static int64_t due_by_state(const struct failover *f) {
    if (f->state == ST) {
        return f->startup_over;
    }
    if (f->state == RW) {
        return core_mono_of(f, state_wait_over(f));
    }
    if (f->state == RE && !linked(f)) {
        return f->next_reminder;
    }
    return state_serves(f->state) ? f->next_served : INT64_MAX;
}

int64_t state_deadline(const struct failover *f) {
    return time_min(due_by_state(f), time_min(state_auto_partner_down(f), f->shutdown_close));
}
