// SPDX-License-Identifier: MPL-2.0
//
// The world that the simulator runs two servers in: two machines and the network between them. Everything in it happens
// by events in the order of their time; all that is random comes from one seed, so that a run can be had again exactly.
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

#include "scene.h"

namespace failover_sim {

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

class World : public Scene {
public:
    World(uint64_t seed, const failover_config &config, uint32_t addresses);

    void after(int64_t delay, std::function<void()> what);
    void run_until(int64_t end) override;
    void kill(Machine &m, Death death) override;
    void hang_disk(Machine &m, bool hangs);
    void touch(Machine &m) override;

    // ---- Network between the servers ----
    void cut(bool to_primary, bool to_secondary);
    bool is_cut() const {
        return cut_[0] || cut_[1];
    }
    // Some bytes of what is on its way arrive, then both ends hear of a reset.
    void reset_connections();
    void mend() override;
    int64_t delay_min = 0, delay_max = 20;

    Random random;
    uint32_t watched = 0; // an address whose bindings are printed with the events when they change

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

    std::priority_queue<Event> events_;
    uint64_t order_ = 0;
    std::map<int, Connection> connections_;
    int next_connection_ = 0;
    std::array<bool, 2> cut_{{false, false}};
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
