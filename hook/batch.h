/* SPDX-License-Identifier: MPL-2.0 */
/* batch.h - what waits to be written into the failover database. */
#ifndef FAILOVER_BATCH_H
#define FAILOVER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The latest of one address, or of the relationship itself. */
struct item {
    int relationship;
    enum { RECORD, BINDING, FORGET } kind;
    uint32_t address; /* but of a RECORD */
    void *data; /* a struct failover_record, or a struct failover_binding cut off behind its client's identifier */
};

/* Each address and relationship once, by hash: what is written twice before a commit is written once. */
struct batch {
    struct item *items;
    size_t count, size;
    uint32_t *index; /* item + 1, by hash; 0: empty */
    size_t index_size;
    uint64_t *sequences; /* latest, by relationship */
    size_t relationships;
    bool awaited; /* somebody waits for one of these */
    bool hurried; /* has the record of a relationship: the partner waits to hear of its state */
};

/* Makes room for the sequence of one more relationship. False: out of memory. */
bool batch_add_relationship(struct batch *b);
/*
 * Later wins, unless `older` says that what is there is the later one. The item's data is the batch's from here on.
 * False: out of memory, and the item is lost.
 */
bool batch_put(struct batch *b, const struct item *item, bool older);
/* Empties it and keeps its room, unless that is far more than usual. */
void batch_clear(struct batch *b);
void batch_free(struct batch *b);

#ifdef __cplusplus
}
#endif

#endif
