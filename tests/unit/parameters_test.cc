// SPDX-License-Identifier: MPL-2.0
#include "shim_fixture.h"

#include <cc/dhcp_config_error.h>
#include <cstring>
#include <dlfcn.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include "load_balance.h"

using namespace shim_test;

// ---- The addresses of this machine, as these tests want them --------------------------------------------------------

namespace {

std::vector<std::string> local_addresses; // empty: the real ones

struct Interface {
    ifaddrs entry;
    sockaddr_in address;
};
std::vector<Interface> interfaces;

} // namespace

// The shim is linked into this program, so its question goes here.
extern "C" int getifaddrs(ifaddrs **list) {
    if (local_addresses.empty()) {
        auto real = reinterpret_cast<int (*)(ifaddrs **)>(dlsym(RTLD_NEXT, "getifaddrs"));
        return real(list);
    }
    interfaces.assign(local_addresses.size(), Interface{});
    for (size_t i = 0; i < interfaces.size(); i++) {
        Interface &it = interfaces[i];
        it.address.sin_family = AF_INET;
        inet_pton(AF_INET, local_addresses[i].c_str(), &it.address.sin_addr);
        it.entry.ifa_addr = reinterpret_cast<sockaddr *>(&it.address);
        it.entry.ifa_next = i + 1 < interfaces.size() ? &interfaces[i + 1].entry : nullptr;
    }
    *list = &interfaces[0].entry;
    return 0;
}

extern "C" void freeifaddrs(ifaddrs *list) {
    if (interfaces.empty() || list != &interfaces[0].entry) {
        auto real = reinterpret_cast<void (*)(ifaddrs *)>(dlsym(RTLD_NEXT, "freeifaddrs"));
        real(list);
    }
}

// ---- Parameters that are right, and a way to spoil them -------------------------------------------------------------

namespace {

const char *const GOOD = R"({
  "relationships": [ {
    "name": "dc1",
    "peers": [ { "name": "server1", "role": "primary", "address": "192.0.2.1" },
               { "name": "server2", "role": "secondary", "address": "192.0.2.2" } ]
  } ] })";

class Parameters : public ::testing::Test {
protected:
    Parameters() {
        CfgMgr::instance().clear();
        local_addresses = {"127.0.0.1", "192.0.2.1"};
        all = boost::const_pointer_cast<Element>(ConstElementPtr(Element::fromJSON(GOOD)));
    }
    ~Parameters() override {
        local_addresses.clear();
    }
    ElementPtr relationship(size_t i = 0) {
        return at(all->get("relationships"), i);
    }
    ElementPtr peer(size_t i) {
        return at(relationship()->get("peers"), i);
    }
    static ElementPtr at(const ConstElementPtr &list, size_t i) {
        return boost::const_pointer_cast<Element>(list->get(int(i)));
    }
    ElementPtr addRelationship(const std::string &json) {
        boost::const_pointer_cast<Element>(all->get("relationships"))->add(Element::fromJSON(json));
        return relationship(1);
    }
    // The text of the error; empty: there is none.
    std::string error() {
        try {
            shim::parseParameters(all);
        } catch (const isc::ConfigError &e) {
            return e.what();
        }
        return "";
    }
    std::string errorOf(const std::string &json) {
        all = boost::const_pointer_cast<Element>(ConstElementPtr(Element::fromJSON(json)));
        return error();
    }
    failover_config core() {
        return shim::parseParameters(all).relationships.at(0).core;
    }
    std::vector<std::string> warnings() {
        return shim::parseParameters(all).warnings;
    }
    bool warnsOf(const std::string &what) {
        auto all = warnings();
        return std::any_of(all.begin(), all.end(), [&](auto &w) { return contains(w, what); });
    }

    ElementPtr all;
};

#define EXPECT_ERROR(part)                                                                                             \
    do {                                                                                                               \
        std::string text = error();                                                                                    \
        EXPECT_PRED2(contains, text, part);                                                                            \
    } while (false)

// ---- What must be there ---------------------------------------------------------------------------------------------

TEST_F(Parameters, NameAndPeersAreEnough) {
    EXPECT_EQ("", error());
}

