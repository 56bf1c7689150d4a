"""Neural and advanced analyzers: a second and a third opinion on a task, from the tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from redheart.model.backbone import Features
from redheart.model.heads import ResidualMLP
from redheart.recipe.model_options import QuerySize, StackSize


class NeuralAnalyzer(nn.Module):
    """Attention pooling over the tokens beside the pooled features, then a residual perceptron."""

    def __init__(self, dimension: int, size: StackSize, outputs: int, dropout: float):
        super().__init__()
        self.score = nn.Linear(dimension, 1, bias=False)
        self.perceptron = ResidualMLP(2 * dimension, size, outputs, dropout)

    def forward(self, features: Features, mask: Tensor) -> Tensor:
        """Return the contribution to the task, (batch, outputs)."""
        scores = self.score(features.tokens).squeeze(-1)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=1).to(features.tokens.dtype)
        attended = (weights[:, None] @ features.tokens).squeeze(1)
        return self.perceptron(torch.cat((features.pooled, attended), dim=-1))


class AdvancedAnalyzer(nn.Module):
    """Learned queries that attend to transformed tokens, then a residual perceptron.

    Lee et al., "Set Transformer" (2019), section 3.2. Keys and values have no projections:
    beside learned queries and a linear layer, projections would add nothing.
    """

    def __init__(self, dimension: int, size: QuerySize, outputs: int, dropout: float):
        super().__init__()
        self.transform = nn.Linear(dimension, size.width)
        self.queries = nn.Parameter(torch.empty(size.queries, size.width))
        nn.init.normal_(self.queries)
        inputs = size.queries * size.width
        self.perceptron = ResidualMLP(inputs, size.perceptron, outputs, dropout)

    def forward(self, features: Features, mask: Tensor) -> Tensor:
        """Return the contribution to the task, (batch, outputs)."""
        tokens = F.gelu(self.transform(features.tokens))
        queries = self.queries.type_as(tokens).expand(len(tokens), -1, -1)
        mixed = F.scaled_dot_product_attention(queries, tokens, tokens, attn_mask=mask[:, None, :])
        return self.perceptron(mixed.flatten(1))
