/* SPDX-License-Identifier: MIT
 *
 * What: the seeds' own mix of requests in the real pirn-web: twenty clients, each asking again as soon as it was
 *       answered. No request fails, none stalls, and some of them meet in the chat.
 *
 * Each client is a thread with one blocking connection at a time, and reads its answers as strictly as a parser would:
 * an answer that is cut, or that does not end where its framing says, is a failed request.
 */
#include "program.h"

#include <pthread.h>

#define CLIENTS     20
#define STALL_S     30 /* no request may take longer; the longest wait of the page itself is 50 ms            */
#define CHUNK_BYTES 65536

typedef struct client {
    pthread_t thread;
    program server;
    FILE *in;     /* of its connection; NULL: the server has closed the last one in good order   */
    bool closing; /* the answer being read says that it is the connection's last               */
    uint64_t wanted, answered, met;
    int64_t slowest_ms;
    const char *failure; /* NULL: none */
} client;

static const char *read_head(client *c) {
    FILE *in = c->in;
    char line[PROGRAM_LINE_BYTES];
    bool chunked = false;
    if (!program_read_line(in, line)) {
        return "no status line";
    }
    if (strcmp(line, "HTTP/1.1 200 OK") != 0) {
        return "not 200 OK";
    }
    do {
        if (!program_read_line(in, line)) {
            return "the head is cut";
        }
        chunked = chunked || strcasecmp(line, "Transfer-Encoding: chunked") == 0;
        c->closing = c->closing || strcasecmp(line, "Connection: close") == 0;
    } while (line[0]);
    return chunked ? NULL : "not chunked";
}

/* All chunks, one after the other in `page`, as a string. */
static const char *read_chunks(FILE *in, char page[CHUNK_BYTES]) {
    char line[PROGRAM_LINE_BYTES], *end;
    size_t length = 0;
    for (;;) {
        if (!program_read_line(in, line)) {
            return "the size of a chunk is cut";
        }
        size_t bytes = strtoul(line, &end, 16);
        if (end == line || *end || bytes >= CHUNK_BYTES - length) {
            return "a chunk's size is none";
        }
        if (fread(page + length, 1, bytes, in) != bytes) {
            return "a chunk is cut";
        }
        length += bytes;
        page[length] = '\0';
        if (!program_read_line(in, line) || line[0]) {
            return "a chunk does not end with an empty line";
        }
        if (bytes == 0) {
            return NULL;
        }
    }
}

static const char *check_page(client *c, const char *page) {
    static const char ending[] = "</html>\n";
    size_t length = strlen(page), ending_length = sizeof ending - 1;
    if (length < ending_length || strcmp(page + length - ending_length, ending) != 0) {
        return "the page does not end as it should";
    }
    if (strstr(page, "the query failed") || strstr(page, "no page: ")) {
        return "the page tells of a query or a fetch that failed";
    }
    c->met += strstr(page, "hi from ") && strstr(page, " chaps)");
    return NULL;
}

/* A read that gets no byte for so long as makes a stall fails, and with it the request. */
static void connect_client(client *c) {
    int fd = program_connect(c->server);
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = STALL_S}, sizeof(struct timeval)) ==
              0);
    c->in = fdopen(fd, "r");
    c->closing = false;
}

/* After an answer that said so, the server closes: nothing more may come. It does so after 1,000. */
static const char *end_connection(client *c) {
    bool ended = fgetc(c->in) == EOF && feof(c->in);
    fclose(c->in);
    c->in = NULL;
    return ended ? NULL : "the server did not close as it said";
}

/* One request. NULL, or what is wrong with its answer. */
static const char *ask_for_page(client *c) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    char page[CHUNK_BYTES];
    if (!c->in) {
        connect_client(c);
    }
    if (send(fileno(c->in), request, sizeof request - 1, MSG_NOSIGNAL) != (ssize_t)sizeof request - 1) {
        return "the request could not be sent";
    }
    const char *failure = read_head(c);
    failure = failure ? failure : read_chunks(c->in, page);
    failure = failure ? failure : check_page(c, page);
    return !failure && c->closing ? end_connection(c) : failure;
}

static void *ask_again_and_again(void *arg) {
    client *c = arg;
    while (!c->failure && c->answered < c->wanted) {
        int64_t begun = program_clock_ms();
        c->failure = ask_for_page(c);
        int64_t took_ms = program_clock_ms() - begun;
        c->slowest_ms = took_ms > c->slowest_ms ? took_ms : c->slowest_ms;
        c->answered += !c->failure;
    }
    if (c->in) {
        fclose(c->in);
    }
    return NULL;
}

static void run_mix(const char *const flags[]) {
    static client clients[CLIENTS];
    uint64_t total = pirn_test_count(pirn_test_is_long() ? 100000 : 4000, 400), answered = 0, met = 0;
    int64_t begun = program_clock_ms(), slowest_ms = 0;
    program p = program_start(flags);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.server = p, .wanted = total / CLIENTS};
        cr_assert(pthread_create(&clients[i].thread, NULL, ask_again_and_again, &clients[i]) == 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        const client *c = &clients[i];
        cr_assert(pthread_join(c->thread, NULL) == 0);
        cr_expect(!c->failure, "client %d, request %llu: %s", i, (unsigned long long)c->answered, c->failure);
        answered += c->answered;
        met += c->met;
        slowest_ms = c->slowest_ms > slowest_ms ? c->slowest_ms : slowest_ms;
    }
    fprintf(stderr, "%s %s %s: %llu of %llu requests in %lld ms, the slowest took %lld ms, %llu met in the chat\n",
            flags[1], flags[2] ? flags[2] : "", flags[2] ? flags[3] : "", (unsigned long long)answered,
            (unsigned long long)total, (long long)(program_clock_ms() - begun), (long long)slowest_ms,
            (unsigned long long)met);
    cr_expect(answered == total);
    cr_expect(slowest_ms <= STALL_S * 1000);
    cr_expect(met > 0);
    program_stop(p);
}

Test(mix, twenty_clients_reactor_performs, .timeout = 1200) {
    /* Goal: the seeds' default odds, a closed loop of twenty clients: none of 4,000 requests (100,000 with
     *       PIRN_TEST_LONG=1) fails or stalls, and the program then still ends in time.
     * Method: one keep-alive connection a client; every answer is read to the end that its framing tells. */
    const char *const flags[] = {"--mode", "threaded", "--poll", "reactor", "--workers", "2", NULL};
    run_mix(flags);
}

Test(mix, twenty_clients_workers_perform, .timeout = 1200) {
    /* Goal and method: as above, with the workers' own readiness sets. */
    const char *const flags[] = {"--mode", "threaded", "--poll", "worker", "--workers", "2", NULL};
    run_mix(flags);
}

Test(mix, twenty_clients_single, .timeout = 1200) {
    /* Goal and method: as above, on one thread. */
    const char *const flags[] = {"--mode", "single", NULL};
    run_mix(flags);
}
