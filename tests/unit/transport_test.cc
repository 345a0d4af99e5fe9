// SPDX-License-Identifier: MPL-2.0
//
// Sockets, timer and wake-up on the loopback interface: transports that talk to each other or to a bare
// socket, each driven by its one descriptor as Kea's main loop does it.
#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <set>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "transport.h"

namespace {

constexpr uint32_t US = 0x7f004001;       // 127.0.64.1
constexpr uint32_t PARTNER = 0x7f004002;  // 127.0.64.2
constexpr uint32_t OTHER = 0x7f004003;    // 127.0.64.3: the partner of another relationship
constexpr uint32_t STRANGER = 0x7f004009; // 127.0.64.9
// What a transport keeps for a connection that doesn't take it.
constexpr size_t BUFFER = 262144;

int64_t mono() {
    return failover_transport_now().mono;
}

size_t descriptors() {
    std::filesystem::directory_iterator all("/proc/self/fd");
    return size_t(std::distance(begin(all), end(all)));
}

sockaddr_in socket_address(uint32_t address, uint16_t port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(address);
    a.sin_port = htons(port);
    return a;
}

// A port that nobody listens on.
uint16_t free_port() {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in a = socket_address(INADDR_ANY, 0);
    socklen_t length = sizeof(a);
    EXPECT_EQ(0, bind(fd, reinterpret_cast<sockaddr *>(&a), sizeof(a)));
    EXPECT_EQ(0, getsockname(fd, reinterpret_cast<sockaddr *>(&a), &length));
    close(fd);
    return ntohs(a.sin_port);
}

// A bare socket, blocking, that does what it is told.
class Socket {
public:
    explicit Socket(int fd) : fd_(fd) {
    }
    Socket(Socket &&other) : fd_(other.fd_) {
        other.fd_ = -1;
    }
    ~Socket() {
        shut();
    }
    static Socket from(uint32_t address) {
        Socket s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        int on = 1;
        setsockopt(s.fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        sockaddr_in a = socket_address(address, 0);
        EXPECT_EQ(0, bind(s.fd_, reinterpret_cast<sockaddr *>(&a), sizeof(a)));
        return s;
    }
    static Socket connected(uint32_t from_address, uint32_t to, uint16_t port) {
        Socket s = from(from_address);
        sockaddr_in a = socket_address(to, port);
        EXPECT_EQ(0, connect(s.fd_, reinterpret_cast<sockaddr *>(&a), sizeof(a))) << strerror(errno);
        return s;
    }
    static Socket listening(uint32_t address, uint16_t port, int backlog = 16) {
        Socket s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        int on = 1;
        setsockopt(s.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        sockaddr_in a = socket_address(address, port);
        EXPECT_EQ(0, bind(s.fd_, reinterpret_cast<sockaddr *>(&a), sizeof(a))) << strerror(errno);
        EXPECT_EQ(0, listen(s.fd_, backlog));
        return s;
    }
    Socket accept() {
        return Socket(::accept(fd_, nullptr, nullptr));
    }
    void write(const std::string &bytes) {
        EXPECT_EQ(ssize_t(bytes.size()), send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL)) << strerror(errno);
    }
    // What has come, up to `most` bytes, without waiting; `ended` is set at the end of the stream.
    std::string read(bool *ended = nullptr, size_t most = 1 << 20) {
        std::string bytes(most, '\0');
        ssize_t n = recv(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (ended != nullptr) {
            *ended = n == 0 || (n < 0 && errno == ECONNRESET);
        }
        bytes.resize(n > 0 ? size_t(n) : 0);
        return bytes;
    }
    // Closes with a RST.
    void reset() {
        linger l{1, 0};
        setsockopt(fd_, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
        shut();
    }
    void shut() {
        if (fd_ >= 0) {
            close(fd_);
        }
        fd_ = -1;
    }

    int fd_;
};

// A transport and what it has told.
class End {
public:
    End() {
        failover_transport_events events{};
        events.context = this;
        events.accepted = [](void *context, int peer, int connection) {
            auto *self = static_cast<End *>(context);
            self->accepted.push_back({peer, connection});
            return self->accepts(connection);
        };
        events.dialled = [](void *context, int peer, int connection) {
            auto *self = static_cast<End *>(context);
            self->dialled.push_back({peer, connection});
            return self->accepts(connection);
        };
        events.dial_failed = [](void *context, int, const char *why) {
            static_cast<End *>(context)->failures.push_back(why);
        };
        events.received = [](void *context, int, int connection, const uint8_t *data, size_t length) {
            auto *self = static_cast<End *>(context);
            self->received[connection].append(reinterpret_cast<const char *>(data), length);
            self->on_received(connection);
        };
        events.closed = [](void *context, int, int connection, const char *why) {
            static_cast<End *>(context)->closed.push_back({connection, why});
        };
        events.woken = [](void *context) {
            auto *self = static_cast<End *>(context);
            self->woken++;
            self->on_woken();
        };
        events.log = [](void *context, failover_severity severity, const char *text) {
            static_cast<End *>(context)->log.push_back({severity, text});
        };
        t = failover_transport_create(&events);
        EXPECT_NE(nullptr, t);
    }
    ~End() {
        failover_transport_destroy(t);
    }
    End(const End &) = delete;
    End &operator=(const End &) = delete;

    int add_peer(uint32_t local, uint32_t partner, uint16_t port) {
        return failover_transport_add_peer(t, {local, port}, {partner, port});
    }
    void send(int connection, const std::string &bytes) {
        failover_transport_send(t, connection, reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
    }
    // Is there something to do within this time?
    bool readable(int milliseconds) {
        pollfd p{failover_transport_fd(t), POLLIN, 0};
        return poll(&p, 1, milliseconds) == 1;
    }
    void dispatch() {
        failover_transport_dispatch(t);
    }
    // The number of the one connection there is.
    int connection() {
        EXPECT_EQ(1u, accepted.size() + dialled.size());
        return accepted.empty() ? dialled.at(0).second : accepted.at(0).second;
    }
    size_t complaints() const {
        return size_t(std::count_if(log.begin(), log.end(), [](auto &l) { return l.first == FAILOVER_ERROR; }));
    }

    std::function<bool(int)> accepts = [](int) { return true; };
    std::function<void(int)> on_received = [](int) {};
    std::function<void()> on_woken = [] {};
    std::vector<std::pair<int, int>> accepted, dialled; // peer and connection
    std::vector<std::string> failures;
    std::map<int, std::string> received;
    std::vector<std::pair<int, std::string>> closed;
    std::vector<std::pair<failover_severity, std::string>> log;
    int woken = 0;
    failover_transport *t;
};

// Serves the transports as their descriptors ask for it, until `done` says so. False if it never does.
bool run(const std::vector<End *> &ends, const std::function<bool()> &done, int milliseconds = 5000) {
    int64_t end = mono() + milliseconds;
    while (!done()) {
        if (mono() >= end) {
            return false;
        }
        std::vector<pollfd> polls;
        for (End *x : ends) {
            polls.push_back({failover_transport_fd(x->t), POLLIN, 0});
        }
        poll(polls.data(), polls.size(), 5);
        for (size_t i = 0; i < ends.size(); i++) {
            if (polls[i].revents != 0) {
                ends[i]->dispatch();
            }
        }
    }
    return true;
}

void run_for(const std::vector<End *> &ends, int milliseconds) {
    run(
        ends, [] { return false; }, milliseconds);
}

std::string pattern(size_t size, unsigned seed = 1) {
    std::string bytes(size, '\0');
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = char(seed >> 16);
    }
    return bytes;
}

// Two servers that know each other.
class Transport : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(0, a.add_peer(US, PARTNER, port));
        ASSERT_EQ(0, b.add_peer(PARTNER, US, port));
        ASSERT_TRUE(failover_transport_listens(a.t, 0));
        ASSERT_TRUE(failover_transport_listens(b.t, 0));
    }
    // A connection that `a` dialled.
    void join() {
        failover_transport_dial(a.t, 0);
        ASSERT_TRUE(run(both, [&] { return a.dialled.size() == 1 && b.accepted.size() == 1; }));
    }

    uint16_t port = free_port();
    End a, b;
    std::vector<End *> both{&a, &b};
};

// ---- Connections ----------------------------------------------------------------------------------------------------

TEST_F(Transport, ConnectsAndCarriesBytesBothWays) {
    join();
    EXPECT_EQ(0, a.dialled[0].first);
    EXPECT_EQ(0, b.accepted[0].first);
    EXPECT_GE(a.connection(), 0);
    a.send(a.connection(), "from a");
    b.send(b.connection(), "from b");
    EXPECT_TRUE(
        run(both, [&] { return a.received[a.connection()] == "from b" && b.received[b.connection()] == "from a"; }));
    EXPECT_TRUE(a.failures.empty() && b.failures.empty());
    EXPECT_TRUE(a.closed.empty() && b.closed.empty());
}

TEST_F(Transport, DialsFromItsOwnAddress) {
    // The source address is how the partner knows who it is: had it been another one, it would have been a
    // stranger.
    join();
    EXPECT_TRUE(b.log.empty());
}

TEST_F(Transport, BothMayDialAtOnce) {
    failover_transport_dial(a.t, 0);
    failover_transport_dial(b.t, 0);
    ASSERT_TRUE(run(both, [&] {
        return a.dialled.size() + b.dialled.size() == 2 && a.accepted.size() + b.accepted.size() == 2;
    }));
    EXPECT_NE(a.dialled[0].second, a.accepted[0].second) << "each connection has its own number";
    a.send(a.dialled[0].second, "1");
    a.send(a.accepted[0].second, "2");
    EXPECT_TRUE(
        run(both, [&] { return b.received[b.accepted[0].second] == "1" && b.received[b.dialled[0].second] == "2"; }));
}

TEST_F(Transport, NumbersOfConnectionsAreNotUsedAgain) {
    std::set<int> numbers;
    for (size_t i = 1; i <= 10; i++) {
        failover_transport_dial(a.t, 0);
        ASSERT_TRUE(run(both, [&] { return a.dialled.size() == i && b.accepted.size() == i; }));
        numbers.insert(a.dialled.back().second);
        failover_transport_close(a.t, a.dialled.back().second);
        ASSERT_TRUE(run(both, [&] { return b.closed.size() == i; }));
    }
    EXPECT_EQ(10u, numbers.size());
}

TEST_F(Transport, TakesSegmentsOfOneByte) {
    std::string bytes = pattern(300);
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    for (char c : bytes) {
        s.write(std::string(1, c));
        if (uint8_t(c) % 16 == 0) {
            run_for({&a}, 2);
        }
    }
    EXPECT_TRUE(run({&a}, [&] { return a.received[a.connection()].size() == bytes.size(); }));
    EXPECT_EQ(bytes, a.received[a.connection()]);
}

TEST_F(Transport, CarriesMuchWithBackPressure) {
    const std::string bytes = pattern(16 << 20);
    join();
    int ca = a.connection(), cb = b.connection();
    size_t sent = 0, fullest = 0;
    a.on_woken = [&] {
        while (size_t part = std::min(failover_transport_room(a.t, ca), bytes.size() - sent)) {
            a.send(ca, bytes.substr(sent, part));
            sent += part;
        }
        fullest = std::max(fullest, BUFFER - failover_transport_room(a.t, ca));
    };
    failover_transport_wake(a.t);
    run_for({&a}, 300); // b doesn't read: it all stops before long, and nothing spins
    EXPECT_LT(sent, bytes.size());
    EXPECT_EQ(0u, failover_transport_room(a.t, ca));
    int woken = a.woken;
    run_for({&a}, 200);
    EXPECT_LE(a.woken, woken + 1);
    ASSERT_TRUE(run(
        both, [&] { return b.received[cb].size() == bytes.size(); }, 60000));
    EXPECT_TRUE(bytes == b.received[cb]);
    EXPECT_LE(fullest, BUFFER);
    EXPECT_EQ(BUFFER, failover_transport_room(a.t, ca));
}

TEST_F(Transport, CarriesMuchBothWaysAtOnce) {
    const std::string bytes[2] = {pattern(4 << 20, 1), pattern(4 << 20, 2)};
    join();
    size_t sent[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        End *x = both[size_t(i)];
        x->on_woken = [&sent, &bytes, x, i] {
            size_t part = std::min(failover_transport_room(x->t, x->connection()), bytes[i].size() - sent[i]);
            if (part > 0) {
                x->send(x->connection(), bytes[i].substr(sent[i], part));
                sent[i] += part;
            }
        };
        failover_transport_wake(x->t);
    }
    ASSERT_TRUE(run(
        both,
        [&] {
            return a.received[a.connection()].size() == bytes[1].size() &&
                   b.received[b.connection()].size() == bytes[0].size();
        },
        60000));
    EXPECT_TRUE(bytes[0] == b.received[b.connection()]);
    EXPECT_TRUE(bytes[1] == a.received[a.connection()]);
}

// ---- Closing --------------------------------------------------------------------------------------------------------

TEST_F(Transport, CloseFlushesWhatWasSent) {
    const std::string bytes = pattern(BUFFER);
    join();
    a.send(a.connection(), bytes);
    failover_transport_close(a.t, a.connection());
    EXPECT_EQ(0u, failover_transport_room(a.t, a.connection())) << "nothing more goes out";
    ASSERT_TRUE(run(both, [&] { return b.closed.size() == 1; }));
    EXPECT_TRUE(bytes == b.received[b.connection()]);
    EXPECT_EQ("closed by the partner", b.closed[0].second);
    run_for(both, 50);
    EXPECT_TRUE(a.closed.empty()) << "whoever closes isn't told so, nor when the partner closes its end";
}

TEST_F(Transport, CloseWithinAnEventIsHarmless) {
    join();
    b.on_received = [&](int connection) {
        failover_transport_send(b.t, connection, reinterpret_cast<const uint8_t *>("bye"), 3);
        failover_transport_close(b.t, connection);
    };
    a.send(a.connection(), "hello");
    ASSERT_TRUE(run(both, [&] { return a.closed.size() == 1; }));
    EXPECT_EQ("bye", a.received[a.connection()]);
    EXPECT_TRUE(b.closed.empty());
}

TEST_F(Transport, NothingIsReceivedAfterAClose) {
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    failover_transport_close(a.t, a.connection());
    s.write("too late");
    run_for({&a}, 50);
    EXPECT_EQ("", a.received[a.connection()]);
    EXPECT_TRUE(a.closed.empty());
}

TEST_F(Transport, CloseWaitsASecondForAPartnerThatDoesNotRead) {
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    // More than fits into the buffers between the two.
    for (int i = 0; i < 200 && failover_transport_room(a.t, a.connection()) > 0; i++) {
        a.send(a.connection(), std::string(failover_transport_room(a.t, a.connection()), 'x'));
    }
    size_t before = descriptors();
    int64_t begin = mono();
    failover_transport_close(a.t, a.connection());
    failover_transport_wake(a.t);
    ASSERT_TRUE(run(
        {&a}, [&] { return descriptors() == before - 1; }, 3000));
    EXPECT_GE(mono() - begin, 900);
    EXPECT_LE(mono() - begin, 2000);
    EXPECT_TRUE(a.closed.empty());
}

TEST_F(Transport, TellsOfAPartnerThatCloses) {
    {
        Socket s = Socket::connected(PARTNER, US, port);
        ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
        s.write("last words");
    }
    ASSERT_TRUE(run({&a}, [&] { return a.closed.size() == 1; }));
    EXPECT_EQ("last words", a.received[a.connection()]) << "what came before the end is there";
    EXPECT_EQ(a.connection(), a.closed[0].first);
    EXPECT_EQ("closed by the partner", a.closed[0].second);
    run_for({&a}, 50);
    EXPECT_EQ(1u, a.closed.size()) << "once";
}

TEST_F(Transport, TellsOfAPartnerThatResets) {
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    s.reset();
    ASSERT_TRUE(run({&a}, [&] { return a.closed.size() == 1; }));
    EXPECT_EQ("Connection reset by peer", a.closed[0].second);
}

TEST_F(Transport, TellsOnceOfAConnectionThatBreaksWhileItSends) {
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    s.reset();
    for (int i = 0; i < 10; i++) {
        a.send(a.connection(), pattern(1000));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_TRUE(run({&a}, [&] { return a.closed.size() == 1; }));
    run_for({&a}, 50);
    EXPECT_EQ(1u, a.closed.size());
    a.send(a.connection(), "into the void");
    EXPECT_EQ(0u, failover_transport_room(a.t, a.connection()));
}

TEST_F(Transport, UnknownConnectionsAreIgnored) {
    join();
    for (int connection : {-1, 99, INT32_MAX, INT32_MIN}) {
        EXPECT_EQ(0u, failover_transport_room(a.t, connection)) << connection;
        a.send(connection, "nobody");
        failover_transport_close(a.t, connection);
    }
    EXPECT_TRUE(failover_transport_listens(a.t, 0));
    a.send(a.connection(), "somebody");
    EXPECT_TRUE(run(both, [&] { return b.received[b.connection()] == "somebody"; }));
    failover_transport_dial(b.t, 0);
    EXPECT_TRUE(run(both, [&] { return a.accepted.size() == 1; })) << "the listening socket is as it was";
}

TEST_F(Transport, DestroyClosesEverythingAtOnceAndTellsNobody) {
    auto c = std::make_unique<End>();
    uint16_t other_port = free_port();
    c->add_peer(US, PARTNER, other_port);
    Socket s = Socket::connected(PARTNER, US, other_port);
    ASSERT_TRUE(run({c.get()}, [&] { return c->accepted.size() == 1; }));
    bool told = false;
    c->on_woken = [&] { told = true; };
    c.reset();
    EXPECT_FALSE(told);
    bool ended = false;
    for (int i = 0; i < 100 && !ended; i++) {
        s.read(&ended);
        usleep(1000);
    }
    EXPECT_TRUE(ended);
    failover_transport_destroy(nullptr);
}

// ---- Dials that fail ------------------------------------------------------------------------------------------------

TEST(TransportDial, ThatIsRefusedFailsAtOnce) {
    End a;
    a.add_peer(US, PARTNER, free_port());
    int64_t begin = mono();
    failover_transport_dial(a.t, 0);
    ASSERT_TRUE(run({&a}, [&] { return a.failures.size() == 1; }));
    EXPECT_EQ("Connection refused", a.failures[0]);
    EXPECT_LT(mono() - begin, 1000);
    run_for({&a}, 50);
    EXPECT_EQ(1u, a.failures.size());
    EXPECT_TRUE(a.dialled.empty());
}

TEST(TransportDial, FromAnAddressThatIsNotHereFails) {
    End a;
    a.add_peer(0xc0000201, PARTNER, free_port()); // 192.0.2.1
    size_t before = descriptors();
    for (int i = 0; i < 20; i++) {
        failover_transport_dial(a.t, 0);
    }
    EXPECT_TRUE(run({&a}, [&] { return a.failures.size() == 20; }));
    EXPECT_EQ("Cannot assign requested address", a.failures[0]);
    failover_transport_wake(a.t);
    run_for({&a}, 20);
    EXPECT_EQ(before, descriptors());
}

TEST(TransportDial, ToWhereThereIsNoWayFails) {
    End a;
    a.add_peer(US, 0xe0000001, free_port()); // a multicast address takes no connection
    failover_transport_dial(a.t, 0);
    EXPECT_TRUE(run({&a}, [&] { return a.failures.size() == 1; }));
}

TEST(TransportDial, ThatIsNotAnsweredFailsAfterFiveSeconds) {
    uint16_t port = free_port();
    // A queue of connections that is full drops every further SYN, as a cut cable does.
    Socket black_hole = Socket::listening(PARTNER, port, 0);
    std::vector<Socket> queue;
    for (int i = 0; i < 4; i++) {
        queue.push_back(Socket::from(US));
        fcntl(queue.back().fd_, F_SETFL, O_NONBLOCK);
        sockaddr_in to = socket_address(PARTNER, port);
        connect(queue.back().fd_, reinterpret_cast<sockaddr *>(&to), sizeof(to));
    }
    usleep(50000);
    End a;
    a.add_peer(US, PARTNER, port);
    size_t before = descriptors();
    int64_t begin = mono();
    failover_transport_dial(a.t, 0);
    failover_transport_wake(a.t);
    run_for({&a}, 100);
    int woken = a.woken;
    run_for({&a}, 500);
    EXPECT_LE(a.woken, woken + 1) << "waiting costs nothing";
    if (!a.dialled.empty()) {
        GTEST_SKIP() << "this system answers although the queue is full";
    }
    ASSERT_TRUE(run(
        {&a}, [&] { return a.failures.size() == 1; }, 6000));
    EXPECT_EQ("Connection timed out", a.failures[0]);
    EXPECT_GE(mono() - begin, 4900);
    run_for({&a}, 20);
    EXPECT_EQ(before, descriptors());
}

TEST_F(Transport, DialThatTheCoreDoesNotWantAnyMoreIsClosed) {
    a.accepts = [](int) { return false; };
    failover_transport_dial(a.t, 0);
    ASSERT_TRUE(run(both, [&] { return b.closed.size() == 1; }));
    EXPECT_EQ(1u, a.dialled.size());
    EXPECT_TRUE(a.closed.empty() && a.failures.empty());
}

// ---- Who may connect ------------------------------------------------------------------------------------------------

TEST_F(Transport, StrangersAreClosedWithoutAByte) {
    size_t before = descriptors();
    {
        std::vector<Socket> strangers;
        for (int i = 0; i < 10; i++) {
            strangers.push_back(Socket::connected(STRANGER, US, port));
        }
        for (Socket &s : strangers) {
            bool ended = false;
            std::string got;
            EXPECT_TRUE(run({&a}, [&] {
                got += s.read(&ended);
                return ended;
            }));
            EXPECT_EQ("", got);
        }
    }
    EXPECT_TRUE(a.accepted.empty());
    EXPECT_TRUE(a.received.empty());
    EXPECT_EQ(before, descriptors());
    ASSERT_FALSE(a.log.empty());
    EXPECT_EQ(FAILOVER_DEBUG, a.log[0].first) << "a stranger can't fill the log";
    EXPECT_NE(std::string::npos, a.log[0].second.find("127.0.64.9")) << a.log[0].second;
}

TEST_F(Transport, ConnectionsThatTheCoreDoesNotWantAreClosed) {
    a.accepts = [](int) { return false; };
    Socket s = Socket::connected(PARTNER, US, port);
    bool ended = false;
    EXPECT_TRUE(run({&a}, [&] {
        EXPECT_EQ("", s.read(&ended));
        return ended;
    }));
    EXPECT_EQ(1u, a.accepted.size());
    EXPECT_TRUE(a.closed.empty());
}

TEST_F(Transport, ThreeHundredIdleConnectionsLeaveRoomForThePartner) {
    // As the core: two that have not completed CONNECT, and no more.
    a.accepts = [&](int) { return a.accepted.size() <= 2; };
    size_t before = descriptors();
    std::vector<Socket> idle;
    for (int i = 0; i < 300; i++) {
        // Kept within the backlog, as each turn accepts one.
        idle.push_back(Socket::connected(i % 3 == 0 ? STRANGER : PARTNER, US, port));
        run_for({&a}, 1);
    }
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 200; }));
    run_for({&a}, 50);
    EXPECT_EQ(before + 300 + 2, descriptors());
    idle.clear();
    ASSERT_TRUE(run({&a}, [&] { return a.closed.size() == 2; }));
    EXPECT_EQ(before, descriptors());
    a.accepts = [](int) { return true; };
    a.accepted.clear();
    failover_transport_dial(b.t, 0);
    EXPECT_TRUE(run(both, [&] { return a.accepted.size() == 1 && b.dialled.size() == 1; }));
}

