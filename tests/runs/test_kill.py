"""`kill -9` at any instant, then the same command again: the bytes of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from project import SNAKEMAKE, Project

from redheart.storage import files
from redheart.storage.store import Action, Store
from redheart.training import state as training_state
from redheart.training.epochs import train_leg
from redheart.training.legs import Leg, nearest_ancestor
from redheart.training.snapshots import Snapshots

LEGS = (Leg(0, 2), Leg(2, 4))
# The longest life of a training, and of a whole run, before the kill, in seconds. A training that
# is killed again and again, on a busy machine, gets a longer life each time.
LONGEST_LIFE, LONGEST_RUN = 1.0, 6.0
# The files of a run that hold times, as the ledger does.
CLOCKED = (
    *("logs", "benchmarks", "ledger.jsonl", "artefacts.json", "hashes.json"),
    *("final_results.json", "report.html", "model"),
)


def train_chain(recipe, part, folder):
    """Train both legs as the scripts do, each a checkpoint in the store; return its files."""
    store, parent, paths = Store(folder / "store"), None, []
    for leg in LEGS:
        action = Action("train_leg", leg.epochs, "code", {"parent": parent})
        snapshots = Snapshots(store.snapshot_path(action.key), minutes=0)

        def compute(work, leg=leg, action=action, parent=parent, snapshots=snapshots):
            state = training_state.prepare(recipe, part, peak=1e-2, seed=0)
            ancestor = nearest_ancestor(store, parent)
            with snapshots.listening():
                statistics = train_leg(state, part, leg, ancestor, None, snapshots)
            keys = {"key": action.key, "parent": parent}
            training_state.save_leg(state, statistics, work, store.state_path(action.key), keys)

        names = ("weights", "manifest", "steps")
        outputs = {name: folder / f"{leg.stop}.{name}" for name in names}
        store.run(action, outputs, compute)
        snapshots.discard()
        parent, paths = action.key, [*paths, *outputs.values()]
    return [*paths, *sorted((folder / "store" / "states").rglob("*.pt"))]


def lives(work, seconds):
    """Run `work` in its own process, kill it after `seconds`; tell whether it ended before that."""
    process = os.fork()
    if not process:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL), "it failed by itself"
    return code == 0


@pytest.mark.slow
def test_twenty_kills_change_no_byte(recipe, part, tmp_path):
    alone = [files.sha256_file(path) for path in train_chain(recipe, part, tmp_path / "alone")]
    instants, kills, chains = random.Random(0), 0, 0
    while kills < 20:
        folder, longest = tmp_path / str(chains), LONGEST_LIFE
        while not lives(
            lambda folder=folder: train_chain(recipe, part, folder), instants.uniform(0, longest)
        ):
            kills, longest = kills + 1, 1.05 * longest
        paths = train_chain(recipe, part, folder)
        assert [files.sha256_file(path) for path in paths] == alone
        leftovers = [
            p.name for p in folder.rglob("*") if p.name.startswith(".") or "snap" in p.name
        ]
        assert not leftovers
        chains += 1


def start(project, *targets):
    """Start Snakemake, and with it its jobs, in a process group of their own."""
    return subprocess.Popen(
        [SNAKEMAKE, *targets, "--cores", "1", "--configfile", project.config.name],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(project.folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def artefacts(project):
    """Return the hash of every artefact, without those that hold times."""
    run = project.result("")
    return {
        str(path.relative_to(run)): files.sha256_file(path)
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.relative_to(run).parts[0] not in CLOCKED
    }


def of_the_clock(project):
    """Return the final results without the entries that hold times."""
    results = files.read_json(project.result("final_results.json"))
    return json.dumps({k: v for k, v in results.items() if k not in ("provenance", "cost")})


@pytest.mark.slow
@pytest.mark.kill
def test_kills_of_whole_runs_change_no_byte(tmp_path):
    """Kill Snakemake, its job, or both, in one run after another; in turn SIGTERM and SIGINT."""
    most = int(os.environ.get("REDHEART_KILLS", "20"))
    alone = Project(tmp_path / "alone")
    alone.set(store={"snapshot_minutes": 0})
    alone.snakemake()
    instants, kills, runs, differing = random.Random(0), 0, 0, []
    while kills < most:
        project = Project(tmp_path / str(runs))
        project.set(store={"snapshot_minutes": 0})
        kills += kill_until_done(project, instants, most - kills)
        project.snakemake()
        if artefacts(project) != artefacts(alone) or of_the_clock(project) != of_the_clock(alone):
            differing.append(project.folder)
        else:
            shutil.rmtree(project.folder)
        runs += 1
        print(f"{kills} kills in {runs} runs, {runs - len(differing)} of which are identical")
    assert not differing


def kill_until_done(project, instants, most):
    """Start and kill a run until it is done or had `most` kills; return the number of kills."""
    for kills in range(most):
        process = start(project)
        try:
            process.wait(instants.uniform(0.5, LONGEST_RUN))
        except subprocess.TimeoutExpired:
            number = instants.choice([signal.SIGKILL] * 4 + [signal.SIGTERM, signal.SIGINT])
            if instants.random() < 0.5:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)  # its job is orphaned, and trains on
            process.wait()
        else:
            assert process.returncode == 0, "a run after a kill failed"
            return kills
    return most
