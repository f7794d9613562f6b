"""Build-time advice: what can be said of a workflow before it costs a night. Nothing is run.

Each kind of advice has a code; docs/check.md has an example of each.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from gorkflow.flow import Place, undo_path
from gorkflow.insight import _code, _duration, _limits, _order
from gorkflow.insight._advice import Advice, Level
from gorkflow.language._options import did_you_mean

if TYPE_CHECKING:
    from gorkflow.step import StepDefaults
    from gorkflow.workflow import Workflow

__all__ = ["CODES", "Advice", "Level", "check"]

CODES = frozenset(
    {
        "blocking-call",
        "changed-variable",
        "deadline",
        "limit-calls",
        "sequential",
        "shared-limit",
        "step-in-step",
        "unbounded",
        "unrecorded-value",
    }
)
"""Every kind of advice."""


def check(
    workflow: Workflow[Any, Any],
    *,
    defaults: StepDefaults | None = None,
    ignore: Collection[str] = (),
) -> tuple[Advice, ...]:
    """Return what could be better in a workflow, in the order of its nodes.

    The flow tree and the source of its functions are read; nothing is run.

    Args:
        workflow: what to look at.
        defaults: the options that its steps inherit from the engine; none.
        ignore: codes of advice that is not wanted.

    Raises:
        ValueError: there is no such code.
        WorkflowInvalidError: the workflow is not complete, or does not hold under these defaults.
    """
    for code in ignore:
        if code not in CODES:
            raise ValueError(f"there is no advice {code!r}; {did_you_mean(code, sorted(CODES))}")
    definition = workflow.compile(defaults)
    root = Place("", definition.tree)
    order: dict[str, tuple[int, bool]] = {}
    for number, place in enumerate(root.walk()):
        order[place.path] = number, False
        order[undo_path(place.path)] = number, True  # what undoes a step comes right after it
    found = [
        *_order.advise(root, definition),
        *_code.advise(root, definition),
        *_duration.advise(root),
        *_limits.advise(root),
    ]
    wanted = [advice for advice in found if advice.code not in ignore]
    return tuple(sorted(wanted, key=lambda advice: order[advice.path]))
