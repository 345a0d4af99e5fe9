// SPDX-License-Identifier: MPL-2.0
//
// A Kea server around the shim, in one process: leases in memory, subnets, reservations, packets, the
// callouts as Kea's hook manager calls them, and Kea's own allocation engine. ServiceTest adds the running
// hook: what its database holds is said before the start, and a second core over real loopback TCP is the
// partner where one is wanted.
#ifndef FAILOVER_TESTS_SHIM_FIXTURE_H
#define FAILOVER_TESTS_SHIM_FIXTURE_H

#include "kea_version.h"

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <cc/command_interpreter.h>
#include <cc/data.h>
#include <chrono>
#include <cstdlib>
#include <dhcp/dhcp4.h>
#include <dhcp/iface_mgr.h>
#include <dhcp/libdhcp++.h>
#include <dhcp/option_custom.h>
#include <dhcp/pkt4.h>
#include <dhcpsrv/alloc_engine.h>
#include <dhcpsrv/cfg_hosts.h>
#include <dhcpsrv/cfg_shared_networks.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/host_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/pool.h>
#include <dhcpsrv/shared_network.h>
#include <exception>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <hooks/hooks_manager.h>
#include <hooks/server_hooks.h>
#include <memory>
#include <poll.h>
#include <stats/stats_mgr.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "callouts.h"
#include "commands.h"
#include "failover.h"
#include "kea_leases.h"
#include "parameters.h"
#include "service.h"
#include "store.h"
#include "transport.h"

namespace shim_test {

using namespace isc::dhcp;
using isc::asiolink::IOAddress;
using isc::data::ConstElementPtr;
using isc::data::Element;
using isc::data::ElementPtr;
using isc::hooks::CalloutHandle;
using isc::hooks::CalloutHandlePtr;
using isc::hooks::HooksManager;
using isc::stats::StatsMgr;
using Bytes = std::vector<uint8_t>;

inline uint32_t ip(const std::string &text) {
    return IOAddress(text).toUint32();
}

// ---- Clients and their packets --------------------------------------------------------------------------------------

struct Client {
    Bytes mac;
    Bytes id;      // option 61; empty: none is sent
    Bytes circuit; // option 82, circuit-id; empty: none

