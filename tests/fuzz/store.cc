// SPDX-License-Identifier: MPL-2.0
//
// The loader of the failover database. The first byte says what the rest is: the bytes of the file, or the values of
// its columns. What is loaded goes into a core that lives for a while; what that writes has to be readable again.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sqlite3.h>
#include <unistd.h>

#include "failover.h"
#include "input.h"
#include "program.h"
#include "store.h"

using namespace fuzz;

namespace {

// ---- The file -------------------------------------------------------------------------------------------------------

// A folder without a disk behind it, that goes with the process.
class Folder {
public:
    Folder() {
        std::string name = std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp";
        name += "/failover-fuzz-XXXXXX";
        MUST(mkdtemp(name.data()) != nullptr, "no folder");
        path_ = name;
    }
    ~Folder() {
        std::filesystem::remove_all(path_);
    }
    std::string file() const {
        return path_ + "/failover.db";
    }
    void clear() const {
        for (const auto &entry : std::filesystem::directory_iterator(path_)) {
            std::filesystem::remove_all(entry);
        }
    }

private:
    std::string path_;
};

std::unique_ptr<Folder> folder;

void write_file(const Bytes &bytes) {
    std::ofstream file(folder->file(), std::ios::binary);
    file.write(reinterpret_cast<const char *>(bytes.data()), long(bytes.size()));
}

struct Closer {
    void operator()(failover_store *store) const {
        failover_store_close(store);
    }
};
using Store = std::unique_ptr<failover_store, Closer>;

Store open_store() {
    failover_store_result result;
    failover_why why{};
    Store store(failover_store_open(folder->file().c_str(), -1, &result, &why));
    bool silent = result == FAILOVER_STORE_OPENED || result == FAILOVER_STORE_CREATED;
    MUST((store == nullptr) == (result == FAILOVER_STORE_FAILED), "result %d", result);
    MUST(silent || why.text[0] != '\0', "result %d without a word", result);
    return store;
}

const Bytes &empty_database() {
    static const Bytes bytes = [] {
        folder->clear();
        open_store();
        std::ifstream file(folder->file(), std::ios::binary);
        return Bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    }();
    return bytes;
}

// ---- Values ---------------------------------------------------------------------------------------------------------

const char *const words[] = {"normal",
                             "communications-interrupted",
                             "partner-down",
                             "recover",
                             "recover-wait",
                             "recover-done",
                             "potential-conflict",
                             "shutdown",
                             "startup",
                             "paused",
                             "unknown",
                             "conflict-done",
                             "primary",
                             "secondary",
                             "mine",
                             "nobody's",
                             "the partner's",
                             "FREE",
                             "ACTIVE",
                             "EXPIRED",
                             "RELEASED",
                             "ABANDONED",
                             "RESET",
                             "BACKUP",
                             "resolution-interrupted"};

const int64_t numbers[] = {0,          1,         2,         -1,         60,         INT32_MAX,        INT32_MIN,
                           UINT32_MAX, INT64_MAX, INT64_MIN, 1800000000, 1800000600, INT64_C(1) << 40, INT64_MAX - 1};

// One value of whatever type. `usual` is what makes sense here.
void bind(Input &in, sqlite3_stmt *q, int column, const char *usual) {
    unsigned n = in.byte();
    Bytes bytes = n >= 200 && n < 220 ? in.bytes(in.byte()) : Bytes();
    if (n < 128) {
        sqlite3_bind_text(q, column, usual, -1, SQLITE_TRANSIENT);
    } else if (n < 160) {
        sqlite3_bind_int64(q, column, numbers[n % std::size(numbers)]);
    } else if (n < 200) {
        sqlite3_bind_text(q, column, words[in.choice(std::size(words))], -1, SQLITE_STATIC);
    } else if (n < 210) {
        sqlite3_bind_blob(q, column, bytes.data(), int(bytes.size()), SQLITE_TRANSIENT);
    } else if (n < 220) {
        sqlite3_bind_text(q, column, reinterpret_cast<const char *>(bytes.data()), int(bytes.size()), SQLITE_TRANSIENT);
    } else if (n < 250) {
        uint64_t value = uint64_t(in.number(4)) << 32;
        sqlite3_bind_int64(q, column, int64_t(value | in.number(4)));
    } else if (n < 253) {
        sqlite3_bind_double(q, column, in.number(4) / 3.0);
    } else {
        sqlite3_bind_null(q, column);
    }
}

void insert(Input &in, sqlite3 *db, const char *table, const std::vector<const char *> &usual) {
    std::string sql = std::string("INSERT OR REPLACE INTO ") + table + " VALUES (?";
    for (size_t i = 1; i < usual.size(); i++) {
        sql += ",?";
    }
    sqlite3_stmt *q = nullptr;
    sql += ", NULL)"; // no checksum, as the first databases had none: it is the loader that has to judge the values
    MUST(sqlite3_prepare_v2(db, sql.c_str(), -1, &q, nullptr) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_bind_text(q, 1, "fo1", -1, SQLITE_STATIC);
    for (size_t i = 1; i < usual.size(); i++) {
        bind(in, q, int(i + 1), usual[i]);
    }
    sqlite3_step(q); // what the schema doesn't take isn't there
    sqlite3_finalize(q);
}

void write_values(Input &in) {
    write_file(empty_database());
    sqlite3 *db = nullptr;
    MUST(sqlite3_open(folder->file().c_str(), &db) == SQLITE_OK, "%s", sqlite3_errmsg(db));
    insert(in, db, "relationship",
           {"fo1", "normal", "1799999000", "normal", "1799999000", "60", "0", "1799990000", "0", "primary", "0", "0",
            "1", "mine", "1799999990", "1799999900", "1799999990", nullptr, "process-1"});
    for (unsigned i = 0; i < ADDRESSES && !in.empty(); i++) {
        std::string address = std::to_string(FIRST + in.choice(ADDRESSES));
        insert(in, db, "binding",
               {"fo1",
                address.c_str(),
                "ACTIVE",
                "mine",
                "1799999000",
                "1800000500",
                "1800000500",
                "1799999000",
                "1800000500",
                "1800000500",
                "0",
                "1",
                "0",
                "0",
                "1",
                "1",
                "1",
                "1",
                "0",
                "\1\2abcde",
                ""});
    }
    sqlite3_close(db);
}

// ---- A life with it -------------------------------------------------------------------------------------------------

class Life {
public:
    explicit Life(failover_store *store) : store_(store) {
        failover_config_defaults(&config_);
        snprintf(config_.name, sizeof(config_.name), "fo1");
        config_.role = FAILOVER_SECONDARY;
        number_ = failover_store_relationship(store, "fo1");
    }
    ~Life() {
        failover_destroy(core_);
    }
    Life(const Life &) = delete;
    Life &operator=(const Life &) = delete;

    // As the shim does. False: the database makes no sense.
    bool load() {
        failover_record record{};
        failover_store_found found = failover_store_load(store_, number_, &record);
        if (found == FAILOVER_STORE_DAMAGED) {
            return false;
        }
        failover_host host{this, put, log};
        core_ = failover_create(&config_, &host);
        MUST(failover_add_pool(core_, 1, FIRST, FIRST + ADDRESSES - 1), "no pool");
        MUST(failover_build(core_, found == FAILOVER_STORE_FOUND ? &record : nullptr), "no table");
        return found == FAILOVER_STORE_NOTHING || failover_store_load_bindings(store_, number_, restore, this);
    }
    void live(const char *process) {
        failover_start(core_, process, now_);
        failover_adopted_all(core_, now_);
        serve();
        connect();
        for (int64_t seconds : {1, 15, 60, 3600, 86400, 31622400}) {
            pass(seconds);
            serve();
        }
        failover_stop(core_, now_);
    }

private:
    failover_store *store_;
    failover_config config_{};
    failover *core_ = nullptr;
    int number_;
    failover_clock now_{1800000000, 1000000};
    int connection_ = -1;

    static void put(void *context, uint64_t sequence, const failover_record *r, const failover_binding *b) {
        auto *self = static_cast<Life *>(context);
        failover_store_put(self->store_, self->number_, sequence, r, b);
    }
    static void log(void *, failover_severity, const char *text) {
        if (is_talkative()) {
            fprintf(stderr, "  | %s\n", text);
        }
    }
    static void restore(void *context, const failover_binding *binding) {
        failover_restore_binding(static_cast<Life *>(context)->core_, binding);
    }
    void settle() {
        uint8_t out[2 * FAILOVER_MESSAGE_SIZE_MAX];
        for (int round = 0; round == 0 || failover_deadline(core_) <= now_.mono; round++) {
            MUST(round < 100, "the core never comes to rest in %s", failover_state_name(failover_current_state(core_)));
            failover_tick(core_, now_);
            failover_committed(core_, failover_sequence(core_), now_);
            while (connection_ >= 0 && failover_output(core_, connection_, out, sizeof(out), now_) > 0) {
            }
            failover_action action;
            while (failover_next_action(core_, &action)) {
                connection_ = action.type == FAILOVER_ACTION_CLOSE ? -1 : connection_;
            }
            failover_lease_change change;
            while (failover_next_lease(core_, &change)) {
            }
        }
    }
    void pass(int64_t seconds) {
        now_.wall += seconds;
        now_.mono += seconds * 1000;
        settle();
    }
    void hear(failover_message m) {
        uint8_t bytes[FAILOVER_MESSAGE_SIZE_MAX];
        m.time = uint32_t(now_.wall);
        size_t size = failover_message_encode(&m, bytes, sizeof(bytes));
        failover_received(core_, connection_, bytes, size, now_);
        settle();
    }
    // A partner that asks for everything.
    void connect() {
        connection_ = failover_connected(core_, 0, false, now_) ? 0 : -1;
        failover_message m{};
        uint8_t hba[FAILOVER_HBA_SIZE] = {0xff};
        m.type = FAILOVER_CONNECT;
        m.relationship_name = {reinterpret_cast<const uint8_t *>("fo1"), 3};
        m.mclt = 60;
        m.max_unacked_bndupd = 100;
        m.hash_bucket_assignment = {hba, sizeof(hba)};
        m.present = 1u << FAILOVER_OPT_RELATIONSHIP_NAME | 1u << FAILOVER_OPT_MCLT |
                    1u << FAILOVER_OPT_MAX_UNACKED_BNDUPD | 1u << FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT;
        hear(m);
        m = failover_message{};
        m.type = FAILOVER_STATE;
        m.server_state = FAILOVER_NORMAL;
        m.start_time_of_state = now_.wall;
        m.present = 1u << FAILOVER_OPT_SERVER_STATE | 1u << FAILOVER_OPT_START_TIME_OF_STATE;
        hear(m);
        m = failover_message{};
        m.type = FAILOVER_UPDREQALL;
        hear(m);
    }
    void serve() {
        failover_client client{};
        client.hardware_length = 7;
        client.hardware[6] = 77;
        failover_why why{};
        for (uint32_t address = FIRST; address < FIRST + ADDRESSES; address++) {
            failover_ask ask{};
            ask.client = &client;
            ask.address = address;
            ask.desired = 3600;
            uint32_t lifetime;
            if (failover_may_have(core_, &ask, now_, &lifetime, &why)) {
                failover_bound(core_, &ask, now_.wall, lifetime, now_);
            }
            failover_explain_binding(core_, address, now_, &why);
            failover_binding_wait_over(core_, address);
        }
        settle();
        failover_status s;
        failover_get_status(core_, now_, &s);
        uint64_t sum = 0;
        for (uint64_t count : s.by_status) {
            sum += count;
        }
        MUST(sum == ADDRESSES, "%llu addresses are counted", (unsigned long long)sum);
    }
};

void load(const char *process) {
    Store store = open_store();
    if (!store) {
        return;
    }
    bool sound = false;
    {
        Life life(store.get());
        sound = life.load();
        if (sound) {
            life.live(process);
        }
    }
    if (!sound) {
        failover_why why{};
        MUST(failover_store_put_aside(store.get(), &why), "%s", why.text);
        MUST(Life(store.get()).load(), "an empty database is damaged");
        return;
    }
    store.reset(); // writes what waits
    store = open_store();
    MUST(store && Life(store.get()).load(), "what the core has written can't be read");
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
    folder = std::make_unique<Folder>();
    atexit([] { folder.reset(); });
    empty_database();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Input in(data, size);
    folder->clear();
    unsigned form = in.byte();
    if (form % 2 == 0) {
        write_file(in.bytes(size));
    } else {
        write_values(in);
    }
    load(form % 4 < 2 ? "process-1" : "process-2");
    return 0;
}
