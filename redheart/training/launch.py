"""Processes that train together: started by torchrun's agent, told of signals, and their errors."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from multiprocessing import active_children, get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from redheart.errors import UserError, explained
from redheart.machine.device import open_device
from redheart.machine.ranks import Alone, Result
from redheart.machine.tiers import TIERS, Tier
from redheart.recipe.training_options import TrainOptions
from redheart.storage import files
from redheart.training.snapshots import SAVING, STOPPING, answering

Work = Callable[[Alone], Result]
Handlers = Mapping[signal.Signals, Any]
Group = Callable[[Any], AbstractContextManager[Alone]]


@contextmanager
def alone(options: TrainOptions, tier: Tier) -> Iterator[Alone]:
    """Yield the one process of a training on one device, as a tier of memory wants it."""
    if not tier.weights_on_cpu:
        yield Alone()
        return
    from redheart.machine import sharding  # it takes a second to import

    with sharding.group_of_one(open_device(options)) as ranks:
        yield ranks


def on_devices(
    work: Work[Result], devices: int, options: TrainOptions, tier: Tier = TIERS[0]
) -> Result:
    """Do `work` in one process for each device; return what it returns in rank 0.

    One device needs no other process. Those of several are forks of this one, so they hold the
    store's lock with it: while one of them lives, no other run trains the same. Signals that are
    for a training reach them through this process alone, and if it dies they get a SIGINT.

    Raises
    ------
    UserError
        One of a process; or a signal came, or one was killed.
    """
    if devices == 1:
        with alone(options, tier) as ranks:
            return work(ranks)
    # Not before, since one device does without; and not after, or each process would import it, as
    # torch's compiler, which FSDP takes up in its first pass.
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    from redheart.machine import sharding

    import_module("torch._dynamo")
    handlers = {number: signal.getsignal(number) for number in SAVING}
    stopped: list[signal.Signals] = []

    def forward(number: signal.Signals) -> None:
        stopped.extend({number} & {*STOPPING})
        for process in active_children():
            os.kill(int(process.pid or 0), number)

    # What it says of a process that failed is told by that process's own error.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # The first to connect keeps a thread of this process busy, and a fork that catches it with the
    # lock of libc's resolver would wait for that lock for ever.
    all_forked = get_context("fork").Barrier(devices)
    with tempfile.TemporaryDirectory() as logs, answering(forward):
        agent = elastic_launch(_agent_options(devices, logs), _process)
        try:
            done: dict[int, Result] = agent(work, options, handlers, sharding.group, all_forked)
        except ChildFailedError as error:
            raise _explained(Path(logs), stopped) from error
    return done[0]


def _agent_options(processes: int, logs: str) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        run_id="leg",
        max_restarts=0,
        start_method="fork",
        signals_to_handle="SIGHUP",  # the others are forwarded, and waited for
        logs_specs=DefaultLogsSpecs(logs),
    )


def _process(
    work: Work[Result], options: TrainOptions, handlers: Handlers, group: Group, all_forked: Barrier
) -> Result:
    """Do `work` as one of several processes."""
    # A terminal's Ctrl-C goes to all of its group; here it shall come once, from the agent.
    os.setpgid(0, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    all_forked.wait()
    with explained(), group(_own_device(options)) as ranks:
        return work(ranks)


def _own_device(options: TrainOptions) -> Any:
    """Return the GPU of this process, or the CPU, which all share."""
    import torch

    device = open_device(options)
    if device.type == "cpu":
        return device
    wanted, there = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if there < wanted:
        raise UserError(
            f"train.devices: {wanted} is more than the {there} GPU(s) that torch sees; lower it, "
            "or see what CUDA_VISIBLE_DEVICES hides"
        )
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


def _explained(logs: Path, stopped: list[signal.Signals]) -> Exception:
    """Return why processes failed: the user's error before a bug, that of one before another's."""
    found = [files.read_json(path)["message"] for path in sorted(logs.rglob("error.json"))]
    texts = [error["message"] for error in found]
    kind = f"{UserError.__name__}: "
    if told := [text.removeprefix(kind) for text in texts if text.startswith(kind)]:
        return UserError(told[0])
    if stopped:
        return UserError(
            f"training stopped by {stopped[0].name} before its first step; the same command begins "
            "it anew"
        )
    if not found:
        return UserError(
            "a process of the training was killed, perhaps because main memory ran out; the same "
            "command goes on from its last snapshot"
        )
    return RuntimeError("\n".join(error["extraInfo"]["py_callstack"] for error in found))
