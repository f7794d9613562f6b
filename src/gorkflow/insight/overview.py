"""The overview of many runs of a workflow: usual durations, and the branches that hold blocks back.

Pure functions over explanations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles

from gorkflow._notebook import Bundle, drawn
from gorkflow._text import counted, span_of
from gorkflow.flow import spoken, template_of
from gorkflow.insight.explain import Block, Explanation, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """The usual duration of a step, or of the whole run, in seconds."""

    path: str
    """Its template: ``fetch[]`` for all items of a map; empty for the run."""
    count: int
    """The durations that this is made of."""
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A branch that held a block back."""

    block: str
    """The template of the block."""
    branch: str
    """The template of the branch."""
    runs: int
    """The times that the block ran."""
    share: float
    """The part of them in which this branch ended last, from 0 to 1."""
    saves: float
    """Seconds that a block would save, on average, if two halves of the branch ran side by side."""
    saves_share: float
    """The same as a part of the block's duration."""

    def __str__(self) -> str:
        """Return it as a sentence."""
        return (
            f"{spoken(self.branch)} ended last in {self.share:.0%} of "
            f"{counted(self.runs, 'run')} of {spoken(self.block)}; "
            f"splitting it in two would save about {span_of(self.saves)} ({self.saves_share:.0%})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Many runs of one workflow."""

    workflow_id: str
    run: Usual
    steps: tuple[Usual, ...]
    """By template, in declared order."""
    holders: tuple[Holder, ...]
    """For each block, the branch that held it back most often."""
    time: Mapping[Phase, float]
    """The part of the critical paths that each phase takes, from 0 to 1."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        """Return its drawing, for a notebook."""
        return drawn("overview", self)


def overview(workflow_id: str, found: Iterable[Explanation]) -> Overview:
    """Return what many runs of a workflow have in common.

    Args:
        workflow_id: The workflow.
        found: The explanations of its runs.

    Raises:
        ValueError: If there are no runs.
    """
    runs = list(found)
    if not runs:
        raise ValueError(f"workflow {workflow_id!r} has no runs yet; start one")
    steps: dict[str, list[float]] = defaultdict(list)
    blocks: dict[str, list[Block]] = defaultdict(list)
    time = dict.fromkeys(Phase, 0.0)
    for run in runs:
        for row in run.rows:
            if row.kind == "step" and row.attempts:
                steps[template_of(row.path)].append(row.ran)
        for block in run.blocks:
            blocks[template_of(block.path)].append(block)
        for phase, seconds in run.time.items():
            time[phase] += seconds
    total = sum(time.values())
    return Overview(
        workflow_id=workflow_id,
        run=usual("", [run.seconds for run in runs]),
        steps=tuple(usual(path, seconds) for path, seconds in steps.items()),
        holders=tuple(
            holder for path, found in blocks.items() if (holder := _holder(path, found)) is not None
        ),
        time={phase: seconds / total for phase, seconds in time.items() if seconds},
    )


def usual(path: str, seconds: Sequence[float]) -> Usual:
    """Return the usual durations of what took these, of which there is at least one."""
    cuts = quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else [*seconds] * 19
    return Usual(path=path, count=len(seconds), p50=cuts[9], p95=cuts[18])


def _holder(path: str, blocks: Sequence[Block]) -> Holder | None:
    """Return the branch that held a block back most often."""
    saved: dict[str, list[float]] = defaultdict(list)
    for block in blocks:
        if block.critical and len(block.branches) > 1:
            saved[template_of(block.critical)].append(_saves(block))
    if not saved:
        return None
    branch = max(saved, key=lambda each: len(saved[each]))
    mean = fmean(block.seconds for block in blocks)
    saves = sum(saved[branch]) / len(blocks)
    return Holder(
        block=path,
        branch=branch,
        runs=len(blocks),
        share=len(saved[branch]) / len(blocks),
        saves=saves,
        saves_share=saves / mean if mean else 0.0,
    )


def _saves(block: Block) -> float:
    """Return the seconds that halves of the critical branch, side by side, would save."""
    last = next(each for each in block.branches if each.path == block.critical)
    return max(0.0, min(block.lead, (last.ended - last.began) / 2))
