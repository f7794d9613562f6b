"""The pure core: interprets a flow tree. Start reading at ``machine``."""

from gorkflow.machine.commands import (
    AwaitSignal,
    CancelStep,
    CancelTimer,
    Command,
    Decide,
    Expand,
    FinishRun,
    RunStep,
    StartTimer,
)
from gorkflow.machine.machine import Machine
from gorkflow.machine.replaying import replay, state_of

__all__ = [
    "AwaitSignal",
    "CancelStep",
    "CancelTimer",
    "Command",
    "Decide",
    "Expand",
    "FinishRun",
    "Machine",
    "RunStep",
    "StartTimer",
    "replay",
    "state_of",
]
