// SPDX-License-Identifier: MPL-2.0
//
// Binding updates: what is sent for each event, what is accepted from the partner, duels, and requests for
// updates.
#include <random>
#include <set>

#include "core.h"
#include "partner.h"
#include "peer.h"
#include "update.h"

using namespace failover_test;

namespace {

constexpr failover_role P = FAILOVER_PRIMARY, S = FAILOVER_SECONDARY;
const int ACCEPTED = 0, CONFLICT = FAILOVER_REJECT_FATAL_CONFLICT,
          MISSING = FAILOVER_REJECT_MISSING_BINDING_INFORMATION,
          OUTDATED = FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION,
          LESS_CRITICAL = FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION;

} // namespace

class Update : public Scripted {
protected:
    const failover_client one = make_client(1, true), two = make_client(2);

    // Waits `seconds` with a CONTACT now and then.
    void wait(int64_t seconds) {
        for (int64_t i = 0; i < seconds; i += 5) {
            pass(std::min<int64_t>(5, seconds - i) * 1000);
            send(Message(FAILOVER_CONTACT, partner_xid++));
        }
    }
    // The next BNDUPD, with CONTACT before it passed over.
    Received take_update() {
        while (!in(link).empty() && in(link).front().m.type == FAILOVER_CONTACT) {
            in(link).pop_front();
        }
        return take(FAILOVER_BNDUPD);
    }
    std::string updates() {
        std::string all;
        for (Received &r : in(link)) {
            if (r.m.type == FAILOVER_BNDUPD) {
                all += (all.empty() ? "" : " ") + std::to_string(r.m.assigned_ip_address - POOL_FIRST);
            }
        }
        return all;
    }
    void expect_update(const Received &u, uint32_t address, failover_binding_status status, int64_t ends,
                       int64_t potential, int64_t starts, int64_t cltt, const failover_client *client) {
        EXPECT_EQ(address, u.m.assigned_ip_address);
        EXPECT_EQ(status, u.m.binding_status);
        EXPECT_EQ(ends, u.m.lease_expiration_time);
        EXPECT_EQ(potential, u.m.potential_expiration_time);
        EXPECT_EQ(starts, u.m.start_time_of_state);
        EXPECT_EQ(cltt != 0, u.has(FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME));
        EXPECT_EQ(cltt, u.m.client_last_transaction_time);
        std::string hardware, id;
        if (client != nullptr) {
            hardware = std::string(client->hardware, client->hardware + client->hardware_length);
            id = std::string(client->id, client->id + client->id_length);
        }
        EXPECT_EQ(hardware, text_of(u.m.client_hardware_address));
        EXPECT_EQ(!hardware.empty(), u.has(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS));
        EXPECT_EQ(id, text_of(u.m.client_identifier));
        EXPECT_EQ(!id.empty(), u.has(FAILOVER_OPT_CLIENT_IDENTIFIER));
        EXPECT_NE(0u, u.m.xid);
    }
};

// ---- What is sent ---------------------------------------------------------------------------------------------------

TEST_F(Update, AckOfANewLeaseAndOfARenewal) {
    start_normal(P);
    int64_t t0 = now.wall;
    ASSERT_EQ(60u, bind(one, POOL_FIRST));
    Received u = take_update();
    // Potential expiry: now + desired + half of what was granted.
    expect_update(u, POOL_FIRST, FAILOVER_ACTIVE, t0 + 60, t0 + 3600 + 30, t0, t0, &one);
    EXPECT_FALSE(u.has(FAILOVER_OPT_IP_FLAGS));
    send(bndack(u));
    wait(20);
    int64_t t1 = now.wall;
    ASSERT_EQ(3600u, bind(one, POOL_FIRST));
    expect_update(take_update(), POOL_FIRST, FAILOVER_ACTIVE, t1 + 3600, t1 + 3600 + 1800, t1, t1, &one);
}

TEST_F(Update, AckOfAClientWithoutIdentifier) {
    start_normal(S);
    bind(two, POOL_FIRST);
    Received u = take_update();
    EXPECT_FALSE(u.has(FAILOVER_OPT_CLIENT_IDENTIFIER));
    EXPECT_EQ(7, u.m.client_hardware_address.length);
}

TEST_F(Update, AckWithoutAnEnd) {
    start_normal(P);
    desired = FAILOVER_LIFETIME_INFINITE;
    ASSERT_EQ(60u, bind(one, POOL_FIRST)) << "the MCLT bounds the first grant";
    Received u = take_update();
    EXPECT_EQ(now.wall + 60, u.m.lease_expiration_time);
    EXPECT_EQ(FAILOVER_TIME_INFINITE, u.m.potential_expiration_time);
    send(bndack(u));
    ASSERT_EQ(FAILOVER_LIFETIME_INFINITE, bind(one, POOL_FIRST));
    EXPECT_EQ(FAILOVER_TIME_INFINITE, take_update().m.lease_expiration_time);
}

TEST_F(Update, Expiry) {
    start_normal(P);
    int64_t t0 = now.wall;
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    wait(61);
    expect_update(take_update(), POOL_FIRST, FAILOVER_EXPIRED, t0 + 60, t0 + 3630, t0, t0, &one);
}

TEST_F(Update, ReleaseCarriesNow) {
    start_normal(S);
    int64_t t0 = now.wall;
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    wait(7);
    release(one, POOL_FIRST);
    expect_update(take_update(), POOL_FIRST, FAILOVER_RELEASED, t0 + 7, t0 + 7, t0, t0 + 7, &one);
}

TEST_F(Update, DeclineCarriesNoClient) {
    start_normal(P);
    int64_t t0 = now.wall;
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    wait(5);
    failover_declined(x->core(), POOL_FIRST, now.wall + 86400, now);
    run();
    expect_update(take_update(), POOL_FIRST, FAILOVER_ABANDONED, now.wall + 86400, t0 + 3630, now.wall, now.wall,
                  nullptr);
}

TEST_F(Update, EndOfAbandonmentIsFreeOfThePrimary) {
    start_normal(P);
    failover_declined(x->core(), POOL_FIRST + 15, now.wall + 100, now);
    run();
    send(bndack(take_update()));
    int64_t until = now.wall + 100;
    wait(101);
    Received u = take_update();
    EXPECT_EQ(FAILOVER_FREE, u.m.binding_status);
    EXPECT_EQ(until, u.m.lease_expiration_time);
    EXPECT_FALSE(u.has(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS));
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST + 15).owner);
}

TEST_F(Update, TheSecondaryNeitherExpiresNorEndsAbandonmentInNormal) {
    start_normal(S);
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    failover_declined(x->core(), POOL_FIRST + 1, now.wall + 50, now);
    run();
    send(bndack(take_update()));
    wait(200);
    EXPECT_EQ("", updates());
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(POOL_FIRST).status);
    EXPECT_EQ(FAILOVER_ABANDONED, x->binding(POOL_FIRST + 1).status);
}

TEST_F(Update, GiftsAreBackupOfThePrimaryAndFreeOfTheSecondary) {
    make_known(P, FAILOVER_NORMAL);
    x->bindings_.clear();
    start();
    link_up();
    forget();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    take(FAILOVER_STATE);
    Received gift = take_update();
    expect_update(gift, gift.m.assigned_ip_address, FAILOVER_BACKUP, 0, now.wall, now.wall, 0, nullptr);

    make_known(S, FAILOVER_NORMAL);
    for (uint32_t i = 0; i < 20; i++) {
        failover_binding b{};
        b.address = POOL_FIRST + i;
        b.status = FAILOVER_FREE;
        b.owner = FAILOVER_MINE;
        x->bindings_[b.address] = b;
    }
    start();
    link_up();
    forget();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    take(FAILOVER_STATE);
    gift = take_update();
    expect_update(gift, gift.m.assigned_ip_address, FAILOVER_FREE, 0, now.wall, now.wall, 0, nullptr);
}

TEST_F(Update, FreedInPartnerDownIsTheOwnFreeState) {
    for (failover_role role : {P, S}) {
        make_known(role, FAILOVER_PARTNER_DOWN);
        start();
        pass(10000);
        ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
        ASSERT_EQ(60u, bind(one, POOL_FIRST));
        int64_t ends = now.wall + 60;
        pass(61000);
        EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
        forget();
        link_up();
        send(state_message(FAILOVER_RECOVER, now.wall));
        send(Message(FAILOVER_UPDREQ, 7));
        acknowledge_all();
        send(Message(FAILOVER_UPDREQALL, 8));
        bool found = false;
        for (Received &r : acknowledge_all()) {
            if (r.m.assigned_ip_address == POOL_FIRST) {
                found = true;
                EXPECT_EQ(role == P ? FAILOVER_FREE : FAILOVER_BACKUP, r.m.binding_status);
                EXPECT_EQ(ends, r.m.lease_expiration_time);
                EXPECT_EQ(ends, r.m.potential_expiration_time);
                EXPECT_TRUE(r.has(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS)) << "the last client stays";
            }
        }
        EXPECT_TRUE(found);
        x->kill();
        inbox.clear();
    }
}

TEST_F(Update, ChangesAreCollapsed) {
    start_normal(P);
    bind(one, POOL_FIRST);
    Received first = take_update();
    wait(1);
    bind(one, POOL_FIRST);
    wait(1);
    release(one, POOL_FIRST);
    EXPECT_EQ("", updates()) << "one update for an address at a time";
    send(bndack(first));
    Received second = take_update();
    EXPECT_EQ(FAILOVER_RELEASED, second.m.binding_status) << "and then only the newest state";
    send(bndack(second));
    EXPECT_EQ("", updates());
}

TEST_F(Update, AckOfWhatHasChangedMeanwhile) {
    start_normal(P);
    bind(one, POOL_FIRST);
    Received first = take_update();
    int64_t acked = first.m.potential_expiration_time;
    wait(5);
    bind(one, POOL_FIRST);
    send(bndack(first));
    failover_binding b = x->binding(POOL_FIRST);
    EXPECT_EQ(acked, b.acked) << "what the BNDUPD said, not what is held now";
    EXPECT_GT(b.sent, acked);
    EXPECT_TRUE(b.update_due);
    send(bndack(take_update()));
    EXPECT_FALSE(x->binding(POOL_FIRST).update_due);
    EXPECT_EQ(b.sent, x->binding(POOL_FIRST).acked);
}

// ---- The window -----------------------------------------------------------------------------------------------------

TEST_F(Update, NoMoreUnacknowledgedThanThePartnerTakes) {
    partner_max_unacked = 3;
    start_normal(P);
    for (unsigned i = 0; i < 8; i++) {
        bind(make_client(i + 1), POOL_FIRST + i);
    }
    EXPECT_EQ("0 1 2", updates());
    EXPECT_EQ(3u, x->status(now).updates_unacked);
    EXPECT_EQ(5u, x->status(now).updates_queued);
    send(bndack(take_update()));
    EXPECT_EQ("1 2 3", updates());
    send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    EXPECT_EQ("2 3 4", updates()) << "a reject frees its place too";
    acknowledge_all();
    EXPECT_EQ(0u, x->status(now).updates_unacked);
    EXPECT_EQ(0u, x->status(now).updates_queued);
}

TEST_F(Update, NothingBeforeThePartnersState) {
    make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    start();
    pass(10000);
    bind(one, POOL_FIRST);
    link_up();
    EXPECT_EQ("", updates());
    send(state_message(FAILOVER_RECOVER, now.wall));
    EXPECT_EQ("0", updates()) << "in communications-interrupted with a link updates flow";
}

// A crash between the two must not make it look as if the partner had never heard of the lease (rule 5).
TEST_F(Update, WhatMayLeaveIsMarkedOnDiskWhenTheLinkComesUp) {
    make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    start();
    pass(10000);
    bind(one, POOL_FIRST);
    ASSERT_FALSE(x->bindings_[POOL_FIRST].update_sent);
    ASSERT_FALSE(x->bindings_[POOL_FIRST].state_sent);
    link_up();
    EXPECT_TRUE(x->bindings_[POOL_FIRST].update_sent);
    EXPECT_TRUE(x->bindings_[POOL_FIRST].state_sent);
    uint64_t stored = table_find(&x->core_->table, POOL_FIRST)->stored;
    disconnect(link);
    link_up();
    EXPECT_EQ(stored, table_find(&x->core_->table, POOL_FIRST)->stored) << "once is enough";
}

TEST_F(Update, WhatWasNotToldBeforeARestartIsToldWithoutNormal) {
    make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    start();
    pass(10000);
    bind(one, POOL_FIRST);
    x->kill();
    start();
    link_up();
    send(state_message(FAILOVER_RECOVER, now.wall));
    ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    EXPECT_EQ("0", updates());
}

TEST_F(Update, NormalSendsNothingTwice) {
    make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    start();
    pass(10000);
    link_up_in(FAILOVER_RECOVER);
    bind(one, POOL_FIRST);
    Received u = take_update();
    send(state_message(FAILOVER_RECOVER_DONE, now.wall));
    ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state()) << "the partner has yet to hear of the lease";
    EXPECT_EQ("", updates()) << "it is on its way";
    send(bndack(u));
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_EQ("", updates());
    EXPECT_EQ(0u, x->status(now).updates_unacked);
}

