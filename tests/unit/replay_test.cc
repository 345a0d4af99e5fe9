// SPDX-License-Identifier: MPL-2.0
//
// Real conversations of two ISC dhcpd 4.4 servers, replayed against the core: it takes the place of one of
// them, hears what the other one and the clients said, at the times of the capture, and has to say what the
// dhcpd in its place said - but for the differences that are listed here, each with its reason.
//
// What is compared: every message but CONTACT, by type, order, addresses, binding status, times, states,
// flags, reject reasons and texts, and the xid of every answer; the end of connections; what clients are
// given, and for how long; and the state at the end. CONTACT is held to its rule instead (8.3 of the draft: a
// third of the partner's receive-timer after the last message, neither earlier nor later), because whatever
// is sent moves the next one.
//
// "Reference" below is what was measured of dhcpd 4.4 when this library was designed, "draft" is
// draft-ietf-dhc-failover-12, "design" the design of this library.
#include <algorithm>
#include <cmath>
#include <fnmatch.h>
#include <map>
#include <set>
#include <sstream>

#include "load_balance.h"
#include "partner.h"
#include "pcap.h"

using namespace failover_test;

namespace {

// ---- The captures ---------------------------------------------------------------------------------------------------
//
// Times in all tables are in seconds from the second in which the capture begins, so that 0 is the first
// packet's. Addresses are 10.99.0.x and written as ".x"; client 0a:00:00:00:00:xx is "xx", with "/id" if it
// sent a client identifier. The pool begins at .100; the primary is .1, the secondary .2.

constexpr uint32_t NETWORK = 0x0a630000;

enum Side { PRIMARY = 1, SECONDARY = 2, BOTH = 3 };

// How a side is when the capture begins. `since` is the start time of its state.
struct Beginning {
    enum Kind { SCRIPTED, NO_RECORD, NOT_LINKED, LINKED } kind;
    double since;
    failover_state state;
    bool runs = true; // else it is started by the happenings below
};
// A test program was there, so there is no dhcpd to compare with.
Beginning scripted() {
    return {Beginning::SCRIPTED, 0, FAILOVER_UNKNOWN};
}
Beginning first_start_later() {
    return {Beginning::NO_RECORD, 0, FAILOVER_UNKNOWN, false};
}
Beginning first_start(double at) {
    return {Beginning::NO_RECORD, at, FAILOVER_UNKNOWN};
}
Beginning alone_in(failover_state state, double since) {
    return {Beginning::NOT_LINKED, since, state};
}
Beginning stopped_in(failover_state state, double since) {
    return {Beginning::NOT_LINKED, since, state, false};
}
// In the middle of a connection, both in NORMAL.
Beginning linked(double since) {
    return {Beginning::LINKED, since, FAILOVER_NORMAL};
}

struct Capture {
    const char *name;
    uint32_t addresses;
    uint32_t mclt, lease; // seconds; `lease` is what the configuration gives
    uint32_t receive_timer, auto_partner_down;
    Beginning primary, secondary;
    failover_state primary_ends, secondary_ends; // what the core has to be in at the end
    const char *follows = "";                    // the capture whose addresses this one begins with
    // What only one of them has.
    const char *primary_name = "fo1", *secondary_name = "fo1";
    uint32_t mclt_before = 0;            // 0: the same
    std::vector<uint32_t> reserved = {}; // addresses
};

constexpr auto NO = FAILOVER_NORMAL, CI = FAILOVER_COMMUNICATIONS_INTERRUPTED, PD = FAILOVER_PARTNER_DOWN,
               RE = FAILOVER_RECOVER, RW = FAILOVER_RECOVER_WAIT, ST = FAILOVER_STARTUP, UN = FAILOVER_UNKNOWN,
               SH = FAILOVER_SHUTDOWN;

// clang-format off
const Capture captures[] = {
    // name                           pool MCLT lease timer auto  primary           secondary         end in
    {"01-first-contact",               20, 40, 120, 20, 0, first_start(0),   first_start_later(), NO, NO},
    {"02-dora",                        20, 40, 120, 20, 0, linked(-14),      linked(-14),       NO, NO, "01"},
    {"03-renew-release",               20, 40, 120, 20, 0, linked(-5),       linked(-5),        NO, NO},
    {"04-renew-expiry",                20, 30,  60, 20, 0, linked(-5),       linked(-5),        NO, NO},
    {"05-decline",                     20, 40, 120, 20, 0, linked(-20),      linked(-20),       NO, NO, "03"},
    // The secondary's timer did not wait for min-balance after the first balance: for ours that is long ago.
    {"06-pool-rebalance",              20, 40, 120, 20, 0, linked(-29),      linked(-100),      NO, NO, "05"},
    {"07-kill-comm-int-reconnect",     20, 30, 120, 20, 0, linked(-4),       linked(-4),        NO, NO},
    {"08-partner-down-recover",         8, 30, 120, 20, 0, linked(-10),      linked(-10),       NO, NO},
    {"09-db-loss-recover-wait",         8, 30, 120, 20, 0, first_start(0),   alone_in(CI, -2),  NO, NO},
    {"10-shutdown-state",               8, 30, 120, 20, 0, linked(-55),      linked(-55),       RW, NO},
    {"10b-omapi-control-shutdown",      8, 30, 120, 20, 0, linked(-2),       linked(-2),        NO, NO, "09"},
    {"10c-sigterm",                     8, 30, 120, 20, 0, linked(-5),       linked(-5),        UN, CI},
    {"11-name-mismatch",               20, 40, 120, 20, 0, first_start(0),   first_start(0),    RE, RE, "",
     "alpha", "beta"},
    {"12-mclt-change",                 20, 45, 120, 20, 0, stopped_in(NO, -4), alone_in(CI, -2), NO, NO, "",
     "fo1", "fo1", 30},
    {"13-partition-conflict",           8, 30, 120, 12, 0, linked(-3),       linked(-3),        NO, NO},
    {"14-auto-partner-down-conflict",   8, 30, 120,  9, 5, alone_in(PD, 0),  alone_in(PD, 0),   NO, NO},
    {"15-resolution-interrupted",       8, 60, 300,  9, 0, alone_in(PD, -2), alone_in(PD, -2),  NO, NO},
    {"16-reserved-flag",                8, 30,  40, 20, 0, linked(-20),      linked(-20),       NO, NO, "",
     "fo1", "fo1", 0, {103, 104}},
    {"17-probe-connect-rejects",       20, 40, 120, 20, 0, scripted(),       first_start(-2),   UN, ST},
    {"18-probe-connectack-rejects",    20, 40, 120, 20, 0, first_start(-2),  scripted(),        ST, UN},
};

// What was known of addresses when the capture began. Where a capture has no line, and follows none, an
// address is free, was never used and is the primary's. `by` has sent the last BNDUPD of it, and holds it if
// it is ACTIVE.
struct Known {
    const char *captures;
    int first, last;
    failover_binding_status status;
    Side by;
    const char *client;
    int64_t starts, ends, potential, cltt;
};
constexpr int64_t NEVER = INT64_MIN;

const Known known[] = {
    {"03 04 07",    100, 109, FAILOVER_BACKUP, PRIMARY,   "",        -4, NEVER,    -4, NEVER},
    // See above: as if they had been shared out long ago.
    {"06",          100, 108, FAILOVER_BACKUP, PRIMARY,   "",     -1000, NEVER, -1000, NEVER},
    {"08",          100, 102, FAILOVER_BACKUP, PRIMARY,   "",       -10, NEVER,   -10, NEVER},
    {"08",          103, 103, FAILOVER_ACTIVE, SECONDARY, "01/id",   -7,    23,   128,    -7},
    {"08",          104, 104, FAILOVER_ACTIVE, PRIMARY,   "04",      -7,    23,   128,    -7},
    {"09",          100, 102, FAILOVER_BACKUP, PRIMARY,   "",        -7, NEVER,    -7, NEVER},
    {"09",          103, 103, FAILOVER_ACTIVE, SECONDARY, "01/id",   -5,    25,   130,    -5},
    {"09",          104, 104, FAILOVER_ACTIVE, PRIMARY,   "04",      -5,    25,   130,    -5},
    {"10",          100, 103, FAILOVER_BACKUP, PRIMARY,   "",       -55, NEVER,   -55, NEVER},
    // Between 09 and 10b it has expired and was given back.
    {"10b",         102, 102, FAILOVER_BACKUP, PRIMARY,   "3c",      -2,    -4,    -2,   -34},
    {"10c",         100, 103, FAILOVER_BACKUP, PRIMARY,   "",       -50, NEVER,   -50, NEVER},
    {"12",          100, 109, FAILOVER_BACKUP, PRIMARY,   "",       -50, NEVER,   -50, NEVER},
    {"13",          100, 102, FAILOVER_BACKUP, PRIMARY,   "",       -10, NEVER,   -10, NEVER},
    {"13",          103, 103, FAILOVER_ACTIVE, SECONDARY, "01/id",   -4,    26,   131,    -4},
    {"13",          104, 104, FAILOVER_ACTIVE, PRIMARY,   "04",      -4,    26,   131,    -4},
    {"14",          100, 102, FAILOVER_BACKUP, PRIMARY,   "",       -19, NEVER,   -19, NEVER},
    {"14",          103, 103, FAILOVER_ACTIVE, SECONDARY, "01/id",  -16,    14,   119,   -16},
    {"14",          104, 104, FAILOVER_ACTIVE, PRIMARY,   "04",     -16,    14,   119,   -16},
    {"15",          100, 102, FAILOVER_BACKUP, PRIMARY,   "",       -20, NEVER,   -20, NEVER},
    {"15",          103, 103, FAILOVER_ACTIVE, SECONDARY, "01/id",  -16,    44,   314,   -16},
    {"15",          104, 104, FAILOVER_ACTIVE, PRIMARY,   "04",     -16,    44,   314,   -16},
    {"16",          100, 103, FAILOVER_BACKUP, PRIMARY,   "",       -20, NEVER,   -20, NEVER},
};

// What happened at one side and is not in the packets. Times are from the first packet here, not from its
// second.
struct Happening {
    const char *capture;
    Side side;
    double at;
    enum Kind { KILL, START, FORCE, LEASE, RELEASE } kind;
    failover_state state;
    const char *client;
    int address;
};

const Happening happenings[] = {
    {"01", SECONDARY,  2.0,    Happening::START,   UN, "", 0},
    {"07", SECONDARY,  5.5625, Happening::KILL,    UN, "", 0},
    {"07", SECONDARY, 17.89,   Happening::START,   UN, "", 0},
    {"08", PRIMARY,   -0.001,  Happening::KILL,    UN, "", 0},
    {"08", PRIMARY,   38.08,   Happening::START,   UN, "", 0},
    {"08", SECONDARY,  2.0,    Happening::FORCE,   PD, "", 0},
    {"10", PRIMARY,   -0.001,  Happening::FORCE,   SH, "", 0},
    {"10", PRIMARY,    3.11,   Happening::KILL,    UN, "", 0},
    {"10", PRIMARY,    5.14,   Happening::START,   UN, "", 0},
    {"10", PRIMARY,   13.14,   Happening::FORCE,   RE, "", 0},
    // The OMAPI control object's shutdown; dhcpd's message never reaches the wire.
    {"10b", PRIMARY,  16.72,   Happening::FORCE,   SH, "", 0},
    {"10b", PRIMARY,  16.725,  Happening::KILL,    UN, "", 0},
    {"10b", PRIMARY,  19.84,   Happening::START,   UN, "", 0},
    {"10c", PRIMARY,   0.518,  Happening::KILL,    UN, "", 0},
    {"12", PRIMARY,    0,      Happening::START,   UN, "", 0},
    // 13 to 15 hold the failover link only, without the clients.
    {"13", PRIMARY,   11.5,    Happening::FORCE,   PD, "", 0},
    {"13", SECONDARY, 12.1,    Happening::FORCE,   PD, "", 0},
    {"13", SECONDARY, 12.5,    Happening::LEASE,   UN, "02", 102},
    {"13", SECONDARY, 12.5,    Happening::LEASE,   UN, "03", 101},
    {"13", SECONDARY, 12.5,    Happening::RELEASE, UN, "01/id", 103},
    {"13", SECONDARY, 12.5,    Happening::LEASE,   UN, "04", 104},
    {"14", PRIMARY,   -0.3,    Happening::LEASE,   UN, "02", 105},
    {"14", PRIMARY,   -0.3,    Happening::LEASE,   UN, "03", 106},
    {"14", SECONDARY, 70.5,    Happening::LEASE,   UN, "01/id", 103},
    {"15", SECONDARY, -2.2,    Happening::LEASE,   UN, "01/id", 103},
    {"15", SECONDARY, -2.2,    Happening::LEASE,   UN, "04", 104},
    {"15", SECONDARY,  1.8025, Happening::KILL,    UN, "", 0},
    {"15", SECONDARY,  6.98,   Happening::START,   UN, "", 0},
};
// clang-format on

// ---- The differences ------------------------------------------------------------------------------------------------

enum Kind {
    INSTEAD, // we say `ours` where dhcpd says `theirs`: a whole line, or the fields that differ ("$x": as x)
    UNSAID,  // dhcpd says `theirs`, we don't; what the partner answers to it is left out too
    ALSO,    // we say `ours`, dhcpd doesn't; if it is a BNDUPD, the partner acknowledges it
    EARLIER, // we say `theirs` sooner, ahead of what dhcpd says before it
    LATER,   // we say `theirs` later, behind what dhcpd says after it; the partner's answer waits for it
    ORDER,   // we say the messages `theirs` in another order, at the same time
    UNTOLD,  // dhcpd gives `theirs` to a client, and our core is not asked
};

struct Difference {
    const char *captures; // their numbers
    Side side;
    Kind kind;
    const char *theirs; // with wildcards; "#2" at the end: only the second one of these
    const char *ours;
    const char *why; // null: as the line above
};

// clang-format off
const Difference differences[] = {
    // ---- The handshake --------------------------------------------------------------------------------------------------

    {"01 07 08 09 10 10b 11 12 13 14 15 18", PRIMARY, INSTEAD, "CONNECT *",
     "vendor=kea-failover-1 vendor-record=11",
     "Design, 'Who is primary': our own vendor class, and under it the record of the acting primary. A "
     "dhcpd looks at neither (reference 1.7)."},
    {"01 07 08 09 10 10b 12 13 14 15 17", SECONDARY, INSTEAD, "CONNECTACK * tls-reply=0 xid=0",
     "vendor=kea-failover-1 vendor-record=11", nullptr},
    {"11 17", SECONDARY, INSTEAD, "CONNECTACK * reject=*", "vendor=kea-failover-1", nullptr},
    {"17", SECONDARY, ALSO, "",
     "CONNECTACK name=fo1 max-unacked=10 receive-timer=20 vendor=kea-failover-1 version=1 tls-reply=0 xid=0 "
     "reject=5 message=invalid MCLT",
     "Reference 1.7: dhcpd refuses a CONNECT without an MCLT with this reason too, but closes before it has "
     "left."},
    {"18", PRIMARY, INSTEAD, "DISCONNECT * name zzz *",
     "DISCONNECT xid=1 reject=8 message=remote failover relationship name does not match",
     "Reference 1.5: the text is for people. Ours does not repeat what a stranger has sent."},

    // ---- The first STATE of a connection, and start times of states -----------------------------------------------------

    {"07", SECONDARY, INSTEAD, "STATE normal STARTUP *",
     "STATE communications-interrupted STARTUP since=18 xid=0",
     "Reference 2.14 (1), draft 9.3.2: after a start NORMAL is never shown before the partner's state is "
     "known, because it pushes a dhcpd in RECOVER into POTENTIAL-CONFLICT."},
    {"08", PRIMARY, INSTEAD, "STATE normal STARTUP *",
     "STATE communications-interrupted STARTUP since=38 xid=1", nullptr},
    {"12", PRIMARY, INSTEAD, "STATE normal STARTUP *",
     "STATE communications-interrupted STARTUP since=0 xid=1", nullptr},
    {"15", BOTH, UNSAID, "STATE * since=2 xid=?", "",
     "Reference 5 (11): a dhcpd ends, or goes to SHUTDOWN, when it sees the wrong state while a conflict is "
     "being resolved. Where it may be in the middle of that our first STATE of a connection waits for its "
     "own."},
    {"15", PRIMARY, INSTEAD, "STATE potential-conflict since=7", "xid=1", nullptr},
    {"15", SECONDARY, INSTEAD, "STATE potential-conflict since=2#2", "xid=0", nullptr},
    {"01", SECONDARY, UNSAID, "STATE recover STARTUP *", "",
     "The same, where nothing is known of a primary yet."},
    {"01", SECONDARY, INSTEAD, "STATE recover since=2", "xid=0", nullptr},
    {"17", SECONDARY, UNSAID, "STATE recover STARTUP *", "", nullptr},
    {"07", SECONDARY, INSTEAD, "STATE normal since=-4", "since=18",
     "Reference 2.6: dhcpd keeps the old start time on the way out of STARTUP and into RECOVER-WAIT, and "
     "skips waits by that; ours is that of the change."},
    {"08", PRIMARY, INSTEAD, "STATE recover since=-10", "since=38", nullptr},
    {"12", PRIMARY, INSTEAD, "STATE normal since=-4", "since=0", nullptr},
    {"15", SECONDARY, INSTEAD, "STATE potential-conflict since=2#2", "since=7", nullptr},
    {"10b", PRIMARY, INSTEAD, "STATE recover * since=17 xid=1", "since=20", nullptr},
    {"10b", PRIMARY, INSTEAD, "STATE recover since=17", "since=20", nullptr},
    {"10b", PRIMARY, INSTEAD, "STATE recover-wait since=17", "since=20", nullptr},

    // ---- A partner in RECOVER -------------------------------------------------------------------------------------------

    {"09", SECONDARY, UNSAID, "STATE partner-down since=0", "",
     "Reference 2.13, design, rule 7: at the sight of RECOVER we stay in COMMUNICATIONS-INTERRUPTED. The "
     "partner gets its answer all the same (reference 2.14 (3))."},
    {"10b", SECONDARY, UNSAID, "STATE partner-down since=20", "", nullptr},

    // ---- SHUTDOWN -------------------------------------------------------------------------------------------------------

    {"10", PRIMARY, ALSO, "", "close",
     "Design, section 2, 'shutdown': when the partner has said PARTNER-DOWN the link is closed; a dhcpd "
     "waits for an operator to end it."},
    {"10", PRIMARY, INSTEAD, "STATE shutdown since=0 xid=1", "STATE recover STARTUP since=5 xid=1",
     "Reference 2.13, draft 9.14: after SHUTDOWN a server starts in RECOVER. A dhcpd is still in SHUTDOWN "
     "and needs an operator once more, who therefore finds nothing left to do here."},
    {"10", PRIMARY, INSTEAD, "STATE shutdown since=0#2", "STATE recover since=5", nullptr},
    {"10", PRIMARY, EARLIER, "UPDREQALL", "", nullptr},
    {"10", PRIMARY, UNSAID, "STATE recover since=-17", "", nullptr},
    {"10", PRIMARY, INSTEAD, "STATE recover-done since=15", "STATE recover-wait since=15",
     "Design, rule 8, draft 9.6: RECOVER-WAIT lasts for the MCLT from the last moment at which this server "
     "can have served, here until 35, behind the end of the capture. dhcpd skips it by a start time put "
     "back (reference 2.6)."},
    {"10", PRIMARY, UNSAID, "STATE normal since=15", "", nullptr},
    {"10b", PRIMARY, ALSO, "", "STATE shutdown since=17",
     "Reference 2.12: dhcpd means to say it, but its OMAPI shutdown stops the connection first. The partner "
     "of the capture has not heard it, and goes on from a lost connection."},
    {"10b", PRIMARY, LATER, "STATE recover-done since=47", "",
     "Design, rule 8: RECOVER-WAIT for the MCLT from the last moment at which this server can have served: "
     "its start, at 20, because its record is from 17 and may be 5 s old."},
    {"10b", PRIMARY, INSTEAD, "STATE recover-done since=47", "since=50", nullptr},
    {"10b", PRIMARY, LATER, "STATE normal since=47", "", nullptr},
    {"10b", PRIMARY, INSTEAD, "STATE normal since=47", "since=50", nullptr},
    {"10b", PRIMARY, LATER, "BNDUPD .101 EXPIRED *", "", nullptr},

    // ---- The end of a connection ----------------------------------------------------------------------------------------

    {"13", PRIMARY, ALSO, "", "DISCONNECT xid=5 reject=17 message=no traffic within max-response-delay",
     "Reference 2.13, draft 7.12 and 8.3: before a server closes a connection on which it heard nothing, it "
     "says so. The cut cable swallows it here."},
    {"13", SECONDARY, ALSO, "",
     "DISCONNECT xid=5 reject=17 message=no traffic within max-response-delay", nullptr},
    {"14", PRIMARY, ALSO, "",
     "DISCONNECT xid=23 reject=17 message=no traffic within max-response-delay", nullptr},
    {"14", SECONDARY, ALSO, "",
     "DISCONNECT xid=14 reject=17 message=no traffic within max-response-delay", nullptr},
    {"13", SECONDARY, ALSO, "", "close",
     "dhcpd closes at the same time, but its FIN was lost with the cable; what the capture has of the "
     "primary's is the RST that answers a late packet."},
    {"14", SECONDARY, ALSO, "", "close", nullptr},
    {"13 14", PRIMARY, EARLIER, "close", "", nullptr},

    // ---- UPDREQALL and its answer ---------------------------------------------------------------------------------------

    {"01 09 10b", PRIMARY, UNSAID, "UPDREQALL#1", "",
     "Reference 2.5, 2.9: dhcpd asks again when it has the partner's second STATE, and only the last "
     "request is answered. We ask once."},
    {"01", SECONDARY, UNSAID, "UPDREQALL#1", "", nullptr},
    {"01", BOTH, UNSAID, "BNDUPD .1?? FREE ends=never potential=never starts=never", "",
     "Reference 2.9: the draft's answer to UPDREQALL is what was ever used. What never was is the primary's "
     "on both sides without a word."},
    {"09 10 10b", SECONDARY, UNSAID, "BNDUPD .1?? FREE ends=never potential=never starts=never", "", nullptr},
    {"01", PRIMARY, INSTEAD, "BNDACK * reject=16 *", "reject= message=",
     "So there is no update of ours that theirs could be less critical than (reference 5 (13)), and it is "
     "accepted."},
    {"01", PRIMARY, ALSO, "", "UPDDONE xid=2",
     "And there is nothing to send: each of dhcpd's two requests is answered at once (reference 2.9)."},
    {"01", SECONDARY, ALSO, "", "UPDDONE xid=3", nullptr},
    {"09", SECONDARY, ORDER, "BNDUPD * starts=-[57]*", "",
     "Reference 2.9: dhcpd answers list by list of its own, ours address by address. The draft asks for no "
     "order."},
    {"10b", SECONDARY, ORDER, "BNDUPD * starts=-*", "", nullptr},
    {"09 10b", SECONDARY, LATER, "UPDDONE *", "",
     "Draft 7.5: when all of the answer has been acknowledged. dhcpd does not count what was on its way "
     "already when the second UPDREQALL came."},

    // ---- When updates are sent ------------------------------------------------------------------------------------------

    {"07", PRIMARY, EARLIER, "STATE normal since=18", "",
     "Reference 2.5: from COMMUNICATIONS-INTERRUPTED dhcpd sends its updates ahead of STATE(NORMAL). With "
     "us nothing is ahead of a STATE. The draft asks for no order."},
    {"10", SECONDARY, ALSO, "", "BNDUPD .100 ACTIVE client=3d ends=33 potential=138 starts=3 cltt=3",
     "Reference 2.9, draft 7.1: updates flow in every state with a link, and an UPDREQALL is answered with "
     "all. dhcpd keeps what was unacknowledged when the link was lost until it leaves PARTNER-DOWN "
     "(reference 2.7), and out of its answer. So it comes at 5 and at 13 here, and not at 15."},
    {"10", SECONDARY, ALSO, "",
     "BNDUPD .100 ACTIVE client=3d ends=33 potential=138 starts=3 cltt=3", nullptr},
    {"10", SECONDARY, UNSAID, "BNDUPD .100 ACTIVE *#2", "", nullptr},
    {"14", PRIMARY, EARLIER, "BNDUPD .10[56] ACTIVE *", "",
     "The same in POTENTIAL-CONFLICT: they are under way before the partner asks."},
    {"14", PRIMARY, EARLIER, "BNDUPD .10[56] EXPIRED *", "", nullptr},
    {"10", PRIMARY, UNSAID, "BNDUPD .10[123] BACKUP *", "",
     "Reference 3.1: dhcpd takes its own gift for unacknowledged, because the answer to its UPDREQALL said "
     "no potential expiry, and gives it once more."},
    {"10b", PRIMARY, UNSAID, "BNDUPD .102 BACKUP *", "", nullptr},
    {"09", BOTH, UNSAID, "BNDUPD .104 FREE *", "",
     "Reference 3.4: what the partner has accepted as EXPIRED is free on both sides, and whose it is needs "
     "no second update."},
    {"09", PRIMARY, INSTEAD, "BNDACK .104 xid=18 reject=16 *", "reject= message=",
     "So this one meets no update of ours, either."},

    // ---- Times in updates -----------------------------------------------------------------------------------------------

    {"03 16", BOTH, INSTEAD, "BNDUPD * RELEASED *", "cltt=$ends",
     "The RELEASE is the client's last transaction, without which it could not be told from an older "
     "renewal (reference 3.6, t1). With dhcpd that is the last REQUEST."},
    {"13", SECONDARY, INSTEAD, "BNDUPD * RELEASED *", "cltt=$ends", nullptr},
    {"05", SECONDARY, INSTEAD, "BNDUPD .109 ABANDONED *", "starts=4 cltt=4",
     "Likewise the DECLINE; and since then the address is abandoned."},
    {"05", PRIMARY, INSTEAD, "BNDUPD .109 ABANDONED *", "starts=4 cltt=4 potential=never",
     "And the primary never sent a potential expiry for this lease (reference 3.3); dhcpd's is that of the "
     "gift before it."},
    {"08", PRIMARY, INSTEAD, "BNDUPD .103 EXPIRED *", "potential=never", nullptr},
    {"14", PRIMARY, INSTEAD, "BNDUPD .103 EXPIRED *", "potential=never", nullptr},
    {"03", PRIMARY, INSTEAD, "BNDUPD .109 BACKUP *", "cltt=4",
     "Reference 3.1: dhcpd compares the partner's cltt, but does not store it. Ours knows the later of "
     "both; of the renewal at 7 it was not told (see 'lease cache')."},
    {"08", PRIMARY, INSTEAD, "BNDUPD .102 BACKUP *", "cltt=2",
     "Reference 3.1: as said, with ours the partner's cltt is not forgotten."},
    {"08", PRIMARY, INSTEAD, "BNDUPD .103 *", "cltt=2", nullptr},
    {"08", PRIMARY, INSTEAD, "BNDUPD .10[567] *", "cltt=35", nullptr},
    {"09", PRIMARY, INSTEAD, "BNDUPD .102 EXPIRED *", "cltt=1", nullptr},
    {"09", SECONDARY, INSTEAD, "BNDUPD .104 *", "cltt=-5", nullptr},
    {"10b", PRIMARY, INSTEAD, "BNDUPD .101 *", "cltt=18", nullptr},
    {"10b", SECONDARY, INSTEAD, "BNDUPD .104 FREE *", "cltt=-40", nullptr},
    {"14", PRIMARY, INSTEAD, "BNDUPD .103 *", "cltt=-16", nullptr},
    {"09", SECONDARY, INSTEAD, "BNDUPD .104 ACTIVE *", "potential=130",
     "The primary, which has lost its database, gets back the potential expiry that it has told itself; "
     "from dhcpd it gets what that has sent itself, nothing."},

    // ---- Leases in PARTNER-DOWN -----------------------------------------------------------------------------------------

    {"08", SECONDARY, INSTEAD, "REQUEST of 01/id: .103 for 120", "REQUEST of 01/id: .103 for 30",
     "Design, section 2, 'partner-down': always renewed, for the MCLT. dhcpd goes by what was acknowledged "
     "before (reference 3.2)."},
    {"13", SECONDARY, INSTEAD, "BNDUPD .104 ACTIVE *", "ends=43 potential=148", nullptr},
    {"15", SECONDARY, INSTEAD, "BNDUPD .10[34] ACTIVE *", "ends=58 potential=328", nullptr},
    {"08", SECONDARY, INSTEAD, "BNDUPD .103 ACTIVE *",
     "BNDUPD .103 EXPIRED client=01/id ends=32 potential=137 starts=2 cltt=2",
     "So it has ended when the partner comes back; and waits, because the partner knew of it (design, rule "
     "5)."},
    {"08", SECONDARY, INSTEAD, "BNDUPD .104 FREE * starts=-7",
     "BNDUPD .104 EXPIRED client=04 ends=23 potential=never starts=-7 cltt=-7",
     "Design, rule 5, reference 3.9: the partner's lease waits for the MCLT beyond its potential expiry, "
     "158, while dhcpd looks at its end only."},
    {"08", SECONDARY, INSTEAD, "DISCOVER of 2[bcdef]: silence", " an own address",
     "Design, rule 5: what was first leased in PARTNER-DOWN is free at its end, at 32. dhcpd waits for "
     "another MCLT."},
    {"08", SECONDARY, INSTEAD, "DISCOVER of 3c: silence", " an own address", nullptr},
    {"08", SECONDARY, INSTEAD, "BNDUPD .102 FREE *",
     "BNDUPD .102 BACKUP client=02 ends=32 potential=32 starts=32 cltt=2",
     "Reference 3.3: what is freed in PARTNER-DOWN is free for who freed it, BACKUP for the secondary, from "
     "then on. What dhcpd sends is FREE, and the start of the lease."},
    {"08", SECONDARY, INSTEAD, "BNDUPD .101 FREE *",
     "BNDUPD .101 BACKUP client=03 ends=32 potential=32 starts=32 cltt=2", nullptr},
    {"08", SECONDARY, INSTEAD, "BNDUPD .100 FREE *",
     "BNDUPD .100 BACKUP client=14 ends=32 potential=32 starts=32 cltt=2", nullptr},

    // ---- Gifts of free addresses ----------------------------------------------------------------------------------------

    {"08", SECONDARY, ALSO, "", "BNDUPD .101 FREE client=03 ends=32 potential=40 starts=40 cltt=2",
     "Reference 3.11: by what was said above the secondary has more to give than dhcpd has, in NORMAL and "
     "when its timer strikes (3 s after dhcpd's, which throws dice)."},
    {"08", SECONDARY, ALSO, "",
     "BNDUPD .100 FREE client=14 ends=32 potential=103 starts=103 cltt=2", nullptr},
    {"08", SECONDARY, LATER, "BNDUPD .104 FREE * starts=100", "", nullptr},
    {"08", SECONDARY, INSTEAD, "BNDUPD .104 FREE * starts=100", "potential=103 starts=103 cltt=-7", nullptr},
    {"06", PRIMARY, INSTEAD, "POOLRESP *", "transferred=5",
     "Design, decision 2: an offer reserves nothing and marks nothing. To dhcpd these are addresses used "
     "before, of which the giver keeps 'hold' (reference 3.11), and kept back until the offer's end; to us "
     "they were never used."},
    {"06", PRIMARY, INSTEAD, "BNDUPD .116 BACKUP *",
     "BNDUPD .111 BACKUP ends=never potential=4 starts=4", nullptr},
    {"06", PRIMARY, INSTEAD, "BNDUPD .115 BACKUP *",
     "BNDUPD .112 BACKUP ends=never potential=4 starts=4", nullptr},
    {"06", PRIMARY, INSTEAD, "BNDUPD .114 BACKUP *",
     "BNDUPD .113 BACKUP ends=never potential=4 starts=4", nullptr},
    {"06", PRIMARY, INSTEAD, "BNDUPD .113 BACKUP *",
     "BNDUPD .114 BACKUP ends=never potential=4 starts=4", nullptr},
    {"06", PRIMARY, ALSO, "", "BNDUPD .115 BACKUP ends=never potential=4 starts=4", nullptr},
    {"13", PRIMARY, UNSAID, "BNDUPD .105 BACKUP *", "", nullptr},
    {"14", SECONDARY, INSTEAD, "BNDUPD .101 FREE *",
     "BNDUPD .100 FREE ends=never potential=2 starts=2", nullptr},
    {"08", PRIMARY, INSTEAD, "BNDUPD .104 BACKUP *",
     "BNDUPD .101 BACKUP client=03 ends=32 potential=40 starts=40 cltt=2",
     "Reference 3.11, pass 1 and 2: first what the partner's own clients had, then what has been free for "
     "longest: to dhcpd the lease that ended first, to ours the address that it has known as free for "
     "longest."},
    {"08", PRIMARY, ORDER, "BNDUPD .104 BACKUP *", "", nullptr},
    {"09 13", PRIMARY, LATER, "BNDUPD .103 BACKUP *", "",
     "Reference 3.11: free addresses are shared out in NORMAL; dhcpd's 'client affinity' (reference 3.4) "
     "does it in every state."},
    {"09", PRIMARY, INSTEAD, "BNDUPD .103 BACKUP *", "potential=30 starts=30 cltt=-5", nullptr},
    {"13", PRIMARY, INSTEAD, "BNDUPD .103 BACKUP *", "potential=17 starts=17 cltt=-4", nullptr},
    {"14", PRIMARY, LATER, "BNDUPD .105 BACKUP *", "", nullptr},

    // ---- The rest -------------------------------------------------------------------------------------------------------

    {"03", BOTH, UNTOLD, "REQUEST * for 3[36]", "",
     "Reference 3.2, 'lease cache': what is left of a young lease is given again, and nothing is updated. "
     "Kea has a cache of its own, which does not ask the core."},
    {"08", PRIMARY, ORDER, "BNDUPD .10[67] EXPIRED *", "",
     "Three leases end in the same second."},
    {"16", BOTH, INSTEAD, "BNDUPD *", "flags=",
     "Design, decision 4: reservations are Kea's, and the same on both servers without the protocol. The "
     "draft's flag is understood, but not sent for them."},
};
// clang-format on

bool names(const char *list, const std::string &capture) {
    std::string number = capture.substr(0, capture.find('-'));
    std::istringstream words(list);
    for (std::string word; words >> word;) {
        if (word == number) {
            return true;
        }
    }
    return false;
}

// ---- Messages as lines of text --------------------------------------------------------------------------------------

std::string number_text(uint32_t n) {
    return std::to_string(n);
}

std::string address_text(uint32_t address) {
    return (address & ~255u) == NETWORK ? "." + std::to_string(address & 255) : dotted(address);
}

std::string hex(const uint8_t *bytes, size_t length) {
    std::string text;
    for (size_t i = 0; i < length; i++) {
        char two[3];
        snprintf(two, sizeof(two), "%02x", bytes[i]);
        text += two;
    }
    return text;
}

// "01/id" to a client and back; a client of another kind is written out.
failover_client client_named(const std::string &name) {
    failover_client c{};
    if (name.empty()) {
        return c;
    }
    c.hardware_length = 7;
    c.hardware[0] = 1;
    c.hardware[1] = 10;
    c.hardware[6] = uint8_t(std::stoul(name, nullptr, 16));
    if (name.find("/id") != std::string::npos) {
        c.id_length = 7;
        std::copy(c.hardware, c.hardware + 7, c.id);
    }
    return c;
}

std::string client_text(const failover_client &c) {
    std::string short_name = c.hardware_length == 7 ? hex(c.hardware + 6, 1) + (c.id_length > 0 ? "/id" : "") : "00";
    failover_client plain = client_named(short_name);
    bool is_plain = plain.hardware_length == c.hardware_length && plain.id_length == c.id_length &&
                    std::equal(c.hardware, c.hardware + c.hardware_length, plain.hardware) &&
                    std::equal(c.id, c.id + c.id_length, plain.id);
    return is_plain ? short_name : hex(c.hardware, c.hardware_length) + "/" + hex(c.id, c.id_length);
}

class Words {
public:
    Words(const failover_message &m, int64_t base) : m_(m), base_(base), text_(failover_message_name(m.type)) {
    }
    Words &word(const std::string &w) {
        text_ += " " + w;
        return *this;
    }
    Words &number(failover_option option, const char *name, uint32_t value) {
        return has(option) ? word(std::string(name) + "=" + std::to_string(value)) : *this;
    }
    Words &time(failover_option option, const char *name, int64_t value) {
        std::string t = value == 0                        ? "never"
                        : value == FAILOVER_TIME_INFINITE ? "infinite"
                                                          : std::to_string(value - base_);
        return has(option) ? word(std::string(name) + "=" + t) : *this;
    }
    Words &text(failover_option option, const char *name, failover_bytes value) {
        return has(option) ? word(std::string(name) + "=" + text_of(value)) : *this;
    }
    bool has(failover_option option) const {
        return failover_has(&m_, option);
    }
    std::string line() const {
        return text_;
    }

private:
    const failover_message &m_;
    int64_t base_;
    std::string text_;
};

std::string hba_text(failover_bytes hba) {
    uint8_t half[FAILOVER_HBA_SIZE];
    failover_hba_from_split(128, half);
    bool is_half = hba.length == sizeof(half) && std::equal(half, half + sizeof(half), hba.data);
    return is_half ? "128" : hex(hba.data, hba.length);
}

void describe_bndupd(Words &w, const failover_message &m) {
    w.word(address_text(m.assigned_ip_address));
    w.word(failover_binding_status_name(failover_binding_status(m.binding_status)));
    failover_client c{};
    c.hardware_length = uint8_t(m.client_hardware_address.length);
    c.id_length = m.client_identifier.length;
    std::copy(m.client_hardware_address.data, m.client_hardware_address.data + c.hardware_length, c.hardware);
    std::copy(m.client_identifier.data, m.client_identifier.data + c.id_length, c.id);
    if (c.hardware_length + c.id_length > 0) {
        w.word("client=" + client_text(c));
    }
    w.time(FAILOVER_OPT_LEASE_EXPIRATION_TIME, "ends", m.lease_expiration_time);
    w.time(FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME, "potential", m.potential_expiration_time);
    w.time(FAILOVER_OPT_START_TIME_OF_STATE, "starts", m.start_time_of_state);
    w.time(FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME, "cltt", m.client_last_transaction_time);
    w.number(FAILOVER_OPT_IP_FLAGS, "flags", m.ip_flags);
}

void describe_connect(Words &w, const failover_message &m) {
    w.text(FAILOVER_OPT_RELATIONSHIP_NAME, "name", m.relationship_name);
    w.number(FAILOVER_OPT_MAX_UNACKED_BNDUPD, "max-unacked", m.max_unacked_bndupd);
    w.number(FAILOVER_OPT_RECEIVE_TIMER, "receive-timer", m.receive_timer);
    w.text(FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER, "vendor", m.vendor_class_identifier);
    w.number(FAILOVER_OPT_PROTOCOL_VERSION, "version", m.protocol_version);
    w.number(FAILOVER_OPT_TLS_REQUEST, "tls-request", m.tls_request);
    w.number(FAILOVER_OPT_TLS_REPLY, "tls-reply", m.tls_reply);
    w.number(FAILOVER_OPT_MCLT, "mclt", m.mclt);
    if (w.has(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT)) {
        w.word("hba=" + hba_text(m.hash_bucket_assignment));
    }
}

void describe_state(Words &w, const failover_message &m) {
    auto state = m.server_state == 254 ? FAILOVER_RECOVER_WAIT : failover_state(m.server_state);
    w.word(failover_state_name(state));
    if ((m.server_flags & FAILOVER_SERVER_FLAG_STARTUP) != 0) {
        w.word("STARTUP");
    }
    w.time(FAILOVER_OPT_START_TIME_OF_STATE, "since", m.start_time_of_state);
}

bool is_answer(uint8_t type) {
    return type == FAILOVER_BNDACK || type == FAILOVER_UPDDONE || type == FAILOVER_POOLRESP ||
           type == FAILOVER_CONNECTACK;
}

// The numbers of messages that are no answers depend on how many CONTACTs there were, and are left out but
// where `show_xid` says so: in the handshake, which the reference gives number by number (1.2), and in
// DISCONNECT.
std::string describe(const failover_message &m, int64_t base, bool show_xid) {
    Words w(m, base);
    switch (m.type) {
    case FAILOVER_BNDUPD:
        describe_bndupd(w, m);
        break;
    case FAILOVER_BNDACK:
        w.word(address_text(m.assigned_ip_address));
        break;
    case FAILOVER_CONNECT:
    case FAILOVER_CONNECTACK:
        describe_connect(w, m);
        break;
    case FAILOVER_STATE:
        describe_state(w, m);
        break;
    case FAILOVER_POOLRESP:
        w.number(FAILOVER_OPT_ADDRESSES_TRANSFERRED, "transferred", m.addresses_transferred);
        break;
    default:
        break;
    }
    if (show_xid || is_answer(m.type) || m.type == FAILOVER_CONNECT || m.type == FAILOVER_DISCONNECT) {
        w.word("xid=" + number_text(m.xid));
    }
    w.number(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS, "vendor-record", m.vendor_specific_options.length);
    w.number(FAILOVER_OPT_REJECT_REASON, "reject", m.reject_reason);
    w.text(FAILOVER_OPT_MESSAGE, "message", m.message);
    return w.line();
}

// A pattern may end in "#n", for the n-th line that it fits.
bool fits(const std::string &pattern, const std::string &line, int &count) {
    size_t mark = pattern.find('#');
    if (fnmatch(pattern.substr(0, mark).c_str(), line.c_str(), 0) != 0) {
        return false;
    }
    count++;
    return mark == std::string::npos || std::stoi(pattern.substr(mark + 1)) == count;
}

std::string field_of(const std::string &line, const std::string &name) {
    size_t at = line.find(" " + name + "=");
    if (at == std::string::npos) {
        return "";
    }
    at += name.size() + 2;
    return line.substr(at, line.find(' ', at) - at);
}

// Puts "name=value" into a line: in place of the old value, or at the end; an empty value takes the field
// away.
std::string with_field(const std::string &line, const std::string &field) {
    std::string name = field.substr(0, field.find('='));
    std::string value = field.substr(name.size() + 1);
    if (value[0] == '$') {
        value = field_of(line, value.substr(1));
    }
    std::string word = value.empty() ? "" : " " + name + "=" + value;
    size_t at = line.find(" " + name + "=");
    if (at == std::string::npos) {
        return line + word;
    }
    size_t end = name == "message" ? std::string::npos : line.find(' ', at + 1);
    return line.substr(0, at) + word + (end == std::string::npos ? "" : line.substr(end));
}

std::string differing(const std::string &theirs, const std::string &ours) {
    std::string first = ours.substr(0, ours.find(' '));
    if (first.find('=') == std::string::npos) {
        return ours; // a whole line
    }
    std::string line = theirs;
    std::istringstream fields(ours);
    for (std::string field; fields >> field;) {
        line = with_field(line, field);
    }
    return line;
}

// ---- What is in a capture -------------------------------------------------------------------------------------------

struct Dhcp {
    enum Type { DISCOVER = 1, OFFER = 2, REQUEST = 3, DECLINE = 4, ACK = 5, NAK = 6, RELEASE = 7 };
    uint8_t type = 0;
    uint32_t from = 0, to = 0;
    uint32_t xid = 0;
    uint16_t secs = 0;
    uint32_t ciaddr = 0, yiaddr = 0, requested = 0, server = 0, lease = 0;
    failover_client client{};
};

struct Event {
    enum Type { UP, REFUSED, MESSAGE, END, DHCP } type;
    int64_t time; // microseconds
    Side side;    // who dialled, sent or closed
    int connection = -1;
    Bytes bytes;
    Dhcp dhcp;
};

Side side_of(uint32_t address) {
    return (address & 255) == 1 ? PRIMARY : SECONDARY;
}

uint32_t address_of(Side side) {
    return NETWORK + (side == PRIMARY ? 1 : 2);
}

class Reader {
public:
    explicit Reader(const std::string &path) {
        for (const Frame &frame : read_frames(path)) {
            Segment s;
            time_ = frame.time;
            first = first == 0 ? time_ : first;
            if (parse_frame(frame.bytes, TCP, s)) {
                if (s.source_port == FAILOVER_PORT || s.destination_port == FAILOVER_PORT) {
                    tcp(s);
                }
            } else if (parse_frame(frame.bytes, UDP, s)) {
                dhcp(s);
            }
        }
    }
    std::vector<Event> events;
    int64_t first = 0;                // microseconds
    std::map<int, Side> begun_before; // connections that were there before the capture, and who dialled

private:
    struct Half {
        Direction direction;
        size_t used = 0;
        bool ended = false;
    };
    struct Connection {
        Side dialler;
        bool up;
        std::map<Side, Half> halves;
    };
    int64_t time_ = 0;
    std::map<std::pair<uint32_t, uint16_t>, int> index_; // by the dialler's address and port
    std::vector<Connection> connections_;

