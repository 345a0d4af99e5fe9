// SPDX-License-Identifier: MPL-2.0
//
// The connection: the handshake byte by byte, every way in which it is refused or lost, and who may say what
// when.
#include "core.h"
#include "partner.h"
#include "state.h"

using namespace failover_test;

namespace {

Bytes from_hex(const std::string &hex) {
    Bytes bytes;
    std::string digits;
    for (char c : hex) {
        if (c != ' ') {
            digits += c;
        }
    }
    for (size_t i = 0; i + 1 < digits.size(); i += 2) {
        bytes.push_back(uint8_t(std::stoi(digits.substr(i, 2), nullptr, 16)));
    }
    return bytes;
}

std::string to_hex(const Bytes &bytes) {
    std::string hex;
    char digits[3];
    for (uint8_t b : bytes) {
        snprintf(digits, sizeof(digits), "%02x", b);
        hex += digits;
    }
    return hex;
}

std::string same_hex(const std::string &hex) {
    return to_hex(from_hex(hex));
}

} // namespace

class PeerTest : public Scripted {
protected:
    // A secondary that has never met anybody, and a connection that it has accepted.
    int fresh_secondary() {
        make(FAILOVER_SECONDARY);
        start();
        return connect();
    }
    // One that knows its partner: it speaks to a dhcpd as soon as it is linked.
    int known_secondary() {
        make_known(FAILOVER_SECONDARY, FAILOVER_COMMUNICATIONS_INTERRUPTED);
        start();
        return connect();
    }
    int fresh_primary() {
        make(FAILOVER_PRIMARY);
        start();
        int id = connect(true);
        take(FAILOVER_CONNECT, id);
        return id;
    }
    bool linked() {
        return x->core()->peer.link != nullptr;
    }
    // CONNECT is refused with this reason; the CONNECTACK, to look at further.
    Received expect_rejected(const Message &connect_message, int reason, const std::string &text) {
        int id = fresh_secondary();
        send(id, connect_message);
        Received ack = take(FAILOVER_CONNECTACK, id);
        EXPECT_EQ(connect_message.m.xid, ack.m.xid);
        EXPECT_TRUE(ack.has(FAILOVER_OPT_REJECT_REASON));
        EXPECT_EQ(reason, ack.m.reject_reason);
        EXPECT_EQ(text, ack.text());
        EXPECT_TRUE(ack.has(FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER));
        EXPECT_FALSE(ack.has(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS));
        EXPECT_EQ("", names(id)) << "no STATE behind a reject";
        EXPECT_TRUE(is_closed(id));
        EXPECT_FALSE(linked());
        EXPECT_TRUE(x->logged(text));
        return ack;
    }
    // CONNECTACK is refused with DISCONNECT.
    void expect_disconnected(const Message &connectack, int reason) {
        int id = fresh_primary();
        send(id, connectack);
        Received d = take(FAILOVER_DISCONNECT, id);
        EXPECT_EQ(reason, d.m.reject_reason);
        EXPECT_EQ("", names(id));
        EXPECT_TRUE(is_closed(id));
        EXPECT_FALSE(linked());
    }
};

// ---- The handshake --------------------------------------------------------------------------------------------------

TEST_F(PeerTest, ConnectByteByByte) {
    make(FAILOVER_PRIMARY);
    now.wall = 0x6b062453;
    start();
    int id = connect(true);
    Received m = take(FAILOVER_CONNECT, id);
    EXPECT_EQ(same_hex("007a050c 6b062453 00000000"
                       "0016 0003 666f31"
                       "000e 0004 00000064"
                       "0013 0004 0000001e"
                       "001c 000e 6b65612d6661696c6f7665722d31"
                       "0014 0001 01"
                       "001b 0001 00"
                       "000f 0004 0000003c"
                       "000b 0020 ffffffffffffffffffffffffffffffff 00000000000000000000000000000000"
                       "001d 000b 01 01 03 0000000000000000"),
              to_hex(m.bytes));
    EXPECT_EQ("", names(id)) << "nothing more before CONNECTACK";
}

TEST_F(PeerTest, ConnectackAndStateByteByByte) {
    now.wall = 0x6b062453;
    make_known(FAILOVER_SECONDARY, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    start();
    int id = connect();
    EXPECT_EQ("", names(id)) << "the secondary never speaks first";
    Message c = connect_message();
    send(id, c.xid(0x12345678));
    EXPECT_EQ("CONNECTACK STATE", names(id));
    EXPECT_EQ(same_hex("004e060c 6b062453 12345678"
                       "0016 0003 666f31"
                       "000e 0004 00000064"
                       "0013 0004 0000001e"
                       "001c 000e 6b65612d6661696c6f7665722d31"
                       "0014 0001 01"
                       "001a 0001 00"
                       "001d 000b 01 01 00 0000000000000000"),
              to_hex(take(FAILOVER_CONNECTACK, id).bytes));
    EXPECT_EQ(same_hex("001e0a0c 6b062453 00000000"
                       "0018 0001 03"
                       "0017 0001 01"
                       "0019 0004 6b06206b"),
              to_hex(take(FAILOVER_STATE, id).bytes))
        << "to a dhcpd no vendor record in STATE";
}

TEST_F(PeerTest, PrimarySendsConnectOnEveryConnection) {
    make(FAILOVER_PRIMARY);
    start();
    int dialled = connect(true);
    int accepted = connect(false);
    EXPECT_EQ("CONNECT", names(dialled));
    EXPECT_EQ("CONNECT", names(accepted));
    take(FAILOVER_CONNECT, accepted);
    send(accepted, connectack_message());
    Received state = take(FAILOVER_STATE, accepted);
    EXPECT_EQ(1u, state.m.xid) << "CONNECT was the first of the primary's";
    EXPECT_TRUE(linked());
}

TEST_F(PeerTest, TheSecondarysDialCountsToo) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
    start();
    int id = connect(true);
    EXPECT_EQ("", names(id));
    send(id, connect_message());
    take(FAILOVER_CONNECTACK, id);
    EXPECT_EQ(0u, take(FAILOVER_STATE, id).m.xid);
}

