from policy import NoMassDelete
from portcullis import Decision, Effects, load
from portcullis.testing import session, sql, statement

ALICE = session("alice")


def delete(**facts):
    return sql("DELETE FROM orders", statement("DELETE", relations={"orders": Effects.WRITE}, **facts))


def test_a_delete_without_where_is_refused():
    verdict = load(NoMassDelete, "{}").check(ALICE, delete(has_where=False))
    assert verdict.decision == Decision.DENY
    assert [finding.rule for finding in verdict.findings] == ["no-where"]


def test_the_message_can_be_set():
    policy = load(NoMassDelete, '{"message": "ask the data team"}')
    assert policy.check(ALICE, delete(has_where=False)).message == "ask the data team"


def test_a_delete_with_a_where_runs():
    assert load(NoMassDelete, "{}").check(ALICE, delete()).decision == Decision.ALLOW


def test_one_of_several_statements_is_enough():
    both = sql("SELECT 1; DELETE FROM orders", statement("SELECT"), statement("DELETE", has_where=False))
    assert load(NoMassDelete, "{}").check(ALICE, both).decision == Decision.DENY
