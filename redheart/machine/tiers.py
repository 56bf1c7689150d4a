"""The ways to keep a training in memory, from the fastest to the smallest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from redheart.machine.device import device_type, precision
from redheart.recipe.training_options import TrainOptions


class Kept(NamedTuple):
    """What training keeps of a network, in memory and in its files."""

    weights: int
    """Number of the network's weights."""
    compact: int
    """How many of them are kept in bf16, the others in float32."""
    states: int
    """Bytes of the optimizer's states."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights."""
        return 4 * self.weights - 2 * self.compact


@dataclass(frozen=True)
class Tier:
    """What training keeps, in how many bits and where."""

    name: str
    """Its name in the config."""
    weights: Literal["fp32", "bf16"] = "fp32"
    """The type of the weights of linear layers, small ones aside, and of their gradients."""
    states: Literal["fp32", "8bit"] = "fp32"
    """The type of the optimizer's states of weights in bf16."""
    states_on_cpu: bool = False
    """Whether the states lie in main memory; the optimizer steps there with float32 weights."""
    average_on_cpu: bool = False
    """Whether the moving average lies in main memory."""
    recompute: bool = False
    """Whether the activations of a backbone's layer are computed anew for its gradients."""
    weights_on_cpu: bool = False
    """Whether weights and gradients lie in main memory, and a layer or block of them is on the
    device only while it is computed."""


USUAL = Tier("fp32")
# From the fastest to the slowest. A tier without loss of precision gives the first's results.
TIERS = (
    USUAL,
    Tier("checkpointed", recompute=True),
    Tier("average_on_cpu", average_on_cpu=True, recompute=True),
    Tier("bf16_8bit", "bf16", "8bit"),
    Tier("bf16_8bit_average_on_cpu", "bf16", "8bit", average_on_cpu=True),
    Tier("bf16_8bit_checkpointed", "bf16", "8bit", average_on_cpu=True, recompute=True),
    Tier("offloaded", states_on_cpu=True, average_on_cpu=True, recompute=True),
    Tier("bf16_offloaded", "bf16", states_on_cpu=True, average_on_cpu=True, recompute=True),
    Tier("streamed", states_on_cpu=True, average_on_cpu=True, recompute=True, weights_on_cpu=True),
)


def switches(tier: Tier, options: TrainOptions) -> dict[str, Any]:
    """Return the switches of a tier that change the bits of training, for a leg's key.

    Recomputed activations are the same numbers. A tensor's place changes no number either, with
    one exception: a CPU's arithmetic may differ from a GPU's in the last bit.
    """
    names = ["weights", "states"] if tier.weights != "fp32" else []
    if names or device_type(options) != "cpu":
        names.append("states_on_cpu")
    if device_type(options) != "cpu":
        names.append("average_on_cpu")
        if tier.weights_on_cpu:  # otherwise left out, as in older keys
            names.append("weights_on_cpu")
    changed = {name: getattr(tier, name) for name in names}
    usual = {name: getattr(USUAL, name) for name in names}
    return {"memory": changed} if changed != usual else {}


def training_precision(options: TrainOptions, tier: Tier) -> TrainOptions:
    """Return the options with the precision that a tier trains in."""
    if tier.weights == "bf16" and precision(options) == "fp32":
        return replace(options, precision="bf16")
    return options


def keeps(tier: Tier, weights: int, compact: int) -> Kept:
    """Return what training keeps, wherever it lies.

    Parameters
    ----------
    weights
        Number of the network's weights.
    compact
        How many of them a tier may keep in bf16.
    """
    if tier.weights == "fp32":
        return Kept(weights, 0, 8 * weights)
    if tier.states == "fp32":  # and a float32 copy of the compact weights
        return Kept(weights, compact, 8 * weights + 4 * compact)
    # Two codes of 8 bits a weight, and two scales of 32 bits for each block of 256.
    states = 8 * (weights - compact) + compact * 2 + compact * 8 // 256
    return Kept(weights, compact, states)


def keeps_of(tier: Tier, network: Any) -> Kept:
    """Return what training keeps of a network that is made for a tier."""
    weights = list(network.parameters())
    compact = sum(weight.numel() for weight in weights if weight.dtype.itemsize == 2)
    return keeps(tier, sum(weight.numel() for weight in weights), compact)
