"""Signals on their way into a run: what is sent, checked before it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.codec import codec_of
from gorkflow.engine._recorded import reading, tree_from
from gorkflow.errors import (
    InputInvalidError,
    RunEndedError,
    RunNotFoundError,
    ValueInvalidError,
)
from gorkflow.flow import WaitSpec, WorkflowSpec, walk
from gorkflow.signal import Signal
from gorkflow.store import Message
from gorkflow.values.kind import Open

if TYPE_CHECKING:
    from gorkflow.engine._registry import Registry
    from gorkflow.engine._runtime import Runtime
    from gorkflow.store import RunRow


async def message_for(
    runtime: Runtime, registry: Registry, run_id: str, signal: Signal[Any] | str, payload: object
) -> Message:
    """Return the message that brings a signal to a run.

    Args:
        runtime: the engine's.
        registry: the workflows whose types are known.
        run_id: the run.
        signal: the signal, or its name.
        payload: its value, of the signal's type; where that is not known, anything JSON can hold.

    Raises:
        RunNotFoundError: there is no such run.
        RunEndedError: it has ended.
        InputInvalidError: the payload is not valid, or the run never waits for such a signal.
        TypeError: it is not a signal.
    """
    if not isinstance(signal, Signal | str):
        raise TypeError(f"signal must be a Signal or the name of one, not {brief(signal)}")
    row = await runtime.store.get_run(run_id)
    if row is None:
        raise RunNotFoundError(run_id)
    if row.status.terminal:
        raise ended(run_id, row.status.value)
    name = signal.name if isinstance(signal, Signal) else signal
    definition = registry.of_run(run_id, row.workflow_id)
    if definition is not None and definition.fingerprint == row.fingerprint:
        tree = definition.tree
    else:
        tree = tree_from(run_id, await runtime.store.get_tree(row.fingerprint))
    with reading(run_id):
        path, wait = _waiting(row, tree, name)
    known = Open if definition is None else definition.payloads.get(path, Open)
    sent = signal.type if isinstance(signal, Signal) else known
    as_begun = sent is not Open and codec_of(sent).digest() == wait.schema
    if not isinstance(signal, Signal) and not as_begun:
        sent = Open  # the run was started with other code; its worker knows the type
    data = _encoded(name, sent, payload, runtime.max_payload)
    if isinstance(signal, Signal) and not as_begun and known is not Open:
        _check_reads(run_id, name, sent, known, data)
    return Message(0, run_id, "signal", name, runtime.clock.now(), data)


def ended(run_id: str, status: str) -> RunEndedError:
    """Return the error for a run that has ended."""
    return RunEndedError(
        run_id, f"run {run_id!r} has ended ({status}), and takes no more signals; start another run"
    )


def _waiting(row: RunRow, tree: WorkflowSpec, name: str) -> tuple[str, WaitSpec]:
    """Return a wait for the signal, and its path."""
    waits = {node.signal: (path, node) for path, node in walk(tree) if isinstance(node, WaitSpec)}
    if name in waits:
        return waits[name]
    import difflib  # only needed here

    near = difflib.get_close_matches(str(name), waits, 1)
    known = f"it waits for {', '.join(map(repr, sorted(waits)))}" if waits else "it waits for none"
    hint = f"did you mean {near[0]!r}?" if near else known
    raise InputInvalidError(
        f"run {row.run_id!r} of workflow {row.workflow_id!r} never waits for signal "
        f"{name!r}; {hint}"
    )


def _check_reads(run_id: str, name: str, sent: Any, known: Any, data: bytes) -> None:
    """Raise if what is sent as one type does not read as the one that the code here waits for."""
    try:
        codec_of(known).understand(data)
    except ValueInvalidError as error:
        raise InputInvalidError(
            f"run {run_id!r} waits for signal {name!r} of another type than {describe(sent)}: "
            f"{error}; send a {describe(known)}"
        ) from None


def _encoded(name: str, annotation: Any, payload: object, limit: int) -> bytes:
    try:
        return codec_of(annotation).accept(payload, limit)
    except ValueInvalidError as error:
        raise InputInvalidError(f"the payload of signal {name!r} is not valid: {error}") from None
