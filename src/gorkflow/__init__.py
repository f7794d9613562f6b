"""Durable workflows for Python whose parallel parts run side by side and lose nothing.

Further front doors: ``gorkflow.events``, ``gorkflow.stores`` with the protocol in
``gorkflow.store``, ``gorkflow.clock``, ``gorkflow.insight``, ``gorkflow.telemetry``,
``gorkflow.testing`` and ``gorkflow.web``. Each loads when it is used.
"""

from typing import TYPE_CHECKING

from gorkflow import _logs
from gorkflow.context import StepContext
from gorkflow.errors import (
    DeadlockError,
    DuplicateRunError,
    EncodingError,
    EngineClosedError,
    GorkflowError,
    HistoryError,
    InputInvalidError,
    LeaseLostError,
    NonRetryableError,
    PayloadTooLargeError,
    ProcessDiedError,
    ResourceBusyError,
    RetryAfterError,
    RunBlockedError,
    RunCancelledError,
    RunEndedError,
    RunError,
    RunFailedError,
    RunNotEndedError,
    RunNotFoundError,
    ScheduleNotFoundError,
    StateConflictError,
    StepCancelledError,
    StepControl,
    StepInvalidError,
    StepValueError,
    StoreCorruptError,
    StoreError,
    StoreUnavailableError,
    StoreVersionError,
    UnavailableError,
    ValueInvalidError,
    WorkflowInvalidError,
)
from gorkflow.model import (
    Attempt,
    Cancelled,
    Completed,
    Failed,
    Failure,
    FailureCode,
    LiveWorker,
    LogLine,
    Outcome,
    OutcomeError,
    Progress,
    Report,
    Run,
    RunStatus,
    Skipped,
    StepExecution,
    StepStatus,
)
from gorkflow.node import Node
from gorkflow.policy import Join, Limit, RetryPolicy, at_least, tolerate
from gorkflow.signal import Signal
from gorkflow.state import State
from gorkflow.step import (
    AsyncStep,
    Step,
    StepDefaults,
    SyncStep,
    step,
)
from gorkflow.values.secret import Secret
from gorkflow.workflow import Workflow, WorkflowDroppedWarning, passthrough

if TYPE_CHECKING:
    from gorkflow.engine.blocking import run
    from gorkflow.engine.client import Client
    from gorkflow.engine.engine import Engine
    from gorkflow.engine.handle import EventFeed, RunHandle
    from gorkflow.limits import LimitUse
    from gorkflow.listing import Page, RunCount, RunFilter
    from gorkflow.schedule import Schedule

_logs.guard()

__version__ = "0.1.0"

__all__ = [
    "AsyncStep",
    "Attempt",
    "Cancelled",
    "Client",
    "Completed",
    "DeadlockError",
    "DuplicateRunError",
    "EncodingError",
    "Engine",
    "EngineClosedError",
    "EventFeed",
    "Failed",
    "Failure",
    "FailureCode",
    "GorkflowError",
    "HistoryError",
    "InputInvalidError",
    "Join",
    "LeaseLostError",
    "Limit",
    "LimitUse",
    "LiveWorker",
    "LogLine",
    "Node",
    "NonRetryableError",
    "Outcome",
    "OutcomeError",
    "Page",
    "PayloadTooLargeError",
    "ProcessDiedError",
    "Progress",
    "Report",
    "ResourceBusyError",
    "RetryAfterError",
    "RetryPolicy",
    "Run",
    "RunBlockedError",
    "RunCancelledError",
    "RunCount",
    "RunEndedError",
    "RunError",
    "RunFailedError",
    "RunFilter",
    "RunHandle",
    "RunNotEndedError",
    "RunNotFoundError",
    "RunStatus",
    "Schedule",
    "ScheduleNotFoundError",
    "Secret",
    "Signal",
    "Skipped",
    "State",
    "StateConflictError",
    "Step",
    "StepCancelledError",
    "StepContext",
    "StepControl",
    "StepDefaults",
    "StepExecution",
    "StepInvalidError",
    "StepStatus",
    "StepValueError",
    "StoreCorruptError",
    "StoreError",
    "StoreUnavailableError",
    "StoreVersionError",
    "SyncStep",
    "UnavailableError",
    "ValueInvalidError",
    "Workflow",
    "WorkflowDroppedWarning",
    "WorkflowInvalidError",
    "at_least",
    "passthrough",
    "run",
    "step",
    "tolerate",
]

_LATE = {
    "Client": "gorkflow.engine.client",
    "Engine": "gorkflow.engine.engine",
    "EventFeed": "gorkflow.engine.handle",
    "LimitUse": "gorkflow.limits",
    "Page": "gorkflow.listing",
    "RunCount": "gorkflow.listing",
    "RunFilter": "gorkflow.listing",
    "RunHandle": "gorkflow.engine.handle",
    "Schedule": "gorkflow.schedule",
    "run": "gorkflow.engine.blocking",
}

_FRONT_DOORS = ("clock", "events", "insight", "store", "stores", "telemetry", "testing", "web")

if not TYPE_CHECKING:  # else any name would do

    def __getattr__(name: str) -> object:
        """Import the engine, and asyncio with it, when a name of it is used.

        Modules that define steps and the processes that run them can do without.
        """
        from importlib import import_module

        if name in _FRONT_DOORS:
            return import_module(f"gorkflow.{name}")
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(_LATE[name]), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_FRONT_DOORS})
