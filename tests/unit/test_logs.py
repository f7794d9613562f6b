"""One record is one line of a log, whatever the texts of users hold."""

from __future__ import annotations

import io
import logging
import logging.handlers
import pickle
import queue
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import gorkflow
from gorkflow import Engine, Failure, FailureCode, RunFailedError, StepContext, Workflow, run, step
from gorkflow._logs import NAMES
from tests.engine.support import in_loop

EVIL = "no\n12:00:00 run r9 completed\x1b[2J\r\x07\u202e\u2028\udc80\x85\x9b1m end"
SAFE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u202e\u2028\udc80]*")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Keep what a program's own handler writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("gorkflow")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


def check(stream: io.StringIO) -> list[str]:
    """Return the records, each of which has to be a safe line; tracebacks stand to the right."""
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert all(SAFE.fullmatch(line) for line in lines), lines
    records = [line for line in lines if not line.startswith("    ")]
    assert all(re.match(r"\d{4}-\d\d-\d\d ", line) for line in records), records
    return records


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("message", "args"),
    [
        (EVIL, ()),
        (f"{EVIL} %s", (EVIL,)),
        ("%(a)s", ({"a": EVIL},)),
        ("%r %s %d", (EVIL, ValueError(EVIL), 3)),
        ("%s", ([EVIL],)),
    ],
)
def test_no_message_makes_a_line_of_its_own(
    log: io.StringIO, name: str, message: str, args: tuple[Any, ...]
) -> None:
    logging.getLogger(name).warning(message, *args)
    (record,) = check(log)
    assert "end" in record


def test_plain_messages_are_left_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("gorkflow.engine").warning("run %r: %s é", "r", 1)
    (record,) = caplog.records
    assert (record.msg, record.args) == ("run %r: %s é", ("r", 1))


def test_a_traceback_stands_to_the_right(log: io.StringIO) -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        logging.getLogger("gorkflow.engine").exception("it broke")
    assert len(check(log)) == 1
    assert "    ValueError: no\n    12:00:00 run r9" in log.getvalue()


def test_a_stack_and_the_name_of_a_level_make_no_line_of_their_own(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(logging._levelToName, 35, EVIL)
    logging.getLogger("gorkflow.step").log(35, "here", stack_info=True)
    assert len(check(log)) == 1
    assert "    Stack (most recent call last)" in log.getvalue()


def test_a_failure_stays_one_for_handlers(caplog: pytest.LogCaptureFixture) -> None:
    failure = Failure(
        path="a", step_id="a", attempt=1, code=FailureCode.STEP_FAILED, type="builtins.ValueError",
        message=EVIL, at=datetime.now(UTC),
    )  # fmt: skip
    logging.getLogger("gorkflow.step").warning("run %r: %s", "r", failure)
    (record,) = caplog.records
    assert isinstance(record.args, tuple)
    assert isinstance(record.args[1], Failure)
    assert SAFE.fullmatch(record.getMessage())


def test_a_record_can_still_cross_to_another_process() -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    logger = logging.getLogger("gorkflow.run")
    logger.addHandler(handler)
    logger.warning("%s", EVIL)
    logger.removeHandler(handler)
    assert SAFE.fullmatch(pickle.loads(pickle.dumps(records.get())).getMessage())


@step
async def bad(ctx: StepContext, value: int) -> int:
    ctx.logger.warning(EVIL)
    ctx.logger.warning("%s", EVIL, extra={"more": EVIL})
    raise ValueError(EVIL)


@step(executor="process", id="away")
def bad_elsewhere(ctx: StepContext, value: int) -> int:
    ctx.logger.warning(EVIL)
    raise ValueError(EVIL)


@pytest.mark.parametrize("failing", [bad, bad_elsewhere])
def test_steps_write_lines_and_nothing_else(log: io.StringIO, failing: Any) -> None:
    with pytest.raises(RunFailedError):
        run(Workflow("w", input=int).then(failing.options(retries=1)), 1, store="memory:")
    assert len(check(log)) >= 3


@in_loop
async def test_a_reason_writes_one_line(log: io.StringIO) -> None:
    async with Engine("memory:") as engine:
        handle = await engine.start(Workflow("w", input=int).sleep(100).then(bad), 1)
        await handle.cancel(EVIL.replace("\udc80", ""))
        await handle.outcome()
    check(log)


def test_every_logger_of_ours_is_guarded() -> None:
    source = Path(gorkflow.__file__).parent
    texts = [path.read_text(encoding="utf-8") for path in source.rglob("*.py")]
    found = {name for text in texts for name in re.findall(r'getLogger\("(gorkflow[^"]*)"\)', text)}
    assert found - {"gorkflow"} <= set(NAMES)
    assert "gorkflow.step" in found
