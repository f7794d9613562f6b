"""A live choice: conditions, then at most one of the arms."""

from __future__ import annotations

from collections.abc import Iterable

from gorkflow import events as ev
from gorkflow.events import Default, Ended
from gorkflow.flow import ChoiceSpec, NodeSpec, join_path
from gorkflow.machine.asking import Asking
from gorkflow.machine.commands import Decide
from gorkflow.machine.frame import Frame, Strength
from gorkflow.model import StepStatus


class ChoiceFrame(Asking):
    """The first arm whose condition holds."""

    __slots__ = ("child",)
    answer = ev.Decided

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
