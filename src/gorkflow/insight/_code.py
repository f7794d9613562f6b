"""What the functions of a workflow do that they should not, as far as their source shows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, cast

from gorkflow.definition import Definition
from gorkflow.flow import Place, StepSpec, undo_path
from gorkflow.insight._advice import Advice
from gorkflow.insight._tree import named
from gorkflow.language._closures import unrecorded
from gorkflow.language._hazards import Snapshot, is_async_function, unwrapped
from gorkflow.language._source import Call, Dotted, calls_of, found_at
from gorkflow.step import Step

_HTTP = ("get", "post", "put", "patch", "delete", "head", "options", "request")
_BLOCKING: dict[str, tuple[str, ...]] = {
    "`await asyncio.sleep(…)`": ("time.sleep",),
    "`await asyncio.create_subprocess_exec(…)`": (
        "os.system",
        *(
            f"subprocess.{name}"
            for name in (
                "run",
                "call",
                "check_call",
                "check_output",
                "getoutput",
                "getstatusoutput",
            )
        ),
    ),
    "an async client, such as httpx.AsyncClient": (
        "urllib.request.urlopen",
        "urllib.request.urlretrieve",
        "requests.session",
        "requests.Session",
        "httpx.stream",
        "httpx.Client",
        *(
            f"{place}.{name}"
            for place in ("requests", "requests.Session", "httpx", "httpx.Client")
            for name in _HTTP
        ),
    ),
    "`await asyncio.open_connection(…)` or `await loop.getaddrinfo(…)`": (
        "socket.create_connection",
        "socket.getaddrinfo",
        "socket.gethostbyname",
    ),
    "an async driver of the database": (
        "sqlite3.connect",
        "psycopg.connect",
        "psycopg2.connect",
        "pymysql.connect",
    ),
    "a signal (Workflow.wait_for)": ("builtins.input",),
}
"""Calls that always wait for something outside the process, by what to write instead. Files are
not among them: most are read before anybody notices."""


def advise(root: Place, definition: Definition) -> Iterator[Advice]:
    """Yield what the steps' and conditions' functions do."""
    placed = [*root.walk()]
    specs = {path: node for path, node in placed if isinstance(node, StepSpec)}
    undo = [(path, node.undo) for path, node in specs.items()]
    specs |= {undo_path(path): spec.step for path, spec in undo if spec is not None}
    on_loop = {path for path, spec in specs.items() if spec.executor == "loop"}
    yield from _of_conditions(definition)
    by_code: dict[Any, dict[str, Step[Any, Any]]] = defaultdict(dict)
    for path, step in definition.steps.items():
        inner = unwrapped(step.fn)
        by_code[getattr(inner, "__code__", inner)][path] = step
    told: set[str] = set()
    for steps in by_code.values():
        changed = list(_changed(steps))
        told.update(advice.path for advice in changed)
        yield from changed
        path, step = next(iter(steps.items()))
        calls = calls_of(step.fn)
        yield from _inner_steps(path, _steps(steps), calls)
        stopping = [path for path in steps if path in on_loop]
        if stopping and is_async_function(unwrapped(step.fn)):  # else it may be in a thread there
            yield from _blocking(stopping[0], f"async {_steps(stopping)}", calls)
    yield from (advice for advice in _unrecorded(definition) if advice.path not in told)


def _of_conditions(definition: Definition) -> Iterator[Advice]:
    """Yield what conditions do, and the functions that say keys of items, and times."""
    others = (*definition.keys.items(), *definition.times.items())
    single = [(path, (function,)) for path, function in others]
    for path, conditions in (*definition.conditions.items(), *single):
        for condition in conditions:
            if condition.is_async:
                who = f"async function {condition.name!r} of {path!r}"
                yield from _blocking(path, who, calls_of(condition.fn))


def _unrecorded(definition: Definition) -> Iterator[Advice]:
    for path, who, names in unrecorded(definition):
        yield Advice(
            "unrecorded-value",
            path,
            f"{who} uses {named(names)}, which no run records: a run keeps it as long as its "
            "process lives, and another process uses what it has itself. Make it part of the "
            "input, or a setting of a step: step.bind(id, …)",
            "info",
        )


def _steps(paths: Collection[str]) -> str:
    return f"step {named(paths)}" if len(paths) == 1 else f"steps {named(paths)}"


def _blocking(path: str, who: str, calls: list[Call]) -> Iterator[Advice]:
    known = _known()
    told: set[str] = set()
    for call in calls:
        name, instead = known.get(_key(call.target), ("", ""))
        if name and name not in told:
            told.add(name)
            yield Advice(
                "blocking-call",
                path,
                f"{who} calls {name} ({_place(call)}), which stops every other step of the process "
                f"until it returns: use {instead}, or make it a plain `def`, which runs in "
                "a thread",
                "warning",
            )


def _known() -> dict[object, tuple[str, str]]:
    """Return the blocking calls by their full names, and by the identity of what is imported."""
    known: dict[object, tuple[str, str]] = {}
    for instead, names in _BLOCKING.items():
        for name in names:
            shown = name.removeprefix("builtins.")
            known[name] = (shown, instead)
            item = found_at(name)
            if item is not None:
                known.setdefault(id(item), (shown, instead))
    return known


def _key(target: Any) -> object:
    return str(target) if type(target) is Dotted else id(target)


def _place(call: Call) -> str:
    through = "".join(f"{name}(), " for name in call.helpers)
    return f"in {through}line {call.line}" if through else f"line {call.line}"


def _inner_steps(path: str, who: str, calls: list[Call]) -> Iterator[Advice]:
    told: set[str] = set()
    for call in calls:
        if not issubclass(type(call.target), Step):
            continue
        inner = cast("Step[Any, Any]", call.target)
        if inner.id not in told:
            told.add(inner.id)
            function = getattr(inner, "__name__", inner.id)
            yield Advice(
                "step-in-step",
                path,
                f"{who} calls step {inner.id!r} ({_place(call)}): a plain call, of which nothing "
                "is recorded, so that it is not retried or timed by itself and runs again after a "
                f"crash. Make {inner.id!r} a node of the workflow; where a plain call is meant, "
                f"write {function}.fn(…)",
                "warning",
            )


def _changed(steps: dict[str, Step[Any, Any]]) -> Iterator[Advice]:
    """Yield the variables that the steps of one ``def`` share and that changed in between."""
    affected: dict[str, list[str]] = defaultdict(list)
    in_loop = len({id(step.snapshot) for step in steps.values()}) > 1
    for path, step in steps.items():
        if isinstance(step.snapshot, Snapshot):
            for name in step.snapshot.changed(module_too=in_loop):
                affected[name].append(path)
    for name, paths in affected.items():
        many = len(paths) > 1
        yield Advice(
            "changed-variable",
            paths[0],
            f"{_steps(paths)} use{'' if many else 's'} the variable "
            f"{name!r}, which changed after {'they were' if many else 'it was'} made: only its "
            f"last value will be seen. Make it a parameter with a default, and fix it with "
            f"step.bind(id, {name}=…)",
            "warning",
        )
