"""A rate on trial: what its file holds, and a rate at which training breaks down."""

from __future__ import annotations

import json

import pytest

from redheart.sweep.trial_training import Progress, resume_trial, save_trial, train_rate
from redheart.training import state as training_state
from redheart.training.epochs import train_epoch

pytestmark = pytest.mark.slow


def test_a_trial_trains_as_the_main_training_does(recipe, part):
    trial = train_rate(training_state.prepare(recipe, part, 1e-3, 0), part, part, 4)
    state = training_state.prepare(recipe, part, 1e-3, 0)
    statistics = [train_epoch(state, part) for _ in range(4)]
    assert trial["diverged"] is None
    assert [row["epoch"] for row in trial["epochs"]] == [1, 2, 3, 4]
    for row, epoch in zip(trial["epochs"], statistics, strict=True):
        assert row["gradient_norm"] == epoch["gradient_norm"]["all"]
        assert row["update_ratio"] == epoch["update_ratio"]
    losses = trial["record_losses"]
    assert sum(losses) / len(part) == pytest.approx(trial["summary"]["mean_val_loss_last3"])


def test_rates_start_from_the_same_weights(recipe, part):
    slow, slower = (
        train_rate(training_state.prepare(recipe, part, rate, 0), part, part, 1)["epochs"][0]
        for rate in (1e-12, 1e-13)
    )
    assert slow["val_loss"] == pytest.approx(slower["val_loss"], abs=1e-6)


def test_a_rate_at_which_training_breaks_down_is_a_result(recipe, part):
    trial = train_rate(training_state.prepare(recipe, part, 1e30, 0), part, part, 3)
    assert trial["diverged"]["epoch"] == 1
    assert "epoch 1" in trial["diverged"]["reason"]
    assert (trial["epochs"], trial["summary"], trial["record_losses"]) == ([], None, [])
    json.dumps(trial, allow_nan=False)


@pytest.mark.parametrize("stops", [(1, 2, 4), (3, 4)])
def test_a_trial_in_rungs_is_the_trial_in_one_go(recipe, part, tmp_path, stops):
    places = tmp_path / "state.pt", tmp_path / "proof"
    done = 0
    for stop in stops:
        state = training_state.prepare(recipe, part, 1e-2, 0)
        progress = resume_trial(state, *places)
        trial = train_rate(state, part, part, stop, progress=progress)
        assert len(state.meter.facts()["epochs"]) == stop - done, "it went on"
        done = stop
        save_trial(state, progress, *places)
    in_one_go = train_rate(training_state.prepare(recipe, part, 1e-2, 0), part, part, 4)
    assert json.dumps(trial) == json.dumps(in_one_go)


def damage(state, proof):
    state.write_bytes(state.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    "lose",
    [lambda state, proof: state.unlink(), lambda state, proof: proof.unlink(), damage],
    ids=["no state", "no proof", "damaged"],
)
def test_a_lost_state_costs_time_and_changes_nothing(recipe, part, tmp_path, lose):
    places = tmp_path / "state.pt", tmp_path / "proof"
    state, progress = training_state.prepare(recipe, part, 1e-2, 0), Progress()
    train_rate(state, part, part, 1, progress=progress)
    save_trial(state, progress, *places)
    lose(*places)
    state = training_state.prepare(recipe, part, 1e-2, 0)
    assert resume_trial(state, *places) == Progress()
    assert state.epoch == 0
