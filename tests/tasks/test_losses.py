"""Losses: torch's losses are the oracles; a missing label must have no effect."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, kl_divergence
from torch.nn import functional as F

from redheart.tasks import losses
from redheart.tasks.task import Task

MOOD = Task("mood", "distribution", "mood", ("x", "y", "z"))
VERDICT = Task("verdict", "multiclass", "verdict", ("x", "y", "z"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y", "z"))
SCORES = Task("scores", "regression", "scores", ("x", "y", "z"))
ALL = (MOOD, VERDICT, TAGS, SCORES)
nan = math.nan


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def targets(task: Task, n: int = 6) -> torch.Tensor:
    drawn = normal(n, task.width, seed=1)
    if task.kind == "distribution":
        return drawn.softmax(-1)
    if task.kind == "multiclass":
        return F.one_hot(drawn.argmax(-1), task.width).float()
    return (drawn > 0).float() if task.kind == "multilabel" else drawn


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


# --- supervised losses ----------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
def test_classification_equals_torch_with_class_indices(smoothing):
    output, target = normal(6, 3), targets(VERDICT)
    expected = F.cross_entropy(
        output.double(), target.argmax(-1), label_smoothing=smoothing, reduction="none"
    )
    close(losses.record_losses(VERDICT, output, target, smoothing), expected)


def test_distributions_equal_torch_with_probabilities():
    output, target = normal(6, 3), targets(MOOD)
    expected = F.cross_entropy(output.double(), target.double(), reduction="none")
    close(losses.record_losses(MOOD, output, target), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_multilabel_is_the_mean_of_binary_cross_entropies(smoothing):
    output, target = normal(6, 3), targets(TAGS)
    smoothed = target * (1 - smoothing) + smoothing / 2
    expected = F.binary_cross_entropy(
        output.double().sigmoid(), smoothed.double(), reduction="none"
    ).mean(-1)
    close(losses.record_losses(TAGS, output, target, smoothing), expected)


def test_regression_is_the_mean_squared_error():
    output, target = normal(6, 3), targets(SCORES)
    close(
        losses.record_losses(SCORES, output, target), (output - target).double().square().mean(-1)
    )


@pytest.mark.parametrize("task", [MOOD, SCORES], ids=lambda task: task.kind)
def test_smoothing_is_for_classification_alone(task):
    output, target = normal(6, 3), targets(task)
    plain, smoothed = (losses.record_losses(task, output, target, s) for s in (0.0, 0.3))
    assert torch.equal(plain, smoothed)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.kind)
def test_modules_are_independent_rows(task):
    output, target = normal(4, 6, 3), targets(task)
    stacked = losses.record_losses(task, output, target, 0.1)
    for module, row in zip(output, stacked, strict=True):
        torch.testing.assert_close(row, losses.record_losses(task, module, target, 0.1))


@pytest.mark.parametrize("task", [TAGS, SCORES], ids=lambda task: task.kind)
def test_unknown_outputs_of_a_record_do_not_count(task):
    output, target = normal(1, 3), targets(task, 1)
    target[0, 1] = nan
    narrow = Task("narrow", task.kind, "f", ("x", "z"))
    labelled_rows = [0, 2]
    expected = losses.record_losses(narrow, output[:, labelled_rows], target[:, labelled_rows])
    torch.testing.assert_close(losses.record_losses(task, output, target), expected)


@pytest.mark.parametrize("rdrop", [0.0, 1.0])
@pytest.mark.parametrize("task", ALL, ids=lambda task: task.kind)
def test_a_record_without_label_costs_nothing_and_moves_nothing(task, rdrop):
    passes = 2 if rdrop else 1
    output, target = normal(3, passes * 6, 3).requires_grad_(), targets(task)
    target[2] = nan
    rows = losses.training_losses(task, output, target, 0.1, rdrop)
    assert rows.shape == (3, 6)
    assert rows[:, 2].tolist() == [0, 0, 0]
    rows.sum().backward()
    assert output.grad.isfinite().all()
    moved = output.grad.abs().sum(-1) > 0
    unlabelled = torch.arange(passes * 6) % 6 == 2
    assert torch.equal(moved, ~unlabelled.expand(3, -1))


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.kind)
def test_a_batch_without_any_label_has_loss_zero(task):
    output = normal(1, 8, 3).requires_grad_()
    loss = losses.training_losses(task, output, torch.full((4, 3), nan), 0.1, 1.0).sum()
    loss.backward()
    assert loss.item() == 0
    assert not output.grad.any()


def test_losses_are_in_full_precision_whatever_comes_in():
    output, target = normal(6, 3).bfloat16(), targets(MOOD)
    expected = F.cross_entropy(output.double(), target.double(), reduction="none")
    rows = losses.record_losses(MOOD, output, target)
    assert rows.dtype == torch.float32
    close(rows, expected)


# --- R-Drop ---------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [MOOD, VERDICT], ids=lambda task: task.kind)
def test_divergence_is_the_mean_of_both_directions_of_torch(task):
    first, second = normal(6, 3), 3 * normal(6, 3, seed=2)
    p, q = (Categorical(logits=x.double()) for x in (first, second))
    expected = (kl_divergence(p, q) + kl_divergence(q, p)) / 2
    close(losses.divergences(task, first, second), expected)


def test_divergence_of_labels_is_that_of_bernoulli_variables():
    first, second = normal(6, 3), 3 * normal(6, 3, seed=2)
    p, q = (Bernoulli(logits=x.double()) for x in (first, second))
    expected = ((kl_divergence(p, q) + kl_divergence(q, p)) / 2).mean(-1)
    close(losses.divergences(TAGS, first, second), expected)


def test_divergence_of_values_is_their_squared_distance():
    first, second = normal(6, 3), normal(6, 3, seed=2)
    close(losses.divergences(SCORES, first, second), (first - second).double().square().mean(-1))


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.kind)
def test_divergence_stays_finite_between_certain_passes(task):
    first = torch.tensor([[200.0, -200.0, 0.0]]).requires_grad_()
    rows = losses.divergences(task, first, -first.detach())
    rows.sum().backward()
    assert rows.isfinite().all()
    assert first.grad.isfinite().all()


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.kind)
def test_the_training_loss_is_the_mean_of_both_passes_and_their_divergence(task):
    first, second, target = normal(2, 6, 3), normal(2, 6, 3, seed=2), targets(task)
    supervised = [losses.record_losses(task, x, target, 0.1) for x in (first, second)]
    expected = sum(supervised) / 2 + 0.7 * losses.divergences(task, first, second)
    rows = losses.training_losses(task, torch.cat([first, second], dim=1), target, 0.1, 0.7)
    torch.testing.assert_close(rows, expected)


# --- accuracy -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "output", "target", "expected"),
    [
        (
            VERDICT,
            [[1.0, 3, 2], [1, 3, 2], [1, 3, 2]],
            [[0, 1.0, 0], [1, 0, 0], [nan] * 3],
            [1, 0, 0],
        ),
        (MOOD, [[1.0, 3, 2], [3, 1, 2]], [[0.3, 0.4, 0.3], [0.3, 0.4, 0.3]], [1, 0]),
        (TAGS, [[1.0, -1, 1], [1, -1, 1]], [[1.0, 0, 0], [1, nan, 0]], [2 / 3, 1 / 2]),
        (SCORES, [[1.0, 2, 3], [1, 2, 3]], [[1.05, 2, 3.2], [nan, nan, 3.2]], [2 / 3, 0]),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_accuracy_counts_what_is_right_among_what_is_known(task, output, target, expected):
    rows = losses.accuracies(task, torch.tensor(output), torch.tensor(target))
    assert rows.tolist() == pytest.approx(expected)
