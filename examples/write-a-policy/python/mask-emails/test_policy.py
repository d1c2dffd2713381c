import pytest

from policy import MaskEmails
from portcullis import Inspect, Keep, Spans, load
from portcullis.testing import chunk, column, detector, reset, result, session, sql, statement

ALICE = session("alice")
SELECT = sql("SELECT note FROM tickets", statement("SELECT"))
NOTES = result(column("note"))


@pytest.fixture(autouse=True)
def anna():
    reset()
    detector("email", finds="anna@example.com")


def edit(settings: str, *values):
    return load(MaskEmails, settings).filter(ALICE, SELECT, NOTES, len(values), [chunk(0, *values)]).edits[0]


def test_text_columns_are_inspected_and_others_are_not():
    columns = result(column("id", "int4"), column("note", "text"), column("subject", "varchar"), column("at", "date"))
    assert load(MaskEmails, "{}").plan(ALICE, SELECT, columns).actions == {1: Inspect(), 2: Inspect()}


def test_an_address_is_covered_up_to_its_domain():
    assert edit("{}", None, "to anna@example.com") == Spans(rows=[1], starts=[3], lens=[4])


def test_the_domain_can_be_covered_too():
    assert edit('{"keep_domain": false}', "anna@example.com") == Spans(rows=[0], starts=[0], lens=[16])


def test_a_batch_without_addresses_is_left_alone():
    assert edit("{}", "nothing", None) == Keep()
