"""The blocks of a workflow: nodes that run side by side, given one by one or for every item."""

from __future__ import annotations

from types import GenericAlias
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from gorkflow._text import brief, did_you_mean
from gorkflow.annotations import NO_ITEMS, describe, item_of, union_of
from gorkflow.flow import MapSpec, ParallelSpec
from gorkflow.language.elements import node_problems
from gorkflow.language.options import chosen_id, timeout_of
from gorkflow.language.signature import Condition, asked_function
from gorkflow.language.typecheck import NOTHING, Element, Place, Record, Value, Walk
from gorkflow.policy import Join, OnFailure, is_count

if TYPE_CHECKING:
    from collections.abc import Callable

_JOINS = {"all": Join("all"), "settled": Join("settled"), "first": Join("first")}
_ON_FAILURE = ("drain", "cancel")


class BlockOptions(Struct, frozen=True):
    """The options that blocks and maps share, as those of ``BlockSpec``."""

    join: Join
    on_failure: OnFailure
    max_concurrency: int | None
    timeout: float | None


class Block(Struct, Element, frozen=True):
    """A parallel block."""

    id: str
    branches: tuple[Any, ...]
    options: BlockOptions

    def inside(self) -> tuple[Any, ...]:
        return self.branches

    def with_inside(self, change: Callable[[Any], Any]) -> Block:
        return replace(self, branches=tuple(map(change, self.branches)))

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Hand the value to each branch; what comes out depends on the join."""
        kind = self.options.join.kind
        sources: tuple[str, ...] = tuple(node.id for node in self.branches)
        inside = place._replace(siblings=place.siblings.union(sources), joined=kind != "all")
        branches = [node.typed(walk, value, inside) for node in self.branches]
        annotations = [branch.annotation for branch in branches]
        if kind == "first":
            annotation: Any = union_of(annotations)
            sources = (self.id,)
        elif kind == "all":
            annotation = GenericAlias(tuple, tuple(annotations))
        else:
            annotation = GenericAlias(tuple, tuple(map(walk.outcome, annotations)))
        walk.record.outputs[place.at(self.id)] = annotation
        ids = frozenset[str]().union(*(branch.ids for branch in branches))
        return Value(annotation, sources=sources, ids=ids, of_block=kind != "first")

    def compiled(self, record: Record, place: Place) -> ParallelSpec:
        return ParallelSpec(
            id=self.id,
            branches=tuple([item.compiled(record, place) for item in self.branches]),
            **asdict(self.options),
        )


class Map(Struct, Element, frozen=True):
    """A body that runs for every item of a list."""

    mark = MapSpec.mark
    id: str
    body: Any
    key: Condition | None
    """The function that gives the items their keys."""
    options: BlockOptions

    def inside(self) -> tuple[Any, ...]:
        return (self.body,)

    def with_inside(self, change: Callable[[Any], Any]) -> Map:
        return replace(self, body=change(self.body))

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Hand the items of a list to the body, and collect what it makes of them."""
        item = Any if value.annotation is NOTHING else item_of(value.annotation)
        if value.annotation is NOTHING or item is NO_ITEMS:
            gets = "nothing" if value.annotation is NOTHING else describe(value.annotation)
            origin = f" from {value.sources[0]!r}" if len(value.sources) == 1 else ""
            walk.problems.append(
                f"map of {self.body.id!r} takes a list, but gets {gets}{origin}; a step before "
                "it has to return one, such as list[…]"
            )
            item = Any
        one = Value(item, value.sources[:1] if len(value.sources) == 1 else (), value.ids)
        path, kind = place.at(self.id), self.options.join.kind
        if self.key is not None:
            walk.asked(self.key, one, "key")
            walk.record.keys[path] = self.key
        body = self.body.typed(walk, one, place._replace(mark=self.mark, joined=kind != "all"))
        annotation = body.annotation
        if kind != "first":
            items = annotation if kind == "all" else walk.outcome(annotation)
            annotation = GenericAlias(list, (items,))
        walk.record.outputs[path] = annotation
        return Value(annotation, (self.body.id,), frozenset((self.id,)))

    def compiled(self, record: Record, place: Place) -> MapSpec:
        return MapSpec(
            id=self.id,
            body=self.body.compiled(record, place._replace(mark=self.mark)),
            **asdict(self.options),
            keyed=self.key is not None,
        )


def make_block(
    problems: list[str],
    *,
    branches: tuple[Any, ...],
    id: Any,
    **options: Any,
) -> Block | None:
    """Return a block, or ``None`` if it can't be made; add its problems."""
    if not branches:
        problems.append("a parallel block needs at least one branch")
    bad: Any = node_problems(branches)
    problems += bad
    checked = _checked(problems, len(branches), **options)
    bad = bad or not branches
    block_id = chosen_id("block", id, "" if bad else f"&{branches[0].id}", problems)
    return None if bad else Block(block_id, branches, checked)


def make_map(
    problems: list[str],
    *,
    node: Any,
    key: Any,
    id: Any,
    **options: Any,
) -> Map | None:
    """Return a map, or ``None`` if it can't be made; add its problems."""
    bad = node_problems((node,))
    problems += bad
    checked = _checked(problems, None, **options)
    function = None
    if key is not None:
        function = asked_function(problems, key, "the key", str | int, "a str or int")
    map_id = chosen_id("map", id, "" if bad else f"*{node.id}", problems)
    if bad or (function is None and key is not None):
        return None
    return Map(map_id, node, function, checked)


def _checked(
    problems: list[str],
    branches: int | None,
    *,
    join: Any,
    on_failure: Any,
    max_concurrency: Any,
    timeout: Any,
) -> BlockOptions:
    """Return the options of a block, or of a map, whose number of branches only a run knows."""
    rule = _JOINS.get(join) if isinstance(join, str) else join
    if isinstance(rule, Join):
        problems += _join_problems(rule, branches)
    else:
        known = [*_JOINS, "at_least(n)", "tolerate(n)"]
        listed = f"there are: {', '.join(known)}"
        hint = did_you_mean(join, known) if isinstance(join, str) else listed
        problems.append(f"unknown join {brief(join)}; {hint}")
        rule = _JOINS["all"]
    if on_failure not in _ON_FAILURE:
        problems.append(f"on_failure must be 'drain' or 'cancel', not {brief(on_failure)}")
    if max_concurrency is not None and not is_count(max_concurrency):
        problems.append(
            f"max_concurrency must be a whole number of 1 or more, not {brief(max_concurrency)}"
        )
    return BlockOptions(rule, on_failure, max_concurrency, timeout_of(timeout, problems))


def _join_problems(join: Join, branches: int | None) -> list[str]:
    if branches is None:
        never = join.percent == 100
        return [f"join {join} could never fail; write join='settled'"] if never else []
    if join.kind == "at_least" and (join.count or 0) > branches:
        return [f"join {join} can never be met by {branches} branches"]
    everything = join.count is not None and join.count >= branches
    if join.kind == "tolerate" and branches and (everything or join.percent == 100):
        return [f"join {join} could never fail with {branches} branches; write join='settled'"]
    return []
