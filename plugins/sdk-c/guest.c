/* A component's side of the SDK: what it imports and exports, in the canonical ABI of the component model. The types of portcullis.h lie
 * in memory as that ABI says; a handle is a number, which stands for a pointer to something that the policy cannot look into. */
#include "portcullis.h"
#include "memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(void *) == 4, "the interface has 32-bit pointers");
_Static_assert(sizeof(pc_parameter) == 16 && sizeof(pc_relation) == 20 && sizeof(pc_column) == 36 && sizeof(pc_hit) == 20, "layout");
_Static_assert(offsetof(pc_verdict, review) == 28 && sizeof(pc_verdict) == 68, "layout");
_Static_assert(sizeof(pc_rule) == 24 && sizeof(pc_plan) == 24 && offsetof(pc_plan, max_rows) == 8, "layout");
_Static_assert(sizeof(pc_chunk) == 28 && sizeof(pc_edit) == 36 && sizeof(pc_batch) == 28, "layout");

/* Where lines of stdout and stderr are put together; `portcullis policy build` looks for the name. */
char portcullis_scratch[1024];

#define IMPORT(interface, name) __attribute__((import_module("portcullis:policy/" interface "@0.1.1"), import_name(name)))
#define EXPORT(name) __attribute__((export_name("portcullis:policy/" name)))
/* The host has read the answer. */
#define AFTER(name, function) \
    __attribute__((export_name("cabi_post_portcullis:policy/" name))) void function(void *answer) { (void)answer, pc_free_all(); }

/* ---- Facts ---- */

IMPORT("facts", "[method]session.id") void import_session_id(pc_session *, pc_text *);
pc_text pc_session_id(pc_session *session) {
    pc_text out;
    import_session_id(session, &out);
    return out;
}
IMPORT("facts", "[method]session.protocol") void import_session_protocol(pc_session *, pc_text *);
pc_text pc_session_protocol(pc_session *session) {
    pc_text out;
    import_session_protocol(session, &out);
    return out;
}
IMPORT("facts", "[method]session.principal") void import_session_principal(pc_session *, pc_text *);
pc_text pc_session_principal(pc_session *session) {
    pc_text out;
    import_session_principal(session, &out);
    return out;
}
IMPORT("facts", "[method]session.groups") void import_session_groups(pc_session *, pc_texts *);
pc_texts pc_session_groups(pc_session *session) {
    pc_texts out;
    import_session_groups(session, &out);
    return out;
}
IMPORT("facts", "[method]session.target") void import_session_target(pc_session *, pc_text *);
pc_text pc_session_target(pc_session *session) {
    pc_text out;
    import_session_target(session, &out);
    return out;
}
IMPORT("facts", "[method]session.label") void import_session_label(pc_session *, const char *, uint32_t, pc_optional_text *);
pc_optional_text pc_session_label(pc_session *session, pc_text name) {
    pc_optional_text out;
    import_session_label(session, name.data, name.len, &out);
    return out;
}
IMPORT("facts", "[method]session.client-address") void import_session_client_address(pc_session *, pc_text *);
pc_text pc_session_client_address(pc_session *session) {
    pc_text out;
    import_session_client_address(session, &out);
    return out;
}
IMPORT("facts", "[method]session.credential") void import_session_credential(pc_session *, pc_text *);
pc_text pc_session_credential(pc_session *session) {
    pc_text out;
    import_session_credential(session, &out);
    return out;
}
IMPORT("facts", "[method]session.reason") void import_session_reason(pc_session *, pc_optional_text *);
pc_optional_text pc_session_reason(pc_session *session) {
    pc_optional_text out;
    import_session_reason(session, &out);
    return out;
}

