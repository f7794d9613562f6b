"""A live parallel block: its branches are in the tree."""

from __future__ import annotations

from gorkflow.events import Ref
from gorkflow.flow import NodeSpec
from gorkflow.machine.block import BlockFrame
from gorkflow.machine.frame import Frame


class ParallelFrame(BlockFrame):
    """A block whose branches are in the tree; each gets the block's input."""

    __slots__ = ()

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
