/* SPDX-License-Identifier: MIT
 *
 * pirn/sql.h: a pool of database connections. A tasklet that queries parks until its rows are there; each connection
 * has a thread of its own. Only prepared statements with bound parameters: there is no call that formats SQL.
 */
#ifndef PIRN_SQL_H
#define PIRN_SQL_H

#include <pirn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_sql_pool pirn_sql_pool;
typedef struct pirn_sql_rows pirn_sql_rows;

/* ---- values ---- */

typedef enum pirn_sql_type { PIRN_SQL_NULL, PIRN_SQL_INT, PIRN_SQL_REAL, PIRN_SQL_TEXT, PIRN_SQL_BLOB } pirn_sql_type;

typedef struct pirn_sql_value {
    pirn_sql_type type;
    int64_t integer;
    double real;
    const void *bytes; /* of text and blobs; borrowed: who makes it says from whom */
    size_t length;     /* of `bytes` */
} pirn_sql_value;

/* A parameter that is a number. Parks: no. Thread: any. */
static inline pirn_sql_value pirn_sql_int(int64_t integer) {
    pirn_sql_value value = {PIRN_SQL_INT, integer, 0, 0, 0};
    return value;
}

/* A parameter that is a text; NULL gives PIRN_SQL_NULL. Parks: no. Thread: any. Owns: `text` stays the caller's, until
 * the call that takes the parameter has returned. */
PIRN_API pirn_sql_value pirn_sql_text(const char *text);

/* ---- the pool: services/sql_pool.c ---- */

typedef struct pirn_sql_options {
    unsigned connections;    /* 0: 4; at most 64 */
    unsigned statements_max; /* prepared statements kept per connection; 0: 64 */
    unsigned rows_max;       /* rows one query may return before PIRN_ELIMIT; 0: 100,000 */
    pirn_time busy_ns;       /* how long to wait for another writer; 0: 5 s; PIRN_FOREVER: any time */
    /* Pages in the log (the -wal file) at which a commit empties it; 0: 4,000. That commit waits for the queries and
     * transactions under way and keeps new ones waiting, busy_ns / 4 or 1.25 s at most. So the log stays near this size
     * as long as each of them is shorter than that. A wal_autocheckpoint in init_sql takes the place of this bound. */
    unsigned log_pages_max;
    /* SQL text that is run on each new connection, like "PRAGMA foreign_keys = ON"; any number of statements, 1,000,000
     * bytes at most; NULL: none. An error in it fails the open with its words. Copied. */
    const char *init_sql;
    /* False: the file may come from others. Its schema may call harmless functions and virtual tables only, PRAGMA
     * writable_schema and direct writes to shadow tables do nothing or fail, LIKE patterns have 5,000 bytes and
     * triggers 100 levels at most. True: SQLite's own defaults. */
    bool trusted;
} pirn_sql_options;

/* All zeros: the defaults. Parks: no. Thread: any. */
PIRN_API void pirn_sql_options_init(pirn_sql_options *options);

/* Open the SQLite database `path` (created when missing; WAL). Parks: until all connections are open, so a file that is
 * no database, an error in init_sql, or too few descriptors (two for each connection and one more) fail here. Thread: a
 * tasklet. Args: NULL options are the defaults; the reason of PIRN_EDB and of options out of range goes into `error`
 * (NULL allowed), `error_bytes` long, terminated. Owns: on 0 `*pool` is the caller's, until pirn_sql_close; on failure
 * nothing is left. Returns: 0; PIRN_EDB (the database's words are in `error`); PIRN_EINVAL (no path, or an option out
 * of range); PIRN_ENOMEM (or no threads); PIRN_ECANCELED; PIRN_ECLOSED (the runtime ends); PIRN_ETHREAD. Answers to
 * adbapi.ConnectionPool. */
PIRN_API int pirn_sql_open(const char *path, const pirn_sql_options *options, pirn_sql_pool **pool, char *error,
                           size_t error_bytes);

/* Refuse new queries, interrupt those that run, close all connections and free the pool. Parks: yes, until they are
 * closed; ignores cancellation. Thread: a tasklet; elsewhere it does nothing, and a line is on stderr. Args: NULL is
 * allowed. */
PIRN_API void pirn_sql_close(pirn_sql_pool *pool);

/* Connections that are idle now, and tasklets that wait for one: snapshots. Parks: no. Thread: any. */
PIRN_API size_t pirn_sql_idle_count(const pirn_sql_pool *pool);
PIRN_API size_t pirn_sql_waiting(const pirn_sql_pool *pool);

/* ---- queries: services/sql_query.c ---- */

