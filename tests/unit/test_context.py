"""What a running step sees of its run."""

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from gorkflow.codec import Codec, codec_of
from gorkflow.context import StepContext
from gorkflow.errors import StepCancelledError, StepValueError, UnavailableError
from gorkflow.model import (
    Cancelled,
    Completed,
    Failed,
    Failure,
    FailureCode,
    Outcome,
    Skipped,
    instant,
)
from gorkflow.redaction import Redaction
from gorkflow.step import step


class Order(BaseModel):
    id: int


class BigOrder(Order):
    lines: int = 0


@step
async def check(order: Order) -> int:
    return 1


@dataclass
class FakeHost:
    readable: frozenset[str] = frozenset()
    outcomes: dict[str, Outcome[object]] = field(default_factory=dict)
    cancelled: bool = False
    reports: list[Any] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)
    log_level: int = logging.INFO
    redaction: Redaction | None = None
    max_payload: int = 1_000
    run_input: tuple[bytes | None, Codec | None] = (None, None)

    def outcome_of(self, node_id: str) -> Outcome[object] | None:
        return self.outcomes.get(node_id)

    def run_input_bytes(self) -> tuple[bytes | None, Codec | None]:
        return self.run_input

    def report(self, done: float, total: float | None, message: str) -> None:
        self.reports.append((done, total, message))

    def log(self, level: int, text: str) -> None:
        self.lines.append((level, text))


def context(host: FakeHost, *, path: str = "child/confirm", run_id: str = "r1") -> StepContext[Any]:
    return StepContext(
        host,
        run_id=run_id,
        workflow_id="checkout",
        step_id="confirm",
        path=path,
        attempt=2,
        deadline=None,
        deps="deps",
    )


FAILURE = Failure(
    path="check",
    step_id="check",
    attempt=1,
    code=FailureCode.STEP_FAILED,
    type="ValueError",
    message="no stock",
    at=instant(0),
)


def test_outputs_are_read_by_node_or_id():
    ctx = context(FakeHost(frozenset({"check"}), {"check": Completed("check", 7)}))
    assert ctx.outputs[check] == ctx.outputs["check"] == 7
    assert ctx.outputs.get(check, 0) == 7
    assert ctx.outcome(check) == Completed("check", 7)
    assert ctx.deps == "deps"


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (Failed("check", FAILURE), "'check' has no output, it failed: no stock"),
        (Skipped("check", "too small"), "was skipped: too small"),
        (Cancelled("check", "drained"), "was cancelled: drained"),
    ],
)
def test_why_there_is_no_output_is_told(outcome: Outcome[int], message: str):
    ctx = context(FakeHost(frozenset({"check"}), {"check": outcome}))
    with pytest.raises(UnavailableError, match=message):
        ctx.outputs[check]
    assert ctx.outputs.get(check, 5) == 5
    assert ctx.outputs.get(check) is None
    assert ctx.outcome(check) == outcome


def test_what_has_not_run_is_told_apart_from_what_was_not_declared():
    ctx = context(FakeHost(frozenset({"check"})))
    with pytest.raises(UnavailableError, match="'check' has not run yet"):
        ctx.outputs[check]
    with pytest.raises(
        UnavailableError, match=r"declare it, if there is such a step: @step\(reads="
    ):
        ctx.outputs["other"]
    with pytest.raises(UnavailableError, match="may not read 'other'"):
        ctx.outputs.get("other", 1)
    with pytest.raises(UnavailableError, match="may not read 'other'"):
        ctx.outcome("other")


BIG = BigOrder(id=1, lines=3)


def test_the_run_input_is_a_fresh_copy_of_its_own_type():
    ctx = context(FakeHost(run_input=(codec_of(BigOrder).encode(BIG), codec_of(BigOrder))))
    assert ctx.run_input(BigOrder) == BIG
    assert ctx.run_input(BigOrder) is not ctx.run_input(BigOrder)
    assert type(ctx.run_input(Order)) is BigOrder
    with pytest.raises(StepValueError):
        ctx.run_input(int)
    with pytest.raises(UnavailableError, match="takes no input"):
        context(FakeHost()).run_input(Order)


def test_the_idempotency_key_is_readable_and_bounded():
    host = FakeHost()
    assert context(host).idempotency_key == "r1:child/confirm"
    long = context(host, path="ä" * 300)
    key = long.idempotency_key
    assert len(key.encode()) <= 200
    assert key.startswith("r1:ä")
    assert key == context(host, path="ä" * 300).idempotency_key
    assert key != context(host, path="ä" * 301).idempotency_key
    exact = context(host, path="p" * 197)
    assert exact.idempotency_key == "r1:" + "p" * 197


