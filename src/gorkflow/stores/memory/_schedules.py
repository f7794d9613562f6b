"""The schedules of a store in memory."""

from __future__ import annotations

from gorkflow.schedule import ScheduleRow


class Schedules:
    """The part of ``MemoryStore`` that keeps schedules."""

    _schedules: dict[str, ScheduleRow]

    def _check_open(self) -> None:
        raise NotImplementedError

    async def schedules(self, *, due_by: float | None = None) -> list[ScheduleRow]:
        """Return the schedules, in the order of their ids."""
        self._check_open()
        return [
            row
            for _, row in sorted(self._schedules.items())
            if due_by is None or (not row.paused and row.next_due <= due_by)
        ]

    async def put_schedule(self, row: ScheduleRow) -> bool:
        """Keep a schedule, if nobody else has written it meanwhile."""
        self._check_open()
        old = self._schedules.get(row.schedule_id)
        if (old.revision if old else 0) != row.revision - 1:
            return False
        self._schedules[row.schedule_id] = row
        return True

    async def drop_schedule(self, schedule_id: str) -> bool:
        """Forget a schedule; return whether there was one."""
        self._check_open()
        return self._schedules.pop(schedule_id, None) is not None
