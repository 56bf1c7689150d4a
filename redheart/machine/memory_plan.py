"""The memory that training takes, and the fastest way to stay within a budget, without torch.

Sizes are in bytes. Predictions are for a window of the longest texts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from redheart.encoding.tokens import PartSizes
from redheart.errors import UserError, did_you_mean
from redheart.machine.device import device_type, precision
from redheart.machine.tiers import TIERS, Tier, keeps, training_precision
from redheart.recipe.model_options import Architecture, BackboneSize, resolve
from redheart.recipe.sizes import Sizes, network_sizes, stacks
from redheart.recipe.training_options import Recipe, TrainOptions

# By what share a prediction may fall short of the memory that training then takes.
ERROR = 0.1
AUTO = "auto"


@dataclass(frozen=True)
class MemoryPlan:
    """A tier, the memory that training takes in it, and why it was chosen."""

    tier: Tier = TIERS[0]
    """What training keeps, and where."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each part on the device; their sum is the peak."""
    budget_gb: float = math.inf
    """The bytes that the parts may take, in 10^9."""
    why: str = "no budget was given"
    """The reason in words."""
    refused: str | None = None
    """Why training must not begin, and what to change."""

    @property
    def peak(self) -> int:
        """The highest memory that training takes on the device, in bytes."""
        return sum(self.parts.values())

    def facts(self) -> dict[str, Any]:
        """Return the columns of the ledger."""
        return {"memory_tier": self.tier.name, "predicted_peak_bytes": self.peak}

    def tell(self) -> None:
        """Say on stderr which tier is taken, and why, unless it is the fastest."""
        if self.tier != TIERS[0]:
            peak = f"{self.peak / 1e9:.2g} of {self.budget_gb:g} GB at its peak"
            print(f"memory.tier: {self.tier.name}, {peak} ({self.why})", file=sys.stderr)

    def check(self) -> None:
        """Refuse a training that cannot fit.

        Raises
        ------
        UserError
            No tier fits, or the tier that the config names does not fit.
        """
        if self.refused:
            raise UserError(self.refused)


# The fastest tier, whatever memory it takes.
UNLIMITED = MemoryPlan()


def choose(
    recipe: Recipe, part: PartSizes, budget_gb: float, tier: str = AUTO, devices: int = 1
) -> MemoryPlan:
    """Return the fastest tier that fits the budget, with some room for the prediction's error.

    Parameters
    ----------
    part
        Sizes of the training part.
    budget_gb
        What training may take on its device, in 10^9 bytes.
    tier
        `auto`, or the name of the tier to take whether it is the fastest or not.
    devices
        Processes that divide weights, gradients, states and average among them; each process has
        the whole budget.

    Raises
    ------
    UserError
        There is no such tier, or it does not work with `train.precision` or several devices.
    """
    if tier != AUTO:
        return _named(recipe, part, budget_gb, tier, devices)
    tried: list[MemoryPlan] = []
    for usable in (usable for usable in TIERS if not _clash(usable, recipe.train, devices)):
        plan = MemoryPlan(usable, predict(recipe, part, usable, devices), budget_gb)
        if plan.peak * (1 + ERROR) <= budget_gb * 1e9:
            return replace(plan, why=_reason(tried))
        tried.append(plan)
    smallest = min(tried, key=lambda plan: plan.peak)
    return replace(tried[0], why="no tier fits", refused=_refusal(smallest, recipe.train))


def _named(
    recipe: Recipe, part: PartSizes, budget_gb: float, name: str, devices: int
) -> MemoryPlan:
    tiers = {tier.name: tier for tier in TIERS}
    if name not in tiers:
        hint = did_you_mean(name, [AUTO, *tiers])
        raise UserError(f"memory.tier: there is no tier '{name}'{hint}")
    if clash := _clash(tiers[name], recipe.train, devices):
        raise UserError(f"memory.tier: {name} {clash}")
    parts = predict(recipe, part, tiers[name], devices)
    plan = MemoryPlan(tiers[name], parts, budget_gb, "it is asked for")
    refused = None if plan.peak <= budget_gb * 1e9 else _refusal(plan, recipe.train)
    return replace(plan, refused=refused)


