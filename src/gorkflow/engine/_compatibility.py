"""The compatibility of code with a run that was started with other code.

Code fits under three conditions. It has every function that the run may still need. Each recorded
value that may be read again reads as its new type. And the types of the steps that may still run
fit each other. Every difference is named, field by field.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow.annotations import NO_ITEMS, describe, fits, item_of, union_of
from gorkflow.codec import codec_of
from gorkflow.engine._executors import misplaced
from gorkflow.engine._recorded import read_by
from gorkflow.errors import RunBlockedError, ValueInvalidError
from gorkflow.flow import (
    ArmSpec,
    DecisionSpec,
    LoopSpec,
    MapSpec,
    NodeSpec,
    PassthroughSpec,
    PauseSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
    join_path,
    template_of,
    undo_path,
    walk,
)
from gorkflow.language.options import misfits
from gorkflow.machine.history import read
from gorkflow.redaction import Redaction

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.language.signature import Condition
    from gorkflow.machine.reach import Reach

_NOTHING: Any = object()
_SHOWN = 3  # values of one step that a message names: a map may have 10,000


class Misfit(NamedTuple):
    """The differences that keep code from continuing a run."""

    problems: list[str]
    """Differences that can't be accepted: functions, settings, places."""
    types: list[str]
    """Types that don't fit; ``accept_types`` accepts them."""


FITS = Misfit([], [])


def misfit_of(
    tree: WorkflowSpec,
    code: Definition,
    events: Sequence[ev.Event],
    executors: frozenset[str] | None = None,
    *,
    thorough: bool = False,
) -> Misfit:
    """Compare code with a run.

    Args:
        tree: the run's.
        code: the definition to continue it with.
        events: the run's history; of a rerun, what it keeps.
        executors: the names that the engine has executors for; ``None``: any.
        thorough: whether to read every value, since one could not be read before.
    """
    accepted = [event for event in events if isinstance(event, ev.TypesAccepted)]
    accepts = bool(accepted) and accepted[-1].fingerprint == code.fingerprint
    is_same = code.tree == tree
    fits_types = accepts or (is_same and not thorough and _can_read(code))
    if is_same and fits_types:
        return FITS  # as nearly always
    reach = read(events[0].run_id, tree, events).reach()
    problems = [] if is_same else list(_problems(tree, code, reach, executors))
    types = [] if fits_types else _unfit_types(tree, code, events, reach, thorough=thorough)
    return Misfit(problems, Redaction.of(tree, events).shown(types) if types else types)


def continued_by(code: Definition, tree: WorkflowSpec, text: str) -> Definition:
    """Return the code's functions under the tree of a run, its options included.

    Args:
        code: fits the run.
        tree: the run's.
        text: the tree as JSON.
    """
    if code.text == text:
        return code
    here = dict(walk(code.tree))
    conditions: dict[str, tuple[Condition, ...]] = {}
    for path, node in walk(tree):
        if isinstance(node, DecisionSpec):
            found = [place for place in places(node, here.get(path)) if place is not None]
            if len(found) == len(node.conditions):  # else the run never asks them again
                conditions[path] = tuple(code.conditions[path][place] for place in found)
    return replace(read_by(code, tree, text), conditions=conditions)


# ---- errors -------------------------------------------------------------------------------


def unknown(run_id: str, workflow_id: str, *, rerun: bool = False) -> RunBlockedError:
    """Return the error for a run, or a rerun of it, whose workflow the engine does not know."""
    place = "Engine(workflows=…) or rerun(…, workflow=…)" if rerun else "Engine(workflows=…)"
    return RunBlockedError(
        run_id,
        f"run {run_id!r} belongs to workflow {workflow_id!r}, which this engine does not know; "
        f"give it to {place}",
    )


def blocked(run_id: str, misfit: Misfit, *, rerun: bool = False) -> RunBlockedError:
    """Return the error for a run, or a rerun of it, that does not fit the code."""
    verb, name, command = ("Repeat", "rerun", "rerun") if rerun else ("Run", "recover", "resume")
    types = (
        ""
        if misfit.problems
        else f"accept the types ({name}({run_id!r}, accept_types=True), or "
        f"gorkflow runs {command} {run_id} TARGET --accept-types), "
    )
    what = "; ".join([*misfit.problems, *misfit.types])
    last = "start a new run" if rerun else "cancel it"
    return RunBlockedError(
        run_id,
        f"run {run_id!r} was started with other code: {what}. {verb} it with code that fits, "
        f"{types}or {last}",
    )


# ---- functions ----------------------------------------------------------------------------


def _problems(
    tree: WorkflowSpec, code: Definition, reach: Reach, executors: frozenset[str] | None
) -> Iterator[str]:
    here = dict(walk(code.tree))
    for path, node in walk(tree):
        now = here.get(path)
        if isinstance(node, StepSpec):
            yield from _step_problems(path, node, now, reach)
            yield from _place_problems(path, node, code, reach, executors)
        elif isinstance(node, WaitSpec) and reach.begins(path):
            if not isinstance(now, WaitSpec):
                yield f"the wait {path!r} for signal {node.signal!r} is gone"
            elif node.signal != now.signal:
                yield f"{path!r} waits for another signal than {node.signal!r}"
        if not reach.asks(path):
            continue
        if isinstance(node, MapSpec) and node.keyed and path not in code.keys:
            yield f"the key function of {path!r} is gone"
        elif isinstance(node, DecisionSpec):
            yield from condition_problems(path, node, now)
        elif isinstance(node, PauseSpec):
            yield from _time_problems(path, node, now)


