/* SPDX-License-Identifier: MPL-2.0 */
#include "transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* ms: a dial that isn't answered, a close that isn't, and the pause between two attempts to listen. */
#define DIAL_MS   5000
#define LINGER_MS 1000
#define LISTEN_MS 5000
/*
 * Kea up to 3.1 reads no DHCP socket in the turn of its loop in which it serves this descriptor. So a partner that
 * sends without a break is read in portions, with a pause (ms) after each. One that doesn't costs no pause: each takes
 * two more turns of the loop.
 */
#define READ_BUDGET 65536
/* Strangers in any number must not keep the partner out of the listening socket's queue. */
#define ACCEPT_BUDGET 64
#define BACKLOG       128
#define PAUSE_MS      1
#define BUFFER_MAX    262144

enum kind { WAKE, TIMER, LISTENER, DIALLING, CONNECTED, CLOSING };

struct socket {
    enum kind kind;
    int fd;
    int peer;       /* LISTENER: the first one that listens here */
    int connection; /* the name that the core knows */
    int64_t deadline;
    uint32_t events; /* what epoll watches */
    uint8_t *out;
    size_t out_length, out_size;
};

struct peer {
    struct failover_peer_address local, partner;
    struct socket *listener; /* shared by those with the same local address */
};

struct failover_transport {
    struct failover_transport_events events;
    int epoll;
    struct socket wake, timer;
    struct peer *peers;
    int peer_count;
    struct socket **sockets; /* all but wake and timer */
    size_t socket_count;
    int next_connection;
    int64_t deadline;     /* the core's */
    int64_t paused_until; /* 0: reading */
    int64_t last_read;
    int64_t armed;        /* what the timer is set to; INT64_MAX: not set */
    int64_t listen_again; /* INT64_MAX: every listener is open */
    bool listen_complained;
};

struct failover_clock failover_transport_now(void) {
    struct timespec wall, mono;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &mono); /* goes on while the machine sleeps, as the partner's patience does */
    return (struct failover_clock){wall.tv_sec, (int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000};
}

void failover_transport_random_id(char id[33]) {
    uint8_t bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        struct failover_clock now = failover_transport_now();
        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes, &now.mono, sizeof(now.mono));
    }
    for (int i = 0; i < 16; i++) {
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }
}

static int64_t mono_now(void) {
    return failover_transport_now().mono;
}

static struct sockaddr_in socket_address(struct failover_peer_address a, bool with_port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(a.address);
    address.sin_port = htons(with_port ? a.port : 0);
    return address;
}

/* ---- Sockets ----------------------------------------------------------------------------------------------------- */

static void watch(struct failover_transport *t, struct socket *s, uint32_t events) {
    if (s->events == events) {
        return;
    }
    struct epoll_event event = {.events = events, .data.ptr = s};
    epoll_ctl(t->epoll, s->events == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, s->fd, &event);
    s->events = events;
}

static struct socket *add_socket(struct failover_transport *t, enum kind kind, int fd, int peer) {
    struct socket **sockets = realloc(t->sockets, (t->socket_count + 1) * sizeof(struct socket *));
    t->sockets = sockets != NULL ? sockets : t->sockets;
    struct socket *s = sockets != NULL ? calloc(1, sizeof(*s)) : NULL;
    if (s == NULL) {
        close(fd);
        return NULL;
    }
    *s = (struct socket){.kind = kind,
                         .fd = fd,
                         .peer = peer,
                         .connection = -1,
                         .deadline = INT64_MAX,
                         .events = UINT32_MAX};
    t->sockets[t->socket_count++] = s;
    return s;
}

/* Only marked here: events of this turn may still point to it. */
static void drop(struct socket *s) {
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
    s->connection = -1;
}

static void sweep(struct failover_transport *t) {
    size_t kept = 0;
    for (size_t i = 0; i < t->socket_count; i++) {
        struct socket *s = t->sockets[i];
        if (s->fd >= 0) {
            t->sockets[kept++] = s;
        } else {
            free(s->out);
            free(s);
        }
    }
    t->socket_count = kept;
}

static struct socket *find(const struct failover_transport *t, int connection) {
    for (size_t i = 0; i < t->socket_count; i++) {
        if (t->sockets[i]->connection == connection && t->sockets[i]->kind == CONNECTED && t->sockets[i]->fd >= 0) {
            return t->sockets[i];
        }
    }
    return NULL;
}

static void say(struct failover_transport *t, enum failover_severity severity, const char *what,
                struct failover_peer_address where, const char *why) {
    char text[FAILOVER_TEXT_MAX];
    char address[INET_ADDRSTRLEN];
    struct in_addr in = {htonl(where.address)};
    inet_ntop(AF_INET, &in, address, sizeof(address));
    snprintf(text, sizeof(text), "%s %s port %u: %s", what, address, where.port, why);
    t->events.log(t->events.context, severity, text);
}

