"""What training takes of memory, whether the budget allows it, and what to do where it ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redheart.errors import UserError

# All in float32; the optimizer's are AdamW's two moments.
PARTS = {"weights": 4, "gradients": 4, "optimizer": 8, "average": 4}
BYTES_PER_PARAMETER = sum(PARTS.values())


def check_budget(parameters: int, budget_gb: float) -> None:
    """Refuse a model whose training cannot fit, before more than its weights is allocated.

    Parameters
    ----------
    parameters
        Number of trainable weights.
    budget_gb
        The budget in 10^9 bytes; activations come on top.

    Raises
    ------
    UserError
        The weights and what training keeps beside them exceed the budget.
    """
    needed = parameters * BYTES_PER_PARAMETER / 1e9
    if needed > budget_gb:
        raise UserError(
            f"training {parameters / 1e6:.0f} M parameters takes {needed:.1f} GB before any "
            f"activation, and memory.budget_gb is {budget_gb:g}; choose a smaller model.preset, "
            "or raise the budget if the memory is there"
        )


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
