"""Training in every tier of memory: the same bits where no precision is lost, close elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from redheart.errors import UserError
from redheart.evaluation import scoring
from redheart.evaluation.inference import contributions
from redheart.machine.memory_plan import MemoryPlan, architecture_of
from redheart.machine.tiers import TIERS
from redheart.model.shares import local
from redheart.recipe.sizes import network_sizes
from redheart.recipe.training_options import TrainOptions
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import launch
from redheart.training import state as training_state
from redheart.training.adamw_8bit import AdamW8bit
from redheart.training.epochs import train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg
from redheart.training.snapshots import Snapshots

TIER = {tier.name: tier for tier in TIERS}
LOSSLESS = [t for t in TIERS if t.weights == "fp32" and t.name != "fp32"]
COMPACT = [t for t in TIERS if t.weights == "bf16"]
STREAMED = TIER["streamed"]
RATE = 1e-2
OPENED = ExitStack()
# Each trains a network.
pytestmark = pytest.mark.slow
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="takes a GPU")


@cache
def group_of_one():
    """The group that a test needs to stream weights."""
    return OPENED.enter_context(launch.alone(TrainOptions(device="cpu", cpu_threads=1), STREAMED))


@pytest.fixture(autouse=True)
def closed():
    yield
    OPENED.close()
    group_of_one.cache_clear()


def prepare(recipe, part, tier, seed=0, **options):
    recipe = replace(recipe, train=replace(recipe.train, **options))
    ranks = group_of_one() if tier.weights_on_cpu else None
    return training_state.prepare(recipe, part, RATE, seed, MemoryPlan(tier), ranks=ranks)


def prepare_any(recipe, part, tier, seed=0):
    """Prepare a training in the precision that the tier needs, or else in the recipe's."""
    precision = {"precision": "bf16"} if tier.weights == "bf16" else {}
    return prepare(recipe, part, tier, seed, **precision)


def weights_of(state):
    return {n: local(value.detach()).clone() for n, value in state.network.named_parameters()}


def equal(weights, other_weights):
    return all(torch.equal(weights[name], other_weights[name]) for name in weights)


@pytest.fixture(scope="module")
def wide(recipe):
    """The recipe with a backbone whose weights are large enough to be held in 16 bits."""
    return replace(recipe, model=replace(recipe.model, dimension=64, feedforward=128))


# --- where nothing is lost ------------------------------------------------------------------


@pytest.mark.parametrize("tier", LOSSLESS, ids=lambda tier: tier.name)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_another_place_and_recomputing_change_no_bit(recipe, part, tier, precision):
    if precision == "fp16" and tier == STREAMED:
        pytest.skip("they do not go together")
    usual, tiered = (prepare(recipe, part, t, precision=precision) for t in (TIERS[0], tier))
    if precision == "fp16":
        for state in (usual, tiered):
            state.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    # Statistics hold losses, gradient norms and update ratios.
    for _ in range(2):
        assert train_epoch(usual, part) == train_epoch(tiered, part)
    assert usual.steps == tiered.steps
    assert equal(weights_of(usual), weights_of(tiered))
    for expected, average in zip(usual.average.values, tiered.average.values, strict=True):
        assert torch.equal(expected, local(average))


@pytest.mark.parametrize("tier", LOSSLESS, ids=lambda tier: tier.name)
def test_a_leg_goes_on_in_another_tier_without_a_trace(recipe, part, tier, tmp_path):
    first = leg(recipe, part, tier, tmp_path / "1", Leg(0, 1))
    leg(recipe, part, TIERS[0], tmp_path / "2", Leg(1, 2), first)
    leg(recipe, part, TIERS[0], tmp_path / "whole", Leg(0, 2))
    assert same_files(tmp_path / "2", tmp_path / "whole")
    first = leg(recipe, part, TIERS[0], tmp_path / "usual", Leg(0, 1))
    leg(recipe, part, tier, tmp_path / "back", Leg(1, 2), first)
    assert same_files(tmp_path / "back", tmp_path / "whole")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_streamed_weights_are_scored_between_epochs_as_others_are(
    recipe, part, precision, monkeypatch
):
    """A trial of the sweep scores so; the trunk stops learning after the first epoch."""
    for collective in ("all_reduce", "all_gather_object", "all_gather_into_tensor"):
        monkeypatch.setattr(torch.distributed, collective, None)  # and none is called
    frozen = replace(recipe, model=replace(recipe.model, freeze_after=1))
    usual, streamed = (prepare(frozen, part, t, precision=precision) for t in (TIERS[0], STREAMED))
    for _ in range(2):
        results = []
        for state in (usual, streamed):
            statistics = train_epoch(state, part)
            outputs = contributions(state.network, part, state.options)
            saved = training_state.capture(state)
            hashes = [hash_modules(saved[name]) for name in ("weights", "ema")]
            scored = [values.tolist() for task in outputs.values() for values in task.values()]
            results.append((statistics, hashes, scored))
        assert results[0] == results[1]


