"""Log records as JSON lines."""

import io
import json
import logging
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gorkflow import Engine, StepContext, Workflow, step
from gorkflow.telemetry import JsonFormatter
from tests.engine.support import in_loop

from .tools import Recorder


class Hostile:
    """Answers nothing."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


texts = st.text(st.characters(), max_size=20)  # with lone surrogates
scalars = st.one_of(
    st.none(), st.booleans(), texts, st.integers(), st.floats(), st.binary(max_size=4),
    st.builds(Hostile), st.integers(4_400, 5_000).map(lambda digits: 10**digits),
)  # fmt: skip
keys = st.one_of(st.none(), texts, st.integers(), st.floats())
fields = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def strict(line: str) -> dict[str, Any]:
    """Return the object of a line, which has to be JSON in ASCII without control characters."""
    assert line.isascii()
    assert line.isprintable()

    def rejected(text: str) -> None:
        raise AssertionError(text)

    found = json.loads(line, parse_constant=rejected)
    json.dumps(found, ensure_ascii=False).encode()  # no lone surrogates
    return found


@given(
    message=texts,
    args=st.lists(scalars, max_size=3).map(tuple),
    extra=st.dictionaries(texts, fields, max_size=4),
    created=st.floats(),
    error=st.sampled_from([None, ValueError("é\n\ud800"), HostileError()]),
)
def test_a_record_is_one_line_of_valid_json(
    message: str,
    args: tuple[Any, ...],
    extra: dict[str, Any],
    created: float,
    error: BaseException | None,
):
    record = logging.makeLogRecord(
        {
            **extra,
            "name": "gorkflow.step",
            "msg": message,
            "args": args,
            "created": created,
            "levelname": "INFO",
            "exc_text": None,
            "exc_info": None if error is None else (type(error), error, None),
        }
    )
    found = strict(JsonFormatter().format(record))
    assert found["level"] == "INFO"
    assert found["logger"] == "gorkflow.step"
    assert {"time", "message"} <= found.keys()
    assert ("exception" in found) or error is None


def test_a_list_that_holds_itself_ends():
    loop: list[Any] = []
    loop.append(loop)
    record = logging.makeLogRecord({"msg": "m", "loop": loop, "self": {"me": loop}})
    assert strict(JsonFormatter().format(record))["message"] == "m"


def test_a_record_that_can_t_be_read_is_a_line_too():
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError

    record = logging.makeLogRecord({"msg": "m", "odd": Odd()})
    assert strict(JsonFormatter().format(record))["level"] == "ERROR"


def test_fields_stand_in_order_and_can_t_replace_the_first():
    record = logging.makeLogRecord(
        {"name": "n", "levelname": "INFO", "msg": "hello %s", "args": ("you",), "created": 0.25}
    )
    vars(record).update(
        attempt=2, path="charge", run_id="r", time="late", user={"id": 7}, stack_info="stack"
    )
    found = strict(JsonFormatter().format(record))
    assert found == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "n",
        "message": "hello you",
        "run_id": "r",
        "path": "charge",
        "attempt": 2,
        "stack": "stack",
        "user": {"id": 7},
    }
    assert list(found)[:7] == ["time", "level", "logger", "message", "run_id", "path", "attempt"]


@pytest.fixture
def lines():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("gorkflow")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


@in_loop
async def test_what_a_step_logs_has_its_ids_and_its_span(lines: io.StringIO):
    seen = Recorder()

    @step(retries=1)
    async def tries(ctx: StepContext, number: int) -> int:
        ctx.logger.info("number %d\nof many", number)
        if ctx.attempt == 1:
            raise ValueError("no")
        return number

    async with Engine("memory:", telemetry=seen.telemetry) as engine:
        await engine.run(Workflow("logs", input=int).then(tries), 7, run_id="r")
    found = [strict(line) for line in lines.getvalue().splitlines()]
    said = [line for line in found if line["message"].startswith("number 7")]
    assert [(it["run_id"], it["workflow_id"], it["path"], it["attempt"]) for it in said] == [
        ("r", "logs", "tries", 1),
        ("r", "logs", "tries", 2),
    ]
    spans = seen.named("attempt tries")
    assert [it["span_id"] for it in said] == [f"{it.context.span_id:016x}" for it in spans]
    (failed,) = [line for line in found if line["level"] == "WARNING"]
    assert (failed["run_id"], failed["path"], failed["attempt"]) == ("r", "tries", 1)


@in_loop
async def test_without_a_span_there_are_no_ids_of_one(lines: io.StringIO):
    @step
    def says(ctx: StepContext, number: int) -> int:
        ctx.logger.info("here")
        return number

    async with Engine("memory:") as engine:
        await engine.run(Workflow("logs", input=int).then(says), 7)
    assert all("trace_id" not in strict(line) for line in lines.getvalue().splitlines())
