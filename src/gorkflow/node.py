"""The base of everything that a workflow is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, runtime_checkable

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)
P = ParamSpec("P")
"""The inputs of a step, as one value: ``[Order]``, or ``[tuple[Stock, Quote]]``. As a parameter
specification it keeps the type variables of a generic function, which no type variable does."""

if TYPE_CHECKING:

    @runtime_checkable
    class Node(Protocol[In_contra, Out_co]):
        """Something that takes a value and gives one: a step, a passthrough, or a workflow.

        To a type checker, each object with this method is a node. So a generic step keeps its type
        variables until it stands in a workflow. A plain function has no such
        method: it is not a node, and a type checker says so.

        Example:
            >>> from typing import Any
            >>> from gorkflow import Node, Workflow, passthrough
            >>> def twice(node: Node[int, Any]) -> Workflow[int, Any]:
            ...     return Workflow("twice", input=int).then(node)
            >>> twice(passthrough(int)).id
            'twice'
        """

        id: str
        """Unique within the workflow that holds it."""

        def _gives(self, value: In_contra, /) -> Out_co:
            return self._gives(value)  # a body, so that subclasses need not have one

    class NodeByShape:
        """The base of what only its own ``_gives`` makes a node."""

        id: str

    class StepByShape(Node[In_contra, object], Protocol[In_contra]):
        """A step, as a type checker sees one."""

        undone_by: Any

else:

    class Node(Generic[In_contra, Out_co]):
        """Something that takes a value and gives one: a step, a passthrough, or a workflow."""

        __slots__ = ("id",)

    NodeByShape = Node
