/* SPDX-License-Identifier: MIT
 *
 * What: the command line: one table of flags that the parser, the help and the suggestion of the nearest name share.
 * Threads: main, before anything runs.
 */
#include "web.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX       32
#define SUGGEST_MAX          4 /* edits: farther names are no typing mistakes */
#define CHAT_DEADLINE_MAX_MS 86400000.0
#define STACK_BYTES_MIN      16384u
#define STACK_BYTES_MAX      ((uint64_t)64 << 20) /* as the library's */

/* Take `value` into `flags`. NULL, or what is wrong with it. */
typedef const char *(*setter)(web_flags *flags, const char *value);

typedef struct row {
    const char *name;
    const char *value; /* in the help; NULL: the flag takes none */
    const char *help;  /* NULL: not shown, a switch for tests */
    setter set;
    bool optional; /* the value may be missing */
} row;

/* ---- values ---- */

/* A whole number of 0 to `limit`. */
static bool number(const char *text, uint64_t limit, uint64_t *out) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (*text < '0' || *text > '9' || *end || errno || value > limit) {
        return false;
    }
    *out = value;
    return true;
}

static bool decimal(const char *text, double limit, double *out) {
    char *end;
    double value = strtod(text, &end);
    bool starts_well = (*text >= '0' && *text <= '9') || *text == '.';
    if (!starts_well || *end || !(value >= 0 && value <= limit)) {
        return false;
    }
    *out = value;
    return true;
}

static const char *set_listen(web_flags *flags, const char *value) {
    flags->listen = value;
    return strrchr(value, ':') ? NULL : "ADDRESS:PORT is wanted";
}

static const char *set_mode(web_flags *flags, const char *value) {
    bool single = strcmp(value, "single") == 0;
    flags->runtime.mode = single ? PIRN_MODE_SINGLE : PIRN_MODE_THREADED;
    return single || strcmp(value, "threaded") == 0 ? NULL : "threaded or single is wanted";
}

static const char *set_poll(web_flags *flags, const char *value) {
    bool worker = strcmp(value, "worker") == 0;
    flags->runtime.poll = worker ? PIRN_POLL_WORKER : PIRN_POLL_REACTOR;
    return worker || strcmp(value, "reactor") == 0 ? NULL : "reactor or worker is wanted";
}

static const char *set_workers(web_flags *flags, const char *value) {
    uint64_t count = 0;
    bool good = number(value, WORKERS_MAX, &count) && count > 0;
    flags->runtime.workers = (unsigned)count;
    return good ? NULL : "1 to 64 is wanted";
}

static const char *set_reactors(web_flags *flags, const char *value) {
    uint64_t count = 0;
    if (!number(value, WORKERS_MAX, &count) || count == 0) {
        return "1 is wanted";
    }
    flags->runtime.reactors = (unsigned)count;
    return count == 1 ? NULL : "more than one reactor is not in this version";
}

static const char *set_database(web_flags *flags, const char *value) {
    flags->database = value;
    if (strncmp(value, "postgres://", 11) == 0 || strncmp(value, "postgresql://", 13) == 0) {
        return "PostgreSQL is not in this version: name a SQLite file";
    }
    return *value ? NULL : "the name of a file is wanted";
}

static const char *set_seed(web_flags *flags, const char *value) {
    bool good = number(value, UINT64_MAX, &flags->seed);
    flags->runtime.seed = flags->seed;
    return good ? NULL : "a whole number is wanted";
}

/* Whether there is a host between the scheme (and a user) and the port, path or query. */
static bool has_host(const char *after_scheme) {
    const char *end = after_scheme + strcspn(after_scheme, "/?#");
    const char *user = memrchr(after_scheme, '@', (size_t)(end - after_scheme));
    const char *host = user ? user + 1 : after_scheme;
    return host < end && *host != ':';
}

static const char *set_target(web_flags *flags, const char *value) {
    bool self = strcmp(value, "self") == 0;
    flags->http_target = self ? NULL : value;
    size_t scheme = strncmp(value, "http://", 7) == 0 ? 7 : strncmp(value, "https://", 8) == 0 ? 8 : 0;
    if (!self && !scheme) {
        return "a http or https URL, or self, is wanted";
    }
    return self || has_host(value + scheme) ? NULL : "the URL has no host";
}

