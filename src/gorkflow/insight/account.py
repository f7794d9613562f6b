"""The account of a run's time: its explanation in words, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from gorkflow._text import cleaned, counted, span_of
from gorkflow.flow import spoken
from gorkflow.insight.explain import Block, Branch, Explanation, Phase, Span
from gorkflow.insight.overview import Overview, Usual
from gorkflow.insight.timeline import label_of
from gorkflow.model import RunStatus

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]
"""Given a head and rows, returns the lines of a table."""
_WORTH_IT = 0.005
"""The part of a duration from which on a kind of time is worth a word."""
_INSTANT = "It took no time."
_MOST = 10
"""Branches of a block that are listed; the slowest of thousands say enough."""


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown."""
    cells = [[cleaned(cell).replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]


def account(found: Explanation, table: Table) -> list[str]:
    """Return the lines that explain one run.

    Args:
        found: The explanation.
        table: Writes the tables: ``markdown``, or another function.
    """
    title = f"{found.workflow_id} {found.run_id}: {found.status.value}"
    lines = [f"{title}, {span_of(found.seconds)}", ""]
    if _kept_all(found):
        return [*lines, "All results were kept from the run that it repeats."]
    if not found.critical:
        return [*lines, "It has not begun." if found.status is RunStatus.PENDING else _INSTANT]
    lines += ["Critical path", "", *_critical(found, table), ""]
    lines += [f"Time on it: {_shares(found.time, found.seconds)}", ""]
    for block in found.blocks:
        lines += [*_block(block, table), ""]
    return lines[:-1]


def _kept_all(found: Explanation) -> bool:
    """Return whether a run took all results from the one that it repeats, and did nothing else."""
    is_new = (
        row.attempts or any(s.phase is not Phase.ENGINE for s in row.spans) for row in found.rows
    )
    return any(row.kept for row in found.rows) and not any(is_new)


def compared(was: Explanation, same: Explanation, found: Explanation) -> str:
    """Return the line that compares a forecast with that of the recorded rules.

    Args:
        was: The run as recorded.
        same: Its forecast without a change: what a forecast leaves out is missing in both.
        found: Its forecast under other rules.
    """
    said = (
        f"The run took {span_of(was.seconds)}. Its forecast is {span_of(same.seconds)} under the "
        f"recorded rules, and {span_of(found.seconds)} under these: {_change(same, found)}."
    )
    if found.status is not RunStatus.COMPLETED:
        still = "still " if found.status is was.status else ""
        end = "fails" if found.status is RunStatus.FAILED else "is cancelled"
        return f"{said} The run {still}{end}."
    return said if was.status is found.status else f"{said} The run completes."


def _change(same: Explanation, found: Explanation) -> str:
    change = found.seconds / same.seconds - 1 if same.seconds else float(found.seconds > 0)
    if abs(change) < _WORTH_IT:
        return "as long"
    return f"{abs(change):.0%} {'more' if change > 0 else 'less'}"


def _critical(found: Explanation, table: Table) -> list[str]:
    rows: list[Sequence[str]] = []
    for path, group in groupby(found.critical, key=attrgetter("path")):
        spans = list(group)
        seconds = sum(span.seconds for span in spans)
        share = _share(seconds, found.seconds)
        rows.append((spoken(path) or "(the run)", _parts(spans), span_of(seconds), share))
    return table(("STEP", "SPENT", "TOOK", "SHARE"), rows)


def _parts(spans: Sequence[Span]) -> str:
    time: dict[Phase, float] = {}
    for span in spans:
        time[span.phase] = time.get(span.phase, 0.0) + span.seconds
    attempts = max(span.attempt for span in spans)
    most = sum(time.values()) * _WORTH_IT
    said = ", ".join(
        f"{phase.value} {span_of(seconds)}" for phase, seconds in time.items() if seconds >= most
    )
    return f"{said}; {attempts} attempts" if attempts > 1 else said


def _shares(time: Mapping[Phase, float], total: float) -> str:
    return ", ".join(
        f"{phase.value} {span_of(seconds)} ({_share(seconds, total)})"
        for phase, seconds in time.items()
        if seconds >= total * _WORTH_IT
    )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "0%"


def _block(block: Block, table: Table) -> list[str]:
    name = label_of(block.path, block.kind)
    branches = counted(len(block.branches), "branch", "branches")
    who = "it" if len(block.branches) == 1 else "they"
    title = f"{name}: {branches}, {span_of(block.seconds)}"
    lines = [f"{title}; {who} worked {block.efficiency:.0%} of that time"]
    if block.critical and len(block.branches) > 1:
        by = f", {span_of(block.lead)} after the others" if block.lead > 0 else ""
        lines.append(f"{spoken(block.critical)} ended last{by}.")
    shown = sorted(block.branches, key=lambda each: each.began - each.ended)[:_MOST]
    kept = {branch.path for branch in shown}
    lines += ["", *table(("BRANCH", "BEGAN", "TOOK", "WORK", "SLACK"), [
        _branch(each) for each in block.branches if each.path in kept
    ])]  # fmt: skip
    if len(block.branches) > len(shown):
        lines.append(f"… and {len(block.branches) - len(shown):,} shorter ones")
    return lines


def _branch(branch: Branch) -> tuple[str, ...]:
    slack = "cancelled" if branch.slack is None else span_of(branch.slack)
    took = span_of(branch.ended - branch.began)
    return spoken(branch.path), f"+{span_of(branch.began)}", took, span_of(branch.work), slack


def summary(found: Overview, table: Table) -> list[str]:
    """Return the lines that explain many runs of a workflow.

    Args:
        found: The overview.
        table: Writes the tables: ``markdown``, or another function.
    """
    worth = [(phase, share) for phase, share in found.time.items() if share >= _WORTH_IT]
    times = ", ".join(f"{phase.value} {share:.0%}" for phase, share in worth)
    lines = [
        f"{found.workflow_id}: {counted(found.run.count, 'run')}, {_usual(found.run)}",
        f"Time on the critical paths: {times}",
        "",
        *table(
            ("STEP", "RUNS", "P50", "P95"),
            [(spoken(s.path), f"{s.count:,}", span_of(s.p50), span_of(s.p95)) for s in found.steps],
        ),
    ]
    if found.holders:
        lines += ["", *(f"{holder}." for holder in found.holders)]
    return lines


def _usual(usual: Usual) -> str:
    return f"p50 {span_of(usual.p50)}, p95 {span_of(usual.p95)}"
