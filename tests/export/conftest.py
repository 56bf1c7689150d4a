"""A folder of one network as a run ships it, within the folder of its run."""

from __future__ import annotations

import shutil

import pytest
from shipped_folders import results, ship

from redheart.storage import files


@pytest.fixture(scope="session")
def whole_config(shipped_config):
    """What a shipped config says besides what it takes to predict."""
    return {
        **shipped_config,
        "run": "demo",
        "data": {"source": "/home/somebody/secret/answers.jsonl"},
        "split": {"keep": None},
        "store": {"path": ".redheart/store"},
    }


@pytest.fixture(scope="session")
def shipped_folder(
    members, member_weights, whole_config, tokenizer_path, lexicon_path, tmp_path_factory
):
    """The folder `model/` of a run, with one network."""
    run = tmp_path_factory.mktemp("results") / "demo"
    files_of = (tokenizer_path, lexicon_path)
    folder = ship(run / "model", members[0], member_weights[0], whole_config, *files_of)
    files.write_json(run / "final_results.json", results())
    return folder


@pytest.fixture
def own_folder(shipped_folder, tmp_path):
    """A copy of that run's model, to be changed."""
    shutil.copytree(shipped_folder.parent, tmp_path / "demo")
    return tmp_path / "demo" / "model"
