"""A terminal with a screen: runs the command on it, and reads what people would see."""

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Generator
from pathlib import Path

from rich.cells import cell_len

from tests.cli.tools import COMMAND, environment

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(.)", re.DOTALL)
_PATIENCE = 60.0


class Screen:
    """The lines that bytes leave on a terminal. It knows what the live tree uses."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.cells: list[list[str]] = [[]]
        self.row = self.column = 0

    @property
    def lines(self) -> list[str]:
        return ["".join(line).rstrip() for line in self.cells]

    def feed(self, text: str) -> None:
        for number, command, char in _TOKEN.findall(text):
            if command:
                self._obey(command, number)
            elif char == "\r":
                self.column = 0
            elif char == "\n":
                self._down()
            else:
                self._put(char)

    def _obey(self, command: str, number: str) -> None:
        match command:
            case "A":
                self.row = max(0, self.row - int(number or 1))
            case "K":
                self.cells[self.row] = [] if number == "2" else self.cells[self.row][: self.column]
            case "m" | "h" | "l":
                pass  # colours, and the cursor
            case _:
                raise AssertionError(f"the tree uses {number}{command}")

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.cells):
            self.cells.append([])

    def _put(self, char: str) -> None:
        wide = cell_len(char)
        if self.column + wide > self.columns:
            self.column = 0
            self._down()
        line = self.cells[self.row]
        line.extend(" " * (self.column + 1 - len(line)))
        line[self.column : self.column + wide] = [char, *[""] * (wide - 1)]
        self.column += wide

    def narrow(self, columns: int) -> None:
        """Become narrower; as nearly all terminals, wrap the lines that are too long now."""
        cells: list[list[str]] = []
        for number, line in enumerate(self.cells):
            parts = [line[at : at + columns] for at in range(0, len(line) or 1, columns)]
            cells.extend(parts)
            if number == self.row:
                self.row = len(cells) - 1
                self.column = min(self.column, columns - 1) if len(parts) == 1 else len(parts[-1])
        self.columns, self.cells = columns, cells


class Terminal:
    """A command on a terminal."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: int, columns: int) -> None:
        self.process = process
        self.screen = Screen(columns)
        self.raw = ""
        self._end = end
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """Read until the lines of the screen are so; return them."""
        over = time.monotonic() + _PATIENCE
        while not condition(self.screen.lines):
            assert time.monotonic() < over, self.screen.lines
            assert self._read(), self.screen.lines
        return self.screen.lines

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.narrow(columns)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Read to the end; return the exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=_PATIENCE)

    def _read(self) -> bool:
        if not select.select([self._end], [], [], _PATIENCE)[0]:
            return False
        try:
            data = os.read(self._end, 65536)
        except OSError:  # raised at the end, by Linux
            return False
        text = self._decoder.decode(data)
        self.raw += text
        self.screen.feed(text)
        return bool(data)


@contextlib.contextmanager
def terminal(
    folder: Path, *args: str, columns: int = 100, rows: int = 24, **env: str
) -> Generator[Terminal]:
    """Run the command with everything on a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *args],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(**env),
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours, columns)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
