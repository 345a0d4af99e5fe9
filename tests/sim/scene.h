// SPDX-License-Identifier: MPL-2.0
//
// What every simulated world has: true time, and two machines with clocks, disks and processes of their own. The checks
// look at no more than this.
#ifndef FAILOVER_SIM_SCENE_H
#define FAILOVER_SIM_SCENE_H

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "server.h"

namespace failover_sim {

using failover_test::Server;

constexpr int64_t BEGINNING = 1800000000000; // Unix ms

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

class Scene {
public:
    Scene(const failover_config &config, uint32_t addresses);
    virtual ~Scene() = default;

    // ---- Time ----
    int64_t ms = 0; // true time since the beginning
    failover_clock at(const Machine &m) const;
    int64_t wall_of(const Machine &m) const {
        return at(m).wall;
    }
    // When the wall clock of `m` will show that.
    int64_t true_ms(const Machine &m, int64_t wall) const;
    // Everything until `end`, or until something has failed.
    virtual void run_until(int64_t end) = 0;
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
    virtual void start(Machine &m, bool reload = false);
    enum class Death { PROCESS, HOST };
    virtual void kill(Machine &m, Death death) = 0;
    // A reconfiguration: the same process goes on with another core.
    void reload(Machine &m);
    void lose_database(Machine &m, bool leases_too);
    failover_plan force(Machine &m, failover_state state, bool override_guard, int64_t since);
    // Something has been asked of the core, or told to it.
    virtual void touch(Machine &m) = 0;
    // The link and the disks work again; what was on its way is lost.
    virtual void mend() = 0;

    // ---- What happened ----
    Observer *observer = nullptr;
    std::string failure;
    void fail(const std::string &text);
    void note(const std::string &text);
    // The last events, as many as fit a screen.
    std::string last_events() const;
    bool print_events = false;
    std::string seconds() const;
    std::string states() const;

protected:
    std::array<Machine, 2> machines_;
    void notice_state(Machine &m);
    // Tells the server of its end of a connection. False: it won't have it.
    bool open_end(Machine &m, int id, bool dialled);

private:
    std::deque<std::string> notes_;
};

} // namespace failover_sim

#endif
