/* SPDX-License-Identifier: MIT
 *
 * What: a TCP echo server: one tasklet a connection, each written as if it were alone in the world.
 * Usage: echo [ADDRESS:PORT]; without one it serves on a free port, talks to itself once and ends.
 */
#include <stdio.h>
#include <string.h>

#include <pirn.h>

static int serve(pirn_socket socket, void *context) {
    (void)context;
    char buffer[4096];
    size_t count = 0;
    int status = 0;
    do {
        status = pirn_read(socket, buffer, sizeof buffer, &count, PIRN_FOREVER);
        if (!status && count > 0) {
            status = pirn_write(socket, buffer, count, NULL, pirn_after(30 * PIRN_SECOND));
        }
    } while (!status && count > 0);
    pirn_close(socket);
    return 0; /* a client that goes away is no failure of ours */
}

static int talk(int port) {
    char address[32];
    char answer[16] = "";
    size_t count = 0, have = 0;
    pirn_socket socket;
    pirn_time deadline = pirn_after(5 * PIRN_SECOND);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    int status = pirn_connect(address, &socket, deadline);
    if (status) {
        return status;
    }
    status = pirn_write(socket, "hello\n", 6, NULL, deadline);
    while (!status && have < 6) {
        status = pirn_read(socket, answer + have, sizeof answer - 1 - have, &count, deadline);
        have += count;
        if (!status && !count) {
            break;
        }
    }
    pirn_close(socket);
    printf("echo: %s", answer);
    return status;
}

static int run(void *arg) {
    const char *address = arg;
    pirn_listener *listener;
    int status = pirn_listen(address ? address : "127.0.0.1:0", NULL, &listener);
    if (status) {
        fprintf(stderr, "cannot listen: %s\n", pirn_strerror(status));
        return status;
    }
    status = pirn_serve(listener, "echo", serve, NULL);
    if (!status) {
        status = address ? pirn_sleep_until(PIRN_FOREVER) : talk(pirn_listener_port(listener));
    }
    pirn_listener_close(listener);
    return status;
}

int main(int argument_count, char **arguments) {
    return pirn_run(NULL, run, argument_count > 1 ? arguments[1] : NULL) ? 1 : 0;
}
