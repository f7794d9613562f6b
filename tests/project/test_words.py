"""Plain English: the rules of CONTRIBUTING.md for pages, docstrings and messages.

python -m tests.project.test_words [TEXT]    lists the findings, of paths that contain TEXT
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project.repository import ROOT, SRC, files, is_generated, name

BANNED = re.compile(
    r"\b(?:carr(?:y|ies|ied|ying)|tell(?:s|ing)?|told|shall|whoever|whatever|(?:some|no)body"
    r"|g[ai]v(?:e|es|en|ing) back|let(?:s|ting)? go|(?:go(?:es|ing)?|went|gone) on"
    r"|t(?:ake|akes|aken|aking|ook) note|l[ai]y(?:s|ing)?|laid|refus(?:e|es|ed|ing|als?)|whichever"
    r"|g[ai]v(?:e|es|en|ing) up|hand(?:s|ed|ing)? on|at hand|be had|without a word"
    r"|g[eo]ts? (?:over|past)|(?:go|goes|went) by|(?:of|code) (?:ours|theirs)|the (?:former|latter)"
    r"|(?<!there )(?<!There )(?:is|are|was|were) no(?! (?:longer|more|later)\b))\b",
    re.IGNORECASE,
)
OPENING = re.compile(
    r"(?:What|Who|Whose|Whoever|Whatever|Whichever|Of|Where)\b(?!.*\?$)", re.DOTALL
)
OPENING_OF_MODULES = re.compile(r"(?:Which|Whether|How)\b")
LONGEST = 20
"""Words of a sentence, or of a part of it between semicolons."""
ENTRY = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*+x]\s|``?\w+``?:? |\w+: |[=\-]{4}))")
"""The gap between the paragraphs of a docstring, and between the entries of its lists."""
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *files(".md", under=ROOT / "docs")]
    if "reference" not in page.parts  # made of docstrings
)
EXAMPLES = ROOT / "examples"
CODE = [
    path
    for path in [*files(".py", under=SRC), *files(".py", under=EXAMPLES)]
    if not is_generated(path.read_text())
]


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a paragraph, each piece of code as one word."""
    text = re.sub(r"``.*?``|`[^`]*`", "Code", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|[*_#\[\]]", "", text)
    yield from (
        " ".join(it.split()) for it in re.split(r"(?<=[.!?:])[)\"']*\s+", text) if it.strip()
    )


def wrong(text: str) -> Iterator[str]:
    """Yield what breaks a rule in a paragraph."""
    for sentence in sentences(text):
        yield from (f"{found[0]!r} in: {sentence}" for found in BANNED.finditer(sentence))
        if OPENING.match(sentence):
            yield f"opens with {sentence.split()[0]!r}: {sentence}"
        for clause in sentence.split("; "):
            if len(clause.split()) > LONGEST:
                yield f"{len(clause.split())} words: {clause}"


def paragraphs(page: Path) -> Iterator[str]:
    """Yield the paragraphs, list items and table cells of a page, without its code."""
    text = re.sub(r"^([ ]*)```.*?^\1```", "\n", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(
        r"<!-- (faults|figures).*?<!-- end of \1 -->|<!--.*?-->", "", text, flags=re.DOTALL
    )
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)", text):
        yield from block.strip("| ").split("|") if block.startswith("|") else [block]


def on_pages(page: Path) -> Iterator[str]:
    for paragraph in paragraphs(page):
        yield from wrong(paragraph.strip(" -"))


def in_code(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for at in body if isinstance(body, list) else []:
            if isinstance(at, ast.Expr) and isinstance(at.value, ast.Constant):
                docstrings.add(id(at.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            text = node.value
            if id(node) in docstrings:
                if node.lineno == 1 and OPENING_OF_MODULES.match(text):
                    yield f"1: a module opens with {text.split()[0]!r}: {text[:60]}"
                yield from (f"{node.lineno}: Raises: {it}" for it in unclear_raises(text))
                text = re.sub(r"\n *Example:\n.*", "", text, flags=re.DOTALL)
            for paragraph in ENTRY.split(text):
                yield from (f"{node.lineno}: {it}" for it in wrong(paragraph))


def unclear_raises(docstring: str) -> Iterator[str]:
    """Yield the entries of ``Raises:`` that do not start with "If"."""
    section = re.search(r"^( *)Raises:\n((?:\1 +.*\n|\s*\n)+)", docstring + "\n", re.MULTILINE)
    entries = re.findall(r"^ +(\w+): +(.*)$", section[2], re.MULTILINE) if section else []
    yield from (f"{error}: {text}" for error, text in entries if not text.startswith("If "))


def findings() -> dict[str, list[str]]:
    found = {name(page): list(on_pages(page)) for page in PAGES}
    return found | {name(path): list(in_code(path)) for path in CODE}


def place(file: str) -> str:
    """Return a page, or the folder below src/gorkflow that a file is in."""
    parts = Path(file).parts
    if "decisions" in parts:
        return "docs/decisions"
    return file if parts[0] != "src" else parts[2] if len(parts) > 3 else "gorkflow"


def test_english_is_plain():
    left: Counter[str] = Counter()
    for file, found in findings().items():
        left[place(file)] += len(found)
    more = {where: count for where, count in left.items() if count}
    assert not more, "python -m tests.project.test_words lists them"


@pytest.mark.parametrize(
    "text",
    [
        "Who asks gets it.",
        "Done. What is left is kept.",
        "It is no store.",
        "The engine carries it.",
        "They are told so.",
        "The runs go on.",
        "It refuses the value.",
        "The others are given up.",
        "so " * 21,
    ],
)
def test_rules_find(text: str):
    assert list(wrong(text))


@pytest.mark.parametrize(
    "text", ["What next?", "`Who is no one` runs.", "It is no longer there.", "so " * 20]
)
def test_rules_allow(text: str):
    assert not list(wrong(text))


if __name__ == "__main__":
    for file, found in findings().items():
        if not sys.argv[1:] or sys.argv[1] in file:
            sys.stdout.writelines(f"{file}: {it}\n" for it in found)
