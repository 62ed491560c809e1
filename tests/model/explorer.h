/* SPDX-License-Identifier: MIT
 *
 * What: an explorer of thread interleavings. It runs a small program of two to four threads again and again, in every
 *       order of their atomic operations that a bound on preemptions allows, and with every value that C11 lets an
 *       atomic load see. The code under test is the product's own source: shim/stdatomic.h replaces <stdatomic.h> when
 *       that source is compiled for a model, and sends each operation here.
 *
 * The memory model. Each atomic object keeps the history of its stores. A load may see any store that is not older than
 *       what the thread has seen of that object, and not older than one that happens before the load. Release and
 *       acquire operations carry vector clocks; release sequences, acquire, release and full fences, and the single
 *       order of sequentially consistent operations are modelled. Such an operation orders its own object only: it is
 *       no full fence, though x86-64 makes one of it.
 * Not modelled: spurious failures of a weak compare-and-swap, out-of-thin-air values, and plain accesses of the code
 *       under test. A scenario marks the plain data that matters with model_plain_write and model_plain_read.
 * Threads: the test's own. The model's threads are contexts on it, so a run is deterministic.
 * Source: the idea is that of CDSChecker and of loom: enumerate schedules and reads-from choices depth first.
 */
#ifndef PIRN_TEST_MODEL_EXPLORER_H
#define PIRN_TEST_MODEL_EXPLORER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_THREADS_MAX 4

/* One scenario. `reset` gives all objects their first values; `check` looks at the last ones, after every thread has
 * returned, and calls model_fail when they are wrong. */
typedef struct model_program {
    unsigned threads;
    void (*thread[MODEL_THREADS_MAX])(void);
    void (*reset)(void);
    void (*check)(void); /* NULL: nothing to look at */
} model_program;

typedef struct model_result {
    const char *failure; /* NULL: no execution failed */
    uint64_t executions;
    bool complete; /* every execution within the bound was run */
} model_result;

/* Run `program` in all executions with at most `preemptions_max` preemptions, and stop at the first failure or after
 * `executions_max`. A failure is a model_fail, a data race of marked data, or a state in which no thread can run. */
model_result model_explore(const model_program *program, unsigned preemptions_max, uint64_t executions_max);

/* ---- inside a model's thread ---- */

void model_fail(const char *why);
/* Which of the model's threads runs. */
unsigned model_self(void);
/* One of `count` ways to go on, 0 to count - 1: each is tried. */
unsigned model_choose(unsigned count);
/* Mark an access to plain data that several threads use. */
void model_plain_write(const void *object);
void model_plain_read(const void *object);
/* Leave the processor until `can_go(arg)`, which reads plain memory, is true. */
void model_block(bool (*can_go)(const void *arg), const void *arg);

/* ---- for shim/stdatomic.h ---- */

typedef enum model_order {
    MODEL_RELAXED,
    MODEL_CONSUME,
    MODEL_ACQUIRE,
    MODEL_RELEASE,
    MODEL_ACQ_REL,
    MODEL_SEQ_CST
} model_order;
typedef enum model_change { MODEL_EXCHANGE, MODEL_ADD, MODEL_SUB, MODEL_OR, MODEL_AND } model_change;

uint64_t model_load(const void *object, size_t bytes, model_order order);
void model_store(void *object, size_t bytes, uint64_t value, model_order order);
uint64_t model_modify(void *object, size_t bytes, model_change change, uint64_t operand, model_order order);
bool model_compare_exchange(void *object, size_t bytes, void *expected, uint64_t value, model_order success,
                            model_order failure);
void model_fence(model_order order);

#endif
