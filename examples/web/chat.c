/* SPDX-License-Identifier: MIT
 *
 * What: the chat page. One hub tasklet knows all readers; each event stream has a channel of its own, to which the hub
 *       gives each message. Readers and speakers may live on any worker: they meet the hub over one channel.
 * Threads: the hub at the worker that started it; each reader at its request's worker.
 * Bounds: QUEUE_MAX messages and QUEUE_BYTES_MAX bytes wait for a reader; one that takes none of them for PATIENCE_NS
 *       is slow, and its request is cancelled: all that stand still together hold the others up once, for that long.
 *       One that reads, but slower than others write, is not cut: then the speakers wait for it. COMMANDS_MAX
 *       commands wait for the hub; who sends more parks.
 * Lifetime: a reader is made by its request, belongs to the hub from JOIN on, and is freed by the hub at LEAVE, the
 *       last that its request says of it: neither can touch it after the other freed it, without a lock or an answer.
 *       All readers share one copy of a message, as the event that is sent; `uses` counts the queues and tasklets that
 *       have it. Who is behind is behind by QUEUE_MAX at most, so what waits for any number of readers is bounded.
 * Shutdown: STOP closes the readers' channels, which ends their streams, and refuses new ones; END comes when no
 *       request runs.
 */
#include "web.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX         64
#define QUEUE_BYTES_MAX   ((size_t)256 << 10)
#define COMMANDS_MAX      256
#define MESSAGE_BYTES_MAX 4096
#define PATIENCE_NS       (500 * PIRN_MILLISECOND)
#define HEARTBEAT_NS      (15 * PIRN_SECOND)

typedef struct chat_message {
    unsigned uses; /* under uses_lock */
    size_t length;
    char text[]; /* "data: ...\n\n", and no NUL */
} chat_message;

typedef struct chat_reader {
    pirn_channel *queue;  /* of chat_message * */
    pirn_tasklet tasklet; /* to cancel a slow one */
    size_t waiting_bytes; /* under uses_lock: in the queue, and being written */
    /* the hub's */
    struct chat_reader *next, **place; /* where its predecessor points to it */
    bool slow;
} chat_reader;

typedef enum command_kind { JOIN, LEAVE, SAY, STOP, END } command_kind;

typedef struct chat_command {
    command_kind kind;
    chat_reader *reader;   /* JOIN, LEAVE */
    chat_message *message; /* SAY: passes to the hub */
} chat_command;

struct chat_hub {
    pirn_channel *commands;
    pirn_tasklet tasklet;
    /* the hub's */
    chat_reader *readers;
    bool stopped;
};

/* ---- the hub ---- */

static pthread_mutex_t uses_lock = PTHREAD_MUTEX_INITIALIZER;

/* One line of an event; control characters are spaces. Returns where the next byte goes. */
static char *put_line(char *at, const char *line, size_t length) {
    memcpy(at, "data: ", 6);
    at += 6;
    for (size_t i = 0; i < length; i++) {
        *at++ = (unsigned char)line[i] < ' ' ? ' ' : line[i];
    }
    *at++ = '\n';
    return at;
}

/* The event of a text: each line of it is a data line of its own. */
static chat_message *make_message(const char *text) {
    size_t lines = 1, length = strlen(text);
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    chat_message *made = malloc(sizeof *made + length + lines * 7 + 1);
    if (!made) {
        return NULL;
    }
    made->uses = 1;
    char *at = made->text;
    for (const char *line = text;; line += strcspn(line, "\n") + 1) {
        at = put_line(at, line, strcspn(line, "\n"));
        if (!line[strcspn(line, "\n")]) {
            break;
        }
    }
    *at++ = '\n';
    made->length = (size_t)(at - made->text);
    return made;
}

/* One use fewer; `reader`: of whom, NULL: nobody's that is counted. */
static void release(chat_message *message, chat_reader *reader) {
    pthread_mutex_lock(&uses_lock);
    bool over = --message->uses == 0;
    if (reader) {
        reader->waiting_bytes -= message->length;
    }
    pthread_mutex_unlock(&uses_lock);
    if (over) {
        free(message);
    }
}

/* One use more, the reader's, unless it has too much already. */
static bool use(chat_message *message, chat_reader *reader) {
    pthread_mutex_lock(&uses_lock);
    bool fits = reader->waiting_bytes + message->length <= QUEUE_BYTES_MAX;
    if (fits) {
        message->uses++;
        reader->waiting_bytes += message->length;
    }
    pthread_mutex_unlock(&uses_lock);
    return fits;
}

static void join(chat_hub *hub, chat_reader *reader) {
    reader->place = &hub->readers;
    reader->next = hub->readers;
    if (reader->next) {
        reader->next->place = &reader->next;
    }
    hub->readers = reader;
    if (hub->stopped) {
        pirn_channel_close(reader->queue);
    }
}

