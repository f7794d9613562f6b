"""Swaps a node inside a workflow."""

from __future__ import annotations

import dataclasses
from typing import Any

from gorkflow.language._elements import (
    Block,
    Chain,
    Choice,
    Element,
    Loop,
    Map,
    Passthrough,
    Sleep,
    Wait,
)
from gorkflow.node import Node
from gorkflow.step import is_step


def replaced(
    elements: tuple[Element, ...], old_id: str, new: Node[Any, Any]
) -> tuple[tuple[Element, ...], bool]:
    """Return elements with the node of an id swapped, and whether there was one.

    The nearest scope wins: nested workflows are searched where this one has no such node.

    Args:
        elements: of a workflow.
        old_id: the id to look for.
        new: takes its place, and its id.
    """
    swap = _Swap(old_id, renamed(new, old_id), nested=False)
    result = tuple(map(swap.element, elements))
    if not swap.found:
        swap = _Swap(old_id, renamed(new, old_id), nested=True)
        result = tuple(map(swap.element, elements))
    return result, swap.found


def renamed(node: Node[Any, Any], node_id: str) -> Node[Any, Any]:
    """Return a copy of a node under another id."""
    if node.id == node_id:
        return node
    if is_step(node):
        return node.renamed(node_id)
    if isinstance(node, Chain):
        return node.renamed(node_id)
    if isinstance(node, Passthrough):
        return Passthrough(node.annotation, node_id)
    raise TypeError(f"{node!r} is a node of an unknown kind")


class _Swap:
    def __init__(self, old_id: str, new: Node[Any, Any], *, nested: bool) -> None:
        self._old_id = old_id
        self._new = new
        self._nested = nested
        self.found = False

    def element(self, element: Element) -> Element:
        if isinstance(element, Block):
            return dataclasses.replace(element, branches=tuple(map(self.node, element.branches)))
        if isinstance(element, Map | Loop):
            return dataclasses.replace(element, body=self.node(element.body))
        if isinstance(element, Choice):
            arms = tuple(dataclasses.replace(arm, node=self.node(arm.node)) for arm in element.arms)
            otherwise = None if element.otherwise is None else self.node(element.otherwise)
            return dataclasses.replace(element, arms=arms, otherwise=otherwise)
        if isinstance(element, Sleep | Wait):
            if element.id != self._old_id:
                return element
            self.found = True
            return self._new
        return self.node(element)

    def node(self, node: Node[Any, Any]) -> Node[Any, Any]:
        if node.id == self._old_id:
            self.found = True
            return self._new
        if is_step(node) and node.undone_by is not None and node.undone_by.id == self._old_id:
            self.found = True
            return node.with_undo(self._new)
        if self._nested and isinstance(node, Chain):
            elements, found = replaced(node.elements, self._old_id, self._new)
            if found:
                self.found = True
                return node.rebuilt(elements)
        return node
