// SPDX-License-Identifier: MPL-2.0
#include "small_world.h"

#include <sstream>
#include <unordered_set>

#include "digest.h"
#include "rest.h"

using namespace std::string_literals;
using failover_test::dotted;
using failover_test::make_client;
using failover_test::POOL_FIRST;

namespace failover_sim {

constexpr uint32_t ADDRESSES = 2, CLIENTS = 3, MCLT = 60, LIFETIME = 100, RESPONSE = 9;
constexpr int64_t SECOND = 1000;
constexpr int64_t LONG_OVER = (2 * int64_t(MCLT) + LIFETIME) * SECOND;
constexpr int64_t PROBATION = 120;

// ---- Events in words --------------------------------------------------------------------------------------------------

namespace {

enum Arguments : uint8_t {
    NONE,
    MACHINE,
    CLIENT,
    CLIENT_AND_MACHINE,
    CLIENT_MACHINE_AND_ADDRESS,
    MACHINE_AND_STATE,
    SPAN
};
const struct {
    const char *name;
    Arguments arguments;
} WORDS[Event::KINDS] = {{"select", CLIENT_MACHINE_AND_ADDRESS},
                         {"renew", CLIENT_AND_MACHINE},
                         {"release", CLIENT},
                         {"decline", CLIENT},
                         {"settle", NONE},
                         {"deliver", MACHINE},
                         {"commit", MACHINE},
                         {"cut", NONE},
                         {"cut-to", MACHINE},
                         {"mend", NONE},
                         {"hang", MACHINE},
                         {"work", MACHINE},
                         {"reset", NONE},
                         {"crash", MACHINE},
                         {"crash-written", MACHINE},
                         {"start", MACHINE},
                         {"lose", MACHINE},
                         {"lose-all", MACHINE},
                         {"reload", MACHINE},
                         {"force", MACHINE_AND_STATE},
                         {"pass", SPAN}};
const char *const SPAN_WORDS[Event::SPANS] = {"second", "silence", "mclt", "end"};
const failover_state FORCED[] = {FAILOVER_STARTUP,      FAILOVER_NORMAL,  FAILOVER_COMMUNICATIONS_INTERRUPTED,
                                 FAILOVER_PARTNER_DOWN, FAILOVER_RECOVER, FAILOVER_SHUTDOWN};

Event make(Event::Kind kind, size_t client = 0, int machine = 0, size_t what = 0) {
    Event e;
    e.kind = kind;
    e.client = uint8_t(client);
    e.machine = uint8_t(machine);
    e.what = uint8_t(what);
    return e;
}

} // namespace

std::string Event::text() const {
    std::string name = WORDS[kind].name;
    std::string by_machine = machine == 0 ? ":P" : ":S";
    std::string by_client = ":" + std::to_string(client);
    switch (WORDS[kind].arguments) {
    case NONE:
        return name;
    case MACHINE:
        return name + by_machine;
    case CLIENT:
        return name + by_client;
    case CLIENT_AND_MACHINE:
        return name + by_client + by_machine;
    case CLIENT_MACHINE_AND_ADDRESS:
        return name + by_client + by_machine + ":" + std::to_string(what);
    case MACHINE_AND_STATE:
        return name + by_machine + ":" + failover_state_name(failover_state(what));
    case SPAN:
        return name + ":" + SPAN_WORDS[what];
    }
    return name;
}

bool Event::is_fault() const {
    switch (kind) {
    case CUT:
    case CUT_TO:
    case HANG:
    case RESET:
    case CRASH:
    case CRASH_WRITTEN:
    case LOSE:
    case LOSE_ALL:
    case RELOAD:
    case FORCE:
        return true;
    default:
        return false;
    }
}

// There are so few events that they can all be tried.
bool Event::parse(const std::string &text, Event &event) {
    for (int kind = 0; kind < KINDS; kind++) {
        for (size_t client = 0; client < CLIENTS; client++) {
            for (int machine = 0; machine < 2; machine++) {
                for (size_t what = 0; what < FAILOVER_STATES; what++) {
                    bool is_span = kind == PASS && what >= SPANS;
                    event = make(Kind(kind), client, machine, what);
                    if (!is_span && event.text() == text) {
                        return true;
                    }
                }
            }
        }
    }
    return false;
}

std::string path_text(const std::vector<Event> &path) {
    std::string text;
    for (const Event &e : path) {
        text += (text.empty() ? "" : ",") + e.text();
    }
    return text;
}

bool parse_path(const std::string &text, std::vector<Event> &path) {
    std::istringstream words(text);
    std::string word;
    while (std::getline(words, word, ',')) {
        Event event;
        if (!Event::parse(word, event)) {
            return false;
        }
        path.push_back(event);
    }
    return true;
}

// ---- Where it begins --------------------------------------------------------------------------------------------------

const std::vector<Start> &starts() {
    static const std::vector<Start> all = [] {
        const std::pair<const char *, const char *> places[] = {
            {"normal", "start:P,start:S,settle"},
            {"first", "start:P,start:S,deliver:P"},
            {"bound", "start:P,start:S,settle,select:0:P:1,settle,select:1:S:0,settle"},
            {"interrupted", "start:P,start:S,settle,select:0:P:1,settle,cut,pass:silence"},
            {"partner-down",
             "start:P,start:S,settle,select:0:S:0,settle,crash:S,pass:second,force:P:partner-down,settle"},
            {"recover", "start:P,start:S,settle,select:0:S:0,settle,crash:S,pass:second,force:P:partner-down,settle,"
                        "pass:mclt,start:S,deliver:S"},
            {"lost", "start:P,start:S,settle,select:0:P:1,settle,crash:S,lose-all:S,start:S"},
            {"conflict", "start:P,start:S,settle,select:0:P:1,settle,cut,pass:silence,force:P:partner-down,"
                         "force:S:partner-down,settle,mend"},
        };
        std::vector<Start> list;
        for (auto &[name, path] : places) {
            std::vector<Event> events;
            if (!parse_path(path, events)) {
                abort();
            }
            // The policies differ while there is no link; the finest steps are about what doesn't differ.
            bool differs = std::string(name) == "interrupted" || std::string(name) == "conflict";
            list.push_back(Start{name + "-replace"s, events, FAILOVER_REPLACE, false, false, 2});
            list.push_back(Start{name + "-extend"s, events, FAILOVER_EXTEND, true, false, differs ? 2 : 3});
            list.push_back(Start{name + "-steps"s, events, FAILOVER_REPLACE, false, true, 2});
        }
        list.front().shallower = 0;
        return list;
    }();
    return all;
}

namespace {

failover_config config_of(const Start &start) {
    failover_config config;
    failover_config_defaults(&config);
    snprintf(config.name, sizeof(config.name), "fo1");
    config.mclt = MCLT;
    config.max_response_delay = RESPONSE;
    config.startup_delay = 2;
    config.load_balance_max_seconds = 0; // all clients are alike
    config.interrupted_leases = start.interrupted_leases;
    config.partner_down_full = start.partner_down_full;
    config.min_balance = 10;
    config.max_balance = 60;
    return config;
}

} // namespace

SmallWorld::SmallWorld(const Start &start) : Scene(config_of(start), ADDRESSES), checks(*this), step_by_step_(true) {
    observer = &checks;
    checks.mclt_max = MCLT;
    for (Machine &m : machines_) {
        m.mono_ahead = 1000000;
        m.server->desired_ = LIFETIME;
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        Client c;
        c.number = i;
        c.id = make_client(i + 1);
        checks.clients.push_back(c);
    }
    for (const Event &e : start.path) {
        apply(e);
    }
    step_by_step_ = start.step_by_step;
    if (!step_by_step_) {
        settle();
    }
}

// ---- Events -----------------------------------------------------------------------------------------------------------

std::vector<Event> SmallWorld::enabled() {
    std::vector<Event> events;
    add_client_events(events);
    add_progress_events(events);
    add_link_events(events);
    for (Machine &m : machines_) {
        add_machine_events(m, events);
    }
    add_time_events(events);
    return events;
}

void SmallWorld::add_time_events(std::vector<Event> &events) {
    bool linked = std::all_of(machines_.begin(), machines_.end(),
                              [this](Machine &m) { return m.runs() && m.server->status(at(m)).linked; });
    if (step_by_step_) {
        events.push_back(make(Event::PASS, 0, 0, Event::SECOND));
    }
    if (!linked || is_cut()) {
        events.push_back(make(Event::PASS, 0, 0, Event::TO_SILENCE));
    }
    events.push_back(make(Event::PASS, 0, 0, Event::AN_MCLT));
    if (next_end() != INT64_MAX) {
        events.push_back(make(Event::PASS, 0, 0, Event::TO_END));
    }
}

void SmallWorld::add_progress_events(std::vector<Event> &events) {
    if (!step_by_step_) {
        for (Machine &m : machines_) {
            events.push_back(make(m.disk_hangs ? Event::WORK : Event::HANG, 0, m.index));
        }
        return;
    }
    size_t before = events.size();
    for (Machine &m : machines_) {
        if (can_write(m)) {
            events.push_back(make(Event::COMMIT, 0, m.index));
        }
        if (can_arrive(m.index)) {
            events.push_back(make(Event::DELIVER, 0, m.index));
        }
    }
    if (events.size() > before) {
        events.push_back(make(Event::SETTLE));
    }
}

void SmallWorld::add_link_events(std::vector<Event> &events) {
    if (is_cut()) {
        events.push_back(make(Event::MEND));
    } else {
        events.push_back(make(Event::CUT));
        if (!step_by_step_) {
            events.push_back(make(Event::CUT_TO, 0, 0));
            events.push_back(make(Event::CUT_TO, 0, 1));
        }
    }
    if (step_by_step_ && !connections_.empty()) {
        events.push_back(make(Event::RESET));
    }
}

void SmallWorld::add_client_events(std::vector<Event> &events) {
    bool fresh = false;
    for (const Client &c : checks.clients) {
        bool known = c.address != 0;
        bool holds = c.holds(ms);
        if (!known && fresh) {
            continue; // it is as the one before
        }
        fresh = fresh || !known;
        for (Machine &m : machines_) {
            if (!m.runs()) {
                continue;
            }
            for (uint32_t a = 0; a < ADDRESSES; a++) {
                if (!holds && c.address != POOL_FIRST + a) {
                    events.push_back(make(Event::SELECT, c.number, m.index, a));
                }
            }
            if (known) {
                events.push_back(make(Event::RENEW, c.number, m.index));
            }
        }
        if (holds && machine(c.from).runs()) {
            events.push_back(make(Event::RELEASE, c.number));
            events.push_back(make(Event::DECLINE, c.number));
        }
    }
}

void SmallWorld::add_machine_events(Machine &m, std::vector<Event> &events) {
    if (!m.runs()) {
        events.push_back(make(Event::START, 0, m.index));
        if (m.server->record_) {
            events.push_back(make(Event::LOSE, 0, m.index));
            events.push_back(make(Event::LOSE_ALL, 0, m.index));
        }
        return;
    }
    events.push_back(make(Event::CRASH, 0, m.index));
    if (m.server->pending() > 0) {
        events.push_back(make(Event::CRASH_WRITTEN, 0, m.index));
    }
    events.push_back(make(Event::RELOAD, 0, m.index));
    for (failover_state state : FORCED) {
        events.push_back(make(Event::FORCE, 0, m.index, state));
    }
}

void SmallWorld::apply(const Event &e) {
    if (print_events) {
        note("-- " + e.text());
    }
    carry_out(e);
    if (!step_by_step_) {
        settle();
    }
}

void SmallWorld::carry_out(const Event &e) {
    Client &c = checks.clients[e.client];
    Machine &m = machine(e.machine);
    switch (e.kind) {
    case Event::SELECT:
        select(c, m, POOL_FIRST + e.what);
        break;
    case Event::RENEW:
        renew(c, m);
        break;
    case Event::RELEASE:
    case Event::DECLINE:
        give_up(c, machine(c.from), e.kind == Event::DECLINE);
        break;
    case Event::SETTLE:
        settle();
        break;
    case Event::DELIVER:
        deliver(e.machine);
        break;
    case Event::COMMIT:
        commit(m);
        break;
    case Event::CUT:
    case Event::MEND:
        cut_ = {{e.kind == Event::CUT, e.kind == Event::CUT}};
        break;
    case Event::CUT_TO:
        cut_[e.machine] = true;
        break;
    case Event::HANG:
    case Event::WORK:
        m.disk_hangs = e.kind == Event::HANG;
        break;
    case Event::RESET:
        reset();
        break;
    case Event::CRASH_WRITTEN:
        m.server->write(m.server->pending());
        kill(m, Death::PROCESS);
        break;
    case Event::CRASH:
        kill(m, Death::PROCESS);
        break;
    case Event::START:
        start(m);
        break;
    case Event::LOSE:
    case Event::LOSE_ALL:
        checks.lost_database(m, e.kind == Event::LOSE_ALL);
        lose_database(m, e.kind == Event::LOSE_ALL);
        break;
    case Event::RELOAD:
        reload(m);
        break;
    case Event::FORCE: {
        failover_plan plan = force(m, failover_state(e.what), true, 0);
        if (plan.result == FAILOVER_OK && e.what == FAILOVER_PARTNER_DOWN) {
            checks.forced_partner_down(m, 0);
        }
        break;
    }
    case Event::PASS:
        pass(Event::Span(e.what));
        break;
    case Event::KINDS:
        break;
    }
}

void SmallWorld::pass(Event::Span span) {
    switch (span) {
    case Event::SECOND:
        ms += SECOND;
        for (Machine &m : machines_) {
            if (m.runs()) {
                touch(m);
            }
        }
        break;
    case Event::TO_SILENCE:
        run_until(ms + (RESPONSE + 3) * SECOND);
        break;
    case Event::AN_MCLT:
        run_until(ms + (MCLT + 1) * SECOND);
        break;
    default:
        run_until(next_end() + SECOND);
        break;
    }
}

// Of what clients and servers count with.
int64_t SmallWorld::next_end() {
    int64_t next = INT64_MAX;
    auto consider = [&](int64_t end) {
        if (end > ms) {
            next = std::min(next, end);
        }
    };
    for (const Client &c : checks.clients) {
        consider(c.address != 0 ? c.until : 0);
    }
    for (Machine &m : machines_) {
        for (uint32_t a = POOL_FIRST; m.runs() && a < POOL_FIRST + ADDRESSES; a++) {
            consider(true_ms(m, m.server->binding(a).ends));
            consider(true_ms(m, failover_binding_wait_over(m.server->core_, a)));
        }
    }
    return next;
}

uint64_t SmallWorld::digest() {
    Digest digest(*this, checks, LONG_OVER);
    digest.number(cut_[0] + 2 * cut_[1]);
    for (Machine &m : machines_) {
        digest.machine(m);
    }
    for (auto &[id, c] : connections_) {
        for (size_t to = 0; to < 2; to++) {
            digest.number(c.open[to] ? -2 : -3);
            for (const Chunk &chunk : c.to[to]) {
                digest.message(machine(1 - int(to)), chunk.bytes);
            }
        }
    }
    digest.clients();
    return digest.value();
}

void SmallWorld::come_to_rest() {
    Rest rest(*this, checks);
    rest.take_faults_away();
    rest.find_back();
    for (Client &c : checks.clients) {
        for (Machine &m : machines_) {
            if (!is_over()) {
                ask(c, m);
                settle();
            }
        }
    }
    rest.find_clashes();
    rest.come_to_rest();
}

// ---- Clients ----------------------------------------------------------------------------------------------------------

void SmallWorld::select(Client &c, Machine &m, uint32_t address) {
    c.address = 0;
    c.until = 0;
    m.server->discover(c.id, 0, next_xid_, at(m)); // it has been heard at some time
    Lease lease = request(c, m, address, true);
    if (lease.kind == Lease::ACK) {
        take(c, m, lease);
    }
}

void SmallWorld::ask(Client &c, Machine &m) {
    Lease offer = m.server->discover(c.id, 0, next_xid_, at(m));
    touch(m);
    if (offer.kind != Lease::ACK) {
        return;
    }
    c.address = 0;
    Lease lease = request(c, m, offer.address, true);
    if (lease.kind == Lease::ACK) {
        take(c, m, lease);
    }
}

void SmallWorld::renew(Client &c, Machine &m) {
    Lease lease = request(c, m, c.address, false);
    if (lease.kind == Lease::ACK) {
        take(c, m, lease);
    } else if (lease.kind == Lease::NAK) {
        c.address = 0;
        c.until = 0;
    }
}

Lease SmallWorld::request(Client &c, Machine &m, uint32_t address, bool selects) {
    failover_binding before = m.server->binding(address);
    Lease lease = m.server->request(c.id, address, selects, next_xid_++, at(m));
    if (lease.kind == Lease::ACK) {
        checks.granted(m, c, before, lease);
    }
    touch(m);
    return lease;
}

void SmallWorld::take(Client &c, Machine &m, const Lease &lease) {
    c.from = m.index;
    c.lost = false;
    c.address = lease.address;
    c.until = true_ms(m, wall_of(m) + int64_t(lease.lifetime));
    if (print_events) {
        note("client " + std::to_string(c.number) + " has " + dotted(lease.address) + " from " + m.name() + " for " +
             std::to_string(lease.lifetime) + " s");
    }
    checks.told(c);
}

void SmallWorld::give_up(Client &c, Machine &m, bool declines) {
    uint32_t address = c.address;
    c.address = 0;
    c.until = 0;
    if (declines) {
        m.server->decline(c.id, address, PROBATION, at(m));
    } else {
        m.server->release(c.id, address, at(m));
    }
    touch(m);
}

// ---- Disks and network ------------------------------------------------------------------------------------------------

void SmallWorld::touch(Machine &m) {
    failover_tick(m.server->core_, at(m));
    m.server->apply_leases();
    act(m);
    flush(m);
    notice_state(m);
}

bool SmallWorld::commit(Machine &m) {
    if (!can_write(m)) {
        return false;
    }
    failover_committed(m.server->core_, m.server->write(m.server->pending()), at(m));
    touch(m);
    return true;
}

bool SmallWorld::can_arrive(int to) const {
    return !cut_[size_t(to)] && std::any_of(connections_.begin(), connections_.end(),
                                            [to](auto &c) { return !c.second.to[size_t(to)].empty(); });
}

bool SmallWorld::deliver(int to) {
    for (auto &[id, c] : connections_) {
        auto &queue = c.to[size_t(to)];
        if (!cut_[size_t(to)] && !queue.empty()) {
            Chunk chunk = std::move(queue.front());
            queue.pop_front();
            arrive(id, to, chunk);
            return true;
        }
    }
    return false;
}

void SmallWorld::settle() {
    for (bool busy = true; busy && !is_over();) {
        busy = false;
        for (Machine &m : machines_) {
            busy = commit(m) || busy;
            busy = deliver(m.index) || busy;
        }
    }
}

void SmallWorld::run_until(int64_t end) {
    settle();
    while (!is_over() && ms < end) {
        int64_t next = end;
        for (Machine &m : machines_) {
            if (m.runs()) {
                next = std::min(next, std::max(failover_deadline(m.server->core_) - m.mono_ahead, ms + 1));
            }
        }
        ms = next;
        for (Machine &m : machines_) {
            if (m.runs()) {
                touch(m);
            }
        }
        settle();
    }
}

void SmallWorld::kill(Machine &m, Death) {
    m.clashes += failover_get_counters(m.server->core_)->clashes;
    m.server->kill();
    std::vector<int> open;
    for (auto &[id, c] : connections_) {
        if (c.open[size_t(m.index)]) {
            open.push_back(id);
        }
    }
    for (int id : open) {
        close_end(id, m.index, "closed by the partner");
    }
}

void SmallWorld::act(Machine &m) {
    failover_action action;
    while (failover_next_action(m.server->core_, &action)) {
        if (action.type == FAILOVER_ACTION_DIAL) {
            dial(m);
            continue;
        }
        flush(m);
        m.server->forget_connection(action.connection);
        close_end(action.connection, m.index, "closed by the partner");
    }
}

void SmallWorld::dial(Machine &m) {
    Machine &y = other(m);
    if (is_cut() || !y.runs()) {
        failover_dial_failed(m.server->core_, is_cut() ? "timed out" : "Connection refused", at(m));
        return;
    }
    int id = next_connection_++;
    connections_[id];
    if (!open_end(m, id, true)) {
        connections_.erase(id);
        return;
    }
    if (open_end(y, id, false)) {
        touch(y);
    } else {
        close_end(id, y.index, "closed by the partner");
    }
}

void SmallWorld::flush(Machine &m) {
    uint8_t buffer[4 * FAILOVER_MESSAGE_SIZE_MAX];
    for (int id : std::vector<int>(m.server->connections_)) {
        size_t size;
        while ((size = failover_output(m.server->core_, id, buffer, sizeof(buffer), at(m))) > 0) {
            checks.on_output(m, buffer, size);
            auto c = connections_.find(id);
            size_t length; // each message begins with its own
            for (const uint8_t *next = buffer; c != connections_.end() && next < buffer + size; next += length) {
                length = size_t(next[0]) << 8 | next[1];
                c->second.to[size_t(1 - m.index)].push_back(Chunk{std::vector<uint8_t>(next, next + length), nullptr});
            }
        }
    }
}

void SmallWorld::arrive(int id, int to, const Chunk &chunk) {
    Machine &m = machine(to);
    Connection &c = connections_[id];
    if (!c.open[size_t(to)]) {
        return;
    }
    if (!chunk.bytes.empty()) {
        failover_received(m.server->core_, id, chunk.bytes.data(), chunk.bytes.size(), at(m));
        touch(m);
        return;
    }
    m.server->forget_connection(id);
    close_end(id, to, "closed by the partner");
    failover_disconnected(m.server->core_, id, chunk.why, at(m));
    touch(m);
}

void SmallWorld::close_end(int id, int end, const char *why) {
    auto c = connections_.find(id);
    if (c == connections_.end()) {
        return;
    }
    c->second.open[size_t(end)] = false;
    if (c->second.open[size_t(1 - end)]) {
        c->second.to[size_t(1 - end)].push_back(Chunk{{}, why});
    } else {
        connections_.erase(c);
    }
}

void SmallWorld::reset() {
    std::map<int, Connection> lost;
    std::swap(lost, connections_);
    for (auto &[id, c] : lost) {
        for (Machine &m : machines_) {
            if (c.open[size_t(m.index)] && m.runs()) {
                m.server->forget_connection(id);
                failover_disconnected(m.server->core_, id, "Connection reset by peer", at(m));
            }
        }
    }
    for (Machine &m : machines_) {
        if (m.runs()) {
            touch(m);
        }
    }
}

void SmallWorld::mend() {
    cut_ = {{false, false}};
    for (Machine &m : machines_) {
        m.disk_hangs = false;
    }
    reset();
}

// ---- All of them ------------------------------------------------------------------------------------------------------

void Exploration::add(const Exploration &other) {
    paths += other.paths;
    states += other.states;
    excepted += other.excepted;
    rests += other.rests;
    failures.insert(failures.end(), other.failures.begin(), other.failures.end());
}

std::string Exploration::text() const {
    std::ostringstream text;
    text << paths << " paths, " << states << " states, " << excepted << " of them excepted, " << rests
         << " brought to rest, " << failures.size() << " failed";
    return text.str();
}

namespace {

constexpr size_t FAILURES_SHOWN = 5;
constexpr uint64_t ONE_COMES_TO_REST_OF = 100;

// In the order of what their paths cost, so that each state is gone on from once, and at its cheapest.
class Explorer {
public:
    Explorer(const Start &start, int depth) : start_(start), levels_(size_t(depth) + 2) {
    }
    Exploration run() {
        nodes_.push_back(Node{0, Event{}});
        levels_[0].push_back(0);
        for (size_t cost = 0; cost < levels_.size(); cost++) {
            for (size_t i = 0; i < levels_[cost].size() && found_.failures.size() < FAILURES_SHOWN; i++) {
                go_on(levels_[cost][i], cost);
            }
        }
        return found_;
    }

private:
    struct Node {
        uint32_t parent;
        Event event;
    };
    const Start &start_;
    Exploration found_;
    std::vector<Node> nodes_;
    std::vector<std::vector<uint32_t>> levels_; // nodes by their cost
    std::unordered_set<uint64_t> seen_;

