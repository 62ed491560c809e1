/* SPDX-License-Identifier: MIT
 *
 * What: bind, accept by policy, stop (see bridge/listener.h).
 * Threads: listen, serve, stop: a tasklet; accepting: the acceptor's driver.
 * Invariants: (1) who takes the state from SERVING to STOPPING, under registry_lock, is the only one to make the tour,
 *       and holds the listener for it; (2) sockets in a set are closed by their driver, on the tour; the closer closes
 *       the rest after STOPPED; (3) once the runtime is ending none begins to serve; (4) when a tour is over, no
 *       acceptor of it can start a connection, and every birth that it sent has been delivered.
 * States and lifetime: bridge/listener.h.
 * Accept policy (rule 3 of docs/design.md): the reactor accepts and gives each connection to the worker with the
 *       fewest; or each worker has its own socket of a SO_REUSEPORT group and keeps what it accepts.
 * Rejected: a group alone: a second program could join it. So the address is first bound once without SO_REUSEPORT:
 *       who is there already makes that fail.
 */
#include "listener.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "alloc.h"
#include "call.h"
#include "descriptor.h"
#include "live.h"
#include "runtime.h"

#define ACCEPTS_MAX     64 /* connections an acceptor takes before others get their turn */
#define BACKLOG_DEFAULT 4096
#define TELL_NS         (60 * PIRN_SECOND) /* between two lines of a listener about connections it could not take */
#define SETTLE_NS       PIRN_MILLISECOND   /* at a stop: handshakes under way may take so long to complete */

/* When the last line about something was said, 0: never, and how often it has happened since. */
typedef struct telling {
    _Atomic pirn_time at;
    _Atomic uint64_t count;
} telling;

typedef struct acceptor {
    pn_watch watch;
    pn_node paused_link;
    pn_message start;
    struct pirn_listener *listener;
    pn_driver *driver;
    int fd;
    bool in_set;
    bool last_call; /* it stops: all that wait are taken, whatever the limit                            */
    bool told;      /* that it could not be put there */
    /* The word that there is room: asked is set when the acceptor's bit in `wanting` is, and cleared when `room` has
     * arrived: so the message is in one inbox at most. */
    pn_message room;
    bool asked;
} acceptor;

struct pirn_listener {
    int port;
    int backlog;
    pn_listener_limits limits;
    pirn_connection_fn connection;
    void *context;
    char name[PN_NAME_BYTES];
    /* under registry_lock */
    enum { BOUND, SERVING, STOPPING, STOPPED } state;
    pn_node registered; /* in `listeners`, while SERVING                                               */
    /* any thread, atomic */
    _Atomic uint32_t holds;         /* opener, stopper and connections                                   */
    _Atomic uint32_t open_count;    /* connections                                                       */
    _Atomic uint64_t wanting;       /* acceptors, a bit each, that wait for one to close                 */
    _Atomic uint64_t refused_count; /* by the number per address                                      */
    pn_peer_counts peers;
    telling failures, refusals;
    unsigned acceptor_count;
    acceptor acceptors[PN_WORKERS_MAX];
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static pn_list listeners = {{&listeners.head, &listeners.head}};
static bool refusing; /* under registry_lock: the runtime is ending */

static void lock_registry(void) {
    PN_ASSERT(pthread_mutex_lock(&registry_lock) == 0);
}

static void unlock_registry(void) {
    PN_ASSERT(pthread_mutex_unlock(&registry_lock) == 0);
}

/* ---- bind ---- */

static int open_socket(const struct sockaddr *address, socklen_t address_bytes, bool group, int backlog, int *result) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    /* over connections in TIME_WAIT, not over listeners */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* inherited by what it accepts */
    if (group) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    }
    if (bind(fd, address, address_bytes) != 0 || listen(fd, backlog) != 0) {
        int error = -errno;
        (void)close(fd);
        return error;
    }
    *result = fd;
    return 0;
}

