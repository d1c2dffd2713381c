/* Calls every function of portcullis:policy@0.1.0 once, exports every hook, and says what it got. */
#include "portcullis.h"

#include <string.h>

#define TEXT(text) (int)(text).len, (text).data

bool policy_configure(const pc_json *settings, pc_setting_errors *errors) {
    const pc_json *greeting = pc_json_member(settings, "greeting");
    if (greeting && pc_equal(greeting->string, "hello")) {
        return true;
    }
    pc_wrong(errors, "/greeting", "it does not say hello");
    return false;
}

bool policy_open(pc_session *session, pc_verdict *verdict, pc_error *error) {
    (void)error;
    if (pc_equal(pc_session_principal(session), "mallory")) {
        pc_deny(verdict, pc_string("mallory stays out"));
    }
    return true;
}

static bool contains(pc_text text, const char *part) {
    size_t len = strlen(part);
    for (size_t i = 0; i + len <= text.len; i++) {
        if (memcmp(text.data + i, part, len) == 0) {
            return true;
        }
    }
    return false;
}

static pc_text joined(pc_texts texts) {
    pc_text all = pc_string("");
    for (uint32_t i = 0; i < texts.count; i++) {
        all = pc_format("%.*s[%.*s]", TEXT(all), TEXT(texts.items[i]));
    }
    return all;
}

static pc_text optional(pc_optional_text text) {
    return text.some ? text.text : pc_string("-");
}

static pc_text of_session(pc_session *s) {
    pc_text id = pc_session_id(s), protocol = pc_session_protocol(s), principal = pc_session_principal(s);
    pc_text groups = joined(pc_session_groups(s)), target = pc_session_target(s);
    pc_text label = optional(pc_session_label(s, pc_string("env"))), none = optional(pc_session_label(s, pc_string("none")));
    pc_text address = pc_session_client_address(s), credential = pc_session_credential(s);
    pc_text reason = optional(pc_session_reason(s));
    return pc_format("session %.*s %.*s %.*s %.*s %.*s %.*s %.*s %.*s %.*s %.*s", TEXT(id), TEXT(protocol), TEXT(principal), TEXT(groups),
                     TEXT(target), TEXT(label), TEXT(none), TEXT(address), TEXT(credential), TEXT(reason));
}

static pc_text of_command(pc_command *c) {
    pc_text kind = pc_command_kind(c), all = pc_string("");
    pc_parameters parameters = pc_command_parameters(c);
    for (uint32_t i = 0; i < parameters.count; i++) {
        pc_parameter p = parameters.items[i];
        pc_text value = p.some ? (pc_text){(const char *)p.value.data, p.value.len} : pc_string("NULL");
        all = pc_format("%.*s[%.*s %d]", TEXT(all), TEXT(value), p.binary);
    }
    const char *phase = pc_command_phase(c) == PC_EXECUTE ? "execute" : "prepare";
    return pc_format("command %.*s %s %d %.*s", TEXT(kind), phase, pc_command_fingerprint(c).len > 0, TEXT(all));
}

static pc_text of_statement(pc_statement *s) {
    pc_text dialect = pc_statement_dialect(s), verb = pc_statement_verb(s), names = pc_string("");
    pc_relations relations = pc_statement_relations(s);
    for (uint32_t i = 0; i < relations.count; i++) {
        pc_relation r = relations.items[i];
        names = pc_format("%.*s[%.*s.%.*s %d]", TEXT(names), TEXT(r.schema), TEXT(r.name), r.effects);
    }
    pc_column_refs columns = pc_statement_columns_read(s);
    for (uint32_t i = 0; i < columns.count; i++) {
        pc_column_ref c = columns.items[i];
        names = pc_format("%.*s[%.*s.%.*s.%.*s]", TEXT(names), TEXT(c.schema), TEXT(c.relation), TEXT(c.name));
    }
    pc_text functions = joined(pc_statement_functions(s));
    return pc_format("%.*s %.*s %d %.*s %.*s %d", TEXT(dialect), TEXT(verb), pc_statement_effects(s), TEXT(names), TEXT(functions),
                     pc_statement_has_where(s));
}

static pc_text of_host(void) {
    for (int level = PC_TRACE; level <= PC_ERROR; level++) {
        pc_log((pc_level)level, pc_string("a line"));
    }
    bool clock = pc_now_ms() > UINT64_C(1700000000000);
    uint32_t random = pc_random(8).len;
    pc_text failure;
    pc_bytes got, none;
    bool put = pc_state_put(pc_string("key"), (pc_bytes){(const uint8_t *)"value", 5}, 60, &failure);
    bool get = pc_state_get(pc_string("key"), &got) && got.len == 5 && memcmp(got.data, "value", 5) == 0;
    bool missing = !pc_state_get(pc_string("none"), &none);
    int64_t sum = 0;
    bool counts = pc_state_increment(pc_string("counter"), 2, 60, &sum, &failure);
    counts = pc_state_increment(pc_string("counter"), -5, 60, &sum, &failure) && counts;
    const uint32_t two[] = {1, 3}, ends[] = {4, 20};
    pc_bytes hash = pc_hmac_each((pc_numbers){two, 2}, (pc_bytes){(const uint8_t *)"abc", 3}, 2);
    const pc_text detectors[] = {pc_string("card"), pc_string("email")};
    pc_hits hits = pc_scan((pc_texts){detectors, 2}, (pc_numbers){ends, 2}, (pc_bytes){(const uint8_t *)"none ann@example.com", 20});
    pc_hit hit = hits.count == 1 ? hits.items[0] : (pc_hit){0};
    pc_text names = joined(pc_detectors());
    return pc_format("host %d %d %d %d %d %d %d [%d %d %d %d] %.*s [%d %d %d %d %d]", clock, (int)random, put, get, missing, counts,
                     (int)sum, hash.data[0], hash.data[1], hash.data[2], hash.data[3], TEXT(names), (int)hit.value, (int)hit.start,
                     (int)hit.len, (int)hit.detector, hit.score);
}

