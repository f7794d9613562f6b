"""The example measures real code, in processes."""

import ast
import json
import subprocess
import sys
from pathlib import Path

from examples.code_metrics import Code, code_metrics
from gorkflow import run
from tests.project.repository import ROOT

INPUT = ROOT / "src" / "gorkflow" / "machine"


def test_it_measures_our_own_code():
    found = run(code_metrics, Code(folder=str(INPUT)), store="memory:")
    files = list(INPUT.rglob("*.py"))
    trees = [ast.parse(path.read_text()) for path in files]
    functions = [n for t in trees for n in ast.walk(t) if isinstance(n, ast.FunctionDef)]
    assert found.files == len(files)
    assert found.lines == sum(path.read_text().count("\n") for path in files)
    assert found.functions == len(functions)
    assert len(found.most_complex) == 10
    assert found.most_complex[0].complexity >= found.most_complex[-1].complexity > 1
    assert not found.unreadable


def test_what_is_no_python_is_told(tmp_path: Path):
    (tmp_path / "good.py").write_text("def f():\n    return 1\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe\x00")
    found = run(code_metrics, Code(folder=str(tmp_path)), store="memory:")
    assert (found.files, found.functions, len(found.unreadable)) == (1, 1, 2)


def test_it_runs_as_a_program(tmp_path: Path):
    (tmp_path / "good.py").write_text("def f():\n    return 1\n")
    script = ROOT / "examples" / "code_metrics.py"
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.startswith("1 files, 2 lines, 1 functions\n"), done.stderr


def test_the_command_line_finds_its_steps(tmp_path: Path):
    (tmp_path / "good.py").write_text("def f():\n    return 1\n")
    script = ROOT / "examples" / "code_metrics.py"
    command = [sys.executable, "-m", "gorkflow", "run", str(script), "--store", "memory:"]
    given = ["--input", json.dumps({"folder": str(tmp_path)}), "--json"]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"functions": 1' in done.stdout or '"functions":1' in done.stdout
