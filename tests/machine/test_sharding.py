"""Several processes on a CPU train what one does: the same losses, checkpoints of one format."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.util import register_after_fork

import pytest
import torch
from waiting import until

from redheart.errors import UserError
from redheart.machine import sharding
from redheart.machine.memory_plan import MemoryPlan
from redheart.machine.tiers import TIERS
from redheart.model.states import module_states
from redheart.recipe.training_options import TrainOptions
from redheart.storage import diary, files
from redheart.storage.store import Action, Store
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import launch, legs
from redheart.training import state as training_state
from redheart.training.epochs import train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg
from redheart.training.snapshots import Snapshots
from redheart.workflow.config import read

STEPS = 3  # of an epoch of the forty records


@pytest.fixture(scope="session")
def steady(recipe):
    """The recipe without dropout, whose random numbers are each process's own."""
    return replace(recipe, model=replace(recipe.model, dropout=0.0))


def train(recipe, part, folder, leg, processes, ancestor=None, report=None, snapshots=None):
    """Train a leg as the script does; return what later ones go on from."""

    def work(ranks):
        state = training_state.prepare(recipe, part, 1e-2, seed=0, ranks=ranks)
        statistics = train_leg(state, part, leg, ancestor, report, snapshots)
        keys = {"key": "k", "parent": None}
        training_state.save_leg(state, statistics, folder, folder / "state", keys)

    launch.on_devices(work, processes, recipe.train)
    return Ancestor(folder / "weights", folder / "state", leg.stop)


def shapes(value):
    """What a file holds, without the numbers."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.stride()
    if isinstance(value, dict):
        return {key: shapes(item) for key, item in value.items()}
    return [shapes(item) for item in value] if isinstance(value, list) else type(value)


def assert_alike(one, other):
    """The files are of one format, and what they hold differs by rounding alone."""
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    for name in ("weights", "state"):
        found, expected = (load_tensors(folder / name) for folder in (other, one))
        assert shapes(found) == shapes(expected)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    rows, expected = (diary.read_lines(folder / "steps") for folder in (other, one))
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        for name in ("gradient_norm", "update_ratio"):
            assert row.pop(name, {}) == pytest.approx(wanted.pop(name, {}), rel=1e-3)
        assert row == pytest.approx(wanted, rel=1e-5)


def hashes(folder):
    return [files.sha256_file(path) for path in sorted(folder.iterdir())]


# --- the same training ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(steady, part, tmp_path_factory):
    """A first leg by one, two and three processes; a second by one."""
    folder = tmp_path_factory.mktemp("legs")
    found = {n: train(steady, part, folder / f"1-{n}", Leg(0, 1), n) for n in (1, 2, 3)}
    train(steady, part, folder / "2-1", Leg(1, 2), 1, found[1])
    return folder, found


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_train_what_one_does(made, processes):
    folder, _ = made
    assert_alike(folder / "1-1", folder / f"1-{processes}")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_any_number_goes_on_from_any_other(steady, part, made, tmp_path, before, after):
    folder, found = made
    train(steady, part, tmp_path, Leg(1, 2), after, found[before])
    assert_alike(folder / "2-1", tmp_path)


@pytest.mark.slow
def test_fewer_texts_than_processes_and_a_trunk_that_stops_learning(steady, part, tmp_path):
    """A window of two texts leaves one of three processes without any."""
    few = part.head(18)
    frozen = replace(steady, model=replace(steady.model, freeze_after=1))
    for processes in (1, 3):
        train(frozen, few, tmp_path / str(processes), Leg(0, 2), processes)
    assert_alike(tmp_path / "1", tmp_path / "3")


@pytest.mark.slow
def test_a_group_of_one_trains_bit_for_bit_as_a_process_alone(recipe, part):
    alone = training_state.prepare(recipe, part, 1e-2, seed=0)
    expected = train_epoch(alone, part)
    with sharding.group_of_one(torch.device("cpu")) as ranks:
        state = training_state.prepare(recipe, part, 1e-2, seed=0, ranks=ranks)
        found = train_epoch(state, part)
        captured = training_state.capture(state)
    assert found == expected
    assert shapes(captured) == shapes(training_state.capture(alone))
    assert hash_modules(captured["weights"]) == hash_modules(module_states(alone.network))


@pytest.mark.slow
def test_one_device_imports_nothing_of_several():
    program = (
        "import sys, redheart.training.launch, redheart.training.epochs, redheart.training.state\n"
        "print([m for m in sys.modules if 'fsdp' in m or m.startswith(\n"
        "    ('redheart.machine.sharding', 'torch.distributed.tensor', 'torch.distributed.elastic'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


class Collector:
    """Lets a process collect its garbage as soon as it is forked, for as long as this is there."""

    def __init__(self):
        register_after_fork(self, lambda _: gc.collect())


@pytest.mark.slow
def test_what_an_earlier_training_left_is_no_garbage_of_a_fork(recipe):
    """Its store has threads, which a fork lacks: to free it there is a crash."""

    def work(ranks):
        raise UserError("choose another rate")

    def fail():
        with pytest.raises(UserError, match="choose another rate") as error:
            launch.on_devices(work, 2, recipe.train)
        return error  # it refers to this frame, and so to itself: only a collection frees it

    gc.disable()
    try:
        fail()
        collector = Collector()
        fail()
    finally:
        gc.enable()
    del collector


# --- interruptions ----------------------------------------------------------------------------


def signalling(process, number, step, snapshots):
    """Return a report that sends a process a signal after so many steps; and rank 0 alone does.

    It goes on only when a signal has come back to rank 0, so this step is the one that is saved.
    """
    seen = []

    def report(*_):
        seen.append(0)
        if len(seen) == step:
            os.kill(process, number)
            until(lambda: snapshots._signal, "the signal that the job passes on")

    return report


@pytest.mark.slow
def test_a_signal_to_the_job_saves_and_stops_all_and_the_same_goes_on(recipe, part, tmp_path):
    """In the midst of an epoch, with dropout: bit for bit as if nothing had been."""
    train(recipe, part, tmp_path / "whole", Leg(0, 2), 2)
    snapshots = Snapshots(tmp_path / "leg.snapshot", minutes=10)
    stopping = signalling(os.getpid(), signal.SIGTERM, STEPS + 1, snapshots)
    with pytest.raises(UserError, match=r"^training stopped by SIGTERM; its state is saved"):
        train_listening(recipe, part, tmp_path / "leg", 2, snapshots, stopping)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert snapshots.load()["step"] == STEPS + 1
    train_listening(recipe, part, tmp_path / "leg", 2, snapshots)
    assert hashes(tmp_path / "leg") == hashes(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_step_ends_the_job(recipe, number, forked, monkeypatch):
    """Where nothing answers it yet, and even no process is there; it comes once, as a Ctrl-C."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job has none
    options = launch._agent_options

    def interrupted(*given):
        os.kill(os.getpid(), number)
        return options(*given)

    def work(ranks):
        if ranks.rank == 0 and forked:
            os.kill(os.getppid(), number)
        threading.Event().wait(600)

    if not forked:
        monkeypatch.setattr(launch, "_agent_options", interrupted)
    try:
        with pytest.raises(UserError, match=f"stopped by {number.name} before its first step"):
            launch.on_devices(work, 2, recipe.train)
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("others", [1, 3])
def test_another_number_goes_on_from_a_snapshot(steady, part, tmp_path, others):
    train(steady, part, tmp_path / "whole", Leg(0, 2), 1)
    snapshots = Snapshots(tmp_path / "leg.snapshot", minutes=10)
    stopping = signalling(os.getpid(), signal.SIGINT, STEPS + 1, snapshots)
    with pytest.raises(UserError, match="stopped by SIGINT"):
        train_listening(steady, part, tmp_path / "leg", 2, snapshots, stopping)
    train_listening(steady, part, tmp_path / "leg", others, snapshots)
    assert_alike(tmp_path / "whole", tmp_path / "leg")


