"""The faults: what each injects, and what came of it.

A fault is a function from a size and a seed to a ``Result``. It never stops at the first violation:
it counts, so that the table says how often something did not hold.
"""

from __future__ import annotations

import importlib
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")
FAMILIES = (
    "process",
    "crashpoints",
    "owners",
    "disk",
    "power",
    "files",
    "poison",
    "changes",
    "orders",
    "clocks",
    "scale",
    "storm",
    "together",
    "limited",
    "scheduled",
)


class Size(StrEnum):
    """How often a fault is injected."""

    SHORT = "short"
    """In ``make test``: seconds for all faults together, and nothing depends on how fast it is."""
    SMALL = "small"
    NORMAL = "normal"
    LARGE = "large"

    def of(self, short: T, small: T, normal: T, large: T) -> T:
        """Return the number for this size."""
        return dict(zip(Size, (short, small, normal, large), strict=True))[self]


@dataclass
class Result:
    """What came of a fault."""

    injections: int = 0
    violations: list[str] = field(default_factory=list[str])
    recoveries: list[float] = field(default_factory=list[float])
    """Seconds, of those that were measured."""
    skipped: str = ""
    """Why nothing was injected."""

    @contextmanager
    def injection(self, what: str) -> Iterator[None]:
        """Count one, and what does not hold after it."""
        self.injections += 1
        with self.watch(what):
            yield

    @contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Count it as a violation if something in here does not hold."""
        try:
            yield
        except Exception as error:  # whatever it is, it should not have happened
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.name}:{place.lineno}"
            self.violations.append(f"{what}: {type(error).__name__} in {where}: {error}")


@dataclass(frozen=True)
class Fault:
    """One line of the table."""

    id: str
    name: str
    injected: str
    run: Callable[[Size, int], Result]
    alone: bool
    """Whether it measures, so that nothing else should run beside it."""


_faults: dict[str, Fault] = {}
Function = Callable[[Size, int], Result]


def fault(
    id: str, name: str, injected: str, *, alone: bool = False
) -> Callable[[Function], Function]:
    """Register a function as a fault.

    Args:
        id: as in the table.
        name: of the fault.
        injected: what is done, in a few words.
        alone: see ``Fault.alone``.
    """

    def register(function: Function) -> Function:
        assert id not in _faults, id
        _faults[id] = Fault(id, name, injected, function, alone)
        return function

    return register


def faults() -> dict[str, Fault]:
    """Return all faults by id, those of a family together."""
    for family in FAMILIES:
        importlib.import_module(f"tests.faults.{family}")
    return _faults


def chance(fault_id: str, seed: int) -> random.Random:
    """Return the chance of a fault: the same for the same seed, whatever else runs."""
    return random.Random(f"{fault_id} {seed}")