TEST_F(Update, LinkLossBringsUnacknowledgedBack) {
    start_normal(P);
    bind(one, POOL_FIRST);
    bind(two, POOL_FIRST + 1);
    send(bndack(take_update()));
    disconnect(link);
    EXPECT_EQ(0u, x->status(now).updates_unacked);
    EXPECT_EQ(1u, x->status(now).updates_queued);
    link_up_in(FAILOVER_RECOVER);
    link_up();
    EXPECT_EQ(1u, x->status(now).updates_queued + x->status(now).updates_unacked);
    EXPECT_FALSE(x->binding(POOL_FIRST).update_due);
    EXPECT_TRUE(x->binding(POOL_FIRST + 1).update_due);
}

// ---- BNDACK ---------------------------------------------------------------------------------------------------------

TEST_F(Update, AcksThatAreIgnored) {
    start_normal(P);
    bind(one, POOL_FIRST);
    Received u = take_update();
    Message wrong_xid = bndack(u);
    send(wrong_xid.xid(u.m.xid + 1));
    Message reject_of_another = bndack(u, FAILOVER_REJECT_FATAL_CONFLICT);
    send(reject_of_another.xid(u.m.xid + 1));
    Message no_address = bndack(u);
    send(no_address.without(FAILOVER_OPT_ASSIGNED_IP_ADDRESS));
    Message stranger = bndack(u);
    send(stranger.number(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, 0x01020304));
    Message other = bndack(u);
    send(other.number(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, POOL_FIRST + 1));
    EXPECT_EQ(1u, x->status(now).updates_unacked) << "its place stays taken";
    EXPECT_TRUE(x->binding(POOL_FIRST).update_due);
    Message nothing_out = bndack(u);
    send(nothing_out.number(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, POOL_FIRST + 1).xid(0));
    EXPECT_EQ(0u, x->status(now).counters.updates_acked + x->status(now).counters.updates_rejected);
    send(bndack(u));
    EXPECT_EQ(0u, x->status(now).updates_unacked);
    EXPECT_EQ(u.m.potential_expiration_time, x->binding(POOL_FIRST).acked);
    send(bndack(u));
    EXPECT_EQ(1u, x->status(now).counters.updates_acked) << "the same again";
}

TEST_F(Update, AckFreesAnEndedLease) {
    for (failover_role role : {P, S}) {
        start_normal(role);
        bind(one, POOL_FIRST);
        send(bndack(take_update()));
        release(one, POOL_FIRST);
        EXPECT_EQ(FAILOVER_SILENCE, request(two, POOL_FIRST + 12)) << "the partner's";
        EXPECT_EQ(FAILOVER_REFUSE, request(two, POOL_FIRST, true)) << "not before the partner knows";
        send(bndack(take_update()));
        EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
        EXPECT_EQ(role == P ? FAILOVER_MINE : FAILOVER_PARTNERS, x->binding(POOL_FIRST).owner)
            << "and then it is the primary's";
        x->kill();
        inbox.clear();
    }
}

// After a crash without it the partner is asked for less, and told once more.
TEST_F(Update, AckOfALeaseIsWrittenButNothingWaitsForThat) {
    start_normal(P);
    bind(one, POOL_FIRST);
    Received update = take_update();
    x->commit(now);
    uint64_t before = failover_sequence(x->core());
    send(bndack(update));
    EXPECT_EQ(before, failover_sequence(x->core()));
    EXPECT_EQ(now.wall + 3630, x->bindings_[POOL_FIRST].acked);
    EXPECT_FALSE(x->bindings_[POOL_FIRST].update_due);
    release(one, POOL_FIRST);
    update = take_update();
    before = failover_sequence(x->core());
    send(bndack(update));
    EXPECT_LT(before, failover_sequence(x->core())) << "but for that an address is free";
}

TEST_F(Update, RejectLeavesTheBindingAsItIs) {
    start_normal(P);
    bind(one, POOL_FIRST);
    send(bndack(take_update(), FAILOVER_REJECT_FATAL_CONFLICT));
    failover_binding b = x->binding(POOL_FIRST);
    EXPECT_EQ(FAILOVER_ACTIVE, b.status);
    EXPECT_TRUE(b.update_due);
    EXPECT_EQ(0, b.acked);
    EXPECT_EQ(1u, x->status(now).counters.updates_rejected);
    EXPECT_TRUE(x->logged("rejects the update of 10.64.10.0 (ACTIVE): fatal conflict"));
    EXPECT_EQ("", updates());
}

TEST_F(Update, RejectIsNotRepeatedAtADhcpd) {
    start_normal(P);
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    bind(one, POOL_FIRST);
    send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    wait(300);
    EXPECT_EQ("", updates());
    send(Message(FAILOVER_UPDREQ, 9));
    EXPECT_EQ("0", updates()) << "but at its request";
}

TEST_F(Update, RejectIsRepeatedSlowlyAtOneOfOurs) {
    ours = true;
    start_normal(P);
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    bind(one, POOL_FIRST);
    for (int i = 0; i < 3; i++) {
        send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
        wait(29);
        EXPECT_EQ("", updates());
        wait(2);
        EXPECT_EQ("0", updates());
    }
    send(bndack(take_update(), FAILOVER_REJECT_ILLEGAL_IP_ADDRESS));
    wait(300);
    EXPECT_EQ("", updates()) << "who has no such address won't have it later";
    send(state_message(FAILOVER_RECOVER, now.wall));
    send(state_message(FAILOVER_RECOVER_DONE, now.wall));
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_EQ("", updates()) << "nor when both are in normal again";
}

// The time for all of them counts from the first: who keeps rejecting others must not put it off.
TEST_F(Update, OneRejectDoesNotPutOffAnother) {
    ours = true;
    start_normal(P);
    bind(one, POOL_FIRST);
    send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    int64_t due = update_deadline(x->core());
    EXPECT_EQ(now.mono + 30000, due);
    wait(20);
    bind(two, POOL_FIRST + 1);
    send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    EXPECT_EQ(due, update_deadline(x->core()));
    now.wall += (due - now.mono) / 1000;
    now.mono = due;
    run();
    EXPECT_EQ("0 1", updates());
}

TEST_F(Update, RejectOfWhatHasChangedMeanwhileSendsTheChange) {
    start_normal(P);
    bind(one, POOL_FIRST);
    Received u = take_update();
    release(one, POOL_FIRST);
    send(bndack(u, FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    EXPECT_EQ(FAILOVER_RELEASED, take_update().m.binding_status);
}

// ---- BNDUPD: what it must carry -------------------------------------------------------------------------------------

TEST_F(Update, BndackCarriesTheAddressAndNothingElse) {
    start_normal(S);
    Received ack =
        update(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall));
    EXPECT_EQ(1u << FAILOVER_OPT_ASSIGNED_IP_ADDRESS, ack.m.present);
    EXPECT_EQ(20u, ack.bytes.size());
}

TEST_F(Update, InformationThatIsMissing) {
    start_normal(S);
    auto active = [&] {
        return bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall);
    };
    {
        Message m = active();
        send(m.without(FAILOVER_OPT_ASSIGNED_IP_ADDRESS));
        EXPECT_EQ(MISSING, take(FAILOVER_BNDACK).m.reject_reason);
    }
    for (auto option :
         {FAILOVER_OPT_BINDING_STATUS, FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS, FAILOVER_OPT_LEASE_EXPIRATION_TIME}) {
        Message m = active();
        EXPECT_EQ(MISSING, verdict(m.without(option)));
    }
    for (int status : {0, 8, 200}) {
        Message m = active();
        EXPECT_EQ(MISSING, verdict(m.number(FAILOVER_OPT_BINDING_STATUS, status)));
    }
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED}) {
        EXPECT_EQ(MISSING, verdict(bndupd(POOL_FIRST + 15, status, nullptr, 1, 1, 1)));
    }
    Message type_only = active();
    EXPECT_EQ(MISSING, verdict(type_only.bytes(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS, Bytes{1})));
    EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST + 15).status) << "nothing of it was taken";
    for (auto status : {FAILOVER_FREE, FAILOVER_BACKUP, FAILOVER_ABANDONED, FAILOVER_RESET}) {
        EXPECT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, status, nullptr, 0, 1, 1))) << status;
    }
}

TEST_F(Update, InformationThatMayBeMissing) {
    start_normal(S);
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_FREE, FAILOVER_ABANDONED, FAILOVER_RESET}) {
        Message m = bndupd(POOL_FIRST + 15, status, &one, 0, now.wall, now.wall);
        EXPECT_EQ(ACCEPTED, verdict(m.without(FAILOVER_OPT_LEASE_EXPIRATION_TIME))) << status;
    }
    Message shortest = bndupd(POOL_FIRST + 16, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall);
    EXPECT_EQ(ACCEPTED, verdict(shortest.bytes(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS, Bytes{1, 7})));
}

TEST_F(Update, ClientThatIsTooLong) {
    start_normal(S);
    Message hardware = bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall);
    EXPECT_EQ(FAILOVER_REJECT_UNKNOWN_REASON,
              verdict(hardware.bytes(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS, Bytes(22, 7))));
    Message id = bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall);
    EXPECT_EQ(FAILOVER_REJECT_UNKNOWN_REASON, verdict(id.bytes(FAILOVER_OPT_CLIENT_IDENTIFIER, Bytes(256, 7))));
    Message longest = bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall);
    EXPECT_EQ(ACCEPTED, verdict(longest.bytes(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS, Bytes(21, 7))
                                    .bytes(FAILOVER_OPT_CLIENT_IDENTIFIER, Bytes(255, 7))));
}

TEST_F(Update, AddressThatIsInNoPool) {
    start_normal(S);
    for (uint32_t address : {POOL_FIRST - 1, POOL_FIRST + 20, 0u, UINT32_MAX}) {
        EXPECT_EQ(FAILOVER_REJECT_ILLEGAL_IP_ADDRESS,
                  verdict(bndupd(address, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall)));
    }
    auto says = [](const std::string &line) { return line.find("both need the same pools") != std::string::npos; };
    EXPECT_EQ(1, std::count_if(x->log_.begin(), x->log_.end(), says)) << "once for each connection";
    EXPECT_EQ(4u, x->status(now).counters.rejects_sent);
}

// ---- BNDUPD: what accepting it does ---------------------------------------------------------------------------------

TEST_F(Update, AcceptedActive) {
    start_normal(S);
    int64_t t = now.wall;
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, t + 60, t + 3630, t - 1, t)));
    failover_binding b = x->binding(POOL_FIRST + 15);
    EXPECT_EQ(FAILOVER_ACTIVE, b.status);
    EXPECT_TRUE(failover_same_client(&one, &b.client));
    EXPECT_EQ(t + 60, b.ends);
    EXPECT_EQ(t + 3630, b.received);
    EXPECT_EQ(t + 3630, b.acked);
    EXPECT_EQ(t - 1, b.starts);
    EXPECT_EQ(t, b.cltt);
    EXPECT_TRUE(b.update_sent) << "there is nothing to rewind";
    EXPECT_FALSE(b.granted_here);
    EXPECT_FALSE(b.update_due);
    ASSERT_EQ(1u, x->rows_.count(POOL_FIRST + 15)) << "Kea gets the lease";
    EXPECT_EQ(t + 60, x->rows_[POOL_FIRST + 15].ends);
    EXPECT_EQ(t + 60, x->bindings_[POOL_FIRST + 15].ends) << "and it is on disk";
}

TEST_F(Update, WhatAnUpdateDoesNotSayStays) {
    start_normal(S);
    int64_t t = now.wall;
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, t + 60, t + 3630, t - 1, t)));
    Message less = bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, t + 60, 0, 0);
    less.without(FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME).without(FAILOVER_OPT_START_TIME_OF_STATE);
    ASSERT_EQ(ACCEPTED, verdict(less));
    failover_binding b = x->binding(POOL_FIRST + 15);
    EXPECT_EQ(t + 3630, b.received);
    EXPECT_EQ(t + 3630, b.acked);
    EXPECT_EQ(t - 1, b.starts);
    EXPECT_EQ(t, b.cltt);
}

// Only the clock may be wrong, and only by as much as a connection allows.
TEST_F(Update, NothingHasHappenedInTheFuture) {
    start_normal(S);
    int64_t later = now.wall + 1000000;
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, later, later, later, later)));
    EXPECT_LE(x->binding(POOL_FIRST + 15).cltt, now.wall + SKEW_LIMIT);
    EXPECT_LE(x->binding(POOL_FIRST + 15).starts, now.wall + SKEW_LIMIT);
    EXPECT_EQ(later, x->binding(POOL_FIRST + 15).ends) << "a promise may well be";
}

// Released and leased again, all before Kea's database is brought up to date.
TEST_F(Update, ARowOfALeaseThatIsThereAgainStays) {
    start_normal(P);
    ASSERT_EQ(60u, bind(one, POOL_FIRST));
    acknowledge_all();
    x->core()->config.interrupted_leases = FAILOVER_EXTEND;
    disconnect(link);
    failover_released(x->core(), POOL_FIRST, &one, now);
    x->rows_[POOL_FIRST] = Server::Row{one, now.wall, now.wall + 60}; // as Kea has it by then
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(POOL_FIRST).status);
    EXPECT_EQ(1u, x->rows_.count(POOL_FIRST));
}

// Kea's row is put or goes once for what happens, not to and fro: statistics and DNS follow it.
TEST_F(Update, ARowGoesOnlyWithItsLease) {
    start_normal(S);
    int64_t t = now.wall;
    auto removals_by = [&](failover_binding_status status, const failover_client *client, int64_t end) {
        int before = x->removals_;
        EXPECT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, status, client, end, t, t, t)));
        return x->removals_ - before;
    };
    EXPECT_EQ(0, removals_by(FAILOVER_ACTIVE, &one, t + 60));
    EXPECT_EQ(0, removals_by(FAILOVER_ACTIVE, &one, t + 90)) << "a renewal";
    EXPECT_EQ(1, removals_by(FAILOVER_ACTIVE, &two, t + 90)) << "another client";
    EXPECT_EQ(1, removals_by(FAILOVER_RELEASED, &two, t));
    EXPECT_EQ(0, removals_by(FAILOVER_BACKUP, &two, t)) << "a gift";
}

