"""The orders of a workflow: runs whose steps begin and end in many orders, and how they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Unpack, overload

from gorkflow.codec import codec_of
from gorkflow.errors import ValueInvalidError
from gorkflow.events import BlockDecided
from gorkflow.flow import BlockSpec, WorkflowSpec, undo_path, undone_path, walk
from gorkflow.testing._run import Play, PlayOptions, Result, play_of, whole
from gorkflow.testing.virtual_time import StuckError, in_own_thread
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

SEEDS = range(100)
_SHOWN = 200


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference between a run and the run that it is compared with.

    Example:
        >>> from gorkflow.testing import Difference
        >>> print(Difference(case="seed 17", number=17, what="output", expected=1, got=2))
        seed 17: output is 2, not 1
    """

    case: str
    """The run: ``seed 17``, ``killed after commit 3``."""
    number: int
    """The seed, or the number of the commit."""
    what: str
    """``status``, ``output``, ``state``, ``failures``, or ``step 'path'``."""
    expected: object
    got: object
    by_design: str = ""
    """The reason, if the workflow allows the difference; else empty."""

    def __str__(self) -> str:
        """Return one line."""
        why = f" ({self.by_design})" if self.by_design else ""
        expected, got = _short(self.expected), _short(self.got)
        return f"{self.case}: {self.what} is {got}, not {expected}{why}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison:
    """A report of runs that were compared with one of them."""

    differences: tuple[Difference, ...]
    """Differences that the workflow does not allow."""
    by_design: tuple[Difference, ...]
    """Differences that the workflow allows: a join decides by the order, or a block failed."""

    def __str__(self) -> str:
        """Return it for people."""
        return "\n".join(
            [
                self._first_line(),
                *lines("differences:", self.differences),
                *lines("differences by design:", self.by_design),
            ]
        )

    def __repr__(self) -> str:
        """Return its first line: pytest cuts what is longer out of the message of an ``assert``."""
        return f"<{type(self).__name__}: {self._first_line()}; str() has all of it>"

    def _first_line(self) -> str:
        raise NotImplementedError

    @property
    def _wrong(self) -> int:
        """The number of runs that ended otherwise."""
        return len({item.case for item in self.differences})


