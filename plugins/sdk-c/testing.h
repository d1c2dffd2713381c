/* Doubles of what the host gives a policy, for tests on any machine. A test fills these structures in and calls the policy's functions
 * with them. */
#ifndef PORTCULLIS_TESTING_H
#define PORTCULLIS_TESTING_H

#include "portcullis.h"

#define PC_LIST(type, ...) {(const type[]){__VA_ARGS__}, sizeof((const type[]){__VA_ARGS__}) / sizeof(type)}

/* A session; `principal` is NULL for alice, and `target` for app. Of labels it has one. */
struct pc_session {
    const char *principal, *target, *reason, *label, *label_value;
    pc_texts groups;
};

struct pc_statement {
    const char *verb;
    uint16_t effects;
    pc_relations relations;
    pc_column_refs columns_read;
    pc_texts functions;
    bool no_where;
};

/* A command that is to run. Asking one that is unreadable for facts ends the test. */
struct pc_command {
    const char *text;
    pc_phase phase;
    bool unreadable;
    pc_statements statements;
    pc_parameters parameters;
    pc_columns conditions;
};

struct pc_result_set {
    pc_columns columns;
};

/* The host of the running test. */
typedef struct {
    uint64_t now_ms;
    /* Makes every change of the state fail. */
    bool state_fails;
    /* The text that a detector finds, and no other. */
    const char *detector, *finds;
    /* The last line of the log. */
    char line[1025];
} pc_host;
extern pc_host pc_test_host;

/* A chunk of texts; NULL is NULL. */
pc_chunk pc_test_chunk(uint32_t column, const char *const *values, uint32_t count);

/* Begins a test: a host without state, its clock at 0, its detectors finding nothing. */
void pc_test(const char *name);
/* Ends the test program, if this does not hold, with the place. */
#define pc_expect(condition) pc_test_expect(condition, #condition, __FILE__, __LINE__)
void pc_test_expect(bool holds, const char *condition, const char *file, int line);

#endif
