/* SPDX-License-Identifier: MIT
 *
 * What: an SQL pool and its files: settings of each connection, descriptors, the bound on the log, files made by
 *       others, files that are cut while they are in use.
 * Each test runs in threaded and in single mode, in a folder of its own.
 */
#include "sql_site.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- init_sql ---- */

static void check_init_sql(pirn_sql_pool *pool) {
    query held[3];
    for (int i = 0; i < 3; i++) { /* each connection answers once */
        held[i] = (query){.pool = pool, .sql = i ? SLOW : "select 1", .deadline = PIRN_FOREVER};
    }
    start(&held[1], run_query);
    cr_assert_eq(number(pool, "PRAGMA foreign_keys"), 1);
    cr_assert_eq(number(pool, "PRAGMA cache_size"), 77);
    start(&held[2], run_query);
    cr_assert_eq(number(pool, "PRAGMA foreign_keys"), 1);
    cr_assert_eq(number(pool, "PRAGMA cache_size"), 77);
    pirn_cancel(held[1].tasklet);
    join(&held[1]);
    wait_all_free(pool, 2);
    cr_assert_eq(number(pool, "PRAGMA cache_size"), 77);
    cr_assert_eq(number(pool, "PRAGMA cache_size"), 77);
    cr_assert_eq(number(pool, "PRAGMA cache_size"), 77);
    pirn_cancel(held[2].tasklet);
    join(&held[2]);
}

/* Goal: init_sql is run on each connection. Method: two settings of a connection, asked on all three in turn. */
Test(sql_connect, init_sql_runs_on_each_connection, .timeout = 30) {
    around.options.init_sql = "PRAGMA foreign_keys = ON; -- and\nPRAGMA cache_size = 77;";
    run_pool(3, check_init_sql);
}

static void expect_open_fails(pirn_sql_options *options, int code, const char *words) {
    char error[200] = "";
    pirn_sql_pool *pool = NULL;
    int status = pirn_sql_open(around.path, options, &pool, error, sizeof error);
    cr_assert_eq(status, code, "%d %s", status, error);
    cr_assert_not_null(strstr(error, words), "%s", error);
    cr_assert_null(pool);
}

static void check_bad_init_sql(pirn_sql_pool *none) {
    (void)none;
    pirn_sql_options options = {.connections = 2, .init_sql = "PRAGMA cache_size = 77; selec 1"};
    expect_open_fails(&options, PIRN_EDB, "near \"selec\": syntax error");
    options.init_sql = "select * from absent";
    expect_open_fails(&options, PIRN_EDB, "no such table: absent");
    options.init_sql = "BEGIN";
    expect_open_fails(&options, PIRN_EDB, "init_sql leaves a transaction open");
    char *longest = malloc(1000002);
    memset(longest, ' ', 1000001);
    longest[1000001] = '\0';
    options.init_sql = longest;
    expect_open_fails(&options, PIRN_EINVAL, "init_sql");
    free(longest);
    options.init_sql = NULL;
    options.log_pages_max = UINT32_MAX;
    expect_open_fails(&options, PIRN_EINVAL, "log_pages_max");
}

/* Goal: an init_sql that fails fails the open, with its words.
 * Method: an error of syntax in its second statement, a table that is not there, one that leaves a transaction open,
 *         one that is too long. */
Test(sql_connect, bad_init_sql_fails_the_open_with_its_words, .timeout = 30) {
    run_modes(run_bare, check_bad_init_sql);
}

/* ---- descriptors ---- */

/* Let `more` descriptors be opened, and not one beyond. */
static void limit_descriptors(struct rlimit *whole, unsigned more) {
    int lowest = 0;
    int taken[32];
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, whole), 0);
    for (unsigned i = 0; i <= more; i++) {
        taken[i] = lowest = dup(STDERR_FILENO);
        cr_assert_geq(lowest, 0);
    }
    for (unsigned i = 0; i <= more; i++) {
        close(taken[i]);
    }
    struct rlimit few = {.rlim_cur = (rlim_t)lowest, .rlim_max = whole->rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
}

static void check_open_without_descriptors(pirn_sql_pool *none) {
    (void)none;
    pirn_sql_options options = {.connections = 4};
    for (unsigned more = 0; more < 16; more++) {
        struct rlimit whole;
        char error[200] = "";
        pirn_sql_pool *pool = NULL;
        limit_descriptors(&whole, more);
        int status = pirn_sql_open(around.path, &options, &pool, error, sizeof error);
        if (status == 0) {
            must(pool, "create table if not exists t(a)");
            must(pool, "insert into t values (1)");
            (void)number(pool, "select count(*) from t");
            cr_assert_geq(more, 4, "four connections have a file each at least");
            pirn_sql_close(pool);
        } else {
            cr_assert_eq(status, PIRN_EDB, "%u left: %d %s", more, status, error);
            cr_assert_not_null(strstr(error, "RLIMIT_NOFILE"), "%u left: %s", more, error);
        }
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &whole), 0);
    }
    pirn_sql_pool *pool = NULL;
    cr_assert_eq(pirn_sql_open(around.path, &options, &pool, NULL, 0), 0);
    pirn_sql_close(pool);
}

