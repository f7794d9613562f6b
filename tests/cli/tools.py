"""Runs the command as users do: as a process, in a folder, on a terminal."""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

import gorkflow
from gorkflow.cli._board import Board
from gorkflow.cli._live import LiveTree
from gorkflow.clock import SystemClock

COMMAND = [sys.executable, "-m", "gorkflow"]
FLOWS = Path(__file__).with_name("flows.py")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environment(**more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "GORKFLOW_STORE"}
    }
    source = str(Path(gorkflow.__file__).parents[1])
    return {**kept, "PYTHONPATH": source, "TERM": "xterm-256color", "PYTHONUTF8": "1", **more}


class At(SystemClock):
    """A clock that stands still."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        return self._at


def drawn(board: Board, *, at: float = 0.0, columns: int = 100, rows: int = 24) -> list[str]:
    """Return the lines of the live tree, as on a terminal of this size."""
    console = Console(file=StringIO(), width=columns, height=rows, force_terminal=True)
    view = LiveTree(console, At(at))
    with console.capture() as capture:
        console.print(view.drawn(board))
    return [line.rstrip() for line in CONTROL.sub("", capture.get()).splitlines() if line.strip()]


def folder_with_flows(folder: Path) -> Path:
    shutil.copy(FLOWS, folder / "flows.py")
    return folder


def gorkflow_in(
    folder: Path, *args: str, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        cwd=folder,
        input=stdin,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@dataclass
class OnTerminal:
    code: int
    stdout: str
    raw: str

    @property
    def lines(self) -> list[str]:
        """Each line that was ever drawn, without what moves the cursor or colours it."""
        text = CONTROL.sub("", self.raw).replace("\r\n", "\n")
        return re.split(r"[\r\n]+", text)

    @property
    def last_tree(self) -> list[str]:
        """What stays on the screen from the root of the tree on."""
        lines = [line.rstrip() for line in self.lines if line.strip()]
        roots = [i for i, line in enumerate(lines) if re.match(r"[○●↻✓✗⊘.*~+x-] \w", line)]
        return lines[roots[-1] :]


def on_terminal(
    folder: Path, *args: str, columns: int = 80, rows: int = 24, **env: str
) -> OnTerminal:
    """Run the command with standard error on a terminal, and standard output into a pipe."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *args],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(**env),
    ) as process:
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # raised at the end, by Linux
            while chunk := os.read(ours, 65536):
                drawn += chunk
        assert process.stdout is not None
        stdout = process.stdout.read()
        code = process.wait(timeout=60)
    os.close(ours)
    return OnTerminal(code, stdout.decode(), drawn.decode())
