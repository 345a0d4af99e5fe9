// SPDX-License-Identifier: MPL-2.0
#include "shim_fixture.h"

#include <sqlite3.h>

using namespace shim_test;

namespace {

const int OK = 0, ERROR = 1, EMPTY = 3, GUARDED = 4;

class Commands : public ServiceTest {
protected:
    using Command = ConstElementPtr (*)(shim::Service &, const ConstElementPtr &);

    // The answer to a command with arguments as JSON; none: "".
    ConstElementPtr ask(Command command, const std::string &arguments = "") {
        ConstElementPtr parsed;
        if (!arguments.empty()) {
            parsed = Element::fromJSON(arguments);
        }
        answer = command(*service, parsed);
        turn();
        return answer;
    }
    int64_t result(Command command, const std::string &arguments = "") {
        return resultOf(ask(command, arguments));
    }
    // The text of the answer before.
    std::string text() {
        return textOf(answer);
    }
    ConstElementPtr given(const std::string &key) {
        ConstElementPtr arguments = answer->get("arguments");
        return arguments ? arguments->get(key) : ConstElementPtr();
    }
    std::string word(const std::string &key) {
        ConstElementPtr value = given(key);
        return value && value->getType() == Element::string ? value->stringValue() : "";
    }
    int64_t number(const std::string &key) {
        ConstElementPtr value = given(key);
        return value && value->getType() == Element::integer ? value->intValue() : -1;
    }
    // What failover-status says of dc1.
    ConstElementPtr told() {
        ask(shim::failoverStatus);
        return given("relationships")->get(0);
    }
    // A second relationship, over subnet 2, with a partner of its own that isn't there.
    void addSecondRelationship() {
        makeSubnet();
        addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
        ElementPtr other = Element::createMap();
        other->set("name", Element::create("dc2"));
        other->set("peers", peers(true, "127.0.0.3"));
        other->set("subnets", Element::fromJSON("[ 2 ]"));
        relationship->set("subnets", Element::fromJSON("[ 1 ]"));
        others.push_back(other);
    }
    failover_record stored() {
        failover_store_result result;
        failover_why why;
        failover_record r{};
        failover_store *store = failover_store_open(database().c_str(), -1, &result, &why);
        int number = failover_store_relationship(store, "dc1");
        EXPECT_EQ(FAILOVER_STORE_FOUND, failover_store_load(store, number, &r));
        failover_store_close(store);
        return r;
    }
    static std::string first(sqlite3 *db, const std::string &query) {
        std::string found;
        auto take = [](void *into, int, char **values, char **) {
            *static_cast<std::string *>(into) = values[0];
            return 0;
        };
        EXPECT_EQ(SQLITE_OK, sqlite3_exec(db, query.c_str(), take, &found, nullptr));
        return found;
    }
    ConstElementPtr processed(const std::string &name, const std::string &response, const std::string &arguments = "") {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        ConstElementPtr parsed, answered;
        if (!arguments.empty()) {
            parsed = Element::fromJSON(arguments);
        }
        if (!response.empty()) {
            answered = Element::fromJSON(response);
        }
        handle->setArgument("name", name);
        handle->setArgument("arguments", parsed);
        handle->setArgument("response", answered);
        run("command_processed", *handle);
        handle->getArgument("response", answered);
        return answered;
    }

    ConstElementPtr answer;
};

// ---- force-state: its arguments -------------------------------------------------------------------------------------

TEST_F(Commands, ForceWithoutArguments) {
    start();
    EXPECT_EQ(ERROR, result(shim::forceState));
    EXPECT_PRED2(contains, text(), "\"state\" is missing");
}

TEST_F(Commands, ForceWithArgumentsThatAreNoMap) {
    start();
    EXPECT_EQ(ERROR, result(shim::forceState, "[ \"partner-down\" ]"));
    EXPECT_PRED2(contains, text(), "must be a map, not a list");
}

TEST_F(Commands, ForceWithAnUnknownArgumentListsTheAccepted) {
    start();
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "partner-down", "force": true})"));
    EXPECT_PRED2(contains, text(), "unknown argument \"force\"; accepted are: state, relationship, override, since");
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
}

TEST_F(Commands, ForceWithAStateThatIsNoString) {
    start();
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": 4})"));
    EXPECT_PRED2(contains, text(), "\"state\" must be a string, not a integer");
}