// ---- Rows while the disk hangs (rule 12) ------------------------------------------------------------------------------

class Rows : public Update {
protected:
    static constexpr uint32_t A = POOL_FIRST + 15, B = A + 1;

    void told(uint32_t address, failover_binding_status status, const failover_client &client, int64_t left) {
        send(bndupd(address, status, &client, now.wall + left, now.wall + left, now.wall, now.wall));
    }
    void disk(bool works) {
        x->disk_works_ = works;
        run();
    }
};

TEST_F(Rows, OneThatMayBeAloneOnDiskStaysUntilWhatFollowsIsThere) {
    start_normal(S);
    told(B, FAILOVER_ACTIVE, two, 60);
    disk(false);
    told(A, FAILOVER_ACTIVE, one, 60);
    told(A, FAILOVER_RELEASED, one, 0);
    told(A, FAILOVER_ACTIVE, two, 90);
    told(B, FAILOVER_RELEASED, two, 0);
    EXPECT_TRUE(x->has_row(one, A)) << "its lease may be nowhere else";
    EXPECT_EQ(0u, x->rows_.count(B)) << "nothing else waits for that";
    disk(true);
    EXPECT_TRUE(x->has_row(two, A));
}

// As no row of before a clock was set back may outlive the binding, though it looks newer.
TEST_F(Rows, WhatEndedMeanwhileIsRemovedBeforeThePartnersLeaseIsPut) {
    start_normal(S);
    disk(false);
    bind(one, POOL_FIRST);
    x->rows_[POOL_FIRST] = {one, now.wall, x->binding(POOL_FIRST).ends}; // Kea's
    now.wall -= 300000;
    told(POOL_FIRST, FAILOVER_RESET, one, 0);
    told(POOL_FIRST, FAILOVER_ACTIVE, one, 60);
    ASSERT_EQ(FAILOVER_ACTIVE, x->binding(POOL_FIRST).status);
    EXPECT_LT(now.wall + 60, x->rows_[POOL_FIRST].ends) << "it may be alone on disk";
    disk(true);
    ASSERT_TRUE(x->has_row(one, POOL_FIRST));
    EXPECT_EQ(now.wall + 60, x->rows_[POOL_FIRST].ends);
}

TEST_F(Rows, NoneIsMadeOfALeaseThatIsOverMeanwhile) {
    start_normal(S);
    disk(false);
    told(A, FAILOVER_ACTIVE, one, 60);
    told(A, FAILOVER_ACTIVE, one, 90);
    x->rows_.erase(A); // by Kea
    failover_declined(x->core(), A, now.wall + 500, now);
    disk(true);
    EXPECT_EQ(0u, x->rows_.count(A));
}

TEST_F(Update, AcceptedEndsAreTheirsWhoseFreeAddressItBecomes) {
    start_normal(S);
    int64_t t = now.wall;
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_RESET}) {
        update(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, t, t + 30, t - 60, t - 60));
        ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, status, &one, t, t, t - 60, t)));
        failover_binding b = x->binding(POOL_FIRST + 15);
        EXPECT_EQ(FAILOVER_FREE, b.status);
        EXPECT_EQ(FAILOVER_PARTNERS, b.owner) << "FREE is the primary's";
        EXPECT_TRUE(failover_same_client(&one, &b.client)) << "the last client stays known";
        EXPECT_EQ(0u, x->rows_.count(POOL_FIRST + 15)) << "the row goes";
    }
}

TEST_F(Update, AcceptedGiftIsAllocatable) {
    start_normal(S);
    EXPECT_EQ(10u, x->own_free(now));
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_BACKUP, nullptr, 0, now.wall, now.wall)));
    EXPECT_EQ(11u, x->own_free(now));
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST, FAILOVER_FREE, nullptr, 0, now.wall, now.wall)));
    EXPECT_EQ(10u, x->own_free(now));
    EXPECT_EQ(FAILOVER_PARTNERS, x->binding(POOL_FIRST).owner);
}

TEST_F(Update, AcceptedGiftWithAnEndAheadIsKeptBackUntilThen) {
    start_normal(S);
    // dhcpd offers for two minutes, and gives the address away meanwhile.
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_BACKUP, nullptr, now.wall + 120, now.wall, now.wall)));
    EXPECT_EQ(10u, x->own_free(now));
    EXPECT_EQ(FAILOVER_REFUSE == request(one, POOL_FIRST + 15, true), true);
    wait(119);
    EXPECT_EQ(10u, x->own_free(now));
    wait(2);
    EXPECT_EQ(11u, x->own_free(now));
    EXPECT_EQ(FAILOVER_GO_ON, request(one, POOL_FIRST + 15, true));
}

// A dhcpd would take a later potential expiry of a free address for a promise, and give it for that much longer (3.2).
TEST_F(Update, AFreeAddressIsToldWithNoPromiseAhead) {
    start_normal(P);
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_FREE, nullptr, now.wall + 120, now.wall, now.wall)));
    for (uint32_t n : {0u, 1u}) {
        bind(one, POOL_FIRST + n);
        send(bndack(take_update())); // promised for an hour
    }
    release(one, POOL_FIRST);
    int64_t released = now.wall;
    wait(2);
    send(bndack(take_update()));
    EXPECT_EQ(released, x->binding(POOL_FIRST).sent) << "nor later than it ended";
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 1, FAILOVER_RELEASED, &one, now.wall + 1, now.wall + 1, now.wall,
                                       now.wall + 6)));
    std::set<uint32_t> free{POOL_FIRST, POOL_FIRST + 1, POOL_FIRST + 15}, told;
    for (uint32_t address : free) {
        ASSERT_EQ(FAILOVER_FREE, x->binding(address).status) << address - POOL_FIRST;
    }
    send(Message(FAILOVER_UPDREQALL, 5));
    for (Received &r : acknowledge_all()) {
        if (free.count(r.m.assigned_ip_address) > 0) {
            told.insert(r.m.assigned_ip_address);
            EXPECT_LE(r.m.potential_expiration_time, now.wall) << r.m.assigned_ip_address - POOL_FIRST;
        }
    }
    EXPECT_EQ(free, told);
}

TEST_F(Update, EndsThatAreNone) {
    start_normal(P);
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_FREE, nullptr, FAILOVER_TIME_INFINITE, 0, now.wall)));
    EXPECT_EQ(11u, x->own_free(now)) << "a free address can't be kept back for ever";
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 16, FAILOVER_RESET, nullptr, now.wall + 500, 0, now.wall)));
    EXPECT_EQ(12u, x->own_free(now)) << "the operator's word has no end";
}

TEST_F(Update, AFreeAddressKeepsItsLastClientWhereNoneIsTold) {
    start_normal(P);
    bind(one, POOL_FIRST);
    send(bndack(take_update()));
    release(one, POOL_FIRST);
    send(bndack(take_update()));
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST, FAILOVER_BACKUP, nullptr, 0, now.wall, now.wall)));
    failover_binding b = x->binding(POOL_FIRST);
    EXPECT_TRUE(failover_same_client(&one, &b.client)) << "client affinity goes by it";
}

// ---- Two grants of one lease ----------------------------------------------------------------------------------------

class TwoGrants : public Update {
protected:
    static constexpr uint32_t A = POOL_FIRST;

    // Leased here for 60 s just now, and the partner knows.
    void granted(bool here = true) {
        start_normal(P);
        if (here) {
            ASSERT_EQ(60u, bind(one, A));
            send(bndack(take_update()));
        } else {
            theirs(60, 0);
        }
    }
    // The partner's grant: its length, and by how much the client's transaction was later.
    void theirs(int64_t length, int64_t later) {
        ASSERT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ACTIVE, &one, now.wall + length, now.wall + 100, now.wall,
                                           now.wall + later)));
    }
};

// Where both have answered one request, the client may have taken either.
TEST_F(TwoGrants, TheLongerOneCountsWhereEitherMayBeTheLast) {
    for (int64_t length : {40, 80}) {
        granted();
        theirs(length, 4);
        EXPECT_EQ(now.wall + std::max<int64_t>(60, length), x->binding(A).given);
        EXPECT_EQ(now.wall + std::max<int64_t>(60, length), x->rows_[A].ends);
    }
}

TEST_F(TwoGrants, TheLaterOneCountsWhereItIsCertain) {
    granted();
    theirs(40, 5);
    EXPECT_EQ(now.wall + 40, x->binding(A).given);
    EXPECT_EQ(now.wall + 60, x->binding(A).ends) << "what was promised is promised";
    granted(false);
    theirs(40, 0);
    EXPECT_EQ(now.wall + 40, x->binding(A).given) << "both were the partner's";
}

TEST_F(TwoGrants, WhoseIsTheLast) {
    granted();
    theirs(60, -1);
    EXPECT_TRUE(x->binding(A).granted_here);
    theirs(60, 0);
    EXPECT_TRUE(x->binding(A).granted_here) << "it may have been ours";
    theirs(60, 1);
    EXPECT_TRUE(x->binding(A).granted_here) << "clocks are rounded";
    theirs(60, 2);
    EXPECT_FALSE(x->binding(A).granted_here);
    theirs(60, -1);
    EXPECT_FALSE(x->binding(A).granted_here) << "neither of the partner's was here";
}

TEST_F(TwoGrants, WhoseIsTheLastByTwoClocks) {
    skew = 30;
    granted();
    theirs(60, 29);
    EXPECT_TRUE(x->binding(A).granted_here) << "a second before ours";
    EXPECT_EQ(now.wall, x->binding(A).cltt) << "in our clock";
    skew = 5; // a message that was on its way for 25 s
    send(Message(FAILOVER_CONTACT));
    ASSERT_EQ(5, x->status(now).skew);
    theirs(60, 29);
    EXPECT_TRUE(x->binding(A).granted_here);
    EXPECT_EQ(OUTDATED, verdict(bndupd(A, FAILOVER_RELEASED, &one, now.wall + 29, now.wall, now.wall, now.wall + 29)))
        << "it was released there before it was renewed here";
    EXPECT_EQ(1u, acknowledge_all().size());
    theirs(60, 32);
    EXPECT_FALSE(x->binding(A).granted_here);
    EXPECT_EQ(now.wall + 32, x->binding(A).cltt);
    skew = 0;
}

// Both answer a client that asks both, and it releases its lease at the partner soon after.
TEST_F(TwoGrants, AReleaseEndsThemWhereEitherMayBeTheLast) {
    granted();
    theirs(60, 0);
    EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_RELEASED, &one, now.wall, now.wall, now.wall, now.wall)));
    granted();
    theirs(60, 0);
    ASSERT_NE(0u, bind(one, A, 5));
    send(bndack(take_update()));
    EXPECT_EQ(OUTDATED, verdict(bndupd(A, FAILOVER_RELEASED, &one, now.wall, now.wall, now.wall, now.wall)))
        << "ours is the last again";
}

// A lease at the partner, a release there and a lease here, all within a second: what a client takes by our identifier
// no Kea has answered too, and none renews it that hasn't heard of it. A dhcpd may.
TEST_F(TwoGrants, AReleaseEndsNothingThatTheClientTookFromUsSince) {
    struct {
        bool kea, selects, acknowledged;
        uint8_t verdict;
    } cases[] = {{true, true, false, OUTDATED},
                 {true, true, true, ACCEPTED},
                 {true, false, false, ACCEPTED},
                 {false, true, false, ACCEPTED}};
    for (auto &c : cases) {
        ours = c.kea;
        start_normal(S);
        theirs(60, 0);
        ASSERT_NE(0u, bind(one, A, 5, c.selects));
        Received update = take_update();
        if (c.acknowledged) {
            send(bndack(update));
        }
        theirs(60, 0);
        forget(); // ours once more
        EXPECT_EQ(c.verdict, verdict(bndupd(A, FAILOVER_RELEASED, &one, now.wall, now.wall, now.wall, now.wall)))
            << c.kea << c.selects << c.acknowledged;
    }
}

// The partner has told us our own lease, lost its database, and given the address to another client.
TEST_F(TwoGrants, AClashIsFoundThoughTheLeaseWasToldBack) {
    granted();
    theirs(60, 0);
    verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 100, now.wall, now.wall));
    EXPECT_EQ(1u, x->status(now).counters.clashes);
}

// What it tells back has our clock's time, whatever its own clock says.
TEST_F(TwoGrants, OursToldBackIsNoGrantOfThePartners) {
    for (int64_t ahead : {-20, 20}) {
        skew = ahead;
        granted();
        theirs(60, 0);
        EXPECT_TRUE(x->binding(A).granted_here) << ahead;
        int64_t t = now.wall + ahead;
        EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_RELEASED, &one, t, t, t, t))) << ahead;
    }
    skew = 0;
}

TEST_F(TwoGrants, ThePartnerStillHasToHearOfALongerPromise) {
    for (int64_t length : {40, 60}) {
        start_normal(P);
        ASSERT_EQ(60u, bind(one, A));
        send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
        theirs(length, 0);
        EXPECT_EQ(length < 60, x->binding(A).update_due);
        EXPECT_EQ(length < 60 ? "0" : "", updates());
    }
}

