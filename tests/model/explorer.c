/* SPDX-License-Identifier: MIT
 *
 * What: the explorer (explorer.h has the memory model).
 * How: an execution is a list of choices: which thread runs next, and which store a load sees. `choices` holds those of
 *       the execution under way. The next execution repeats all but the last choice that has an untried alternative.
 *       So the whole tree is walked depth first, and nothing is kept of an execution but its choices.
 * Bounds: named below; a scenario that exceeds one fails with the bound's name.
 */
#include "explorer.h"

#include <stdlib.h>
#include <string.h>

#include "context.h"

#define THREADS     MODEL_THREADS_MAX
#define LOCATIONS   32
#define STORES      64
#define PLAIN       16
#define CHOICES     4096
#define STEPS_MAX   2000 /* of one execution: more is a loop that does not end */
#define STALE_MAX   2    /* looks of one thread at one object, one after the other, that see an old value */
#define STACK_BYTES ((size_t)64 * 1024)

typedef struct clock {
    uint32_t at[THREADS];
} clock;

/* One store of an atomic object. */
typedef struct store {
    uint64_t value;
    unsigned thread;
    uint32_t time;  /* of `thread` when it stored; 0: the first value */
    clock released; /* what a load that acquires it learns */
} store;

typedef struct location {
    const void *object;
    size_t bytes;
    unsigned count;
    store history[STORES];
    unsigned fenced; /* the newest store that a full fence, or itself, has published to all */
} location;

typedef struct plain {
    const void *object;
    unsigned writer;
    uint32_t written, read[THREADS];
} plain;

typedef struct model_thread {
    pn_context context;
    char *stack;
    bool alive;
    bool (*can_go)(const void *arg); /* blocked until then; NULL: runnable */
    const void *arg;
    clock now;
    clock pending;  /* of relaxed loads, until an acquire fence */
    clock released; /* as of the last release fence */
    unsigned seen[LOCATIONS];
    unsigned stale[LOCATIONS]; /* looks in a row that did not see the newest value */
} model_thread;

typedef struct choice {
    unsigned taken, count;
} choice;

static struct {
    model_thread threads[THREADS];
    unsigned current;
    bool inside; /* a thread of the model runs, not `reset` or `check` */
    pn_context outside;
    location locations[LOCATIONS];
    unsigned location_count;
    plain plain[PLAIN];
    unsigned plain_count;
    choice choices[CHOICES];
    unsigned depth, length;
    unsigned steps, preemptions;
    const char *failure;
    const model_program *program;
} model;

void model_fail(const char *why) {
    if (!model.failure) {
        model.failure = why;
    }
}

unsigned model_self(void) {
    return model.current;
}

unsigned model_choose(unsigned count) {
    if (count == 1) {
        return 0;
    }
    if (model.depth == model.length) {
        if (model.length == CHOICES) {
            model_fail("more choices than CHOICES");
            return 0;
        }
        model.choices[model.length++] = (choice){.count = count};
    }
    return model.choices[model.depth++].taken;
}

/* ---- clocks ---- */

static void join(clock *into, const clock *other) {
    for (unsigned i = 0; i < THREADS; i++) {
        into->at[i] = other->at[i] > into->at[i] ? other->at[i] : into->at[i];
    }
}

static model_thread *me(void) {
    return &model.threads[model.current];
}

static bool acquires(model_order order) {
    return order == MODEL_ACQUIRE || order == MODEL_CONSUME || order == MODEL_ACQ_REL || order == MODEL_SEQ_CST;
}

static bool releases(model_order order) {
    return order == MODEL_RELEASE || order == MODEL_ACQ_REL || order == MODEL_SEQ_CST;
}

/* Let the scheduler choose who does the next operation, then begin ours. */
static void step(void) {
    pn_context_switch(&me()->context, &model.outside);
    me()->now.at[model.current]++;
}

/* ---- atomic objects ---- */

