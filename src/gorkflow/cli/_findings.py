"""How findings are shown: to people, or to programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from gorkflow.cli._errors import ExitCode
from gorkflow.cli._output import put
from gorkflow.cli._stores import in_same_store
from gorkflow.cli._text import clean, json_text
from gorkflow.store import Finding, Level

_MARKS = {
    Level.OK: ("✓", "green"),
    Level.INFO: ("·", "cyan"),
    Level.WARNING: ("!", "yellow"),
    Level.PROBLEM: ("✗", "red"),
}


def show(findings: Sequence[Finding], store: str | None, *, as_json: bool, **more: Any) -> ExitCode:
    """Print what was found, and return the exit code that says whether all is well.

    Args:
        findings: what was found.
        store: what ``--store`` was given, for the commands that they advise.
        as_json: as one object, with ``healthy`` and ``findings``.
        more: further fields of that object.
    """
    findings = [
        each._replace(
            text=in_same_store(each.text, store), advice=in_same_store(each.advice, store)
        )
        for each in findings
    ]
    healthy = all(each.level is not Level.PROBLEM for each in findings)
    if as_json:
        body = {"healthy": healthy, **more, "findings": [each._asdict() for each in findings]}
        put(json_text(body, short=None))
    elif sys.stdout.isatty():
        _draw(findings)
    else:
        put("\n".join(_plain(findings)))
    return ExitCode.OK if healthy else ExitCode.RUN_FAILED


def _plain(findings: Iterable[Finding]) -> Iterable[str]:
    for each in findings:
        yield clean(f"{each.level.value:<8} {each.about}: {each.text}")
        if each.advice:
            yield clean(f"{'':<8} -> {each.advice}")


def _draw(findings: Iterable[Finding]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for each in findings:
        mark, colour = _MARKS[each.level]
        line = Text.assemble(
            (f"{mark} ", colour), (f"{clean(each.about)}: ", "bold"), clean(each.text)
        )
        console.print(line)
        if each.advice:
            console.print(Padding(Text(f"→ {clean(each.advice)}"), (0, 0, 0, 2)))
