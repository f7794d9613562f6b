"""TARGET, store and input of a command: from what was typed to workflows, engines and values."""

from __future__ import annotations

import codecs
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from gorkflow._logs import is_ours
from gorkflow._text import brief, did_you_mean
from gorkflow.annotations import describe
from gorkflow.cli._output import CliError, ExitCode, clean
from gorkflow.codec import codec_of, read_json
from gorkflow.engine._settings import DEFAULT_STORE
from gorkflow.engine.engine import Engine
from gorkflow.errors import StepValueError, StoreError
from gorkflow.language.placement import UNIMPORTABLE
from gorkflow.policy import ID_PATTERN
from gorkflow.step import Step
from gorkflow.store import Store
from gorkflow.stores import open_store, without_secrets
from gorkflow.workflow import Workflow

T = TypeVar("T")
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Target:
    """The workflows and the engine that TARGET names."""

    text: str
    """As it was typed."""
    workflows: dict[str, Workflow[Any, Any]]
    """By the name that each can be asked for."""
    engine: Engine | None = None

    def choose(self, workflow_id: str | None = None) -> Workflow[Any, Any]:
        """Return the workflow to run: the one there is, or the one of this id.

        Raises:
            CliError: If there is none, or more than one.
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
            ids = [item.id for item in self.workflows.values()]
            hint = did_you_mean(workflow_id, ids, f"it has {known}")
            raise CliError(f"{self.text!r} has no workflow {workflow_id!r}; {hint}")
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
        CliError: If it can't be imported, or nothing of the name can be run.
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
        raise CliError(f"{place!r} is not a Python file; its name must end in .py")
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
            hint = did_you_mean(part, names, f"its workflows: {', '.join(found) or 'none'}")
            raise CliError(f"{text!r}: there is no {part!r}; {hint}") from None
    return item


def _guarded(problem: str, action: Callable[[], T]) -> T:
    """Return what the user's code returns.

    Raises:
        CliError: If it raised; with the last lines of its traceback, without ours.
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
        if not is_ours(frame.filename) and not frame.filename.startswith("<frozen ")
    ]
    lines = traceback.format_list(frames[-_FRAMES:]) + traceback.format_exception_only(error)
    if "relative import" in str(error):
        lines.append("A file of a package is named as module: package.module:name\n")
    return "".join(lines).rstrip()


# ---- the store --------------------------------------------------------------------------------

_ADVISED = re.compile(
    r"\bgorkflow (runs|db|schedule|worker|explain|doctor)\b[^`\n]*(?=`|$)", re.MULTILINE
)
"""In backticks, or at the end of a line."""


def same_store(url: str | None) -> str:
    """Return the option that has a command that we advise look into the same store.

    Args:
        url: what ``--store`` was given; ``None``: nothing, and nothing is needed.
    """
    return f" --store {shlex.quote(without_secrets(url))}" if url else ""


def in_same_store(text: str, url: str | None) -> str:
    """Return advice of those who know no command line, with its commands about the same store."""
    more = same_store(url)
    return _ADVISED.sub(lambda each: each[0] + ("" if "--store" in each[0] else more), text)


@contextmanager
def naming_source(store: object) -> Generator[None]:
    """Say in errors of the store that it comes from the environment, if it does.

    Args:
        store: what was given; ``None``: nothing.

    Raises:
        CliError: If the store raised, with that added.
    """
    url = os.environ.get("GORKFLOW_STORE")
    try:
        yield
    except StoreError as error:
        if store is not None or not url:
            raise
        raise CliError(
            f"{error}\nGORKFLOW_STORE is {without_secrets(url)!r}", ExitCode.STORE
        ) from None


def check_exists(store: Store | str | PathLike[str] | None) -> Store:
    """Return the store, not opened yet, if there is one: looking must not make one.

    Args:
        store: a store or its URL; ``None``: the default.

    Raises:
        CliError: If there is no such file.
        StoreError: If the URL can't be understood.
    """
    given = store
    if store is None:
        store = os.environ.get("GORKFLOW_STORE") or DEFAULT_STORE
    if isinstance(store, str | PathLike):
        with naming_source(given):
            store = open_store(store)
    path = getattr(store, "path", None)
    if isinstance(path, str) and not Path(path).exists():
        from_env = given is None and os.environ.get("GORKFLOW_STORE")
        named = f"{path!r}, which GORKFLOW_STORE names," if from_env else repr(path)
        raise CliError(
            f"there is no store {named} yet; `gorkflow run` makes it, --store names another",
            ExitCode.STORE,
        )
    return store


