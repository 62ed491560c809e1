/* SPDX-License-Identifier: MIT
 *
 * What: pirn-web, the seeds' site: start all parts, serve until a signal, drain, stop all parts in reverse.
 * Threads: main, and the main tasklet at worker 0.
 * Exit codes: web.h. The one line on stdout comes when the site serves; all else is on stderr.
 */
#include "web.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DRAIN_NS  (4 * PIRN_SECOND) /* with what follows, an exit within five seconds */
#define SIGNALLED 128               /* the shell's convention for an exit by signal */
#define ECHO_NS   (200 * PIRN_MILLISECOND)

void complain(const char *format, ...) {
    char line[700] = "pirn-web: ";
    size_t used = strlen(line);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
    va_end(arguments);
    used += length < 0 ? 0 : (size_t)length;
    used = used < sizeof line - 1 ? used : sizeof line - 2;
    line[used++] = '\n';
    /* One call, so that lines of several threads do not mix; and none where it would wait: a full pipe that nobody
     * reads must hold up neither the site nor its end. */
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) != 0) {
        (void)!write(STDERR_FILENO, line, used);
    }
}

/* ---- addresses ---- */

/* "127.0.0.1:0" and the port that was bound as "127.0.0.1:PORT". */
static void bound_address(const char *listen, int port, char *text, size_t text_bytes) {
    int host = (int)(strrchr(listen, ':') - listen);
    snprintf(text, text_bytes, "%.*s:%d", host, listen, port);
}

/* What --http-target self means: our own /hello, by loopback where we listen on all addresses. */
static void choose_target(web_site *site, const char *address, int port) {
    if (site->flags.http_target) {
        snprintf(site->http_target, sizeof site->http_target, "%s", site->flags.http_target);
    } else if (strncmp(address, "0.0.0.0:", 8) == 0) {
        snprintf(site->http_target, sizeof site->http_target, "http://127.0.0.1:%d/hello", port);
    } else if (strncmp(address, "[::]:", 5) == 0) {
        snprintf(site->http_target, sizeof site->http_target, "http://[::1]:%d/hello", port);
    } else {
        snprintf(site->http_target, sizeof site->http_target, "http://%s/hello", address);
    }
}

/* ---- signals ---- */

#define SIGNALS 3

static const int numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP};

typedef struct stop_signals {
    web_site *site;
    pirn_channel *channels[SIGNALS];
    pirn_time first_at; /* when the drain began */
} stop_signals;

/* Wait for any. Its number, or a negative code. */
static int wait_signal(stop_signals *signals) {
    int number = 0;
    pirn_case cases[SIGNALS];
    for (int i = 0; i < SIGNALS; i++) {
        cases[i] = (pirn_case){.channel = signals->channels[i], .direction = PIRN_RECV, .elem = &number};
    }
    int chosen = pirn_select(cases, SIGNALS, PIRN_FOREVER);
    if (chosen < 0) {
        return chosen;
    }
    return cases[chosen].status ? cases[chosen].status : numbers[chosen];
}

/* A daemon tasklet during the drain: a second signal ends the program at once. One that comes together with the first
 * is the first once more: GNU timeout signals its child and then its group, and a terminal's ^C reaches us beside what
 * our parent passes on. */
static int watch_second(void *arg) {
    stop_signals *signals = arg;
    int number;
    do {
        number = wait_signal(signals);
    } while (number > 0 && pirn_now() - signals->first_at < ECHO_NS);
    if (number > 0) {
        complain("signal %d again: exiting now", number);
        database_unlink(signals->site);
        _exit(SIGNALLED + number);
    }
    return 0;
}

