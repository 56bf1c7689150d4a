"""The settings of training, apart from the code that uses them so that reading them is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from redheart.recipe.model_options import ModelOptions
from redheart.tasks.task import Task


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides what one epoch of training does to the weights."""

    schedule_epochs: int = 60
    """Epochs over which the learning rate falls along a cosine; 1 or more."""
    batch_size: int = 4
    """Texts per micro-batch, if they are the longest; of shorter ones it takes more; 1 or more."""
    grad_accumulation: int = 16
    """Micro-batches per optimizer step; 1 or more."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass; auto: bf16 on a GPU, fp32 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto: a GPU where there is one."""
    cpu_threads: int = 2
    """Threads of one training process on a CPU, whatever `--cores` says; they change bytes."""
    deterministic: bool = False
    """Whether a GPU uses deterministic algorithms alone, which are slower; a CPU always does."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay; 0 or more."""
    layer_decay: float = 0.9
    """Factor of the learning rate from one backbone layer to the one below it; 0 to 1."""
    analyzer_rate: float = 0.7
    """Learning rate of analyzers and signal chain as a multiple of the heads'; above 0."""
    lexical_rate: float = 10.0
    """Learning rate of the lexical branches, over the curvature of their loss; above 0."""
    lexical_decay: float = 0.0005
    """Weight decay of the lexical branches, times the curvature of their loss; 0 or more."""
    final_rate: float = 0.0
    """Learning rate at the end of the schedule and after, as a share of the peak; 0 to 1."""
    clip_norm: float = 1.0
    """Largest gradient norm of each module (backbone and heads count as one); above 0."""
    label_smoothing: float = 0.05
    """Share of the target spread over all classes, in classification; 0 to 1."""
    rdrop: float = 1.0
    """Weight of the divergence between two dropout passes; 0 turns the second pass off."""
    ema_decay: float = 0.999
    """Decay of the weights' moving average per optimizer step; 0 to 1."""


@dataclass(frozen=True)
class PlanOptions:
    """How long the main training is and where it stops for a checkpoint."""

    epochs: int = 60
    """Epochs of the main training; 1 or more."""
    checkpoint_every: int = 2
    """Epochs between checkpoints; the last epoch always has one."""


@dataclass(frozen=True)
class DeviceOptions:
    """On what the legs of the main training run."""

    devices: int = 1
    """GPUs, or with `device: cpu` processes, that train a leg together; 1 to 64."""


@dataclass(frozen=True)
class CheckpointOptions:
    """What a checkpoint holds. Training goes on exactly from any: its state keeps the rest."""

    dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the saved weights and average; bf16 takes half the space and is what is scored."""
    ema: bool = True
    """Whether the moving average is saved; without it no candidate is made of averages."""


@dataclass(frozen=True)
class ScoringOptions:
    """How a checkpoint is evaluated."""

    scored_train_records: int = 1000
    """Training records, at most, on which the training loss is taken in evaluation mode."""


@dataclass(frozen=True)
class FusionOptions:
    """How the modules' contributions become a task's prediction."""

    weights: Literal["fitted", "equal"] = "fitted"
    """fitted: by stacking on val_select; equal: their mean."""
    balance: bool = True
    """Whether rare classes of a multiclass task are raised as val_select's macro-F1 asks for."""


def checkpoint_epochs(plan: PlanOptions) -> list[int]:
    """Return the epochs after which a checkpoint is saved, the last epoch among them."""
    epochs = list(range(plan.checkpoint_every, plan.epochs + 1, plan.checkpoint_every))
    return epochs if epochs and epochs[-1] == plan.epochs else [*epochs, plan.epochs]


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how: all that a network and its training follow from but the data."""

    tasks: tuple[Task, ...]
    """What is learned."""
    model: ModelOptions
    """The network."""
    train: TrainOptions
    """The training."""
    fusion: FusionOptions = FusionOptions()
    """The fusion of what the modules say, which no training depends on."""
