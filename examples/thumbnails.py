"""Make thumbnails of all images in a folder, some at a time; an unreadable image stops no other.

    python examples/thumbnails.py FOLDER THUMBNAILS

It needs Pillow (`pip install pillow`). Each image has its name as its key, so `gorkflow runs show`
lists the step `shrink[cat.png]`. `gorkflow runs rerun RUN` repeats only the failed ones.
"""

import argparse
from pathlib import Path

from PIL import Image
from pydantic import BaseModel

from gorkflow import Completed, Outcome, Workflow, run, step


class Job(BaseModel):
    """A folder of images, and the folder of their thumbnails."""

    folder: str
    target: str
    size: int = 128
    """Pixels of the longer side."""


class Picture(BaseModel):
    name: str
    job: Job


class Report(BaseModel):
    made: list[str]
    failed: list[str]


@step
def find(job: Job) -> list[Picture]:
    """List the images. The run keeps this list."""
    endings = {".png", ".jpg", ".jpeg", ".gif", ".webp"}
    names = sorted(p.name for p in Path(job.folder).iterdir() if p.suffix.lower() in endings)
    return [Picture(name=name, job=job) for name in names]


@step(timeout=60)
def shrink(picture: Picture) -> str:
    """Write the thumbnail under another name first: so a crash leaves no half image."""
    target = Path(picture.job.target, f"{picture.name}.jpg")
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(Path(picture.job.folder, picture.name)) as image:
        small = image.convert("RGB")
    small.thumbnail((picture.job.size, picture.job.size))
    partial = target.with_suffix(".part")
    small.save(partial, "JPEG")
    partial.replace(target)
    return str(target)


@step
async def report(outcomes: list[Outcome[str]]) -> Report:
    made = [outcome.value for outcome in outcomes if isinstance(outcome, Completed)]
    failed = [outcome.path for outcome in outcomes if not isinstance(outcome, Completed)]
    return Report(made=made, failed=failed)


thumbnails = (
    Workflow("thumbnails", input=Job)
    .then(find)
    .map(shrink, key=lambda picture: picture.name, join="settled", max_concurrency=4)
    .then(report)
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("target")
    args = parser.parse_args()
    made = run(thumbnails, Job(folder=args.folder, target=args.target))
    print(f"{len(made.made)} thumbnails in {args.target}")
    for path in made.failed:
        print(f"failed: {path}")


if __name__ == "__main__":
    main()
