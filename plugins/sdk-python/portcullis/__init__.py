"""Write Portcullis policies in Python.

A policy is a class that is made from its settings and answers questions about commands, about results, or both::

    from portcullis import Effects, Policy, Verdict, export

    class ReadOnly(Policy):
        def check(self, session, command):
            if all(s.effects() in Effects.READ for s in command.sql()):
                return Verdict.allow()
            return Verdict.deny("this target is for reading")

    export(ReadOnly)

In the gateway :class:`Session`, :class:`Command`, :class:`SqlStatement` and :class:`ResultSet` are handles of the host: each
method is a call and a copy, so read what you need, once, and keep none of them. Elsewhere they are the doubles of
:mod:`portcullis.testing`, and ``pytest`` runs a policy without a gateway. The documentation of every type is in
``wit/policy.wit``.

The host's functions are the modules ``portcullis.log``, ``detect``, ``clock``, ``random``, ``state`` and ``crypto``; the last
four need a capability of the same name in ``policy.toml``.
"""

from portcullis.answers import (
    Approval,
    Decision,
    Finding,
    PolicyError,
    Reuse,
    SettingError,
    SettingErrors,
    Verdict,
)
from portcullis.facts import (
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
from portcullis.policy import Policy, export, load
from portcullis.rows import BatchResult, Chunk, Deny, Inspect, Keep, Mask, Patch, Plan, Spans

__all__ = [
    "Approval",
    "BatchResult",
    "Chunk",
    "Column",
    "ColumnRef",
    "Command",
    "Decision",
    "Deny",
    "Effects",
    "Finding",
    "Inspect",
    "Keep",
    "Mask",
    "Parameter",
    "Patch",
    "Phase",
    "Plan",
    "Policy",
    "PolicyError",
    "Relation",
    "ResultSet",
    "Reuse",
    "Session",
    "SettingError",
    "SettingErrors",
    "Spans",
    "SqlStatement",
    "Verdict",
    "export",
    "load",
]
