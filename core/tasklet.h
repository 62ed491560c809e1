/* SPDX-License-Identifier: MIT
 *
 * What: the tasklet's record and its life: spawn, end, join, cancel. The record is type-stable slab memory of its home
 *       scheduler, never on the stack: a stale handle finds a record of another generation, never freed memory.
 *
 * Threads: the home scheduler only. Another worker sends a message (core/remote.c) with the handle; the home looks it
 *       up.
 *
 * States:   NEW -> RUNNABLE <-> RUNNING -> ENDED -> (slot free)
 *                      ^           |
 *                      +- PARKED <-+        NEW dies without running when struck before its first turn.
 *
 * Lifetime: a detached one's slot is free at its end; a joinable one's when it was joined or released. The stack goes
 *       back to the cache at the end, before any join. Its stack is taken at the first turn, so a tasklet that waits
 *       for its turn costs its record only.
 */
#ifndef PN_TASKLET_H
#define PN_TASKLET_H

#include <pirn/tasklet.h>

#include "context.h"
#include "hooks.h"
#include "list.h"
#include "stack.h"
#include "wait.h"

typedef enum pn_state { PN_FREE, PN_NEW, PN_RUNNABLE, PN_RUNNING, PN_PARKED, PN_ENDED } pn_state;

/* How far the end of the runtime has come (reactor_thread/shutdown.c). */
typedef enum pn_stage {
    PN_GOING,
    PN_CANCELLING, /* tasklets were cancelled: a wait that tells so lets the others run first            */
    PN_REFUSING,   /* no new tasklets; in callbacks, no new requests                                   */
    PN_FINAL,      /* waits end though they are shielded; no new deferreds                             */
    PN_FORCED,     /* a tasklet ends where it next waits or yields                                     */
} pn_stage;

#define PN_NAME_BYTES 32

/* What the inspector tells of a request. The call that sets it takes it back before it returns. */
typedef struct pn_note {
    pirn_time started_at;
    /* Write the peer's address into `text`, terminated. Home of the tasklet. */
    void (*describe_peer)(const struct pn_note *note, char *text, size_t text_bytes);
} pn_note;

typedef struct pn_cleanup {
    struct pn_cleanup *next;
    void (*fn)(void *arg);
    void *arg;
} pn_cleanup;

struct pn_tasklet {
    /* run queue or free list; home only */
    pn_node link;
    pn_node all_link; /* in the scheduler's list of live tasklets                                   */
    pn_sched *home;
    pn_waiter *waiter;  /* while PARKED                                                              */
    pn_message message; /* "ready", from elsewhere: one wait ends once, so one message is enough     */
    pn_context context;
    pn_stack stack;
    uint32_t generation; /* of the slot; 0 never                                                      */
    uint32_t slot;
    uint8_t state;  /* pn_state                                                                  */
    uint8_t flags;  /* enum pirn_spawn_flags                                                     */
    bool cancelled; /* sticky                                                                    */
    bool is_main;   /* the runtime's first: gets PIRN_EDEADLK                                    */
    uint16_t shield;
    uint16_t line; /* spawned at                                                                */
    int strike;    /* thrown code that is due; 0: none                                          */
    int result;
    const char *file;
    const char *function; /* as the caller of the spawn wrote it; NULL: not told                         */
    pirn_fn fn;
    void *arg;
    pn_waiter *joiner; /* a tasklet of this home that joins                                          */
    struct pn_remote_join *remote_joiner; /* or one of another                                           */
    pn_cleanup *cleanups;
    pirn_failure *failure; /* the last pirn_fail                                                         */
    void *local;
    pirn_time since;     /* when it came to its state, as of the scheduler's clock sample              */
    bool stuck_reported; /* in this wait                                                              */
    bool cancel_told;    /* a call told it of its cancellation                                         */
    bool sql_words;      /* `failure` has the database's words for the last SQL call                   */
    bool at_work;        /* a daemon that works for somebody: it can be stuck                         */
    bool rests;          /* a daemon between two calls: its next caller is served at once             */
    uint8_t fate;        /* pn_fate, of this wait, found by walk number `walk` (core/report.h)         */
    uint32_t walk;
    const struct pn_note *note; /* of a request, for the inspector; NULL: none                           */
    const char *doing;          /* what its present call is about: SQL or a URL, the caller's; NULL: not told */
    uint8_t swallowed; /* waits that told it of its cancellation during the runtime's end, up to SWALLOWS_FREE */
    char name[PN_NAME_BYTES];
};
_Static_assert(sizeof(pn_tasklet) <= 384, "a tasklet's record is at most 384 bytes");

/* Handles: worker (8 bits) | slot (24 bits) | generation (32 bits). A slot's generation goes on over the runs of a
 * process. */
