"""What a policy answers about results."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Iterator, Union

if TYPE_CHECKING:
    from portcullis.detect import Hit


@dataclass(frozen=True)
class Mask:
    """A mask that the host applies itself, the fastest way to hide a value: ``date-to-year``, ``email``, ``hash``, ``null``,
    ``redact``, or one with parameters."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def constant(cls, value: str) -> Mask:
        """The same value for every row."""
        return cls("constant", {"value": value})

    @classmethod
    def keep_last(cls, count: int) -> Mask:
        """All characters but the last ``count`` become ``*``."""
        return cls("keep-last", {"count": str(count)})


@dataclass(frozen=True)
class Inspect:
    """The values of the column are handed to ``filter``."""


@dataclass(frozen=True)
class Deny:
    """Refuses the whole result."""

    message: str


Action = Union[Mask, Inspect, Deny]


@dataclass
class Plan:
    """What happens to the columns of a result, by their index. Columns without an action are kept."""

    actions: dict[int, Action] = field(default_factory=dict)
    max_rows: int | None = None


@dataclass(frozen=True)
class Chunk:
    """One inspected column of a batch: its values lie one after another in ``data``, and value ``i`` ends at ``ends[i]``."""

    column: int
    nulls: bytes
    ends: list[int]
    data: bytes

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, row: int) -> bytes | None:
        """The value in this row; ``None`` is NULL."""
        if not 0 <= row < len(self.ends):
            raise IndexError(row)
        if self.nulls[row // 8] >> row % 8 & 1:
            return None
        return self.data[self.ends[row - 1] if row else 0 : self.ends[row]]

    def __iter__(self) -> Iterator[bytes | None]:
        for row, (start, end) in enumerate(pairwise([0, *self.ends])):
            yield None if self.nulls[row // 8] >> row % 8 & 1 else self.data[start:end]

    def found(self, hit: Hit) -> bytes:
        """The bytes of a hit in it."""
        start = (self.ends[hit.row - 1] if hit.row else 0) + hit.start
        return self.data[start : start + hit.len]


@dataclass
class Spans:
    """Overwrites bytes of values with a printable ASCII character. Spans begin and end at boundaries of characters."""

    rows: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    lens: list[int] = field(default_factory=list)
    fill: str = "*"

    def add(self, row: int, start: int, length: int) -> None:
        """Adds the bytes ``start..start + length`` of the value in a row."""
        self.rows.append(row)
        self.starts.append(start)
        self.lens.append(length)


@dataclass
class Patch:
    """New values, in the text form of the column's type. NULL stays NULL: it is not to be given a value."""

    values: dict[int, bytes | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Keep:
    """Leaves the chunk alone. Said explicitly, so that a forgotten ``return`` shows nothing to anybody."""


Edit = Union[Keep, Spans, Patch]


@dataclass
class BatchResult:
    """What happens to a batch: one edit for each chunk, in order, and the rows that the client is not to see. ``abort``
    refuses the rest of the result with a message."""

    edits: list[Edit]
    drop_rows: list[int] = field(default_factory=list)
    abort: str | None = None
