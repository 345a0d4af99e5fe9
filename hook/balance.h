/* SPDX-License-Identifier: MPL-2.0 */
/* balance.h - who owns the free addresses of each pool: the first division, gifts, POOLREQ and POOLRESP. */
#ifndef FAILOVER_BALANCE_H
#define FAILOVER_BALANCE_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

enum balance_occasion { BALANCE_ON_ENTRY, BALANCE_ON_TIMER, BALANCE_ON_POOLREQ };

/*
 * Until it has its partner's word, UPDDONE after UPDREQALL, a server without a record owns nothing (design, rule 6).
 * Then addresses that nobody ever used are the configured primary's, as both servers know without telling each other
 * (draft 5.16).
 */
void balance_take_ownership(struct failover *f);

/* Balances every pool by dhcpd's formulas; returns how many addresses were given to the partner. */
uint32_t balance_run(struct failover *f, enum balance_occasion occasion);

void balance_poolreq_received(struct failover *f, uint32_t xid);
void balance_poolresp_received(struct failover *f, uint32_t given);

/* The free lists of a pool have changed: the next balance may have to come earlier. */
void balance_note_change(struct failover *f, const struct pool *p);
void balance_tick(struct failover *f);
int64_t balance_deadline(const struct failover *f);

/* The last client of a free address belongs to the partner by load balancing: give it there at once, if it has less
 * than its share. Only the acting primary does so, as dhcpd (client affinity). */
void balance_affinity(struct failover *f, struct entry *e);

/* Whose a free address is, as the wire says it, and back. */
enum failover_binding_status balance_to_wire(const struct failover *f, const struct entry *e);
enum failover_owner balance_from_wire(const struct failover *f, enum failover_binding_status status);

#ifdef __cplusplus
}
#endif
#endif
