// SPDX-License-Identifier: MPL-2.0
//
// One core whose partner is played by the test, message by message.
#ifndef FAILOVER_TESTS_PARTNER_H
#define FAILOVER_TESTS_PARTNER_H

#include <cstring>
#include <list>

#include "pair.h"

namespace failover_test {

using Bytes = std::vector<uint8_t>;

inline std::string text_of(failover_bytes b) {
    return b.length == 0 ? "" : std::string(reinterpret_cast<const char *>(b.data), b.length);
}

// A message that the core has sent, with the bytes that it points to.
struct Received {
    Bytes bytes;
    failover_message m{};

    Received() = default;
    Received(Received &&) = default;
    Received &operator=(Received &&) = default;

    bool has(failover_option option) const {
        return failover_has(&m, option);
    }
    std::string text() const {
        return text_of(m.message);
    }
};

// A message for the core. The strings live as long as the message.
class Message {
public:
    explicit Message(failover_message_type type, uint32_t xid = 0) {
        m.type = uint8_t(type);
        m.xid = xid;
    }
    Message(const Message &) = delete;
    Message(Message &&other) = default;

    Message &number(failover_option option, int64_t value) {
        failover_put(&m, option);
        switch (option) {
        case FAILOVER_OPT_ADDRESSES_TRANSFERRED:
            m.addresses_transferred = uint32_t(value);
            break;
        case FAILOVER_OPT_ASSIGNED_IP_ADDRESS:
            m.assigned_ip_address = uint32_t(value);
            break;
        case FAILOVER_OPT_BINDING_STATUS:
            m.binding_status = uint8_t(value);
            break;
        case FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME:
            m.client_last_transaction_time = value;
            break;
        case FAILOVER_OPT_IP_FLAGS:
            m.ip_flags = uint16_t(value);
            break;
        case FAILOVER_OPT_LEASE_EXPIRATION_TIME:
            m.lease_expiration_time = value;
            break;
        case FAILOVER_OPT_MAX_UNACKED_BNDUPD:
            m.max_unacked_bndupd = uint32_t(value);
            break;
        case FAILOVER_OPT_MCLT:
            m.mclt = uint32_t(value);
            break;
        case FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME:
            m.potential_expiration_time = value;
            break;
        case FAILOVER_OPT_PROTOCOL_VERSION:
            m.protocol_version = uint8_t(value);
            break;
        case FAILOVER_OPT_RECEIVE_TIMER:
            m.receive_timer = uint32_t(value);
            break;
        case FAILOVER_OPT_REJECT_REASON:
            m.reject_reason = uint8_t(value);
            break;
        case FAILOVER_OPT_SERVER_FLAGS:
            m.server_flags = uint8_t(value);
            break;
        case FAILOVER_OPT_SERVER_STATE:
            m.server_state = uint8_t(value);
            break;
        case FAILOVER_OPT_START_TIME_OF_STATE:
            m.start_time_of_state = value;
            break;
        case FAILOVER_OPT_TLS_REPLY:
            m.tls_reply = uint8_t(value);
            break;
        case FAILOVER_OPT_TLS_REQUEST:
            m.tls_request = uint8_t(value);
            break;
        default:
            ADD_FAILURE() << "option " << option << " is not a number";
        }
        return *this;
    }
    Message &bytes(failover_option option, const Bytes &value) {
        strings_.push_back(value);
        failover_bytes b{strings_.back().data(), uint16_t(value.size())};
        failover_put(&m, option);
        switch (option) {
        case FAILOVER_OPT_CLIENT_IDENTIFIER:
            m.client_identifier = b;
            break;
        case FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS:
            m.client_hardware_address = b;
            break;
        case FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT:
            m.hash_bucket_assignment = b;
            break;
        case FAILOVER_OPT_MESSAGE:
            m.message = b;
            break;
        case FAILOVER_OPT_RELATIONSHIP_NAME:
            m.relationship_name = b;
            break;
        case FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER:
            m.vendor_class_identifier = b;
            break;
        case FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS:
            m.vendor_specific_options = b;
            break;
        default:
            ADD_FAILURE() << "option " << option << " is not a string";
        }
        return *this;
    }
    Message &text(failover_option option, const std::string &value) {
        return bytes(option, Bytes(value.begin(), value.end()));
    }
    Message &without(failover_option option) {
        m.present &= ~(1u << option);
        return *this;
    }
    Message &xid(uint32_t value) {
        m.xid = value;
        return *this;
    }

