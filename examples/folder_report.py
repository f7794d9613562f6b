"""Report on a folder: duplicate files, sizes by type, text statistics, newest and oldest changes.

    python examples/folder_report.py FOLDER [--out REPORTS] [--ignore '*.log']
    gorkflow run examples/folder_report.py --input '{"folder": "."}'

One step scans the folder. Four branches examine the files side by side, each in its own thread. A
last step joins the results, as Markdown and JSON. The report lists files that can't be read, vanish
or change meanwhile; they never fail the run.

The program opens regular files only, and follows no symbolic link.
"""

# There may be millions of files: a Path for each of them would cost too much.
# ruff: noqa: PTH114, PTH116, PTH118, PTH119, PTH122, PTH208

import argparse
import codecs
import errno
import fnmatch
import hashlib
import io
import json
import logging
import os
import stat
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydantic import BaseModel

from gorkflow import Failed, GorkflowError, StepContext, Workflow, passthrough, run, step

CHUNK = 1 << 20  # files are read in pieces: none of them has to fit into memory
HEAD = 1 << 13  # a NUL byte this early means binary
SHOWN = 10  # rows per table of the Markdown report
KEPT = 200  # rows per list of the JSON report: values between steps should stay small


class Folder(BaseModel):
    """The folder to report on."""

    folder: str
    ignore: list[str] = [".git", ".venv", ".gorkflow", "__pycache__", "node_modules", "*_cache"]
    """Patterns for names, or for paths within the folder, to leave out."""
    out: str | None = None
    """The folder for `report.md` and `report.json`; by default they are not written."""


class Problem(BaseModel):
    """Something that could not be read."""

    path: str
    why: str


class Problems(BaseModel):
    """The first problems, and how many there were beyond."""

    first: list[Problem] = []
    more: int = 0

    def add(self, path: str, error: OSError | str) -> None:
        why = error if isinstance(error, str) else error.strerror or type(error).__name__
        if len(self.first) < KEPT:
            self.first.append(Problem(path=shown(path), why=why))
        else:
            self.more += 1


class Listing(BaseModel):
    """The result of the scan. The list of files is in a file: there may be millions."""

    file: str
    files: int
    folders: int
    links: int
    ignored: int
    bytes: int
    problems: Problems


class Group(BaseModel):
    """Files with the same content."""

    size: int
    sha256: str
    copies: int
    paths: list[str]


class Duplicates(BaseModel):
    groups: int = 0
    wasted: int = 0
    largest: list[Group] = []
    problems: Problems = Problems()


class TypeSize(BaseModel):
    type: str
    files: int
    bytes: int


class Sizes(BaseModel):
    types: list[TypeSize]


class LongestLine(BaseModel):
    path: str
    line: int
    length: int


class Texts(BaseModel):
    files: int = 0
    binary: int = 0
    lines: int = 0
    words: int = 0
    with_bom: int = 0
    longest: LongestLine | None = None
    not_decodable: Problems = Problems()
    mixed_line_ends: Problems = Problems()
    problems: Problems = Problems()


class Change(BaseModel):
    path: str
    at: str


class Changes(BaseModel):
    newest: list[Change]
    oldest: list[Change]


class Report(BaseModel):
    """The report, as `report.json` has it."""

    folder: str
    files: int
    folders: int
    links: int
    ignored: int
    bytes: int
    duplicates: Duplicates | None
    sizes: Sizes | None
    texts: Texts | None
    changes: Changes | None
    failed: dict[str, str]
    """Parts that are missing, and why."""
    problems: Problems
    written: list[str] = []


class Entry(NamedTuple):
    """A regular file, as the scan saw it."""

    path: str
    size: int
    mtime_ns: int
    device: int
    inode: int


# ---- the scan ---------------------------------------------------------------------------------


