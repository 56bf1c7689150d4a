"""The log of test openings: it loses none and counts none twice; and the readers of test."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest
from project import Project

from redheart.selection import openings


@pytest.fixture
def choice(tmp_path):
    """Write a choice and return its path."""

    def write(candidate):
        path = tmp_path / "choice.json"
        chosen = {"candidate": candidate, "compared_on_test": ["last"], "with": ["best_single"]}
        path.write_text(json.dumps(chosen))
        return path

    return write


def test_every_choice_is_logged_once_in_the_order_of_time(tmp_path, choice):
    log = tmp_path / "log" / "abc.jsonl"
    for candidate, count in (("a", 1), ("a", 1), ("b", 2), ("a", 2), ("c", 3)):
        logged = openings.record_opening(log, "demo", choice(candidate))
        assert len(logged) == count
    assert [opening["candidate"] for opening in logged] == ["a", "b", "c"]
    assert logged == openings.record_opening(log, "demo", choice("b"))
    summary = openings.summarise_openings(logged, "demo", choice("b"))
    assert (summary["opening"], summary["openings"]) == (2, 3)
    assert openings.openings_sentence(summary) == (
        "Test was opened 3 times; this choice was number 2, the others: a of run demo, c of run "
        "demo. Whoever picks among them picks on test."
    )


def test_another_run_that_looks_at_the_same_test_is_another_opening(tmp_path, choice):
    log, path = tmp_path / "abc.jsonl", choice("a")
    openings.record_opening(log, "one", path)
    logged = openings.record_opening(log, "other", path)
    assert openings.summarise_openings(logged, "other", path) == {
        "opening": 2,
        "openings": 2,
        "others": [{"run": "one", "candidate": "a"}],
    }


def test_one_opening_is_said_in_one_line(tmp_path, choice):
    logged = openings.record_opening(tmp_path / "abc.jsonl", "demo", choice("a"))
    summary = openings.summarise_openings(logged, "demo", choice("a"))
    assert openings.openings_sentence(summary) == "Test was opened once, for this choice."


@pytest.mark.parametrize("damage", [b"rubbish", b"\xff", b"[]", b'{"run": "one"}', b"[" * 10_000])
def test_a_damaged_line_counts_as_an_opening_of_which_no_more_is_known(
    tmp_path, choice, capsys, damage
):
    log = tmp_path / "abc.jsonl"
    openings.record_opening(log, "one", choice("a"))
    log.write_bytes(log.read_bytes() + damage)
    for _ in range(2):
        logged = openings.record_opening(log, "one", choice("b"))
        assert capsys.readouterr().err == (
            f"warning: {log}: damaged at line 2; as test was opened for whatever stood there, it "
            "counts as an opening of an unknown choice\n"
        )
    summary = openings.summarise_openings(logged, "one", choice("b"))
    assert (summary["opening"], summary["openings"]) == (3, 3)
    assert summary["others"][1] == {"run": "unknown", "candidate": "unknown"}
    assert damage in log.read_bytes().split(b"\n")


# --- who may read test ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Rule and inputs of every file of a run with two seeds, by file, as Snakemake plans them."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.set(seeds=[0, 1])
    done = project.snakemake("--dry-run")
    jobs_by_file = {}
    for block in re.split(r"^(?:local)?rule ", done.stdout + done.stderr, flags=re.M)[1:]:
        files = {
            kind: paths.replace("results/smoke/", "").split(", ")
            for kind, paths in re.findall(r"^    (input|output): (.*)", block, flags=re.M)
        }
        job = block.partition(":")[0], set(files.get("input", ()))
        jobs_by_file |= dict.fromkeys(files.get("output", ()), job)
    return jobs_by_file


TEST_FILES = {"data/split/test.json", "data/encoded/test.npz", "seed_0/test_predictions.npz"}
# These rules encode, count and show records; the log's rule reads the hash of test's file.
NO_READERS = {"encode_part", "make_report", "open_test"}


def ancestors(plan, file):
    """Return all files that a file is made from, directly or indirectly."""
    sources, waiting = set(), [file]
    while waiting:
        for path in plan.get(waiting.pop(), ("", ()))[1]:
            if path not in sources:
                sources.add(path)
                waiting.append(path)
    return sources


@pytest.mark.slow
def test_no_rule_reads_test_but_behind_the_frozen_choice(plan):
    readers = defaultdict(set)
    for rule, inputs in plan.values():
        if inputs & TEST_FILES:
            readers[rule] |= inputs
    assert set(readers) - NO_READERS == set(openings.READERS)
    assert all("test_access.json" in readers[rule] for rule in openings.READERS)
    assert "choice.json" in ancestors(plan, "test_access.json")


@pytest.mark.slow
def test_nothing_of_test_goes_into_the_choice(plan):
    behind = ancestors(plan, "choice.json")
    assert {"data/encoded/val_confirm.npz", "seed_1/predictions.npz"} <= behind
    assert not {path for path in behind if "test" in path}


@pytest.mark.slow
@pytest.mark.full
def test_a_changed_choice_opens_test_again_and_the_report_says_so(tmp_path):
    project = Project(tmp_path)
    project.snakemake()

    def told():
        access = json.loads(project.result("final_results.json").read_text())["test_access"]
        assert openings.openings_sentence(access) in project.result("report.html").read_text()
        return access["opening"], access["openings"]

    assert told() == (1, 1)
    first = project.result("test_access.json").read_bytes()
    project.set(evaluation={"resamples": 101})
    project.set(split={"audit_threshold": 0.85}, train={"weight_decay": 0.02})
    assert project.computed()["open_test"] == 1
    assert told() == (2, 2)
    assert len(project.result("test_access.json").read_bytes()) > len(first)
    project.set(evaluation={"resamples": 100}, train={"weight_decay": 0.01})
    project.snakemake()
    assert told() == (1, 2)
