"""A learning rate on trial: the main training's own recipe for a few epochs."""

from __future__ import annotations

from typing import Any

from redheart.inference import contributions, mean_losses
from redheart.sweep import derive, summarise
from redheart.tokens import Encoded
from redheart.training import NonFiniteLoss, Report, TrainingState, train_epoch


def train_rate(
    state: TrainingState,
    train: Encoded,
    validation: Encoded,
    epochs: int,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train at one rate and return what the choice needs of it.

    A rate at which the loss ceases to be a number is a result, not a failure: its row says when
    and how, and holds the epochs before.
    """
    rows: list[dict[str, Any]] = []
    diverged = None
    try:
        for _ in range(epochs):
            rows.append(_trial_epoch(state, train, validation, report))
    except NonFiniteLoss as error:
        diverged = {"epoch": state.epoch + 1, "reason": str(error)}
    derived = derive(rows)
    return {
        "learning_rate": state.peak,
        "seed": state.seed,
        "diverged": diverged,
        "epochs": derived,
        "summary": summarise(derived) if derived else None,
    }


def _trial_epoch(
    state: TrainingState, train: Encoded, validation: Encoded, report: Report | None
) -> dict[str, Any]:
    statistics = train_epoch(state, train, report)
    scored = train.head(len(validation))
    train_loss, _, train_accuracy = mean_losses(
        state.tasks, contributions(state.network, scored, state.options), scored
    )
    val_loss, error, val_accuracy = mean_losses(
        state.tasks, contributions(state.network, validation, state.options), validation
    )
    return {
        "epoch": statistics["epoch"],
        "train_loss": train_loss,
        "val_loss": val_loss,
        "val_loss_se": error,
        "train_accuracy": train_accuracy,
        "val_accuracy": val_accuracy,
        "gradient_norm": statistics["gradient_norm"]["all"],
        "update_ratio": statistics["update_ratio"],
    }
