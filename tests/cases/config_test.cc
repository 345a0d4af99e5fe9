// SPDX-License-Identifier: MPL-2.0
//
// Configuration, and what Kea itself takes part in. What a case says is right is what its test asserts, and where the
// design decides otherwise the test says so.
#include "shim_fixture.h"

#include <cc/dhcp_config_error.h>
#include <fstream>
#include <log/logger_manager.h>
#include <log/logger_name.h>
#include <log/logger_specification.h>
#include <log/logger_support.h>
#include <sstream>

#include "load_balance.h"

using namespace shim_test;

namespace {

// A running hook, and parameters that name this server, so that the addresses of the machine don't matter.
class Cases : public ServiceTest {
protected:
    // One relationship with what a case is about in it.
    static std::string relationshipWith(const std::string &more, const std::string &name = "fo1") {
        return R"({ "name": ")" + name + R"(", "this-server-name": "p",
  "peers": [ { "name": "p", "role": "primary", "address": "203.0.113.1" },
             { "name": "s", "role": "secondary", "address": "203.0.113.2" } ])" +
               (more.empty() ? "" : ",\n" + more) + " }";
    }
    static shim::Parameters parse(const std::string &relationships) {
        return shim::parseParameters(Element::fromJSON("{ \"relationships\": [ " + relationships + " ] }"));
    }
    // The error; empty: there is none.
    static std::string error(const std::string &relationships) {
        try {
            parse(relationships);
        } catch (const isc::ConfigError &e) {
            return e.what();
        }
        return "";
    }
    static std::string errorWith(const std::string &more) {
        return error(relationshipWith(more));
    }
    static failover_config configWith(const std::string &more) {
        return parse(relationshipWith(more)).relationships.front().core;
    }
    // What Kea's log gets while something is done.
    std::string logOf(const std::function<void()> &what) {
        using namespace isc::log;
        std::string path = directory + "/log";
        std::filesystem::remove(path);
        OutputOption file;
        file.destination = OutputOption::DEST_FILE;
        file.filename = path;
        file.flush = true;
        LoggerSpecification specification(getRootLoggerName(), INFO);
        specification.addOutputOption(file);
        LoggerManager manager;
        manager.process(specification);
        what();
        isc::log::initLogger(); // as shim_main.cc has it
        std::stringstream text;
        text << std::ifstream(path).rdbuf();
        return text.str();
    }
    static std::string warningsWith(const std::string &more) {
        std::string all;
        for (const std::string &warning : parse(relationshipWith(more)).warnings) {
            all += warning + "\n";
        }
        return all;
    }
};

// ---- C05, C14, C21: timers that are a risk --------------------------------------------------------------------------

// A silence limit of less than two contact intervals makes a healthy pair flap. The interval is a third of the limit, and
// less than 9 s for that are refused.
TEST_F(Cases, C05_SilenceLimitTooShortIsRefused) {
    EXPECT_PRED2(contains, errorWith("\"max-response-delay\": 8"), "max-response-delay");
    EXPECT_PRED2(contains, errorWith("\"max-response-delay\": 8"), "must be 9 to 86400, not 8");
    EXPECT_EQ(9u, configWith("\"max-response-delay\": 9").max_response_delay);
}

// Both sides declare the other down by timer. It is off by default, and warned of where it is on: one file is for both.
TEST_F(Cases, C14_AutoPartnerDownIsOffAndWarnedOf) {
    EXPECT_EQ(0u, configWith("").auto_partner_down);
    EXPECT_EQ("", warningsWith(""));
    EXPECT_PRED2(contains, warningsWith("\"auto-partner-down\": 60"),
                 "if only the link fails, both servers will take the other for down");
}

// An MCLT below twice the difference of clocks that is let pass.
TEST_F(Cases, C21_McltBelowTwiceTheSkewLimitIsWarnedOf) {
    for (const char *mclt : {"30", "119"}) {
        EXPECT_PRED2(contains, warningsWith(std::string("\"mclt\": ") + mclt), "mclt is less than 120 s");
    }
    EXPECT_EQ("", warningsWith("\"mclt\": 120"));
}

// ---- C11: a relationship that is renamed ----------------------------------------------------------------------------

