"""What a policy answers about sessions and commands, and how it says that it cannot."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

# What the interface allows in a message and in the name of a rule, in bytes.
_MAX_MESSAGE = 1024
_MAX_RULE = 128


class Decision(Enum):
    """Deny beats review beats allow."""

    ALLOW = "allow"
    DENY = "deny"
    REVIEW = "review"


class Reuse(Enum):
    """Whether an approval serves later commands too."""

    ONCE = "once"
    SAME_COMMAND = "same-command"


@dataclass(frozen=True)
class Finding:
    """A fact for the audit that explains a verdict."""

    rule: str
    message: str


@dataclass(frozen=True)
class Approval:
    """What must happen before a held command may run."""

    any_of: list[str]
    reason: str
    quorum: int = 1
    ttl_seconds: int = 3600
    reuse: Reuse = Reuse.ONCE


@dataclass(frozen=True)
class Verdict:
    """The answer to a command. Make one with :meth:`allow`, :meth:`deny`, :meth:`review` or :meth:`rewritten`."""

    decision: Decision
    message: str | None = None
    rewrite: str | None = None
    approval: Approval | None = None
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def allow(cls) -> Verdict:
        """Let it run."""
        return cls(Decision.ALLOW)

    @classmethod
    def deny(cls, message: str) -> Verdict:
        """Refuse it, and tell the client why."""
        return cls(Decision.DENY, message=bounded(message))

    @classmethod
    def review(cls, approval: Approval) -> Verdict:
        """Hold it until people approve."""
        return cls(Decision.REVIEW, approval=approval)

    @classmethod
    def rewritten(cls, text: str) -> Verdict:
        """Let this text run in its place."""
        return cls(Decision.ALLOW, rewrite=text)

    def finding(self, rule: str, message: str) -> Verdict:
        """Adds a finding: the rule that spoke, and what it saw. Never a value of a result or a parameter."""
        self.findings.append(Finding(bounded(rule, _MAX_RULE), bounded(message)))
        return self


class PolicyError(Exception):
    """The policy cannot answer: a denial. The code is short and stable; the message goes to the client."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True)
class SettingError:
    """What is wrong in the settings, at a JSON pointer (RFC 6901) such as ``/rules/0/verbs``."""

    path: str
    message: str


class SettingErrors(Exception):
    """Collects what is wrong in settings, so that all of it is told at once, and is raised when something is."""

    def __init__(self, *errors: SettingError) -> None:
        super().__init__(*errors)
        self.errors = list(errors)

    def check(self, holds: bool, path: str, message: str) -> None:
        """Notes what is wrong at this JSON pointer unless the condition holds."""
        if not holds:
            self.errors.append(SettingError(path, message))

    def raise_any(self) -> None:
        """Raises itself if anything was wrong."""
        if self.errors:
            raise self

    def __str__(self) -> str:
        return "; ".join(f"{e.path or '/'}: {e.message}" for e in self.errors)


def bounded(text: str, most: int = _MAX_MESSAGE) -> str:
    """Cuts a text at a character's boundary, so that a long name in it does not turn an answer into a bad one."""
    data = text.replace("\0", " ").encode("utf-8", "replace")
    return data[:most].decode("utf-8", "ignore")
