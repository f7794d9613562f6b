"""Steps that run elsewhere: found by name, so they stand in a module."""

from opentelemetry import baggage
from opentelemetry.trace import get_current_span

from gorkflow import step


def ids() -> list[str]:
    """Return the trace, the span and the baggage that are current."""
    here = get_current_span().get_span_context()
    return [f"{here.trace_id:032x}", f"{here.span_id:016x}", str(baggage.get_baggage("who"))]


@step(executor="process")
def in_process(_: int) -> list[str]:
    return ids()


@step(executor="pool")
def in_pool(_: int) -> list[str]:
    return ids()
