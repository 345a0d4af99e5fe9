/* SPDX-License-Identifier: MPL-2.0 */
#include "batch.h"

#include <stdlib.h>

#define SIZE_FIRST 256
/* Items. A first balance has thousands of times as many, once. */
#define SIZE_KEPT 4096

static uint64_t hash_of(const struct item *item) {
    uint64_t key = (uint64_t)item->relationship << 33 | (uint64_t)(item->kind == RECORD) << 32 | item->address;
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdu;
    return key ^ key >> 33;
}

static bool same_key(const struct item *a, const struct item *b) {
    return a->relationship == b->relationship && (a->kind == RECORD) == (b->kind == RECORD) && a->address == b->address;
}

static uint32_t *find_slot(struct batch *b, const struct item *item) {
    size_t at = hash_of(item) & (b->index_size - 1);
    while (b->index[at] != 0 && !same_key(&b->items[b->index[at] - 1], item)) {
        at = (at + 1) & (b->index_size - 1);
    }
    return &b->index[at];
}

static bool grow(struct batch *b) {
    size_t size = b->size == 0 ? SIZE_FIRST : b->size * 2;
    struct item *items = realloc(b->items, size * sizeof(*items));
    if (items == NULL) {
        return false;
    }
    b->items = items;
    uint32_t *index = calloc(size * 2, sizeof(*index));
    if (index == NULL) {
        return false;
    }
    free(b->index);
    b->index = index;
    b->index_size = size * 2;
    b->size = size;
    for (size_t i = 0; i < b->count; i++) {
        *find_slot(b, &b->items[i]) = (uint32_t)i + 1;
    }
    return true;
}

bool batch_put(struct batch *b, const struct item *item, bool older) {
    if (b->count == b->size && !grow(b)) {
        free(item->data);
        return false;
    }
    uint32_t *slot = find_slot(b, item);
    if (*slot == 0) {
        b->items[b->count] = *item;
        *slot = (uint32_t)++b->count;
        return true;
    }
    struct item *there = &b->items[*slot - 1];
    free(older ? item->data : there->data);
    *there = older ? *there : *item;
    return true;
}

bool batch_add_relationship(struct batch *b) {
    uint64_t *sequences = realloc(b->sequences, (b->relationships + 1) * sizeof(*sequences));
    if (sequences == NULL) {
        return false;
    }
    b->sequences = sequences;
    b->sequences[b->relationships++] = 0;
    return true;
}

static void free_room(struct batch *b) {
    free(b->items);
    free(b->index);
    b->items = NULL;
    b->index = NULL;
    b->size = b->index_size = 0;
}

void batch_clear(struct batch *b) {
    for (; b->count > 0; b->count--) {
        struct item *item = &b->items[b->count - 1];
        *find_slot(b, item) = 0; /* the latest first: nobody's search goes on behind it */
        free(item->data);
    }
    if (b->size > SIZE_KEPT) {
        free_room(b);
    }
    for (size_t i = 0; i < b->relationships; i++) {
        b->sequences[i] = 0;
    }
    b->awaited = b->hurried = false;
}

void batch_free(struct batch *b) {
    batch_clear(b);
    free_room(b);
    free(b->sequences);
    *b = (struct batch){0};
}
