// SPDX-License-Identifier: MPL-2.0
//
// parameters.h - the hook's JSON parameters as the core's configuration.
#ifndef FAILOVER_PARAMETERS_H
#define FAILOVER_PARAMETERS_H

#include "kea_version.h"

#include <cc/data.h>
#include <dhcpsrv/subnet_id.h>
#include <set>
#include <string>
#include <vector>

#include "failover.h"

namespace shim {

struct RelationshipParameters {
    failover_config core;
    std::string this_server; // the names of the two peers
    std::string partner_server;
    std::set<isc::dhcp::SubnetID> subnets; // empty: all
};

struct Parameters {
    std::string database;
    std::vector<RelationshipParameters> relationships;
    std::vector<std::string> warnings; // legal but risky
};

// Throws isc::ConfigError, whose text names the key and its place.
Parameters parseParameters(const isc::data::ConstElementPtr &parameters);

} // namespace shim

#endif
