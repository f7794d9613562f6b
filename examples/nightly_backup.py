"""Put a folder into an archive every night, and keep only the latest archives.

    python examples/nightly_backup.py FOLDER ARCHIVES --timezone Europe/Berlin

It runs until Ctrl-C. It declares its schedule each time it starts, which changes nothing if the
schedule is the same. After a night without power, it makes one backup. Two of these programs on one
store still make one backup each night.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import zipfile
from pathlib import Path

from pydantic import BaseModel

from gorkflow import Engine, Schedule, StepContext, Workflow, step


class Backup(BaseModel):
    """The folder to back up, and the folder of the archives."""

    folder: str
    archives: str
    keep: int = 7
    """The number of archives to keep."""


class Archive(BaseModel):
    path: str
    files: int
    keep: int


class Kept(BaseModel):
    made: Archive
    removed: list[str]


@step
def archive(ctx: StepContext, backup: Backup) -> Archive:
    """Write the archive under another name first: so a crash leaves no half archive."""
    # The run's id has the due time, so a run that is repeated writes the same archive again.
    name = ctx.run_id.replace(":", "-")
    target = Path(backup.archives, f"{name}.zip")
    target.parent.mkdir(parents=True, exist_ok=True)
    files = 0
    number, unfinished = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(number)
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as into:
        for path in sorted(Path(backup.folder).rglob("*")):
            ctx.raise_if_cancelled()
            if path.is_file() and not path.is_symlink():
                into.write(path, path.relative_to(backup.folder))
                files += 1
    Path(unfinished).replace(target)
    return Archive(path=str(target), files=files, keep=backup.keep)


@step
def thin_out(made: Archive) -> Kept:
    """Remove the oldest archives; their names begin alike and sort by time."""
    found = sorted(Path(made.path).parent.glob("*.zip"))
    surplus = found[: max(0, len(found) - made.keep)]
    for path in surplus:
        path.unlink(missing_ok=True)
    return Kept(made=made, removed=[path.name for path in surplus])


nightly_backup = Workflow("nightly_backup", input=Backup).then(archive).then(thin_out)


async def declare(engine: Engine, backup: Backup, *, rule: str, timezone: str) -> Schedule:
    return await engine.schedule(
        nightly_backup,
        backup,
        id="backup",
        cron=rule,
        timezone=timezone,
        catch_up="last",
        overlap="skip",
    )


async def work(given: argparse.Namespace) -> None:
    backup = Backup(folder=given.folder, archives=given.archives, keep=given.keep)
    async with Engine(given.store) as engine:
        schedule = await declare(engine, backup, rule=given.cron, timezone=given.timezone)
        for due in schedule.upcoming(3):
            print(f"due at {due:%Y-%m-%d %H:%M %Z}")
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Back up a folder every night, until Ctrl-C.")
    parser.add_argument("folder")
    parser.add_argument("archives")
    parser.add_argument("--keep", type=int, default=7, help="how many archives")
    parser.add_argument("--cron", default="0 3 * * *")
    parser.add_argument("--timezone", default="UTC")
    parser.add_argument("--store", metavar="URL", help="where runs are kept (.gorkflow/runs.db)")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
