// SPDX-License-Identifier: MPL-2.0
//
// A world without chance: two servers, two addresses, three clients, and nothing that happens by itself. Messages,
// commits and time wait until an event lets them go on, so that every order of events can be tried.
#ifndef FAILOVER_SIM_SMALL_WORLD_H
#define FAILOVER_SIM_SMALL_WORLD_H

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "checks.h"

namespace failover_sim {

struct Event {
    enum Kind : uint8_t {
        SELECT,  // a client that was offered an address selects it, now or long after the offer
        RENEW,   // or, when its lease is over, asks for it once more
        RELEASE, // to the server that gave it
        DECLINE,
        SETTLE,  // all that is on its way arrives, and all that waits for a disk is written
        DELIVER, // the next message to a server
        COMMIT,
        CUT, // packets vanish, and nobody is told
        CUT_TO,
        MEND,
        HANG, // the disk
        WORK,
        RESET,         // the connections, with what is on its way
        CRASH,         // only what was written survives
        CRASH_WRITTEN, // what waited for the disk is on it, and nobody has heard of that
        START,
        LOSE,     // a server that is down loses its database ...
        LOSE_ALL, // ... and its leases
        RELOAD,
        FORCE, // with override, which includes whatever needs none
        PASS,
        KINDS
    };
    enum Span : uint8_t {
        SECOND,     // nothing arrives meanwhile
        TO_SILENCE, // until a silent partner is taken for lost, a lost one dialled again, a startup over
        AN_MCLT,
        TO_END, // the next end of a lease or of a wait
        SPANS
    };
    Kind kind = KINDS;
    uint8_t client = 0;
    uint8_t machine = 0;
    uint8_t what = 0; // SELECT: number of the address; FORCE: the state; PASS: the span

    std::string text() const;
    // Of the network, a machine or an operator.
    bool is_fault() const;
    static bool parse(const std::string &text, Event &event);
};

std::string path_text(const std::vector<Event> &path);
bool parse_path(const std::string &text, std::vector<Event> &path);

// Where the events begin, and by which policies.
struct Start {
    std::string name;
    std::vector<Event> path; // that leads there
    failover_interrupted_leases interrupted_leases;
    bool partner_down_full;
    // With COMMIT, DELIVER and SETTLE as events, or with all that can go on going on after each event.
    bool step_by_step;
    int shallower; // than the deepest exploration
};
const std::vector<Start> &starts();
inline void PrintTo(const Start &start, std::ostream *out) {
    *out << start.name;
}

class SmallWorld : public Scene {
public:
    explicit SmallWorld(const Start &start);

    // ---- Events ----
    std::vector<Event> enabled();
    // It must be one of the enabled ones.
    void apply(const Event &event);
    // Every fault is taken away, every client asks, and the servers must be of one mind in the end.
    void come_to_rest();
    uint64_t digest();
    Checks checks;

    // ---- As a Scene ----
    void run_until(int64_t end) override;
    void kill(Machine &m, Death death) override;
    void touch(Machine &m) override;
    void mend() override;

private:
    struct Chunk {
        std::vector<uint8_t> bytes; // one message; empty: closed
        const char *why;
    };
    struct Connection {
        std::array<bool, 2> open{{true, true}};
        std::array<std::deque<Chunk>, 2> to;
    };
    std::map<int, Connection> connections_;
    int next_connection_ = 0;
    std::array<bool, 2> cut_{{false, false}};
    bool step_by_step_;
    uint32_t next_xid_ = 100;

    // ---- Disks and network ----
    bool commit(Machine &m);
    bool deliver(int to);
    void settle();
    bool can_arrive(int to) const;
    bool is_cut() const {
        return cut_[0] || cut_[1];
    }
    bool can_write(const Machine &m) const {
        return m.runs() && !m.disk_hangs && m.server->pending() > 0;
    }
    void arrive(int id, int to, const Chunk &chunk);
    void act(Machine &m);
    void dial(Machine &m);
    void flush(Machine &m);
    void close_end(int id, int end, const char *why);
    void reset();

    // ---- Clients ----
    void select(Client &c, Machine &m, uint32_t address);
    void ask(Client &c, Machine &m);
    void renew(Client &c, Machine &m);
    Lease request(Client &c, Machine &m, uint32_t address, bool selects);
    void give_up(Client &c, Machine &m, bool declines);
    void take(Client &c, Machine &m, const Lease &lease);

    void pass(Event::Span span);
    int64_t next_end();
    void carry_out(const Event &event);
    void add_client_events(std::vector<Event> &events);
    void add_time_events(std::vector<Event> &events);
    void add_progress_events(std::vector<Event> &events);
    void add_link_events(std::vector<Event> &events);
    void add_machine_events(Machine &m, std::vector<Event> &events);
};

// ---- All of them ------------------------------------------------------------------------------------------------------

struct Exploration {
    uint64_t paths = 0;    // events that were tried, each at the end of a path of its own
    uint64_t states = 0;   // that are different
    uint64_t excepted = 0; // in which clashes are excepted; none is gone on from
    uint64_t rests = 0;    // from which the servers had to find back to one mind
    std::vector<std::string> failures;

    void add(const Exploration &other);
    std::string text() const;
};

// Every path of up to `depth` events with one fault among them; each further fault takes the place of one more event.
// Of the states at their ends some have to come to rest too: one in a hundred.
Exploration explore(const Start &start, int depth);
// One path, told as it goes. Empty if all that must hold did hold.
std::string replay(const Start &start, const std::vector<Event> &path, bool print_events);

} // namespace failover_sim

#endif
