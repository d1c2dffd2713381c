"""Sessions, commands and results. The methods and records are those of `wit/policy.wit`, which documents them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from functools import reduce
from itertools import accumulate
from operator import or_

from portcullis.rows import Chunk


class Phase(Enum):
    PREPARE = 0
    EXECUTE = 1


class Effects(Flag):
    READ = auto()
    WRITE = auto()
    DDL = auto()
    PRIVILEGE = auto()
    SESSION_STATE = auto()
    TRANSACTION = auto()
    COPY_IN = auto()
    COPY_OUT = auto()
    SERVER_FILE = auto()
    OPAQUE = auto()


@dataclass
class Relation:
    schema: str
    name: str
    effects: Effects


@dataclass
class ColumnRef:
    schema: str
    relation: str
    name: str


@dataclass
class Column:
    name: str
    type_name: str
    computed: bool
    origins: list[ColumnRef]
    labels: list[str]


@dataclass
class Parameter:
    value: bytes | None
    binary: bool


@dataclass
class Session:
    _principal: str
    _groups: list[str]
    _labels: dict[str, str]
    _reason: str | None

    def id(self) -> str:
        return "0190b8a4-0000-7000-8000-000000000001"

    def protocol(self) -> str:
        return "postgres"

    def principal(self) -> str:
        return self._principal

    def groups(self) -> list[str]:
        return list(self._groups)

    def target(self) -> str:
        return "app"

    def label(self, name: str) -> str | None:
        return self._labels.get(name)

    def client_address(self) -> str:
        return "192.0.2.1"

    def credential(self) -> str:
        return "scram-sha-256"

    def reason(self) -> str | None:
        return self._reason


@dataclass
class SqlStatement:
    _verb: str
    _effects: Effects
    _relations: list[Relation]
    _columns: list[ColumnRef]
    _functions: list[str]
    _has_where: bool

    def dialect(self) -> str:
        return "postgres"

    def verb(self) -> str:
        return self._verb

    def effects(self) -> Effects:
        return self._effects

    def relations(self) -> list[Relation]:
        return list(self._relations)

    def columns_read(self) -> list[ColumnRef]:
        return list(self._columns)

    def functions(self) -> list[str]:
        return list(self._functions)

    def has_where(self) -> bool:
        return self._has_where


@dataclass
class Command:
    _text: str
    _statements: list[SqlStatement] | None
    _phase: Phase = Phase.EXECUTE
    _parameters: list[Parameter] = field(default_factory=list)
    _conditions: list[Column] = field(default_factory=list)

    def kind(self) -> str:
        return "sql"

    def phase(self) -> Phase:
        return self._phase

    def text(self, max_bytes: int) -> str:
        return self._text.encode()[:max_bytes].decode("utf-8", "ignore")

    def fingerprint(self) -> str:
        assert self.parsed(), "the policy asks for the fingerprint of a command that was not read"
        return self._text.lower()

    def parsed(self) -> bool:
        return self._statements is not None

    def sql(self) -> list[SqlStatement]:
        assert self._statements is not None, "the policy asks for the statements of a command that was not read"
        return list(self._statements)

    def parameters(self) -> list[Parameter]:
        return list(self._parameters)

    def conditions(self) -> list[Column]:
        assert self.parsed(), "the policy asks for the conditions of a command that was not read"
        return list(self._conditions)


@dataclass
class ResultSet:
    _columns: list[Column]

    def id(self) -> int:
        return 1

    def columns(self) -> list[Column]:
        return list(self._columns)


def session(
    principal: str, groups: list[str] = [], labels: dict[str, str] = {}, reason: str | None = None
) -> Session:
    """A session of this principal to the target ``app``, which has these labels."""
    return Session(principal, groups, labels, reason)


def sql(
    text: str,
    *statements: SqlStatement,
    phase: Phase = Phase.EXECUTE,
    parameters: list[bytes | None] = [],
    conditions: list[Column] = [],
) -> Command:
    """A command in which the host read these statements and conditions, with parameters in text format."""
    bound = [Parameter(value, binary=False) for value in parameters]
    return Command(text, list(statements), phase, bound, conditions)


def unreadable(text: str) -> Command:
    """A command that the host could not read. A test that asks it for statements fails."""
    return Command(text, None)


def statement(
    verb: str,
    effects: Effects = Effects(0),
    relations: dict[str, Effects] = {},
    columns: list[str] = [],
    functions: list[str] = [],
    has_where: bool = True,
) -> SqlStatement:
    """A statement with this verb, the relations (``schema.name`` or ``name``) with what it does to them, and the columns that it
    reads. What it does to its relations is among its effects."""
    all_relations = [Relation(*_split(name, 2), done) for name, done in relations.items()]
    all_effects = reduce(or_, relations.values(), effects)
    return SqlStatement(verb, all_effects, all_relations, [_column_ref(c) for c in columns], functions, has_where)


def result(*columns: Column) -> ResultSet:
    """A result with these columns."""
    return ResultSet(list(columns))


def column(
    name: str, type_name: str = "text", origins: list[str] = [], computed: bool = False, labels: list[str] = []
) -> Column:
    """A column of a result with these origins, ``schema.relation.column``."""
    return Column(name, type_name, computed, [_column_ref(o) for o in origins], labels)


def chunk(column: int, *values: str | None) -> Chunk:
    """An inspected column of a batch."""
    data = [(value or "").encode() for value in values]
    nulls = bytearray((len(values) + 7) // 8)
    for row, value in enumerate(values):
        nulls[row // 8] |= (value is None) << row % 8
    return Chunk(column, bytes(nulls), list(accumulate(map(len, data))), b"".join(data))


def _column_ref(name: str) -> ColumnRef:
    return ColumnRef(*_split(name, 3))


def _split(name: str, parts: int) -> list[str]:
    found = name.rsplit(".", parts - 1)
    return [""] * (parts - len(found)) + found
