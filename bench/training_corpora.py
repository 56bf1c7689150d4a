"""The corpora of the benchmark of training: real texts if their file exists.

`titles` are short; `texts` are cut to 512 tokens. Both come from data/scruples.jsonl.gz. If this
file is absent, a title is one text of the demo corpus, and a text is many of them joined.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from redheart.data import corpus
from redheart.encoding import tokens
from redheart.encoding.lexicon import LexiconOptions, fit_lexicon
from redheart.recipe.build import build, read_recipe
from redheart.storage import files
from redheart.workflow import config

ROOT = Path(__file__).parents[1]
SCRUPLES = ROOT / "data" / "scruples.jsonl.gz"
MAX_TOKENS = {"titles": 64, "texts": 512}
# The shares of a run: 0.75 of the texts train, and 0.10 are val_select. The training loss is
# computed on 1,000 of 7,500 training texts.
VALIDATION_SHARE = SCORED_SHARE = 1 / 7.5


@dataclass(frozen=True)
class Plan:
    """The amount of training."""

    texts: int
    """Training texts."""
    legs: int
    """Legs, each in its own process."""
    epochs: int
    """Epochs of a leg."""
    threads: int
    """Threads of torch."""


def make(kind: str, plan: Plan, folder: Path) -> dict[str, Any]:
    """Write config.json, train.npz and val_select.npz into a folder; return the config."""
    scored = round(plan.texts * SCORED_SHARE)
    settings = read_config(kind, plan, scored, folder)
    records = read_or_generate(kind, plan.texts + round(plan.texts * VALIDATION_SHARE))
    plain = [record["text"] for record in records]
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_text(
        tokens.train_tokenizer(plain, settings["tokenizer"]["vocab_size"]), encoding="utf-8"
    )
    lexicon = fit_lexicon(plain[: plan.texts], build(LexiconOptions, settings["lexicon"]))
    recipe = read_recipe(settings)
    for name, rows in (("train", slice(plan.texts)), ("val_select", slice(plan.texts, None))):
        part = tokens.encode_part(records[rows], recipe.tasks, tokenizer, MAX_TOKENS[kind], lexicon)
        tokens.save_encoded(folder / f"{name}.npz", part)
    return settings


def read_config(kind: str, plan: Plan, scored: int, folder: Path) -> dict[str, Any]:
    """Return the recipe of a run of the tiny model on one of the project's own configs."""
    file = "scruples.yaml" if SCRUPLES.exists() else "config.yaml"
    settings = config.read([str(ROOT / "config" / file)])
    settings["run"] = kind
    settings["model"]["preset"] = "tiny"
    settings["store"]["path"] = str(folder / "store")
    settings["train"] |= {
        "batch_size": 32,
        "grad_accumulation": 2,
        "cpu_threads": plan.threads,
        "device": "cpu",
        "precision": "fp32",
        "epochs": plan.legs * plan.epochs,
        "schedule_epochs": plan.legs * plan.epochs,
        "checkpoint_every": plan.epochs,
        "max_tokens": MAX_TOKENS[kind],
        "scored_train_records": scored,
    }
    files.write_json(folder / "config.json", settings)
    return settings


def read_or_generate(kind: str, count: int) -> list[dict[str, Any]]:
    """Return records with the `text` that is read, in the order of the file or of a seed."""
    if SCRUPLES.exists():
        with gzip.open(SCRUPLES, "rt", encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        field = {"titles": "title", "texts": "text"}[kind]
        return [{**r, "text": r[field]} for r in records if r[field].strip()][:count]
    records, _ = corpus.generate(corpus.CorpusOptions(records=count, duplicates=0.0))
    if kind == "titles":
        return records
    rng = np.random.default_rng(0)
    joined = rng.lognormal(2.3, 0.6, count).astype(int) + 1
    return [
        {**record, "text": " ".join(records[i]["text"] for i in rng.integers(count, size=size))}
        for record, size in zip(records, joined, strict=True)
    ]
