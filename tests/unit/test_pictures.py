"""The pictures of a run and of its workflow: well-formed, complete, and safe."""

from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import NamedTuple

import pytest

from gorkflow.cli._output import table
from gorkflow.flow import (
    ArmSpec,
    ChoiceSpec,
    MapSpec,
    ParallelSpec,
    StepSpec,
    WorkflowSpec,
    walk,
)
from gorkflow.insight import picture, timeline
from gorkflow.insight.account import account, markdown, summary
from gorkflow.insight.explain import Explanation, Phase, Row, Span, explain
from gorkflow.insight.layout import crossings, layout
from gorkflow.insight.overview import overview
from gorkflow.model import RunStatus, StepStatus
from tests.machine.generate import random_tree
from tests.machine.simulation import RUN, WEATHERS, Simulation

SVG = "{http://www.w3.org/2000/svg}"


class Listed(NamedTuple):
    path: str
    status: StepStatus


EVIL = "<script>alert(1)</script>\x1b[31m\u202e&amp;\"'"


def a_simulation(seed: int) -> Simulation:
    rng = random.Random(seed)
    simulation = Simulation(rng, random_tree(rng), WEATHERS[seed % len(WEATHERS)])
    simulation.run()
    return simulation


@pytest.mark.parametrize("seed", range(40))
def test_each_part_of_a_run_is_drawn_and_said(seed: int) -> None:
    simulation = a_simulation(seed)
    found = explain(RUN, simulation.tree, simulation.history, now=0.0)
    flow = ET.fromstring(picture.svg(simulation.tree))
    shown = {each.text for each in flow.iter(f"{SVG}text")}
    steps = [node for _, node in walk(simulation.tree) if isinstance(node, StepSpec)]
    assert {step.id for step in steps} <= shown
    drawn = ET.fromstring(timeline.svg(found))
    names = [each for each in drawn.iter(f"{SVG}text") if "text-anchor" in each.attrib]
    assert len(names) >= len(timeline.lines(found))
    for columns in (20, 80, 200):
        assert all(len(line) <= max(columns, 80) + 4 for line in timeline.text(found, columns))
    assert account(found, table)
    assert account(found, markdown)
    assert summary(overview("w", [found]), table)


def waits(*seconds: tuple[str, float, float, Phase]) -> Explanation:
    rows = [
        Row(path=path, kind="step", depth=0, status=StepStatus.COMPLETED, began=began, ended=ended,
            spans=(Span(path, phase, began, ended),))
        for path, began, ended, phase in seconds
    ]  # fmt: skip
    last = max(row.ended for row in rows)
    spans = tuple(span for row in rows for span in row.spans)
    return Explanation(
        run_id="r", workflow_id="w", status=RunStatus.COMPLETED, seconds=last, critical=spans,
        rows=tuple(rows),
    )  # fmt: skip


def test_a_long_wait_is_cut_out_of_the_axis() -> None:
    found = waits(
        ("a", 0, 5, Phase.RUNNING),
        ("night", 5, 36_005, Phase.WAITING),
        ("b", 36_005, 36_010, Phase.RUNNING),
    )
    axis = timeline.Axis(found)
    assert [each.is_cut for each in axis.stretches] == [False, True, False]
    assert axis.place(0) == 0.0
    assert axis.place(36_010) == pytest.approx(1.0)
    assert axis.place(5) == pytest.approx(0.475)
    assert axis.place(36_005) == pytest.approx(0.525)
    drawn = timeline.svg(found)
    assert "cut out: 10 h in which nothing ran" in drawn
    assert ">waits<" in drawn
    assert ">back-off<" not in drawn
    assert "cut out: 10 h in which nothing ran" in timeline.text(found)[-2]
    assert timeline.text(found)[-1] == "█ ran, ~ waited, * critical path"


def test_a_bar_says_how_long_it_took_where_there_is_room() -> None:
    found = waits(
        ("all", 0, 60, Phase.RUNNING), ("a", 0, 2, Phase.RUNNING), ("z", 57, 60, Phase.RUNNING)
    )
    texts = ET.fromstring(timeline.svg(found)).iter(f"{SVG}text")
    beside = {each.text: each.attrib["text-anchor"] for each in texts}
    assert beside["2 s"] == "start"
    assert beside["3 s"] == "end"