/* Goal: too few descriptors are told by the open, with the cure, and not by some later query.
 * Method: open four connections with 0 to 15 descriptors left: either it fails so, or the pool works. */
Test(sql_connect, open_without_descriptors_fails_with_the_cure, .timeout = 60) {
    run_modes(run_bare, check_open_without_descriptors);
}

static void check_later_without_descriptors(pirn_sql_pool *pool) {
    struct rlimit whole;
    query queries[8];
    must(pool, "create table t(a)");
    limit_descriptors(&whole, 0);
    for (int i = 0; i < 8; i++) {
        queries[i] = (query){
            .pool = pool, .sql = i % 2 ? "insert into t values (1)" : "select * from t", .deadline = PIRN_FOREVER};
        start(&queries[i], run_query);
    }
    for (int i = 0; i < 8; i++) {
        join(&queries[i]);
    }
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &whole), 0);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(queries[i].status, 0, "query %d: %d", i, queries[i].status);
    }
    cr_assert_eq(number(pool, "select count(*) from t"), 4);
}

/* Goal: every connection works when descriptors run out after the open, also one that was never asked before.
 * Method: eight queries at once over four connections while nothing can be opened. */
Test(sql_connect, all_connections_work_without_descriptors, .timeout = 30) {
    run_pool(4, check_later_without_descriptors);
}

/* ---- the log ---- */

typedef struct reader {
    pirn_sql_pool *pool;
    const bool *over;
    int rounds;
    pirn_tasklet tasklet;
} reader;

static int read_on(void *arg) {
    reader *self = arg;
    while (!*self->over) {
        cr_assert_geq(number(self->pool, "with recursive n(i) as (select 1 union all select i + 1 from n where i < "
                                         "20000) select count(*) from n, (select max(a) from t)"),
                      0);
        self->rounds++;
    }
    return 0;
}

static off_t log_bytes(void) {
    struct stat status;
    char wal[128];
    snprintf(wal, sizeof wal, "%s-wal", around.path);
    return stat(wal, &status) == 0 ? status.st_size : 0;
}

static void check_log(pirn_sql_pool *pool) {
    enum { READERS = 3 };
    uint64_t writes = pirn_test_count(600, 300);
    reader readers[READERS];
    bool over = false;
    off_t most = 0;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    must(pool, "create table t(a, b)");
    for (int i = 0; i < READERS; i++) {
        readers[i] = (reader){.pool = pool, .over = &over};
        readers[i].tasklet = pirn_spawn_with(&options, read_on, &readers[i]);
    }
    for (uint64_t i = 0; i < writes; i++) {
        const pirn_sql_value value = pirn_sql_int((int64_t)i);
        int status = pirn_sql_query(pool, "insert into t values (?1, zeroblob(3000))", &value, 1, NULL, PIRN_FOREVER);
        cr_assert_eq(status, 0, "write %d: %s", (int)i, pirn_sql_error());
        off_t bytes = log_bytes();
        most = bytes > most ? bytes : most;
    }
    over = true;
    for (int i = 0; i < READERS; i++) {
        cr_assert_eq(pirn_join(readers[i].tasklet, NULL, PIRN_FOREVER), 0);
    }
    cr_assert_eq(number(pool, "select count(*) from t"), (int64_t)writes);
    cr_assert_lt(most, 250 * 4120, "the log came to %ld bytes", (long)most);
}

/* Goal: the log stays near its bound though readers overlap all the time.
 * Method: three readers that begin anew at once, a writer of some 2 pages a time, log_pages_max 200: the largest size
 *         the log ever has. */
Test(sql_connect, log_stays_bounded_under_overlapping_readers, .timeout = 120) {
    around.options.log_pages_max = 200;
    run_pool(5, check_log);
}

