// SPDX-License-Identifier: MPL-2.0
#include "shim_fixture.h"

#include <dhcp_ddns/ncr_msg.h>
#include <dhcpsrv/d2_client_mgr.h>

using namespace shim_test;

namespace {

const uint32_t A = FIRST, B = FIRST + 1;
const uint32_t OTHER = 0x0a400b0a; // 10.64.11.10, in subnet 2

class Leases : public KeaTest {
protected:
    Leases() {
        one = addSubnet(1, "10.64.10.0", "10.64.10.10", "10.64.10.29");
        two = addSubnet(2, "10.64.11.0", "10.64.11.10", "10.64.11.29");
    }
    int64_t now() {
        return time(nullptr);
    }
    failover_lease leaseOf(const Client &c, uint32_t address, uint32_t lifetime = 3600, int64_t age = 0) {
        failover_lease lease{};
        lease.address = address;
        lease.client = c.core();
        lease.cltt = now() - age;
        lease.ends = lease.cltt + lifetime;
        return lease;
    }
    void put(const failover_lease &lease, SubnetID subnet = 1, const std::set<SubnetID> &network = {1}) {
        shim::applyChange(failover_lease_change{FAILOVER_LEASE_PUT, lease}, subnet, network);
    }
    void put(const Client &c, uint32_t address, uint32_t lifetime = 3600, int64_t age = 0) {
        put(leaseOf(c, address, lifetime, age));
    }
    void remove(const Client &c, uint32_t address, int64_t age = 0) {
        shim::applyChange(failover_lease_change{FAILOVER_LEASE_REMOVE, leaseOf(c, address, 3600, age)}, 1, {1});
    }
    bool holds(uint32_t address, const Client &c) {
        Lease4Ptr found = row(address);
        return found && found->belongsToClient(c.hwaddr(), c.clientId());
    }

