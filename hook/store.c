/* SPDX-License-Identifier: MPL-2.0 */
#include "store.h"

#include "batch.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* PRAGMA application_id ("KFOV") and user_version: a later version's file is put aside, not guessed at. */
#define APPLICATION_ID 1262899030
#define SCHEMA_VERSION 1
/*
 * ms: commits of bindings are grouped over this time for each that the last commit had, within these bounds, or until so
 * many wait: under load a commit costs some twenty system calls, however much is in it, and without load there is no
 * reason to wait. They are tried again after that time when they fail.
 */
#define GROUP_MS      2
#define GROUP_MAX_MS  10
#define GROUP_RECORDS 64
#define RETRY_MS      1000
/* ms that records may lie which nobody waits for: most of the time somebody else's commit takes them along. */
#define LEISURE_MS 200

struct failover_store {
    char *path;
    int wake;
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *put_record, *put_binding, *forget;
    char **names;
    int relationships;
    pthread_mutex_t mutex;
    pthread_cond_t changed;   /* there is something to write, or to end */
    pthread_cond_t committed; /* for who waits */
    pthread_t thread;
    bool running, stopping, urgent, failing, read_only;
    bool idle; /* the writer waits for something to write */
    bool lost; /* a record, for lack of memory */
    struct failover_why failure;
    struct batch batch;
    struct batch taken; /* the writer's alone, while it writes */
    size_t last;        /* records in the last commit */
    uint64_t *done;     /* committed sequence, by relationship */
};

/* ---- Schema ------------------------------------------------------------------------------------------------------ */

/* In one transaction: a process that is killed here leaves an empty database behind, or a whole one. */
static const char schema[] =
    "BEGIN IMMEDIATE;"
    "PRAGMA application_id = 1262899030;"
    "PRAGMA user_version = 1;"
    "CREATE TABLE IF NOT EXISTS relationship ("
    " name TEXT PRIMARY KEY, state TEXT NOT NULL, stos INTEGER NOT NULL, partner_state TEXT NOT NULL,"
    " partner_stos INTEGER NOT NULL, mclt INTEGER NOT NULL, mclt_before INTEGER NOT NULL, mclt_taken INTEGER NOT NULL,"
    " skew INTEGER NOT NULL, acting_primary TEXT NOT NULL, acting_since INTEGER NOT NULL,"
    " link_held_down INTEGER NOT NULL, epoch INTEGER NOT NULL, default_owner TEXT NOT NULL,"
    " last_served INTEGER NOT NULL, last_granted INTEGER NOT NULL, last_heard INTEGER NOT NULL, hba BLOB,"
    " process TEXT NOT NULL, sum INTEGER) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS binding ("
    " relationship TEXT NOT NULL, address INTEGER NOT NULL, status TEXT NOT NULL, owner TEXT NOT NULL,"
    " starts INTEGER NOT NULL, ends INTEGER NOT NULL, given INTEGER NOT NULL, cltt INTEGER NOT NULL,"
    " sent INTEGER NOT NULL, acked INTEGER NOT NULL, received INTEGER NOT NULL, xid INTEGER NOT NULL,"
    " extended_epoch INTEGER NOT NULL, ip_flags INTEGER NOT NULL, update_due INTEGER NOT NULL,"
    " update_sent INTEGER NOT NULL, state_sent INTEGER NOT NULL, granted_here INTEGER NOT NULL,"
    " made_partner_down INTEGER NOT NULL, hardware BLOB NOT NULL, client_id BLOB NOT NULL, sum INTEGER,"
    " PRIMARY KEY (relationship, address)) WITHOUT ROWID;"
    /* For people: dotted addresses, hexadecimal clients. */
    "CREATE VIEW IF NOT EXISTS bindings AS SELECT relationship,"
    " (address >> 24) || '.' || (address >> 16 & 255) || '.' || (address >> 8 & 255) || '.' || (address & 255) AS "
    "address,"
    " status, owner, datetime(ends, 'unixepoch') AS ends, hex(hardware) AS hardware, hex(client_id) AS client_id,"
    " update_due FROM binding;"
    "COMMIT;";

static const char add_sums[] = "BEGIN IMMEDIATE;"
                               "ALTER TABLE relationship ADD COLUMN sum INTEGER;"
                               "ALTER TABLE binding ADD COLUMN sum INTEGER;"
                               "COMMIT;";

#define RECORD_COLUMNS                                                                                                 \
    "state, stos, partner_state, partner_stos, mclt, mclt_before, mclt_taken, skew, acting_primary, acting_since, "    \
    "link_held_down, epoch, default_owner, last_served, last_granted, last_heard, hba, process"
#define BINDING_COLUMNS                                                                                                \
    "address, status, owner, starts, ends, given, cltt, sent, acked, received, xid, extended_epoch, ip_flags, "        \
    "update_due, update_sent, state_sent, granted_here, made_partner_down, hardware, client_id"

