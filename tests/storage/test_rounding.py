"""Rounded checkpoints take half the bytes, and training still goes on from every bit."""

from __future__ import annotations

import pytest
import torch

from redheart.model.states import module_states
from redheart.recipe.training_options import CheckpointOptions
from redheart.storage import files, rounding
from redheart.storage.tensor_files import made
from redheart.storage.tensors import hash_modules, load_tensors
from redheart.training import state as training_state
from redheart.training.epochs import train_leg
from redheart.training.legs import Ancestor, Leg


def of(*tensors):
    return {"m": {str(number): tensor for number, tensor in enumerate(tensors)}}


def test_every_bit_comes_back_whatever_the_number():
    """Numbers of random bits, with NaN, infinities, subnormals and ties among them."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (1_000_000,), generator=generator).to(torch.int32)
    ties = (torch.arange(-(2**15), 2**15, dtype=torch.int32) << 16) + 0x8000
    states = of(bits.view(torch.float32), ties.view(torch.float32), torch.tensor(-0.0))
    halves = rounding.rounded(states), rounding.rest(states)
    assert {made(t).dtype for t in halves[0]["m"].values()} == {torch.bfloat16}
    assert {made(t).dtype for t in halves[1]["m"].values()} == {torch.int16}
    back = rounding.exact(*halves)
    assert hash_modules(back) == hash_modules(states)


def test_a_number_goes_to_the_nearest_as_torch_has_it():
    values = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    tie = (values.view(torch.int32) & 0xFFFF) == 0x8000
    rounded = made(rounding.rounded(of(values))["m"]["0"])
    assert torch.equal(rounded[~tie], values[~tie].bfloat16())
    assert torch.equal((rounded.float() - values).abs(), (values.bfloat16().float() - values).abs())


def test_what_is_no_float32_stays_as_it_is():
    states = of(torch.ones(3, dtype=torch.bfloat16), torch.arange(3))
    assert rounding.rounded(states) == states
    assert rounding.rest(states) == {"m": {}}
    assert rounding.exact(states, {"m": {}}) == states


def train(recipe, part, folder, ends, options):
    """Train legs up to the epochs `ends`; each starts from the files of the previous leg only."""
    ancestor, parent = None, None
    for start, stop in zip([0, *ends], ends, strict=False):
        state = training_state.prepare(recipe, part, 1e-2, 0)
        statistics = train_leg(state, part, Leg(start, stop), ancestor)
        here = folder / str(stop)
        keys = {"key": str(stop), "parent": parent}
        hashes = training_state.save_leg(state, statistics, here, here / "state", keys, options)
        assert hashes == {"weights": files.sha256_file(here / "weights")}
        ancestor, parent = Ancestor(here / "weights", here / "state", stop), str(stop)
    return state, files.read_json(here / "manifest"), load_tensors(here / "weights")


@pytest.mark.slow
@pytest.mark.parametrize("ema", [True, False])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_what_a_checkpoint_holds_changes_no_bit_of_training(recipe, part, tmp_path, dtype, ema):
    """Three legs of two epochs equal one leg of six, with rounded and unrounded checkpoints."""
    options = CheckpointOptions(dtype, ema)
    whole, _, _ = train(recipe, part, tmp_path / "whole", [6], CheckpointOptions())
    one, manifest_of_one, _ = train(recipe, part, tmp_path / "one", [6], options)
    three, manifest, saved = train(recipe, part, tmp_path / "three", [2, 4, 6], options)
    for state in (one, three):
        for now, expected in (
            (module_states(state.network), module_states(whole.network)),
            (state.average.state(), whole.average.state()),
        ):
            assert hash_modules(now) == hash_modules(expected)
    for key in ("weights", "ema", "state"):
        assert manifest[key] == manifest_of_one[key], key
    # The manifest has the hashes of the file, and the file has the rounded trained weights.
    expected = {"weights": module_states(three.network), "ema": three.average.state()}
    if dtype == "bf16":
        expected = {key: rounding.rounded(states) for key, states in expected.items()}
    assert ("ema" in saved) == ema
    assert manifest["ema"] == (hash_modules(saved["ema"]) if ema else {})
    for key in ("weights", "ema") if ema else ("weights",):
        hashes = hash_modules(saved[key])
        assert hashes == manifest[key] == hash_modules(expected[key])
