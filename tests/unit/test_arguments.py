"""Arguments that make no sense: an error of a promised class, which names the argument."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import gorkflow as g
from gorkflow import testing
from gorkflow._text import brief
from gorkflow.stores import open_store
from gorkflow.stores.memory import MemoryStore
from gorkflow.stores.sqlite import SqliteStore

PROMISED = (g.GorkflowError, ValueError, TypeError)
# ruff: noqa: DTZ001 - instants without a zone are among what makes no sense
JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 3, 1.5, 10**400, -(10**400), 10**5000,
    -(10**5000), math.nan, math.inf, -math.inf, Decimal("NaN"),
    Fraction(1, 3), 1j, "", "x", "a b", "\ud800", "a\x00b", "two\nlines\x1b[2J", "x" * 100_000,
    b"x", [], [1], (), ("a", 1), {}, {"a": 1}, {1: "a"}, {"\ud800": "a"}, {"a": "\ud800"}, {"a"},
    object(), object, len, lambda: 1, range(3), timedelta.max, timedelta.min, timedelta(-1),
    datetime(9999, 12, 31), datetime(1, 1, 1),
    datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
    [[]], [None], {"a": None}, Ellipsis, Exception, ValueError("x"),
)  # fmt: skip


@g.step
async def one(value: int) -> int:
    return value


@g.step
async def undo_one(value: int, output: int | None) -> None:
    del value, output


@g.step
async def two(value: int, size: int = 1) -> int:
    return value + size


flow = g.Workflow("flow", input=int)
plain = flow.then(one)
items = g.Workflow("items", input=list[int])
red = g.Signal("red", int)


def condition(value: int) -> bool:
    return value > 1


CALLS: Mapping[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Workflow": (
        lambda **given: g.Workflow(given.pop("id"), **given),
        {
            "id": "w", "input": int, "name": "w", "description": "", "version": "1", "tags": {},
            "defaults": {}, "timeout": 1.0,
        },
    ),
    "then": (flow.then, {"node": one}),
    "parallel": (
        lambda **given: plain.parallel(given.pop("branch"), **given),
        {
            "branch": two, "join": "all", "on_failure": "drain", "max_concurrency": 1,
            "timeout": 1.0, "id": "b",
        },
    ),
    "map": (
        items.map,
        {
            "node": one, "key": None, "join": "all", "on_failure": "drain", "max_concurrency": 1,
            "timeout": 1.0, "id": "m",
        },
    ),
    "loop": (flow.loop, {"node": one, "until": condition, "max_iterations": 3, "id": "l"}),
    "then_if": (
        lambda **given: flow.then_if(given.pop("condition"), given.pop("node"), **given),
        {"condition": condition, "node": one, "default": 3, "id": "i"},
    ),
    "when": (
        lambda **given: flow.when(given["condition"], given["node"], id=given["id"]).otherwise(
            given["other"]
        ),
        {"condition": condition, "node": one, "id": "c", "other": two},
    ),
    "sleep": (lambda **given: flow.sleep(given["duration"], id=given["id"]),
              {"duration": 1.0, "id": "s"}),
    "wait_for": (flow.wait_for, {"signal": red, "timeout": 1.0, "default": 3, "id": "s"}),
    "replace": (plain.replace, {"old": "one", "new": two}),
    "compile": (plain.compile, {"defaults": {}}),
    "Signal": (g.Signal, {"name": "s", "type": int}),
    "step": (
        lambda **given: g.step(given.pop("fn"), **given),
        {
            "fn": one.fn, "id": "a", "name": "a", "description": "", "timeout": 1.0, "retries": 1,
            "executor": "loop", "limits": (), "reads": (), "continue_on_error": False,
        },
    ),
    "options": (
        one.options,
        {
            "id": "a", "name": "a", "description": "", "timeout": 1.0, "retries": 1,
            "limits": (), "reads": (), "continue_on_error": False,
        },
    ),
    "undo": (lambda **given: one.undo(given["step"]), {"step": undo_one}),
    "bind": (lambda **given: two.bind(given["id"], size=given["size"]), {"id": "b", "size": 3}),
    "RetryPolicy": (
        g.RetryPolicy,
        {
            "retries": 3, "initial_interval": 1.0, "backoff": "linear", "factor": 2.0,
            "max_interval": 60.0, "jitter": 0.1, "retry_on": (OSError,), "give_up_on": (),
        },
    ),
    "Limit": (g.Limit, {"name": "n", "concurrency": 3, "rate": 2.0, "per": 1.0}),
    "at_least": (lambda **given: g.at_least(given["count"]), {"count": 1}),
    "tolerate": (
        lambda **given: g.tolerate(given["count"]) if "count" in given else None, {"count": 1}
    ),
    "tolerate percent": (g.tolerate, {"percent": 5}),
    "RetryAfterError": (
        lambda **given: g.RetryAfterError(given["delay"], given["message"]),
        {"delay": 1.0, "message": ""},
    ),
    "RunFilter": (
        g.RunFilter,
        {
            "workflow_id": "w", "status": "failed", "resource_id": "r", "tags": {}, "limit": 3,
            "created_after": None, "created_before": None, "finished_before": None, "cursor": None,
        },
    ),
    "Engine": (
        g.Engine,
        {
            "store": "memory:", "workflows": [plain], "defaults": None,
            "max_concurrent_runs": 1, "max_concurrent_steps": 1, "max_threads": 1,
            "max_processes": 1, "executors": {}, "max_payload": 100, "lease": 30.0, "recover": True,
            "clock": None,
        },
    ),
    "Client": (
        g.Client,
        {
            "store": "memory:", "workflows": [plain], "defaults": None, "max_payload": 100,
            "clock": None,
        },
    ),
    "run": (
        lambda **given: g.run(given.pop("workflow"), given.pop("input"), **given),
        {
            "workflow": plain, "input": 1, "store": "memory:", "run_id": "r", "tags": {},
            "timeout": 5.0, "delay": 0, "priority": 0, "exclusive": False, "resource_id": "r",
            "if_exists": "raise", "state": {}, "defaults": None,
        },
    ),
    "open_store": (open_store, {"url": "memory:"}),
    "MemoryStore": (MemoryStore, {"keep_ended": 3}),
    "SqliteStore": (SqliteStore, {"path": "x.db", "synchronous": "full", "busy_timeout": 3.0}),
    "testing.context": (
        testing.context,
        {
            "run_id": "r", "workflow_id": "w", "path": "s", "attempt": 1, "deadline": None,
            "outputs": {}, "outcomes": {}, "run_input": 1, "state": {},
        },
    ),
    "testing.run": (
        lambda **given: testing.run_sync(given.pop("workflow"), given.pop("input"), **given),
        {"workflow": plain, "input": 1, "fakes": {}, "signals": [], "start": 0.0, "seed": 3},
    ),
    "with_fakes": (testing.with_fakes, {"workflow": plain, "fakes": {}}),
}  # fmt: skip


def problem(error: BaseException, name: str) -> str:
    """Return why an error for a junk argument is not as promised; empty: it is."""
    if not isinstance(error, PROMISED) or isinstance(error, UnicodeError):
        return f"raises {type(error).__name__}"
    if isinstance(error, g.GorkflowError) or name.rstrip("s") in str(error):
        return ""
    return "does not name it"


def accepts(label: str, name: str, junk: Any) -> bool:
    """Return whether the call would take the value, and with reason take its time."""
    waits = label == "run" and name == "delay"
    return waits and isinstance(junk, int | float) and 0 < junk < 1e9


@pytest.mark.filterwarnings("ignore::gorkflow.WorkflowDroppedWarning")
@pytest.mark.parametrize(
    ("label", "name"), [(label, name) for label, (_, base) in CALLS.items() for name in base]
)
def test_junk_raises_what_is_promised_and_names_the_argument(
    label: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, base = CALLS[label]
    call(**base)
    wrong = []
    for junk in JUNK:
        if accepts(label, name, junk):
            continue
        try:
            call(**{**base, name: junk})
        except Exception as error:
            if found := problem(error, name):
                wrong.append(f"{name}={brief(junk, 40)} {found}: {error!s:.100}")
    assert not wrong
