"""Runs in an SQLite file: the default store."""

from gorkflow.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
