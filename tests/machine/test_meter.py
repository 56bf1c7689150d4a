"""The seconds and the peak of each epoch, and the peak of the whole process."""

from __future__ import annotations

import time

import numpy as np
import pytest

from redheart.machine import meter

BYTES = 200_000_000


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_an_epoch_has_its_own_peak_and_seconds(clock):
    if not meter.CLEAR_REFS.exists():
        pytest.skip("this system cannot forget a peak")
    measured = meter.Meter()
    with measured.epoch(1):
        np.ones(BYTES, dtype=np.uint8)
    with measured.epoch(2):
        clock[0] += 0.02
    facts = measured.facts()
    large, small = facts["epochs"]
    assert (large["epoch"], small["epoch"]) == (1, 2)
    assert large["peak_memory_bytes"] - small["peak_memory_bytes"] > 0.9 * BYTES
    assert (large["seconds"], small["seconds"]) == (0, 0.02)
    assert facts["peak_memory_bytes"] >= large["peak_memory_bytes"], "that of the whole process"


def test_an_epoch_that_fails_has_no_row():
    measured = meter.Meter()
    with pytest.raises(ValueError, match="no"), measured.epoch(1):
        raise ValueError("no")
    assert measured.facts()["epochs"] == []


def test_where_no_peak_can_be_forgotten_it_is_that_of_the_process(monkeypatch, tmp_path):
    monkeypatch.setattr(meter, "CLEAR_REFS", tmp_path / "none" / "clear_refs")
    measured = meter.Meter()
    earlier_peak = meter.peak_memory()
    with measured.epoch(1):
        pass
    assert measured.facts()["epochs"][0]["peak_memory_bytes"] >= earlier_peak


def test_an_epoch_counts_its_own_tokens(clock):
    measured = meter.Meter()
    for epoch, tokens in ((1, 500), (2, 300)):
        with measured.epoch(epoch):
            for part in (tokens, tokens):
                clock[0] += 0.01
                measured.count(part)
            assert measured.tokens_per_second() == pytest.approx(2 * tokens / 0.02)
    assert [row["tokens"] for row in measured.facts()["epochs"]] == [1000, 600]
