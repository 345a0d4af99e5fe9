// SPDX-License-Identifier: MPL-2.0
#include "shim_fixture.h"

#include <atomic>
#include <map>
#include <mutex>
#include <sqlite3.h>
#include <thread>
#include <util/multi_threading_mgr.h>

#include "load_balance.h"

using namespace shim_test;

namespace {

const auto CONTINUE = CalloutHandle::NEXT_STEP_CONTINUE;
const auto SKIP = CalloutHandle::NEXT_STEP_SKIP;
const auto DROP = CalloutHandle::NEXT_STEP_DROP;

const uint32_t MINE = FIRST + 5;      // free and this server's
const uint32_t PARTNERS = FIRST + 15; // free and the partner's
const uint32_t OUTSIDE = 0x0a400a05;  // 10.64.10.5, in no pool
const uint32_t FIRST_2 = 0x0a400b0a;  // 10.64.11.10, the first address of subnet 2

class Callouts : public ServiceTest {
protected:
    // With the second subnet in the same network; what is owned there is bound by own().
    void makeNetwork() {
        makeSubnet();
        second = addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
        shareNetwork({subnet, second});
    }

    struct Selected {
        CalloutHandle::CalloutNextStep status;
        Lease4Ptr lease;
    };
    // lease4_select, behind whatever this handle has been through.
    Selected leaseSelect(const CalloutHandlePtr &handle, const Pkt4Ptr &query, const Client &c, uint32_t address,
                         bool fake, uint32_t lifetime = 3600, Subnet4Ptr where = Subnet4Ptr()) {
        where = where ? where : subnet;
        Lease4Ptr lease(
            new Lease4(IOAddress(address), c.hwaddr(), c.clientId(), lifetime, time(nullptr), where->getID()));
        handle->setArgument("query4", query);
        handle->setArgument("subnet4", shim::Subnet4Argument(where));
        handle->setArgument("fake_allocation", fake);
        handle->setArgument("lease4", lease);
        run("lease4_select", *handle);
        handle->getArgument("lease4", lease);
        return {handle->getStatus(), lease};
    }
    Selected leaseSelect(const Packet &packet, const Client &c, uint32_t address, bool fake, uint32_t lifetime = 3600,
                         Subnet4Ptr where = Subnet4Ptr()) {
        return leaseSelect(HooksManager::createCalloutHandle(), packet.query(), c, address, fake, lifetime, where);
    }
    // lease4_renew for the row of the address, as Kea proposes to renew it.
    Lease4Ptr renew(const CalloutHandlePtr &handle, const Pkt4Ptr &query, uint32_t address, uint32_t lifetime = 3600,
                    uint32_t reuseable = 0) {
        Lease4Ptr lease = row(address);
        lease->valid_lft_ = lifetime;
        lease->cltt_ = time(nullptr);
        lease->reuseable_valid_lft_ = reuseable;
        handle->setArgument("query4", query);
        handle->setArgument("subnet4", shim::Subnet4Argument(subnet));
        handle->setArgument("lease4", lease);
        run("lease4_renew", *handle);
        return lease;
    }
    Lease4Ptr renew(const Packet &packet, uint32_t address, uint32_t lifetime = 3600, uint32_t reuseable = 0) {
        return renew(HooksManager::createCalloutHandle(), packet.query(), address, lifetime, reuseable);
    }
    CalloutHandle::CalloutNextStep commit(const Pkt4Ptr &query, const Lease4Collection &leases,
                                          const Lease4Collection &deleted = {}) {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        handle->setArgument("query4", query);
        handle->setArgument("leases4", Lease4CollectionPtr(new Lease4Collection(leases)));
        handle->setArgument("deleted_leases4", Lease4CollectionPtr(new Lease4Collection(deleted)));
        run("leases4_committed", *handle);
        return handle->getStatus();
    }
    CalloutHandle::CalloutNextStep giveBack(const char *hook, uint8_t type, const Client &c, const Lease4Ptr &lease) {
        CalloutHandlePtr handle = HooksManager::createCalloutHandle();
        handle->setArgument("query4", Packet(type, c).from(lease->addr_.toUint32()).query());
        handle->setArgument("lease4", lease);
        run(hook, *handle);
        return handle->getStatus();
    }
    bool isMine(uint32_t address) {
        return address >= FIRST && address < FIRST + own_addresses;
    }
    // As if another thread, or the partner, had taken the address meanwhile.
    void takeAway(uint32_t address) {
        dc1().with([&](failover *core, failover_clock now) { failover_declined(core, address, now.wall + 1000, now); });
    }
    bool isOnDisk(uint32_t address) {
        return dc1().with([&](failover *core, failover_clock) { return failover_is_on_disk(core, address); });
    }
    void coverOnlySubnetOne() {
        makeSubnet();
        second = addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
        relationship->set("subnets", Element::fromJSON("[ 1 ]"));
    }
    // Brings the service into any state.
    void startIn(failover_state wanted) {
        if (wanted == FAILOVER_NORMAL) {
            startNormal();
        } else if (wanted == FAILOVER_STARTUP) {
            setProcess(record, "ffffffffffffffffffffffffffffffff");
            start();
        } else if (wanted == FAILOVER_POTENTIAL_CONFLICT) {
            startInPotentialConflict();
        } else {
            record.state = wanted;
            start();
        }
        ASSERT_EQ(wanted, state()) << failover_state_name(state());
    }
    // A secondary waits there for the primary to finish; its partner gets no more turns then.
    void startInPotentialConflict() {
        primary = false;
        record.state = FAILOVER_POTENTIAL_CONFLICT;
        addPartner(record);
        setProcess(record, "ffffffffffffffffffffffffffffffff");
        start();
        until([&] { return state() == FAILOVER_POTENTIAL_CONFLICT; });
    }

