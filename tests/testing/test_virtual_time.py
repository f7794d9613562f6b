"""Virtual time jumps when nothing else can happen, and never over what goes on outside."""

import asyncio
import concurrent.futures
import logging
import socket
import sys
import threading
import time
from datetime import UTC, datetime

import pytest

from gorkflow import Engine, RetryPolicy, StepContext, Workflow, step, testing
from gorkflow.clock import background
from gorkflow.testing import VirtualClock, VirtualEngine, VirtualLoop, in_virtual_time

DAY = 86_400.0


def now() -> float:
    return asyncio.get_running_loop().time()


def test_sleeping_for_years_takes_no_time_and_is_exact():
    async def main() -> list[float]:
        began = now()
        order: list[float] = []

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            order.append(now() - began)

        await asyncio.gather(sleep(3 * 365 * DAY), sleep(DAY), sleep(0.25))
        return order

    began = time.monotonic()
    assert in_virtual_time(main()) == [0.25, DAY, 3 * 365 * DAY]
    assert time.monotonic() - began < 5


def test_timeouts_are_virtual():
    async def main() -> float:
        began = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return now() - began

    assert in_virtual_time(main()) == 3600


def test_time_stands_still_while_anything_is_ready():
    async def main() -> float:
        began = now()
        for _ in range(1000):
            await asyncio.sleep(0)
        return now() - began

    assert in_virtual_time(main()) == 0


def test_the_time_of_day_is_the_one_given():
    start = datetime(2030, 6, 1, 12, tzinfo=UTC)

    async def main() -> float:
        await asyncio.sleep(60)
        return now()

    assert in_virtual_time(main(), start=start) == start.timestamp() + 60


def test_it_does_not_jump_over_threads_of_the_default_executor():
    async def main() -> str:
        async with asyncio.timeout(5):  # a jump would end it at once
            return await asyncio.to_thread(lambda: time.sleep(0.1) or "done")

    assert in_virtual_time(main()) == "done"


def test_real_time_flows_while_it_waits_so_that_timeouts_of_threads_come():
    release = threading.Event()

    async def main() -> float:
        began = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await asyncio.to_thread(release.wait, 30)
        release.set()
        return now() - began

    assert in_virtual_time(main()) == pytest.approx(0.2, abs=1e-5)


def test_it_does_not_jump_over_sockets():
    def answer(server: socket.socket) -> None:
        connection, _ = server.accept()
        time.sleep(0.1)
        connection.sendall(b"hello\n")
        connection.close()

    async def main() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=answer, args=(server,))
            thread.start()
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(*server.getsockname())
                line = await reader.readline()
            writer.close()
            await writer.wait_closed()
            thread.join()
            return line

    assert in_virtual_time(main()) == b"hello\n"


def test_it_does_not_jump_over_subprocesses():
    async def main() -> int:
        async with asyncio.timeout(20):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "import time; time.sleep(0.1)"
            )
            return await process.wait()

    assert in_virtual_time(main()) == 0


def test_it_does_not_wait_for_subprocesses_of_other_loops():
    async def main():
        code = "input()"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE
        )
        began = time.monotonic()
        assert in_virtual_time(asyncio.sleep(3600, "done")) == "done"  # in a thread of its own
        assert time.monotonic() - began < 60
        await process.communicate(b"go")

    asyncio.run(main())


def test_outside_declares_what_the_loop_can_not_see():
    async def main() -> str:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            future = pool.submit(lambda: time.sleep(0.1) or "done")
            async with asyncio.timeout(5):
                with testing.outside():
                    return await asyncio.wrap_future(future)

    assert in_virtual_time(main()) == "done"
    assert asyncio.run(main()) == "done"  # and does nothing where time is real


def test_nothing_left_to_happen_is_an_error_that_says_so():
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(testing.StuckError, match="nothing can happen any more"):
        in_virtual_time(main())