TEST_F(PeerTest, StateOfOneOfOursCarriesTheRecord) {
    ours = true;
    int id = fresh_secondary();
    send(id, connect_message());
    take(FAILOVER_CONNECTACK, id);
    Received state = take(FAILOVER_STATE, id);
    ASSERT_TRUE(state.has(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS));
    EXPECT_EQ(11, state.m.vendor_specific_options.length);
}

// ---- CONNECT refused ------------------------------------------------------------------------------------------------

TEST_F(PeerTest, ConnectWithoutName) {
    Message c = connect_message();
    Received ack = expect_rejected(c.without(FAILOVER_OPT_RELATIONSHIP_NAME), FAILOVER_REJECT_INVALID_PARTNER,
                                   "missing relationship-name");
    EXPECT_FALSE(ack.has(FAILOVER_OPT_RELATIONSHIP_NAME));
    EXPECT_FALSE(ack.has(FAILOVER_OPT_MAX_UNACKED_BNDUPD));
    EXPECT_FALSE(ack.has(FAILOVER_OPT_RECEIVE_TIMER));
}

TEST_F(PeerTest, ConnectWithAnotherName) {
    for (const char *name : {"alpha", "FO1", "fo", "fo11"}) {
        Message c = connect_message();
        Received ack = expect_rejected(c.text(FAILOVER_OPT_RELATIONSHIP_NAME, name), FAILOVER_REJECT_INVALID_PARTNER,
                                       "unknown failover relationship name");
        EXPECT_EQ(name, text_of(ack.m.relationship_name)) << "the name is echoed";
        EXPECT_FALSE(ack.has(FAILOVER_OPT_MAX_UNACKED_BNDUPD));
        EXPECT_FALSE(ack.has(FAILOVER_OPT_RECEIVE_TIMER));
        EXPECT_TRUE(x->logged("calls the relationship \"" + std::string(name) + "\", this server \"fo1\""));
    }
    Message c = connect_message();
    expect_rejected(c.text(FAILOVER_OPT_RELATIONSHIP_NAME, std::string("fo1\0", 4)), FAILOVER_REJECT_INVALID_PARTNER,
                    "unknown failover relationship name");
}

TEST_F(PeerTest, ConnectWithAnotherClock) {
    for (int64_t off : {61, -61, 1000000}) {
        skew = off;
        Received ack = expect_rejected(connect_message(), FAILOVER_REJECT_TIME_MISMATCH, "time offset too large");
        EXPECT_TRUE(ack.has(FAILOVER_OPT_MAX_UNACKED_BNDUPD));
    }
    for (int64_t off : {60, -60, 0}) {
        skew = off;
        int id = known_secondary();
        send(id, connect_message());
        EXPECT_EQ("CONNECTACK STATE", names(id));
        EXPECT_TRUE(linked());
        EXPECT_EQ(off, x->record_->skew);
        inbox.clear();
    }
}

TEST_F(PeerTest, ConnectWithoutAWholeHba) {
    Message none = connect_message();
    expect_rejected(none.without(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT), FAILOVER_REJECT_HBA_CONFLICT, "invalid HBA");
    for (size_t size : {0, 31, 33}) {
        Message c = connect_message();
        expect_rejected(c.bytes(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT, Bytes(size, 0xff)), FAILOVER_REJECT_HBA_CONFLICT,
                        "invalid HBA");
    }
}

TEST_F(PeerTest, ConnectWithoutMclt) {
    Message none = connect_message();
    expect_rejected(none.without(FAILOVER_OPT_MCLT), FAILOVER_REJECT_INVALID_MCLT, "invalid MCLT");
    Message zero = connect_message();
    expect_rejected(zero.number(FAILOVER_OPT_MCLT, 0), FAILOVER_REJECT_INVALID_MCLT, "invalid MCLT");
    EXPECT_EQ(60u, failover_get_record(x->core())->mclt) << "nothing was learnt from it";
}

TEST_F(PeerTest, ConnectThatRequiresTls) {
    Message c = connect_message();
    Received ack = expect_rejected(c.number(FAILOVER_OPT_TLS_REQUEST, 2), FAILOVER_REJECT_TLS_UNSUPPORTED,
                                   "TLS is not configured");
    EXPECT_TRUE(ack.has(FAILOVER_OPT_TLS_REPLY));
    EXPECT_EQ(0, ack.m.tls_reply);
}

TEST_F(PeerTest, ConnectThatOnlyWishesTlsOrDoesNotSpeakOfIt) {
    Message wish = connect_message();
    int id = fresh_secondary();
    send(id, wish.number(FAILOVER_OPT_TLS_REQUEST, 1));
    Received ack = take(FAILOVER_CONNECTACK, id);
    EXPECT_TRUE(ack.has(FAILOVER_OPT_TLS_REPLY));
    EXPECT_EQ(0, ack.m.tls_reply);
    inbox.clear();

    Message silent = connect_message();
    id = fresh_secondary();
    send(id, silent.without(FAILOVER_OPT_TLS_REQUEST));
    ack = take(FAILOVER_CONNECTACK, id);
    EXPECT_FALSE(ack.has(FAILOVER_OPT_REJECT_REASON));
    EXPECT_FALSE(ack.has(FAILOVER_OPT_TLS_REPLY));
}

TEST_F(PeerTest, ConnectWithoutVendorOrVersionIsTaken) {
    Message c = connect_message();
    int id = known_secondary();
    send(id, c.without(FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER).without(FAILOVER_OPT_PROTOCOL_VERSION));
    EXPECT_EQ("CONNECTACK STATE", names(id));
    EXPECT_FALSE(x->core()->peer.partner_is_ours);
}

TEST_F(PeerTest, BothPrimary) {
    make(FAILOVER_PRIMARY);
    start();
    int id = connect();
    take(FAILOVER_CONNECT, id);
    send(id, connect_message());
    Received ack = take(FAILOVER_CONNECTACK, id);
    EXPECT_EQ(FAILOVER_REJECT_INVALID_PARTNER, ack.m.reject_reason);
    EXPECT_EQ("both servers are configured as primary", ack.text());
    EXPECT_TRUE(is_closed(id));
    EXPECT_TRUE(x->logged("both servers are configured as primary"));
}

TEST_F(PeerTest, BothSecondary) {
    int id = fresh_secondary();
    send(id, connectack_message());
    EXPECT_TRUE(is_closed(id));
    EXPECT_TRUE(x->logged("both servers are configured as secondary"));
    EXPECT_FALSE(linked());
}

