/* SPDX-License-Identifier: MIT
 *
 * What: transactions that end otherwise than their body meant, on real SQLite files: SQLite rolls back by itself, the
 *       body tries to end or to nest its transaction, the commit fails, the caller leaves.
 * Each test runs in threaded and in single mode, in a folder of its own.
 */
#include "sql_site.h"

#include <signal.h>
#include <sys/resource.h>

#define STEPS_MAX 6

/* A body that runs all its steps, whatever they return, and then returns `result`, or the last step's code. */
typedef struct script {
    const char *steps[STEPS_MAX];
    int codes[STEPS_MAX];
    bool returns_last;
    int result;
} script;

static int run_script(pirn_sql_connection *connection, void *arg) {
    script *self = arg;
    int last = 0;
    for (int i = 0; i < STEPS_MAX && self->steps[i]; i++) {
        last = self->codes[i] = pirn_sql_step(connection, self->steps[i], NULL, 0, NULL);
    }
    return self->returns_last ? last : self->result;
}

/* The caller waits for ever, so the script may be on its stack. */
static int transact(pirn_sql_pool *pool, script *self) {
    return pirn_sql_transaction(pool, run_script, self, NULL, PIRN_FOREVER);
}

static void make_tables(pirn_sql_pool *pool) {
    must(pool, "create table t(a)");
    must(pool, "create table u(a unique on conflict rollback)");
    must(pool, "insert into u values (7)");
    must(pool, "create trigger no before delete on u begin select raise(rollback, 'not allowed'); end");
}

/* ---- SQLite rolls back by itself ---- */

static void check_lost(pirn_sql_pool *pool) {
    static const struct {
        const char *statement, *words;
    } causes[] = {
        {"insert into u values (7)", "UNIQUE constraint failed: u.a"},
        {"delete from u", "not allowed"},
        {"insert or rollback into u values (7)", "UNIQUE constraint failed: u.a"},
        {"insert or rollback into t select a from u union all select abs(-9223372036854775808)", "integer overflow"},
    };
    make_tables(pool);
    for (size_t i = 0; i < 3 * (sizeof causes / sizeof *causes); i++) {
        const char *statement = causes[i / 3].statement;
        script body = {.steps = {"insert into t values (1)", statement, "insert into t values (2)",
                                 "select * from absent", "savepoint s"},
                       .returns_last = i % 3 == 0,
                       .result = i % 3 == 1 ? 0 : PIRN_EINVAL};
        if (i / 3 == 3) { /* an error that rolls back nothing but its statement: the transaction goes on */
            body.steps[3] = NULL;
            cr_assert_eq(transact(pool, &body), i % 3 == 2 ? PIRN_EINVAL : 0, "%s", pirn_sql_error());
            continue;
        }
        cr_assert_eq(transact(pool, &body), PIRN_EDB, "%s", statement);
        cr_assert_str_eq(pirn_sql_error(), causes[i / 3].words);
        cr_assert_eq(body.codes[0], 0);
        for (int step = 1; step < 5; step++) {
            cr_assert_eq(body.codes[step], PIRN_EDB, "%s: step %d", statement, step);
        }
        cr_assert_eq(number(pool, "select count(*) from t"), 0, "%s", statement);
        cr_assert_eq(number(pool, "select count(*) from u"), 1);
    }
    cr_assert_eq(number(pool, "select count(*) from t"), 4);
}

/* Goal: after SQLite has rolled a transaction back, no step of its body runs, and the result is the first cause.
 * Method: a conflict clause of a table, RAISE(ROLLBACK) and a conflict clause of a statement, in a body that goes on,
 *         and that returns its last step's code, 0, or a code of its own; and an error that loses nothing. */
Test(sql_query, rolled_back_by_sqlite_runs_no_later_step, .timeout = 60) {
    run_pool(1, check_lost);
}

static void check_full(pirn_sql_pool *pool) {
    must(pool, "create table t(a)");
    must(pool, "create table small(a)");
    script body = {.steps = {"insert into small values (1)", "insert into t values (zeroblob(200000))",
                             "insert into small values (2)", "insert into small values (3)"}};
    cr_assert_eq(transact(pool, &body), PIRN_EDB);
    cr_assert_str_eq(pirn_sql_error(), "database or disk is full");
    cr_assert_eq(body.codes[2], PIRN_EDB);
    cr_assert_eq(number(pool, "select count(*) from small"), 0);
    must(pool, "insert into small values (4)");
}

