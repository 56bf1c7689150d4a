"""Tensors that are divided among processes: the full tensor, and the share of one process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def full_tensor(tensor: Any) -> Tensor:
    """Return a tensor that is divided among processes in one piece; all of them must call this."""
    if hasattr(tensor, "full_tensor"):
        # A group of one has nothing to gather, and NCCL cannot reach tensors in main memory.
        alone = tensor.device_mesh.size() == 1
        tensor = tensor.to_local() if alone else tensor.full_tensor()
    full: Tensor = tensor
    return full


def local(tensor: Any) -> Tensor:
    """Return this process's share of a tensor, or the tensor where it is not divided."""
    share: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return share


def put(target: Any, value: Tensor) -> None:
    """Copy a full tensor into a target, of which this process may hold only its share."""
    if hasattr(target, "device_mesh"):
        mesh = target.device_mesh
        shares, rank = value.chunk(mesh.size()), mesh.get_local_rank()
        value = shares[rank] if rank < len(shares) else value[:0]
    local(target).copy_(value)


def placed(value: Tensor, like: Tensor) -> Tensor:
    """Return a full tensor on the device of `like`, divided among processes as `like` is."""
    if value.dim() == 0 or not hasattr(like, "device_mesh"):
        return value.to(like.device)
    copy = like.detach().to(value.dtype, copy=True)
    put(copy, value)
    return copy
