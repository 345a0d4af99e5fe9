// SPDX-License-Identifier: MPL-2.0
//
// The wire format: dhcpd's exact bytes, every option, everything malformed, and times at the ends of their
// range.
#include <algorithm>
#include <cstring>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "message.h"

namespace {

using Bytes = std::vector<uint8_t>;

Bytes from_hex(const std::string &hex) {
    Bytes bytes;
    int digits = 0;
    uint8_t value = 0;
    for (char c : hex) {
        if (c == ' ') {
            continue;
        }
        value = uint8_t(value << 4 | (c <= '9' ? c - '0' : c - 'a' + 10));
        if (++digits % 2 == 0) {
            bytes.push_back(value);
        }
    }
    return bytes;
}

std::string to_hex(const Bytes &bytes) {
    std::string hex;
    char two[3];
    for (uint8_t b : bytes) {
        snprintf(two, sizeof(two), "%02x", b);
        hex += two;
    }
    return hex;
}

std::string hex_of(const std::string &text) {
    return to_hex(Bytes(text.begin(), text.end()));
}

std::string text_of(const failover_bytes &b) {
    return std::string(reinterpret_cast<const char *>(b.data), b.length);
}

std::string hex_of(const failover_bytes &b) {
    return to_hex(Bytes(b.data, b.data + b.length));
}

failover_bytes bytes_of(const std::string &text) {
    return failover_bytes{reinterpret_cast<const uint8_t *>(text.data()), uint16_t(text.size())};
}

void put16(Bytes &out, unsigned v) {
    out.push_back(uint8_t(v >> 8));
    out.push_back(uint8_t(v));
}

void put32(Bytes &out, uint32_t v) {
    put16(out, v >> 16);
    put16(out, v & 0xffff);
}

// A message put together by hand, so that it can be wrong in any way.
class Builder {
public:
    explicit Builder(uint8_t type, uint32_t time = 0x6b062453, uint32_t xid = 7) : type_(type), time_(time), xid_(xid) {
    }
    Builder &option(unsigned code, const Bytes &value) {
        put16(body_, code);
        put16(body_, unsigned(value.size()));
        body_.insert(body_.end(), value.begin(), value.end());
        return *this;
    }
    Builder &raw(const Bytes &bytes) {
        body_.insert(body_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    Builder &offset(uint8_t offset) {
        offset_ = offset;
        return *this;
    }
    Bytes bytes() const {
        Bytes out;
        put16(out, unsigned(FAILOVER_HEADER_SIZE + body_.size()));
        out.push_back(type_);
        out.push_back(offset_);
        put32(out, time_);
        put32(out, xid_);
        out.insert(out.end(), body_.begin(), body_.end());
        return out;
    }

private:
    uint8_t type_;
    uint8_t offset_ = FAILOVER_HEADER_SIZE;
    uint32_t time_, xid_;
    Bytes body_;
};

// Decodes from a buffer of exactly that size, so that a sanitizer sees every byte read too far.
struct Decoded {
    explicit Decoded(const Bytes &bytes) : input(bytes) {
        input.shrink_to_fit();
        memset(&m, 0xee, sizeof(m));
        result = failover_message_decode(input.data(), input.size(), &m, &consumed);
    }
    Bytes input;
    failover_message m;
    size_t consumed = 0;
    failover_decode_result result;
};

// Encodes into a buffer of exactly `capacity` bytes.
Bytes encode(const failover_message &m, size_t capacity = FAILOVER_MESSAGE_SIZE_MAX) {
    Bytes out(capacity);
    out.shrink_to_fit();
    out.resize(failover_message_encode(&m, out.data(), capacity));
    return out;
}

// dhcpd's order of options for each type; vendor-specific-options at the end are ours.
const std::map<uint8_t, std::vector<unsigned>> options_of_type = {
    {FAILOVER_POOLREQ, {}},
    {FAILOVER_POOLRESP, {1}},
    {FAILOVER_BNDUPD, {2, 3, 4, 5, 13, 18, 25, 6, 12}},
    {FAILOVER_BNDACK, {2, 21, 16}},
    {FAILOVER_CONNECT, {22, 14, 19, 28, 20, 27, 15, 11, 29}},
    {FAILOVER_CONNECTACK, {22, 14, 19, 28, 20, 26, 21, 16, 29}},
    {FAILOVER_UPDREQALL, {}},
    {FAILOVER_UPDDONE, {}},
    {FAILOVER_UPDREQ, {}},
    {FAILOVER_STATE, {24, 23, 25, 29}},
    {FAILOVER_CONTACT, {}},
    {FAILOVER_DISCONNECT, {21, 16}},
};

// Sizes of the fixed ones; all others are byte strings.
const std::map<unsigned, size_t> fixed_sizes = {
    {1, 4},  {2, 4},  {3, 1},  {6, 4},  {10, 1}, {11, 32}, {12, 2}, {13, 4}, {14, 4}, {15, 4},
    {18, 4}, {19, 4}, {20, 1}, {21, 1}, {23, 1}, {24, 1},  {25, 4}, {26, 1}, {27, 1},
};

Bytes value_of(unsigned code, size_t size) {
    Bytes value(size);
    for (size_t i = 0; i < size; i++) {
        value[i] = uint8_t(0x11 * (i + 1) + code);
    }
    return value;
}

size_t size_of(unsigned code) {
    auto fixed = fixed_sizes.find(code);
    return fixed != fixed_sizes.end() ? fixed->second : 5 + code % 3;
}

bool uses(uint8_t type, unsigned code) {
    const std::vector<unsigned> &codes = options_of_type.at(type);
    return std::find(codes.begin(), codes.end(), code) != codes.end();
}

Bytes full_message(uint8_t type) {
    Builder b(type);
    for (unsigned code : options_of_type.at(type)) {
        b.option(code, value_of(code, size_of(code)));
    }
    return b.bytes();
}

// ---- What dhcpd sends, byte for byte --------------------------------------------------------------------------------

struct Example {
    const char *name;
    uint8_t type;
    size_t size;
    std::string hex;
};

std::string repeated(const char *text, int times) {
    std::string all;
    while (times-- > 0) {
        all += text;
    }
    return all;
}

const std::string client_id = "00040007010a0000000001 ";
const std::string hardware = "00050007010a0000000001 ";

const Example examples[] = {
    {"Connect", FAILOVER_CONNECT, 105,
     "0069050c6b06245300000000 00160003666f31 000e00040000000a 0013000400000014 "
     "001c000c6973632d342e342e332d5031 0014000101 001b000100 000f000400000028 000b0020" +
         repeated("ff", 16) + repeated("00", 16)},
    {"Connectack", FAILOVER_CONNECTACK, 61,
     "003d060c6b06245300000000 00160003666f31 000e00040000000a 0013000400000014 "
     "001c000c6973632d342e342e332d5031 0014000101 001a000100"},
    {"ConnectackReject8", FAILOVER_CONNECTACK, 90,
     "005a060c6b0627a700000000 00160005616c706861 001c000c6973632d342e342e332d5031 0014000101 001a000100 "
     "0015000108 00100022" +
         hex_of("unknown failover relationship name")},
    {"StateRecoverInStartup", FAILOVER_STATE, 30, "001e0a0c6b06245300000000 0018000106 0017000101 001900046b062453"},
    {"StateRecoverWait", FAILOVER_STATE, 30, "001e0a0c6b06267a00000005 00180001fe 0017000100 001900046b06267a"},
    {"Contact", FAILOVER_CONTACT, 12, "000c0b0c6b06245900000025"},
    {"Updreqall", FAILOVER_UPDREQALL, 12, "000c070c6b06245300000003"},
    {"Updreq", FAILOVER_UPDREQ, 12, "000c090c6b0628c500000003"},
    {"Upddone", FAILOVER_UPDDONE, 12, "000c080c6b06245300000003"},
    {"Poolreq", FAILOVER_POOLREQ, 12, "000c010c6b0624e000000028"},
    {"Poolresp", FAILOVER_POOLRESP, 20, "0014020c6b0624e000000028 0001000400000004"},
    {"BndupdVirginFree", FAILOVER_BNDUPD, 49,
     "0031030c6b06245300000004 000200040a630064 0003000101 000d000400000000 0012000400000000 "
     "0019000400000000"},
    {"BndupdBackup", FAILOVER_BNDUPD, 49,
     "0031030c6b0624530000001b 000200040a630064 0003000107 000d000400000000 001200046b062453 "
     "001900046b062453"},
    {"BndupdActive", FAILOVER_BNDUPD, 79,
     "004f030c6b0624610000001c 000200040a63006d 0003000102 " + client_id + hardware +
         "000d00046b062489 001200046b0624ed 001900046b062461 000600046b062461"},
    {"BndupdReleased", FAILOVER_BNDUPD, 79,
     "004f030c6b0624cd0000001c 000200040a63006d 0003000104 " + client_id + hardware +
         "000d00046b0624cd 001200046b0624cd 001900046b0624c3 000600046b0624c7"},
    {"BndupdExpired", FAILOVER_BNDUPD, 68,
     "0044030c6b06256000000033 000200040a63006e 0003000103 00050007010a0000000004 000d00046b062560 "
     "001200046b06257e 001900046b062524 000600046b062524"},
    {"BndupdAbandoned", FAILOVER_BNDUPD, 57,
     "0039030c6b0624d70000001e 000200040a63006d 0003000105 000d00046b077657 001200046b06255f "
     "001900046b0624d3 000600046b0624d3"},
    {"BndupdActiveReserved", FAILOVER_BNDUPD, 74,
     "004a030c6b062eee0000000e 000200040a630067 0003000102 " + hardware +
         "000d00046b062f0c 001200046b062f25 001900046b062eee 000600046b062eee 000c00020001"},
    {"BndackAccept", FAILOVER_BNDACK, 20, "0014040c6b0624620000001c 000200040a63006d"},
    {"BndackReject16", FAILOVER_BNDACK, 82,
     "0052040c6b0624d70000001e 000200040a63006d 0015000110 00100035" +
         hex_of("incoming update is less critical than outgoing update")},
    {"Disconnect7", FAILOVER_DISCONNECT, 38,
     "00260c0c6b062f8b00000002 0015000107 00100011" + hex_of("already connected")},
};

const Example &example(const std::string &name) {
    for (const Example &e : examples) {
        if (name == e.name) {
            return e;
        }
    }
    abort();
}

class MessageExample : public ::testing::TestWithParam<Example> {};

TEST_P(MessageExample, IsReadAndWrittenAgainAsTheSameBytes) {
    Bytes bytes = from_hex(GetParam().hex);
    ASSERT_EQ(GetParam().size, bytes.size());
    Decoded d(bytes);
    ASSERT_EQ(FAILOVER_DECODED, d.result) << failover_decode_text(d.result);
    EXPECT_EQ(bytes.size(), d.consumed);
    EXPECT_EQ(GetParam().type, d.m.type);
    EXPECT_EQ(to_hex(bytes), to_hex(encode(d.m)));
}

TEST_P(MessageExample, IsIncompleteAtEveryByteBeforeTheLast) {
    Bytes bytes = from_hex(GetParam().hex);
    for (size_t length = 0; length < bytes.size(); length++) {
        Bytes half(bytes.begin(), bytes.begin() + long(length));
        half.shrink_to_fit();
        failover_message m;
        memset(&m, 0xee, sizeof(m));
        size_t consumed = 777;
        EXPECT_EQ(FAILOVER_INCOMPLETE, failover_message_decode(half.data(), half.size(), &m, &consumed)) << length;
        EXPECT_EQ(777u, consumed) << length;
    }
}

TEST_P(MessageExample, LeavesTheNextMessageAlone) {
    Bytes bytes = from_hex(GetParam().hex);
    size_t first = bytes.size();
    Bytes next = from_hex(example("Contact").hex);
    bytes.insert(bytes.end(), next.begin(), next.end());
    Decoded d(bytes);
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ(first, d.consumed);
    EXPECT_EQ(GetParam().type, d.m.type);
}

INSTANTIATE_TEST_SUITE_P(Dhcpd, MessageExample, ::testing::ValuesIn(examples),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(Message, ConnectSaysWhatDhcpdMeans) {
    Decoded d(from_hex(example("Connect").hex));
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ(0x6b062453u, d.m.time);
    EXPECT_EQ(0u, d.m.xid);
    EXPECT_EQ("fo1", text_of(d.m.relationship_name));
    EXPECT_EQ(10u, d.m.max_unacked_bndupd);
    EXPECT_EQ(20u, d.m.receive_timer);
    EXPECT_EQ("isc-4.4.3-P1", text_of(d.m.vendor_class_identifier));
    EXPECT_EQ(1, d.m.protocol_version);
    EXPECT_EQ(0, d.m.tls_request);
    EXPECT_EQ(40u, d.m.mclt);
    EXPECT_EQ(repeated("ff", 16) + repeated("00", 16), hex_of(d.m.hash_bucket_assignment));
    EXPECT_FALSE(failover_has(&d.m, FAILOVER_OPT_TLS_REPLY));
    EXPECT_FALSE(failover_has(&d.m, FAILOVER_OPT_REJECT_REASON));
}

TEST(Message, ConnectackSaysWhatDhcpdMeans) {
    Decoded d(from_hex(example("ConnectackReject8").hex));
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ("alpha", text_of(d.m.relationship_name));
    EXPECT_EQ(FAILOVER_REJECT_INVALID_PARTNER, d.m.reject_reason);
    EXPECT_EQ("unknown failover relationship name", text_of(d.m.message));
    EXPECT_TRUE(failover_has(&d.m, FAILOVER_OPT_TLS_REPLY));
    EXPECT_FALSE(failover_has(&d.m, FAILOVER_OPT_MAX_UNACKED_BNDUPD));
    EXPECT_FALSE(failover_has(&d.m, FAILOVER_OPT_RECEIVE_TIMER));
}

TEST(Message, StateSaysWhatDhcpdMeans) {
    Decoded startup(from_hex(example("StateRecoverInStartup").hex));
    EXPECT_EQ(6, startup.m.server_state);
    EXPECT_EQ(FAILOVER_SERVER_FLAG_STARTUP, startup.m.server_flags);
    EXPECT_EQ(0x6b062453, startup.m.start_time_of_state);
    Decoded wait(from_hex(example("StateRecoverWait").hex));
    EXPECT_EQ(254, wait.m.server_state);
    EXPECT_EQ(0, wait.m.server_flags);
    EXPECT_EQ(5u, wait.m.xid);
}

TEST(Message, BndupdSaysWhatDhcpdMeans) {
    Decoded d(from_hex(example("BndupdActive").hex));
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ(0x1cu, d.m.xid);
    EXPECT_EQ(0x0a63006du, d.m.assigned_ip_address) << "10.99.0.109 in host byte order";
    EXPECT_EQ(2, d.m.binding_status);
    EXPECT_EQ("010a0000000001", hex_of(d.m.client_identifier));
    EXPECT_EQ("010a0000000001", hex_of(d.m.client_hardware_address));
    EXPECT_EQ(0x6b062489, d.m.lease_expiration_time);
    EXPECT_EQ(0x6b0624ed, d.m.potential_expiration_time);
    EXPECT_EQ(0x6b062461, d.m.start_time_of_state);
    EXPECT_EQ(0x6b062461, d.m.client_last_transaction_time);
    EXPECT_FALSE(failover_has(&d.m, FAILOVER_OPT_IP_FLAGS));
    Decoded reserved(from_hex(example("BndupdActiveReserved").hex));
    EXPECT_EQ(FAILOVER_IP_FLAG_RESERVED, reserved.m.ip_flags);
    EXPECT_FALSE(failover_has(&reserved.m, FAILOVER_OPT_CLIENT_IDENTIFIER));
}

TEST(Message, ZeroTimesAreThereAndMeanNever) {
    Decoded d(from_hex(example("BndupdVirginFree").hex));
    EXPECT_TRUE(failover_has(&d.m, FAILOVER_OPT_LEASE_EXPIRATION_TIME));
    EXPECT_EQ(0, d.m.lease_expiration_time);
    EXPECT_EQ(0, d.m.potential_expiration_time);
    EXPECT_FALSE(failover_has(&d.m, FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME));
}

TEST(Message, PoolrespBndackAndDisconnectSayWhatDhcpdMeans) {
    Decoded poolresp(from_hex(example("Poolresp").hex));
    EXPECT_EQ(4u, poolresp.m.addresses_transferred);
    EXPECT_EQ(0x28u, poolresp.m.xid);
    Decoded ack(from_hex(example("BndackReject16").hex));
    EXPECT_EQ(FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION, ack.m.reject_reason);
    EXPECT_EQ("incoming update is less critical than outgoing update", text_of(ack.m.message));
    Decoded disconnect(from_hex(example("Disconnect7").hex));
    EXPECT_EQ(FAILOVER_REJECT_DUPLICATE_CONNECTION, disconnect.m.reject_reason);
    EXPECT_EQ("already connected", text_of(disconnect.m.message));
}

TEST(Message, EncodesAStateFromItsFields) {
    failover_message m{};
    m.type = FAILOVER_STATE;
    m.time = 0x6b06267a;
    m.xid = 5;
    m.server_state = 254;
    m.start_time_of_state = 0x6b06267a;
    failover_put(&m, FAILOVER_OPT_SERVER_STATE);
    failover_put(&m, FAILOVER_OPT_SERVER_FLAGS);
    failover_put(&m, FAILOVER_OPT_START_TIME_OF_STATE);
    EXPECT_EQ(to_hex(from_hex(example("StateRecoverWait").hex)), to_hex(encode(m)));
}

// ---- Every type with every option -----------------------------------------------------------------------------------

class MessageType : public ::testing::TestWithParam<uint8_t> {};

TEST_P(MessageType, CarriesAllItsOptions) {
    Bytes bytes = full_message(GetParam());
    Decoded d(bytes);
    ASSERT_EQ(FAILOVER_DECODED, d.result) << failover_decode_text(d.result);
    for (unsigned code = 1; code < FAILOVER_OPTIONS; code++) {
        EXPECT_EQ(uses(GetParam(), code), failover_has(&d.m, failover_option(code))) << code;
    }
    EXPECT_EQ(to_hex(bytes), to_hex(encode(d.m)));
}

TEST_P(MessageType, CarriesAnyOneOfItsOptionsAlone) {
    for (unsigned code : options_of_type.at(GetParam())) {
        Bytes bytes = Builder(GetParam()).option(code, value_of(code, size_of(code))).bytes();
        Decoded d(bytes);
        ASSERT_EQ(FAILOVER_DECODED, d.result) << code;
        EXPECT_EQ(1u << code, d.m.present);
        EXPECT_EQ(to_hex(bytes), to_hex(encode(d.m))) << code;
    }
}

TEST_P(MessageType, TakesItsOptionsInAnyOrder) {
    std::vector<unsigned> codes = options_of_type.at(GetParam());
    Bytes in_order = full_message(GetParam());
    std::mt19937 random(GetParam());
    for (int round = 0; round < 20; round++) {
        std::shuffle(codes.begin(), codes.end(), random);
        Builder b(GetParam());
        for (unsigned code : codes) {
            b.option(code, value_of(code, size_of(code)));
        }
        Decoded d(b.bytes());
        ASSERT_EQ(FAILOVER_DECODED, d.result);
        EXPECT_EQ(to_hex(in_order), to_hex(encode(d.m)));
    }
}

TEST_P(MessageType, PassesOverOptionsItHasNoUseFor) {
    for (unsigned code : {0u,  1u,  2u,  3u,  4u,  5u,  6u,  7u,  8u,  9u,  10u, 11u, 12u, 13u, 14u, 15u,   16u,
                          17u, 18u, 19u, 20u, 21u, 22u, 23u, 24u, 25u, 26u, 27u, 28u, 29u, 30u, 41u, 4000u, 65535u}) {
        if (code < FAILOVER_OPTIONS && uses(GetParam(), code)) {
            continue;
        }
        for (size_t size : {0u, 1u, 3u, 200u}) {
            Bytes bytes = Builder(GetParam()).option(code, Bytes(size, 0xff)).option(code, Bytes(size, 0xff)).bytes();
            Decoded d(bytes);
            EXPECT_EQ(FAILOVER_DECODED, d.result) << code << " of " << size;
            EXPECT_EQ(0u, d.m.present) << code;
            EXPECT_EQ(bytes.size(), d.consumed);
        }
    }
}

TEST_P(MessageType, RefusesARepeatedOption) {
    for (unsigned code : options_of_type.at(GetParam())) {
        Bytes value = value_of(code, size_of(code));
        Decoded d(Builder(GetParam()).option(code, value).option(code, value).bytes());
        EXPECT_EQ(FAILOVER_REPEATED_OPTION, d.result) << code;
    }
}

TEST_P(MessageType, RefusesAFixedOptionOfAnotherSize) {
    for (unsigned code : options_of_type.at(GetParam())) {
        if (fixed_sizes.count(code) == 0 || code == FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT) {
            continue;
        }
        size_t right = fixed_sizes.at(code);
        for (size_t size : {size_t(0), right - 1, right + 1, right * 2, size_t(100)}) {
            Decoded d(Builder(GetParam()).option(code, value_of(code, size)).bytes());
            EXPECT_EQ(FAILOVER_BAD_OPTION_SIZE, d.result) << code << " of " << size;
        }
    }
}

TEST_P(MessageType, RefusesAnOptionThatRunsPastTheEnd) {
    Bytes bytes = full_message(GetParam());
    // The same message, cut short after each byte of its options with a length field that says so.
    for (size_t cut = FAILOVER_HEADER_SIZE + 1; cut < bytes.size(); cut++) {
        Bytes shorter(bytes.begin(), bytes.begin() + long(cut));
        shorter[0] = uint8_t(cut >> 8);
        shorter[1] = uint8_t(cut);
        Decoded d(shorter);
        bool at_border = d.result == FAILOVER_DECODED && encode(d.m) == shorter;
        EXPECT_TRUE(at_border || d.result == FAILOVER_BAD_OPTION) << cut << ": " << failover_decode_text(d.result);
    }
}

TEST_P(MessageType, RefusesLeftOverBytes) {
    for (size_t left = 1; left <= 3; left++) {
        Decoded d(Builder(GetParam()).raw(Bytes(left, 0)).bytes());
        EXPECT_EQ(FAILOVER_BAD_OPTION, d.result) << left;
    }
    EXPECT_EQ(FAILOVER_DECODED, Decoded(Builder(GetParam()).raw(Bytes(4, 0)).bytes()).result) << "an empty option 0";
}

INSTANTIATE_TEST_SUITE_P(All, MessageType, ::testing::Range(uint8_t(1), uint8_t(13)),
                         [](const auto &info) { return std::string(failover_message_name(info.param)); });

TEST(Message, TakesByteStringsOfAnyLength) {
    for (size_t size : {0u, 1u, 255u, 1000u, 2032u}) {
        Bytes bytes = Builder(FAILOVER_DISCONNECT).option(FAILOVER_OPT_MESSAGE, Bytes(size, 'x')).bytes();
        Decoded d(bytes);
        ASSERT_EQ(FAILOVER_DECODED, d.result) << size;
        EXPECT_EQ(size, d.m.message.length);
        EXPECT_EQ(to_hex(bytes), to_hex(encode(d.m)));
    }
}

TEST(Message, LeavesAnHbaOfAnotherSizeToTheConnection) {
    // It is answered with its own reject reason, so it must get through.
    for (size_t size : {0u, 1u, 31u, 33u, 64u}) {
        Decoded d(Builder(FAILOVER_CONNECT).option(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT, Bytes(size, 1)).bytes());
        ASSERT_EQ(FAILOVER_DECODED, d.result) << size;
        EXPECT_TRUE(failover_has(&d.m, FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT));
        EXPECT_EQ(size, d.m.hash_bucket_assignment.length);
    }
}

TEST(Message, TakesAHardwareAddressOfAnyLength) {
    // Which ones are too long is the update's to say, in a BNDACK.
    for (size_t size : {0u, 1u, 7u, 21u, 22u, 255u}) {
        Decoded d(Builder(FAILOVER_BNDUPD).option(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS, Bytes(size, 1)).bytes());
        ASSERT_EQ(FAILOVER_DECODED, d.result) << size;
        EXPECT_EQ(size, d.m.client_hardware_address.length);
    }
}

// ---- Malformed messages ---------------------------------------------------------------------------------------------

TEST(Message, RefusesLengthsOutside12To2048AsSoonAsTheyAreThere) {
    for (unsigned length : {0u, 1u, 11u, 2049u, 4096u, 65535u}) {
        Bytes two;
        put16(two, length);
        EXPECT_EQ(FAILOVER_BAD_LENGTH, Decoded(two).result) << length;
        two.resize(3000, 0x0b);
        EXPECT_EQ(FAILOVER_BAD_LENGTH, Decoded(two).result) << length;
    }
    EXPECT_EQ(FAILOVER_DECODED, Decoded(Builder(FAILOVER_CONTACT).bytes()).result) << "12";
    Bytes longest = Builder(FAILOVER_CONTACT).option(4000, Bytes(2048 - 12 - 4, 0)).bytes();
    ASSERT_EQ(2048u, longest.size());
    EXPECT_EQ(FAILOVER_DECODED, Decoded(longest).result) << "2048";
}

TEST(Message, RefusesUnknownTypes) {
    for (unsigned type : {0u, 13u, 14u, 127u, 128u, 255u}) {
        EXPECT_EQ(FAILOVER_BAD_TYPE, Decoded(Builder(uint8_t(type)).bytes()).result) << type;
        EXPECT_EQ(FAILOVER_BAD_TYPE, Decoded(Builder(uint8_t(type)).option(2, {10, 0, 0, 1}).bytes()).result) << type;
    }
}

TEST(Message, RefusesAPayloadOffsetIntoTheHeaderOrBehindTheEnd) {
    Builder state(FAILOVER_STATE);
    state.option(FAILOVER_OPT_SERVER_STATE, {2});
    size_t size = state.bytes().size();
    for (unsigned offset : {0u, 1u, 8u, 11u, unsigned(size + 1), 255u}) {
        EXPECT_EQ(FAILOVER_BAD_OFFSET, Decoded(state.offset(uint8_t(offset)).bytes()).result) << offset;
    }
    EXPECT_EQ(FAILOVER_BAD_OFFSET, Decoded(Builder(FAILOVER_CONTACT).offset(13).bytes()).result);
}

TEST(Message, SkipsALongerHeader) {
    Bytes bytes = Builder(FAILOVER_STATE).raw({1, 2, 3, 4}).option(FAILOVER_OPT_SERVER_STATE, {2}).offset(16).bytes();
    Decoded d(bytes);
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ(bytes.size(), d.consumed);
    EXPECT_EQ(2, d.m.server_state);
    Bytes only_header = Builder(FAILOVER_CONTACT).raw({1, 2, 3, 4}).offset(16).bytes();
    EXPECT_EQ(FAILOVER_DECODED, Decoded(only_header).result) << "an offset at the very end: no options";
}

TEST(Message, RefusesHugeOptionLengths) {
    for (unsigned length : {5u, 0x7fffu, 0x8000u, 0xfffcu, 0xffffu}) {
        for (unsigned code : {2u, 16u, 4000u}) {
            Bytes option;
            put16(option, code);
            put16(option, length);
            option.resize(8, 0);
            EXPECT_EQ(FAILOVER_BAD_OPTION, Decoded(Builder(FAILOVER_BNDACK).raw(option).bytes()).result) << length;
        }
    }
}

TEST(Message, RefusesBindingsBatchedInOneBndupd) {
    Decoded d(Builder(FAILOVER_BNDUPD)
                  .option(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, {10, 0, 0, 1})
                  .option(FAILOVER_OPT_BINDING_STATUS, {1})
                  .option(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, {10, 0, 0, 2})
                  .option(FAILOVER_OPT_BINDING_STATUS, {1})
                  .bytes());
    EXPECT_EQ(FAILOVER_REPEATED_OPTION, d.result);
}

TEST(Message, ReadFromRandomBytesIsWrittenAndReadAlike) {
    // Whatever decodes can be written, and says the same when it is read again.
    std::mt19937 random(1);
    int decoded = 0;
    for (int round = 0; round < 200000; round++) {
        Builder b(uint8_t(random() % 14));
        for (unsigned options = random() % 5; options > 0; options--) {
            unsigned code = random() % 32;
            size_t size = random() % 8 != 0 && code < 30 ? size_of(code) : random() % 12;
            Bytes value(size);
            std::generate(value.begin(), value.end(), [&] { return uint8_t(random()); });
            b.option(code, value);
        }
        Bytes bytes = b.bytes();
        if (random() % 4 == 0) {
            bytes[random() % bytes.size()] ^= uint8_t(1u << random() % 8);
        }
        Decoded d(bytes);
        if (d.result != FAILOVER_DECODED) {
            continue;
        }
        decoded++;
        Bytes again = encode(d.m);
        ASSERT_FALSE(again.empty());
        Decoded second(again);
        ASSERT_EQ(FAILOVER_DECODED, second.result) << to_hex(bytes);
        ASSERT_EQ(d.m.present, second.m.present);
        ASSERT_EQ(to_hex(again), to_hex(encode(second.m)));
    }
    EXPECT_GT(decoded, 20000);
}

// ---- Times ----------------------------------------------------------------------------------------------------------

failover_message with_end(int64_t end, uint32_t now) {
    failover_message m{};
    m.type = FAILOVER_BNDUPD;
    m.time = now;
    m.lease_expiration_time = end;
    failover_put(&m, FAILOVER_OPT_LEASE_EXPIRATION_TIME);
    return m;
}

uint32_t written(int64_t end, uint32_t now) {
    Bytes bytes = encode(with_end(end, now));
    EXPECT_EQ(20u, bytes.size());
    return uint32_t(bytes[16]) << 24 | uint32_t(bytes[17]) << 16 | uint32_t(bytes[18]) << 8 | bytes[19];
}

int64_t read_back(uint32_t wire, uint32_t now) {
    Bytes value;
    put32(value, wire);
    Decoded d(Builder(FAILOVER_BNDUPD, now).option(FAILOVER_OPT_LEASE_EXPIRATION_TIME, value).bytes());
    EXPECT_EQ(FAILOVER_DECODED, d.result);
    return d.m.lease_expiration_time;
}

constexpr uint32_t YEAR_2027 = 1800000000;
constexpr uint32_t JUST_BEFORE_2038 = 0x7fffffff - 60;
constexpr uint32_t JUST_AFTER_2038 = 0x7fffffff + 60u;
constexpr uint32_t JUST_BEFORE_2106 = UINT32_MAX - 60;

TEST(MessageTime, IsWrittenAsItIsWithinItsRange) {
    for (int64_t end : {int64_t(0), int64_t(1), int64_t(YEAR_2027), int64_t(0x7ffffffe), int64_t(0x80000000),
                        int64_t(UINT32_MAX - 1)}) {
        EXPECT_EQ(uint32_t(end), written(end, YEAR_2027));
        EXPECT_EQ(end, read_back(uint32_t(end), YEAR_2027));
    }
}

TEST(MessageTime, IsSaturatedAndNeverWrapped) {
    for (int64_t end : {int64_t(UINT32_MAX), int64_t(UINT32_MAX) + 1, int64_t(UINT32_MAX) + 3600, int64_t(1) << 40,
                        FAILOVER_TIME_INFINITE - 1}) {
        EXPECT_EQ(UINT32_MAX, written(end, YEAR_2027)) << end;
        EXPECT_EQ(UINT32_MAX, written(end, JUST_BEFORE_2106)) << end;
    }
    EXPECT_EQ(0u, written(-1, YEAR_2027));
    EXPECT_EQ(0u, written(INT64_MIN, YEAR_2027));
}

TEST(MessageTime, WithoutAnEndIsDhcpdsNeverUntil2038) {
    EXPECT_EQ(0x7fffffffu, written(FAILOVER_TIME_INFINITE, YEAR_2027));
    EXPECT_EQ(0x7fffffffu, written(FAILOVER_TIME_INFINITE, JUST_BEFORE_2038));
    EXPECT_EQ(0x7fffffffu, written(FAILOVER_TIME_INFINITE, 0x7ffffffe));
    // From then on that number is past.
    EXPECT_EQ(UINT32_MAX, written(FAILOVER_TIME_INFINITE, 0x7fffffff));
    EXPECT_EQ(UINT32_MAX, written(FAILOVER_TIME_INFINITE, JUST_AFTER_2038));
    EXPECT_EQ(UINT32_MAX, written(FAILOVER_TIME_INFINITE, JUST_BEFORE_2106));
}

TEST(MessageTime, ThatMeansNeverIsReadAsNever) {
    EXPECT_EQ(FAILOVER_TIME_INFINITE, read_back(0x7fffffff, YEAR_2027));
    EXPECT_EQ(FAILOVER_TIME_INFINITE, read_back(0x7fffffff, 0x7ffffffe));
    EXPECT_EQ(0x7fffffff, read_back(0x7fffffff, 0x7fffffff)) << "now it is a time like any other";
    EXPECT_EQ(0x7fffffff, read_back(0x7fffffff, JUST_AFTER_2038));
    for (uint32_t now : {0u, YEAR_2027, JUST_BEFORE_2038, JUST_AFTER_2038, JUST_BEFORE_2106, UINT32_MAX}) {
        EXPECT_EQ(FAILOVER_TIME_INFINITE, read_back(UINT32_MAX, now)) << now;
    }
}

// valid-lifetime 4294967295 and 2147483648, on the days on which 31 and 32 bits run out.
TEST(MessageTime, OfAHugeLifetimeIsNeverInThePartnersPast) {
    for (uint32_t now : {YEAR_2027, JUST_BEFORE_2038, 0x7ffffffeu, 0x7fffffffu, JUST_AFTER_2038, JUST_BEFORE_2106}) {
        for (int64_t end : {FAILOVER_TIME_INFINITE, int64_t(now) + 0xffffffff, int64_t(now) + 0x80000000,
                            int64_t(now) + 86400, int64_t(now) + 61}) {
            int64_t partners = read_back(written(end, now), now);
            EXPECT_GE(partners, end) << "now " << now;
            EXPECT_TRUE(partners == end || partners == FAILOVER_TIME_INFINITE) << "now " << now << ", end " << end;
        }
        EXPECT_EQ(FAILOVER_TIME_INFINITE, read_back(written(FAILOVER_TIME_INFINITE, now), now));
    }
}

TEST(MessageTime, OptionsOfEveryKindAreSaturated) {
    failover_message m = with_end(FAILOVER_TIME_INFINITE, YEAR_2027);
    m.potential_expiration_time = m.client_last_transaction_time = m.start_time_of_state = int64_t(1) << 33;
    failover_put(&m, FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME);
    failover_put(&m, FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME);
    failover_put(&m, FAILOVER_OPT_START_TIME_OF_STATE);
    Decoded d(encode(m));
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ(FAILOVER_TIME_INFINITE, d.m.lease_expiration_time);
    EXPECT_EQ(FAILOVER_TIME_INFINITE, d.m.potential_expiration_time);
    EXPECT_EQ(FAILOVER_TIME_INFINITE, d.m.client_last_transaction_time);
    EXPECT_EQ(FAILOVER_TIME_INFINITE, d.m.start_time_of_state);
}

TEST(MessageTime, OfTheHeaderAndNumbersKeepAll32Bits) {
    failover_message m{};
    m.type = FAILOVER_CONNECT;
    m.time = m.xid = m.mclt = m.receive_timer = m.max_unacked_bndupd = 0xfedcba98;
    failover_put(&m, FAILOVER_OPT_MCLT);
    failover_put(&m, FAILOVER_OPT_RECEIVE_TIMER);
    failover_put(&m, FAILOVER_OPT_MAX_UNACKED_BNDUPD);
    Decoded d(encode(m));
    ASSERT_EQ(FAILOVER_DECODED, d.result);
    EXPECT_EQ(0xfedcba98u, d.m.time);
    EXPECT_EQ(0xfedcba98u, d.m.xid);
    EXPECT_EQ(0xfedcba98u, d.m.mclt);
    EXPECT_EQ(0xfedcba98u, d.m.receive_timer);
    EXPECT_EQ(0xfedcba98u, d.m.max_unacked_bndupd);
}

// ---- Encoding -------------------------------------------------------------------------------------------------------

TEST(Message, IsNotWrittenWhereItDoesNotFit) {
    for (const Example &e : examples) {
        Decoded d(from_hex(e.hex));
        for (size_t capacity = 0; capacity < e.size; capacity++) {
            EXPECT_TRUE(encode(d.m, capacity).empty()) << e.name << " in " << capacity;
        }
        EXPECT_EQ(e.size, encode(d.m, e.size).size()) << e.name;
    }
}

TEST(Message, IsNeverLongerThan2048) {
    failover_message m{};
    m.type = FAILOVER_DISCONNECT;
    failover_put(&m, FAILOVER_OPT_MESSAGE);
    std::string fits(2048 - 12 - 4, 'x'), too_long(2048 - 12 - 4 + 1, 'x'), huge(65535, 'x');
    m.message = bytes_of(fits);
    EXPECT_EQ(2048u, encode(m, 100000).size());
    m.message = bytes_of(too_long);
    EXPECT_EQ(0u, encode(m, 100000).size());
    m.message = bytes_of(huge);
    EXPECT_EQ(0u, encode(m, 100000).size());
}

TEST(Message, OfAnUnknownTypeIsNotWritten) {
    for (unsigned type : {0u, 13u, 255u}) {
        failover_message m{};
        m.type = uint8_t(type);
        EXPECT_EQ(0u, encode(m).size()) << type;
    }
}

TEST(Message, IsWrittenWithoutOptionsThatItsTypeHasNoUseFor) {
    failover_message m{};
    m.type = FAILOVER_CONTACT;
    m.present = UINT32_MAX;
    EXPECT_EQ(12u, encode(m).size());
}

TEST(Message, TakesAnEmptyByteStringWithoutBytes) {
    failover_message m{};
    m.type = FAILOVER_DISCONNECT;
    failover_put(&m, FAILOVER_OPT_MESSAGE);
    EXPECT_EQ(16u, encode(m).size());
}

// ---- Words ----------------------------------------------------------------------------------------------------------

TEST(Message, TypesHaveTheDraftsNames) {
    const char *names[] = {"POOLREQ",   "POOLRESP", "BNDUPD", "BNDACK", "CONNECT", "CONNECTACK",
                           "UPDREQALL", "UPDDONE",  "UPDREQ", "STATE",  "CONTACT", "DISCONNECT"};
    for (unsigned type = 1; type <= 12; type++) {
        EXPECT_STREQ(names[type - 1], failover_message_name(uint8_t(type)));
    }
    for (unsigned type : {0u, 13u, 255u}) {
        EXPECT_STREQ("unknown message type", failover_message_name(uint8_t(type)));
    }
}

TEST(Message, EveryDecodeResultHasItsOwnText) {
    std::map<std::string, int> texts;
    for (int result = FAILOVER_DECODED; result <= FAILOVER_BAD_TYPE; result++) {
        const char *text = failover_decode_text(failover_decode_result(result));
        ASSERT_NE(nullptr, text) << result;
        EXPECT_GT(strlen(text), 5u);
        texts[text]++;
    }
    EXPECT_EQ(size_t(FAILOVER_BAD_TYPE) + 1, texts.size());
}

TEST(Message, EveryRejectReasonHasAText) {
    std::map<std::string, int> texts;
    for (unsigned reason = 0; reason <= 255; reason++) {
        const char *text = failover_reject_text(uint8_t(reason));
        ASSERT_NE(nullptr, text) << reason;
        texts[text]++;
    }
    EXPECT_EQ(22u, texts.size()) << "1 to 21, and one for all others";
    EXPECT_STREQ("connection rejected, time mismatch too great", failover_reject_text(FAILOVER_REJECT_TIME_MISMATCH));
    EXPECT_STREQ("less critical binding information",
                 failover_reject_text(FAILOVER_REJECT_LESS_CRITICAL_BINDING_INFORMATION));
    EXPECT_STREQ("missing message digest", failover_reject_text(21));
    EXPECT_STREQ("unknown reject reason", failover_reject_text(0));
    EXPECT_STREQ("unknown reject reason", failover_reject_text(22));
    EXPECT_STREQ("unknown reject reason", failover_reject_text(FAILOVER_REJECT_UNSPECIFIED));
}

} // namespace