TEST_F(Parameters, DefaultsAreThoseOfTheDesign) {
    failover_config c = core();
    EXPECT_EQ(3600u, c.mclt);
    EXPECT_EQ(3u, c.load_balance_max_seconds);
    EXPECT_EQ(60u, c.max_response_delay);
    EXPECT_EQ(100u, c.max_unacked_updates);
    EXPECT_EQ(10u, c.startup_delay);
    EXPECT_EQ(0u, c.auto_partner_down);
    EXPECT_EQ(FAILOVER_REPLACE, c.interrupted_leases);
    EXPECT_FALSE(c.partner_down_full);
    EXPECT_EQ(647, c.local.port);
    EXPECT_EQ(647, c.partner.port);
}

TEST_F(Parameters, DefaultSplitGivesEachServerHalfOfTheBuckets) {
    failover_config c = core();
    EXPECT_TRUE(failover_bucket_is_primarys(c.hba, 127));
    EXPECT_FALSE(failover_bucket_is_primarys(c.hba, 128));
}

TEST_F(Parameters, NoWarningsWithDefaults) {
    EXPECT_TRUE(warnings().empty());
}

TEST_F(Parameters, NoParametersAtAllIsAnError) {
    EXPECT_THROW(shim::parseParameters(ConstElementPtr()), isc::ConfigError);
}

TEST_F(Parameters, ParametersThatAreNoMapAreAnError) {
    EXPECT_PRED2(contains, errorOf("[ ]"), "must be a map");
}

TEST_F(Parameters, RelationshipsMissing) {
    EXPECT_PRED2(contains, errorOf("{ }"), "\"relationships\"");
    EXPECT_PRED2(contains, errorOf("{ }"), "<string>:1:2");
}

TEST_F(Parameters, RelationshipsThatAreNoList) {
    EXPECT_PRED2(contains, errorOf(R"({"relationships": {}})"), "relationships (<string>:1:");
    EXPECT_PRED2(contains, error(), "must be a list, not a map");
}

TEST_F(Parameters, NoRelationshipInTheList) {
    EXPECT_PRED2(contains, errorOf(R"({"relationships": []})"), "is empty");
}

TEST_F(Parameters, RelationshipThatIsNoMap) {
    EXPECT_PRED2(contains, errorOf(R"({"relationships": [ 5 ]})"), "relationships[0] (<string>:1:");
}

TEST_F(Parameters, NameMissing) {
    relationship()->remove("name");
    EXPECT_ERROR("\"name\" is missing");
    EXPECT_ERROR("relationships[0]");
}

TEST_F(Parameters, PeersMissing) {
    relationship()->remove("peers");
    EXPECT_ERROR("\"peers\" is missing");
}

// ---- Name -----------------------------------------------------------------------------------------------------------

TEST_F(Parameters, NameIsTaken) {
    EXPECT_STREQ("dc1", core().name);
}

TEST_F(Parameters, NameMustBeAString) {
    relationship()->set("name", Element::create(5));
    EXPECT_ERROR("relationships[0].name");
    EXPECT_ERROR("must be a string, not a integer");
}

TEST_F(Parameters, NameMustNotBeEmpty) {
    relationship()->set("name", Element::create(""));
    EXPECT_ERROR("1 to 255 characters");
}

TEST_F(Parameters, NameOf255CharactersIsTaken) {
    relationship()->set("name", Element::create(std::string(255, 'x')));
    EXPECT_EQ(255u, strlen(core().name));
}

TEST_F(Parameters, NameOf256CharactersIsRefused) {
    relationship()->set("name", Element::create(std::string(256, 'x')));
    EXPECT_ERROR("1 to 255 characters");
}

TEST_F(Parameters, NameWithANulIsRefused) {
    relationship()->set("name", Element::create(std::string("d\0c", 3)));
    EXPECT_ERROR("relationships[0].name");
}

// ---- Unknown keys ---------------------------------------------------------------------------------------------------

TEST_F(Parameters, UnknownKeyAtTheTopIsNamedWithItsPosition) {
    EXPECT_PRED2(contains, errorOf("{ \"relationships\": [],\n  \"foo\": 1 }"), "foo (<string>:2:10)");
    EXPECT_ERROR("unknown parameter \"foo\"");
    EXPECT_ERROR("database, relationships");
}

TEST_F(Parameters, AnUnknownKeyWithANulDoesNotEndTheText) {
    all->set(std::string("relationship\0s", 14), Element::createList());
    EXPECT_ERROR("unknown parameter \"relationship?s\"; known here are: database, relationships");
}

