"""The processes that train one network together, and what each of them holds of a tensor.

Here is the one process of a training on one device; `sharding` has those of several.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from redheart.model.network import Network

Result = TypeVar("Result")


class Ranks(ABC):
    """The processes that train one network together, as one of them sees them."""

    rank: int
    """The number of this process; 0 writes all files."""
    count: int
    """Processes that train together."""
    shards: bool
    """Whether a layer's weights are gathered for as long as it is computed."""

    @abstractmethod
    def device_of(self, network: Network) -> torch.device:
        """Return where a network computes; its weights may lie elsewhere."""

    @abstractmethod
    def shard(self, network: Network) -> None:
        """Leave to each process its share of every parameter, before anything refers to them."""

    @abstractmethod
    def share(self, window: list[np.ndarray]) -> list[np.ndarray]:
        """Return which texts of a window this process reads, in micro-batches.

        There are as many for each process, so there may be an empty one, and none is larger than
        those of the window.
        """

    @abstractmethod
    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""

    @abstractmethod
    def norms(self, shares: Tensor) -> Tensor:
        """Return norms, given those of this process's shares."""

    @abstractmethod
    def largest(self, value: int) -> int:
        """Return the largest of a number over all processes."""

    @abstractmethod
    def everyones(self, value: Result) -> list[Result]:
        """Return a small value of each process, by rank."""

    @abstractmethod
    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Return what `read` does, which rank 0 calls before all others."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until all processes have come here."""

    @abstractmethod
    def gathered(self, value: Any) -> Any:
        """Return nested dicts and lists with whole tensors, in rank 0; without any elsewhere."""


class SingleProcess(Ranks):
    """A process that trains by itself: there is nothing to share, add up or wait for."""

    rank = 0
    count = 1
    shards = False

    def device_of(self, network: Network) -> torch.device:
        """Return where the network's weights lie."""
        return next(network.parameters()).device

    def shard(self, network: Network) -> None:
        """Leave every parameter whole."""

    def share(self, window: list[np.ndarray]) -> list[np.ndarray]:
        """Return the whole window."""
        return window

    def sum(self, value: Tensor) -> Tensor:
        """Return the tensor itself."""
        return value

    def norms(self, shares: Tensor) -> Tensor:
        """Return the norms, which are those of whole tensors."""
        return shares

    def largest(self, value: int) -> int:
        """Return the number itself."""
        return value

    def everyones(self, value: Result) -> list[Result]:
        """Return the one value."""
        return [value]

    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Return what `read` does."""
        return read()

    def wait(self) -> None:
        """Wait for nobody."""

    def gathered(self, value: Any) -> Any:
        """Return the value, whose tensors are whole."""
        return value
