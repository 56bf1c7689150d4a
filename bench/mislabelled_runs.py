"""Train on labels of which some were exchanged on purpose, and keep what the checkpoints said.

    python bench/mislabelled_runs.py FOLDER demo uniform 0.1   writes FOLDER/demo-uniform-0.10-0.npz

The corpora: `demo`, generated without noise; `glosses` and `newsgroups` (bench/more_corpora.py);
`scruples` (README). Labels are exchanged in training and in val_select, as a corpus would come:
`uniform`, for any other class, or `neighbours`, for the class with the most similar texts. With
`--network perceptron`, a small perceptron on TF-IDF vectors takes the place of the network.
bench/mislabelled.py makes the table of docs/mislabelled.md from these files.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from redheart.data.corpus import CorpusOptions, generate
from redheart.data.records import read_jsonl
from redheart.encoding import lexicon, tokens
from redheart.evaluation.fusion import OFFSET, choose_weights, fused_predictions
from redheart.evaluation.inference import contributions
from redheart.recipe.build import read_recipe
from redheart.storage import files
from redheart.tasks.task import Task, lookup
from redheart.training.epochs import train_epoch
from redheart.training.state import prepare
from redheart.workflow import config

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Corpus:
    """A corpus and how it is trained: small enough for two cores."""

    config: str
    """The config that names its task and model."""
    task: str
    """The task whose labels are exchanged; no other is learned."""
    rate: float
    """Learning rate."""
    epochs: int
    """Epochs; each has a checkpoint."""
    classes: int
    """Its first classes alone are taken."""
    most: int
    """Records that are taken, from the beginning."""


CORPORA = {
    "demo": Corpus("config/config.yaml", "verdict", 3e-3, 24, 5, 700),
    "glosses": Corpus("bench/glosses.yaml", "file", 3e-3, 16, 12, 1200),
    "newsgroups": Corpus("bench/newsgroups.yaml", "group", 3e-3, 16, 8, 1200),
    "scruples": Corpus("config/scruples.yaml", "right_wrong", 3e-3, 12, 2, 1000),
}
# Tokens of a text that are read, in every corpus.
MAX_TOKENS = 64
# A model that is trained in a minute or two on one core.
MODEL = {"signal": False, "advanced": None, "dimension": 32, "layers": 1, "attention_heads": 2}
MODEL |= {"feedforward": 64}
# N-grams of the lexical branch, of words and as many of characters.
FEATURES = 3000


def read_records(name: str, source: str, most: int) -> list[dict[str, Any]]:
    """Return the first records of a corpus; the demo is generated without noise."""
    if name == "demo":
        options = CorpusOptions(records=most, duplicates=0.0, label_noise=0.0, missing=0.0)
        return generate(options)[0]
    return read_jsonl(source)


def neighbours(texts: list[str], labels: np.ndarray, classes: int) -> np.ndarray:
    """Return for each class the other class whose mean TF-IDF vector is the most similar."""
    vectors = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    means = np.stack([np.asarray(vectors[labels == k].mean(axis=0))[0] for k in range(classes)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    similarity = means @ means.T
    np.fill_diagonal(similarity, -1)
    return similarity.argmax(axis=1)


def exchanged(
    labels: np.ndarray, classes: int, kind: str, share: float, nearest: np.ndarray, seed: int
) -> np.ndarray:
    """Return the labels with a share of them exchanged for another class."""
    rng = np.random.default_rng([seed, 17])
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    others = (labels + rng.integers(1, classes, len(labels))) % classes
    given = labels.copy()
    given[chosen] = (others if kind == "uniform" else nearest[labels])[chosen]
    return given


def run(folder: Path, name: str, kind: str, share: float, seed: int, network: str) -> Path:
    """Train and write the probabilities of every checkpoint for training and val_select."""
    torch.set_num_threads(1)
    corpus = CORPORA[name]
    settings = config.read([ROOT / corpus.config])
    settings["tasks"] = {corpus.task: settings["tasks"][corpus.task]}
    settings["train"] |= {"epochs": corpus.epochs, "schedule_epochs": corpus.epochs}
    settings["model"] |= MODEL
    settings["train"]["rdrop"] = 0.0
    settings["train"]["max_tokens"] = MAX_TOKENS
    settings["lexicon"] = {"features": FEATURES}
    recipe = read_recipe(settings)
    task = replace(recipe.tasks[0], classes=recipe.tasks[0].classes[: corpus.classes])
    records = read_records(name, settings["data"]["source"], corpus.most)
    records = [record for record in records if lookup(record, task.field) in task.classes]
    records = records[: corpus.most]
    texts = [record["text"] for record in records]
    truth = np.array([task.classes.index(str(lookup(r, task.field))) for r in records])
    nearest = neighbours(texts, truth, task.width)
    given = exchanged(truth, task.width, kind, share, nearest, seed)
    parts = np.split(np.random.default_rng(seed).permutation(len(records)), [len(records) * 6 // 7])
    simple = replace(task, field="label")
    noisy = [{"text": text, "label": task.classes[k]} for text, k in zip(texts, given, strict=True)]
    if network == "perceptron":
        order = np.concatenate(parts)
        said = perceptron([texts[i] for i in order], given[order], len(parts[0]), task.width, seed)
        opinions = {"fused": said}
    else:
        data, validation = encode([[noisy[i] for i in part] for part in parts], simple, settings)
        opinions = train(replace(recipe, tasks=(simple,)), data, validation, corpus, seed)
    prefix = "" if network == "redheart" else f"{network}-"
    path = folder / f"{prefix}{name}-{kind}-{share:.2f}-{seed}.npz"
    content: dict[str, Any] = {
        "texts": np.array(texts)[np.concatenate(parts)],
        "truth": truth[np.concatenate(parts)],
        "given": given[np.concatenate(parts)],
        "train": np.array(len(parts[0])),
        "classes": np.array(task.classes),
        **opinions,
    }
    with files.atomic(path) as stream:
        np.savez_compressed(stream, **content)
    return path


def encode(parts: list[list[dict[str, Any]]], task: Task, settings: dict[str, Any]) -> list[Any]:
    """Return the encoded parts; tokenizer and lexicon are of the first one."""
    texts = [record["text"] for record in parts[0]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(tokens.train_tokenizer(texts, settings["tokenizer"]["vocab_size"]))
        ngrams = lexicon.fit_lexicon(texts, lexicon.LexiconOptions(**settings["lexicon"]))
        length = settings["train"]["max_tokens"]
        return [tokens.encode_part(part, [task], path, length, ngrams) for part in parts]


def train(
    recipe: Any, data: Any, validation: Any, corpus: Corpus, seed: int
) -> dict[str, np.ndarray]:
    """Return `fused` and `balanced`: float16 [checkpoints, records, classes], validation last."""
    state = prepare(recipe, data, corpus.rate, seed)
    (task,) = recipe.tasks
    said: dict[str, list[np.ndarray]] = {"fused": [], "balanced": []}
    while state.epoch < corpus.epochs:
        train_epoch(state, data)
        state.steps.clear()
        outputs = [contributions(state.network, part, recipe.train) for part in (data, validation)]
        weights = choose_weights([task], outputs[1], validation.targets, recipe.fusion)
        plain = {
            task.name: {
                name: weight
                for name, weight in weights[task.name].items()
                if not name.startswith(OFFSET)
            }
        }
        for name, chosen in (("fused", plain), ("balanced", weights)):
            predicted = [fused_predictions([task], output, chosen)[task.name] for output in outputs]
            said[name].append(np.concatenate(predicted).astype(np.float16))
    return {name: np.stack(rows) for name, rows in said.items()}


def perceptron(
    texts: list[str], given: np.ndarray, count: int, classes: int, seed: int
) -> np.ndarray:
    """Return what a small perceptron on TF-IDF vectors says after each of 24 epochs.

    It is trained in seconds, so that a measure can be tried on many corpora. `count` texts, the
    first ones, are its training part.
    """
    from sklearn.neural_network import MLPClassifier

    vectors = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2)).fit_transform(texts)
    network = MLPClassifier((48,), learning_rate_init=2e-3, batch_size=64, random_state=seed)
    said = []
    for epoch in range(24):
        order = np.random.default_rng([seed, epoch]).permutation(count)
        for start in range(0, count, 64):
            rows = order[start : start + 64]
            network.partial_fit(vectors[rows], given[rows], classes=np.arange(classes))
        said.append(network.predict_proba(vectors).astype(np.float16))
    return np.stack(said)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on partly exchanged labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument("kind", choices=("uniform", "neighbours"))
    parser.add_argument("share", type=float, help="0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", choices=("redheart", "perceptron"), default="redheart")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print(run(given.folder, given.corpus, given.kind, given.share, given.seed, given.network))


if __name__ == "__main__":
    main()