TEST_F(Parameters, UnknownKeyInARelationshipIsNamedWithItsPathAndPosition) {
    EXPECT_PRED2(contains, errorOf("{ \"relationships\": [ {\n \"name\": \"dc1\",\n \"mclt-seconds\": 60 } ] }"),
                 "relationships[0].mclt-seconds (<string>:3:18): unknown parameter \"mclt-seconds\"");
    EXPECT_ERROR("mclt, ");
}

TEST_F(Parameters, UnknownKeyInAPeerIsNamedWithItsPath) {
    peer(1)->set("prot", Element::create(647));
    EXPECT_ERROR("relationships[0].peers[1].prot");
    EXPECT_ERROR("address, name, port, role");
}

TEST_F(Parameters, CommentAndUserContextAreAllowedEverywhere) {
    for (const ElementPtr &map : {all, relationship(), peer(0)}) {
        map->set("comment", Element::create("words"));
        map->set("user-context", Element::createMap());
    }
    EXPECT_EQ("", error());
}

// ---- Integers: each key, both ends of its range, and a string in its place ------------------------------------------

struct IntegerKey {
    const char *key;
    int64_t low, high;
    std::function<int64_t(const failover_config &)> read;
};

void PrintTo(const IntegerKey &k, std::ostream *out) {
    *out << k.key;
}

class IntegerParameter : public Parameters, public ::testing::WithParamInterface<IntegerKey> {
protected:
    void set(int64_t value) {
        relationship()->set(GetParam().key, Element::create(static_cast<long long>(value)));
    }
    std::string path() {
        return std::string("relationships[0].") + GetParam().key + " (";
    }
    std::string range() {
        return std::to_string(GetParam().low) + " to " + std::to_string(GetParam().high);
    }
};

TEST_P(IntegerParameter, LowestValueIsTaken) {
    set(GetParam().low);
    EXPECT_EQ(GetParam().low, GetParam().read(core()));
}

TEST_P(IntegerParameter, HighestValueIsTaken) {
    set(GetParam().high);
    EXPECT_EQ(GetParam().high, GetParam().read(core()));
}

TEST_P(IntegerParameter, BelowTheLowestIsRefused) {
    set(GetParam().low - 1);
    EXPECT_ERROR(path());
    EXPECT_ERROR("must be " + range() + ", not " + std::to_string(GetParam().low - 1));
}

TEST_P(IntegerParameter, AboveTheHighestIsRefused) {
    set(GetParam().high + 1);
    EXPECT_ERROR(path());
    EXPECT_ERROR("must be " + range());
}

// What 32 bits would wrap round to something legal.
TEST_P(IntegerParameter, BeyondThirtyTwoBitsIsRefused) {
    set((int64_t(1) << 32) + GetParam().low);
    EXPECT_ERROR(path());
}

TEST_P(IntegerParameter, StringIsRefused) {
    relationship()->set(GetParam().key, Element::create(std::to_string(GetParam().low)));
    EXPECT_ERROR(path());
    EXPECT_ERROR("must be an integer, not a string");
}

TEST_P(IntegerParameter, RealNumberIsRefused) {
    relationship()->set(GetParam().key, Element::create(double(GetParam().low)));
    EXPECT_ERROR("must be an integer, not a real");
}

const int64_t YEAR = 366 * 86400;
INSTANTIATE_TEST_SUITE_P(
    Each, IntegerParameter,
    ::testing::Values(IntegerKey{"mclt", 1, YEAR, [](auto &c) { return c.mclt; }},
                      IntegerKey{"load-balance-max-seconds", 0, 65535,
                                 [](auto &c) { return c.load_balance_max_seconds; }},
                      IntegerKey{"max-response-delay", 9, 86400, [](auto &c) { return c.max_response_delay; }},
                      IntegerKey{"max-unacked-updates", 1, 65535, [](auto &c) { return c.max_unacked_updates; }},
                      IntegerKey{"startup-delay", 1, 3600, [](auto &c) { return c.startup_delay; }},
                      IntegerKey{"auto-partner-down", 0, YEAR, [](auto &c) { return c.auto_partner_down; }},
                      IntegerKey{"max-lease-misbalance", 0, 100, [](auto &c) { return c.max_lease_misbalance; }},
                      IntegerKey{"max-lease-ownership", 0, 100, [](auto &c) { return c.max_lease_ownership; }},
                      IntegerKey{"min-balance", 0, 86400, [](auto &c) { return c.min_balance; }},
                      IntegerKey{"max-balance", 0, 86400, [](auto &c) { return c.max_balance; }},
                      // How many buckets are the primary's.
                      IntegerKey{"split", 0, 256,
                                 [](auto &c) {
                                     int64_t buckets = 0;
                                     for (int b = 0; b < 256; b++) {
                                         buckets += failover_bucket_is_primarys(c.hba, uint8_t(b));
                                     }
                                     return buckets;
                                 }}),
    [](const auto &info) {
        std::string name = info.param.key;
        std::replace(name.begin(), name.end(), '-', '_');
        return name;
    });

