"""References to values: what the machine moves about instead of bytes.

A reference is plain data that names where a value was recorded, so composing values (the tuple of a
block, say) costs nothing and no composed value is ever stored twice. The engine materialises bytes
only for the step about to run.

==============  =================================================================================
``None``        the value ``None``
``int``         the value recorded by the event of that ``seq``; of a ``block_decided`` event, what
                its own ``output`` reference stands for
``tuple``       the tuple of these values
``ListOf``      the list of these values: what a map gives
``Item``        one item of a recorded list
``Default``     the ``default=`` that the definition gives the choice or wait at a path
``Ended``       the outcome of a branch: how it ended, with its value or failure
==============  =================================================================================

As JSON (in events): null, a number, a list, ``{"list": […]}``, ``{"item": 3, "of": …}``,
``{"default": path}``, ``{"path": …, "status": …}``.
"""

from __future__ import annotations

from typing import Any, cast

from gorkflow._record import record
from gorkflow.model import Failure, StepStatus


@record
class Default:
    """The ``default=`` value that the definition holds for the choice or wait at ``path``."""

    path: str


FailureRef = int | Failure
"""A failure: the ``seq`` of its ``step_failed`` event, or one that the machine itself made."""


@record
class Ended:
    """How a step, branch or workflow ended. As a reference: the outcome of a branch."""

    path: str
    status: StepStatus
    """``completed``, ``failed``, ``cancelled`` or ``skipped``."""
    value: Ref = None
    """The output, when completed or skipped."""
    failures: tuple[FailureRef, ...] = ()
    """What failed, in declared order, when failed."""
    reason: str = ""
    """Why, when cancelled or skipped."""
    optional: bool = False
    """Failed, but ``continue_on_error`` lets the value ``None`` stand in for it."""


@record
class ListOf:
    """The list of these values."""

    items: tuple[Ref, ...]


@record
class Item:
    """One item of a list that was recorded as a whole."""

    of: Ref
    index: int


Ref = None | int | tuple["Ref", ...] | ListOf | Item | Default | Ended


def item_of(ref: Ref, index: int) -> Ref:
    """Return the reference to an item of a list."""
    known = ref.items if isinstance(ref, ListOf) else ref
    if isinstance(known, tuple) and index < len(known):
        return known[index]
    return Item(ref, index)


def ref_to_json(ref: Ref) -> Any:
    """Return the reference as plain JSON data."""
    if ref is None or isinstance(ref, int):
        return ref
    if isinstance(ref, tuple):
        return [ref_to_json(item) for item in ref]
    if isinstance(ref, ListOf):
        return {"list": ref_to_json(ref.items)}
    if isinstance(ref, Item):
        return {"item": ref.index, "of": ref_to_json(ref.of)}
    if isinstance(ref, Default):
        return {"default": ref.path}
    body: dict[str, Any] = {"path": ref.path, "status": ref.status.value}
    if ref.value is not None:
        body["value"] = ref_to_json(ref.value)
    if ref.failures:
        body["failures"] = failures_to_json(ref.failures)
    if ref.reason:
        body["reason"] = ref.reason
    if ref.optional:
        body["optional"] = True
    return body


def ref_from_json(body: Any) -> Ref:
    """Return the reference that ``ref_to_json`` wrote.

    Raises:
        ValueError: the data is no reference.
    """
    if body is None or (isinstance(body, int) and not isinstance(body, bool)):
        return body
    if isinstance(body, list):
        return tuple(ref_from_json(item) for item in cast("list[object]", body))
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    if "list" in fields:
        return ListOf(tuple(ref_from_json(item) for item in fields["list"]))
    if "item" in fields:
        return Item(ref_from_json(fields["of"]), int(fields["item"]))
    if "default" in fields:
        return Default(str(fields["default"]))
    if "status" in fields:
        return Ended(
            path=str(fields["path"]),
            status=StepStatus(fields["status"]),
            value=ref_from_json(fields.get("value")),
            failures=failures_from_json(fields.get("failures", [])),
            reason=str(fields.get("reason", "")),
            optional=bool(fields.get("optional", False)),
        )
    raise ValueError(f"not a reference: {body!r}")


def failures_to_json(failures: tuple[FailureRef, ...]) -> list[Any]:
    """Return the failures as plain JSON data."""
    return [item if isinstance(item, int) else item.to_json() for item in failures]


def failures_from_json(body: list[Any]) -> tuple[FailureRef, ...]:
    """Return the failures that ``failures_to_json`` wrote."""
    return tuple(item if isinstance(item, int) else Failure.from_json(item) for item in body)