    Subnet4Ptr second;
};

// ---- subnet4_select in every state ----------------------------------------------------------------------------------

struct StateCase {
    failover_state state;
    bool new_client, renewal, inform, outside; // answered?
};

void PrintTo(const StateCase &c, std::ostream *out) {
    *out << failover_state_name(c.state);
}

class CalloutsIn : public Callouts, public ::testing::WithParamInterface<StateCase> {
protected:
    void SetUp() override {
        makeSubnet();
        reserve(1, client(9), OUTSIDE);
        lease(client(1), FIRST);
        startIn(GetParam().state);
    }
    static CalloutHandle::CalloutNextStep expected(bool answered) {
        return answered ? CONTINUE : DROP;
    }
};

TEST_P(CalloutsIn, DiscoverOfANewClient) {
    EXPECT_EQ(expected(GetParam().new_client), selected(discover(client(2)).secs(10)));
}

TEST_P(CalloutsIn, RequestOfAClientThatRenews) {
    EXPECT_EQ(expected(GetParam().renewal), selected(renewing(client(1), FIRST)));
}

TEST_P(CalloutsIn, RequestOfANewClientForAnOwnAddress) {
    EXPECT_EQ(expected(GetParam().new_client), selected(selecting(client(2), MINE)));
}

TEST_P(CalloutsIn, Inform) {
    EXPECT_EQ(expected(GetParam().inform), selected(Packet(DHCPINFORM, client(1)).from(FIRST)));
}

TEST_P(CalloutsIn, DiscoverOfAClientWithAReservationOutsideOfThePools) {
    EXPECT_EQ(expected(GetParam().outside), selected(discover(client(9)).secs(10)));
}

TEST_P(CalloutsIn, RequestOfAClientWithAReservationOutsideOfThePools) {
    bool renews = GetParam().outside || GetParam().renewal;
    EXPECT_EQ(expected(renews), selected(renewing(client(9), OUTSIDE)));
}

TEST_P(CalloutsIn, Release) {
    EXPECT_EQ(expected(GetParam().inform), giveBack("lease4_release", DHCPRELEASE, client(1), row(FIRST)));
}

TEST_P(CalloutsIn, Decline) {
    EXPECT_EQ(expected(GetParam().inform), giveBack("lease4_decline", DHCPDECLINE, client(1), row(FIRST)));
}

TEST_P(CalloutsIn, SilenceLeavesTheRowsAlone) {
    selected(discover(client(1)).secs(10));
    EXPECT_TRUE(row(FIRST));
    EXPECT_EQ(1, assigned());
}

INSTANTIATE_TEST_SUITE_P(Each, CalloutsIn,
                         ::testing::Values(
                             //                                            new    renewal inform outside
                             StateCase{FAILOVER_STARTUP, false, false, false, false},
                             StateCase{FAILOVER_NORMAL, true, true, true, true},
                             StateCase{FAILOVER_COMMUNICATIONS_INTERRUPTED, true, true, true, true},
                             StateCase{FAILOVER_PARTNER_DOWN, true, true, true, true},
                             StateCase{FAILOVER_RECOVER, false, false, false, true},
                             StateCase{FAILOVER_RECOVER_WAIT, false, false, false, true},
                             StateCase{FAILOVER_RECOVER_DONE, false, true, false, false},
                             StateCase{FAILOVER_POTENTIAL_CONFLICT, false, false, false, false},
                             StateCase{FAILOVER_CONFLICT_DONE, false, false, false, false},
                             StateCase{FAILOVER_RESOLUTION_INTERRUPTED, false, true, false, false},
                             StateCase{FAILOVER_SHUTDOWN, false, false, false, false}),
                         [](const auto &info) {
                             std::string name = failover_state_name(info.param.state);
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

// ---- subnet4_select: whose client, whose subnet ---------------------------------------------------------------------

TEST_F(Callouts, SubnetThatNoRelationshipCoversNeverNoticesSilence) {
    coverOnlySubnetOne();
    startIn(FAILOVER_RECOVER);
    EXPECT_EQ(DROP, selected(discover(client(1))));
    EXPECT_EQ(CONTINUE, selected(discover(client(1)), second));
    EXPECT_EQ(CONTINUE, selected(initReboot(client(1), FIRST_2), second));
    EXPECT_EQ(CONTINUE, selected(discover(client(1)).inClass("BOOTP"), second));
}

TEST_F(Callouts, RowsOfASubnetThatNoRelationshipCoversStay) {
    coverOnlySubnetOne();
    start();
    addRow(2, client(1), FIRST_2);
    selected(discover(client(1)));
    EXPECT_TRUE(row(FIRST_2));
}

TEST_F(Callouts, QueryWithoutASubnetIsLeftToKea) {
    start();
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    handle->setArgument("query4", discover(client(1)).query());
    handle->setArgument("subnet4", shim::Subnet4Argument());
    run("subnet4_select", *handle);
    EXPECT_EQ(CONTINUE, handle->getStatus());
}

TEST_F(Callouts, WhatAnotherLibraryDecidedStands) {
    startIn(FAILOVER_RECOVER);
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    handle->setArgument("query4", discover(client(1)).query());
    handle->setArgument("subnet4", shim::Subnet4Argument(subnet));
    handle->setStatus(SKIP);
    shim::subnetSelected(*service, *handle);
    EXPECT_EQ(SKIP, handle->getStatus());
}

TEST_F(Callouts, EveryClientIsAnsweredByOneOfTwoInNormal) {
    startNormal();
    int answered = 0;
    for (unsigned n = 1; n <= 100; n++) {
        Client c = client(n);
        bool primarys = failover_bucket_is_primarys(record.hba, failover_hash(c.mac.data(), c.mac.size()));
        EXPECT_EQ(primarys ? CONTINUE : DROP, selected(discover(c)));
        answered += primarys;
    }
    EXPECT_GT(answered, 20);
    EXPECT_LT(answered, 80);
    EXPECT_EQ(uint64_t(100 - answered), counters().queries_balanced);
}

TEST_F(Callouts, ClientThatWaitsIsAnsweredThoughItIsThePartners) {
    startNormal();
    Client c = client(1);
    for (unsigned n = 1; failover_bucket_is_primarys(record.hba, failover_hash(c.mac.data(), c.mac.size())); n++) {
        c = client(n);
    }
    EXPECT_EQ(DROP, selected(discover(c).secs(3)));
    EXPECT_EQ(CONTINUE, selected(discover(c).secs(4)));
}

TEST_F(Callouts, LoadBalancingHashesTheIdentifierWhereThereIsOne) {
    startNormal();
    for (unsigned n = 1; n <= 50; n++) {
        Client c = clientWithId(n);
        bool primarys = failover_bucket_is_primarys(record.hba, failover_hash(c.id.data(), c.id.size()));
        EXPECT_EQ(primarys ? CONTINUE : DROP, selected(discover(c)));
    }
}

TEST_F(Callouts, NoLoadBalancingWhileInterrupted) {
    start();
    for (unsigned n = 1; n <= 50; n++) {
        EXPECT_EQ(CONTINUE, selected(discover(client(n))));
    }
}

// ---- subnet4_select: rows that would stand in Kea's way -------------------------------------------------------------

TEST_F(Callouts, RowThatMayBeExtendedStays) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(CONTINUE, selected(discover(client(1))));
    EXPECT_TRUE(row(FIRST));
    EXPECT_EQ(1, assigned());
}

TEST_F(Callouts, RowThatMayNotBeExtendedGoesWithItsCount) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    EXPECT_EQ(CONTINUE, selected(discover(client(1))));
    EXPECT_FALSE(row(FIRST));
    EXPECT_EQ(0, assigned());
    EXPECT_EQ(FAILOVER_ACTIVE, known(FIRST).status) << "the promise stands";
}

TEST_F(Callouts, RowThatIsOnNoDiskOfOursStaysAndItsClientWaits) {
    startNormal();
    settle();
    sqlite3 *other = nullptr;
    ASSERT_EQ(SQLITE_OK, sqlite3_open(database().c_str(), &other));
    ASSERT_EQ(SQLITE_OK, sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr)); // as if the disk hung
    ASSERT_EQ(Answer::ACK, serve(selecting(client(1), MINE)).kind);
    EXPECT_EQ(DROP, selected(selecting(client(1), MINE + 1))) << "Kea would remove the row for the other address";
    EXPECT_TRUE(row(MINE));
    EXPECT_EQ(CONTINUE, selected(renewing(client(1), MINE)));
    sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
    sqlite3_close(other);
    until([&] { return isOnDisk(MINE); });
    EXPECT_EQ(CONTINUE, selected(selecting(client(1), MINE + 1)));
}

TEST_F(Callouts, UselessRowIsFoundByIdentifierUnderOtherHardware) {
    lease(clientWithId(1), FIRST).extended_epoch = 1;
    start();
    Client c = clientWithId(1);
    c.mac = client(2).mac;
    selected(discover(c));
    EXPECT_FALSE(row(FIRST));
}

TEST_F(Callouts, UselessRowOfTheSharedNetworkGoesToo) {
    makeNetwork();
    lease(client(1), FIRST_2).extended_epoch = 1;
    start();
    selected(discover(client(1)));
    EXPECT_FALSE(row(FIRST_2));
    EXPECT_EQ(0, assigned(2));
    EXPECT_EQ(0, assigned(1));
}

TEST_F(Callouts, ReclaimedRowThatIsHeldGoesWithoutBeingCountedAgain) {
    failover_binding &b = bind(FIRST, FAILOVER_EXPIRED);
    b.client = client(1).core();
    b.state_sent = b.update_sent = true;
    start();
    addRow(1, client(1), FIRST, 600, 1000, Lease::STATE_EXPIRED_RECLAIMED);
    selected(discover(client(1)));
    EXPECT_FALSE(row(FIRST));
    EXPECT_EQ(0, assigned());
}

