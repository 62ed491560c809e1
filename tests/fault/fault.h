/* SPDX-License-Identifier: MIT
 *
 * What: failing on purpose. These programs are linked so that what the library (and the test) asks of libc goes through
 *       fault.c first: memory, and the system calls that fail when descriptors, threads or address space run out. The
 *       objects of the library are those of every other test: nothing in them knows of this.
 * Threads: any; arm and disarm: one at a time.
 * Invariants: 1. Between arm and disarm the calls of the chosen kinds are numbered from 1 and those numbered first to
 *             first + count - 1 fail. 2. fault_balance() is what was had minus what was freed, always counted.
 * Rejected: failing by chance: the n-th call of a scenario can be run again. What libuv, libcurl and SQLite allocate is
 *           theirs: it does not come by here.
 */
#ifndef PIRN_FAULT_H
#define PIRN_FAULT_H

#include <pthread.h>

enum fault_kinds { FAULT_MEMORY = 1, FAULT_SYSTEM = 2 };

void fault_arm(unsigned kinds, long first, long count);
/* How many calls of the kinds there were, and how many of them failed. Stays so until the next arm. */
void fault_disarm(long *asked, long *failed);

/* Blocks the library holds, and some that the test holds. */
long fault_balance(void);

/* A thread of the test's own, which never fails to start. */
pthread_t fault_thread(void *(*run)(void *arg), void *arg);

#endif
