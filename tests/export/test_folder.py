"""The exported folder: what is in it, and that it appears whole or not at all."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import torch
import yaml
from shipped_folders import seal

from redheart.cli.main import main
from redheart.errors import UserError
from redheart.export import card
from redheart.export.folder import export_model
from redheart.export.weights import read_weights
from redheart.model.states import module_states
from redheart.storage import files

FILES = [
    *("README.md", "config.json", "labels.json", "lexicon.npz", "model.safetensors"),
    *("recipe.json", "scales.json", "tokenizer.json"),
]


def change(folder, name, **values):
    path = folder / name
    files.write_json(path, {**files.read_json(path), **values})
    seal(folder)


def test_all_of_a_model_is_exported(shipped_folder, members, tmp_path):
    target = tmp_path / "deep" / "out"
    assert export_model(shipped_folder, target) == FILES
    back, states = read_weights(target / "model.safetensors"), module_states(members[0])
    for module, state in states.items():
        for name, tensor in state.items():
            assert torch.equal(back[module][name], tensor)
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=target)
    assert checked.returncode == 0
    assert {p.name for p in target.iterdir()} == {*FILES, "SHA256SUMS"}
    assert [p.name for p in target.parent.iterdir()] == ["out"]


def test_the_folder_of_the_run_stands_for_its_model(shipped_folder, tmp_path):
    export_model(shipped_folder.parent, tmp_path / "a")
    export_model(shipped_folder, tmp_path / "b")
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_labels_say_what_outputs_mean(shipped_folder, tmp_path):
    export_model(shipped_folder, tmp_path / "out")
    labels = files.read_json(tmp_path / "out" / "labels.json")
    assert list(labels["tasks"]) == ["emotion", "verdict", "tags", "regret"]
    assert labels["max_tokens"] == 24
    assert labels["tasks"]["tags"] == {
        "kind": "multilabel",
        "outputs": ["money", "family"],
        "thresholds": {"money": 0.31},
    }
    assert labels["tasks"]["regret"]["half_width"] == {"regret": 0.25}


def test_no_folder_of_this_machine_is_told(shipped_folder, tmp_path):
    export_model(shipped_folder, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert b"somebody" not in path.read_bytes()
    config = files.read_json(tmp_path / "out" / "config.json")
    assert config["data"]["source"] == "answers.jsonl"


def test_an_existing_folder_is_refused(shipped_folder, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="is there already; name a new folder"):
        export_model(shipped_folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), OSError(28, "full")])
def test_nothing_is_left_of_what_fails(shipped_folder, tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(card, "model_card", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        export_model(shipped_folder, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_folder_is_told(shipped_folder, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        export_model(shipped_folder, tmp_path / "file" / "out")


def test_an_ensemble_is_refused(model_folder, tmp_path):
    with pytest.raises(UserError, match="takes 2 networks; only a model of one network"):
        export_model(model_folder, tmp_path / "out")


def test_a_changed_or_unsealed_folder_is_refused(own_folder, tmp_path):
    (own_folder / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match=r"not as it shipped.*recipe\.json \(changed\)"):
        export_model(own_folder, tmp_path / "out")
    (own_folder / "SHA256SUMS").unlink()
    with pytest.raises(UserError, match="has no SHA256SUMS"):
        export_model(own_folder, tmp_path / "out")


def test_a_folder_of_an_older_version_is_exported(own_folder, tmp_path):
    recipe = files.read_json(own_folder / "recipe.json")
    files.write_json(own_folder / "recipe.json", {"fusion": recipe["fusion"]})
    (own_folder / "scales.json").unlink()
    seal(own_folder)
    export_model(own_folder, tmp_path / "out")
    labels = files.read_json(tmp_path / "out" / "labels.json")["tasks"]
    assert labels["tags"]["thresholds"] == labels["regret"]["half_width"] == {}


# --- the card -----------------------------------------------------------------------------------


def front_matter(target):
    text = (target / "README.md").read_text("utf-8")
    block = re.match(r"\s*---[\r\n]+([\S\s]*?)[\r\n]+---(\r\n|\n|$)", text)  # as the hub finds it
    return yaml.safe_load(block[1]), text[block.end() :]


def test_the_card_has_front_matter_with_measured_scores(own_folder, tmp_path):
    release = {"model_license": "apache-2.0", "data_license": "CC BY 4.0", "language": ["en", "ko"]}
    change(own_folder, "config.json", release=release)
    export_model(own_folder, tmp_path / "out")
    front, body = front_matter(tmp_path / "out")
    assert front["license"] == "apache-2.0"
    assert front["language"] == ["en", "ko"]
    (index,) = front["model-index"]
    assert index["name"] == "demo"
    assert [entry["task"]["name"] for entry in index["results"]] == ["verdict", "regret"]
    assert index["results"][0]["metrics"][0] == {"type": "f1", "name": "macro_f1", "value": 0.6123}
    assert index["results"][1]["metrics"] == [
        {"type": "mae", "name": "mean_absolute_error", "value": 0.2}
    ]
    assert "- of the data that it learned from: CC BY 4.0" in body
    assert "1,234 texts of test" in body
    assert "money 0.31" in body and "holds 90% of true values" in body
    assert "&id" not in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_what_is_not_stated_is_said_and_told_once(shipped_folder, tmp_path, capsys):
    export_model(shipped_folder, tmp_path / "out")
    front, body = front_matter(tmp_path / "out")
    assert "license" not in front and "language" not in front
    assert "- of this model: not stated\n- of the data that it learned from: not stated" in body
    assert "trunk" not in body
    errors = capsys.readouterr().err
    assert errors.count("warning") == 1
    assert "release.model_license, release.data_license: not stated" in errors


def test_a_trunk_has_a_licence_and_a_name(own_folder, tmp_path, capsys):
    config = files.read_json(own_folder / "config.json")
    change(
        own_folder,
        "config.json",
        model={**config["model"], "pretrained": "somebody/bert"},
        release={"model_license": "my own", "data_license": "x", "trunk_license": ""},
    )
    export_model(own_folder, tmp_path / "out")
    front, body = front_matter(tmp_path / "out")
    assert front["base_model"] == "somebody/bert"
    assert (front["license"], front["license_name"]) == ("other", "my own")
    assert "- of its pretrained trunk: not stated" in body
    assert "release.trunk_license: not stated" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [0, 1])
def test_intervals_are_told_where_the_run_has_them_for_this_model(own_folder, tmp_path, seed):
    tasks = {
        "verdict": {"metric": "macro_f1", "low": 0.58, "high": 0.65},
        "regret": {"metric": "r2", "low": None, "high": None},
    }
    macro = {"score": 0.5, "low": 0.41, "high": 0.59}
    about = {"candidate": "greedy_soup", "seed": seed, "macro": macro, "tasks": tasks}
    files.write_json(own_folder.parent / "assessment.json", about)
    export_model(own_folder, tmp_path / "out")
    _, body = front_matter(tmp_path / "out")
    assert ("| verdict | macro_f1 | 0.612 | 0.580 to 0.650 |" in body) == (seed == 0)
    assert ("| mean over tasks | macro | 0.500 | 0.410 to 0.590 |" in body) == (seed == 0)
    assert "| verdict | accuracy | 0.700 |  |" in body


HOSTILE = [
    '": [x',
    "a\n---\nb",
    "<script>alert(1)</script>",
    "| 그는 `",
    "{{x}} &amp; *y*",
    "a\x85b",
]


def test_hostile_names_are_neither_yaml_nor_markup(own_folder, tmp_path):
    config = files.read_json(own_folder / "config.json")
    config["tasks"]["verdict"]["classes"] = HOSTILE[:3]
    config["tasks"]["emotion"]["classes"] = HOSTILE[3:]
    release = dict.fromkeys(("model_license", "data_license"), '": [x\n---\n<b>')
    source = {"source": 'a/": [x\n---\n& <b>그.csv'}
    change(own_folder, "config.json", tasks=config["tasks"], release=release, data=source)
    export_model(own_folder, tmp_path / "out")
    front, body = front_matter(tmp_path / "out")
    assert front["license_name"] == '": [x --- <b>'
    assert front["model-index"][0]["results"][0]["dataset"]["name"] == '": [x --- & <b>그.csv'
    assert "<script>" not in body and "<b>" not in body
    assert "그는" in body
    labels = json.loads((tmp_path / "out" / "labels.json").read_text("utf-8"))
    assert labels["tasks"]["emotion"]["outputs"] == HOSTILE[3:]


def test_a_model_out_of_its_run_has_no_scores(own_folder, tmp_path):
    own_folder.rename(tmp_path / "alone")
    export_model(tmp_path / "alone", tmp_path / "out")
    front, body = front_matter(tmp_path / "out")
    assert "model-index" not in front
    assert "its scores are not at hand" in body


# --- the command --------------------------------------------------------------------------------


def test_the_command_names_the_files(shipped_folder, tmp_path, capsys):
    assert main(["export", str(shipped_folder), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path / 'out'}: {n}" for n in FILES]
    assert main(["export", str(shipped_folder), str(tmp_path / "out")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_onnx_is_refused_in_one_line_where_it_is_not_installed(
    shipped_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert main(["export", str(shipped_folder), str(tmp_path / "out"), "--onnx"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: the ONNX exporter is not installed; `pip install onnx")
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_predict_tells_an_exported_folder_from_a_damaged_one(shipped_folder, tmp_path, capsys):
    export_model(shipped_folder, tmp_path / "out")
    assert main(["predict", str(tmp_path / "out"), "--text", "she lied"]) == 1
    said = capsys.readouterr().err
    assert "is an exported model, for other programs; name the folder" in said
    assert "rm -r" not in said
