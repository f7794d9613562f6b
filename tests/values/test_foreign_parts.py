"""Types that only their own schema can read: what ``==`` leaves out has to come back, too."""

import datetime as dt
import zoneinfo
from typing import Any

import pytest
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from gorkflow.codec import codec_of
from gorkflow.errors import ValueInvalidError


class Moment(dt.datetime):
    """A datetime of somebody else's, as pendulum has one."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        def read(value: Any) -> "Moment":
            if isinstance(value, cls):
                return value
            found = dt.datetime.fromisoformat(value)
            return cls.combine(found.date(), found.timetz())

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.plain_serializer_function_ser_schema(cls.isoformat)
        )


class Number:
    """Is equal to all that hold an equal number."""

    def __init__(self, v: Any) -> None:
        self.v = v

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and self.v == other.v

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(float(value)),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda it: it.v),
        )


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Moment, Moment(2024, 3, 30, 9, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))),
        (Moment, Moment(2024, 10, 27, 2, 30, fold=1)),
        (Number, Number(True)),
        (Number, Number(2)),
    ],
)
def test_what_equality_leaves_out_is_refused(kind: type, value: Any):
    with pytest.raises(ValueInvalidError, match="come back"):
        codec_of(kind).encode(value)


@pytest.mark.parametrize(
    ("kind", "value"), [(Moment, Moment(2024, 3, 30, 9)), (Number, Number(2.5))]
)
def test_what_comes_back_whole_is_kept(kind: type, value: Any):
    codec = codec_of(kind)
    again = codec.decode(codec.encode(value))
    assert type(again) is kind
    assert again == value
