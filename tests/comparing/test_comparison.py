"""Two runs compared: the same records, the paired difference, and what is not comparable."""

from __future__ import annotations

import copy
import json
import shutil

import numpy as np
import pytest
from comparison_runs import TASKS
from hypothesis import given
from hypothesis import strategies as st

from redheart.cli.main import main
from redheart.comparing.comparison import compare_runs, notes, verdict
from redheart.comparing.page import build_page
from redheart.comparing.runs import open_run
from redheart.comparing.scores import joined, paired
from redheart.comparing.words import WIDTH, terminal_lines
from redheart.errors import UserError
from redheart.tasks.metrics import macro
from redheart.tasks.task import parse_tasks, target_matrix


def by_part(comparison):
    return {score["part"]: score for score in comparison["scores"]}


# --- scores -------------------------------------------------------------------------------------


def test_a_better_model_is_better_on_every_part(maker, parts):
    maker.run("weak", parts, skill=0.0)
    maker.run("strong", parts, skill=1.0, seed=1)
    comparison = compare_runs("weak", "strong")
    for score in comparison["scores"]:
        assert verdict(score) == "B is better"
        assert score["macro"]["low"] > 0
        assert score["macro"]["difference"] == score["macro"]["b"] - score["macro"]["a"]
        assert set(score["tasks"]) == {"verdict", "regret"}
    assert all(verdict(s) == "A is better" for s in compare_runs("strong", "weak")["scores"])


def test_scores_are_those_of_the_whole_part(maker, parts):
    tasks = parse_tasks(TASKS)
    run = maker.run("one", parts, skill=0.9)
    maker.run("two", parts, skill=0.7, seed=3)
    score = by_part(compare_runs("one", "two"))["test"]
    opened = open_run("A", run)
    targets = {t.name: target_matrix(t, parts["test"]) for t in tasks}
    ours = opened.predicted("test")
    for name, its_scale in opened.scales.items():
        targets[name], ours[name] = map(its_scale.standardized, (targets[name], ours[name]))
    assert score["macro"]["a"] == pytest.approx(macro(tasks, ours, targets))
    assert score["tasks"]["regret"]["a"] > 0.1  # far from 0, and still no constant


def test_the_same_run_twice_has_no_difference(maker, parts):
    maker.run("one", parts)
    comparison = compare_runs("one", "results/one")
    assert comparison["same"]
    assert comparison["settings"] == comparison["steps"] == []
    for score in comparison["scores"]:
        assert verdict(score) == "both models predict the same"
        assert [score["macro"][key] for key in ("difference", "low", "high")] == [0, 0, 0]
    assert "A and B are the same run." in notes(comparison)


def test_only_records_of_both_runs_count_whatever_their_order(maker, parts):
    """The oracle scores by hand the records that both runs have in val_select."""
    other = copy.deepcopy(parts)
    moved = other["val_select"][:6]
    other["val_select"] = other["val_select"][:5:-1]
    other["train"] += moved
    other["val_select"][0]["text"] = "another text"
    one, two = maker.run("one", parts), maker.run("two", other, seed=5)
    comparison = compare_runs(one, two)
    score = by_part(comparison)["val_select"]
    assert score["records"] == 30 - 6 - 1
    pairs = paired(open_run("A", one), open_run("B", two), "val_select")
    ids = [r["id"] for r in parts["val_select"][6:-1]]
    for run, records, found in zip((one, two), (parts, other), pairs.predicted, strict=True):
        rows = {r["id"]: i for i, r in enumerate(records["val_select"])}
        expected = open_run("A", run).predicted("val_select")["verdict"][[rows[i] for i in ids]]
        np.testing.assert_array_equal(found["verdict"], expected)
    assert comparison["data"]["shared"] == sum(map(len, parts.values())) - 1
    assert comparison["data"]["in_other_parts"] == 6


def test_records_with_other_labels_are_left_out_and_counted(maker, parts):
    other = copy.deepcopy(parts)
    other["val_confirm"][0]["label"] = (
        "그래" if parts["val_confirm"][0].get("label") != "그래" else "no"
    )
    other["val_confirm"][1].pop("regret")
    maker.run("one", parts)
    maker.run("two", other)
    comparison = compare_runs("one", "two")
    score = by_part(comparison)["val_confirm"]
    assert (score["records"], score["relabelled"]) == (22, 2)
    assert any("2 records are left out, since the runs know other" in n for n in notes(comparison))


