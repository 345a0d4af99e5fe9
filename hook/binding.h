/* SPDX-License-Identifier: MPL-2.0 */
/*
 * binding.h - the binding table: one compact record for each pool address, found in constant time, with the free
 * addresses of each pool and owner in a list, the times at which something is due in a heap, and what the partner
 * doesn't know yet in a queue.
 *
 * The table knows how bindings are kept, not what they mean: lease_rules.c, update.c and balance.c decide that.
 */
#ifndef FAILOVER_BINDING_H
#define FAILOVER_BINDING_H

#include "failover.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NO_ENTRY UINT32_MAX

/* The bytes of a client, allocated to size. */
struct client_bytes {
    uint16_t id_length;
    uint8_t hardware_length;
    uint8_t bytes[]; /* hardware address, then identifier */
};

struct entry {
    int64_t starts, ends, given, cltt, sent, acked, received; /* see struct failover_binding */
    int64_t in_flight;           /* potential expiry in the BNDUPD that awaits its BNDACK */
    int64_t when;                /* heap key: the wall time at which something is due */
    uint64_t stored;             /* sequence of the last record written */
    struct client_bytes *client; /* null: none */
    uint32_t xid;
    uint32_t extended_epoch;
    uint32_t update_xid; /* of the BNDUPD that awaits its BNDACK; 0: none */
    uint32_t list_previous, list_next;
    uint32_t queue_previous, queue_next;
    uint32_t heap; /* position in the heap + 1; 0: not in it */
    uint16_t ip_flags;
    uint8_t status;    /* enum failover_binding_status */
    uint8_t owner;     /* enum failover_owner */
    bool recorded : 1; /* differs from what an address without a record is */
    bool reserved : 1;
    bool update_due : 1;
    bool update_sent : 1;
    bool state_sent : 1;
    bool granted_here : 1;
    bool made_partner_down : 1;
    bool listed : 1;
    bool queued : 1;
    bool changed_in_flight : 1; /* since the BNDUPD with update_xid left */
    bool requested : 1;         /* part of the answer to the partner's UPDREQ or UPDREQALL */
    bool unwanted : 1;          /* on this link: the partner has no such address */
    bool adopted : 1;           /* Kea's database has its row */
};

struct list {
    uint32_t head, tail, count;
};

struct pool {
    uint32_t subnet_id;
    uint32_t first, last;   /* addresses */
    uint32_t base;          /* index of the first address's entry */
    struct list free[3];    /* allocatable addresses by enum failover_owner, longest free first */
    uint32_t free_count[3]; /* with those that aren't allocatable yet, without reserved ones */
    int64_t balanced;       /* monotonic ms of the last balance; 0: never */
};

struct table {
    struct pool *pools; /* by address */
    size_t pool_count;
    struct entry *entries;
    uint32_t entry_count;
    uint32_t *heap;
    uint32_t heap_count;
    struct list queue;                             /* updates for the partner, first in first out */
    uint64_t by_status[FAILOVER_BINDING_STATUSES]; /* BACKUP: free and not mine */
    uint64_t reserved;
};

/* False if it overlaps another pool or memory is short. Only before table_build(). */
bool table_add_pool(struct table *t, uint32_t subnet_id, uint32_t first, uint32_t last);
/* Allocates the entries: every address FREE and `owner`'s. False: no memory. */
bool table_build(struct table *t, enum failover_owner owner);
void table_free(struct table *t);

/* Null if the address is in no pool. */
struct entry *table_find(struct table *t, uint32_t address);
struct pool *table_find_pool(struct table *t, uint32_t address);
struct pool *table_pool_of(struct table *t, const struct entry *e);
uint32_t table_address(const struct table *t, const struct entry *e);

/*
 * Every change of status, owner, reserved or `ends` happens between these two, which keep lists and counts. `now` is
 * the time before which a free address with a later `ends` isn't listed.
 */
void table_unlink(struct table *t, struct entry *e);
void table_link(struct table *t, struct entry *e, int64_t now);
/* The address that has been free longest moves to the end of its list, and is returned; null if there is none. */
struct entry *table_rotate(struct table *t, struct pool *p, enum failover_owner owner);

/* Something is due for `e` at `when`; INT64_MAX: nothing is. */
void table_schedule(struct table *t, struct entry *e, int64_t when);
/* The entry that is due first, null if none is. */
struct entry *table_first_due(const struct table *t);

void table_queue(struct table *t, struct entry *e);
void table_unqueue(struct table *t, struct entry *e);

/* Gives the entry a copy of `client`, or none if null. False: no memory, and the entry is as before. */
bool entry_set_client(struct entry *e, const struct failover_client *client);
/* All zero if there is none. */
void entry_get_client(const struct entry *e, struct failover_client *client);
bool entry_is_client(const struct entry *e, const struct failover_client *client);

void entry_get(const struct table *t, const struct entry *e, struct failover_binding *binding);

#ifdef __cplusplus
}
#endif
#endif
