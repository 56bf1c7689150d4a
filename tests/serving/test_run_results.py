"""What a run found out, read for a notebook."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace

import pytest

import redheart
from redheart.errors import UserError
from redheart.storage import files


def candidate(score, **test):
    return {
        "val_select": score,
        "val_confirm": None,
        "test": {"macro": score, "tasks": {"topic": {"accuracy": score, "f1": None}}, **test},
        "forward_passes": 1,
    }


VERSUS = {"difference": 0.1, "low": -0.1, "high": 0.3, "p": 0.2, "p_holm": 0.4}
RESULTS = {
    "run": "mine",
    "shipped": {"candidate": "greedy_soup", "seed": 0, "reason": "No gain."},
    "candidates": {
        "last": candidate(0.5, versus_greedy_soup=VERSUS),
        "greedy_soup": candidate(0.625),
    },
}
TASK = {
    "kind": "multiclass",
    "metric": "accuracy",
    "labelled": 40,
    "score": 0.5,
    "low": 0.4,
    "high": 0.6,
    "baseline": 0.25,
    "majority": None,
    "versus_baseline": VERSUS,
    "classes": [{"name": "a", "precision": 0.5}, {"name": "b", "precision": None}],
}
SUSPECT = {"id": "r1", "part": "train", "label": "a", "model_says": "b"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "mine"
    files.write_json(folder / "config.json", {})
    files.write_json(folder / "final_results.json", RESULTS)
    return folder


def test_candidates_and_scores_are_rows(folder):
    results = redheart.read_results("mine")
    assert results.candidates == redheart.read_results(folder).candidates
    assert [row["candidate"] for row in results.candidates] == ["last", "greedy_soup"]
    last, soup = results.candidates
    assert (last["shipped"], soup["shipped"]) == (False, True)
    assert (last["val_select"], last["val_confirm"], last["test"]) == (0.5, None, 0.5)
    assert last["greedy_soup_low"] == -0.1
    assert soup["greedy_soup_low"] is last["best_single_difference"] is None
    assert results.scores[2] == {
        "candidate": "greedy_soup",
        "task": "topic",
        "metric": "accuracy",
        "test": 0.625,
    }
    assert len({*map(tuple, results.candidates)}) == 1  # the same columns in every row
    with pytest.raises(dataclasses.FrozenInstanceError):
        results.run = "other"


def test_what_a_run_does_not_have_is_none_or_no_rows(folder):
    results = redheart.read_results(folder)
    assert (results.assessment, results.suspected, results.choice) == (None, None, {})
    assert results.tasks == results.classes == results.suspects == []


def test_assessment_suspects_and_choice_are_read_where_they_are(folder):
    files.write_json(folder / "assessment.json", {"tasks": {"topic": TASK}})
    files.write_json(folder / "suspects.json", {"tasks": {"topic": {"records": [SUSPECT]}}})
    files.write_json(folder / "choice.json", {"candidate": "greedy_soup"})
    results = redheart.read_results(folder)
    (task,) = results.tasks
    assert (task["task"], task["score"], task["majority"]) == ("topic", 0.5, None)
    assert (task["baseline_difference"], task["baseline_p_holm"]) == (0.1, 0.4)
    assert [row["name"] for row in results.classes] == ["a", "b"]
    assert results.suspects == [{"task": "topic", **SUSPECT}]
    assert results.choice["candidate"] == "greedy_soup"


def test_frames_take_pandas_and_the_message_says_what_has_the_same_rows(folder, monkeypatch):
    results = redheart.read_results(folder)
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=tuple))
    assert results.to_pandas() == tuple(results.candidates)
    assert results.to_pandas("scores") == tuple(results.scores)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"pip install pandas`\); `.scores` has the same rows"):
        results.to_pandas("scores")
    with pytest.raises(UserError, match="there is no table 'score'; did you mean 'scores'"):
        results.to_pandas("score")


def test_a_frame_of_pandas_has_the_rows(folder):
    pandas = pytest.importorskip("pandas")
    results = redheart.read_results(folder)
    frame = results.to_pandas("candidates")
    assert isinstance(frame, pandas.DataFrame)
    assert frame["test"].tolist() == [0.5, 0.625]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("final_results.json", "{}", "damaged, since its JSON lacks a value"),
        ("final_results.json", None, "holds no final_results.json, so the run is not finished"),
        ("assessment.json", '{"tasks": {"topic": 3}}', "damaged, since a task is no object"),
        ("suspects.json", "[", "no valid JSON"),
    ],
)
def test_a_run_that_is_not_finished_or_damaged_is_told(folder, name, content, message):
    (folder / name).unlink(missing_ok=True)
    if content:
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=message):
        redheart.read_results(folder)
    with pytest.raises(UserError, match=r"mien: no such run; .+did you mean 'mine'"):
        redheart.read_results("mien")
