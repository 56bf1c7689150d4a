"""The export to TensorBoard: every number of the step files and tables, at its optimizer step."""

from __future__ import annotations

import pytest

from redheart.report import event_files
from redheart.report.event_files import flat, scalars, write_event_files
from redheart.storage import files


def row(step, epoch, loss, **more):
    return {"step": step, "epoch": epoch, "loss": loss, "gradient_norm": {"all": 0.5}, **more}


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "results/mine"
    for seed in (0, 1):
        ckpt = folder / f"seed_{seed}/ckpt"
        files.write_lines(ckpt / "steps_002.jsonl", [row(1, 1, 3.0), row(2, 2, 2.0)])
        files.write_lines(ckpt / "steps_004.jsonl", [row(3, 3, 1.5, update_ratio={"dsp": 0.01})])
        files.write_json(ckpt / "metrics_002.json", {"fused": {"raw": {"val_loss": 2.5 + seed}}})
    return folder


def test_each_step_and_each_checkpoint_has_its_numbers(run_folder):
    rows = list(scalars(run_folder / "seed_0"))
    assert [step for step, _ in rows] == [1, 2, 2, 3]
    assert rows[2] == (2, {"fused/raw/val_loss": 2.5})
    assert rows[3][1] == {
        "step/epoch": 3.0,
        "step/loss": 1.5,
        "step/gradient_norm/all": 0.5,
        "step/update_ratio/dsp": 0.01,
    }


def test_what_is_no_number_is_left_out():
    assert flat({"a": {"b": 1, "c": None}, "d": "text", "e": [1.0]}) == {"a/b": 1.0}


def test_tensorboard_reads_what_is_written(run_folder, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert write_event_files(run_folder, tmp_path / "logs") == 2
    once = files.sha256_file(tmp_path / "logs/seed_1" / event_files.FILE)
    assert write_event_files(run_folder, tmp_path / "logs") == 2
    assert files.sha256_file(tmp_path / "logs/seed_1" / event_files.FILE) == once
    read = EventAccumulator(str(tmp_path / "logs/seed_1")).Reload()
    losses = read.Scalars("step/loss")
    assert [(event.step, event.value) for event in losses] == [(1, 3.0), (2, 2.0), (3, 1.5)]
    assert [(e.step, e.value) for e in read.Scalars("fused/raw/val_loss")] == [(2, 3.5)]
