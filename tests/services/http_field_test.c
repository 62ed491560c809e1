/* SPDX-License-Identifier: MIT
 *
 * What: field lines, alone and as the parser hands them to a handler. The parser's fields are compared with those of a
 *       second reader of the same bytes, which is as simple as the grammar allows and shares no code with the product.
 * Threads: the test's own.
 */
#include "test.h"

#include <ctype.h>
#include <locale.h>
#include <unistd.h>

#include "ascii.h"
#include "http_parse.h"
#include "http_reference.h"

#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define REQUESTS_MAX  3
#define REQUEST_BYTES 16384

/* What a request is made of. */
typedef struct honest {
    reference head;
    char body[1024];
    size_t body_bytes;
} honest;

/* ---- random requests ---- */

static uint64_t state;

static unsigned below(unsigned limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 16) % limit);
}

typedef struct text {
    char bytes[REQUEST_BYTES];
    size_t length;
} text;

static void put(text *t, const char *bytes) {
    memcpy(t->bytes + t->length, bytes, strlen(bytes));
    t->length += strlen(bytes);
}

static void put_space(text *t) {
    for (unsigned i = below(4); i > 1; i--) {
        put(t, below(2) ? " " : "\t");
    }
}

static void put_name(text *t) {
    static const char *const known[] = {"Accept", "X", "x", "Cookie", "ORIGIN", "Hos", "Hostt", "Content-Typ", "Te"};
    static const char token[] = "abcXYZ019!#$%&'*+-.^_`|~";
    if (below(2)) {
        put(t, known[below(COUNT(known))]);
        return;
    }
    for (unsigned i = below(12) + 1; i > 0; i--) {
        char letter[2] = {token[below(sizeof token - 1)], '\0'};
        put(t, letter);
    }
}

/* Nothing, white space alone, or text that may hold colons, commas, tabs and bytes over 0x7f. */
static void put_value(text *t) {
    static const char bytes[] = "abc :,;=\"\t/%\x80\xff\xc3\xa4{}[]()<>@\\?";
    put_space(t);
    for (unsigned i = below(3) ? below(40) : 0; i > 0; i--) {
        char letter[2] = {bytes[below(sizeof bytes - 1)], '\0'};
        put(t, letter);
    }
    put_space(t);
}

static void put_field(text *t) {
    put_name(t);
    put(t, ":");
    put_value(t);
    put(t, "\r\n");
}

static void put_chunked(text *t, honest *r) {
    char line[32];
    for (unsigned chunks = below(3); chunks > 0; chunks--) {
        unsigned bytes = below(20) + 1;
        snprintf(line, sizeof line, below(2) ? "%x\r\n" : "%X;a=b\r\n", bytes);
        put(t, line);
        for (unsigned i = 0; i < bytes; i++) {
            t->bytes[t->length++] = r->body[r->body_bytes++] = (char)below(256);
        }
        put(t, "\r\n");
    }
    put(t, "0\r\n");
    for (unsigned trailers = below(3); trailers > 0; trailers--) {
        put(t, below(2) ? "Host: trailer\r\n" : "X-Trailer:\r\n");
    }
    put(t, "\r\n");
}

/* Add one honest request to `t`, and what it is made of to `r`. */
static void put_request(text *t, honest *r) {
    static const char *const framings[] = {"", "Content-Length: 7 \t\r\n", "Transfer-Encoding:\tchunked\t\r\n"};
    size_t start = t->length;
    unsigned framing = below(3), fields = below(12), host = below(fields + 1), frame = below(fields + 1);
    put(t, framing == 0 ? "GET /a HTTP/1.1\r\n" : "POST /a HTTP/1.1\r\n");
    for (unsigned i = 0; i <= fields; i++) {
        put(t, i == frame ? framings[framing] : "");
        put(t, i == host ? "hOST:  a.example:80\t \r\n" : "");
        if (i < fields) {
            put_field(t);
        }
    }
    put(t, "\r\n");
    size_t head = reference_read(&r->head, t->bytes + start, t->length - start);
    cr_assert_eq(head, t->length - start);
    r->body_bytes = 0;
    if (framing == 1) {
        put(t, "1234567");
        memcpy(r->body, "1234567", 7);
        r->body_bytes = 7;
    } else if (framing == 2) {
        put_chunked(t, r);
    }
}

