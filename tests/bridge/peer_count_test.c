/* SPDX-License-Identifier: MIT
 *
 * What: counting connections by address.
 */
#include "peer_count.h"

#include <arpa/inet.h>

#include "test.h"

static pn_peer_key key(const char *text) {
    struct sockaddr_in6 peer = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET6, text, &peer.sin6_addr) != 1) {
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        cr_assert_eq(inet_pton(AF_INET, text, &v4.sin_addr), 1);
        memcpy(&peer, &v4, sizeof v4);
    }
    return pn_peer_key_of(&peer);
}

static bool same(const char *one, const char *other) {
    return key(one).prefix == key(other).prefix && key(one).v4 == key(other).v4;
}

Test(peer_count, addresses_are_one_by_what_one_customer_has) {
    /* Goal: IPv4 addresses count one by one, also in IPv6 form; IPv6 addresses by /64; loopback is known.
     * Method: pairs. */
    cr_assert(same("192.0.2.1", "::ffff:192.0.2.1"));
    cr_assert_not(same("192.0.2.1", "192.0.2.2"));
    cr_assert(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::2"));
    cr_assert_not(same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    cr_assert_not(same("0.0.0.0", "::"));
    cr_assert(key("127.0.0.9").loopback && key("::1").loopback && key("::ffff:127.1.2.3").loopback);
    cr_assert_not(key("128.0.0.1").loopback || key("::2").loopback || key("2001:db8::1").loopback);
}

Test(peer_count, counts_agree_with_a_plain_array) {
    /* Goal: no address has more than the maximum, and places come back.
     * Method: random steps over 3,000 addresses beside an array; the seed is fixed. */
    enum { ADDRESSES = 3000, MAX = 3 };
    static unsigned counts[ADDRESSES];
    pn_peer_counts peers;
    pn_peer_counts_init(&peers);
    uint64_t state = 7;
    for (uint64_t step = 0; step < pirn_test_count(200000, 20000); step++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        unsigned i = (unsigned)(state >> 33) % ADDRESSES;
        pn_peer_key k = {.prefix = i / 2, .v4 = i % 2};
        if (state >> 20 & 1) {
            int error = pn_peer_enter(&peers, k, MAX);
            cr_assert_eq(error, counts[i] < MAX ? 0 : PIRN_ELIMIT);
            counts[i] += error == 0;
        } else if (counts[i] > 0) {
            pn_peer_leave(&peers, k);
            counts[i]--;
        }
    }
    for (unsigned i = 0; i < ADDRESSES; i++) {
        for (; counts[i] > 0; counts[i]--) {
            pn_peer_leave(&peers, (pn_peer_key){.prefix = i / 2, .v4 = i % 2});
        }
    }
    pn_peer_counts_fini(&peers); /* asserts that nothing is left */
}
