/* SPDX-License-Identifier: MPL-2.0 */
#include "force.h"

#include <stdio.h>
#include <string.h>

#include "peer.h"
#include "state.h"

/* ---- Words ------------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void answer(struct failover_plan *plan, enum failover_result result,
                                                         const char *format, ...) {
    va_list arguments;
    plan->result = result;
    va_start(arguments, format);
    vsnprintf(plan->text, sizeof(plan->text), format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void effect(struct failover_plan *plan, const char *format, ...) {
    if (plan->effect_count == FAILOVER_EFFECTS_MAX) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plan->effects[plan->effect_count++], FAILOVER_TEXT_MAX, format, arguments);
    va_end(arguments);
}

static const char *name(enum failover_state state) {
    return failover_state_name(state);
}

static bool linked(const struct failover *f) {
    return f->peer.link != NULL && f->peer.state_known;
}

static unsigned long long own_free(const struct failover *f) {
    return f->table.by_status[FAILOVER_FREE];
}

static unsigned long long other_free(const struct failover *f) {
    return f->table.by_status[FAILOVER_BACKUP];
}

static void interrupted_effects(const struct failover *f, struct failover_plan *plan) {
    bool replace = f->config.interrupted_leases == FAILOVER_REPLACE;
    long long mclt = (long long)core_grant_mclt(f);
    effect(plan, "The link with the partner is held down until another state is forced.");
    effect(plan, "All clients are answered; new ones get one of %llu own free addresses, for at most %lld s.",
           own_free(f), mclt);
    effect(plan, replace
                     ? "A lease given before now is extended once; after that its client is refused and gets another "
                       "own address."
                     : "Leases are extended within the MCLT rule, as often as clients ask.");
    effect(plan, replace ? "A released address is held until normal."
                         : "A released address waits for the partner, unless "
                           "the partner never knew of the lease.");
}

static void partner_down_effects(const struct failover *f, struct failover_plan *plan) {
    long long wait = (long long)(plan->record.stos + core_wait_mclt(f) - core_sure_now(f));
    effect(plan, "This server is primary from now on, also when the partner returns.");
    effect(plan, "Leases are always extended, %s.",
           f->config.partner_down_full ? "within the MCLT rule, and after STOS + "
                                         "MCLT for the configured lifetime"
                                       : "for the MCLT");
    effect(plan,
           "New clients get one of %llu own free addresses at once, and one of the other %llu free ones %s%lld s.",
           own_free(f), other_free(f), wait > 0 ? "in " : "now; the wait ended before ", wait > 0 ? wait : -wait);
    effect(plan, "Expired, reset, released and held addresses are reclaimed when their waits are over.");
    if (f->record.default_owner == FAILOVER_NOBODY) {
        effect(plan, "This server has no record of the relationship: leases that it never heard of may run for the "
                     "configured lifetime and be given out twice.");
    }
    if (linked(f)) {
        effect(plan, "The partner is told. One of ours goes to recover and both return to normal by themselves.");
    }
}

static void recover_effects(const struct failover *f, struct failover_plan *plan) {
    effect(plan, "No client is served until the partner has sent everything it knows%s.",
           linked(f) ? "" : "; there is no connection with it now");
    effect(plan, "After that recover-wait lasts the MCLT, %lld s, from the last moment at which this server served.",
           (long long)core_wait_mclt(f));
}

void force_effects(const struct failover *f, const struct failover_force *force, struct failover_plan *plan) {
    switch (force->state) {
    case FAILOVER_STARTUP:
        effect(plan, "No client is served until the partner's state is known, or for %u s (startup-delay).",
               f->config.startup_delay);
        effect(plan, "Then the server goes on in %s, or where the partner's state leads.", name(plan->record.state));
        break;
    case FAILOVER_NORMAL:
        if (plan->let_link_go) {
            effect(plan, "The link with the partner is let go; normal follows as soon as both servers agree.");
            effect(plan, "Until then the rules of communications-interrupted apply.");
        } else {
            effect(plan, "Every client is answered: load balancing counts only while the partner is connected.");
            effect(plan, "New clients get one of %llu own free addresses; leases are extended within the MCLT rule.",
                   own_free(f));
        }
        break;
    case FAILOVER_COMMUNICATIONS_INTERRUPTED:
        interrupted_effects(f, plan);
        break;
    case FAILOVER_PARTNER_DOWN:
        partner_down_effects(f, plan);
        break;
    case FAILOVER_RECOVER:
        recover_effects(f, plan);
        break;
    default:
        effect(plan,
               "No client is served until the server is restarted, when it comes back through recover, or another "
               "state is forced.");
        if (linked(f)) {
            effect(plan, "The partner is told and goes to partner-down by itself.");
        } else if (plan->let_link_go) {
            effect(plan, "The link is let go for a few seconds, in which the partner is told if it is there.");
        } else {
            effect(plan, "The partner can't be told: there is no connection with it.");
        }
        break;
    }
}

/* ---- Guards ------------------------------------------------------------------------------------------------------ */

