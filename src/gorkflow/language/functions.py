"""The functions of a workflow: which are the same, which data they hold, which steps they call.

A function is its code, its defaults and what it closes over. Neither its place in a file nor
its name is a part of it: a lambda that is made anew for each request is the same each time.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import linecache
import re
from collections import deque
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from itertools import islice
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from gorkflow.language.signature import PACKAGE, unwrapped
from gorkflow.language.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gorkflow.definition import Definition

_SCALARS = (bool, int, float, complex, Decimal, date, time, timedelta, UUID, PurePath, Enum)
_MOST = 10_000  # values that are compared; what holds more is taken for another
_LINE = re.compile(r"<lambda in line \d+>")
_DEEP = 5  # levels of lists and the like that are looked into for data
_MARKS = ("__pydantic_fields__", "__array__")  # of models, arrays and data frames
_NOTHING: Any = object()
_Def = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def same(one: Any, other: Any) -> bool:
    """Return whether two functions are the same: equal code, defaults and closed-over values."""
    try:
        return _Comparison().same(one, other)
    except Exception:  # noqa: BLE001 - somebody else's __eq__ or __repr__, or nested too deep
        return False


def is_bare(fn: Callable[..., Any]) -> bool:
    """Return whether a function holds nothing that may change: another one can stand in for it."""
    return (
        type(fn) is FunctionType
        and not fn.__closure__
        and all(type(value) in _SCALARS or type(value) is str for _, value in _defaults(fn))
    )


class _Comparison:
    def __init__(self) -> None:
        self._met: set[tuple[int, int]] = set()
        self._alive: list[Any] = []  # what was made to be compared, so that its id stays taken

    def same(self, one: Any, other: Any) -> bool:
        if one is other:
            return True
        if type(one) is not type(other) or len(self._met) > _MOST:
            return False
        if type(one) is str:
            return bool(one == other)
        pair = id(one), id(other)
        if pair in self._met:
            return True  # it is being compared: a function that calls itself, say
        self._met.add(pair)
        mine, theirs = _parts(one), _parts(other)
        self._alive.append((mine, theirs))
        if mine is None or theirs is None:
            return (one == other) is True
        return len(mine) == len(theirs) and all(map(self.same, mine, theirs))


def _parts(item: Any) -> Sequence[Any] | None:
    """Return what a value is compared by; ``None``: it knows itself."""
    value: Any = item
    parts: Sequence[Any] | None = None
    if isinstance(item, FunctionType):
        scope = id(value.__globals__)
        parts = (scope, value.__code__, dict(_defaults(value)), _contents(value))
    elif isinstance(item, CodeType):
        parts = _shape(value)
    elif isinstance(item, MethodType):
        parts = (value.__func__, value.__self__)
    elif isinstance(item, partial):
        parts = (value.func, value.args, value.keywords)
    elif isinstance(item, Step):
        parts = (value.spec({}), value.fn)
    elif isinstance(item, tuple | list):
        parts = value
    elif isinstance(item, dict):
        parts = (value.keys(), [value[key] for key in sorted(value, key=repr)])
    elif isinstance(item, _SCALARS):
        parts = (repr(value),)  # 0.0 and -0.0, an instant in two zones: not the same
    return parts


def _shape(code: CodeType) -> tuple[Any, ...]:
    """Return what a code object does: neither where it stands, nor what it is called."""
    return (
        code.co_code,
        code.co_exceptiontable,
        code.co_flags,
        (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
        (code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars),
        tuple(map(_constant, code.co_consts)),
    )


def _constant(item: Any) -> Any:
    value: Any = item
    if isinstance(item, CodeType):
        return _shape(item)
    if isinstance(item, tuple):
        return tuple(map(_constant, value))
    if isinstance(item, frozenset):
        return frozenset(map(_constant, value))
    return type(value), repr(value)  # 1 and True are equal, and so are 0.0 and -0.0


def _contents(fn: FunctionType) -> tuple[Any, ...]:
    return tuple([_content(cell) for cell in fn.__closure__ or ()])


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _NOTHING


def _defaults(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    code, values = fn.__code__, fn.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    yield from zip(names[len(names) - len(values) :], values, strict=True)
    yield from (fn.__kwdefaults__ or {}).items()


# ---- the functions of a workflow --------------------------------------------------------------


def functions_of(definition: Definition) -> Iterator[tuple[str, str, Any]]:
    """Yield every function of a workflow: the node's path, words for it, and the function."""
    for path, step in definition.steps.items():
        yield path, f"step {path!r}", step.fn
    for path, conditions in definition.conditions.items():
        for each in conditions:
            yield path, f"condition {each.name!r} of {path!r}", each.fn
    for path, key in definition.keys.items():
        yield path, f"key {key.name!r} of {path!r}", key.fn
    for path, says in definition.times.items():
        yield path, f"time {says.name!r} of {path!r}", says.fn


