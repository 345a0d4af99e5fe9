/* SPDX-License-Identifier: MPL-2.0 */
/* update.h - binding updates and their acknowledgements, update requests, and what is accepted from the partner. */
#ifndef FAILOVER_UPDATE_H
#define FAILOVER_UPDATE_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The next BNDUPD that may leave now: its commit is done and the partner's window has room. False: none. `client` holds
 * the bytes that `m` points to.
 */
bool update_next(struct failover *f, struct failover_message *m, struct failover_client *client);
/* It has left under this xid. */
void update_left(struct failover *f, const struct failover_message *m);

void update_received(struct failover *f, const struct failover_message *m); /* BNDUPD */
void update_acked(struct failover *f, const struct failover_message *m);    /* BNDACK */

/* Queues every binding that the partner doesn't know, those it rejected too. */
void update_requeue(struct failover *f);

/* Sends UPDREQ or UPDREQALL, unless one is out on this link. */
void update_ask(struct failover *f, enum failover_message_type type);
/* The request has left under this xid. */
void update_ask_left(struct failover *f, uint32_t xid);
void update_request_received(struct failover *f, const struct failover_message *m); /* UPDREQ, UPDREQALL */
void update_done_received(struct failover *f, const struct failover_message *m);    /* UPDDONE */

/* Counts what the partner doesn't know yet as requested; how much of that, and of its own requests, is outstanding. */
uint32_t update_close(struct failover *f);

/* What was sent of this binding is out of date: its BNDACK won't count. */
void update_forget(struct failover *f, struct entry *e);

/* How far the answer to a request is, ours or the partner's. */
void update_progress(const struct failover *f, struct failover_transfer *transfer);

/* Sends again what one of ours has rejected, so that nothing stays different for ever; and more of what is asked for. */
void update_tick(struct failover *f);
int64_t update_deadline(const struct failover *f);

void update_link_up(struct failover *f);
/* The partner has lost its database: what it may have promised is counted as promised. */
void update_partner_forgot(struct failover *f);
/* The same for one binding, where that is outstanding: to be called before its end is acted upon. */
void update_count_promise(struct failover *f, struct entry *e);
void update_link_down(struct failover *f);

#ifdef __cplusplus
}
#endif
#endif
