"""References become values here: for the step about to run, and for whoever reads the result.

Every value is rebuilt from its recorded bytes each time, so no two branches ever share an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gorkflow import events as ev
from gorkflow.annotations import needs_validation
from gorkflow.codec import Codec, codec_of
from gorkflow.errors import HistoryError
from gorkflow.flow import ChoiceSpec, WorkflowSpec, walk
from gorkflow.model import Cancelled, Completed, Failed, Failure, Outcome, Skipped, StepStatus
from gorkflow.refs import Default, Ended, FailureRef, Ref

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.step import Step

INPUT = 1
"""The ``seq`` that stands for the run's input: that of ``run_created``."""


class Values:
    """The recorded values of one run.

    Args:
        run_id: the run.
        definition: brings the types; without it values are plain JSON data.
        tree: what the run executes, where there is no definition.
    """

    def __init__(
        self, run_id: str, definition: Definition | None, tree: WorkflowSpec | None = None
    ) -> None:
        self.run_id = run_id
        self.definition = definition
        self._tree = tree
        self._bytes: dict[int, tuple[bytes, str]] = {}
        self._composed: dict[int, tuple[Ref, str]] = {}
        self._failures: dict[int, Failure] = {}

    def note(self, events: Iterable[ev.Event]) -> None:
        """Remember the values that these events recorded."""
        for event in events:
            if type(event) is ev.StepScheduled:
                continue  # half of all events
            if isinstance(event, ev.StepCompleted):
                self._bytes[event.seq] = (event.output, event.path)
            elif isinstance(event, ev.BlockDecided):
                self._composed[event.seq] = (event.output, event.path)
            elif isinstance(event, ev.StepFailed):
                self._failures[event.seq] = event.failure
            elif isinstance(event, ev.RunCreated) and event.input is not None:
                self._bytes[event.seq] = (event.input, "")

    # ---- values ---------------------------------------------------------------------------

    def value(self, ref: Ref) -> Any:
        """Return a fresh object for a reference.

        Raises:
            ValidationError: the recorded bytes don't match the annotation any more.
        """
        while type(ref) is int:
            found = self._bytes.get(ref)
            if found is not None:
                return self._decode(found[0], found[1])
            if ref == INPUT:
                return None
            ref = self._composition(ref)[0]
        if ref is None:
            return None
        if isinstance(ref, tuple):
            return tuple([self.value(item) for item in ref])
        if isinstance(ref, Ended):
            return self.outcome(ref)
        assert isinstance(ref, Default)
        data, annotation = self._default(ref)
        return json.loads(data) if self.definition is None else codec_of(annotation).decode(data)

    def arguments(self, step: Step[Any, Any], ref: Ref) -> tuple[Any, ...]:
        """Return what to call a step with, each argument a fresh object of the step's own types.

        Raises:
            ValidationError: a value does not match the annotation that it is received under.
        """
        params = step.params
        if not params:
            return ()
        if len(params) == 1:
            return (self._received(ref, params[0].annotation),)
        parts = self._parts(ref)
        if parts is None:
            return tuple(self.value(ref))
        return tuple(
            [self._received(part, p.annotation) for part, p in zip(parts, params, strict=True)]
        )

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

    def _received(self, ref: Ref, wanted: Any) -> Any:
        """Return the value, validated into ``wanted`` where its own type does not warrant it."""
        if type(ref) is not int or self.definition is None:
            return self.value(ref)
        found = self._bytes.get(ref)
        if found is not None:
            given = self._annotation_at(found[1])
            codec = codec_of(wanted if needs_validation(given, wanted) else given)
            return codec.decode(found[0])
        if ref == INPUT:
            return None
        given = self._annotation_at(self._composition(ref)[1])
        data = self._json(ref) if needs_validation(given, wanted) else None
        return self.value(ref) if data is None else codec_of(wanted).decode(data)

    def _parts(self, ref: Ref) -> tuple[Ref, ...] | None:
        """Return the references inside a composed value; ``None``: it was recorded whole."""
        while type(ref) is int and ref not in self._bytes and ref != INPUT:
            ref = self._composition(ref)[0]
        return ref if isinstance(ref, tuple) else None

    def _annotation_at(self, path: str) -> Any:
        definition = self.definition
        if definition is None:
            return Any
        return definition.input if path == "" else definition.outputs.get(path, Any)

    def _decode(self, data: bytes, path: str) -> Any:
        if self.definition is None:
            return json.loads(data)
        return codec_of(self._annotation_at(path)).decode(data)

    def _json(self, ref: Ref) -> bytes | None:
        """Return the JSON of a value; ``None`` where outcomes are in it, which have none."""
        if ref is None:
            return b"null"
        if type(ref) is int:
            found = self._bytes.get(ref)
            return found[0] if found is not None else self._json(self._composition(ref)[0])
        if isinstance(ref, tuple):
            parts = [self._json(item) for item in ref]
            known = [part for part in parts if part is not None]
            return b"[" + b",".join(known) + b"]" if len(known) == len(parts) else None
        return self._default(ref)[0] if isinstance(ref, Default) else None

    def _default(self, ref: Default) -> tuple[bytes, Any]:
        if self.definition is not None:
            return self.definition.defaults_of[ref.path]
        for path, node in walk(self._tree) if self._tree is not None else ():
            if path == ref.path and isinstance(node, ChoiceSpec):
                return (node.default or "null").encode(), Any
        raise HistoryError(self.run_id, f"run {self.run_id!r} has no choice {ref.path!r}")

    def _composition(self, seq: int) -> tuple[Ref, str]:
        found = self._composed.get(seq)
        if found is None:
            raise HistoryError(self.run_id, f"event {seq} of run {self.run_id!r} holds no value")
        return found