TEST_F(Callouts, RowUnderTheSameIdentifierIsAnothersWhereIdentifiersDontMatch) {
    lease(clientWithId(1), FIRST);
    start();
    subnet->setMatchClientId(false);
    Client clone = clientWithId(1);
    clone.mac = client(2).mac;
    EXPECT_EQ(CONTINUE, selected(discover(clone)));
    EXPECT_TRUE(row(FIRST));
}

TEST_F(Callouts, ClientsAreToldApartByHardwareWhereIdentifiersDontMatch) {
    makeSubnet();
    subnet->setMatchClientId(false);
    start();
    Client clone = clientWithId(1);
    clone.mac = client(2).mac;
    Answer one = serve(discover(clientWithId(1)));
    ASSERT_EQ(Answer::ACK, serve(selecting(clientWithId(1), one.address)).kind);
    EXPECT_EQ(0, known(one.address).client.id_length);
    Answer two = serve(discover(clone));
    ASSERT_EQ(Answer::OFFER, two.kind);
    EXPECT_NE(one.address, two.address);
    EXPECT_EQ(Answer::ACK, serve(selecting(clone, two.address)).kind);
    EXPECT_EQ(2, assigned());
}

// As on InfiniBand.
TEST_F(Callouts, ClientWithoutHardwareAddressIsServedByItsIdentifier) {
    start();
    Client c = clientWithId(1);
    c.mac.clear();
    Answer offer = serve(discover(c));
    ASSERT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(Answer::ACK, serve(selecting(c, offer.address)).kind);
    EXPECT_EQ(Answer::NAK, serve(renewing(c, offer.address)).kind);
}

TEST_F(Callouts, RowsOfOtherClientsStay) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    selected(discover(client(2)));
    EXPECT_TRUE(row(FIRST));
}

TEST_F(Callouts, SilentStateWithAReservationOutsideOfThePoolsRemovesNoRow) {
    makeSubnet();
    reserve(1, client(1), OUTSIDE);
    lease(client(1), FIRST).extended_epoch = 1;
    startIn(FAILOVER_RECOVER);
    EXPECT_EQ(CONTINUE, selected(discover(client(1))));
    EXPECT_TRUE(row(FIRST));
}

// ---- subnet4_select: refused requests -------------------------------------------------------------------------------

TEST_F(Callouts, RefusedRenewalTakesTheRow) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    EXPECT_EQ(CONTINUE, selected(renewing(client(1), FIRST)));
    EXPECT_FALSE(row(FIRST));
    EXPECT_EQ(0, assigned());
    EXPECT_EQ(1u, counters().renewals_refused);
}

TEST_F(Callouts, RefusedRenewalIsRefusedInLeaseSelectToo) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    Pkt4Ptr query = renewing(client(1), FIRST).query();
    CalloutHandlePtr handle = select(query);
    EXPECT_EQ(SKIP, leaseSelect(handle, query, client(1), FIRST, false).status);
}

TEST_F(Callouts, WhatWasRefusedStaysRefusedThoughTheCoreWouldGiveItNow) {
    start();
    Pkt4Ptr query = selecting(client(1), PARTNERS).query();
    CalloutHandlePtr handle = select(query);
    EXPECT_EQ(SKIP, leaseSelect(handle, query, client(1), MINE, false).status);
}

TEST_F(Callouts, RefusedRenewalIsANakAndTheNextOfferAnotherOwnAddress) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    EXPECT_EQ(Answer::NAK, serve(renewing(client(1), FIRST)).kind);
    EXPECT_EQ(0, assigned());
    Answer offer = serve(discover(client(1)).wants(FIRST));
    ASSERT_EQ(Answer::OFFER, offer.kind);
    EXPECT_NE(FIRST, offer.address);
    EXPECT_TRUE(isMine(offer.address));
    EXPECT_EQ(60u, offer.lifetime);
    EXPECT_EQ(Answer::ACK, serve(selecting(client(1), offer.address)).kind);
    EXPECT_EQ(1, assigned());
}

TEST_F(Callouts, NobodyGetsTheAddressOfARefusedClient) {
    lease(client(1), FIRST).extended_epoch = 1;
    own_addresses = 1;
    start();
    EXPECT_EQ(Answer::NAK, serve(renewing(client(1), FIRST)).kind);
    EXPECT_EQ(Answer::NOTHING, serve(discover(client(2))).kind);
    EXPECT_EQ(Answer::NAK, serve(selecting(client(2), FIRST)).kind);
}

TEST_F(Callouts, AddressBoundToAnotherClientIsANak) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(Answer::NAK, serve(selecting(client(2), FIRST)).kind);
    EXPECT_EQ(Answer::NAK, serve(renewing(client(2), FIRST)).kind);
    EXPECT_EQ(Answer::NAK, serve(initReboot(client(2), FIRST)).kind);
    EXPECT_TRUE(row(FIRST)->belongsToClient(client(1).hwaddr(), ClientIdPtr()));
}

TEST_F(Callouts, AddressBoundToAnotherClientWithoutARowIsANak) {
    binding(client(1), FIRST, 3600, 100);
    start();
    ASSERT_TRUE(row(FIRST)); // put there by the start
    LeaseMgrFactory::instance().deleteLease(row(FIRST));
    EXPECT_EQ(Answer::NAK, serve(selecting(client(2), FIRST)).kind);
    EXPECT_EQ(Answer::NAK, serve(renewing(client(2), FIRST)).kind);
}

TEST_F(Callouts, SelectingAnAddressOfThePartnersIsANak) {
    start();
    EXPECT_EQ(Answer::NAK, serve(selecting(client(1), PARTNERS)).kind);
    EXPECT_FALSE(row(PARTNERS));
    EXPECT_EQ(0, assigned());
}

TEST_F(Callouts, InitRebootForAnAddressOfThePartnersIsSilenceWhateverAuthoritativeSays) {
    start();
    EXPECT_EQ(DROP, selected(initReboot(client(1), PARTNERS)));
    subnet->setAuthoritative(false);
    EXPECT_EQ(DROP, selected(initReboot(client(1), PARTNERS)));
}

TEST_F(Callouts, RebindingAnAddressOfThePartnersIsSilence) {
    start();
    EXPECT_EQ(DROP, selected(renewing(client(1), PARTNERS)));
}

TEST_F(Callouts, RefusedInitRebootIsSkippedWhereKeaIsNotAuthoritative) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    subnet->setAuthoritative(false);
    EXPECT_EQ(SKIP, selected(initReboot(client(1), FIRST)));
}

TEST_F(Callouts, RefusedInitRebootIsLeftToAnAuthoritativeKea) {
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    EXPECT_EQ(CONTINUE, selected(initReboot(client(1), FIRST)));
}

TEST_F(Callouts, RefusedInitRebootIsANakEitherWay) {
    lease(client(1), FIRST).extended_epoch = 1;
    lease(client(2), FIRST + 1).extended_epoch = 1;
    start();
    EXPECT_EQ(Answer::NAK, serve(initReboot(client(1), FIRST)).kind);
    subnet->setAuthoritative(false);
    EXPECT_EQ(Answer::NAK, serve(initReboot(client(2), FIRST + 1)).kind);
}

TEST_F(Callouts, AddressInNoPoolIsSkipped) {
    start();
    EXPECT_EQ(SKIP, selected(selecting(client(1), OUTSIDE)));
    EXPECT_EQ(SKIP, selected(renewing(client(1), ip("192.168.1.1"))));
    EXPECT_EQ(SKIP, selected(initReboot(client(1), ip("192.168.1.1"))));
    EXPECT_EQ(Answer::NAK, serve(renewing(client(1), ip("192.168.1.1"))).kind);
}

