// SPDX-License-Identifier: MPL-2.0
//
// The durable memory on real files: what was committed is there again, whatever happens to the process, the
// file or the disk in between.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <iterator>
#include <map>
#include <optional>
#include <poll.h>
#include <random>
#include <sched.h>
#include <sqlite3.h>
#include <sstream>
#include <string>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "store.h"

namespace {

namespace fs = std::filesystem;

// ---- Files ----------------------------------------------------------------------------------------------------------

// Where a test doesn't need a disk, memory is faster to commit to.
enum Medium { MEMORY, DISK };

class Folder {
public:
    explicit Folder(Medium medium = MEMORY) {
        bool memory = medium == MEMORY && access("/dev/shm", W_OK) == 0;
        fs::path parent = memory ? fs::path("/dev/shm") : fs::temp_directory_path();
        std::string name = (parent / "failover-store-XXXXXX").string();
        EXPECT_NE(nullptr, mkdtemp(name.data()));
        path_ = name;
    }
    ~Folder() {
        std::error_code ignored;
        fs::permissions(path_, fs::perms::owner_all, ignored);
        fs::remove_all(path_, ignored);
    }
    std::string file(const std::string &name = "failover.db") const {
        return path_ + "/" + name;
    }
    // The databases that were put aside, without what SQLite keeps beside them.
    std::vector<std::string> aside() const {
        std::vector<std::string> names;
        for (const auto &entry : fs::directory_iterator(path_)) {
            std::string name = entry.path().string();
            if (name.find(".unreadable-") != std::string::npos && name.find("-wal") == std::string::npos &&
                name.find("-shm") == std::string::npos) {
                names.push_back(name);
            }
        }
        return names;
    }

    std::string path_;
};

std::string contents(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

void write_file(const std::string &path, const std::string &what) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << what;
}

// ---- Records in words, so that a difference can be read -------------------------------------------------------------

std::string hex(const uint8_t *bytes, size_t length) {
    std::ostringstream s;
    for (size_t i = 0; i < length; i++) {
        s << std::hex << (bytes[i] >> 4) << (bytes[i] & 15);
    }
    return s.str();
}

std::string in_words(const failover_record &r) {
    std::ostringstream s;
    s << "state " << r.state << " since " << r.stos << ", partner " << r.partner_state << " since " << r.partner_stos
      << ", mclt " << r.mclt << " before " << r.mclt_before << " taken " << r.mclt_taken << ", skew " << r.skew
      << ", primary " << r.acting_primary << " since " << r.acting_since << ", held down " << r.link_held_down
      << ", epoch " << r.epoch << ", owner " << r.default_owner << ", served " << r.last_served << ", granted "
      << r.last_granted << ", heard " << r.last_heard << ", hba "
      << (r.hba_known ? hex(r.hba, sizeof(r.hba)) : "unknown") << ", process " << r.process;
    return s.str();
}

std::string in_words(const failover_binding &b) {
    std::ostringstream s;
    s << b.address << " " << b.status << " of " << b.owner << ", starts " << b.starts << ", ends " << b.ends
      << ", given " << b.given << ", cltt " << b.cltt << ", sent " << b.sent << ", acked " << b.acked << ", received "
      << b.received << ", xid " << b.xid << ", extended " << b.extended_epoch << ", flags " << b.ip_flags << ", due "
      << b.update_due << ", sent " << b.update_sent << ", state sent " << b.state_sent << ", here " << b.granted_here
      << ", partner-down " << b.made_partner_down << ", hardware " << hex(b.client.hardware, b.client.hardware_length)
      << ", id " << hex(b.client.id, b.client.id_length);
    return s.str();
}

failover_record some_record() {
    failover_record r{};
    r.state = FAILOVER_NORMAL;
    r.stos = 1800000000;
    r.partner_state = FAILOVER_COMMUNICATIONS_INTERRUPTED;
    r.partner_stos = 1800000001;
    r.mclt = 60;
    r.mclt_before = 3600;
    r.mclt_taken = 1800000002;
    r.skew = -3;
    r.acting_primary = FAILOVER_SECONDARY;
    r.acting_since = 1800000003;
    r.link_held_down = true;
    r.epoch = 7;
    r.default_owner = FAILOVER_PARTNERS;
    r.last_served = 1800000004;
    r.last_granted = 1800000005;
    r.last_heard = 1800000006;
    for (size_t i = 0; i < sizeof(r.hba); i++) {
        r.hba[i] = uint8_t(i * 8);
    }
    r.hba_known = true;
    snprintf(r.process, sizeof(r.process), "0123456789abcdef0123456789abcdef");
    return r;
}

failover_binding some_binding(uint32_t address) {
    failover_binding b{};
    b.address = address;
    b.status = FAILOVER_ACTIVE;
    b.owner = FAILOVER_MINE;
    b.starts = 1800000010;
    b.ends = 1800000020;
    b.given = 1800000030;
    b.cltt = 1800000040;
    b.sent = 1800000050;
    b.acked = 1800000060;
    b.received = 1800000070;
    b.xid = 0xdeadbeef;
    b.extended_epoch = 7;
    b.ip_flags = 3;
    b.update_due = b.granted_here = true;
    b.client.hardware_length = 7;
    memcpy(b.client.hardware, "\1\2\0\0\0\0\7", 7);
    return b;
}

// ---- A store that is open -------------------------------------------------------------------------------------------

class Store {
public:
    explicit Store(const std::string &path, const std::string &name = "fo1") {
        wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        memset(&why, 'x', sizeof(why));
        store = failover_store_open(path.c_str(), wake, &result, &why);
        if (store != nullptr) {
            relationship = failover_store_relationship(store, name.c_str());
        }
    }
    ~Store() {
        close();
        ::close(wake);
    }
    Store(const Store &) = delete;
    Store &operator=(const Store &) = delete;

