"""A learning rate on trial: the main training's own recipe for a few epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redheart.encoding.tokens import Encoded
from redheart.evaluation.inference import contributions, part_losses
from redheart.storage import files
from redheart.storage.tensors import load_tensors, save_tensors
from redheart.sweep.trials import LAST_EPOCHS, derive, summarise
from redheart.training.epochs import NonFiniteLoss, Report, train_epoch
from redheart.training.snapshots import Snapshots
from redheart.training.state import TrainingState, capture, resume


@dataclass
class Progress:
    """The results of a trial's epochs so far."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """A row an epoch."""
    record_losses: list[Tensor] = field(default_factory=list)
    """The validation loss of each record in the last epochs, float32 [records] each."""


def train_rate(
    state: TrainingState,
    train: Encoded,
    validation: Encoded,
    epochs: int,
    report: Report | None = None,
    progress: Progress | None = None,
    snapshots: Snapshots | None = None,
) -> dict[str, Any]:
    """Train at one rate until `epochs` are complete and return the result, which the choice reads.

    A rate at which the loss ceases to be a finite number is a result, not a failure: `diverged`
    says in which epoch and why, and the result holds the epochs before.

    Parameters
    ----------
    progress
        Progress of the epochs that the state has completed; the new epochs are added to it.
    snapshots
        Snapshots of this trial; a saved snapshot takes the place of any progress.
    """
    progress = progress or Progress()
    if saved := snapshots and snapshots.load():
        resume(state, saved)
        progress.rows, progress.record_losses = saved["rows"], saved["record_losses"]

    def after_step() -> None:
        if snapshots:
            snapshots.after_step(lambda: {**capture(state), **vars(progress)})

    diverged = None
    try:
        while state.epoch < epochs:
            with state.meter.epoch(state.epoch + 1):
                row, losses = _trial_epoch(state, train, validation, report, after_step)
            progress.rows.append(row)
            progress.record_losses = [*progress.record_losses, losses][-LAST_EPOCHS:]
            state.steps.clear()  # the result of a trial holds no single steps
    except NonFiniteLoss as error:
        diverged = {"epoch": len(progress.rows) + 1, "reason": str(error)}
    derived = derive(progress.rows)
    losses_of_records = progress.record_losses
    return {
        "learning_rate": state.peak,
        "seed": state.seed,
        "diverged": diverged,
        "epochs": derived,
        "summary": summarise(derived),
        "record_losses": (
            torch.stack(losses_of_records).mean(dim=0).tolist() if losses_of_records else []
        ),
    }


def save_trial(state: TrainingState, progress: Progress, state_path: Path, proof: Path) -> None:
    """Write the state for the next rung, and last the `proof` that it is complete: its SHA-256."""
    files.write_text(proof, save_tensors(state_path, {**capture(state), **vars(progress)}))


def resume_trial(state: TrainingState, state_path: Path, proof: Path) -> Progress:
    """Resume the state that `save_trial` wrote; if it is missing or damaged, begin anew.

    To begin anew changes the cost of a trial, never a number in it.
    """
    digest = proof.read_text(encoding="utf-8") if proof.is_file() else None
    if not state_path.is_file() or files.sha256_file(state_path) != digest:
        return Progress()
    saved = load_tensors(state_path)
    resume(state, saved)
    return Progress(saved["rows"], saved["record_losses"])


def _trial_epoch(
    state: TrainingState,
    train: Encoded,
    validation: Encoded,
    report: Report | None,
    after_step: Callable[[], None],
) -> tuple[dict[str, Any], Tensor]:
    """Train an epoch; return its row and the validation loss of each record."""
    statistics = train_epoch(state, train, report, after_step)
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
    outputs = contributions(state.network, part, state.options)
    return part_losses(state.tasks, outputs, part)
