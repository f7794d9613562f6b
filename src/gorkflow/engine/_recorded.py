"""The record of a run: its row, its definition and its events, as the store has them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from gorkflow.codec import view
from gorkflow.engine._values import Values
from gorkflow.errors import (
    GorkflowError,
    HistoryError,
    RunNotFoundError,
    StoreCorruptError,
    UnreadableError,
    ValueInvalidError,
)
from gorkflow.events import Event, RunCreated
from gorkflow.flow import WorkflowSpec, defaults_of, fingerprint, from_json
from gorkflow.listing import RunFilter, page_cursor
from gorkflow.machine.history import History, read
from gorkflow.model import RunStatus
from gorkflow.redaction import Redaction

if TYPE_CHECKING:
    from gorkflow.definition import Definition
    from gorkflow.store import Loaded, RunReader, RunRow

logger = logging.getLogger("gorkflow.engine")
LIVE = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SUSPENDED)
"""The statuses of a run that has not ended."""


class Recorded(Struct, eq=False):
    """A run whose record makes sense as far as its first event and its definition go."""

    row: RunRow
    tree: WorkflowSpec
    text: str
    """The tree as JSON."""
    events: Sequence[Event]

    @property
    def created(self) -> RunCreated:
        """The first event."""
        first = self.events[0]
        assert isinstance(first, RunCreated)  # its fingerprint was compared
        return first

    def history(self) -> History:
        """Return what the events say.

        Raises:
            HistoryError: If they contradict the definition or each other.
        """
        return read(self.row.run_id, self.tree, self.events)

    def values(self, definition: Definition | None, read: Callable[[bytes], Any] = view) -> Values:
        """Return the values of the run.

        Args:
            definition: brings the types; without it they are plain data.
            read: returns the plain data of a record.
        """
        if definition is not None:
            definition = read_by(definition, self.tree, self.text)
        with self.reading():
            values = Values(self.row.run_id, definition, self.tree, read)
            values.note(self.events)
        return values

    def reading(self) -> AbstractContextManager[None]:
        """Report the run as damaged if what is done meanwhile can't read it.

        Raises:
            StoreCorruptError: If it is damaged.
        """
        return reading(self.row.run_id, self.events)

    def redaction(self) -> Redaction:
        """Return what leaves the secrets of the run out of views."""
        with self.reading():
            return Redaction.of(self.tree, self.events)


async def load(store: RunReader, run_id: str) -> Recorded:
    """Load a run.

    Raises:
        RunNotFoundError: If there is no such run.
        StoreCorruptError: If its record can't be read.
    """
    loaded = await store.load(run_id)
    if loaded is None:
        raise RunNotFoundError(run_id)
    return recorded(loaded)


async def placed(store: RunReader, run: Recorded) -> Recorded:
    """Return a run; if it waits in line, its reason names the run before it."""
    row = run.row
    if not row.is_in_line:
        return run
    query = RunFilter(
        resource_id=row.resource_id,
        status=LIVE,
        cursor=page_cursor(row.created_at, row.run_id),
        limit=1,
    )
    before = [*await store.list_runs(query)]
    if before:
        reason = f"waits for run {before[0].run_id!r} of resource {row.resource_id!r}"
        run = replace(run, row=replace(row, reason=reason))
    return run


def recorded(loaded: Loaded) -> Recorded:
    """Return the record in what was loaded.

    Raises:
        StoreCorruptError: If it can't be read.
    """
    return Recorded(loaded.row, tree_of(loaded), loaded.tree, loaded.events)


def tree_of(loaded: Loaded) -> WorkflowSpec:
    """Return the tree that a run executes.

    Raises:
        StoreCorruptError: If it can't be read: it is damaged, or written by newer code.
    """
    row = loaded.row
    created = loaded.events[0] if loaded.events else None
    started_with = created.fingerprint if isinstance(created, RunCreated) else None
    if {_fingerprint(loaded.tree), started_with} != {row.fingerprint}:
        raise StoreCorruptError(
            f"the definition of run {row.run_id!r} is not the one that it was started with; "
            f"restore it from a backup, or delete the run: gorkflow runs delete {row.run_id} "
            "--force"
        )
    return tree_from(row.run_id, loaded.tree)


_fingerprint = lru_cache(maxsize=256)(fingerprint)


def tree_from(run_id: str, text: str | None) -> WorkflowSpec:
    """Return the tree that a run executes, from the JSON that the store has of it, if any.

    Raises:
        StoreCorruptError: If it is gone, or can't be read.
    """
    try:
        return from_json(text or "")
    except ValueError as error:
        raise StoreCorruptError(
            f"the definition of run {run_id!r} can't be read: {error}; use the version of gorkflow "
            "that started it, or restore it from a backup"
        ) from error


def read_by(definition: Definition, tree: WorkflowSpec, text: str) -> Definition:
    """Return this code's types under the tree that a run was started with: enough to read it."""
    defaults = {
        path: (default.encode(), _default_annotation(definition, path))
        for path, default in defaults_of(tree).items()
    }
    return replace(definition, tree=tree, text=text, defaults_of=defaults)


def _default_annotation(definition: Definition, path: str) -> Any:
    """Return the annotation of a default that the code may not have any more."""
    found = definition.defaults_of.get(path)
    if found is not None:
        return found[1]
    return definition.payloads.get(path, definition.outputs.get(path, Any))


@contextmanager
def reading(run_id: str, events: Sequence[Event] = ()) -> Generator[None]:
    """Report a run as damaged if its record breaks the code that reads it.

    Rows are checked as they are read. Together they may still be nonsense, and that breaks
    anything: a path without a node, a loop that never began, an index into a text. Values are not
    checked before either.

    Args:
        run_id: the run.
        events: what is read; the first one that can't be is named.

    Raises:
        StoreCorruptError: If its record is damaged.
    """
    try:
        yield
    except UnreadableError:  # the record is whole; it is a function of the program that fails
        raise
    except (HistoryError, ValueInvalidError) as error:
        raise _damaged(run_id, str(error), events) from error
    except GorkflowError:
        raise
    except Exception as error:
        logger.debug("run %r contradicts itself", run_id, exc_info=True)
        said = f"it contradicts itself ({type(error).__name__}: {error})"
        raise _damaged(run_id, said, events) from error


def _damaged(run_id: str, said: str, events: Sequence[Event]) -> StoreCorruptError:
    at = next((event for event in events if not _is_whole(event)), None)
    place = "" if at is None else f" at event {at.seq}" + (f" ({at.path})" if at.path else "")
    return StoreCorruptError(
        f"the record of run {run_id!r} is damaged{place}: {said}; find all damage with `gorkflow "
        "db check`, then restore a backup, or delete the run: gorkflow runs delete "
        f"{run_id} --force"
    )


def _is_whole(event: Event) -> bool:
    """Return whether the values of an event can be read."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        try:
            if isinstance(value, bytes):
                view(value)
            elif name == "state":
                for write in value:
                    view(write.text)
        except ValueInvalidError:
            return False
    return True
