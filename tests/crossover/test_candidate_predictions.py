"""The predictions of candidates, which follow from those of their members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from redheart.crossover import candidate_predictions
from redheart.evaluation import fusion, inference
from redheart.evaluation.inference import contributions, predictions
from redheart.model.states import load_into
from redheart.recipe.training_options import FusionOptions
from redheart.storage.tensors import load_tensors


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
