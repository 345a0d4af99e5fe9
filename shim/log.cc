// SPDX-License-Identifier: MPL-2.0
#include "log.h"

namespace shim {

isc::log::Logger logger("failover-hooks");

const isc::log::MessageID FAILOVER_CORE = "FAILOVER_CORE";
const isc::log::MessageID FAILOVER_LOADED = "FAILOVER_LOADED";
const isc::log::MessageID FAILOVER_UNLOADED = "FAILOVER_UNLOADED";
const isc::log::MessageID FAILOVER_CONFIGURATION_RISKY = "FAILOVER_CONFIGURATION_RISKY";
const isc::log::MessageID FAILOVER_CONFIGURATION_FAILED = "FAILOVER_CONFIGURATION_FAILED";
const isc::log::MessageID FAILOVER_DATABASE = "FAILOVER_DATABASE";
const isc::log::MessageID FAILOVER_CALLOUT_FAILED = "FAILOVER_CALLOUT_FAILED";
const isc::log::MessageID FAILOVER_QUERY_DROPPED = "FAILOVER_QUERY_DROPPED";
const isc::log::MessageID FAILOVER_QUERY_REFUSED = "FAILOVER_QUERY_REFUSED";
const isc::log::MessageID FAILOVER_ADDRESS_REFUSED = "FAILOVER_ADDRESS_REFUSED";
const isc::log::MessageID FAILOVER_ADDRESS_REPLACED = "FAILOVER_ADDRESS_REPLACED";
const isc::log::MessageID FAILOVER_LEASE_FAILED = "FAILOVER_LEASE_FAILED";
const isc::log::MessageID FAILOVER_LEASES_RECONCILED = "FAILOVER_LEASES_RECONCILED";
const isc::log::MessageID FAILOVER_FORCED = "FAILOVER_FORCED";

namespace {

const char *texts[] = {
    "FAILOVER_CORE",
    "%1",
    "FAILOVER_LOADED",
    "failover hook library loaded, %1 relationship(s)",
    "FAILOVER_UNLOADED",
    "failover hook library unloaded",
    "FAILOVER_CONFIGURATION_RISKY",
    "%1",
    "FAILOVER_CONFIGURATION_FAILED",
    "%1",
    "FAILOVER_DATABASE",
    "%1",
    "FAILOVER_CALLOUT_FAILED",
    "%1 failed, the query is dropped: %2",
    "FAILOVER_QUERY_DROPPED",
    "%1: %2 is not answered: %3",
    "FAILOVER_QUERY_REFUSED",
    "%1: the client is refused %2: %3",
    "FAILOVER_ADDRESS_REFUSED",
    "%1: %2 is not given: %3",
    "FAILOVER_ADDRESS_REPLACED",
    "%1: %2 is offered in place of %3: %4",
    "FAILOVER_LEASE_FAILED",
    "the lease on %1 could not be brought into Kea's database: %2",
    "FAILOVER_LEASES_RECONCILED",
    "%1: Kea's database holds %2 leases of it; the failover database %3 bindings",
    "FAILOVER_FORCED",
    "%1: force-state %2: %3",
    nullptr,
};

const isc::log::MessageInitializer initializer(texts);

} // namespace

void log(failover_severity severity, const char *text) {
    switch (severity) {
    case FAILOVER_ERROR:
        LOG_ERROR(logger, FAILOVER_CORE).arg(text);
        break;
    case FAILOVER_WARN:
        LOG_WARN(logger, FAILOVER_CORE).arg(text);
        break;
    case FAILOVER_INFO:
        LOG_INFO(logger, FAILOVER_CORE).arg(text);
        break;
    default:
        LOG_DEBUG(logger, isc::log::DBGLVL_TRACE_BASIC, FAILOVER_CORE).arg(text);
        break;
    }
}

} // namespace shim
