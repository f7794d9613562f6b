"""The growth of workflows: warns code that expects one to change in place, or to run itself."""

from __future__ import annotations

import inspect
import os
import weakref
from opcode import opmap
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gorkflow.language.callables import is_inside, warn

if TYPE_CHECKING:
    from types import FrameType

    from gorkflow.language.elements import Chain

Grown = TypeVar("Grown", bound="Chain[Any, Any]")
_GROWS = frozenset(
    {"then", "parallel", "map", "loop", "then_if", "when", "otherwise", "sleep", "wait_for"}
)
_RUNS = frozenset({"run", "start", "execute", "submit", "delay", "invoke", "kickoff", "serve"})
_HOW_TO_RUN = (
    "write gorkflow.run(workflow, input), or, within asyncio, await engine.run(workflow, input)"
)
_POP, _CACHE = opmap["POP_TOP"], opmap["CACHE"]


class WorkflowDroppedWarning(UserWarning):
    """A method returned a new workflow that was not kept; a workflow is never changed in place.

    Example:
        import warnings

        from gorkflow import Workflow, WorkflowDroppedWarning, passthrough

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Workflow("nothing", input=int).then(passthrough(int))  # the new workflow is lost
        assert [each.category for each in caught] == [WorkflowDroppedWarning]
    """


class Growth:
    """The workflows that one grew into: when it runs, it warns if all of them were dropped.

    A workflow that was run, grew further, or stands in another one was used, alive or not.
    """

    __slots__ = ("_branched", "_grown", "is_used", "place")

    def __init__(self, place: str = "") -> None:
        self.place = place
        self.is_used = False
        self._branched = False
        """True if one that it grew into was used: then the others may be variants."""
        self._grown: list[tuple[weakref.ref[Chain[Any, Any]], Growth]] = []

    def add(self, workflow: Grown, growth: Growth) -> Grown:
        """Remember what it grew into, which is returned, and forget what was used."""
        self.is_used = True
        left = [item for item in self._grown if not item[1].is_used]
        self._branched |= len(left) < len(self._grown)
        self._grown = [*left, (weakref.ref(workflow), growth)] if growth.place else left
        return workflow

    def check(self, workflow_id: str) -> None:
        """Warn, as the workflow is run, if all that it grew into was dropped."""
        self.is_used = True
        grown, self._grown = self._grown, []
        kept = self._branched or any(growth.is_used or workflow() for workflow, growth in grown)
        if grown and not kept:
            _warn(workflow_id, grown[-1][1].place)


def call_that_drops(workflow_id: str) -> str:
    """Return which call makes a workflow grow, and warn if its result is dropped right there."""
    inner, frame = None, inspect.currentframe()
    while frame is not None and is_inside(frame):
        inner, frame = frame, frame.f_back
    if inner is None or frame is None or inner.f_code.co_name not in _GROWS:
        return ""
    file = os.path.basename(frame.f_code.co_filename)  # noqa: PTH119 - the quicker one
    place = f".{inner.f_code.co_name}(…) in line {frame.f_lineno} of {file}"
    if _drops_result(frame):
        _warn(workflow_id, place)
        return ""
    return place


def _drops_result(frame: FrameType) -> bool:
    """Return whether the call that a frame is at is a statement of its own."""
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] == _CACHE:
        at += 2
    return at < len(code) and code[at] == _POP


def _warn(workflow_id: str, place: str) -> None:
    warn(
        f"workflow {workflow_id!r}: what {place} returned was dropped, and a workflow is never "
        "changed in place: write workflow = workflow.then(…)",
        WorkflowDroppedWarning,
    )


class RunsNothing:
    """Says of a workflow, to who expects it to run itself, how it is run."""

    if not TYPE_CHECKING:  # type checkers know what there is

        def __getattr__(self, name: str) -> NoReturn:
            hint = f"; {_HOW_TO_RUN}" if name in _RUNS else ""
            raise AttributeError(f"a workflow has no {name!r}{hint}", name=name, obj=self)

        def __call__(self, *_: object, **__: object) -> NoReturn:
            """Raise ``TypeError``, which says what to write."""
            raise TypeError(f"a workflow is not called; {_HOW_TO_RUN}")
