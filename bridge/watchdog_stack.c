/* SPDX-License-Identifier: MIT
 *
 * What: asking a thread for its stack by a signal (watchdog_stack.h).
 *
 * Threads: one asker, the watchdog. Answers are written in a signal handler on the asked thread: only plain copies and
 *       loads there, no call that may lock or allocate. The handler runs on the thread's alternate stack, never on a
 *       tasklet's.
 * States of the question: NONE -> ASKED (asker) -> WRITING (handler) -> WRITTEN (handler) -> NONE (asker);
 *       ASKED -> NONE when the asker has waited enough. A signal that comes late, or to another thread, finds nothing
 *       to do: each question has a number, with which it is claimed and answered.
 * Invariants: the frame pointers of the interrupted code are followed upwards only and within the bounds of its stack:
 *       code without frame pointers is left out or shows a wrong line, but never faults.
 * Rejected: unwinding by tables (allocates and locks on first use); reading the other stack from outside (it moves).
 */
#include "watchdog_stack.h"

#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "context_signal.h"
#include "thread.h"

enum { NONE, ASKED, WRITING, WRITTEN, STATES };

#define PATIENCE_MS  50
#define SEARCH_BYTES 4096 /* how far find_frame looks */
#define LOWEST_CODE  4096 /* no code lies in the first page */

static _Atomic(unsigned) question; /* its number, in steps of STATES, and its state: none is taken for another */
/* Written by the asker before ASKED; a late handler may read the next question's, and then claims nothing. */
static _Atomic(pthread_t) asked_thread;
static uintptr_t own_low, own_high;
/* Written by the handler before WRITTEN, read by the asker after it. */
static pn_stack_answer answer;
static struct sigaction previous;

/* Sanitizers keep shadow state of the frames that are read here as plain words, and know of no copy made in the middle
 * of them. */
#define PLAIN_READS __attribute__((no_sanitize("thread", "address"), noinline))

PLAIN_READS static void copy_tasklet(const pn_tasklet *tasklet) {
    const volatile unsigned char *from = (const volatile unsigned char *)tasklet;
    unsigned char *to = (unsigned char *)&answer.tasklet;
    for (size_t i = 0; i < sizeof *tasklet; i++) {
        to[i] = from[i];
    }
}

/* A frame's record on the stack: the frame pointer and the return address that it will go back to. */
typedef struct frame_record {
    uintptr_t caller, return_address;
} frame_record;

/* Read the record at `frame`; false: none can be there, within the bounds. */
PLAIN_READS static bool read_record(uintptr_t frame, uintptr_t low, uintptr_t high, frame_record *record) {
    if (frame < low || frame >= high || high - frame < sizeof *record || frame % sizeof(uintptr_t) != 0) {
        return false;
    }
    const volatile uintptr_t *words = (const volatile uintptr_t *)frame;
    record->caller = words[0];
    record->return_address = words[1];
    return record->return_address >= LOWEST_CODE && (record->caller > frame || record->caller == 0);
}

/* The innermost frame pointer that leads on. Code without frame pointers, as in most libraries, may use the register
 * for something else; but who called it saved the right one on the stack: the first word there that begins a chain is
 * it. */
PLAIN_READS static uintptr_t find_frame(pn_interrupted at, uintptr_t low, uintptr_t high) {
    frame_record record, next;
    if (at.stack < low || at.stack >= high) {
        return 0;
    }
    if (at.frame >= at.stack && read_record(at.frame, low, high, &record)) {
        return at.frame;
    }
    uintptr_t end = high - at.stack > SEARCH_BYTES ? at.stack + SEARCH_BYTES : high;
    for (uintptr_t place = at.stack; place + sizeof(uintptr_t) <= end; place += sizeof(uintptr_t)) {
        uintptr_t frame = *(const volatile uintptr_t *)place;
        if (frame > place && read_record(frame, low, high, &record) && read_record(record.caller, low, high, &next)) {
            return frame;
        }
    }
    return 0;
}

