"""The base of everything that a workflow is made of."""

from __future__ import annotations

from typing import Generic, TypeVar

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Node(Generic[In_contra, Out_co]):
    """Something that takes a value and gives one: a step, a passthrough, or a whole workflow.

    Nominal on purpose: a plain function is no node, and a type checker says so.
    """

    __slots__ = ("id",)

    id: str
    """Unique within the workflow that holds it."""
