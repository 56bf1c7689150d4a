"""The processes that train one network together: the interface, and one process by itself.

The module `sharding` has the processes of a training on several devices.
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
    """Whether a layer's weights are gathered only while the layer is computed."""

    @abstractmethod
    def device_of(self, network: Network) -> torch.device:
        """Return the device on which a network computes; its weights may lie elsewhere."""

    @abstractmethod
    def shard(self, network: Network) -> None:
        """Leave each process its share of every parameter; call this before using a parameter."""

    @abstractmethod
    def share(self, window: list[np.ndarray]) -> list[np.ndarray]:
        """Return the texts of a window that this process reads, in micro-batches.

        Every process gets the same number of micro-batches, so one may be empty. None is larger
        than the micro-batches of the window.
        """

    @abstractmethod
    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""

    @abstractmethod
    def norms(self, shares: Tensor) -> Tensor:
        """Return the norms of full tensors from the norms of this process's shares."""

    @abstractmethod
    def largest(self, value: int) -> int:
        """Return the largest value of a number over all processes."""

    @abstractmethod
    def everyones(self, value: Result) -> list[Result]:
        """Return the small values that all processes pass in, by rank."""

    @abstractmethod
    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Call `read` in rank 0 and then in all other processes; return its result."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until all processes have called this."""

    @abstractmethod
    def gathered(self, value: Any) -> Any:
        """Return nested dicts and lists with full tensors in rank 0, and with None elsewhere."""


class SingleProcess(Ranks):
    """A process that trains by itself: there is nothing to share, add up or wait for."""

    rank = 0
    count = 1
    shards = False

    def device_of(self, network: Network) -> torch.device:
        """Return the device of the network's weights."""
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
        """Return the norms themselves, since they are of full tensors."""
        return shares

    def largest(self, value: int) -> int:
        """Return the number itself."""
        return value

    def everyones(self, value: Result) -> list[Result]:
        """Return a list of the one value."""
        return [value]

    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Return the result of `read`."""
        return read()

    def wait(self) -> None:
        """Wait for nobody."""

    def gathered(self, value: Any) -> Any:
        """Return the value itself, since its tensors are full."""
        return value