// ---- Choices --------------------------------------------------------------------------------------------------------

TEST_F(Parameters, InterruptedLeasesReplace) {
    relationship()->set("interrupted-leases", Element::create("replace"));
    EXPECT_EQ(FAILOVER_REPLACE, core().interrupted_leases);
}

TEST_F(Parameters, InterruptedLeasesExtend) {
    relationship()->set("interrupted-leases", Element::create("extend"));
    EXPECT_EQ(FAILOVER_EXTEND, core().interrupted_leases);
}

TEST_F(Parameters, InterruptedLeasesOfAnotherWordListsTheTwo) {
    relationship()->set("interrupted-leases", Element::create("Replace"));
    EXPECT_ERROR("relationships[0].interrupted-leases");
    EXPECT_ERROR("must be \"extend\" or \"replace\", not \"Replace\"");
}

TEST_F(Parameters, InterruptedLeasesOfWrongType) {
    relationship()->set("interrupted-leases", Element::create(true));
    EXPECT_ERROR("must be a string, not a boolean");
}

TEST_F(Parameters, PartnerDownLeaseTimeFull) {
    relationship()->set("partner-down-lease-time", Element::create("full"));
    EXPECT_TRUE(core().partner_down_full);
}

TEST_F(Parameters, PartnerDownLeaseTimeMclt) {
    relationship()->set("partner-down-lease-time", Element::create("mclt"));
    EXPECT_FALSE(core().partner_down_full);
}

TEST_F(Parameters, PartnerDownLeaseTimeOfAnotherWord) {
    relationship()->set("partner-down-lease-time", Element::create("3600"));
    EXPECT_ERROR("relationships[0].partner-down-lease-time");
    EXPECT_ERROR("\"full\" or \"mclt\"");
}

TEST_F(Parameters, PartnerDownLeaseTimeOfWrongType) {
    relationship()->set("partner-down-lease-time", Element::create(3600));
    EXPECT_ERROR("must be a string, not a integer");
}

// ---- Split and hba --------------------------------------------------------------------------------------------------

std::string hba(const char *separator, size_t bytes = 32) {
    std::string text;
    for (size_t i = 0; i < bytes; i++) {
        text += (i == 0 ? "" : separator);
        text += i < 16 ? "fF" : "0A";
    }
    return text;
}

TEST_F(Parameters, HbaWithColons) {
    relationship()->set("hba", Element::create(hba(":")));
    failover_config c = core();
    EXPECT_EQ(0xff, c.hba[0]);
    EXPECT_EQ(0x0a, c.hba[31]);
}

TEST_F(Parameters, HbaWithoutColons) {
    relationship()->set("hba", Element::create(hba("")));
    failover_config c = core();
    EXPECT_EQ(0xff, c.hba[15]);
    EXPECT_EQ(0x0a, c.hba[16]);
}

TEST_F(Parameters, HbaOfThirtyOneBytesIsRefused) {
    relationship()->set("hba", Element::create(hba(":", 31)));
    EXPECT_ERROR("relationships[0].hba");
    EXPECT_ERROR("32 bytes in hexadecimal");
}

TEST_F(Parameters, HbaOfThirtyThreeBytesIsRefused) {
    relationship()->set("hba", Element::create(hba("", 33)));
    EXPECT_ERROR("32 bytes in hexadecimal");
}

TEST_F(Parameters, HbaWithOtherCharactersIsRefused) {
    std::string text = hba("");
    text[10] = 'g';
    relationship()->set("hba", Element::create(text));
    EXPECT_ERROR("32 bytes in hexadecimal");
}

TEST_F(Parameters, HbaThatIsNoStringIsRefused) {
    relationship()->set("hba", Element::createList());
    EXPECT_ERROR("must be a string, not a list");
}

// ---- Peers ----------------------------------------------------------------------------------------------------------

