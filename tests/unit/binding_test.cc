// SPDX-License-Identifier: MPL-2.0
//
// The binding table: pools, the lists of free addresses, the heap of what is due, the queue of updates, and
// clients.
#include <algorithm>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <list>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "binding.h"

namespace {

constexpr int64_t NOW = 1800000000;
constexpr uint32_t FIRST = 0x0a000000; // 10.0.0.0

class Table {
public:
    Table() = default;
    explicit Table(uint32_t addresses, failover_owner owner = FAILOVER_MINE) {
        EXPECT_TRUE(table_add_pool(&t, 1, FIRST, FIRST + addresses - 1));
        EXPECT_TRUE(table_build(&t, owner));
    }
    ~Table() {
        table_free(&t);
    }
    Table(const Table &) = delete;
    Table &operator=(const Table &) = delete;

    bool add(uint32_t subnet, uint32_t first, uint32_t last) {
        return table_add_pool(&t, subnet, first, last);
    }
    entry &at(uint32_t n) {
        return *table_find(&t, FIRST + n);
    }
    uint32_t number(const entry *e) {
        return table_address(&t, e) - FIRST;
    }
    // Changes an entry as the core does: out of the lists, the change, back into the lists.
    template <typename Change>
    void change(entry &e, Change change, int64_t now = NOW) {
        table_unlink(&t, &e);
        change(e);
        table_link(&t, &e, now);
    }
    // The numbers of the free addresses of a pool, as the list has them; both directions are looked at.
    std::vector<uint32_t> free_list(failover_owner owner, size_t pool = 0) {
        const list &l = t.pools[pool].free[owner];
        std::vector<uint32_t> forward, backward;
        for (uint32_t i = l.head; i != NO_ENTRY; i = t.slots[i].list_next) {
            EXPECT_TRUE(table_at(&t, i)->listed);
            forward.push_back(number(table_at(&t, i)));
        }
        for (uint32_t i = l.tail; i != NO_ENTRY; i = t.slots[i].list_previous) {
            backward.push_back(number(table_at(&t, i)));
        }
        std::reverse(backward.begin(), backward.end());
        EXPECT_EQ(forward, backward);
        EXPECT_EQ(l.count, forward.size());
        return forward;
    }
    std::vector<uint32_t> queue() {
        std::vector<uint32_t> forward, backward;
        for (uint32_t i = t.updates[QUEUED].head; i != NO_ENTRY; i = table_record(&t, i)->queue_next) {
            EXPECT_TRUE(table_record(&t, i)->place == QUEUED);
            forward.push_back(number(table_record(&t, i)));
        }
        for (uint32_t i = t.updates[QUEUED].tail; i != NO_ENTRY; i = table_record(&t, i)->queue_previous) {
            backward.push_back(number(table_record(&t, i)));
        }
        std::reverse(backward.begin(), backward.end());
        EXPECT_EQ(forward, backward);
        EXPECT_EQ(t.updates[QUEUED].count, forward.size());
        return forward;
    }

