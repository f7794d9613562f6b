"""Values to JSON bytes and back: the only place that knows pydantic, and it imports it late.

Every value crosses a step boundary as strict JSON and is rebuilt with an annotation. What can't
make the trip unchanged fails where it was produced, by name: it is written, then read back under
its own annotation before anybody gets to see it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gorkflow._plain import (
    dump_message,
    first_line,
    is_choice,
    leaves,
    mismatches,
    problem_at,
    survey,
    text_of,
    union_choices,
    unsayable,
    without_notes,
)
from gorkflow.errors import EncodingError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pydantic

_MAX_PROBLEMS = 5
# Bytes that betray a value JSON has no word for: a non-finite float is written as null, NaN or
# Infinity; a lone surrogate in a key as U+FFFD; a secret as asterisks.
_REPLACED = b"\xef\xbf\xbd"
_MASKED = b'"**********"'
# Schemas that can hold a non-finite float behind a null, as far as the schema can tell.
_OPAQUE_SCHEMAS = frozenset(
    {
        "any",
        "callable",
        "complex",
        "custom-error",
        "decimal",
        "float",
        "function-after",
        "function-before",
        "function-plain",
        "function-wrap",
        "generator",
        "is-instance",
        "json",
        "lax-or-strict",
    }
)
# Schemas of which JSON says all: what reads back equal was of the annotation.
_PLAIN_SCHEMAS = frozenset({"None", "none", "bool", "dict", "int", "list", "nullable", "str"})
_UNEXPECTED = re.compile(
    r"PydanticSerializationUnexpectedValue\(Expected `([^`]*)`"
    r".*?\[(?:field_name='(\w+)', )?input_value=.*?input_type=([\w.]+)\]",
    re.DOTALL,
)


class Codec:
    """Writes and reads the values of one annotation. Get it with ``codec_of``."""

    __slots__ = (
        "_adapter",
        "_digest",
        "_dump",
        "_has_unions",
        "_is_plain",
        "_null_is_suspect",
        "_read",
        "annotation",
        "by_alias",
    )

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._digest: str | None = None
        self._adapter: pydantic.TypeAdapter[Any] | None = None
        self._has_unions = False
        self._is_plain = False
        self._null_is_suspect = True
        self.by_alias = True
        self._dump: Callable[..., bytes] = self._unprepared
        self._read: Callable[..., Any] = self._unprepared

    def __repr__(self) -> str:
        """Return the annotation it stands for."""
        return f"Codec({self.annotation!r})"

    def prepare(self) -> bool:
        """Get the annotation ready for use, unless that was done.

        Returns:
            Whether it is ready; not so when it names classes that are still to be defined.

        Raises:
            ValidationError: no value of this annotation can be written as JSON.
        """
        import pydantic
        from pydantic.errors import PydanticUndefinedAnnotation

        if self._adapter is not None:
            return True
        try:
            adapter = _adapter_of(self.annotation)
            schema = adapter.core_schema
            dump, read = adapter.serializer.to_json, adapter.validator.validate_json
        except PydanticUndefinedAnnotation:
            return False
        except pydantic.PydanticUserError as error:
            if error.code == "class-not-fully-defined":
                return False
            raise ValidationError(first_line(error)) from None
        except Exception as error:
            raise ValidationError(first_line(error)) from error
        kinds, renamed = survey(schema)
        self.by_alias = not renamed
        self._null_is_suspect = not kinds.isdisjoint(_OPAQUE_SCHEMAS)
        self._is_plain = kinds <= _PLAIN_SCHEMAS
        self._has_unions = "union" in kinds
        self._dump, self._read = dump, read
        self._adapter = adapter
        return True

    def encode(self, value: Any) -> bytes:
        """Return the value as strict JSON, checked to read back under the annotation.

        Raises:
            EncodingError: it holds something that JSON can't say: NaN, an infinity, a lone
                surrogate, an unknown class, a cycle, too many levels.
            ValidationError: it does not match the annotation.
        """
        if self._is_plain and (data := self._encode_plain(value)) is not None:
            return data
        try:
            data = self._dump(value, by_alias=self.by_alias, round_trip=True, warnings="error")
        except BaseException as error:
            self._explain_dump(value, error)
            raise
        if b"NaN" in data or b"Infinity" in data:
            self._refuse_disguised(value)
        suspect = (
            (self._null_is_suspect and b"null" in data) or _REPLACED in data or _MASKED in data
        )
        try:
            again = self._read(data, strict=True, by_alias=True, by_name=True)
        except BaseException as error:
            if suspect:
                self._refuse_disguised(value)
            raise _invalid(error, encoding=True) from error
        if suspect and not _same(value, again):
            self._refuse_disguised(value)
        if self._has_unions:
            self._refuse_confused(value, again)
        return data

    def _encode_plain(self, value: Any) -> bytes | None:
        """Return a plain value as JSON; ``None`` where it takes a closer look.

        To have pydantic refuse what is of another type takes three times as long as all of this.
        """
        try:
            data = self._dump(value, round_trip=True, warnings=False)
            again = self._read(data, strict=True)
            same = type(again) is type(value) and again == value
        except BaseException as error:
            if _is_ours(error):
                return None
            raise
        return data if same is True else None  # a subclass may say anything

    def decode(self, data: bytes) -> Any:
        """Return the value that strict JSON stands for.

        Raises:
            ValidationError: it does not match the annotation, or is no JSON.
        """
        try:
            return self._read(data, strict=True, by_alias=True, by_name=True)
        except BaseException as error:
            raise _invalid(error) from error

    def decode_lax(self, data: bytes | str) -> Any:
        """Return the value that JSON typed by a person stands for: ``"7"`` is good enough for 7.

        Raises:
            ValidationError: it does not match the annotation, or is no JSON.
        """
        try:
            return self._read(data, by_alias=True, by_name=True)
        except BaseException as error:
            raise _invalid(error) from error

    def validate(self, value: Any) -> Any:
        """Return the value as the annotation has it: an instance stays, a dict becomes a model.

        Raises:
            ValidationError: it does not match the annotation.
        """
        adapter = self._ready()
        try:
            return adapter.validate_python(value, strict=True, by_alias=True, by_name=True)
        except BaseException as error:  # noqa: BLE001 - _invalid raises what is no verdict
            first = _invalid(error)
        from pydantic_core import to_json

        # A dict given for a model holds what JSON would, so it is judged as JSON, which is strict
        # about numbers and strings but knows how to make a model.
        try:
            data = to_json(value, by_alias=True, inf_nan_mode="constants")
        except Exception:  # noqa: BLE001 - no JSON either; the first error says more
            raise first from None
        return self.decode(data)

    def digest(self) -> str:
        """Return a short fingerprint of the JSON schema: the same shape gives the same digest."""
        if self._digest is None:
            import hashlib  # slow to load, and only needed once a workflow is compiled

            self._digest = hashlib.sha256(self._shape().encode()).hexdigest()[:16]
        return self._digest

    def _shape(self) -> str:
        try:
            schema = self._ready().json_schema()
            return json.dumps(without_notes(schema), sort_keys=True)
        except Exception:  # noqa: BLE001 - an annotation without a schema still has a name
            return repr(self.annotation).split(" at 0x", 1)[0]

    def _ready(self) -> pydantic.TypeAdapter[Any]:
        if self._adapter is None and not self.prepare():
            raise ValidationError(
                f"{self.annotation!r} names a class that is not defined yet; define it before use"
            )
        assert self._adapter is not None
        return self._adapter

    def _unprepared(self, value: Any, **how: Any) -> Any:
        """Prepare on first use, then do what was asked."""
        self._ready()
        if "round_trip" in how:
            return self._dump(value, **{**how, "by_alias": self.by_alias})
        return self._read(value, **how)

    def _explain_dump(self, value: Any, error: BaseException) -> None:
        """Raise what is wrong with a value that could not be written."""
        if isinstance(error, ValidationError) or not _is_ours(error):
            return
        try:
            self._ready().validate_python(value, strict=True, by_alias=True, by_name=True)
        except BaseException as mismatch:
            if isinstance(error, RecursionError) or "Circular" in text_of(error):
                raise EncodingError("it contains itself, or is nested too deep for JSON") from error
            raise _invalid(mismatch) from mismatch
        unexpected = _UNEXPECTED.search(str(error))
        if unexpected is not None:
            expected, field, given = unexpected.groups()
            place = f"{field}: " if field else ""
            raise ValidationError(f"{place}expected {expected}, not a value of type {given}")
        raise EncodingError(dump_message(error)) from error

    def _refuse_disguised(self, value: Any) -> None:
        """Raise if a suspicious piece of JSON hides a value that JSON can't say."""
        try:
            plain = self._ready().dump_python(value, round_trip=True, warnings=False)
        except Exception as error:
            raise EncodingError(dump_message(error)) from error
        for place, leaf in leaves(plain):
            if problem := unsayable(leaf):
                raise EncodingError(f"{place}: {problem}" if place else problem)

    def _refuse_confused(self, value: Any, again: Any) -> None:
        """Raise if a member of a union, however deep inside, reads back as another one."""
        choices: set[object] | None = None
        for place, old, new in mismatches(value, again):
            if choices is None:
                choices = union_choices(self._ready().core_schema)
            if is_choice(old, choices) and is_choice(new, choices):
                where = f"{place.removeprefix('.')}: " if place else ""
                raise ValidationError(
                    f"{where}a {type(old).__name__} reads back as a {type(new).__name__}; use "
                    "models or dataclasses as members of the union, with a Literal field that "
                    "tells them apart"
                )