/* Where the way to NORMAL leads through the partner, and skipping it would double addresses. */
static bool is_on_its_way(enum failover_state state) {
    return state == FAILOVER_RECOVER || state == FAILOVER_RECOVER_WAIT || state == FAILOVER_RECOVER_DONE ||
           state == FAILOVER_POTENTIAL_CONFLICT || state == FAILOVER_CONFLICT_DONE ||
           state == FAILOVER_RESOLUTION_INTERRUPTED;
}

static void plan_normal(const struct failover *f, const struct failover_force *force, struct failover_plan *plan) {
    enum failover_state now = state_to_show(f);
    if (now == FAILOVER_SHUTDOWN) {
        answer(plan, FAILOVER_GUARDED, "in shutdown the way out is force-state startup; override doesn't change that");
    } else if (is_on_its_way(now)) {
        answer(
            plan, FAILOVER_GUARDED,
            "in %s normal can't be forced, override or not: what the partner knows is needed first; if the partner is "
            "down for good, force-state partner-down",
            name(f->state));
    } else if (f->record.link_held_down) {
        plan->record.link_held_down = false;
        plan->let_link_go = true;
    } else if (f->peer.link != NULL) {
        answer(plan, FAILOVER_GUARDED, "the partner is connected and in %s: normal follows by itself when it is done",
               name(f->record.partner_state));
    } else if (!force->override_guard) {
        answer(plan, FAILOVER_GUARDED,
               "there is no connection with the partner, so the servers can't agree on normal; with \"override\": true "
               "this server goes to normal by itself and answers every client");
    } else {
        plan->enter = true;
    }
}

static void check_since(const struct failover *f, const struct failover_force *force, struct failover_plan *plan) {
    if (force->since == 0) {
        return;
    }
    if (force->state != FAILOVER_PARTNER_DOWN) {
        answer(plan, FAILOVER_ERROR_RESULT, "since goes with partner-down only");
    } else if (force->since > f->now.wall) {
        answer(plan, FAILOVER_ERROR_RESULT, "since is in the future: it is %lld now", (long long)f->now.wall);
    } else if (force->since < f->record.last_heard) {
        answer(plan, FAILOVER_ERROR_RESULT, "since is before the partner's last message, which came at %lld",
               (long long)f->record.last_heard);
    }
}

static void plan_partner_down(const struct failover *f, const struct failover_force *force,
                              struct failover_plan *plan) {
    bool serves = linked(f) && state_serves(f->record.partner_state);
    if (f->state == FAILOVER_PARTNER_DOWN) {
        plan->record.stos = force->since != 0 ? force->since : plan->record.stos;
        return;
    }
    if (serves && !force->override_guard) {
        answer(
            plan, FAILOVER_GUARDED,
            "the partner is connected and serves in %s; two servers that each take the other for down give one address "
            "to two clients; with \"override\": true it is done all the same",
            name(f->record.partner_state));
        return;
    }
    plan->enter = true;
    plan->record.stos = force->since != 0 ? force->since : f->now.wall;
    plan->record.acting_primary = f->config.role;
    plan->record.acting_since = f->now.wall;
}

