/* SPDX-License-Identifier: MIT
 *
 * What: SQL from tasklets: a pool of connections, a transaction, and ten tasklets that ask at once, each with a bound
 *       parameter.
 * Usage: sql_query FILE; the table is made when it is missing.
 */
#include <stdio.h>

#include <pirn.h>
#include <pirn/sql.h>

#define READERS 10

/* On the connection's thread, in one transaction. */
static int fill(pirn_sql_connection *connection, void *unused) {
    (void)unused;
    int status = pirn_sql_step(connection, "create table if not exists yarn(id integer primary key, colour text)", NULL,
                               0, NULL);
    for (int i = 0; !status && i < READERS; i++) {
        const pirn_sql_value values[] = {pirn_sql_int(i), pirn_sql_text(i % 2 ? "madder" : "woad")};
        status = pirn_sql_step(connection, "insert or replace into yarn values (?1, ?2)", values, 2, NULL);
    }
    return status;
}

typedef struct question {
    pirn_sql_pool *pool;
    int id;
} question;

static int ask(void *arg) {
    question *self = arg;
    pirn_sql_rows *rows = NULL;
    const pirn_sql_value id = pirn_sql_int(self->id);
    int status =
        pirn_sql_query(self->pool, "select colour from yarn where id = ?1", &id, 1, &rows, pirn_after(5 * PIRN_SECOND));
    if (!status) {
        printf("%d %s\n", self->id, (const char *)pirn_sql_at(rows, 0, 0).bytes);
    }
    pirn_sql_rows_drop(rows);
    return status;
}

static void ask_all(pirn_sql_pool *pool) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    question questions[READERS];
    pirn_tasklet tasklets[READERS];
    for (int i = 0; i < READERS; i++) {
        questions[i] = (question){pool, i};
        tasklets[i] = pirn_spawn_with(&options, ask, &questions[i]);
    }
    for (int i = 0; i < READERS; i++) {
        pirn_join(tasklets[i], NULL, PIRN_FOREVER);
    }
}

static int run(void *path) {
    char error[200];
    pirn_sql_pool *pool;
    int status = pirn_sql_open(path, NULL, &pool, error, sizeof error);
    if (status) {
        fprintf(stderr, "cannot open %s: %s\n", (const char *)path, error);
        return status;
    }
    status = pirn_sql_transaction(pool, fill, NULL, NULL, PIRN_FOREVER);
    if (status) {
        fprintf(stderr, "cannot fill the table: %s\n", pirn_sql_error());
    } else {
        ask_all(pool);
    }
    pirn_sql_close(pool);
    return status;
}

int main(int argument_count, char **arguments) {
    if (argument_count != 2) {
        fprintf(stderr, "usage: sql_query FILE\n");
        return 2;
    }
    return pirn_run(NULL, run, arguments[1]) ? 1 : 0;
}