def test_test_is_compared_only_where_it_is_the_same_part(maker, parts):
    other = copy.deepcopy(parts)
    other["train"].append(other["test"].pop())
    maker.run("one", parts)
    maker.run("two", other)
    comparison = compare_runs("one", "two")
    score = by_part(comparison)["test"]
    assert not score["comparable"]
    assert score["why"] == "the runs have other test parts (28 and 27 records, 27 of them in both)"
    assert by_part(comparison)["val_select"]["comparable"]
    assert not any("Test was opened" in sentence for sentence in notes(comparison))


def test_how_often_test_was_opened_is_told(maker, parts):
    run = maker.run("one", parts)
    maker.run("two", parts)
    maker.write(run, "test_access.json", [{}, {}, {}])
    comparison = compare_runs("one", "two")
    assert comparison["test_openings"] == [3, 1]
    assert any(
        "opened 3 times when A had opened it, once when" in sentence
        for sentence in notes(comparison)
    )


def test_runs_of_other_tasks_are_not_comparable(maker, parts):
    tasks = {"mood": {"kind": "multiclass", "field": "label", "classes": ["yes", "no", "그래"]}}
    maker.run("one", parts)
    maker.run("two", parts, tasks=tasks)
    for score in compare_runs("one", "two")["scores"]:
        assert score["why"].startswith("the runs have no task in common (mood: only in B; regret:")


def test_a_task_that_differs_is_left_out(maker, parts):
    tasks = {
        "verdict": {"kind": "multiclass", "field": "label", "classes": ["no", "yes", "그래"]},
        "regret": {"kind": "regression", "field": "regret", "weight": 3.0},
    }
    maker.run("one", parts)
    maker.run("two", parts, tasks=tasks)
    comparison = compare_runs("one", "two")
    assert list(by_part(comparison)["test"]["tasks"]) == ["regret"]
    assert comparison["tasks_left_out"] == ["verdict: its classes differ"]


@pytest.mark.parametrize(
    ("missing", "part", "why"),
    [
        ("choice.json", "val_select", "B has no choice.json yet"),
        ("seed_0/predictions.npz", "val_confirm", "B has no seed_0/predictions.npz yet"),
        ("seed_0/test_predictions.npz", "test", "B has no seed_0/test_predictions.npz yet"),
        ("data/split/test.json", "test", "B has no data/split/test.json yet"),
    ],
)
def test_a_half_finished_run_is_compared_as_far_as_it_goes(maker, parts, missing, part, why):
    maker.run("one", parts)
    run = maker.run("two", parts)
    (run / missing).unlink()
    (run / "final_results.json").unlink()
    comparison = compare_runs("one", "two")
    assert by_part(comparison)[part] == {"part": part, "comparable": False, "why": why}
    assert "B is not finished: what it lacks is not compared." in notes(comparison)
    assert terminal_lines(comparison)


def test_predictions_of_other_records_are_told(maker, parts):
    maker.run("one", parts)
    run = maker.run("two", parts)
    maker.write(run, "data/split/val_select.json", parts["val_select"][:-1])
    score = by_part(compare_runs("one", "two"))["val_select"]
    assert score["why"] == "B is half made: its predictions are of other records"


def test_a_part_without_labels_is_not_comparable(maker, parts):
    for record in parts["val_confirm"]:
        record.pop("label", None)
        record.pop("regret")
    maker.run("one", parts)
    maker.run("two", parts)
    assert by_part(compare_runs("one", "two"))["val_confirm"]["why"].startswith(
        "no score is defined"
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(5, 9)), min_size=1, max_size=12))
def test_joined_clusters_are_linked_in_either_run(links):
    first, second = map(np.array, zip(*links, strict=True))
    found = joined(first, second)
    groups = [{i} for i in range(len(links))]
    for i in range(len(links)):  # brute force: merge until nothing changes
        for j in range(i):
            if first[i] == first[j] or second[i] == second[j]:
                left, right = (next(g for g in groups if k in g) for k in (i, j))
                if left is not right:
                    groups.remove(right)
                    left |= right
    expected = {frozenset(g) for g in groups}
    assert {frozenset(np.flatnonzero(found == c).tolist()) for c in set(found.tolist())} == expected


# --- origins ------------------------------------------------------------------------------------


def test_settings_and_steps_that_differ_are_named(maker, parts):
    maker.run("one", parts, label_smoothing=0.1)
    maker.run("two", parts, code="c1", label_smoothing=0.2, classes=["a"])
    comparison = compare_runs("one", "two")
    assert comparison["settings"] == [
        {"key": "train.classes", "a": "(absent)", "b": ["a"]},
        {"key": "train.label_smoothing", "a": 0.1, "b": 0.2},
    ]
    assert [(row["step"], row["a"], row["b"], row["both"]) for row in comparison["steps"]] == [
        ("train_leg", 1, 1, 0),
        ("choose_candidate", 1, 1, 0),
    ]
    why = {row["step"]: row["why"] for row in comparison["steps"]}
    assert why["train_leg"] == ["train.classes", "train.label_smoothing"]
    assert why["choose_candidate"] == ["code", "inputs"]
    assert comparison["data"]["source_sha256"] == ["abc", "abc"]
    assert comparison["costs"][0]["seconds"]["train"] == 2.5


