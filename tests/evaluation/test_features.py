"""Features of a frozen trunk: computed once, read from the disk, and trained on without a trunk."""

from __future__ import annotations

import mmap
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from redheart.encoding import tokens
from redheart.encoding.batch import make_batch
from redheart.errors import UserError
from redheart.evaluation import features
from redheart.evaluation.inference import contributions
from redheart.model.backbone import Backbone, Features, masked_mean
from redheart.model.pretrained import StoredFeatures, backbone_for
from redheart.model.states import load_into, module_states
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import state as training_state
from redheart.training.epochs import train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg


class Table(Backbone):
    """A trunk that looks its features up."""

    dimension, depth = 6, 1

    def __init__(self, size=1.0):
        super().__init__()
        table = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
        self.table = nn.Embedding.from_pretrained(size * table)

    def forward(self, batch):
        tokens = self.table(batch.ids)
        return Features(tokens, masked_mean(tokens, batch.mask))

    def depth_of(self, parameter_name):
        return 0


def stored(part, recipe, path, trunk=None):
    """Write a part with its features; return it as training reads it."""
    trunk = trunk or Table()
    rows = features.features_of_texts(trunk, part, recipe.train)
    tokens.save_encoded(path, part, rows, trunk.dimension)
    return tokens.load_encoded(path)


@pytest.fixture(scope="module")
def frozen_recipe(recipe):
    return replace(recipe, model=replace(recipe.model, freeze_after=0))


@pytest.fixture(scope="module")
def frozen_part(part, recipe, tmp_path_factory):
    return stored(part, recipe, tmp_path_factory.mktemp("features") / "part.npz")


# --- on the disk ----------------------------------------------------------------------------


