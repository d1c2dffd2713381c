#include "testing.h"

#include <string.h>

static const pc_json *read(const char *text) { return pc_json_read(pc_string(text)); }

static void settings(void) {
    pc_test("settings are read");
    const pc_json *json = read(" {\"a\\u00e9\\ud83d\\ude00\": [1, -2.5e1, true, null, \"x\\n\\\"\\\\\"], \"b\": {}} ");
    pc_expect(json && json->kind == PC_OBJECT);
    const pc_json *list = pc_json_member(json, "a\xc3\xa9\xf0\x9f\x98\x80");
    pc_expect(list && list->kind == PC_ARRAY);
    const pc_json *one = list->first, *two = one->next, *three = two->next, *four = three->next, *five = four->next;
    pc_expect(one->number == 1 && two->number == -25 && three->boolean && four->kind == PC_NULL && !five->next);
    pc_expect(pc_equal(five->string, "x\n\"\\"));
    pc_expect(pc_json_member(json, "b")->kind == PC_OBJECT && !pc_json_member(json, "c"));

    pc_test("what is no JSON is refused");
    const char *const wrong[] = {"", "{", "[1,]", "{\"a\" 1}", "{\"a\":}", "01", "1.", "1e", "-", "\"", "\"\\", "\"\\x\"", "\"\\ud800\"",
                                 "\"\\u12", "\"\n\"", "tru", "{} {}", "nan", "[1 2]", "\"\\ud800\\u0041\""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (read(wrong[i])) {
            pc_test(wrong[i]);
        }
        pc_expect(!read(wrong[i]));
    }
    char deep[201] = {0};
    memset(deep, '[', 100);
    memset(deep + 100, ']', 100);
    pc_expect(!read(deep));
    deep[130] = 0;
    pc_expect(read(deep + 70));
}

static void answers(void) {
    pc_test("messages are cut at a character's boundary");
    char text[1100];
    memset(text, 'x', sizeof text);
    memcpy(text + 1023, "\xc3\xa9", 2);
    pc_verdict verdict = {0};
    pc_deny(&verdict, (pc_text){text, sizeof text});
    pc_expect(verdict.message.text.len == 1023);

    pc_test("there are at most 32 findings");
    for (int i = 0; i < 40; i++) {
        pc_find(&verdict, "rule", pc_format("%d", i));
    }
    pc_expect(verdict.findings.count == 32 && pc_equal(verdict.findings.items[31].message, "31"));

    pc_test("new values are laid out as the interface says");
    pc_edit edit = {0};
    pc_bytes ab = {(const uint8_t *)"ab", 2};
    for (uint32_t row = 0; row < 10; row++) {
        pc_replace(&edit, row, row == 1 || row == 9 ? NULL : &ab);
    }
    pc_expect(edit.of.patch.nulls.len == 2 && edit.of.patch.nulls.data[0] == 2 && edit.of.patch.nulls.data[1] == 2);
    pc_expect(edit.of.patch.ends.count == 10 && edit.of.patch.ends.items[1] == 2 && edit.of.patch.ends.items[9] == 16);
    pc_expect(edit.of.patch.data.len == 16 && memcmp(edit.of.patch.data.data, "abababababababab", 16) == 0);

    pc_test("a value is found in its row");
    const char *const values[] = {"ab", NULL, "cde"};
    pc_chunk chunk = pc_test_chunk(0, values, 3);
    pc_bytes value;
    pc_expect(pc_value(&chunk, 0, &value) && value.len == 2);
    pc_expect(!pc_value(&chunk, 1, &value));
    pc_expect(pc_value(&chunk, 2, &value) && value.len == 3 && memcmp(value.data, "cde", 3) == 0);
}

int main(void) {
    settings();
    answers();
}
