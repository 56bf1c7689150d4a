"""The lexical branch: a linear model on a text's n-grams, which reads no trunk."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LexicalBranch(nn.Module):
    """Weights of n-grams, summed over a text: logistic or ridge regression by gradient descent."""

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, columns: Tensor, values: Tensor) -> Tensor:
        """Return the contribution to the task, (batch, outputs).

        Parameters
        ----------
        columns
            Which n-grams a text holds, int64 (batch, n-grams), in any order.
        values
            Their values, float32 of the same shape; 0 for padding.
        """
        # An EmbeddingBag is ten times as slow in the backward pass on a CPU. Indexing adds up
        # gradients in an order that differs from run to run on several threads.
        weights = self.weight.index_select(0, columns.flatten()).unflatten(0, columns.shape)
        return (weights * values[..., None]).sum(dim=1) + self.bias
