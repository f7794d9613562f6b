"""A database, a ledger, and the processes that use them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from gorkflow import events as ev
from tests.faults import ledger
from tests.faults.forkserver import ForkServer, eventually
from tests.faults.moments import RUN
from tests.faults.oracle import Database, check, events_of

ACTORS = "tests.faults.actors"


class Scene:
    """A database, a ledger, and the processes that use them.

    Args:
        server: forks the processes.
        folder: for the files.
        actors: the module whose functions they run.
    """

    def __init__(self, server: ForkServer, folder: Path, actors: str = ACTORS) -> None:
        self.server = server
        self.folder = folder
        self.actors = actors
        self.reset("")

    def reset(self, name: str) -> None:
        """Begin anew, with other files."""
        self.db = self.folder / f"runs{name}.db"
        self.witness = self.folder / f"ledger{name}"

    def fork(self, function: str, **arguments: Any) -> int:
        files = {"db": str(self.db), "witness": str(self.witness)}
        target = function if ":" in function else f"{self.actors}:{function}"
        return self.server.fork(target, **files, **arguments)

    def exit_code(self, function: str, **arguments: Any) -> int:
        return self.server.wait(self.fork(function, **arguments))

    def call(self, function: str, **arguments: Any) -> None:
        code = self.exit_code(function, **arguments)
        assert code == 0, f"{function} ended with {code}\n{self.server.tail()}"

    def ledger(self) -> list[ledger.Line]:
        return ledger.read(self.witness)

    def lines(self, what: str = "begin") -> list[ledger.Line]:
        return [line for line in self.ledger() if line.what == what]

    def attempts(self, path: str) -> list[int]:
        return [line.attempt for line in self.lines() if line.path == path]

    def wait_for(self, *paths: str) -> None:
        """Wait until these steps have begun."""
        eventually(lambda: set(paths) <= {line.path for line in self.lines()}, str(paths))

    def wait_for_lines(self, what: str, count: int = 1, *, patience: float = 30.0) -> None:
        """Wait until the ledger has so many lines of a kind."""
        found = lambda: len(self.lines(what)) >= count  # noqa: E731
        eventually(found, f"{count} lines {what!r}\n{self.server.tail()}", patience=patience)

    def wait_for_record(self, path: str) -> None:
        """Wait until the result of this step is recorded."""
        eventually(
            lambda: any(
                isinstance(event, ev.StepCompleted) and event.path == path
                for event in events_of(self.db, RUN)
            ),
            f"the result of {path}",
        )

    def has_schema(self) -> bool:
        """Return whether the first process got as far as making the tables."""
        if not self.db.exists():
            return False
        try:
            Database(self.db).read()
        except Exception as error:
            if "no such table" not in str(error):
                raise
            return False
        return True

    def database(self) -> Database:
        database = Database(self.db).read()
        check(database, self.ledger())
        return database

    def end(self, run_id: str = RUN) -> list[Any]:
        return self.database().end(run_id)


@cache
def shared_server() -> ForkServer:
    """Return the fork server that all faults of this process use."""
    folder = Path(tempfile.mkdtemp(prefix="gorkflow-faults-"))
    server = ForkServer(folder / "log").__enter__()

    def stop() -> None:
        server.__exit__(None, None, None)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return server


@contextmanager
def a_scene(actors: str = ACTORS) -> Iterator[Scene]:
    """Give a scene with a folder of its own, which is gone afterwards."""
    with a_folder() as folder:
        yield Scene(shared_server(), folder, actors)


@contextmanager
def a_folder() -> Iterator[Path]:
    """Give a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="gorkflow-fault-", ignore_cleanup_errors=True) as name:
        yield Path(name)