pirn_tasklet pn_tasklet_handle(const pn_tasklet *tasklet);
unsigned pn_handle_home(pirn_tasklet handle);
/* The record, or NULL when that tasklet is gone. Home only. */
pn_tasklet *pn_tasklet_find(pn_sched *sched, pirn_tasklet handle);

/* A new tasklet of `sched`, runnable, last in its queue; NULL: no memory. Home only. */
pn_tasklet *pn_tasklet_spawn(pn_sched *sched, const pirn_spawn_options *options, pirn_fn fn, void *arg,
                             const char *file, int line);

/* Home. `now`: on the caller's worker, in a tasklet: run it at once. */
void pn_tasklet_strike(pn_tasklet *tasklet, int code, bool sticky, bool run_now);

/* The turning points of a life, called by the scheduler. start: take a stack for a NEW one; false: no memory.
 * fail_start: end that one, with PIRN_ENOMEM; in no tasklet, since its ending runs right here. end: run its clean-ups,
 * on its own stack, tell its joiner and report an error nobody joined for. reap: give back the stack of an ended one,
 * from another stack, and the record of a detached one. */
bool pn_tasklet_start(pn_tasklet *tasklet);
void pn_tasklet_fail_start(pn_tasklet *tasklet);
void pn_tasklet_end(pn_tasklet *tasklet, int result);
void pn_tasklet_reap(pn_tasklet *tasklet);
void pn_tasklet_entry(void);
void pn_tasklet_slabs_free(pn_sched *sched);

/* Work for another home (core/remote.c): the calls below with the home somewhere else. */
pirn_tasklet pn_remote_spawn(unsigned home, const pirn_spawn_options *options, pirn_fn fn, void *arg,
                             const char *function, const char *file, int line);
int pn_remote_strike(pirn_tasklet handle, int code, bool sticky);
int pn_remote_release(pirn_tasklet handle);
int pn_remote_join(pirn_tasklet handle, int *result, pirn_time deadline);
/* An ended tasklet's answer to a join elsewhere. False: the joiner had given up. */
bool pn_remote_join_answer(struct pn_remote_join *join, int result);
/* Home: the right to join is given up. 0 or PIRN_EDEAD. */
int pn_tasklet_release(pn_sched *sched, pirn_tasklet handle);

/* Shields that hold to the very end of the runtime: around waits of pirn's own that another thread or tasklet surely
 * ends, and that must not end before, because what it works on stands on this stack. They nest, in a tasklet. */
#define PN_FIRM_SHIELD 256
void pn_firm_shield_enter(void);
void pn_firm_shield_leave(void);

/* Home: the runtime's end, as far as it concerns this tasklet. */
pn_stage pn_tasklet_stage(const pn_tasklet *tasklet);
/* Whether a strike has to wait. */
bool pn_tasklet_is_shielded(const pn_tasklet *tasklet);
/* In a tasklet, at the beginning of a wait or yield, where nothing is begun yet: end it here when the runtime's end has
 * come so far. Its clean-ups run. */
void pn_tasklet_end_if_forced(pn_tasklet *tasklet);
/* At the end of a public call that gives nothing, with nothing half done: when that is for the runtime's end, a tasklet
 * that asks again and again naps, and ends here when that has come so far. Elsewhere nothing. */
void pn_tasklet_was_refused(void);

/* Home: report the error of an ended tasklet that nobody will join for. Cancellation is no error, and main's result
 * goes to pirn_run's caller. */
void pn_tasklet_report_unhandled(pn_tasklet *tasklet);

/* Home: forget a joined or released record. */
void pn_tasklet_free(pn_tasklet *tasklet);

/* What the calling tasklet's present call is about, for the inspector: the caller's text; NULL: over. A no-op outside a
 * tasklet. */
void pn_set_doing(const char *text);

/* Who serves a channel or fires a deferred: a tasklet's id, 0 when that is not known, or this: one of several. */
#define PN_SOMEBODY UINT64_MAX

/* In a daemon: it begins or ends to work for somebody; between the two it is no daemon to reports. */
void pn_tasklet_set_at_work(bool at_work);

/* How lines and pages spell a tasklet: worker.slot, "0.2". `text` is returned. */
#define PN_LABEL_BYTES 24
const char *pn_handle_label(pirn_tasklet handle, char *text, size_t text_bytes);

/* Its name, or what it runs: the function's symbol where the linker knows one, else the word in the call that spawned
 * it, else "fn at file.c:12". Home, or on a copy. `text` is returned. */
const char *pn_tasklet_name(const pn_tasklet *tasklet, char *text, size_t text_bytes);

/* The word that pirn_spawn's caller wrote for the function, NULL when it is no plain name. Signal-safe. */
const char *pn_tasklet_function(const pn_tasklet *tasklet);

/* "0.44 \"chat\"": for lines. `text` is returned. */
const char *pn_tasklet_label(const pn_tasklet *tasklet, char *text, size_t text_bytes);

#endif
