"""Runs in this process: for tests, for scripts, for runs that need not survive it."""

from gorkflow.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
