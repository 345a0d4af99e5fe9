/* SPDX-License-Identifier: MPL-2.0 */
/*
 * lease_rules.h - what clients see in each state: section 2 of the design, with its rules 1 to 6. The functions that
 * the shim asks are in failover.h.
 */
#ifndef FAILOVER_LEASE_RULES_H
#define FAILOVER_LEASE_RULES_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Seconds for which the same xid of the same client may be the same transaction. */
#define LEASE_RULES_RETRANSMISSION 64

/* The wall time at which something is due for the binding; INT64_MAX: never. */
int64_t lease_rules_due(const struct failover *f, const struct entry *e);
/* Does it. */
void lease_rules_tick(struct failover *f, struct entry *e);

/* A lease begins, for a new client: nothing of the one before it counts. */
void lease_rules_begin_lease(struct entry *e);

/* When the waits of PARTNER-DOWN let go of the address (design, rule 5). */
int64_t lease_rules_wait_over(const struct failover *f, const struct entry *e);

/* The key that load balancing hashes: the identifier if there is one, else chaddr without htype. */
uint8_t lease_rules_bucket(const struct entry *e);
bool lease_rules_bucket_is_mine(const struct failover *f, uint8_t bucket);
/* The partner has answered this client at `cltt`, by its clock: who asked before isn't waiting for it any more. */
void lease_rules_partner_answered(struct failover *f, const struct failover_client *client, int64_t cltt);

#ifdef __cplusplus
}
#endif
#endif
