"""Instrumentation of a workflow: its steps replaced by fakes, or otherwise changed."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from gorkflow._text import brief, did_you_mean
from gorkflow.annotations import describe, fits
from gorkflow.codec import codec_of
from gorkflow.context import StepContext
from gorkflow.errors import ValueInvalidError, WorkflowInvalidError
from gorkflow.flow import is_template, join_path, undo_path
from gorkflow.language.elements import Chain
from gorkflow.language.placement import LOCAL
from gorkflow.language.signature import Param, StepSignature
from gorkflow.language.typecheck import Element
from gorkflow.node import Node
from gorkflow.step import AsyncStep, Step, is_step
from gorkflow.workflow import Workflow

In = TypeVar("In")
Out = TypeVar("Out")

Fakes = Mapping[Any, Any]
"""By step, id or path: a step, a function, a value to return, or an exception to raise."""
Change = Callable[[str, Node[Any, Any]], Node[Any, Any]]
"""Takes a node and its path (a template, inside a map or loop), and returns it or another node.
Undo steps, too."""


def rewritten(workflow: Workflow[In, Out], change: Change) -> Workflow[In, Out]:
    """Return a workflow with its nodes changed, checked again.

    Args:
        workflow: The workflow; it does not change.
        change: Called with every node, from the outside in; not for nodes inside a changed node.

    Raises:
        WorkflowInvalidError: If a node does not fit in its place.
    """
    return cast("Workflow[In, Out]", _chain(workflow, "", change))


def steps_rewritten(
    workflow: Workflow[In, Out], change: Callable[[Step[Any, Any]], Step[Any, Any]]
) -> Workflow[In, Out]:
    """Return a workflow with each of its steps changed."""
    return rewritten(workflow, lambda _, node: change(node) if is_step(node) else node)


def in_threads(workflow: Workflow[In, Out]) -> Workflow[In, Out]:
    """Return a workflow whose steps that run in processes, or elsewhere, run in threads."""
    if not any(map(_is_elsewhere, nodes_of(workflow).values())):
        return workflow

    return steps_rewritten(
        workflow, lambda step: step.options(executor="thread") if _is_elsewhere(step) else step
    )


def _is_elsewhere(node: Node[Any, Any]) -> bool:
    return isinstance(node, Step) and node.spec({}).executor not in LOCAL


def nodes_of(workflow: Workflow[Any, Any]) -> dict[str, Node[Any, Any]]:
    """Return every node that has a path, by path: steps, undo steps, workflows, passthroughs."""
    found: dict[str, Node[Any, Any]] = {}

    def note(path: str, node: Node[Any, Any]) -> Node[Any, Any]:
        found[path] = node
        return node

    rewritten(workflow, note)
    return found


def _chain(chain: Chain[Any, Any], prefix: str, change: Change) -> Chain[Any, Any]:
    """Return the same chain where nothing in it changed."""
    elements = tuple([_element(each, prefix, change) for each in chain.elements])
    same = all(old is new for old, new in zip(chain.elements, elements, strict=True))
    return chain if same else chain.rebuilt(elements)


def _element(element: Element, prefix: str, change: Change) -> Element:
    if isinstance(element, Node):
        return cast("Element", _node(cast("Any", element), prefix, change, ""))
    inside = element.inside()
    new = iter([_node(node, prefix, change, element.mark) for node in inside])
    changed = element.with_inside(lambda _: next(new))
    same = all(old is one for old, one in zip(inside, changed.inside(), strict=True))
    return element if same else changed


def _node(node: Node[Any, Any], prefix: str, change: Change, mark: str) -> Node[Any, Any]:
    path = join_path(prefix, node.id) + mark
    changed = change(path, node)
    if changed is node and isinstance(node, Chain):
        return _chain(node, path, change)
    if is_step(changed) and (undo := changed.undone_by) is not None:
        new: Any = change(undo_path(path), undo)
        if new is not undo:
            return changed.with_undo(new)
    return changed


# ---- fakes ---------------------------------------------------------------------------------------


class _Shape(NamedTuple):
    """The parameters and the output of a node."""

    label: str
    params: tuple[Param, ...]
    output: Any

    def __str__(self) -> str:
        shown = [f"{param.name}: {describe(param.annotation)}" for param in self.params]
        return f"({', '.join(shown)}) -> {describe(self.output)}"


def with_fakes(workflow: Workflow[In, Out], fakes: Fakes) -> Workflow[In, Out]:
    """Return a workflow whose steps are replaced by fakes.

    A fake replaces only the function. Id, types and options (retries, timeout,
    ``continue_on_error``) stay those of the step, so that you test them, too. Fakes run on the
    event loop.

    Args:
        workflow: The workflow; it does not change.
        fakes: Fakes by step or id (anywhere in the workflow) or by path (only there). ``resize[]``
            and ``poll#`` are paths in a map or loop; ``charge~undo`` is the undo step of
            ``charge``. A fake is a value to return, an exception to raise, a step, or a function.
            The function takes the step's parameters, with or without a context before them, or
            none. A nested workflow can be faked, too.

    Raises:
        WorkflowInvalidError: If a fake names an unknown step, or does not fit; lists all of these.
        TypeError: If an argument has the wrong type.

    Example:
        >>> from gorkflow import Workflow, run, step, testing
        >>> @step
        ... def fetch(url: str) -> int:
        ...     raise ConnectionError("this test is offline")
        >>> sizes = Workflow("sizes", input=str).then(fetch)
        >>> run(testing.with_fakes(sizes, {fetch: 42}), "index.html", store="memory:")
        42
    """
    if not isinstance(workflow, Workflow):
        raise TypeError(f"workflow must be a Workflow, not {brief(workflow)}")
    if not isinstance(fakes, Mapping):
        raise TypeError(f"fakes must map steps to their fakes, not {brief(fakes)}")
    nodes = nodes_of(workflow)
    problems: list[str] = []
    chosen: dict[str, Any] = {}
    for key, fake in fakes.items():
        paths = _paths(key, nodes)
        if not paths:
            problems.append(_unknown(key, nodes))
        chosen.update(dict.fromkeys(paths, fake))
    made = {path: _stand_in(nodes[path], fake, problems) for path, fake in chosen.items()}
    if problems:
        raise WorkflowInvalidError(workflow.id, list(dict.fromkeys(problems)))
    return rewritten(workflow, made.get)


def _paths(key: object, nodes: Mapping[str, Node[Any, Any]]) -> list[str]:
    wanted = key.id if isinstance(key, Node) else key
    if isinstance(wanted, str) and ({*"/~"} & {*wanted} or is_template(wanted)):
        return [wanted] if wanted in nodes else []
    return [path for path, node in nodes.items() if node.id == wanted]


def _unknown(key: object, nodes: Mapping[str, Node[Any, Any]]) -> str:
    name = key.id if isinstance(key, Node) else key
    if not isinstance(name, str):
        return f"fakes are given by step, id or path, not by {brief(name)}"
    known = dict.fromkeys([*nodes, *(node.id for node in nodes.values())])
    return f"the workflow has no step {name!r} to fake; {did_you_mean(name, known)}"


def _stand_in(node: Node[Any, Any], fake: Any, problems: list[str]) -> Node[Any, Any]:
    if isinstance(fake, Chain):
        renamed: Node[Any, Any] = cast("Any", fake).renamed(node.id)
        return renamed
    shape = _shape(node)
    found = len(problems)
    fn = _function(shape, fake, problems)
    if len(problems) > found:
        return node
    if is_step(node):
        return node.with_function(fn, is_async=True, takes_context=True)
    signature = StepSignature(
        is_async=True,
        takes_context=True,
        params=shape.params,
        output=shape.output,
        settings={},
    )
    made: AsyncStep[Any, Any, Any] = AsyncStep(fn, signature, {"id": node.id})
    return made


def _shape(node: Node[Any, Any]) -> _Shape:
    if isinstance(node, Step):
        return _Shape(f"step {node.id!r}", node.params, node.output)
    if isinstance(node, Chain):
        params = () if node.input is None else (Param("input", node.input),)
        return _Shape(f"workflow {node.id!r}", params, node.output)
    annotation: Any = getattr(node, "annotation", Any)
    return _Shape(f"passthrough {node.id!r}", (Param("value", annotation),), annotation)


def _function(shape: _Shape, fake: Any, problems: list[str]) -> Callable[..., Any]:
    """Return the function that replaces the step's own."""
    if isinstance(fake, Step):
        step: Step[Any, Any] = cast("Any", fake)
        problems += _type_problems(shape, [p.annotation for p in step.params], step.output)
        return _calling(lambda ctx, args: step.call(ctx, args if step.params else ()))
    if isinstance(fake, BaseException):
        return _raising(fake)
    if isinstance(fake, type):
        problems.append(
            f"the fake of {shape.label} is the class {fake.__name__!r}; give an instance to "
            "return, or a function"
        )
        return fake
    if callable(fake):
        return _of_function(shape, fake, problems)
    return _of_value(shape, fake, problems)