/* ---- the comparison ---- */

static void expect_same(const pn_http_request *request, const reference *r, uint64_t seed) {
    cr_assert_eq(request->field_count, r->count, "seed %llu: %u fields instead of %u", (unsigned long long)seed,
                 request->field_count, r->count);
    for (unsigned i = 0; i < r->count; i++) {
        const pn_http_field *field = &request->fields[i];
        const reference_field *wanted = &r->fields[i];
        cr_assert(strlen(field->name) == wanted->name_bytes && field->name_bytes == wanted->name_bytes &&
                      memcmp(field->name, wanted->name, wanted->name_bytes) == 0 &&
                      strlen(field->value) == wanted->value_bytes && field->value_bytes == wanted->value_bytes &&
                      memcmp(field->value, wanted->value, wanted->value_bytes) == 0,
                  "seed %llu, field %u: '%s: %s' instead of '%.*s: %.*s'", (unsigned long long)seed, i, field->name,
                  field->value, (int)wanted->name_bytes, wanted->name, (int)wanted->value_bytes, wanted->value);
    }
}

static void expect_honest(const pn_http_request *request, const honest *wanted, uint64_t seed) {
    expect_same(request, &wanted->head, seed);
    cr_assert(request->body_bytes == wanted->body_bytes &&
                  memcmp(request->body_bytes ? request->body : "", wanted->body, wanted->body_bytes) == 0,
              "seed %llu: another body", (unsigned long long)seed);
}

/* Give the first `bytes` of `data` to the parser, as a copy of exactly that size: sanitizers see a read beyond it. */
static int feed_exactly(pn_http_parser *parser, const char *data, size_t bytes, size_t *used) {
    char *exact = malloc(bytes);
    memcpy(exact, data, bytes);
    int status = pn_http_parser_feed(parser, exact, bytes, used);
    free(exact);
    return status;
}

/* Feed all of `t` in pieces of at most `piece_max` bytes. Returns the status, and how many requests came out. */
static int feed_all(const text *t, unsigned piece_max, const honest *wanted, unsigned *requests, uint64_t seed) {
    pirn_http_options options;
    pn_http_parser parser;
    pirn_http_options_init(&options);
    pn_http_parser_init(&parser, &options);
    size_t from = 0, seen = 0;
    int status = 0;
    *requests = 0;
    while (status >= 0 && (seen < t->length || status > 0)) {
        if (status == 0) {
            seen += below(piece_max) + 1;
            seen = seen < t->length ? seen : t->length;
        }
        size_t used;
        status = seen > from ? feed_exactly(&parser, t->bytes + from, seen - from, &used) : 0;
        from += seen > from ? used : 0;
        if (status > 0) {
            pn_http_request *request = pn_http_parser_take(&parser);
            expect_honest(request, &wanted[*requests], seed);
            pn_http_request_destroy(request);
            ++*requests;
        }
    }
    pn_http_parser_fini(&parser);
    return status;
}

/* Goal: a handler sees every field of a request, with its own name and value, however the bytes arrive.
 * Method: random pipelines of one to three requests with empty, blank and padded values, duplicates, bodies and
 *       trailers; whole, byte by byte and in random pieces; compared with the second reader. The seed is printed. */
Test(http_field, random_requests_read_as_the_second_reader_does, .timeout = 60) {
    honest *wanted = calloc(REQUESTS_MAX, sizeof *wanted);
    text *t = malloc(sizeof *t);
    uint64_t rounds = pirn_test_count(20000, 1000);
    for (uint64_t seed = 1; seed <= rounds; seed++) {
        state = seed * 0x9e3779b97f4a7c15u;
        t->length = 0;
        unsigned count = below(REQUESTS_MAX) + 1, requests;
        for (unsigned i = 0; i < count; i++) {
            put_request(t, &wanted[i]);
        }
        unsigned pieces[] = {REQUEST_BYTES, 1, 60};
        unsigned piece = pieces[seed % 3];
        int status = feed_all(t, piece, wanted, &requests, seed);
        cr_assert(status == 0 && requests == count, "seed %llu: %u of %u requests, status %d in\n%.*s",
                  (unsigned long long)seed, requests, count, status, (int)t->length, t->bytes);
    }
    free(t);
    free(wanted);
}

