"""The time. Needs the capability ``clock``."""

from portcullis._bindings import interface

_clock = interface("clock")


def now_ms() -> int:
    """Milliseconds since the Unix epoch."""
    return _clock.now_ms()
