"""The memory plan: figures by hand, choices, keys, and the peak that a training really has."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from memory_meter import peak_bytes

from redheart.encoding.tokens import PartSizes
from redheart.errors import UserError
from redheart.machine.memory_plan import AUTO, MemoryPlan, choose, predict
from redheart.machine.tiers import TIERS, switches, training_precision
from redheart.recipe.build import read_recipe
from redheart.training import launch
from redheart.training import state as training_state
from redheart.training.epochs import train_epoch
from redheart.workflow import config, plan_sizes

ROOT = Path(__file__).parents[2]
TIER = {tier.name: tier for tier in TIERS}
CORPUS = PartSizes(32_000, 512)
FULL_SIZE = config.read([ROOT / "config" / "redheart-730m.yaml"])


@pytest.fixture(scope="module")
def large():
    """The 730m preset as its config trains it, on a GPU."""
    recipe = read_recipe(FULL_SIZE)
    assert (recipe.train.batch_size, recipe.train.grad_accumulation) == (4, 16)
    assert recipe.train.rdrop > 0
    return on(recipe, "cuda")


def on(recipe, device, **options):
    return replace(recipe, train=replace(recipe.train, device=device, **options))


# --- the 730m preset ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tier", "parts", "gigabytes"),
    [
        # 16 bytes a parameter of 739 M.
        ("fp32", ("weights", "gradients", "optimizer"), 11.83),
        # 6 bytes a parameter, and 10 more of embeddings, norms and biases.
        ("bf16_8bit", ("weights", "gradients", "optimizer"), 4.71),
        ("offloaded", ("weights", "gradients", "optimizer", "average"), 5.91),
        ("fp32", ("average",), 2.96),
        ("fp32", ("16-bit copies",), 1.43),
    ],
)
def test_what_730_m_parameters_take(large, tier, parts, gigabytes):
    sizes = predict(large, CORPUS, TIER[tier])
    assert sum(sizes[part] for part in parts) / 1e9 == pytest.approx(gigabytes, abs=0.01)


def test_730_m_parameters_fit_8_gigabytes_with_every_feature_on(large):
    plan = choose(large, CORPUS, 8.0)
    assert plan.tier.name == "bf16_8bit_average_on_cpu"
    assert plan.peak < 7.5e9
    assert plan.why == "the fastest that fits; bf16_8bit would take 9.1 GB"


MEASURED = {
    "fp32": 0.66,
    "checkpointed": 0.51,
    "average_on_cpu": 0.44,
    "bf16_8bit": 0.56,
    "bf16_8bit_average_on_cpu": 0.49,
    "bf16_8bit_checkpointed": 0.36,
    "offloaded": 0.30,
    "bf16_offloaded": 0.26,
    "streamed": 0.21,
}


@pytest.mark.parametrize(("tier", "gigabytes"), MEASURED.items())
def test_what_an_h100_measured_is_what_was_predicted(large, tier, gigabytes):
    """docs/results-gpu.md: the small preset on texts of 512 tokens."""
    small = replace(large, model=replace(large.model, preset="small"))
    corpus = plan_sizes.read_corpus(FULL_SIZE, Path("not yet run"))
    sizes = plan_sizes.synthetic_part(small, corpus, 512, None, 64).sizes
    assert sum(predict(small, sizes, TIER[tier]).values()) / 1e9 == pytest.approx(
        gigabytes, rel=0.05
    )


@pytest.mark.parametrize(
    ("budget", "tier"),
    [
        (24.0, "fp32"),
        (19.0, "checkpointed"),
        (16.0, "average_on_cpu"),
        (12.0, "bf16_8bit"),
        (8.0, "bf16_8bit_average_on_cpu"),
        (6.0, "bf16_8bit_checkpointed"),
        (4.0, "bf16_offloaded"),
        (3.0, "streamed"),
        (1.1, "streamed"),
    ],
)
def test_the_fastest_tier_that_fits_is_chosen(large, budget, tier):
    plan = choose(large, CORPUS, budget)
    assert plan.tier.name == tier
    assert plan.peak * 1.1 <= budget * 1e9
    plan.check()


def test_weights_stay_in_float32_where_the_precision_is_that(large):
    assert choose(on(large, "cuda", precision="fp32"), CORPUS, 9.5).tier.name == "offloaded"


def test_what_fits_in_no_way_is_refused_with_what_to_change(large):
    plan = choose(large, CORPUS, 1.0)
    with pytest.raises(
        UserError,
        match=r"^training takes 1 GB at its peak even with memory\.tier: streamed, and "
        r"memory\.budget_gb is 1 .*lower train\.batch_size or train\.max_tokens, choose a smaller "
        r"model\.preset, or raise the budget",
    ) as error:
        plan.check()
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"choose train\.precision: auto, a smaller model\.preset"):
        choose(on(large, "cuda", precision="fp32"), CORPUS, 1.0).check()


def test_on_a_cpu_another_place_saves_nothing(large):
    at_home = on(large, "cpu", precision="bf16")
    sums = {t.name: sum(predict(at_home, CORPUS, t).values()) for t in TIERS}
    assert sums["average_on_cpu"] == sums["checkpointed"] == sums["offloaded"]
    assert sums["bf16_8bit_checkpointed"] == min(sums.values())


# --- a tier by name -------------------------------------------------------------------------


def test_a_tier_that_is_asked_for_is_taken(large):
    plan = choose(large, CORPUS, 24.0, "offloaded")
    assert (plan.tier.name, plan.why, plan.refused) == ("offloaded", "it is asked for", None)
    with pytest.raises(UserError, match=r"even with memory\.tier: fp32"):
        choose(large, CORPUS, 8.0, "fp32").check()


def test_a_tier_that_there_is_not_is_refused(large):
    with pytest.raises(UserError, match=r"memory\.tier: there is no tier 'offload'.*'offloaded'"):
        choose(large, CORPUS, 8.0, "offload")


def test_16_bits_do_not_go_with_fp32(large):
    with pytest.raises(UserError, match=r"bf16_8bit holds weights in 16 bits, which train\.prec"):
        choose(on(large, "cuda", precision="fp32"), CORPUS, 8.0, "bf16_8bit")


def test_streamed_weights_do_not_go_with_fp16(large):
    with pytest.raises(UserError, match=r"streamed does not go with train\.precision: fp16; set"):
        choose(on(large, "cuda", precision="fp16"), CORPUS, 8.0, "streamed")
    assert choose(on(large, "cuda", precision="fp16"), CORPUS, 2.0).refused


def test_auto_becomes_bf16_where_weights_are_that(large):
    at_home = on(large, "cpu", precision="auto").train
    assert training_precision(at_home, TIER["bf16_8bit"]).precision == "bf16"
    assert training_precision(at_home, TIER["offloaded"]) == at_home
    half = on(large, "cpu", precision="fp16").train
    assert training_precision(half, TIER["bf16_8bit"]) == half


def test_the_schema_names_the_tiers():
    schema = json.loads((ROOT / "config" / "schemas" / "config.schema.json").read_text("utf-8"))
    assert schema["properties"]["memory"]["properties"]["tier"]["enum"] == [AUTO, *TIER]


def test_planning_imports_no_torch():
    code = "import sys; import redheart.machine.memory_plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- the key of a leg -----------------------------------------------------------------------


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
def test_on_a_cpu_only_fewer_bits_are_part_of_the_key(large, tier):
    key = switches(tier, on(large, "cpu").train)
    assert bool(key) == (tier.weights == "bf16")


def test_the_tier_that_leaves_no_trace_in_the_key_is_the_usual_one_whatever_it_is(large):
    cpu = on(large, "cpu").train
    assert switches(replace(TIERS[0], states="8bit"), cpu) == {}  # without bf16 it has no say
    assert switches(replace(TIERS[0], weights="bf16"), cpu)


def test_on_a_gpu_arithmetic_in_main_memory_is_part_of_the_key(large):
    keys = {tier.name: switches(tier, large.train) for tier in TIERS}
    assert keys["fp32"] == keys["checkpointed"] == {}
    assert keys["streamed"] != keys["offloaded"]
    slower_keys = [key for name, key in keys.items() if name not in ("fp32", "checkpointed")]
    assert all(slower_keys)
    # With or without activations kept, 8 bits give the same.
    assert keys["bf16_8bit_average_on_cpu"] == keys["bf16_8bit_checkpointed"]
    assert keys["bf16_8bit"] != keys["bf16_8bit_average_on_cpu"]
    assert keys["bf16_8bit"]["memory"]["states"] == "8bit"


# --- what training really takes -------------------------------------------------------------


def peaks(recipe, texts, max_tokens, tier):
    """Return the predicted and the real peak of two whole optimizer steps."""
    part = plan_sizes.synthetic_part(
        recipe, plan_sizes.Corpus(100, 75, 2000, 2000, ""), max_tokens, None, texts
    )
    planned = MemoryPlan(tier, predict(recipe, part.sizes, tier))

    with launch.alone(recipe.train, tier) as ranks:

        def train():
            state = training_state.prepare(recipe, part, 1e-3, 0, planned, ranks=ranks)
            train_epoch(state, part)
            return state

        return planned.peak, peak_bytes(train)


@pytest.fixture(scope="module")
def demo():
    """The demo's recipe: R-Drop, the average, the lexical branches, two micro-batches a step."""
    recipe = read_recipe(config.read([ROOT / "config" / "config.yaml"]))
    return on(recipe, "cpu", cpu_threads=1, batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("preset", "max_tokens"), [("tiny", 256), ("small", 64)])
