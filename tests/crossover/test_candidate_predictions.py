"""The candidates: soups and stitched files, and predictions that follow from their members."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from redheart.crossover import candidate_predictions, stitching
from redheart.crossover.soups import make_soups
from redheart.crossover.stitch_recipe import make_recipe
from redheart.errors import UserError
from redheart.evaluation import fusion, inference
from redheart.evaluation.inference import contributions, predictions
from redheart.model.states import load_into, module_states
from redheart.recipe.training_options import FusionOptions
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors, save_tensors
from redheart.tasks import metrics


def table(epoch, raw, ema):
    return {"epoch": epoch, "fused": {"raw": {"macro": raw}, "ema": {"macro": ema}}}


@pytest.fixture
def saved(members, tmp_path):
    """Two checkpoints of two networks, at epochs 2 and 4."""
    paths = []
    for epoch, network in zip((2, 4), members, strict=True):
        states = module_states(network)
        paths.append(str(tmp_path / f"epoch_{epoch:03d}.pt"))
        save_tensors(paths[-1], {"epoch": epoch, "weights": states, "ema": states})
        files.write_hash(paths[-1], files.sha256_file(paths[-1]))
    return paths


@pytest.mark.slow
def test_soups_are_means_and_the_greedy_one_is_no_worse(saved, recipe, part):
    network = inference.network_for(recipe, part)
    load = candidate_predictions.loader(saved)
    states = {int(Path(path).stem[-3:]): load_tensors(path)["weights"] for path in saved}
    scores = {
        epoch: metrics.macro(
            recipe.tasks,
            candidate_predictions.fit_fusion(network, states[epoch], part, recipe)[0],
            part.targets,
        )
        for epoch in states
    }
    tables = [table(epoch, score, 0.0) for epoch, score in scores.items()]
    soups = {}
    recipes = make_soups(network, load, tables, part, recipe, soups.__setitem__)
    for module, parameters in soups["uniform"].items():
        for name, value in parameters.items():
            mean = (states[2][module][name] + states[4][module][name]) / 2
            torch.testing.assert_close(value, mean)
    greedy, _ = candidate_predictions.fit_fusion(network, soups["greedy"], part, recipe)
    assert metrics.macro(recipe.tasks, greedy, part.targets) >= max(scores.values())
    assert recipes["uniform"]["epochs"] == [2, 4]
    assert recipes["greedy"]["epochs"][0] == max(scores, key=scores.get)
    # The averages of these checkpoints are their weights, but were ranked otherwise.
    assert hash_modules(soups["uniform_ema"]) == hash_modules(soups["uniform"])
    assert recipes["greedy_ema"]["epochs"][0] == 2


def predict(network, paths, parts, recipe, **facts):
    """Let candidates predict, from their members' paths; `facts` add to a candidate's source."""
    sources = {
        name: {"members": [[path, "weights"] for path in member_files], **facts.get(name, {})}
        for name, member_files in paths.items()
    }
    members = {name: [tuple(m) for m in source["members"]] for name, source in sources.items()}
    return candidate_predictions.predict_candidates(network, sources, members, parts, recipe)


def test_several_models_may_each_predict_tasks_of_their_own(saved, recipe, part):
    network = inference.network_for(recipe, part)
    parts = {"val_select": part}
    paths = {"first": saved[:1], "second": saved[1:], "best": saved}
    member = {task.name: i % 2 for i, task in enumerate(recipe.tasks)}
    predicted, _ = predict(network, paths, parts, recipe, best={"tasks": member})
    for name, i in member.items():
        expected = predicted[("first", "second")[i]]["val_select"][name]
        np.testing.assert_array_equal(predicted["best"]["val_select"][name], expected)


def test_the_same_weights_predict_once_and_are_named(saved, recipe, part, monkeypatch):
    network = inference.network_for(recipe, part)
    fused = []
    original = candidate_predictions.fit_fusion
    monkeypatch.setattr(
        candidate_predictions, "fit_fusion", lambda *given: fused.append(1) or original(*given)
    )
    second_member = {"tasks": {task.name: 1 for task in recipe.tasks}}
    paths = {"a": saved[:1], "b": saved, "again": saved[:1], "turned": saved[::-1], "c": saved}
    predicted, sources = predict(network, paths, {"val_select": part}, recipe, c=second_member)
    assert len(fused) == 2
    named = {name: source.get("same_as") for name, source in sources.items()}
    assert named == {"a": None, "b": None, "again": "a", "turned": "b", "c": None}
    for task in recipe.tasks:
        again, a = (predicted[name]["val_select"][task.name] for name in ("again", "a"))
        np.testing.assert_array_equal(again, a)


def test_an_ensemble_predicts_the_mean_of_its_members(saved, recipe, part):
    network = inference.network_for(recipe, part)
    parts = {"val_select": part, "test": part.head(30)}
    members = {"one": saved[:1], "both": saved}
    predicted, sources = predict(network, members, parts, recipe)
    states = load_tensors(saved[1])["weights"]
    second = candidate_predictions.predict(
        network, states, parts["test"], recipe, sources["both"]["fusion"][1]
    )
    for task in recipe.tasks:
        mean = (predicted["one"]["test"][task.name] + second[task.name]) / 2
        np.testing.assert_allclose(predicted["both"]["test"][task.name], mean, atol=1e-6)


def test_all_parts_are_predicted_with_the_weights_that_val_select_decides(saved, recipe, part):
    network = inference.network_for(recipe, part)
    parts = {"val_select": part.head(20), "test": part}
    predicted, sources = predict(network, {"one": saved[:1]}, parts, recipe)
    load_into(network, load_tensors(saved[0])["weights"])
    on_validation = contributions(network, parts["val_select"], recipe.train)
    expected = fusion.choose_weights(
        recipe.tasks, on_validation, parts["val_select"].targets, recipe.fusion
    )
    assert sources["one"]["fusion"] == [expected]
    for task in recipe.tasks:
        both = (predicted["one"][name][task.name] for name in ("test", "val_select"))
        test, validation = both
        np.testing.assert_allclose(test[:20], validation, rtol=1e-4, atol=1e-6)


def test_by_config_all_modules_count_the_same(saved, recipe, part):
    equal = replace(recipe, fusion=FusionOptions("equal", balance=False))
    network = inference.network_for(recipe, part)
    states = load_tensors(saved[0])["weights"]
    predicted, _ = candidate_predictions.fit_fusion(network, states, part, equal)
    expected = predictions(recipe.tasks, contributions(network, part, recipe.train))
    for task in recipe.tasks:
        np.testing.assert_allclose(predicted[task.name], expected[task.name], rtol=1e-5, atol=1e-6)


def stitch_recipe(saved):
    manifests = {
        epoch: {"weights": hash_modules(load_tensors(path)["weights"])}
        for epoch, path in zip((2, 4), saved, strict=True)
    }
    modules = list(manifests[2]["weights"])
    groups = {"A": [m for m in modules if m == "backbone" or m.startswith("heads.")]}
    groups["rest"] = [m for m in modules if m not in groups["A"]]
    return make_recipe({"A": 2, "rest": 4}, groups, manifests)


def test_a_stitched_file_holds_each_module_of_its_epoch(saved, tmp_path):
    recipe = stitch_recipe(saved)
    stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    hashes = hash_modules(load_tensors(tmp_path / "optimal.pt")["weights"])
    assert hashes == {name: source["sha256"] for name, source in recipe["modules"].items()}


def test_a_damaged_module_is_not_stitched(saved, tmp_path):
    recipe = stitch_recipe(saved)
    damaged = load_tensors(saved[0])
    damaged["weights"]["backbone"] = {
        name: value + 1 for name, value in damaged["weights"]["backbone"].items()
    }
    save_tensors(saved[0], damaged)
    with pytest.raises(UserError, match=r"epoch_002\.pt: module backbone is damaged"):
        stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved)
    assert not (tmp_path / "optimal.pt").exists()


# --- files that the run did not make --------------------------------------------------------


class Intruder:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def flip(path):
    content = bytearray(path.read_bytes())
    weight = load_tensors(path)["weights"]["backbone"]["layers.0.feedforward.widen.weight"]
    content[content.index(weight.numpy().tobytes()) + 7] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "foreign": lambda path: torch.save({"weights": {}}, path),
    "another": lambda path: shutil.copy(path.with_name("epoch_004.pt"), path),
    "malicious": lambda path: torch.save(Intruder(path.with_name("made")), path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Intruder(path.with_name("made")))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_no_reader_takes_another_file_for_a_checkpoint(saved, tmp_path, damage):
    recipe, path = stitch_recipe(saved), Path(saved[0])
    damage(path)
    readers = (
        lambda: candidate_predictions.loader(saved)(2),
        lambda: candidate_predictions.load_members([(saved[1], "ema"), (saved[0], "weights")]),
        lambda: stitching.write_stitched(tmp_path / "optimal.pt", recipe, saved),
    )
    for read in readers:
        with pytest.raises(UserError) as error:
            read()
        assert str(error.value).startswith(f"{path}: ")
        assert f"`rm {path}` and run the same command again" in str(error.value)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "made").exists()
    assert not (tmp_path / "optimal.pt").exists()


def test_a_pickle_with_the_right_hash_is_not_executed_either(saved, tmp_path):
    torch.save({"weights": Intruder(tmp_path / "made")}, saved[0])
    files.write_hash(saved[0], files.sha256_file(saved[0]))
    with pytest.raises(UserError, match="not a checkpoint that can be read safely"):
        candidate_predictions.loader(saved)(2)
    assert not (tmp_path / "made").exists()
