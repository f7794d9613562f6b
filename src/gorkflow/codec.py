"""The codec: values to records and back, and the judgement of values that people give.

Recording is ours (``gorkflow.values``): what comes back equals what went, or is rejected by name
before anybody sees it; to read it again runs no validator. Judging is pydantic's: an input, or a
value that goes to a parameter of another type. Only this module and ``values`` know pydantic, and
they import it late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gorkflow.errors import (
    EncodingError,
    StepValueError,
    UnreadableError,
    ValueInvalidError,
)
from gorkflow.values.judge import at, refusal, text_of, too_large
from gorkflow.values.kind import (
    DEEP,
    Kind,
    Misfit,
    Open,
    Reading,
    Shapes,
    TooAmbiguous,
    TooLarge,
    Unreadable,
    Writing,
    digest_of,
    too_deep,
)
from gorkflow.values.records import lost, plain, surrogate_in, tame
from gorkflow.values.secret import HEAD, bare, hidden_record, holds_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gorkflow.values.judge import Judge

_ROOM = 2**27  # bytes of a record, where no limit is given


class Codec:
    """Writes and reads the values of one annotation. Get it with ``codec_of``."""

    __slots__ = ("_digest", "_from_json", "_is_judged", "_is_sure", "_judge", "_kind", "_to_json",
                 "annotation")  # fmt: skip

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._digest: str | None = None
        self._judge: Judge
        self._kind: Kind | None = None
        self._is_judged = False
        self._is_sure = True
        self._to_json: Callable[..., bytes]
        self._from_json: Callable[[bytes], Any]

    def __repr__(self) -> str:
        return f"Codec({self.annotation!r})"

    def prepare(self) -> bool:
        """Get the annotation ready for use; return false if a class is still to be defined."""
        if self._kind is not None:
            return True
        from pydantic_core import from_json, to_json

        from gorkflow.annotations import describe
        from gorkflow.values.compiler import compiled
        from gorkflow.values.judge import Judge, NotDefinedYet, OwnJudge

        is_open = self.annotation is Open
        try:
            kind, compiler = compiled(Any if is_open else self.annotation, describe)
            if is_open:
                kind = _open_kind()
            try:
                self._judge = Judge(Any if is_open else self.annotation, kind)
            except StepValueError:
                self._judge = OwnJudge(kind)
        except NotDefinedYet:
            return False
        except Misfit as misfit:
            raise StepValueError(at(misfit)) from None
        self._is_judged = compiler.judged
        self._is_sure = not compiler.foreign
        self._to_json = to_json
        self._from_json = from_json
        self._kind = kind
        return True

    def encode(self, value: Any, limit: int | None = None) -> bytes:
        """Return the record of a value: strict JSON that reads back as an equal value.

        Raises:
            EncodingError: If it holds something that can't be kept: a lone surrogate, a cycle, too
                many levels, an object that has no annotation.
            StepValueError: If it does not match the annotation, or would not come back as it is.
            PayloadTooLargeError: If the record is over the limit in bytes.
        """
        kind = self._kind or self.kind
        room = _ROOM if limit is None else limit
        writing = Writing(room)
        record = None
        try:
            record = kind.dump(value, writing)
            if writing.has_long:
                record = tame(record)
            data = self._to_json(record, inf_nan_mode="constants")
            if b"NaN" in data or b"Infinity" in data:  # there may be a number JSON has no word for
                data = self._to_json(tame(record))
        except (Misfit, TooLarge, TooAmbiguous, RecursionError) as error:
            raise _refused(error, room) from None
        except Exception as error:
            raise _unsaid(error, record) from error
        if limit is not None and len(data) > limit:
            raise too_large(limit, len(data))
        if writing.deepest > DEEP:
            _check_depth(kind, data)
        if self._is_judged:
            self._check(value, data)
        return data

    def _check(self, value: Any, data: bytes) -> None:
        """Check the constraints of a value that was recorded as ``data``."""
        try:
            self._judge.check(value, self.decode(data))
        except StepValueError as error:
            if HEAD not in data:
                raise
            raise _masked(error, data) from None

    def accept(self, value: Any, limit: int | None = None) -> bytes:
        """Return the record of a value from a caller: a dict may stand for a model."""
        if self._is_judged:
            from gorkflow.values.judge import check_size

            check_size(value)
            return self.encode(self.validate(value), limit)
        try:
            return self.encode(value, limit)
        except StepValueError:  # it may be of another type, that stands for this one
            return self.encode(self.validate(value), limit)

    def convert(self, value: Any) -> Any:
        """Return a value of another annotation as one of this: a dict becomes a model."""
        if not self._is_judged:
            try:
                return self.decode(self.encode(value))
            except StepValueError:
                pass  # it is of another type, that may stand for this one
        return self.validate(value)

    def decode(self, data: bytes) -> Any:
        """Return the value that a record stands for. Nothing is judged anew.

        Raises:
            StepValueError: If it is not the record of such a value.
            UnreadableError: If only the type's own function can read it, and that has failed.
        """
        kind = self._kind or self.kind
        try:
            record = self._from_json(data)
        except ValueError as error:
            raise _not_json(error) from None
        try:
            try:
                return kind.load(record, Reading())
            except Misfit:
                if HEAD not in data:
                    raise
                return kind.load(bare(record), Reading())  # what was a secret, and is none now
        except Misfit as misfit:
            raise StepValueError(at(misfit)) from None
        except Unreadable as error:
            raise UnreadableError(str(error)) from error
        except Exception as error:
            raise StepValueError(f"the record is damaged: {text_of(error)}") from error

    def understand(self, data: bytes) -> Any:
        """Return the value of a record that was written under another annotation, or by a person.

        Raises:
            ValueInvalidError: If it does not match this one, or a part of it would be lost.
        """
        try:
            value = self.decode(data)
        except UnreadableError:
            raise
        except StepValueError as error:
            try:  # as plain data: whoever wrote it did not know the type
                value = self._judge.json(self._to_json(view(data)))
            except BaseException as other:  # noqa: BLE001 - `invalid` raises what is no verdict
                refused = self._without_secrets(self._judge.invalid(other), view(data))
                raise refused from error
            place = lost(read_json(data), read_json(self.encode(value)))
            if place is not None and str(error).startswith(place := place.removeprefix(".")):
                raise
            if place is not None:
                raise StepValueError(
                    f"{place}: it would be lost, since the type has no such field"
                ) from error
            return value
        return self.validate(value) if self._is_judged else value

    def holds(self, value: Any) -> bool:
        """Return whether a value is of the annotation as it is, constraints aside."""
        try:
            self.kind.dump(value, Writing(_ROOM))
        except (Misfit, TooLarge, TooAmbiguous, RecursionError):
            return False
        return True

    def decode_lax(self, data: bytes | str) -> Any:
        """Return the value that JSON typed by a person stands for: ``"7"`` is good enough for 7.

        Raises:
            StepValueError: If it does not match the annotation, or is not JSON.
        """
        assert self.kind
        try:
            return self._judge.json(data, strict=None)
        except BaseException as error:  # noqa: BLE001 - `invalid` raises what is no verdict
            refused = self._without_secrets(self._judge.invalid(error), _parsed(data))
            raise refused from self._judge.cause(error)

    def typed(self, data: bytes) -> Any:
        """Return the plain data that a person would type, so that ``decode_lax`` takes it.

        It differs from what views show where a type writes itself in its own way.
        """
        found = shown = view(data)
        try:
            found = self._judge.dump(self.decode(data))
            again = self.decode_lax(self._to_json(found, inf_nan_mode="strings"))
            is_same = repr(view(self.encode(again))) == repr(shown)  # there may be a NaN
        except Exception:  # noqa: BLE001 - a user's serializer; what views show is near enough
            return shown
        return found if is_same else shown

    def validate(self, value: Any) -> Any:
        """Return the value as the annotation has it: an instance stays, a dict becomes a model."""
        kind = self.kind
        try:
            return self._judge.validate(value)
        except StepValueError as error:
            if not holds_secret(kind):
                raise
            raise self._without_secrets(error, value) from None

    def _without_secrets(self, error: StepValueError, value: Any) -> StepValueError:
        """Return the error about a value without the secrets that this has, fit or not."""
        if not holds_secret(self.kind):
            return error
        return _masked(error, hidden_record(self.kind, value))

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of what ``decode_lax`` takes, of draft 2020-12.

        A part that no schema can describe may be anything there.
        """
        assert self.kind
        return self._judge.schema()

    def form(self) -> dict[str, Any]:
        """Return the JSON schema of what ``typed`` returns, and ``decode_lax`` takes."""
        assert self.kind
        return self._judge.schema(by_alias=self._judge.has_one_alias)

    def digest(self) -> str:
        """Return a short fingerprint of the shape: annotations whose records read alike have one.

        Names of classes, the order of fields, descriptions and the release of pydantic don't count.
        """
        if self._digest is None:
            self._digest = digest_of(self.kind.shape(Shapes()))
        return self._digest

    @property
    def is_sure(self) -> bool:
        """Whether what was recorded can be read for ever, since no type's own function has to."""
        assert self.kind
        return self._is_sure

    @property
    def kind(self) -> Kind:
        """The kind of its values."""
        if self._kind is None and not self.prepare():
            raise StepValueError(
                f"{self.annotation!r} names a class that is not defined yet; define it before use"
            )
        assert self._kind is not None
        return self._kind


