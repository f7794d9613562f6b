"""From a recorded history to the state it leads to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.flow import WorkflowSpec
from gorkflow.machine.machine import Machine
from gorkflow.machine.state import texts


def replay(run_id: str, tree: WorkflowSpec, history: Iterable[ev.Event]) -> Machine:
    """Return the machine that a recorded history leads to.

    Raises:
        HistoryError: the history contradicts the tree or itself.
    """
    machine = Machine(run_id, tree)
    extend(machine, history)
    return machine


def extend(machine: Machine, history: Iterable[ev.Event]) -> None:
    """Feed a machine what was recorded of its run since.

    Raises:
        HistoryError: that contradicts the tree, itself, or the machine, which is of no use then.
    """
    expected: list[ev.Event] = []
    for event in history:
        if not expected:
            expected = machine.feed(event)[::-1]
        elif expected.pop() != event:
            raise out_of_line(event)
    if expected:
        raise cut_off(expected[-1])
    machine.take_commands()


def out_of_line(event: ev.Event) -> HistoryError:
    """Return the error of an event that is not the one which follows."""
    return HistoryError(
        event.run_id,
        f"event {event.seq} ({event.kind}) of run {event.run_id!r} is not what follows from the "
        "events before it; the history is damaged, restore the store from a backup",
    )


def cut_off(event: ev.Event) -> HistoryError:
    """Return the error of a history that stops before an event."""
    return HistoryError(
        event.run_id,
        f"the history of run {event.run_id!r} stops before event {event.seq}; it is damaged",
    )


def state_of(run_id: str, tree: WorkflowSpec, history: Sequence[ev.Event]) -> dict[str, str]:
    """Return the state of a run, as it is seen outside of parallel branches: records, by key.

    Raises:
        HistoryError: the history contradicts the tree or itself.
    """
    if not any(getattr(event, "state", ()) for event in history):
        return {}
    machine = replay(run_id, tree, history)
    return dict(texts(machine))
