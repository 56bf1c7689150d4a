"""The terminal: how a command ends, and what its output can show."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable

# Exit codes, as a shell gives them: 128 and the number of the signal.
INTERRUPTED, PIPE_CLOSED = 130, 141
# Errors that mean no room: on the disk, in the user's quota, or within the limit of a file's size.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return the exit code that it returns.

    As the tools of the system do, a command ends without a word once nobody reads on (`| head -1`)
    or when it is interrupted, with the exit code that a shell gives those tools.
    """
    _open_output()
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return PIPE_CLOSED
    except OSError as error:
        if error.errno not in FULL:
            raise
        _discard_output()
        print(f"error: the output cannot be written ({error.strerror}); make room", file=sys.stderr)
        return 1


def shows_any_text() -> bool:
    """Tell whether standard output takes every character, which only Unicode does."""
    return "utf" in (sys.stdout.encoding or "utf-8").lower()


def escaped(text: str) -> str:
    """Return a text in which no character commands a terminal; lines stay lines."""
    keeps = (c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
    return "".join(keeps)


def write_utf8() -> None:
    """Let standard output be UTF-8 whatever the terminal is, as in files that are read again."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _open_output() -> None:
    """Escape the characters that the output's encoding lacks; a closed output goes nowhere."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_output() -> None:
    """Let the rest of the output go nowhere: Python writes what is left over when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
