"""What the frames of all node kinds have in common.

Theory of operation
-------------------
A frame is made when its node is entered and is gone when the node has ended; what remains is its
``Ended``, kept by id in the frame of the workflow around it. A frame ends exactly once, by calling
``end``, which tells its parent. So one event touches the leaf that it is about, and then only those
ancestors that it decides: never the whole graph.

Stopping comes from above, in two strengths. ``drain``: what runs may finish, nothing new starts.
``cancel``: everything ends now. A frame that is told ``cancel`` has ended when the call returns
(the handler that still runs is stopped by the driver, and what it may yet say is refused). A frame
that is told ``drain`` ends when the last thing that runs inside it has ended; a later ``cancel``
overrides it. Nothing starts in a frame that was told to stop.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from gorkflow import events as ev
from gorkflow.errors import HistoryError
from gorkflow.events import Ended, FailureRef, Ref
from gorkflow.flow import NodeSpec, id_at
from gorkflow.model import Failure, FailureCode, StepStatus

if TYPE_CHECKING:
    from gorkflow.machine.machine import Machine
    from gorkflow.machine.sequence import WorkflowFrame

NEVER = float("inf")

Strength = Literal["drain", "cancel"]


class Frame:
    """A live node."""

    __slots__ = ("asking", "due", "guard", "index", "input", "known", "live", "machine", "parent",
                 "path", "scope", "spec", "stopping")  # fmt: skip

    input: Ref
    due: float
    """The earliest deadline around the node, as ``Machine.passed`` has it; its own counts too."""
    guard: Frame | None
    """The frame whose deadline that is."""

    isolates = False
    """Whether each child writes state of its own, until this node has completed: it is a block."""

    def __init__(
        self,
        machine: Machine,
        parent: Frame | None,
        scope: WorkflowFrame | None,
        spec: Any,
        index: int = 0,
        mark: str = "",
    ) -> None:
        self.machine = machine
        self.parent = parent
        self.scope = scope
        self.spec = spec
        self.index = index
        """Which child of its parent it is."""
        if parent is None:
            self.input, self.due, self.guard = None, NEVER, None
        else:
            self.input, self.due, self.guard = parent.input, parent.due, parent.guard
        self.stopping: Strength | None = None
        self.live = True
        self.asking = False
        """Whether the node's own question is open. Only some kinds have one: ``asking.py``."""
        prefix = scope.path if scope is not None else ""
        self.path: str = f"{prefix}/{spec.id}{mark}" if prefix else f"{spec.id}{mark}"
        self.known = scope is not None and not mark
        """Whether the workflow around knows how it ended: nobody sees one item from outside."""

    def start(self) -> None:
        """Enter the node. It may end before this returns."""
        raise NotImplementedError

    def stop(self, strength: Strength, reason: str) -> None:
        """Stop the node from above."""
        raise NotImplementedError

    @property
    def status(self) -> StepStatus:
        """How it stands while it is live."""
        return StepStatus.RUNNING

    @property
    def may_ask(self) -> bool:
        """Whether it may ask its function, now or later."""
        return self.asking

    @property
    def is_lost(self) -> bool:
        """Whether it can't complete any more, though it is live: what comes next is not entered."""
        return any(child.is_lost for child in self.inside())

    def inside(self) -> Iterable[Frame]:
        """Return the live nodes directly inside."""
        return ()

    def left(self) -> Iterable[NodeSpec]:
        """Return the nodes directly inside that it may still enter."""
        return ()

    def expects(self, attempt: int) -> bool:
        """Return whether a result of this attempt would be taken; else it comes too late."""
        return False

    def child_ended(self, child: Frame, ended: Ended) -> None:
        """Take note of a child's end."""
        raise NotImplementedError

    def receive(self, event: ev.Event) -> None:
        """Take an event about this node. Those of no meaning here are refused."""
        raise HistoryError(
            self.machine.run_id,
            f"event {event.seq} ({event.kind}) of run {self.machine.run_id!r} can't happen at "
            f"{event.path!r} now",
        )

    def end(
        self,
        status: StepStatus,
        *,
        value: Ref = None,
        failures: tuple[FailureRef, ...] = (),
        reason: str = "",
        optional: bool = False,
    ) -> None:
        """Leave the node: remember how it ended, and tell the parent."""
        ended = Ended(self.path, status, value, failures, reason, optional)
        self.live = False
        self.guard = None  # which may be the frame itself
        self.machine.leave(self, ended)
        if self.known and self.scope is not None:
            self.scope.results[self.spec.id] = ended
        if self.parent is None:
            self.machine.finish(ended)
        else:
            self.parent.child_ended(self, ended)

    def place_of(self, child: Frame) -> int:
        """Return which child of this node it is, of those that were: they are undone in reverse."""
        return child.index

    @property
    def room(self) -> float:
        """How many of its children may be undone at a time."""
        return 1

    @property
    def outer(self) -> WorkflowFrame:
        """The workflow around the node."""
        assert self.scope is not None  # only the root has none, and it never asks
        return self.scope

    def failure(
        self, code: FailureCode, message: str, path: str | None = None, *, attempt: int = 0
    ) -> Failure:
        """Return a failure that no handler is to blame for."""
        path = self.path if path is None else path
        return Failure(
            path=path,
            step_id=id_at(path),
            attempt=attempt,
            code=code,
            type="",
            message=message,
            at=datetime.fromtimestamp(self.machine.at, UTC),
        )

    def make_child(
        self, spec: NodeSpec, index: int, scope: WorkflowFrame | None = None, mark: str = ""
    ) -> Frame:
        """Return the frame of a node inside this one, with this one's input; not started yet."""
        make = self.machine.frame_types[type(spec)]
        return make(self.machine, self, scope or self.scope, spec, index, mark)


class PassthroughFrame(Frame):
    """Ends as soon as it starts, with what it was given."""

    __slots__ = ()

    def start(self) -> None:
        self.end(StepStatus.COMPLETED, value=self.input)