TEST_F(TwoGrants, AShorterOneOfThePartnersIsNoNews) {
    ours = true;
    granted();
    theirs(40, 10);
    EXPECT_EQ("", updates());
}

// ---- Abandonment ----------------------------------------------------------------------------------------------------

TEST_F(Update, AcceptedAbandonedForgetsTheClient) {
    start_normal(S);
    int64_t t = now.wall;
    update(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, t + 60, t + 90, t, t));
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_ABANDONED, nullptr, t + 500, t + 90, t)));
    failover_binding b = x->binding(POOL_FIRST + 15);
    EXPECT_EQ(FAILOVER_ABANDONED, b.status);
    EXPECT_EQ(t + 500, b.ends);
    EXPECT_EQ(0, b.client.hardware_length + b.client.id_length);
    EXPECT_EQ(0u, x->rows_.count(POOL_FIRST + 15));
}

TEST_F(Update, MissingIdentifierDeletesTheStoredOne) {
    start_normal(S);
    int64_t t = now.wall;
    failover_client without = one;
    without.id_length = 0;
    update(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, t + 60, t + 90, t, t));
    update(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &without, t + 60, t + 90, t, t));
    EXPECT_EQ(0, x->binding(POOL_FIRST + 15).client.id_length);
}

TEST_F(Update, LeaseWithoutAnEndIsTaken) {
    start_normal(S);
    int64_t t = now.wall;
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &one, FAILOVER_TIME_INFINITE,
                                       FAILOVER_TIME_INFINITE, t, t)));
    EXPECT_EQ(FAILOVER_TIME_INFINITE, x->binding(POOL_FIRST + 15).ends);
    EXPECT_EQ(FAILOVER_LIFETIME_INFINITE, [&] {
        desired = FAILOVER_LIFETIME_INFINITE;
        return bind(one, POOL_FIRST + 15);
    }());
}

// ---- The accept table (7.1.3, with the design's rule 11 over it) ----------------------------------------------------

class AcceptTable : public Update {
protected:
    static constexpr uint32_t A = POOL_FIRST;
    int64_t since = 100; // the state held here began so many seconds ago
    uint32_t xid = 7;    // of the transaction that made it

    // Holds `status` on A, at rest: nothing is in flight, nothing queued. Its client is `one`, its last
    // transaction 100 s ago; an ACTIVE one ends `left` seconds from now.
    void hold(failover_binding_status status, failover_role role, int64_t left, bool granted_here = true) {
        make_known(role, FAILOVER_NORMAL);
        failover_binding b{};
        b.address = A;
        b.status = status;
        b.owner = FAILOVER_MINE;
        b.starts = now.wall - since;
        b.cltt = status == FAILOVER_FREE ? 0 : now.wall - 100;
        b.ends = b.given = status == FAILOVER_FREE ? 0 : now.wall + left;
        b.sent = b.acked = now.wall + 300;
        b.update_sent = b.state_sent = true;
        b.granted_here = granted_here;
        b.xid = xid;
        if (status != FAILOVER_ABANDONED) {
            b.client = one;
        }
        x->bindings_[A] = b;
        start();
        link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
        send(state_message(FAILOVER_NORMAL, now.wall));
        forget();
        ASSERT_EQ(status, x->binding(A).status);
        x->log_.clear();
    }
    // What comes: of `client`, last transaction `cltt` seconds from now (0: the option is missing), end
    // `left` ahead.
    int comes(failover_binding_status status, const failover_client *client, int64_t cltt, int64_t left) {
        int reason = verdict(
            bndupd(A, status, client, now.wall + left, now.wall + left, now.wall, cltt == 0 ? 0 : now.wall + cltt));
        x->kill();
        inbox.clear();
        return reason;
    }
};

TEST_F(AcceptTable, HeldFreeAcceptsEverything) {
    for (failover_role role : {P, S}) {
        for (int status = FAILOVER_FREE; status <= FAILOVER_BACKUP; status++) {
            hold(FAILOVER_FREE, role, 0);
            bool ended = status == FAILOVER_EXPIRED || status == FAILOVER_RELEASED;
            EXPECT_EQ(ACCEPTED, comes(failover_binding_status(status), &two, -50, ended ? -10 : 60)) << status;
        }
    }
}

TEST_F(AcceptTable, HeldActiveOfTheSameClient) {
    for (failover_role role : {P, S}) {
        for (int64_t left : {30, 0, -1}) { // a shorter renewal, which may be over
            hold(FAILOVER_ACTIVE, role, 60);
            EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &one, -50, left));
        }
        hold(FAILOVER_ACTIVE, role, 60);
        EXPECT_EQ(ACCEPTED, comes(FAILOVER_RESET, &one, -50, 0));
        hold(FAILOVER_ACTIVE, role, 60);
        EXPECT_EQ(ACCEPTED, comes(FAILOVER_ABANDONED, nullptr, -50, 500));
    }
}

TEST_F(AcceptTable, Rule11APromisedEndAheadIsNotEndedByThePartner) {
    for (failover_role role : {P, S}) {
        for (auto status : {FAILOVER_EXPIRED, FAILOVER_FREE, FAILOVER_BACKUP}) {
            SCOPED_TRACE(failover_binding_status_name(status));
            hold(FAILOVER_ACTIVE, role, 60);
            int64_t ends = x->binding(A).ends;
            EXPECT_EQ(LESS_CRITICAL, verdict(bndupd(A, status, &one, now.wall - 1, now.wall - 1, now.wall, now.wall)));
            EXPECT_EQ(FAILOVER_ACTIVE, x->binding(A).status);
            EXPECT_EQ(1u, x->status(now).by_status[FAILOVER_ACTIVE]);
            Received ours_ = take_update();
            EXPECT_EQ(FAILOVER_ACTIVE, ours_.m.binding_status) << "and the partner gets ours";
            EXPECT_EQ(ends, ours_.m.lease_expiration_time);
            x->kill();
            inbox.clear();
            if (role == S) { // a primary has ended it by itself
                hold(FAILOVER_ACTIVE, role, -1);
                EXPECT_EQ(ACCEPTED, comes(status, &one, 0, -1)) << "time(2): it has passed";
            }
        }
    }
}

// The partner expires by its own clock what both know to the same end.
TEST_F(AcceptTable, Rule11AllowsForTheClocks) {
    for (int64_t s : {20, -20}) {
        for (int64_t left : {15, 21, 22}) {
            hold(FAILOVER_ACTIVE, S, 100);
            skew = s;
            send(Message(FAILOVER_CONTACT, partner_xid++));
            now.wall += 100 - left;
            now.mono += 1000 * (100 - left);
            send(Message(FAILOVER_CONTACT, partner_xid++));
            forget();
            EXPECT_EQ(left <= 21 ? ACCEPTED : LESS_CRITICAL, comes(FAILOVER_EXPIRED, &one, -50, left));
            skew = 0;
        }
    }
    hold(FAILOVER_ACTIVE, S, 2);
    skew = 20;
    send(Message(FAILOVER_CONTACT, partner_xid++));
    EXPECT_EQ(LESS_CRITICAL, comes(FAILOVER_EXPIRED, &one, -50, -500)) << "an older lease than this one";
    skew = 0;
    hold(FAILOVER_ACTIVE, S, 0);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_EXPIRED, &one, -50, -5)) << "this one ends in this very second";
}

TEST_F(AcceptTable, HeldActiveReleased) {
    // The end that comes with RELEASED is when the client let go; dhcpd counts no RELEASE as a transaction.
    // Granted by the partner: equal counts, since dhcpd doesn't tell what it answers from its cache.
    for (int64_t when : {-100, -50, -1}) {
        hold(FAILOVER_ACTIVE, S, 60, false);
        EXPECT_EQ(ACCEPTED, comes(FAILOVER_RELEASED, &one, when, when));
        hold(FAILOVER_ACTIVE, S, 60, false);
        EXPECT_EQ(ACCEPTED, comes(FAILOVER_RELEASED, &one, 0, when));
    }
    hold(FAILOVER_ACTIVE, S, 60, false);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_RELEASED, &one, -200, -200));
    // An end that is still ahead is not when it was released.
    hold(FAILOVER_ACTIVE, S, 60, false);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_RELEASED, &one, -200, 5)) << "by the partner's clock";
    hold(FAILOVER_ACTIVE, S, 60, false);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_RELEASED, &one, -200, 6));
    // Granted here: only a release that is certainly the later of the two ends the lease.
    hold(FAILOVER_ACTIVE, S, 60);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_RELEASED, &one, -95, -95));
    hold(FAILOVER_ACTIVE, S, 60);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_RELEASED, &one, -96, -96));
    // Another client can't release it, whatever end it says.
    for (int64_t left : {-1, 60}) {
        hold(FAILOVER_ACTIVE, S, 60, false);
        EXPECT_EQ(OUTDATED, comes(FAILOVER_RELEASED, &two, -1, left));
    }
}

// Its clock is taken to be ahead where it seems so; where it seems behind, its messages may only have been slow.
TEST_F(AcceptTable, HeldActiveReleasedByAnotherClock) {
    const struct {
        int64_t skew, when;
        int expected;
    } cases[] = {{20, -75, ACCEPTED}, {20, -76, OUTDATED}, {-20, -95, ACCEPTED}, {-20, -96, OUTDATED}};
    for (auto &c : cases) {
        hold(FAILOVER_ACTIVE, S, 60);
        skew = c.skew;
        send(Message(FAILOVER_CONTACT, partner_xid++));
        EXPECT_EQ(c.expected, comes(FAILOVER_RELEASED, &one, c.when, c.when)) << c.skew << ", " << c.when;
        skew = 0;
    }
}

TEST_F(AcceptTable, HeldActiveAbandoned) {
    ours = true;
    hold(FAILOVER_ACTIVE, S, 60);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ABANDONED, nullptr, -50, 500));
    hold(FAILOVER_ACTIVE, S, 60);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ABANDONED, nullptr, -200, 500)) << "its client has renewed here since";
    hold(FAILOVER_ACTIVE, S, -1);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ABANDONED, nullptr, -200, 500)) << "a lease that has ended is in nobody's way";
    ours = false;
    hold(FAILOVER_ACTIVE, S, 60);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ABANDONED, nullptr, 0, 500)) << "a dhcpd doesn't say when it was";
}

// Else two such servers would reject each other's for as long as that is ahead.
TEST_F(AcceptTable, WhatIsHeldFromTheFutureIsNoReasonToRefuse) {
    ours = true;
    const failover_binding_status kinds[][2] = {{FAILOVER_ABANDONED, FAILOVER_ACTIVE},
                                                {FAILOVER_RELEASED, FAILOVER_ACTIVE},
                                                {FAILOVER_ACTIVE, FAILOVER_ABANDONED}};
    for (auto [held, coming] : kinds) {
        hold(held, S, 9000);
        now.wall -= 7200;
        now.mono++;
        EXPECT_EQ(ACCEPTED, comes(coming, coming == FAILOVER_ACTIVE ? &one : nullptr, -1, 60))
            << failover_binding_status_name(held);
    }
}

TEST_F(AcceptTable, TwoClientsOnOneAddress) {
    hold(FAILOVER_ACTIVE, P, 60);
    EXPECT_EQ(CONFLICT, verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 60, now.wall, now.wall)));
    EXPECT_EQ(1u, x->status(now).counters.clashes);
    EXPECT_TRUE(x->logged("clash: 10.64.10.0"));
    failover_client holder = x->binding(A).client;
    EXPECT_TRUE(failover_same_client(&one, &holder)) << "the primary keeps its client";
    EXPECT_EQ("0", updates()) << "and tells the secondary";
    x->kill();
    inbox.clear();

    hold(FAILOVER_ACTIVE, S, 60);
    EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 60, now.wall, now.wall)));
    EXPECT_EQ(1u, x->status(now).counters.clashes) << "the secondary gives up, and counts it too";
    holder = x->binding(A).client;
    EXPECT_TRUE(failover_same_client(&two, &holder));
    EXPECT_EQ(0, x->binding(A).xid) << "nothing of the lease before is left";
    EXPECT_EQ(1u, x->rows_.count(A));
}

// A lease of which only Kea's row was left: it may be older than the partner's, but where it isn't, it is what counts.
TEST_F(AcceptTable, AClashWithARowOfKeas) {
    for (failover_role role : {P, S}) {
        for (int64_t older : {5, 60}) {
            xid = 0;
            hold(FAILOVER_ACTIVE, role, 60);
            int64_t theirs = x->binding(A).cltt - older;
            bool stays = role == P && older > 6;
            EXPECT_EQ(stays ? int(FAILOVER_REJECT_FATAL_CONFLICT) : int(ACCEPTED),
                      verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 60, theirs, theirs)));
            EXPECT_EQ(1u, x->status(now).counters.clashes);
            failover_client holder = x->binding(A).client;
            EXPECT_EQ(stays, failover_same_client(&one, &holder));
            x->kill();
            inbox.clear();
        }
    }
    xid = 7;
}

