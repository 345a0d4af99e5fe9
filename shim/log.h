// SPDX-License-Identifier: MPL-2.0
//
// log.h - messages of the logger "failover-hooks". The core's own lines come through FAILOVER_CORE.
#ifndef FAILOVER_LOG_H
#define FAILOVER_LOG_H

#include "kea_version.h"

#include <log/log_dbglevels.h>
#include <log/logger.h>
#include <log/macros.h>
#include <log/message_initializer.h>
#include <log/message_types.h>

#include "failover.h"

namespace shim {

extern isc::log::Logger logger;

// Text: "%1"; each says in its place in log.cc what it means.
extern const isc::log::MessageID FAILOVER_CORE;
extern const isc::log::MessageID FAILOVER_LOADED;
extern const isc::log::MessageID FAILOVER_UNLOADED;
extern const isc::log::MessageID FAILOVER_CONFIGURATION_RISKY;
extern const isc::log::MessageID FAILOVER_CONFIGURATION_FAILED;
extern const isc::log::MessageID FAILOVER_DATABASE;
extern const isc::log::MessageID FAILOVER_CALLOUT_FAILED;
extern const isc::log::MessageID FAILOVER_QUERY_DROPPED;
extern const isc::log::MessageID FAILOVER_QUERY_REFUSED;
extern const isc::log::MessageID FAILOVER_ADDRESS_REFUSED;
extern const isc::log::MessageID FAILOVER_ADDRESS_REPLACED;
extern const isc::log::MessageID FAILOVER_LEASE_FAILED;
extern const isc::log::MessageID FAILOVER_LEASES_RECONCILED;
extern const isc::log::MessageID FAILOVER_FORCED;

// One line of the core's.
void log(failover_severity severity, const char *text);

} // namespace shim

#endif
