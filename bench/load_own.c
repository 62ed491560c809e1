/* SPDX-License-Identifier: MIT
 *
 * What: the small client: one epoll loop, N keep-alive connections, one request in flight on each. It knows the one
 *       answer it waits for: status 200, and a body of 13 bytes at its end.
 * Threads: one.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define ANSWER_BYTES_MAX 1024u

static const char request[] = "GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
static const char body[] = "Hello, world!";

typedef struct client {
    int fd;
    size_t filled;
    char answer[ANSWER_BYTES_MAX + 1];
} client;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int ask(const client *c) {
    ssize_t sent = send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL);
    return sent == (ssize_t)(sizeof request - 1) ? 0 : sent < 0 ? -errno : -EPROTO;
}

static int open_client(client *c, int set, unsigned port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int on = 1;
    c->filled = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        epoll_ctl(set, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        return -errno;
    }
    return ask(c);
}

/* Read what came. 1: the answer is complete and right; 0: not yet. */
static int take_answer(client *c) {
    ssize_t got = recv(c->fd, c->answer + c->filled, ANSWER_BYTES_MAX - c->filled, MSG_DONTWAIT);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    if (got == 0 || c->filled + (size_t)got == ANSWER_BYTES_MAX) {
        return -EPROTO;
    }
    c->filled += (size_t)got;
    c->answer[c->filled] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n");
    if (!end || (size_t)(c->answer + c->filled - end) < 4 + sizeof body - 1) {
        return 0;
    }
    if (strncmp(c->answer, "HTTP/1.1 200 ", 13) != 0 || strcmp(end + 4, body) != 0) {
        return -EPROTO;
    }
    c->filled = 0;
    return 1;
}

/* Take the answers that are there, and ask again on each of those connections. */
static int one_turn(int set, load_result *result) {
    struct epoll_event events[256];
    int count = epoll_wait(set, events, 256, 1000);
    if (count <= 0) {
        return count < 0 && errno != EINTR ? -errno : count == 0 ? -ETIMEDOUT : 0;
    }
    for (int i = 0; i < count; i++) {
        client *c = events[i].data.ptr;
        int done = take_answer(c);
        int error = done > 0 ? ask(c) : done;
        if (error != 0) {
            return error;
        }
        result->requests += done > 0 ? 1 : 0;
    }
    return 0;
}

int load_own(unsigned port, unsigned connections, int64_t ns, load_result *result) {
    *result = (load_result){0};
    client *clients = calloc(connections, sizeof *clients);
    int set = epoll_create1(EPOLL_CLOEXEC), error = clients && set >= 0 ? 0 : -ENOMEM;
    unsigned opened = 0;
    while (error == 0 && opened < connections) {
        error = open_client(&clients[opened++], set, port);
    }
    int64_t start = now_ns();
    while (error == 0 && now_ns() - start < ns) {
        error = one_turn(set, result);
    }
    result->seconds = (double)(now_ns() - start) / 1e9;
    while (opened > 0) {
        close(clients[--opened].fd);
    }
    close(set);
    free(clients);
    return error;
}
