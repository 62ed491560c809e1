/* SPDX-License-Identifier: MIT
 *
 * What: the SQL pool on real SQLite files: rows and values, errors, order, deadlines, cancellation, transactions,
 *       close. It stands for services/sql_pool.c, sql_query.c, sql_sqlite.c and sql_rows.c, which only work together.
 * Each test runs in threaded and in single mode, in a folder of its own.
 */
#include "sql_site.h"

#include <sqlite3.h>
#include <sys/resource.h>

/* ---- rows and values ---- */

static void check_rows(pirn_sql_pool *pool) {
    pirn_sql_rows *rows = NULL;
    int status = pirn_sql_query(pool,
                                "select 42 as answer, 1.5 as half, 'yarn' as word, x'00ff' as raw, null as none "
                                "union all select -1, -2.5, '', x'', null",
                                NULL, 0, &rows, PIRN_FOREVER);
    cr_assert_eq(status, 0);
    cr_assert_eq(pirn_sql_row_count(rows), 2);
    cr_assert_eq(pirn_sql_column_count(rows), 5);
    cr_assert_str_eq(pirn_sql_column_name(rows, 2), "word");
    cr_assert_str_eq(pirn_sql_column_name(rows, 5), "");
    cr_assert_eq(pirn_sql_at(rows, 0, 0).type, PIRN_SQL_INT);
    cr_assert_eq(pirn_sql_at(rows, 0, 0).integer, 42);
    cr_assert_eq(pirn_sql_at(rows, 1, 1).type, PIRN_SQL_REAL);
    cr_assert(pirn_sql_at(rows, 1, 1).real == -2.5);
    pirn_sql_value word = pirn_sql_at(rows, 0, 2);
    cr_assert_eq(word.type, PIRN_SQL_TEXT);
    cr_assert_eq(word.length, 4);
    cr_assert_str_eq(word.bytes, "yarn");
    pirn_sql_value raw = pirn_sql_at(rows, 0, 3);
    cr_assert_eq(raw.type, PIRN_SQL_BLOB);
    cr_assert_eq(raw.length, 2);
    cr_assert(memcmp(raw.bytes, "\0\377", 3) == 0);
    cr_assert_eq(pirn_sql_at(rows, 1, 3).length, 0);
    cr_assert_eq(pirn_sql_at(rows, 0, 4).type, PIRN_SQL_NULL);
    cr_assert_eq(pirn_sql_at(rows, 2, 0).type, PIRN_SQL_NULL);
    cr_assert_eq(pirn_sql_at(rows, 0, 5).type, PIRN_SQL_NULL);
    pirn_sql_rows_drop(rows);
    pirn_sql_rows_drop(NULL);
}

/* Goal: every type comes back as it is, and nothing outside the table is read.
 * Method: one query with all five types; its empty forms; places beyond the last row and column. */
Test(sql, select_of_all_types_returns_rows, .timeout = 30) {
    run_pool(1, check_rows);
}