/* Goal: every split of a head with empty values gives the same fields.
 * Method: four heads with empty and blank values at each place, split at every byte. */
Test(http_field, empty_values_at_every_split_hide_nothing) {
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\nAccept:\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\r\nAccept: \t \r\nHost: evil.example\r\nX:\r\n\r\n",
        "GET / HTTP/1.1\r\nA:\r\nB:\r\nC: \r\nD:\t\r\nHost:a\r\nHosts:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nAccept:\r\nContent-Type: text/plain\r\nEmpty:\r\nContent-Length: 0\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(heads); i++) {
        reference wanted = {.count = 0};
        size_t length = strlen(heads[i]);
        cr_assert_eq(reference_read(&wanted, heads[i], length), length);
        for (size_t split = 0; split <= length; split++) {
            pirn_http_options options;
            pn_http_parser parser;
            size_t used = 0;
            pirn_http_options_init(&options);
            pn_http_parser_init(&parser, &options);
            int status = split > 0 ? feed_exactly(&parser, heads[i], split, &used) : 0;
            status = status == 0 ? feed_exactly(&parser, heads[i], length, &used) : status;
            cr_assert_eq(status, 1);
            pn_http_request *request = pn_http_parser_take(&parser);
            expect_same(request, &wanted, split);
            pn_http_request_destroy(request);
        }
    }
}

/* Goal: a folded line is refused wherever it stands, and never joined to the field before it.
 * Method: a random honest request, with a line that begins with a space or tab put behind one of its fields. */
Test(http_field, folded_line_in_a_random_request_refused) {
    honest *wanted = calloc(1, sizeof *wanted);
    text *t = malloc(sizeof *t), *folded = malloc(sizeof *folded);
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        state = seed * 0xd1342543de82ef95u;
        t->length = folded->length = 0;
        put_request(t, wanted);
        size_t at = reference_find(t->bytes, 0, t->length, "\r\n") + 2;
        for (unsigned skip = below(wanted->head.count); skip > 0; skip--) {
            at = reference_find(t->bytes, at, t->length, "\r\n") + 2;
        }
        memcpy(folded->bytes, t->bytes, at);
        folded->length = at;
        put(folded, below(2) ? " Host: b\r\n" : "\t\r\n");
        memcpy(folded->bytes + folded->length, t->bytes + at, t->length - at);
        folded->length += t->length - at;
        unsigned requests;
        int status = feed_all(folded, seed % 2 ? 1 : REQUEST_BYTES, wanted, &requests, seed);
        cr_assert(status == -400 && requests == 0, "seed %llu: status %d", (unsigned long long)seed, status);
    }
    free(folded);
    free(t);
    free(wanted);
}

/* Goal: one line is taken apart as the grammar says. Method: a table of lines, honest and not. */
Test(http_field, lines_read_or_refused) {
    static const struct {
        const char *line, *name, *value; /* no name: refused */
    } lines[] = {
        {"A: b", "A", "b"},
        {"A:b", "A", "b"},
        {"A:", "A", ""},
        {"A: ", "A", ""},
        {"A:\t \t", "A", ""},
        {"A: b \t", "A", "b"},
        {"A: b c\t", "A", "b c"},
        {"A: :b:", "A", ":b:"},
        {"A:: b", "A", ": b"},
        {"A:\xff\t", "A", "\xff"},
        {"!#$%&'*+-.^_`|~09azAZ: x", "!#$%&'*+-.^_`|~09azAZ", "x"},
        {"", NULL, NULL},
        {"A", NULL, NULL},
        {": b", NULL, NULL},
        {"A : b", NULL, NULL},
        {"A\t: b", NULL, NULL},
        {" A: b", NULL, NULL},
        {"A B: c", NULL, NULL},
        {"A\x7f: b", NULL, NULL},
        {"A\x80: b", NULL, NULL},
        {"A(: b", NULL, NULL},
        {"A/: b", NULL, NULL},
        {"A: b\x01", NULL, NULL},
        {"A: \x7f", NULL, NULL},
        {"A: \x1b[31m", NULL, NULL},
        {"A: b\rc", NULL, NULL},
        {"A: b\nc", NULL, NULL},
    };
    for (size_t i = 0; i < COUNT(lines); i++) {
        char line[64];
        pn_http_field field;
        size_t bytes = strlen(lines[i].line);
        memcpy(line, lines[i].line, bytes + 1);
        int status = pn_http_field_read(line, bytes, &field);
        cr_assert_eq(status, lines[i].name ? 0 : -400, "'%s'", lines[i].line);
        if (lines[i].name) {
            cr_assert(field.name_bytes == strlen(lines[i].name) && field.value_bytes == strlen(lines[i].value) &&
                          memcmp(field.name, lines[i].name, field.name_bytes) == 0 &&
                          memcmp(field.value, lines[i].value, field.value_bytes) == 0,
                      "'%s'", lines[i].line);
            cr_assert_eq(field.value + field.value_bytes, line + bytes, "a value ends where its line does");
        }
    }
}