    failover_message m{};
    std::optional<uint32_t> time; // the header's; without it, the partner's clock

private:
    std::list<Bytes> strings_;
};

class Scripted : public ::testing::Test {
protected:
    // Who the partner is.
    bool ours = false; // one of ours; else it passes for a dhcpd
    int64_t skew = 0;  // its clock minus the core's
    uint32_t partner_mclt = 60;
    uint32_t partner_max_unacked = 10;
    uint32_t partner_receive_timer = 30;
    failover_role acting_primary = FAILOVER_PRIMARY; // what its vendor record says
    int64_t acting_since = 0;
    bool no_record = false;
    bool forgot = false; // it has no record but for what it was forced to do without one

    failover_clock now{1800000000, 1000000};
    std::unique_ptr<Server> x;
    int link = -1;
    uint32_t partner_xid = 50; // the next of the partner's own numbers

    void make(failover_role role, uint32_t addresses = 20, std::function<void(failover_config &)> change = nullptr) {
        failover_config config{};
        failover_config_defaults(&config);
        snprintf(config.name, sizeof(config.name), "fo1");
        config.role = role;
        config.mclt = 60;
        config.max_response_delay = 30;
        if (change) {
            change(config);
        }
        x = std::make_unique<Server>(config, POOL_FIRST, POOL_FIRST + addresses - 1);
    }
    // With a record of an earlier life in `state`, in which this server owned the first half of the pool.
    void make_known(failover_role role, failover_state state, uint32_t addresses = 20,
                    std::function<void(failover_config &)> change = nullptr) {
        make(role, addresses, change);
        failover_record r{};
        r.state = state;
        r.stos = now.wall - 1000;
        r.partner_state = FAILOVER_NORMAL;
        r.partner_stos = now.wall - 1000;
        r.mclt = 60;
        r.mclt_taken = now.wall - 5000;
        r.acting_primary = FAILOVER_PRIMARY;
        r.epoch = 1;
        r.default_owner = role == FAILOVER_PRIMARY ? FAILOVER_MINE : FAILOVER_PARTNERS;
        r.last_served = now.wall - 100;
        r.last_heard = now.wall - 100;
        std::copy(x->config_.hba, x->config_.hba + FAILOVER_HBA_SIZE, r.hba);
        r.hba_known = true;
        x->record_ = r;
        for (uint32_t i = 0; i < addresses; i++) {
            failover_owner owner = i < addresses / 2 ? FAILOVER_MINE : FAILOVER_PARTNERS;
            if (owner != r.default_owner) {
                failover_binding b{};
                b.address = POOL_FIRST + i;
                b.status = FAILOVER_FREE;
                b.owner = owner;
                b.starts = b.sent = b.acked = now.wall - 1000;
                b.update_sent = b.state_sent = true;
                x->bindings_[b.address] = b;
            }
        }
    }
    void start() {
        x->start(now);
        run();
    }

    // ---- What the core wants of its transport ---------------------------------------------------------------------------
    int dials = 0;
    std::vector<int> closed;

    bool is_closed(int id) const {
        return std::count(closed.begin(), closed.end(), id) > 0;
    }

    // Lets the core do all it can now; what it sends is in the inbox of each connection.
    void run() {
        failover_tick(x->core_, now);
        x->commit(now);
        x->apply_leases();
        for (int id = 0; id < next_id_; id++) {
            read(id);
        }
        failover_action action;
        while (failover_next_action(x->core_, &action)) {
            if (action.type == FAILOVER_ACTION_DIAL) {
                dials++;
            } else {
                closed.push_back(action.connection);
            }
        }
        for (int id = 0; id < next_id_; id++) {
            read(id);
        }
    }
    void pass(int64_t ms) {
        int64_t end = now.mono + ms, start_mono = now.mono, start_wall = now.wall;
        while (now.mono < end) {
            now.mono = std::min(end, std::max(failover_deadline(x->core_), now.mono + 1));
            now.wall = start_wall + now.mono / 1000 - start_mono / 1000;
            run();
        }
    }

    // ---- Connections ----------------------------------------------------------------------------------------------------
    int connect(bool dialled = false) {
        int id = next_id_++;
        if (!failover_connected(x->core_, id, dialled, now)) {
            return -1;
        }
        run();
        return id;
    }
    void disconnect(int id) {
        failover_disconnected(x->core_, id, "closed by the partner", now);
        run();
    }
    Bytes encode(const Message &message) {
        failover_message m = message.m;
        m.time = message.time.value_or(uint32_t(now.wall + skew));
        Bytes bytes(FAILOVER_MESSAGE_SIZE_MAX);
        bytes.resize(failover_message_encode(&m, bytes.data(), bytes.size()));
        return bytes;
    }
    void send_bytes(int id, const Bytes &bytes) {
        failover_received(x->core_, id, bytes.data(), bytes.size(), now);
        run();
    }
    void send(int id, const Message &message) {
        send_bytes(id, encode(message));
    }
    void send(const Message &message) {
        send(link, message);
    }

