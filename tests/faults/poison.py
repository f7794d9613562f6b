"""Values that make trouble: what steps return and raise, what runs are started with, how large."""

from __future__ import annotations

import asyncio
import decimal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, field_validator

from gorkflow import Engine, FailureCode, InputInvalidError, RunStatus, Workflow, step
from tests.faults.files import quiet
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import a_folder

Make = Callable[[], Any]


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def cyclic_dict() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["self"] = found
    return found


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


class Evil:
    """Raises whatever one asks it for."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __eq__(self, other: object) -> bool:
        raise ValueError("no equality")

    def __hash__(self) -> int:
        raise ValueError("no hash")

    def __getattr__(self, name: str) -> Any:
        raise ValueError(f"no {name}")


class Text(str):
    __slots__ = ()


@dataclass
class Node:
    next: Any


class Picky(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def look(cls, value: int) -> int:
        if value == 13:
            raise RuntimeError("no error that a validator should raise")
        if value == 14:
            raise ValueError("fourteen \ud800")
        return value


def cyclic_node() -> Node:
    node = Node(None)
    node.next = node
    return node


OUTPUTS: dict[str, Make] = {
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "NaN inside": lambda: {"a": [1.0, float("-inf")]},
    "NaN as a key": lambda: {float("nan"): 1},
    "NUL": lambda: "a\0b",
    "lone surrogate": lambda: "a\ud800b",
    "surrogate as a key": lambda: {"\udfff": 1},
    "bytes": lambda: b"\xff\xfe",
    "memoryview": lambda: memoryview(b"abc"),
    "object": object,
    "function": lambda: deep,
    "generator": lambda: (n for n in range(3)),
    "lock": threading.Lock,
    "module": lambda: asyncio,
    "class": lambda: Evil,
    "exception": lambda: ValueError("as a value"),
    "cyclic list": cyclic,
    "cyclic dict": cyclic_dict,
    "cyclic dataclass": cyclic_node,
    "deep 500": lambda: deep(500),
    "deep 200,000": lambda: deep(200_000),
    "5,000 digits": lambda: 10**5_000,
    "400 digits": lambda: 10**400,
    "64 bits and one": lambda: 2**64,
    "complex": lambda: 1j,
    "set": lambda: {1, 2},
    "frozenset of objects": lambda: frozenset([object()]),
    "range": lambda: range(3),
    "tuple keys": lambda: {(1, 2): 3},
    "integer keys": lambda: {1: 2},
    "decimal NaN": lambda: decimal.Decimal("NaN"),
    "decimal": lambda: decimal.Decimal("1.10"),
    "path": lambda: Path("a/b"),
    "evil": Evil,
    "evil inside": lambda: [Evil()],
    "string of another class": lambda: Text("text"),
    "huge string": lambda: "x" * (6 * 1024 * 1024),
    "huge list": lambda: [0] * 3_000_000,
    "ellipsis": lambda: ...,
    "coroutine function": lambda: asyncio.sleep,
}


class NoTextError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    def __repr__(self) -> str:
        raise ValueError("no repr")


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__(threading.Lock())

    def __reduce__(self) -> Any:
        raise TypeError("can't be pickled")


class WrongTextError(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 - that is the point


class HomelessError(Exception):
    __module__ = None  # type: ignore[assignment]


class OutsideError(BaseException):
    pass


def chained(links: int) -> Exception:
    error = Exception("first")
    for number in range(links):
        error, error.__cause__ = Exception(f"link {number}"), error
    return error


def cyclic_cause() -> Exception:
    left, right = Exception("left"), Exception("right")
    left.__cause__, right.__cause__ = right, left
    return left


ERRORS: dict[str, Make] = {
    "no text": NoTextError,
    "text is a number": WrongTextError,
    "unpicklable": UnpicklableError,
    "homeless": HomelessError,
    "NUL": lambda: ValueError("a\0b"),
    "lone surrogate": lambda: ValueError("a\ud800b"),
    "10 MB": lambda: ValueError("x" * 10_000_000),
    "evil argument": lambda: ValueError(Evil()),
    "long chain": lambda: chained(2_000),
    "cyclic cause": cyclic_cause,
    "group of 1,000": lambda: ExceptionGroup("many", [ValueError(n) for n in range(1_000)]),
    "nested groups": lambda: ExceptionGroup("a", [ExceptionGroup("b", [NoTextError()])]),
    "stop iteration": lambda: StopIteration(1),
    "stop async iteration": StopAsyncIteration,
    "generator exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "recursion": RecursionError,
    "out of memory": MemoryError,
    "base exception": OutsideError,
    "timeout": TimeoutError,
    "a class": lambda: NoTextError,
    "no exception": lambda: 5,
}
INPUTS: dict[str, Make] = {
    "nothing": lambda: None,
    "another type": lambda: [1],
    "a number with a point": lambda: {"number": 1.5},
    "a validator that breaks": lambda: {"number": 13},
    "a validator that says no": lambda: {"number": 14},
    "no number": lambda: {"number": "x\ud800"},
    "evil": Evil,
    "cyclic": cyclic_dict,
    "deep": lambda: {"number": deep(100_000)},
    "NaN": lambda: {"number": float("nan")},
}


poison: list[Make] = []
"""What the next step returns or raises."""


@step
async def gives(number: int) -> Any:
    return poison[-1]()


@step
async def raises(number: int) -> int:
    raise poison[-1]()  # noqa: RSE102 - it is no class


@step
def raises_in_thread(number: int) -> int:
    raise poison[-1]()  # noqa: RSE102 - it is no class


@step
async def takes(value: Any) -> int:
    return 1


@step
async def fine(number: int) -> int:
    return number + 1


@step
async def takes_picky(picky: Picky) -> int:
    return picky.number


def condition_breaks(number: int) -> bool:
    raise poison[-1]()  # noqa: RSE102 - it is no class


GIVES = Workflow("gives", input=int).then(gives).then(takes)
RAISES = Workflow("raises", input=int).then(raises)
RAISES_IN_THREAD = Workflow("raises-in-thread", input=int).then(raises_in_thread)
ASKS = Workflow("asks", input=int).then_if(condition_breaks, fine)
PICKY = Workflow("picky", input=Picky).then(takes_picky)
FINE = Workflow("fine", input=int).then(fine)
EXPECTED = {
    GIVES.id: {FailureCode.ENCODING, FailureCode.PAYLOAD_TOO_LARGE, FailureCode.VALIDATION},
    RAISES.id: {FailureCode.STEP_FAILED, FailureCode.CANCELLED, FailureCode.TIMEOUT},
    RAISES_IN_THREAD.id: {FailureCode.STEP_FAILED, FailureCode.CANCELLED, FailureCode.TIMEOUT},
    ASKS.id: {FailureCode.CONDITION},
}


@fault("X1", "poisoned values", "what can't be JSON, breaks when looked at, or is no exception")
def poisoned(size: Size, seed: int) -> Result:
    result = Result()
    cases = [(GIVES, f"returns {name}", make) for name, make in OUTPUTS.items()]
    for workflow in (RAISES, RAISES_IN_THREAD, ASKS):
        cases += [(workflow, f"{workflow.id} {name}", make) for name, make in ERRORS.items()]
    chance("X1", seed).shuffle(cases)
    with a_folder() as folder, quiet():
        asyncio.run(_poison_all(folder / "runs.db", cases[: size.of(24, None, None, None)], result))
    return result


async def _poison_all(db: Path, cases: list[tuple[Any, str, Make]], result: Result) -> None:
    async with Engine(f"sqlite:{db}") as engine:
        for workflow, name, make in cases:
            with result.injection(name):
                async with asyncio.timeout(20):
                    await _poison_one(engine, workflow, make)
        for name, make in INPUTS.items():
            with result.injection(f"started with {name}"):
                async with asyncio.timeout(20):
                    await _refuses(engine, make())
    runs = await _reopened(db)
    with result.watch("afterwards"):
        assert all(run.status.terminal for run in runs), "a run is stuck"


async def _poison_one(engine: Engine, workflow: Workflow[int, Any], make: Make) -> None:
    """The run ends, in a way that has a code, and others go on."""
    poison[:] = [make]
    handle = await engine.start(workflow, 1)
    await handle.outcome()
    run = await engine.get_run(handle.run_id)
    await engine.steps(handle.run_id)
    if run.status == RunStatus.COMPLETED:
        assert workflow is GIVES, "an exception got lost"
    else:
        codes = {failure.code for failure in run.failures}
        assert run.status == RunStatus.FAILED
        assert codes <= EXPECTED[workflow.id], codes
    assert await engine.run(FINE, 1) == 2


async def _refuses(engine: Engine, value: Any) -> None:
    before = len(await engine.list_runs())
    try:
        await engine.start(PICKY, value)
    except InputInvalidError:
        assert len(await engine.list_runs()) == before, "it was stored"
    else:
        raise AssertionError("it was taken")


async def _reopened(db: Path) -> list[Any]:
    async with Engine(f"sqlite:{db}", recover=False) as engine:
        return [run for run in await engine.list_runs() if run.workflow_id != FINE.id]


# Sizes

KIB = 1024
MIB = 1024 * KIB
LIMIT = 4 * MIB


@step
async def makes(size: int) -> str:
    return "x" * (size - 2)  # two quotes make the rest


@step
async def measures(text: str) -> int:
    return len(text) + 2


LARGE = Workflow("large", input=int).then(makes).then(measures)
SIZES = (KIB, 256 * KIB, 2 * MIB, LIMIT - 1, LIMIT, LIMIT + 1, 16 * MIB, 100 * MIB)


@fault("X3", "huge payloads", "results and inputs around and far beyond the limit of 4 MiB")
def huge_payloads(size: Size, seed: int) -> Result:
    result = Result()
    with a_folder() as folder, quiet():
        asyncio.run(_huge(folder / "runs.db", SIZES[: size.of(7, None, None, None)], result))
    return result


async def _huge(db: Path, sizes: tuple[int, ...], result: Result) -> None:
    async with Engine(f"sqlite:{db}") as engine:
        for size in sizes:
            with result.injection(f"result of {size} bytes"):
                handle = await engine.start(LARGE, size)
                await handle.outcome()
                run = await handle.info()
                if size <= LIMIT:
                    assert run.output == size
                else:
                    (failure,) = run.failures
                    assert failure.code == FailureCode.PAYLOAD_TOO_LARGE, failure
            with result.injection(f"input of {size} bytes"):
                await _start_with(engine, size)
            assert await engine.run(FINE, 1) == 2


async def _start_with(engine: Engine, size: int) -> None:
    try:
        await engine.run(Workflow("text", input=str).then(measures), "x" * (size - 2))
    except InputInvalidError:
        assert size > LIMIT
    else:
        assert size <= LIMIT, "it was taken"
