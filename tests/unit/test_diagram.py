import re

import pytest

from gorkflow.flow import (
    ArmSpec,
    ChoiceSpec,
    NodeSpec,
    ParallelSpec,
    PassthroughSpec,
    SleepSpec,
    StepSpec,
    TimeSpec,
    WaitSpec,
    WorkflowSpec,
)
from gorkflow.insight.diagram import mermaid, text
from gorkflow.policy import Join, RetryPolicy
from tests.replacing import replace


def step(step_id: str, **options) -> StepSpec:
    return StepSpec(id=step_id, name=options.pop("name", step_id), **options)


def workflow(*nodes: NodeSpec, **options) -> WorkflowSpec:
    return WorkflowSpec(id=options.pop("id", "flow"), nodes=nodes, **options)


CHECKOUT = workflow(
    ParallelSpec(
        id="&check",
        branches=(
            step("check", timeout=5.0, retry=RetryPolicy(retries=3)),
            workflow(step("ask"), step("quote", continue_on_error=True), id="shipping"),
            PassthroughSpec(id="passthrough"),
        ),
        join=Join("at_least", 2),
        on_failure="cancel",
        max_concurrency=2,
        timeout=60.0,
    ),
    ChoiceSpec(
        id="?gift",
        arms=(
            ArmSpec(condition="is_vip", node=step("gift")),
            ArmSpec(condition="is_new", node=step("welcome")),
        ),
        otherwise=step("card"),
    ),
    ChoiceSpec(id="?late", arms=(ArmSpec(condition="is_late", node=step("sorry")),)),
    step("confirm", name="Confirm the order"),
    id="checkout",
    timeout=90.0,
)


def test_text_draws_every_kind_of_node():
    assert text(CHECKOUT) == (
        """\
checkout  (timeout 90 s)
├─ parallel, join at_least(2)  (2 at a time, timeout 60 s, on failure: cancel)
│  ├─ check  (timeout 5 s, 3 retries)
│  ├─ workflow shipping
│  │  ├─ ask
│  │  └─ quote  (may fail)
│  └─ passthrough
├─ choice gift
│  ├─ if is_vip: gift
│  ├─ if is_new: welcome
│  └─ otherwise: card
├─ choice late
│  ├─ if is_late: sorry
│  └─ otherwise: continue
└─ confirm: Confirm the order
"""
    )


def test_mermaid_draws_every_kind_of_node():
    assert mermaid(CHECKOUT) == (
        """\
flowchart TD
    n1(["checkout"])
    subgraph b2["parallel (2 at a time, timeout 60 s, on failure: cancel)"]
        n3{{"fork"}}
        n1 --> n3
        n4["check<br/><small>timeout 5 s, 3 retries</small>"]
        n3 --> n4
        subgraph b5["workflow shipping"]
            n6["ask"]
            n3 --> n6
            n7["quote<br/><small>may fail</small>"]
            n6 --> n7
        end
        n8(["passthrough"])
        n3 --> n8
        n9{{"join: at_least(2)"}}
        n4 --> n9
        n7 --> n9
        n8 --> n9
    end
    n10{"?gift"}
    n9 --> n10
    n11["gift"]
    n10 -->|"is_vip"| n11
    n12["welcome"]
    n10 -->|"is_new"| n12
    n13["card"]
    n10 -->|"otherwise"| n13
    n14{"?late"}
    n11 --> n14
    n12 --> n14
    n13 --> n14
    n15["sorry"]
    n14 -->|"is_late"| n15
    n16["confirm: Confirm the order"]
    n15 --> n16
    n14 -->|"otherwise"| n16
    n17(["end"])
    n16 --> n17
"""
    )


def test_choice_names_what_it_goes_on_with():
    tree = workflow(
        ChoiceSpec(id="?a", arms=(ArmSpec(condition="c", node=step("a")),), default="7")
    )
    assert "└─ otherwise: continue with 7\n" in text(tree)


@pytest.mark.parametrize("name", ['say "hi" | <b>&`#1`', "two\nlines", "\x1b[31mred\x9b0m", "日本"])
def test_mermaid_labels_hold_nothing_that_mermaid_or_a_terminal_obeys(name):
    drawn = mermaid(workflow(step("a", name=name)))
    (label,) = re.findall(r'n2\["a: (.*)"\]\n', drawn)
    assert not re.search(r'["<>|`\x00-\x1f\x7f-\x9f]|#(?!\d+;)', label)


def test_text_is_safe_to_print():
    drawn = text(workflow(step("a", name="\x1b[31mred\nx")))
    assert drawn == "flow\n└─ a: [31mred x\n"


def test_mermaid_grows_with_the_workflow_not_faster():
    def wide(prefix: str) -> ParallelSpec:
        branches = tuple(step(f"{prefix}{index}") for index in range(100))
        return ParallelSpec(id=f"&{prefix}", branches=branches)

    assert mermaid(workflow(wide("a"), wide("b"))).count("-->") == 2 * 200 + 3


def test_sleeps_and_waits_say_what_they_wait_for():
    tree = workflow(
        SleepSpec(id="nap", seconds=90),
        WaitSpec(id="ok", signal="approved", schema="s", timeout=5, default='"no"'),
    )
    assert text(tree) == (
        'flow\n├─ nap  (sleep 90 s)\n└─ ok  (wait for signal approved, timeout 5 s, else "no")\n'
    )
    drawn = mermaid(tree)
    assert '[/"nap<br/><small>sleep 90 s</small>"/]' in drawn
    assert "wait for signal approved, timeout 5 s, else #34;no#34;" in drawn


def test_times_that_the_data_says_are_named_by_their_function():
    asks = TimeSpec(function="f", is_due=False)
    tree = workflow(
        SleepSpec(id="a", asks=asks),
        SleepSpec(id="b", asks=replace(asks, is_due=True)),
        SleepSpec(id="c", until=0.0),
        WaitSpec(id="d", signal="go", schema="s", asks=asks),
        WaitSpec(id="e", signal="go", schema="s", until=0.0, default="1"),
    )
    assert text(tree).splitlines()[1:] == [
        "├─ a  (sleep as long as f says)",
        "├─ b  (sleep until f says)",
        "├─ c  (sleep until 1970-01-01 00:00:00 UTC)",
        "├─ d  (wait for signal go, as long as f says)",
        "└─ e  (wait for signal go, until 1970-01-01 00:00:00 UTC, else 1)",
    ]
    assert "sleep as long as f says" in mermaid(tree)


def test_where_a_step_runs_is_told_unless_it_is_here():
    tree = workflow(
        step("a", executor="process"), step("b", executor="gpu"), step("c", executor="thread")
    )
    for picture in (mermaid(tree), text(tree)):
        assert "in a process" in picture
        assert "on gpu" in picture
        assert "thread" not in picture