@step
def scan(ctx: StepContext, folder: Folder) -> Listing:
    root = root_of(folder)
    if not Path(root).is_dir():
        raise NotADirectoryError(f"{folder.folder!r} is not a folder")
    # A list of all files may be longer than a value between steps should be, so it goes into a
    # file, and the value says where. The last reader deletes it.
    handle, name = tempfile.mkstemp(prefix="gorkflow-listing-", suffix=".jsonl")
    listing = Listing(
        file=name, files=0, folders=0, links=0, ignored=0, bytes=0, problems=Problems()
    )
    os.close(handle)
    with Path(name).open("w", encoding="ascii") as lines:
        for entry in walk(root, folder, listing):
            json.dump(entry, lines)  # as ASCII: a name need not be valid Unicode
            lines.write("\n")
            listing.files += 1
            listing.bytes += entry.size
            if listing.files % 1000 == 0:
                ctx.raise_if_cancelled()
                ctx.progress(listing.files, message="files found")
    return listing


def walk(root: str, folder: Folder, listing: Listing) -> Iterator[Entry]:
    """Yield the regular files below a folder in the order of their names, without recursion."""
    own = {str(path) for path in reports_of(folder)}
    seen: set[tuple[int, int]] = set()  # a bind mount can make a loop without any link
    stack = [root]
    while stack:
        path = stack.pop()
        below = "" if path == root else os.path.relpath(path, root)
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) and path != root:
                listing.links += 1
                os.stat(path)  # says why, if the link leads nowhere
            elif stat.S_ISDIR(os.stat(path).st_mode):
                identity = status.st_dev, status.st_ino
                if identity in seen:
                    listing.problems.add(below, "the same folder again")
                    continue
                seen.add(identity)
                names = sorted(os.listdir(path), reverse=True)
                listing.folders += path != root
                for name in names:
                    child = os.path.join(path, name)
                    inside = os.path.join(below, name)
                    if child in own or any(matches(inside, it) for it in folder.ignore):
                        listing.ignored += 1
                    else:
                        stack.append(child)
            elif stat.S_ISREG(status.st_mode):
                yield Entry(path, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
            else:
                listing.problems.add(below, "not a regular file")
        except OSError as error:
            dangling = error.errno == errno.ENOENT and os.path.islink(path)
            listing.problems.add(below or path, "a link to nothing" if dangling else error)


def matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(os.path.basename(path), pattern) or fnmatch.fnmatchcase(
        path, pattern
    )


def entries(listing: Listing) -> Iterator[Entry]:
    with Path(listing.file).open(encoding="ascii") as lines:
        for line in lines:
            yield Entry(*json.loads(line))


# ---- four looks at it, side by side -----------------------------------------------------------


@step(continue_on_error=True)
def find_duplicates(ctx: StepContext, listing: Listing) -> Duplicates:
    """Compare sizes first, then the beginnings, then everything: most files are never read."""
    found = Duplicates(problems=Problems())
    by_size: dict[int, list[Entry]] = defaultdict(list)
    links: set[tuple[int, int]] = set()
    for entry in entries(listing):
        if entry.size and (entry.device, entry.inode) not in links:
            links.add((entry.device, entry.inode))  # a hard link shares its bytes: no duplicate
            by_size[entry.size].append(entry)
    groups: list[Group] = []
    for size, same_size in sorted(by_size.items()):
        candidates = alike(ctx, same_size, HEAD, found.problems)
        if size > HEAD:
            heads = [same for same, _ in candidates]
            candidates = [
                group for same in heads for group in alike(ctx, same, None, found.problems)
            ]
        for same, digest in candidates:
            paths = [shown(entry.path) for entry in same[:SHOWN]]
            groups.append(Group(size=size, sha256=digest, copies=len(same), paths=paths))
    groups.sort(key=lambda group: (-group.size * (group.copies - 1), group.paths))
    found.groups = len(groups)
    found.wasted = sum(group.size * (group.copies - 1) for group in groups)
    found.largest = groups[:KEPT]
    return found


def alike(
    ctx: StepContext, files: list[Entry], limit: int | None, problems: Problems
) -> list[tuple[list[Entry], str]]:
    """Return those of the files whose first bytes are the same, with the hash of these bytes."""
    if len(files) < 2:
        return []
    by_digest: dict[str, list[Entry]] = defaultdict(list)
    for entry in files:
        try:
            by_digest[hash_of(ctx, entry, limit)].append(entry)
        except OSError as error:
            problems.add(entry.path, error)
    return [(same, digest) for digest, same in by_digest.items() if len(same) > 1]


def hash_of(ctx: StepContext, entry: Entry, limit: int | None) -> str:
    digest = hashlib.sha256()
    with opened(entry) as file:
        while chunk := file.read(limit or CHUNK):
            ctx.raise_if_cancelled()
            digest.update(chunk)
            if limit is not None:
                break
    return digest.hexdigest()


@step(continue_on_error=True)
def sizes_by_type(listing: Listing) -> Sizes:
    types: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for entry in entries(listing):
        row = types[shown(os.path.splitext(entry.path)[1].lower()) or "(none)"]
        row[0] += 1
        row[1] += entry.size
    rows = [TypeSize(type=name, files=row[0], bytes=row[1]) for name, row in types.items()]
    rows.sort(key=lambda row: (-row.bytes, row.type))
    if len(rows) > KEPT:
        rest = rows[KEPT:]
        files, size = sum(row.files for row in rest), sum(row.bytes for row in rest)
        rows[KEPT:] = [TypeSize(type=f"({len(rest)} others)", files=files, bytes=size)]
    return Sizes(types=rows)


@step(continue_on_error=True)
def text_statistics(ctx: StepContext, listing: Listing) -> Texts:
    texts = Texts(problems=Problems(), not_decodable=Problems(), mixed_line_ends=Problems())
    for number, entry in enumerate(entries(listing)):
        ctx.raise_if_cancelled()
        ctx.progress(number, listing.files, "files read")
        try:
            with opened(entry) as file:
                read_text(entry.path, file, texts)
        except OSError as error:
            texts.problems.add(entry.path, error)
    return texts


BOMS = {  # the longer ones first: UTF-32 begins like UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


LINE_ENDS = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}


def read_text(path: str, file: BinaryIO, texts: Texts) -> None:
    """Count what is in a text file, piece by piece; a binary one only counts as such."""
    chunk = file.read(CHUNK)
    encoding = next((name for bom, name in BOMS.items() if chunk.startswith(bom)), "utf-8")
    if encoding == "utf-8" and b"\0" in chunk[:HEAD]:
        texts.binary += 1
        return
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    where, bad_at, count = 0, -1, Count()
    while True:
        pending = decoder.getstate()[0]
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            bad_at = where - len(pending) + error.start
            decoder = codecs.getincrementaldecoder(encoding)("replace")
            text = decoder.decode(pending + chunk, final=not chunk)
        count.add(line_ends.decode(text, final=not chunk))
        where += len(chunk)
        if not chunk:
            break
        chunk = file.read(CHUNK)
    texts.files += 1
    texts.lines += count.lines + (count.current > 0)
    texts.words += count.words
    texts.with_bom += encoding != "utf-8"
    if bad_at >= 0:
        texts.not_decodable.add(path, f"not {encoding} at byte {bad_at:,}")
    if isinstance(line_ends.newlines, tuple):
        kinds = sorted(LINE_ENDS[kind] for kind in line_ends.newlines)
        texts.mixed_line_ends.add(path, " and ".join(kinds))
    length, line = max(count.longest, (count.current, -count.lines - 1))
    if texts.longest is None or length > texts.longest.length:
        texts.longest = LongestLine(path=shown(path), line=-line, length=length)


class Count:
    """Lines and words of a text that comes in pieces, cut anywhere."""

    def __init__(self) -> None:
        self.lines = self.words = self.current = 0
        self.longest = (0, -1)  # the first of the longest lines: its length, and minus its number
        self._in_word = False

    def add(self, text: str) -> None:
        if not text:
            return
        self.words += len(text.split()) - (self._in_word and not text[0].isspace())
        self._in_word = not text[-1].isspace()
        *ended, rest = text.split("\n")
        for part in ended:
            self.lines += 1
            self.longest = max(self.longest, (self.current + len(part), -self.lines))
            self.current = 0
        self.current += len(rest)


@step(continue_on_error=True)
def newest_and_oldest(listing: Listing) -> Changes:
    changes = sorted((entry.mtime_ns, entry.path) for entry in entries(listing))
    return Changes(
        newest=[
            Change(path=shown(path), at=instant(ns)) for ns, path in changes[: -SHOWN - 1 : -1]
        ],
        oldest=[Change(path=shown(path), at=instant(ns)) for ns, path in changes[:SHOWN]],
    )


# ---- the report -------------------------------------------------------------------------------


@step
def combine(
    ctx: StepContext,
    listing: Listing,
    duplicates: Duplicates | None,
    sizes: Sizes | None,
    texts: Texts | None,
    changes: Changes | None,
) -> Report:
    """Join the parts: a failed part is `None`, and its outcome says why."""
    failed: dict[str, str] = {}
    for part in (find_duplicates, sizes_by_type, text_statistics, newest_and_oldest):
        outcome = ctx.outcome(part)
        if isinstance(outcome, Failed):
            failed[part.id] = str(outcome.failure)
    problems: dict[tuple[str, str], Problem] = {}
    parts = [part.problems for part in (listing, duplicates, texts) if part is not None]
    root = root_of(ctx.run_input(Folder))
    for problem in (problem for part in parts for problem in part.first):
        path = problem.path.removeprefix(root + os.sep)
        problems[path, problem.why] = Problem(path=path, why=problem.why)
    Path(listing.file).unlink(missing_ok=True)
    return Report(
        folder=shown(root),
        files=listing.files,
        folders=listing.folders,
        links=listing.links,
        ignored=listing.ignored,
        bytes=listing.bytes,
        duplicates=duplicates,
        sizes=sizes,
        texts=texts,
        changes=changes,
        failed=failed,
        problems=Problems(
            first=[problems[key] for key in sorted(problems)], more=sum(it.more for it in parts)
        ),
    )


@step
def publish(ctx: StepContext, report: Report) -> Report:
    """Write the report. May run twice: the second time changes nothing."""
    paths = reports_of(ctx.run_input(Folder))
    report = report.model_copy(update={"written": [shown(str(path)) for path in paths]})
    texts = (to_markdown(report), report.model_dump_json(indent=2) + "\n")
    for path, text in zip(paths, texts, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written beside, then renamed: a half report is never visible.
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    return report


def root_of(folder: Folder) -> str:
    return str(Path(folder.folder).expanduser().resolve())


def reports_of(folder: Folder) -> list[Path]:
    if folder.out is None:
        return []
    out = Path(folder.out).expanduser().resolve()
    return [out / "report.md", out / "report.json"]


folder_report = (
    Workflow("folder-report", input=Folder, description="The contents of a folder")
    .then(scan)
    .parallel(
        passthrough(Listing), find_duplicates, sizes_by_type, text_statistics, newest_and_oldest
    )
    .then(combine)
    .then(publish)
)


# ---- reading files ----------------------------------------------------------------------------

FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
FLAGS |= getattr(os, "O_BINARY", 0)


@contextmanager
def opened(entry: Entry) -> Iterator[BinaryIO]:
    """Open a file, and make sure that it is and stays the one that the scan saw."""
    with open(os.open(entry.path, FLAGS), "rb") as file:  # noqa: PTH123 - a descriptor
        _check(entry, file)
        yield file
        _check(entry, file)


def _check(entry: Entry, file: BinaryIO) -> None:
    now = os.fstat(file.fileno())
    if not stat.S_ISREG(now.st_mode) or (now.st_size, now.st_mtime_ns) != entry[1:3]:
        raise OSError(0, "changed since the folder was scanned")


def shown(path: str) -> str:
    """Return a path as text for people: valid Unicode, on one line, not endless."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return text if len(text) <= 300 else f"{text[:100]} … {text[-190:]}"


def instant(ns: int) -> str:
    try:
        return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # file systems allow any number
        return f"{ns / 1e9:.0f} s after 1970"


# ---- Markdown ---------------------------------------------------------------------------------


def to_markdown(report: Report) -> str:
    def name(path: str) -> str:
        return code(path.removeprefix(report.folder + os.sep))

    numbers = (
        f"{report.files:,} files in {report.folders:,} folders, {size_of(report.bytes)}; "
        f"{report.links:,} symbolic links (not followed), {report.ignored:,} ignored."
    )
    lines = [f"# Report on {code(report.folder)}", "", numbers]
    lines += [f"\n**Missing: {plain(why)}**" for why in report.failed.values()]
    if report.duplicates:
        lines += ["", "## Duplicates", "", *duplicate_lines(report.duplicates, name)]
    if report.sizes:
        rows = [(code(it.type), f"{it.files:,}", size_of(it.bytes)) for it in report.sizes.types]
        lines += ["", "## Sizes by type", *table(("type", "files", "size"), rows)]
    if report.texts:
        lines += ["", "## Texts", "", *text_lines(report.texts, name)]
    if report.changes:
        for title, changes in (
            ("Newest changes", report.changes.newest),
            ("Oldest changes", report.changes.oldest),
        ):
            rows2 = [(change.at, name(change.path)) for change in changes]
            lines += ["", f"## {title}", *table(("when (UTC)", "file"), rows2)]
    if report.problems.first:
        lines += ["", "## Not read", "", *problem_lines(report.problems, name)]
    return "\n".join(lines) + "\n"


def duplicate_lines(found: Duplicates, name: Callable[[str], str]) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for group in found.largest:
        paths = [*map(name, group.paths[:3]), *["…"] * (group.copies > 3)]
        rows.append((size_of(group.size), f"{group.copies:,}", ", ".join(paths)))
    waste = size_of(found.wasted)
    lines = [f"{found.groups:,} groups of equal files; the spare copies take {waste}."]
    return lines + table(("each", "copies", "files"), rows)


def text_lines(texts: Texts, name: Callable[[str], str]) -> list[str]:
    counts = f"{texts.files:,} text files: {texts.lines:,} lines, {texts.words:,} words"
    lines = [
        f"- {counts}; {texts.binary:,} binary files",
        f"- files with a byte order mark: {texts.with_bom:,}",
    ]
    if longest := texts.longest:
        where = f"{name(longest.path)}, line {longest.line:,}"
        lines.append(f"- longest line: {longest.length:,} characters, in {where}")
    for title, problems in (
        ("not decodable", texts.not_decodable),
        ("mixed line ends", texts.mixed_line_ends),
    ):
        lines.append(f"- {title}: {len(problems.first) + problems.more:,}")
        lines += [f"  {line}" for line in problem_lines(problems, name)]
    return lines


def problem_lines(problems: Problems, name: Callable[[str], str]) -> list[str]:
    lines = [f"- {name(it.path)}: {plain(it.why)}" for it in problems.first[:SHOWN]]
    more = len(problems.first) - len(lines) + problems.more
    return [*lines, f"- and {more:,} more"] if more else lines


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    more = (
        [(f"and {len(rows) - SHOWN} more", *[""] * (len(titles) - 1))] if len(rows) > SHOWN else []
    )
    lines = [titles, ["---"] * len(titles), *rows[:SHOWN], *more]
    return ["", *(f"| {' | '.join(row)} |" for row in lines)]


def code(text: str) -> str:
    """Return a text as Markdown code: there only backticks and a table's bars mean anything."""
    mark = "``" if "`" in text else "`"
    space = " " if "`" in text else ""
    return mark + space + text.replace("|", "\\|") + space + mark


def plain(text: str) -> str:
    """Return a text such that Markdown takes no character of it for its own."""
    return "".join(f"\\{char}" if char in "\\`*_|<>[]#" else char for char in text)


def size_of(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


# ---- as a program -----------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Report on a folder, as Markdown.")
    parser.add_argument("folder", nargs="?", default=".")
    parser.add_argument("--ignore", action="append", metavar="GLOB", help="leave out; repeatable")
    parser.add_argument("--out", metavar="DIR", help="also write report.md and report.json there")
    parser.add_argument("--store", metavar="URL", help="where the run is kept (.gorkflow/runs.db)")
    given = parser.parse_args()
    folder = Folder(folder=given.folder, out=given.out)
    folder.ignore += given.ignore or []
    logging.getLogger("gorkflow").addHandler(logging.NullHandler())  # failures are printed below
    try:
        report = run(folder_report, folder, store=given.store)
    except GorkflowError as error:
        sys.exit(str(error))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal need not know every letter
    print(to_markdown(report), end="")


if __name__ == "__main__":
    main()