/* `reset` and `check` are alone: their operations are on plain memory, whose values are the newest. */
static void memory_write(const void *object, size_t bytes, uint64_t value) {
    memcpy((void *)(uintptr_t)object, &value, bytes); /* little endian */
}

static uint64_t memory_read(const void *object, size_t bytes) {
    uint64_t value = 0;
    memcpy(&value, object, bytes);
    return value;
}

static location *find(const void *object, size_t bytes) {
    for (unsigned i = 0; i < model.location_count; i++) {
        if (model.locations[i].object == object) {
            return &model.locations[i];
        }
    }
    if (model.location_count == LOCATIONS) {
        model_fail("more atomic objects than LOCATIONS");
        return &model.locations[0];
    }
    location *made = &model.locations[model.location_count++];
    *made = (location){.object = object, .bytes = bytes, .count = 1};
    made->history[0].value = memory_read(object, bytes);
    return made;
}

static unsigned index_of(const location *at) {
    return (unsigned)(at - model.locations);
}

/* The oldest store of `at` that the current thread may still see. A store becomes visible some time: a loop that waits
 * for it ends. */
static unsigned oldest_visible(const location *at) {
    const model_thread *thread = me();
    if (thread->stale[index_of(at)] == STALE_MAX) {
        return at->count - 1;
    }
    unsigned oldest = thread->seen[index_of(at)];
    for (unsigned i = at->count - 1; i > oldest; i--) {
        if (thread->now.at[at->history[i].thread] >= at->history[i].time) {
            return i;
        }
    }
    return oldest;
}

static void see(location *at, unsigned index, model_order order) {
    model_thread *thread = me();
    thread->seen[index_of(at)] = index;
    thread->stale[index_of(at)] = index == at->count - 1 ? 0 : thread->stale[index_of(at)] + 1;
    join(acquires(order) ? &thread->now : &thread->pending, &at->history[index].released);
}

/* `continued`: the release sequence that a read-modify-write goes on with; NULL for a plain store. */
static void add_store(location *at, uint64_t value, model_order order, const clock *continued) {
    model_thread *thread = me();
    if (at->count == STORES) {
        model_fail("more stores to one object than STORES");
        return;
    }
    store *made = &at->history[at->count];
    *made = (store){.value = value, .thread = model.current, .time = thread->now.at[model.current]};
    made->released = releases(order) ? thread->now : thread->released;
    if (continued) {
        join(&made->released, continued);
    }
    thread->seen[index_of(at)] = at->count++;
    memory_write(at->object, at->bytes, value);
}

static unsigned newer(unsigned a, unsigned b) {
    return a > b ? a : b;
}

/* What a full fence exchanges: which stores are visible to those whose fence came before, and to us. */
static void exchange_views(void) {
    for (unsigned i = 0; i < model.location_count; i++) {
        location *at = &model.locations[i];
        at->fenced = newer(at->fenced, oldest_visible(at));
        me()->seen[i] = newer(me()->seen[i], at->fenced);
    }
}

/* A sequentially consistent load sees what such stores, and full fences, have published of its object. */
static void see_published(location *at, model_order order) {
    if (order == MODEL_SEQ_CST) {
        me()->seen[index_of(at)] = newer(me()->seen[index_of(at)], at->fenced);
    }
}

/* A sequentially consistent store publishes itself, and nothing else. */
static void publish(location *at, model_order order) {
    if (order == MODEL_SEQ_CST) {
        at->fenced = at->count - 1;
    }
}

void model_fence(model_order order) {
    if (!model.inside) {
        return;
    }
    step();
    model_thread *thread = me();
    if (acquires(order)) {
        join(&thread->now, &thread->pending);
    }
    if (order == MODEL_SEQ_CST) {
        exchange_views();
    }
    if (releases(order)) {
        thread->released = thread->now;
    }
}