// The database knows it as foA, the configuration calls it dc1. By the design it is a new one, without a record and so
// in recover; there is no `previous-name`. The warning names the old one, and calling it so again brings all back.
TEST_F(Cases, C11_RenamedRelationship) {
    makeSubnet();
    own(FIRST, FIRST + 9);
    writeDatabase("foA");
    std::string log = logOf([&] { startEmpty(); });
    EXPECT_PRED2(contains, log,
                 "relationship \"dc1\" is new to the failover database, which knows relationship \"foA\", that is not "
                 "configured");
    EXPECT_EQ(FAILOVER_STARTUP, state());
    EXPECT_EQ(Answer::NOTHING, serve(shim_test::discover(client(1))).kind);
    dc1().with([](failover *core, failover_clock) {
        EXPECT_EQ(FAILOVER_RECOVER, failover_get_record(core)->state);
        EXPECT_EQ(FAILOVER_NOBODY, failover_get_record(core)->default_owner);
    });
    service.reset();
    relationship->set("name", Element::create("foA"));
    subnet.reset(); // the next configuration
    log = logOf([&] { startEmpty(); });
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
    EXPECT_FALSE(contains(log, "is new to the failover database"));
    EXPECT_EQ(Answer::OFFER, serve(shim_test::discover(client(1))).kind);
}

// ---- C32 to C35 -----------------------------------------------------------------------------------------------------

// Parameters pasted from a web page with typographic hyphens, and taken out one by one until the server starts. What is
// unknown is named with its place, and nothing but names, roles and addresses has to be given. `mclt` may be in the
// file of both, which is one file.
TEST_F(Cases, C32_PastedHyphensAndMissingParameters) {
    std::string pasted = errorWith("  \"max\u2010response\u2010delay\": 60");
    EXPECT_PRED2(contains, pasted, "unknown parameter \"max\u2010response\u2010delay\"");
    EXPECT_PRED2(contains, pasted, "<string>:4:");
    EXPECT_PRED2(contains, pasted, "max-response-delay") << "the right spelling is among those that are known";
    EXPECT_EQ("", errorWith("")) << "everything else has a default";
    EXPECT_EQ(3600u, configWith("").mclt) << "and so has mclt on the primary";
    std::string secondary = relationshipWith("\"mclt\": 60");
    secondary.replace(secondary.find("\"p\","), 4, "\"s\",");
    EXPECT_EQ("", error(secondary));
    EXPECT_EQ(FAILOVER_SECONDARY, parse(secondary).relationships.front().core.role);
    EXPECT_PRED2(contains, errorWith("\"max-unacked-updates\": 0"), "max-unacked-updates (<string>:4:");
    EXPECT_PRED2(contains, errorWith("\"max-unacked-updates\": 0"), "must be 1 to 65535, not 0");
    EXPECT_PRED2(contains, errorWith("\"mclt\": \"60\""), "must be an integer, not a string");
    EXPECT_PRED2(contains, errorWith("\"load-balance-max-secs\": 3"), "load-balance-max-seconds")
        << "a name of another program's";
}

// A parameter that one release doesn't know, and the next takes for another one.
TEST_F(Cases, C33_AutoPartnerDown) {
    EXPECT_EQ(0u, configWith("").auto_partner_down) << "off by default";
    EXPECT_EQ(0u, configWith("\"auto-partner-down\": 0").auto_partner_down);
    EXPECT_EQ(300u, configWith("\"auto-partner-down\": 300").auto_partner_down);
    for (const char *seconds : {"300", "3599"}) {
        EXPECT_PRED2(contains, warningsWith(std::string("\"auto-partner-down\": ") + seconds),
                     "auto-partner-down is less than mclt");
    }
    EXPECT_FALSE(contains(warningsWith("\"auto-partner-down\": 3600"), "less than mclt"));
    EXPECT_PRED2(contains, errorWith("\"auto-partner-down\": -1"), "must be 0 to 31622400, not -1");
    EXPECT_PRED2(contains, errorWith("\"auto-partner-down\": \"300\""), "must be an integer, not a string");
    EXPECT_PRED2(contains, errorWith("\"auto-partner-down\": 1e9"), "must be an integer, not a real");
    EXPECT_PRED2(contains, errorWith("\"auto-partner-down\": 1000000000"), "must be 0 to 31622400");
}

