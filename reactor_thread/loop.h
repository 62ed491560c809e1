/* SPDX-License-Identifier: MIT
 *
 * What: the libuv loop as a guest in a driver's set. Our set is outermost; libuv's descriptor stands in it, and libuv
 *       takes a turn without waiting whenever that descriptor is ready, a timer of its own is due, or it was touched
 *       from outside.
 * Threads: the reactor's thread only.
 * Invariants: (1) whoever calls libuv outside of uv_run, or watches a descriptor, calls pn_loop_touch() first; (2)
 *       every handle is closed, and freed in its close callback, before pn_loop_destroy() returns.
 */
#ifndef PN_LOOP_H
#define PN_LOOP_H

#include <uv.h>

#include "driver.h"

typedef struct pn_loop {
    uv_loop_t uv;
    pn_companion companion;
    bool touched; /* changed outside of uv_run: a turn without waiting is due                            */
} pn_loop;

/* 0, or a negative code. */
int pn_loop_create(pn_loop **loop);

/* Run what is left of closing handles and close the loop: all handles must be closing or closed. */
void pn_loop_destroy(pn_loop *loop);

/* Before libuv calls made outside of uv_run, and inside of it before a descriptor is watched: brings libuv's clock up
 * to date, so that timers count from now, and asks for a turn before the next sleep, because libuv hands new
 * descriptors to the kernel only at the beginning of its poll phase. */
void pn_loop_touch(pn_loop *loop);

/* Milliseconds for uv_timer_start so that a timer never fires before `deadline`. Call pn_loop_touch() first. */
uint64_t pn_loop_timeout_ms(pn_loop *loop, pirn_time deadline);

#endif