    HWAddrPtr hwaddr() const {
        return HWAddrPtr(new HWAddr(mac, HTYPE_ETHER));
    }
    ClientIdPtr clientId() const {
        return id.empty() ? ClientIdPtr() : ClientIdPtr(new ClientId(id));
    }
    failover_client core() const {
        return shim::toClient(hwaddr(), clientId());
    }
};

inline Client client(unsigned n) {
    return Client{{2, 0, 0, 0, uint8_t(n >> 8), uint8_t(n)}, {}, {}};
}

inline Client clientWithId(unsigned n) {
    Client c = client(n);
    c.id = {1, 2, 0, 0, 0, uint8_t(n >> 8), uint8_t(n)};
    return c;
}

inline OptionPtr addressOption(uint16_t code, uint32_t address) {
    OptionDefinitionPtr definition = LibDHCP::getOptionDef(DHCP4_OPTION_SPACE, code);
    OptionCustomPtr option(new OptionCustom(*definition, Option::V4));
    option->writeAddress(IOAddress(address));
    return option;
}

// A packet of a client's in the making; query() gives it as it comes from the wire.
class Packet {
public:
    Packet(uint8_t type, const Client &client) : packet_(new Pkt4(type, nextXid())) {
        packet_->setHWAddr(client.hwaddr());
        if (!client.id.empty()) {
            packet_->addOption(OptionPtr(new Option(Option::V4, DHO_DHCP_CLIENT_IDENTIFIER, client.id)));
        }
        if (!client.circuit.empty()) {
            OptionPtr relay(new Option(Option::V4, DHO_DHCP_AGENT_OPTIONS));
            relay->addOption(OptionPtr(new Option(Option::V4, RAI_OPTION_AGENT_CIRCUIT_ID, client.circuit)));
            packet_->addOption(relay);
        }
    }
    // Option 50.
    Packet &wants(uint32_t address) {
        packet_->addOption(addressOption(DHO_DHCP_REQUESTED_ADDRESS, address));
        return *this;
    }
    // Option 54, as Kea lets it through: it is this server's.
    Packet &selects() {
        packet_->addOption(addressOption(DHO_DHCP_SERVER_IDENTIFIER, ip("10.64.10.1")));
        return *this;
    }
    Packet &from(uint32_t address) {
        packet_->setCiaddr(IOAddress(address));
        return *this;
    }
    Packet &secs(uint16_t seconds) {
        packet_->setSecs(seconds);
        return *this;
    }
    Packet &xid(uint32_t xid) {
        packet_->setTransid(xid);
        return *this;
    }
    Packet &inClass(const std::string &name) {
        classes_.push_back(name);
        return *this;
    }
    Pkt4Ptr query() const {
        packet_->pack();
        const auto &buffer = packet_->getBuffer();
        Pkt4Ptr query(new Pkt4(static_cast<const uint8_t *>(buffer.getData()), buffer.getLength()));
        query->unpack();
        for (const std::string &name : classes_) {
            query->addClass(name);
        }
        return query;
    }

private:
    static uint32_t nextXid() {
        static std::atomic<uint32_t> xid{1000};
        return ++xid;
    }
    Pkt4Ptr packet_;
    std::vector<std::string> classes_;
};

inline Packet discover(const Client &c) {
    return Packet(DHCPDISCOVER, c);
}
// The four ways to REQUEST.
inline Packet selecting(const Client &c, uint32_t address) {
    return Packet(DHCPREQUEST, c).wants(address).selects();
}
inline Packet initReboot(const Client &c, uint32_t address) {
    return Packet(DHCPREQUEST, c).wants(address);
}
inline Packet renewing(const Client &c, uint32_t address) { // and rebinding
    return Packet(DHCPREQUEST, c).from(address);
}

// What a client hears.
struct Answer {
    enum Kind { NOTHING, OFFER, ACK, NAK } kind = NOTHING;
    uint32_t address = 0;
    uint32_t lifetime = 0;
};

inline std::ostream &operator<<(std::ostream &out, Answer::Kind kind) {
    static const char *const names[] = {"NOTHING", "OFFER", "ACK", "NAK"};
    return out << names[kind];
}

// ---- Kea ------------------------------------------------------------------------------------------------------------

class KeaTest : public ::testing::Test {
protected:
    KeaTest() {
        CfgMgr::instance().clear();
        CfgMgr::instance().setFamily(AF_INET);
        LeaseMgrFactory::destroy();
        LeaseMgrFactory::create("type=memfile universe=4 persist=false");
        HostMgr::create();
        StatsMgr::instance().removeAll();
    }
    ~KeaTest() override {
        LeaseMgrFactory::destroy();
        CfgMgr::instance().clear();
        StatsMgr::instance().removeAll();
    }

    // ---- Configuration, until commit() ----------------------------------------------------------------------------------
    SrvConfigPtr staging() {
        return CfgMgr::instance().getStagingCfg();
    }
    Subnet4Ptr addSubnet(SubnetID id, const std::string &prefix, const std::string &first, const std::string &last,
                         uint32_t valid = 3600) {
        Subnet4Ptr subnet = Subnet4::create(IOAddress(prefix), 24, 0, 0, valid, id);
        subnet->addPool(PoolPtr(new Pool4(IOAddress(first), IOAddress(last))));
        subnet->setAuthoritative(true);
        subnet->setReservationsInSubnet(true);
        subnet->setReservationsGlobal(false);
        staging()->getCfgSubnets4()->add(subnet);
        return subnet;
    }
    void shareNetwork(const std::vector<Subnet4Ptr> &subnets) {
        SharedNetwork4Ptr network = SharedNetwork4::create("net");
        for (const Subnet4Ptr &subnet : subnets) {
            network->add(subnet);
        }
        staging()->getCfgSharedNetworks4()->add(network);
    }
    void reserve(SubnetID subnet, Host::IdentifierType type, const Bytes &identifier, uint32_t address) {
        HostPtr host(new Host(identifier.data(), identifier.size(), type, subnet, SUBNET_ID_UNUSED, IOAddress(address),
                              address == 0 ? "name-only" : ""));
        staging()->getCfgHosts()->add(host);
    }
    void reserve(SubnetID subnet, const Client &c, uint32_t address) {
        reserve(subnet, Host::IDENT_HWADDR, c.mac, address);
    }