TEST_F(Commands, ForceWithANulInItsStateIsNotCutOff) {
    start();
    ElementPtr arguments = Element::createMap();
    arguments->set("state", Element::create(std::string("partner-down\0x", 14)));
    EXPECT_EQ(ERROR, resultOf(shim::forceState(*service, arguments)));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
}

TEST_F(Commands, AnUnknownArgumentWithANulDoesNotEndTheText) {
    start();
    ElementPtr arguments = Element::createMap();
    arguments->set(std::string("st\0ate", 6), Element::create("partner-down"));
    answer = shim::forceState(*service, arguments);
    EXPECT_PRED2(contains, text(), "unknown argument \"st?ate\"; accepted are: state");
}

TEST_F(Commands, ForceWithAnOverrideThatIsNoBoolean) {
    start();
    for (const char *value : {"\"true\"", "1", "null", "[ true ]"}) {
        EXPECT_EQ(ERROR, result(shim::forceState, std::string(R"({"state": "normal", "override": )") + value + "}"));
        EXPECT_PRED2(contains, text(), "\"override\" must be true or false");
    }
}

TEST_F(Commands, ForceWithASinceThatIsNoInteger) {
    start();
    for (const char *value : {"\"2026-01-01\"", "1.5", "true"}) {
        EXPECT_EQ(ERROR, result(shim::forceState, std::string(R"({"state": "partner-down", "since": )") + value + "}"));
        EXPECT_PRED2(contains, text(), "\"since\" must be an integer");
    }
}

TEST_F(Commands, ForceWithASinceThatIsNoTime) {
    start();
    for (const char *value : {"0", "-1"}) {
        EXPECT_EQ(ERROR, result(shim::forceState, std::string(R"({"state": "partner-down", "since": )") + value + "}"));
        EXPECT_PRED2(contains, text(), "Unix seconds");
    }
}

TEST_F(Commands, ForceWithARelationshipThatIsNoString) {
    start();
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "partner-down", "relationship": 1})"));
    EXPECT_PRED2(contains, text(), "\"relationship\" must be a string");
}

TEST_F(Commands, ForceOfAnUnknownRelationshipListsThoseThatThereAre) {
    start();
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "partner-down", "relationship": "dc9"})"));
    EXPECT_PRED2(contains, text(), "no relationship \"dc9\"; there are: dc1");
}

TEST_F(Commands, ForceOfAStateThatCantBeForcedListsThoseThatCan) {
    start();
    for (const char *name : {"bogus", "", "NORMAL", "normal ", "recover-wait", "recover-done", "potential-conflict",
                             "conflict-done", "resolution-interrupted", "paused", "unknown", "4"}) {
        EXPECT_EQ(ERROR, result(shim::forceState, std::string(R"({"state": ")") + name + "\"}")) << name;
        EXPECT_PRED2(contains, text(),
                     "startup (startup-state), normal (normal-state), communications-interrupted "
                     "(comm-int-state), partner-down (partn-down-state), recover (recover-state), "
                     "shutdown (shutdown-state)");
    }
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
}

TEST_F(Commands, ForceNeedsTheRelationshipWhereThereAreSeveral) {
    addSecondRelationship();
    start();
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "partner-down"})"));
    EXPECT_PRED2(contains, text(), "\"relationship\" is missing: there are several, dc1, dc2");
}

TEST_F(Commands, ForceActsOnOneRelationshipOnly) {
    addSecondRelationship();
    start();
    EXPECT_EQ(OK, result(shim::forceState, R"({"state": "partner-down", "relationship": "dc2"})"));
    EXPECT_EQ("dc2", word("relationship"));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
    auto second =
        service->find("dc2")->with([](failover *core, failover_clock) { return failover_current_state(core); });
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, second);
}

// ---- force-state: both spellings of every state ---------------------------------------------------------------------

struct Spelling {
    const char *word;
    failover_state state;
};

void PrintTo(const Spelling &s, std::ostream *out) {
    *out << s.word;
}

class Forced : public Commands, public ::testing::WithParamInterface<Spelling> {};

TEST_P(Forced, IsInForceAndOnDiskWhenItIsAnswered) {
    start();
    std::string arguments = std::string(R"({"override": true, "state": ")") + GetParam().word + "\"}";
    ASSERT_EQ(OK, resultOf(shim::forceState(*service, Element::fromJSON(arguments))));
    EXPECT_EQ(GetParam().state, state());
    // In startup the record is the state that follows it.
    failover_state recorded =
        GetParam().state == FAILOVER_STARTUP ? FAILOVER_COMMUNICATIONS_INTERRUPTED : GetParam().state;
    EXPECT_EQ(recorded, stored().state);
}

