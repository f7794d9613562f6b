"""Settings: what ``bind`` fixes. They are data, recorded with every run like its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from gorkflow._text import brief
from gorkflow.annotations import describe
from gorkflow.codec import codec_of, view
from gorkflow.errors import StepInvalidError, ValueInvalidError
from gorkflow.language._options import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

Recorded: TypeAlias = "tuple[tuple[str, str], ...]"
"""Settings as a flow tree has them: JSON by parameter, sorted by name."""


def recorded(
    label: str, inputs: Container[str], known: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, str]:
    """Return settings as they are recorded: as JSON, by parameter.

    Args:
        label: how errors name the step.
        inputs: the parameters that are inputs.
        known: the annotations of the others.
        given: the values.

    Raises:
        StepInvalidError: If there is no such parameter, or a value can't be recorded; the message
            names it and says what to write.
    """
    texts: dict[str, str] = {}
    for name, value in given.items():
        if name not in known:
            raise StepInvalidError(f"{label}: {name!r} {_why_not(name, inputs, known)}")
        annotation = known[name]
        try:
            texts[name] = codec_of(annotation).accept(value).decode()
        except ValueInvalidError as error:
            of_type = "which has no annotation" if annotation is Any else describe(annotation)
            raise StepInvalidError(
                f"{label}: the setting {name!r} ({of_type}) can't be recorded with a run: {error}; "
                "bind data of the parameter's type, and hand clients, functions and other live "
                "objects in through deps: Engine(deps=…), and ctx.deps in the step"
            ) from None
    return texts


def _why_not(name: str, inputs: Container[str], known: Mapping[str, Any]) -> str:
    if name in inputs:
        return "is an input; only parameters with a default can be fixed"
    if known:
        return f"is no parameter; {did_you_mean(name, sorted(known))}"
    return "is no parameter, and no parameter has a default"


def decoded(known: Mapping[str, Any], texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return settings as a function takes them: fresh objects, which no other call sees.

    Args:
        known: the annotations of the function's parameters.
        texts: as they are recorded.

    Raises:
        StepValueError: If one does not match its parameter.
    """
    return {name: codec_of(known[name]).decode(text.encode()) for name, text in texts}


def misfits(known: Mapping[str, Any], texts: Iterable[tuple[str, str]]) -> list[str]:
    """Return why a function can't take settings that were recorded for it.

    Args:
        known: the annotations of the function's parameters.
        texts: as they are recorded.
    """
    problems: list[str] = []
    for name, text in texts:
        if name not in known:
            problems.append(f"has no parameter {name!r} any more, which the run has a setting for")
            continue
        try:
            decoded(known, [(name, text)])
        except ValueInvalidError as error:
            given = f"{name}={brief(view(text))}"
            problems.append(f"can't take the run's setting {given} any more: {error}")
    return problems
