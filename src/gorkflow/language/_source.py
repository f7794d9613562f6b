"""What a function's source says, without running it: what it calls, what it uses of its context.

Names are followed as Python would: local imports, closures, globals, builtins, and attributes that
stand there already. Whatever can't be followed for sure is left out.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import sys
import time
from functools import lru_cache, partial
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from gorkflow.language._hazards import BlockingCallWarning, mentions_sleep, unwrapped, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

_Def = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_UNKNOWN: Any = object()


class Dotted(str):
    """The full name of something whose module is not imported yet."""

    __slots__ = ()


class Call(NamedTuple):
    """A call that a function makes."""

    target: Any
    """What is called; a ``Dotted`` where it is not imported yet."""
    line: int
    helpers: tuple[str, ...] = ()
    """The functions of the same module through which it is reached."""


def check_blocking(fn: Callable[..., Any], step_id: str) -> None:
    """Warn if an async function calls ``time.sleep``; where there is no source, if it mentions it.

    ``gorkflow check`` knows more such calls; this one is worth a look at every function.
    """
    if not mentions_sleep(fn):
        return
    if _definition_of(fn) is None or any(call.target is time.sleep for call in _own_calls(fn)):
        warn(
            f"async step {step_id!r} calls time.sleep, which stops every other step too: write "
            "`await asyncio.sleep(…)`, or make the step a plain `def`, which runs in a thread",
            BlockingCallWarning,
        )


def calls_of(fn: Callable[..., Any]) -> list[Call]:
    """Return the calls that a function makes itself or through functions of its module.

    A function that is only handed on, as to ``asyncio.to_thread``, is not called.

    Args:
        fn: the function; one without readable source makes none.
    """
    found: list[Call] = []
    seen: set[CodeType] = set()
    waiting: list[tuple[Any, tuple[str, ...]]] = [(unwrapped(fn), ())]
    while waiting:
        inner, helpers = waiting.pop()
        code = getattr(inner, "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        for call in _own_calls(inner):
            found.append(call._replace(helpers=helpers))
            target = call.target
            if type(target) is FunctionType and target.__globals__ is inner.__globals__:
                waiting.append((target, (*helpers, target.__name__)))
    return found


def context_uses(fn: Callable[..., Any]) -> frozenset[str] | None:
    """Return the attributes that a step's function uses of its first parameter, the context.

    Args:
        fn: the function.

    Returns:
        ``None`` where it can't be told: the source is not there, or the context is handed on.
    """
    inner = unwrapped(fn)
    node = _definition_of(inner)
    if node is None:
        return None
    names = [item.arg for item in (*node.args.posonlyargs, *node.args.args)]
    place = 1 if inspect.ismethod(inner) else 0
    if isinstance(fn, partial) or len(names) <= place:
        return None
    name = names[place]
    mentions = sum(isinstance(item, ast.Name) and item.id == name for item in ast.walk(node))
    uses = [
        item.attr
        for item in ast.walk(node)
        if isinstance(item, ast.Attribute)
        and isinstance(item.value, ast.Name)
        and item.value.id == name
    ]
    return frozenset(uses) if len(uses) == mentions else None


def computed_defaults(fn: FunctionType) -> frozenset[str]:
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


def found_at(dotted: str) -> Any:
    """Return what a full name stands for, if its module is imported; else ``None``."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:cut]))
        if module is None:
            continue
        item: Any = module
        for part in parts[cut:]:
            item = _attribute(item, part)
        return None if item is _UNKNOWN else item
    return None


def _own_calls(fn: Any) -> Iterator[Call]:
    node = _definition_of(fn)
    if node is None:
        return
    names = _Names(fn, node)
    for item in _inside(node):
        if isinstance(item, ast.Call):
            target = names.resolve(item.func)
            if target is not _UNKNOWN:
                yield Call(target, item.lineno)


def _inside(node: _Def) -> Iterator[ast.AST]:
    """Yield what runs when the function does: nothing of the functions that it only defines."""
    waiting: list[ast.AST] = list(reversed(node.body))
    while waiting:
        item = waiting.pop()
        if isinstance(item, _SCOPES):
            continue
        yield item
        waiting.extend(reversed(list(ast.iter_child_nodes(item))))


class _Names:
    """What the names in a function stand for."""

    def __init__(self, fn: Any, node: _Def) -> None:
        code: CodeType = fn.__code__
        self._globals: dict[str, Any] = fn.__globals__
        # Whatever is assigned in the function hides what is outside, and is known to nobody.
        self._known: dict[str, Any] = dict.fromkeys(
            (*code.co_varnames, *code.co_cellvars), _UNKNOWN
        )
        for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=False):
            try:
                self._known[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                self._known[name] = _UNKNOWN
        for item in _inside(node):
            if isinstance(item, ast.Import | ast.ImportFrom):
                self._known.update(_imported(item))

    def resolve(self, node: ast.expr) -> Any:
        """Return what an expression stands for, if it is a name or an attribute of one."""
        if isinstance(node, ast.Name):
            name = node.id
            if name in self._known:
                return self._known[name]
            return self._globals.get(name, getattr(builtins, name, _UNKNOWN))
        if isinstance(node, ast.Attribute):
            return _attribute(self.resolve(node.value), node.attr)
        return _UNKNOWN


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Any]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            full = alias.name if alias.asname else alias.name.partition(".")[0]
            yield alias.asname or full, sys.modules.get(full, Dotted(full))
    elif node.module and not node.level:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            there = node.module in sys.modules
            yield alias.asname or alias.name, found_at(full) if there else Dotted(full)


def _attribute(item: Any, name: str) -> Any:
    """Return an attribute as it stands there, without calling anything.

    ``isinstance`` would: proxies of what isn't there yet say so when asked for their class.
    """
    if item is _UNKNOWN:
        return _UNKNOWN
    if type(item) is Dotted:
        return Dotted(f"{item}.{name}")
    try:
        found = inspect.getattr_static(item, name)
    except AttributeError:
        if issubclass(type(item), ModuleType):
            full = f"{item.__name__}.{name}"
            return sys.modules.get(full, Dotted(full))
        return _UNKNOWN
    return found.__func__ if type(found) is staticmethod else found


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
