"""The drawings that a notebook shows of a workflow, a run or an explanation, by MIME type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gorkflow import events as ev
from gorkflow._notebook import Bundle
from gorkflow._text import span_of
from gorkflow.errors import WorkflowInvalidError
from gorkflow.flow import WorkflowSpec
from gorkflow.insight import account, diagram, timeline
from gorkflow.insight import picture as flow
from gorkflow.insight.explain import Explanation, explain
from gorkflow.insight.overview import Overview
from gorkflow.insight.svg import picture, size_of, text
from gorkflow.model import StepExecution
from gorkflow.workflow import Workflow

_SVG, _MARKDOWN, _PLAIN = "image/svg+xml", "text/markdown", "text/plain"
_TOP, _GAP = 30, 12  # pixels: of the title, and between two pictures
_WIDTH = 960  # pixels that a timeline has at least


def workflow(drawn: Workflow[Any, Any]) -> Bundle:
    """Return the flow of a workflow. One that is not complete is only its text."""
    try:
        tree = drawn.compile().tree
    except WorkflowInvalidError as error:
        return {_PLAIN: f"{drawn!r}\n{error}"}
    return {_SVG: _stacked(tree.id, [flow.svg(tree)]), _PLAIN: diagram.text(tree)}


def run(
    shown: str,
    tree: WorkflowSpec,
    steps: Iterable[StepExecution],
    events: Sequence[ev.Event],
    now: float,
) -> Bundle:
    """Return the flow of a run, coloured by status, above its timeline.

    Args:
        shown: The run as text.
        tree: The flow tree that it executes.
        steps: Its steps.
        events: All its events, in order.
        now: The time up to which it is drawn, in seconds since the epoch.
    """
    found = explain(events[0].run_id, tree, events, now=now)
    title = f"{found.workflow_id} {found.run_id}: {found.status.value}, {span_of(found.seconds)}"
    drawn = flow.svg(tree, steps)
    width = max(_WIDTH, size_of(drawn)[0])
    return {_SVG: _stacked(title, [drawn, timeline.svg(found, width=width)]), _PLAIN: shown}


def explanation(found: Explanation) -> Bundle:
    """Return an explanation in words and tables."""
    return _words(account.account(found, account.markdown))


def overview(found: Overview) -> Bundle:
    """Return an overview in words and tables."""
    return _words(account.summary(found, account.markdown))


def _words(lines: Sequence[str]) -> Bundle:
    whole = "\n".join(lines)
    return {_MARKDOWN: whole, _PLAIN: whole}


def _stacked(title: str, pictures: Sequence[str]) -> str:
    """Return one picture of several, from top to bottom."""
    parts = [text(14, 20, title)]
    width, top = 28 + 8 * len(title), _TOP
    for each in pictures:
        across, down = size_of(each)
        parts.append(f'<g transform="translate(0 {top})">{each}</g>')
        width, top = max(width, across), top + down + _GAP
    return picture("notebook", title, (width, top), parts, style=True)
