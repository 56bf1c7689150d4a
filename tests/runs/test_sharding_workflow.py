"""`train.devices: 2` through Snakemake: a kill of the whole leg, and another number afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from project import SNAKEMAKE, Project

from redheart.storage import files


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """One whose sweep is done."""
    made = Project(tmp_path_factory.mktemp("devices"))
    made.set(train={"devices": 2, "device": "cpu"}, store={"snapshot_minutes": 0})
    made.snakemake("sweep")
    return made


def killed_in_its_first_leg(project):
    """Run until the leg has saved a snapshot, then `kill -9` Snakemake and the job together."""
    process = subprocess.Popen(
        [SNAKEMAKE, "train", "--cores", "1", "--configfile", project.config.name],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(project.folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    states = project.folder / ".redheart" / "store" / "states"
    while not list(states.rglob("*.snapshot.*")):
        assert process.poll() is None, "it ended before its first snapshot"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def trained(project):
    return [line for line in project.ledger() if line["step"] == "train_leg"]


def checkpoints(project):
    """The hash of every file of the legs."""
    folder = project.result("seed_0/ckpt")
    return {path.name: files.sha256_file(path) for path in sorted(folder.iterdir())}


def forget_the_legs(project):
    """Delete all that was trained, from the store too."""
    shutil.rmtree(project.result("seed_0"))
    for entry in list((project.folder / ".redheart/store/entries").rglob("entry.json")):
        if json.loads(entry.read_text())["ingredients"]["step"] == "train_leg":
            shutil.rmtree(entry.parent)
    shutil.rmtree(project.folder / ".redheart/store/states")


@pytest.mark.slow
@pytest.mark.full
def test_a_killed_leg_goes_on_and_another_number_of_devices_goes_on_from_there(project):
    killed_in_its_first_leg(project)
    assert not trained(project)
    assert project.computed("train")["train_leg"] == 3
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
