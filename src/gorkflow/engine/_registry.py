"""The registry of an engine: its workflows by id, and the definitions that its runs have."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.engine._executors import misplaced
from gorkflow.errors import StoreCorruptError, WorkflowInvalidError
from gorkflow.hooks import Hook
from gorkflow.language.elements import node_problems
from gorkflow.language.functions import can_stand_in, same_workflow, unrecorded
from gorkflow.workflow import Workflow

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.hooks import OnEnd
    from gorkflow.step import StepDefaults
    from gorkflow.store import Store

logger = logging.getLogger("gorkflow.engine")
_NAMED = 3  # functions that one warning names
_ENDED = 100  # ended runs whose functions are known, to repeat them with
_EVERY = 10.0  # seconds between looks at whether others ended runs that are kept
_FEW, _PART = 10, 100  # how many are looked at: so many, or one of so many


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
        self.has_hooks = False
        """Whether a workflow has a hook."""
        self._looked_at: dict[str, Definition | None] = {}

    def add(self, workflow: Workflow[Any, Any]) -> Definition:
        """Compile a workflow and remember it under its id, in place of an older one.

        Runs that have begun keep the functions of the older one.

        Raises:
            WorkflowInvalidError: If it does not work with the engine's defaults or executors.
        """
        known_as = workflow.id if isinstance(workflow, Workflow) else None
        if known_as is None or self._workflows.get(known_as) is not workflow:
            definition = self._compiled(workflow)
            known = self._definitions.get(workflow.id)
            # One that is made anew for each request must not be kept with each run.
            if known is None or not can_stand_in(known, definition):
                self._definitions[workflow.id] = definition
                self.has_hooks |= definition.on_end is not None
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
            TypeError: If it is one workflow, not several.
            WorkflowInvalidError: If two have the same id, or one does not work with the engine.
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
            WorkflowInvalidError: If it is, or the workflow does not work with the engine.
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

    def hook_of_run(self, run_id: str, workflow_id: str) -> OnEnd | None:
        """Return the hook of a run's workflow, if it has one and is known."""
        own, latest = self.own.get(run_id), self.get(workflow_id)
        hook = None if own is None else own.on_end
        return hook if hook is not None or latest is None else latest.on_end

    def hooks(self, of_engine: OnEnd | None) -> list[tuple[Hook, str]]:
        """Return the hooks that can be called here: whose it is, and the workflow of the runs.

        Args:
            of_engine: the engine's own.
        """
        known = self._definitions.items()
        found = [(Hook.WORKFLOW, name) for name, each in known if each.on_end is not None]
        return found if of_engine is None else [*found, *((Hook.ENGINE, name) for name, _ in known)]

    def ids(self) -> list[str]:
        """Return the ids of all known workflows."""
        return list(self._definitions)

    def workflows(self) -> tuple[Workflow[Any, Any], ...]:
        """Return all known workflows."""
        return tuple(self._workflows.values())


class Own:
    """The definitions of runs that were begun or ran here, by run.

    Args:
        learns: whether the engine runs any; else it does not learn when they end.
    """

    def __init__(self, *, learns: bool) -> None:
        self._learns = learns
        self._running: dict[str, Definition] = {}
        self._live: dict[str, Definition] = {}
        self._ended: dict[str, Definition] = {}
        self._next = 0.0

    def get(self, run_id: str) -> Definition | None:
        """Return the definition of a run; ``None``: not known, or no longer."""
        found = self._running.get(run_id) or self._live.get(run_id)
        return found or self._ended.get(run_id)

    def use(self, run_id: str, definition: Definition) -> None:
        """Keep the definition of a run that runs here now."""
        self._running[run_id] = definition

    def drop(self, run_id: str) -> None:
        """Forget a run that was not recorded; another one may have the id."""
        self._running.pop(run_id, None)

    def keep(self, run_id: str, definition: Definition) -> None:
        """Keep the definition of a run that leaves for now: it sleeps, say."""
        self._running.pop(run_id, None)
        if self._learns:
            self._live[run_id] = definition
        else:
            self.end(run_id, definition)

    def end(self, run_id: str, definition: Definition) -> None:
        """Keep the definition of a run that has ended, or continues elsewhere, for a while."""
        self._running.pop(run_id, None)
        self._live.pop(run_id, None)
        self._ended.pop(run_id, None)
        if definition.outputs:  # else a client queued it, without any code
            self._ended[run_id] = definition
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]

    def forget(self, run_ids: Iterable[str]) -> None:
        """Forget runs that were deleted."""
        for run_id in run_ids:
            self._live.pop(run_id, None)
            self._ended.pop(run_id, None)

    async def tidy(self, store: Store, now: float) -> None:
        """Forget runs that others ended or deleted: a few are looked at each time, in turn.

        Args:
            store: where the runs are.
            now: seconds, by a clock that never jumps.
        """
        if now < self._next:
            return
        self._next = now + _EVERY
        for run_id in list(islice(self._live, max(_FEW, len(self._live) // _PART))):
            try:
                row = await store.get_run(run_id)
            except StoreCorruptError:
                row = None  # no worker can continue it
            definition = self._live.pop(run_id, None)
            if row is None or definition is None:
                continue
            if row.status.terminal:
                self.end(run_id, definition)
            else:
                self._live[run_id] = definition  # behind those that were not looked at
