"""Values to records and back, and the judgement of values that people give.

Recording is ours (``gorkflow.values``): what comes back equals what went, or is rejected by name
before anybody sees it; to read it again runs no validator. Judging is pydantic's: an input, or a
value that goes to a parameter of another type. This is the only module that knows pydantic, and it
imports it late.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gorkflow.errors import (
    EncodingError,
    PayloadTooLargeError,
    UnreadableError,
    ValidationError,
    ValueInvalidError,
)
from gorkflow.values.kind import (
    DEEP,
    Kind,
    Misfit,
    Open,
    TooLarge,
    Unreadable,
    Writing,
    plain,
    tame,
    too_deep,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pydantic

_MAX_PROBLEMS = 5
_MAX_TEXT = 300
_MAX_PLACE = 100
_ROOM = 2**28  # parts and characters of a value, where no limit is given
_WINDOW = 2_000  # a number of over 4,300 digits fills at least one window of so many
_NO_VALUES = frozenset({"callable", "is-subclass", "is-instance", "generator"})


class Codec:
    """Writes and reads the values of one annotation. Get it with ``codec_of``."""

    __slots__ = ("_adapter", "_digest", "_is_judged", "_is_sure", "_kind", "_to_json", "annotation")

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._digest: str | None = None
        self._adapter: pydantic.TypeAdapter[Any] | None = None
        self._kind: Kind | None = None
        self._is_judged = False
        self._is_sure = True
        self._to_json: Callable[..., bytes]

    def __repr__(self) -> str:
        """Return the annotation it stands for."""
        return f"Codec({self.annotation!r})"

    def prepare(self) -> bool:
        """Get the annotation ready for use, unless that was done.

        Returns:
            Whether it is ready; not so when it names classes that are still to be defined.

        Raises:
            ValidationError: If no value of this annotation can be read back.
        """
        if self._kind is not None:
            return True
        from pydantic_core import to_json

        from gorkflow.values.compiler import Compiler, NotDefinedYet

        foreign: list[Kind] = []

        def made(annotation: Any, free: Kind) -> Kind:
            foreign.append(_foreign(annotation, free))
            return foreign[-1]

        compiler = Compiler(made)
        try:
            is_open = self.annotation is Open
            kind = _open_kind() if is_open else compiler.kind(self.annotation)
            adapter = _adapter_of(Any if is_open else self.annotation)
        except (NotDefinedYet, _NotDefinedYet):
            return False
        except Misfit as misfit:
            raise ValidationError(_at(misfit)) from None
        self._is_judged = compiler.judged
        self._is_sure = not foreign
        self._adapter = adapter
        self._to_json = to_json
        self._kind = kind
        return True

    def encode(self, value: Any, limit: int | None = None) -> bytes:
        """Return the record of a value: strict JSON that reads back as an equal value.

        Args:
            value: the value.
            limit: bytes that the record may have; ``None``: as many as there are.

        Raises:
            EncodingError: If it holds something that can't be kept: a lone surrogate, a cycle, too
                many levels, an object that has no annotation.
            ValidationError: If it does not match the annotation, or would not come back as it is.
            PayloadTooLargeError: If the record is over the limit.
        """
        kind = self._kind or self._ready()
        writing = Writing(_ROOM if limit is None else limit)
        try:
            record = kind.dump(value, writing)
            data = self._to_json(record, inf_nan_mode="constants")
            if b"NaN" in data or b"Infinity" in data or _has_long_number(data):
                data = self._to_json(tame(record))
        except Misfit as misfit:
            raise _refusal(misfit) from None
        except TooLarge:
            raise _too_large(limit or _ROOM) from None
        except RecursionError:
            raise _refusal(too_deep()) from None
        except Exception as error:
            raise EncodingError(_dump_message(error)) from error
        if limit is not None and len(data) > limit:
            raise _too_large(limit, len(data))
        if writing.deepest > DEEP:
            self._check_depth(data)
        if self._is_judged:
            self._judge(value, data)
        return data

    def accept(self, value: Any, limit: int | None = None) -> bytes:
        """Return the record of a value that somebody gives: a dict may stand for a model.

        Args:
            value: the value.
            limit: bytes that the record may have.

        Raises:
            ValueInvalidError: If it does not match the annotation, or can't be kept.
        """
        if not self._is_judged:
            try:
                return self.encode(value, limit)
            except PayloadTooLargeError:
                raise
            except ValueInvalidError as error:
                refused = error
            try:
                value = self.validate(value)
            except ValueInvalidError:
                if isinstance(refused, EncodingError):
                    raise refused from None
                raise
            return self.encode(value, limit)
        return self.encode(self.validate(value), limit)

    def decode(self, data: bytes) -> Any:
        """Return the value that a record stands for. Nothing is judged anew.

        Raises:
            ValidationError: If it is not the record of such a value.
            UnreadableError: If only the type's own function can read it, and that has failed.
        """
        kind = self._kind or self._ready()
        record = read_json(data)
        try:
            return kind.load(record)
        except Misfit as misfit:
            raise ValidationError(_at(misfit)) from None
        except Unreadable as error:
            raise UnreadableError(str(error)) from error
        except Exception as error:
            raise ValidationError(f"the record is damaged: {_text_of(error)}") from error

    def understand(self, data: bytes) -> Any:
        """Return the value of a record that was written under another annotation, or by a person.

        Raises:
            ValidationError: If it does not match this one.
        """
        try:
            value = self.decode(data)
        except UnreadableError:
            raise
        except ValidationError as error:
            return self._judged_json(data, error)
        return self.validate(value) if self._is_judged else value

    def _judged_json(self, data: bytes, first: ValidationError) -> Any:
        """Return the value that plain data stands for: whoever wrote it did not know the type."""
        assert self._adapter is not None
        try:
            text = self._to_json(view(data))
            return self._adapter.validate_json(text, strict=True, by_alias=True, by_name=True)
        except BaseException as error:  # noqa: BLE001 - _invalid raises what is no verdict
            raise _invalid(error) from first

    def holds(self, value: Any) -> bool:
        """Return whether a value is of the annotation as it is, constraints aside."""
        try:
            self._ready().dump(value, Writing(_ROOM))
        except (Misfit, TooLarge, RecursionError):
            return False
        return True

    def decode_lax(self, data: bytes | str) -> Any:
        """Return the value that JSON typed by a person stands for: ``"7"`` is good enough for 7.

        Raises:
            ValidationError: If it does not match the annotation, or is not JSON.
        """
        self._ready()
        assert self._adapter is not None
        try:
            return self._adapter.validate_json(data, by_alias=True, by_name=True)
        except BaseException as error:
            raise _invalid(error) from error

    def validate(self, value: Any) -> Any:
        """Return the value as the annotation has it: an instance stays, a dict becomes a model.

        Raises:
            ValidationError: If it does not match the annotation.
        """
        self._ready()
        adapter = self._adapter
        assert adapter is not None
        try:
            return adapter.validate_python(value, strict=True, by_alias=True, by_name=True)
        except BaseException as error:  # noqa: BLE001 - _invalid raises what is no verdict
            first = _invalid(error)
        # A dict given for a model holds what JSON would, so it is judged as JSON, which is strict
        # about numbers and strings but knows how to make a model.
        try:
            data = self._to_json(
                value, by_alias=True, inf_nan_mode="constants", bytes_mode="base64"
            )
        except Exception:  # noqa: BLE001 - no JSON either; the first error says more
            raise first from None
        try:
            return adapter.validate_json(data, strict=True, by_alias=True, by_name=True)
        except BaseException as error:
            raise _invalid(error) from error

    def digest(self) -> str:
        """Return a short fingerprint of the shape: annotations whose records read alike have one.

        Names of classes, the order of fields, descriptions and the release of pydantic don't count.
        """
        if self._digest is None:
            import hashlib  # slow to load, and only needed once a workflow is compiled

            shape = json.dumps(self._ready().shape({}), sort_keys=True)
            self._digest = hashlib.sha256(shape.encode()).hexdigest()[:16]
        return self._digest

    @property
    def is_sure(self) -> bool:
        """Whether what was recorded can be read for ever, since no type's own function has to."""
        self._ready()
        return self._is_sure

    def _ready(self) -> Kind:
        if self._kind is None and not self.prepare():
            raise ValidationError(
                f"{self.annotation!r} names a class that is not defined yet; define it before use"
            )
        assert self._kind is not None
        return self._kind

    def _check_depth(self, data: bytes) -> None:
        """Raise if what was written is nested deeper than can be read."""
        try:
            read_json(data)
        except ValidationError:
            raise _refusal(too_deep()) from None

    def _judge(self, value: Any, data: bytes) -> None:
        """Raise if the constraints of the annotation don't hold."""
        assert self._adapter is not None
        for each in (lambda: value, lambda: self.decode(data)):  # as it was, or as it is recorded
            try:
                self._adapter.validate_python(each(), strict=True, by_alias=True, by_name=True)
            except BaseException as error:  # noqa: BLE001 - _invalid raises what is no verdict
                refusal = _invalid(error)
            else:
                return
        raise refusal