    void close() {
        failover_store_close(store);
        store = nullptr;
    }
    void put(const failover_record &r) {
        failover_store_put(store, relationship, ++sequence, &r, nullptr);
    }
    void put(const failover_binding &b) {
        failover_store_put(store, relationship, ++sequence, nullptr, &b);
    }
    void put_at_leisure(const failover_binding &b) {
        failover_store_put(store, relationship, 0, nullptr, &b);
    }
    void forget(uint32_t address) {
        failover_store_forget(store, relationship, address);
    }
    uint64_t committed() {
        return failover_store_committed(store, relationship);
    }
    bool wait(int milliseconds = 10000) {
        return failover_store_wait(store, relationship, sequence, milliseconds);
    }
    bool works() {
        return failover_store_works(store, &failure);
    }
    // Waits until failover_store_works() says so.
    bool comes_to(bool work, int milliseconds = 10000) {
        for (int waited = 0; works() != work; waited += 5) {
            if (waited > milliseconds) {
                return false;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return true;
    }
    uint64_t wakes() {
        uint64_t count = 0;
        return read(wake, &count, sizeof(count)) == ssize_t(sizeof(count)) ? count : 0;
    }
    bool wakes_within(int milliseconds) {
        pollfd p{wake, POLLIN, 0};
        return poll(&p, 1, milliseconds) == 1;
    }
    failover_store_found load() {
        return failover_store_load(store, relationship, &record);
    }
    bool load_bindings() {
        bindings.clear();
        return failover_store_load_bindings(
            store, relationship,
            [](void *context, const failover_binding *b) { static_cast<Store *>(context)->bindings[b->address] = *b; },
            this);
    }

    int wake;
    failover_store *store = nullptr;
    int relationship = -1;
    failover_store_result result;
    failover_why why, failure;
    uint64_t sequence = 0;
    failover_record record;
    std::map<uint32_t, failover_binding> bindings;
};

// The file as the sqlite3 program sees it.
class Sqlite {
public:
    explicit Sqlite(const std::string &path) {
        EXPECT_EQ(SQLITE_OK, sqlite3_open(path.c_str(), &db_));
        sqlite3_busy_timeout(db_, 5000);
    }
    ~Sqlite() {
        sqlite3_close(db_);
    }
    void run(const std::string &sql) {
        char *error = nullptr;
        EXPECT_EQ(SQLITE_OK, sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &error)) << sql << ": " << error;
        sqlite3_free(error);
    }
    std::string text(const std::string &sql) {
        std::string all;
        auto row = [](void *context, int count, char **values, char **) {
            for (int i = 0; i < count; i++) {
                *static_cast<std::string *>(context) += std::string(i > 0 ? "|" : "") + (values[i] ? values[i] : "");
            }
            return 0;
        };
        EXPECT_EQ(SQLITE_OK, sqlite3_exec(db_, sql.c_str(), row, &all, nullptr)) << sql;
        return all;
    }

private:
    sqlite3 *db_ = nullptr;
};

// ---- Opening --------------------------------------------------------------------------------------------------------

TEST(Store, BeginsEmpty) {
    Folder folder;
    Store s(folder.file());
    ASSERT_NE(nullptr, s.store);
    EXPECT_EQ(FAILOVER_STORE_CREATED, s.result);
    EXPECT_STREQ("", s.why.text);
    EXPECT_EQ(FAILOVER_STORE_NOTHING, s.load());
    EXPECT_TRUE(s.load_bindings());
    EXPECT_TRUE(s.bindings.empty());
    EXPECT_TRUE(s.works());
    EXPECT_EQ(0u, s.committed());
}

TEST(Store, IsOpenedAgainAsItWas) {
    Folder folder;
    Store(folder.file()).close();
    Store s(folder.file());
    EXPECT_EQ(FAILOVER_STORE_OPENED, s.result);
    EXPECT_STREQ("", s.why.text);
    EXPECT_EQ(FAILOVER_STORE_NOTHING, s.load());
}

TEST(Store, LeavesNothingBesideTheFileWhenItIsClosed) {
    Folder folder;
    {
        Store s(folder.file());
        s.put(some_record());
    }
    size_t files = 0;
    for (const auto &entry : fs::directory_iterator(folder.path_)) {
        EXPECT_EQ(folder.file(), entry.path().string());
        files++;
    }
    EXPECT_EQ(1u, files);
}

TEST(Store, WithoutAPlaceIsRefusedWithAText) {
    Folder folder;
    for (const std::string &path :
         {folder.file("missing/failover.db"), folder.path_, std::string("/proc/failover.db")}) {
        Store s(path);
        EXPECT_EQ(nullptr, s.store) << path;
        EXPECT_EQ(FAILOVER_STORE_FAILED, s.result);
        EXPECT_NE(nullptr, strstr(s.why.text, path.c_str())) << s.why.text;
    }
}

TEST(Store, TakesAnEmptyFileForNone) {
    Folder folder;
    write_file(folder.file(), "");
    Store s(folder.file());
    EXPECT_EQ(FAILOVER_STORE_CREATED, s.result);
    EXPECT_TRUE(folder.aside().empty());
}

TEST(Store, CloseOfNothingDoesNothing) {
    failover_store_close(nullptr);
}

// ---- Round trips ----------------------------------------------------------------------------------------------------

void expect_round_trip(const failover_record &r) {
    Folder folder;
    {
        Store s(folder.file());
        s.put(r);
        ASSERT_TRUE(s.wait());
    }
    Store s(folder.file());
    ASSERT_EQ(FAILOVER_STORE_FOUND, s.load()) << in_words(r);
    EXPECT_EQ(in_words(r), in_words(s.record));
}

TEST(Store, KeepsEveryFieldOfARecord) {
    expect_round_trip(some_record());
}

TEST(Store, KeepsARecordOfZeros) {
    failover_record r{};
    r.state = FAILOVER_RECOVER;
    r.acting_primary = FAILOVER_PRIMARY;
    expect_round_trip(r);
}

TEST(Store, KeepsARecordOfExtremes) {
    failover_record r = some_record();
    r.partner_stos = r.acting_since = FAILOVER_TIME_INFINITE;
    r.stos = r.mclt_taken = r.last_served = r.last_granted = r.last_heard = int64_t(1) << 40;
    r.mclt = r.mclt_before = r.epoch = UINT32_MAX;
    r.skew = INT32_MAX;
    memset(r.hba, 0xff, sizeof(r.hba));
    expect_round_trip(r);
    r.skew = INT32_MIN;
    memset(r.hba, 0, sizeof(r.hba));
    expect_round_trip(r);
}

TEST(Store, KeepsEveryStateThatAServerCanBeIn) {
    Folder folder;
    Store s(folder.file());
    for (int state = FAILOVER_UNKNOWN; state < FAILOVER_STATES; state++) {
        for (int partner = FAILOVER_UNKNOWN; partner < FAILOVER_STATES; partner++) {
            failover_record r = some_record();
            r.state = failover_state(state);
            r.partner_state = failover_state(partner);
            bool possible = state != FAILOVER_UNKNOWN && state != FAILOVER_STARTUP && state != FAILOVER_PAUSED;
            s.put(r);
            ASSERT_TRUE(s.wait());
            ASSERT_EQ(possible ? FAILOVER_STORE_FOUND : FAILOVER_STORE_DAMAGED, s.load()) << state << ", " << partner;
            if (possible) {
                EXPECT_EQ(in_words(r), in_words(s.record));
            }
        }
    }
}

TEST(Store, KeepsEveryOwnerAndRoleAndAnUnknownHba) {
    for (int owner = FAILOVER_NOBODY; owner <= FAILOVER_PARTNERS; owner++) {
        failover_record r = some_record();
        r.default_owner = failover_owner(owner);
        r.acting_primary = owner == FAILOVER_MINE ? FAILOVER_PRIMARY : FAILOVER_SECONDARY;
        r.link_held_down = owner == FAILOVER_MINE;
        r.hba_known = false;
        r.process[0] = '\0';
        expect_round_trip(r);
    }
}

TEST(Store, KeepsEveryFieldOfABinding) {
    std::vector<failover_binding> all;
    all.push_back(some_binding(1));
    failover_binding zeros{};
    zeros.address = 0;
    zeros.status = FAILOVER_FREE;
    all.push_back(zeros);
    failover_binding extremes = some_binding(UINT32_MAX);
    extremes.starts = extremes.cltt = int64_t(1) << 40;
    extremes.ends = extremes.given = FAILOVER_TIME_INFINITE;
    extremes.sent = extremes.acked = extremes.received = FAILOVER_TIME_INFINITE;
    extremes.xid = extremes.extended_epoch = UINT32_MAX;
    extremes.ip_flags = UINT16_MAX;
    extremes.client.hardware_length = FAILOVER_HARDWARE_MAX;
    extremes.client.id_length = FAILOVER_CLIENT_ID_MAX;
    for (int i = 0; i < FAILOVER_HARDWARE_MAX; i++) {
        extremes.client.hardware[i] = uint8_t(i % 2 == 0 ? 0 : 0xff - i);
    }
    for (int i = 0; i < FAILOVER_CLIENT_ID_MAX; i++) {
        extremes.client.id[i] = uint8_t(i); // begins with a NUL
    }
    all.push_back(extremes);
    failover_binding zero_id = some_binding(2);
    zero_id.client = {};
    zero_id.client.id_length = 4; // all NULs, and no hardware address
    all.push_back(zero_id);
    for (int status = FAILOVER_FREE; status <= FAILOVER_RESET; status++) {
        for (int owner = FAILOVER_NOBODY; owner <= FAILOVER_PARTNERS; owner++) {
            failover_binding b = some_binding(100 + uint32_t(status) * 3 + uint32_t(owner));
            b.status = failover_binding_status(status);
            b.owner = failover_owner(owner);
            all.push_back(b);
        }
    }
    for (unsigned bits = 0; bits < 32; bits++) {
        failover_binding b = some_binding(200 + bits);
        b.update_due = bits & 1;
        b.update_sent = bits & 2;
        b.state_sent = bits & 4;
        b.granted_here = bits & 8;
        b.made_partner_down = bits & 16;
        all.push_back(b);
    }
    Folder folder;
    {
        Store s(folder.file());
        for (const failover_binding &b : all) {
            s.put(b);
        }
        ASSERT_TRUE(s.wait());
    }
    Store s(folder.file());
    ASSERT_TRUE(s.load_bindings());
    ASSERT_EQ(all.size(), s.bindings.size());
    for (const failover_binding &b : all) {
        EXPECT_EQ(in_words(b), in_words(s.bindings[b.address]));
    }
}

TEST(Store, DoesNotKeepReservations) {
    Folder folder;
    Store s(folder.file());
    failover_binding b = some_binding(1);
    b.reserved = true; // Kea's configuration says so anew each time
    s.put(b);
    ASSERT_TRUE(s.wait());
    ASSERT_TRUE(s.load_bindings());
    EXPECT_FALSE(s.bindings[1].reserved);
}

TEST(Store, KeepsRelationshipsApart) {
    Folder folder;
    std::vector<std::string> names = {"fo1",         "fo2",
                                      "FO1",         "o'hara \"x\"; DROP TABLE binding",
                                      "n\xc3\xa4me", std::string(FAILOVER_NAME_MAX, 'n')};
    {
        Store s(folder.file(), names[0]);
        for (size_t i = 1; i < names.size(); i++) {
            ASSERT_EQ(int(i), failover_store_relationship(s.store, names[i].c_str()));
        }
        for (size_t i = 0; i < names.size(); i++) {
            failover_record r = some_record();
            failover_binding b = some_binding(77);
            r.epoch = b.xid = uint32_t(i);
            failover_store_put(s.store, int(i), 1, &r, nullptr);
            failover_store_put(s.store, int(i), 2, nullptr, &b);
        }
    }
    for (size_t i = 0; i < names.size(); i++) {
        Store s(folder.file(), names[i]);
        ASSERT_EQ(FAILOVER_STORE_FOUND, s.load()) << names[i];
        EXPECT_EQ(i, s.record.epoch);
        ASSERT_TRUE(s.load_bindings());
        ASSERT_EQ(1u, s.bindings.size());
        EXPECT_EQ(i, s.bindings[77].xid);
    }
    Store stranger(folder.file(), "fo3");
    EXPECT_EQ(FAILOVER_STORE_NOTHING, stranger.load());
    EXPECT_TRUE(stranger.load_bindings());
    EXPECT_TRUE(stranger.bindings.empty());
    // One that nobody has named is found; when all are, there is none.
    char name[FAILOVER_NAME_MAX + 1];
    for (size_t i = 0; i < names.size(); i++) {
        ASSERT_TRUE(failover_store_orphan(stranger.store, name));
        EXPECT_EQ(1, std::count(names.begin(), names.end(), name));
        failover_store_relationship(stranger.store, name);
    }
    EXPECT_FALSE(failover_store_orphan(stranger.store, name));
}

TEST(Store, CanBeReadWithTheSqlite3ProgramWhileItIsOpen) {
    Folder folder;
    Store s(folder.file());
    s.put(some_record());
    failover_binding b = some_binding(0x0a400a07);
    b.client.id_length = 2;
    memcpy(b.client.id, "\0\xff", 2);
    s.put(b);
    ASSERT_TRUE(s.wait());
    Sqlite sqlite(folder.file());
    EXPECT_EQ("fo1|10.64.10.7|ACTIVE|mine|2027-01-15 08:00:20|01020000000007|00FF|1",
              sqlite.text("SELECT * FROM bindings"));
    EXPECT_EQ("normal|communications-interrupted|secondary|the partner's",
              sqlite.text("SELECT state, partner_state, acting_primary, default_owner FROM relationship"));
    EXPECT_EQ("wal", sqlite.text("PRAGMA journal_mode"));
    EXPECT_EQ("1262899030", sqlite.text("PRAGMA application_id"));
}

// ---- Putting --------------------------------------------------------------------------------------------------------

TEST(Store, TheLaterOfTwoPutsCounts) {
    Folder folder;
    {
        Store s(folder.file());
        for (uint32_t i = 1; i <= 1000; i++) {
            failover_binding b = some_binding(5);
            b.xid = i;
            s.put(b);
            failover_record r = some_record();
            r.epoch = i;
            s.put(r);
        }
        ASSERT_TRUE(s.wait());
        EXPECT_EQ(2000u, s.committed());
    }
    Store s(folder.file());
    ASSERT_TRUE(s.load_bindings());
    ASSERT_EQ(1u, s.bindings.size());
    EXPECT_EQ(1000u, s.bindings[5].xid);
    ASSERT_EQ(FAILOVER_STORE_FOUND, s.load());
    EXPECT_EQ(1000u, s.record.epoch);
}

TEST(Store, ForgetsAnAddress) {
    Folder folder;
    {
        Store s(folder.file());
        for (uint32_t a = 1; a <= 4; a++) {
            s.put(some_binding(a));
        }
        ASSERT_TRUE(s.wait());
        s.forget(1);
        s.forget(2);
        s.put(some_binding(2)); // it came back at once
        s.put(some_binding(3));
        s.forget(3);
        s.forget(99); // never was
    }
    Store s(folder.file());
    ASSERT_TRUE(s.load_bindings());
    std::vector<uint32_t> left;
    for (auto &[address, binding] : s.bindings) {
        left.push_back(address);
    }
    EXPECT_EQ((std::vector<uint32_t>{2, 4}), left);
}

TEST(Store, TellsEachRelationshipItsOwnSequence) {
    Folder folder;
    Store s(folder.file());
    int other = failover_store_relationship(s.store, "fo2");
    failover_binding b = some_binding(1);
    failover_store_put(s.store, other, 500, nullptr, &b);
    s.put(b);
    EXPECT_TRUE(s.wait());
    EXPECT_TRUE(failover_store_wait(s.store, other, 500, 10000));
    EXPECT_EQ(1u, s.committed());
    EXPECT_EQ(500u, failover_store_committed(s.store, other));
    s.put(b);
    EXPECT_TRUE(s.wait());
    EXPECT_EQ(2u, s.committed());
    EXPECT_EQ(500u, failover_store_committed(s.store, other));
}

TEST(Store, WaitGivesUpOnWhatDoesNotCome) {
    Folder folder;
    Store s(folder.file());
    s.put(some_record());
    ASSERT_TRUE(s.wait());
    auto begin = std::chrono::steady_clock::now();
    EXPECT_FALSE(failover_store_wait(s.store, s.relationship, 2, 50));
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(49));
    EXPECT_TRUE(failover_store_wait(s.store, s.relationship, 1, 0)) << "this one is there already";
}

TEST(Store, WakesItsReaderAfterACommit) {
    Folder folder;
    Store s(folder.file());
    EXPECT_FALSE(s.wakes_within(0));
    s.put(some_record());
    EXPECT_TRUE(s.wakes_within(10000));
    EXPECT_EQ(1u, s.committed()) << "whoever is woken finds it committed";
    s.wakes();
    EXPECT_FALSE(s.wakes_within(20)) << "nothing to say";
}

TEST(Store, CommitsInGroups) {
    Folder folder;
    Store s(folder.file());
    auto begin = std::chrono::steady_clock::now();
    for (uint32_t i = 0; i < 500; i++) {
        s.put(some_binding(i));
        std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    ASSERT_TRUE(s.wait());
    auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    uint64_t commits = s.wakes();
    EXPECT_GE(commits, 1u);
    EXPECT_LE(commits, uint64_t(passed.count()) / 2 + 500 / 64 + 3)
        << "one in 2 ms or for 64 records at most; " << passed.count() << " ms";
}

TEST(Store, WhatNobodyWaitsForLiesUntilTheNextCommit) {
    Folder folder;
    Store s(folder.file());
    bool lay = false;
    uint32_t address = 1;
    for (int tries = 0; tries < 20 && !lay; tries++) { // on a machine that stalls it is written before this looks
        s.put_at_leisure(some_binding(address++));
        lay = !s.wakes_within(20);
        s.put(some_binding(address++));
        ASSERT_TRUE(s.wait());
        s.wakes();
    }
    EXPECT_TRUE(lay);
    EXPECT_EQ(std::to_string(address - 1), Sqlite(folder.file()).text("SELECT count(*) FROM binding"));
}

TEST(Store, WhatNobodyWaitsForIsWrittenAllTheSame) {
    Folder folder;
    {
        Store s(folder.file());
        s.put_at_leisure(some_binding(1));
        EXPECT_TRUE(s.wakes_within(10000));
        EXPECT_EQ("1", Sqlite(folder.file()).text("SELECT count(*) FROM binding"));
        EXPECT_EQ(0u, s.committed());
        s.put_at_leisure(some_binding(2));
    }
    EXPECT_EQ("2", Sqlite(folder.file()).text("SELECT count(*) FROM binding")) << "at the latest when it is closed";
}

TEST(Store, PutNeverWaitsForTheDisk) {
    Folder folder;
    Store s(folder.file());
    s.put(some_record());
    ASSERT_TRUE(s.wait());
    Sqlite other(folder.file());
    other.run("BEGIN IMMEDIATE"); // somebody keeps the writer waiting, until all have been put
    for (uint32_t i = 0; i < 1000; i++) {
        s.put(some_binding(i));
    }
    EXPECT_EQ(1u, s.committed());
    other.run("COMMIT");
    EXPECT_TRUE(s.wait());
}

TEST(Store, TakesPutsFromManyThreads) {
    constexpr int THREADS = 4, PUTS = 3000;
    Folder folder;
    {
        Store s(folder.file());
        std::vector<int> relationships;
        for (int i = 0; i < THREADS; i++) {
            relationships.push_back(failover_store_relationship(s.store, ("t" + std::to_string(i)).c_str()));
        }
        std::vector<std::thread> threads;
        for (int relationship : relationships) {
            threads.emplace_back([&s, relationship] {
                uint64_t committed = 0;
                for (uint32_t i = 1; i <= PUTS; i++) {
                    failover_binding b = some_binding(i % 100);
                    b.xid = i;
                    failover_store_put(s.store, relationship, i, nullptr, &b);
                    uint64_t now = failover_store_committed(s.store, relationship);
                    EXPECT_GE(now, committed);
                    EXPECT_LE(now, i);
                    committed = now;
                }
                EXPECT_TRUE(failover_store_wait(s.store, relationship, PUTS, 10000));
            });
        }
        for (std::thread &t : threads) {
            t.join();
        }
    }
    for (int i = 0; i < THREADS; i++) {
        Store s(folder.file(), "t" + std::to_string(i));
        ASSERT_TRUE(s.load_bindings());
        ASSERT_EQ(100u, s.bindings.size());
        EXPECT_EQ(uint32_t(PUTS), s.bindings[0].xid);
    }
}

TEST(Store, TakesAHundredThousandBindingsAtOnce) {
    Folder folder;
    {
        Store s(folder.file());
        for (uint32_t i = 0; i < 100000; i++) {
            failover_binding b = some_binding(i);
            b.xid = i;
            s.put(b);
        }
    }
    Store s(folder.file());
    ASSERT_TRUE(s.load_bindings());
    ASSERT_EQ(100000u, s.bindings.size());
    EXPECT_EQ(99999u, s.bindings[99999].xid);
}

TEST(Store, CloseWritesWhatIsPending) {
    Folder folder;
    for (uint32_t round = 0; round < 50; round++) {
        {
            Store s(folder.file());
            for (uint32_t i = 0; i <= round; i++) {
                failover_binding b = some_binding(i);
                b.xid = round;
                s.put(b);
            }
        }
        Store s(folder.file());
        ASSERT_TRUE(s.load_bindings());
        ASSERT_EQ(round + 1, s.bindings.size());
        for (auto &[address, binding] : s.bindings) {
            ASSERT_EQ(round, binding.xid);
        }
    }
}

// SQLite waits 500 ms for somebody else's lock, and then the close tries once more.
TEST(Store, CloseTriesOnceMore) {
    Folder folder;
    {
        Store s(folder.file());
        s.put(some_record());
        ASSERT_TRUE(s.wait());
        Sqlite other(folder.file());
        other.run("BEGIN IMMEDIATE");
        std::thread lets_go([&other] {
            std::this_thread::sleep_for(std::chrono::milliseconds(750));
            other.run("COMMIT");
        });
        s.put(some_binding(1));
        s.close();
        lets_go.join();
    }
    Store s(folder.file());
    ASSERT_TRUE(s.load_bindings());
    EXPECT_EQ(1u, s.bindings.size());
}

TEST(Store, SaysWhyWhileSomebodyElseLocksIt) {
    Folder folder;
    Store s(folder.file());
    s.put(some_record());
    ASSERT_TRUE(s.wait());
    s.wakes();
    Sqlite other(folder.file());
    other.run("BEGIN IMMEDIATE");
    s.put(some_binding(1));
    EXPECT_TRUE(s.wakes_within(10000));
    EXPECT_FALSE(s.works());
    EXPECT_NE(nullptr, strstr(s.failure.text, "locked")) << s.failure.text;
    EXPECT_EQ(1u, s.committed());
    other.run("COMMIT");
    EXPECT_TRUE(s.comes_to(true));
    EXPECT_TRUE(s.wait());
    EXPECT_STREQ("", s.failure.text);
}

// ---- Kill -9 --------------------------------------------------------------------------------------------------------

// The n-th thing that is written, a relationship's record first; from the numbers on disk follows what was written last.
void write_number(Store &s, uint32_t n) {
    if (n % 10 == 1) {
        failover_record r = some_record();
        r.epoch = n;
        s.put(r);
    } else {
        failover_binding b = some_binding(1000 + n % 64);
        b.xid = n;
        s.put(b);
    }
}

struct Numbers {
    uint32_t record = 0;
    std::map<uint32_t, uint32_t> bindings;

    bool operator==(const Numbers &other) const {
        return record == other.record && bindings == other.bindings;
    }
    uint32_t last() const {
        uint32_t highest = record;
        for (auto [address, n] : bindings) {
            highest = std::max(highest, n);
        }
        return highest;
    }
};

// What there is to be after numbers 1 to `last`.
Numbers numbers_after(uint32_t last) {
    Numbers numbers;
    numbers.record = last == 0 ? 0 : (last - 1) / 10 * 10 + 1;
    for (uint32_t n = last > 1000 ? last - 1000 : 1; n <= last; n++) {
        if (n % 10 != 1) {
            numbers.bindings[1000 + n % 64] = n;
        }
    }
    return numbers;
}

Numbers numbers_in(Store &s) {
    Numbers numbers;
    failover_store_found found = s.load();
    EXPECT_NE(FAILOVER_STORE_DAMAGED, found);
    numbers.record = found == FAILOVER_STORE_FOUND ? s.record.epoch : 0;
    EXPECT_TRUE(s.load_bindings());
    for (auto &[address, binding] : s.bindings) {
        numbers.bindings[address] = binding.xid;
    }
    return numbers;
}

// Whoever is killed before the first commit leaves nothing behind that counts.
bool opened_soundly(const Store &s) {
    return s.result == FAILOVER_STORE_OPENED || s.result == FAILOVER_STORE_CREATED;
}

// Goes on writing numbers, and tells which are committed, until it is killed.
[[noreturn]] void write_numbers(const std::string &path, int report, unsigned seed) {
    std::mt19937 random(seed);
    Store s(path);
    uint32_t first = numbers_in(s).last();
    uint64_t reported = 0;
    for (uint32_t n = first + 1;; n++) {
        write_number(s, n);
        if (random() % 20 == 0) {
            usleep(random() % 2000);
        }
        uint64_t committed = s.committed();
        if (committed > reported) {
            reported = committed;
            uint32_t number = first + uint32_t(committed);
            if (write(report, &number, sizeof(number)) != ssize_t(sizeof(number))) {
                _exit(1);
            }
        }
    }
}

// Runs `child` in a process of its own and kills it after `microseconds`; the last number that it reported, 0
// if none.
uint32_t run_and_kill(const std::function<void(int)> &child, unsigned microseconds) {
    int ends[2];
    EXPECT_EQ(0, pipe(ends));
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
        ::close(ends[0]);
        child(ends[1]);
        _exit(0);
    }
    ::close(ends[1]);
    usleep(microseconds);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    uint32_t last = 0, number;
    while (read(ends[0], &number, sizeof(number)) == ssize_t(sizeof(number))) {
        last = number;
    }
    ::close(ends[0]);
    return last;
}

TEST(StoreKilled, HasEverythingThatWasReportedAndNothingInPart) {
    Folder folder(DISK);
    std::mt19937 random(9);
    uint32_t last = 0, rounds_with_reports = 0;
    for (unsigned round = 0; round < 60; round++) {
        uint32_t reported =
            run_and_kill([&](int report) { write_numbers(folder.file(), report, round); }, 5000 + random() % 40000);
        Store s(folder.file());
        ASSERT_TRUE(opened_soundly(s)) << s.why.text;
        Numbers there = numbers_in(s);
        ASSERT_GE(there.last(), reported) << "round " << round;
        ASSERT_GE(there.last(), last) << "what was there once stays";
        ASSERT_TRUE(there == numbers_after(there.last())) << "a group was written in part, round " << round;
        last = there.last();
        rounds_with_reports += reported > 0;
    }
    EXPECT_GT(rounds_with_reports, 20u) << "the test kills too early to prove anything";
}

TEST(StoreKilled, WhileItIsMadeIsMadeAgain) {
    std::mt19937 random(10);
    for (unsigned round = 0; round < 40; round++) {
        Folder folder(DISK);
        run_and_kill([&](int) { Store s(folder.file()); }, random() % 12000);
        Store s(folder.file());
        EXPECT_TRUE(opened_soundly(s)) << s.why.text;
        EXPECT_EQ(FAILOVER_STORE_NOTHING, s.load());
        EXPECT_TRUE(folder.aside().empty());
        s.put(some_record());
        EXPECT_TRUE(s.wait());
    }
}

// Leaves a write-ahead log behind that holds `count` commits, as a power cut does.
void leave_a_log(const std::string &path, uint32_t count) {
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
        Store s(path);
        for (uint32_t n = 1; n <= count; n++) {
            write_number(s, n);
            s.wait();
        }
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(StoreKilled, LogCutShortAnywhereGivesAnEarlierState) {
    Folder folder;
    leave_a_log(folder.file(), 60);
    std::string database = contents(folder.file()), log = contents(folder.file() + "-wal");
    ASSERT_GT(log.size(), 60u * 4096);
    uint32_t last = 0;
    for (size_t size = 0; size <= log.size(); size += size < 200 ? 1 : 997) {
        Folder copy;
        write_file(copy.file(), database);
        write_file(copy.file() + "-wal", log.substr(0, size));
        Store s(copy.file());
        ASSERT_TRUE(opened_soundly(s)) << s.why.text << ", " << size << " bytes of the log";
        Numbers there = numbers_in(s);
        ASSERT_TRUE(there == numbers_after(there.last())) << size;
        ASSERT_GE(there.last(), last) << "more of the log can't hold less";
        last = there.last();
    }
    EXPECT_GE(last, 58u);
}

TEST(StoreKilled, LogThatIsGarbageAtItsEndGivesAnEarlierState) {
    Folder folder;
    leave_a_log(folder.file(), 40);
    std::string database = contents(folder.file()), log = contents(folder.file() + "-wal");
    std::mt19937 random(12);
    for (int round = 0; round < 50; round++) {
        Folder copy;
        std::string torn = log;
        size_t from = random() % torn.size();
        std::generate(torn.begin() + long(from), torn.end(), [&] { return char(random()); });
        write_file(copy.file(), database);
        write_file(copy.file() + "-wal", torn);
        Store s(copy.file());
        ASSERT_TRUE(opened_soundly(s)) << s.why.text;
        Numbers there = numbers_in(s);
        ASSERT_TRUE(there == numbers_after(there.last())) << from;
    }
}

// ---- Damaged files --------------------------------------------------------------------------------------------------

// A database that was closed cleanly: a record, and bindings over several pages.
std::string sound_database(uint32_t bindings = 300) {
    Folder folder;
    {
        Store s(folder.file());
        s.put(some_record());
        for (uint32_t i = 0; i < bindings; i++) {
            s.put(some_binding(i));
        }
    }
    return contents(folder.file());
}

TEST(StoreDamaged, CutShortAnywhereIsNeverReadInPart) {
    std::string sound = sound_database();
    std::vector<size_t> sizes;
    for (size_t size = 0; size < sound.size(); size += size < 300 ? 7 : 509) {
        sizes.push_back(size);
    }
    for (size_t page = 4096; page <= sound.size(); page += 4096) {
        for (size_t size : {page - 1, page, page + 1}) {
            if (size < sound.size()) {
                sizes.push_back(size);
            }
        }
    }
    for (size_t size : sizes) {
        Folder folder;
        write_file(folder.file(), sound.substr(0, size));
        Store s(folder.file());
        ASSERT_NE(nullptr, s.store) << s.why.text;
        if (s.result == FAILOVER_STORE_OPENED) {
            bool complete = s.load() == FAILOVER_STORE_FOUND && s.load_bindings();
            EXPECT_TRUE(!complete || s.bindings.size() == 300) << size << " bytes: " << s.bindings.size();
        } else if (size == 0) {
            EXPECT_EQ(FAILOVER_STORE_CREATED, s.result);
        } else {
            EXPECT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result) << size << " bytes";
            ASSERT_EQ(1u, folder.aside().size());
            EXPECT_EQ(sound.substr(0, size), contents(folder.aside()[0]));
        }
    }
}

TEST(StoreDamaged, WithPagesOfZerosIsNeverReadInPart) {
    std::string sound = sound_database();
    for (size_t page = 0; page < sound.size(); page += 4096) {
        Folder folder;
        std::string damaged = sound;
        std::fill(damaged.begin() + long(page), damaged.begin() + long(page) + 4096, '\0');
        write_file(folder.file(), damaged);
        Store s(folder.file());
        ASSERT_NE(nullptr, s.store) << s.why.text;
        bool read = s.result == FAILOVER_STORE_OPENED && s.load() == FAILOVER_STORE_FOUND && s.load_bindings();
        EXPECT_TRUE(!read || s.bindings.size() == 300) << page << ": " << s.bindings.size();
    }
}

TEST(StoreDamaged, WithPagesWhoseRowsAreGoneIsNeverReadInPart) {
    std::string sound = sound_database();
    int pages = 0;
    for (size_t page = 4096; page < sound.size(); page += 4096) {
        if (sound[page] != 10) {
            continue; // no leaf of a table without rowids
        }
        pages++;
        Folder folder;
        std::string damaged = sound;
        damaged[page + 3] = damaged[page + 4] = 0; // the number of its rows
        write_file(folder.file(), damaged);
        Store s(folder.file());
        EXPECT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result) << page;
    }
    EXPECT_GT(pages, 3);
}

