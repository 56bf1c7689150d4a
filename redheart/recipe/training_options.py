"""The settings of training, apart from the code that uses them, so that they load fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from redheart.limits import Above, AtLeast, AtMost, Below
from redheart.recipe.model_options import ModelOptions
from redheart.tasks.task import Task


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides what one epoch of training does to the weights."""

    schedule_epochs: Annotated[int, AtLeast(1), AtMost(100_000)] = 60
    """Epochs over which the learning rate falls along a cosine; null: as many as `train.epochs`.
    Where it is set, a longer `train.epochs` computes only the new ones."""
    batch_size: Annotated[int, AtLeast(1), AtMost(100_000)] = 4
    """Texts of the longest length per micro-batch; a micro-batch of shorter texts holds more."""
    grad_accumulation: Annotated[int, AtLeast(1), AtMost(100_000)] = 16
    """Micro-batches per optimizer step."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; `auto`: bf16 on a GPU, fp32 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto`: a GPU where there is one."""
    cpu_threads: Annotated[int, AtLeast(1), AtMost(1_024)] = 2
    """Threads of one training process on a CPU, whatever `--cores` says; another number of threads
    changes the last bits of every result."""
    deterministic: bool = False
    """Whether a GPU uses deterministic algorithms alone, which are slower; a CPU always does."""
    weight_decay: Annotated[float, AtLeast(0), AtMost(100)] = 0.01
    """AdamW's decoupled weight decay."""
    layer_decay: Annotated[float, Above(0), AtMost(1)] = 0.9
    """Factor of the learning rate from one backbone layer to the one below it."""
    analyzer_rate: Annotated[float, Above(0), AtMost(1_000)] = 0.7
    """Learning rate of analyzers and signal chain, as a multiple of the heads'."""
    lexical_rate: Annotated[float, Above(0), AtMost(1_000)] = 10.0
    """Learning rate of the lexical branches, over the curvature of their loss."""
    lexical_decay: Annotated[float, AtLeast(0), AtMost(100)] = 0.0005
    """Weight decay of the lexical branches, times the curvature of their loss."""
    final_rate: Annotated[float, AtLeast(0), AtMost(1)] = 0.0
    """Learning rate at the end of the schedule and after, as a share of the peak."""
    clip_norm: Annotated[float, Above(0), AtMost(1e12)] = 1.0
    """Largest gradient norm of each module; backbone and heads count as one."""
    label_smoothing: Annotated[float, AtLeast(0), Below(1)] = 0.05
    """Share of the target that is spread over all classes, in classification."""
    rdrop: Annotated[float, AtLeast(0), AtMost(1_000)] = 1.0
    """Weight of the divergence between two dropout passes; 0: there is one pass."""
    ema_decay: Annotated[float, AtLeast(0), Below(1)] = 0.999
    """Decay of the weights' moving average per optimizer step."""


@dataclass(frozen=True)
class LegOptions:
    """How long the main training is, and how it is cut into legs; each ends with a checkpoint."""

    epochs: Annotated[int, AtLeast(1), AtMost(100_000)] = 60
    """Epochs of the main training."""
    checkpoint_every: Annotated[int, AtLeast(1), AtMost(100_000)] = 2
    """Epochs between checkpoints; the last epoch always has one."""


@dataclass(frozen=True)
class DeviceOptions:
    """The devices on which the legs of the main training run."""

    devices: Annotated[int, AtLeast(1), AtMost(64)] = 1
    """GPUs, or with `device: cpu` processes, that train together."""


@dataclass(frozen=True)
class CheckpointOptions:
    """What a checkpoint holds. Training goes on exactly from any one: its state keeps the rest."""

    dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the saved weights and average. `bf16` takes half the space; the rounded weights are
    the ones that are scored."""
    ema: bool = True
    """Whether the moving average is saved; without it, there are no candidates of averages."""


@dataclass(frozen=True)
class ScoringOptions:
    """How a checkpoint is evaluated."""

    scored_train_records: Annotated[int, AtLeast(1), AtMost(100_000_000)] = 1000
    """Training records, at most, on which the training loss is taken in evaluation mode."""


@dataclass(frozen=True)
class FusionOptions:
    """How the modules' contributions become a task's prediction."""

    weights: Literal["fitted", "equal"] = "fitted"
    """How much each module counts. `fitted`: by stacking on val_select; `equal`: all the same."""
    balance: bool = True
    """Whether rare classes of a multiclass task are raised for the best macro-F1 on val_select."""


def checkpoint_epochs(options: LegOptions) -> list[int]:
    """Return the epochs after which a checkpoint is saved, the last epoch among them."""
    epochs = list(range(options.checkpoint_every, options.epochs + 1, options.checkpoint_every))
    return epochs if epochs and epochs[-1] == options.epochs else [*epochs, options.epochs]


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how: everything but the data that decides a network and its training."""

    tasks: tuple[Task, ...]
    """What is learned."""
    model: ModelOptions
    """The network."""
    train: TrainOptions
    """The training."""
    fusion: FusionOptions = FusionOptions()
    """The fusion of the modules' contributions; no training depends on it."""
