"""The crashes of a run: its engine dies at every commit, before and after it is durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, Unpack, overload

from gorkflow._text import brief
from gorkflow.store import Store
from gorkflow.stores.memory import MemoryStore
from gorkflow.testing._compare import Difference, compared, lines, why
from gorkflow.testing._gates import Begun
from gorkflow.testing._lives import Case, Ended, Moment, lived
from gorkflow.testing._run import Play, PlayOptions, Result, play_of
from gorkflow.testing.clock import in_own_thread
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")


class CrashOptions(PlayOptions, total=False):
    """Options of ``crash_at_every_commit``, beside those of ``testing.run``. All are optional.

    Example:
        from gorkflow import Workflow, step, testing


        @step
        def pack(order: int) -> str:
            return f"parcel {order}"


        options: testing.CrashOptions = {"commits": [1, 2]}
        packing = Workflow("packing", input=int).then(pack)
        assert testing.crash_at_every_commit(packing, 7, **options).cases == 4
    """

    commits: Iterable[int] | None
    """The commits to test, counted from 1; the default is all."""
    make_store: Callable[[], Store]
    """Called for each case; returns a fresh store, not opened. The default makes a memory store."""
    make_deps: Callable[[], object] | None
    """Called for each case, for ``deps`` that have a state: the world that survives the crash."""
    check: Callable[[Any], object] | None
    """Called with the ``deps`` of each case at its end; a failed ``assert`` is a difference."""


@dataclass(frozen=True, kw_only=True)
class Doubled:
    """A step that began more often than in the undisturbed run.

    Example:
        >>> from gorkflow.testing import Doubled
        >>> print(Doubled(path="pay", times=2, expected=1, same_key=True, cases=("case 1",)))
        'pay' began 2 times instead of 1, with the same idempotency key (1 cases, first: case 1)
    """

    path: str
    times: int
    """Number of beginnings in the worst case."""
    expected: int
    """Number of beginnings in the undisturbed run."""
    same_key: bool
    """True if it always had the same idempotency key."""
    cases: tuple[str, ...]
    """The cases in which it did."""

    def __str__(self) -> str:
        """Return one line."""
        key = "the same idempotency key" if self.same_key else "OTHER idempotency keys"
        return (
            f"{self.path!r} began {self.times} times instead of {self.expected}, with {key} "
            f"({len(self.cases)} cases, first: {self.cases[0]})"
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class CrashReport:
    """The report of ``crash_at_every_commit``.

    Example:
        from gorkflow import Workflow, step, testing


        @step
        def pack(order: int) -> str:
            return f"parcel {order}"


        packing = Workflow("packing", input=int).then(pack)
        report = testing.crash_at_every_commit(packing, 7)
        assert report.cases == 2 * report.commits
        assert not report.differences, str(report)
        assert [step.path for step in report.doubled] == ["pack"]
    """

    commits: int
    """Number of commits of the undisturbed run."""
    cases: int
    """Number of deaths of the engine."""
    undisturbed: Result[Any]
    differences: tuple[Difference, ...]
    """Differences from the undisturbed run."""
    by_design: tuple[Difference, ...]
    """Differences that the workflow allows: a join decides by the order, or a block failed."""
    doubled: tuple[Doubled, ...]
    """Steps whose side effects may have happened twice: they should use their idempotency key."""

    def __str__(self) -> str:
        """Return it for people."""
        more = lines("differences:", self.differences)
        more += lines("differences by design:", self.by_design)
        more += lines("began more than once:", self.doubled)
        return "\n".join([self._first_line(), *more])

    def __repr__(self) -> str:
        """Return its first line: pytest cuts what is longer out of the message of an ``assert``."""
        return f"<CrashReport: {self._first_line()}; str() has all of it>"

    def _first_line(self) -> str:
        wrong = len({item.case for item in self.differences})
        return (
            f"killed {self.cases} times at {self.commits} commits: {wrong} cases ended "
            f"otherwise, {len(self.doubled)} steps began twice"
        )


class CrashCampaign(Protocol):
    """The type of ``crash_at_every_commit``, for tests that take it as a fixture.

    Example:
        from gorkflow import Workflow, step, testing


        @step
        def pack(order: int) -> str:
            return f"parcel {order}"


        def test_packing(crash_at_every_commit: testing.CrashCampaign) -> None:
            packing = Workflow("packing", input=int).then(pack)
            assert not crash_at_every_commit(packing, 7).differences
    """

    @overload
    def __call__(
        self, workflow: Workflow[None, Out], input: None = None, **options: Unpack[CrashOptions]
    ) -> CrashReport: ...
    @overload
    def __call__(
        self, workflow: Workflow[In, Out], input: In, **options: Unpack[CrashOptions]
    ) -> CrashReport: ...
    def __call__(
        self, workflow: Workflow[Any, Any], input: Any = None, **options: Unpack[CrashOptions]
    ) -> CrashReport:
        """See ``crash_at_every_commit``."""
        ...


@overload
def crash_at_every_commit(
    workflow: Workflow[None, Out], input: None = None, **options: Unpack[CrashOptions]
) -> CrashReport: ...
@overload
def crash_at_every_commit(
    workflow: Workflow[In, Out], input: In, **options: Unpack[CrashOptions]
) -> CrashReport: ...
def crash_at_every_commit(
    workflow: Workflow[Any, Any], input: Any = None, **options: Unpack[CrashOptions]
) -> CrashReport:
    """Run a workflow, kill its engine at every commit, resume it, and compare. Blocks.

    For every commit of the undisturbed run there are two cases: the engine dies just before the
    commit is durable, and just after. The first engine stops dead, and releases nothing. A second
    one opens the same store and continues the run. If the start was not recorded, it starts the
    run again, as a caller would.

    Args:
        workflow: The workflow to run.
        input: Its input.
        options: Those of ``CrashOptions`` and ``PlayOptions``.

    Raises:
        WorkflowInvalidError: If a fake names an unknown step, or does not fit.
        InputInvalidError: If the input is not valid.
        StuckError: If the undisturbed run waits for ever.
        ValueError: If the undisturbed run has no such commit.

    Example:
        from gorkflow import Workflow, step, testing


        @step
        def pack(order: int) -> str:
            return f"parcel {order}"


        report = testing.crash_at_every_commit(Workflow("packing", input=int).then(pack), 7)
        assert not report.differences, str(report)
    """
    commits = options.pop("commits", None)
    make_store = options.pop("make_store", MemoryStore)
    make_deps = options.pop("make_deps", None)
    check = options.pop("check", None)
    play = play_of(workflow, input, options)
    campaign = _Campaign(play, make_store, make_deps, check)
    return in_own_thread(lambda: campaign.run(commits))


@dataclass
class _Campaign:
    play: Play
    make_store: Callable[[], Store]
    make_deps: Callable[[], object] | None
    check: Callable[[Any], object] | None
    found: list[Difference] = field(default_factory=list[Difference])
    doubled: dict[str, Doubled] = field(default_factory=dict[str, Doubled])

    def __post_init__(self) -> None:
        self._tree = self.play.workflow.compile(self.play.defaults).tree

    def run(self, commits: Iterable[int] | None) -> CrashReport:
        undisturbed, problem = self._lived(None)
        if undisturbed.result is None:
            assert undisturbed.error is not None  # one of the two
            raise undisturbed.error
        if problem is not None:
            raise problem
        numbers = _numbers(undisturbed.commits, commits)
        for number in numbers:
            for moment in Moment:
                self._compare(undisturbed, Case(number, moment))
        return CrashReport(
            commits=undisturbed.commits,
            cases=len(numbers) * len(Moment),
            undisturbed=undisturbed.result,
            differences=tuple(item for item in self.found if not item.by_design),
            by_design=tuple(item for item in self.found if item.by_design),
            doubled=tuple(self.doubled.values()),
        )

    def _lived(self, case: Case | None) -> tuple[Ended, AssertionError | None]:
        deps = self.play.deps if self.make_deps is None else self.make_deps()
        ended = lived(replace(self.play, deps=deps), self.make_store(), case)
        if self.check is not None:
            try:
                self.check(deps)
            except AssertionError as error:
                return ended, error
        return ended, None

    def _compare(self, undisturbed: Ended, case: Case) -> None:
        ended, problem = self._lived(case)
        if problem is not None:
            self._differs(case, "check", "to pass", str(problem) or repr(problem))
        if ended.result is None or undisturbed.result is None:
            self._differs(case, "end", "to be reached", repr(ended.error))
        else:
            results = (undisturbed.result, ended.result)
            for what, expected, got in compared(*results):
                self._differs(case, what, expected, got, why(self._tree, what, *results))
        self._note_doubled(undisturbed.begun, ended.begun, case)

    def _differs(
        self, case: Case, what: str, expected: object, got: object, by_design: str = ""
    ) -> None:
        self.found.append(
            Difference(
                case=str(case),
                number=case.commit,
                what=what,
                expected=expected,
                got=got,
                by_design=by_design,
            )
        )

    def _note_doubled(self, undisturbed: list[Begun], begun: list[Begun], case: Case) -> None:
        before = Counter(item.path for item in undisturbed)
        for path, times in Counter(item.path for item in begun).items():
            if times <= before[path]:
                continue
            keys = {item.key for item in begun if item.path == path}
            known = self.doubled.get(path)
            self.doubled[path] = Doubled(
                path=path,
                times=max(times, known.times if known else 0),
                expected=before[path],
                same_key=len(keys) == 1 and (known is None or known.same_key),
                cases=(*(known.cases if known else ()), str(case)),
            )


def _numbers(count: int, wanted: Iterable[int] | None) -> list[int]:
    """Return the commits to test.

    Raises:
        ValueError: If one of them does not exist, or none is left.
    """
    every = range(1, count + 1)
    numbers = list(every if wanted is None else wanted)
    unknown = [number for number in numbers if number not in every]
    if unknown or not numbers:
        raise ValueError(
            f"commits={brief(numbers)}: the undisturbed run has {count} commits; name some of "
            f"1 to {count}, or leave it out for all"
        )
    return numbers
