"""The step: a typed function with an id and options. ``step`` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from types import GenericAlias, MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    Self,
    TypeGuard,
    TypeVar,
    TypeVarTuple,
    Unpack,
    overload,
)

from gorkflow._text import brief
from gorkflow.annotations import arriving, fits, union_of
from gorkflow.errors import StepInvalidError
from gorkflow.flow import StepSpec, UndoSpec, undo_path
from gorkflow.language.options import (
    Recorded,
    StepDefaults,
    StepOptions,
    checked_options,
    decoded,
    function_problem,
    given_options,
    merged,
    recorded,
    resolved_limits,
    resolved_retry,
    timeout_of,
)
from gorkflow.language.placement import LOCAL, check_placement, executor_of
from gorkflow.language.signature import Param, StepSignature, dropped, summary_of
from gorkflow.language.typecheck import (
    NOTHING,
    Element,
    Value,
    as_wanted,
    dropped_problems,
    written_as,
)
from gorkflow.node import Node, NodeByShape, Out_co, P

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gorkflow.context import StepContext
    from gorkflow.language.typecheck import Place, Record, Walk
    from gorkflow.node import StepByShape
    from gorkflow.policy import Limit

In = TypeVar("In")
Out = TypeVar("Out")
Ins = TypeVarTuple("Ins")
Raw_co = TypeVar("Raw_co", covariant=True)
_OUTPUT = "output"


class Step(NodeByShape, Element, Generic[P, Out_co]):
    """A typed function with an id and options. Immutable; made by ``@step``.

    Calling a step calls the function: nothing is recorded, no engine is needed.

    Example:
        from gorkflow import step

        @step(timeout=30, retries=2)
        def total(prices: list[int], percent: int = 0) -> int:
            return sum(prices) * (100 + percent) // 100

        taxed = total.bind("taxed", percent=20)
        assert taxed.id == "taxed"
        assert taxed([100, 150]) == 300
    """

    name: str
    """For people; the id unless given."""
    description: str
    """For people; the first line of the docstring unless given."""
    fn: Callable[..., Any]
    is_async: bool
    """True for a coroutine function, which runs on the event loop."""
    takes_context: bool
    """True if the first parameter is the ``StepContext``."""
    params: tuple[Param, ...]
    """The inputs: name and annotation of each."""
    wanted: tuple[Any, ...]
    """The annotations of the inputs."""
    output: Any
    """The annotation of what the function returns."""
    is_generic: bool
    """True if it, or its undo step, has type variables; the type that arrives takes their place."""
    reads: tuple[Node[Any, Any], ...]
    """Earlier nodes whose outputs the step reads through its context."""
    unused: tuple[str, ...]
    """Parameters with a default, where there are no inputs and ``bind`` fixed none: a value would
    be dropped."""
    undone_by: Step[Any, Any] | None
    """The step that undoes it, should the run fail; given by ``undo``."""
    _options: Mapping[str, Any]
    _signature: StepSignature
    _settings: Recorded
    _specs: dict[Any, StepSpec]

    def __init__(
        self,
        fn: Callable[..., Any],
        signature: StepSignature,
        options: Mapping[str, Any],
        settings: Recorded = (),
        undone_by: Step[Any, Any] | None = None,
    ) -> None:
        object.__setattr__(self, "id", options["id"])
        self.__dict__.update(
            name=options.get("name") or options["id"],
            description=options.get("description", summary_of(fn)),
            fn=fn,
            is_async=signature.is_async,
            takes_context=signature.takes_context,
            params=signature.params,
            wanted=signature.wanted,
            output=signature.output,
            is_generic=signature.is_generic or bool(undone_by and undone_by.is_generic),
            reads=tuple(options.get("reads", ())),
            unused=() if signature.params or settings else signature.defaulted,
            _settings=settings,
            _options=options,
            _signature=signature,
            undone_by=undone_by,
            _specs={},
            __name__=getattr(fn, "__name__", options["id"]),
            __qualname__=getattr(fn, "__qualname__", options["id"]),
            __module__=getattr(fn, "__module__", None),
            __doc__=getattr(fn, "__doc__", None),
            __wrapped__=fn,
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Reject it: workflows share their steps.

        Raises:
            AttributeError: If it is called at all.
        """
        raise AttributeError(
            f"step {self.id!r} is immutable; {self.id}.options({name}=…) copies it"
        )

    def __repr__(self) -> str:
        return f"<step {self.id!r}>"

    @property
    def settings(self) -> Mapping[str, Any]:
        """The values that ``bind`` fixed, by parameter; fresh objects each time."""
        return MappingProxyType(decoded(self.parameters, self._settings))

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The annotations of the parameters that ``bind`` can fix, by name."""
        return self._signature.settings

    @property
    def deps(self) -> Any:
        """The class that its context says ``ctx.deps`` is of; ``None``: it may be anything."""
        return self._signature.deps

    def call(
        self,
        ctx: StepContext[Any] | None,
        args: tuple[Any, ...],
        settings: Recorded | None = None,
    ) -> Any:
        """Call the function as the engine does.

        Args:
            ctx: for functions that take one.
            args: the inputs, spread.
            settings: those of the run, as they are recorded; the step's own unless given.

        Returns:
            The result of the function; of an async one, the awaitable.

        Raises:
            StepValueError: If a setting does not match its parameter.
        """
        if self.takes_context:
            args = (ctx, *args)
        texts = self._settings if settings is None else settings
        return self.fn(*args, **decoded(self.parameters, texts)) if texts else self.fn(*args)

    def bind(self, id: str, /, **settings: Any) -> Self:
        """Return a copy under another id with some of its settings fixed.

        Settings are recorded with every run. A run keeps its own, also where newer code binds
        others.

        Args:
            id: of the copy.
            **settings: parameters that have a default, by name; data of the parameters' types.

        Raises:
            StepInvalidError: If there is no such setting, it can't be recorded, or the id is not
                valid.
        """
        inputs = [param.name for param in self.params]
        texts = recorded(f"step {self.id!r}", inputs, self.parameters, settings)
        bound = tuple(sorted({**dict(self._settings), **texts}.items()))
        return self._copy({"id": id}, settings=bound)

    def renamed(self, node_id: str) -> Self:
        return self._copy({"id": node_id})

    def with_function(
        self, fn: Callable[..., Any], *, is_async: bool, takes_context: bool
    ) -> Step[P, Out_co]:
        """Return a copy with another function behind the same id, types and options.

        For tools that stand in for a step, or around it; so it runs in this process. Settings are
        not handed to the function.
        """
        options = {name: item for name, item in self._options.items() if name != "executor"}
        signature = self._signature.of_stand_in(is_async=is_async, takes_context=takes_context)
        kind: Any = AsyncStep if is_async else SyncStep
        made: Step[P, Out_co] = kind(fn, signature, options, undone_by=self.undone_by)
        return made

    def with_types(self, types: Mapping[Any, Any]) -> Self:
        """Return the step of a generic function with types in the place of its variables."""
        return self._with(signature=self._signature.with_types(types))

    def with_undo(self, step: Any) -> Self:
        """Return a copy that another step undoes; ``undo`` is the same with types.

        Raises:
            StepInvalidError: If the other step can't do that.
        """
        _check_undo(self, step)
        return self._with(undone_by=step)

    def _copy(self, changes: Mapping[str, Any], **settings: Recorded) -> Self:
        options = {**self._options, **given_options(changes)}
        if "id" in changes and "name" not in changes:
            options.pop("name", None)
        checked_options(options, f"step {self.id!r}")
        check_placement(self.fn, options, f"step {self.id!r}", self._signature)
        return self._with(options=options, **settings)

    def _with(self, **changes: Any) -> Self:
        kept: dict[str, Any] = {
            "signature": self._signature,
            "options": self._options,
            "settings": self._settings,
            "undone_by": self.undone_by,
        }
        return type(self)(self.fn, **{**kept, **changes})

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
                timeout=timeout_of(options.get("timeout"), []),
                retry=resolved_retry(options),
                continue_on_error=self.continues_on_error(defaults),
                reads=tuple(node.id for node in self.reads),
                limits=self.limits(defaults),
                input_schema=self._signature.input_digest,
                output_schema=self._signature.output_digest,
                settings=self._settings,
                undo=self._undo_spec(defaults),
            )
        return found

    def _undo_spec(self, defaults: StepDefaults) -> UndoSpec | None:
        if self.undone_by is None:
            return None
        own: Any = {name: item for name, item in defaults.items() if name != "continue_on_error"}
        return UndoSpec(step=self.undone_by.spec(own), inputs=len(self.params))

    # ---- as an element of a workflow ------------------------------------------------------

    @property
    def inputs(self) -> tuple[Param, ...]:
        return self.params

    def typed(self, walk: Walk, value: Value, place: Place) -> Value:
        """Check that it takes a value, may read what it reads, and agrees on its limits."""
        step = self.given(walk, value)
        walk.fit(step.id, step.params, as_wanted(step.wanted, value))
        walk.problems += dropped_problems(step.id, step.unused, value)
        elsewhere = step.spec(place.defaults).executor not in LOCAL if step.reads else False
        for node in step.reads:
            walk.read(node.id, step.id, value, place)
            if elsewhere and is_step(node) and node.is_generic:
                walk.problems.append(
                    f"step {step.id!r} runs elsewhere and reads {node.id!r}, a generic step, whose "
                    "type is not known there; hand it on as an input"
                )
        undo = step.undone_by
        for user in (step,) if undo is None else (step, undo):
            for limit in user.limits(place.defaults):
                walk.limit(limit, f"step {user.id!r}")
        record, path = walk.record, place.at(step.id)
        record.steps[path], record.outputs[path] = step, step.output
        if undo is not None:
            at = undo_path(path)
            record.steps[at], record.outputs[at] = undo, undo.output
        record.readable[path] = (
            value.ids.union(node.id for node in step.reads) if step.reads else value.ids
        )
        optional = not place.joined and step.continues_on_error(place.defaults)
        output = union_of([step.output, None]) if optional else step.output
        return Value(output, sources=(step.id,), ids=frozenset((step.id,)))

    def given(self, walk: Walk, value: Value) -> Self:
        """Return the step of a generic function as it is where this value arrives."""
        if not self.is_generic or value.annotation is NOTHING:
            return self
        try:
            return self._arriving(as_wanted(self.wanted, value).annotation)
        except StepInvalidError as error:
            walk.problems.append(str(error))
            return self

    def _arriving(self, given: Any) -> Self:
        """Return it, and its undo step, with the types of what arrives."""
        typed = self.with_types(arriving(self.wanted, given))
        undo = typed.undone_by
        if undo is None:
            return typed
        returns: Any = union_of([typed.output, None])
        gets = GenericAlias(tuple, (*typed.wanted, returns)) if typed.wanted else returns
        return typed.with_undo(undo.with_types(arriving(undo.wanted, gets)))

    def compiled(self, record: Record, place: Place) -> StepSpec:
        """Return it as data, with the types of what arrives there."""
        step: Step[Any, Any] = record.steps.get(place.at(self.id), self)
        return step.spec(place.defaults)

    if TYPE_CHECKING:

        def _gives(self, *args: P.args, **kwargs: P.kwargs) -> Out_co: ...

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
                StepInvalidError: If an option is unknown or out of range.
            """
            return self._copy(options)

        def undo(self, step: Step[Any, Any], /) -> Self:
            """Return a copy that another step undoes, should the run fail or be cancelled.

            Args:
                step: Gets the inputs of this step, and then its output. The output is ``None`` if
                    it is unknown whether this step did its work: it timed out, was cancelled, or
                    its process died. The undo step is retried, timed out and recorded as any step,
                    at the path of this one and ``~undo``.

            Raises:
                StepInvalidError: If it can't undo this step: its inputs don't fit, for example.
            """
            return self.with_undo(step)


