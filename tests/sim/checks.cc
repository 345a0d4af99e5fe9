// SPDX-License-Identifier: MPL-2.0
#include "checks.h"

using failover_test::dotted;

namespace failover_sim {

// ---- S1 -------------------------------------------------------------------------------------------------------------

void Checks::told(const Client &c) {
    for (const Client &other : clients) {
        // Both clocks, and the skew between them, are known in whole seconds.
        if (other.number == c.number || other.address != c.address || !other.holds(world_.ms + 1000)) {
            continue;
        }
        std::string text = "S1: " + dotted(c.address) + " is given to client " + std::to_string(c.number) + " by " +
                           world_.machine(c.from).name() + ", but client " + std::to_string(other.number) +
                           " holds it from " + world_.machine(other.from).name() + " for " +
                           std::to_string((other.until - world_.ms) / 1000) + " s";
        if (!is_excepted()) {
            world_.fail(text);
            return;
        }
        clashes_excepted++;
        world_.note("excepted: " + text);
    }
}

std::vector<uint32_t> Checks::held_twice() const {
    std::map<uint32_t, int> holders;
    for (const Client &c : clients) {
        holders[c.address] += c.holds(world_.ms) && !c.lost ? 1 : 0;
    }
    std::vector<uint32_t> twice;
    for (auto &[address, count] : holders) {
        if (count > 1) {
            twice.push_back(address);
        }
    }
    return twice;
}

uint64_t Checks::clashes() const {
    uint64_t sum = 0;
    for (Machine &m : world_.machines()) {
        sum += m.clashes + (m.runs() ? failover_get_counters(m.server->core_)->clashes : 0);
    }
    return sum;
}

// ---- S2 and S3 ------------------------------------------------------------------------------------------------------

int64_t Checks::skew() const {
    return std::abs(world_.wall_of(world_.machine(0)) - world_.wall_of(world_.machine(1)));
}

// What a machine knows of an address: in its core if that lives, or what it would know after a crash.
failover_binding Checks::known_by(Machine &m, uint32_t address, bool on_disk) const {
    failover_binding b{};
    if (m.runs() && !on_disk) {
        failover_get_binding(m.server->core_, address, &b);
        return b;
    }
    auto stored = m.server->bindings_.find(address);
    if (stored != m.server->bindings_.end()) {
        return stored->second;
    }
    b.status = FAILOVER_FREE;
    b.owner = m.server->record_ ? m.server->record_->default_owner : FAILOVER_NOBODY;
    return b;
}

void Checks::granted(Machine &m, const Client &c, const failover_binding &before, const Lease &lease) {
    may_serve(m);
    last_grant_[m.index] = world_.ms;
    within_mclt(m, before, lease);
    bool renewal = before.status == FAILOVER_ACTIVE && failover_same_client(&before.client, &c.id);
    if (!renewal) {
        by_owner(m, c, before, lease);
    }
}

bool Checks::has_waited(const Machine &m) const {
    const failover_record &record = *failover_get_record(m.server->core_);
    return m.state() == FAILOVER_PARTNER_DOWN && world_.wall_of(m) >= record.stos + int64_t(record.mclt);
}

void Checks::within_mclt(Machine &m, const failover_binding &before, const Lease &lease) {
    Machine &y = world_.other(m);
    int64_t wall = world_.wall_of(m);
    bool lifted = m.server->config_.partner_down_full && has_waited(m);
    int64_t end = wall + int64_t(lease.lifetime);
    bool repeated = end == before.given || end == before.ends; // promised, and checked, before
    if (lifted || repeated || wiped_[y.index]) {
        return;
    }
    failover_binding durable = known_by(y, lease.address, true);
    // These times are what it waits for, whatever has become of the lease there.
    bool free = durable.status == FAILOVER_FREE;
    int64_t known = free ? 0 : std::max({durable.sent, durable.acked, durable.received, durable.ends});
    int64_t limit = std::max(known, wall) + mclt_max + skew() + 1;
    if (known != FAILOVER_TIME_INFINITE && end > limit && !is_excepted()) {
        world_.fail("S2: " + dotted(lease.address) + " is promised by " + m.name() + " for " +
                    std::to_string(lease.lifetime) + " s, of which the partner knows " +
                    std::to_string(std::max<int64_t>(known - wall, 0)) + " s");
    }
}

void Checks::by_owner(Machine &m, const Client &c, const failover_binding &before, const Lease &lease) {
    Machine &y = world_.other(m);
    bool reserved = m.server->reservation(c.id) == lease.address;
    bool own = before.status != FAILOVER_FREE || before.owner == FAILOVER_MINE || reserved;
    if (!own && !has_waited(m)) {
        world_.fail("S3: " + dotted(lease.address) + " is given by " + m.name() + ", but is not its own");
        return;
    }
    if (is_excepted() || m.state() == FAILOVER_PARTNER_DOWN || wiped_[y.index] || reserved) {
        return; // in PARTNER-DOWN the waits count, not what the partner has heard of
    }
    failover_state state = y.runs() && y.state() != FAILOVER_STARTUP ? y.state() : y.state_on_disk();
    bool serves = state == FAILOVER_NORMAL || state == FAILOVER_COMMUNICATIONS_INTERRUPTED;
    if (!serves) {
        return; // it has to ask for everything before it does
    }
    failover_binding theirs = known_by(y, lease.address, false);
    bool theirs_free = theirs.status == FAILOVER_FREE && theirs.owner == FAILOVER_MINE;
    bool theirs_bound = theirs.status == FAILOVER_ACTIVE && !failover_same_client(&theirs.client, &c.id) &&
                        theirs.ends > world_.wall_of(y) + skew();
    if (theirs_free || theirs_bound) {
        world_.fail("S3: " + dotted(lease.address) + " is given to a new client by " + m.name() +
                    (theirs_free ? " though its partner counts it as its own"
                                 : " though its partner has it bound to somebody else"));
    }
}

// ---- S4 -------------------------------------------------------------------------------------------------------------

void Checks::on_output(Machine &m, const uint8_t *bytes, size_t size) {
    while (size > 0) {
        failover_message message;
        size_t used = 0;
        if (failover_message_decode(bytes, size, &message, &used) != FAILOVER_DECODED) {
            world_.fail(std::string("what ") + m.name() + " sends can't be decoded");
            return;
        }
        announced(m, message);
        bytes += used;
        size -= used;
    }
}

void Checks::announced(Machine &m, const failover_message &message) {
    if (message.type == FAILOVER_STATE) {
        auto state =
            failover_state(message.server_state == 254 ? uint8_t(FAILOVER_RECOVER_WAIT) : message.server_state);
        if (m.server->states_written_.count({state, message.start_time_of_state}) == 0) {
            world_.fail(std::string("S4: ") + m.name() + " announces " + failover_state_name(state) +
                        ", but has only " + failover_state_name(m.state_on_disk()) + " on disk");
        }
    }
    if (message.type == FAILOVER_BNDUPD) {
        updates_++;
        failover_binding durable = known_by(m, message.assigned_ip_address, true);
        bool free = message.binding_status == FAILOVER_FREE || message.binding_status == FAILOVER_BACKUP;
        bool same = free ? durable.status == FAILOVER_FREE : durable.status == message.binding_status;
        bool promised = !failover_has(&message, FAILOVER_OPT_LEASE_EXPIRATION_TIME) ||
                        durable.ends >= message.lease_expiration_time;
        if (!same || !promised) {
            world_.fail(std::string("S4: ") + m.name() + " tells of " + dotted(message.assigned_ip_address) + " as " +
                        failover_binding_status_name(failover_binding_status(message.binding_status)) +
                        ", which isn't on its disk");
        }
    }
}

// ---- S5 and L3 ------------------------------------------------------------------------------------------------------

bool Checks::has_drained() {
    for (Machine &m : world_.machines()) {
        failover_status status = m.server->status(world_.at(m));
        if (status.updates_queued > 0 || status.updates_unacked > 0) {
            return false;
        }
    }
    return true;
}

void Checks::of_one_mind() {
    Machine &p = world_.machine(0), &s = world_.machine(1);
    for (uint32_t a = p.server->first_; a <= p.server->last_; a++) {
        failover_binding b = p.server->binding(a), c = s.server->binding(a);
        bool shared = b.reserved || (b.owner == FAILOVER_MINE) != (c.owner == FAILOVER_MINE);
        bool same_client = b.status != FAILOVER_ACTIVE || failover_same_client(&b.client, &c.client);
        if (b.status != c.status || (b.status == FAILOVER_FREE && !shared) || !same_client) {
            world_.fail("S5: " + dotted(a) + " is " + failover_binding_status_name(b.status) + ", " +
                        failover_owner_name(b.owner) + " and " + failover_binding_status_name(c.status) + ", " +
                        failover_owner_name(c.owner) + " at the two servers");
        }
        if (b.update_due || c.update_due) {
            world_.fail("L3: the update for " + dotted(a) + " never leaves or is never acknowledged");
        }
    }
    for (Machine &m : world_.machines()) {
        for (auto &[address, row] : m.server->rows_) {
            failover_binding b = m.server->binding(address);
            bool bound = b.status == FAILOVER_ACTIVE && failover_same_client(&row.client, &b.client);
            if (row.ends > world_.wall_of(m) && !bound) {
                world_.fail(std::string("S5: the Kea of ") + m.name() + " has a row for " + dotted(address) +
                            " that is no binding");
            }
        }
    }
}

// As far as dhcpd's formulas have it: max-lease-misbalance, and twice that before a server asks for more.
void Checks::balanced() {
    int own[2] = {0, 0};
    for (Machine &m : world_.machines()) {
        for (uint32_t a = m.server->first_; a <= m.server->last_; a++) {
            failover_binding b = m.server->binding(a);
            own[m.index] += b.status == FAILOVER_FREE && b.owner == FAILOVER_MINE && !b.reserved ? 1 : 0;
        }
    }
    int percent = int(world_.machine(0).server->config_.max_lease_misbalance);
    int threshold = ((own[0] + own[1]) * percent + 50) / 100;
    if (std::abs(own[0] - own[1]) / 2 > std::max(2 * threshold, 1)) {
        world_.fail("S5: they aren't balanced: " + std::to_string(own[0]) + " and " + std::to_string(own[1]));
    }
}

// ---- What is excepted -----------------------------------------------------------------------------------------------

void Checks::except(const std::string &what) {
    if (exceptions.insert(what).second) {
        world_.note("from now on clashes are excepted: " + what);
    }
}

void Checks::on_state(Machine &m) {
    Machine &y = world_.other(m);
    if (m.state() == FAILOVER_PARTNER_DOWN && !alone_[m.index]) {
        alone_[m.index] = true;
        if (wiped_[m.index] || failover_get_record(m.server->core_)->default_owner == FAILOVER_NOBODY) {
            except("partner-down without a record (rule 6)");
        }
    }
    if (m.state() == FAILOVER_NORMAL) {
        wiped_[m.index] = false;
        if (y.state() == FAILOVER_NORMAL) {
            alone_[0] = alone_[1] = false;
        } else if (y.state() == FAILOVER_RECOVER_DONE) {
            alone_[m.index] = false; // the other has everything, and waits for this
        }
    }
}

std::string Checks::memory() const {
    std::string text;
    for (bool mark : {alone_[0], alone_[1], wiped_[0], wiped_[1], is_excepted(), clashes() > 0}) {
        text += mark ? '1' : '0';
    }
    return text + std::to_string(both_serve_since_ < 0 ? -1 : world_.ms - both_serve_since_);
}

// Called for each grant: is the partner on its own at the same time?
void Checks::may_serve(Machine &m) {
    Machine &y = world_.other(m);
    bool linked = m.server->status(world_.at(m)).linked && y.runs() && y.server->status(world_.at(y)).linked;
    if (!alone_[y.index] || (m.state() == FAILOVER_RECOVER_DONE && linked)) {
        both_serve_since_ = -1;
        return;
    }
    if (!y.runs()) {
        except("a start alone while the one that went on in partner-down is down");
        return;
    }
    except("a living partner was declared down");
    if (!linked || y.state() != FAILOVER_PARTNER_DOWN) {
        both_serve_since_ = -1;
        return;
    }
    both_serve_since_ = both_serve_since_ < 0 ? world_.ms : both_serve_since_;
    if (world_.ms - both_serve_since_ > 60000) {
        world_.fail(std::string("L1: ") + m.name() + " serves beside a partner in partner-down, for a minute");
    }
}

void Checks::lost_database(Machine &m, bool leases_too) {
    if (alone_[m.index]) {
        except("the database of the server that went on in partner-down was lost");
    }
    if (wiped_[1 - m.index]) {
        except("both databases were lost");
    }
    wiped_[m.index] = true;
    for (Client &c : clients) {
        c.lost = c.lost || (leases_too && c.from == m.index);
    }
}

void Checks::forced_partner_down(Machine &m, int64_t since) {
    int64_t granted = last_grant_[1 - m.index];
    if (since > 0 && granted >= 0 && world_.ms - granted < (world_.wall_of(m) - since) * 1000) {
        except("partner-down since a time at which the partner still served");
    }
}

} // namespace failover_sim