/* ---- Listening --------------------------------------------------------------------------------------------------- */

static int open_listener(struct failover_peer_address local) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    struct sockaddr_in address = socket_address(local, true);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static struct socket *shared_listener(struct failover_transport *t, struct failover_peer_address local) {
    for (int i = 0; i < t->peer_count; i++) {
        struct peer *p = &t->peers[i];
        if (p->listener != NULL && p->local.address == local.address && p->local.port == local.port) {
            return p->listener;
        }
    }
    return NULL;
}

static bool listen_for(struct failover_transport *t, int peer) {
    struct peer *p = &t->peers[peer];
    p->listener = shared_listener(t, p->local);
    if (p->listener != NULL) {
        return true;
    }
    int fd = open_listener(p->local);
    if (fd < 0) {
        if (!t->listen_complained) {
            say(t, FAILOVER_ERROR, "cannot listen for the partner on", p->local, strerror(errno));
            t->listen_complained = true;
        }
        return false;
    }
    p->listener = add_socket(t, LISTENER, fd, peer);
    if (p->listener != NULL) {
        watch(t, p->listener, EPOLLIN);
    }
    return p->listener != NULL;
}

static void listen_for_all(struct failover_transport *t) {
    bool all = true;
    for (int i = 0; i < t->peer_count; i++) {
        all = (t->peers[i].listener != NULL || listen_for(t, i)) && all;
    }
    if (all && t->listen_complained) {
        t->events.log(t->events.context, FAILOVER_INFO, "listens for the partner now");
        t->listen_complained = false;
    }
    t->listen_again = all ? INT64_MAX : mono_now() + LISTEN_MS;
}

bool failover_transport_listens(const struct failover_transport *t, int peer) {
    return t->peers[peer].listener != NULL;
}

/* ---- Connections ------------------------------------------------------------------------------------------------- */

static void become_connected(struct failover_transport *t, struct socket *s) {
    int on = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    s->kind = CONNECTED;
    s->deadline = INT64_MAX;
    s->connection = t->next_connection++;
    watch(t, s, t->paused_until == 0 ? EPOLLIN : 0);
}

static int peer_from(const struct failover_transport *t, const struct socket *listener, uint32_t source) {
    for (int i = 0; i < t->peer_count; i++) {
        if (t->peers[i].listener == listener && t->peers[i].partner.address == source) {
            return i;
        }
    }
    return -1;
}

/* Without descriptors or memory left the listening socket would be ready for ever, so it is opened again later. */
static void pause_listening(struct failover_transport *t, struct socket *listener) {
    say(t, FAILOVER_ERROR, "cannot accept the partner's connection on", t->peers[listener->peer].local,
        strerror(errno));
    t->listen_complained = true;
    for (int i = 0; i < t->peer_count; i++) {
        if (t->peers[i].listener == listener) {
            t->peers[i].listener = NULL;
        }
    }
    drop(listener);
    t->listen_again = mono_now() + LISTEN_MS;
}

/* A stranger gets no byte. False: nobody else waits. */
static bool accept_one(struct failover_transport *t, struct socket *listener) {
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    int fd = accept4(listener->fd, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_listening(t, listener);
        }
        return false;
    }
    int peer = peer_from(t, listener, ntohl(address.sin_addr.s_addr));
    if (peer < 0) {
        struct failover_peer_address from = {ntohl(address.sin_addr.s_addr), ntohs(address.sin_port)};
        say(t, FAILOVER_DEBUG, "connection refused: no partner has the address", from, "closed");
        close(fd);
        return true;
    }
    struct socket *s = add_socket(t, DIALLING, fd, peer);
    if (s == NULL) {
        return false;
    }
    become_connected(t, s);
    if (!t->events.accepted(t->events.context, peer, s->connection)) {
        drop(s);
    }
    return true;
}

static void accept_some(struct failover_transport *t, struct socket *listener) {
    int budget = ACCEPT_BUDGET;
    while (budget > 0 && accept_one(t, listener)) {
        budget--;
    }
}

void failover_transport_dial(struct failover_transport *t, int peer) {
    const struct peer *p = &t->peers[peer];
    struct sockaddr_in from = socket_address(p->local, false);
    struct sockaddr_in to = socket_address(p->partner, true);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct socket *s = fd < 0 ? NULL : add_socket(t, DIALLING, fd, peer);
    if (s == NULL) {
        t->events.dial_failed(t->events.context, peer, strerror(errno));
        return;
    }
    bool started = bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
                   (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS);
    if (!started) {
        const char *why = strerror(errno);
        drop(s);
        t->events.dial_failed(t->events.context, peer, why);
        return;
    }
    s->deadline = mono_now() + DIAL_MS;
    watch(t, s, EPOLLOUT);
}

