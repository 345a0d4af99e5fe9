// SPDX-License-Identifier: MPL-2.0
//
// A small reader of classic pcap files: Ethernet, IPv4, then TCP or UDP.
#ifndef FAILOVER_TESTS_PCAP_H
#define FAILOVER_TESTS_PCAP_H

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

namespace failover_test {

using Bytes = std::vector<uint8_t>;

constexpr uint16_t FAILOVER_PORT = 647;

inline uint32_t big_endian(const uint8_t *p, int size) {
    uint32_t v = 0;
    for (int i = 0; i < size; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

struct Frame {
    int64_t time; // microseconds since 1970
    Bytes bytes;
};

inline std::vector<Frame> read_frames(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    Bytes all((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<Frame> frames;
    if (all.size() < 24) {
        ADD_FAILURE() << path << " can't be read";
        return frames;
    }
    bool little = all[0] == 0xd4 && all[1] == 0xc3 && all[2] == 0xb2 && all[3] == 0xa1;
    EXPECT_TRUE(little || big_endian(&all[0], 4) == 0xa1b2c3d4) << "not a classic pcap file";
    auto number = [&](size_t at) {
        uint32_t v = big_endian(&all[at], 4);
        return little ? __builtin_bswap32(v) : v;
    };
    EXPECT_EQ(1u, number(20)) << "not Ethernet";
    for (size_t at = 24; at + 16 <= all.size();) {
        size_t length = number(at + 8);
        int64_t time = int64_t(number(at)) * 1000000 + number(at + 4);
        at += 16;
        if (at + length > all.size()) {
            ADD_FAILURE() << path << " is cut short";
            break;
        }
        frames.push_back({time, Bytes(all.begin() + long(at), all.begin() + long(at + length))});
        at += length;
    }
    return frames;
}

// What TCP and UDP have in common; of UDP only the ports and the payload mean anything.
struct Segment {
    uint32_t source, destination;
    uint16_t source_port, destination_port;
    uint32_t sequence = 0;
    bool syn = false, ack = false, fin = false, rst = false;
    Bytes payload;
};

enum Protocol : uint8_t { TCP = 6, UDP = 17 };

// False if the frame isn't that protocol over IPv4.
inline bool parse_frame(const Bytes &frame, Protocol protocol, Segment &s) {
    constexpr size_t ETHERNET = 14;
    if (frame.size() < ETHERNET + 20 || big_endian(&frame[12], 2) != 0x0800 || frame[ETHERNET + 9] != protocol) {
        return false;
    }
    const uint8_t *ip = &frame[ETHERNET];
    size_t ip_header = (ip[0] & 15u) * 4;
    size_t ip_length = big_endian(ip + 2, 2);
    EXPECT_LE(ETHERNET + ip_length, frame.size()) << "the frame was captured in part";
    const uint8_t *inner = ip + ip_header;
    s.source = big_endian(ip + 12, 4);
    s.destination = big_endian(ip + 16, 4);
    s.source_port = uint16_t(big_endian(inner, 2));
    s.destination_port = uint16_t(big_endian(inner + 2, 2));
    size_t inner_header = 8;
    if (protocol == TCP) {
        s.sequence = big_endian(inner + 4, 4);
        s.fin = (inner[13] & 1) != 0;
        s.syn = (inner[13] & 2) != 0;
        s.rst = (inner[13] & 4) != 0;
        s.ack = (inner[13] & 16) != 0;
        inner_header = (inner[12] >> 4) * 4u;
    }
    s.payload.assign(inner + inner_header, ip + ip_length);
    return true;
}

// One direction of one connection: its bytes in order, whatever was sent twice or overtook.
class Direction {
public:
    void begin(uint32_t sequence) {
        next_ = sequence + 1;
        begun_ = true;
    }
    void add(uint32_t sequence, const Bytes &payload) {
        if (payload.empty()) {
            return;
        }
        if (!begun_) {
            next_ = sequence; // the capture began later than the connection
            begun_ = true;
        }
        waiting_.push_back({sequence, payload});
        while (take_one()) {
        }
    }
    bool complete() const {
        return waiting_.empty();
    }
    Bytes bytes;

private:
    bool take_one() {
        for (size_t i = 0; i < waiting_.size(); i++) {
            uint32_t known = next_ - waiting_[i].first; // bytes that are here already
            if (known > 0x7fffffff) {
                continue; // it is ahead
            }
            Bytes payload = waiting_[i].second;
            waiting_.erase(waiting_.begin() + long(i));
            if (known < payload.size()) {
                bytes.insert(bytes.end(), payload.begin() + known, payload.end());
                next_ += uint32_t(payload.size()) - known;
            }
            return true;
        }
        return false;
    }
    bool begun_ = false;
    uint32_t next_ = 0;
    std::vector<std::pair<uint32_t, Bytes>> waiting_;
};

// Where the captures are.
inline std::string capture_folder() {
    const char *given = getenv("FAILOVER_CAPTURES");
    if (given != nullptr) {
        return given;
    }
    std::string here = __FILE__;
    size_t slash = here.find_last_of('/');
    return (slash == std::string::npos ? std::string(".") : here.substr(0, slash)) + "/../captures";
}

} // namespace failover_test

#endif
