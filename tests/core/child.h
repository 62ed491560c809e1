/* SPDX-License-Identifier: MIT
 *
 * What: what the tests of contexts and stacks share: a child process whose death and stderr are looked at, pages
 *       counted, and one tasklet-like context on a stack of the cache.
 * Threads: the test's one thread.
 */
#ifndef CORE_CHILD_H
#define CORE_CHILD_H

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "core_test.h"
#include "hooks.h"
#include "stack.h"

/* How a child ended, and all it said. The caller frees the text. */
typedef struct child_end {
    int status; /* as of waitpid                                                                          */
    char *text;
} child_end;

/* In a sanitizer's run-time library: where its reports go, whatever its options say. */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

/* Run `body` in a process of its own; it exits with 0 when body returns. */
static inline child_end run_child(void (*body)(void)) {
    int file = memfd_create("child", MFD_CLOEXEC);
    cr_assert_geq(file, 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        dup2(file, STDERR_FILENO);
        if (__sanitizer_set_report_fd) {
            __sanitizer_set_report_fd((void *)(intptr_t)STDERR_FILENO);
        }
        body();
        _exit(0);
    }
    child_end end = {0};
    cr_assert_eq(waitpid(pid, &end.status, 0), pid);
    off_t bytes = lseek(file, 0, SEEK_END);
    end.text = calloc(1, (size_t)bytes + 1);
    cr_assert(end.text && pread(file, end.text, (size_t)bytes, 0) == bytes);
    close(file);
    return end;
}

/* The child died by `signal`. A sanitizer that takes the signal after us reports it and exits with its own code. */
static inline void expect_killed(const child_end *end, int signal) {
    bool by_sanitizer = is_sanitized() && WIFEXITED(end->status) && WEXITSTATUS(end->status) != 0;
    cr_assert(by_sanitizer || (WIFSIGNALED(end->status) && WTERMSIG(end->status) == signal), "status %#x, stderr: %s",
              (unsigned)end->status, end->text);
}

static inline void expect_said(const child_end *end, const char *words) {
    cr_assert(strstr(end->text, words) != NULL, "\"%s\" is not in: %s", words, end->text);
}

/* How many pages of [at, at + bytes) are in memory. */
static inline size_t pages_present(const void *at, size_t bytes) {
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), present = 0;
    for (size_t i = 0; i < bytes / page_bytes; i++) {
        unsigned char state = 0;
        cr_assert_eq(mincore((char *)at + i * page_bytes, page_bytes, &state), 0);
        present += state & 1;
    }
    return present;
}

/* Whether the kernel itself may read there: asked without a fault. */
static inline bool is_readable(const void *at) {
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    ssize_t written = write(ends[1], at, 1);
    cr_assert(written == 1 || errno == EFAULT);
    close(ends[0]);
    close(ends[1]);
    return written == 1;
}

static pn_stack_cache stacks;

static inline void stacks_setup(pirn_guard guard) {
    pn_below = &pn_hooks_alone;
    cr_assert_eq(pn_stack_setup(guard), 0);
    pn_stack_cache_init(&stacks);
}

/* A context on a stack of its own, and the thread's, which it goes back to. */
typedef struct coroutine {
    pn_context context;
    pn_stack stack;
} coroutine;

static pn_context thread_context;
static coroutine *running;

static inline void coroutine_start(coroutine *co, size_t stack_bytes, pn_context_entry entry) {
    cr_assert_eq(pn_stack_get(&stacks, stack_bytes, &co->stack), 0);
    pn_context_make(&co->context, co->stack.bottom, co->stack.bytes, co->stack.colour, entry);
}

static inline void coroutine_resume(coroutine *co) {
    running = co;
    pn_context_switch(&thread_context, &co->context);
    running = NULL;
}

/* On the coroutine's stack. */
static inline void coroutine_pause(void) {
    pn_context_switch(&running->context, &thread_context);
}

static inline void coroutine_end(coroutine *co) {
    pn_context_unmake(&co->context);
    pn_stack_put(&stacks, &co->stack);
}

#endif