@asynccontextmanager
async def opened(url: str | None) -> AsyncGenerator[Store]:
    """Open a store that exists, to look at it.

    Raises:
        CliError: If there is none.
        StoreError: If it can't be opened.
    """
    store = check_exists(url)
    with naming_source(url):
        await store.open()
    try:
        yield store
    finally:
        await store.close()


# ---- input ------------------------------------------------------------------------------------


def read_input(workflow: Workflow[Any, Any], text: str | None) -> Any:
    """Return the input of a workflow.

    Args:
        workflow: what takes it.
        text: JSON, ``@file`` or ``-``; ``None``: none was given.

    Raises:
        CliError: If it can't be read, or does not fit.
    """
    if workflow.input is None:
        if text is not None:
            raise CliError(f"workflow {workflow.id!r} takes no input; leave out --input")
        return None
    wanted = describe(workflow.input)
    if text is None and _has_defaults(workflow.input):
        text = "{}"
    if text is None:
        raise CliError(
            f"workflow {workflow.id!r} takes an input, {wanted}; give it as JSON: "
            "--input '…', --input @file.json, or --input - to read it from standard input"
        )
    try:
        return codec_of(workflow.input).decode_lax(_read(text))
    except StepValueError as error:
        hint = ""
        if "Invalid JSON" in str(error) and os.path.isfile(text):  # noqa: PTH113 - never raises
            hint = f"\nTo read it from the file: --input @{text}"
        elif "Invalid JSON" in str(error) and text[:1] not in "@-[{":
            hint = "\nA text needs its own quotes: --input '\"text\"'"
        elif "Invalid JSON" in str(error) and "'" in text:
            hint = "\nJSON wants double quotes: --input '{\"id\": 7}'"
        raise CliError(f"--input does not fit {wanted}: {error}{hint}") from None


def _has_defaults(annotation: Any) -> bool:
    """Return whether no field of it has to be given."""
    try:
        codec_of(annotation).decode_lax(b"{}")
    except StepValueError:
        return False
    return isinstance(annotation, type) and not issubclass(annotation, dict)


def read_payload(text: str | None) -> Any:
    """Return the value of ``--payload``: any JSON; ``None``: it was not given.

    Raises:
        CliError: If it can't be read.
    """
    if text is None:
        return None
    try:
        return read_json(_read(text, "--payload"))
    except StepValueError as error:
        hint = ""
        if text[:1] not in "@-[{":
            hint = "\nA text needs its own quotes: --payload '\"text\"'"
        elif "'" in text:
            hint = "\nJSON wants double quotes: --payload '{\"id\": 7}'"
        raise CliError(f"--payload: {error}{hint}") from None


def read_state(text: str | None) -> dict[str, Any] | None:
    """Return what ``--state`` was given; ``None``: nothing.

    Raises:
        CliError: If it can't be read, or is not an object.
    """
    if text is None:
        return None
    try:
        state: dict[str, Any] = codec_of(dict[str, Any]).validate(read_json(_read(text, "--state")))
    except StepValueError as error:
        raise CliError(f"--state is not a JSON object, as '{{\"budget\": 10}}': {error}") from None
    return state


def _read(text: str, option: str = "--input") -> bytes:
    if text == "-":
        return _bare(sys.stdin.buffer.read())
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return _bare(Path(text[1:]).read_bytes())
    except FileNotFoundError:
        raise CliError(f"{option} {text}: there is no file {text[1:]!r}") from None
    except IsADirectoryError:
        raise CliError(f"{option} {text}: name a file after the @, not a folder") from None
    except (OSError, ValueError) as error:
        raise CliError(f"{option} {text}: {error}") from None


def _bare(data: bytes) -> bytes:
    """Return the data without the mark that some editors put before UTF-8."""
    return data.removeprefix(codecs.BOM_UTF8)