    // The messages of a connection that the test hasn't looked at yet.
    std::map<int, std::deque<Received>> inbox;

    std::deque<Received> &in(int id) {
        return inbox[id];
    }
    std::string names(int id) {
        std::string all;
        for (Received &r : inbox[id]) {
            all += (all.empty() ? "" : " ") + std::string(failover_message_name(r.m.type));
        }
        return all;
    }
    // Takes the next message, which has to be of this type.
    Received take(failover_message_type type, int id = -1) {
        std::deque<Received> &box = inbox[id < 0 ? link : id];
        EXPECT_FALSE(box.empty()) << "no " << failover_message_name(type);
        if (box.empty()) {
            return Received{};
        }
        Received r = std::move(box.front());
        box.pop_front();
        EXPECT_STREQ(failover_message_name(type), failover_message_name(r.m.type));
        return r;
    }
    // Throws away what was sent so far.
    void forget() {
        inbox.clear();
    }

    // ---- The partner's messages -----------------------------------------------------------------------------------------
    Bytes vendor_record() const {
        Bytes record{1, uint8_t(acting_primary), uint8_t((no_record ? 1 : 0) | (forgot ? 2 : 0))};
        for (int shift = 56; shift >= 0; shift -= 8) {
            record.push_back(uint8_t(uint64_t(acting_since) >> shift));
        }
        return record;
    }
    Message limits(failover_message_type type) const {
        Message m(type);
        m.text(FAILOVER_OPT_RELATIONSHIP_NAME, "fo1")
            .number(FAILOVER_OPT_MAX_UNACKED_BNDUPD, partner_max_unacked)
            .number(FAILOVER_OPT_RECEIVE_TIMER, partner_receive_timer)
            .text(FAILOVER_OPT_VENDOR_CLASS_IDENTIFIER, ours ? "kea-failover-1" : "isc-4.4.3-P1")
            .number(FAILOVER_OPT_PROTOCOL_VERSION, 1);
        if (ours) {
            m.bytes(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS, vendor_record());
        }
        return m;
    }
    Message connect_message() const {
        Bytes hba(FAILOVER_HBA_SIZE, 0);
        std::fill(hba.begin(), hba.begin() + 16, 0xff);
        Message m = limits(FAILOVER_CONNECT);
        m.number(FAILOVER_OPT_TLS_REQUEST, 0)
            .number(FAILOVER_OPT_MCLT, partner_mclt)
            .bytes(FAILOVER_OPT_HASH_BUCKET_ASSIGNMENT, hba);
        return m;
    }
    Message connectack_message() const {
        Message m = limits(FAILOVER_CONNECTACK);
        m.number(FAILOVER_OPT_TLS_REPLY, 0);
        return m;
    }
    Message state_message(failover_state state, int64_t stos, bool startup = false) {
        Message m(FAILOVER_STATE, partner_xid++);
        m.number(FAILOVER_OPT_SERVER_STATE, state == FAILOVER_RECOVER_WAIT ? 254 : state)
            .number(FAILOVER_OPT_SERVER_FLAGS, startup ? FAILOVER_SERVER_FLAG_STARTUP : 0)
            .number(FAILOVER_OPT_START_TIME_OF_STATE, stos);
        if (ours) {
            m.bytes(FAILOVER_OPT_VENDOR_SPECIFIC_OPTIONS, vendor_record());
        }
        return m;
    }
    Message bndack(const Received &update, uint8_t reject = 0) const {
        Message m(FAILOVER_BNDACK, update.m.xid);
        m.number(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, update.m.assigned_ip_address);
        if (reject != 0) {
            m.number(FAILOVER_OPT_REJECT_REASON, reject).text(FAILOVER_OPT_MESSAGE, "because");
        }
        return m;
    }
    Message bndupd(uint32_t address, failover_binding_status status, const failover_client *client, int64_t ends,
                   int64_t potential, int64_t starts, int64_t cltt = 0) {
        Message m(FAILOVER_BNDUPD, partner_xid++);
        m.number(FAILOVER_OPT_ASSIGNED_IP_ADDRESS, address)
            .number(FAILOVER_OPT_BINDING_STATUS, status)
            .number(FAILOVER_OPT_LEASE_EXPIRATION_TIME, ends)
            .number(FAILOVER_OPT_POTENTIAL_EXPIRATION_TIME, potential)
            .number(FAILOVER_OPT_START_TIME_OF_STATE, starts);
        if (client != nullptr) {
            m.bytes(FAILOVER_OPT_CLIENT_HARDWARE_ADDRESS,
                    Bytes(client->hardware, client->hardware + client->hardware_length));
            if (client->id_length > 0) {
                m.bytes(FAILOVER_OPT_CLIENT_IDENTIFIER, Bytes(client->id, client->id + client->id_length));
            }
        }
        if (cltt != 0) {
            m.number(FAILOVER_OPT_CLIENT_LAST_TRANSACTION_TIME, cltt);
        }
        return m;
    }

