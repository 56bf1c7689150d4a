"""Weights that are divided among processes, by FSDP2.

Zhao et al. 2023, "PyTorch FSDP", arXiv 2304.11277: each process holds a share of every weight,
gradient, moment and average, and gathers a layer's weights for as long as it computes with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, OffloadPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from redheart.machine.ranks import Ranks, Result
from redheart.model.backbone import FeedForward
from redheart.model.network import Network
from redheart.model.shares import whole

# A process that dies is seen by the agent, which ends the others. So this is for no more than
# the time that they wait for rank 0 to write or to hash a file.
TIMEOUT = timedelta(hours=2)
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class ShardedRanks(Ranks):
    """The processes of the open group, of which this is one.

    A process alone calls no collective: the memory that NCCL takes of a GPU may be short there.

    Parameters
    ----------
    device
        What this process computes on.
    streamed
        Whether weights, gradients and moments lie in main memory, and a layer comes to the GPU for
        as long as it is computed: of one process. On a CPU they are there already.
    """

    shards = True

    def __init__(self, device: torch.device, streamed: bool = False) -> None:
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
        self.device = device
        self.mesh = init_device_mesh(device.type, (self.count,))
        self.streamed = streamed
        away = streamed and device.type != "cpu"
        self.offload = CPUOffloadPolicy() if away else OffloadPolicy()

    def device_of(self, network: Network) -> torch.device:
        """Return where a network computes; its weights may lie elsewhere."""
        return self.device

    def shard(self, network: Network) -> None:
        """Divide every parameter along its first dimension; a layer or block is gathered at once.

        What of a module is in no block comes with the module, and of the trunk in no layer with the
        network, and stays for a whole pass. Gradients are added up, not averaged: each process
        divides its part of the loss by the labelled records of the whole window.
        """
        lists = [part for part in network.backbone.modules() if isinstance(part, nn.ModuleList)]
        layers = [layer for part in reversed(lists) for layer in part]
        modules = [part for part in network.modules_by_name().values() if part != network.backbone]
        blocks = [b for part in modules for b in part.modules() if isinstance(b, FeedForward)]
        if self.streamed:
            _keep_no_casts(layers, blocks)
        # What is still gathered after a forward pass would hide the shares from who asks for them.
        away = self.streamed or None
        for part in (*layers, *blocks, *modules, network):
            fully_shard(
                part, mesh=self.mesh, reshard_after_forward=away, offload_policy=self.offload
            )
        for module in network.modules():
            if isinstance(module, FSDPModule) and self.count > 1:
                module.set_gradient_divide_factor(1.0)
                # By itself it would multiply by 1, which only NCCL can.
                module.set_force_sum_reduction_for_comms(True)

    def share(self, window: list[np.ndarray]) -> list[np.ndarray]:
        """Return which texts of a window this process reads, in micro-batches.

        A window is sorted by length. Of as many texts as all processes can read at once, each gets
        every n-th, so that lengths are alike.
        """
        texts, size = np.concatenate(window), self.count * len(window[0])
        return [texts[i : i + size][self.rank :: self.count] for i in range(0, len(texts), size)]

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count == 1:
            return value
        total = value.to(self.device, copy=True)
        distributed.all_reduce(total)
        return total.to(value.device)

    def norms(self, shares: Tensor) -> Tensor:
        """Return norms, given those of this process's shares."""
        return self.sum(shares.square()).sqrt()

    def largest(self, value: int) -> int:
        """Return the largest of a number over all processes."""
        if self.count == 1:
            return value
        largest = torch.tensor(value, device=self.device)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return int(largest)

    def everyones(self, value: Result) -> list[Result]:
        """Return a small value of each process, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Return what `read` does, which rank 0 calls before all others."""
        if self.rank:
            self.wait()
            return read()
        result = read()
        self.wait()
        return result

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.largest(0)

    def gathered(self, value: Any) -> Any:
        """Return nested dicts and lists with whole tensors, in rank 0; without any elsewhere.

        One tensor after the other, so that a GPU never holds more than one of them whole.
        """
        if isinstance(value, Tensor):
            tensor = whole(value)
            return None if self.rank else tensor.cpu()
        if isinstance(value, Mapping):
            return {key: self.gathered(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.gathered(item) for item in value]
        return value


def _keep_no_casts(layers: list[nn.Module], blocks: list[Any]) -> None:
    """Let autocast's 16-bit copies of weights live no longer than the weights that are gathered.

    The backward pass would need those of all blocks at once, so these are computed anew; layers are
    already. Autocast itself would keep them up to the end of the forward pass.
    """
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for part in (*layers, *blocks):
        part.register_forward_hook(lambda *_: torch.clear_autocast_cache())


@contextmanager
def group(device: torch.device) -> Iterator[ShardedRanks]:
    """Open the group of the processes that torchrun has started, and close it at the end.

    Where work fails it stays open up to the end of the process: the others fail as soon as it
    closes, and are not to do so before the cause is written down.
    """
    distributed.init_process_group(BACKENDS[device.type], timeout=TIMEOUT)
    yield ShardedRanks(device)
    distributed.destroy_process_group()


@contextmanager
def group_of_one(device: torch.device) -> Iterator[ShardedRanks]:
    """Open a group of this process alone, in which weights are streamed from main memory."""
    store = distributed.HashStore()
    distributed.init_process_group(BACKENDS[device.type], store=store, rank=0, world_size=1)
    try:
        yield ShardedRanks(device, streamed=True)
    finally:
        distributed.destroy_process_group()
