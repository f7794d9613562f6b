"""A flow tree whose nodes know their paths, for what looks at a workflow as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gorkflow._record import record
from gorkflow.flow import (
    LoopSpec,
    MapSpec,
    NodeSpec,
    ParallelSpec,
    StepSpec,
    WorkflowSpec,
    children,
    join_path,
)

_MARKS: dict[type, str] = {MapSpec: "[]", LoopSpec: "#"}
"""What the path of a body ends with that runs several times."""


@record
class Place:
    """A node and what is directly inside it."""

    path: str
    """Empty: the workflow itself."""
    node: NodeSpec
    inside: tuple[Place, ...]

    def walk(self) -> Iterator[Place]:
        """Yield this place and all inside, in declared order, parents first."""
        yield self
        for place in self.inside:
            yield from place.walk()

    def __str__(self) -> str:
        """Return what it is and its path, for messages."""
        if isinstance(self.node, StepSpec | WorkflowSpec):
            return f"{self.node.kind} {(self.path or self.node.id)!r}"
        kind = "block" if isinstance(self.node, ParallelSpec) else self.node.kind
        return f"{kind} {self.path!r}"


def placed(node: NodeSpec, path: str = "", prefix: str = "") -> Place:
    """Return a node with the paths of all that is inside.

    Args:
        node: the root of a tree, or what is inside one.
        path: the node's.
        prefix: the path of the workflow around it.
    """
    inner = path if isinstance(node, WorkflowSpec) else prefix
    mark = _MARKS.get(type(node), "")
    inside = tuple(
        placed(child, join_path(inner, child.id) + mark, inner) for child in children(node)
    )
    return Place(path, node, inside)


def named(paths: Iterable[str]) -> str:
    """Return paths as a list in words, the first few of many."""
    every = list(dict.fromkeys(paths))
    shown = ", ".join(repr(path) for path in every[:5])
    return f"{shown} and {len(every) - 5} more" if len(every) > 5 else shown


def in_words(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 120:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"
