"""The whole assessment of four kinds of tasks: its form, its thresholds, its unit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from redheart.assessment.assess import assess_shipped
from redheart.crossover.candidates import BASELINE
from redheart.encoding.tokens import Encoded
from redheart.evaluation.decisions import DecisionOptions, fit_decisions
from redheart.tasks.scale import Scale
from redheart.tasks.task import Task

TOPIC = Task("topic", "multiclass", "topic", ("a", "b", "c"))
TAGS = Task("tags", "multilabel", "tags", ("x", "y"))
MOOD = Task("mood", "distribution", "mood", ("calm", "tense"))
RATING = Task("rating", "regression", "rating")
TASKS = (TOPIC, TAGS, MOOD, RATING)
SCALE = Scale(np.array([50.0]), np.array([10.0]))
PARTS = ("train", "val_select", "val_confirm", "test")
N = 60


def drawn_targets(rng):
    return {
        "topic": np.eye(3)[rng.integers(0, 3, N)],
        "tags": (rng.random((N, 2)) < 0.3).astype(np.float32),
        "mood": rng.dirichlet([1, 1], N),
        "rating": rng.normal(size=(N, 1)),
    }


def drawn_predictions(rng, targets):
    """Predictions that know something; those of labels are timid."""
    return {
        "topic": 0.5 * targets["topic"] + 0.5 * rng.dirichlet([1] * 3, N),
        "tags": 0.15 * targets["tags"] + 0.2 * rng.random((N, 2)),
        "mood": 0.5 * targets["mood"] + 0.5 * rng.dirichlet([1, 1], N),
        "rating": targets["rating"] + rng.normal(size=(N, 1)),
    }


@pytest.fixture(scope="module")
def assessed():
    rng = np.random.default_rng(0)
    targets = {part: drawn_targets(rng) for part in PARTS}
    targets["test"]["tags"][0] = np.nan
    tables = [{p: drawn_predictions(rng, targets[p]) for p in PARTS} for _ in range(2)]
    for table in tables:
        table["test"]["tags"][0] = 0.1
    decisions = fit_decisions(TASKS, tables[0], targets, {"rating": SCALE}, DecisionOptions())
    encoded = {
        part: Encoded([], targets[part], 1, 8, None, scales={"rating": SCALE})
        for part in ("train", "val_select", "test")
    }
    content, given = assess_shipped(
        TASKS,
        {"candidate": "ema", "seed": 4, "tasks": decisions},
        {"ema": tables[0]},
        {BASELINE: tables[1]},
        encoded,
        [{"id": f"r{i}", "text": f"text {i}"} for i in range(N)],
        np.arange(N) // 2,
        DecisionOptions(),
        100,
    )
    return content, given, targets, tables, decisions


def test_it_names_what_it_is_about_and_is_json_without_nan(assessed):
    content, given, *_ = assessed
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    named = {key: content[key] for key in ("candidate", "seed", "records", "clusters", "resamples")}
    assert named == {"candidate": "ema", "seed": 4, "records": 60, "clusters": 30, "resamples": 100}
    assert [*content["tasks"]] == [task.name for task in TASKS]
    assert [len(answers.labels) for answers in given] == [N] * 4


SHARED = {
    *("kind", "metric", "labelled", "score", "low", "high", "baseline", "majority"),
    *("versus_baseline", "metrics", "baseline_metrics", "calibration", "mistakes"),
}


@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("topic", {"classes", "confusion", "confused"}),
        ("tags", {"classes"}),
        ("mood", {"classes", "confusion", "confused"}),
        ("rating", {"outputs"}),
    ],
)
def test_every_kind_of_task_has_its_parts(assessed, task, more):
    row = assessed[0]["tasks"][task]
    assert set(row) == SHARED | more
    assert row["metrics"][row["metric"]] == pytest.approx(row["score"])
    assert row["baseline_metrics"][row["metric"]] == pytest.approx(row["baseline"])
    assert row["metrics"].keys() == row["baseline_metrics"].keys()
    assert row["labelled"] == (N - 1 if task == "tags" else N)


def test_model_and_baseline_decide_labels_by_their_own_thresholds(assessed):
    content, _, targets, tables, decisions = assessed
    known = slice(1, None)
    true = targets["test"]["tags"][known]
    baseline = fit_decisions([TAGS], tables[1], targets, {}, DecisionOptions())
    for key, table, fitted in (
        ("metrics", tables[0], decisions),
        ("baseline_metrics", tables[1], baseline),
    ):
        cuts = [*fitted["tags"]["thresholds"].values()]
        assert max(cuts) < 0.4
        chosen = table["test"]["tags"][known] >= cuts
        told = content["tasks"]["tags"][key]
        assert told["macro_f1"] == pytest.approx(f1_score(true, chosen, average="macro"))
        assert told["micro_f1"] == pytest.approx(f1_score(true, chosen, average="micro"))


def test_a_regression_is_told_in_the_unit_of_the_data(assessed):
    content, _, targets, tables, decisions = assessed
    row = content["tasks"]["rating"]
    (output,) = row["outputs"]
    errors = 10 * np.abs(tables[0]["test"]["rating"] - targets["test"]["rating"])[:, 0]
    assert output["mean_absolute_error"] == pytest.approx(errors.mean())
    assert row["metrics"]["mean_absolute_error"] == pytest.approx(errors.mean())
    assert output["half_width"] == decisions["rating"]["half_width"]["rating"]
    assert output["coverage"] == (errors <= output["half_width"]).mean()
    assert output["points"][0][0] == pytest.approx(
        10 * targets["test"]["rating"][0, 0] + 50, rel=1e-5
    )
    worst = row["mistakes"][0]
    assert worst["id"] == f"r{errors.argmax()}"
    assert worst["probability"] is None