    Event &add(Event::Type type, Side side, int connection) {
        Event e{};
        e.type = type;
        e.time = time_;
        e.side = side;
        e.connection = connection;
        events.push_back(e);
        return events.back();
    }
    int connection_of(const Segment &s) {
        bool from_dialler = s.destination_port == FAILOVER_PORT;
        auto key =
            from_dialler ? std::make_pair(s.source, s.source_port) : std::make_pair(s.destination, s.destination_port);
        bool begins = s.syn && !s.ack;
        if (index_.count(key) == 0 || (begins && connections_[size_t(index_[key])].up)) {
            index_[key] = int(connections_.size());
            connections_.push_back({side_of(key.first), !begins, {}});
            if (!begins) {
                begun_before[index_[key]] = side_of(key.first);
            }
        }
        return index_[key];
    }
    void tcp(const Segment &s) {
        int id = connection_of(s);
        Connection &c = connections_[size_t(id)];
        Side from = side_of(s.source);
        Half &half = c.halves[from];
        if (s.syn) {
            half.direction.begin(s.sequence);
        }
        if (s.syn && s.ack && !c.up) {
            c.up = true;
            add(Event::UP, c.dialler, id);
        }
        half.direction.add(s.syn ? s.sequence + 1 : s.sequence, s.payload);
        messages(id, from, half);
        if (s.rst && !c.up) {
            add(Event::REFUSED, c.dialler, id);
        } else if ((s.fin || s.rst) && !half.ended) {
            half.ended = true;
            add(Event::END, from, id);
        }
    }
    void messages(int id, Side from, Half &half) {
        const Bytes &all = half.direction.bytes;
        while (all.size() - half.used >= 2) {
            size_t length = big_endian(&all[half.used], 2);
            if (all.size() - half.used < length) {
                return;
            }
            Event &e = add(Event::MESSAGE, from, id);
            e.bytes.assign(all.begin() + long(half.used), all.begin() + long(half.used + length));
            half.used += length;
        }
    }
    void dhcp(const Segment &s) {
        const Bytes &b = s.payload;
        if (b.size() < 244) {
            return;
        }
        Dhcp d;
        d.from = s.source;
        d.to = s.destination;
        d.xid = big_endian(&b[4], 4);
        d.secs = uint16_t(big_endian(&b[8], 2));
        d.ciaddr = big_endian(&b[12], 4);
        d.yiaddr = big_endian(&b[16], 4);
        d.client.hardware_length = uint8_t(b[2] + 1);
        d.client.hardware[0] = b[1];
        std::copy(b.begin() + 28, b.begin() + 28 + b[2], d.client.hardware + 1);
        for (size_t at = 240; at + 1 < b.size() && b[at] != 255;) {
            if (b[at] == 0) {
                at++;
                continue;
            }
            option(d, b[at], &b[at + 2], b[at + 1]);
            at += 2u + b[at + 1];
        }
        add(Event::DHCP, side_of(s.source), -1).dhcp = d;
    }
    static void option(Dhcp &d, uint8_t code, const uint8_t *value, uint8_t length) {
        switch (code) {
        case 50:
            d.requested = big_endian(value, 4);
            break;
        case 51:
            d.lease = big_endian(value, 4);
            break;
        case 53:
            d.type = value[0];
            break;
        case 54:
            d.server = big_endian(value, 4);
            break;
        case 61:
            d.client.id_length = length;
            std::copy(value, value + length, d.client.id);
            break;
        default:
            break;
        }
    }
};

// ---- The replay -----------------------------------------------------------------------------------------------------

constexpr int64_t SECOND = 1000000;

// A message that the dhcpd has sent and the core is to send, with the differences taken into account.
struct Expected {
    int connection = 0;
    int64_t wall = 0;
    std::string theirs, line;
    uint8_t type = 0; // 0: the end of the connection
    uint32_t xid = 0; // dhcpd's
    bool has_xid = true;
    bool optional = false, unsaid = false, also = false, earlier = false, later = false;
    std::vector<size_t> moved;  // differences that say it may come at another place
    int said = -1;              // index of the core's message
    std::vector<Bytes> answers; // that wait for it
};

struct Said {
    int connection;
    int64_t wall;
    std::string line;
    uint8_t type;
    uint32_t xid, address;
    int expected;
};

struct Outcome {
    std::vector<std::string> complaints;
    std::set<size_t> used; // differences
};

class Replay {
public:
    Replay(const Capture &capture, Side side) : capture_(capture), side_(side) {
        Reader reader(capture_folder() + "/" + capture.name + ".pcap");
        events_ = reader.events;
        begun_before_ = reader.begun_before;
        if (events_.empty()) {
            complain("the capture is empty");
            return;
        }
        first_ = reader.first;
        base_ = first_ / SECOND;
        expect_all();
        begin();
        for (at_ = 0; at_ < events_.size(); at_++) {
            happen(events_[at_].time);
            pass(events_[at_].time);
            handle(events_[at_]);
            turn();
        }
        finish();
    }
    Outcome outcome;

private:
    const Capture &capture_;
    Side side_;
    std::vector<Event> events_;
    std::map<int, Side> begun_before_;
    size_t at_ = 0;
    int64_t first_ = 0; // microseconds
    int64_t base_ = 0;  // seconds
    int64_t now_ = 0;   // microseconds
    std::unique_ptr<Server> server_;
    std::set<int> open_;
    std::map<int, int64_t> last_sent_; // on connections past the handshake, microseconds
    std::vector<Expected> expected_;
    std::vector<Said> said_;
    std::vector<size_t> unanswered_; // of what was said, while the partner has not had its turn
    std::set<int> state_shown_;      // connections on which the core has shown its state
    std::set<size_t> happened_;
    std::map<size_t, int> fits_;     // how many lines each difference has fitted
    std::set<size_t> answers_taken_; // DHCP answers by index of the event
    bool prologue_ = false;

