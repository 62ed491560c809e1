/* SPDX-License-Identifier: MIT
 *
 * What: the pool: a channel of connections. Acquire is a receive, with the caller's deadline, so waiters are served
 *       first in first out; release is a send into its buffer. Each connection has a pool of one thread: it never
 *       changes threads.
 * Threads: any tasklet may query; the token comes back from the connection's own thread when the job has really ended,
 *       which after a cancel or a deadline is later than the tasklet that asked for it left.
 * The gate: each job is inside while it runs on its connection's thread; a job that wants to be alone closes the gate
 *       and waits for the others for a bounded time. One at a time does, so two never wait for each other.
 * Invariants: (1) each slot's token is in the channel or with exactly one holder, so the buffer always has room for a
 *       release; (2) who has the token has the connection to himself.
 * Lifetime: open -> closing (new and waiting queries give PIRN_ECLOSED) -> closed: all tokens have come back, so no job
 *       is left that could touch the pool.
 * Rejected: closing the channel to refuse queries: jobs that end afterwards could not give their tokens back, and
 *       nobody could wait for them.
 */
#include "sql_internal.h"

#include <stdio.h>
#include <string.h>

#include <pirn/channel.h>
#include <pirn/tasklet.h>

#include "alloc.h"
#include "base.h"
#include "channel.h"
#include "wait.h"

#define CONNECTIONS_DEFAULT 4u
#define STATEMENTS_DEFAULT  64u
#define ROWS_DEFAULT        100000u
#define BUSY_DEFAULT        (5 * PIRN_SECOND)
#define LOG_PAGES_DEFAULT   4000u /* 16 MB of the usual pages */
#define JOBS_WAITING_MAX    4u    /* of one connection: only its token's holder sends any, one at a time */

struct pirn_sql_pool {
    /* immutable after open */
    char *path, *init_sql;
    pirn_sql_options options;
    pirn_channel *tokens; /* of pn_sql_slot * */
    unsigned slot_count;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t gate_changed;
    bool closing, gate_closed;
    unsigned inside; /* jobs in the gate */
    pn_sql_slot slots[];
};

void pirn_sql_options_init(pirn_sql_options *options) {
    memset(options, 0, sizeof *options);
}

/* ---- tokens ---- */

static bool is_closing(pirn_sql_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    bool closing = pool->closing;
    pthread_mutex_unlock(&pool->lock);
    return closing;
}

void pn_sql_release(pn_sql_slot *slot) {
    pn_sqlite_rearm(&slot->connection);
    /* The engine itself and not pirn_send: a job ends on a thread that has no scheduler. Shielded, as it may also end
     * in the tasklet that was cancelled. */
    pirn_case send = {.channel = slot->pool->tokens, .direction = PIRN_SEND, .elem = &slot};
    pirn_shield_enter();
    int status = pn_channel_operate(&send, 1, PIRN_NOW, "pirn_sql_query");
    pirn_shield_leave();
    PN_ASSERT(status == 0 && send.status == 0);
}

/* A token nobody will receive: its tasklet was cancelled between the hand-over and its turn. */
static void return_token(void *elem) {
    pn_sql_release(*(pn_sql_slot **)elem);
}

int pn_sql_acquire(pirn_sql_pool *pool, pn_sql_slot **slot, pirn_time deadline) {
    if (is_closing(pool)) {
        return PIRN_ECLOSED;
    }
    int status = pirn_recv(pool->tokens, slot, deadline);
    if (!status && is_closing(pool)) {
        pn_sql_release(*slot);
        return PIRN_ECLOSED;
    }
    return status;
}

size_t pirn_sql_idle_count(const pirn_sql_pool *pool) {
    return pirn_channel_length(pool->tokens);
}

size_t pirn_sql_waiting(const pirn_sql_pool *pool) {
    int balance = pirn_channel_balance(pool->tokens);
    return balance < 0 ? (size_t)-balance : 0;
}

/* ---- the gate ---- */

