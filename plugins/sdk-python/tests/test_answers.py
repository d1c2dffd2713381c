import pytest

from portcullis import Decision, Policy, SettingErrors, Verdict, load


def test_answers_stay_within_the_interface():
    verdict = Verdict.deny("x" * 1023 + "é\0").finding("é" * 100, "\0")
    assert verdict.decision == Decision.DENY
    assert verdict.message == "x" * 1023
    assert len(verdict.findings[0].rule.encode()) == 128
    assert verdict.findings[0].message == " "


class Numbers(Policy):
    def __init__(self, settings):
        self.numbers = settings["numbers"]
        errors = SettingErrors()
        for index, number in enumerate(self.numbers):
            errors.check(number > 0, f"/numbers/{index}", "a number is more than 0")
        errors.raise_any()


def test_all_that_is_wrong_in_settings_is_told_at_once():
    assert load(Numbers, '{"numbers": [1, 2]}').numbers == [1, 2]
    with pytest.raises(SettingErrors) as raised:
        load(Numbers, '{"numbers": [1, -2, 0]}')
    assert [error.path for error in raised.value.errors] == ["/numbers/1", "/numbers/2"]


@pytest.mark.parametrize("text", ["[]", '{"numbers": ', "7"])
def test_settings_are_a_json_object(text):
    with pytest.raises(SettingErrors):
        load(Numbers, text)
