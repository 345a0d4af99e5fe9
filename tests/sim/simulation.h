// SPDX-License-Identifier: MPL-2.0
//
// One run of the simulator: clients that come and go as they like, faults, and operators, all from one seed; then
// every fault is taken away, and the servers have to find back to NORMAL and to one mind.
#ifndef FAILOVER_SIM_SIMULATION_H
#define FAILOVER_SIM_SIMULATION_H

#include "rest.h"
#include "world.h"

namespace failover_sim {

// What a run was about; summed up over many.
struct Tally {
    uint64_t runs = 0, virtual_seconds = 0;
    uint64_t grants = 0, refusals = 0, releases = 0, declines = 0;
    uint64_t cuts = 0, resets = 0, deaths = 0, reloads = 0, disks = 0, losses = 0, clocks = 0, forces = 0, changes = 0;
    uint64_t runs_excepted = 0, clashes_excepted = 0, clashes_counted = 0;

    void add(const Tally &other);
    uint64_t faults() const {
        return cuts + resets + deaths + reloads + disks + losses + clocks + forces + changes;
    }
    std::string text() const;
};

class Simulation {
public:
    explicit Simulation(uint64_t seed, bool print_events = false, uint32_t watched = 0);
    // Empty if all that must hold did hold.
    std::string run();
    Tally tally;

private:
    uint64_t seed_;
    Random choose_; // of the run's own conditions
    failover_config config_{};
    uint32_t addresses_;
    bool careless_; // operators and disasters that the safety sentence excepts
    bool sloppy_clocks_;
    std::unique_ptr<World> world_;
    std::unique_ptr<Checks> checks_;
    double loss_;
    int64_t fault_every_; // ms
    int64_t pace_;        // seconds between two acts of one client, at most
    bool faults_ = true;
    bool clients_ask_ = true;
    int64_t mended_ = 0;                              // when the link was, last
    int64_t stepped_ = 0;                             // seconds by which clocks have been set, all in all
    std::vector<std::array<bool, 2>> path_;           // of each client to each server
    std::vector<uint16_t> secs_step_;                 // 0: always sends secs 0
    std::vector<std::array<unsigned, 2>> unanswered_; // DISCOVERs in a row that a server with a free address has heard
    std::vector<unsigned> attempt_;                   // a client's present dialogue; events of an older one are void
    uint32_t next_xid_ = 100;

    // ---- Conditions ----
    void configure();

    // ---- Clients ----
    bool reaches(size_t c, const Machine &m) {
        return path_[c][size_t(m.index)] && m.runs() && !world_->random.chance(loss_);
    }
    void later(size_t c, int64_t delay, std::function<void()> what);
    void idle(size_t c);
    void act(size_t c);
    void discover(size_t c, uint32_t xid, int tries);
    void note_unanswered(size_t c, const std::array<bool, 2> &owners, bool answered);
    void select(size_t c, int server, uint32_t address, uint32_t xid, int tries);
    enum class To { SERVER, BOTH };
    void renew(size_t c, To to, uint32_t xid, int tries);
    Lease request(size_t c, Machine &m, uint32_t address, bool selects, uint32_t xid);
    void take(size_t c, Machine &m, const Lease &lease);
    void drop(size_t c);
    void give_up(size_t c, const char *what, double to_giver, const std::function<void(Machine &, uint32_t)> &hear);
    void release(size_t c);
    void decline(size_t c);

    // ---- Faults and operators ----
    void next_fault();
    void fault();
    void fault_network();
    void fault_machine(Machine &m);
    void start(Machine &m);
    void fault_database(Machine &m);
    void fault_clock(Machine &m);
    void fault_configuration(Machine &m);
    void operate(Machine &m);
    bool sane_to_force(Machine &m, failover_state state);
    bool sane_to_start(Machine &m);
    bool sane_to_cut();
};

} // namespace failover_sim

#endif