/* Who is started by nohup, or in the background of some shells, has been told to ignore one, and goes on doing so. */
static bool is_ignored(int number) {
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static int open_signals(web_site *site, stop_signals *signals) {
    signals->site = site;
    for (int i = 0; i < SIGNALS; i++) {
        if (is_ignored(numbers[i])) {
            continue; /* a case without a channel is never ready */
        }
        signals->channels[i] = pirn_signal_open(numbers[i]);
        if (!signals->channels[i]) {
            return PIRN_ENOMEM;
        }
    }
    return 0;
}

static void close_signals(stop_signals *signals) {
    for (int i = 0; i < SIGNALS; i++) {
        if (signals->channels[i]) {
            pirn_signal_close(signals->channels[i]);
        }
    }
}

/* ---- the site's life ---- */

static int listen_or_say(const char *flag, const char *address, pirn_listener **listener) {
    int status = pirn_listen(address, NULL, listener);
    if (!status) {
        return 0;
    }
    if (status == PIRN_EINVAL) {
        complain("%s %s: a numeric ADDRESS:PORT is wanted", flag, address);
        return EXIT_USAGE;
    }
    complain("cannot listen on %s: %s", address,
             status == -EADDRINUSE ? "another program has this port" : pirn_strerror(status));
    return EXIT_BIND;
}

static int create_server(web_site *site) {
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.nosniff = true;
    if (site->log) {
        options.on_access = access_log_record;
        options.on_access_context = site->log;
    }
    site->server = pirn_http_server_create(&options);
    int status = site->server ? 0 : PIRN_ENOMEM;
    status = status ? status : seed_page_routes(site);
    status = status ? status : chat_routes(site);
    status = status ? status : pages_routes(site);
    bool beside = !site->flags.inspector;
    return status || !beside ? status : pirn_http_inspector(site->server, "/debug/pirn/");
}

/* The inspector on an address of its own. 0 or an exit code, after one line on stderr. */
static int start_inspector(web_site *site) {
    const char *address = site->flags.inspector;
    pirn_listener *listener;
    if (!address || !*address) {
        return 0;
    }
    int code = listen_or_say("--inspector", address, &listener);
    if (code) {
        return code;
    }
    const pirn_http_options options = {.nosniff = true};
    site->inspector = pirn_http_server_create(&options);
    int status = site->inspector ? pirn_http_inspector(site->inspector, "/debug/pirn/") : PIRN_ENOMEM;
    int port = pirn_listener_port(listener);
    status = status ? status : pirn_http_serve(site->inspector, listener);
    if (status) {
        pirn_listener_close(listener);
        complain("cannot start the inspector: %s", pirn_strerror(status));
        return EXIT_INTERNAL;
    }
    char bound[300];
    bound_address(address, port, bound, sizeof bound);
    complain("inspector on http://%s/debug/pirn/", bound);
    return 0;
}

/* Start everything; what was started is in `site` whatever happens. 0 or an exit code, after one line on stderr. */
static int start(web_site *site, pirn_listener **listener) {
    int code = listen_or_say("--listen", site->flags.listen, listener);
    code = code ? code : database_open(site);
    if (code) {
        return code;
    }
    if (site->flags.access_log && !(site->log = access_log_open(site->flags.access_log))) {
        return EXIT_USAGE;
    }
    int status = seed_page_start(site);
    status = status ? status : chat_start(site);
    status = status ? status : create_server(site);
    if (status) {
        complain("cannot start: %s", pirn_strerror(status));
        return EXIT_INTERNAL;
    }
    return start_inspector(site);
}

/* On stderr: how it runs, so that a log tells which of the configurations it is of. */
static void tell_configuration(void) {
    static const char *const guards[] = {[PIRN_GUARD_AUTO] = "auto",
                                         [PIRN_GUARD_MADVISE] = "madvise",
                                         [PIRN_GUARD_MPROTECT] = "mprotect",
                                         [PIRN_GUARD_CANARY] = "canary"};
    pirn_runtime_info info;
    if (pirn_runtime_describe(&info) == 0) {
        const char *poll = info.poll == PIRN_POLL_REACTOR ? "threaded, poll reactor" : "threaded, poll worker";
        complain("%s, %u worker%s (%s), stacks of %zu KiB guarded by %s",
                 info.mode == PIRN_MODE_SINGLE ? "single" : poll, info.workers, info.workers == 1 ? "" : "s",
                 info.workers_reason, info.stack_bytes / 1024, guards[info.guard]);
    }
}

/* Serve until a signal. 0 or an exit code. */
static int serve(web_site *site, pirn_listener **listener, stop_signals *signals) {
    char address[300];
    int port = pirn_listener_port(*listener);
    bound_address(site->flags.listen, port, address, sizeof address);
    choose_target(site, address, port);
    int status = pirn_http_serve(site->server, *listener);
    if (status) {
        complain("cannot serve: %s", pirn_strerror(status));
        return EXIT_INTERNAL;
    }
    *listener = NULL; /* the server's now */
    printf("listening on http://%s\n", address);
    fflush(stdout);
    tell_configuration();
    int number = wait_signal(signals);
    if (number < 0) {
        complain("cannot wait for signals: %s", pirn_strerror(number));
        return EXIT_INTERNAL;
    }
    signals->first_at = pirn_now();
    return 0;
}

/* In reverse order of start(). What waits for other clients is woken first: then the drain has little to wait for. */
static void stop(web_site *site, pirn_listener *listener, stop_signals *signals) {
    pirn_spawn_options daemon;
    pirn_spawn_options_init(&daemon);
    daemon.name = "second signal";
    daemon.flags = PIRN_DAEMON | PIRN_JOINABLE;
    pirn_tasklet second = pirn_spawn_with(&daemon, watch_second, signals);
    pirn_listener_close(listener);
    if (site->hub) {
        chat_stop(site);
    }
    if (site->chat) {
        seed_page_stop(site);
    }
    pirn_time deadline = pirn_after(DRAIN_NS);
    pirn_http_server_close(site->inspector, deadline);
    pirn_http_server_close(site->server, deadline);
    if (site->hub) {
        chat_close(site);
    }
    if (site->chat) {
        seed_page_close(site);
    }
    access_log_close(site->log);
    database_close(site);
    if (second.id) {
        pirn_cancel(second);
        pirn_join(second, NULL, PIRN_FOREVER);
    }
}

static int run(void *arg) {
    web_site *site = arg;
    pirn_listener *listener = NULL;
    stop_signals signals = {0};
    int code = EXIT_INTERNAL;
    if (open_signals(site, &signals)) {
        complain("cannot take signals");
    } else {
        code = start(site, &listener);
        code = code ? code : serve(site, &listener, &signals);
        stop(site, listener, &signals);
    }
    close_signals(&signals);
    site->exit_code = code;
    return 0;
}

/* As many descriptors as we may have: two thousand chat readers need more than the usual 1,024. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argument_count, char **arguments) {
    (void)argument_count; /* the list ends with NULL */
    static web_site site; /* large, and handed to tasklets: not on a stack */
    int code = flags_parse(&site.flags, arguments);
    if (code) {
        return code;
    }
    if (site.flags.help) {
        flags_help(stdout);
        return EXIT_OK;
    }
    raise_descriptor_limit();
    site.exit_code = EXIT_INTERNAL;
    int status = pirn_run(&site.flags.runtime, run, &site);
    if (status) {
        complain("stopped: %s", pirn_strerror(status));
        return EXIT_INTERNAL;
    }
    return site.exit_code;
}
