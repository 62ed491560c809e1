/* SPDX-License-Identifier: MIT
 *
 * What: the test server of http_peer.h: one thread, poll(2), keep-alive.
 * Threads: `counts` under `lock`; the rest is the server thread's.
 */
#include "http_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

#define CONNECTIONS_MAX 300
#define REQUEST_BYTES   16384

typedef struct connection {
    int fd;
    unsigned served;
    size_t bytes;
    char request[REQUEST_BYTES + 1];
} connection;

struct http_peer {
    int listener, port, wake[2];
    pthread_t thread;
    pthread_mutex_t lock;
    unsigned accepted, open, requests;
    connection *connections[CONNECTIONS_MAX];
};

static void count(http_peer *peer, unsigned *counter, int by) {
    pthread_mutex_lock(&peer->lock);
    *counter += (unsigned)by;
    pthread_mutex_unlock(&peer->lock);
}

static unsigned counted(http_peer *peer, const unsigned *counter) {
    pthread_mutex_lock(&peer->lock);
    unsigned value = *counter;
    pthread_mutex_unlock(&peer->lock);
    return value;
}

/* ---- answers ---- */

static void put(int fd, const void *data, size_t bytes) {
    const char *at = data;
    while (bytes > 0) {
        ssize_t sent = send(fd, at, bytes, MSG_NOSIGNAL);
        if (sent <= 0) {
            return; /* the client is gone; the next read says so */
        }
        at += sent;
        bytes -= (size_t)sent;
    }
}

static void answer(int fd, const char *status, const char *fields, const char *body, size_t bytes, bool head_only) {
    char head[256];
    int length = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, bytes, fields);
    put(fd, head, (size_t)length);
    if (!head_only) {
        put(fd, body, bytes);
    }
}

static void answer_big(int fd, size_t bytes) {
    char *body = malloc(bytes + 1);
    memset(body, 'x', bytes);
    answer(fd, "200 OK", "", body, bytes, false);
    free(body);
}

/* End the connection as the test asks. False: close it. */
static bool end(int fd, const char *how) {
    if (strncmp(how, "half", 4) == 0) {
        (void)shutdown(fd, SHUT_WR);
        return true;
    }
    if (strncmp(how, "reset", 5) == 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    }
    return false;
}

static void redirect(int fd, const char *where) {
    char status[8], fields[512];
    (void)snprintf(status, sizeof status, "%.3s X", where);
    (void)snprintf(fields, sizeof fields, "Location: %.*s\r\n", (int)strcspn(where + 4, " "), where + 4);
    answer(fd, status, fields, "moved", 5, false);
}

/* False: close the connection. */
static bool serve(connection *c, const char *request, size_t bytes) {
    int fd = c->fd;
    bool used = c->served++ > 0;
    bool head_only = strncmp(request, "HEAD ", 5) == 0;
    const char *path = strchr(request, ' ') + 1;
    if (strncmp(path, "/hello", 6) == 0) {
        answer(fd, "200 OK", "Content-Type: text/plain\r\n", "Hello, world!", 13, head_only);
    } else if (strncmp(path, "/untyped", 8) == 0) {
        answer(fd, "200 OK", "", "", 0, head_only);
    } else if (strncmp(path, "/big/", 5) == 0) {
        answer_big(fd, strtoul(path + 5, NULL, 10));
    } else if (strncmp(path, "/redirect", 9) == 0) {
        answer(fd, "302 Found", "Location: /hello\r\n", "moved", 5, head_only);
    } else if (strncmp(path, "/echo", 5) == 0) {
        answer(fd, "200 OK", "", request, bytes, head_only);
    } else if (strncmp(path, "/to/", 4) == 0) {
        redirect(fd, path + 4);
    } else if (strncmp(path, "/again/", 7) == 0) {
        if (used) {
            return end(fd, path + 7);
        }
        answer(fd, "200 OK", "Content-Type: text/plain\r\n", "Hello, world!", 13, head_only);
    } else if (strncmp(path, "/bye/", 5) == 0) {
        bool said = strncmp(path + 5, "said", 4) == 0;
        answer(fd, "200 OK",
               said ? "Connection: close\r\nContent-Type: text/plain\r\n" : "Content-Type: text/plain\r\n",
               "Hello, world!", 13, head_only);
        return end(fd, path + 5);
    } else if (strncmp(path, "/cut", 4) == 0) {
        put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", 50);
        return false;
    } else if (strncmp(path, "/never", 6) != 0) {
        answer(fd, "404 Not Found", "Content-Type: text/plain\r\n", "no", 2, head_only);
    }
    return true;
}