    // ---- Leases ---------------------------------------------------------------------------------------------------------
    // A row given `age` seconds ago, counted as Kea counts.
    Lease4Ptr addRow(SubnetID subnet, const Client &c, uint32_t address, uint32_t lifetime = 3600, int64_t age = 0,
                     uint32_t state = Lease::STATE_DEFAULT) {
        Lease4Ptr lease(
            new Lease4(IOAddress(address), c.hwaddr(), c.clientId(), lifetime, time(nullptr) - age, subnet));
        lease->state_ = state;
        if (state == Lease::STATE_DECLINED) {
            lease->hwaddr_.reset(new HWAddr());
            lease->client_id_.reset();
            addStatistic(subnet, "declined-addresses");
            StatsMgr::instance().addValue("declined-addresses", int64_t(1));
        }
        if (state != Lease::STATE_EXPIRED_RECLAIMED) {
            addStatistic(subnet, "assigned-addresses");
        }
        EXPECT_TRUE(LeaseMgrFactory::instance().addLease(lease));
        return row(address);
    }
    Lease4Ptr row(uint32_t address) {
        return LeaseMgrFactory::instance().getLease4(IOAddress(address));
    }
    void addStatistic(SubnetID subnet, const char *name, int64_t value = 1) {
        StatsMgr::instance().addValue(StatsMgr::generateName("subnet", subnet, name), value);
    }
    int64_t statistic(const std::string &name) {
        auto found = StatsMgr::instance().getObservation(name);
        return found ? found->getInteger().first : 0;
    }
    int64_t assigned(SubnetID subnet = 1) {
        return statistic(StatsMgr::generateName("subnet", subnet, "assigned-addresses"));
    }
    int64_t declined(SubnetID subnet = 1) {
        return statistic(StatsMgr::generateName("subnet", subnet, "declined-addresses"));
    }
};

inline int hookIndex(const std::string &name) {
    int index = isc::hooks::ServerHooks::getServerHooks().findIndex(name);
    return index >= 0 ? index : HooksManager::registerHook(name);
}

// Calls a hook point, with whatever is hooked to it.
inline void callHook(const std::string &name, CalloutHandle &handle) {
    int index = hookIndex(name);
    handle.setStatus(CalloutHandle::NEXT_STEP_CONTINUE);
    if (HooksManager::calloutsPresent(index)) {
        HooksManager::callCallouts(index, handle);
    }
}

// Kea's DHCPv4 server between the socket and the allocation engine, as far as hooks and leases go.
class Kea {
public:
    // The subnet that Kea has found for a query.
    explicit Kea(const Subnet4Ptr &subnet) : subnet_(subnet) {
    }

    Answer serve(const Pkt4Ptr &query) {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        Subnet4Ptr subnet = selectSubnet(query, handle);
        if (dropped_) {
            return {};
        }
        if (query->getType() == DHCPRELEASE) {
            release(query, handle);
            return {};
        }
        if (!subnet) {
            return query->getType() == DHCPREQUEST ? Answer{Answer::NAK, 0, 0} : Answer{};
        }
        return allocate(query, subnet, handle);
    }

private:
    Subnet4Ptr subnet_;
    bool dropped_ = false;

    Subnet4Ptr selectSubnet(const Pkt4Ptr &query, const CalloutHandlePtr &handle) {
        dropped_ = false;
        if (query->getType() == DHCPRELEASE) {
            return subnet_;
        }
        handle->setArgument("query4", query);
        handle->setArgument("subnet4", shim::Subnet4Argument(subnet_));
        handle->setArgument("subnet4collection", CfgMgr::instance().getCurrentCfg()->getCfgSubnets4()->getAll());
        callHook("subnet4_select", *handle);
        dropped_ = handle->getStatus() == CalloutHandle::NEXT_STEP_DROP;
        shim::Subnet4Argument subnet;
        if (handle->getStatus() != CalloutHandle::NEXT_STEP_SKIP) {
            handle->getArgument("subnet4", subnet);
        }
        handle->deleteAllArguments();
        return boost::const_pointer_cast<Subnet4>(isc::dhcp::ConstSubnet4Ptr(subnet));
    }

    // A client that starts again with the address it had: Kea answers only if it is known, or the server
    // authoritative.
    static bool isSilentAtReboot(const Pkt4Ptr &query, const Subnet4Ptr &subnet, const ClientIdPtr &id) {
        bool reboots = query->getType() == DHCPREQUEST && !query->getOption(DHO_DHCP_SERVER_IDENTIFIER) &&
                       query->getOption(DHO_DHCP_REQUESTED_ADDRESS);
        bool known = !shim::rowsOf(query->getHWAddr(), id, {subnet->getID()}).empty();
        return reboots && !known && !subnet->getAuthoritative();
    }
    static bool isUnknownAtReboot(const Pkt4Ptr &query, const Subnet4Ptr &subnet, const ClientIdPtr &id) {
        bool reboots = query->getType() == DHCPREQUEST && !query->getOption(DHO_DHCP_SERVER_IDENTIFIER) &&
                       query->getOption(DHO_DHCP_REQUESTED_ADDRESS);
        return reboots && shim::rowsOf(query->getHWAddr(), id, {subnet->getID()}).empty();
    }

