"""Weights that are divided among processes, by FSDP2.

Zhao et al. 2023, "PyTorch FSDP", arXiv 2304.11277: each process holds a share of every weight,
gradient, moment and average, and gathers a layer's weights only while it computes with them.
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
from redheart.model.shares import full_tensor

# The agent sees a process that dies, and ends the others. So this limits only how long processes
# wait while rank 0 writes or hashes a file.
TIMEOUT = timedelta(hours=2)
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class ShardedRanks(Ranks):
    """The processes of the open group, as one of them sees them.

    A process alone calls no collective: its GPU may lack the memory that NCCL takes.

    Parameters
    ----------
    device
        The device on which this process computes.
    streamed
        Whether weights, gradients and moments lie in main memory, and a layer is on the GPU only
        while it is computed; for a process alone. On a CPU they are in main memory anyway.
    """

    shards = True

    def __init__(self, device: torch.device, streamed: bool = False) -> None:
        self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
        self.device = device
        self.mesh = init_device_mesh(device.type, (self.count,))
        self.streamed = streamed
        offloaded = streamed and device.type != "cpu"
        self.offload = CPUOffloadPolicy() if offloaded else OffloadPolicy()

    def device_of(self, network: Network) -> torch.device:
        """Return the device on which a network computes; its weights may lie elsewhere."""
        return self.device

    def shard(self, network: Network) -> None:
        """Divide every parameter along its first dimension; a layer or block is gathered at once.

        A module's parameters outside its blocks are gathered with the module. The trunk's
        parameters outside its layers are gathered with the network. Both stay for a whole pass.
        Gradients are added up, not averaged: each process divides its part of the loss by the
        labelled records of the whole window.
        """
        lists = [part for part in network.backbone.modules() if isinstance(part, nn.ModuleList)]
        layers = [layer for part in reversed(lists) for layer in part]
        modules = [part for part in network.modules_by_name().values() if part != network.backbone]
        blocks = [b for part in modules for b in part.modules() if isinstance(b, FeedForward)]
        if self.streamed:
            _drop_casts(layers, blocks)
        # Weights that stay gathered after a forward pass hide the shares from whoever reads them.
        reshard = self.streamed or None
        for part in (*layers, *blocks, *modules, network):
            fully_shard(
                part, mesh=self.mesh, reshard_after_forward=reshard, offload_policy=self.offload
            )
        for module in network.modules():
            if isinstance(module, FSDPModule) and self.count > 1:
                module.set_gradient_divide_factor(1.0)
                # Otherwise FSDP would multiply sums by 1, which only NCCL can do.
                module.set_force_sum_reduction_for_comms(True)

    def share(self, window: list[np.ndarray]) -> list[np.ndarray]:
        """Return the texts of a window that this process reads, in micro-batches.

        A window is sorted by length. It is cut into pieces of as many texts as all n processes can
        read at once. A process reads every n-th text of a piece, so all read similar lengths.
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
        """Return the norms of full tensors from the norms of this process's shares."""
        return self.sum(shares.square()).sqrt()

    def largest(self, value: int) -> int:
        """Return the largest value of a number over all processes."""
        if self.count == 1:
            return value
        largest = torch.tensor(value, device=self.device)
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return int(largest)

    def everyones(self, value: Result) -> list[Result]:
        """Return the small values that all processes pass in, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def in_turn(self, read: Callable[[], Result]) -> Result:
        """Call `read` in rank 0 and then in all other processes; return its result."""
        if self.rank:
            self.wait()
            return read()
        result = read()
        self.wait()
        return result

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.largest(0)

    def gathered(self, value: Any) -> Any:
        """Return nested dicts and lists with full tensors in rank 0, and with None elsewhere.

        Tensors are gathered one after the other, so a GPU never holds more than one full tensor.
        """
        if isinstance(value, Tensor):
            tensor = full_tensor(value)
            return None if self.rank else tensor.cpu()
        if isinstance(value, Mapping):
            return {key: self.gathered(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.gathered(item) for item in value]
        return value


def _drop_casts(layers: list[nn.Module], blocks: list[Any]) -> None:
    """Drop autocast's 16-bit copies of a layer's or block's weights as soon as it is computed.

    Autocast would keep the copies up to the end of the forward pass. The backward pass would need
    those of all blocks at once, so blocks are recomputed for it; layers are recomputed already.
    """
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    for part in (*layers, *blocks):
        part.register_forward_hook(lambda *_: torch.clear_autocast_cache())


@contextmanager
def group(device: torch.device) -> Iterator[ShardedRanks]:
    """Open the group of the processes that torchrun has started, and close it at the end.

    If the work fails, the group stays open up to the end of the process. The other processes fail
    as soon as it closes, and they must not fail before the cause is written down.
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
