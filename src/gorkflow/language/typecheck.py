"""The typecheck of a workflow: follows the values through it.

It finds what fits where, and who may read what. The same walk serves each call that makes a
workflow grow, and its compilation, which knows more: the options that steps inherit, and the
workflows around it. Each kind of element knows how a value goes through it: ``Element.typed``.
"""

from __future__ import annotations

from itertools import permutations
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, get_origin

from msgspec import Struct

from gorkflow.annotations import (
    describe,
    fits,
    is_optional,
    item_of,
    outcome_of,
    tuple_items,
    without_none,
)
from gorkflow.codec import codec_of
from gorkflow.errors import ValueInvalidError
from gorkflow.flow import join_path
from gorkflow.language.signature import Condition, dropped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from gorkflow.flow import NodeSpec
    from gorkflow.language.options import StepDefaults
    from gorkflow.policy import Limit

NOTHING: Any = type("Nothing", (), {"__doc__": "Stands for no value at all."})
_NO_IDS: frozenset[str] = frozenset()
_MAX_PERMUTED = 6
_MAX_LISTED = 5


class Value(NamedTuple):
    """A value that flows from one node to the next."""

    annotation: Any
    """``NOTHING`` at the start of a workflow without input."""
    sources: tuple[str, ...] = ()
    """Ids of the nodes it comes from: of a block, one per item."""
    ids: frozenset[str] = frozenset()
    """Ids of the nodes that a step which gets it may read undeclared."""
    of_block: bool = False
    """True for the tuple that a block makes, which a step may take as a list, too."""


class Place(NamedTuple):
    """A place in the tree: where the walk is."""

    prefix: str
    """The path of the workflow around."""
    defaults: StepDefaults
    """The options that steps inherit here."""
    before: tuple[frozenset[str] | set[str], ...] = ()
    """Ids of the nodes that came before, per workflow around, innermost first."""
    siblings: frozenset[str] = _NO_IDS
    """Ids of the branches of the blocks around."""
    mark: str = ""
    """The end of the path of a body that runs several times."""
    joined: bool = False
    """True if a join gets the outcome, so that nothing takes the place of a failure."""

    def at(self, node_id: str) -> str:
        """Return the path of a node that stands here."""
        return join_path(self.prefix, node_id) + self.mark