static void dial_done(struct failover_transport *t, struct socket *s) {
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        drop(s);
        t->events.dial_failed(t->events.context, s->peer, strerror(error));
        return;
    }
    become_connected(t, s);
    if (!t->events.dialled(t->events.context, s->peer, s->connection)) {
        drop(s);
    }
}

static void lose(struct failover_transport *t, struct socket *s, const char *why) {
    int connection = s->connection;
    bool tell = s->kind == CONNECTED;
    drop(s);
    if (tell) {
        t->events.closed(t->events.context, s->peer, connection, why);
    }
}

static void read_from(struct failover_transport *t, struct socket *s) {
    uint8_t buffer[16384];
    size_t budget = READ_BUDGET;
    bool more = true;
    while (s->fd >= 0 && budget > 0 && more) {
        ssize_t n = recv(s->fd, buffer, sizeof(buffer), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (n <= 0) {
            lose(t, s, n == 0 ? "closed by the partner" : strerror(errno));
            return;
        }
        budget -= (size_t)n < budget ? (size_t)n : budget;
        more = (size_t)n == sizeof(buffer);
        if (s->kind == CONNECTED) {
            t->events.received(t->events.context, s->peer, s->connection, buffer, (size_t)n);
        }
    }
    int64_t now = mono_now();
    if (budget == 0 || now - t->last_read <= PAUSE_MS) {
        t->paused_until = now + PAUSE_MS;
    }
    t->last_read = now;
}

static void set_reading(struct failover_transport *t, bool reading) {
    for (size_t i = 0; i < t->socket_count; i++) {
        struct socket *s = t->sockets[i];
        if (s->fd >= 0 && (s->kind == CONNECTED || s->kind == CLOSING)) {
            watch(t, s, (reading ? EPOLLIN : 0u) | (s->out_length > 0 ? EPOLLOUT : 0u));
        }
    }
}

/* ---- Sending ----------------------------------------------------------------------------------------------------- */

size_t failover_transport_room(const struct failover_transport *t, int connection) {
    const struct socket *s = find(t, connection);
    return s == NULL || s->out_length >= BUFFER_MAX ? 0 : BUFFER_MAX - s->out_length;
}

/* False: the connection is broken. */
static bool flush(struct socket *s) {
    while (s->out_length > 0) {
        ssize_t n = send(s->fd, s->out, s->out_length, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        s->out_length -= (size_t)n;
        memmove(s->out, s->out + n, s->out_length);
    }
    return true;
}

static void finish_closing(struct socket *s) {
    if (s->kind == CLOSING && s->out_length == 0) {
        shutdown(s->fd, SHUT_WR);
    }
}

void failover_transport_send(struct failover_transport *t, int connection, const uint8_t *data, size_t length) {
    struct socket *s = find(t, connection);
    if (s == NULL) {
        return;
    }
    if (s->out_length + length > s->out_size) {
        size_t size = s->out_length + length;
        uint8_t *out = realloc(s->out, size);
        if (out == NULL) {
            shutdown(s->fd, SHUT_RDWR); /* half a stream is no stream */
            return;
        }
        s->out = out;
        s->out_size = size;
    }
    memcpy(s->out + s->out_length, data, length);
    s->out_length += length;
    flush(s); /* a broken connection shows itself when it is read */
    watch(t, s, (t->paused_until == 0 ? EPOLLIN : 0u) | (s->out_length > 0 ? EPOLLOUT : 0u));
}

static void write_to(struct failover_transport *t, struct socket *s) {
    if (!flush(s)) {
        lose(t, s, strerror(errno));
        return;
    }
    finish_closing(s);
    watch(t, s, (t->paused_until == 0 ? EPOLLIN : 0u) | (s->out_length > 0 ? EPOLLOUT : 0u));
}

void failover_transport_close(struct failover_transport *t, int connection) {
    struct socket *s = find(t, connection);
    if (s == NULL) {
        return;
    }
    s->kind = CLOSING;
    s->connection = -1;
    s->deadline = mono_now() + LINGER_MS;
    finish_closing(s);
}

/* ---- Time -------------------------------------------------------------------------------------------------------- */

void failover_transport_set_deadline(struct failover_transport *t, int64_t mono) {
    t->deadline = mono;
}

static void set_timer(struct failover_transport *t) {
    int64_t next = t->deadline < t->listen_again ? t->deadline : t->listen_again;
    if (t->paused_until != 0 && t->paused_until < next) {
        next = t->paused_until;
    }
    for (size_t i = 0; i < t->socket_count; i++) {
        if (t->sockets[i]->fd >= 0 && t->sockets[i]->deadline < next) {
            next = t->sockets[i]->deadline;
        }
    }
    /* A timer that strikes too early only sets itself anew, and most deadlines move on before they are reached. */
    if (t->armed <= next && t->armed > mono_now()) {
        return;
    }
    t->armed = next;
    struct itimerspec when = {0};
    if (next != INT64_MAX) {
        next = next < 1 ? 1 : next;
        when.it_value.tv_sec = next / 1000;
        when.it_value.tv_nsec = next % 1000 * 1000000;
    }
    timerfd_settime(t->timer.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void time_out(struct failover_transport *t, struct socket *s) {
    int peer = s->peer;
    bool dialling = s->kind == DIALLING;
    drop(s);
    if (dialling) {
        t->events.dial_failed(t->events.context, peer, strerror(ETIMEDOUT));
    }
}

static void do_due(struct failover_transport *t) {
    int64_t now = mono_now();
    for (size_t i = 0; i < t->socket_count; i++) {
        if (t->sockets[i]->fd >= 0 && t->sockets[i]->deadline <= now) {
            time_out(t, t->sockets[i]);
        }
    }
    if (t->listen_again <= now) {
        listen_for_all(t);
    }
    if (t->paused_until != 0 && t->paused_until <= now) {
        t->paused_until = 0;
        set_reading(t, true);
    }
}

void failover_transport_wake(struct failover_transport *t) {
    uint64_t one = 1;
    if (write(t->wake.fd, &one, sizeof(one)) < 0) {
        return; /* EAGAIN: it is awake */
    }
}

int failover_transport_wake_fd(const struct failover_transport *t) {
    return t->wake.fd;
}

/* ---- Dispatch ---------------------------------------------------------------------------------------------------- */

static void dispatch_one(struct failover_transport *t, struct socket *s, uint32_t events) {
    switch (s->kind) {
    case WAKE: /* edge-triggered: it needs no reading */
        break;
    case TIMER:
        t->armed = INT64_MIN; /* setting it anew silences it */
        break;
    case LISTENER:
        accept_some(t, s);
        break;
    case DIALLING:
        dial_done(t, s);
        break;
    default:
        if (events & EPOLLOUT) {
            write_to(t, s);
        }
        if (s->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
            read_from(t, s);
        }
        break;
    }
}

void failover_transport_dispatch(struct failover_transport *t) {
    struct epoll_event events[64];
    int count = epoll_wait(t->epoll, events, 64, 0);
    for (int i = 0; i < count; i++) {
        struct socket *s = events[i].data.ptr;
        if (s->fd >= 0) {
            dispatch_one(t, s, events[i].events);
        }
    }
    do_due(t);
    t->events.woken(t->events.context);
    if (t->paused_until != 0) {
        set_reading(t, false);
    }
    sweep(t);
    set_timer(t);
}

/* ---- Life -------------------------------------------------------------------------------------------------------- */

struct failover_transport *failover_transport_create(const struct failover_transport_events *events) {
    struct failover_transport *t = calloc(1, sizeof(*t));
    if (t == NULL) {
        return NULL;
    }
    t->events = *events;
    t->deadline = t->listen_again = t->armed = INT64_MAX;
    t->last_read = INT64_MIN / 2;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->wake = (struct socket){.kind = WAKE, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .events = UINT32_MAX};
    t->timer = (struct socket){.kind = TIMER,
                               .fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK),
                               .events = UINT32_MAX};
    if (t->epoll < 0 || t->wake.fd < 0 || t->timer.fd < 0) {
        failover_transport_destroy(t);
        return NULL;
    }
    watch(t, &t->wake, EPOLLIN | EPOLLET);
    watch(t, &t->timer, EPOLLIN);
    return t;
}

void failover_transport_destroy(struct failover_transport *t) {
    if (t == NULL) {
        return;
    }
    for (size_t i = 0; i < t->socket_count; i++) {
        drop(t->sockets[i]);
    }
    sweep(t);
    free(t->sockets);
    free(t->peers);
    for (int i = 0; i < 3; i++) {
        int fd = i == 0 ? t->epoll : i == 1 ? t->wake.fd : t->timer.fd;
        if (fd >= 0) {
            close(fd);
        }
    }
    free(t);
}

int failover_transport_fd(const struct failover_transport *t) {
    return t->epoll;
}

int failover_transport_add_peer(struct failover_transport *t, struct failover_peer_address local,
                                struct failover_peer_address partner) {
    struct peer *peers = realloc(t->peers, ((size_t)t->peer_count + 1) * sizeof(*peers));
    if (peers == NULL) {
        return -1;
    }
    t->peers = peers;
    t->peers[t->peer_count++] = (struct peer){local, partner, NULL};
    listen_for_all(t);
    set_timer(t);
    return t->peer_count - 1;
}