TEST_P(Forced, AnswersWhatItWasAndIsAndMeans) {
    start();
    ASSERT_EQ(OK, result(shim::forceState, std::string(R"({"override": true, "state": ")") + GetParam().word + "\"}"));
    EXPECT_EQ("dc1", word("relationship"));
    EXPECT_EQ("communications-interrupted", word("previous-state"));
    EXPECT_EQ(failover_state_name(GetParam().state), word("state"));
    EXPECT_EQ("primary", word("role"));
    EXPECT_EQ("normal", word("partner-state"));
    EXPECT_GT(number("since"), 0);
    ASSERT_TRUE(given("effects"));
    ASSERT_GE(given("effects")->size(), 2u);
    for (const auto &effect : given("effects")->listValue()) {
        EXPECT_EQ('.', effect->stringValue().back()) << effect->stringValue();
        EXPECT_LT(effect->stringValue().size(), size_t(FAILOVER_TEXT_MAX - 1)) << "cut off";
    }
    EXPECT_FALSE(text().empty());
}

TEST_P(Forced, OutlivesAReconfiguration) {
    start();
    ASSERT_EQ(OK, result(shim::forceState, std::string(R"({"override": true, "state": ")") + GetParam().word + "\"}"));
    service.reset();
    SrvConfigPtr config = CfgMgr::instance().getCurrentCfg();
    service = std::make_unique<shim::Service>(parameters());
    service->start(config);
    // The link went with the old library.
    failover_state now = GetParam().state == FAILOVER_NORMAL ? FAILOVER_COMMUNICATIONS_INTERRUPTED : GetParam().state;
    EXPECT_EQ(now, state()) << failover_state_name(state());
}

INSTANTIATE_TEST_SUITE_P(
    Each, Forced,
    ::testing::Values(Spelling{"startup", FAILOVER_STARTUP}, Spelling{"startup-state", FAILOVER_STARTUP},
                      Spelling{"normal", FAILOVER_NORMAL}, Spelling{"normal-state", FAILOVER_NORMAL},
                      Spelling{"communications-interrupted", FAILOVER_COMMUNICATIONS_INTERRUPTED},
                      Spelling{"comm-int-state", FAILOVER_COMMUNICATIONS_INTERRUPTED},
                      Spelling{"partner-down", FAILOVER_PARTNER_DOWN},
                      Spelling{"partn-down-state", FAILOVER_PARTNER_DOWN}, Spelling{"recover", FAILOVER_RECOVER},
                      Spelling{"recover-state", FAILOVER_RECOVER}, Spelling{"shutdown", FAILOVER_SHUTDOWN},
                      Spelling{"shutdown-state", FAILOVER_SHUTDOWN}),
    [](const auto &info) {
        std::string name = info.param.word;
        std::replace(name.begin(), name.end(), '-', '_');
        return name;
    });

// ---- force-state: guards, and what it does --------------------------------------------------------------------------

TEST_F(Commands, NormalWithoutALinkIsGuarded) {
    start();
    EXPECT_EQ(GUARDED, result(shim::forceState, R"({"state": "normal"})"));
    EXPECT_PRED2(contains, text(), "\"override\": true");
    EXPECT_FALSE(answer->get("arguments"));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
}

TEST_F(Commands, NormalInRecoverIsRefusedOverrideOrNot) {
    record.state = FAILOVER_RECOVER;
    start();
    EXPECT_EQ(GUARDED, result(shim::forceState, R"({"state": "normal"})"));
    EXPECT_EQ(GUARDED, result(shim::forceState, R"({"state": "normal", "override": true})"));
    EXPECT_PRED2(contains, text(), "partner-down");
    EXPECT_EQ(FAILOVER_RECOVER, state());
}

TEST_F(Commands, NormalInShutdownNamesStartup) {
    record.state = FAILOVER_SHUTDOWN;
    start();
    EXPECT_EQ(GUARDED, result(shim::forceState, R"({"state": "normal", "override": true})"));
    EXPECT_PRED2(contains, text(), "startup");
}

TEST_F(Commands, PartnerDownWhileThePartnerServesIsGuarded) {
    startNormal();
    EXPECT_EQ(GUARDED, result(shim::forceState, R"({"state": "partner-down"})"));
    EXPECT_PRED2(contains, text(), "\"override\": true");
    EXPECT_EQ(FAILOVER_NORMAL, state());
}

