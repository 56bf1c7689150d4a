"""Disk space: what a run writes, what is still to be written, and the refusal."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from redheart import checkpoint, config, files, legs, space, steps, training, training_state
from redheart.errors import UserError
from redheart.legs import Leg
from redheart.store import Action, Store
from redheart.training_options import CheckpointOptions

ROOT = Path(__file__).parents[1]
CHECKPOINTS, STATES = "checkpoints (weights, EMA)", "training states that stay"


@pytest.fixture
def settings():
    """Three checkpoints of one seed."""
    found = config.read([ROOT / "tests" / "configs" / "smoke.yaml"])
    return {**found, "store": {**found["store"], "keep_every": 2}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", link_from_bytes=1000)


def limit_disk(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free))


def number(kinds, name):
    return next(kind.number for kind in kinds if kind.name == name)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("ema", [True, False])
def test_a_file_is_as_large_as_counted(settings, recipe, part, tmp_path, dtype, ema):
    state = training_state.prepare(recipe, part, 1e-3, 0)
    statistics = training.train_leg(state, part, Leg(0, 1))
    keys, options = {"key": "k", "parent": None}, CheckpointOptions(dtype, ema)
    training_state.save_leg(state, statistics, tmp_path, tmp_path / "state", keys, options)
    checkpoint.save_tensors(tmp_path / "snapshot", training_state.capture(state))
    saved = checkpoint.load_tensors(tmp_path / "weights")["weights"]
    checkpoint.save_tensors(tmp_path / "soup", {"weights": saved})
    parameters = sum(weight.numel() for weight in state.network.parameters())
    tensors = len(list(state.network.parameters()))
    counted = space.kinds({**settings, "checkpoints": vars(options)}, parameters)
    for name, kind in (
        ("weights", space.CHECKPOINTS[ema]),
        ("state", STATES),
        ("snapshot", "snapshots"),
        ("soup", "soups, crossovers and variants"),
    ):
        each = next(k.file_bytes for k in counted if k.name == kind)
        size = (tmp_path / name).stat().st_size
        # The archive adds up to 400 bytes a tensor, and a generator its state.
        assert each < size < each + 400 * 4 * tensors + 20_000, name


def test_the_plan_of_the_document_is_counted():
    found = planned_730m()
    assert found[CHECKPOINTS].number == 30
    assert found[CHECKPOINTS].bytes == 30 * 4 * PARAMETERS
    # The last one, the one before while it is written.
    assert found[STATES].number == 1
    assert found["training states that come and go"].number == 1
    assert found["training states of trials"].number == 0
    assert found["soups, crossovers and variants"].number == 4 + 4 + 5
    whole = planned_730m(checkpoints={"dtype": "fp32", "ema": True}, store=DEFAULT_STORE)
    assert whole[CHECKPOINTS].bytes == 30 * 8 * PARAMETERS
    # 5, 10, 15, 20, 25 and 30, 29, and the one that is being written.
    assert whole[STATES].number == 7
    assert whole["training states that come and go"].number == 1


@pytest.mark.parametrize(("ema", "gigabytes"), [(True, 100), (False, 60)])
def test_thirty_checkpoints_of_730m_and_the_state_that_stays_fit(ema, gigabytes):
    found = planned_730m(checkpoints={"dtype": "bf16", "ema": ema})
    kept = found[space.CHECKPOINTS[ema]], found[STATES]
    assert [kind.number for kind in kept] == [30, 1]
    assert sum(kind.bytes for kind in kept) <= gigabytes * 1e9


def planned_730m(**sections):
    settings = {**config.read([DOCUMENT]), **sections}
    return {kind.name: kind for kind in space.kinds(settings, PARAMETERS)}


PARAMETERS = 739_264_826  # as `redheart plan` counts them
DEFAULT_STORE = {"keep_last": 2, "keep_every": 5}
DOCUMENT = ROOT / "config" / "redheart-730m.yaml"


@pytest.mark.parametrize(
    ("count", "keep_every", "keep_last"),
    [(1, 5, 2), (2, 5, 2), (3, 1, 2), (12, 3, 2), (30, 5, 2), (30, 30, 1), (7, 3, 1), (7, 3, 4)],
)
def test_there_are_never_more_states_than_counted(tmp_path, count, keep_every, keep_last):
    store, parent, most = Store(tmp_path), None, 0
    for number in range(count):
        key = f"{number:064d}"
        files.write_json(store.folder(key) / "manifest", {"parent": parent})
        files.write_text(store.state_path(key), "")
        most = max(most, len(list((tmp_path / "states").rglob("*.pt"))))
        legs.thin_states(store, key, keep_every, keep_last)
        left = len(list((tmp_path / "states").rglob("*.pt")))
        parent = key
    assert space.count_states(count, keep_every, keep_last) == (left, most)


def test_trials_wait_with_their_state_for_another_rung(settings):
    sweep = {**settings["sweep"], "epochs": 5, "rungs": 2, "learning_rates": [1e-4, 1e-3, 1e-2]}
    kinds = space.kinds({**settings, "sweep": sweep}, 1000)
    assert number(kinds, "training states of trials") == 4


def test_what_is_linked_is_counted_once(store, tmp_path):
    large, small = space.Kind("large", 3, 1000), space.Kind("small", 5, 999)
    hidden = space.Kind("hidden", 1, 10, in_results=False)
    (disk,) = space.disks([large, small, hidden], store, tmp_path / "results" / "new")
    assert disk.needed == {"large": 3000, "small": 2 * 5 * 999, "hidden": 10}
    assert disk.place == tmp_path


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second file system")
def test_two_file_systems_hold_a_copy_each(store):
    if os.stat("/dev/shm").st_dev == os.stat(store.root.parent).st_dev:
        pytest.skip("no second file system")
    kinds = [space.Kind("large", 3, 1000), space.Kind("hidden", 1, 10, in_results=False)]
    of_store, of_results = space.disks(kinds, store, Path("/dev/shm/results"))
    assert of_store.needed == {"large": 3000, "hidden": 10}
    assert of_results.needed == {"large": 3000}


def test_a_run_that_fits_passes(settings, store, tmp_path):
    space.check(settings, 1000, store, tmp_path, "train")


def test_a_run_that_cannot_fit_is_refused_in_one_line(settings, store, tmp_path, monkeypatch):
    limit_disk(monkeypatch, 50_000_000)
    with pytest.raises(UserError) as error:
        space.check(settings, 1_000_000, store, tmp_path, "train")
    message = str(error.value)
    assert "\n" not in message
    assert f"to {tmp_path} (soups, crossovers and variants 44.0 MB, " in message
    assert "and 50.0 MB are free; make room, move store.path" in message


def test_only_what_is_still_to_be_written_counts(settings, store, tmp_path, monkeypatch):
    for epoch in (2, 4, 6):
        make_checkpoint(settings, store, tmp_path, epoch)
    planned = space.kinds(settings, 1_000_000)
    left = space.remaining(settings, planned, store, tmp_path, "train")
    assert number(left, CHECKPOINTS) == 0
    assert number(planned, STATES) - number(left, STATES) == 1
    # Whole it would not fit, but it has been written for the most part.
    limit_disk(monkeypatch, sum(kind.bytes for kind in left))
    space.check(settings, 1_000_000, store, tmp_path, "train")
    # Other data, settings or code: all of it comes anew, beside what is there.
    changed = {**settings, "train": {**settings["train"], "clip_norm": 2.0}}
    for now, train in ((changed, "train"), (settings, "other")):
        with pytest.raises(UserError, match="the run would write"):
            space.check(now, 1_000_000, store, tmp_path, train)


def make_checkpoint(settings, store, run, epoch):
    """Write what a leg leaves; the state of the last one alone is kept."""
    params = {**json.loads(steps.parameters(settings, "train_leg")), "seed": 0, "stop": epoch}
    action = Action("train_leg", params, steps.code("train_leg", store), {"train": "train"})

    def compute(folder):
        files.write_json(folder / "manifest", {"key": action.key})
        if epoch == 6:
            files.write_text(store.state_path(action.key), "")

    target = run / "seed_0" / "ckpt" / f"epoch_{epoch:03d}.json"
    store.run(action, {"manifest": target}, compute)