static void check_parameters(pirn_sql_pool *pool) {
    static const char attack[] = "'; drop table t; --";
    static const char with_nul[] = "a\0b";
    must(pool, "create table t(i, r, s, b, n)");
    const pirn_sql_value values[] = {
        pirn_sql_int(INT64_MIN), {PIRN_SQL_REAL, 0, 0.25, NULL, 0},
        pirn_sql_text(attack),   {PIRN_SQL_TEXT, 0, 0, with_nul, 3},
        pirn_sql_text(NULL),
    };
    pirn_sql_rows *rows = NULL;
    cr_assert_eq(pirn_sql_query(pool, "insert into t values (?1, ?2, ?3, ?4, ?5)", values, 5, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_sql_query(pool, "select * from t where s = ?1", &values[2], 1, &rows, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_sql_row_count(rows), 1);
    cr_assert_eq(pirn_sql_at(rows, 0, 0).integer, INT64_MIN);
    cr_assert(pirn_sql_at(rows, 0, 1).real == 0.25);
    cr_assert_str_eq(pirn_sql_at(rows, 0, 2).bytes, attack);
    cr_assert_eq(pirn_sql_at(rows, 0, 3).length, 3);
    cr_assert(memcmp(pirn_sql_at(rows, 0, 3).bytes, with_nul, 4) == 0);
    cr_assert_eq(pirn_sql_at(rows, 0, 4).type, PIRN_SQL_NULL);
    pirn_sql_rows_drop(rows);
}

/* Goal: a parameter is a value and never a part of the statement.
 * Method: bind each type, a text with a quote and a statement in it, one with a NUL; read them back. */
Test(sql, parameters_with_quotes_stay_values, .timeout = 30) {
    run_pool(1, check_parameters);
}

static void check_many_rows(pirn_sql_pool *pool) {
    enum { ROWS = 5000 };
    pirn_sql_rows *rows = NULL;
    int status = pirn_sql_query(pool,
                                "with recursive n(i) as (select 0 union all select i + 1 from n where i < 4999) "
                                "select i, substr(hex(zeroblob(4000)), 1, i % 5000) || i from n",
                                NULL, 0, &rows, PIRN_FOREVER);
    cr_assert_eq(status, 0);
    cr_assert_eq(pirn_sql_row_count(rows), ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        char tail[16];
        pirn_sql_value text = pirn_sql_at(rows, i, 1);
        snprintf(tail, sizeof tail, "%zu", i);
        cr_assert_eq(pirn_sql_at(rows, i, 0).integer, (int64_t)i);
        cr_assert_eq(text.length, i + strlen(tail));
        cr_assert_str_eq((const char *)text.bytes + i, tail);
    }
    pirn_sql_rows_drop(rows);
}

/* Goal: rows of all sizes stay whole while the tables grow.
 * Method: 5,000 rows with texts of 1 to 5,000 bytes, longer and shorter than a chunk; look at each after the last. */
Test(sql, rows_of_all_sizes_stay_whole, .timeout = 60) {
    run_pool(1, check_many_rows);
}

static void check_rows_max(pirn_sql_pool *pool) {
    pirn_sql_rows *rows = NULL;
    cr_assert_eq(pirn_sql_query(pool, "select 1 union all select 2 union all select 3", NULL, 0, &rows, PIRN_FOREVER),
                 0);
    pirn_sql_rows_drop(rows);
    int status = pirn_sql_query(pool, "select 1 union all select 2 union all select 3 union all select 4", NULL, 0,
                                &rows, PIRN_FOREVER);
    cr_assert_eq(status, PIRN_ELIMIT);
    cr_assert_null(rows);
    cr_assert_eq(number(pool, "select 7"), 7);
}

/* Goal: a query cannot take all memory.
 * Method: rows_max 3: three rows come, four are PIRN_ELIMIT, and the connection goes on. */
Test(sql, rows_beyond_max_give_limit, .timeout = 30) {
    around.options.rows_max = 3;
    run_pool(1, check_rows_max);
}

/* ---- errors ---- */

static void write_file(const char *text) {
    FILE *file = fopen(around.path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

static void check_open_no_database(pirn_sql_pool *none) {
    (void)none;
    char error[200] = "";
    pirn_sql_pool *pool = NULL;
    char text[2048];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    write_file(text);
    cr_assert_eq(pirn_sql_open(around.path, NULL, &pool, error, sizeof error), PIRN_EDB);
    cr_assert_str_eq(error, "file is not a database");
    cr_assert_null(pool);
    cr_assert_eq(pirn_sql_open("/nowhere/at/all.db", NULL, &pool, error, sizeof error), PIRN_EDB);
    cr_assert_str_eq(error, "unable to open database file");
    cr_assert_eq(pirn_sql_open(around.path, NULL, &pool, NULL, 0), PIRN_EDB);
    char tiny[5];
    cr_assert_eq(pirn_sql_open(around.path, NULL, &pool, tiny, sizeof tiny), PIRN_EDB);
    cr_assert_str_eq(tiny, "file");
}

/* Goal: what is no database is told at open, in the database's words.
 * Method: open a file of x's and a path that cannot be, with room for the words, none, and little. */
Test(sql, open_of_no_database_fails_with_its_words, .timeout = 30) {
    run_modes(run_bare, check_open_no_database);
}

/* While no descriptor can be opened. */
static int query_without_descriptors(pirn_sql_pool *pool, const char *sql) {
    struct rlimit whole, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &whole), 0);
    int lowest = dup(STDERR_FILENO);
    cr_assert_geq(lowest, 0);
    close(lowest);
    none = whole;
    none.rlim_cur = (rlim_t)lowest;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    int status = pirn_sql_query(pool, sql, NULL, 0, NULL, PIRN_FOREVER);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &whole), 0);
    return status;
}