static void close_sockets(pirn_listener *listener) {
    for (unsigned i = 0; i < listener->acceptor_count; i++) {
        if (listener->acceptors[i].fd >= 0) {
            (void)close(listener->acceptors[i].fd);
            listener->acceptors[i].fd = -1;
        }
    }
}

static int add_acceptor(pirn_listener *listener, pn_driver *driver, const struct sockaddr *address,
                        socklen_t address_bytes, bool group, int backlog) {
    acceptor *a = &listener->acceptors[listener->acceptor_count];
    *a = (acceptor){.listener = listener, .driver = driver, .fd = -1};
    int error = open_socket(address, address_bytes, group, backlog, &a->fd);
    if (error == 0) {
        listener->acceptor_count++;
    }
    return error;
}

/* One socket for the reactor or the single worker; or the probe, and then the group on the port that it got. */
static int bind_all(pirn_listener *listener, struct sockaddr *address, socklen_t address_bytes, int backlog) {
    pn_runtime *runtime = &pn_runtime_current;
    bool group = runtime->options.mode == PIRN_MODE_THREADED && runtime->options.poll == PIRN_POLL_WORKER;
    int error = add_acceptor(listener, runtime->reactor, address, address_bytes, false, backlog);
    if (error != 0) {
        return error;
    }
    struct sockaddr_storage bound;
    socklen_t bound_bytes = sizeof bound;
    if (getsockname(listener->acceptors[0].fd, (struct sockaddr *)&bound, &bound_bytes) != 0) {
        return -errno;
    }
    listener->port = pn_address_port((struct sockaddr *)&bound);
    if (!group) {
        return 0;
    }
    close_sockets(listener);
    listener->acceptor_count = 0;
    pn_address_set_port(address, listener->port);
    for (unsigned i = 0; i < runtime->worker_count && error == 0; i++) {
        error = add_acceptor(listener, &runtime->workers[i].driver, address, address_bytes, true, backlog);
    }
    return error;
}

static void destroy(pirn_listener *listener) {
    pn_peer_counts_fini(&listener->peers);
    pn_free(listener);
}

int pirn_listen(const char *address, const pirn_listen_options *options, pirn_listener **result) {
    struct sockaddr_storage to;
    socklen_t to_bytes;
    int error = address && result ? pn_address_parse(address, &to, &to_bytes) : PIRN_EINVAL;
    if (error != 0) {
        return error;
    }
    if (!pn_current()) {
        return PIRN_ETHREAD;
    }
    pirn_listener *listener = pn_calloc(1, sizeof *listener);
    if (!listener) {
        return PIRN_ENOMEM;
    }
    int backlog = options && options->backlog > 0 ? options->backlog : BACKLOG_DEFAULT;
    listener->backlog = backlog;
    listener->limits.connections_max = options ? options->connections_max : 0;
    pn_peer_counts_init(&listener->peers);
    atomic_init(&listener->holds, 1);
    error = bind_all(listener, (struct sockaddr *)&to, to_bytes, backlog);
    if (error != 0) {
        close_sockets(listener);
        destroy(listener);
        return error;
    }
    *result = listener;
    return 0;
}

int pirn_listener_port(const pirn_listener *listener) {
    return listener->port;
}

void pn_listener_limit(pirn_listener *listener, const pn_listener_limits *limits) {
    lock_registry();
    if (listener->state == BOUND) { /* else its acceptors read them */
        unsigned own = listener->limits.connections_max;
        listener->limits = *limits;
        if (own > 0 && own < limits->connections_max) {
            listener->limits.connections_max = own;
        }
    }
    unlock_registry();
}

/* ---- connections ---- */

static void release(pirn_listener *listener) {
    /* acq_rel: all uses happen before the free. */
    if (atomic_fetch_sub_explicit(&listener->holds, 1, memory_order_acq_rel) == 1) {
        destroy(listener);
    }
}

/* Acceptor's driver. */
static void deliver_room(pn_message *message) {
    acceptor *a = PN_CONTAINER_OF(message, acceptor, room);
    a->asked = false;
    if (pn_linked(&a->paused_link)) {
        pn_driver_resume_paused(a->driver);
    }
    release(a->listener);
}

