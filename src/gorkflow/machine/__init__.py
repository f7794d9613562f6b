"""The pure core: interprets a flow tree. Start reading at ``machine``."""

from gorkflow.machine.commands import (
    CancelStep,
    CancelTimer,
    Command,
    Decide,
    FinishRun,
    RunStep,
    StartTimer,
)
from gorkflow.machine.machine import Machine, replay

__all__ = [
    "CancelStep",
    "CancelTimer",
    "Command",
    "Decide",
    "FinishRun",
    "Machine",
    "RunStep",
    "StartTimer",
    "replay",
]