    static AllocEngine &engine() {
#if KEA_HOOKS_VERSION < 20303
        static AllocEngine engine(AllocEngine::ALLOC_ITERATIVE, 0, false);
#else
        static AllocEngine engine(0);
#endif
        return engine;
    }

    Answer allocate(const Pkt4Ptr &query, const Subnet4Ptr &subnet, const CalloutHandlePtr &handle) {
        bool fake = query->getType() == DHCPDISCOVER;
        ClientIdPtr id = shim::clientIdOf(query);
        if (isSilentAtReboot(query, subnet, id)) {
            return {};
        }
        if (isUnknownAtReboot(query, subnet, id)) {
            return {Answer::NAK, 0, 0};
        }
        auto option = boost::dynamic_pointer_cast<OptionCustom>(query->getOption(DHO_DHCP_REQUESTED_ADDRESS));
        IOAddress hint = option ? option->readAddress() : query->getCiaddr();
        AllocEngine::ClientContext4 context(subnet, id, query->getHWAddr(), hint, false, false, "", fake);
        context.query_ = query;
        context.callout_handle_ = handle;
        context.addHostIdentifier(Host::IDENT_HWADDR, query->getHWAddr()->hwaddr_);
        AllocEngine::findReservation(context);
        Lease4Ptr lease = engine().allocateLease4(context);
        bool offerable = lease && !lease->addr_.isV4Zero();
        if (fake) {
            return offerable ? Answer{Answer::OFFER, lease->addr_.toUint32(), lease->valid_lft_} : Answer{};
        }
        if (!commit(query, handle, context)) {
            return {};
        }
        if (lease) {
            uint32_t left = lease->reuseable_valid_lft_;
            return {Answer::ACK, lease->addr_.toUint32(), left > 0 ? left : lease->valid_lft_};
        }
        bool silent = context.unknown_requested_addr_ && !subnet->inPool(Lease::TYPE_V4, hint);
        return silent ? Answer{} : Answer{Answer::NAK, 0, 0};
    }

    static bool commit(const Pkt4Ptr &query, const CalloutHandlePtr &handle, AllocEngine::ClientContext4 &context) {
        Lease4CollectionPtr leases(new Lease4Collection()), deleted(new Lease4Collection());
        Lease4Ptr given = context.new_lease_, old = context.old_lease_;
        if (given && given->reuseable_valid_lft_ == 0) {
            leases->push_back(given);
        }
        if (old && (!given || given->addr_ != old->addr_)) {
            deleted->push_back(old);
        }
        return commit(query, handle, leases, deleted);
    }
    static bool commit(const Pkt4Ptr &query, const CalloutHandlePtr &handle, const Lease4CollectionPtr &leases,
                       const Lease4CollectionPtr &deleted) {
        handle->setArgument("query4", query);
        handle->setArgument("leases4", leases);
        handle->setArgument("deleted_leases4", deleted);
        callHook("leases4_committed", *handle);
        handle->deleteAllArguments();
        return handle->getStatus() != CalloutHandle::NEXT_STEP_DROP;
    }

