"""A backup each night, seen over a week."""

import signal
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path

from examples import nightly_backup as job
from gorkflow import Engine, RunStatus
from tests.engine.support import in_loop
from tests.engine.test_schedules import Clock, look, runs
from tests.engine.test_waiting import Lasting, reaches


@in_loop
async def test_one_archive_each_night_and_the_latest_are_kept(tmp_path: Path) -> None:
    folder, archives = tmp_path / "data", tmp_path / "archives"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "inner" / "b.txt").write_text("b")
    clock, store = Clock(), Lasting()
    backup = job.Backup(folder=str(folder), archives=str(archives), keep=2)
    for night in ("2026-11-23", "2026-11-24", "2026-11-25", "2026-11-28"):  # two nights it was off
        async with Engine(store, clock=clock) as engine:
            await job.declare(engine, backup, rule="0 3 * * *", timezone="Europe/Berlin")
            clock.at(f"{night}T02:00:00Z")
            await look(engine)
            await reaches(engine, f"backup@{night}T02:00:00Z", RunStatus.COMPLETED)
            assert len(await runs(engine, "backup")) == 4 or night < "2026-11-28"
    assert sorted(path.name for path in archives.iterdir()) == [
        "backup@2026-11-25T02-00-00Z.zip",
        "backup@2026-11-28T02-00-00Z.zip",
    ]
    with zipfile.ZipFile(archives / "backup@2026-11-28T02-00-00Z.zip") as archive:
        assert sorted(archive.namelist()) == ["a.txt", "inner/b.txt"]
        assert archive.testzip() is None


def test_as_a_program_it_tells_when_it_is_due_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", job.__file__, str(tmp_path), "archives", "--cron", "30 4 * * *"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline().strip() for _ in range(3)]
        program.send_signal(signal.SIGINT)
        assert program.wait(30) == 0
    times = [datetime.strptime(line, "due at %Y-%m-%d %H:%M UTC") for line in lines]  # noqa: DTZ007
    assert [(time.hour, time.minute) for time in times] == [(4, 30)] * 3
    assert (tmp_path / ".gorkflow" / "runs.db").exists()
