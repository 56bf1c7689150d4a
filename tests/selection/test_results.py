"""The result file: gathered from the phases, checked by its schema, and what the run cost."""

from __future__ import annotations

import copy

import jsonschema
import pytest

from redheart.selection import results
from redheart.workflow.steps import PHASES

VERSUS = {"difference": 0.0, "low": -0.1, "high": 0.1, "p": 0.2, "p_holm": 1.0}


def candidate():
    return {
        "val_select": 0.5,
        "val_confirm": None,
        "test": {
            "macro": 0.5,
            "tasks": {"regret": {"r2": None}},
            "versus_best_single": VERSUS,
            "versus_greedy_soup": {**VERSUS, "p_holm": None},
        },
        "forward_passes": 1,
    }


NAMES = (
    *("last", "best_single", "single_by_loss", "single_by_units", "ema_last", "ema"),
    *("uniform_soup", "greedy_soup", "uniform_soup_ema", "greedy_soup_ema", "per_task_best"),
    *("crossover", "crossover_units", "crossover_units_ema", "ascent"),
    *("variants_ensemble", "tfidf_linear"),
)
SCORE = {"score": 0.5, "low": 0.4, "high": None}
DIFFERENCE = {"difference": 0.1, "low": 0.0, "high": 0.2, "p": None}
ASSESSMENT = {
    "macro": {**SCORE, "versus_baseline": DIFFERENCE},
    "tasks": {
        "regret": {"metric": "r2", **SCORE, "versus_baseline": {**DIFFERENCE, "p_holm": 1.0}}
    },
}
GIVEN = {
    "run": "demo",
    "comparison": {
        "shipped": {"candidate": "greedy_soup", "reason": "No gain.", "seed": 0},
        "baseline_sentence": "Better.",
        "assessment": ASSESSMENT,
        "candidates": {name: candidate() for name in NAMES},
    },
    "access": {"opening": 1, "openings": 1, "others": []},
    "reports": {
        "records": {"read": 100, "rejected_count": 3, "more": "than that"},
        "dedup": {"removed": 7, "kept": 90},
        "split": {
            "parts": {
                part: {"count": count, "shares": {}}
                for part, count in (
                    ("train", 60),
                    ("val_select", 10),
                    ("val_confirm", 5),
                    ("test", 15),
                )
            }
        },
    },
    "best": {"best_learning_rate": 0.003},
    "spots": {0: {"groups": {"A": {"epoch": 8, "reason": ""}, "B": {"epoch": 4}}}},
    "provenance": {"commit": None, "versions": {}, "command": "snakemake", "config_sha256": "ab"},
    "cost": {"seconds": {}, "peak_memory_bytes": 1, "disk_bytes": 1},
}


def test_results_say_what_became_of_the_records():
    content = results.gather(**GIVEN)
    assert content["data"] == {
        "read": 100,
        "rejected": 3,
        "removed": 7,
        "kept": 90,
        "parts": {"train": 60, "val_select": 10, "val_confirm": 5, "test": 15},
    }
    assert content["best_learning_rate"] == 0.003
    assert content["shipped"]["candidate"] == "greedy_soup"


def test_results_say_what_the_corrections_changed():
    applied = {"file": "fixes.csv", "changed": 2, "dropped": 1, "undecided": 4, "applied": []}
    records = GIVEN["reports"]["records"] | {"corrections": applied}
    content = results.gather(**GIVEN | {"reports": GIVEN["reports"] | {"records": records}})
    assert content["data"]["corrected"] == {"changed": 2, "dropped": 1}


def test_sweet_spots_are_by_seed_only_if_there_are_several():
    assert results.gather(**GIVEN)["sweet_spots"] == {"A": 8, "B": 4}
    several = {0: GIVEN["spots"][0], 7: {"groups": {"A": {"epoch": 2}, "B": {"epoch": 2}}}}
    assert results.gather(**{**GIVEN, "spots": several})["sweet_spots"] == {
        "0": {"A": 8, "B": 4},
        "7": {"A": 2, "B": 2},
    }


@pytest.mark.parametrize("name", NAMES)
def test_results_without_a_candidate_are_refused(name):
    parts = copy.deepcopy(GIVEN)
    del parts["comparison"]["candidates"][name]
    with pytest.raises(jsonschema.ValidationError, match=name):
        results.gather(**parts)


def test_results_with_an_unknown_entry_are_refused():
    parts = copy.deepcopy(GIVEN)
    parts["comparison"]["candidates"]["last"]["test"]["acuracy"] = 0.9
    with pytest.raises(jsonschema.ValidationError, match="acuracy"):
        results.gather(**parts)


BEFORE_THE_REPORT = [phase for phase in PHASES if phase != "report"]

# --- cost -----------------------------------------------------------------------------------


def line(step, target, seconds, outcome="computed", **facts):
    return {"step": step, "target": target, "outcome": outcome, "seconds": seconds, **facts}


def test_cost_counts_the_last_computation_of_every_target(tmp_path):
    ledger = [
        line("train_leg", "epoch_002.pt", 100.0, peak_memory_bytes=9000),
        line("train_leg", "epoch_002.pt", 40.0, peak_memory_bytes=700),
        line("train_leg", "epoch_002.pt", 0.1, "restored"),
        line("train_leg", "epoch_004.pt", 2.5, peak_memory_bytes=800),
        line("evaluate_checkpoint", "epoch_004.pt", 1.25, peak_memory_bytes=300),
        line("split_records", "train.json", 0.5, "restored"),
        line("choose_rate", "best_lr.json", 0.25, peak_memory_bytes=100),
        line("make_report", "report.html", 9.0),  # of an older report: this file is made first
    ]
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "folder" / "b").write_bytes(b"123")
    cost = results.cost(ledger, tmp_path, PHASES)
    assert cost["seconds"] == {
        **dict.fromkeys(BEFORE_THE_REPORT, 0),
        "train": 43.75,
        "sweep": 0.25,
    }
    assert cost["peak_memory_bytes"] == 800
    assert cost["disk_bytes"] == 8


def test_a_run_that_computed_nothing_cost_nothing(tmp_path):
    assert results.cost([], tmp_path, PHASES) == {
        "seconds": dict.fromkeys(BEFORE_THE_REPORT, 0),
        "peak_memory_bytes": 0,
        "disk_bytes": 0,
    }
