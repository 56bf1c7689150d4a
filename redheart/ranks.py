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


# A tensor that is divided is a DTensor; it is told by what it can do, so that one device need not
# import the class.


def whole(tensor: Any) -> Tensor:
    """Return a tensor that is divided among processes in one piece; all of them must ask."""
    if hasattr(tensor, "full_tensor"):
        # Of a group of one there is nothing to gather, and no network reaches main memory.
        alone = tensor.device_mesh.size() == 1
        tensor = tensor.to_local() if alone else tensor.full_tensor()
    gathered: Tensor = tensor
    return gathered


def local(tensor: Any) -> Tensor:
    """Return this process's share of a tensor, or the tensor where it is not divided."""
    share: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return share


def put(target: Any, value: Tensor) -> None:
    """Copy a whole tensor into another, of which this process may hold no more than its share."""
    if hasattr(target, "device_mesh"):
        mesh = target.device_mesh
        shares, rank = value.chunk(mesh.size()), mesh.get_local_rank()
        value = shares[rank] if rank < len(shares) else value[:0]
    local(target).copy_(value)


def placed(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor on the device of another, and divided as that is."""
    if value.dim() == 0 or not hasattr(like, "device_mesh"):
        return value.to(like.device)
    copy = like.detach().to(value.dtype, copy=True)
    put(copy, value)
    return copy
