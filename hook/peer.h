/* SPDX-License-Identifier: MPL-2.0 */
/* peer.h - the connection with the partner (draft sections 7.8 to 7.12 and 8). */
#ifndef FAILOVER_PEER_H
#define FAILOVER_PEER_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Draft 5.10: seconds of clock difference beyond which no connection is made. */
#define SKEW_LIMIT 60

/*
 * Queues a message for the link; it leaves when everything up to `barrier` is on disk. Byte strings in it must live as
 * long as the relationship. Without a link nothing happens.
 */
void peer_send(struct failover *f, const struct failover_message *m, uint64_t barrier);
/* The same for an answer, which keeps the xid in `m`. */
void peer_reply(struct failover *f, const struct failover_message *m, uint64_t barrier);

/* Sends DISCONNECT with a reason on the link and closes it; the link is down at once. */
void peer_disconnect(struct failover *f, enum failover_reject_reason reason, const char *text);
/* Closes the link without a word, and every connection that isn't one yet. */
void peer_drop(struct failover *f, const char *why);
/* Dials at once, if it is this server's to dial. */
void peer_dial_now(struct failover *f);

void peer_tick(struct failover *f);
int64_t peer_deadline(const struct failover *f);

/* May there be a link at all in this state? Not while it is held down, in SHUTDOWN's end, or in a forced STARTUP. */
bool peer_wanted(const struct failover *f);

#ifdef __cplusplus
}
#endif
#endif