TEST_F(PeerTest, SecondConnectionWhileLinkedIsClosedWithoutAWord) {
    start_normal(FAILOVER_SECONDARY);
    int id = connect();
    send(id, connect_message());
    EXPECT_EQ("", names(id));
    EXPECT_TRUE(is_closed(id));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    send(Message(FAILOVER_POOLREQ, 9));
    EXPECT_EQ(9u, take(FAILOVER_POOLRESP).m.xid) << "the first link goes on";
}

TEST_F(PeerTest, ConnectOnTheLinkItselfEndsIt) {
    start_normal(FAILOVER_SECONDARY);
    send(connect_message());
    EXPECT_EQ(FAILOVER_REJECT_DUPLICATE_CONNECTION, take(FAILOVER_DISCONNECT).m.reject_reason);
    EXPECT_TRUE(is_closed(link));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
}

// ---- CONNECTACK refused ---------------------------------------------------------------------------------------------

TEST_F(PeerTest, ConnectackWithoutName) {
    Message a = connectack_message();
    expect_disconnected(a.without(FAILOVER_OPT_RELATIONSHIP_NAME), FAILOVER_REJECT_INVALID_PARTNER);
    // A reject without a name too, as dhcpd does.
    Message r = connectack_message();
    expect_disconnected(r.without(FAILOVER_OPT_RELATIONSHIP_NAME).number(FAILOVER_OPT_REJECT_REASON, 8),
                        FAILOVER_REJECT_INVALID_PARTNER);
}

TEST_F(PeerTest, ConnectackWithAnotherName) {
    Message a = connectack_message();
    expect_disconnected(a.text(FAILOVER_OPT_RELATIONSHIP_NAME, "fo2"), FAILOVER_REJECT_INVALID_PARTNER);
}

TEST_F(PeerTest, ConnectackWithAnotherClock) {
    skew = 61;
    expect_disconnected(connectack_message(), FAILOVER_REJECT_TIME_MISMATCH);
    skew = -61;
    expect_disconnected(connectack_message(), FAILOVER_REJECT_TIME_MISMATCH);
    skew = 60;
    int id = fresh_primary();
    send(id, connectack_message());
    EXPECT_TRUE(linked());
}

TEST_F(PeerTest, ConnectackThatRejectsIsClosedAndTriedAgain) {
    int id = fresh_primary();
    Message a = connectack_message();
    send(id, a.number(FAILOVER_OPT_REJECT_REASON, 18).text(FAILOVER_OPT_MESSAGE, "invalid HBA"));
    EXPECT_EQ("", names(id)) << "no DISCONNECT for a reject";
    EXPECT_TRUE(is_closed(id));
    EXPECT_TRUE(x->logged("no connection with the partner: hash bucket assignment conflict"));
    dials = 0;
    pass(4999);
    EXPECT_EQ(0, dials);
    pass(1);
    EXPECT_EQ(1, dials);
}

TEST_F(PeerTest, ConnectackOnASecondConnection) {
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL);
    start();
    int first = connect(true), second = connect(false);
    take(FAILOVER_CONNECT, first);
    take(FAILOVER_CONNECT, second);
    send(second, connectack_message());
    take(FAILOVER_STATE, second);
    send(first, connectack_message());
    EXPECT_EQ(FAILOVER_REJECT_DUPLICATE_CONNECTION, take(FAILOVER_DISCONNECT, first).m.reject_reason);
    EXPECT_TRUE(is_closed(first));
    EXPECT_FALSE(is_closed(second));
    EXPECT_TRUE(linked());
    send(second, state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

TEST_F(PeerTest, ConnectackIsNotComparedFurther) {
    int id = fresh_primary();
    Message a = connectack_message();
    send(id, a.xid(4711).number(FAILOVER_OPT_TLS_REPLY, 1).number(FAILOVER_OPT_PROTOCOL_VERSION, 9));
    EXPECT_EQ("STATE", names(id));
}

TEST_F(PeerTest, ConnectackOnTheLinkItselfEndsIt) {
    start_normal(FAILOVER_PRIMARY);
    send(connectack_message());
    EXPECT_EQ(FAILOVER_REJECT_DUPLICATE_CONNECTION, take(FAILOVER_DISCONNECT).m.reject_reason);
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
}

TEST_F(PeerTest, OnlyTheFirstOfTwoCompleteConnectionsCounts) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
    start();
    int first = connect(), second = connect();
    send(second, connect_message());
    EXPECT_EQ("CONNECTACK STATE", names(second));
    send(first, connect_message());
    EXPECT_EQ("", names(first));
    EXPECT_TRUE(is_closed(first));
    disconnect(first);
    EXPECT_TRUE(linked()) << "the loss of the other is no loss";
}

// ---- What is learnt -------------------------------------------------------------------------------------------------

TEST_F(PeerTest, SecondaryLearnsMcltAndHba) {
    make(FAILOVER_SECONDARY);
    start();
    partner_mclt = 1800;
    Message c = connect_message();
    Bytes hba(FAILOVER_HBA_SIZE, 0x5a);
    int id = connect();
    send(id, c.bytes(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT, hba));
    EXPECT_EQ(1800u, x->record_->mclt);
    EXPECT_EQ(now.wall, x->record_->mclt_taken);
    EXPECT_TRUE(std::equal(hba.begin(), hba.end(), x->record_->hba));
    EXPECT_TRUE(x->record_->hba_known);
    x->kill();
    start();
    EXPECT_EQ(1800u, x->status(now).mclt) << "and remembers them";
    EXPECT_TRUE(std::equal(hba.begin(), hba.end(), x->record_->hba));
}

TEST_F(PeerTest, PartnersLimitsThatAreMissingOrZero) {
    for (int64_t value : {-1, 0, 2}) {
        make(FAILOVER_SECONDARY);
        start();
        Message c = connect_message();
        if (value < 0) {
            c.without(FAILOVER_OPT_MAX_UNACKED_BNDUPD).without(FAILOVER_OPT_RECEIVE_TIMER);
        } else {
            c.number(FAILOVER_OPT_MAX_UNACKED_BNDUPD, value).number(FAILOVER_OPT_RECEIVE_TIMER, value);
        }
        int id = connect();
        send(id, c);
        take(FAILOVER_CONNECTACK, id);
        EXPECT_EQ(value == 2 ? 2u : 1u, x->core()->peer.partner_max_unacked);
        inbox.clear();
        pass(10000);
        EXPECT_LE(in(id).size(), 10u) << "no flood of CONTACT";
        EXPECT_GE(in(id).size(), 3u);
        inbox.clear();
    }
}