/* Run one statement, as a transaction of its own (BEGIN, COMMIT, SAVEPOINT and the like are refused), with `count`
 * parameters for its ?1, ?2, ... Parks: first for a connection, first come first served, then for the rows. Thread: a
 * tasklet on any worker. Owns: on 0 `*rows` (`rows` NULL: they are thrown away) is the caller's, for
 * pirn_sql_rows_drop; else it is NULL; `sql` and parameters are copied. Returns: 0; PIRN_EDB (pirn_sql_error has the
 * database's words); PIRN_ELIMIT (over rows_max rows; all changes undone); PIRN_ECLOSED (the pool or the runtime
 * closes); PIRN_ENOMEM; PIRN_EAGAIN (always with PIRN_NOW); PIRN_ETIMEDOUT and PIRN_ECANCELED: the statement is
 * interrupted, and its connection is idle again when it has stopped; a change it made just before stays; PIRN_ETHREAD.
 * Answers to ConnectionPool.runQuery. */
PIRN_API int pirn_sql_query(pirn_sql_pool *pool, const char *sql, const pirn_sql_value *parameters, size_t count,
                            pirn_sql_rows **rows, pirn_time deadline);

/* The words for the calling tasklet's last SQL call, when it failed with PIRN_EDB or PIRN_ELIMIT; "" after a call that
 * succeeded or failed otherwise (a deadline, say). Parks: no. Thread: any; "" where no tasklet runs. Owns: borrowed,
 * valid until the tasklet's next SQL call or failure. */
PIRN_API const char *pirn_sql_error(void);

/* The connection of a transaction. */
typedef struct pirn_sql_connection pirn_sql_connection;

/* What a transaction does. Parks: it must not, nor call anything of pirn but pirn_sql_step, pirn_sql_rows and value
 * calls; it may block. Thread: the connection's own. Args: `arg` as given to pirn_sql_transaction. Returns: 0 to
 * commit; a negative code to roll back. */
typedef int (*pirn_sql_body)(pirn_sql_connection *connection, void *arg);

/* Run `body` on one connection as one transaction: committed when it returns 0, rolled back otherwise. SQLite may roll
 * back by itself while the body runs (ON CONFLICT ROLLBACK, RAISE(ROLLBACK), a full disk, no memory). Then no later
 * step of the body runs: each returns the code of the step that lost the transaction. That code and its words are the
 * result, whatever the body returns. Parks: as pirn_sql_query. Thread: a tasklet on any worker. Args: `drop` NULL:
 * `arg` needs none. Owns: `arg` is the transaction's on every return, and must not be on the caller's stack: after a
 * deadline or cancel `body` may still run. `drop(arg)` is called once when it is over, here or on the connection's
 * thread. Returns: 0, committed; the body's negative code (PIRN_EFAILED for a positive one); PIRN_EDB (the database
 * refused to begin or to commit, or has rolled back by itself); PIRN_ECLOSED, PIRN_ENOMEM, PIRN_EAGAIN, PIRN_ETHREAD as
 * pirn_sql_query; PIRN_ETIMEDOUT and PIRN_ECANCELED: the body's statement is interrupted, its next ones refused, and
 * all rolled back, unless the commit was done just before. Answers to ConnectionPool.runInteraction. */
PIRN_API int pirn_sql_transaction(pirn_sql_pool *pool, pirn_sql_body body, void *arg, pirn_drop_fn drop,
                                  pirn_time deadline);

/* Run one statement of a transaction. BEGIN, COMMIT and ROLLBACK are refused; SAVEPOINT, ROLLBACK TO and RELEASE work.
 * Parks: no; it blocks. Thread: the connection's, inside a body. Owns: as pirn_sql_query. Returns: 0; PIRN_EDB (a body
 * that ends with it leaves the words to pirn_sql_error); PIRN_ELIMIT (over rows_max rows; what the statement has
 * changed stays in the transaction); PIRN_ENOMEM; PIRN_EINVAL (no connection or no text); PIRN_ECLOSED (nobody waits
 * for this transaction any more, or the pool closes); the code of an earlier step, when SQLite ended the transaction
 * then. */
PIRN_API int pirn_sql_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters,
                           size_t count, pirn_sql_rows **rows);

/* ---- rows: services/sql_rows.c ---- */

/* How many rows and columns a result has. Parks: no. Thread: any, one at a time, as all calls on rows. */
PIRN_API size_t pirn_sql_row_count(const pirn_sql_rows *rows);
PIRN_API size_t pirn_sql_column_count(const pirn_sql_rows *rows);

/* A column's name. Parks: no. Thread: as above. Owns: borrowed from the rows. Returns: "" out of range. */
PIRN_API const char *pirn_sql_column_name(const pirn_sql_rows *rows, size_t column);

/* One value. Parks: no. Thread: as above. Owns: its bytes are borrowed from the rows, and terminated. Returns:
 * PIRN_SQL_NULL out of range. */
PIRN_API pirn_sql_value pirn_sql_at(const pirn_sql_rows *rows, size_t row, size_t column);

/* Free a result. Parks: no. Thread: as above. Args: NULL is allowed. */
PIRN_API void pirn_sql_rows_drop(pirn_sql_rows *rows);

#ifdef __cplusplus
}
#endif
#endif