TEST_F(AcceptTable, NoClashIsCountedWhereThereIsNone) {
    // The lease here has ended.
    hold(FAILOVER_ACTIVE, S, -1);
    EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 60, now.wall, now.wall)));
    EXPECT_EQ(0u, x->status(now).counters.clashes);
    x->kill();
    inbox.clear();
    // Both have.
    hold(FAILOVER_ACTIVE, S, -1);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &two, -50, -1));
    // The one that comes has ended: a secondary too keeps the living one.
    for (failover_role role : {P, S}) {
        for (int64_t left : {-1, 0}) {
            hold(FAILOVER_ACTIVE, role, 60);
            int64_t ends = now.wall + left;
            EXPECT_EQ(OUTDATED, verdict(bndupd(A, FAILOVER_ACTIVE, &two, ends, ends, now.wall - 90, now.wall - 90)));
            EXPECT_EQ(0u, x->status(now).counters.clashes);
            EXPECT_EQ("0", updates());
            x->kill();
            inbox.clear();
        }
        // The partner had given it, and has given it on; or it is Kea's row, and whose grant that was isn't certain:
        // then it may be one.
        for (bool granted_here : {false, true}) {
            xid = granted_here ? 0 : 7;
            hold(FAILOVER_ACTIVE, role, 60, granted_here);
            EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall, now.wall, now.wall)));
            EXPECT_EQ(granted_here ? 1u : 0u, x->status(now).counters.clashes);
            EXPECT_EQ(granted_here, x->logged("at the partner, who keeps it"));
            x->kill();
            inbox.clear();
        }
        xid = 7;
    }
}

TEST_F(AcceptTable, HeldExpired) {
    for (auto status :
         {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_FREE, FAILOVER_BACKUP, FAILOVER_RESET, FAILOVER_ABANDONED}) {
        hold(FAILOVER_EXPIRED, S, -10);
        EXPECT_EQ(ACCEPTED, comes(status, &one, -100, status == FAILOVER_ABANDONED ? 100 : -10)) << status;
    }
    hold(FAILOVER_EXPIRED, S, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &one, -50, 60)) << "time(1)";
    hold(FAILOVER_EXPIRED, S, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &two, -50, -5)) << "the next client's, over by now";
    hold(FAILOVER_EXPIRED, S, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, &one, -200, -20)) << "an older lease that has ended too";
    hold(FAILOVER_EXPIRED, S, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, &one, -200, 0)) << "or ends now";
    hold(FAILOVER_EXPIRED, S, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &one, -200, 60)) << "what is promised ahead counts";
}

TEST_F(AcceptTable, HeldReleased) {
    for (auto status : {FAILOVER_RELEASED, FAILOVER_FREE, FAILOVER_BACKUP, FAILOVER_RESET, FAILOVER_ABANDONED}) {
        hold(FAILOVER_RELEASED, P, -10);
        EXPECT_EQ(ACCEPTED, comes(status, &one, -100, status == FAILOVER_ABANDONED ? 100 : -10)) << status;
    }
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &one, -50, 60));
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, &one, -200, 60)) << "its own client has ended it";
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_EXPIRED, &one, -50, -1));
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_EXPIRED, &one, -200, -1));
    // The two clocks may differ by what can't be measured.
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_EXPIRED, &one, -106, -1));
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_EXPIRED, &one, -107, -1));
    // It is the release that counts, not when the lease was made.
    since = 1000;
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_EXPIRED, &one, -200, -1));
    hold(FAILOVER_RELEASED, P, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, &one, -200, 60));
}

TEST_F(AcceptTable, HeldReset) {
    hold(FAILOVER_RESET, S, -10);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &one, -50, 60)) << "time(3): after the start of the state";
    hold(FAILOVER_RESET, S, -10);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, &one, -200, 60));
    since = 50;
    for (const failover_client *client : {&one, &two}) {
        hold(FAILOVER_RESET, S, -10);
        EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, client, -70, 60)) << "it was reset since the client was heard of";
    }
    since = 100;
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_FREE, FAILOVER_BACKUP, FAILOVER_RESET}) {
        hold(FAILOVER_RESET, S, -10);
        EXPECT_EQ(ACCEPTED, comes(status, &one, -200, -10));
    }
}

TEST_F(AcceptTable, HeldAbandoned) {
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_FREE, FAILOVER_BACKUP}) {
        hold(FAILOVER_ABANDONED, S, 100);
        EXPECT_EQ(LESS_CRITICAL, comes(status, &one, -1, -1)) << "(4)";
        hold(FAILOVER_ABANDONED, S, -1);
        EXPECT_EQ(ACCEPTED, comes(status, &one, -1, -1)) << "its probation is over";
    }
    hold(FAILOVER_ABANDONED, S, 100);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ABANDONED, nullptr, -1, 100));
    hold(FAILOVER_ABANDONED, S, 100);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_RESET, nullptr, -1, -1));
}

TEST_F(AcceptTable, TheLaterOfTwoProbationsCounts) {
    for (bool one_of_ours : {true, false}) {
        ours = one_of_ours;
        for (int64_t left : {50, 500}) {
            hold(FAILOVER_ABANDONED, S, 100);
            int64_t longer = now.wall + std::max<int64_t>(left, 100);
            EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ABANDONED, nullptr, now.wall + left, 1, now.wall - 3)));
            EXPECT_EQ(longer, x->binding(A).ends);
            EXPECT_EQ(now.wall - 3, x->binding(A).starts);
            EXPECT_EQ(ours && left == 50 ? "0" : "", updates()) << "one of ours hears of a longer one";
            x->kill();
            inbox.clear();
        }
    }
}

// Softer than the draft, which rejects any: a lease that the partner has made since may be lived in.
TEST_F(AcceptTable, HeldAbandonedAgainstALease) {
    hold(FAILOVER_ABANDONED, S, 100);
    EXPECT_EQ(OUTDATED, comes(FAILOVER_ACTIVE, &two, -200, 60)) << "the lease that was declined";
    hold(FAILOVER_ABANDONED, S, 100);
    EXPECT_EQ(ACCEPTED, comes(FAILOVER_ACTIVE, &two, -1, 60));
}

// ---- Duels (3.6) ----------------------------------------------------------------------------------------------------

class Duel : public Update {
protected:
    static constexpr uint32_t A = POOL_FIRST;

    // Ours for A is outstanding: `status`, of client one, last transaction now.
    void outstanding(failover_role role, failover_binding_status status) {
        start_normal(role);
        switch (status) {
        case FAILOVER_ACTIVE:
            bind(one, A);
            break;
        case FAILOVER_RELEASED:
            bind(one, A);
            send(bndack(take_update()));
            release(one, A);
            break;
        case FAILOVER_ABANDONED:
            failover_declined(x->core(), A, now.wall + 1000, now);
            run();
            break;
        default:
            FAIL();
        }
        ASSERT_EQ(1u, x->status(now).updates_unacked);
        mine = take_update();
        ASSERT_EQ(status, mine.m.binding_status);
    }
    // True: what comes wins.
    bool comes(failover_binding_status status, const failover_client *client, int64_t cltt) {
        bool ends = status != FAILOVER_ACTIVE && status != FAILOVER_ABANDONED;
        int64_t end = ends ? now.wall - 1 : now.wall + 60;
        int reason = verdict(bndupd(A, status, client, end, end, now.wall, cltt == 0 ? 0 : now.wall + cltt));
        uint64_t unacked = x->status(now).updates_unacked;
        if (reason == 0) {
            EXPECT_EQ(0u, unacked) << "ours is forgotten";
            send(bndack(mine));
            EXPECT_NE(FAILOVER_RELEASED, x->binding(A).status) << "and its late BNDACK means nothing";
        } else {
            EXPECT_EQ(1u, unacked);
            send(bndack(mine));
            EXPECT_EQ(0u, x->status(now).updates_unacked) << "ours stands";
        }
        x->kill();
        inbox.clear();
        return reason == 0;
    }
    Received mine;
};

TEST_F(Duel, ActiveAgainstActiveTheLaterTransactionWins) {
    for (failover_role role : {P, S}) {
        outstanding(role, FAILOVER_ACTIVE);
        EXPECT_TRUE(comes(FAILOVER_ACTIVE, &one, 5));
        outstanding(role, FAILOVER_ACTIVE);
        EXPECT_FALSE(comes(FAILOVER_ACTIVE, &one, -5));
        outstanding(role, FAILOVER_ACTIVE);
        EXPECT_FALSE(comes(FAILOVER_ACTIVE, &one, 0)) << "none counts as 0";
    }
}

TEST_F(Duel, ActiveAgainstActiveAtTheSameTimeIsThePrimarys) {
    start_normal(P);
    bind(one, A);
    take_update();
    EXPECT_EQ(LESS_CRITICAL,
              verdict(bndupd(A, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall)));
    x->kill();
    inbox.clear();
    start_normal(S);
    bind(one, A);
    take_update();
    EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall)));
}

TEST_F(Duel, ActiveAgainstActiveOfAnotherClientIsAClash) {
    outstanding(P, FAILOVER_ACTIVE);
    EXPECT_EQ(CONFLICT,
              verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall + 5)));
    EXPECT_EQ(1u, x->status(now).counters.clashes);
}

// The secondary's update is rejected as the less critical one, and nobody would speak of it again.
TEST_F(Duel, AClashIsCountedByThePrimaryWhoseOwnStands) {
    outstanding(P, FAILOVER_ACTIVE);
    EXPECT_EQ(LESS_CRITICAL,
              verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall - 5)));
    EXPECT_EQ(1u, x->status(now).counters.clashes);
    EXPECT_TRUE(x->logged("clash: 10.64.10.0"));
    outstanding(S, FAILOVER_ACTIVE);
    EXPECT_EQ(LESS_CRITICAL,
              verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall - 5)));
    EXPECT_EQ(0u, x->status(now).counters.clashes) << "the primary will insist";
}

TEST_F(Duel, NoClashIsCountedWhereOneOfTheTwoIsOver) {
    for (bool other_is_over : {true, false}) {
        outstanding(P, FAILOVER_ACTIVE);
        int64_t end = other_is_over ? now.wall : now.wall + 60;
        auto status = other_is_over ? FAILOVER_ACTIVE : FAILOVER_RELEASED;
        EXPECT_EQ(LESS_CRITICAL, verdict(bndupd(A, status, &two, end, end, now.wall - 5, now.wall - 5)));
        EXPECT_EQ(0u, x->status(now).counters.clashes);
        x->kill();
        inbox.clear();
    }
    ours = true;
    outstanding(P, FAILOVER_RELEASED);
    EXPECT_EQ(LESS_CRITICAL,
              verdict(bndupd(A, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall + 20)));
    EXPECT_EQ(0u, x->status(now).counters.clashes) << "its client has given it back here";
}

TEST_F(Duel, WhatThePartnerPromisedTheSameClientIsPromised) {
    outstanding(P, FAILOVER_ACTIVE);
    int64_t longer = now.wall + 1000;
    EXPECT_EQ(LESS_CRITICAL, verdict(bndupd(A, FAILOVER_ACTIVE, &one, longer, longer, now.wall, now.wall - 5)));
    EXPECT_EQ(longer, x->binding(A).ends);
    EXPECT_EQ(longer, x->bindings_[A].ends) << "on disk too";
    EXPECT_EQ(1u, x->status(now).by_status[FAILOVER_ACTIVE]);
    send(bndack(mine));
    EXPECT_EQ(longer, x->binding(A).ends);
}

TEST_F(Duel, WhatIsNoPromiseToTheSameClientIsNone) {
    for (auto status : {FAILOVER_ACTIVE, FAILOVER_RELEASED}) {
        outstanding(P, FAILOVER_ACTIVE);
        int64_t ends = x->binding(A).ends, longer = now.wall + 1000;
        const failover_client &client = status == FAILOVER_ACTIVE ? two : one;
        EXPECT_EQ(LESS_CRITICAL, verdict(bndupd(A, status, &client, longer, longer, now.wall, now.wall - 5)));
        EXPECT_EQ(ends, x->binding(A).ends) << status;
        x->kill();
        inbox.clear();
    }
}

// Two clocks: were both to judge, each might yield. What ours has ended the other's promise doesn't prolong.
TEST_F(Duel, OfOursOnlyWhoHasTheLeaseJudges) {
    ours = true;
    for (failover_role role : {P, S}) {
        outstanding(role, FAILOVER_RELEASED);
        int64_t ends = x->binding(A).ends, longer = now.wall + 1000;
        EXPECT_EQ(LESS_CRITICAL, verdict(bndupd(A, FAILOVER_ACTIVE, &one, longer, longer, now.wall, now.wall + 50)));
        EXPECT_EQ(FAILOVER_RELEASED, x->binding(A).status);
        EXPECT_EQ(ends, x->binding(A).ends);
        send(bndack(mine));
        EXPECT_EQ(FAILOVER_FREE, x->binding(A).status);
        x->kill();
        inbox.clear();
    }
}

// A release that a dhcpd as primary rejects as the less critical, while its own EXPIRED is outdated here.
TEST_F(Duel, WhatBothRejectIsSentAgain) {
    outstanding(S, FAILOVER_RELEASED);
    EXPECT_EQ(OUTDATED,
              verdict(bndupd(A, FAILOVER_EXPIRED, &one, now.wall - 60, now.wall - 60, now.wall - 60, now.wall - 90)));
    send(bndack(mine, LESS_CRITICAL));
    EXPECT_EQ(FAILOVER_RELEASED, take_update().m.binding_status);
}

TEST_F(Duel, ActiveAgainstTheRest) {
    for (auto status : {FAILOVER_RELEASED, FAILOVER_ABANDONED, FAILOVER_RESET}) {
        outstanding(P, FAILOVER_ACTIVE);
        EXPECT_FALSE(comes(status, &one, 50)) << "the primary's stands: " << status;
        outstanding(S, FAILOVER_ACTIVE);
        EXPECT_TRUE(comes(status, &one, 50)) << status;
    }
}

