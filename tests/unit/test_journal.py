"""Events survive the way into rows and back; rows that were damaged are named."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gorkflow import events as ev
from gorkflow.errors import StoreCorruptError
from gorkflow.journal import Row, from_row, to_row
from gorkflow.model import RunStatus
from gorkflow.state_changes import OPS, Write
from gorkflow.testing.conformance import EVENTS
from tests.replacing import replace
from tests.unit.test_references import FAILURES, REFS

FLOATS = st.floats(0, 250_000_000_000)  # seconds: instants and durations
TEXT = st.text(max_size=20)
WRITES = st.lists(st.builds(Write, TEXT, st.sampled_from(OPS), TEXT), max_size=3).map(tuple)
BY_ANNOTATION = {
    "bool": st.booleans(),
    "int": st.integers(0, 2**63 - 1),
    "str": TEXT,
    "str | None": st.none() | TEXT,
    "Seconds": FLOATS,
    "ClockChange": FLOATS,
    "bytes": st.binary(max_size=50),
    "int | None": st.none() | st.integers(1),
    "Seconds | None": st.none() | FLOATS,
    "bytes | None": st.none() | st.binary(max_size=50),
    "Failure": FAILURES,
    "RunStatus": st.sampled_from(RunStatus),
    "Ref": REFS,
    "tuple[Write, ...]": WRITES,
    "tuple[str, ...] | None": st.none() | st.lists(TEXT, max_size=3).map(tuple),
    "tuple[str, ...]": st.lists(TEXT, max_size=2).map(tuple),
    "tuple[Failure, ...]": st.lists(FAILURES, max_size=2).map(tuple),
    "tuple[FailureRef, ...]": st.lists(st.integers(1) | FAILURES, max_size=2).map(tuple),
}


def by_type(cls, name):
    return next(
        BY_ANNOTATION[c.__annotations__[name]] for c in cls.__mro__ if name in c.__annotations__
    )


def events_of(cls):
    return st.builds(cls, **{field.name: by_type(cls, field.name) for field in structs.fields(cls)})


ANY_EVENT = st.one_of([events_of(cls) for cls in ev.EVENT_TYPES.values()])


@given(ANY_EVENT)
def test_an_event_comes_back_equal(event):
    row = to_row(event)
    assert from_row(row) == event
    assert (row.run_id, row.seq, row.kind, row.path, row.at) == (
        event.run_id, event.seq, event.kind, event.path, event.at
    )  # fmt: skip


@given(ANY_EVENT)
def test_the_body_is_small_plain_json(event):
    body = to_row(event).body
    assert type(json.loads(body)) is dict
    assert ": " not in re.sub(r'"([^"\\]|\\.)*"', "", body)


def test_every_kind_has_a_sample():
    assert {type(event) for event in EVENTS} == set(ev.EVENT_TYPES.values())


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_samples_come_back_equal(event):
    assert from_row(to_row(event)) == event


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (ev.RunCreated("r", 1, "", 1.5, "f", b"1"), '{"fingerprint":"f"}'),
        (ev.RunCreated("r", 1, "", 1.5, "f", b"1", 60), '{"fingerprint":"f","timeout":60}'),
        (
            ev.RunCreated("r", 1, "", 1.5, "f", b"1", defined_at=0.5),
            '{"fingerprint":"f","defined_at":0.5}',
        ),
        (ev.RunStarted("r", 2, "", 1.5, None), '{"deadline":null}'),
        (ev.RunStarted("r", 2, "", 1.5, 9.5), '{"deadline":9.5}'),
        (ev.StepScheduled("r", 3, "a", 1.5, 1, 2, 0.5), '{"attempt":1,"input":2,"ready_at":0.5}'),
        (
            ev.StepScheduled("r", 3, "a", 1.5, 1, (2, None), 1e300),
            '{"attempt":1,"input":[2,null],"ready_at":1e300}',
        ),
        (
            ev.StepScheduled("r", 3, "a", 1.5, 1, 2, 0.5, ("db", "github")),
            '{"attempt":1,"input":2,"ready_at":0.5,"limits":["db","github"]}',
        ),
        (
            ev.StepCompleted("r", 3, "a", 1.5, 2, b"x", 0.1, 0.25),
            '{"attempt":2,"began_at":0.1,"ended_at":0.25}',
        ),
        (
            ev.StepCompleted("r", 3, "a", 1.5, 2, b"x", 0.1, 0.25, (Write("k", "set", '"v"'),)),
            '{"attempt":2,"began_at":0.1,"ended_at":0.25,"state":[["k","set","\\"v\\""]]}',
        ),
        (
            ev.StepCompleted("r", 3, "a", 1.5, 2, b"x", 0.1),
            '{"attempt":2,"began_at":0.1}',
        ),
        (
            ev.StepCompleted("r", 3, "a", 1.5, 2, b"x", 4),
            '{"attempt":2,"began_at":4}',
        ),
    ],
)
def test_fields_at_their_defaults_are_left_out(event, body):
    assert to_row(event).body == body


@pytest.mark.parametrize(
    ("event", "body"),
    [
        (
            ev.BlockDecided("r", 3, "&a", 1.5, "completed", 'a "b" \u00e9', (4, 6)),
            '{"verdict":"completed","reason":"a \\"b\\" \u00e9","output":[4,6]}',
        ),
        (
            ev.BlockDecided("r", 3, "&a", 1.5, "completed", "", (4, True)),
            '{"verdict":"completed","reason":"","output":[4,true]}',
        ),
        (
            ev.RunFinished("r", 3, "", 1.5, RunStatus.COMPLETED, 7, (), "a\n"),
            '{"status":"completed","output":7,"failures":[],"reason":"a\\n"}',
        ),
        (
            ev.RunFinished("r", 3, "", 1.5, RunStatus.FAILED, None, (7,), ""),
            '{"status":"failed","output":null,"failures":[7],"reason":""}',
        ),
    ],
)
def test_texts_and_references_are_plain_json(event, body):
    assert to_row(event).body == body


def test_a_value_is_kept_apart_byte_for_byte():
    output = b'{"b":1,"a":1.10,"b":2}\x00\xff'
    row = to_row(ev.StepCompleted("r", 3, "a", 1.5, 1, output, 1.0))
    assert row.payload is output
    assert "1.10" not in row.body


def test_only_a_rerun_says_where_it_comes_from():
    assert "origin" not in to_row(ev.RunCreated("r", 1, "", 1.5, "f", None, None)).body
    rerun = ev.RunCreated("r", 1, "", 1.5, "f", None, None, "other", "w/a")
    row = to_row(rerun)
    assert from_row(row) == rerun
    with pytest.raises(StoreCorruptError):
        from_row(row._replace(body=row.body.replace('"other"', "1")))


def test_only_an_interruption_that_does_not_count_says_so():
    counts = ev.StepInterrupted("r", 3, "a", 1.5, 1, "killed")
    row = to_row(counts)
    assert row.body == '{"attempt":1,"reason":"killed"}'
    assert from_row(row) == counts
    assert counts.counts
    row = to_row(replace(counts, counts=False))
    assert not from_row(row).counts
    with pytest.raises(StoreCorruptError):
        from_row(row._replace(body=row.body.replace("false", "0")))


def test_only_a_verdict_that_has_failures_says_so():
    verdict = ev.BlockDecided("r", 3, "&a", 1.5, "completed", "", (4, None))
    row = to_row(verdict)
    assert row.body == '{"verdict":"completed","reason":"","output":[4,null]}'
    assert from_row(row) == verdict
    with pytest.raises(StoreCorruptError):
        from_row(row._replace(body=row.body.replace("[4", '[],"failures":[4')))


def damaged():
    done, failed, finished = (to_row(EVENTS[index]) for index in (4, 5, -1))
    yield done._replace(body="{")
    yield done._replace(body="[]")
    yield done._replace(body="null")
    yield done._replace(body="[" * 100_000)
    yield done._replace(body="{}")
    yield done._replace(body='{"attempt":1}')
    yield done._replace(body='{"attempt":"1","began_at":1.0}')
    yield done._replace(body='{"attempt":true,"began_at":1.0}')
    yield done._replace(body='{"attempt":1,"began_at":null}')
    yield done._replace(body='{"attempt":1,"began_at":1.0,"more":1}')
    yield done._replace(body='{"attempt":1,"began_at":1.0,"seq":1}')
    yield done._replace(body='{"attempt":1,"began_at":1.0,"ended_at":1.0,"state":1}')
    yield done._replace(body='{"attempt":1,"began_at":1.0,"ended_at":1.0,"state":[["k"]]}')
    yield done._replace(
        body='{"attempt":1,"began_at":1.0,"ended_at":1.0,"state":[["k","odd","1"]]}'
    )
    yield done._replace(body='{"attempt":1,"began_at":1.0,"ended_at":1.0,"state":[["k","set",1]]}')
    yield done._replace(body='{"attempt":1,"began_at":1.0,"ended_at":1.0,"state":[[1,"set","1"]]}')
    yield done._replace(body=None)
    yield done._replace(payload=None)
    yield done._replace(payload="text")
    yield done._replace(kind="unheard_of")
    yield failed._replace(body=failed.body.replace('"step_failed"', '"odd"'))
    yield failed._replace(body=failed.body.replace('"path"', '"where"'))
    yield finished._replace(body=finished.body.replace('"failed"', '"happy"', 1))
    yield finished._replace(body=finished.body.replace('"failures":[', '"failures":["x",'))


def damaged_waits():
    rows = {event.kind: to_row(event) for event in EVENTS}
    opened, received, kept = (rows[k] for k in ("wait_opened", "signal_received", "result_kept"))
    yield opened._replace(body='{"signal":"a","schema":"b"}')
    yield opened._replace(body='{"signal":"a","schema":"b","due":"soon"}')
    yield opened._replace(body='{"signal":1,"schema":"b","due":null}')
    yield received._replace(body="{}")
    yield received._replace(body='{"inbox_id":null}')
    yield received._replace(payload=None)
    yield kept._replace(body='{"what":"completed","choice":"1","source_seq":3}')
    yield kept._replace(body='{"what":null,"choice":1,"source_seq":3}')
    yield kept._replace(body='{"what":"decided","choice":1}')
    yield kept._replace(payload="text")


@pytest.mark.parametrize(
    "row", [*damaged(), *damaged_waits()], ids=lambda row: f"{row.kind} {row.body!r:.40}"
)
def test_a_damaged_row_is_named(row: Row):
    with pytest.raises(StoreCorruptError) as caught:
        from_row(row)
    assert f"event {row.seq} of run 'r'" in str(caught.value)


def test_an_unknown_kind_says_what_to_read_it_with():
    row = to_row(EVENTS[4])._replace(kind="later")
    with pytest.raises(StoreCorruptError, match="read it with the version that wrote it"):
        from_row(row)


def test_no_two_events_share_a_row():
    rows = {to_row(replace(event, seq=1)) for event in EVENTS}
    assert len(rows) == len(EVENTS)


def test_a_lone_surrogate_in_a_message_keeps_no_event_from_being_written():
    for text in ("no \udc80", "\ud83d", "\U0001f600 \ud83d\ud83d \\ud83d"):
        event = ev.StepCancelled("r", 3, "a", 1.5, 1, text)
        row = to_row(event)
        assert row.body.isascii()
        assert from_row(row) == event
        failed = replace(EVENTS[5], failure=replace(EVENTS[5].failure, message=text))
        assert from_row(to_row(failed)) == failed
    with pytest.raises(StoreCorruptError):
        from_row(row._replace(body='{"attempt":"1","reason":"\\udc80"}'))


def test_a_lone_surrogate_lets_no_number_in_that_json_lacks():
    event = EVENTS[5]
    odd = replace(event, failure=replace(event.failure, message="\udc80"), retry_at=float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_row(odd)


@pytest.mark.parametrize(
    ("at", "is_sound"),
    [(0.0, True), (ev.LATEST, True), (-0.5, False), (ev.LATEST + 1, False), (float("nan"), False)],
)
def test_an_instant_lies_between_1970_and_the_latest(at, is_sound):
    row = to_row(EVENTS[4])._replace(at=at)
    if is_sound:
        assert from_row(row).at == at
    else:
        with pytest.raises(StoreCorruptError, match="its time is"):
            from_row(row)
