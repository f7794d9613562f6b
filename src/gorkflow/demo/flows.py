"""Five workflows of the demo, as examples: a shop, reports, pictures, an agent, and an import.

Try one: ``gorkflow run gorkflow.demo.flows:checkout --input '{"id": 7}'``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from gorkflow import (
    Completed,
    Limit,
    NonRetryableError,
    Outcome,
    RetryPolicy,
    Signal,
    StepContext,
    Workflow,
    step,
    tolerate,
)
from gorkflow.demo.world import call

patient = RetryPolicy(retries=3, initial_interval=1.5)
carriers_api = Limit("carriers-api", concurrency=6)
llm = Limit("llm", concurrency=8, rate=120, per=60.0)
database = Limit("database", concurrency=4)

# ---- checkout: branches side by side, a choice, an approval, undo, a nested workflow ------------


Country = Literal["CH", "DE", "FR", "SE", "AQ"]


@dataclass
class Order:
    """The order of a customer."""

    id: int
    item: str = "teapot"
    cents: int = 4_900
    country: Country = "CH"


@dataclass
class Payment:
    """A charged card."""

    order: int
    cents: int
    key: str | None


@dataclass
class Approval:
    """The answer of a person."""

    by: str
    ok: bool = True
    note: str = ""


approved = Signal("approved", Approval)


@step(timeout=5, retries=patient)
async def check_stock(ctx: StepContext, order: Order) -> int:
    chance = await call(ctx, "stock-db")
    return chance.randint(1, 40)


@step(timeout=20, retries=patient, limits=(carriers_api,))
async def carriers(ctx: StepContext, order: Order) -> dict[str, int]:
    ctx.logger.info("asking 3 carriers for %s", order.country)
    quotes: dict[str, int] = {}
    for number, name in enumerate(("post", "dhl", "camel"), 1):
        chance = await call(ctx, "carriers", 1 / 3)
        if order.country != "AQ":
            quotes[name] = chance.randint(490, 1_990)
        ctx.progress(number, 3, name)
    ctx.logger.info("%d of 3 carriers go to %s", len(quotes), order.country)
    return quotes


@step(timeout=10, continue_on_error=True)
async def score_fraud(ctx: StepContext, order: Order) -> float | None:
    chance = await call(ctx, "fraud", min(4.0, order.cents / 10_000 + 0.5))
    return round(chance.random(), 2)


@step
async def quote(
    ctx: StepContext, in_stock: int, quotes: dict[str, int], risk: float | None
) -> Order:
    order = ctx.run_input(Order)
    cheapest = min(quotes, key=lambda name: quotes[name])
    ctx.logger.info("%s in stock, sent by %s, risk %s", in_stock, cheapest, risk)
    return Order(order.id, order.item, order.cents + quotes[cheapest], order.country)


def is_large(order: Order) -> bool:
    return order.cents >= 30_000


@step
async def decide(order: Order, answer: Approval) -> Order:
    if not answer.ok:
        raise NonRetryableError(f"{answer.by} rejected order {order.id}: {answer.note}")
    return order


approval = (
    Workflow("approval", input=Order)
    .wait_for(approved, timeout=2 * 86_400, default=Approval("nobody", ok=False, note="too late"))
    .then(decide)
)


@step(timeout=10, retries=patient)
async def charge(ctx: StepContext, order: Order) -> Payment:
    chance = await call(ctx, "bank")
    if chance.random() < 0.02:
        raise NonRetryableError(f"card declined: {order.cents / 100:.2f} is above its limit")
    return Payment(order.id, order.cents, ctx.idempotency_key)


@step(retries=10)
async def refund(ctx: StepContext, order: Order, payment: Payment | None) -> None:
    ctx.logger.info("refunding %s", ctx.undone_key)
    await call(ctx, "bank")


@step(retries=patient)
async def pack(ctx: StepContext, payment: Payment) -> str:
    chance = await call(ctx, "warehouse")
    if chance.random() < 0.015:
        raise NonRetryableError(f"the shelf is empty: order {payment.order} can't be packed")
    return f"parcel {payment.order}"


@step(timeout=15, retries=2)
async def print_label(ctx: StepContext, parcel: str) -> str:
    await call(ctx, "labels")
    return f"{parcel}, label {ctx.run_id}"


shipping = Workflow("shipping", input=Payment).then(pack).then(print_label)


@step(timeout=10, retries=patient)
async def confirm(ctx: StepContext, label: str) -> str:
    await call(ctx, "mail")
    return f"{label}: sent"


checkout = (
    Workflow("checkout", input=Order, description="Quote, approve, charge and ship an order")
    .parallel(check_stock, carriers, score_fraud, id="ask", timeout=60)
    .then(quote)
    .then_if(is_large, approval)
    .then(charge.undo(refund))
    .then(shipping)
    .then(confirm)
)

# ---- nightly-report: a map over regions, a step in a thread -------------------------------------


@dataclass
class Report:
    """The subject of a report."""

    area: str = "north"
    regions: int = 6


@dataclass
class Figures:
    """The figures of a region."""

    region: str
    orders: int
    cents: int


@step
async def list_regions(report: Report) -> list[str]:
    return [f"{report.area}-{number}" for number in range(1, report.regions + 1)]


@step(timeout=30, retries=patient, limits=(database,))
async def sum_up(ctx: StepContext, region: str) -> Figures:
    chance = await call(ctx, "ledger")
    orders = chance.randint(0, 400)
    ctx.logger.info("%s: %d orders", region, orders)
    return Figures(region, orders, orders * chance.randint(2_000, 9_000))


@step
def render(figures: list[Outcome[Figures]]) -> str:  # a plain def runs in a thread
    found = [each.value for each in figures if isinstance(each, Completed)]
    lines = [f"{each.region}: {each.cents // each.orders / 100:.2f} per order" for each in found]
    return "\n".join(lines)


@step(timeout=10, retries=patient)
async def send(ctx: StepContext, text: str) -> int:
    await call(ctx, "mail")
    return len(text.splitlines())


nightly_report = (
    Workflow("nightly-report", input=Report, description="Mail the figures of an area")
    .then(list_regions)
    .map(sum_up, key=lambda region: region, join=tolerate(1), max_concurrency=3)
    .then(render)
    .then(send)
)

# ---- thumbnails: a map over pictures of which some are broken -----------------------------------


@dataclass
class Album:
    """Pictures to shrink."""

    id: int
    pictures: int = 12
    width: int = 320


@step(timeout=20, retries=patient)
async def list_pictures(ctx: StepContext, album: Album) -> list[str]:
    chance = await call(ctx, "images")
    animals = ("cat", "dog", "camel", "heron", "newt")
    return [f"{chance.choice(animals)}-{number}.jpg" for number in range(album.pictures)]


@step(timeout=8, retries=2)
async def resize(ctx: StepContext, picture: str) -> str:
    chance = await call(ctx, "images")
    head = b"<html>" if chance.random() < 0.015 else b"\xff\xd8\xff"
    if not head.startswith(b"\xff\xd8"):
        raise NonRetryableError(f"{picture} is not a JPEG: it begins with {head!r}")
    return f"small/{picture}"


@step(timeout=30, retries=patient)
async def publish(ctx: StepContext, pictures: list[Outcome[str]]) -> int:
    await call(ctx, "images", 2)
    return sum(isinstance(each, Completed) for each in pictures)


thumbnails = (
    Workflow("thumbnails", input=Album, description="Shrink the pictures of an album")
    .then(list_pictures)
    .map(resize, key=lambda picture: picture, join=tolerate(2), max_concurrency=4)
    .then(publish)
)

# ---- research: an agent that searches until it knows enough, or asks ----------------------------


@dataclass
class Question:
    """A question to the agent."""

    text: str
    depth: int = 2


@dataclass
class Notes:
    """The knowledge of the agent."""

    question: str
    depth: int
    round: int = 0
    sure: float = 0.0
    queries: list[str] = field(default_factory=list[str])


answer = Signal("answer", str)


@step
async def begin(question: Question) -> Notes:
    return Notes(question.text, question.depth)


@step(timeout=60, retries=patient, limits=(llm,))
async def think(ctx: StepContext, notes: Notes) -> list[str]:
    await call(ctx, "llm", 0.6)
    ctx.logger.info("round %d: %s", notes.round + 1, notes.question)
    ctx.state["notes"] = {"question": notes.question, "depth": notes.depth, "round": notes.round}
    return [f"{notes.question} ({aspect})" for aspect in ("history", "numbers", "critics")]


@step(timeout=12, retries=1)
async def search(ctx: StepContext, query: str) -> str:
    chance = await call(ctx, "search")
    return f"{chance.randint(3, 90)} pages about {query}"


@step(timeout=15, retries=patient, limits=(llm,))
async def judge(ctx: StepContext, found: list[Outcome[str]]) -> Notes:
    chance = await call(ctx, "llm")
    reply = f'{{"sure": {chance.random() / 4:.2f}, "because": "…"}}'
    if chance.random() < 0.06:
        reply = reply[:-9]  # its tokens ran out
    said = json.loads(reply)
    kept = [each.value for each in found if isinstance(each, Completed)]
    for each in kept:
        ctx.state.append("findings", each)
    ctx.state.incr("tokens", chance.randint(900, 4_000))
    notes = ctx.state["notes"]
    sure = round(0.25 + 0.2 * len(kept) + said["sure"], 2)
    return Notes(notes["question"], notes["depth"], notes["round"] + 1, sure, kept)


def is_enough(notes: Notes) -> bool:
    return notes.sure >= 0.9 or notes.round >= notes.depth


def is_unsure(notes: Notes) -> bool:
    return notes.sure < 0.72


@step
async def take_answer(notes: Notes, said: str) -> Notes:
    return Notes(notes.question, notes.depth, notes.round, 1.0, [*notes.queries, said])


ask_a_person = (
    Workflow("ask-a-person", input=Notes)
    .wait_for(answer, timeout=86_400, default="no answer")
    .then(take_answer)
)


@step(timeout=120, retries=patient, limits=(llm,))
async def write(ctx: StepContext, notes: Notes) -> str:
    for done in range(1, 5):
        await call(ctx, "llm", 0.4)
        ctx.progress(done, 4, "paragraphs")
    return f"{notes.question} In short: {'; '.join(notes.queries)}."


research = (
    Workflow("research", input=Question, description="Answer a question from the web")
    .then(begin)
    .loop(
        Workflow("round", input=Notes).then(think).map(search, join="settled").then(judge),
        until=is_enough,
        max_iterations=5,
    )
    .then_if(is_unsure, ask_a_person)
    .then(write)
)

# ---- import: a nested check, chunks under a limit, a sleep --------------------------------------


@dataclass
class Delivery:
    """A file of a supplier."""

    supplier: str
    rows: int = 4_000


@dataclass
class Chunk:
    """Some rows of a file."""

    first: int
    rows: int


@step(timeout=60, retries=patient)
async def extract(ctx: StepContext, delivery: Delivery) -> list[Chunk]:
    size = 1_000
    chunks: list[Chunk] = []
    for first in range(0, delivery.rows, size):
        await call(ctx, "source", 0.3)
        chunks.append(Chunk(first, min(size, delivery.rows - first)))
        ctx.progress(first + size, delivery.rows, "rows")
        ctx.logger.info("%s: rows %d to %d", delivery.supplier, first, first + size)
    return chunks


@step(timeout=30)
async def check_columns(ctx: StepContext, chunks: list[Chunk]) -> int:
    chance = await call(ctx, "database", 0.3)
    missing = {"sku": "sku", "cents": "cents"}
    if chance.random() < 0.03:
        missing.pop("cents")
    return len(missing["cents"])


@step(timeout=9)
async def check_duplicates(ctx: StepContext, chunks: list[Chunk]) -> int:
    await call(ctx, "database", 0.5 * len(chunks))
    return 0


checks = Workflow("checks", input=list[Chunk]).parallel(
    check_columns, check_duplicates.options(continue_on_error=True), id="both"
)


@step(reads=(extract,))
async def accept(ctx: StepContext, _columns: int, duplicates: int | None) -> list[Chunk]:
    if duplicates is None:
        ctx.logger.warning("duplicates were not checked in time")
    return ctx.outputs[extract]


@step(timeout=30, retries=patient, limits=(database,))
async def load(ctx: StepContext, chunk: Chunk) -> int:
    await call(ctx, "database", chunk.rows / 1_000)
    ctx.logger.info("loaded %d rows from %d", chunk.rows, chunk.first)
    return chunk.rows


@step
async def count(loaded: list[int]) -> int:
    return sum(loaded)


imports = (
    Workflow("import", input=Delivery, description="Load a supplier's file", timeout=900)
    .then(extract)
    .then(checks)
    .then(accept)
    .map(load, max_concurrency=3, id="chunks")
    .sleep(20)  # until the index has them
    .then(count)
)

WORKFLOWS = (checkout, nightly_report, thumbnails, research, imports)
