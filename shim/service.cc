// SPDX-License-Identifier: MPL-2.0
#include "service.h"

#include <algorithm>
#include <cc/dhcp_config_error.h>
#include <cstring>
#include <dhcp/iface_mgr.h>
#include <dhcpsrv/cfg_shared_networks.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/pool.h>
#include <dhcpsrv/shared_network.h>
#include <stats/stats_mgr.h>

#include "kea_leases.h"
#include "log.h"

using namespace isc::dhcp;
using isc::ConfigError;
using isc::asiolink::IOAddress;
using isc::data::ConstElementPtr;
using isc::data::Element;

namespace shim {
namespace {

// The process is told from its successor by a random id in its environment, which outlives a reload of this library.
const char *const PROCESS_VARIABLE = "KEA_FAILOVER_PROCESS";
const int STORE_WAIT_MS = 2000;
const int SHUTDOWN_WAIT_MS = 1000;
const int64_t STATISTICS_MS = 1000;
const size_t LEASE_PAGE = 1000;

std::string processId() {
    const char *known = getenv(PROCESS_VARIABLE);
    if (known != nullptr && strlen(known) == 32) {
        return known;
    }
    char id[33];
    failover_transport_random_id(id);
    setenv(PROCESS_VARIABLE, id, 1);
    return id;
}

std::string quoted(const std::string &name) {
    return "relationship \"" + name + "\"";
}

} // namespace

// ---- Events of the transport, all on the main thread ----------------------------------------------------------------

struct TransportEvents {
    static Service &self(void *context) {
        return *static_cast<Service *>(context);
    }
    static Relationship &of(void *context, int peer) {
        return *self(context).relationships_[size_t(peer)];
    }
    static bool opened(void *context, int peer, int connection, bool dialled) {
        Relationship &r = of(context, peer);
        bool welcome = r.with(
            [&](failover *core, failover_clock now) { return failover_connected(core, connection, dialled, now); });
        if (welcome) {
            r.connections.push_back(connection);
        }
        return welcome;
    }
    static bool accepted(void *context, int peer, int connection) {
        return opened(context, peer, connection, false);
    }
    static bool dialled(void *context, int peer, int connection) {
        return opened(context, peer, connection, true);
    }
    static void dialFailed(void *context, int peer, const char *why) {
        of(context, peer).with([&](failover *core, failover_clock now) { failover_dial_failed(core, why, now); });
    }
    static void received(void *context, int peer, int connection, const uint8_t *data, size_t length) {
        of(context, peer).with([&](failover *core, failover_clock now) {
            failover_received(core, connection, data, length, now);
        });
    }
    static void forget(Relationship &r, int connection) {
        auto &all = r.connections;
        all.erase(std::remove(all.begin(), all.end(), connection), all.end());
    }
    static void closed(void *context, int peer, int connection, const char *why) {
        Relationship &r = of(context, peer);
        forget(r, connection);
        r.with([&](failover *core, failover_clock now) { failover_disconnected(core, connection, why, now); });
    }
    static void woken(void *context) {
        self(context).pump();
    }
    static void log(void *, failover_severity severity, const char *text) {
        shim::log(severity, text);
    }
};

// ---- Relationship ---------------------------------------------------------------------------------------------------

Relationship::Relationship(Service &service, const RelationshipParameters &p)
    : parameters(p), name_(p.core.name), service_(service) {
}

Relationship::~Relationship() {
    failover_destroy(core_);
}

Relationship::Lines::~Lines() {
    for (const auto &[severity, text] : all) {
        log(severity, text.c_str());
    }
}

// ---- Start ----------------------------------------------------------------------------------------------------------

Service::Service(const Parameters &parameters) : database_(parameters.database) {
    for (const RelationshipParameters &p : parameters.relationships) {
        relationships_.push_back(std::make_unique<Relationship>(*this, p));
    }
}

Service::~Service() {
    stop();
}

void Service::store(void *context, uint64_t sequence, const failover_record *record, const failover_binding *binding) {
    auto *r = static_cast<Relationship *>(context);
    failover_store_put(r->service_.store_, r->store, sequence, record, binding);
}

void Service::logCore(void *context, failover_severity severity, const char *text) {
    static_cast<Relationship *>(context)->lines_.all.emplace_back(severity, text);
}

// ---- Subnets --------------------------------------------------------------------------------------------------------

void Service::checkSubnets(const SrvConfigPtr &config) {
    for (const auto &r : relationships_) {
        for (SubnetID id : r->parameters.subnets) {
            if (!config->getCfgSubnets4()->getSubnet(id)) {
                isc_throw(ConfigError, quoted(r->name()) << ": there is no subnet " << id);
            }
        }
    }
}

void Service::warnOfSubnet(const Subnet4Ptr &subnet, const Relationship &relationship) {
    std::string where = quoted(relationship.name()) + ", subnet " + std::to_string(subnet->getID()) + ": ";
    bool caches = !subnet->getCacheThreshold().unspecified() || !subnet->getCacheMaxAge().unspecified();
    if (caches && relationship.parameters.core.mclt < subnet->getValid().get()) {
        LOG_WARN(logger, FAILOVER_CONFIGURATION_RISKY)
            .arg(where +
                 "lease caching with an MCLT below the lease time: renewals answered from the cache don't reach "
                 "the partner, so leases stay at the MCLT for longer");
    }
}

void Service::coverSubnets(const SrvConfigPtr &config) {
    for (const Subnet4Ptr &subnet : *config->getCfgSubnets4()->getAll()) {
        for (const auto &r : relationships_) {
            const auto &wanted = r->parameters.subnets;
            if (wanted.empty() || wanted.count(subnet->getID()) > 0) {
                CoveredSubnet &covered = subnets_[subnet->getID()];
                covered.relationship = r.get();
                warnOfSubnet(subnet, *r);
            }
        }
    }
    for (const auto &r : relationships_) {
        bool idle = std::none_of(subnets_.begin(), subnets_.end(),
                                 [&](const auto &entry) { return entry.second.relationship == r.get(); });
        if (idle) {
            LOG_WARN(logger, FAILOVER_CONFIGURATION_RISKY).arg(quoted(r->name()) + ": covers no subnet");
        }
    }
    for (auto &[id, covered] : subnets_) {
        SharedNetwork4Ptr network;
        config->getCfgSubnets4()->getSubnet(id)->getSharedNetwork(network);
        covered.network = {id};
        if (network) {
            for (const Subnet4Ptr &sibling : *network->getAllSubnets()) {
                covered.network.insert(sibling->getID());
            }
        }
        for (SubnetID sibling : covered.network) {
            auto other = subnets_.find(sibling);
            if (other == subnets_.end() || other->second.relationship != covered.relationship) {
                isc_throw(ConfigError, quoted(covered.relationship->name())
                                           << " covers subnet " << id << " but not subnet " << sibling
                                           << " of the same shared network, and Kea moves clients between them");
            }
            covered.network_ids.push_back(sibling);
            covered.may_have_reservations = covered.may_have_reservations ||
                                            mayHaveReservations(config, config->getCfgSubnets4()->getSubnet(sibling));
        }
    }
}

const CoveredSubnet *Service::covering(SubnetID subnet) const {
    auto found = subnets_.find(subnet);
    return started_ && found != subnets_.end() ? &found->second : nullptr;
}

namespace {

// Do these parameters of a library, which were good once, make a relationship cover the subnet?
bool coveredBy(const ConstElementPtr &parameters, SubnetID subnet) {
    ConstElementPtr relationships;
    if (parameters && parameters->getType() == Element::map) {
        relationships = parameters->get("relationships");
    }
    if (!relationships || relationships->getType() != Element::list) {
        return false; // another library's
    }
    for (const auto &relationship : relationships->listValue()) {
        ConstElementPtr subnets = relationship->get("subnets");
        if (!subnets) {
            return true;
        }
        for (const auto &id : subnets->listValue()) {
            if (id->intValue() == int64_t(subnet)) {
                return true;
            }
        }
    }
    return false;
}

} // namespace

bool Service::isOrphan(SubnetID subnet) const {
    if (started_) {
        return false;
    }
    for (const auto &r : relationships_) {
        if (r->parameters.subnets.empty() || r->parameters.subnets.count(subnet) > 0) {
            return true;
        }
    }
    // When a reconfiguration fails Kea serves on with the one before, in which other subnets may have been covered.
    for (const auto &library : CfgMgr::instance().getCurrentCfg()->getHooksConfig().get()) {
        if (coveredBy(library.second, subnet)) {
            return true;
        }
    }
    return false;
}

Relationship *Service::find(const std::string &name) const {
    for (const auto &r : relationships_) {
        if (r->name() == name) {
            return r.get();
        }
    }
    return nullptr;
}

// ---- Restoring ------------------------------------------------------------------------------------------------------

void Service::openStore() {
    failover_store_result result;
    failover_why why;
    store_ = failover_store_open(database_.c_str(), failover_transport_wake_fd(transport_), &result, &why);
    if (store_ == nullptr) {
        isc_throw(ConfigError, "database: " << why.text);
    }
    if (result == FAILOVER_STORE_PUT_ASIDE) { // that it can't be written the core will say
        LOG_ERROR(logger, FAILOVER_DATABASE).arg(why.text);
    }
    for (const auto &r : relationships_) {
        r->store = failover_store_relationship(store_, r->name().c_str());
        if (r->store < 0) {
            isc_throw(ConfigError, "out of memory");
        }
    }
}

// Declares the pools, with the record or without one, and the reservations in them.
void Service::build(Relationship &r, const SrvConfigPtr &config, const failover_record *record) {
    failover_host host{&r, store, logCore};
    failover_destroy(r.core_);
    r.core_ = failover_create(&r.parameters.core, &host);
    if (r.core_ == nullptr) {
        isc_throw(ConfigError, "out of memory");
    }
    for (const auto &[id, covered] : subnets_) {
        if (covered.relationship != &r) {
            continue;
        }
        for (const PoolPtr &pool : config->getCfgSubnets4()->getSubnet(id)->getPools(Lease::TYPE_V4)) {
            if (!failover_add_pool(r.core_, id, pool->getFirstAddress().toUint32(),
                                   pool->getLastAddress().toUint32())) {
                isc_throw(ConfigError, quoted(r.name()) << ": the pool " << pool->toText()
                                                        << " overlaps another one, or memory is short");
            }
        }
    }
    if (!failover_build(r.core_, record)) {
        isc_throw(ConfigError, quoted(r.name()) << ": not enough memory for its pools");
    }
}

namespace {

struct Restoring {
    failover *core;
    std::vector<uint32_t> strangers; // addresses that are in no pool any more
    size_t count = 0;
};

void restoreBinding(void *context, const failover_binding *binding) {
    auto *restoring = static_cast<Restoring *>(context);
    restoring->count++;
    if (!failover_restore_binding(restoring->core, binding)) {
        restoring->strangers.push_back(binding->address);
    }
}

// A record or a binding that makes no sense: nothing of the file can be trusted.
class Damaged {};

} // namespace

void Service::restore(Relationship &r, const SrvConfigPtr &config) {
    failover_record record;
    failover_store_found found = failover_store_load(store_, r.store, &record);
    if (found == FAILOVER_STORE_DAMAGED) {
        throw Damaged();
    }
    char orphan[FAILOVER_NAME_MAX + 1];
    if (found == FAILOVER_STORE_NOTHING && failover_store_orphan(store_, orphan)) {
        LOG_WARN(logger, FAILOVER_DATABASE)
            .arg(quoted(r.name()) + " is new to the failover database, which knows " + quoted(orphan) +
                 ", that is not configured: if it has been renamed, it begins without a record, in recover");
    }
    build(r, config, found == FAILOVER_STORE_FOUND ? &record : nullptr);
    if (found == FAILOVER_STORE_FOUND) {
        Restoring restoring{r.core_, {}, 0};
        if (!failover_store_load_bindings(store_, r.store, restoreBinding, &restoring)) {
            throw Damaged();
        }
        for (uint32_t address : restoring.strangers) {
            failover_store_forget(store_, r.store, address);
        }
        if (!restoring.strangers.empty()) {
            LOG_WARN(logger, FAILOVER_DATABASE)
                .arg(quoted(r.name()) + ": " + std::to_string(restoring.strangers.size()) +
                     " bindings of addresses that are in no pool any more are dropped");
        }
    }
    for (const auto &[id, covered] : subnets_) {
        if (covered.relationship == &r) {
            for (uint32_t address : reservedAddresses(config, config->getCfgSubnets4()->getSubnet(id))) {
                failover_reserve(r.core_, address);
            }
        }
    }
}

void Service::restoreAll(const SrvConfigPtr &config) {
    try {
        for (const auto &r : relationships_) {
            restore(*r, config);
        }
        return;
    } catch (const Damaged &) {
        failover_why why;
        bool done = failover_store_put_aside(store_, &why);
        LOG_ERROR(logger, FAILOVER_DATABASE).arg(std::string("the failover database is damaged; ") + why.text);
        if (!done) {
            isc_throw(ConfigError, "database: " << why.text);
        }
    }
    for (const auto &r : relationships_) {
        restore(*r, config);
    }
}

void Service::reconcile(Relationship &r) {
    size_t rows = 0;
    for (const auto &[id, covered] : subnets_) {
        if (covered.relationship != &r) {
            continue;
        }
        for (const Lease4Ptr &row : LeaseMgrFactory::instance().getLeases4(id)) {
            failover_lease lease = toLease(*row);
            r.with([&](failover *core, failover_clock now) { failover_adopt(core, &lease, now); });
            rows++;
        }
    }
    r.with([&](failover *core, failover_clock now) { failover_adopted_all(core, now); });
    failover_status status;
    r.with([&](failover *core, failover_clock now) { failover_get_status(core, now, &status); });
    LOG_INFO(logger, FAILOVER_LEASES_RECONCILED).arg(r.name()).arg(rows).arg(status.by_status[FAILOVER_ACTIVE]);
}

void Service::adoptRow(uint32_t address) {
    Lease4Ptr row = LeaseMgrFactory::instance().getLease4(IOAddress(address));
    const CoveredSubnet *covered = row ? covering(row->subnet_id_) : nullptr;
    if (covered != nullptr) {
        failover_lease lease = toLease(*row);
        covered->relationship->with([&](failover *core, failover_clock now) { failover_adopt(core, &lease, now); });
        wake();
    }
}

void Service::openTransport() {
    failover_transport_events events{};
    events.context = this;
    events.accepted = TransportEvents::accepted;
    events.dialled = TransportEvents::dialled;
    events.dial_failed = TransportEvents::dialFailed;
    events.received = TransportEvents::received;
    events.closed = TransportEvents::closed;
    events.woken = TransportEvents::woken;
    events.log = TransportEvents::log;
    transport_ = failover_transport_create(&events);
    if (transport_ == nullptr) {
        isc_throw(ConfigError, "the connection with the partner can't be set up: " << strerror(errno));
    }
}

void Service::start(const SrvConfigPtr &config) {
    checkSubnets(config);
    coverSubnets(config);
    openTransport();
    openStore();
    restoreAll(config);
    std::string process = processId();
    for (const auto &r : relationships_) {
        r->with([&](failover *core, failover_clock now) { failover_start(core, process.c_str(), now); });
        reconcile(*r);
    }
    for (const auto &r : relationships_) {
        r->peer = failover_transport_add_peer(transport_, r->parameters.core.local, r->parameters.core.partner);
        if (r->peer < 0) {
            isc_throw(ConfigError, "out of memory");
        }
    }
    isc::dhcp::IfaceMgr::instance().addExternalSocket(failover_transport_fd(transport_),
                                                      [this](int) { failover_transport_dispatch(transport_); });
    started_ = true;
    wake();
}

void Service::stop() {
    if (started_) {
        started_ = false;
        isc::dhcp::IfaceMgr::instance().deleteExternalSocket(failover_transport_fd(transport_));
        for (const auto &r : relationships_) {
            r->with([](failover *core, failover_clock now) { failover_stop(core, now); });
        }
    }
    failover_store_close(store_);
    store_ = nullptr;
    failover_transport_destroy(transport_);
    transport_ = nullptr;
}

// ---- The turn of the main loop --------------------------------------------------------------------------------------

void Service::wake() {
    failover_transport_wake(transport_);
}

void Service::sendOutput(Relationship &r, int connection, failover_clock) {
    static uint8_t buffer[32 * FAILOVER_MESSAGE_SIZE_MAX];
    while (failover_transport_room(transport_, connection) >= sizeof(buffer)) {
        size_t size = r.with([&](failover *core, failover_clock now) {
            return failover_output(core, connection, buffer, sizeof(buffer), now);
        });
        if (size == 0) {
            return;
        }
        failover_transport_send(transport_, connection, buffer, size);
    }
}

void Service::pump(Relationship &r) {
    failover_why why;
    bool works = failover_store_works(store_, &why);
    uint64_t committed = failover_store_committed(store_, r.store);
    r.with([&](failover *core, failover_clock now) {
        failover_storing(core, works, why.text);
        failover_committed(core, committed, now);
        failover_tick(core, now);
    });
    for (int connection : std::vector<int>(r.connections)) {
        sendOutput(r, connection, failover_transport_now());
    }
    failover_action action;
    while (r.with([&](failover *core, failover_clock) { return failover_next_action(core, &action); })) {
        if (action.type == FAILOVER_ACTION_DIAL) {
            failover_transport_dial(transport_, r.peer);
        } else {
            TransportEvents::forget(r, action.connection);
            failover_transport_close(transport_, action.connection);
        }
    }
    failover_lease_change change;
    while (r.with([&](failover *core, failover_clock) { return failover_next_lease(core, &change); })) {
        uint32_t subnet =
            r.with([&](failover *core, failover_clock) { return failover_subnet_of(core, change.lease.address); });
        applyChange(change, subnet, subnets_[subnet].network);
    }
}

void Service::pump() {
    int64_t deadline = INT64_MAX;
    bool statistics = failover_transport_now().mono >= next_statistics_;
    for (const auto &r : relationships_) {
        pump(*r);
        deadline = std::min(deadline, r->with([](failover *core, failover_clock) { return failover_deadline(core); }));
        if (statistics) {
            failover_status status;
            r->with([&](failover *core, failover_clock now) { failover_get_status(core, now, &status); });
            publish(*r, status);
        }
    }
    if (statistics) {
        next_statistics_ = failover_transport_now().mono + STATISTICS_MS;
    }
    failover_transport_set_deadline(transport_, std::min(deadline, next_statistics_));
}

void Service::publish(Relationship &r, const failover_status &s) {
    auto set = [&](const char *what, uint64_t value) {
        isc::stats::StatsMgr::instance().setValue("failover[" + r.name() + "]." + what, int64_t(value));
    };
    set("state", s.state);
    set("linked", s.linked);
    set("active", s.by_status[FAILOVER_ACTIVE]);
    set("free-mine", s.by_status[FAILOVER_FREE]);
    set("free-partners", s.by_status[FAILOVER_BACKUP]);
    set("waiting", s.by_status[FAILOVER_EXPIRED] + s.by_status[FAILOVER_RELEASED] + s.by_status[FAILOVER_RESET]);
    set("abandoned", s.by_status[FAILOVER_ABANDONED]);
    set("updates-queued", s.updates_queued);
    set("updates-unacked", s.updates_unacked);
    set("updates-sent", s.counters.updates_sent);
    set("updates-received", s.counters.updates_received);
    set("updates-rejected", s.counters.updates_rejected);
    set("rejects-sent", s.counters.rejects_sent);
    set("renewals-refused", s.counters.renewals_refused);
    set("requests-refused", s.counters.requests_refused);
    set("queries-silent", s.counters.queries_silent);
    set("queries-balanced", s.counters.queries_balanced);
    set("exhausted", s.counters.exhausted);
    set("clashes", s.counters.clashes);
}

// ---- Forcing --------------------------------------------------------------------------------------------------------

bool Service::storeNow(Relationship &r, const failover_plan &plan) {
    uint64_t sequence = 0;
    r.with([&](failover *core, failover_clock) {
        sequence = failover_take_sequence(core);
        failover_store_put(store_, r.store, sequence, &plan.record, nullptr);
    });
    if (failover_store_wait(store_, r.store, sequence, STORE_WAIT_MS)) {
        return true;
    }
    // It may still reach the disk; what is in force follows it there.
    r.with([&](failover *core, failover_clock) {
        failover_store_put(store_, r.store, failover_take_sequence(core), failover_get_record(core), nullptr);
    });
    return false;
}

void Service::flushShutdown(Relationship &r) {
    failover_clock end = failover_transport_now();
    end.mono += SHUTDOWN_WAIT_MS;
    while (r.with([](failover *core, failover_clock) { return failover_shutdown_unsent(core); })) {
        uint64_t sequence = r.with([](failover *core, failover_clock) { return failover_sequence(core); });
        int left = int(end.mono - failover_transport_now().mono);
        if (left <= 0 || !failover_store_wait(store_, r.store, sequence, left)) {
            return;
        }
        pump(r);
    }
}

bool Service::listens(const Relationship &r) const {
    return failover_transport_listens(transport_, r.peer);
}

} // namespace shim
