"""The texts of the benchmark: real texts if their file exists, generated texts otherwise."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

SCRUPLES = Path(__file__).parents[1] / "data" / "scruples.jsonl.gz"
PLANTED_SHARE = 0.05


def make(corpus: str, size: int, cut: int | None = None) -> list[str]:
    """Make a corpus by name, always the same one, with planted near-duplicates."""
    rng = np.random.default_rng(0)
    texts = CORPORA[corpus](read_or_generate(rng), size, rng)
    return plant([text[:cut] for text in texts], rng)


def read_or_generate(rng: np.random.Generator) -> list[str]:
    if SCRUPLES.exists():
        with gzip.open(SCRUPLES, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        return [text for text in texts if sentences_of(text)]
    letters = list("etaoinshrdlcumwfgypbvkjxqz")
    letter_shares = 0.9 ** np.arange(len(letters))
    letter_shares /= letter_shares.sum()
    words = ["".join(rng.choice(letters, n, p=letter_shares)) for n in rng.integers(2, 9, 4000)]
    word_shares = 1 / np.arange(1, len(words) + 1)
    lengths = rng.lognormal(5.6, 0.6, 10_000).astype(int) + 10
    drawn = rng.choice(words, lengths.sum(), p=word_shares / word_shares.sum())
    return [" ".join(part) + ". " for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def sentences_of(text: str) -> list[str]:
    return [sentence for sentence in text.split(". ") if sentence]


def mixed(texts: list[str], size: int, rng: np.random.Generator) -> list[str]:
    """Take texts; when they run out, join halves of two texts, without one sentence in four."""
    chosen = [texts[i] for i in rng.permutation(len(texts))[:size]]
    while len(chosen) < size:
        left, right = (sentences_of(texts[i]) for i in rng.integers(len(texts), size=2))
        sentences = left[: len(left) // 2 + 1] + right[len(right) // 2 :]
        kept = [s for s in sentences if rng.random() < 0.75]
        chosen.append(". ".join(kept or sentences))
    return chosen


def shuffled(texts: list[str], size: int, rng: np.random.Generator) -> list[str]:
    """Make texts from the shuffled sentences of all texts: they share letters and n-grams."""
    sentences = [s for text in texts for s in sentences_of(text)]
    counts = [len(sentences_of(texts[i])) for i in rng.integers(len(texts), size=size)]
    return [". ".join(sentences[i] for i in rng.integers(len(sentences), size=n)) for n in counts]


def plant(texts: list[str], rng: np.random.Generator) -> list[str]:
    """Replace some texts with near copies of others: one letter in 60 changed or dropped."""
    texts = list(texts)
    for target in rng.choice(len(texts), int(PLANTED_SHARE * len(texts)), replace=False):
        letters = list(texts[rng.integers(len(texts))])
        for place in rng.integers(len(letters), size=1 + len(letters) // 60):
            letters[place] = rng.choice(["", "x", "e"])
        texts[target] = "".join(letters) or "x"
    return texts


CORPORA = {"mixed": mixed, "shuffled": shuffled}
