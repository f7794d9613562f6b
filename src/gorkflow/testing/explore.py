"""The orders of a workflow: runs whose steps begin and end in many orders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Unpack, overload

from gorkflow.testing._differences import Difference, compared, lines, why
from gorkflow.testing._run import Play, PlayOptions, Result, play_of, whole
from gorkflow.testing.virtual_time import StuckError, in_own_thread
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

SEEDS = range(100)


class ExploreOptions(PlayOptions, total=False):
    """Options of ``explore``, beside those of ``testing.run``. All are optional.

    Example:
        from gorkflow import Workflow, step, testing


        @step
        def pack(order: int) -> str:
            return f"parcel {order}"


        options: testing.ExploreOptions = {"seeds": range(3)}
        packing = Workflow("packing", input=int).then(pack)
        assert testing.explore(packing, 7, **options).runs == 4
    """

    seeds: Iterable[int]
    """The seeds, one run for each; the default is 0 to 99."""
    make_deps: Callable[[], object] | None
    """Called before each run, for ``deps`` that have a state."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exploration:
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
    differences: tuple[Difference, ...]
    """Differences from the run in declared order, which the workflow does not allow."""
    by_design: tuple[Difference, ...]
    """Differences that the workflow allows: a join decides by the order, or a block failed."""

    def __str__(self) -> str:
        """Return it for people."""
        seeds = dict.fromkeys(item.number for item in self.differences)
        replay = [f"replay one with testing.run(…, seed={next(iter(seeds))})"] if seeds else []
        return "\n".join(
            [
                self._first_line(),
                *lines("differences:", self.differences),
                *lines("differences by design:", self.by_design),
                *replay,
            ]
        )

    def __repr__(self) -> str:
        """Return its first line: pytest cuts what is longer out of the message of an ``assert``."""
        return f"<Exploration: {self._first_line()}; str() has all of it>"

    def _first_line(self) -> str:
        seeds = {item.number for item in self.differences}
        return (
            f"{self.runs} runs in {self.orders} orders: "
            f"{len(seeds)} ended otherwise than the one in declared order"
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
        from gorkflow import Workflow, step, testing


        @step
        def pack(order: int) -> str:
            return f"parcel {order}"


        packing = Workflow("packing", input=int).then(pack)
        assert not testing.explore(packing, 7, seeds=range(5)).differences
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
