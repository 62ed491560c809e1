/* SPDX-License-Identifier: MIT
 *
 * What: the inspector for people: cards with the sums, the workers, where tasklets wait (grouped, longest first), and
 *       the tasklets. One page without scripts or outside files, light or dark as the reader's system is.
 *
 * Threads: a request tasklet.
 * Invariants: (1) every text of the snapshot goes through text(): no byte of it is markup, or steers a
 *       terminal that shows the page's source.
 * Rejected: scripts that refresh the page: it must work in any browser, and a link does.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "http_inspector.h"
#include "text.h"

#define ROWS_MAX   1000
#define GROUPS_MAX 24

/* The page's only style; the bars' lengths are the width attribute of an SVG, so that no inline style is needed. */
static const char page_style[] =
    "<style>"
    ":root{color-scheme:light dark;--bg:#f7f7f5;--card:#fff;--ink:#1c1e21;--soft:#6b7076;--line:#e3e4e1;--bar:#2f6f8f}"
    "@media(prefers-color-scheme:dark){:root{--bg:#15171a;--card:#1e2126;--ink:#e6e7e9;--soft:#989ea6;--line:#2d3138;"
    "--bar:#6db3d4}}"
    "*{box-sizing:border-box}body{margin:0 auto;max-width:74rem;padding:1.5rem;background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,sans-serif}h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .6rem}"
    "header{display:flex;gap:1rem;align-items:baseline;flex-wrap:wrap}header p{margin:0;color:var(--soft)}"
    "nav{margin-left:auto}a{color:var(--bar)}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.8rem;margin-top:1.2rem}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}"
    ".card b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}.card span{color:var(--soft)}"
    ".wrap{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem}"
    "table{border-collapse:collapse;width:100%}th,td{padding:.35rem .8rem;text-align:left}th{white-space:nowrap}"
    "th{color:var(--soft);font-weight:500;border-bottom:1px solid var(--line)}"
    "tr+tr td{border-top:1px solid var(--line)}td.n,th.n{text-align:right;white-space:nowrap}"
    "td.n,th.n{font-variant-numeric:tabular-nums}"
    "td.name{max-width:22rem;overflow:hidden;text-overflow:ellipsis}code{font-size:.9em}"
    "svg{display:block}rect{fill:var(--bar)}.note{color:var(--soft)}"
    "</style>";

/* Escaped text between tags or in an attribute. */
static int text(pirn_http_exchange *exchange, const char *raw) {
    char clean[4 * 128 + 1], escaped[6 * sizeof clean];
    (void)pn_text_clean(raw, clean, sizeof clean);
    pirn_html_escape(clean, escaped, sizeof escaped);
    return pirn_http_write(exchange, escaped, strlen(escaped));
}

static int cell(pirn_http_exchange *exchange, const char *class, const char *raw) {
    int rc = pirn_http_print(exchange, "<td%s%s%s>", class ? " class=\"" : "", class ? class : "", class ? "\"" : "");
    rc = rc ? rc : text(exchange, raw);
    return rc ? rc : pirn_http_print(exchange, "</td>");
}

static int card(pirn_http_exchange *exchange, const char *name, uint64_t number) {
    return pirn_http_print(exchange, "<div class=\"card\"><b>%" PRIu64 "</b><span>%s</span></div>", number, name);
}