TEST(TransportPeers, ShareAListenerAndAreToldApartByTheirAddress) {
    uint16_t port = free_port();
    End a;
    size_t before = descriptors();
    EXPECT_EQ(0, a.add_peer(US, PARTNER, port));
    EXPECT_EQ(1, a.add_peer(US, OTHER, port));
    EXPECT_EQ(before + 1, descriptors()) << "one listening socket for both";
    EXPECT_TRUE(failover_transport_listens(a.t, 0));
    EXPECT_TRUE(failover_transport_listens(a.t, 1));
    Socket second = Socket::connected(OTHER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    Socket first = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 2; }));
    EXPECT_EQ(1, a.accepted[0].first);
    EXPECT_EQ(0, a.accepted[1].first);
}

TEST(TransportPeers, OfAnotherListenerAreStrangersHere) {
    uint16_t port = free_port(), other_port = free_port();
    End a;
    a.add_peer(US, PARTNER, port);
    a.add_peer(US, OTHER, other_port);
    Socket s = Socket::connected(OTHER, US, port);
    bool ended = false;
    EXPECT_TRUE(run({&a}, [&] {
        s.read(&ended);
        return ended;
    }));
    EXPECT_TRUE(a.accepted.empty());
    Socket right = Socket::connected(OTHER, US, other_port);
    EXPECT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    EXPECT_EQ(1, a.accepted[0].first);
}

