"""The fusion's weights: brute force and scikit-learn as oracles, and what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redheart.evaluation import fusion
from redheart.evaluation.fusion import fusion_loss
from redheart.recipe.training_options import FusionOptions
from redheart.tasks import class_balance
from redheart.tasks.task import Task

KINDS = ("distribution", "multiclass", "multilabel", "regression")


def task_of(kind: str, width: int = 3) -> Task:
    return Task("t", kind, "field", tuple("abcdefg"[:width]))


def planted(kind, n=400, width=3, modules=3, seed=0):
    """Contributions of modules with ever more noise, and the targets that they are noisy views of.

    Some records lack all labels; where labels are several, some lack one.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n, width))
    noise = [(0.5 + 1.5 * m) * rng.normal(size=(n, width)) for m in range(modules)]
    contributions = {f"m{m}": torch.tensor(truth + e).float() for m, e in enumerate(noise)}
    share = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    target = {
        "distribution": share,
        "multiclass": np.eye(width)[[rng.choice(width, p=p) for p in share]],
        "multilabel": (rng.random((n, width)) < 1 / (1 + np.exp(-truth))).astype(float),
        "regression": truth,
    }[kind]
    if kind in ("multilabel", "regression"):
        target[rng.random((n, width)) < 0.1] = np.nan
    target[rng.random(n) < 0.1] = np.nan
    return contributions, target.astype(np.float32)


def problem(kind, **options):
    """A planted case, and the loss of any weights in it, as the fit minimises it."""
    contributions, target = planted(kind, **options)
    task = task_of(kind, target.shape[1])
    labelled = ~np.isnan(target).all(axis=1)
    stacked = np.stack([c.numpy()[labelled] for c in contributions.values()], axis=-1)
    data = task, stacked.astype(float), target[labelled].astype(float)
    fitted = fusion.fit_weights([task], {"t": contributions}, {"t": target})["t"]
    return np.array(list(fitted.values())), lambda weights: fusion_loss(weights, *data)


