// SPDX-License-Identifier: MPL-2.0
//
// Who answers a new client: the hash of RFC 3074, the split in dhcpd's bit order, and the secs field.
#include <algorithm>
#include <array>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "load_balance.h"

namespace {

using Bytes = std::vector<uint8_t>;

uint8_t hash(const Bytes &bytes) {
    Bytes exact(bytes); // no spare capacity: a sanitizer sees every byte read too far
    exact.shrink_to_fit();
    return failover_hash(exact.data(), exact.size());
}

Bytes client(uint8_t last, bool with_type = false) {
    Bytes bytes{0x0a, 0, 0, 0, 0, last};
    if (with_type) {
        bytes.insert(bytes.begin(), 0x01);
    }
    return bytes;
}

// ---- The hash -------------------------------------------------------------------------------------------------------

TEST(LoadBalance, HashesAsDhcpdDoes) {
    EXPECT_EQ(0, hash({}));
    EXPECT_EQ(175, hash({0x00}));
    EXPECT_EQ(20, hash({0x61}));
    EXPECT_EQ(135, hash({0x00, 0x11, 0x22, 0x33, 0x44, 0x55}));
    EXPECT_EQ(223, hash({0x01, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55}));
    EXPECT_EQ(201, hash(client(0x01, true)));
    EXPECT_EQ(246, hash(client(0x02)));
    EXPECT_EQ(105, hash(client(0x04)));
    EXPECT_EQ(27, hash(client(0x05)));
    EXPECT_EQ(179, hash(client(0x06)));
    EXPECT_EQ(73, hash(client(0x07)));
    EXPECT_EQ(153, hash(client(0x03, true)));
    EXPECT_EQ(221, hash(client(0x08)));
    EXPECT_EQ(0, hash(client(0x09)));
    EXPECT_EQ(5, hash(client(0x0a)));
    EXPECT_EQ(146, hash(client(0x0b)));
    EXPECT_EQ(24, hash(client(0x0c)));
    EXPECT_EQ(59, hash(client(0x10)));
}

// The clients above don't come by every number of RFC 3074's table; each single byte does: their FNV-1a hash,
// from a copy of the table that isn't the library's.
TEST(LoadBalance, HashesWithEveryNumberOfTheTable) {
    uint32_t fingerprint = 0x811c9dc5;
    for (int byte = 0; byte < 256; byte++) {
        fingerprint = (fingerprint ^ hash({uint8_t(byte)})) * 0x01000193;
    }
    EXPECT_EQ(0xcd457c01u, fingerprint);
}

TEST(LoadBalance, HashesNothingWithoutTouchingThePointer) {
    EXPECT_EQ(0, failover_hash(nullptr, 0));
}

// The first byte is mixed in last, through one look-up: so all 256 first bytes give all 256 buckets.
TEST(LoadBalance, HashIsAPermutationOfTheFirstByte) {
    for (size_t size : {1u, 2u, 6u, 255u}) {
        Bytes bytes(size, 0x5a);
        std::set<uint8_t> buckets;
        for (int first = 0; first < 256; first++) {
            bytes[0] = uint8_t(first);
            buckets.insert(hash(bytes));
        }
        EXPECT_EQ(256u, buckets.size());
    }
}

TEST(LoadBalance, HashCountsTheLengthAndTheOrder) {
    EXPECT_NE(hash({0}), hash({0, 0}));
    EXPECT_NE(hash({1, 2}), hash({2, 1}));
    // Only the low byte of the length counts: 256 begins like 0.
    uint8_t by_hand = 0;
    for (int i = 0; i < 256; i++) {
        by_hand = hash({uint8_t(1 ^ by_hand)}); // one look-up: the table at (1 xor byte), 1 being the length
    }
    EXPECT_EQ(by_hand, hash(Bytes(256, 0)));
}

TEST(LoadBalance, HashSpreadsClientsEvenly) {
    std::array<int, 256> count{};
    std::mt19937 random(3074);
    constexpr int CLIENTS = 256 * 200;
    for (int i = 0; i < CLIENTS; i++) {
        Bytes mac(6);
        std::generate(mac.begin(), mac.end(), [&] { return uint8_t(random()); });
        count[hash(mac)]++;
    }
    EXPECT_GT(*std::min_element(count.begin(), count.end()), 120);
    EXPECT_LT(*std::max_element(count.begin(), count.end()), 280);
}

// ---- The split ------------------------------------------------------------------------------------------------------

int primarys(const uint8_t *hba) {
    int count = 0;
    for (int bucket = 0; bucket < 256; bucket++) {
        count += failover_bucket_is_primarys(hba, uint8_t(bucket));
    }
    return count;
}

TEST(LoadBalance, SplitGivesTheFirstBucketsToThePrimary) {
    for (unsigned split = 0; split <= 256; split++) {
        uint8_t hba[FAILOVER_HBA_SIZE];
        std::fill(std::begin(hba), std::end(hba), uint8_t(0xa5)); // whatever was there before
        failover_hba_from_split(split, hba);
        ASSERT_EQ(int(split), primarys(hba));
        for (unsigned bucket = 0; bucket < 256; bucket++) {
            ASSERT_EQ(bucket < split, failover_bucket_is_primarys(hba, uint8_t(bucket))) << split << ", " << bucket;
        }
    }
}

TEST(LoadBalance, SplitAtTheEndsGivesAllToOneServer) {
    uint8_t hba[FAILOVER_HBA_SIZE];
    failover_hba_from_split(0, hba);
    EXPECT_EQ(Bytes(32, 0x00), Bytes(std::begin(hba), std::end(hba)));
    failover_hba_from_split(256, hba);
    EXPECT_EQ(Bytes(32, 0xff), Bytes(std::begin(hba), std::end(hba)));
    failover_hba_from_split(1, hba);
    EXPECT_EQ(0x01, hba[0]);
    EXPECT_EQ(1, primarys(hba));
    failover_hba_from_split(255, hba);
    EXPECT_EQ(0x7f, hba[31]);
    EXPECT_EQ(255, primarys(hba));
}

TEST(LoadBalance, SplitOfHalfIsWhatDhcpdSends) {
    uint8_t hba[FAILOVER_HBA_SIZE];
    failover_hba_from_split(128, hba);
    Bytes expected(16, 0xff);
    expected.resize(32, 0x00);
    EXPECT_EQ(expected, Bytes(std::begin(hba), std::end(hba)));
}

// Bucket h is bit h mod 8 of byte h div 8, the least significant first; set means the primary's.
TEST(LoadBalance, BucketsLieInDhcpdsBitOrder) {
    for (unsigned bucket = 0; bucket < 256; bucket++) {
        uint8_t hba[FAILOVER_HBA_SIZE] = {};
        hba[bucket / 8] = uint8_t(1u << bucket % 8);
        EXPECT_EQ(1, primarys(hba));
        EXPECT_TRUE(failover_bucket_is_primarys(hba, uint8_t(bucket))) << bucket;
    }
    uint8_t first_bit[FAILOVER_HBA_SIZE] = {0x01};
    EXPECT_TRUE(failover_bucket_is_primarys(first_bit, 0));
    uint8_t last_bit[FAILOVER_HBA_SIZE] = {0x80};
    EXPECT_TRUE(failover_bucket_is_primarys(last_bit, 7));
}

// ---- secs -----------------------------------------------------------------------------------------------------------

TEST(LoadBalance, SecsAreTakenAsTheyComeUpTo255) {
    for (unsigned secs = 0; secs <= 255; secs++) {
        EXPECT_EQ(secs, failover_secs(uint16_t(secs)));
    }
}

TEST(LoadBalance, SecsInTheWrongByteOrderAreTurnedRound) {
    EXPECT_EQ(1, failover_secs(0x0100));
    EXPECT_EQ(3, failover_secs(0x0300));
    EXPECT_EQ(4, failover_secs(0x0400));
    EXPECT_EQ(255, failover_secs(0xff00));
}

TEST(LoadBalance, SecsAbove255WithALowByteAreInTheRightOrder) {
    EXPECT_EQ(0x0101, failover_secs(0x0101));
    EXPECT_EQ(0x0201, failover_secs(0x0201));
    EXPECT_EQ(0xffff, failover_secs(0xffff));
    EXPECT_EQ(0x01ff, failover_secs(0x01ff));
}

// A client that has really waited for 256 s looks like a wrong one that has waited for 1 s: it is answered
// one retransmission later, with 257 or more.
TEST(LoadBalance, SecsOf256CannotBeToldFromAWrongByteOrder) {
    EXPECT_EQ(1, failover_secs(256));
    EXPECT_EQ(257, failover_secs(257));
}

} // namespace
