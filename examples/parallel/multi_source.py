"""Multi-source fetch: ask two HTTP APIs, a database and a cache at the same time.

The workflow begins with its block: every branch gets the run's input. All four sources are real but
small: a local HTTP server, an SQLite file, a dictionary.
"""

import asyncio
import json
import sqlite3
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gorkflow import Engine, StepContext, Workflow, step


class City(BaseModel):
    name: str


class Weather(BaseModel):
    celsius: float


class News(BaseModel):
    headlines: list[str]


class Visit(BaseModel):
    year: int
    note: str


class Overview(BaseModel):
    city: str
    celsius: float
    headlines: list[str]
    visits: list[Visit]
    nickname: str | None


@dataclass
class Sources:
    url: str
    database: Path
    cache: dict[str, str] = field(default_factory=dict[str, str])


Context = StepContext[Sources]


def fetch(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)


@step(id="fetch-from-api-1", timeout=10, retries=2)
def fetch_weather(ctx: Context, city: City) -> Weather:
    return Weather.model_validate(fetch(f"{ctx.deps.url}/weather/{city.name}"))


@step(id="fetch-from-api-2", timeout=10, retries=2)
def fetch_news(ctx: Context, city: City) -> News:
    return News.model_validate(fetch(f"{ctx.deps.url}/news/{city.name}"))


@step(id="fetch-from-database")
def fetch_visits(ctx: Context, city: City) -> list[Visit]:
    with closing(sqlite3.connect(ctx.deps.database)) as database:
        query = "SELECT year, note FROM visits WHERE city = ? ORDER BY year"
        return [Visit(year=year, note=note) for year, note in database.execute(query, (city.name,))]


@step(id="fetch-from-cache")
async def fetch_nickname(ctx: Context, city: City) -> str | None:
    return ctx.deps.cache.get(city.name)


@step
async def merge_data(
    ctx: Context, weather: Weather, news: News, visits: list[Visit], nickname: str | None
) -> Overview:
    return Overview(
        city=ctx.run_input(City).name,
        celsius=weather.celsius,
        headlines=news.headlines,
        visits=visits,
        nickname=nickname,
    )


multi_fetch = (
    Workflow("multi-fetch", input=City, name="Multi-Source Fetch")
    .parallel(fetch_weather, fetch_news, fetch_visits, fetch_nickname)
    .then(merge_data)
)


class Api(BaseHTTPRequestHandler):
    """The two APIs."""

    def do_GET(self) -> None:
        _, kind, city = self.path.split("/")
        answers = {"weather": {"celsius": 21.5}, "news": {"headlines": [f"All is well in {city}"]}}
        body = json.dumps(answers[kind]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def sources(folder: Path) -> Iterator[Sources]:
    """Set up the four sources."""
    with closing(sqlite3.connect(folder / "visits.db")) as database, database:
        database.execute("CREATE TABLE visits (city, year, note)")
        rows = [("Bern", 2021, "the bears"), ("Bern", 2019, "the river"), ("Rome", 2020, "ruins")]
        database.executemany("INSERT INTO visits VALUES (?, ?, ?)", rows)
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield Sources(url, folder / "visits.db", {"Bern": "City of Bears"})
        server.shutdown()


async def main(folder: Path, city: str) -> Overview:
    with sources(folder) as deps:
        async with Engine("memory:", deps=deps) as engine:
            return await engine.run(multi_fetch, City(name=city))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(asyncio.run(main(Path(name), "Bern")).model_dump_json(indent=2))
