/* SPDX-License-Identifier: MIT
 *
 * What: fetch pages at once: each fetch is a deferred that the reactor completes, and one list of them is waited for.
 *       However many are in flight, no thread is added.
 * Usage: http_get URL...
 */
#include <stdio.h>

#include <pirn.h>
#include <pirn/http.h>

#define PAGES_MAX 64

typedef struct page_order {
    int count;
    char **urls;
} page_order;

static void tell(const char *url, const pirn_result *result) {
    if (result->failure) {
        printf("%s\n", pirn_failure_message(result->failure)); /* it names the page */
        return;
    }
    const pirn_http_page *page = result->value;
    printf("%s: %d, %zu bytes of %s\n", url, page->status, page->body_bytes, page->content_type);
}

static int run(void *arg) {
    page_order *order = arg;
    pirn_deferred *pages[PAGES_MAX];
    for (int i = 0; i < order->count; i++) {
        pages[i] = pirn_http_fetch(order->urls[i], NULL);
        if (!pages[i]) {
            return PIRN_ENOMEM;
        }
    }
    /* The list takes over the holds on its deferreds, and their failures are ours to tell. */
    pirn_deferred *all = pirn_deferred_list(pages, (size_t)order->count, PIRN_LIST_CONSUME_FAILURES);
    pirn_result result = {0};
    int status = all ? pirn_await_take(all, &result, pirn_after(30 * PIRN_SECOND)) : PIRN_ENOMEM;
    if (status) {
        fprintf(stderr, "%s\n", pirn_strerror(status));
    } else {
        const pirn_deferred_results *results = result.value;
        for (size_t i = 0; i < results->count; i++) {
            tell(order->urls[i], &results->results[i]);
        }
    }
    pirn_result_drop(&result);
    return status;
}

int main(int argument_count, char **arguments) {
    page_order order = {argument_count - 1, arguments + 1};
    if (order.count < 1 || order.count > PAGES_MAX) {
        fprintf(stderr, "usage: http_get URL... (at most %d)\n", PAGES_MAX);
        return 2;
    }
    return pirn_run(NULL, run, &order) ? 1 : 0;
}
