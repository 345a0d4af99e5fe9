/* SPDX-License-Identifier: MPL-2.0 */
/*
 * store.h - durable memory: one SQLite file for all relationships, written in groups by a thread of its own, so that
 * the server's loop never waits for a disk.
 *
 * Functions may be called from any thread unless they say otherwise. Times and values are those of failover.h.
 */
#ifndef FAILOVER_STORE_H
#define FAILOVER_STORE_H

#include "failover.h"

#ifdef __cplusplus
extern "C" {
#endif

struct failover_store;

enum failover_store_result {
    FAILOVER_STORE_OPENED,    /* an existing database */
    FAILOVER_STORE_CREATED,   /* there was none */
    FAILOVER_STORE_PUT_ASIDE, /* there was one that can't be read; it has been renamed, a new one begins empty */
    FAILOVER_STORE_READ_ONLY, /* an existing database that can be read but not written, now */
    FAILOVER_STORE_FAILED,    /* neither: no store */
};

/*
 * Opens `path` or creates it. `why` gets a sentence for every result but OPENED and CREATED. `wake` is an eventfd that
 * is written to after each commit, and when commits begin or cease to fail; it stays the caller's.
 * Null on FAILOVER_STORE_FAILED: the caller has to refuse its configuration.
 */
struct failover_store *failover_store_open(const char *path, int wake, enum failover_store_result *result,
                                           struct failover_why *why);

/* Writes what is pending, once more if that fails, ends the thread and closes the file. */
void failover_store_close(struct failover_store *store);

/* Names a relationship; the number is for the calls below. Negative: no memory. Before the first put. */
int failover_store_relationship(struct failover_store *store, const char *name);

/* DAMAGED: what is there makes no sense; see failover_store_put_aside(). */
enum failover_store_found { FAILOVER_STORE_NOTHING, FAILOVER_STORE_FOUND, FAILOVER_STORE_DAMAGED };

/* What is stored of a relationship. Before the first put. */
enum failover_store_found failover_store_load(struct failover_store *store, int relationship,
                                              struct failover_record *record);
/* A relationship that is stored here and was not named to failover_store_relationship(). False: there is none. */
bool failover_store_orphan(struct failover_store *store, char name[FAILOVER_NAME_MAX + 1]);
/* Calls back for each binding. False: the database is damaged. Before the first put. */
bool failover_store_load_bindings(struct failover_store *store, int relationship,
                                  void (*each)(void *context, const struct failover_binding *binding), void *context);
/* Renames a database that turned out unreadable, and begins an empty one. False: `why` says what failed. */
bool failover_store_put_aside(struct failover_store *store, struct failover_why *why);

/* Queues a record; see failover_host.store. Never waits for the disk. One with sequence 0 is written with the next that
 * has another, or after 0.2 s. */
void failover_store_put(struct failover_store *store, int relationship, uint64_t sequence,
                        const struct failover_record *record, const struct failover_binding *binding);
/* Queues the removal of an address that is in no pool any more. */
void failover_store_forget(struct failover_store *store, int relationship, uint32_t address);

/* Everything of this relationship up to the returned sequence is on disk. */
uint64_t failover_store_committed(struct failover_store *store, int relationship);
/* False while commits fail; `why` then says why. */
bool failover_store_works(struct failover_store *store, struct failover_why *why);
/* Waits until `sequence` is on disk, at most `milliseconds`. False: it is not, and may still come. */
bool failover_store_wait(struct failover_store *store, int relationship, uint64_t sequence, int milliseconds);

#ifdef __cplusplus
}
#endif
#endif