@pytest.mark.slow
def test_a_signal_to_a_leg_that_streams_saves_and_any_tier_goes_on(recipe, part, tmp_path):
    """In the midst of an epoch, with dropout: bit for bit as if nothing had been."""
    train(recipe, part, tmp_path / "whole", Leg(0, 2), 1)
    snapshots = Snapshots(tmp_path / "leg.snapshot", minutes=10)
    stopping = signalling(os.getpid(), signal.SIGTERM, STEPS + 1, snapshots)
    with pytest.raises(UserError, match=r"^training stopped by SIGTERM; its state is saved"):
        train_listening(recipe, part, tmp_path / "leg", 1, snapshots, stopping, TIERS[-1])
    for tier in (TIERS[0], TIERS[-1]):
        train_listening(recipe, part, tmp_path / "leg", 1, snapshots, None, tier)
        assert hashes(tmp_path / "leg") == hashes(tmp_path / "whole")


def train_listening(recipe, part, folder, processes, snapshots, report=None, tier=TIERS[0]):
    """Train a leg of two epochs whose processes answer signals, as the script's do."""

    def work(ranks):
        plan = MemoryPlan(tier)
        state = training_state.prepare(recipe, part, 1e-2, seed=0, memory=plan, ranks=ranks)
        own = report if ranks.rank == 0 else None
        with snapshots.listening():
            statistics = train_leg(state, part, Leg(0, 2), None, own, snapshots)
        keys = {"key": "k", "parent": None}
        training_state.save_leg(state, statistics, folder, folder / "state", keys)

    launch.on_devices(work, processes, recipe.train, tier)


