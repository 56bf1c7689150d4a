"""Training: epochs, and the legs between two checkpoints."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redheart.encoding.batch import make_batch
from redheart.encoding.tokens import CPU_TOKENS, Encoded, training_windows, windows_per_epoch
from redheart.errors import UserError
from redheart.machine.device import autocast, device_type
from redheart.tasks.losses import labelled, training_losses
from redheart.training.legs import Ancestor, Leg
from redheart.training.optimizer import clip, schedule, set_learning_rate, update_ratios
from redheart.training.snapshots import Snapshots
from redheart.training.state import (
    TrainingState,
    capture,
    generators,
    restore,
    resume,
    seed_epoch,
    set_generators,
)

# Called after every optimizer step with the epoch, the step in it, the steps of an epoch, the loss,
# and the real tokens per second of the epoch so far.
Report = Callable[[int, int, int, float, float], None]


class NonFiniteLoss(Exception):
    """The loss or a gradient is not finite; the weights are still those before the step."""


def train_epoch(
    state: TrainingState,
    data: Encoded,
    report: Report | None = None,
    after_step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train one epoch, or what remains of it, and return its statistics.

    Raises
    ------
    NonFiniteLoss
        The loss or a gradient is not finite; no update has used it.
    """
    options, epoch = state.options, state.epoch + 1
    rows = [row for row in state.steps if row["epoch"] == epoch]
    if not rows:
        # Order and dropout follow only from seed and epoch: no leg has random state to hand on.
        seed_epoch(state)
    state.network.train_after(state.epoch)
    targets = {t.name: torch.from_numpy(data.targets[t.name]) for t in state.tasks}
    lengths = data.lengths
    sizes = (options.batch_size, options.grad_accumulation)
    steps = windows_per_epoch(len(data), *sizes)
    most_tokens = CPU_TOKENS if device_type(options) == "cpu" else math.inf
    windows = training_windows(lengths, *sizes, state.seed, state.epoch, most_tokens)
    for window in islice(windows, len(rows), None):
        loss = _accumulate(state, data, targets, window)
        share = schedule(state.step, steps * options.schedule_epochs, options.final_rate)
        norms = _update(state, loss, share)
        row: dict[str, Any] = {
            "step": state.step,
            "epoch": epoch,
            "loss": loss,
            "learning_rate": state.peak * share,
            "tokens": int(lengths[np.concatenate(window)].sum()),
            "gradient_norm": norms,
        }
        rows.append(row)
        state.steps.append(row)
        state.meter.count(row["tokens"])
        if report:
            report(epoch, len(rows), steps, loss, state.meter.tokens_per_second())
        if after_step:
            after_step()
    state.epoch = epoch
    # Only after an epoch's last step: the ratios take 7 % of a step (docs/performance.md).
    ratios = rows[-1]["update_ratio"] = update_ratios(state.optimizer, state.units, state.ranks)
    return {
        "epoch": epoch,
        "loss": float(np.mean([row["loss"] for row in rows])),
        "gradient_norm": _norm_statistics([row["gradient_norm"] for row in rows]),
        "update_ratio": ratios["all"],
    }


