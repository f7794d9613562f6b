"""What TARGET may be, and what is said where it may not."""

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

MORE = {
    "one.py": "from flows import checkout as only\n",
    "none.py": "x = 1\n",
    "json.py": "from flows import failing\n",  # the name of a module that is loaded already
    "broken.py": "def f():\n    raise ValueError('boom \\x1b[31m')\n\nf()\n",
    "missing.py": "import surely_not_installed\n",
    "leaving.py": "import sys\nsys.exit(4)\n",
    "syntax.py": "def f(:\n",
    "relative.py": "from . import flows\n",
    "invalid.py": "from gorkflow.workflow import Workflow\nWorkflow('a b')\n",
    "makers.py": (
        "from flows import *\nfrom gorkflow.engine.engine import Engine\n"
        "async def later(): return make_engine()\n"
        "def needs(x): return make_engine()\n"
        "def wrong(): return 7\n"
        "def raises(): raise LookupError('no config')\n"
        "def empty(): return Engine()\n"
        "def direct(): return checkout\n"
        "engine = Engine(workflows=[checkout])\n"
        "class Shelf: best = checkout\n"
    ),
    "two.py": (
        "from flows import checkout\nfrom gorkflow.engine.engine import Engine\n"
        "a, b = Engine(workflows=[checkout]), Engine()\n"
    ),
    "bare.py": (
        "from flows import failing\nfrom gorkflow.engine.engine import Engine\ne = Engine()\n"
    ),
    "shop.py": (
        "from flows import *\nfrom gorkflow.engine.engine import Engine\n"
        "engine = same = Engine('sqlite:shop.db', workflows=[failing])\n"
    ),
    "ids.py": (
        "from gorkflow import Workflow, step\n@step\ndef one() -> int:\n    return 1\n"
        "nightly, daily = (Workflow(x).then(one) for x in ('nightly-report', 'daily-report'))\n"
    ),
    "pkg/__init__.py": "",
    "pkg/inner.py": "from flows import checkout\n",
}


@pytest.fixture(autouse=True)
def more_files(folder: Path):
    for name, text in MORE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    "target",
    [
        "flows.py:checkout",
        "flows:checkout",
        "./flows.py:checkout",
        "one.py",
        "one",
        "pkg.inner",
        "pkg.inner:checkout",
        "json.py",
        "makers.py:engine",
        "makers.py",  # its engine wins over the workflows it imports
        "shop.py",
        "bare.py",
        "makers.py:direct",
        "makers.py:Shelf.best",
    ],
)
def test_good_targets(invoke: Invoke, target: str):
    result = invoke("graph", target)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] in {"checkout", "failing"}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nope.py", "there is no file 'nope.py'"),
        ("nope", "there is no module 'nope'"),
        ("/", "'/' is a folder; name a file in it"),
        (".", "'.' is a folder; name a file in it"),
        ("one.py:", "'one.py:' ends in a colon; write one.py:NAME, or one.py alone"),
        ("two.py", "'two.py' has 2 engines; name one: a, b"),
        ("pkg.nope", "there is no module 'pkg.nope'"),
        ("no such", "neither a module nor a file"),
        ("flows.py:chekout", "did you mean 'checkout'?"),
        ("flows.py:zzz", "its workflows: checkout, retried"),
        ("none.py", "has no Workflow"),
        ("none.py:x", "is 1, not a Workflow or Engine"),
        ("flows.py", "has 13 workflows; name one:\n  flows.py:checkout\n"),
        ("flows.py:check", "is a step; to run it by itself make it a workflow: Workflow('check'"),
        ("missing.py", "No module named 'surely_not_installed'"),
        ("leaving.py", "SystemExit: 4"),
        ("syntax.py", "def f(:\n"),
        ("relative.py", "A file of a package is named as module"),
        ("invalid.py", "Workflow('a b')\n"),
        ("makers.py:later", "is async; name a plain function that returns an Engine or a Workflow"),
        ("makers.py:needs", "takes arguments"),
        ("makers.py:wrong", "returns 7, not a Workflow or Engine"),
        ("makers.py:raises", "could not be called:"),
        ("makers.py:empty", "knows these workflows: none; give it Engine(workflows=…)"),
        ("flows.py:make_engine", "asking, checkout; name one with --workflow ID"),
    ],
)
def test_bad_targets(invoke: Invoke, target: str, says: str):
    result = invoke("graph", target)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stdout == ""
    assert "_target.py" not in result.stderr
    assert "importlib" not in result.stderr


def test_an_import_that_fails_shows_the_last_lines_of_its_traceback(invoke: Invoke, folder: Path):
    result = invoke("run", "broken.py")
    assert result.exit_code == 2
    broken = str(folder / "broken.py")
    # From Python 3.13 on a traceback also underlines what was called.
    shown = re.sub(r"^ *[~^]+\n", "", result.stderr, flags=re.MULTILINE)
    assert shown == (
        "Error: 'broken.py' can't be imported:\n"
        f'  File "{broken}", line 4, in <module>\n    f()\n'
        f"  File \"{broken}\", line 2, in f\n    raise ValueError('boom \\x1b[31m')\n"
        "ValueError: boom \ufffd[31m\n"
    )


def test_debug_shows_ours_too(invoke: Invoke, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GORKFLOW_DEBUG", "1")
    assert isinstance(invoke("run", "broken.py").exception, ValueError)


def test_a_function_may_return_a_workflow_or_an_engine(invoke: Invoke):
    for target in ("makers.py:direct", "flows.py:make_engine"):
        ran = invoke("run", target, "--workflow", "checkout", "--input", '{"id": 7}')
        assert (ran.exit_code, ran.stdout) == (0, '{"text": "ok", "cents": 700}\n')
    assert "a function without arguments that returns one" in " ".join(
        invoke("run", "-h").stdout.split()
    )


def test_a_workflow_is_chosen_by_its_id(invoke: Invoke):
    drawn = invoke("graph", "flows.py", "--workflow", "failing", "--format", "mermaid")
    assert drawn.stdout.startswith('flowchart TD\n    n1(["failing"])\n')
    result = invoke("graph", "flows.py", "--workflow", "fail")
    assert "has no workflow 'fail'; did you mean 'failing'?" in result.stderr


def test_the_engine_of_a_file_brings_its_store(invoke: Invoke, folder: Path):
    assert invoke("run", "shop.py").exit_code == 1
    assert (folder / "shop.db").exists()
    assert not (folder / ".gorkflow").exists()


@pytest.mark.parametrize("target", ["ids.py:nightly-report", "ids:nightly-report"])
def test_a_workflow_is_found_by_its_id(invoke: Invoke, target: str):
    result = invoke("run", target, "--store", "runs.db")
    assert result.exit_code == 0, result.stderr
    assert "nightly-report" in invoke("runs", "list", "--store", "runs.db").stdout


def test_a_misspelt_id_of_a_workflow_is_named(invoke: Invoke):
    result = invoke("run", "ids.py:nightly-reprot")
    assert "did you mean 'nightly-report'?" in result.stderr