TEST_F(Commands, OverriddenPartnerDownEndsInNormalAgain) {
    startNormal();
    EXPECT_EQ(OK, result(shim::forceState, R"({"state": "partner-down", "override": true})"));
    until([&] { return partner->state() == FAILOVER_RECOVER || partner->state() == FAILOVER_RECOVER_WAIT; });
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, state());
}

TEST_F(Commands, ForcedInterruptionHoldsTheLinkUntilNormalIsForced) {
    startNormal();
    EXPECT_EQ(OK, result(shim::forceState, R"({"state": "communications-interrupted"})"));
    until([&] { return partner->state() == FAILOVER_COMMUNICATIONS_INTERRUPTED; });
    settle();
    EXPECT_EQ("held-down", told()->get("link")->stringValue());
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
    EXPECT_EQ(OK, resultOf(shim::forceState(*service, Element::fromJSON(R"({"state": "normal"})"))));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
    until([&] { return state() == FAILOVER_NORMAL && partner->state() == FAILOVER_NORMAL; });
    EXPECT_EQ("up", told()->get("link")->stringValue());
}

// After the answer this server does nothing more: it may be stopped now.
TEST_F(Commands, ShutdownHasLeftBeforeItIsAnswered) {
    startNormal();
    EXPECT_EQ(OK, resultOf(shim::forceState(*service, Element::fromJSON(R"({"state": "shutdown"})"))));
    for (int i = 0; i < 200 && partner->state() != FAILOVER_PARTNER_DOWN; i++) {
        usleep(1000);
        partner->turn();
    }
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, partner->state());
}

TEST_F(Commands, ForcingThePresentStateLeavesItsTime) {
    record.state = FAILOVER_PARTNER_DOWN;
    start();
    EXPECT_EQ(OK, result(shim::forceState, R"({"state": "partner-down"})"));
    EXPECT_PRED2(contains, text(), "already");
    EXPECT_EQ(record.stos, number("since"));
    EXPECT_EQ("partner-down", word("previous-state"));
}

TEST_F(Commands, SinceIsTheStartOfPartnerDown) {
    start();
    std::string since = std::to_string(record.last_heard + 1);
    EXPECT_EQ(OK, result(shim::forceState, R"({"state": "partner-down", "since": )" + since + "}"));
    EXPECT_EQ(record.last_heard + 1, number("since"));
}

TEST_F(Commands, SinceBeforeThePartnersLastMessageNamesThatTime) {
    start();
    std::string since = std::to_string(record.last_heard - 1);
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "partner-down", "since": )" + since + "}"));
    EXPECT_PRED2(contains, text(), std::to_string(record.last_heard));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
}

TEST_F(Commands, SinceInTheFutureIsAnError) {
    start();
    std::string since = std::to_string(time(nullptr) + 100);
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "partner-down", "since": )" + since + "}"));
    EXPECT_PRED2(contains, text(), "future");
}

TEST_F(Commands, SinceWithAnotherStateIsAnError) {
    start();
    std::string since = std::to_string(time(nullptr) - 1);
    EXPECT_EQ(ERROR, result(shim::forceState, R"({"state": "recover", "since": )" + since + "}"));
    EXPECT_PRED2(contains, text(), "partner-down only");
}

TEST_F(Commands, ForceThatCantBeStoredChangesNothing) {
    start();
    settle();
    sqlite3 *other;
    ASSERT_EQ(SQLITE_OK, sqlite3_open(database().c_str(), &other));
    ASSERT_EQ(SQLITE_OK, sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr));
    EXPECT_EQ(ERROR, resultOf(shim::forceState(*service, Element::fromJSON(R"({"state": "partner-down"})"))));
    ASSERT_EQ(SQLITE_OK, sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, state());
    // What comes later is written with or after it.
    ASSERT_EQ(Answer::ACK, serve(selecting(client(1), FIRST)).kind);
    until([&] {
        return first(other, "SELECT status FROM binding WHERE address = " + std::to_string(FIRST)) == "ACTIVE";
    });
    EXPECT_EQ("communications-interrupted", first(other, "SELECT state FROM relationship"));
    sqlite3_close(other);
}

// ---- failover-status ------------------------------------------------------------------------------------------------

