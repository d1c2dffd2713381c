"""Randomness from the operating system. Needs the capability ``random``."""

import builtins

from portcullis._bindings import interface

_random = interface("random")


def bytes(n: int) -> builtins.bytes:
    """``n`` random bytes, at most 4096."""
    return _random.bytes(n)