    static void release(const Pkt4Ptr &query, const CalloutHandlePtr &handle) {
        Lease4Ptr lease = LeaseMgrFactory::instance().getLease4(query->getCiaddr());
        if (!lease || !lease->belongsToClient(query->getHWAddr(), shim::clientIdOf(query))) {
            return;
        }
        handle->setArgument("query4", query);
        handle->setArgument("lease4", lease);
        callHook("lease4_release", *handle);
        bool refused = handle->getStatus() != CalloutHandle::NEXT_STEP_CONTINUE;
        handle->deleteAllArguments();
        Lease4CollectionPtr deleted(new Lease4Collection());
        if (!refused && LeaseMgrFactory::instance().deleteLease(lease)) {
            StatsMgr::instance().addValue(StatsMgr::generateName("subnet", lease->subnet_id_, "assigned-addresses"),
                                          int64_t(-1));
            deleted->push_back(lease);
        }
        commit(query, handle, Lease4CollectionPtr(new Lease4Collection()), deleted);
    }
};

// ---- The partner ----------------------------------------------------------------------------------------------------

// A second core behind a transport of its own, whose disk takes everything at once.
class Partner {
public:
    Partner(const failover_config &config, const std::vector<std::pair<uint32_t, uint32_t>> &pools,
            const failover_record &record, const std::vector<failover_binding> &bindings, const std::string &process) {
        failover_host host{this, store, log};
        core_ = failover_create(&config, &host);
        uint32_t subnet = 1;
        for (const auto &[first, last] : pools) {
            EXPECT_TRUE(failover_add_pool(core_, subnet++, first, last));
        }
        EXPECT_TRUE(failover_build(core_, &record));
        for (const failover_binding &binding : bindings) {
            EXPECT_TRUE(failover_restore_binding(core_, &binding));
        }
        failover_start(core_, process.c_str(), failover_transport_now());
        failover_adopted_all(core_, failover_transport_now());
        failover_transport_events events{this, accepted, dialled, dialFailed, received, closed, woken, transportLog};
        transport_ = failover_transport_create(&events);
        EXPECT_EQ(0, failover_transport_add_peer(transport_, config.local, config.partner));
        failover_transport_wake(transport_);
    }
    ~Partner() {
        failover_transport_destroy(transport_);
        failover_destroy(core_);
    }
    Partner(const Partner &) = delete;
    Partner &operator=(const Partner &) = delete;

    void turn() {
        pollfd fd{failover_transport_fd(transport_), POLLIN, 0};
        if (poll(&fd, 1, 0) > 0) {
            failover_transport_dispatch(transport_);
        }
    }
    void wake() {
        failover_transport_wake(transport_);
    }
    failover *core() {
        return core_;
    }
    failover_state state() const {
        return failover_current_state(core_);
    }
    failover_binding binding(uint32_t address) {
        failover_binding b{};
        EXPECT_TRUE(failover_get_binding(core_, address, &b));
        return b;
    }

private:
    failover *core_ = nullptr;
    failover_transport *transport_ = nullptr;
    std::vector<int> connections_;