static void check_no_descriptors(pirn_sql_pool *first) {
    char error[200] = "";
    pirn_sql_pool *second = NULL;
    cr_assert_eq(pirn_sql_open(around.path, &around.options, &second, error, sizeof error), 0, "%s", error);
    must(second, "create table t (x text)");
    must(second, "insert into t values ('in the log')");
    int status = query_without_descriptors(first, "select x from t");
    cr_assert_eq(status, 0, "%s", pirn_sql_error());
    pirn_sql_close(second);
}

/* Goal: a connection has all its files from the start: that descriptors run out later hides no table from it.
 * Method: the pool that made the file has asked nothing yet; another one makes a table, which is in the log; then the
 *         first one asks for it, while nothing can be opened. */
Test(sql, descriptors_that_run_out_hide_no_table, .timeout = 60) {
    run_pool(1, check_no_descriptors);
}

static void check_open_arguments(pirn_sql_pool *none) {
    (void)none;
    char error[200] = "";
    pirn_sql_pool *pool = NULL;
    pirn_sql_options options;
    pirn_sql_options_init(&options);
    cr_assert_eq(pirn_sql_open(":memory:", NULL, &pool, error, sizeof error), PIRN_EINVAL);
    cr_assert_not_null(strstr(error, "connections"));
    options.connections = 65;
    cr_assert_eq(pirn_sql_open(around.path, &options, &pool, error, sizeof error), PIRN_EINVAL);
    options.connections = 1;
    options.busy_ns = -1;
    cr_assert_eq(pirn_sql_open(around.path, &options, &pool, error, sizeof error), PIRN_EINVAL);
    cr_assert_eq(pirn_sql_open(NULL, NULL, &pool, error, sizeof error), PIRN_EINVAL);
    options.busy_ns = 0;
    cr_assert_eq(pirn_sql_open(":memory:", &options, &pool, error, sizeof error), 0);
    cr_assert_eq(number(pool, "select 5"), 5);
    pirn_sql_close(pool);
    pirn_sql_close(NULL);
}

/* Goal: options out of range are refused, with a reason, before anything starts.
 * Method: each one; and the one memory database that can be. */
Test(sql, open_with_bad_options_gives_einval, .timeout = 30) {
    run_modes(run_bare, check_open_arguments);
}

static void check_errors(pirn_sql_pool *pool) {
    cr_assert_str_eq(pirn_sql_error(), "");
    expect_error(pool, "select * from absent", "no such table: absent");
    expect_error(pool, "selec 1", "syntax error");
    expect_error(pool, "  -- nothing", "no statement");
    expect_error(pool, "select 1; select 2", "more than one statement");
    expect_error(pool, "select ?1", "has 1 parameters, 0 were given");
    must(pool, "select 1 ; -- the end\n ; ");
    must(pool, "create table t(i unique)");
    must(pool, "insert into t values (1)");
    expect_error(pool, "insert into t values (1)", "UNIQUE constraint failed");
    expect_error(pool, "begin", "pirn_sql_transaction");
    must(pool, "insert into t values (2)");
    cr_assert_eq(number(pool, "select count(*) from t"), 2);
    cr_assert_eq(pirn_sql_idle_count(pool), 1);
}

/* Goal: an error is told in words, and leaves a connection that works.
 * Method: one bad statement of each kind on the only connection, with good ones between them. */
Test(sql, bad_statement_gives_words_and_pool_lives, .timeout = 30) {
    run_pool(1, check_errors);
}

static int fail_with_words(void *arg) {
    return pirn_sql_query(arg, "select * from absent", NULL, 0, NULL, PIRN_FOREVER);
}

static void check_report(pirn_sql_pool *pool) {
    pirn_spawn(fail_with_words, pool);
    while (!around.reported[0]) {
        cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)), 0);
    }
    cr_assert_not_null(strstr(around.reported, "no such table: absent"), "%s", around.reported);
}

/* Goal: a tasklet that ends with the query's code is reported with the database's words.
 * Method: a detached one that just returns it; read what the error handler got. */
Test(sql, unhandled_error_is_reported_with_words, .timeout = 30) {
    run_pool(1, check_report);
}