// A relationship that covers nothing, or something that isn't there, or what another one covers. By the design coverage
// is by subnet: every pool of it, and all subnets where none is named.
TEST_F(Cases, C34_RelationshipThatNoPoolUses) {
    EXPECT_PRED2(contains, errorWith("\"subnets\": [ ]"), "is empty; leave it out to cover all subnets");
    EXPECT_TRUE(parse(relationshipWith("")).relationships.front().subnets.empty()) << "all";
    std::string other = relationshipWith("\"subnets\": [ 2, 1 ]", "fo2");
    other.replace(other.find("203.0.113.2"), 11, "203.0.113.3");
    EXPECT_PRED2(contains, error(relationshipWith("\"subnets\": [ 1 ]") + ", " + other),
                 "\"fo1\" and \"fo2\" both cover the subnet 1");
    relationship->set("subnets", Element::fromJSON("[ 1, 7 ]"));
    makeSubnet();
    service = std::make_unique<shim::Service>(parameters());
    try {
        service->start(staging());
        ADD_FAILURE() << "there is no subnet 7";
    } catch (const isc::ConfigError &e) {
        EXPECT_PRED2(contains, std::string(e.what()), "there is no subnet 7");
    }
}

// Two peers of one name, a name that is neither's, three peers: three errors that can be told apart.
TEST_F(Cases, C35_DuplicateNamesAndAThirdMember) {
    auto changed = [](const std::string &from, const std::string &to) {
        std::string all = relationshipWith("");
        return error(all.replace(all.find(from), from.size(), to));
    };
    EXPECT_PRED2(contains, changed("{ \"name\": \"s\"", "{ \"name\": \"p\""), "both peers are called \"p\"");
    EXPECT_PRED2(contains, changed("\"this-server-name\": \"p\"", "\"this-server-name\": \"x\""),
                 "this-server-name \"x\" is neither \"p\" nor \"s\"");
    EXPECT_PRED2(contains,
                 changed("\"peers\": [",
                         "\"peers\": [ { \"name\": \"t\", \"role\": \"secondary\", \"address\": \"203.0.113.3\" },"),
                 "a relationship has exactly two peers, not 3; more servers take more relationships");
}

// ---- C44 ------------------------------------------------------------------------------------------------------------

// A BOOTP lease has no end. By the design no BOOTP client gets an address of the pool at all, so none of the partner's
// share either, and not in partner-down.
TEST_F(Cases, C44_BootpClientGetsNoAddressOfThePool) {
    start();
    auto bootp = [&](const Packet &packet) { return selected(Packet(packet).inClass("BOOTP")); };
    EXPECT_EQ(CalloutHandle::NEXT_STEP_DROP, bootp(Packet(DHCPREQUEST, client(1))));
    EXPECT_EQ(CalloutHandle::NEXT_STEP_DROP, bootp(shim_test::discover(client(1))));
    force("partner-down");
    EXPECT_EQ(CalloutHandle::NEXT_STEP_DROP, bootp(shim_test::discover(client(1))));
    EXPECT_EQ(CalloutHandle::NEXT_STEP_CONTINUE, selected(shim_test::discover(client(1)))) << "others do";
}

// ---- C61 ------------------------------------------------------------------------------------------------------------

// Everything to one side: 256 and 0 are numbers like others, and what contradicts itself is refused.
TEST_F(Cases, C61_SplitAtItsEnds) {
    for (unsigned split : {0, 1, 128, 255, 256}) {
        failover_config config = configWith("\"split\": " + std::to_string(split));
        unsigned primarys = 0;
        for (unsigned bucket = 0; bucket < 256; bucket++) {
            primarys += failover_bucket_is_primarys(config.hba, uint8_t(bucket));
        }
        EXPECT_EQ(split, primarys);
    }
    EXPECT_PRED2(contains, errorWith("\"split\": 257"), "must be 0 to 256, not 257");
    EXPECT_PRED2(contains, errorWith("\"split\": 128, \"hba\": \"" + std::string(64, 'f') + "\""),
                 "split and hba exclude each other");
    EXPECT_EQ(0u, configWith("\"load-balance-max-seconds\": 0").load_balance_max_seconds);
    EXPECT_PRED2(contains, warningsWith("\"split\": 256"), "split 256");
}

} // namespace