TEST_F(PeerTest, SkewIsMeasuredWithEachFreshMessage) {
    start_normal(FAILOVER_PRIMARY);
    skew = 7;
    send(Message(FAILOVER_CONTACT, partner_xid++));
    EXPECT_EQ(7, x->status(now).skew);
    skew = -9;
    send(state_message(FAILOVER_NORMAL, now.wall));
    EXPECT_EQ(-9, x->status(now).skew);
    skew = 40;
    x->log_.clear();
    send(Message(FAILOVER_CONTACT, partner_xid++));
    send(Message(FAILOVER_CONTACT, partner_xid++));
    auto warns = [](const std::string &line) { return line.find("clock is 40 s ahead of ours") != std::string::npos; };
    EXPECT_EQ(1, std::count_if(x->log_.begin(), x->log_.end(), warns)) << "once";
}

TEST_F(PeerTest, AnUpdateDoesNotMeasureTheSkew) {
    start_normal(FAILOVER_PRIMARY);
    Message m = bndupd(POOL_FIRST + 15, FAILOVER_FREE, nullptr, 0, now.wall, now.wall);
    m.time = uint32_t(now.wall - 300); // it may have waited for long
    send(m);
    take(FAILOVER_BNDACK);
    EXPECT_EQ(0, x->status(now).skew);
    EXPECT_TRUE(linked());
}

TEST_F(PeerTest, ClocksThatDriftApartEndTheLink) {
    start_normal(FAILOVER_PRIMARY);
    skew = 61;
    send(Message(FAILOVER_CONTACT, partner_xid++));
    EXPECT_EQ(FAILOVER_REJECT_TIME_MISMATCH, take(FAILOVER_DISCONNECT).m.reject_reason);
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
}

// ---- Nothing but CONNECT and CONNECTACK before the link -------------------------------------------------------------

TEST_F(PeerTest, OtherMessagesBeforeConnect) {
    for (auto type : {FAILOVER_STATE, FAILOVER_BNDUPD, FAILOVER_BNDACK, FAILOVER_UPDREQ, FAILOVER_UPDREQALL,
                      FAILOVER_UPDDONE, FAILOVER_POOLREQ, FAILOVER_POOLRESP, FAILOVER_CONTACT, FAILOVER_DISCONNECT}) {
        SCOPED_TRACE(failover_message_name(uint8_t(type)));
        make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
        start();
        int id = connect();
        if (type == FAILOVER_STATE) {
            send(id, state_message(FAILOVER_PARTNER_DOWN, now.wall));
        } else if (type == FAILOVER_BNDUPD) {
            failover_client c = make_client(1);
            send(id, bndupd(POOL_FIRST, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall + 90, now.wall, now.wall));
        } else {
            send(id, Message(type));
        }
        EXPECT_EQ("", names(id));
        EXPECT_TRUE(is_closed(id));
        EXPECT_EQ(FAILOVER_STARTUP, x->state()) << "nothing of it was taken";
        EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST).status);
        closed.clear();
    }
}

