"""Thumbnails of a folder of real images, one of them broken."""

from pathlib import Path

import pytest

Image = pytest.importorskip("PIL.Image", reason="the example makes thumbnails with Pillow")

from examples import thumbnails as job  # noqa: E402 - it needs Pillow
from gorkflow import Engine  # noqa: E402
from tests.engine.support import in_loop  # noqa: E402


@in_loop
async def test_every_image_gets_a_thumbnail_and_a_broken_one_stops_none(tmp_path: Path) -> None:
    folder, target = tmp_path / "images", tmp_path / "small"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (400, 200 + number), (number, 9, 9)).save(folder / f"p {number}.png")
    (folder / "bad.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    async with Engine("memory:") as engine:
        handle = await engine.start(job.thumbnails, job.Job(folder=str(folder), target=str(target)))
        made = await handle.result()
        paths = [s.path for s in await engine.steps(handle.run_id)]
    assert made.failed == ["shrink[bad.png]"]
    assert "shrink[p%200.png]" in paths
    assert len(made.made) == 6
    with Image.open(target / "p 3.png.jpg") as small:
        assert small.size == (128, 65)
