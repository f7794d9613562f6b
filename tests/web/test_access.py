"""Every route, with every method, token and place, is judged by one gate."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route, Router

from gorkflow import Client
from gorkflow.web import app
from gorkflow.web._access import cookie_of, is_loopback, split_host
from gorkflow.web._gate import Gate
from tests.engine.support import in_loop
from tests.web.tools import CHANGES, HOST, LOCAL, READ_TOKEN, TOKEN, ask, client, site

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ODD")
TOKENS = {"none": None, "wrong": "w" * 20, "read": READ_TOKEN, "full": TOKEN}
PLACES = {
    "here": (LOCAL, "127.0.0.1"),
    "afar": (f"http://{HOST}", "203.0.113.9"),
    "rebound": ("http://evil.example", "127.0.0.1"),
    "pretends": (LOCAL, "203.0.113.9"),
}


def routes_of(asgi: Any) -> list[Route]:
    assert isinstance(asgi, Gate)
    inner = asgi._inner
    assert isinstance(inner, Router)
    found = [route for route in inner.routes if isinstance(route, Route)]
    assert len(found) == len(inner.routes)
    return found


def address(route: Route) -> str:
    """Return an address that leads to a route, and to nothing that is there."""
    return (
        route.path.replace("{path:path}", "x")
        .replace("{run_id}", "none")
        .replace("{", "")
        .replace("}", "")
    )


def expected(
    method: str, token: str, place: str, *, read_only: bool, is_local: bool
) -> set[int] | None:
    """Return the statuses of who is not let in; ``None``: the route answers."""
    reads = method in {"GET", "HEAD"}
    if place == "rebound" or (place == "afar" and is_local):
        return {421}
    if token == "wrong":
        return {401}
    if reads:
        return None if (place == "here" and is_local) or token != "none" else {401}
    if read_only or token == "read":
        return {403}
    return {401} if token == "none" else None


@pytest.mark.parametrize("is_local", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
@in_loop
async def test_all_routes_and_methods_by_token_and_place(read_only, is_local):
    hosts = ["127.0.0.1"] if is_local else ["127.0.0.1", HOST]
    async with site(hosts=hosts, read_only=read_only) as it:
        routes = routes_of(it.app)
        assert len(routes) > 20
        paths = [
            *sorted({address(route) for route in routes}),
            "/",
            "/nothing",
            "/static/x",
            "/api",
        ]
        for place, token in product(PLACES, TOKENS):
            base, peer = PLACES[place]
            headers = {"x-gorkflow": "1"}
            if TOKENS[token]:
                headers["authorization"] = f"Bearer {TOKENS[token]}"
            async with client(it.app, base, peer=peer, headers=headers) as visitor:
                for path, method in product(paths, METHODS):
                    if method in {"GET", "HEAD"} and path == "/api/events":
                        continue  # it never ends; below
                    found = await visitor.request(method, path)
                    wanted = expected(method, token, place, read_only=read_only, is_local=is_local)
                    case = (place, token, method, path, found.status_code, found.text[:200])
                    if wanted is None:
                        assert found.status_code not in {401, 403, 421, 500}, case
                    else:
                        assert found.status_code in wanted, case
                    assert "content-security-policy" in found.headers, case
                    assert found.headers["x-content-type-options"] == "nosniff"


@in_loop
async def test_a_stream_is_behind_the_gate():
    async with (
        site(hosts=["127.0.0.1", HOST]) as it,
        client(it.app, f"http://{HOST}", peer="203.0.113.9") as visitor,
    ):
        assert (await visitor.get("/api/events")).status_code == 401
        assert (await visitor.get("/api/runs/none/events")).status_code == 401


@in_loop
async def test_without_a_token_this_machine_reads_and_nobody_changes():
    async with site(token=None, read_token=None) as it:
        async with client(it.app) as visitor:
            assert (await visitor.get("/api/runs")).status_code == 200
            refused = await visitor.post("/api/runs", headers={"x-gorkflow": "1"})
            assert (refused.status_code, "no token" in refused.text) == (403, True)
        async with client(it.app, peer="203.0.113.9") as visitor:
            assert (await visitor.get("/api/runs")).status_code == 403


@in_loop
async def test_a_proxy_on_this_machine_is_not_this_machine():
    async with site() as it, client(it.app) as visitor:
        names = (
            "forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-proto", "via", "client-ip",
            "cf-connecting-ip", "true-client-ip", "x-client-ip", "fastly-client-ip", "cdn-loop",
        )  # fmt: skip
        for name in names:
            assert (await visitor.get("/api/runs", headers={name: "x"})).status_code == 401
        assert (await ask(it.app, "/api/runs", version="1.0"))[0] == 401


@in_loop
async def test_a_proxy_that_hides_its_visitors_is_not_this_machine():
    """As nginx with a bare ``proxy_pass``: it sends our own address as the host, and no more."""
    async with site(hosts=["localhost", "127.0.0.1", HOST]) as it, client(it.app) as visitor:
        found = await visitor.get("/api/runs")
        assert (found.status_code, found.headers["www-authenticate"]) == (401, "Bearer")
        allowed = await visitor.get("/api/runs", headers={"authorization": f"Bearer {READ_TOKEN}"})
        assert allowed.status_code == 200


# ---- cross-site ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"x-gorkflow": "0"}, 403),
        ({"x-gorkflow": ""}, 403),
        ({"origin": LOCAL}, 422),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": f"{LOCAL}.evil.example"}, 403),
        ({"sec-fetch-site": "same-origin"}, 422),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
    ],
)
@in_loop
async def test_another_site_changes_nothing(headers, status):
    async with site() as it:
        found = await it.local.post("/api/runs", headers=headers)
        assert found.status_code == status, found.text
    async with site() as it:
        del it.local.headers["x-gorkflow"]
        assert (await it.local.post("/api/runs")).status_code == 403


@pytest.mark.parametrize(
    ("site_", "mode", "status"),
    [
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        ("cross-site", "navigate", 200),
        ("cross-site", "no-cors", 403),
        ("same-site", "cors", 403),
        ("cross-site", "", 403),
    ],
)
@in_loop
async def test_another_site_reads_nothing(site_, mode, status):
    async with site() as it:
        headers = {"sec-fetch-site": site_, "sec-fetch-mode": mode}
        assert (await it.local.get("/api/runs", headers=headers)).status_code == status


# ---- hosts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        ([b"127.0.0.1"], 200),
        ([b"127.0.0.1:8765"], 200),
        ([b"localhost:1"], 200),
        ([b"LOCALHOST."], 200),
        ([b"[::1]:8765"], 200),
        ([b"[0:0:0:0:0:0:0:1]"], 200),
        ([], 400),
        ([b""], 400),
        ([b"127.0.0.1", b"127.0.0.1"], 400),
        ([b"127.0.0.1", b"evil.example"], 400),
        ([b"127.0.0.1:0"], 400),
        ([b"127.0.0.1:99999"], 400),
        ([b"127.0.0.1:8765:1"], 400),
        ([b"127.0.0.1@evil.example"], 400),
        ([b"user:pw@127.0.0.1"], 400),
        ([b"127.0.0.1/evil"], 400),
        ([b"[::1"], 400),
        ([b"::1"], 400),
        ([b"[::1%25lo]"], 400),
        ([b"\xff"], 400),
        ([b"127.0.0.1 "], 400),
        ([b"evil.example"], 421),
        ([b"localhost.evil.example"], 421),
        ([b"127.0.0.1.evil.example"], 421),
        ([b"0.0.0.0"], 421),
        ([b"2130706433"], 421),
        ([b"0x7f.1"], 421),
        ([b"127.1"], 421),
    ],
)
@in_loop
async def test_only_known_hosts_are_answered(hosts, status):
    async with site() as it:
        headers = [(b"host", host) for host in hosts]
        assert (await ask(it.app, "/api/runs", hosts=[], headers=headers))[0] == status


@given(st.text())
def test_a_host_is_split_or_not_valid(text):
    found = split_host(text)
    assert found is None or found[0]


def test_loopback():
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.8.9.1", "::1"]))
    assert not any(map(is_loopback, ["", "evil", "10.0.0.1", "localhost.evil", "0.0.0.0", "::"]))


# ---- the rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"token": "short"}, "16 or more"),
        ({"token": "with a space in it"}, "16 or more"),
        ({"read_token": ""}, "16 or more"),
        ({"token": "x" * 16, "read_token": "x" * 16}, "use two"),
        ({"hosts": [HOST]}, "give a token"),
        ({"hosts": ["runs.example.com:80"], "token": "x" * 16}, "without a port"),
        ({"hosts": ["bad host"], "token": "x" * 16}, "not the name"),
    ],
)
def test_rules_that_can_not_be(options, error):
    with pytest.raises(ValueError, match=error):
        app(Client("memory:"), **options)


def test_arguments_of_the_wrong_type():
    with pytest.raises(TypeError, match="list of names"):
        app(Client("memory:"), hosts="localhost")
    with pytest.raises(TypeError, match="must be a text"):
        app(Client("memory:"), token=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="needs an Engine"):
        app("memory:")  # type: ignore[arg-type]


# ---- the cookie ---------------------------------------------------------------------------------


@in_loop
async def test_the_link_opens_the_page_once_and_for_all():
    async with site() as it, client(it.app) as browser:
        found = await browser.get(f"/?status=failed&token={TOKEN}")
        assert (found.status_code, found.headers["location"]) == (303, "/?status=failed")
        cookie = found.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        changed = await browser.post(
            "/api/runs", json={"workflow_id": "doubling", "input": 1}, headers={"x-gorkflow": "1"}
        )
        assert changed.status_code == 201
        assert (await browser.post("/api/runs")).status_code == 403  # without the header
        left = await browser.post("/logout", headers={"x-gorkflow": "1"})
        assert left.status_code == 303
        again = await browser.post("/api/runs", headers={"x-gorkflow": "1"})
        assert again.status_code == 401


@in_loop
async def test_the_link_never_leads_to_another_host():
    async with site() as it, client(it.app) as browser:
        found = await browser.get(f"{LOCAL}//evil.example/%0d%0a?token={TOKEN}")
        assert found.status_code == 303
        assert found.headers["location"] == "/evil.example/%0D%0A"


@in_loop
async def test_a_wrong_link_asks_for_the_token():
    async with site() as it, client(it.app, headers={"accept": "text/html"}) as browser:
        found = await browser.get("/?token=wrong")
        assert found.status_code == 401
        assert 'action="/login"' in found.text
        assert "wrong" not in found.text


@in_loop
async def test_a_visitor_types_the_token():
    async with (
        site(hosts=["127.0.0.1", HOST]) as it,
        client(it.app, f"http://{HOST}", peer="203.0.113.9") as browser,
    ):
        browser.headers["accept"] = "text/html"
        asked = await browser.get("/runs")
        assert asked.status_code == 401
        assert 'type="password"' in asked.text
        own = {"origin": f"http://{HOST}"}
        wrong = await browser.post("/login", data={"token": "w" * 20}, headers=own)
        assert wrong.status_code == 401
        foreign = await browser.post(
            "/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"}
        )
        assert foreign.status_code == 403
        assert (await browser.post("/login", data={"token": TOKEN})).status_code == 403
        right = await browser.post("/login", data={"token": READ_TOKEN}, headers=own)
        assert right.status_code == 303
        assert (await browser.get("/api/runs")).status_code == 200
        changes = await browser.post("/api/runs", headers={"x-gorkflow": "1"})
        assert changes.status_code == 403


@pytest.mark.parametrize("token", [TOKEN, READ_TOKEN])
@pytest.mark.parametrize("read_only", [False, True])
@in_loop
async def test_each_visitor_with_a_token_logs_out(token, read_only):
    async with site(read_only=read_only) as it, client(it.app) as browser:
        assert "Log out" not in (await browser.get("/")).text
        await browser.get(f"/?token={token}")
        assert 'action="/logout"><button>Log out</button>' in (await browser.get("/")).text
        foreign = await browser.post("/logout", headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403
        left = await browser.post("/logout", headers={"origin": LOCAL})
        assert (left.status_code, left.headers["location"]) == (303, "/")
        assert not browser.cookies
        assert "Log out" not in (await browser.get("/")).text


@in_loop
async def test_where_there_is_no_token_nobody_is_asked_for_it():
    async with site() as it:
        assert "Log in" in (await client(it.app).get("/")).text
    async with site(token=None, read_token=None) as it:
        assert "Log in" not in (await client(it.app).get("/")).text


@in_loop
async def test_a_cookie_of_another_server_is_no_token():
    async with site() as it, client(it.app, cookies={"gorkflow-000000000000": "x"}) as browser:
        assert (await browser.get("/api/runs")).status_code == 200
    async with site(hosts=["127.0.0.1", HOST]) as it:
        name = it.app._access.cookie
        async with client(it.app, f"http://{HOST}", cookies={name: TOKEN}) as browser:
            assert (await browser.get("/api/runs")).status_code == 401


@pytest.mark.parametrize("other", ['prefs={"theme":"dark"}', "a b=c", "x[]=1", "odd", "=", 'q="'])
@in_loop
async def test_an_odd_cookie_beside_it_logs_nobody_out(other):
    async with site(hosts=["127.0.0.1", HOST]) as it:
        access = it.app._access
        own = f"{access.cookie}={cookie_of(TOKEN)}"
        for cookies in ([f"{other}; {own}"], [f"{own}; {other}"], [other, own], [own, other]):
            headers = [(b"cookie", each.encode()) for each in cookies]
            assert (await ask(it.app, "/api/runs", headers=headers))[0] == 200, cookies


@in_loop
async def test_a_secure_place_gets_a_secure_cookie():
    async with site() as it, client(it.app, "https://127.0.0.1:8765") as browser:
        found = await browser.get(f"/?token={TOKEN}")
        assert "Secure" in found.headers["set-cookie"]


# ---- bodies -------------------------------------------------------------------------------------


@in_loop
async def test_a_body_that_is_too_large_is_not_read(monkeypatch):
    async with site() as it:
        it.app._max_body = 1000

        async def chunks():
            for _ in range(100):
                yield b"x" * 100

        assert (await it.local.post("/api/runs", content=b"x" * 1001)).status_code == 413
        assert (await it.local.post("/api/runs", content=chunks())).status_code == 413
        odd = await it.local.post("/api/runs", headers={"content-length": "-1"})
        assert odd.status_code == 413


@in_loop
async def test_a_slow_body_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("gorkflow.web._gate._BODY_TIME", 0.05)
    async with site() as it:
        never = asyncio.Event()

        async def chunks():
            yield b"{"
            await never.wait()

        assert (await it.local.post("/api/runs", content=chunks())).status_code == 408


@in_loop
async def test_a_websocket_is_closed():
    async with site() as it:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await it.app({"type": "websocket", "path": "/", "headers": []}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]


# ---- errors -------------------------------------------------------------------------------------


@in_loop
async def test_an_unforeseen_error_shows_only_its_number(monkeypatch, caplog):
    async with site() as it:

        async def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("inner secret")

        monkeypatch.setattr(it.engine, "list_runs", broken)
        found = await it.local.get("/api/runs")
        assert found.status_code == 500
        assert "secret" not in found.text
        incident = found.json()["error"].rpartition(" ")[2]
        assert incident in caplog.text
        assert "inner secret" in caplog.text


@in_loop
async def test_a_closed_engine_says_so():
    async with site() as it:
        await it.engine.aclose()
        found = await it.local.get("/api/runs")
        assert (found.status_code, "not open" in found.json()["error"]) == (503, True)


def test_no_token_stands_in_the_log(caplog):
    caplog.set_level(0)

    async def main() -> None:
        async with site() as it, client(it.app) as browser:
            await browser.get(f"/?token={TOKEN}")
            await browser.get(f"/?token={TOKEN[:-1]}x")
            await browser.get("/api/runs", headers=CHANGES)

    asyncio.run(main())
    logged = [
        record.getMessage() for record in caplog.records if record.name.startswith("gorkflow")
    ]
    assert TOKEN not in "".join(logged)
