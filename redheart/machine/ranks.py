"""The processes that train one network together, and what each of them holds of a tensor.

Here is the one process of a training on one device; `sharding` has those of several.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from redheart.model.network import Network

Result = TypeVar("Result")


class Alone:
    """A process that trains by itself, so that there is nothing to share, add up or wait for."""

    rank: int = 0
    """Its number; 0 writes all files."""
    count: int = 1
    """Processes that train together."""
    shards: bool = False
    """Whether a layer's weights are gathered for as long as it is computed."""

    def device_of(self, network: Network) -> torch.device:
        """Return where a network computes; its weights may lie elsewhere."""
        return next(network.parameters()).device

    def shard(self, network: Network) -> None:
        """Leave to each process its share of every parameter, before anything refers to them."""

    def share(self, window: list[np.ndarray]) -> list[np.ndarray]:
        """Return which texts of a window this process reads, in micro-batches.

        There are as many for each process, so there may be an empty one, and none is larger than
        those of the window.
        """
        return window

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        return value

    def norms(self, shares: Tensor) -> Tensor:
        """Return norms, given those of this process's shares."""
        return shares

    def largest(self, value: int) -> int:
        """Return the largest of a number over all processes."""
        return value

    def everyones(self, value: Result) -> list[Result]:
        """Return a small value of each process, by rank."""
        return [value]

    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Return what `read` does, which rank 0 calls before all others."""
        return read()

    def wait(self) -> None:
        """Wait until all processes have come here."""

    def gathered(self, value: Any) -> Any:
        """Return nested dicts and lists with whole tensors, in rank 0; without any elsewhere."""
        return value