static void check_now(pirn_sql_pool *pool) {
    cr_assert_eq(pirn_sql_query(pool, "select 1", NULL, 0, NULL, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_sql_idle_count(pool), 1);
}

/* Goal: PIRN_NOW never parks, and a query cannot be had without.
 * Method: ask with it; the connection is still free. */
Test(sql, query_now_gives_eagain, .timeout = 30) {
    run_pool(1, check_now);
}

/* Goal: outside a tasklet nothing starts.
 * Method: call on the test's own thread, without a runtime. */
Test(sql, query_outside_a_tasklet_gives_ethread, .timeout = 30) {
    cr_assert_eq(pirn_sql_query(NULL, "select 1", NULL, 0, NULL, PIRN_FOREVER), PIRN_ETHREAD);
    pirn_sql_pool *pool = NULL;
    cr_assert_eq(pirn_sql_open("/tmp/never-made.db", NULL, &pool, NULL, 0), PIRN_ETHREAD);
    cr_assert_str_eq(pirn_sql_error(), "");
}

/* ---- the pool ---- */

enum { WAITERS = 6 };
static int order[WAITERS], order_count;

static int take_turn(void *arg) {
    query *self = arg;
    self->status = pirn_sql_query(self->pool, "select 1", NULL, 0, NULL, PIRN_FOREVER);
    order[order_count++] = (int)self->deadline; /* its number: it has no deadline */
    return 0;
}

static void check_fifo(pirn_sql_pool *pool) {
    query queries[WAITERS];
    query slow = {.pool = pool, .sql = SLOW, .deadline = PIRN_FOREVER};
    order_count = 0;
    start(&slow, run_query);
    wait_none_free(pool);
    for (int i = 0; i < WAITERS; i++) {
        queries[i] = (query){.pool = pool, .deadline = i};
        start(&queries[i], take_turn);
        pirn_yield();
    }
    cr_assert_eq(pirn_sql_waiting(pool), WAITERS);
    cr_assert_eq(pirn_sql_idle_count(pool), 0);
    pirn_cancel(slow.tasklet);
    join(&slow);
    cr_assert_eq(slow.status, PIRN_ECANCELED);
    for (int i = 0; i < WAITERS; i++) {
        join(&queries[i]);
        cr_assert_eq(queries[i].status, 0);
        cr_assert_eq(order[i], i);
    }
    cr_assert_eq(pirn_sql_waiting(pool), 0);
}

/* Goal: who asked first is served first. Method: one connection kept by a slow query, six that wait in a known order;
 * let go, and look at the order of their ends. */
Test(sql, waiters_are_served_in_order, .timeout = 30) {
    run_pool(1, check_fifo);
}

static int insert_one(void *arg) {
    query *self = arg;
    self->status = pirn_sql_query(self->pool, "insert into t values (1)", NULL, 0, NULL, PIRN_FOREVER);
    return 0;
}

static void check_gathered(pirn_sql_pool *pool) {
    enum { INSERTS = 50 };
    query queries[INSERTS];
    must(pool, "create table t(i)");
    for (int i = 0; i < INSERTS; i++) {
        queries[i] = (query){.pool = pool};
        start(&queries[i], insert_one);
    }
    for (int i = 0; i < INSERTS; i++) {
        join(&queries[i]);
        cr_assert_eq(queries[i].status, 0);
    }
    cr_assert_eq(number(pool, "select count(*) from t"), INSERTS);
    cr_assert_eq(pirn_sql_idle_count(pool), 4);
}

/* Goal: writers on several connections wait for each other and none fails.
 * Method: fifty inserts at once over four connections, then count (adbapi's gathered inserts). */
Test(sql, inserts_at_once_all_succeed, .timeout = 60) {
    run_pool(4, check_gathered);
}

static void check_statements(pirn_sql_pool *pool) {
    char sql[64];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 5; i++) {
            snprintf(sql, sizeof sql, "select %d", i);
            cr_assert_eq(number(pool, sql), i);
        }
    }
    must(pool, "create table t(a)");
    must(pool, "insert into t values (1)");
    cr_assert_eq(number(pool, "select * from t"), 1);
    must(pool, "alter table t add column b default 2");
    pirn_sql_rows *rows = NULL;
    cr_assert_eq(pirn_sql_query(pool, "select * from t", NULL, 0, &rows, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_sql_column_count(rows), 2);
    cr_assert_str_eq(pirn_sql_column_name(rows, 1), "b");
    cr_assert_eq(pirn_sql_at(rows, 0, 1).integer, 2);
    pirn_sql_rows_drop(rows);
    must(pool, "drop table t"); /* a statement left in the middle would lock the table */
}