/* Tell the acceptors that wait for room. Without a driver here the runtime is over, and nobody waits. */
static void tell_room(pirn_listener *listener) {
    if (atomic_load_explicit(&listener->wanting, memory_order_seq_cst) == 0 || !pn_driver_self()) {
        return; /* seq_cst: pairs with ask_for_room: either it sees the lower count, or this sees its bit */
    }
    uint64_t wanting = atomic_exchange_explicit(&listener->wanting, 0, memory_order_seq_cst);
    for (; wanting != 0; wanting &= wanting - 1) {
        acceptor *a = &listener->acceptors[__builtin_ctzll(wanting)];
        atomic_fetch_add_explicit(&listener->holds, 1, memory_order_relaxed); /* we have one already */
        a->room.deliver = deliver_room;
        pn_port_post(&a->driver->port, &a->room);
    }
}

/* One fewer is open. */
static void leave(pirn_listener *listener) {
    atomic_fetch_sub_explicit(&listener->open_count, 1, memory_order_seq_cst); /* as in tell_room */
    tell_room(listener);
}

void pn_listener_connection_closed(pirn_listener *listener, const struct sockaddr_in6 *peer) {
    if (peer) {
        pn_peer_leave(&listener->peers, pn_peer_key_of(peer));
    }
    leave(listener);
    release(listener);
}