TEST(StoreDamaged, WithFlippedBitsIsReadSoundlyOrNotAtAll) {
    std::string sound = sound_database(50);
    std::mt19937 random(11);
    for (int round = 0; round < 400; round++) {
        Folder folder;
        std::string damaged = sound;
        for (int flips = 1 + int(random() % 4); flips > 0; flips--) {
            damaged[random() % damaged.size()] ^= char(1u << random() % 8);
        }
        write_file(folder.file(), damaged);
        Store s(folder.file());
        if (s.store == nullptr) {
            ADD_FAILURE() << s.why.text;
            continue;
        }
        if (s.load() == FAILOVER_STORE_FOUND) {
            EXPECT_GT(s.record.state, FAILOVER_STARTUP);
            EXPECT_LT(s.record.state, FAILOVER_STATES);
            EXPECT_LT(s.record.partner_state, FAILOVER_STATES);
            EXPECT_LE(strlen(s.record.process), 32u);
        }
        if (s.load_bindings()) {
            for (auto &[address, b] : s.bindings) {
                EXPECT_TRUE(b.status >= FAILOVER_FREE && b.status <= FAILOVER_RESET);
                EXPECT_LE(b.owner, FAILOVER_PARTNERS);
                EXPECT_LE(b.client.hardware_length, FAILOVER_HARDWARE_MAX);
                EXPECT_LE(b.client.id_length, FAILOVER_CLIENT_ID_MAX);
            }
        }
    }
}

