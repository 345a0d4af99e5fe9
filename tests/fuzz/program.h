// SPDX-License-Identifier: MPL-2.0
//
// The input of the fuzzer of the core is a program: SETTINGS_SIZE bytes that say how the server begins, then events.
// Who writes one by hand, as seeds.cc does, needs these numbers.
#ifndef FAILOVER_TESTS_FUZZ_PROGRAM_H
#define FAILOVER_TESTS_FUZZ_PROGRAM_H

#include <cstdint>

namespace fuzz {

constexpr uint32_t FIRST = 0x0a630064;  // 10.99.0.100, the pool of the captures
constexpr uint32_t SECOND = 0x0a63006e; // 10.99.0.110
constexpr uint32_t ADDRESSES = 8;       // of each of the two pools
constexpr unsigned PEOPLE = 6;          // clients, each with an identifier and without one

// What each settings byte chooses.
enum Setting {
    ROLE,      // bit 0: secondary
    POLICY,    // bit 0: extend; bit 1: partner-down-lease-time full; bit 2: no load balancing; bit 3: reservations
    MCLT,      // 60, 1, 3600, 31622400
    AUTO_DOWN, // off, 1, 60, 31622400
    LIMITS,    // bits 0 and 1: updates in flight; bit 2: min-balance 0; bit 3: max-balance 0; bit 4: misbalance 0
    MEMORY,    // no record, or one that says state MEMORY % 13; bit 7: of this process
    CLOCK,     // 2027, the four bytes that follow, shortly before 2038, shortly before 2106
    CLOCK_BYTES,
    SETTINGS_SIZE = CLOCK_BYTES + 4
};

enum Event : uint8_t {
    CONNECT,    // connection, dialled
    DISCONNECT, // connection
    RAW,        // connection, size (2), bytes
    HANDSHAKE,  // connection, lies; its values
    STATE,      // connection, state, flags, time, skew
    UPDATE,     // connection, what is in it (2), its values
    ACK,        // connection, which, reject reason
    ACK_ALL,    // connection, reject reason
    OTHER,      // connection, type, xid
    PASS,       // how long (255: milliseconds in 4 bytes)
    JUMP,       // how far
    COMMITS,    // on, off, one
    DORA,       // client, desired
    REQUEST,    // client, address, how
    RELEASE,    // address
    DECLINE,    // address, probation
    FORCE,      // state, how, since
    OPERATOR,   // sync, explain, status
    RESTART,    // how
    DIAL_FAILED,
    LINK_UP, // skew, lies; state: the whole way to a link, without a lie
    EVENTS
};

} // namespace fuzz

#endif