class Element:
    """A part of a workflow. A new kind is a subclass that overrides these methods."""

    __slots__ = ()
    mark: ClassVar[str] = ""
    """As that of its spec."""
    named_by_options: ClassVar[bool] = True
    """True if ``.options(id=…)`` gives it another id."""
    id: str

    @property
    def inputs(self) -> Sequence[tuple[str, Any]]:
        """Name and annotation of each input, of what can be a node by itself."""
        return ()

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Check that it takes a value, and return what it makes of that."""
        raise NotImplementedError

    def compiled(self, record: Record, place: Place) -> NodeSpec:
        """Return it as data, after ``typed`` has filled the record."""
        raise NotImplementedError

    def inside(self) -> tuple[Any, ...]:
        """Return the nodes directly inside; of a workflow none, for it has ids of its own."""
        return ()

    def with_inside(self, change: Callable[[Any], Any]) -> Element:
        return self

    def awaited(self) -> Sequence[tuple[str, Any]]:
        """Return name and payload type of each signal that it waits for itself."""
        return ()

    def given(self, walk: Walk, value: Value) -> Self:
        """Return it as it is where this value arrives: a generic step gets types."""
        return self


class Record(Struct, eq=False, frozen=True):
    """The findings of a walk, by path."""

    steps: dict[str, Any] = {}
    conditions: dict[str, tuple[Condition, ...]] = {}
    """The conditions of each choice, in order, and of each loop, by the choice's or loop's path."""
    outputs: dict[str, Any] = {}
    """The annotation that each node's output is written under: of a step, what its function
    returns, also where ``continue_on_error`` may put ``None`` in its place."""
    readable: dict[str, frozenset[str]] = {}
    """Ids of the nodes that each step may read through its context. An id stands for the node in
    the nearest workflow around the step that has it. It stands for no other before that one has
    ended."""
    defaults_of: dict[str, tuple[bytes, Any]] = {}
    """The ``default=`` of choices and waits that have one, as JSON and its annotation."""
    payloads: dict[str, Any] = {}
    """The annotation of the signal that each wait is for."""
    keys: dict[str, Condition] = {}
    """The functions that give the items of maps their keys."""
    times: dict[str, Condition] = {}
    """The functions that say how long a sleep or wait takes."""

    def default(self, path: str) -> str | None:
        """Return the default at a path as JSON text, if there is one."""
        found = self.defaults_of.get(path)
        return None if found is None else found[0].decode()


class Walk:
    """One walk. It gathers every problem instead of stopping at the first.

    Args:
        limits: the named limits so far: one name can't stand for two.
        compiles: True looks into nested workflows again, for findings that need the whole.
    """

    def __init__(
        self, limits: Mapping[str, Limit] | None = None, *, compiles: bool = False
    ) -> None:
        self.problems: list[str] = []
        self.limits = dict(limits or {})
        self.compiles = compiles
        self.record = Record()
        self.unresolved: dict[str, str] = {}
        """Reads of ids that are not known here: the id, and the step that reads it."""
        self._outcomes: dict[int, tuple[Any, Any]] = {}

    def sequence(
        self, elements: Sequence[Element], value: Value, place: Place, own: set[str]
    ) -> Value:
        """Follow a value through elements one after another; ``own`` takes up their ids."""
        for element in elements:
            value = element.typed(self, value, place)
            own.update(seen_of(element))
        return value

    def fit(
        self, node_id: str, params: Sequence[tuple[str, Any]], value: Value, *, what: str = "step"
    ) -> None:
        """Check that a value can be handed to these parameters."""
        self.problems += fit_problems(node_id, params, value, what=what)

    def asked(self, function: Condition, value: Value, what: str) -> None:
        """Check that a function that is not a step can be asked about a value."""
        self.fit(function.name, function.params, value, what=what)
        self.problems += dropped_problems(function.name, function.unused, value, what=what)

    def default(self, what: str, default: Any, annotation: Any, path: str) -> None:
        """Check a default, and record it."""
        try:
            data = codec_of(annotation).accept(default)
        except ValueInvalidError as error:
            self.problems.append(
                f"the default of {what} is not of type {describe(annotation)}: {error}"
            )
        else:
            self.record.defaults_of[path] = (data, annotation)

    def limit(self, limit: Limit, user: str) -> None:
        """Check that the name of a limit stands for no other one."""
        known = self.limits.setdefault(limit.name, limit)
        if known != limit:
            self.problems.append(
                f"{user} knows limit {limit.name!r} as {limit}, another step as {known}; define it "
                "once and let both use it, or name them apart"
            )

    def read(self, wanted: str, reader: str, value: Value, place: Place) -> None:
        """Check that a step may read the output of a node."""
        if wanted in value.ids or any(wanted in ids for ids in place.before):
            return
        if wanted in place.siblings:
            self.problems.append(
                f"step {reader!r} reads {wanted!r}, which runs beside it; move {wanted!r} before "
                "the block, or chain the two in a nested workflow"
            )
            return
        self.unresolved.setdefault(wanted, reader)

    def outcome(self, annotation: Any) -> Any:
        """Return the annotation of the outcome of what gives this one."""
        # By identity: most branches of a wide block share one annotation, and typing is slow.
        found = self._outcomes.get(id(annotation))
        if found is None:
            found = self._outcomes[id(annotation)] = (annotation, outcome_of(annotation))
        return found[1]


def ids_of(element: Element) -> list[str]:
    """Return the ids that an element takes in its workflow, outermost first."""
    return [element.id, *(node.id for node in element.inside())]


def seen_of(element: Element) -> list[str]:
    """Return those ids whose outputs may be read outside: no item's or iteration's."""
    return [element.id] if element.mark else ids_of(element)


# ---- whether a value fits ----------------------------------------------------------------------


def as_wanted(wanted: Sequence[Any], value: Value) -> Value:
    """Return what a block gives as a list, where that is what a step takes."""
    if not value.of_block or len(wanted) != 1 or (get_origin(wanted[0]) or wanted[0]) is not list:
        return value
    return value._replace(annotation=GenericAlias(list, (item_of(value.annotation),)))


def fit_problems(
    node_id: str, params: Sequence[tuple[str, Any]], value: Value, *, what: str = "step"
) -> list[str]:
    """Return why a value can't be passed to these parameters of a node, whose kind is ``what``."""
    if not params:
        return []
    who, takes = f"{what} {node_id!r}", written_as(params)
    if value.annotation is NOTHING:
        problem = (
            f"{who} takes {takes}, but the workflow has no input; declare it: "
            f"Workflow(…, input={describe(params[0][1])})"
        )
        return [problem]
    if len(params) == 1:
        return _single(who, params[0], value)
    if value.annotation is Any:
        return []
    items = tuple_items(value.annotation)
    if items is None:
        problem = (
            f"{who} takes {len(params)} inputs ({takes}), but gets one value, "
            f"{describe(value.annotation)}{_origin(value)}; several inputs take a tuple, such as a "
            "block gives"
        )
        return [problem]
    if len(items) != len(params):
        listed = _listed(items, value)
        return [f"{who} takes {len(params)} inputs ({takes}), but gets {len(items)}: {listed}"]
    return list(_spread(who, params, items, value))


