"""Doubles of what the host gives a policy, for tests on any machine::

    from portcullis import Effects
    from portcullis.testing import session, sql, statement

    alice = session("alice", groups=["dev"])
    drop = sql("DROP TABLE x", statement("DROP TABLE", relations={"public.x": Effects.DDL}))

What the host's functions remember lasts until :func:`reset`, which a test calls first if it needs to.
"""

from portcullis.testing.facts import chunk, column, result, session, sql, statement, unreadable
from portcullis.testing.host import detector, lines, reset, set_now_ms, set_state_failing

__all__ = [
    "chunk",
    "column",
    "detector",
    "lines",
    "reset",
    "result",
    "session",
    "set_now_ms",
    "set_state_failing",
    "sql",
    "statement",
    "unreadable",
]
