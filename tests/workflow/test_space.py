"""Disk space: what a run writes, what is still to be written, and the refusal."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from redheart.errors import UserError
from redheart.machine import memory_plan, tiers
from redheart.recipe.training_options import CheckpointOptions
from redheart.storage import files
from redheart.storage.store import Action, Store
from redheart.storage.tensors import load_tensors, save_tensors
from redheart.training import legs
from redheart.training import state as training_state
from redheart.training.epochs import train_leg
from redheart.training.legs import Leg
from redheart.workflow import config, space, steps

ROOT = Path(__file__).parents[2]
CHECKPOINTS, STATES = "checkpoints (weights, EMA)", "training states that stay"


@pytest.fixture
def settings():
    """Three checkpoints of one seed."""
    settings = config.read([ROOT / "tests" / "configs" / "smoke.yaml"])
    return {**settings, "store": {**settings["store"], "keep_every": 2}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", link_from_bytes=1000)


def limit_disk(monkeypatch, free):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free))


def number(kinds, name):
    return next(kind.number for kind in kinds if kind.name == name)


def in_fp32(weights):
    return tiers.keeps(tiers.TIERS[0], weights, 0)


@pytest.mark.parametrize(
    ("tier", "dtype", "ema"),
    [
        *product(["fp32"], ["fp32", "bf16"], [True, False]),
        *product(["bf16_8bit", "bf16_offloaded"], ["fp32", "bf16"], [True]),
        ("bf16_8bit", "bf16", False),
    ],
)
def test_a_file_is_as_large_as_counted(settings, recipe, part, tmp_path, tier, dtype, ema):
    recipe = replace(recipe, train=replace(recipe.train, precision="bf16"))
    plan = memory_plan.choose(recipe, part.sizes, 100.0, tier)
    state = training_state.prepare(recipe, part, 1e-3, 0, plan)
    statistics = train_leg(state, part, Leg(0, 1))
    keys, options = {"key": "k", "parent": None}, CheckpointOptions(dtype, ema)
    training_state.save_leg(state, statistics, tmp_path, tmp_path / "state", keys, options)
    save_tensors(tmp_path / "snapshot", training_state.capture(state))
    loaded = load_tensors(tmp_path / "weights")
    saved, average = loaded["weights"], loaded.get("ema", {})
    save_tensors(tmp_path / "soup", {"weights": saved})
    save_tensors(tmp_path / "soup_ema", {"weights": average})
    tensors = len(list(state.network.parameters()))
    footprint = tiers.keeps_of(plan.tier, state.network)
    counted = space.kinds({**settings, "checkpoints": vars(options)}, footprint)
    for name, kind in (
        ("weights", space.CHECKPOINTS[ema]),
        ("state", STATES),
        ("snapshot", "snapshots"),
        ("soup", "soups, crossovers and variants"),
        *([("soup_ema", "soups and crossovers of EMA")] if ema else []),
    ):
        each = next(k.file_bytes for k in counted if k.name == kind)
        size = (tmp_path / name).stat().st_size
        # The archive adds up to 400 bytes a tensor, and a generator its state.
        assert each < size < each + 400 * 4 * tensors + 20_000, name


def test_the_plan_of_the_document_is_counted():
    kinds = planned_730m()
    assert kinds[CHECKPOINTS].number == 30
    assert kinds[CHECKPOINTS].bytes == 30 * 4 * PARAMETERS
    # The last state, and the previous one while the last is written.
    assert kinds[STATES].number == 1
    assert kinds["training states that come and go"].number == 1
    assert kinds["training states of trials"].number == 0
    assert kinds["soups, crossovers and variants"].number == 5 + 5
    assert kinds["soups and crossovers of EMA"].number == 3
    whole = planned_730m(checkpoints={"dtype": "fp32", "ema": True}, store=DEFAULT_STORE)
    assert whole[CHECKPOINTS].bytes == 30 * 8 * PARAMETERS
    # The states of legs 5, 10, 15, 20, 25, 29 and 30, and the state that is being written.
    assert whole[STATES].number == 7
    assert whole["training states that come and go"].number == 1


@pytest.mark.parametrize("tier", tiers.TIERS)
@pytest.mark.parametrize(("ema", "gigabytes"), [(True, 100), (False, 60)])
def test_thirty_checkpoints_of_730m_and_the_state_that_stays_fit(tier, ema, gigabytes):
    kinds = planned_730m(tier, checkpoints={"dtype": "bf16", "ema": ema})
    together = kinds[space.CHECKPOINTS[ema]], kinds[STATES]
    assert [kind.number for kind in together] == [30, 1]
    assert sum(kind.bytes for kind in together) <= gigabytes * 1e9


def planned_730m(tier=tiers.TIERS[0], **sections):
    settings = {**config.read([DOCUMENT]), **sections}
    footprint = tiers.keeps(tier, PARAMETERS, COMPACT)
    return {kind.name: kind for kind in space.kinds(settings, footprint)}


# All weights as `redheart plan` counts them, and the weights of large linear layers.
PARAMETERS, COMPACT = 739_264_826, 713_806_848
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
    kinds = space.kinds({**settings, "sweep": sweep}, in_fp32(1000))
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
    space.check(settings, in_fp32(1000), store, tmp_path, "train")


def test_a_run_that_cannot_fit_is_refused_in_one_line(settings, store, tmp_path, monkeypatch):
    limit_disk(monkeypatch, 50_000_000)
    with pytest.raises(UserError) as error:
        space.check(settings, in_fp32(1_000_000), store, tmp_path, "train")
    message = str(error.value)
    assert "\n" not in message
    assert f"to {tmp_path} (snapshots 32.0 MB, soups, crossovers and variants 32.0 MB, " in message
    assert "and 50.0 MB are free; make room, move store.path" in message


def test_only_what_is_still_to_be_written_counts(settings, store, tmp_path, monkeypatch):
    for epoch in (2, 4, 6):
        make_checkpoint(settings, store, tmp_path, epoch)
    planned = space.kinds(settings, in_fp32(1_000_000))
    left = space.remaining(settings, planned, store, tmp_path, "train")
    assert number(left, CHECKPOINTS) == 0
    assert number(planned, STATES) - number(left, STATES) == 1
    # The whole run would not fit, but most of it is written already.
    limit_disk(monkeypatch, sum(kind.bytes for kind in left))
    space.check(settings, in_fp32(1_000_000), store, tmp_path, "train")
    # With other data, settings or code, all files are written again, beside the present ones.
    changed = {**settings, "train": {**settings["train"], "clip_norm": 2.0}}
    for now, train in ((changed, "train"), (settings, "other")):
        with pytest.raises(UserError, match="the run would write"):
            space.check(now, in_fp32(1_000_000), store, tmp_path, train)


def make_checkpoint(settings, store, run, epoch):
    """Write the files of a leg; only the state of the last leg stays."""
    params = {**json.loads(steps.parameters(settings, "train_leg")), "seed": 0, "stop": epoch}
    action = Action("train_leg", params, steps.codes(store)["train_leg"], {"train": "train"})

    def compute(folder):
        files.write_json(folder / "manifest", {"key": action.key})
        if epoch == 6:
            files.write_text(store.state_path(action.key), "")

    target = run / "seed_0" / "ckpt" / f"epoch_{epoch:03d}.json"
    store.run(action, {"manifest": target}, compute)
