"""Whether the result of a workflow depends on the order in which its steps happen to end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Unpack, overload

from gorkflow.testing._compare import Difference, compared, lines, why
from gorkflow.testing._run import Play, PlayOptions, Result, play_of, whole
from gorkflow.testing.clock import StuckError, in_own_thread
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

SEEDS = range(100)


class ExploreOptions(PlayOptions, total=False):
    """Options of ``explore``, beside those of ``testing.run``; all may be left out."""

    seeds: Iterable[int]
    """One run for each; 0 to 99."""
    make_deps: Callable[[], object] | None
    """Called before each run, for ``deps`` that have a state."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Exploration:
    """What ``explore`` found."""

    runs: int
    orders: int
    """In how many different orders the results of the attempts came."""
    differences: tuple[Difference, ...]
    """Runs that ended otherwise, though nothing in the workflow says that they may."""
    by_design: tuple[Difference, ...]
    """Runs that ended otherwise because a join decides by the order, or a block failed."""

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

    For each seed, the attempts that are ready begin, and those that have a result hand it over, in
    an order drawn from the seed; sometimes several at once. Everything that happens follows from
    the seed, so ``testing.run(workflow, input, seed=17)`` does the same again. Compared with the
    run in declared order are the output, the state, the failures and the status of each step.

    Args:
        workflow: what to run.
        input: its input.
        options: see ``ExploreOptions`` and ``PlayOptions``.

    Raises:
        WorkflowInvalidError: there is no such step to fake, or a fake does not fit.
        InputInvalidError: the input is not valid.
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
