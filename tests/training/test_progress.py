"""What a training in progress says: a line an epoch in the log, and a bar on a terminal."""

from __future__ import annotations

import io
import logging
import sys
import time

import pytest

from redheart.training.progress import training_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


def test_the_log_tells_loss_speed_and_time_left_of_every_epoch(caplog, clock):
    caplog.set_level(logging.INFO, "redheart")
    with training_progress("", last_epoch=4) as report:
        # Resumed in the midst of epoch 2; a step takes 10 seconds.
        for number, (epoch, step) in enumerate([(2, 2), (2, 3), (3, 1), (3, 2), (3, 3)], 1):
            clock[0] = 10.0 * number
            report(epoch, step, 3, 0.5 * epoch, 1234.5)
    assert [record.getMessage() for record in caplog.records] == [
        "epoch 2: loss of the last of 3 steps 1.0000, 1,234 tokens/s, 60 s left",
        "epoch 3: loss of the last of 3 steps 1.5000, 1,234 tokens/s, 30 s left",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_loss_and_speed(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with training_progress("epochs 1 to 2", last_epoch=2) as report:
        for step in (1, 2, 3):
            report(1, step, 3, 1.25, 56789.0)
    assert "epochs 1 to 2" in terminal.getvalue()
    assert "loss 1.250 56,789 tokens/s" in terminal.getvalue()
