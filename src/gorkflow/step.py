"""Steps: typed functions with an id and options. ``@step`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.errors import StepInvalidError
from gorkflow.language.options import StepDefaults, checked_options, given_options
from gorkflow.language.placement import check_placement
from gorkflow.language.signature import Param, read_signature
from gorkflow.language.steps import AsyncStep, Step, SyncStep, is_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.language._overloads import StepFactory

__all__ = [
    "AsyncStep",
    "Param",
    "Step",
    "StepDefaults",
    "SyncStep",
    "is_step",
    "step",
]


def _step(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a step of a typed function: ``@step``, ``@step(…)`` or ``step(fn, …)``.

    An optional first parameter annotated ``StepContext`` gets the context. Parameters without a
    default are inputs; the others are settings, which ``bind`` can fix.

    Args:
        fn: The function, ``def`` or ``async def``, with every input and the output annotated.
        **options: ``id`` (by default the function's name), ``name``, ``description``, ``timeout``
            (seconds or ``timedelta`` per attempt; none), ``retries`` (a number or ``RetryPolicy``;
            0), ``continue_on_error`` (False), ``reads`` (earlier nodes that it reads; none),
            ``executor`` (``"process"``, or a name given to ``Engine(executors={…})``), ``limits``
            (named limits that its attempts take; none).

    Raises:
        StepInvalidError: If the function can't be a step, or an option is unknown or out of range.

    Example:
        from gorkflow import step

        @step(timeout=5)
        async def double(number: int) -> int:
            return 2 * number

        assert await double(21) == 42
    """
    if fn is not None:
        return _make(fn, options)
    checked_options({"id": "any", **given_options(options)}, "@step")

    def decorate(fn: Callable[..., Any]) -> Step[Any, Any]:
        return _make(fn, options)

    return decorate


if TYPE_CHECKING:
    step: StepFactory
else:
    step = _step
    step.__name__ = step.__qualname__ = "step"


def _make(fn: Any, options: Mapping[str, Any]) -> Step[Any, Any]:
    if isinstance(fn, Step):
        raise StepInvalidError(f"{fn.id!r} is a step already; {fn.id}.options(…) makes a copy")
    label = _label(fn)
    chosen = given_options(options)
    signature = read_signature(fn, label)
    if "id" not in chosen:
        name = getattr(fn, "__name__", None)
        if name is None or name == "<lambda>":
            raise StepInvalidError(f"{label} has no name to take as id; write step(…, id=…)")
        chosen["id"] = name
    checked_options(chosen, f"step {label}")
    check_placement(fn, chosen, f"step {label}", signature)
    kinds: dict[bool, type[Step[Any, Any]]] = {True: AsyncStep, False: SyncStep}
    return kinds[signature.is_async](fn, signature, chosen)


def _label(fn: Any) -> str:
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    if not isinstance(name, str):
        return brief(fn)
    return repr(name.rpartition("<locals>.")[2])