class AsyncStep(Step[P, Out_co], Generic[P, Out_co, Raw_co]):
    """A step whose function is ``async def``; it runs on the event loop.

    Example:
        >>> import asyncio
        >>> from gorkflow import AsyncStep, step
        >>> @step
        ... async def double(number: int) -> int:
        ...     return 2 * number
        >>> isinstance(double, AsyncStep), asyncio.run(double(21))
        (True, 42)
    """

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
    """A step whose function is a plain ``def``; it runs in a thread.

    Example:
        >>> from gorkflow import SyncStep, step
        >>> @step
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> isinstance(double, SyncStep)
        True
    """

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


def is_step(item: object) -> TypeGuard[Step[Any, Any]]:
    """Return whether it is a step; for type checkers, which see a node by its shape alone."""
    return isinstance(item, Step)


# ---- which step can undo which -----------------------------------------------------------------


def _check_undo(step: Step[Any, Any], undo: Any) -> None:
    """Raise unless a step can be undone by another one."""
    problem = _kind_problem(undo) or _option_problem(undo) or _fit_problem(step, undo)
    if problem:
        raise StepInvalidError(f"step {step.id!r} can't be undone like that: {problem}")


def _kind_problem(undo: Any) -> str:
    if is_step(undo):
        return ""
    if problem := function_problem(undo):
        return problem
    if isinstance(undo, Node):
        return f"{undo!r} is not a single step; undo each step inside by a step of its own"
    return f"{brief(undo, 80)} is not a step; give one: @step above a function"