PLAIN_READS static void walk(pn_interrupted at, uintptr_t low, uintptr_t high) {
    answer.depth = 0;
    if (at.instruction == 0) {
        return;
    }
    answer.addresses[answer.depth++] = at.instruction;
    frame_record record;
    for (uintptr_t frame = find_frame(at, low, high);
         answer.depth < PN_STACK_DEPTH_MAX && read_record(frame, low, high, &record); frame = record.caller) {
        answer.addresses[answer.depth++] = record.return_address;
    }
}

PLAIN_READS static void write_answer(const void *signal_context) {
    pn_sched *sched = pn_sched_self();
    pn_tasklet *current = sched ? sched->current : NULL;
    answer.switches = sched ? sched->counts.switches : 0;
    answer.has_tasklet = current != NULL;
    uintptr_t low = own_low, high = own_high;
    if (current) {
        copy_tasklet(current);
        low = (uintptr_t)current->stack.bottom;
        high = low + current->stack.bytes;
    }
    walk(pn_interrupted_at(signal_context), low, high);
}

static void handle(int signal_number, siginfo_t *info, void *signal_context) {
    (void)signal_number, (void)info;
    /* acquire: sees who is asked; pairs with the release in pn_stack_ask. Compared before it is claimed: a late signal
     * to another thread must leave the question open. */
    unsigned asked = atomic_load_explicit(&question, memory_order_acquire);
    /* relaxed: if this is the thread of the next question already, the claim fails by that question's number. The claim
     * could be relaxed, too, after that load: acquire says what it stands for, and costs nothing here. */
    if (asked % STATES != ASKED ||
        !pthread_equal(pthread_self(), atomic_load_explicit(&asked_thread, memory_order_relaxed)) ||
        !atomic_compare_exchange_strong_explicit(&question, &asked, asked - ASKED + WRITING, memory_order_acquire,
                                                 memory_order_relaxed)) {
        return;
    }
    write_answer(signal_context);
    /* release: publishes the answer; pairs with the acquire in answered. */
    atomic_store_explicit(&question, asked - ASKED + WRITTEN, memory_order_release);
}

int pn_stack_asking_start(void) {
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    return sigaction(PN_WATCHDOG_SIGNAL, &action, &previous) < 0 ? -errno : 0;
}

void pn_stack_asking_stop(void) {
    /* A question without an answer may have left its signal pending: then the default action would end the program. It
     * is ignored instead of the default; a handler of somebody else's comes back. */
    if (previous.sa_handler == SIG_DFL) {
        previous.sa_handler = SIG_IGN;
    }
    PN_ASSERT(sigaction(PN_WATCHDOG_SIGNAL, &previous, NULL) == 0);
}

static bool answered(void) {
    /* acquire: pairs with the release in handle. */
    return atomic_load_explicit(&question, memory_order_acquire) % STATES == WRITTEN;
}

/* Look every millisecond: this happens once per report, and a handler has no better way to wake anybody. */
static bool wait_for_answer(unsigned number) {
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < PATIENCE_MS && !answered(); i++) {
        (void)nanosleep(&pause, NULL);
    }
    unsigned asked = number + ASKED;
    /* relaxed: taking back a question hands nothing over. */
    if (atomic_compare_exchange_strong_explicit(&question, &asked, number + NONE, memory_order_relaxed,
                                                memory_order_relaxed)) {
        return false;
    }
    while (!answered()) {
        (void)nanosleep(&pause, NULL); /* it is being written */
    }
    return true;
}

const pn_stack_answer *pn_stack_ask(pthread_t thread, uintptr_t low, uintptr_t high) {
    static unsigned number; /* of this question, in steps of STATES */
    number += STATES;
    /* relaxed: published by the question below; a handler that is late with the one before may read it too early. */
    atomic_store_explicit(&asked_thread, thread, memory_order_relaxed);
    own_low = low;
    own_high = high;
    /* release: publishes the three words above; pairs with the acquire in handle. */
    atomic_store_explicit(&question, number + ASKED, memory_order_release);
    int error = pthread_kill(thread, PN_WATCHDOG_SIGNAL);
    bool came = wait_for_answer(number);
    atomic_store_explicit(&question, number + NONE, memory_order_relaxed); /* relaxed: nobody else acts on it */
    return error == 0 && came ? &answer : NULL;
}
