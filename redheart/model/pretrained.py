"""Pretrained trunks: encoders that run, or features that a trunk computed before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from redheart.encoding.batch import Batch
from redheart.encoding.tokens import Encoded
from redheart.encoding.trunk import library, without_pooler
from redheart.model.backbone import Backbone, Features, masked_mean
from redheart.storage import files
from redheart.storage.tensor_files import made
from redheart.storage.tensors import load_verified


class PretrainedBackbone(Backbone):
    """An encoder of the package transformers, with masked mean pooling.

    Its weights are random until trained ones are loaded.
    """

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        transformers = library()
        settings = transformers.AutoConfig.for_model(**config)
        with torch.random.fork_rng(devices=[]):
            self.encoder = without_pooler(transformers.AutoModel.from_config(settings))
        self.dimension = settings.hidden_size
        self.depth = settings.num_hidden_layers

    def forward(self, batch: Batch) -> Features:
        """Encode the token ids of a batch."""
        output = self.encoder(input_ids=batch.ids, attention_mask=batch.mask.long())
        tokens = output.last_hidden_state
        return Features(tokens, masked_mean(tokens, batch.mask))

    def recompute_activations(self) -> None:
        """Keep only the input of each layer, if the encoder can do so."""
        if self.encoder.supports_gradient_checkpointing:
            self.encoder.activation_checkpointing_enable({"use_reentrant": False})

    def depth_of(self, parameter_name: str) -> int:
        """Return the layer of a parameter: 0 for embeddings, the last for parameters after all."""
        layer = re.search(r"\.(\d+)\.", parameter_name)
        if layer:
            return min(int(layer[1]), self.depth - 1)
        return 0 if "embed" in parameter_name else self.depth - 1


class StoredFeatures(Backbone):
    """The features that a frozen trunk computed for the texts, read from the batch; no weights."""

    depth = 1

    def __init__(self, dimension: int):
        super().__init__()
        self.dimension = dimension

    def forward(self, batch: Batch) -> Features:
        """Return the features that the batch brings.

        Raises
        ------
        ValueError
            The batch has no features.
        """
        if batch.features is None:
            raise ValueError("the texts have no features of a frozen trunk")
        tokens = batch.features.float()
        return Features(tokens, masked_mean(tokens, batch.mask))

    def depth_of(self, parameter_name: str) -> int:
        """Refuse every name, since there are no parameters.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(f"stored features have no parameter '{parameter_name}'")


def backbone_for(part: Encoded) -> Backbone | None:
    """Return the trunk that a part is encoded for; None: the preset's Transformer."""
    if part.features is not None:
        return StoredFeatures(part.features[0].shape[1])
    return PretrainedBackbone(part.trunk) if part.trunk else None


@torch.no_grad()
def load_weights(backbone: Backbone, path: str | Path) -> None:
    """Copy the weights of an imported trunk into a backbone made from its config.

    Raises
    ------
    UserError
        The file is missing, damaged or foreign.
    """
    saved = load_verified(path)
    for name, parameter in backbone.named_parameters():
        parameter.copy_(made(saved[name.removeprefix("encoder.")]))


def read_trunk(config: str | Path, weights: str | Path) -> PretrainedBackbone:
    """Return an imported trunk, ready to read texts.

    Raises
    ------
    UserError
        A file is missing or damaged.
    """
    backbone = PretrainedBackbone(files.read_json(config))
    load_weights(backbone, weights)
    return backbone.requires_grad_(False).eval()