_cache: dict[Any, Codec] = {}
_by_identity: dict[int, tuple[Any, Codec]] = {}
_MAX_CACHED = 10_000


def codec_of(annotation: Any) -> Codec:
    """Return the codec of an annotation, the same one each time."""
    # By identity first: to hash an annotation, and to show it, takes longer than to decode a value.
    same = _by_identity.get(id(annotation))
    if same is not None:
        return same[1]
    codec = _equal_codec(annotation)
    if len(_by_identity) >= _MAX_CACHED:
        _by_identity.clear()
    _by_identity[id(annotation)] = (annotation, codec)  # with it, so that its identity stays taken
    return codec


def canonical(annotation: Any) -> Any:
    """Return an annotation, or an equal one that was seen before.

    Equal ones are then mostly identical, which spares comparing them for every value.
    """
    return codec_of(annotation).annotation


def _equal_codec(annotation: Any) -> Codec:
    try:
        # Unions are equal whatever their order, which decides ties; their repr tells them apart.
        key = annotation if isinstance(annotation, type) else (annotation, repr(annotation))
        codec = _cache.get(key)
        if codec is None:
            if len(_cache) >= _MAX_CACHED:
                _cache.clear()
            codec = _cache[key] = Codec(annotation)
    except Exception:  # noqa: BLE001 - unhashable, or metadata with an odd __eq__ or __repr__
        codec = Codec(annotation)
    return codec