static void leave(chat_reader *reader) {
    *reader->place = reader->next;
    if (reader->next) {
        reader->next->place = reader->place;
    }
    pirn_channel_destroy(reader->queue);
    free(reader);
}

static bool wait_for_bytes(chat_message *said, chat_reader *reader, pirn_time deadline) {
    while (pirn_now() < deadline) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
        if (use(said, reader)) {
            return true;
        }
    }
    return false;
}

/* Give `reader` the message. A full queue may be that of one who reads and only had no turn yet: the hub waits for it,
 * but for all readers of one message together no longer than until `*deadline`, which the first of them sets. */
static bool give(chat_reader *reader, chat_message *said, pirn_time *deadline) {
    if (!use(said, reader)) {
        *deadline = *deadline ? *deadline : pirn_after(PATIENCE_NS);
        if (!wait_for_bytes(said, reader, *deadline)) {
            return false;
        }
    }
    int status = pirn_send(reader->queue, &said, PIRN_NOW);
    if (status == PIRN_EAGAIN) {
        *deadline = *deadline ? *deadline : pirn_after(PATIENCE_NS);
        status = pirn_send(reader->queue, &said, *deadline);
    }
    if (status) {
        release(said, reader);
    }
    return status == 0;
}

static void tell_all(chat_hub *hub, chat_message *said) {
    pirn_time deadline = 0; /* not set */
    for (chat_reader *reader = hub->readers; reader; reader = reader->next) {
        if (!reader->slow && !give(reader, said, &deadline)) {
            reader->slow = true;
            pirn_cancel_pending(reader->tasklet);
        }
    }
    release(said, NULL);
}

static int run_hub(void *arg) {
    chat_hub *hub = arg;
    chat_command command;
    for (;;) {
        int status = pirn_recv(hub->commands, &command, PIRN_FOREVER);
        if (status) {
            return status;
        }
        switch (command.kind) {
        case JOIN:
            join(hub, command.reader);
            break;
        case LEAVE:
            leave(command.reader);
            break;
        case SAY:
            tell_all(hub, command.message);
            pirn_yield(); /* a burst of messages would else be one long slice: no call here has to park */
            break;
        case STOP:
            hub->stopped = true;
            for (chat_reader *reader = hub->readers; reader; reader = reader->next) {
                pirn_channel_close(reader->queue);
            }
            break;
        case END:
            return 0;
        }
    }
}

static int reply_text(pirn_http_exchange *exchange, int code, const char *text) {
    return pirn_http_reply(exchange, code, "text/plain; charset=utf-8", text, strlen(text));
}

/* ---- reading ---- */

static void drop_message(void *elem) {
    release(*(chat_message **)elem, NULL); /* its reader is gone */
}

static chat_reader *create_reader(void) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "chat reader";
    options.drop = drop_message;
    options.preference = PIRN_PREFER_NEITHER; /* the hub goes on to the next reader */
    chat_reader *made = calloc(1, sizeof *made);
    if (!made) {
        return NULL;
    }
    made->tasklet = pirn_self();
    made->queue = pirn_channel_create_with(sizeof(chat_message *), QUEUE_MAX, &options);
    if (!made->queue) {
        free(made);
        return NULL;
    }
    return made;
}

static int write_event(pirn_http_exchange *exchange, chat_reader *reader, chat_message *said) {
    int status = pirn_http_write(exchange, said->text, said->length);
    release(said, reader);
    return status;
}

/* Until the client leaves, the hub ends it or the writing fails: all that is there, then a flush, then wait. */
static int stream(pirn_http_exchange *exchange, chat_reader *reader) {
    pirn_channel *queue = reader->queue;
    int status = pirn_http_print(exchange, ": welcome\n\n");
    for (;;) {
        chat_message *said = NULL;
        if (!status) {
            status = pirn_recv(queue, &said, PIRN_NOW);
        }
        if (status == PIRN_EAGAIN) {
            status = pirn_http_flush(exchange);
            status = status ? status : pirn_recv(queue, &said, pirn_after(HEARTBEAT_NS));
        }
        if (status == PIRN_ETIMEDOUT) {
            status = pirn_http_print(exchange, ": heartbeat\n\n");
        } else if (!status) {
            status = write_event(exchange, reader, said);
        }
        if (status) {
            return status == PIRN_ECLOSED ? 0 : status;
        }
    }
}

static int serve_events(pirn_http_exchange *exchange, void *context) {
    web_site *site = context;
    chat_hub *hub = site->hub;
    if (!guard_host(site, exchange)) {
        return reply_text(exchange, 403, "the chat does not go by this name: see --allowed-host\n");
    }
    pirn_http_field(exchange, "Content-Type", "text/event-stream");
    pirn_http_field(exchange, "Cache-Control", "no-store");
    if (strcmp(pirn_http_method(exchange), "HEAD") == 0) {
        return pirn_http_print(exchange, ": welcome\n\n"); /* or it would wait for messages it cannot send */
    }
    chat_reader *self = create_reader();
    if (!self) {
        return PIRN_ENOMEM;
    }
    chat_command hello = {.kind = JOIN, .reader = self};
    int status = pirn_send(hub->commands, &hello, PIRN_FOREVER);
    if (status) {
        pirn_channel_destroy(self->queue);
        free(self);
        return status;
    }
    status = stream(exchange, self);
    chat_command goodbye = {.kind = LEAVE, .reader = self};
    pirn_shield_enter();
    (void)pirn_send(hub->commands, &goodbye, PIRN_FOREVER);
    pirn_shield_leave();
    return status;
}

