// SPDX-License-Identifier: MPL-2.0
#include "kea_leases.h"

#include <dhcp/dhcp4.h>
#include <dhcp/option.h>
#include <dhcpsrv/cfg_hosts.h>
#include <dhcpsrv/cfgmgr.h>
#include <dhcpsrv/dhcpsrv_exceptions.h>
#include <dhcpsrv/host_mgr.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/ncr_generator.h>
#include <stats/stats_mgr.h>

#include "log.h"

using namespace isc::dhcp;
using isc::asiolink::IOAddress;
using isc::stats::StatsMgr;

namespace shim {
namespace {

// ---- Statistics -----------------------------------------------------------------------------------------------------

// A reclaimed row is counted no more; a declined one is assigned as well.
bool isCounted(const Lease4 &row) {
    return row.state_ == Lease::STATE_DEFAULT || row.state_ == Lease::STATE_DECLINED;
}

void count(SubnetID subnet, const char *what, int64_t difference) {
    StatsMgr::instance().addValue(StatsMgr::generateName("subnet", subnet, what), difference);
}

void countRemoved(const Lease4 &row) {
    if (isCounted(row)) {
        count(row.subnet_id_, "assigned-addresses", -1);
    }
    if (row.state_ == Lease::STATE_DECLINED) {
        count(row.subnet_id_, "declined-addresses", -1);
        StatsMgr::instance().addValue("declined-addresses", int64_t(-1));
    }
}

// ---- Rows -----------------------------------------------------------------------------------------------------------

HWAddrPtr hwaddrOf(const failover_client &client) {
    if (client.hardware_length == 0) {
        return HWAddrPtr(new HWAddr());
    }
    std::vector<uint8_t> bytes(client.hardware + 1, client.hardware + client.hardware_length);
    return HWAddrPtr(new HWAddr(bytes, client.hardware[0]));
}

ClientIdPtr clientIdOf(const failover_client &client) {
    // Kea takes no identifier of one byte, nor one of more than 128. A partner that isn't ours does.
    if (client.id_length < ClientId::MIN_CLIENT_ID_LEN || client.id_length > ClientId::MAX_CLIENT_ID_LEN) {
        return ClientIdPtr();
    }
    return ClientIdPtr(new ClientId(std::vector<uint8_t>(client.id, client.id + client.id_length)));
}

uint32_t lifetimeOf(const failover_lease &lease) {
    if (lease.ends == FAILOVER_TIME_INFINITE) {
        return Lease::INFINITY_LFT;
    }
    int64_t lifetime = lease.ends - lease.cltt;
    return lifetime <= 0 ? 0 : uint32_t(std::min<int64_t>(lifetime, Lease::INFINITY_LFT - 1));
}

bool isHeldBy(const Lease4 &row, const failover_client &client) {
    failover_client holder = toClient(row.hwaddr_, row.client_id_);
    return failover_same_client(&holder, &client);
}

// The partner has given the lease; a row of this client's that is newer was given here meanwhile and stays.
// False: another thread has added or removed the row meanwhile.
bool tryPut(const failover_lease &lease, SubnetID subnet, uint32_t lifetime, const Lease4Ptr &existing) {
    LeaseMgr &leases = LeaseMgrFactory::instance();
    if (!existing) {
        Lease4Ptr row(new Lease4(IOAddress(lease.address), hwaddrOf(lease.client), clientIdOf(lease.client), lifetime,
                                 lease.cltt, subnet));
        if (!leases.addLease(row)) {
            return false;
        }
        count(subnet, "assigned-addresses", 1);
        return true;
    }
    bool same = isHeldBy(*existing, lease.client);
    if (same && existing->state_ == Lease::STATE_DEFAULT && existing->cltt_ > lease.cltt) {
        return true;
    }
    Lease4Ptr row(new Lease4(*existing));
    Lease::syncCurrentExpirationTime(*existing, *row);
    row->hwaddr_ = hwaddrOf(lease.client);
    row->client_id_ = clientIdOf(lease.client);
    row->valid_lft_ = lifetime;
    row->cltt_ = lease.cltt;
    row->state_ = Lease::STATE_DEFAULT;
    row->subnet_id_ = subnet;
    if (!same) {
        row->hostname_.clear();
        row->fqdn_fwd_ = row->fqdn_rev_ = false;
        row->setContext(isc::data::ConstElementPtr());
    }
    try {
        leases.updateLease4(row);
    } catch (const NoSuchLease &) {
        return false;
    }
    if (!same) {
        queueNCR(isc::dhcp_ddns::CHG_REMOVE, existing);
    }
    bool counted = existing->state_ == Lease::STATE_DEFAULT && existing->subnet_id_ == subnet;
    if (!counted) {
        countRemoved(*existing);
        count(subnet, "assigned-addresses", 1);
    }
    return true;
}

void put(const failover_lease &lease, SubnetID subnet, Lease4Ptr existing) {
    uint32_t lifetime = lifetimeOf(lease);
    if (lifetime == 0) {
        return;
    }
    for (int attempts = 0; attempts <= 100; attempts++) {
        if (tryPut(lease, subnet, lifetime, existing)) {
            return;
        }
        existing = LeaseMgrFactory::instance().getLease4(IOAddress(lease.address));
    }
    isc_throw(isc::Unexpected, "other threads change its row all the time");
}

// Kea's search for a client's lease takes the first row it finds, so a client keeps one in a network: the latest.
void putLatest(const failover_lease &lease, SubnetID subnet, const std::set<SubnetID> &network) {
    Lease4Ptr existing = LeaseMgrFactory::instance().getLease4(IOAddress(lease.address));
    if (existing && existing->state_ == Lease::STATE_DEFAULT && isHeldBy(*existing, lease.client)) {
        put(lease, subnet, existing); // so it is the one
        return;
    }
    Lease4Collection older;
    for (const Lease4Ptr &row : rowsOf(hwaddrOf(lease.client), clientIdOf(lease.client), network)) {
        if (row->addr_ == IOAddress(lease.address)) {
            continue;
        }
        if (row->cltt_ > lease.cltt) {
            return;
        }
        older.push_back(row);
    }
    put(lease, subnet, existing);
    for (const Lease4Ptr &row : older) {
        removeRow(row);
    }
}

void remove(const failover_lease &lease) {
    Lease4Ptr row = LeaseMgrFactory::instance().getLease4(IOAddress(lease.address));
    if (row && row->state_ != Lease::STATE_DECLINED && isHeldBy(*row, lease.client) && row->cltt_ <= lease.cltt) {
        removeRow(row);
    }
}

} // namespace

failover_client toClient(const HWAddrPtr &hwaddr, const ClientIdPtr &id) {
    failover_client client{};
    if (hwaddr && !hwaddr->hwaddr_.empty()) {
        size_t length = std::min<size_t>(hwaddr->hwaddr_.size(), FAILOVER_HARDWARE_MAX - 1);
        client.hardware[0] = uint8_t(hwaddr->htype_);
        std::copy_n(hwaddr->hwaddr_.begin(), length, client.hardware + 1);
        client.hardware_length = uint8_t(length + 1);
    }
    if (id) {
        const std::vector<uint8_t> &bytes = id->getClientId();
        size_t length = std::min<size_t>(bytes.size(), FAILOVER_CLIENT_ID_MAX);
        std::copy_n(bytes.begin(), length, client.id);
        client.id_length = uint16_t(length);
    }
    return client;
}

OptionPtr optionOf(const Pkt4Ptr &query, uint16_t type) {
    auto found = query->options_.find(type);
    return found == query->options_.end() ? OptionPtr() : found->second;
}

ClientIdPtr clientIdOf(const Pkt4Ptr &query) {
    OptionPtr option = optionOf(query, DHO_DHCP_CLIENT_IDENTIFIER);
    return option ? ClientIdPtr(new ClientId(option->getData())) : ClientIdPtr();
}

failover_lease toLease(const Lease4 &row) {
    failover_lease lease{};
    lease.address = row.addr_.toUint32();
    lease.client = toClient(row.hwaddr_, row.client_id_);
    lease.cltt = row.cltt_;
    lease.ends = row.valid_lft_ == Lease::INFINITY_LFT ? FAILOVER_TIME_INFINITE : row.cltt_ + int64_t(row.valid_lft_);
    lease.declined = row.state_ == Lease::STATE_DECLINED;
    if (row.state_ == Lease::STATE_EXPIRED_RECLAIMED) {
        lease.ends = row.cltt_; // ended, whatever its lifetime says
    }
    return lease;
}

void removeRow(const Lease4Ptr &row) {
    if (LeaseMgrFactory::instance().deleteLease(row)) {
        countRemoved(*row);
        if (row->state_ != Lease::STATE_EXPIRED_RECLAIMED) {
            queueNCR(isc::dhcp_ddns::CHG_REMOVE, row);
        }
    }
}

void applyChange(const failover_lease_change &change, SubnetID subnet, const std::set<SubnetID> &network) {
    try {
        if (change.type == FAILOVER_LEASE_REMOVE) {
            remove(change.lease);
        } else {
            putLatest(change.lease, subnet, network);
        }
    } catch (const std::exception &error) {
        LOG_ERROR(logger, FAILOVER_LEASE_FAILED).arg(IOAddress(change.lease.address).toText()).arg(error.what());
    }
}

Lease4Collection rowsOf(const HWAddrPtr &hwaddr, const ClientIdPtr &id, const std::set<SubnetID> &subnets) {
    const LeaseMgr &leases = LeaseMgrFactory::instance();
    Lease4Collection found, rows;
    if (id) {
        found = leases.getLease4(*id);
    }
    if (hwaddr && !hwaddr->hwaddr_.empty()) {
        for (const Lease4Ptr &row : leases.getLease4(*hwaddr)) {
            if (row->belongsToClient(hwaddr, id)) {
                found.push_back(row);
            }
        }
    }
    std::set<IOAddress> seen;
    for (const Lease4Ptr &row : found) {
        if (subnets.count(row->subnet_id_) > 0 && seen.insert(row->addr_).second) {
            rows.push_back(row);
        }
    }
    return rows;
}

void eachRowOf(const HWAddrPtr &hwaddr, const ClientIdPtr &id, const std::set<SubnetID> &subnets,
               const std::function<bool(const Lease4Ptr &)> &keep) {
    // Kea looks for a hardware address only where it has found nothing by identifier; which of several subnets matches
    // identifiers is its own affair.
    bool kept = false;
    if (id && subnets.size() == 1) {
        for (const Lease4Ptr &row : LeaseMgrFactory::instance().getLease4(*id)) {
            kept = (subnets.count(row->subnet_id_) > 0 && keep(row)) || kept;
        }
    }
    if (!kept) {
        for (const Lease4Ptr &row : rowsOf(hwaddr, id, subnets)) {
            keep(row);
        }
    }
}

// ---- Reservations ---------------------------------------------------------------------------------------------------

namespace {

// The subnet numbers under which the reservations for its clients stand.
std::vector<SubnetID> placesOfReservations(const ConstSubnet4Ptr &subnet) {
    std::vector<SubnetID> places;
    if (subnet->getReservationsInSubnet()) {
        places.push_back(subnet->getID());
    }
    if (subnet->getReservationsGlobal()) {
        places.push_back(SUBNET_ID_GLOBAL);
    }
    return places;
}

} // namespace

bool mayHaveReservations(const SrvConfigPtr &config, const Subnet4Ptr &subnet) {
    std::vector<SubnetID> places = placesOfReservations(subnet);
    return !HostMgr::instance().getHostDataSourceList().empty() ||
           std::any_of(places.begin(), places.end(),
                       [&](SubnetID id) { return !config->getCfgHosts()->getAll4(id).empty(); });
}

std::vector<uint32_t> reservedAddresses(const SrvConfigPtr &config, const ConstSubnet4Ptr &subnet) {
    std::vector<uint32_t> addresses;
    auto add = [&](const ConstHostCollection &hosts) {
        for (const ConstHostPtr &host : hosts) {
            if (!host->getIPv4Reservation().isV4Zero()) {
                addresses.push_back(host->getIPv4Reservation().toUint32());
            }
        }
    };
    for (SubnetID id : placesOfReservations(subnet)) {
        // Not HostMgr::getAll4: at this time it still looks into the configuration of before.
        add(static_cast<const CfgHosts &>(*config->getCfgHosts()).getAll4(id));
        for (const HostDataSourcePtr &source : HostMgr::instance().getHostDataSourceList()) {
            add(source->getAll4(id));
        }
    }
    return addresses;
}

namespace {

using Identifier = std::pair<Host::IdentifierType, std::vector<uint8_t>>;

// A DUID within option 61: RFC 4361 puts type 255 and an IAID of four bytes before it.
const size_t DUID_OFFSET = 5;

std::vector<uint8_t> identifierBytes(const Pkt4Ptr &query, Host::IdentifierType type) {
    OptionPtr id = optionOf(query, DHO_DHCP_CLIENT_IDENTIFIER);
    OptionPtr relay = optionOf(query, DHO_DHCP_AGENT_OPTIONS);
    OptionPtr circuit = relay ? relay->getOption(RAI_OPTION_AGENT_CIRCUIT_ID) : OptionPtr();
    switch (type) {
    case Host::IDENT_HWADDR:
        return query->getHWAddr() ? query->getHWAddr()->hwaddr_ : std::vector<uint8_t>();
    case Host::IDENT_CLIENT_ID:
        return id ? id->getData() : std::vector<uint8_t>();
    case Host::IDENT_DUID: {
        bool has = id && id->getData().size() > DUID_OFFSET && id->getData()[0] == 255;
        return has ? std::vector<uint8_t>(id->getData().begin() + DUID_OFFSET, id->getData().end())
                   : std::vector<uint8_t>();
    }
    case Host::IDENT_CIRCUIT_ID:
        return circuit ? circuit->getData() : std::vector<uint8_t>();
    default:
        return {}; // a flexible identifier is made by another library, later
    }
}

std::vector<Identifier> identifiersOf(const Pkt4Ptr &query) {
    std::vector<Identifier> identifiers;
    for (Host::IdentifierType type :
         CfgMgr::instance().getCurrentCfg()->getCfgHostOperations4()->getIdentifierTypes()) {
        std::vector<uint8_t> bytes = identifierBytes(query, type);
        if (!bytes.empty()) {
            identifiers.emplace_back(type, bytes);
        }
    }
    return identifiers;
}

} // namespace

std::vector<uint32_t> reservationsFor(const Pkt4Ptr &query, const ConstSubnet4Ptr &subnet) {
    std::vector<uint32_t> addresses;
    const std::vector<Identifier> identifiers = identifiersOf(query);
    auto add = [&](SubnetID id) {
        for (const Identifier &i : identifiers) {
            ConstHostPtr host = HostMgr::instance().get4(id, i.first, i.second.data(), i.second.size());
            if (host) {
                if (!host->getIPv4Reservation().isV4Zero()) {
                    addresses.push_back(host->getIPv4Reservation().toUint32());
                }
                return;
            }
        }
    };
    Subnet4Ptr first = boost::const_pointer_cast<Subnet4>(subnet);
    for (Subnet4Ptr s = first; s; s = s->getNextSubnet(first, query->getClasses())) {
        if (s->getReservationsInSubnet()) {
            add(s->getID());
        }
    }
    if (subnet->getReservationsGlobal()) {
        add(SUBNET_ID_GLOBAL);
    }
    return addresses;
}

bool isReserved(const ConstSubnet4Ptr &subnet, uint32_t address) {
    std::vector<SubnetID> places = placesOfReservations(subnet);
    return std::any_of(places.begin(), places.end(),
                       [&](SubnetID id) { return bool(HostMgr::instance().get4(id, IOAddress(address))); });
}

bool isKeptByKea(const ConstSubnet4Ptr &subnet, uint32_t address) {
    bool looks = subnet->getReservationsInSubnet() &&
                 (!subnet->getReservationsOutOfPool() || !subnet->inPool(Lease::TYPE_V4, IOAddress(address)));
    return looks && HostMgr::instance().get4(subnet->getID(), IOAddress(address));
}

bool hasFlexibleIdentifiers() {
    const auto &types = CfgMgr::instance().getCurrentCfg()->getCfgHostOperations4()->getIdentifierTypes();
    return std::find(types.begin(), types.end(), Host::IDENT_FLEX) != types.end();
}

} // namespace shim