    void complain(const std::string &what) {
        outcome.complaints.push_back(what);
    }
    std::string when(int64_t wall) const {
        return std::to_string(wall - base_) + " s: ";
    }
    failover_clock clock() const {
        return {now_ / SECOND, now_ / 1000};
    }
    failover *core() {
        return server_->core_;
    }
    const Beginning &beginning() const {
        return side_ == PRIMARY ? capture_.primary : capture_.secondary;
    }
    bool concerns(const char *list, Side side) const {
        return (side & side_) != 0 && names(list, capture_.name);
    }
    int64_t microseconds(double seconds) const {
        return first_ + int64_t(std::llround(seconds * SECOND));
    }

    // ---- What dhcpd has said, and what we are to say --------------------------------------------------------------------

    // Every difference of these kinds that has something to say of a line.
    template <class Do>
    void differ(const std::string &line, std::initializer_list<Kind> kinds, Do act) {
        for (size_t i = 0; i < std::size(differences); i++) {
            const Difference &d = differences[i];
            bool kind = std::find(kinds.begin(), kinds.end(), d.kind) != kinds.end();
            if (kind && concerns(d.captures, d.side) && fits(d.theirs, line, fits_[i])) {
                act(i, d);
            }
        }
    }
    void apply(Expected &e, size_t i, const Difference &d) {
        if (d.kind == UNSAID) {
            e.unsaid = true;
            outcome.used.insert(i);
        } else if (d.kind == INSTEAD) {
            std::string line = differing(e.line, d.ours);
            if (line != e.line) {
                outcome.used.insert(i);
            }
            e.line = line;
        } else {
            e.moved.push_back(i); // whether it is needed is seen when all has been said
            e.earlier = e.earlier || d.kind == EARLIER;
            e.later = e.later || d.kind == LATER;
        }
    }
    void expect(Expected e) {
        e.line = e.theirs;
        differ(e.theirs, {INSTEAD, UNSAID, EARLIER, LATER, ORDER},
               [&](size_t i, const Difference &d) { apply(e, i, d); });
        expected_.push_back(e);
    }
    bool killed_at(int64_t time) const {
        return std::any_of(std::begin(happenings), std::end(happenings), [&](const Happening &h) {
            int64_t after = time - microseconds(h.at);
            return concerns(h.capture, h.side) && h.kind == Happening::KILL && after >= 0 && after < SECOND / 20;
        });
    }
    bool partner_ended_first(const Event &end) const {
        return std::any_of(events_.begin(), events_.end(), [&](const Event &e) {
            return e.type == Event::END && e.side != side_ && e.connection == end.connection && &e < &end;
        });
    }
    // Who follows the partner's end of an established connection says nothing by that. Where CONNECT was
    // refused, both ends close, and it is chance whose FIN is first.
    void expect_end(const Event &end, bool established) {
        bool followed = partner_ended_first(end);
        if (killed_at(end.time) || (followed && established)) {
            return;
        }
        Expected e;
        e.connection = end.connection;
        e.wall = end.time / SECOND;
        e.theirs = "close";
        e.has_xid = false;
        e.optional = followed;
        expect(e);
    }
    void expect_all() {
        std::set<int> shown;
        std::map<std::pair<int, uint32_t>, const Event *> updates; // of the partner, by connection and xid
        for (const Event &event : events_) {
            if (begun_before_.count(event.connection) > 0 && beginning().kind != Beginning::LINKED) {
                continue; // it was lost before the capture, but for the packets that the network still held
            }
            if (event.type == Event::END && event.side == side_) {
                bool established = begun_before_.count(event.connection) > 0 || shown.count(event.connection) > 0;
                expect_end(event, established);
            }
            if (event.type != Event::MESSAGE) {
                continue;
            }
            failover_message m = decode(event.bytes);
            if (event.side != side_) {
                if (m.type == FAILOVER_BNDUPD) {
                    updates[{event.connection, m.xid}] = &event;
                }
                continue;
            }
            bool answers_what_was_before = m.type == FAILOVER_BNDACK && updates.count({event.connection, m.xid}) == 0;
            if (m.type == FAILOVER_CONTACT || answers_what_was_before) {
                continue;
            }
            bool first_state = m.type == FAILOVER_STATE && begun_before_.count(event.connection) == 0 &&
                               shown.insert(event.connection).second;
            if (m.type == FAILOVER_BNDACK) {
                updates.erase({event.connection, m.xid});
            }
            Expected e;
            e.connection = event.connection;
            e.wall = m.time;
            e.theirs = describe(m, base_, first_state);
            e.type = m.type;
            e.xid = m.xid;
            expect(e);
        }
        for (auto &[key, event] : updates) {
            expect_held_back(*event);
        }
        for (size_t i = 0; i < std::size(differences); i++) {
            const Difference &d = differences[i];
            if (d.kind == ALSO && concerns(d.captures, d.side)) {
                Expected e;
                e.line = d.ours;
                e.also = true;
                e.has_xid = false;
                expected_.push_back(e);
                outcome.used.insert(i);
            }
        }
    }
    // dhcpd collects its acknowledgements for up to 2 s: the end of the connection, or of the capture, came
    // first.
    void expect_held_back(const Event &update) {
        int64_t end = events_.back().time;
        for (const Event &e : events_) {
            if (e.type == Event::END && e.connection == update.connection) {
                end = std::min(end, e.time);
            }
        }
        if (end - update.time > 2 * SECOND) {
            return;
        }
        failover_message m = decode(update.bytes);
        failover_message ack{};
        ack.type = FAILOVER_BNDACK;
        ack.assigned_ip_address = m.assigned_ip_address;
        ack.xid = m.xid;
        Expected e;
        e.connection = update.connection;
        e.wall = m.time;
        e.theirs = describe(ack, base_, false);
        e.type = FAILOVER_BNDACK;
        e.has_xid = false;
        e.optional = true;
        expect(e);
    }
    static failover_message decode(const Bytes &bytes) {
        failover_message m{};
        size_t consumed = 0;
        EXPECT_EQ(FAILOVER_DECODED, failover_message_decode(bytes.data(), bytes.size(), &m, &consumed));
        return m;
    }