// All that a database tells, in words; empty: it isn't used.
std::string all_in_words(const Folder &folder) {
    Store s(folder.file());
    EXPECT_NE(nullptr, s.store) << s.why.text;
    if (s.store == nullptr || s.result != FAILOVER_STORE_OPENED || s.load() != FAILOVER_STORE_FOUND ||
        !s.load_bindings()) {
        return "";
    }
    std::string words = in_words(s.record);
    for (auto &[address, binding] : s.bindings) {
        words += "\n" + in_words(binding);
    }
    return words;
}

struct Files {
    std::string database, log; // the write-ahead log, if there is one
};

// A database of several pages that was closed cleanly, or was not, with the latest of some pages in its log only.
Files files_of(bool closed) {
    Folder folder;
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
        Store s(folder.file());
        s.put(some_record());
        for (uint32_t i = 0; i < 300; i++) {
            s.put(some_binding(i));
        }
        s.wait();
        if (closed) {
            s.close();
            _exit(0);
        }
        Sqlite(folder.file()).run("PRAGMA wal_checkpoint");
        for (uint32_t i = 0; i < 300; i += 150) {
            failover_binding b = some_binding(i);
            b.ends += 1000;
            s.put(b);
        }
        s.wait();
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, nullptr, 0);
    return {contents(folder.file()), closed ? "" : contents(folder.file() + "-wal")};
}

