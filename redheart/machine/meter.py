"""Seconds and peak memory: for the ledger, never for an artefact's bytes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Where Linux lets a process forget its highest memory so far: proc(5), "clear_refs".
CLEAR_REFS = Path("/proc/self/clear_refs")
FORGET_PEAK = "5"


class Meter:
    """Measures epochs, one after the other."""

    def __init__(self) -> None:
        self._epochs: list[dict[str, Any]] = []
        self._earlier_peak = 0
        self._started = 0.0
        self._tokens = 0

    @contextmanager
    def epoch(self, number: int) -> Iterator[None]:
        """Measure the body as one epoch; its peak starts at the memory that is held before it.

        Where the system cannot forget an earlier peak, the epoch's is that of the process so far.
        """
        self._earlier_peak = max(self._earlier_peak, peak_memory())
        _forget_peak()
        self._started, self._tokens = time.monotonic(), 0
        yield
        row = {
            "epoch": number,
            "seconds": round(time.monotonic() - self._started, 3),
            "tokens": self._tokens,
            "peak_memory_bytes": peak_memory(),
        }
        self._epochs.append(row)

    def count(self, tokens: int) -> None:
        """Add the tokens that a step of the running epoch has read."""
        self._tokens += tokens

    def tokens_per_second(self) -> float:
        """Return the speed of the running epoch so far."""
        return self._tokens / max(time.monotonic() - self._started, 1e-9)

    def facts(self) -> dict[str, Any]:
        """Return the columns of the ledger: the `epochs` and the peak of the whole process."""
        peak = max(self._earlier_peak, peak_memory())
        return {"epochs": list(self._epochs), "peak_memory_bytes": peak}


def peak_memory() -> int:
    """Return the highest memory of this process in bytes: its GPU's, or else main memory."""
    if torch := _torch_on_gpu():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _forget_peak() -> None:
    if torch := _torch_on_gpu():
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            CLEAR_REFS.write_text(FORGET_PEAK)


def _torch_on_gpu() -> Any:
    """Return torch if this process uses it on a GPU, else None; never import it."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
