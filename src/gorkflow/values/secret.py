"""Secrets: values that no view shows.

The record of a secret says that it is one, wherever it stands. So a view needs neither the code nor
the tree to leave it out.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from gorkflow.values.kind import (
    MARK,
    SECRET,
    VALUE,
    Kind,
    Misfit,
    Reading,
    Shapes,
    Unreadable,
    Writing,
)

HEAD: Final = b'{"$":"secret","$v":'
"""The first bytes of a secret's record, as they stand in the record around it."""
_TEXT = HEAD.decode()
_ROOM = len(HEAD) + 1
_Schema = dict[str, Any]


class Secret:
    """Marks a value that no view shows: ``Annotated[str, Secret]``.

    The value travels, and lies in the store, in plain. Command line, page, drawings, logs and
    traces show ``•••`` in its place, also within messages. Python gets it as it is.

    Example:
        >>> from typing import Annotated
        >>> from pydantic import BaseModel
        >>> from gorkflow import Secret, Workflow, run, step
        >>> class Login(BaseModel):
        ...     user: str
        ...     token: Annotated[str, Secret]
        >>> @step
        ... def length(login: Login) -> int:
        ...     return len(login.token)
        >>> flow = Workflow("length", input=Login).then(length)
        >>> run(flow, Login(user="ann", token="hunter2"), store="memory:")
        7
    """

    def __repr__(self) -> str:
        """Return it as it is written: an annotation that has it reads the same each time."""
        return "Secret()"

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> _Schema:
        """Return the JSON schema of a secret: forms hide what is typed."""
        found: _Schema = handler(schema)
        return {**found, "format": "password", "writeOnly": True}


def is_secret(note: object) -> bool:
    """Return whether a note of an annotation says that the value is a secret."""
    return note is Secret or isinstance(note, Secret)


class Hidden(Kind):
    """The kind of a secret: what its value has without it, and a mark around the record.

    Args:
        inner: the kind of the value.
    """

    is_hidden = True

    def __init__(self, inner: Kind) -> None:
        self.inner = inner
        self.cls = inner.cls
        self.label = inner.label
        self.classes = inner.classes
        self.labels = inner.labels | {SECRET}

    def dump(self, value: Any, writing: Writing) -> Any:
        writing.take(_ROOM)
        try:
            return {MARK: SECRET, VALUE: self.inner.dump(value, writing)}
        except Misfit as misfit:
            raise _silent(misfit, self.inner) from None

    def load(self, record: Any, reading: Reading) -> Any:
        """Return the value; one that was recorded before it was a secret has no mark."""
        inner = record[VALUE] if is_marked(record) else record
        try:
            return self.inner.load(inner, reading)
        except Misfit as misfit:
            raise _silent(misfit, self.inner) from None
        except Unreadable:
            raise Unreadable("the type of a secret can't read what it wrote") from None

    def shape(self, shapes: Shapes) -> Any:
        return self.inner.shape(shapes)  # it reads the same, so the code of a run may change

    def parts(self) -> Iterable[Kind | None]:
        return (self.inner,)


def holds_secret(kind: Kind | None, known: set[int] | None = None) -> bool:
    """Return whether values of a kind may have a secret in them."""
    known = set() if known is None else known
    if kind is None or id(kind) in known:
        return False
    known.add(id(kind))
    fields: Any = getattr(kind, "fields", ())
    inner = (*kind.parts(), *(field.kind for field in fields))
    return kind.is_hidden or any(holds_secret(each, known) for each in inner)


def _silent(misfit: Misfit, kind: Kind) -> Misfit:
    """Return a misfit of a secret, whose reason may quote it, in other words."""
    what = kind.label or "what its annotation says"
    return Misfit(f"the secret is not {what}, and is not shown", unsayable=misfit.unsayable)


# ---- what a validator says -----------------------------------------------------------------------


def hidden_part(kind: Kind, loc: Sequence[int | str]) -> int | None:
    """Return how much of a place, as pydantic says it, leads to a secret; ``None``: it does not."""
    found = _choices([kind])
    for at, part in enumerate((*loc, None)):
        if any(each.is_hidden for each in found):
            return at
        found = _choices(_inside(found, part)) or found
    return None


def _inside(kinds: list[Kind], part: int | str | None) -> Iterable[Kind | None]:
    """Yield what a part of a place may lead to: a key, an index, or the name of a choice."""
    for kind in kinds:
        for place, field in enumerate(_fields(kind)):
            if part in _names(kind, field.name) or (place == part and issubclass(kind.cls, tuple)):
                yield field.kind
        if not _fields(kind):
            yield from (kind, *kinds) if kind.is_choice else kind.parts()


def _choices(kinds: Iterable[Kind | None]) -> list[Kind]:
    """Return kinds, and all that they choose from or stand for."""
    found: dict[int, Kind] = {}
    rest = list(kinds)
    while rest:
        kind = rest.pop()
        if kind is not None and id(kind) not in found:
            found[id(kind)] = kind
            if getattr(kind.cls, "__pydantic_root_model__", False):
                rest += [field.kind for field in _fields(kind)]
            elif kind.is_choice:
                rest += kind.parts()
    return list(found.values())


