/* SPDX-License-Identifier: MIT
 *
 * What: the last words of a process whose tasklet ran off its stack, or faulted elsewhere: one line with the
 *       tasklet's name and the cure, then death by the signal, so that core dumps and parents see what they would
 *       have seen without us.
 * Threads: init and fini on the thread they concern. The handlers run on the thread that faulted, on a stack of their
 *       own, since the tasklet's is used up; they call nothing that is not async-signal-safe.
 * Invariants: (1) the handlers are installed once and stay: on a thread without pn_stack_thread_init they only pass
 *       the signal on, after one line where a mapped file was cut; (2) the handler that was there before us
 *       (AddressSanitizer, a garbage collector) gets it after us.
 * Lifetime: an alternate stack lives from its thread's init to its fini, which puts back the one there was.
 * Rejected: siglongjmp out of the fault, to end one tasklet and go on: its locks and its half-done work would stay. A
 *       handler that ends in raise(): the core dump would show the handler; returning repeats the fault in its place.
 */
#include "stack.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hooks.h"
#include "mapped_file.h"
#include "reserve.h"
#include "text.h"

enum {
    /* The kernel's frame alone can be 12 KiB (wide registers), a sanitizer's report some 64 KiB. Untouched, it costs
     * nothing. */
    ALTERNATE_BYTES = 256 << 10,
    LINE_BYTES = 512,
    CURE_FACTOR = 4,
};

static _Thread_local struct {
    pn_describe_running describe; /* NULL: not one of pirn's threads                                     */
    stack_t before;
    void *alternate;
} thread;

static pn_word installed;
static struct sigaction segv_before, bus_before;

/* ---- the line: snprintf is not async-signal-safe ---- */

typedef struct line {
    size_t length;
    char text[LINE_BYTES];
} line;

static void add_bytes(line *out, const char *text, size_t length) {
    size_t room = sizeof out->text - 1 - out->length; /* the newline always fits */
    length = length < room ? length : room;
    memcpy(out->text + out->length, text, length);
    out->length += length;
}

static void add_text(line *out, const char *text) {
    add_bytes(out, text, strlen(text));
}

static void add_number(line *out, uint64_t number, unsigned base) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0);
    add_bytes(out, digits + at, sizeof digits - at);
}

static void add_subject(line *out, const pn_overflow_subject *subject) {
    add_text(out, "tasklet ");
    add_number(out, subject->id >> 56, 10); /* worker.slot, as pn_handle_label, which is not signal-safe */
    add_text(out, ".");
    add_number(out, (subject->id >> 32 & 0xffffffu) + 1, 10);
    if (subject->name && subject->name[0]) {
        add_text(out, " \"");
        char clean[128]; /* of a name of 31 bytes, or of a function */
        (void)pn_text_clean(subject->name, clean, sizeof clean);
        add_text(out, clean);
        add_text(out, "\"");
    }
}

static void write_line(line *out) {
    ssize_t written;
    out->text[out->length++] = '\n';
    do {
        written = write(STDERR_FILENO, out->text, out->length);
    } while (written < 0 && errno == EINTR);
}

static void say_overflow(const pn_overflow_subject *subject, const char *sign, const char *guard) {
    line out = {0};
    uint64_t bytes = subject->stack->bytes;
    add_text(&out, "pirn: ");
    add_subject(&out, subject);
    add_text(&out, " overflowed its ");
    add_number(&out, bytes / 1024, 10);
    add_text(&out, " KiB stack (");
    add_text(&out, sign);
    if (bytes < PN_STACK_BYTES_MAX) {
        uint64_t cure = bytes * CURE_FACTOR;
        add_text(&out, "). Spawn it with .stack_bytes = ");
        add_number(&out, cure < PN_STACK_BYTES_MAX ? cure : PN_STACK_BYTES_MAX, 10);
        add_text(&out, ", or run with a larger stack_bytes. Guard: ");
    } else {
        add_text(&out, "). There is no larger one: it must recurse less, or keep less in its frames. Guard: ");
    }
    add_text(&out, guard);
    add_text(&out, ".");
    write_line(&out);
}

