/* SPDX-License-Identifier: MIT
 *
 * What: one query or transaction as a job: wait for a connection, run on its thread, come back with rows or the
 *       database's words.
 * Threads: asked for by a tasklet, run on the connection's thread, destroyed where it ends.
 * States: made -> (token received) -> handed over -> runs -> destroyed, which gives the token back. Who asked may leave
 *       at any of them: a job owns copies of its text and parameters and nothing of the tasklet's stack.
 * Invariants: (1) the token goes back only in destroy(), when nothing runs on that connection any more; (2) after a job
 *       the connection is in no transaction.
 */
#include "sql_internal.h"

#include <string.h>

#include <pirn/tasklet.h>

#include "alloc.h"
#include "failure.h"
#include "sched.h"

/* A commit waits for other jobs at most busy_ns / 4, and at most so long, to empty the log. */
#define LOG_WAIT_PART_OF_BUSY 4
#define LOG_WAIT_MAX          (5 * PIRN_SECOND / 4)

typedef struct job {
    pn_sql_slot *slot; /* NULL: no token yet */
    int (*run)(struct job *job, pirn_result *out);
    /* a query */
    const char *sql;
    size_t parameter_count;
    pirn_sql_value *parameters;
    bool wants_rows;
    /* a transaction */
    pirn_sql_body body;
    void *arg;
    pirn_drop_fn drop;
} job;

/* ---- on the connection's thread ---- */

static int fail(pirn_sql_connection *connection, pirn_result *out, int status) {
    if (status == PIRN_EDB || status == PIRN_ELIMIT) {
        return pirn_result_fail(out, status, "%s", connection->words);
    }
    return status;
}

/* The job's commit has made the log long: empty it at a moment when no other job uses it. */
static void bound_log(pn_sql_slot *slot) {
    pirn_sql_connection *connection = &slot->connection;
    if (!pn_sqlite_log_is_long(connection)) {
        return;
    }
    pirn_time wait = connection->options.busy_ns / LOG_WAIT_PART_OF_BUSY;
    pirn_time until = pirn_after(wait < LOG_WAIT_MAX ? wait : LOG_WAIT_MAX);
    if (pn_sql_gate_close(slot->pool, until)) {
        pn_sqlite_empty_log(connection, until);
        pn_sql_gate_open(slot->pool);
    } else {
        pn_sqlite_keep_log(connection);
    }
}

/* pirn_work_fn: every job starts with an open connection and leaves it outside a transaction. */
static int work(void *arg, pirn_result *out) {
    job *self = arg;
    pirn_sql_connection *connection = &self->slot->connection;
    pn_sql_gate_enter(self->slot->pool);
    int status = pn_sqlite_open(connection);
    if (!status) {
        status = self->run(self, out);
    }
    pn_sqlite_rollback(connection);
    bound_log(self->slot);
    pn_sql_gate_leave(self->slot->pool);
    return fail(connection, out, status);
}

static int run_nothing(job *self, pirn_result *out) {
    (void)self;
    (void)out;
    return 0;
}

static int run_query(job *self, pirn_result *out) {
    pirn_sql_connection *connection = &self->slot->connection;
    pirn_sql_rows *rows = NULL;
    int status =
        pn_sqlite_step(connection, self->sql, self->parameters, self->parameter_count, self->wants_rows ? &rows : NULL);
    if (!status && pn_sqlite_in_transaction(connection)) {
        status = pn_sqlite_refuse(connection, "a query cannot begin a transaction: use pirn_sql_transaction");
    }
    if (status) {
        pirn_sql_rows_drop(rows);
        return status;
    }
    out->value = rows;
    out->drop = pn_sql_rows_drop_value;
    return 0;
}

static int run_transaction(job *self, pirn_result *out) {
    (void)out;
    pirn_sql_connection *connection = &self->slot->connection;
    int status = pn_sqlite_begin(connection);
    if (status) {
        return status;
    }
    status = self->body(connection, self->arg);
    return pn_sqlite_end(connection, status <= 0 ? status : PIRN_EFAILED);
}

int pirn_sql_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters, size_t count,
                  pirn_sql_rows **rows) {
    if (rows) {
        *rows = NULL;
    }
    return connection && sql ? pn_sqlite_body_step(connection, sql, parameters, count, rows) : PIRN_EINVAL;
}

/* ---- the job's life ---- */

/* pirn_drop_fn; any thread. */
static void destroy(void *arg) {
    job *self = arg;
    pn_sql_slot *slot = self->slot;
    pn_value_drop(self->drop, self->arg);
    pn_free(self);
    if (slot) {
        pn_sql_release(slot);
    }
}

/* Another thread, while work() certainly runs. */
static void interrupt(void *arg) {
    job *self = arg;
    pn_sqlite_interrupt(&self->slot->connection);
}

/* Run `self`, which this call destroys, now or when it has ended. `*out` is the caller's on every return. The
 * inspector shows `words` meanwhile. */
