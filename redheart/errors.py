"""Errors that are meant for users: a clear line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# How alike two names must be, 0 to 1, for one to be offered in place of the other. Half finds
# `epochs` for `epochs_between`; what is less alike is more often wrong than right.
SIMILAR = 0.5


class UserError(Exception):
    """Something that the user can mend; the message says what, where and what to do."""


def nearest(word: Any, known: Iterable[Any]) -> str | None:
    """Return the known name that is most like an unknown one, or None where none is like it."""
    near = difflib.get_close_matches(str(word), map(str, known), n=1, cutoff=SIMILAR)
    return near[0] if near else None


def did_you_mean(word: Any, known: Iterable[Any], all_of_them: str = "valid") -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all.

    Parameters
    ----------
    all_of_them
        What the known names are called where all are listed.
    """
    names = [str(name) for name in known]
    near = nearest(word, names)
    if near:
        return f"; did you mean '{near}'?"
    return f"; {all_of_them}: {', '.join(names)}" if names else ""


@contextmanager
def explained() -> Iterator[None]:
    """Say what to change where what is done inside runs out of memory.

    Raises
    ------
    UserError
        It did, in main memory or on a GPU.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"out of memory ({first}); lower train.batch_size and raise train.grad_accumulation as "
            "much, lower train.max_tokens, or choose a smaller model.preset; what was saved before "
            "stands"
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    # By names, since torch need not be imported; on a CPU it has no class for that, and neither has
    # CUDA beside torch's allocator, nor NCCL, which takes memory of its own.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in ("DefaultCPUAllocator", "out of memory"))
    )