    // ---- How it begins --------------------------------------------------------------------------------------------------

    failover_config config() const {
        failover_config c{};
        failover_config_defaults(&c);
        snprintf(c.name, sizeof(c.name), "%s", side_ == PRIMARY ? capture_.primary_name : capture_.secondary_name);
        c.role = side_ == PRIMARY ? FAILOVER_PRIMARY : FAILOVER_SECONDARY;
        c.mclt = side_ == PRIMARY ? capture_.mclt : 3600; // the secondary learns it
        c.max_response_delay = capture_.receive_timer;
        c.max_unacked_updates = 10;
        c.startup_delay = 15;
        c.auto_partner_down = capture_.auto_partner_down;
        c.interrupted_leases = FAILOVER_EXTEND;
        return c;
    }
    int64_t wall_of(int64_t seconds) const {
        return seconds == NEVER ? 0 : base_ + seconds;
    }
    void know(const Known &k) {
        bool by_us = k.by == side_;
        for (int i = k.first; i <= k.last; i++) {
            failover_binding b{};
            b.address = NETWORK + uint32_t(i);
            b.status = k.status == FAILOVER_BACKUP ? FAILOVER_FREE : k.status;
            b.owner = (k.status == FAILOVER_BACKUP) == (side_ == SECONDARY) ? FAILOVER_MINE : FAILOVER_PARTNERS;
            b.starts = wall_of(k.starts);
            b.ends = b.given = wall_of(k.ends);
            b.cltt = wall_of(k.cltt);
            b.acked = wall_of(k.potential);
            b.sent = by_us ? b.acked : k.status == FAILOVER_FREE || k.status == FAILOVER_BACKUP ? b.ends : 0;
            b.received = by_us ? 0 : b.acked;
            b.update_sent = b.state_sent = true;
            b.granted_here = by_us && k.status == FAILOVER_ACTIVE;
            b.client = client_named(k.client);
            server_->bindings_[b.address] = b;
            if (k.status == FAILOVER_ACTIVE) {
                server_->rows_[b.address] = {b.client, b.cltt, b.ends};
            }
        }
    }
    void remember() {
        failover_record r{};
        r.state = beginning().state;
        r.stos = microseconds(beginning().since) / SECOND;
        r.partner_state = FAILOVER_NORMAL;
        r.partner_stos = r.stos;
        r.mclt = capture_.mclt_before != 0 ? capture_.mclt_before : capture_.mclt;
        r.mclt_taken = base_ - 1000;
        r.acting_primary = FAILOVER_PRIMARY;
        r.epoch = 1;
        r.default_owner = side_ == PRIMARY ? FAILOVER_MINE : FAILOVER_PARTNERS;
        r.last_served = r.last_heard = std::min(r.stos, base_);
        failover_hba_from_split(128, r.hba);
        r.hba_known = true;
        snprintf(r.process, sizeof(r.process), "%s", server_->process_.c_str());
        server_->record_ = r;
        for (const Capture &c : captures) {
            if (*capture_.follows != '\0' && names(capture_.follows, c.name)) {
                Replay before(c, side_);
                server_->bindings_ = before.server_->bindings_;
                server_->rows_ = before.server_->rows_;
            }
        }
        for (const Known &k : known) {
            if (names(k.captures, capture_.name)) {
                know(k);
            }
        }
    }
    void begin() {
        uint32_t pool = NETWORK + 100;
        server_ = std::make_unique<Server>(config(), pool, pool + capture_.addresses - 1);
        now_ = std::min(microseconds(beginning().since), first_);
        if (beginning().kind == Beginning::NOT_LINKED || beginning().kind == Beginning::LINKED) {
            remember();
        }
        for (uint32_t last_byte : capture_.reserved) {
            server_->reserved_.push_back(NETWORK + last_byte);
        }
        if (beginning().runs) {
            start();
        }
        if (beginning().kind == Beginning::LINKED) {
            link_up();
        }
    }
    void start() {
        server_->start(clock());
        turn();
    }
    // The connection that was there before the capture: CONNECT, CONNECTACK and STATE, both in NORMAL.
    void link_up() {
        prologue_ = true;
        int id = begun_before_.begin()->first;
        open_.insert(id);
        failover_connected(core(), id, begun_before_.begin()->second == side_, clock());
        turn();
        Message m(side_ == PRIMARY ? FAILOVER_CONNECTACK : FAILOVER_CONNECT);
        m.text(FAILOVER_OPT_RELATIONSHIP_NAME, "fo1")
            .number(FAILOVER_OPT_MAX_UNACKED_BNDUPD, 10)
            .number(FAILOVER_OPT_RECEIVE_TIMER, capture_.receive_timer)
            .text(FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER, "isc-4.4.3-P1")
            .number(FAILOVER_OPT_PROTOCOL_VERSION, 1);
        if (side_ == SECONDARY) {
            Bytes hba(FAILOVER_HBA_SIZE, 0);
            failover_hba_from_split(128, hba.data());
            m.number(FAILOVER_OPT_TLS_REQUEST, 0)
                .number(FAILOVER_OPT_MCLT, capture_.mclt)
                .bytes(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT, hba);
        } else {
            m.number(FAILOVER_OPT_TLS_REPLY, 0);
        }
        hear(id, encode(m.m));
        turn();
        Message state(FAILOVER_STATE);
        state.number(FAILOVER_OPT_SERVER_STATE, FAILOVER_NORMAL)
            .number(FAILOVER_OPT_SERVER_FLAGS, 0)
            .number(FAILOVER_OPT_START_TIME_OF_STATE, now_ / SECOND);
        hear(id, encode(state.m));
        turn();
        for (int64_t next = now_; (next += silence_allowed()) < first_;) {
            pass(next);
            hear(id, encode(Message(FAILOVER_CONTACT).m));
            turn();
        }
        if (failover_current_state(core()) != FAILOVER_NORMAL) {
            complain("the servers don't come to NORMAL before the capture");
        }
        prologue_ = false;
    }
    Bytes encode(failover_message m) const {
        m.time = m.time == 0 ? uint32_t(now_ / SECOND) : m.time;
        Bytes bytes(FAILOVER_MESSAGE_SIZE_MAX);
        bytes.resize(failover_message_encode(&m, bytes.data(), bytes.size()));
        return bytes;
    }

