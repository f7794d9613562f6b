"""Why the code at hand can't run a run on, and what to do about it: the same words everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gorkflow.errors import RunBlockedError

if TYPE_CHECKING:
    from collections.abc import Sequence


def unknown(run_id: str, workflow_id: str, *, rerun: bool = False) -> RunBlockedError:
    """Return the error for a run whose workflow the engine does not know.

    Args:
        run_id: the run.
        workflow_id: its workflow.
        rerun: whether the run was to be repeated.
    """
    place = "Engine(workflows=…) or rerun(…, workflow=…)" if rerun else "Engine(workflows=…)"
    return RunBlockedError(
        run_id,
        f"run {run_id!r} belongs to workflow {workflow_id!r}, which this engine does not know; "
        f"give it to {place}",
    )


def misfit(
    run_id: str, problems: Sequence[str], unfit: Sequence[str], *, rerun: bool = False
) -> RunBlockedError:
    """Return the error for a run that was started with code that differs too much.

    Args:
        run_id: the run.
        problems: what else differs than types: nobody can accept that.
        unfit: which types don't fit.
        rerun: whether the run was to be repeated.
    """
    what = "; ".join([*problems, *unfit])
    remedy = _remedy(run_id, accept=not problems, rerun=rerun)
    return RunBlockedError(run_id, f"run {run_id!r} was started with other code: {what}. {remedy}")


def unreadable(run_id: str, path: str, error: BaseException | None) -> RunBlockedError:
    """Return the error for a run of which a recorded value can't be read.

    Args:
        run_id: the run.
        path: the node that was to get the value.
        error: what reading it raised.
    """
    remedy = _remedy(run_id, accept=False, rerun=False)
    return RunBlockedError(
        run_id, f"run {run_id!r} has a value for {path!r} that can't be read: {error}. {remedy}"
    )


def _remedy(run_id: str, *, accept: bool, rerun: bool) -> str:
    verb, name, command = ("Repeat", "rerun", "rerun") if rerun else ("Run", "recover", "resume")
    types = (
        f"accept the types ({name}({run_id!r}, accept_types=True), or "
        f"gorkflow runs {command} {run_id} TARGET --accept-types), "
        if accept
        else ""
    )
    last = "start a new run" if rerun else "cancel it"
    return f"{verb} it with code that fits, {types}or {last}"
