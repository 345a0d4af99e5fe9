// SPDX-License-Identifier: MPL-2.0
//
// callouts.h - what the hook points do: read arguments, ask or tell the core, write the answer.
#ifndef FAILOVER_CALLOUTS_H
#define FAILOVER_CALLOUTS_H

#include "kea_version.h"

#include "service.h"

namespace shim {

void subnetSelected(Service &service, isc::hooks::CalloutHandle &handle);
void leaseSelected(Service &service, isc::hooks::CalloutHandle &handle);
void leaseRenewed(Service &service, isc::hooks::CalloutHandle &handle);
void leasesCommitted(Service &service, isc::hooks::CalloutHandle &handle);
// lease4_release and lease4_decline: refused where the state is silent.
void leaseGivenBack(Service &service, isc::hooks::CalloutHandle &handle);

} // namespace shim

#endif
