"""Records with rare labels and skewed ratings, for the tests of the split."""

from __future__ import annotations

from typing import Any

import numpy as np

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
