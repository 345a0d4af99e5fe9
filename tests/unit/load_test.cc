// SPDX-License-Identifier: MPL-2.0
#include "shim_fixture.h"

#include <cc/dhcp_config_error.h>
#include <dlfcn.h>
#include <process/daemon.h>
#include <sqlite3.h>
#include <util/multi_threading_mgr.h>

using namespace shim_test;
using isc::hooks::HookLibsCollection;
using isc::util::MultiThreadingMgr;

namespace {

const auto CONTINUE = CalloutHandle::NEXT_STEP_CONTINUE;
const auto SKIP = CalloutHandle::NEXT_STEP_SKIP;
const auto DROP = CalloutHandle::NEXT_STEP_DROP;

size_t entriesOf(const char *directory) {
    auto all = std::filesystem::directory_iterator(directory);
    return size_t(std::distance(begin(all), end(all)));
}

// ---- The library itself, as Kea's hook manager loads it -------------------------------------------------------------

class Library : public ServiceTest {
protected:
    Library() {
        unhook();
        isc::process::Daemon::setProcName("kea-dhcp4");
        for (const char *name : HOOKS) {
            hookIndex(name);
        }
    }
    ~Library() override {
        MultiThreadingMgr::instance().setMode(false);
        unload();
        isc::process::Daemon::setProcName("shim_tests");
    }
    void SetUp() override {
        if (path().empty()) {
            GTEST_SKIP() << "FAILOVER_LIBRARY doesn't say where the library is";
        }
        makeSubnet();
    }

    static constexpr const char *HOOKS[] = {"dhcp4_srv_configured", "subnet4_select",    "lease4_select",
                                            "lease4_renew",         "leases4_committed", "lease4_release",
                                            "lease4_decline",       "command_processed"};
    static constexpr const char *COMMANDS[] = {"force-state", "failover-status", "failover-binding", "failover-sync"};

