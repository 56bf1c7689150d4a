"""A trial: what determines it, the state that it resumes, and the result of an ended trial."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from redheart.encoding import tokens
from redheart.machine.memory_plan import UNLIMITED
from redheart.storage import files
from redheart.storage.store import Store
from redheart.sweep.trial import StoredTrial, Trial

END = {"rung": 1, "reason": "it fell behind"}


@pytest.fixture
def encoded(part, tmp_path):
    path = tmp_path / "part.npz"
    tokens.save_encoded(path, part)
    return str(path)


def trial_of(recipe, encoded, start, stop):
    return Trial(recipe, UNLIMITED, 1e-2, 0, start, stop, 4, encoded, encoded)


def stored_in(folder, trial):
    return StoredTrial(Store(folder), lambda epochs: f"{trial.rate}-{epochs}", 10)


def test_it_is_read_from_what_the_workflow_hands_over(encoded, shipped_config, tmp_path):
    files.write_json(tmp_path / "decision.json", {"eliminated": {"0.01": END}})
    inputs = SimpleNamespace(
        train=encoded, val_select="v", trunk=["t"], decision=[tmp_path / "decision.json"]
    )
    settings = {**shipped_config, "sweep": {"epochs": 5}}
    params = SimpleNamespace(memory={"budget_gb": 8.0}, epochs=[1, 3])
    trial = Trial.read(inputs, settings, SimpleNamespace(rate="0.01", seed="2"), params)
    assert (trial.rate, trial.seed, trial.start, trial.stop, trial.last) == (0.01, 2, 1, 3, 5)
    assert (trial.eliminated, trial.validation, trial.trunk) == (END, "v", "t")
    others = Trial.read(inputs, settings, SimpleNamespace(rate="0.001", seed="2"), params)
    assert others.eliminated is None


def test_rungs_only_divide_the_work(recipe, encoded):
    one, other = trial_of(recipe, encoded, 0, 2), trial_of(recipe, encoded, 1, 2)
    assert one.values(2) == other.values(2)
    assert one.values(2) != one.values(1)


def test_a_trial_that_is_ended_says_when_and_why(recipe, encoded):
    trial = Trial(recipe, UNLIMITED, 1e-2, 0, 1, 2, 4, encoded, encoded, END)
    assert trial.stopped() == {
        "learning_rate": 1e-2, "seed": 0, "diverged": None, "epochs": [], "summary": None,
        "record_losses": [], "eliminated": END,
    }  # fmt: skip
    assert trial.stopped({"learning_rate": 1e-2, "epochs": [1]})["epochs"] == [1]


@pytest.mark.slow
def test_a_second_rung_goes_on_from_the_first(recipe, encoded, tmp_path):
    def run(folder, *rungs):
        for start, stop in rungs:
            trial = trial_of(recipe, encoded, start, stop)
            stored = stored_in(folder, trial)
            proof = stored.state(stop)[1]
            proof.parent.mkdir(parents=True, exist_ok=True)
            table, facts = trial.train(stored, proof, lambda kept: None)
            stored.tidy(start, stop)
        return table, [row["epoch"] for row in facts["epochs"]], stored

    in_one_go, all_epochs, _ = run(tmp_path / "whole", (0, 4))
    in_rungs, last_epochs, stored = run(tmp_path / "rungs", (0, 2), (2, 4))
    assert in_rungs == in_one_go
    assert (all_epochs, last_epochs) == ([1, 2, 3, 4], [3, 4])
    assert not stored.state(2)[0].exists(), "nothing goes on from there any more"
    assert not stored.state(4)[0].exists(), "no rung can follow the last"


@pytest.mark.slow
def test_a_refused_trial_trains_nothing(recipe, encoded, tmp_path):
    def refuse(kept):
        raise ValueError("no room")

    trial = trial_of(recipe, encoded, 0, 2)
    with pytest.raises(ValueError, match="no room"):
        trial.train(stored_in(tmp_path, trial), tmp_path / "proof", refuse)