/* Goal: an element of a list is found whole and in any case, and no part of one.
 * Method: a table of lists. */
Test(http_field, list_elements_found_whole) {
    static const struct {
        const char *list;
        bool has;
    } lists[] = {
        {"close", true},
        {"CLOSE", true},
        {"keep-alive, close", true},
        {"keep-alive,close", true},
        {" close\t,x", true},
        {",,\tclose ,", true},
        {"", false},
        {",", false},
        {"closed", false},
        {"x close", false},
        {"not-close", false},
        {"close;q=1", false},
        {"\"close\"", false},
        {"clo, se", false},
    };
    for (size_t i = 0; i < COUNT(lists); i++) {
        cr_assert_eq(pn_http_list_has(lists[i].list, strlen(lists[i].list), "close"), lists[i].has, "'%s'",
                     lists[i].list);
    }
}

/* Make the process' locale a Turkish one, built into a folder of its own; false: this machine cannot. */
static bool go_turkish(void) {
    char folder[] = "/tmp/pirn-locale-XXXXXX", command[512];
    if (!mkdtemp(folder)) {
        return false;
    }
    snprintf(command, sizeof command,
             "cd %s && printf 'LC_CTYPE\\ncopy \"tr_TR\"\\nEND LC_CTYPE\\n' >source && "
             "localedef -c -i source -f ISO-8859-9 ./tr_TR >/dev/null 2>&1",
             folder);
    (void)!system(command); /* judged by what setlocale says */
    setenv("LOCPATH", folder, 1);
    bool made = setlocale(LC_CTYPE, "tr_TR") != NULL;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    (void)!system(command);
    return made && tolower('I') != 'i';
}

/* Goal: the program's locale does not change what a request means.
 * Method: a Turkish locale, in which 'I' and 'i' are different letters; names and values in capitals. */
Test(http_field, turkish_locale_changes_nothing) {
    static const char head[] = "POST / HTTP/1.1\r\nHOST: A\r\nTRANSFER-ENCODING: CHUNKED\r\nCONNECTION: CLOSE\r\n"
                               "CONTENT-TYPE: IMAGE/GIF\r\n\r\n0\r\n\r\n";
    static const char absolute[] = "GET HTTP://WIKI/ HTTP/1.1\r\nHost: a\r\n\r\n";
    if (!go_turkish()) {
        cr_skip_test("localedef makes no Turkish locale here");
    }
    pirn_http_options options;
    pn_http_parser parser;
    size_t used;
    pirn_http_options_init(&options);
    pn_http_parser_init(&parser, &options);
    cr_assert_eq(feed_exactly(&parser, head, sizeof head - 1, &used), 1);
    cr_assert(parser.chunked && used == sizeof head - 1);
    pn_http_request *request = pn_http_parser_take(&parser);
    cr_assert_not(request->keep_alive);
    cr_assert_not_null(pn_http_request_field(request, "Content-Type", 0));
    pn_http_request_destroy(request);
    cr_assert_eq(feed_exactly(&parser, absolute, sizeof absolute - 1, &used), 1);
    request = pn_http_parser_take(&parser);
    cr_assert_str_eq(pn_http_request_field(request, "Host", 0)->value, "WIKI");
    pn_http_request_destroy(request);
    for (int byte = 0; byte < 256; byte++) {
        bool capital = byte >= 'A' && byte <= 'Z';
        cr_assert_eq((unsigned char)pn_ascii_lower((char)byte), capital ? byte + 'a' - 'A' : byte);
    }
}
