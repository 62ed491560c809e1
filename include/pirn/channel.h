/* SPDX-License-Identifier: MIT
 *
 * pirn/channel.h: channels and select. A channel moves values of one size, copied exactly once from the sender's slot
 * to the receiver's. Capacity 0 is Stackless' rendezvous: a send ends when a receiver has the value.
 */
#ifndef PIRN_CHANNEL_H
#define PIRN_CHANNEL_H

#include <pirn/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pirn_channel pirn_channel;

enum pirn_channel_flags {
    /* never leaves the worker it was made on: no lock, no atomics; checked in debug builds */
    PIRN_CHANNEL_LOCAL = 1,
    PIRN_CHANNEL_EXTERNAL = 2, /* something outside pirn wakes its receivers: never in a stuck or deadlock report */
};

/* Who goes on when a transfer completes between two tasklets of one worker. Between workers the peer is made ready at
 * its home and the caller goes on. */
typedef enum pirn_preference {
    /* a send to a waiting receiver switches to it now; the sender goes last (Stackless' default) */
    PIRN_PREFER_RECEIVER = -1,
    PIRN_PREFER_NEITHER = 0, /* whoever calls second goes on                                       */
    PIRN_PREFER_SENDER = 1,  /* a receive from a waiting sender switches to it now                 */
} pirn_preference;

typedef struct pirn_channel_options {
    const char *name;           /* copied, cut at 31 bytes; NULL: "channel"                           */
    pirn_drop_fn drop;          /* destroys an element nobody will receive: gets a pointer to the element */
    pirn_preference preference; /* applies where both ends are on one worker                          */
    bool schedule_all;          /* Stackless' schedule_all: the peer is appended and the caller yields */
    unsigned flags;
} pirn_channel_options;

/* Fill in the defaults: no name, no drop, prefer the receiver, shared. Parks: no. Thread: any. */
PIRN_API void pirn_channel_options_init(pirn_channel_options *options);

/* ---- life: core/channel_calls.c ---- */

/* Make a channel. Parks: no. Thread: any, once pirn_run was called; a local one: its worker. Args: `elem_bytes` a value
 * (0: a pure signal; at most 64 KiB), room for `capacity` values (0: a rendezvous; at most 2^24); `options` are copied,
 * NULL ones refused. Owns: the caller, until pirn_channel_destroy. Returns: NULL when out of range, out of memory,
 * before the first pirn_run, or for a local one where no worker is. Answers to stackless.channel(). */
PIRN_API pirn_channel *pirn_channel_create(size_t elem_bytes, size_t capacity);
PIRN_API pirn_channel *pirn_channel_create_with(size_t elem_bytes, size_t capacity,
                                                const pirn_channel_options *options);

/* Close the channel if it is open, drop what is buffered and free it. Parks: no. Thread: any of the runtime, or any at
 * all when the runtime is over; a local one: its worker. No other thread may be inside a call on the channel or begin
 * one: who destroys it has to know that. Only tasklets that are parked in it may still be there: they wake with
 * PIRN_ECLOSED, and the last of them frees it. Args: NULL is allowed. */
PIRN_API void pirn_channel_destroy(pirn_channel *channel);

/* ---- send and receive: core/channel_calls.c; the engine: core/channel.c ---- */

/* Send one value. Parks: yes, until a receiver or room is there; it may also switch to the receiver (pirn_preference).
 * Thread: a tasklet; with PIRN_NOW also a pirn callback (a foreign thread uses pirn_post). Args: `elem` is elem_bytes
 * long, NULL only when that is 0. Owns: on 0 the receiver or the buffer has the value; on any other return the caller
 * still has it. Returns: 0; PIRN_ECLOSED (closed before or meanwhile); PIRN_EINVAL (no channel, or no `elem` where one
 * is needed); the wait's codes. Answers to channel.send(). */
PIRN_API int pirn_send(pirn_channel *channel, const void *elem, pirn_time deadline);

/* Receive one value into `elem`. A closed channel gives its buffered values first. Parks: yes, until a value is there;
 * it may also switch to the sender. Thread, Args: as pirn_send. Owns: on 0 the value is the caller's. Returns: as
 * pirn_send. A tasklet cancelled after a value was handed to it and before it ran gets PIRN_ECANCELED, and the
 * channel's drop runs once for that value. Answers to channel.receive(). */
PIRN_API int pirn_recv(pirn_channel *channel, void *elem, pirn_time deadline);

/* ---- close, questions: core/channel_calls.c ---- */

/* Close: every waiter wakes with PIRN_ECLOSED, sends fail from now on, receives drain the buffer first. Once more is
 * harmless, and so is NULL. Parks: no. Thread: any of the runtime; a local one: its worker. Answers to
 * channel.close(). */
PIRN_API void pirn_channel_close(pirn_channel *channel);

/* Whether it was closed: a snapshot. Parks: no. Thread: any; a local one: its worker. Answers to channel.closing. */
PIRN_API bool pirn_channel_closed(pirn_channel *channel);

/* Waiting senders (positive) or receivers (negative), as a snapshot; buffered values do not count. Parks: no. Thread:
 * any; a local one: its worker. Answers to channel.balance. */
PIRN_API int pirn_channel_balance(pirn_channel *channel);

/* Values in the buffer, as a snapshot. Parks: no. Thread: any; a local one: its worker. */
PIRN_API size_t pirn_channel_length(pirn_channel *channel);

/* Change or see who goes on after a transfer, from the next one on. Parks: no. Thread: any; a local one: its worker.
 * Args: a number beyond the three counts by its sign. Answers to channel.preference. */
PIRN_API void pirn_channel_set_preference(pirn_channel *channel, pirn_preference preference);
PIRN_API pirn_preference pirn_channel_preference(pirn_channel *channel);

/* ---- select ---- */

typedef enum pirn_direction { PIRN_RECV = -1, PIRN_SEND = 1 } pirn_direction;

typedef struct pirn_case {
    pirn_channel *channel; /* NULL: this case is never ready                                          */
    pirn_direction direction;
    void *elem; /* to send: read only; to receive: written when this case is the one       */
    int status; /* out, for the chosen case: 0 or PIRN_ECLOSED                             */
} pirn_case;

#define PIRN_SELECT_MAX 64

/* Do exactly one of the cases: one that is ready (several: the worker's seeded generator chooses), or the first that
 * becomes so. Parks: yes. Thread: as pirn_send. Args: 1 to PIRN_SELECT_MAX cases, each `elem` as for pirn_send and
 * pirn_recv. Owns: as these, for the case done. Returns: its index, with its `status` set; PIRN_EINVAL (no cases or too
 * many, a direction that is none, no `elem` where one is needed, one channel in both directions); the wait's codes.
 * What Stackless' users asked for and Andrew Francis prototyped; Go's select. */
PIRN_API int pirn_select(pirn_case *cases, size_t count, pirn_time deadline);

#ifdef __cplusplus
}
#endif
#endif
