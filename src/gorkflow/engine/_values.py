"""The values of a run: references become objects, for the step about to run and for readers.

Every value is rebuilt from its recorded bytes each time, so no two branches ever share an object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from gorkflow import events as ev
from gorkflow import flow
from gorkflow.annotations import NO_ITEMS, item_of, needs_validation
from gorkflow.codec import Codec, codec_of, view
from gorkflow.errors import HistoryError, StepValueError
from gorkflow.events import Default, Ended, FailureRef, Item, ListOf, Ref
from gorkflow.flow import WorkflowSpec, template_of
from gorkflow.model import Cancelled, Completed, Failed, Failure, Outcome, Skipped, StepStatus
from gorkflow.values.secret import HEAD

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.redaction import Redaction
    from gorkflow.state_changes import Write

T = TypeVar("T")

_WITHOUT_VALUE = frozenset({ev.StepScheduled, ev.RunStarted, ev.RunFinished})
INPUT = 1
"""The ``seq`` that stands for the run's input: that of ``run_created``."""


def _validated(value: Any, wanted: Any) -> Any:
    return codec_of(wanted).convert(value)


def _kept(value: Any, wanted: Any) -> Any:
    codec = codec_of(wanted)
    return value if codec.holds(value) else codec.convert(value)


class Values:
    """The recorded values of one run.

    Args:
        run_id: the run.
        definition: brings the types; without it values are plain JSON data.
        tree: what the run executes, where there is no definition.
        read: returns the plain data of a record.
    """

    __slots__ = ("_accepted", "_bytes", "_composed", "_failures", "_lists", "_read", "_redaction",
                 "_tree", "definition", "run_id", "size")  # fmt: skip

    def __init__(
        self,
        run_id: str,
        definition: Definition | None,
        tree: WorkflowSpec | None = None,
        read: Callable[[bytes], Any] = view,
    ) -> None:
        self.run_id = run_id
        self._read = read
        self._redaction: Redaction | None = None
        self._accepted = False
        """Whether other types were accepted, so that recorded values are judged anew."""
        self.definition = definition
        self._tree = tree
        self.size = 0
        """About how many bytes the values and failures take."""
        self._bytes: dict[int, tuple[bytes, str]] = {}
        self._composed: dict[int, tuple[Ref, str]] = {}
        self._failures: dict[int, Failure] = {}
        self._lists: dict[Ref, tuple[list[bytes], Any]] = {}
        """The items of recorded lists that were read before, and their annotation: split
        once, for reading each of 10,000 items must not decode the others."""

    def note(self, events: Iterable[ev.Event]) -> None:
        """Remember the values that these events recorded."""
        for event in events:
            if type(event) in _WITHOUT_VALUE:
                continue  # half of all events
            if type(event) is ev.StepCompleted:
                self._keep(event, event.output, event.state)
            else:
                self._note_other(event)

    def _note_other(self, event: ev.Event) -> None:
        match event:
            case ev.SignalReceived(payload=data):
                self._keep(event, data)
            case ev.RunCreated(input=data) | ev.ResultKept(output=data):
                self._keep(event, data, event.state)
            case ev.BlockDecided():
                self._composed[event.seq] = (event.output, event.path)
            case ev.StepFailed():
                self._failures[event.seq] = failure = event.failure
                self.size += len(failure.message) + len(failure.traceback)
            case ev.TypesAccepted():
                self._accepted = True
            case _:
                pass

    def _keep(self, event: ev.Event, data: bytes | None, state: Sequence[Write] = ()) -> None:
        if data is not None:
            self._bytes[event.seq] = (data, event.path)
            self.size += len(data)
            if HEAD in data:
                self._learn(event)
        if state:
            self.size += sum([len(write.text) for write in state])
            self._learn(event)

    # ---- secrets --------------------------------------------------------------------------

    def _learn(self, event: ev.Event) -> None:
        from gorkflow.redaction import has_secrets  # few runs have any

        if has_secrets(event):
            self._hiding().learn(event)

    def _hiding(self) -> Redaction:
        from gorkflow.redaction import Redaction  # as above

        if self._redaction is None:
            self._redaction = Redaction()
            tree = self._tree if self.definition is None else self.definition.tree
            if tree is not None:
                self._redaction.learn_tree(tree)
        return self._redaction

    @property
    def redaction(self) -> Redaction | None:
        """It leaves the secrets of the run out of logs; ``None``: there are none."""
        definition = self.definition
        if self._redaction is None and definition is not None and definition.has_secrets:
            self._hiding()
        return self._redaction

    def hidden(self, item: T) -> T:
        """Return a text, a failure or events for logs and traces, without the run's secrets."""
        redaction = self.redaction
        return item if redaction is None else redaction.shown(item)

    # ---- values ---------------------------------------------------------------------------

    def value(self, ref: Ref) -> Any:
        """Return a fresh object for a reference, of the types of its producer.

        Raises:
            StepValueError: If the recorded bytes don't match the annotation any more.
        """
        return self.received(ref, Any)

    def arguments(self, wanted: Sequence[Any], ref: Ref, *, again: bool = False) -> tuple[Any, ...]:
        """Return what to call a function with, each argument a fresh object.

        Args:
            wanted: the annotations of its parameters. None: it gets nothing; one: the whole value;
                more: the items of a tuple.
            ref: the value.
            again: whether a function got it before: then only its type counts. The answer of a
                validator may be outdated, such as that a file exists.

        Raises:
            StepValueError: If a value does not match the annotation that it is received under.
            UnreadableError: If only a type's own function can read it, and that has failed.
        """
        if not wanted:
            return ()
        fit = _kept if again else _validated
        if len(wanted) == 1:
            return (self.received(ref, wanted[0], fit),)
        return tuple(self.received(ref, tuple[tuple(wanted)], fit))  # type: ignore[misc]

    def received(self, ref: Ref, wanted: Any, fit: Callable[[Any, Any], Any] = _validated) -> Any:
        """Return a fresh object for a reference.

        It is of the producer's type; where that does not warrant ``wanted``, it is validated into
        that.

        Raises:
            StepValueError: If the value does not match.
            UnreadableError: If only its type's own function can read it, and that has failed.
        """
        found = self._bytes.get(ref) if type(ref) is int else None
        if found is not None:  # what one step returned, as nearly always
            given = self._annotation_at(found[1])
            if given is wanted is not Any and not self._accepted:
                return codec_of(given).decode(found[0])
            return self._decoded(found[0], given, wanted, fit)
        ref, made_at = self._followed(ref)
        if isinstance(ref, Ended):
            return self.outcome(ref)
        if isinstance(ref, tuple):
            return self._received_tuple(ref, wanted, made_at, fit)
        if isinstance(ref, ListOf):
            return self._received_list(ref, wanted, made_at, fit)
        recorded = self._recorded(ref)
        return None if recorded is None else self._decoded(*recorded, wanted, fit)

    def _decoded(self, data: bytes, given: Any, wanted: Any, fit: Callable[[Any, Any], Any]) -> Any:
        if self.definition is None:
            return self._read(data)
        codec = codec_of(given)
        value = codec.understand(data) if self._accepted else codec.decode(data)
        if wanted is not given and wanted is not Any and needs_validation(given, wanted):
            return fit(value, wanted)
        return value

    def _received_tuple(
        self, refs: tuple[Ref, ...], wanted: Any, made_at: str, fit: Callable[[Any, Any], Any]
    ) -> Any:
        if (get_origin(wanted) or wanted) is list:  # what a block gives may be taken as a list
            return [self.received(r, item_of(wanted), fit) for r in refs]
        items = _item_annotations(wanted, len(refs))
        if items is not None:
            return tuple([self.received(r, item, fit) for r, item in zip(refs, items, strict=True)])
        found = tuple([self.received(r, Any) for r in refs])
        if wanted is Any or not needs_validation(self._tuple_annotation(refs, made_at), wanted):
            return found
        return found if _has_outcomes(refs) else fit(found, wanted)

    def _received_list(
        self, refs: ListOf, wanted: Any, made_at: str, fit: Callable[[Any, Any], Any]
    ) -> Any:
        item = Any if get_origin(wanted) is None else item_of(wanted)
        judged = item is NO_ITEMS or (item is Any and wanted is not Any)
        found = [self.received(r, Any if judged else item, fit) for r in refs.items]
        if not judged or not needs_validation(self._annotation_at(made_at), wanted):
            return found
        return found if _has_outcomes(refs.items) else fit(found, wanted)

    def count(self, ref: Ref) -> int:
        """Return how many items a list has.

        Raises:
            StepValueError: If the value is not a list.
        """
        ref, _ = self._followed(ref)
        if isinstance(ref, tuple):
            return len(ref)
        if isinstance(ref, ListOf):
            return len(ref.items)
        return len(self._split(ref)[0])

    def outcome(self, ended: Ended) -> Outcome[Any]:
        """Return how a step or branch ended, as callers see it."""
        match ended.status:
            case StepStatus.COMPLETED:
                return Completed(ended.path, self.value(ended.value))
            case StepStatus.FAILED:
                return Failed(ended.path, self.failure(ended.failures[0]))
            case StepStatus.SKIPPED:
                return Skipped(ended.path, ended.reason)
            case _:
                return Cancelled(ended.path, ended.reason)

    def input_bytes(self) -> tuple[bytes | None, Codec]:
        """Return the bytes of the run's input, if it has one, and what reads them."""
        found = self._bytes.get(INPUT)
        return None if found is None else found[0], codec_of(self._annotation_at(""))

    def failure(self, ref: FailureRef) -> Failure:
        """Return the failure that a reference means."""
        return self._failures[ref] if isinstance(ref, int) else ref

    # ---- how ------------------------------------------------------------------------------

    def _followed(self, ref: Ref) -> tuple[Ref, str]:
        """Return what a reference stands for in the end, and the path of the block that made it.

        The path is empty where no block did.
        """
        made_at = ""
        while True:
            if type(ref) is int and ref not in self._bytes and ref != INPUT:
                found = self._composed.get(ref)
                if found is None:
                    raise HistoryError(
                        self.run_id, f"event {ref} of run {self.run_id!r} holds no value"
                    )
                ref, made_at = found
            elif isinstance(ref, Item):
                of, _ = self._followed(ref.of)
                items = of.items if isinstance(of, ListOf) else of
                if not isinstance(items, tuple):
                    return ref, ""
                ref, made_at = self._item(items, ref), ""
            else:
                return ref, made_at

    def _item(self, items: Sequence[T], ref: Item) -> T:
        if ref.index < len(items):
            return items[ref.index]
        raise HistoryError(self.run_id, f"a list of run {self.run_id!r} has no item {ref.index}")

    def _split(self, ref: Ref) -> tuple[list[bytes], Any]:
        """Return the items of a recorded list, and their annotation."""
        found = self._lists.get(ref)
        if found is None:
            recorded = None if isinstance(ref, Ended) else self._recorded(ref)
            data, annotation = recorded or (b"null", None)
            item = item_of(annotation)
            found = self._lists[ref] = _items(data), Any if item is NO_ITEMS else item
        return found

    def _recorded(self, ref: Ref) -> tuple[bytes, Any] | None:
        """Return the bytes of a value and the annotation they were written under."""
        if isinstance(ref, Item):
            items, annotation = self._split(ref.of)
            return self._item(items, ref), annotation
        if not isinstance(ref, int | Default):
            return None
        if isinstance(ref, Default):
            return self._default(ref)
        found = self._bytes.get(ref)
        return None if found is None else (found[0], self._annotation_at(found[1]))

    def _annotation_at(self, path: str) -> Any:
        definition = self.definition
        if definition is None:
            return Any
        if not path:
            return definition.input
        if definition.payloads or path not in definition.outputs:
            path = template_of(path)
            if path in definition.payloads:
                return definition.payloads[path]  # of a wait, the payload alone was recorded
        return definition.outputs.get(path, Any)

    def _tuple_annotation(self, refs: tuple[Ref, ...], made_at: str) -> Any:
        if made_at:
            return self._annotation_at(made_at)
        # No block made it, but a wait: of what it was given, and the payload.
        return GenericAlias(tuple, tuple(map(self._annotation_of, refs)))

    def _annotation_of(self, ref: Ref) -> Any:
        """Return the annotation that a value was written under."""
        ref, made_at = self._followed(ref)
        if isinstance(ref, tuple):
            return self._tuple_annotation(ref, made_at)
        if isinstance(ref, ListOf):
            return self._annotation_at(made_at) if made_at else list
        if isinstance(ref, Ended):
            return Any
        recorded = self._recorded(ref)
        return None if recorded is None else recorded[1]

    def record(self, ref: Ref) -> bytes | None:
        """Return the record of a value; ``None`` where outcomes are in it, which have none."""
        ref, _ = self._followed(ref)
        if isinstance(ref, Ended):
            return None
        if isinstance(ref, tuple | ListOf):
            parts = [self.record(item) for item in (ref if isinstance(ref, tuple) else ref.items)]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts):
                return None
            items = b"[" + b",".join(known) + b"]"
            return items if isinstance(ref, ListOf) else TUPLE + items + b"}"
        recorded = self._recorded(ref)
        return b"null" if recorded is None else recorded[0]

    def record_as(self, wanted: Any, ref: Ref) -> bytes | None:
        """Return the record of a value if it was written under this annotation."""
        found = self._bytes.get(ref) if type(ref) is int else None
        return found[0] if found is not None and self._annotation_at(found[1]) is wanted else None

    def forget_types(self) -> None:
        """Return plain data from now on."""
        if self.definition is not None:
            self._tree, self.definition, self._lists = self.definition.tree, None, {}

    def _default(self, ref: Default) -> tuple[bytes, Any]:
        if self.definition is not None:
            return self.definition.defaults_of[template_of(ref.path)]
        found = {} if self._tree is None else flow.defaults_of(self._tree)
        if template_of(ref.path) in found:
            return found[template_of(ref.path)].encode(), Any
        raise HistoryError(self.run_id, f"run {self.run_id!r} has no default at {ref.path!r}")


