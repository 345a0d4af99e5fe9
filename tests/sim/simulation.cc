// SPDX-License-Identifier: MPL-2.0
#include "simulation.h"

#include <sstream>

using failover_test::dotted;
using failover_test::make_client;
using failover_test::POOL_FIRST;

namespace failover_sim {

constexpr failover_state NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED, PD = FAILOVER_PARTNER_DOWN,
                         RE = FAILOVER_RECOVER, SH = FAILOVER_SHUTDOWN, ST = FAILOVER_STARTUP;
constexpr int64_t SECOND = 1000;

void Tally::add(const Tally &o) {
    uint64_t Tally::*const all[] = {&Tally::runs,
                                    &Tally::virtual_seconds,
                                    &Tally::grants,
                                    &Tally::refusals,
                                    &Tally::releases,
                                    &Tally::declines,
                                    &Tally::cuts,
                                    &Tally::resets,
                                    &Tally::deaths,
                                    &Tally::reloads,
                                    &Tally::disks,
                                    &Tally::losses,
                                    &Tally::clocks,
                                    &Tally::forces,
                                    &Tally::changes,
                                    &Tally::runs_excepted,
                                    &Tally::clashes_excepted,
                                    &Tally::clashes_counted};
    for (auto member : all) {
        this->*member += o.*member;
    }
}

std::string Tally::text() const {
    std::ostringstream text;
    text.precision(2);
    text << runs << " seeds, " << std::fixed << double(virtual_seconds) / (365.25 * 86400) << " virtual years, "
         << grants << " grants, " << refusals << " refusals, " << releases << " releases, " << declines << " declines; "
         << faults() << " faults: " << cuts << " cuts, " << resets << " resets, " << deaths << " deaths, " << reloads
         << " reloads, " << disks << " hanging disks, " << losses << " lost databases, " << clocks << " clock steps, "
         << forces << " forced states, " << changes << " changes of mclt or split; " << runs_excepted
         << " seeds with an excepted case, " << clashes_excepted << " clashes in them, " << clashes_counted
         << " counted by the servers";
    return text.str();
}

// ---- Conditions -----------------------------------------------------------------------------------------------------

Simulation::Simulation(uint64_t seed, bool print_events, uint32_t watched) : seed_(seed), choose_(seed) {
    configure();
    world_ = std::make_unique<World>(seed ^ 0x5eed, config_, addresses_);
    world_->print_events = print_events;
    world_->watched = watched;
    world_->delay_max = choose_.of({2, 20, 400});
    checks_ = std::make_unique<Checks>(*world_);
    world_->observer = checks_.get();
    checks_->mclt_max = config_.mclt;
    uint32_t lifetime = choose_.of<uint32_t>({3600, 600, 200, 50});
    int64_t ahead = choose_.of<int64_t>({0, 2000, 20000});
    for (Machine &m : world_->machines()) {
        m.wall_ahead = choose_.between(-ahead, ahead);
        m.server->desired_ = lifetime;
    }
    uint32_t count = choose_.chance(0.5) ? 1 + choose_.below(addresses_ + 3) : addresses_ + 3;
    count = std::min<uint32_t>(count, 40);
    for (uint32_t i = 0; i < count; i++) {
        Client c;
        c.number = i;
        c.id = make_client(i + 1, choose_.chance(0.5));
        checks_->clients.push_back(c);
        path_.push_back({{true, true}});
        secs_step_.push_back(choose_.chance(0.3) ? 0 : 1);
        unanswered_.push_back({{0, 0}});
        attempt_.push_back(0);
        if (i < addresses_ && choose_.chance(0.05)) {
            for (Machine &m : world_->machines()) {
                m.server->reservations_[POOL_FIRST + i] = c.id;
            }
        }
    }
}

void Simulation::configure() {
    failover_config_defaults(&config_);
    snprintf(config_.name, sizeof(config_.name), "fo1");
    static const uint32_t sizes[] = {1, 2, 3, 5, 8, 12, 12, 20, 100};
    addresses_ = choose_.chance(0.01) ? 1000 : sizes[choose_.below(9)];
    config_.mclt = choose_.of<uint32_t>({20, 60, 60, 300});
    config_.max_response_delay = choose_.of<uint32_t>({9, 30});
    config_.startup_delay = choose_.of<uint32_t>({2, 10});
    config_.load_balance_max_seconds = choose_.of<uint32_t>({0, 3, 3});
    config_.interrupted_leases = choose_.chance(0.5) ? FAILOVER_REPLACE : FAILOVER_EXTEND;
    config_.partner_down_full = choose_.chance(0.5);
    config_.max_unacked_updates = choose_.of<uint32_t>({1, 2, 100});
    config_.min_balance = 10;
    config_.max_balance = 60;
    careless_ = choose_.chance(0.3);
    sloppy_clocks_ = choose_.chance(0.2);
    config_.auto_partner_down = careless_ && choose_.chance(0.3) ? choose_.of<uint32_t>({30, 120}) : 0;
    loss_ = choose_.of({0.0, 0.05, 0.2});
    fault_every_ = choose_.of<int64_t>({10, 60, 300}) * SECOND;
    pace_ = choose_.of<int64_t>({5, 40, 200});
}

// ---- Clients --------------------------------------------------------------------------------------------------------

void Simulation::later(size_t c, int64_t delay, std::function<void()> what) {
    unsigned attempt = attempt_[c];
    world_->after(delay, [this, c, attempt, what = std::move(what)] {
        if (attempt_[c] == attempt && clients_ask_) {
            what();
        }
    });
}

// Until something occurs to it.
void Simulation::idle(size_t c) {
    attempt_[c]++;
    later(c, world_->random.between(1, pace_ * SECOND), [this, c] { act(c); });
}

void Simulation::act(size_t c) {
    Client &client = checks_->clients[c];
    Random &random = world_->random;
    attempt_[c]++;
    if (random.chance(0.02)) {
        path_[c] = {{random.chance(0.8), random.chance(0.8)}};
    }
    if (!client.holds(world_->ms)) {
        bool remembers = client.address != 0 && random.chance(0.3); // INIT-REBOOT with an address of long ago
        if (remembers) {
            renew(c, To::BOTH, next_xid_++, 0);
        } else {
            drop(c);
            discover(c, next_xid_++, 0);
        }
        return;
    }
    uint32_t what = random.below(100);
    if (what < 50) {
        renew(c, To::SERVER, next_xid_++, 0);
    } else if (what < 75) {
        renew(c, To::BOTH, next_xid_++, 0);
    } else if (what < 83) {
        release(c);
    } else if (what < 85) {
        decline(c);
    } else if (what < 90) {
        drop(c); // it has lost its memory
        discover(c, next_xid_++, 0);
    } else {
        later(c, random.between(1, 2000) * SECOND, [this, c] { act(c); }); // it vanishes for a while
    }
}

void Simulation::discover(size_t c, uint32_t xid, int tries) {
    Client &client = checks_->clients[c];
    std::array<bool, 2> owners{{false, false}};
    bool answered = false;
    Lease best;
    int server = -1;
    for (Machine &m : world_->machines()) {
        if (!reaches(c, m)) {
            continue;
        }
        failover_clock now = world_->at(m);
        bool owns = m.server->reservation(client.id) == 0 && m.server->own_free(now) > m.server->kept_for_disk(now) &&
                    !m.server->waits_for_disk(client.id, now);
        owners[size_t(m.index)] = owns;
        Lease offer = m.server->discover(client.id, uint16_t(tries * 4 * secs_step_[c]), xid, now);
        world_->touch(m);
        answered = answered || offer.kind == Lease::ACK;
        bool heard = offer.kind == Lease::ACK && !world_->random.chance(loss_);
        if (heard && (server < 0 || world_->random.chance(0.5))) {
            best = offer;
            server = m.index;
        }
    }
    note_unanswered(c, owners, answered);
    if (server >= 0) {
        int64_t delay = world_->random.chance(0.9) ? world_->random.between(1, 300) : world_->random.between(1, 9000);
        later(c, delay, [this, c, server, address = best.address, xid] { select(c, server, address, xid, 0); });
    } else if (tries < 4) {
        later(c, 4 * SECOND, [this, c, xid, tries] { discover(c, xid, tries + 1); });
    } else {
        unanswered_[c] = {{0, 0}};
        idle(c);
    }
}

// L2
void Simulation::note_unanswered(size_t c, const std::array<bool, 2> &owners, bool answered) {
    for (size_t i = 0; i < 2; i++) {
        unanswered_[c][i] = owners[i] && !answered ? unanswered_[c][i] + 1 : 0;
        // Right after a cut old messages come late, the skew seems large, and an address may be kept back for it.
        bool clocks_agree = stepped_ == 0 && world_->ms - mended_ > 30 * SECOND;
        if (unanswered_[c][i] >= 3 && clocks_agree) {
            world_->fail("L2: client " + std::to_string(c) + " gets no OFFER though " + world_->machine(int(i)).name() +
                         ", which hears it, owns a free address");
        }
    }
}

void Simulation::select(size_t c, int server, uint32_t address, uint32_t xid, int tries) {
    Machine &m = world_->machine(server);
    Lease lease;
    if (reaches(c, m)) {
        lease = request(c, m, address, true, xid);
    }
    bool heard = lease.kind != Lease::SILENCE && !world_->random.chance(loss_);
    if (heard && lease.kind == Lease::ACK) {
        take(c, m, lease);
        idle(c);
    } else if (heard || tries == 3) {
        idle(c);
    } else {
        later(c, (4 << tries) * SECOND,
              [this, c, server, address, xid, tries] { select(c, server, address, xid, tries + 1); });
    }
}

void Simulation::renew(size_t c, To to, uint32_t xid, int tries) {
    Client &client = checks_->clients[c];
    bool extended = false, refused = false;
    for (Machine &m : world_->machines()) {
        bool asked = to == To::BOTH || m.index == client.from;
        if (!asked || !reaches(c, m) || world_->is_over()) {
            continue;
        }
        Lease lease = request(c, m, client.address, false, xid);
        bool heard = !world_->random.chance(loss_);
        if (heard && lease.kind == Lease::ACK) {
            extended = true;
            take(c, m, lease);
        }
        refused = refused || (heard && lease.kind == Lease::NAK);
    }
    if (extended) {
        idle(c);
    } else if (refused) {
        tally.refusals++;
        world_->note("client " + std::to_string(c) + " is refused " + dotted(client.address));
        drop(c);
        later(c, world_->random.between(1, 3000), [this, c] { discover(c, next_xid_++, 0); });
    } else if (tries < 3) {
        later(c, (4 << tries) * SECOND, [this, c, to, xid, tries] { renew(c, to, xid, tries + 1); });
    } else {
        idle(c);
    }
}

Lease Simulation::request(size_t c, Machine &m, uint32_t address, bool selects, uint32_t xid) {
    Client &client = checks_->clients[c];
    failover_binding before = m.server->binding(address);
    Lease lease = m.server->request(client.id, address, selects, xid, world_->at(m));
    if (lease.kind == Lease::ACK) {
        checks_->granted(m, client, before, lease);
    }
    world_->touch(m);
    return lease;
}

void Simulation::take(size_t c, Machine &m, const Lease &lease) {
    Client &client = checks_->clients[c];
    tally.grants++;
    client.from = m.index;
    client.lost = false;
    client.address = lease.address;
    // In whole seconds, as its server counts.
    client.until = world_->true_ms(m, world_->wall_of(m) + int64_t(lease.lifetime));
    world_->note("client " + std::to_string(c) + " has " + dotted(lease.address) + " from " + m.name() + " for " +
                 std::to_string(lease.lifetime) + " s");
    checks_->told(client);
}

void Simulation::drop(size_t c) {
    checks_->clients[c].address = 0;
    checks_->clients[c].until = 0;
}

// The client forgets its address and tells a server, mostly the one that gave it; `hear` is what that does if it hears.
void Simulation::give_up(size_t c, const char *what, double to_giver,
                         const std::function<void(Machine &, uint32_t)> &hear) {
    Client &client = checks_->clients[c];
    Machine &m = world_->machine(world_->random.chance(to_giver) ? client.from : 1 - client.from);
    world_->note("client " + std::to_string(c) + " " + what + " " + dotted(client.address) + " to " + m.name());
    uint32_t address = client.address;
    drop(c);
    if (reaches(c, m)) {
        hear(m, address);
        world_->touch(m);
    }
    idle(c);
}

void Simulation::release(size_t c) {
    give_up(c, "releases", 0.9, [this, c](Machine &m, uint32_t address) {
        tally.releases += m.server->release(checks_->clients[c].id, address, world_->at(m)) ? 1 : 0;
    });
}

void Simulation::decline(size_t c) {
    give_up(c, "declines", 0.7, [this, c](Machine &m, uint32_t address) {
        // With a probation that is shorter than many leases.
        tally.declines += m.server->decline(checks_->clients[c].id, address, 120, world_->at(m)) ? 1 : 0;
    });
}

// ---- Faults ---------------------------------------------------------------------------------------------------------

void Simulation::next_fault() {
    world_->after(world_->random.between(1, 2 * fault_every_), [this] {
        if (faults_) {
            fault();
            next_fault();
        }
    });
}

void Simulation::fault() {
    Machine &m = world_->machine(int(world_->random.below(2)));
    switch (world_->random.below(16)) {
    case 0:
    case 1:
    case 2:
        fault_network();
        break;
    case 3:
        tally.resets++;
        world_->note("the connections are reset");
        world_->reset_connections();
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        fault_machine(m);
        break;
    case 8:
        if (m.runs()) {
            tally.disks++;
            world_->note(std::string("the disk of ") + m.name() + (m.disk_hangs ? " works again" : " hangs"));
            world_->hang_disk(m, !m.disk_hangs);
        }
        break;
    case 9:
        fault_database(m);
        break;
    case 10:
        fault_clock(m);
        break;
    case 11:
        fault_configuration(m);
        break;
    default:
        if (m.runs()) {
            operate(m);
        }
        break;
    }
}

void Simulation::fault_network() {
    if (world_->is_cut()) {
        world_->note("the link is mended");
        world_->cut(false, false);
        mended_ = world_->ms;
        return;
    }
    if (!sane_to_cut()) {
        return;
    }
    bool both = world_->random.chance(0.7);
    bool to_primary = both || world_->random.chance(0.5);
    tally.cuts++;
    world_->note(both ? "the link is cut" : to_primary ? "the link to P is cut" : "the link to S is cut");
    world_->cut(to_primary, both || !to_primary);
}

void Simulation::fault_machine(Machine &m) {
    if (!m.runs()) {
        start(m);
        return;
    }
    tally.deaths++;
    bool process = world_->random.chance(0.7);
    world_->note(std::string(m.name()) + (process ? " is killed" : " loses its power"));
    world_->kill(m, process ? World::Death::PROCESS : World::Death::HOST);
    if (world_->random.chance(0.5)) {
        m.disk_hangs = false;
    }
    world_->after(world_->random.between(1, 30000), [this, &m] {
        if (faults_ && !m.runs()) {
            start(m);
        }
    });
}

void Simulation::start(Machine &m) {
    if (sane_to_start(m)) {
        world_->note(std::string(m.name()) + " starts");
        world_->start(m);
    }
}

void Simulation::fault_database(Machine &m) {
    Machine &y = world_->other(m);
    if (m.runs()) {
        return;
    }
    bool other_has_all = y.runs() && (y.state() == NO || y.state() == CI || y.state() == PD) && !y.disk_hangs;
    if (!careless_ && (!other_has_all || checks_->is_alone(m))) {
        return;
    }
    tally.losses++;
    world_->note(std::string(m.name()) + " loses its database");
    bool leases_too = world_->random.chance(0.5);
    checks_->lost_database(m, leases_too);
    world_->lose_database(m, leases_too);
}

void Simulation::fault_clock(Machine &m) {
    if (!sloppy_clocks_) {
        return;
    }
    int64_t step = world_->random.of<int64_t>({1, 5, 30, 59, 400, 7200}) * SECOND;
    step = world_->random.chance(0.5) ? step : -step;
    tally.clocks++;
    world_->note(std::string("the clock of ") + m.name() + " steps by " + std::to_string(step / SECOND) + " s");
    m.wall_ahead += step;
    stepped_ += std::abs(step) / SECOND;
    checks_->except("a clock stepped");
    if (m.runs()) {
        world_->touch(m);
    }
}

// Of the primary: a new mclt, a new split; or the same file read again.
void Simulation::fault_configuration(Machine &m) {
    if (!m.runs() || m.disk_hangs) {
        return;
    }
    failover_config &config = m.server->config_;
    if (m.index == 0 && world_->random.chance(0.5)) {
        tally.changes++;
        config.mclt = world_->random.of<uint32_t>({20, 60, 300});
        memset(config.hba, world_->random.of<int>({0, 0x55, 0xff}), sizeof(config.hba));
        checks_->mclt_max = std::max(checks_->mclt_max, config.mclt);
    }
    tally.reloads++;
    world_->note(std::string(m.name()) + " is reconfigured, mclt " + std::to_string(config.mclt));
    world_->reload(m);
}

// ---- Operators ------------------------------------------------------------------------------------------------------

// One of the two went on in PARTNER-DOWN and the other doesn't know yet, on disk, that it has to recover: who cuts the
// link, or starts it alone, now makes the mistake that the safety sentence excepts.
bool Simulation::sane_to_cut() {
    if (careless_) {
        return true;
    }
    for (Machine &m : world_->machines()) {
        Machine &y = world_->other(m);
        bool knows = y.state_on_disk() == RE || y.state_on_disk() == SH ||
                     (y.server->record_ && y.server->record_->partner_state == PD);
        if (checks_->is_alone(m) && !knows) {
            return false;
        }
    }
    return true;
}

bool Simulation::sane_to_start(Machine &m) {
    Machine &y = world_->other(m);
    bool held = m.server->record_ && m.server->record_->link_held_down;
    bool knows = m.state_on_disk() == RE || m.state_on_disk() == SH;
    return careless_ || !checks_->is_alone(y) || knows || (y.runs() && !world_->is_cut() && !held);
}

bool Simulation::sane_to_force(Machine &m, failover_state state) {
    Machine &y = world_->other(m);
    bool serves = m.state() == NO || m.state() == CI;
    bool other_serves = y.state() == NO || y.state() == CI;
    bool has_record = m.server->record_ && m.server->record_->default_owner != FAILOVER_NOBODY;
    if (checks_->is_alone(y) && state != ST) {
        return false;
    }
    switch (state) {
    case PD:
        // Only when the other one is silent for certain: it is down, or it has said that it is.
        return has_record && (!y.runs() || (y.state_on_disk() == SH && y.state() == SH));
    case SH:
        return serves && other_serves;
    case ST:
        return sane_to_cut();
    default:
        return serves;
    }
}

void Simulation::operate(Machine &m) {
    failover_state state = world_->random.of({ST, NO, CI, PD, PD, RE, SH});
    if (!careless_ && !sane_to_force(m, state)) {
        return;
    }
    bool override_guard = careless_ ? world_->random.chance(0.5) : state == NO && world_->random.chance(0.3);
    int64_t since = 0;
    if (state == PD && careless_ && world_->random.chance(0.3)) {
        since = world_->wall_of(m) - world_->random.between(0, 600);
    }
    failover_plan plan = world_->force(m, state, override_guard, since);
    world_->note(std::string(m.name()) + " is forced to " + failover_state_name(state) +
                 (override_guard ? " with override" : "") + ": " + (plan.result == FAILOVER_OK ? "ok" : plan.text));
    if (plan.result == FAILOVER_OK) {
        tally.forces++;
        if (state == PD) {
            checks_->forced_partner_down(m, since);
        }
    }
}

// ---- The run ---------------------------------------------------------------------------------------------------------

std::string Simulation::run() {
    for (Machine &m : world_->machines()) {
        world_->start(m);
    }
    world_->run_until(30 * SECOND);
    for (size_t c = 0; c < checks_->clients.size(); c++) {
        idle(c);
    }
    next_fault();
    world_->run_until(choose_.of<int64_t>({300, 1200, 3600}) * SECOND);
    if (!world_->is_over()) {
        faults_ = false;
        for (auto &path : path_) {
            path = {{true, true}};
        }
        Rest rest(*world_, *checks_);
        rest.stepped = stepped_;
        rest.take_faults_away();
        rest.find_back();
        rest.find_clashes();
        clients_ask_ = false;
        rest.come_to_rest();
    }
    tally.runs = 1;
    tally.virtual_seconds = uint64_t(world_->ms / SECOND);
    tally.runs_excepted = checks_->is_excepted() ? 1 : 0;
    tally.clashes_excepted = checks_->clashes_excepted;
    tally.clashes_counted = checks_->clashes();
    if (!world_->is_over()) {
        return "";
    }
    std::string why = "seed " + std::to_string(seed_) + ": " + world_->failure + "\n" + world_->last_events();
    for (const std::string &exception : checks_->exceptions) {
        why += "excepted: " + exception + "\n";
    }
    return why;
}

} // namespace failover_sim