bool policy_check(pc_session *session, pc_command *command, pc_verdict *verdict, pc_error *error) {
    pc_text text = pc_command_text(command, 1000);
    if (!pc_command_parsed(command)) {
        pc_deny(verdict, pc_string("this cannot be read"));
        return true;
    }
    if (contains(text, "review")) {
        static const char *const names[] = {"dba", "security"};
        pc_text *groups = pc_alloc(2 * sizeof *groups);
        groups[0] = pc_string(names[0]), groups[1] = pc_string(names[1]);
        pc_review(verdict, (pc_approval){{groups, 2}, 2, 600, 1, pc_string("it asks for a review")});
        return true;
    }
    if (contains(text, "rewrite")) {
        pc_rewrite(verdict, pc_string("select 1"));
        return true;
    }
    if (contains(text, "error")) {
        *error = (pc_error){pc_string("as-told"), pc_string("an error")};
        return false;
    }
    pc_statements statements = pc_command_sql(command);
    pc_text told = pc_string("");
    for (uint32_t i = 0; i < statements.count; i++) {
        pc_text one = of_statement(statements.items[i]);
        told = pc_format("%.*s; %.*s", TEXT(told), TEXT(one));
    }
    if (!contains(text, "tell")) {
        pc_find(verdict, "allowed", told);
        return true;
    }
    pc_text of[] = {of_session(session), of_command(command), of_host()};
    pc_deny(verdict, pc_format("%.*s; %.*s%.*s; %.*s", TEXT(of[0]), TEXT(of[1]), TEXT(told), TEXT(of[2])));
    pc_find(verdict, "told", text);
    return true;
}

bool policy_approved(pc_session *session, pc_command *command, pc_texts approvers, pc_verdict *verdict, pc_error *error) {
    (void)session, (void)command, (void)error;
    pc_find(verdict, approvers.count == 2 && pc_equal(approvers.items[1], "eve") ? "approved-by-bob-eve" : "approved", pc_string(""));
    return true;
}

bool policy_plan(pc_session *session, pc_command *command, pc_result_set *result, pc_plan *plan, pc_error *error) {
    (void)session, (void)error;
    static const char *const masks[][4] = {
        {"constant", "constant", "value", "gone"}, {"year", "date-to-year"}, {"email", "email"}, {"hash", "hash"},
        {"last", "keep-last", "count", "4"}, {"null", "null"}, {"redact", "redact"},
    };
    pc_columns columns = pc_result_set_columns(result);
    for (uint32_t i = 0; i < columns.count; i++) {
        pc_text name = columns.items[i].name;
        for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
            if (pc_equal(name, masks[m][0])) {
                pc_mask(plan, i, masks[m][1], masks[m][2], pc_string(masks[m][3] ? masks[m][3] : ""));
            }
        }
        if (pc_equal(name, "spans") || pc_equal(name, "patch") || pc_equal(name, "drop") || pc_equal(name, "abort")) {
            pc_inspect(plan, i);
        } else if (pc_equal(name, "deny")) {
            pc_refuse(plan, i, pc_string("this column is not shown"));
        }
    }
    if (contains(pc_command_text(command, 1000), "few")) {
        plan->max_rows.some = true;
        plan->max_rows.count = 2;
    }
    pc_log(PC_INFO, pc_format("%d", (int)pc_result_set_id(result)));
    return true;
}

bool policy_filter(pc_session *session, pc_command *command, pc_result_set *result, uint32_t rows, pc_chunks chunks, pc_batch *batch,
                   pc_error *error) {
    (void)session, (void)command, (void)error;
    pc_columns columns = pc_result_set_columns(result);
    uint32_t *dropped = pc_alloc((rows + 1) * sizeof *dropped), count = 0;
    for (uint32_t i = 0; i < chunks.count; i++) {
        pc_text name = columns.items[chunks.items[i].column].name;
        for (uint32_t row = 0; row < rows; row++) {
            pc_bytes value;
            if (!pc_value(&chunks.items[i], row, &value)) {
                continue;
            }
            if (pc_equal(name, "spans")) {
                pc_cover(&batch->edits.items[i], row, 0, 2);
            } else if (pc_equal(name, "patch")) {
                const pc_bytes new = {(const uint8_t *)"new", 3};
                pc_replace(&batch->edits.items[i], row, &new);
            } else if (pc_equal(name, "drop")) {
                dropped[count++] = row;
            } else {
                batch->abort = (pc_optional_text){true, pc_string("enough of this")};
            }
        }
    }
    batch->drop_rows = (pc_numbers){dropped, count};
    return true;
}
