"""The host's functions."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from enum import Enum


class Refused(Exception):
    """A function of the host gave its error."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


@dataclass
class _Entry:
    value: bytes
    expires_ms: int


_now_ms = 0
_state_fails = False
_entries: dict[str, _Entry] = {}
_needles: dict[str, tuple[bytes, int]] = {}
_lines: list[tuple[str, str]] = []


def reset() -> None:
    """Forgets everything: the time is 0, the state empty, no detector finds anything, no line was written."""
    set_now_ms(0)
    set_state_failing(False)
    for memory in (_entries, _needles, _lines):
        memory.clear()


def set_now_ms(now: int) -> None:
    """Sets the time."""
    global _now_ms
    _now_ms = now


def set_state_failing(fails: bool) -> None:
    """Makes every change of the state fail, or work again."""
    global _state_fails
    _state_fails = fails


def detector(name: str, *, finds: str, score: int = 50) -> None:
    """Makes a detector find this text, with this score, and no other."""
    _needles[name] = (finds.encode(), score)


def lines() -> list[tuple[str, str]]:
    """The lines that were written to the log, with their level."""
    return list(_lines)


class log:
    class Level(Enum):
        TRACE = 0
        DEBUG = 1
        INFO = 2
        WARN = 3
        ERROR = 4

    @staticmethod
    def write(level: Level, message: str) -> None:
        _lines.append((level.name.lower(), message))


class clock:
    @staticmethod
    def now_ms() -> int:
        return _now_ms


class random:
    @staticmethod
    def bytes(n: int) -> bytes:
        """The same in each run."""
        assert n <= 4096, "random.bytes gives at most 4096 bytes a call"
        return bytes(i % 256 for i in range(n))


class state:
    @staticmethod
    def get(key: str) -> bytes | None:
        entry = _live(key)
        return entry and entry.value

    @staticmethod
    def put(key: str, value: bytes, ttl_seconds: int) -> None:
        _store(key, _Entry(value, _now_ms + ttl_seconds * 1000))

    @staticmethod
    def increment(key: str, by: int, ttl_seconds: int) -> int:
        entry = _live(key) or _Entry(bytes(8), _now_ms + ttl_seconds * 1000)
        if len(entry.value) != 8:
            raise Refused("the value is not a counter")
        total = int.from_bytes(entry.value, "little", signed=True) + by
        if not -(2**63) <= total < 2**63:
            raise Refused("the counter overflows")
        _store(key, _Entry(total.to_bytes(8, "little", signed=True), entry.expires_ms))
        return total


class detect:
    @dataclass
    class Hit:
        value: int
        start: int
        len: int
        detector: int
        score: int

    @staticmethod
    def names() -> list[str]:
        return ["email", "card", "ssn", "iban", "phone", "secret"]

    @staticmethod
    def scan(detectors: list[str], ends: list[int], data: bytes) -> list[Hit]:
        hits = []
        for value, (start, end) in enumerate(zip([0, *ends], ends)):
            for index, (text, score) in enumerate(_needles.get(name, (b"", 0)) for name in detectors):
                found = re.finditer(re.escape(text), data[start:end]) if text else ()
                hits += [detect.Hit(value, m.start(), len(text), index, score) for m in found]
        return sorted(hits, key=lambda hit: (hit.value, hit.start))


class crypto:
    @staticmethod
    def hmac_each(ends: list[int], data: bytes, out_len: int) -> bytes:
        """Under a key that everybody knows."""
        values = (data[start:end] for start, end in zip([0, *ends], ends))
        return b"".join(hmac.digest(b"test", value, "sha256")[:out_len] for value in values)


def _live(key: str) -> _Entry | None:
    entry = _entries.get(key)
    return entry if entry and entry.expires_ms > _now_ms else None


def _store(key: str, entry: _Entry) -> None:
    if _state_fails:
        raise Refused("the state is full")
    _entries[key] = entry
