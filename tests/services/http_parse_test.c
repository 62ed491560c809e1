/* SPDX-License-Identifier: MIT
 *
 * What: the request parser against hostile and honest bytes: each case whole, split at every byte, byte by byte, and
 *       as the second request of a pipeline. The verdict must be the same every time.
 * Threads: the test's own.
 */
#include "test.h"

#include "http_parse.h"

#define TEXT(literal) literal, sizeof(literal) - 1
#define HOST          "Host: a\r\n"
#define GET           "GET / HTTP/1.1\r\n"
#define POST          "POST / HTTP/1.1\r\n" HOST
#define CHUNKED       POST "Transfer-Encoding: chunked\r\n\r\n"

typedef struct parse_case {
    const char *name;
    const char *bytes;
    size_t length;
    int status; /* refused: what with; accepted: 0 */
} parse_case;

static const parse_case rejected[] = {
    /* line ends */
    {"bare LF everywhere", TEXT("GET / HTTP/1.1\nHost: a\n\n"), 400},
    {"bare LF after the request line", TEXT("GET / HTTP/1.1\n" HOST "\r\n"), 400},
    {"bare LF after a field", TEXT(GET "Host: a\nX: y\r\n\r\n"), 400},
    {"bare CR as separator (CVE-2023-30589)", TEXT(GET HOST "X: y\rZ: w\r\n\r\n"), 400},
    {"CR only", TEXT("GET / HTTP/1.1\rHost: a\r\r"), 400},
    {"CR CR LF", TEXT("GET / HTTP/1.1\r\r\n" HOST "\r\n"), 400},
    {"CR LF CR X as the end of the head (CVE-2025-23167)", TEXT(GET HOST "\r\rX"), 400},
    {"LF CR", TEXT("GET / HTTP/1.1\n\r" HOST "\r\n"), 400},
    {"lone LF before the request", TEXT("\n" GET HOST "\r\n"), 400},
    {"many empty lines before the request", TEXT("\r\n\r\n\r\n\r\n\r\n" GET HOST "\r\n"), 400},
    /* the request line */
    {"two spaces after the method", TEXT("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"tab after the method", TEXT("GET\t/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"two spaces before the version", TEXT("GET /  HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"space after the version", TEXT("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400},
    {"space in the target", TEXT("GET /a b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"leading space", TEXT(" GET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"no version", TEXT("GET /\r\n\r\n"), 400},
    {"no target", TEXT("GET HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"lower case http", TEXT("GET / http/1.1\r\n" HOST "\r\n"), 400},
    {"HTTP/1.1.1", TEXT("GET / HTTP/1.1.1\r\n" HOST "\r\n"), 400},
    {"HTTP/11", TEXT("GET / HTTP/11\r\n" HOST "\r\n"), 400},
    {"HTTP/0.9", TEXT("GET / HTTP/0.9\r\n\r\n"), 505},
    {"HTTP/1.2", TEXT("GET / HTTP/1.2\r\n" HOST "\r\n"), 505},
    {"HTTP/2.0", TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
    {"HTTP/9.9", TEXT("GET / HTTP/9.9\r\n" HOST "\r\n"), 505},
    {"brackets in the method", TEXT("GE[T] / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"NUL in the method", TEXT("GE\0T / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"unknown method", TEXT("BREW / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"lower case method", TEXT("get / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"method of another protocol", TEXT("DESCRIBE / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {"CONNECT", TEXT("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), 501},
    {"TLS client hello", TEXT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc"), 400},
    {"asterisk with GET", TEXT("GET * HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"relative target", TEXT("GET a/b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"fragment in the target", TEXT("GET /a#b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"raw UTF-8 in the target", TEXT("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"control byte in the target", TEXT("GET /\x01 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form with user", TEXT("GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"absolute form without host", TEXT("GET http:///x HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"broken escape in the path", TEXT("GET /%4 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"encoded NUL in the path", TEXT("GET /a%00b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"encoded slash in the path", TEXT("GET /a%2Fb HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"encoded line end in the path", TEXT("GET /a%0d%0ab HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"dot segments", TEXT("GET /a/../b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"encoded dot segments", TEXT("GET /a/%2e%2E/b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {"dot segment at the end", TEXT("GET /a/.. HTTP/1.1\r\n" HOST "\r\n"), 400},
    /* fields */
    {"space before the first field", TEXT(GET " X: y\r\n" HOST "\r\n"), 400},
    {"folded field", TEXT(GET HOST "X: y\r\n z\r\n\r\n"), 400},
    {"folded with a tab", TEXT(GET HOST "X: y\r\n\tz\r\n\r\n"), 400},
    {"folded Transfer-Encoding", TEXT(POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), 400},
    {"fold that swallows Content-Length (CVE-2024-27982)", TEXT(POST "X: y\r\n Content-Length: 3\r\n\r\nabc"), 400},
    {"space before the colon", TEXT(GET HOST "X : y\r\n\r\n"), 400},
    {"tab before the colon", TEXT(GET HOST "X\t: y\r\n\r\n"), 400},
    {"no colon", TEXT(GET HOST "novalue\r\n\r\n"), 400},
    {"empty name", TEXT(GET HOST ": y\r\n\r\n"), 400},
    {"space in a name", TEXT(GET HOST "X Y: z\r\n\r\n"), 400},
    {"control byte in a name", TEXT(GET HOST "X\x01: z\r\n\r\n"), 400},
    {"non-ASCII in a name", TEXT(GET HOST "X\xe4: z\r\n\r\n"), 400},
    {"NUL in a value", TEXT(GET HOST "X: a\0b\r\n\r\n"), 400},
    {"control byte in a value", TEXT(GET HOST "X: a\x01\r\n\r\n"), 400},
    {"DEL in a value", TEXT(GET HOST "X: a\x7f\r\n\r\n"), 400},
    /* Host */
    {"no Host", TEXT(GET "\r\n"), 400},
    {"two Hosts", TEXT(GET HOST "Host: b\r\n\r\n"), 400},
    {"the same Host twice", TEXT(GET HOST HOST "\r\n"), 400},
    {"empty Host", TEXT(GET "Host:\r\n\r\n"), 400},
    {"blank Host", TEXT(GET "Host:   \r\n\r\n"), 400},
    {"Host with path", TEXT(GET "Host: a/b\r\n\r\n"), 400},
    {"Host with user", TEXT(GET "Host: u@a\r\n\r\n"), 400},
    {"Host with space", TEXT(GET "Host: a b\r\n\r\n"), 400},
    {"two names in one Host", TEXT(GET "Host: a, b@c\r\n\r\n"), 400},
    {"Host with a bad port", TEXT(GET "Host: a:8x\r\n\r\n"), 400},
    {"Host with only a port", TEXT(GET "Host: :80\r\n\r\n"), 400},
    {"Host with an open bracket", TEXT(GET "Host: [::1\r\n\r\n"), 400},
    {"two Hosts in HTTP/1.0", TEXT("GET / HTTP/1.0\r\n" HOST HOST "\r\n"), 400},
    /* framing */
    {"Content-Length and Transfer-Encoding",
     TEXT(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"Transfer-Encoding and Content-Length",
     TEXT(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), 400},
    {"two different lengths", TEXT(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400},
    {"the same length twice", TEXT(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400},
    {"list of lengths", TEXT(POST "Content-Length: 3, 3\r\n\r\nabc"), 400},
    {"length with a sign", TEXT(POST "Content-Length: +3\r\n\r\nabc"), 400},
    {"negative length", TEXT(POST "Content-Length: -3\r\n\r\nabc"), 400},
    {"hexadecimal length", TEXT(POST "Content-Length: 0x3\r\n\r\nabc"), 400},
    {"length with text", TEXT(POST "Content-Length: 3a\r\n\r\nabc"), 400},
    {"length with space inside", TEXT(POST "Content-Length: 3 3\r\n\r\nabc"), 400},
    {"empty length", TEXT(POST "Content-Length:\r\n\r\n"), 400},
    {"length over 64 bits", TEXT(POST "Content-Length: 18446744073709551617\r\n\r\n"), 400},
    {"length over the limit", TEXT(POST "Content-Length: 1048577\r\n\r\n"), 413},
    {"Transfer-Encoding in HTTP/1.0", TEXT("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {"unknown coding", TEXT(POST "Transfer-Encoding: gzip\r\n\r\n"), 400},
    {"coding before chunked", TEXT(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400},
    {"chunked not last", TEXT(POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400},
    {"chunked twice", TEXT(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400},
    {"two Transfer-Encodings", TEXT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"xchunked", TEXT(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400},
    {"quoted chunked", TEXT(POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 400},
    {"empty Transfer-Encoding", TEXT(POST "Transfer-Encoding:\r\n\r\n"), 400},
    {"chunked with a vertical tab",
     TEXT(POST "Transfer-Encoding: \x0b"
               "chunked\r\n\r\n0\r\n\r\n"),
     400},
    {"unknown expectation", TEXT(POST "Expect: magic\r\nContent-Length: 1\r\n\r\na"), 417},
    /* chunks */
    {"chunk without size", TEXT(CHUNKED "\r\nabc\r\n0\r\n\r\n"), 400},
    {"chunk size with 0x", TEXT(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"), 400},
    {"chunk size with sign", TEXT(CHUNKED "+3\r\nabc\r\n0\r\n\r\n"), 400},
    {"negative chunk size", TEXT(CHUNKED "-3\r\nabc\r\n0\r\n\r\n"), 400},
    {"chunk size with underscore", TEXT(CHUNKED "0_3\r\nabc\r\n0\r\n\r\n"), 400},
    {"space before the chunk size", TEXT(CHUNKED " 3\r\nabc\r\n0\r\n\r\n"), 400},
    {"space after the chunk size", TEXT(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), 400},
    {"chunk size of 17 digits", TEXT(CHUNKED "00000000000000003\r\nabc\r\n0\r\n\r\n"), 400},
    {"chunk size over the limit", TEXT(CHUNKED "100001\r\n"), 413},
    {"chunk size of 64 bits", TEXT(CHUNKED "ffffffffffffffff\r\n"), 413},
    {"bare LF after a chunk size", TEXT(CHUNKED "3\nabc\r\n0\r\n\r\n"), 400},
    {"bare CR after a chunk size", TEXT(CHUNKED "3\rabc\r\n0\r\n\r\n"), 400},
    {"bare LF after chunk data", TEXT(CHUNKED "3\r\nabc\n0\r\n\r\n"), 400},
    {"longer data than the size", TEXT(CHUNKED "3\r\nabcd\r\n0\r\n\r\n"), 400},
    {"bare semicolon", TEXT(CHUNKED "3;\r\nabc\r\n0\r\n\r\n"), 400},
    {"control byte in an extension", TEXT(CHUNKED "3;a=\x01\r\nabc\r\n0\r\n\r\n"), 400},
    {"LF in an extension", TEXT(CHUNKED "3;a\nb\r\nabc\r\n0\r\n\r\n"), 400},
    {"CR in a quoted extension", TEXT(CHUNKED "3;a=\"\r\"\r\nabc\r\n0\r\n\r\n"), 400},
    {"bare LF after the last chunk", TEXT(CHUNKED "0\n\r\n"), 400},
    {"bare LF at the end", TEXT(CHUNKED "0\r\n\n"), 400},
    {"folded trailer", TEXT(CHUNKED "0\r\nX: y\r\n z\r\n\r\n"), 400},
    {"trailer without colon", TEXT(CHUNKED "0\r\nX\r\n\r\n"), 400},
    {"space before the colon of a trailer", TEXT(CHUNKED "0\r\nX : y\r\n\r\n"), 400},
};

static const parse_case accepted[] = {
    {"plain GET", TEXT(GET HOST "\r\n"), 0},
    {"one empty line before", TEXT("\r\n" GET HOST "\r\n"), 0},
    {"HTTP/1.0 without Host", TEXT("GET / HTTP/1.0\r\n\r\n"), 0},
    {"absolute form", TEXT("GET http://a:80/x?y HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"absolute form without path", TEXT("GET http://a HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"OPTIONS *", TEXT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"no space after the colon", TEXT(GET "Host:a\r\n\r\n"), 0},
    {"white space around a value", TEXT(GET "Host: \t a \t \r\n\r\n"), 0},
    {"empty value", TEXT(GET HOST "X:\r\n\r\n"), 0},
    {"bytes over 0x7f in a value", TEXT(GET HOST "X: \xc3\xa4\r\n\r\n"), 0},
    {"name in any case", TEXT(GET "hOsT: a\r\n\r\n"), 0},
    {"IPv6 Host", TEXT(GET "Host: [::1]:8080\r\n\r\n"), 0},
    {"many slashes and escapes", TEXT("GET //a%20b/%C3%A4//?q=%00%2F HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"dots that are no segments", TEXT("GET /.../a..b/.c HTTP/1.1\r\n" HOST "\r\n"), 0},
    {"upgrade that is not taken", TEXT(GET HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n"), 0},
    {"Content-Length: 0", TEXT(POST "Content-Length: 0\r\n\r\n"), 0},
    {"body with a length", TEXT(POST "Content-Length: 3\r\n\r\nabc"), 0},
    {"length with leading zeros", TEXT(POST "Content-Length: 003\r\n\r\nabc"), 0},
    {"GET with a body", TEXT(GET HOST "Content-Length: 3\r\n\r\nabc"), 0},
    {"body that looks like a request", TEXT(POST "Content-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n"), 0},
    {"expected continue", TEXT(POST "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\nabc"), 0},
    {"chunked", TEXT(CHUNKED "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 0},
    {"chunked in any case", TEXT(POST "transfer-encoding:  CHUNKED \r\n\r\n0\r\n\r\n"), 0},
    {"chunk size in any case", TEXT(CHUNKED "0a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), 0},
    {"chunk size of 16 digits", TEXT(CHUNKED "0000000000000003\r\nabc\r\n0\r\n\r\n"), 0},
    {"chunk extensions", TEXT(CHUNKED "3;a;b=c;d=\"e \\\" f\"\r\nabc\r\n0;x\r\n\r\n"), 0},
    {"trailers", TEXT(CHUNKED "3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n"), 0},
    {"data that looks like framing", TEXT(CHUNKED "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), 0},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A client of the parser: bytes that were not used stay, as in a connection. */
typedef struct feeder {
    pirn_http_options options;
    pn_http_parser parser;
    char pending[8192];
    size_t pending_bytes;
    unsigned requests;
    int status; /* what it was refused with */
} feeder;

static void feeder_init(feeder *f) {
    memset(f, 0, sizeof *f);
    pirn_http_options_init(&f->options);
    pn_http_parser_init(&f->parser, &f->options);
}

/* Give `bytes` more; goes on until the parser wants more or refuses. */
static void feed(feeder *f, const char *data, size_t bytes) {
    cr_assert_leq(f->pending_bytes + bytes, sizeof f->pending);
    memcpy(f->pending + f->pending_bytes, data, bytes);
    f->pending_bytes += bytes;
    while (f->status == 0 && f->pending_bytes > 0) {
        /* An exact copy, so that a sanitizer sees a read beyond the bytes given. */
        char *exact = malloc(f->pending_bytes);
        memcpy(exact, f->pending, f->pending_bytes);
        size_t used;
        int status = pn_http_parser_feed(&f->parser, exact, f->pending_bytes, &used);
        free(exact);
        f->pending_bytes -= used;
        memmove(f->pending, f->pending + used, f->pending_bytes);
        if (status == 0) {
            return;
        }
        if (status > 0) {
            f->requests++;
            pn_http_request_destroy(pn_http_parser_take(&f->parser));
        } else {
            f->status = -status;
        }
    }
}

static void expect_verdict(feeder *f, const parse_case *c, unsigned before, const char *how, size_t split) {
    unsigned requests = before + (c->status == 0);
    cr_assert(f->status == c->status && f->requests == requests && (c->status != 0 || f->pending_bytes == 0),
              "%s, %s at %zu: %u requests, status %d, %zu bytes unused; wanted %u and %d", c->name, how, split,
              f->requests, f->status, f->pending_bytes, requests, c->status);
    pn_http_parser_fini(&f->parser);
}

static void try_at_every_split(const parse_case *c) {
    feeder f;
    for (size_t split = 0; split <= c->length; split++) {
        feeder_init(&f);
        feed(&f, c->bytes, split);
        feed(&f, c->bytes + split, c->length - split);
        expect_verdict(&f, c, 0, "split", split);
    }
    feeder_init(&f);
    for (size_t i = 0; i < c->length; i++) {
        feed(&f, c->bytes + i, 1);
    }
    expect_verdict(&f, c, 0, "byte by byte", 1);
}

static void try_as_second(const parse_case *c) {
    static const char first[] = "POST /first HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nfirst";
    feeder f;
    feeder_init(&f);
    char both[1024];
    memcpy(both, first, sizeof first - 1);
    memcpy(both + sizeof first - 1, c->bytes, c->length);
    feed(&f, both, sizeof first - 1 + c->length);
    expect_verdict(&f, c, 1, "as second", 0);
}

/* Goal: no hostile request passes, however it arrives.
 * Method: the table, at every split, byte by byte and pipelined. */
Test(http_parse, hostile_refused) {
    cr_assert_geq(COUNT(rejected), 79);
    for (size_t i = 0; i < COUNT(rejected); i++) {
        try_at_every_split(&rejected[i]);
        try_as_second(&rejected[i]);
    }
}

/* Goal: what RFC 9112 demands of a server is served. Method: the table, at every split, byte by byte and pipelined. */
Test(http_parse, honest_accepted) {
    cr_assert_geq(COUNT(accepted), 13);
    for (size_t i = 0; i < COUNT(accepted); i++) {
        try_at_every_split(&accepted[i]);
        try_as_second(&accepted[i]);
    }
}

/* Parse one whole request, which must be accepted. */
static pn_http_request *parse(const char *bytes, size_t length) {
    static pirn_http_options options;
    pn_http_parser parser;
    size_t used;
    pirn_http_options_init(&options);
    pn_http_parser_init(&parser, &options);
    cr_assert_eq(pn_http_parser_feed(&parser, bytes, length, &used), 1);
    cr_assert_eq(used, length);
    return pn_http_parser_take(&parser);
}

/* Goal: every part of a request is found where it belongs. Method: one request with all of them. */
Test(http_parse, request_taken_apart) {
    pn_http_request *request = parse(TEXT("POST /a%20b/c?d=e%20f&g HTTP/1.1\r\nHost: x:80\r\nX-One:  1 \r\n"
                                          "x-one: 2\r\nEmpty:\r\nContent-Length: 4\r\n\r\nbody"));
    cr_assert_str_eq(request->method, "POST");
    cr_assert_str_eq(request->path, "/a b/c");
    cr_assert_str_eq(request->query, "d=e%20f&g");
    cr_assert_eq(request->field_count, 5);
    cr_assert_str_eq(pn_http_request_field(request, "X-ONE", 0)->value, "1");
    cr_assert_str_eq(pn_http_request_field(request, "X-ONE", 2)->value, "2");
    cr_assert_str_eq(pn_http_request_field(request, "empty", 0)->value, "");
    cr_assert_null(pn_http_request_field(request, "X-On", 0));
    cr_assert_eq(request->body_bytes, 4);
    cr_assert_str_eq(request->body, "body");
    cr_assert(request->keep_alive && !request->is_head && request->minor == 1);
    pn_http_request_destroy(request);
}

/* Goal: chunks are joined and trailers dropped. Method: three chunks with extensions, a trailer named like a field. */
Test(http_parse, chunked_body_joined) {
    pn_http_request *request = parse(TEXT(CHUNKED "3;x=y\r\nabc\r\n1\r\nd\r\n4\r\nefgh\r\n0\r\nHost: evil\r\n\r\n"));
    cr_assert_eq(request->body_bytes, 8);
    cr_assert_str_eq(request->body, "abcdefgh");
    cr_assert_str_eq(pn_http_request_field(request, "Host", 0)->value, "a");
    cr_assert_eq(request->field_count, 2);
    pn_http_request_destroy(request);
}

/* Goal: the client's wish to go on is understood in both versions. Method: five heads. */
Test(http_parse, keep_alive_by_version) {
    static const struct {
        const char *head;
        bool keep_alive;
    } heads[] = {
        {GET HOST "\r\n", true},
        {GET HOST "Connection: close\r\n\r\n", false},
        {GET HOST "Connection: x, Close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
    };
    for (size_t i = 0; i < COUNT(heads); i++) {
        pn_http_request *request = parse(heads[i].head, strlen(heads[i].head));
        cr_assert_eq(request->keep_alive, heads[i].keep_alive, "%s", heads[i].head);
        pn_http_request_destroy(request);
    }
}

/* The status for `bytes` under small limits, fed in pieces of `piece`. */
static int status_under_limits(const char *bytes, size_t length, size_t piece) {
    feeder f;
    feeder_init(&f);
    f.options.line_bytes_max = 64;
    f.options.header_bytes_max = 200;
    f.options.header_count_max = 4;
    f.options.body_bytes_max = 8;
    for (size_t at = 0; at < length; at += piece) {
        feed(&f, bytes + at, length - at < piece ? length - at : piece);
    }
    pn_http_parser_fini(&f.parser);
    return f.status;
}

/* Goal: each limit refuses with its own status, at one over and not at the limit. Method: small limits, in pieces of
 *       1, 7 and all. */
Test(http_parse, limits_refused) {
    char line[128], fields[512];
    memset(line, 'x', sizeof line);
    memcpy(line, "GET /", 5);
    snprintf(fields, sizeof fields, GET HOST "X: %0170d\r\n", 0);
    size_t pieces[] = {1, 7, 4096};
    for (size_t i = 0; i < COUNT(pieces); i++) {
        size_t piece = pieces[i];
        cr_assert_eq(status_under_limits(line, 64, piece), 0);
        cr_assert_eq(status_under_limits(line, 65, piece), 414);
        cr_assert_eq(status_under_limits(TEXT(GET HOST "A: 1\r\nB: 2\r\nC: 3\r\n\r\n"), piece), 0);
        cr_assert_eq(status_under_limits(TEXT(GET HOST "A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n"), piece), 431);
        cr_assert_eq(status_under_limits(fields, strlen(fields), piece), 0);
        strcpy(fields + strlen(fields), "Y: 12345678901234567890\r\n\r\n");
        cr_assert_eq(status_under_limits(fields, strlen(fields), piece), 431);
        fields[strlen(fields) - 27] = '\0';
        cr_assert_eq(status_under_limits(TEXT(POST "Content-Length: 8\r\n\r\n01234567"), piece), 0);
        cr_assert_eq(status_under_limits(TEXT(POST "Content-Length: 9\r\n\r\n"), piece), 413);
        cr_assert_eq(status_under_limits(TEXT(CHUNKED "4\r\n0123\r\n4\r\n0123\r\n0\r\n\r\n"), piece), 0);
        cr_assert_eq(status_under_limits(TEXT(CHUNKED "4\r\n0123\r\n5\r\n"), piece), 413);
    }
}

/* Goal: long extensions and trailers are bounded. Method: one byte over each bound. */
Test(http_parse, chunk_overhead_bounded) {
    char bytes[1024];
    int length = snprintf(bytes, sizeof bytes, CHUNKED "1;%0*d\r\na\r\n0\r\n\r\n",
                          (int)PN_HTTP_CHUNK_EXTENSION_BYTES_MAX - 1, 0);
    cr_assert_eq(status_under_limits(bytes, (size_t)length, 4096), 0);
    length =
        snprintf(bytes, sizeof bytes, CHUNKED "1;%0*d\r\na\r\n0\r\n\r\n", (int)PN_HTTP_CHUNK_EXTENSION_BYTES_MAX, 0);
    cr_assert_eq(status_under_limits(bytes, (size_t)length, 4096), 400);
    length = snprintf(bytes, sizeof bytes, CHUNKED "0\r\nX: %0210d\r\n\r\n", 0);
    cr_assert_eq(status_under_limits(bytes, (size_t)length, 4096), 431);
}

/* Goal: "100 Continue" is asked for only when a body is still to come.
 * Method: the head alone, with and without a body. */
Test(http_parse, expect_noticed) {
    feeder f;
    feeder_init(&f);
    feed(&f, TEXT(POST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    cr_assert(f.parser.wants_continue && f.parser.phase == PN_HTTP_BODY && f.requests == 0);
    pn_http_parser_fini(&f.parser);
    feeder_init(&f);
    feed(&f, TEXT(POST "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"));
    cr_assert_eq(f.requests, 1);
    feed(&f, TEXT("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    cr_assert(!f.parser.wants_continue);
    pn_http_parser_fini(&f.parser);
}

/* Goal: no bytes at all can hurt the parser. Method: mutations of the tables' cases by a seeded generator; sanitizers
 *       watch. */
Test(http_parse, mutated_survives, .timeout = 60) {
    uint64_t state = 88172645463325252u;
    uint64_t rounds = pirn_test_count(200000, 20000);
    for (uint64_t round = 0; round < rounds; round++) {
        const parse_case *c =
            round & 1 ? &rejected[round / 2 % COUNT(rejected)] : &accepted[round / 2 % COUNT(accepted)];
        char bytes[512];
        memcpy(bytes, c->bytes, c->length);
        for (unsigned i = 0; i < 3; i++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes[state % c->length] = (char)(state >> 32);
        }
        feeder f;
        feeder_init(&f);
        size_t split = state % c->length;
        feed(&f, bytes, split);
        feed(&f, bytes + split, c->length - split);
        pn_http_parser_fini(&f.parser);
    }
}
