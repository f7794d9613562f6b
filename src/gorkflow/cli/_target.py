"""From TARGET, as it is typed, to the workflows and the engine that it names."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from gorkflow._text import brief
from gorkflow.cli._errors import CliError
from gorkflow.cli._text import clean
from gorkflow.engine.engine import Engine
from gorkflow.language._placement import UNIMPORTABLE
from gorkflow.policy import ID_PATTERN
from gorkflow.step import Step
from gorkflow.workflow import Workflow

T = TypeVar("T")
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_FRAMES = 3
_OURS = str(Path(__file__).parents[1]) + os.sep


@dataclass(frozen=True, slots=True)
class Target:
    """What TARGET names."""

    text: str
    """As it was typed."""
    workflows: dict[str, Workflow[Any, Any]]
    """By the name that each can be asked for."""
    engine: Engine | None = None

    def choose(self, workflow_id: str | None = None) -> Workflow[Any, Any]:
        """Return the workflow to run: the one there is, or the one of this id.

        Raises:
            CliError: there is none, or more than one.
        """
        found = {
            name: item
            for name, item in self.workflows.items()
            if workflow_id is None or item.id == workflow_id
        }
        if len({id(item) for item in found.values()}) == 1:
            return next(iter(found.values()))
        known = ", ".join(sorted({item.id for item in self.workflows.values()})) or "none"
        if workflow_id is not None and not found:
            near = difflib.get_close_matches(
                workflow_id, [i.id for i in self.workflows.values()], 1
            )
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {known}"
            raise CliError(f"{self.text!r} has no workflow {workflow_id!r}{hint}")
        if self.engine is not None:
            what = (
                "name one with --workflow ID" if self.workflows else "give it Engine(workflows=…)"
            )
            raise CliError(f"the engine of {self.text!r} knows these workflows: {known}; {what}")
        if not found:
            raise CliError(f"{self.text!r} has no Workflow")
        names = "\n".join(f"  {self.text}:{name}" for name in found)
        raise CliError(f"{self.text!r} has {len(found)} workflows; name one:\n{names}")


def load(text: str) -> Target:
    """Return what TARGET names.

    Args:
        text: ``package.module``, ``path/file.py``, either with ``:name``: of the variable, or the
            id of a workflow.

    Raises:
        CliError: it can't be imported, or there is nothing of the name that could be run.
    """
    place, name = _split(text)
    if not place:
        raise CliError(f"{text!r} names no module or file; write flows.py or package.flows:name")
    if (_is_file(place) or not _NAME.fullmatch(place)) and Path(place).is_dir():
        raise CliError(f"{place!r} is a folder; name a file in it")
    module = _load_file(place) if _is_file(place) else _load_module(place)
    if name is None:
        return _whole(text, module)
    with_id = {item.id: item for item in _workflows_in(module).values()}
    if name in with_id and not hasattr(module, name):
        return Target(text, {name: with_id[name]})
    return _target(text, _named(module, text, name), called=False)


def _split(text: str) -> tuple[str, str | None]:
    place, colon, name = text.rpartition(":")
    if not colon or (name and not _NAME.fullmatch(name) and not ID_PATTERN.fullmatch(name)):
        return text, None  # such as C:\file.py
    if not name:
        raise CliError(f"{text!r} ends in a colon; write {place}:NAME, or {place} alone")
    return place, name


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or os.sep in place


def _whole(text: str, module: ModuleType) -> Target:
    """Return what a module has: its engine, else its workflows."""
    names = {item: name for name, item in vars(module).items() if isinstance(item, Engine)}
    if len(names) > 1:
        raise CliError(f"{text!r} has {len(names)} engines; name one: {', '.join(names.values())}")
    found = _workflows_in(module)
    if not names:
        return Target(text, found)
    target = _target(text, next(iter(names)), called=False)
    return target if target.workflows else Target(text, found, target.engine)


def _workflows_in(module: ModuleType) -> dict[str, Workflow[Any, Any]]:
    return {
        name: item
        for name, item in vars(module).items()
        if isinstance(item, Workflow) and not name.startswith("_")
    }


def _target(text: str, item: Any, *, called: bool) -> Target:
    if isinstance(item, Workflow):
        return Target(text, {item.id: item})
    if isinstance(item, Engine):
        return Target(text, {workflow.id: workflow for workflow in item.workflows}, item)
    if isinstance(item, Step):
        raise CliError(
            f"{text!r} is a step; to run it by itself make it a workflow: "
            f"Workflow({item.id!r}, input=…).then({item.id})"
        )
    if not called and inspect.isfunction(item):
        return _target(text, _called(text, item), called=True)
    what = "returns" if called else "is"
    raise CliError(f"{text!r} {what} {brief(item)}, not a Workflow or Engine")


def _called(text: str, function: Callable[..., Any]) -> Any:
    try:
        inspect.signature(function).bind()
    except TypeError:
        raise CliError(f"{text!r} takes arguments; name a function without any") from None
    if inspect.iscoroutinefunction(function):
        raise CliError(
            f"{text!r} is async; name a plain function that returns an Engine or a Workflow"
        )
    return _guarded(f"{text!r} could not be called", function)


# ---- importing --------------------------------------------------------------------------------


def _load_module(name: str) -> ModuleType:
    if not _NAME.fullmatch(name):
        raise CliError(
            f"{name!r} is neither a module nor a file; write module:name or file.py:name"
        )
    sys.path.insert(0, str(Path.cwd()))

    def import_it() -> ModuleType:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name
            if missing is None or not f"{name}.".startswith(f"{missing}."):
                raise
        hint = f"; did you mean {name}.py?" if Path(f"{name}.py").is_file() else ""
        raise CliError(f"there is no module {missing!r} here or among the installed ones{hint}")

    return _guarded(f"{name!r} can't be imported", import_it)


def _load_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise CliError(f"there is no file {place!r}")
    folder = path.resolve().parent
    sys.path.insert(0, str(folder))
    name = _module_name(path)
    spec = importlib.util.spec_from_file_location(name, folder / path.name)
    if spec is None or spec.loader is None:
        raise CliError(f"{place!r} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Registered first, as imports do it, so that what it defines can be found by its module.
    sys.modules[name] = module
    loader = spec.loader
    _guarded(f"{place!r} can't be imported", lambda: loader.exec_module(module))
    return module


def _module_name(path: Path) -> str:
    """Return the name under which a file is imported: its own, so that it is always the same."""
    name = path.stem
    if name.isidentifier() and name not in sys.modules and name not in sys.stdlib_module_names:
        return name
    return UNIMPORTABLE + re.sub(r"\W", "_", name)


def _named(module: ModuleType, text: str, name: str) -> Any:
    item: Any = module
    for part in name.split("."):
        try:
            item = getattr(item, part)
        except AttributeError:
            found = _workflows_in(module)
            names = [n for n in dir(item) if n[:1] != "_"] + [i.id for i in found.values()]
            near = difflib.get_close_matches(part, names, 1)
            workflows = ", ".join(found) or "none"
            hint = f"did you mean {near[0]!r}?" if near else f"its workflows: {workflows}"
            raise CliError(f"{text!r}: there is no {part!r}; {hint}") from None
    return item


def _guarded(problem: str, action: Callable[[], T]) -> T:
    """Return what the user's code returns.

    Raises:
        CliError: it raised; the last lines of its traceback, without ours.
    """
    try:
        return action()
    except (CliError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if os.environ.get("GORKFLOW_DEBUG"):
            raise
        raise CliError(f"{problem}:\n{clean(_brief(error))}") from None


def _brief(error: BaseException) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<frozen "))
    ]
    lines = traceback.format_list(frames[-_FRAMES:]) + traceback.format_exception_only(error)
    if "relative import" in str(error):
        lines.append("A file of a package is named as module: package.module:name\n")
    return "".join(lines).rstrip()
