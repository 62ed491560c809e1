/* SPDX-License-Identifier: MIT
 *
 * What: the site's database: the user's file, or a private temporary one, with the table test(id, name, value) of 1,000
 *       rows.
 * Threads: the main tasklet; the table is made on a connection's thread.
 * Lifetime: a temporary database has a folder of its own, so that SQLite's -wal and -shm files go with it.
 */
#include "web.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROW_COUNT 1000

/* pirn_sql_body: runs on the connection's thread, in one transaction. A table that has rows stays as it is. */
static int make_table(pirn_sql_connection *connection, void *unused) {
    (void)unused;
    pirn_sql_rows *rows = NULL;
    int status = pirn_sql_step(
        connection, "create table if not exists test(id integer primary key, name text not null, value integer)", NULL,
        0, NULL);
    if (!status) {
        status = pirn_sql_step(connection, "select 1 from test limit 1", NULL, 0, &rows);
    }
    bool empty = !status && pirn_sql_row_count(rows) == 0;
    pirn_sql_rows_drop(rows);
    for (int i = 1; empty && !status && i <= ROW_COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "item %04d", i);
        const pirn_sql_value parameters[] = {pirn_sql_int(i), pirn_sql_text(name), pirn_sql_int(i * 7919 % 10007)};
        status = pirn_sql_step(connection, "insert into test values (?1, ?2, ?3)", parameters, 3, NULL);
    }
    return status;
}

/* Where the database is. 0, or a negative errno. */
static int choose_path(web_site *site) {
    if (site->flags.database) {
        int length = snprintf(site->database_path, sizeof site->database_path, "%s", site->flags.database);
        return length < (int)sizeof site->database_path ? 0 : -ENAMETOOLONG;
    }
    const char *folder = getenv("TMPDIR");
    int length = snprintf(site->database_folder, sizeof site->database_folder, "%s/pirn-web-XXXXXX",
                          folder && *folder ? folder : "/tmp");
    bool made = length < (int)sizeof site->database_folder && mkdtemp(site->database_folder);
    if (!made) {
        site->database_folder[0] = '\0';
        return length < (int)sizeof site->database_folder ? -errno : -ENAMETOOLONG;
    }
    snprintf(site->database_path, sizeof site->database_path, "%s/test.db", site->database_folder);
    return 0;
}

int database_open(web_site *site) {
    char why[200] = "";
    int status = choose_path(site);
    const char *name = site->flags.database ? site->flags.database : "a temporary file";
    if (!status) {
        status = pirn_sql_open(site->database_path, NULL, &site->database, why, sizeof why);
    }
    if (!status) {
        status = pirn_sql_transaction(site->database, make_table, NULL, NULL, PIRN_FOREVER);
        snprintf(why, sizeof why, "%s", pirn_sql_error());
    }
    if (status) {
        complain("cannot use the database %s: %s", name, *why ? why : pirn_strerror(status));
        return EXIT_DATABASE;
    }
    return 0;
}

void database_unlink(const web_site *site) {
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    if (!site->database_folder[0]) {
        return;
    }
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[sizeof site->database_path + 16];
        snprintf(path, sizeof path, "%s%s", site->database_path, suffixes[i]);
        unlink(path);
    }
    rmdir(site->database_folder);
}

void database_close(web_site *site) {
    pirn_sql_close(site->database);
    site->database = NULL;
    database_unlink(site);
}
