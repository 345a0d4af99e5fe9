// SPDX-License-Identifier: MPL-2.0
#include "digest.h"

#include <algorithm>

#include "core.h"

namespace failover_sim {

Digest::Digest(Scene &world, Checks &checks, int64_t long_over)
    : world_(world), checks_(checks), long_over_(long_over), labels_(checks.clients.size(), -1) {
    items_.reserve(512);
}

// ---- What is the same in other worlds ---------------------------------------------------------------------------------

void Digest::true_time(int64_t ms) {
    bool old = ms < world_.ms - long_over_;
    items_.push_back(Item{old ? ms : ms - world_.ms, old});
}

void Digest::wall(const Machine &m, int64_t t) {
    if (t == 0 || t == FAILOVER_TIME_INFINITE) {
        number(t);
        return;
    }
    true_time(world_.true_ms(m, t));
}

void Digest::mono(const Machine &m, int64_t t) {
    if (t == 0 || t == INT64_MAX || t == INT64_MIN) {
        number(t);
        return;
    }
    true_time(t - m.mono_ahead);
}

void Digest::client(const uint8_t *hardware, size_t length) {
    size_t n = length == 7 ? size_t(hardware[6]) - 1 : labels_.size();
    if (n >= labels_.size()) {
        number(-1);
        return;
    }
    if (labels_[n] < 0) {
        labels_[n] = next_label_++;
    }
    number(labels_[n]);
}

void Digest::xid(const Machine &owner, uint32_t xid) {
    auto label = xids_.emplace(std::make_pair(owner.index, xid), int(xids_.size())).first;
    number(xid == 0 ? -1 : label->second);
}

void Digest::text(const std::string &t) {
    for (char c : t) {
        number(c);
    }
    number(int64_t(t.size()));
}

// ---- Machines ---------------------------------------------------------------------------------------------------------

void Digest::record(const Machine &m, const failover_record &r) {
    for (int64_t n :
         {int64_t(r.state), int64_t(r.partner_state), int64_t(r.mclt), int64_t(r.mclt_before), int64_t(r.skew),
          int64_t(r.acting_primary), int64_t(r.link_held_down), int64_t(r.default_owner), int64_t(r.hba_known)}) {
        number(n);
    }
    for (int64_t t : {r.stos, r.mclt_taken, r.acting_since, r.last_served, r.last_granted, r.last_heard}) {
        wall(m, t);
    }
    wall(world_.other(const_cast<Machine &>(m)), r.partner_stos);
    number(r.process == m.server->process_ ? 1 : 0);
}

void Digest::binding(const Machine &m, const failover_record &r, const failover_binding &b) {
    for (int64_t n : {int64_t(b.status), int64_t(b.owner), int64_t(b.ip_flags), int64_t(b.update_due),
                      int64_t(b.update_sent), int64_t(b.state_sent), int64_t(b.granted_here),
                      int64_t(b.made_partner_down), int64_t(b.reserved), int64_t(b.extended_epoch == r.epoch)}) {
        number(n);
    }
    for (int64_t t : {b.starts, b.ends, b.given, b.cltt, b.sent, b.acked, b.received}) {
        wall(m, t);
    }
    client(b.client.hardware, b.client.hardware_length);
}

void Digest::disk(Machine &m) {
    static const failover_record none{};
    Server &server = *m.server;
    number(server.record_ ? 1 : 0);
    record(m, server.record_ ? *server.record_ : none);
    for (auto &[address, b] : server.bindings_) {
        number(address);
        binding(m, server.record_ ? *server.record_ : none, b);
    }
    for (auto &[address, row] : server.rows_) {
        number(address);
        client(row.client.hardware, row.client.hardware_length);
        wall(m, row.cltt);
        wall(m, row.ends);
    }
}

// They are written all at once: only the last of each counts.
void Digest::waiting(Machine &m) {
    std::map<uint32_t, const failover_binding *> bindings;
    const failover_record *last = nullptr;
    for (auto &item : m.server->pending_) {
        if (item.relationship) {
            last = &*item.relationship;
        } else {
            bindings[item.binding->address] = &*item.binding;
        }
    }
    const failover_record &r = last != nullptr ? *last : *failover_get_record(m.server->core_);
    number(last != nullptr ? 1 : 0);
    record(m, r);
    for (auto &[address, b] : bindings) {
        number(address);
        binding(m, r, *b);
    }
}

void Digest::machine(Machine &m) {
    number(m.runs() ? 1 : 0);
    number(m.disk_hangs ? 1 : 0);
    disk(m);
    if (m.runs()) {
        waiting(m);
        core(m);
        peer(m);
    }
}

void Digest::core(Machine &m) {
    failover *f = m.server->core_;
    number(f->state);
    number(f->restored);
    number(f->first_contact);
    number(f->lag);
    number(int64_t(f->unacked));
    number(f->state_stored > f->committed);
    record(m, f->record);
    wall(m, f->recover_served);
    for (int64_t t : {f->entered, f->startup_over, f->shutdown_close, f->next_served, f->next_balance, f->next_retry,
                      f->next_reminder, f->lag_until}) {
        mono(m, t);
    }
    for (uint32_t a = m.server->first_; a <= m.server->last_; a++) {
        const entry *e = table_find(&f->table, a);
        binding(m, f->record, m.server->binding(a));
        wall(m, e->in_flight);
        xid(m, e->update_xid);
        for (bool mark :
             {bool(e->changed_in_flight), bool(e->requested), bool(e->unwanted), e->stored > f->committed}) {
            number(mark);
        }
    }
}

void Digest::peer(Machine &m) {
    failover *f = m.server->core_;
    const struct peer &p = f->peer;
    for (const connection &c : p.connections) {
        if (c.phase != CONNECTION_UNUSED) {
            number(c.phase);
            number(c.dialled);
            number(p.link == &c);
            mono(m, c.opened);
        }
    }
    for (bool mark : {p.state_known, p.announced, p.withdrawn, p.dialling, p.dial_now, p.partner_is_ours,
                      p.partner_has_no_record, p.partner_forgot, p.wire_primary}) {
        number(mark);
    }
    for (int64_t t : {p.redial, p.last_sent, p.last_received, p.lost}) {
        mono(m, t);
    }
    const requests &r = f->requests;
    for (bool mark : {r.asked, r.asked_all, r.ask_pending, r.partner_asked, r.answering, r.closing}) {
        number(mark);
    }
    number(r.outstanding);
    xid(m, r.asked ? r.asked_xid : 0);
    xid(world_.other(m), r.answering ? r.answer_xid : 0);
    for (size_t i = 0; i < p.out_count; i++) {
        const outgoing &o = p.out[(p.out_head + i) % p.out_size];
        fields(m, o.message);
        number(o.barrier > f->committed);
    }
}

// ---- Messages ---------------------------------------------------------------------------------------------------------

void Digest::message(Machine &from, const std::vector<uint8_t> &bytes) {
    failover_message decoded;
    size_t used = 0;
    if (failover_message_decode(bytes.data(), bytes.size(), &decoded, &used) == FAILOVER_DECODED) {
        fields(from, decoded);
    }
    number(int64_t(bytes.size()));
}

void Digest::fields(Machine &from, const failover_message &o) {
    bool reply = o.type == FAILOVER_POOLRESP || o.type == FAILOVER_BNDACK || o.type == FAILOVER_CONNECTACK ||
                 o.type == FAILOVER_UPDDONE;
    xid(reply ? world_.other(from) : from, o.xid);
    for (int64_t n :
         {int64_t(o.type), int64_t(o.present), int64_t(o.addresses_transferred), int64_t(o.assigned_ip_address),
          int64_t(o.binding_status), int64_t(o.reject_reason), int64_t(o.server_flags), int64_t(o.server_state),
          int64_t(o.ip_flags), int64_t(o.mclt), int64_t(o.receive_timer), int64_t(o.max_unacked_bndupd)}) {
        number(n);
    }
    for (int64_t t : {int64_t(o.time), o.client_last_transaction_time, o.lease_expiration_time,
                      o.potential_expiration_time, o.start_time_of_state}) {
        wall(from, t);
    }
    client(o.client_hardware_address.data, o.client_hardware_address.length);
}

// ---- Clients ----------------------------------------------------------------------------------------------------------

void Digest::clients() {
    std::vector<std::array<int64_t, 5>> all;
    for (const Client &c : checks_.clients) {
        int64_t left = c.address == 0 ? 0 : std::max<int64_t>(c.until - world_.ms, -1);
        int64_t label = labels_[c.number] < 0 ? INT64_MAX : labels_[c.number];
        all.push_back({{label, int64_t(c.address), c.address == 0 ? 0 : c.from, left, c.lost}});
    }
    std::sort(all.begin(), all.end());
    for (auto &c : all) {
        for (int64_t n : c) {
            number(n);
        }
    }
    text(checks_.memory());
}

uint64_t Digest::value() {
    std::vector<int64_t> old;
    for (const Item &item : items_) {
        if (item.is_old_time) {
            old.push_back(item.n);
        }
    }
    std::sort(old.begin(), old.end());
    old.erase(std::unique(old.begin(), old.end()), old.end());
    uint64_t hash = 0x9e3779b97f4a7c15;
    for (const Item &item : items_) {
        int64_t n = item.is_old_time ? INT64_MIN / 2 + (std::lower_bound(old.begin(), old.end(), item.n) - old.begin())
                                     : item.n;
        hash = (hash ^ uint64_t(n)) * 0xff51afd7ed558ccd;
        hash ^= hash >> 32;
    }
    return hash;
}

} // namespace failover_sim