def dropped_problems(
    node_id: str, names: Sequence[str], value: Value, *, what: str = "step"
) -> list[str]:
    """Return why a node without inputs would drop a value, if so.

    The names are of its parameters with a default that stand where inputs do.
    """
    if not names or value.annotation in (NOTHING, None, type(None)):
        return []
    return [dropped(f"{what} {node_id!r}", names, f"{describe(value.annotation)}{_origin(value)}")]


def _single(who: str, param: tuple[str, Any], value: Value) -> list[str]:
    if fits(value.annotation, param[1]):
        return []
    problem = _misfit(who, param, value.annotation, _origin(value))
    items = tuple_items(value.annotation)
    if items is not None and len(items) > 1:
        problem += f"; a tuple comes apart: write one parameter per item ({len(items)})"
    return [problem]


def _spread(
    who: str, params: Sequence[tuple[str, Any]], items: tuple[Any, ...], value: Value
) -> Iterator[str]:
    wrong = [
        index
        for index, (item, param) in enumerate(zip(items, params, strict=True))
        if not fits(item, param[1])
    ]
    if not wrong:
        return
    order = _order_that_fits(params, items)
    if order is not None:
        written = written_as([params[index] for index in order], _MAX_PERMUTED)
        yield f"{who} has its parameters in the wrong order: write ({written})"
        return
    has_sources = len(value.sources) == len(items)
    for index in wrong[:_MAX_LISTED]:
        origin = f" from {value.sources[index]!r}" if has_sources else ""
        yield _misfit(who, params[index], items[index], origin)
    if len(wrong) > _MAX_LISTED:
        yield f"{who}: and {len(wrong) - _MAX_LISTED} more inputs that don't fit"


def _misfit(who: str, param: tuple[str, Any], given: Any, origin: str) -> str:
    name, wanted = param
    rest = without_none(given)
    only_none_is_wrong = (
        is_optional(given) and rest is not None and not is_optional(wanted) and fits(rest, wanted)
    )
    if only_none_is_wrong:
        return (
            f"{who} may get None{origin} (continue_on_error, or what it returns): write "
            f"`{name}: {describe(wanted)} | None`"
        )
    return f"{who} takes {name}: {describe(wanted)}, but gets {describe(given)}{origin}"


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


def _origin(value: Value) -> str:
    if len(value.sources) == 1:
        return f" from {value.sources[0]!r}"
    return f" from the block of {value.sources[0]!r}" if value.sources else " as input"


def written_as(params: Sequence[tuple[str, Any]], most: int = _MAX_LISTED) -> str:
    """Return parameters as they stand in a function."""
    shown = [f"{name}: {describe(annotation)}" for name, annotation in params[:most]]
    return ", ".join(shown) + (", …" if len(params) > most else "")


def _listed(items: tuple[Any, ...], value: Value) -> str:
    sources = value.sources if len(value.sources) == len(items) else ()
    shown = [
        describe(item) + (f" from {sources[index]!r}" if sources else "")
        for index, item in enumerate(items[:_MAX_LISTED])
    ]
    return ", ".join(shown) + (", …" if len(items) > _MAX_LISTED else "")
