/* SPDX-License-Identifier: MIT
 *
 * What: the life of one SQLite connection: open with its settings, transactions, the bound on its log, close.
 * Threads: the connection's own, as in sql_sqlite.c.
 * Invariants: (1) BEGIN and COMMIT are prepared here and run here only: the authorizer refuses every other one, so the
 *       statements of a body cannot end its transaction by command; (2) an open connection has the files it needs
 *       (database and log), except temporary ones of large sorts and large updates.
 * The log: SQLite copies it into the database at every 1,000 pages, but writes it from its beginning again only at a
 *       moment when no reader uses it. Overlapping readers leave no such moment. SQLite's own wait for one (RESTART,
 *       TRUNCATE) can last for ever, since new readers may join the very mark it waits for. So the job whose commit
 *       leaves log_pages_max pages or more in the log makes the moment: it keeps new jobs of the pool back until those
 *       under way have ended (the gate of sql_pool.c), and then empties the log.
 * Lifetime: opened by pirn_sql_open, and again by the next job after a rollback failed; closed by the pool on the
 *       connection's thread.
 * Rejected: sqlite3_config for the process (it is the program's, not a library's); SQLITE_OPEN_URI (a path is a path);
 *       locking_mode=EXCLUSIVE, which needs no -shm file (no other connection could read).
 */
#include "sql_internal.h"

#include <sqlite3.h>
#include <string.h>

#include "alloc.h"
#include "base.h"

#define PROGRESS_OPERATIONS 1000 /* VM instructions between two looks at the flag: some 20 us */
#define CHECKPOINT_PAGES    1000 /* as SQLite's own wal_autocheckpoint */
#define LIKE_PATTERN_MAX    5000 /* bytes; the time of LIKE grows with pattern times text */
#define TRIGGER_DEPTH_MAX   100

int pn_sqlite_init(pirn_sql_connection *connection, const char *path, const pirn_sql_options *options) {
    memset(connection, 0, sizeof *connection);
    connection->path = path;
    connection->options = *options;
    connection->busy_ns = options->busy_ns;
    connection->statements = pn_calloc(options->statements_max, sizeof *connection->statements);
    if (!connection->statements) {
        return PIRN_ENOMEM;
    }
    pn_sql_init_wait(&connection->lock, &connection->wake);
    return 0;
}

void pn_sqlite_fini(pirn_sql_connection *connection) {
    PN_ASSERT(!connection->db);
    pthread_mutex_destroy(&connection->lock);
    pthread_cond_destroy(&connection->wake);
    pn_free(connection->statements);
}

static void set_db(pirn_sql_connection *connection, sqlite3 *db) {
    pthread_mutex_lock(&connection->lock);
    connection->db = db;
    pthread_mutex_unlock(&connection->lock);
}

/* ---- open ---- */

/* SQLite's authorizer: asked while a statement is prepared. */
static int on_prepare(void *arg, int action, const char *a, const char *b, const char *c, const char *d) {
    (void)a, (void)b, (void)c, (void)d;
    pirn_sql_connection *connection = arg;
    bool ends_or_begins = action == SQLITE_TRANSACTION || (action == SQLITE_SAVEPOINT && !connection->in_body);
    if (!ends_or_begins || connection->trusts_statement) {
        return SQLITE_OK;
    }
    connection->refused_transaction = true;
    return SQLITE_DENY;
}

/* After each commit, when its locks are given back. SQLite's own would do the first half. */
static int on_commit(void *arg, sqlite3 *db, const char *name, int pages) {
    pirn_sql_connection *connection = arg;
    if (pages >= CHECKPOINT_PAGES) {
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    }
    if (strcmp(name, "main") == 0) {
        connection->log_pages = (unsigned)pages;
    }
    return SQLITE_OK;
}

/* Against files made by others: their schema calls no function that has side effects, and no statement can damage the
 * file below the level of SQL. */
static void harden(const pirn_sql_connection *connection) {
    sqlite3 *db = connection->db;
    if (!connection->options.trusted) {
        sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_limit(db, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_PATTERN_MAX);
        sqlite3_limit(db, SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGER_DEPTH_MAX);
    }
    sqlite3_limit(db, SQLITE_LIMIT_SQL_LENGTH, PN_SQL_TEXT_BYTES_MAX);
    sqlite3_limit(db, SQLITE_LIMIT_WORKER_THREADS, 0); /* its threads would not be ours */
}

