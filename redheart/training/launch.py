"""Processes that train together: how they start, how signals reach them, how errors are told."""

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
from redheart.machine.tiers import USUAL, Tier
from redheart.recipe.training_options import TrainOptions
from redheart.storage import files
from redheart.training.snapshots import SAVING, STOPPING, answering

Work = Callable[[Ranks], Result]
Handlers = Mapping[signal.Signals, Any]
Group = Callable[[Any], AbstractContextManager[Ranks]]

# How long a process with an echo (`written_down`) waits for the agent to end it, because another
# process has ended. That takes a second, and on a busy machine a few.
ECHO_WAITS_SECONDS = 60
# Gloo raises no error class of its own; its messages begin with the path of its source file.
BACKEND = re.compile(r"\bgloo\b|nccl", re.IGNORECASE)


@contextmanager
def alone(options: TrainOptions, tier: Tier) -> Iterator[Ranks]:
    """Yield the only process of a training on one device, as a tier of memory needs it."""
    if not tier.weights_on_cpu:
        yield SingleProcess()
        return
    from redheart.machine import sharding  # it takes a second to import

    with sharding.group_of_one(open_device(options)) as ranks:
        yield ranks


def on_devices(
    work: Work[Result], devices: int, options: TrainOptions, tier: Tier = USUAL
) -> Result:
    """Do `work` in one process for each device; return what it returns in rank 0.

    For one device, `work` runs in this process. For several, the processes are forks of this one,
    so they hold the store's lock together with it: while one of them lives, no other run trains
    the same leg. They get a training's signals only from this process. If this process dies, they
    get a SIGINT.

    Raises
    ------
    UserError
        A process raised a UserError, a signal came, or a process was killed.
    """
    if devices == 1:
        with alone(options, tier) as ranks:
            return work(ranks)
    # Imported only here, since one device does without, and before the forks, or each of them would
    # import it. FSDP imports torch's compiler in its first pass, so that is imported here too.
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

    # The agent's messages say nothing more: a process that fails writes down its error.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # The first fork that connects keeps a thread of this process busy. If this process forks while
    # that thread holds the lock of libc's resolver, the new fork waits for the lock for ever.
    all_forked = get_context("fork").Barrier(devices)
    # The store of an earlier agent has threads, which a fork lacks: a fork that frees it crashes.
    gc.collect()
    with tempfile.TemporaryDirectory() as logs, answering(forward):
        agent = elastic_launch(_agent_options(devices, logs), _process)
        arguments = (work, options, handlers, sharding.group, all_forked, stopped, Path(logs))
        try:
            results: dict[int, Result] = agent(*arguments)
        except ChildFailedError as error:
            first = next(iter(error.failures.values()))
            signalled = next(iter(stopped), None)
            failures = read_failures(Path(logs))
            raise told(failures, first.exitcode, signalled) from error
    return results[0]


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
    failures: Path,
) -> Result:
    """Do `work` as one of several processes.

    Parameters
    ----------
    stopped
        Signals that came to the job before this process could answer them.
    failures
        The folder into which a process that fails writes its error.
    """
    # A terminal sends Ctrl-C to its whole process group. This process leaves the group, since the
    # job forwards the signal.
    os.setpgid(0, 0)
    failure_path = failures / f"{os.environ['RANK']}.json"
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in stopped:
            os.kill(os.getpid(), number)
        all_forked.wait()
        with written_down(failure_path), explained(), group(_own_device(options)) as ranks:
            return work(ranks)
    except KeyboardInterrupt:
        # Torch would end this process as if its work were done, and the agent would wait for the
        # result for ever.
        sys.exit(128 + signal.SIGINT)


def _own_device(options: TrainOptions) -> Any:
    """Return the GPU of this process, or the CPU, which all processes share."""
    import torch

    device = open_device(options)
    if device.type == "cpu":
        return device
    processes, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if gpus < processes:
        raise UserError(
            f"train.devices: {processes} is more than the {gpus} GPU(s) that torch sees; lower it, "
            "or see what CUDA_VISIBLE_DEVICES hides"
        )
    gpu = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(gpu)
    return gpu


@dataclass(frozen=True)
class Failure:
    """The error by which one process failed."""

    kind: Literal["user", "bug", "echo"]
    """`user`, a UserError; `echo`, an error of talking to other processes; `bug`, any other."""
    message: str
    """Its message."""
    traceback: str
    """Its traceback; empty for a UserError."""


def failure_of(error: Exception) -> Failure:
    """Return the record of an error that is being handled."""
    if isinstance(error, UserError):
        return Failure("user", str(error), "")
    kind: Literal["bug", "echo"] = "echo" if _is_echo(error) else "bug"
    return Failure(kind, str(error), traceback.format_exc())


def _is_echo(error: Exception) -> bool:
    from torch.distributed import DistError  # from NCCL, and from the store where processes meet

    first_line = str(error).partition("\n")[0]
    by_its_words = isinstance(error, RuntimeError) and BACKEND.search(first_line)
    return isinstance(error, DistError) or bool(by_its_words)


@contextmanager
def written_down(path: Path) -> Iterator[None]:
    """Write an error that is raised inside to a file, and raise it.

    When a process ends, the others lose the connection to it and fail too: their errors are echoes.
    So a process writes down its error while its connections still stand; a cause is written before
    any echo of it. Torchrun's agent ends all processes as soon as it sees that one has ended. So
    an echo is raised only after a while: the agent sees the process that ended first.
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
    """Return the error that tells the user why processes failed.

    Parameters
    ----------
    failures
        The errors that processes wrote down; a process that was killed wrote none.
    exit_code
        The exit code of the process that ended first; below 0: minus the signal that ended it.
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
