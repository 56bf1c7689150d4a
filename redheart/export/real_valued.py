"""The network as ONNX can hold it: without complex numbers, and for any number of texts.

ONNX has no complex numbers, and a few more things that the network is written with. Each such
function has a twin here that computes the same. The twins take their places while the network is
traced, and at no other time: training keeps the faster functions, and its code stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F

from redheart.model import backbone, network, signal
from redheart.model.analyzers import AdvancedAnalyzer
from redheart.model.backbone import Features


@contextmanager
def without_complex_numbers() -> Iterator[None]:
    """Let the network compute as ONNX can, inside the block."""
    twins: list[tuple[Any, str, Any]] = [
        (backbone, "rotate", rotate),
        (signal, "band_envelopes", band_envelopes),
        (AdvancedAnalyzer, "forward", answered_queries),
        (network, "len", rows),
    ]
    with ExitStack() as stack:
        for place, name, twin in twins:
            stack.enter_context(mock.patch.object(place, name, twin, create=name == "len"))
        yield


def rows(value: Tensor | Sized) -> int:
    """Return the length of a tensor as tracing keeps it: a name, where `len` makes it a number."""
    return value.shape[0] if isinstance(value, Tensor) else len(value)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate pairs of features, as `redheart.model.backbone.rotate` does."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = rotation[:, None].unbind(-1)
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return torch.stack(turned, dim=-1).flatten(-2)


def band_envelopes(signal: Tensor, response: Tensor) -> Tensor:
    """Return every band's envelope, as `redheart.model.signal.band_envelopes` does.

    Both Fourier transforms are products with tables of cosines and sines: a text has few segments.
    """
    segments = signal.shape[1]
    time = torch.arange(segments, dtype=torch.float32)
    frequency = torch.arange(segments + 1, dtype=torch.float32)
    angles = torch.outer(frequency, time) * (math.pi / segments)  # (frequencies, segments)
    cosine, sine = angles.cos(), angles.sin()
    real = torch.einsum("ft,btc->bfc", cosine, signal)[..., None]
    imaginary = -torch.einsum("ft,btc->bfc", sine, signal)[..., None]
    gain, turn = response.unbind(-1)
    # An analytic signal has positive frequencies twice, 0 and Nyquist once, negative ones never.
    positive = F.pad(torch.full((segments - 1,), 2.0), (1, 1), value=1.0) / (2 * segments)
    share = positive[:, None, None]
    filtered = (real * gain - imaginary * turn) * share
    shifted = (real * turn + imaginary * gain) * share
    back = [
        torch.einsum("ft,bfck->btck", table, part)
        for table, part in (
            (cosine, filtered),
            (sine, shifted),
            (sine, filtered),
            (cosine, shifted),
        )
    ]
    return ((back[0] - back[1]).square() + (back[2] + back[3]).square()).sqrt()


def answered_queries(analyzer: AdvancedAnalyzer, features: Features, mask: Tensor) -> Tensor:
    """Return an advanced analyzer's contribution, as its `forward` does.

    ONNX has attention for tensors with heads only; this one has none.
    """
    tokens = F.gelu(analyzer.transform(features.tokens))
    scores = torch.einsum("qw,btw->bqt", analyzer.queries, tokens) / math.sqrt(tokens.shape[-1])
    scores = scores.masked_fill(~mask[:, None, :], torch.finfo(scores.dtype).min)
    return analyzer.perceptron((scores.softmax(dim=-1) @ tokens).flatten(1))
