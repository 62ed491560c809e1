/* SPDX-License-Identifier: MIT
 *
 * What: the seeds' page: three queries, sometimes a HTTP request, sometimes a word to or from another request over one
 *       rendezvous channel, written straight down, streamed as it happens.
 * Threads: one tasklet a request, on any worker.
 * The two routes differ in one number: `/` gives up on the chat after --chat-deadline; `/seed` waits for ever, as the
 *       original did. There, as more requests listen than speak, the parked ones only grow in number: the engine's
 *       stuck report names them.
 * Randomness: from the seed and the request's number, so that a run can be repeated; no lock, as each worker numbers
 *       its own.
 */
#include "web.h"

#include <string.h>

#define QUERY       "select * from test limit 10"
#define STAMP_LIMIT 1000000000u
#define FETCH_NS    (10 * PIRN_SECOND)
#define HEAD                                                                                                           \
    "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>pirn: the seeds' page</title>"              \
    "<meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">"                       \
    "<link rel=\"stylesheet\" href=\"/site.css\"></head><body class=\"seed\">\n"
#define FOOT                                                                                                           \
    "<br><br><nav><a href=\"/\">again</a> <a href=\"/chat\">chat</a> <a "                                              \
    "href=\"/debug/pirn/\">inside</a></nav></body></html>\n"

typedef struct chat_line {
    char text[80];
} chat_line;

typedef struct seed_visit {
    web_site *site;
    pirn_http_exchange *exchange;
    bool patient; /* waits in the chat for ever */
    bool fetches, produces, consumes;
    unsigned stamp;
} seed_visit;

/* ---- odds ---- */