uint64_t model_load(const void *object, size_t bytes, model_order order) {
    if (!model.inside) {
        return memory_read(object, bytes);
    }
    step();
    location *at = find(object, bytes);
    see_published(at, order);
    unsigned oldest = oldest_visible(at);
    unsigned index = at->count - 1 - model_choose(at->count - oldest);
    see(at, index, order);
    return at->history[index].value;
}

void model_store(void *object, size_t bytes, uint64_t value, model_order order) {
    if (!model.inside) {
        memory_write(object, bytes, value);
        return;
    }
    step();
    location *at = find(object, bytes);
    add_store(at, value, order, NULL);
    publish(at, order);
}

/* The newest store, which a read-modify-write sees. */
static const store *see_newest(location *at, model_order order) {
    see(at, at->count - 1, order);
    return &at->history[at->count - 1];
}

static uint64_t changed(model_change change, uint64_t old, uint64_t operand) {
    switch (change) {
    case MODEL_EXCHANGE:
        return operand;
    case MODEL_ADD:
        return old + operand;
    case MODEL_SUB:
        return old - operand;
    case MODEL_OR:
        return old | operand;
    case MODEL_AND:
        return old & operand;
    }
    abort();
}

static uint64_t truncated(uint64_t value, size_t bytes) {
    return bytes == sizeof value ? value : value & (((uint64_t)1 << (bytes * 8)) - 1);
}

uint64_t model_modify(void *object, size_t bytes, model_change change, uint64_t operand, model_order order) {
    if (!model.inside) {
        uint64_t before = memory_read(object, bytes);
        memory_write(object, bytes, truncated(changed(change, before, operand), bytes));
        return before;
    }
    step();
    location *at = find(object, bytes);
    const store old = *see_newest(at, order);
    add_store(at, truncated(changed(change, old.value, operand), bytes), order, &old.released);
    publish(at, order);
    return old.value;
}

/* A failed one is a load: it may see any visible store that differs. */
bool model_compare_exchange(void *object, size_t bytes, void *expected, uint64_t value, model_order success,
                            model_order failure) {
    if (!model.inside) {
        uint64_t found = memory_read(object, bytes);
        bool same = found == memory_read(expected, bytes);
        memory_write(same ? object : expected, bytes, same ? value : found);
        return same;
    }
    step();
    location *at = find(object, bytes);
    uint64_t wanted = memory_read(expected, bytes);
    see_published(at, failure);
    unsigned visible[STORES], count = 0;
    for (unsigned i = at->count; i-- > oldest_visible(at);) {
        if (i == at->count - 1 || at->history[i].value != wanted) {
            visible[count++] = i;
        }
    }
    unsigned index = visible[model_choose(count)];
    if (at->history[index].value != wanted) {
        see(at, index, failure);
        memcpy(expected, &at->history[index].value, bytes);
        return false;
    }
    const store old = *see_newest(at, success);
    add_store(at, truncated(value, bytes), success, &old.released);
    publish(at, success);
    return true;
}

/* ---- plain data ---- */

static plain *find_plain(const void *object) {
    for (unsigned i = 0; i < model.plain_count; i++) {
        if (model.plain[i].object == object) {
            return &model.plain[i];
        }
    }
    if (model.plain_count == PLAIN) {
        model_fail("more plain objects than PLAIN");
        return &model.plain[0];
    }
    model.plain[model.plain_count] = (plain){.object = object};
    return &model.plain[model.plain_count++];
}

void model_plain_write(const void *object) {
    step();
    plain *at = find_plain(object);
    const clock *now = &me()->now;
    bool raced = now->at[at->writer] < at->written;
    for (unsigned i = 0; i < THREADS; i++) {
        raced = raced || now->at[i] < at->read[i];
    }
    if (raced) {
        model_fail("data race: a write is not ordered with another access");
    }
    at->writer = model.current;
    at->written = now->at[model.current];
}