// ---- Listening ------------------------------------------------------------------------------------------------------

TEST(TransportListen, OnAPortInUseIsComplainedOfOnceAndRetried) {
    uint16_t port = free_port();
    auto occupant = std::make_unique<Socket>(Socket::listening(US, port));
    End a;
    size_t before = descriptors();
    EXPECT_EQ(0, a.add_peer(US, PARTNER, port));
    EXPECT_EQ(1, a.add_peer(US, OTHER, port)); // another attempt
    EXPECT_FALSE(failover_transport_listens(a.t, 0));
    EXPECT_FALSE(failover_transport_listens(a.t, 1));
    EXPECT_EQ(1u, a.complaints());
    EXPECT_NE(std::string::npos, a.log[0].second.find("127.0.64.1 port " + std::to_string(port))) << a.log[0].second;
    EXPECT_NE(std::string::npos, a.log[0].second.find("Address already in use")) << a.log[0].second;
    EXPECT_EQ(before, descriptors());
    run_for({&a}, 100);
    int woken = a.woken;
    run_for({&a}, 500);
    EXPECT_EQ(woken, a.woken) << "waiting costs nothing";
    occupant.reset();
    ASSERT_TRUE(run(
        {&a}, [&] { return failover_transport_listens(a.t, 0); }, 6000));
    EXPECT_TRUE(failover_transport_listens(a.t, 1));
    EXPECT_EQ(1u, a.complaints());
    EXPECT_EQ(FAILOVER_INFO, a.log.back().first);
    EXPECT_EQ(2u, a.log.size());
    Socket s = Socket::connected(PARTNER, US, port);
    EXPECT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
}

