"""A reader who follows a run passes through few files, and seldom goes back and forth."""

from pathlib import Path

from tests.project.main_path import PAGE, page, trace

FILES = 43
"""At most, of a run of two steps on SQLite."""
CHANGES = 89
"""At most, from file to file, of each further step."""


def test_a_run_passes_through_few_files(tmp_path: Path):
    found = trace(f"sqlite:{tmp_path}/runs.db", 2)
    assert len(found.files) <= FILES, found.files


def test_a_step_goes_back_and_forth_between_few_files(tmp_path: Path):
    short = trace(f"sqlite:{tmp_path}/short.db", 2)
    long = trace(f"sqlite:{tmp_path}/long.db", 12)
    assert (long.changes - short.changes) / 10 <= CHANGES


def test_the_architecture_names_the_files_in_their_order():
    assert PAGE.read_text() == page(), "write it: python -m tests.project.main_path"