__attribute__((format(printf, 2, 3))) static void say(struct failover_why *why, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why->text, sizeof(why->text), format, arguments);
    va_end(arguments);
}

static bool run(sqlite3 *db, const char *sql) {
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

#define SUM_FIRST 0xcbf29ce484222325u

static uint64_t add_to_sum(uint64_t sum, uint64_t value) {
    sum = (sum ^ value) * 0x100000001b3u;
    return sum ^ sum >> 32; /* FNV-1a, but that the upper half of a value reaches the lower bits too */
}

static uint64_t add_bytes_to_sum(uint64_t sum, int type, const uint8_t *bytes, int length) {
    for (int i = 0; i < length; i++) {
        sum = add_to_sum(sum, bytes[i]);
    }
    return add_to_sum(sum, (uint64_t)type << 32 ^ (uint64_t)length);
}

static int64_t as_stored(uint64_t sum) {
    return (int64_t)(sum >> 1);
}

/* sum_of(value, ...), for SQL: over the values, their types and lengths. SQLite notices when a page is no page any more,
 * but not when a byte of a value is another one. */
static void sum_of(sqlite3_context *context, int count, sqlite3_value **values) {
    uint64_t sum = SUM_FIRST;
    for (int i = 0; i < count; i++) {
        int type = sqlite3_value_type(values[i]);
        if (type == SQLITE_INTEGER) {
            sum = add_to_sum(sum, (uint64_t)sqlite3_value_int64(values[i])); /* as a text it would take far longer */
        } else {
            const uint8_t *bytes = sqlite3_value_blob(values[i]);
            sum = add_bytes_to_sum(sum, type, bytes, sqlite3_value_bytes(values[i]));
        }
    }
    sqlite3_result_int64(context, as_stored(sum));
}

static bool open_with_sums(struct failover_store *s, const char *path, int flags) {
    return sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK &&
           sqlite3_create_function(s->db, "sum_of", -1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL, sum_of, NULL, NULL) ==
               SQLITE_OK;
}

/* False: it can't be read. */
static bool read_number(sqlite3 *db, const char *sql, int64_t *number) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) {
        return false;
    }
    bool found = sqlite3_step(statement) == SQLITE_ROW;
    *number = found ? sqlite3_column_int64(statement, 0) : 0;
    return sqlite3_finalize(statement) == SQLITE_OK && found;
}

/* The first databases had no sums. */
static bool has_sums(sqlite3 *db) {
    int64_t there;
    return read_number(db, "SELECT count(*) FROM pragma_table_info('binding') WHERE name = 'sum'", &there) && there > 0;
}

/* False: the check can't be made. A row that an earlier version wrote has no sum. */
static bool check(sqlite3 *db, bool *passes) {
    sqlite3_stmt *statement;
    if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL) != SQLITE_OK) {
        return false;
    }
    bool made = sqlite3_step(statement) == SQLITE_ROW;
    *passes = made && strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
    made = sqlite3_finalize(statement) == SQLITE_OK && made;
    int64_t wrong = 0;
    if (made && *passes && has_sums(db)) {
        made = read_number(db,
                           "SELECT (SELECT count(*) FROM relationship WHERE sum <> sum_of(name, " RECORD_COLUMNS
                           ")) + (SELECT count(*) FROM binding WHERE sum <> sum_of(relationship, " BINDING_COLUMNS "))",
                           &wrong);
    }
    *passes = *passes && wrong == 0;
    return made;
}

/* Was the last failure the file's fault? Else the disk is full or can't be written, or somebody else has locked it. */
static bool is_damage(sqlite3 *db) {
    int code = sqlite3_errcode(db) & 0xff;
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR;
}

/* An empty one may be left over from a process that was killed while it made it. */
enum condition { SOUND, EMPTY, UNUSABLE, UNREACHABLE };

/* How the opened database is; `bad` says why it is UNUSABLE. */
static enum condition examine(sqlite3 *db, const char **bad) {
    int64_t version, application, tables, ours;
    bool passes;
    *bad = "it is damaged or no SQLite database";
    if (!read_number(db, "PRAGMA user_version", &version) || !read_number(db, "PRAGMA application_id", &application) ||
        !read_number(db, "SELECT count(*) FROM sqlite_master", &tables) ||
        !read_number(db,
                     "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('relationship', 'binding')",
                     &ours)) {
        return is_damage(db) ? UNUSABLE : UNREACHABLE;
    }
    if (version == 0 && application == 0 && tables == 0) {
        return EMPTY;
    }
    if (application != APPLICATION_ID) {
        *bad = "it is another program's database";
        return UNUSABLE;
    }
    if (version > SCHEMA_VERSION) {
        *bad = "a later version of this library has written it";
        return UNUSABLE;
    }
    *bad = "it is damaged";
    if (ours != 2) {
        return UNUSABLE; /* without one of its tables half of what was known is gone */
    }
    if (!check(db, &passes)) {
        return is_damage(db) ? UNUSABLE : UNREACHABLE;
    }
    return passes ? SOUND : UNUSABLE;
}

