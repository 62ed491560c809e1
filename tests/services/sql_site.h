/* SPDX-License-Identifier: MIT
 *
 * What: the surroundings of the SQL tests: a pool on a file in a folder of its own, in threaded and in single mode, and
 *       short forms of the calls.
 */
#ifndef SQL_SITE_H
#define SQL_SITE_H

#include "test.h"

#include <unistd.h>

#include <pirn.h>
#include <pirn/sql.h>

#define SLOW                                                                                                           \
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000000000) select count(*) from n"

typedef struct surroundings {
    void (*body)(pirn_sql_pool *pool);
    pirn_sql_options options;
    char folder[64];
    char path[96];
    char reported[300]; /* by the error handler */
} surroundings;

static surroundings around;

static inline int open_and_run(void *unused) {
    (void)unused;
    char error[200] = "";
    pirn_sql_pool *pool = NULL;
    int status = pirn_sql_open(around.path, &around.options, &pool, error, sizeof error);
    cr_assert_eq(status, 0, "open: %d %s", status, error);
    cr_assert_str_eq(error, "");
    around.body(pool);
    pirn_sql_close(pool);
    return 0;
}

static inline int run_bare(void *unused) {
    (void)unused;
    around.body(NULL);
    return 0;
}

static inline void keep_report(void *context, int code, const char *text) {
    (void)context;
    (void)code;
    snprintf(around.reported, sizeof around.reported, "%s", text);
}

static inline void remove_folder(void) {
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", around.path, suffixes[i]);
        unlink(path);
    }
    cr_assert_eq(rmdir(around.folder), 0, "something was left in %s", around.folder);
}

static inline void run_modes(pirn_fn main_fn, void (*body)(pirn_sql_pool *pool)) {
    for (int i = 0; i < 2; i++) {
        pirn_options options;
        pirn_options_init(&options);
        options.mode = i ? PIRN_MODE_SINGLE : PIRN_MODE_THREADED;
        options.workers = i ? 1 : 2;
        options.on_error = keep_report;
        around.body = body;
        around.reported[0] = '\0';
        strcpy(around.folder, "/tmp/pirn-sql-test-XXXXXX");
        cr_assert_not_null(mkdtemp(around.folder));
        snprintf(around.path, sizeof around.path, "%s/test.db", around.folder);
        cr_assert_eq(pirn_run(&options, main_fn, NULL), 0);
        remove_folder();
    }
}

/* With a pool of `connections`. */
static inline void run_pool(unsigned connections, void (*body)(pirn_sql_pool *pool)) {
    around.options.connections = connections;
    run_modes(open_and_run, body);
}

static inline void must(pirn_sql_pool *pool, const char *sql) {
    int status = pirn_sql_query(pool, sql, NULL, 0, NULL, PIRN_FOREVER);
    cr_assert_eq(status, 0, "%s: %d %s", sql, status, pirn_sql_error());
}

static inline int64_t number(pirn_sql_pool *pool, const char *sql) {
    pirn_sql_rows *rows = NULL;
    int status = pirn_sql_query(pool, sql, NULL, 0, &rows, PIRN_FOREVER);
    cr_assert_eq(status, 0, "%s: %d %s", sql, status, pirn_sql_error());
    int64_t value = pirn_sql_at(rows, 0, 0).integer;
    pirn_sql_rows_drop(rows);
    return value;
}

/* One query in a tasklet of its own. */
typedef struct query {
    pirn_sql_pool *pool;
    const char *sql;
    pirn_time deadline;
    int status;
    pirn_tasklet tasklet;
} query;

static inline int run_query(void *arg) {
    query *self = arg;
    self->status = pirn_sql_query(self->pool, self->sql, NULL, 0, NULL, self->deadline);
    return 0;
}

static inline void start(query *self, pirn_fn fn) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    self->status = 1;
    self->tasklet = pirn_spawn_with(&options, fn, self);
    cr_assert_neq(self->tasklet.id, 0);
}

static inline void join(query *self) {
    cr_assert_eq(pirn_join(self->tasklet, NULL, PIRN_FOREVER), 0);
}

/* The test's time limit ends this when a connection was lost. */
static inline void wait_all_free(pirn_sql_pool *pool, size_t connections) {
    while (pirn_sql_idle_count(pool) != connections) {
        cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)), 0);
    }
}

static inline void wait_none_free(pirn_sql_pool *pool) {
    while (pirn_sql_idle_count(pool) > 0) {
        pirn_yield();
    }
}

static inline void expect_error(pirn_sql_pool *pool, const char *sql, const char *words) {
    int status = pirn_sql_query(pool, sql, NULL, 0, NULL, PIRN_FOREVER);
    cr_assert_eq(status, PIRN_EDB, "%s: %d", sql, status);
    cr_assert_not_null(strstr(pirn_sql_error(), words), "%s: %s", sql, pirn_sql_error());
}

#endif
