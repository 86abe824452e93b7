"""Folders that appear whole or not at all, and are read without following anybody's links."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_TEMPORARY = ".tmp-"
_TORN_AFTER = 3600.0
"""Seconds after which nobody can be writing a temporary folder any more."""


def put_folder(root: Path, name: str, files: Mapping[str, bytes]) -> None:
    """Writes `root/name` with these files, durably and by one rename; a folder of that name is replaced."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(root)
    try:
        temporary.mkdir()
        for file, data in files.items():
            with open(temporary / file, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
        _sync(temporary)
        drop_folder(root, name)
        os.rename(temporary, root / name)
        _sync(root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def drop_folder(root: Path, name: str) -> None:
    """Deletes `root/name`, if there is one: out of sight by one rename, then file by file."""
    temporary = _temporary(root)
    try:
        os.rename(root / name, temporary)
    except FileNotFoundError:
        return
    shutil.rmtree(temporary, ignore_errors=True)


def sweep_torn(root: Path) -> None:
    """Deletes what killed processes left half written or half deleted."""
    for path in root.glob(f"{_TEMPORARY}*"):
        if path.stat().st_mtime < time.time() - _TORN_AFTER:
            shutil.rmtree(path, ignore_errors=True)


def folder_bytes(path: Path) -> int:
    """Bytes of the files in a folder; 0 if it has just gone."""
    try:
        return sum(file.stat().st_size for file in path.iterdir())
    except FileNotFoundError:
        return 0


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """A descriptor of the folder. Raises OSError; a link is not a folder."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder
    finally:
        os.close(folder)


def read_plain(folder: int, name: str, max_bytes: int) -> bytes:
    """The bytes of a file in an opened folder.

    Raises OSError for what cannot be opened (links never are), ValueError for what is too large or no file.
    """
    # without O_NONBLOCK opening a named pipe would wait for ever
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a plain file")
        if status.st_size > max_bytes:
            raise ValueError(f"{status.st_size} bytes, expected at most {max_bytes}")
        return file.read(max_bytes)


def try_lock(path: Path) -> int | None:
    """Takes a file for this process: a descriptor, to be closed when done with; None: another process, or another call, has it.

    The lock ends with the process, however that ends. Raises OSError where the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _temporary(root: Path) -> Path:
    return root / f"{_TEMPORARY}{uuid.uuid4().hex}"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
