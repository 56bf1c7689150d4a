"""Several processes on a CPU train what one does: the same losses, checkpoints of one format."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from redheart import checkpoint, files, launch, training, training_state
from redheart.legs import Ancestor, Leg
from redheart.ranks import Alone


@pytest.fixture(scope="session")
def steady(recipe):
    """The recipe without dropout, whose random numbers are each process's own."""
    return replace(recipe, model=replace(recipe.model, dropout=0.0))


def train(recipe, part, folder, leg, processes, ancestor=None):
    """Train a leg as the script does; return what later ones go on from."""

    def work(group: Alone):
        state = training_state.prepare(recipe, part, 1e-2, seed=0, ranks=group)
        statistics = training.train_leg(state, part, leg, ancestor)
        keys = {"key": "k", "parent": None}
        training_state.save_leg(state, statistics, folder, folder / "state", keys)

    launch.on_devices(work, processes, recipe.train)
    return Ancestor(folder / "weights", folder / "state", leg.stop)


@pytest.fixture(scope="module")
def alone(steady, part, tmp_path_factory):
    """Checkpoints of epochs 1 and 2 by one process."""
    folder = tmp_path_factory.mktemp("alone")
    first = train(steady, part, folder / "1", Leg(0, 1), 1)
    train(steady, part, folder / "2", Leg(1, 2), 1, first)
    return folder


def shapes(value):
    """What a file holds, without the numbers."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.stride()
    if isinstance(value, dict):
        return {key: shapes(item) for key, item in value.items()}
    return [shapes(item) for item in value] if isinstance(value, list) else type(value)


def assert_alike(one, other):
    """The same files in the same format, and what they hold is equal but for rounding."""
    for name in ("weights", "state"):
        found = [checkpoint.load_tensors(folder / name) for folder in (one, other)]
        assert shapes(found[0]) == shapes(found[1])
    weights = [checkpoint.load_tensors(folder / "weights") for folder in (one, other)]
    for kind in ("weights", "ema"):
        for module, state in weights[0][kind].items():
            for name, value in state.items():
                torch.testing.assert_close(
                    weights[1][kind][module][name],
                    value,
                    rtol=1e-3,
                    atol=1e-4,
                    msg=f"{module}.{name}",
                )
    rows = [files.read_lines(folder / "steps") for folder in (one, other)]
    for row, expected in zip(*rows, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert row["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-3)
        assert row.keys() == expected.keys()
        assert row["tokens"] == expected["tokens"]
        if "update_ratio" in row:
            assert row["update_ratio"] == pytest.approx(expected["update_ratio"], rel=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_train_what_one_does(steady, part, alone, tmp_path, processes):
    train(steady, part, tmp_path / "1", Leg(0, 1), processes)
    assert_alike(alone / "1", tmp_path / "1")
