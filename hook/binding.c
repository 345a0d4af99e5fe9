/* SPDX-License-Identifier: MPL-2.0 */
#include "binding.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static uint32_t index_of(const struct table *t, const struct entry *e) {
    return (uint32_t)(e - t->entries);
}

/* ---- Pools ------------------------------------------------------------------------------------------------------- */

bool table_add_pool(struct table *t, uint32_t subnet_id, uint32_t first, uint32_t last) {
    assert(t->entries == NULL);
    if (first > last) {
        return false;
    }
    size_t at = 0;
    for (; at < t->pool_count && t->pools[at].first < first; at++) {
    }
    if ((at > 0 && t->pools[at - 1].last >= first) || (at < t->pool_count && t->pools[at].first <= last)) {
        return false;
    }
    struct pool *pools = realloc(t->pools, (t->pool_count + 1) * sizeof(*pools));
    if (pools == NULL) {
        return false;
    }
    memmove(pools + at + 1, pools + at, (t->pool_count - at) * sizeof(*pools));
    pools[at] = (struct pool){.subnet_id = subnet_id, .first = first, .last = last};
    for (int owner = 0; owner < 3; owner++) {
        pools[at].free[owner] = (struct list){NO_ENTRY, NO_ENTRY, 0};
    }
    t->pools = pools;
    t->pool_count++;
    return true;
}

bool table_build(struct table *t, enum failover_owner owner) {
    uint64_t count = 0;
    for (size_t i = 0; i < t->pool_count; i++) {
        t->pools[i].base = (uint32_t)count;
        count += (uint64_t)t->pools[i].last - t->pools[i].first + 1;
    }
    if (count >= NO_ENTRY) {
        return false;
    }
    t->entries = calloc(count + 1, sizeof(*t->entries));
    t->heap = calloc(count + 1, sizeof(*t->heap));
    if (t->entries == NULL || t->heap == NULL) {
        return false;
    }
    t->entry_count = (uint32_t)count;
    t->queue = (struct list){NO_ENTRY, NO_ENTRY, 0};
    for (uint32_t i = 0; i < t->entry_count; i++) {
        struct entry *e = &t->entries[i];
        e->status = FAILOVER_FREE;
        e->owner = (uint8_t)owner;
        table_link(t, e, 0);
    }
    return true;
}

void table_free(struct table *t) {
    for (uint32_t i = 0; i < t->entry_count; i++) {
        free(t->entries[i].client);
    }
    free(t->entries);
    free(t->heap);
    free(t->pools);
    *t = (struct table){0};
}

struct pool *table_find_pool(struct table *t, uint32_t address) {
    size_t low = 0, high = t->pool_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->pools[middle].last < address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < t->pool_count && t->pools[low].first <= address ? &t->pools[low] : NULL;
}

struct entry *table_find(struct table *t, uint32_t address) {
    struct pool *p = table_find_pool(t, address);
    return p == NULL || t->entries == NULL ? NULL : &t->entries[p->base + (address - p->first)];
}

static size_t pool_index(const struct table *t, const struct entry *e) {
    uint32_t index = index_of(t, e);
    size_t low = 0, high = t->pool_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->pools[middle].base <= index) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

struct pool *table_pool_of(struct table *t, const struct entry *e) {
    return &t->pools[pool_index(t, e)];
}

uint32_t table_address(const struct table *t, const struct entry *e) {
    const struct pool *p = &t->pools[pool_index(t, e)];
    return p->first + (index_of(t, e) - p->base);
}

/* ---- Free lists -------------------------------------------------------------------------------------------------- */

static void list_append(struct table *t, struct list *l, struct entry *e) {
    uint32_t i = index_of(t, e);
    e->list_previous = l->tail;
    e->list_next = NO_ENTRY;
    if (l->tail == NO_ENTRY) {
        l->head = i;
    } else {
        t->entries[l->tail].list_next = i;
    }
    l->tail = i;
    l->count++;
    e->listed = true;
}

