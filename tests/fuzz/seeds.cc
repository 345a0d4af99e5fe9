// SPDX-License-Identifier: MPL-2.0
//
// Writes the seeds: seeds FOLDER makes FOLDER/message and so on. Those of the connection are what two dhcpds said to
// each other in tests/captures.
#include <cstring>
#include <filesystem>
#include <map>
#include <sqlite3.h>
#include <tuple>

#include "message.h"
#include "pcap.h"
#include "program.h"
#include "store.h"

using namespace failover_test;

namespace {

std::filesystem::path folder;

void write(const std::string &fuzzer, const std::string &name, const Bytes &bytes) {
    std::filesystem::create_directories(folder / fuzzer);
    std::ofstream file(folder / fuzzer / name, std::ios::binary);
    file.write(reinterpret_cast<const char *>(bytes.data()), long(bytes.size()));
    EXPECT_TRUE(file.good()) << name;
}

void write(const std::string &fuzzer, const std::string &name, const std::string &text) {
    write(fuzzer, name, Bytes(text.begin(), text.end()));
}

// ---- What dhcpds said -----------------------------------------------------------------------------------------------

// One direction of one connection, as a program for who hears it.
class Hearer {
public:
    Hearer(int64_t first, const Bytes &hello) {
        bool secondary = hello.size() > 2 && hello[2] == FAILOVER_CONNECT;
        program_.assign(fuzz::SETTINGS_SIZE, 0);
        program_[fuzz::ROLE] = secondary;
        program_[fuzz::MEMORY] = 2; // NORMAL
        program_[fuzz::CLOCK] = 1;
        time_ = first / 1000;
        for (int i = 0; i < 4; i++) {
            program_[size_t(fuzz::CLOCK_BYTES + i)] = uint8_t(uint32_t(first / 1000000) >> (24 - 8 * i));
        }
        add({fuzz::CONNECT, 0, uint8_t(!secondary)});
    }
    void hear(int64_t time, const Bytes &message) {
        auto ms = uint32_t(time / 1000 - time_);
        if (ms > 0) {
            add({fuzz::PASS, 255, uint8_t(ms >> 24), uint8_t(ms >> 16), uint8_t(ms >> 8), uint8_t(ms)});
        }
        time_ = time / 1000;
        add({fuzz::RAW, 0, uint8_t(message.size() >> 8), uint8_t(message.size())});
        add(message);
        add({fuzz::ACK_ALL, 0, 0});
    }
    const Bytes &program() const {
        return program_;
    }

private:
    Bytes program_;
    int64_t time_; // ms
    void add(const Bytes &bytes) {
        program_.insert(program_.end(), bytes.begin(), bytes.end());
    }
};

void write_capture(const std::filesystem::path &file) {
    using Key = std::tuple<uint32_t, uint16_t, uint32_t, uint16_t>;
    std::map<Key, Direction> streams;
    std::map<Key, Hearer> hearers;
    std::map<Key, size_t> heard;
    size_t count = 0;
    for (const Frame &frame : read_frames(file.string())) {
        Segment s;
        if (!parse_frame(frame.bytes, TCP, s) ||
            (s.source_port != FAILOVER_PORT && s.destination_port != FAILOVER_PORT)) {
            continue;
        }
        Key key(s.source, s.source_port, s.destination, s.destination_port);
        Direction &d = streams[key];
        if (s.syn) {
            d.begin(s.sequence);
        }
        d.add(s.syn ? s.sequence + 1 : s.sequence, s.payload);
        size_t &at = heard[key];
        while (d.bytes.size() - at >= 2 && d.bytes.size() - at >= big_endian(&d.bytes[at], 2)) {
            size_t size = big_endian(&d.bytes[at], 2);
            Bytes message(d.bytes.begin() + long(at), d.bytes.begin() + long(at + size));
            hearers.try_emplace(key, frame.time, message).first->second.hear(frame.time, message);
            write("message", file.stem().string() + "-" + std::to_string(count++), message);
            at += size;
        }
    }
    for (const auto &[key, hearer] : hearers) {
        write("core", file.stem().string() + "-" + std::to_string(count++), hearer.program());
    }
}

// ---- What else may happen -------------------------------------------------------------------------------------------

void add(Bytes &program, const Bytes &bytes) {
    program.insert(program.end(), bytes.begin(), bytes.end());
}

// Each thing that a partner may say of the address, around the present time.
void add_updates(Bytes &program, uint8_t address) {
    const uint8_t holder = 2 * fuzz::PEOPLE, later = 20, present = 69;
    for (uint8_t status = 0; status < FAILOVER_BINDING_STATUSES - 1; status++) {
        add(program, {fuzz::UPDATE, 0, 0, 0, address, status, holder, later, later, present, 0, present, 0, 0});
        add(program, {fuzz::UPDATE, 0, 0, 0, address, status, 6, present, 0, present, 0, present, 0, present, 10, 0});
    }
}

Bytes story(uint8_t role, uint8_t policy, uint8_t memory, uint8_t lies) {
    Bytes program(fuzz::SETTINGS_SIZE, 0);
    program[fuzz::ROLE] = role;
    program[fuzz::POLICY] = policy;
    program[fuzz::MEMORY] = memory;
    add(program, {fuzz::LINK_UP, 0, lies, 0, fuzz::ACK_ALL, 0, 0});
    for (uint8_t client = 0; client < 4; client++) {
        add(program, {fuzz::DORA, uint8_t(client * 2), 100, client, fuzz::ACK_ALL, 0, 0});
    }
    add_updates(program, 0);
    add(program,
        {fuzz::PASS, 40, fuzz::OTHER, 0, 2, 7, 0, fuzz::ACK_ALL, 0, 255, fuzz::RELEASE, 0, fuzz::DECLINE, 1, 1});
    add(program, {fuzz::DISCONNECT, 0, fuzz::DORA, 8, 100, 0, fuzz::REQUEST, 8, 0, 0, 3, fuzz::PASS, 48});
    add(program, {fuzz::FORCE, 3, 1, fuzz::DORA, 10, 100, 0, fuzz::PASS, 40, fuzz::LINK_UP, 0, lies, 3});
    add(program, {fuzz::STATE, 0, 9, 0, 69, 0, 0, fuzz::ACK_ALL, 0, 0, fuzz::OPERATOR, 1, fuzz::RESTART, 0});
    return program;
}

void write_stories() {
    for (uint8_t role : {0, 1}) {
        for (uint8_t memory : {0, 2, 3, 4, 5, 6}) {
            for (uint8_t lies : {0, 32}) {
                uint8_t policy = uint8_t(memory + lies / 32 * 8);
                std::string name = "story-" + std::to_string(role) + "-" + std::to_string(memory);
                write("core", name + "-" + std::to_string(lies), story(role, policy, memory, lies));
            }
        }
    }
}

// ---- Databases ------------------------------------------------------------------------------------------------------

void run_sql(const std::string &path, const char *sql) {
    sqlite3 *db;
    EXPECT_EQ(SQLITE_OK, sqlite3_open(path.c_str(), &db));
    EXPECT_EQ(SQLITE_OK, sqlite3_exec(db, sql, nullptr, nullptr, nullptr));
    sqlite3_close(db);
}

Bytes database(bool with_sums) {
    std::string path = (folder / "failover.db").string();
    run_sql(path, "PRAGMA page_size = 512; VACUUM"); // small, so that a change hits something
    failover_store_result result;
    failover_why why;
    failover_store *store = failover_store_open(path.c_str(), -1, &result, &why);
    int number = failover_store_relationship(store, "fo1");
    failover_record r{};
    r.state = FAILOVER_NORMAL;
    r.partner_state = FAILOVER_NORMAL;
    r.stos = r.partner_stos = r.mclt_taken = r.last_served = 1799999000;
    r.mclt = 60;
    r.acting_primary = FAILOVER_PRIMARY;
    r.default_owner = FAILOVER_MINE;
    failover_store_put(store, number, 1, &r, nullptr);
    for (uint32_t i = 0; i < 4; i++) {
        failover_binding b{};
        b.address = fuzz::FIRST + i;
        b.status = failover_binding_status(FAILOVER_FREE + i);
        b.owner = FAILOVER_PARTNERS;
        b.ends = b.given = b.sent = b.acked = 1800000500;
        b.cltt = b.starts = 1799999900;
        b.client.hardware_length = 7;
        b.client.hardware[6] = uint8_t(i);
        failover_store_put(store, number, 2 + i, nullptr, &b);
    }
    failover_store_close(store);
    if (!with_sums) { // then a changed value comes as far as the loader
        run_sql(path, "UPDATE relationship SET sum = NULL; UPDATE binding SET sum = NULL");
    }
    std::ifstream file(path, std::ios::binary);
    Bytes bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    file.close();
    std::filesystem::remove(path);
    return bytes;
}

void write_databases() {
    for (bool with_sums : {false, true}) {
        Bytes file = database(with_sums);
        file.insert(file.begin(), 0);
        write("store", with_sums ? "file" : "file-without-sums", file);
    }
    write("store", "values", Bytes{1});
}

// ---- Texts ----------------------------------------------------------------------------------------------------------

void write_texts() {
    const char *const forced[] = {"startup", "normal-state", "comm-int-state", "partner-down", "recover", "shutdown"};
    for (const char *state : forced) {
        write("commands", state, std::string("0{ \"state\": \"") + state + "\", \"override\": true }");
    }
    write("commands", "since", "0{ \"state\": \"partner-down\", \"since\": 1700000000, \"relationship\": \"dc1\" }");
    write("commands", "status", "1{ \"relationship\": \"dc1\" }\n1");
    write("commands", "binding", "2{ \"ip-address\": \"10.64.10.11\" }\n2{ \"ip-address\": \"192.0.2.1\" }");
    write("commands", "sync", "3{ \"relationship\": \"dc1\" }");
    write("parameters", "least", R"({ "relationships": [ { "name": "dc1", "peers": [
        { "name": "server1", "role": "primary", "address": "192.0.2.1" },
        { "name": "server2", "role": "secondary", "address": "192.0.2.2", "port": 647 } ],
        "this-server-name": "server1" } ] })");
    write("parameters", "all",
          R"({ "database": "/var/lib/kea/failover.db", "relationships": [ { "name": "dc1", "peers": [
        { "name": "server1", "role": "primary", "address": "192.0.2.1", "port": 647 },
        { "name": "server2", "role": "secondary", "address": "192.0.2.2", "comment": "a" } ],
        "this-server-name": "server2", "mclt": 3600, "split": 128, "load-balance-max-seconds": 3,
        "max-response-delay": 60, "max-unacked-updates": 100, "startup-delay": 10, "auto-partner-down": 0,
        "interrupted-leases": "replace", "partner-down-lease-time": "mclt", "max-lease-misbalance": 15,
        "max-lease-ownership": 10, "min-balance": 60, "max-balance": 3600, "subnets": [ 1, 2 ] },
        { "name": "dc2", "peers": [ { "name": "a", "role": "primary", "address": "192.0.2.3" },
        { "name": "b", "role": "secondary", "address": "192.0.2.4" } ], "this-server-name": "a", "subnets": [ 3 ],
        "hba": "ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:ff:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00" } ] })");
}

} // namespace

int main(int, char **argv) {
    testing::GTEST_FLAG(break_on_failure) = true;
    folder = argv[1];
    std::filesystem::create_directories(folder);
    for (const auto &file : std::filesystem::directory_iterator(capture_folder())) {
        if (file.path().extension() == ".pcap") {
            write_capture(file.path());
        }
    }
    write_stories();
    write_databases();
    write_texts();
    return 0;
}
