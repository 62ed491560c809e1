/* SPDX-License-Identifier: MIT
 *
 * What: the decoder of chunked bodies: a pure function of the bytes so far.
 * Threads: whoever owns the struct.
 */
#ifndef PN_HTTP_CHUNK_H
#define PN_HTTP_CHUNK_H

#include <stddef.h>
#include <stdint.h>

#define PN_HTTP_CHUNK_EXTENSION_BYTES_MAX 256u

/* Zeroed: at the start of a body. */
typedef struct pn_http_chunk {
    uint8_t state;
    unsigned digits;          /* of this chunk's size                                                      */
    unsigned extension_bytes; /* of this chunk                                                       */
    uint64_t left;            /* of this chunk's data                                                      */
    size_t trailer_bytes;
} pn_http_chunk;

/* Take `bytes` of `data`. Returns 0: all is used, more is needed, or `*span` (`*span_bytes` long, inside data) is the
 * next piece of the body: call again with what is after *used; 1: the body is over at *used; -400, -431 (trailers
 * longer than `trailer_bytes_max`). */
int pn_http_chunk_feed(pn_http_chunk *chunk, const char *data, size_t bytes, size_t trailer_bytes_max, size_t *used,
                       const char **span, size_t *span_bytes);

#endif