def _accumulate(
    state: TrainingState, data: Encoded, targets: Mapping[str, Tensor], window: list[np.ndarray]
) -> float:
    """Add up the gradients of a window's micro-batches; return its loss.

    Each task's sum of losses is divided by its labelled records in the whole window, so the size of
    a micro-batch changes no result. Where a GPU has no memory for a micro-batch, the window begins
    again with half the size and the same random numbers, and later windows keep that size. Where
    weights are divided, the error is raised instead: only one of several processes would begin
    again, and FSDP would be left in the middle of a pass.
    """
    rows = torch.from_numpy(np.concatenate(window))
    counts = {name: max(1, int(labelled(t[rows]).sum())) for name, t in targets.items()}
    random_states, batches = generators(), state.ranks.share(window)
    while True:
        size = min(max(map(len, window)), state.micro_batch or len(rows))
        pieces = [batch[i : i + size] for batch in batches for i in range(0, len(batch) or 1, size)]
        try:
            return _add_gradients(state, data, targets, pieces, counts)
        except torch.OutOfMemoryError:
            if size == 1 or state.ranks.shards:
                raise
        # Not in the handler: there the error's frames still hold the memory that they allocated.
        state.optimizer.zero_grad()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        set_generators(random_states)
        state.micro_batch = -(-size // 2)
        print(
            f"out of memory: goes on with micro-batches of {state.micro_batch} instead of {size} "
            "texts; the effective batch stays the same",
            file=sys.stderr,
        )


def _add_gradients(
    state: TrainingState,
    data: Encoded,
    targets: Mapping[str, Tensor],
    batches: Sequence[np.ndarray],
    counts: Mapping[str, int],
) -> float:
    total = torch.zeros((), device=state.ranks.device_of(state.network))
    for rows in batches:
        if len(rows):
            loss = _batch_loss(state, data, targets, rows, counts)
        else:  # All processes must make the same number of passes; this loss of 0 adds nothing.
            loss = 0 * _batch_loss(state, data, targets, np.array([0]), counts)
        state.scaler.scale(loss).backward()
        total += loss.detach()
    return float(state.ranks.sum(total))


def _batch_loss(
    state: TrainingState,
    data: Encoded,
    targets: Mapping[str, Tensor],
    rows: np.ndarray,
    counts: Mapping[str, int],
) -> Tensor:
    """Return a micro-batch's share of the window's loss: every module on its own contribution."""
    options, device = state.options, state.ranks.device_of(state.network)
    batch = make_batch(data, rows).to(device)
    if options.rdrop > 0:
        batch = batch.doubled()
    with autocast(options):
        outputs = state.network(batch)
    loss = torch.zeros((), device=device)
    for task in state.tasks:
        target = targets[task.name][rows].to(device)
        stacked = torch.stack(list(outputs[task.name].values()))
        losses = training_losses(task, stacked, target, options.label_smoothing, options.rdrop)
        loss = loss + task.weight * losses.sum() / counts[task.name]
    return loss


def _update(state: TrainingState, loss: float, share: float) -> dict[str, float]:
    """Take one optimizer step at a share of the peak rate.

    Returns
    -------
    The gradient norms before clipping, by unit and `all`.
    """
    if not math.isfinite(loss):
        raise NonFiniteLoss(f"the loss became {loss} in epoch {state.epoch + 1}")
    optimizer: Any = state.optimizer  # the scaler's type is torch's; AdamW has all that it uses
    state.scaler.unscale_(optimizer)
    clipped = clip(state.units, state.options.clip_norm, state.ranks)
    values = torch.stack(list(clipped.values())).tolist()
    if not state.scaler.is_enabled() and not all(map(math.isfinite, values)):
        raise NonFiniteLoss(f"a gradient became infinite in epoch {state.epoch + 1}")
    set_learning_rate(state.optimizer, state.peak, share)
    state.scaler.step(optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    state.average.update(state.step)
    state.step += 1
    return {**dict(zip(clipped, values, strict=True)), "all": math.hypot(*values)}


def _norm_statistics(norms: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean, std, max and min over an epoch's steps, by unit; fp16's skipped steps aside."""
    statistics = {}
    for unit in norms[0]:
        values = np.array([step[unit] for step in norms if math.isfinite(step[unit])] or [0.0])
        statistics[unit] = {
            "mean": float(values.mean()),
            "std": float(values.std()),
            "max": float(values.max()),
            "min": float(values.min()),
        }
    return statistics


def train_leg(
    state: TrainingState,
    data: Encoded,
    leg: Leg,
    ancestor: Ancestor | None = None,
    report: Report | None = None,
    snapshots: Snapshots | None = None,
) -> list[dict[str, Any]]:
    """Train up to the leg's end and return the statistics of its own epochs.

    Without an ancestor, training starts from the beginning. From an ancestor before the leg's
    start, it replays the epochs in between, which gives the same weights. A snapshot of the leg
    itself takes precedence over any ancestor.

    Raises
    ------
    UserError
        The loss or a gradient became infinite or NaN. The leg is not saved; earlier checkpoints
        stand.
    """
    statistics: list[dict[str, Any]] = []
    if saved := snapshots and state.ranks.in_turn(snapshots.load):
        resume(state, saved)
        statistics = saved["statistics"]
    elif ancestor:
        restore(state, ancestor)

    def after_step() -> None:
        if snapshots:
            snapshots.after_step(lambda: {**capture(state), "statistics": statistics}, state.ranks)

    try:
        for epoch in range(state.epoch, leg.stop):
            with state.meter.epoch(epoch + 1):
                statistics.append(train_epoch(state, data, report, after_step))
    except NonFiniteLoss as error:
        raise UserError(
            f"training stopped before the update: {error}. Earlier checkpoints stand. Lower "
            "sweep.learning_rates or train.clip_norm, or set train.precision: fp32"
        ) from error
    return [row for row in statistics if row["epoch"] > leg.start]