def test_without_a_store_the_reasons_are_unknown(maker, parts):
    maker.run("one", parts)
    maker.run("two", parts, epochs=9)
    shutil.rmtree(maker.store.root)
    comparison = compare_runs("one", "two")
    assert {reason for row in comparison["steps"] for reason in row["why"]} == {
        "unknown: not in the store"
    }
    assert comparison["data"]["source_sha256"] == [None, None]
    told = " ".join(" ".join(terminal_lines(comparison)).split())
    assert "the same is unknown (not in the store)" in told


def test_without_a_record_of_the_steps_none_is_called_the_same(maker, parts):
    maker.run("one", parts)
    run = maker.run("two", parts)
    (run / "artefacts.json").unlink()
    comparison = compare_runs("one", "two")
    assert comparison["steps"] is None
    assert "  unknown: a run has no record of what its steps made (artefacts.json)" in (
        terminal_lines(comparison)
    )
    assert "unknown: a run has no record" in build_page(comparison)


def test_a_lost_ledger_hides_no_step(maker, parts):
    maker.run("one", parts)
    run = maker.run("two", parts, code="c1")
    (run / "ledger.jsonl").unlink()
    assert [row["step"] for row in compare_runs("one", "two")["steps"]] == ["choose_candidate"]
    shutil.rmtree(maker.store.root)
    steps = [row["step"] for row in compare_runs("one", "two")["steps"]]
    assert steps[-1] == "(unknown step)"


def test_a_section_that_one_version_lacks_is_told_key_by_key(maker, parts):
    maker.run("one", parts)
    run = maker.run("two", parts)
    config = {
        **maker.config("two", TASKS, {}),
        "release": {"language": ["ko"], "model_license": ""},
    }
    maker.write(run, "config.json", config)
    assert compare_runs("one", "two")["settings"] == [
        {"key": "release.language", "a": "(absent)", "b": ["ko"]},
        {"key": "release.model_license", "a": "(absent)", "b": ""},
    ]


def test_damaged_predictions_are_told_in_one_line(maker, parts, capsys):
    maker.run("one", parts)
    run = maker.run("two", parts)
    path = run / "seed_0" / "predictions.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert main(["compare", "one", "two"]) == 1
    assert "predictions.npz: damaged" in capsys.readouterr().err


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "choice.json", "data/split/clusters.json"])
def test_a_file_that_lacks_a_value_is_told_in_one_line(maker, parts, capsys, name):
    first, second = maker.run("one", parts), maker.run("two", parts)
    (second / name).write_text("{}")
    assert main(["compare", str(first), str(second)]) == 1
    assert f"error: {second / name}: damaged, since its JSON lacks a" in capsys.readouterr().err


def test_the_command_prints_80_columns(maker, parts, capsys):
    name = "a" * 100
    maker.run(name, parts, label_smoothing="그" * 300, **{f"key_{i}": i for i in range(60)})
    maker.run("two", parts, code="c2")
    assert main(["compare", name, "two"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert "  test         " in "\n".join(lines)
    assert "  and 21 more (--json and --html have all)" in lines


def test_a_misspelt_run_is_told_with_the_nearest(maker, parts, capsys):
    maker.run("smoke", parts)
    assert main(["compare", "smoke", "smokke"]) == 1
    assert capsys.readouterr().err == (
        "error: smokke: no such run; name a run's folder, such as results/demo, or the run; did "
        "you mean 'smoke'?\n"
    )


def test_a_folder_that_is_no_run_is_refused(maker, parts, tmp_path):
    maker.run("one", parts)
    (tmp_path / "results" / "empty").mkdir()
    with pytest.raises(UserError, match=r"has no config\.json, so it is no run, or has not begun"):
        compare_runs("one", "empty")


def test_json_is_all_of_it(maker, parts, capsys):
    maker.run("one", parts)
    maker.run("two", parts, skill=1.0)
    assert main(["compare", "one", "two", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == compare_runs("one", "two")


def test_nothing_from_a_run_moves_the_terminal(maker, parts):
    maker.run("one", parts, note="\x1b[31mred\x07\n\r그")
    maker.run("two", parts)
    text = "\n".join(terminal_lines(compare_runs("one", "two")))
    assert "\x1b" not in text and "\x07" not in text and "\r" not in text
    assert "\\x1b" in text and "그" in text
