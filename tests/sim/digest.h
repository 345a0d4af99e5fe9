// SPDX-License-Identifier: MPL-2.0
//
// A number for all that decides how a world goes on: two worlds with the same one need be looked at only once. Times
// count from now, and of those that are long over only their order; which of the clients is which doesn't count, nor do
// the transaction ids of messages, as long as the same ones belong together.
#ifndef FAILOVER_SIM_DIGEST_H
#define FAILOVER_SIM_DIGEST_H

#include <map>
#include <vector>

#include "checks.h"

namespace failover_sim {

class Digest {
public:
    Digest(Scene &world, Checks &checks, int64_t long_over);

    void machine(Machine &m);
    // One message from `from` on its way.
    void message(Machine &from, const std::vector<uint8_t> &bytes);
    void number(int64_t n) {
        items_.push_back(Item{n, false});
    }
    void text(const std::string &t);
    // After all else: those that nobody knows come last.
    void clients();
    uint64_t value();

private:
    struct Item {
        int64_t n;
        bool is_old_time;
    };
    Scene &world_;
    Checks &checks_;
    int64_t long_over_; // ms
    std::vector<Item> items_;
    std::vector<int> labels_; // of clients, in the order of their first appearance; -1: none yet
    int next_label_ = 0;
    std::map<std::pair<int, uint32_t>, int> xids_; // by whose they are

    void true_time(int64_t ms);
    void wall(const Machine &m, int64_t t);
    void mono(const Machine &m, int64_t t);
    void client(const uint8_t *hardware, size_t length);
    void xid(const Machine &owner, uint32_t xid);
    void record(const Machine &m, const failover_record &r);
    void binding(const Machine &m, const failover_record &r, const failover_binding &b);
    void disk(Machine &m);
    void waiting(Machine &m);
    void core(Machine &m);
    void peer(Machine &m);
    void fields(Machine &from, const failover_message &message);
};

} // namespace failover_sim

#endif