class ExploreOptions(PlayOptions, total=False):
    """Options of ``explore``, beside those of ``testing.run``. All are optional.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> options: testing.ExploreOptions = {"seeds": range(3)}
        >>> testing.explore(Workflow("nap", input=int).sleep(60), 7, **options).runs
        4
    """

    seeds: Iterable[int]
    """The seeds, one run for each; the default is 0 to 99."""
    make_deps: Callable[[], object] | None
    """Called before each run, for ``deps`` that have a state."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exploration(Comparison):
    """The report of ``explore``.

    Example:
        from gorkflow import StepContext, Workflow, step, testing

        @step
        def first(ctx: StepContext[list[int]], order: int) -> int:
            ctx.deps.append(order)
            return len(ctx.deps)

        both = Workflow("both", input=int).parallel(first, first.options(id="second"))
        report = testing.explore(both, 7, make_deps=list, seeds=range(10))
        assert report.runs == 11
        assert report.differences  # the outputs depend on the order
    """

    runs: int
    orders: int
    """Number of different orders in which the results arrived."""

    def __str__(self) -> str:
        """Return it for people."""
        seeds = dict.fromkeys(item.number for item in self.differences)
        replay = [f"replay one with testing.run(…, seed={next(iter(seeds))})"] if seeds else []
        return "\n".join([super().__str__(), *replay])

    def _first_line(self) -> str:
        return (
            f"{self.runs} runs in {self.orders} orders: "
            f"{self._wrong} ended otherwise than the one in declared order"
        )


@overload
def explore(
    workflow: Workflow[None, Out], input: None = None, **options: Unpack[ExploreOptions]
) -> Exploration: ...
@overload
def explore(
    workflow: Workflow[In, Out], input: In, **options: Unpack[ExploreOptions]
) -> Exploration: ...
def explore(
    workflow: Workflow[Any, Any], input: Any = None, **options: Unpack[ExploreOptions]
) -> Exploration:
    """Run a workflow in many orders, and report every run that ends otherwise. Blocks.

    The seed draws the order in which attempts begin and pass on their results, sometimes several at
    once. Everything follows from the seed, so ``testing.run(workflow, input, seed=17)`` repeats a
    run. The output, the state, the failures and the status of each step are compared with the run
    in declared order.

    Args:
        workflow: The workflow to run.
        input: Its input.
        options: Those of ``ExploreOptions`` and ``PlayOptions``.

    Raises:
        WorkflowInvalidError: If a fake names an unknown step, or does not fit.
        InputInvalidError: If the input is not valid.

    Example:
        >>> from gorkflow import Workflow, testing
        >>> nap = Workflow("nap", input=int).sleep(60)
        >>> testing.explore(nap, 7, seeds=range(5)).differences
        ()
    """
    seeds = options.pop("seeds", SEEDS)
    make_deps = options.pop("make_deps", None)
    options.pop("seed", None)
    play = replace(play_of(workflow, input, options), ordered=True)
    return in_own_thread(lambda: _explored(play, seeds, make_deps))


def _explored(
    play: Play, seeds: Iterable[int], make_deps: Callable[[], object] | None
) -> Exploration:
    def run(seed: int | None) -> Result[Any]:
        deps = play.deps if make_deps is None else make_deps()
        return whole(replace(play, seed=seed, deps=deps))

    tree = play.workflow.compile(play.defaults).tree
    reference = run(None)
    orders = {reference.order}
    found: list[Difference] = []
    count = 1
    for seed in seeds:
        count += 1
        try:
            result = run(seed)
        except StuckError as error:
            found.append(_difference(seed, ("end", "reached", str(error))))
            continue
        orders.add(result.order)
        found += [
            replace(item, by_design=why(tree, item.what, reference, result))
            for item in (_difference(seed, change) for change in compared(reference, result))
        ]
    return Exploration(
        runs=count,
        orders=len(orders),
        differences=tuple(item for item in found if not item.by_design),
        by_design=tuple(item for item in found if item.by_design),
    )


def _difference(seed: int, change: tuple[str, object, object]) -> Difference:
    what, expected, got = change
    return Difference(case=f"seed {seed}", number=seed, what=what, expected=expected, got=got)


# ---- the comparison of two runs --------------------------------------------------------------


def compared(expected: Result[Any], got: Result[Any]) -> Iterator[tuple[str, object, object]]:
    """Yield the differences: a name, and both values."""
    if expected.status != got.status:
        yield "status", str(expected.status), str(got.status)
    elif not _same(expected.run.output, got.run.output):
        yield "output", expected.run.output, got.run.output
    if expected.run.state != got.run.state:
        yield "state", expected.run.state, got.run.state
    if (before := _failures(expected)) != (after := _failures(got)):
        yield "failures", before, after
    for path in {**expected.steps, **got.steps}:
        old, new = expected.steps.get(path), got.steps.get(path)
        statuses = (str(old.status) if old else None, str(new.status) if new else None)
        if statuses[0] != statuses[1]:
            yield f"step {path!r}", *statuses


def why(tree: WorkflowSpec, what: str, *results: Result[Any]) -> str:
    """Return why the order may change this; empty if it may not."""
    for path, node in walk(tree):
        if isinstance(node, BlockSpec) and node.join.kind in {"first", "at_least"}:
            return f"join {str(node.join)!r} of block {path!r} lets the order decide"
    if what == "status":
        return ""
    undone = undone_path(what.removeprefix("step ").strip("'"))
    if undone is not None and any(undo_path(undone) not in result.steps for result in results):
        return f"{undone!r} is undone where it completed, or where its outcome is unknown"
    for path in _failed_blocks(results):
        return f"block {path!r} failed; what that left undone depends on the order"
    return ""


def _failed_blocks(results: Iterable[Result[Any]]) -> Iterator[str]:
    for result in results:
        for event in result.events:
            if isinstance(event, BlockDecided) and event.verdict == "failed":
                yield event.path


def lines(title: str, items: Iterable[object]) -> list[str]:
    """Return the lines of a list in a report, none where it is empty."""
    shown = [f"  - {item}" for item in items]
    return [title, *shown] if shown else []


def _failures(result: Result[Any]) -> list[str]:
    return sorted(
        f"{failure.path}: {failure.code.value}: {failure.message}"
        for failure in result.run.failures
    )


def _same(one: object, other: object) -> bool:
    try:
        if one == other:
            return True
    except Exception:  # noqa: BLE001 - anybody's __eq__
        return False
    # Classes without an `==` of their own are the same if they are the same as JSON.
    if type(one) is not type(other):
        return False
    try:
        codec = codec_of(type(one))
        return codec.encode(one) == codec.encode(other)
    except ValueInvalidError:
        return False


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
