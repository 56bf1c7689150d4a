"""The sections of the config, with the options and defaults of each."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from redheart.crossover.stitch_recipe import CrossoverOptions
from redheart.data.corpus import CorpusOptions
from redheart.data.records import RecordOptions
from redheart.duplicates.removal import DedupOptions
from redheart.encoding.lexicon import LexiconOptions
from redheart.encoding.trunk import TrunkOptions
from redheart.machine.memory_plan import AUTO
from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import (
    CheckpointOptions,
    DeviceOptions,
    FusionOptions,
    PlanOptions,
    ScoringOptions,
    TrainOptions,
)
from redheart.split.parts import SplitOptions
from redheart.sweep.choice import ChoiceOptions
from redheart.sweep.halving import HalvingOptions
from redheart.sweet_spots.choice import SweetSpotOptions


@dataclass(frozen=True)
class DataOptions:
    """Where the records come from."""

    source: str = "demo"
    """Path of the corpus, or `demo` for the generated one."""


@dataclass(frozen=True)
class TokenizerOptions:
    """The byte-level BPE tokenizer."""

    vocab_size: int = 8000
    """Number of tokens, the 256 bytes and the padding token among them; 300 or more."""


@dataclass(frozen=True)
class EncodingOptions:
    """How a text becomes tokens."""

    max_tokens: int = 512
    """Tokens kept per text, from its beginning; 8 or more."""


@dataclass(frozen=True)
class SweepOptions:
    """The learning-rate sweep."""

    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
    """Rates to try; above 0."""
    epochs: int = 5
    """Epochs per rate; 1 or more, at most those of the schedule."""
    seeds: tuple[int, ...] = (0,)
    """A repeat of every rate per seed; three or more make the choice aware of noise."""


@dataclass(frozen=True)
class EvaluationOptions:
    """The comparison of candidates."""

    resamples: int = 1000
    """Bootstrap resamples behind every interval; 100 or more."""


@dataclass(frozen=True)
class MemoryOptions:
    """What training may use."""

    budget_gb: float = 8.0
    """What training may take on its device, in 10^9 bytes; above 0."""
    tier: str = AUTO
    """How it keeps within that: auto (the fastest way that fits), or the name of one."""


@dataclass(frozen=True)
class StoreOptions:
    """The store of results, shared by all runs."""

    path: str = ".redheart/store"
    """Its folder, from the working folder; best on the file system of `results/`."""
    keep_last: int = 2
    """Training states that are kept, the latest ones; 1 or more."""
    keep_every: int = 5
    """Besides them, every k-th training state is kept; 1 or more."""
    snapshot_minutes: float = 10.0
    """Minutes of training that a kill can cost at most; 0 or more."""


# Which settings live under which top-level key. Some sections serve several steps: their settings
# are divided so that a change reaches only the steps that it concerns.
SECTIONS: dict[str, tuple[type, ...]] = {
    "data": (DataOptions, RecordOptions),
    "demo": (CorpusOptions,),
    "dedup": (DedupOptions,),
    "split": (SplitOptions,),
    "tokenizer": (TokenizerOptions,),
    "lexicon": (LexiconOptions,),
    "model": (ModelOptions, TrunkOptions),
    "sweep": (SweepOptions, ChoiceOptions, HalvingOptions),
    "train": (PlanOptions, DeviceOptions, TrainOptions, EncodingOptions, ScoringOptions),
    "checkpoints": (CheckpointOptions,),
    "fusion": (FusionOptions,),
    "sweet_spots": (SweetSpotOptions,),
    "crossover": (CrossoverOptions,),
    "evaluation": (EvaluationOptions,),
    "memory": (MemoryOptions,),
    "store": (StoreOptions,),
}


def defaults() -> dict[str, Any]:
    """Return every setting that has a default, nested as in the config file."""
    sections: dict[str, Any] = {
        name: {
            field.name: _plain(field.default)
            for kind in kinds
            for field in fields(kind)
            if field.default is not MISSING
        }
        for name, kinds in SECTIONS.items()
    }
    sections["train"]["schedule_epochs"] = None
    return {"run": "demo", "seeds": [0], "stratify_by": None, **sections}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