def _time_problems(path: str, then: PauseSpec, now: NodeSpec | None) -> Iterator[str]:
    if then.asks is None:
        return
    asks = now.asks if isinstance(now, PauseSpec) else None
    if asks is None:
        yield f"the function that says the time of {path!r} is gone"
    elif then.asks.is_due != asks.is_due:
        said, now_said = "how long {} takes", "when it is over"
        if then.asks.is_due:
            said, now_said = "when {} is over", "how long it takes"
        yield f"the function that says {said.format(repr(path))} now says {now_said}"


def _step_problems(path: str, then: StepSpec, now: object, reach: Reach) -> Iterator[str]:
    """Yield what keeps the code from running a step, and from undoing it."""
    if reach.begins(path):
        yield from _kind_problems(path, then, now)
    if then.undo is None or not reach.undoes(path):
        return
    if not isinstance(now, StepSpec) or now.undo is None:
        yield f"the undo step of {path!r} is gone"
        return
    yield from _kind_problems(undo_path(path), then.undo.step, now.undo.step)
    if then.undo.inputs != now.undo.inputs:
        yield f"the undo step of {path!r} is given other inputs"


def _kind_problems(path: str, then: StepSpec, now: object) -> Iterator[str]:
    if not isinstance(now, StepSpec):
        yield f"step {path!r} is gone"
    elif (then.executor == "loop") != (now.executor == "loop"):
        yield f"step {path!r} has changed between async and sync"


def _place_problems(
    path: str, then: StepSpec, code: Definition, reach: Reach, executors: frozenset[str] | None
) -> Iterator[str]:
    """Yield what keeps a step, and its undo step, from taking the run's settings and executor.

    The settings that the code binds do not matter.
    """
    runs = {path: then} if reach.begins(path) else {}
    if then.undo is not None and reach.undoes(path):
        runs[undo_path(path)] = then.undo.step
    for at, spec in runs.items():
        step = code.steps.get(at)
        if step is None:
            continue
        yield from (f"step {at!r} {problem}" for problem in misfits(step.parameters, spec.settings))
        problem = "" if executors is None else misplaced(step, spec.executor, executors)
        if problem:
            yield problem


# ---- conditions ---------------------------------------------------------------------------


def _name(arm: ArmSpec) -> str:
    # The name of a lambda is its line, and an edit above may move it to the line of another one.
    return "<lambda>" if arm.condition.startswith("<lambda") else arm.condition


_ALIKE: tuple[Callable[[ArmSpec], Hashable], ...] = (
    lambda arm: (_name(arm), arm.node.id),
    _name,
)
"""The marks of a condition, the surest first: its name with the node it leads to, then its name."""


def places(then: DecisionSpec, now: NodeSpec | None) -> list[int | None]:
    """Return, for each condition of a run, the one of the code that stands for it.

    That is the one of its name, wherever it stands now; several of one name keep their order. If
    one of each is left, it was renamed.

    Args:
        then: the choice or loop of the run.
        now: the code's node in its place.

    Returns:
        Numbers of arms of ``now``; ``None``: it is missing or ambiguous.
    """
    arms = now.conditions if isinstance(now, DecisionSpec) else ()
    found: list[int | None] = [None] * len(then.conditions)
    wanted, free = list(range(len(then.conditions))), list(range(len(arms)))
    for key in _ALIKE:
        theirs = _grouped(arms, free, key)
        for same, mine in _grouped(then.conditions, wanted, key).items():
            if len(theirs.get(same, ())) == len(mine):
                for index, place in zip(mine, theirs[same], strict=True):
                    found[index] = place
        wanted = [index for index in wanted if found[index] is None]
        free = [place for place in free if place not in found]
    if len(wanted) == len(free) == 1:
        found[wanted[0]] = free[0]
    return found


def _grouped(
    arms: Sequence[ArmSpec], indices: Sequence[int], key: Callable[[ArmSpec], Hashable]
) -> dict[Hashable, list[int]]:
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index in indices:
        groups[key(arms[index])].append(index)
    return groups


def condition_problems(path: str, then: DecisionSpec, now: NodeSpec | None) -> Iterator[str]:
    """Yield what keeps the code from deciding as the run would."""
    found = zip(then.conditions, places(then, now), strict=True)
    gone = [repr(arm.condition) for arm, place in found if place is None]
    if gone:
        are = "is" if len(gone) == 1 else "are"
        names = " and ".join(gone)
        yield f"the conditions of {path!r} have changed: {names} {are} missing or ambiguous"


# ---- types --------------------------------------------------------------------------------


