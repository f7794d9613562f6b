"""The state of a run: which overlay a step writes into, and what it sees. See ``overlay``.

The run has one overlay, and so has each live branch of a block in which something was written. What
runs in sequence shares one: chains, nested workflows, choices, iterations, attempts. A block that
completes takes the overlays of the branches that completed, in declared order; all others are
dropped, with those of a block that ends in another way. So whatever a step sees stands still while
it runs: everything that is outside of its own branch waits for that branch.

Undo steps are in no branch any more: they see what stood outside of all branches when the run
failed, and each other's writes, in the order in which they end.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from gorkflow.state_changes import Overlay, Write, entry_of, keys, lay, read

if TYPE_CHECKING:
    from gorkflow.machine.block import BlockFrame
    from gorkflow.machine.frame import Frame
    from gorkflow.machine.machine import Machine


def write(machine: Machine, frame: Frame | None, writes: Iterable[Write]) -> None:
    """Take what a step wrote.

    Args:
        machine: of the run.
        frame: of the step; ``None``: it is what the run starts with.
        writes: what it wrote.
    """
    for each in writes:
        writer = "" if frame is None else frame.path
        lay(overlay_of(machine, frame), each.key, entry_of(each, writer))


def overlay_of(machine: Machine, frame: Frame | None) -> Overlay:
    """Return the overlay that a node writes into."""
    if machine.state is None:
        machine.state = {}
    while frame is not None:
        if frame.parent is not None and frame.parent.isolates:
            block = cast("BlockFrame", frame.parent)
            if block.overlays is None:
                block.overlays = {}
            return block.overlays.setdefault(frame.index, {})
        frame = frame.parent
    return machine.state


def layers(machine: Machine, path: str = "") -> tuple[Overlay, ...]:
    """Return what a live step sees of the state, innermost first.

    Args:
        machine: of the run.
        path: of the step. Without it: what is seen from outside of all branches.
    """
    if machine.state is None:
        return ()
    found: list[Overlay] = []
    frame = machine.frames.get(path)
    while frame is not None:
        if frame.parent is not None and frame.parent.isolates:
            own = (cast("BlockFrame", frame.parent).overlays or {}).get(frame.index)
            if own is not None:
                found.append(own)
        frame = frame.parent
    return (*found, machine.state)


def texts(machine: Machine, path: str = "") -> dict[str, str]:
    """Return the state that a live step sees, or that is seen outside of all branches, as JSON."""
    seen = layers(machine, path)
    return {key: text for key in keys(seen) if (text := read(seen, key)) is not None}
