"""The network that is built: presets, overrides, and the resulting architecture for some tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from redheart.errors import UserError, did_you_mean
from redheart.limits import AtLeast, AtMost, Below, Distinct, MostItems, OneOf
from redheart.recipe.groups import ADVANCED, BACKBONE, DSP, HEAD, KALMAN, LEXICAL, NEURAL
from redheart.tasks.task import Task

# The row of a table of sizes for every task that has no row of its own.
ANY = "*"

Size = TypeVar("Size")


@dataclass(frozen=True)
class ModelOptions:
    """The network: a preset, and what differs from it; null: as the preset says."""

    preset: Annotated[str, OneOf([*PRESETS])] = "tiny"
    """Sizes of all modules. `tiny`: milliseconds a step on a CPU; `small`: minutes an epoch;
    `730m`: for a GPU."""
    dimension: Annotated[int | None, AtLeast(2), AtMost(16_384)] = None
    """Width of the backbone's features; an even multiple of `attention_heads`."""
    layers: Annotated[int | None, AtLeast(1), AtMost(512)] = None
    """Transformer layers in the backbone."""
    attention_heads: Annotated[int | None, AtLeast(1), AtMost(512)] = None
    """Attention heads of a layer."""
    feedforward: Annotated[int | None, AtLeast(1), AtMost(131_072)] = None
    """Hidden units in the feed-forward half of a layer."""
    dropout: Annotated[float | None, AtLeast(0), Below(1)] = None
    """Share of activations dropped in training, in every module."""
    advanced: Annotated[tuple[str, ...] | None, MostItems(1_000), Distinct()] = None
    """Tasks that get an advanced analyzer; null: emotion, regret and bentham where the config has
    them."""
    signal: bool | str | None = None
    """The distribution task that the signal chain (dsp and kalman) serves; true or null: the first
    one; false: there is no chain."""
    lexical: bool | None = None
    """Whether each task has a lexical branch, a linear model on the text's n-grams; null: true but
    for the preset `730m`."""
    freeze_after: Annotated[int | None, AtLeast(0), AtMost(100_000)] = None
    """Completed epochs after which the backbone learns no more. null: it always learns. 0: it never
    learns; its features are stored, and none of its weights are trained or saved."""

    @property
    def frozen(self) -> bool:
        """Tell whether the network reads stored features of a backbone that never learns."""
        return self.freeze_after == 0


@dataclass(frozen=True)
class BackboneSize:
    """Size of the Transformer encoder."""

    dimension: int
    """Width of the features."""
    layers: int
    """Number of layers."""
    attention_heads: int
    """Attention heads a layer."""
    feedforward: int
    """Hidden units of a layer's feed-forward half."""


@dataclass(frozen=True)
class StackSize:
    """Size of a residual perceptron; a block has about 4 * width**2 parameters."""

    width: int
    """Features between the blocks; twice as many inside."""
    blocks: int
    """Number of residual blocks; 0 or more."""


@dataclass(frozen=True)
class QuerySize:
    """Size of an advanced analyzer: learned queries that attend to the tokens."""

    queries: int
    """Number of learned queries."""
    width: int
    """Features of a query, and of the transformed tokens."""
    perceptron: StackSize
    """The perceptron that reads logits from the answers to all queries."""


@dataclass(frozen=True)
class SignalSize:
    """Size of the signal chain."""

    segments: int
    """Points in time that a text is cut into, whatever its length."""
    channels: int
    """Signals that are read from the features."""
    filters: int
    """Band-pass filters a channel."""
    series: int
    """Width of the series that dsp hands to kalman."""
    states: int
    """Scalar Kalman filters."""
    dsp: StackSize
    """The perceptron that reads dsp's logits from its series."""
    kalman: StackSize
    """The perceptron that reads kalman's logits from its states."""


