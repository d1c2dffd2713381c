"""What a component is made of: `policy.py` behind the exports of the interface. Tests do not import it."""

from __future__ import annotations

import sys
from itertools import accumulate
from typing import Any, Callable, Iterator, TypeVar

import wit_world.exports
from componentize_py_types import Err
from wit_world.exports import lifecycle
from wit_world.imports import types

from portcullis_sealed import Lines  # before the policy
import policy  # noqa: F401 - the policy of the package, which exports itself
import portcullis.policy
from portcullis import log
from portcullis.answers import Decision, PolicyError, Reuse, SettingErrors, Verdict, bounded
from portcullis.policy import Policy, load

if portcullis.policy.exported is None:
    raise ImportError("policy.py exports no policy; call `portcullis.export` with its class")

_class: type[Policy] = portcullis.policy.exported
_instance: Policy
_T = TypeVar("_T")


def _answered(ask: Callable[..., _T], *question: Any) -> _T:
    """Asks, and makes an error of the interface of whatever is raised. What was raised goes to the log with its trace; the
    client is only told its kind, since its text may quote a value."""
    try:
        return ask(*question)
    except PolicyError as error:
        raise Err(types.Error(error.code, bounded(error.message))) from None
    except Exception as error:
        place = _report(error)
        raise Err(types.Error("exception", f"the policy failed with {type(error).__name__} at {place}")) from None


def _report(error: Exception) -> str:
    """Writes an exception to the log, the place of its origin first, and returns that place."""
    places = list(_places(error))[::-1] or ["an unknown place"]
    log.error(bounded(f"{type(error).__name__}: {error}; at {', called from '.join(places)}"))
    return places[0]


def _places(error: Exception) -> Iterator[str]:
    """Where an exception went through. Components know their sources under directories with numbers for names, and cannot read
    them, as `traceback` would."""
    trace = error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        name = code.co_filename.rsplit("/", 1)[-1]
        if not name.startswith("portcullis_"):
            yield f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next


class Lifecycle:
    def validate_settings(self, settings: str) -> None:
        try:
            load(_class, settings)
        except SettingErrors as errors:
            raise Err([types.SettingError(e.path, bounded(e.message)) for e in errors.errors]) from None
        except Exception as error:
            _report(error)
            raise Err([types.SettingError("", bounded(f"{type(error).__name__}: {error}"))]) from None

    def configure(self, settings: str) -> lifecycle.Registration:
        def make() -> Policy:
            try:
                return load(_class, settings)
            except SettingErrors as errors:
                raise PolicyError("bad-settings", str(errors)) from None

        global _instance
        _instance = _answered(make)
        return lifecycle.Registration(list(_class.kinds) if _has_commands else [])


_has_commands = hasattr(wit_world.exports, "Commands")

if _has_commands:
    _REUSE = {Reuse.ONCE: types.Reuse.ONCE, Reuse.SAME_COMMAND: types.Reuse.SAME_COMMAND}
    _DECISION = {
        Decision.ALLOW: types.Decision.ALLOW,
        Decision.DENY: types.Decision.DENY,
        Decision.REVIEW: types.Decision.REVIEW,
    }

    def _verdict(verdict: Verdict) -> types.Verdict:
        approval = verdict.approval and types.Approval(
            verdict.approval.any_of,
            verdict.approval.quorum,
            verdict.approval.ttl_seconds,
            _REUSE[verdict.approval.reuse],
            bounded(verdict.approval.reason),
        )
        findings = [types.Finding(finding.rule, finding.message) for finding in verdict.findings]
        return types.Verdict(_DECISION[verdict.decision], verdict.message, verdict.rewrite, approval, findings)

    class Commands:
        def open(self, s: Any) -> types.Verdict:
            return _answered(lambda: _verdict(_instance.open(s)))

        def check(self, s: Any, c: Any) -> types.Verdict:
            return _answered(lambda: _verdict(_instance.check(s, c)))

        def approved(self, s: Any, c: Any, approvers: list[str]) -> types.Verdict:
            return _answered(lambda: _verdict(_instance.approved(s, c, approvers)))


if hasattr(wit_world.exports, "Rows"):
    from wit_world.exports import rows

    from portcullis.rows import Action, BatchResult, Chunk, Deny, Edit, Inspect, Keep, Mask, Patch, Plan, Spans

    def _action(action: Action) -> Any:
        match action:
            case Mask(name, parameters):
                return rows.Action_Mask(rows.Mask(name, list(parameters.items())))
            case Inspect():
                return rows.Action_Inspect()
            case Deny(message):
                return rows.Action_Deny(bounded(message))
        raise TypeError(f"{action!r} is no action for a column")

    def _plan(plan: Plan) -> rows.Plan:
        return rows.Plan([rows.Rule(column, _action(action)) for column, action in plan.actions.items()], plan.max_rows)

    def _edit(edit: Edit) -> Any:
        match edit:
            case Keep():
                return rows.Edit_Keep()
            case Spans(at, starts, lens, fill):
                return rows.Edit_Spans(rows.Spans(at, starts, lens, ord(fill)))
            case Patch(values):
                return rows.Edit_Patch(_patch(values))
        raise TypeError(f"{type(edit).__name__} is no edit of a chunk")

    def _patch(values: dict[int, bytes | None]) -> rows.Patch:
        at = sorted(values)
        data = [values[row] or b"" for row in at]
        nulls = bytearray((len(at) + 7) // 8)
        for index, row in enumerate(at):
            nulls[index // 8] |= (values[row] is None) << index % 8
        return rows.Patch(at, bytes(nulls), list(accumulate(map(len, data))), b"".join(data))

    def _result(result: BatchResult) -> rows.BatchResult:
        return rows.BatchResult([_edit(edit) for edit in result.edits], result.drop_rows, result.abort)

    class Rows:
        def plan_result(self, s: Any, c: Any, r: Any) -> rows.Plan:
            return _answered(lambda: _plan(_instance.plan(s, c, r)))

        def filter_batch(self, s: Any, c: Any, r: Any, row_count: int, chunks: list[Any]) -> rows.BatchResult:
            def ask() -> rows.BatchResult:
                own = [Chunk(chunk.column, chunk.nulls, chunk.ends, chunk.data) for chunk in chunks]
                return _result(_instance.filter(s, c, r, row_count, own))

            return _answered(ask)


# What is printed from now on goes to the log; what was printed before went to whoever builds.
sys.stdout = sys.stderr = Lines()
