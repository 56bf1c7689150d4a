"""A training that is stopped at any step and goes on gives the same bits as one that is not."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from redheart.errors import UserError
from redheart.model.states import module_states
from redheart.storage import files
from redheart.storage.tensors import hash_modules
from redheart.sweep import trial_training
from redheart.training import state as training_state
from redheart.training.epochs import train_leg
from redheart.training.legs import Leg
from redheart.training.snapshots import Snapshots

STEPS = 3  # of an epoch of the forty records


class Killed(Exception):
    """Stands for the end of a process."""


def prepare(recipe, part):
    return training_state.prepare(recipe, part, peak=1e-2, seed=0)


def killed_after(step):
    """Return a report that ends the training after so many steps of this process."""
    steps = []

    def report(*_):
        steps.append(0)
        if len(steps) == step + 1:
            raise Killed

    return report


def saved_leg(state, statistics, folder):
    training_state.save_leg(
        state, statistics, folder, folder / "state", {"key": "k", "parent": None}
    )
    names = ("weights", "state", "manifest", "steps")
    return {name: files.sha256_file(folder / name) for name in names}


@pytest.fixture(scope="module")
def uninterrupted(recipe, part, tmp_path_factory):
    state = prepare(recipe, part)
    statistics = train_leg(state, part, Leg(0, 2))
    return saved_leg(state, statistics, tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [(1,), (2, 1), (3,), (4, 1), (1, 1, 1, 1, 1)])
def test_stopped_and_resumed_is_the_same_bit_for_bit(recipe, part, uninterrupted, tmp_path, steps):
    snapshots = Snapshots(tmp_path / "leg.snapshot", minutes=0)
    for step in steps:
        with pytest.raises(Killed):
            train_leg(prepare(recipe, part), part, Leg(0, 2), None, killed_after(step), snapshots)
    state = prepare(recipe, part)
    statistics = train_leg(state, part, Leg(0, 2), snapshots=snapshots)
    assert state.step == 2 * STEPS
    assert saved_leg(state, statistics, tmp_path / "leg") == uninterrupted


@pytest.mark.slow
def test_a_scaler_that_has_skipped_steps_goes_on_too(recipe, part, tmp_path):
    half = replace(recipe, train=replace(recipe.train, precision="fp16"))
    uninterrupted = prepare(half, part)
    train_leg(uninterrupted, part, Leg(0, 2))
    snapshots = Snapshots(tmp_path / "leg.snapshot", minutes=0)
    with pytest.raises(Killed):
        train_leg(prepare(half, part), part, Leg(0, 2), None, killed_after(4), snapshots)
    resumed = prepare(half, part)
    train_leg(resumed, part, Leg(0, 2), snapshots=snapshots)
    hashes = [hash_modules(module_states(s.network)) for s in (uninterrupted, resumed)]
    assert hashes[0] == hashes[1]
    assert uninterrupted.scaler.state_dict() == resumed.scaler.state_dict()


@pytest.mark.slow
def test_a_trial_goes_on_from_its_snapshot(recipe, part, tmp_path):
    uninterrupted = trial_training.train_rate(prepare(recipe, part), part, part.head(20), 2)
    snapshots = Snapshots(tmp_path / "trial.snapshot", minutes=0)
    with pytest.raises(Killed):
        trial_training.train_rate(
            prepare(recipe, part), part, part.head(20), 2, killed_after(4), None, snapshots
        )
    state = prepare(recipe, part)
    assert (
        trial_training.train_rate(state, part, part.head(20), 2, snapshots=snapshots)
        == uninterrupted
    )


def value(number):
    return {"epoch": number, "weights": {"a": {"b": np.float64(number).item()}}}


def test_the_newest_whole_one_counts(tmp_path):
    snapshots = Snapshots(tmp_path / "x.snapshot", minutes=0)
    assert snapshots.load() is None
    for number in (1, 2):
        snapshots.after_step(lambda number=number: value(number))
    assert snapshots.load() == value(2)
    assert len(list(tmp_path.iterdir())) == 1
    snapshots.discard()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("harm", ["truncate", "flip", "foreign"])
def test_a_damaged_one_is_passed_over(tmp_path, harm):
    snapshots = Snapshots(tmp_path / "x.snapshot", minutes=0)
    snapshots.after_step(lambda: value(1))
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    harmed = {"truncate": content[:-9], "flip": content, "foreign": b"import os"}[harm]
    file.write_bytes(harmed)
    assert snapshots.load() is None
    assert not file.exists()


def test_what_a_kill_left_of_a_save_is_swept_away(tmp_path):
    snapshots = Snapshots(tmp_path / "x.snapshot", minutes=0)
    snapshots.after_step(lambda: value(1))
    for name in (".x.snapshot.new.k3j", "x.snapshot.new"):
        (tmp_path / name).write_bytes(b"half")
    assert snapshots.load() == value(1)
    assert len(list(tmp_path.iterdir())) == 1


def test_it_waits_its_minutes(tmp_path):
    snapshots = Snapshots(tmp_path / "x.snapshot", minutes=10)
    snapshots.after_step(lambda: pytest.fail("not yet"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_and_says_so(tmp_path, number):
    snapshots = Snapshots(tmp_path / "x.snapshot", minutes=10)
    handler = signal.signal(number, signal.default_int_handler)
    try:
        with snapshots.listening():
            os.kill(os.getpid(), number)
            with pytest.raises(UserError, match=rf"stopped by {number.name}; its state is saved"):
                snapshots.after_step(lambda: value(7))
            # The second time it acts as always.
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, handler)
    assert snapshots.load() == value(7)


def test_a_warning_saves_and_training_goes_on(tmp_path):
    snapshots = Snapshots(tmp_path / "x.snapshot", minutes=10)
    with snapshots.listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        snapshots.after_step(lambda: value(3))
        snapshots.after_step(lambda: pytest.fail("once is enough"))
    assert snapshots.load() == value(3)


def test_a_signal_that_is_to_be_ignored_stays_so(tmp_path):
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Snapshots(tmp_path / "x.snapshot", minutes=10).listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
