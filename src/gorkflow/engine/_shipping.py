"""Makes an attempt ready to run elsewhere: all that it may need, as bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from gorkflow.codec import codec_of
from gorkflow.engine._job import Job, input_annotation
from gorkflow.language._placement import reference_of
from gorkflow.language._program import MAIN, program_of
from gorkflow.machine.state import texts
from gorkflow.model import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gorkflow.engine._values import Values
    from gorkflow.machine import Machine, RunStep
    from gorkflow.step import Step


def job_of(
    step: Step[Any, Any],
    command: RunStep,
    values: Values,
    *,
    ids: Mapping[str, Any],
    due: float | None,
    max_payload: int,
) -> Job:
    """Return an attempt as a job, without what its context may be asked for.

    Raises:
        ValueInvalidError: If its input can't be written as JSON.
    """
    wanted = step.wanted
    data = b""
    if wanted:
        given = input_annotation(wanted)
        recorded = values.record_as(given, command.input)
        if recorded is None:  # it is made of several, or of another type
            arguments = values.arguments(wanted, command.input)
            value = arguments[0] if len(wanted) == 1 else arguments
            recorded = codec_of(given).encode(value)
        data = recorded
    return Job(
        function=reference_of(step.fn),
        program=program_of(step.fn.__globals__) if step.fn.__module__ == MAIN else "",
        settings=dict(command.spec.settings),
        ids=ids,
        timeout=command.spec.timeout,
        due=due,
        max_payload=max_payload,
        input=data,
    )


def with_readable(
    job: Job, machine: Machine, values: Values, path: str, readable: Iterable[str]
) -> Job:
    """Return a job with all that the context of the step at ``path`` may be asked for."""
    outcomes: dict[str, dict[str, object] | None] = {}
    outputs: dict[str, bytes] = {}
    for node_id in sorted(readable):
        ended = machine.find(path, node_id)
        if ended is None:
            outcomes[node_id] = None
            continue
        outcome = values.outcome(ended)
        recorded: dict[str, object] = {"kind": type(outcome).__name__, "path": outcome.path}
        if isinstance(outcome, Failed):
            recorded["failure"] = to_builtins(outcome.failure)
        elif not isinstance(outcome, Completed):
            recorded["reason"] = outcome.reason
        elif (data := values.record(ended.value)) is not None:
            outputs[node_id] = data
        outcomes[node_id] = recorded
    return replace(
        job,
        outcomes=outcomes,
        outputs=outputs,
        run_input=values.input_bytes()[0],
        state=texts(machine, path),
    )