TEST_F(Commands, StatusTellsEverythingOfARelationship) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(OK, result(shim::failoverStatus));
    ASSERT_EQ(1u, given("relationships")->size());
    ConstElementPtr r = given("relationships")->get(0);
    EXPECT_EQ("dc1", r->get("name")->stringValue());
    EXPECT_EQ("communications-interrupted", r->get("state")->stringValue());
    EXPECT_EQ(record.stos, r->get("since")->intValue());
    EXPECT_EQ("primary", r->get("role")->stringValue());
    EXPECT_EQ("primary", r->get("configured-role")->stringValue());
    EXPECT_EQ("normal", r->get("partner-state")->stringValue());
    EXPECT_EQ(record.partner_stos, r->get("partner-since")->intValue());
    EXPECT_EQ("here", r->get("this-server-name")->stringValue());
    EXPECT_EQ("there", r->get("partner-name")->stringValue());
    EXPECT_EQ("down", r->get("link")->stringValue());
    EXPECT_TRUE(r->get("listening")->boolValue());
    EXPECT_EQ(60, r->get("mclt")->intValue());
    EXPECT_EQ(0, r->get("skew")->intValue());
    EXPECT_EQ("written", r->get("database")->stringValue());
    EXPECT_EQ(0, r->get("updates-queued")->intValue());
    EXPECT_EQ(0, r->get("updates-unacked")->intValue());
    EXPECT_FALSE(r->get("why")->stringValue().empty());
}

TEST_F(Commands, StatusCountsTheBindings) {
    lease(client(1), FIRST);
    start();
    ConstElementPtr counts = told()->get("bindings");
    EXPECT_EQ(1, counts->get("active")->intValue());
    EXPECT_EQ(9, counts->get("free-mine")->intValue());
    EXPECT_EQ(10, counts->get("free-partners")->intValue());
    for (const char *name : {"expired", "released", "reset", "abandoned", "reserved"}) {
        EXPECT_EQ(0, counts->get(name)->intValue()) << name;
    }
}

TEST_F(Commands, StatusCountsWhatClientsWereTold) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    serve(renewing(client(1), FIRST));
    serve(renewing(client(2), FIRST + 15));
    ConstElementPtr counters = told()->get("counters");
    EXPECT_EQ(1, counters->get("renewals-refused")->intValue());
    EXPECT_EQ(1, counters->get("requests-refused")->intValue());
    EXPECT_EQ(1, counters->get("queries-silent")->intValue());
}

TEST_F(Commands, StatusTellsWhatIsPending) {
    record.state = FAILOVER_PARTNER_DOWN;
    start();
    ConstElementPtr pending = told()->get("pending");
    ASSERT_EQ(1u, pending->size());
    EXPECT_PRED2(contains, pending->get(0)->get("step")->stringValue(), "STOS + MCLT");
    EXPECT_NEAR(50, double(pending->get(0)->get("seconds")->intValue()), 2);
}

TEST_F(Commands, StatusOfALinkThatIsUp) {
    startNormal();
    EXPECT_EQ("up", told()->get("link")->stringValue());
    EXPECT_EQ("normal", told()->get("partner-state")->stringValue());
}

TEST_F(Commands, StatusTellsOfAllOrOfOne) {
    addSecondRelationship();
    start();
    EXPECT_EQ(OK, result(shim::failoverStatus));
    EXPECT_EQ(2u, given("relationships")->size());
    EXPECT_EQ(OK, result(shim::failoverStatus, R"({"relationship": "dc2"})"));
    ASSERT_EQ(1u, given("relationships")->size());
    EXPECT_EQ("dc2", given("relationships")->get(0)->get("name")->stringValue());
}

TEST_F(Commands, StatusOfAnUnknownRelationship) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverStatus, R"({"relationship": "dc9"})"));
    EXPECT_PRED2(contains, text(), "there are: dc1");
}

TEST_F(Commands, StatusWithAnUnknownArgument) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverStatus, R"({"name": "dc1"})"));
    EXPECT_PRED2(contains, text(), "accepted are: relationship");
}

TEST_F(Commands, StatusWithARelationshipThatIsNoString) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverStatus, R"({"relationship": [ "dc1" ]})"));
    EXPECT_PRED2(contains, text(), "must be a string, not a list");
}

TEST_F(Commands, StatusWithArgumentsThatAreNoMap) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverStatus, "\"dc1\""));
    EXPECT_PRED2(contains, text(), "must be a map, not a string");
}

