"""The files of a database: where they may be, and the locks beside them.

``flock``, never ``lockf``: the system frees it when the process dies, and it separates two stores
of one process, too. A forked child would inherit and so prolong the locks of its parent; it
therefore closes them first of all.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote
from weakref import WeakSet

from gorkflow.errors import StoreError, StoreUnavailableError
from gorkflow.stores._lane import WouldWait

try:
    import fcntl
except ImportError:  # Windows: one process per file, and only the lease tells who is alive
    fcntl = None  # type: ignore[assignment]

HOME = ".gorkflow"
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ncpfs|ceph|glusterfs|lustre|beegfs"
    r"|fuse\.(sshfs|ceph|glusterfs|s3fs|rclone|davfs|gcsfuse|nfs)"
)
_MOUNTS = Path("/proc/self/mounts")
_BOOT = Path("/proc/sys/kernel/random/boot_id")

_MODE = 0o600
_GRACE = 1.0
"""Seconds within which a process that only looks whether a lock is held releases it again."""


def resolve(path: str) -> Path:
    """Return the one true name of the file, so that every process finds the same lock beside it.

    Raises:
        StoreUnavailableError: If there is no folder to put it in, or it is on a network disk.
    """
    try:
        real = Path(os.path.realpath(path))
        _make_home(real.parent)
        if not real.parent.is_dir():
            raise StoreUnavailableError(
                f"the store {path!r} can't be opened: "
                f"{str(real.parent)!r} is not a folder; create it"
            )
        if real.is_dir():
            raise StoreUnavailableError(
                f"the store {path!r} can't be opened: it is a folder; name a file in it"
            )
    except (OSError, ValueError) as error:
        raise StoreUnavailableError(f"the store {path!r} can't be opened: {error}") from error
    kind = network_disk(real)
    if kind:
        raise StoreUnavailableError(
            f"the store {path!r} is on a network file system ({kind}), where locks don't protect "
            "it from damage; put it on a local disk, or use PostgreSQL between machines"
        )
    return real


def _make_home(folder: Path) -> None:
    """Make the default folder, private and unknown to git. Any other is the user's to make."""
    if folder.name != HOME or folder.exists() or not folder.parent.is_dir():
        return
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    sync_names(folder.parent)


def sync_names(folder: Path) -> None:
    """Make what was just made in a folder outlast the loss of power. Not every system can."""
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def create(path: Path) -> None:
    """Make the file, readable by its owner alone; SQLite gives the files beside it the same mode.

    Only where there is none: to open and close an existing database would drop SQLite's locks on it
    elsewhere in this process. POSIX locks belong to the process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return


def network_disk(path: Path, mounts: str | None = None) -> str | None:
    """Return the type of the network file system that holds the path; ``None``: none known of."""
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    place, kind = "", ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        # The system writes blanks in a mount point as \040.
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), parts[1])
        # Of several mounts on one place the last one counts.
        if len(point) >= len(place) and path.is_relative_to(point):
            place, kind = point, parts[2]
    return kind if _NETWORK.fullmatch(kind) else None


def machine() -> str:
    """Return the mark of this machine: its name, and this boot of its kernel if known."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".strip()


def same_machine(a: str, b: str) -> bool:
    """Whether locks taken on one are seen on the other: same name, or containers of one kernel."""
    return not set(a.split()).isdisjoint(b.split())