std::string told_by(const Files &files) {
    Folder folder;
    write_file(folder.file(), files.database);
    if (!files.log.empty()) {
        write_file(folder.file() + "-wal", files.log);
    }
    return all_in_words(folder);
}

enum Destruction { ZEROS, NOISE, CUT_OFF, DESTRUCTIONS };

std::string destroyed(const std::string &database, size_t page, int how, std::mt19937 &random) {
    std::string damaged = database;
    if (how == CUT_OFF) {
        return damaged.substr(0, page);
    }
    std::generate(damaged.begin() + long(page), damaged.begin() + long(page) + 4096,
                  [&] { return how == ZEROS ? '\0' : char(random()); });
    return damaged;
}

class StorePages : public testing::TestWithParam<bool> {};

TEST_P(StorePages, EachDestroyedInTurnIsNoticedOrRight) {
    Files sound = files_of(GetParam());
    std::string right = told_by(sound);
    ASSERT_GT(sound.database.size(), 6u * 4096);
    ASSERT_NE("", right);
    std::mt19937 random(14);
    int noticed = 0, by_the_log = 0;
    for (size_t page = 0; page < sound.database.size(); page += 4096) {
        for (int how = 0; how < DESTRUCTIONS; how++) {
            std::string words = told_by({destroyed(sound.database, page, how, random), sound.log});
            EXPECT_TRUE(words.empty() || words == right) << "page at " << page << ", " << how;
            noticed += words.empty();
            by_the_log += !words.empty();
        }
    }
    EXPECT_GE(noticed, 3 * 3);
    EXPECT_EQ(GetParam(), by_the_log == 0) << "what the log has once more is not missed";
}

