"""What choices, loops, maps and pauses have in common: a question that user code answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from gorkflow import events as ev
from gorkflow.flow import NodeSpec
from gorkflow.machine.commands import CancelStep, Request
from gorkflow.machine.frame import Frame, Strength
from gorkflow.model import StepStatus


class Asking(Frame):
    """A mixin: a node that asks something at its own path, before or between its children.

    While it asks, nothing runs inside it. The question does no work that is worth waiting for, so
    it is withdrawn in either strength of a stop. An answer that can't be had fails the node.
    """

    __slots__ = ()

    answer: ClassVar[type[ev.Event]]
    """The event that brings the answer."""

    def ask(self, question: Request) -> None:
        """Ask; ``answered`` is called with the event that brings the answer."""
        self.asking = True
        self.machine.ask(question)

    def answered(self, event: ev.Event) -> None:
        """Go on with the answer."""
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
        """Stop whoever looks for the answer."""
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
