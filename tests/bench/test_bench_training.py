"""The benchmark of training: it runs, all contestants train the same, and padding stays small."""

from __future__ import annotations

import re
import shutil
import sys

import numpy as np
import pytest
import training
import training_corpora
import training_job
from training_corpora import Plan

from redheart.encoding import tokens
from redheart.storage import files


@pytest.fixture
def generated(monkeypatch, tmp_path):
    """Make the texts as where the real ones are absent."""
    monkeypatch.setattr(training_corpora, "SCRUPLES", tmp_path / "absent")


def padding(lengths, most_tokens=tokens.CPU_TOKENS, batch_size=32, accumulation=2) -> float:
    windows = tokens.training_windows(lengths, batch_size, accumulation, 0, 0, most_tokens)
    padded = sum(len(rows) * lengths[rows].max() for window in windows for rows in window)
    return 1 - lengths.sum() / padded


@pytest.mark.parametrize(
    ("kind", "count"), [pytest.param("titles", 5000, marks=pytest.mark.slow), ("texts", 1000)]
)
def test_of_what_training_reads_2_percent_at_most_is_padding(generated, kind, count):
    lengths = [len(r["text"].split()) for r in training_corpora.read_or_generate(kind, count)]
    lengths = np.minimum(lengths, training_corpora.MAX_TOKENS[kind])
    assert np.std(lengths) > 0.15 * np.mean(lengths)
    assert padding(lengths) < 0.02


@pytest.mark.slow
def test_a_quick_run_compares_equal_trainings(generated, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["training.py", "--quick", "--threads", "1"])
    monkeypatch.setattr(training, "missing", lambda: ["accelerate", "lightning"])
    training.main()
    shown = capsys.readouterr().out
    rows = re.findall(r"^\| (\w+) \|.* \| ([\d.]+) \|$", shown, flags=re.MULTILINE)
    losses = {name: float(loss) for name, loss in rows}
    assert set(losses) == {"redheart", "plain", "plain_own_dropout"}
    assert [*losses.values()] == pytest.approx([losses["redheart"]] * 3, rel=0.02)
    assert "Not measured for want of accelerate, lightning" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    # The plain loop runs the one with Red Heart's dropout.
    "name",
    [name for name in training.NEEDS if name not in ("redheart", "plain_own_dropout")],
)
def test_every_rival_goes_on_from_its_checkpoint(generated, tmp_path, name):
    if absent := set(training.NEEDS[name]) & set(training.missing()):
        pytest.skip(f"needs {', '.join(absent)}")
    training_corpora.make("titles", Plan(texts=64, legs=2, epochs=1, threads=1), tmp_path)
    files.write_json(tmp_path / "bench.json", {"micro_batch": 32, "window": 64, "peak": 1e-2})
    first, second = (training.run_leg(name, tmp_path, number)["loss"] for number in (1, 2))
    assert first != second
    shutil.rmtree(tmp_path / name)
    with pytest.raises(SystemExit, match=f"leg 2 of {name} failed"):
        training.run_leg(name, tmp_path, 2)


@pytest.mark.slow
def test_a_job_names_what_the_rule_names(generated, tmp_path):
    plan = Plan(texts=64, legs=2, epochs=2, threads=1)
    settings = training_corpora.make("titles", plan, tmp_path)
    training_job.write_jobs(tmp_path, settings, 1e-3)
    first, second = (training_job.read_job(tmp_path, number) for number in (1, 2))
    assert (first.wildcards.epoch, second.wildcards.epoch) == ("002", "004")
    assert list(first.input.parent_weights) == []
    assert list(second.input.parent_weights) == [first.output.weights]
    rule = (training_job.SCRIPTS.parent / "rules" / "train.smk").read_text("utf-8")
    named = rule.partition("rule train_leg:")[2].partition("rule train:")[0]
    for section in (second.input, second.output):
        assert all(f"{name}=" in named for name in dict(section.items()))