#define EIGHTEEN "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"

static bool prepare(struct failover_store *s) {
    static const char put_record[] =
        "INSERT OR REPLACE INTO relationship (name, " RECORD_COLUMNS ", sum) VALUES (?, " EIGHTEEN ", ?)";
    static const char put_binding[] =
        "INSERT OR REPLACE INTO binding (relationship, " BINDING_COLUMNS ", sum) VALUES (?, " EIGHTEEN ", ?, ?, ?)";
    static const char forget[] = "DELETE FROM binding WHERE relationship = ? AND address = ?";
    return sqlite3_prepare_v2(s->db, "BEGIN IMMEDIATE", -1, &s->begin, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(s->db, "COMMIT", -1, &s->commit, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(s->db, put_record, -1, &s->put_record, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(s->db, put_binding, -1, &s->put_binding, NULL) == SQLITE_OK &&
           sqlite3_prepare_v2(s->db, forget, -1, &s->forget, NULL) == SQLITE_OK;
}

static bool take_step(sqlite3_stmt *q) {
    bool done = sqlite3_step(q) == SQLITE_DONE;
    sqlite3_reset(q);
    return done;
}

static void close_database(struct failover_store *s) {
    sqlite3_finalize(s->begin);
    sqlite3_finalize(s->commit);
    sqlite3_finalize(s->put_record);
    sqlite3_finalize(s->put_binding);
    sqlite3_finalize(s->forget);
    s->begin = s->commit = s->put_record = s->put_binding = s->forget = NULL;
    sqlite3_close(s->db);
    s->db = NULL;
}

/* Sets up an opened database for writing. */
static bool make_writable(struct failover_store *s) {
    return run(s->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;") && run(s->db, schema) &&
           (has_sums(s->db) || run(s->db, add_sums)) && prepare(s);
}

static bool exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0;
}

/* Opens a database that the file system won't let be written. A write-ahead log beside it holds the latest state: then
 * it has to be readable too. */
static enum condition open_read_only(struct failover_store *s, const char **bad) {
    char uri[4096];
    char wal[4096];
    snprintf(wal, sizeof(wal), "%s-wal", s->path);
    snprintf(uri, sizeof(uri), "file:%s?mode=ro%s", s->path, exists(wal) ? "" : "&immutable=1");
    close_database(s);
    enum condition condition =
        open_with_sums(s, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI) ? examine(s->db, bad) : UNREACHABLE;
    s->read_only = condition == SOUND;
    return condition;
}

static bool open_for_writing(struct failover_store *s) {
    return open_with_sums(s, s->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) &&
           sqlite3_db_readonly(s->db, "main") != 1 && sqlite3_busy_timeout(s->db, 500) == SQLITE_OK;
}

static bool rename_beside(const char *path, const char *suffix, long long stamp) {
    char from[4096], to[4200];
    snprintf(from, sizeof(from), "%s%s", path, suffix);
    snprintf(to, sizeof(to), "%s.unreadable-%lld%s", path, stamp, suffix);
    return rename(from, to) == 0 || errno == ENOENT;
}

static bool is_taken(const char *path, long long stamp) {
    char name[4200];
    snprintf(name, sizeof(name), "%s.unreadable-%lld", path, stamp);
    return access(name, F_OK) == 0;
}

bool failover_store_put_aside(struct failover_store *s, struct failover_why *why) {
    long long stamp = (long long)time(NULL);
    while (is_taken(s->path, stamp)) {
        stamp++;
    }
    close_database(s);
    if (!rename_beside(s->path, "", stamp) || !rename_beside(s->path, "-wal", stamp) ||
        !rename_beside(s->path, "-shm", stamp)) {
        say(why, "%s can't be read, and not be renamed either: %s", s->path, strerror(errno));
        return false;
    }
    if (!open_for_writing(s) || !make_writable(s)) {
        say(why, "%s can't be made anew: %s", s->path, sqlite3_errmsg(s->db));
        return false;
    }
    say(why, "%s was renamed to %s.unreadable-%lld", s->path, s->path, stamp);
    return true;
}

static enum failover_store_result open_database(struct failover_store *s, struct failover_why *why) {
    const char *bad;
    bool existed = exists(s->path);
    enum condition condition = open_for_writing(s) ? examine(s->db, &bad) : UNREACHABLE;
    if (condition == SOUND || condition == EMPTY) {
        if (make_writable(s)) {
            return condition == SOUND ? FAILOVER_STORE_OPENED : FAILOVER_STORE_CREATED;
        }
        condition = is_damage(s->db) ? UNUSABLE : UNREACHABLE;
    }
    struct failover_why reason;
    say(&reason, "%s", sqlite3_errcode(s->db) == SQLITE_OK ? "permission denied" : sqlite3_errmsg(s->db));
    if (condition == UNREACHABLE && existed) {
        condition = open_read_only(s, &bad);
    }
    if (condition == SOUND) {
        say(why, "the failover database %s can be read but not written: %s", s->path, reason.text);
        return FAILOVER_STORE_READ_ONLY;
    }
    if (condition != UNUSABLE) {
        /* Nothing is known against it: it stays where it is. */
        say(why, "the failover database %s can't be %s: %s", s->path, existed ? "opened" : "made", reason.text);
        return FAILOVER_STORE_FAILED;
    }
    struct failover_why aside;
    if (!failover_store_put_aside(s, &aside)) {
        *why = aside;
        return FAILOVER_STORE_FAILED;
    }
    say(why, "the failover database can't be used, %s; %s", bad, aside.text);
    return FAILOVER_STORE_PUT_ASIDE;
}

/* ---- Loading ----------------------------------------------------------------------------------------------------- */

static const char *text(sqlite3_stmt *statement, int column) {
    const unsigned char *value = sqlite3_column_text(statement, column);
    return value == NULL ? "" : (const char *)value;
}

/* A number between the bounds; anything else in its place is damage. */
static int64_t number(sqlite3_stmt *statement, int column, int64_t low, int64_t high, bool *sound) {
    int64_t value = sqlite3_column_int64(statement, column);
    *sound = *sound && sqlite3_column_type(statement, column) == SQLITE_INTEGER && value >= low && value <= high;
    return value;
}

static bool flag(sqlite3_stmt *statement, int column, bool *sound) {
    return number(statement, column, 0, 1, sound) != 0;
}

/* -1: none of them. */
static int state_named(const char *name) {
    int state = FAILOVER_STATES - 1;
    while (state >= 0 && strcmp(name, failover_state_name((enum failover_state)state)) != 0) {
        state--;
    }
    return state;
}

static enum failover_binding_status status_named(const char *name) {
    int status = FAILOVER_BINDING_STATUSES - 1;
    while (status > 0 && strcmp(name, failover_binding_status_name((enum failover_binding_status)status)) != 0) {
        status--;
    }
    return (enum failover_binding_status)status;
}

/* -1: none of them. */
static int owner_named(const char *name) {
    int owner = FAILOVER_PARTNERS;
    while (owner >= 0 && strcmp(name, failover_owner_name((enum failover_owner)owner)) != 0) {
        owner--;
    }
    return owner;
}

/* Times that are past, so far from the end of 64 bits that an MCLT can be added. */
#define OWN_TIME_MAX ((int64_t)1 << 40)

static bool read_record(sqlite3_stmt *q, struct failover_record *r) {
    bool sound = true;
    int state = state_named(text(q, 0));
    int partner_state = state_named(text(q, 2));
    bool primary = strcmp(text(q, 8), failover_role_name(FAILOVER_PRIMARY)) == 0;
    int owner = owner_named(text(q, 12));
    int hba = sqlite3_column_bytes(q, 16);
    if (state <= FAILOVER_STARTUP || state == FAILOVER_PAUSED || partner_state < 0 || owner < 0 ||
        (!primary && strcmp(text(q, 8), failover_role_name(FAILOVER_SECONDARY)) != 0) ||
        (hba != 0 && hba != FAILOVER_HBA_SIZE) || sqlite3_column_bytes(q, 17) >= (int)sizeof(r->process)) {
        return false;
    }
    *r = (struct failover_record){
        .state = (enum failover_state)state,
        .stos = number(q, 1, 0, OWN_TIME_MAX, &sound),
        .partner_state = (enum failover_state)partner_state,
        .partner_stos = number(q, 3, 0, INT64_MAX, &sound),
        .mclt = (uint32_t)number(q, 4, 0, UINT32_MAX, &sound),
        .mclt_before = (uint32_t)number(q, 5, 0, UINT32_MAX, &sound),
        .mclt_taken = number(q, 6, 0, OWN_TIME_MAX, &sound),
        .skew = (int32_t)number(q, 7, INT32_MIN, INT32_MAX, &sound),
        .acting_primary = primary ? FAILOVER_PRIMARY : FAILOVER_SECONDARY,
        .acting_since = number(q, 9, 0, INT64_MAX, &sound),
        .link_held_down = flag(q, 10, &sound),
        .epoch = (uint32_t)number(q, 11, 0, UINT32_MAX, &sound),
        .default_owner = (enum failover_owner)owner,
        .last_served = number(q, 13, 0, OWN_TIME_MAX, &sound),
        .last_granted = number(q, 14, 0, OWN_TIME_MAX, &sound),
        .last_heard = number(q, 15, 0, OWN_TIME_MAX, &sound),
        .hba_known = hba != 0,
    };
    if (r->hba_known) {
        memcpy(r->hba, sqlite3_column_blob(q, 16), FAILOVER_HBA_SIZE);
    }
    snprintf(r->process, sizeof(r->process), "%s", text(q, 17));
    return sound;
}

/* Bindings without their relationship: half of what was known is gone. They must not come back with its next record. */
static enum failover_store_found without_record(struct failover_store *s, int relationship) {
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(s->db, "SELECT 1 FROM binding WHERE relationship = ? LIMIT 1", -1, &q, NULL) != SQLITE_OK) {
        return FAILOVER_STORE_DAMAGED;
    }
    sqlite3_bind_text(q, 1, s->names[relationship], -1, SQLITE_STATIC);
    bool none = sqlite3_step(q) == SQLITE_DONE;
    sqlite3_finalize(q);
    return none ? FAILOVER_STORE_NOTHING : FAILOVER_STORE_DAMAGED;
}

enum failover_store_found failover_store_load(struct failover_store *s, int relationship,
                                              struct failover_record *record) {
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(s->db, "SELECT " RECORD_COLUMNS " FROM relationship WHERE name = ?", -1, &q, NULL) !=
        SQLITE_OK) {
        return FAILOVER_STORE_DAMAGED;
    }
    sqlite3_bind_text(q, 1, s->names[relationship], -1, SQLITE_STATIC);
    enum failover_store_found found = FAILOVER_STORE_DAMAGED;
    int step = sqlite3_step(q);
    if (step == SQLITE_DONE) {
        found = without_record(s, relationship);
    } else if (step == SQLITE_ROW && read_record(q, record)) {
        found = FAILOVER_STORE_FOUND;
    }
    sqlite3_finalize(q);
    return found;
}

static bool is_named(const struct failover_store *s, const char *name) {
    for (int i = 0; i < s->relationships; i++) {
        if (strcmp(s->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool failover_store_orphan(struct failover_store *s, char name[FAILOVER_NAME_MAX + 1]) {
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(s->db, "SELECT name FROM relationship ORDER BY name", -1, &q, NULL) != SQLITE_OK) {
        return false;
    }
    bool found = false;
    while (!found && sqlite3_step(q) == SQLITE_ROW) {
        snprintf(name, FAILOVER_NAME_MAX + 1, "%s", text(q, 0));
        found = !is_named(s, name);
    }
    sqlite3_finalize(q);
    return found;
}

static bool read_binding(sqlite3_stmt *q, struct failover_binding *b) {
    bool sound = true;
    enum failover_binding_status status = status_named(text(q, 1));
    int owner = owner_named(text(q, 2));
    int hardware = sqlite3_column_bytes(q, 18);
    int id = sqlite3_column_bytes(q, 19);
    if (status == 0 || status == FAILOVER_BACKUP || owner < 0 || hardware > FAILOVER_HARDWARE_MAX ||
        id > FAILOVER_CLIENT_ID_MAX || (status == FAILOVER_ACTIVE && hardware + id == 0)) {
        return false;
    }
    *b = (struct failover_binding){
        .address = (uint32_t)number(q, 0, 0, UINT32_MAX, &sound),
        .status = status,
        .owner = (enum failover_owner)owner,
        .starts = number(q, 3, 0, OWN_TIME_MAX, &sound),
        .ends = number(q, 4, 0, INT64_MAX, &sound),
        .given = number(q, 5, 0, INT64_MAX, &sound),
        .cltt = number(q, 6, 0, OWN_TIME_MAX, &sound), /* may become the record's last_granted */
        .sent = number(q, 7, 0, INT64_MAX, &sound),
        .acked = number(q, 8, 0, INT64_MAX, &sound),
        .received = number(q, 9, 0, INT64_MAX, &sound),
        .xid = (uint32_t)number(q, 10, 0, UINT32_MAX, &sound),
        .extended_epoch = (uint32_t)number(q, 11, 0, UINT32_MAX, &sound),
        .ip_flags = (uint16_t)number(q, 12, 0, UINT16_MAX, &sound),
        .update_due = flag(q, 13, &sound),
        .update_sent = flag(q, 14, &sound),
        .state_sent = flag(q, 15, &sound),
        .granted_here = flag(q, 16, &sound),
        .made_partner_down = flag(q, 17, &sound),
        .client = {.hardware_length = (uint8_t)hardware, .id_length = (uint16_t)id},
    };
    if (hardware > 0) {
        memcpy(b->client.hardware, sqlite3_column_blob(q, 18), (size_t)hardware);
    }
    if (id > 0) {
        memcpy(b->client.id, sqlite3_column_blob(q, 19), (size_t)id);
    }
    return sound;
}

bool failover_store_load_bindings(struct failover_store *s, int relationship,
                                  void (*each)(void *context, const struct failover_binding *binding), void *context) {
    sqlite3_stmt *q;
    if (sqlite3_prepare_v2(s->db, "SELECT " BINDING_COLUMNS " FROM binding WHERE relationship = ?", -1, &q, NULL) !=
        SQLITE_OK) {
        return false;
    }
    sqlite3_bind_text(q, 1, s->names[relationship], -1, SQLITE_STATIC);
    int step;
    bool sound = true;
    struct failover_binding binding;
    while (sound && (step = sqlite3_step(q)) == SQLITE_ROW) {
        sound = read_binding(q, &binding);
        if (sound) {
            each(context, &binding);
        }
    }
    sqlite3_finalize(q);
    return sound && step == SQLITE_DONE;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

/* A row, value by value in the order of its columns; its sum is that of sum_of(). */
struct row {
    sqlite3_stmt *put;
    int values;
    uint64_t sum;
};

static void add_number(struct row *r, int64_t number) {
    sqlite3_bind_int64(r->put, ++r->values, number);
    r->sum = add_to_sum(r->sum, (uint64_t)number);
}

static void add_text(struct row *r, const char *text) {
    int length = (int)strlen(text);
    sqlite3_bind_text(r->put, ++r->values, text, length, SQLITE_STATIC);
    r->sum = add_bytes_to_sum(r->sum, SQLITE_TEXT, (const uint8_t *)text, length);
}

static void add_bytes(struct row *r, const uint8_t *bytes, int length) {
    sqlite3_bind_blob(r->put, ++r->values, bytes, length, SQLITE_STATIC);
    r->sum = add_bytes_to_sum(r->sum, SQLITE_BLOB, bytes, length);
}

static bool write_row(struct row *r) {
    sqlite3_bind_int64(r->put, ++r->values, as_stored(r->sum));
    return take_step(r->put);
}

static bool write_record(struct failover_store *s, const struct item *item) {
    const struct failover_record *r = item->data;
    struct row row = {.put = s->put_record, .sum = SUM_FIRST};
    add_text(&row, s->names[item->relationship]);
    add_text(&row, failover_state_name(r->state));
    add_number(&row, r->stos);
    add_text(&row, failover_state_name(r->partner_state));
    add_number(&row, r->partner_stos);
    add_number(&row, r->mclt);
    add_number(&row, r->mclt_before);
    add_number(&row, r->mclt_taken);
    add_number(&row, r->skew);
    add_text(&row, failover_role_name(r->acting_primary));
    add_number(&row, r->acting_since);
    add_number(&row, r->link_held_down);
    add_number(&row, r->epoch);
    add_text(&row, failover_owner_name(r->default_owner));
    add_number(&row, r->last_served);
    add_number(&row, r->last_granted);
    add_number(&row, r->last_heard);
    add_bytes(&row, r->hba, r->hba_known ? FAILOVER_HBA_SIZE : 0);
    add_text(&row, r->process);
    return write_row(&row);
}

static bool write_binding(struct failover_store *s, const struct item *item) {
    const struct failover_binding *b = item->data;
    struct row row = {.put = s->put_binding, .sum = SUM_FIRST};
    add_text(&row, s->names[item->relationship]);
    add_number(&row, b->address);
    add_text(&row, failover_binding_status_name(b->status));
    add_text(&row, failover_owner_name(b->owner));
    add_number(&row, b->starts);
    add_number(&row, b->ends);
    add_number(&row, b->given);
    add_number(&row, b->cltt);
    add_number(&row, b->sent);
    add_number(&row, b->acked);
    add_number(&row, b->received);
    add_number(&row, b->xid);
    add_number(&row, b->extended_epoch);
    add_number(&row, b->ip_flags);
    add_number(&row, b->update_due);
    add_number(&row, b->update_sent);
    add_number(&row, b->state_sent);
    add_number(&row, b->granted_here);
    add_number(&row, b->made_partner_down);
    add_bytes(&row, b->client.hardware, b->client.hardware_length);
    add_bytes(&row, b->client.id, b->client.id_length);
    return write_row(&row);
}

static bool write_forget(struct failover_store *s, const struct item *item) {
    sqlite3_bind_text(s->forget, 1, s->names[item->relationship], -1, SQLITE_STATIC);
    sqlite3_bind_int64(s->forget, 2, item->address);
    return take_step(s->forget);
}

static bool write_item(struct failover_store *s, const struct item *item) {
    switch (item->kind) {
    case RECORD:
        return write_record(s, item);
    case BINDING:
        return write_binding(s, item);
    default:
        return write_forget(s, item);
    }
}

static bool ready(struct failover_store *s) {
    if (!s->read_only && s->db != NULL) {
        return true;
    }
    close_database(s);
    s->read_only = !open_for_writing(s) || !make_writable(s);
    return !s->read_only;
}

static const char *failure(const struct failover_store *s) {
    if (s->db == NULL) {
        return "it can't be opened";
    }
    return s->read_only ? "it can be read but not written" : sqlite3_errmsg(s->db);
}

/* All of it or nothing. Without the mutex: the database is the writer's alone. */
static bool write_batch(struct failover_store *s, const struct batch *b, struct failover_why *why) {
    bool sound = ready(s) && take_step(s->begin);
    for (size_t i = 0; sound && i < b->count; i++) {
        sound = write_item(s, &b->items[i]);
    }
    sound = sound && take_step(s->commit);
    if (!sound) {
        say(why, "%s", failure(s));
    }
    if (!sound && s->db != NULL && !sqlite3_get_autocommit(s->db)) {
        run(s->db, "ROLLBACK");
    }
    return sound;
}

static void notify(struct failover_store *s) {
    uint64_t one = 1;
    if (s->wake >= 0 && write(s->wake, &one, sizeof(one)) < 0) {
        return; /* EAGAIN: the reader has enough to wake up for */
    }
}

static bool hurries(const struct failover_store *s) {
    bool hurried = s->batch.hurried || s->batch.count >= GROUP_RECORDS;
    return s->stopping || s->urgent || (hurried && !s->failing);
}

static bool is_awaited(const struct failover_store *s) {
    return s->batch.awaited || hurries(s);
}

/* More records may come meanwhile; only what is pressing ends it. */
static void rest(struct failover_store *s, int milliseconds, bool (*pressing)(const struct failover_store *)) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    until.tv_sec += milliseconds / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int timeout = 0;
    while (!pressing(s) && timeout == 0) {
        timeout = pthread_cond_timedwait(&s->changed, &s->mutex, &until);
    }
}

/* Until there is something to write, and somebody waits for it or it has lain for long enough. */
static void rest_idle(struct failover_store *s) {
    s->idle = true;
    while (s->batch.count == 0 && !s->stopping) {
        pthread_cond_wait(&s->changed, &s->mutex);
    }
    rest(s, LEISURE_MS, is_awaited);
    s->idle = false;
}

/* Takes over what waits; what is put meanwhile goes into the other batch, and neither is made anew for each commit. */
static void take(struct failover_store *s) {
    struct batch empty = s->taken;
    s->taken = s->batch;
    s->batch = empty;
}

/* Not written is not announced: from a lost record on nothing counts as committed, until the server starts anew. */
static void out_of_memory(struct failover_store *s) {
    say(&s->failure, "out of memory, a record is lost");
    s->lost = s->failing = true;
    notify(s);
}

static void give_back(struct failover_store *s, struct batch *failed) {
    for (size_t i = 0; i < failed->count; i++) {
        if (!batch_put(&s->batch, &failed->items[i], true)) {
            out_of_memory(s);
        }
        failed->items[i].data = NULL; /* it has moved */
    }
    s->batch.awaited = s->batch.awaited || failed->awaited;
    for (int i = 0; i < s->relationships; i++) {
        if (s->batch.sequences[i] < failed->sequences[i]) {
            s->batch.sequences[i] = failed->sequences[i];
        }
    }
}

static void finish(struct failover_store *s, bool sound, const struct failover_why *why) {
    if (!s->lost) {
        s->failure = *why;
        s->failing = !sound;
    }
    if (sound && !s->lost) {
        for (int i = 0; i < s->relationships; i++) {
            s->done[i] = s->taken.sequences[i] > s->done[i] ? s->taken.sequences[i] : s->done[i];
        }
    } else if (!sound) {
        give_back(s, &s->taken);
    }
    pthread_cond_broadcast(&s->committed);
    notify(s);
}

static void commit_once(struct failover_store *s) {
    if (s->batch.count == 0) {
        return;
    }
    take(s);
    struct failover_why why = {""};
    s->last = s->taken.count;
    s->urgent = false;
    pthread_mutex_unlock(&s->mutex);
    bool sound = write_batch(s, &s->taken, &why);
    pthread_mutex_lock(&s->mutex);
    finish(s, sound, &why);
    pthread_mutex_unlock(&s->mutex);
    batch_clear(&s->taken); /* a first balance has hundreds of thousands: no put waits for that */
    pthread_mutex_lock(&s->mutex);
}

static void *writer(void *context) {
    struct failover_store *s = context;
    pthread_mutex_lock(&s->mutex);
    while (!s->stopping) {
        rest_idle(s);
        commit_once(s);
        size_t group = s->last * GROUP_MS < GROUP_MAX_MS ? s->last * GROUP_MS : GROUP_MAX_MS;
        rest(s, s->failing ? RETRY_MS : (int)group, hurries);
    }
    commit_once(s);
    if (s->failing) {
        commit_once(s);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void put(struct failover_store *s, const struct item *item, uint64_t sequence) {
    pthread_mutex_lock(&s->mutex);
    bool empty = s->batch.count == 0, awaited = is_awaited(s), hurried = hurries(s);
    if ((item->data == NULL && item->kind != FORGET) || !batch_put(&s->batch, item, false)) {
        out_of_memory(s);
    } else {
        if (sequence > s->batch.sequences[item->relationship]) {
            s->batch.sequences[item->relationship] = sequence;
        }
        s->batch.awaited = s->batch.awaited || sequence != 0;
        s->batch.hurried = s->batch.hurried || item->kind == RECORD;
        bool rouses = s->idle && (empty || is_awaited(s) != awaited);
        if (rouses || hurries(s) != hurried) {
            pthread_cond_signal(&s->changed);
        }
    }
    pthread_mutex_unlock(&s->mutex);
}

static void *copy(const void *data, size_t size) {
    void *bytes = malloc(size);
    return bytes == NULL ? NULL : memcpy(bytes, data, size);
}

void failover_store_put(struct failover_store *s, int relationship, uint64_t sequence,
                        const struct failover_record *record, const struct failover_binding *binding) {
    struct item item = {.relationship = relationship, .kind = binding != NULL ? BINDING : RECORD};
    if (binding != NULL) {
        /* A first balance queues half of all addresses at once: no room for identifiers they don't have. */
        item.address = binding->address;
        item.data = copy(binding, offsetof(struct failover_binding, client.id) + binding->client.id_length);
    } else {
        item.data = copy(record, sizeof(*record));
    }
    put(s, &item, sequence);
}

void failover_store_forget(struct failover_store *s, int relationship, uint32_t address) {
    struct item item = {.relationship = relationship, .kind = FORGET, .address = address};
    put(s, &item, 0);
}

uint64_t failover_store_committed(struct failover_store *s, int relationship) {
    pthread_mutex_lock(&s->mutex);
    uint64_t done = s->done[relationship];
    pthread_mutex_unlock(&s->mutex);
    return done;
}

bool failover_store_works(struct failover_store *s, struct failover_why *why) {
    pthread_mutex_lock(&s->mutex);
    bool works = !s->failing;
    *why = s->failure;
    pthread_mutex_unlock(&s->mutex);
    return works;
}

bool failover_store_wait(struct failover_store *s, int relationship, uint64_t sequence, int milliseconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->mutex);
    s->urgent = true;
    pthread_cond_signal(&s->changed);
    int timeout = 0;
    while (s->done[relationship] < sequence && timeout == 0) {
        timeout = pthread_cond_timedwait(&s->committed, &s->mutex, &until);
    }
    bool done = s->done[relationship] >= sequence;
    pthread_mutex_unlock(&s->mutex);
    return done;
}

/* ---- Opening and closing ----------------------------------------------------------------------------------------- */

static bool start_writer(struct failover_store *s) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_cond_init(&s->committed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->running = pthread_create(&s->thread, NULL, writer, s) == 0;
    return s->running;
}

static void free_store(struct failover_store *s) {
    close_database(s);
    for (int i = 0; i < s->relationships; i++) {
        free(s->names[i]);
    }
    batch_free(&s->batch);
    batch_free(&s->taken);
    free(s->names);
    free(s->done);
    free(s->path);
    free(s);
}

struct failover_store *failover_store_open(const char *path, int wake, enum failover_store_result *result,
                                           struct failover_why *why) {
    *result = FAILOVER_STORE_FAILED;
    why->text[0] = '\0';
    struct failover_store *s = calloc(1, sizeof(*s));
    if (s == NULL || (s->path = strdup(path)) == NULL) {
        say(why, "out of memory");
        free(s);
        return NULL;
    }
    s->wake = wake;
    *result = open_database(s, why);
    s->failing = *result == FAILOVER_STORE_READ_ONLY;
    if (s->failing) {
        s->failure = *why;
    }
    if (*result != FAILOVER_STORE_FAILED && !start_writer(s)) {
        *result = FAILOVER_STORE_FAILED;
        say(why, "the thread that writes %s can't be started", s->path);
    }
    if (*result == FAILOVER_STORE_FAILED) {
        free_store(s);
        return NULL;
    }
    return s;
}

int failover_store_relationship(struct failover_store *s, const char *name) {
    size_t count = (size_t)s->relationships + 1;
    char **names = realloc(s->names, count * sizeof(*names));
    s->names = names != NULL ? names : s->names;
    uint64_t *done = realloc(s->done, count * sizeof(*done));
    s->done = done != NULL ? done : s->done;
    char *copy = strdup(name);
    if (names == NULL || done == NULL || copy == NULL || !batch_add_relationship(&s->batch) ||
        !batch_add_relationship(&s->taken)) {
        free(copy);
        return -1;
    }
    names[count - 1] = copy;
    done[count - 1] = 0;
    return s->relationships++;
}

void failover_store_close(struct failover_store *s) {
    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->mutex);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->committed);
    free_store(s);
}
