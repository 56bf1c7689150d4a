"""Errors that are meant for users: a clear line instead of a traceback."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

# Lowest similarity, 0 to 1, at which a message offers a valid name in place of an unknown one. One
# half finds `epochs` for `epochs_between`. Below it, the offer is more often wrong than right.
SIMILAR = 0.5


class UserError(Exception):
    """A mistake that the user can mend; the message says what is wrong, where, and what to do."""


def nearest(word: Any, names: Iterable[Any]) -> str | None:
    """Return the valid name that is most like an unknown word, or None where no name is like it."""
    spelled = {_folded(name): str(name) for name in reversed(list(names))}
    matches = difflib.get_close_matches(_folded(word), spelled, n=1, cutoff=SIMILAR)
    return spelled[matches[0]] if matches else None


def _folded(name: Any) -> str:
    """Return a name as it is compared: upper case and NFD make no name unlike another."""
    return unicodedata.normalize("NFC", str(name)).casefold()


def did_you_mean(word: Any, names: Iterable[Any], all_of_them: str = "valid") -> str:
    """Return the end of a message about an unknown word: the nearest valid name, or all names.

    Parameters
    ----------
    all_of_them
        What the message calls the valid names where it lists them all.
    """
    texts = [str(name) for name in names]
    match = nearest(word, texts)
    if match:
        return f"; did you mean '{match}'?"
    return f"; {all_of_them}: {', '.join(texts)}" if texts else ""


@contextmanager
def explained() -> Iterator[None]:
    """Turn an out-of-memory error of the block inside into a message that says what to change.

    Raises
    ------
    UserError
        The block ran out of main memory, or of the memory of a GPU.
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
    # The error is recognised by names, so that torch need not be imported. Three sources have no
    # class for it: torch on a CPU, CUDA outside of torch's allocator, and NCCL, which takes memory
    # of its own.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in ("DefaultCPUAllocator", "out of memory"))
    )
