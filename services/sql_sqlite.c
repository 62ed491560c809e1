/* SPDX-License-Identifier: MIT
 *
 * What: statements on one SQLite connection: prepare, bind, step, interrupt. sql_connect.c opens and closes it.
 * Threads: the connection's own thread, one job at a time, so it is opened without SQLite's mutex. Only the interrupt
 *       comes from elsewhere; it reads `db` under `lock`, and the connection's thread changes `db` under it.
 * Invariants: (1) between two calls every cached statement is reset and has no bindings, so that it holds no read
 *       transaction and points at nobody's memory; (2) `interrupted` stays set until the job has ended.
 * Why an interrupt needs its own flag: sqlite3_interrupt works on statements that run; one that comes between the job's
 *       start and its first step is forgotten. The flag is asked before each step, by the progress handler and by the
 *       busy handler, whose pause it cuts short (SQLite's own busy handler would sleep on).
 * Rejected: finding BEGIN and COMMIT in the text of a statement: SQLite's authorizer names them after parsing.
 */
#include "sql_internal.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "base.h"
#include "deadline.h"

#define BUSY_PAUSE_MAX_MS 32u /* pauses double from 1 ms to this */

typedef struct pn_sql_statement {
    sqlite3_stmt *handle;
    size_t length;
    char sql[];
} statement;

/* ---- words ---- */

int pn_sqlite_refuse(pirn_sql_connection *connection, const char *words) {
    snprintf(connection->words, sizeof connection->words, "%s", words);
    return PIRN_EDB;
}

int pn_sqlite_refused(pirn_sql_connection *connection, int code) {
    if (code == SQLITE_NOMEM) {
        return PIRN_ENOMEM;
    }
    if (code == SQLITE_INTERRUPT || pn_sqlite_interrupted(connection)) {
        return PIRN_ECLOSED;
    }
    const char *words = connection->db ? sqlite3_errmsg(connection->db) : sqlite3_errstr(code);
    int system_code = connection->db ? sqlite3_system_errno(connection->db) : 0;
    if (code == SQLITE_CANTOPEN && (system_code == EMFILE || system_code == ENFILE)) {
        snprintf(connection->words, sizeof connection->words,
                 "%s: no descriptor is left; raise RLIMIT_NOFILE (ulimit -n), or open fewer connections", words);
        return PIRN_EDB;
    }
    return pn_sqlite_refuse(connection, words);
}

/* ---- interrupt ---- */

void pn_sqlite_interrupt(pirn_sql_connection *connection) {
    pthread_mutex_lock(&connection->lock);
    connection->interrupted = true;
    if (connection->db) {
        sqlite3_interrupt(connection->db);
    }
    pthread_cond_signal(&connection->wake);
    pthread_mutex_unlock(&connection->lock);
}

bool pn_sqlite_interrupted(pirn_sql_connection *connection) {
    pthread_mutex_lock(&connection->lock);
    bool interrupted = connection->interrupted;
    pthread_mutex_unlock(&connection->lock);
    return interrupted;
}

void pn_sqlite_rearm(pirn_sql_connection *connection) {
    pthread_mutex_lock(&connection->lock);
    connection->interrupted = false;
    pthread_mutex_unlock(&connection->lock);
}

int pn_sqlite_on_progress(void *connection) {
    return pn_sqlite_interrupted(connection);
}

