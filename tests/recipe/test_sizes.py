"""The arithmetic of sizes: the networks themselves, on torch's meta device, are the oracle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from redheart.encoding import tokens
from redheart.machine.memory_plan import architecture_of
from redheart.model.backbone import EncoderLayer, FeedForward
from redheart.recipe.build import read_recipe
from redheart.recipe.sizes import SMALLEST_COMPACT, Sizes, network_sizes
from redheart.workflow import config, plan_sizes

ROOT = Path(__file__).parents[2]


def counted(network):
    every = [weight.numel() for weight in network.parameters()]
    linear = [m.weight.numel() for m in network.modules() if isinstance(m, nn.Linear)]
    compact = sum(values for values in linear if values >= SMALLEST_COMPACT)
    layers = [m for m in network.modules() if isinstance(m, EncoderLayer)]
    inside = {id(block) for layer in layers for block in layer.modules()}
    blocks = [m for m in network.modules() if isinstance(m, FeedForward) and id(m) not in inside]
    parts = [sum(weight.numel() for weight in part.parameters()) for part in (*layers, *blocks)]
    own = sum(weight.numel() for weight in network.backbone.parameters())
    trunk = own - sum(parts[: len(layers)])
    apart = sum(every) - sum(parts) - trunk
    return Sizes(
        sum(every), sum(linear), compact, max(every), max(linear), max(parts), trunk, apart
    )


@pytest.mark.parametrize("preset", ["tiny", "small", "730m"])
@pytest.mark.parametrize("lexicon", [0, 900])
def test_sizes_are_those_of_the_network(preset, lexicon):
    recipe = read_recipe(config.read([ROOT / "config" / "config.yaml"]))
    recipe = replace(recipe, model=replace(recipe.model, preset=preset, lexical=True))
    corpus = plan_sizes.Corpus(10, 8, 1234, lexicon, "")
    part = plan_sizes.synthetic_part(recipe, corpus, 16, None, 1)
    sizes = network_sizes(architecture_of(recipe, part.sizes), recipe.tasks)
    assert sizes == counted(plan_sizes.meta_network(recipe, part))


def test_a_frozen_trunk_has_no_weights_but_its_width(recipe):
    recipe = replace(recipe, model=replace(recipe.model, freeze_after=0))
    corpus = plan_sizes.Corpus(10, 8, 300, 50, "")
    part = plan_sizes.synthetic_part(recipe, corpus, 16, {"hidden_size": 48}, 1)
    assert part.sizes.features == 48
    sizes = network_sizes(architecture_of(recipe, part.sizes), recipe.tasks)
    assert sizes == counted(plan_sizes.meta_network(recipe, part))


def test_the_sizes_of_a_part_are_read_without_its_texts(part, recipe, tmp_path):
    tokens.save_encoded(tmp_path / "plain.npz", part)
    assert tokens.load_sizes(tmp_path / "plain.npz") == part.sizes
    frozen = replace(recipe, model=replace(recipe.model, freeze_after=0))
    corpus = plan_sizes.Corpus(10, 8, 300, 0, "")
    features_part = plan_sizes.synthetic_part(frozen, corpus, 16, {"hidden_size": 48}, 2)
    tokens.save_encoded(tmp_path / "features.npz", features_part, [features_part.features], 48)
    assert tokens.load_sizes(tmp_path / "features.npz") == features_part.sizes
