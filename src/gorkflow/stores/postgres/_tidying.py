"""The tidying of a database: definitions and parts of the feed that no run has any more."""

from __future__ import annotations

from typing import NamedTuple

from gorkflow.stores.postgres._arrays import Ints, Texts
from gorkflow.stores.postgres._connections import Db

_PORTION = 1000


def latest_run(db: Db) -> int | None:
    """Return the number of the latest run, if none is being created: later ones have higher ones.

    ``None``: one is, perhaps in a transaction that stays open for long.
    """
    [(is_alone, latest)] = db.rows("lock_definitions")
    return int(latest) if is_alone else None


def unused_definitions(db: Db) -> list[str]:
    """Return the definitions that no run has. Reads all runs: let no caller wait for it."""
    return [name for (name,) in db.rows("find_unused_definitions")]


def delete_definitions(db: Db, fingerprints: list[str], latest: int) -> None:
    """Drop those that no run has that came after the latest one."""
    if latest_run(db) is not None:
        db.change("delete_definitions", fingerprints=Texts(fingerprints), latest=latest)


class Portion(NamedTuple):
    """Some rows of the feed."""

    dead: list[tuple[int, str, int]]
    """Those of deleted runs alone."""
    last: tuple[int, str, int]
    is_worth_it: bool
    """Whether the next ones should be looked at: runs are deleted by their age, as a rule."""


START = (0, "0", 0)


def dead_feed(db: Db, after: tuple[int, str, int]) -> Portion:
    """Return the portion of the feed after a row."""
    era, tx, number = after
    found = db.rows("find_dead_feed", era=era, tx=tx, id=number, limit=_PORTION)
    dead = [(era, tx, number) for era, tx, number, is_dead in found if is_dead]
    last = found[-1][:3] if found else after
    return Portion(dead, last, is_worth_it=len(dead) * 2 > _PORTION)


def delete_feed(db: Db, rows: list[tuple[int, str, int]]) -> None:
    """Drop rows of the feed. No cursor names one."""
    eras, txs, ids = zip(*rows, strict=True)
    db.change("delete_feed", eras=Ints(eras), txs=Texts(txs), ids=Ints(ids))
