"""The nodes of a workflow, changed at any depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gorkflow.flow import join_path, undo_path
from gorkflow.language.elements import Chain
from gorkflow.language.placement import LOCAL
from gorkflow.node import Node
from gorkflow.step import Step, is_step
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

Change = Callable[[str, Node[Any, Any]], Node[Any, Any]]
"""Takes a node and its path (a template, inside a map or loop), and returns it or another node.
Undo steps, too."""


def rewritten(workflow: Workflow[In, Out], change: Change) -> Workflow[In, Out]:
    """Return a workflow with its nodes changed, checked again.

    Args:
        workflow: The workflow; it does not change.
        change: Called with every node, from the outside in; not for nodes inside a changed node.

    Raises:
        WorkflowInvalidError: If a node does not fit in its place.
    """
    return cast("Workflow[In, Out]", _chain(workflow, "", change))


def steps_rewritten(
    workflow: Workflow[In, Out], change: Callable[[Step[Any, Any]], Step[Any, Any]]
) -> Workflow[In, Out]:
    """Return a workflow with each of its steps changed."""
    return rewritten(workflow, lambda _, node: change(node) if is_step(node) else node)


def in_threads(workflow: Workflow[In, Out]) -> Workflow[In, Out]:
    """Return a workflow whose steps that run in processes, or elsewhere, run in threads."""
    if not any(map(_is_elsewhere, nodes_of(workflow).values())):
        return workflow

    return steps_rewritten(
        workflow, lambda step: step.options(executor="thread") if _is_elsewhere(step) else step
    )


def _is_elsewhere(node: Node[Any, Any]) -> bool:
    return isinstance(node, Step) and node.spec({}).executor not in LOCAL


def nodes_of(workflow: Workflow[Any, Any]) -> dict[str, Node[Any, Any]]:
    """Return every node that has a path, by path: steps, undo steps, workflows, passthroughs."""
    found: dict[str, Node[Any, Any]] = {}

    def note(path: str, node: Node[Any, Any]) -> Node[Any, Any]:
        found[path] = node
        return node

    rewritten(workflow, note)
    return found


def _chain(chain: Chain[Any, Any], prefix: str, change: Change) -> Chain[Any, Any]:
    elements = _changed(chain.elements, prefix, change)
    return chain if elements is chain.elements else chain.rebuilt(elements)


def _changed(item: Any, prefix: str, change: Change, mark: str = "") -> Any:
    """Return the same object where nothing in it changed."""
    found: Any = item
    if isinstance(item, Node):
        return _node(found, prefix, change, mark)
    if isinstance(item, tuple):
        items: tuple[Any, ...] = found
        new = tuple([_changed(one, prefix, change) for one in items])
        return items if all(a is b for a, b in zip(items, new, strict=True)) else new
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        mark = getattr(item, "mark", "")
        new_fields = {
            field.name: new_value
            for field in dataclasses.fields(item)
            if (new_value := _changed(value := getattr(item, field.name), prefix, change, mark))
            is not value
        }
        return dataclasses.replace(item, **new_fields) if new_fields else item
    return item


def _node(node: Node[Any, Any], prefix: str, change: Change, mark: str) -> Node[Any, Any]:
    path = join_path(prefix, node.id) + mark
    changed = change(path, node)
    if changed is node and isinstance(node, Chain):
        return _chain(node, path, change)
    if is_step(changed) and (undo := changed.undone_by) is not None:
        new: Any = change(undo_path(path), undo)
        if new is not undo:
            return changed.with_undo(new)
    return changed
