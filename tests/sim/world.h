// SPDX-License-Identifier: MPL-2.0
//
// The world that the simulator runs two servers in: true time, two machines with clocks, disks and processes of their
// own, and the network between them. Everything in it happens by events in the order of their time; all that is random
// comes from one seed, so that a run can be had again exactly.
#ifndef FAILOVER_SIM_WORLD_H
#define FAILOVER_SIM_WORLD_H

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "server.h"

namespace failover_sim {

using failover_test::Server;

class Random {
public:
    explicit Random(uint64_t seed) : engine_(seed) {
    }
    uint32_t below(uint32_t n) {
        return uint32_t(engine_() % n);
    }
    int64_t between(int64_t low, int64_t high) {
        return low + int64_t(engine_() % uint64_t(high - low + 1));
    }
    bool chance(double p) {
        return double(engine_() % 1000000) < p * 1000000;
    }
    template <typename T>
    T of(std::initializer_list<T> choice) {
        return choice.begin()[below(uint32_t(choice.size()))];
    }

private:
    std::mt19937_64 engine_;
};

// A computer with one server on it. Milliseconds, but for what goes to the core.
struct Machine {
    int index = 0;
    std::unique_ptr<Server> server;
    int64_t wall_ahead = 0; // of true time
    int64_t mono_ahead = 0;
    bool host_up = true;  // else it neither answers nor refuses a connection
    unsigned process = 0; // one more with each start and each reload
    // The writer of the database takes what waits as one group; what comes meanwhile waits for the next.
    bool disk_hangs = false;
    bool writing = false;
    bool written = false; // the group is through but the disk hangs
    size_t group = 0;
    int64_t wake = INT64_MAX;
    bool flushing = false; // output is about to be taken
    failover_state seen = FAILOVER_UNKNOWN;
    uint64_t clashes = 0; // counted by processes that are gone

    bool runs() const {
        return server->core_ != nullptr;
    }
    failover_state state() const {
        return runs() ? server->state() : FAILOVER_UNKNOWN;
    }
    const char *name() const {
        return index == 0 ? "P" : "S";
    }
    failover_state state_on_disk() const {
        return server->record_ ? server->record_->state : FAILOVER_UNKNOWN;
    }
};

// What is told of a world as it goes on.
struct Observer {
    virtual ~Observer() = default;
    virtual void on_state(Machine &) {
    }
    virtual void on_output(Machine &, const uint8_t *, size_t) {
    }
};

class World {
public:
    World(uint64_t seed, const failover_config &config, uint32_t addresses);

    // ---- Time ----
    int64_t ms = 0; // true time since the beginning
    failover_clock at(const Machine &m) const;
    int64_t wall_of(const Machine &m) const {
        return at(m).wall;
    }
    // When the wall clock of `m` will show that.
    int64_t true_ms(const Machine &m, int64_t wall) const;
    void after(int64_t delay, std::function<void()> what);
    // Everything until `end`, or until something has failed.
    void run_until(int64_t end);
    bool is_over() const {
        return !failure.empty();
    }

    // ---- Machines ----
    Machine &machine(int i) {
        return machines_[size_t(i)];
    }
    Machine &other(const Machine &m) {
        return machines_[size_t(1 - m.index)];
    }
    std::array<Machine, 2> &machines() {
        return machines_;
    }
    void start(Machine &m, bool reload = false);
    enum class Death { PROCESS, HOST };
    void kill(Machine &m, Death death);
    // A reconfiguration: the same process goes on with another core.
    void reload(Machine &m);
    void hang_disk(Machine &m, bool hangs);
    void lose_database(Machine &m, bool leases_too);
    failover_plan force(Machine &m, failover_state state, bool override_guard, int64_t since);
    // Something has been asked of the core, or told to it.
    void touch(Machine &m);

    // ---- Network between the servers ----
    void cut(bool to_primary, bool to_secondary);
    bool is_cut() const {
        return cut_[0] || cut_[1];
    }
    // Some bytes of what is on its way arrive, then both ends hear of a reset.
    void reset_connections();
    int64_t delay_min = 0, delay_max = 20;

    // ---- What happened ----
    Random random;
    Observer *observer = nullptr;
    std::string failure;
    void fail(const std::string &text);
    void note(const std::string &text);
    // The last events, as many as fit a screen.
    std::string last_events() const;
    bool print_events = false;
    uint32_t watched = 0; // an address whose bindings are printed with the events when they change
    std::string seconds() const;
    std::string states() const;

private:
    struct Event {
        int64_t time;
        uint64_t order;
        std::function<void()> what;
        bool operator<(const Event &b) const {
            return time != b.time ? time > b.time : order > b.order;
        }
    };
    struct Chunk {
        int64_t time;
        std::vector<uint8_t> bytes; // empty: closed
        const char *why = nullptr;
    };
    struct Direction {
        std::deque<Chunk> on_its_way;
        int64_t last = 0;
        bool moving = false; // a delivery is scheduled
    };
    struct Connection {
        std::array<bool, 2> open{{true, true}};
        std::array<Direction, 2> to;
    };

    std::array<Machine, 2> machines_;
    std::priority_queue<Event> events_;
    uint64_t order_ = 0;
    std::map<int, Connection> connections_;
    int next_connection_ = 0;
    std::array<bool, 2> cut_{{false, false}};
    std::deque<std::string> notes_;
    std::array<std::string, 2> seen_;

    void watch(Machine &m);

    void wake(Machine &m);
    void begin_write(Machine &m);
    void end_write(Machine &m);
    void flush(Machine &m);
    void act(Machine &m);
    void dial(Machine &m);
    void push(int id, int to, std::vector<uint8_t> bytes, const char *why);
    void move(int id, int to);
    void deliver(int id, int to);
    void arrive(int id, int to, const Chunk &chunk);
    void close_end(int id, int end);
    bool runs_still(const Machine &m, unsigned process) const {
        return m.runs() && m.process == process;
    }
};

} // namespace failover_sim

#endif
