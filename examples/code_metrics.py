"""Measure the Python code of a folder, in processes: in threads, the GIL would be in the way.

    python examples/code_metrics.py src

The files are divided into four branches of about the same size. Each branch parses its share in a
process, which is killed at its timeout. A last step adds up the results.

Each process imports this file, too. So the workflow runs under `if __name__ == ...`.
"""

import argparse
import ast
import heapq
import io
import tokenize
from pathlib import Path

from pydantic import BaseModel

from gorkflow import Workflow, run, step

SHARES = 4
SHOWN = 10
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.BoolOp, ast.IfExp,
            ast.comprehension, ast.match_case)  # fmt: skip


class Code(BaseModel):
    """The code to measure."""

    folder: str


class Function(BaseModel):
    """A function, and its number of paths."""

    name: str
    file: str
    line: int
    complexity: int


class Metrics(BaseModel):
    """The result for some files."""

    files: int = 0
    lines: int = 0
    tokens: int = 0
    comments: int = 0
    functions: int = 0
    most_complex: list[Function] = []
    unreadable: list[str] = []


@step
def deal(code: Code) -> list[list[str]]:
    """Give each file to the branch that has least, the largest file first."""
    sizes = sorted(
        ((path.stat().st_size, str(path)) for path in Path(code.folder).rglob("*.py")), reverse=True
    )
    hands: list[tuple[int, int, list[str]]] = [(0, number, []) for number in range(SHARES)]
    for size, path in sizes:
        total, number, paths = heapq.heappop(hands)
        heapq.heappush(hands, (total + size, number, [*paths, path]))
    return [paths for _, _, paths in sorted(hands, key=lambda hand: hand[1])]


@step(executor="process", timeout=600)
def measure(hands: list[list[str]], share: int = 0) -> Metrics:
    """Parse the files of one branch."""
    found = Metrics()
    for path in hands[share]:
        try:
            _measure(path, found)
        except (OSError, SyntaxError, ValueError, tokenize.TokenError, RecursionError) as error:
            found.unreadable.append(f"{path}: {type(error).__name__}")
    found.most_complex = _most_complex(found.most_complex)
    return found


def _measure(path: str, found: Metrics) -> None:
    with tokenize.open(path) as file:
        text = file.read()
    tree = ast.parse(text, path)
    tokens = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
    functions = [
        Function(
            name=node.name,
            file=path,
            line=node.lineno,
            complexity=1 + sum(isinstance(inner, BRANCHES) for inner in ast.walk(node)),
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found.files += 1
    found.lines += text.count("\n")
    found.tokens += len(tokens)
    found.comments += tokens.count(tokenize.COMMENT)
    found.functions += len(functions)
    found.most_complex += functions


def _most_complex(functions: list[Function]) -> list[Function]:
    return heapq.nsmallest(SHOWN, functions, key=lambda f: (-f.complexity, f.file, f.line))


@step
def add_up(parts: tuple[Metrics, Metrics, Metrics, Metrics]) -> Metrics:
    """Add up the results of the branches."""
    return Metrics(
        files=sum(part.files for part in parts),
        lines=sum(part.lines for part in parts),
        tokens=sum(part.tokens for part in parts),
        comments=sum(part.comments for part in parts),
        functions=sum(part.functions for part in parts),
        most_complex=_most_complex([f for part in parts for f in part.most_complex]),
        unreadable=sorted(path for part in parts for path in part.unreadable),
    )


code_metrics = (
    Workflow("code-metrics", input=Code)
    .then(deal)
    .parallel(
        measure.bind("measure-0", share=0),
        measure.bind("measure-1", share=1),
        measure.bind("measure-2", share=2),
        measure.bind("measure-3", share=3),
    )
    .then(add_up)
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    found = run(code_metrics, Code(folder=parser.parse_args().folder))
    print(f"{found.files} files, {found.lines:,} lines, {found.functions:,} functions")
    for function in found.most_complex:
        print(f"{function.complexity:4}  {function.name}  {function.file}:{function.line}")
    for path in found.unreadable:
        print(f"unreadable: {path}")


if __name__ == "__main__":
    main()
