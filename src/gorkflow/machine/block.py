"""A live block: branches side by side, and its verdict. Parallel blocks and maps are blocks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from msgspec.structs import replace

from gorkflow import events as ev
from gorkflow.events import Ended, FailureRef, ListOf, Ref, item_of
from gorkflow.flow import NodeSpec, Place, StepSpec, item_mark, join_path
from gorkflow.machine import joins
from gorkflow.machine.ask import Asking
from gorkflow.machine.commands import Expand, is_expansion
from gorkflow.machine.frame import NEVER, Frame, Kept, Results, Strength
from gorkflow.model import Failure, FailureCode, StepStatus
from gorkflow.state_changes import Conflict, Overlay, lay, merged

COMPLETED, CANCELLED, FAILED = StepStatus.COMPLETED, StepStatus.CANCELLED, StepStatus.FAILED
_CONFLICTS = 5  # keys that a message names


class BlockFrame(Frame):
    """Branches side by side, until the join decides and what runs has ended.

    A branch has a frame only while it is live; before, it is a number in a queue.
    """

    __slots__ = ("children", "conflict", "decided_at", "enough", "entered_at", "filling",
                 "judging", "overlays", "queue", "results", "tally", "verdict")  # fmt: skip

    # ---- what the branches are ------------------------------------------------------------

    def branch(self, index: int) -> NodeSpec:
        """Return what a branch runs."""
        raise NotImplementedError

    def mark(self, index: int) -> str:
        """Return what the path of a branch ends with, after the node's id."""
        raise NotImplementedError

    def child_at(self, index: int) -> Frame:
        """Return the frame of a branch, not started yet."""
        raise NotImplementedError

    def composed(self, values: tuple[Ref, ...]) -> Ref:
        """Return the value of the block, made of one per branch."""
        raise NotImplementedError

    # ---- how they run ---------------------------------------------------------------------

    def enter(self) -> None:
        """Begin the block, not its branches yet."""
        self.verdict: StepStatus | None = None
        self.entered_at = self.machine.passed(self.machine.at)
        if self.spec.timeout is not None:
            self.machine.start_timeout(self, self.spec.timeout)

    @property
    def room(self) -> float:
        return self.spec.max_concurrency or NEVER

    def open(self, total: int) -> None:
        """Begin so many branches."""
        self.children: dict[int, Frame] = {}
        self.results: list[Ended | None] = [None] * total
        self.tally = joins.Tally(total)
        self.enough = joins.enough(self.spec.join, total)
        self.decided_at = 0  # seq of block_decided
        self.overlays: dict[int, Overlay] | None = None
        self.conflict = 0  # seq of the failure, if branches conflict over the state
        self.judging = True
        self.filling = False
        self.queue = [*self._in_order(total)]  # the next one last
        self.queue.reverse()
        self._judge()  # no items at all, or fewer than the join needs
        if self.verdict is None:
            self._fill()

    def _in_order(self, total: int) -> Iterable[int]:
        """Return the order in which branches start, as far as there is room.

        Those without work go first, or `first` would start what it has no need of.
        """
        prefix, kept = self.outer.path, self.machine.kept
        late: list[int] = []
        instant: list[int] = []
        for i in range(total):
            node = self.branch(i)
            # That a step has work to do, as nearly always, is seen without asking.
            works = type(node) is StepSpec and not kept
            path = "" if works else join_path(prefix, node.id) + self.mark(i)
            now = not works and self.machine.is_instant(Place(path, node))
            (instant if now else late).append(i)
        return instant + late

    def _fill(self) -> None:
        """Start branches, as many as may be live."""
        if self.filling:
            return  # a branch ended while it started; the loop below goes on with the next
        self.filling = True
        limit = self.spec.max_concurrency or len(self.results)
        while self.queue and len(self.children) < limit:
            index = self.queue.pop()
            child = self.children[index] = self.child_at(index)
            child.start()
        self.filling = False

    @property
    def is_lost(self) -> bool:
        return self.verdict is FAILED or self.verdict is CANCELLED

    def overlay_for(self, child: Frame) -> Overlay:
        if self.overlays is None:
            self.overlays = {}
            self.machine.overlay()  # so that there is state to see
        return self.overlays.setdefault(child.index, {})

    def layers_for(self, child: Frame) -> tuple[Overlay, ...]:
        own = None if self.overlays is None else self.overlays.get(child.index)
        return self.layers() if own is None else (own, *self.layers())

    def inside(self) -> Iterable[Frame]:
        return self.children.values()

    def left(self) -> Iterable[NodeSpec]:
        return map(self.branch, reversed(self.queue))

    def child_ended(self, child: Frame, ended: Ended) -> None:
        del self.children[child.index]
        self._count(child.index, ended)
        if not self.judging:
            return
        # Most branches decide nothing, and that is seen without asking.
        more = ended.status is COMPLETED and (self.children or self.queue)
        if not more or self.tally.completed >= self.enough:
            self._judge()
        if self.queue:  # then there is no verdict yet
            self._fill()

    def _count(self, index: int, ended: Ended) -> None:
        if ended.optional and self.spec.join.kind == "all":
            self.tally.tolerated += 1
            ended = replace(ended, status=COMPLETED)
        self.results[index] = ended
        self._tally(ended.status, 1)

    def _tally(self, status: StepStatus, number: int) -> None:
        if status is COMPLETED:
            self.tally.completed += number
        elif status is FAILED:
            self.tally.failed += number
        else:
            self.tally.cancelled += number

    def _judge(self) -> None:
        """Reach the verdict as soon as there is one, and leave as soon as nothing runs."""
        if self.verdict is None:
            self.verdict = joins.verdict(self.spec.join, self.tally)
            if self.verdict is not None:
                self._announce(self.verdict)
        if self.verdict is not None and not self.children:
            self._leave(self.verdict)

    def _announce(self, verdict: StepStatus) -> None:
        if verdict is COMPLETED:
            if self.children or self.queue:
                self._stop_rest("cancel", ev.was_met(self.spec.join, self.spec.id))
            if self.overlays and (conflicts := self._merge(self.overlays)):
                self._fail_over(conflicts)
                return
        elif verdict is FAILED and self.spec.on_failure == "cancel":
            self._stop_rest("cancel", f"{self._first_failed()} failed")
        elif verdict is FAILED:
            self._stop_rest("drain", ev.DRAINED)
        output = self._output() if verdict is COMPLETED else None
        self._record(verdict, self._reason(verdict), output)

    def _record(self, verdict: StepStatus, reason: str, output: Ref = None) -> None:
        fields = (verdict.value, reason, output, self._untold(verdict))
        self.decided_at = self.machine.emit(ev.BlockDecided, self.path, *fields).seq

    def _untold(self, verdict: StepStatus) -> tuple[Failure, ...]:
        """Return the failures without an event that only the verdict reports.

        The nodes around the block learn of the failures that fail it; others may be in its output.
        """
        failed = self.tally.failed or self.tally.tolerated
        outcomes = verdict is COMPLETED and self.spec.join.kind not in {"all", "first"}
        if not failed or outcomes:
            return ()
        passed_on = FAILED if verdict is FAILED and not self.conflict else None
        ended = (r for r in self.results if r is not None and r.status is not passed_on)
        return tuple(f for r in ended for f in r.failures if isinstance(f, Failure))

    def _merge(self, overlays: dict[int, Overlay]) -> list[Conflict]:
        """Take what the branches wrote that completed, unless they conflict; return where."""
        taken = [i for i in sorted(overlays) if _is_completed(self.results[i])]
        changes, conflicts = merged(overlays[i] for i in taken)
        self.overlays = None
        if not conflicts:
            outer = self.overlay()
            for key, entry in changes.items():
                lay(outer, key, entry)
        return conflicts

    def _fail_over(self, conflicts: list[Conflict]) -> None:
        """Fail, though the join was met."""
        met = self._reason(COMPLETED)
        self.verdict = FAILED
        first = conflicts[0]
        more = "".join(f", and over {each.key!r}: {each}" for each in conflicts[1:_CONFLICTS])
        message = (
            f"branches of block {self.spec.id!r} left different values under state key "
            f"{first.key!r}: {first}{more}; use ctx.state.incr or append, a key for each branch, "
            "or return the values and write after the block"
        )
        failure = self.failure(FailureCode.STATE_CONFLICT, message)
        self.conflict = self.machine.emit(ev.StepFailed, self.path, 0, failure, None, None).seq
        self._record(FAILED, f"conflict over state key {first.key!r}: {first}; {met}")

    def _leave(self, verdict: StepStatus) -> None:
        if verdict is COMPLETED:
            self.end(COMPLETED, value=self.decided_at)
        elif self.conflict:
            self.end(FAILED, failures=(self.conflict,))
        elif verdict is FAILED:
            failed = (r for r in self.results if r is not None and r.status is FAILED)
            failures = tuple(f for r in failed for f in r.failures)
            self.end(FAILED, failures=failures or (self._too_few(),))
        else:
            self.end(CANCELLED, reason=ev.DRAINED)

    def _too_few(self) -> Failure:
        """Return the failure of a join that could not be met from the start."""
        message = f"{self.spec.join} can't be met by {len(self.results)} items"
        return self.failure(FailureCode.VALIDATION, message)

    def stop(self, strength: Strength, reason: str) -> None:
        self.stopping = strength
        self._stop_rest(strength, reason)
        if strength == "cancel" and self.verdict is None:
            self.verdict = CANCELLED
            self._record(CANCELLED, reason)
            self.end(CANCELLED, reason=reason)
        else:
            self._judge()

    def _stop_rest(self, strength: Strength, reason: str) -> None:
        """Stop every branch that has not ended, without judging them one by one."""
        judging, self.judging = self.judging, False
        while self.queue:
            index = self.queue.pop()
            self._replace(index, CANCELLED, reason=reason)
        for child in list(self.children.values()):
            child.stop(strength, reason)
        self.judging = judging

    def _replace(
        self,
        index: int,
        status: StepStatus,
        *,
        failures: tuple[FailureRef, ...] = (),
        reason: str = "",
    ) -> None:
        """Give a branch an end that is not its own doing."""
        node, mark = self.branch(index), self.mark(index)
        optional = bool(failures) and isinstance(node, StepSpec) and node.continue_on_error
        path = join_path(self.outer.path, node.id) + mark
        ended = Ended(path, status, None, failures, reason, optional)
        was = self.results[index]
        if was is not None:
            self._tally(was.status, -1)
        if not mark:
            self.outer.results[node.id] = ended
        self.machine.note(ended)
        self._count(index, ended)

    def receive(self, event: ev.Event) -> None:
        if not isinstance(event, ev.TimerFired):
            super().receive(event)
        message = f"block {self.spec.id!r} took longer than {self.spec.timeout:g} s"
        open_before = [] if self.verdict else [*self.children, *self.queue]
        self._stop_rest("cancel", message)
        for index in sorted(open_before):
            was = self.results[index]
            if was is not None and was.status is CANCELLED:
                failure = self.failure(FailureCode.TIMEOUT, message, was.path)
                self._replace(index, FAILED, failures=(failure,))
        self._judge()

    def _output(self) -> Ref:
        results = [r for r in self.results if r is not None]
        kind = self.spec.join.kind
        if kind == "all":
            return self.composed(tuple(r.value for r in results))
        if kind == "first":
            return next(r.value for r in results if r.status is COMPLETED)
        return self.composed(tuple(results))

    def _label(self, index: int) -> str:
        return f"{self.branch(index).id}{self.mark(index)}"

    def _first_failed(self) -> str:
        return next(iter(self._first(FAILED, 1)), self.spec.id)

    def _reason(self, verdict: StepStatus) -> str:
        after = self.machine.passed(self.machine.at) - self.entered_at
        reason = joins.reason(self.spec.join, verdict, self.tally, self._first, after)
        if not self.tally.failed and not self.tally.tolerated:
            return reason
        late = [r.reason for r in self.results if r is not None and r.failures and r.reason]
        return "; ".join([reason, *late[:1]])  # one line for people

    def _first(self, how: str, number: int) -> list[str]:
        """Return what the first branches that ended so are called, in declared order."""
        ended = enumerate(self.results)
        found = (self._label(i) for i, r in ended if r is not None and joins.told(r) == how)
        return list(islice(found, number))


