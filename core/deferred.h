/* SPDX-License-Identifier: MIT
 *
 * What: the deferred's inside, for the bridge and reactor: records that complete by firing one.
 * Threads: fields belong to the home; other threads use only the public calls, and those below that say so.
 */
#ifndef PN_DEFERRED_H
#define PN_DEFERRED_H

#include <pirn/deferred.h>

#include "hooks.h"

/* As pirn_deferred_create, remembering who made it ("db.c:40") for the report of an unhandled failure. */
pirn_deferred *pn_deferred_create_from(int home, pirn_canceller canceller, void *context, const char *file, int line);

/* Mark it as waiting for something outside pirn's tasklets (a record, a job, the reactor): its awaiters are then not
 * part of a deadlock. Home, before it is given to anybody. */
void pn_deferred_set_external(pirn_deferred *deferred);
/* And have `arrived(context)` run when its result arrives, with the canceller's context: once, at home, before any
 * callback and also while it is paused. When a cancel came while the result was on its way: after that was destroyed.
 * Home, before it is given to anybody. */
void pn_deferred_set_source(pirn_deferred *deferred, void (*arrived)(void *context));
/* The tasklet that will fire it, for reports. Home, before it is given to anybody. */
void pn_deferred_set_producer(pirn_deferred *deferred, uint64_t tasklet_id);
bool pn_deferred_is_external(const pirn_deferred *deferred);

/* The worker it belongs to. Any thread. */
unsigned pn_deferred_home(const pirn_deferred *deferred);

/* The file of the line that made it, and the line; NULL: not known. Immutable. Any thread that knows it held. */
const char *pn_deferred_made_at(const pirn_deferred *deferred, int *line);

/* "deferred made at db.c:40", for reports. Any thread that knows it held. `text` is returned. */
const char *pn_deferred_describe(const pirn_deferred *deferred, char *text, size_t text_bytes);

#endif
