#include "testing.h"
#include "memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pc_host pc_test_host;

/* Enough for a test. */
enum { MAX_ENTRIES = 64, MAX_KEY = 256, MAX_HITS = 1024 };

typedef struct {
    char key[MAX_KEY];
    uint8_t value[1024];
    uint32_t key_len, len;
    uint64_t expires;
} entry;

static entry state[MAX_ENTRIES];

void pc_test(const char *name) {
    pc_free_all();
    pc_test_host = (pc_host){0};
    memset(state, 0, sizeof state);
    printf("%s\n", name);
}

void pc_test_expect(bool holds, const char *condition, const char *file, int line) {
    if (!holds) {
        printf("%s:%d: this does not hold: %s\n", file, line, condition);
        exit(1);
    }
}

static pc_text or(const char *text, const char *usual) { return pc_string(text ? text : usual); }

static pc_optional_text optional(const char *text) {
    return text ? (pc_optional_text){true, pc_string(text)} : (pc_optional_text){0};
}

pc_text pc_session_id(pc_session *s) { (void)s; return pc_string("0190a6e0-0000-7000-8000-000000000000"); }
pc_text pc_session_protocol(pc_session *s) { (void)s; return pc_string("postgres"); }
pc_text pc_session_principal(pc_session *s) { return or(s->principal, "alice"); }
pc_texts pc_session_groups(pc_session *s) { return s->groups; }
pc_text pc_session_target(pc_session *s) { return or(s->target, "app"); }
pc_text pc_session_client_address(pc_session *s) { (void)s; return pc_string("192.0.2.1"); }
pc_text pc_session_credential(pc_session *s) { (void)s; return pc_string("scram-sha-256"); }
pc_optional_text pc_session_reason(pc_session *s) { return optional(s->reason); }

pc_optional_text pc_session_label(pc_session *s, pc_text name) {
    return optional(s->label && pc_equal(name, s->label) ? s->label_value : NULL);
}

pc_text pc_statement_dialect(pc_statement *s) { (void)s; return pc_string("postgres"); }
pc_text pc_statement_verb(pc_statement *s) { return or(s->verb, "SELECT"); }
pc_relations pc_statement_relations(pc_statement *s) { return s->relations; }
pc_column_refs pc_statement_columns_read(pc_statement *s) { return s->columns_read; }
pc_texts pc_statement_functions(pc_statement *s) { return s->functions; }
bool pc_statement_has_where(pc_statement *s) { return !s->no_where; }

uint16_t pc_statement_effects(pc_statement *s) {
    uint16_t effects = s->effects;
    for (uint32_t i = 0; i < s->relations.count; i++) {
        effects |= s->relations.items[i].effects;
    }
    return effects;
}

pc_text pc_command_kind(pc_command *c) { (void)c; return pc_string("sql"); }
pc_phase pc_command_phase(pc_command *c) { return c->phase; }
bool pc_command_parsed(pc_command *c) { return !c->unreadable; }
pc_parameters pc_command_parameters(pc_command *c) { return c->parameters; }
pc_columns pc_command_conditions(pc_command *c) { return c->conditions; }

pc_text pc_command_text(pc_command *c, uint32_t max_bytes) {
    pc_text text = or(c->text, "");
    if (text.len > max_bytes) {
        for (text.len = max_bytes; text.len > 0 && (text.data[text.len] & 0xc0) == 0x80;) {
            text.len--;
        }
    }
    return text;
}

pc_text pc_command_fingerprint(pc_command *c) {
    assert(!c->unreadable && "the policy asks for facts of a command that was not read");
    return or(c->text, "");
}

pc_statements pc_command_sql(pc_command *c) {
    assert(!c->unreadable && "the policy asks for facts of a command that was not read");
    return c->statements;
}

uint64_t pc_result_set_id(pc_result_set *r) { (void)r; return 1; }
pc_columns pc_result_set_columns(pc_result_set *r) { return r->columns; }

void pc_log(pc_level level, pc_text message) {
    (void)level;
    snprintf(pc_test_host.line, sizeof pc_test_host.line, "%.*s", (int)message.len, message.data);
}

uint64_t pc_now_ms(void) { return pc_test_host.now_ms; }

pc_bytes pc_random(uint32_t count) {
    uint8_t *bytes = pc_alloc(count);
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)i;
    }
    return (pc_bytes){bytes, count};
}