    std::vector<Event> path_to(uint32_t node) const {
        std::vector<Event> path;
        for (; node != 0; node = nodes_[node].parent) {
            path.insert(path.begin(), nodes_[node].event);
        }
        return path;
    }
    // A world can't be copied: each path is gone from its beginning.
    void go_on(uint32_t node, size_t cost) {
        std::vector<Event> path = path_to(node);
        auto world = std::make_unique<SmallWorld>(start_);
        for (const Event &e : path) {
            world->apply(e);
        }
        found_.paths++;
        uint64_t digest = world->digest();
        if (!world->is_over() && !seen_.insert(digest).second) {
            return;
        }
        found_.states++;
        if (world->checks.is_excepted()) {
            found_.excepted++;
        } else if (!world->is_over()) {
            for (const Event &e : world->enabled()) {
                add(node, e, cost + (e.is_fault() ? 2 : 1));
            }
        }
        if (!world->is_over() && digest % ONE_COMES_TO_REST_OF == 0) {
            found_.rests++;
            world->come_to_rest();
        }
        if (world->is_over()) {
            found_.failures.push_back(replay(start_, path, false));
        }
    }
    void add(uint32_t parent, const Event &e, size_t cost) {
        if (cost < levels_.size()) {
            levels_[cost].push_back(uint32_t(nodes_.size()));
            nodes_.push_back(Node{parent, e});
        }
    }
};

} // namespace

Exploration explore(const Start &start, int depth) {
    return Explorer(start, std::max(depth - start.shallower, 1)).run();
}

std::string replay(const Start &start, const std::vector<Event> &path, bool print_events) {
    SmallWorld world(start);
    world.print_events = print_events;
    for (const Event &e : path) {
        if (!world.is_over()) {
            world.note("-- " + e.text());
            world.apply(e);
        }
    }
    if (!world.is_over()) {
        world.come_to_rest();
    }
    if (!world.is_over()) {
        return "";
    }
    return "--start " + start.name + " --path " + path_text(path) + ": " + world.failure + "\n" + world.last_events();
}

} // namespace failover_sim