static const char *set_chat_odds(web_flags *flags, const char *value) {
    bool good = decimal(value, 1, &flags->produce_odds);
    flags->consume_odds = flags->produce_odds;
    return good ? NULL : "0 to 1 is wanted";
}

static const char *set_chat_deadline(web_flags *flags, const char *value) {
    double milliseconds = 0;
    bool good = decimal(value, CHAT_DEADLINE_MAX_MS, &milliseconds);
    flags->chat_deadline_ns = (pirn_time)(milliseconds * 1e6);
    return good ? NULL : "milliseconds, a day at most, are wanted";
}

static const char *set_http_odds(web_flags *flags, const char *value) {
    return decimal(value, 1, &flags->http_odds) ? NULL : "0 to 1 is wanted";
}

static const char *set_access_log(web_flags *flags, const char *value) {
    flags->access_log = value && *value ? value : "-";
    return NULL;
}

static const char *set_inspector(web_flags *flags, const char *value) {
    bool on = strcmp(value, "on") == 0, off = strcmp(value, "off") == 0;
    flags->inspector = on ? NULL : off ? "" : value;
    return on || off || strrchr(value, ':') ? NULL : "on, off or ADDRESS:PORT is wanted";
}

static const char *set_allowed_host(web_flags *flags, const char *value) {
    flags->allowed_hosts = value;
    return *value && !strpbrk(value, ":/ ") ? NULL : "names without scheme and port, with commas between, are wanted";
}

static const char *set_guard(web_flags *flags, const char *value) {
    static const struct {
        const char *name;
        pirn_guard guard;
    } guards[] = {{"auto", PIRN_GUARD_AUTO},
                  {"madvise", PIRN_GUARD_MADVISE},
                  {"mprotect", PIRN_GUARD_MPROTECT},
                  {"canary", PIRN_GUARD_CANARY}};
    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++) {
        if (strcmp(value, guards[i].name) == 0) {
            flags->runtime.guard = guards[i].guard;
            return NULL;
        }
    }
    return "auto, madvise, mprotect or canary is wanted";
}

static const char *set_stack_bytes(web_flags *flags, const char *value) {
    uint64_t bytes = 0;
    bool good = number(value, STACK_BYTES_MAX, &bytes) && bytes >= STACK_BYTES_MIN;
    flags->runtime.stack_bytes = (size_t)bytes;
    return good ? NULL : "16384 bytes to 64 MiB are wanted";
}

static const char *set_help(web_flags *flags, const char *value) {
    (void)value;
    flags->help = true;
    return NULL;
}

/* ---- the table ---- */

static const row rows[] = {
    {"--listen", "ADDRESS:PORT", "where to serve; port 0 takes a free one (127.0.0.1:8080)", set_listen, false},
    {"--mode", "threaded|single", "reactor and workers on threads of their own, or all on one (threaded)", set_mode,
     false},
    {"--workers", "N",
     "threads that run tasklets (one per CPU of the affinity and the quota, less one for the reactor)", set_workers,
     false},
    {"--poll", "reactor|worker", "who reads and writes sockets (reactor)", set_poll, false},
    {"--reactors", "R", "1 in this version", set_reactors, false},
    {"--db", "FILE", "SQLite database, made when missing and kept (a temporary one)", set_database, false},
    {"--seed", "N", "of the odds below (1)", set_seed, false},
    {"--http-target", "URL|self", "what the seed's page fetches (self: our own /hello)", set_target, false},
    {"--http-probability", "P", "how often it does (0.2)", set_http_odds, false},
    {"--chat-probability", "P", "how often it speaks, and how often it listens (0.2 and 0.3)", set_chat_odds, false},
    {"--chat-deadline", "MS", "how long either waits for the other (50)", set_chat_deadline, false},
    {"--access-log", "FILE|-", "one line a request, - is stderr (off)", set_access_log, true},
    {"--allowed-host", "NAME,...", "names the chat may be reached by, besides the address (loopback names)",
     set_allowed_host, false},
    {"--inspector", "on|off|ADDRESS:PORT", "where /debug/pirn/ is, for this machine only (on: beside the site)",
     set_inspector, false},
    {"--help", NULL, "this text; also -h", set_help, false},
    {"-h", NULL, NULL, set_help, false},
    {"--guard", "KIND", NULL, set_guard, false},
    {"--stack-bytes", "N", NULL, set_stack_bytes, false},
};
#define ROW_COUNT (sizeof rows / sizeof *rows)

