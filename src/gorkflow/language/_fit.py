"""Whether a value fits the parameters of what comes next, and how to say so if not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from types import GenericAlias
from typing import Any, NamedTuple, get_origin

from gorkflow.annotations import (
    describe,
    fits,
    is_optional,
    item_of,
    tuple_items,
    without_none,
)
from gorkflow.language._signature import dropped

NOTHING: Any = type("Nothing", (), {"__doc__": "Stands for no value at all."})
_MAX_PERMUTED = 6
_MAX_LISTED = 5


class Value(NamedTuple):
    """What flows from one node to the next."""

    annotation: Any
    """``NOTHING`` at the start of a workflow without input."""
    sources: tuple[str, ...] = ()
    """Ids of the nodes it comes from: of a block, one per item."""
    ids: frozenset[str] = frozenset()
    """What a step that gets it may read without a word."""
    of_block: bool = False
    """Whether it is the tuple that a block gives, which a step may take as a list, too."""


def as_wanted(wanted: Sequence[Any], value: Value) -> Value:
    """Return what a block gives as a list, where that is what a step takes."""
    if not value.of_block or len(wanted) != 1 or (get_origin(wanted[0]) or wanted[0]) is not list:
        return value
    return value._replace(annotation=GenericAlias(list, (item_of(value.annotation),)))


def fit_problems(
    node_id: str, params: Sequence[tuple[str, Any]], value: Value, *, what: str = "step"
) -> list[str]:
    """Return why a value can't be handed to these parameters.

    Args:
        node_id: who takes it.
        params: name and annotation of each input.
        value: what it gets.
        what: what it is, for the message.
    """
    if not params:
        return []
    if value.annotation is NOTHING:
        problem = (
            f"{what} {node_id!r} takes {_written(params)}, but the workflow has no input; declare "
            f"it: Workflow(…, input={describe(params[0][1])})"
        )
        return [problem]
    if len(params) == 1:
        return list(_single(node_id, params[0], value, what))
    if value.annotation is Any:
        return []
    items = tuple_items(value.annotation)
    if items is None:
        problem = (
            f"{what} {node_id!r} takes {len(params)} inputs ({_written(params)}), but gets one "
            f"value, {describe(value.annotation)}{_origin(value)}; several inputs take a "
            "tuple, such as a block gives"
        )
        return [problem]
    if len(items) != len(params):
        problem = (
            f"{what} {node_id!r} takes {len(params)} inputs ({_written(params)}), but gets "
            f"{len(items)}: {_listed(items, value)}"
        )
        return [problem]
    return list(_spread(node_id, params, items, value, what))


def dropped_problems(
    node_id: str, names: Sequence[str], value: Value, *, what: str = "step"
) -> list[str]:
    """Return why a value would be dropped without a word by what has no inputs.

    Args:
        node_id: who gets it.
        names: its parameters with a default that stand where inputs do.
        value: what it gets.
        what: what it is, for the message.
    """
    if not names or value.annotation in (NOTHING, None, type(None)):
        return []
    return [dropped(f"{what} {node_id!r}", names, f"{describe(value.annotation)}{_origin(value)}")]


def _single(node_id: str, param: tuple[str, Any], value: Value, what: str) -> Iterator[str]:
    name, wanted = param
    if fits(value.annotation, wanted):
        return
    if _only_none_is_wrong(value.annotation, wanted):
        yield _none_problem(node_id, param, value.sources[-1:], what)
        return
    message = (
        f"{what} {node_id!r} takes {name}: {describe(wanted)}, but gets "
        f"{describe(value.annotation)}{_origin(value)}"
    )
    items = tuple_items(value.annotation)
    if items is not None and len(items) > 1:
        message += f"; a tuple comes apart: write one parameter per item ({len(items)})"
    yield message


def _spread(
    node_id: str,
    params: Sequence[tuple[str, Any]],
    items: tuple[Any, ...],
    value: Value,
    what: str,
) -> Iterator[str]:
    sources = value.sources if len(value.sources) == len(items) else ("",) * len(items)
    wrong = [
        index
        for index, (item, param) in enumerate(zip(items, params, strict=True))
        if not fits(item, param[1])
    ]
    if not wrong:
        return
    order = _order_that_fits(params, items)
    if order is not None:
        written = ", ".join(f"{params[i][0]}: {describe(params[i][1])}" for i in order)
        yield (
            f"{what} {node_id!r} takes its inputs in another order than they come: write "
            f"({written})"
        )
        return
    for index in wrong[:_MAX_LISTED]:
        item, param = items[index], params[index]
        if _only_none_is_wrong(item, param[1]):
            yield _none_problem(node_id, param, sources[index : index + 1], what)
            continue
        origin = f" from {sources[index]!r}" if sources[index] else ""
        yield (
            f"{what} {node_id!r} takes {param[0]}: {describe(param[1])}, but gets "
            f"{describe(item)}{origin}"
        )
    if len(wrong) > _MAX_LISTED:
        yield f"{what} {node_id!r}: and {len(wrong) - _MAX_LISTED} more inputs that don't fit"


def _order_that_fits(
    params: Sequence[tuple[str, Any]], items: tuple[Any, ...]
) -> tuple[int, ...] | None:
    """Return the order of the parameters in which every item would fit, if there is one."""
    if len(params) > _MAX_PERMUTED:
        return None
    table = [[fits(item, param[1]) for param in params] for item in items]
    for order in permutations(range(len(params))):
        if all(table[item][param] for item, param in enumerate(order)):
            return order
    return None


def _only_none_is_wrong(given: Any, wanted: Any) -> bool:
    return (
        is_optional(given)
        and without_none(given) is not None
        and not is_optional(wanted)
        and fits(without_none(given), wanted)
    )


def _none_problem(node_id: str, param: tuple[str, Any], sources: tuple[str, ...], what: str) -> str:
    name, wanted = param
    origin = f" from {sources[0]!r}" if sources and sources[0] else ""
    return (
        f"{what} {node_id!r} may get None{origin} (continue_on_error, or what it returns): write "
        f"`{name}: {describe(wanted)} | None`"
    )


def _origin(value: Value) -> str:
    if len(value.sources) == 1:
        return f" from {value.sources[0]!r}"
    return f" from the block of {value.sources[0]!r}" if value.sources else " as input"


def _written(params: Sequence[tuple[str, Any]]) -> str:
    shown = [f"{name}: {describe(annotation)}" for name, annotation in params[:_MAX_LISTED]]
    return ", ".join(shown) + (", …" if len(params) > _MAX_LISTED else "")


def _listed(items: tuple[Any, ...], value: Value) -> str:
    sources = value.sources if len(value.sources) == len(items) else ()
    shown = [
        describe(item) + (f" from {sources[index]!r}" if sources else "")
        for index, item in enumerate(items[:_MAX_LISTED])
    ]
    return ", ".join(shown) + (", …" if len(items) > _MAX_LISTED else "")