_decoder = json.JSONDecoder(parse_int=str, parse_float=str)  # what it makes is of no use here
TUPLE = b'{"$":"tuple","$v":'
"""The first bytes of a tuple's record."""
_SEQUENCE = re.compile(r'(?:\{"\$":"(?:tuple|deque)","\$v":)?\[')


def _has_outcomes(refs: Sequence[Ref]) -> bool:
    return any(isinstance(ref, Ended) for ref in refs)


def _items(data: bytes) -> list[bytes]:
    """Return the records of the items of a list, tuple or deque, each with its exact bytes."""
    if data.startswith(HEAD):  # each item of a secret is one
        return [HEAD + item + b"}" for item in _items(data[len(HEAD) : -1])]
    text = data.decode()
    begin = _SEQUENCE.match(text)
    if begin is None:
        raise StepValueError(f"the value to map over is not a list, but {text:.100}")
    items: list[bytes] = []
    at = _past_space(text, begin.end())
    while text[at] != "]":
        _, end = _decoder.raw_decode(text, at)
        items.append(text[at:end].encode())
        at = _past_space(text, end)
        if text[at] == ",":
            at = _past_space(text, at + 1)
    return items


def _past_space(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at


def _item_annotations(annotation: Any, count: int) -> Sequence[Any] | None:
    """Return the annotations of a tuple's items; ``None`` where it says nothing of them."""
    if get_origin(annotation) is not tuple:
        return None
    items = get_args(annotation)
    if len(items) == 2 and items[1] is Ellipsis:
        return [items[0]] * count
    return items if len(items) == count else None
