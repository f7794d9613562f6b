"""The signals that a run waits for, with the JSON schema of each where its type is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gorkflow.codec import codec_of, read_json
from gorkflow.engine._json import Record
from gorkflow.engine.client import Client
from gorkflow.errors import GorkflowError, StepValueError
from gorkflow.flow import WaitSpec, WorkflowSpec, template_of, walk
from gorkflow.model import StepStatus
from gorkflow.web._answers import Rejected, places_in


class Waiting(Struct, frozen=True, kw_only=True):
    """A signal that a run may take."""

    name: str
    paths: tuple[str, ...]
    """The paths that wait for it now; none: a later part of the run will."""
    json_schema: dict[str, Any] | None
    """The JSON schema of its payload; ``None``: its type is not known here."""


def waiting(engine: Client, found: Record) -> Iterator[Waiting]:
    """Yield the signals of a run, in the order of its flow."""
    if found.run.status.terminal:
        return
    places: dict[str, list[str]] = {}
    for path, node in walk(found.tree):
        if isinstance(node, WaitSpec):
            places.setdefault(node.signal, []).append(path)
    live = [step.path for step in found.steps if step.status is StepStatus.SUSPENDED]
    for name, templates in places.items():
        yield Waiting(
            name=name,
            paths=tuple(path for path in live if template_of(path) in templates),
            json_schema=schema_of(engine, found.tree, name),
        )


def payload_of(engine: Client, found: Record, name: str, data: bytes) -> Any:
    """Return the payload of a signal, as its type where that is known.

    Raises:
        Rejected: If it does not fit; it names the places.
    """
    known = _type(engine, found.tree, name)
    try:
        return read_json(data) if known is None else codec_of(known[0]).decode_lax(data)
    except StepValueError as error:
        problems = places_in("payload", error)
        raise Rejected(422, f"the payload is not valid: {error}", problems=problems) from None


def schema_of(engine: Client, tree: WorkflowSpec, name: str) -> dict[str, Any] | None:
    """Return the JSON schema of a signal's payload.

    ``None``: this code does not have the type that the run was started with.
    """
    known = _type(engine, tree, name)
    return None if known is None else codec_of(known[0]).schema()


def _type(engine: Client, tree: WorkflowSpec, name: str) -> tuple[Any] | None:
    """Return the type of a signal as this code has it, if the run was started with that type."""
    wanted = {
        node.schema for _, node in walk(tree) if isinstance(node, WaitSpec) and node.signal == name
    }
    for workflow in engine.workflows:
        if workflow.id != tree.id:
            continue
        try:
            signals = workflow.compile(engine.defaults).signals
            if name in signals and codec_of(signals[name]).digest() in wanted:
                return (signals[name],)
        except GorkflowError:  # it does not work here
            return None
    return None