/* One more is open, unless there are as many as may be. `always`: it may be one above that. */
static bool enter(pirn_listener *listener, bool always) {
    unsigned max = listener->limits.connections_max;
    uint32_t count = atomic_load_explicit(&listener->open_count, memory_order_seq_cst); /* as in tell_room */
    do {
        if (!always && max > 0 && count >= max) {
            return false;
        } /* relaxed: a limit, nothing is published */
    } while (!atomic_compare_exchange_weak_explicit(&listener->open_count, &count, count + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

uint64_t pn_listener_refused_count(const pirn_listener *listener) {
    return atomic_load_explicit(&listener->refused_count, memory_order_relaxed); /* a snapshot */
}

static int run_connection(void *arg) {
    pn_descriptor *d = arg;
    pirn_socket socket = pn_descriptor_handle(d);
    int result = d->listener->connection(socket, d->listener->context);
    (void)pirn_close(socket); /* PIRN_EBADF when it did so itself */
    return result;
}

/* However the tasklet ends: one that was struck before its first turn, or got no stack, never ran run_connection. */
static void close_connection(void *handle_id) {
    (void)pirn_close((pirn_socket){(uintptr_t)handle_id}); /* PIRN_EBADF: it is closed already */
}

/* Home: the connection's tasklet is born. */
static void deliver_birth(pn_message *message) {
    pn_slot *slot = PN_CONTAINER_OF(message, pn_slot, message);
    pn_descriptor *d = PN_CONTAINER_OF(slot, pn_descriptor, slot);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = d->listener->name;
    pn_ending ending = {.fn = close_connection, .arg = (void *)(uintptr_t)pn_descriptor_handle(d).id};
    if (!pn_call_spawn(&options, run_connection, d, &ending, __FILE__, __LINE__)) {
        pn_warn("no memory for the tasklet of a connection: it is closed");
        close_connection(ending.arg);
    }
}

static void welcome(acceptor *a, pn_descriptor *d, const struct sockaddr_in6 *peer) {
    pirn_listener *listener = a->listener;
    d->stream = true;
    d->peer = *peer;
    d->listener = listener;
    atomic_fetch_add_explicit(&listener->holds, 1, memory_order_relaxed); /* we have one already */
    pn_worker *self = pn_worker_self();
    bool mine = self && &self->driver == a->driver;
    d->charged_home = mine ? self->sched.options.id : pn_worker_least_loaded();
    d->charged = true;
    pn_worker_load_add(d->charged_home, 1);
    d->slot[PN_IN].message.deliver = deliver_birth;
    pn_driver_hand_back(a->driver, d->charged_home, &d->slot[PN_IN].message);
}

/* ---- accepting: driver's thread ---- */

static void pause_until(acceptor *a, pirn_time resume_at) {
    if (!pn_linked(&a->paused_link)) {
        pn_list_append(&a->driver->paused, &a->paused_link);
    }
    if (resume_at < a->driver->resume_at) {
        a->driver->resume_at = resume_at;
    }
}

typedef enum accept_step { GO_ON, NOTHING_LEFT, OUT_OF_ROOM } accept_step;

/* One more of that kind. True: it is time for a line, and `*count` tells how many there were since the last. */
static bool time_to_tell(telling *t, uint64_t *count) {
    pirn_time now = pn_below->now();
    /* relaxed, all three: they bound the number of lines, nothing is published by them. */
    *count = atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed) + 1;
    pirn_time at = atomic_load_explicit(&t->at, memory_order_relaxed);
    if ((at != 0 && now - at < TELL_NS) ||
        !atomic_compare_exchange_strong_explicit(&t->at, &at, now, memory_order_relaxed, memory_order_relaxed)) {
        return false;
    }
    atomic_store_explicit(&t->count, 0, memory_order_relaxed);
    return true;
}

/* Say why connections are not taken: the first time, then once in TELL_NS with the number of times. Accepting goes on
 * all the while. `what`: what happens to the connection. */
static void tell_failure(acceptor *a, int error, const char *what, const char *cure) {
    uint64_t count;
    if (time_to_tell(&a->listener->failures, &count)) {
        pn_warn("a connection to port %d %s: %s (%s), %llu times since the last such line; cure: %s; it is tried again",
                a->listener->port, what, pirn_strerror(error), pirn_error_name(error), (unsigned long long)count, cure);
    }
}

static const char *cure_of(int error) {
    return error == EMFILE   ? "raise RLIMIT_NOFILE (ulimit -n), or lower connections_max"
           : error == ENFILE ? "raise sysctl fs.file-max"
                             : "more memory";
}

static accept_step judge_error(acceptor *a, int error) {
    switch (error) {
    case EAGAIN:
        return NOTHING_LEFT;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        tell_failure(a, -error, "cannot be accepted", cure_of(error));
        return OUT_OF_ROOM;
    default:
        return GO_ON; /* the connection died in the queue, or a signal came: the next one may live */
    }
}

/* Whether a connection waits: without room, accept4() fails also when none does. */
static bool one_waits(const acceptor *a) {
    struct pollfd look = {.fd = a->fd, .events = POLLIN};
    return poll(&look, 1, 0) > 0;
}

/* How many wait to be accepted: at least one when it is called. */
static unsigned count_waiting(const acceptor *a) {
    struct tcp_info info = {0};
    socklen_t bytes = sizeof info;
    bool known = getsockopt(a->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0 && info.tcpi_unacked > 0;
    return known ? info.tcpi_unacked : 1; /* of a listening socket: the length of its queue */
}

static bool has_room(const pirn_listener *listener) {
    unsigned max = listener->limits.connections_max;
    /* seq_cst: pairs with leave, before it looks at `wanting`. */
    return max == 0 || atomic_load_explicit(&listener->open_count, memory_order_seq_cst) < max;
}

/* A connection waits and cannot be taken: ask to be told when another was closed, and for one to be closed. */
static void ask_for_room(acceptor *a) {
    pirn_listener *listener = a->listener;
    if (!a->asked) {
        a->asked = true;
        /* seq_cst: pairs with tell_room. */
        atomic_fetch_or_explicit(&listener->wanting, (uint64_t)1 << (a - listener->acceptors), memory_order_seq_cst);
    }
    if (listener->limits.full) {
        listener->limits.full(listener->limits.context, count_waiting(a));
    }
}

/* All are open that may be. */
static accept_step wait_for_room(acceptor *a) {
    if (!one_waits(a)) {
        return NOTHING_LEFT;
    }
    ask_for_room(a);
    return has_room(a->listener) ? GO_ON : OUT_OF_ROOM; /* one was closed meanwhile, or is told later */
}

/* accept4() failed. */
static accept_step accept_failed(acceptor *a, int error) {
    if (error != EAGAIN && !one_waits(a)) {
        return NOTHING_LEFT;
    }
    if (error == EMFILE || error == ENFILE) {
        ask_for_room(a);
    }
    return judge_error(a, error);
}

/* Whether the peer's address may have one more connection. Without memory to count it, it may. */
static bool admit(acceptor *a, pn_peer_key key, bool *counted) {
    pirn_listener *listener = a->listener;
    unsigned max = listener->limits.connections_per_address_max;
    *counted = false;
    if (max == 0 || (key.loopback && !listener->limits.counts_loopback)) {
        return true;
    }
    int error = pn_peer_enter(&listener->peers, key, max);
    *counted = error == 0;
    return error != PIRN_ELIMIT;
}

static void tell_refused(acceptor *a, const struct sockaddr_in6 *peer) {
    uint64_t count;
    char text[64];
    atomic_fetch_add_explicit(&a->listener->refused_count, 1, memory_order_relaxed); /* a statistic */
    if (time_to_tell(&a->listener->refusals, &count)) {
        pn_address_format((const struct sockaddr *)peer, text, sizeof text, NULL);
        pn_warn("a connection from %s to port %d is closed at once: its address has %u open already "
                "(connections_per_address_max), %llu times since the last such line",
                text, a->listener->port, a->listener->limits.connections_per_address_max, (unsigned long long)count);
    }
}

/* Give an accepted connection its entry, and its tasklet. */
static bool take(acceptor *a, int fd, const struct sockaddr_in6 *peer, bool counted) {
    pn_descriptor *d;
    int error = pn_descriptor_open(fd, a->driver, false, &d);
    if (error != 0) {
        (void)close(fd);
        tell_failure(a, error, "is closed at once",
                     error == PIRN_ELIMIT ? "lower RLIMIT_NOFILE to 1048576" : "raise RLIMIT_AS (ulimit -v)");
        return false;
    }
    error = pn_perform_register(d);
    if (error != 0) {
        tell_failure(a, error, "is closed at once", "raise sysctl fs.epoll.max_user_watches");
        (void)pirn_close(pn_descriptor_handle(d));
        return false;
    }
    d->counted = counted;
    welcome(a, d, peer);
    return true;
}

static accept_step accept_one(acceptor *a) {
    pirn_listener *listener = a->listener;
    if (!enter(listener, a->last_call)) {
        return wait_for_room(a);
    }
    struct sockaddr_in6 peer = {0};
    socklen_t peer_bytes = sizeof peer;
    int fd = accept4(a->fd, (struct sockaddr *)&peer, &peer_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        leave(listener);
        return accept_failed(a, error);
    }
    pn_peer_key key = pn_peer_key_of(&peer);
    bool counted;
    if (!admit(a, key, &counted)) {
        (void)close(fd);
        leave(listener);
        tell_refused(a, &peer);
        return GO_ON;
    }
    if (take(a, fd, &peer, counted)) {
        return GO_ON;
    }
    if (counted) {
        pn_peer_leave(&listener->peers, key);
    }
    leave(listener);
    return OUT_OF_ROOM;
}

static void accept_some(acceptor *a) {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        switch (accept_one(a)) {
        case GO_ON:
            break;
        case NOTHING_LEFT:
            pn_readiness_expect(&a->driver->set, a->fd, PN_READY_READ);
            return;
        case OUT_OF_ROOM:
            pause_until(a, pn_below->now() + PN_PAUSE_NS);
            return;
        }
    }
    pause_until(a, PIRN_NOW); /* edge-triggered: nobody tells us again of those that still wait */
}

static void connections_wait(pn_watch *watch, unsigned bits) {
    (void)bits;
    acceptor *a = PN_CONTAINER_OF(watch, acceptor, watch);
    if (a->in_set && !pn_linked(&a->paused_link)) {
        accept_some(a);
    }
}

/* Without room in the set (fs.epoll.max_user_watches, memory) connections wait until there is some: pirn_serve has
 * returned, nobody could be told a code. */
static void start_watching(acceptor *a) {
    int error = pn_readiness_add(&a->driver->set, a->fd, &a->watch, false);
    if (error == 0) {
        a->in_set = true;
        a->driver->watched++;
        return;
    }
    if (!a->told) {
        pn_warn("the listener on port %d can not be watched yet (%s): it is tried again", a->listener->port,
                pirn_error_name(error));
        a->told = true;
    }
    pause_until(a, pn_below->now() + PN_PAUSE_NS);
}

void pn_acceptor_resume(pn_node *node) {
    acceptor *a = PN_CONTAINER_OF(node, acceptor, paused_link);
    if (a->in_set) {
        accept_some(a);
    } else {
        start_watching(a);
    }
}

static void deliver_start(pn_message *message) {
    start_watching(PN_CONTAINER_OF(message, acceptor, start));
}

/* Under the registry's lock, so that who stops it finds it either not there or whole: its start messages posted, which
 * the messages of the stop then follow. */
static int start_serving(pirn_listener *listener) {
    if (refusing || listener->state == STOPPING || listener->state == STOPPED) {
        return PIRN_ECLOSED;
    }
    if (listener->state == SERVING) {
        return PIRN_EALREADY;
    }
    listener->state = SERVING;
    pn_list_append(&listeners, &listener->registered);
    pn_outside_begin();
    for (unsigned i = 0; i < listener->acceptor_count; i++) {
        acceptor *a = &listener->acceptors[i];
        a->watch.on_event = connections_wait;
        a->start.deliver = deliver_start;
        pn_port_post(&a->driver->port, &a->start);
    }
    return 0;
}

int pirn_serve(pirn_listener *listener, const char *name, pirn_connection_fn connection, void *context) {
    if (!listener || !connection) {
        return PIRN_EINVAL;
    }
    lock_registry();
    if (listener->state == BOUND) {
        listener->connection = connection;
        listener->context = context;
        strncpy(listener->name, name ? name : "connection", sizeof listener->name - 1);
    }
    int error = start_serving(listener);
    unlock_registry();
    return error;
}

/* ---- stop ---- */

/* One message that visits every acceptor's driver and comes home, twice: the first time no new connection is let in
 * and all that wait are accepted; the second time those are accepted whose handshake was under way, and the socket is
 * closed. The second time it goes through every worker, too, so that it arrives after the last birth. On the stopper's
 * stack: it waits for it, shielded and without a deadline. */
typedef struct tour {
    pn_message message;
    pn_waiter *waiter;
    pirn_listener *listener;
    bool closes; /* the second time */
    unsigned acceptor, worker, home;
} tour;

/* Let no new client in: its SYN is dropped, so its connect() goes on and is refused once the socket is closed. A client
 * whose handshake completed after our last accept would be reset. Where the kernel does not take the filter such a
 * client is possible. */
static void drop_new_clients(int fd) {
    static const unsigned flags_offset = 13, syn = 0x02; /* of the TCP header, at which the filter's data begins */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_offset),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, syn, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

/* All that wait: at most twice the backlog, in case new ones come. */
static void accept_the_rest(acceptor *a) {
    a->last_call = true;
    for (int64_t left = 2 * (int64_t)a->listener->backlog; left > 0 && accept_one(a) == GO_ON; left--) {
    }
}

static void leave_set(acceptor *a) {
    if (pn_linked(&a->paused_link)) {
        pn_node_unlink(&a->paused_link);
    }
    if (a->in_set) {
        a->in_set = false;
        a->driver->watched--;
        pn_readiness_remove(&a->driver->set, a->fd); /* a child of this process may keep the socket open */
    }
}

static void deliver_home(pn_message *message) {
    pn_waiter_complete(PN_CONTAINER_OF(message, tour, message)->waiter);
}

static void deliver_to_worker(pn_message *message) {
    tour *t = PN_CONTAINER_OF(message, tour, message);
    bool last = t->worker == 0;
    message->deliver = last ? deliver_home : deliver_to_worker;
    pn_below->post(last ? t->home : --t->worker, message);
}

static void deliver_to_acceptor(pn_message *message) {
    tour *t = PN_CONTAINER_OF(message, tour, message);
    acceptor *a = &t->listener->acceptors[t->acceptor];
    if (t->closes) {
        accept_the_rest(a);
        (void)close(a->fd);
        a->fd = -1;
    } else {
        leave_set(a);
        drop_new_clients(a->fd);
        accept_the_rest(a);
    }
    t->acceptor++;
    if (t->acceptor < t->listener->acceptor_count) {
        pn_port_post(&t->listener->acceptors[t->acceptor].driver->port, message);
    } else if (!t->closes) {
        message->deliver = deliver_home;
        pn_below->post(t->home, message);
    } else {
        message->deliver = deliver_to_worker;
        /* Behind the births of this turn: they are pushed in the order of homes, so the highest one is the last. */
        pn_driver_hand_back(a->driver, t->worker, message);
    }
}

/* registry_lock held. True: the stop is the caller's to do, by make_tour. */
static bool take_stop(pirn_listener *listener) {
    bool taken = listener->state == SERVING;
    if (taken) {
        listener->state = STOPPING;
        pn_node_unlink(&listener->registered);
        /* relaxed: the caller has it by the registry, or by its own hold. The tour's, until its end. */
        atomic_fetch_add_explicit(&listener->holds, 1, memory_order_relaxed);
    }
    return taken;
}

static void send_round(pirn_listener *listener, bool closes) {
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_WORKERS, NULL);
    waiter.external = true;
    tour t = {.message.deliver = deliver_to_acceptor,
              .waiter = &waiter,
              .listener = listener,
              .closes = closes,
              .worker = pn_runtime_current.worker_count - 1,
              .home = pn_sched_self()->options.id};
    pn_port_post(&listener->acceptors[0].driver->port, &t.message);
    int error = pn_wait(&waiter, PIRN_FOREVER, NULL);
    PN_ASSERT(error == 0);
}

/* Shielded. */
static void make_tour(pirn_listener *listener) {
    send_round(listener, false);
    (void)pirn_sleep_until(pirn_after(SETTLE_NS));
    send_round(listener, true);
    lock_registry();
    listener->state = STOPPED;
    unlock_registry();
    pn_outside_end();
    release(listener);
}

static bool is_stopping(pirn_listener *listener) {
    lock_registry();
    bool stopping = listener->state == STOPPING;
    unlock_registry();
    return stopping;
}

void pirn_listener_close(pirn_listener *listener) {
    if (!listener || pn_require_tasklet("pirn_listener_close") != 0) {
        return;
    }
    pn_firm_shield_enter();
    lock_registry();
    bool taken = take_stop(listener);
    unlock_registry();
    if (taken) {
        make_tour(listener);
    }
    while (is_stopping(listener)) { /* the runtime's end was first: a matter of one message round */
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    pn_firm_shield_leave();
    close_sockets(listener);
    release(listener);
}

/* The next listener to stop, with its stop taken; NULL: none is left. */
static pirn_listener *take_any(void) {
    lock_registry();
    pn_node *node = pn_list_first(&listeners);
    pirn_listener *listener = node ? PN_CONTAINER_OF(node, pirn_listener, registered) : NULL;
    if (listener) {
        (void)take_stop(listener);
    }
    unlock_registry();
    return listener;
}

void pn_listeners_start(void) {
    lock_registry();
    PN_ASSERT(pn_list_empty(&listeners));
    refusing = false;
    unlock_registry();
}

void pn_listeners_close_all(void) {
    lock_registry();
    refusing = true;
    unlock_registry();
    for (pirn_listener *listener = take_any(); listener; listener = take_any()) {
        make_tour(listener);
    }
}