    table t{};
};

using Numbers = std::vector<uint32_t>;

// ---- Pools ----------------------------------------------------------------------------------------------------------

TEST(Binding, PoolsMayBeAddedInAnyOrder) {
    std::vector<std::pair<uint32_t, uint32_t>> pools = {{10, 19}, {30, 39}, {40, 40}, {100, 199}};
    std::sort(pools.begin(), pools.end());
    do {
        Table table;
        for (auto [first, last] : pools) {
            ASSERT_TRUE(table.add(first, FIRST + first, FIRST + last));
        }
        ASSERT_TRUE(table_build(&table.t, FAILOVER_MINE));
        EXPECT_EQ(10u + 10 + 1 + 100, table.t.entry_count);
        for (uint32_t a = 0; a < 300; a++) {
            auto inside =
                std::find_if(pools.begin(), pools.end(), [&](auto &p) { return p.first <= a && a <= p.second; });
            entry *e = table_find(&table.t, FIRST + a);
            ASSERT_EQ(inside != pools.end(), e != nullptr) << a;
            if (e != nullptr) {
                EXPECT_EQ(FIRST + a, table_address(&table.t, e));
                EXPECT_EQ(inside->first, table_pool_of(&table.t, e)->subnet_id);
                EXPECT_EQ(table_find_pool(&table.t, FIRST + a), table_pool_of(&table.t, e));
            }
        }
    } while (std::next_permutation(pools.begin(), pools.end()));
}

TEST(Binding, OverlappingPoolsAreRefused) {
    Table table;
    ASSERT_TRUE(table.add(1, FIRST + 10, FIRST + 19));
    ASSERT_TRUE(table.add(1, FIRST + 30, FIRST + 39));
    EXPECT_FALSE(table.add(1, FIRST + 10, FIRST + 19)) << "the same";
    EXPECT_FALSE(table.add(1, FIRST + 5, FIRST + 10)) << "touches the first address";
    EXPECT_FALSE(table.add(1, FIRST + 19, FIRST + 25)) << "touches the last address";
    EXPECT_FALSE(table.add(1, FIRST + 12, FIRST + 13)) << "lies within";
    EXPECT_FALSE(table.add(1, FIRST + 0, FIRST + 25)) << "surrounds one";
    EXPECT_FALSE(table.add(1, FIRST + 0, FIRST + 100)) << "surrounds all";
    EXPECT_FALSE(table.add(1, FIRST + 15, FIRST + 35)) << "touches two";
    EXPECT_EQ(2u, table.t.pool_count);
    EXPECT_TRUE(table.add(1, FIRST + 20, FIRST + 29)) << "fills the gap exactly";
    EXPECT_TRUE(table.add(1, FIRST + 9, FIRST + 9));
    EXPECT_TRUE(table.add(1, FIRST + 40, FIRST + 40));
    ASSERT_TRUE(table_build(&table.t, FAILOVER_MINE));
    EXPECT_EQ(32u, table.t.entry_count);
}

TEST(Binding, APoolThatEndsBeforeItBeginsIsRefused) {
    Table table;
    EXPECT_FALSE(table.add(1, FIRST + 1, FIRST));
    EXPECT_TRUE(table.add(1, FIRST, FIRST)) << "one address is enough";
}

TEST(Binding, PoolsMayReachTheEndsOfTheAddressSpace) {
    Table table;
    ASSERT_TRUE(table.add(1, 0, 3));
    ASSERT_TRUE(table.add(2, UINT32_MAX - 3, UINT32_MAX));
    EXPECT_FALSE(table.add(3, 3, UINT32_MAX));
    ASSERT_TRUE(table_build(&table.t, FAILOVER_MINE));
    EXPECT_EQ(0u, table_address(&table.t, table_find(&table.t, 0)));
    EXPECT_EQ(UINT32_MAX, table_address(&table.t, table_find(&table.t, UINT32_MAX)));
    EXPECT_EQ(nullptr, table_find(&table.t, 4));
    EXPECT_EQ(nullptr, table_find(&table.t, UINT32_MAX - 4));
}

TEST(Binding, TheWholeAddressSpaceIsTooLarge) {
    Table table;
    ASSERT_TRUE(table.add(1, 0, UINT32_MAX));
    EXPECT_FALSE(table_build(&table.t, FAILOVER_MINE));
}

TEST(Binding, ATableWithoutPoolsIsEmpty) {
    Table table;
    EXPECT_EQ(nullptr, table_find(&table.t, FIRST)) << "before it is built";
    ASSERT_TRUE(table_build(&table.t, FAILOVER_MINE));
    EXPECT_EQ(0u, table.t.entry_count);
    EXPECT_EQ(nullptr, table_find(&table.t, 0));
    EXPECT_EQ(nullptr, table_find(&table.t, FIRST));
    EXPECT_EQ(nullptr, table_find(&table.t, UINT32_MAX));
    EXPECT_EQ(nullptr, table_find_pool(&table.t, FIRST));
    EXPECT_EQ(nullptr, table_first_due(&table.t));
    EXPECT_TRUE(table.queue().empty());
}

// ---- Links and counts -----------------------------------------------------------------------------------------------

TEST(Binding, ANewTableIsFreeAndItsOwners) {
    for (failover_owner owner : {FAILOVER_NOBODY, FAILOVER_MINE, FAILOVER_PARTNERS}) {
        Table table(5, owner);
        EXPECT_EQ(5u, table.t.by_status[owner == FAILOVER_MINE ? FAILOVER_FREE : FAILOVER_BACKUP]);
        EXPECT_EQ(0u, table.t.by_status[owner == FAILOVER_MINE ? FAILOVER_BACKUP : FAILOVER_FREE]);
        EXPECT_EQ(0u, table.t.reserved);
        for (int other = FAILOVER_NOBODY; other <= FAILOVER_PARTNERS; other++) {
            EXPECT_EQ(other == owner ? 5u : 0u, table.t.pools[0].free_count[other]);
        }
        EXPECT_EQ((Numbers{0, 1, 2, 3, 4}), table.free_list(owner));
        EXPECT_EQ(nullptr, table.at(0).client);
        EXPECT_FALSE(table.at(0).recorded);
    }
}

TEST(Binding, AnAddressThatIsTakenLeavesTheList) {
    Table table(4);
    table.change(table.at(1), [](entry &e) { e.status = FAILOVER_ACTIVE; });
    EXPECT_EQ((Numbers{0, 2, 3}), table.free_list(FAILOVER_MINE));
    EXPECT_EQ(3u, table.t.by_status[FAILOVER_FREE]);
    EXPECT_EQ(1u, table.t.by_status[FAILOVER_ACTIVE]);
    EXPECT_EQ(3u, table.t.pools[0].free_count[FAILOVER_MINE]);
}

TEST(Binding, AnAddressThatBecomesFreeGoesToTheEndOfItsOwnersList) {
    Table table(4);
    table.change(table.at(1), [](entry &e) { e.status = FAILOVER_ACTIVE; });
    table.change(table.at(1), [](entry &e) { e.status = FAILOVER_FREE; });
    EXPECT_EQ((Numbers{0, 2, 3, 1}), table.free_list(FAILOVER_MINE));
    table.change(table.at(0), [](entry &e) { e.owner = FAILOVER_PARTNERS; });
    table.change(table.at(3), [](entry &e) { e.owner = FAILOVER_PARTNERS; });
    EXPECT_EQ((Numbers{2, 1}), table.free_list(FAILOVER_MINE));
    EXPECT_EQ((Numbers{0, 3}), table.free_list(FAILOVER_PARTNERS));
    EXPECT_EQ(2u, table.t.by_status[FAILOVER_FREE]);
    EXPECT_EQ(2u, table.t.by_status[FAILOVER_BACKUP]);
}

TEST(Binding, ReservedAddressesAreCountedApart) {
    Table table(4);
    table.change(table.at(2), [](entry &e) { e.reserved = true; });
    EXPECT_EQ(1u, table.t.reserved);
    EXPECT_EQ(3u, table.t.pools[0].free_count[FAILOVER_MINE]) << "not part of what is divided";
    EXPECT_EQ((Numbers{0, 1, 3}), table.free_list(FAILOVER_MINE));
    table.change(table.at(2), [](entry &e) { e.status = FAILOVER_ACTIVE; });
    EXPECT_EQ(1u, table.t.reserved) << "leased or not";
    EXPECT_EQ(1u, table.t.by_status[FAILOVER_ACTIVE]);
    table.change(table.at(2), [](entry &e) { e.status = FAILOVER_FREE; });
    table.change(table.at(2), [](entry &e) { e.reserved = false; });
    EXPECT_EQ(0u, table.t.reserved);
    EXPECT_EQ((Numbers{0, 1, 3, 2}), table.free_list(FAILOVER_MINE));
}

TEST(Binding, AFreeAddressWithALaterEndIsCountedButNotListed) {
    Table table(3);
    table.change(table.at(1), [](entry &e) { e.ends = NOW + 1; });
    EXPECT_EQ(3u, table.t.pools[0].free_count[FAILOVER_MINE]);
    EXPECT_EQ((Numbers{0, 2}), table.free_list(FAILOVER_MINE));
    table.change(
        table.at(1), [](entry &) {}, NOW + 1);
    EXPECT_EQ((Numbers{0, 2, 1}), table.free_list(FAILOVER_MINE));
}

TEST(Binding, EachPoolHasItsOwnLists) {
    Table table;
    ASSERT_TRUE(table.add(1, FIRST, FIRST + 1));
    ASSERT_TRUE(table.add(2, FIRST + 10, FIRST + 11));
    ASSERT_TRUE(table_build(&table.t, FAILOVER_MINE));
    table.change(table.at(10), [](entry &e) { e.owner = FAILOVER_PARTNERS; });
    EXPECT_EQ((Numbers{0, 1}), table.free_list(FAILOVER_MINE, 0));
    EXPECT_EQ((Numbers{11}), table.free_list(FAILOVER_MINE, 1));
    EXPECT_EQ((Numbers{10}), table.free_list(FAILOVER_PARTNERS, 1));
    EXPECT_EQ(1u, table.t.pools[1].free_count[FAILOVER_PARTNERS]);
    EXPECT_EQ(0u, table.t.pools[0].free_count[FAILOVER_PARTNERS]);
}

TEST(Binding, RotationGivesEachFreeAddressOnceAndBeginsAgain) {
    Table table(4);
    pool *p = table_find_pool(&table.t, FIRST);
    Numbers given;
    for (int i = 0; i < 8; i++) {
        given.push_back(table.number(table_rotate(&table.t, p, FAILOVER_MINE)));
    }
    EXPECT_EQ((Numbers{0, 1, 2, 3, 0, 1, 2, 3}), given);
    EXPECT_EQ(nullptr, table_rotate(&table.t, p, FAILOVER_PARTNERS));
    EXPECT_EQ(4u, p->free_count[FAILOVER_MINE]) << "nothing was taken";
}

TEST(Binding, RotationOfOneAddressGivesThatAddress) {
    Table table(1);
    pool *p = table_find_pool(&table.t, FIRST);
    EXPECT_EQ(&table.at(0), table_rotate(&table.t, p, FAILOVER_MINE));
    EXPECT_EQ(&table.at(0), table_rotate(&table.t, p, FAILOVER_MINE));
    EXPECT_EQ((Numbers{0}), table.free_list(FAILOVER_MINE));
}

// Lists and counts against a model that counts everything anew each time.
TEST(Binding, RandomChangesKeepListsAndCounts) {
    constexpr uint32_t ADDRESSES = 12;
    Table table(ADDRESSES);
    std::mt19937 random(7);
    std::list<uint32_t> model[3];
    for (uint32_t n = 0; n < ADDRESSES; n++) {
        model[FAILOVER_MINE].push_back(n);
    }
    for (int round = 0; round < 20000; round++) {
        uint32_t n = random() % ADDRESSES;
        if (random() % 8 == 0) {
            auto owner = failover_owner(random() % 3);
            entry *e = table_rotate(&table.t, &table.t.pools[0], owner);
            ASSERT_EQ(model[owner].empty(), e == nullptr);
            if (e != nullptr) {
                ASSERT_EQ(model[owner].front(), table.number(e));
                model[owner].splice(model[owner].end(), model[owner], model[owner].begin());
            }
            continue;
        }
        entry &e = table.at(n);
        table.change(e, [&](entry &x) {
            x.status = uint8_t(random() % 2 == 0 ? 1 : 1 + random() % 6);
            x.owner = uint8_t(random() % 3);
            x.reserved = random() % 8 == 0;
            x.ends = random() % 4 == 0 ? NOW + 1 : random() % 2 == 0 ? NOW : 0;
        });
        for (auto &l : model) {
            l.remove(n);
        }
        if (e.status == FAILOVER_FREE && !e.reserved && e.ends <= NOW) {
            model[e.owner].push_back(n);
        }
        uint64_t by_status[FAILOVER_BINDING_STATUSES] = {}, reserved = 0;
        uint32_t free_count[3] = {};
        for (uint32_t i = 0; i < ADDRESSES; i++) {
            const entry &x = table.at(i);
            bool free = x.status == FAILOVER_FREE;
            by_status[free && x.owner != FAILOVER_MINE ? int(FAILOVER_BACKUP) : x.status]++;
            reserved += x.reserved;
            free_count[x.owner] += free && !x.reserved;
        }
        ASSERT_EQ(0, memcmp(by_status, table.t.by_status, sizeof(by_status)));
        ASSERT_EQ(reserved, table.t.reserved);
        for (int owner = 0; owner < 3; owner++) {
            ASSERT_EQ(Numbers(model[owner].begin(), model[owner].end()), table.free_list(failover_owner(owner)));
            ASSERT_EQ(free_count[owner], table.t.pools[0].free_count[owner]);
        }
    }
}

// ---- The heap -------------------------------------------------------------------------------------------------------

TEST(Binding, TheFirstDueIsTheEarliest) {
    Table table(4);
    EXPECT_EQ(nullptr, table_first_due(&table.t));
    table_schedule(&table.t, &table.at(0), 30);
    table_schedule(&table.t, &table.at(1), 10);
    table_schedule(&table.t, &table.at(2), 20);
    EXPECT_EQ(&table.at(1), table_first_due(&table.t));
    table_schedule(&table.t, &table.at(1), 40);
    EXPECT_EQ(&table.at(2), table_first_due(&table.t));
    table_schedule(&table.t, &table.at(3), INT64_MIN);
    EXPECT_EQ(&table.at(3), table_first_due(&table.t));
    table_schedule(&table.t, &table.at(3), INT64_MAX);
    EXPECT_EQ(&table.at(2), table_first_due(&table.t));
}

TEST(Binding, WhatIsNeverDueIsNotInTheHeap) {
    Table table(2);
    table_schedule(&table.t, &table.at(0), INT64_MAX);
    EXPECT_EQ(nullptr, table_first_due(&table.t));
    table_schedule(&table.t, &table.at(0), 1);
    table_schedule(&table.t, &table.at(0), 1);
    EXPECT_EQ(1u, table.t.heap_count) << "once, however often it is scheduled";
    table_schedule(&table.t, &table.at(0), INT64_MAX);
    EXPECT_EQ(nullptr, table_first_due(&table.t));
    EXPECT_EQ(0u, table.t.heap_count);
}

TEST(Binding, RandomSchedulesComeOutInOrder) {
    for (uint32_t addresses : {1u, 2u, 3u, 10u, 257u}) {
        Table table(addresses);
        std::mt19937 random(addresses);
        std::multimap<int64_t, uint32_t> model;
        auto forget = [&](uint32_t n) {
            for (auto it = model.begin(); it != model.end(); ++it) {
                if (it->second == n) {
                    model.erase(it);
                    return;
                }
            }
        };
        for (int round = 0; round < 5000; round++) {
            uint32_t n = random() % addresses;
            int64_t when = random() % 5 == 0 ? INT64_MAX : int64_t(random() % 100);
            table_schedule(&table.t, &table.at(n), when);
            forget(n);
            if (when != INT64_MAX) {
                model.emplace(when, n);
            }
            entry *first = table_first_due(&table.t);
            ASSERT_EQ(model.empty(), first == nullptr);
            ASSERT_EQ(model.size(), table.t.heap_count);
            if (first != nullptr) {
                ASSERT_EQ(model.begin()->first, first->when);
            }
        }
        while (entry *first = table_first_due(&table.t)) {
            ASSERT_EQ(model.begin()->first, first->when);
            forget(table.number(first));
            table_schedule(&table.t, first, INT64_MAX);
        }
        EXPECT_TRUE(model.empty());
    }
}

TEST(Binding, AllAddressesMayBeDueAtOnce) {
    Table table(1000);
    for (uint32_t n = 0; n < 1000; n++) {
        table_schedule(&table.t, &table.at(n), 1000 - n);
    }
    for (uint32_t n = 1000; n-- > 0;) {
        ASSERT_EQ(&table.at(n), table_first_due(&table.t));
        table_schedule(&table.t, &table.at(n), INT64_MAX);
    }
}

// ---- The queue of updates -------------------------------------------------------------------------------------------

TEST(Binding, UpdatesLeaveInTheOrderInWhichTheyCame) {
    Table table(5);
    for (uint32_t n : {3u, 1u, 4u}) {
        table_put_update(&table.t, &table.at(n), QUEUED);
    }
    EXPECT_EQ((Numbers{3, 1, 4}), table.queue());
    table_put_update(&table.t, &table.at(3), QUEUED);
    EXPECT_EQ((Numbers{3, 1, 4}), table.queue()) << "a second update of one address joins the first";
}

TEST(Binding, UpdatesCanBeTakenOutAnywhere) {
    Table table(5);
    for (uint32_t n = 0; n < 5; n++) {
        table_put_update(&table.t, &table.at(n), QUEUED);
    }
    table_put_update(&table.t, &table.at(2), NO_UPDATE);
    EXPECT_EQ((Numbers{0, 1, 3, 4}), table.queue());
    table_put_update(&table.t, &table.at(0), NO_UPDATE);
    table_put_update(&table.t, &table.at(4), NO_UPDATE);
    EXPECT_EQ((Numbers{1, 3}), table.queue());
    table_put_update(&table.t, &table.at(2), NO_UPDATE);
    EXPECT_EQ((Numbers{1, 3}), table.queue()) << "what isn't queued can't be taken out";
    table_put_update(&table.t, &table.at(2), QUEUED);
    table_put_update(&table.t, &table.at(1), NO_UPDATE);
    table_put_update(&table.t, &table.at(3), NO_UPDATE);
    table_put_update(&table.t, &table.at(2), NO_UPDATE);
    EXPECT_TRUE(table.queue().empty());
    table_put_update(&table.t, &table.at(4), QUEUED);
    EXPECT_EQ((Numbers{4}), table.queue());
}

// ---- Clients --------------------------------------------------------------------------------------------------------

failover_client client_of(const std::string &hardware, const std::string &id) {
    failover_client c{};
    c.hardware_length = uint8_t(hardware.size());
    c.id_length = uint16_t(id.size());
    memcpy(c.hardware, hardware.data(), hardware.size());
    memcpy(c.id, id.data(), id.size());
    return c;
}

std::string hardware_of(const failover_client &c) {
    return std::string(reinterpret_cast<const char *>(c.hardware), c.hardware_length);
}

std::string id_of(const failover_client &c) {
    return std::string(reinterpret_cast<const char *>(c.id), c.id_length);
}

TEST(Binding, AClientIsKeptAsItIs) {
    Table table(1);
    entry &e = table.at(0);
    std::string zeros("\0\0\1\0", 4);
    const failover_client clients[] = {client_of("", "x"), client_of("\1mac", ""), client_of("\1mac", "id"),
                                       client_of(zeros, zeros),
                                       client_of(std::string(FAILOVER_HARDWARE_MAX, 'h'),
                                                 std::string(FAILOVER_CLIENT_ID_MAX, 'i'))};
    for (const failover_client &c : clients) {
        ASSERT_TRUE(entry_set_client(&e, &c));
        failover_client back;
        memset(&back, 0xee, sizeof(back));
        entry_get_client(&e, &back);
        EXPECT_EQ(hardware_of(c), hardware_of(back));
        EXPECT_EQ(id_of(c), id_of(back));
        EXPECT_TRUE(entry_is_client(&e, &c));
    }
}

TEST(Binding, AnEntryMayHaveNoClient) {
    Table table(1);
    entry &e = table.at(0);
    failover_client c = client_of("\1mac", "id"), none{};
    EXPECT_FALSE(entry_is_client(&e, &c));
    EXPECT_FALSE(entry_is_client(&e, &none));
    ASSERT_TRUE(entry_set_client(&e, &c));
    ASSERT_TRUE(entry_set_client(&e, nullptr));
    EXPECT_EQ(nullptr, e.client);
    EXPECT_FALSE(entry_is_client(&e, &c));
    ASSERT_TRUE(entry_set_client(&e, &c));
    ASSERT_TRUE(entry_set_client(&e, &none));
    EXPECT_EQ(nullptr, e.client) << "a client without hardware address and identifier is none";
    failover_client back;
    entry_get_client(&e, &back);
    EXPECT_EQ(0, back.hardware_length);
    EXPECT_EQ(0, back.id_length);
}

TEST(Binding, TheSameClientIsTheSameIdentifierOrElseTheSameHardware) {
    struct Case {
        failover_client a, b;
        bool same;
        const char *why;
    };
    const Case cases[] = {
        {client_of("\1A", "id1"), client_of("\1A", "id1"), true, "all the same"},
        {client_of("\1A", "id1"), client_of("\1B", "id1"), true, "one identifier, another network card"},
        {client_of("\1A", "id1"), client_of("\1A", "id2"), false, "two systems on one network card"},
        {client_of("\1A", ""), client_of("\1A", ""), true, "no identifiers, one network card"},
        {client_of("\1A", ""), client_of("\1B", ""), false, "no identifiers, two network cards"},
        {client_of("\1A", "id1"), client_of("\1A", ""), true, "only one sent its identifier"},
        {client_of("\1A", "id1"), client_of("\1B", ""), false, "only one sent its identifier, and they differ"},
        {client_of("\1A", ""), client_of("\6A", ""), false, "another hardware type"},
        {client_of("\1A", ""), client_of("\1AB", ""), false, "another length"},
        {client_of("", "id1"), client_of("", "id1"), true, "identifiers alone"},
        {client_of("", "id1"), client_of("", "id12"), false, "another length of the identifier"},
        {client_of("", "id1"), client_of("\1A", ""), false, "nothing to compare"},
        {client_of("", ""), client_of("", ""), false, "nobody is nobody's client"},
        {client_of("\1A", "id1"), client_of("", ""), false, "nobody"},
    };
    Table table(1);
    for (const Case &c : cases) {
        EXPECT_EQ(c.same, failover_same_client(&c.a, &c.b)) << c.why;
        EXPECT_EQ(c.same, failover_same_client(&c.b, &c.a)) << c.why;
        ASSERT_TRUE(entry_set_client(&table.at(0), &c.a));
        EXPECT_EQ(c.same, entry_is_client(&table.at(0), &c.b)) << c.why;
    }
}

TEST(Binding, AnEntryIsHandedOutWithAllItsFields) {
    Table table(3);
    entry &e = table.at(2);
    failover_client c = client_of("\1mac", "id");
    ASSERT_TRUE(entry_set_client(&e, &c));
    e.status = FAILOVER_RELEASED;
    e.owner = FAILOVER_PARTNERS;
    e.starts = 1;
    e.ends = 2;
    e.given = 3;
    e.cltt = 4;
    e.sent = 5;
    e.acked = 6;
    e.received = 7;
    e.xid = 8;
    e.extended_epoch = 9;
    e.ip_flags = 3;
    e.update_due = e.state_sent = e.made_partner_down = true;
    failover_binding b;
    entry_get(&table.t, &e, &b);
    EXPECT_EQ(FIRST + 2, b.address);
    EXPECT_EQ(FAILOVER_RELEASED, b.status);
    EXPECT_EQ(FAILOVER_PARTNERS, b.owner);
    EXPECT_EQ(1, b.starts);
    EXPECT_EQ(2, b.ends);
    EXPECT_EQ(3, b.given);
    EXPECT_EQ(4, b.cltt);
    EXPECT_EQ(5, b.sent);
    EXPECT_EQ(6, b.acked);
    EXPECT_EQ(7, b.received);
    EXPECT_EQ(8u, b.xid);
    EXPECT_EQ(9u, b.extended_epoch);
    EXPECT_EQ(3, b.ip_flags);
    EXPECT_TRUE(b.update_due && b.state_sent && b.made_partner_down);
    EXPECT_FALSE(b.update_sent || b.granted_here || b.reserved);
    EXPECT_EQ("\1mac", hardware_of(b.client));
    EXPECT_EQ("id", id_of(b.client));
    e.update_due = e.state_sent = e.made_partner_down = false;
    e.update_sent = e.granted_here = e.reserved = true;
    entry_get(&table.t, &e, &b);
    EXPECT_FALSE(b.update_due || b.state_sent || b.made_partner_down);
    EXPECT_TRUE(b.update_sent && b.granted_here && b.reserved);
}

// ---- Plain addresses --------------------------------------------------------------------------------------------------

TEST(Binding, APlainAddressGivesItsEntryUpAndLosesNothing) {
    Table table(10, FAILOVER_PARTNERS);
    const uint32_t unused = table.t.unused.count;
    entry &e = table.at(4);
    table.change(e, [](entry &x) {
        x.starts = x.sent = x.acked = NOW;
        x.recorded = x.update_sent = x.state_sent = true;
    });
    failover_binding before, after;
    entry_get(&table.t, &e, &before);
    table_fold(&table.t, 0);
    EXPECT_EQ(unused, table.t.unused.count);
    EXPECT_FALSE(table_has_entry(&table.t, 4));
    EXPECT_TRUE(table_is_recorded(&table.t, 4));
    EXPECT_EQ(NOW, table_starts(&table.t, 4));
    EXPECT_EQ((Numbers{0, 1, 2, 3, 5, 6, 7, 8, 9, 4}), table.free_list(FAILOVER_PARTNERS));
    entry_get(&table.t, &table.at(4), &after);
    EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

TEST(Binding, AnAddressWithAStoryKeepsItsEntry) {
    Table table(20);
    std::vector<std::function<void(entry &)>> stories = {
        [](entry &e) { e.status = FAILOVER_ACTIVE; },
        [](entry &e) { e.ends = NOW + 60; },
        [](entry &e) { e.cltt = NOW; },
        [](entry &e) { e.sent = 5; },
        [](entry &e) { e.received = 5; },
        [](entry &e) { e.starts = int64_t(UINT32_MAX) + 1; },
        [](entry &e) { e.update_due = true; },
        [](entry &e) { e.requested = true; },
        [](entry &e) { e.extended_epoch = 1; },
        [&](entry &e) { table_put_update(&table.t, &e, QUEUED); },
        [&](entry &e) { table_schedule(&table.t, &e, NOW); },
        [](entry &e) {
            failover_client client{};
            client.hardware_length = 7;
            entry_set_client(&e, &client);
        },
    };
    for (uint32_t i = 0; i < stories.size(); i++) {
        table.change(table.at(i), stories[i]);
    }
    table.at(15); // only looked at
    table_fold(&table.t, 0);
    for (uint32_t i = 0; i < stories.size(); i++) {
        EXPECT_TRUE(table_has_entry(&table.t, i)) << i;
    }
    EXPECT_FALSE(table_has_entry(&table.t, 15));
    table_put_update(&table.t, &table.at(9), NO_UPDATE);
    table_schedule(&table.t, &table.at(10), INT64_MAX);
    table_fold(&table.t, 0);
    EXPECT_FALSE(table_has_entry(&table.t, 9)) << "its update is done";
    EXPECT_FALSE(table_has_entry(&table.t, 10)) << "nothing is due any more";
}

TEST(Binding, AnEntryWaitsForItsRecordOnDisk) {
    Table table(3);
    table.at(1).stored = 7;
    table_fold(&table.t, 6);
    EXPECT_TRUE(table_has_entry(&table.t, 1));
    table_fold(&table.t, 7);
    EXPECT_FALSE(table_has_entry(&table.t, 1));
}

TEST(Binding, NobodysAddressesAreTakenAllAtOnce) {
    for (failover_owner owner : {FAILOVER_MINE, FAILOVER_PARTNERS}) {
        Table table(6, FAILOVER_NOBODY);
        table.change(table.at(1), [](entry &e) { e.status = FAILOVER_ACTIVE; });
        table.change(table.at(2), [](entry &e) { e.reserved = true; });
        table.change(table.at(3), [&](entry &e) { e.owner = uint8_t(owner); });
        table.change(table.at(4), [](entry &e) { e.ends = NOW + 60; });
        table_take_nobodys(&table.t, owner);
        EXPECT_EQ((Numbers{3, 0, 5}), table.free_list(owner));
        EXPECT_EQ(Numbers{}, table.free_list(FAILOVER_NOBODY));
        EXPECT_EQ(4u, table.t.pools[0].free_count[owner]);
        EXPECT_EQ(0u, table.t.pools[0].free_count[FAILOVER_NOBODY]);
        EXPECT_EQ(owner == FAILOVER_MINE ? 5u : 0u, table.t.by_status[FAILOVER_FREE]);
        EXPECT_EQ(owner == FAILOVER_MINE ? 0u : 5u, table.t.by_status[FAILOVER_BACKUP]);
        for (uint32_t i = 0; i < 6; i++) {
            EXPECT_EQ(owner, table.at(i).owner) << i;
        }
    }
}

TEST(Binding, EntriesComeAndGoAndAreUsedAgain) {
    Table table(5000);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            table.at(i);
        }
        EXPECT_GE(table.t.record_count, 5000u);
        EXPECT_LE(table.t.record_count, 5000u + 512);
        table_fold(&table.t, 0);
        EXPECT_EQ(table.t.record_count, table.t.unused.count);
    }
    EXPECT_EQ(5000u, table.free_list(FAILOVER_MINE).size());
}

