// SPDX-License-Identifier: MPL-2.0
//
// hook.cc - what Kea looks for in a hook library: version, load, unload, and the callouts by their names. Every one
// catches everything: a query that can't be judged is dropped, never let through.
#include "kea_version.h"

#include <asiolink/asio_wrapper.h>
#include <cc/command_interpreter.h>
#include <cc/dhcp_config_error.h>
#include <dhcpsrv/cfgmgr.h>
#include <process/daemon.h>

#include "callouts.h"
#include "commands.h"
#include "log.h"
#include "parameters.h"
#include "service.h"
#include "sockets.h"

using isc::data::ConstElementPtr;
using isc::hooks::CalloutHandle;
using isc::hooks::LibraryHandle;

namespace {

std::unique_ptr<shim::Service> service;

// Runs a callout; what goes wrong in it is logged, and the query is dropped.
template <typename Callout>
int guarded(const char *name, CalloutHandle &handle, Callout callout) {
    try {
        if (service) {
            callout(*service, handle);
        }
    } catch (const std::exception &error) {
        LOG_ERROR(shim::logger, shim::FAILOVER_CALLOUT_FAILED).arg(name).arg(error.what());
        handle.setStatus(CalloutHandle::NEXT_STEP_DROP);
    } catch (...) {
        LOG_ERROR(shim::logger, shim::FAILOVER_CALLOUT_FAILED).arg(name).arg("unknown exception");
        handle.setStatus(CalloutHandle::NEXT_STEP_DROP);
    }
    return 0;
}

using Command = ConstElementPtr (*)(shim::Service &, const ConstElementPtr &);

template <Command command>
int answer(CalloutHandle &handle) {
    ConstElementPtr response;
    try {
        ConstElementPtr whole, arguments;
        handle.getArgument("command", whole);
        isc::config::parseCommand(arguments, whole);
        response = service
                       ? command(*service, arguments)
                       : isc::config::createAnswer(isc::config::CONTROL_RESULT_ERROR, "the hook is not running yet");
    } catch (const std::exception &error) {
        response = isc::config::createAnswer(isc::config::CONTROL_RESULT_ERROR, error.what());
    }
    handle.setArgument("response", response);
    return 0;
}

bool inDhcp4() {
    return isc::dhcp::CfgMgr::instance().getFamily() == AF_INET && isc::process::Daemon::getProcName() == "kea-dhcp4";
}

} // namespace

extern "C" {

#define EXPORT __attribute__((visibility("default")))

EXPORT int version() {
    return KEA_HOOKS_VERSION;
}

EXPORT int multi_threading_compatible() {
    return 1;
}

EXPORT int load(LibraryHandle &handle) {
    try {
        if (!inDhcp4()) {
            isc_throw(isc::ConfigError,
                      "the failover hook is for kea-dhcp4 only, not for " << isc::process::Daemon::getProcName());
        }
        shim::Parameters parameters = shim::parseParameters(handle.getParameters());
        for (const std::string &warning : parameters.warnings) {
            LOG_WARN(shim::logger, shim::FAILOVER_CONFIGURATION_RISKY).arg(warning);
        }
        service = std::make_unique<shim::Service>(parameters);
        handle.registerCommandCallout("force-state", answer<shim::forceState>);
        handle.registerCommandCallout("failover-status", answer<shim::failoverStatus>);
        handle.registerCommandCallout("failover-binding", answer<shim::failoverBinding>);
        handle.registerCommandCallout("failover-sync", answer<shim::failoverSync>);
        LOG_INFO(shim::logger, shim::FAILOVER_LOADED).arg(parameters.relationships.size());
        return 0;
    } catch (const std::exception &error) {
        LOG_ERROR(shim::logger, shim::FAILOVER_CONFIGURATION_FAILED).arg(error.what());
    }
    return 1;
}

EXPORT int unload() {
    try {
        service.reset();
        LOG_INFO(shim::logger, shim::FAILOVER_UNLOADED);
        return 0;
    } catch (const std::exception &error) {
        LOG_ERROR(shim::logger, shim::FAILOVER_CALLOUT_FAILED).arg("unload").arg(error.what());
    }
    return 1;
}

EXPORT int dhcp4_srv_configured(CalloutHandle &handle) {
    try {
        isc::dhcp::SrvConfigPtr config;
        handle.getArgument("server_config", config);
        service->start(config);
        shim::widenReceiveBuffers();
    } catch (const std::exception &error) {
        LOG_ERROR(shim::logger, shim::FAILOVER_CONFIGURATION_FAILED).arg(error.what());
        handle.setArgument("error", std::string("failover: ") + error.what());
        handle.setStatus(CalloutHandle::NEXT_STEP_DROP);
    }
    return 0;
}

EXPORT int subnet4_select(CalloutHandle &handle) {
    return guarded("subnet4_select", handle, shim::subnetSelected);
}

EXPORT int lease4_select(CalloutHandle &handle) {
    int result = guarded("lease4_select", handle, shim::leaseSelected);
    if (handle.getStatus() == CalloutHandle::NEXT_STEP_DROP) {
        handle.setStatus(CalloutHandle::NEXT_STEP_SKIP); // Kea takes DROP for "go on" here
    }
    return result;
}

EXPORT int lease4_renew(CalloutHandle &handle) {
    return guarded("lease4_renew", handle, shim::leaseRenewed);
}

EXPORT int leases4_committed(CalloutHandle &handle) {
    return guarded("leases4_committed", handle, shim::leasesCommitted);
}

EXPORT int lease4_release(CalloutHandle &handle) {
    return guarded("lease4_release", handle, shim::leaseGivenBack);
}

EXPORT int lease4_decline(CalloutHandle &handle) {
    return guarded("lease4_decline", handle, shim::leaseGivenBack);
}

EXPORT int command_processed(CalloutHandle &handle) {
    return guarded("command_processed", handle, shim::commandProcessed);
}

} // extern "C"