@pytest.mark.parametrize("kind", KINDS)
def test_no_weights_of_a_fine_grid_are_better(kind):
    fitted, loss = problem(kind, modules=2)
    steps = np.linspace(0, 2, 81)
    grid = min(loss(np.array([a, b]))[0] for a in steps for b in steps)
    assert loss(fitted)[0] <= grid
    assert grid == pytest.approx(loss(fitted)[0], rel=3e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_finite_differences(kind):
    _, loss = problem(kind)
    point = np.array([0.3, 0.9, 0.1])
    error = scipy.optimize.check_grad(lambda w: loss(w)[0], lambda w: loss(w)[1], point)
    assert error < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_the_curvature_is_that_of_finite_differences(kind):
    _, loss = problem(kind)
    point = np.array([0.3, 0.9, 0.1])
    differences = scipy.optimize.approx_fprime(point, lambda w: loss(w)[1])
    np.testing.assert_allclose(loss(point)[2], differences, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_scipys_search(kind, seed):
    fitted, loss = problem(kind, modules=5, width=4, seed=seed)
    search = scipy.optimize.minimize(
        lambda w: loss(w)[:2],
        np.full(5, 0.2),
        method="L-BFGS-B",
        jac=True,
        bounds=[(0, None)] * 5,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    np.testing.assert_allclose(fitted, search.x, atol=1e-5)
    assert loss(fitted)[0] <= search.fun * (1 + 1e-12)


def test_weights_that_can_only_harm_are_0():
    contributions, target = planted("regression", modules=2)
    against = {name: -value for name, value in contributions.items()}
    fitted = fusion.fit_weights([task_of("regression")], {"t": against}, {"t": target})
    assert set(fitted["t"].values()) == {0.0}


@pytest.mark.parametrize("kind", KINDS)
def test_the_better_a_module_the_more_it_counts(kind):
    weights, _ = problem(kind)
    assert weights[0] > weights[1] > weights[2] >= 0


def test_without_the_ridge_the_weights_are_those_of_a_logistic_regression(monkeypatch):
    from sklearn.linear_model import LogisticRegression

    monkeypatch.setattr(fusion, "PRIOR_DEVIATION", 1e6)
    contributions, target = planted("multilabel", width=1)
    task = task_of("multilabel", 1)
    fitted = fusion.fit_weights([task], {"t": contributions}, {"t": target})["t"]
    labelled = ~np.isnan(target[:, 0])
    stacked = torch.cat(list(contributions.values()), dim=1).numpy()
    oracle = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-8)
    oracle.fit(stacked[labelled], target[labelled, 0])
    np.testing.assert_allclose(list(fitted.values()), oracle.coef_[0], atol=2e-4)


def test_without_the_ridge_the_weights_of_a_regression_are_those_of_scipys_nnls(monkeypatch):
    monkeypatch.setattr(fusion, "PRIOR_DEVIATION", 1e6)
    contributions, target = planted("regression", width=1, modules=4)
    contributions["wrong"] = -contributions["m0"]
    fitted = fusion.fit_weights([task_of("regression", 1)], {"t": contributions}, {"t": target})
    labelled = ~np.isnan(target[:, 0])
    stacked = torch.cat(list(contributions.values()), dim=1).double().numpy()
    oracle, _ = scipy.optimize.nnls(stacked[labelled], target[labelled, 0].astype(float))
    np.testing.assert_allclose(list(fitted["t"].values()), oracle, atol=1e-4)
    assert fitted["t"]["wrong"] == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 40),
    width=st.integers(2, 4),
    modules=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
def test_fitted_weights_are_never_worse_than_equal_ones(kind, n, width, modules, seed, scale):
    contributions, target = planted(kind, n, width, modules, seed)
    contributions = {name: scale * value for name, value in contributions.items()}
    task, labelled = task_of(kind, width), ~np.isnan(target).all(axis=1)
    weights = fusion.fit_weights([task], {"t": contributions}, {"t": target})["t"]
    fitted = np.array(list(weights.values()))
    assert np.isfinite(fitted).all()
    assert (fitted >= 0).all()
    equal = np.full(modules, 1 / modules)
    if not labelled.any():
        np.testing.assert_array_equal(fitted, equal)
        return
    stacked = np.stack([c.numpy()[labelled] for c in contributions.values()], axis=-1)
    data = task, stacked.astype(float), target[labelled].astype(float)
    assert fusion_loss(fitted, *data)[0] <= fusion_loss(equal, *data)[0]


def test_records_without_a_label_change_nothing():
    contributions, target = planted("multiclass")
    labelled = ~np.isnan(target).all(axis=1)
    assert 0 < labelled.sum() < len(target)
    alone = {name: value[torch.from_numpy(labelled)] for name, value in contributions.items()}
    task = task_of("multiclass")
    assert fusion.fit_weights([task], {"t": contributions}, {"t": target}) == fusion.fit_weights(
        [task], {"t": alone}, {"t": target[labelled]}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_those_of_the_weighted_sum(kind):
    contributions, _ = planted(kind)
    task, weights = task_of(kind), {"m0": 0.7, "m1": 0.0, "m2": 0.6}
    (predicted,) = fusion.fused_predictions([task], {"t": contributions}, {"t": weights}).values()
    total = 0.7 * contributions["m0"] + 0.6 * contributions["m2"]
    expected = {"multilabel": total.sigmoid(), "regression": total}.get(kind, total.softmax(-1))
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected.numpy(), rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def rare():
    """A noisy view of classes, of which one is rare; two draws of the same kind."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        truth = rng.choice(2, size=1500, p=(0.85, 0.15))
        view = rng.normal(size=1500) + 1.5 * truth
        logits = np.stack([np.zeros(1500), 1.5 * view - 1.125 + np.log(0.15 / 0.85)], axis=1)
        return torch.from_numpy(logits), np.eye(2)[truth]

    return draw(0), draw(1)


def test_raising_a_rare_class_betters_macro_f1_on_other_records_too(rare):
    from sklearn.metrics import f1_score

    task = task_of("multiclass", 2)
    (logits, target), (other_logits, truth) = rare
    contributions = {"t": {"only": logits}}
    options = FusionOptions("equal")
    weights = fusion.choose_weights([task], contributions, {"t": target}, options)
    assert weights["t"]["+b"] > weights["t"]["+a"] > 0
    raised = fusion.fused_predictions([task], {"t": {"only": other_logits}}, weights)["t"]
    plain_f1, raised_f1 = (
        f1_score(truth.argmax(1), predicted.argmax(1), average="macro")
        for predicted in (other_logits.numpy(), raised)
    )
    assert raised_f1 > plain_f1 + 0.02


def test_offsets_shift_the_logits_by_the_shares_of_the_classes(rare):
    task = task_of("multiclass", 2)
    (logits, target), _ = rare
    offsets = fusion.fit_offsets(task, logits, target)
    shares = (target.sum(axis=0) + 1) / (len(target) + 2)
    balance = offsets["+b"] / -np.log(shares[1])
    assert offsets["+a"] == pytest.approx(-balance * np.log(shares[0]))
    assert np.abs(class_balance.BALANCES - balance).min() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_without_labels_or_without_classes_there_is_no_offset(kind):
    contributions, target = planted(kind)
    task, nothing = task_of(kind), np.full_like(target, np.nan)
    weights = fusion.choose_weights([task], {"t": contributions}, {"t": nothing}, FusionOptions())
    assert all(weights["t"].get(f"+{name}", 0) == 0 for name in task.classes)
    fitted = fusion.choose_weights([task], {"t": contributions}, {"t": target}, FusionOptions())
    assert ("+a" in fitted["t"]) == (kind == "multiclass")


def test_equal_weights_predict_the_mean_of_the_modules():
    contributions, target = planted("regression")
    task, options = task_of("regression"), FusionOptions("equal", balance=False)
    weights = fusion.choose_weights([task], {"t": contributions}, {"t": target}, options)
    (predicted,) = fusion.fused_predictions([task], {"t": contributions}, weights).values()
    mean = torch.stack(list(contributions.values())).mean(dim=0)
    np.testing.assert_allclose(predicted, mean.numpy(), rtol=1e-5, atol=1e-6)