TEST_F(Callouts, RequestWithoutAnyAddressIsSkipped) {
    start();
    EXPECT_EQ(SKIP, selected(Packet(DHCPREQUEST, client(1))));
}

TEST_F(Callouts, ExpiredRowOfAnotherClientIsCountedDownOnceByRefusals) {
    failover_binding &b = bind(FIRST, FAILOVER_EXPIRED);
    b.client = client(1).core();
    b.state_sent = b.update_sent = true;
    start();
    addRow(1, client(1), FIRST, 600, 1000);
    ASSERT_EQ(1, assigned());
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(Answer::NAK, serve(selecting(client(2), FIRST)).kind);
        EXPECT_EQ(0, assigned());
    }
    EXPECT_FALSE(row(FIRST));
}

TEST_F(Callouts, ExpiredRowOfASubnetThatNoRelationshipCoversStays) {
    coverOnlySubnetOne();
    start();
    addRow(2, client(2), FIRST_2, 600, 1000);
    EXPECT_EQ(SKIP, selected(initReboot(client(1), FIRST_2)));
    EXPECT_TRUE(row(FIRST_2));
}

TEST_F(Callouts, ExpiredRowOfALeaseThatIsPromisedForLongerIsRenewedAndCountedOnce) {
    lease(client(1), FIRST, 600, 700).ends = time(nullptr) + 1000;
    start();
    EXPECT_EQ(Answer::ACK, serve(renewing(client(1), FIRST)).kind);
    EXPECT_EQ(60u, row(FIRST)->valid_lft_);
    EXPECT_EQ(1, assigned());
}

// ---- subnet4_select: BOOTP and reservations -------------------------------------------------------------------------

TEST_F(Callouts, BootpClientWithAReservationInAPoolIsDropped) {
    makeSubnet();
    reserve(1, client(1), MINE);
    start();
    EXPECT_EQ(DROP, selected(discover(client(1)).inClass("BOOTP")));
}

TEST_F(Callouts, BootpClientWithAReservationOutsideOfThePoolsIsServed) {
    makeSubnet();
    reserve(1, client(1), OUTSIDE);
    start();
    EXPECT_EQ(CONTINUE, selected(discover(client(1)).inClass("BOOTP")));
}

TEST_F(Callouts, ReservedAddressIsGivenByWhicheverServerAnswers) {
    makeSubnet();
    reserve(1, client(1), PARTNERS);
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(PARTNERS, offer.address);
    EXPECT_EQ(60u, offer.lifetime);
    EXPECT_EQ(Answer::ACK, serve(selecting(client(1), PARTNERS)).kind);
    EXPECT_EQ(FAILOVER_ACTIVE, known(PARTNERS).status);
}

TEST_F(Callouts, ReservedAddressIsOfferedToNobodyElse) {
    makeSubnet();
    for (uint32_t i = 0; i < 9; i++) {
        reserve(1, client(100 + i), FIRST + i);
    }
    start();
    for (unsigned n = 1; n <= 20; n++) {
        EXPECT_EQ(FIRST + 9, serve(discover(client(n))).address);
    }
}

TEST_F(Callouts, ClientWhoseReservedAddressIsAnothersIsDroppedNotGivenAnother) {
    makeSubnet();
    reserve(1, client(1), FIRST);
    lease(client(2), FIRST);
    start();
    EXPECT_EQ(DROP, selected(discover(client(1))));
}

TEST_F(Callouts, ClientWhoseReservedAddressIsHeldIsDroppedNotGivenAnother) {
    makeSubnet();
    reserve(1, client(1), FIRST);
    failover_binding &b = bind(FIRST, FAILOVER_RELEASED);
    b.client = client(1).core();
    b.state_sent = b.update_sent = true;
    start();
    EXPECT_EQ(DROP, selected(discover(client(1))));
}

TEST_F(Callouts, ClientOfAReservationOutsideOfThePoolsGetsItForTheConfiguredLifetime) {
    makeSubnet();
    reserve(1, client(1), OUTSIDE);
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(OUTSIDE, offer.address);
    EXPECT_EQ(3600u, offer.lifetime);
    Answer ack = serve(selecting(client(1), OUTSIDE));
    EXPECT_EQ(Answer::ACK, ack.kind);
    EXPECT_EQ(3600u, ack.lifetime);
    EXPECT_EQ(Answer::ACK, serve(renewing(client(1), OUTSIDE)).kind);
}

TEST_F(Callouts, GlobalReservationInAPoolIsGivenToItsClient) {
    makeSubnet();
    subnet->setReservationsGlobal(true);
    reserve(SUBNET_ID_GLOBAL, client(1), PARTNERS);
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(PARTNERS, offer.address);
    EXPECT_EQ(Answer::ACK, serve(selecting(client(1), PARTNERS)).kind);
}

TEST_F(Callouts, GlobalReservationInAPoolIsOfferedToNobodyElse) {
    makeSubnet();
    subnet->setReservationsGlobal(true);
    own_addresses = 2;
    reserve(SUBNET_ID_GLOBAL, client(1), FIRST);
    start();
    for (unsigned n = 2; n <= 6; n++) {
        EXPECT_EQ(FIRST + 1, serve(discover(client(n))).address);
    }
}

TEST_F(Callouts, ReservationsThatTheSubnetDoesNotTakeBlockNothing) {
    makeSubnet();
    subnet->setReservationsInSubnet(false);
    own_addresses = 1;
    reserve(1, client(1), FIRST);
    start();
    EXPECT_EQ(FIRST, serve(discover(client(2))).address);
}

TEST_F(Callouts, ReservationInASiblingSubnetIsGivenToItsClient) {
    makeNetwork();
    reserve(2, client(1), FIRST_2);
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(FIRST_2, offer.address);
    EXPECT_EQ(Answer::ACK, serve(selecting(client(1), FIRST_2)).kind);
}

// A flexible identifier is made by another library, after subnet4_select: only Kea knows whose such a
// reservation is.
class Flexible : public Callouts {
protected:
    Flexible() {
        makeSubnet();
        staging()->getCfgHostOperations4()->clearIdentifierTypes();
        staging()->getCfgHostOperations4()->addIdentifierType("flex-id");
    }
};

TEST_F(Flexible, ReservationInAPoolIsGivenToWhomKeaGivesIt) {
    reserve(1, Host::IDENT_FLEX, {1, 2, 3}, PARTNERS);
    start();
    for (const Packet &packet : {discover(client(1)), selecting(client(1), PARTNERS), renewing(client(1), PARTNERS)}) {
        Pkt4Ptr query = packet.query();
        CalloutHandlePtr handle = select(query);
        EXPECT_EQ(CONTINUE, handle->getStatus());
        bool fake = query->getType() == DHCPDISCOVER;
        Selected s = leaseSelect(handle, query, client(1), PARTNERS, fake);
        EXPECT_EQ(CONTINUE, s.status);
        EXPECT_EQ(IOAddress(PARTNERS), s.lease->addr_);
    }
}

TEST_F(Flexible, ReservationOutsideOfThePoolsIsLeftToKea) {
    reserve(1, Host::IDENT_FLEX, {1, 2, 3}, OUTSIDE);
    start();
    EXPECT_EQ(CONTINUE, selected(renewing(client(1), OUTSIDE)));
    EXPECT_EQ(SKIP, selected(renewing(client(1), OUTSIDE + 1)));
}

TEST_F(Flexible, ReservedAddressThatIsTakenIsNoAddressAndNoSkip) {
    reserve(1, Host::IDENT_FLEX, {1, 2, 3}, FIRST);
    lease(client(2), FIRST);
    start();
    LeaseMgrFactory::instance().deleteLease(row(FIRST));
    Pkt4Ptr query = discover(client(1)).query();
    CalloutHandlePtr handle = select(query);
    Selected s = leaseSelect(handle, query, client(1), FIRST, true);
    EXPECT_EQ(CONTINUE, s.status);
    EXPECT_TRUE(s.lease->addr_.isV4Zero());
}

