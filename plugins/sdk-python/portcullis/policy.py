"""What a policy is."""

from __future__ import annotations

import json
from typing import Any, Sequence, TypeVar

from portcullis.answers import PolicyError, SettingError, SettingErrors, Verdict
from portcullis.facts import Command, ResultSet, Session
from portcullis.rows import BatchResult, Chunk, Plan


class Policy:
    """A policy. Each session has an instance of its own, which is dropped when the session has been quiet for a while: what has to
    last belongs in ``portcullis.state``.

    Implement :meth:`check` for the hook ``commands``, :meth:`plan` for the hook ``rows``; name the hooks in ``policy.toml``.
    """

    #: The kinds of command that the policy wants to check.
    kinds: Sequence[str] = ("sql",)

    def __init__(self, settings: dict[str, Any]) -> None:
        """Reads the settings, which fit the package's JSON schema already. Raise :class:`SettingErrors` for what is wrong."""

    def open(self, session: Session) -> Verdict:
        """May the session open? Unless overridden, it may."""
        return Verdict.allow()

    def check(self, session: Session, command: Command) -> Verdict:
        """May the command run?"""
        raise PolicyError("no-check", "the policy exports `commands`, but has no `check`")

    def approved(self, session: Session, command: Command, approvers: list[str]) -> Verdict:
        """May the command run now that these people approved it? A policy that demands reviews must answer this: unless
        overridden it checks again, and demanding another review is a denial."""
        return self.check(session, command)

    def plan(self, session: Session, command: Command, result: ResultSet) -> Plan:
        """What happens to the columns of a result, before its first row."""
        raise PolicyError("no-plan", "the policy exports `rows`, but has no `plan`")

    def filter(
        self, session: Session, command: Command, result: ResultSet, row_count: int, chunks: list[Chunk]
    ) -> BatchResult:
        """What changes in the inspected columns of a batch. A policy that inspects must override this."""
        raise PolicyError("no-filter", "the policy inspects columns, but does not filter them")


_P = TypeVar("_P", bound=Policy)

#: The policy that the component is made of.
exported: type[Policy] | None = None


def export(policy: type[_P]) -> type[_P]:
    """Makes this class the policy of the component. To be called once, in ``policy.py``; also serves as a decorator."""
    global exported
    exported = policy
    return policy


def load(policy: type[_P], settings: str) -> _P:
    """Makes a policy from its settings, a JSON text."""
    try:
        values = json.loads(settings)
    except ValueError as error:
        raise SettingErrors(SettingError("", f"the settings are no JSON: {error}")) from None
    if not isinstance(values, dict):
        raise SettingErrors(SettingError("", "the settings are no JSON object"))
    return policy(values)
