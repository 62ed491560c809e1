/* SPDX-License-Identifier: MIT
 *
 * What: tests of bridge/address.c: numeric addresses to and from text.
 */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>

#include "address.h"

static struct sockaddr_storage address;
static socklen_t address_bytes;

/* `text` is an address, and comes back as `again`. */
static void expect_good(const char *text, const char *again, int port, bool loopback) {
    char back[64];
    bool local = !loopback;
    cr_assert_eq(pn_address_parse(text, &address, &address_bytes), 0, "%s", text);
    bool v6 = text[0] == '[';
    cr_assert_eq(address.ss_family, v6 ? AF_INET6 : AF_INET, "%s", text);
    cr_assert_eq(address_bytes, v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in), "%s", text);
    cr_assert_eq(pn_address_port((struct sockaddr *)&address), port, "%s", text);
    pn_address_format((struct sockaddr *)&address, back, sizeof back, &local);
    cr_assert_str_eq(back, again);
    cr_assert_eq(local, loopback, "%s", text);
}

/* Goal: what is good is understood, and written back in its shortest form.
 * Method: both families, the ends of the range of ports, loopback in its three spellings and what only looks so. */
Test(address, good_text_comes_back_as_it_was) {
    expect_good("127.0.0.1:8080", "127.0.0.1:8080", 8080, true);
    expect_good("127.255.0.9:1", "127.255.0.9:1", 1, true);
    expect_good("0.0.0.0:0", "0.0.0.0:0", 0, false);
    expect_good("255.255.255.255:65535", "255.255.255.255:65535", 65535, false);
    expect_good("128.0.0.1:080", "128.0.0.1:80", 80, false);
    expect_good("[::1]:0", "[::1]:0", 0, true);
    expect_good("[0:0:0:0:0:0:0:1]:9", "[::1]:9", 9, true);
    expect_good("[::]:65535", "[::]:65535", 65535, false);
    expect_good("[2001:db8::1:2]:443", "[2001:db8::1:2]:443", 443, false);
    expect_good("[::ffff:127.0.0.1]:5", "[::ffff:127.0.0.1]:5", 5, true);
    expect_good("[::ffff:10.0.0.1]:5", "[::ffff:10.0.0.1]:5", 5, false);
    expect_good("[1111:2222:3333:4444:5555:6666:7777:8888]:65535", "[1111:2222:3333:4444:5555:6666:7777:8888]:65535",
                65535, false);
}

/* Goal: what is no numeric address with a port is PIRN_EINVAL, and nothing is read or written out of bounds.
 * Method: names, missing parts, brackets in the wrong places, ports that are none, and texts longer than any address
 *       (AddressSanitizer watches). */
Test(address, bad_text_is_refused) {
    static const char *const bad[] = {"",
                                      ":",
                                      ":80",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      "127.0.0.1:x",
                                      "127.0.0.1:8x",
                                      "127.0.0.1:-1",
                                      "127.0.0.1:+1",
                                      "127.0.0.1: 1",
                                      "127.0.0.1:65536",
                                      "127.0.0.1:99999999999999999999",
                                      "localhost:80",
                                      "127.0.0.1.1:80",
                                      "127.0.0:80",
                                      "256.0.0.1:80",
                                      " 127.0.0.1:80",
                                      "127.0.0.1 :80",
                                      "::1:80",
                                      "[::1]",
                                      "[::1]80",
                                      "[::1:80",
                                      "::1]:80",
                                      "[]:80",
                                      "[:80",
                                      "]:80",
                                      "[127.0.0.1]:80",
                                      "[::1]]:80",
                                      "[[::1]:80",
                                      "[::g]:80",
                                      "[:::]:80",
                                      "127.0.0.1:80:80",
                                      "[fe80::1%]:80",
                                      "[%lo]:80",
                                      "[::g%lo]:80",
                                      "127.0.0.1%lo:80",
                                      "fe80::1%lo:80"};
    char long_text[4096];
    cr_assert_eq(pn_address_parse(NULL, &address, &address_bytes), PIRN_EINVAL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(pn_address_parse(bad[i], &address, &address_bytes), PIRN_EINVAL, "\"%s\"", bad[i]);
    }
    for (size_t length = 1; length < sizeof long_text - 8; length = length * 3 / 2 + 1) {
        memset(long_text, '1', length);
        strcpy(long_text + length, ":80");
        cr_assert_eq(pn_address_parse(long_text, &address, &address_bytes), PIRN_EINVAL);
        long_text[0] = '[';
        strcpy(long_text + length, "]:80");
        cr_assert_eq(pn_address_parse(long_text, &address, &address_bytes), PIRN_EINVAL);
    }
}

