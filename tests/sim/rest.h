// SPDX-License-Identifier: MPL-2.0
//
// The end of a run: every fault is taken away, and the servers have to find back to NORMAL and to one mind.
#ifndef FAILOVER_SIM_REST_H
#define FAILOVER_SIM_REST_H

#include "checks.h"

namespace failover_sim {

class Rest {
public:
    Rest(Scene &world, Checks &checks) : world_(world), checks_(checks) {
    }
    int64_t stepped = 0; // seconds by which clocks have been set, all in all

    void take_faults_away();
    // L1: NORMAL within MCLT and three retries.
    void find_back();
    // Whatever two clients hold has been found by a server.
    void find_clashes();
    // When no client asks any more: until every lease is over and every wait.
    void come_to_rest();

private:
    Scene &world_;
    Checks &checks_;

    int64_t longest_wait() const;
    void check();
};

} // namespace failover_sim

#endif
