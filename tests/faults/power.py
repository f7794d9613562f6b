"""Power loss: every moment of a recorded workload is a disk that SQLite has to make sense of."""

from __future__ import annotations

import asyncio
import importlib.util
import pickle
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gorkflow import Engine
from gorkflow.store import Transition, Written
from gorkflow.stores.sqlite import SqliteStore
from gorkflow.stores.sqlite import store as _store
from tests.faults import ledger
from tests.faults.oracle import Database
from tests.faults.registry import Result, Size, chance, fault
from tests.faults.scene import Scene, a_scene
from tests.faults.session import tell
from tests.faults.workload import WORKFLOWS, planned

RUNS = 12


@fault("D1", "power loss", "half of what was not synced is lost, reordered, torn; FULL")
def power_losses(size: Size, seed: int) -> Result:
    return _power_losses(size, size.of(30, 300, 1_000, 50_000), seed, "full")


@fault("D1n", "power loss, NORMAL", "the same with synchronous=normal: recent results may be lost")
def power_losses_normal(size: Size, seed: int) -> Result:
    return _power_losses(size, size.of(10, 150, 1_000, 50_000), seed, "normal")


def _power_losses(size: Size, images: int, seed: int, synchronous: str) -> Result:
    if importlib.util.find_spec("apsw") is None:
        return Result(skipped="apsw is not installed")
    from tests.faults import vfs

    result = Result()
    dice = chance(f"D1 {synchronous}", seed)
    with a_scene("tests.faults.power") as scene:
        into = scene.folder / "ops"
        scene.call("record", seed=seed, into=str(into), synchronous=synchronous)
        ops: list[vfs.Op] = pickle.loads(into.read_bytes())
        whole = Database(scene.db).read()
        forgotten = 0
        moments = sorted(dice.randrange(1, len(ops) + 1) for _ in range(images))
        disk, done = vfs.Disk(), 0
        for number, moment in enumerate(moments):
            for op in ops[done:moment]:
                disk.perform(op)
            done = moment
            promised = vfs.promises(ops[:moment])
            folder = scene.folder / f"image-{number}"
            folder.mkdir()
            vfs.save(disk.after_power_loss(dice), folder, scene.db.name)
            with result.injection(f"image {number}, after operation {moment} of {len(ops)}"):
                lost = _lost(_check(folder / scene.db.name, whole), promised)
                assert synchronous == "normal" or not lost, f"promised, and lost: {lost}"
                forgotten += bool(lost)
                if number % 25 == 0:
                    _carry_on(scene, folder / scene.db.name)
        with result.watch("the disk itself"):
            assert synchronous == "full" or size is Size.SHORT or forgotten, "it forgets nothing"
    return result


def _check(db: Path, whole: Database) -> dict[str, int]:
    """All that is there is what was written. Returns the ``seq`` of each run."""
    try:
        found = Database(db).read()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return {}
    assert found.integrity == "ok", found.integrity
    assert found.orphans == 0
    for run_id, loaded in found.runs.items():
        assert loaded.events == whole.runs[run_id].events[: len(loaded.events)]
    return {run_id: loaded.row.seq for run_id, loaded in found.runs.items()}


def _lost(found: dict[str, int], promised: dict[str, int]) -> list[str]:
    return [run_id for run_id, seq in promised.items() if found.get(run_id, 0) < seq]


def _carry_on(scene: Scene, db: Path) -> None:
    """An engine opens what is left, and every run that is there ends."""
    if Database(db).is_empty():
        return
    scene.db, before = db, scene.db
    scene.call("tests.faults.session:finish")
    for run_id, loaded in Database(db).read().runs.items():
        assert loaded.row.status.terminal, run_id
    scene.db = before


# The child


def record(db: str, witness: str, seed: int, into: str, synchronous: str) -> int:
    """Carry runs on a file system that notes everything; no cancels, so that all ends are known."""
    from tests.faults import vfs

    ledger.open_ledger(witness)
    recording = vfs.Recording()
    kept = vfs.RecordingVfs(recording)
    sqlite3.connect = vfs.Connection  # type: ignore[assignment,misc]
    _store._WAL_LIMIT = 12 * 4096

    class Promising(SqliteStore):
        async def write(self, batch: Sequence[Transition]) -> list[Written]:
            results = await super().write(batch)
            for item, written in zip(batch, results, strict=True):
                if written == Written.OK:
                    recording.note(vfs.Op("promise", item.row.run_id, item.seq))
            return results

    async def main() -> None:
        store = Promising(db, synchronous=synchronous)
        async with Engine(store, workflows=WORKFLOWS.values()) as engine:
            starts = [planned(seed, number) for number in range(RUNS)]
            handles = [await engine.start(s.workflow, s.job, run_id=s.run_id) for s in starts]
            for handle, start in zip(handles, starts, strict=True):
                await tell(handle, start)
                await handle.outcome()

    asyncio.run(main())
    Path(into).write_bytes(pickle.dumps(recording.ops))
    del kept
    return 0
