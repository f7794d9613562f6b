"""What it means when the store did not take what a run wanted to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gorkflow.errors import (
    DuplicateRunError,
    GorkflowError,
    LeaseLostError,
    ResourceBusyError,
    StoreError,
)
from gorkflow.store import Written

if TYPE_CHECKING:
    from gorkflow.store import RunRow

NOT_RECORDED = DuplicateRunError | ResourceBusyError
"""Why a start was refused: the store knows nothing of it."""


def refusal(row: RunRow, written: Written) -> GorkflowError:
    """Return the error for a run whose transition was not written.

    Args:
        row: its summary.
        written: what the store said; not ``OK``.
    """
    if written is Written.DUPLICATE:
        return duplicate(row.run_id)
    if written is Written.OCCUPIED:
        return ResourceBusyError(
            row.run_id,
            f"run {row.run_id!r} was not started: another live run has the resource "
            f"{row.resource_id!r}, and one of the two is exclusive; wait for it to end, or cancel "
            "it",
        )
    if written is Written.UNSTORABLE:
        return StoreError(
            f"the store can't keep a value of run {row.run_id!r}; its log says which one"
        )
    return LeaseLostError(
        row.run_id, f"another worker took over run {row.run_id!r}; it goes on there"
    )


def duplicate(run_id: str) -> DuplicateRunError:
    """Return the error for an id that is taken."""
    return DuplicateRunError(
        run_id,
        f"run {run_id!r} exists already; start with another run_id, or with "
        'if_exists="return" to get the run that has it',
    )
