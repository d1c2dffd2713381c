/* Portcullis policies in C.
 *
 * A policy implements the functions under "What a policy answers", as many as its hooks need; the rest is what it can use. In a
 * component everything here lies in memory as the interface wants it, so that nothing is converted. wit/policy.wit documents
 * every type.
 *
 * A policy is asked one question at a time. What the functions below return, and what `pc_alloc` gives, lives until the question has been
 * answered; what lasts longer is the policy's own. To end with a message and the place in the gateway's log, use `assert`. */
#ifndef PORTCULLIS_H
#define PORTCULLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Texts and lists ---- */

/* UTF-8, without a zero at its end. */
typedef struct { const char *data; uint32_t len; } pc_text;
typedef struct { const pc_text *items; uint32_t count; } pc_texts;
typedef struct { bool some; pc_text text; } pc_optional_text;
typedef struct { const uint8_t *data; uint32_t len; } pc_bytes;

/* Memory that lives until the question has been answered. */
void *pc_alloc(size_t size);
/* A copy of a text that is never freed, for settings. */
pc_text pc_keep(pc_text text);
/* The text of a string that ends with a zero, and lives long enough. */
pc_text pc_string(const char *string);
/* A new text, as printf makes it. */
pc_text pc_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool pc_equal(pc_text text, const char *string);

/* ---- Facts: each function is a call of the host and a copy, so read what you need, once ---- */

/* A principal's connection to a target. */
typedef struct pc_session pc_session;
pc_text pc_session_id(pc_session *session);
pc_text pc_session_protocol(pc_session *session);
pc_text pc_session_principal(pc_session *session);
pc_texts pc_session_groups(pc_session *session);
pc_text pc_session_target(pc_session *session);
/* A label of the target, if it has that one. */
pc_optional_text pc_session_label(pc_session *session, pc_text name);
pc_text pc_session_client_address(pc_session *session);
/* `certificate` or `scram-sha-256`. */
pc_text pc_session_credential(pc_session *session);
pc_optional_text pc_session_reason(pc_session *session);

typedef enum { PC_PREPARE, PC_EXECUTE } pc_phase;

/* What running a statement may do; bits of a number. */
enum {
    PC_READ = 1 << 0,
    PC_WRITE = 1 << 1,
    PC_DDL = 1 << 2,
    PC_PRIVILEGE = 1 << 3,
    PC_SESSION_STATE = 1 << 4,
    PC_TRANSACTION = 1 << 5,
    PC_COPY_IN = 1 << 6,
    PC_COPY_OUT = 1 << 7,
    PC_SERVER_FILE = 1 << 8,
    /* Runs text that the host cannot see: treat it as able to do anything. */
    PC_OPAQUE = 1 << 9,
};

typedef struct { pc_text schema, name; uint16_t effects; } pc_relation;
typedef struct { const pc_relation *items; uint32_t count; } pc_relations;
typedef struct { pc_text schema, relation, name; } pc_column_ref;
typedef struct { const pc_column_ref *items; uint32_t count; } pc_column_refs;
/* A value bound to a placeholder; without `some` it is NULL. */
typedef struct { bool some; pc_bytes value; bool binary; } pc_parameter;
typedef struct { const pc_parameter *items; uint32_t count; } pc_parameters;

/* One SQL statement. */
typedef struct pc_statement pc_statement;
typedef struct { pc_statement *const *items; uint32_t count; } pc_statements;
pc_text pc_statement_dialect(pc_statement *statement);
/* The leading verb in upper case, such as `DROP TABLE`. */
pc_text pc_statement_verb(pc_statement *statement);
uint16_t pc_statement_effects(pc_statement *statement);
pc_relations pc_statement_relations(pc_statement *statement);
pc_column_refs pc_statement_columns_read(pc_statement *statement);
pc_texts pc_statement_functions(pc_statement *statement);
/* False when an UPDATE or DELETE anywhere in it has no WHERE clause, or one that is a constant. */
bool pc_statement_has_where(pc_statement *statement);

/* A column of a result. Its name proves nothing: whoever writes the query chooses it. */
typedef struct {
    pc_text name, type_name;
    /* False for a plain copy of one base column. */
    bool computed;
    /* None means that the host does not know, unless `computed` is false. */
    pc_column_refs origins;
    pc_texts labels;
} pc_column;
typedef struct { const pc_column *items; uint32_t count; } pc_columns;

