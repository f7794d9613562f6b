"""The inbox of a run: signals and cancels, checked when they are sent, kept until they are used."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief, did_you_mean
from gorkflow.annotations import describe
from gorkflow.codec import codec_of
from gorkflow.engine._recorded import reading, tree_from
from gorkflow.errors import (
    InputInvalidError,
    RunEndedError,
    RunNotFoundError,
    ValueInvalidError,
)
from gorkflow.events import CancelRequested, Event, SignalReceived
from gorkflow.flow import WaitSpec, WorkflowSpec, template_of, walk
from gorkflow.redaction import Redaction
from gorkflow.signal import Signal
from gorkflow.store import Message
from gorkflow.values.kind import Open
from gorkflow.values.secret import has_mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gorkflow.engine._registry import Registry
    from gorkflow.machine import Machine
    from gorkflow.store import RunRow, Store

logger = logging.getLogger("gorkflow.run")


async def message_for(
    store: Store,
    registry: Registry,
    run_id: str,
    signal: Signal[Any] | str,
    payload: object,
    *,
    now: float,
    limit: int,
) -> Message:
    """Return the message that brings a signal to a run; as of ``Client.send``.

    Args:
        store: where the run is.
        registry: the workflows whose types are known.
        run_id: the run.
        signal: the signal, or its name.
        payload: its value, of the signal's type; if that is not known, any JSON.
        now: seconds since the epoch.
        limit: bytes that the payload may have as JSON.

    Raises:
        TypeError: If it is not a signal.
    """
    if not isinstance(signal, Signal | str):
        raise TypeError(f"signal must be a Signal or the name of one, not {brief(signal)}")
    row = await store.get_run(run_id)
    if row is None:
        raise RunNotFoundError(run_id)
    if row.status.terminal:
        raise ended(run_id, row.status.value)
    name = signal.name if isinstance(signal, Signal) else signal
    definition = registry.of_run(run_id, row.workflow_id)
    if definition is not None and definition.fingerprint == row.fingerprint:
        tree = definition.tree
    else:
        tree = tree_from(run_id, await store.get_tree(row.fingerprint))
    with reading(run_id):
        path, wait = _waiting(row, tree, name)
    known = Open if definition is None else definition.payloads.get(path, Open)
    sent = signal.type if isinstance(signal, Signal) else known
    as_begun = sent is not Open and codec_of(sent).digest() == wait.schema
    if not isinstance(signal, Signal) and not as_begun:
        sent = Open  # the run was started with other code; its worker knows the type
    data = _encoded(name, sent, payload, limit)
    if isinstance(signal, Signal) and not as_begun and known is not Open:
        _check_reads(run_id, name, sent, known, data)
    return Message(0, run_id, "signal", name, now, data)


def ended(run_id: str, status: str) -> RunEndedError:
    """Return the error for a run that has ended."""
    return RunEndedError(
        run_id, f"run {run_id!r} has ended ({status}), and takes no more signals; start another run"
    )


def _waiting(row: RunRow, tree: WorkflowSpec, name: str) -> tuple[str, WaitSpec]:
    """Return a wait for the signal, and its path."""
    waits = {node.signal: (path, node) for path, node in walk(tree) if isinstance(node, WaitSpec)}
    if name in waits:
        return waits[name]
    known = f"it waits for {', '.join(map(repr, sorted(waits)))}" if waits else "it waits for none"
    hint = did_you_mean(name, waits, known)
    raise InputInvalidError(
        f"run {row.run_id!r} of workflow {row.workflow_id!r} never waits for signal "
        f"{name!r}; {hint}"
    )


def _check_reads(run_id: str, name: str, sent: Any, known: Any, data: bytes) -> None:
    """Raise if what is sent as one type does not read as the one that the code here waits for."""
    try:
        codec_of(known).understand(data)
    except ValueInvalidError as error:
        raise InputInvalidError(
            f"run {run_id!r} waits for signal {name!r} of another type than {describe(sent)}: "
            f"{error}; send a {describe(known)}"
        ) from None


def _encoded(name: str, annotation: Any, payload: object, limit: int) -> bytes:
    try:
        return codec_of(annotation).accept(payload, limit)
    except ValueInvalidError as error:
        raise InputInvalidError(f"the payload of signal {name!r} is not valid: {error}") from None


class Inbox:
    """The messages of one run, as far as its owner has seen them.

    They stay in the store until the append that records their effect. So none is lost or used
    twice, even if the process dies.

    Args:
        machine: of the run; knows who waits for what.
        payloads: the annotations of what is waited for, by the template of the path that waits.
    """

    __slots__ = ("_cancels", "_consumed", "_machine", "_payloads", "_signals", "seen", "size")

    def __init__(self, machine: Machine, payloads: Mapping[str, Any]) -> None:
        self.seen = 0
        """The id of the latest message that was put in."""
        self.size = 0
        """An estimate of the bytes of the signals that were not taken."""
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
                    "run %r: signal %r (message %d) is rejected. Its payload is not what %r waits "
                    "for: %s",
                    self._machine.run_id,
                    name,
                    message.id,
                    path,
                    _hidden(error, message.payload),
                )
            else:
                return path, message, payload
        del self._signals[name]
        return None


def _hidden(error: ValueInvalidError, payload: bytes | None) -> str:
    """Return the reason of a rejection without the secrets of the payload."""
    text = str(error)
    if payload is None or not has_mark(payload):
        return text
    return Redaction.of_record(payload).text(text)


def _size_of(message: Message) -> int:
    return 300 + len(message.payload or b"")
