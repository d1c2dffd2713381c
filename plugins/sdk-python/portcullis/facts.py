"""What the host knows of a session, a command and a result."""

from typing import TYPE_CHECKING

from portcullis._bindings import IN_COMPONENT

if TYPE_CHECKING or not IN_COMPONENT:
    from portcullis.testing.facts import (
        Column,
        ColumnRef,
        Command,
        Effects,
        Parameter,
        Phase,
        Relation,
        ResultSet,
        Session,
        SqlStatement,
    )
else:
    from wit_world.imports.facts import (
        Column,
        ColumnRef,
        Command,
        Effects,
        Parameter,
        Phase,
        Relation,
        ResultSet,
        Session,
        SqlStatement,
    )

__all__ = [
    "Column",
    "ColumnRef",
    "Command",
    "Effects",
    "Parameter",
    "Phase",
    "Relation",
    "ResultSet",
    "Session",
    "SqlStatement",
]