/* One command. */
typedef struct pc_command pc_command;
pc_text pc_command_kind(pc_command *command);
pc_phase pc_command_phase(pc_command *command);
/* The first bytes of the exact text that will run. */
pc_text pc_command_text(pc_command *command, uint32_t max_bytes);
/* False when the host could not read it. Asking for its fingerprint or its statements then denies, whatever the policy answers. */
bool pc_command_parsed(pc_command *command);
pc_text pc_command_fingerprint(pc_command *command);
pc_statements pc_command_sql(pc_command *command);
pc_parameters pc_command_parameters(pc_command *command);
/* What decides which rows it finds, in which order and in which groups, with the base columns that each derives from. */
pc_columns pc_command_conditions(pc_command *command);

/* A result before its first row. */
typedef struct pc_result_set pc_result_set;
uint64_t pc_result_set_id(pc_result_set *result);
pc_columns pc_result_set_columns(pc_result_set *result);

/* ---- What the host does ---- */

typedef enum { PC_TRACE, PC_DEBUG, PC_INFO, PC_WARN, PC_ERROR } pc_level;
/* Writes a line of at most 1024 bytes to the gateway's log. */
void pc_log(pc_level level, pc_text message);
/* Milliseconds since the Unix epoch. Needs the capability `clock`. */
uint64_t pc_now_ms(void);
/* At most 4096 bytes. Needs the capability `random`. */
pc_bytes pc_random(uint32_t count);

/* Values that outlive an instance; they need the capability `state`. Changes fail with a message. */
bool pc_state_get(pc_text key, pc_bytes *value);
bool pc_state_put(pc_text key, pc_bytes value, uint32_t ttl_seconds, pc_text *failure);
bool pc_state_increment(pc_text key, int64_t by, uint32_t ttl_seconds, int64_t *sum, pc_text *failure);

/* Bytes of a value that look like what a detector looks for. */
typedef struct {
    uint32_t value, start, len;
    /* The detector's index in the request. */
    uint32_t detector;
    /* 50 for a shape, 100 for a shape with a checksum that holds. */
    uint8_t score;
} pc_hit;
typedef struct { const pc_hit *items; uint32_t count; } pc_hits;
typedef struct { const uint32_t *items; uint32_t count; } pc_numbers;
pc_texts pc_detectors(void);
/* Scans values of which one ends where the next begins. Hits are in order and do not overlap within a value. */
pc_hits pc_scan(pc_texts detectors, pc_numbers ends, pc_bytes data);
/* 1 to 32 bytes of each value's HMAC, one after another. Needs the capability `crypto`. */
pc_bytes pc_hmac_each(pc_numbers ends, pc_bytes data, uint32_t len);

/* ---- Settings: a JSON text, read ---- */

typedef enum { PC_NULL, PC_BOOLEAN, PC_NUMBER, PC_STRING, PC_ARRAY, PC_OBJECT } pc_json_kind;
typedef struct pc_json pc_json;
struct pc_json {
    pc_json_kind kind;
    bool boolean;
    double number;
    pc_text string;
    /* Of an array its elements, of an object its members; `key` is a member's name. */
    pc_json *first, *next;
    pc_text key;
};
/* NULL if it is no JSON text. */
const pc_json *pc_json_read(pc_text text);
/* A member, or NULL if the object has none of that name. */
const pc_json *pc_json_member(const pc_json *object, const char *name);

/* ---- Answers ---- */

/* A policy cannot answer, which denies. The message goes to the client. */
typedef struct { pc_text code, message; } pc_error;

typedef struct { pc_text path, message; } pc_setting_error;
typedef struct { pc_setting_error *items; uint32_t count; } pc_setting_errors;
/* Notes what is wrong at a JSON pointer (RFC 6901), such as `/rules/0/verbs`. */
void pc_wrong(pc_setting_errors *errors, const char *path, const char *message);

