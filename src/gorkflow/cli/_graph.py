"""Drawing a workflow from the command line."""

from __future__ import annotations

from gorkflow.cli._output import stdout_is_ours
from gorkflow.cli._target import load
from gorkflow.insight import diagram


def draw(target: str, workflow_id: str | None, how: str) -> str:
    """Return the picture of a workflow.

    Args:
        target: as it was typed.
        workflow_id: which one, where there are several.
        how: ``text`` or ``mermaid``.

    Raises:
        CliError: TARGET can't be used.
        WorkflowInvalidError: the workflow is not complete.
    """
    with stdout_is_ours():
        tree = load(target).choose(workflow_id).compile().tree
    return diagram.mermaid(tree) if how == "mermaid" else diagram.text(tree)
