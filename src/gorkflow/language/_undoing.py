"""Which step can undo which: checked when they are put together."""

from __future__ import annotations

import inspect
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from gorkflow._text import brief
from gorkflow.annotations import describe, fits, is_optional, union_of
from gorkflow.errors import StepInvalidError
from gorkflow.flow import UndoSpec
from gorkflow.language._options import StepDefaults
from gorkflow.language._signature import dropped
from gorkflow.language._typevars import arriving
from gorkflow.node import Node

if TYPE_CHECKING:
    from gorkflow.language._steps import Step

OUTPUT = "output"


def undo_spec(step: Step[Any, Any], undo: Step[Any, Any], defaults: StepDefaults) -> UndoSpec:
    """Return what undoes a step as data.

    Args:
        step: the step.
        undo: what undoes it.
        defaults: what both inherit where they say nothing themselves.
    """
    own: Any = {name: item for name, item in defaults.items() if name != "continue_on_error"}
    return UndoSpec(step=undo.spec(own), inputs=len(step.params))


def with_types(step: Step[Any, Any], given: Any) -> Step[Any, Any]:
    """Return a step, and what undoes it, with the types of what arrives.

    Raises:
        StepInvalidError: the other step can't undo it then.
    """
    typed = step.with_types(arriving(step.wanted, given))
    undo = typed.undone_by
    if undo is None:
        return typed
    returns: Any = union_of([typed.output, None])
    gets = GenericAlias(tuple, (*typed.wanted, returns)) if typed.wanted else returns
    return typed.with_undo(undo.with_types(arriving(undo.wanted, gets)))


def check_undo(step: Step[Any, Any], undo: Any) -> None:
    """Raise unless a step can be undone by another.

    Raises:
        StepInvalidError: it can't; the message says what to write.
    """
    problem = _kind_problem(undo) or _option_problem(undo) or _fit_problem(step, undo)
    if problem:
        raise StepInvalidError(f"step {step.id!r} can't be undone like that: {problem}")


def _kind_problem(undo: Any) -> str:
    is_step = hasattr(undo, "undone_by")
    if inspect.iscoroutine(undo):
        name = undo.__name__
        undo.close()
        return f"{name!r} was called; give the step itself: {name}, not {name}(…)"
    if inspect.isroutine(undo):
        name = undo.__name__
        return f"{name!r} is a plain function; write @step above `def {name}`"
    if not isinstance(undo, Node):
        return f"{brief(undo, 80)} is no step; give one: @step above a function"
    if not is_step:
        return f"{undo!r} is not a single step; undo each step inside by a step of its own"
    return ""


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
    output = union_of([step.output, None])
    given = [*step.params, (OUTPUT, output)]
    written = ", ".join(f"{name}: {describe(annotation)}" for name, annotation in given)
    hint = f"write {undo.id}({written})"
    wanted = undo.wanted
    if len(wanted) == 1 and len(given) > 1:
        whole = GenericAlias(tuple, tuple(annotation for _, annotation in given))
        if fits(whole, wanted[0]):
            return ""
    if not wanted:
        return dropped(repr(undo.id), undo.unused, f"({written})") if undo.unused else ""
    if len(wanted) != len(given):
        return (
            f"{undo.id!r} takes {len(wanted)} input{'' if len(wanted) == 1 else 's'}, but is given "
            f"{_counted(step)} {step.id!r}, and its output (None where nobody knows whether it "
            f"worked); {hint}"
        )
    for (name, annotation), param in zip(given, undo.params, strict=True):
        if fits(annotation, param.annotation):
            continue
        if name == OUTPUT and annotation is output and not is_optional(param.annotation):
            return (
                f"{undo.id!r} takes {param.name}: {describe(param.annotation)}, but it is None "
                f"where nobody knows whether {step.id!r} worked: it timed out, was cancelled, or "
                f"its process died; {hint}"
            )
        return (
            f"{undo.id!r} takes {param.name}: {describe(param.annotation)}, but is given "
            f"{name}: {describe(annotation)}; {hint}"
        )
    return ""


def _counted(step: Step[Any, Any]) -> str:
    count = len(step.params)
    if count == 0:
        return "nothing, for there are no inputs of"
    return "the input of" if count == 1 else f"the {count} inputs of"
