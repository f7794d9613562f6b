"""Signals: typed messages to a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.errors import WorkflowInvalidError
from gorkflow.language.options import annotation_problems, id_problems

if TYPE_CHECKING:
    import builtins
    from types import UnionType

T = TypeVar("T")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Signal(Generic[T]):
    """A typed message to a run: ``workflow.wait_for(signal)`` takes it, ``engine.send`` sends it.

    Two signals of the same name and type are the same.

    Example:
        from gorkflow import Engine, Signal, Workflow

        approved = Signal("approved", bool)
        review = Workflow("review", input=str).wait_for(approved)

        async with Engine("memory:") as engine:
            handle = await engine.start(review, "draft")
            await handle.send(approved, True)
            assert await handle.result() == ("draft", True)

    Args:
        name: 1 to 100 letters, digits, ``_``, ``.`` and ``-``, first a letter or digit.
        type: The type of the payload. ``None``: it has none, and is sent as ``None``.

    Raises:
        WorkflowInvalidError: If the name is not valid, or values of this type can't be written as
            JSON.
    """

    name: str
    type: Any
    """The annotation of the payload."""

    @overload
    def __init__(self, name: str, type: builtins.type[T]) -> None: ...
    @overload
    def __init__(self: Signal[None], name: str, type: None) -> None: ...
    @overload
    def __init__(self: Signal[Any], name: str, type: UnionType) -> None: ...
    def __init__(self, name: str, type: Any) -> None:
        problems = id_problems("signal", name)
        problems += annotation_problems("its payload is", type)
        if problems:
            shown = name if isinstance(name, str) else brief(name)
            raise WorkflowInvalidError(shown, problems, what="signal")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "type", type)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<signal {self.name!r} of {describe(self.type)}>"
