"""How many weights a network has, computed from its architecture alone, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from redheart.recipe.model_options import Architecture, BackboneSize, SignalSize, StackSize
from redheart.tasks.task import Task

# Linear layers with fewer weights are held in float32, whatever the type of the other layers:
# Dettmers et al. 2022, arXiv 2110.02861, keep the optimizer states of such tensors in 32 bits.
SMALLEST_COMPACT = 4096


class TensorSize(NamedTuple):
    """The size of one tensor of weights."""

    values: int
    """Number of weights."""
    is_linear: bool = False
    """Whether the tensor is the weight of a linear layer, and not its bias."""


@dataclass(frozen=True)
class Sizes:
    """Numbers of weights."""

    total: int
    """All weights."""
    linear: int
    """Weights of linear layers without biases, which mixed precision multiplies in 16 bits."""
    compact: int
    """Weights of linear layers that are large enough to be held in 16 bits."""
    largest: int
    """Weights of the largest tensor."""
    largest_compact: int
    """Weights of the largest linear layer without its bias."""
    largest_layer: int
    """Weights of the largest layer of the backbone or block of a perceptron."""
    trunk_apart: int
    """Weights of the backbone outside of its layers: embeddings and a norm."""
    apart: int
    """Weights of the other modules outside of the perceptrons' blocks."""


def network_sizes(sizes: Architecture, tasks: Sequence[Task]) -> Sizes:
    """Return the numbers of weights of the network with an architecture and tasks."""
    tensors = list(_network(sizes, {task.name: task.width for task in tasks}))
    linear = [tensor.values for tensor in tensors if tensor.is_linear]
    total, layers = _sum(tensors), list(_layers(sizes))
    trunk = replace(sizes.backbone, layers=0)
    trunk_apart = _sum(_backbone(trunk, sizes.vocab_size)) if sizes.freeze_after != 0 else 0
    return Sizes(
        total,
        sum(linear),
        sum(values for values in linear if values >= SMALLEST_COMPACT),
        max(tensor.values for tensor in tensors),
        max(linear),
        max(layers, default=0),
        trunk_apart,
        total - trunk_apart - sum(layers),
    )


def stacks(sizes: Architecture) -> list[StackSize]:
    """Return the sizes of all perceptrons."""
    signal = [sizes.signal.dsp, sizes.signal.kalman] if sizes.signal_task else []
    advanced = [queries.perceptron for queries in sizes.advanced.values()]
    return [*sizes.heads.values(), *sizes.neural.values(), *advanced, *signal]


def _layers(sizes: Architecture) -> Iterator[int]:
    """Yield the numbers of weights of the backbone's layers and of the perceptrons' blocks."""
    if sizes.freeze_after != 0:
        yield from [_sum(_layer(sizes.backbone))] * sizes.backbone.layers
    for stack in stacks(sizes):
        yield from [_sum(_feedforward(stack.width, 2 * stack.width))] * stack.blocks


def _sum(tensors: Iterable[TensorSize]) -> int:
    return sum(tensor.values for tensor in tensors)


def _network(sizes: Architecture, width: dict[str, int]) -> Iterator[TensorSize]:
    dimension = sizes.backbone.dimension
    if sizes.freeze_after != 0:
        yield from _backbone(sizes.backbone, sizes.vocab_size)
    for task, head in sizes.heads.items():
        yield from _perceptron(dimension, head, width[task])
    for task, neural in sizes.neural.items():
        yield TensorSize(dimension, is_linear=True)
        yield from _perceptron(2 * dimension, neural, width[task])
    if sizes.signal_task:
        yield from _signal(dimension, sizes.signal, width[sizes.signal_task])
    for task, queries in sizes.advanced.items():
        yield from _linear(dimension, queries.width)
        yield TensorSize(queries.queries * queries.width)
        inputs = queries.queries * queries.width
        yield from _perceptron(inputs, queries.perceptron, width[task])
    for task in sizes.lexical:
        yield TensorSize(sizes.lexicon_size * width[task])
        yield TensorSize(width[task])


def _backbone(size: BackboneSize, vocab_size: int) -> Iterator[TensorSize]:
    yield TensorSize(vocab_size * size.dimension)
    for _ in range(size.layers):
        yield from _layer(size)
    yield from _norm(size.dimension)


def _layer(size: BackboneSize) -> Iterator[TensorSize]:
    d = size.dimension
    yield from _norm(d)
    yield from _linear(d, 3 * d)
    yield from _linear(d, d)
    yield from _feedforward(d, size.feedforward)


def _perceptron(inputs: int, size: StackSize, outputs: int) -> Iterator[TensorSize]:
    yield from _linear(inputs, size.width)
    for _ in range(size.blocks):
        yield from _feedforward(size.width, 2 * size.width)
    yield from _norm(size.width)
    yield from _linear(size.width, outputs)


def _signal(dimension: int, size: SignalSize, outputs: int) -> Iterator[TensorSize]:
    bands = size.channels * size.filters
    yield from _linear(dimension, size.channels)
    yield TensorSize((size.segments + 1) * bands * 2)
    yield TensorSize(bands)
    yield from _linear(bands, size.series)
    yield from _norm(size.series)
    yield from _perceptron(2 * size.series, size.dsp, outputs)
    yield from _linear(size.series, size.states)
    yield from (TensorSize(size.states),) * 3
    yield from _perceptron(2 * size.states, size.kalman, outputs)


def _feedforward(dimension: int, hidden: int) -> Iterator[TensorSize]:
    yield from _norm(dimension)
    yield from _linear(dimension, hidden)
    yield from _linear(hidden, dimension)


def _linear(inputs: int, outputs: int) -> Iterator[TensorSize]:
    yield TensorSize(inputs * outputs, is_linear=True)
    yield TensorSize(outputs)


def _norm(dimension: int) -> Iterator[TensorSize]:
    yield TensorSize(dimension)
    yield TensorSize(dimension)