def hidden_record(kind: Kind, value: Any) -> str:
    """Return the record of a secret: all that a value, fit or not, has where secrets may stand.

    The defaults of secrets belong to it.
    """
    return json.dumps({MARK: SECRET, VALUE: list(_hidden_values(kind, value, frozenset()))})


def _hidden_values(
    kind: Kind | None, value: Any, seen: frozenset[tuple[int, int]]
) -> Iterable[str]:
    if kind is None or not holds_secret(kind) or (id(kind), id(value)) in seen:
        return
    seen |= {(id(kind), id(value))}
    if kind.is_hidden or not _parts(value):
        yield from _texts(value)  # a validator may make a part of what has none
    elif _fields(kind):
        yield from _of_fields(kind, value, seen)
    else:
        items = [value] if kind.is_choice else _parts(value).values()
        for each in kind.parts():
            for item in items:
                yield from _hidden_values(each, item, seen)


def _of_fields(kind: Kind, value: Any, seen: frozenset[tuple[int, int]]) -> Iterable[str]:
    known = {name: field.kind for field in _fields(kind) for name in _names(kind, field.name)}
    for key, item in _parts(value).items():
        # Nobody knows what is not a field; it may be meant for a secret.
        yield from _hidden_values(known[key], item, seen) if key in known else _texts(item)
    for field in _fields(kind):
        with contextlib.suppress(Exception):  # a factory is anybody's code
            default = field.default and field.default({})
            yield from _hidden_values(field.kind, default, seen)


def _parts(value: Any) -> Mapping[Any, Any]:
    """Return what a value consists of, by key, index or attribute."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        names: Any = getattr(value, "_fields", None) or range(len(value))
        return dict(zip(names, value, strict=False))
    return getattr(value, "__dict__", {})


def _texts(value: Any) -> Iterable[str]:
    parts = _parts(value)
    for item in parts.values():
        yield from _texts(item)
    if isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif value is not None and not parts and not isinstance(value, bool):
        yield str(value)


def _fields(kind: Kind) -> Sequence[Any]:
    return getattr(kind, "fields", ())


def _names(kind: Kind, name: str) -> set[Any]:
    """Return all names that callers may give a field."""
    info: Any = getattr(kind.cls, "__pydantic_fields__", {}).get(name)
    found = {name}
    aliases = [getattr(info, "alias", None), getattr(info, "validation_alias", None)]
    while aliases:
        alias = aliases.pop()
        if isinstance(alias, str):
            found.add(alias)
        elif alias is not None:  # one of several, or a path
            aliases += getattr(alias, "choices", None) or alias.path[:1]
    return found


# ---- schemas -------------------------------------------------------------------------------------

_MAPS = frozenset({"$defs", "properties", "patternProperties"})
_DATA = frozenset({"const", "default", "enum", "examples"})


def without_defaults(schema: _Schema) -> _Schema:
    """Return a JSON schema without the defaults and examples of parts that may hold a secret."""
    known: _Schema = schema.get("$defs", {})
    found: _Schema = _without(schema, known)
    return found


def _without(schema: Any, known: _Schema) -> Any:
    if isinstance(schema, list):
        return [_without(each, known) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made: _Schema = {}
    for key, item in schema.items():
        if key in _MAPS:
            made[key] = {name: _without(each, known) for name, each in item.items()}
        elif key not in _DATA:
            made[key] = _without(item, known)
        elif not _hides(schema, known, set()):
            made[key] = item
    return made


def _hides(schema: Any, known: _Schema, seen: set[str]) -> bool:
    """Return whether a value of a JSON schema may hold a secret."""
    if isinstance(schema, list):
        return any(_hides(each, known, seen) for each in schema)
    if not isinstance(schema, dict):
        return False
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name and name not in seen:
        seen.add(name)
        if _hides(known.get(name), known, seen):
            return True
    return schema.get("writeOnly") is True or any(
        _hides(list(item.values()) if key in _MAPS else item, known, seen)
        for key, item in schema.items()
        if key not in _DATA and key != "$defs"
    )


# ---- records -------------------------------------------------------------------------------------


def has_mark(data: bytes | str) -> bool:
    """Return whether there is a secret in a record."""
    return HEAD in data if isinstance(data, bytes) else _TEXT in data


def is_marked(record: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a record is that of a secret."""
    return type(record) is dict and record.get(MARK) == SECRET and VALUE in record


def secrets_in(record: Any) -> Iterable[Any]:
    """Yield what the secrets in a record hold."""
    if is_marked(record):
        yield record[VALUE]
    elif type(record) is dict:
        for item in record.values():
            yield from secrets_in(item)
    elif type(record) is list:
        for item in record:
            yield from secrets_in(item)


def replaced(record: Any, stand_in: Any) -> Any:
    """Return a record with something else in the place of each secret.

    Args:
        record: the record.
        stand_in: a function that returns it, given what the secret holds.
    """
    if is_marked(record):
        return stand_in(record[VALUE])
    if type(record) is dict:
        return {key: replaced(item, stand_in) for key, item in record.items()}
    if type(record) is list:
        return [replaced(item, stand_in) for item in record]
    return record


def bare(record: Any) -> Any:
    """Return a record without the marks of secrets."""
    return replaced(record, bare)
