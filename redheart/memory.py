"""What to do where memory ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redheart.errors import UserError


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
    # By names, since torch need not be imported; on a CPU it has no class for that.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "DefaultCPUAllocator" in str(error)
    )
