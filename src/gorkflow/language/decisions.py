"""The decisions of a workflow: choices and loops, which ask functions of the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gorkflow._text import brief
from gorkflow.annotations import describe, fits, union_of
from gorkflow.flow import ArmSpec, ChoiceSpec, LoopSpec
from gorkflow.language.elements import UNSET, node_problems
from gorkflow.language.options import chosen_id
from gorkflow.language.signature import Condition, asked_function
from gorkflow.language.typecheck import NOTHING, Element, Place, Record, Value, Walk, fit_problems
from gorkflow.policy import is_count

if TYPE_CHECKING:
    from collections.abc import Callable


class Arm(Struct, frozen=True):
    """A condition and the node that runs where it holds."""

    condition: Condition
    node: Any


class Choice(Struct, Element, frozen=True):
    """The first arm whose condition holds; else ``otherwise``; else the node is skipped."""

    id: str
    arms: tuple[Arm, ...]
    otherwise: Any = None
    default: Any = None
    """When skipped, if ``has_default``; else the choice's own input."""
    has_default: bool = False

    def inside(self) -> tuple[Any, ...]:
        arms = tuple(arm.node for arm in self.arms)
        return arms if self.otherwise is None else (*arms, self.otherwise)

    def with_inside(self, change: Callable[[Any], Any]) -> Choice:
        arms = tuple(replace(arm, node=change(arm.node)) for arm in self.arms)
        otherwise = None if self.otherwise is None else change(self.otherwise)
        return replace(self, arms=arms, otherwise=otherwise)

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Hand the value to every arm; what comes out is of one of them."""
        for arm in self.arms:
            walk.asked(arm.condition, value, "condition")
        branches = [node.typed(walk, value, place) for node in self.inside()]
        annotations = [branch.annotation for branch in branches]
        ids = frozenset[str]().union(*(branch.ids for branch in branches))
        path = place.at(self.id)
        if self.otherwise is None:
            ids |= value.ids
            if self.has_default:
                walk.default(repr(self.arms[0].node.id), self.default, annotations[0], path)
            else:
                annotations = [value.annotation, *self._alike(walk, annotations[0], value)]
        annotation = union_of(annotations)
        walk.record.outputs[path] = annotation
        walk.record.conditions[path] = tuple(arm.condition for arm in self.arms)
        return Value(annotation, sources=(self.id,), ids=ids)

    def _alike(self, walk: Walk, annotation: Any, value: Value) -> list[Any]:
        """Return what the arm adds to the input that stands in where it is skipped: nothing."""
        node = self.arms[0].node
        if value.annotation is NOTHING or not fits(annotation, value.annotation):
            given = "nothing" if value.annotation is NOTHING else describe(value.annotation)
            walk.problems.append(
                f"{node.id!r} returns {describe(annotation)}, but its input ({given}) passes "
                "unchanged if the condition does not hold: give then_if a default="
            )
            return [annotation]
        return []

    def compiled(self, record: Record, place: Place) -> ChoiceSpec:
        arms = tuple(
            ArmSpec(condition=arm.condition.name, node=arm.node.compiled(record, place))
            for arm in self.arms
        )
        otherwise = self.otherwise
        return ChoiceSpec(
            id=self.id,
            arms=arms,
            otherwise=None if otherwise is None else otherwise.compiled(record, place),
            default=record.default(place.at(self.id)),
        )


class Loop(Struct, Element, frozen=True):
    """A body that runs again with its own output, until a condition holds."""

    mark = LoopSpec.mark
    id: str
    body: Any
    until: Condition
    max_iterations: int

    def inside(self) -> tuple[Any, ...]:
        return (self.body,)

    def with_inside(self, change: Callable[[Any], Any]) -> Loop:
        return replace(self, body=change(self.body))

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Hand the value to the body, which has to take its own output, too."""
        node = self.body.given(walk, value)
        body = node.typed(walk, value, place._replace(mark=self.mark))
        walk.problems += [
            f"in a loop, a node gets its own output: {problem}"
            for problem in fit_problems(node.id, node.inputs, body, what="node")
        ]
        walk.asked(self.until, body, "condition")
        path = place.at(self.id)
        walk.record.outputs[path] = body.annotation
        walk.record.conditions[path] = (self.until,)
        return Value(body.annotation, (self.body.id,), frozenset((self.id,)))

    def compiled(self, record: Record, place: Place) -> LoopSpec:
        return LoopSpec(
            id=self.id,
            body=self.body.compiled(record, place._replace(mark=self.mark)),
            condition=self.until.name,
            max_iterations=self.max_iterations,
        )


def make_option(
    problems: list[str], *, condition: Any, node: Any, default: Any, id: Any
) -> Choice | None:
    """Return a choice whose only arm may be skipped, or ``None``; add its problems."""
    arm = make_arm(problems, condition, node)
    if arm is None:
        chosen_id("choice", id, "", problems)
        return None
    return Choice(
        chosen_id("choice", id, f"?{node.id}", problems),
        (arm,),
        default=None if default is UNSET else default,
        has_default=default is not UNSET,
    )


def make_choice(
    problems: list[str], *, arms: tuple[Arm, ...], otherwise: Any, id: Any
) -> Choice | None:
    """Return a choice, or ``None`` if it can't be made; add its problems."""
    problems += node_problems((otherwise,))
    if problems:
        return None
    return Choice(chosen_id("choice", id, f"?{arms[0].node.id}", problems), arms, otherwise)


def make_arm(problems: list[str], condition: Any, node: Any) -> Arm | None:
    """Return an arm of a choice, or ``None`` if it can't be made; add its problems."""
    function = asked_function(problems, condition, "the condition", bool, "a bool")
    bad = node_problems((node,))
    problems += bad
    return None if bad or function is None else Arm(function, node)


def make_loop(
    problems: list[str], *, node: Any, until: Any, max_iterations: Any, id: Any
) -> Loop | None:
    """Return a loop, or ``None`` if it can't be made; add its problems."""
    bad = node_problems((node,))
    problems += bad
    function = asked_function(problems, until, "the condition", bool, "a bool")
    if not is_count(max_iterations):
        problems.append(
            f"max_iterations must be a whole number of 1 or more, not {brief(max_iterations)}"
        )
    loop_id = chosen_id("loop", id, "" if bad else f"@{node.id}", problems)
    return None if bad or function is None else Loop(loop_id, node, function, max_iterations)
