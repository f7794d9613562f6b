"""What was sent into a run and has not had its effect yet."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from gorkflow.codec import codec_of
from gorkflow.errors import ValueInvalidError
from gorkflow.events import CancelRequested, Event, SignalReceived
from gorkflow.flow import template_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gorkflow.machine import Machine
    from gorkflow.store import Message

logger = logging.getLogger("gorkflow.run")


class Mail:
    """The messages of one run, as far as its owner has seen them.

    They stay in the store until the append that records their effect, so none is lost and none is
    used twice, whatever happens to the process.

    Args:
        machine: of the run; knows who waits for what.
        payloads: the annotations of what is waited for, by the template of the path that waits.
    """

    __slots__ = ("_cancels", "_consumed", "_machine", "_payloads", "_signals", "seen", "size")

    def __init__(self, machine: Machine, payloads: Mapping[str, Any]) -> None:
        self.seen = 0
        """The id of the latest message that was put in."""
        self.size = 0
        """About how many bytes the signals take that nobody has taken."""
        self._consumed: list[int] = []
        self._machine = machine
        self._payloads = payloads
        self._cancels: dict[int, Message] = {}
        self._signals: dict[str, deque[Message]] = {}

    @property
    def unread(self) -> bool:
        """Whether there is anything that has not had its effect."""
        return bool(self._cancels or self._signals)

    def put(self, messages: Iterable[Message]) -> bool:
        """Take in messages, oldest first; return whether there were new ones."""
        before = self.seen
        for message in messages:
            if message.id <= self.seen:
                continue
            self.seen = message.id
            if message.kind == "cancel":
                self._cancels[message.id] = message
            else:
                self._signals.setdefault(message.body, deque()).append(message)
                self.size += _size_of(message)
        return self.seen > before

    def taken(self) -> list[int]:
        """Return the messages that ``events`` made use of, since the last call."""
        taken, self._consumed = self._consumed, []
        return taken

    def events(self, now: float, *, signals: bool) -> Iterator[Event]:
        """Yield what the messages lead to, one at a time: feed each before asking for the next.

        Signals go to the oldest waiter first, in the order in which they were sent.

        Args:
            now: seconds since the epoch.
            signals: whether the run takes any yet.
        """
        machine = self._machine
        while self._cancels and not machine.status.terminal:
            message = self._cancels.pop(next(iter(self._cancels)))
            self._consumed.append(message.id)
            yield CancelRequested(machine.run_id, machine.seq + 1, "", now, message.body)
        progress = signals and bool(self._signals)
        while progress:
            progress = False
            for name in list(self._signals):
                while (found := self._next(name)) is not None:
                    progress = True  # what it sets off may wait for a name already looked at
                    path, message, payload = found
                    self._consumed.append(message.id)
                    yield SignalReceived(
                        machine.run_id,
                        machine.seq + 1,
                        path,
                        now,
                        message.id,
                        payload,
                    )

    def _next(self, name: str) -> tuple[str, Message, bytes] | None:
        """Return the oldest waiter for a signal, the message it gets, and the payload in that."""
        waiting = self._signals[name]
        while waiting:
            path = self._machine.next_waiter(name)
            if path is None:
                return None
            message = waiting.popleft()
            self.size -= _size_of(message)
            codec = codec_of(self._payloads[template_of(path)])
            try:
                payload = codec.encode(codec.understand(message.payload or b"null"))
            except ValueInvalidError as error:
                # It stays in the store, to be looked at; the run waits on for a better one.
                logger.error(  # noqa: TRY400 - not ours: the sender's mistake
                    "run %r: signal %r (message %d) is refused, because its payload is not what "
                    "%r waits for: %s",
                    self._machine.run_id,
                    name,
                    message.id,
                    path,
                    error,
                )
            else:
                return path, message, payload
        del self._signals[name]
        return None


def _size_of(message: Message) -> int:
    return 300 + len(message.payload or b"")
