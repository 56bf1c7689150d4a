"""The figures of the results: many classes, few classes, and where nothing is known."""

from __future__ import annotations

import re
from functools import cache

import assessed
import numpy as np
import pytest

from redheart.figures.task_figures import (
    MOST_CLASSES,
    draw_map,
    draw_scores,
    draw_task,
    most_confused,
)
from redheart.tasks.task import Task

MANY = tuple(f"c{k:03d}" for k in range(100))


@cache
def entry(kind, classes=("a", "b", "c")):
    task = Task("t", kind, "f", classes)
    return assessed.assessment([task], np.random.default_rng(0), records=900)["tasks"]["t"]


def test_a_matrix_shows_all_classes_or_those_with_the_most_errors():
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 3, (30, 30))
    counts[[4, 17]] += 9
    names = [str(k) for k in range(30)]
    confusion = {"classes": names, "counts": counts.tolist()}
    errors = [counts[k].sum() + counts[:, k].sum() - 2 * counts[k, k] for k in range(30)]
    chosen = most_confused(confusion, 5)
    assert chosen == sorted(chosen) and {4, 17} <= set(chosen)
    assert min(errors[k] for k in chosen) >= max(errors[k] for k in range(30) if k not in chosen)
    assert most_confused(confusion, 30) == list(range(30))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "distribution"])
def test_of_a_hundred_classes_a_figure_names_twenty(kind):
    svg = draw_task(entry(kind, MANY)).svg
    assert len(set(re.findall(r">(c\d\d\d)<", svg))) == MOST_CLASSES
    assert "Are the probabilities right?" in svg and len(svg) < 300_000


@pytest.mark.slow
def test_a_small_matrix_has_its_counts():
    task = entry("multiclass")
    svg = draw_task(task).svg
    for row in task["confusion"]["counts"]:
        assert all(f">{count}<" in svg for count in row)


@pytest.mark.slow
def test_a_regression_shows_each_output_and_a_picture_of_many_points():
    svg = draw_task(entry("regression", ("one", "two"))).svg
    assert ">one<" in svg and ">two<" in svg and svg.count("data:image/png") == 2


@pytest.mark.slow
def test_a_figure_is_drawn_where_little_is_known():
    empty = {**entry("multiclass"), "calibration": None}
    assert "not measured" in draw_task(empty).svg
    assert "no record of test has a value" in draw_task({"kind": "regression", "outputs": []}).svg
    assert "no record has a place" in draw_map({"tasks": {}}).svg
    assert "no task is labelled" in draw_scores({"tasks": {"a": {"score": None}}}).svg


@pytest.mark.slow
def test_a_task_without_a_yardstick_has_its_score_alone():
    nothing = dict.fromkeys(("difference", "low", "high", "p", "p_holm"))
    task = {**entry("multiclass"), "baseline": None, "majority": None, "versus_baseline": nothing}
    assert ">alone<" in draw_scores({"tasks": {"alone": task}}).svg


@pytest.mark.slow
def test_the_map_marks_what_is_suspected():
    task = Task("t", "multiclass", "f", ("X", "Y"))
    found = assessed.suspects([task], np.random.default_rng(0), 300, 20)
    svg = draw_map(found).svg
    assert svg.count("#d8404f") >= 20 and "suspected" in svg
