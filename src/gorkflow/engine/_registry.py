"""The workflows that an engine knows, by id."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.engine._executors import misplaced
from gorkflow.engine._own import Own
from gorkflow.errors import WorkflowInvalidError
from gorkflow.language._elements import node_problems
from gorkflow.language.functions import can_stand_in, same_workflow, unrecorded
from gorkflow.workflow import Workflow

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.step import StepDefaults

logger = logging.getLogger("gorkflow.engine")
_NAMED = 3  # functions that one warning names


class Registry:
    """Compiled workflows.

    Args:
        defaults: the engine's options for steps that don't set them.
        executors: the names that steps may run on; ``None``: they don't run here.
    """

    def __init__(self, defaults: StepDefaults | None, executors: frozenset[str] | None) -> None:
        self.executors = executors
        """The names that steps may run on; ``None``: they don't run here."""
        self.defaults = defaults
        self.own = Own(learns=executors is not None)
        self._workflows: dict[str, Workflow[Any, Any]] = {}
        self._definitions: dict[str, Definition] = {}
        self._looked_at: dict[str, Definition | None] = {}

    def add(self, workflow: Workflow[Any, Any]) -> Definition:
        """Compile a workflow and remember it under its id, in place of an older one.

        Runs that have begun keep the functions of the older one.

        Raises:
            WorkflowInvalidError: it does not work with the engine's defaults or executors.
        """
        known_as = workflow.id if isinstance(workflow, Workflow) else None
        if known_as is None or self._workflows.get(known_as) is not workflow:
            definition = self._compiled(workflow)
            known = self._definitions.get(workflow.id)
            # One that is made anew for each request must not be kept with each run.
            if known is None or not can_stand_in(known, definition):
                self._definitions[workflow.id] = definition
            self._workflows[workflow.id] = workflow
        return self._definitions[workflow.id]

    def _compiled(self, workflow: Workflow[Any, Any]) -> Definition:
        if not isinstance(workflow, Workflow):
            problems = node_problems((workflow,))
            begun = getattr(workflow, "_workflow", workflow)  # of a choice that is not complete
            raise WorkflowInvalidError(
                getattr(begun, "id", type(workflow).__name__),
                problems or ["it is a single step; write Workflow(…).then(step)"],
            )
        definition = workflow.compile(self.defaults)
        if self.executors is not None:
            self._check_places(definition, self.executors)
        return definition

    def add_all(self, workflows: Iterable[Workflow[Any, Any]]) -> None:
        """Add those that an engine was given.

        Raises:
            TypeError: it is one workflow, not several.
            WorkflowInvalidError: two have the same id, or one does not work with the engine.
        """
        if isinstance(workflows, Workflow):
            raise TypeError("workflows must be a list: write Engine(workflows=[workflow])")
        if not isinstance(workflows, Iterable):
            raise TypeError(f"workflows must be a list of workflows, not {brief(workflows)}")
        for workflow in workflows:
            self.add_new(workflow)

    def add_new(self, workflow: Workflow[Any, Any]) -> None:
        """Add a workflow whose id is not taken by a different one.

        Raises:
            WorkflowInvalidError: it is, or the workflow does not work with the engine.
        """
        known = self._definitions.get(getattr(workflow, "id", ""))
        if known is not None and not same_workflow(known, self._compiled(workflow)):
            raise WorkflowInvalidError(
                workflow.id, ["two workflows of this engine have this id; rename one of them"]
            )
        self.add(workflow)

    def _check_places(self, definition: Definition, executors: frozenset[str]) -> None:
        places = ((step, step.spec({}).executor) for step in definition.steps.values())
        problems = [
            problem for step, name in places if (problem := misplaced(step, name, executors))
        ]
        if problems:
            raise WorkflowInvalidError(definition.workflow_id, problems)

    def name_unrecorded(self, definition: Definition) -> None:
        """Warn, once for a workflow, of the data that its functions hold and no run records."""
        workflow_id = definition.workflow_id
        if self._looked_at.get(workflow_id, definition) is None:
            return  # it was said
        if self._looked_at.get(workflow_id) is definition:
            return
        found = [f"{who} uses {', '.join(names)}" for _, who, names in unrecorded(definition)]
        self._looked_at[workflow_id] = None if found else definition
        if found:
            logger.warning(
                "workflow %r: %s; that is not recorded with its runs, and another process uses "
                "what it has itself. Make it part of the input, or a setting of a step: bind(…)",
                workflow_id,
                "; ".join(found[:_NAMED]) + ("; …" if len(found) > _NAMED else ""),
            )

    def get(self, workflow_id: str) -> Definition | None:
        """Return the definition of a workflow, the latest; ``None``: not known."""
        return self._definitions.get(workflow_id)

    def of_run(self, run_id: str, workflow_id: str) -> Definition | None:
        """Return the definition that a run has, else the latest of its workflow."""
        return self.own.get(run_id) or self.get(workflow_id)

    def ids(self) -> list[str]:
        """Return the ids of all known workflows."""
        return list(self._definitions)

    def workflows(self) -> tuple[Workflow[Any, Any], ...]:
        """Return all known workflows."""
        return tuple(self._workflows.values())
