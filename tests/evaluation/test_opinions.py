"""What a checkpoint says about every record, against one pass over the whole part."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.evaluation import opinions
from redheart.evaluation.fusion import OFFSET, choose_weights, fused_predictions
from redheart.evaluation.inference import contributions, network_for
from redheart.model.states import load_into, module_states
from redheart.storage import files
from redheart.storage.tensors import save_tensors


@pytest.fixture
def checkpoint(recipe, part, tmp_path):
    """A checkpoint on disk: its path, what each module counts, and its predictions for the part."""
    network = network_for(recipe, part)
    path = tmp_path / "epoch_001.pt"
    files.write_hash(path, save_tensors(path, {"weights": module_states(network)}))
    outputs = contributions(network, part, recipe.train)
    weights = choose_weights(recipe.tasks, outputs, part.targets, recipe.fusion)
    plain = {
        task: {name: value for name, value in by_name.items() if name[0] != OFFSET}
        for task, by_name in weights.items()
    }
    return path, weights, fused_predictions(recipe.tasks, outputs, plain)


def test_scored_and_judged_records_are_the_whole_part(recipe, part, checkpoint, tmp_path):
    path, weights, expected = checkpoint
    network = network_for(recipe, part)
    load_into(network, {name: dict(s) for name, s in module_states(network).items()})
    scored = {"train": contributions(network, part.head(25), recipe.train)}
    opinions.save(tmp_path / "scored.npz", recipe.tasks, scored, weights)
    rest = {"train": opinions.rest(part, 25), "val_confirm": part}
    opinions.judge(rest, path, weights, recipe, tmp_path / "judged.npz")
    found = opinions.load(tmp_path / "scored.npz", tmp_path / "judged.npz")
    assert found.keys() == {"train", "val_confirm"}
    for task, rows in expected.items():
        for of_part in found.values():
            np.testing.assert_allclose(of_part[task], rows, atol=1e-5)


def test_a_part_without_further_records_is_passed_over(recipe, part, checkpoint, tmp_path):
    path, weights, _ = checkpoint
    parts = {"train": opinions.rest(part, len(part)), "test": part.head(3)}
    opinions.judge(parts, path, weights, recipe, tmp_path / "judged.npz")
    found = opinions.load(tmp_path / "judged.npz")
    assert found.keys() == {"test"} and all(len(rows) == 3 for rows in found["test"].values())


def test_the_rest_of_a_part_keeps_texts_targets_and_ngrams_together(part):
    rest = opinions.rest(part, 7)
    assert len(rest) == len(part) - 7
    for i in (0, len(rest) - 1):
        assert (rest.ids[i] == part.ids[i + 7]).all()
        for task, rows in rest.targets.items():
            np.testing.assert_array_equal(rows[i], part.targets[task][i + 7])
        if part.ngrams:
            for own, whole in zip(
                rest.ngrams.padded([i]), part.ngrams.padded([i + 7]), strict=True
            ):
                np.testing.assert_array_equal(own, whole)
    assert len(opinions.rest(part, 1000)) == 0
