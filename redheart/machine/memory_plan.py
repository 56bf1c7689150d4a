"""What training takes of memory, and the cheapest way to keep within a budget: no torch is needed.

Sizes are bytes; predictions are those of a window of the longest texts.
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

# By how much a prediction may fall short of what training then takes.
ERROR = 0.1
AUTO = "auto"


@dataclass(frozen=True)
class MemoryPlan:
    """A tier, what training takes in it, and why it was chosen."""

    tier: Tier = TIERS[0]
    """What is kept, and where."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """What each part takes on the device; all together are the peak."""
    budget_gb: float = math.inf
    """What they may take, in 10^9 bytes."""
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
        """Say on stderr that not everything is kept as it is fastest, and why."""
        if self.tier != TIERS[0]:
            peak = f"{self.peak / 1e9:.2g} of {self.budget_gb:g} GB at its peak"
            print(f"memory.tier: {self.tier.name}, {peak} ({self.why})", file=sys.stderr)

    def key(self, options: TrainOptions) -> dict[str, Any]:
        """Return what of the tier changes the bits of training; it is part of a leg's key.

        To compute activations anew gives the same numbers, and so does another place but for this:
        a CPU's arithmetic may differ from a GPU's in the last bit.
        """
        switches = ["weights", "states"] if self.tier.weights != "fp32" else []
        if switches or device_type(options) != "cpu":
            switches.append("states_on_cpu")
        if device_type(options) != "cpu":
            switches.append("average_on_cpu")
            if self.tier.weights_on_cpu:  # else no word of it: older keys have none
                switches.append("weights_on_cpu")
        changed = {name: getattr(self.tier, name) for name in switches}
        usual = {name: getattr(TIERS[0], name) for name in switches}
        return {"memory": changed} if changed != usual else {}

    def check(self) -> None:
        """Refuse what cannot fit.

        Raises
        ------
        UserError
            No tier fits, or the one that is asked for does not.
        """
        if self.refused:
            raise UserError(self.refused)


# Everything as it is fastest, whatever it takes.
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
        Processes that divide weights, gradients, states and average among them; the budget is each
        one's.

    Raises
    ------
    UserError
        There is no such tier, or it does not go with `train.precision`.
    """
    if tier != AUTO:
        return _named(recipe, part, budget_gb, tier, devices)
    tried: list[MemoryPlan] = []
    for each in (each for each in TIERS if not _clash(each, recipe.train, devices)):
        found = MemoryPlan(each, predict(recipe, part, each, devices), budget_gb)
        if found.peak * (1 + ERROR) <= budget_gb * 1e9:
            return replace(found, why=_reason(found, tried))
        tried.append(found)
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
    found = MemoryPlan(tiers[name], parts, budget_gb, "it is asked for")
    refused = None if found.peak <= budget_gb * 1e9 else _refusal(found, recipe.train)
    return replace(found, refused=refused)


def _clash(tier: Tier, options: TrainOptions, devices: int) -> str | None:
    """Return why a tier cannot be taken under these options, and what to set; None: it can."""
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


def _reason(found: MemoryPlan, tried: list[MemoryPlan]) -> str:
    if not tried:
        return "the fastest, and it fits"
    before = tried[-1]
    return f"the fastest that fits; {before.tier.name} would take {before.peak / 1e9:.1f} GB"


def _refusal(smallest: MemoryPlan, options: TrainOptions) -> str:
    auto = "train.precision: auto, " if options.precision == "fp32" else ""
    return (
        f"training takes {smallest.peak / 1e9:.2g} GB at its peak even with memory.tier: "
        f"{smallest.tier.name}, and memory.budget_gb is {smallest.budget_gb:g} (a tenth of which "
        f"stays free); lower train.batch_size or train.max_tokens, choose {auto}a smaller "
        "model.preset, or raise the budget if the memory is there"
    )