IMPORT("facts", "[method]command.kind") void import_command_kind(pc_command *, pc_text *);
pc_text pc_command_kind(pc_command *command) {
    pc_text out;
    import_command_kind(command, &out);
    return out;
}
IMPORT("facts", "[method]command.phase") uint32_t import_command_phase(pc_command *);
pc_phase pc_command_phase(pc_command *command) { return (pc_phase)import_command_phase(command); }
IMPORT("facts", "[method]command.text") void import_command_text(pc_command *, uint32_t, pc_text *);
pc_text pc_command_text(pc_command *command, uint32_t max_bytes) {
    pc_text out;
    import_command_text(command, max_bytes, &out);
    return out;
}
IMPORT("facts", "[method]command.parsed") uint32_t import_command_parsed(pc_command *);
bool pc_command_parsed(pc_command *command) { return import_command_parsed(command) != 0; }
IMPORT("facts", "[method]command.fingerprint") void import_command_fingerprint(pc_command *, pc_text *);
pc_text pc_command_fingerprint(pc_command *command) {
    pc_text out;
    import_command_fingerprint(command, &out);
    return out;
}
IMPORT("facts", "[method]command.parameters") void import_command_parameters(pc_command *, pc_parameters *);
pc_parameters pc_command_parameters(pc_command *command) {
    pc_parameters out;
    import_command_parameters(command, &out);
    return out;
}
IMPORT("facts", "[method]command.conditions") void import_command_conditions(pc_command *, pc_columns *);
pc_columns pc_command_conditions(pc_command *command) {
    pc_columns out;
    import_command_conditions(command, &out);
    return out;
}

/* The statements that the policy has been given, which go back when the question has been answered. */
typedef struct given given;
struct given {
    given *before;
    pc_statements statements;
};
static given *last_given;

IMPORT("facts", "[method]command.sql") void import_command_sql(pc_command *, pc_statements *);
pc_statements pc_command_sql(pc_command *command) {
    given *made = pc_alloc(sizeof *made);
    import_command_sql(command, &made->statements);
    made->before = last_given;
    last_given = made;
    return made->statements;
}

IMPORT("facts", "[method]sql-statement.dialect") void import_statement_dialect(pc_statement *, pc_text *);
pc_text pc_statement_dialect(pc_statement *statement) {
    pc_text out;
    import_statement_dialect(statement, &out);
    return out;
}
IMPORT("facts", "[method]sql-statement.verb") void import_statement_verb(pc_statement *, pc_text *);
pc_text pc_statement_verb(pc_statement *statement) {
    pc_text out;
    import_statement_verb(statement, &out);
    return out;
}
IMPORT("facts", "[method]sql-statement.effects") uint32_t import_statement_effects(pc_statement *);
uint16_t pc_statement_effects(pc_statement *statement) { return (uint16_t)import_statement_effects(statement); }
IMPORT("facts", "[method]sql-statement.relations") void import_statement_relations(pc_statement *, pc_relations *);
pc_relations pc_statement_relations(pc_statement *statement) {
    pc_relations out;
    import_statement_relations(statement, &out);
    return out;
}
IMPORT("facts", "[method]sql-statement.columns-read") void import_statement_columns_read(pc_statement *, pc_column_refs *);
pc_column_refs pc_statement_columns_read(pc_statement *statement) {
    pc_column_refs out;
    import_statement_columns_read(statement, &out);
    return out;
}
IMPORT("facts", "[method]sql-statement.functions") void import_statement_functions(pc_statement *, pc_texts *);
pc_texts pc_statement_functions(pc_statement *statement) {
    pc_texts out;
    import_statement_functions(statement, &out);
    return out;
}
IMPORT("facts", "[method]sql-statement.has-where") uint32_t import_statement_has_where(pc_statement *);
bool pc_statement_has_where(pc_statement *statement) { return import_statement_has_where(statement) != 0; }

IMPORT("facts", "[method]result-set.id") uint64_t import_result_set_id(pc_result_set *);
uint64_t pc_result_set_id(pc_result_set *result_set) { return import_result_set_id(result_set); }
IMPORT("facts", "[method]result-set.columns") void import_result_set_columns(pc_result_set *, pc_columns *);
pc_columns pc_result_set_columns(pc_result_set *result_set) {
    pc_columns out;
    import_result_set_columns(result_set, &out);
    return out;
}

IMPORT("facts", "[resource-drop]session") void drop_session(pc_session *);
IMPORT("facts", "[resource-drop]command") void drop_command(pc_command *);
IMPORT("facts", "[resource-drop]sql-statement") void drop_statement(pc_statement *);
IMPORT("facts", "[resource-drop]result-set") void drop_result_set(pc_result_set *);

static void give_back(pc_session *session, pc_command *command) {
    for (; last_given; last_given = last_given->before) {
        for (uint32_t i = 0; i < last_given->statements.count; i++) {
            drop_statement(last_given->statements.items[i]);
        }
    }
    drop_session(session);
    if (command) {
        drop_command(command);
    }
}

/* ---- What the host does ---- */

