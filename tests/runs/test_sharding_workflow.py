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
    """One whose sweep is done."""
    made = Project(tmp_path_factory.mktemp("devices"))
    made.set(train={"devices": 2, "device": "cpu"}, store={"snapshot_minutes": 0})
    made.snakemake("sweep")
    return made


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
    # It is the first one, unless this process was kept waiting while that was trained.
    whole = len(kept_legs(project))
    assert whole < 3
    assert project.computed("train")["train_leg"] == 3 - whole
    interrupted = checkpoints(project)

    forget_the_legs(project)
    assert project.computed("train")["train_leg"] == 3
    assert checkpoints(project) == interrupted

    # With another number the legs that are there stand, and the next one goes on from them.
    before = len(trained(project))
    project.set(train={"devices": 1, "epochs": 8})
    project.snakemake("train")
    outcomes = [line["outcome"] for line in trained(project)[before:]]
    assert sorted(outcomes) == ["computed", "restored", "restored", "restored"]
    assert {name: checkpoints(project)[name] for name in interrupted} == interrupted


@pytest.mark.slow
@pytest.mark.full
def test_streamed_weights_make_the_same_sweep_and_legs(tmp_path):
    made = {}
    for tier in ("fp32", "streamed"):
        project = Project(tmp_path / tier)
        project.set(train={"device": "cpu"}, memory={"tier": tier})
        project.snakemake("train")
        assert {line["memory_tier"] for line in trained(project)} == {tier}
        made[tier] = checkpoints(project), project.result("sweep/best_lr.json").read_bytes()
    assert made["streamed"] == made["fp32"]