static int print_top(pirn_http_exchange *exchange, const pirn_runtime_info *info, const pirn_snapshot *snapshot) {
    int rc =
        pirn_http_print(exchange, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>pirn</title>"
                                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    rc = rc ? rc : pirn_http_write(exchange, page_style, sizeof page_style - 1);
    rc = rc ? rc
            : pirn_http_print(
                  exchange,
                  "</head><body><header><h1>pirn</h1><p>%s mode, %s polling, %u worker%s (%s), %zu KiB stacks "
                  "guarded by %s%s</p><nav><a href=\"\">refresh</a> · <a href=\"?format=json\">JSON</a>"
                  "</nav></header><div class=\"cards\">",
                  pn_http_mode_name(info->mode), pn_http_poll_name(info), info->workers, info->workers == 1 ? "" : "s",
                  info->workers_reason, info->stack_bytes / 1024, pn_http_guard_name(info->guard),
                  info->guards_exhausted ? " (budget spent)" : "");
    rc = rc ? rc : card(exchange, "live tasklets", snapshot->live);
    rc = rc ? rc : card(exchange, "parked", snapshot->parked);
    rc = rc ? rc : card(exchange, "deferreds", snapshot->deferreds);
    rc = rc ? rc : card(exchange, "records under way", snapshot->records);
    return rc ? rc : pirn_http_print(exchange, "</div>");
}

static int print_workers(pirn_http_exchange *exchange, const pirn_snapshot *snapshot) {
    int rc = pirn_http_print(
        exchange, "<h2>Workers</h2><div class=\"wrap\"><table><tr><th class=\"n\">worker<th class=\"n\">live"
                  "<th class=\"n\">parked<th class=\"n\">runnable<th class=\"n\">inbox<th class=\"n\">switches"
                  "<th class=\"n\">spawned<th class=\"n\">deferreds<th class=\"n\">stacks in use"
                  "<th class=\"n\">cached</tr>");
    for (unsigned i = 0; rc == 0 && i < snapshot->worker_count; i++) {
        const pirn_worker_info *w = &snapshot->workers[i];
        rc = pirn_http_print(
            exchange,
            "<tr><td class=\"n\">%u<td class=\"n\">%u<td class=\"n\">%u<td class=\"n\">%u<td class=\"n\">%u"
            "<td class=\"n\">%" PRIu64 "<td class=\"n\">%" PRIu64 "<td class=\"n\">%u<td class=\"n\">%u"
            "<td class=\"n\">%u</tr>",
            w->id, w->live, w->parked, w->runnable, w->inbox, w->switches, w->spawned, w->deferreds, w->stacks_in_use,
            w->stacks_cached);
    }
    return rc ? rc : pirn_http_print(exchange, "</table></div>");
}

/* ---- where tasklets wait ---- */

static int print_wait(pirn_http_exchange *exchange, const pirn_wait_info *entry, uint64_t largest) {
    char longest[32];
    pn_http_duration(entry->longest_ns, longest, sizeof longest);
    uint64_t width = entry->count * 300 / largest;
    int rc = pirn_http_print(exchange, "<tr>");
    rc = rc ? rc : cell(exchange, NULL, entry->waiting_on);
    return rc ? rc
              : pirn_http_print(exchange,
                                "<td class=\"n\">%" PRIu64 "<td><svg width=\"300\" height=\"12\" role=\"img\" "
                                "aria-label=\"%" PRIu64 "\"><rect width=\"%" PRIu64
                                "\" height=\"12\" rx=\"3\"/></svg><td class=\"n\">%s</tr>",
                                entry->count, entry->count, width ? width : 1, longest);
}

static int print_waits(pirn_http_exchange *exchange, const pirn_snapshot *snapshot) {
    int rc = pirn_http_print(exchange, "<h2>Where tasklets wait</h2>");
    if (rc != 0 || snapshot->wait_count == 0) {
        return rc ? rc : pirn_http_print(exchange, "<p class=\"note\">No tasklet waits.</p>");
    }
    rc = pirn_http_print(exchange,
                         "<p class=\"note\">All %" PRIu64 " that are parked.</p><div class=\"wrap\"><table>"
                         "<tr><th>waits on<th class=\"n\">tasklets<th><th class=\"n\">longest</tr>",
                         snapshot->parked);
    for (size_t i = 0; rc == 0 && i < snapshot->wait_count && i < GROUPS_MAX; i++) {
        rc = print_wait(exchange, &snapshot->waits[i], snapshot->waits[0].count);
    }
    rc = rc ? rc : pirn_http_print(exchange, "</table></div>");
    if (rc == 0 && snapshot->wait_count > GROUPS_MAX) {
        rc = pirn_http_print(exchange, "<p class=\"note\">and %zu more places</p>", snapshot->wait_count - GROUPS_MAX);
    }
    return rc;
}

/* ---- tasklets ---- */

/* What it waits on, and of a query or fetch its words. */
static int wait_cell(pirn_http_exchange *exchange, const pirn_tasklet_info *tasklet) {
    int rc = pirn_http_print(exchange, "<td>");
    rc = rc ? rc : text(exchange, tasklet->waiting_on);
    if (rc == 0 && tasklet->doing[0]) {
        rc = pirn_http_print(exchange, "<br><code>");
        rc = rc ? rc : text(exchange, tasklet->doing);
        rc = rc ? rc : pirn_http_print(exchange, "</code>");
    }
    return rc;
}

/* Of a request: its peer, and how long ago it was read. */
static int name_cell(pirn_http_exchange *exchange, const pirn_tasklet_info *tasklet) {
    int rc = pirn_http_print(exchange, "<td class=\"name\">");
    rc = rc ? rc : text(exchange, tasklet->name);
    if (rc == 0 && tasklet->peer[0]) {
        char age[32];
        pn_http_duration(tasklet->age_ns, age, sizeof age);
        rc = pirn_http_print(exchange, "<br><span class=\"note\">");
        rc = rc ? rc : text(exchange, tasklet->peer);
        rc = rc ? rc : pirn_http_print(exchange, ", %s ago</span>", age);
    }
    return rc;
}

static int print_tasklet(pirn_http_exchange *exchange, const pirn_tasklet_info *tasklet) {
    char since[32];
    pn_http_duration(tasklet->since_ns, since, sizeof since);
    int rc = pirn_http_print(exchange, "<tr><td class=\"n\"><code>");
    rc = rc ? rc : text(exchange, tasklet->label);
    rc = rc ? rc : pirn_http_print(exchange, "</code>");
    rc = rc ? rc : name_cell(exchange, tasklet);
    rc = rc ? rc : pirn_http_print(exchange, "<td class=\"n\">%u<td>", tasklet->worker);
    rc = rc ? rc : text(exchange, tasklet->state);
    rc = rc ? rc : wait_cell(exchange, tasklet);
    rc = rc ? rc : pirn_http_print(exchange, "<td class=\"n\">%s", since);
    rc = rc ? rc : cell(exchange, NULL, tasklet->spawned_at);
    return rc ? rc : pirn_http_print(exchange, "</tr>");
}

static int print_tasklets(pirn_http_exchange *exchange, const pirn_snapshot *snapshot) {
    size_t shown = snapshot->tasklet_count < ROWS_MAX ? snapshot->tasklet_count : ROWS_MAX;
    int rc = pirn_http_print(exchange, "<h2>Tasklets</h2>");
    if (rc == 0 && shown < snapshot->live) {
        rc =
            pirn_http_print(exchange, "<p class=\"note\">%zu of %" PRIu64 " tasklets are shown; the JSON has more.</p>",
                            shown, snapshot->live);
    }
    rc = rc ? rc
            : pirn_http_print(exchange, "<div class=\"wrap\"><table><tr><th class=\"n\">id<th>name"
                                        "<th class=\"n\">worker<th>state<th>waits on<th class=\"n\">since"
                                        "<th>spawned at</tr>");
    for (size_t i = 0; rc == 0 && i < shown; i++) {
        rc = print_tasklet(exchange, &snapshot->tasklets[i]);
    }
    return rc ? rc : pirn_http_print(exchange, "</table></div>");
}

int pn_http_inspector_html(pirn_http_exchange *exchange, const pirn_runtime_info *info, const pirn_snapshot *snapshot) {
    int rc = pirn_http_field(exchange, "Content-Type", "text/html; charset=utf-8");
    rc = rc ? rc
            : pirn_http_field(exchange, "Content-Security-Policy",
                              "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                              "frame-ancestors 'none'");
    rc = rc ? rc : print_top(exchange, info, snapshot);
    rc = rc ? rc : print_workers(exchange, snapshot);
    rc = rc ? rc : print_waits(exchange, snapshot);
    rc = rc ? rc : print_tasklets(exchange, snapshot);
    return rc ? rc : pirn_http_print(exchange, "</body></html>\n");
}