def test_every_text_gets_its_own_features_whatever_it_was_computed_with(
    part, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(features, "TEXTS_AT_ONCE", 7)
    monkeypatch.setattr(features, "TOKENS_PER_BATCH", 50)
    encoded = stored(part, recipe, tmp_path / "part.npz")
    table = Table().table.weight.half().numpy()
    for ids, rows in zip(part.ids, encoded.features, strict=True):
        np.testing.assert_array_equal(rows, table[ids])
        assert rows.dtype == np.float16


def test_features_are_read_from_the_disk_and_everything_else_stays(part, frozen_part):
    owner = frozen_part.features[0]
    while isinstance(owner, np.ndarray):
        owner = owner.base
    assert isinstance(owner, mmap.mmap)
    for ids, stored_ids in zip(part.ids, frozen_part.ids, strict=True):
        np.testing.assert_array_equal(ids, stored_ids)
    for task, rows in part.targets.items():
        np.testing.assert_array_equal(frozen_part.targets[task], rows)
    assert part.features is None


def test_equal_features_have_equal_bytes(part, recipe, tmp_path):
    for name in ("a.npz", "b.npz"):
        stored(part, recipe, tmp_path / name)
    assert files.sha256_file(tmp_path / "a.npz") == files.sha256_file(tmp_path / "b.npz")


def test_the_head_of_a_part_keeps_texts_and_features_together(frozen_part):
    head = frozen_part.head(7)
    assert [len(rows) for rows in head.features] == head.lengths.tolist()


def test_features_that_float16_cannot_hold_are_refused(part, recipe, tmp_path):
    with pytest.raises(UserError, match="not finite in float16"):
        stored(part, recipe, tmp_path / "part.npz", Table(1e6))
    assert list(tmp_path.iterdir()) == []


# --- in the network -------------------------------------------------------------------------


def test_a_batch_pads_features_with_zeros(frozen_part):
    batch = make_batch(frozen_part, [7, 0, 39])
    assert batch.features.shape == (*batch.ids.shape, 6)
    assert not batch.features[~batch.mask].any()
    np.testing.assert_array_equal(batch.features[1][batch.mask[1]], frozen_part.features[0])
    assert batch.doubled().features.shape[0] == 6


def test_stored_features_give_what_the_trunk_gave(part, frozen_part):
    rows = [3, 1, 2]
    live = Table()(make_batch(part, rows))
    features = StoredFeatures(6)(make_batch(frozen_part, rows))
    mask = make_batch(part, rows).mask
    torch.testing.assert_close(features.tokens[mask], live.tokens[mask], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(features.pooled, live.pooled, rtol=1e-3, atol=1e-3)


def test_a_part_without_features_is_no_bug_of_torch(part):
    with pytest.raises(ValueError, match="no features of a frozen trunk"):
        StoredFeatures(6)(make_batch(part, [0]))


def test_the_part_tells_which_trunk_reads_it(part, frozen_part):
    assert backbone_for(part) is None
    assert backbone_for(frozen_part).dimension == 6


def trained(recipe, part, ancestor=None, epochs=2):
    state = training_state.prepare(recipe, part, 1e-2, 0)
    train_leg(state, part, Leg(0, epochs), ancestor)
    return state


def saved(state, folder):
    training_state.save_leg(state, [], folder, folder / "state", {"key": "k", "parent": None})
    return Ancestor(folder / "weights", folder / "state", state.epoch)


def states(state):
    return hash_modules(module_states(state.network))


def test_a_checkpoint_holds_nothing_of_a_frozen_trunk(frozen_recipe, frozen_part, tmp_path):
    state = trained(frozen_recipe, frozen_part)
    saved(state, tmp_path)
    modules = set(load_tensors(tmp_path / "weights")["weights"])
    assert "backbone" not in modules
    assert {"heads.verdict", "neural_verdict", "dsp", "kalman", "advanced_regret"} <= modules


def test_two_legs_on_stored_features_equal_one(frozen_recipe, frozen_part, tmp_path):
    first = saved(trained(frozen_recipe, frozen_part, epochs=1), tmp_path)
    assert states(trained(frozen_recipe, frozen_part, first)) == states(
        trained(frozen_recipe, frozen_part)
    )


def test_a_live_frozen_trunk_predicts_as_its_stored_features_do(frozen_recipe, part, frozen_part):
    from redheart.evaluation.inference import network_for

    state = trained(frozen_recipe, frozen_part)
    live = network_for(frozen_recipe, part, Table())
    load_into(live, module_states(state.network))
    expected = contributions(state.network, frozen_part, frozen_recipe.train)
    outputs = contributions(live, part, frozen_recipe.train)
    for task, modules in expected.items():
        for module, output in modules.items():
            torch.testing.assert_close(outputs[task][module], output, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_training_on_stored_features_loads_no_transformers():
    program = (
        "import sys, redheart.training.epochs, redheart.evaluation.scoring\n"
        "import redheart.crossover.candidate_predictions, redheart.encoding.trunk\n"
        "print('transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


# --- frozen after some epochs -----------------------------------------------------------------


def test_a_trunk_learns_until_it_is_frozen_and_its_heads_go_on(recipe, part):
    late = replace(recipe, model=replace(recipe.model, freeze_after=1))
    first, second = (states(trained(late, part, epochs=epochs)) for epochs in (1, 2))
    assert first == states(trained(recipe, part, epochs=1))
    assert first["backbone"] == second["backbone"]
    assert all(first[module] != second[module] for module in first if module != "backbone")


def test_a_frozen_trunk_drops_nothing_out_and_counts_in_no_update(recipe, part):
    late = replace(recipe, model=replace(recipe.model, freeze_after=1))
    state = trained(late, part)
    assert not state.network.backbone.training
    assert state.network.modules_by_name()["heads.verdict"].training
    assert not any(weight.requires_grad for weight in state.network.backbone.parameters())
    statistics = train_epoch(state, part)
    assert 0 < statistics["update_ratio"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_trunk_frozen_later_resumes_bit_for_bit(recipe, part, tmp_path, epochs):
    late = replace(recipe, model=replace(recipe.model, freeze_after=1))
    first = saved(trained(late, part, epochs=epochs), tmp_path)
    resumed, uninterrupted = trained(late, part, first, epochs=3), trained(late, part, epochs=3)
    assert states(resumed) == states(uninterrupted)
    for average, expected in zip(resumed.average.values, uninterrupted.average.values, strict=True):
        assert torch.equal(average, expected)