IMPORT("log", "write") void import_log(uint32_t, const char *, uint32_t);
void pc_log(pc_level level, pc_text message) { import_log(level, message.data, message.len); }

IMPORT("clock", "now-ms") uint64_t import_now_ms(void);
uint64_t pc_now_ms(void) { return import_now_ms(); }

IMPORT("random", "bytes") void import_random(uint32_t, pc_bytes *);
pc_bytes pc_random(uint32_t count) {
    pc_bytes out;
    import_random(count, &out);
    return out;
}

IMPORT("state", "get") void import_state_get(const char *, uint32_t, pc_parameter *);
bool pc_state_get(pc_text key, pc_bytes *value) {
    pc_parameter out;
    import_state_get(key.data, key.len, &out);
    *value = out.value;
    return out.some;
}

IMPORT("state", "put") void import_state_put(const char *, uint32_t, const uint8_t *, uint32_t, uint32_t, pc_optional_text *);
bool pc_state_put(pc_text key, pc_bytes value, uint32_t ttl_seconds, pc_text *failure) {
    pc_optional_text failed;
    import_state_put(key.data, key.len, value.data, value.len, ttl_seconds, &failed);
    *failure = failed.text;
    return !failed.some;
}

typedef struct {
    uint8_t failed;
    union { int64_t sum; pc_text failure; } of;
} sum_or_failure;
IMPORT("state", "increment") void import_state_increment(const char *, uint32_t, int64_t, uint32_t, sum_or_failure *);
bool pc_state_increment(pc_text key, int64_t by, uint32_t ttl_seconds, int64_t *sum, pc_text *failure) {
    sum_or_failure out;
    import_state_increment(key.data, key.len, by, ttl_seconds, &out);
    if (out.failed) {
        *failure = out.of.failure;
    } else {
        *sum = out.of.sum;
    }
    return !out.failed;
}

IMPORT("detect", "names") void import_detectors(pc_texts *);
pc_texts pc_detectors(void) {
    pc_texts out;
    import_detectors(&out);
    return out;
}

IMPORT("detect", "scan")
void import_scan(const pc_text *, uint32_t, const uint32_t *, uint32_t, const uint8_t *, uint32_t, pc_hits *);
pc_hits pc_scan(pc_texts detectors, pc_numbers ends, pc_bytes data) {
    pc_hits out;
    import_scan(detectors.items, detectors.count, ends.items, ends.count, data.data, data.len, &out);
    return out;
}

IMPORT("crypto", "hmac-each") void import_hmac_each(const uint32_t *, uint32_t, const uint8_t *, uint32_t, uint32_t, pc_bytes *);
pc_bytes pc_hmac_each(pc_numbers ends, pc_bytes data, uint32_t len) {
    pc_bytes out;
    import_hmac_each(ends.items, ends.count, data.data, data.len, len, &out);
    return out;
}

/* ---- What is exported ---- */

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    assert(align <= _Alignof(max_align_t));
    if (size == 0) {
        return (void *)align;
    }
    void *made = pc_alloc(size);
    return old_size ? memcpy(made, old, old_size < size ? old_size : size) : made;
}

static bool configured(const char *data, uint32_t len, pc_setting_errors *errors) {
    const pc_json *settings = pc_json_read((pc_text){data, len});
    if (!settings) {
        pc_wrong(errors, "", "this is no JSON text");
        return false;
    }
    return policy_configure(settings, errors);
}

typedef struct { uint8_t failed; pc_setting_errors errors; } validation;
EXPORT("lifecycle@0.1.1#validate-settings") validation *validate_settings(const char *data, uint32_t len) {
    static validation out;
    out = (validation){0};
    out.failed = !configured(data, len, &out.errors);
    return &out;
}
AFTER("lifecycle@0.1.1#validate-settings", after_validate_settings)

typedef struct { uint8_t failed; union { pc_texts kinds; pc_error error; } of; } registration;
EXPORT("lifecycle@0.1.1#configure") registration *configure(const char *data, uint32_t len) {
    static registration out;
    out = (registration){0};
#ifdef PC_HOOK_commands
    static const pc_text sql = {"sql", 3};
    out.of.kinds = (pc_texts){&sql, 1};
#endif
    pc_setting_errors errors = {0};
    out.failed = !configured(data, len, &errors);
    if (out.failed) {
        pc_text all = {0};
        for (uint32_t i = 0; i < errors.count; i++) {
            pc_text path = errors.items[i].path, message = errors.items[i].message;
            all = pc_format("%.*s%s%.*s: %.*s", (int)all.len, all.data, i ? "; " : "", (int)path.len, path.data, (int)message.len,
                            message.data);
        }
        out.of.error = (pc_error){pc_string("bad-settings"), all};
    }
    return &out;
}
AFTER("lifecycle@0.1.1#configure", after_configure)

