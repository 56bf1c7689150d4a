"""The whole network: modules by name, their contributions to each task, and the fusion of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from redheart.encoding.batch import Batch
from redheart.encoding.tokens import PartSizes
from redheart.model.analyzers import AdvancedAnalyzer, NeuralAnalyzer
from redheart.model.backbone import Backbone, Features, TransformerBackbone
from redheart.model.heads import ResidualMLP
from redheart.model.lexical import LexicalBranch
from redheart.model.signal import KalmanTracker, SignalProcessor
from redheart.recipe.groups import ADVANCED, DSP, HEAD, KALMAN, LEXICAL, NEURAL
from redheart.recipe.model_options import Architecture, ModelOptions, resolve
from redheart.recipe.sizes import SMALLEST_COMPACT
from redheart.tasks.task import Task

Contributions = dict[str, dict[str, Tensor]]


class Network(nn.Module):
    """A backbone and, for each task, the modules that contribute to its prediction.

    Only the heads send gradients into the backbone: all other modules read its features detached,
    `kalman` reads the series of `dsp` detached, and the lexical branches read n-grams. So each
    module learns only from the loss of its own contribution, and the backbone from the losses of
    the heads.

    Parameters
    ----------
    architecture
        All sizes.
    tasks
        The tasks to predict; the architecture was made for the same tasks.
    backbone
        A trunk that replaces the Transformer of the architecture.
    """

    def __init__(
        self, architecture: Architecture, tasks: Sequence[Task], backbone: Backbone | None = None
    ):
        super().__init__()
        self.architecture = architecture
        self.tasks = tuple(tasks)
        self.backbone = _transformer(architecture) if backbone is None else backbone
        self._add_contributors()

    def forward(self, batch: Batch) -> Contributions:
        """Return each module's contribution to each task.

        Returns
        -------
        By task, then by module in canonical order: (batch, width) logits, or values where the
        task is a regression.
        """
        return self.contribute(self.backbone(batch), batch)

    def contribute(self, features: Features, batch: Batch) -> Contributions:
        """Return each module's contribution to each task, from the backbone's features of a batch.

        So the modules of several epochs can share one forward pass of the trunk.
        """
        mask, detached = batch.mask, features.detach()
        module = self.modules_by_name()
        contributions: Contributions = {task.name: {} for task in self.tasks}
        for task, outputs in contributions.items():
            outputs[HEAD.of(task)] = module[HEAD.of(task)](features.pooled)
            outputs[NEURAL.of(task)] = module[NEURAL.of(task)](detached, mask)
            if task == self.architecture.signal_task:
                outputs[DSP.name], series = module[DSP.name](detached, mask)
                outputs[KALMAN.name] = module[KALMAN.name](series.detach())
            if task in self.architecture.advanced:
                outputs[ADVANCED.of(task)] = module[ADVANCED.of(task)](detached, mask)
            if task in self.architecture.lexical:
                branch = module[LEXICAL.of(task)]
                output = branch(batch.ngrams, batch.ngram_values)
                # A doubled batch holds its n-grams once; their output stands for both passes.
                outputs[LEXICAL.of(task)] = output.repeat(len(mask) // len(output), 1)
        return contributions

    def train_after(self, epochs: int) -> None:
        """Set training mode; a backbone that is frozen after so many epochs evaluates instead."""
        self.train()
        limit = self.architecture.freeze_after
        learns = limit is None or epochs < limit
        self.backbone.train(learns)
        self.backbone.requires_grad_(learns)

    def modules_by_name(self) -> dict[str, nn.Module]:
        """Return the modules in canonical order; together their states are the network's."""
        return {
            name: self.get_submodule(_attribute(name)) for name in self.architecture.module_names
        }

    def _add_contributors(self) -> None:
        sizes, dimension = self.architecture, self.backbone.dimension
        width = {task.name: task.width for task in self.tasks}
        for task, head in sizes.heads.items():
            self._add(HEAD.of(task), ResidualMLP(dimension, head, width[task], sizes.dropout))
        for task, neural in sizes.neural.items():
            analyzer = NeuralAnalyzer(dimension, neural, width[task], sizes.dropout)
            self._add(NEURAL.of(task), analyzer)
        if sizes.signal_task:
            outputs = width[sizes.signal_task]
            self._add(DSP.name, SignalProcessor(dimension, sizes.signal, outputs, sizes.dropout))
            self._add(KALMAN.name, KalmanTracker(sizes.signal, outputs, sizes.dropout))
        for task, queries in sizes.advanced.items():
            advanced = AdvancedAnalyzer(dimension, queries, width[task], sizes.dropout)
            self._add(ADVANCED.of(task), advanced)
        for task in sizes.lexical:
            self._add(LEXICAL.of(task), LexicalBranch(sizes.lexicon_size, width[task]))

    def _add(self, name: str, module: nn.Module) -> None:
        self.add_module(_attribute(name), module)


