/* SPDX-License-Identifier: MIT
 *
 * What: the little that core needs from below it: sleep and wake, post to another worker, and the lock, claim and ready
 *       of shared objects. The bridge fills it in with real threads; core's own tests with one thread and a clock that
 *       they turn by hand (alone.c).
 * Threads: `pn_below` has its value before the program starts: the bridge's hooks, NULL in a program without a bridge.
 *       Only core's own tests change it, before they start a second thread.
 * Invariants: (1) core contains no atomic operation and no lock: words that another thread may change are pn_word and
 *       pn_lock, opaque here and touched only through these functions. (2) A message posted to a home is delivered
 *       there once, between two tasklets, in the order of posting per sender.
 * Rejected: C11 atomics in core behind macros: then core could no longer be reasoned about, nor tested, as one thread.
 */
#ifndef PN_HOOKS_H
#define PN_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"

typedef struct pn_sched pn_sched;
typedef struct pn_message pn_message;

/* One intrusive message to a worker or the reactor. In one inbox at a time; `deliver` runs on the receiving thread and
 * may reuse or free the message at once. */
struct pn_message {
    pn_message *next;
    void (*deliver)(pn_message *message);
};

/* A word that several threads change: read and written only through the hooks below. */
typedef struct pn_word {
    _Alignas(8) uint32_t opaque;
} pn_word;

/* Room for the bridge's lock (a pthread_mutex_t fits: checked there). */
typedef struct pn_lock {
    _Alignas(8) unsigned char opaque[48];
} pn_lock;

typedef struct pn_hooks {
    /* Owner thread: deliver what is in the inbox and take I/O events, without sleeping. */
    void (*poll)(pn_sched *sched);
    /* Owner thread: the same, but sleep first until something comes or `deadline`. May return early (spurious). */
    void (*idle)(pn_sched *sched, pirn_time deadline);
    /* Any thread: push `message` to worker `home`'s inbox; wake it when it sleeps. Never fails. */
    void (*post)(unsigned home, pn_message *message);
    /* Any thread. The words of shared objects. */
    uint32_t (*load)(const pn_word *word);                           /* acquire                       */
    void (*store)(pn_word *word, uint32_t value);                    /* release                       */
    bool (*claim)(pn_word *word, uint32_t expected, uint32_t value); /* compare and swap, acq_rel     */
    uint32_t (*add)(pn_word *word, uint32_t delta);                  /* returns the new value, acq_rel */
    void (*lock_init)(pn_lock *lock);
    void (*lock_fini)(pn_lock *lock);
    void (*lock)(pn_lock *lock);
    void (*unlock)(pn_lock *lock);
    /* Any thread. Monotonic nanoseconds. */
    pirn_time (*now)(void);
    /* Any thread. What this thread is, for "wrong thread" lines: "the reactor thread", "an offload thread", "a foreign
     * thread", "a callback". Only called when pn_sched_self() has no current tasklet. */
    const char *(*thread_role)(void);
    unsigned (*worker_count)(void);
    /* A thread without a scheduler: begin a call that posts to a worker of runtime `run` (0: of whichever runs), and
     * end it; they nest. Returns the runtime's number; 0: that one is ending or gone, and the call must not post.
     * Between the two it does not end. */
    uint32_t (*enter)(uint32_t run);
    void (*leave)(void);
    /* A thread without a scheduler, between enter and leave: count a message that it allocates for a worker. False: too
     * many are under way, and the call must not post (never for pirn's own threads). */
    bool (*reserve)(void);
    /* Any thread: such a message was delivered, or not sent after all. */
    void (*unreserve)(void);
} pn_hooks;

extern const pn_hooks *pn_below;

/* The hooks of one thread without a bridge. The clock is the real one, or virtual: then idle() jumps to the
 * deadline. */
extern const pn_hooks pn_hooks_alone;
void pn_alone_use_virtual_clock(bool on);
void pn_alone_advance(int64_t nanoseconds);

#endif
