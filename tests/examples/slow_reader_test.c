/* SPDX-License-Identifier: MIT
 *
 * What: the chat of the real pirn-web with a reader that stands still: its socket's buffers fill, then its queue, the
 *       hub cuts it off, and the other reader misses nothing.
 *
 * The slow reader is a small socket, which some twenty messages fill. A small receive buffer alone would not do: the
 * kernel gives the server's end room for twenty segments of the size that the client allows, and one of the loopback
 * has 64 KB. With an Ethernet's segments the room is small, and it grows only for a client that takes what was sent.
 *
 * Each batch of messages comes at once and is longer than a reader's queue, and the quick reader hears all of it before
 * the next one: the hub has to wait for who reads, and cuts off who does not.
 */
#include "program.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>

#define QUEUE_MAX     64   /* of messages: the hub's bound for each reader                                    */
#define MESSAGE_BYTES 4000 /* a message may have 4,096                                                        */
#define BATCH         80
#define MESSAGES_MAX  640 /* 2.5 MB: several times what the small socket and the queue hold                   */
#define LOOKS_MAX     300
#define LOOK_EACH_MS  100
#define LIMIT_S       30 /* for what comes at once, unless something is broken                                */
#define SEGMENT_BYTES 1460
#define WINDOW_BYTES  4096

_Static_assert(BATCH > QUEUE_MAX, "a batch is longer than a queue");
_Static_assert(MESSAGES_MAX + LOOKS_MAX + 50 < 1000, "the server closes a connection after 1,000 requests");

typedef struct reader {
    pthread_t thread;
    FILE *in;
    size_t chunk_left;
    bool chunk_begun; /* the end of the chunk before is still to be read                                      */
    bool whole;       /* the last chunk has come                                                              */
    bool silent;      /* the stream has not ended, but nothing came for LIMIT_S                               */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned heard; /* messages, each the next one                                                            */
    bool wrong;     /* what came was not the next one                                                         */
    bool ended;
} reader;

/* ---- the words ---- */

/* The text of the message of this number: its digits, then what makes it long. */
static void compose(unsigned number, char text[MESSAGE_BYTES + 1]) {
    int digits = snprintf(text, MESSAGE_BYTES + 1, "%06u", number);
    memset(text + digits, 'a', MESSAGE_BYTES - (size_t)digits);
    text[MESSAGE_BYTES] = '\0';
}

/* The status of an answer whose head is read; `body_bytes` is what it says of its length, 0 when nothing. */
static int read_head(FILE *in, size_t *body_bytes) {
    char line[PROGRAM_LINE_BYTES];
    int status = 0;
    *body_bytes = 0;
    cr_assert(program_read_line(in, line), "no answer");
    cr_assert(sscanf(line, "HTTP/1.1 %d ", &status) == 1, "a status line is wanted: %s", line);
    do {
        cr_assert(program_read_line(in, line), "the head is cut");
        (void)sscanf(line, "Content-Length: %zu", body_bytes);
    } while (line[0]);
    return status;
}

static FILE *open_stream(int fd) {
    const struct timeval limit = {.tv_sec = LIMIT_S};
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    return fdopen(fd, "r");
}

/* ---- the readers ---- */

/* False: the stream has ended: with `whole` as it should, else it was cut. */
static bool next_chunk(reader *r) {
    char line[PROGRAM_LINE_BYTES];
    if (r->chunk_begun && !(program_read_line(r->in, line) && !line[0])) {
        return false;
    }
    r->chunk_begun = true;
    if (!program_read_line(r->in, line)) {
        return false;
    }
    r->chunk_left = strtoul(line, NULL, 16);
    if (strcmp(line, "0") == 0) {
        r->whole = program_read_line(r->in, line) && !line[0];
    }
    return r->chunk_left > 0;
}