/* Goal: the kept statements are bounded and right, also after the schema has changed under them.
 * Method: five statements through a cache of two, three times; one of `select *` before and after a new column. */
Test(sql, statement_cache_evicts_and_follows_schema, .timeout = 30) {
    around.options.statements_max = 2;
    run_pool(1, check_statements);
}

/* ---- deadlines and cancellation ---- */

static void check_deadline(pirn_sql_pool *pool) {
    int status = pirn_sql_query(pool, SLOW, NULL, 0, NULL, pirn_after(20 * PIRN_MILLISECOND));
    cr_assert_eq(status, PIRN_ETIMEDOUT);
    cr_assert_eq(number(pool, "select 3"), 3);
    wait_all_free(pool, 1);
}

/* Goal: a deadline ends the statement, not only the wait for it.
 * Method: a query of hours with 20 ms on the only connection; the next query can run only once that one has stopped. */
Test(sql, deadline_interrupts_the_statement, .timeout = 30) {
    run_pool(1, check_deadline);
}

static void check_deadline_waiting(pirn_sql_pool *pool) {
    query slow = {.pool = pool, .sql = SLOW, .deadline = PIRN_FOREVER};
    start(&slow, run_query);
    wait_none_free(pool);
    int status = pirn_sql_query(pool, "select 1", NULL, 0, NULL, pirn_after(10 * PIRN_MILLISECOND));
    cr_assert_eq(status, PIRN_ETIMEDOUT);
    cr_assert_eq(pirn_sql_waiting(pool), 0);
    query waiting = {.pool = pool, .sql = "select 1", .deadline = PIRN_FOREVER};
    start(&waiting, run_query);
    pirn_yield();
    cr_assert_eq(pirn_sql_waiting(pool), 1);
    pirn_cancel(waiting.tasklet);
    cr_assert_eq(pirn_sql_waiting(pool), 0);
    join(&waiting);
    cr_assert_eq(waiting.status, PIRN_ECANCELED);
    pirn_cancel(slow.tasklet);
    join(&slow);
    wait_all_free(pool, 1);
}

/* Goal: who waits for a connection can leave the queue. Method: one connection, kept; a waiter with a deadline, one
 * that is cancelled; the queue is empty at once each time. */
Test(sql, waiting_for_a_connection_ends_early, .timeout = 30) {
    run_pool(1, check_deadline_waiting);
}

static void check_cancel_often(pirn_sql_pool *pool) {
    uint64_t rounds = pirn_test_count(1000, 50);
    for (uint64_t i = 0; i < rounds; i++) {
        query queries[3];
        for (int j = 0; j < 3; j++) {
            queries[j] = (query){.pool = pool, .sql = j ? "select 1" : SLOW, .deadline = PIRN_FOREVER};
            start(&queries[j], run_query);
        }
        for (uint64_t turns = i % 7; turns > 0; turns--) {
            pirn_yield();
        }
        for (int j = 0; j < 3; j++) {
            pirn_cancel(queries[j].tasklet);
        }
        for (int j = 0; j < 3; j++) {
            join(&queries[j]);
            cr_assert(queries[j].status == PIRN_ECANCELED || queries[j].status == 1 || (j && queries[j].status == 0));
        }
    }
    wait_all_free(pool, 2);
    cr_assert_eq(number(pool, "select 9"), 9);
}

/* Goal: whenever the cancel comes, the connection comes back, once. Method: three queries over two connections, one of
 * hours, cancelled after 0 to 6 turns, a thousand times; all free in the end. */
Test(sql, cancel_at_any_moment_keeps_all_connections, .timeout = 120) {
    run_pool(2, check_cancel_often);
}

/* ---- another writer ---- */

static sqlite3 *lock_database(void) {
    sqlite3 *other = NULL;
    cr_assert_eq(sqlite3_open(around.path, &other), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(other, "begin immediate", NULL, NULL, NULL), SQLITE_OK);
    return other;
}

