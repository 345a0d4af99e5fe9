// SPDX-License-Identifier: MPL-2.0
#include "scene.h"

using failover_test::POOL_FIRST;

namespace failover_sim {

constexpr size_t SCREEN = 45; // lines

Scene::Scene(const failover_config &config, uint32_t addresses) {
    for (Machine &m : machines_) {
        m.index = int(&m - machines_.data());
        failover_config own = config;
        own.role = m.index == 0 ? FAILOVER_PRIMARY : FAILOVER_SECONDARY;
        m.server = std::make_unique<Server>(own, POOL_FIRST, POOL_FIRST + addresses - 1);
    }
}

failover_clock Scene::at(const Machine &m) const {
    return failover_clock{(BEGINNING + ms + m.wall_ahead) / 1000, ms + m.mono_ahead};
}

int64_t Scene::true_ms(const Machine &m, int64_t wall) const {
    return wall * 1000 - BEGINNING - m.wall_ahead;
}

// ---- Machines -------------------------------------------------------------------------------------------------------

void Scene::start(Machine &m, bool reload) {
    m.process++;
    if (!reload) {
        m.server->process_ = std::string(m.name()) + std::to_string(m.process);
    }
    m.host_up = true;
    m.writing = m.written = m.flushing = false;
    m.wake = INT64_MAX;
    m.seen = FAILOVER_UNKNOWN;
    m.server->log_.clear();
    m.server->start(at(m));
    touch(m);
}

void Scene::reload(Machine &m) {
    failover_stop(m.server->core_, at(m));
    m.server->write(m.server->pending()); // unload drains the writer (rule 13)
    m.writing = false;
    kill(m, Death::PROCESS);
    start(m, true);
}

void Scene::lose_database(Machine &m, bool leases_too) {
    m.server->lose_database();
    if (leases_too) {
        m.server->rows_.clear();
    }
}

failover_plan Scene::force(Machine &m, failover_state state, bool override_guard, int64_t since) {
    failover_force force{state, override_guard, since};
    failover_plan plan{};
    if (m.disk_hangs) {
        plan.result = FAILOVER_ERROR_RESULT; // the command waits for the disk in vain and changes nothing
        snprintf(plan.text, sizeof(plan.text), "the database can't be written");
        return plan;
    }
    if (m.writing || m.server->pending() > 0) {
        m.writing = m.written = false;
        uint64_t sequence = m.server->write(m.server->pending());
        failover_committed(m.server->core_, sequence, at(m));
    }
    failover_force_plan(m.server->core_, &force, at(m), &plan);
    if (plan.result == FAILOVER_OK) {
        m.server->write(m.server->pending());
        uint64_t sequence = failover_take_sequence(m.server->core_);
        m.server->record_ = plan.record;
        m.server->states_written_.insert({plan.record.state, plan.record.stos});
        failover_committed(m.server->core_, sequence, at(m));
        failover_force_apply(m.server->core_, &force, &plan, at(m));
    }
    touch(m);
    return plan;
}

bool Scene::open_end(Machine &m, int id, bool dialled) {
    bool open = failover_connected(m.server->core_, id, dialled, at(m));
    if (open) {
        m.server->connections_.push_back(id);
    }
    return open;
}

// ---- What happened --------------------------------------------------------------------------------------------------

void Scene::notice_state(Machine &m) {
    if (m.state() != m.seen) {
        m.seen = m.state();
        note(std::string(m.name()) + " is in " + failover_state_name(m.seen));
        if (observer != nullptr) {
            observer->on_state(m);
        }
    }
}

std::string Scene::seconds() const {
    char text[32];
    snprintf(text, sizeof(text), "%9.3f", double(ms) / 1000);
    return text;
}

std::string Scene::states() const {
    std::string text;
    for (const Machine &m : machines_) {
        text += std::string(text.empty() ? "" : " ") + m.name() + " " +
                (m.runs()    ? failover_state_name(m.state())
                 : m.host_up ? "dead"
                             : "off");
    }
    return text;
}

void Scene::fail(const std::string &text) {
    if (failure.empty()) {
        failure = text;
        note("FAILED: " + text);
    }
}

void Scene::note(const std::string &text) {
    std::string line = seconds() + " [" + states() + "] " + text;
    if (print_events) {
        fprintf(stderr, "%s\n", line.c_str());
    }
    notes_.push_back(std::move(line));
    if (notes_.size() > SCREEN) {
        notes_.pop_front();
    }
}

std::string Scene::last_events() const {
    std::string all;
    for (const std::string &line : notes_) {
        all += line + "\n";
    }
    return all;
}

} // namespace failover_sim
