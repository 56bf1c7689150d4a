"""The table of candidates, and the files that make each of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from redheart.crossover.candidate_sources import (
    OFFSET,
    at_offset,
    best_epoch,
    ranked_epochs,
    single_by_rule,
)
from redheart.crossover.candidates import (
    BASELINE,
    CANDIDATES,
    DEFAULT,
    OF_AVERAGES,
    REFERENCES,
    sources_of_candidates,
    stitched_files,
)
from redheart.tasks.task import Task

TASKS = (
    Task("verdict", "multiclass", "label", ("a", "b")),
    Task("regret", "regression", "regret"),
)


def table(epoch, raw, ema, f1=0.5, r2=0.5):
    tasks = {"verdict": {"macro_f1": f1, "accuracy": 1 - f1}, "regret": {"r2": r2}}
    return {"epoch": epoch, "fused": {"raw": {"macro": raw, "tasks": tasks}, "ema": {"macro": ema}}}


EPOCHS = (2, 4, 6, 8)
TABLES = [
    table(2, 0.4, 0.1, f1=0.7, r2=None),
    table(4, 0.6, 0.3, f1=0.6, r2=0.2),
    table(6, 0.6, 0.2, f1=0.7, r2=0.4),
    table(8, None, 0.3, f1=0.1, r2=0.3),
]


def spots(**scores):
    """Return sweet spots at the lowest score of each group; a null score is never chosen."""
    spots_by_name = {}
    for name, row in scores.items():
        scored = [
            (score, epoch) for epoch, score in zip(EPOCHS, row, strict=True) if score is not None
        ]
        curve = {"epochs": [2, 4, 6, 8], "score": row}
        spots_by_name[name] = {"epoch": min(scored)[1], "curve": curve, "modules": [name]}
    return spots_by_name


SPOTS = {
    "groups": spots(A=[5, 1, 4, 9], B=[5, 9, 2, 1]),
    "units": spots(trunk=[3, 2, 1, 0], neural_x=[0, 5, None, 6]),
    "units_ema": spots(trunk=[3, 2, 1, 0], neural_x=[0, 5, None, 6]),
}
SOUPS = {name: {"epochs": [4, 6]} for name in ("uniform", "greedy", "uniform_ema", "greedy_ema")}
VARIANTS = [
    {"offset": offset, "same_as": same, "epochs": {"A": 4 + offset, "B": 8}}
    for offset, same in ((-4, -2), (-2, None), (0, None))
]
SEARCH = {
    "trunk": {"source": "greedy_soup"},
    "chosen": {"neural_x": 2, "signal": "greedy_soup"},
}
NAMES = [
    *("last", "best_single", "single_by_loss", "single_by_units", "ema_last", "ema"),
    *("uniform_soup", "greedy_soup", "uniform_soup_ema", "greedy_soup_ema", "per_task_best"),
    *("crossover", "crossover_units", "crossover_units_ema", "ascent"),
    *("variant_0", "variant_-2", "variant_-4", "variants_ensemble"),
]


ROOT = Path(__file__).parents[2]


@pytest.fixture
def sources():
    return sources_of_candidates(TASKS, TABLES, SOUPS, SPOTS, VARIANTS, SEARCH)


def test_the_table_is_complete_and_every_candidate_says_how_it_was_chosen(sources):
    assert list(sources) == NAMES
    for name, source in sources.items():
        assert source["note"], name
        assert source["forward_passes"] == len(source["members"]), name


def test_every_candidate_names_its_members(sources):
    several = {"per_task_best", "variants_ensemble"}
    assert {n: s["members"][0] for n, s in sources.items() if n not in several} == {
        "last": ["ckpt/epoch_008.pt", "weights"],
        "best_single": ["ckpt/epoch_004.pt", "weights"],
        "single_by_loss": ["ckpt/epoch_006.pt", "weights"],
        "single_by_units": ["ckpt/epoch_002.pt", "weights"],
        "ema_last": ["ckpt/epoch_008.pt", "ema"],
        "ema": ["ckpt/epoch_004.pt", "ema"],
        "uniform_soup": ["soups/uniform.pt", "weights"],
        "greedy_soup": ["soups/greedy.pt", "weights"],
        "uniform_soup_ema": ["soups/uniform_ema.pt", "weights"],
        "greedy_soup_ema": ["soups/greedy_ema.pt", "weights"],
        "crossover": ["crossover/optimal.pt", "weights"],
        "crossover_units": ["crossover/units.pt", "weights"],
        "crossover_units_ema": ["crossover/units_ema.pt", "weights"],
        "ascent": ["crossover/ascent.pt", "weights"],
        **{f"variant_{o}": [f"variants/offset_{o}.pt", "weights"] for o in (0, -2, -4)},
    }
    assert sources["crossover"]["epochs"] == {"A": 4, "B": 8}
    assert sources["crossover_units"]["epochs"] == {"trunk": 8, "neural_x": 2}
    assert sources["ascent"]["epochs"] == SEARCH["chosen"]


def test_variants_that_coincide_count_once_in_the_ensemble(sources):
    files = [["variants/offset_-2.pt", "weights"], ["variants/offset_0.pt", "weights"]]
    assert sources["variants_ensemble"]["members"] == files
    assert sources["variants_ensemble"]["forward_passes"] == 2


def test_every_task_has_the_checkpoint_that_is_best_at_it(sources):
    """The main metric decides; the first of equal epochs wins, an epoch without a score never."""
    best = sources["per_task_best"]
    assert best["epochs"] == {"verdict": 2, "regret": 6}
    assert best["members"] == [["ckpt/epoch_002.pt", "weights"], ["ckpt/epoch_006.pt", "weights"]]
    assert best["tasks"] == {"verdict": 0, "regret": 1}


def test_one_checkpoint_and_one_task_give_every_candidate():
    spots_of_a = {"A": {"epoch": 2, "curve": {"epochs": [2], "score": [None]}, "modules": []}}
    all_spots = dict.fromkeys(("groups", "units", "units_ema"), spots_of_a)
    sources = sources_of_candidates(
        TASKS[:1], TABLES[:1], SOUPS, all_spots, VARIANTS[2:], {**SEARCH, "chosen": {}}
    )
    assert [name for name in NAMES if name not in ("variant_-2", "variant_-4")] == list(sources)
    assert sources["per_task_best"]["forward_passes"] == 1


def test_epochs_are_ranked_by_macro_and_earlier_ones_first():
    assert ranked_epochs(TABLES) == [4, 6, 2, 8]
    assert best_epoch(TABLES, "ema") == 4


def test_the_control_of_a_crossover_is_the_one_epoch_with_the_best_mean_of_its_scores():
    # Means 5, 5, 3, 5; and 1.5, 3.5, unknown, 3.
    assert single_by_rule(SPOTS["groups"]) == 6
    assert single_by_rule(SPOTS["units"]) == 2


def test_without_averages_their_candidates_are_left_out_and_all_others_stay(sources):
    tables = [{**t, "fused": {"raw": t["fused"]["raw"]}} for t in TABLES]
    spots = {key: value for key, value in SPOTS.items() if key != "units_ema"}
    soups = {name: SOUPS[name] for name in ("uniform", "greedy")}
    raw_only = sources_of_candidates(TASKS, tables, soups, spots, VARIANTS, SEARCH)
    assert raw_only == {name: sources[name] for name in NAMES if name not in OF_AVERAGES}
    assert {name for name in NAMES if "ema" in name} == set(OF_AVERAGES)


def test_a_name_stands_for_one_candidate_and_every_reference_is_one():
    names = [candidate.name for candidate in CANDIDATES]
    assert len(set(names)) == len(names)
    assert {DEFAULT, BASELINE, *REFERENCES} <= set(names)
    assert {candidate.control for candidate in CANDIDATES if candidate.control} <= set(names)
    assert [candidate.name for candidate in CANDIDATES if not candidate.sources] == [BASELINE]


def test_only_a_candidate_of_several_models_takes_several_passes(sources):
    several = {candidate.name for candidate in CANDIDATES if candidate.several_models}
    assert {name for name, source in sources.items() if source["forward_passes"] > 1} == several
    assert not {DEFAULT, *REFERENCES} & several


@pytest.mark.parametrize("averages", [False, True])
def test_what_phase_4_makes_are_the_members_of_candidates(sources, averages):
    files = stitched_files(averages, [0, -2, -4])
    members = {
        file
        for name, source in sources.items()
        for file, _ in source["members"]
        if not file.startswith("ckpt/") and (averages or name not in OF_AVERAGES)
    }
    assert len(files) == len(members) and set(files) == members


# --- files that repeat the table ----------------------------------------------------------------


def test_the_schema_of_the_results_asks_for_every_candidate_of_the_table():
    path = ROOT / "config" / "schemas" / "results.schema.json"
    schema = json.loads(path.read_text("utf-8"))["properties"]["candidates"]
    fixed = [candidate.name for candidate in CANDIDATES if OFFSET not in candidate.name]
    assert schema["required"] == [name for name in fixed if name not in OF_AVERAGES]
    other_averages = [name for name in OF_AVERAGES if name != "ema"]
    required = {"ema": other_averages, **{name: ["ema"] for name in other_averages}}
    assert schema["dependentRequired"] == required


def row(candidate):
    name, note = (
        at_offset(f"`{candidate.name}`", "<offset>"),
        at_offset(candidate.note, "`<offset>`"),
    )
    control = f" `{candidate.control}`" if candidate.control else ""
    words = f" {candidate.words}" if candidate.words else ""
    return f"| {name} |{words} | {note} |{control} |"


def test_the_table_in_the_docs_is_the_table_of_candidates():
    page = (ROOT / "docs" / "crossover.md").read_text("utf-8")
    head = "| candidate | in words | how its weights are chosen | control |\n|---|---|---|---|\n"
    rows = page.partition(head)[2].partition("\n\n")[0]
    assert rows.splitlines() == [row(candidate) for candidate in CANDIDATES]