    // Sends a BNDUPD and returns its BNDACK.
    Received update(const Message &message) {
        send(message);
        Received ack = take(FAILOVER_BNDACK);
        EXPECT_EQ(message.m.xid, ack.m.xid);
        EXPECT_EQ(message.m.assigned_ip_address, ack.m.assigned_ip_address);
        return ack;
    }
    // The reject reason of its BNDACK, 0 if it was accepted.
    int verdict(const Message &message) {
        Received ack = update(message);
        return ack.has(FAILOVER_OPT_REJECT_REASON) ? ack.m.reject_reason : 0;
    }

    // CONNECT and CONNECTACK, up to the first STATE of the core, which stays in the inbox.
    void link_up() {
        bool primary = x->config_.role == FAILOVER_PRIMARY;
        link = connect(primary);
        ASSERT_GE(link, 0);
        if (primary) {
            take(FAILOVER_CONNECT);
            send(link, connectack_message());
        } else {
            send(link, connect_message());
            take(FAILOVER_CONNECTACK);
        }
    }
    // The link is up, the partner shows `state`, and what the core has said to that is thrown away.
    void link_up_in(failover_state state, int64_t stos = 0, bool startup = false) {
        link_up();
        send(state_message(state, stos == 0 ? now.wall : stos, startup));
        forget();
    }
    // Both in NORMAL, with a record of an earlier life.
    void start_normal(failover_role role, uint32_t addresses = 20,
                      std::function<void(failover_config &)> change = nullptr) {
        make_known(role, FAILOVER_NORMAL, addresses, change);
        start();
        link_up_in(FAILOVER_COMMUNICATIONS_INTERRUPTED);
        ASSERT_EQ(FAILOVER_NORMAL, x->state());
        send(state_message(FAILOVER_NORMAL, now.wall));
        forget();
    }
    // Acknowledges everything that comes, until the core comes to rest, and returns it.
    std::deque<Received> acknowledge_all() {
        std::deque<Received> all, box;
        for (std::swap(box, inbox[link]); !box.empty(); box.clear(), std::swap(box, inbox[link])) {
            for (Received &r : box) {
                if (r.m.type == FAILOVER_BNDUPD) {
                    send(bndack(r));
                    all.push_back(std::move(r));
                }
            }
        }
        return all;
    }

    // ---- Clients --------------------------------------------------------------------------------------------------------
    uint32_t next_xid = 100;
    uint32_t desired = 3600;

    failover_ask ask(const failover_client &client, uint32_t address, uint32_t xid = 0, bool selects = false) {
        failover_ask a{};
        a.client = &client;
        a.address = address;
        a.xid = xid != 0 ? xid : next_xid++;
        a.desired = desired;
        a.selects_us = selects;
        return a;
    }
    // Gives the client the address if the rules allow it; the lifetime, 0 if they don't.
    uint32_t bind(const failover_client &client, uint32_t address, uint32_t xid = 0, bool selects = false) {
        failover_ask a = ask(client, address, xid, selects);
        failover_why why{};
        uint32_t lifetime = 0;
        if (failover_on_request(x->core_, &a, now, &why) != FAILOVER_GO_ON ||
            !failover_may_have(x->core_, &a, now, &lifetime, &why)) {
            return 0;
        }
        EXPECT_TRUE(failover_bound(x->core_, &a, now.wall, lifetime, now));
        run();
        return lifetime;
    }
    failover_verdict request(const failover_client &client, uint32_t address, bool selects = false) {
        failover_ask a = ask(client, address, 0, selects);
        failover_why why{};
        return failover_on_request(x->core_, &a, now, &why);
    }
    void release(const failover_client &client, uint32_t address) {
        failover_released(x->core_, address, &client, now);
        run();
    }

private:
    int next_id_ = 0;

    void read(int id) {
        uint8_t buffer[4 * FAILOVER_MESSAGE_SIZE_MAX];
        size_t size;
        while ((size = failover_output(x->core_, id, buffer, sizeof(buffer), now)) > 0) {
            size_t used = 0;
            while (used < size) {
                Received r;
                size_t length = size_t(buffer[used]) << 8 | buffer[used + 1];
                ASSERT_GE(length, size_t(FAILOVER_HEADER_SIZE));
                ASSERT_LE(used + length, size);
                r.bytes.assign(buffer + used, buffer + used + length);
                size_t consumed = 0;
                ASSERT_EQ(FAILOVER_DECODED, failover_message_decode(r.bytes.data(), length, &r.m, &consumed));
                used += length;
                inbox[id].push_back(std::move(r));
            }
        }
    }
};

} // namespace failover_test

#endif
