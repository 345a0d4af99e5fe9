// SPDX-License-Identifier: MPL-2.0
//
// commands.h - force-state, failover-status, failover-binding, failover-sync, and what status-get says of failover.
#ifndef FAILOVER_COMMANDS_H
#define FAILOVER_COMMANDS_H

#include "kea_version.h"

#include "service.h"

namespace shim {

// Each takes the arguments of the command, null if there are none, and returns the whole answer.
isc::data::ConstElementPtr forceState(Service &service, const isc::data::ConstElementPtr &arguments);
isc::data::ConstElementPtr failoverStatus(Service &service, const isc::data::ConstElementPtr &arguments);
isc::data::ConstElementPtr failoverBinding(Service &service, const isc::data::ConstElementPtr &arguments);
isc::data::ConstElementPtr failoverSync(Service &service, const isc::data::ConstElementPtr &arguments);

// command_processed: completes the answer to status-get, and takes notice of leases that operators write.
void commandProcessed(Service &service, isc::hooks::CalloutHandle &handle);

} // namespace shim

#endif