    // ---- Time -----------------------------------------------------------------------------------------------------------

    // Up to `time`, with a stop wherever something is due.
    void pass(int64_t time) {
        while (core() != nullptr) {
            int64_t deadline = failover_deadline(core());
            if (deadline > time / 1000) {
                break;
            }
            now_ = std::max(now_ + 1000, deadline * 1000);
            if (now_ >= time) {
                break;
            }
            turn();
        }
        now_ = std::max(now_, time);
    }
    // What happens up to `time` and is not in the packets.
    void happen(int64_t time) {
        for (size_t i = 0; i < std::size(happenings); i++) {
            const Happening &h = happenings[i];
            if (concerns(h.capture, h.side) && microseconds(h.at) <= time && happened_.insert(i).second) {
                pass(microseconds(h.at));
                happen(h);
                turn();
            }
        }
    }
    void happen(const Happening &h) {
        failover_client client = client_named(h.client);
        uint32_t address = NETWORK + uint32_t(h.address);
        switch (h.kind) {
        case Happening::KILL:
            server_->commit(clock());
            server_->kill();
            open_.clear();
            last_sent_.clear();
            break;
        case Happening::START:
            server_->process_ += "'";
            start();
            break;
        case Happening::FORCE:
            force(h.state);
            break;
        case Happening::LEASE:
            if (grant(client, address, uint32_t(h.at * 1000) + uint32_t(h.address), true).empty()) {
                complain("a lease of " + address_text(address) + " is refused");
            }
            break;
        case Happening::RELEASE:
            server_->rows_.erase(address);
            failover_released(core(), address, &client, clock());
            break;
        }
    }
    void force(failover_state state) {
        failover_force force{state, false, 0};
        failover_plan plan;
        failover_force_plan(core(), &force, clock(), &plan);
        if (plan.result != FAILOVER_OK) {
            complain(std::string("force-state ") + failover_state_name(state) + ": " + plan.text);
            return;
        }
        failover_take_sequence(core());
        server_->record_ = plan.record;
        failover_force_apply(core(), &force, &plan, clock());
    }

