"""Processes that train together: started by torchrun's agent, told of signals, and their errors."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Literal

from redheart.errors import UserError, explained
from redheart.machine.device import open_device
from redheart.machine.ranks import Ranks, Result, SingleProcess
from redheart.machine.tiers import TIERS, Tier
from redheart.recipe.training_options import TrainOptions
from redheart.storage import files
from redheart.training.snapshots import SAVING, STOPPING, answering

Work = Callable[[Ranks], Result]
Handlers = Mapping[signal.Signals, Any]
Group = Callable[[Any], AbstractContextManager[Ranks]]

# How long an echo waits for the end of the process that it is the echo of. That takes a second, and
# on a busy machine a few.
ECHO_WAITS_SECONDS = 60
# Gloo begins its messages with the path of its source file, and raises no class of its own.
BACKEND = re.compile(r"\bgloo\b|nccl", re.IGNORECASE)


@contextmanager
def alone(options: TrainOptions, tier: Tier) -> Iterator[Ranks]:
    """Yield the one process of a training on one device, as a tier of memory wants it."""
    if not tier.weights_on_cpu:
        yield SingleProcess()
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

    # What it says of a process that failed is told by what that process wrote down.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # The first to connect keeps a thread of this process busy, and a fork that catches it with the
    # lock of libc's resolver would wait for that lock for ever.
    all_forked = get_context("fork").Barrier(devices)
    # The store of an earlier agent has threads, which a fork lacks: to free it there is a crash.
    gc.collect()
    with tempfile.TemporaryDirectory() as logs, answering(forward):
        agent = elastic_launch(_agent_options(devices, logs), _process)
        given = (work, options, handlers, sharding.group, all_forked, stopped, Path(logs))
        try:
            done: dict[int, Result] = agent(*given)
        except ChildFailedError as error:
            first = next(iter(error.failures.values()))
            signalled = next(iter(stopped), None)
            failures = read_failures(Path(logs))
            raise told(failures, first.exitcode, signalled) from error
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
    work: Work[Result],
    options: TrainOptions,
    handlers: Handlers,
    group: Group,
    all_forked: Barrier,
    stopped: Sequence[signal.Signals],
    failed: Path,
) -> Result:
    """Do `work` as one of several processes.

    Parameters
    ----------
    stopped
        Signals that came to the job before this process could answer them.
    failed
        The folder into which a process that fails writes why.
    """
    # A terminal's Ctrl-C goes to all of its group; here it shall come once, from the agent.
    os.setpgid(0, 0)
    written = failed / f"{os.environ['RANK']}.json"
    try:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        for number in stopped:
            os.kill(os.getpid(), number)
        all_forked.wait()
        with written_down(written), explained(), group(_own_device(options)) as ranks:
            return work(ranks)
    except KeyboardInterrupt:
        # Torch lets such a process end as one that has done its work, and then the agent waits for
        # what the work returns, for ever.
        sys.exit(128 + signal.SIGINT)


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


@dataclass(frozen=True)
class Failure:
    """What one process failed by."""

    kind: Literal["user", "bug", "echo"]
    """A UserError; an error of talking to the other processes, `echo`; anything else, `bug`."""
    message: str
    """Its message."""
    traceback: str
    """Where it was raised."""


def failure_of(error: Exception) -> Failure:
    """Return what is written down of an error that is being handled."""
    if isinstance(error, UserError):
        return Failure("user", str(error), "")
    kind: Literal["bug", "echo"] = "echo" if _is_echo(error) else "bug"
    return Failure(kind, str(error), traceback.format_exc())


def _is_echo(error: Exception) -> bool:
    from torch.distributed import DistError  # of NCCL, and of the store where processes meet

    first_line = str(error).partition("\n")[0]
    by_its_words = isinstance(error, RuntimeError) and BACKEND.search(first_line)
    return isinstance(error, DistError) or bool(by_its_words)


@contextmanager
def written_down(path: Path) -> Iterator[None]:
    """Write what is raised inside to a file, and raise it.

    The others of a process that ends see its connection go, and fail too: an echo. So a process
    writes down its error while its own connections still stand, and a cause is written before any
    echo of it. And torchrun's agent ends all processes as soon as it sees that one has ended. So an
    echo is raised only after a while, for the agent to see the one that ended first.
    """
    try:
        yield
    except Exception as error:
        failure = failure_of(error)
        files.write_json(path, asdict(failure))
        agent = parent_process()
        if failure.kind == "echo" and agent:
            agent.join(ECHO_WAITS_SECONDS)  # without an agent there is nothing to wait for
        raise


def read_failures(folder: Path) -> list[Failure]:
    """Return what the processes of a training wrote into a folder."""
    return [Failure(**files.read_json(path)) for path in sorted(folder.glob("*.json"))]


def told(failures: Sequence[Failure], exit_code: int, stopped: signal.Signals | None) -> Exception:
    """Return what the user is told of processes that failed.

    Parameters
    ----------
    failures
        What they wrote down; one that was killed wrote nothing.
    exit_code
        That of the process that ended first; below 0: minus the signal that ended it.
    stopped
        The signal that came to the job before its processes could answer it.
    """
    by_kind = {
        kind: [failure for failure in failures if failure.kind == kind]
        for kind in ("user", "bug", "echo")
    }
    if by_kind["user"]:
        return UserError(by_kind["user"][0].message)
    if by_kind["bug"]:
        return _bug(by_kind["bug"])
    if stopped:
        return UserError(
            f"training stopped by {stopped.name} before its first step; the same command begins it "
            "anew"
        )
    if by_kind["echo"] and exit_code >= 0:
        return _bug(by_kind["echo"])
    if exit_code < 0 and exit_code != -signal.SIGKILL:
        return UserError(
            f"a process of the training was ended by {signal.Signals(-exit_code).name}; what it "
            "printed says why; the same command goes on from its last snapshot"
        )
    return UserError(
        "a process of the training was killed, perhaps because main memory ran out; the same "
        "command goes on from its last snapshot"
    )


def _bug(failures: Sequence[Failure]) -> RuntimeError:
    return RuntimeError("\n".join(failure.traceback for failure in failures))
