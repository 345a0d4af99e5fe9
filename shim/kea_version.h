// SPDX-License-Identifier: MPL-2.0
//
// kea_version.h - what differs between the versions of Kea that this shim is built against, and nothing else.
#ifndef FAILOVER_KEA_VERSION_H
#define FAILOVER_KEA_VERSION_H

// Kea's own configuration header comes before any other of its headers.
#include <config.h>

#include <dhcpsrv/subnet.h>
#include <hooks/hooks.h>
#include <type_traits>

namespace shim {

// The type under which Kea stores the argument "subnet4".
using Subnet4Argument =
    std::conditional_t<(KEA_HOOKS_VERSION >= 20705), isc::dhcp::ConstSubnet4Ptr, isc::dhcp::Subnet4Ptr>;

} // namespace shim

#endif
