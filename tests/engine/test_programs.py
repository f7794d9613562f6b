"""Programs whose own steps run in processes: started as users start them."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys

from pydantic import BaseModel

from gorkflow import RetryPolicy, StepContext, Workflow, run, step


class Order(BaseModel):
    id: int


class BusyError(Exception):
    pass


print("imported as", __name__, file=sys.stderr)
calls = 0


once_more = RetryPolicy(retries=1, initial_interval=0.01, retry_on=(BusyError,))


@step(executor="process", retries=once_more)
def charge(ctx: StepContext, order: Order) -> Order:
    global calls
    calls += 1
    if ctx.attempt == 1:
        raise BusyError("try again")
    return Order(id=order.id + calls)


workflow = Workflow("charging", input=Order).then(charge)

if __name__ == "__main__":
    print(run(workflow, Order(id=5), store="memory:"))
"""
ASYNC = PROGRAM.replace(
    '    print(run(workflow, Order(id=5), store="memory:"))',
    """    import asyncio
    from gorkflow import Engine
    async def main():
        async with Engine("memory:") as engine:
            print(await engine.run(workflow, Order(id=5)))
    asyncio.run(main())""",
)


def python(
    folder: Path, *arguments: str, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("job.py", ["job.py"]),
        ("my-job.py", ["my-job.py"]),
        ("script", ["script"]),
        ("job.py", ["-m", "job"]),
        ("pkg/job.py", ["-m", "pkg.job"]),
        ("pkg/job.py", ["pkg/job.py"]),
        ("pkg/__main__.py", ["-m", "pkg"]),
        ("app/__main__.py", ["app"]),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(given),
)
def test_steps_of_the_program_itself_run_in_processes(
    tmp_path: Path, file: str, arguments: list[str]
) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(PROGRAM)
    done = python(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "id=7\n"
    # Once as the program, and once in the process, which keeps what its module holds.
    said = [line for line in done.stderr.splitlines() if line.startswith("imported")]
    assert said == ["imported as __main__", "imported as __mp_main__"]


def test_a_program_of_a_package_imports_from_it(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "prices.py").write_text("FEE = 1\n")
    (package / "job.py").write_text(
        PROGRAM.replace("import sys\n", "import sys\nfrom .prices import FEE\n", 1)
    )
    done = python(tmp_path, "-m", "pkg.job")
    assert done.stdout == "id=7\n", done.stderr


def test_a_program_with_its_own_event_loop(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(ASYNC)
    done = python(tmp_path, "job.py")
    assert done.stdout == "id=7\n", done.stderr


@pytest.mark.parametrize("program", [PROGRAM, ASYNC], ids=["run", "Engine"])
def test_a_program_without_a_guard_says_so_and_starts_no_more(tmp_path: Path, program: str) -> None:
    (tmp_path / "job.py").write_text(program.replace('if __name__ == "__main__":', "if True:"))
    done = python(tmp_path, "job.py")
    assert done.returncode == 1
    assert "opens an engine while it is imported" in done.stderr
    assert 'write `if __name__ == "__main__":` above what runs the workflow' in done.stderr
    assert done.stderr.count("imported as __mp_main__") == 1


@pytest.mark.parametrize("arguments", [["-"], ["-c", PROGRAM]], ids=["stdin", "-c"])
def test_what_is_in_no_file_is_refused_with_what_to_do(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = python(tmp_path, *arguments, given=PROGRAM)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "what is defined in a notebook or shell, or comes from stdin, is in no file" in last
    assert "such as my_steps.py, and import it from there" in last
    assert "did you mean" not in last


def test_a_misspelt_executor_is_named_first(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(PROGRAM.replace('"process"', '"procces"'))
    done = python(tmp_path, "job.py")
    assert "step 'charge': did you mean 'process'?" in done.stderr.splitlines()[-1]


def test_what_fails_while_it_is_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        PROGRAM.replace("calls = 0", "calls = 0 if __name__ == '__main__' else 1 / 0")
    )
    done = python(tmp_path, "job.py")
    assert "can't import the program: division by zero" in done.stderr