class _Handle:
    """An open lock file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
        _handles.add(self)

    def try_lock(self) -> bool:
        if fcntl is None:
            return True
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock(self) -> None:
        if fcntl is not None:
            fcntl.flock(self.fd, fcntl.LOCK_EX)

    def unlock(self) -> None:
        if fcntl is not None:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Release it. Harmless twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            _handles.discard(self)
            os.close(fd)


_handles: WeakSet[_Handle] = WeakSet()


def _close_in_child() -> None:
    for handle in list(_handles):
        handle.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


class WriteLock:
    """The turn to write, among the processes that share a database.

    Waiting in line here is fair and wakes at once; SQLite's own way of waiting is to sleep and ask
    again, which leaves some writers out for long.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = _Handle(path)

    @contextmanager
    def held(self, timeout: float | None) -> Generator[None, None, None]:
        """Hold the lock.

        Args:
            timeout: seconds to wait for it; ``None``: don't wait.

        Raises:
            StoreUnavailableError: If it did not become free in time.
            WouldWait: If it is not free, and there is no ``timeout``.
        """
        if not self._handle.try_lock():
            if timeout is None:
                raise WouldWait
            self._wait(timeout)
        try:
            yield
        finally:
            self._handle.unlock()

    def _wait(self, timeout: float) -> None:
        """Wait in a thread, since nothing else bounds how long ``flock`` may block."""
        handle = self._handle
        decided = threading.Lock()
        locked = threading.Event()

        def wait() -> None:
            handle.lock()
            if decided.acquire(blocking=False):
                locked.set()
            else:
                handle.close()

        threading.Thread(target=wait, name="gorkflow-sqlite-lock", daemon=True).start()
        if locked.wait(timeout) or not decided.acquire(blocking=False):
            return
        # The thread still waits and will close its handle; go on with another one.
        self._handle = _Handle(self._path)
        raise StoreUnavailableError(
            f"another process has held {str(self._path)!r} for {timeout:g} s, so nothing could be "
            "written; end it if it hangs"
        )

    def close(self) -> None:
        """Close the file."""
        self._handle.close()


class WorkerLocks:
    """One file per worker, locked for as long as its process lives."""

    def __init__(self, folder: Path) -> None:
        self.machine = machine()
        """The machine on which these locks show who lives."""
        self._folder = folder
        self._held: dict[str, _Handle] = {}

    def _file(self, worker_id: str) -> Path:
        return self._folder / f"{quote(worker_id, safe='')}.lock"

    def take(self, worker_id: str) -> bool:
        """Lock the worker's file until ``drop``, or the death of this process.

        Returns:
            False: this process had locked it before.

        Raises:
            StoreError: If a living process has registered a worker of this id.
        """
        if worker_id in self._held:
            return False
        self._folder.mkdir(mode=0o700, exist_ok=True)
        handle = _Handle(self._file(worker_id))
        if not handle.try_lock() and not _retry(handle):
            handle.close()
            raise StoreError(
                f"the worker id {worker_id!r} is taken by a living process; give each its own"
            )
        self._held[worker_id] = handle
        return True

    def drop(self, worker_id: str) -> None:
        """Free the worker's file and remove it."""
        handle = self._held.pop(worker_id, None)
        if handle is not None:
            handle.path.unlink(missing_ok=True)
            handle.close()

    def sees(self, where: str) -> bool:
        """Whether the locks of this machine are seen here."""
        return same_machine(where, self.machine)

    def is_held(self, worker_id: str) -> bool:
        """Whether a living process, this one or another, holds the worker's lock."""
        if fcntl is None or worker_id in self._held:
            return True
        try:
            fd = os.open(self._file(worker_id), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def is_seen(self, worker_id: str) -> bool:
        """Whether it is certain that the worker's process lives."""
        return worker_id in self._held or (fcntl is not None and self.is_held(worker_id))

    def sweep(self) -> None:
        """Remove the files that no process holds. Hold the write lock, as in ``take``."""
        if fcntl is None or not self._folder.is_dir():
            return
        for path in self._folder.glob("*.lock"):
            handle = _Handle(path)
            if handle.try_lock():
                path.unlink(missing_ok=True)
            handle.close()

    def close(self) -> None:
        """Free every lock of this store."""
        for worker_id in list(self._held):
            self.drop(worker_id)


def _retry(handle: _Handle) -> bool:
    """Wait for those who only look to be gone. Returns whether the lock was taken."""
    pause = threading.Event()
    for _ in range(100):
        pause.wait(_GRACE / 100)
        if handle.try_lock():
            return True
    return False
