"""Steps: typed functions with an id and options. ``@step`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar, Unpack, overload

from gorkflow._hazards import BlockingCallWarning, StepClosureWarning, unwrapped, watch
from gorkflow._options import (
    StepDefaults,
    StepOptions,
    did_you_mean,
    id_problems,
    merged,
    option_problems,
    resolved_limits,
    resolved_retry,
    resolved_timeout,
)
from gorkflow._placement import check_placement, executor_of
from gorkflow._signature import Param, StepSignature, read_signature, summary_of
from gorkflow._source import check_blocking
from gorkflow.errors import StepInvalidError
from gorkflow.flow import StepSpec
from gorkflow.node import In_contra, Node, Out_co

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gorkflow._overloads import StepFactory
    from gorkflow.context import StepContext
    from gorkflow.policy import Limit

__all__ = [
    "AsyncStep",
    "BlockingCallWarning",
    "Param",
    "Step",
    "StepClosureWarning",
    "StepDefaults",
    "SyncStep",
    "step",
]

Raw_co = TypeVar("Raw_co", covariant=True)


class Step(Node[In_contra, Out_co]):
    """A typed function with an id and options. Immutable; made by ``@step``.

    Calling a step calls the function: nothing is recorded, no engine is needed.
    """

    name: str
    """For people; the id unless given."""
    description: str
    """For people; the first line of the docstring unless given."""
    fn: Callable[..., Any]
    reads: tuple[Node[Any, Any], ...]
    """Earlier nodes whose outputs the step reads through its context."""
    settings: Mapping[str, Any]
    """Fixed by ``bind``, by parameter name."""
    snapshot: object
    """What the function's variables held when the step was made; for ``gorkflow check``."""
    _options: Mapping[str, Any]
    _signature: StepSignature
    _specs: dict[Any, StepSpec]

    def __init__(
        self,
        fn: Callable[..., Any],
        signature: StepSignature,
        options: Mapping[str, Any],
        settings: Mapping[str, Any],
        *,
        snapshot: object = None,
    ) -> None:
        object.__setattr__(self, "id", options["id"])
        self.__dict__.update(
            name=options.get("name") or options["id"],
            description=options.get("description", summary_of(fn)),
            fn=fn,
            reads=tuple(options.get("reads", ())),
            settings=MappingProxyType(dict(settings)),
            _options=options,
            _signature=signature,
            snapshot=snapshot,
            _specs={},
            __name__=getattr(fn, "__name__", options["id"]),
            __qualname__=getattr(fn, "__qualname__", options["id"]),
            __module__=getattr(fn, "__module__", None),
            __doc__=getattr(fn, "__doc__", None),
            __wrapped__=fn,
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse: workflows share their steps.

        Raises:
            AttributeError: always.
        """
        raise AttributeError(
            f"step {self.id!r} is immutable; {self.id}.options({name}=…) copies it"
        )

    def __repr__(self) -> str:
        """Return the id."""
        return f"<step {self.id!r}>"

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function, to be run on the event loop."""
        return self._signature.is_async

    @property
    def takes_context(self) -> bool:
        """Whether the first parameter is the ``StepContext``."""
        return self._signature.takes_context

    @property
    def params(self) -> tuple[Param, ...]:
        """The inputs: name and annotation of each."""
        return self._signature.params

    @property
    def wanted(self) -> tuple[Any, ...]:
        """The annotations of the inputs."""
        return self._signature.wanted

    @property
    def output(self) -> Any:
        """What the function is annotated to return."""
        return self._signature.output

    def call(self, ctx: StepContext[Any] | None, args: tuple[Any, ...]) -> Any:
        """Call the function as the engine does.

        Args:
            ctx: for functions that take one.
            args: the inputs, spread.

        Returns:
            What the function returns; of an async one, the awaitable.
        """
        if self._signature.takes_context:
            return self.fn(ctx, *args, **self.settings)
        return self.fn(*args, **self.settings)

    def bind(self, id: str, /, **settings: Any) -> Self:
        """Return a copy under another id with some of its settings fixed.

        Args:
            id: of the copy.
            **settings: parameters that have a default, by name.

        Raises:
            StepInvalidError: there is no such setting, or the id is none.
        """
        known = self._signature.settings
        for name in settings:
            if name in known:
                continue
            if any(name == param.name for param in self.params):
                why = "is an input; only parameters with a default can be fixed"
            elif known:
                why = f"is no parameter; {did_you_mean(name, sorted(known))}"
            else:
                why = "is no parameter, and no parameter has a default"
            raise StepInvalidError(f"step {self.id!r}: {name!r} {why}")
        return self._copy({"id": id}, {**self.settings, **settings})

    def renamed(self, node_id: str) -> Self:
        """Return a copy under another id."""
        return self._copy({"id": node_id}, self.settings)

    def with_function(
        self, fn: Callable[..., Any], *, is_async: bool, takes_context: bool
    ) -> Step[In_contra, Out_co]:
        """Return a copy with another function behind the same id, types and options.

        For tools that stand in for a step, or around it; so it runs in this process. Settings are
        not handed to the function.
        """
        options = {name: item for name, item in self._options.items() if name != "executor"}
        signature = replace(self._signature, is_async=is_async, takes_context=takes_context)
        kind: Any = AsyncStep if is_async else SyncStep
        made: Step[In_contra, Out_co] = kind(fn, signature, options, {})
        return made

    def _copy(self, changes: Mapping[str, Any], settings: Mapping[str, Any]) -> Self:
        options = {**self._options, **_given(changes)}
        if "id" in changes and "name" not in changes:
            options.pop("name", None)
        _check(options, f"step {self.id!r}")
        label, is_async = f"step {self.id!r}", self.is_async
        check_placement(self.fn, options, label, is_async=is_async, settings=settings)
        return type(self)(self.fn, self._signature, options, settings, snapshot=self.snapshot)

    def continues_on_error(self, defaults: StepDefaults) -> bool:
        """Return whether a final failure becomes ``None``, under inherited defaults."""
        own = self._options.get("continue_on_error")
        return bool(defaults.get("continue_on_error") if own is None else own)

    def limits(self, defaults: StepDefaults) -> tuple[Limit, ...]:
        """Return the named limits that it takes, under inherited defaults."""
        return resolved_limits(merged(defaults, self._options))

    def spec(self, defaults: StepDefaults) -> StepSpec:
        """Return the step as data, with every option resolved.

        Args:
            defaults: what it inherits where it says nothing itself.
        """
        key = tuple(sorted(defaults.items()))
        found = self._specs.get(key)
        if found is None:
            options = merged(defaults, self._options)
            found = self._specs[key] = StepSpec(
                id=self.id,
                name=self.name,
                description=self.description,
                executor=executor_of(self._options, is_async=self.is_async),
                timeout=resolved_timeout(options),
                retry=resolved_retry(options),
                continue_on_error=self.continues_on_error(defaults),
                reads=tuple(node.id for node in self.reads),
                limits=self.limits(defaults),
                input_schema=self._signature.input_digest,
                output_schema=self._signature.output_digest,
            )
        return found

    if TYPE_CHECKING:

        def options(self, **options: Unpack[StepOptions]) -> Self:
            """Return a copy with other options."""
            ...

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Call the function, outside any run."""
            return self.fn(*args, **{**self.settings, **kwargs})

        def options(self, **options: Any) -> Self:
            """Return a copy with other options; they are those of ``@step``.

            Raises:
                StepInvalidError: an option is unknown or out of range.
            """
            return self._copy(options, self.settings)


class AsyncStep(Step[In_contra, Out_co], Generic[In_contra, Out_co, Raw_co]):
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
        ) -> AsyncStep[In_contra, Raw_co, Raw_co]: ...
        @overload
        def options(
            self,
            *,
            continue_on_error: bool,
            **options: Unpack[StepOptions],
        ) -> AsyncStep[In_contra, Out_co | None, Raw_co]: ...
        def options(self, **options: Any) -> Any:
            """Return a copy with other options; they are those of ``@step``."""


class SyncStep(Step[In_contra, Out_co], Generic[In_contra, Out_co, Raw_co]):
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
        ) -> SyncStep[In_contra, Raw_co, Raw_co]: ...
        @overload
        def options(
            self,
            *,
            continue_on_error: bool,
            **options: Unpack[StepOptions],
        ) -> SyncStep[In_contra, Out_co | None, Raw_co]: ...
        def options(self, **options: Any) -> Any:
            """Return a copy with other options; they are those of ``@step``."""


def _step(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a step of a typed function: ``@step``, ``@step(…)`` or ``step(fn, …)``.

    An optional first parameter annotated ``StepContext`` gets the context. Parameters without a
    default are inputs; the others are settings, which ``bind`` can fix.

    Args:
        fn: the function, ``def`` or ``async def``, with every input and the output annotated.
        **options: ``id`` (the function's name), ``name``, ``description``, ``timeout`` (seconds or
            ``timedelta`` per attempt; none), ``retries`` (a number or ``RetryPolicy``; 0),
            ``continue_on_error`` (False), ``reads`` (earlier nodes it reads; none), ``executor``
            (where it runs: ``"process"``, or a name given to ``Engine(executors={…})``),
            ``limits`` (named limits that it takes; none).

    Raises:
        StepInvalidError: the function can't be a step, or an option is unknown or out of range.
    """
    if fn is not None:
        return _make(fn, options)
    _check({"id": "any", **_given(options)}, "@step")

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
    chosen = _given(options)
    signature = read_signature(fn, label)
    if "id" not in chosen:
        name = getattr(fn, "__name__", None)
        if name is None or name == "<lambda>":
            raise StepInvalidError(f"{label} has no name to take as id; write step(…, id=…)")
        chosen["id"] = name
    _check(chosen, f"step {label}")
    check_placement(fn, chosen, f"step {label}", is_async=signature.is_async)
    if signature.is_async:
        check_blocking(unwrapped(fn), chosen["id"])
    kinds: dict[bool, type[Step[Any, Any]]] = {True: AsyncStep, False: SyncStep}
    snapshot = watch(unwrapped(fn), chosen["id"])
    return kinds[signature.is_async](fn, signature, chosen, {}, snapshot=snapshot)


def _check(options: Mapping[str, Any], label: str) -> None:
    problems = id_problems("step", options["id"]) + option_problems(options)
    if problems:
        raise StepInvalidError(f"{label}: {'; '.join(problems)}")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _label(fn: Any) -> str:
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    if not isinstance(name, str):
        return repr(fn)
    return repr(name.rpartition("<locals>.")[2])