def _open_kind() -> Kind:
    from gorkflow.values.plain import Free

    def of_class(cls: type) -> Kind | None:
        codec = codec_of(cls)
        try:
            return codec.kind if codec.prepare() else None
        except StepValueError:
            return None

    return Free(of_class)


def read_json(data: bytes | str) -> Any:
    from pydantic_core import from_json

    try:
        return from_json(data)
    except ValueError as error:
        raise _not_json(error) from None


def _masked(error: StepValueError, data: bytes | str) -> StepValueError:
    """Return the error without the secrets in a record."""
    from gorkflow.redaction import Redaction  # few values hold secrets

    redaction = Redaction.of_record(data)
    refused = StepValueError(redaction.text(str(error)))
    refused.problems = redaction.shown(error.problems)
    return refused


def _parsed(data: bytes | str) -> Any:
    """Return what JSON says; if it is none, the text."""
    try:
        return read_json(data)
    except StepValueError:
        return data


def _not_json(error: ValueError) -> StepValueError:
    return StepValueError(f"it is not JSON: {text_of(error)}")


def view(data: bytes | str) -> Any:
    """Return what a record says, as plain data for people: no class is needed to read it."""
    return plain(read_json(data))


def views(texts: Mapping[str, str]) -> dict[str, Any]:
    return {key: view(text) for key, text in texts.items()}


def _refused(error: Exception, room: int) -> ValueInvalidError:
    if isinstance(error, TooLarge):
        return too_large(room)
    if isinstance(error, TooAmbiguous):
        return StepValueError(str(error))
    return refusal(error if isinstance(error, Misfit) else too_deep())


def _check_depth(kind: Kind, data: bytes) -> None:
    try:
        kind.load(read_json(data), Reading())
    except (StepValueError, RecursionError):
        raise refusal(too_deep()) from None


def _unsaid(error: Exception, record: Any) -> EncodingError:
    text = text_of(error).removeprefix("Error serializing to JSON: ")
    if "Circular" in text or "depth exceeded" in text:
        return EncodingError(at(too_deep()))
    place = surrogate_in(record)
    if place is None:
        return EncodingError(text)
    misfit = Misfit(
        "it holds a lone surrogate, which UTF-8 can't say; decode the text with errors='replace'"
    )
    return EncodingError(at(misfit.under(place)))
