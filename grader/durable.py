"""Files that are whole or not there, one grader at a time, and words for what a disk or a database says.

A process may be killed, and a disk may be full, between any two lines of this kit.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

NO_ROOM_OR_RIGHT = {
    errno.ENOSPC: "Free the disk",
    errno.EDQUOT: "Free the disk, or ask for a larger quota",
    errno.EFBIG: "Lift the limit on the size of a file (ulimit -f)",
    errno.EACCES: "Mend its rights, or run this as its owner",
    errno.EPERM: "Mend its rights, or run this as its owner",
    errno.EROFS: "The disk is mounted read-only; take another folder",
    errno.EIO: "Look at the disk",
}
DATABASE = {  # what SQLite says, and what to do
    "is locked": "is in use by another program (formgrader, nbgrader, an SQLite browser). Close it",
    "disk is full": "cannot be written, since the disk is full. Free the disk",
    "readonly database": "may not be written. Mend the rights of it and of its folder",
    "unable to open": "cannot be opened. Mend the rights of it and of its folder",
    "disk I/O error": "cannot be read or written. Look at the disk",
    "malformed": "is damaged. Put a copy from your backup in its place",
    "not a database": "is no gradebook. Put a copy from your backup in its place",
}
AGAIN = "then run this again: what was judged stays judged."
LOCK = ".unetlab.lock"


class CourseError(RuntimeError):
    """The course folder or the hand-ins cannot be used: what is wrong and how to mend it."""


@contextlib.contextmanager
def disk(place: Path) -> Iterator[None]:
    """Turn what is wrong with the disk, and not with one hand-in, into a CourseError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM_OR_RIGHT:
            raise
        mend = NO_ROOM_OR_RIGHT[error.errno]
        raise CourseError(f"{place}: cannot be written ({error.strerror}). {mend}; {AGAIN}") from None


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that takes the place of `path` at once, when all of it is on the disk.

    Raises CourseError where the disk is full or may not be written; then `path` is as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    with disk(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            sync(part)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Have a file, or a folder's list of names, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- one grader at a time ----

_held: dict[Path, tuple[int, int]] = {}  # course → the lock's descriptor, and how many blocks hold it
_taking = threading.Lock()


@contextlib.contextmanager
def alone_in(course: Path, what: str) -> Iterator[None]:
    """Hold a course for `what`; a process may take it again. Raises CourseError, with who holds it, where another process does.

    The lock is the system's: it ends with the process, however that ends.
    """
    course = Path(course).resolve()
    with _taking:
        descriptor, count = _held.get(course) or (_take(course, what), 0)
        _held[course] = descriptor, count + 1
    try:
        yield
    finally:
        with _taking:
            descriptor, count = _held.pop(course)
            if count > 1:
                _held[course] = descriptor, count - 1
            else:
                os.close(descriptor)


def _take(course: Path, what: str) -> int:
    with disk(course / LOCK):
        course.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(course / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 500, 0).decode(errors="replace").strip() or "another process"
        os.close(descriptor)
        raise CourseError(f"{course}: {holder} is at work here. Wait for its end, or end it; nothing was changed.") from None
    except OSError as error:  # some network file systems have none
        os.close(descriptor)
        raise CourseError(f"{course}: files cannot be locked there ({error.strerror}). Put the course on a local disk.") from None
    holder = f"{what} (process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S})"
    with contextlib.suppress(OSError):  # on a full disk the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
    return descriptor


# ---- the gradebook ----


def check_database(path: Path, seconds: float = 10.0) -> None:
    """CourseError unless the gradebook could be written to now; another program's lock is waited for."""
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=seconds, isolation_level=None)) as book:
            book.execute("begin immediate")
            book.execute("pragma user_version = 0")  # SQLite's own default: on a read-only file only a write is refused
            book.execute("rollback")
    except sqlite3.Error as error:
        raise database_fault(path, str(error)) or error from None


def database_fault(path: Path, said: str) -> CourseError | None:
    """What stands behind a database's message, where it is not one hand-in's fault."""
    for words, mend in DATABASE.items():
        if words in said:
            return CourseError(f"{path}: the gradebook {mend}; {AGAIN}")
    return None