TEST_F(Flexible, GlobalReservationIsNeverASkip) {
    subnet->setReservationsGlobal(true);
    own_addresses = 0;
    reserve(SUBNET_ID_GLOBAL, Host::IDENT_FLEX, {1, 2, 3}, PARTNERS);
    start();
    Pkt4Ptr query = discover(client(1)).query();
    CalloutHandlePtr handle = select(query);
    EXPECT_EQ(CONTINUE, leaseSelect(handle, query, client(1), PARTNERS, true).status);
}

// ---- A service that could not start ---------------------------------------------------------------------------------

TEST_F(Callouts, ServiceThatCouldNotStartAnswersNobodyInItsSubnets) {
    makeSubnet();
    second = addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
    relationship->set("subnets", Element::fromJSON("[ 1, 77 ]"));
    EXPECT_THROW(start(), isc::ConfigError);
    EXPECT_EQ(DROP, selected(discover(client(1))));
    EXPECT_EQ(DROP, selected(renewing(client(1), FIRST)));
    EXPECT_EQ(CONTINUE, selected(discover(client(1)), second));
}

TEST_F(Callouts, ServiceThatCouldNotStartAndCoversEverythingAnswersNobody) {
    makeSubnet();
    shim::Parameters p = parameters();
    p.database = "/dev/null/failover.db";
    service = std::make_unique<shim::Service>(p);
    EXPECT_THROW(service->start(staging()), isc::ConfigError);
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    handle->setArgument("query4", discover(client(1)).query());
    handle->setArgument("subnet4", shim::Subnet4Argument(subnet));
    shim::subnetSelected(*service, *handle);
    EXPECT_EQ(DROP, handle->getStatus());
}

// ---- lease4_select: the candidate is this server's ------------------------------------------------------------------

TEST_F(Callouts, NewClientGetsTheMclt) {
    start();
    Selected s = leaseSelect(discover(client(1)), client(1), MINE, true);
    EXPECT_EQ(CONTINUE, s.status);
    EXPECT_EQ(IOAddress(MINE), s.lease->addr_);
    EXPECT_EQ(60u, s.lease->valid_lft_);
}

TEST_F(Callouts, LifetimeBelowTheMcltIsGrantedAsItIs) {
    start();
    EXPECT_EQ(45u, leaseSelect(discover(client(1)), client(1), MINE, true, 45).lease->valid_lft_);
}

TEST_F(Callouts, InfiniteLifetimeOfANewClientIsTheMclt) {
    start();
    EXPECT_EQ(60u, leaseSelect(discover(client(1)), client(1), MINE, true, Lease::INFINITY_LFT).lease->valid_lft_);
}

TEST_F(Callouts, OfferAndAckCarryTheSameLifetime) {
    start();
    Answer offer = serve(discover(client(1)));
    Answer ack = serve(selecting(client(1), offer.address));
    EXPECT_EQ(60u, offer.lifetime);
    EXPECT_EQ(60u, ack.lifetime);
    EXPECT_EQ(60u, row(ack.address)->valid_lft_);
}

// ---- lease4_select: the candidate isn't -----------------------------------------------------------------------------

TEST_F(Callouts, OwnAddressTakesThePlaceOfThePartners) {
    start();
    Selected s = leaseSelect(discover(client(1)), client(1), PARTNERS, true);
    EXPECT_EQ(CONTINUE, s.status);
    EXPECT_TRUE(isMine(s.lease->addr_.toUint32())) << s.lease->addr_.toText();
    EXPECT_EQ(60u, s.lease->valid_lft_);
    EXPECT_EQ(1u, counters().addresses_replaced);
}

TEST_F(Callouts, HintOfThePartnersAddressIsReplaced) {
    start();
    Answer offer = serve(discover(client(1)).wants(PARTNERS));
    EXPECT_EQ(Answer::OFFER, offer.kind);
    EXPECT_TRUE(isMine(offer.address));
}

TEST_F(Callouts, EveryOwnAddressIsGivenAndNoOther) {
    start();
    std::set<uint32_t> given;
    for (unsigned n = 1; n <= 10; n++) {
        Answer offer = serve(discover(client(n)));
        ASSERT_EQ(Answer::OFFER, offer.kind) << n;
        EXPECT_EQ(Answer::ACK, serve(selecting(client(n), offer.address)).kind);
        EXPECT_TRUE(isMine(offer.address));
        given.insert(offer.address);
    }
    EXPECT_EQ(10u, given.size());
    EXPECT_EQ(10, assigned());
    EXPECT_EQ(Answer::NOTHING, serve(discover(client(11))).kind);
}

TEST_F(Callouts, SubstituteWithALiveRowIsPassedOver) {
    start();
    for (uint32_t a = FIRST; a < FIRST + 9; a++) {
        addRow(1, client(100 + a - FIRST), a); // behind the hook's back
    }
    EXPECT_EQ(IOAddress(FIRST + 9), leaseSelect(discover(client(1)), client(1), PARTNERS, true).lease->addr_);
}

TEST_F(Callouts, SubstituteWithAnExpiredRowIsTaken) {
    own_addresses = 1;
    start();
    addRow(1, client(2), FIRST, 600, 1000);
    EXPECT_EQ(IOAddress(FIRST), leaseSelect(discover(client(1)), client(1), PARTNERS, true).lease->addr_);
}

TEST_F(Callouts, SubstituteReservedForAnotherIsPassedOver) {
    makeSubnet();
    reserve(1, client(200), OUTSIDE);
    start();
    // Reservations that came into a host database after the start.
    for (uint32_t a = FIRST; a < FIRST + 9; a++) {
        Bytes mac = client(100 + a - FIRST).mac;
        HostPtr host(new Host(mac.data(), mac.size(), Host::IDENT_HWADDR, 1, SUBNET_ID_UNUSED, IOAddress(a)));
        CfgMgr::instance().getCurrentCfg()->getCfgHosts()->add(host);
    }
    EXPECT_EQ(IOAddress(FIRST + 9), leaseSelect(discover(client(1)), client(1), PARTNERS, true).lease->addr_);
}

TEST_F(Callouts, NoOwnAddressLeftIsASkip) {
    own_addresses = 0;
    start();
    EXPECT_EQ(SKIP, leaseSelect(discover(client(1)), client(1), PARTNERS, true).status);
    EXPECT_EQ(1u, counters().exhausted);
    EXPECT_EQ(Answer::NOTHING, serve(discover(client(1))).kind);
}

TEST_F(Callouts, PoolOfAnotherClassIsNotDrawnFrom) {
    makeSubnet();
    subnet->getPools(Lease::TYPE_V4).front()->allowClientClass("phones");
    PoolPtr open(new Pool4(IOAddress("10.64.10.100"), IOAddress("10.64.10.103")));
    subnet->addPool(open);
    own(ip("10.64.10.102"), ip("10.64.10.102"));
    start();
    EXPECT_EQ("10.64.10.102",
              leaseSelect(discover(client(1)), client(1), ip("10.64.10.100"), true).lease->addr_.toText());
    for (unsigned n = 1; n <= 3; n++) {
        EXPECT_EQ(ip("10.64.10.102"), serve(discover(client(n))).address);
    }
}

TEST_F(Callouts, PoolOfTheClientsClassIsDrawnFrom) {
    makeSubnet();
    subnet->getPools(Lease::TYPE_V4).front()->allowClientClass("phones");
    start();
    EXPECT_TRUE(isMine(serve(discover(client(1)).inClass("phones")).address));
    EXPECT_EQ(Answer::NOTHING, serve(discover(client(1))).kind);
}

