/* SPDX-License-Identifier: MIT
 *
 * What: one thread with two tasks. Each millisecond it raises the flag of every worker that is awake: a look at I/O and
 *       timers is due there (core/sched.h). Twice per slice_warn it looks at each worker and the reactor, and reports
 *       who has not moved since. With slice_warn PIRN_FOREVER it only does the first, and is called "ticker".
 *
 * A look compares plain counters of the other thread with those of the last look: dispatches, the dispatch budget (a
 *       yield with nobody else to run counts there), turns. Reading them while their owner writes them is a race
 *       without harm: they are aligned words, and one that is a moment old makes a report one look later. A report is
 *       checked against them once more, by the watched thread itself where it answers (watchdog_stack.h): a slice that
 *       has just ended is not accused.
 * What counts is the time that a slice had its thread or blocked it. Time in which the thread was ready and got no
 *       processor, for the machine is overloaded, is subtracted: it says nothing about the tasklet. The kernel keeps
 *       that time in schedstat, and brings it up to date when the thread runs again: so it is read when the thread has
 *       answered.
 * States: ticking -> deep sleep after QUIET_NS in which everybody slept -> ticking when the first is awake again
 *       (watchdog_sleep.h).
 * Threads: the watchdog's own; start and stop: the runtime's.
 * Lifetime: the watched live from start to stop.
 * Rejected: a timer signal per worker (each tick would interrupt system calls of healthy workers); a clock read per
 *       dispatch (costs as much as the dispatch).
 */
#include "watchdog.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "failure.h"
#include "runtime.h"
#include "thread.h"
#include "watchdog_sleep.h"
#include "watchdog_stack.h"

#define TICK_NS PIRN_MILLISECOND /* between two flags: what rule 9 of docs/design.md promises */
#define QUIET_NS                                                                                                       \
    (4 * PIRN_MILLISECOND) /* nobody was awake for so long: sleep too. A busy program's workers sleep for
                                         * less, so they need not wake this thread each time */
#define SILENT_SLICES 4    /* who gives no answer is reported without a stack after so many */

/* What a thread that gets on changes. */
typedef struct sample {
    uint64_t switches, turns;
    const pn_tasklet *current;
    unsigned budget;
    bool away; /* asleep in its set */
} sample;

/* One watched thread. The watchdog's own, but for what the pointers lead to. */
typedef struct subject {
    pn_worker *worker; /* NULL: the reactor */
    const pn_driver *driver;
    uintptr_t low, high; /* its own stack */
    int schedstat_fd;    /* -1: this kernel keeps none */
    sample last;
    pirn_time since;      /* when `last` was first seen */
    pirn_time starved_ns; /* how long it had waited for a processor until then, since its start */
    bool reported;        /* this slice */
    uint64_t tick_turns;  /* its turns as of the last tick */
} subject;

static struct {
    /* immutable while it runs */
    pthread_t thread;
    bool started;
    pirn_time slice_warn_ns;
    bool takes_signals;
    sigset_t mask; /* with takes_signals */
    /* the watchdog's own */
    subject subjects[PN_WORKERS_MAX + 1];
    unsigned count;
    pirn_time quiet_since; /* PIRN_FOREVER: not quiet */
} watchdog;

/* ---- looking ---- */

__attribute__((no_sanitize("thread"), noinline)) static sample look(const subject *at) {
    sample seen = {.turns = at->driver->turn_count, .away = pn_doorbell_away(&at->driver->port.bell)};
    if (at->worker) {
        const pn_sched *sched = &at->worker->sched;
        seen.switches = sched->counts.switches;
        seen.budget = sched->budget;
        seen.current = sched->current;
    }
    return seen;
}

static bool same(const sample *a, const sample *b) {
    return a->switches == b->switches && a->turns == b->turns && a->current == b->current && a->budget == b->budget &&
           a->away == b->away;
}

/* How long the thread has been ready without a processor since its start: the second number of its schedstat. */
static pirn_time starved_ns(const subject *at) {
    char text[80];
    ssize_t length = at->schedstat_fd < 0 ? -1 : pread(at->schedstat_fd, text, sizeof text - 1, 0);
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    char *second = strchr(text, ' ');
    return second ? (pirn_time)strtoll(second, NULL, 10) : 0;
}

/* ---- reporting ---- */

static void print_frame(unsigned number, uintptr_t address) {
    Dl_info place;
    /* A return address may lie behind the end of the function that called last. */
    uintptr_t inside = number == 0 ? address : address - 1;
    if (!dladdr((void *)inside, &place) || !place.dli_fname) {
        pn_tell("    #%u 0x%lx", number, (unsigned long)address);
        return;
    }
    const char *file = pn_base_name(place.dli_fname);
    unsigned long offset = (unsigned long)(inside - (uintptr_t)place.dli_fbase);
    if (place.dli_sname) {
        pn_tell("    #%u %s+0x%lx (%s+0x%lx)", number, place.dli_sname,
                (unsigned long)(inside - (uintptr_t)place.dli_saddr), file, offset);
    } else {
        pn_tell("    #%u %s+0x%lx", number, file, offset);
    }
}

