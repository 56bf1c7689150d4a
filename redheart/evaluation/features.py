"""Features of a frozen trunk: computed once for a part, so that an epoch never runs the trunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from redheart.encoding import sentences
from redheart.encoding.batch import make_batch
from redheart.encoding.tokens import Encoded, evaluation_batches
from redheart.errors import UserError
from redheart.machine.device import autocast, open_device
from redheart.model.backbone import Backbone
from redheart.model.pretrained import read_trunk
from redheart.recipe.training_options import TrainOptions
from redheart.storage import files

# Texts whose features are in memory at once: 512 tokens of 768 numbers take 0.2 GB.
TEXTS_AT_ONCE = 256
TOKENS_PER_BATCH = 4096


def part_features(
    inputs: Any, part: Encoded, options: TrainOptions
) -> tuple[Iterable[Sequence[np.ndarray]], int]:
    """Return the features that a frozen trunk makes of a part, and their dimension.

    Parameters
    ----------
    inputs
        Paths: `config` and `weights` of the trunk, and `sentences`, which is empty or two paths:
        the records of the part and the file that divides texts into sentences.
    """
    if inputs.sentences:
        records, splitter = inputs.sentences
        texts = [record["text"] for record in files.read_json(records)]
        rows = sentences.sentence_features(inputs.config, splitter, texts, part.max_tokens)
        return rows, sentences.DIMENSION
    trunk = read_trunk(inputs.config, inputs.weights)
    return features_of_texts(trunk, part, options), trunk.dimension


@torch.inference_mode()
def features_of_texts(
    trunk: Backbone, part: Encoded, options: TrainOptions
) -> Iterator[list[np.ndarray]]:
    """Yield lists of the features of successive texts: float16 [tokens, dimension] for a text.

    Raises
    ------
    UserError
        A feature is not finite in float16.
    """
    device = open_device(options)
    trunk = trunk.to(device)
    for start in range(0, len(part), TEXTS_AT_ONCE):
        lengths = part.lengths[start : start + TEXTS_AT_ONCE]
        matrices: list[np.ndarray] = [np.empty(0)] * len(lengths)
        for rows in evaluation_batches(lengths, TOKENS_PER_BATCH):
            batch = make_batch(part, rows + start).to(device)
            with autocast(options):
                tokens = trunk(batch).tokens.half().cpu().numpy()
            for row, features in zip(rows, tokens, strict=True):
                matrices[row] = features[: lengths[row]]
        if not all(np.isfinite(features).all() for features in matrices):
            raise UserError("the trunk's features are not finite in float16; choose another trunk")
        yield matrices
