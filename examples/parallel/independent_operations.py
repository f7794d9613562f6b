"""Independent operations: an order is mailed, stored, announced and reported at the same time.

A step that a crash interrupted runs again. So each step works under its idempotency key, and doing
it twice has the effect of once.
"""

import asyncio
import csv
import json
import sqlite3
import tempfile
from email.message import EmailMessage
from pathlib import Path

from pydantic import BaseModel, PositiveInt

from gorkflow import Engine, NonRetryableError, StepContext, Workflow, step


class Order(BaseModel):
    number: PositiveInt
    email: str
    cents: PositiveInt


class Outbox(BaseModel):
    """The outside world, which is a folder in this example."""

    folder: Path


Context = StepContext[Outbox]


@step
async def validate_input(order: Order) -> Order:
    if "@" not in order.email:
        raise NonRetryableError(f"{order.email!r} is not an e-mail address")
    return order


@step
def send_email(ctx: Context, order: Order) -> str:
    message = EmailMessage()
    message["To"] = order.email
    message["Subject"] = f"Your order {order.number}"
    message["Message-ID"] = f"<{ctx.idempotency_key.replace(':', '.')}@example.org>"
    message.set_content(f"Thank you! We charge {order.cents / 100:.2f}.")
    path = ctx.deps.folder / f"order-{order.number}.eml"
    path.write_bytes(bytes(message))
    return path.name


@step
def update_database(ctx: Context, order: Order) -> int:
    with sqlite3.connect(ctx.deps.folder / "orders.db") as database:
        database.execute("CREATE TABLE IF NOT EXISTS orders (number PRIMARY KEY, cents)")
        database.execute(
            "INSERT INTO orders VALUES (?, ?) ON CONFLICT (number) DO UPDATE SET cents = ?",
            (order.number, order.cents, order.cents),
        )
        (count,) = database.execute("SELECT count(*) FROM orders").fetchone()
    database.close()
    return int(count)


@step(timeout=5, retries=3)
async def call_webhook(ctx: Context, order: Order) -> int:
    await asyncio.sleep(0.02)  # stands for the request; the key would be one of its headers
    body = {"order": order.number, "idempotency-key": ctx.idempotency_key}
    (ctx.deps.folder / "webhook.json").write_text(json.dumps(body), encoding="utf-8")
    return 204


@step
def generate_report(ctx: Context, order: Order) -> str:
    path = ctx.deps.folder / f"order-{order.number}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("number", "cents"), (order.number, order.cents)])
    return path.name


@step
async def finalize(mail: str, orders: int, status: int, report: str) -> str:
    return f"mailed {mail}, {orders} orders stored, webhook said {status}, wrote {report}"


independent = (
    Workflow("independent", input=Order, name="Independent Operations")
    .then(validate_input)
    .parallel(send_email, update_database, call_webhook, generate_report)
    .then(finalize)
)


async def main(folder: Path) -> str:
    # Every step gets the dependencies as ctx.deps. They are never stored.
    async with Engine("memory:", deps=Outbox(folder=folder)) as engine:
        return await engine.run(independent, Order(number=7, email="ada@example.org", cents=1990))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(asyncio.run(main(Path(name))))