// SQLite itself doesn't notice when a byte within a value is another one.
TEST_P(StorePages, WithOneOtherByteAreNoticedOrRight) {
    Files sound = files_of(GetParam());
    std::string right = told_by(sound);
    std::mt19937 random(15);
    int noticed = 0;
    for (size_t at = 0; at < sound.database.size(); at += 1 + random() % 63) {
        std::string damaged = sound.database;
        damaged[at] ^= char(1u << random() % 8);
        std::string words = told_by({damaged, sound.log});
        ASSERT_TRUE(words.empty() || words == right) << "byte " << at;
        noticed += words.empty();
    }
    EXPECT_GT(noticed, GetParam() ? 500 : 150);
}

TEST(StoreSums, OfRowsThatWereChangedByHandAreWrong) {
    for (const char *sql : {"UPDATE relationship SET stos = stos + 1", "UPDATE binding SET ends = ends - 1",
                            "UPDATE binding SET address = address + 1", "UPDATE binding SET relationship = 'fo2'",
                            "UPDATE binding SET client_id = x'00', hardware = x'0102000000'",
                            "UPDATE relationship SET name = 'fo2'", "UPDATE binding SET sum = sum + 1"}) {
        Folder folder;
        {
            Store s(folder.file());
            s.put(some_record());
            s.put(some_binding(1));
        }
        Sqlite(folder.file()).run(sql);
        Store s(folder.file());
        EXPECT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result) << sql;
    }
}

TEST(StoreSums, AreAddedToADatabaseThatHasNone) {
    Files sound = files_of(true);
    std::string right = told_by(sound);
    Folder folder;
    write_file(folder.file(), sound.database);
    Sqlite(folder.file()).run("ALTER TABLE relationship DROP COLUMN sum; ALTER TABLE binding DROP COLUMN sum");
    EXPECT_EQ(right, all_in_words(folder));
    EXPECT_EQ("0", Sqlite(folder.file()).text("SELECT count(sum) FROM binding"));
    {
        Store s(folder.file());
        s.put(some_record());
        s.put(some_binding(3));
    }
    EXPECT_EQ("1", Sqlite(folder.file()).text("SELECT count(sum) FROM relationship"));
    EXPECT_EQ("1", Sqlite(folder.file()).text("SELECT count(sum) FROM binding"));
    EXPECT_EQ(right, all_in_words(folder));
}

INSTANTIATE_TEST_SUITE_P(Closed, StorePages, testing::Bool(),
                         [](const auto &info) { return info.param ? "Cleanly" : "WithALog"; });

TEST(StoreDamaged, GarbageIsPutAsideAsItIs) {
    std::mt19937 random(13);
    std::string noise(20000, '\0');
    std::generate(noise.begin(), noise.end(), [&] { return char(random()); });
    for (const std::string &garbage : {std::string("xy"), std::string("no database\n"), noise, std::string(5000, '\0'),
                                       std::string("SQLite format 3\0", 16) + noise, noise.substr(0, 100)}) {
        Folder folder;
        write_file(folder.file(), garbage);
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result) << s.why.text;
        ASSERT_NE(nullptr, s.store);
        std::vector<std::string> aside = folder.aside();
        ASSERT_EQ(1u, aside.size());
        EXPECT_EQ(garbage, contents(aside[0]));
        EXPECT_NE(nullptr, strstr(s.why.text, aside[0].c_str())) << s.why.text;
        EXPECT_EQ(FAILOVER_STORE_NOTHING, s.load());
        s.put(some_record());
        EXPECT_TRUE(s.wait());
        s.close();
        Store again(folder.file());
        EXPECT_EQ(FAILOVER_STORE_OPENED, again.result);
        EXPECT_EQ(FAILOVER_STORE_FOUND, again.load());
    }
}

TEST(StoreDamaged, AnotherProgramsDatabaseIsPutAsideAndStaysUsable) {
    for (const char *sql : {"CREATE TABLE lease4 (address INTEGER); INSERT INTO lease4 VALUES (42);",
                            "PRAGMA application_id = 252006673; CREATE TABLE lease4 (address INTEGER);"
                            "INSERT INTO lease4 VALUES (42);",
                            "PRAGMA user_version = 1; CREATE TABLE lease4 (address INTEGER);"
                            "INSERT INTO lease4 VALUES (42);"}) {
        Folder folder;
        {
            Sqlite sqlite(folder.file());
            sqlite.run(sql);
        }
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result);
        EXPECT_NE(nullptr, strstr(s.why.text, "another program")) << s.why.text;
        ASSERT_EQ(1u, folder.aside().size());
        EXPECT_EQ("42", Sqlite(folder.aside()[0]).text("SELECT address FROM lease4"));
    }
}

TEST(StoreDamaged, ALaterVersionsDatabaseIsPutAsideAndStaysWhole) {
    Folder folder;
    write_file(folder.file(), sound_database());
    {
        Sqlite sqlite(folder.file());
        sqlite.run("PRAGMA user_version = 2");
    }
    Store s(folder.file());
    ASSERT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result);
    EXPECT_NE(nullptr, strstr(s.why.text, "later version")) << s.why.text;
    ASSERT_EQ(1u, folder.aside().size());
    EXPECT_EQ("300", Sqlite(folder.aside()[0]).text("SELECT count(*) FROM binding"));
    EXPECT_EQ("2", Sqlite(folder.aside()[0]).text("PRAGMA user_version"));
}

// The parts of a text between semicolons.
std::vector<std::string> split(const std::string &text) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream >> std::ws, part, ';');) {
        parts.push_back(part);
    }
    return parts;
}

