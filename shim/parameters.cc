// SPDX-License-Identifier: MPL-2.0
#include "parameters.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cc/dhcp_config_error.h>
#include <dhcpsrv/cfgmgr.h>
#include <functional>
#include <ifaddrs.h>
#include <map>
#include <netinet/in.h>

#include "load_balance.h"

using isc::ConfigError;
using isc::data::ConstElementPtr;
using isc::data::Element;

namespace shim {
namespace {

// Where a value stands: its path within the parameters, and its position in the file.
struct Place {
    std::string path;
    ConstElementPtr value;
};

[[noreturn]] void fail(const Place &place, const std::string &what) {
    std::string text = place.path + " (" + place.value->getPosition().str() + "): " + what;
    std::replace(text.begin(), text.end(), '\0', '?'); // it would end the text
    isc_throw(ConfigError, text);
}

std::string typeName(const ConstElementPtr &value) {
    return Element::typeToName(Element::types(value->getType()));
}

// ---- Values ---------------------------------------------------------------------------------------------------------

int64_t integer(const Place &place, int64_t low, int64_t high) {
    if (place.value->getType() != Element::integer) {
        fail(place, "must be an integer, not a " + typeName(place.value));
    }
    int64_t value = place.value->intValue();
    if (value < low || value > high) {
        fail(place,
             "must be " + std::to_string(low) + " to " + std::to_string(high) + ", not " + std::to_string(value));
    }
    return value;
}

std::string text(const Place &place, size_t longest = FAILOVER_NAME_MAX) {
    if (place.value->getType() != Element::string) {
        fail(place, "must be a string, not a " + typeName(place.value));
    }
    std::string value = place.value->stringValue();
    if (value.empty() || value.size() > longest || value.find('\0') != std::string::npos) {
        fail(place, "must have 1 to " + std::to_string(longest) + " characters");
    }
    return value;
}

template <typename T>
T oneOf(const Place &place, const std::map<std::string, T> &choices) {
    auto choice = choices.find(text(place));
    if (choice == choices.end()) {
        std::string names;
        for (const auto &c : choices) {
            names += (names.empty() ? "\"" : " or \"") + c.first + "\"";
        }
        fail(place, "must be " + names + ", not \"" + place.value->stringValue() + "\"");
    }
    return choice->second;
}

uint32_t address(const Place &place) {
    in_addr parsed;
    if (inet_pton(AF_INET, text(place).c_str(), &parsed) != 1) {
        fail(place, "\"" + place.value->stringValue() + "\" is no IPv4 address");
    }
    return ntohl(parsed.s_addr);
}

std::vector<ConstElementPtr> list(const Place &place) {
    if (place.value->getType() != Element::list) {
        fail(place, "must be a list, not a " + typeName(place.value));
    }
    return {place.value->listValue().begin(), place.value->listValue().end()};
}

// Each key of the map has one reader; a key without one is an error that lists those that there are.
using Readers = std::map<std::string, std::function<void(const Place &)>>;

void readMap(const Place &place, const Readers &readers) {
    if (place.value->getType() != Element::map) {
        fail(place, "must be a map, not a " + typeName(place.value));
    }
    for (const auto &entry : place.value->mapValue()) {
        Place inner{place.path.empty() ? entry.first : place.path + "." + entry.first, entry.second};
        if (entry.first == "comment" || entry.first == "user-context") {
            continue; // Kea's own, allowed everywhere
        }
        auto reader = readers.find(entry.first);
        if (reader == readers.end()) {
            std::string known;
            for (const auto &r : readers) {
                known += (known.empty() ? "" : ", ") + r.first;
            }
            fail(inner, "unknown parameter \"" + entry.first + "\"; known here are: " + known);
        }
        reader->second(inner);
    }
}

void need(const Place &place, bool given, const std::string &key) {
    if (!given) {
        fail(place, "the parameter \"" + key + "\" is missing");
    }
}

// ---- Peers ----------------------------------------------------------------------------------------------------------

struct Peer {
    std::string name;
    failover_role role = FAILOVER_PRIMARY;
    failover_peer_address address{0, 647};
    bool has_role = false;
    bool has_address = false;
};

Peer parsePeer(const Place &place) {
    Peer peer;
    readMap(place, {
                       {"name", [&](const Place &p) { peer.name = text(p); }},
                       {"role",
                        [&](const Place &p) {
                            peer.role = oneOf<failover_role>(p, {{"primary", FAILOVER_PRIMARY},
                                                                 {"secondary", FAILOVER_SECONDARY}});
                            peer.has_role = true;
                        }},
                       {"address",
                        [&](const Place &p) {
                            peer.address.address = address(p);
                            peer.has_address = true;
                        }},
                       {"port", [&](const Place &p) { peer.address.port = uint16_t(integer(p, 1, 65535)); }},
                   });
    need(place, !peer.name.empty(), "name");
    need(place, peer.has_role, "role");
    need(place, peer.has_address, "address");
    return peer;
}

std::vector<Peer> parsePeers(const Place &place) {
    std::vector<Peer> peers;
    size_t i = 0;
    for (const auto &element : list(place)) {
        peers.push_back(parsePeer({place.path + "[" + std::to_string(i++) + "]", element}));
    }
    if (peers.size() != 2) {
        fail(place, "a relationship has exactly two peers, not " + std::to_string(peers.size()) +
                        "; more servers take more relationships");
    }
    if (peers[0].role == peers[1].role) {
        fail(place, "one peer must be the primary and the other the secondary");
    }
    if (peers[0].name == peers[1].name) {
        fail(place, "both peers are called \"" + peers[0].name + "\"");
    }
    if (peers[0].address.address == peers[1].address.address) {
        fail(place, "both peers have the same address");
    }
    return peers;
}

bool isLocal(uint32_t address) {
    ifaddrs *interfaces = nullptr;
    bool found = false;
    if (getifaddrs(&interfaces) != 0) {
        return false;
    }
    for (ifaddrs *i = interfaces; i != nullptr; i = i->ifa_next) {
        if (i->ifa_addr != nullptr && i->ifa_addr->sa_family == AF_INET) {
            found = found || ntohl(reinterpret_cast<sockaddr_in *>(i->ifa_addr)->sin_addr.s_addr) == address;
        }
    }
    freeifaddrs(interfaces);
    return found;
}

// A configuration that was copied from the partner with its this-server-name.
void checkNotTheOther(const Place &place, const Peer &self, const Peer &other) {
    if (!isLocal(self.address.address) && isLocal(other.address.address)) {
        fail(place,
             "this-server-name is \"" + self.name + "\", but the address of \"" + other.name + "\" is this server's");
    }
}

// Which of the peers is this server?
size_t findSelf(const Place &place, const std::vector<Peer> &peers, const std::string &this_server) {
    if (!this_server.empty()) {
        for (size_t i = 0; i < peers.size(); i++) {
            if (peers[i].name == this_server) {
                checkNotTheOther(place, peers[i], peers[1 - i]);
                return i;
            }
        }
        fail(place, "this-server-name \"" + this_server + "\" is neither \"" + peers[0].name + "\" nor \"" +
                        peers[1].name + "\"");
    }
    bool first = isLocal(peers[0].address.address);
    bool second = isLocal(peers[1].address.address);
    if (first && second) {
        fail(place, "both peers' addresses are this server's; say which it is by this-server-name");
    }
    if (!first && !second) {
        fail(place, "no interface of this server bears the address of \"" + peers[0].name + "\" or \"" + peers[1].name +
                        "\"; say which it is by this-server-name");
    }
    return first ? 0 : 1;
}

// ---- Relationship ---------------------------------------------------------------------------------------------------

// 32 bytes in hexadecimal, as dhcpd writes them (ff:ff:...), or without colons.
void parseHba(const Place &place, uint8_t hba[FAILOVER_HBA_SIZE]) {
    std::string digits;
    for (char c : text(place)) {
        if (c != ':') {
            digits += c;
        }
    }
    if (digits.size() != 2 * FAILOVER_HBA_SIZE ||
        digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
        fail(place, "must be 32 bytes in hexadecimal");
    }
    for (size_t i = 0; i < FAILOVER_HBA_SIZE; i++) {
        hba[i] = uint8_t(std::stoul(digits.substr(2 * i, 2), nullptr, 16));
    }
}

std::set<isc::dhcp::SubnetID> parseSubnets(const Place &place) {
    std::set<isc::dhcp::SubnetID> subnets;
    size_t i = 0;
    for (const auto &element : list(place)) {
        Place inner{place.path + "[" + std::to_string(i++) + "]", element};
        if (!subnets.insert(isc::dhcp::SubnetID(integer(inner, 1, UINT32_MAX - 1))).second) {
            fail(inner, "the subnet is listed twice");
        }
    }
    if (subnets.empty()) {
        fail(place, "is empty; leave it out to cover all subnets");
    }
    return subnets;
}

void warnOfRisks(const RelationshipParameters &r, int64_t split, std::vector<std::string> &warnings) {
    const failover_config &c = r.core;
    std::string name = std::string("relationship \"") + c.name + "\": ";
    if (c.auto_partner_down > 0) {
        warnings.push_back(name +
                           "auto-partner-down: if only the link fails, both servers will take the other for down "
                           "and give addresses to two clients");
    }
    if (c.auto_partner_down > 0 && c.auto_partner_down < c.mclt) {
        warnings.push_back(name + "auto-partner-down is less than mclt");
    }
    if (split == 0 || split == 256) {
        warnings.push_back(name + "split " + std::to_string(split) + ": the " + (split == 0 ? "primary" : "secondary") +
                           " answers new clients only when they have waited for load-balance-max-seconds");
    }
    if (c.mclt < 120) {
        warnings.push_back(name + "mclt is less than 120 s, twice the difference of clocks that is let pass");
    }
}

RelationshipParameters parseRelationship(const Place &place, std::vector<std::string> &warnings) {
    RelationshipParameters r;
    failover_config &c = r.core;
    std::vector<Peer> peers;
    std::string this_server;
    int64_t split = -1;
    bool hba = false;
    c = failover_config();
    failover_config_defaults(&c);

    auto seconds = [](uint32_t &value, int64_t low, int64_t high) {
        return [&value, low, high](const Place &p) { value = uint32_t(integer(p, low, high)); };
    };
    const int64_t YEAR = 366 * 86400;
    readMap(place, {
                       {"name", [&](const Place &p) { snprintf(c.name, sizeof(c.name), "%s", text(p).c_str()); }},
                       {"peers", [&](const Place &p) { peers = parsePeers(p); }},
                       {"this-server-name", [&](const Place &p) { this_server = text(p); }},
                       {"mclt", seconds(c.mclt, 1, YEAR)},
                       {"split", [&](const Place &p) { split = integer(p, 0, 256); }},
                       {"hba",
                        [&](const Place &p) {
                            parseHba(p, c.hba);
                            hba = true;
                        }},
                       {"load-balance-max-seconds", seconds(c.load_balance_max_seconds, 0, 65535)},
                       {"max-response-delay", seconds(c.max_response_delay, 9, 86400)},
                       {"max-unacked-updates", seconds(c.max_unacked_updates, 1, 65535)},
                       {"startup-delay", seconds(c.startup_delay, 1, 3600)},
                       {"auto-partner-down", seconds(c.auto_partner_down, 0, YEAR)},
                       {"interrupted-leases",
                        [&](const Place &p) {
                            c.interrupted_leases = oneOf<failover_interrupted_leases>(p, {{"replace", FAILOVER_REPLACE},
                                                                                          {"extend", FAILOVER_EXTEND}});
                        }},
                       {"partner-down-lease-time",
                        [&](const Place &p) {
                            c.partner_down_full = oneOf<bool>(p, {{"mclt", false}, {"full", true}});
                        }},
                       {"max-lease-misbalance", seconds(c.max_lease_misbalance, 0, 100)},
                       {"max-lease-ownership", seconds(c.max_lease_ownership, 0, 100)},
                       {"min-balance", seconds(c.min_balance, 0, 86400)},
                       {"max-balance", seconds(c.max_balance, 0, 86400)},
                       {"subnets", [&](const Place &p) { r.subnets = parseSubnets(p); }},
                   });
    need(place, c.name[0] != '\0', "name");
    need(place, !peers.empty(), "peers");
    if (hba && split >= 0) {
        fail(place, "split and hba exclude each other");
    }
    if (split >= 0) {
        failover_hba_from_split(unsigned(split), c.hba);
    }
    size_t self = findSelf(place, peers, this_server);
    c.role = peers[self].role;
    c.local = peers[self].address;
    c.partner = peers[1 - self].address;
    r.this_server = peers[self].name;
    r.partner_server = peers[1 - self].name;
    warnOfRisks(r, split, warnings);
    return r;
}

// What two relationships may not share.
void checkTogether(const Place &place, const std::vector<RelationshipParameters> &all) {
    for (size_t i = 0; i < all.size(); i++) {
        for (size_t j = i + 1; j < all.size(); j++) {
            const failover_config &a = all[i].core, &b = all[j].core;
            std::string both = std::string("\"") + a.name + "\" and \"" + b.name + "\"";
            if (std::string(a.name) == b.name) {
                fail(place, std::string("two relationships are called \"") + a.name + "\"");
            }
            if (a.local.address == b.local.address && a.partner.address == b.partner.address) {
                fail(place, both + " are between the same two addresses, where a connection can't tell them apart");
            }
            if (all[i].subnets.empty() || all[j].subnets.empty()) {
                fail(place, "with several relationships each needs \"subnets\"");
            }
            for (auto subnet : all[i].subnets) {
                if (all[j].subnets.count(subnet) > 0) {
                    fail(place, both + " both cover the subnet " + std::to_string(subnet));
                }
            }
        }
    }
}

std::string dataDirectory() {
    std::string directory = isc::dhcp::CfgMgr::instance().getDataDir();
    return directory.empty() ? "/var/lib/kea" : directory;
}

} // namespace

Parameters parseParameters(const ConstElementPtr &parameters) {
    Parameters result;
    result.database = dataDirectory() + "/failover.db";
    if (!parameters) {
        isc_throw(ConfigError, "the failover hook has no parameters: \"relationships\" is missing");
    }
    Place top{"", parameters};
    bool given = false;
    readMap(top, {
                     {"database",
                      [&](const Place &p) {
                          result.database = text(p, 4000);
                          if (result.database[0] != '/') {
                              result.database = dataDirectory() + "/" + result.database;
                          }
                      }},
                     {"relationships",
                      [&](const Place &p) {
                          given = true;
                          size_t i = 0;
                          for (const auto &element : list(p)) {
                              Place inner{p.path + "[" + std::to_string(i++) + "]", element};
                              result.relationships.push_back(parseRelationship(inner, result.warnings));
                          }
                          if (result.relationships.empty()) {
                              fail(p, "is empty");
                          }
                          checkTogether(p, result.relationships);
                      }},
                 });
    if (!given) {
        isc_throw(ConfigError, "the parameter \"relationships\" of the failover hook is missing ("
                                   << parameters->getPosition().str() << ")");
    }
    return result;
}

} // namespace shim
