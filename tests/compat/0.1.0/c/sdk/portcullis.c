#include "portcullis.h"
#include "memory.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MESSAGE = 1024, MAX_RULE = 128, MAX_FINDINGS = 32, MAX_SETTING_ERRORS = 64 };

/* ---- Memory ---- */

typedef struct block block;
struct block {
    block *before;
    max_align_t data[];
};

static block *newest;

void *pc_alloc(size_t size) {
    assert(size < UINT32_MAX / 2);
    block *made = malloc(sizeof(block) + size);
    assert(made && "out of memory");
    made->before = newest;
    newest = made;
    return memset(made->data, 0, size);
}

void pc_free_all(void) {
    while (newest) {
        block *before = newest->before;
        free(newest);
        newest = before;
    }
}

/* Makes room for one more element. Room grows by powers of two, so that the count tells when it is used up. */
static void *grown(const void *items, uint32_t count, size_t size) {
    if (count & (count - 1)) {
        return (void *)items;
    }
    void *room = pc_alloc((count ? (size_t)count * 2 : 1) * size);
    return count ? memcpy(room, items, count * size) : room;
}

#define PUSH(list, value) ((list)->items = grown((list)->items, (list)->count, sizeof *(list)->items), \
                           (list)->items[(list)->count++] = (value))

/* ---- Texts ---- */

pc_text pc_string(const char *string) { return (pc_text){string, (uint32_t)strlen(string)}; }

pc_text pc_keep(pc_text text) {
    char *data = malloc(text.len + 1);
    assert(data && "out of memory");
    memcpy(data, text.data, text.len);
    return (pc_text){data, text.len};
}

bool pc_equal(pc_text text, const char *string) {
    size_t len = strlen(string);
    return text.len == len && memcmp(text.data, string, len) == 0;
}

pc_text pc_format(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    assert(len >= 0);
    char *data = pc_alloc((size_t)len + 1);
    vsnprintf(data, (size_t)len + 1, format, again);
    va_end(again);
    return (pc_text){data, (uint32_t)len};
}

/* Cuts a text at a character's boundary, so that a long name in it does not turn an answer into a bad one. */
static pc_text bounded(pc_text text, uint32_t max) {
    if (text.len > max) {
        while (max > 0 && (text.data[max] & 0xc0) == 0x80) {
            max--;
        }
        text.len = max;
    }
    return text;
}

static pc_optional_text some(pc_text text) { return (pc_optional_text){true, text}; }

/* ---- Answers ---- */

void pc_wrong(pc_setting_errors *errors, const char *path, const char *message) {
    if (errors->count < MAX_SETTING_ERRORS) {
        PUSH(errors, ((pc_setting_error){pc_string(path), pc_string(message)}));
    }
}

void pc_deny(pc_verdict *verdict, pc_text message) {
    verdict->decision = PC_DENY;
    verdict->message = some(bounded(message, MAX_MESSAGE));
}

void pc_review(pc_verdict *verdict, pc_approval approval) {
    approval.reason = bounded(approval.reason, MAX_MESSAGE);
    verdict->decision = PC_REVIEW;
    verdict->review.some = true;
    verdict->review.approval = approval;
}

void pc_rewrite(pc_verdict *verdict, pc_text text) { verdict->rewrite = some(text); }

void pc_find(pc_verdict *verdict, const char *rule, pc_text message) {
    if (verdict->findings.count < MAX_FINDINGS) {
        PUSH(&verdict->findings, ((pc_finding){bounded(pc_string(rule), MAX_RULE), bounded(message, MAX_MESSAGE)}));
    }
}

enum { MASK = 1, INSPECT = 2, REFUSE = 3 };

void pc_inspect(pc_plan *plan, uint32_t column) { PUSH(&plan->rules, ((pc_rule){column, {.kind = INSPECT}})); }

void pc_mask(pc_plan *plan, uint32_t column, const char *mask, const char *parameter, pc_text value) {
    pc_action action = {.kind = MASK, .text = pc_string(mask)};
    if (parameter) {
        pc_mask_parameter *one = pc_alloc(sizeof *one);
        *one = (pc_mask_parameter){pc_string(parameter), value};
        action.parameters.items = one;
        action.parameters.count = 1;
    }
    PUSH(&plan->rules, ((pc_rule){column, action}));
}

void pc_refuse(pc_plan *plan, uint32_t column, pc_text message) {
    PUSH(&plan->rules, ((pc_rule){column, {.kind = REFUSE, .text = bounded(message, MAX_MESSAGE)}}));
}

bool pc_value(const pc_chunk *chunk, uint32_t row, pc_bytes *value) {
    assert(row < chunk->ends.count);
    uint32_t start = row ? chunk->ends.items[row - 1] : 0;
    *value = (pc_bytes){chunk->data.data + start, chunk->ends.items[row] - start};
    return !(chunk->nulls.data[row / 8] >> (row % 8) & 1);
}

enum { KEEP = 0, SPANS = 1, PATCH = 2 };

static void push_number(pc_numbers *numbers, uint32_t number) {
    uint32_t *items = grown(numbers->items, numbers->count, sizeof *items);
    items[numbers->count++] = number;
    numbers->items = items;
}

void pc_cover(pc_edit *edit, uint32_t row, uint32_t start, uint32_t len) {
    assert(edit->kind != PATCH);
    edit->kind = SPANS;
    edit->of.spans.fill = '*';
    push_number(&edit->of.spans.rows, row);
    push_number(&edit->of.spans.starts, start);
    push_number(&edit->of.spans.lens, len);
}

void pc_replace(pc_edit *edit, uint32_t row, const pc_bytes *value) {
    assert(edit->kind != SPANS);
    edit->kind = PATCH;
    uint32_t index = edit->of.patch.rows.count;
    pc_bytes *nulls = &edit->of.patch.nulls, *data = &edit->of.patch.data;
    if (index % 8 == 0) {
        nulls->data = grown(nulls->data, nulls->len, 1);
        nulls->len++;
    }
    if (!value) {
        ((uint8_t *)nulls->data)[index / 8] |= (uint8_t)(1 << index % 8);
    } else if (value->len) {
        for (uint32_t i = 0; i < value->len; i++) {
            uint8_t *bytes = grown(data->data, data->len, 1);
            bytes[data->len++] = value->data[i];
            data->data = bytes;
        }
    }
    push_number(&edit->of.patch.rows, row);
    push_number(&edit->of.patch.ends, data->len);
}
