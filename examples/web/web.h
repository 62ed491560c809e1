/* SPDX-License-Identifier: MIT
 *
 * What: what the parts of pirn-web know of each other: the flags, the site, and one function or two of each part.
 * Threads: the site is filled in by the main tasklet before it serves and immutable while handlers run, on every
 *       worker, but for the request counters, of which each worker has its own.
 */
#ifndef WEB_H
#define WEB_H

#include <stdio.h>

#include <pirn.h>
#include <pirn/http.h>
#include <pirn/sql.h>

enum exit_code { EXIT_OK = 0, EXIT_USAGE = 2, EXIT_BIND = 3, EXIT_DATABASE = 4, EXIT_INTERNAL = 70 };

#define WORKERS_MAX 64

typedef struct web_flags {
    const char *listen;
    const char *database;      /* NULL: a private temporary one */
    const char *http_target;   /* NULL: our own /hello */
    const char *access_log;    /* NULL: off; "-": stderr */
    const char *inspector;     /* NULL: on the site's own port; "": off; else its address */
    const char *allowed_hosts; /* names in a list with commas; NULL: none */
    double http_odds, produce_odds, consume_odds;
    pirn_time chat_deadline_ns;
    uint64_t seed;
    pirn_options runtime;
    bool help;
} web_flags;

/* Fill in defaults, then the command line. 0, or EXIT_USAGE after one line on stderr. */
int flags_parse(web_flags *flags, char **arguments);
void flags_help(FILE *out);

/* A worker's own, on a cache line of its own. */
typedef struct request_counter {
    _Alignas(64) uint64_t count;
} request_counter;

typedef struct access_log access_log;
typedef struct chat_hub chat_hub;

typedef struct web_site {
    web_flags flags;
    int exit_code;
    /* immutable while it serves */
    char database_path[512];
    char database_folder[256]; /* "": the database is the user's and kept */
    char http_target[512];
    pirn_sql_pool *database;
    pirn_channel *chat; /* the seed's: a rendezvous of chat_line */
    chat_hub *hub;
    access_log *log;
    pirn_http_server *server;
    pirn_http_server *inspector; /* on an address of its own; NULL: none */
    /* each by its worker */
    request_counter requests[WORKERS_MAX];
} web_site;

/* One line on stderr: "pirn-web: ...". */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* database.c: open the pool and make the table. 0, or EXIT_DATABASE after one line on stderr. */
int database_open(web_site *site);
void database_close(web_site *site);
/* Remove a temporary database's files; also on the way out in a hurry. */
void database_unlink(const web_site *site);

/* seed_page.c: `/` and `/seed`. */
int seed_page_start(web_site *site);
int seed_page_routes(web_site *site);
void seed_page_stop(web_site *site);  /* wakes those who wait in the seed's chat */
void seed_page_close(web_site *site); /* nobody uses it any more */

/* chat.c: the chat page, its events and its post. */
int chat_start(web_site *site);
int chat_routes(web_site *site);
void chat_stop(web_site *site);  /* ends all event streams */
void chat_close(web_site *site); /* no handler runs any more */

/* guard.c: whether Host names this site; whether a message comes from a page of it, or from no browser. */
bool guard_host(const web_site *site, const pirn_http_exchange *exchange);
bool guard_speaker(const web_site *site, const pirn_http_exchange *exchange);

/* pages.c: /hello and what is the same for everybody. */
int pages_routes(web_site *site);
/* `length` bytes with & < > " ' escaped. 0 or pirn_write's codes. */
int write_escaped(pirn_http_exchange *exchange, const char *text, size_t length);

/* access_log.c: lines into a bounded buffer, written by a thread of its own. NULL after one line on stderr. */
access_log *access_log_open(const char *path);
void access_log_record(void *log, const pirn_http_access *access); /* any thread; never waits: see the file */
/* NULL allowed; parks until what is left is written, a second at most; says on stderr how many lines are missing. */
void access_log_close(access_log *log);

#endif
