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

typedef struct pirn_sql_options {
    unsigned connections;    /* 0: 4; at most 64                                                         */
    unsigned statements_max; /* prepared statements kept per connection; 0: 64                         */
    unsigned rows_max;       /* rows one query may return before PIRN_ELIMIT; 0: 100,000                  */
    pirn_time busy_ns;       /* how long to wait for another writer; 0: 5 s                               */
} pirn_sql_options;

/* Fill in the defaults. */
PIRN_API void pirn_sql_options_init(pirn_sql_options *options);

typedef enum pirn_sql_type { PIRN_SQL_NULL, PIRN_SQL_INT, PIRN_SQL_REAL, PIRN_SQL_TEXT, PIRN_SQL_BLOB } pirn_sql_type;

typedef struct pirn_sql_value {
    pirn_sql_type type;
    int64_t integer;
    double real;
    const void *bytes; /* of text and blobs; copied by the call                                        */
    size_t length;
} pirn_sql_value;

static inline pirn_sql_value pirn_sql_int(int64_t integer) {
    pirn_sql_value value = {PIRN_SQL_INT, integer, 0, 0, 0};
    return value;
}
PIRN_API pirn_sql_value pirn_sql_text(const char *text);

/* Open the SQLite database `path` (created when missing; WAL). Parks: until the first connection works, so a file that
 * is no database fails here. Thread: a tasklet. Owns: the caller, until pirn_sql_close. Returns 0; PIRN_EDB with the
 * database's words in `error` (NULL allowed, `error_bytes` long); PIRN_EINVAL; PIRN_ENOMEM; or the wait's codes.
 * Answers to adbapi.ConnectionPool. */
PIRN_API int pirn_sql_open(const char *path, const pirn_sql_options *options, pirn_sql_pool **pool, char *error,
                           size_t error_bytes);

/* Run one statement with `count` parameters for its ?1, ?2, ... Parks: first for a connection, first come first
 * served, then for the rows. Thread: a tasklet on any worker. Owns: on 0 `*rows` (NULL allowed: rows are dropped) is
 * the caller's: pirn_sql_rows_drop; `sql` and parameters are copied. Returns: 0; PIRN_EDB (pirn_sql_error has the
 * database's words); PIRN_ELIMIT; PIRN_ECLOSED; PIRN_ENOMEM; PIRN_EAGAIN; PIRN_ETIMEDOUT and PIRN_ECANCELED: a
 * statement under way is interrupted (sqlite3_interrupt) and its connection goes back to the pool when it has stopped.
 * Each call is its own transaction. Answers to ConnectionPool.runQuery. */
PIRN_API int pirn_sql_query(pirn_sql_pool *pool, const char *sql, const pirn_sql_value *parameters, size_t count,
                            pirn_sql_rows **rows, pirn_time deadline);

/* Several statements on one connection as one transaction: committed when `body` returns 0, rolled back otherwise.
 * `body` runs on the connection's thread: it may not call anything of pirn but pirn_sql_step_*. Answers to
 * runInteraction. */
typedef struct pirn_sql_connection pirn_sql_connection;
typedef int (*pirn_sql_body)(pirn_sql_connection *connection, void *arg);
PIRN_API int pirn_sql_transaction(pirn_sql_pool *pool, pirn_sql_body body, void *arg, pirn_drop_fn drop,
                                  pirn_time deadline);
PIRN_API int pirn_sql_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters,
                           size_t count, pirn_sql_rows **rows);

/* The database's words for the calling tasklet's last PIRN_EDB; "" when there was none. Valid until its next query. */
PIRN_API const char *pirn_sql_error(void);

/* The size of a result, and a column's name (borrowed from the rows; "" out of range). Never park. */
PIRN_API size_t pirn_sql_row_count(const pirn_sql_rows *rows);
PIRN_API size_t pirn_sql_column_count(const pirn_sql_rows *rows);
PIRN_API const char *pirn_sql_column_name(const pirn_sql_rows *rows, size_t column);
/* One value; bytes are borrowed from the rows and terminated. Out of range: PIRN_SQL_NULL. */
PIRN_API pirn_sql_value pirn_sql_at(const pirn_sql_rows *rows, size_t row, size_t column);
PIRN_API void pirn_sql_rows_drop(pirn_sql_rows *rows); /* NULL allowed */

/* Connections that are free now, and tasklets that wait for one. Snapshots. */
PIRN_API size_t pirn_sql_free(const pirn_sql_pool *pool);
PIRN_API size_t pirn_sql_waiting(const pirn_sql_pool *pool);

/* Refuse new queries, interrupt those that run, close all connections, free. Parks until they are closed; ignores
 * cancellation. NULL allowed. */
PIRN_API void pirn_sql_close(pirn_sql_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
