// SPDX-License-Identifier: MPL-2.0
//
// What waits to be written: each address once, the latest of it, in a batch that is used again and again.
#include <cstdlib>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <utility>

#include "batch.h"

namespace {

class Batch : public ::testing::Test {
protected:
    Batch() {
        EXPECT_TRUE(batch_add_relationship(&batch_));
        EXPECT_TRUE(batch_add_relationship(&batch_));
    }
    ~Batch() override {
        batch_free(&batch_);
    }
    void put(uint32_t address, int value, bool older = false, int relationship = 0) {
        item i{};
        i.relationship = relationship;
        i.kind = item::BINDING;
        i.address = address;
        i.data = malloc(sizeof(value));
        *static_cast<int *>(i.data) = value;
        ASSERT_TRUE(batch_put(&batch_, &i, older));
    }
    // What is there; an address that is there twice fails.
    std::map<std::pair<int, uint32_t>, int> content() const {
        std::map<std::pair<int, uint32_t>, int> found;
        for (size_t i = 0; i < batch_.count; i++) {
            const item &one = batch_.items[i];
            EXPECT_TRUE(found.emplace(std::pair(one.relationship, one.address), *static_cast<int *>(one.data)).second);
        }
        return found;
    }

    batch batch_{};
};

using Content = std::map<std::pair<int, uint32_t>, int>;

TEST_F(Batch, KeepsTheLaterOfTwo) {
    put(1, 10);
    put(1, 11);
    put(2, 20);
    put(2, 19, true);
    EXPECT_EQ((Content{{{0, 1}, 11}, {{0, 2}, 20}}), content());
}

TEST_F(Batch, TellsRelationshipsAndTheirRecordsApart) {
    put(1, 10);
    put(1, 20, false, 1);
    for (int relationship : {0, 1}) {
        item record{};
        record.relationship = relationship;
        record.kind = item::RECORD;
        ASSERT_TRUE(batch_put(&batch_, &record, false));
    }
    EXPECT_EQ(4U, batch_.count);
}

TEST_F(Batch, ARemovalReplacesTheBinding) {
    put(1, 10);
    item removal{};
    removal.kind = item::FORGET;
    removal.address = 1;
    ASSERT_TRUE(batch_put(&batch_, &removal, false));
    ASSERT_EQ(1U, batch_.count);
    EXPECT_EQ(item::FORGET, batch_.items[0].kind);
}

TEST_F(Batch, ClearedItHasNothingLeft) {
    put(1, 10);
    batch_.sequences[1] = 7;
    batch_.awaited = batch_.hurried = true;
    batch_clear(&batch_);
    EXPECT_EQ(0U, batch_.count);
    EXPECT_EQ(0U, batch_.sequences[1]);
    EXPECT_FALSE(batch_.awaited);
    EXPECT_FALSE(batch_.hurried);
    put(2, 20);
    EXPECT_EQ((Content{{{0, 2}, 20}}), content());
}

// Addresses whose searches cross each other are put in, replaced and taken out, over and over.
TEST_F(Batch, UsedAgainItHoldsWhatWasPut) {
    std::minstd_rand random(1);
    for (int round = 0; round < 200; round++) {
        Content expected;
        int count = round % 10 == 9 ? 3000 : round;
        for (int i = 0; i < count; i++) {
            uint32_t address = random() % 2000;
            put(address, i);
            expected[{0, address}] = i;
        }
        ASSERT_EQ(expected, content()) << "round " << round;
        batch_clear(&batch_);
        for (size_t i = 0; i < batch_.index_size; i++) {
            ASSERT_EQ(0U, batch_.index[i]) << "round " << round << ": slot " << i << " is still taken";
        }
    }
}

TEST_F(Batch, GivesBackTheRoomOfAFirstBalance) {
    for (uint32_t address = 0; address < 100000; address++) {
        put(address, 1);
    }
    batch_clear(&batch_);
    EXPECT_EQ(0U, batch_.size);
    put(1, 10);
    EXPECT_EQ((Content{{{0, 1}, 10}}), content());
}

} // namespace