    // ---- What the partner and the clients do ----------------------------------------------------------------------------

    void handle(const Event &e) {
        if (core() == nullptr) {
            return;
        }
        switch (e.type) {
        case Event::UP:
            if (failover_connected(core(), e.connection, e.side == side_, clock())) {
                open_.insert(e.connection);
            }
            break;
        case Event::REFUSED:
            if (e.side == side_) {
                failover_dial_failed(core(), "Connection refused", clock());
            }
            break;
        case Event::MESSAGE:
            if (e.side != side_) {
                message(e);
            }
            break;
        case Event::END:
            if (e.side != side_ && open_.erase(e.connection) > 0) {
                last_sent_.erase(e.connection);
                failover_disconnected(core(), e.connection, "closed by the partner", clock());
            }
            break;
        case Event::DHCP:
            dhcp(e.dhcp);
            break;
        }
    }
    void hear(int connection, const Bytes &bytes) {
        if (open_.count(connection) > 0) {
            failover_received(core(), connection, bytes.data(), bytes.size(), clock());
        }
    }
    static bool is_answer_to(uint8_t answer, uint8_t asked) {
        switch (answer) {
        case FAILOVER_BNDACK:
            return asked == FAILOVER_BNDUPD;
        case FAILOVER_UPDDONE:
            return asked == FAILOVER_UPDREQ || asked == FAILOVER_UPDREQALL;
        default:
            return asked == FAILOVER_POOLREQ;
        }
    }
    void message(const Event &e) {
        failover_message m = decode(e.bytes);
        if (!is_answer(m.type) || m.type == FAILOVER_CONNECTACK) {
            hear(e.connection, e.bytes);
            return;
        }
        // It answers the dhcpd's message; the core's has another number, another address perhaps.
        for (Expected &x : expected_) {
            if (x.has_xid && x.connection == e.connection && x.xid == m.xid && is_answer_to(m.type, x.type)) {
                x.answers.push_back(e.bytes);
                answer(x);
                return;
            }
        }
    }
    // The answers to a message that the core has sent, with its own number and address.
    void answer(Expected &x) {
        if (x.said < 0) {
            return;
        }
        const Said s = said_[size_t(x.said)];
        for (const Bytes &bytes : x.answers) {
            failover_message m = decode(bytes);
            m.xid = s.xid;
            m.assigned_ip_address = m.type == FAILOVER_BNDACK ? s.address : 0;
            hear(s.connection, encode(m));
        }
        x.answers.clear();
    }
    // What the dhcpd doesn't say, its partner doesn't answer; any partner would.
    void acknowledge(const Said &s) {
        Message m(FAILOVER_BNDACK, s.xid);
        m.number(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, s.address);
        hear(s.connection, encode(m.m));
    }
    // What the partner has to say to what the core has said just now; false if nothing was said.
    bool answer_all() {
        std::vector<size_t> fresh;
        std::swap(fresh, unanswered_);
        for (size_t i : fresh) {
            Expected &e = expected_[size_t(said_[i].expected)];
            if (e.also && said_[i].type == FAILOVER_BNDUPD) {
                acknowledge(said_[i]);
            } else {
                answer(e);
            }
        }
        return !fresh.empty();
    }

