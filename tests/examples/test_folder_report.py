"""The main job, on folders that are made to be difficult."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from examples import folder_report as job
from gorkflow import RunFailedError, run
from gorkflow.model import FailureCode


def report_on(folder: Path, **options) -> job.Report:
    return run(job.folder_report, job.Folder(folder=str(folder), **options), store="memory:")


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def why(problems: job.Problems) -> dict[str, str]:
    return {problem.path: problem.why for problem in problems.first}


def test_empty_folder(tmp_path):
    report = report_on(tmp_path)
    assert (report.files, report.folders, report.bytes) == (0, 0, 0)
    assert not report.failed
    assert report.duplicates.groups == 0
    assert report.texts.longest is None
    assert "0 files" in job.to_markdown(report)


def test_duplicates_are_told_by_content(tmp_path):
    big = bytes(range(256)) * 64  # longer than the head that is compared first
    write(
        tmp_path,
        {
            "a.bin": big + b"1",
            "b/a.bin": big + b"1",
            "c.bin": big + b"2",  # same size, same head
            "d.bin": b"x" * (len(big) + 1),  # same size
            "e.txt": b"small",
            "f.txt": b"small",
            "empty1": b"",
            "empty2": b"",
        },
    )
    os.link(tmp_path / "a.bin", tmp_path / "linked.bin")
    found = report_on(tmp_path).duplicates
    assert found.groups == 2
    assert [group.paths for group in found.largest] == [
        [str(tmp_path / "a.bin"), str(tmp_path / "b" / "a.bin")],
        [str(tmp_path / "e.txt"), str(tmp_path / "f.txt")],
    ]
    assert found.wasted == len(big) + 1 + len(b"small")


def test_sizes_by_type(tmp_path):
    write(
        tmp_path, {"a.PY": b"12", "b.py": b"3", "Makefile": b"4", ".hidden": b"", "x.tar.gz": b"5"}
    )
    rows = [(row.type, row.files, row.bytes) for row in report_on(tmp_path).sizes.types]
    assert rows == [(".py", 2, 3), ("(none)", 2, 1), (".gz", 1, 1)]


def test_text_statistics(tmp_path):
    write(
        tmp_path,
        {
            "a.txt": b"one two\nthree\n",
            "b.txt": b"\xef\xbb\xbfwith mark\r\nand unix\nno end",
            "c.txt": "größte Zeile überhaupt, länger als alle anderen\n".encode(),
            "d.txt": b"ok\nbroken \xff here\n",
            "e.txt": "sixteen\n".encode("utf-16"),
            "f.bin": b"\x7fELF\0\0\0",
            "g.txt": b"",
        },
    )
    texts = report_on(tmp_path).texts
    assert (texts.files, texts.binary) == (6, 1)
    assert texts.lines == 2 + 3 + 1 + 2 + 1
    assert texts.words == 3 + 6 + 7 + 4 + 1
    assert texts.with_bom == 2
    assert texts.longest.path == str(tmp_path / "c.txt")
    assert (texts.longest.line, texts.longest.length) == (1, 47)
    assert why(texts.not_decodable) == {str(tmp_path / "d.txt"): "not utf-8 at byte 10"}
    assert why(texts.mixed_line_ends) == {str(tmp_path / "b.txt"): "CRLF and LF"}


def test_text_statistics_do_not_depend_on_where_pieces_end(tmp_path, monkeypatch):
    content = "an ä, a 漢字 and an 🎈\r\nlonger\r\rthan 7 bytes \n".encode() + b"end\xe2\x82"
    write(tmp_path, {"a.txt": content})
    whole = report_on(tmp_path).texts
    assert why(whole.not_decodable) == {
        str(tmp_path / "a.txt"): f"not utf-8 at byte {len(content) - 2}"
    }
    for size in range(1, 9):
        monkeypatch.setattr(job, "CHUNK", size)
        assert report_on(tmp_path).texts == whole


def test_newest_and_oldest(tmp_path):
    for number in range(12):
        write(tmp_path, {f"{number:02}": b""})
        os.utime(tmp_path / f"{number:02}", (0, 1_000_000_000 + number))
    os.utime(tmp_path / "00", (0, 2_000_000_000))
    changes = report_on(tmp_path).changes
    newest = [Path(change.path).name for change in changes.newest]
    assert newest == ["00", "11", "10", "09", "08", "07", "06", "05", "04", "03"]
    assert changes.newest[0].at == "2033-05-18 03:33:20"
    assert Path(changes.oldest[0].path).name == "01"
    assert changes.oldest[0].at == "2001-09-09 01:46:41"
    assert job.instant(2**40 * 10**9) == "1099511627776 s after 1970"  # some file systems say so


def test_what_can_not_be_read_is_listed(tmp_path, monkeypatch):
    write(
        tmp_path,
        {"ok.txt": b"fine\n", "twin.txt": b"fine\n", "secret/x": b"y", "locked.txt": b"n\n"},
    )
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)
        server.bind("socket")
    real_open, real_listdir = os.open, os.listdir

    def deny(path: object, *names: str) -> None:  # root may read everything, so act as if not
        if Path(str(path)).name in names:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: deny(path, "locked.txt") or real_open(path, *a, **k)
    )
    monkeypatch.setattr(os, "listdir", lambda path: deny(path, "secret") or real_listdir(path))
    report = report_on(tmp_path)
    assert not report.failed
    assert why(report.problems) == {
        "dangling": "a link to nothing",
        "fifo": "not a regular file",
        "locked.txt": "Permission denied",
        "loop": "Too many levels of symbolic links",
        "secret": "Permission denied",
        "socket": "not a regular file",
    }
    assert report.files == 3
    assert report.links == 3
    assert report.texts.files == 2
    assert report.duplicates.groups == 1
    assert "- `locked.txt`: Permission denied" in job.to_markdown(report)


def test_files_that_vanish_or_change_meanwhile(tmp_path, monkeypatch):
    write(
        tmp_path, {"gone.txt": b"1\n", "grown.txt": b"2\n", "swapped.txt": b"3\n", "ok.txt": b"4\n"}
    )
    real_walk = job.walk

    def walk(*args):
        yield from real_walk(*args)
        (tmp_path / "gone.txt").unlink()
        (tmp_path / "grown.txt").write_bytes(b"longer\n")
        (tmp_path / "swapped.txt").unlink()
        os.mkfifo(tmp_path / "swapped.txt")  # opening it would block for ever

    monkeypatch.setattr(job, "walk", walk)
    report = report_on(tmp_path)
    assert not report.failed
    assert why(report.problems) == {
        "gone.txt": "No such file or directory",
        "grown.txt": "changed since the folder was scanned",
        "swapped.txt": "changed since the folder was scanned",
    }
    assert report.texts.lines == 1


def test_names_can_be_anything(tmp_path):
    names = [b"new\nline", b"not-utf8-\xff.txt", b"pipe|and`tick", "漢字 🎈".encode(), b"-rf"]
    for name in names:
        (Path(os.fsdecode(os.fsencode(tmp_path))) / os.fsdecode(name)).write_bytes(b"same\n")
    report = report_on(tmp_path, out=str(tmp_path / "out"))
    assert report.files == len(names)
    assert report.duplicates.largest[0].copies == len(names)
    shown = {Path(path).name for path in report.duplicates.largest[0].paths}
    assert shown == {"new\\x0aline", "not-utf8-\\xff.txt", "pipe|and`tick", "漢字 🎈", "-rf"}
    (row,) = [line for line in job.to_markdown(report).splitlines() if line.startswith("| 5 bytes")]
    assert row.replace("\\|", "").count("|") == 4  # a bar in a name ends no column


def test_many_problems_stay_a_short_list(tmp_path):
    for number in range(job.KEPT + 5):
        (tmp_path / f"{number:03}").symlink_to("nowhere")
    report = report_on(tmp_path)
    assert (len(report.problems.first), report.problems.more) == (job.KEPT, 5)
    assert f"and {job.KEPT + 5 - job.SHOWN} more" in job.to_markdown(report)


def test_ignored_is_left_out_and_counted(tmp_path):
    write(
        tmp_path,
        {"keep.txt": b"1", "a.log": b"2", ".git/HEAD": b"3", "sub/b.log": b"4", "sub/c": b"5"},
    )
    report = report_on(tmp_path, ignore=[".git", "*.log", "sub/c"])
    assert (report.files, report.ignored) == (1, 4)


def test_reports_are_written_and_not_reported_on(tmp_path):
    write(tmp_path, {"a.txt": b"one\n"})
    first = report_on(tmp_path, out=str(tmp_path))
    second = report_on(tmp_path, out=str(tmp_path))
    assert (first.files, second.files) == (1, 1)
    assert first.written == [str(tmp_path / "report.md"), str(tmp_path / "report.json")]
    assert (tmp_path / "report.md").read_text().startswith(f"# Report on `{tmp_path}`")
    assert job.Report.model_validate_json((tmp_path / "report.json").read_text()) == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "report.json", "report.md"]


def test_a_part_that_fails_is_missing_with_its_reason(tmp_path, monkeypatch):
    def explode(*args):
        raise MemoryError("too much text")

    monkeypatch.setattr(job, "read_text", explode)
    write(tmp_path, {"a.txt": b"one\n"})
    report = report_on(tmp_path)
    assert report.texts is None
    assert report.sizes is not None
    assert report.failed == {"text_statistics": "text_statistics: MemoryError: too much text"}
    assert "**Missing: text\\_statistics: MemoryError: too much text**" in job.to_markdown(report)


def test_no_folder_is_an_error_that_says_so(tmp_path):
    with pytest.raises(RunFailedError, match="'nowhere' is not a folder") as raised:
        report_on(Path("nowhere"))
    assert raised.value.failures[0].code is FailureCode.STEP_FAILED


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    report_on(tmp_path, ignore=["tmp"])
    assert list(temporary.iterdir()) == []


def test_as_a_program(tmp_path):
    write(tmp_path, {"in/a.txt": b"one\n", "in/b.txt": b"one\n"})
    done = subprocess.run(
        [
            sys.executable,
            job.__file__,
            "in",
            "--out",
            "reports",
            "--ignore",
            "b*",
            "--store",
            "memory:",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == (tmp_path / "reports" / "report.md").read_text()
    assert json.loads((tmp_path / "reports" / "report.json").read_text())["files"] == 1
    failed = subprocess.run(
        [sys.executable, job.__file__, "nowhere"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1
    assert "'nowhere' is not a folder" in failed.stderr
    assert "Traceback" not in failed.stderr
