"""The drawings that notebooks ask for: right, quick to get, and without the markup of users."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gorkflow import Client, Engine, RunFilter, Signal, StepContext, Workflow, step, testing
from gorkflow.insight import Changes
from gorkflow.insight.explain import explain
from gorkflow.insight.overview import overview

from .support import in_loop

SVG, MARKDOWN, PLAIN = "image/svg+xml", "text/markdown", "text/plain"
go = Signal("go", str)


@step
async def double(number: int) -> int:
    return 2 * number


@step
async def add(one: int, two: int) -> int:
    return one + two


@step
async def note(number: int, said: str) -> str:
    return f"{number} {said}"


flow = Workflow("sum", input=int).parallel(double, double.options(id="twice")).then(add)
waiting = Workflow("waiting", input=int).then(double).wait_for(go).then(note)


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


def test_a_workflow_draws_its_flow():
    bundle = flow._repr_mimebundle_()
    assert {"sum", "double", "twice", "add"} <= set(texts(bundle[SVG]))
    assert "twice" in bundle[PLAIN]
    assert ET.fromstring(bundle[SVG]).get("class") == "notebook"


def test_a_workflow_that_is_not_complete_says_so():
    bundle = Workflow("empty", input=int)._repr_mimebundle_()
    assert set(bundle) <= {SVG, PLAIN}
    assert "empty" in bundle[PLAIN]


@pytest.mark.parametrize("place", ["memory:", "file"])
@in_loop
async def test_a_handle_draws_the_run_as_it_is_now(place, tmp_path):
    store = place if place == "memory:" else f"sqlite:{tmp_path}/runs.db"
    async with Engine(store) as engine:
        handle = await engine.start(waiting, 3, run_id="r1")
        async for event in handle.events():
            if event.kind == "wait_opened":
                break
        bundle = handle._repr_mimebundle_()  # while the loop runs, as a notebook does
        assert any("waiting r1: " in (text or "") for text in texts(bundle[SVG]))
        assert 'class="suspended"' in bundle[SVG]
        await handle.send(go, "now")
        await handle.result()
        ended = handle._repr_mimebundle_()[SVG]
        assert any("waiting r1: completed" in (text or "") for text in texts(ended))
        assert 'class="suspended"' not in ended


@pytest.mark.own_store
@in_loop
async def test_a_handle_of_a_closed_engine_looks_into_the_file(tmp_path):
    async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
        handle = await engine.start(flow, 3)
        await handle.result()
    assert "sum" in str(texts(handle._repr_mimebundle_()[SVG]))
    async with Client(f"sqlite:{tmp_path}/runs.db") as client:  # and leaves it free
        assert (await client.get_run(handle.run_id)).output == 12


@pytest.mark.own_store
@in_loop
async def test_a_run_that_can_not_be_read_is_text(tmp_path):
    async with Engine("memory:") as engine:
        gone = await engine.start(flow, 3)
        await gone.result()
        assert engine.handle("unknown")._repr_mimebundle_() == {PLAIN: "RunHandle('unknown')"}
    assert gone._repr_mimebundle_() == {PLAIN: repr(gone)}
    async with Engine(f"sqlite:{tmp_path}/runs.db") as engine:
        handle = engine.handle("unknown")
    (tmp_path / "runs.db").unlink()
    assert handle._repr_mimebundle_() == {PLAIN: repr(handle)}
    assert not (tmp_path / "runs.db").exists()  # looking makes no file


@in_loop
async def test_a_run_draws_itself_unless_it_is_of_a_list():
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 3)
        await handle.result()
        run = await handle.info()
        bundle = run._repr_mimebundle_()
        assert any("completed" in (text or "") for text in texts(bundle[SVG]))
        assert bundle[PLAIN] == repr(run)
        assert "drawing" not in repr(run)
        assert pickle.loads(pickle.dumps(run))._repr_mimebundle_() == bundle
        (listed,) = await engine.list_runs(RunFilter())
        assert listed._repr_mimebundle_() == {PLAIN: repr(listed)}


@in_loop
async def test_explanations_forecasts_and_overviews_are_words():
    async with Engine("memory:") as engine:
        handle = await engine.start(flow, 3)
        await handle.result()
        found = await engine.explain(handle.run_id)
        for each in (
            found,
            await engine.explain(handle.run_id, Changes(max_concurrency=1)),
            overview("sum", [found]),
        ):
            bundle = each._repr_mimebundle_()
            assert "| double |" in bundle[MARKDOWN]
            assert bundle[PLAIN] == bundle[MARKDOWN]


def test_importing_gorkflow_loads_no_drawing():
    code = "import gorkflow, sys; print([m for m in sys.modules if 'insight' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- nobody's text is markup -------------------------------------------------------------------

_NASTY = st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "]]><svg onload=alert(1)>",
        "</text></svg><script>alert(1)</script>",
        "</style><script>alert(1)</script>",
        "&lt;script&gt;",
        "--><script>",
        "`<b>`|<i>",
        "[x](javascript:alert(1))",
        "![x](http://evil.example/x.png)",
        "\x1b[31mred\x07",
        "\u202eevil",
    ]
)
_TEXT = st.one_of(_NASTY, st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
_TAGS = {"svg", "circle", "g", "rect", "path", "text", "title", "style"}


@settings(deadline=None)
@given(st.lists(_TEXT, min_size=1, max_size=3, unique=True), _TEXT)
def test_text_of_users_is_only_text(keys, name):
    @step(name=name)
    async def fail(ctx: StepContext, key: str) -> str:
        ctx.state["x"] = key
        raise ValueError(key)

    nasty = Workflow("nasty", input=list[str], name=name, description=name).map(
        fail.options(continue_on_error=True), key=lambda key: key
    )
    result = testing.run_sync(nasty, keys)
    for bundle in (nasty._repr_mimebundle_(), result.run._repr_mimebundle_()):
        root = ET.fromstring(bundle[SVG])  # well-formed, whatever they wrote
        for element in root.iter():
            assert element.tag.rpartition("}")[2] in _TAGS
            assert not [key for key in element.attrib if key.startswith("on") or "href" in key]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", bundle[SVG])
    tree = result.run.drawing.args[0].tree
    found = explain(result.run.run_id, tree, result.events, now=0.0)
    words = found._repr_mimebundle_()[MARKDOWN]
    assert "<" not in words
    assert "](" not in words


def test_a_block_keeps_the_name_that_it_was_given():
    named = Workflow("named", input=int).parallel(double, double.options(id="twice"), id="ask")
    plain = Workflow("plain", input=int).parallel(double, double.options(id="twice"))
    for flow_, name in ((named, "parallel ask"), (plain, "parallel double")):
        result = testing.run_sync(flow_, 3)
        assert name in texts(result.run._repr_mimebundle_()[SVG])


def test_a_loop_counts_its_own_rounds():
    @step
    async def ask(number: int) -> list[int]:
        return [number] * 5

    @step
    async def count(numbers: list[int]) -> int:
        return len(numbers)

    inner = Workflow("inner", input=int).then(ask).map(double).then(count)
    looping = Workflow("looping", input=int).loop(
        inner, until=lambda number: number > 0, max_iterations=3
    )
    shown = texts(testing.run_sync(looping, 3).run._repr_mimebundle_()[SVG])
    assert "for each item, 5 times" in shown
    assert next(text for text in shown if text.startswith("until")).count("times") == 0
