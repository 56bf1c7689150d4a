"""Weights rounded to half the bytes, and the rounded-off rest, so that training goes on exactly.

Let b be the 32 bits of a float32, read as an integer. The upper half of b + 2^15 is the nearest
bfloat16; ties are rounded away from zero. The difference between b and that number is a signed
integer of 16 bits, and equals the lower half of b. So the bfloat16 and the difference together hold
every bit of b.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from redheart.storage.tensor_files import Deferred, made

States = Mapping[str, Mapping[str, Tensor | Deferred]]
DeferredStates = dict[str, dict[str, Tensor | Deferred]]


def rounded(states: States) -> DeferredStates:
    """Return float32 tensors rounded to bfloat16, deferred; other tensors are unchanged."""
    return {
        module: {name: _deferred(tensor, torch.bfloat16, _round) for name, tensor in state.items()}
        for module, state in states.items()
    }


def rest(states: States) -> DeferredStates:
    """Return the rest that `rounded` takes away from each float32 tensor: int16, deferred."""
    return {
        module: {
            name: _deferred(tensor, torch.int16, _rest)
            for name, tensor in state.items()
            if tensor.dtype == torch.float32
        }
        for module, state in states.items()
    }


def exact(states: States, rests: States) -> DeferredStates:
    """Return the original tensors, deferred, given the results of `rounded` and of `rest`."""
    return {
        module: {
            name: _joined(tensor, rests[module][name]) if name in rests[module] else tensor
            for name, tensor in state.items()
        }
        for module, state in states.items()
    }


def _deferred(
    tensor: Tensor | Deferred, dtype: torch.dtype, change: Callable[[Tensor], Tensor]
) -> Tensor | Deferred:
    if tensor.dtype != torch.float32:
        return tensor
    return Deferred(tuple(tensor.shape), dtype, lambda: change(made(tensor)))


def _joined(nearest: Tensor | Deferred, remainder: Tensor | Deferred) -> Deferred:
    def join() -> Tensor:
        upper = made(nearest).view(torch.int16).to(torch.int32) << 16
        return (upper + made(remainder)).view(torch.float32)

    return Deferred(tuple(nearest.shape), torch.float32, join)


def _round(tensor: Tensor) -> Tensor:
    bits = tensor.detach().contiguous().view(torch.int32)
    return ((bits + 0x8000) >> 16).to(torch.int16).view(torch.bfloat16)


def _rest(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(torch.int32).to(torch.int16)