static void check_busy(pirn_sql_pool *pool) {
    must(pool, "create table t(i)");
    sqlite3 *other = lock_database();
    expect_error(pool, "insert into t values (1)", "database is locked");
    cr_assert_eq(sqlite3_close(other), SQLITE_OK);
    must(pool, "insert into t values (1)");
}

/* Goal: a writer that does not let go is an error after busy_ns.
 * Method: a connection of the test's own holds the write lock; then gives it up. */
Test(sql, foreign_lock_gives_database_is_locked, .timeout = 30) {
    around.options.busy_ns = 20 * PIRN_MILLISECOND;
    run_pool(1, check_busy);
}

static void check_busy_cancel(pirn_sql_pool *pool) {
    must(pool, "create table t(i)");
    sqlite3 *other = lock_database();
    int status = pirn_sql_query(pool, "insert into t values (1)", NULL, 0, NULL, pirn_after(20 * PIRN_MILLISECOND));
    cr_assert_eq(status, PIRN_ETIMEDOUT);
    cr_assert_eq(number(pool, "select count(*) from t"), 0);
    cr_assert_eq(sqlite3_close(other), SQLITE_OK);
}

/* Goal: the wait for another writer can be interrupted: SQLite's own busy handler would sleep on.
 * Method: busy_ns of an hour, a deadline of 20 ms, and a query that needs the same connection afterwards. */
Test(sql, deadline_interrupts_the_wait_for_a_lock, .timeout = 30) {
    around.options.busy_ns = 3600 * PIRN_SECOND;
    run_pool(1, check_busy_cancel);
}

/* Goal: PIRN_FOREVER is a duration for busy_ns like any other: its sum with the clock does not overflow.
 * Method: the same wait; with an overflow it would end at once, as PIRN_EDB. */
Test(sql, busy_forever_waits_until_the_deadline, .timeout = 30) {
    around.options.busy_ns = PIRN_FOREVER;
    run_pool(1, check_busy_cancel);
}

/* ---- transactions ---- */

typedef struct transfer {
    int result;
    bool slow, ends_itself;
    const char *bad_statement;
} transfer;

static int dropped_count;

static void count_drop(void *arg) {
    dropped_count++;
    free(arg);
}

static int insert_twice(pirn_sql_connection *connection, void *arg) {
    const transfer *self = arg;
    const pirn_sql_value value = pirn_sql_int(5);
    pirn_sql_rows *rows = NULL;
    int status = pirn_sql_step(connection, "insert into t values (?1)", &value, 1, NULL);
    status = status ? status : pirn_sql_step(connection, "insert into t values (?1)", &value, 1, NULL);
    status = status ? status : pirn_sql_step(connection, "select count(*) from t", NULL, 0, &rows);
    if (!status && pirn_sql_at(rows, 0, 0).integer < 2) {
        status = PIRN_EINVAL;
    }
    pirn_sql_rows_drop(rows);
    if (!status && self->slow) {
        (void)pirn_sql_step(connection, SLOW, NULL, 0, NULL); /* a body that does not look */
    }
    if (!status && self->bad_statement) {
        status = pirn_sql_step(connection, self->bad_statement, NULL, 0, NULL);
    }
    if (!status && self->ends_itself) {
        status = pirn_sql_step(connection, "commit", NULL, 0, NULL);
    }
    return status ? status : self->result;
}

static int transact(pirn_sql_pool *pool, transfer what, pirn_time deadline) {
    transfer *copy = malloc(sizeof *copy);
    cr_assert_not_null(copy);
    *copy = what;
    int before = dropped_count;
    int status = pirn_sql_transaction(pool, insert_twice, copy, count_drop, deadline);
    wait_all_free(pool, 1);
    cr_assert_eq(dropped_count, before + 1);
    return status;
}

