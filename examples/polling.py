"""Order something from a slow service, and ask until it is ready.

    python examples/polling.py http://localhost:8080/jobs

The run sleeps between two questions. During a sleep of more than a few seconds it leaves memory. A
worker asks again when it is due. Each answer is recorded, so the order is placed once. After a
crash the run continues with the next question.
"""

import argparse
import json
import urllib.request

from pydantic import BaseModel

from gorkflow import Workflow, run, step


class Order(BaseModel):
    url: str


class State(BaseModel):
    """An answer of the service."""

    url: str
    """The address of the service."""
    asked: int = 0
    ready: bool = False
    result: str | None = None


@step(retries=3, timeout=10)
def place(order: Order) -> State:
    request = urllib.request.Request(order.url, data=b"{}", method="POST")
    with urllib.request.urlopen(request) as answer:
        return State(url=json.load(answer)["url"])


@step(retries=3, timeout=10)
def ask(state: State) -> State:
    with urllib.request.urlopen(state.url) as answer:
        said = json.load(answer)
    done = said["done"]
    return State(url=state.url, asked=state.asked + 1, ready=done, result=said.get("result"))


def is_ready(state: State) -> bool:
    return state.ready


poll = Workflow("poll", input=State).sleep(0.05).then(ask)
polling = (
    Workflow("polling", input=Order).then(place).loop(poll, until=is_ready, max_iterations=100)
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    state = run(polling, Order(url=parser.parse_args().url))
    print(f"{state.result}, after {state.asked} questions")


if __name__ == "__main__":
    main()
