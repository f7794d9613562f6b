"""The judgement of pydantic on values from callers: the only place where validators run."""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, cast

from gorkflow.errors import EncodingError, PayloadTooLargeError, StepValueError
from gorkflow.values.kind import Kind, Misfit, Reading, Writing, too_deep
from gorkflow.values.secret import (
    hidden_part,
    holds_secret,
    without_defaults,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pydantic
    from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

_MAX_PROBLEMS = 5
_MAX_TEXT = 300
_MAX_PLACE = 100
_SAFE = frozenset({"missing", "extra_forbidden", "unexpected_keyword_argument", "json_invalid"})
"""Problems that pydantic words without the value."""


def at(misfit: Misfit) -> str:
    place = misfit.place.removeprefix(".")
    if len(place) > _MAX_PLACE:
        place = f"{place[:_MAX_PLACE]}…"
    return short(f"{place}: {misfit.reason}" if place else misfit.reason)


def refusal(misfit: Misfit) -> StepValueError | EncodingError:
    return (EncodingError if misfit.unsayable else StepValueError)(at(misfit))


def too_large(limit: int, size: int | None = None) -> PayloadTooLargeError:
    found = "more" if size is None else f"{size:,} bytes"
    return PayloadTooLargeError(
        f"it is {found} as JSON, over the limit of {limit:,} bytes; store it elsewhere and pass "
        "its place, or raise Engine(max_payload=…)"
    )


def _invalid(error: BaseException, kind: Kind | None) -> StepValueError:
    """Return the error that says what pydantic, or a validator, said about a value."""
    import pydantic

    if isinstance(error, StepValueError) or not is_verdict(error):
        raise error
    if isinstance(error, RecursionError):
        return StepValueError("it is nested too deep")
    if not isinstance(error, pydantic.ValidationError):
        return StepValueError(f"a validator raised {type(error).__name__}: {text_of(error)}")
    try:
        details = error.errors(include_url=False, include_context=False)
    except Exception:  # noqa: BLE001 - a custom error whose message can't be made
        return StepValueError("a validator's error could not be shown")
    problems = [_problem(item, kind) for item in details[:_MAX_PROBLEMS]]
    lines = [f"{place}: {said}" if place else said for place, said in problems]
    if len(details) > _MAX_PROBLEMS:
        lines.append(f"and {len(details) - _MAX_PROBLEMS} more")
    refused = StepValueError("; ".join(lines))
    refused.problems = tuple(problems)
    return refused


def is_verdict(error: BaseException) -> bool:
    """Return whether an error is about the value, rather than a wish to stop the program."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _problem(problem: Any, kind: Kind | None) -> tuple[str, str]:
    """Return the place of a problem, and what pydantic says of it."""
    loc, type_ = problem["loc"], problem["type"]
    part = None if kind is None or type_ in _SAFE else hidden_part(kind, loc)
    said = short(_said(problem))
    if part is None:
        return _place(loc), said
    return _place(loc[:part]), said if type_.endswith("_type") else "the secret does not fit"


def _said(problem: Any) -> str:
    """Return what pydantic says of a value; where its type is wrong, with that type."""
    said: str = problem["msg"]
    if not problem["type"].endswith("_type"):
        return said
    value = problem["input"]
    return f"{said}, not {'None' if value is None else type(value).__name__}"


def _place(loc: tuple[int | str, ...]) -> str:
    place = ""
    for part in loc:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return short(place)


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without pydantic's advice."""
    line = (text_of(error).splitlines() or [type(error).__name__])[0]
    return line.partition(". Set `arbitrary_types_allowed")[0]


def text_of(item: Any) -> str:
    """Return ``str(item)``, even if that raises."""
    try:
        return short(str(item))
    except Exception:  # noqa: BLE001 - somebody else's __str__
        return f"<{type(item).__name__}>"


def short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


_MAX_SIZE = 2**28


class NotDefinedYet(Exception):  # noqa: N818 - the codec asks again later
    """An annotation names a class that is still to be defined."""


class Judge:
    """Validates values of one annotation.

    If ``arbitrary``, pydantic takes values of a class that it does not know as they are.
    """

    def __init__(
        self, annotation: Any, kind: Kind | None = None, *, arbitrary: bool = False
    ) -> None:
        self.adapter = _adapter_of(annotation, arbitrary=arbitrary)
        self.kind = kind
        """Says where secrets are."""

    def invalid(self, error: BaseException) -> StepValueError:
        """Return the error that says what pydantic, or a validator, said about a value.

        It says nothing of the value where a secret stands. A text about what is around may.
        """
        return _invalid(error, self.kind)

    def cause(self, error: BaseException) -> BaseException | None:
        """Return what to show as the cause of that error: what pydantic says quotes the value."""
        return None if holds_secret(self.kind) else error

    def python(self, value: Any) -> Any:
        """Return what pydantic makes of a value, strictly; raises what pydantic does."""
        return self.adapter.validate_python(value, strict=True, by_alias=True, by_name=True)

    def json(self, data: bytes | str, *, strict: bool | None = True) -> Any:
        """Return what pydantic makes of JSON; raises what pydantic does."""
        return self.adapter.validate_json(data, strict=strict, by_alias=True, by_name=True)

    def dump(self, value: Any) -> Any:
        """Return plain data that is, as JSON, what ``json`` takes; raises what pydantic does."""
        return self.adapter.dump_python(
            value, mode="json", by_alias=self.has_one_alias, round_trip=True
        )

    def schema(self, *, by_alias: bool = True) -> dict[str, Any]:
        """Return the JSON schema of what ``json`` takes; a part without one may be anything."""
        return without_defaults(
            self.adapter.json_schema(by_alias=by_alias, schema_generator=_lenient_schemas())
        )

    @cached_property
    def has_one_alias(self) -> bool:
        """Whether each field is written under the name that it is read by."""
        written = self.adapter.json_schema(
            mode="serialization", schema_generator=_lenient_schemas()
        )
        return set(_keys(self.schema())) <= set(_keys(written))

    def validate(self, value: Any) -> Any:
        """Return the value as the annotation has it: an instance stays, a dict becomes a model."""
        from pydantic_core import to_json

        try:
            return self.python(value)
        except BaseException as error:  # noqa: BLE001 - `invalid` raises what is no verdict
            first = self.invalid(error)
        # A dict given for a model holds what JSON would, so it is judged as JSON, which is strict
        # about numbers and strings but knows how to make a model.
        try:
            check_size(value)
            data = to_json(value, by_alias=True, inf_nan_mode="constants", bytes_mode="base64")
        except Exception:  # noqa: BLE001 - it is no JSON; the first error says more
            raise first from None
        try:
            return self.json(data)
        except BaseException as error:  # noqa: BLE001 - as above
            raise self.invalid(error) from self.cause(error)

    def check(self, *values: Any) -> None:
        """Check the constraints of a value, in any of the forms that it has."""
        refused: StepValueError | None = None
        for value in values:
            try:
                self.python(value)
            except BaseException as error:  # noqa: BLE001 - `invalid` raises what is no verdict
                refused = refused or self.invalid(error)
            else:
                return
        assert refused is not None
        try:  # a validator may want what its serializer makes: Json, Base64Bytes
            again = self.json(self.adapter.dump_json(values[0], round_trip=True))
            is_same = type(again) is type(values[0]) and bool(again == values[0])
        except Exception:  # noqa: BLE001 - the first error says more
            is_same = False
        if not is_same:
            raise refused


class OwnJudge(Judge):
    """Validates values of an annotation that pydantic can't make anything of, and we can."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(object, kind)
        self._kind = kind

    def python(self, value: Any) -> Any:
        try:
            self._kind.dump(value, Writing(_MAX_SIZE))
        except Misfit as misfit:
            raise refusal(misfit) from None
        return value

    def json(self, data: bytes | str, *, strict: bool | None = True) -> Any:
        try:
            return self._kind.load(super().json(data), Reading())
        except Misfit as misfit:
            raise refusal(misfit) from None


def _keys(schema: object) -> Iterator[str]:
    """Yield the names of all properties in a JSON schema."""
    if isinstance(schema, dict):
        found = cast("dict[str, object]", schema)
        properties = found.get("properties")
        if isinstance(properties, dict):
            yield from cast("dict[str, object]", properties)
        for part in found.values():
            yield from _keys(part)
    elif isinstance(schema, list):
        for part in cast("list[object]", schema):
            yield from _keys(part)


@cache
def _lenient_schemas() -> type[GenerateJsonSchema]:
    """Return pydantic's maker of schemas, for whom no part of an annotation is an error."""
    from pydantic.json_schema import GenerateJsonSchema

    class Lenient(GenerateJsonSchema):
        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
            return {}

        def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
            """Say nothing: what is left out of a schema is judged all the same."""

    return Lenient


def check_size(value: Any) -> None:
    """Check that a value has an end: one that shares its parts may be endless as JSON."""
    try:
        size = _size(value, {})
    except RecursionError:
        size = math.inf
    if size == math.inf:
        raise refusal(too_deep())
    if size > _MAX_SIZE:
        raise too_large(_MAX_SIZE)


def _size(value: Any, known: dict[int, float]) -> float:
    """Return how many parts and characters a value has, each as often as it is used."""
    parts: Any = ()
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif hasattr(value, "__pydantic_fields_set__"):  # a model
        parts = vars(value).values()
    found = known.get(id(value)) if parts else 1
    if found is None:
        known[id(value)] = math.inf  # as it is if it contains itself
        found = known[id(value)] = 1 + sum(_size(part, known) for part in parts)
    return found


def _adapter_of(annotation: Any, *, arbitrary: bool) -> pydantic.TypeAdapter[Any]:
    import pydantic
    from pydantic.errors import PydanticUndefinedAnnotation

    # Models say for themselves how they do it, and refuse to be told.
    config = pydantic.ConfigDict(
        ser_json_bytes="base64",
        val_json_bytes="base64",
        allow_inf_nan=True,  # else pydantic takes a NaN as a float, but not as a Decimal
        arbitrary_types_allowed=arbitrary,
    )
    try:
        try:
            return pydantic.TypeAdapter(annotation, config=config)
        except pydantic.PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            return pydantic.TypeAdapter(annotation)
    except PydanticUndefinedAnnotation as error:
        raise NotDefinedYet(str(error)) from error
    except pydantic.PydanticUserError as error:
        if error.code == "class-not-fully-defined":
            raise NotDefinedYet(str(error)) from error
        raise StepValueError(first_line(error)) from None
    except Exception as error:
        raise StepValueError(first_line(error)) from error