TEST_F(Parameters, PeersThatAreNoList) {
    relationship()->set("peers", Element::createMap());
    EXPECT_ERROR("relationships[0].peers");
    EXPECT_ERROR("must be a list");
}

TEST_F(Parameters, OnePeerIsTooFew) {
    boost::const_pointer_cast<Element>(relationship()->get("peers"))->remove(1);
    EXPECT_ERROR("exactly two peers, not 1");
}

TEST_F(Parameters, EmptyPeersAreTooFew) {
    relationship()->set("peers", Element::createList());
    EXPECT_ERROR("exactly two peers, not 0");
}

TEST_F(Parameters, PeerThatIsNoMap) {
    boost::const_pointer_cast<Element>(relationship()->get("peers"))->set(1, Element::create("server2"));
    EXPECT_ERROR("relationships[0].peers[1]");
    EXPECT_ERROR("must be a map, not a string");
}

TEST_F(Parameters, PeerNameMissing) {
    peer(0)->remove("name");
    EXPECT_ERROR("relationships[0].peers[0]");
    EXPECT_ERROR("\"name\" is missing");
}

TEST_F(Parameters, PeerNameOfWrongType) {
    peer(0)->set("name", Element::create(1));
    EXPECT_ERROR("relationships[0].peers[0].name");
}

TEST_F(Parameters, PeerRoleMissing) {
    peer(1)->remove("role");
    EXPECT_ERROR("\"role\" is missing");
}

TEST_F(Parameters, PeerRoleOfAnotherWord) {
    peer(1)->set("role", Element::create("standby"));
    EXPECT_ERROR("relationships[0].peers[1].role");
    EXPECT_ERROR("\"primary\" or \"secondary\", not \"standby\"");
}

TEST_F(Parameters, PeerRoleOfWrongType) {
    peer(1)->set("role", Element::create(2));
    EXPECT_ERROR("must be a string");
}

TEST_F(Parameters, PeerAddressMissing) {
    peer(0)->remove("address");
    EXPECT_ERROR("\"address\" is missing");
}

TEST_F(Parameters, PeerAddressThatIsNone) {
    peer(0)->set("address", Element::create("192.0.2"));
    EXPECT_ERROR("relationships[0].peers[0].address");
    EXPECT_ERROR("\"192.0.2\" is no IPv4 address");
}

TEST_F(Parameters, PeerAddressOfIpv6IsRefused) {
    peer(0)->set("address", Element::create("2001:db8::1"));
    EXPECT_ERROR("is no IPv4 address");
}

TEST_F(Parameters, PeerAddressOfWrongType) {
    peer(0)->set("address", Element::create(1));
    EXPECT_ERROR("must be a string");
}

TEST_F(Parameters, PeerPortsAreTaken) {
    peer(0)->set("port", Element::create(1));
    peer(1)->set("port", Element::create(65535));
    EXPECT_EQ(1, core().local.port);
    EXPECT_EQ(65535, core().partner.port);
}

TEST_F(Parameters, PeerPortZeroIsRefused) {
    peer(0)->set("port", Element::create(0));
    EXPECT_ERROR("relationships[0].peers[0].port");
    EXPECT_ERROR("1 to 65535");
}

TEST_F(Parameters, PeerPort65536IsRefused) {
    peer(0)->set("port", Element::create(65536));
    EXPECT_ERROR("1 to 65535");
}

TEST_F(Parameters, PeerPortOfWrongType) {
    peer(0)->set("port", Element::create("647"));
    EXPECT_ERROR("must be an integer, not a string");
}

TEST_F(Parameters, TwoPrimariesAreRefused) {
    peer(1)->set("role", Element::create("primary"));
    EXPECT_ERROR("one peer must be the primary and the other the secondary");
}

TEST_F(Parameters, PeersOfOneAddressAreRefused) {
    peer(1)->set("address", Element::create("192.0.2.1"));
    EXPECT_ERROR("both peers have the same address");
}

// ---- Which of the two is this server? -------------------------------------------------------------------------------

TEST_F(Parameters, ThisServerIsTheOneWhoseAddressAnInterfaceBears) {
    auto r = shim::parseParameters(all).relationships.at(0);
    EXPECT_EQ("server1", r.this_server);
    EXPECT_EQ("server2", r.partner_server);
    EXPECT_EQ(FAILOVER_PRIMARY, r.core.role);
    EXPECT_EQ(ip("192.0.2.1"), r.core.local.address);
    EXPECT_EQ(ip("192.0.2.2"), r.core.partner.address);
}