@pytest.mark.slow
@pytest.mark.full
def test_after_the_end_of_the_job_its_processes_save_and_free_the_lock(recipe, part, tmp_path):
    """`kill -9`: they are told by the kernel, and until they are gone nobody trains the same."""
    train(recipe, part, tmp_path / "whole", Leg(0, 2), 2)
    snapshots = Snapshots(tmp_path / "leg.snapshot", minutes=10)
    store, action = Store(tmp_path / "store"), Action("train_leg", {}, "code", {})

    def run(report=None):
        def compute(work):
            train_listening(recipe, part, work, 2, snapshots, report)

        names = ("weights", "state", "manifest", "steps")
        store.run(action, {name: tmp_path / "leg" / name for name in names}, compute)

    job = os.fork()
    if not job:
        try:
            run(signalling(os.getpid(), signal.SIGKILL, STEPS + 1, snapshots))
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(job, 0)[1])
    run()
    assert hashes(tmp_path / "leg") == hashes(tmp_path / "whole")


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_error_of_one_process_is_that_of_all_in_one_line(recipe, part, tmp_path, capfd, rank):
    def work(ranks):
        state = training_state.prepare(recipe, part, 1e-2, seed=0, ranks=ranks)
        if ranks.rank == rank:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")
        train_leg(state, part, Leg(0, 1))

    with pytest.raises(UserError, match=r"^out of memory \(CUDA out of memory\. Tried[^\n]*$"):
        launch.on_devices(work, 2, recipe.train)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_all(recipe, part):
    def work(ranks):
        state = training_state.prepare(recipe, part, 1e-2, seed=0, ranks=ranks)
        if ranks.rank == 1:
            next(state.network.parameters()).detach().to_local().fill_(torch.nan)
        train_leg(state, part, Leg(0, 1))

    with pytest.raises(UserError, match="stopped before the update: the loss became nan"):
        launch.on_devices(work, 2, recipe.train)


class SlowlyTold(KeyError):
    """A bug of which the process has to say so much that its neighbour would be ahead of it."""

    def __str__(self):
        time.sleep(0.5)
        return super().__str__()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", [KeyError, SlowlyTold])
def test_a_bug_is_told_and_not_that_the_others_lost_a_process(recipe, rank, kind):
    def work(ranks):
        if ranks.rank == rank:
            raise kind("a name that nobody has")
        ranks.wait()

    with pytest.raises(RuntimeError, match="a name that nobody has") as error:
        launch.on_devices(work, 2, recipe.train)
    assert "gloo" not in str(error.value)


@pytest.mark.slow
def test_what_the_user_can_mend_is_told_and_not_that_the_others_lost_a_process(recipe):
    def work(ranks):
        if ranks.rank == 1:
            raise UserError("choose another rate")
        ranks.wait()

    with pytest.raises(UserError, match=r"^choose another rate$"):
        launch.on_devices(work, 3, recipe.train)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_told_and_not_that_the_others_lost_it(recipe, rank, monkeypatch):
    """Even where the agent looks so late that the others have failed too by then."""
    options = launch._agent_options

    def rarely_looking(*given):
        return replace(options(*given), monitor_interval=2)

    def work(ranks):
        if ranks.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        ranks.wait()

    for agent_options in (options, rarely_looking):
        monkeypatch.setattr(launch, "_agent_options", agent_options)
        with pytest.raises(UserError, match="a process of the training was killed"):
            launch.on_devices(work, 2, recipe.train)


@pytest.mark.slow
def test_a_connection_that_goes_without_a_cause_is_told_by_itself(recipe, monkeypatch):
    monkeypatch.setattr(launch, "ECHO_WAITS_SECONDS", 1)

    def work(ranks):
        torch.distributed.destroy_process_group()
        if ranks.rank:
            raise torch.distributed.DistNetworkError("no route to host")
        time.sleep(60)

    with pytest.raises(RuntimeError, match="no route to host"):
        launch.on_devices(work, 2, recipe.train)


def test_more_devices_than_there_are_is_one_line(monkeypatch):
    monkeypatch.setattr(launch, "open_device", lambda options: torch.device("cuda"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"^train\.devices: 4 is more than the 2 GPU\(s\) that"):
        launch._own_device(TrainOptions())


def test_fp16_takes_one_device(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "run: a\ntasks: {a: {kind: regression, field: a}}\ntrain: {devices: 2, precision: fp16}\n"
    )
    with pytest.raises(
        UserError, match=r"train\.precision: fp16 .* set bf16, or train\.devices: 1"
    ):
        read([config])


# --- the key ----------------------------------------------------------------------------------


def test_legs_that_are_there_stand_under_another_number(tmp_path):
    store = Store(tmp_path / "store")

    def action(devices):
        return Action("train_leg", {"devices": devices}, "code", {})

    def trained(devices):
        return legs.trained_devices(store, lambda n: action(n).key, devices)

    def compute(folder):
        for name in legs.OUTPUTS:
            (folder / name).touch()

    assert trained(3) == 3
    outputs = {name: tmp_path / name for name in legs.OUTPUTS}
    store.run(action(2), outputs, compute)
    assert [trained(n) for n in (1, 2, 3)] == [2, 2, 2]
    store.run(action(3), outputs, compute)
    assert [trained(n) for n in (1, 2, 3)] == [2, 2, 3]
    (store.folder(action(2).key) / "weights").unlink()
    assert trained(1) == 3, "what is damaged is no reason to train on as many devices"
