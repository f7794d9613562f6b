"""Differences between two runs of one workflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gorkflow.codec import codec_of
from gorkflow.errors import ValueInvalidError
from gorkflow.events import BlockDecided
from gorkflow.flow import BlockSpec, WorkflowSpec, undo_path, undone_path, walk
from gorkflow.testing._run import Result

_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference between a run and the run that it is compared with.

    Example:
        >>> from gorkflow.testing import Difference
        >>> print(Difference(case="seed 17", number=17, what="output", expected=1, got=2))
        seed 17: output is 2, not 1
    """

    case: str
    """The run: ``seed 17``, ``killed after commit 3``."""
    number: int
    """The seed, or the number of the commit."""
    what: str
    """``status``, ``output``, ``state``, ``failures``, or ``step 'path'``."""
    expected: object
    got: object
    by_design: str = ""
    """The reason, if the workflow allows the difference; else empty."""

    def __str__(self) -> str:
        """Return one line."""
        why = f" ({self.by_design})" if self.by_design else ""
        expected, got = _short(self.expected), _short(self.got)
        return f"{self.case}: {self.what} is {got}, not {expected}{why}"


def compared(expected: Result[Any], got: Result[Any]) -> Iterator[tuple[str, object, object]]:
    """Yield the differences: a name, and both values."""
    if expected.status != got.status:
        yield "status", str(expected.status), str(got.status)
    elif not _same(expected.run.output, got.run.output):
        yield "output", expected.run.output, got.run.output
    if expected.run.state != got.run.state:
        yield "state", expected.run.state, got.run.state
    if (before := _failures(expected)) != (after := _failures(got)):
        yield "failures", before, after
    for path in {**expected.steps, **got.steps}:
        old, new = expected.steps.get(path), got.steps.get(path)
        statuses = (str(old.status) if old else None, str(new.status) if new else None)
        if statuses[0] != statuses[1]:
            yield f"step {path!r}", *statuses


def why(tree: WorkflowSpec, what: str, *results: Result[Any]) -> str:
    """Return why the order may change this; empty if it may not."""
    for path, node in walk(tree):
        if isinstance(node, BlockSpec) and node.join.kind in {"first", "at_least"}:
            return f"join {str(node.join)!r} of block {path!r} lets the order decide"
    if what == "status":
        return ""
    undone = undone_path(what.removeprefix("step ").strip("'"))
    if undone is not None and any(undo_path(undone) not in result.steps for result in results):
        return f"{undone!r} is undone where it completed, or where its outcome is unknown"
    for path in _failed_blocks(results):
        return f"block {path!r} failed; what that left undone depends on the order"
    return ""


def _failed_blocks(results: Iterable[Result[Any]]) -> Iterator[str]:
    for result in results:
        for event in result.events:
            if isinstance(event, BlockDecided) and event.verdict == "failed":
                yield event.path


def lines(title: str, items: Iterable[object]) -> list[str]:
    """Return the lines of a list in a report, none where it is empty."""
    shown = [f"  - {item}" for item in items]
    return [title, *shown] if shown else []


def _failures(result: Result[Any]) -> list[str]:
    return sorted(
        f"{failure.path}: {failure.code.value}: {failure.message}"
        for failure in result.run.failures
    )


def _same(one: object, other: object) -> bool:
    try:
        if one == other:
            return True
    except Exception:  # noqa: BLE001 - anybody's __eq__
        return False
    # Classes without an `==` of their own are the same if they are the same as JSON.
    if type(one) is not type(other):
        return False
    try:
        codec = codec_of(type(one))
        return codec.encode(one) == codec.encode(other)
    except ValueInvalidError:
        return False


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