TEST_F(Parameters, SameFileMakesTheOtherServerTheSecondary) {
    local_addresses = {"127.0.0.1", "192.0.2.2"};
    auto r = shim::parseParameters(all).relationships.at(0);
    EXPECT_EQ("server2", r.this_server);
    EXPECT_EQ("server1", r.partner_server);
    EXPECT_EQ(FAILOVER_SECONDARY, r.core.role);
    EXPECT_EQ(ip("192.0.2.2"), r.core.local.address);
    EXPECT_EQ(ip("192.0.2.1"), r.core.partner.address);
}

TEST_F(Parameters, LoopbackAddressOfThisMachineIsFoundToo) {
    local_addresses.clear();
    peer(0)->set("address", Element::create("127.0.0.1"));
    peer(1)->set("address", Element::create("198.51.100.2"));
    EXPECT_EQ(ip("127.0.0.1"), core().local.address);
}

TEST_F(Parameters, NeitherPeerIsThisServer) {
    local_addresses = {"127.0.0.1", "192.0.2.3"};
    EXPECT_ERROR("no interface of this server bears the address of \"server1\" or \"server2\"");
    EXPECT_ERROR("this-server-name");
}

TEST_F(Parameters, BothPeersAreThisServer) {
    local_addresses = {"192.0.2.2", "192.0.2.1"};
    EXPECT_ERROR("both peers' addresses are this server's");
    EXPECT_ERROR("this-server-name");
}

TEST_F(Parameters, ThisServerNameDecidesWhereBothAddressesAreLocal) {
    local_addresses = {"192.0.2.2", "192.0.2.1"};
    relationship()->set("this-server-name", Element::create("server2"));
    EXPECT_EQ(FAILOVER_SECONDARY, core().role);
}

TEST_F(Parameters, ThisServerNameDecidesWhereNeitherAddressIsLocal) {
    local_addresses = {"127.0.0.1"};
    relationship()->set("this-server-name", Element::create("server1"));
    EXPECT_EQ(FAILOVER_PRIMARY, core().role);
}

TEST_F(Parameters, ThisServerNameMustNotBeThatOfThePeerWhoseAddressIsElsewhere) {
    local_addresses = {"192.0.2.2"};
    relationship()->set("this-server-name", Element::create("server1"));
    EXPECT_ERROR("this-server-name is \"server1\", but the address of \"server2\" is this server's");
}

TEST_F(Parameters, ThisServerNameOfWrongType) {
    relationship()->set("this-server-name", Element::create(1));
    EXPECT_ERROR("relationships[0].this-server-name");
}

// ---- Subnets --------------------------------------------------------------------------------------------------------

TEST_F(Parameters, SubnetsAreTaken) {
    relationship()->set("subnets", Element::fromJSON("[ 2, 1, 4294967294 ]"));
    EXPECT_EQ((std::set<SubnetID>{1, 2, 4294967294}), shim::parseParameters(all).relationships.at(0).subnets);
}

TEST_F(Parameters, WithoutSubnetsAllAreCovered) {
    EXPECT_TRUE(shim::parseParameters(all).relationships.at(0).subnets.empty());
}

TEST_F(Parameters, EmptySubnetsAreRefused) {
    relationship()->set("subnets", Element::createList());
    EXPECT_ERROR("relationships[0].subnets");
    EXPECT_ERROR("leave it out to cover all subnets");
}

TEST_F(Parameters, SubnetListedTwice) {
    relationship()->set("subnets", Element::fromJSON("[ 1, 2, 1 ]"));
    EXPECT_ERROR("relationships[0].subnets[2]");
    EXPECT_ERROR("listed twice");
}

TEST_F(Parameters, SubnetZeroIsRefused) {
    relationship()->set("subnets", Element::fromJSON("[ 0 ]"));
    EXPECT_ERROR("1 to 4294967294");
}

TEST_F(Parameters, SubnetBeyondTheLastIdIsRefused) {
    relationship()->set("subnets", Element::fromJSON("[ 4294967295 ]"));
    EXPECT_ERROR("1 to 4294967294");
}

TEST_F(Parameters, SubnetOfWrongType) {
    relationship()->set("subnets", Element::fromJSON("[ \"10.64.10.0/24\" ]"));
    EXPECT_ERROR("relationships[0].subnets[0]");
    EXPECT_ERROR("must be an integer, not a string");
}

