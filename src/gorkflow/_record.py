"""Records: dataclasses that are cheap to define, for data that no store writes as JSON.

To type checkers a record is a frozen dataclass. At run time it is one with slots whose fields are
not guarded. All records share ``==``, ``hash`` and ``repr``, and a constructor is compiled at its
first use: most programs make few of them. The classes that users see are ``guarded``: slower to
make, and really frozen. Users pickle them, take them apart with ``dataclasses`` and hand them to
pydantic, so they are dataclasses. Events and flow trees are structs of msgspec.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, make_dataclass
from functools import wraps
from operator import attrgetter
from typing import Any, TypeVar, cast, dataclass_transform

from gorkflow._text import similar

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., None]")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a class a record. Do not change one in place; a type checker rejects it."""
    return _made(cls, kw_only=False)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def named_record(cls: type[T]) -> type[T]:
    """Make a class a record whose fields are given by name."""
    return _made(cls, kw_only=True)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def guarded(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Return a decorator for records that refuse to be changed: for what callers get to see."""
    return lambda cls: _made(cls, kw_only=kw_only, frozen=True)


def _made(cls: type[T], *, kw_only: bool, frozen: bool = False) -> type[T]:
    made: Any = dataclass(slots=True, init=False, eq=False, repr=False, kw_only=kw_only)(cls)
    values = attrgetter(*(item.name for item in fields(made)))
    shared: dict[str, Any] = {
        "_values": values, "__eq__": _equal, "__hash__": _hash, "__repr__": _repr
    }  # fmt: skip
    if frozen:
        shared |= {"__setattr__": _refuse, "__delattr__": _refuse, "__reduce__": _reduce}
    for name, item in shared.items():
        if name not in made.__dict__:
            setattr(made, name, item)
    made.__init__ = _Constructor(made, frozen=frozen)
    return cast("type[T]", made)


def suggesting(init: F) -> F:
    """Make a constructor say what was probably meant by an option that it does not have."""
    known = list(inspect.signature(init).parameters)[1:]

    @wraps(init)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        for name in options:
            if name not in known:
                near = similar(name, known, 0.5)
                hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}"
                raise TypeError(f"{type(self).__name__} has no option {name!r}; {hint}")
        init(self, *args, **options)

    return cast("F", checked)


class _Constructor:
    """The ``__init__`` of a record until it is used: then it is compiled."""

    def __init__(self, cls: Any, *, frozen: bool) -> None:
        self._cls = cls
        self._frozen = frozen

    def __get__(self, instance: object, owner: type) -> Any:
        cls = self._cls
        after = getattr(cls, "__post_init__", None)
        like = make_dataclass(
            cls.__name__,
            [(item.name, item.type, item) for item in fields(cls)],
            namespace={} if after is None else {"__post_init__": after},
            eq=False,
            repr=False,
            frozen=self._frozen,
        )
        init = vars(like)["__init__"]
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        if self._frozen:
            init = suggesting(init)
        cls.__init__ = init
        return init.__get__(instance, owner)


def _refuse(self: Any, name: str, *_: object) -> None:
    raise FrozenInstanceError(f"{name} of a {type(self).__name__} can't be changed; make another")


def _reduce(self: Any) -> tuple[Any, ...]:
    """Let it be copied and pickled, which else would set its fields one by one."""
    return _remade, (type(self), [getattr(self, item.name) for item in fields(self)])


def _remade(cls: type[Any], values: list[Any]) -> Any:
    item: Any = object.__new__(cls)
    for each, value in zip(fields(cls), values, strict=True):
        object.__setattr__(item, each.name, value)
    return item


def _equal(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._values(self) == self._values(other)


def _hash(self: Any) -> int:
    return hash(self._values(self))


def _repr(self: Any) -> str:
    shown = (f"{item.name}={getattr(self, item.name)!r}" for item in fields(self))
    return f"{type(self).__qualname__}({', '.join(shown)})"