    static std::string path() {
        const char *path = getenv("FAILOVER_LIBRARY");
        return path != nullptr ? path : "";
    }
    bool load(const ConstElementPtr &parameters) {
        HookLibsCollection libraries;
        libraries.push_back(std::make_pair(path(), parameters));
#if KEA_HOOKS_VERSION < 20306
        return HooksManager::loadLibraries(libraries);
#else
        return HooksManager::loadLibraries(libraries, MultiThreadingMgr::instance().getMode());
#endif
    }
    bool load() {
        return load(parametersAsJson());
    }
    static void unload() {
        HooksManager::prepareUnloadLibraries();
        ASSERT_TRUE(HooksManager::unloadLibraries());
    }
    // The last step of a configuration; returns the error that stops it, "" if there is none.
    std::string configure(SrvConfigPtr config) {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        handle->setArgument("server_config", config);
        callHook("dhcp4_srv_configured", *handle);
        std::string error;
        if (handle->getStatus() == DROP) {
            handle->getArgument("error", error);
        }
        return error;
    }
    void loadAndConfigure() {
        ASSERT_TRUE(load());
        ASSERT_EQ("", configure(staging()));
        CfgMgr::instance().commit();
        IfaceMgr::instance().receive4(0, 1000);
    }
    void reload() {
        ASSERT_TRUE(load());
        ASSERT_EQ("", configure(CfgMgr::instance().getCurrentCfg()));
        IfaceMgr::instance().receive4(0, 1000);
    }
    static ConstElementPtr command(const std::string &name, const std::string &arguments = "{}") {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        ElementPtr command = Element::createMap();
        command->set("command", Element::create(name));
        command->set("arguments", Element::fromJSON(arguments));
        handle->setArgument("command", ConstElementPtr(command));
        HooksManager::callCommandHandlers(name, *handle);
        ConstElementPtr response;
        handle->getArgument("response", response);
        return response;
    }
    static std::string stateTold() {
        return command("failover-status")->get("arguments")->get("relationships")->get(0)->get("state")->stringValue();
    }
};

TEST_F(Library, HasTheVersionAndTheFlagThatKeaAsksFor) {
    void *library = dlopen(path().c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(nullptr, library) << dlerror();
    auto version = reinterpret_cast<int (*)()>(dlsym(library, "version"));
    auto threads = reinterpret_cast<int (*)()>(dlsym(library, "multi_threading_compatible"));
    ASSERT_TRUE(version && threads);
    EXPECT_EQ(KEA_HOOKS_VERSION, version());
    EXPECT_EQ(1, threads());
    EXPECT_NE(nullptr, dlsym(library, "load"));
    EXPECT_NE(nullptr, dlsym(library, "unload"));
    for (const char *name : HOOKS) {
        EXPECT_NE(nullptr, dlsym(library, name)) << name;
    }
    dlclose(library);
}

TEST_F(Library, ShowsNothingOfItsInside) {
    void *library = dlopen(path().c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(nullptr, library) << dlerror();
    EXPECT_EQ(nullptr, dlsym(library, "failover_create"));
    EXPECT_EQ(nullptr, dlsym(library, "failover_store_open"));
    dlclose(library);
}

TEST_F(Library, LoadsAndUnloads) {
    EXPECT_TRUE(load());
    EXPECT_EQ(std::vector<std::string>{path()}, HooksManager::getLibraryNames());
    unload();
    EXPECT_TRUE(HooksManager::getLibraryNames().empty());
}

TEST_F(Library, LoadsWithMultiThreading) {
    MultiThreadingMgr::instance().setMode(true);
    EXPECT_TRUE(load());
}

TEST_F(Library, HooksEveryPointOfItsOwn) {
    ASSERT_TRUE(load());
    for (const char *name : HOOKS) {
        EXPECT_TRUE(HooksManager::calloutsPresent(hookIndex(name))) << name;
    }
}

TEST_F(Library, LoadTouchesNoFileAndOpensNoSocket) {
    size_t descriptors = entriesOf("/proc/self/fd");
    ASSERT_TRUE(load());
    EXPECT_EQ(descriptors, entriesOf("/proc/self/fd"));
    EXPECT_FALSE(std::filesystem::exists(database()));
}

// ---- What it refuses ------------------------------------------------------------------------------------------------

TEST_F(Library, RefusesToLoadWithoutParameters) {
    EXPECT_FALSE(load(ConstElementPtr()));
    EXPECT_TRUE(HooksManager::getLibraryNames().empty());
}

TEST_F(Library, RefusesToLoadWithBadParameters) {
    relationship->set("mclt", Element::create("60"));
    EXPECT_FALSE(load());
    for (const char *name : COMMANDS) {
        EXPECT_FALSE(HooksManager::commandHandlersPresent(name)) << name;
    }
}

TEST_F(Library, RefusesToLoadWithAnUnknownParameter) {
    relationship->set("mlct", Element::create(60));
    EXPECT_FALSE(load());
}

TEST_F(Library, LoadsAfterItHasRefused) {
    relationship->set("mclt", Element::create(0));
    EXPECT_FALSE(load());
    relationship->set("mclt", Element::create(60));
    EXPECT_TRUE(load());
}

TEST_F(Library, RefusesAnotherProcess) {
    for (const char *name : {"kea-dhcp6", "kea-dhcp-ddns", "kea-ctrl-agent"}) {
        isc::process::Daemon::setProcName(name);
        EXPECT_FALSE(load()) << name;
    }
}

TEST_F(Library, RefusesAnotherAddressFamily) {
    CfgMgr::instance().setFamily(AF_INET6);
    EXPECT_FALSE(load());
    CfgMgr::instance().setFamily(AF_INET);
}

TEST_F(Library, SubnetThatIsNotThereStopsTheConfiguration) {
    relationship->set("subnets", Element::fromJSON("[ 1, 77 ]"));
    ASSERT_TRUE(load());
    EXPECT_EQ("failover: relationship \"dc1\": there is no subnet 77", configure(staging()));
}

TEST_F(Library, ConfigurationWithoutItsArgumentIsStopped) {
    ASSERT_TRUE(load());
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    callHook("dhcp4_srv_configured", *handle);
    EXPECT_EQ(DROP, handle->getStatus());
}

// ---- Its commands ---------------------------------------------------------------------------------------------------

TEST_F(Library, CommandsComeAndGoWithIt) {
    ASSERT_TRUE(load());
    for (const char *name : COMMANDS) {
        EXPECT_TRUE(HooksManager::commandHandlersPresent(name)) << name;
    }
    unload();
    for (const char *name : COMMANDS) {
        EXPECT_FALSE(HooksManager::commandHandlersPresent(name)) << name;
    }
}

TEST_F(Library, CommandsAreAnswered) {
    writeDatabase();
    loadAndConfigure();
    EXPECT_EQ(0, resultOf(command("failover-status")));
    EXPECT_EQ(0, resultOf(command("failover-binding", R"({"ip-address": "10.64.10.10"})")));
    EXPECT_EQ(1, resultOf(command("failover-sync")));
    EXPECT_EQ(4, resultOf(command("force-state", R"({"state": "normal"})")));
    EXPECT_EQ(0, resultOf(command("force-state", R"({"state": "partner-down"})")));
    EXPECT_EQ("partner-down", stateTold());
}

TEST_F(Library, CommandsBeforeTheConfigurationAreErrors) {
    ASSERT_TRUE(load());
    for (const char *name : COMMANDS) {
        EXPECT_EQ(1, resultOf(command(name))) << name;
    }
}

TEST_F(Library, CommandsAfterAFailedConfigurationAreErrors) {
    relationship->set("subnets", Element::fromJSON("[ 77 ]"));
    ASSERT_TRUE(load());
    EXPECT_NE("", configure(staging()));
    for (const char *name : COMMANDS) {
        EXPECT_EQ(1, resultOf(command(name))) << name;
    }
}

TEST_F(Library, CommandThatCantBeReadIsAnError) {
    loadAndConfigure();
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    ConstElementPtr response;
    HooksManager::callCommandHandlers("failover-status", *handle); // without its argument
    handle->getArgument("response", response);
    ASSERT_TRUE(response);
    EXPECT_EQ(1, resultOf(response));
}

// ---- Reload and unload ----------------------------------------------------------------------------------------------

TEST_F(Library, FirstStartBeginsInStartup) {
    loadAndConfigure();
    EXPECT_EQ("startup", stateTold());
}

TEST_F(Library, NewProcessBeginsInStartup) {
    setProcess(record, "ffffffffffffffffffffffffffffffff");
    writeDatabase();
    loadAndConfigure();
    EXPECT_EQ("startup", stateTold());
}

TEST_F(Library, ReloadGoesOnInTheState) {
    writeDatabase();
    loadAndConfigure();
    ASSERT_EQ(0, resultOf(command("force-state", R"({"state": "partner-down"})")));
    reload();
    EXPECT_EQ("partner-down", stateTold());
}

TEST_F(Library, ProcessGetsAnIdThatOutlivesAReload) {
    unsetenv("KEA_FAILOVER_PROCESS");
    loadAndConfigure();
    std::string id = getenv("KEA_FAILOVER_PROCESS") != nullptr ? getenv("KEA_FAILOVER_PROCESS") : "";
    EXPECT_EQ(32u, id.size());
    EXPECT_EQ(std::string::npos, id.find_first_not_of("0123456789abcdef"));
    reload();
    EXPECT_STREQ(id.c_str(), getenv("KEA_FAILOVER_PROCESS"));
}

TEST_F(Library, ReloadsLeaveNoDescriptorsAndNoThreads) {
    writeDatabase();
    loadAndConfigure();
    reload();
    size_t descriptors = entriesOf("/proc/self/fd"), threads = entriesOf("/proc/self/task");
    for (int i = 0; i < 10; i++) {
        reload();
    }
    EXPECT_EQ(descriptors, entriesOf("/proc/self/fd"));
    EXPECT_EQ(threads, entriesOf("/proc/self/task"));
}

TEST_F(Library, UnloadClosesEverything) {
    size_t descriptors = entriesOf("/proc/self/fd"), threads = entriesOf("/proc/self/task");
    writeDatabase();
    loadAndConfigure();
    EXPECT_LT(descriptors, entriesOf("/proc/self/fd"));
    unload();
    EXPECT_EQ(descriptors, entriesOf("/proc/self/fd"));
    EXPECT_EQ(threads, entriesOf("/proc/self/task"));
    EXPECT_NO_THROW(IfaceMgr::instance().receive4(0, 1000)) << "a socket of ours is still watched";
}

TEST_F(Library, UnloadWithALinkClosesEverything) {
    size_t descriptors = entriesOf("/proc/self/fd");
    own(FIRST, FIRST + 9);
    addPartner(record);
    writeDatabase();
    loadAndConfigure();
    for (int i = 0; i < 5000 && stateTold() != "normal"; i++) {
        turn();
    }
    EXPECT_EQ("normal", stateTold());
    unload();
    partner.reset();
    EXPECT_EQ(descriptors, entriesOf("/proc/self/fd"));
}

TEST_F(Library, UnloadNotesTheEndOfService) {
    writeDatabase();
    loadAndConfigure();
    int64_t noted = time(nullptr); // by the first turn, and not again for some seconds
    usleep(1100000);
    unload();
    failover_store_result result;
    failover_why why;
    failover_record r{};
    failover_store *store = failover_store_open(database().c_str(), -1, &result, &why);
    failover_store_load(store, failover_store_relationship(store, "dc1"), &r);
    failover_store_close(store);
    EXPECT_GT(r.last_served, noted);
}

TEST_F(Library, UnloadAfterAFailedConfigurationClosesEverything) {
    size_t descriptors = entriesOf("/proc/self/fd"), threads = entriesOf("/proc/self/task");
    LeaseMgrFactory::destroy(); // the last thing that a start can miss
    ASSERT_TRUE(load());
    EXPECT_NE("", configure(staging()));
    unload();
    EXPECT_EQ(descriptors, entriesOf("/proc/self/fd"));
    EXPECT_EQ(threads, entriesOf("/proc/self/task"));
}

TEST_F(Library, RefusedReloadLeavesNothingBehind) {
    size_t descriptors = entriesOf("/proc/self/fd");
    writeDatabase();
    loadAndConfigure();
    relationship->set("mclt", Element::create(0));
    EXPECT_FALSE(load());
    EXPECT_EQ(descriptors, entriesOf("/proc/self/fd"));
    EXPECT_NO_THROW(IfaceMgr::instance().receive4(0, 1000));
}

// ---- Its callouts ---------------------------------------------------------------------------------------------------

TEST_F(Library, ClientIsServedThroughIt) {
    own(FIRST, FIRST + 9);
    writeDatabase();
    loadAndConfigure();
    Answer offer = Kea(subnet).serve(discover(client(1)).query());
    ASSERT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(60u, offer.lifetime);
    Answer ack = Kea(subnet).serve(selecting(client(1), offer.address).query());
    EXPECT_EQ(Answer::ACK, ack.kind);
    EXPECT_EQ(Answer::NAK, Kea(subnet).serve(renewing(client(1), offer.address).query()).kind);
}

TEST_F(Library, ClientIsServedThroughItInThreads) {
    own(FIRST, FIRST + 9);
    writeDatabase();
    loadAndConfigure();
    MultiThreadingMgr::instance().setMode(true);
    Answer offer = Kea(subnet).serve(discover(client(1)).query());
    ASSERT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(Answer::ACK, Kea(subnet).serve(selecting(client(1), offer.address).query()).kind);
}

TEST_F(Library, NobodyIsServedBeforeTheConfiguration) {
    ASSERT_TRUE(load());
    EXPECT_EQ(Answer::NOTHING, Kea(subnet).serve(discover(client(1)).query()).kind);
}

TEST_F(Library, NobodyIsServedAfterAFailedConfiguration) {
    ASSERT_TRUE(load());
    LeaseMgrFactory::destroy();
    EXPECT_NE("", configure(staging()));
    LeaseMgrFactory::create("type=memfile universe=4 persist=false");
    EXPECT_EQ(Answer::NOTHING, Kea(subnet).serve(discover(client(1)).query()).kind);
}

TEST_F(Library, ServersStatusIsCompleted) {
    writeDatabase();
    loadAndConfigure();
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    ConstElementPtr response = Element::fromJSON(R"({"result": 0, "arguments": {"pid": 1}})");
    handle->setArgument("name", std::string("status-get"));
    handle->setArgument("arguments", ConstElementPtr());
    handle->setArgument("response", response);
    callHook("command_processed", *handle);
    handle->getArgument("response", response);
    EXPECT_EQ(1u, response->get("arguments")->get("failover")->size());
}

// What can't be judged is dropped. lease4_select: Kea takes a DROP there for "go on".
class Failing : public Library, public ::testing::WithParamInterface<const char *> {
protected:
    void SetUp() override {
        Library::SetUp();
        if (!IsSkipped()) {
            writeDatabase();
            loadAndConfigure();
        }
    }
    static CalloutHandle::CalloutNextStep refusal() {
        return std::string(GetParam()) == "lease4_select" ? SKIP : DROP;
    }
};

TEST_P(Failing, WithoutArgumentsRefuses) {
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    callHook(GetParam(), *handle);
    EXPECT_EQ(refusal(), handle->getStatus());
}

TEST_P(Failing, WithArgumentsOfOtherTypesRefuses) {
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    for (const char *name : {"query4", "subnet4", "lease4", "leases4", "deleted_leases4", "fake_allocation"}) {
        handle->setArgument(name, std::string("what"));
    }
    callHook(GetParam(), *handle);
    EXPECT_EQ(refusal(), handle->getStatus());
}

INSTANTIATE_TEST_SUITE_P(Each, Failing,
                         ::testing::Values("subnet4_select", "lease4_select", "lease4_renew", "leases4_committed",
                                           "lease4_release", "lease4_decline"),
                         [](const auto &info) { return std::string(info.param); });

TEST_F(Library, QueryIsDroppedWhereTheLeaseDatabaseIsGone) {
    own(FIRST, FIRST + 9);
    writeDatabase();
    loadAndConfigure();
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    handle->setArgument("query4", discover(client(1)).query());
    handle->setArgument("subnet4", shim::Subnet4Argument(subnet));
    LeaseMgrFactory::destroy();
    callHook("subnet4_select", *handle);
    EXPECT_EQ(DROP, handle->getStatus());
}

TEST_F(Library, ClientIdentifierThatKeaDoesNotTakeIsDropped) {
    own(FIRST, FIRST + 9);
    writeDatabase();
    loadAndConfigure();
    Client c = client(1);
    c.id = {7};
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    handle->setArgument("query4", discover(c).query());
    handle->setArgument("subnet4", shim::Subnet4Argument(subnet));
    callHook("subnet4_select", *handle);
    EXPECT_EQ(DROP, handle->getStatus());
}

// ---- What stands in the way of a start, and what is found at one ----------------------------------------------------

class Starting : public ServiceTest {
protected:
    std::string error() {
        try {
            start();
        } catch (const isc::ConfigError &e) {
            return e.what();
        }
        return "";
    }
};

TEST_F(Starting, SharedNetworkMustBeCoveredAsAWhole) {
    makeSubnet();
    Subnet4Ptr two = addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
    shareNetwork({subnet, two});
    relationship->set("subnets", Element::fromJSON("[ 1 ]"));
    EXPECT_EQ("relationship \"dc1\" covers subnet 1 but not subnet 2 of the same shared network, and Kea "
              "moves clients "
              "between them",
              error());
}

TEST_F(Starting, SharedNetworkMustBeOneRelationships) {
    makeSubnet();
    Subnet4Ptr two = addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
    shareNetwork({subnet, two});
    relationship->set("subnets", Element::fromJSON("[ 1 ]"));
    ElementPtr other = Element::createMap();
    other->set("name", Element::create("dc2"));
    other->set("peers", peers(true, "127.0.0.3"));
    other->set("subnets", Element::fromJSON("[ 2 ]"));
    others.push_back(other);
    EXPECT_PRED2(contains, error(), "same shared network");
}

TEST_F(Starting, DatabaseThatCantBeOpenedIsNamed) {
    makeSubnet();
    shim::Parameters p = parameters();
    p.database = "/dev/null/failover.db";
    service = std::make_unique<shim::Service>(p);
    try {
        service->start(staging());
        FAIL() << "started";
    } catch (const isc::ConfigError &e) {
        EXPECT_PRED2(contains, std::string(e.what()), "database: ");
        EXPECT_PRED2(contains, std::string(e.what()), "/dev/null/failover.db");
    }
}

TEST_F(Starting, RecordThatMakesNoSenseIsPutAside) {
    own(FIRST, FIRST + 9);
    writeDatabase();
    sqlite3 *db;
    ASSERT_EQ(SQLITE_OK, sqlite3_open(database().c_str(), &db));
    ASSERT_EQ(SQLITE_OK, sqlite3_exec(db, "UPDATE relationship SET state = 'sideways'", nullptr, nullptr, nullptr));
    sqlite3_close(db);
    startEmpty();
    EXPECT_EQ(FAILOVER_STARTUP, state()) << "as a first start";
    EXPECT_EQ(20u, status().by_status[FAILOVER_BACKUP]) << "which owns nothing";
    size_t aside = 0;
    for (const auto &entry : std::filesystem::directory_iterator(directory)) {
        std::string name = entry.path().filename();
        aside += contains(name, "failover.db") && name != "failover.db" && name != "failover.db-wal" &&
                 name != "failover.db-shm";
    }
    EXPECT_GT(aside, 0u);
}

TEST_F(Starting, FileThatIsNoDatabaseIsPutAside) {
    FILE *file = fopen(database().c_str(), "w");
    fputs("this was a database once, and now it is none, for more than a hundred bytes of it are this "
          "sentence here\n",
          file);
    fclose(file);
    startEmpty();
    EXPECT_EQ(FAILOVER_STARTUP, state());
}

TEST_F(Starting, BindingsOutsideOfThePoolsAreForgotten) {
    bind(ip("10.64.10.200"), FAILOVER_FREE);
    start();
    settle();
    service.reset();
    failover_store_result result;
    failover_why why;
    failover_store *store = failover_store_open(database().c_str(), -1, &result, &why);
    std::set<uint32_t> found;
    failover_store_load_bindings(
        store, failover_store_relationship(store, "dc1"),
        [](void *context, const failover_binding *b) {
            static_cast<std::set<uint32_t> *>(context)->insert(b->address);
        },
        &found);
    failover_store_close(store);
    EXPECT_EQ(0u, found.count(ip("10.64.10.200")));
    EXPECT_EQ(1u, found.count(FIRST));
}

TEST_F(Starting, RowThatTheFailoverDatabaseLacksIsTakenOver) {
    addRow(1, client(1), FIRST, 3600, 10);
    start();
    EXPECT_EQ(FAILOVER_ACTIVE, known(FIRST).status);
    EXPECT_EQ(row(FIRST)->cltt_ + 3600, known(FIRST).ends);
}

TEST_F(Starting, BindingThatKeasDatabaseLacksBecomesARow) {
    binding(client(1), FIRST);
    start();
    until([&] { return row(FIRST) != nullptr; });
    EXPECT_EQ(1, assigned());
}

TEST_F(Starting, LaterEndOfTheTwoCounts) {
    failover_binding &b = lease(client(1), FIRST, 3600, 100);
    b.ends = b.given = b.cltt + 1800;
    int64_t later = b.cltt + 3600;
    start();
    EXPECT_EQ(later, known(FIRST).ends);
}

TEST_F(Starting, RowsOfBindingsThatHaveEndedGo) {
    failover_binding &b = bind(FIRST, FAILOVER_RELEASED);
    b.client = client(1).core();
    b.starts = time(nullptr) - 50;
    addRow(1, client(1), FIRST, 3600, 100);
    start();
    until([&] { return row(FIRST) == nullptr; });
    EXPECT_EQ(0, assigned());
}

TEST_F(Starting, DeclinedRowIsAnAbandonedBinding) {
    addRow(1, client(1), FIRST, 86400, 10, Lease::STATE_DECLINED);
    start();
    EXPECT_EQ(FAILOVER_ABANDONED, known(FIRST).status);
}

TEST_F(Starting, ReservedAddressesAreKeptApart) {
    makeSubnet();
    reserve(1, client(1), FIRST);
    start();
    EXPECT_TRUE(known(FIRST).reserved);
    EXPECT_FALSE(known(FIRST + 1).reserved);
    EXPECT_EQ(1u, status().reserved);
}

TEST_F(Starting, TwoRelationshipsOnOnePortShareIt) {
    makeSubnet();
    addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
    relationship->set("subnets", Element::fromJSON("[ 1 ]"));
    ElementPtr other = Element::createMap();
    other->set("name", Element::create("dc2"));
    other->set("peers", peers(true, "127.0.0.3"));
    other->set("subnets", Element::fromJSON("[ 2 ]"));
    others.push_back(other);
    start();
    for (const auto &r : service->relationships()) {
        EXPECT_TRUE(service->listens(*r)) << r->name();
    }
}

TEST_F(Starting, PortInUseIsNoReasonNotToServe) {
    int taken = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(uint16_t(own_port));
    inet_pton(AF_INET, "127.0.0.1", &in.sin_addr);
    ASSERT_EQ(0, ::bind(taken, reinterpret_cast<sockaddr *>(&in), sizeof(in)));
    ASSERT_EQ(0, listen(taken, 1));
    start();
    EXPECT_FALSE(service->listens(dc1()));
    EXPECT_EQ(Answer::OFFER, serve(discover(client(1))).kind);
    close(taken);
}

TEST_F(Starting, StatisticsOfTheRelationshipAreKept) {
    lease(client(1), FIRST);
    start();
    settle();
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, statistic("failover[dc1].state"));
    EXPECT_EQ(1, statistic("failover[dc1].active"));
    EXPECT_EQ(9, statistic("failover[dc1].free-mine"));
    EXPECT_EQ(10, statistic("failover[dc1].free-partners"));
    EXPECT_EQ(0, statistic("failover[dc1].linked"));
}

} // namespace
