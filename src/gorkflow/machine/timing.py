"""What becomes of the timers when the time of day is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gorkflow.machine.commands import CancelTimer

if TYPE_CHECKING:
    from gorkflow.machine.machine import Machine


def set_clock(machine: Machine, by: float) -> None:
    """Have each timer keep the seconds it has left; a sleep is due as it was, or sooner.

    One that is due at a time of day that was named stays as it is.
    """
    machine.moved += by
    for timer in list(machine.timers.values()):
        if not timer.named and (timer.key != "sleep" or by < 0):
            machine.command(CancelTimer(timer.path, timer.key))
            machine.ask(timer._replace(due=timer.due + by))
