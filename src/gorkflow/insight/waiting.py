"""What steps that could run wait for. It is recorded nowhere, since it follows from the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gorkflow.errors import GorkflowError
from gorkflow.events import RunFinished
from gorkflow.flow import StepSpec, walk
from gorkflow.machine import RunStep, replay

if TYPE_CHECKING:
    from gorkflow.events import Event
    from gorkflow.flow import WorkflowSpec
    from gorkflow.model import StepExecution


def with_limits(
    steps: list[StepExecution], tree: WorkflowSpec, events: Sequence[Event]
) -> list[StepExecution]:
    """Return the steps of a run, those that wait for a named limit with that as their reason.

    Args:
        steps: as ``history.step_executions`` has them.
        tree: what the run executes.
        events: its history.
    """
    limited = any(isinstance(node, StepSpec) and node.limits for _, node in walk(tree))
    if not limited or not events or isinstance(events[-1], RunFinished):
        return steps
    try:
        machine = replay(events[0].run_id, tree, events)
    except GorkflowError:
        return steps  # it can't go on, and whoever carries it says why
    waiting = {
        command.path: _reason(limit.name for limit in command.spec.limits)
        for command in machine.open_commands()
        if isinstance(command, RunStep) and command.spec.limits
    }
    return [
        replace(step, reason=waiting[step.path]) if step.path in waiting else step for step in steps
    ]


def _reason(names: Iterable[str]) -> str:
    quoted = [repr(name) for name in names]
    return f"waits for limit{'s' if len(quoted) > 1 else ''} {' and '.join(quoted)}"