// ---- failover-binding -----------------------------------------------------------------------------------------------

TEST_F(Commands, BindingOfALease) {
    failover_binding b = lease(clientWithId(1), FIRST);
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.10"})"));
    EXPECT_EQ("10.64.10.10", word("ip-address"));
    EXPECT_EQ("dc1", word("relationship"));
    EXPECT_EQ(1, number("subnet-id"));
    EXPECT_EQ("ACTIVE", word("binding-state"));
    EXPECT_EQ("02:00:00:00:00:01", word("hw-address"));
    EXPECT_EQ("01:02:00:00:00:00:01", word("client-id"));
    EXPECT_EQ(b.ends, number("ends"));
    EXPECT_EQ(b.given, number("lease-expiration"));
    EXPECT_EQ(b.cltt, number("client-last-transaction-time"));
    EXPECT_EQ(b.acked, number("acked-potential-expiration"));
    EXPECT_EQ(b.sent, number("sent-potential-expiration"));
    EXPECT_FALSE(given("owner"));
    EXPECT_FALSE(given("received-potential-expiration")) << "a time that isn't";
    EXPECT_FALSE(given("extended")->boolValue());
    EXPECT_TRUE(given("partner-knows")->boolValue());
    EXPECT_TRUE(given("on-disk")->boolValue());
    EXPECT_PRED2(contains, word("why"), "its client would get it");
}

TEST_F(Commands, BindingThatIsExtendedAlready) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.10"})"));
    EXPECT_TRUE(given("extended")->boolValue());
    EXPECT_PRED2(contains, word("why"), "its client would not get it");
    EXPECT_FALSE(given("client-id"));
}

TEST_F(Commands, BindingOfAFreeAddressSaysWhoseItIs) {
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.11"})"));
    EXPECT_EQ("FREE", word("binding-state"));
    EXPECT_EQ("mine", word("owner"));
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.25"})"));
    EXPECT_EQ("the partner's", word("owner"));
    EXPECT_PRED2(contains, word("why"), "a client would not get it: the free address is the partner's");
}

TEST_F(Commands, BindingOfAReservedAddress) {
    makeSubnet();
    reserve(1, client(1), FIRST);
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.10"})"));
    EXPECT_TRUE(given("reserved")->boolValue());
    EXPECT_PRED2(contains, word("why"), "the client it is reserved for would get it");
}

TEST_F(Commands, BindingWithoutEndSaysNever) {
    failover_binding &b = binding(client(1), FIRST);
    b.ends = b.given = b.sent = FAILOVER_TIME_INFINITE;
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.10"})"));
    EXPECT_EQ("never", word("ends"));
    EXPECT_EQ("never", word("lease-expiration"));
}

TEST_F(Commands, BindingInASilentState) {
    lease(client(1), FIRST);
    record.state = FAILOVER_RECOVER;
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.10.10"})"));
    EXPECT_PRED2(contains, word("why"), "silent in recover");
    EXPECT_EQ(0, told()->get("counters")->get("queries-silent")->intValue()) << "no client has asked";
}

TEST_F(Commands, BindingOfAnAddressInNoPoolIsEmpty) {
    start();
    EXPECT_EQ(EMPTY, result(shim::failoverBinding, R"({"ip-address": "10.64.10.9"})"));
    EXPECT_EQ(EMPTY, result(shim::failoverBinding, R"({"ip-address": "255.255.255.255"})"));
    EXPECT_EQ(EMPTY, result(shim::failoverBinding, R"({"ip-address": "0.0.0.0"})"));
    EXPECT_PRED2(contains, text(), "0.0.0.0 is in no pool");
}

TEST_F(Commands, BindingIsFoundInTheSecondRelationship) {
    addSecondRelationship();
    start();
    EXPECT_EQ(OK, result(shim::failoverBinding, R"({"ip-address": "10.64.11.10"})"));
    EXPECT_EQ("dc2", word("relationship"));
    EXPECT_EQ(2, number("subnet-id"));
    EXPECT_EQ("nobody's", word("owner"));
}

TEST_F(Commands, BindingWithoutAnAddress) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverBinding));
    EXPECT_PRED2(contains, text(), "\"ip-address\" is missing");
}

TEST_F(Commands, BindingOfWhatIsNoAddress) {
    start();
    for (const char *word : {"10.64.10", "2001:db8::1", "", "10.64.10.10 ", "010.64.10.10", "ten"}) {
        EXPECT_EQ(ERROR, result(shim::failoverBinding, std::string(R"({"ip-address": ")") + word + "\"}")) << word;
        EXPECT_PRED2(contains, text(), "is no IPv4 address");
    }
}

