// SPDX-License-Identifier: MPL-2.0
#include "world.h"

namespace failover_sim {

World::World(uint64_t seed, const failover_config &config, uint32_t addresses)
    : Scene(config, addresses), random(seed) {
    for (Machine &m : machines_) {
        m.mono_ahead = 1000000 + random.below(1000000);
    }
}

// ---- Time -----------------------------------------------------------------------------------------------------------

void World::after(int64_t delay, std::function<void()> what) {
    events_.push(Event{ms + delay, order_++, std::move(what)});
}

void World::run_until(int64_t end) {
    while (!is_over() && !events_.empty() && events_.top().time <= end) {
        Event e = events_.top();
        events_.pop();
        ms = e.time;
        e.what();
    }
    ms = std::max(ms, end);
}

// ---- Machines -------------------------------------------------------------------------------------------------------

void World::kill(Machine &m, Death death) {
    if (m.writing && random.chance(0.5)) {
        m.server->write(m.group); // it was on disk, and nobody heard of it
    }
    m.clashes += failover_get_counters(m.server->core_)->clashes;
    m.server->kill();
    m.host_up = death == Death::PROCESS;
    for (auto &[id, c] : connections_) {
        if (c.open[size_t(m.index)]) {
            c.open[size_t(m.index)] = false;
            if (m.host_up) {
                push(id, 1 - m.index, {}, "closed by the partner");
            }
        }
    }
}

void World::hang_disk(Machine &m, bool hangs) {
    m.disk_hangs = hangs;
    if (!hangs && m.runs()) {
        if (m.written) {
            end_write(m);
        }
        begin_write(m);
    }
}

void World::touch(Machine &m) {
    failover_tick(m.server->core_, at(m));
    m.server->apply_leases();
    act(m);
    begin_write(m);
    if (!m.flushing) {
        m.flushing = true;
        after(random.below(3), [this, &m, process = m.process] {
            if (runs_still(m, process)) {
                flush(m);
            }
        });
    }
    notice_state(m);
    if (watched != 0) {
        watch(m);
    }
    wake(m);
}

void World::watch(Machine &m) {
    failover_binding b = m.server->binding(watched);
    auto disk = m.server->bindings_.find(watched);
    int64_t wall = at(m).wall;
    std::string text =
        std::string(failover_binding_status_name(b.status)) + ", " + failover_owner_name(b.owner) +
        (b.update_due ? ", due" : "") + (b.update_sent ? ", known" : "") + (b.made_partner_down ? ", made alone" : "") +
        ", client " + std::to_string(int(b.client.hardware[6]) - 1) + (m.server->rows_.count(watched) ? ", row" : "") +
        ", on disk " +
        (disk == m.server->bindings_.end() ? "nothing" : failover_binding_status_name(disk->second.status)) +
        ", true ends";
    for (int64_t time : {b.ends, b.given, b.sent, b.acked, b.received}) {
        text += " " + std::to_string(time == 0 ? 0 : true_ms(m, time) / 1000);
    }
    if (seen_[size_t(m.index)] != text) {
        seen_[size_t(m.index)] = text;
        note(std::string("  ") + m.name() + " (" + std::to_string(wall % 100000) + "): " + text);
    }
}

void World::wake(Machine &m) {
    int64_t deadline = failover_deadline(m.server->core_);
    if (deadline == INT64_MAX) {
        return;
    }
    int64_t time = std::max(deadline - m.mono_ahead, ms + 1);
    if (time == m.wake) {
        return;
    }
    m.wake = time;
    after(time - ms, [this, &m, time] {
        if (m.runs() && m.wake == time) {
            m.wake = INT64_MAX;
            touch(m);
        }
    });
}

void World::begin_write(Machine &m) {
    if (m.writing || m.disk_hangs || m.server->pending() == 0) {
        return;
    }
    if (!m.server->is_awaited() && random.below(4) > 0) {
        return; // it lies until somebody's next record, or for a while
    }
    m.writing = true;
    m.group = m.server->pending();
    after(random.below(30), [this, &m, process = m.process] {
        if (!runs_still(m, process) || !m.writing) {
            return;
        }
        if (m.disk_hangs) {
            m.written = true;
        } else {
            end_write(m);
        }
    });
}

void World::end_write(Machine &m) {
    m.writing = m.written = false;
    uint64_t sequence = m.server->write(std::min(m.group, m.server->pending()));
    if (sequence > 0) {
        failover_committed(m.server->core_, sequence, at(m));
    }
    touch(m);
}

// ---- Network --------------------------------------------------------------------------------------------------------

void World::act(Machine &m) {
    failover_action action;
    while (failover_next_action(m.server->core_, &action)) {
        if (action.type == FAILOVER_ACTION_DIAL) {
            after(random.between(1, 10), [this, &m, process = m.process] {
                if (runs_still(m, process)) {
                    dial(m);
                }
            });
            continue;
        }
        flush(m);
        m.server->forget_connection(action.connection);
        close_end(action.connection, m.index);
    }
}

void World::dial(Machine &m) {
    Machine &y = other(m);
    bool reaches = !is_cut() && y.host_up;
    if (!reaches || !y.runs()) {
        after(reaches ? 1 : random.between(1000, 20000), [this, &m, reaches, process = m.process] {
            if (runs_still(m, process)) {
                failover_dial_failed(m.server->core_, reaches ? "Connection refused" : "timed out", at(m));
                touch(m);
            }
        });
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
        close_end(id, y.index);
    }
    touch(m);
}

void World::flush(Machine &m) {
    m.flushing = false;
    uint8_t buffer[4 * FAILOVER_MESSAGE_SIZE_MAX];
    for (int id : std::vector<int>(m.server->connections_)) {
        size_t size = failover_output(m.server->core_, id, buffer, sizeof(buffer), at(m));
        if (size == 0) {
            continue;
        }
        if (observer != nullptr) {
            observer->on_output(m, buffer, size);
        }
        size_t half = random.chance(0.1) ? 1 + random.below(uint32_t(size)) : size;
        push(id, 1 - m.index, std::vector<uint8_t>(buffer, buffer + half), nullptr);
        if (half < size) {
            push(id, 1 - m.index, std::vector<uint8_t>(buffer + half, buffer + size), nullptr);
        }
        touch(m); // more may be left
    }
}

void World::push(int id, int to, std::vector<uint8_t> bytes, const char *why) {
    auto c = connections_.find(id);
    if (c == connections_.end()) {
        return;
    }
    Direction &d = c->second.to[size_t(to)];
    d.last = std::max(d.last, ms + random.between(delay_min, delay_max));
    d.on_its_way.push_back(Chunk{d.last, std::move(bytes), why});
    move(id, to);
}

void World::move(int id, int to) {
    Direction &d = connections_[id].to[size_t(to)];
    if (d.moving || d.on_its_way.empty() || cut_[size_t(to)]) {
        return;
    }
    d.moving = true;
    after(std::max<int64_t>(d.on_its_way.front().time - ms, 0), [this, id, to] { deliver(id, to); });
}

void World::deliver(int id, int to) {
    auto c = connections_.find(id);
    if (c == connections_.end()) {
        return;
    }
    Direction &d = c->second.to[size_t(to)];
    d.moving = false;
    if (d.on_its_way.empty() || cut_[size_t(to)]) {
        return;
    }
    Chunk chunk = std::move(d.on_its_way.front());
    d.on_its_way.pop_front();
    arrive(id, to, chunk);
    if (connections_.count(id) > 0) {
        move(id, to);
    }
}

void World::arrive(int id, int to, const Chunk &chunk) {
    Machine &m = machine(to);
    Connection &c = connections_[id];
    if (!c.open[size_t(to)]) {
        if (m.host_up && !chunk.bytes.empty() && c.open[size_t(1 - to)]) {
            push(id, 1 - to, {}, "Connection reset by peer");
        }
        return;
    }
    if (!chunk.bytes.empty()) {
        failover_received(m.server->core_, id, chunk.bytes.data(), chunk.bytes.size(), at(m));
        touch(m);
        return;
    }
    m.server->forget_connection(id);
    c.open[size_t(to)] = false;
    if (!c.open[0] && !c.open[1]) {
        connections_.erase(id);
    }
    failover_disconnected(m.server->core_, id, chunk.why, at(m));
    touch(m);
}

void World::close_end(int id, int end) {
    auto c = connections_.find(id);
    if (c == connections_.end()) {
        return;
    }
    c->second.open[size_t(end)] = false;
    if (c->second.open[size_t(1 - end)]) {
        push(id, 1 - end, {}, "closed by the partner");
    } else {
        connections_.erase(c);
    }
}

void World::mend() {
    cut(false, false);
    reset_connections();
    delay_max = 20;
    for (Machine &m : machines_) {
        hang_disk(m, false);
    }
}

void World::cut(bool to_primary, bool to_secondary) {
    cut_ = {{to_primary, to_secondary}};
    for (auto &[id, c] : connections_) {
        for (int to = 0; to < 2; to++) {
            move(id, to);
        }
    }
}

void World::reset_connections() {
    for (auto &[id, c] : connections_) {
        for (int to = 0; to < 2; to++) {
            Direction &d = c.to[size_t(to)];
            size_t whole = random.below(uint32_t(d.on_its_way.size()) + 1);
            d.on_its_way.resize(std::min(d.on_its_way.size(), whole + 1));
            if (whole < d.on_its_way.size()) {
                auto &bytes = d.on_its_way.back().bytes;
                bytes.resize(bytes.empty() ? 0 : random.below(uint32_t(bytes.size())));
                if (bytes.empty()) {
                    d.on_its_way.pop_back();
                }
            }
            push(id, to, {}, "Connection reset by peer");
        }
    }
}

} // namespace failover_sim