void flags_help(FILE *out) {
    fputs("usage: pirn-web [flags]\n\nServes the seeds' site: each request a tasklet that waits for SQL, HTTP and "
          "chat.\n\n",
          out);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].help) {
            int width = fprintf(out, "  %s %s", rows[i].name, rows[i].value ? rows[i].value : "");
            fprintf(out, "%*s%s\n", width < 34 ? 34 - width : 1, "", rows[i].help);
        }
    }
    fputs("\nSIGTERM, SIGINT or SIGHUP drains, 5 seconds at most; one more, 200 ms or later after it, exits at once.\n"
          "Exit codes: 0 ok, 2 usage, 3 cannot bind, 4 database, 70 internal, 128 + its number for that other "
          "signal.\n",
          out);
}

/* ---- parsing ---- */

static unsigned least(unsigned a, unsigned b) {
    return a < b ? a : b;
}

/* Levenshtein's distance of two short words, one row of the matrix at a time. */
static unsigned distance(const char *a, const char *b) {
    unsigned line[NAME_BYTES_MAX + 1];
    size_t b_length = strnlen(b, NAME_BYTES_MAX);
    for (unsigned j = 0; j <= b_length; j++) {
        line[j] = j;
    }
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned diagonal = line[0];
        line[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = line[j];
            line[j] = least(replaced, least(line[j], line[j - 1]) + 1);
        }
    }
    return line[b_length];
}

static int unknown(const char *name, size_t length) {
    const row *nearest = NULL;
    unsigned best = least(SUGGEST_MAX, (unsigned)length / 3) + 1; /* of a short word too much would have to change */
    char typed[NAME_BYTES_MAX];
    snprintf(typed, sizeof typed, "%.*s", (int)length, name);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        unsigned edits = distance(rows[i].name, typed);
        if (rows[i].help && edits < best) {
            best = edits;
            nearest = &rows[i];
        }
    }
    if (nearest) {
        complain("unknown flag %.*s: do you mean %s?", (int)length, name, nearest->name);
    } else {
        complain("unknown flag %.*s: see pirn-web --help", (int)length, name);
    }
    return EXIT_USAGE;
}

static const row *find(const char *name, size_t length) {
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* One flag, as "--name value" or "--name=value". `*next` is the argument after it, moved past the value when it is
 * taken. */
static int parse_one(web_flags *flags, char *argument, char ***next) {
    size_t length = strcspn(argument, "=");
    const row *found = find(argument, length);
    const char *value = argument[length] == '=' ? argument + length + 1 : NULL;
    if (!found) {
        return unknown(argument, length);
    }
    if (found->value && !value && **next && !(found->optional && strncmp(**next, "--", 2) == 0)) {
        value = *(*next)++;
    }
    if (found->value && !value && !found->optional) {
        complain("%s needs a value: %s", found->name, found->value);
        return EXIT_USAGE;
    }
    if (!found->value && value) {
        complain("%s takes no value", found->name);
        return EXIT_USAGE;
    }
    const char *wrong = found->set(flags, value);
    if (wrong) {
        complain("%s %s: %s", found->name, value ? value : "", wrong);
        return EXIT_USAGE;
    }
    return 0;
}

int flags_parse(web_flags *flags, char **arguments) {
    memset(flags, 0, sizeof *flags);
    pirn_options_init(&flags->runtime);
    flags->listen = "127.0.0.1:8080";
    flags->http_odds = 0.2;
    flags->produce_odds = 0.2;
    flags->consume_odds = 0.3;
    flags->chat_deadline_ns = 50 * PIRN_MILLISECOND;
    flags->seed = 1;
    for (char **next = arguments + 1; *next && !flags->help;) {
        char *argument = *next++;
        int status = parse_one(flags, argument, &next);
        if (status) {
            return status;
        }
    }
    if (!flags->help && flags->runtime.mode == PIRN_MODE_SINGLE && flags->runtime.workers > 1) {
        complain("--workers %u: --mode single has one, the thread that all runs on", flags->runtime.workers);
        return EXIT_USAGE;
    }
    return 0;
}
