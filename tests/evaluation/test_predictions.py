"""Predictions on disk."""

from __future__ import annotations

import numpy as np

from redheart.evaluation import predictions
from redheart.storage import files


def table():
    rng = np.random.default_rng(0)
    return {
        candidate: {
            part: {"mood": rng.random((4, 3), np.float32), "a_task": np.zeros((4, 1), np.float32)}
            for part in ("val_select", "test")
        }
        for candidate in ("last", "ema")
    }


def test_predictions_come_back(tmp_path):
    predictions.save(tmp_path / "p.npz", table())
    loaded = predictions.load(tmp_path / "p.npz")
    assert {c: {p: set(tasks) for p, tasks in parts.items()} for c, parts in loaded.items()} == {
        c: {p: {"mood", "a_task"} for p in ("val_select", "test")} for c in ("last", "ema")
    }
    for candidate, parts in table().items():
        for part, tasks in parts.items():
            for task, matrix in tasks.items():
                np.testing.assert_array_equal(loaded[candidate][part][task], matrix)
                assert loaded[candidate][part][task].dtype == np.float32


def test_equal_predictions_have_equal_bytes(tmp_path):
    predictions.save(tmp_path / "a.npz", table())
    predictions.save(tmp_path / "b.npz", dict(reversed(table().items())))
    assert files.sha256_file(tmp_path / "a.npz") == files.sha256_file(tmp_path / "b.npz")


def test_parts_from_several_files_are_joined(tmp_path):
    for part in ("val_select", "test"):
        part_table = {candidate: {part: parts[part]} for candidate, parts in table().items()}
        predictions.save(tmp_path / f"{part}.npz", part_table)
    predictions.save(tmp_path / "all.npz", table())
    joined = predictions.joined(tmp_path / "val_select.npz", tmp_path / "test.npz")
    predictions.save(tmp_path / "joined.npz", joined)
    assert (tmp_path / "joined.npz").read_bytes() == (tmp_path / "all.npz").read_bytes()