TEST_F(Duel, ActiveAgainstExpiredIsRule11) {
    for (bool one_of_ours : {false, true}) {
        ours = one_of_ours;
        for (failover_role role : {P, S}) {
            for (auto status : {FAILOVER_EXPIRED, FAILOVER_FREE, FAILOVER_BACKUP}) {
                outstanding(role, FAILOVER_ACTIVE);
                EXPECT_EQ(LESS_CRITICAL, verdict(bndupd(A, status, &one, now.wall - 1, now.wall, now.wall, now.wall)));
                EXPECT_EQ(1u, x->status(now).updates_unacked) << "ours is on its way already";
                EXPECT_EQ(FAILOVER_ACTIVE, x->binding(A).status);
                send(bndack(mine, ours ? LESS_CRITICAL : 0));
                EXPECT_EQ(ours ? "0" : "", updates()) << "one of ours has rejected it by then, and gets it once more";
                x->kill();
                inbox.clear();
            }
        }
    }
}

// The partner's clock is ahead, and says that the lease is over to the end that both know.
TEST_F(Duel, ActiveAgainstExpiredByThePartnersClock) {
    for (failover_role role : {P, S}) {
        outstanding(role, FAILOVER_ACTIVE);
        int64_t ends = x->binding(A).ends;
        skew = 20;
        wait(45);
        forget();
        EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_EXPIRED, &one, ends, ends, now.wall, now.wall)));
        EXPECT_EQ(FAILOVER_FREE, x->binding(A).status);
        skew = 0;
        x->kill();
        inbox.clear();
    }
}

TEST_F(Duel, TheRestAgainstActive) {
    for (failover_role role : {P, S}) {
        outstanding(role, FAILOVER_RELEASED);
        EXPECT_TRUE(comes(FAILOVER_ACTIVE, &one, 20));
        outstanding(role, FAILOVER_RELEASED);
        EXPECT_TRUE(comes(FAILOVER_ACTIVE, &two, 20));
        // There is no duel about it: what is held decides.
        outstanding(role, FAILOVER_RELEASED);
        EXPECT_EQ(OUTDATED,
                  verdict(bndupd(A, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall, now.wall - 20, now.wall - 20)));
        x->kill();
        inbox.clear();
        outstanding(role, FAILOVER_RELEASED);
        EXPECT_TRUE(comes(FAILOVER_ACTIVE, &two, -20)) << "another client's lease lives";
    }
}

// Were both to judge, by two clocks, each might yield to the other.
TEST_F(Duel, BetweenTwoOfOursWhoHasTheLeaseJudges) {
    ours = true;
    for (failover_role role : {P, S}) {
        outstanding(role, FAILOVER_ACTIVE);
        EXPECT_TRUE(comes(FAILOVER_RELEASED, &one, 50))
            << "the lease is here: the later one counts, whoever is primary";
        outstanding(role, FAILOVER_RELEASED);
        int64_t ends = x->binding(A).ends;
        EXPECT_EQ(LESS_CRITICAL,
                  verdict(bndupd(A, FAILOVER_ACTIVE, &one, now.wall + 500, now.wall, now.wall, now.wall + 20)))
            << "the lease is there";
        EXPECT_EQ(ends, x->binding(A).ends) << "what is over here is promised nothing";
        x->kill();
        inbox.clear();
    }
}

TEST_F(Duel, TheRestAgainstTheRestIsThePrimarys) {
    for (auto status : {FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_FREE, FAILOVER_BACKUP, FAILOVER_RESET}) {
        outstanding(P, FAILOVER_RELEASED);
        EXPECT_FALSE(comes(status, &one, 50)) << status;
        outstanding(S, FAILOVER_RELEASED);
        EXPECT_TRUE(comes(status, &one, 50)) << status;
    }
}

TEST_F(Duel, OnlyWhatHasLeftDuels) {
    partner_max_unacked = 1;
    start_normal(P);
    bind(two, POOL_FIRST + 1);
    bind(one, A); // queued behind it
    take_update();
    EXPECT_EQ(ACCEPTED, verdict(bndupd(A, FAILOVER_ACTIVE, &one, now.wall + 70, now.wall + 90, now.wall, now.wall)));
    EXPECT_EQ(now.wall + 70, x->binding(A).ends);
}

// Both servers of a pair answer one client at the same second; whoever's update crosses whose, they end up of
// one mind.
TEST_F(Pair, DuelsEndInAgreement) {
    start_normal();
    failover_client c = make_client(1);
    Lease lease = dora(*p, c);
    ASSERT_EQ(Lease::ACK, lease.kind);
    for (int i = 0; i < 20; i++) {
        pass(20);
        stalled = true;
        request(*p, c, lease.address);
        if (i % 3 == 1) {
            now.wall++;
            now.mono += 1000;
        }
        request(*s, c, lease.address);
        if (i % 4 == 3) {
            release(*p, c, lease.address);
        }
        step(*p, true);
        step(*s, true);
        stalled = false;
        settle();
        pass(40);
        failover_binding a = p->binding(lease.address), b = s->binding(lease.address);
        ASSERT_EQ(a.status, b.status) << i;
        EXPECT_FALSE(a.update_due || b.update_due) << i;
        if (a.status == FAILOVER_ACTIVE) {
            EXPECT_EQ(a.ends, b.ends) << i;
        } else {
            lease = dora(*p, c);
        }
    }
    EXPECT_EQ(0u, failover_get_counters(p->core_)->clashes + failover_get_counters(s->core_)->clashes);
}

// ---- Requests for updates (2.9) -------------------------------------------------------------------------------------

class Requests : public Update {
protected:
    // In NORMAL as the primary, with leases on the first three addresses, the first of which the partner
    // knows.
    void leases() {
        start_normal(P);
        bind(make_client(1), POOL_FIRST);
        send(bndack(take_update()));
        bind(make_client(2), POOL_FIRST + 1);
        bind(make_client(3), POOL_FIRST + 2);
        send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
        send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
        forget();
    }
};

TEST_F(Requests, NothingToSayIsDoneAtOnce) {
    start_normal(P);
    send(Message(FAILOVER_UPDREQ, 77));
    EXPECT_EQ(77u, take(FAILOVER_UPDDONE).m.xid);
    EXPECT_EQ("", names(link));
}

TEST_F(Requests, UpdreqIsAnsweredWithWhatThePartnerDoesNotKnow) {
    leases();
    send(Message(FAILOVER_UPDREQ, 77));
    EXPECT_EQ("1 2", updates());
    Received a = take_update(), b = take_update();
    send(bndack(a));
    EXPECT_EQ("", names(link)) << "not before the last";
    send(bndack(b, FAILOVER_REJECT_FATAL_CONFLICT));
    EXPECT_EQ(77u, take(FAILOVER_UPDDONE).m.xid) << "a reject is an answer too";
}

TEST_F(Requests, UpdreqallIsAnsweredWithEverythingEverUsed) {
    leases();
    send(Message(FAILOVER_UPDREQALL, 78));
    std::vector<uint32_t> told;
    while (told.size() < 13) {
        Received u = take_update();
        told.push_back(u.m.assigned_ip_address - POOL_FIRST);
        if (told.size() < 13) {
            send(bndack(u));
        } else {
            EXPECT_EQ("", names(link));
            send(bndack(u));
        }
    }
    std::sort(told.begin(), told.end());
    // Three leases and the partner's ten; own addresses that nobody ever used are the primary's anyway.
    EXPECT_EQ((std::vector<uint32_t>{0, 1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}), told);
    EXPECT_EQ(78u, take(FAILOVER_UPDDONE).m.xid);
}

TEST_F(Requests, ASecondRequestReplacesTheFirst) {
    leases();
    send(Message(FAILOVER_UPDREQALL, 78));
    send(Message(FAILOVER_UPDREQALL, 79));
    int done = 0;
    for (std::deque<Received> box; !in(link).empty(); box.clear()) {
        std::swap(box, in(link));
        for (Received &r : box) {
            if (r.m.type == FAILOVER_UPDDONE) {
                done++;
                EXPECT_EQ(79u, r.m.xid) << "the first is never answered";
            } else {
                send(bndack(r));
            }
        }
    }
    EXPECT_EQ(1, done);
}

TEST_F(Requests, ChangesWhileAnswering) {
    leases();
    send(Message(FAILOVER_UPDREQ, 77));
    Received a = take_update(), b = take_update();
    bind(make_client(2), POOL_FIRST + 1);
    send(bndack(a));
    send(bndack(b));
    EXPECT_EQ("BNDUPD", names(link)) << "what has changed meanwhile goes first";
    send(bndack(take_update()));
    EXPECT_EQ(77u, take(FAILOVER_UPDDONE).m.xid);
}

TEST_F(Requests, ALostLinkForgetsTheRequest) {
    leases();
    send(Message(FAILOVER_UPDREQALL, 77));
    disconnect(link);
    EXPECT_EQ(2u, x->status(now).updates_queued) << "those that the partner doesn't know";
    forget();
    link_up();
    send(state_message(FAILOVER_RECOVER, now.wall));
    acknowledge_all();
    for (Received &r : in(link)) {
        EXPECT_NE(FAILOVER_UPDDONE, r.m.type) << "nobody has asked on this connection";
    }
    send(Message(FAILOVER_UPDREQALL, 5));
    std::deque<Received> all;
    while (true) {
        std::deque<Received> box;
        std::swap(box, in(link));
        if (box.empty()) {
            break;
        }
        for (Received &r : box) {
            if (r.m.type == FAILOVER_BNDUPD) {
                send(bndack(r));
            }
            all.push_back(std::move(r));
        }
    }
    ASSERT_FALSE(all.empty());
    EXPECT_EQ(FAILOVER_UPDDONE, all.back().m.type);
    EXPECT_EQ(5u, all.back().m.xid);
}

TEST_F(Requests, DuelsSettleWhatWasAskedFor) {
    leases();
    send(Message(FAILOVER_UPDREQ, 77));
    Received a = take_update(), b = take_update();
    send(bndack(a));
    failover_client c = make_client(3);
    send(bndupd(POOL_FIRST + 2, FAILOVER_ACTIVE, &c, now.wall + 70, now.wall + 90, now.wall, now.wall + 3));
    EXPECT_EQ(77u, take(FAILOVER_UPDDONE).m.xid) << "the partner knows it better";
    EXPECT_FALSE(take(FAILOVER_BNDACK).has(FAILOVER_OPT_REJECT_REASON));
}

// What was asked for and hasn't left yet is still sent, whatever comes from the partner meanwhile.
TEST_F(Requests, WhatWaitsForItsTurnIsStillToldWhereThePartnerSpeaksFirst) {
    partner_max_unacked = 1;
    leases();
    send(Message(FAILOVER_UPDREQALL, 77));
    ASSERT_EQ("0", updates());
    failover_client c = make_client(3);
    send(bndupd(POOL_FIRST + 2, FAILOVER_ACTIVE, &c, now.wall + 70, now.wall + 90, now.wall, now.wall + 3));
    std::set<uint32_t> told;
    for (Received &r : acknowledge_all()) {
        told.insert(r.m.assigned_ip_address - POOL_FIRST);
    }
    EXPECT_EQ(1u, told.count(2));
    EXPECT_EQ(13u, told.size());
}

TEST_F(Requests, ALeaseOfWhatIsOnItsWayIsToldAtOnce) {
    start_normal(P);
    failover_declined(x->core(), POOL_FIRST, now.wall + 10, now);
    run();
    send(bndack(take_update()));
    wait(12);
    Received freed = take_update();
    ASSERT_EQ(FAILOVER_FREE, freed.m.binding_status);
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    EXPECT_EQ(FAILOVER_ACTIVE, take_update().m.binding_status);
    send(bndack(freed));
    EXPECT_TRUE(x->binding(POOL_FIRST).update_due) << "that was of the address before";
}

TEST_F(Requests, ALeaseOfWhatWaitsForItsTurnIsPartOfTheAnswer) {
    partner_max_unacked = 1;
    start_normal(P);
    failover_declined(x->core(), POOL_FIRST, now.wall + 10, now);
    run();
    send(bndack(take_update()));
    bind(two, POOL_FIRST + 1);
    Received first = take_update(); // takes the window
    wait(12);
    ASSERT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
    send(Message(FAILOVER_UPDREQ, 77));
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    forget();
    send(bndack(first));
    EXPECT_EQ("BNDUPD", names(link)) << "not UPDDONE yet";
    send(bndack(take_update()));
    EXPECT_EQ(77u, take(FAILOVER_UPDDONE).m.xid);
}

TEST_F(Requests, ALeaseOfWhatWaitsForItsTurnIsToldBeforeUpddone) {
    partner_max_unacked = 1;
    leases();
    // One of the two comes back to this server, by the client's bucket.
    release(make_client(2), POOL_FIRST + 1);
    release(make_client(3), POOL_FIRST + 2);
    acknowledge_all();
    uint32_t freed = POOL_FIRST + (x->binding(POOL_FIRST + 1).owner == FAILOVER_MINE ? 1 : 2);
    ASSERT_EQ(FAILOVER_MINE, x->binding(freed).owner);
    send(Message(FAILOVER_UPDREQALL, 77));
    ASSERT_EQ("0", updates());
    ASSERT_NE(0u, bind(make_client(4), freed));
    bool told = false, done = false;
    for (std::deque<Received> box; !done && !in(link).empty();) {
        std::swap(box, in(link));
        for (Received &r : box) {
            told = told || (r.m.type == FAILOVER_BNDUPD && r.m.assigned_ip_address == freed);
            done = done || r.m.type == FAILOVER_UPDDONE;
            EXPECT_TRUE(told || !done);
            if (r.m.type == FAILOVER_BNDUPD) {
                send(bndack(r));
            }
        }
        box.clear();
    }
    EXPECT_TRUE(done);
}