typedef enum { PC_ALLOW, PC_DENY, PC_REVIEW } pc_decision;
typedef struct { pc_text rule, message; } pc_finding;
typedef struct {
    /* The groups whose members may approve. */
    pc_texts any_of;
    uint32_t quorum, ttl_seconds;
    /* 1 if it serves identical commands of the same principal on the same target until it expires. */
    uint8_t same_command;
    pc_text reason;
} pc_approval;
typedef struct {
    uint8_t decision;
    pc_optional_text message, rewrite;
    struct { bool some; pc_approval approval; } review;
    struct { pc_finding *items; uint32_t count; } findings;
} pc_verdict;
/* A verdict allows until one of these changes it. */
void pc_deny(pc_verdict *verdict, pc_text message);
void pc_review(pc_verdict *verdict, pc_approval approval);
void pc_rewrite(pc_verdict *verdict, pc_text text);
/* A fact for the audit, at most 32 of them; never a value of a result or a parameter. */
void pc_find(pc_verdict *verdict, const char *rule, pc_text message);

typedef struct { pc_text name, value; } pc_mask_parameter;
typedef struct {
    uint8_t kind;
    /* Of a mask its name, of a refusal the message. */
    pc_text text;
    struct { const pc_mask_parameter *items; uint32_t count; } parameters;
} pc_action;
typedef struct { uint32_t column; pc_action action; } pc_rule;
typedef struct {
    struct { pc_rule *items; uint32_t count; } rules;
    struct { bool some; uint64_t count; } max_rows;
} pc_plan;
/* A plan keeps every column until one of these changes it; at most once a column. */
void pc_inspect(pc_plan *plan, uint32_t column);
/* The host's own mask, the fastest way to hide values: `constant` (`value`), `date-to-year`, `email`, `hash`, `keep-last` (`count`),
 * `null`, `redact`. `parameter` is NULL for one that has none. */
void pc_mask(pc_plan *plan, uint32_t column, const char *mask, const char *parameter, pc_text value);
/* Refuses the whole result. */
void pc_refuse(pc_plan *plan, uint32_t column, pc_text message);

/* An inspected column of a batch: value `i` lies in `data` from the end of the one before to `ends.items[i]`. */
typedef struct { uint32_t column; pc_bytes nulls; pc_numbers ends; pc_bytes data; } pc_chunk;
typedef struct { const pc_chunk *items; uint32_t count; } pc_chunks;
/* The value in a row; false if it is NULL. */
bool pc_value(const pc_chunk *chunk, uint32_t row, pc_bytes *value);

typedef struct {
    uint8_t kind;
    union {
        struct { pc_numbers rows, starts, lens; uint8_t fill; } spans;
        struct { pc_numbers rows; pc_bytes nulls; pc_numbers ends; pc_bytes data; } patch;
    } of;
} pc_edit;
typedef struct {
    /* One for each chunk. */
    struct { pc_edit *items; uint32_t count; } edits;
    /* Rows that the client is not to see. */
    pc_numbers drop_rows;
    /* Refuses the rest of the result with this message. */
    pc_optional_text abort;
} pc_batch;
/* An edit keeps every value until one of these changes it. They are added in the order of the rows, and an edit has either spans or new
 * values. Bytes `start` to `start + len` of a value become '*'; both lie between characters. */
void pc_cover(pc_edit *edit, uint32_t row, uint32_t start, uint32_t len);
/* A new value in the text form of the column's type; NULL if `value` is. */
void pc_replace(pc_edit *edit, uint32_t row, const pc_bytes *value);

/* ---- What a policy answers. Where a function returns false, `error` or `errors` says why ---- */

/* Takes the settings, which fit the package's schema. */
bool policy_configure(const pc_json *settings, pc_setting_errors *errors);

/* The hook `commands`. */
bool policy_open(pc_session *session, pc_verdict *verdict, pc_error *error);
bool policy_check(pc_session *session, pc_command *command, pc_verdict *verdict, pc_error *error);
/* Asked in place of `policy_check` once these people have granted its review. Unless a policy has it, the command is checked again. */
bool policy_approved(pc_session *session, pc_command *command, pc_texts approvers, pc_verdict *verdict, pc_error *error);

/* The hook `rows`. A policy that does not inspect needs no `policy_filter`. */
bool policy_plan(pc_session *session, pc_command *command, pc_result_set *result, pc_plan *plan, pc_error *error);
bool policy_filter(pc_session *session, pc_command *command, pc_result_set *result, uint32_t rows, pc_chunks chunks, pc_batch *batch,
                   pc_error *error);

#endif