def test_background_timers_come_due_but_are_not_jumped_to():
    async def main() -> tuple[int, float]:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                with background():
                    await asyncio.sleep(1)
                beats += 1

        task = asyncio.create_task(beat())
        began = now()
        await asyncio.sleep(DAY)
        task.cancel()
        return beats, now() - began

    assert in_virtual_time(main()) == (1, DAY)


def test_background_timers_are_jumped_to_where_nothing_else_is_left():
    async def main() -> float:
        began = now()
        with background():
            await asyncio.sleep(7)
        return now() - began

    assert in_virtual_time(main()) == 7


def test_a_periodic_background_task_does_not_keep_a_stuck_program_alive():
    async def main() -> None:
        async def beat() -> None:
            while True:
                with background():
                    await asyncio.sleep(1)

        task = asyncio.create_task(beat())
        await asyncio.Event().wait()
        task.cancel()

    with pytest.raises(testing.StuckError):
        in_virtual_time(main())


def test_a_clock_of_another_loop_is_refused():
    async def main() -> None:
        VirtualClock().call_at(1.0, print)

    with pytest.raises(RuntimeError, match="moved by its own VirtualLoop"):
        asyncio.run(main())
    with pytest.raises(RuntimeError, match="moved by its own VirtualLoop"):
        in_virtual_time(main())


def test_a_virtual_engine_wants_virtual_time():
    async def main() -> None:
        async with VirtualEngine():
            raise AssertionError("not reached")

    with pytest.raises(RuntimeError, match="in_virtual_time"):
        asyncio.run(main())


def test_in_virtual_time_works_where_a_loop_runs():
    async def inner() -> bool:
        await asyncio.sleep(DAY)
        return isinstance(asyncio.get_running_loop(), VirtualLoop)

    async def outer() -> bool:
        return in_virtual_time(inner())

    assert asyncio.run(outer()) is True


@step(timeout=60, retries=RetryPolicy(retries=2, initial_interval=10, jitter=0))
async def flaky(ctx: StepContext, number: int) -> int:
    if ctx.attempt == 1:
        raise ValueError("not yet")
    if ctx.attempt == 2:
        await asyncio.sleep(DAY)  # the timeout ends it
    return number


@step
def threaded(number: int) -> int:
    time.sleep(0.05)
    return number


async def whole(engine: Engine) -> tuple[int, float]:
    workflow = Workflow("timed", input=int).parallel(flaky, threaded).then(add)
    async with engine:
        began = now()
        return await engine.run(workflow, 1), now() - began


@step
async def add(a: int, b: int) -> int:
    return a + b


def test_back_off_and_timeouts_of_an_engine_are_virtual(caplog):
    caplog.set_level(logging.ERROR)
    output, took = in_virtual_time(whole(VirtualEngine()))
    assert output == 2
    # Two intervals, the second twice as long, and the timeout; the thread took real time.
    assert took == pytest.approx(10 + 60 + 20, abs=8)
    assert caplog.records == []


def test_a_virtual_engine_waits_for_its_store(tmp_path):
    output, took = in_virtual_time(whole(VirtualEngine(f"sqlite:{tmp_path / 'runs.db'}")))
    assert output == 2
    assert took == pytest.approx(10 + 60 + 20, abs=8)


def test_a_day_of_virtual_time_is_milliseconds_of_real_time():
    @step
    async def wait(number: int) -> int:
        await asyncio.sleep(DAY)
        return number

    workflow = Workflow("waiting", input=int).then(wait)
    testing.run_sync(workflow, 1)  # loads what is slow to load
    began = time.process_time()
    assert testing.run_sync(workflow, 1).output == 1
    assert time.process_time() - began < 1  # 86,400 heartbeats take longer


def test_runs_that_are_left_in_memory_are_lost(caplog):
    waiting = Workflow("waiting", input=int).sleep(DAY)

    async def main():
        async with VirtualEngine() as engine:
            await engine.start(waiting, 1)

    in_virtual_time(main())
    assert "lost with the store in memory" in caplog.text