def same_workflow(one: Definition, other: Definition) -> bool:
    """Return whether two workflows are the same: equal nodes, options, settings and functions."""
    if one is other:
        return True
    # A lambda is called by its line, and may be written in two places.
    texts = [_LINE.sub("<lambda>", each.text) for each in (one, other)]
    if texts[0] != texts[1] or (one.tags, one.queue) != (other.tags, other.queue):
        return False
    pairs = zip(functions_of(one), functions_of(other), strict=True)
    alike = all(same(mine[2], theirs[2]) for mine, theirs in pairs)
    return alike and same(one.on_end, other.on_end)


def can_stand_in(one: Definition, other: Definition) -> bool:
    """Return whether one workflow does what the other does, now and later."""
    functions = [fn for _, _, fn in functions_of(other)]
    if other.on_end is not None:
        functions.append(other.on_end)
    if one.text != other.text or not all(map(is_bare, functions)):
        return False
    try:
        alike = _types(one) == _types(other)  # a local class is another each time
    except Exception:  # noqa: BLE001 - somebody else's __eq__
        return False
    return alike and same_workflow(one, other)


def _types(definition: Definition) -> tuple[Any, ...]:
    steps = [(step.wanted, dict(step.parameters)) for step in definition.steps.values()]
    params = [each.params for group in definition.conditions.values() for each in group]
    keys = [each.params for each in definition.keys.values()]
    return definition.input, definition.outputs, definition.payloads, steps, params, keys


# ---- what is not recorded ---------------------------------------------------------------------