TEST_F(Requests, StaleUpddoneIsIgnored) {
    make_known(P, FAILOVER_RECOVER);
    x->record_->last_served = now.wall;
    start();
    link_up();
    forget();
    send(Message(FAILOVER_UPDDONE, 3));
    EXPECT_EQ(FAILOVER_STARTUP, x->state()) << "not asked yet";
    send(state_message(FAILOVER_PARTNER_DOWN, now.wall));
    take(FAILOVER_STATE);
    uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
    send(Message(FAILOVER_UPDDONE, xid + 1));
    EXPECT_EQ(FAILOVER_RECOVER, x->state()) << "the answer to another request";
    EXPECT_TRUE(x->logged("UPDDONE that answers no request of this connection is ignored"));
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(FAILOVER_RECOVER_WAIT, x->state());
    x->log_.clear();
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(FAILOVER_RECOVER_WAIT, x->state()) << "the same again";
    EXPECT_TRUE(x->logged("UPDDONE that answers no request of this connection is ignored"));
}

// UPDREQ asks for what is new, and that is not everything: whose the addresses are isn't known by it (rule 6).
TEST_F(Requests, OnlyEverythingMakesAnOwner) {
    ours = true;
    make(P);
    start();
    link_up();
    forget();
    send(state_message(FAILOVER_POTENTIAL_CONFLICT, now.wall));
    ASSERT_EQ(FAILOVER_POTENTIAL_CONFLICT, x->state());
    take(FAILOVER_STATE);
    send(Message(FAILOVER_UPDDONE, take(FAILOVER_UPDREQ).m.xid));
    ASSERT_EQ(FAILOVER_CONFLICT_DONE, x->state());
    EXPECT_EQ(FAILOVER_NOBODY, x->record_->default_owner);
}

TEST_F(Requests, UpddoneOfTheConnectionBefore) {
    make_known(P, FAILOVER_RECOVER);
    x->record_->last_served = now.wall;
    start();
    link_up();
    send(state_message(FAILOVER_PARTNER_DOWN, now.wall));
    forget();
    disconnect(link);
    link_up();
    take(FAILOVER_STATE);
    send(Message(FAILOVER_UPDDONE, 3)); // late
    EXPECT_EQ(FAILOVER_RECOVER, x->state());
    send(state_message(FAILOVER_PARTNER_DOWN, now.wall));
    uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(FAILOVER_RECOVER_WAIT, x->state());
}

TEST_F(Requests, OneRequestIsOutAtATime) {
    make_known(P, FAILOVER_RECOVER);
    start();
    link_up();
    forget();
    send(state_message(FAILOVER_PARTNER_DOWN, now.wall, true));
    send(state_message(FAILOVER_PARTNER_DOWN, now.wall));
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    EXPECT_EQ(1, std::count_if(in(link).begin(), in(link).end(),
                               [](const Received &r) { return r.m.type == FAILOVER_UPDREQALL; }));
    disconnect(link);
    link_up();
    forget();
    // In one packet: the second comes while the request waits for its turn.
    Bytes both = encode(state_message(FAILOVER_PARTNER_DOWN, now.wall));
    Bytes second = encode(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    both.insert(both.end(), second.begin(), second.end());
    send_bytes(link, both);
    int asked = 0;
    for (Received &r : in(link)) {
        asked += r.m.type == FAILOVER_UPDREQALL;
    }
    EXPECT_EQ(1, asked);
}

TEST_F(Requests, SyncByCommand) {
    start_normal(P);
    failover_why why{};
    ASSERT_TRUE(failover_sync(x->core(), now, &why));
    run();
    uint32_t xid = take(FAILOVER_UPDREQALL).m.xid;
    EXPECT_FALSE(failover_sync(x->core(), now, &why));
    EXPECT_STREQ("the partner has been asked already and has not sent everything yet", why.text);
    send(Message(FAILOVER_UPDDONE, xid));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_TRUE(failover_sync(x->core(), now, &why));
    disconnect(link);
    EXPECT_FALSE(failover_sync(x->core(), now, &why));
    EXPECT_STREQ("there is no connection with the partner", why.text);
}

// ---- PARTNER-DOWN ends when the partner knows what happened in it -----------------------------------------------------

class Closing : public Update {
protected:
    // In PARTNER-DOWN beyond STOS + MCLT; the partner has recovered, and knows everything up to now.
    void recovered() {
        ours = true;
        make_known(P, FAILOVER_PARTNER_DOWN);
        start();
        pass(10000);
        ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
        link_up_in(FAILOVER_RECOVER);
        send(Message(FAILOVER_UPDREQALL, 8));
        acknowledge_all();
        forget();
    }
    void done() {
        send(state_message(FAILOVER_RECOVER_DONE, now.wall));
    }
};

TEST_F(Closing, TheLastLeasesAreToldFirst) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST + 15)) << "the partner's addresses are within reach";
    Received u = take_update();
    done();
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    EXPECT_EQ("", names(link));
    EXPECT_EQ(0u, bind(two, POOL_FIRST + 16)) << "the partner serves as soon as it sees normal";
    send(bndack(u));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_EQ(0, std::count_if(in(link).begin(), in(link).end(),
                               [](const Received &r) { return r.m.type == FAILOVER_UPDDONE; }))
        << "nobody has asked";
}

TEST_F(Closing, NothingToTellIsNothingToWaitFor) {
    recovered();
    done();
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

// Who has recovered too has given nothing of the partner's: each would wait for the other before both serve.
TEST_F(Closing, TwoThatHaveRecoveredDoNotWait) {
    ours = true;
    make_known(P, FAILOVER_RECOVER_DONE);
    start();
    link_up_in(FAILOVER_RECOVER);
    failover_declined(x->core(), POOL_FIRST, now.wall + 500, now);
    run();
    ASSERT_TRUE(x->binding(POOL_FIRST).update_due);
    done();
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

TEST_F(Closing, LaterLeasesAreNotWaitedFor) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    Received u = take_update();
    done();
    ASSERT_NE(0u, bind(two, POOL_FIRST + 1));
    EXPECT_FALSE(x->binding(POOL_FIRST + 1).made_partner_down) << "the partner may extend it: not made alone";
    done(); // says it again
    send(bndack(u));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

TEST_F(Closing, WhatThePartnerDoesNotWantIsNotWaitedFor) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    send(bndack(take_update(), FAILOVER_REJECT_ILLEGAL_IP_ADDRESS));
    done();
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

TEST_F(Closing, WhatWasRejectedIsSentAgain) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    send(bndack(take_update(), FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    done();
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    send(bndack(take_update()));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

TEST_F(Closing, WhatWasAskedForCountsOnce) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    Received u = take_update();
    send(Message(FAILOVER_UPDREQ, 9));
    done();
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    send(bndack(u));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_EQ(9u, take(FAILOVER_UPDDONE).m.xid);
}

TEST_F(Closing, EndsWhereThePartnerFallsBack) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    Received u = take_update();
    done();
    send(state_message(FAILOVER_RECOVER, now.wall));
    send(bndack(u));
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    EXPECT_NE(0u, bind(two, POOL_FIRST + 16)) << "it doesn't serve";
    acknowledge_all();
    done();
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

// The partner serves as soon as it sees normal, and may have extended what is waited for here.
TEST_F(Closing, NoWaitOfPartnerDownEndsAnyMore) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    send(bndack(take_update()));
    release(one, POOL_FIRST); // waits for the partner
    done();
    wait(4000);
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(POOL_FIRST).status);
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    ASSERT_EQ(60u, bind(two, POOL_FIRST + 1));
    wait(62);
    EXPECT_EQ(FAILOVER_EXPIRED, x->binding(POOL_FIRST + 1).status) << "leases end";
    send(state_message(FAILOVER_RECOVER, now.wall));
    pass(1000);
    EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status) << "when it falls back they do";
}

// An operator asks for everything meanwhile.
TEST_F(Closing, AnAnswerOfThePartnersDoesNotEndIt) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    Received u = take_update();
    done();
    failover_why why{};
    ASSERT_TRUE(failover_sync(x->core(), now, &why)) << why.text;
    run();
    send(Message(FAILOVER_UPDDONE, take(FAILOVER_UPDREQALL).m.xid));
    EXPECT_EQ(0u, bind(two, POOL_FIRST + 16));
    send(bndack(u));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

TEST_F(Closing, WhatWasLeasedAloneEndsAtItsEndBeforeThat) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    send(bndack(take_update()));
    wait(61);
    EXPECT_NE(0u, bind(two, POOL_FIRST)) << "rule 5, with a link too: the partner doesn't serve";
}

TEST_F(Closing, TheWaitsOfPartnerDownGoOnWhereTheLinkIsLost) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    send(bndack(take_update()));
    int64_t told = x->binding(POOL_FIRST).acked;
    release(one, POOL_FIRST);
    done();
    ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    disconnect(link);
    pass((told + 60 - now.wall) * 1000);
    EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
}

// It has heard of the lease, and would take no FREE before its end.
TEST_F(Closing, AReleaseIsWaitedForWhereTheLinkIsLost) {
    recovered();
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    send(bndack(take_update()));
    int64_t told = x->binding(POOL_FIRST).acked;
    release(one, POOL_FIRST);
    EXPECT_EQ(0u, bind(two, POOL_FIRST));
    disconnect(link);
    EXPECT_EQ(0u, bind(two, POOL_FIRST));
    pass((told + 60 - now.wall) * 1000);
    EXPECT_NE(0u, bind(two, POOL_FIRST));
}

// ---- A partner that has lost its database -----------------------------------------------------------------------------

// Its agreement to the end of a lease is worth nothing any more: it doesn't know what it has promised.
TEST_F(Update, WhatAForgetfulPartnerMayHavePromisedIsPromised) {
    const struct {
        bool ours, no_record, forgot;
        failover_state before;
        bool counts;
    } cases[] = {{true, true, true, FAILOVER_NORMAL, true},
                 {true, true, false, FAILOVER_NORMAL, true}, // of an older version
                 {true, false, true, FAILOVER_NORMAL, true}, // it has been forced to serve, and to recover again
                 {true, false, false, FAILOVER_NORMAL, false},
                 {false, false, false, FAILOVER_NORMAL, false}}; // a dhcpd doesn't say so
    for (auto &c : cases) {
        SCOPED_TRACE(std::string(c.ours ? "one of ours, from " : "a dhcpd, from ") + failover_state_name(c.before));
        ours = c.ours;
        no_record = forgot = false;
        start_normal(P);
        int64_t told = now.wall + 3630;
        ASSERT_EQ(ACCEPTED,
                  verdict(bndupd(POOL_FIRST, FAILOVER_ACTIVE, &one, now.wall + 60, told, now.wall, now.wall)));
        send(state_message(c.before, now.wall));
        disconnect(link);
        release(one, POOL_FIRST);
        no_record = c.no_record;
        forgot = c.forgot;
        link_up_in(FAILOVER_RECOVER);
        EXPECT_EQ(c.counts ? told + 60 : now.wall, x->binding(POOL_FIRST).ends);
        EXPECT_EQ(FAILOVER_RELEASED, x->binding(POOL_FIRST).status);
        EXPECT_EQ(1u, x->status(now).by_status[FAILOVER_RELEASED]);
        EXPECT_EQ(0, x->binding(POOL_FIRST + 1).ends) << "what was never leased is not";
        x->kill();
        inbox.clear();
    }
}

// It was forced to serve without a record, and what it has promised since it knows.
// That its clock seems behind may only be a slow link: it makes no release later than it says.
TEST_F(Update, AReleaseBeforeTheRenewalHereEndsNothingThoughThePartnersClockSeemsBehind) {
    ours = true;
    skew = -20;
    start_normal(P);
    ASSERT_NE(0u, bind(one, POOL_FIRST));
    acknowledge_all();
    int64_t t = now.wall;
    EXPECT_EQ(OUTDATED, verdict(bndupd(POOL_FIRST, FAILOVER_RELEASED, &one, t - 10, t - 10, t - 10, t - 10)));
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(POOL_FIRST).status);
}

TEST_F(Update, AForgetfulPartnerThatServesHasForgottenNothingAnew) {
    ours = true;
    start_normal(P);
    ASSERT_EQ(ACCEPTED,
              verdict(bndupd(POOL_FIRST, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 3630, now.wall, now.wall)));
    disconnect(link);
    release(one, POOL_FIRST);
    no_record = true;
    link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
    EXPECT_EQ(now.wall, x->binding(POOL_FIRST).ends);
}

// Whichever of the two has told the other; with the MCLT that it had taken.
TEST_F(Update, WhatEitherHasToldAForgetfulPartnerCounts) {
    ours = true;
    for (int64_t failover_binding::*known :
         {&failover_binding::sent, &failover_binding::acked, &failover_binding::received}) {
        make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED, 20, [](failover_config &c) { c.mclt = 20; });
        failover_binding b{};
        b.address = POOL_FIRST;
        b.status = FAILOVER_RELEASED;
        b.owner = FAILOVER_MINE;
        b.starts = b.cltt = b.ends = b.given = now.wall - 100;
        b.sent = b.acked = b.received = now.wall - 500;
        b.*known = now.wall + 500;
        b.update_sent = b.state_sent = true;
        b.client = one;
        x->bindings_[POOL_FIRST] = b;
        start();
        no_record = true;
        link_up_in(FAILOVER_RECOVER);
        EXPECT_EQ(now.wall + 560, x->binding(POOL_FIRST).ends);
        x->kill();
        inbox.clear();
    }
}

