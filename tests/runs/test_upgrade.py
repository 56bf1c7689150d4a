"""After an upgrade `redheart accept --all` keeps what an earlier version computed."""

from __future__ import annotations

import shutil
import tarfile

import pytest
from project import ROOT, Project

from redheart.cli.main import main

UPGRADE = ROOT / "tests" / "runs" / "upgrade"


@pytest.fixture
def project(tmp_path):
    """A project whose store was filled by an earlier version, and which has no results yet."""
    project = Project(tmp_path)
    shutil.copy(UPGRADE / "config.yaml", project.config)
    project.run = "upgrade"
    with tarfile.open(UPGRADE / "store.tar.xz") as packed:
        packed.extractall(tmp_path / ".redheart", filter="data")
    return project


@pytest.mark.slow
def test_after_an_upgrade_only_what_has_a_new_setting_is_computed_again(project, capsys):
    store = project.folder / ".redheart" / "store"
    assert main(["accept", "--all", "--why", "upgrade", "--store", str(store)]) == 0
    said = capsys.readouterr().out
    assert "train_leg: code " in said and "now counts as" in said
    # The records are checked for more, five steps are new, and what they found out ships and is told.
    # The evaluation keeps its predictions too, for the steps that look for wrong labels.
    found = {"fit_decisions": 1, "assess_model": 1, "map_records": 1, "find_suspects": 1}
    new = {**found, "judge_records": 2, "judge_test": 2, "evaluate_checkpoint": 2}
    computed = project.computed()
    # On another processor than the earlier version's, the evaluation's last digits may differ, and
    # then so does what follows from its tables.
    for step in (
        *("find_sweet_spots", "make_soups", "predict_candidates", "choose_candidate"),
        *("predict_test", "compare_candidates"),
    ):
        assert computed.pop(step, 1) == 1
    assert computed == {**new, "read_records": 1, "ship_model": 1, "make_report": 1}
    assert project.result("report.html").is_file()


def test_accept_wants_steps_or_all_of_them(capsys, tmp_path):
    for arguments in ([], ["--all", "train_leg"]):
        assert main(["accept", *arguments, "--store", str(tmp_path)]) == 1
        assert "name the steps, or --all" in capsys.readouterr().err