TEST_F(Callouts, SiblingWithAnOwnAddressMakesANullLeaseAndContinue) {
    makeNetwork();
    own_addresses = 0;
    own(FIRST_2 + 3, FIRST_2 + 3);
    start();
    Selected s = leaseSelect(discover(client(1)), client(1), PARTNERS, true);
    EXPECT_EQ(CONTINUE, s.status);
    EXPECT_FALSE(s.lease);
    EXPECT_EQ(0u, counters().exhausted);
}

TEST_F(Callouts, NewClientBeginsInTheSubnetThatHasAnOwnAddress) {
    makeNetwork();
    own_addresses = 0;
    own(FIRST_2 + 3, FIRST_2 + 3);
    start();
    shim::Subnet4Argument chosen;
    select(discover(client(1)).query())->getArgument("subnet4", chosen);
    EXPECT_EQ(2u, chosen->getID());
}

TEST_F(Callouts, NewClientStaysInItsSubnetWhereThatHasAnOwnAddress) {
    makeNetwork();
    own(FIRST_2 + 3, FIRST_2 + 3);
    start();
    shim::Subnet4Argument chosen;
    select(discover(client(1)).query())->getArgument("subnet4", chosen);
    EXPECT_EQ(1u, chosen->getID());
}

TEST_F(Callouts, KnownClientKeepsItsAddressThoughNewOnesBeginElsewhere) {
    makeNetwork();
    own_addresses = 0;
    own(FIRST_2 + 3, FIRST_2 + 3);
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(FIRST, serve(discover(client(1))).address);
}

TEST_F(Callouts, KeaGoesOnToTheSiblingThatHasAnOwnAddress) {
    makeNetwork();
    own_addresses = 0;
    own(FIRST_2 + 3, FIRST_2 + 3);
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(Answer::OFFER, offer.kind);
    EXPECT_EQ(FIRST_2 + 3, offer.address);
    EXPECT_EQ(Answer::ACK, serve(selecting(client(1), offer.address)).kind);
    EXPECT_EQ(1, assigned(2));
}

TEST_F(Callouts, KeaGoesBackToTheFirstSubnetFromTheSecond) {
    makeNetwork();
    own_addresses = 1;
    start();
    EXPECT_EQ(FIRST, serve(discover(client(1)), second).address);
}

TEST_F(Callouts, WholeNetworkWithoutAnOwnAddressIsASkip) {
    makeNetwork();
    own_addresses = 0;
    start();
    EXPECT_EQ(SKIP, leaseSelect(discover(client(1)), client(1), PARTNERS, true).status);
    EXPECT_EQ(SKIP, leaseSelect(discover(client(1)), client(1), FIRST_2, true, 3600, second).status);
    EXPECT_EQ(2u, counters().exhausted);
}

TEST_F(Callouts, SiblingForAnotherClassIsNone) {
    makeNetwork();
    second->allowClientClass("phones");
    own_addresses = 0;
    own(FIRST_2 + 3, FIRST_2 + 3);
    start();
    EXPECT_EQ(SKIP, leaseSelect(discover(client(1)), client(1), PARTNERS, true).status);
}

TEST_F(Callouts, OneClientsWayThroughTheNetworkEndsWithASkip) {
    makeNetwork();
    own_addresses = 0;
    own(FIRST_2, FIRST_2);
    start();
    Pkt4Ptr query = discover(client(1)).query();
    CalloutHandlePtr handle = select(query);
    EXPECT_FALSE(leaseSelect(handle, query, client(1), PARTNERS, true).lease);
    takeAway(FIRST_2);
    EXPECT_EQ(SKIP, leaseSelect(handle, query, client(1), FIRST_2 + 1, true, 3600, second).status);
}

TEST_F(Callouts, ReservedAddressThatWasTakenMeanwhileIsNoAddressAndNoSkip) {
    makeSubnet();
    reserve(1, client(1), FIRST);
    start();
    Pkt4Ptr query = discover(client(1)).query();
    CalloutHandlePtr handle = select(query);
    ASSERT_EQ(CONTINUE, handle->getStatus());
    takeAway(FIRST);
    Selected s = leaseSelect(handle, query, client(1), FIRST, true);
    EXPECT_EQ(CONTINUE, s.status);
    ASSERT_TRUE(s.lease);
    EXPECT_TRUE(s.lease->addr_.isV4Zero());
}

// Kea knows the client by an identifier that the hook can't see, as a flexible one.
TEST_F(Callouts, AddressReservedByAnUnknownIdentifierIsNeverASkip) {
    makeSubnet();
    own_addresses = 0;
    reserve(1, Host::IDENT_FLEX, {1, 2, 3}, PARTNERS);
    start();
    Selected s = leaseSelect(discover(client(1)), client(1), PARTNERS, true);
    EXPECT_EQ(CONTINUE, s.status);
    EXPECT_TRUE(s.lease);
}

TEST_F(Callouts, RealRequestForWhatIsNotOursIsASkip) {
    start();
    Selected s = leaseSelect(selecting(client(1), PARTNERS), client(1), PARTNERS, false);
    EXPECT_EQ(SKIP, s.status);
    EXPECT_EQ(IOAddress(PARTNERS), s.lease->addr_);
}

TEST_F(Callouts, SkipOfAnotherLibraryStands) {
    start();
    CalloutHandlePtr handle = HooksManager::createCalloutHandle();
    Lease4Ptr lease(new Lease4(IOAddress(MINE), client(1).hwaddr(), ClientIdPtr(), 3600, time(nullptr), 1));
    handle->setArgument("query4", discover(client(1)).query());
    handle->setArgument("subnet4", shim::Subnet4Argument(subnet));
    handle->setArgument("fake_allocation", true);
    handle->setArgument("lease4", lease);
    handle->setStatus(SKIP);
    shim::leaseSelected(*service, *handle);
    EXPECT_EQ(SKIP, handle->getStatus());
    EXPECT_EQ(3600u, lease->valid_lft_);
}

TEST_F(Callouts, UncoveredSubnetsLeasesAreNotTouched) {
    coverOnlySubnetOne();
    start();
    Selected s = leaseSelect(discover(client(1)), client(1), FIRST_2, true, 3600, second);
    EXPECT_EQ(CONTINUE, s.status);
    EXPECT_EQ(3600u, s.lease->valid_lft_);
}

TEST_F(Callouts, PartnersFreeAddressesComeAfterTheMcltOfPartnerDown) {
    own_addresses = 0;
    record.stos = time(nullptr) - 61;
    record.last_heard = record.stos - 1;
    startIn(FAILOVER_PARTNER_DOWN);
    EXPECT_EQ(CONTINUE, leaseSelect(discover(client(1)), client(1), PARTNERS, true).status);
}

TEST_F(Callouts, PartnersFreeAddressesDontComeBeforeTheMcltOfPartnerDown) {
    own_addresses = 0;
    record.stos = time(nullptr) - 50;
    startIn(FAILOVER_PARTNER_DOWN);
    EXPECT_EQ(SKIP, leaseSelect(discover(client(1)), client(1), PARTNERS, true).status);
}

// ---- lease4_renew ---------------------------------------------------------------------------------------------------

TEST_F(Callouts, FirstRenewalGetsWhatIsLeftAndTheMclt) {
    lease(client(1), FIRST);
    start();
    EXPECT_NEAR(3500 + 60, renew(renewing(client(1), FIRST), FIRST)->valid_lft_, 1);
}

TEST_F(Callouts, RenewalOfWhatThePartnerNeverHeardOfGetsTheMclt) {
    lease(client(1), FIRST).acked = 0;
    start();
    EXPECT_EQ(60u, renew(renewing(client(1), FIRST), FIRST)->valid_lft_);
}

TEST_F(Callouts, RenewalWithinTheMcltIsGrantedAsItIs) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(50u, renew(renewing(client(1), FIRST), FIRST, 50)->valid_lft_);
}