TEST(StoreDamaged, NonsenseInARecordIsDamage) {
    for (const std::string &nonsense : split(R"(
        state = 'dancing'; state = ''; state = 'NORMAL'; state = 'unknown'; state = 'startup';
        state = 'paused'; state = x'00'; state = 2; partner_state = 'dancing'; partner_state = '';
        default_owner = 'somebody'; default_owner = ''; acting_primary = 'boss'; acting_primary = '';
        stos = -1; stos = 'soon'; stos = x'31'; stos = 1.5; stos = 9223372036854775807; partner_stos = -1;
        mclt = -1; mclt = 4294967296; mclt = 'much'; mclt_before = -1; mclt_taken = -1;
        mclt_taken = 9223372036854775807; skew = 2147483648; skew = -2147483649; acting_since = -1;
        epoch = -1; epoch = 4294967296; last_served = -1; last_served = 9223372036854775807;
        last_granted = -1; last_heard = -1; link_held_down = 'maybe'; link_held_down = 2; hba = x'00';
        hba = zeroblob(31); hba = zeroblob(33); process = '0123456789abcdef0123456789abcdef0')")) {
        Folder folder;
        write_file(folder.file(), sound_database(3));
        {
            Sqlite sqlite(folder.file());
            sqlite.run("UPDATE relationship SET sum = NULL, " + nonsense); // unchecked
        }
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_OPENED, s.result) << nonsense;
        EXPECT_EQ(FAILOVER_STORE_DAMAGED, s.load()) << nonsense;
    }
}

TEST(StoreDamaged, NonsenseInABindingIsDamage) {
    for (const std::string &nonsense : split(R"(
        status = 'dancing'; status = ''; status = 'active'; status = 'unknown'; status = 'BACKUP';
        status = 2; owner = 'somebody'; owner = ''; hardware = zeroblob(22); hardware = zeroblob(1000);
        client_id = zeroblob(256); client_id = zeroblob(100000); hardware = x'', client_id = x'';
        address = -1; address = 4294967296; address = 'here'; starts = -1;
        starts = 9223372036854775807; cltt = 9223372036854775807; ends = -1; ends = 'never';
        ends = 1.5; given = -1; cltt = -1; sent = -1; acked = -1; received = -1; xid = -1;
        xid = 4294967296; extended_epoch = -1; extended_epoch = 4294967296; ip_flags = -1;
        ip_flags = 65536; update_due = 2; update_due = 'maybe'; update_sent = 2; state_sent = -1;
        granted_here = 2; made_partner_down = 2)")) {
        Folder folder;
        write_file(folder.file(), sound_database(3));
        {
            Sqlite sqlite(folder.file());
            sqlite.run("UPDATE binding SET sum = NULL, " + nonsense + " WHERE address = 1");
        }
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_OPENED, s.result) << nonsense;
        EXPECT_EQ(FAILOVER_STORE_FOUND, s.load());
        EXPECT_FALSE(s.load_bindings()) << nonsense;
    }
}

TEST(StoreDamaged, BindingsWithoutTheirRelationshipAreDamage) {
    Folder folder;
    write_file(folder.file(), sound_database(3));
    Sqlite(folder.file()).run("DELETE FROM relationship");
    Store s(folder.file());
    ASSERT_EQ(FAILOVER_STORE_OPENED, s.result);
    EXPECT_EQ(FAILOVER_STORE_DAMAGED, s.load());
    EXPECT_EQ(FAILOVER_STORE_NOTHING, Store(folder.file(), "fo2").load()) << "another's bindings";
}

TEST(StoreDamaged, MissingTablesAndColumnsAreDamage) {
    for (const char *sql : {"ALTER TABLE relationship DROP COLUMN stos", "ALTER TABLE binding DROP COLUMN ends"}) {
        Folder folder;
        write_file(folder.file(), sound_database(3));
        {
            Sqlite sqlite(folder.file());
            sqlite.run("DROP VIEW bindings");
            sqlite.run(sql);
        }
        Store s(folder.file());
        ASSERT_NE(nullptr, s.store) << s.why.text;
        bool read = s.load() == FAILOVER_STORE_FOUND && s.load_bindings();
        EXPECT_TRUE(s.result == FAILOVER_STORE_PUT_ASIDE || !read) << sql;
    }
}

TEST(StoreDamaged, PutAsideKeepsTheOldFileAndBeginsAnEmptyOne) {
    Folder folder;
    write_file(folder.file(), sound_database());
    Sqlite(folder.file()).run("UPDATE relationship SET sum = NULL, state = 'dancing'");
    Store s(folder.file());
    ASSERT_EQ(FAILOVER_STORE_DAMAGED, s.load());
    failover_why why;
    ASSERT_TRUE(failover_store_put_aside(s.store, &why));
    ASSERT_EQ(1u, folder.aside().size());
    EXPECT_NE(nullptr, strstr(why.text, folder.aside()[0].c_str())) << why.text;
    EXPECT_EQ("300", Sqlite(folder.aside()[0]).text("SELECT count(*) FROM binding"));
    EXPECT_EQ(FAILOVER_STORE_NOTHING, s.load());
    EXPECT_TRUE(s.load_bindings());
    EXPECT_TRUE(s.bindings.empty());
    s.put(some_record());
    EXPECT_TRUE(s.wait());
    EXPECT_EQ(FAILOVER_STORE_FOUND, s.load());
}

TEST(StoreDamaged, PutAsideTakesTheLogAlong) {
    Folder folder;
    leave_a_log(folder.file(), 20);
    Store s(folder.file());
    Sqlite reader(folder.file()); // while somebody looks at it, the log isn't merged into the file
    reader.run("BEGIN");
    reader.text("SELECT count(*) FROM binding");
    failover_why why;
    ASSERT_TRUE(failover_store_put_aside(s.store, &why)) << why.text;
    reader.run("COMMIT");
    ASSERT_EQ(1u, folder.aside().size());
    Store old(folder.aside()[0]);
    EXPECT_EQ(FAILOVER_STORE_OPENED, old.result);
    EXPECT_TRUE(numbers_in(old) == numbers_after(20));
}

TEST(StoreDamaged, PutAsideTwiceInOneSecondKeepsBoth) {
    Folder folder;
    for (const char *garbage : {"first", "second", "third"}) {
        fs::remove(folder.file());
        write_file(folder.file(), garbage);
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_PUT_ASIDE, s.result);
    }
    std::vector<std::string> kept;
    for (const std::string &name : folder.aside()) {
        kept.push_back(contents(name));
    }
    std::sort(kept.begin(), kept.end());
    EXPECT_EQ((std::vector<std::string>{"first", "second", "third"}), kept);
}

// ---- Disks that are full or can't be written ------------------------------------------------------------------------

constexpr int IMPOSSIBLE = 77;

// Runs `test` in a process of its own, on a small disk of its own in `folder`; IMPOSSIBLE if the system won't
// allow it, 0 if all went well.
int on_small_disk(const Folder &folder, const std::function<void()> &test) {
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
        std::string uid = "0 " + std::to_string(getuid()) + " 1", gid = "0 " + std::to_string(getgid()) + " 1";
        bool apart = unshare(CLONE_NEWNS) == 0;
        if (!apart && unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
            write_file("/proc/self/setgroups", "deny");
            write_file("/proc/self/uid_map", uid);
            write_file("/proc/self/gid_map", gid);
            apart = true;
        }
        if (!apart || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            mount("tmpfs", folder.path_.c_str(), "tmpfs", 0, "size=1m,mode=0755") != 0) {
            _exit(IMPOSSIBLE);
        }
        test();
        fflush(nullptr);
        _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define ON_SMALL_DISK(folder, test)                                                                                    \
    int outcome = on_small_disk(folder, test);                                                                         \
    if (outcome == IMPOSSIBLE) {                                                                                       \
        GTEST_SKIP() << "no private mounts here: " << strerror(errno);                                                 \
    }                                                                                                                  \
    EXPECT_EQ(0, outcome)

void fill(const Folder &folder) {
    int fd = open(folder.file("ballast").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_GE(fd, 0);
    for (size_t size = 65536; size > 0; size /= 2) {
        std::string zeros(size, '\0');
        while (write(fd, zeros.data(), size) == ssize_t(size)) {
        }
    }
    ::close(fd);
}

void remount(const Folder &folder, bool read_only) {
    ASSERT_EQ(0, mount("tmpfs", folder.path_.c_str(), "tmpfs", MS_REMOUNT | (read_only ? unsigned(MS_RDONLY) : 0u),
                       "size=1m"))
        << strerror(errno);
}

TEST(StoreDisk, ThatIsFullIsReportedOnceAndNothingIsLost) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_CREATED, s.result);
        for (uint32_t n = 1; n <= 100; n++) {
            write_number(s, n);
        }
        ASSERT_TRUE(s.wait());
        fill(folder);
        // What fits into the room that the log has already is written still.
        uint32_t n = 100;
        while (s.works() && n < 100000) {
            write_number(s, ++n);
            s.wait(20);
        }
        ASSERT_FALSE(s.works());
        EXPECT_NE(nullptr, strstr(s.failure.text, "full")) << s.failure.text;
        uint64_t committed = s.committed();
        EXPECT_LT(committed, s.sequence);
        for (uint32_t more = 0; more < 500; more++) {
            write_number(s, ++n);
        }
        int changes = 0;
        bool worked = false;
        for (int i = 0; i < 250; i++) { // two retries and more
            changes += s.works() != worked;
            worked = s.works();
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        EXPECT_EQ(0, changes) << "it says so once";
        EXPECT_EQ(committed, s.committed());
        EXPECT_FALSE(s.wait(50));
        fs::remove(folder.file("ballast"));
        EXPECT_TRUE(s.comes_to(true, 3000));
        EXPECT_TRUE(s.wait());
        s.close();
        Store again(folder.file());
        EXPECT_EQ(FAILOVER_STORE_OPENED, again.result);
        EXPECT_TRUE(numbers_in(again) == numbers_after(n));
    });
}

