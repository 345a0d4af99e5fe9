// SPDX-License-Identifier: MPL-2.0
//
// What must hold all the time, whatever happens (S1 to S5, L1 to L3), and the cases that the design's safety sentence
// excepts: those are flagged here as they come about, so that a clash is forgiven only where one of them has.
#ifndef FAILOVER_SIM_CHECKS_H
#define FAILOVER_SIM_CHECKS_H

#include <map>
#include <set>
#include <vector>

#include "scene.h"

namespace failover_sim {

using failover_test::Lease;

// A client as it sees itself.
struct Client {
    size_t number = 0;
    failover_client id{};
    uint32_t address = 0; // that it believes to have
    int64_t until = 0;    // true ms
    int from = 0;         // the machine that gave it
    bool lost = false;    // that machine has lost its database and its leases since

    bool holds(int64_t ms) const {
        return address != 0 && until > ms;
    }
};

class Checks : public Observer {
public:
    explicit Checks(Scene &world) : world_(world) {
    }

    // ---- S1: no address is held by two clients ----
    std::vector<Client> clients;
    void told(const Client &c);
    // Addresses that are held by more than one client now, as somebody could know.
    std::vector<uint32_t> held_twice() const;

    // ---- S2 and S3, for each grant; `before` is the binding as it was when the question came ----
    void granted(Machine &m, const Client &c, const failover_binding &before, const Lease &lease);
    uint32_t mclt_max = 0; // of all that were configured in this run

    // ---- S4: what is announced is durable ----
    void on_output(Machine &m, const uint8_t *bytes, size_t size) override;

    // ---- S5, L3: after a quiet time ----
    bool has_drained();
    void of_one_mind();
    void balanced();
    uint64_t updates() const {
        return updates_;
    }

    // ---- What is excepted ----
    void on_state(Machine &m) override;
    void except(const std::string &what);
    bool is_excepted() const {
        return !exceptions.empty();
    }
    std::set<std::string> exceptions;
    // It has gone on in PARTNER-DOWN since both were in NORMAL.
    bool is_alone(const Machine &m) const {
        return alone_[size_t(m.index)];
    }
    void lost_database(Machine &m, bool leases_too);
    void forced_partner_down(Machine &m, int64_t since);
    uint64_t clashes() const;
    unsigned clashes_excepted = 0;
    // All that it remembers and that decides what it will say.
    std::string memory() const;
    // For what both servers' clocks differ by, in whole seconds.
    int64_t skew() const;

private:
    Scene &world_;
    bool alone_[2] = {false, false};
    bool wiped_[2] = {false, false}; // has lost its database and hasn't been in NORMAL since
    int64_t last_grant_[2] = {-1, -1};
    int64_t both_serve_since_ = -1;
    uint64_t updates_ = 0;

    void may_serve(Machine &m);
    // STOS + MCLT has passed in PARTNER-DOWN.
    bool has_waited(const Machine &m) const;
    void within_mclt(Machine &m, const failover_binding &before, const Lease &lease);
    void by_owner(Machine &m, const Client &c, const failover_binding &before, const Lease &lease);
    failover_binding known_by(Machine &m, uint32_t address, bool on_disk) const;
    void announced(Machine &m, const failover_message &message);
};

} // namespace failover_sim

#endif
