/* SPDX-License-Identifier: MPL-2.0 */
/*
 * transport.h - listening sockets, connections, one timer and a wake-up, all behind one epoll descriptor that Kea's
 * main loop watches. Only failover_transport_wake() may be called from another thread than the main one.
 */
#ifndef FAILOVER_TRANSPORT_H
#define FAILOVER_TRANSPORT_H

#include "failover.h"

#ifdef __cplusplus
extern "C" {
#endif

struct failover_transport;

/* What the transport tells. All are called from failover_transport_dispatch(). */
struct failover_transport_events {
    void *context;
    /* A partner has connected. False: close it. */
    bool (*accepted)(void *context, int peer, int connection);
    /* A dial has succeeded, or not. False: close it. */
    bool (*dialled)(void *context, int peer, int connection);
    void (*dial_failed)(void *context, int peer, const char *why);
    void (*received)(void *context, int peer, int connection, const uint8_t *data, size_t length);
    void (*closed)(void *context, int peer, int connection, const char *why);
    /* The deadline has come, somebody has called wake, or there is room to send again. */
    void (*woken)(void *context);
    void (*log)(void *context, enum failover_severity severity, const char *text);
};

/* Null: no descriptors or memory; errno says which. */
struct failover_transport *failover_transport_create(const struct failover_transport_events *events);
/* Closes everything at once. */
void failover_transport_destroy(struct failover_transport *t);

/* The descriptor that is readable when failover_transport_dispatch() has something to do. */
int failover_transport_fd(const struct failover_transport *t);
void failover_transport_dispatch(struct failover_transport *t);

/*
 * Makes a partner known and listens for it on `local`. A port that can't be listened on is tried again every 5 s, and
 * logged once. Returns the number by which the partner is called here, negative if memory is short.
 */
int failover_transport_add_peer(struct failover_transport *t, struct failover_peer_address local,
                                struct failover_peer_address partner);
/* Is the partner's listening socket open? */
bool failover_transport_listens(const struct failover_transport *t, int peer);

void failover_transport_dial(struct failover_transport *t, int peer);
/* How many bytes may be given to failover_transport_send() now. */
size_t failover_transport_room(const struct failover_transport *t, int connection);
void failover_transport_send(struct failover_transport *t, int connection, const uint8_t *data, size_t length);
/* Closes after what was sent has left, without another event for it. */
void failover_transport_close(struct failover_transport *t, int connection);

/* Monotonic ms at which `woken` is to be called; INT64_MAX: not. */
void failover_transport_set_deadline(struct failover_transport *t, int64_t mono);
void failover_transport_wake(struct failover_transport *t);
/* The eventfd behind failover_transport_wake(). */
int failover_transport_wake_fd(const struct failover_transport *t);

struct failover_clock failover_transport_now(void);
/* 32 random hexadecimal digits and a NUL. */
void failover_transport_random_id(char id[33]);

#ifdef __cplusplus
}
#endif
#endif
