/* SPDX-License-Identifier: MPL-2.0 */
/*
 * binding.h - the binding table: what is known of each pool address, found in constant time, with the free addresses of
 * each pool and owner in a list, the times at which something is due in a heap, and what the partner doesn't know yet in
 * a queue.
 *
 * Most addresses of a big pool are free and have no story. Such a plain one is a slot of 16 bytes; all others have an
 * entry as well. Whoever looks for an address gets an entry: one that is plain gets it for the time being, and loses it
 * in table_fold(). So an entry may be kept until then, and no longer.
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

/* Every address has one. */
struct slot {
    uint32_t list_previous, list_next; /* indexes, while LISTED */
    uint32_t record;                   /* HAS_ENTRY: which one; else the start time of its state */
    uint16_t flags;
};

struct entry {
    int64_t starts, ends, given, cltt, sent, acked, received; /* see struct failover_binding */
    int64_t in_flight;           /* potential expiry in the BNDUPD that awaits its BNDACK */
    int64_t when;                /* heap key: the wall time at which something is due */
    uint64_t stored;             /* sequence of the last record written */
    struct client_bytes *client; /* null: none */
    uint32_t xid;
    uint32_t extended_epoch;
    uint32_t update_xid;                 /* of the BNDUPD that awaits its BNDACK; 0: none */
    uint32_t index;                      /* of its slot; NO_ENTRY: it is unused */
    uint32_t queue_previous, queue_next; /* records; unused entries: the next unused one */
    uint32_t fold_next;                  /* the next one that may be plain; see `candidate` */
    uint32_t heap;                       /* position in the heap + 1; 0: not in it */
    uint16_t ip_flags;
    uint8_t status;     /* enum failover_binding_status */
    uint8_t owner;      /* enum failover_owner */
    uint8_t place;      /* enum update_place */
    uint8_t generation; /* see struct table */
    bool recorded : 1;  /* differs from what an address without a record is */
    bool reserved : 1;
    bool update_due : 1;
    bool update_sent : 1;
    bool state_sent : 1;
    bool granted_here : 1;
    bool tied : 1;     /* if granted_here: perhaps by the partner since, or it has told us our own grant */
    bool selected : 1; /* granted_here, by a REQUEST with our identifier: a Kea as partner has not answered that one */
    bool made_partner_down : 1;
    bool listed : 1;
    bool changed_in_flight : 1; /* since the BNDUPD with update_xid left */
    bool requested : 1;         /* part of the answer to the partner's UPDREQ or UPDREQALL */
    bool unwanted : 1;          /* on this link: the partner has no such address */
    bool adopted : 1;           /* Kea's database has its row */
    bool candidate : 1;         /* table_fold() looks at it */
};

struct list {
    uint32_t head, tail, count;
};

/* Where an update for the partner is: what it doesn't know is in one of these lists. */
enum update_place {
    NO_UPDATE,
    QUEUED,    /* to be sent, first in first out */
    IN_FLIGHT, /* its BNDACK is awaited */
    PARKED,    /* rejected by the partner: waits for another occasion */
    UPDATE_PLACES
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
    struct slot *slots;
    uint32_t entry_count; /* addresses, and slots */
    struct entry **chunks;
    uint32_t chunk_size;   /* chunks that there is room for */
    uint32_t record_count; /* entries in the chunks, used or not */
    struct list unused;
    struct list candidates;
    uint32_t *heap; /* records */
    uint32_t heap_count, heap_size;
    struct list updates[UPDATE_PLACES];
    uint32_t recorded;                             /* entries with that mark */
    uint8_t generation;                            /* counts how often the partner has forgotten everything */
    uint64_t by_status[FAILOVER_BINDING_STATUSES]; /* BACKUP: free and not mine */
    uint64_t reserved;
};

/* False if it overlaps another pool or memory is short. Only before table_build(). */
bool table_add_pool(struct table *t, uint32_t subnet_id, uint32_t first, uint32_t last);
/* Allocates the entries: every address FREE and `owner`'s. False: no memory. */
bool table_build(struct table *t, enum failover_owner owner);
void table_free(struct table *t);

/* The entry of the address with that index; a plain one has one from now on. Memory for it is a matter of course. */
struct entry *table_at(struct table *t, uint32_t index);
/* Without an entry for a plain one: has it a record in the database, whose is it, and has it an entry? */
bool table_is_recorded(const struct table *t, uint32_t index);
enum failover_owner table_owner(const struct table *t, uint32_t index);
bool table_has_entry(const struct table *t, uint32_t index);
int64_t table_starts(const struct table *t, uint32_t index);
/* The index behind this one in a list of free addresses. */
uint32_t table_list_next(const struct table *t, uint32_t index);
/* The entry of a record, from 0 to record_count - 1; null if it is unused. */
struct entry *table_record(const struct table *t, uint32_t record);
/* Entries of plain addresses whose last record is on disk, everything up to `committed` being there, are given up. */
void table_fold(struct table *t, uint64_t committed);
/* Every free address of nobody's is `owner`'s from now on. */
void table_take_nobodys(struct table *t, enum failover_owner owner);

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

/* Puts the update of an entry at the end of another list, unless it is there. */
void table_put_update(struct table *t, struct entry *e, enum update_place place);
/* The first of a list, null if it is empty; and the one behind an entry. */
struct entry *table_first_update(const struct table *t, enum update_place place);
struct entry *table_next_update(const struct table *t, const struct entry *e);

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
