"""Makes the elements whose body runs more than once: maps and loops."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.annotations import describe, fits
from gorkflow.language._elements import (
    Condition,
    Loop,
    Map,
    block_timeout,
    condition_problems,
    is_count,
    join_of,
    node_problems,
)
from gorkflow.language._options import id_problems
from gorkflow.node import Node

if TYPE_CHECKING:
    from datetime import timedelta


def make_map(
    node: Any,
    *,
    key: Any,
    join: Any,
    on_failure: Any,
    max_concurrency: Any,
    timeout: float | timedelta | None,
    id: Any,
    problems: list[str],
) -> Map | None:
    """Return a map, or ``None`` where there is too little to go on; add what is wrong with it."""
    bad = node_problems((node,))
    problems += bad
    rule = join_of(join, problems)
    if rule.percent == 100:
        problems.append(f"join {rule} could never fail; write join='settled'")
    seconds = block_timeout(on_failure, max_concurrency, timeout, problems)
    bad_key = [] if key is None else _key_problems(key)
    problems += bad_key
    if id is not None:
        problems += id_problems("map", id)
    if bad or bad_key:
        return None
    map_id = f"*{node.id}" if id is None else id
    function = None if key is None else Condition(key)
    return Map(map_id, node, function, rule, on_failure, max_concurrency, seconds)


def make_loop(
    node: Any, *, until: Any, max_iterations: Any, id: Any, problems: list[str]
) -> Loop | None:
    """Return a loop, or ``None`` where there is too little to go on; add what is wrong with it."""
    bad = node_problems((node,)) + condition_problems(until)
    problems += bad
    if not is_count(max_iterations):
        problems.append(
            f"max_iterations must be a whole number of 1 or more, not {brief(max_iterations)}"
        )
    if id is not None:
        problems += id_problems("loop", id)
    if bad:
        return None
    loop_id = f"@{node.id}" if id is None else id
    return Loop(loop_id, node, Condition(until), max_iterations)


def _key_problems(key: Any) -> list[str]:
    if inspect.iscoroutine(key):
        key.close()
        return ["the key function was called; give the function itself, without ()"]
    if isinstance(key, Node) or not callable(key):
        return [f"key must be a function that returns a str or int, not {brief(key)}"]  # pyright: ignore[reportUnknownArgumentType]
    function = Condition(key)
    if not fits(function.returns, str | int):
        name, gives = function.name, describe(function.returns)
        return [f"key {name!r} must return a str or int, which names the item, not {gives}"]
    return []