    static Partner &self(void *context) {
        return *static_cast<Partner *>(context);
    }
    static void store(void *, uint64_t, const failover_record *, const failover_binding *) {
    }
    static void log(void *, failover_severity, const char *text) {
        if (getenv("FAILOVER_TEST_LOG") != nullptr) {
            fprintf(stderr, "  partner | %s\n", text);
        }
    }
    static void transportLog(void *, failover_severity, const char *) {
    }
    bool opened(int connection, bool dialled) {
        connections_.push_back(connection);
        return failover_connected(core_, connection, dialled, failover_transport_now());
    }
    static bool accepted(void *context, int, int connection) {
        return self(context).opened(connection, false);
    }
    static bool dialled(void *context, int, int connection) {
        return self(context).opened(connection, true);
    }
    static void dialFailed(void *context, int, const char *why) {
        failover_dial_failed(self(context).core_, why, failover_transport_now());
    }
    static void received(void *context, int, int connection, const uint8_t *data, size_t length) {
        failover_received(self(context).core_, connection, data, length, failover_transport_now());
    }
    static void closed(void *context, int, int connection, const char *why) {
        self(context).forget(connection);
        failover_disconnected(self(context).core_, connection, why, failover_transport_now());
    }
    void forget(int connection) {
        connections_.erase(std::remove(connections_.begin(), connections_.end(), connection), connections_.end());
    }
    static void woken(void *context) {
        self(context).pump();
    }
    void pump() {
        static uint8_t buffer[16 * FAILOVER_MESSAGE_SIZE_MAX];
        failover_clock now = failover_transport_now();
        failover_committed(core_, failover_sequence(core_), now);
        failover_tick(core_, now);
        failover_committed(core_, failover_sequence(core_), now);
        for (int connection : std::vector<int>(connections_)) {
            while (size_t size = failover_output(core_, connection, buffer, sizeof(buffer), now)) {
                failover_transport_send(transport_, connection, buffer, size);
            }
        }
        failover_action action;
        while (failover_next_action(core_, &action)) {
            if (action.type == FAILOVER_ACTION_DIAL) {
                failover_transport_dial(transport_, 0);
            } else {
                forget(action.connection);
                failover_transport_close(transport_, action.connection);
            }
        }
        failover_lease_change change;
        while (failover_next_lease(core_, &change)) {
        }
        failover_transport_set_deadline(transport_, failover_deadline(core_));
    }
};

// ---- The running hook -----------------------------------------------------------------------------------------------

const uint32_t FIRST = 0x0a400a0a; // 10.64.10.10, the first address of the pool of subnet 1
const uint32_t LAST = 0x0a400a1d;  // 10.64.10.29

// Subnet 1 with twenty addresses: 10.64.10.10 to .19 are free and this server's, .20 to .29 free and the
// partner's. The record says communications-interrupted, of the present process: so the service goes on
// there, with policy "replace".
class ServiceTest : public KeaTest {
protected:
    ServiceTest() {
        // Where there is no disk to wait for.
        std::string path =
            std::filesystem::exists("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path().string();
        path += "/failover-test-XXXXXX";
        directory = mkdtemp(path.data());
        setenv("KEA_FAILOVER_PROCESS", PROCESS, 1);
        int64_t now = time(nullptr);
        record.state = FAILOVER_COMMUNICATIONS_INTERRUPTED;
        record.stos = now - 10;
        record.partner_state = FAILOVER_NORMAL;
        record.partner_stos = now - 100;
        record.mclt = 60;
        record.mclt_taken = now - 1000;
        record.acting_primary = FAILOVER_PRIMARY;
        record.epoch = 1;
        record.default_owner = FAILOVER_PARTNERS;
        record.last_served = now;
        record.last_granted = now - 1000;
        record.last_heard = now - 11;
        failover_config defaults;
        failover_config_defaults(&defaults);
        std::copy(std::begin(defaults.hba), std::end(defaults.hba), record.hba);
        record.hba_known = true;
        setProcess(record, PROCESS);
        relationship = Element::createMap();
        relationship->set("name", Element::create("dc1"));
        relationship->set("mclt", Element::create(60));
        own_port = freePort("127.0.0.1");
        partner_port = freePort("127.0.0.2");
        hook("subnet4_select", call<shim::subnetSelected>);
        hook("lease4_select", call<shim::leaseSelected>);
        hook("lease4_renew", call<shim::leaseRenewed>);
        hook("leases4_committed", call<shim::leasesCommitted>);
        hook("lease4_release", call<shim::leaseGivenBack>);
        hook("lease4_decline", call<shim::leaseGivenBack>);
        hook("command_processed", call<shim::commandProcessed>);
    }
    ~ServiceTest() override {
        unhook();
        partner.reset();
        service.reset();
        current() = nullptr;
        std::filesystem::remove_all(directory);
    }

    // Leaves the hook points to a library that is loaded.
    void unhook() {
        for (const std::string &name : hooked_) {
            HooksManager::preCalloutsLibraryHandle().deregisterAllCallouts(name);
        }
        hooked_.clear();
    }
    static constexpr const char *PROCESS = "0123456789abcdef0123456789abcdef";
    static void setProcess(failover_record &r, const char *process) {
        snprintf(r.process, sizeof(r.process), "%s", process);
    }
    static unsigned freePort(const char *address) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        sockaddr_in in{};
        in.sin_family = AF_INET;
        inet_pton(AF_INET, address, &in.sin_addr);
        socklen_t length = sizeof(in);
        EXPECT_EQ(0, ::bind(fd, reinterpret_cast<sockaddr *>(&in), length));
        EXPECT_EQ(0, getsockname(fd, reinterpret_cast<sockaddr *>(&in), &length));
        close(fd);
        return ntohs(in.sin_port);
    }

    // ---- Before the start: what the database holds ----------------------------------------------------------------------
    failover_record record{};
    std::vector<failover_binding> bindings;

