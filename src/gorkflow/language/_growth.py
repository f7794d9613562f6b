"""What is checked about an element that a workflow grows by, apart from how values flow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.language._elements import Block, Chain, Choice, Element, Loop, Map, Sleep, Wait


def text_problems(**texts: Any) -> list[str]:
    """Return which of these are not strings that can be written down."""
    return [
        f"{what} must be a string, and one that UTF-8 can hold, not {brief(text)}"
        if isinstance(text, str)
        else f"{what} must be a string, not {brief(text)}"
        for what, text in texts.items()
        if not isinstance(text, str) or (not text.isascii() and not _is_utf8(text))
    ]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def tag_problems(tags: Any) -> list[str]:
    """Return why these can't be the tags of a run."""
    try:
        items = dict(tags).items()
    except (TypeError, ValueError):
        return [f"tags must be a mapping of strings, not {brief(tags)}"]
    return [
        f"tags must be strings, not {brief(key)}: {brief(value)}"
        for key, value in items
        if not isinstance(key, str) or not isinstance(value, str)
    ]


def duplicates(element: Element, ids: list[str], taken: frozenset[str]) -> list[str]:
    """Return which ids of an element are taken, and how to give others.

    Args:
        element: the element.
        ids: its ids.
        taken: those of the workflow so far.
    """
    seen = set[str]()
    twice: dict[str, None] = {}
    for item in ids:
        if item in seen or item in taken:
            twice[item] = None
        seen.add(item)
    given = isinstance(element, Sleep | Wait)
    return [
        f"the id {item!r} is taken; give one of the two another: "
        + ("id=…" if given or item[0] in "&?*@" else f"{item}.options(id=…)")
        for item in twice
    ]


def nested(element: Element) -> list[Chain[Any, Any]]:
    """Return the workflows directly inside an element."""
    if isinstance(element, Block):
        nodes: Iterable[Any] = element.branches
    elif isinstance(element, Choice):
        nodes = element.nodes
    elif isinstance(element, Map | Loop):
        nodes = (element.body,)
    else:
        nodes = (element,)
    return [node for node in nodes if isinstance(node, Chain)]


def with_signals(
    known: Mapping[str, Any], element: Element, problems: list[str]
) -> Mapping[str, Any]:
    """Return the signals that a workflow waits for, with those of an element.

    A sender names a run and a signal, so one name can't stand for two types.

    Args:
        known: the types of the signals so far, by name.
        element: what the workflow grows by.
        problems: takes up those that differ.
    """
    new = [(element.signal, element.annotation)] if isinstance(element, Wait) else []
    for chain in nested(element):
        new += chain.signals.items()
    if not new:
        return known
    found = dict(known)
    for name, annotation in new:
        if found.setdefault(name, annotation) != annotation:
            problems.append(
                f"signal {name!r} is waited for as {describe(found[name])} and as "
                f"{describe(annotation)}; give one of the two another name"
            )
    return found


def ids_of(element: Element) -> list[str]:
    """Return the ids that an element takes in its workflow, outermost first."""
    if isinstance(element, Block):
        return [element.id, *(node.id for node in element.branches)]
    if isinstance(element, Choice):
        return [element.id, *(node.id for node in element.nodes)]
    if isinstance(element, Map | Loop):
        return [element.id, element.body.id]
    return [element.id]


def seen_of(element: Element) -> list[str]:
    """Return those ids whose outputs may be read outside: no item's or iteration's."""
    return [element.id] if isinstance(element, Map | Loop) else ids_of(element)