def _option_problem(undo: Step[Any, Any]) -> str:
    if undo.undone_by is not None:
        return (
            f"{undo.id!r} has an undo step itself, {undo.undone_by.id!r}, and nothing undoes an "
            "undo step; give it without one"
        )
    if undo.continues_on_error({}):
        return (
            f"{undo.id!r} has continue_on_error=True, but nothing comes after an undo step: one "
            "that fails never keeps the others from being run; leave it out"
        )
    if undo.reads:
        return (
            f"{undo.id!r} reads {undo.reads[0].id!r}, but an undo step has only what it is given: "
            "the inputs and the output of the step it undoes, and ctx.run_input; leave reads out"
        )
    return ""


def _fit_problem(step: Step[Any, Any], undo: Step[Any, Any]) -> str:
    """Return why an undo step can't take what it is given."""
    given = [*step.params, Param(_OUTPUT, union_of([step.output, None]))]
    written, wanted = written_as(given, len(given)), undo.wanted
    if not wanted:
        return dropped(repr(undo.id), undo.unused, f"({written})") if undo.unused else ""
    annotations = [param.annotation for param in given]
    if len(wanted) == 1 and len(given) > 1:
        annotations = [GenericAlias(tuple, tuple(annotations))]
    if len(wanted) == len(annotations) and all(map(fits, annotations, wanted)):
        return ""
    return (
        f"{undo.id!r} takes ({written_as(undo.params)}), but gets the inputs of {step.id!r}, and "
        f"then its output, which is None where it is unknown whether {step.id!r} worked: it timed "
        f"out, was cancelled, or its process died; write {undo.id}({written})"
    )