    failover_binding &bind(uint32_t address, failover_binding_status status) {
        bindings.emplace_back();
        failover_binding &b = bindings.back();
        b.address = address;
        b.status = status;
        b.owner = FAILOVER_MINE;
        b.starts = time(nullptr) - 1000;
        return b;
    }
    void own(uint32_t first, uint32_t last) {
        for (uint32_t address = first; address <= last; address++) {
            bool given = std::any_of(bindings.begin(), bindings.end(), [&](auto &b) { return b.address == address; });
            if (!given) {
                bind(address, FAILOVER_FREE);
            }
        }
    }
    void ownDefault() {
        if (own_addresses > 0) {
            own(FIRST, FIRST + own_addresses - 1);
        }
    }
    // A lease that both servers and Kea know, given `age` seconds ago. Change what is returned before the
    // next call.
    failover_binding &lease(const Client &c, uint32_t address, uint32_t lifetime = 3600, int64_t age = 100) {
        addRow(subnet_of(address), c, address, lifetime, age);
        return binding(c, address, lifetime, age);
    }
    // The same without Kea's row.
    failover_binding &binding(const Client &c, uint32_t address, uint32_t lifetime = 3600, int64_t age = 100) {
        failover_binding &b = bind(address, FAILOVER_ACTIVE);
        b.client = c.core();
        b.cltt = b.starts = time(nullptr) - age;
        b.given = b.ends = b.cltt + lifetime;
        b.sent = b.acked = b.ends;
        b.update_sent = b.state_sent = b.granted_here = true;
        b.xid = 1;
        return b;
    }
    SubnetID subnet_of(uint32_t address) {
        return address >> 8 == FIRST >> 8 ? 1 : 2;
    }

    // ---- The start ------------------------------------------------------------------------------------------------------
    void makeSubnet() {
        subnet = addSubnet(1, "10.64.10.0", IOAddress(FIRST).toText(), IOAddress(LAST).toText());
    }
    ElementPtr peer(const char *name, const char *role, const char *address, unsigned port) {
        ElementPtr map = Element::createMap();
        map->set("name", Element::create(name));
        map->set("role", Element::create(role));
        map->set("address", Element::create(address));
        map->set("port", Element::create(static_cast<long long>(port)));
        return map;
    }
    ElementPtr peers(bool primary, const char *partner_address = "127.0.0.2") {
        ElementPtr list = Element::createList();
        list->add(peer("here", primary ? "primary" : "secondary", "127.0.0.1", own_port));
        list->add(peer("there", primary ? "secondary" : "primary", partner_address, partner_port));
        return list;
    }
    ElementPtr parametersAsJson() {
        if (!relationship->contains("peers")) {
            relationship->set("peers", peers(primary));
        }
        ElementPtr all = Element::createMap();
        ElementPtr list = Element::createList();
        list->add(relationship);
        for (const ElementPtr &other : others) {
            list->add(other);
        }
        all->set("database", Element::create(database()));
        all->set("relationships", list);
        return all;
    }
    shim::Parameters parameters() {
        return shim::parseParameters(parametersAsJson());
    }
    std::string database() const {
        return directory + "/failover.db";
    }
    void writeDatabase(const char *name = "dc1") {
        failover_store_result result;
        failover_why why;
        failover_store *store = failover_store_open(database().c_str(), -1, &result, &why);
        ASSERT_NE(nullptr, store) << why.text;
        int number = failover_store_relationship(store, name);
        uint64_t sequence = 0;
        failover_store_put(store, number, ++sequence, &record, nullptr);
        for (const failover_binding &b : bindings) {
            failover_store_put(store, number, ++sequence, nullptr, &b);
        }
        failover_store_close(store);
    }
    // In the order of Kea: configured with what is about to be committed.
    void start() {
        if (!subnet) {
            makeSubnet();
        }
        ownDefault();
        writeDatabase();
        startEmpty();
    }
    // With whatever the database holds already.
    void startEmpty() {
        if (!subnet) {
            makeSubnet();
        }
        service = std::make_unique<shim::Service>(parameters());
        current() = service.get();
        service->start(staging());
        CfgMgr::instance().commit();
        turn();
    }
    // In NORMAL, with a living partner that knows the same. What was bound stays so there.
    void startNormal() {
        ownDefault();
        addPartner(record);
        start();
        until([&] {
            return state() == FAILOVER_NORMAL && status().partner_state == FAILOVER_NORMAL &&
                   partner->state() == FAILOVER_NORMAL && idle();
        });
    }
    void addPartner(failover_record mirrored) {
        failover_config config = parameters().relationships.front().core;
        std::swap(config.local, config.partner);
        config.role = primary ? FAILOVER_SECONDARY : FAILOVER_PRIMARY;
        mirrored.default_owner = FAILOVER_MINE;
        std::vector<failover_binding> theirs = bindings;
        for (failover_binding &b : theirs) {
            b.owner = FAILOVER_PARTNERS;
            b.granted_here = false;
            b.received = b.sent;
        }
        partner = std::make_unique<Partner>(config, pools, mirrored, theirs, PROCESS);
    }