def _is_met(place: Place, branches: list[Place], results: Results) -> bool:
    spec: Any = place.spec
    return joins.met(spec.join, len(branches), sum([results.enter(each) for each in branches]))


def _is_completed(result: Ended | None) -> bool:
    return result is not None and result.status is COMPLETED


class ParallelFrame(BlockFrame):
    """A block whose branches are in the tree; each gets the block's input."""

    __slots__ = ()

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:
        return _is_met(place, place.inside(), results)

    def start(self) -> None:
        self.enter()
        self.open(len(self.spec.branches))

    def branch(self, index: int) -> NodeSpec:
        node: NodeSpec = self.spec.branches[index]
        return node

    def mark(self, index: int) -> str:
        return ""

    def child_at(self, index: int) -> Frame:
        return self.make_child(self.spec.branches[index], index)

    def composed(self, values: tuple[Ref, ...]) -> Ref:
        return values


class MapFrame(Asking, BlockFrame):
    """First asks how many items there are, then runs the body for each."""

    __slots__ = ("keys",)
    answer = ev.Expanded
    keeps = ("expanded",)

    @classmethod
    def fits(cls, spec: Any, result: Kept) -> bool:
        count = -1 if result.choice is None else result.choice
        bare = not result.has_output and not result.state
        return bare and is_expansion(count, result.keys, keyed=spec.keyed)

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:
        found = results.find(place.path)
        if found is None or found.choice is None:
            return found is not None
        marks = [item_mark(index, found.keys) for index in range(found.choice)]
        return _is_met(place, place.inside(lambda _, __: marks), results)

    def start(self) -> None:
        self.keys: tuple[str, ...] | None = None
        self.enter()
        kept = self.machine.kept.get(self.path)
        if kept is not None and kept.choice is not None:
            self._expand(kept.choice, kept.keys)
            return
        self.machine.enter(self)
        self.ask(Expand(self.path, self.spec, self.input))

    def _expand(self, count: int, keys: tuple[str, ...] | None) -> None:
        self.keys = keys
        self.open(count)

    def _in_order(self, total: int) -> Iterable[int]:
        return super()._in_order(total) if self.machine.kept else range(total)

    def branch(self, index: int) -> NodeSpec:
        body: NodeSpec = self.spec.body
        return body

    def mark(self, index: int) -> str:
        return item_mark(index, self.keys)

    def child_at(self, index: int) -> Frame:
        child = self.make_child(self.spec.body, index, mark=self.mark(index))
        child.input = item_of(self.input, index)
        return child

    def composed(self, values: tuple[Ref, ...]) -> Ref:
        return ListOf(values)

    def answered(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Expanded)
        self._expand(event.count, event.keys)

    def receive(self, event: ev.Event) -> None:
        if self.asking and isinstance(event, ev.TimerFired):
            message = f"map {self.spec.id!r} took longer than {self.spec.timeout:g} s"
            self.withdraw(message)
            failure = self.failure(FailureCode.TIMEOUT, message)
            self.end(StepStatus.FAILED, failures=(failure,))
        else:
            super().receive(event)