TEST_F(PeerTest, WhatComesOnAnotherConnectionChangesNothing) {
    start_normal(FAILOVER_SECONDARY);
    int id = connect();
    send(id, state_message(FAILOVER_PARTNER_DOWN, now.wall));
    EXPECT_TRUE(is_closed(id));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

// ---- Timers ---------------------------------------------------------------------------------------------------------

TEST_F(PeerTest, ContactAtAThirdOfThePartnersReceiveTimer) {
    partner_receive_timer = 60;
    start_normal(FAILOVER_PRIMARY, 20, [](failover_config &c) { c.max_response_delay = 100; });
    pass(19999);
    EXPECT_EQ("", names(link));
    pass(1);
    EXPECT_EQ("CONTACT", names(link));
    forget();
    pass(10000);
    bind(make_client(1), POOL_FIRST);
    forget();
    pass(19999);
    EXPECT_EQ("", names(link)) << "any message counts";
    pass(1);
    EXPECT_EQ("CONTACT", names(link));
}

TEST_F(PeerTest, SilenceEndsTheLink) {
    start_normal(FAILOVER_PRIMARY);
    pass(29999);
    send(Message(FAILOVER_CONTACT, partner_xid++));
    forget();
    pass(29999);
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    pass(1);
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    EXPECT_TRUE(is_closed(link));
    Received last;
    while (!in(link).empty()) {
        last = std::move(in(link).front());
        in(link).pop_front();
    }
    EXPECT_EQ(FAILOVER_DISCONNECT, last.m.type);
    EXPECT_EQ(FAILOVER_REJECT_NO_TRAFFIC, last.m.reject_reason);
}

TEST_F(PeerTest, HalfAMessageIsNoTraffic) {
    start_normal(FAILOVER_PRIMARY);
    pass(20000);
    send_bytes(link, Bytes{0, 12, FAILOVER_CONTACT});
    pass(10000);
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
}

TEST_F(PeerTest, HandshakeHasTenSeconds) {
    for (bool dialled : {false, true}) {
        make(FAILOVER_SECONDARY);
        start();
        int id = connect(dialled);
        pass(9999);
        EXPECT_FALSE(is_closed(id));
        send_bytes(id, Bytes{0});
        pass(1);
        EXPECT_TRUE(is_closed(id)) << "a byte now and then is no handshake";
        closed.clear();
    }
}

TEST_F(PeerTest, TwoUnnegotiatedConnectionsAtMost) {
    make(FAILOVER_SECONDARY);
    start();
    int first = connect(), second = connect();
    EXPECT_GE(second, 0);
    for (int i = 0; i < 300; i++) {
        EXPECT_EQ(-1, connect());
    }
    int dialled = connect(true);
    EXPECT_GE(dialled, 0) << "this server's own comes on top";
    disconnect(first);
    EXPECT_GE(connect(), 0) << "one has gone, another may come";
    pass(10000);
    EXPECT_GE(connect(), 0);
    EXPECT_GE(connect(), 0);
    EXPECT_EQ(-1, connect());
}

TEST_F(PeerTest, StrangersCannotShutOutALinkThatIs) {
    start_normal(FAILOVER_SECONDARY);
    connect();
    connect();
    EXPECT_EQ(-1, connect());
    pass(5000);
    send(Message(FAILOVER_CONTACT, partner_xid++));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
}

// ---- Redial: every 5 s whatever the failure was ---------------------------------------------------------------------

class Redial : public PeerTest {
protected:
    // The next dial comes 5 s from now at the latest, and not at once.
    void expect_dial_within_5_s() {
        dials = 0;
        pass(5000);
        EXPECT_EQ(1, dials);
    }
};

TEST_F(Redial, AtStartAtOnce) {
    make(FAILOVER_SECONDARY);
    start();
    EXPECT_EQ(1, dials);
    pass(60000);
    EXPECT_EQ(1, dials) << "not while one is under way";
}

TEST_F(Redial, AfterRefusedForEver) {
    make(FAILOVER_PRIMARY);
    start();
    for (const char *why : {"Connection refused", "Network is unreachable", "timed out", "Connection reset by peer",
                            "Invalid argument"}) {
        failover_dial_failed(x->core(), why, now);
        expect_dial_within_5_s();
        EXPECT_TRUE(x->logged(why));
    }
    for (int i = 0; i < 2000; i++) {
        failover_dial_failed(x->core(), "timed out", now);
        expect_dial_within_5_s();
    }
    auto says = [](const std::string &line) { return line.find("timed out") != std::string::npos; };
    EXPECT_EQ(2, std::count_if(x->log_.begin(), x->log_.end(), says)) << "each reason is logged once";
}

TEST_F(Redial, AfterATimeout) {
    make(FAILOVER_PRIMARY);
    start();
    pass(20000);
    failover_dial_failed(x->core(), "timed out", now);
    expect_dial_within_5_s();
}

TEST_F(Redial, AfterEofInEachPhase) {
    for (int phase = 0; phase < 5; phase++) {
        SCOPED_TRACE(phase);
        make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL);
        start();
        int id = connect(true);
        take(FAILOVER_CONNECT, id);
        if (phase == 1) {
            Bytes half = encode(connectack_message());
            half.resize(half.size() / 2);
            send_bytes(id, half);
        }
        if (phase >= 2) {
            send(id, connectack_message());
        }
        if (phase >= 3) {
            send(id, state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
            ASSERT_EQ(FAILOVER_NORMAL, x->state());
        }
        if (phase == 4) {
            send_bytes(id, Bytes{0, 12, FAILOVER_CONTACT, 12, 0});
        }
        disconnect(id);
        EXPECT_EQ(phase >= 3 ? FAILOVER_COMMUNICATIONS_INTERRUPTED : FAILOVER_STARTUP, x->state());
        expect_dial_within_5_s();
        inbox.clear();
    }
}

TEST_F(Redial, AfterEofAtTheSecondary) {
    for (int phase = 0; phase < 3; phase++) {
        SCOPED_TRACE(phase);
        make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
        start();
        int id = connect(true);
        if (phase >= 1) {
            send(id, connect_message());
        }
        if (phase >= 2) {
            send(id, state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
        }
        disconnect(id);
        expect_dial_within_5_s();
        inbox.clear();
    }
}

TEST_F(Redial, AfterSilenceAndAfterGarbage) {
    start_normal(FAILOVER_PRIMARY);
    pass(30000);
    ASSERT_TRUE(is_closed(link));
    expect_dial_within_5_s();

    start_normal(FAILOVER_PRIMARY);
    send_bytes(link, Bytes(20, 0xff));
    expect_dial_within_5_s();
}

TEST_F(Redial, AfterDisconnect) {
    start_normal(FAILOVER_PRIMARY);
    Message d(FAILOVER_DISCONNECT, 3);
    send(d.number(FAILOVER_OPT_REJECT_REASON, FAILOVER_REJECT_NO_TRAFFIC));
    EXPECT_TRUE(is_closed(link));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    EXPECT_TRUE(x->logged("no traffic within sufficient time"));
    expect_dial_within_5_s();
}

TEST_F(Redial, NotWhileLinkedAndNotWhileHeldDown) {
    start_normal(FAILOVER_PRIMARY);
    dials = 0;
    for (int i = 0; i < 10; i++) {
        pass(10000);
        send(Message(FAILOVER_CONTACT, partner_xid++));
    }
    EXPECT_EQ(0, dials);
    failover_force force{FAILOVER_COMMUNICATIONS_INTERRUPTED, false, 0};
    failover_plan plan;
    failover_force_plan(x->core(), &force, now, &plan);
    failover_force_apply(x->core(), &force, &plan, now);
    run();
    pass(100000);
    EXPECT_EQ(0, dials);
    EXPECT_EQ(-1, connect()) << "nor is a connection of the partner's taken";
}

// ---- Bad bytes ------------------------------------------------------------------------------------------------------

class Garbage : public PeerTest {
protected:
    std::map<std::string, Bytes> bad() {
        Bytes update = encode(bndupd(POOL_FIRST, FAILOVER_FREE, nullptr, 0, now.wall, now.wall));
        Bytes repeated = update;
        repeated.insert(repeated.end(), {0, 3, 0, 1, 1});
        repeated[1] = uint8_t(repeated.size());
        Bytes size = update;
        size.insert(size.end(), {0, 12, 0, 1, 1}); // IP-flags have two bytes
        size[1] = uint8_t(size.size());
        Bytes beyond = update;
        beyond.insert(beyond.end(), {0, 5, 0, 99, 1});
        beyond[1] = uint8_t(beyond.size());
        Bytes left = update;
        left.insert(left.end(), {0, 5, 0});
        left[1] = uint8_t(left.size());
        auto header = [](uint8_t high, uint8_t low, uint8_t type, uint8_t offset) {
            return Bytes{high, low, type, offset, 0, 0, 0, 0, 0, 0, 0, 0};
        };
        std::map<std::string, Bytes> all;
        all["length 0"] = header(0, 0, FAILOVER_CONTACT, 12);
        all["length 11"] = header(0, 11, FAILOVER_CONTACT, 12);
        all["length 2049"] = header(8, 1, FAILOVER_CONTACT, 12);
        all["length 65535"] = header(255, 255, FAILOVER_CONTACT, 12);
        all["type 0"] = header(0, 12, 0, 12);
        all["type 13"] = header(0, 12, 13, 12);
        all["type 255"] = header(0, 12, 255, 12);
        all["offset 8"] = header(0, 12, FAILOVER_CONTACT, 8);
        all["offset behind the end"] = header(0, 12, FAILOVER_CONTACT, 13);
        all["repeated option"] = repeated;
        all["wrong size"] = size;
        all["option runs past the end"] = beyond;
        all["left-over bytes"] = left;
        all["noise"] = Bytes(5000, 0xa5);
        return all;
    }
};

TEST_F(Garbage, ClosesTheLinkAndNothingElse) {
    for (auto &[what, bytes] : bad()) {
        SCOPED_TRACE(what);
        start_normal(FAILOVER_SECONDARY);
        failover_client c = make_client(1);
        ASSERT_NE(0u, bind(c, POOL_FIRST));
        forget();
        x->log_.clear();
        send_bytes(link, bytes);
        EXPECT_TRUE(is_closed(link));
        EXPECT_EQ(1u, x->log_.size() - 2) << "one line of its own, beside the loss of the link and the state";
        EXPECT_TRUE(x->logged("bad message from the partner"));
        EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
        EXPECT_EQ(FAILOVER_ACTIVE, x->binding(POOL_FIRST).status);
        EXPECT_EQ("DISCONNECT", names(link));
        link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
        EXPECT_EQ(FAILOVER_NORMAL, x->state()) << "and the next connection is as good as any";
        closed.clear();
        inbox.clear();
    }
}

TEST_F(Garbage, BeforeConnectNeverTouchesTheLink) {
    start_normal(FAILOVER_SECONDARY);
    for (auto &[what, bytes] : bad()) {
        SCOPED_TRACE(what);
        int id = connect();
        ASSERT_GE(id, 0);
        send_bytes(id, bytes);
        EXPECT_TRUE(is_closed(id));
        EXPECT_EQ(FAILOVER_NORMAL, x->state());
    }
}

TEST_F(Garbage, HalfAMessageThenEof) {
    start_normal(FAILOVER_SECONDARY);
    failover_client c = make_client(1);
    Bytes whole =
        encode(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall + 90, now.wall, now.wall));
    for (size_t size = 1; size < whole.size(); size += 7) {
        send_bytes(link, Bytes(whole.begin(), whole.begin() + long(size)));
        EXPECT_EQ(FAILOVER_NORMAL, x->state());
        EXPECT_EQ("", names(link));
        disconnect(link);
        EXPECT_EQ(FAILOVER_FREE, x->binding(POOL_FIRST + 15).status);
        link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
        ASSERT_EQ(FAILOVER_NORMAL, x->state()) << "the half is forgotten";
        send(state_message(FAILOVER_NORMAL, now.wall));
        forget();
    }
}

TEST_F(Garbage, MessagesMayComeByteByByteOrPacked) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
    start();
    link = connect();
    for (uint8_t b : encode(connect_message())) {
        send_bytes(link, Bytes{b});
    }
    EXPECT_EQ("CONNECTACK STATE", names(link));
    Bytes packed = encode(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    for (int i = 0; i < 100; i++) {
        Bytes next = encode(bndupd(POOL_FIRST + 15, FAILOVER_FREE, nullptr, 0, now.wall + i, now.wall + i));
        packed.insert(packed.end(), next.begin(), next.end());
    }
    forget();
    send_bytes(link, packed);
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    int acks = 0;
    for (Received &r : in(link)) {
        acks += r.m.type == FAILOVER_BNDACK;
    }
    EXPECT_EQ(100, acks);
}

TEST_F(Garbage, UnknownStateNumber) {
    for (int number : {0, 12, 13, 200, 253, 255}) {
        SCOPED_TRACE(number);
        start_normal(FAILOVER_SECONDARY);
        Message m(FAILOVER_STATE, 77);
        send(m.number(FAILOVER_OPT_SERVER_STATE, number)
                 .number(FAILOVER_OPT_SERVER_FLAGS, 0)
                 .number(FAILOVER_OPT_START_TIME_OF_STATE, now.wall));
        EXPECT_TRUE(is_closed(link)) << "the connection is closed";
        EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state()) << "but the server doesn't go into shutdown";
        EXPECT_NE(FAILOVER_SHUTDOWN, x->record_->partner_state);
        closed.clear();
        inbox.clear();
    }
}