/* Goal: other families have a text, a short place cuts it, a port can be changed.
 * Method: a Unix address; a place of eight bytes with a canary behind it; set and read in both families. */
Test(address, format_is_safe_and_ports_can_be_set) {
    char text[64];
    bool loopback = true;
    struct sockaddr other = {.sa_family = AF_UNIX};
    pn_address_format(&other, text, sizeof text, &loopback);
    cr_assert_str_eq(text, "?");
    cr_assert_not(loopback);
    cr_assert_eq(pn_address_parse("127.0.0.1:8080", &address, &address_bytes), 0);
    memset(text, '#', sizeof text);
    pn_address_format((struct sockaddr *)&address, text, 8, NULL);
    cr_assert_str_eq(text, "127.0.0");
    cr_assert_eq(text[8], '#');
    pn_address_set_port((struct sockaddr *)&address, 65535);
    cr_assert_eq(pn_address_port((struct sockaddr *)&address), 65535);
    cr_assert_eq(pn_address_parse("[::1]:1", &address, &address_bytes), 0);
    pn_address_set_port((struct sockaddr *)&address, 2);
    pn_address_format((struct sockaddr *)&address, text, sizeof text, NULL);
    cr_assert_str_eq(text, "[::1]:2");
}

static uint32_t scope(void) {
    return ((struct sockaddr_in6 *)(void *)&address)->sin6_scope_id;
}

/* Goal: a zone is an interface's name or number, is written back as the name, and an unknown one has a code of its own.
 * Method: the loopback interface in both spellings; names and numbers that no interface has; a number that is written
 *         back for an interface that is gone. */
Test(address, zone_is_understood_and_written_back) {
    char number[64], back[64];
    unsigned lo = if_nametoindex("lo");
    cr_assert_neq(lo, 0);
    expect_good("[fe80::1%lo]:80", "[fe80::1%lo]:80", 80, false);
    cr_assert_eq(scope(), lo);
    snprintf(number, sizeof number, "[fe80::1%%%u]:0", lo);
    expect_good(number, "[fe80::1%lo]:0", 0, false);
    cr_assert_eq(scope(), lo);
    expect_good("[fe80::1]:80", "[fe80::1]:80", 80, false);
    cr_assert_eq(scope(), 0);
    static const char *const unknown[] = {
        "[fe80::1%nowhere0]:80", "[fe80::1%999999]:80",     "[fe80::1%99999999999999999999]:80",
        "[fe80::1%0]:80",        "[fe80::1%a-very-long]:1", "[fe80::1%-1]:80",
        "[fe80::1%1x]:80",       "[fe80::1%25lo]:80"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        cr_assert_eq(pn_address_parse(unknown[i], &address, &address_bytes), -ENODEV, "%s", unknown[i]);
    }
    cr_assert_eq(pn_address_parse("[fe80::1%lo]:80", &address, &address_bytes), 0);
    ((struct sockaddr_in6 *)(void *)&address)->sin6_scope_id = 999999;
    pn_address_format((struct sockaddr *)&address, back, sizeof back, NULL);
    cr_assert_str_eq(back, "[fe80::1%999999]:80");
}
