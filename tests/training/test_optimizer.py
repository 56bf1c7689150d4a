"""The optimizer: rates by hand, torch's schedule, copies and naive loops as oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from redheart.encoding.tokens import PartSizes
from redheart.model.lexical import LexicalBranch
from redheart.model.network import build_network
from redheart.model.states import parameters_by_module
from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import TrainOptions
from redheart.tasks.losses import record_losses
from redheart.tasks.task import Task
from redheart.training import optimizer as optim
from redheart.training.adamw import AdamW
from redheart.training.optimizer import (
    MovingAverage,
    _lexical_groups,
    build_optimizer,
    clip,
    clipping_units,
    rate_multipliers,
    set_learning_rate,
    update_ratios,
)


@pytest.fixture(scope="module")
def network(tasks):
    options = ModelOptions(dimension=8, layers=3, attention_heads=2, feedforward=16)
    return build_network(options, tasks, PartSizes(20, 8, lexicon_size=12), seed=0)


# --- learning rates -------------------------------------------------------------------------


def test_rates_fall_with_depth_and_are_lower_for_analyzers(network):
    multipliers = rate_multipliers(network, TrainOptions(layer_decay=0.9, analyzer_rate=0.7))
    backbone = {
        name.removesuffix(".weight"): rate for name, rate in multipliers["backbone"].items()
    }
    assert backbone["embedding"] == pytest.approx(0.9**2)
    assert backbone["layers.0.query_key_value"] == pytest.approx(0.9**2)
    assert backbone["layers.1.query_key_value"] == pytest.approx(0.9)
    assert backbone["layers.2.query_key_value"] == 1
    assert backbone["norm"] == 1
    for module, rates in multipliers.items():
        if module != "backbone":
            special = {"heads": 1.0, "lexical": 0.0}
            expected = special.get(module.replace("_", ".").partition(".")[0], 0.7)
            assert set(rates.values()) == {expected}, module


def test_every_parameter_is_in_exactly_one_group_at_its_rate(network):
    options = TrainOptions(layer_decay=0.5, analyzer_rate=0.7)
    optimizer = build_optimizer(network, options)
    grouped = [(id(p), g["multiplier"]) for g in optimizer.param_groups for p in g["params"]]
    assert len(grouped) == len(list(network.parameters()))
    multipliers = rate_multipliers(network, options)
    assert dict(grouped) == {
        id(parameter): multipliers[module][name]
        for module, parameters in parameters_by_module(network).items()
        for name, parameter in parameters.items()
    }
    swept = [group for group in optimizer.param_groups if group["multiplier"]]
    assert {group["multiplier"] for group in swept} == {0.25, 0.5, 0.7, 1.0}
    assert {group["weight_decay"] for group in swept} == {options.weight_decay}
    assert {group["own_rate"] for group in swept} == {0.0}


def test_every_group_gets_its_multiple_of_the_rate(network):
    optimizer = build_optimizer(network, TrainOptions(layer_decay=1.0, analyzer_rate=0.5))
    set_learning_rate(optimizer, 0.02, 0.5)
    rates = [(group["lr"], group["own_rate"]) for group in optimizer.param_groups]
    assert rates[:2] == [(0.005, 0.0), (0.01, 0.0)]
    assert len(rates) > 2
    assert all(rate == own_rate / 2 > 0 for rate, own_rate in rates[2:])


def fitted_branch(task, features, target, epochs=4000):
    """What a lexical branch predicts after many steps of gradient descent on all records."""
    options = TrainOptions(lexical_rate=10.0, lexical_decay=0.01)
    branch = LexicalBranch(features.shape[1], task.width)
    groups = _lexical_groups(branch, task, options)
    optimizer = AdamW(groups)
    columns = torch.arange(features.shape[1]).expand(len(features), -1)
    for step in range(epochs):
        set_learning_rate(optimizer, 1.0, optim.schedule(step, epochs, 0.0))
        losses = record_losses(task, branch(columns, features), target)
        optimizer.zero_grad()
        (task.weight * losses.mean()).backward()
        optimizer.step()
    return branch(columns, features).detach().numpy()


@pytest.fixture(scope="module")
def sparse():
    """Records with a few n-grams each, of length 1, and numbers that depend on the n-grams."""
    rng = np.random.default_rng(0)
    features = rng.random((120, 30)) * (rng.random((120, 30)) < 0.2)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    return features, features @ rng.normal(size=(30, 3)) + 0.5 + 0.2 * rng.normal(size=(120, 3))


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_a_lexical_branch_becomes_ridge_regression(sparse, weight):
    from sklearn.linear_model import Ridge

    features, target = sparse
    task = Task("t", "regression", "t", tuple("abc"), weight=weight)
    predicted = fitted_branch(task, *(torch.from_numpy(x).float() for x in sparse))
    expected = Ridge(alpha=0.01 * len(features)).fit(features, target).predict(features)
    np.testing.assert_allclose(predicted, expected, atol=0.02)


@pytest.mark.slow
def test_a_lexical_branch_becomes_logistic_regression(sparse):
    from sklearn.linear_model import LogisticRegression

    features, target = sparse
    classes = target.argmax(axis=1)
    task = Task("t", "multiclass", "t", tuple("abc"))
    one_hot = torch.from_numpy(np.eye(3)[classes]).float()
    logits = fitted_branch(task, torch.from_numpy(features).float(), one_hot)
    oracle = LogisticRegression(C=4 / (0.01 * len(features)), tol=1e-8, max_iter=1000)
    expected = oracle.fit(features, classes).predict_proba(features)
    probabilities = torch.from_numpy(logits).softmax(dim=-1).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=2e-3)


@pytest.mark.parametrize("final_rate", [0.0, 0.1, 1.0])
def test_the_schedule_is_the_cosine_of_torch(final_rate):
    peak, steps = 3e-3, 30
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, peak * final_rate)
    for step in range(steps + 1):
        rate = peak * optim.schedule(step, steps, final_rate)
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-15)
        optimizer.step()
        schedule.step()


def test_after_the_schedule_the_rate_stays_at_its_end():
    assert optim.schedule(31, 30, 0.25) == optim.schedule(99, 30, 0.25) == 0.25
    assert optim.schedule(99, 30, 0.0) == 0


# --- clipping -------------------------------------------------------------------------------


def test_backbone_and_heads_share_a_norm_and_every_other_module_has_its_own(network):
    units = clipping_units(parameters_by_module(network))
    assert set(units) == {
        "trunk",
        *(f"neural_{task}" for task in ("emotion", "verdict", "tags", "regret")),
        *("dsp", "kalman", "advanced_emotion", "advanced_regret"),
        *(f"lexical_{task}" for task in ("emotion", "verdict", "tags", "regret")),
    }
    clipped = [id(parameter) for parameters in units.values() for parameter in parameters]
    assert sorted(clipped) == sorted(map(id, network.parameters()))
    in_trunk = set(map(id, units["trunk"]))
    assert all(id(parameter) in in_trunk for parameter in network.backbone.parameters())


def test_a_huge_gradient_shrinks_no_other_modules_step():
    units = {name: [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))] for name in "ab"}
    for parameter in units["a"]:
        parameter.grad = torch.full((2,), 1e6)
    for parameter in units["b"]:
        parameter.grad = torch.tensor([0.3, -0.4])
    norms = clip(units, 1.0)
    assert norms["a"].item() == pytest.approx(2e6)
    assert norms["b"].item() == pytest.approx(math.sqrt(0.5))
    assert all(torch.equal(p.grad, torch.tensor([0.3, -0.4])) for p in units["b"])
    left = torch.cat([p.grad for p in units["a"]])
    torch.testing.assert_close(left, torch.full((4,), 0.5))


# --- the update ratio -----------------------------------------------------------------------


@pytest.mark.parametrize("own_rate", [0.0, 3.0])
def test_the_update_ratios_equal_those_of_a_copy(own_rate):
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(5, 3, generator=generator)) for _ in range(3)]
    idle = nn.Parameter(torch.randn(4, generator=generator))
    units = {"a": weights[:2], "b": [weights[2], idle]}
    optimizer = AdamW(
        [
            {"params": weights[:2], "lr": 0.02},
            {"params": [weights[2], idle], "lr": 0.05, "own_rate": own_rate},
        ],
        weight_decay=0.3,
    )
    assert update_ratios(optimizer, units) == {"a": 0.0, "b": 0.0, "all": 0.0}
    for _ in range(4):
        before = [w.detach().clone() for w in weights]
        for weight in weights:
            weight.grad = torch.randn(5, 3, generator=generator)
        optimizer.step()

        def ratio(members, before=before):
            both = [torch.stack([of[i].detach() for i in members]) for of in (before, weights)]
            return pytest.approx(float((both[1] - both[0]).norm() / both[0].norm()), rel=1e-4)

        swept = (0, 1) if own_rate else (0, 1, 2)  # a rate of one's own tells nothing of the sweep
        expected = {"a": ratio((0, 1)), "b": ratio((2,)), "all": ratio(swept)}
        assert update_ratios(optimizer, units) == expected


# --- the moving average ---------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_the_average_equals_a_loop_in_double_precision(decay):
    generator = torch.Generator().manual_seed(0)
    named = {"backbone": {"w": nn.Parameter(torch.randn(7, generator=generator))}}
    named["dsp"] = {"b": nn.Parameter(torch.randn(2, generator=generator))}
    sources = {(m, n): p for m, ps in named.items() for n, p in ps.items()}
    average = MovingAverage(named, decay)
    expected = {key: p.detach().double().clone() for key, p in sources.items()}
    for step in range(40):
        share = min(decay, (1 + step) / (10 + step))
        for key, parameter in sources.items():
            parameter.data = torch.randn(parameter.shape, generator=generator)
            expected[key] = share * expected[key] + (1 - share) * parameter.detach().double()
        average.update(step)
    for (module, name), value in expected.items():
        averaged = average.state()[module][name].double()
        torch.testing.assert_close(averaged, value, rtol=1e-5, atol=1e-6)


def test_the_average_is_in_full_precision_even_of_half_precision_weights():
    parameter = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    average = MovingAverage({"dsp": {"w": parameter}}, 0.999)
    parameter.data = torch.full((1,), 1.0078125, dtype=torch.bfloat16)  # the next bfloat16
    for step in range(10_000, 10_100):
        average.update(step)
    value = average.state()["dsp"]["w"]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(1 + 0.0078125 * (1 - 0.999**100), rel=1e-6)


def test_an_average_starts_at_the_weights_and_is_no_view_of_them():
    parameter = nn.Parameter(torch.ones(2))
    average = MovingAverage({"dsp": {"w": parameter}}, 0.9)
    parameter.data.zero_()
    assert average.state()["dsp"]["w"].tolist() == [1, 1]


def test_a_saved_average_is_taken_up():
    named = {"dsp": {"w": nn.Parameter(torch.ones(2))}}
    average = MovingAverage(named, 0.9)
    saved = {"dsp": {"w": torch.tensor([3.0, 4.0])}}
    average.load(saved)
    average.update(1000)
    assert average.state()["dsp"]["w"].tolist() == pytest.approx([2.8, 3.7])
    assert saved["dsp"]["w"].tolist() == [3, 4]
