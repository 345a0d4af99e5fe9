// SPDX-License-Identifier: MPL-2.0
//
// What concerns many bindings at once: the answer to UPDREQALL, the marks before a send, the promises of a partner that
// has forgotten. It is done in portions, its progress is told, and no rule waits for a later portion.
#include "core.h"
#include "partner.h"
#include "state.h"

using namespace failover_test;

namespace {

class Transfer : public Scripted {
protected:
    static constexpr uint32_t MANY = 5000;
    const failover_client one = make_client(1, true), two = make_client(2);

    // A record of an earlier life, and the first `count` addresses leased, `change` made to each.
    void make_leases(uint32_t count, uint32_t addresses, std::function<void(failover_binding &)> change = nullptr,
                     failover_state state = FAILOVER_COMMUNICATIONS_INTERRUPTED) {
        ours = true;
        partner_max_unacked = 100;
        partner_receive_timer = 300; // no CONTACT is due while a test lasts
        make_known(FAILOVER_PRIMARY, state, 20);
        failover_record record = *x->record_;
        make(FAILOVER_PRIMARY, addresses);
        x->record_ = record;
        for (uint32_t i = 0; i < count; i++) {
            lease(POOL_FIRST + i, change);
        }
    }
    void lease(uint32_t address, std::function<void(failover_binding &)> change = nullptr) {
        failover_binding b{};
        b.address = address;
        b.status = FAILOVER_ACTIVE;
        b.owner = FAILOVER_MINE;
        b.client = one;
        b.starts = b.cltt = now.wall - 100;
        b.ends = b.given = now.wall + 3600;
        b.sent = b.acked = now.wall + 5000;
        b.update_sent = b.state_sent = b.granted_here = true;
        b.xid = 9;
        if (change) {
            change(b);
        }
        x->bindings_[address] = b;
    }
    static void unknown_to_partner(failover_binding &b) {
        b.acked = 0;
        b.update_due = true;
    }
    void start_linked(failover_state partner = FAILOVER_RECOVER) {
        start();
        link_up();
        send(state_message(partner, now.wall));
    }
    failover_transfer transfer() {
        return x->status(now).transfer;
    }
    uint64_t queued() {
        return x->status(now).updates_queued;
    }
    // The BNDUPDs that have come; at most `count` of them are acknowledged at once.
    std::vector<uint32_t> acknowledge(size_t count = SIZE_MAX) {
        std::vector<uint32_t> addresses;
        std::deque<Received> rest;
        for (Received &r : std::exchange(inbox[link], {})) {
            if (r.m.type != FAILOVER_BNDUPD) {
                others.push_back(r.m.type);
            } else if (addresses.size() < count) {
                addresses.push_back(r.m.assigned_ip_address);
                send(bndack(r));
            } else {
                rest.push_back(std::move(r));
            }
        }
        inbox[link].insert(inbox[link].begin(), std::make_move_iterator(rest.begin()),
                           std::make_move_iterator(rest.end()));
        return addresses;
    }
    size_t acknowledge_everything() {
        size_t all = 0;
        for (size_t n = acknowledge().size(); n > 0; n = acknowledge().size()) {
            all += n;
        }
        return all;
    }
    bool is_done() const {
        return std::count(others.begin(), others.end(), FAILOVER_UPDDONE) > 0;
    }
    size_t lines(const std::string &text) const {
        return size_t(std::count_if(x->log_.begin(), x->log_.end(),
                                    [&](auto &line) { return line.find(text) != std::string::npos; }));
    }
    // Those of the first `count` addresses whose binding on disk is so.
    size_t on_disk(uint32_t count, const std::function<bool(const failover_binding &)> &is_so) {
        size_t found = 0;
        for (uint32_t i = 0; i < count; i++) {
            found += is_so(x->bindings_[POOL_FIRST + i]);
        }
        return found;
    }