/* Goal: a database that is full loses the whole transaction, and the connection lives.
 * Method: max_page_count 20 by init_sql; a value that does not fit, between two that do. */
Test(sql_query, full_database_loses_the_transaction, .timeout = 30) {
    around.options.init_sql = "PRAGMA max_page_count = 20";
    run_pool(1, check_full);
}

static void limit_file_size(rlim_t bytes) {
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void check_full_at_commit(pirn_sql_pool *pool) {
    must(pool, "create table t(a)");
    must(pool, "insert into t values (1)");
    script body = {.steps = {"insert into t values (zeroblob(400000))", "insert into t values (2)"}};
    limit_file_size(100000);
    int status = transact(pool, &body);
    limit_file_size(RLIM_INFINITY);
    cr_assert_eq(body.codes[0], 0, "it fits into the cache, so the commit fails");
    cr_assert_eq(status, PIRN_EDB);
    cr_assert_neq(pirn_sql_error()[0], '\0');
    cr_assert_eq(number(pool, "select count(*) from t"), 1);
    must(pool, "insert into t values (3)");
    cr_assert_eq(number(pool, "select count(*) from t"), 2);
}

/* Goal: a commit that fails because a file cannot grow leaves nothing, and SIGXFSZ kills nobody.
 * Method: RLIMIT_FSIZE below what the log needs, while the body's changes are still in SQLite's cache. */
Test(sql_query, file_that_cannot_grow_fails_the_commit, .timeout = 30) {
    run_pool(1, check_full_at_commit);
}

static void check_commit_fails(pirn_sql_pool *pool) {
    must(pool, "create table p(a integer primary key)");
    must(pool, "create table c(a references p deferrable initially deferred)");
    script body = {.steps = {"insert into p values (1)", "insert into c values (2)"}};
    cr_assert_eq(transact(pool, &body), PIRN_EDB);
    cr_assert_str_eq(pirn_sql_error(), "FOREIGN KEY constraint failed");
    cr_assert_eq(number(pool, "select count(*) from p"), 0);
    body.steps[1] = "insert into c values (1)";
    cr_assert_eq(transact(pool, &body), 0, "%s", pirn_sql_error());
    cr_assert_str_eq(pirn_sql_error(), "");
}

/* Goal: a commit that the database refuses rolls back all.
 * Method: a deferred foreign key that points nowhere at the commit; then the same with one that points somewhere. */
Test(sql_query, refused_commit_rolls_back, .timeout = 30) {
    around.options.init_sql = "PRAGMA foreign_keys = ON";
    run_pool(1, check_commit_fails);
}

/* ---- a body that ends or nests its transaction ---- */

static void check_commands(pirn_sql_pool *pool) {
    static const char *const commands[] = {"begin",           "begin immediate", "COMMIT",
                                           "end transaction", "rollback",        "/* so */ Rollback ; -- it is",
                                           "\n\tEND\n;\n",    "explain commit",  "rollback transaction"};
    must(pool, "create table t(a)");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        script body = {.steps = {"insert into t values (1)", commands[i], "insert into t values (2)"},
                       .result = i % 2 ? 0 : PIRN_EINVAL};
        int64_t before = number(pool, "select count(*) from t");
        cr_assert_eq(transact(pool, &body), i % 2 ? 0 : PIRN_EINVAL, "%s", commands[i]);
        cr_assert_eq(body.codes[1], PIRN_EDB, "%s", commands[i]);
        cr_assert_eq(body.codes[2], 0, "%s", commands[i]);
        cr_assert_eq(number(pool, "select count(*) from t"), before + (i % 2 ? 2 : 0), "%s", commands[i]);
        expect_error(pool, commands[i], "a query cannot begin or end a transaction: use pirn_sql_transaction");
    }
    script body = {.steps = {"commit"}, .returns_last = true};
    cr_assert_eq(transact(pool, &body), PIRN_EDB);
    cr_assert_not_null(strstr(pirn_sql_error(), "the body of a transaction cannot begin or end one"));
}

/* Goal: a body ends its transaction by its result only; a command for it is refused and changes nothing.
 * Method: the commands in several spellings between two inserts, in bodies that succeed and fail; and as queries. */
Test(sql_query, command_to_end_it_is_refused, .timeout = 60) {
    run_pool(1, check_commands);
}