// What was told is long over: but it served on until it came to RECOVER.
TEST_F(Update, WhatAForgetfulPartnerMayHaveExtendedIsPromised) {
    ours = no_record = true;
    const struct {
        failover_binding_status status;
        int64_t stos, ends;
    } cases[] = {{FAILOVER_ACTIVE, -30, 35},     {FAILOVER_EXPIRED, -30, 35}, {FAILOVER_RELEASED, -30, 35},
                 {FAILOVER_RELEASED, 100, 60},   {FAILOVER_RELEASED, -64, 1}, {FAILOVER_RELEASED, -65, -100},
                 {FAILOVER_ABANDONED, -30, -100}};
    for (auto &c : cases) {
        SCOPED_TRACE(std::string(failover_binding_status_name(c.status)) + ", " + std::to_string(c.stos));
        make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
        failover_binding b{};
        b.address = POOL_FIRST;
        b.status = c.status;
        b.owner = FAILOVER_MINE;
        b.starts = b.cltt = now.wall - 200;
        b.ends = b.given = now.wall + (c.status == FAILOVER_ACTIVE ? 10 : -100);
        b.sent = b.acked = b.received = now.wall - 500;
        b.update_sent = b.state_sent = true;
        b.client = one;
        x->bindings_[POOL_FIRST] = b;
        start();
        link_up_in(FAILOVER_RECOVER, now.wall + c.stos);
        EXPECT_EQ(c.ends, x->binding(POOL_FIRST).ends - now.wall);
        x->kill();
        inbox.clear();
    }
}

TEST_F(Update, WhatAForgetfulPartnerCannotHavePromisedStays) {
    ours = true;
    make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    auto had = [&](uint32_t n, failover_binding_status status, int64_t ends, int64_t known) {
        failover_binding b{};
        b.address = POOL_FIRST + n;
        b.status = status;
        b.owner = FAILOVER_MINE;
        b.starts = b.cltt = now.wall - 5000;
        b.ends = b.given = now.wall + ends;
        b.sent = b.acked = b.received = now.wall + known;
        b.update_sent = b.state_sent = true;
        b.client = one;
        x->bindings_[b.address] = b;
    };
    had(0, FAILOVER_FREE, -10, -5);       // given back by both
    had(1, FAILOVER_ABANDONED, -10, -60); // the MCLT is past
    had(2, FAILOVER_ACTIVE, 5000, 4940);  // as long as that is promised anyway
    start();
    pass(10000);
    no_record = true;
    link_up_in(FAILOVER_RECOVER);
    for (auto &[address, before] : x->bindings_) {
        EXPECT_EQ(before.ends, x->binding(address).ends) << address - POOL_FIRST;
    }
    EXPECT_EQ(now.wall - 10 + 5000, x->binding(POOL_FIRST + 2).ends);
    EXPECT_EQ(now.wall - 10 - 10, x->binding(POOL_FIRST).ends);
    EXPECT_EQ(now.wall - 10 - 10, x->binding(POOL_FIRST + 1).ends);
    EXPECT_FALSE(x->binding(POOL_FIRST + 2).update_due) << "there is nothing to tell";
}

// The row of a renewal here, whose record was lost: by the partner's clock, which is ahead, its grant seems the later.
TEST_F(Update, ARowOfThisServersCountsThoughThePartnersClockIsAhead) {
    const struct {
        int64_t row_cltt, row_ends;
        bool counts;
    } cases[] = {{-10, 50, true}, {-26, 50, false}, {-5, 60, false}}; // the last is the row of the partner's grant
    for (auto &c : cases) {
        SCOPED_TRACE(c.row_cltt);
        make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
        x->record_->skew = 20;
        failover_binding b{};
        b.address = POOL_FIRST;
        b.status = FAILOVER_ACTIVE;
        b.owner = FAILOVER_MINE;
        b.starts = now.wall - 50;
        b.cltt = now.wall - 5;
        b.given = now.wall + 60;
        b.ends = now.wall + 100;
        b.update_sent = b.state_sent = true;
        b.client = one;
        x->bindings_[POOL_FIRST] = b;
        x->rows_[POOL_FIRST] = Server::Row{one, now.wall + c.row_cltt, now.wall + c.row_ends};
        start();
        EXPECT_EQ(c.counts, x->binding(POOL_FIRST).granted_here);
        EXPECT_EQ(100, x->binding(POOL_FIRST).ends - now.wall);
        x->kill();
        inbox.clear();
    }
}

// The end of the lease before, its being free, and the lease of Kea's row are not on the disk: the row alone is.
TEST_F(Update, WhatThePartnerMayHavePromisedOutlivesALeaseOfKeas) {
    for (failover_binding_status status : {FAILOVER_ABANDONED, FAILOVER_EXPIRED, FAILOVER_FREE}) {
        make_known(P, FAILOVER_COMMUNICATIONS_INTERRUPTED);
        failover_binding b{};
        b.address = POOL_FIRST;
        b.status = status;
        b.owner = FAILOVER_MINE;
        b.starts = b.cltt = now.wall - 50;
        b.received = now.wall + 500;
        b.update_sent = b.state_sent = true;
        x->bindings_[POOL_FIRST] = b;
        x->rows_[POOL_FIRST] = Server::Row{one, now.wall - 10, now.wall + 50};
        start();
        ASSERT_EQ(FAILOVER_ACTIVE, x->binding(POOL_FIRST).status);
        EXPECT_EQ(status == FAILOVER_FREE ? 50 : 500, x->binding(POOL_FIRST).sent - now.wall);
        EXPECT_EQ(0, x->binding(POOL_FIRST).acked) << "it is no licence for a longer lease";
        EXPECT_TRUE(x->binding(POOL_FIRST).update_sent)
            << "it may be the partner's: its end alone is not enough to wait for";
        x->kill();
        inbox.clear();
    }
}

TEST_F(Update, APartnerGetsBackWhatItHasToldItself) {
    start_normal(P);
    int64_t told = now.wall + 3630;
    ASSERT_EQ(ACCEPTED, verdict(bndupd(POOL_FIRST, FAILOVER_ACTIVE, &one, now.wall + 60, told, now.wall, now.wall)));
    send(Message(FAILOVER_UPDREQALL, 5));
    int64_t potential = 0;
    for (Received &r : acknowledge_all()) {
        if (r.m.assigned_ip_address == POOL_FIRST) {
            potential = r.m.potential_expiration_time;
        }
    }
    EXPECT_EQ(told, potential) << "else both would forget it, and the lease would shrink to the MCLT";
}

// ---- Two of ours that don't agree at all ----------------------------------------------------------------------------

// Whatever their databases say, they come to rest (settle() fails the test where they don't), and agree on
// every address but for what is documented: two living leases of two clients are a clash, which the primary's
// client wins.
class Diverged : public Pair {
protected:
    std::mt19937_64 random;

    int64_t some(int64_t from, int64_t to) {
        return from + int64_t(random() % uint64_t(to - from + 1));
    }
    failover_binding any_binding(uint32_t address) {
        failover_binding b{};
        static const failover_binding_status statuses[] = {FAILOVER_FREE,    FAILOVER_ACTIVE,   FAILOVER_ACTIVE,
                                                           FAILOVER_EXPIRED, FAILOVER_RELEASED, FAILOVER_ABANDONED,
                                                           FAILOVER_RESET};
        b.address = address;
        b.status = statuses[some(0, 6)];
        b.owner = some(0, 1) == 0 ? FAILOVER_MINE : FAILOVER_PARTNERS;
        b.cltt = now.wall - some(1, 500);
        b.starts = b.cltt - some(0, 100);
        bool lives = b.status == FAILOVER_ACTIVE || b.status == FAILOVER_ABANDONED;
        b.ends = b.given = lives ? now.wall + some(-100, 3000) : now.wall - some(0, 300);
        if (b.status == FAILOVER_FREE && some(0, 3) == 0) {
            b.ends = now.wall + some(0, 100);
        }
        b.sent = now.wall + some(-100, 5000);
        b.acked = now.wall + some(-100, 5000);
        b.received = now.wall + some(-100, 5000);
        b.xid = uint32_t(some(0, 5));
        b.update_due = some(0, 1) == 1;
        b.update_sent = some(0, 1) == 1;
        b.state_sent = b.update_sent;
        b.granted_here = some(0, 1) == 1;
        b.made_partner_down = some(0, 5) == 0;
        if (b.status != FAILOVER_ABANDONED) {
            b.client = make_client(unsigned(some(1, 4)), some(0, 1) == 1);
        }
        return b;
    }
    void corrupt(Server &x, failover_state state) {
        failover_record r{};
        r.state = state;
        r.stos = now.wall - some(0, 200);
        r.partner_state = failover_state(some(1, 12));
        r.partner_stos = now.wall - some(0, 200);
        r.mclt = 60;
        r.mclt_taken = now.wall - 1000;
        r.acting_primary = some(0, 1) == 0 ? FAILOVER_PRIMARY : FAILOVER_SECONDARY;
        r.acting_since = some(0, 1) == 0 ? 0 : now.wall - some(0, 200);
        r.epoch = 3;
        r.default_owner = x.config_.role == FAILOVER_PRIMARY ? FAILOVER_MINE : FAILOVER_PARTNERS;
        r.last_served = now.wall - some(0, 100);
        r.last_granted = now.wall - some(0, 300);
        failover_hba_from_split_into(r.hba);
        r.hba_known = true;
        x.record_ = r;
        for (uint32_t a = x.first_; a <= x.last_; a++) {
            if (some(0, 3) > 0) {
                x.bindings_[a] = any_binding(a);
            }
            if (some(0, 3) == 0) {
                failover_binding b = any_binding(a);
                x.rows_[a] = Server::Row{make_client(unsigned(some(1, 4))), b.cltt, b.cltt + some(0, 4000)};
            }
        }
    }
    static void failover_hba_from_split_into(uint8_t *hba) {
        std::fill(hba, hba + 16, 0xff);
        std::fill(hba + 16, hba + FAILOVER_HBA_SIZE, 0);
    }
    std::string disagreement() {
        std::string all;
        for (uint32_t a = p->first_; a <= p->last_; a++) {
            failover_binding b = p->binding(a), c = s->binding(a);
            bool same = b.status == c.status;
            if (same && b.status == FAILOVER_FREE) {
                same = b.owner != c.owner;
            }
            if (same && b.status == FAILOVER_ACTIVE) {
                same = failover_same_client(&b.client, &c.client);
            }
            if (!same || b.update_due || c.update_due) {
                all += dotted(a) + " " + failover_binding_status_name(b.status) + (b.update_due ? " due" : "") + " " +
                       failover_owner_name(b.owner) + ", " + failover_binding_status_name(c.status) +
                       (c.update_due ? " due" : "") + " " + failover_owner_name(c.owner) + "; ";
            }
        }
        return all;
    }
};

TEST_F(Diverged, ComeToRestAndAgree) {
    const char *seeds = getenv("FAILOVER_SOAK_SEEDS");
    int count = seeds != nullptr ? atoi(seeds) : 100;
    for (int seed = 1; seed <= count && !HasFailure(); seed++) {
        SCOPED_TRACE("seed " + std::to_string(seed));
        random.seed(uint64_t(seed));
        now = failover_clock{1800000000, 1000000};
        make(24, [&](failover_config &c) {
            c.interrupted_leases = some(0, 1) == 0 ? FAILOVER_REPLACE : FAILOVER_EXTEND;
            c.max_unacked_updates = some(0, 1) == 0 ? 1 : 100;
        });
        s->config_.mclt = 60;
        static const failover_state states[] = {FAILOVER_NORMAL,        FAILOVER_COMMUNICATIONS_INTERRUPTED,
                                                FAILOVER_PARTNER_DOWN,  FAILOVER_POTENTIAL_CONFLICT,
                                                FAILOVER_RECOVER,       FAILOVER_RECOVER_WAIT,
                                                FAILOVER_RECOVER_DONE,  FAILOVER_RESOLUTION_INTERRUPTED,
                                                FAILOVER_CONFLICT_DONE, FAILOVER_SHUTDOWN};
        failover_state of_p = states[some(0, 9)], of_s = states[some(0, 9)];
        if (of_p == FAILOVER_CONFLICT_DONE && of_s == FAILOVER_CONFLICT_DONE) {
            of_s = FAILOVER_NORMAL; // 9.12.1: only one of the two ever enters it
        }
        corrupt(*p, of_p);
        corrupt(*s, of_s);
        start();
        pass(300);
        EXPECT_EQ(FAILOVER_NORMAL, p->state()) << failover_state_name(of_p) << " and " << failover_state_name(of_s)
                                               << ", S " << failover_state_name(s->state());
        EXPECT_EQ(FAILOVER_NORMAL, s->state());
        // What both take for told is not compared by itself: failover-sync is for that.
        for (Server *x : {p.get(), s.get()}) {
            failover_why why{};
            EXPECT_TRUE(failover_sync(x->core_, now, &why)) << why.text;
            settle();
            pass(100);
        }
        EXPECT_EQ("", disagreement());
        uint64_t sent = failover_get_counters(p->core_)->updates_sent + failover_get_counters(s->core_)->updates_sent;
        EXPECT_LT(sent, 24u * 20) << "no ping-pong";
        p->kill();
        s->kill();
    }
}