static void list_remove(struct table *t, struct list *l, struct entry *e) {
    if (e->list_previous == NO_ENTRY) {
        l->head = e->list_next;
    } else {
        t->entries[e->list_previous].list_next = e->list_next;
    }
    if (e->list_next == NO_ENTRY) {
        l->tail = e->list_previous;
    } else {
        t->entries[e->list_next].list_previous = e->list_previous;
    }
    l->count--;
    e->listed = false;
}

/* FREE addresses that aren't this server's are counted where the wire would say BACKUP. */
static uint64_t *status_count(struct table *t, const struct entry *e) {
    bool free_elsewhere = e->status == FAILOVER_FREE && e->owner != FAILOVER_MINE;
    return &t->by_status[free_elsewhere ? FAILOVER_BACKUP : e->status];
}

void table_unlink(struct table *t, struct entry *e) {
    struct pool *p = table_pool_of(t, e);
    --*status_count(t, e);
    if (e->reserved) {
        t->reserved--;
    } else if (e->status == FAILOVER_FREE) {
        p->free_count[e->owner]--;
    }
    if (e->listed) {
        list_remove(t, &p->free[e->owner], e);
    }
}

void table_link(struct table *t, struct entry *e, int64_t now) {
    struct pool *p = table_pool_of(t, e);
    ++*status_count(t, e);
    if (e->reserved) {
        t->reserved++;
        return;
    }
    if (e->status != FAILOVER_FREE) {
        return;
    }
    p->free_count[e->owner]++;
    if (e->ends <= now) {
        list_append(t, &p->free[e->owner], e);
    }
}

struct entry *table_rotate(struct table *t, struct pool *p, enum failover_owner owner) {
    struct list *l = &p->free[owner];
    if (l->head == NO_ENTRY) {
        return NULL;
    }
    struct entry *e = &t->entries[l->head];
    list_remove(t, l, e);
    list_append(t, l, e);
    return e;
}

/* ---- Heap -------------------------------------------------------------------------------------------------------- */

static int64_t key(const struct table *t, uint32_t position) {
    return t->entries[t->heap[position]].when;
}

static void place(struct table *t, uint32_t position, uint32_t i) {
    t->heap[position] = i;
    t->entries[i].heap = position + 1;
}

static void sift_up(struct table *t, uint32_t position) {
    uint32_t i = t->heap[position];
    while (position > 0 && key(t, (position - 1) / 2) > t->entries[i].when) {
        place(t, position, t->heap[(position - 1) / 2]);
        position = (position - 1) / 2;
    }
    place(t, position, i);
}

static void sift_down(struct table *t, uint32_t position) {
    uint32_t i = t->heap[position];
    for (uint32_t child; (child = 2 * position + 1) < t->heap_count; position = child) {
        if (child + 1 < t->heap_count && key(t, child + 1) < key(t, child)) {
            child++;
        }
        if (key(t, child) >= t->entries[i].when) {
            break;
        }
        place(t, position, t->heap[child]);
    }
    place(t, position, i);
}

static void heap_remove(struct table *t, struct entry *e) {
    uint32_t position = e->heap - 1;
    uint32_t last = t->heap[--t->heap_count];
    e->heap = 0;
    if (last == index_of(t, e)) {
        return;
    }
    place(t, position, last);
    sift_up(t, position);
    sift_down(t, t->entries[last].heap - 1);
}

void table_schedule(struct table *t, struct entry *e, int64_t when) {
    if (e->heap != 0 && e->when == when) {
        return;
    }
    if (e->heap != 0) {
        heap_remove(t, e);
    }
    e->when = when;
    if (when == INT64_MAX) {
        return;
    }
    t->heap[t->heap_count] = index_of(t, e);
    sift_up(t, t->heap_count++);
}

struct entry *table_first_due(const struct table *t) {
    return t->heap_count == 0 ? NULL : &t->entries[t->heap[0]];
}

/* ---- Update queue ------------------------------------------------------------------------------------------------ */

