"""The profile of a step: its parts are found where they are looked up, and make up the whole."""

from __future__ import annotations

import subprocess
import sys

import pytest
import step_profile

from redheart.encoding import batch
from redheart.training import state as training_state


@pytest.mark.slow
def test_the_parts_of_an_epoch_make_up_the_whole(recipe, part, monkeypatch):
    monkeypatch.setattr(step_profile, "EPOCHS", 1)
    before = batch.make_batch
    shares = step_profile.epoch_shares(training_state.prepare(recipe, part, 1e-2, 0), part)
    assert batch.make_batch is before
    assert set(shares) == {"whole", *step_profile.PARTS, "all else"}
    assert min(shares.values()) > 0
    assert 2 * shares["whole"] == pytest.approx(sum(shares.values()))
    assert shares["backward"] + shares["forward"] > 0.3 * shares["whole"]


@pytest.mark.slow
def test_the_costs_of_a_leg_are_told_apart(recipe, part, tmp_path, monkeypatch):
    monkeypatch.setattr(step_profile, "EPOCHS", 1)
    costs = step_profile.leg_seconds(recipe, part, tmp_path)
    torch_alone, with_library = list(costs.values())[:2]
    assert 0.1 < torch_alone < 2 * with_library
    assert sum(costs.values()) > torch_alone


@pytest.mark.slow
def test_a_leg_imports_nothing_large_but_torch():
    large = "'scipy', 'sklearn', 'numba', 'tokenizers', 'matplotlib', 'rich', 'torch._dynamo'"
    code = (
        "import sys; from redheart.evaluation import scoring; "
        "from redheart.machine import device; from redheart.training import epochs, progress; "
        "from redheart.recipe.training_options import TrainOptions; "
        "device.open_device(TrainOptions()); "
        f"print([name for name in ({large}) if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