TEST(StoreDisk, ThatIsFullAndAKillLoseNothingThatWasCommitted) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        uint32_t reported = run_and_kill(
            [&](int report) {
                Store s(folder.file());
                for (uint32_t n = 1; n <= 100; n++) {
                    write_number(s, n);
                }
                s.wait();
                fill(folder);
                for (uint32_t n = 101;; n++) {
                    write_number(s, n);
                    s.wait(1);
                    auto committed = uint32_t(s.committed());
                    if (write(report, &committed, sizeof(committed)) < 0) {
                        _exit(1);
                    }
                }
            },
            500000);
        EXPECT_GE(reported, 100u);
        fs::remove(folder.file("ballast"));
        Store s(folder.file());
        ASSERT_EQ(FAILOVER_STORE_OPENED, s.result) << s.why.text;
        Numbers there = numbers_in(s);
        EXPECT_GE(there.last(), reported);
        EXPECT_TRUE(there == numbers_after(there.last()));
    });
}

TEST(StoreDisk, ThatIsFullAtTheStartIsReadAndWrittenLater) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        {
            Store s(folder.file());
            s.put(some_record());
            s.put(some_binding(1));
        }
        fill(folder);
        Store s(folder.file());
        ASSERT_NE(nullptr, s.store) << s.why.text;
        EXPECT_EQ(FAILOVER_STORE_READ_ONLY, s.result);
        EXPECT_NE(nullptr, strstr(s.why.text, "can be read but not written")) << s.why.text;
        EXPECT_FALSE(s.works());
        EXPECT_EQ(FAILOVER_STORE_FOUND, s.load());
        EXPECT_EQ(in_words(some_record()), in_words(s.record));
        EXPECT_TRUE(s.load_bindings());
        EXPECT_EQ(1u, s.bindings.size());
        s.put(some_binding(2));
        EXPECT_FALSE(s.wait(100));
        EXPECT_FALSE(s.works());
        fs::remove(folder.file("ballast"));
        EXPECT_TRUE(s.comes_to(true, 3000));
        EXPECT_TRUE(s.wait());
        s.close();
        Store again(folder.file());
        EXPECT_TRUE(again.load_bindings());
        EXPECT_EQ(2u, again.bindings.size());
    });
}

TEST(StoreDisk, ThatIsFullAtTheFirstStartIsRefused) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        fill(folder);
        Store s(folder.file());
        EXPECT_EQ(nullptr, s.store);
        EXPECT_EQ(FAILOVER_STORE_FAILED, s.result);
        EXPECT_NE(nullptr, strstr(s.why.text, "full")) << s.why.text;
    });
}

TEST(StoreDisk, ThatIsReadOnlyIsReadAndWrittenLater) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        {
            Store s(folder.file());
            s.put(some_record());
            s.put(some_binding(1));
        }
        remount(folder, true);
        Store s(folder.file());
        ASSERT_NE(nullptr, s.store) << s.why.text;
        EXPECT_EQ(FAILOVER_STORE_READ_ONLY, s.result);
        EXPECT_NE(nullptr, strstr(s.why.text, "can be read but not written")) << s.why.text;
        EXPECT_FALSE(s.works());
        EXPECT_EQ(FAILOVER_STORE_FOUND, s.load());
        EXPECT_TRUE(s.load_bindings());
        EXPECT_EQ(1u, s.bindings.size());
        s.put(some_binding(2));
        EXPECT_FALSE(s.wait(100));
        EXPECT_EQ(0u, s.committed());
        remount(folder, false);
        EXPECT_TRUE(s.comes_to(true, 3000));
        EXPECT_TRUE(s.wait());
        s.close();
        Store again(folder.file());
        EXPECT_EQ(FAILOVER_STORE_OPENED, again.result);
        EXPECT_TRUE(again.load_bindings());
        EXPECT_EQ(2u, again.bindings.size());
    });
}

TEST(StoreDisk, ThatIsReadOnlyAfterAKillHasEverythingOfTheLog) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        leave_a_log(folder.file(), 30);
        remount(folder, true);
        Store s(folder.file());
        ASSERT_NE(nullptr, s.store) << s.why.text;
        EXPECT_EQ(FAILOVER_STORE_READ_ONLY, s.result) << s.why.text;
        EXPECT_TRUE(numbers_in(s) == numbers_after(30));
    });
}

TEST(StoreDisk, ThatIsReadOnlyAtTheFirstStartIsRefused) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        remount(folder, true);
        Store s(folder.file());
        EXPECT_EQ(nullptr, s.store);
        EXPECT_EQ(FAILOVER_STORE_FAILED, s.result);
        EXPECT_NE(nullptr, strstr(s.why.text, "can't be made")) << s.why.text;
    });
}

TEST(StoreDisk, ThatIsReadOnlyAndDamagedIsRefused) {
    Folder folder;
    ON_SMALL_DISK(folder, [&] {
        write_file(folder.file(), "no database");
        remount(folder, true);
        Store s(folder.file());
        EXPECT_EQ(nullptr, s.store);
        EXPECT_EQ(FAILOVER_STORE_FAILED, s.result);
        EXPECT_GT(strlen(s.why.text), 10u);
    });
}

// Runs `test` as a user who may write nowhere, if this is root; else as ourselves.
int as_nobody(const std::function<void()> &test) {
    fflush(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
        constexpr unsigned NOBODY = 65534;
        if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
            _exit(IMPOSSIBLE);
        }
        test();
        fflush(nullptr);
        _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(StoreDisk, WithoutPermissionToWriteIsReadOnly) {
    Folder folder;
    write_file(folder.file(), sound_database(3));
    for (bool file_too : {true, false}) {
        ASSERT_EQ(0, chmod(folder.file().c_str(), file_too ? 0444 : 0666));
        ASSERT_EQ(0, chmod(folder.path_.c_str(), 0555));
        int outcome = as_nobody([&] {
            Store s(folder.file());
            ASSERT_NE(nullptr, s.store) << s.why.text;
            EXPECT_EQ(FAILOVER_STORE_READ_ONLY, s.result) << s.why.text;
            EXPECT_EQ(FAILOVER_STORE_FOUND, s.load());
            EXPECT_TRUE(s.load_bindings());
            EXPECT_EQ(3u, s.bindings.size());
            s.put(some_binding(9));
            EXPECT_FALSE(s.wait(50));
        });
        if (outcome == IMPOSSIBLE) {
            GTEST_SKIP() << "root here can't become nobody";
        }
        EXPECT_EQ(0, outcome);
    }
}

TEST(StoreDisk, WithoutPermissionToReadIsRefused) {
    Folder folder;
    write_file(folder.file(), sound_database(3));
    ASSERT_EQ(0, chmod(folder.file().c_str(), 0));
    ASSERT_EQ(0, chmod(folder.path_.c_str(), 0555));
    int outcome = as_nobody([&] {
        Store s(folder.file());
        EXPECT_EQ(nullptr, s.store);
        EXPECT_EQ(FAILOVER_STORE_FAILED, s.result);
        EXPECT_GT(strlen(s.why.text), 10u);
    });
    if (outcome == IMPOSSIBLE) {
        GTEST_SKIP() << "root here can't become nobody";
    }
    EXPECT_EQ(0, outcome);
}

} // namespace
