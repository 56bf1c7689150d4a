"""Records with rare labels and skewed ratings, for the tests of the split."""

from __future__ import annotations

from typing import Any

import numpy as np

from redheart.split.dealing import split_records
from redheart.split.parts import PARTS, SplitOptions
from redheart.tasks.task import Task

TAGS = Task("tags", "multilabel", "tags", tuple(f"t{k}" for k in range(10)))
RATING = Task("rating", "regression", "rating")
MOOD = Task("mood", "distribution", "mood", ("calm", "glad", "tense"))


def corpus(count: int, seed: int, classes: int = 3, prefix: str = "r") -> list[dict[str, Any]]:
    """Return records with labels of 30 % down to 1 % and a rating skewed to 0."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(4, 0.7, count), 5, 1000).astype(int)
    tags = generator.random((count, TAGS.width)) < np.geomspace(0.3, 0.01, TAGS.width)
    ratings = generator.gamma(0.5, 1, count)
    labels = generator.integers(classes, size=count)
    moods = generator.dirichlet([0.6, 0.4, 0.2], count)
    return [
        {
            "id": f"{prefix}{i}",
            "text": "x" * int(lengths[i]),
            "label": f"c{labels[i]}",
            "tags": tags[i].astype(float).tolist(),
            "rating": float(ratings[i]),
            "mood": moods[i].tolist(),
        }
        for i in range(count)
    ]


def split(records, seed: int = 0, tasks=(TAGS, RATING), links=()) -> np.ndarray:
    """Return each record's part as a number."""
    strata = [record["label"] for record in records]
    parts = split_records(records, links, strata, SplitOptions(seed=seed), tasks)
    part_of = np.empty(len(records), dtype=int)
    for number, part in enumerate(PARTS):
        part_of[parts[part]] = number
    return part_of


def label_deviations(part_of: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Return how far each label's share in each part is from its share of the corpus."""
    return np.abs([tags[part_of == part].mean(axis=0) - tags.mean(axis=0) for part in range(4)])
