/* SPDX-License-Identifier: MIT
 *
 * What: the contracts between the three parts of SQL: rows (sql_rows.c), one SQLite connection (sql_sqlite.c), the pool
 *       that lends connections (sql_pool.c) and the job that runs on one (sql_query.c).
 * Threads: told for each function. "The connection's thread" is the one thread of its offload pool.
 */
#ifndef PN_SQL_INTERNAL_H
#define PN_SQL_INTERNAL_H

#include <pthread.h>

#include <pirn/offload.h>
#include <pirn/sql.h>

#define PN_SQL_CONNECTIONS_MAX 64u
#define PN_SQL_WORDS_BYTES     200u /* of the database's message; as long as a failure's */

/* ---- rows: made on the connection's thread, then moved to the tasklet; one owner at a time ---- */

/* NULL: no memory. */
pirn_sql_rows *pn_sql_rows_create(size_t column_count);
/* The next column's name, then the next value, row by row; bytes are copied. 0 or PIRN_ENOMEM. */
int pn_sql_rows_add_name(pirn_sql_rows *rows, const char *name);
int pn_sql_rows_add_value(pirn_sql_rows *rows, const pirn_sql_value *value);
void pn_sql_rows_drop_value(void *rows); /* pirn_sql_rows_drop as a pirn_drop_fn */

/* ---- one connection: used by its thread alone, but for interrupt ---- */

struct sqlite3;
struct pn_sql_statement;

struct pirn_sql_connection {
    /* immutable after init */
    const char *path;         /* the pool's copy */
    pirn_sql_options options; /* with defaults filled in */
    /* the connection's thread */
    struct pn_sql_statement **statements; /* [statements_max], most recently used first */
    unsigned statement_count;
    pirn_time busy_since;
    char words[PN_SQL_WORDS_BYTES]; /* the last error's */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* ends the pause of a busy handler */
    struct sqlite3 *db;  /* changed by the connection's thread; NULL: not open */
    bool interrupted;    /* the present job should stop */
};

int pn_sqlite_init(pirn_sql_connection *connection, const char *path, const pirn_sql_options *options);
void pn_sqlite_fini(pirn_sql_connection *connection); /* closed before */

/* The connection's thread. Open it unless it is open. 0, PIRN_EDB (`words` says why), PIRN_ENOMEM. */
int pn_sqlite_open(pirn_sql_connection *connection);
/* The connection's thread (or any, once nothing runs there). Closing a closed one is nothing. */
void pn_sqlite_close(pirn_sql_connection *connection);
/* The connection's thread. As pirn_sql_step; PIRN_ECLOSED after an interrupt. */
int pn_sqlite_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters, size_t count,
                   pirn_sql_rows **rows);
/* The connection's thread. Whether BEGIN is open; undo it (a connection that cannot is closed, and opened anew by its
 * next job). */
bool pn_sqlite_in_transaction(pirn_sql_connection *connection);
void pn_sqlite_rollback(pirn_sql_connection *connection);
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

/* Run a job that only opens its connection, for pirn_sql_open. The failure's message goes into `error` (NULL
 * allowed). */
int pn_sql_open_one(pirn_sql_pool *pool, char *error, size_t error_bytes);

#endif