TEST(TransportListen, AgainRightAfterAConnectionIsPossible) {
    uint16_t port = free_port();
    Socket s = [&] {
        End a;
        a.add_peer(US, PARTNER, port);
        Socket partner = Socket::connected(PARTNER, US, port);
        EXPECT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
        return partner;
    }(); // the transport has closed first: its end is in TIME-WAIT, or will be
    s.shut();
    End again;
    again.add_peer(US, PARTNER, port);
    EXPECT_TRUE(failover_transport_listens(again.t, 0));
}

TEST(TransportListen, WithoutDescriptorsLeftDoesNotSpin) {
    uint16_t port = free_port();
    fflush(nullptr);
    pid_t pid = fork(); // the limit is for this child alone
    if (pid == 0) {
        End a;
        a.add_peer(US, PARTNER, port);
        Socket s = Socket::connected(PARTNER, US, port);
        int highest = dup(0);
        close(highest);
        rlimit old, none;
        getrlimit(RLIMIT_NOFILE, &old);
        none = {rlim_t(highest), old.rlim_max};
        setrlimit(RLIMIT_NOFILE, &none);
        while (dup(0) >= 0) { // the holes below
        }
        int turns = 0;
        a.on_woken = [&] { turns++; };
        run_for({&a}, 500);
        EXPECT_TRUE(a.accepted.empty());
        EXPECT_LT(turns, 20);
        EXPECT_EQ(1u, a.complaints());
        setrlimit(RLIMIT_NOFILE, &old);
        EXPECT_TRUE(run(
            {&a}, [&] { return failover_transport_listens(a.t, 0); }, 6000));
        Socket later = Socket::connected(PARTNER, US, port);
        EXPECT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
        fflush(nullptr);
        _exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// ---- Time and wake-ups ----------------------------------------------------------------------------------------------

TEST_F(Transport, IsQuietWhenThereIsNothingToDo) {
    join();
    run_for(both, 50);
    EXPECT_FALSE(a.readable(200));
    EXPECT_FALSE(b.readable(0));
}

TEST_F(Transport, IsWokenFromAnotherThread) {
    run_for(both, 20);
    int woken = a.woken;
    std::thread other([&] { failover_transport_wake(a.t); });
    EXPECT_TRUE(a.readable(5000));
    other.join();
    a.dispatch();
    EXPECT_EQ(woken + 1, a.woken);
    EXPECT_FALSE(a.readable(20)) << "one wake-up is one turn";
}

TEST_F(Transport, ManyWakeUpsFromManyThreadsAreOneTurn) {
    run_for(both, 20);
    int woken = a.woken;
    std::vector<std::thread> others;
    for (int i = 0; i < 8; i++) {
        others.emplace_back([&] {
            for (int n = 0; n < 1000; n++) {
                failover_transport_wake(a.t);
            }
        });
    }
    for (std::thread &t : others) {
        t.join();
    }
    EXPECT_TRUE(a.readable(0));
    a.dispatch();
    EXPECT_EQ(woken + 1, a.woken);
    EXPECT_FALSE(a.readable(20));
}

TEST_F(Transport, IsWokenThroughTheEventfdToo) {
    run_for(both, 20);
    uint64_t one = 1;
    ASSERT_EQ(ssize_t(sizeof(one)), write(failover_transport_wake_fd(a.t), &one, sizeof(one)));
    EXPECT_TRUE(a.readable(0));
}

TEST_F(Transport, IsWokenAtItsDeadlineAndNotBefore) {
    int64_t deadline = 0;
    a.on_woken = [&] { failover_transport_set_deadline(a.t, deadline); };
    for (int wait : {1, 20, 200}) {
        deadline = mono() + wait;
        failover_transport_wake(a.t);
        a.dispatch();
        EXPECT_TRUE(a.readable(5000)) << wait;
        EXPECT_GE(mono(), deadline);
        EXPECT_LE(mono(), deadline + 500);
        deadline = INT64_MAX;
        a.dispatch();
        EXPECT_FALSE(a.readable(30));
    }
    for (int64_t past : {mono() - 1, int64_t(0), int64_t(-5)}) {
        deadline = past;
        failover_transport_wake(a.t);
        a.dispatch();
        EXPECT_TRUE(a.readable(100)) << "what is due already is due at once";
    }
    deadline = INT64_MAX;
    a.dispatch();
    EXPECT_FALSE(a.readable(30));
}

// Kea up to 3.1 reads no DHCP socket in a turn in which it serves this descriptor.
TEST_F(Transport, AFloodIsReadInPortionsWithPauses) {
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    run_for({&a}, 20);
    std::string bytes = pattern(1 << 20);
    std::thread flood([&] { s.write(bytes); });
    size_t largest = 0, pauses = 0;
    std::string &got = a.received[a.connection()];
    int64_t end = mono() + 30000;
    while (got.size() < bytes.size() && mono() < end) {
        if (a.readable(100)) {
            size_t before = got.size();
            a.dispatch();
            largest = std::max(largest, got.size() - before);
            pauses += got.size() > before && !a.readable(0);
        }
    }
    flood.join();
    EXPECT_TRUE(bytes == got);
    EXPECT_LE(largest, 65536u + 16384u);
    EXPECT_GT(pauses, 5u);
}

TEST(TransportClock, IsTheWallAndAMonotonicClock) {
    failover_clock first = failover_transport_now();
    EXPECT_LE(std::abs(first.wall - int64_t(time(nullptr))), 1);
    usleep(20000);
    failover_clock second = failover_transport_now();
    EXPECT_GE(second.mono - first.mono, 19);
    EXPECT_LT(second.mono - first.mono, 5000);
}

TEST(TransportClock, RandomIdsAreRandom) {
    std::set<std::string> ids;
    for (int i = 0; i < 1000; i++) {
        char id[33];
        memset(id, 'x', sizeof(id));
        failover_transport_random_id(id);
        ASSERT_EQ(32u, strlen(id));
        ASSERT_EQ(32u, strspn(id, "0123456789abcdef"));
        ids.insert(id);
    }
    EXPECT_EQ(1000u, ids.size());
}

// ---- Descriptors ----------------------------------------------------------------------------------------------------

TEST(TransportDescriptors, AreAllGivenBack) {
    size_t before = descriptors();
    for (int round = 0; round < 20; round++) {
        uint16_t port = free_port();
        End a, b;
        a.add_peer(US, PARTNER, port);
        b.add_peer(PARTNER, US, port);
        a.add_peer(OTHER, STRANGER, port); // nobody listens there
        for (int i = 0; i < 3; i++) {
            failover_transport_dial(a.t, 0);
            failover_transport_dial(b.t, 0);
            failover_transport_dial(a.t, 1);
        }
        Socket stranger = Socket::connected(STRANGER, US, port);
        ASSERT_TRUE(run({&a, &b}, [&] {
            return a.accepted.size() == 3 && b.accepted.size() == 3 && a.failures.size() == 3 && a.dialled.size() == 3;
        }));
        failover_transport_close(a.t, a.dialled[0].second);
        a.send(a.dialled[1].second, "x");
        if (round % 2 == 0) {
            run_for({&a, &b}, 10);
        }
        failover_transport_dial(a.t, 0); // still under way when all ends
    }
    EXPECT_EQ(before, descriptors());
}

TEST(TransportDescriptors, OfATransportAreThree) {
    size_t before = descriptors();
    End a;
    EXPECT_EQ(before + 3, descriptors());
}

TEST(TransportDescriptors, AreNotInheritedByChildren) {
    uint16_t port = free_port();
    std::set<std::string> before;
    for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        before.insert(entry.path().filename());
    }
    End a;
    a.add_peer(US, PARTNER, port);
    Socket s = Socket::connected(PARTNER, US, port);
    ASSERT_TRUE(run({&a}, [&] { return a.accepted.size() == 1; }));
    failover_transport_dial(a.t, 0);
    for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::string name = entry.path().filename();
        int flags = fcntl(std::stoi(name), F_GETFD);
        if (before.count(name) == 0 && flags >= 0) {
            EXPECT_TRUE(flags & FD_CLOEXEC) << name;
        }
    }
}

} // namespace