static int exec(pirn_sql_connection *connection, const char *sql) {
    int code = sqlite3_exec(connection->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : pn_sqlite_refused(connection, code);
}

static int prepare(pirn_sql_connection *connection, const char *sql, sqlite3_stmt **statement) {
    int code = sqlite3_prepare_v3(connection->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    return code == SQLITE_OK ? 0 : pn_sqlite_refused(connection, code);
}

static int run_init_sql(pirn_sql_connection *connection) {
    const char *sql = connection->options.init_sql;
    int status = sql ? exec(connection, sql) : 0;
    if (!status && pn_sqlite_in_transaction(connection)) {
        status = pn_sqlite_refuse(connection, "init_sql leaves a transaction open");
    }
    return status;
}

static int configure(pirn_sql_connection *connection) {
    sqlite3 *db = connection->db;
    sqlite3_busy_handler(db, pn_sqlite_on_busy, connection);
    sqlite3_progress_handler(db, PROGRESS_OPERATIONS, pn_sqlite_on_progress, connection);
    sqlite3_extended_result_codes(db, 0);
    sqlite3_set_authorizer(db, on_prepare, connection);
    sqlite3_wal_hook(db, on_commit, connection);
    harden(connection);
    connection->trusts_statement = true;
    /* mmap_size: a file that another program cuts would kill the process by SIGBUS. journal_mode reads the file's
     * header: what is no database is found here. The last statement opens the log and what belongs to it: where no
     * descriptor is left for them later, SQLite 3.40 may go on without, and knows no table that is in the log only. */
    int status = exec(connection, "PRAGMA mmap_size=0; PRAGMA cell_size_check=ON; PRAGMA journal_mode=WAL;"
                                  "PRAGMA synchronous=NORMAL; SELECT count(*) FROM sqlite_schema;");
    status = status ? status : run_init_sql(connection);
    status = status ? status : prepare(connection, "BEGIN IMMEDIATE", &connection->begin);
    status = status ? status : prepare(connection, "COMMIT", &connection->commit);
    connection->trusts_statement = false;
    return status;
}

int pn_sqlite_open(pirn_sql_connection *connection) {
    if (connection->db) {
        return 0;
    }
    sqlite3 *db = NULL;
    int code =
        sqlite3_open_v2(connection->path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    set_db(connection, db);
    int status = code == SQLITE_OK ? configure(connection) : pn_sqlite_refused(connection, code);
    if (status) {
        pn_sqlite_close(connection);
    }
    return status;
}

/* ---- close ---- */

/* The last connection's close moves the -wal file into the database, unless SQLite still remembers an interrupt: it
 * forgets one only when a statement begins. From here none can come any more: `connection->db` is NULL. */
static void forget_interrupt(sqlite3 *db) {
    sqlite3_progress_handler(db, 0, NULL, NULL); /* it would ask our own flag */
    (void)sqlite3_exec(db, "SELECT 1", NULL, NULL, NULL);
}

void pn_sqlite_close(pirn_sql_connection *connection) {
    pn_sqlite_forget_statements(connection);
    sqlite3_finalize(connection->begin);
    sqlite3_finalize(connection->commit);
    connection->begin = connection->commit = NULL;
    connection->log_pages = connection->log_pages_next = 0;
    sqlite3 *db = connection->db;
    if (!db) {
        return;
    }
    set_db(connection, NULL);
    forget_interrupt(db);
    if (sqlite3_close(db) != SQLITE_OK) {
        pn_warn("closing %s failed: %s", connection->path, sqlite3_errmsg(db));
    }
}

/* ---- transactions ---- */

static int run_own(pirn_sql_connection *connection, sqlite3_stmt *statement) {
    if (pn_sqlite_interrupted(connection)) {
        return PIRN_ECLOSED;
    }
    int code = sqlite3_step(statement);
    int status = code == SQLITE_DONE ? 0 : pn_sqlite_refused(connection, code);
    sqlite3_reset(statement);
    return status;
}

int pn_sqlite_begin(pirn_sql_connection *connection) {
    connection->words[0] = '\0';
    connection->lost = 0;
    int status = run_own(connection, connection->begin);
    connection->in_body = !status;
    return status;
}

int pn_sqlite_body_step(pirn_sql_connection *connection, const char *sql, const pirn_sql_value *parameters,
                        size_t count, pirn_sql_rows **rows) {
    if (connection->lost) {
        return connection->lost;
    }
    int status = pn_sqlite_step(connection, sql, parameters, count, rows);
    if (pn_sqlite_in_transaction(connection)) {
        return status;
    }
    if (!status) { /* no statement is known that does this */
        status = pn_sqlite_refuse(connection, "a statement of the body has ended its transaction");
        if (rows) {
            pirn_sql_rows_drop(*rows);
            *rows = NULL;
        }
    }
    connection->lost = status;
    return status;
}

int pn_sqlite_end(pirn_sql_connection *connection, int status) {
    connection->in_body = false;
    if (connection->lost) {
        return connection->lost;
    }
    return status == 0 ? run_own(connection, connection->commit) : status;
}

bool pn_sqlite_in_transaction(pirn_sql_connection *connection) {
    return connection->db && !sqlite3_get_autocommit(connection->db);
}

void pn_sqlite_rollback(pirn_sql_connection *connection) {
    if (!pn_sqlite_in_transaction(connection)) {
        return; /* SQLite has done so itself after some errors. */
    }
    /* Not through pn_sqlite_step: an interrupted job must be able to roll back, and its error's words must stay. */
    sqlite3_progress_handler(connection->db, 0, NULL, NULL);
    connection->trusts_statement = true;
    int code = sqlite3_exec(connection->db, "ROLLBACK", NULL, NULL, NULL);
    connection->trusts_statement = false;
    if (code != SQLITE_OK) {
        pn_warn("rollback failed (%s): the connection is closed and opened anew", sqlite3_errmsg(connection->db));
        pn_sqlite_close(connection);
        return;
    }
    sqlite3_progress_handler(connection->db, PROGRESS_OPERATIONS, pn_sqlite_on_progress, connection);
}

/* ---- the log ---- */

bool pn_sqlite_log_is_long(pirn_sql_connection *connection) {
    unsigned most = connection->options.log_pages_max;
    if (connection->log_pages < most) {
        connection->log_pages_next = most; /* another connection has emptied it */
    }
    return connection->db && connection->log_pages >= connection->log_pages_next;
}

void pn_sqlite_empty_log(pirn_sql_connection *connection, pirn_time until) {
    pirn_time now = pirn_now();
    connection->busy_ns = until > now ? until - now : 0; /* for readers that are not of this pool */
    int code = sqlite3_wal_checkpoint_v2(connection->db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    connection->busy_ns = connection->options.busy_ns;
    if (code == SQLITE_OK) {
        connection->log_pages = 0;
    } else {
        pn_sqlite_keep_log(connection);
    }
}

void pn_sqlite_keep_log(pirn_sql_connection *connection) {
    connection->log_pages_next = connection->log_pages + connection->log_pages / 2 + 1;
}
