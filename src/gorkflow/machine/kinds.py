"""Which frame is that of which node."""

from __future__ import annotations

from collections.abc import Mapping

from gorkflow.flow import (
    ChoiceSpec,
    LoopSpec,
    MapSpec,
    ParallelSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    WaitSpec,
    WorkflowSpec,
)
from gorkflow.machine.choice import ChoiceFrame
from gorkflow.machine.frame import Frame, PassthroughFrame
from gorkflow.machine.loop import LoopFrame
from gorkflow.machine.map import MapFrame
from gorkflow.machine.parallel import ParallelFrame
from gorkflow.machine.sequence import WorkflowFrame
from gorkflow.machine.step import StepFrame
from gorkflow.machine.waiting import SleepFrame, WaitFrame

FRAME_TYPES: Mapping[type, type[Frame]] = {
    StepSpec: StepFrame,
    PassthroughSpec: PassthroughFrame,
    ParallelSpec: ParallelFrame,
    MapSpec: MapFrame,
    ChoiceSpec: ChoiceFrame,
    LoopSpec: LoopFrame,
    SleepSpec: SleepFrame,
    WaitSpec: WaitFrame,
    WorkflowSpec: WorkflowFrame,
}
"""The frame of each node kind."""
