"""The start of a run: its input and options, checked before anything is recorded."""

from __future__ import annotations

import contextvars
import json
import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import inf, isinf
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from gorkflow._durations import seconds_of
from gorkflow._text import brief, is_utf8
from gorkflow.annotations import describe
from gorkflow.codec import codec_of
from gorkflow.engine._asleep import RunState
from gorkflow.engine._driver import NAP, Driver, Inbound
from gorkflow.engine._row import hooks_of
from gorkflow.engine._values import Values
from gorkflow.engine._within import calling, queue_inside
from gorkflow.errors import (
    DuplicateRunError,
    InputInvalidError,
    RunNotFoundError,
    ValueInvalidError,
)
from gorkflow.events import RunCreated
from gorkflow.machine import Machine
from gorkflow.model import DEFAULT_QUEUE
from gorkflow.policy import queue_problems
from gorkflow.state import initial
from gorkflow.state_changes import same_writes
from gorkflow.store import Line, RunRow
from gorkflow.values.secret import is_marked

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.engine._runtime import Runtime
    from gorkflow.state_changes import Write
    from gorkflow.store import Store


class StartOptions(TypedDict, total=False):
    """The options of ``Client.start``, for those who pass them on; what they mean stands there."""

    run_id: str | None
    if_exists: Literal["raise", "return"]
    resource_id: str | None
    tags: Mapping[str, str] | None
    timeout: float | timedelta | None
    delay: float | timedelta | None
    priority: int
    queue: str | None
    exclusive: bool | Literal["wait"]
    state: Mapping[str, Any] | None


# Of a UUID: the bits that tell its version and variant, and what they are here.
_FIXED = 0xF << 76 | 0b11 << 62
_VERSION_7 = 7 << 76 | 0b10 << 62
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@=+-]{0,199}")
_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | float | bool | None"
_MAX_PRIORITY = 1_000_000
_MAX_TEXT = 1_000  # characters of a tag or resource id: they are for finding, not for storing


def new_id(now: float) -> str:
    """Return a fresh id: a UUID of version 7 (RFC 9562), so ids sort by when they were made.

    Args:
        now: seconds since the epoch.
    """
    number = int(now * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    text = f"{number & ~_FIXED | _VERSION_7:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def driver_for(
    runtime: Runtime,
    definition: Definition,
    data: bytes | None,
    options: StartOptions,
    *,
    claimed: bool,
    origin: tuple[str, str | None] | None = None,
    defined_at: float | None = None,
    scheduled_for: float | None = None,
    state: tuple[Write, ...] = (),
    hooks: int = 0,
    more: Iterable[Inbound] = (),
) -> Driver:
    """Return the driver of a run that is about to be recorded.

    Args:
        runtime: the engine's.
        definition: what to run.
        data: the exact bytes of the run's input.
        options: as the caller gave them.
        claimed: whether this engine will run it.
        origin: the run that it repeats, and the path from which.
        defined_at: when its definition was new, if not now; in seconds since the epoch.
        scheduled_for: the due time that a schedule starts it for; in seconds since the epoch.
        state: what its state begins with, unless the options say it.
        hooks: those that are called when it has ended, beside the ones that are known here.
        more: events to record right after its creation.

    Raises:
        InputInvalidError: If an option is not valid.
    """
    if options.get("if_exists", "raise") not in ("raise", "return"):  # it may be unhashable
        raise InputInvalidError(
            f"if_exists must be 'raise' or 'return', not {brief(options.get('if_exists'))}"
        )
    row = _row(
        runtime,
        definition,
        options,
        claimed=claimed,
        hooks=hooks | hooks_of(definition, runtime.on_end),
    )
    timeout = _timeout(definition, options.get("timeout"))
    machine = Machine(row.run_id, definition.tree)
    values = Values(row.run_id, definition)
    context = contextvars.copy_context()
    if options.get("state") is not None:
        state = _state(options.get("state"), runtime.max_payload)
    again = origin or (None, None)
    created = (definition.fingerprint, data, timeout, *again, state, defined_at, scheduled_for)
    run = RunState(definition, machine, values, timeout, defined_at, scheduled_for, row.tags)
    return Driver(
        runtime,
        row,
        run,
        context,
        opening=[(RunCreated, "", None, created), *more],
    )


