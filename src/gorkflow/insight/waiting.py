"""What steps that could run wait for. It is recorded nowhere, since it follows from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gorkflow.errors import GorkflowError
from gorkflow.events import RunFinished, StepCancelled, StepFailed, StepScheduled
from gorkflow.flow import StepSpec, walk
from gorkflow.machine import Machine, RunStep

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
    if not events or isinstance(events[-1], RunFinished):
        return steps
    queue = Queue(events[0].run_id, tree)
    for event in events:
        queue.feed(event)
    return [
        replace(step, reason=f"waits for {limits_of(queue.waiting[step.path].spec)}")
        if step.path in queue.waiting
        else step
        for step in steps
    ]


class Queue:
    """The steps of a live run that wait for named limits, followed event by event.

    Args:
        run_id: the run.
        tree: what it executes.
    """

    def __init__(self, run_id: str, tree: WorkflowSpec) -> None:
        self.waiting: dict[str, RunStep] = {}
        """By path, oldest first."""
        limited = any(isinstance(node, StepSpec) and _is_limited(node) for _, node in walk(tree))
        self._machine = Machine(run_id, tree) if limited else None

    def feed(self, event: Event) -> list[str]:
        """Take the next event of the history; return the paths at which something changed."""
        changed: list[str] = []
        if self._machine is None:
            return changed
        if isinstance(event, StepScheduled | StepCancelled | StepFailed):
            if self.waiting.pop(event.path, None) is not None:
                changed.append(event.path)
        elif isinstance(event, RunFinished):
            changed += self.waiting
            self.waiting.clear()
        if event.seq > self._machine.seq:  # the others follow from those before them
            changed += self._ask(self._machine, event)
        return changed

    def _ask(self, machine: Machine, event: Event) -> list[str]:
        try:
            machine.feed(event)
        except GorkflowError:
            self._machine = None  # the run can't go on, and whoever carries it says why
            changed = [*self.waiting]
            self.waiting.clear()
            return changed
        commands = machine.take_commands()
        asked = [c for c in commands if isinstance(c, RunStep) and c.spec.limits]
        self.waiting |= {command.path: command for command in asked}
        return [command.path for command in asked]


def _is_limited(spec: StepSpec) -> bool:
    return bool(spec.limits or (spec.undo is not None and spec.undo.step.limits))


def limits_of(spec: StepSpec) -> str:
    """Return the limits that a step takes, in words."""
    quoted = [repr(limit.name) for limit in spec.limits]
    return f"limit{'s' if len(quoted) > 1 else ''} {' and '.join(quoted)}"
