"""Follows the values through a workflow: what fits where, who may read what.

The same walk serves each call that makes a workflow grow, and its compilation, which knows more:
the options that steps inherit, and the workflows around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import GenericAlias
from typing import TYPE_CHECKING, Any, NamedTuple

from gorkflow.annotations import NO_ITEMS, describe, fits, item_of, outcome_of, union_of
from gorkflow.codec import codec_of
from gorkflow.errors import StepInvalidError, ValueInvalidError
from gorkflow.flow import join_path, undo_path
from gorkflow.language._elements import (
    Block,
    Chain,
    Choice,
    Condition,
    Element,
    Loop,
    Map,
    Passthrough,
    Sleep,
    Wait,
)
from gorkflow.language._fit import NOTHING, Value, as_wanted, dropped_problems, fit_problems
from gorkflow.language._growth import seen_of
from gorkflow.language._options import StepDefaults, merged
from gorkflow.language._placement import LOCAL
from gorkflow.language._undoing import with_types
from gorkflow.step import Step, is_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gorkflow.node import Node
    from gorkflow.policy import Limit

_NO_IDS: frozenset[str] = frozenset()


@dataclass(slots=True, eq=False, repr=False)
class Record:
    """What compilation gathers on its way, by path."""

    steps: dict[str, Step[Any, Any]] = field(default_factory=dict[str, Step[Any, Any]])
    conditions: dict[str, tuple[Condition, ...]] = field(
        default_factory=dict[str, tuple[Condition, ...]]
    )
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    readable: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    defaults_of: dict[str, tuple[bytes, Any]] = field(default_factory=dict[str, tuple[bytes, Any]])
    payloads: dict[str, Any] = field(default_factory=dict[str, Any])
    keys: dict[str, Condition] = field(default_factory=dict[str, Condition])
    times: dict[str, Condition] = field(default_factory=dict[str, Condition])


class Place(NamedTuple):
    """Where in the tree the walk is."""

    prefix: str
    """The path of the workflow around."""
    defaults: StepDefaults
    """What steps inherit here."""
    before: tuple[frozenset[str] | set[str], ...]
    """Ids of the nodes that came before, per workflow around, innermost first."""
    siblings: frozenset[str] = _NO_IDS
    """Ids of the branches of the blocks around."""
    mark: str = ""
    """What the path of the body of a map or loop ends with."""

    def at(self, node_id: str) -> str:
        """Return the path of a node that stands here."""
        return join_path(self.prefix, node_id) + self.mark


class Walk:
    """One walk. It gathers every problem instead of stopping at the first."""

    def __init__(
        self, record: Record | None = None, limits: Mapping[str, Limit] | None = None
    ) -> None:
        self.problems: list[str] = []
        self.limits = dict(limits or {})
        """The named limits so far: one name can't stand for two."""
        self.unresolved: dict[str, str] = {}
        """Reads of ids that are not known here: the id, and the step that reads it."""
        self._record = record
        self._outcomes: dict[int, tuple[Any, Any]] = {}

    def element(self, element: Element, value: Value, place: Place) -> Value:
        """Follow a value through an element and return what comes out."""
        if isinstance(element, Block):
            return self._block(element, value, place)
        if isinstance(element, Map):
            return self._map(element, value, place)
        if isinstance(element, Choice):
            return self._choice(element, value, place)
        if isinstance(element, Loop):
            return self._loop(element, value, place)
        if isinstance(element, Sleep):
            return self._sleep(element, value, place)
        if isinstance(element, Wait):
            return self._wait(element, value, place)
        return self._node(element, value, place)

    def _node(
        self, node: Node[Any, Any], value: Value, place: Place, *, outcome: bool = False
    ) -> Value:
        """Follow a value through a node.

        Args:
            node: the node.
            value: what it gets.
            place: where it stands.
            outcome: whether a join sees the outcome, so that nothing stands in for a failure.
        """
        if is_step(node):
            return self._step(node, value, place, outcome=outcome)
        if isinstance(node, Passthrough):
            return self._passthrough(node, value, place)
        if isinstance(node, Chain):
            return self._workflow(node, value, place)
        raise TypeError(f"{node!r} is a node of an unknown kind")

    def _step(self, step: Step[Any, Any], value: Value, place: Place, *, outcome: bool) -> Value:
        step = self._with_types(step, value)
        self.problems += fit_problems(step.id, step.params, as_wanted(step.wanted, value))
        self.problems += dropped_problems(step.id, step.unused, value)
        for node in step.reads:
            self._read(node.id, step.id, value, place)
            generic = is_step(node) and node.is_generic
            if generic and step.spec(place.defaults).executor not in LOCAL:
                self.problems.append(
                    f"step {step.id!r} runs elsewhere and reads {node.id!r}, a generic step, whose "
                    "type is not known there; hand it on as an input"
                )
        undo = step.undone_by
        for user in (step,) if undo is None else (step, undo):
            for limit in user.limits(place.defaults):
                self._limit(limit, f"step {user.id!r}")
        if self._record is not None:
            path = place.at(step.id)
            self._record.steps[path] = step
            self._record.outputs[path] = step.output
            if undo is not None:
                self._record.steps[undo_path(path)] = undo
                self._record.outputs[undo_path(path)] = undo.output
            self._record.readable[path] = (
                value.ids.union(node.id for node in step.reads) if step.reads else value.ids
            )
        optional = not outcome and step.continues_on_error(place.defaults)
        return Value(
            union_of([step.output, None]) if optional else step.output,
            sources=(step.id,),
            ids=frozenset((step.id,)),
        )

    def _with_types(self, step: Step[Any, Any], value: Value) -> Step[Any, Any]:
        """Return the step of a generic function as it is where this value arrives."""
        if not step.is_generic or value.annotation is NOTHING:
            return step
        try:
            return with_types(step, as_wanted(step.wanted, value).annotation)
        except StepInvalidError as error:
            self.problems.append(str(error))
            return step

    def _limit(self, limit: Limit, user: str) -> None:
        known = self.limits.setdefault(limit.name, limit)
        if known != limit:
            self.problems.append(
                f"{user} knows limit {limit.name!r} as {limit}, another step as {known}; define it "
                "once and let both use it, or name them apart"
            )

    def _passthrough(self, node: Passthrough[Any], value: Value, place: Place) -> Value:
        self.problems += fit_problems(node.id, (("value", node.annotation),), value)
        if self._record is not None:
            self._record.outputs[place.at(node.id)] = node.annotation
        return Value(node.annotation, sources=(node.id,), ids=value.ids | {node.id})

    def _workflow(self, workflow: Chain[Any, Any], value: Value, place: Place) -> Value:
        if not workflow.elements:
            self.problems.append(f"workflow {workflow.id!r} is empty; give it a step with .then(…)")
        # What it calls by an id is its own node, also while that has not ended: a reader must not
        # get the one outside first, and that one later.
        ids = value.ids.difference(*map(seen_of, workflow.elements))
        if workflow.input is None:
            inner = Value(NOTHING, ids=ids)
        else:
            self.problems += fit_problems(
                workflow.id, (("input", workflow.input),), value, what="workflow"
            )
            inner = Value(workflow.input, ids=ids)
        if self._record is None and not place.defaults.get("continue_on_error"):
            # It was walked when it was made; only inherited options or the scope around could
            # change what was found.
            for limit in workflow.limits.values():
                self._limit(limit, f"workflow {workflow.id!r}")
            for wanted, reader in workflow.unresolved.items():
                self._read(wanted, reader, value, place)
            return _leaving(workflow, workflow.output)
        path = place.at(workflow.id)
        own: set[str] = set()
        inside = Place(
            path,
            merged(place.defaults, workflow.defaults),
            (own, *place.before),
            place.siblings,
        )
        found = self.sequence(workflow.elements, inner, inside, own)
        if self._record is not None:
            self._record.outputs[path] = found.annotation
        return _leaving(workflow, found.annotation)

    def sequence(
        self, elements: tuple[Element, ...], value: Value, place: Place, own: set[str]
    ) -> Value:
        """Follow a value through elements one after another; ``own`` takes up their ids."""
        for element in elements:
            value = self.element(element, value, place)
            own.update(seen_of(element))
        return value

    def _block(self, block: Block, value: Value, place: Place) -> Value:
        inside = place._replace(siblings=place.siblings.union(node.id for node in block.branches))
        outcome = block.join.kind != "all"
        branches = [self._node(node, value, inside, outcome=outcome) for node in block.branches]
        annotations = [branch.annotation for branch in branches]
        sources: tuple[str, ...] = tuple(node.id for node in block.branches)
        if block.join.kind == "first":
            annotation: Any = union_of(annotations)
            sources = (block.id,)
        elif block.join.kind == "all":
            annotation = GenericAlias(tuple, tuple(annotations))
        else:
            annotation = GenericAlias(tuple, tuple(map(self._outcome, annotations)))
        if self._record is not None:
            self._record.outputs[join_path(place.prefix, block.id)] = annotation
        ids = frozenset[str]().union(*(branch.ids for branch in branches))
        return Value(annotation, sources=sources, ids=ids, of_block=block.join.kind != "first")

    def _map(self, element: Map, value: Value, place: Place) -> Value:
        item = Any if value.annotation is NOTHING else item_of(value.annotation)
        if value.annotation is NOTHING or item is NO_ITEMS:
            gets = "nothing" if value.annotation is NOTHING else describe(value.annotation)
            origin = f" from {value.sources[0]!r}" if len(value.sources) == 1 else ""
            self.problems.append(
                f"map of {element.body.id!r} takes a list, but gets {gets}{origin}; a step before "
                "it has to return one, such as list[…]"
            )
            item = Any
        one = Value(item, value.sources[:1] if len(value.sources) == 1 else (), value.ids)
        if element.key is not None:
            self._asked(element.key, one, "key")
        kind = element.join.kind
        body = self._node(element.body, one, place._replace(mark="[]"), outcome=kind != "all")
        annotation = body.annotation
        if kind != "first":
            items = annotation if kind == "all" else self._outcome(annotation)
            annotation = GenericAlias(list, (items,))
        if self._record is not None:
            path = join_path(place.prefix, element.id)
            self._record.outputs[path] = annotation
            if element.key is not None:
                self._record.keys[path] = element.key
        return Value(annotation, (element.body.id,), frozenset((element.id,)))

    def _loop(self, loop: Loop, value: Value, place: Place) -> Value:
        node = self._with_types(loop.body, value) if is_step(loop.body) else loop.body
        body = self._node(node, value, place._replace(mark="#"))
        self.problems += [
            f"in a loop a node gets what it gave before: {problem}"
            for problem in fit_problems(node.id, params_of(node), body, what="node")
        ]
        until = loop.until
        self._asked(until, body, "condition")
        if self._record is not None:
            path = join_path(place.prefix, loop.id)
            self._record.outputs[path] = body.annotation
            self._record.conditions[path] = (until,)
        return Value(body.annotation, (loop.body.id,), frozenset((loop.id,)))

    def _asked(self, function: Condition, value: Value, what: str) -> None:
        """Check that a function that is no step can be asked about a value."""
        self.problems += fit_problems(function.name, function.params, value, what=what)
        self.problems += dropped_problems(function.name, function.unused, value, what=what)

    def _outcome(self, annotation: Any) -> Any:
        # By identity: most branches of a wide block share one annotation, and typing is slow.
        found = self._outcomes.get(id(annotation))
        if found is None:
            found = self._outcomes[id(annotation)] = (annotation, outcome_of(annotation))
        return found[1]

    def _time(self, pause: Sleep | Wait, value: Value, place: Place) -> None:
        function = pause.time.function
        if function is not None:
            self.problems += fit_problems(
                function.name, function.params, value, what=f"the time of {pause.id!r},"
            )
            if self._record is not None:
                self._record.times[join_path(place.prefix, pause.id)] = function

    def _sleep(self, sleep: Sleep, value: Value, place: Place) -> Value:
        self._time(sleep, value, place)
        if self._record is not None:
            given = None if value.annotation is NOTHING else value.annotation
            self._record.outputs[join_path(place.prefix, sleep.id)] = given
        return value._replace(ids=value.ids | {sleep.id})

    def _wait(self, wait: Wait, value: Value, place: Place) -> Value:
        self._time(wait, value, place)
        path = join_path(place.prefix, wait.id)
        given = None if value.annotation is NOTHING else value.annotation
        annotation = GenericAlias(tuple, (given, wait.annotation))
        if self._record is not None:
            self._record.outputs[path] = annotation
            self._record.payloads[path] = wait.annotation
        if wait.has_default:
            self._default(f"signal {wait.signal!r}", wait.default, wait.annotation, path)
        return Value(annotation, sources=(wait.id,), ids=value.ids | {wait.id})

    def _choice(self, choice: Choice, value: Value, place: Place) -> Value:
        for arm in choice.arms:
            self._asked(arm.condition, value, "condition")
        branches = [self._node(node, value, place) for node in choice.nodes]
        annotations = [branch.annotation for branch in branches]
        ids = frozenset[str]().union(*(branch.ids for branch in branches))
        path = join_path(place.prefix, choice.id)
        if choice.otherwise is None:
            ids |= value.ids
            if choice.has_default:
                name = repr(choice.arms[0].node.id)
                self._default(name, choice.default, annotations[0], path)
            else:
                annotations = [value.annotation, *self._alike(choice, annotations[0], value)]
        annotation = union_of(annotations)
        if self._record is not None:
            self._record.outputs[path] = annotation
            self._record.conditions[path] = tuple(arm.condition for arm in choice.arms)
        return Value(annotation, sources=(choice.id,), ids=ids)

    def _alike(self, choice: Choice, annotation: Any, value: Value) -> list[Any]:
        """Return what the arm adds to the input that stands in where it is skipped: nothing."""
        node = choice.arms[0].node
        if value.annotation is NOTHING or not fits(annotation, value.annotation):
            given = "nothing" if value.annotation is NOTHING else describe(value.annotation)
            self.problems.append(
                f"{node.id!r} gives {describe(annotation)}, but where its condition does not hold "
                f"its input goes on, which is {given}: give then_if a default="
            )
            return [annotation]
        return []

    def _default(self, what: str, default: Any, annotation: Any, path: str) -> None:
        try:
            data = codec_of(annotation).accept(default)
        except ValueInvalidError as error:
            self.problems.append(f"the default of {what} is no {describe(annotation)}: {error}")
        else:
            if self._record is not None:
                self._record.defaults_of[path] = (data, annotation)

    def _read(self, wanted: str, reader: str, value: Value, place: Place) -> None:
        """Check that a step may read the output of a node."""
        if wanted in value.ids:
            return
        if any(wanted in ids for ids in place.before):
            return
        if wanted in place.siblings:
            self.problems.append(
                f"step {reader!r} reads {wanted!r}, which runs beside it; move {wanted!r} before "
                "the block, or chain the two in a nested workflow"
            )
            return
        self.unresolved.setdefault(wanted, reader)


def params_of(node: Node[Any, Any]) -> Sequence[tuple[str, Any]]:
    """Return name and annotation of each input of a node."""
    if isinstance(node, Step):
        return node.params
    if isinstance(node, Chain):
        return () if node.input is None else (("input", node.input),)
    return (("value", getattr(node, "annotation", Any)),)


def _leaving(workflow: Chain[Any, Any], annotation: Any) -> Value:
    """Return the value that a nested workflow gives; what is inside stays unseen."""
    return Value(annotation, sources=(workflow.id,), ids=frozenset((workflow.id,)))
