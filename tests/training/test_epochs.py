"""Training: legs that equal one run bit for bit, windows that equal one batch, honest failures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from redheart.encoding.tokens import training_windows, windows_per_epoch
from redheart.errors import UserError
from redheart.evaluation import scoring
from redheart.evaluation.inference import contributions, module_scores
from redheart.machine import memory_plan
from redheart.model.states import parameters_by_module
from redheart.storage import diary, files
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import epochs
from redheart.training import state as training_state
from redheart.training.epochs import NonFiniteLoss, _accumulate, _batch_loss, train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg

RATE = 1e-2


def prepare(recipe, part, seed=0, **options):
    recipe = replace(recipe, train=replace(recipe.train, **options))
    return training_state.prepare(recipe, part, RATE, seed)


def weights_of(state):
    return {name: value.detach().clone() for name, value in state.network.named_parameters()}


def equal(weights, other_weights):
    return all(torch.equal(weights[name], other_weights[name]) for name in weights)


# --- one optimizer step ---------------------------------------------------------------------


def gradients(recipe, part, batch_size, accumulation):
    """Loss and gradients of the first window, without dropout."""
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.0))
    state = prepare(recipe, part, batch_size=batch_size, grad_accumulation=accumulation)
    state.network.train()
    targets = {name: torch.from_numpy(rows) for name, rows in part.targets.items()}
    window = next(training_windows(part.lengths, batch_size, accumulation, 0, 0))
    loss = _accumulate(state, part, targets, window)
    return loss, {name: p.grad.clone() for name, p in state.network.named_parameters()}


@pytest.fixture(scope="module")
def gradients_of_a_whole_batch(recipe, part):
    return gradients(recipe, part, 16, 1)


@pytest.mark.parametrize("sizes", [(8, 2), (4, 4)])
def test_the_size_of_the_micro_batch_changes_no_step(
    recipe, part, gradients_of_a_whole_batch, sizes
):
    loss, expected = gradients_of_a_whole_batch
    other_loss, cut = gradients(recipe, part, *sizes)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_a_window_that_is_not_full_is_divided_by_its_own_labels(recipe, part):
    few = part.head(10)
    loss, expected = gradients(recipe, few, 16, 1)
    other_loss, cut = gradients(recipe, few, 4, 4)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_the_loss_is_the_mean_over_labelled_records_of_each_modules_own(recipe, part):
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.0))
    state = prepare(
        recipe, part, rdrop=0.0, label_smoothing=0.0, batch_size=40, grad_accumulation=1
    )
    targets = {name: torch.from_numpy(rows) for name, rows in part.targets.items()}
    (window,) = training_windows(part.lengths, 40, 1, 0, 0)
    # The recipe has a weight other than 1, and every task lacks some labels.
    scores = module_scores(recipe.tasks, contributions(state.network, part, recipe.train), part)
    weight = {task.name: task.weight for task in recipe.tasks}
    expected = sum(
        weight[task] * score["loss"]
        for by_task in scores.values()
        for task, score in by_task.items()
    )
    assert _accumulate(state, part, targets, window) == pytest.approx(expected, rel=1e-5)


def test_a_task_that_no_record_of_a_window_has_costs_nothing(recipe, part):
    unlabelled = {**part.targets, "regret": np.full_like(part.targets["regret"], np.nan)}
    loss, by_name = gradients(recipe, replace(part, targets=unlabelled), 16, 1)
    assert np.isfinite(loss)
    for name, gradient in by_name.items():
        assert gradient.isfinite().all(), name
        assert gradient.any() != ("regret" in name), name


def test_a_task_of_weight_zero_moves_nothing_of_its_own(recipe, part):
    tasks = tuple(replace(t, weight=0.0 if t.name == "regret" else 1.0) for t in recipe.tasks)
    _, by_name = gradients(replace(recipe, tasks=tasks), part, 16, 1)
    assert not any(by_name[name].any() for name in by_name if "regret" in name)
    assert any(by_name[name].any() for name in by_name if "verdict" in name)


# --- an epoch -------------------------------------------------------------------------------


def test_an_epoch_reports_its_steps_and_returns_its_statistics(recipe, part):
    state, reports = prepare(recipe, part), []
    statistics = train_epoch(state, part, lambda *step: reports.append(step))
    steps = windows_per_epoch(len(part), 8, 2)
    assert [step[:3] for step in reports] == [(1, index, steps) for index in range(1, steps + 1)]
    assert statistics["epoch"] == state.epoch == 1
    assert state.step == steps == 3
    assert statistics["loss"] == pytest.approx(np.mean([loss for *_, loss, _ in reports]))
    assert 0 < statistics["update_ratio"] < 1
    assert set(statistics["gradient_norm"]) == {*state.units, "all"}
    for norms in statistics["gradient_norm"].values():
        assert 0 < norms["min"] <= norms["mean"] <= norms["max"]
        assert norms["std"] >= 0
    units = [statistics["gradient_norm"][unit]["max"] for unit in state.units]
    largest = statistics["gradient_norm"]["all"]["max"]
    assert max(units) < largest <= np.hypot.reduce(units) * (1 + 1e-6)


def test_the_rate_falls_over_the_whole_schedule(recipe, part):
    state = prepare(recipe, part, schedule_epochs=2)
    train_epoch(state, part)
    # The last of 3 steps, of a cosine that reaches 0 after 6.
    expected = RATE * (1 + np.cos(np.pi * 2 / 6)) / 2
    swept = [group["lr"] for group in state.optimizer.param_groups if group["multiplier"]]
    assert max(swept) == pytest.approx(expected)
    own_rates = [(g["lr"], g["own_rate"]) for g in state.optimizer.param_groups if g["own_rate"]]
    assert own_rates == [(pytest.approx(rate * expected / RATE), rate) for _, rate in own_rates]


def test_the_average_follows_the_weights_of_every_step(recipe, part):
    state = prepare(recipe, part, ema_decay=0.15)
    followed = [value.double() for value in state.average.values]

    def follow(epoch, step, steps, loss, speed):
        decay = min(0.15, step / (9 + step))
        for value, source in zip(followed, state.average.sources, strict=True):
            value.mul_(decay).add_(source.detach().double(), alpha=1 - decay)

    train_epoch(state, part, follow)
    for value, expected in zip(state.average.values, followed, strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)


def test_equal_seeds_start_from_equal_weights_at_every_rate(recipe, part):
    first, second, third = (
        weights_of(training_state.prepare(recipe, part, rate, seed))
        for rate, seed in ((0.1, 0), (0.001, 0), (0.1, 1))
    )
    assert equal(first, second)
    assert not equal(first, third)


def test_a_model_beyond_the_budget_is_refused(recipe, part):
    plan = memory_plan.choose(recipe, part.sizes, 0.001)
    with pytest.raises(UserError, match=r"memory\.budget_gb"):
        training_state.prepare(recipe, part, 1e-3, 0, plan)


# --- losses that are no number --------------------------------------------------------------


@pytest.mark.parametrize("module", ["backbone", "neural_regret"])
def test_a_loss_that_is_no_number_stops_before_the_update(recipe, part, module):
    state = prepare(recipe, part)
    parameters_by_module(state.network)[module].popitem()[1].data.fill_(torch.nan)
    weights, average = weights_of(state), [value.clone() for value in state.average.values]
    with pytest.raises(NonFiniteLoss, match="the loss became nan in epoch 1"):
        train_epoch(state, part)
    later_weights = weights_of(state)
    assert all(
        torch.equal(weights[n], later_weights[n]) for n in weights if weights[n].isfinite().all()
    )
    assert state.step == state.epoch == 0
    for value, old in zip(state.average.values, average, strict=True):
        assert torch.equal(value, old)


def test_a_gradient_that_is_no_number_stops_before_the_update(recipe, part):
    state = prepare(recipe, part)
    first = next(state.network.parameters())
    first.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    weights = weights_of(state)
    with pytest.raises(NonFiniteLoss, match="a gradient became infinite in epoch 1"):
        train_epoch(state, part)
    assert equal(weights, weights_of(state))


def test_a_leg_that_diverges_says_what_to_do(recipe, part):
    state = prepare(recipe, part)
    next(state.network.parameters()).data.fill_(torch.nan)
    with pytest.raises(UserError, match=r"stopped before the update.*Lower sweep\.learning_rates"):
        train_leg(state, part, Leg(0, 1))


# --- 16 bits --------------------------------------------------------------------------------


def test_fp16_skips_a_step_that_overflows_and_lowers_its_scale(recipe, part):
    state = prepare(recipe, part, precision="fp16")
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    weights = weights_of(state)
    statistics = train_epoch(state, part)
    assert equal(weights, weights_of(state)), "2**40 is beyond fp16 in each of the three steps"
    assert state.scaler.get_scale() == 2.0**37
    assert np.isfinite(statistics["loss"])
    assert statistics["gradient_norm"]["all"]["max"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bits_train_close_to_32(recipe, part, precision):
    full, half = (prepare(recipe, part, precision=name) for name in ("fp32", precision))
    assert half.scaler.is_enabled() == (precision == "fp16")
    if precision == "fp16":
        half.scaler = torch.amp.GradScaler("cpu", init_scale=256.0)  # so that no step is skipped
    for _ in range(2):
        loss, half_loss = (train_epoch(state, part)["loss"] for state in (full, half))
        assert half_loss == pytest.approx(loss, rel=0.02)
    assert not equal(weights_of(full), weights_of(half))


# --- legs -----------------------------------------------------------------------------------


def train(recipe, part, folder, leg, ancestor=None, seed=0):
    """Train one leg as the script does; return what later legs and steps go on from."""
    state = prepare(recipe, part, seed)
    statistics = train_leg(state, part, leg, ancestor)
    keys = {"key": f"leg {leg.stop}", "parent": f"leg {leg.start}" if leg.start else None}
    training_state.save_leg(state, statistics, folder, folder / "state", keys)
    return Ancestor(folder / "weights", folder / "state", leg.stop)


@pytest.fixture(scope="module")
def legs(recipe, part, tmp_path_factory):
    """Checkpoints of epochs 2 and 4, the second trained from the first."""
    folder = tmp_path_factory.mktemp("legs")
    first = train(recipe, part, folder / "002", Leg(0, 2))
    train(recipe, part, folder / "004", Leg(2, 4), first)
    return folder


def same_files(folder, other_folder):
    return all(
        files.sha256_file(folder / name) == files.sha256_file(other_folder / name)
        for name in ("weights", "state")
    )


def steps_of(*folders):
    return b"".join((folder / "steps").read_bytes() for folder in folders)


def manifest_without_parent(folder):
    manifest = files.read_json(folder / "manifest")
    return {
        key: value for key, value in manifest.items() if key not in ("key", "parent", "training")
    }


@pytest.mark.slow
def test_two_legs_of_two_epochs_equal_one_of_four_bit_for_bit(recipe, part, legs, tmp_path):
    train(recipe, part, tmp_path, Leg(0, 4))
    assert same_files(tmp_path, legs / "004")
    assert manifest_without_parent(tmp_path) == manifest_without_parent(legs / "004")
    # The second leg's statistics are those of its own epochs.
    single_leg, leg = (
        files.read_json(f / "manifest")["training"] for f in (tmp_path, legs / "004")
    )
    assert [row["epoch"] for row in leg] == [3, 4]
    assert single_leg[2:] == leg
    assert steps_of(tmp_path) == steps_of(legs / "002", legs / "004")


@pytest.mark.slow
def test_two_legs_are_one_in_fp16_too(recipe, part, tmp_path):
    """The loss scale has skipped steps in the first leg; the second leg goes on with that scale."""
    half = replace(recipe, train=replace(recipe.train, precision="fp16"))
    first = train(half, part, tmp_path / "002", Leg(0, 2))
    train(half, part, tmp_path / "004", Leg(2, 4), first)
    train(half, part, tmp_path / "whole", Leg(0, 4))
    assert same_files(tmp_path / "004", tmp_path / "whole")
    scaler = load_tensors(tmp_path / "002" / "state")["scaler"]
    assert scaler["scale"] < 2.0**16, "the first leg lowered it"


@pytest.mark.slow
def test_evaluations_of_two_legs_and_of_one_are_equal(recipe, part, legs, tmp_path):
    train(recipe, part, tmp_path, Leg(0, 4))
    tables = []
    for folder in (tmp_path, legs / "004"):
        table = scoring.evaluate_checkpoint(
            prepare(recipe, part, seed=5).network,
            load_tensors(folder / "weights"),
            files.read_json(folder / "manifest"),
            part.head(20),
            part,
            recipe,
            None,
        )
        del table["improvement"]  # compares with the checkpoint before
        tables.append(table)
    assert files.canonical(tables[0]) == files.canonical(tables[1])


@pytest.mark.slow
def test_a_replay_from_an_older_ancestor_gives_the_same(recipe, part, legs, tmp_path):
    first = train(recipe, part, tmp_path / "001", Leg(0, 1))
    train(recipe, part, tmp_path / "004", Leg(2, 4), first)
    assert same_files(tmp_path / "004", legs / "004")
    assert (
        files.read_json(tmp_path / "004" / "manifest")["training"]
        == (files.read_json(legs / "004" / "manifest")["training"])
    )
    assert steps_of(tmp_path / "004") == steps_of(legs / "004")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_files_and_another_does_not(recipe, part, legs, tmp_path):
    train(recipe, part, tmp_path / "again", Leg(0, 2))
    assert same_files(tmp_path / "again", legs / "002")
    train(recipe, part, tmp_path / "other", Leg(0, 2), seed=1)
    assert not same_files(tmp_path / "other", legs / "002")


@pytest.mark.slow
def test_dropout_and_order_do_not_depend_on_what_ran_before(recipe, part, legs, tmp_path):
    torch.manual_seed(99)
    torch.rand(7)
    np.random.default_rng().random()
    train(recipe, part, tmp_path, Leg(2, 4), Ancestor(legs / "002/weights", legs / "002/state", 2))
    assert same_files(tmp_path, legs / "004")


@pytest.mark.slow
def test_a_manifest_says_what_the_checkpoint_is(recipe, part, legs):
    manifest = files.read_json(legs / "004" / "manifest")
    saved = load_tensors(legs / "004" / "weights")
    assert manifest["weights"] == hash_modules(saved["weights"])
    assert manifest["ema"] == hash_modules(saved["ema"])
    assert manifest["weights"] != manifest["ema"]
    assert manifest["state"] == files.sha256_file(legs / "004" / "state")
    assert (manifest["epoch"], saved["epoch"], manifest["step"]) == (4, 4, 12)
    assert (manifest["key"], manifest["parent"]) == ("leg 4", "leg 2")
    assert (manifest["seed"], manifest["learning_rate"]) == (0, RATE)


@pytest.mark.slow
def test_the_metrics_of_every_step_stand_beside_the_checkpoint(recipe, part, legs):
    rows = diary.read_lines(legs / "004" / "steps")
    assert [(row["epoch"], row["step"]) for row in rows] == [
        *((3, 7), (3, 8), (3, 9)),
        *((4, 10), (4, 11), (4, 12)),
    ]
    training_of_epochs = files.read_json(legs / "004" / "manifest")["training"]
    for epoch in training_of_epochs:
        of_epoch = [row for row in rows if row["epoch"] == epoch["epoch"]]
        assert np.mean([row["loss"] for row in of_epoch]) == epoch["loss"]
        assert sum(row["tokens"] for row in of_epoch) == part.lengths.sum()
        for unit, norms in epoch["gradient_norm"].items():
            assert max(row["gradient_norm"][unit] for row in of_epoch) == norms["max"]
        # At every step it would cost too much.
        *earlier, last = of_epoch
        assert not any("update_ratio" in row for row in earlier)
        assert last["update_ratio"]["all"] == epoch["update_ratio"]
        assert set(last["update_ratio"]) == set(last["gradient_norm"])
    # A cosine over 4 epochs of 3 steps.
    expected = [RATE * (1 + np.cos(np.pi * step / 12)) / 2 for step in range(6, 12)]
    assert [row["learning_rate"] for row in rows] == pytest.approx(expected)


def test_a_step_that_fp16_skipped_has_no_gradient_norm(recipe, part, tmp_path):
    state = prepare(recipe, part, precision="fp16")
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    statistics = train_leg(state, part, Leg(0, 1))
    training_state.save_leg(state, statistics, tmp_path, tmp_path / "state", {})
    rows = diary.read_lines(tmp_path / "steps")
    assert [row["gradient_norm"]["all"] for row in rows] == [None] * 3
    assert all(np.isfinite(row["loss"]) for row in rows)


@pytest.mark.slow
def test_training_learns(recipe, part):
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.0))
    state = prepare(recipe, part, schedule_epochs=12, rdrop=0.0)
    losses = [train_epoch(state, part)["loss"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


# --- out of memory ----------------------------------------------------------------------------


def small_gpu(monkeypatch, largest):
    """Fail for lack of memory on the gradients of more than so many texts at once."""
    loss = _batch_loss

    def limited(state, data, targets, rows, counts):
        batch_loss = loss(state, data, targets, rows, counts)
        if len(rows) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return batch_loss

    monkeypatch.setattr(epochs, "_batch_loss", limited)


def test_a_halved_micro_batch_trains_as_one_of_that_size(recipe, part, monkeypatch, capsys):
    smaller = prepare(recipe, part, batch_size=2, grad_accumulation=8)
    expected = train_epoch(smaller, part)
    state = prepare(recipe, part, batch_size=8, grad_accumulation=2)
    small_gpu(monkeypatch, 3)
    assert train_epoch(state, part) == expected
    assert equal(weights_of(state), weights_of(smaller))
    # Said for each halving, and never again.
    assert capsys.readouterr().err.splitlines() == [
        f"out of memory: goes on with micro-batches of {half} instead of {size} texts; the "
        "effective batch stays the same"
        for size, half in ((8, 4), (4, 2))
    ]
    assert state.facts()["micro_batch"] == 2
    assert "micro_batch" not in smaller.facts()
    assert state.options.batch_size == 8


def test_a_snapshot_remembers_the_halved_micro_batch(recipe, part, monkeypatch):
    state, resumed = prepare(recipe, part), prepare(recipe, part)
    small_gpu(monkeypatch, 3)
    train_epoch(state, part)
    training_state.resume(resumed, training_state.capture(state))
    assert resumed.micro_batch == 2


def test_memory_for_not_even_one_text_ends_the_leg(recipe, part, monkeypatch):
    state = prepare(recipe, part)
    weights = weights_of(state)
    small_gpu(monkeypatch, 0)
    with pytest.raises(torch.OutOfMemoryError):
        train_leg(state, part, Leg(0, 1))
    assert equal(weights_of(state), weights)


def test_a_cpu_without_memory_trains_on_with_no_other_size(recipe, part, monkeypatch):
    def full(*arguments):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    state = prepare(recipe, part)
    monkeypatch.setattr(epochs, "_batch_loss", full)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train_epoch(state, part)
    assert state.micro_batch is None