def _row(
    runtime: Runtime, definition: Definition, options: StartOptions, *, claimed: bool, hooks: int
) -> RunRow:
    now = runtime.clock.now()
    delay = _delay(options.get("delay"))
    queue = _queue(runtime, definition, options)
    # A run that begins late is left to any worker: this one may be gone by then.
    claimed = claimed and (delay <= NAP or not runtime.recovers)
    claimed = claimed and _may_begin(runtime, queue)
    exclusive = _exclusive(options)
    claimed = claimed and exclusive != "wait"  # a claim gives it its turn
    return RunRow(
        run_id=_run_id(options.get("run_id"), now),
        workflow_id=definition.workflow_id,
        workflow_version=_text("the workflow's version", definition.version) or "",
        fingerprint=definition.fingerprint,
        resource_id=_resource(options.get("resource_id")),
        tags=_tags(definition, options.get("tags")),
        created_at=now,
        due_at=now + delay if delay else None,
        priority=checked_priority(options.get("priority", 0)),
        exclusive=bool(exclusive),
        line=Line.WAITS if exclusive == "wait" else Line.NONE,
        seq=0,
        worker_id=runtime.worker_id if claimed else None,
        token=1 if claimed else 0,
        hooks=hooks,
        queue=queue,
    )


async def same_start(store: Store, driver: Driver) -> None:
    """Check that the run which has the id has the same workflow, input, origin and state.

    Raises:
        DuplicateRunError: If it has not.
    """
    run_id = driver.run_id
    row = await store.get_run(run_id)
    first = await store.read_events(run_id, limit=1)
    if row is None or row.workflow_id != driver.row.workflow_id:
        what = "of another workflow"
    elif not first or not isinstance(first[0], RunCreated) or driver.opening is None:
        what = "with another input"
    else:
        _, data, _, *origin, state, _, _ = driver.opening[0][3]
        if [first[0].origin, first[0].from_step] != origin:
            what = "as a rerun of another run" if first[0].origin else "and not as a rerun"
        elif not _is_same(driver.definition.input, first[0].input, data):
            what = "with another input"
        elif not same_writes(first[0].state, state):
            what = "with another state"
        else:
            return
    raise DuplicateRunError(run_id, f"run {run_id!r} exists already, {what}; use another run_id")


def _is_same(annotation: Any, one: bytes | None, other: bytes | None) -> bool:
    """Return whether two inputs are equal; the order of items in sets and dicts does not count."""
    if one == other or one is None or other is None:
        return one == other
    codec = codec_of(annotation)
    try:
        equal = bool(codec.decode(one) == codec.decode(other))
        return equal and _unordered(json.loads(one)) == _unordered(json.loads(other))
    except Exception:  # noqa: BLE001 - the comparison may be user code
        return False


def _unordered(value: _Json) -> str:
    """Return JSON without any order; in Python, 1 and True are equal, too."""
    if is_marked(value):
        return _unordered(value["$v"])  # it may not have been a secret then
    if isinstance(value, dict):
        parts = (f"{name!r}:{_unordered(item)}" for name, item in value.items())
        return f"{{{','.join(sorted(parts))}}}"
    if isinstance(value, list):
        return f"[{','.join(sorted(map(_unordered, value)))}]"
    return repr(value)


def run_id_of(given: object, name: str = "run_id") -> str:
    """Return the id of a run that a caller asks for.

    Raises:
        TypeError: If it is not a text.
        RunNotFoundError: If no run can have it.
    """
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, not {brief(given)}")
    if not is_utf8(given):
        raise RunNotFoundError(given)
    return given


def _run_id(run_id: str | None, now: float) -> str:
    if run_id is None:
        return new_id(now)
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise InputInvalidError(
            f"run_id {brief(run_id, 200)} is not valid; use up to 200 letters, digits and "
            "_.:@=+- , beginning with a letter or digit"
        )
    return run_id


def checked_input(definition: Definition, value: object, limit: int) -> bytes | None:
    """Return the input of a run as it is recorded.

    Raises:
        InputInvalidError: If it is not valid.
    """
    if definition.input is None:
        if value is not None:
            raise InputInvalidError(
                f"workflow {definition.workflow_id!r} takes no input, but was given "
                f"{brief(value)}; declare it with Workflow(…, input=Type)"
            )
        return None
    try:
        return codec_of(definition.input).accept(value, limit)
    except ValueInvalidError as error:
        if value is None:
            raise InputInvalidError(
                f"workflow {definition.workflow_id!r} takes an input of type "
                f"{describe(definition.input)}, and was given none, or None"
            ) from None
        raise InputInvalidError(
            f"the input of workflow {definition.workflow_id!r} is not valid: {error}"
        ) from None


