"""Rows of a sweep's epochs, and the results of trials, made from their validation losses."""

from __future__ import annotations

import math

from redheart.sweep.trials import derive, summarise


def epoch_row(epoch, train_loss, val_loss, *, deviation=1.0):
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "val_loss_se": 0.01,
        "gradient_norm": {"mean": 1.0, "std": deviation, "max": 2.0, "min": 0.0},
    }


def spread(loss, error, place):
    """Return the losses of 64 records with a mean, such that of two places their mean difference
    has the standard error `error`: waves of different length are independent of each other."""
    amplitude = error * math.sqrt(63 / 2)
    return [loss + amplitude * (1 if (i >> place) & 1 else -1) for i in range(64)]


def repeat(rate, seed, val_losses, *, diverged=None, error=0.01, place=0):
    rows = [epoch_row(i, 2 / i, loss) for i, loss in enumerate(val_losses, start=1)]
    epochs = derive(rows)
    return {
        "learning_rate": rate,
        "seed": seed,
        "diverged": diverged,
        "epochs": epochs,
        "summary": summarise(epochs),
        "record_losses": spread(val_losses[-1] or 0.0, error, place) if val_losses else [],
    }