static void check_savepoints(pirn_sql_pool *pool) {
    must(pool, "create table t(a)");
    script body = {.steps = {"insert into t values (1)", "savepoint s", "insert into t values (2)", "rollback to s",
                             "insert into t values (3)", "release s"},
                   .returns_last = true};
    cr_assert_eq(transact(pool, &body), 0, "%s", pirn_sql_error());
    cr_assert_eq(number(pool, "select sum(a) from t"), 4);
    script open = {.steps = {"savepoint s", "insert into t values (10)"}};
    cr_assert_eq(transact(pool, &open), 0, "%s", pirn_sql_error());
    cr_assert_eq(number(pool, "select sum(a) from t"), 14);
    expect_error(pool, "savepoint s", "cannot begin");
    expect_error(pool, "release s", "no such savepoint");
    must(pool, "insert into t values (100)");
}

/* Goal: savepoints nest inside a body, and a query cannot begin a transaction by one.
 * Method: one that is rolled back to and released, one that is left open; then the same text, which is in the cache of
 *         statements by then, as a query. */
Test(sql_query, savepoints_nest_in_a_body_only, .timeout = 30) {
    run_pool(1, check_savepoints);
}

static pirn_sql_pool *outer_pool;

static int nest(pirn_sql_connection *connection, void *arg) {
    int *codes = arg;
    codes[0] = pirn_sql_step(connection, "insert into t values (1)", NULL, 0, NULL);
    codes[1] = pirn_sql_transaction(outer_pool, run_script, NULL, NULL, PIRN_FOREVER);
    codes[2] = pirn_sql_query(outer_pool, "insert into t values (2)", NULL, 0, NULL, PIRN_FOREVER);
    codes[3] = pirn_sql_step(NULL, "insert into t values (3)", NULL, 0, NULL);
    codes[4] = pirn_sql_step(connection, NULL, NULL, 0, NULL);
    return 0;
}

