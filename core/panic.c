/* SPDX-License-Identifier: MIT
 *
 * What: the ways to say something on stderr: pn_panic (a bug: one line, then abort), pn_warn (one line, limited in
 *       rate) and pn_tell (one line of a report, which has its own bound).
 * Threads: any, also while another holds malloc's or stdio's lock: the line is built on the caller's stack.
 * Invariants: (1) one line is one write(2), so lines of several threads do not mix; (2) errno is left as it was; (3) a
 *       warning does not wait for a slow reader of stderr: it is counted instead, and the count is told with the
 *       calling thread's next line. A pipe that poll(2) calls writable takes PIPE_BUF bytes, more than a line, at once;
 *       two threads that see the same last room are the gap that is left; (4) no byte of a line steers a terminal,
 *       wherever its text came from (core/text.h); (5) of one kind of warning, which is its format, a thread writes
 *       PN_WARN_BURST lines a second; the others are counted, and the count is told with the next line of that kind or
 *       by pn_warn_flush.
 * Rejected: stdio: it takes a lock, may allocate, and cuts an unbuffered line into pieces. One limit for all threads:
 *       it needs words that threads share, and a lock or a loop where the line is written.
 */
#include "base.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "text.h"

/* Longer lines are cut, visibly. The whole call must fit a tasklet's stack that is nearly used up. */
#define LINE_BYTES 1024
#define KINDS_MAX  16 /* of warnings that one thread limits at the same time */

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
    char raw[LINE_BYTES], line[LINE_BYTES];
    const size_t room = sizeof line - sizeof prefix; /* what is left for the text, its newline and a final NUL */
    int error = errno;

    raw[0] = '\0';
    int wanted = vsnprintf(raw, sizeof raw, format, arguments);
    memcpy(line, prefix, sizeof prefix - 1);
    char *text = line + sizeof prefix - 1;
    size_t taken = pn_text_clean(raw, text, room), length = strlen(text);
    if (wanted > 0 && taken < (size_t)wanted) {
        length = length < room - sizeof cut_mark ? length : room - sizeof cut_mark;
        memcpy(text + length, cut_mark, sizeof cut_mark - 1);
        length += sizeof cut_mark - 1;
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

static void say_at_once(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments);
    va_end(arguments);
}

/* One line, if stderr has room for it. */
static void say(const char *format, va_list arguments) {
    if (!has_room()) {
        lost_lines++;
        return;
    }
    if (lost_lines > 0) {
        unsigned lost = lost_lines;
        lost_lines = 0;
        say_at_once("%u lines were lost here: stderr is read too slowly", lost);
    }
    write_line(format, arguments);
}

void pn_tell(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

/* ---- the limit ---- */

/* One kind of warning of this thread. */
typedef struct kind {
    const char *name; /* NULL: free                                                                 */
    time_t second;    /* of the monotonic clock, in which the `said` lines were written              */
    unsigned said;
    unsigned left_out; /* since the last line that was written                                       */
} kind;

static _Thread_local kind kinds[KINDS_MAX];
static _Thread_local uint64_t left_out_total;

static time_t this_second(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec;
}

static void tell_left_out(kind *of) {
    unsigned left_out = of->left_out;
    of->left_out = 0;
    if (left_out > 0) {
        pn_tell("%u more like this: %.60s", left_out, of->name);
    }
}

/* The entry of `name`. A full table gives up the kind that has been silent for longest. */
static kind *kind_of(const char *name) {
    kind *oldest = &kinds[0];
    for (unsigned i = 0; i < KINDS_MAX; i++) {
        kind *each = &kinds[i];
        if (each->name == name) {
            return each;
        }
        if (oldest->name && (!each->name || each->second < oldest->second)) {
            oldest = each;
        }
    }
    tell_left_out(oldest);
    *oldest = (kind){.name = name};
    return oldest;
}

/* Whether a line of this kind may be written now. */
static bool may_say(const char *name) {
    kind *of = kind_of(name);
    time_t second = this_second();
    if (of->second != second) {
        of->second = second;
        of->said = 0;
        tell_left_out(of);
    }
    if (of->said == PN_WARN_BURST) {
        of->left_out++;
        left_out_total++;
        return false;
    }
    of->said++;
    return true;
}

void pn_warn(const char *format, ...) {
    if (!may_say(format)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void pn_warn_as(const char *name, const char *text) {
    if (may_say(name)) {
        pn_tell("%s", text);
    }
}

void pn_warn_flush(void) {
    for (unsigned i = 0; i < KINDS_MAX; i++) {
        tell_left_out(&kinds[i]);
        kinds[i] = (kind){0};
    }
}

uint64_t pn_warn_left_out(void) {
    return left_out_total;
}