def _clash(tier: Tier, options: TrainOptions, devices: int) -> str | None:
    """Return why a tier does not work with these options, and what to set; None: it works."""
    if tier.weights != "fp32" and options.precision == "fp32":
        return (
            "holds weights in 16 bits, which train.precision: fp32 does not multiply; set "
            "train.precision: bf16, or auto"
        )
    if tier.weights_on_cpu and options.precision == "fp16":
        return "does not go with train.precision: fp16; set train.precision: bf16, or auto"
    if devices > 1 and (tier.weights != "fp32" or tier.states_on_cpu or tier.average_on_cpu):
        return f"is for one device, and train.devices is {devices}; set memory.tier: {AUTO}"
    return None


def _reason(too_large: list[MemoryPlan]) -> str:
    if not too_large:
        return "the fastest, and it fits"
    last = too_large[-1]
    return f"the fastest that fits; {last.tier.name} would take {last.peak / 1e9:.1f} GB"


def _refusal(smallest: MemoryPlan, options: TrainOptions) -> str:
    auto = "train.precision: auto, " if options.precision == "fp32" else ""
    return (
        f"training takes {smallest.peak / 1e9:.2g} GB at its peak even with memory.tier: "
        f"{smallest.tier.name}, and memory.budget_gb is {smallest.budget_gb:g} (a tenth of which "
        f"stays free); lower train.batch_size or train.max_tokens, choose {auto}a smaller "
        "model.preset, or raise the budget if the memory is there"
    )


# What cuBLAS keeps for the two threads that multiply (forward and backward pass), in bytes:
# read off an H100 with torch 2.11 (docs/results-gpu.md). Older GPUs get a quarter of it from torch.
WORKSPACES = 68_157_440