void pn_sql_gate_enter(pirn_sql_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (pool->gate_closed) {
        pthread_cond_wait(&pool->gate_changed, &pool->lock);
    }
    pool->inside++;
    pthread_mutex_unlock(&pool->lock);
}

void pn_sql_gate_leave(pirn_sql_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->inside--;
    if (pool->gate_closed) {
        pthread_cond_broadcast(&pool->gate_changed);
    }
    pthread_mutex_unlock(&pool->lock);
}

bool pn_sql_gate_close(pirn_sql_pool *pool, pirn_time until) {
    struct timespec when = pn_sql_timespec(until);
    pthread_mutex_lock(&pool->lock);
    bool closed = !pool->gate_closed; /* else another job waits, and for this one, too */
    if (closed) {
        pool->gate_closed = true;
        while (pool->inside > 1 && pthread_cond_timedwait(&pool->gate_changed, &pool->lock, &when) == 0) {
        }
        closed = pool->gate_closed = pool->inside == 1;
        if (!closed) {
            pthread_cond_broadcast(&pool->gate_changed);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return closed;
}

void pn_sql_gate_open(pirn_sql_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->gate_closed = false;
    pthread_cond_broadcast(&pool->gate_changed);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- open ---- */

/* 0 and the options with their defaults filled in, or PIRN_EINVAL and why. */
static int check(const char *path, pirn_sql_options *options, char *error, size_t error_bytes) {
    options->connections = options->connections ? options->connections : CONNECTIONS_DEFAULT;
    options->statements_max = options->statements_max ? options->statements_max : STATEMENTS_DEFAULT;
    options->rows_max = options->rows_max ? options->rows_max : ROWS_DEFAULT;
    options->busy_ns = options->busy_ns ? options->busy_ns : BUSY_DEFAULT;
    options->log_pages_max = options->log_pages_max ? options->log_pages_max : LOG_PAGES_DEFAULT;
    const char *why = NULL;
    if (options->connections > PN_SQL_CONNECTIONS_MAX) {
        why = "connections: 1 to 64";
    } else if (options->busy_ns < 0) {
        why = "busy_ns is negative";
    } else if (options->log_pages_max > INT32_MAX) {
        why = "log_pages_max: 1 to 2,147,483,647";
    } else if (options->init_sql && strlen(options->init_sql) > PN_SQL_TEXT_BYTES_MAX) {
        why = "init_sql is longer than 1,000,000 bytes";
    } else if (options->connections > 1 && (!*path || strcmp(path, ":memory:") == 0)) {
        why = "a database in memory belongs to one connection: set connections to 1";
    }
    if (why && error) {
        snprintf(error, error_bytes, "%s", why);
    }
    return why ? PIRN_EINVAL : 0;
}

static void free_pool(pirn_sql_pool *pool) {
    pirn_channel_destroy(pool->tokens);
    pn_free(pool->init_sql);
    pn_free(pool->path);
    pn_free(pool);
}

static pirn_sql_pool *create(const char *path, const pirn_sql_options *options) {
    pirn_sql_pool *pool = pn_calloc(1, sizeof *pool + options->connections * sizeof pool->slots[0]);
    if (!pool) {
        return NULL;
    }
    pirn_channel_options channel;
    pirn_channel_options_init(&channel);
    channel.name = "sql connections";
    channel.drop = return_token;
    channel.preference = PIRN_PREFER_NEITHER;
    channel.flags = PIRN_CHANNEL_EXTERNAL; /* what wakes its receivers is a database that answers */
    pool->path = pn_strdup(path);
    pool->tokens = pirn_channel_create_with(sizeof(pn_sql_slot *), options->connections, &channel);
    pool->init_sql = options->init_sql ? pn_strdup(options->init_sql) : NULL;
    if (!pool->path || !pool->tokens || (options->init_sql && !pool->init_sql)) {
        free_pool(pool);
        return NULL;
    }
    pool->options = *options;
    pool->options.init_sql = pool->init_sql;
    pn_sql_init_wait(&pool->lock, &pool->gate_changed);
    return pool;
}

/* The next connection, not yet open, and its thread. 0 or PIRN_ENOMEM. */
static int add_slot(pirn_sql_pool *pool) {
    char name[16];
    pn_sql_slot *slot = &pool->slots[pool->slot_count];
    slot->pool = pool;
    if (pn_sqlite_init(&slot->connection, pool->path, &pool->options)) {
        return PIRN_ENOMEM;
    }
    snprintf(name, sizeof name, "sql-%u", pool->slot_count);
    slot->threads = pirn_pool_create(name, 1, JOBS_WAITING_MAX);
    if (!slot->threads) {
        pn_sqlite_fini(&slot->connection);
        return PIRN_ENOMEM;
    }
    pool->slot_count++;
    pn_sql_release(slot);
    return 0;
}

int pirn_sql_open(const char *path, const pirn_sql_options *options, pirn_sql_pool **pool_out, char *error,
                  size_t error_bytes) {
    pirn_sql_options filled = {0};
    if (options) {
        filled = *options;
    }
    if (error && error_bytes) {
        *error = '\0';
    }
    if (!path || !pool_out) {
        return PIRN_EINVAL;
    }
    pn_sql_forget_words();
    int status = pn_may_wait("pirn_sql_open", PIRN_FOREVER);
    status = status ? status : check(path, &filled, error, error_bytes);
    if (status) {
        return status;
    }
    pirn_sql_pool *pool = create(path, &filled);
    if (!pool) {
        return PIRN_ENOMEM;
    }
    while (!status && pool->slot_count < filled.connections) {
        status = add_slot(pool);
        if (status && error) {
            snprintf(error, error_bytes, "no memory or no thread for connection %u of %u (see ulimit -u and pids.max)",
                     pool->slot_count + 1, filled.connections);
        }
    }
    /* Nobody else has the pool yet, so its queue gives the connections in turn. */
    for (unsigned i = 0; !status && i < filled.connections; i++) {
        status = pn_sql_open_one(pool, error, error_bytes);
    }
    if (status) {
        pirn_sql_close(pool);
        return status;
    }
    *pool_out = pool;
    return 0;
}

/* ---- close ---- */

static int close_work(void *connection, pirn_result *out) {
    (void)out;
    pn_sqlite_close(connection);
    return 0;
}

/* On its own thread; here when that thread takes no jobs any more because the runtime is at its end. */
static void close_slot(pn_sql_slot *slot) {
    pirn_work work = {
        .pool = slot->threads, .work = close_work, .arg = &slot->connection, .name = "close SQL connection"};
    pirn_deferred *closed = pirn_offload_with(&work);
    pirn_result result = {0};
    if (closed) {
        (void)pirn_await_take(closed, &result, PIRN_FOREVER);
        pirn_result_drop(&result);
    }
    pn_sqlite_close(&slot->connection);
    pirn_pool_close(slot->threads);
    pn_sqlite_fini(&slot->connection);
}

void pirn_sql_close(pirn_sql_pool *pool) {
    if (!pool || pn_require_tasklet("pirn_sql_close") != 0) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    PN_ASSERT(!pool->closing);
    pool->closing = true;
    pthread_mutex_unlock(&pool->lock);
    pn_firm_shield_enter();
    for (unsigned i = 0; i < pool->slot_count; i++) {
        pn_sqlite_interrupt(&pool->slots[i].connection);
    }
    /* Those who wait stand before us, find the pool closing and pass their token on. */
    for (unsigned i = 0; i < pool->slot_count; i++) {
        pn_sql_slot *slot;
        int status = pirn_recv(pool->tokens, &slot, PIRN_FOREVER);
        PN_ASSERT(status == 0);
    }
    for (unsigned i = 0; i < pool->slot_count; i++) {
        close_slot(&pool->slots[i]);
    }
    pn_firm_shield_leave();
    pthread_cond_destroy(&pool->gate_changed);
    pthread_mutex_destroy(&pool->lock);
    free_pool(pool);
}
