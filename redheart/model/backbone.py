"""The trunk that all modules read: an interface, and a Transformer encoder behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from redheart.encoding.batch import Batch
from redheart.recipe.model_options import BackboneSize

ROTARY_BASE = 10_000.0


class Features(NamedTuple):
    """The features that a backbone computes for a batch of texts."""

    tokens: Tensor
    """Features of each token, (batch, tokens, dimension); undefined where the mask is False."""
    pooled: Tensor
    """Features of each text, (batch, dimension)."""

    def detach(self) -> Features:
        """Return the same features, cut off from the graph."""
        return Features(self.tokens.detach(), self.pooled.detach())


class Backbone(nn.Module, ABC):
    """The interface of a trunk."""

    dimension: int
    """Width of the features."""
    depth: int
    """Number of layers that the layer-wise decay of the learning rate counts; 1 or more."""

    @abstractmethod
    def forward(self, batch: Batch) -> Features:
        """Return the features of a batch of texts."""

    def recompute_activations(self) -> None:
        """Keep only the input of each layer; the backward pass computes the rest again.

        No number changes: dropout draws the same masks again. A trunk without layers has nothing
        to save.
        """

    @abstractmethod
    def depth_of(self, parameter_name: str) -> int:
        """Return the layer of a parameter, 0 (input) to depth - 1, by its name in the backbone."""


class TransformerBackbone(Backbone):
    """Pre-norm Transformer encoder with rotary positions and masked mean pooling.

    Texts are padded on the right; padding changes no result. Each text has at least one token.
    """

    rotation: Tensor

    def __init__(self, size: BackboneSize, vocab_size: int, max_tokens: int, dropout: float):
        super().__init__()
        self.dimension = size.dimension
        self.depth = size.layers
        self.embedding = nn.Embedding(vocab_size, size.dimension)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.dropout = TextDropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(size, dropout) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.dimension)
        # The table is a constant, so it is not part of the state.
        rotation = rotation_table(max_tokens, size.dimension // size.attention_heads)
        self.register_buffer("rotation", rotation, persistent=False)
        self.recomputes = False

    def recompute_activations(self) -> None:
        """Keep only the input of each layer (Chen et al. 2016, arXiv 1604.06174)."""
        self.recomputes = True

    def forward(self, batch: Batch) -> Features:
        """Encode the token ids of a batch.

        Raises
        ------
        ValueError
            The batch is longer than `max_tokens`.
        """
        length = batch.ids.shape[1]
        if length > len(self.rotation):
            raise ValueError(f"{length} tokens in a text; the model reads {len(self.rotation)}")
        rotation = self.rotation[:length]
        visible = None if batch.full else batch.mask[:, None, None, :]
        x = self.dropout(self.embedding(batch.ids))
        for layer in self.layers:
            if self.recomputes and torch.is_grad_enabled():
                x = checkpoint(layer, x, visible, rotation, use_reentrant=False)
            else:
                x = layer(x, visible, rotation)
        tokens = self.norm(x)
        return Features(tokens, masked_mean(tokens, batch.mask))

    def depth_of(self, parameter_name: str) -> int:
        """Return the layer of a parameter: the embedding counts as 0, the final norm as the last.

        Raises
        ------
        ValueError
            The backbone has no part of that name.
        """
        part, _, rest = parameter_name.partition(".")
        if part == "embedding":
            return 0
        if part == "layers":
            return int(rest.partition(".")[0])
        if part == "norm":
            return self.depth - 1
        raise ValueError(f"the backbone has no parameter '{parameter_name}'")


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward block; both are residual and normalise their input."""

    def __init__(self, size: BackboneSize, dropout: float):
        super().__init__()
        self.heads = size.attention_heads
        self.norm = nn.LayerNorm(size.dimension)
        self.query_key_value = nn.Linear(size.dimension, 3 * size.dimension)
        self.output = nn.Linear(size.dimension, size.dimension)
        self.dropout = TextDropout(dropout)
        self.feedforward = FeedForward(size.dimension, size.feedforward, dropout)

    def forward(self, x: Tensor, visible: Tensor | None, rotation: Tensor) -> Tensor:
        """Return features of the same shape, (batch, tokens, dimension)."""
        projected = self.query_key_value(self.norm(x)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in projected)
        query, key = rotate(query, rotation), rotate(key, rotation)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=visible
        )
        x = x + self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        return self.feedforward(x)


class FeedForward(nn.Module):
    """A residual block: normalise, widen, GELU, narrow, add."""

    def __init__(self, dimension: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(dimension)
        self.widen = nn.Linear(dimension, hidden)
        self.narrow = nn.Linear(hidden, dimension)
        self.dropout = TextDropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape, (..., dimension)."""
        return x + self.dropout(self.narrow(F.gelu(self.widen(self.norm(x)))))


class TextDropout(nn.Module):
    """Dropout with one mask a text, the same at all of its tokens.

    Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
    networks" (2016). Independent masks would cancel out in the mean over the tokens. To draw them
    would also take a quarter of a small network's time on a CPU.
    """

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape, (batch, dimension) or (batch, tokens, dimension)."""
        if not self.training:
            return x
        ones = x.new_ones(x.shape[0], *(1,) * (x.dim() - 2), x.shape[-1])
        return x * F.dropout(ones, self.probability)


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average the features of each text's tokens: (batch, tokens, d) to (batch, d)."""
    shares = mask / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (shares.to(tokens.dtype)[:, None] @ tokens).squeeze(1)


def rotation_table(length: int, width: int) -> Tensor:
    """Return cosine and sine of the rotary angles, (length, width / 2, 2).

    Su et al., "RoFormer" (2021), equation 15; `width` is even.
    """
    frequencies = ROTARY_BASE ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate pairs of features by their tokens' angles; `x` is (batch, tokens, heads, width)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    turned = pairs * torch.view_as_complex(rotation)[:, None]
    return torch.view_as_real(turned).flatten(-2).type_as(x)