TEST_F(Garbage, StateWithoutItsOptions) {
    start_normal(FAILOVER_SECONDARY);
    send(Message(FAILOVER_STATE, 77));
    EXPECT_TRUE(is_closed(link));
    start_normal(FAILOVER_SECONDARY);
    Message m(FAILOVER_STATE, 78);
    send(m.number(FAILOVER_OPT_SERVER_STATE, FAILOVER_RECOVER));
    EXPECT_EQ(FAILOVER_COMMUNICATIONS_INTERRUPTED, x->state());
    EXPECT_EQ(FAILOVER_RECOVER, x->record_->partner_state);
    EXPECT_FALSE(is_closed(link)) << "the state alone will do";
}

TEST_F(Garbage, WhatIsLogged) {
    start_normal(FAILOVER_SECONDARY);
    int id = connect();
    Message c = connect_message();
    send(id, c.text(FAILOVER_OPT_RELATIONSHIP_NAME, "evil\nfo1: state normal -> shutdown\x1b[2J"));
    EXPECT_TRUE(x->logged("evil?fo1: state normal -> shutdown?[2J")) << "no line breaks from the partner";
}

// ---- Transaction numbers --------------------------------------------------------------------------------------------

TEST_F(PeerTest, RepliesEchoTheXid) {
    start_normal(FAILOVER_SECONDARY);
    send(Message(FAILOVER_POOLREQ, 0xdeadbeef));
    EXPECT_EQ(0xdeadbeef, take(FAILOVER_POOLRESP).m.xid);
    send(Message(FAILOVER_UPDREQ, 0xcafe));
    EXPECT_EQ(0xcafeu, take(FAILOVER_UPDDONE).m.xid);
    Message m = bndupd(POOL_FIRST + 15, FAILOVER_FREE, nullptr, 0, now.wall, now.wall);
    send(m.xid(0x8000));
    EXPECT_EQ(0x8000u, take(FAILOVER_BNDACK).m.xid);
}