static uint64_t splitmix(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool happens(uint64_t *state, double odds) {
    return (double)(splitmix(state) >> 11) * 0x1p-53 < odds;
}

/* All dice of one request, always in this order. */
static void roll(seed_visit *visit) {
    const web_flags *flags = &visit->site->flags;
    unsigned worker = (unsigned)pirn_worker();
    uint64_t number = visit->site->requests[worker].count++ * WORKERS_MAX + worker;
    uint64_t state = number;
    state = splitmix(&state) ^ flags->seed;
    visit->fetches = happens(&state, flags->http_odds);
    visit->produces = happens(&state, flags->produce_odds);
    visit->consumes = happens(&state, flags->consume_odds);
    visit->stamp = (unsigned)(splitmix(&state) % STAMP_LIMIT);
}

/* ---- the parts of the page ---- */

/* Write and send: what follows waits for something. */
static int say(seed_visit *visit, const char *text) {
    int status = pirn_http_write(visit->exchange, text, strlen(text));
    return status ? status : pirn_http_flush(visit->exchange);
}

static int write_cell(pirn_http_exchange *exchange, pirn_sql_value value) {
    int status = pirn_http_write(exchange, "<td>", 4);
    if (status) {
        return status;
    }
    switch (value.type) {
    case PIRN_SQL_NULL:
        break;
    case PIRN_SQL_INT:
        status = pirn_http_print(exchange, "%lld", (long long)value.integer);
        break;
    case PIRN_SQL_REAL:
        status = pirn_http_print(exchange, "%.15g", value.real);
        break;
    case PIRN_SQL_TEXT:
    case PIRN_SQL_BLOB:
        status = write_escaped(exchange, value.bytes, value.length);
        break;
    }
    return status ? status : pirn_http_write(exchange, "</td>", 5);
}

static int write_rows(pirn_http_exchange *exchange, const pirn_sql_rows *rows) {
    int status = pirn_http_print(exchange, "<table>");
    for (size_t row = 0; !status && row < pirn_sql_row_count(rows); row++) {
        status = pirn_http_write(exchange, "<tr>", 4);
        for (size_t column = 0; !status && column < pirn_sql_column_count(rows); column++) {
            status = write_cell(exchange, pirn_sql_at(rows, row, column));
        }
        status = status ? status : pirn_http_write(exchange, "</tr>\n", 6);
    }
    return status ? status : pirn_http_print(exchange, "</table>");
}

static int query(seed_visit *visit, const char *title) {
    pirn_sql_rows *rows = NULL;
    int status = say(visit, title);
    if (status) {
        return status;
    }
    status = pirn_sql_query(visit->site->database, QUERY, NULL, 0, &rows, PIRN_FOREVER);
    if (status == PIRN_EDB) {
        (void)pirn_http_print(visit->exchange, "the query failed<br>");
    }
    if (!status) {
        status = write_rows(visit->exchange, rows);
    }
    pirn_sql_rows_drop(rows);
    return status;
}

static int fetch(seed_visit *visit) {
    char error[200] = "";
    pirn_http_page *page = NULL;
    int status = say(visit, "<br><br>HTTP:<br><pre>");
    if (status) {
        return status;
    }
    status = pirn_http_get(visit->site->http_target, &page, error, sizeof error, pirn_after(FETCH_NS));
    if (status == PIRN_ECANCELED) {
        return status;
    }
    if (status) {
        const char *why = *error ? error : pirn_strerror(status);
        status = pirn_http_print(visit->exchange, "no page: ");
        status = status ? status : write_escaped(visit->exchange, why, strlen(why));
    } else {
        status = write_escaped(visit->exchange, page->body, page->body_bytes);
    }
    pirn_http_page_drop(page);
    return status ? status : pirn_http_print(visit->exchange, "</pre>");
}

static pirn_time chat_deadline(const seed_visit *visit) {
    pirn_time limit = visit->site->flags.chat_deadline_ns;
    if (visit->patient) {
        return PIRN_FOREVER;
    }
    return limit ? pirn_after(limit) : PIRN_NOW;
}

/* Whether a wait in the chat ended without a partner, which is no failure. */
static bool is_alone(int status) {
    return status == PIRN_ETIMEDOUT || status == PIRN_EAGAIN || status == PIRN_ECLOSED;
}

static int produce(seed_visit *visit) {
    pirn_channel *chat = visit->site->chat;
    int balance = pirn_channel_balance(chat);
    chat_line line;
    int status = pirn_http_print(visit->exchange, "<br><br>CHAT PRODUCER:<br>sending to %d clients<br>", balance);
    status = status ? status : pirn_http_flush(visit->exchange);
    if (status) {
        return status;
    }
    memset(&line, 0, sizeof line);
    snprintf(line.text, sizeof line.text, "hi from %u (and to other %d chaps)", visit->stamp, balance);
    status = pirn_send(chat, &line, chat_deadline(visit));
    return is_alone(status) ? pirn_http_print(visit->exchange, "nobody listened<br>") : status;
}

static int consume(seed_visit *visit) {
    chat_line line;
    int status = say(visit, "<br><br>CHAT CONSUMER:<br>");
    if (status) {
        return status;
    }
    status = pirn_recv(visit->site->chat, &line, chat_deadline(visit));
    if (status && !is_alone(status)) {
        return status;
    }
    return pirn_http_print(visit->exchange, "%s<br>", status ? "nobody spoke" : line.text);
}

/* ---- the page ---- */

static int begin(seed_visit *visit) {
    pirn_http_exchange *exchange = visit->exchange;
    pirn_http_field(exchange, "Content-Type", "text/html; charset=utf-8");
    pirn_http_field(exchange, "Cache-Control", "no-store");
    pirn_http_field(exchange, "Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:");
    return pirn_http_print(exchange, HEAD "request arrives<br>still in the reactor tasklet<br>"
                                          "hi, we are now inside the request tasklet<br>");
}

static int serve(seed_visit *visit) {
    int status = begin(visit);
    if (!status) {
        status = query(visit, "<br><br>QUERY 1:<br>");
    }
    if (!status && visit->fetches) {
        status = fetch(visit);
    }
    if (!status) {
        status = query(visit, "<br><br>QUERY 2:<br>");
    }
    if (!status && visit->produces) {
        status = produce(visit);
    }
    if (!status && visit->consumes) {
        status = consume(visit);
    }
    if (!status) {
        status = query(visit, "<br><br>QUERY 3:<br>");
    }
    return status ? status : pirn_http_print(visit->exchange, FOOT);
}

static int serve_hurried(pirn_http_exchange *exchange, void *context) {
    seed_visit visit = {.site = context, .exchange = exchange, .patient = false};
    roll(&visit);
    return serve(&visit);
}

static int serve_patient(pirn_http_exchange *exchange, void *context) {
    seed_visit visit = {.site = context, .exchange = exchange, .patient = true};
    roll(&visit);
    return serve(&visit);
}

int seed_page_start(web_site *site) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "chat";
    site->chat = pirn_channel_create_with(sizeof(chat_line), 0, &options);
    return site->chat ? 0 : PIRN_ENOMEM;
}

int seed_page_routes(web_site *site) {
    int status = pirn_http_route(site->server, "GET", "/", 0, serve_hurried, site);
    return status ? status
                  : pirn_http_route(site->server, "GET", "/seed",
                                    PIRN_ROUTE_NO_DEADLINE | PIRN_ROUTE_CANCEL_HALF_CLOSED, serve_patient, site);
}

void seed_page_stop(web_site *site) {
    pirn_channel_close(site->chat);
}

void seed_page_close(web_site *site) {
    pirn_channel_destroy(site->chat);
}