TEST_F(Callouts, RenewalInPartnerDownGetsTheMclt) {
    lease(client(1), FIRST);
    startIn(FAILOVER_PARTNER_DOWN);
    EXPECT_EQ(60u, renew(renewing(client(1), FIRST), FIRST)->valid_lft_);
}

TEST_F(Callouts, RenewalInNormalGetsTheConfiguredLifetimeWhereThePartnerKnowsEnough) {
    lease(client(1), FIRST);
    startNormal();
    EXPECT_NEAR(3500 + 60, renew(renewing(client(1), FIRST), FIRST)->valid_lft_, 2);
    EXPECT_EQ(3000u, renew(renewing(client(1), FIRST), FIRST, 3000)->valid_lft_);
}

TEST_F(Callouts, InfiniteLifetimeFromKeasCacheIsNotGiven) {
    lease(client(1), FIRST);
    start();
    Lease4Ptr renewed = renew(renewing(client(1), FIRST), FIRST, Lease::INFINITY_LFT, Lease::INFINITY_LFT);
    EXPECT_EQ(0u, renewed->reuseable_valid_lft_);
    EXPECT_NEAR(3500 + 60, renewed->valid_lft_, 1);
}

TEST_F(Callouts, InfiniteConfiguredLifetimeNeverReachesAClient) {
    subnet = addSubnet(1, "10.64.10.0", IOAddress(FIRST).toText(), IOAddress(LAST).toText(), Lease::INFINITY_LFT);
    lease(client(1), FIRST);
    start();
    Answer ack = serve(renewing(client(1), FIRST));
    EXPECT_EQ(Answer::ACK, ack.kind);
    EXPECT_NEAR(3500 + 60, ack.lifetime, 1);
    EXPECT_EQ(ack.lifetime, row(FIRST)->valid_lft_);
}

TEST_F(Callouts, CachedRenewalBelowTheCapIsKept) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(3500u, renew(renewing(client(1), FIRST), FIRST, 3600, 3500)->reuseable_valid_lft_);
}

TEST_F(Callouts, CachedRenewalAboveTheCapIsWrittenInstead) {
    lease(client(1), FIRST);
    startIn(FAILOVER_PARTNER_DOWN);
    Lease4Ptr renewed = renew(renewing(client(1), FIRST), FIRST, 3600, 3500);
    EXPECT_EQ(0u, renewed->reuseable_valid_lft_);
    EXPECT_EQ(60u, renewed->valid_lft_);
}

TEST_F(Callouts, RenewalFromKeasCacheChangesNoBinding) {
    makeSubnet();
    subnet->setCacheThreshold(0.5);
    lease(client(1), FIRST);
    start();
    failover_binding before = known(FIRST);
    Answer ack = serve(renewing(client(1), FIRST));
    EXPECT_EQ(Answer::ACK, ack.kind);
    EXPECT_NEAR(3500, ack.lifetime, 1);
    EXPECT_EQ(before.xid, known(FIRST).xid);
    EXPECT_EQ(0u, known(FIRST).extended_epoch);
}

TEST_F(Callouts, RepeatedTransactionGetsTheSameEnd) {
    lease(client(1), FIRST);
    start();
    Answer first = serve(renewing(client(1), FIRST).xid(4711));
    Answer again = serve(renewing(client(1), FIRST).xid(4711));
    ASSERT_EQ(Answer::ACK, again.kind);
    EXPECT_NEAR(first.lifetime, again.lifetime, 1);
    EXPECT_LE(again.lifetime, first.lifetime);
    EXPECT_NEAR(double(known(FIRST).given), double(row(FIRST)->cltt_ + row(FIRST)->valid_lft_), 1);
}

TEST_F(Callouts, SecondRenewalOfAnInterruptionIsRefused) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(Answer::ACK, serve(renewing(client(1), FIRST)).kind);
    until([&] { return isOnDisk(FIRST); });
    EXPECT_EQ(Answer::NAK, serve(renewing(client(1), FIRST)).kind);
    EXPECT_EQ(0, assigned());
}

TEST_F(Callouts, LeaseOfTheInterruptionIsNotExtended) {
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(Answer::ACK, serve(selecting(client(1), offer.address)).kind);
    EXPECT_EQ(Answer::NAK, serve(renewing(client(1), offer.address)).kind);
}

TEST_F(Callouts, KnownClientIsOfferedItsOwnAddressForAsLongAsItWouldGet) {
    lease(client(1), FIRST);
    start();
    Answer offer = serve(discover(client(1)));
    EXPECT_EQ(FIRST, offer.address);
    EXPECT_NEAR(3500 + 60, offer.lifetime, 1);
}

TEST_F(Callouts, RenewalThatWasTakenAwayMeanwhileIsAsShortAsCanBe) {
    lease(client(1), FIRST);
    start();
    Pkt4Ptr query = renewing(client(1), FIRST).query();
    CalloutHandlePtr handle = select(query);
    takeAway(FIRST);
    Lease4Ptr renewed = renew(handle, query, FIRST, 3600, 3500);
    EXPECT_EQ(1u, renewed->valid_lft_);
    EXPECT_EQ(0u, renewed->reuseable_valid_lft_);
}

// ---- leases4_committed ----------------------------------------------------------------------------------------------

TEST_F(Callouts, CommittedLeaseIsABinding) {
    start();
    Answer ack = serve(selecting(clientWithId(1), MINE).xid(4711));
    ASSERT_EQ(Answer::ACK, ack.kind);
    failover_binding b = known(MINE);
    failover_client c = clientWithId(1).core();
    EXPECT_EQ(FAILOVER_ACTIVE, b.status);
    EXPECT_TRUE(failover_same_client(&c, &b.client));
    EXPECT_EQ(4711u, b.xid);
    EXPECT_EQ(row(MINE)->cltt_, b.cltt);
    EXPECT_EQ(row(MINE)->cltt_ + 60, b.given);
    EXPECT_TRUE(b.granted_here);
}

TEST_F(Callouts, PartnerIsToldOfTheConfiguredLifetimeNotOfTheCappedOne) {
    start();
    serve(selecting(client(1), MINE));
    EXPECT_EQ(row(MINE)->cltt_ + 3600 + 30, known(MINE).sent);
}

TEST_F(Callouts, LivingPartnerLearnsOfTheLease) {
    startNormal();
    ASSERT_EQ(Answer::ACK, serve(selecting(client(1), MINE)).kind);
    service->wake();
    until([&] { return partner->binding(MINE).status == FAILOVER_ACTIVE && idle(); });
    EXPECT_GT(known(MINE).acked, 0);
}

TEST_F(Callouts, LeaseOfThePartnersBecomesARow) {
    startNormal();
    failover_client c = clientWithId(1).core();
    failover_ask ask{};
    ask.client = &c;
    ask.address = PARTNERS;
    ask.xid = 1;
    ask.desired = 3600;
    failover_clock now = failover_transport_now();
    ASSERT_TRUE(failover_bound(partner->core(), &ask, now.wall, 60, now));
    partner->wake();
    until([&] { return row(PARTNERS) != nullptr; });
    EXPECT_EQ(*clientWithId(1).clientId(), *row(PARTNERS)->client_id_);
    EXPECT_EQ(60u, row(PARTNERS)->valid_lft_);
    EXPECT_EQ(1, assigned());
    failover_released(partner->core(), PARTNERS, &c, failover_transport_now());
    partner->wake();
    until([&] { return row(PARTNERS) == nullptr; });
    EXPECT_EQ(0, assigned());
}

TEST_F(Callouts, EndOfABindingTakesItsRowAlong) {
    lease(client(1), FIRST, 600, 605);
    start();
    until([&] { return row(FIRST) == nullptr; });
    EXPECT_EQ(FAILOVER_EXPIRED, known(FIRST).status);
    EXPECT_EQ(0, assigned());
}

