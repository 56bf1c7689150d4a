"""How far training is: a bar with loss and time left on a terminal, plain lines in the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from redheart.training import Report

log = logging.getLogger("redheart")


@contextmanager
def training_progress(title: str, epochs: int) -> Iterator[Report]:
    """Yield a report: a log line an epoch, and on a terminal a bar over `epochs` epochs."""
    if not sys.stderr.isatty():
        yield _log_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, loss="-")

        def report(epoch: int, step: int, steps: int, loss: float) -> None:
            bar.update(task, total=steps * epochs, advance=1, loss=f"{loss:.3f}")
            _log_line(epoch, step, steps, loss)

        yield report


def _log_line(epoch: int, step: int, steps: int, loss: float) -> None:
    if step == steps:
        log.info("epoch %d: loss of the last of %d steps %.4f", epoch, steps, loss)
