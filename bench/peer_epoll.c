/* SPDX-License-Identifier: MIT
 *
 * What: the peer of http-hello: the least a server can do. One thread, one epoll loop, one read and one write a
 *       request, no parser: it looks for the empty line and answers. What pirn adds to it is pirn's price.
 * Threads: the server's process, which has one.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hello_server.h"

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
                             "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nHello, world!";

static int listen_on_loopback(FILE *ready) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        return -1;
    }
    fprintf(ready, "port %u\n", (unsigned)ntohs(address.sin_port));
    fclose(ready);
    return fd;
}

static void accept_all(int set, int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0) {
            close(fd);
        }
    }
}

/* Its clients have one request in flight and send it in one piece. */
static void serve_one(int fd) {
    char request[4096];
    ssize_t got = recv(fd, request, sizeof request - 1, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        close(fd);
        return;
    }
    request[got] = '\0';
    if (strstr(request, "\r\n\r\n") && send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0) {
        close(fd);
    }
}

static volatile sig_atomic_t terminated;

static void on_terminate(int number) {
    (void)number;
    terminated = 1;
}

static int serve(const bench_setting *setting, FILE *ready) {
    (void)setting;
    struct sigaction action = {.sa_handler = on_terminate};
    sigaction(SIGTERM, &action, NULL);
    int set = epoll_create1(EPOLL_CLOEXEC), listener = listen_on_loopback(ready);
    struct epoll_event events[256], event = {.events = EPOLLIN, .data.fd = listener};
    if (set < 0 || listener < 0 || epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) != 0) {
        return -1;
    }
    while (!terminated) {
        int count = epoll_wait(set, events, 256, 500); /* the limit closes the gap between test and wait  */
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                accept_all(set, listener);
            } else {
                serve_one(events[i].data.fd);
            }
        }
    }
    return 0;
}

static int run(bench_out *out) {
    return hello_measure(serve, NULL, "-epoll-loop", out);
}

const bench_peer bench_peer_epoll = {"http-hello", "epoll-loop", "one thread, one epoll loop, no parser", run};