_cache: dict[Any, Codec] = {}
_by_identity: dict[int, tuple[Any, Codec]] = {}
_MAX_IDENTITIES = 10_000


def codec_of(annotation: Any) -> Codec:
    """Return the codec of an annotation, the same one each time."""
    # By identity first: to hash an annotation, and to show it, takes longer than to decode a value.
    same = _by_identity.get(id(annotation))
    if same is not None:
        return same[1]
    codec = _equal_codec(annotation)
    if len(_by_identity) >= _MAX_IDENTITIES:
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
            codec = _cache[key] = Codec(annotation)
    except Exception:  # noqa: BLE001 - unhashable, or metadata with an odd __eq__ or __repr__
        codec = Codec(annotation)
    return codec


def _adapter_of(annotation: Any) -> pydantic.TypeAdapter[Any]:
    import pydantic

    # Bytes need not be UTF-8, and a NaN must show. Models say for themselves how they do it, and
    # refuse to be told.
    config = pydantic.ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
    )
    try:
        return pydantic.TypeAdapter(annotation, config=config)
    except pydantic.PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return pydantic.TypeAdapter(annotation)


def _same(value: Any, again: Any) -> bool:
    """Return whether a value came back equal, so that nothing in it was disguised."""
    try:
        return bool(value == again)
    except Exception:  # noqa: BLE001 - somebody else's __eq__
        return False