void model_plain_read(const void *object) {
    step();
    plain *at = find_plain(object);
    if (me()->now.at[at->writer] < at->written) {
        model_fail("data race: a read is not ordered with a write");
    }
    at->read[model.current] = me()->now.at[model.current];
}

/* ---- running ---- */

void model_block(bool (*can_go)(const void *arg), const void *arg) {
    me()->can_go = can_go;
    me()->arg = arg;
    pn_context_switch(&me()->context, &model.outside);
}

static void run_thread(void) {
    pn_context_entered(&me()->context);
    model.program->thread[model.current]();
    me()->alive = false;
    pn_context_leave(&me()->context, &model.outside);
}

static void start(unsigned number) {
    model_thread *thread = &model.threads[number];
    char *stack = thread->stack;
    memset(thread, 0, sizeof *thread);
    thread->stack = stack;
    thread->alive = true;
    thread->now.at[number] = 1;
    pn_context_make(&thread->context, stack, STACK_BYTES, 0, run_thread);
}

static bool can_run(unsigned number) {
    const model_thread *thread = &model.threads[number];
    return thread->alive && (!thread->can_go || thread->can_go(thread->arg));
}

/* Who runs next: `previous`, or another one at the price of a preemption. THREADS: nobody can. */
static unsigned pick(unsigned previous) {
    unsigned able[THREADS], count = 0;
    bool goes_on = previous < THREADS && can_run(previous);
    if (goes_on) {
        able[count++] = previous;
    }
    for (unsigned i = 0; i < model.program->threads; i++) {
        if (i != previous && can_run(i) && !(goes_on && model.preemptions == 0)) {
            able[count++] = i;
        }
    }
    if (count == 0) {
        return THREADS;
    }
    unsigned chosen = able[model_choose(count)];
    model.preemptions -= goes_on && chosen != previous;
    return chosen;
}

static bool any_alive(void) {
    for (unsigned i = 0; i < model.program->threads; i++) {
        if (model.threads[i].alive) {
            return true;
        }
    }
    return false;
}

static void execute(unsigned preemptions_max) {
    model.failure = NULL;
    model.depth = model.steps = 0;
    model.preemptions = preemptions_max;
    model.location_count = model.plain_count = 0;
    model.program->reset();
    for (unsigned i = 0; i < model.program->threads; i++) {
        start(i);
    }
    unsigned previous = THREADS;
    while (!model.failure && any_alive()) {
        unsigned next = pick(previous);
        if (next == THREADS) {
            model_fail("no thread can run: a wake-up was lost");
        } else if (++model.steps > STEPS_MAX) {
            model_fail("an execution does not end");
        } else {
            model.current = previous = next;
            model.threads[next].can_go = NULL;
            model.inside = true;
            pn_context_switch(&model.outside, &model.threads[next].context);
            model.inside = false;
        }
    }
    for (unsigned i = 0; i < model.program->threads; i++) {
        pn_context_unmake(&model.threads[i].context);
    }
    if (!model.failure && model.program->check) {
        model.program->check();
    }
}

/* Go to the next untried alternative. False: there is none. */
static bool advance(void) {
    while (model.length > 0) {
        choice *last = &model.choices[model.length - 1];
        if (last->taken + 1 < last->count) {
            last->taken++;
            return true;
        }
        model.length--;
    }
    return false;
}

model_result model_explore(const model_program *program, unsigned preemptions_max, uint64_t executions_max) {
    model_result result = {0};
    model.program = program;
    model.length = 0;
    for (unsigned i = 0; i < program->threads; i++) {
        model.threads[i].stack = aligned_alloc(64, STACK_BYTES);
    }
    pn_context_init_thread(&model.outside);
    do {
        execute(preemptions_max);
        result.executions++;
        result.failure = model.failure;
    } while (!result.failure && result.executions < executions_max && !(result.complete = !advance()));
    pn_context_fini_thread(&model.outside);
    for (unsigned i = 0; i < program->threads; i++) {
        free(model.threads[i].stack);
    }
    return result;
}
