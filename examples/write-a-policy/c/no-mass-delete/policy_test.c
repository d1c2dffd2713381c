#include "testing.h"

static pc_verdict check(const char *settings, pc_statements statements) {
    const pc_json *json = pc_json_read(pc_string(settings));
    pc_setting_errors errors = {0};
    pc_expect(json && policy_configure(json, &errors));
    pc_session session = {0};
    pc_command command = {.statements = statements};
    pc_verdict verdict = {0};
    pc_error error = {0};
    pc_expect(policy_check(&session, &command, &verdict, &error));
    return verdict;
}

int main(void) {
    pc_statement all = {.verb = "DELETE", .no_where = true}, some = {.verb = "DELETE"};

    pc_test("a DELETE of every row is refused, of some rows not");
    pc_expect(check("{}", (pc_statements){(pc_statement *[]){&all}, 1}).decision == PC_DENY);
    pc_expect(check("{}", (pc_statements){(pc_statement *[]){&some}, 1}).decision == PC_ALLOW);

    pc_test("every statement counts");
    pc_verdict verdict = check("{}", (pc_statements){(pc_statement *[]){&some, &all}, 2});
    pc_expect(verdict.decision == PC_DENY && verdict.findings.count == 1);
    pc_expect(pc_equal(verdict.findings.items[0].message, "DELETE without a WHERE clause"));

    pc_test("the client is told what the settings say");
    verdict = check("{\"message\": \"not all of them\"}", (pc_statements){(pc_statement *[]){&all}, 1});
    pc_expect(pc_equal(verdict.message.text, "not all of them"));
}