    Subnet4Ptr one, two;
};

// ---- The partner has given a lease ----------------------------------------------------------------------------------

TEST_F(Leases, PutAddsARowAndCountsIt) {
    put(clientWithId(1), A, 600, 5);
    Lease4Ptr added = row(A);
    ASSERT_TRUE(added);
    EXPECT_EQ(*clientWithId(1).hwaddr(), *added->hwaddr_);
    EXPECT_EQ(*clientWithId(1).clientId(), *added->client_id_);
    EXPECT_EQ(600u, added->valid_lft_);
    EXPECT_EQ(now() - 5, added->cltt_);
    EXPECT_EQ(1u, added->subnet_id_);
    EXPECT_EQ(Lease::STATE_DEFAULT, added->state_);
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, PutOfALeaseThatHasNoLengthIsNothing) {
    put(client(1), A, 0);
    EXPECT_FALSE(row(A));
    EXPECT_EQ(0, assigned());
}

TEST_F(Leases, PutRenewsTheRowOfTheSameClientAndCountsItOnce) {
    addRow(1, client(1), A, 600, 100);
    put(client(1), A, 1200);
    EXPECT_EQ(1200u, row(A)->valid_lft_);
    EXPECT_EQ(now(), row(A)->cltt_);
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, PutKeepsTheNameOfTheSameClient) {
    Lease4Ptr named = addRow(1, client(1), A, 600, 100);
    named->hostname_ = "c1.example.org";
    named->fqdn_fwd_ = true;
    LeaseMgrFactory::instance().updateLease4(named);
    put(client(1), A);
    EXPECT_EQ("c1.example.org", row(A)->hostname_);
    EXPECT_TRUE(row(A)->fqdn_fwd_);
}

TEST_F(Leases, NewerRowOfTheSameClientStays) {
    addRow(1, client(1), A, 600, 10);
    put(client(1), A, 1200, 11);
    EXPECT_EQ(600u, row(A)->valid_lft_);
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, RowOfTheSameSecondIsReplaced) {
    addRow(1, client(1), A, 600, 10);
    put(client(1), A, 1200, 10);
    EXPECT_EQ(1200u, row(A)->valid_lft_);
}

TEST_F(Leases, RowOfAnotherClientIsReplacedHoweverNew) {
    addRow(1, client(1), A, 600, 0);
    put(client(2), A, 1200, 10);
    EXPECT_TRUE(holds(A, client(2)));
    EXPECT_FALSE(holds(A, client(1)));
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, ReplacedRowLeavesNothingOfTheOtherClient) {
    Lease4Ptr named = addRow(1, clientWithId(1), A);
    named->hostname_ = "c1.example.org";
    named->fqdn_fwd_ = named->fqdn_rev_ = true;
    named->setContext(Element::fromJSON(R"({"note": "c1's"})"));
    LeaseMgrFactory::instance().updateLease4(named);
    put(client(2), A);
    EXPECT_EQ("", row(A)->hostname_);
    EXPECT_FALSE(row(A)->fqdn_fwd_);
    EXPECT_FALSE(row(A)->fqdn_rev_);
    EXPECT_FALSE(row(A)->getContext());
    EXPECT_FALSE(row(A)->client_id_);
    EXPECT_TRUE(LeaseMgrFactory::instance().getLease4(*clientWithId(1).clientId()).empty());
}

TEST_F(Leases, PutOverADeclinedRowUndoesItsCounts) {
    addRow(1, client(1), A, 86400, 10, Lease::STATE_DECLINED);
    ASSERT_EQ(1, declined());
    put(client(2), A);
    EXPECT_TRUE(holds(A, client(2)));
    EXPECT_EQ(Lease::STATE_DEFAULT, row(A)->state_);
    EXPECT_EQ(1, assigned());
    EXPECT_EQ(0, declined());
    EXPECT_EQ(0, statistic("declined-addresses"));
}

TEST_F(Leases, PutOverAReclaimedRowCountsItAgain) {
    addRow(1, client(1), A, 600, 1000, Lease::STATE_EXPIRED_RECLAIMED);
    ASSERT_EQ(0, assigned());
    put(client(1), A);
    EXPECT_EQ(Lease::STATE_DEFAULT, row(A)->state_);
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, ReclaimedRowNeverCountsAsNewer) {
    addRow(1, client(1), A, 600, 5, Lease::STATE_EXPIRED_RECLAIMED);
    put(client(1), A, 1200, 10);
    EXPECT_EQ(Lease::STATE_DEFAULT, row(A)->state_);
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, RowUnderAnotherSubnetMovesWithItsCount) {
    addRow(2, client(1), A, 600, 10);
    put(client(1), A);
    EXPECT_EQ(1u, row(A)->subnet_id_);
    EXPECT_EQ(1, assigned(1));
    EXPECT_EQ(0, assigned(2));
}

TEST_F(Leases, LeaseWithoutEndHasTheInfiniteLifetime) {
    failover_lease lease = leaseOf(client(1), A);
    lease.ends = FAILOVER_TIME_INFINITE;
    put(lease);
    EXPECT_EQ(FAILOVER_LIFETIME_INFINITE, row(A)->valid_lft_);
}

TEST_F(Leases, LongLifetimeStaysShortOfInfinite) {
    failover_lease lease = leaseOf(client(1), A);
    lease.ends = lease.cltt + (int64_t(1) << 40);
    put(lease);
    EXPECT_EQ(FAILOVER_LIFETIME_INFINITE - 1, row(A)->valid_lft_);
}

TEST_F(Leases, ClientWithoutIdentifierHasNoneInItsRow) {
    put(client(1), A);
    EXPECT_FALSE(row(A)->client_id_);
}

TEST_F(Leases, IdentifierOfOneByteIsLeftOut) {
    failover_lease lease = leaseOf(client(1), A);
    lease.client.id_length = 1;
    lease.client.id[0] = 7;
    put(lease);
    ASSERT_TRUE(row(A));
    EXPECT_FALSE(row(A)->client_id_);
    EXPECT_TRUE(holds(A, client(1)));
    EXPECT_EQ(1, assigned());
}

// A dhcpd as partner takes them.
TEST_F(Leases, IdentifierTooLongForKeaIsLeftOut) {
    failover_lease lease = leaseOf(client(1), A);
    lease.client.id_length = FAILOVER_CLIENT_ID_MAX;
    put(lease);
    ASSERT_TRUE(row(A));
    EXPECT_FALSE(row(A)->client_id_);
    EXPECT_TRUE(holds(A, client(1)));
}

TEST_F(Leases, LongestIdentifierThatKeaTakesIsKept) {
    failover_lease lease = leaseOf(client(1), A);
    lease.client.id_length = ClientId::MAX_CLIENT_ID_LEN;
    put(lease);
    ASSERT_TRUE(row(A) && row(A)->client_id_);
    EXPECT_EQ(size_t(ClientId::MAX_CLIENT_ID_LEN), row(A)->client_id_->getClientId().size());
}

TEST_F(Leases, ClientWithoutHardwareAddressIsKnownByItsIdentifier) {
    failover_lease lease = leaseOf(clientWithId(1), A);
    lease.client.hardware_length = 0;
    put(lease);
    ASSERT_TRUE(row(A));
    EXPECT_TRUE(row(A)->hwaddr_->hwaddr_.empty());
    EXPECT_EQ(1u, LeaseMgrFactory::instance().getLease4(*clientWithId(1).clientId()).size());
}

TEST_F(Leases, LeaseThatKeaRefusesIsLoggedAndCountedNowhere) {
    char file[] = "/tmp/failover-leases-XXXXXX";
    close(mkstemp(file));
    LeaseMgrFactory::destroy();
    LeaseMgrFactory::create("type=memfile universe=4 persist=true lfc-interval=0 name=" + std::string(file));
    failover_lease lease = leaseOf(client(1), A);
    lease.client = failover_client{}; // a lease file holds none of nobody
    EXPECT_NO_THROW(put(lease));
    unlink(file);
    EXPECT_FALSE(row(A));
    EXPECT_EQ(0, assigned());
}

TEST_F(Leases, HardwareTypeIsKept) {
    failover_lease lease = leaseOf(client(1), A);
    lease.client.hardware[0] = 32;
    put(lease);
    EXPECT_EQ(32, row(A)->hwaddr_->htype_);
}

// ---- One row for each client in a network ---------------------------------------------------------------------------

TEST_F(Leases, OlderRowsOfTheClientInItsNetworkGo) {
    addRow(1, client(1), A, 3600, 20);
    put(leaseOf(client(1), OTHER, 3600, 10), 2, {1, 2});
    EXPECT_FALSE(row(A));
    EXPECT_TRUE(holds(OTHER, client(1)));
    EXPECT_EQ(0, assigned(1));
    EXPECT_EQ(1, assigned(2));
}

TEST_F(Leases, OlderRowInTheSameSubnetGoes) {
    addRow(1, client(1), A, 3600, 20);
    put(client(1), B);
    EXPECT_FALSE(row(A));
    EXPECT_TRUE(row(B));
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, NewerRowElsewhereInTheNetworkIsTheOneThatStays) {
    addRow(1, client(1), A, 3600, 5);
    put(leaseOf(client(1), OTHER, 3600, 10), 2, {1, 2});
    EXPECT_TRUE(holds(A, client(1)));
    EXPECT_FALSE(row(OTHER));
    EXPECT_EQ(1, assigned(1));
    EXPECT_EQ(0, assigned(2));
}

TEST_F(Leases, RowOfAnotherNetworkStays) {
    addRow(2, client(1), OTHER, 3600, 20);
    put(client(1), A);
    EXPECT_TRUE(row(A));
    EXPECT_TRUE(row(OTHER));
}

TEST_F(Leases, RowOfTheSameHardwareUnderAnotherIdentifierStays) {
    Client twin = clientWithId(1);
    twin.id = {1, 9, 9};
    addRow(1, twin, A, 3600, 20);
    put(clientWithId(1), B);
    EXPECT_TRUE(holds(A, twin));
    EXPECT_EQ(2, assigned());
}

// ---- A binding has ended --------------------------------------------------------------------------------------------

TEST_F(Leases, RemoveTakesTheRowAndItsCount) {
    addRow(1, client(1), A, 3600, 10);
    remove(client(1), A);
    EXPECT_FALSE(row(A));
    EXPECT_EQ(0, assigned());
}

TEST_F(Leases, RemoveWithoutARowIsNothing) {
    remove(client(1), A);
    EXPECT_EQ(0, assigned());
}

TEST_F(Leases, RemovingTwiceCountsOnce) {
    addRow(1, client(1), A, 3600, 10);
    addRow(1, client(2), B, 3600, 10);
    remove(client(1), A);
    remove(client(1), A);
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, RemoveLeavesARowOfAnotherClient) {
    addRow(1, client(1), A, 3600, 10);
    remove(client(2), A);
    EXPECT_TRUE(row(A));
    EXPECT_EQ(1, assigned());
}

TEST_F(Leases, RemoveLeavesANewerRow) {
    addRow(1, client(1), A, 3600, 5);
    remove(client(1), A, 10);
    EXPECT_TRUE(row(A));
}

TEST_F(Leases, RemoveTakesAReclaimedRowWithoutCountingItAgain) {
    addRow(1, client(1), A, 600, 1000, Lease::STATE_EXPIRED_RECLAIMED);
    remove(client(1), A);
    EXPECT_FALSE(row(A));
    EXPECT_EQ(0, assigned());
}

TEST_F(Leases, RemoveLeavesADeclinedRow) {
    addRow(1, client(1), A, 86400, 10, Lease::STATE_DECLINED);
    remove(client(1), A);
    EXPECT_TRUE(row(A));
    EXPECT_EQ(1, declined());
}

// ---- Deleting a row -------------------------------------------------------------------------------------------------

TEST_F(Leases, DeletedDeclinedRowIsCountedDownEverywhere) {
    Lease4Ptr lease = addRow(1, client(1), A, 86400, 10, Lease::STATE_DECLINED);
    shim::removeRow(lease);
    EXPECT_EQ(0, assigned());
    EXPECT_EQ(0, declined());
    EXPECT_EQ(0, statistic("declined-addresses"));
}

TEST_F(Leases, DeletingARowThatIsGoneCountsNothing) {
    Lease4Ptr lease = addRow(1, client(1), A, 86400, 10, Lease::STATE_DECLINED);
    shim::removeRow(lease);
    shim::removeRow(lease);
    EXPECT_EQ(0, assigned());
    EXPECT_EQ(0, declined());
    EXPECT_EQ(0, statistic("declined-addresses"));
}

// ---- DNS ------------------------------------------------------------------------------------------------------------

class Dns : public Leases {
protected:
    Dns() {
        D2ClientConfigPtr config(new D2ClientConfig(true, IOAddress("127.0.0.1"), 53001, IOAddress("127.0.0.1"), 0,
                                                    1024, isc::dhcp_ddns::NCR_UDP, isc::dhcp_ddns::FMT_JSON));
        manager().setD2ClientConfig(config);
        manager().startSender([](isc::dhcp_ddns::NameChangeSender::Result, isc::dhcp_ddns::NameChangeRequestPtr &) {});
    }
    ~Dns() override {
        manager().stopSender();
        manager().clearQueue();
        D2ClientConfigPtr off(new D2ClientConfig());
        manager().setD2ClientConfig(off);
    }
    static D2ClientMgr &manager() {
        return CfgMgr::instance().getD2ClientMgr();
    }
    Lease4Ptr addNamed(const Client &c, uint32_t address, uint32_t state = Lease::STATE_DEFAULT) {
        Lease4Ptr lease = addRow(1, c, address, 3600, 10, state);
        lease->hostname_ = "c1.example.org.";
        lease->fqdn_fwd_ = lease->fqdn_rev_ = true;
        LeaseMgrFactory::instance().updateLease4(lease);
        return row(address);
    }
    size_t removalsOf(uint32_t address) {
        size_t count = 0;
        for (size_t i = 0; i < manager().getQueueSize(); i++) {
            const auto &request = manager().peekAt(i);
            count += request->getChangeType() == isc::dhcp_ddns::CHG_REMOVE &&
                     request->getIpAddress() == IOAddress(address).toText();
        }
        return count;
    }
};

TEST_F(Dns, NameOfADeletedRowIsRemovedOnce) {
    shim::removeRow(addNamed(client(1), A));
    EXPECT_EQ(1u, removalsOf(A));
}

TEST_F(Dns, EndOfABindingRemovesTheName) {
    addNamed(clientWithId(1), A);
    remove(clientWithId(1), A);
    EXPECT_EQ(1u, removalsOf(A));
}

TEST_F(Dns, ReplacedClientsNameIsRemovedOnce) {
    addNamed(client(1), A);
    put(client(2), A);
    EXPECT_EQ(1u, removalsOf(A));
}

TEST_F(Dns, RenewalOfTheSameClientRemovesNoName) {
    addNamed(client(1), A);
    put(client(1), A);
    EXPECT_EQ(0u, manager().getQueueSize());
}

TEST_F(Dns, RowDroppedForALaterOneTakesItsNameAlong) {
    addNamed(client(1), A);
    put(client(1), B);
    EXPECT_EQ(1u, removalsOf(A));
}

TEST_F(Dns, ReclaimedRowsNameIsGoneAlready) {
    shim::removeRow(addNamed(client(1), A, Lease::STATE_EXPIRED_RECLAIMED));
    EXPECT_EQ(0u, manager().getQueueSize());
}

TEST_F(Dns, RowWithoutANameRemovesNone) {
    shim::removeRow(addRow(1, client(1), A));
    EXPECT_EQ(0u, manager().getQueueSize());
}

// ---- Between the two languages --------------------------------------------------------------------------------------

TEST_F(Leases, ClientIsHardwareTypeAndAddressAndIdentifier) {
    failover_client c = clientWithId(0x0102).core();
    EXPECT_EQ(7, c.hardware_length);
    EXPECT_EQ(HTYPE_ETHER, c.hardware[0]);
    EXPECT_EQ(1, c.hardware[5]);
    EXPECT_EQ(2, c.hardware[6]);
    EXPECT_EQ(7, c.id_length);
    EXPECT_EQ(1, c.id[0]);
}

TEST_F(Leases, ClientWithoutHardwareAddressHasLengthZero) {
    EXPECT_EQ(0, shim::toClient(HWAddrPtr(), ClientIdPtr()).hardware_length);
    EXPECT_EQ(0, shim::toClient(HWAddrPtr(new HWAddr()), ClientIdPtr()).hardware_length);
}

TEST_F(Leases, LongHardwareAddressFitsIn) {
    HWAddrPtr longest(new HWAddr(Bytes(HWAddr::MAX_HWADDR_LEN, 5), 1));
    failover_client c = shim::toClient(longest, ClientIdPtr());
    EXPECT_LE(c.hardware_length, FAILOVER_HARDWARE_MAX);
    EXPECT_EQ(5, c.hardware[c.hardware_length - 1]);
}

TEST_F(Leases, LongestIdentifierFitsIn) {
    ClientIdPtr longest(new ClientId(Bytes(ClientId::MAX_CLIENT_ID_LEN, 5)));
    failover_client c = shim::toClient(HWAddrPtr(), longest);
    EXPECT_LE(c.id_length, FAILOVER_CLIENT_ID_MAX);
    EXPECT_EQ(5, c.id[c.id_length - 1]);
}

TEST_F(Leases, RowBecomesALease) {
    failover_lease lease = shim::toLease(*addRow(1, clientWithId(1), A, 600, 100));
    failover_client expected = clientWithId(1).core();
    EXPECT_EQ(A, lease.address);
    EXPECT_TRUE(failover_same_client(&expected, &lease.client));
    EXPECT_EQ(now() - 100, lease.cltt);
    EXPECT_EQ(now() + 500, lease.ends);
    EXPECT_FALSE(lease.declined);
}

TEST_F(Leases, InfiniteRowBecomesALeaseWithoutEnd) {
    EXPECT_EQ(FAILOVER_TIME_INFINITE, shim::toLease(*addRow(1, client(1), A, Lease::INFINITY_LFT)).ends);
}

TEST_F(Leases, ReclaimedRowIsALeaseThatHasEnded) {
    failover_lease lease = shim::toLease(*addRow(1, client(1), A, 3600, 10, Lease::STATE_EXPIRED_RECLAIMED));
    EXPECT_LT(lease.ends, now());
}

TEST_F(Leases, DeclinedRowIsADeclinedLease) {
    EXPECT_TRUE(shim::toLease(*addRow(1, client(1), A, 3600, 10, Lease::STATE_DECLINED)).declined);
}

// ---- The rows of a client -------------------------------------------------------------------------------------------

TEST_F(Leases, RowFoundByIdentifierAndHardwareIsListedOnce) {
    addRow(1, clientWithId(1), A);
    EXPECT_EQ(1u, shim::rowsOf(clientWithId(1).hwaddr(), clientWithId(1).clientId(), {1}).size());
}

TEST_F(Leases, RowIsFoundByIdentifierUnderOtherHardware) {
    addRow(1, clientWithId(1), A);
    EXPECT_EQ(1u, shim::rowsOf(client(2).hwaddr(), clientWithId(1).clientId(), {1}).size());
}

TEST_F(Leases, RowOfTheSameHardwareIsFoundWhereOneSideHasNoIdentifier) {
    addRow(1, client(1), A);
    EXPECT_EQ(1u, shim::rowsOf(client(1).hwaddr(), clientWithId(1).clientId(), {1}).size());
    addRow(1, clientWithId(2), B);
    EXPECT_EQ(1u, shim::rowsOf(client(2).hwaddr(), ClientIdPtr(), {1}).size());
}

TEST_F(Leases, RowOfTheSameHardwareUnderAnotherIdentifierIsNotTheClients) {
    addRow(1, clientWithId(1), A);
    ClientIdPtr other(new ClientId(Bytes{1, 9, 9}));
    EXPECT_TRUE(shim::rowsOf(client(1).hwaddr(), other, {1}).empty());
}

TEST_F(Leases, RowsOfOtherSubnetsAreLeftOut) {
    addRow(1, client(1), A);
    addRow(2, client(1), OTHER);
    EXPECT_EQ(1u, shim::rowsOf(client(1).hwaddr(), ClientIdPtr(), {2}).size());
    EXPECT_EQ(2u, shim::rowsOf(client(1).hwaddr(), ClientIdPtr(), {1, 2}).size());
}

TEST_F(Leases, RowsInAnyStateAreFound) {
    addRow(1, client(1), A, 600, 1000);
    addRow(1, client(1), B, 600, 1000, Lease::STATE_EXPIRED_RECLAIMED);
    EXPECT_EQ(2u, shim::rowsOf(client(1).hwaddr(), ClientIdPtr(), {1}).size());
}

TEST_F(Leases, EmptyHardwareAddressFindsNothing) {
    addRow(1, client(1), A, 86400, 0, Lease::STATE_DECLINED);
    EXPECT_TRUE(shim::rowsOf(HWAddrPtr(new HWAddr()), ClientIdPtr(), {1}).empty());
    EXPECT_TRUE(shim::rowsOf(HWAddrPtr(), ClientIdPtr(), {1}).empty());
}

// ---- Reservations ---------------------------------------------------------------------------------------------------

class Reservations : public Leases {
protected:
    std::vector<uint32_t> reservedFor(const Client &c, Subnet4Ptr subnet = Subnet4Ptr()) {
        CfgMgr::instance().commit();
        return shim::reservationsFor(discover(c).query(), subnet ? subnet : one);
    }
};
using Addresses = std::vector<uint32_t>;

TEST_F(Reservations, ByHardwareAddress) {
    reserve(1, client(1), A);
    EXPECT_EQ(Addresses{A}, reservedFor(client(1)));
    EXPECT_EQ(Addresses{}, reservedFor(client(2)));
}

TEST_F(Reservations, ByClientIdentifier) {
    reserve(1, Host::IDENT_CLIENT_ID, clientWithId(1).id, A);
    EXPECT_EQ(Addresses{A}, reservedFor(clientWithId(1)));
    EXPECT_EQ(Addresses{}, reservedFor(client(1)));
}

TEST_F(Reservations, ByDuidInsideOfTheClientIdentifier) {
    Client c = client(1);
    c.id = {255, 0, 0, 0, 9, 0, 3, 0, 1, 2, 2, 2, 2, 2, 2};
    reserve(1, Host::IDENT_DUID, {0, 3, 0, 1, 2, 2, 2, 2, 2, 2}, A);
    EXPECT_EQ(Addresses{A}, reservedFor(c));
}

TEST_F(Reservations, DuidIsSoughtOnlyInAnIdentifierOfItsType) {
    Client c = client(1);
    c.id = {1, 0, 0, 0, 9, 0, 3, 0, 1, 2, 2, 2, 2, 2, 2};
    reserve(1, Host::IDENT_DUID, {0, 3, 0, 1, 2, 2, 2, 2, 2, 2}, A);
    EXPECT_EQ(Addresses{}, reservedFor(c));
}

TEST_F(Reservations, IdentifierTooShortForADuid) {
    Client c = client(1);
    c.id = {255, 0, 0, 0, 9};
    EXPECT_EQ(Addresses{}, reservedFor(c));
}

TEST_F(Reservations, ByCircuitId) {
    Client c = client(1);
    c.circuit = {'p', 'o', 'r', 't', '1'};
    reserve(1, Host::IDENT_CIRCUIT_ID, c.circuit, A);
    EXPECT_EQ(Addresses{A}, reservedFor(c));
    EXPECT_EQ(Addresses{}, reservedFor(client(1)));
}

TEST_F(Reservations, IdentifierTypesThatAreSwitchedOffDontCount) {
    reserve(1, client(1), A);
    staging()->getCfgHostOperations4()->clearIdentifierTypes();
    staging()->getCfgHostOperations4()->addIdentifierType("client-id");
    EXPECT_EQ(Addresses{}, reservedFor(client(1)));
}

TEST_F(Reservations, FirstIdentifierTypeWins) {
    reserve(1, clientWithId(1), A);
    reserve(1, Host::IDENT_CLIENT_ID, clientWithId(1).id, B);
    staging()->getCfgHostOperations4()->clearIdentifierTypes();
    staging()->getCfgHostOperations4()->addIdentifierType("client-id");
    staging()->getCfgHostOperations4()->addIdentifierType("hw-address");
    EXPECT_EQ(Addresses{B}, reservedFor(clientWithId(1)));
}

TEST_F(Reservations, ReservationWithoutAnAddressIsNone) {
    reserve(1, client(1), 0);
    EXPECT_EQ(Addresses{}, reservedFor(client(1)));
}

TEST_F(Reservations, ThoseOfTheWholeSharedNetwork) {
    shareNetwork({one, two});
    reserve(2, client(1), OTHER);
    EXPECT_EQ(Addresses{OTHER}, reservedFor(client(1), one));
}

TEST_F(Reservations, NotThoseOfAStrangeSubnet) {
    reserve(2, client(1), OTHER);
    EXPECT_EQ(Addresses{}, reservedFor(client(1), one));
}

TEST_F(Reservations, GlobalOnesWhereTheSubnetTakesThem) {
    reserve(SUBNET_ID_GLOBAL, client(1), A);
    EXPECT_EQ(Addresses{}, reservedFor(client(1)));
    one->setReservationsGlobal(true);
    EXPECT_EQ(Addresses{A}, reservedFor(client(1)));
}

TEST_F(Reservations, SubnetsOwnOnlyWhereItTakesThem) {
    reserve(1, client(1), A);
    one->setReservationsInSubnet(false);
    EXPECT_EQ(Addresses{}, reservedFor(client(1)));
}

TEST_F(Reservations, NoneAtAllSparesTheQueries) {
    EXPECT_FALSE(shim::mayHaveReservations(staging(), one));
}

TEST_F(Reservations, OneInTheSubnetIsSeenBeforeTheCommit) {
    reserve(1, client(1), A);
    EXPECT_TRUE(shim::mayHaveReservations(staging(), one));
    EXPECT_FALSE(shim::mayHaveReservations(staging(), two));
    EXPECT_EQ(Addresses{A}, shim::reservedAddresses(staging(), one));
    EXPECT_EQ(Addresses{}, shim::reservedAddresses(staging(), two));
}

TEST_F(Reservations, GlobalOnesAreSeenWhereTheSubnetTakesThem) {
    reserve(SUBNET_ID_GLOBAL, client(1), A);
    EXPECT_FALSE(shim::mayHaveReservations(staging(), one));
    one->setReservationsGlobal(true);
    EXPECT_TRUE(shim::mayHaveReservations(staging(), one));
}

TEST_F(Reservations, ReservedAddressesLeaveOutThoseWithoutAddress) {
    reserve(1, client(1), 0);
    reserve(1, client(2), B);
    EXPECT_EQ(Addresses{B}, shim::reservedAddresses(staging(), one));
}

TEST_F(Reservations, AddressIsReservedInItsSubnet) {
    reserve(1, client(1), A);
    CfgMgr::instance().commit();
    EXPECT_TRUE(shim::isReserved(one, A));
    EXPECT_FALSE(shim::isReserved(one, B));
    EXPECT_FALSE(shim::isReserved(two, A));
}

TEST_F(Reservations, GlobalAddressIsReservedWhereTheSubnetTakesIt) {
    reserve(SUBNET_ID_GLOBAL, client(1), A);
    CfgMgr::instance().commit();
    EXPECT_FALSE(shim::isReserved(one, A));
    one->setReservationsGlobal(true);
    EXPECT_TRUE(shim::isReserved(one, A));
    EXPECT_EQ(Addresses{A}, shim::reservedAddresses(CfgMgr::instance().getCurrentCfg(), one));
}

TEST_F(Reservations, AddressIsNotReservedWhereTheSubnetTakesNone) {
    reserve(1, client(1), A);
    one->setReservationsInSubnet(false);
    EXPECT_EQ(Addresses{}, shim::reservedAddresses(staging(), one));
    CfgMgr::instance().commit();
    EXPECT_FALSE(shim::isReserved(one, A));
    EXPECT_FALSE(shim::isKeptByKea(one, A));
}

TEST_F(Reservations, KeaKeepsWhatIsReservedInTheSubnet) {
    reserve(1, client(1), A);
    reserve(1, client(2), 0x0a400a05);
    reserve(SUBNET_ID_GLOBAL, client(3), B);
    one->setReservationsGlobal(true);
    CfgMgr::instance().commit();
    EXPECT_TRUE(shim::isKeptByKea(one, A));
    EXPECT_FALSE(shim::isKeptByKea(one, B)) << "global: Kea gives it to anybody";
    one->setReservationsOutOfPool(true);
    EXPECT_FALSE(shim::isKeptByKea(one, A)) << "in a pool: Kea doesn't look";
    EXPECT_TRUE(shim::isKeptByKea(one, 0x0a400a05));
}

TEST_F(Reservations, FlexibleIdentifiersAreSeen) {
    EXPECT_FALSE(shim::hasFlexibleIdentifiers());
    staging()->getCfgHostOperations4()->addIdentifierType("flex-id");
    CfgMgr::instance().commit();
    EXPECT_TRUE(shim::hasFlexibleIdentifiers());
}

} // namespace
