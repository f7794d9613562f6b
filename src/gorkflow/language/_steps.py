"""Steps as objects: typed functions with an id and options. ``step`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NoReturn,
    Self,
    TypeGuard,
    Unpack,
)

from gorkflow.flow import StepSpec
from gorkflow.language._options import (
    StepDefaults,
    StepOptions,
    checked_options,
    given_options,
    merged,
    resolved_limits,
    resolved_retry,
    resolved_timeout,
)
from gorkflow.language._placement import check_placement, executor_of
from gorkflow.language._settings import Recorded, decoded, recorded
from gorkflow.language._signature import Param, StepSignature, summary_of
from gorkflow.language._undoing import check_undo, undo_spec
from gorkflow.node import Node, NodeByShape, Out_co, P

if TYPE_CHECKING:
    from collections.abc import Callable

    from gorkflow.context import StepContext
    from gorkflow.policy import Limit


class Step(NodeByShape, Generic[P, Out_co]):
    """A typed function with an id and options. Immutable; made by ``@step``.

    Calling a step calls the function: nothing is recorded, no engine is needed.
    """

    name: str
    """For people; the id unless given."""
    description: str
    """For people; the first line of the docstring unless given."""
    fn: Callable[..., Any]
    is_async: bool
    """Whether the function is a coroutine function, to be run on the event loop."""
    takes_context: bool
    """Whether the first parameter is the ``StepContext``."""
    params: tuple[Param, ...]
    """The inputs: name and annotation of each."""
    wanted: tuple[Any, ...]
    """The annotations of the inputs."""
    output: Any
    """What the function is annotated to return."""
    is_generic: bool
    """Whether the type that arrives takes the place of type variables, in it or in its undo."""
    reads: tuple[Node[Any, Any], ...]
    """Earlier nodes whose outputs the step reads through its context."""
    unused: tuple[str, ...]
    """Parameters with a default, where there are no inputs and ``bind`` fixed none: what comes
    would be dropped."""
    undone_by: Step[Any, Any] | None
    """What undoes it, should the run fail; given by ``undo``."""
    _options: Mapping[str, Any]
    _signature: StepSignature
    _settings: Recorded
    _specs: dict[Any, StepSpec]

    def __init__(
        self,
        fn: Callable[..., Any],
        signature: StepSignature,
        options: Mapping[str, Any],
        settings: Mapping[str, str],
        *,
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
            _settings=tuple(sorted(settings.items())),
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
    def settings(self) -> Mapping[str, Any]:
        """What ``bind`` fixed, by parameter; fresh objects each time."""
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
            What the function returns; of an async one, the awaitable.

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
        return self._copy({"id": id}, {**dict(self._settings), **texts})

    def renamed(self, node_id: str) -> Self:
        """Return a copy under another id."""
        return self._copy({"id": node_id}, dict(self._settings))

    def with_function(
        self, fn: Callable[..., Any], *, is_async: bool, takes_context: bool
    ) -> Step[P, Out_co]:
        """Return a copy with another function behind the same id, types and options.

        For tools that stand in for a step, or around it; so it runs in this process. Settings are
        not handed to the function.
        """
        options = {name: item for name, item in self._options.items() if name != "executor"}
        signature = self._signature.of_stand_in(is_async=is_async, takes_context=takes_context)
        from gorkflow.language._kinds import AsyncStep, SyncStep  # they are steps

        kind: Any = AsyncStep if is_async else SyncStep
        undo = self.undone_by
        made: Step[P, Out_co] = kind(fn, signature, options, {}, undone_by=undo)
        return made

    def with_types(self, types: Mapping[Any, Any]) -> Step[Any, Any]:
        """Return the step of a generic function with types in the place of its variables."""
        signature = self._signature.with_types(types)
        return self._with(self._options, self.settings, self.undone_by, signature)

    def with_undo(self, step: Any) -> Self:
        """Return a copy that another step undoes; ``undo`` is the same with types.

        Raises:
            StepInvalidError: the other step can't do that.
        """
        check_undo(self, step)
        return self._with(self._options, dict(self._settings), step)

    def _copy(self, changes: Mapping[str, Any], settings: Mapping[str, str]) -> Self:
        options = {**self._options, **given_options(changes)}
        if "id" in changes and "name" not in changes:
            options.pop("name", None)
        checked_options(options, f"step {self.id!r}")
        check_placement(self.fn, options, f"step {self.id!r}", self._signature)
        return self._with(options, settings, self.undone_by)

    def _with(
        self,
        options: Mapping[str, Any],
        settings: Mapping[str, str],
        undo: Step[Any, Any] | None,
        signature: StepSignature | None = None,
    ) -> Self:
        kept = signature or self._signature
        return type(self)(self.fn, kept, options, settings, undone_by=undo)

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
                settings=self._settings,
                undo=None if self.undone_by is None else undo_spec(self, self.undone_by, defaults),
            )
        return found

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
                StepInvalidError: an option is unknown or out of range.
            """
            return self._copy(options, dict(self._settings))

        def undo(self, step: Step[Any, Any], /) -> Self:
            """Return a copy that another step undoes, should the run fail or be cancelled.

            Args:
                step: gets the inputs of this step, and then its output, or ``None`` where nobody
                    knows whether it did its work: it timed out, was cancelled, or its process died.
                    It is retried, timed out and recorded as any step, at the path of this one and
                    ``~undo``.

            Raises:
                StepInvalidError: it can't do that: it is no step, its inputs don't fit, …
            """
            return self.with_undo(step)


def is_step(item: object) -> TypeGuard[Step[Any, Any]]:
    """Return whether it is a step; for type checkers, which see a node by its shape alone."""
    return isinstance(item, Step)
