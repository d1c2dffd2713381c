"""Refuses a statement that would delete, or update, every row."""

from portcullis import Command, Policy, Session, Verdict, export


@export
class NoMassDelete(Policy):
    def __init__(self, settings: dict) -> None:
        self.message = settings.get("message", "this would change every row; add a WHERE clause")

    def check(self, session: Session, command: Command) -> Verdict:
        # `sql` of a command that the gateway could not read is a denial by itself. The verb is not asked for: a DELETE may
        # hide inside of another statement, and `has_where` looks there too.
        for statement in command.sql():
            if not statement.has_where():
                return Verdict.deny(self.message).finding("no-where", f"{statement.verb()} without WHERE")
        return Verdict.allow()
