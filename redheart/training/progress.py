"""Progress of training: a bar on a terminal, plain lines in the log, with speed and time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redheart.training.epochs import Report

log = logging.getLogger("redheart")


@contextmanager
def training_progress(title: str, last_epoch: int, rank: int = 0) -> Iterator[Report | None]:
    """Yield a report: one log line an epoch, and on a terminal a bar up to `last_epoch`'s end.

    Of several processes only rank 0 reports.
    """
    if rank:
        yield None
        return
    if not sys.stderr.isatty():
        yield log_lines(last_epoch)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} tokens/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, loss="-", speed="-")
        log_line = log_lines(last_epoch)

        def report(epoch: int, step: int, steps: int, loss: float, speed: float) -> None:
            left = _steps_left(last_epoch, epoch, step, steps)
            total = bar.tasks[task].completed + 1 + left
            bar.update(task, total=total, advance=1, loss=f"{loss:.3f}", speed=f"{speed:,.0f}")
            log_line(epoch, step, steps, loss, speed)

        yield report


def log_lines(last_epoch: int) -> Report:
    """Return a report that logs every epoch's end and the time left up to `last_epoch`'s end."""
    started, steps_done = time.monotonic(), 0

    def report(epoch: int, step: int, steps: int, loss: float, speed: float) -> None:
        nonlocal steps_done
        steps_done += 1
        if step == steps:
            left = _steps_left(last_epoch, epoch, step, steps)
            seconds = (time.monotonic() - started) / steps_done * left
            log.info(
                "epoch %d: loss of the last of %d steps %.4f, %s tokens/s, %.0f s left",
                *(epoch, steps, loss, f"{speed:,.0f}", seconds),
            )

    return report


def _steps_left(last_epoch: int, epoch: int, step: int, steps: int) -> int:
    return (last_epoch - epoch) * steps + steps - step
