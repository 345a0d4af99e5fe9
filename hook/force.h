/* SPDX-License-Identifier: MPL-2.0 */
/*
 * force.h - force-state: what is allowed, what it does, and what it means in words ("What a forced state does" in the
 * design). The functions are in failover.h; this header is for force.c and its tests.
 */
#ifndef FAILOVER_FORCE_H
#define FAILOVER_FORCE_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills in the sentences for the state that plan->record will make. */
void force_effects(const struct failover *f, const struct failover_force *force, struct failover_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
