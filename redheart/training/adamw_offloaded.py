"""AdamW that keeps its states and steps in main memory; a GPU keeps weights and gradients.

As in Ren et al. 2021, "ZeRO-Offload", arXiv 2101.06840. On a CPU the steps are those of `AdamW`,
bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from redheart.training.adamw import AdamW, fused_step, new_state


def on_host(tensors: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield each tensor in main memory; it is valid until the next one is requested.

    There are two pinned buffers. While the caller uses the tensor in one of them, a GPU copies the
    next tensor into the other.
    """
    if not any(tensor.is_cuda for tensor in tensors):
        yield from tensors
        return
    largest = max(tensor.nbytes for tensor in tensors)
    buffers = [torch.empty(largest, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
    waiting: list[tuple[Tensor, torch.cuda.Event]] = []
    for number, tensor in enumerate(tensors):
        place = buffers[number % 2][: tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        place.copy_(tensor, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        waiting.append((place, arrived))
        if number:
            yield _arrived(*waiting.pop(0))
    yield _arrived(*waiting.pop(0))


def _arrived(place: Tensor, event: torch.cuda.Event) -> Tensor:
    event.synchronize()
    return place


class OffloadedAdamW(AdamW):
    """AdamW with float32 weights and moments in main memory, whatever the network's type.

    The network's weights are copies of these `masters`. A network's weight that is itself in
    float32 in main memory is its own master. Gradients may be added up over any number of
    micro-batches.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], weight_decay: float = 0.01) -> None:
        super().__init__(groups, weight_decay)
        self.masters = {parameter: _master(parameter) for parameter in self._parameters()}

    def moments(self, parameter: nn.Parameter) -> tuple[Tensor, Tensor, Tensor]:
        """Return a parameter and its moments in float32, in main memory."""
        state = self.state[parameter]
        return self.masters[parameter], state["exp_avg"], state["exp_avg_sq"]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of `AdamW` and, by place, the masters of weights in fewer bits."""
        places = enumerate(self._parameters())
        masters = {i: self.masters[p] for i, p in places if p.dtype != torch.float32}
        return {**super().state_dict(), **({"masters": masters} if masters else {})}

    @torch.no_grad()
    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned; the network's weights must be loaded before."""
        super().load_state_dict(saved)
        masters = saved.get("masters", {})
        for place, parameter in enumerate(self._parameters()):
            self.masters[parameter].copy_(masters.get(place, parameter))

    def _update(
        self, group: Mapping[str, Any], parameters: list[nn.Parameter], gradients: list[Tensor]
    ) -> None:
        for parameter, gradient in zip(parameters, on_host(gradients), strict=True):
            master = self.masters[parameter]
            fused_step(group, [master], [gradient.float()], [self._state_of(parameter)])
            if master.data_ptr() != parameter.data_ptr():
                parameter.copy_(master, non_blocking=True)

    def _placed(self, parameter: nn.Parameter, name: str, value: Tensor) -> Tensor:
        return value

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        if parameter not in self.state:
            self.state[parameter] = new_state(self.masters[parameter])
        return self.state[parameter]


def _master(parameter: nn.Parameter) -> Tensor:
    """Return a float32 weight in main memory: the weight itself if it is one, or else a copy."""
    weight = parameter.detach()
    if not weight.is_cuda:
        return weight.float()
    return torch.empty(weight.shape, pin_memory=True).copy_(weight)
