"""Children forked from a warm parent: what one kill costs is a fork, not a fresh interpreter.

The parent imports everything once and never starts a thread or an event loop; a child makes its own
engine after the fork. It is a process of its own, because the one that runs pytest has threads.
"""

import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[2]
PATIENCE = 40.0  # seconds until a child that does not end is taken for hung


class ForkServer:
    """Forks children that call ``module:function(**arguments)`` and exit with what it returns.

    Args:
        log: the file that takes what the children say on stderr.
    """

    def __init__(self, log: Path) -> None:
        self.log = log

    def __enter__(self) -> Self:
        paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.forkserver"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                cwd=self.log.parent,
                bufsize=0,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE)

    def fork(self, target: str, **arguments: Any) -> int:
        """Return the process id of a child that is at work."""
        return self._ask(target=target, arguments=arguments)

    def wait(self, pid: int, *, patience: float = PATIENCE) -> int:
        """Wait until a child has ended; return its exit code, negative for a signal.

        Raises:
            AssertionError: it did not end; it is killed.
        """
        self._send(wait=pid)
        answer = self._answer(patience)
        if answer is None:
            os.kill(pid, signal.SIGUSR1)  # it writes to the log where it hangs
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            self._answer(PATIENCE)
            raise AssertionError(f"the child did not end within {patience} s\n{self.tail()}")
        return answer

    def call(self, target: str, **arguments: Any) -> None:
        """Let a child do something to its end.

        Raises:
            AssertionError: it failed.
        """
        code = self.wait(self.fork(target, **arguments))
        assert code == 0, f"{target} ended with {code}\n{self.tail()}"

    def kill(self, pid: int) -> bool:
        """Kill a child; return whether it was still alive."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid) == -signal.SIGKILL

    def tail(self) -> str:
        """Return the end of what the children said."""
        return self.log.read_text(errors="replace")[-6_000:]

    def _ask(self, **request: Any) -> int:
        self._send(**request)
        answer = self._answer(PATIENCE)
        assert answer is not None, f"the fork server hangs\n{self.tail()}"
        return answer

    def _send(self, **request: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def _answer(self, patience: float) -> int | None:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], patience)
        if not ready:
            return None
        line = self._process.stdout.readline()
        assert line, f"the fork server died\n{self.tail()}"
        return int(line)


def eventually(condition: Any, what: str, *, patience: float = 20.0) -> Any:
    """Return what a condition gives, as soon as that is true."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.002)
    return found


def main() -> None:
    importlib.import_module("tests.faults.session").warm_up()
    faulthandler.register(signal.SIGUSR1)
    gc.collect()
    gc.freeze()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = _fork(request["target"], request["arguments"])
        os.write(1, b"%d\n" % answer)


def _fork(target: str, arguments: dict[str, Any]) -> int:
    assert threading.active_count() == 1, threading.enumerate()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.close(0)
        os.close(1)
        os.open(os.devnull, os.O_RDONLY)
        os.dup2(2, 1)
        module, _, function = target.partition(":")
        code = getattr(importlib.import_module(module), function)(**arguments) or 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
