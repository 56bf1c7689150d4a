"""Task heads: a residual perceptron on the features of a whole text."""

from __future__ import annotations

from torch import Tensor, nn

from redheart.model.backbone import FeedForward
from redheart.recipe.model_options import StackSize


class ResidualMLP(nn.Module):
    """Project, refine in residual blocks, read out.

    A task's head is one, on pooled features. The analyzers and the signal chain end in one.
    """

    def __init__(self, inputs: int, size: StackSize, outputs: int, dropout: float):
        super().__init__()
        self.project = nn.Linear(inputs, size.width)
        self.blocks = nn.Sequential(
            *(FeedForward(size.width, 2 * size.width, dropout) for _ in range(size.blocks))
        )
        self.readout = Readout(size.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, or values for a regression: (batch, inputs) to (batch, outputs)."""
        return self.readout(self.blocks(self.project(x)))


class Readout(nn.Module):
    """Normalise and project to outputs that start near 0: no class is favoured at first."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.output = nn.Linear(inputs, outputs)
        nn.init.normal_(self.output.weight, std=0.02)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, inputs) to (batch, outputs)."""
        return self.output(self.norm(x))
