/* SPDX-License-Identifier: MIT
 *
 * What: standard error as a file that a test can read while it is written.
 * Threads: begin and end: the test's main thread; text: any, one at a time.
 */
#ifndef PIRN_TEST_CAPTURED_H
#define PIRN_TEST_CAPTURED_H

#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

#define CAPTURED_BYTES 65536

static int captured_fd = -1, captured_saved = -1;
static char captured_text[CAPTURED_BYTES];

static inline void captured_begin(void) {
    captured_fd = memfd_create("stderr", MFD_CLOEXEC);
    captured_saved = dup(STDERR_FILENO);
    cr_assert(captured_fd >= 0 && captured_saved >= 0);
    cr_assert_geq(dup2(captured_fd, STDERR_FILENO), 0);
}

/* What was written so far. */
static inline const char *captured_now(void) {
    ssize_t length = pread(captured_fd, captured_text, sizeof captured_text - 1, 0);
    captured_text[length > 0 ? length : 0] = '\0';
    return captured_text;
}

static inline const char *captured_end(void) {
    const char *text = captured_now();
    (void)dup2(captured_saved, STDERR_FILENO);
    close(captured_saved);
    close(captured_fd);
    return text;
}

static inline unsigned captured_count(const char *text, const char *part) {
    unsigned count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

#endif
