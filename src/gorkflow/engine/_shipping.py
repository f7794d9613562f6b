"""Makes an attempt ready to run elsewhere: all that it may need, as bytes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gorkflow.codec import codec_of
from gorkflow.engine._job import Job, input_annotation, job_to_bytes
from gorkflow.language._placement import reference_of
from gorkflow.language._program import MAIN, program_of
from gorkflow.machine.state import texts
from gorkflow.model import Completed, Failed

if TYPE_CHECKING:
    from gorkflow.engine._attempt import Attempt


def job_of(attempt: Attempt) -> bytes:
    """Return an attempt as bytes.

    Raises:
        ValueInvalidError: its input can't be written as JSON.
    """
    driver, command, step = attempt.driver, attempt.command, attempt.step
    values = driver.values
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
    job = Job(
        function=reference_of(step.fn),
        program=program_of(step.fn.__globals__) if step.fn.__module__ == MAIN else "",
        settings=dict(command.spec.settings),
        ids=attempt.ids(),
        timeout=command.spec.timeout,
        due=attempt.due,
        max_payload=driver.runtime.max_payload,
        input=data,
    )
    return job_to_bytes(_with_readable(job, attempt) if step.takes_context else job)


def _with_readable(job: Job, attempt: Attempt) -> Job:
    """Return the job with all that its context may be asked for."""
    values = attempt.driver.values
    outcomes: dict[str, dict[str, object] | None] = {}
    outputs: dict[str, bytes] = {}
    for node_id in sorted(attempt.readable):
        ended = attempt.driver.machine.find(attempt.command.path, node_id)
        if ended is None:
            outcomes[node_id] = None
            continue
        outcome = values.outcome(ended)
        told: dict[str, object] = {"kind": type(outcome).__name__, "path": outcome.path}
        if isinstance(outcome, Failed):
            told["failure"] = outcome.failure.to_json()
        elif not isinstance(outcome, Completed):
            told["reason"] = outcome.reason
        elif (data := values.record(ended.value)) is not None:
            outputs[node_id] = data
        outcomes[node_id] = told
    return replace(
        job,
        outcomes=outcomes,
        outputs=outputs,
        run_input=values.input_bytes()[0],
        state=texts(attempt.driver.machine, attempt.command.path),
    )
