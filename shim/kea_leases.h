// SPDX-License-Identifier: MPL-2.0
//
// kea_leases.h - Kea's leases and reservations: rows that come and go with right statistics and DNS removals. Kea's
// lease database holds only what clients hold; everything else is the core's.
#ifndef FAILOVER_KEA_LEASES_H
#define FAILOVER_KEA_LEASES_H

#include "kea_version.h"

#include <dhcp/pkt4.h>
#include <dhcpsrv/lease.h>
#include <dhcpsrv/srv_config.h>
#include <functional>
#include <set>
#include <vector>

#include "failover.h"

namespace shim {

// The client as a binding knows it. `id` is null where the subnet doesn't match client identifiers.
failover_client toClient(const isc::dhcp::HWAddrPtr &hwaddr, const isc::dhcp::ClientIdPtr &id);
// The option itself, to look at: Kea's getOption() copies it during a callout, lest that changes it. Null: there is none.
isc::dhcp::OptionPtr optionOf(const isc::dhcp::Pkt4Ptr &query, uint16_t type);
isc::dhcp::ClientIdPtr clientIdOf(const isc::dhcp::Pkt4Ptr &query);

// The row as the core wants to see it.
failover_lease toLease(const isc::dhcp::Lease4 &row);

// Deletes a row with everything that goes with it: statistics, and the removal of its DNS entries.
void removeRow(const isc::dhcp::Lease4Ptr &row);

// Brings a change of the core's into Kea's database. `network` holds the subnet and those that share its network.
void applyChange(const failover_lease_change &change, isc::dhcp::SubnetID subnet,
                 const std::set<isc::dhcp::SubnetID> &network);

// The rows of a client in these subnets, by identifier and by hardware address.
isc::dhcp::Lease4Collection rowsOf(const isc::dhcp::HWAddrPtr &hwaddr, const isc::dhcp::ClientIdPtr &id,
                                   const std::set<isc::dhcp::SubnetID> &subnets);
// Calls keep(row) for each row of a client that Kea would find. False: the row goes, and Kea would look further.
void eachRowOf(const isc::dhcp::HWAddrPtr &hwaddr, const isc::dhcp::ClientIdPtr &id,
               const std::set<isc::dhcp::SubnetID> &subnets,
               const std::function<bool(const isc::dhcp::Lease4Ptr &)> &keep);

// Can there be reservations in this subnet at all? Spares a query for each packet where there are none.
bool mayHaveReservations(const isc::dhcp::SrvConfigPtr &config, const isc::dhcp::Subnet4Ptr &subnet);
// The addresses that are reserved for clients of a subnet, from the configuration and from host databases, the global
// reservations included where it takes them.
std::vector<uint32_t> reservedAddresses(const isc::dhcp::SrvConfigPtr &config,
                                        const isc::dhcp::ConstSubnet4Ptr &subnet);
// The addresses reserved for the client of a query in the subnet and those that share its network.
std::vector<uint32_t> reservationsFor(const isc::dhcp::Pkt4Ptr &query, const isc::dhcp::ConstSubnet4Ptr &subnet);
bool isReserved(const isc::dhcp::ConstSubnet4Ptr &subnet, uint32_t address);
// Does Kea by itself give the address to nobody but the client it is reserved for? Not where the reservation is global.
bool isKeptByKea(const isc::dhcp::ConstSubnet4Ptr &subnet, uint32_t address);
// Another library makes flexible identifiers, after subnet4_select: only Kea knows whose such a reservation is.
bool hasFlexibleIdentifiers();

} // namespace shim

#endif