class CopiesOfWeights(TorchDispatchMode):
    """Counts the most bytes of 16-bit copies of weights that there are at once."""

    def __init__(self):
        super().__init__()
        self.copies, self.most = [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        output = operation(*args, **(kwargs or {}))
        if operation is torch.ops.aten._to_copy.default and isinstance(args[0], torch.nn.Parameter):
            self.copies.append((StorageWeakRef(output.untyped_storage()), output.nbytes))
            bytes_alive = sum(size for storage, size in self.copies if not storage.expired())
            self.most = max(self.most, bytes_alive)
        return output


def test_16_bit_copies_of_streamed_weights_go_with_their_layer(wide, part):
    """Neither autocast nor the graph keeps copies, except of weights outside layers and blocks."""
    most = {}
    for tier in (TIER["checkpointed"], STREAMED):
        state = prepare(wide, part, tier, precision="bf16")
        with CopiesOfWeights() as counted:
            train_epoch(state, part.head(16))
        most[tier.name] = counted.most
    sizes = network_sizes(architecture_of(wide, part.sizes), wide.tasks)
    assert most["checkpointed"] >= 2 * sizes.linear
    assert most["streamed"] <= 2 * (sizes.largest_layer + sizes.apart)
    assert most["streamed"] < most["checkpointed"] / 2


def test_weights_are_not_streamed_without_a_group(recipe, part):
    with pytest.raises(ValueError, match=r"launch\.alone"):
        training_state.prepare(recipe, part, RATE, 0, MemoryPlan(STREAMED))


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_a_gpu_streamed_weights_lie_in_main_memory(recipe, part, precision):
    on_gpu = replace(recipe, train=replace(recipe.train, device="cuda", precision=precision))
    losses, places = [], []
    for tier in (TIER["offloaded"], STREAMED):
        with launch.alone(on_gpu.train, tier) as ranks:
            state = training_state.prepare(on_gpu, part, RATE, 0, MemoryPlan(tier), ranks=ranks)
            losses.append([train_epoch(state, part)["loss"] for _ in range(2)])
            tensors = [*state.network.parameters(), *state.average.values]
            tensors += [t for states in state.optimizer.state.values() for t in states.values()]
            places.append({tensor.device.type for tensor in tensors})
            scored = contributions(state.network, part, state.options)
            assert all(v.isfinite().all() for task in scored.values() for v in task.values())
    assert places[1] == {"cpu"}
    assert losses[1] == pytest.approx(losses[0], rel=1e-4 if precision == "fp32" else 2e-2)


def test_recomputing_happens_in_training_alone(recipe, part, monkeypatch):
    from redheart.model import backbone

    calls = []
    original = backbone.checkpoint

    def counted(*arguments, **options):
        calls.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(backbone, "checkpoint", counted)
    state = prepare(recipe, part, TIER["checkpointed"])
    train_epoch(state, part)
    micro_batches = 5  # of 40 texts, 8 each
    assert len(calls) == recipe.model.layers * micro_batches
    contributions(state.network, part, state.options)
    assert len(calls) == recipe.model.layers * micro_batches


# --- where bits are lost --------------------------------------------------------------------


@pytest.mark.parametrize("tier", COMPACT, ids=lambda tier: tier.name)
def test_large_matrices_and_nothing_else_are_held_in_16_bits(wide, part, tier):
    state = prepare_any(wide, part, tier)
    for module in state.network.modules():
        for name, weight in module.named_parameters(recurse=False):
            is_large = isinstance(module, torch.nn.Linear) and weight.numel() >= 4096
            half = is_large and name == "weight"
            assert weight.dtype == (torch.bfloat16 if half else torch.float32)
    assert any(weight.dtype == torch.bfloat16 for weight in state.network.backbone.parameters())
    assert all(value.dtype == torch.float32 for value in state.average.values)


@pytest.mark.parametrize("tier", COMPACT, ids=lambda tier: tier.name)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bit_weights_train_close_to_32(wide, part, tier, precision):
    usual = prepare(wide, part, TIERS[0], precision="fp32")
    compact = prepare(wide, part, tier, precision=precision)
    if precision == "fp16":
        compact.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for _ in range(2):
        expected, statistics = (train_epoch(s, part) for s in (usual, compact))
        assert statistics["loss"] == pytest.approx(expected["loss"], rel=0.02)
        assert statistics["update_ratio"] == pytest.approx(expected["update_ratio"], rel=0.1)
        norms = [epoch["gradient_norm"]["all"]["mean"] for epoch in (expected, statistics)]
        assert norms[1] == pytest.approx(norms[0], rel=0.1)


def test_places_change_no_bit_of_a_compact_training(wide, part):
    """The average in another place and recomputed activations change no bit."""
    tiers = [t for t in COMPACT if t.states == "8bit"]
    first, *elsewhere = (prepare_any(wide, part, tier) for tier in tiers)
    expected = train_epoch(first, part)
    for state in elsewhere:
        assert train_epoch(state, part) == expected
        assert equal(weights_of(first), weights_of(state))


def test_the_average_follows_the_float32_weights_behind(wide, part):
    state = prepare_any(wide, part, TIER["bf16_offloaded"])
    masters = [state.optimizer.masters[p] for p in state.network.parameters()]
    ids = {id(master) for master in masters}
    assert all(id(source) in ids for source in state.average.sources)
    train_epoch(state, part)
    for weight, master in zip(state.network.parameters(), masters, strict=True):
        assert torch.equal(weight, master.to(weight.dtype))


# --- legs, snapshots, scoring ---------------------------------------------------------------


def leg(recipe, part, tier, folder, which, ancestor=None):
    state = prepare_any(recipe, part, tier)
    statistics = train_leg(state, part, which, ancestor)
    training_state.save_leg(state, statistics, folder, folder / "state", {})
    return Ancestor(folder / "weights", folder / "state", which.stop)


def same_files(one, other):
    return all(
        files.sha256_file(one / name) == files.sha256_file(other / name)
        for name in ("weights", "state")
    )


@pytest.mark.parametrize("tier", [*COMPACT[-2:], STREAMED], ids=lambda tier: tier.name)
def test_two_legs_are_one(wide, part, tier, tmp_path):
    first = leg(wide, part, tier, tmp_path / "1", Leg(0, 1))
    leg(wide, part, tier, tmp_path / "2", Leg(1, 2), first)
    leg(wide, part, tier, tmp_path / "whole", Leg(0, 2))
    assert same_files(tmp_path / "2", tmp_path / "whole")


@pytest.mark.parametrize("tier", [*COMPACT[-2:], STREAMED], ids=lambda tier: tier.name)
def test_a_leg_killed_in_its_midst_goes_on_to_the_same_bits(wide, part, tier, tmp_path):
    whole = prepare_any(wide, part, tier)
    train_leg(whole, part, Leg(0, 2))
    killed = prepare_any(wide, part, tier)
    snapshots = Snapshots(tmp_path / "snapshot", 0)

    def kill(epoch, step, *_):
        if (epoch, step) == (2, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_leg(killed, part, Leg(0, 2), None, kill, snapshots)
    resumed = prepare_any(wide, part, tier)
    train_leg(resumed, part, Leg(0, 2), None, None, snapshots)
    assert equal(weights_of(whole), weights_of(resumed))
    one, other = (s.optimizer.state_dict()["state"] for s in (whole, resumed))
    assert all(torch.equal(one[p][n], other[p][n]) for p in one for n in one[p])
    for a, b in zip(whole.average.values, resumed.average.values, strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_in_16_bits_is_scored_in_32(wide, part, tmp_path):
    leg(wide, part, TIER["bf16_8bit"], tmp_path, Leg(0, 1))
    saved = load_tensors(tmp_path / "weights")
    kinds = {t.dtype for state in saved["weights"].values() for t in state.values()}
    assert kinds == {torch.bfloat16, torch.float32}
    assert {t.dtype for s in saved["ema"].values() for t in s.values()} == {torch.float32}
    network = prepare(wide, part, TIERS[0], seed=5).network
    manifest = files.read_json(tmp_path / "manifest")
    table = scoring.evaluate_checkpoint(network, saved, manifest, part, part, wide, None)
    assert all(np.isfinite(table["fused"][which]["val_loss"]) for which in ("raw", "ema"))
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_tier_is_told_and_noted(recipe, part, capsys):
    prepare(recipe, part, TIERS[0])
    assert capsys.readouterr().err == ""
    state = prepare(recipe, part, TIER["offloaded"])
    assert capsys.readouterr().err.startswith("memory.tier: offloaded, ")
    assert state.facts()["memory_tier"] == "offloaded"


def test_a_plan_that_is_refused_makes_nothing(recipe, part):
    plan = MemoryPlan(refused="it does not fit; buy more")
    with pytest.raises(UserError, match="it does not fit; buy more"):
        training_state.prepare(recipe, part, RATE, 0, plan)


# --- the price of 8 bits --------------------------------------------------------------------


@pytest.mark.full
def test_after_200_steps_the_loss_is_within_the_noise_of_seeds(wide, part):
    """The modules are a backbone, a head and an analyzer of one task; 200 windows of 8 texts."""
    recipe = replace(
        wide,
        tasks=wide.tasks[1:2],
        model=replace(wide.model, lexical=False, advanced=()),
        train=replace(wide.train, schedule_epochs=40, grad_accumulation=1, precision="bf16"),
    )

    def final_loss(tier, seed):
        state = training_state.prepare(recipe, part, 1e-3, seed, MemoryPlan(tier))
        losses = [train_epoch(state, part)["loss"] for _ in range(40)]
        assert (state.step, isinstance(state.optimizer, AdamW8bit)) == (200, tier.states == "8bit")
        return np.mean(losses[-5:])

    usual, compact = (
        np.array([final_loss(tier, seed) for seed in range(3)])
        for tier in (TIERS[0], TIER["bf16_8bit"])
    )
    assert abs(compact.mean() - usual.mean()) < usual.std(ddof=1)
