"""The files of a database: its folder, and the kind of disk that they are on."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from gorkflow.errors import StoreUnavailableError

HOME = ".gorkflow"
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ncpfs|ceph|glusterfs|lustre|beegfs"
    r"|fuse\.(sshfs|ceph|glusterfs|s3fs|rclone|davfs|gcsfuse|nfs)"
)
_MOUNTS = Path("/proc/self/mounts")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


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

    Only where there is none: to open and close an existing database here would drop the locks that
    SQLite holds on it elsewhere in this process (POSIX locks belong to the process).
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