@dataclass(frozen=True)
class Preset:
    """Default sizes of all modules."""

    backbone: BackboneSize
    """The shared encoder."""
    dropout: float
    """Share of activations dropped in training; 0 to below 1."""
    heads: Mapping[str, StackSize]
    """Heads, by task."""
    neural: Mapping[str, StackSize]
    """Neural analyzers, by task."""
    advanced: Mapping[str, QuerySize]
    """Advanced analyzers, by task."""
    signal: SignalSize
    """The signal chain."""
    advanced_tasks: tuple[str, ...] = ("emotion", "regret", "bentham")
    """Tasks that get an advanced analyzer where the config has them."""
    lexical: bool = True
    """Whether each task has a lexical branch."""


@dataclass(frozen=True)
class Architecture:
    """All sizes of one network, with nothing left to decide."""

    vocab_size: int
    """Number of token ids."""
    max_tokens: int
    """Longest text, in tokens."""
    dropout: float
    """Share of activations dropped in training; 0 to below 1."""
    backbone: BackboneSize
    """The shared encoder."""
    heads: Mapping[str, StackSize]
    """One head a task."""
    neural: Mapping[str, StackSize]
    """One neural analyzer a task."""
    signal_task: str | None
    """The task that the signal chain serves; None: there is no chain."""
    signal: SignalSize
    """The signal chain."""
    advanced: Mapping[str, QuerySize]
    """The advanced analyzers, by task."""
    lexical: tuple[str, ...]
    """Tasks with a lexical branch."""
    lexicon_size: int
    """Number of n-grams that the lexical branches know."""
    freeze_after: int | None = None
    """Completed epochs after which the backbone learns no more; None: never."""

    @property
    def module_names(self) -> tuple[str, ...]:
        """Names of all modules in canonical order, without a backbone that never learns."""
        return (
            *(() if self.freeze_after == 0 else (BACKBONE.name,)),
            *map(HEAD.of, self.heads),
            *map(NEURAL.of, self.neural),
            *((DSP.name, KALMAN.name) if self.signal_task else ()),
            *map(ADVANCED.of, self.advanced),
            *map(LEXICAL.of, self.lexical),
        )


PRESETS: Mapping[str, Preset] = {
    "tiny": Preset(
        backbone=BackboneSize(dimension=64, layers=2, attention_heads=4, feedforward=128),
        dropout=0.1,
        heads={ANY: StackSize(width=64, blocks=1)},
        neural={ANY: StackSize(width=64, blocks=1)},
        advanced={ANY: QuerySize(queries=4, width=32, perceptron=StackSize(width=64, blocks=1))},
        signal=SignalSize(
            segments=8,
            channels=8,
            filters=4,
            series=16,
            states=16,
            dsp=StackSize(width=32, blocks=1),
            kalman=StackSize(width=32, blocks=1),
        ),
    ),
    "small": Preset(
        backbone=BackboneSize(dimension=256, layers=4, attention_heads=4, feedforward=1024),
        dropout=0.1,
        heads={ANY: StackSize(width=256, blocks=1)},
        neural={ANY: StackSize(width=256, blocks=2)},
        advanced={ANY: QuerySize(queries=4, width=128, perceptron=StackSize(width=256, blocks=1))},
        signal=SignalSize(
            segments=16,
            channels=16,
            filters=8,
            series=32,
            states=32,
            dsp=StackSize(width=128, blocks=1),
            kalman=StackSize(width=64, blocks=1),
        ),
    ),
    # 740 M parameters with the tasks emotion, bentham, regret, surd and 32,000 token ids.
    "730m": Preset(
        backbone=BackboneSize(dimension=768, layers=9, attention_heads=12, feedforward=3200),
        dropout=0.1,
        heads={ANY: StackSize(width=1024, blocks=9)},
        neural={
            "emotion": StackSize(width=2048, blocks=7),
            "bentham": StackSize(width=1536, blocks=8),
            "regret": StackSize(width=2048, blocks=9),
            ANY: StackSize(width=512, blocks=12),
        },
        advanced={ANY: QuerySize(queries=8, width=896, perceptron=StackSize(width=1024, blocks=7))},
        signal=SignalSize(
            segments=32,
            channels=128,
            filters=16,
            series=256,
            states=512,
            dsp=StackSize(width=1024, blocks=3),
            kalman=StackSize(width=384, blocks=3),
        ),
        # The plan's table of sizes has no lexical branch.
        lexical=False,
    ),
}