    std::vector<uint8_t> others; // messages that are no BNDUPD
};

// ---- Progress -------------------------------------------------------------------------------------------------------

TEST_F(Transfer, TellsHowFarAnAnswerIs) {
    make_leases(3000, 4000);
    start_linked();
    EXPECT_FALSE(transfer().sending || transfer().receiving) << "before the question";
    send(Message(FAILOVER_UPDREQALL, 77));
    EXPECT_TRUE(x->logged("the partner asks for everything: 3000 bindings"));
    EXPECT_TRUE(transfer().sending);
    EXPECT_FALSE(transfer().receiving);
    EXPECT_EQ(3000u, transfer().expected);
    EXPECT_EQ(0u, transfer().bindings);
    EXPECT_EQ(-1, transfer().left) << "nothing is known of its speed yet";
    size_t acknowledged = 0;
    while (acknowledged < 1000) {
        acknowledged += acknowledge(100).size();
    }
    pass(5000);
    EXPECT_EQ(1000u, transfer().bindings);
    EXPECT_EQ(5, transfer().seconds);
    EXPECT_EQ(10, transfer().left);
    pass(4900);
    EXPECT_EQ(0u, lines("are sent")) << "every ten seconds";
    EXPECT_EQ(now.mono + 100, failover_deadline(x->core()));
    pass(200);
    EXPECT_EQ(1u, lines("1000 of 3000 bindings that the partner asked for are sent (33 %), 20 s to go"));
    pass(9800);
    EXPECT_EQ(1u, lines("are sent"));
    pass(300);
    EXPECT_EQ(2u, lines("are sent"));
    EXPECT_EQ(2000u, acknowledge_everything());
    EXPECT_TRUE(is_done());
    EXPECT_FALSE(transfer().sending);
    pass(11000);
    EXPECT_EQ(2u, lines("are sent")) << "it is over";
}

TEST_F(Transfer, ExpectsNoFewerThanThereWere) {
    make_leases(10, 20);
    start_linked();
    partner_max_unacked = 1;
    send(Message(FAILOVER_UPDREQALL, 77));
    EXPECT_EQ(10u, transfer().expected);
    x->core()->requests.answered = 12; // two were leased first meanwhile
    EXPECT_EQ(12u, transfer().expected);
    EXPECT_EQ(0, transfer().left);
}

TEST_F(Transfer, AnAnswerWithNothingInItIsWhole) {
    make_leases(1, 20);
    start_linked();
    send(Message(FAILOVER_UPDREQALL, 77));
    x->core()->requests.expected = 0; // as while a big pool is looked through of which nothing was ever used
    EXPECT_EQ(100u, transfer().percent);
}

TEST_F(Transfer, AnUpdreqIsForWhatThePartnerDoesNotKnow) {
    make_leases(300, 400);
    for (uint32_t i = 5; i < 10; i++) {
        lease(POOL_FIRST + i, unknown_to_partner);
    }
    start_linked();
    send(Message(FAILOVER_UPDREQ, 77));
    EXPECT_TRUE(x->logged("the partner asks for updates: 5 bindings"));
    EXPECT_EQ(5u, transfer().expected);
    EXPECT_EQ(5u, acknowledge_everything());
    EXPECT_TRUE(is_done());
}

TEST_F(Transfer, AnUpdreqWithNothingToTellMakesNoEntries) {
    make_leases(0, 1000);
    start_linked();
    x->core()->table.unused.count = 0; // none could be made without a new chunk
    uint32_t records = x->core()->table.record_count;
    send(Message(FAILOVER_UPDREQ, 77));
    acknowledge();
    EXPECT_TRUE(is_done());
    EXPECT_EQ(records, x->core()->table.record_count);
}

TEST_F(Transfer, TellsHowMuchHasCome) {
    make_leases(0, 100, nullptr, FAILOVER_RECOVER);
    start_linked(FAILOVER_COMMUNICATIONS_INTERRUPTED);
    ASSERT_TRUE(transfer().receiving);
    forget();
    EXPECT_FALSE(transfer().sending);
    for (uint32_t i = 0; i < 7; i++) {
        update(bndupd(POOL_FIRST + i, FAILOVER_ACTIVE, &one, now.wall + 60, now.wall + 90, now.wall, now.wall));
    }
    EXPECT_EQ(7u, transfer().bindings);
    EXPECT_EQ(0u, transfer().expected) << "the partner doesn't say";
    EXPECT_EQ(0, transfer().left);
    pass(9900);
    EXPECT_EQ(now.mono + 100, failover_deadline(x->core()));
    EXPECT_EQ(0u, lines("have come from the partner"));
    pass(200);
    EXPECT_EQ(1u, lines("7 bindings have come from the partner, in 10 s"));
}

// ---- Portions of an answer --------------------------------------------------------------------------------------------

TEST_F(Transfer, IsQueuedNoFurtherAheadThanThePartnerTakesIt) {
    make_leases(MANY, MANY);
    start_linked();
    send(Message(FAILOVER_UPDREQALL, 77));
    size_t all = 0;
    int full = 0;
    for (std::vector<uint32_t> some; all < MANY && !(some = acknowledge(50)).empty(); all += some.size()) {
        run();
        EXPECT_LE(queued(), 1024u);
        EXPECT_LE(x->status(now).updates_unacked, 100u);
        if (queued() == 1024) {
            full++;
            EXPECT_GT(failover_deadline(x->core()), now.mono + 1) << "there is nothing to do before an answer";
        }
    }
    EXPECT_GT(full, 10);
    EXPECT_EQ(MANY, all);
    acknowledge();
    EXPECT_TRUE(is_done());
}

TEST_F(Transfer, ALargePoolIsSearchedInPortions) {
    const uint32_t LAST = POOL_FIRST + 99999;
    make_leases(1, 100000);
    lease(LAST);
    start_linked();
    Bytes question = encode(Message(FAILOVER_UPDREQALL, 77));
    failover_received(x->core(), link, question.data(), question.size(), now);
    EXPECT_TRUE(x->core()->requests.scanning);
    EXPECT_EQ(1u, x->core()->requests.outstanding) << "the search begins at once";
    EXPECT_EQ(now.mono + 1, failover_deadline(x->core())) << "a pause for the clients";
    run();
    EXPECT_EQ(std::vector<uint32_t>{POOL_FIRST}, acknowledge());
    EXPECT_TRUE(x->core()->requests.scanning);
    EXPECT_EQ(std::string::npos, names(link).find("UPDDONE")) << "nothing is outstanding, but who knows what comes";
    pass(100);
    EXPECT_EQ(std::vector<uint32_t>{LAST}, acknowledge());
    acknowledge();
    EXPECT_TRUE(is_done());
}

TEST_F(Transfer, WhatIsToldAgainIsNotWrittenAgain) {
    make_leases(3, 20);
    lease(POOL_FIRST + 1, [](failover_binding &b) { b.acked = b.sent - 1; });
    lease(POOL_FIRST + 2, unknown_to_partner);
    start_linked();
    acknowledge_everything();
    send(Message(FAILOVER_UPDREQALL, 77));
    int before = x->stored_;
    EXPECT_EQ(3u, acknowledge_everything());
    EXPECT_EQ(before + 1, x->stored_) << "for what was acknowledged to another end";
    EXPECT_EQ(now.wall + 5000, x->binding(POOL_FIRST + 1).acked);
    disconnect(link);
    EXPECT_EQ(0u, queued()) << "nor told a third time";
}

TEST_F(Transfer, ALeaseThatChangesWhileItIsToldAgainIsToldOnceMore) {
    make_leases(1, 20);
    start_linked();
    forget();
    send(Message(FAILOVER_UPDREQALL, 77));
    ASSERT_EQ(1u, inbox[link].size());
    release(one, POOL_FIRST);
    EXPECT_EQ(std::vector<uint32_t>{POOL_FIRST}, acknowledge());
    EXPECT_EQ(FAILOVER_RELEASED, x->binding(POOL_FIRST).status);
    EXPECT_EQ(std::vector<uint32_t>{POOL_FIRST}, acknowledge()) << "the release";
    EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
}

TEST_F(Transfer, AnEndThatIsToldAgainFreesTheAddress) {
    make_leases(0, 20);
    lease(POOL_FIRST, [this](failover_binding &b) {
        b.status = FAILOVER_RELEASED;
        b.ends = b.sent = b.acked = now.wall - 10;
    });
    start_linked();
    send(Message(FAILOVER_UPDREQALL, 77));
    EXPECT_EQ(1u, acknowledge_everything());
    EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
}

TEST_F(Transfer, ALostLinkForgetsWhatWasAskedForAndNothingElse) {
    make_leases(3000, 4000);
    lease(POOL_FIRST + 7, unknown_to_partner);
    start_linked();
    EXPECT_EQ(0u, queued());
    send(Message(FAILOVER_UPDREQALL, 77));
    EXPECT_GT(queued(), 500u);
    disconnect(link);
    EXPECT_EQ(1u, queued()) << "what the partner doesn't know";
    EXPECT_FALSE(transfer().sending);
    forget();
    link_up();
    send(state_message(FAILOVER_RECOVER, now.wall));
    EXPECT_EQ(std::vector<uint32_t>{POOL_FIRST + 7}, acknowledge());
}

TEST_F(Transfer, ARejectedAnswerIsNoUpdateThatWaits) {
    make_leases(2, 20);
    lease(POOL_FIRST + 1, unknown_to_partner);
    start_linked();
    send(Message(FAILOVER_UPDREQALL, 77));
    for (Received &r : std::exchange(inbox[link], {})) {
        if (r.m.type == FAILOVER_BNDUPD) {
            send(bndack(r, FAILOVER_REJECT_OUTDATED_BINDING_INFORMATION));
        }
    }
    forget();
    pass(29000);
    send(Message(FAILOVER_CONTACT, partner_xid++));
    pass(2000);
    EXPECT_EQ(std::vector<uint32_t>{POOL_FIRST + 1}, acknowledge()) << "the one that the partner has yet to learn";
}

// ---- Marks before a send ----------------------------------------------------------------------------------------------

TEST_F(Transfer, NothingLeavesThatIsNotMarkedOnDisk) {
    make_leases(MANY, MANY, [](failover_binding &b) {
        unknown_to_partner(b);
        b.update_sent = b.address % 2 == 0;
        b.state_sent = b.address % 3 == 0;
    });
    auto is_marked = [](const failover_binding &b) { return b.update_sent && b.state_sent; };
    start();
    size_t before = on_disk(MANY, is_marked);
    x->disk_works_ = false;
    link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
    EXPECT_EQ(0u, acknowledge().size()) << "the disk has none of the marks";
    x->disk_works_ = true;
    run();
    EXPECT_LE(on_disk(MANY, is_marked), before + 512) << "one portion";
    size_t all = 0;
    for (size_t n = 1; n > 0; all += n) {
        for (const Received &r : inbox[link]) {
            EXPECT_TRUE(r.m.type != FAILOVER_BNDUPD || is_marked(x->bindings_[r.m.assigned_ip_address]));
        }
        n = acknowledge(100).size();
    }
    EXPECT_EQ(MANY, all);
}

// ---- A partner that has forgotten -------------------------------------------------------------------------------------

class Forgetful : public Transfer {
protected:
    int64_t promised = 0; // from when it served last, which is now

