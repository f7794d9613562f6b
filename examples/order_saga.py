"""An order over three independent services: all of it happens, or none.

    python examples/order_saga.py FOLDER --cents 9900 --balance 5000

Each service keeps its book as files in FOLDER: reservations, bookings and charges. The payment
fails if the balance is too low. Then the reservation is released and the courier cancelled. If the
program is killed in between, `gorkflow runs resume` continues.

Every entry has the idempotency key of the step that made it. So a step that runs again after a
crash makes no second entry. An undo step finds the entry by that key, even if the step's outcome is
unknown and its output None.
"""

import argparse
from pathlib import Path

from pydantic import BaseModel

from gorkflow import NonRetryableError, RunFailedError, StepContext, Workflow, run, step


class Order(BaseModel):
    item: str
    cents: int
    books: Path
    balance: int
    """The balance of the customer's card."""


class Entry(BaseModel):
    """An entry in the book of a service."""

    key: str


def enter(order: Order, book: str, key: str | None, text: str) -> Entry:
    page = order.books / book
    page.mkdir(parents=True, exist_ok=True)
    (page / f"{key}.txt").write_text(text)
    return Entry(key=str(key))


def strike(order: Order, book: str, key: str | None) -> None:
    (order.books / book / f"{key}.txt").unlink(missing_ok=True)


@step(retries=3, timeout=10)
def reserve(ctx: StepContext, order: Order) -> Entry:
    return enter(order, "stock", ctx.idempotency_key, order.item)


@step(retries=10)
def release(ctx: StepContext, order: Order, _: Entry | None) -> None:
    strike(order, "stock", ctx.undone_key)


@step(retries=3, timeout=10)
def book_courier(ctx: StepContext, order: Order) -> Entry:
    return enter(order, "courier", ctx.idempotency_key, order.item)


@step(retries=10)
def cancel_courier(ctx: StepContext, order: Order, _: Entry | None) -> None:
    strike(order, "courier", ctx.undone_key)


@step(retries=3, timeout=10)
def charge(ctx: StepContext, _stock: Entry, _courier: Entry) -> Entry:
    order = ctx.run_input(Order)
    if order.cents > order.balance:
        raise NonRetryableError(f"card declined: {order.cents} is more than {order.balance}")
    return enter(order, "bank", ctx.idempotency_key, f"{order.cents}")


@step(retries=10)
def refund(ctx: StepContext, _stock: Entry, _courier: Entry, _: Entry | None) -> None:
    strike(ctx.run_input(Order), "bank", ctx.undone_key)


@step
def confirm(payment: Entry) -> str:
    return f"paid, see {payment.key}"


ordering = (
    Workflow("ordering", input=Order)
    .parallel(reserve.undo(release), book_courier.undo(cancel_courier))
    .then(charge.undo(refund))
    .then(confirm)
)


def books(folder: Path) -> dict[str, list[str]]:
    """Return the entries of each book."""
    pages = sorted(page for page in folder.iterdir() if page.is_dir())
    return {page.name: sorted(entry.read_text() for entry in page.iterdir()) for page in pages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cents", type=int, default=9_900)
    parser.add_argument("--balance", type=int, default=5_000)
    options = parser.parse_args()
    order = Order(
        item="lamp", cents=options.cents, balance=options.balance, books=options.folder / "books"
    )
    try:
        print(run(ordering, order, store=f"sqlite:{options.folder}/runs.db"))
    except RunFailedError as error:
        print(error)
    print(books(order.books))


if __name__ == "__main__":
    main()