def test_the_predicted_peak_is_within_10_percent(demo, tier, precision, preset, max_tokens):
    if tier.weights == "bf16" and precision == "fp32":
        pytest.skip("16 bits do not go with fp32")
    recipe = replace(demo, model=replace(demo.model, preset=preset))
    predicted, measured = peaks(on(recipe, "cpu", precision=precision), 16, max_tokens, tier)
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.full
@pytest.mark.parametrize("tier", ["fp32", "bf16_8bit_checkpointed", "streamed"])
def test_so_it_is_with_layers_as_wide_and_texts_as_long_as_those_of_730_m(large, tier):
    wide = {"dimension": 768, "layers": 3, "attention_heads": 12, "feedforward": 3200}
    recipe = replace(large, model=replace(large.model, preset="small", **wide))
    options = {"cpu_threads": 1, "precision": "bf16", "batch_size": 1, "grad_accumulation": 2}
    predicted, measured = peaks(on(recipe, "cpu", **options), 4, 512, TIER[tier])
    assert predicted == pytest.approx(measured, rel=0.1)


@pytest.mark.slow
def test_the_meter_counts_what_lives_and_what_only_lived():
    import torch

    def work():
        for _ in range(3):
            torch.ones(1000)  # 4,000 bytes that go at once
        values = torch.ones(500)
        return values, torch.ones(250) + 1

    assert peak_bytes(work) == pytest.approx(4000, abs=20)  # the 1 is a tensor too
