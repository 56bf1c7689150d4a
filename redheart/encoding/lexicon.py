"""Texts as weighted n-grams: the input of the lexical branch.

N-grams of words (1 and 2) and of characters within words (3 to 5) are two blocks. A hash of its
bytes stands for an n-gram. The n-grams in most training texts are kept. A text is a vector of
tf-idf values, of length 1 in each block: the features of `redheart.selection.baseline`.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np

from redheart.limits import AtLeast, AtMost
from redheart.storage import files

# Words of one letter count (Korean has many), and so do runs of punctuation.
WORDS = re.compile(r"\w+|[^\w\s]+")
CHARACTERS = (3, 4, 5)

Hashes = np.ndarray  # uint32


@dataclass(frozen=True)
class LexiconOptions:
    """Which n-grams the lexical branches read."""

    features: Annotated[int, AtLeast(1), AtMost(10_000_000)] = 30_000
    """N-grams kept of words, and as many of characters: those in most training texts."""


@dataclass(frozen=True)
class Block:
    """The n-grams of one kind that are kept."""

    hashes: Hashes
    """Their hashes, rising: uint32 [kept]."""
    idf: np.ndarray
    """Inverse document frequency of each: float32 [kept]."""


@dataclass(frozen=True)
class Ngrams:
    """Texts as sparse rows over all kept n-grams of a lexicon."""

    columns: np.ndarray
    """Which n-grams stand in the texts, one text after the other: unsigned integers [entries]."""
    values: np.ndarray
    """Their tf-idf values: float16 [entries], since these are most of a part's file."""
    offsets: np.ndarray
    """Where each text begins, and where the last ends: int64 [texts + 1]."""
    size: int
    """Number of kept n-grams."""

    def head(self, count: int) -> Ngrams:
        """Return the first `count` texts."""
        offsets = self.offsets[: count + 1]
        return Ngrams(self.columns[: offsets[-1]], self.values[: offsets[-1]], offsets, self.size)

    def padded(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return columns int64 [B, G] and values float32 [B, G], padded with n-grams of value 0."""
        starts, lengths = self.offsets[rows], np.diff(self.offsets)[rows]
        inside = np.arange(lengths.max(initial=0)) < lengths[:, None]
        places = (starts[:, None] + np.arange(inside.shape[1]))[inside]
        columns = np.zeros(inside.shape, dtype=np.int64)
        values = np.zeros(inside.shape, dtype=np.float32)
        columns[inside], values[inside] = self.columns[places], self.values[places]
        return columns, values


@dataclass(frozen=True)
class Lexicon:
    """The kept n-grams of words and of characters, with their weights."""

    words: Block
    """N-grams of words."""
    characters: Block
    """N-grams of characters."""

    @property
    def size(self) -> int:
        """Number of kept n-grams."""
        return len(self.words.hashes) + len(self.characters.hashes)

    def transform(self, texts: Iterable[str]) -> Ngrams:
        """Return the tf-idf values of texts; n-grams that are not kept are left out.

        A value is the sublinear term frequency, `1 + ln(count)`, times idf. Then each block of a
        text is divided by its Euclidean length.
        """
        index = np.min_scalar_type(max(self.size - 1, 0))
        columns, values, offsets = [np.zeros(0, index)], [np.zeros(0, np.float16)], [0]
        for text in texts:
            first, total = 0, 0
            for block, (hashes, counts) in zip(
                (self.words, self.characters), count_ngrams(text), strict=True
            ):
                _, in_block, in_text = np.intersect1d(
                    block.hashes, hashes, assume_unique=True, return_indices=True
                )
                weighted = (1 + np.log(counts[in_text])) * block.idf[in_block]
                columns.append((first + in_block).astype(index))
                values.append((weighted / max(np.linalg.norm(weighted), 1e-12)).astype(np.float16))
                first, total = len(block.hashes), total + len(in_block)
            offsets.append(offsets[-1] + total)
        return Ngrams(np.concatenate(columns), np.concatenate(values), np.array(offsets), self.size)


def fit_lexicon(texts: Iterable[str], options: LexiconOptions) -> Lexicon:
    """Choose the n-grams and their weights by these texts alone, those of the training part.

    idf is `ln((1 + texts) / (1 + texts with the n-gram)) + 1`, as scikit-learn's.
    """
    by_text = [[hashes for hashes, _ in count_ngrams(text)] for text in texts]
    words, characters = (
        _fit_block([blocks[kind] for blocks in by_text], options.features) for kind in (0, 1)
    )
    return Lexicon(words, characters)


def _fit_block(by_text: Sequence[Hashes], features: int) -> Block:
    hashes, texts = np.unique(
        np.concatenate([np.zeros(0, np.uint32), *by_text]), return_counts=True
    )
    most_common = np.sort(np.argsort(-texts, kind="stable")[:features])
    idf = np.log((1 + len(by_text)) / (1 + texts[most_common])) + 1
    return Block(hashes[most_common], idf.astype(np.float32))


def count_ngrams(text: str) -> list[tuple[Hashes, np.ndarray]]:
    """Return, for words and then for characters, the distinct hashes, rising, and their counts."""
    text = unicodedata.normalize("NFC", text).lower()
    words = WORDS.findall(text)
    pairs = (f"{word} {following}" for word, following in pairwise(words))
    of_words = np.array([hash_ngram(ngram) for ngram in (*words, *pairs)], dtype=np.uint32)
    of_characters = [np.zeros(0, np.uint32), *map(_character_hashes, text.split())]
    both = (of_words, np.concatenate(of_characters))
    return [np.unique(hashes, return_counts=True) for hashes in both]


def hash_ngram(ngram: str) -> int:
    """Return an n-gram's hash, 0 to 2**32 - 1: CRC-32, the same on every machine."""
    return zlib.crc32(ngram.encode("utf-8", "surrogatepass"))


# Words recur, and so do their n-grams.
@lru_cache(maxsize=100_000)
def _character_hashes(word: str) -> Hashes:
    return np.array([hash_ngram(ngram) for ngram in character_ngrams(word)], dtype=np.uint32)


def character_ngrams(word: str) -> list[str]:
    """Return the character n-grams of a word with a space on either side; a short word is one."""
    padded, ngrams = f" {word} ", []
    for n in CHARACTERS:
        ngrams += [padded[i : i + n] for i in range(max(1, len(padded) - n + 1))]
        if len(padded) <= n:
            break
    return ngrams


def save_lexicon(path: str | Path, lexicon: Lexicon) -> None:
    """Write a lexicon as .npz."""
    with files.atomic(path) as stream:
        np.savez(
            stream,
            words=lexicon.words.hashes,
            words_idf=lexicon.words.idf,
            characters=lexicon.characters.hashes,
            characters_idf=lexicon.characters.idf,
        )


def load_lexicon(path: str | Path) -> Lexicon:
    """Read a lexicon that `save_lexicon` wrote."""
    with np.load(path, allow_pickle=False) as saved:
        return Lexicon(
            Block(saved["words"], saved["words_idf"]),
            Block(saved["characters"], saved["characters_idf"]),
        )