TEST_F(Parameters, SubnetsThatAreNoList) {
    relationship()->set("subnets", Element::create(1));
    EXPECT_ERROR("must be a list, not a integer");
}

// ---- Two relationships ----------------------------------------------------------------------------------------------

const char *const SECOND = R"({ "name": "dc2", "subnets": [ 2 ],
    "peers": [ { "name": "server1", "role": "primary", "address": "192.0.2.1" },
               { "name": "server3", "role": "secondary", "address": "192.0.2.3" } ] })";

TEST_F(Parameters, TwoRelationshipsOverSubnetsOfTheirOwn) {
    relationship()->set("subnets", Element::fromJSON("[ 1 ]"));
    addRelationship(SECOND);
    EXPECT_EQ(2u, shim::parseParameters(all).relationships.size());
}

TEST_F(Parameters, TwoRelationshipsOfOneName) {
    relationship()->set("subnets", Element::fromJSON("[ 1 ]"));
    addRelationship(SECOND)->set("name", Element::create("dc1"));
    EXPECT_ERROR("two relationships are called \"dc1\"");
}

TEST_F(Parameters, TwoRelationshipsBetweenTheSameAddresses) {
    relationship()->set("subnets", Element::fromJSON("[ 1 ]"));
    at(addRelationship(SECOND)->get("peers"), 1)->set("address", Element::create("192.0.2.2"));
    EXPECT_ERROR("\"dc1\" and \"dc2\" are between the same two addresses");
}

TEST_F(Parameters, TwoRelationshipsOverOneSubnet) {
    relationship()->set("subnets", Element::fromJSON("[ 1, 2 ]"));
    addRelationship(SECOND);
    EXPECT_ERROR("\"dc1\" and \"dc2\" both cover the subnet 2");
}

TEST_F(Parameters, TwoRelationshipsOfWhichOneSaysNoSubnets) {
    addRelationship(SECOND);
    EXPECT_ERROR("with several relationships each needs \"subnets\"");
}

TEST_F(Parameters, ErrorInTheSecondRelationshipNamesIt) {
    relationship()->set("subnets", Element::fromJSON("[ 1 ]"));
    addRelationship(SECOND)->set("mclt", Element::create(0));
    EXPECT_ERROR("relationships[1].mclt");
}

// ---- Database -------------------------------------------------------------------------------------------------------

std::string dataDirectory() {
    std::string directory = CfgMgr::instance().getDataDir();
    return directory.empty() ? "/var/lib/kea" : directory;
}

TEST_F(Parameters, DatabaseIsInKeasDataDirectory) {
    EXPECT_EQ(dataDirectory() + "/failover.db", shim::parseParameters(all).database);
}

TEST_F(Parameters, AbsoluteDatabasePathIsTaken) {
    all->set("database", Element::create("/srv/kea/fo.db"));
    EXPECT_EQ("/srv/kea/fo.db", shim::parseParameters(all).database);
}

TEST_F(Parameters, RelativeDatabasePathIsInKeasDataDirectory) {
    all->set("database", Element::create("fo.db"));
    EXPECT_EQ(dataDirectory() + "/fo.db", shim::parseParameters(all).database);
}

TEST_F(Parameters, DatabaseOfWrongType) {
    all->set("database", Element::create(false));
    EXPECT_ERROR("database");
    EXPECT_ERROR("must be a string, not a boolean");
}

TEST_F(Parameters, EmptyDatabasePathIsRefused) {
    all->set("database", Element::create(""));
    EXPECT_ERROR("1 to 4000 characters");
}

// ---- Legal but risky ------------------------------------------------------------------------------------------------

TEST_F(Parameters, SplitZeroIsWarnedOf) {
    relationship()->set("split", Element::create(0));
    EXPECT_TRUE(warnsOf("split 0: the primary answers new clients only when"));
}

TEST_F(Parameters, Split256IsWarnedOf) {
    relationship()->set("split", Element::create(256));
    EXPECT_TRUE(warnsOf("split 256: the secondary answers new clients only when"));
}

TEST_F(Parameters, OtherSplitsAreNotWarnedOf) {
    relationship()->set("split", Element::create(1));
    EXPECT_TRUE(warnings().empty());
}

TEST_F(Parameters, WarningsNameTheRelationship) {
    relationship()->set("split", Element::create(0));
    EXPECT_TRUE(warnsOf("relationship \"dc1\""));
}

} // namespace