TEST_F(Commands, BindingOfAnAddressThatIsNoString) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverBinding, R"({"ip-address": 171969034})"));
    EXPECT_PRED2(contains, text(), "must be a string, not a integer");
}

TEST_F(Commands, BindingWithAnUnknownArgument) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverBinding, R"({"ip-address": "10.64.10.10", "relationship": "dc1"})"));
    EXPECT_PRED2(contains, text(), "unknown argument \"relationship\"; accepted are: ip-address");
}

// ---- failover-sync --------------------------------------------------------------------------------------------------

TEST_F(Commands, SyncWithoutALinkIsAnError) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverSync));
    EXPECT_PRED2(contains, text(), "no connection with the partner");
}

TEST_F(Commands, SyncAsksThePartnerForEverything) {
    startNormal();
    uint64_t before = counters().updates_received;
    EXPECT_EQ(OK, result(shim::failoverSync));
    EXPECT_PRED2(contains, text(), "UPDREQALL");
    until([&] { return counters().updates_received >= before + 10; });
}

TEST_F(Commands, SyncTwiceAtOnceIsAnError) {
    startNormal();
    EXPECT_EQ(OK, resultOf(shim::failoverSync(*service, ConstElementPtr())));
    ConstElementPtr second = shim::failoverSync(*service, ConstElementPtr());
    EXPECT_EQ(ERROR, resultOf(second));
    EXPECT_PRED2(contains, textOf(second), "asked already");
}

TEST_F(Commands, SyncNeedsTheRelationshipWhereThereAreSeveral) {
    addSecondRelationship();
    start();
    EXPECT_EQ(ERROR, result(shim::failoverSync));
    EXPECT_PRED2(contains, text(), "dc1, dc2");
}

TEST_F(Commands, SyncWithAnUnknownArgument) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverSync, R"({"all": true})"));
    EXPECT_PRED2(contains, text(), "unknown argument \"all\"; accepted are: relationship");
}

TEST_F(Commands, SyncWithArgumentsThatAreNoMap) {
    start();
    EXPECT_EQ(ERROR, result(shim::failoverSync, "[ ]"));
}

// ---- Before the hook runs, or where it could not be started ---------------------------------------------------------

class NotRunning : public Commands {
protected:
    NotRunning() {
        service = std::make_unique<shim::Service>(parameters());
    }
};

TEST_F(NotRunning, ForceIsAnError) {
    EXPECT_EQ(ERROR, resultOf(shim::forceState(*service, Element::fromJSON(R"({"state": "partner-down"})"))));
}

TEST_F(NotRunning, StatusIsAnError) {
    EXPECT_EQ(ERROR, resultOf(shim::failoverStatus(*service, ConstElementPtr())));
}

TEST_F(NotRunning, BindingIsAnError) {
    EXPECT_EQ(ERROR, resultOf(shim::failoverBinding(*service, Element::fromJSON(R"({"ip-address": "10.64.10.10"})"))));
}

TEST_F(NotRunning, SyncIsAnError) {
    EXPECT_EQ(ERROR, resultOf(shim::failoverSync(*service, ConstElementPtr())));
}

TEST_F(NotRunning, ServersStatusIsStillAnswered) {
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    ConstElementPtr response = Element::fromJSON(R"({"result": 0, "arguments": {"pid": 1}})");
    handle->setArgument("name", std::string("status-get"));
    handle->setArgument("arguments", ConstElementPtr());
    handle->setArgument("response", response);
    shim::commandProcessed(*service, *handle);
    handle->getArgument("response", response);
    EXPECT_EQ(1, response->get("arguments")->get("pid")->intValue());
}

// ---- status-get -----------------------------------------------------------------------------------------------------

TEST_F(Commands, ServersStatusCarriesAFailoverList) {
    start();
    ConstElementPtr arguments = processed("status-get", R"({"result": 0, "arguments": {"pid": 1}})")->get("arguments");
    EXPECT_EQ(1, arguments->get("pid")->intValue());
    ASSERT_EQ(1u, arguments->get("failover")->size());
    ConstElementPtr r = arguments->get("failover")->get(0);
    EXPECT_EQ("dc1", r->get("name")->stringValue());
    EXPECT_EQ("communications-interrupted", r->get("state")->stringValue());
    EXPECT_EQ("primary", r->get("role")->stringValue());
    EXPECT_EQ("down", r->get("link")->stringValue());
    EXPECT_TRUE(r->contains("since"));
    EXPECT_TRUE(r->contains("partner-state"));
    EXPECT_TRUE(r->contains("why"));
}

