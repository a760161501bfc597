"""Whether a journal can live at a place at all: asked before anything is made there, so that the answer is clear.

The journal needs a local disk: its processes share memory (SQLite's write-ahead log) and the kernel's locks, and over
a network neither can be trusted.
"""

import os
import re
from pathlib import Path

from ..errors import JournalUnavailable

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "gpfs", "glusterfs", "ocfs2"} | {
    f"fuse.{name}" for name in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "juicefs", "gcsfuse")
}


def check_place(path: Path) -> None:
    """Refuse a place where no journal can be.

    Raises:
        ValueError: It is no file's name.
        JournalUnavailable: The folder or the file cannot be used.
    """
    folder = path.parent
    if path.is_dir():
        raise ValueError(f"path must be that of a file, got the folder '{path}'; meant to be '{path / 'sagas.db'}'?")
    if not folder.is_dir():
        raise _unusable(path, f"there is no folder '{folder}'", "make it first; a mistyped path is not made")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _unusable(
            path,
            f"the folder '{folder}' cannot be written to",
            "a journal keeps files beside it (-wal, -shm, -owners): give this user leave to write there",
        )
    _check_file(path)
    if (kind := filesystem(path)) in _NETWORK:
        raise _unusable(
            path,
            f"'{folder}' is on a network ({kind}), over which neither locks nor shared memory can be trusted",
            "put the journal on a local disk",
        )


def filesystem(path: Path, mounts: str | None = None) -> str | None:
    """The kind of file system that a path is on, as Linux tells it; `None` where nobody says.

    Args:
        path: An absolute path, without symbolic links.
        mounts: What `/proc/self/mountinfo` says; read there by default.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    found, depth = None, 0
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split(" ")[4]).rstrip("/") + "/"
        if f"{path}/".startswith(point) and len(point) >= depth:  # of two at one point, the later one is on top
            found, depth = after.split(" ")[0], len(point)
    return found


def _check_file(path: Path) -> None:
    if not path.exists():
        return
    if not os.access(path, os.R_OK | os.W_OK):
        raise _unusable(path, "the file cannot be read and written", "give this user leave to do both")
    if path.stat().st_size == 0:
        raise _unusable(
            path,
            "the file is empty, which a journal never is, not even a new one",
            "if a journal was there, put back a copy; if none ever was, delete the file, and a new journal is made",
        )


def _unescaped(point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)


def _unusable(path: Path, what: str, advice: str) -> JournalUnavailable:
    return JournalUnavailable("", "", f"no journal can be opened at '{path}': {what}; {advice}")
