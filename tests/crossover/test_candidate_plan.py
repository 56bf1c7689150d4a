"""Which candidates there are, and of which files each is made."""

from __future__ import annotations

import pytest

from redheart.crossover.candidate_plan import (
    OF_AVERAGES,
    best_epoch,
    plan_candidates,
    ranked_epochs,
    single_by_rule,
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
    """Sweet spots at the lowest score of each, null never."""
    found = {}
    for name, row in scores.items():
        known = [
            (score, epoch) for epoch, score in zip(EPOCHS, row, strict=True) if score is not None
        ]
        curve = {"epochs": [2, 4, 6, 8], "score": row}
        found[name] = {"epoch": min(known)[1], "curve": curve, "modules": [name]}
    return found


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


@pytest.fixture
def plan():
    return plan_candidates(TASKS, TABLES, SOUPS, SPOTS, VARIANTS, SEARCH)


def test_the_table_is_complete_and_every_candidate_says_how_it_was_chosen(plan):
    assert list(plan) == NAMES
    for name, source in plan.items():
        assert source["note"], name
        assert source["forward_passes"] == len(source["members"]), name


def test_every_candidate_names_its_members(plan):
    several = {"per_task_best", "variants_ensemble"}
    assert {n: s["members"][0] for n, s in plan.items() if n not in several} == {
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
    assert plan["crossover"]["epochs"] == {"A": 4, "B": 8}
    assert plan["crossover_units"]["epochs"] == {"trunk": 8, "neural_x": 2}
    assert plan["ascent"]["epochs"] == SEARCH["chosen"]


def test_variants_that_coincide_count_once_in_the_ensemble(plan):
    files = [["variants/offset_-2.pt", "weights"], ["variants/offset_0.pt", "weights"]]
    assert plan["variants_ensemble"]["members"] == files
    assert plan["variants_ensemble"]["forward_passes"] == 2


def test_every_task_has_the_checkpoint_that_is_best_at_it(plan):
    """By the main metric, the first of equal ones; one without a score never wins."""
    best = plan["per_task_best"]
    assert best["epochs"] == {"verdict": 2, "regret": 6}
    assert best["members"] == [["ckpt/epoch_002.pt", "weights"], ["ckpt/epoch_006.pt", "weights"]]
    assert best["tasks"] == {"verdict": 0, "regret": 1}


def test_one_checkpoint_and_one_task_give_every_candidate():
    one = {"A": {"epoch": 2, "curve": {"epochs": [2], "score": [None]}, "modules": []}}
    given = dict.fromkeys(("groups", "units", "units_ema"), one)
    plan = plan_candidates(
        TASKS[:1], TABLES[:1], SOUPS, given, VARIANTS[2:], {**SEARCH, "chosen": {}}
    )
    assert [name for name in NAMES if name not in ("variant_-2", "variant_-4")] == list(plan)
    assert plan["per_task_best"]["forward_passes"] == 1


def test_epochs_are_ranked_by_macro_and_earlier_ones_first():
    assert ranked_epochs(TABLES) == [4, 6, 2, 8]
    assert best_epoch(TABLES, "ema") == 4


def test_the_control_of_a_crossover_is_the_one_epoch_with_the_best_mean_of_its_scores():
    # Means 5, 5, 3, 5; and 1.5, 3.5, unknown, 3.
    assert single_by_rule(SPOTS["groups"]) == 6
    assert single_by_rule(SPOTS["units"]) == 2


def test_without_averages_their_candidates_are_left_out_and_all_others_stay(plan):
    tables = [{**t, "fused": {"raw": t["fused"]["raw"]}} for t in TABLES]
    spots = {key: value for key, value in SPOTS.items() if key != "units_ema"}
    soups = {name: SOUPS[name] for name in ("uniform", "greedy")}
    found = plan_candidates(TASKS, tables, soups, spots, VARIANTS, SEARCH)
    assert found == {name: plan[name] for name in NAMES if name not in OF_AVERAGES}
    assert {name for name in NAMES if "ema" in name} == set(OF_AVERAGES)
