"""A live question: a node that user code decides over. Choices and loops are such nodes.

Maps and pauses ask, too, before anything else happens in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from gorkflow import events as ev
from gorkflow.events import Default, Ended
from gorkflow.flow import ChoiceSpec, LoopSpec, NodeSpec, Place, iteration_mark, join_path
from gorkflow.machine.commands import CancelStep, Decide, Request
from gorkflow.machine.frame import Frame, Kept, Results, Strength
from gorkflow.model import FailureCode, StepStatus


class Asking(Frame):
    """A mixin: a node that asks something at its own path, before or between its children.

    While it asks, nothing runs inside it. The question does no work that is worth waiting for, so
    it is withdrawn in either strength of a stop. A node without an answer fails.
    """

    __slots__ = ()

    answer: ClassVar[type[ev.Event]]
    """The event that brings the answer."""

    def ask(self, question: Request) -> None:
        """Ask; ``answered`` is called with the event that brings the answer."""
        self.asking = True
        self.machine.ask(question)

    def answered(self, event: ev.Event) -> None:
        """Continue with the answer."""
        raise NotImplementedError

    def inside(self) -> Iterable[Frame]:
        return () if self.asking else self.inside_answered()

    def left(self) -> Iterable[NodeSpec]:
        return self.spec.children() if self.asking else self.left_answered()

    def inside_answered(self) -> Iterable[Frame]:
        """Return the live nodes directly inside, now that nothing is asked."""
        return super().inside()

    def left_answered(self) -> Iterable[NodeSpec]:
        """Return the nodes that it may still enter, now that nothing is asked."""
        return super().left()

    def expects(self, attempt: int) -> bool:
        return self.asking

    def receive(self, event: ev.Event) -> None:
        if self.asking and isinstance(event, self.answer):
            self.asking = False
            self.answered(event)
        elif self.asking and isinstance(event, ev.StepFailed) and event.retry_at is None:
            self.end(StepStatus.FAILED, failures=(event.seq,))
        else:
            super().receive(event)

    def withdraw(self, reason: str) -> None:
        """Stop the function that looks for the answer."""
        self.machine.command(CancelStep(self.path, 1, reason))

    def stop(self, strength: Strength, reason: str) -> None:
        if self.asking:
            self.stopping = strength
            self.withdraw(reason)
            self.end(StepStatus.CANCELLED, reason=reason)
        else:
            self.stop_inside(strength, reason)

    def stop_inside(self, strength: Strength, reason: str) -> None:
        """Stop what runs inside, now that nothing is asked."""
        super().stop(strength, reason)


class ChoiceFrame(Asking):
    """The first arm whose condition holds."""

    __slots__ = ("child",)
    answer = ev.Decided
    keeps = ("decided",)

    @classmethod
    def fits(cls, spec: Any, result: Kept) -> bool:
        bare = not result.has_output and result.keys is None and not result.state
        return bare and result.choice is not None and 0 <= result.choice <= len(spec.arms)

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:
        found = results.find(place.path)
        if found is None or found.choice is None:
            return found is not None
        chosen = place.inside()[found.choice :][:1]  # none: it is skipped
        return all(map(results.enter, chosen))

    def start(self) -> None:
        kept = self.machine.kept.get(self.path)
        if kept is not None and kept.choice is not None:
            self._choose(kept.choice)
            return
        self.machine.enter(self)
        self.ask(Decide(self.path, self.spec, self.input))

    def answered(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Decided)
        self._choose(event.choice)

    def _choose(self, choice: int) -> None:
        spec: ChoiceSpec = self.spec
        nodes = spec.children()
        for index, node in enumerate(nodes):
            if index != choice:
                self._skip(node, choice)
        if choice >= len(nodes):  # its default stands in, or what it was given
            instead = self.input if spec.default is None else Default(self.path)
            self.end(StepStatus.COMPLETED, value=instead)
            return
        self.child: Frame = self.make_child(nodes[choice], choice)
        self.child.start()

    def _skip(self, node: NodeSpec, choice: int) -> None:
        arms = self.spec.arms
        if choice < len(arms):
            why = f"{arms[choice].condition} held"
        else:
            why = " and ".join(arm.condition for arm in arms) + " did not hold"
        path = join_path(self.outer.path, node.id)
        self.machine.emit(ev.StepSkipped, path, why)
        self.outer.results[node.id] = skipped = Ended(path, StepStatus.SKIPPED, reason=why)
        self.machine.note(skipped)

    def inside_answered(self) -> Iterable[Frame]:
        return (self.child,)

    def child_ended(self, child: Frame, ended: Ended) -> None:
        del self.child  # so that no cycle is left
        self.end(
            ended.status,
            value=ended.value,
            failures=ended.failures,
            reason=ended.reason,
            optional=ended.optional,
        )

    def stop_inside(self, strength: Strength, reason: str) -> None:
        self.stopping = strength
        self.child.stop(strength, reason)


class LoopFrame(Asking):
    """The body, again and again with what it gave, until the condition holds."""

    __slots__ = ("child", "entering", "iteration", "value")
    answer = ev.Decided
    keeps = ("looped", "looping")

    @classmethod
    def fits(cls, spec: Any, result: Kept) -> bool:
        bare = not result.has_output and result.keys is None and not result.state
        most = spec.max_iterations - (result.what == "looping")  # else it would fail at once
        return bare and result.choice is not None and 1 <= result.choice <= most

    @classmethod
    def is_whole(cls, place: Place, results: Results) -> bool:
        found = results.find(place.path)
        if found is None or found.choice is None:
            return found is not None
        marks = [iteration_mark(number) for number in range(1, found.choice + 1)]
        inside = place.inside(lambda _, __: marks)
        return found.what == "looped" and all(map(results.enter, inside))

    def start(self) -> None:
        self.entering = False
        self.iteration = 0
        self.value = self.input
        self.machine.enter(self)
        self._iterate()

    def _iterate(self) -> None:
        """Run iterations, until one does not end at once or is the last."""
        # A loop, not recursion through child_ended: there may be more than the stack is deep.
        while True:
            self.iteration += 1
            mark = iteration_mark(self.iteration)
            child = self.make_child(self.spec.body, 0, mark=mark)
            child.input = self.value
            self.child: Frame = child
            self.entering = True
            child.start()
            self.entering = False
            if child.live or not self.live or not self._goes_on():
                return

    @property
    def may_ask(self) -> bool:
        return not self.stopping and not self.is_lost

    def inside_answered(self) -> Iterable[Frame]:
        return (self.child,)

    def left(self) -> Iterable[NodeSpec]:
        last = not self.may_ask or self.iteration >= self.spec.max_iterations
        return () if last else (self.spec.body,)

    def place_of(self, child: Frame) -> int:
        return self.iteration

    def child_ended(self, child: Frame, ended: Ended) -> None:
        del self.child  # so that no cycle is left
        if ended.status is not StepStatus.COMPLETED and not ended.optional:
            self.end(ended.status, failures=ended.failures, reason=ended.reason)
            return
        self.value = ended.value
        if not self.entering and self._goes_on():
            self._iterate()

    def _goes_on(self) -> bool:
        """Return whether the next iteration may begin at once; else see to what is next."""
        if self.stopping:
            self.end(StepStatus.CANCELLED, reason=ev.DRAINED)
            return False
        kept = self.machine.kept.get(self.path)
        if kept is not None and kept.choice is not None and self.iteration <= kept.choice:
            return self._judged(held=kept.what == "looped" and self.iteration == kept.choice)
        self.ask(Decide(self.path, self.spec, self.value))
        return False

    def _judged(self, *, held: bool) -> bool:
        """Take the condition's answer, and return whether to continue."""
        spec: LoopSpec = self.spec
        if held:
            self.end(StepStatus.COMPLETED, value=self.value)
        elif self.iteration >= spec.max_iterations:
            times = f"{spec.max_iterations} iterations"
            message = f"loop {spec.id!r} ended after {times}: {spec.condition} did not hold"
            failure = self.failure(FailureCode.LOOP_LIMIT, message)
            failed = self.machine.emit(ev.StepFailed, self.path, 0, failure, None, None)
            self.end(StepStatus.FAILED, failures=(failed.seq,))
        return not held and self.live

    def answered(self, event: ev.Event) -> None:
        assert isinstance(event, ev.Decided)
        if self._judged(held=event.choice == 0):
            self._iterate()

    def stop_inside(self, strength: Strength, reason: str) -> None:
        self.stopping = strength
        self.child.stop(strength, reason)
