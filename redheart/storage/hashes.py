"""The hashes of files, remembered with what the file system says of them.

A file whose size, times and inode are as they were has the content that it had, and is not read
again. An edit that puts the time of the last change back still moves the inode's own time (ctime),
which no program can set.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redheart.errors import UserError
from redheart.storage import files


class Stamp(NamedTuple):
    """What the file system says of a file."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Remembered(NamedTuple):
    """The hash of a file, and the stamp that the file had when it was hashed."""

    sha256: str
    stamp: Stamp


class Hashes:
    """SHA-256 of files by path, as it is given. It is a cache: to lose its file costs only time."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Open the cache of a path; without one, every file is read."""
        self.path = path and Path(path)
        self._known = _read(self.path) if self.path else {}
        self._new: set[str] = set()

    def of(self, path: str | Path) -> str:
        """Return the hash of a file; the file is read only if its stamp is another one.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        known, present = self._known.get(os.path.normpath(path)), stamp(path)
        if known and known.stamp == present:
            return known.sha256
        sha256 = files.sha256_file(path)
        self._remember(path, Remembered(sha256, present))
        return sha256

    def time_of(self, path: str | Path, sha256: str) -> int | None:
        """Return the time stamp, in ns, that a file with this hash had; None: that is unknown."""
        known = self._known.get(os.path.normpath(path))
        return known.stamp.mtime_ns if known and known.sha256 == sha256 else None

    def set_time(self, path: str | Path, mtime_ns: int) -> None:
        """Set the time stamp of a file, and remember the file under its new stamp."""
        sha256 = self.of(path)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        self._remember(path, Remembered(sha256, stamp(path)))

    def save(self) -> None:
        """Write down what is new, beside what other processes have written meanwhile."""
        if not (self.path and self._new):
            return
        known = {**_read(self.path), **{place: self._known[place] for place in self._new}}
        rows = {
            place: [sha256, *present]
            for place, (sha256, present) in known.items()
            if os.path.exists(place)
        }
        files.write_text(self.path, files.canonical(rows))
        self._new.clear()

    def _remember(self, path: str | Path, entry: Remembered) -> None:
        place = os.path.normpath(path)
        self._known[place] = entry
        self._new.add(place)


def stamp(path: str | Path) -> Stamp:
    """Return the present stamp of a file."""
    status = os.stat(path)
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _read(path: Path) -> dict[str, Remembered]:
    """Return the content of a cache; nothing where its file is missing or damaged."""
    try:
        content = files.read_json(path)
        return {place: _remembered(row) for place, row in content.items()}
    except (UserError, OSError, AttributeError, TypeError, ValueError, RecursionError):
        return {}


def _remembered(row: Sequence[Any]) -> Remembered:
    sha256, *numbers = row
    return Remembered(str(sha256), Stamp(*map(int, numbers)))
