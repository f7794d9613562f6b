"""The state of a run, as a step sees it: ``ctx.state``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any, TypeVar, overload

from gorkflow._text import brief, is_utf8
from gorkflow.codec import codec_of
from gorkflow.errors import (
    EncodingError,
    StepValueError,
    UnavailableError,
    ValueInvalidError,
)
from gorkflow.state_changes import (
    APPEND,
    DELETE,
    INCR,
    SET,
    Entry,
    Op,
    Overlay,
    Write,
    keys,
    lay,
    read,
    write_of,
)
from gorkflow.values.kind import Open

T = TypeVar("T")
U = TypeVar("U")

_UNSET: Any = object()
_LONGEST_KEY = 200
_LARGEST = 1e300  # sums of what is below this stay finite


class State(MutableMapping[str, Any]):
    """Values under keys that all steps of a run share: a mapping that never blocks.

    A step sees the writes that were committed before it, in its own branch and outside. Its own
    writes are recorded with its result, or not at all. A join merges the writes of its branches.
    Two branches that leave different values under one key fail the block; ``incr`` and ``append``
    of several branches add up.

    A value is anything that JSON can hold: models, dataclasses, lists, numbers, texts. Reading
    returns a copy, as plain JSON data, or, with ``read``, as an object of a type. Change the copy,
    and write it back.

    Example:
        from gorkflow import StepContext, Workflow, run, step

        @step
        def count(ctx: StepContext, word: str) -> int:
            ctx.state.append("words", word)
            return ctx.state.incr("letters", len(word))

        @step
        def report(ctx: StepContext, counted: list[int]) -> str:
            return f"{ctx.state['letters']} letters in {ctx.state['words']}"

        flow = Workflow("letters", input=list[str]).map(count).then(report)
        assert run(flow, ["a", "bc"], store="memory:") == "3 letters in ['a', 'bc']"

    Args:
        layers: The overlays that the step sees through, innermost first.
        path: The path of the step.
        limit: The most bytes that one value may have as JSON.
    """

    __slots__ = ("_closed", "_layers", "_limit", "_lock", "_own", "_path")

    def __init__(self, layers: Sequence[Overlay], path: str, limit: int) -> None:
        self._own: Overlay = {}
        self._layers = (self._own, *layers)
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()  # a step may have threads of its own
        self._closed = False

    # ---- reading --------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        """Return a copy of a value; models and dataclasses come as plain data: see ``read``.

        Raises:
            KeyError: If there is none.
        """
        text = self._text(key)
        if text is None:
            raise KeyError(_missing(key))
        return codec_of(Open).decode(text.encode())

    @overload
    def read(self, key: str, annotation: type[T]) -> T: ...
    @overload
    def read(self, key: str, annotation: type[T], default: U) -> T | U: ...
    def read(self, key: str, annotation: Any, default: Any = _UNSET) -> Any:
        """Return a copy of a value, as an object of a type.

        Args:
            key: The key of the value.
            annotation: Its type.
            default: Returned if there is no value.

        Raises:
            KeyError: If there is none, and no default.
            StepValueError: If the value does not match the type.
        """
        text = self._text(key)
        if text is None:
            if default is _UNSET:
                raise KeyError(_missing(key))
            return default
        try:
            return codec_of(annotation).understand(text.encode())
        except StepValueError as error:
            raise StepValueError(f"state key {key!r}: {error}") from None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._kind(key) != ""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys, in alphabetical order."""
        with self._lock:
            return iter(keys(self._layers))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __repr__(self) -> str:
        return f"State({dict(self)!r})"

    # ---- writing --------------------------------------------------------------------------

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value.

        Raises:
            EncodingError: If JSON can't hold it (NaN, an unknown class).
            StepValueError: If the key is not a text of 1 to 200 characters.
            PayloadTooLargeError: If it is over the limit.
            UnavailableError: If the step has ended.
        """
        self._write(key, SET, self._encoded(key, value))

    def __delitem__(self, key: str) -> None:
        """Delete a value.

        Raises:
            KeyError: If there is none.
            UnavailableError: If the step has ended.
        """
        if key not in self:
            raise KeyError(_missing(key))
        self._write(key, DELETE, "")

    @overload
    def incr(self, key: str, by: int = 1) -> int: ...
    @overload
    def incr(self, key: str, by: float) -> float: ...
    def incr(self, key: str, by: float = 1) -> float:
        """Add to a number, which begins at 0, and return what this step then sees.

        Parallel branches may all do this to one key: their amounts are added up.

        Raises:
            StepValueError: If the key holds something else, or ``by`` is not a number.
            EncodingError: If the sum is too large for JSON.
            UnavailableError: If the step has ended.
        """
        if isinstance(by, bool) or not isinstance(by, int | float):
            raise StepValueError(f"state key {key!r}: incr takes a number, not {brief(by)}")
        with self._lock:
            kind = self._kind(key)
            if kind not in {"", "a number"}:
                raise StepValueError(f"state key {key!r} holds {kind}: only a number has incr")
            before: float = json.loads(read(self._layers, key) or "0")
            if not (abs(before) <= _LARGEST and abs(by) <= _LARGEST):  # nor if it is NaN
                raise EncodingError(
                    f"state key {key!r}: {brief(by)} is too much to add up; numbers go to 1e300"
                )
            total = before + by
            self._lay(key, Entry(INCR, json.dumps(by), self._path))
        return total

    def append(self, key: str, value: Any) -> None:
        """Append to a list, which begins empty.

        Parallel branches may all do this to one key. Their items stand in the order in which the
        branches, or the items of the map, are declared.

        Raises:
            StepValueError: If the key holds something else.
            EncodingError: If JSON can't hold the value.
            PayloadTooLargeError: If it is over the limit.
            UnavailableError: If the step has ended.
        """
        text = self._encoded(key, value)
        with self._lock:
            kind = self._kind(key)
            if kind not in {"", "a list"}:
                raise StepValueError(f"state key {key!r} holds {kind}: only a list has append")
            self._lay(key, Entry(APPEND, "", self._path, [f"[{text}]"]))

    # ---- how ------------------------------------------------------------------------------

    def _text(self, key: str) -> str | None:
        with self._lock:
            return read(self._layers, key)

    def _kind(self, key: str) -> str:
        """Return what is under a key, in words; empty: nothing."""
        for layer in self._layers:
            entry = layer.get(key)
            if entry is not None:
                text = {INCR: "0", APPEND: "["}.get(entry.op, entry.text)
                return _KINDS.get(text[:1], "a number") if text else ""
        return ""

    def _encoded(self, key: str, value: Any) -> str:
        try:
            return codec_of(Open).encode(value, self._limit).decode()
        except ValueInvalidError as error:
            raise type(error)(f"state key {brief(key)}: {error}") from None

    def _write(self, key: str, op: Op, text: str) -> None:
        with self._lock:
            self._lay(key, Entry(op, text, self._path))

    def _lay(self, key: str, entry: Entry) -> None:
        check_key(key)
        if self._closed:
            raise UnavailableError(
                f"step {self._path!r} has ended, and what is written into its state now would be "
                "lost; write before it returns, and wait for the tasks and threads that it begins"
            )
        lay(self._own, key, entry)

    def close(self) -> tuple[Write, ...]:
        """Return what was written, and take no more."""
        with self._lock:
            self._closed = True
            return tuple(write_of(key, entry) for key, entry in self._own.items())


_KINDS = {
    "[": "a list",
    "{": "an object",
    '"': "a text",
    "t": "a truth value",
    "f": "a truth value",
    "n": "None",
}


def _missing(key: object) -> str:
    return f"state has no key {brief(key)}; state.get(key, default) allows for that"


def check_key(key: object) -> None:
    """Check that there may be such a key.

    Raises:
        StepValueError: If there may not.
    """
    problem = ""
    if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
        problem = f"must be a text of 1 to {_LONGEST_KEY} characters"
    elif not is_utf8(key):
        problem = "holds a lone surrogate"
    if problem:
        raise StepValueError(f"state key {brief(key)} {problem}")


def layer_of(texts: Mapping[str, str]) -> Overlay:
    """Return values, as JSON, as an overlay."""
    return {key: Entry(SET, text, "") for key, text in texts.items()}


def initial(values: Mapping[str, Any], limit: int) -> tuple[Write, ...]:
    """Return what a run starts with as writes.

    Raises:
        ValueInvalidError: If a key or value is not valid.
    """
    state = State((), "", limit)
    state.update(values)
    # In an order of their own, so that the same start is recorded in the same way.
    return tuple(sorted(state.close(), key=lambda write: write.key))