def _is_ours(error: BaseException) -> bool:
    """Return whether an error is about the value, rather than a wish to stop the program."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _told(problem: Any) -> str:
    """Return what pydantic says of a value; where its type is wrong, with that type."""
    told: str = problem["msg"]
    if not problem["type"].endswith("_type"):
        return told
    value = problem["input"]
    return f"{told}, not {'None' if value is None else type(value).__name__}"


def _invalid(error: BaseException, *, encoding: bool = False) -> ValidationError | EncodingError:
    """Return the error that tells what pydantic, or a validator, said about a value."""
    import pydantic

    if isinstance(error, ValidationError) or not _is_ours(error):
        raise error
    if isinstance(error, RecursionError):
        return ValidationError("it is nested too deep")
    if not isinstance(error, pydantic.ValidationError):
        return ValidationError(f"a validator raised {type(error).__name__}: {text_of(error)}")
    try:
        details = error.errors(include_url=False, include_context=False)
    except Exception:  # noqa: BLE001 - a custom error whose message can't be made
        return ValidationError("a validator's error could not be shown")
    if encoding and details and details[0]["type"] == "json_invalid":
        return EncodingError(f"it can't be read back: {details[0]['msg']}")
    lines = [problem_at(item["loc"], _told(item)) for item in details[:_MAX_PROBLEMS]]
    if len(details) > _MAX_PROBLEMS:
        lines.append(f"and {len(details) - _MAX_PROBLEMS} more")
    return ValidationError("; ".join(lines))
