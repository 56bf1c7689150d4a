"""The first screen: each answer has its numbers, and says so where there are none."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from report_inputs import TASKS, many_classes, synthetic

from redheart.report.answers import answers, compared_tasks, headline, worst_classes
from redheart.report.contents import in_order
from redheart.report.page import advice_of


def changed(**macro):
    """The assessment of the synthetic inputs with other numbers over all tasks."""
    assessment = copy.deepcopy(synthetic().assessment)
    assessment["macro"] |= macro
    return assessment


def answered(inputs):
    return {a.question: a.sentences for a in answers(inputs, advice_of(inputs))}


def test_the_first_sentence_has_score_interval_and_comparison():
    assessment = changed(score=0.5, low=0.45, high=0.56)
    assert headline(assessment) == (
        "On 200 texts that it has never seen, the model's macro score is 0.500 of 1 (95 % interval "
        "0.450 to 0.560): better on 1 and worse on 2 of 5 tasks than a linear model on words "
        "(TF-IDF + linear)."
    )


def test_the_first_sentence_of_a_run_that_nothing_can_be_said_of():
    assert headline(changed(score=None)).startswith("No task is labelled in the test part")
    assessment = changed()
    for task in assessment["tasks"].values():
        task["versus_baseline"]["difference"] = None
    assert headline(assessment).endswith(": there is nothing to compare it with.")


@pytest.mark.parametrize(
    ("difference", "p", "words"),
    [
        (0.02, 0.01, "better than a linear model"),
        (-0.02, 0.01, "worse than a linear model"),
        (-0.02, 0.2, "not to be told from a linear model"),
        (0.02, None, "not to be told from a linear model"),
    ],
)
def test_one_task_goes_by_its_metric(difference, p, words):
    assessment = changed()
    assessment["tasks"] = {"verdict": assessment["tasks"]["verdict"]}
    assessment["tasks"]["verdict"]["versus_baseline"] |= {"difference": difference, "p_holm": p}
    assert "the model's macro-F1 is" in headline(assessment) and words in headline(assessment)


def test_tasks_are_better_or_worse_only_beyond_chance():
    groups = compared_tasks(synthetic().assessment)
    assert groups == {
        **{"better": ["regret"], "worse": ["bentham", "verdict"]},
        **{"equal": ["emotion", "topics"], "unknown": []},
    }
    said = " ".join(answered(synthetic())["Compared with what?"])
    assert "Worse beyond chance: bentham (-0.020), verdict (-0.020)." in said
    assert "Better beyond chance: regret (+0.020)." in said and "0.210" in said


def test_the_worst_classes_were_seen_often_enough():
    assessment = changed()
    rows = assessment["tasks"]["verdict"]["classes"]
    rows[0] |= {"f1": 0.01, "support": 4}
    rows[1] |= {"f1": 0.02, "support": 5}
    rows[2] |= {"f1": None, "support": 50}
    worst = worst_classes(assessment)
    assert (worst[0][0], worst[0][1]["name"]) == ("verdict", rows[1]["name"])
    said = answered(replace(synthetic(), assessment=assessment))["Where is it bad?"]
    assert "1 class has fewer than 5 records in test, too few to tell." in said
    assert len(worst) == 3 and rows[0] not in [row for _, row in worst]


def test_every_question_is_answered_where_no_number_is_known():
    def unknown(value):
        if isinstance(value, dict):
            return {key: unknown(item) for key, item in value.items()}
        if isinstance(value, list):
            return [unknown(item) for item in value]
        return None if isinstance(value, float) else value

    inputs = synthetic()
    nothing = unknown(inputs.assessment) | {"records": 0, "clusters": 0}
    for task in nothing["tasks"].values():
        task |= {"labelled": 0, "mistakes": [], "confused": [], "outputs": []}
    said = answered(replace(inputs, assessment=nothing, suspects=None))
    assert said["Are labels wrong?"] == ("They were not examined (data_map.enabled: false).",)
    assert len(said) == 10 and headline(nothing).startswith("No task is labelled")


def test_many_tasks_are_told_by_the_best_and_the_worst():
    said = answered(many_classes())
    assert len(said["How good is it?"]) == 7
    assert "three worst of 12" in said["How good is it?"][0]
    assert max(map(len, said["Compared with what?"])) < 300


def test_many_openings_of_test_are_counted_and_not_listed():
    inputs = synthetic()
    access = {"opening": 7, "openings": 20, "others": [{"candidate": "c", "run": "r"}] * 19}
    many = replace(inputs, results={**inputs.results, "test_access": access})
    assert answered(many)["How sure is that?"][-1] == (
        "Test was opened 20 times; this was number 7."
    )


def test_suspected_labels_are_counted_by_task():
    said = " ".join(answered(synthetic(searched=True))["Are labels wrong?"])
    assert "225 are suspected: emotion 45" in said and "10 %" in said


def test_tasks_stand_in_the_order_of_the_config():
    inputs = synthetic()
    tasks = dict(sorted(inputs.assessment["tasks"].items()))
    mixed = replace(inputs, assessment={**inputs.assessment, "tasks": tasks})
    assert [*in_order(mixed).assessment["tasks"]] == [task.name for task in TASKS]
    assert in_order(mixed).suspects is None


def test_a_number_without_interval_or_without_test_records_is_told():
    inputs = synthetic()
    tasks = copy.deepcopy(inputs.assessment["tasks"])
    name = next(n for n, task in tasks.items() if task["kind"] == "regression")
    only = tasks[name]
    for output in only["outputs"]:
        output |= {"coverage": None, "half_width": None}
    assessment = {**inputs.assessment, "tasks": {name: only}}
    said = answered(replace(inputs, assessment=assessment))
    assert "too few validation records" in said["Can its probabilities be believed?"][0]
    only["labelled"] = 0
    for output in only["outputs"]:
        output |= {"r2": None, "half_width": 0.5}
    said = answered(replace(inputs, assessment=assessment))
    assert "no test record has a value" in said["Can its probabilities be believed?"][0]
    assert said["Where is it bad?"][-1] == f"Nobody knows of {name}: no record of test has a label."


def test_groups_that_are_best_in_one_epoch_are_told_so():
    inputs = synthetic()
    spots = copy.deepcopy(inputs.sweet_spots)
    for of_seed in spots.values():
        for number, spot in enumerate(of_seed["groups"].values()):
            spot |= {"epoch": 3, "overfitting_epoch": None if number else 5}
    said = answered(replace(inputs, sweet_spots=spots))["Did it train long enough?"][0]
    assert "are best in epoch 3 of" in said and "provably gets worse" in said


def test_no_question_of_a_run_without_labels_in_test_is_left_without_an_answer():
    inputs = synthetic()
    nothing = dict.fromkeys(("score", "low", "high", "baseline", "majority"))
    versus = {"versus_baseline": dict.fromkeys(("difference", "low", "high", "p", "p_holm"))}
    tasks = copy.deepcopy(inputs.assessment["tasks"])
    for task in tasks.values():
        task |= {**nothing, **versus, "labelled": 0, "classes": [], "confused": [], "outputs": []}
        task["calibration"] = None
    assessment = {**inputs.assessment, "macro": {**nothing, **versus}, "tasks": tasks}
    said = answered(replace(inputs, assessment=assessment, suspects=None))
    assert all(said.values()), said
    assert not any(sentence.endswith(":") for answer in said.values() for sentence in answer)
