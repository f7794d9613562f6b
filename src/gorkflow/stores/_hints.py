"""The hints of a store: those who asked for them are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gorkflow.store import HintKind, hints_of

if TYPE_CHECKING:
    from gorkflow.store import Hinted, RunRow


class Hints:
    """Those who asked for the hints of one store."""

    def __init__(self) -> None:
        self.asked: tuple[Hinted, ...] = ()

    def add(self, call: Hinted) -> Callable[[], object]:
        """Have a function called with each hint; return what ends that."""
        self.asked = (*self.asked, call)

        def end() -> None:
            self.asked = tuple(each for each in self.asked if each is not call)

        return end

    def written(self, row: RunRow) -> None:
        """Give the hints that a summary leads to which was just written."""
        if self.asked:
            for kind, name in hints_of(row):
                self._give(kind, name)

    def mailed(self, row: RunRow) -> None:
        """Give the hint that there is a message for a run."""
        if row.worker_id is None:
            self._give(HintKind.QUEUED, row.workflow_id)
        else:
            self._give(HintKind.MAIL, row.worker_id)

    def _give(self, kind: HintKind, name: str) -> None:
        for call in self.asked:
            call(kind, name)