    // ---- Running --------------------------------------------------------------------------------------------------------
    // A turn of Kea's main loop, and one of the partner's.
    void turn() {
        IfaceMgr::instance().receive4(0, 1000);
        if (partner) {
            partner->turn();
        }
    }
    void until(const std::function<bool()> &done) {
        auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (!done()) {
            ASSERT_LT(std::chrono::steady_clock::now(), end) << "in " << failover_state_name(state());
            turn();
        }
    }
    bool idle() {
        failover_status s = status();
        return s.updates_queued == 0 && s.updates_unacked == 0;
    }
    // Everything that waits for the loop is done.
    void settle() {
        service->wake();
        for (int i = 0; i < 20; i++) {
            turn();
        }
    }
    shim::Relationship &dc1() {
        return *service->relationships().front();
    }
    failover_state state() {
        return dc1().with([](failover *core, failover_clock) { return failover_current_state(core); });
    }
    failover_status status() {
        failover_status s;
        dc1().with([&](failover *core, failover_clock now) { failover_get_status(core, now, &s); });
        return s;
    }
    failover_binding known(uint32_t address) {
        failover_binding b{};
        EXPECT_TRUE(
            dc1().with([&](failover *core, failover_clock) { return failover_get_binding(core, address, &b); }));
        return b;
    }
    failover_counters counters() {
        return dc1().with([](failover *core, failover_clock) { return *failover_get_counters(core); });
    }
    ConstElementPtr force(const std::string &state, bool override_guard = false) {
        ElementPtr arguments = Element::createMap();
        arguments->set("state", Element::create(state));
        arguments->set("override", Element::create(override_guard));
        ConstElementPtr answer = shim::forceState(*service, arguments);
        EXPECT_EQ(0, answer->get("result")->intValue()) << answer->str();
        turn();
        return answer;
    }

    // ---- Callouts -------------------------------------------------------------------------------------------------------
    // Calls one hook point; an exception in the callout comes out here.
    void run(const std::string &name, CalloutHandle &handle) {
        thrown() = nullptr;
        callHook(name, handle);
        if (thrown()) {
            std::rethrow_exception(thrown());
        }
    }
    CalloutHandlePtr select(const Pkt4Ptr &query, Subnet4Ptr where = Subnet4Ptr()) {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        handle->setArgument("query4", query);
        handle->setArgument("subnet4", shim::Subnet4Argument(where ? where : subnet));
        run("subnet4_select", *handle);
        return handle;
    }
    CalloutHandle::CalloutNextStep selected(const Packet &packet, Subnet4Ptr where = Subnet4Ptr()) {
        return select(packet.query(), where)->getStatus();
    }
    Answer serve(const Packet &packet, Subnet4Ptr where = Subnet4Ptr()) {
        thrown() = nullptr;
        Answer answer = Kea(where ? where : subnet).serve(packet.query());
        if (thrown()) {
            std::rethrow_exception(thrown());
        }
        return answer;
    }

    std::string directory;
    bool primary = true;
    uint32_t own_addresses = 10; // of the pool of subnet 1, from its first
    unsigned own_port, partner_port;
    ElementPtr relationship;        // the parameters of dc1
    std::vector<ElementPtr> others; // and of further relationships
    std::vector<std::pair<uint32_t, uint32_t>> pools{{FIRST, LAST}};
    Subnet4Ptr subnet;
    std::unique_ptr<shim::Service> service;
    std::unique_ptr<Partner> partner;

private:
    std::vector<std::string> hooked_;

    static shim::Service *&current() {
        static shim::Service *service;
        return service;
    }
    static std::exception_ptr &thrown() {
        static std::exception_ptr exception;
        return exception;
    }
    void hook(const std::string &name, isc::hooks::CalloutPtr callout) {
        hookIndex(name);
        HooksManager::preCalloutsLibraryHandle().registerCallout(name, callout);
        hooked_.push_back(name);
    }
    template <void (*callout)(shim::Service &, CalloutHandle &)>
    static int call(CalloutHandle &handle) {
        try {
            callout(*current(), handle);
        } catch (...) {
            thrown() = std::current_exception();
        }
        return 0;
    }
};

inline std::string textOf(const ConstElementPtr &answer) {
    ConstElementPtr text = answer->get("text");
    return text ? text->stringValue() : "";
}

inline int64_t resultOf(const ConstElementPtr &answer) {
    return answer->get("result")->intValue();
}

inline bool contains(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

} // namespace shim_test

#endif
