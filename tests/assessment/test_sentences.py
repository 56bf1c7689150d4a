"""The headline names the tasks that differ beyond chance; the card tells scores and decisions."""

from __future__ import annotations

import json

import pytest
from markdown_it import MarkdownIt

from redheart.assessment.card import card_lines, write_words
from redheart.assessment.sentences import short_form, tasks_sentence, with_assessment


def versus(difference, p_holm):
    spread = {} if difference is None else {"low": difference - 0.01, "high": difference + 0.01}
    blank = dict.fromkeys(("low", "high"))
    return {"difference": difference, **blank, **spread, "p": p_holm, "p_holm": p_holm}


def task(difference, p_holm, kind="multiclass", **more):
    return {
        **{"kind": kind, "metric": "macro_f1", "score": 0.5, "low": 0.4, "high": None},
        **{"baseline": 0.52, "majority": 0.1, "versus_baseline": versus(difference, p_holm)},
        **more,
    }


def assessment(**tasks):
    macro = task(0.001, 0.9)
    return {"records": 70, "macro": macro, "tasks": tasks}


def test_tasks_that_are_worse_or_better_beyond_chance_are_named_with_their_intervals():
    told = tasks_sentence(
        assessment(
            a=task(-0.02, 0.01), b=task(0.3, 0.06), c=task(0.05, 0.001), d=task(-0.04, 0.049)
        )
    )
    assert told == (
        "By task and beyond chance (Holm over 4 tasks), it is worse on "
        "a (-0.020 [-0.030, -0.010]), d (-0.040 [-0.050, -0.030]), and better on "
        "c (+0.050 [+0.040, +0.060])."
    )


def test_where_nothing_is_beyond_chance_or_nothing_is_known_it_says_so():
    told = tasks_sentence(assessment(a=task(-0.02, 0.2), b=task(None, None), c=task(0.0, 1.0)))
    assert told == "No difference on a single task is beyond chance (Holm over 2 tasks)."
    assert tasks_sentence(assessment(b=task(None, None))) == ""


def test_the_results_hold_the_assessment_in_short_and_a_headline_of_both_sentences():
    comparison = {"baseline_sentence": "It is not distinguishable.", "shipped": {}}
    both = assessment(a=task(-0.02, 0.01), b=task(0.0, 1.0))
    results = with_assessment(comparison, both)
    assert results["baseline_sentence"] == f"It is not distinguishable. {tasks_sentence(both)}"
    assert results["assessment"] == short_form(both)
    assert set(results["assessment"]["macro"]) == {"score", "low", "high", "versus_baseline"}
    alone = with_assessment(comparison, assessment(a=task(-0.02, 0.01)))
    assert alone["baseline_sentence"] == "It is not distinguishable."


DECISIONS = {
    "tasks": {
        "tags": {"kind": "multilabel", "thresholds": {"<b>": 0.25, "y": 0.5}},
        "rating": {"kind": "regression", "half_width": {"stars": 1.5, "rare": None}},
    }
}
OUTPUTS = [
    {"name": "stars", "half_width": 1.5, "coverage": 0.914},
    {"name": "rare", "half_width": None, "coverage": None},
]


def test_the_card_tells_scores_with_intervals_thresholds_and_how_often_an_interval_held():
    lines = card_lines(
        assessment(tags=task(0.1, 0.01, "multilabel"), rating=task(None, None, outputs=OUTPUTS)),
        DECISIONS,
    )
    card = "\n".join(lines)
    assert (
        "| tags | macro_f1 | 0.500 [0.400, -] | 0.520 | +0.100 [+0.090, +0.110] | 0.100 |" in lines
    )
    assert "| rating | macro_f1 | 0.500 [0.400, -] | 0.520 | - [-, -] | 0.100 |" in lines
    assert r"a label is predicted from its threshold on: \<b\> 0.250, y 0.500" in card
    assert "- **rating**, stars: the value ± 1.5, which held 91 % of the test values" in lines
    assert "rare" not in card
    assert "<b>" not in MarkdownIt("commonmark").render(card).replace("&lt;b&gt;", "")


def test_a_model_of_classes_alone_has_no_section_on_decisions():
    plain = {"tasks": {"a": {"kind": "multiclass"}}}
    assert "## How it decides" not in card_lines(assessment(a=task(0.1, 0.01)), plain)


@pytest.fixture
def told():
    scores = dict.fromkeys(("difference", "low", "high"), 0.0)
    test = {"macro": 0.5, "versus_best_single": scores, "versus_greedy_soup": scores}
    candidate = {"val_select": 0.5, "val_confirm": 0.5, "test": test, "forward_passes": 1}
    return {
        "config": {"tasks": {}, "model": {}},
        "comparison": {
            "shipped": {"candidate": "last", "seed": 0, "reason": "Good."},
            "baseline_sentence": "It wins.",
            "candidates": {"last": candidate},
        },
        "decisions": DECISIONS,
        "assessment": assessment(a=task(-0.02, 0.01), b=task(0.0, 1.0)),
    }


def test_the_recipe_that_ships_holds_the_decisions_and_the_card_the_whole_headline(tmp_path, told):
    write_words(tmp_path, "demo", {"members": [], "fusion": []}, told)
    recipe = json.loads((tmp_path / "recipe").read_text())
    assert recipe["decisions"] == DECISIONS["tasks"]
    assert (recipe["candidate"], recipe["fusion"]) == ("last", [])
    card = (tmp_path / "card").read_text()
    assert f"It wins. {tasks_sentence(told['assessment'])}" in card
    assert card.index("## How good it is") < card.index("## Evidence")
