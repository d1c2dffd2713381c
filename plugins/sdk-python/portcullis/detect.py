"""Native detectors of personal data and secrets, which scan all values of a chunk in one call. Always available."""

from __future__ import annotations

from dataclasses import dataclass

from portcullis._bindings import interface
from portcullis.rows import Chunk

_detect = interface("detect")


@dataclass(frozen=True)
class Hit:
    """A place in the value of a row that looks like what a detector looks for, in bytes.

    ``detector`` is its index in the request, ``score`` how sure it is: 50 for a shape, 100 for a shape with a checksum that holds.
    """

    row: int
    start: int
    len: int
    detector: int
    score: int


def names() -> list[str]:
    """``email``, ``card``, ``ssn``, ``iban``, ``phone``, ``secret``."""
    return _detect.names()


def scan(detectors: list[str], chunk: Chunk) -> list[Hit]:
    """The hits in a chunk, in order; within a value they do not overlap."""
    return [Hit(h.value, h.start, h.len, h.detector, h.score) for h in _detect.scan(detectors, chunk.ends, chunk.data)]