def resolve(
    options: ModelOptions,
    tasks: Sequence[Task],
    vocab_size: int,
    max_tokens: int,
    lexicon_size: int = 0,
) -> Architecture:
    """Return the architecture that a preset, its overrides and the tasks give.

    Without a lexicon (`lexicon_size` 0) there is no lexical branch.

    Raises
    ------
    UserError
        The preset is unknown; an advanced analyzer is set for an unknown task; a signal chain is
        set, and there is no distribution task; or sizes do not fit each other.
    """
    preset = PRESETS.get(options.preset)
    if preset is None:
        raise _unknown("model.preset", "preset", options.preset, PRESETS)
    names = [task.name for task in tasks]
    lexical = preset.lexical if options.lexical is None else options.lexical
    return Architecture(
        vocab_size=vocab_size,
        max_tokens=max_tokens,
        dropout=preset.dropout if options.dropout is None else options.dropout,
        backbone=_backbone(options, preset),
        heads=_sizes(preset.heads, names),
        neural=_sizes(preset.neural, names),
        signal_task=_signal_task(options, tasks),
        signal=preset.signal,
        advanced=_sizes(preset.advanced, _advanced_tasks(options, preset, names)),
        lexical=tuple(names) if lexical and lexicon_size else (),
        lexicon_size=lexicon_size,
        freeze_after=options.freeze_after,
    )


def module_names(options: ModelOptions, tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return the names of all modules in canonical order."""
    # Names do not depend on the vocabulary, on the length of texts or on the size of the lexicon.
    return resolve(options, tasks, vocab_size=1, max_tokens=1, lexicon_size=1).module_names


def _sizes(table: Mapping[str, Size], tasks: Iterable[str]) -> dict[str, Size]:
    return {task: table.get(task, table[ANY]) for task in tasks}


def _backbone(options: ModelOptions, preset: Preset) -> BackboneSize:
    keys = ("dimension", "layers", "attention_heads", "feedforward")
    overrides = {key: getattr(options, key) for key in keys if getattr(options, key) is not None}
    size = replace(preset.backbone, **overrides)
    # Rotary positions turn pairs of features, so a head needs an even number of them.
    if size.dimension % (2 * size.attention_heads):
        raise UserError(
            f"model.dimension: {size.dimension} is no even multiple of model.attention_heads "
            f"({size.attention_heads}); choose a multiple of {2 * size.attention_heads}"
        )
    return size


def _signal_task(options: ModelOptions, tasks: Sequence[Task]) -> str | None:
    suitable = [task.name for task in tasks if task.kind == "distribution"]
    if isinstance(options.signal, str):
        if options.signal not in suitable:
            raise _unknown("model.signal", "distribution task", options.signal, suitable)
        return options.signal
    if options.signal and not suitable:
        raise UserError(
            "model.signal: true needs a task of kind distribution, and there is none; "
            "remove the key or add such a task"
        )
    return suitable[0] if suitable and options.signal is not False else None


def _advanced_tasks(options: ModelOptions, preset: Preset, tasks: Sequence[str]) -> tuple[str, ...]:
    if options.advanced is None:
        return tuple(task for task in preset.advanced_tasks if task in tasks)
    for name in options.advanced:
        if name not in tasks:
            raise _unknown("model.advanced", "task", name, tasks)
    return tuple(dict.fromkeys(options.advanced))


def _unknown(key: str, noun: str, name: str, names: Iterable[str]) -> UserError:
    return UserError(f"{key}: there is no {noun} '{name}'{did_you_mean(name, names)}")
