"""How many weights a network has, worked out from its architecture alone: no torch is imported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redheart.model.options import Architecture, BackboneSize, SignalSize, StackSize
from redheart.tasks import Task

# Smaller weights of linear layers are held in float32, whatever the others are held in: Dettmers et
# al. 2022, arXiv 2110.02861, keep the optimizer states of such tensors in 32 bits.
SMALLEST_COMPACT = 4096

# The values of a tensor, and whether it is the weight of a linear layer.
Tensor = tuple[int, bool]


@dataclass(frozen=True)
class Sizes:
    """Numbers of weights."""

    total: int
    """All of them."""
    linear: int
    """Those of linear layers without biases, which mixed precision multiplies in 16 bits."""
    compact: int
    """Those of linear layers that are large enough to be held in 16 bits."""
    largest: int
    """Those of the largest tensor."""
    largest_compact: int
    """Those of the largest linear layer without its bias."""


def network_sizes(sizes: Architecture, tasks: Sequence[Task]) -> Sizes:
    """Return the numbers of weights of the network that these make."""
    tensors = list(_network(sizes, {task.name: task.width for task in tasks}))
    linear = [values for values, is_linear in tensors if is_linear]
    return Sizes(
        sum(values for values, _ in tensors),
        sum(linear),
        sum(values for values in linear if values >= SMALLEST_COMPACT),
        max(values for values, _ in tensors),
        max(linear),
    )


def _network(sizes: Architecture, width: dict[str, int]) -> Iterator[Tensor]:
    dimension = sizes.backbone.dimension
    if sizes.freeze_after != 0:
        yield from _backbone(sizes.backbone, sizes.vocab_size)
    for task, head in sizes.heads.items():
        yield from _perceptron(dimension, head, width[task])
    for task, neural in sizes.neural.items():
        yield dimension, True
        yield from _perceptron(2 * dimension, neural, width[task])
    if sizes.signal_task:
        yield from _signal(dimension, sizes.signal, width[sizes.signal_task])
    for task, queries in sizes.advanced.items():
        yield from _linear(dimension, queries.width)
        yield queries.queries * queries.width, False
        inputs = queries.queries * queries.width
        yield from _perceptron(inputs, queries.perceptron, width[task])
    for task in sizes.lexical:
        yield sizes.lexicon_size * width[task], False
        yield width[task], False


def _backbone(size: BackboneSize, vocab_size: int) -> Iterator[Tensor]:
    d = size.dimension
    yield vocab_size * d, False
    for _ in range(size.layers):
        yield from _norm(d)
        yield from _linear(d, 3 * d)
        yield from _linear(d, d)
        yield from _feedforward(d, size.feedforward)
    yield from _norm(d)


def _perceptron(inputs: int, size: StackSize, outputs: int) -> Iterator[Tensor]:
    yield from _linear(inputs, size.width)
    for _ in range(size.blocks):
        yield from _feedforward(size.width, 2 * size.width)
    yield from _norm(size.width)
    yield from _linear(size.width, outputs)


def _signal(dimension: int, size: SignalSize, outputs: int) -> Iterator[Tensor]:
    bands = size.channels * size.filters
    yield from _linear(dimension, size.channels)
    yield (size.segments + 1) * bands * 2, False
    yield bands, False
    yield from _linear(bands, size.series)
    yield from _norm(size.series)
    yield from _perceptron(2 * size.series, size.dsp, outputs)
    yield from _linear(size.series, size.states)
    yield from ((size.states, False),) * 3
    yield from _perceptron(2 * size.states, size.kalman, outputs)


def _feedforward(dimension: int, hidden: int) -> Iterator[Tensor]:
    yield from _norm(dimension)
    yield from _linear(dimension, hidden)
    yield from _linear(hidden, dimension)


def _linear(inputs: int, outputs: int) -> Iterator[Tensor]:
    yield inputs * outputs, True
    yield outputs, False


def _norm(dimension: int) -> Iterator[Tensor]:
    yield dimension, False
    yield dimension, False
