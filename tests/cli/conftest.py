import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gorkflow.cli._app import cli
from tests.cli.tools import folder_with_flows

Invoke = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `flows.py` and no store."""
    return folder_with_flows(tmp_path)


@pytest.fixture
def invoke(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Invoke the command in this process, inside the folder."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GORKFLOW_STORE", raising=False)
    monkeypatch.delenv("GORKFLOW_DEBUG", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)

    def invoke(*args: str, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, args, input=stdin)
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        return result

    return invoke
