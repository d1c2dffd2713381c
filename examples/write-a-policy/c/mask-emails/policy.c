/* Covers e-mail addresses in text columns, wherever they come from. */
#include "portcullis.h"

#include <string.h>

/* Types whose values hold no text. Every other type is searched: a domain over text has a name of its own. */
static const char *const NOT_TEXT[] = {
    "bool", "bytea", "date", "float4", "float8", "int2", "int4", "int8", "interval", "money", "numeric", "oid", "time", "timestamp",
    "timestamptz", "timetz", "uuid",
};

static bool keep_domain;

bool policy_configure(const pc_json *settings, pc_setting_errors *errors) {
    (void)errors;
    const pc_json *given = pc_json_member(settings, "keep_domain");
    keep_domain = !given || given->boolean;
    return true;
}

static bool may_hold_text(pc_text type) {
    if (type.len > 0 && type.data[0] == '_') {
        /* The name of an array's type is that of its element's after this. */
        type = (pc_text){type.data + 1, type.len - 1};
    }
    for (size_t i = 0; i < sizeof NOT_TEXT / sizeof *NOT_TEXT; i++) {
        if (pc_equal(type, NOT_TEXT[i])) {
            return false;
        }
    }
    return true;
}

/* Asks for the values of all columns that may hold text. A column's name tells nothing: whoever writes the query chooses it. */
bool policy_plan(pc_session *session, pc_command *command, pc_result_set *result, pc_plan *plan, pc_error *error) {
    (void)session, (void)command, (void)error;
    pc_columns columns = pc_result_set_columns(result);
    for (uint32_t i = 0; i < columns.count; i++) {
        if (may_hold_text(columns.items[i].type_name)) {
            pc_inspect(plan, i);
        }
    }
    return true;
}

static uint32_t covered(const pc_chunk *chunk, const pc_hit *hit) {
    pc_bytes value;
    if (!keep_domain || !pc_value(chunk, hit->value, &value)) {
        return hit->len;
    }
    const uint8_t *address = value.data + hit->start, *at = memchr(address, '@', hit->len);
    return at ? (uint32_t)(at - address) : hit->len;
}

/* Covers what the gateway's detector finds. */
bool policy_filter(pc_session *session, pc_command *command, pc_result_set *result, uint32_t rows, pc_chunks chunks, pc_batch *batch,
                   pc_error *error) {
    (void)session, (void)command, (void)result, (void)rows, (void)error;
    const pc_text email = pc_string("email");
    for (uint32_t i = 0; i < chunks.count; i++) {
        const pc_chunk *chunk = &chunks.items[i];
        pc_hits hits = pc_scan((pc_texts){&email, 1}, chunk->ends, chunk->data);
        for (uint32_t h = 0; h < hits.count; h++) {
            pc_cover(&batch->edits.items[i], hits.items[h].value, hits.items[h].start, covered(chunk, &hits.items[h]));
        }
    }
    return true;
}
