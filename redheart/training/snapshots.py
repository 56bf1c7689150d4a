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

# SIGINT is Ctrl-C, SIGTERM a polite request to end. A cluster sends SIGUSR1 before it ends a job;
# after SIGUSR1 training goes on.
STOPPING = (signal.SIGINT, signal.SIGTERM)
SAVING = (*STOPPING, signal.SIGUSR1)
# Why to save at a step. Of the reasons of several processes, the last in this order counts for all.
_REASONS = (None, "time", signal.SIGUSR1, signal.SIGINT, signal.SIGTERM)


@contextmanager
def answering(act: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `act` on signals that ask to save; a second signal to stop acts as usual."""
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in SAVING}

    def answer(number: int, frame: FrameType | None) -> None:
        if number in STOPPING:
            signal.signal(number, handlers[number])
        act(signal.Signals(number))

    # A signal that is ignored stays ignored, as SIGINT is in a job in a shell's background.
    for number in SAVING:
        if handlers[number] is not signal.SIG_IGN:
            signal.signal(number, answer)
    try:
        yield
    finally:
        for signalnum, handler in handlers.items():
            signal.signal(signalnum, handler)


class Snapshots:
    """The latest state of one training, in a file whose name holds the hash of its content.

    Parameters
    ----------
    path
        The file's path without the hash; only one process may train what it belongs to.
    minutes
        Time between two snapshots; 0: after every step.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path = path
        self.seconds = 60 * minutes
        self._last = time.monotonic()
        self._signal: signal.Signals | None = None

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last; None: nothing was saved, or it is damaged."""
        from redheart.storage.tensors import (
            load_tensors,  # imports torch, which a job that restores does without
        )

        for file in self._files():
            if file.suffixes[-1] == f".{files.sha256_file(file)}":
                return dict(load_tensors(file))
            file.unlink()
        return None

    def after_step(self, capture: Callable[[], dict[str, Any]], ranks: Ranks | None = None) -> None:
        """Save the state that `capture` returns if it is time, or if a signal came.

        Parameters
        ----------
        ranks
            The processes that train together: they save at the same step, and rank 0 writes.

        Raises
        ------
        UserError
            The signal asks to stop. The captured state is saved.
        """
        ranks = ranks or SingleProcess()
        arrived, self._signal = self._signal, None
        is_time = time.monotonic() - self._last >= self.seconds
        reason = _REASONS[ranks.largest(_REASONS.index(arrived) or int(is_time))]
        if reason:
            value = capture()
            if ranks.rank == 0:
                self._save(value)
            ranks.wait()
            self._last = time.monotonic()
        if isinstance(reason, signal.Signals) and reason in STOPPING:
            raise UserError(
                f"training stopped by {reason.name}; its state is saved, and the same command goes "
                "on from there"
            )

    def discard(self) -> None:
        """Delete the saved state, since the training is complete."""
        for file in self._files():
            file.unlink()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer signals after the running step; a second signal to stop acts as usual."""
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
        """Return all files of the snapshot, the newest first, and leftovers of a kill too."""
        paths = self.path.parent.glob(f"*{self.path.name}.*")
        return sorted(paths, key=lambda file: file.stat().st_mtime, reverse=True)
