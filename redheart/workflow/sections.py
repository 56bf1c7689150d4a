"""The keys of the config, by section: the dataclasses with these fields, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, NamedTuple

from redheart.crossover.stitch_recipe import CrossoverOptions
from redheart.data.corpus import CorpusOptions
from redheart.data.records import RecordOptions
from redheart.duplicates.removal import DedupOptions
from redheart.encoding.lexicon import LexiconOptions
from redheart.encoding.trunk import TrunkOptions
from redheart.evaluation.decisions import DecisionOptions
from redheart.limits import (
    LARGEST_SEED,
    Above,
    AtLeast,
    AtMost,
    Distinct,
    Hint,
    Matching,
    MostItems,
    NotEmpty,
    OneOf,
)
from redheart.machine.memory_plan import AUTO
from redheart.machine.tiers import TIERS
from redheart.recipe.model_options import ModelOptions
from redheart.recipe.training_options import (
    CheckpointOptions,
    DeviceOptions,
    FusionOptions,
    LegOptions,
    ScoringOptions,
    TrainOptions,
)
from redheart.split.parts import SplitOptions
from redheart.sweep.choice import ChoiceOptions
from redheart.sweep.halving import HalvingOptions
from redheart.sweet_spots.choice import SweetSpotOptions
from redheart.tasks.task import Task

Seeds = Annotated[
    tuple[Annotated[int, AtLeast(0), AtMost(LARGEST_SEED)], ...],
    NotEmpty(),
    MostItems(100),
    Distinct(),
]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The keys that stand in no section."""

    run: Annotated[
        str,
        Matching("^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"),
        Hint("expected at most 100 letters, digits, - and _"),
    ]
    """Name of the run: its folder below `results/`, which no other config should share."""
    seeds: Seeds = (0,)
    """Seeds of the main training; each is trained and evaluated by itself."""
    tasks: Annotated[Mapping[str, Task], NotEmpty()]
    """What is learned, by name."""
    stratify_by: str | None = None
    """Field whose values have equal shares in all parts; null: none."""


@dataclass(frozen=True)
class DataOptions:
    """Where the records come from."""

    source: Annotated[str, NotEmpty()] = "demo"
    """Path of the corpus (JSON, JSON Lines, CSV or TSV, each plain or .gz; Parquet; a folder of
    `datasets`), or `demo` for the generated one."""
    corrections: str | None = None
    """Path of a file with the columns id, field and value, which changes labels and drops records,
    as `redheart review` writes it; null: none (docs/mislabelled.md)."""


@dataclass(frozen=True)
class TokenizerOptions:
    """The byte-level BPE tokenizer."""

    vocab_size: Annotated[int, AtLeast(300), AtMost(1_000_000)] = 8000
    """Number of tokens, the 256 bytes and the padding token among them."""


@dataclass(frozen=True)
class EncodingOptions:
    """How a text becomes tokens."""

    max_tokens: Annotated[int, AtLeast(8), AtMost(131_072)] = 512
    """Tokens kept per text, from its beginning."""


@dataclass(frozen=True)
class SweepOptions:
    """The learning-rate sweep."""

    learning_rates: Annotated[
        tuple[Annotated[float, Above(0), AtMost(1_000)], ...],
        NotEmpty(),
        MostItems(100),
        Distinct(),
    ] = (
        1e-5,
        3e-5,
        1e-4,
        3e-4,
        1e-3,
    )
    """Learning rates to try."""
    epochs: Annotated[int, AtLeast(1), AtMost(100_000)] = 5
    """Epochs per rate; never more than those of the schedule."""
    seeds: Seeds = (0,)
    """Every rate is tried with each of these seeds; from three on the choice allows for noise."""


@dataclass(frozen=True)
class EvaluationOptions:
    """The comparison of candidates."""

    resamples: Annotated[int, AtLeast(100), AtMost(100_000)] = 1000
    """Bootstrap resamples behind every interval."""


@dataclass(frozen=True)
class DataMapOptions:
    """The search for mislabelled records."""

    enabled: bool = True
    """Whether every checkpoint judges every record, and suspected labels are named."""
    false_discovery_rate: Annotated[float, AtLeast(0.001), AtMost(0.5)] = 0.1
    """Share of the named records, at most and on average, whose labels are right after all."""


@dataclass(frozen=True)
class MemoryOptions:
    """What training may use."""

    budget_gb: Annotated[float, Above(0), AtMost(100_000)] = 8.0
    """What training may take on its device, in 10^9 bytes."""
    tier: Annotated[str, OneOf([AUTO, *(tier.name for tier in TIERS)])] = AUTO
    """How training keeps within `budget_gb`. `auto`: the fastest tier that fits; otherwise the
    tier of that name."""


@dataclass(frozen=True)
class StoreOptions:
    """The store of results, shared by all runs."""

    path: Annotated[str, NotEmpty()] = ".redheart/store"
    """Folder of the store, from the working folder; best on the file system of `results/`."""
    keep_last: Annotated[int, AtLeast(1), AtMost(1_000_000)] = 2
    """Number of the latest training states that are kept."""
    keep_every: Annotated[int, AtLeast(1), AtMost(1_000_000)] = 5
    """Every k-th training state is kept besides the latest ones."""
    snapshot_minutes: Annotated[float, AtLeast(0), AtMost(1_000_000)] = 10.0
    """Minutes of training that a kill can cost at most."""