def _timeout(definition: Definition, timeout: float | timedelta | None) -> float | None:
    own = definition.tree.timeout
    if timeout is None:
        return own
    try:
        seconds = seconds_of(timeout, "timeout")
    except (TypeError, ValueError) as error:
        raise InputInvalidError(str(error)) from error
    shorter = min(seconds, inf if own is None else own)
    return None if isinf(shorter) else shorter


def _delay(delay: float | timedelta | None) -> float:
    if delay is None:
        return 0.0
    try:
        return seconds_of(delay, "delay", endless=False)
    except (TypeError, ValueError) as error:
        raise InputInvalidError(str(error)) from error


def _state(values: Mapping[str, Any] | None, limit: int) -> tuple[Write, ...]:
    if values is None:
        return ()
    if not isinstance(values, Mapping):
        raise InputInvalidError(f"state must map keys to values, not {brief(values)}")
    try:
        return initial(values, limit)
    except ValueInvalidError as error:
        raise InputInvalidError(str(error)) from None


def _resource(resource_id: str | None) -> str | None:
    if resource_id == "":
        raise InputInvalidError("resource_id is empty; name what the run is about, or leave it out")
    return _text("resource_id", resource_id)


def checked_priority(priority: object) -> int:
    """Return the priority of a run.

    Raises:
        InputInvalidError: If it is not valid.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > _MAX_PRIORITY:
        raise InputInvalidError(
            f"priority must be a whole number between -{_MAX_PRIORITY:,} and {_MAX_PRIORITY:,}, "
            f"not {brief(priority)}"
        )
    return priority


def _queue(runtime: Runtime, definition: Definition, options: StartOptions) -> str:
    """Return the queue of a run: that of the start, the workflow, or the run that starts it."""
    given = options.get("queue")
    if given is not None:
        return checked_queue(given)
    return definition.queue or queue_inside(runtime.store) or DEFAULT_QUEUE


def _may_begin(runtime: Runtime, queue: str) -> bool:
    """Return whether a run that is started here may begin here, without a claim."""
    if not runtime.recovers:
        return True  # it has only its own, in any queue
    inside = calling() is not None  # its step may wait for the run: then a bound does not matter
    return queue in runtime.queues and (inside or runtime.queues[queue] is None)


def checked_queue(queue: object) -> str:
    """Return the name of a queue.

    Raises:
        InputInvalidError: If it is not valid.
    """
    if problems := queue_problems(queue):
        raise InputInvalidError(problems[0])
    assert isinstance(queue, str)  # or it was a problem
    return queue


def _exclusive(options: StartOptions) -> bool | Literal["wait"]:
    exclusive = options.get("exclusive", False)
    if not isinstance(exclusive, bool) and exclusive != "wait":
        raise InputInvalidError(f"exclusive must be True, False or 'wait', not {brief(exclusive)}")
    if exclusive and options.get("resource_id") is None:
        raise InputInvalidError(
            "exclusive needs a resource_id: the thing that the run has for itself"
        )
    return exclusive


def _tags(definition: Definition, given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    if given is None and not definition.tags:
        return ()
    own = {} if given is None else dict(checked_tags(given))
    return checked_tags({**definition.tags, **own})


def checked_tags(tags: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return tags as they are recorded.

    Raises:
        InputInvalidError: If they are not valid.
    """
    if not isinstance(tags, Mapping):
        raise InputInvalidError(f"tags must map names to texts, not {brief(tags)}")
    for name, value in tags.items():
        if not name or _text("a tag's name", name) is None or _text(f"tag {name!r}", value) is None:
            raise InputInvalidError(f"tag {name!r} must be a text with a text as value")
    return tuple(sorted(tags.items()))


def _text(what: str, text: str | None) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > _MAX_TEXT:
        raise InputInvalidError(
            f"{what} must be a text of up to {_MAX_TEXT} characters: {brief(text)}"
        )
    if not is_utf8(text):
        raise InputInvalidError(f"{what} holds a lone surrogate: {brief(text)}")
    return text
