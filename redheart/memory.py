"""What training takes of memory, and whether the budget allows it."""

from __future__ import annotations

from redheart.errors import UserError

# float32 weights, gradients, AdamW's two moments, and the moving average.
BYTES_PER_PARAMETER = 4 + 4 + 8 + 4


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
