"""Steps that write into a database from a process, which imports this module."""

import os
import sqlite3

from gorkflow import StepContext, step


def count(db: sqlite3.Connection, name: str) -> tuple[str, int]:
    db.execute("CREATE TABLE IF NOT EXISTS names (name text)")
    db.execute("INSERT INTO names VALUES (?)", [name])
    return name, os.getpid()


@step(executor="process", retries=1)
def counts_in_process(ctx: StepContext, path: str) -> tuple[str, int]:
    counted = ctx.transaction(path, count, "Ada")
    if ctx.attempt == 1:
        raise OSError("after the commit")
    return counted
