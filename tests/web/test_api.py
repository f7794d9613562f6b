"""The JSON API: what it answers, that its document describes it, and what it says of mistakes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gorkflow import Engine
from gorkflow.engine._json import event_json
from gorkflow.web._runs_api import RunSummary
from gorkflow.web.api import OPERATIONS
from tests.engine.support import in_loop
from tests.web.shape import Shape
from tests.web.test_access import routes_of
from tests.web.tools import CHANGES, Place, ask, doubling, reported, site


async def start(it: Place, workflow_id: str = "doubling", value: Any = 21, **more: Any) -> str:
    found = await it.local.post(
        "/api/runs", json={"workflow_id": workflow_id, "input": value, **more}
    )
    assert found.status_code == 201, found.text
    return found.json()["run_id"]


async def waiting_run(it: Place) -> str:
    run_id = await start(it, "review")
    async for event in it.engine.events(run_id):
        if event.kind == "wait_opened":
            return run_id
    raise AssertionError(run_id)


# ---- as described -------------------------------------------------------------------------------


HOURS = {
    "start": (datetime.now(UTC) - timedelta(hours=3)).isoformat(),
    "end": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(),
}


async def answers(it: Place) -> dict[str, Any]:
    """Ask for every operation so that it succeeds; return what each answered, by its name."""
    local = it.local
    await it.engine.schedule(doubling, 1, id="nightly", every=timedelta(hours=1))
    done = await start(it, run_id="done", tags={"a": "b"})
    await it.engine.wait(done)
    failed = await start(it, "failing")
    await it.engine.wait(failed)
    parked = await waiting_run(it)
    other = await waiting_run(it)
    found = {
        "list_runs": await local.get("/api/runs?tag=a%3Db&status=completed&status=failed"),
        "count_runs": await local.get("/api/run-count?status=failed"),
        "start_run": await local.post("/api/runs", json={"workflow_id": "doubling", "input": 1}),
        "show_run": await local.get(f"/api/runs/{failed}"),
        "list_steps": await local.get(f"/api/runs/{failed}/steps?status=failed"),
        "show_step": await local.get(f"/api/runs/{done}/steps/double"),
        "show_history": await local.get(f"/api/runs/{done}/history?after=1&limit=2"),
        "show_log": await local.get(f"/api/runs/{done}/logs?path=double"),
        "explain_run": await local.get(f"/api/runs/{done}/explain"),
        "forecast_run": await local.get(f"/api/runs/{done}/whatif?scale=double%3D0.5&slots=1"),
        "draw_timeline": await local.get(f"/api/runs/{done}/timeline.svg"),
        "draw_run": await local.get(f"/api/runs/{done}/flow.svg"),
        "list_signals": await local.get(f"/api/runs/{parked}/signals"),
        "send_signal": await local.post(
            f"/api/runs/{parked}/signals/approved", json={"payload": True}
        ),
        "cancel_run": await local.post(f"/api/runs/{other}/cancel", json={"reason": "no"}),
        "rerun": await local.post(f"/api/runs/{failed}/rerun"),
        "remove_run": await local.delete(f"/api/runs/{failed}"),
        "list_workflows": await local.get("/api/workflows"),
        "show_workflow": await local.get("/api/workflows/review"),
        "show_overview": await local.get("/api/workflows/doubling/overview?limit=5"),
        "draw_workflow": await local.get("/api/workflows/review/flow.svg"),
        "list_schedules": await local.get("/api/schedules"),
        "show_schedule": await local.get("/api/schedules/nightly"),
        "pause_schedule": await local.post("/api/schedules/nightly/pause"),
        "resume_schedule": await local.post("/api/schedules/nightly/resume"),
        "run_schedule": await local.post("/api/schedules/nightly/run"),
        "backfill": await local.post("/api/schedules/nightly/backfill", json=HOURS),
        "remove_schedule": await local.delete("/api/schedules/nightly"),
        "list_limits": await local.get("/api/limits"),
        "list_workers": await local.get("/api/workers"),
    }
    await it.engine.wait(parked)
    return found


@in_loop
async def test_each_operation_answers_as_the_document_says():
    async with site() as it:
        document = (await it.local.get("/api/openapi.json")).json()
        found = await answers(it)
        assert set(found) == {operation.name for operation in OPERATIONS}
        for operation in OPERATIONS:
            answer = found[operation.name]
            assert answer.status_code == operation.status, (operation.name, answer.text)
            path = operation.path.replace("{path:path}", "{path}")
            described = document["paths"][path][operation.method.lower()]
            content = described["responses"][str(operation.status)]["content"]
            [(kind, body)] = content.items()
            assert answer.headers["content-type"].partition(";")[0] == kind
            if kind == "application/json":
                assert not list(Shape(body["schema"], document).misfits(answer.json())), (
                    operation.name
                )


@in_loop
async def test_each_route_of_the_api_is_in_the_document():
    async with site() as it:
        document = (await it.local.get("/api/openapi.json")).json()
        routes = [route for route in routes_of(it.app) if route.path.startswith("/api")]
        described = {
            (method.upper(), f"/api{path}")
            for path, methods in document["paths"].items()
            for method in methods
        }
        there = {
            (method, route.path.replace("{path:path}", "{path}"))
            for route in routes
            for method in (route.methods or set()) - {"HEAD"}
        }
        assert there - described == {("GET", "/api/openapi.json")}
        assert described <= there


MISTAKES: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/api/runs/none", None, 404, "no run 'none'"),
    ("GET", "/api/runs/none/steps", None, 404, "no run"),
    ("GET", "/api/runs/done/steps/nothing", None, 404, "no step"),
    ("GET", "/api/runs/none/history", None, 404, "no run"),
    ("GET", "/api/runs/none/explain", None, 404, "no run"),
    ("GET", "/api/runs/none/timeline.svg", None, 404, "no run"),
    ("GET", "/api/runs/none/events", None, 404, "no run"),
    ("GET", "/api/runs?status=odd", None, 400, "status[0]"),
    ("GET", "/api/runs?status=odd", None, 400, "it is one of pending, running, suspended,"),
    ("GET", "/api/runs?tag=odd", None, 400, "NAME=VALUE"),
    ("GET", "/api/runs?limit=x", None, 400, "limit"),
    ("GET", "/api/runs?limit=1001", None, 400, "limit"),
    ("GET", "/api/runs?limit=1&limit=2", None, 400, "more than once"),
    ("GET", "/api/runs?cursor=odd", None, 400, "cursor"),
    ("GET", "/api/runs?created_after=2020-01-01T00:00:00", None, 400, "time zone"),
    ("GET", "/api/runs?unknown=1", None, 400, "unknown"),
    ("GET", "/api/runs/done/whatif?scale=odd", None, 400, "STEP=FACTOR"),
    ("GET", "/api/runs/done/whatif?scale=double=nan", None, 400, "STEP=FACTOR"),
    ("GET", "/api/runs/done/whatif?scale=double=-1", None, 400, "STEP=FACTOR"),
    ("GET", "/api/runs/done/whatif?scale=nothing=2", None, 409, "nothing"),
    ("GET", "/api/events?after=odd", None, 400, "Last-Event-ID"),
    ("GET", "/api/runs/done/events?after=odd", None, 400, "Last-Event-ID"),
    ("GET", "/api/workflows/none", None, 404, "no workflow"),
    ("GET", "/api/workflows/review/overview", None, 404, "no completed run"),
    ("GET", "/api/schedules/none", None, 404, "no schedule"),
    ("POST", "/api/runs", {"workflow_id": "none"}, 404, "code of workflow"),
    ("POST", "/api/runs", {"workflow_id": "doubling", "input": "x"}, 422, "input"),
    ("POST", "/api/runs", {"workflow_id": "doubling"}, 422, "input"),
    ("POST", "/api/runs", {"workflow_id": "doubling", "input": 1, "run_id": "!"}, 422, "run_id"),
    ("POST", "/api/runs", {"workflow_id": "doubling", "input": 1, "run_id": "done"}, 409, "done"),
    ("POST", "/api/runs", {"workflow_id": "doubling", "priority": "x"}, 422, "priority"),
    ("POST", "/api/runs", {"workflow_id": "doubling", "odd": 1}, 422, "odd"),
    ("POST", "/api/runs", [], 422, "array"),
    ("POST", "/api/runs/none/cancel", {}, 404, "no run"),
    ("POST", "/api/runs/none/rerun", {}, 404, "no run"),
    ("POST", "/api/runs/done/rerun", {"from_step": "nothing"}, 422, "nothing"),
    ("POST", "/api/runs/done/rerun", {"from_step": "double", "input": 1}, 422, "leave out"),
    ("POST", "/api/runs/done/signals/approved", {}, 409, "has ended"),
    ("POST", "/api/schedules/none/pause", None, 404, "no schedule"),
    ("DELETE", "/api/schedules/none", None, 404, "no schedule"),
    ("DELETE", "/api/runs/none", None, 404, "no run"),
]


@in_loop
async def test_mistakes_are_named():
    async with site() as it:
        await it.engine.wait(await start(it, run_id="done"))
        document = (await it.local.get("/api/openapi.json")).json()
        error = Shape({"$ref": "#/components/schemas/Error"}, document)
        for method, path, body, status, said in MISTAKES:
            found = await it.local.request(method, path, json=body)
            assert found.status_code == status, (path, body, found.text)
            assert said in found.text, (path, body, found.text)
            assert not list(error.misfits(found.json()))


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"workflow_id": "doubling", "state": {"a": ' + b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b'{"workflow_id": "doubling", "input": {"a": 1}}', "application/json", 422),
        (b'{"workflow_id": "doubling", "input": NaN}', "application/json", 400),
        (b'{"workflow_id": "doubling", "input": 1}', "application/json; charset=utf-8", 201),
        (b'{"workflow_id": "doubling", "input": "7"}', "Application/JSON", 201),
    ],
)
@in_loop
async def test_bodies(content, kind, status):
    async with site() as it:
        found = await it.local.post("/api/runs", content=content, headers={"content-type": kind})
        assert found.status_code == status, found.text


# ---- runs ---------------------------------------------------------------------------------------


@in_loop
async def test_pages_of_runs_follow_each_other():
    async with site() as it:
        made = [await start(it, run_id=f"r{n}") for n in range(5)]
        seen: list[str] = []
        cursor = ""
        while True:
            found = (await it.local.get(f"/api/runs?limit=2{cursor}")).json()
            seen += [run["run_id"] for run in found["runs"]]
            if found["next_cursor"] is None:
                break
            cursor = f"&cursor={found['next_cursor']}"
        assert sorted(seen) == made


@in_loop
async def test_the_filter_has_all_fields():
    async with site() as it:
        await it.engine.wait(await start(it, run_id="x", resource_id="res", tags={"k": "v=w"}))
        now = datetime.now(UTC)
        old, new = ((now + timedelta(days=days)).isoformat() for days in (-1, 1))

        async def count(**query: Any) -> int:
            return len((await it.local.get("/api/runs", params=query)).json()["runs"])

        assert await count(workflow_id="doubling", resource_id="res", tag="k=v=w") == 1
        assert await count(created_after=old, created_before=new, finished_before=new) == 1
        assert await count(created_after=new) == 0
        assert await count(finished_before=old) == 0
        assert await count(workflow_id="other") == 0
        assert await count(finished_after=old, id_prefix="x") == 1
        assert await count(id_prefix="y") == 0
        assert await count(waiting_for="approved") == 0
        waiting = await waiting_run(it)
        found = (await it.local.get("/api/runs?waiting_for=approved")).json()["runs"]
        assert [(run["run_id"], run["waits_for"]) for run in found] == [(waiting, ["approved"])]
        assert set(found[0]) == set(RunSummary.__struct_fields__)
        total = (await it.local.get("/api/run-count?workflow_id=doubling")).json()
        assert total == {"runs": 1, "more": False}


@in_loop
async def test_a_signal_is_judged_by_its_type():
    async with site() as it:
        run_id = await waiting_run(it)
        [signal] = (await it.local.get(f"/api/runs/{run_id}/signals")).json()["signals"]
        assert signal == {
            "name": "approved", "paths": ["approved"], "json_schema": {"type": "boolean"},
        }  # fmt: skip
        address = f"/api/runs/{run_id}/signals/approved"
        wrong = await it.local.post(address, json={"payload": [1]})
        assert wrong.status_code == 422
        assert wrong.json()["problems"][0]["path"] == "payload"
        unknown = await it.local.post(f"/api/runs/{run_id}/signals/denied", json={})
        assert (unknown.status_code, "never waits" in unknown.text) == (422, True)
        assert (await it.local.post(address, json={"payload": True})).status_code == 202
        assert (await it.engine.wait(run_id)).result() == (42, True)


@in_loop
async def test_a_rerun_from_a_step_and_one_with_another_input():
    async with site() as it:
        state = {"seen": [1, {"b": 0.5}], "note": "é"}
        options: Any = {"tags": {"a": "b"}, "resource_id": "res", "timeout": 50, "state": state}
        first = (await it.engine.start(doubling, 21, **options)).run_id
        await it.engine.wait(first)
        again = await it.local.post(f"/api/runs/{first}/rerun", json={"from_step": "double"})
        assert again.status_code == 201
        run = await it.engine.get_run(again.json()["run_id"])
        assert (run.origin, run.from_step) == (first, "double")
        other = await it.local.post(f"/api/runs/{first}/rerun", json={"input": "4"})
        run_id = other.json()["run_id"]
        await it.engine.wait(run_id)
        run = await it.engine.get_run(run_id)
        assert (run.input, run.output, run.tags, run.resource_id) == (4, 8, {"a": "b"}, "res")
        assert run.state == state
        created: Any = await it.engine.store.read_events(run_id, limit=1)
        assert created[0].timeout == 50


@in_loop
async def test_a_live_run_is_not_removed():
    async with site() as it:
        run_id = await waiting_run(it)
        found = await it.local.delete(f"/api/runs/{run_id}")
        assert (found.status_code, "cancel it first" in found.text) == (409, True)
        await it.local.post(f"/api/runs/{run_id}/cancel")
        await it.engine.wait(run_id)
        assert (await it.local.delete(f"/api/runs/{run_id}")).status_code == 200
        assert (await it.local.get(f"/api/runs/{run_id}")).status_code == 404


@in_loop
async def test_steps_come_in_parts():
    async with site() as it:
        run_id = await start(it)
        await it.engine.wait(run_id)
        found = (await it.local.get(f"/api/runs/{run_id}/steps?after=1")).json()
        assert found == {"steps": [], "total": 1}


@in_loop
async def test_the_history_is_that_of_the_run():
    async with site() as it:
        run_id = await start(it)
        await it.engine.wait(run_id)
        found = (await it.local.get(f"/api/runs/{run_id}/history")).json()["events"]
        assert found == [event_json(event) async for event in it.engine.events(run_id)]


@in_loop
async def test_a_client_shows_runs_whose_code_it_lacks(tmp_path):
    from gorkflow import Client
    from gorkflow.web import app
    from tests.web.tools import CHANGES, TOKEN, client

    url = f"sqlite:{tmp_path / 'runs.db'}"
    async with Engine(url) as engine:
        await engine.run(doubling, 21, run_id="done")
    async with Client(url) as looks, client(app(looks, token=TOKEN), headers=CHANGES) as local:
        assert (await local.get("/api/runs/done")).json()["output"] == 42
        facts = (await local.get("/api/workflows/doubling")).json()
        assert (facts["can_start"], facts["takes_input"]) == (False, None)
        known = (await local.get("/api/workflows")).json()["workflows"]
        assert known == [{"workflow_id": "doubling", "can_start": False}]
        refused = await local.post("/api/runs", json={"workflow_id": "doubling", "input": 1})
        assert (refused.status_code, "gorkflow web" in refused.text) == (404, True)
        assert (await local.get("/api/workflows/doubling/flow.svg")).status_code == 200
        assert (await local.post("/api/runs/done/rerun")).status_code == 201


@in_loop
async def test_the_log_is_shown():
    async with site() as it:
        reported.set()
        run_id = await start(it, "reporting", 7)
        await it.engine.wait(run_id)
        [line] = (await it.local.get(f"/api/runs/{run_id}/logs")).json()["lines"]
        assert (line["path"], line["text"]) == ("report", "begun with 7")
        after = await it.local.get(f"/api/runs/{run_id}/logs?after={line['id']}")
        assert after.json() == {"lines": []}


@in_loop
async def test_a_backfill_starts_each_due_time_once():
    async with site() as it:
        await it.engine.schedule(doubling, 1, id="nightly", every=timedelta(hours=1))
        address = "/api/schedules/nightly/backfill"
        made = (await it.local.post(address, json=HOURS)).json()["run_ids"]
        assert len(made) == 3
        assert (await it.local.post(address, json=HOURS)).json() == {"run_ids": []}
        late = {**HOURS, "end": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
        found = await it.local.post(address, json=late)
        assert (found.status_code, "in the past" in found.text) == (422, True)


# ---- odd ids ------------------------------------------------------------------------------------

PLACES_OF_IDS = [
    "/api/runs/{}", "/api/runs/{}/steps", "/api/runs/done/steps/{}", "/api/runs/{}/history",
    "/api/runs/{}/explain", "/api/runs/{}/signals", "/api/runs/{}/events", "/api/workflows/{}",
    "/api/workflows/{}/flow.svg", "/api/schedules/{}", "/api/runs?resource_id={}",
    "/api/runs?cursor={}", "/api/runs?tag=a%3D{}", "/api/{}", "/{}",
]  # fmt: skip
ODD = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["..", "../..", "%2F", "%2e%2e%2f", "\0", "%00", "a" * 5000, "%ff", "%ed%a0%80", "😀",
         "\\", ";", "?", "#", "%", "%zz", "a/b", "//", "?x=%", "\r\nx: y"]
    ),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(odd=ODD, method=st.sampled_from(["GET", "POST", "DELETE"]))
def test_odd_ids_never_break_anything(odd: str, method: str):
    async def main() -> None:
        async with site() as it:
            for place in PLACES_OF_IDS:
                path, _, query = place.partition("?")
                query = query.replace("{}", quote(odd.encode("utf-8", "surrogatepass")))
                headers = [(name.encode(), text.encode()) for name, text in CHANGES.items()]
                status, body = await ask(
                    it.app, path.replace("{}", odd), method, query=query, headers=headers
                )
                assert status < 500, (place, odd, body)
                if status >= 400:
                    assert json.loads(body)["error"]

    asyncio.run(main())


def test_the_check_of_shapes_finds_what_it_should():
    document = {
        "a": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    }
    shape = Shape({"anyOf": [{"$ref": "#/a"}, {"type": "null"}]}, document)
    assert not [*shape.misfits({"n": 1}), *shape.misfits(None)]
    assert all(list(shape.misfits(wrong)) for wrong in ({}, {"n": "x"}, {"n": True}, [], 7))
    assert list(Shape({"items": {"enum": ["a"]}}, {}).misfits(["a", "b"]))
    assert list(Shape({"additionalProperties": False}, {}).misfits({"a": 1}))
    assert list(Shape({"propertyNames": {"const": "b"}}, {}).misfits({"a": 1}))
