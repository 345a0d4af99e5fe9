/* SPDX-License-Identifier: MPL-2.0 */
#include "binding.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 256u

enum slot_flags {
    OWNER = 3, /* enum failover_owner */
    HAS_ENTRY = 1 << 2,
    LISTED = 1 << 3,
    RECORDED = 1 << 4,
    RESERVED = 1 << 5,
    UPDATE_SENT = 1 << 6,
    STATE_SENT = 1 << 7,
    /* These times are the start time of the state; else they are 0. */
    SENT = 1 << 8,
    ACKED = 1 << 9,
    RECEIVED = 1 << 10,
};

/* ---- Pools ------------------------------------------------------------------------------------------------------- */

bool table_add_pool(struct table *t, uint32_t subnet_id, uint32_t first, uint32_t last) {
    assert(t->slots == NULL);
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

/* Links every slot of a pool in the order of its addresses. */
static void build_pool(struct table *t, struct pool *p, enum failover_owner owner) {
    uint32_t count = p->last - p->first + 1;
    for (uint32_t i = p->base; i < p->base + count; i++) {
        t->slots[i] = (struct slot){.list_previous = i - 1, .list_next = i + 1, .flags = (uint16_t)(owner | LISTED)};
    }
    t->slots[p->base].list_previous = t->slots[p->base + count - 1].list_next = NO_ENTRY;
    p->free[owner] = (struct list){p->base, p->base + count - 1, count};
    p->free_count[owner] = count;
    t->by_status[owner == FAILOVER_MINE ? FAILOVER_FREE : FAILOVER_BACKUP] += count;
}

static bool grow_heap(struct table *t) {
    uint32_t size = t->heap_size == 0 ? CHUNK : t->heap_size * 2;
    uint32_t *heap = realloc(t->heap, size * sizeof(*heap));
    if (heap != NULL) {
        t->heap = heap;
        t->heap_size = size;
    }
    return heap != NULL;
}

static bool grow_chunks(struct table *t) {
    uint32_t size = t->chunk_size == 0 ? 16 : t->chunk_size * 2;
    struct entry **chunks = realloc(t->chunks, size * sizeof(struct entry *));
    if (chunks != NULL) {
        t->chunks = chunks;
        t->chunk_size = size;
    }
    return chunks != NULL;
}

/* A chunk of unused entries, with room for all of them in the heap. */
static bool grow(struct table *t) {
    uint32_t chunks = t->record_count / CHUNK;
    bool room = (chunks < t->chunk_size || grow_chunks(t)) && (t->record_count + CHUNK <= t->heap_size || grow_heap(t));
    struct entry *chunk = room ? calloc(CHUNK, sizeof(*chunk)) : NULL;
    if (chunk == NULL) {
        return false;
    }
    t->chunks[chunks] = chunk;
    for (uint32_t i = 0; i < CHUNK; i++) {
        chunk[i].index = NO_ENTRY;
        chunk[i].queue_next = i + 1 < CHUNK ? t->record_count + i + 1 : t->unused.head;
    }
    t->unused.head = t->record_count;
    t->unused.count += CHUNK;
    t->record_count += CHUNK;
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
    t->unused = t->candidates = (struct list){NO_ENTRY, NO_ENTRY, 0};
    for (int place = 0; place < UPDATE_PLACES; place++) {
        t->updates[place] = (struct list){NO_ENTRY, NO_ENTRY, 0};
    }
    t->slots = malloc((count + 1) * sizeof(*t->slots));
    if (t->slots == NULL || !grow(t)) {
        return false;
    }
    t->entry_count = (uint32_t)count;
    for (size_t i = 0; i < t->pool_count; i++) {
        build_pool(t, &t->pools[i], owner);
    }
    return true;
}

void table_free(struct table *t) {
    for (uint32_t i = 0; i < t->record_count; i++) {
        free(t->chunks[i / CHUNK][i % CHUNK].client);
    }
    for (uint32_t i = 0; i < t->record_count / CHUNK; i++) {
        free(t->chunks[i]);
    }
    free(t->chunks);
    free(t->slots);
    free(t->heap);
    free(t->pools);
    *t = (struct table){0};
}

/* ---- Entries ----------------------------------------------------------------------------------------------------- */

static struct entry *entry_of(const struct table *t, uint32_t record) {
    return &t->chunks[record / CHUNK][record % CHUNK];
}

static uint32_t record_of(const struct table *t, const struct entry *e) {
    return t->slots[e->index].record;
}

struct entry *table_record(const struct table *t, uint32_t record) {
    struct entry *e = entry_of(t, record);
    return e->index == NO_ENTRY ? NULL : e;
}

bool table_has_entry(const struct table *t, uint32_t index) {
    return (t->slots[index].flags & HAS_ENTRY) != 0;
}

bool table_is_recorded(const struct table *t, uint32_t index) {
    const struct slot *s = &t->slots[index];
    return s->flags & HAS_ENTRY ? entry_of(t, s->record)->recorded : (s->flags & RECORDED) != 0;
}

enum failover_owner table_owner(const struct table *t, uint32_t index) {
    const struct slot *s = &t->slots[index];
    return (enum failover_owner)(s->flags & HAS_ENTRY ? entry_of(t, s->record)->owner : s->flags & OWNER);
}

int64_t table_starts(const struct table *t, uint32_t index) {
    const struct slot *s = &t->slots[index];
    return s->flags & HAS_ENTRY ? entry_of(t, s->record)->starts : s->record;
}

uint32_t table_list_next(const struct table *t, uint32_t index) {
    return t->slots[index].list_next;
}

static void make_candidate(struct table *t, struct entry *e) {
    if (e->candidate) {
        return;
    }
    e->candidate = true;
    e->fold_next = NO_ENTRY;
    uint32_t record = record_of(t, e);
    if (t->candidates.tail == NO_ENTRY) {
        t->candidates.head = record;
    } else {
        entry_of(t, t->candidates.tail)->fold_next = record;
    }
    t->candidates.tail = record;
    t->candidates.count++;
}

struct entry *table_at(struct table *t, uint32_t index) {
    struct slot *s = &t->slots[index];
    if (s->flags & HAS_ENTRY) {
        return entry_of(t, s->record);
    }
    /* Well before the last one is used: looking at an address needs no memory when there is none. */
    if (t->unused.count <= CHUNK / 2 && !grow(t) && t->unused.count == 0) {
        abort(); /* an address that can't be looked at could be given to two clients */
    }
    uint32_t record = t->unused.head;
    struct entry *e = entry_of(t, record);
    t->unused.head = e->queue_next;
    t->unused.count--;
    int64_t starts = s->record;
    *e = (struct entry){
        .index = index,
        .status = FAILOVER_FREE,
        .owner = s->flags & OWNER,
        .generation = t->generation,
        .starts = starts,
        .sent = s->flags & SENT ? starts : 0,
        .acked = s->flags & ACKED ? starts : 0,
        .received = s->flags & RECEIVED ? starts : 0,
        .recorded = (s->flags & RECORDED) != 0,
        .reserved = (s->flags & RESERVED) != 0,
        .update_sent = (s->flags & UPDATE_SENT) != 0,
        .state_sent = (s->flags & STATE_SENT) != 0,
        .listed = (s->flags & LISTED) != 0,
    };
    s->record = record;
    s->flags |= HAS_ENTRY;
    make_candidate(t, e);
    return e;
}

static bool is_start_or_zero(const struct entry *e, int64_t time) {
    return time == 0 || time == e->starts;
}

/* Is the slot enough for it? */
static bool is_plain(const struct entry *e) {
    bool story = e->status != FAILOVER_FREE || e->client != NULL || e->ends != 0 || e->given != 0 || e->cltt != 0 ||
                 e->xid != 0 || e->extended_epoch != 0 || e->ip_flags != 0 || e->granted_here || e->made_partner_down;
    bool busy = e->place != NO_UPDATE || e->update_xid != 0 || e->heap != 0 || e->update_due || e->changed_in_flight ||
                e->requested || e->unwanted || e->adopted;
    bool waits = !e->listed && !e->reserved;
    return !story && !busy && !waits && e->starts >= 0 && e->starts <= UINT32_MAX && is_start_or_zero(e, e->sent) &&
           is_start_or_zero(e, e->acked) && is_start_or_zero(e, e->received);
}

static void fold(struct table *t, struct entry *e) {
    struct slot *s = &t->slots[e->index];
    uint32_t record = s->record;
    int flags = e->owner | (e->listed ? LISTED : 0) | (e->recorded ? RECORDED : 0) | (e->reserved ? RESERVED : 0) |
                (e->update_sent ? UPDATE_SENT : 0) | (e->state_sent ? STATE_SENT : 0) | (e->sent != 0 ? SENT : 0) |
                (e->acked != 0 ? ACKED : 0) | (e->received != 0 ? RECEIVED : 0);
    s->flags = (uint16_t)flags;
    s->record = (uint32_t)e->starts;
    e->index = NO_ENTRY;
    e->queue_next = t->unused.head;
    t->unused.head = record;
    t->unused.count++;
}

void table_fold(struct table *t, uint64_t committed) {
    while (t->candidates.head != NO_ENTRY) {
        struct entry *e = entry_of(t, t->candidates.head);
        bool plain = is_plain(e);
        if (plain && e->stored > committed) {
            return; /* what is told of it has to wait for that, and so has it */
        }
        t->candidates.head = e->fold_next;
        t->candidates.tail = e->fold_next == NO_ENTRY ? NO_ENTRY : t->candidates.tail;
        t->candidates.count--;
        e->candidate = false;
        if (plain) {
            fold(t, e);
        }
    }
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
    return p == NULL || t->slots == NULL ? NULL : table_at(t, p->base + (address - p->first));
}

static size_t pool_index(const struct table *t, const struct entry *e) {
    uint32_t index = e->index;
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
    return p->first + (e->index - p->base);
}

/* ---- Free lists -------------------------------------------------------------------------------------------------- */

static void list_append(struct table *t, struct list *l, struct entry *e) {
    struct slot *s = &t->slots[e->index];
    s->list_previous = l->tail;
    s->list_next = NO_ENTRY;
    if (l->tail == NO_ENTRY) {
        l->head = e->index;
    } else {
        t->slots[l->tail].list_next = e->index;
    }
    l->tail = e->index;
    l->count++;
    e->listed = true;
}

static void list_remove(struct table *t, struct list *l, struct entry *e) {
    const struct slot *s = &t->slots[e->index];
    if (s->list_previous == NO_ENTRY) {
        l->head = s->list_next;
    } else {
        t->slots[s->list_previous].list_next = s->list_next;
    }
    if (s->list_next == NO_ENTRY) {
        l->tail = s->list_previous;
    } else {
        t->slots[s->list_next].list_previous = s->list_previous;
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
    make_candidate(t, e);
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
    struct entry *e = table_at(t, l->head);
    list_remove(t, l, e);
    list_append(t, l, e);
    return e;
}

/* Hangs one list behind another. */
static void list_join(struct table *t, struct list *to, struct list *from) {
    if (from->count == 0) {
        return;
    }
    t->slots[from->head].list_previous = to->tail;
    if (to->tail == NO_ENTRY) {
        to->head = from->head;
    } else {
        t->slots[to->tail].list_next = from->head;
    }
    to->tail = from->tail;
    to->count += from->count;
    *from = (struct list){NO_ENTRY, NO_ENTRY, 0};
}

void table_take_nobodys(struct table *t, enum failover_owner owner) {
    for (size_t i = 0; i < t->pool_count; i++) {
        struct pool *p = &t->pools[i];
        list_join(t, &p->free[owner], &p->free[FAILOVER_NOBODY]);
        p->free_count[owner] += p->free_count[FAILOVER_NOBODY];
        p->free_count[FAILOVER_NOBODY] = 0;
    }
    uint64_t free = 0;
    for (uint32_t i = 0; i < t->entry_count; i++) {
        struct slot *s = &t->slots[i];
        if ((s->flags & (HAS_ENTRY | OWNER)) == FAILOVER_NOBODY) {
            s->flags = (uint16_t)(s->flags | owner);
            free++;
        }
    }
    for (uint32_t i = 0; i < t->record_count; i++) {
        struct entry *e = table_record(t, i);
        if (e != NULL && e->owner == FAILOVER_NOBODY) {
            free += e->status == FAILOVER_FREE;
            e->owner = (uint8_t)owner;
        }
    }
    if (owner == FAILOVER_MINE) {
        t->by_status[FAILOVER_BACKUP] -= free;
        t->by_status[FAILOVER_FREE] += free;
    }
}

/* ---- Heap -------------------------------------------------------------------------------------------------------- */

static int64_t key(const struct table *t, uint32_t position) {
    return entry_of(t, t->heap[position])->when;
}

static void place(struct table *t, uint32_t position, uint32_t i) {
    t->heap[position] = i;
    entry_of(t, i)->heap = position + 1;
}

static void sift_up(struct table *t, uint32_t position) {
    uint32_t i = t->heap[position];
    while (position > 0 && key(t, (position - 1) / 2) > entry_of(t, i)->when) {
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
        if (key(t, child) >= entry_of(t, i)->when) {
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
    if (last == record_of(t, e)) {
        return;
    }
    place(t, position, last);
    sift_up(t, position);
    sift_down(t, entry_of(t, last)->heap - 1);
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
        make_candidate(t, e);
        return;
    }
    t->heap[t->heap_count] = record_of(t, e);
    sift_up(t, t->heap_count++);
}

struct entry *table_first_due(const struct table *t) {
    return t->heap_count == 0 ? NULL : entry_of(t, t->heap[0]);
}

/* ---- Updates ----------------------------------------------------------------------------------------------------- */

static void leave_place(struct table *t, struct entry *e) {
    struct list *l = &t->updates[e->place];
    if (e->queue_previous == NO_ENTRY) {
        l->head = e->queue_next;
    } else {
        entry_of(t, e->queue_previous)->queue_next = e->queue_next;
    }
    if (e->queue_next == NO_ENTRY) {
        l->tail = e->queue_previous;
    } else {
        entry_of(t, e->queue_next)->queue_previous = e->queue_previous;
    }
    l->count--;
}

void table_put_update(struct table *t, struct entry *e, enum update_place place) {
    if (e->place == place) {
        return;
    }
    if (e->place != NO_UPDATE) {
        leave_place(t, e);
    }
    e->place = (uint8_t)place;
    if (place == NO_UPDATE) {
        make_candidate(t, e);
        return;
    }
    struct list *l = &t->updates[place];
    e->queue_previous = l->tail;
    e->queue_next = NO_ENTRY;
    if (l->tail == NO_ENTRY) {
        l->head = record_of(t, e);
    } else {
        entry_of(t, l->tail)->queue_next = record_of(t, e);
    }
    l->tail = record_of(t, e);
    l->count++;
}

struct entry *table_first_update(const struct table *t, enum update_place place) {
    uint32_t head = t->updates[place].head;
    return head == NO_ENTRY ? NULL : entry_of(t, head);
}

struct entry *table_next_update(const struct table *t, const struct entry *e) {
    return e->queue_next == NO_ENTRY ? NULL : entry_of(t, e->queue_next);
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