/* ---- speaking ---- */

/* How many bytes the character at `at` has; 0: it is no UTF-8 (cut short, longer than it need be, a surrogate, or past
 * U+10FFFF). */
static size_t character_bytes(const unsigned char *at, size_t left) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t bytes = *at < 0x80 ? 1 : *at >> 5 == 6 ? 2 : *at >> 4 == 14 ? 3 : *at >> 3 == 30 ? 4 : 0;
    if (bytes < 2 || bytes > left) {
        return bytes == 1;
    }
    uint32_t character = *at & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if (at[i] >> 6 != 2) {
            return 0;
        }
        character = character << 6 | (at[i] & 0x3fu);
    }
    bool good = character >= least[bytes] && character <= 0x10ffff && character >> 11 != 0x1b;
    return good ? bytes : 0;
}

/* An event stream is UTF-8 by definition: readers would see other words than the speaker sent. */
static bool is_utf8(const char *text, size_t length) {
    for (size_t at = 0; at < length;) {
        size_t bytes = character_bytes((const unsigned char *)text + at, length - at);
        if (!bytes) {
            return false;
        }
        at += bytes;
    }
    return true;
}

static int serve_post(pirn_http_exchange *exchange, void *context) {
    web_site *site = context;
    chat_hub *hub = site->hub;
    char text[MESSAGE_BYTES_MAX + 1];
    if (!guard_speaker(site, exchange)) {
        return reply_text(exchange, 403, "messages come from the chat's own page only\n");
    }
    int length = pirn_http_form_field(exchange, "message", text, sizeof text);
    if (length == PIRN_ELIMIT) {
        return reply_text(exchange, 413, "a message has at most 4096 bytes\n");
    }
    if (length <= 0 || strspn(text, " \t\r\n") == (size_t)length) {
        return reply_text(exchange, 400, "the form field message is missing, empty or badly encoded\n");
    }
    if (!is_utf8(text, (size_t)length)) {
        return reply_text(exchange, 400, "the message is not UTF-8\n");
    }
    chat_command say = {.kind = SAY, .message = make_message(text)};
    if (!say.message) {
        return PIRN_ENOMEM;
    }
    int status = pirn_send(hub->commands, &say, PIRN_FOREVER);
    if (status) {
        release(say.message, NULL);
        return status;
    }
    return pirn_http_status(exchange, 204);
}

/* ---- life ---- */

/* A command that nobody took: only of a hub that could not be started or was cancelled. */
static void drop_command(void *elem) {
    chat_command *unread = elem;
    if (unread->kind == SAY) {
        release(unread->message, NULL);
    }
}

int chat_start(web_site *site) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "chat commands";
    options.drop = drop_command;
    options.preference = PIRN_PREFER_NEITHER;
    pirn_spawn_options spawn;
    pirn_spawn_options_init(&spawn);
    spawn.name = "chat hub";
    spawn.flags = PIRN_JOINABLE | PIRN_DAEMON;
    chat_hub *hub = calloc(1, sizeof *hub);
    if (!hub) {
        return PIRN_ENOMEM;
    }
    hub->commands = pirn_channel_create_with(sizeof(chat_command), COMMANDS_MAX, &options);
    if (hub->commands) {
        hub->tasklet = pirn_spawn_with(&spawn, run_hub, hub);
    }
    if (!hub->tasklet.id) {
        pirn_channel_destroy(hub->commands);
        free(hub);
        return PIRN_ENOMEM;
    }
    site->hub = hub;
    return 0;
}

int chat_routes(web_site *site) {
    int status = pirn_http_route(site->server, "GET", "/chat/events",
                                 PIRN_ROUTE_NO_DEADLINE | PIRN_ROUTE_CANCEL_HALF_CLOSED, serve_events, site);
    return status ? status : pirn_http_route(site->server, "POST", "/chat", 0, serve_post, site);
}

void chat_stop(web_site *site) {
    chat_command stop = {.kind = STOP};
    (void)pirn_send(site->hub->commands, &stop, PIRN_FOREVER);
}

void chat_close(web_site *site) {
    chat_command end = {.kind = END};
    (void)pirn_send(site->hub->commands, &end, PIRN_FOREVER);
    (void)pirn_join(site->hub->tasklet, NULL, PIRN_FOREVER);
    pirn_channel_destroy(site->hub->commands);
    free(site->hub);
    site->hub = NULL;
}