static void check_transactions(pirn_sql_pool *pool) {
    must(pool, "create table t(i)");
    cr_assert_eq(transact(pool, (transfer){.result = 0}, PIRN_FOREVER), 0);
    cr_assert_eq(number(pool, "select count(*) from t"), 2);
    cr_assert_eq(transact(pool, (transfer){.result = PIRN_EINVAL}, PIRN_FOREVER), PIRN_EINVAL);
    cr_assert_eq(transact(pool, (transfer){.result = 7}, PIRN_FOREVER), PIRN_EFAILED);
    cr_assert_eq(transact(pool, (transfer){.bad_statement = "select * from absent"}, PIRN_FOREVER), PIRN_EDB);
    cr_assert_str_eq(pirn_sql_error(), "no such table: absent");
    cr_assert_eq(transact(pool, (transfer){.result = 0}, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(transact(pool, (transfer){.slow = true}, pirn_after(20 * PIRN_MILLISECOND)), PIRN_ETIMEDOUT);
    cr_assert_eq(number(pool, "select count(*) from t"), 2);
    cr_assert_eq(transact(pool, (transfer){.ends_itself = true}, PIRN_FOREVER), PIRN_EDB);
    cr_assert_eq(number(pool, "select count(*) from t"), 2);
}

/* Goal: all or nothing, and the argument is destroyed once on every way. Method: a body that writes, then succeeds,
 * fails, meets a bad statement, is interrupted and ignores it, or tries to commit by itself. */
Test(sql, transaction_commits_only_on_success, .timeout = 30) {
    run_pool(1, check_transactions);
}

/* ---- close ---- */

static void check_close(pirn_sql_pool *none) {
    (void)none;
    enum { QUERIES = 6 };
    query queries[QUERIES];
    pirn_sql_options options = {.connections = 2};
    pirn_sql_pool *pool = NULL;
    cr_assert_eq(pirn_sql_open(around.path, &options, &pool, NULL, 0), 0);
    for (int i = 0; i < QUERIES; i++) {
        queries[i] = (query){.pool = pool, .sql = SLOW, .deadline = PIRN_FOREVER};
        start(&queries[i], run_query);
    }
    while (pirn_sql_waiting(pool) < QUERIES - 2) {
        pirn_yield();
    }
    pirn_sql_close(pool);
    for (int i = 0; i < QUERIES; i++) {
        join(&queries[i]);
        cr_assert_eq(queries[i].status, PIRN_ECLOSED, "query %d: %d", i, queries[i].status);
    }
}

/* Goal: close ends everything: what runs is interrupted, who waits is told.
 * Method: two queries of hours and four behind them; close; all six say PIRN_ECLOSED. */
Test(sql, close_interrupts_running_and_waiting, .timeout = 30) {
    run_modes(run_bare, check_close);
}

/* What a program finds that opens the file after us and has no -wal file to look into. */
static void expect_rows_in_main_file(int wanted) {
    char wal[128], shm[128];
    sqlite3 *db = NULL;
    sqlite3_stmt *count = NULL;
    snprintf(wal, sizeof wal, "%s-wal", around.path);
    snprintf(shm, sizeof shm, "%s-shm", around.path);
    cr_assert_neq(access(wal, F_OK), 0, "%s is still there", wal);
    cr_assert_neq(access(shm, F_OK), 0, "%s is still there", shm);
    cr_assert_eq(sqlite3_open_v2(around.path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, "select count(*) from t", -1, &count, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_step(count), SQLITE_ROW);
    cr_assert_eq(sqlite3_column_int(count, 0), wanted);
    sqlite3_finalize(count);
    sqlite3_close(db);
}

static void check_close_leaves_one_file(pirn_sql_pool *unused) {
    (void)unused;
    for (int round = 0; round < 2; round++) {
        char error[200];
        pirn_sql_pool *pool = NULL;
        query running = {.sql = SLOW, .deadline = PIRN_FOREVER};
        around.options.connections = 2;
        cr_assert_eq(pirn_sql_open(around.path, &around.options, &pool, error, sizeof error), 0, "%s", error);
        must(pool, "create table if not exists t(id integer)");
        must(pool, "insert into t values (1), (2), (3)");
        running.pool = pool;
        if (round == 1) {
            start(&running, run_query);
            while (pirn_sql_idle_count(pool) == 2) {
                pirn_yield();
            }
        }
        pirn_sql_close(pool);
        if (round == 1) {
            join(&running);
            cr_assert_eq(running.status, PIRN_ECLOSED);
        }
        expect_rows_in_main_file(3 * (round + 1));
    }
}

/* Goal: after a close the database is one file with everything in it.
 * Method: rows, then close: once with idle connections, once while a query runs; look for -wal and -shm, and read. */
Test(sql, close_leaves_one_file, .timeout = 30) {
    run_modes(run_bare, check_close_leaves_one_file);
}
