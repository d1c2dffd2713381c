/* Settings: a reader of JSON (RFC 8259). */
#include "portcullis.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_NUMBER = 64 };

typedef struct { const char *at, *end; int depth; } reader;

static pc_json *value(reader *r);

static void skip_space(reader *r) {
    while (r->at < r->end && memchr(" \t\r\n", *r->at, 4)) {
        r->at++;
    }
}

/* Takes a character that must come next, after white space. */
static bool take(reader *r, char c) {
    skip_space(r);
    if (r->at == r->end || *r->at != c) {
        return false;
    }
    r->at++;
    return true;
}

static bool word(reader *r, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0) {
        return false;
    }
    r->at += len;
    return true;
}

static bool hex4(reader *r, uint32_t *unit) {
    if (r->end - r->at < 4) {
        return false;
    }
    *unit = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        char c = *r->at;
        uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
                       : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                       : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10) : 16;
        if (digit == 16) {
            return false;
        }
        *unit = *unit << 4 | digit;
    }
    return true;
}

/* The character of an escape such as `\u00e9`, which may be a pair of surrogates. */
static bool escaped_unit(reader *r, uint32_t *code) {
    uint32_t low;
    if (!hex4(r, code)) {
        return false;
    }
    if (*code < 0xd800 || *code > 0xdfff) {
        return true;
    }
    if (*code > 0xdbff || !word(r, "\\u") || !hex4(r, &low) || low < 0xdc00 || low > 0xdfff) {
        return false;
    }
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

static char *put(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 0x3f));
        *out++ = (char)(0x80 | (code >> 6 & 0x3f));
        *out++ = (char)(0x80 | (code & 0x3f));
    }
    return out;
}

static bool string(reader *r, pc_text *text) {
    if (!take(r, '"')) {
        return false;
    }
    const char *close = r->at;
    while (close < r->end && *close != '"') {
        close += *close == '\\' ? 2 : 1;
    }
    if (close >= r->end) {
        return false;
    }
    /* No escape is shorter than what it stands for. */
    char *data = pc_alloc((size_t)(close - r->at) + 1), *out = data;
    while (r->at < close) {
        unsigned char c = (unsigned char)*r->at++;
        if (c < 0x20) {
            return false;
        }
        if (c != '\\') {
            *out++ = (char)c;
            continue;
        }
        static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
        const char *named = memchr(names, *r->at, sizeof names - 1);
        uint32_t code;
        if (named) {
            *out++ = values[named - names];
            r->at++;
        } else if (word(r, "u") && escaped_unit(r, &code)) {
            out = put(out, code);
        } else {
            return false;
        }
    }
    r->at = close + 1;
    *text = (pc_text){data, (uint32_t)(out - data)};
    return true;
}

static bool digits(reader *r) {
    const char *from = r->at;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9') {
        r->at++;
    }
    return r->at > from;
}

static bool number(reader *r, double *number) {
    char copy[MAX_NUMBER + 1] = {0};
    const char *from = r->at;
    (void)word(r, "-");
    if (!(word(r, "0") || digits(r)) || (word(r, ".") && !digits(r))) {
        return false;
    }
    if (word(r, "e") || word(r, "E")) {
        (void)(word(r, "+") || word(r, "-"));
        if (!digits(r)) {
            return false;
        }
    }
    if (r->at - from > MAX_NUMBER) {
        return false;
    }
    memcpy(copy, from, (size_t)(r->at - from));
    *number = strtod(copy, NULL);
    return true;
}

/* What an array or object holds, up to its end. */
static bool held(reader *r, pc_json *holder, char end) {
    pc_json **place = &holder->first;
    if (take(r, end)) {
        return true;
    }
    do {
        pc_text key = {0};
        if (holder->kind == PC_OBJECT && !(string(r, &key) && take(r, ':'))) {
            return false;
        }
        if (!(*place = value(r))) {
            return false;
        }
        (*place)->key = key;
        place = &(*place)->next;
    } while (take(r, ','));
    return take(r, end);
}

static pc_json *value(reader *r) {
    pc_json *json = pc_alloc(sizeof *json);
    skip_space(r);
    bool read = false;
    if (r->depth++ == MAX_DEPTH || r->at == r->end) {
        return NULL;
    } else if (*r->at == '"') {
        json->kind = PC_STRING;
        read = string(r, &json->string);
    } else if (*r->at == '[' || *r->at == '{') {
        json->kind = *r->at == '[' ? PC_ARRAY : PC_OBJECT;
        read = held(r, json, *r->at++ == '[' ? ']' : '}');
    } else if (word(r, "null")) {
        read = true;
    } else if ((json->boolean = word(r, "true")) || word(r, "false")) {
        json->kind = PC_BOOLEAN;
        read = true;
    } else {
        json->kind = PC_NUMBER;
        read = number(r, &json->number);
    }
    r->depth--;
    return read ? json : NULL;
}

const pc_json *pc_json_read(pc_text text) {
    reader r = {text.data, text.data + text.len, 0};
    const pc_json *json = value(&r);
    skip_space(&r);
    return r.at == r.end ? json : NULL;
}

const pc_json *pc_json_member(const pc_json *object, const char *name) {
    for (const pc_json *member = object->kind == PC_OBJECT ? object->first : NULL; member; member = member->next) {
        if (pc_equal(member->key, name)) {
            return member;
        }
    }
    return NULL;
}