def _can_read(code: Definition) -> bool:
    """Return whether every value that this code records can be read again, in any version."""
    outputs = [code.outputs.get(path, Any) for path in code.steps]
    annotations = (code.input, *outputs, *code.payloads.values())
    return all(codec_of(annotation).is_sure for annotation in annotations)


def _unfit_types(
    tree: WorkflowSpec,
    code: Definition,
    events: Sequence[ev.Event],
    reach: Reach,
    *,
    thorough: bool,
) -> list[str]:
    """Return recorded values that don't fit, then steps that would get an input of another type."""
    here = dict(walk(code.tree))
    sources = dict(_sources(tree, code, here, reach))
    wanted = {
        path: source
        for path, source in sources.items()
        if thorough or source.changed or not codec_of(source.annotation).is_sure
    }
    return [*_unread(wanted, events), *_unfit_inputs(tree, code, here, reach)]


class _Source(NamedTuple):
    """A node whose recorded values may be read again."""

    name: str
    annotation: Any
    changed: bool


def _sources(
    tree: WorkflowSpec, code: Definition, here: Mapping[str, NodeSpec], reach: Reach
) -> Iterator[tuple[str, _Source]]:
    changed = tree.input_schema != code.tree.input_schema
    yield "", _Source("the workflow's input", code.input, changed)
    for path, then in walk(tree):
        now = here.get(path)
        if isinstance(then, StepSpec) and isinstance(now, StepSpec):
            if reach.matters(path) or reach.undoes(path):
                changed = then.output_schema != now.output_schema
                name = f"the output of step {path!r}"
                yield path, _Source(name, code.outputs.get(path, Any), changed)
        elif isinstance(then, WaitSpec) and isinstance(now, WaitSpec) and reach.matters(path):
            name = f"signal {then.signal!r}"
            yield path, _Source(name, code.payloads.get(path, Any), then.schema != now.schema)


def _unread(wanted: Mapping[str, _Source], events: Sequence[ev.Event]) -> Iterator[str]:
    shown: defaultdict[str, int] = defaultdict(int)
    for event in events if wanted else ():
        data = _recorded(event)
        source = None if data is None else wanted.get(template_of(event.path))
        if data is None or source is None:
            continue
        try:
            codec_of(source.annotation).decode(data)
        except ValueInvalidError as error:
            shown[source.name] += 1
            if shown[source.name] <= _SHOWN:
                yield f"{source.name} can't be read as {describe(source.annotation)}: {error}"


def _recorded(event: ev.Event) -> bytes | None:
    match event:
        case ev.StepCompleted() | ev.ResultKept():
            return event.output
        case ev.SignalReceived():
            return event.payload
        case ev.RunCreated():
            return event.input
        case _:
            return None


def _unfit_inputs(
    tree: WorkflowSpec, code: Definition, here: Mapping[str, NodeSpec], reach: Reach
) -> Iterator[str]:
    arriving: _Arriving | None = None
    for path, then in walk(tree):
        now, step = here.get(path), code.steps.get(path)
        if not isinstance(then, StepSpec) or not isinstance(now, StepSpec) or step is None:
            continue
        if then.input_schema == now.input_schema or not reach.begins(path) or not step.wanted:
            continue
        arriving = arriving or _Arriving(tree, code)
        given, wanted = arriving.get(path, Any), step.wanted
        taken = wanted[0] if len(wanted) == 1 else tuple[tuple(wanted)]  # type: ignore[misc]
        if given is _NOTHING or not fits(given, taken):
            gets = "nothing" if given is _NOTHING else describe(given)
            yield f"step {path!r} takes {describe(taken)} now, and would be given {gets}"


class _Arriving(dict[str, Any]):
    """The type that arrives at each node of a run's tree, by path and by the code's types."""

    def __init__(self, tree: WorkflowSpec, code: Definition) -> None:
        self._code = code
        self._chain(tree, "", _NOTHING if code.input is None else code.input)

    def _chain(self, workflow: WorkflowSpec, path: str, value: Any) -> Any:
        for node in workflow.nodes:
            value = self._follow(node, path, "", value)
        return value

    def _follow(self, node: NodeSpec, prefix: str, mark: str, value: Any) -> Any:
        """Follow a value into a node; return the type of the node's output."""
        path = join_path(prefix, node.id) + mark
        self[path] = value
        match node:
            case PassthroughSpec() | SleepSpec():
                return value
            case WorkflowSpec():
                return self._chain(node, path, value if node.takes_input else _NOTHING)
            case StepSpec():
                output = self._code.outputs.get(path, Any)
                return union_of([output, None]) if node.continue_on_error else output
            case WaitSpec():
                payload = self._code.payloads.get(path, Any)
                pair: Any = GenericAlias(tuple, (value, payload))
                return payload if value is _NOTHING else pair
            case MapSpec():
                item = Any if value is _NOTHING else item_of(value)
                self._follow(node.body, prefix, node.mark, Any if item is NO_ITEMS else item)
            case LoopSpec():
                self._follow(node.body, prefix, node.mark, value)
            case _:
                for child in node.children():
                    self._follow(child, prefix, "", value)
        return self._code.outputs.get(path, Any)