def test_log_records_carry_the_ids(caplog: pytest.LogCaptureFixture):
    ctx = context(FakeHost())
    with caplog.at_level(logging.INFO, logger="gorkflow"):
        ctx.logger.info("hello %s", "you", extra={"mine": 1})
    record = caplog.records[0]
    assert record.getMessage() == "hello you"
    assert record.name == "gorkflow.step"
    fields = {name: getattr(record, name) for name in ("run_id", "workflow_id", "step_id", "path")}
    assert fields == {
        "run_id": "r1",
        "workflow_id": "checkout",
        "step_id": "confirm",
        "path": "child/confirm",
    }
    assert (record.attempt, record.mine) == (2, 1)
    assert ctx.logger is ctx.logger


def test_lines_are_kept_however_logging_is_configured(caplog: pytest.LogCaptureFixture):
    host = FakeHost()
    log = context(host).logger
    with caplog.at_level(logging.ERROR, logger="gorkflow.step"):
        log.debug("not kept")
        log.info("%d of %s", 1, "many")
        log.warning("{dict}: %(a)s", {"a": 7})
        log.log(15, "not kept")
        log.error("shown")
        assert log.isEnabledFor(logging.INFO)
        assert not log.isEnabledFor(logging.DEBUG)
        assert log.getEffectiveLevel() == logging.INFO
    assert host.lines == [(20, "1 of many"), (30, "{dict}: 7"), (40, "shown")]
    assert [record.message for record in caplog.records] == ["shown"]
    assert caplog.records[0].funcName == "test_lines_are_kept_however_logging_is_configured"


def test_what_is_not_kept_is_logged_all_the_same(caplog: pytest.LogCaptureFixture):
    host = FakeHost(log_level=logging.ERROR)
    with caplog.at_level(logging.DEBUG, logger="gorkflow.step"):
        context(host).logger.info("shown")
    assert host.lines == []
    assert [record.message for record in caplog.records] == ["shown"]


def test_a_kept_line_has_its_traceback():
    host = FakeHost()
    log = context(host).logger
    try:
        raise LookupError("no such page")
    except LookupError as error:
        caught = error
        log.exception("failed")
        log.info("as a tuple", exc_info=(LookupError, error, None))
    log.info("later", exc_info=caught)
    log.info("of nothing", exc_info=True)  # noqa: LOG014 - that is the case
    first, second, third, last = (text for _, text in host.lines)
    for text in (first, third):
        assert text.splitlines()[1].startswith("Traceback")
        assert text.splitlines()[-1] == "LookupError: no such page"
    assert second.splitlines()[0] == "as a tuple"
    assert second.endswith("LookupError: no such page")
    assert last == "of nothing"


class Odd:
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("args", [("%d", "x"), ("%s and %s", 1), ("none", 1), ("%s", Odd())])
def test_a_line_that_can_not_be_made_harms_nobody(args: tuple[Any, ...]):
    host = FakeHost()
    context(host).logger.info(*args)
    [(_, text)] = host.lines
    assert text.startswith(repr(args[0]))


def test_a_long_line_keeps_its_ends():
    host = FakeHost()
    log = context(host).logger
    log.info("\u00fc" * 5_000)
    log.info("a" * 2_048)
    log.info("%s", "first" + "b" * 5_000 + "\nmany\n" + "c" * 500 + "\nlast")
    log.info("lone \udc80")
    umlauts, fits, cut, lone = (text for _, text in host.lines)
    assert 2_040 <= len(umlauts.encode()) <= 2_048
    assert umlauts.strip("\u00fc") == "\u2026"
    assert fits == "a" * 2_048
    assert len(cut.encode()) <= 2_048
    assert cut.startswith("firstb")
    assert cut.endswith("b\u2026\nmany\n" + "c" * 500 + "\nlast")
    assert lone == "lone \\udc80"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ((1, 3, "x"), (1, 3, "x")),
        ((1.5,), (1.5, None, "")),
        ((float("nan"), float("inf")), (0.0, 0.0, "")),
        ((10**400, True), (0.0, 1.0, "")),
    ],
)
def test_progress_is_numbers(given: tuple[Any, ...], kept: tuple[Any, ...]):
    host = FakeHost()
    context(host).progress(*given)
    assert host.reports == [kept]


@pytest.mark.parametrize("given", [("x",), (None,), (1, "many"), (1, 2, None), (1, 2, b"x")])
def test_progress_of_another_type_is_an_error(given: tuple[Any, ...]):
    with pytest.raises(TypeError, match=r"ctx\.progress: (done|total|message) must be a"):
        context(FakeHost()).progress(*given)


def test_progress_and_cancellation_go_through_the_host():
    host = FakeHost()
    ctx = context(host)
    ctx.progress(1, 3, "pages")
    ctx.progress(2)
    assert host.reports == [(1, 3, "pages"), (2, None, "")]
    assert not ctx.cancelled
    ctx.raise_if_cancelled()
    host.cancelled = True
    assert ctx.cancelled
    with pytest.raises(StepCancelledError, match="'confirm' was cancelled"):
        ctx.raise_if_cancelled()