/* The entry of a key that has not expired. */
static entry *live(pc_text key) {
    for (entry *e = state; e < state + MAX_ENTRIES; e++) {
        if (e->expires > pc_test_host.now_ms && e->key_len == key.len && memcmp(e->key, key.data, key.len) == 0) {
            return e;
        }
    }
    return NULL;
}

bool pc_state_get(pc_text key, pc_bytes *value) {
    entry *e = live(key);
    *value = e ? (pc_bytes){e->value, e->len} : (pc_bytes){0};
    return e;
}

bool pc_state_put(pc_text key, pc_bytes value, uint32_t ttl_seconds, pc_text *failure) {
    entry *e = live(key);
    for (entry *free = state; !e && free < state + MAX_ENTRIES; free++) {
        e = free->expires > pc_test_host.now_ms ? NULL : free;
    }
    if (!e || pc_test_host.state_fails || key.len > MAX_KEY || value.len > sizeof e->value) {
        *failure = pc_string("the state is full");
        return false;
    }
    memcpy(e->key, key.data, key.len);
    memcpy(e->value, value.data, value.len);
    e->key_len = key.len, e->len = value.len;
    e->expires = pc_test_host.now_ms + ttl_seconds * UINT64_C(1000);
    return true;
}

bool pc_state_increment(pc_text key, int64_t by, uint32_t ttl_seconds, int64_t *sum, pc_text *failure) {
    entry *e = live(key);
    uint64_t expires = e ? e->expires : 0;
    *sum = 0;
    if (e) {
        memcpy(sum, e->value, sizeof *sum);
    }
    *sum += by;
    if (!pc_state_put(key, (pc_bytes){(uint8_t *)sum, sizeof *sum}, ttl_seconds, failure)) {
        return false;
    }
    if (expires) {
        live(key)->expires = expires;
    }
    return true;
}

pc_texts pc_detectors(void) {
    static const char *const names[] = {"email", "card", "ssn", "iban", "phone", "secret"};
    enum { COUNT = sizeof names / sizeof *names };
    static pc_text texts[COUNT];
    for (int i = 0; i < COUNT; i++) {
        texts[i] = pc_string(names[i]);
    }
    return (pc_texts){texts, COUNT};
}

pc_hits pc_scan(pc_texts detectors, pc_numbers ends, pc_bytes data) {
    pc_hit *hits = pc_alloc(MAX_HITS * sizeof *hits);
    uint32_t count = 0, len = pc_test_host.finds ? (uint32_t)strlen(pc_test_host.finds) : 0;
    for (uint32_t value = 0, from = 0; len && value < ends.count; from = ends.items[value++]) {
        for (uint32_t detector = 0; detector < detectors.count; detector++) {
            if (!pc_equal(detectors.items[detector], pc_test_host.detector)) {
                continue;
            }
            for (uint32_t at = from; at + len <= ends.items[value]; at++) {
                if (memcmp(data.data + at, pc_test_host.finds, len) == 0) {
                    assert(count < MAX_HITS);
                    hits[count++] = (pc_hit){value, at - from, len, detector, 50};
                    at += len - 1;
                }
            }
        }
    }
    return (pc_hits){hits, count};
}

/* There is no key: equal values stay equal, and that is all. */
pc_bytes pc_hmac_each(pc_numbers ends, pc_bytes data, uint32_t len) {
    uint8_t *out = pc_alloc((size_t)ends.count * len);
    for (uint32_t value = 0, from = 0; value < ends.count; from = ends.items[value++]) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        for (uint32_t at = from; at < ends.items[value]; at++) {
            hash = (hash ^ data.data[at]) * UINT64_C(0x100000001b3);
        }
        for (uint32_t i = 0; i < len; i++) {
            out[value * len + i] = (uint8_t)(hash >> i % 8 * 8);
        }
    }
    return (pc_bytes){out, ends.count * len};
}

pc_chunk pc_test_chunk(uint32_t column, const char *const *values, uint32_t count) {
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += values[i] ? strlen(values[i]) : 0;
    }
    uint8_t *nulls = pc_alloc((count + 7) / 8), *data = pc_alloc(size);
    uint32_t *ends = pc_alloc(count * sizeof *ends), end = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (values[i]) {
            memcpy(data + end, values[i], strlen(values[i]));
            end += (uint32_t)strlen(values[i]);
        } else {
            nulls[i / 8] |= (uint8_t)(1 << i % 8);
        }
        ends[i] = end;
    }
    return (pc_chunk){column, {nulls, (count + 7) / 8}, {ends, count}, {data, end}};
}