static void check_long_reader(pirn_sql_pool *pool) {
    sqlite3 *other = NULL;
    must(pool, "create table t(a)");
    must(pool, "insert into t values (zeroblob(100000))");
    cr_assert_eq(sqlite3_open(around.path, &other), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(other, "begin; select * from t", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 5; i++) {
        must(pool, "insert into t values (zeroblob(100000))");
    }
    cr_assert_geq(log_bytes(), 500000, "a reader that does not end needs its log");
    cr_assert_eq(sqlite3_exec(other, "commit", NULL, NULL, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_close(other), SQLITE_OK);
    must(pool, "insert into t values (zeroblob(5000000))");
    cr_assert_eq(log_bytes(), 0);
    must(pool, "insert into t values (1)");
    cr_assert_eq(number(pool, "select count(*) from t"), 8);
}

/* Goal: a reader that does not end fails no write, and the log is emptied once it has ended.
 * Method: a connection of the test's own in a read transaction, five writes, its end, and a write that makes the log
 *         half as long again. */
Test(sql_connect, long_reader_fails_no_write, .timeout = 30) {
    around.options.log_pages_max = 10;
    around.options.busy_ns = 40 * PIRN_MILLISECOND;
    run_pool(1, check_long_reader);
}

/* ---- files made by others ---- */

static void check_settings(pirn_sql_pool *pool) {
    bool trusted = around.options.trusted;
    cr_assert_eq(number(pool, "PRAGMA trusted_schema"), trusted ? 1 : 0);
    cr_assert_eq(number(pool, "PRAGMA cell_size_check"), 1);
    cr_assert_eq(number(pool, "PRAGMA mmap_size"), 0);
    must(pool, "create table t(a)");
    (void)pirn_sql_query(pool, "PRAGMA writable_schema = ON", NULL, 0, NULL, PIRN_FOREVER);
    int status = pirn_sql_query(pool, "update sqlite_schema set sql = 'create table t(b)' where name = 't'", NULL, 0,
                                NULL, PIRN_FOREVER);
    cr_assert_eq(status, trusted ? 0 : PIRN_EDB);
    if (!trusted) {
        cr_assert_not_null(strstr(pirn_sql_error(), "table sqlite_master may not be modified"), "%s", pirn_sql_error());
        expect_error(pool, "select load_extension('/nowhere')", "not authorized");
    }
    (void)pirn_sql_query(pool, "PRAGMA mmap_size = 1000000", NULL, 0, NULL, PIRN_FOREVER);
}

/* Goal: a file of others cannot misuse the program, and a program may say that the file is its own.
 * Method: the settings of a connection, and a write to the schema's table, with and without `trusted`. */
Test(sql_connect, schema_is_trusted_only_when_asked, .timeout = 30) {
    run_pool(1, check_settings);
    around.options.trusted = true;
    run_pool(1, check_settings);
}

static void check_hostile_view(pirn_sql_pool *none) {
    (void)none;
    sqlite3 *other = NULL;
    cr_assert_eq(sqlite3_open(around.path, &other), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(other,
                              "create table t(a); create view v as select * from t join pragma_database_list;"
                              "create view w as select count(*) as n from t",
                              NULL, NULL, NULL),
                 SQLITE_OK);
    cr_assert_eq(sqlite3_close(other), SQLITE_OK);
    pirn_sql_options options = {.connections = 1};
    pirn_sql_pool *pool = NULL;
    cr_assert_eq(pirn_sql_open(around.path, &options, &pool, NULL, 0), 0);
    expect_error(pool, "select * from v", "unsafe use of virtual table");
    cr_assert_eq(number(pool, "select n from w"), 0);
    pirn_sql_close(pool);
    options.trusted = true;
    cr_assert_eq(pirn_sql_open(around.path, &options, &pool, NULL, 0), 0);
    must(pool, "select * from v");
    pirn_sql_close(pool);
}

/* Goal: a view in a file of others reaches nothing beyond the file.
 * Method: a view over a virtual table that shows the program's paths, with and without `trusted`; a harmless view. */
Test(sql_connect, view_of_others_reaches_no_virtual_table, .timeout = 30) {
    run_modes(run_bare, check_hostile_view);
}

/* ---- a file that is cut ---- */

/* In a sanitizer's run-time library: where its reports go, whatever its options say. */
extern void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

static void cut_index(pirn_sql_pool *pool) {
    char shm[128];
    snprintf(shm, sizeof shm, "%s-shm", around.path);
    must(pool, "create table t(a)");
    cr_assert_eq(truncate(shm, 0), 0);
    must(pool, "insert into t values (1)");
}

/* In a child; what it says goes into `text`. Returns its status. */
static int run_and_die(pirn_mode mode, char *text, size_t text_bytes) {
    int said = memfd_create("said", MFD_CLOEXEC);
    cr_assert_geq(said, 0);
    pid_t child = fork();
    if (child == 0) {
        pirn_options options;
        pirn_options_init(&options);
        options.mode = mode;
        around.body = cut_index;
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(said, STDERR_FILENO);
        if (__sanitizer_set_report_fd) {
            __sanitizer_set_report_fd((void *)(intptr_t)STDERR_FILENO);
        }
        _exit(pirn_run(&options, open_and_run, NULL) == 0 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    ssize_t length = pread(said, text, text_bytes - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    close(said);
    return status;
}

/* Goal: a -shm file that another program cuts ends the process by SIGBUS, after a line that names the file.
 * Method: a child cuts it under its own pool and writes, in both modes. */
Test(sql_connect, cut_shm_file_is_named, .timeout = 30) {
    char text[2000], line[200];
    around.options.connections = 2;
    for (int mode = 0; mode < 2; mode++) {
        strcpy(around.folder, "/tmp/pirn-sql-test-XXXXXX");
        cr_assert_not_null(mkdtemp(around.folder));
        snprintf(around.path, sizeof around.path, "%s/test.db", around.folder);
        int status = run_and_die(mode ? PIRN_MODE_SINGLE : PIRN_MODE_THREADED, text, sizeof text);
        remove_folder();
        cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGBUS : WEXITSTATUS(status) > 1, "status %#x: %s",
                  (unsigned)status, text);
        snprintf(line, sizeof line, "pirn: SIGBUS: the mapped file %s-shm was cut", around.path);
        cr_assert_not_null(strstr(text, line), "%s", text);
    }
}
