"""A learning rate on trial: the main training's own recipe for a few epochs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from redheart.inference import contributions, part_losses
from redheart.sweep import LAST_EPOCHS, derive, summarise
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
    record_losses: list[Tensor] = []
    diverged = None
    try:
        for _ in range(epochs):
            with state.meter.epoch(state.epoch + 1):
                row, losses = _trial_epoch(state, train, validation, report)
            rows.append(row)
            record_losses = [*record_losses, losses][-LAST_EPOCHS:]
    except NonFiniteLoss as error:
        diverged = {"epoch": len(rows) + 1, "reason": str(error)}
    derived = derive(rows)
    return {
        "learning_rate": state.peak,
        "seed": state.seed,
        "diverged": diverged,
        "epochs": derived,
        "summary": summarise(derived),
        "record_losses": torch.stack(record_losses).mean(dim=0).tolist() if record_losses else [],
    }


def _trial_epoch(
    state: TrainingState, train: Encoded, validation: Encoded, report: Report | None
) -> tuple[dict[str, Any], Tensor]:
    """Train an epoch; return its row and the validation loss of each record."""
    statistics = train_epoch(state, train, report)
    train_losses, train_accuracy = _losses(state, train.head(len(validation)))
    val_losses, val_accuracy = _losses(state, validation)
    if not (train_losses.isfinite().all() and val_losses.isfinite().all()):
        raise NonFiniteLoss(f"a prediction became infinite in epoch {statistics['epoch']}")
    row = {
        "epoch": statistics["epoch"],
        "train_loss": float(train_losses.mean()),
        "val_loss": float(val_losses.mean()),
        "val_loss_se": float(val_losses.std(unbiased=False)) / len(val_losses) ** 0.5,
        "train_accuracy": train_accuracy,
        "val_accuracy": val_accuracy,
        "gradient_norm": statistics["gradient_norm"]["all"],
        "update_ratio": statistics["update_ratio"],
    }
    return row, val_losses


def _losses(state: TrainingState, part: Encoded) -> tuple[Tensor, float]:
    given = contributions(state.network, part, state.options)
    return part_losses(state.tasks, given, part)
