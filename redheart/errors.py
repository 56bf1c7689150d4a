"""Errors that are meant for users: a clear line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def nearest(word: Any, known: Sequence[Any]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(map(str, known))}"


class UserError(Exception):
    """Something that the user can mend; the message says what, where and what to do."""


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
