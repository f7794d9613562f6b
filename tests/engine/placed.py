"""Steps that run elsewhere: found by name, so they stand in a module."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from gorkflow import NonRetryableError, Outcome, RetryAfterError, RetryPolicy, StepContext, step


@dataclass(frozen=True)
class Parcel:
    """A value with a type of its own."""

    name: str
    weight: float


@step(executor="process")
def pid(_: int) -> int:
    return os.getpid()


@step(executor="process")
def due_and_tags_there(ctx: StepContext, _: int) -> tuple[str, dict[str, str]]:
    return str(ctx.scheduled_for), dict(ctx.tags)


@step(executor="process")
def weigh(parcel: Parcel, factor: float = 1.0) -> Parcel:
    return Parcel(parcel.name, parcel.weight * factor)


heavier = weigh.bind("heavier", factor=3.0)


@step(executor="process")
def both(left: Parcel, right: Parcel) -> float:
    return left.weight + right.weight


@step(executor="process")
def tell(outcomes: tuple[Outcome[Parcel], Outcome[Parcel]]) -> list[str]:
    return [outcome.status for outcome in outcomes]


@step(executor="process")
def hang(folder: str) -> int:
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note = Path(folder, "pids.tmp")
    note.write_text(f"{os.getpid()} {helper.pid}")
    note.rename(Path(folder, "pids"))
    time.sleep(600)
    return 0


@step(executor="process")
def hold_the_gil(folder: str) -> int:
    note = Path(folder, "pids.tmp")
    note.write_text(str(os.getpid()))
    note.rename(Path(folder, "pids"))
    re.match(r"(a+)+$", "a" * 64 + "b")  # takes for ever, and lets no other thread run
    return 0


@step(executor="process")
def log_nonsense(number: int) -> int:
    logging.getLogger("placed").warning("%d items", "x")
    return number


@step(executor="process", retries=RetryPolicy(retries=1, initial_interval=0.01))
def raises_a_group(how: str) -> int:
    inside = {
        "final": [ValueError("no"), NonRetryableError("never")],
        "named": [UnreachableError("no"), UnreachableError("no")],
        "mixed": [UnreachableError("no"), ValueError("no")],
    }
    raise LookupError(how) from ExceptionGroup("several", inside[how])


class UnreachableError(Exception):
    """Loaded by who runs the step; its policy names it."""


@step(executor="process")
def die(how: str) -> int:
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "leave":
        sys.exit("no more")
    return os.getpid()


@step(executor="process", retries=2)
def die_once(folder: str) -> int:
    mark = Path(folder, "died")
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return 1


@step(executor="process", retries=5)
def raises(how: str) -> int:
    if how == "final":
        raise NonRetryableError("not again")
    if how == "later":
        raise RetryAfterError(3600)
    if how == "nan":
        return float("nan")  # type: ignore[return-value]
    raise LookupError(how)


@step(executor="process")
def prepare(number: int) -> Parcel:
    return Parcel("first", number)


@step(executor="process")
def look(ctx: StepContext, number: int) -> dict[str, str]:
    ctx.logger.info("looking at %s", number)
    logging.getLogger("other").error("from elsewhere")
    ctx.progress(1, 2, "half")
    return {
        "run_id": ctx.run_id,
        "path": ctx.path,
        "attempt": str(ctx.attempt),
        "key": ctx.idempotency_key,
        "deadline": str(ctx.deadline is not None),
        "cancelled": str(ctx.cancelled),
        "run_input": str(ctx.run_input(int)),
    }


@step(executor="process", reads=(prepare,))
def read(ctx: StepContext, number: int) -> str:
    parcel = ctx.outputs[prepare]
    again = ctx.outputs["prepare"]
    assert isinstance(parcel, Parcel)
    assert parcel == again
    return f"{parcel.name}, {ctx.outcome(prepare).status}"


@step(executor="process")
def undeclared(ctx: StepContext, number: int) -> str:
    return str(ctx.outputs["nothing"])


@step(executor="process")
def wants_deps(ctx: StepContext[object], number: int) -> str:
    return str(ctx.deps)


@step(executor="elsewhere")
def far(number: int) -> int:
    return number * 2


@step(executor="elsewhere")
def far_pid(_: int) -> int:
    return os.getpid()


@step(executor="elsewhere", retries=1)
def far_raises(number: int) -> int:
    raise LookupError(str(number))


@step(executor="elsewhere", timeout=0.2)
def far_waits(folder: str) -> int:
    Path(folder, "began").touch()
    while Path(folder).exists() and not Path(folder, "go").exists():
        time.sleep(0.005)
    return 1


def _plain(number: int) -> int:
    return number + 1


renamed = step(_plain, id="renamed", executor="process")


@step(executor="process")
def hidden(number: int) -> int:
    return number


found_no_more, hidden = hidden, 3  # type: ignore[assignment]


@step(executor="process")
def killed(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@step(executor="process")
def killed_undone(number: int, result: int | None) -> str:
    return f"{number} {result}"


@step
def talks(ctx: StepContext, go: str) -> int:
    ctx.logger.info("begins")
    ctx.progress(1, 2, "half")
    while not Path(go).exists():
        time.sleep(0.01)
    for number in range(1_100):
        ctx.logger.info("line %d", number)
    return 1


@step
def fails_and_logs(ctx: StepContext, text: str) -> int:
    ctx.logger.info("fails")
    raise LookupError(text)
