/* SPDX-License-Identifier: MIT
 *
 * What: how the watchdog's thread sleeps: until a time between two looks, or deeply, until somebody whom it watches is
 *       awake again. watchdog_sleep.c has the protocol of the deep sleep.
 * Threads: notice: any watched thread; sleep and sleep deeply: the watchdog's; start and stop: the runtime's.
 */
#ifndef PN_WATCHDOG_SLEEP_H
#define PN_WATCHDOG_SLEEP_H

#include <stdbool.h>

#include <pirn/base.h>

/* Before the watchdog's thread starts: it is not to stop. */
void pn_watchdog_sleep_start(void);

/* Let the watchdog's thread come back from its sleep and from each further one. */
void pn_watchdog_sleep_stop(void);

/* Watchdog: sleep until `when`. Returns false when it is to stop. */
bool pn_watchdog_sleep_until(pirn_time when);

/* Watchdog: when `all_away` says that nobody is awake, sleep until somebody is. Returns false when it is to stop. */
bool pn_watchdog_sleep_deeply(bool (*all_away)(void));

/* A worker came back from its sleep: one fence and one load, and a wake when the watchdog itself is asleep. */
void pn_watchdog_notice(void);

#endif