TEST_F(Callouts, ReleaseEndsTheBindingAndHoldsTheAddress) {
    own_addresses = 1;
    lease(client(1), FIRST);
    start();
    serve(Packet(DHCPRELEASE, client(1)).from(FIRST));
    EXPECT_EQ(FAILOVER_RELEASED, known(FIRST).status);
    settle();
    EXPECT_FALSE(row(FIRST));
    EXPECT_EQ(0, assigned());
    EXPECT_EQ(Answer::NOTHING, serve(discover(client(1))).kind);
    EXPECT_EQ(Answer::NOTHING, serve(discover(client(2))).kind);
}

TEST_F(Callouts, ReleaseThatKeaKeepsAsAnExpiredRowIsCountedOnce) {
    lease(client(1), FIRST);
    start();
    // Kea since 2.3.2 keeps the row, with a lifetime of zero.
    Lease4Ptr kept = row(FIRST);
    kept->valid_lft_ = 0;
    LeaseMgrFactory::instance().updateLease4(kept);
    EXPECT_EQ(CONTINUE, commit(Packet(DHCPRELEASE, client(1)).from(FIRST).query(), {}, {kept}));
    settle();
    EXPECT_EQ(FAILOVER_RELEASED, known(FIRST).status);
    EXPECT_FALSE(row(FIRST));
    EXPECT_EQ(0, assigned());
}

TEST_F(Callouts, ReleaseByAnotherClientIsNone) {
    lease(client(1), FIRST);
    start();
    Lease4Ptr foreign(new Lease4(IOAddress(FIRST), client(2).hwaddr(), ClientIdPtr(), 3600, time(nullptr), 1));
    commit(Packet(DHCPRELEASE, client(2)).from(FIRST).query(), {}, {foreign});
    EXPECT_EQ(FAILOVER_ACTIVE, known(FIRST).status);
}

TEST_F(Callouts, DeclinedAddressIsAbandonedForItsProbation) {
    lease(client(1), FIRST);
    start();
    Lease4Ptr lease = row(FIRST);
    lease->decline(86400);
    LeaseMgrFactory::instance().updateLease4(lease);
    EXPECT_EQ(CONTINUE, commit(Packet(DHCPDECLINE, client(1)).wants(FIRST).query(), {lease}));
    EXPECT_EQ(FAILOVER_ABANDONED, known(FIRST).status);
    EXPECT_EQ(lease->cltt_ + 86400, known(FIRST).ends);
    EXPECT_EQ(0, known(FIRST).client.hardware_length);
    settle();
    ASSERT_TRUE(row(FIRST)) << "Kea shows it as declined";
    EXPECT_EQ(Lease::STATE_DECLINED, row(FIRST)->state_);
}

TEST_F(Callouts, ClientThatMovesHasNotReleased) {
    lease(client(1), FIRST);
    start();
    ASSERT_EQ(Answer::ACK, serve(selecting(client(1), MINE)).kind);
    EXPECT_FALSE(row(FIRST)) << "Kea's doing";
    EXPECT_EQ(1, assigned());
    EXPECT_EQ(FAILOVER_ACTIVE, known(FIRST).status);
    EXPECT_EQ(FAILOVER_ACTIVE, known(MINE).status);
}

TEST_F(Callouts, LeaseThatWasTakenAwayMeanwhileIsTakenBackAndNotAnswered) {
    start();
    takeAway(MINE);
    addRow(1, client(1), MINE, 60); // as Kea has written it meanwhile
    EXPECT_EQ(DROP, commit(selecting(client(1), MINE).query(), {row(MINE)}));
    EXPECT_FALSE(row(MINE));
    EXPECT_EQ(0, assigned());
    EXPECT_EQ(FAILOVER_ABANDONED, known(MINE).status);
}

TEST_F(Callouts, NakCommitsNothing) {
    lease(client(1), FIRST);
    start();
    EXPECT_EQ(CONTINUE, commit(renewing(client(1), FIRST).query(), {}));
    EXPECT_EQ(1u, known(FIRST).xid);
}

TEST_F(Callouts, CommitsOfUncoveredSubnetsAreNotOurs) {
    coverOnlySubnetOne();
    start();
    addRow(2, client(1), FIRST_2);
    EXPECT_EQ(CONTINUE, commit(selecting(client(1), FIRST_2).query(), {row(FIRST_2)}));
    EXPECT_EQ(CONTINUE, commit(Packet(DHCPRELEASE, client(1)).from(FIRST_2).query(), {}, {row(FIRST_2)}));
    EXPECT_TRUE(row(FIRST_2));
}

TEST_F(Callouts, CommitOutsideOfThePoolsIsNotOurs) {
    makeSubnet();
    reserve(1, client(1), OUTSIDE);
    start();
    addRow(1, client(1), OUTSIDE);
    EXPECT_EQ(CONTINUE, commit(selecting(client(1), OUTSIDE).query(), {row(OUTSIDE)}));
    EXPECT_TRUE(row(OUTSIDE));
}

TEST_F(Callouts, ReturnToNormalLetsRenewalsGoOn) {
    addPartner(record);
    lease(client(1), FIRST).extended_epoch = 1;
    start();
    until([&] { return state() == FAILOVER_NORMAL && idle(); });
    EXPECT_EQ(Answer::ACK, serve(renewing(client(1), FIRST)).kind);
}

// Kea's packet threads and its main loop, which carries the partner's messages.
TEST_F(Callouts, ThreadsServeClientsWhileTheLoopRuns) {
    startNormal();
    isc::util::MultiThreadingMgr::instance().setMode(true);
    std::mutex mutex;
    std::map<uint32_t, int> given;
    std::atomic<int> running{4};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; t++) {
        threads.emplace_back([&, t] {
            for (unsigned n = 1; n <= 20; n++) {
                Client c = client(1000 * (t + 1) + n);
                Answer offer = Kea(subnet).serve(discover(c).secs(10).query());
                if (offer.kind == Answer::OFFER &&
                    Kea(subnet).serve(selecting(c, offer.address).query()).kind == Answer::ACK) {
                    std::lock_guard<std::mutex> lock(mutex);
                    given[offer.address]++;
                }
            }
            running--;
        });
    }
    while (running > 0) {
        turn();
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    isc::util::MultiThreadingMgr::instance().setMode(false);
    until([&] { return idle(); });
    EXPECT_LE(given.size(), 20u);
    EXPECT_GE(given.size(), 8u);
    for (const auto &[address, times] : given) {
        EXPECT_EQ(1, times) << IOAddress(address).toText();
        EXPECT_EQ(FAILOVER_ACTIVE, known(address).status);
        EXPECT_EQ(FAILOVER_ACTIVE, partner->binding(address).status);
    }
    EXPECT_EQ(int64_t(given.size()), assigned());
}

// ---- lease4_release and lease4_decline ------------------------------------------------------------------------------

TEST_F(Callouts, ReleaseInASubnetThatNoRelationshipCoversIsHeard) {
    coverOnlySubnetOne();
    startIn(FAILOVER_RECOVER);
    addRow(2, client(1), FIRST_2);
    EXPECT_EQ(CONTINUE, giveBack("lease4_release", DHCPRELEASE, client(1), row(FIRST_2)));
    EXPECT_EQ(CONTINUE, giveBack("lease4_decline", DHCPDECLINE, client(1), row(FIRST_2)));
}

TEST_F(Callouts, ReleaseInASilentStateChangesNothing) {
    lease(client(1), FIRST);
    startIn(FAILOVER_RECOVER);
    serve(Packet(DHCPRELEASE, client(1)).from(FIRST));
    EXPECT_TRUE(row(FIRST));
    EXPECT_EQ(1, assigned());
    EXPECT_EQ(FAILOVER_ACTIVE, known(FIRST).status);
}

} // namespace
