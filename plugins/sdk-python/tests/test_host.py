import pytest

from portcullis import Effects, clock, crypto, detect, log, random, state
from portcullis import testing
from portcullis.testing import chunk, session, sql, statement, unreadable


@pytest.fixture(autouse=True)
def fresh():
    testing.reset()


def test_values_of_a_chunk_are_found_and_null_is_none():
    values = ["a", None, "", "längst", None, "b", "c", "d", "e", None]
    expected = [b"a", None, b"", "längst".encode(), None, b"b", b"c", b"d", b"e", None]
    made = chunk(3, *values)
    assert list(made) == expected
    assert [made[row] for row in range(len(made))] == expected
    with pytest.raises(IndexError):
        made[10]


def test_a_detector_finds_what_it_was_told():
    testing.detector("email", finds="a@b.c", score=70)
    made = chunk(0, "nothing", "é a@b.c a@b.c", None)
    hits = detect.scan(["card", "email"], made)
    assert [(h.row, h.start, h.len, h.detector, h.score) for h in hits] == [(1, 3, 5, 1, 70), (1, 9, 5, 1, 70)]
    assert [made.found(hit) for hit in hits] == [b"a@b.c"] * 2


def test_a_counter_is_a_window():
    testing.set_now_ms(1000)
    assert [state.increment("k", 2, 10) for _ in range(3)] == [2, 4, 6]
    testing.set_now_ms(11_000)
    assert state.increment("k", -1, 10) == -1
    state.put("text", b"abc", 1)
    with pytest.raises(state.StateError, match="not a counter"):
        state.increment("text", 1, 1)
    assert state.get("text") == b"abc"
    testing.set_state_failing(True)
    with pytest.raises(state.StateError, match="full"):
        state.put("text", b"d", 1)


def test_the_other_functions_of_the_host():
    testing.set_now_ms(7)
    log.warn("careful")
    assert (clock.now_ms(), testing.lines(), len(random.bytes(5))) == (7, [("warn", "careful")], 5)
    first, second, again = crypto.hmac_each([b"a", b"bc", b"a"], 8)
    assert len(first) == 8 and first == again != second


def test_facts_are_what_the_test_says():
    alice = session("alice", groups=["dev"], labels={"env": "production"})
    assert (alice.groups(), alice.label("env"), alice.label("x")) == (["dev"], "production", None)
    drop = statement("DROP TABLE", relations={"public.x": Effects.DDL}, effects=Effects.READ)
    assert drop.effects() == Effects.DDL | Effects.READ
    assert (drop.relations()[0].schema, drop.relations()[0].name) == ("public", "x")
    assert sql("DRÖP", drop).text(3) == "DR"
    with pytest.raises(AssertionError, match="was not read"):
        unreadable("?").sql()
