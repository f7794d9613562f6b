"""The two kinds of steps, by their functions: what calling them, and their options, give."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Self,
    TypeVar,
    TypeVarTuple,
    Unpack,
    overload,
)

from gorkflow.language._steps import Step
from gorkflow.node import Node, Out_co, P

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gorkflow.language._options import StepOptions
    from gorkflow.node import StepByShape

In = TypeVar("In")
Out = TypeVar("Out")
Ins = TypeVarTuple("Ins")
Raw_co = TypeVar("Raw_co", covariant=True)


class AsyncStep(Step[P, Out_co], Generic[P, Out_co, Raw_co]):
    """A step whose function is ``async def``; it runs on the event loop."""

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Raw_co]:
            """Call the function, outside any run."""
            ...

        @overload
        def options(
            self,
            *,
            continue_on_error: None = None,
            **options: Unpack[StepOptions],
        ) -> Self: ...
        @overload
        def options(
            self,
            *,
            continue_on_error: Literal[False],
            **options: Unpack[StepOptions],
        ) -> AsyncStep[P, Raw_co, Raw_co]: ...
        @overload
        def options(
            self,
            *,
            continue_on_error: bool,
            **options: Unpack[StepOptions],
        ) -> AsyncStep[P, Out_co | None, Raw_co]: ...
        def options(self, **options: Any) -> Any:
            """Return a copy with other options; they are those of ``@step``."""

        @overload
        def undo(
            self: Node[In, Out], step: StepByShape[tuple[In, Out | None]], /
        ) -> AsyncStep[P, Out_co, Raw_co]: ...
        @overload
        def undo(
            self: Node[object, Out], step: StepByShape[Out | None], /
        ) -> AsyncStep[P, Out_co, Raw_co]: ...
        @overload
        def undo(
            self: Node[tuple[*Ins], Out], step: StepByShape[tuple[*Ins, Out | None]], /
        ) -> AsyncStep[P, Out_co, Raw_co]: ...
        def undo(self: Any, step: Any, /) -> Any:
            """Return a copy that another step undoes, should the run fail or be cancelled."""


class SyncStep(Step[P, Out_co], Generic[P, Out_co, Raw_co]):
    """A step whose function is a plain ``def``; it runs in a thread."""

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Raw_co:
            """Call the function, outside any run."""
            ...

        @overload
        def options(
            self,
            *,
            continue_on_error: None = None,
            **options: Unpack[StepOptions],
        ) -> Self: ...
        @overload
        def options(
            self,
            *,
            continue_on_error: Literal[False],
            **options: Unpack[StepOptions],
        ) -> SyncStep[P, Raw_co, Raw_co]: ...
        @overload
        def options(
            self,
            *,
            continue_on_error: bool,
            **options: Unpack[StepOptions],
        ) -> SyncStep[P, Out_co | None, Raw_co]: ...
        def options(self, **options: Any) -> Any:
            """Return a copy with other options; they are those of ``@step``."""

        @overload
        def undo(
            self: Node[In, Out], step: StepByShape[tuple[In, Out | None]], /
        ) -> SyncStep[P, Out_co, Raw_co]: ...
        @overload
        def undo(
            self: Node[object, Out], step: StepByShape[Out | None], /
        ) -> SyncStep[P, Out_co, Raw_co]: ...
        @overload
        def undo(
            self: Node[tuple[*Ins], Out], step: StepByShape[tuple[*Ins, Out | None]], /
        ) -> SyncStep[P, Out_co, Raw_co]: ...
        def undo(self: Any, step: Any, /) -> Any:
            """Return a copy that another step undoes, should the run fail or be cancelled."""