static void print_stack(const pn_stack_answer *answer) {
    if (!answer || answer->depth == 0) {
        pn_tell("    its thread did not tell its stack");
        return;
    }
    for (unsigned i = 0; i < answer->depth; i++) {
        print_frame(i, answer->addresses[i]);
    }
}

static void print_line(const subject *at, const pn_tasklet *tasklet, long long for_ms) {
    char label[80];
    if (!at->worker) {
        pn_tell("the reactor has been in one turn for %lld ms: a callback on its thread blocks", for_ms);
    } else if (!tasklet) {
        pn_tell("a callback has run for %lld ms on worker %u: nothing else runs there", for_ms,
                at->worker->sched.options.id);
    } else {
        pn_tell("tasklet %s has run for %lld ms on worker %u without a park or yield (spawned at %s:%u)%s",
                pn_tasklet_label(tasklet, label, sizeof label), for_ms, at->worker->sched.options.id,
                pn_base_name(tasklet->file), tasklet->line,
                tasklet->cancelled && tasklet->shield == 0
                    ? ": it was cancelled, and each call that would wait gives PIRN_ECANCELED at once"
                    : "");
    }
}

/* A copy of a running tasklet's record, for when its thread did not answer. */
__attribute__((no_sanitize("thread", "address"), noinline)) static void copy_plainly(pn_tasklet *to,
                                                                                     const pn_tasklet *from) {
    const volatile unsigned char *source = (const volatile unsigned char *)from;
    unsigned char *target = (unsigned char *)to;
    for (size_t i = 0; i < sizeof *to; i++) {
        target[i] = source[i];
    }
}

/* Whether `at` is still in the slice that it was last seen in. */
static bool still_there(const subject *at, const pn_stack_answer *answer) {
    if (answer && at->worker) {
        return answer->switches == at->last.switches && answer->has_tasklet == (at->last.current != NULL);
    }
    sample again = look(at);
    return same(&again, &at->last);
}

/* Report the slice of `at`, if that holds against what its thread says. Returns whether it did. */
static bool report(const subject *at, pirn_time now) {
    const pn_stack_answer *answer = pn_stack_ask(at->driver->thread, at->low, at->high);
    pirn_time slice_ns = now - at->since - (starved_ns(at) - at->starved_ns);
    if (slice_ns < watchdog.slice_warn_ns || (!answer && slice_ns / SILENT_SLICES < watchdog.slice_warn_ns)) {
        return false;
    }
    pn_tasklet copy;
    const pn_tasklet *tasklet = NULL;
    if (answer) {
        tasklet = answer->has_tasklet ? &answer->tasklet : NULL;
    } else if (at->last.current) {
        copy_plainly(&copy, at->last.current);
        copy.name[PN_NAME_BYTES - 1] = '\0';
        tasklet = &copy;
    }
    if (!still_there(at, answer)) {
        return false;
    }
    print_line(at, tasklet, (long long)(slice_ns / PIRN_MILLISECOND));
    print_stack(answer);
    return true;
}

/* A first look at a new slice. */
static void begin_slice(subject *at, const sample *seen, pirn_time now) {
    at->last = *seen;
    at->since = now;
    at->starved_ns = seen->away ? 0 : starved_ns(at);
    at->reported = false;
}

static void inspect(subject *at, pirn_time now) {
    sample seen = look(at);
    if (!same(&seen, &at->last)) {
        begin_slice(at, &seen, now);
    } else if (!seen.away && !at->reported && now - at->since >= watchdog.slice_warn_ns) {
        at->reported = report(at, now);
    }
}

static void inspect_all(pirn_time now) {
    for (unsigned i = 0; i < watchdog.count; i++) {
        inspect(&watchdog.subjects[i], now);
    }
}

/* ---- the thread ---- */

static bool all_away(void) {
    bool away = true;
    for (unsigned i = 0; i < watchdog.count && away; i++) {
        away = pn_doorbell_away(&watchdog.subjects[i].driver->port.bell);
    }
    return away;
}

/* Raise the flags, and note whether somebody was awake since the last tick. */
static void tick(pirn_time now) {
    bool busy = false;
    for (unsigned i = 0; i < watchdog.count; i++) {
        subject *at = &watchdog.subjects[i];
        sample seen = look(at);
        if (at->worker && !seen.away) {
            pn_flag_raise(&at->worker->sched.hurry);
        }
        busy |= !seen.away || seen.turns != at->tick_turns;
        at->tick_turns = seen.turns;
    }
    if (busy) {
        watchdog.quiet_since = PIRN_FOREVER;
    } else if (watchdog.quiet_since == PIRN_FOREVER) {
        watchdog.quiet_since = now;
    }
}