/* A line of the event stream, which may begin and end in any chunk. False: the stream has ended. */
static bool read_text(reader *r, char text[MESSAGE_BYTES * 2]) {
    for (size_t length = 0; length < MESSAGE_BYTES * 2; length++) {
        int byte = r->chunk_left > 0 || next_chunk(r) ? fgetc(r->in) : EOF;
        if (byte == EOF) {
            return false;
        }
        r->chunk_left--;
        text[length] = (char)byte;
        if (byte == '\n') {
            text[length] = '\0';
            return true;
        }
    }
    return false;
}

/* Read to the end of the stream, and count the messages as they come. */
static void *hear(void *arg) {
    static const char field[] = "data: ";
    reader *r = arg;
    char text[MESSAGE_BYTES * 2], wanted[MESSAGE_BYTES + 1];
    while (!r->wrong && read_text(r, text)) {
        if (!text[0] || text[0] == ':') {
            continue; /* the end of an event, a comment */
        }
        compose(r->heard + 1, wanted);
        bool next = strncmp(text, field, sizeof field - 1) == 0 && strcmp(text + sizeof field - 1, wanted) == 0;
        pthread_mutex_lock(&r->lock);
        r->heard += next;
        r->wrong = !next;
        pthread_cond_signal(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    r->silent = ferror(r->in) && errno == EAGAIN;
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Become a reader that the hub knows: it does before its welcome. */
static void join_chat(reader *r, int fd) {
    char text[MESSAGE_BYTES * 2];
    size_t body_bytes;
    *r = (reader){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    r->in = open_stream(fd);
    program_ask(fd, "/chat/events");
    cr_assert(read_head(r->in, &body_bytes) == 200);
    cr_assert(read_text(r, text) && strcmp(text, ": welcome") == 0);
}

static int connect_small(program p) {
    const int segment = SEGMENT_BYTES, window = WINDOW_BYTES;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    cr_assert(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment) == 0);
    cr_assert(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window) == 0);
    program_connect_socket(p, fd);
    return fd;
}

/* Until the reader has heard all that was said; nothing of this touches the program. */
static void wait_until_heard(reader *r, unsigned said) {
    struct timespec limit;
    int late = 0;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += LIMIT_S;
    pthread_mutex_lock(&r->lock);
    while (r->heard < said && !r->wrong && !r->ended && !late) {
        late = pthread_cond_timedwait(&r->changed, &r->lock, &limit);
    }
    unsigned heard = r->heard;
    const char *why = r->ended ? "its stream was cut" : "it is held up; is the slow one not cut off?";
    why = r->wrong ? "what came then was not the next one" : why;
    pthread_mutex_unlock(&r->lock);
    cr_assert(heard == said, "the quick reader heard %u of %u messages: %s", heard, said, why);
}

/* ---- who speaks, and looks into the program ---- */

/* A whole batch of posts at once, then their answers. */
static void say_batch(FILE *speaker, unsigned said) {
    static char posts[BATCH * (MESSAGE_BYTES + 200)];
    char text[MESSAGE_BYTES + 1];
    size_t length = 0, body_bytes;
    for (unsigned i = 1; i <= BATCH; i++) {
        compose(said + i, text);
        length += (size_t)snprintf(posts + length, sizeof posts - length,
                                   "POST /chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
                                   "Content-Type: application/x-www-form-urlencoded\r\n\r\nmessage=%s",
                                   MESSAGE_BYTES + (int)strlen("message="), text);
    }
    for (size_t sent = 0; sent < length;) {
        ssize_t count = send(fileno(speaker), posts + sent, length - sent, MSG_NOSIGNAL);
        cr_assert(count > 0, "the posts could not be sent: %s", strerror(errno));
        sent += (size_t)count;
    }
    for (unsigned i = 1; i <= BATCH; i++) {
        int status = read_head(speaker, &body_bytes);
        cr_assert(status == 204, "message %u was answered with %d", said + i, status);
    }
}

/* How many tasklets there are, from the inspector. */
static unsigned count_tasklets(FILE *in) {
    static const char request[] = "GET /debug/pirn/?format=json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char page[16384];
    size_t bytes;
    unsigned live = 0;
    cr_assert(send(fileno(in), request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1);
    cr_assert(read_head(in, &bytes) == 200);
    cr_assert(bytes > 0 && bytes < sizeof page && fread(page, 1, bytes, in) == bytes);
    page[bytes] = '\0';
    const char *counts = strstr(page, "\"counts\":");
    cr_assert(counts && sscanf(counts, "\"counts\":{\"live\":%u", &live) == 1, "%s", page);
    return live;
}

static void wait_until_tasklets_are(FILE *in, unsigned wanted, const char *what) {
    unsigned live = count_tasklets(in);
    for (int looks = 1; live != wanted && looks < LOOKS_MAX; looks++) {
        usleep(LOOK_EACH_MS * 1000);
        live = count_tasklets(in);
    }
    cr_assert(live == wanted, "%s: %u tasklets are left, %u are wanted", what, live, wanted);
}

/* ---- the whole ---- */

/* Speak until the slow reader has lost its request. How much was said then. */
static unsigned speak_until_cut(FILE *speaker, reader *quick, unsigned with_both) {
    unsigned said = 0;
    while (count_tasklets(speaker) == with_both) {
        cr_assert(said < MESSAGES_MAX, "the slow reader was not cut off: it has read none of %u messages", said);
        say_batch(speaker, said);
        said += BATCH;
        wait_until_heard(quick, said);
    }
    return said;
}

static void outrun(const char *const flags[]) {
    static reader quick, slow;
    program p = program_start(flags);
    FILE *speaker = open_stream(program_connect(p));
    unsigned before = count_tasklets(speaker);
    join_chat(&quick, program_connect(p));
    join_chat(&slow, connect_small(p)); /* the last one in is the first that the hub tells */
    cr_assert(pthread_create(&quick.thread, NULL, hear, &quick) == 0);
    wait_until_tasklets_are(speaker, before + 4, "a connection and a request for each reader");

    unsigned said = speak_until_cut(speaker, &quick, before + 4);
    wait_until_tasklets_are(speaker, before + 2, "the slow reader leaves nothing behind while it stands still");

    hear(&slow);
    fprintf(stderr, "%s %s %s: %u messages were said, the slow reader's buffers held %u\n", flags[1],
            flags[2] ? flags[2] : "", flags[2] ? flags[3] : "", said, slow.heard);
    cr_expect(!slow.silent, "the slow reader's stream never ended");
    cr_expect(!slow.whole, "the slow reader's stream ended well");
    cr_expect(!slow.wrong, "after message %u the slow reader heard another than the next", slow.heard);
    cr_expect(slow.heard > 0 && said - slow.heard > QUEUE_MAX, "it heard %u of %u: it was not cut off for being behind",
              slow.heard, said);
    fclose(slow.in);

    program_stop(p); /* which ends the quick one's stream as it should */
    cr_assert(pthread_join(quick.thread, NULL) == 0);
    cr_expect(quick.heard == said && !quick.wrong, "the quick reader heard %u of %u", quick.heard, said);
    cr_expect(quick.whole, "the quick reader's stream was cut");
    fclose(quick.in);
    fclose(speaker);
}

Test(slow_reader, is_cut_off_reactor_performs, .timeout = 120) {
    /* Goal: a reader that stands still is cut off by the hub and sees it, and costs the others no message; the program
     *       then ends well.
     * Method: batches of messages over one connection until the inspector misses the slow reader; the quick one checks
     *         the number of each message. What is in the slow one's buffers is read last, to an end without a last
     *         chunk. */
    const char *const flags[] = {"--mode", "threaded", "--poll", "reactor", "--workers", "2", NULL};
    outrun(flags);
}

Test(slow_reader, is_cut_off_workers_perform, .timeout = 120) {
    /* Goal and method: as above, with the workers' own readiness sets. */
    const char *const flags[] = {"--mode", "threaded", "--poll", "worker", "--workers", "2", NULL};
    outrun(flags);
}

Test(slow_reader, is_cut_off_single, .timeout = 120) {
    /* Goal and method: as above, on one thread. */
    const char *const flags[] = {"--mode", "single", NULL};
    outrun(flags);
}
