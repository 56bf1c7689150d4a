"""The sizes of a corpus and of its network, before either exists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from redheart.data.sources import input_files, read_items
from redheart.encoding import sentences
from redheart.encoding.lexicon import Ngrams
from redheart.encoding.tokens import Encoded, vocabulary_size
from redheart.errors import UserError
from redheart.json_values import Json
from redheart.recipe.training_options import Recipe
from redheart.storage import files, run_files
from redheart.tasks.task import Task

if TYPE_CHECKING:
    from redheart.model.network import Network


# The number of records that is assumed where there is no corpus yet.
ASSUMED_RECORDS = 10_000

# About so many distinct n-grams stand in a text, per token.
NGRAMS_PER_TOKEN = 4


@dataclass(frozen=True)
class Corpus:
    """The sizes of a corpus that decide the sizes of the network and of its training."""

    records: int
    """Records that are divided into parts, at most."""
    train: int
    """Records in *train*."""
    vocab_size: int
    """Tokens in the vocabulary, at most."""
    lexicon_size: int
    """N-grams that the lexical branches read, at most."""
    origin: str
    """Where these numbers come from, in words."""


def read_corpus(config: Json, run: Path) -> Corpus:
    """Return the sizes of a run's corpus: from its encoded parts or, without them, upper bounds."""
    encoded = [run / run_files.encoded(p) for p in config["split"] if p in _PARTS]
    if all(path.is_file() for path in encoded):
        sizes = {path.stem: _sizes(path) for path in encoded}
        train = sizes["train"]
        records = sum(size["records"] for size in sizes.values())
        return Corpus(
            records, train["records"], train["vocab_size"], train["lexicon_size"], f"in {run}/data"
        )
    records, origin = _count_records(config)
    vocab_size = config["tokenizer"]["vocab_size"]
    has_trunk = config["model"]["pretrained"]
    tokenizer = run / (run_files.TRUNK_TOKENIZER if has_trunk else run_files.TOKENIZER)
    if tokenizer.is_file():
        vocab_size = vocabulary_size(tokenizer)
    train = math.ceil(records * config["split"]["train"])
    return Corpus(records, train, vocab_size, 2 * config["lexicon"]["features"], origin)


_PARTS = ("train", "val_select", "val_confirm", "test")


def _sizes(path: Path) -> dict[str, int]:
    """Return the sizes of an encoded part; most of its file is not read."""
    with np.load(path, allow_pickle=False) as part:
        lexicon_size = int(part["ngrams.size"]) if "ngrams.size" in part.files else 0
        records, vocab_size = len(part["offsets"]) - 1, int(part["sizes"][0])
        return {"records": records, "vocab_size": vocab_size, "lexicon_size": lexicon_size}


def _count_records(config: Json) -> tuple[int, str]:
    source = config["data"]["source"]
    if source == "demo":
        return config["demo"]["records"], "at most: near-duplicates not yet removed"
    try:
        paths = input_files(source)
    except UserError:
        return ASSUMED_RECORDS, f"assumed: {source} is not there"
    counted = sum(1 for _ in read_items(source if len(paths) > 1 else paths[0]))
    return counted, "at most: not yet checked for errors and near-duplicates"


def trunk_config(config: Json, run: Path) -> dict[str, Any] | None:
    """Return the config of the pretrained trunk, from the run or its source; None without a trunk.

    Raises
    ------
    UserError
        The trunk is named by a model id and is not yet imported.
    """
    name = config["model"]["pretrained"]
    if not name:
        return None
    if name == sentences.ENCODER:
        return {"hidden_size": sentences.DIMENSION}
    for path in (run / run_files.TRUNK_CONFIG, Path(name) / "config.json"):
        if path.is_file():
            return dict(files.read_json(path))
    raise UserError(
        f"model.pretrained: {name} is not imported yet; `snakemake {run / run_files.TRUNK_CONFIG} "
        "--cores 1` does that"
    )


def synthetic_part(
    recipe: Recipe, corpus: Corpus, max_tokens: int, trunk: Json | None, texts: int
) -> Encoded:
    """Return texts of the longest length, whose network has the sizes of the corpus's network."""
    generator = np.random.default_rng(0)
    ids = tuple(generator.integers(1, corpus.vocab_size, (texts, max_tokens), dtype=np.int32))
    size, ngrams = corpus.lexicon_size, min(NGRAMS_PER_TOKEN * max_tokens, corpus.lexicon_size)
    columns = generator.integers(0, max(size, 1), texts * ngrams)
    values = np.full(texts * ngrams, ngrams**-0.5 if ngrams else 0.0, np.float16)
    features = None
    if trunk and recipe.model.frozen:
        features = (np.zeros((max_tokens, trunk["hidden_size"]), np.float16),) * texts
    return Encoded(
        ids,
        {task.name: _targets(task, texts) for task in recipe.tasks},
        corpus.vocab_size,
        max_tokens,
        Ngrams(columns, values, np.arange(texts + 1) * ngrams, size) if size else None,
        None if recipe.model.frozen else trunk,
        features,
    )


def _targets(task: Task, texts: int) -> np.ndarray:
    """Return targets that are valid for any kind of task: each text has the next class."""
    if task.kind == "regression":
        return np.full((texts, task.width), 0.5, np.float32)
    return np.eye(task.width, dtype=np.float32)[np.arange(texts) % task.width]


def meta_network(recipe: Recipe, part: Encoded) -> Network:
    """Return the network for a part on torch's meta device: with all sizes and without memory."""
    import torch

    from redheart.model.network import Network
    from redheart.model.pretrained import backbone_for
    from redheart.recipe.model_options import resolve

    architecture = resolve(
        recipe.model, recipe.tasks, part.vocab_size, part.max_tokens, part.lexicon_size
    )
    with torch.device("meta"):
        return Network(architecture, recipe.tasks, backbone_for(part))


def count_parameters(recipe: Recipe, part: Encoded) -> dict[str, int]:
    """Return the number of weights of each module, without making any weight."""
    modules = meta_network(recipe, part).modules_by_name()
    return {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in modules.items()
    }