def predict(recipe: Recipe, part: PartSizes, tier: Tier, devices: int = 1) -> dict[str, int]:
    """Return what each part of training takes on its device; together they are the peak.

    With one micro-batch in a window it is an upper bound, since gradients come as activations go.
    Of several devices each has its share of what is kept; what it gathers of the others' for as
    long as it computes with that is left out.
    """
    options = training_precision(recipe.train, tier)
    architecture = architecture_of(recipe, part)
    sizes = network_sizes(architecture, recipe.tasks)
    moved = device_type(options) != "cpu"
    kept = keeps(tier, sizes.total, sizes.compact)
    held = kept.weight_bytes
    # Beside the layer or block that is computed there is what is in none: what of that learns from
    # detached features waits with its gradients for the end of the backward pass. Embeddings get
    # theirs, twice for a moment, when no activations are left.
    streamed = tier.weights_on_cpu
    gathered = 4 * (sizes.apart + sizes.largest_layer) if streamed else 0
    trunk = 4 * sizes.trunk_apart if streamed else 0
    whole = 0 if streamed and moved else held
    parts = {
        "weights": whole + gathered + trunk,
        "gradients": whole + gathered,
        "optimizer": 0 if tier.states_on_cpu and moved else kept.states,
        "average": 0 if tier.average_on_cpu and moved else 4 * sizes.total,
    }
    casts = _casts(sizes, tier, options)
    rows = options.batch_size * (2 if options.rdrop > 0 else 1)
    acting = _activations(architecture, part, rows, precision(options) != "fp32", tier.recompute)
    updating = _update_temporaries(sizes, tier, moved)
    # The ratios of an epoch's last update take three float32 copies of a tensor, without gradients.
    ratios = 12 * sizes.largest - held
    step = max(casts + acting, updating, ratios, trunk)
    copies = min(casts, step)
    parts = {name: -(-size // devices) for name, size in parts.items()}
    return {**parts, "16-bit copies": copies, "activations and temporaries": step - copies}


def architecture_of(recipe: Recipe, part: PartSizes) -> Architecture:
    """Return the architecture with the backbone that the part is made for."""
    own = resolve(recipe.model, recipe.tasks, part.vocab_size, part.max_tokens, part.lexicon_size)
    if part.features:
        return replace(own, backbone=BackboneSize(part.features, 0, 1, 0))
    if part.trunk is None:
        return own
    width, trunk = part.trunk["hidden_size"], part.trunk
    # Encoders differ in little that matters here: their embeddings of positions are like tokens'.
    rows = trunk.get("vocab_size", 0) + trunk.get("max_position_embeddings", 0)
    layers, heads = trunk["num_hidden_layers"], trunk.get("num_attention_heads", 1)
    backbone = BackboneSize(width, layers, heads, trunk.get("intermediate_size", 4 * width))
    return replace(own, backbone=backbone, vocab_size=rows)


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


# Values that are updated at once where they must be decoded for it.
CHUNK = 1 << 20


def _activations(
    sizes: Architecture, part: PartSizes, rows: int, half: bool, recompute: bool
) -> int:
    """Return what a micro-batch of `rows` texts keeps from its forward pass, at its highest.

    A residual stream stays in float32 (4 bytes); what is multiplied has `a` bytes.
    """
    a = 2 if half else 4
    d, hidden = sizes.backbone.dimension, sizes.backbone.feedforward
    layers = sizes.backbone.layers if sizes.freeze_after != 0 else 0
    tokens = rows * part.max_tokens
    # Inputs of two norms; what they give, query, key and value (these twice: rotated and not, with
    # the value in the middle), the attention's answer; the hidden layer before and after GELU.
    layer = 8 * d + a * (8 * d + 2 * hidden)
    # The gradients of a layer on their way, beside it.
    backwards = 4 * d + 2 * a * hidden
    backbone = (4 * d if recompute else layer) * layers + 8 * d
    others = sum((4 * d if half else 0) for _ in sizes.neural)
    others += sum(2 * a * q.width + (2 * d if half else 0) for q in sizes.advanced.values())
    peak = max(others, (layer - 4 * d if recompute else 0) + backwards if layers else 0)
    return tokens * (backbone + peak) + rows * _per_text(sizes, a)


def _per_text(sizes: Architecture, a: int) -> int:
    """Return what the modules behind the backbone keep of a text, whatever its length."""
    signal = sizes.signal
    kept = 0
    if sizes.signal_task:
        # Complex spectra, envelopes and their smoothing; a filter's prediction, gain and state.
        kept += 32 * signal.segments * signal.channels * signal.filters
        kept += 20 * signal.segments * signal.states
    # Input of a block's norm, what it gives, and twice the doubled width around GELU.
    return kept + sum(each.width * (8 + each.blocks * (4 + 5 * a)) for each in stacks(sizes))