    // All of them were released before the partner came to RECOVER without a record.
    void meet(std::function<void(failover_binding &)> change = nullptr, failover_state state = FAILOVER_NORMAL) {
        make_leases(
            MANY, MANY,
            [&](failover_binding &b) {
                b.status = FAILOVER_RELEASED;
                b.ends = b.given = b.cltt = now.wall - 50;
                b.sent = b.acked = b.received = now.wall + 1000;
                if (change) {
                    change(b);
                }
            },
            state);
        start();
        promised = now.wall + 1000 + 60;
        no_record = forgot = true;
        link_up();
        Bytes bytes = encode(state_message(FAILOVER_RECOVER, now.wall));
        failover_received(x->core(), link, bytes.data(), bytes.size(), now);
    }
    size_t counted() {
        size_t found = 0;
        for (uint32_t i = 0; i < MANY; i++) {
            found += x->binding(POOL_FIRST + i).ends == promised;
        }
        return found;
    }
};

TEST_F(Forgetful, ItsPromisesAreCountedInPortions) {
    meet();
    EXPECT_GT(counted(), 0u) << "at once";
    EXPECT_LE(counted(), 2048u);
    run();
    EXPECT_LE(counted(), 4096u);
    EXPECT_EQ(now.mono + 1, failover_deadline(x->core()));
    pass(100);
    EXPECT_EQ(MANY, counted());
    EXPECT_GT(failover_deadline(x->core()), now.mono + 1) << "and that was all";
}

TEST_F(Forgetful, NoFurtherAheadThanTheDiskTakesThem) {
    meet();
    x->disk_works_ = false;
    pass(100);
    EXPECT_LT(counted(), MANY);
    EXPECT_GT(failover_deadline(x->core()), now.mono + 1) << "it waits for the disk";
    x->disk_works_ = true;
    run();
    pass(100);
    EXPECT_EQ(MANY, counted());
}

TEST_F(Forgetful, WhatItWasNeverToldIsNoPromise) {
    meet([](failover_binding &b) {
        b.update_sent = b.state_sent = false;
        b.update_due = true;
    });
    pass(100);
    EXPECT_EQ(512u, counted()) << "what was marked as sent before its STATE said that it has forgotten";
}

// The last address comes with the last portion.
TEST_F(Forgetful, WhatIsDoneBeforeItsPortionComesIsDoneWithItCounted) {
    const uint32_t RELEASED = POOL_FIRST + MANY - 1, DECLINED = RELEASED - 1, UPDATED = RELEASED - 2;
    meet([&](failover_binding &b) {
        if (b.address >= UPDATED) {
            b.status = FAILOVER_ACTIVE;
            b.ends = b.given = b.address == UPDATED ? now.wall - 50 : now.wall + 100;
        }
    });
    ASSERT_EQ(now.wall - 50, x->binding(UPDATED).ends) << "its portion has yet to come";
    failover_released(x->core(), RELEASED, &one, now);
    failover_declined(x->core(), DECLINED, now.wall + 500, now);
    Bytes bytes = encode(bndupd(UPDATED, FAILOVER_ACTIVE, &two, now.wall + 60, now.wall + 90, now.wall, now.wall));
    failover_received(x->core(), link, bytes.data(), bytes.size(), now);
    EXPECT_EQ(promised, x->binding(UPDATED).ends) << "it may have promised that, and has forgotten it";
    EXPECT_EQ(1u, x->status(now).counters.clashes);
    int64_t released = now.wall, declined = now.wall + 500;
    pass(100);
    EXPECT_EQ(released, x->binding(RELEASED).ends) << "its client has ended the lease itself";
    EXPECT_EQ(declined, x->binding(DECLINED).ends);
    EXPECT_EQ(promised, x->binding(UPDATED).ends);
}

TEST_F(Forgetful, NothingEndsBeforeItsPortionComes) {
    const uint32_t LAST = POOL_FIRST + MANY - 1;
    meet(
        [&](failover_binding &b) {
            if (b.address == LAST) {
                b.status = FAILOVER_ACTIVE;
                b.ends = b.given = now.wall + 5;
            }
        },
        FAILOVER_PARTNER_DOWN);
    x->disk_works_ = false; // which holds the portions up
    now.mono += 10000;
    now.wall += 10;
    for (int turns = 0; turns < 5; turns++) {
        run();
    }
    ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    EXPECT_EQ(FAILOVER_ACTIVE, x->binding(LAST).status);
    EXPECT_EQ(promised, x->binding(LAST).ends);
}

// The disk hangs, so Kea's row is given again; but the row ends when this client's lease does.
TEST_F(Forgetful, WhatItMayHavePromisedIsNotGivenToTheClientHere) {
    meet([&](failover_binding &b) {
        b.status = FAILOVER_ACTIVE;
        b.ends = b.given = now.wall + 90;
        b.acked = b.sent = now.wall + 80;
    });
    x->disk_works_ = false;
    ASSERT_EQ(promised, x->binding(POOL_FIRST).ends);
    ASSERT_FALSE(failover_is_on_disk(x->core(), POOL_FIRST));
    desired = 50;
    EXPECT_EQ(90u, bind(one, POOL_FIRST));
}

TEST_F(Forgetful, WhatIsToldBeforeItsPortionComesIsToldWithItCounted) {
    meet([](failover_binding &b) { b.update_due = b.address == POOL_FIRST + MANY - 1; });
    run(); // which writes it down
    run();
    Received r;
    for (Received &one : std::exchange(inbox[link], {})) {
        if (one.m.assigned_ip_address == POOL_FIRST + MANY - 1) {
            r = std::move(one);
        }
    }
    ASSERT_EQ(FAILOVER_BNDUPD, r.m.type);
    EXPECT_EQ(promised, r.m.lease_expiration_time);
}

// ---- Gifts ------------------------------------------------------------------------------------------------------------

class Gifts : public Transfer {
protected:
    // In NORMAL with so many free addresses, all this server's, of which the first portion is given.
    void begin(uint32_t addresses) {
        make_leases(0, addresses, nullptr, FAILOVER_NORMAL);
        start();
        link_up();
        Bytes bytes = encode(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
        failover_received(x->core(), link, bytes.data(), bytes.size(), now);
    }
    uint64_t given() {
        return x->status(now).by_status[FAILOVER_BACKUP];
    }
    bool rests() {
        return failover_deadline(x->core()) > now.mono + 100;
    }
};

TEST_F(Gifts, ComeInPortionsAsThePartnerTakesThem) {
    begin(40000);
    EXPECT_EQ(1024u, given());
    EXPECT_TRUE(x->logged("1024 free addresses go to the partner, more will follow"));
    run();
    run();
    EXPECT_EQ(1024u, given()) << "the partner has yet to take half of these";
    EXPECT_EQ(20000u, acknowledge_everything());
    EXPECT_EQ(20000u, given());
    EXPECT_TRUE(rests()) << "that was all";
}

TEST_F(Gifts, MoreFollowWhenLessThanHalfOfThemWait) {
    begin(40000);
    run();
    while (queued() > 512) {
        ASSERT_EQ(1024u, given());
        ASSERT_EQ(1u, acknowledge(1).size());
        x->commit(now);
    }
    failover_tick(x->core(), now);
    ASSERT_EQ(512u, queued());
    EXPECT_EQ(1024u, given()) << "half of them";
    EXPECT_LT(now.mono, failover_deadline(x->core()));
    acknowledge(1);
    EXPECT_GE(now.mono, failover_deadline(x->core())) << "there is room for more now";
    run();
    EXPECT_EQ(2048u, given());
}

TEST_F(Gifts, AFullPortionMayBeTheLast) {
    begin(2048);
    EXPECT_EQ(1024u, given());
    EXPECT_TRUE(x->logged("1024 free addresses go to the partner"));
    EXPECT_FALSE(x->logged("more will follow"));
}

TEST_F(Gifts, OfOnePoolFollowThoughTheNextPoolHasEnough) {
    make_leases(0, 40000, nullptr, FAILOVER_NORMAL);
    x->other_pools_ = {{POOL_FIRST + 100000, POOL_FIRST + 100009}};
    start();
    link_up();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    acknowledge_everything();
    EXPECT_EQ(20005u, given());
}

TEST_F(Gifts, NoneAreDueWhileTheLinkIsDown) {
    begin(40000);
    run();
    while (queued() >= 512) {
        ASSERT_FALSE(acknowledge(1).empty());
        x->commit(now);
    }
    disconnect(link);
    ASSERT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    run();
    EXPECT_TRUE(rests()) << "the core would be called again and again";
    EXPECT_EQ(1024u, given());
}

// ---- Back from PARTNER-DOWN ---------------------------------------------------------------------------------------------

TEST_F(Transfer, LeavingPartnerDownWritesWhatWasLeasedAloneAndNothingElse) {
    make_leases(50, 100, nullptr, FAILOVER_PARTNER_DOWN);
    start();
    pass(20000);
    ASSERT_NE(0u, bind(one, POOL_FIRST + 60));
    ASSERT_TRUE(x->bindings_[POOL_FIRST + 60].made_partner_down);
    uint64_t before = failover_sequence(x->core());
    state_enter(x->core(), FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall);
    run();
    EXPECT_LT(failover_sequence(x->core()), before + 10);
    EXPECT_FALSE(x->bindings_[POOL_FIRST + 60].made_partner_down);
}

TEST_F(Transfer, WhatWasLeasedWhileItWasBeingLeftHidesNothing) {
    make_leases(0, 100, nullptr, FAILOVER_PARTNER_DOWN);
    start();
    pass(20000);
    ASSERT_NE(0u, bind(one, POOL_FIRST + 60));
    link_up();
    send(state_message(FAILOVER_RECOVER, now.wall));
    send(state_message(FAILOVER_RECOVER_DONE, now.wall));
    ASSERT_TRUE(x->core()->requests.closing);
    ASSERT_NE(0u, bind(two, POOL_FIRST + 61));
    ASSERT_FALSE(x->bindings_[POOL_FIRST + 61].made_partner_down);
    acknowledge_everything();
    ASSERT_EQ(FAILOVER_NORMAL, x->state());
    EXPECT_FALSE(x->bindings_[POOL_FIRST + 60].made_partner_down);
}

// Who is silent ends no lease, nor one that is scheduled anew with a later portion.
TEST_F(Transfer, NothingEndsThatWasDueInTheStateOfBefore) {
    make_leases(
        MANY, MANY, [&](failover_binding &b) { b.ends = b.given = now.wall + 30; }, FAILOVER_PARTNER_DOWN);
    start();
    pass(29000);
    ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    state_enter(x->core(), FAILOVER_RECOVER, now.wall);
    now.mono += 10000;
    now.wall += 10;
    run();
    EXPECT_EQ(MANY, x->status(now).by_status[FAILOVER_ACTIVE]);
    pass(100);
    EXPECT_EQ(MANY, x->status(now).by_status[FAILOVER_ACTIVE]);
}

} // namespace
