"""`redheart plan`: what a run needs, from the architecture alone; estimates are called so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from redheart.cli.main import main
from redheart.encoding import tokens
from redheart.storage import files
from redheart.storage.ledger import Ledger
from redheart.storage.store import Action, Outcome, Store
from redheart.training import state as training_state
from redheart.workflow import config, pace, plan, plan_sizes

ROOT = Path(__file__).parents[2]
DEMO, SCRUPLES, DOCUMENT = (
    ROOT / "config" / f"{name}.yaml" for name in ("config", "scruples", "redheart-730m")
)
SMOKE = ROOT / "tests" / "configs" / "smoke.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without data, results or store."""
    monkeypatch.chdir(tmp_path)


def lines_of(path, measured=False):
    settings = config.read([path])
    return list(plan.report(settings, Path("results") / settings["run"], measured))


@pytest.mark.parametrize("path", [DEMO, SCRUPLES, DOCUMENT], ids=lambda path: path.stem)
def test_every_line_fits_a_terminal_and_every_section_is_there(path, monkeypatch, tmp_path):
    monkeypatch.setattr(plan, "is_quick", lambda *_: False)
    lines = [line.replace(str(tmp_path), "") for line in lines_of(path)]
    assert max(map(len, lines)) <= 80
    for title in ("parameters", "memory at its peak", "optimizer steps"):
        assert any(line.startswith(title) for line in lines)


def test_the_documents_plan_is_counted_without_its_data_or_its_memory():
    text = "\n".join(lines_of(DOCUMENT))
    assert "10,000 records\n  (assumed: data/corpus.json is not there)" in text
    assert "checkpoints (weights, EMA): 30 x 3.0 GB" in text
    assert "88.7 GB" in text
    assert "739,264,826" in text
    assert "memory at its peak (cuda), with memory.tier: bf16_8bit_average_on_cpu" in text
    assert (
        "fits memory.budget_gb: 8\n  (the fastest that fits; bf16_8bit would take 9.1 GB)" in text
    )
    assert "time: not measured" in text


def test_a_model_beyond_the_budget_is_not_measured_even_if_asked(tmp_path):
    above = tmp_path / "above.yaml"
    above.write_text("memory: {budget_gb: 0.001}\n")
    settings = config.read([SMOKE, above])
    text = "\n".join(plan.report(settings, Path("results/smoke"), measured=True))
    assert "does NOT fit memory.budget_gb: 0.001" in text
    assert "time: not measured, since the model does not fit" in text


def test_parameters_are_those_of_the_network_that_is_trained(recipe, part):
    real = training_state.prepare(recipe, part, 1e-3, 0).network
    expected = {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in real.modules_by_name().items()
    }
    assert plan_sizes.count_parameters(recipe, part) == expected


def test_synthetic_texts_are_the_longest_and_carry_every_label(recipe):
    corpus = plan_sizes.Corpus(100, 75, 300, 50, "")
    part = plan_sizes.synthetic_part(recipe, corpus, 24, None, 6)
    assert set(part.lengths) == {24}
    assert (part.vocab_size, part.lexicon_size) == (300, 50)
    for task in recipe.tasks:
        assert part.targets[task.name].shape == (6, task.width)
        assert np.isfinite(part.targets[task.name]).all()


def test_the_corpus_is_read_from_the_run_where_it_is_there(part, tmp_path):
    settings = config.read([SMOKE])
    assert plan_sizes.read_corpus(settings, tmp_path) == plan_sizes.Corpus(
        120, 90, 400, 60_000, "at most: near-duplicates not yet removed"
    )
    for name, count in (("train", 30), ("val_select", 6), ("val_confirm", 2), ("test", 2)):
        tokens.save_encoded(tmp_path / "data" / "encoded" / f"{name}.npz", part.head(count))
    assert plan_sizes.read_corpus(settings, tmp_path) == plan_sizes.Corpus(
        40, 30, part.vocab_size, part.lexicon_size, f"in {tmp_path}/data"
    )


def test_records_of_a_source_are_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\nnot JSON\n')
    settings = {**config.read([SMOKE]), "data": {"source": "a.jsonl"}}
    assert plan_sizes.read_corpus(settings, tmp_path).records == 3


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"seeds": [0], "rungs": 1}, 3 * 5),
        ({"seeds": [0, 1, 2], "rungs": 1}, 3 * 15),
        # Three rates for 2 epochs, one of them for 3 more, and with two more seeds.
        ({"seeds": [0, 1, 2], "rungs": 3}, 3 * 2 + 3 + 2 * 5),
    ],
)
def test_the_sweeps_epochs_are_counted_rung_by_rung(sweep, expected):
    common = {"learning_rates": [1e-4, 1e-3, 1e-2], "epochs": 5, "reduction_factor": 3.0}
    assert pace.sweep_epochs({"sweep": {**common, **sweep}}) == expected


def test_a_quick_model_is_measured(capsys):
    assert main(["plan", str(SMOKE)]) == 0
    output = capsys.readouterr().out
    assert "time at most, were every text of the longest length" in output
    assert "an optimizer step, measured here (cpu)" in output


def test_what_would_take_long_is_measured_only_when_asked(recipe):
    assert pace.is_quick(recipe, 10_000, 24)
    assert not pace.is_quick(recipe, 739_000_000, 512)
    assert pace.is_quick(replace(recipe, train=replace(recipe.train, device="cuda")), 10**6, 512)


def test_the_ledgers_epochs_count_where_the_settings_are_the_same(tmp_path, monkeypatch):
    settings, run, store = config.read([SMOKE]), tmp_path / "run", Store(tmp_path / "store")
    for clip_norm, seconds in ((1.0, 60.0), (2.0, 999.0)):
        params = {"train.clip_norm": clip_norm, "model.preset": "tiny", "seed": 0, "tasks": {}}
        action = Action("train_leg", params, "c0de", {})
        store.run(
            action, {"weights": tmp_path / "w"}, lambda f: files.write_text(f / "weights", "")
        )
        outcome = Outcome(action, "computed", 1.0)
        epochs = [{"epoch": 1, "seconds": seconds, "peak_memory_bytes": 1}]
        Ledger(run / "ledger.jsonl").add(outcome, "seed_0", store, epochs=epochs)
    assert pace.ledger_epochs(settings, run, store) == [60.0]
    text = "\n".join(plan._unmeasured_lines(True, 2, 6, [60.0]))
    assert "about" in text
    assert "6.0 min" in text