TEST_F(PeerTest, OwnNumbersCountUp) {
    start_normal(FAILOVER_PRIMARY);
    bind(make_client(1), POOL_FIRST);
    bind(make_client(2), POOL_FIRST + 1);
    uint32_t first = take(FAILOVER_BNDUPD).m.xid;
    EXPECT_EQ(first + 1, take(FAILOVER_BNDUPD).m.xid);
    pass(10000);
    EXPECT_EQ(first + 2, take(FAILOVER_CONTACT).m.xid);
}

TEST_F(PeerTest, AnUpdateNeverHasNumberZero) {
    start_normal(FAILOVER_PRIMARY);
    x->core()->peer.xid = UINT32_MAX;
    bind(make_client(1), POOL_FIRST);
    bind(make_client(2), POOL_FIRST + 1);
    EXPECT_EQ(UINT32_MAX, take(FAILOVER_BNDUPD).m.xid);
    Received second = take(FAILOVER_BNDUPD);
    EXPECT_EQ(1u, second.m.xid);
    send(bndack(second));
    EXPECT_FALSE(x->binding(POOL_FIRST + 1).update_due);
}

TEST_F(PeerTest, NumbersBeginAnewWithEachConnection) {
    start_normal(FAILOVER_SECONDARY);
    bind(make_client(1), POOL_FIRST);
    take(FAILOVER_BNDUPD);
    disconnect(link);
    link_up();
    EXPECT_EQ(0u, take(FAILOVER_STATE).m.xid);
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    take(FAILOVER_STATE);
    Received again = take(FAILOVER_BNDUPD);
    EXPECT_GT(again.m.xid, 0u);
    // An answer to the first one, late, isn't taken for an answer to the second.
    Message late = bndack(again);
    send(late.xid(again.m.xid + 100));
    EXPECT_TRUE(x->binding(POOL_FIRST).update_due);
}

// ---- A database that can't be written (rule 12) ---------------------------------------------------------------------

TEST_F(PeerTest, WithoutTheDatabaseOnlyContactFlows) {
    start_normal(FAILOVER_PRIMARY);
    x->disk_works_ = false;
    failover_client c = make_client(1);
    EXPECT_EQ(60u, bind(c, POOL_FIRST)) << "clients are served on";
    send(bndupd(POOL_FIRST + 15, FAILOVER_ACTIVE, &c, now.wall + 60, now.wall + 90, now.wall, now.wall));
    send(Message(FAILOVER_UPDREQ, 7));
    pass(29000);
    EXPECT_EQ("CONTACT CONTACT", names(link));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    forget();
    x->disk_works_ = true;
    run();
    EXPECT_EQ("BNDACK BNDUPD", names(link)) << "and then everything that has waited";
    take(FAILOVER_BNDACK);
    send(bndack(take(FAILOVER_BNDUPD)));
    take(FAILOVER_UPDDONE);
}

TEST_F(PeerTest, WithoutTheDatabaseNoNewStateIsAnnounced) {
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
    x->disk_works_ = false;
    start();
    link = connect();
    send(connect_message());
    EXPECT_EQ("CONNECTACK", names(link)) << "a state that isn't on disk is nobody's business";
    forget();
    send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
    EXPECT_EQ(FAILOVER_NORMAL, x->state());
    pass(10000);
    EXPECT_EQ("CONTACT", names(link));
    forget();
    x->disk_works_ = true;
    run();
    EXPECT_EQ("STATE STATE", names(link));
}

// Who returns has to hear that the other one has gone on in PARTNER-DOWN, whatever else can't be written now.
TEST_F(PeerTest, AStateThatIsOnDiskIsAnnouncedWithoutTheDatabase) {
    make_known(FAILOVER_PRIMARY, FAILOVER_PARTNER_DOWN);
    start();
    pass(10000);
    ASSERT_EQ(FAILOVER_PARTNER_DOWN, x->state());
    x->disk_works_ = false;
    ASSERT_EQ(60u, bind(make_client(1), POOL_FIRST));
    link = connect(true);
    take(FAILOVER_CONNECT);
    send(connectack_message());
    Received state = take(FAILOVER_STATE);
    EXPECT_EQ(FAILOVER_PARTNER_DOWN, state.m.server_state);
    send(state_message(FAILOVER_RECOVER, now.wall));
    send(Message(FAILOVER_UPDREQALL, 7));
    EXPECT_EQ("", names(link)) << "and nothing else";
}

TEST_F(PeerTest, AFullQueueOfMessagesGivesTheConnectionUp) {
    start_normal(FAILOVER_PRIMARY);
    x->disk_works_ = false;
    send(bndupd(POOL_FIRST + 15, FAILOVER_FREE, nullptr, 0, now.wall, now.wall));
    Bytes update = encode(Message(FAILOVER_POOLREQ));
    for (int i = 0; i < 70000 && linked(); i++) {
        failover_received(x->core(), link, update.data(), update.size(), now);
    }
    EXPECT_FALSE(linked());
    EXPECT_TRUE(x->logged("too many messages wait for the database"));
}

// ---- Who is primary -------------------------------------------------------------------------------------------------

class VendorRecord : public PeerTest {
protected:
    // This server's record says `primary` since `since`; a link comes up with the partner's record.
    void meet(failover_role primary, int64_t since) {
        make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL);
        x->record_->acting_primary = primary;
        x->record_->acting_since = since;
        start();
        link_up();
        send(state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall));
        inbox.clear();
    }
    failover_role acting() {
        return x->record_->acting_primary;
    }
};

TEST_F(VendorRecord, TheLaterOneWins) {
    ours = true;
    acting_primary = FAILOVER_SECONDARY;
    acting_since = now.wall - 100;
    meet(FAILOVER_PRIMARY, 0);
    EXPECT_EQ(FAILOVER_SECONDARY, acting());
    EXPECT_EQ(now.wall - 100, x->record_->acting_since);
    EXPECT_EQ(FAILOVER_SECONDARY, x->status(now).role);
    meet(FAILOVER_PRIMARY, now.wall - 99);
    EXPECT_EQ(FAILOVER_PRIMARY, acting());
    meet(FAILOVER_PRIMARY, now.wall - 101);
    EXPECT_EQ(FAILOVER_SECONDARY, acting());
}