void failover_force_plan(struct failover *f, const struct failover_force *force, struct failover_clock now,
                         struct failover_plan *plan) {
    core_set_clock(f, now);
    *plan = (struct failover_plan){.result = FAILOVER_OK, .previous = f->state, .record = f->record};
    check_since(f, force, plan);
    if (plan->result != FAILOVER_OK) {
        return;
    }
    bool present = f->state == force->state;
    plan->record.link_held_down = force->state == FAILOVER_COMMUNICATIONS_INTERRUPTED;
    switch (force->state) {
    case FAILOVER_STARTUP: {
        enum failover_state from = state_to_show(f);
        uint8_t next = state_lookup(from, EVENT_STARTUP_OVER)->next;
        plan->enter = !present;
        plan->record.state = from == FAILOVER_SHUTDOWN ? FAILOVER_RECOVER
                             : next == STAY            ? from
                                                       : (enum failover_state)next;
        plan->record.stos = plan->record.state == from ? plan->record.stos : f->now.wall;
        plan->record.process[0] = '\0'; /* a reconfiguration in the middle of it begins it again */
        break;
    }
    case FAILOVER_NORMAL:
        plan->record.link_held_down = f->record.link_held_down;
        if (!present) {
            plan_normal(f, force, plan);
        }
        break;
    case FAILOVER_PARTNER_DOWN:
        plan_partner_down(f, force, plan);
        break;
    default:
        plan->enter = !present;
        break;
    }
    if (plan->result != FAILOVER_OK) {
        return;
    }
    if (plan->enter && force->state != FAILOVER_STARTUP) {
        plan->record.state = force->state;
        if (force->state != FAILOVER_PARTNER_DOWN) {
            plan->record.stos = f->now.wall;
        }
        memcpy(plan->record.process, f->process, sizeof(f->process));
    }
    if (force->state != FAILOVER_COMMUNICATIONS_INTERRUPTED && f->record.link_held_down) {
        plan->let_link_go = true;
    }
    bool nothing = present && !plan->let_link_go && plan->record.stos == f->record.stos &&
                   plan->record.link_held_down == f->record.link_held_down;
    answer(plan, FAILOVER_OK, nothing ? "the state is %s already" : "%s forced", name(force->state));
    force_effects(f, force, plan);
}

/* ---- Carrying it out --------------------------------------------------------------------------------------------- */

static void enter(struct failover *f, const struct failover_force *force, const struct failover_plan *plan) {
    if (!plan->enter) {
        f->record.stos = plan->record.stos;
        core_store(f);
        core_reschedule_all(f);
        return;
    }
    core_log(f, FAILOVER_WARN, "state %s -> %s: forced", name(f->state), name(force->state));
    if (force->state == FAILOVER_STARTUP) {
        f->record.state = plan->record.state;
        f->record.stos = plan->record.stos;
        f->record.process[0] = '\0';
        state_startup(f);
        peer_drop(f, "startup is forced");
        return;
    }
    state_enter(f, force->state, plan->record.stos);
}

void failover_force_apply(struct failover *f, const struct failover_force *force, const struct failover_plan *plan,
                          struct failover_clock now) {
    core_set_clock(f, now);
    f->record.link_held_down = plan->record.link_held_down;
    enter(f, force, plan);
    if (f->record.link_held_down) {
        peer_drop(f, "the link is held down by force-state");
    } else if (plan->let_link_go || force->state == FAILOVER_STARTUP) {
        peer_dial_now(f);
    }
}