// ---- Size -----------------------------------------------------------------------------------------------------------

TEST(Binding, APlainAddressTakes16BytesAndAnEntryWithoutAClient128) {
    EXPECT_LE(sizeof(slot), 16u);
    EXPECT_LE(sizeof(entry), 128u);
}

// What grew with the addresses would not end here.
TEST(Binding, AMillionAddressesAreBuiltAndFound) {
    constexpr uint32_t MILLION = 1 << 20, POOLS = 256, EACH = MILLION / POOLS;
    Table table;
    for (uint32_t i = 0; i < POOLS; i++) {
        // Every other range is left out, so that the pools have gaps.
        ASSERT_TRUE(table.add(i + 1, FIRST + 2 * i * EACH, FIRST + 2 * i * EACH + EACH - 1));
    }
    ASSERT_TRUE(table_build(&table.t, FAILOVER_MINE));
    ASSERT_EQ(MILLION, table.t.entry_count);
    EXPECT_EQ(MILLION, table.t.by_status[FAILOVER_FREE]);
    std::mt19937 random(1);
    for (int i = 0; i < 1000000; i++) {
        uint32_t n = random() % (2 * MILLION);
        entry *e = table_find(&table.t, FIRST + n);
        ASSERT_EQ(n / EACH % 2 == 0, e != nullptr);
        if (e != nullptr) {
            ASSERT_EQ(FIRST + n, table_address(&table.t, e));
            ASSERT_EQ(n / EACH / 2 + 1, table_pool_of(&table.t, e)->subnet_id);
        }
    }
    for (uint32_t i = 0; i < MILLION; i++) {
        table_schedule(&table.t, table_at(&table.t, i), int64_t(random() % 100000));
        table_put_update(&table.t, table_at(&table.t, i), QUEUED);
    }
    int64_t last = 0;
    for (uint32_t i = 0; i < MILLION; i++) {
        entry *e = table_first_due(&table.t);
        ASSERT_LE(last, e->when);
        last = e->when;
        table_schedule(&table.t, e, INT64_MAX);
    }
    EXPECT_EQ(MILLION, table.t.updates[QUEUED].count);
}

} // namespace