static void check_nested(pirn_sql_pool *pool) {
    int codes[5] = {0};
    must(pool, "create table t(a)");
    outer_pool = pool;
    cr_assert_eq(pirn_sql_transaction(pool, nest, codes, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(codes[0], 0);
    cr_assert_eq(codes[1], PIRN_ETHREAD);
    cr_assert_eq(codes[2], PIRN_ETHREAD);
    cr_assert_eq(codes[3], PIRN_EINVAL);
    cr_assert_eq(codes[4], PIRN_EINVAL);
    cr_assert_eq(number(pool, "select count(*) from t"), 1);
}

/* Goal: a transaction or query of the pool inside a body is an error at once, and not a wait for its own connection.
 * Method: both on the only connection, from its body; steps without a connection and without a text. */
Test(sql_query, nested_one_gives_ethread, .timeout = 30) {
    run_pool(1, check_nested);
}

/* ---- the caller leaves ---- */

/* Owned by the transaction: its caller does not wait. */
typedef struct left {
    int codes[3];
    int *seen; /* [3], of the test */
} left;

static int go_on(pirn_sql_connection *connection, void *arg) {
    left *self = arg;
    self->codes[0] = pirn_sql_step(connection, "insert into t values (1)", NULL, 0, NULL);
    self->codes[1] = pirn_sql_step(connection, SLOW, NULL, 0, NULL);
    self->codes[2] = pirn_sql_step(connection, "insert into t values (2)", NULL, 0, NULL);
    return 0;
}

static void tell_and_free(void *arg) {
    left *self = arg;
    memcpy(self->seen, self->codes, sizeof self->codes);
    free(self);
}

static int transact_and_leave(void *arg) {
    query *self = arg;
    left *body = calloc(1, sizeof *body);
    static int seen[3];
    body->seen = seen;
    memset(seen, 0, sizeof seen);
    self->status = pirn_sql_transaction(self->pool, go_on, body, tell_and_free, self->deadline);
    wait_all_free(self->pool, 1);
    cr_assert_eq(seen[0], 0);
    cr_assert_eq(seen[1], PIRN_ECLOSED);
    cr_assert_eq(seen[2], PIRN_ECLOSED);
    return 0;
}

static void check_left(pirn_sql_pool *pool) {
    must(pool, "create table t(a)");
    query timed = {.pool = pool, .deadline = pirn_after(20 * PIRN_MILLISECOND)};
    start(&timed, transact_and_leave);
    join(&timed);
    cr_assert_eq(timed.status, PIRN_ETIMEDOUT);
    cr_assert_eq(number(pool, "select count(*) from t"), 0);
}

/* Goal: no step runs after the caller's deadline, though the body goes on and succeeds.
 * Method: a body of an insert, a statement of hours and another insert, with a deadline of 20 ms. */
Test(sql_query, deadline_in_a_body_runs_no_later_step, .timeout = 30) {
    run_pool(1, check_left);
}

static int transact_until_cancelled(void *arg) {
    query *self = arg;
    static int unread[3];
    left *body = calloc(1, sizeof *body);
    body->seen = unread;
    self->status = pirn_sql_transaction(self->pool, go_on, body, tell_and_free, PIRN_FOREVER);
    return 0;
}

static void check_cancelled(pirn_sql_pool *pool) {
    must(pool, "create table t(a)");
    uint64_t rounds = pirn_test_count(200, 20);
    for (uint64_t i = 0; i < rounds; i++) {
        query one = {.pool = pool};
        start(&one, transact_until_cancelled);
        for (uint64_t turns = i % 7; turns > 0; turns--) {
            (void)pirn_sleep_until(pirn_after(PIRN_MICROSECOND * 100));
        }
        pirn_cancel(one.tasklet);
        join(&one);
        wait_all_free(pool, 1);
        cr_assert_eq(number(pool, "select count(*) from t"), 0, "round %d", (int)i);
    }
}

/* Goal: whenever a transaction is cancelled before its end, nothing of it stays. Method: cancel one that would last for
 * hours after 0 to 600 us, two hundred times; the table is empty each time. */
Test(sql_query, cancel_at_any_moment_leaves_nothing, .timeout = 60) {
    run_pool(1, check_cancelled);
}

/* ---- queries that fail after their change ---- */

static void check_returning(pirn_sql_pool *pool) {
    pirn_sql_rows *rows = NULL;
    must(pool, "create table t(a)");
    for (int i = 0; i < 3; i++) { /* 4 rows: one more than may be; 5: two more; 9 */
        static const char *const inserts[] = {
            "insert into t values (1), (2), (3), (4) returning a",
            "insert into t values (1), (2), (3), (4), (5) returning a",
            "insert into t values (1), (2), (3), (4), (5), (6), (7), (8), (9) returning a"};
        cr_assert_eq(pirn_sql_query(pool, inserts[i], NULL, 0, &rows, PIRN_FOREVER), PIRN_ELIMIT);
        cr_assert_not_null(strstr(pirn_sql_error(), "more than rows_max = 3 rows"));
        cr_assert_eq(number(pool, "select count(*) from t"), 0, "insert %d", i);
    }
    cr_assert_eq(pirn_sql_query(pool, "insert into t values (1), (2), (3) returning a", NULL, 0, &rows, PIRN_FOREVER),
                 0);
    pirn_sql_rows_drop(rows);
    cr_assert_eq(number(pool, "select count(*) from t"), 3);
}

/* Goal: a query that fails has changed nothing, also when it fails by our own bound.
 * Method: INSERT ... RETURNING with more rows than rows_max: count the table; then with as many as may be. */
Test(sql_query, query_over_rows_max_changes_nothing, .timeout = 30) {
    around.options.rows_max = 3;
    run_pool(1, check_returning);
}

/* ---- words ---- */

static void check_words(pirn_sql_pool *pool) {
    expect_error(pool, "select * from absent", "no such table");
    cr_assert_eq(pirn_sql_query(pool, SLOW, NULL, 0, NULL, pirn_after(10 * PIRN_MILLISECOND)), PIRN_ETIMEDOUT);
    cr_assert_str_eq(pirn_sql_error(), "");
    expect_error(pool, "select * from absent", "no such table");
    must(pool, "select 1");
    cr_assert_str_eq(pirn_sql_error(), "");
    expect_error(pool, "select * from absent", "no such table");
    cr_assert_eq(pirn_sql_query(pool, "select 1", NULL, 0, NULL, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_str_eq(pirn_sql_error(), "");
    expect_error(pool, "select * from absent", "no such table");
    script body = {.steps = {"select 1"}, .result = PIRN_EINVAL};
    cr_assert_eq(transact(pool, &body), PIRN_EINVAL);
    cr_assert_str_eq(pirn_sql_error(), "");
    expect_error(pool, "select * from absent", "no such table");
    (void)pirn_fail(PIRN_EDB, "the tasklet's own words");
    cr_assert_str_eq(pirn_sql_error(), "");
}

/* Goal: pirn_sql_error has the words of the last call only.
 * Method: an error with words, then each of: a deadline, a success, PIRN_NOW, a transaction whose body refuses, a
 *         failure of the tasklet's own. */
Test(sql_query, words_are_those_of_the_last_call, .timeout = 30) {
    run_pool(1, check_words);
}
