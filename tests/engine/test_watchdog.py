"""A step that blocks the event loop is named; others don't pay for it, and nobody is slandered."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gorkflow import Engine, RunFailedError, Workflow, step
from gorkflow.engine import _decision, _watchdog
from gorkflow.engine._decision import Evaluation
from gorkflow.engine._watchdog import Countdown, Watchdog, _kind, holder

from .support import DEADLINE, in_loop

NAMED = "the event loop for"
watched: list[Watchdog] = []


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a step sooner, so that tests need not block for long; know the engine's watchdog."""
    monkeypatch.setattr(_watchdog, "BLOCKED", 0.3)
    watched.clear()
    start = Watchdog.start

    def known(self: Watchdog) -> None:
        watched.append(self)
        start(self)

    monkeypatch.setattr(Watchdog, "start", known)


def hold() -> None:
    """Hold the loop's thread until that would be named, as a client does that blocks."""
    hold_until(lambda hold: hold is not None and time.monotonic() - hold.since > 0.5)


def pause(seconds: float) -> None:
    time.sleep(seconds)


def hold_until(is_enough: Callable[[Any], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not is_enough(watched[-1]._hold) and time.monotonic() < end:
        time.sleep(0.01)  # HERE


HERE = next(
    number
    for number, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1)
    if line.endswith("# HERE")
)


@step(timeout=0.2)
async def beat(x: int) -> int:
    await asyncio.sleep(0.05)
    return x


@step
async def blocks(x: int) -> int:
    hold()
    return x


@step
async def by_a_task(x: int) -> int:
    async def inner() -> None:
        hold()

    await asyncio.gather(inner(), asyncio.sleep(0))
    return x


@step
async def by_a_callback(x: int) -> int:
    called = asyncio.Event()

    def call() -> None:
        hold()
        called.set()

    asyncio.get_running_loop().call_soon(call)
    await called.wait()
    return x


@step
async def while_it_cleans_up(x: int) -> int:
    try:
        await asyncio.sleep(0)
    finally:
        hold()
    return x


def named(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in caplog.messages if NAMED in text]


@pytest.mark.parametrize("guilty", [blocks, by_a_task, by_a_callback, while_it_cleans_up])
def test_a_step_that_blocks_is_named_and_others_do_not_pay(
    guilty: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> str:
        async with Engine("memory:") as engine:
            handle = await engine.start(Workflow("w", input=int).parallel(guilty, beat), 1)
            assert await handle.result() == (1, 1)
            return handle.run_id

    run_id = asyncio.run(main())
    (text,) = named(caplog)
    assert text.startswith(f"step {guilty.id!r} of run {run_id!r} blocked {NAMED}")
    assert f"at {__file__}:{HERE} in hold_until;" in text
    seconds = re.search(r"for (\d+\.\d) s", text)
    assert seconds is not None
    assert float(seconds[1]) >= 0.3  # of those it held: some pass before the first look


def test_it_is_named_once_in_a_run_and_again_in_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        workflow = Workflow("w", input=list[int]).map(blocks, max_concurrency=1)
        async with Engine("memory:") as engine:
            for _ in range(2):
                await engine.run(workflow, [1, 2, 3])

    asyncio.run(main())
    assert len(named(caplog)) == 2


def test_a_condition_is_named(caplog: pytest.LogCaptureFixture) -> None:
    async def holds(x: int) -> bool:
        hold()
        return True

    async def main() -> None:
        async with Engine("memory:") as engine:
            await engine.run(Workflow("w", input=int).then_if(holds, beat, default=0), 1)

    asyncio.run(main())
    (text,) = named(caplog)
    assert "in hold_until" in text


def test_one_call_that_lets_no_other_thread_run_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @step
    async def hogs(x: int) -> int:
        end = time.monotonic() + DEADLINE
        pattern = re.compile("(a+)+$")
        length = 18
        while time.monotonic() < end:
            began = time.monotonic()
            pattern.match("a" * length + "b")
            if time.monotonic() - began > 0.6:
                break
            length += 1
            await asyncio.sleep(0.2)  # so that each call is a hold of its own
        return x

    async def main() -> None:
        async with Engine("memory:") as engine:
            await engine.run(Workflow("w", input=int).then(hogs), 1)

    asyncio.run(main())
    (told,) = named(caplog)
    assert f"at {__file__}:" in told
    assert "in hogs;" in told


@step
async def several(x: int) -> list[int]:
    return [x]


def beside_a_block(kind: str, asked: Callable[[int], Any]) -> Workflow[int, Any]:
    """Make a workflow that asks a function, of this kind."""
    inner = Workflow("inner", input=int)
    if kind == "condition":
        return inner.then_if(asked, beat, default=0)
    if kind == "time":
        return inner.sleep(asked)
    return inner.then(several).map(beat, key=asked)


@pytest.mark.parametrize("kind", ["condition", "key", "time"])
def test_functions_do_not_pay_for_a_step_that_blocks(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def countdown(
        dog: Any, work: Evaluation, seconds: float, over: Callable[[], object]
    ) -> Countdown:
        return Countdown(dog, work, 0.4, over)

    monkeypatch.setattr(_decision, "Countdown", countdown)

    async def main() -> None:
        begun = asyncio.Event()

        async def asked(x: int) -> Any:
            begun.set()
            await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)  # which begins after the block
            return {"condition": True, "key": "k", "time": 0.0}[kind]

        @step
        async def blocks_then(x: int) -> int:
            await begun.wait()
            hold()
            return x

        workflow = Workflow("w", input=int).parallel(blocks_then, beside_a_block(kind, asked))
        async with Engine("memory:") as engine:
            assert await engine.run(workflow, 1)

    asyncio.run(main())


def test_a_step_pays_for_its_own_blocks() -> None:
    @step(timeout=0.5)
    async def selfish(x: int) -> int:
        for _ in range(1000):
            hold_until(lambda hold: hold is not None and time.monotonic() - hold.since > 0.2)
            await asyncio.sleep(0)
        return x

    async def main() -> None:
        async with Engine("memory:") as engine:
            with pytest.raises(RunFailedError) as caught:
                await engine.run(Workflow("w", input=int).then(selfish), 1)
            assert caught.value.failures[0].code == "timeout"

    asyncio.run(main())


def test_a_timeout_still_comes_beside_a_step_that_blocks_again_and_again() -> None:
    stop: list[bool] = []

    @step(timeout=0.3)
    async def hangs(x: int) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            stop.append(True)
        return x

    @step
    async def stutters(x: int) -> int:
        while not stop:
            pause(0.15)
            await asyncio.sleep(0.05)
        return x

    async def main() -> None:
        async with Engine("memory:") as engine:
            with pytest.raises(RunFailedError):
                await engine.run(Workflow("w", input=int).parallel(hangs, stutters), 1)

    asyncio.run(main())
    assert stop


@step
async def idles(x: int) -> int:
    await asyncio.sleep(0.8)
    return x


@step
async def works(x: int) -> int:
    end = time.monotonic() + 0.8
    while time.monotonic() < end:
        await asyncio.sleep(0)
    return x


@pytest.mark.parametrize("innocent", [idles, works])
def test_who_lets_others_go_on_is_not_named(
    innocent: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with Engine("memory:") as engine:
            await engine.run(Workflow("w", input=int).then(innocent), 1)

    asyncio.run(main())
    assert named(caplog) == []


def test_our_own_code_is_not_blamed_on_a_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit and an encoding that take long, beside a step and within its own task."""
    from gorkflow.engine import _attempt
    from gorkflow.stores.memory import MemoryStore

    def slow(*args: Any) -> Any:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            json.dumps(list(range(1000)))
        return args

    for owner, name in ((_attempt, "encoded"), (MemoryStore, "write")):
        plain = getattr(owner, name)
        code = compile(
            "def late(*args): slow(); return plain(*args)", str(owner_file(owner)), "exec"
        )
        space = {"slow": ours(slow, owner_file(owner)), "plain": plain}
        exec(code, space)
        monkeypatch.setattr(owner, name, space["late"])

    async def main() -> None:
        async with Engine("memory:") as engine:
            await engine.run(Workflow("w", input=int).parallel(idles, beat), 1)

    asyncio.run(main())
    assert named(caplog) == []


def owner_file(owner: Any) -> str:
    module = sys.modules[getattr(owner, "__module__", owner.__name__)]
    assert module.__file__ is not None
    return module.__file__


def ours(function: Any, file: str) -> Any:
    """Return a function as if it stood in a file of ours."""
    code = function.__code__.replace(co_filename=file)
    return type(function)(code, function.__globals__, closure=function.__closure__)


def test_the_garbage_collector_is_not_blamed_on_a_step(caplog: pytest.LogCaptureFixture) -> None:
    heap: list[Any] = [[] for _ in range(3_000_000)]

    @step
    async def allocates(x: int) -> int:
        await asyncio.sleep(0.2)
        began = time.monotonic()
        while time.monotonic() - began < 0.6:
            gc.collect()
        await asyncio.sleep(0.2)
        return x

    async def main() -> None:
        async with Engine("memory:") as engine:
            await engine.run(Workflow("w", input=int).then(allocates), 1)

    was = gc.isenabled()
    asyncio.run(main())
    assert was == gc.isenabled()
    assert heap
    assert len(named(caplog)) <= 1


def test_a_process_that_was_stopped_is_blamed_on_nobody(tmp_path: Path) -> None:
    program = tmp_path / "stopped.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, logging, sys
            from gorkflow import Engine, Workflow, step

            logging.basicConfig(level=logging.WARNING, stream=sys.stdout)

            @step(timeout=5)
            async def spins(x: int) -> int:
                for _ in range(60):
                    await asyncio.sleep(0.01)
                    sum(range(20_000))
                    print("spins", flush=True)
                return x

            async def main():
                async with Engine("memory:") as engine:
                    print(await engine.run(Workflow("w", input=int).then(spins), 1), flush=True)

            asyncio.run(main())
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert "spins" in child.stdout.readline()
        os.kill(child.pid, signal.SIGSTOP)
        threading.Event().wait(1.5)
        os.kill(child.pid, signal.SIGCONT)
        output = child.stdout.read()
    assert NAMED not in output
    assert output.endswith("1\n")


def test_to_look_leaves_nothing_to_the_collector() -> None:
    class Local:
        pass

    def ends(local: Any) -> None:
        looks = threading.Thread(target=holder, args=(threading.get_ident(),))
        looks.start()
        looks.join()

    was = gc.isenabled()
    gc.disable()
    try:
        local = Local()
        gone = weakref.ref(local)
        ends(local)
        del local
        assert gone() is None
    finally:
        if was:
            gc.enable()


def test_where_a_line_stands() -> None:
    assert _kind(__file__) == "program"
    assert _kind(_watchdog.__file__) == "ours"
    assert _kind(json.__file__) == _kind("<frozen importlib._bootstrap>") == "library"
    assert _kind(pytest.__file__) == "library"
    import bdb

    assert _kind(bdb.__file__) == "debugger"


@in_loop
async def test_the_thread_ends_with_its_engine() -> None:
    async with Engine("memory:"):
        assert any(each.name == "gorkflow-watchdog" for each in threading.enumerate())
    assert not any(each.name == "gorkflow-watchdog" for each in threading.enumerate())
