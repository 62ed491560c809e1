/* SPDX-License-Identifier: MIT
 *
 * What: what the tests of the whole program share: the real pirn-web as a child process, and connections to it.
 * Threads: the test's main thread.
 */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

/* From SIGTERM to the end, whatever the program was doing. */
#define EXIT_MS_MAX 5000

#define PROGRAM_LINE_BYTES 256

typedef struct program {
    pid_t pid;
    int port;
} program;

/* Start pirn-web with `flags` (NULL-terminated) on a free port, and wait until it serves. */
static inline program program_start(const char *const flags[]) {
    const char *arguments[32] = {PIRN_BUILD_DIR "/pirn-web", "--listen", "127.0.0.1:0"};
    for (int i = 0; flags[i]; i++) {
        arguments[3 + i] = flags[i];
        cr_assert(i < 28);
    }
    int ends[2];
    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it must not outlive a failed test */
        dup2(ends[1], STDOUT_FILENO);
        execv(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(ends[1]);
    FILE *out = fdopen(ends[0], "r");
    program p = {.pid = pid};
    cr_assert(fscanf(out, "listening on http://127.0.0.1:%d", &p.port) == 1);
    fclose(out);
    return p;
}

static inline int64_t program_clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* SIGTERM; it must exit with 0, and in time. */
static inline void program_stop(program p) {
    int status;
    int64_t asked = program_clock_ms();
    kill(p.pid, SIGTERM);
    cr_assert(waitpid(p.pid, &status, 0) == p.pid);
    int64_t took_ms = program_clock_ms() - asked;
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended with status %x", status);
    if (pirn_test_keeps_time()) {
        cr_assert(took_ms <= EXIT_MS_MAX, "it took %lld ms to end", (long long)took_ms);
    } else {
        fprintf(stderr, "it took %lld ms to end\n", (long long)took_ms);
    }
}

/* Connect a socket that the caller has made to its liking. */
static inline void program_connect_socket(program p, int fd) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
}

static inline int program_connect(program p) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    program_connect_socket(p, fd);
    return fd;
}

static inline void program_ask(int fd, const char *path) {
    char text[128];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    cr_assert(write(fd, text, (size_t)length) == length);
}

/* One line of an answer without its CR LF; false: the stream ended or the line is too long. */
static inline bool program_read_line(FILE *in, char line[PROGRAM_LINE_BYTES]) {
    if (!fgets(line, PROGRAM_LINE_BYTES, in)) {
        return false;
    }
    size_t length = strlen(line);
    if (length < 2 || strcmp(line + length - 2, "\r\n") != 0) {
        return false;
    }
    line[length - 2] = '\0';
    return true;
}

#endif
