#include "testing.h"

static void configure(const char *settings) {
    const pc_json *json = pc_json_read(pc_string(settings));
    pc_setting_errors errors = {0};
    pc_expect(json && policy_configure(json, &errors));
}

static pc_edit filter(const char *settings, const char *const *values, uint32_t count) {
    configure(settings);
    pc_session session = {0};
    pc_command command = {0};
    pc_result_set result = {0};
    pc_chunk chunk = pc_test_chunk(0, values, count);
    pc_edit edit = {0};
    pc_batch batch = {.edits = {&edit, 1}};
    pc_error error = {0};
    pc_expect(policy_filter(&session, &command, &result, count, (pc_chunks){&chunk, 1}, &batch, &error));
    return edit;
}

int main(void) {
    pc_test("columns that may hold text are searched");
    const char *const types[] = {"int4", "text", "_uuid", "_varchar", "title"};
    pc_column columns[5] = {0};
    for (int i = 0; i < 5; i++) {
        columns[i].type_name = pc_string(types[i]);
    }
    configure("{}");
    pc_session session = {0};
    pc_command command = {0};
    pc_result_set result = {{columns, 5}};
    pc_plan plan = {0};
    pc_error error = {0};
    pc_expect(policy_plan(&session, &command, &result, &plan, &error));
    pc_expect(plan.rules.count == 3);
    pc_expect(plan.rules.items[0].column == 1 && plan.rules.items[1].column == 3 && plan.rules.items[2].column == 4);

    pc_test("addresses are covered up to their domains, or whole");
    const char *const values[] = {"nothing", NULL, "to anna@example.com"};
    pc_test_host.detector = "email";
    pc_test_host.finds = "anna@example.com";
    pc_edit edit = filter("{}", values, 3);
    pc_expect(edit.of.spans.rows.count == 1 && edit.of.spans.rows.items[0] == 2);
    pc_expect(edit.of.spans.starts.items[0] == 3 && edit.of.spans.lens.items[0] == 4);
    edit = filter("{\"keep_domain\": false}", values, 3);
    pc_expect(edit.of.spans.lens.items[0] == 16);

    pc_test("a chunk without an address stays as it is");
    const char *const nothing[] = {"nothing"};
    pc_expect(filter("{}", nothing, 1).kind == 0);
}
