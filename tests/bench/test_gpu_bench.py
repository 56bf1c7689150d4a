"""The bench for a GPU, every path of it: on this machine's CPU it has no peak to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = "--device cpu --preset tiny --small tiny --tokens 16 --steps 1 --loss-steps 4"


def run(path, *options):
    command = [ROOT / "bench" / "gpu.sh", *OPTIONS.split(), "--out", path, *options]
    python = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=python)
    assert done.stdout == path.read_text()
    return done.stdout


@pytest.mark.slow
def test_what_there_is_no_time_for_is_listed(tmp_path):
    assert "not run: no time was left" in run(tmp_path / "page.md", "--minutes", "0")


@pytest.mark.full
def test_every_path_without_a_gpu(tmp_path):
    page = run(tmp_path / "page.md", "--minutes", "120")  # as many as a busy machine needs
    assert "NO GPU, a trial of the script" in page
    assert "| capped | fp32, fp32 |" in page
    assert "| bf16_offloaded | 0." in page
    assert "| streamed | streamed, fp32 |" in page
    assert "| streamed | 0." in page
    assert "the weights are the same, bit for bit" in page
    assert "Mean difference +0.0000" in page
    assert not any(word in page for word in ("failed", "Error", "not run"))