class _NotDefinedYet(Exception):  # noqa: N818
    """Pydantic can't finish a schema."""


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
    from gorkflow.values.scalars import SCALARS

    def of_class(cls: type) -> Kind | None:
        codec = codec_of(cls)
        try:
            return codec._kind if codec.prepare() else None  # noqa: SLF001 - our own class
        except ValidationError:
            return None

    return Free(SCALARS, of_class)


def read_json(data: bytes | str) -> Any:
    """Return what JSON says.

    Raises:
        ValidationError: If it is not JSON.
    """
    from pydantic_core import from_json

    try:
        return from_json(data)
    except ValueError as error:
        raise ValidationError(f"it is not JSON: {_text_of(error)}") from None


def view(data: bytes | str) -> Any:
    """Return what a record says, as plain data for people: no class is needed to read it.

    Raises:
        ValidationError: If it is not JSON.
    """
    return plain(read_json(data))


def views(texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what records say, by key, as plain data for people."""
    return {key: view(text) for key, text in texts.items()}


def _adapter_of(annotation: Any) -> pydantic.TypeAdapter[Any]:
    """Return what pydantic makes of an annotation.

    Raises:
        ValidationError: If it can't make anything of it.
    """
    import pydantic
    from pydantic.errors import PydanticUndefinedAnnotation

    # Models say for themselves how they do it, and refuse to be told.
    config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    try:
        try:
            return pydantic.TypeAdapter(annotation, config=config)
        except pydantic.PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return pydantic.TypeAdapter(annotation)
    except PydanticUndefinedAnnotation as error:
        raise _NotDefinedYet from error
    except pydantic.PydanticUserError as error:
        if error.code == "class-not-fully-defined":
            raise _NotDefinedYet from error
        raise ValidationError(_first_line(error)) from None
    except Exception as error:
        raise ValidationError(_first_line(error)) from error


def _foreign(annotation: Any, free: Kind) -> Kind:
    """Return the kind of a type that brings a schema of its own for pydantic.

    Raises:
        Misfit: If no value of it can be read back.
    """
    from pydantic_core import to_json

    from gorkflow.annotations import describe
    from gorkflow.values.union import Foreign

    if hasattr(annotation, "get_secret_value"):
        raise Misfit("a secret would be masked; hand on what it is stored under, not the secret")
    try:
        adapter = _adapter_of(annotation)
    except ValidationError as error:
        raise Misfit(str(error)) from None
    schema: Any = adapter.core_schema
    if schema.get("type") in _NO_VALUES:
        raise Misfit("none of its values can be read back")

    def write(value: Any) -> Any:
        return adapter.dump_python(value, mode="json", round_trip=True, warnings="error")

    def read(inner: Any, strict: bool) -> Any:  # noqa: FBT001
        return adapter.validate_json(to_json(inner), strict=strict, by_alias=True, by_name=True)

    return Foreign(describe(annotation), free, write, read)


def _has_long_number(data: bytes) -> bool:
    """Return whether there may be a number with more digits than can be read."""
    starts = range(0, len(data) - _WINDOW, _WINDOW)
    return any(data[start : start + _WINDOW].isdigit() for start in starts)


# ---- wording ----------------------------------------------------------------------------------


def _at(misfit: Misfit) -> str:
    place = misfit.place.removeprefix(".")
    if len(place) > _MAX_PLACE:
        place = f"{place[:_MAX_PLACE]}…"
    return _short(f"{place}: {misfit.reason}" if place else misfit.reason)


def _refusal(misfit: Misfit) -> ValidationError | EncodingError:
    return (EncodingError if misfit.unsayable else ValidationError)(_at(misfit))


def _too_large(limit: int, size: int | None = None) -> PayloadTooLargeError:
    found = "more" if size is None else f"{size:,} bytes"
    return PayloadTooLargeError(
        f"it is {found} as JSON, over the limit of {limit:,} bytes; store it elsewhere and hand on "
        "where, or raise Engine(max_payload=…)"
    )


def _is_ours(error: BaseException) -> bool:
    """Return whether an error is about the value, rather than a wish to stop the program."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _said(problem: Any) -> str:
    """Return what pydantic says of a value; where its type is wrong, with that type."""
    said: str = problem["msg"]
    if not problem["type"].endswith("_type"):
        return said
    value = problem["input"]
    return f"{said}, not {'None' if value is None else type(value).__name__}"


def _invalid(error: BaseException) -> ValidationError:
    """Return the error that says what pydantic, or a validator, said about a value."""
    import pydantic

    if isinstance(error, ValidationError) or not _is_ours(error):
        raise error
    if isinstance(error, RecursionError):
        return ValidationError("it is nested too deep")
    if not isinstance(error, pydantic.ValidationError):
        return ValidationError(f"a validator raised {type(error).__name__}: {_text_of(error)}")
    try:
        details = error.errors(include_url=False, include_context=False)
    except Exception:  # noqa: BLE001 - a custom error whose message can't be made
        return ValidationError("a validator's error could not be shown")
    lines = [_problem_at(item["loc"], _said(item)) for item in details[:_MAX_PROBLEMS]]
    if len(details) > _MAX_PROBLEMS:
        lines.append(f"and {len(details) - _MAX_PROBLEMS} more")
    return ValidationError("; ".join(lines))


def _problem_at(loc: tuple[int | str, ...], message: str) -> str:
    """Return what is wrong at a place inside a value."""
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return f"{_short(place)}: {_short(message)}" if place else _short(message)


def _dump_message(error: BaseException) -> str:
    """Return why a record could not be written, in our words."""
    text = _text_of(error).removeprefix("Error serializing to JSON: ")
    if "surrogates" in text:
        return (
            "it holds a lone surrogate, which UTF-8 can't say; decode the text with "
            "errors='replace'"
        )
    if "Circular" in text or "depth exceeded" in text:
        return "it contains itself, or is nested too deep for JSON"
    return text


def _first_line(error: BaseException) -> str:
    """Return the first line of an error, without pydantic's advice."""
    line = (_text_of(error).splitlines() or [type(error).__name__])[0]
    return line.partition(". Set `arbitrary_types_allowed")[0]


def _text_of(item: Any) -> str:
    """Return ``str(item)``, whatever that does."""
    try:
        return _short(str(item))
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return f"<{type(item).__name__}>"


def _short(text: str) -> str:
    """Return a text cut to a length that fits a message."""
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
