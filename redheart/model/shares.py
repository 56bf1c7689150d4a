"""Tensors that are divided among processes: whole, or as the share of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


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
