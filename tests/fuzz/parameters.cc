// SPDX-License-Identifier: MPL-2.0
//
// The hook's parameters, as JSON text: an error that says what is wrong and where, or a configuration within the ranges
// of the README. Any other exception ends the fuzzer.
#include <cc/dhcp_config_error.h>
#include <cstring>

#include "input.h"
#include "parameters.h"

using isc::data::ConstElementPtr;
using isc::data::Element;

namespace {

void check_error(const std::string &text) {
    bool has_place = text.find("<string>") != std::string::npos || text.find("relationships") != std::string::npos;
    MUST(has_place && text.size() > 20, "\"%s\" doesn't say where", text.c_str());
}

bool within(uint32_t value, uint32_t low, uint32_t high) {
    return value >= low && value <= high;
}

void check(const shim::RelationshipParameters &r) {
    const failover_config &c = r.core;
    MUST(c.name[0] != '\0' && memchr(c.name, 0, sizeof(c.name)) != nullptr, "name");
    MUST(c.role == FAILOVER_PRIMARY || c.role == FAILOVER_SECONDARY, "role %d", c.role);
    MUST(c.local.port > 0 && c.partner.port > 0, "port");
    MUST(c.local.address != c.partner.address, "address");
    MUST(!r.this_server.empty() && !r.partner_server.empty() && r.this_server != r.partner_server, "servers");
    MUST(within(c.mclt, 1, 31622400), "mclt %u", c.mclt);
    MUST(within(c.load_balance_max_seconds, 0, 65535), "load-balance-max-seconds");
    MUST(within(c.max_response_delay, 9, 86400), "max-response-delay");
    MUST(within(c.max_unacked_updates, 1, 65535), "max-unacked-updates");
    MUST(within(c.startup_delay, 1, 3600), "startup-delay");
    MUST(within(c.auto_partner_down, 0, 31622400), "auto-partner-down");
    MUST(within(c.max_lease_misbalance, 0, 100), "max-lease-misbalance");
    MUST(within(c.max_lease_ownership, 0, 100), "max-lease-ownership");
    MUST(within(c.min_balance, 0, 86400) && within(c.max_balance, 0, 86400), "balance");
    MUST(r.subnets.count(0) == 0, "subnet 0");
}

void check(const shim::Parameters &p) {
    MUST(!p.relationships.empty(), "no relationship");
    MUST(!p.database.empty() && p.database[0] == '/' && p.database.find('\0') == std::string::npos, "database %s",
         p.database.c_str());
    for (const auto &r : p.relationships) {
        check(r);
        MUST(p.relationships.size() == 1 || !r.subnets.empty(), "a second relationship over all subnets");
    }
    for (const std::string &warning : p.warnings) {
        MUST(!warning.empty(), "a warning of nothing");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ConstElementPtr parsed;
    try {
        parsed = Element::fromJSON(std::string(reinterpret_cast<const char *>(data), size));
    } catch (const isc::Exception &) {
        return 0; // Kea's parser
    }
    try {
        check(shim::parseParameters(parsed));
    } catch (const isc::ConfigError &error) {
        check_error(error.what());
    }
    return 0;
}
