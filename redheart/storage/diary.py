"""Diaries: files of JSON Lines that only grow, and of which no damaged line blocks anything."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from redheart.errors import UserError
from redheart.shapes import Shape, has_shape
from redheart.storage import files

# A message names at most this many damaged lines of a file.
LINES_SHOWN = 5


def append_line(path: str | Path, line: Any) -> None:
    """Append `line` as JSON to a diary, a file that only grows.

    Raises
    ------
    UserError
        The folder takes no file, or the disk is full.
    """
    path = Path(path)
    with files.writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as stream:
            text = json.dumps(line, ensure_ascii=False) + "\n"
            # A line that a crash cut short must not swallow this one.
            stream.write(b"" if _ends_whole(stream) else b"\n")
            stream.write(text.encode("utf-8"))


def _ends_whole(stream: IO[bytes]) -> bool:
    if not stream.seek(0, os.SEEK_END):
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"


def read_lines(path: str | Path, shape: Shape = dict) -> list[Any]:
    """Return the lines of a diary that have a shape; the others are named on stderr.

    Nothing else happens to damaged lines: a diary tells what was done, and blocks nothing.
    """
    try:
        lines = numbered_lines(path, shape)
    except UserError as error:
        print(f"warning: {error}; it counts as empty", file=sys.stderr)
        return []
    if damaged := [number for number, line in lines if line is None]:
        print(
            f"warning: {path}: damaged at {named_lines(damaged)}; what stands there is passed over "
            "and kept; mend it, or take it out to be told no more",
            file=sys.stderr,
        )
    return [line for _, line in lines if line is not None]


def numbered_lines(path: str | Path, shape: Shape) -> list[tuple[int, Any]]:
    """Return the number and the value of each line of a diary; None where it has not the shape.

    Raises
    ------
    UserError
        The file is there and cannot be read.
    """
    try:
        content = Path(path).read_bytes() if Path(path).exists() else b""
    except OSError as error:
        raise files.unreadable(path, error) from None
    numbered = [(n, text) for n, text in enumerate(content.split(b"\n"), 1) if text.strip()]
    return [(number, _parsed(text, shape)) for number, text in numbered]


def _parsed(text: bytes, shape: Shape) -> Any:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if has_shape(value, shape) else None


def named_lines(numbers: Sequence[int]) -> str:
    """Return a few words that name lines of a file."""
    shown = ", ".join(map(str, numbers[:LINES_SHOWN]))
    more = f" and {len(numbers) - LINES_SHOWN:,} more" if len(numbers) > LINES_SHOWN else ""
    return f"line {shown}{more}" if len(numbers) == 1 else f"lines {shown}{more}"