    const Dhcp *answer_of_dhcpd(const Dhcp &question, Dhcp::Type type) {
        for (size_t i = at_ + 1; i < events_.size(); i++) {
            const Dhcp &d = events_[i].dhcp;
            bool mine = events_[i].type == Event::DHCP && d.type == type && d.from == address_of(side_) &&
                        d.xid == question.xid && failover_same_client(&d.client, &question.client);
            if (mine && answers_taken_.insert(i).second) {
                return &d;
            }
        }
        return nullptr;
    }
    failover_ask ask(const failover_client &client, uint32_t address, uint32_t xid, bool selects) const {
        failover_ask a{};
        const auto &reserved = server_->reserved_;
        a.client = &client;
        a.address = address;
        a.xid = xid;
        a.desired = capture_.lease;
        a.reserved = std::count(reserved.begin(), reserved.end(), address) > 0;
        a.selects_us = selects;
        return a;
    }
    // What the client gets, as " .x for n"; empty if it gets nothing.
    std::string given(const failover_ask &a) {
        failover_why why{};
        uint32_t lifetime = 0;
        if (!failover_may_have(core(), &a, clock(), &lifetime, &why)) {
            return "";
        }
        return " " + address_text(a.address) + " for " + number_text(lifetime);
    }
    std::string grant(const failover_client &client, uint32_t address, uint32_t xid, bool selects) {
        failover_ask a = ask(client, address, xid, selects);
        failover_why why{};
        if (failover_on_request(core(), &a, clock(), &why) != FAILOVER_GO_ON) {
            return "";
        }
        std::string text = given(a);
        uint32_t lifetime = 0;
        failover_may_have(core(), &a, clock(), &lifetime, &why);
        int64_t wall = now_ / SECOND;
        if (!failover_bound(core(), &a, wall, lifetime, clock())) {
            complain("a lease is taken away while it is being given");
        }
        server_->rows_[address] = {client, wall, wall + int64_t(lifetime)};
        return text;
    }
    // Compares what a client is given; false: the core is not to be asked at all.
    bool is_told(const std::string &theirs) {
        bool told = true;
        differ(theirs, {UNTOLD}, [&](size_t i, const Difference &) {
            outcome.used.insert(i);
            told = false;
        });
        return told;
    }
    void compare_answer(const std::string &theirs, const std::string &ours) {
        std::string line = theirs;
        differ(theirs, {INSTEAD}, [&](size_t i, const Difference &d) {
            outcome.used.insert(i);
            line = d.ours[0] == ' ' ? theirs.substr(0, theirs.find(':') + 1) + d.ours : d.ours;
        });
        if (line != ours) {
            complain(when(now_ / SECOND) + "dhcpd: " + theirs + "\n" + std::string(when(now_ / SECOND).size(), ' ') +
                     " ours: " + ours);
        }
    }
    std::string offer(const Dhcp &d, uint32_t address_of_dhcpd) {
        failover_why why{};
        uint32_t subnets[] = {SUBNET};
        failover_discover question{};
        question.client = &d.client;
        question.balance_key = d.client.id_length > 0 ? d.client.id : d.client.hardware + 1;
        question.balance_key_length = d.client.id_length > 0 ? d.client.id_length : d.client.hardware_length - 1u;
        question.secs = d.secs;
        question.subnets = subnets;
        question.subnet_count = 1;
        if (failover_on_discover(core(), &question, clock(), &why) != FAILOVER_GO_ON) {
            return "";
        }
        // Which address is the allocator's choice, not the protocol's: the dhcpd's is asked for.
        if (address_of_dhcpd != 0) {
            return given(ask(d.client, address_of_dhcpd, d.xid, false));
        }
        for (auto &[address, row] : server_->rows_) {
            if (failover_same_client(&row.client, &d.client)) {
                return given(ask(d.client, address, d.xid, false));
            }
        }
        return failover_own_free(core(), server_->first_, clock()) > 0 ? " an own address" : "";
    }
    void dhcp(const Dhcp &d) {
        bool for_us = d.to == address_of(side_) || d.to == 0xffffffff;
        if (!for_us) {
            return;
        }
        std::string client = client_text(d.client);
        uint32_t address = d.requested != 0 ? d.requested : d.ciaddr;
        if (d.type == Dhcp::DISCOVER) {
            const Dhcp *theirs = answer_of_dhcpd(d, Dhcp::OFFER);
            std::string line = "DISCOVER of " + client + ":";
            std::string gave = theirs == nullptr
                                   ? " silence"
                                   : " " + address_text(theirs->yiaddr) + " for " + number_text(theirs->lease);
            std::string ours = offer(d, theirs == nullptr ? 0 : theirs->yiaddr);
            compare_answer(line + gave, line + (ours.empty() ? " silence" : ours));
        } else if (d.type == Dhcp::REQUEST) {
            request(d, "REQUEST of " + client + ":", address);
        } else if (d.type == Dhcp::RELEASE) {
            failover_why why{};
            if (failover_on_other(core(), &why) == FAILOVER_GO_ON) {
                server_->rows_.erase(address);
                failover_released(core(), address, &d.client, clock());
            }
        } else if (d.type == Dhcp::DECLINE) {
            // Both dhcpds hear it. A Kea hears only what bears its server identifier, but the core has to
            // stand it.
            server_->rows_.erase(address);
            failover_declined(core(), address, now_ / SECOND + 86400, clock());
        }
    }
    void request(const Dhcp &d, const std::string &line, uint32_t address) {
        const Dhcp *theirs = answer_of_dhcpd(d, Dhcp::ACK);
        bool names_other = d.server != 0 && d.server != address_of(side_);
        if (theirs == nullptr && names_other) {
            return;
        }
        std::string gave =
            theirs == nullptr ? " silence" : " " + address_text(theirs->yiaddr) + " for " + number_text(theirs->lease);
        if (!is_told(line + gave)) {
            return;
        }
        std::string ours = grant(d.client, address, d.xid, !names_other && d.server != 0);
        compare_answer(line + gave, line + (ours.empty() ? " silence" : ours));
    }

