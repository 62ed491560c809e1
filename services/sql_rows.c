/* SPDX-License-Identifier: MIT
 *
 * What: the rows of one query and the values in them: a table of values in row order, whose bytes live in chunks beside
 *       it.
 * Threads: one owner at a time: the connection's thread while it fills them, then the tasklet that asked.
 * Invariants: (1) row_count * column_count <= value_count < that + column_count: the last row may be under way; (2) a
 *       chunk never moves, so the bytes a value points to stay where they are while the table of values grows.
 * Lifetime: pirn_sql_rows_drop frees all. Names and bytes are copies: nothing points into SQLite.
 * Rejected: one malloc a value (a page of ten rows took thirty); offsets into one growing buffer (every read would add
 *       a base).
 */
#include "sql_internal.h"

#include <string.h>

#include "alloc.h"
#include "base.h"

#define CHUNK_BYTES 2048u /* small results fit into the first; a longer value gets a chunk of its own */

typedef struct chunk {
    struct chunk *next;
    size_t used, room;
    char bytes[];
} chunk;

struct pirn_sql_rows {
    size_t column_count, name_count;
    size_t value_count, value_max;
    pirn_sql_value *values; /* [value_max] */
    const char **names;     /* [column_count] */
    chunk *chunks;          /* the one being filled first */
};

pirn_sql_value pirn_sql_text(const char *text) {
    pirn_sql_value value = {text ? PIRN_SQL_TEXT : PIRN_SQL_NULL, 0, 0, text, text ? strlen(text) : 0};
    return value;
}

pirn_sql_rows *pn_sql_rows_create(size_t column_count) {
    pirn_sql_rows *rows = pn_calloc(1, sizeof *rows);
    if (!rows) {
        return NULL;
    }
    rows->names = pn_calloc(column_count ? column_count : 1, sizeof *rows->names);
    if (!rows->names) {
        pn_free(rows);
        return NULL;
    }
    rows->column_count = column_count;
    return rows;
}

/* A terminated copy that lives as long as the rows; NULL: no memory. */
static const char *keep(pirn_sql_rows *rows, const void *bytes, size_t length) {
    chunk *current = rows->chunks;
    if (!current || current->room - current->used <= length) {
        if (length > SIZE_MAX / 2) {
            return NULL;
        }
        size_t room = length < CHUNK_BYTES ? CHUNK_BYTES : length + 1;
        current = pn_malloc(sizeof *current + room);
        if (!current) {
            return NULL;
        }
        current->used = 0;
        current->room = room;
        current->next = rows->chunks;
        rows->chunks = current;
    }
    char *copy = current->bytes + current->used;
    if (length) {
        memcpy(copy, bytes, length);
    }
    copy[length] = '\0';
    current->used += length + 1;
    return copy;
}

int pn_sql_rows_add_name(pirn_sql_rows *rows, const char *name) {
    PN_ASSERT(rows->name_count < rows->column_count);
    const char *copy = keep(rows, name, strlen(name));
    if (!copy) {
        return PIRN_ENOMEM;
    }
    rows->names[rows->name_count++] = copy;
    return 0;
}

int pn_sql_rows_add_value(pirn_sql_rows *rows, const pirn_sql_value *value) {
    if (rows->value_count == rows->value_max) {
        size_t room = rows->value_max ? 2 * rows->value_max : 32;
        pirn_sql_value *moved = pn_reallocarray(rows->values, room, sizeof *moved);
        if (!moved) {
            return PIRN_ENOMEM;
        }
        rows->values = moved;
        rows->value_max = room;
    }
    pirn_sql_value copy = *value;
    if (value->type == PIRN_SQL_TEXT || value->type == PIRN_SQL_BLOB) {
        copy.bytes = keep(rows, value->bytes, value->length);
        if (!copy.bytes) {
            return PIRN_ENOMEM;
        }
    }
    rows->values[rows->value_count++] = copy;
    return 0;
}

size_t pirn_sql_row_count(const pirn_sql_rows *rows) {
    return rows->column_count ? rows->value_count / rows->column_count : 0;
}

size_t pirn_sql_column_count(const pirn_sql_rows *rows) {
    return rows->column_count;
}

const char *pirn_sql_column_name(const pirn_sql_rows *rows, size_t column) {
    return column < rows->name_count ? rows->names[column] : "";
}

pirn_sql_value pirn_sql_at(const pirn_sql_rows *rows, size_t row, size_t column) {
    if (column >= rows->column_count || row >= pirn_sql_row_count(rows)) {
        return (pirn_sql_value){PIRN_SQL_NULL, 0, 0, NULL, 0};
    }
    return rows->values[row * rows->column_count + column];
}

void pirn_sql_rows_drop(pirn_sql_rows *rows) {
    if (!rows) {
        return;
    }
    while (rows->chunks) {
        chunk *next = rows->chunks->next;
        pn_free(rows->chunks);
        rows->chunks = next;
    }
    pn_free(rows->values);
    pn_free(rows->names);
    pn_free(rows);
}

void pn_sql_rows_drop_value(void *rows) {
    pirn_sql_rows_drop(rows);
}
