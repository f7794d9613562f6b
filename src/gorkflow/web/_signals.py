"""The signals that a run waits for, with the JSON schema of each where its type is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from gorkflow.codec import codec_of, read_json
from gorkflow.errors import GorkflowError, StepValueError
from gorkflow.flow import WaitSpec, template_of, walk
from gorkflow.web._answers import Rejected, places_in
from gorkflow.web._view import RunView
from gorkflow.web.site import Site


class Waiting(Struct, frozen=True, kw_only=True):
    """A signal that a run may take."""

    name: str
    paths: tuple[str, ...]
    """The paths that wait for it now; none: a later part of the run will."""
    json_schema: dict[str, Any] | None
    """The JSON schema of its payload; ``None``: its type is not known here."""


def waiting(site: Site, view: RunView) -> Iterator[Waiting]:
    """Yield the signals of a run, in the order of its flow."""
    if view.row.status.terminal:
        return
    places: dict[str, list[str]] = {}
    for path, node in walk(view.tree):
        if isinstance(node, WaitSpec):
            places.setdefault(node.signal, []).append(path)
    live = [wait.path for wait in view.waits()]
    for name, templates in places.items():
        yield Waiting(
            name=name,
            paths=tuple(path for path in live if template_of(path) in templates),
            json_schema=schema_of(site, view, name),
        )


def payload_of(site: Site, view: RunView, name: str, data: bytes) -> Any:
    """Return the payload of a signal, as its type where that is known.

    Raises:
        Rejected: If it does not fit; it names the places.
    """
    known = _type(site, view, name)
    try:
        return read_json(data) if known is None else codec_of(known[0]).decode_lax(data)
    except StepValueError as error:
        problems = places_in("payload", error)
        raise Rejected(422, f"the payload is not valid: {error}", problems=problems) from None


def schema_of(site: Site, view: RunView, name: str) -> dict[str, Any] | None:
    """Return the JSON schema of a signal's payload.

    ``None``: this code does not have the type that the run was started with.
    """
    known = _type(site, view, name)
    return None if known is None else codec_of(known[0]).schema()


def _type(site: Site, view: RunView, name: str) -> tuple[Any] | None:
    """Return the type of a signal as this code has it, if the run was started with that type."""
    wanted = {
        node.schema
        for _, node in walk(view.tree)
        if isinstance(node, WaitSpec) and node.signal == name
    }
    try:
        definition = site.definition(view.row.workflow_id)
        if definition is not None and name in definition.signals:
            known = definition.signals[name]
            return (known,) if codec_of(known).digest() in wanted else None
    except GorkflowError:  # it does not work here
        pass
    return None