/* PIRN_FOREVER: never. */
static pirn_time next_inspection(void) {
    bool wanted = watchdog.slice_warn_ns != PIRN_FOREVER;
    return wanted ? pirn_after(watchdog.slice_warn_ns / 2) : PIRN_FOREVER;
}

static bool has_been_quiet(pirn_time now) {
    return watchdog.quiet_since != PIRN_FOREVER && now - watchdog.quiet_since >= QUIET_NS;
}

static void *run_watchdog(void *arg) {
    (void)arg;
    if (watchdog.takes_signals) {
        /* A wait that is over at once: with a thread's first one ThreadSanitizer makes the place for its signals, and
         * loses one that arrives meanwhile: a program that sent itself one at its start waited for ever. */
        (void)pn_watchdog_sleep_until(pirn_now());
        PN_ASSERT(pthread_sigmask(SIG_SETMASK, &watchdog.mask, NULL) == 0);
    }
    pirn_time inspect_at = next_inspection();
    bool goes_on = true;
    while (goes_on) {
        pirn_time now = pirn_now();
        tick(now);
        if (now >= inspect_at) {
            inspect_all(now);
            inspect_at = next_inspection();
        }
        if (has_been_quiet(now)) {
            (void)pn_watchdog_sleep_deeply(all_away);
            watchdog.quiet_since = PIRN_FOREVER;
            inspect_at = next_inspection();
        }
        goes_on = pn_watchdog_sleep_until(pirn_after(TICK_NS));
    }
    return NULL;
}

/* ---- life ---- */

static void watch(pn_worker *worker, const pn_driver *driver) {
    subject *added = &watchdog.subjects[watchdog.count++];
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", driver->thread_id);
    *added = (subject){.worker = worker, .driver = driver, .since = pirn_now()};
    added->schedstat_fd = open(path, O_RDONLY | O_CLOEXEC);
    added->starved_ns = starved_ns(added);
    pthread_attr_t attributes;
    if (pthread_getattr_np(driver->thread, &attributes) == 0) {
        void *bottom;
        size_t bytes;
        if (pthread_attr_getstack(&attributes, &bottom, &bytes) == 0) {
            added->low = (uintptr_t)bottom;
            added->high = added->low + bytes;
        }
        pthread_attr_destroy(&attributes);
    }
}

static void watch_all(void) {
    pn_runtime *runtime = &pn_runtime_current;
    watchdog.count = 0;
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        watch(&runtime->workers[i], &runtime->workers[i].driver);
    }
    if (runtime->reactor && runtime->reactor != &runtime->workers[0].driver) {
        watch(NULL, runtime->reactor);
    }
}

static void forget_all(void) {
    for (; watchdog.count > 0; watchdog.count--) {
        int fd = watchdog.subjects[watchdog.count - 1].schedstat_fd;
        if (fd >= 0) {
            close(fd);
        }
    }
}

/* Neither a broken pipe that our lines meet, nor our question to others, is for us. */
static void take_signals(const sigset_t *signals) {
    watchdog.takes_signals = signals != NULL;
    if (signals) {
        watchdog.mask = *signals;
        (void)sigaddset(&watchdog.mask, SIGPIPE);
        (void)sigaddset(&watchdog.mask, PN_WATCHDOG_SIGNAL);
    }
}

bool pn_watchdog_takes(int number) {
    return watchdog.takes_signals && watchdog.started && sigismember(&watchdog.mask, number) == 0;
}

static void stop_asking(void) {
    if (watchdog.slice_warn_ns != PIRN_FOREVER) {
        pn_stack_asking_stop();
    }
}

int pn_watchdog_start(pirn_time slice_warn_ns, const sigset_t *signals) {
    PN_ASSERT(!watchdog.started);
    bool reports = slice_warn_ns != PIRN_FOREVER;
    int error = reports ? pn_stack_asking_start() : 0;
    if (error != 0) {
        return error;
    }
    pn_watchdog_sleep_start();
    watch_all();
    watchdog.slice_warn_ns = slice_warn_ns;
    watchdog.quiet_since = PIRN_FOREVER;
    take_signals(reports ? signals : NULL);
    error = pn_thread_start(&watchdog.thread, PN_WATCHDOG, reports ? "watchdog" : "ticker", run_watchdog, NULL);
    watchdog.started = error == 0;
    if (error != 0) {
        forget_all();
        stop_asking();
    }
    return error;
}

void pn_watchdog_stop(void) {
    if (!watchdog.started) {
        return;
    }
    pn_watchdog_sleep_stop();
    PN_ASSERT(pthread_join(watchdog.thread, NULL) == 0);
    watchdog.started = false;
    forget_all();
    stop_asking();
}
