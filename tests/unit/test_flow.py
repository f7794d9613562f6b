"""The flow tree as data: text, fingerprint, paths."""

import json

import pytest

from gorkflow import flow
from gorkflow.flow import (
    ArmSpec,
    ChoiceSpec,
    ParallelSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    TimeSpec,
    WaitSpec,
    WorkflowSpec,
    spoken,
)
from gorkflow.policy import Join, RetryPolicy


def leaf(node_id: str) -> StepSpec:
    return StepSpec(id=node_id, name=node_id)


TREE = WorkflowSpec(
    id="root",
    nodes=(
        StepSpec(
            id="a",
            name="A",
            description="d",
            executor="thread",
            timeout=1.5,
            retry=RetryPolicy(retries=2, retry_on=(ValueError,)),
            continue_on_error=True,
            reads=("x",),
            input_schema="i",
            output_schema="o",
        ),
        ParallelSpec(
            id="&b",
            branches=(leaf("b"), PassthroughSpec(id="p"), WorkflowSpec(id="w", nodes=(leaf("c"),))),
            join=Join("tolerate", None, 50.0),
            on_failure="cancel",
            max_concurrency=2,
            timeout=3.0,
        ),
        ChoiceSpec(
            id="?d",
            arms=(ArmSpec(condition="big", node=leaf("d"), timeout=None),),
            otherwise=leaf("e"),
        ),
        ChoiceSpec(id="?f", arms=(ArmSpec(condition="x", node=leaf("f")),), default="null"),
        SleepSpec(id="nap", seconds=1.5),
        SleepSpec(id="epoch", until=0.0),
        SleepSpec(id="said", asks=TimeSpec(function="f", is_due=True, timeout=None)),
        WaitSpec(id="g", signal="go", schema="s", timeout=2.5, default="null"),
        WaitSpec(id="h", signal="go", schema="s"),
    ),
    name="Root",
    version="2",
    timeout=9.0,
)


def test_a_tree_survives_its_text():
    text = flow.to_json(TREE)
    assert flow.from_json(text) == TREE
    assert flow.to_json(flow.from_json(text)) == text
    assert json.loads(text)["kind"] == "workflow"


def test_the_fingerprint_is_short_and_stable():
    text = flow.to_json(TREE)
    assert flow.fingerprint(text) == flow.fingerprint(flow.to_json(flow.from_json(text)))
    assert len(flow.fingerprint(text)) == 32


def test_paths_follow_workflows_only():
    assert [path for path, _ in flow.walk(TREE)] == [
        "a", "&b", "b", "p", "w", "w/c", "?d", "d", "e", "?f", "f", "nap", "epoch", "said",
        "g", "h",
    ]  # fmt: skip
    assert leaf("a").children() == ()
    assert flow.join_path("", "a") == "a"
    assert flow.join_path("w", "a") == "w/a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        "{}",
        '{"kind":"step"}',
        '{"kind":"loop"}',
        "[" * 100_000,
        '{"kind":"passthrough","id":"x"}',
        '{"kind":"workflow","id":"x","nodes":[3]}',
    ],
)
def test_what_is_no_tree_is_a_value_error(text: str):
    with pytest.raises(ValueError, match=r"not a flow tree|Expecting"):
        flow.from_json(text)


@pytest.mark.parametrize(
    ("path", "called"),
    [
        ("fetch", "fetch"),
        ("*fetch", "map of fetch"),
        ("shipping/*fetch", "shipping/map of fetch"),
        ("@think", "loop of think"),
        ("@think/judge", "think/judge"),
        ("&index", "parallel index"),
        ("?gift", "choice gift"),
        ("fetch[2]", "fetch[2]"),
        ("", ""),
    ],
)
def test_a_path_in_words(path: str, called: str):
    assert spoken(path) == called
