// SPDX-License-Identifier: MPL-2.0
#include "callouts.h"

#include <dhcp/dhcp4.h>
#include <dhcp/option_custom.h>
#include <dhcp/option_data_types.h>
#include <dhcp/pkt4.h>
#include <dhcpsrv/lease_mgr_factory.h>
#include <dhcpsrv/pool.h>

#include "kea_leases.h"
#include "log.h"

using namespace isc::dhcp;
using isc::asiolink::IOAddress;
using isc::hooks::CalloutHandle;

namespace shim {
namespace {

// What subnet4_select found out about a query, for the hook points behind it.
struct QueryContext {
    std::vector<uint32_t> reserved; // addresses reserved for its client
    bool flexible = false;          // there may be others, which only Kea knows
    bool refused = false;           // by a verdict: the client gets a DHCPNAK
    bool selects_us = false;        // a REQUEST with this server's identifier
    std::string why;
    uint32_t address = 0;         // the last one that Kea wanted to give ...
    uint32_t desired = 0;         // ... and the lifetime that it would have given
    std::set<SubnetID> exhausted; // subnets without an own free address
};
using QueryContextPtr = std::shared_ptr<QueryContext>;
const char *const CONTEXT = "failover";

QueryContextPtr newContext(CalloutHandle &handle) {
    auto context = std::make_shared<QueryContext>();
    handle.setContext(CONTEXT, context);
    return context;
}

// An exception costs as much as all the rest of a callout, so who comes first makes a new one without looking.
QueryContextPtr contextOf(CalloutHandle &handle) {
    QueryContextPtr context;
    try {
        handle.getContext(CONTEXT, context);
    } catch (const isc::hooks::NoSuchCalloutContext &) {
        context = newContext(handle);
    }
    return context;
}

bool isReservedFor(const QueryContext &context, uint32_t address) {
    return std::find(context.reserved.begin(), context.reserved.end(), address) != context.reserved.end();
}

// Where Kea knows more than we do, what it gives to nobody else counts as reserved for the client.
void noteFlexible(QueryContext &context, const ConstSubnet4Ptr &subnet, uint32_t address) {
    if (context.flexible && !isReservedFor(context, address) && isKeptByKea(subnet, address)) {
        context.reserved.push_back(address);
    }
}

bool undecided(const CalloutHandle &handle) {
    return handle.getStatus() == CalloutHandle::NEXT_STEP_CONTINUE;
}

bool matchesClientId(const CoveredSubnet &covered, const ConstSubnet4Ptr &subnet) {
    if (covered.matches_client_id < 0) {
        covered.matches_client_id = subnet->getMatchClientId();
    }
    return covered.matches_client_id > 0;
}

// Who asks.
struct Asker {
    Asker(const CoveredSubnet &covered, const Pkt4Ptr &query, const ConstSubnet4Ptr &subnet)
        : sent_id(clientIdOf(query)), id(matchesClientId(covered, subnet) ? sent_id : ClientIdPtr()),
          client(toClient(query->getHWAddr(), id)) {
    }
    const ClientIdPtr sent_id;
    const ClientIdPtr id; // null where the subnet doesn't match identifiers
    const failover_client client;
};

// The address that a REQUEST is about: option 50, else ciaddr, as Kea has it. 0: neither.
uint32_t requestedAddress(const Pkt4Ptr &query) {
    auto option = boost::dynamic_pointer_cast<OptionCustom>(optionOf(query, DHO_DHCP_REQUESTED_ADDRESS));
    return option ? OptionDataTypeUtil::readInt<uint32_t>(option->readBinary()) : query->getCiaddr().toUint32();
}

void dropQuery(CalloutHandle &handle, const Pkt4Ptr &query, const char *why) {
    LOG_DEBUG(logger, isc::log::DBGLVL_TRACE_BASIC, FAILOVER_QUERY_DROPPED)
        .arg(query->getLabel())
        .arg(query->getName())
        .arg(why);
    handle.setStatus(CalloutHandle::NEXT_STEP_DROP);
}

// ---- subnet4_select -------------------------------------------------------------------------------------------------

bool mayGo(const CoveredSubnet &covered, const Lease4 &row) {
    return row.expired() || covered.relationship->with([&](failover *core, failover_clock) {
        return failover_is_on_disk(core, row.addr_.toUint32());
    });
}

// Decision 3 of the design: Kea finds a client's row whatever its state, and a renewal can't be refused later. So each
// row whose address the core would not give its client now goes before Kea looks for it. False: one of these, or one
// that Kea would remove for the address that the client requests (0: none), may not go yet.
bool removeUselessRows(const CoveredSubnet &covered, const Pkt4Ptr &query, const Asker &asker,
                       const QueryContext &context, uint32_t requested) {
    if (covered.relationship->with([](failover *core, failover_clock) { return failover_is_silent(core); })) {
        return true; // a client with a reservation outside the pools
    }
    failover_ask ask{};
    failover_why why;
    uint32_t lifetime;
    ask.client = &asker.client;
    ask.xid = query->getTransid();
    auto useful = [&](const Lease4Ptr &row) {
        ask.address = row->addr_.toUint32();
        ask.reserved = isReservedFor(context, ask.address);
        return covered.relationship->with(
            [&](failover *core, failover_clock now) { return failover_may_have(core, &ask, now, &lifetime, &why); });
    };
    bool all_may_go = true;
    eachRowOf(query->getHWAddr(), asker.id, covered.network, [&](const Lease4Ptr &row) {
        bool keep = useful(row);
        bool goes = !keep || (requested != 0 && requested != ask.address);
        if (goes && !mayGo(covered, *row)) {
            all_may_go = false;
        } else if (!keep) {
            removeRow(row);
        }
        return keep;
    });
    return all_may_go;
}

const char *const NOT_ON_DISK = "the lease that the client gives up with this is not on disk yet";

// An expired row of somebody else's must not be met by an allocation that is refused: Kea would count it twice.
void removeExpiredRow(const CoveredSubnet &covered, uint32_t address) {
    Lease4Ptr row = LeaseMgrFactory::instance().getLease4(IOAddress(address));
    if (row && row->expired() && covered.network.count(row->subnet_id_) > 0) {
        removeRow(row);
    }
}

bool isOutsidePools(Relationship &relationship, uint32_t address) {
    return relationship.with([&](failover *core, failover_clock) { return failover_subnet_of(core, address) == 0; });
}

bool hasOwn(const CoveredSubnet &covered, const ConstSubnet4Ptr &subnet, const Pkt4Ptr &query) {
    for (const PoolPtr &pool : subnet->getPools(Lease::TYPE_V4)) {
        bool has = pool->clientSupported(query->getClasses()) &&
                   covered.relationship->with([&](failover *core, failover_clock now) {
                       return failover_own_free(core, pool->getFirstAddress().toUint32(), now) > 0;
                   });
        if (has) {
            return true;
        }
    }
    return false;
}

// Before Kea went on to the next subnet of a shared network it would try each address of the one that it begins with.
void beginWhereOwnIs(const CoveredSubnet &covered, CalloutHandle &handle, const Pkt4Ptr &query,
                     const ConstSubnet4Ptr &subnet) {
    if (covered.network_ids.size() < 2 || hasOwn(covered, subnet, query)) {
        return;
    }
    Subnet4Ptr first = boost::const_pointer_cast<Subnet4>(subnet);
    for (Subnet4Ptr s = first->getNextSubnet(first, query->getClasses()); s;
         s = s->getNextSubnet(first, query->getClasses())) {
        if (hasOwn(covered, s, query)) {
            handle.setArgument("subnet4", Subnet4Argument(s));
            return;
        }
    }
}

void onDiscover(const CoveredSubnet &covered, CalloutHandle &handle, const Pkt4Ptr &query,
                const ConstSubnet4Ptr &subnet, const QueryContext &context) {
    Relationship &relationship = *covered.relationship;
    const Asker asker(covered, query, subnet);
    const std::vector<uint8_t> &key = asker.sent_id ? asker.sent_id->getClientId() : query->getHWAddr()->hwaddr_;
    failover_discover discover{};
    discover.client = &asker.client;
    discover.balance_key = key.data();
    discover.balance_key_length = key.size();
    discover.secs = query->getSecs();
    discover.subnets = covered.network_ids.data();
    discover.subnet_count = covered.network_ids.size();
    bool outside = false;
    for (uint32_t address : context.reserved) {
        if (isOutsidePools(relationship, address)) {
            outside = true;
        } else if (discover.reserved == 0) {
            discover.reserved = address;
        }
    }
    failover_why why;
    auto verdict = relationship.with([&](failover *core, failover_clock now) {
        auto v = failover_on_discover(core, &discover, now, &why);
        return v == FAILOVER_SILENCE && outside && failover_is_silent(core) && failover_serves_outside_pools(core)
                   ? FAILOVER_GO_ON
                   : v;
    });
    if (verdict != FAILOVER_GO_ON) {
        dropQuery(handle, query, why.text);
        return;
    }
    if (!removeUselessRows(covered, query, asker, context, 0)) {
        dropQuery(handle, query, NOT_ON_DISK);
    } else if (context.reserved.empty()) {
        beginWhereOwnIs(covered, handle, query, subnet);
    }
}

// A client that Kea doesn't know and that asks for the address of its last start: Kea refuses it only where it is
// authoritative. And an address in no pool makes Kea silent. SKIP, without a subnet, makes it refuse both, whatever rows
// there are.
bool keaWouldBeSilent(const Pkt4Ptr &query, const ConstSubnet4Ptr &subnet, bool outside_pools) {
    bool init_reboot = !optionOf(query, DHO_DHCP_SERVER_IDENTIFIER) && optionOf(query, DHO_DHCP_REQUESTED_ADDRESS);
    return outside_pools || (init_reboot && !subnet->getAuthoritative());
}

void onRequest(const CoveredSubnet &covered, CalloutHandle &handle, const Pkt4Ptr &query, const ConstSubnet4Ptr &subnet,
               QueryContext &context) {
    Relationship &relationship = *covered.relationship;
    const Asker asker(covered, query, subnet);
    failover_ask ask{};
    failover_why why;
    ask.client = &asker.client;
    ask.address = requestedAddress(query);
    if (ask.address == 0 && query->inClass("BOOTP") && !context.reserved.empty()) {
        ask.address = context.reserved.front(); // it asks for none
    }
    ask.xid = query->getTransid();
    noteFlexible(context, subnet, ask.address);
    ask.reserved = isReservedFor(context, ask.address);
    context.selects_us = bool(optionOf(query, DHO_DHCP_SERVER_IDENTIFIER)); // Kea has dropped those of other servers
    ask.selects_us = context.selects_us;
    auto verdict = relationship.with(
        [&](failover *core, failover_clock now) { return failover_on_request(core, &ask, now, &why); });
    if (verdict == FAILOVER_SILENCE) {
        dropQuery(handle, query, why.text);
        return;
    }
    bool all_may_go = removeUselessRows(covered, query, asker, context, ask.address);
    if (verdict == FAILOVER_GO_ON) {
        if (!all_may_go) {
            dropQuery(handle, query, NOT_ON_DISK);
        }
        return;
    }
    removeExpiredRow(covered, ask.address);
    context.refused = true;
    context.why = why.text;
    LOG_INFO(logger, FAILOVER_QUERY_REFUSED).arg(query->getLabel()).arg(IOAddress(ask.address).toText()).arg(why.text);
    if (!all_may_go || keaWouldBeSilent(query, subnet, isOutsidePools(relationship, ask.address))) {
        handle.setStatus(CalloutHandle::NEXT_STEP_SKIP);
    }
}

// A BOOTP client keeps its address for ever without asking again, which no promise of two servers can cover.
bool isDynamicBootp(const Relationship &relationship, const Pkt4Ptr &query, const QueryContext &context) {
    auto &r = const_cast<Relationship &>(relationship);
    bool outside = !context.reserved.empty() && isOutsidePools(r, context.reserved.front());
    return query->inClass("BOOTP") && !outside;
}

} // namespace

void subnetSelected(Service &service, CalloutHandle &handle) {
    Pkt4Ptr query;
    Subnet4Argument subnet;
    handle.getArgument("query4", query);
    handle.getArgument("subnet4", subnet);
    if (subnet && service.isOrphan(subnet->getID())) {
        dropQuery(handle, query, "the failover hook could not be started");
        return;
    }
    const CoveredSubnet *covered = subnet && undecided(handle) ? service.covering(subnet->getID()) : nullptr;
    if (covered == nullptr || !query->getHWAddr()) {
        return;
    }
    QueryContextPtr context = newContext(handle);
    if (covered->may_have_reservations) {
        context->reserved = reservationsFor(query, subnet);
        context->flexible = hasFlexibleIdentifiers();
    }
    if (isDynamicBootp(*covered->relationship, query, *context)) {
        dropQuery(handle, query, "BOOTP clients get no address of a pool that two servers share");
        return;
    }
    failover_why why;
    switch (query->getType()) {
    case DHCPDISCOVER:
        onDiscover(*covered, handle, query, subnet, *context);
        break;
    case DHCPREQUEST:
        onRequest(*covered, handle, query, subnet, *context);
        break;
    case DHCPINFORM:
        if (covered->relationship->with(
                [&](failover *core, failover_clock) { return failover_on_other(core, &why); }) != FAILOVER_GO_ON) {
            dropQuery(handle, query, why.text);
        }
        break;
    default:
        break;
    }
}

// ---- lease4_select --------------------------------------------------------------------------------------------------

namespace {

// May Kea give this address to whom it offers it? Then for how long.
bool mayHave(Relationship &relationship, const Lease4 &lease, const Pkt4Ptr &query, QueryContext &context,
             uint32_t &lifetime, failover_why &why) {
    failover_client client = toClient(lease.hwaddr_, lease.client_id_);
    failover_ask ask{};
    ask.client = &client;
    ask.address = lease.addr_.toUint32();
    ask.xid = query->getTransid();
    ask.desired = lease.valid_lft_;
    ask.reserved = isReservedFor(context, ask.address);
    context.address = ask.address;
    context.desired = ask.desired;
    return relationship.with(
        [&](failover *core, failover_clock now) { return failover_may_have(core, &ask, now, &lifetime, &why); });
}

bool isTaken(const ConstSubnet4Ptr &subnet, uint32_t address) {
    Lease4Ptr row = LeaseMgrFactory::instance().getLease4(IOAddress(address));
    return (row && !row->expired()) || isReserved(subnet, address);
}

// An own free address of a pool, that Kea's databases have nothing against; 0: none.
uint32_t findOwn(Relationship &relationship, const CoveredSubnet &covered, const ConstSubnet4Ptr &subnet,
                 const PoolPtr &pool) {
    uint32_t first = pool->getFirstAddress().toUint32();
    uint32_t left =
        relationship.with([&](failover *core, failover_clock now) { return failover_own_free(core, first, now); });
    for (; left > 0; left--) {
        uint32_t address =
            relationship.with([&](failover *core, failover_clock now) { return failover_next_own(core, first, now); });
        Lease4Ptr row = LeaseMgrFactory::instance().getLease4(IOAddress(address));
        bool taken = covered.may_have_reservations ? isTaken(subnet, address) : row && !row->expired();
        if (address == 0 || !taken) {
            return address;
        }
    }
    return 0;
}

uint32_t findOwn(const CoveredSubnet &covered, const ConstSubnet4Ptr &subnet, const Pkt4Ptr &query) {
    for (const PoolPtr &pool : subnet->getPools(Lease::TYPE_V4)) {
        if (pool->clientSupported(query->getClasses())) {
            uint32_t address = findOwn(*covered.relationship, covered, subnet, pool);
            if (address != 0) {
                return address;
            }
        }
    }
    return 0;
}

// Another subnet of the shared network that has an own free address for this client.
bool siblingHasOwn(const CoveredSubnet &covered, const ConstSubnet4Ptr &subnet, const Pkt4Ptr &query,
                   const QueryContext &context) {
    Subnet4Ptr first = boost::const_pointer_cast<Subnet4>(subnet);
    for (Subnet4Ptr s = first->getNextSubnet(first, query->getClasses()); s;
         s = s->getNextSubnet(first, query->getClasses())) {
        if (context.exhausted.count(s->getID()) == 0 && findOwn(covered, s, query) != 0) {
            return true;
        }
    }
    return false;
}

void noteExhausted(Relationship &relationship, const Lease4 &lease) {
    failover_client client = toClient(lease.hwaddr_, lease.client_id_);
    relationship.with([&](failover *core, failover_clock now) { failover_exhausted(core, &client, now); });
}

// DISCOVER: the candidate isn't ours to give, so an own free address is offered in its place. An OFFER reserves
// nothing.
void offerOwn(const CoveredSubnet &covered, CalloutHandle &handle, const ConstSubnet4Ptr &subnet, const Pkt4Ptr &query,
              Lease4Ptr lease, QueryContext &context, const failover_why &refused) {
    uint32_t address = 0;
    if (context.exhausted.count(subnet->getID()) == 0) {
        address = findOwn(covered, subnet, query);
    }
    if (address == 0) {
        context.exhausted.insert(subnet->getID());
        if (siblingHasOwn(covered, subnet, query, context)) {
            // Kea tries its next candidate, and at the end of this subnet the next one.
            handle.setArgument("lease4", Lease4Ptr());
            return;
        }
        noteExhausted(*covered.relationship, *lease);
        handle.setStatus(CalloutHandle::NEXT_STEP_SKIP);
        return;
    }
    IOAddress candidate = lease->addr_;
    uint32_t lifetime;
    failover_why why;
    lease->addr_ = IOAddress(address);
    if (!mayHave(*covered.relationship, *lease, query, context, lifetime, why)) {
        handle.setStatus(CalloutHandle::NEXT_STEP_SKIP); // another thread was faster; the client asks again
        return;
    }
    lease->valid_lft_ = lifetime;
    covered.relationship->with(
        [](failover *core, failover_clock) { failover_get_counters(core)->addresses_replaced++; });
    LOG_DEBUG(logger, isc::log::DBGLVL_TRACE_BASIC, FAILOVER_ADDRESS_REPLACED)
        .arg(query->getLabel())
        .arg(lease->addr_.toText())
        .arg(candidate.toText())
        .arg(refused.text);
}

// Kea crashes on a SKIP for what it takes for the client's reservation: better one OFFER too few.
bool mayBeReservedFor(const CoveredSubnet &covered, const QueryContext &context, const ConstSubnet4Ptr &subnet,
                      uint32_t address) {
    return isReservedFor(context, address) || (covered.may_have_reservations && isKeptByKea(subnet, address)) ||
           (context.flexible && isReserved(subnet, address));
}

} // namespace

void leaseSelected(Service &service, CalloutHandle &handle) {
    Pkt4Ptr query;
    Subnet4Argument subnet;
    bool fake = false;
    Lease4Ptr lease;
    handle.getArgument("query4", query);
    handle.getArgument("subnet4", subnet);
    handle.getArgument("fake_allocation", fake);
    handle.getArgument("lease4", lease);
    const CoveredSubnet *covered = subnet && lease && undecided(handle) ? service.covering(subnet->getID()) : nullptr;
    if (covered == nullptr) {
        return;
    }
    QueryContextPtr context = contextOf(handle);
    failover_why why;
    uint32_t lifetime;
    noteFlexible(*context, subnet, lease->addr_.toUint32());
    if (!context->refused && mayHave(*covered->relationship, *lease, query, *context, lifetime, why)) {
        lease->valid_lft_ = lifetime;
        return;
    }
    if (!fake) {
        const char *reason = context->refused ? context->why.c_str() : why.text;
        LOG_DEBUG(logger, isc::log::DBGLVL_TRACE_BASIC, FAILOVER_ADDRESS_REFUSED)
            .arg(query->getLabel())
            .arg(lease->addr_.toText())
            .arg(reason);
        handle.setStatus(CalloutHandle::NEXT_STEP_SKIP);
        return;
    }
    if (mayBeReservedFor(*covered, *context, subnet, lease->addr_.toUint32())) {
        // It was free when the query came in. SKIP would crash Kea 2.2 to 3.0 here; no address makes no OFFER.
        lease->addr_ = IOAddress::IPV4_ZERO_ADDRESS();
        return;
    }
    offerOwn(*covered, handle, subnet, query, lease, *context, why);
}

// ---- lease4_renew ---------------------------------------------------------------------------------------------------

void leaseRenewed(Service &service, CalloutHandle &handle) {
    Pkt4Ptr query;
    Subnet4Argument subnet;
    Lease4Ptr lease;
    handle.getArgument("query4", query);
    handle.getArgument("subnet4", subnet);
    handle.getArgument("lease4", lease);
    const CoveredSubnet *covered = subnet && lease ? service.covering(subnet->getID()) : nullptr;
    if (covered == nullptr) {
        return;
    }
    QueryContextPtr context = contextOf(handle);
    failover_why why;
    uint32_t lifetime = 0;
    if (!mayHave(*covered->relationship, *lease, query, *context, lifetime, why)) {
        // It could when the query came in, and a renewal can't be refused here: leases4_committed takes it back.
        lifetime = 1;
    }
    lease->valid_lft_ = lifetime;
    // From its cache Kea hands out what is left of the row, which is safe. But Kea 2.2 hands out "for ever", whatever
    // the row says, where that is the configured lifetime.
    bool endless =
        lease->reuseable_valid_lft_ == Lease::INFINITY_LFT && lease->current_valid_lft_ != Lease::INFINITY_LFT;
    if (endless || lease->reuseable_valid_lft_ > lifetime) {
        lease->reuseable_valid_lft_ = 0;
    }
}

// ---- leases4_committed ----------------------------------------------------------------------------------------------

namespace {

void bound(const CoveredSubnet &covered, CalloutHandle &handle, const Pkt4Ptr &query, const Lease4Ptr &lease,
           QueryContext &context) {
    failover_client client = toClient(lease->hwaddr_, lease->client_id_);
    failover_ask ask{};
    ask.client = &client;
    ask.address = lease->addr_.toUint32();
    ask.xid = query->getTransid();
    ask.selects_us = context.selects_us;
    ask.reserved = isReservedFor(context, ask.address);
    ask.desired = context.address == ask.address ? context.desired : lease->valid_lft_;
    bool kept = covered.relationship->with([&](failover *core, failover_clock now) {
        return failover_bound(core, &ask, lease->cltt_, lease->valid_lft_, now);
    });
    if (!kept) {
        Lease4Ptr row = LeaseMgrFactory::instance().getLease4(lease->addr_);
        if (row) {
            removeRow(row);
        }
        dropQuery(handle, query, "its address was taken away meanwhile");
    }
}

} // namespace

void leasesCommitted(Service &service, CalloutHandle &handle) {
    Pkt4Ptr query;
    Lease4CollectionPtr leases, deleted;
    handle.getArgument("query4", query);
    handle.getArgument("leases4", leases);
    handle.getArgument("deleted_leases4", deleted);
    for (const Lease4Ptr &lease : *leases) {
        const CoveredSubnet *covered = service.covering(lease->subnet_id_);
        if (covered == nullptr) {
            continue;
        }
        if (lease->state_ == Lease::STATE_DECLINED) {
            covered->relationship->with([&](failover *core, failover_clock now) {
                failover_declined(core, lease->addr_.toUint32(), lease->cltt_ + int64_t(lease->valid_lft_), now);
            });
        } else {
            bound(*covered, handle, query, lease, *contextOf(handle));
        }
    }
    // A client that has moved to another address has not released the one before: its binding runs to its promised end.
    if (query->getType() != DHCPRELEASE) {
        return;
    }
    for (const Lease4Ptr &lease : *deleted) {
        const CoveredSubnet *covered = service.covering(lease->subnet_id_);
        if (covered != nullptr) {
            failover_client client = toClient(lease->hwaddr_, lease->client_id_);
            covered->relationship->with([&](failover *core, failover_clock now) {
                failover_released(core, lease->addr_.toUint32(), &client, now);
            });
        }
    }
}

// ---- lease4_release, lease4_decline ---------------------------------------------------------------------------------

void leaseGivenBack(Service &service, CalloutHandle &handle) {
    Pkt4Ptr query;
    Lease4Ptr lease;
    handle.getArgument("query4", query);
    handle.getArgument("lease4", lease);
    const CoveredSubnet *covered = service.covering(lease->subnet_id_);
    if (covered == nullptr) {
        return;
    }
    failover_why why;
    auto verdict =
        covered->relationship->with([&](failover *core, failover_clock) { return failover_on_other(core, &why); });
    if (verdict != FAILOVER_GO_ON) {
        dropQuery(handle, query, why.text);
    }
}

} // namespace shim