/* ---- connections ---- */

/* The length of the first whole request in the buffer, 0: there is none. */
static size_t whole_request(const connection *c) {
    const char *end = strstr(c->request, "\r\n\r\n");
    if (!end) {
        return 0;
    }
    const char *length = strcasestr(c->request, "\r\nContent-Length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    size_t bytes = (size_t)(end - c->request) + 4 + body;
    return bytes <= c->bytes ? bytes : 0;
}

static void accept_one(http_peer *peer) {
    int fd = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    for (unsigned i = 0; fd >= 0 && i < CONNECTIONS_MAX; i++) {
        if (!peer->connections[i]) {
            peer->connections[i] = calloc(1, sizeof(connection));
            peer->connections[i]->fd = fd;
            count(peer, &peer->accepted, 1);
            count(peer, &peer->open, 1);
            return;
        }
    }
    close(fd);
}

static void drop(http_peer *peer, unsigned i) {
    close(peer->connections[i]->fd);
    free(peer->connections[i]);
    peer->connections[i] = NULL;
    count(peer, &peer->open, -1);
}

static void read_some(http_peer *peer, unsigned i) {
    connection *c = peer->connections[i];
    ssize_t got = recv(c->fd, c->request + c->bytes, REQUEST_BYTES - c->bytes, 0);
    if (got <= 0) {
        drop(peer, i);
        return;
    }
    c->bytes += (size_t)got;
    c->request[c->bytes] = '\0';
    for (size_t bytes = whole_request(c); bytes > 0; bytes = whole_request(c)) {
        count(peer, &peer->requests, 1);
        if (!serve(c, c->request, bytes)) {
            drop(peer, i);
            return;
        }
        memmove(c->request, c->request + bytes, c->bytes - bytes + 1);
        c->bytes -= bytes;
    }
}

static void *run(void *arg) {
    http_peer *peer = arg;
    for (;;) {
        struct pollfd set[CONNECTIONS_MAX + 2] = {{.fd = peer->wake[0], .events = POLLIN},
                                                  {.fd = peer->listener, .events = POLLIN}};
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
            set[i + 2] = (struct pollfd){.fd = peer->connections[i] ? peer->connections[i]->fd : -1, .events = POLLIN};
        }
        (void)poll(set, CONNECTIONS_MAX + 2, -1);
        if (set[0].revents) {
            return NULL;
        }
        for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
            if (peer->connections[i] && set[i + 2].revents) {
                read_some(peer, i);
            }
        }
        if (set[1].revents) {
            accept_one(peer);
        }
    }
}

http_peer *http_peer_start(void) {
    http_peer *peer = calloc(1, sizeof *peer);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(peer->listener, (struct sockaddr *)&address, bytes), 0);
    cr_assert_eq(listen(peer->listener, CONNECTIONS_MAX), 0);
    cr_assert_eq(getsockname(peer->listener, (struct sockaddr *)&address, &bytes), 0);
    peer->port = ntohs(address.sin_port);
    cr_assert_eq(pipe2(peer->wake, O_CLOEXEC), 0);
    cr_assert_eq(pthread_mutex_init(&peer->lock, NULL), 0);
    cr_assert_eq(pthread_create(&peer->thread, NULL, run, peer), 0);
    return peer;
}

void http_peer_stop(http_peer *peer) {
    cr_assert_eq(write(peer->wake[1], "", 1), 1);
    cr_assert_eq(pthread_join(peer->thread, NULL), 0);
    for (unsigned i = 0; i < CONNECTIONS_MAX; i++) {
        if (peer->connections[i]) {
            drop(peer, i);
        }
    }
    close(peer->listener);
    close(peer->wake[0]);
    close(peer->wake[1]);
    pthread_mutex_destroy(&peer->lock);
    free(peer);
}

int http_peer_port(const http_peer *peer) {
    return peer->port;
}

unsigned http_peer_accepted(http_peer *peer) {
    return counted(peer, &peer->accepted);
}

unsigned http_peer_open(http_peer *peer) {
    return counted(peer, &peer->open);
}

unsigned http_peer_requests(http_peer *peer) {
    return counted(peer, &peer->requests);
}
