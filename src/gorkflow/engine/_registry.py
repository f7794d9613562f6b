"""The workflows that an engine knows, by id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gorkflow._elements import node_problems
from gorkflow.errors import WorkflowInvalidError
from gorkflow.workflow import Workflow

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.step import StepDefaults


class Registry:
    """Compiled workflows.

    Args:
        defaults: the engine's options for steps that don't set them.
    """

    def __init__(self, defaults: StepDefaults | None) -> None:
        self._defaults = defaults
        self._workflows: dict[str, Workflow[Any, Any]] = {}
        self._definitions: dict[str, Definition] = {}

    def add(self, workflow: Workflow[Any, Any]) -> Definition:
        """Compile a workflow and remember it under its id, in place of an older one.

        Raises:
            WorkflowInvalidError: it does not work with the engine's defaults.
        """
        if not isinstance(workflow, Workflow):
            problems = node_problems((workflow,))
            raise WorkflowInvalidError(
                getattr(workflow, "id", type(workflow).__name__),
                problems or ["it is a single step; write Workflow(…).then(step)"],
            )
        if self._workflows.get(workflow.id) is not workflow:
            self._definitions[workflow.id] = workflow.compile(self._defaults)
            self._workflows[workflow.id] = workflow
        return self._definitions[workflow.id]

    def get(self, workflow_id: str) -> Definition | None:
        """Return the definition of a workflow; ``None``: not known."""
        return self._definitions.get(workflow_id)

    def ids(self) -> list[str]:
        """Return the ids of all known workflows."""
        return list(self._definitions)

    def workflows(self) -> tuple[Workflow[Any, Any], ...]:
        """Return all known workflows."""
        return tuple(self._workflows.values())
