"""Values that outlive an instance, shared by all sessions and private to the policy. Needs the capability ``state``.

Keys are at most 256 bytes, values at most 65536; an entry lives for ``ttl_seconds`` (at most 604800) after its last change.
"""

from contextlib import contextmanager
from typing import Iterator

from portcullis._bindings import IN_COMPONENT, interface

_state = interface("state")


class StateError(Exception):
    """A change would exceed a bound, or the value is no counter."""


def get(key: str) -> bytes | None:
    """The value of a key."""
    return _state.get(key)


def put(key: str, value: bytes, ttl_seconds: int) -> None:
    """Sets the value of a key. Raises :class:`StateError` where a bound is reached."""
    with _errors():
        _state.put(key, value, ttl_seconds)


def increment(key: str, by: int, ttl_seconds: int) -> int:
    """Adds to a counter and returns the sum; a key that is not there counts as 0. The time to live runs from the first
    increment, so that a counter is a window. Raises :class:`StateError`."""
    with _errors():
        return _state.increment(key, by, ttl_seconds)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise StateError(refused.value) from None


if IN_COMPONENT:
    from componentize_py_types import Err as Refused
else:
    from portcullis.testing.host import Refused
