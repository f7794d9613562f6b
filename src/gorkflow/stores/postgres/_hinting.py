"""The hints of a store, sent to all who listen on its channel."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator

from psycopg.sql import Literal

from gorkflow.store import Hinted, HintKind
from gorkflow.stores._hints import Hints
from gorkflow.stores.postgres._connections import Db

_logger = logging.getLogger("gorkflow.store")
_MOST = 7900
"""Bytes of one notice; the server takes less than 8,000."""
Hint = tuple[HintKind, str]


def channel_of(db: Db) -> str:
    """Return the name under which the hints of a store are sent."""
    return f"gorkflow_{db.state.number}"


def send(db: Db, hints: Iterable[Hint]) -> None:
    """Send hints. A loss of power may take them, so the disk need not be waited for."""
    channel = Literal(channel_of(db)).as_string(db.connection)
    notices = [
        f"SELECT pg_notify({channel}, {Literal(text).as_string(db.connection)})"
        for text in _texts(hints)
    ]
    if notices:
        begin = "BEGIN; SET LOCAL synchronous_commit = off"
        db.connection.execute("; ".join([begin, *notices, "COMMIT"]).encode())


def _texts(hints: Iterable[Hint]) -> Iterator[str]:
    """Yield the hints as JSON, in notices of the size that the server takes."""
    part: list[str] = []
    size = 0
    for hint in hints:
        text = json.dumps(hint)
        if len(text) + 2 > _MOST:
            continue
        if size + len(text) > _MOST - 2:
            yield f"[{','.join(part)}]"
            part, size = [], 0
        part.append(text)
        size += len(text) + 1
    if part:
        yield f"[{','.join(part)}]"


class Listener:
    """Takes what comes on the channel, and gives it to those who asked."""

    def __init__(self) -> None:
        self._hints = Hints()

    def add(self, call: Hinted) -> Callable[[], object]:
        """Have a function called with each hint; return what ends that."""
        return self._hints.add(call)

    def hear(self, text: str) -> None:
        """Take one notice. Others may send what they like on the channel."""
        try:
            hints = [(HintKind(kind), str(name)) for kind, name in json.loads(text)]
        except (ValueError, TypeError):
            _logger.debug("a notice is not a list of hints: %s", text[:100])
            return
        for kind, name in hints:
            for call in self._hints.asked:
                call(kind, name)
