"""Snapshots of a training in progress, so that a kill costs minutes and a signal nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from redheart.errors import UserError
from redheart.machine.ranks import Ranks, SingleProcess
from redheart.storage import files

# Ctrl-C, the polite end, and what a cluster sends ahead of its own end: the last goes on training.
STOPPING = (signal.SIGINT, signal.SIGTERM)
SAVING = (*STOPPING, signal.SIGUSR1)
# Of what several processes want at a step, the last of these counts for all.
_WANTED = (None, "time", signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)


@contextmanager
def answering(act: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `act` where a training is asked to save; a second signal to stop acts as always."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SAVING}

    def answer(number: int, frame: FrameType | None) -> None:
        if number in STOPPING:
            signal.signal(number, before[number])
        act(signal.Signals(number))

    # What this process is to ignore (as a job in a shell's background does SIGINT) stays so.
    for number in SAVING:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, answer)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class Snapshots:
    """The latest state of one training, in a file whose name holds the hash of its content.

    Parameters
    ----------
    path
        Where it lies, without the hash; only one process trains what it belongs to.
    minutes
        Time between two snapshots; 0: after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path = path
        self.seconds = 60 * minutes
        self._last = time.monotonic()
        self._signal: signal.Signals | None = None

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last; None where nothing was, or where it is damaged."""
        from redheart.storage.tensors import (
            load_tensors,  # imports torch, which a job that restores does without
        )

        for file in self._files():
            if file.suffixes[-1] == f".{files.sha256_file(file)}":
                return dict(load_tensors(file))
            file.unlink()
        return None

    def after_step(self, capture: Callable[[], dict[str, Any]], ranks: Ranks | None = None) -> None:
        """Save what `capture` returns if it is time to, or if a signal came.

        Parameters
        ----------
        ranks
            The processes that train together: they save at the same step, and rank 0 writes.

        Raises
        ------
        UserError
            The signal was one to stop at. What was captured is saved.
        """
        ranks = ranks or SingleProcess()
        asked, self._signal = self._signal, None
        is_time = time.monotonic() - self._last >= self.seconds
        wanted = _WANTED[ranks.largest(_WANTED.index(asked) or int(is_time))]
        if wanted:
            value = capture()
            if ranks.rank == 0:
                self._save(value)
            ranks.wait()
            self._last = time.monotonic()
        if isinstance(wanted, signal.Signals) and wanted in STOPPING:
            raise UserError(
                f"training stopped by {wanted.name}; its state is saved, and the same command goes "
                "on from there"
            )

    def discard(self) -> None:
        """Delete what was saved: what was trained is complete."""
        for file in self._files():
            file.unlink()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer signals after the running step; a second one of a kind acts as it always does."""
        with answering(self._ask):
            yield

    def _ask(self, number: signal.Signals) -> None:
        self._signal = number

    def _save(self, value: dict[str, Any]) -> None:
        from redheart.storage.tensors import save_tensors

        older = self._files()
        new = self.path.with_name(f"{self.path.name}.new")
        sha256 = save_tensors(new, value)
        complete = self.path.with_name(f"{self.path.name}.{sha256}")
        new.rename(complete)
        for file in older:
            if file != complete:
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        """Return all files of the snapshot, the newest first; leftovers of a kill among them."""
        found = self.path.parent.glob(f"*{self.path.name}.*")
        return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)
