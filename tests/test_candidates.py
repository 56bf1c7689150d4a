"""The candidates: what each is made of, and that predictions follow from that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from redheart import candidates, checkpoint, crossover, fusion, inference, stitching
from redheart.errors import UserError
from redheart.inference import contributions, predictions
from redheart.training_options import FusionOptions


def table(epoch, raw, ema):
    return {"epoch": epoch, "fused": {"raw": {"macro": raw}, "ema": {"macro": ema}}}


TABLES = [table(2, 0.4, 0.1), table(4, 0.6, 0.3), table(6, 0.6, 0.2), table(8, None, 0.3)]


def test_epochs_are_ranked_by_macro_and_earlier_ones_first():
    assert candidates.ranked_epochs(TABLES) == [4, 6, 2, 8]
    assert candidates.best_epoch(TABLES, "ema") == 4


def test_every_candidate_names_its_members():
    variants = [{"offset": o, "same_as": same} for o, same in ((-4, -2), (-2, None), (0, None))]
    soups = {"uniform": {"epochs": [2, 4]}, "greedy": {"epochs": [4]}}
    plan = candidates.plan_candidates(TABLES, soups, {"A": 4}, variants)
    assert plan["last"]["members"] == [["ckpt/epoch_008.pt", "weights"]]
    assert plan["best_single"]["members"] == [["ckpt/epoch_004.pt", "weights"]]
    assert plan["ema"]["members"] == [["ckpt/epoch_004.pt", "ema"]]
    assert plan["crossover"]["epochs"] == {"A": 4}
    assert plan["variants_ensemble"]["members"] == [
        ["variants/offset_-2.pt", "weights"],
        ["variants/offset_0.pt", "weights"],
    ]
    assert plan["variants_ensemble"]["forward_passes"] == 2


@pytest.fixture
def saved(members, tmp_path):
    """Two checkpoints of two networks, at epochs 2 and 4."""
    paths = []
    for epoch, network in zip((2, 4), members, strict=True):
        states = checkpoint.module_states(network)
        paths.append(str(tmp_path / f"epoch_{epoch:03d}.pt"))
        checkpoint.save_tensors(paths[-1], {"epoch": epoch, "weights": states, "ema": states})
    return paths


@pytest.mark.slow
def test_soups_are_means_and_the_greedy_one_is_no_worse(saved, recipe, part):
    network = inference.empty_network(recipe, part)
    load = candidates.loader(saved)
    states = {epoch: load(epoch)["weights"] for epoch in (2, 4)}
    scores = {
        epoch: candidates.metrics.macro(
            recipe.tasks,
            candidates.fuse(network, states[epoch], part, recipe)[0],
            part.targets,
        )
        for epoch in states
    }
    tables = [table(epoch, score, 0.0) for epoch, score in scores.items()]
    soups, recipes = candidates.make_soups(network, load, tables, part, recipe)
    for module, parameters in soups["uniform"].items():
        for name, value in parameters.items():
            mean = (states[2][module][name] + states[4][module][name]) / 2
            torch.testing.assert_close(value, mean)
    greedy, _ = candidates.fuse(network, soups["greedy"], part, recipe)
    assert candidates.metrics.macro(recipe.tasks, greedy, part.targets) >= max(scores.values())
    assert recipes["uniform"]["epochs"] == [2, 4]
    assert recipes["greedy"]["epochs"][0] == max(scores, key=scores.get)


def test_an_ensemble_predicts_the_mean_of_its_members(saved, recipe, part):
    network = inference.empty_network(recipe, part)
    members = {"one": [(saved[0], "weights")], "both": [(path, "ema") for path in saved]}
    parts = {"val_select": part, "test": part.head(30)}
    predicted, weights = candidates.predict_candidates(network, members, parts, recipe)
    states = checkpoint.load_tensors(saved[1])["weights"]
    second = candidates.predict(network, states, parts["test"], recipe, weights["both"][1])
    for task in recipe.tasks:
        mean = (predicted["one"]["test"][task.name] + second[task.name]) / 2
        np.testing.assert_allclose(predicted["both"]["test"][task.name], mean, atol=1e-6)


def test_all_parts_are_predicted_with_the_weights_that_val_select_decides(saved, recipe, part):
    network = inference.empty_network(recipe, part)
    members = {"one": [(saved[0], "weights")]}
    parts = {"val_select": part.head(20), "test": part}
    predicted, weights = candidates.predict_candidates(network, members, parts, recipe)
    checkpoint.load_into(network, checkpoint.load_tensors(saved[0])["weights"])
    on_validation = contributions(network, parts["val_select"], recipe.train)
    expected = fusion.choose_weights(
        recipe.tasks, on_validation, parts["val_select"].targets, recipe.fusion
    )
    assert weights["one"] == [expected]
    for task in recipe.tasks:
        both = (predicted["one"][name][task.name] for name in ("test", "val_select"))
        test, validation = both
        np.testing.assert_allclose(test[:20], validation, rtol=1e-4, atol=1e-6)


def test_by_config_all_modules_count_the_same(saved, recipe, part):
    equal = replace(recipe, fusion=FusionOptions("equal", balance=False))
    network = inference.empty_network(recipe, part)
    states = checkpoint.load_tensors(saved[0])["weights"]
    predicted, _ = candidates.fuse(network, states, part, equal)
    expected = predictions(recipe.tasks, contributions(network, part, recipe.train))
    for task in recipe.tasks:
        np.testing.assert_allclose(predicted[task.name], expected[task.name], rtol=1e-5, atol=1e-6)


def stitch_recipe(saved):
    manifests = {
        epoch: {"weights": checkpoint.hash_modules(checkpoint.load_tensors(path)["weights"])}
        for epoch, path in zip((2, 4), saved, strict=True)
    }
    modules = list(manifests[2]["weights"])
    groups = {"A": [m for m in modules if m == "backbone" or m.startswith("heads.")]}
    groups["rest"] = [m for m in modules if m not in groups["A"]]
    return crossover.make_recipe({"A": 2, "rest": 4}, groups, manifests)


def test_a_stitched_file_holds_each_module_of_its_epoch(saved, tmp_path):
    recipe = stitch_recipe(saved)
    stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    found = checkpoint.hash_modules(checkpoint.load_tensors(tmp_path / "optimal.pt")["weights"])
    assert found == {name: source["sha256"] for name, source in recipe["modules"].items()}


def test_a_damaged_module_is_not_stitched(saved, tmp_path):
    recipe = stitch_recipe(saved)
    damaged = checkpoint.load_tensors(saved[0])
    damaged["weights"]["backbone"] = {
        name: value + 1 for name, value in damaged["weights"]["backbone"].items()
    }
    checkpoint.save_tensors(saved[0], damaged)
    with pytest.raises(UserError, match=r"epoch_002\.pt: module backbone is damaged"):
        stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    assert not (tmp_path / "optimal.pt").exists()