void pn_sql_init_wait(pthread_mutex_t *mutex, pthread_cond_t *condition) {
    pthread_condattr_t monotonic;
    PN_ASSERT(pthread_condattr_init(&monotonic) == 0);
    PN_ASSERT(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    PN_ASSERT(pthread_cond_init(condition, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    PN_ASSERT(pthread_mutex_init(mutex, NULL) == 0);
}

struct timespec pn_sql_timespec(pirn_time time) {
    return (struct timespec){.tv_sec = time / PIRN_SECOND, .tv_nsec = time % PIRN_SECOND};
}

int pn_sqlite_on_busy(void *arg, int tries) {
    pirn_sql_connection *connection = arg;
    pirn_time now = pirn_now();
    if (tries == 0) {
        connection->busy_since = now;
    }
    pirn_time end = pn_deadline(connection->busy_since, connection->busy_ns);
    if (now >= end) {
        return 0;
    }
    pirn_time until = now + (tries < 5 ? 1u << tries : BUSY_PAUSE_MAX_MS) * PIRN_MILLISECOND;
    struct timespec when = pn_sql_timespec(until < end ? until : end);
    pthread_mutex_lock(&connection->lock);
    while (!connection->interrupted && pthread_cond_timedwait(&connection->wake, &connection->lock, &when) == 0) {
    }
    bool again = !connection->interrupted;
    pthread_mutex_unlock(&connection->lock);
    return again;
}

/* ---- statements ---- */

static void forget(statement *entry) {
    sqlite3_finalize(entry->handle);
    pn_free(entry);
}

void pn_sqlite_forget_statements(pirn_sql_connection *connection) {
    while (connection->statement_count) {
        forget(connection->statements[--connection->statement_count]);
    }
}

/* The cached statement for `sql`, moved to the front; NULL when there is none. */
static statement *find_statement(pirn_sql_connection *connection, const char *sql, size_t length) {
    statement **all = connection->statements;
    for (unsigned i = 0; i < connection->statement_count; i++) {
        statement *entry = all[i];
        if (entry->length == length && memcmp(entry->sql, sql, length) == 0) {
            memmove(all + 1, all, i * sizeof *all);
            all[0] = entry;
            return entry;
        }
    }
    return NULL;
}

static void remember(pirn_sql_connection *connection, statement *entry) {
    statement **all = connection->statements;
    if (connection->statement_count == connection->options.statements_max) {
        forget(all[--connection->statement_count]);
    }
    memmove(all + 1, all, connection->statement_count * sizeof *all);
    all[0] = entry;
    connection->statement_count++;
}

/* Whether there is nothing but white space, comments and semicolons: SQLite compiles such a text to no statement. */
static bool is_blank(pirn_sql_connection *connection, const char *sql) {
    sqlite3_stmt *more = NULL;
    bool blank = sqlite3_prepare_v2(connection->db, sql, -1, &more, NULL) == SQLITE_OK && !more;
    sqlite3_finalize(more);
    connection->refused_transaction = false; /* "select 1; commit" is more than one statement, and that is its fault */
    return blank;
}

static int refused_to_prepare(pirn_sql_connection *connection, int code) {
    if (!connection->refused_transaction) {
        return pn_sqlite_refused(connection, code);
    }
    connection->refused_transaction = false;
    return pn_sqlite_refuse(connection, connection->in_body
                                            ? "the body of a transaction cannot begin or end one: it returns 0 to "
                                              "commit, a negative code to roll back"
                                            : "a query cannot begin or end a transaction: use pirn_sql_transaction");
}

static int prepare(pirn_sql_connection *connection, const char *sql, statement **out) {
    size_t length = strlen(sql);
    *out = find_statement(connection, sql, length);
    if (*out) {
        return 0;
    }
    if (length > PN_SQL_TEXT_BYTES_MAX) {
        return pn_sqlite_refuse(connection, "the statement is longer than 1,000,000 bytes");
    }
    statement *entry = pn_malloc(sizeof *entry + length + 1);
    if (!entry) {
        return PIRN_ENOMEM;
    }
    memcpy(entry->sql, sql, length + 1);
    entry->length = length;
    const char *tail = "";
    int code =
        sqlite3_prepare_v3(connection->db, sql, (int)length + 1, SQLITE_PREPARE_PERSISTENT, &entry->handle, &tail);
    int status = code == SQLITE_OK ? 0 : refused_to_prepare(connection, code);
    if (!status && !entry->handle) {
        status = pn_sqlite_refuse(connection, "there is no statement in the text");
    } else if (!status && *tail && !is_blank(connection, tail)) {
        status = pn_sqlite_refuse(connection, "more than one statement in a text: use pirn_sql_transaction");
    }
    if (status) {
        forget(entry);
        return status;
    }
    remember(connection, entry);
    *out = entry;
    return 0;
}

static int bind_one(sqlite3_stmt *handle, int place, const pirn_sql_value *value) {
    const void *bytes = value->bytes ? value->bytes : "";
    switch (value->type) {
    case PIRN_SQL_NULL:
        return sqlite3_bind_null(handle, place);
    case PIRN_SQL_INT:
        return sqlite3_bind_int64(handle, place, value->integer);
    case PIRN_SQL_REAL:
        return sqlite3_bind_double(handle, place, value->real);
    case PIRN_SQL_TEXT:
        return sqlite3_bind_text64(handle, place, bytes, value->length, SQLITE_STATIC, SQLITE_UTF8);
    case PIRN_SQL_BLOB:
        return sqlite3_bind_blob64(handle, place, bytes, value->length, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

static int bind_all(pirn_sql_connection *connection, sqlite3_stmt *handle, const pirn_sql_value *parameters,
                    size_t count) {
    int wanted = sqlite3_bind_parameter_count(handle);
    if (count != (size_t)wanted) {
        snprintf(connection->words, sizeof connection->words, "the statement has %d parameters, %zu were given", wanted,
                 count);
        return PIRN_EDB;
    }
    for (size_t i = 0; i < count; i++) {
        int code = bind_one(handle, (int)i + 1, &parameters[i]);
        if (code != SQLITE_OK) {
            return pn_sqlite_refused(connection, code);
        }
    }
    return 0;
}

/* ---- step ---- */

static pirn_sql_value column(sqlite3_stmt *handle, int i) {
    pirn_sql_value value = {PIRN_SQL_NULL, 0, 0, NULL, 0};
    switch (sqlite3_column_type(handle, i)) {
    case SQLITE_INTEGER:
        value.type = PIRN_SQL_INT;
        value.integer = sqlite3_column_int64(handle, i);
        break;
    case SQLITE_FLOAT:
        value.type = PIRN_SQL_REAL;
        value.real = sqlite3_column_double(handle, i);
        break;
    case SQLITE_TEXT:
        value.type = PIRN_SQL_TEXT;
        value.bytes = sqlite3_column_text(handle, i);
        value.length = (size_t)sqlite3_column_bytes(handle, i);
        break;
    case SQLITE_BLOB:
        value.type = PIRN_SQL_BLOB;
        value.bytes = sqlite3_column_blob(handle, i);
        value.length = (size_t)sqlite3_column_bytes(handle, i);
        break;
    default:
        break;
    }
    return value;
}

static int add_row(pirn_sql_rows *rows, sqlite3_stmt *handle) {
    int count = sqlite3_column_count(handle);
    for (int i = 0; i < count; i++) {
        pirn_sql_value value = column(handle, i);
        int status = pn_sql_rows_add_value(rows, &value);
        if (status) {
            return status;
        }
    }
    return 0;
}

/* The empty rows of a statement that has made its first step: only then is it certain how many columns there are, as a
 * change of the schema compiles it anew. NULL: no memory. */
static pirn_sql_rows *start_rows(sqlite3_stmt *handle) {
    int count = sqlite3_column_count(handle);
    pirn_sql_rows *rows = pn_sql_rows_create((size_t)count);
    for (int i = 0; rows && i < count; i++) {
        const char *name = sqlite3_column_name(handle, i);
        if (!name || pn_sql_rows_add_name(rows, name)) {
            pirn_sql_rows_drop(rows);
            rows = NULL;
        }
    }
    return rows;
}

static int too_many_rows(pirn_sql_connection *connection) {
    snprintf(connection->words, sizeof connection->words, "the query has more than rows_max = %u rows",
             connection->options.rows_max);
    return PIRN_ELIMIT;
}

/* Step to the end; `rows` NULL: the rows are thrown away. On failure what there is so far is the caller's to drop. */
static int fetch(pirn_sql_connection *connection, sqlite3_stmt *handle, pirn_sql_rows **rows) {
    for (unsigned taken = 0;; taken++) {
        if (pn_sqlite_interrupted(connection)) {
            return PIRN_ECLOSED;
        }
        int code = sqlite3_step(handle);
        if (code != SQLITE_ROW && code != SQLITE_DONE) {
            return pn_sqlite_refused(connection, code);
        }
        if (rows && !*rows && !(*rows = start_rows(handle))) {
            return PIRN_ENOMEM;
        }
        if (code == SQLITE_DONE) {
            return 0;
        }
        if (rows && taken == connection->options.rows_max) {
            return too_many_rows(connection);
        }
        int status = rows ? add_row(*rows, handle) : 0;
        if (status) {
            return status;
        }
    }
}

/* A query that changes something and that we leave before its end (RETURNING gives its rows after all changes) would be
 * committed by its reset. After an interrupt its next step rolls it back. In a body the body decides. */
static void undo(pirn_sql_connection *connection, sqlite3_stmt *handle) {
    if (connection->in_body || sqlite3_stmt_readonly(handle) || !sqlite3_stmt_busy(handle)) {
        return;
    }
    sqlite3_interrupt(connection->db);
    while (sqlite3_step(handle) == SQLITE_ROW) {
    }
}

int pn_sqlite_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters, size_t count,
                   pirn_sql_rows **rows_out) {
    statement *entry = NULL;
    int status = prepare(connection, sql, &entry);
    if (status) {
        return status;
    }
    pirn_sql_rows *rows = NULL;
    status = bind_all(connection, entry->handle, parameters, count);
    if (!status) {
        status = fetch(connection, entry->handle, rows_out ? &rows : NULL);
        if (status) {
            undo(connection, entry->handle);
        }
    }
    sqlite3_reset(entry->handle);
    sqlite3_clear_bindings(entry->handle);
    if (status) {
        pirn_sql_rows_drop(rows);
    } else if (rows_out) {
        *rows_out = rows;
    }
    return status;
}
