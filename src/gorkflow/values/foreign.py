"""The kinds of types that bring a schema of their own for pydantic, which alone can read them."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from gorkflow.errors import StepValueError
from gorkflow.values.classes import is_same
from gorkflow.values.judge import Judge, is_verdict, text_of
from gorkflow.values.kind import (
    MARK,
    MASKED,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Unreadable,
    Writing,
    is_alike_by_identity,
    label_of,
    type_name,
)

_LAX = "$lax"
_UNKNOWN = ("Unable to generate", "Error building")
_MAX_TAKEN = 1_000
_NO_VALUES = frozenset({"callable", "is-subclass", "is-instance", "generator", "never"})


class Foreign(Kind):
    """A type that only its own schema can read. Parts without such help are kept by ``free``."""

    def __init__(self, annotation: Any, name: str, free: Kind) -> None:
        if hasattr(annotation, "get_secret_value"):
            raise Misfit(MASKED)
        none = Misfit(
            f"no value of {name} can be read back; keep it elsewhere and pass its place, or its "
            "fields in a model or dataclass"
        )
        try:
            self._judge = Judge(annotation, arbitrary=True)
        except StepValueError as error:
            said = str(error)  # that something is not installed, for example
            raise none if said.startswith(_UNKNOWN) else Misfit(said) from None
        if _kernel(self._judge.adapter.core_schema) in _NO_VALUES:
            raise none
        self.name = name
        self.labels = frozenset({"*", f"{name}()"})
        self._free = free
        self._taken: dict[type, bool] = {}

    def dump(self, value: Any, writing: Writing) -> Any:
        room = writing.room
        try:
            record, _, size = writing.attempt(self._free, value)
        except Misfit as misfit:
            refused = misfit
        else:
            if not self._takes(value):
                raise Misfit(f"expected {self.name}, not {type_name(value)}")
            writing.room = room - size
            return record
        try:
            inner = self._judge.adapter.dump_python(
                value, mode="json", round_trip=True, warnings="error"
            )
            is_strict = self._is_same(value, inner, strict=True)
            is_same = is_strict or self._is_same(value, inner, strict=False)
        except Exception as error:  # noqa: BLE001 - anybody's code
            if refused.place:
                raise refused from None
            raise Misfit(f"a {type_name(value)} can't be written: {text_of(error)}") from None
        if not is_same:
            raise Misfit(f"a {type_name(value)} does not come back as it was; pass a text")
        record = {MARK: f"{self.name}()", VALUE: self._free.dump(inner, writing)}
        return record if is_strict else {**record, _LAX: True}

    def _takes(self, value: Any) -> bool:
        """Return whether the type leaves values of this class what they are, or says nothing."""
        cls: type = type(value)
        if cls not in self._taken:
            if len(self._taken) >= _MAX_TAKEN:
                self._taken.clear()
            try:
                self._taken[cls] = type(self._judge.python(value)) is cls
            except Exception:  # noqa: BLE001 - whoever made the value has judged it, or will
                return True
        return self._taken[cls]

    def _is_same(self, value: Any, inner: Any, *, strict: bool) -> bool:
        try:
            again = self._judge.json(to_json(inner), strict=strict)
            if type(again) is not type(value):
                return False
            if is_alike_by_identity(value):
                return bool(vars(again) == vars(value))
            return bool(again == value) and is_same(value, again)
        except Exception:  # noqa: BLE001 - anybody's code
            return False

    def load(self, record: Any, reading: Reading) -> Any:
        if label_of(record) != f"{self.name}()":
            return self._free.load(record, reading)
        inner = self._free.load(record.get(VALUE), reading)
        try:
            return self._judge.json(to_json(inner), strict=not record.get(_LAX))
        except BaseException as error:
            if not is_verdict(error):
                raise
            raise Unreadable(
                f"the type {self.name} can't read what it wrote: {type(error).__name__}: "
                f"{text_of(error)}"
            ) from error

    def shape(self, shapes: Shapes) -> Any:
        return ["foreign", self.name]


def _kernel(schema: Any) -> str:
    """Return the type of a schema inside of functions around it."""
    wraps = ("function-", "custom-error")
    while str(schema.get("type")).startswith(wraps) and "schema" in schema:
        if "serialization" in schema and schema["type"] != "function-after":
            break  # it makes such values from what it writes
        schema = schema["schema"]
    return str(schema.get("type"))
