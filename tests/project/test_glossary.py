"""The glossary has the words of the project, and only these."""

import ast
import re
from pathlib import Path

import pytest

from tests.project.repository import ROOT, SRC, files, is_generated, name

GLOSSARY = ROOT / "docs" / "glossary.md"
ROWS = re.findall(r"^\| (?!word|of |a |---)([^|]+) \|", GLOSSARY.read_text(), re.MULTILINE)
WORDS = [word.strip(" `").lower() for row in ROWS for word in row.split(",")]
MODULES = [
    path
    for path in files(".py", under=SRC)
    if path.parent != SRC and not path.stem.startswith("__") and not is_generated(path.read_text())
]


def used(word: str, text: str) -> bool:
    stem = re.sub("y$", "(?:y|ie)", word.replace(" ", "[ _]"))
    return re.search(rf"\b{stem}(?:e?s|ed|d)?\b", text) is not None


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_a_word_of_the_glossary(path: Path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    opening = docstring.lower().replace("\n", " ").split(". ")[0]
    assert any(used(word, opening) for word in WORDS), opening


def test_every_word_is_used():
    pages = [page for page in files(".md") if page != GLOSSARY]
    text = " ".join(path.read_text() for path in [*files(".py", under=SRC), *pages]).lower()
    assert not [word for word in WORDS if not used(word, text)]


def test_words_are_listed_once():
    assert len(WORDS) == len(set(WORDS))
