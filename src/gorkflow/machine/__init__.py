"""The pure core: interprets a flow tree. Start reading at ``machine``."""

from gorkflow.machine.commands import (
    AskTime,
    AwaitSignal,
    CancelStep,
    CancelTimer,
    Command,
    Decide,
    Expand,
    FinishRun,
    Request,
    RunStep,
    StartTimer,
)
from gorkflow.machine.machine import Machine, extend, replay

__all__ = [
    "AskTime",
    "AwaitSignal",
    "CancelStep",
    "CancelTimer",
    "Command",
    "Decide",
    "Expand",
    "FinishRun",
    "Machine",
    "Request",
    "RunStep",
    "StartTimer",
    "extend",
    "replay",
]