@dataclass(frozen=True)
class ReleaseOptions:
    """What the card of an exported model says of licences and languages."""

    model_license: str = ""
    """Licence of the model, best as the hub names it (`apache-2.0`); empty: not stated."""
    data_license: str = ""
    """Licence of the data; empty: not stated."""
    trunk_license: str = ""
    """Licence of the pretrained trunk; empty: not stated."""
    language: Annotated[tuple[Annotated[str, NotEmpty()], ...], MostItems(100), Distinct()] = ()
    """Languages of the texts, as the hub names them (`en`, `ko`)."""


@dataclass(frozen=True)
class ReportOptions:
    """What the report writes beside its page."""

    figures: Annotated[tuple[Literal["svg", "pdf", "png"], ...], MostItems(3), Distinct()] = (
        "svg",
        "pdf",
        "png",
    )
    """Formats of the figures as files of their own; the page holds them in any case. PDF and PNG
    take more time than all the rest of the report."""


class Section(NamedTuple):
    """A key of the config that holds other keys."""

    about: str
    """What these keys are about, and the page that tells more."""
    kinds: tuple[type, ...]
    """The dataclasses whose fields these keys are. A section that serves several steps has several
    dataclasses, so that a change reaches only the steps that it concerns."""


SECTIONS: dict[str, Section] = {
    "data": Section(
        "Where the records come from (docs/sources.md).",
        (DataOptions, RecordOptions),
    ),
    "demo": Section(
        "The generated demo corpus.",
        (CorpusOptions,),
    ),
    "dedup": Section(
        "Phase 0: which near-duplicates are removed (docs/near_duplicates.md).",
        (DedupOptions,),
    ),
    "split": Section(
        "Phase 0: the four parts, whose shares sum to 1 (docs/phases.md).",
        (SplitOptions,),
    ),
    "tokenizer": Section(
        "The byte-level BPE tokenizer, trained on the training part.",
        (TokenizerOptions,),
    ),
    "lexicon": Section(
        "The n-grams that the lexical branches read, chosen on the training part.",
        (LexiconOptions,),
    ),
    "model": Section(
        "The network: a preset, and what differs from it; null: as in the preset (docs/phases.md; "
        "of a pretrained trunk: docs/pretrained.md).",
        (ModelOptions, TrunkOptions),
    ),
    "sweep": Section(
        "Phase 1: which learning rate (docs/choosing.md).",
        (SweepOptions, ChoiceOptions, HalvingOptions),
    ),
    "train": Section(
        "Phase 2: the main training; the sweep trains in the same way (docs/phases.md).",
        (LegOptions, DeviceOptions, TrainOptions, EncodingOptions, ScoringOptions),
    ),
    "checkpoints": Section(
        "What a checkpoint holds; training goes on exactly from any (docs/checkpoints.md).",
        (CheckpointOptions,),
    ),
    "fusion": Section(
        "How the contributions of a task's modules become its prediction (docs/phases.md).",
        (FusionOptions,),
    ),
    "sweet_spots": Section(
        "Phase 3: the best epoch of each module group (docs/choosing.md).",
        (SweetSpotOptions,),
    ),
    "crossover": Section(
        "Phase 4: the variants of the stitched model (docs/crossover.md).",
        (CrossoverOptions,),
    ),
    "evaluation": Section(
        "The comparison of candidates (docs/choosing.md).",
        (EvaluationOptions,),
    ),
    "decisions": Section(
        "How predictions become decisions (docs/deciding.md).",
        (DecisionOptions,),
    ),
    "data_map": Section(
        "Which records look mislabelled (docs/mislabelled.md).",
        (DataMapOptions,),
    ),
    "report": Section(
        "What the report writes beside its page (docs/report.md).",
        (ReportOptions,),
    ),
    "release": Section(
        "What `redheart export` tells of the model; no result depends on it (docs/export.md).",
        (ReleaseOptions,),
    ),
    "memory": Section(
        "What training may use (docs/memory.md).",
        (MemoryOptions,),
    ),
    "store": Section(
        "The store of results, shared by all runs (docs/running.md).",
        (StoreOptions,),
    ),
}

# Keys that are null in a config unless they are set: a step then takes the value of another key
# (`config.effective`).
NULL_BY_DEFAULT = {("train", "schedule_epochs")}


def defaults() -> dict[str, Any]:
    """Return every setting that has a default, nested as in the config file."""
    sections: dict[str, Any] = {
        name: {key: value for kind in section.kinds for key, value in defaults_of(kind).items()}
        for name, section in SECTIONS.items()
    }
    for section, key in NULL_BY_DEFAULT:
        sections[section][key] = None
    return {**defaults_of(RunOptions), **sections}


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the defaults of a dataclass's fields; tuples become lists, as in a config file."""
    return {
        field.name: list(field.default) if isinstance(field.default, tuple) else field.default
        for field in fields(kind)
        if field.default is not MISSING
    }
