"""From ``--input``, as it is typed, to the value that the workflow takes."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import Any

from gorkflow.annotations import describe
from gorkflow.cli._errors import CliError
from gorkflow.codec import codec_of, read_json
from gorkflow.errors import StepValueError
from gorkflow.workflow import Workflow


def read_input(workflow: Workflow[Any, Any], text: str | None) -> Any:
    """Return the input of a workflow.

    Args:
        workflow: what takes it.
        text: JSON, ``@file`` or ``-``; ``None``: none was given.

    Raises:
        CliError: it can't be read, or does not fit.
    """
    if workflow.input is None:
        if text is not None:
            raise CliError(f"workflow {workflow.id!r} takes no input; leave out --input")
        return None
    wanted = describe(workflow.input)
    if text is None and _has_defaults(workflow.input):
        text = "{}"
    if text is None:
        raise CliError(
            f"workflow {workflow.id!r} takes an input, {wanted}; give it as JSON: "
            "--input '…', --input @file.json, or --input - to read it from standard input"
        )
    try:
        return codec_of(workflow.input).decode_lax(_read(text))
    except StepValueError as error:
        hint = ""
        if "Invalid JSON" in str(error) and os.path.isfile(text):  # noqa: PTH113 - never raises
            hint = f"\nTo read it from the file: --input @{text}"
        elif "Invalid JSON" in str(error) and text[:1] not in "@-[{":
            hint = "\nA text needs its own quotes: --input '\"text\"'"
        elif "Invalid JSON" in str(error) and "'" in text:
            hint = "\nJSON wants double quotes: --input '{\"id\": 7}'"
        raise CliError(f"--input does not fit {wanted}: {error}{hint}") from None


def _has_defaults(annotation: Any) -> bool:
    """Return whether no field of it has to be given."""
    try:
        codec_of(annotation).decode_lax(b"{}")
    except StepValueError:
        return False
    return isinstance(annotation, type) and not issubclass(annotation, dict)


def read_payload(text: str | None) -> Any:
    """Return what ``--payload`` was given, whatever JSON it is; nothing: ``None``.

    Raises:
        CliError: it can't be read.
    """
    if text is None:
        return None
    try:
        return read_json(_read(text, "--payload"))
    except StepValueError as error:
        hint = ""
        if text[:1] not in "@-[{":
            hint = "\nA text needs its own quotes: --payload '\"text\"'"
        elif "'" in text:
            hint = "\nJSON wants double quotes: --payload '{\"id\": 7}'"
        raise CliError(f"--payload is no JSON: {error}{hint}") from None


def read_state(text: str | None) -> dict[str, Any] | None:
    """Return what ``--state`` was given; ``None``: nothing.

    Raises:
        CliError: it can't be read, or is no object.
    """
    if text is None:
        return None
    try:
        state: dict[str, Any] = codec_of(dict[str, Any]).validate(read_json(_read(text, "--state")))
    except StepValueError as error:
        raise CliError(f"--state is no JSON object, as '{{\"budget\": 10}}': {error}") from None
    return state


def _read(text: str, option: str = "--input") -> bytes:
    if text == "-":
        return _bare(sys.stdin.buffer.read())
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return _bare(Path(text[1:]).read_bytes())
    except FileNotFoundError:
        raise CliError(f"{option} {text}: there is no file {text[1:]!r}") from None
    except (OSError, ValueError) as error:
        raise CliError(f"{option} {text}: {error}") from None


def _bare(data: bytes) -> bytes:
    """Return the data without the mark that some editors put before UTF-8."""
    return data.removeprefix(codecs.BOM_UTF8)