static int perform(pirn_sql_pool *pool, job *self, const char *words, pirn_result *out, pirn_time deadline) {
    /* Even a free connection answers later: without a wait there is nothing to be had. */
    pn_set_doing(words);
    int status = deadline == PIRN_NOW ? PIRN_EAGAIN : pn_sql_acquire(pool, &self->slot, deadline);
    if (status) {
        self->slot = NULL;
        pn_set_doing(NULL);
        destroy(self);
        return status;
    }
    pirn_work request = {
        .pool = self->slot->threads, .work = work, .arg = self, .drop = destroy, .interrupt = interrupt, .name = "SQL"};
    pirn_deferred *answer = pirn_offload_with(&request);
    status = answer ? pirn_await_take(answer, out, deadline) : PIRN_ENOMEM;
    pn_set_doing(NULL);
    return status;
}

/* Keep the database's words with the tasklet: for pirn_sql_error, and for the report when it ends with this error. */
static int tell(int status, const pirn_failure *failure) {
    if (!failure || status != pirn_failure_code(failure)) {
        return status;
    }
    (void)pirn_fail_at(pirn_failure_file(failure), pirn_failure_line(failure), pirn_failure_function(failure), status,
                       "%s", pirn_failure_message(failure));
    pn_tasklet *self = pn_current();
    /* Words of our own, and not "the deadline passed first" of the caller that cancelled the job. */
    self->sql_words = self->failure && (status == PIRN_EDB || status == PIRN_ELIMIT);
    return status;
}

void pn_sql_forget_words(void) {
    pn_tasklet *self = pn_current();
    if (self) {
        self->sql_words = false;
    }
}

const char *pirn_sql_error(void) {
    const pn_tasklet *self = pn_current();
    if (!self || !self->sql_words || !self->failure) {
        return "";
    }
    bool ours = strcmp(pirn_failure_file(self->failure), __FILE__) == 0; /* and not a later one of the tasklet's own */
    return ours ? pirn_failure_message(self->failure) : "";
}

/* ---- making jobs ---- */

static size_t byte_count(const pirn_sql_value *value) {
    bool has_bytes = value->type == PIRN_SQL_TEXT || value->type == PIRN_SQL_BLOB;
    return has_bytes && value->bytes ? value->length : 0;
}

/* One piece of memory: the job, its parameters, their bytes, the text. */
static job *create_query(const char *sql, const pirn_sql_value *parameters, size_t count, bool wants_rows) {
    size_t sql_bytes = strlen(sql) + 1;
    size_t bytes = sizeof(job) + count * sizeof *parameters + sql_bytes;
    for (size_t i = 0; i < count; i++) {
        bytes += byte_count(&parameters[i]);
    }
    job *self = pn_calloc(1, bytes);
    if (!self) {
        return NULL;
    }
    self->run = run_query;
    self->wants_rows = wants_rows;
    self->parameter_count = count;
    self->parameters = (pirn_sql_value *)(self + 1);
    char *place = (char *)(self->parameters + count);
    for (size_t i = 0; i < count; i++) {
        size_t length = byte_count(&parameters[i]);
        self->parameters[i] = parameters[i];
        self->parameters[i].bytes = place;
        self->parameters[i].length = length;
        if (length) {
            memcpy(place, parameters[i].bytes, length);
        }
        place += length;
    }
    self->sql = memcpy(place, sql, sql_bytes);
    return self;
}

int pirn_sql_query(pirn_sql_pool *pool, const char *sql, const pirn_sql_value *parameters, size_t count,
                   pirn_sql_rows **rows, pirn_time deadline) {
    if (rows) {
        *rows = NULL;
    }
    pn_sql_forget_words();
    int status = pn_may_wait("pirn_sql_query", deadline);
    if (status) {
        return status;
    }
    if (!pool || !sql) {
        return PIRN_EINVAL;
    }
    job *self = create_query(sql, parameters, count, rows != NULL);
    if (!self) {
        return PIRN_ENOMEM;
    }
    pirn_result result = {0};
    status = perform(pool, self, sql, &result, deadline);
    if (status) {
        status = tell(status, result.failure);
    } else if (rows) {
        *rows = result.value;
        result.value = NULL;
        result.drop = NULL;
    }
    pirn_result_drop(&result);
    return status;
}

int pirn_sql_transaction(pirn_sql_pool *pool, pirn_sql_body body, void *arg, pirn_drop_fn drop, pirn_time deadline) {
    pn_sql_forget_words();
    int status = pn_may_wait("pirn_sql_transaction", deadline);
    job *self = status ? NULL : pn_calloc(1, sizeof *self);
    if (!self) {
        pn_value_drop(drop, arg);
        return status ? status : PIRN_ENOMEM;
    }
    self->run = run_transaction;
    self->body = body;
    self->arg = arg;
    self->drop = drop;
    pirn_result result = {0};
    status = perform(pool, self, "SQL transaction", &result, deadline);
    status = tell(status, result.failure);
    pirn_result_drop(&result);
    return status;
}

int pn_sql_open_one(pirn_sql_pool *pool, char *error, size_t error_bytes) {
    job *self = pn_calloc(1, sizeof *self);
    if (!self) {
        return PIRN_ENOMEM;
    }
    self->run = run_nothing;
    pirn_result result = {0};
    int status = perform(pool, self, "open SQL connection", &result, PIRN_FOREVER);
    if (status && result.failure && error && error_bytes) {
        size_t length = strlen(pirn_failure_message(result.failure));
        length = length < error_bytes ? length : error_bytes - 1;
        memcpy(error, pirn_failure_message(result.failure), length);
        error[length] = '\0';
    }
    pirn_result_drop(&result);
    return status;
}