    // ---- What the core does ---------------------------------------------------------------------------------------------

    void turn() {
        while (core() != nullptr) {
            act();
            if (!answer_all()) {
                return;
            }
        }
    }
    void act() {
        failover_tick(core(), clock());
        server_->commit(clock());
        server_->apply_leases();
        read();
        failover_action action;
        while (failover_next_action(core(), &action)) {
            if (action.type == FAILOVER_ACTION_DIAL) {
                dial();
            } else if (open_.erase(action.connection) > 0) {
                last_sent_.erase(action.connection);
                say({action.connection, now_ / SECOND, "close", 0, 0, 0, -1});
            }
        }
        read();
        check_silence();
    }
    // The capture says what became of a connection that this side dialled; of others, nothing.
    void dial() {
        for (size_t i = at_; i < events_.size() && events_[i].time < now_ + SECOND; i++) {
            bool result = events_[i].type == Event::UP || events_[i].type == Event::REFUSED;
            if (result && events_[i].side == side_) {
                return;
            }
        }
        failover_dial_failed(core(), "no answer", clock());
    }
    void read() {
        uint8_t buffer[4 * FAILOVER_MESSAGE_SIZE_MAX];
        for (int id : std::vector<int>(open_.begin(), open_.end())) {
            size_t size;
            while ((size = failover_output(core(), id, buffer, sizeof(buffer), clock())) > 0) {
                for (size_t used = 0; used < size;) {
                    size_t length = big_endian(buffer + used, 2);
                    take(id, Bytes(buffer + used, buffer + used + length));
                    used += length;
                }
            }
        }
    }
    void take(int id, const Bytes &bytes) {
        failover_message m = decode(bytes);
        if (m.type == FAILOVER_STATE || last_sent_.count(id) > 0) {
            contact_rule(id, m.type == FAILOVER_CONTACT);
            last_sent_[id] = now_;
        }
        bool unnumbered = m.type == FAILOVER_BNDUPD && m.xid == 0; // reference 1.3
        if (m.time != uint32_t(now_ / SECOND) || unnumbered) {
            complain(when(now_ / SECOND) + "a header is wrong");
        }
        if (m.type == FAILOVER_CONTACT) {
            return;
        }
        bool first_state =
            m.type == FAILOVER_STATE && !prologue_ && begun_before_.count(id) == 0 && state_shown_.insert(id).second;
        std::string line = describe(m, base_, first_state);
        if (prologue_) {
            if (m.type != FAILOVER_CONNECT && m.type != FAILOVER_CONNECTACK && m.type != FAILOVER_STATE) {
                complain("before the capture: " + line);
            }
            return;
        }
        say({id, now_ / SECOND, line, m.type, m.xid, m.assigned_ip_address, -1});
    }
    int64_t silence_allowed() const {
        return int64_t(capture_.receive_timer) * SECOND / 3;
    }
    void contact_rule(int id, bool contact) {
        if (contact && now_ / 1000 - last_sent_[id] / 1000 < silence_allowed() / 1000) {
            complain(when(now_ / SECOND) + "CONTACT comes too early");
        }
    }
    void check_silence() {
        for (auto &[id, last] : last_sent_) {
            if (now_ - last > silence_allowed() + SECOND / 10) {
                complain(when(now_ / SECOND) + "CONTACT is overdue");
                last = now_;
            }
        }
    }
    // Pairs what the core says with what it is to say.
    void say(Said s) {
        for (size_t i = 0; i < expected_.size(); i++) {
            Expected &e = expected_[i];
            bool there = e.also || e.connection == s.connection;
            if (there && e.said < 0 && !e.unsaid && e.line == s.line) {
                e.said = int(said_.size());
                s.expected = int(i);
                unanswered_.push_back(said_.size());
                break;
            }
        }
        said_.push_back(s);
    }

    // ---- At the end -----------------------------------------------------------------------------------------------------

    void finish() {
        happen(events_.back().time);
        pass(events_.back().time + SECOND);
        turn();
        failover_state ends = side_ == PRIMARY ? capture_.primary_ends : capture_.secondary_ends;
        failover_state is = core() == nullptr ? FAILOVER_UNKNOWN : failover_current_state(core());
        if (ends != is) {
            complain(std::string("ends in ") + failover_state_name(is) + " instead of " + failover_state_name(ends));
        }
        if (is == FAILOVER_NORMAL && failover_get_record(core())->mclt != capture_.mclt) {
            complain("the MCLT was not taken over");
        }
        compare();
    }
    void compare() {
        for (const Expected &e : expected_) {
            if (e.said < 0 && !e.unsaid && !e.optional) {
                std::string changed = e.line == e.theirs || e.also ? "" : "   from: " + e.theirs;
                complain((e.also ? "" : when(e.wall)) + "not said: " + e.line + changed);
            }
        }
        for (size_t i = 0; i < said_.size(); i++) {
            compare(i);
        }
    }
    // Acknowledgements are held against each other by their xid, not by their order: dhcpd collects them.
    bool has_place(const Said &s) const {
        return s.expected >= 0 && !expected_[size_t(s.expected)].also && s.type != FAILOVER_BNDACK;
    }
    bool moved(const Said &s) const {
        return !expected_[size_t(s.expected)].moved.empty();
    }
    void compare(size_t at) {
        const Said &s = said_[at];
        if (s.expected < 0) {
            complain(when(s.wall) + "said as well: " + s.line);
            return;
        }
        const Expected &e = expected_[size_t(s.expected)];
        if (e.also) {
            return;
        }
        // dhcpd holds back acknowledgements for up to 2 s, and each of both may be a second late for its
        // rounding.
        bool early = s.wall < e.wall - (s.type == FAILOVER_BNDACK ? 3 : 0);
        bool late = s.wall > e.wall + 1;
        if ((early && !e.earlier) || (late && !e.later)) {
            complain(when(s.wall) + "not at " + when(e.wall) + s.line);
        }
        bool misplaced = false; // among what has a fixed place
        bool needed = early || late;
        for (size_t i = 0; i < said_.size() && has_place(s); i++) {
            const Said &o = said_[i];
            bool swapped =
                has_place(o) && o.connection == s.connection && (i < at) != (o.expected < s.expected) && i != at;
            needed = needed || swapped;
            misplaced = misplaced || (swapped && !moved(s) && !moved(o));
        }
        if (misplaced) {
            complain(when(s.wall) + "out of order: " + s.line);
        }
        if (needed) {
            outcome.used.insert(e.moved.begin(), e.moved.end());
        }
    }
};

// ---- The tests ------------------------------------------------------------------------------------------------------

struct Case {
    const Capture *capture;
    Side side;
};

std::ostream &operator<<(std::ostream &out, const Case &c) {
    return out << c.capture->name << (c.side == PRIMARY ? " primary" : " secondary");
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const Capture &c : captures) {
        for (Side side : {PRIMARY, SECONDARY}) {
            if ((side == PRIMARY ? c.primary : c.secondary).kind != Beginning::SCRIPTED) {
                all.push_back({&c, side});
            }
        }
    }
    return all;
}

class Replays : public ::testing::TestWithParam<Case> {};

TEST_P(Replays, SaysWhatDhcpdSaid) {
    Replay replay(*GetParam().capture, GetParam().side);
    for (const std::string &complaint : replay.outcome.complaints) {
        ADD_FAILURE() << complaint;
    }
}

INSTANTIATE_TEST_SUITE_P(Dhcpd, Replays, ::testing::ValuesIn(cases()), [](const auto &info) {
    std::string name = info.param.capture->name;
    std::replace(name.begin(), name.end(), '-', '_');
    return name + (info.param.side == PRIMARY ? "_primary" : "_secondary");
});

// A difference that nothing needs any more would hide the next one.
TEST(ReplayTable, EveryDifferenceIsNeeded) {
    std::map<size_t, std::set<std::string>> needed;
    for (const Case &c : cases()) {
        Replay replay(*c.capture, c.side);
        for (size_t i : replay.outcome.used) {
            std::string name = c.capture->name;
            needed[i].insert(name.substr(0, name.find('-')) + (c.side == PRIMARY ? "P" : "S"));
        }
    }
    for (size_t i = 0; i < std::size(differences); i++) {
        const Difference &d = differences[i];
        std::istringstream numbers(d.captures);
        for (std::string number; numbers >> number;) {
            for (Side side : {PRIMARY, SECONDARY}) {
                if ((d.side & side) != 0) {
                    EXPECT_TRUE(needed[i].count(number + (side == PRIMARY ? "P" : "S")) > 0)
                        << number << (side == PRIMARY ? " primary: " : " secondary: ") << d.theirs << " / " << d.ours;
                }
            }
        }
    }
}

} // namespace