def _transformer(sizes: Architecture) -> Backbone:
    return TransformerBackbone(sizes.backbone, sizes.vocab_size, sizes.max_tokens, sizes.dropout)


def _attribute(name: str) -> str:
    """Return the attribute that holds a module.

    A ModuleDict would not do: its keys may hold no dots and may not be names of its methods, and a
    task may be called `values` or `type`.
    """
    return name.replace(".", "_")


def build_network(
    options: ModelOptions,
    tasks: Sequence[Task],
    sizes: PartSizes,
    seed: int,
    device: str | torch.device = "cpu",
    backbone: Backbone | None = None,
) -> Network:
    """Build a network with initial weights that follow from the seed alone.

    The weights are drawn on the CPU, so they are the same on every device; the state of torch's
    random generators is left as it was.

    Parameters
    ----------
    sizes
        Sizes of the part that the network reads.
    backbone
        A trunk that replaces the Transformer of the preset.

    Raises
    ------
    UserError
        The options do not fit the tasks or each other.
    """
    architecture = resolve(options, tasks, sizes.vocab_size, sizes.max_tokens, sizes.lexicon_size)
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed the accelerators too, which are not forked here.
        torch.default_generator.manual_seed(seed)
        network = Network(architecture, tasks, backbone)
    return network.to(device)


def hold_in_bfloat16(network: nn.Module) -> None:
    """Round the weights of linear layers, small ones aside, to bfloat16 and hold them in it.

    Parameters that enter no matrix product (embeddings, norms, biases, filters, n-grams) stay in
    float32, and so does the residual stream. Autocast must be on.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear) and module.weight.numel() >= SMALLEST_COMPACT:
            module.weight.data = module.weight.data.to(torch.bfloat16)


def fuse(contributions: Mapping[str, Tensor], weights: Mapping[str, float] | None = None) -> Tensor:
    """Return the weighted mean of the modules' contributions to one task.

    Parameters
    ----------
    contributions
        By module, tensors of one shape.
    weights
        By module, 0 or more. A module that has no weight here counts 1; a module that has no
        contribution is left out of the mean. None: all modules count the same.

    Raises
    ------
    ValueError
        There is no contribution, or no contribution has a positive weight.
    """
    share = [1.0 if weights is None else weights.get(name, 1.0) for name in contributions]
    total = sum(share)
    if total <= 0:
        raise ValueError(f"no weight above 0 among the modules {list(contributions)}")
    stacked = torch.stack(list(contributions.values()))
    if weights is None:
        return stacked.mean(dim=0)
    scale = torch.tensor(share, dtype=stacked.dtype, device=stacked.device) / total
    return torch.tensordot(scale, stacked, dims=1)


def activate(task: Task, fused: Tensor) -> Tensor:
    """Turn fused contributions into predictions.

    Softmax for a distribution and for classes, sigmoid for a multilabel task; the values of a
    regression stay as they are, without their unit.
    """
    if task.kind in ("distribution", "multiclass"):
        return fused.softmax(dim=-1)
    return fused.sigmoid() if task.kind == "multilabel" else fused