@pytest.mark.parametrize("seconds", [6.0, 4_380.0])
def test_the_labels_of_an_axis_do_not_touch(seconds: float) -> None:
    found = waits(
        ("a", 0, 2, Phase.RUNNING),
        ("night", 2, seconds, Phase.WAITING),
        ("b", seconds, seconds + 2.1, Phase.RUNNING),
    )
    drawn = ET.fromstring(timeline.svg(found))
    foot = max(float(each.attrib["y"]) for each in drawn.iter(f"{SVG}text") if each.text == "0 s")
    labels = [each for each in drawn.iter(f"{SVG}text") if float(each.attrib["y"]) == foot]
    places = [float(each.attrib["x"]) for each in labels]
    assert len(places) > 2
    assert all(after - before >= 69 for before, after in pairwise(places))


def test_a_flow_leads_from_a_dot_to_a_ring() -> None:
    """Also where it begins with a loop, or ends with a map: no line comes from nowhere."""
    body = StepSpec(id="s", name="s")
    ask = ChoiceSpec(id="ask", arms=(ArmSpec(condition="is_large", node=body),))
    for node in (body, ask, MapSpec(id="m", body=body), ParallelSpec(id="p", branches=(body,))):
        drawn = picture.svg(WorkflowSpec(id="w", nodes=(node,)))
        circles = [each.attrib["class"] for each in ET.fromstring(drawn).iter(f"{SVG}circle")]
        assert circles == ["end", "end", "ring"]
        assert "continue" not in drawn


def test_the_legend_of_a_flow_names_what_it_shows() -> None:
    tree = WorkflowSpec(id="w", nodes=(StepSpec(id="a", name="a"), StepSpec(id="b", name="b")))
    steps = [Listed("a", StepStatus.COMPLETED), Listed("b", StepStatus.FAILED)]
    words = [each.text for each in ET.fromstring(picture.svg(tree, steps)).iter(f"{SVG}text")]
    assert words == ["a", "b", "completed", "failed"]
    words = [each.text for each in ET.fromstring(picture.svg(tree)).iter(f"{SVG}text")]
    assert words == ["a", "b"]


def test_a_short_wait_is_not_cut() -> None:
    found = waits(("a", 0, 5, Phase.RUNNING), ("z", 5, 6, Phase.WAITING))
    assert [each.is_cut for each in timeline.Axis(found).stretches] == [False]


@pytest.mark.parametrize("seed", range(20))
def test_times_keep_their_order_on_the_axis(seed: int) -> None:
    simulation = a_simulation(seed)
    found = explain(RUN, simulation.tree, simulation.history, now=0.0)
    axis = timeline.Axis(found)
    times = sorted({at for row in found.rows for at in (row.began, row.ended)})
    places = [axis.place(at) for at in times]
    assert places == sorted(places)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)


def test_text_of_users_is_only_text() -> None:
    tree = WorkflowSpec(id="w", nodes=(StepSpec(id="s", name=EVIL),), name=EVIL)
    for drawn in (picture.svg(tree), timeline.svg(waits((EVIL, 0, 1, Phase.RUNNING)))):
        ET.fromstring(drawn)
        assert "<script" not in drawn
        assert "\x1b" not in drawn
        assert "\u202e" not in drawn
    assert "\x1b" not in "".join(timeline.text(waits((EVIL, 0, 1, Phase.RUNNING))))


# ---- layout -------------------------------------------------------------------------------------


def test_a_box_stands_right_of_all_that_it_needs() -> None:
    rng = random.Random(1)
    for _ in range(200):
        count = rng.randint(1, 12)
        edges = [(a, b) for b in range(count) for a in range(b) if rng.random() < 0.3]
        sizes = [(rng.uniform(20, 90), rng.uniform(10, 40)) for _ in range(count)]
        found = layout(sizes, edges, across=30, down=10)
        for first, second in edges:
            assert found.corners[first][0] + sizes[first][0] <= found.corners[second][0]
        boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(found.corners, sizes, strict=True)]
        for at, one in enumerate(boxes):
            assert one[0] >= 0
            assert one[2] <= found.width + 1e-9
            assert one[1] >= 0
            assert one[3] <= found.height + 1e-9
            for other in boxes[at + 1 :]:
                apart = one[2] <= other[0] or other[2] <= one[0]
                assert apart or one[3] <= other[1] or other[3] <= one[1]


def test_edges_are_untangled() -> None:
    after = [[5], [4], [3], [], [], []]
    assert crossings([[0, 1, 2], [3, 4, 5]], after) == 3
    found = layout([(10, 10)] * 6, [(0, 5), (1, 4), (2, 3)], across=5, down=5)
    assert [found.corners[box][1] for box in (5, 4, 3)] == [0, 15, 30]


def test_timeline_of_a_run_that_has_not_begun_says_so() -> None:
    found = Explanation(
        run_id="r", workflow_id="w", status=RunStatus.CANCELLED, seconds=0.0, critical=()
    )
    assert timeline.text(found) == ["It has not begun."]
