"""The new runs of a batch: whether a store can create them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from gorkflow.store import Line, RunRow, Written


def judge(
    new: Sequence[RunRow], existing: Container[str], occupants: Mapping[str, bool]
) -> list[Written]:
    """Return the answer for each new run; the earlier ones count as created.

    Args:
        new: their summaries.
        existing: the ids of the runs that there are.
        occupants: the resources of the live runs, and whether one of these runs is exclusive.
    """
    made: set[str] = set()
    occupied = dict(occupants)
    answers: list[Written] = []
    for row in new:
        resource = row.resource_id
        other = None if resource is None else occupied.get(resource)
        if row.run_id in existing or row.run_id in made:
            answers.append(Written.DUPLICATE)  # that it exists says more
        elif other is not None and row.line is Line.NONE and (row.exclusive or other):
            answers.append(Written.OCCUPIED)
        else:
            answers.append(Written.OK)
            made.add(row.run_id)
            if resource is not None and not row.status.terminal:
                occupied[resource] = bool(other) or row.exclusive
    return answers
