// SPDX-License-Identifier: MPL-2.0
//
// service.h - the running hook: its relationships, their database and their connections, and what goes between them and
// Kea's main loop.
#ifndef FAILOVER_SERVICE_H
#define FAILOVER_SERVICE_H

#include "kea_version.h"

#include <atomic>
#include <dhcpsrv/srv_config.h>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "failover.h"
#include "parameters.h"
#include "store.h"
#include "transport.h"

namespace shim {

class Service;

// One relationship: a core and the lock over it, which is held for microseconds and never across a call into Kea.
class Relationship {
public:
    Relationship(Service &service, const RelationshipParameters &parameters);
    ~Relationship();
    Relationship(const Relationship &) = delete;
    Relationship &operator=(const Relationship &) = delete;

    // Calls f(core, now) under the lock. What the core has to log meanwhile is written after it.
    template <typename F>
    auto with(F f) {
        Lines lines;
        std::lock_guard<std::mutex> lock(mutex_);
        TakeLines take{lines_, lines};
        return f(core_, failover_transport_now());
    }
    const std::string &name() const {
        return name_;
    }

    const RelationshipParameters parameters;
    int store = -1;               // its number in the database
    int peer = -1;                // and in the transport
    std::vector<int> connections; // of the transport; main thread only

private:
    friend class Service;
    struct Lines {
        std::vector<std::pair<failover_severity, std::string>> all;
        ~Lines();
    };
    struct TakeLines {
        Lines &from, &to;
        ~TakeLines() {
            std::swap(from.all, to.all);
        }
    };
    std::string name_;
    std::mutex mutex_;
    failover *core_ = nullptr;
    Lines lines_; // under the lock
    Service &service_;
};

// What callouts need to know of a covered subnet.
struct CoveredSubnet {
    Relationship *relationship = nullptr;
    std::set<isc::dhcp::SubnetID> network; // itself and those of its shared network
    std::vector<uint32_t> network_ids;     // the same, for the core
    bool may_have_reservations = false;    // in any of them
    // 1 or 0: does the subnet tell clients by their identifiers? -1: not asked yet. Kea looks through its networks and
    // global parameters for that each time, and knows the new ones only when it is configured.
    mutable std::atomic<int> matches_client_id{-1};
};

class Service {
public:
    explicit Service(const Parameters &parameters);
    ~Service();
    Service(const Service &) = delete;
    Service &operator=(const Service &) = delete;

    // From dhcp4_srv_configured: checks the parameters against the subnets, restores, connects. Throws isc::ConfigError
    // with what stands in the way.
    void start(const isc::dhcp::SrvConfigPtr &config);
    // Notes the end of service, drains the database, closes everything.
    void stop();

    // False before the start, and when it has failed: there are no cores then.
    bool isRunning() const {
        return started_;
    }
    // Null: no relationship covers the subnet.
    const CoveredSubnet *covering(isc::dhcp::SubnetID subnet) const;
    // The start has failed, and this subnet was to be covered, or was covered by the configuration that then stays in
    // force: without failover's rules nobody may be served from it.
    bool isOrphan(isc::dhcp::SubnetID subnet) const;
    const std::vector<std::unique_ptr<Relationship>> &relationships() const {
        return relationships_;
    }
    // Null: there is none of that name.
    Relationship *find(const std::string &name) const;

    // Something has happened outside the main loop's turn: output, deadlines and leases are looked at soon.
    void wake();
    // Reconciles one row that an operator has written past the server.
    void adoptRow(uint32_t address);
    // Stores the plan's record at once and waits for it, 2 s at most. False: nothing has changed.
    bool storeNow(Relationship &relationship, const failover_plan &plan);
    // Sends what is queued and waits shortly until STATE(SHUTDOWN) has left.
    void flushShutdown(Relationship &relationship);
    bool listens(const Relationship &relationship) const;

private:
    void checkSubnets(const isc::dhcp::SrvConfigPtr &config);
    void coverSubnets(const isc::dhcp::SrvConfigPtr &config);
    void warnOfSubnet(const isc::dhcp::Subnet4Ptr &subnet, const Relationship &relationship);
    void openStore();
    void restore(Relationship &relationship, const isc::dhcp::SrvConfigPtr &config);
    void restoreAll(const isc::dhcp::SrvConfigPtr &config);
    void build(Relationship &relationship, const isc::dhcp::SrvConfigPtr &config, const failover_record *record);
    void openTransport();
    void reconcile(Relationship &relationship);

    void pump();
    void pump(Relationship &relationship);
    void sendOutput(Relationship &relationship, int connection, failover_clock now);
    void publish(Relationship &relationship, const failover_status &status);

    static void store(void *context, uint64_t sequence, const failover_record *record, const failover_binding *binding);
    static void logCore(void *context, failover_severity severity, const char *text);

    std::string database_;
    std::vector<std::unique_ptr<Relationship>> relationships_;
    std::map<isc::dhcp::SubnetID, CoveredSubnet> subnets_;
    failover_store *store_ = nullptr;
    failover_transport *transport_ = nullptr;
    bool started_ = false;
    int64_t next_statistics_ = 0; // mono ms

    friend struct TransportEvents;
};

} // namespace shim

#endif
