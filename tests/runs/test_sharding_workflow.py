"""`train.devices: 2` through Snakemake: a kill of the whole leg, and another number afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess

import pytest
from project import SNAKEMAKE, Project
from waiting import until

from redheart.storage import files


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose sweep is done."""
    swept = Project(tmp_path_factory.mktemp("devices"))
    swept.set(train={"devices": 2, "device": "cpu"}, store={"snapshot_minutes": 0})
    swept.snakemake("sweep")
    return swept


def kill_a_leg(project):
    """Run until a leg has saved a snapshot, then `kill -9` Snakemake and the job together."""
    process = subprocess.Popen(
        [SNAKEMAKE, "train", "--cores", "1", "--configfile", project.config.name],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(project.folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    states = project.folder / ".redheart" / "store" / "states"

    def saved():
        assert process.poll() is None, "it ended before a snapshot was seen"
        return list(states.rglob("*.snapshot.*"))

    until(saved, "a snapshot of a leg")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def trained(project):
    return [line for line in project.ledger() if line["step"] == "train_leg"]


def checkpoints(project):
    """The hash of every file of the legs."""
    folder = project.result("seed_0/ckpt")
    return {path.name: files.sha256_file(path) for path in sorted(folder.iterdir())}


def kept_legs(project):
    """The folders of the legs that the store holds."""
    entries = (project.folder / ".redheart/store/entries").rglob("entry.json")
    steps = {path.parent: json.loads(path.read_text())["ingredients"]["step"] for path in entries}
    return [folder for folder, step in steps.items() if step == "train_leg"]


def forget_the_legs(project):
    """Delete all that was trained, from the store too."""
    shutil.rmtree(project.result("seed_0"))
    for folder in kept_legs(project):
        shutil.rmtree(folder)
    shutil.rmtree(project.folder / ".redheart/store/states")


@pytest.mark.slow
@pytest.mark.full
def test_a_killed_leg_goes_on_and_another_number_of_devices_goes_on_from_there(project):
    kill_a_leg(project)
    # Usually only the first leg is killed; if this process had to wait, later legs may be complete.
    complete = len(kept_legs(project))
    assert complete < 3
    assert project.computed("train")["train_leg"] == 3 - complete
    interrupted = checkpoints(project)

    forget_the_legs(project)
    assert project.computed("train")["train_leg"] == 3
    assert checkpoints(project) == interrupted

    # With another number of devices the finished legs stay, and the next leg continues from them.
    lines_before = len(trained(project))
    project.set(train={"devices": 1, "epochs": 8})
    project.snakemake("train")
    outcomes = [line["outcome"] for line in trained(project)[lines_before:]]
    assert sorted(outcomes) == ["computed", "restored", "restored", "restored"]
    assert {name: checkpoints(project)[name] for name in interrupted} == interrupted


@pytest.mark.slow
@pytest.mark.full
def test_streamed_weights_make_the_same_sweep_and_legs(tmp_path):
    by_tier = {}
    for tier in ("fp32", "streamed"):
        project = Project(tmp_path / tier)
        project.set(train={"device": "cpu"}, memory={"tier": tier})
        project.snakemake("train")
        assert {line["memory_tier"] for line in trained(project)} == {tier}
        by_tier[tier] = checkpoints(project), project.result("sweep/best_lr.json").read_bytes()
    assert by_tier["streamed"] == by_tier["fp32"]
