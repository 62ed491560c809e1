/* SPDX-License-Identifier: MIT
 *
 * What: the two ways to say something on stderr: pn_panic (a bug: one line, then abort) and pn_warn (one line).
 * Threads: any, also while another holds malloc's or stdio's lock: the line is built on the caller's stack.
 * Invariants: (1) one line is one write(2), so lines of several threads do not mix; (2) errno is left as it was; (3) a
 *       warning does not wait for who reads stderr slowly: it is counted instead, and the count told with the calling
 *       thread's next line. A pipe that poll(2) calls writable takes PIPE_BUF bytes, more than a line, at once; two
 *       threads that see the same last room are the gap that is left.
 * Rejected: stdio: it takes a lock, may allocate, and cuts an unbuffered line into pieces.
 */
#include "base.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Longer lines are cut, visibly. The whole call must fit a tasklet's stack that is nearly used up. */
#define LINE_BYTES 1024

static const char prefix[] = "pirn: ";
static const char cut_mark[] = "...";

static _Thread_local unsigned lost_lines; /* warnings that stderr had no room for */

static bool has_room(void) {
    int error = errno;
    struct pollfd look = {.fd = STDERR_FILENO, .events = POLLOUT};
    bool room = poll(&look, 1, 0) != 0; /* an error, too, is write's to find */
    errno = error;
    return room;
}

static void write_line(const char *format, va_list arguments) {
    char line[LINE_BYTES];
    const size_t room = sizeof line - sizeof prefix; /* what is left for the text, its newline and a final NUL */
    int error = errno;

    memcpy(line, prefix, sizeof prefix - 1);
    char *text = line + sizeof prefix - 1;
    int wanted = vsnprintf(text, room, format, arguments);
    size_t length = wanted < 0 ? 0 : (size_t)wanted;
    if (length >= room) {
        length = room - 1;
        memcpy(text + length - (sizeof cut_mark - 1), cut_mark, sizeof cut_mark - 1);
    }
    text[length++] = '\n';

    ssize_t written;
    do {
        written = write(STDERR_FILENO, line, sizeof prefix - 1 + length);
    } while (written < 0 && errno == EINTR);
    /* Any other failure is let go: there is nobody left to tell. */
    errno = error;
}

void pn_panic(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
    abort();
}

static void tell_lost(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

void pn_warn(const char *format, ...) {
    if (!has_room()) {
        lost_lines++;
        return;
    }
    if (lost_lines > 0) {
        unsigned lost = lost_lines;
        lost_lines = 0;
        tell_lost("%u lines were lost here: who reads stderr is too slow", lost);
    }
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}