def _of_value(shape: _Shape, value: Any, problems: list[str]) -> Callable[..., Any]:
    try:
        codec_of(shape.output).accept(value)
    except ValueInvalidError as error:
        problems.append(
            f"the fake of {shape.label} is {brief(value)}, but the step returns "
            f"{describe(shape.output)}: {error}"
        )
    return _calling(lambda _, __: value)


def _raising(error: BaseException) -> Callable[..., Any]:
    async def stand_in(*_: Any) -> Any:
        raise error.with_traceback(None)

    return stand_in


def _calling(call: Callable[[StepContext[Any], tuple[Any, ...]], Any]) -> Callable[..., Any]:
    async def stand_in(ctx: StepContext[Any], *args: Any) -> Any:
        value = call(ctx, args)
        return await value if inspect.isawaitable(value) else value

    return stand_in


def _of_function(shape: _Shape, fn: Callable[..., Any], problems: list[str]) -> Callable[..., Any]:
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # a builtin: it shows when it is called
        return _calling(lambda _, args: fn(*args))
    hints = _hints(fn)
    named = [
        item for item in signature.parameters.values() if item.kind <= item.POSITIONAL_OR_KEYWORD
    ]
    with_context = bool(named) and _is_context(named[0].name, hints)
    inputs = named[1:] if with_context else named
    count = len(shape.params)
    if _takes(signature, count + with_context):
        given = [hints.get(item.name, Any) for item in inputs[:count]]
        given += [Any] * (count - len(given))
        problems += _type_problems(shape, given, hints.get("return", Any))
    elif _takes(signature, with_context):
        count = 0
        problems += _type_problems(shape, (), hints.get("return", Any))
    else:
        problems.append(
            f"the fake of {shape.label} takes {signature}, but the step is {shape}; give it the "
            "same parameters, with or without a `ctx` before them"
        )
    if with_context:
        return _calling(lambda ctx, args: fn(ctx, *args[:count]))
    return _calling(lambda _, args: fn(*args[:count]))


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _is_context(name: str, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(name)
    cls = typing.get_origin(hint) or hint
    if isinstance(cls, type):
        return issubclass(cls, StepContext)
    return hint is None and name in {"ctx", "context"}


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations only help to check it
        return {}


def _type_problems(shape: _Shape, given: typing.Sequence[Any], output: Any) -> list[str]:
    problems: list[str] = []
    if given and len(given) != len(shape.params):
        count = f"{len(given)} inputs"
        return [f"the fake of {shape.label} takes {count}, but the step is {shape}; take the same"]
    for param, annotation in zip(shape.params, given, strict=False):
        if not fits(param.annotation, annotation):
            problems.append(
                f"the fake of {shape.label} takes {describe(annotation)}, but the step takes "
                f"{param.name}: {describe(param.annotation)}; annotate it the same"
            )
    if not fits(output, shape.output):
        problems.append(
            f"the fake of {shape.label} returns {describe(output)}, but the step returns "
            f"{describe(shape.output)}; return that"
        )
    return problems
