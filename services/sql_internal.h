/* SPDX-License-Identifier: MIT
 *
 * What: the contracts between the parts of SQL: rows (sql_rows.c), one SQLite connection (sql_connect.c) and its
 *       statements (sql_sqlite.c), the pool that lends connections (sql_pool.c) and the job that runs on one
 *       (sql_query.c).
 * Threads: told for each function. "The connection's thread" is the one thread of its offload pool.
 */
#ifndef PN_SQL_INTERNAL_H
#define PN_SQL_INTERNAL_H

#include <pthread.h>

#include <pirn/offload.h>
#include <pirn/sql.h>

#define PN_SQL_CONNECTIONS_MAX 64u
#define PN_SQL_WORDS_BYTES     200u    /* of the database's message; as long as a failure's */
#define PN_SQL_TEXT_BYTES_MAX  1000000 /* of a statement */

/* ---- rows: made on the connection's thread, then moved to the tasklet; one owner at a time ---- */

/* NULL: no memory. */
pirn_sql_rows *pn_sql_rows_create(size_t column_count);
/* The next column's name, then the next value, row by row; bytes are copied. 0 or PIRN_ENOMEM. */
int pn_sql_rows_add_name(pirn_sql_rows *rows, const char *name);
int pn_sql_rows_add_value(pirn_sql_rows *rows, const pirn_sql_value *value);
void pn_sql_rows_drop_value(void *rows); /* pirn_sql_rows_drop as a pirn_drop_fn */

/* ---- one connection: used by its thread alone, but for interrupt ---- */

struct sqlite3;
struct sqlite3_stmt;
struct pn_sql_statement;

struct pirn_sql_connection {
    /* immutable after init */
    const char *path;         /* the pool's copy */
    pirn_sql_options options; /* with defaults filled in */
    /* the connection's thread */
    struct pn_sql_statement **statements; /* [statements_max], most recently used first */
    unsigned statement_count;
    struct sqlite3_stmt *begin, *commit; /* while it is open */
    bool trusts_statement;               /* what is prepared now may begin and end transactions */
    bool refused_transaction;            /* the authorizer has refused the last one for that */
    bool in_body;                        /* of a transaction */
    int lost;                            /* the code with which SQLite ended the body's transaction; 0: it is open */
    unsigned log_pages, log_pages_next;  /* in the log after the last commit; when to empty the log */
    pirn_time busy_ns, busy_since;
    char words[PN_SQL_WORDS_BYTES]; /* the last error's */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* ends the pause of a busy handler */
    struct sqlite3 *db;  /* changed by the connection's thread; NULL: not open */
    bool interrupted;    /* the present job should stop */
};

/* A mutex and a condition whose waits go by pirn_now's clock; `time` for such a wait. */
void pn_sql_init_wait(pthread_mutex_t *mutex, pthread_cond_t *condition);
struct timespec pn_sql_timespec(pirn_time time);

int pn_sqlite_init(pirn_sql_connection *connection, const char *path, const pirn_sql_options *options);
void pn_sqlite_fini(pirn_sql_connection *connection); /* closed before */

/* All of these: the connection's thread. Open it unless it is open. 0, PIRN_EDB (`words` says why), PIRN_ENOMEM. */
int pn_sqlite_open(pirn_sql_connection *connection);
/* Any thread, once nothing runs there. Closing a closed one is nothing. */
void pn_sqlite_close(pirn_sql_connection *connection);
/* As pirn_sql_query; PIRN_ECLOSED after an interrupt. */
int pn_sqlite_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters, size_t count,
                   pirn_sql_rows **rows);
void pn_sqlite_forget_statements(pirn_sql_connection *connection);
/* A transaction: begin, steps, end. As pirn_sql_step: when SQLite has ended the transaction by itself, that step's code
 * is the result of all later ones, and `words` stay. end: commit for status 0; the transaction's result. After a
 * failure it may still be open, for rollback. */
int pn_sqlite_begin(pirn_sql_connection *connection);
int pn_sqlite_body_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters,
                        size_t count, pirn_sql_rows **rows);
int pn_sqlite_end(pirn_sql_connection *connection, int status);
/* Whether BEGIN is open; undo it (a connection that cannot is closed, and opened anew by its next job). */
bool pn_sqlite_in_transaction(pirn_sql_connection *connection);
void pn_sqlite_rollback(pirn_sql_connection *connection);
/* Outside a transaction. Whether the log has log_pages_max pages or more and it is time to empty it; empty it, or leave
 * it until it is half as long again: readers that last longer must not hold up the pool at every commit. */
bool pn_sqlite_log_is_long(pirn_sql_connection *connection);
void pn_sqlite_empty_log(pirn_sql_connection *connection, pirn_time until);
void pn_sqlite_keep_log(pirn_sql_connection *connection);
/* Keep these words; PIRN_EDB. What SQLite's `code` means to our caller; its words are kept. */
int pn_sqlite_refuse(pirn_sql_connection *connection, const char *words);
int pn_sqlite_refused(pirn_sql_connection *connection, int code);
/* SQLite's handlers. Busy: another connection writes; pause, then try again (non-zero), until the connection's busy_ns
 * are over or the job is interrupted. */
int pn_sqlite_on_busy(void *connection, int tries);
int pn_sqlite_on_progress(void *connection);
/* Any thread: make what runs there stop soon with PIRN_ECLOSED. It sticks, so one that comes before the first step is
 * not lost, until pn_sqlite_rearm, which is called between two jobs. */
void pn_sqlite_interrupt(pirn_sql_connection *connection);
bool pn_sqlite_interrupted(pirn_sql_connection *connection);
void pn_sqlite_rearm(pirn_sql_connection *connection);

/* ---- the pool ---- */

/* One connection and its thread. Who has received its token from the pool's channel has it to himself. */
typedef struct pn_sql_slot {
    pirn_sql_pool *pool;
    pirn_pool *threads; /* of one thread */
    pirn_sql_connection connection;
} pn_sql_slot;

/* Any tasklet. Wait for a free connection, first come first served. 0 with `*slot`; PIRN_ECLOSED; the wait's codes. */
int pn_sql_acquire(pirn_sql_pool *pool, pn_sql_slot **slot, pirn_time deadline);
/* Any thread: give it back. Touches neither slot nor pool afterwards: the pool may be closed by then. */
void pn_sql_release(pn_sql_slot *slot);

/* The gate, on a connection's thread. Each job is inside while it runs. close: keep new jobs out and wait until the
 * caller's is the only one inside, and true; or until `until`, and false: the gate is open. open: after a true close.
 */
void pn_sql_gate_enter(pirn_sql_pool *pool);
void pn_sql_gate_leave(pirn_sql_pool *pool);
bool pn_sql_gate_close(pirn_sql_pool *pool, pirn_time until);
void pn_sql_gate_open(pirn_sql_pool *pool);

/* Run a job that only opens the connection that is next in the queue, for pirn_sql_open. The failure's message goes
 * into `error` (NULL allowed). */
int pn_sql_open_one(pirn_sql_pool *pool, char *error, size_t error_bytes);

/* A new SQL call of this tasklet begins: pirn_sql_error is "" until the call fails with words. */
void pn_sql_forget_words(void);

#endif
