// SPDX-License-Identifier: MPL-2.0
//
// Real traffic of ISC dhcpd 4.4: every failover byte of every capture is read, and written again as the same
// bytes.
#include <array>
#include <filesystem>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "message.h"
#include "pcap.h"

using namespace failover_test;

namespace {

// Each direction of each connection on the failover port, in the order in which they were first seen.
std::vector<Direction> failover_streams(const std::string &path) {
    std::vector<Direction> streams;
    std::map<std::tuple<uint32_t, uint16_t, uint32_t, uint16_t>, size_t> index;
    for (const Frame &frame : read_frames(path)) {
        Segment s;
        if (!parse_frame(frame.bytes, TCP, s) ||
            (s.source_port != FAILOVER_PORT && s.destination_port != FAILOVER_PORT)) {
            continue;
        }
        auto key = std::make_tuple(s.source, s.source_port, s.destination, s.destination_port);
        if (index.count(key) == 0 || s.syn) {
            index[key] = streams.size();
            streams.emplace_back();
        }
        Direction &d = streams[index[key]];
        if (s.syn) {
            d.begin(s.sequence);
        }
        d.add(s.syn ? s.sequence + 1 : s.sequence, s.payload);
    }
    return streams;
}

TEST(CaptureReader, PutsOneDirectionInOrder) {
    Direction d;
    d.begin(0xfffffffe); // the numbers wrap in the second segment
    d.add(0xffffffff, {1, 2});
    d.add(5, {7, 8});          // overtakes
    d.add(0xffffffff, {1, 2}); // sent again
    d.add(0, {2, 3, 4, 5});    // sent again, with more
    EXPECT_FALSE(d.complete());
    EXPECT_EQ((Bytes{1, 2, 3, 4, 5}), d.bytes);
    d.add(4, {6, 7});
    EXPECT_EQ((Bytes{1, 2, 3, 4, 5, 6, 7, 8}), d.bytes);
    EXPECT_TRUE(d.complete());
}

// ---- What the captures hold, as an independent decoder and Wireshark have counted it --------------------------------

struct Capture {
    const char *name;
    size_t messages;
    size_t bytes;
    std::map<uint8_t, size_t> count;
};

constexpr uint8_t POOLREQ = FAILOVER_POOLREQ, POOLRESP = FAILOVER_POOLRESP, BNDUPD = FAILOVER_BNDUPD,
                  BNDACK = FAILOVER_BNDACK, CONNECT = FAILOVER_CONNECT, CONNECTACK = FAILOVER_CONNECTACK,
                  UPDREQALL = FAILOVER_UPDREQALL, UPDDONE = FAILOVER_UPDDONE, UPDREQ = FAILOVER_UPDREQ,
                  STATE = FAILOVER_STATE, CONTACT = FAILOVER_CONTACT, DISCONNECT = FAILOVER_DISCONNECT;

// clang-format off
const Capture captures[] = {
    {"01-first-contact", 118, 5192, {{BNDACK, 50}, {BNDUPD, 50}, {CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 2},
                                     {STATE, 8}, {UPDDONE, 2}, {UPDREQALL, 4}}},
    {"02-dora", 8, 374, {{BNDACK, 4}, {BNDUPD, 4}}},
    {"03-renew-release", 12, 497, {{BNDACK, 5}, {BNDUPD, 5}, {CONTACT, 2}}},
    {"04-renew-expiry", 42, 1071, {{BNDACK, 8}, {BNDUPD, 8}, {CONTACT, 26}}},
    {"05-decline", 7, 327, {{BNDACK, 3}, {BNDUPD, 3}, {CONTACT, 1}}},
    {"06-pool-rebalance", 31, 1212, {{BNDACK, 13}, {BNDUPD, 13}, {CONTACT, 3}, {POOLREQ, 1}, {POOLRESP, 1}}},
    {"07-kill-comm-int-reconnect", 24, 1047, {{BNDACK, 8}, {BNDUPD, 8}, {CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 2},
                                              {STATE, 4}}},
    {"08-partner-down-recover", 70, 2195, {{BNDACK, 18}, {BNDUPD, 18}, {CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 24},
                                           {STATE, 6}, {UPDDONE, 1}, {UPDREQALL, 1}}},
    {"09-db-loss-recover-wait", 49, 1759, {{BNDACK, 14}, {BNDUPD, 15}, {CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 7},
                                           {STATE, 8}, {UPDDONE, 1}, {UPDREQALL, 2}}},
    {"10-shutdown-state", 40, 1354, {{BNDACK, 11}, {BNDUPD, 12}, {CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 4},
                                     {STATE, 9}, {UPDDONE, 1}, {UPDREQALL, 1}}},
    {"10b-omapi-control-shutdown", 45, 1433, {{BNDACK, 11}, {BNDUPD, 11}, {CONNECT, 1}, {CONNECTACK, 1},
                                              {CONTACT, 10}, {STATE, 8}, {UPDDONE, 1}, {UPDREQALL, 2}}},
    {"10c-sigterm", 1, 20, {{BNDACK, 1}}},
    {"11-name-mismatch", 22, 2167, {{CONNECT, 11}, {CONNECTACK, 11}}},
    {"12-mclt-change", 8, 310, {{CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 2}, {STATE, 4}}},
    {"13-partition-conflict", 28, 1002, {{BNDACK, 6}, {BNDUPD, 6}, {CONNECT, 1}, {CONNECTACK, 1}, {CONTACT, 3},
                                         {STATE, 7}, {UPDDONE, 2}, {UPDREQ, 2}}},
    {"14-auto-partner-down-conflict", 68, 2137, {{BNDACK, 12}, {BNDUPD, 12}, {CONNECT, 2}, {CONNECTACK, 2},
                                                 {CONTACT, 18}, {STATE, 14}, {UPDDONE, 4}, {UPDREQ, 4}}},
    {"15-resolution-interrupted", 29, 1092, {{BNDACK, 2}, {BNDUPD, 4}, {CONNECT, 2}, {CONNECTACK, 2}, {CONTACT, 3},
                                             {STATE, 11}, {UPDDONE, 2}, {UPDREQ, 3}}},
    {"16-reserved-flag", 14, 720, {{BNDACK, 7}, {BNDUPD, 7}}},
    {"17-probe-connect-rejects", 13, 1062, {{CONNECT, 7}, {CONNECTACK, 5}, {STATE, 1}}},
    {"18-probe-connectack-rejects", 14, 912, {{CONNECT, 4}, {CONNECTACK, 5}, {DISCONNECT, 4}, {STATE, 1}}},
};
// clang-format on

class Captures : public ::testing::TestWithParam<Capture> {};

TEST_P(Captures, AreReadCompletelyAndWrittenAgainByteForByte) {
    size_t messages = 0, total = 0;
    std::map<uint8_t, size_t> count;
    for (const Direction &d : failover_streams(capture_folder() + "/" + GetParam().name + ".pcap")) {
        ASSERT_TRUE(d.complete()) << "a segment is missing from the capture";
        total += d.bytes.size();
        for (size_t at = 0; at < d.bytes.size();) {
            failover_message m;
            size_t consumed = 0;
            failover_decode_result result =
                failover_message_decode(d.bytes.data() + at, d.bytes.size() - at, &m, &consumed);
            ASSERT_EQ(FAILOVER_DECODED, result) << failover_decode_text(result) << " at byte " << at;
            std::array<uint8_t, FAILOVER_MESSAGE_SIZE_MAX> out;
            size_t size = failover_message_encode(&m, out.data(), out.size());
            Bytes theirs(d.bytes.begin() + long(at), d.bytes.begin() + long(at + consumed));
            ASSERT_EQ(theirs, Bytes(out.begin(), out.begin() + long(size))) << failover_message_name(m.type);
            messages++;
            count[m.type]++;
            at += consumed;
        }
    }
    EXPECT_EQ(GetParam().messages, messages);
    EXPECT_EQ(GetParam().bytes, total);
    EXPECT_EQ(GetParam().count, count);
}

TEST(CaptureReader, KnowsEveryFileOfTheFolder) {
    size_t files = 0;
    for (const auto &entry : std::filesystem::directory_iterator(capture_folder())) {
        files += entry.path().extension() == ".pcap";
    }
    EXPECT_EQ(std::size(captures), files);
}

INSTANTIATE_TEST_SUITE_P(Dhcpd, Captures, ::testing::ValuesIn(captures), [](const auto &info) {
    std::string name = info.param.name;
    for (char &c : name) {
        c = c == '-' ? '_' : c;
    }
    return name;
});

} // namespace