def unrecorded(definition: Definition) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the functions that hold data: the node's path, words for it, and the variables.

    Another process has the function, found by the workflow's id, but not the data.
    """
    told: set[Any] = set()
    for path, who, fn in functions_of(definition):
        names = list(dict.fromkeys(_held(fn, set())))
        key = getattr(fn, "__code__", fn), *names
        if names and key not in told:
            told.add(key)  # a step that stands in many branches is named once
            yield path, who, names


def _held(fn: Any, met: set[int]) -> Iterator[str]:
    """Yield the names under which a function holds data."""
    if id(fn) in met:
        return
    met.add(id(fn))
    if isinstance(fn, partial):
        yield from _held(fn.func, met)
        numbered = ((f"argument {n}", value) for n, value in enumerate(fn.args, 1))
        yield from _named((*numbered, *fn.keywords.items()), met)
    elif isinstance(fn, MethodType):
        yield from _named([("self", fn.__self__)], met)
        yield from _held(fn.__func__, met)
    elif isinstance(fn, FunctionType):
        yield from _named(zip(fn.__code__.co_freevars, _contents(fn), strict=True), met)
        given = [(name, value) for name, value in _defaults(fn) if _is_data(value)]
        computed = _computed_defaults(fn) if given else ()
        yield from (name for name, _ in given if name in computed)
    elif _is_data(fn):
        yield type(fn).__name__


def _named(items: Iterable[tuple[str, Any]], met: set[int]) -> Iterator[str]:
    for name, value in items:
        if isinstance(value, FunctionType | MethodType | partial):
            yield from _held(value, met)
        elif _is_data(value):
            yield name


def _is_data(item: Any, depth: int = 0) -> bool:
    """Return whether a value is data: not a live object, a class or a module."""
    value: Any = item
    if isinstance(item, (str, bytes, bytearray, *_SCALARS)):
        return True
    if isinstance(item, dict | list | tuple | set | frozenset | deque):
        inside = value.values() if isinstance(item, dict) else value
        return depth < _DEEP and any(_is_data(each, depth + 1) for each in islice(inside, _MOST))
    cls = value.__class__
    if isinstance(item, type) or cls.__module__.partition(".")[0] == PACKAGE:
        return False
    return dataclasses.is_dataclass(cls) or any(hasattr(cls, name) for name in _MARKS)


# ---- what their source says -------------------------------------------------------------------


class StepCall(NamedTuple):
    """A call of a step, which runs its function as a plain one."""

    step: Step[Any, Any]
    line: int
    helpers: tuple[str, ...]
    """The functions of the same module through which it is reached."""


def steps_called_by(fn: Callable[..., Any]) -> Iterator[StepCall]:
    """Yield the steps that a function calls itself or through functions of its module.

    Names are followed as Python would: closures, globals, and attributes that stand there already.
    Names that can't be followed for sure are left out, and so is a function without source.
    """
    seen: set[CodeType] = set()
    waiting: list[tuple[Any, tuple[str, ...]]] = [(unwrapped(fn), ())]
    while waiting:
        inner, helpers = waiting.pop()
        code = getattr(inner, "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        for target, line in _calls_of(inner):
            # Of its type: a proxy says that it isn't there yet when it is asked for its class.
            if issubclass(type(target), Step):
                yield StepCall(target, line, helpers)
            elif type(target) is FunctionType and target.__globals__ is inner.__globals__:
                waiting.append((target, (*helpers, target.__name__)))


def _calls_of(fn: FunctionType) -> Iterator[tuple[Any, int]]:
    node = _definition_of(fn)
    if node is None:
        return
    code = fn.__code__
    # Whatever is assigned in the function hides what is outside.
    hidden = dict.fromkeys((*code.co_varnames, *code.co_cellvars), _NOTHING)
    names = {**fn.__globals__, **hidden, **dict(zip(code.co_freevars, _contents(fn), strict=True))}
    for item in _inside(node):
        if isinstance(item, ast.Call):
            yield _resolved(item.func, names), item.lineno


def _resolved(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names.get(node.id, _NOTHING)
    if isinstance(node, ast.Attribute):
        found = inspect.getattr_static(_resolved(node.value, names), node.attr, _NOTHING)
        return found.__func__ if type(found) is staticmethod else found
    return _NOTHING


def _computed_defaults(fn: FunctionType) -> frozenset[str]:
    """Return the parameters whose default was computed by the function around this one.

    A literal, or a global, is the same in every process. So is what stands outside any function.
    Without its source a lambda is taken to have computed all of them, as in ``lambda x, n=n: …``.
    """
    if "<locals>" not in fn.__qualname__:
        return frozenset()
    is_lambda = fn.__code__.co_name == "<lambda>"
    node = _lambda_of(fn) if is_lambda else _definition_of(fn)
    if node is None:
        names = fn.__code__.co_varnames if is_lambda else ()
        return frozenset(names)
    inputs = [*node.args.posonlyargs, *node.args.args]
    given = [*zip(reversed(inputs), reversed(node.args.defaults), strict=False)]
    given += [
        (item, value)
        for item, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if value is not None
    ]
    return frozenset(item.arg for item, value in given if _is_computed(value, fn))


def _is_computed(node: ast.expr, fn: FunctionType) -> bool:
    names = {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}
    local = names - fn.__globals__.keys() - vars(builtins).keys()
    return bool(local) or not names.isdisjoint(fn.__code__.co_varnames)  # n=n


def _inside(node: _Def) -> Iterator[ast.AST]:
    """Yield what runs when the function does: nothing of the functions that it only defines."""
    waiting: list[ast.AST] = list(reversed(node.body))
    while waiting:
        item = waiting.pop()
        if isinstance(item, _SCOPES):
            continue
        yield item
        waiting.extend(reversed(list(ast.iter_child_nodes(item))))


def _definition_of(fn: Any) -> _Def | None:
    """Return the ``def`` of a function, if its source is there."""
    code = getattr(fn, "__code__", None)
    if code is None:
        return None
    return _definitions(_text_of(fn)).get((code.co_name, code.co_firstlineno))


def _lambda_of(fn: FunctionType) -> ast.Lambda | None:
    """Return the source of a lambda, where only one of its line takes the same parameters."""
    code = fn.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    found = [
        node
        for node in ast.walk(_tree(_text_of(fn)))
        if isinstance(node, ast.Lambda)
        and node.lineno == code.co_firstlineno
        and _parameters(node) == code.co_varnames[:count]
    ]
    return found[0] if len(found) == 1 else None


def _parameters(node: ast.Lambda) -> tuple[str, ...]:
    args = node.args
    return tuple(item.arg for item in (*args.posonlyargs, *args.args, *args.kwonlyargs))


def _text_of(fn: Any) -> str:
    name = fn.__code__.co_filename
    linecache.checkcache(name)
    return "".join(linecache.getlines(name, getattr(fn, "__globals__", None)))


@lru_cache(maxsize=16)
def _tree(text: str) -> ast.AST:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # as in notebooks
    try:
        tree: ast.AST = compile(text, "<source>", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        return ast.Module([], [])
    return tree


@lru_cache(maxsize=16)
def _definitions(text: str) -> dict[tuple[str, int], _Def]:
    """Return every ``def`` in a text, by name and first line, as code objects have them."""
    return {
        (node.name, min([node.lineno, *(item.lineno for item in node.decorator_list)])): node
        for node in ast.walk(_tree(text))
        if isinstance(node, _Def)
    }