#ifdef PC_HOOK_commands

__attribute__((weak)) bool policy_open(pc_session *session, pc_verdict *verdict, pc_error *error) {
    (void)session, (void)verdict, (void)error;
    return true;
}

__attribute__((weak)) bool policy_approved(pc_session *session, pc_command *command, pc_texts approvers, pc_verdict *verdict,
                                           pc_error *error) {
    (void)approvers;
    return policy_check(session, command, verdict, error);
}

typedef struct { uint8_t failed; union { pc_verdict verdict; pc_error error; } of; } judgement;

static judgement *judged(bool answered, pc_verdict verdict, pc_error error) {
    static judgement out;
    out = (judgement){.failed = !answered};
    if (answered) {
        out.of.verdict = verdict;
    } else {
        out.of.error = error;
    }
    return &out;
}

EXPORT("commands@0.1.1#open") judgement *commands_open(pc_session *session) {
    pc_verdict verdict = {0};
    pc_error error = {0};
    bool answered = policy_open(session, &verdict, &error);
    give_back(session, NULL);
    return judged(answered, verdict, error);
}
AFTER("commands@0.1.1#open", after_open)

EXPORT("commands@0.1.1#check") judgement *commands_check(pc_session *session, pc_command *command) {
    pc_verdict verdict = {0};
    pc_error error = {0};
    bool answered = policy_check(session, command, &verdict, &error);
    give_back(session, command);
    return judged(answered, verdict, error);
}
AFTER("commands@0.1.1#check", after_check)

EXPORT("commands@0.1.1#approved")
judgement *commands_approved(pc_session *session, pc_command *command, const pc_text *approvers, uint32_t count) {
    pc_verdict verdict = {0};
    pc_error error = {0};
    bool answered = policy_approved(session, command, (pc_texts){approvers, count}, &verdict, &error);
    give_back(session, command);
    return judged(answered, verdict, error);
}
AFTER("commands@0.1.1#approved", after_approved)

#endif
#ifdef PC_HOOK_rows

__attribute__((weak)) bool policy_filter(pc_session *session, pc_command *command, pc_result_set *result, uint32_t rows,
                                         pc_chunks chunks, pc_batch *batch, pc_error *error) {
    (void)session, (void)command, (void)result, (void)rows, (void)chunks, (void)batch;
    *error = (pc_error){pc_string("no-filter"), pc_string("the policy inspects columns, but does not filter them")};
    return false;
}

typedef struct { uint8_t failed; union { pc_plan plan; pc_error error; } of; } planned;
EXPORT("rows@0.1.1#plan-result") planned *rows_plan(pc_session *session, pc_command *command, pc_result_set *result) {
    static planned out;
    out = (planned){0};
    pc_plan plan = {0};
    pc_error error = {0};
    out.failed = !policy_plan(session, command, result, &plan, &error);
    if (out.failed) {
        out.of.error = error;
    } else {
        out.of.plan = plan;
    }
    drop_result_set(result);
    give_back(session, command);
    return &out;
}
AFTER("rows@0.1.1#plan-result", after_plan)

typedef struct { uint8_t failed; union { pc_batch batch; pc_error error; } of; } filtered;
EXPORT("rows@0.1.1#filter-batch")
filtered *rows_filter(pc_session *session, pc_command *command, pc_result_set *result, uint32_t rows, const pc_chunk *chunks,
                      uint32_t count) {
    static filtered out;
    out = (filtered){0};
    pc_batch batch = {.edits = {pc_alloc(count * sizeof(pc_edit)), count}};
    pc_error error = {0};
    out.failed = !policy_filter(session, command, result, rows, (pc_chunks){chunks, count}, &batch, &error);
    if (out.failed) {
        out.of.error = error;
    } else {
        out.of.batch = batch;
    }
    drop_result_set(result);
    give_back(session, command);
    return &out;
}
AFTER("rows@0.1.1#filter-batch", after_filter)

#endif