TEST_F(Commands, ServersStatusListsEveryRelationship) {
    addSecondRelationship();
    start();
    ConstElementPtr arguments = processed("status-get", R"({"result": 0, "arguments": {}})")->get("arguments");
    EXPECT_EQ(2u, arguments->get("failover")->size());
}

TEST_F(Commands, FailedServersStatusIsLeftAlone) {
    start();
    EXPECT_FALSE(processed("status-get", R"({"result": 1, "text": "no", "arguments": {}})")
                     ->get("arguments")
                     ->contains("failover"));
}

TEST_F(Commands, ServersStatusOfAnotherShapeIsLeftAlone) {
    start();
    EXPECT_NO_THROW(processed("status-get", R"({"result": 0})"));
    EXPECT_NO_THROW(processed("status-get", R"({"result": 0, "arguments": [ 1 ]})"));
    EXPECT_NO_THROW(processed("status-get", ""));
}

TEST_F(Commands, OtherCommandsAnswersAreLeftAlone) {
    start();
    EXPECT_FALSE(processed("config-get", R"({"result": 0, "arguments": {}})")->get("arguments")->contains("failover"));
}

// ---- Leases that operators write ------------------------------------------------------------------------------------

TEST_F(Commands, AddedLeaseIsNoticed) {
    start();
    addRow(1, client(1), FIRST);
    processed("lease4-add", R"({"result": 0, "text": "added"})", R"({"ip-address": "10.64.10.10"})");
    failover_binding b = known(FIRST);
    failover_client c = client(1).core();
    EXPECT_EQ(FAILOVER_ACTIVE, b.status);
    EXPECT_TRUE(failover_same_client(&c, &b.client));
    EXPECT_TRUE(b.update_due);
}

TEST_F(Commands, AddedLeaseReachesThePartner) {
    startNormal();
    addRow(1, client(1), FIRST);
    processed("lease4-add", R"({"result": 0, "text": "added"})", R"({"ip-address": "10.64.10.10"})");
    until([&] { return partner->binding(FIRST).status == FAILOVER_ACTIVE; });
}

TEST_F(Commands, UpdatedLeaseIsNoticed) {
    failover_binding b = lease(client(1), FIRST);
    start();
    Lease4Ptr longer = row(FIRST);
    longer->valid_lft_ = 7200;
    LeaseMgrFactory::instance().updateLease4(longer);
    processed("lease4-update", R"({"result": 0, "text": "updated"})", R"({"ip-address": "10.64.10.10"})");
    EXPECT_EQ(b.cltt + 7200, known(FIRST).ends);
}

TEST_F(Commands, LeaseThatWasNotAddedIsNotNoticed) {
    start();
    addRow(1, client(1), FIRST);
    processed("lease4-add", R"({"result": 1, "text": "there is one"})", R"({"ip-address": "10.64.10.10"})");
    EXPECT_EQ(FAILOVER_FREE, known(FIRST).status);
}

TEST_F(Commands, LeaseCommandsOfAnyShapeDoNoHarm) {
    start();
    EXPECT_NO_THROW(processed("lease4-add", R"({"result": 0, "text": ""})"));
    for (const char *arguments : {"{}", R"({"ip-address": 5})", R"({"ip-address": "x"})",
                                  R"({"ip-address": "10.64.10.10"})", R"({"ip-address": "192.168.1.1"})"}) {
        EXPECT_NO_THROW(processed("lease4-add", R"({"result": 0, "text": ""})", arguments)) << arguments;
    }
    EXPECT_EQ(FAILOVER_FREE, known(FIRST).status);
}

TEST_F(Commands, LeaseAddedInAnotherSubnetIsNotOurs) {
    makeSubnet();
    addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
    relationship->set("subnets", Element::fromJSON("[ 1 ]"));
    start();
    addRow(2, client(1), ip("10.64.11.10"));
    EXPECT_NO_THROW(processed("lease4-add", R"({"result": 0, "text": ""})", R"({"ip-address": "10.64.11.10"})"));
    EXPECT_TRUE(row(ip("10.64.11.10")));
}

} // namespace