void table_queue(struct table *t, struct entry *e) {
    if (e->queued) {
        return;
    }
    e->queue_previous = t->queue.tail;
    e->queue_next = NO_ENTRY;
    if (t->queue.tail == NO_ENTRY) {
        t->queue.head = index_of(t, e);
    } else {
        t->entries[t->queue.tail].queue_next = index_of(t, e);
    }
    t->queue.tail = index_of(t, e);
    t->queue.count++;
    e->queued = true;
}

void table_unqueue(struct table *t, struct entry *e) {
    if (!e->queued) {
        return;
    }
    if (e->queue_previous == NO_ENTRY) {
        t->queue.head = e->queue_next;
    } else {
        t->entries[e->queue_previous].queue_next = e->queue_next;
    }
    if (e->queue_next == NO_ENTRY) {
        t->queue.tail = e->queue_previous;
    } else {
        t->entries[e->queue_next].queue_previous = e->queue_previous;
    }
    t->queue.count--;
    e->queued = false;
}

/* ---- Clients ----------------------------------------------------------------------------------------------------- */

bool entry_set_client(struct entry *e, const struct failover_client *client) {
    struct client_bytes *bytes = NULL;
    if (client != NULL && client->hardware_length + client->id_length > 0) {
        bytes = malloc(sizeof(*bytes) + client->hardware_length + client->id_length);
        if (bytes == NULL) {
            return false;
        }
        bytes->hardware_length = client->hardware_length;
        bytes->id_length = client->id_length;
        memcpy(bytes->bytes, client->hardware, client->hardware_length);
        memcpy(bytes->bytes + client->hardware_length, client->id, client->id_length);
    }
    free(e->client);
    e->client = bytes;
    return true;
}

void entry_get_client(const struct entry *e, struct failover_client *client) {
    *client = (struct failover_client){0};
    if (e->client == NULL) {
        return;
    }
    client->hardware_length = e->client->hardware_length;
    client->id_length = e->client->id_length;
    memcpy(client->hardware, e->client->bytes, client->hardware_length);
    memcpy(client->id, e->client->bytes + client->hardware_length, client->id_length);
}

static bool same_client(const uint8_t *id1, size_t id1_length, const uint8_t *id2, size_t id2_length,
                        const uint8_t *hw1, size_t hw1_length, const uint8_t *hw2, size_t hw2_length) {
    if (id1_length > 0 && id2_length > 0) {
        return id1_length == id2_length && memcmp(id1, id2, id1_length) == 0;
    }
    return hw1_length > 0 && hw1_length == hw2_length && memcmp(hw1, hw2, hw1_length) == 0;
}

bool failover_same_client(const struct failover_client *a, const struct failover_client *b) {
    return same_client(a->id, a->id_length, b->id, b->id_length, a->hardware, a->hardware_length, b->hardware,
                       b->hardware_length);
}

bool entry_is_client(const struct entry *e, const struct failover_client *client) {
    const struct client_bytes *c = e->client;
    return c != NULL && same_client(c->bytes + c->hardware_length, c->id_length, client->id, client->id_length,
                                    c->bytes, c->hardware_length, client->hardware, client->hardware_length);
}

void entry_get(const struct table *t, const struct entry *e, struct failover_binding *binding) {
    *binding = (struct failover_binding){
        .address = table_address(t, e),
        .status = e->status,
        .owner = e->owner,
        .starts = e->starts,
        .ends = e->ends,
        .given = e->given,
        .cltt = e->cltt,
        .sent = e->sent,
        .acked = e->acked,
        .received = e->received,
        .xid = e->xid,
        .extended_epoch = e->extended_epoch,
        .ip_flags = e->ip_flags,
        .update_due = e->update_due,
        .update_sent = e->update_sent,
        .state_sent = e->state_sent,
        .granted_here = e->granted_here,
        .made_partner_down = e->made_partner_down,
        .reserved = e->reserved,
    };
    entry_get_client(e, &binding->client);
}
