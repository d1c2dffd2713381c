/* Refuses a DELETE, or an UPDATE, without a WHERE clause. */
#include "portcullis.h"

static pc_text message;

bool policy_configure(const pc_json *settings, pc_setting_errors *errors) {
    (void)errors;
    const pc_json *given = pc_json_member(settings, "message");
    message = given ? pc_keep(given->string) : pc_string("this would change every row; add a WHERE clause");
    return true;
}

/* Looks at every statement, since a client may send several at once. A command that the gateway could not read has none, and asking
 * for them denies it. */
bool policy_check(pc_session *session, pc_command *command, pc_verdict *verdict, pc_error *error) {
    (void)session, (void)error;
    pc_statements statements = pc_command_sql(command);
    for (uint32_t i = 0; i < statements.count; i++) {
        if (!pc_statement_has_where(statements.items[i])) {
            pc_text verb = pc_statement_verb(statements.items[i]);
            pc_deny(verdict, message);
            pc_find(verdict, "no-where", pc_format("%.*s without a WHERE clause", (int)verb.len, verb.data));
            return true;
        }
    }
    return true;
}
