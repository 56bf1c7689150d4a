"""A small problem on which optimizers are compared."""

from __future__ import annotations

import torch
from torch import nn


def problem(seed=0):
    """Two groups of weights as one likes them, a third weight that never learns, and gradients."""
    generator = torch.Generator().manual_seed(seed)
    weights = [nn.Parameter(torch.randn(n, 3, generator=generator)) for n in (4, 7, 300, 2)]
    groups = [
        {"params": weights[:2], "lr": 0.02, "name": "swept"},
        {"params": weights[2:], "lr": 3.0, "eps": 1.0, "weight_decay": 0.3, "betas": (0.8, 0.99)},
    ]
    gradients = [
        [torch.randn(w.shape, generator=generator) for w in weights[:3]] for _ in range(12)
    ]
    return weights, groups, gradients


def train(optimizer, weights, gradients):
    for step, each in enumerate(gradients):
        optimizer.zero_grad()
        for weight, gradient in zip(weights, each, strict=False):
            # One weight has no gradient now and then, as a task without labels has none.
            weight.grad = None if weight.shape[0] == 7 and step % 3 else gradient.clone()
        for group in optimizer.param_groups:
            group["lr"] *= 0.9
        optimizer.step()