TEST_F(VendorRecord, ATieGoesToTheConfiguredRoles) {
    ours = true;
    acting_primary = FAILOVER_SECONDARY;
    acting_since = 1000;
    meet(FAILOVER_PRIMARY, 1000);
    EXPECT_EQ(FAILOVER_PRIMARY, acting());
    acting_primary = FAILOVER_PRIMARY;
    meet(FAILOVER_SECONDARY, 1000);
    EXPECT_EQ(FAILOVER_PRIMARY, acting());
    acting_primary = FAILOVER_SECONDARY;
    meet(FAILOVER_SECONDARY, 1000);
    EXPECT_EQ(FAILOVER_SECONDARY, acting()) << "no tie: they agree";
}

TEST_F(VendorRecord, IsSentWithConnectAndState) {
    ours = true;
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL);
    x->record_->acting_primary = FAILOVER_SECONDARY;
    x->record_->acting_since = 0x0102030405;
    start();
    int id = connect(true);
    Bytes expected{1, 2, 0, 0, 0, 0, 1, 2, 3, 4, 5};
    Received c = take(FAILOVER_CONNECT, id);
    auto record = [](const Received &r) {
        return Bytes(r.m.vendor_specific_options.data,
                     r.m.vendor_specific_options.data + r.m.vendor_specific_options.length);
    };
    EXPECT_EQ(expected, record(c));
    send(id, connectack_message());
    EXPECT_EQ(expected, record(take(FAILOVER_STATE, id)));
}

TEST_F(VendorRecord, ADhcpdHasNone) {
    ours = false;
    make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL);
    start();
    link_up();
    Message m = state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall);
    Bytes record = {1, 2, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0};
    m.bytes(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS, record);
    send(m);
    EXPECT_EQ(FAILOVER_PRIMARY, acting()) << "what another vendor puts there is its own";
}

TEST_F(VendorRecord, OneThatIsMalformedIsIgnored) {
    Bytes version = {2, 2, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0};
    Bytes role = {1, 3, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0};
    for (const Bytes &bad : {Bytes(), Bytes(3, 1), version, role, Bytes(12, 1)}) {
        ours = true;
        make_known(FAILOVER_PRIMARY, FAILOVER_NORMAL);
        start();
        link_up();
        Message m = state_message(FAILOVER_COMMUNICATIONS_INTERRUPTED, now.wall);
        send(m.bytes(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS, bad));
        EXPECT_EQ(FAILOVER_PRIMARY, acting());
        EXPECT_EQ(FAILOVER_NORMAL, x->state());
        inbox.clear();
    }
}

TEST_F(VendorRecord, TheRolesOfAConnectionAreThoseAtItsBeginning) {
    ours = true;
    meet(FAILOVER_PRIMARY, 0);
    EXPECT_TRUE(x->core()->peer.wire_primary);
    acting_primary = FAILOVER_SECONDARY;
    acting_since = now.wall;
    send(state_message(FAILOVER_NORMAL, now.wall));
    EXPECT_EQ(FAILOVER_SECONDARY, x->status(now).role);
    EXPECT_TRUE(x->core()->peer.wire_primary) << "FREE and BACKUP mean on this connection what was agreed";
    disconnect(link);
    link_up();
    EXPECT_FALSE(x->core()->peer.wire_primary);
}

TEST_F(VendorRecord, TheRolesOfAConnectionAreThoseThatBothHaveTold) {
    ours = true;
    make_known(FAILOVER_PRIMARY, FAILOVER_COMMUNICATIONS_INTERRUPTED);
    x->record_->acting_primary = acting_primary = FAILOVER_SECONDARY;
    x->record_->acting_since = acting_since = now.wall - 100;
    start();
    int id = connect(true);
    take(FAILOVER_CONNECT, id);
    state_act_as_primary(x->core()); // as a forced partner-down does
    send(id, connectack_message());
    EXPECT_FALSE(x->core()->peer.wire_primary) << "the partner has read the CONNECT of before";
    EXPECT_EQ(FAILOVER_PRIMARY, acting());
}

TEST_F(VendorRecord, TheWireRoleTowardsADhcpdIsTheConfiguredOne) {
    ours = false;
    meet(FAILOVER_SECONDARY, now.wall - 100);
    EXPECT_TRUE(x->core()->peer.wire_primary);
    EXPECT_EQ(FAILOVER_PRIMARY, x->status(now).role) << "and back in normal the configured one acts again";
}

TEST_F(VendorRecord, FreeAndBackupAreSpelledByTheActingRoles) {
    ours = true;
    acting_primary = FAILOVER_SECONDARY;
    acting_since = now.wall - 100;
    meet(FAILOVER_PRIMARY, 0);
    ASSERT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST).owner);
    send(Message(FAILOVER_UPDREQALL, 9));
    acknowledge_all();
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST).owner) << "a change of role changes no ownership";
    send(bndupd(POOL_FIRST, FAILOVER_FREE, nullptr, 0, now.wall, now.wall));
    EXPECT_EQ(FAILOVER_PARTNERS, x->binding(POOL_FIRST).owner) << "FREE is the acting primary's";
    send(bndupd(POOL_FIRST, FAILOVER_BACKUP, nullptr, 0, now.wall, now.wall));
    EXPECT_EQ(FAILOVER_MINE, x->binding(POOL_FIRST).owner);
}

TEST_F(VendorRecord, AForcedNormalBeforeTheFirstContactKeepsTheActingRole) {
    ours = true;
    make_known(FAILOVER_SECONDARY, FAILOVER_NORMAL);
    x->record_->acting_primary = FAILOVER_SECONDARY;
    x->record_->acting_since = now.wall - 100;
    start();
    pass(10000);
    failover_force force{FAILOVER_NORMAL, true, 0};
    failover_plan plan;
    failover_force_plan(x->core(), &force, now, &plan);
    ASSERT_EQ(FAILOVER_OK, plan.result);
    failover_force_apply(x->core(), &force, &plan, now);
    run();
    EXPECT_EQ(FAILOVER_SECONDARY, acting()) << "who the partner is isn't known yet";
    EXPECT_EQ(now.wall - 110, x->record_->acting_since);
}