static void say_fault(int signal, const siginfo_t *info, const pn_overflow_subject *subject) {
    line out = {0};
    add_text(&out, signal == SIGBUS ? "pirn: SIGBUS " : "pirn: SIGSEGV ");
    if (info->si_code > 0) {
        add_text(&out, "at 0x");
        add_number(&out, (uintptr_t)info->si_addr, 16);
    } else {
        add_text(&out, "sent by process ");
        add_number(&out, (uint64_t)info->si_pid, 10);
    }
    add_text(&out, subject ? " in " : " outside of any tasklet");
    if (subject) {
        add_subject(&out, subject);
    }
    write_line(&out);
}

/* A file that is shorter now than it was when it was mapped: what lies behind its end faults so. Any thread may meet
 * it, the one of a database's connection first of all. */
static void say_cut_file(int signal, const siginfo_t *info) {
    char path[256];
    line out = {0};
    if (signal != SIGBUS || info->si_code != BUS_ADRERR || !pn_mapped_file(info->si_addr, path, sizeof path)) {
        return;
    }
    add_text(&out, "pirn: SIGBUS: the mapped file ");
    add_text(&out, path);
    add_text(&out,
             " was cut by another program, or its disk is full or failing; the process cannot go on. Start it again, "
             "and leave a database's -shm and -wal files alone while a program uses it.");
    write_line(&out);
}

/* ---- the signal ---- */

static bool is_in_guard(const pn_stack *stack, const siginfo_t *info) {
    uintptr_t bottom = (uintptr_t)stack->bottom, address = (uintptr_t)info->si_addr;
    return info->si_code > 0 && address < bottom && bottom - address <= PN_STACK_GUARD_BYTES;
}

static void say_what_happened(int signal, const siginfo_t *info) {
    pn_overflow_subject subject;
    if (!thread.describe(&subject)) {
        say_fault(signal, info, NULL);
    } else if (!pn_stack_intact(subject.stack)) {
        say_overflow(&subject, "canary overwritten", "canary"); /* and more than that, by now */
    } else if (is_in_guard(subject.stack, info)) {
        /* A guard of mprotect is a mapping without permission (ACCERR); one of madvise is as if nothing were mapped. */
        say_overflow(&subject, "guard page hit", info->si_code == SEGV_ACCERR ? "mprotect" : "madvise");
    } else {
        say_fault(signal, info, &subject);
    }
}

/* To whoever was there before us; to the default action by letting the fault happen again. */
static void pass_on(int signal, siginfo_t *info, void *machine) {
    const struct sigaction *before = signal == SIGBUS ? &bus_before : &segv_before;
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(signal, info, machine);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(signal);
    } else {
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(signal, &action, NULL);
        if (info->si_code <= 0) {
            raise(signal); /* one that was sent does not come again by itself; blocked until we return */
        }
    }
}

static void on_fault(int signal, siginfo_t *info, void *machine) {
    int error = errno;
    say_cut_file(signal, info);
    if (thread.describe) {
        say_what_happened(signal, info);
    }
    errno = error;
    pass_on(signal, info, machine);
}

static int install_handlers(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGSEGV, &action, &segv_before) != 0 || sigaction(SIGBUS, &action, &bus_before) != 0) {
        return -errno;
    }
    return 0;
}

int pn_stack_thread_init(pn_describe_running describe) {
    PN_ASSERT(describe && !thread.describe);
    void *alternate = pn_reserve(ALTERNATE_BYTES, true);
    if (!alternate) {
        pn_reserve_tell("no signal stack for a thread", ALTERNATE_BYTES, errno);
        return PIRN_ENOMEM;
    }
    stack_t stack = {.ss_sp = alternate, .ss_size = ALTERNATE_BYTES};
    if (sigaltstack(&stack, &thread.before) != 0) {
        int error = -errno;
        munmap(alternate, ALTERNATE_BYTES);
        return error;
    }
    thread.alternate = alternate;
    thread.describe = describe;
    int error = pn_below->claim(&installed, 0, 1) ? install_handlers() : 0;
    if (error) {
        pn_stack_thread_fini();
    }
    return error;
}

void pn_stack_thread_fini(void) {
    if (!thread.describe) {
        return;
    }
    thread.describe = NULL;
    thread.before.ss_flags &= SS_DISABLE;
    sigaltstack(&thread.before, NULL);
    munmap(thread.alternate, ALTERNATE_BYTES);
    thread.alternate = NULL;
}

void pn_stack_overflow_panic(const pn_overflow_subject *subject) {
    say_overflow(subject, "canary overwritten", "canary");
    abort();
}