def predict(recipe: Recipe, part: PartSizes, tier: Tier, devices: int = 1) -> dict[str, int]:
    """Return the bytes of each part of training on its device; their sum is the peak.

    With one micro-batch in a window the sum is an upper bound, since gradients arrive while
    activations are freed. Each of several devices holds its share of weights, gradients, states and
    average. The weights that a device gathers while it computes with them are left out.
    """
    options = training_precision(recipe.train, tier)
    architecture = architecture_of(recipe, part)
    sizes = network_sizes(architecture, recipe.tasks)
    moved = device_type(options) != "cpu"
    training = keeps(tier, sizes.total, sizes.compact)
    weight_bytes = training.weight_bytes
    # Beside the layer or block that is computed, the device holds the weights that are in no layer
    # or block. If they learn from detached features, they and their gradients stay up to the end of
    # the backward pass. Embeddings get gradients, twice for a moment, when no activations are left.
    streamed = tier.weights_on_cpu
    gathered = 4 * (sizes.apart + sizes.largest_layer) if streamed else 0
    trunk = 4 * sizes.trunk_apart if streamed else 0
    resident = 0 if streamed and moved else weight_bytes
    parts = {
        "weights": resident + gathered + trunk,
        "gradients": resident + gathered,
        "optimizer": 0 if tier.states_on_cpu and moved else training.states,
        "average": 0 if tier.average_on_cpu and moved else 4 * sizes.total,
    }
    workspaces = WORKSPACES if moved else 0
    casts = _casts(sizes, tier, options)
    rows = options.batch_size * (2 if options.rdrop > 0 else 1)
    acting = _activations(architecture, part, rows, precision(options) != "fp32", tier.recompute)
    updating = _update_temporaries(sizes, tier, moved)
    # The update ratios at an epoch's end take three float32 copies of a tensor. By then there are
    # no gradients.
    ratios = 12 * sizes.largest - weight_bytes
    step = max(casts + acting, updating, ratios, trunk)
    copies = min(casts, step)
    parts = {name: -(-size // devices) for name, size in parts.items()}
    return {
        **parts,
        "16-bit copies": copies,
        "activations and temporaries": step - copies,
        "workspaces": workspaces,
    }


def architecture_of(recipe: Recipe, part: PartSizes) -> Architecture:
    """Return the architecture with the backbone that the part is made for."""
    sizes = part.vocab_size, part.max_tokens, part.lexicon_size
    architecture = resolve(recipe.model, recipe.tasks, *sizes)
    if part.features:
        return replace(architecture, backbone=BackboneSize(part.features, 0, 1, 0))
    if part.trunk is None:
        return architecture
    width, trunk = part.trunk["hidden_size"], part.trunk
    # Encoders hardly differ in what matters here; embeddings of positions are like tokens'.
    rows = trunk.get("vocab_size", 0) + trunk.get("max_position_embeddings", 0)
    layers, heads = trunk["num_hidden_layers"], trunk.get("num_attention_heads", 1)
    backbone = BackboneSize(width, layers, heads, trunk.get("intermediate_size", 4 * width))
    return replace(architecture, backbone=backbone, vocab_size=rows)


def _casts(sizes: Sizes, tier: Tier, options: TrainOptions) -> int:
    """Return the bytes of the 16-bit copies that autocast makes of weights for a micro-batch."""
    if precision(options) == "fp32":
        return 0
    if tier.weights_on_cpu:
        return 2 * sizes.largest_layer
    as_they_are = tier.weights == precision(options)
    return 2 * (sizes.linear - (sizes.compact if as_they_are else 0))


def _update_temporaries(sizes: Sizes, tier: Tier, moved: bool) -> int:
    if tier.states == "8bit":
        return 40 * min(sizes.largest_compact, CHUNK)
    # float32 copies of a tensor's weight and gradient; on a GPU they are made in main memory.
    return 8 * sizes.largest_compact if tier.weights == "bf16" and not moved else 0


# Values that AdamW with 8-bit states decodes and updates at once.
CHUNK = 1 << 20


def _activations(
    sizes: Architecture, part: PartSizes, rows: int, half: bool, recompute: bool
) -> int:
    """Return the most bytes that the forward pass of a micro-batch of `rows` texts keeps.

    A value of the residual stream takes 4 bytes (float32), a factor of a product takes `a` bytes.
    """
    a = 2 if half else 4
    d, hidden = sizes.backbone.dimension, sizes.backbone.feedforward
    layers = sizes.backbone.layers if sizes.freeze_after != 0 else 0
    tokens = rows * part.max_tokens
    # The inputs of two norms; their outputs, query, key and value (in one tensor), query and key
    # rotated, the attention's output; the hidden layer before and after GELU.
    layer = 8 * d + a * (8 * d + 2 * hidden)
    # Beside a layer: its gradients in the backward pass.
    backwards = 4 * d + 2 * a * hidden
    backbone = (4 * d if recompute else layer) * layers + 8 * d
    analyzers = sum((4 * d if half else 0) for _ in sizes.neural)
    analyzers += sum(2 * a * q.width + (2 * d if half else 0) for q in sizes.advanced.values())
    peak = max(analyzers, (layer - 4 * d if recompute else 0) + backwards if layers else 0)
    return tokens * (backbone + peak) + rows * _per_text(sizes, a)


def _per_text(sizes: Architecture, a: int) -> int:
    """Return the bytes that the modules behind the backbone keep for a text of any length."""
    signal = sizes.signal
    size = 0
    if sizes.signal_task:
        # Complex spectra, envelopes and their smoothing; a filter's prediction, gain and state.
        size += 32 * signal.segments * signal.channels * signal.filters
        size += 20 * signal.segments * signal.states
    # A block keeps its norm's input and output, and the doubled width before and after GELU.
    return size + sum(stack.width * (8 + stack.blocks * (4 + 5 * a)) for stack in stacks(sizes))
