"""No file names a package registry or a place on the machine it was written on."""

import re
from pathlib import Path

from tests.project.repository import files, name

FORBIDDEN = re.compile(
    r"pypi\.[a-z]|pythonhosted|(extra-)?index-url|find-links"  # registries
    r"|(?<![\w.*}-])/(root|work|opt|home|Users)/\w"  # folders of one machine
)


def test_forbidden_finds_what_it_should():
    assert FORBIDDEN.search("https://py" + "pi.org/simple")
    assert FORBIDDEN.search("see /" + "root/notes")
    assert not FORBIDDEN.search("frame/work/x and docs/root/x and {base}/work/x")


def test_files_name_no_registry_and_no_place():
    found = [
        f"{name(path)}:{number}: {line.strip()[:120]}"
        for path in files()
        if path != Path(__file__) and path.name != ".git"  # a file where this is a worktree
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if FORBIDDEN.search(line.decode("utf-8", errors="replace"))
    ]
    assert not found, "\n".join(found)
