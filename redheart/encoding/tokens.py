"""Texts as numbers: the tokenizer, encoded parts on disk, and batches of similar length."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from redheart.encoding.lexicon import Lexicon, Ngrams
from redheart.storage import files
from redheart.tasks.scale import Scale, standardized_targets
from redheart.tasks.task import Task

PADDING = "[PAD]"
PADDING_ID = 0
# Padded tokens that a micro-batch may hold on a CPU: the caches hold no more (docs/performance.md).
CPU_TOKENS = 6144
# Padded tokens that a batch of evaluation may hold, and how many of them may be padding. So much
# padding costs as much as one more batch.
EVALUATION_TOKENS = 8192
EVALUATION_PADDING = 256
# The member of an encoded part that holds the features of a frozen trunk.
FEATURES = "features.npy"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> str:
    """Train a byte-level BPE tokenizer and return it as JSON.

    Bytes are the alphabet, so that any script can be encoded and nothing is unknown.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return str(tokenizer.to_str(pretty=True)) + "\n"


def encode(tokenizer_path: str | Path, texts: Sequence[str], max_tokens: int) -> list[np.ndarray]:
    """Return each text's first `max_tokens` token ids: int32 arrays, never empty.

    They include the special tokens that a pretrained trunk needs; our own tokenizer has none.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.enable_truncation(max_tokens)
    encodings = tokenizer.encode_batch(list(texts))
    return [np.array(e.ids or [PADDING_ID], dtype=np.int32) for e in encodings]


def vocabulary_size(tokenizer_path: str | Path) -> int:
    """Return the number of tokens that a tokenizer file knows."""
    return len(files.read_json(tokenizer_path)["model"]["vocab"])


@dataclass(frozen=True)
class PartSizes:
    """The numbers of a part that determine the sizes of a network and of its activations."""

    vocab_size: int
    """Number of tokens of the tokenizer."""
    max_tokens: int
    """Tokens kept per text."""
    lexicon_size: int = 0
    """Number of n-grams that the lexicon keeps; 0 without one."""
    trunk: Mapping[str, Any] | None = None
    """Config of the pretrained trunk that reads these tokens, where it learns; else None."""
    features: int = 0
    """Width of a frozen trunk's features; 0: there are none."""


@dataclass(frozen=True)
class Encoded:
    """A part of the corpus as training reads it."""

    ids: tuple[np.ndarray, ...]
    """Token ids of each text: int32, at least one."""
    targets: Mapping[str, np.ndarray]
    """Task -> float32 [n, width], NaN where unlabelled; of a regression without its unit."""
    vocab_size: int
    """Number of tokens of the tokenizer."""
    max_tokens: int
    """Tokens kept per text."""
    ngrams: Ngrams | None = None
    """The n-grams of each text; None: they were not counted."""
    trunk: Mapping[str, Any] | None = None
    """Config of the pretrained trunk that reads these tokens, where it learns; else None."""
    features: tuple[np.ndarray, ...] | None = None
    """A frozen trunk's features of each text: float16 [tokens, dimension]; None: there are none."""
    scales: Mapping[str, Scale] = field(default_factory=dict)
    """The scale of each regression's targets, by task."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per text: int64 [n]."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    @property
    def lexicon_size(self) -> int:
        """Number of n-grams that the lexicon keeps; 0 without one."""
        return self.ngrams.size if self.ngrams else 0

    @property
    def sizes(self) -> PartSizes:
        """The numbers that determine the sizes of a network."""
        width = self.features[0].shape[1] if self.features else 0
        return PartSizes(self.vocab_size, self.max_tokens, self.lexicon_size, self.trunk, width)

    def head(self, count: int) -> Encoded:
        """Return the first `count` texts."""
        return replace(
            self,
            ids=self.ids[:count],
            targets={name: rows[:count] for name, rows in self.targets.items()},
            ngrams=self.ngrams and self.ngrams.head(count),
            features=self.features and self.features[:count],
        )


def encode_part(
    records: Sequence[Mapping[str, Any]],
    tasks: Sequence[Task],
    tokenizer_path: str | Path,
    max_tokens: int,
    lexicon: Lexicon | None = None,
    trunk: Mapping[str, Any] | None = None,
    scales: Mapping[str, Scale] | None = None,
) -> Encoded:
    """Encode the texts and targets of one part; n-grams are counted in the uncut texts.

    Parameters
    ----------
    trunk
        Config of the pretrained trunk that learns on the part; None: there is none.
    scales
        The scale of each regression, fitted to *train*; one that is missing keeps its unit.
    """
    texts = [record["text"] for record in records]
    return Encoded(
        tuple(encode(tokenizer_path, texts, max_tokens)),
        standardized_targets(tasks, records, scales or {}),
        vocabulary_size(tokenizer_path),
        max_tokens,
        lexicon.transform(texts) if lexicon else None,
        trunk,
        scales=scales or {},
    )


def save_encoded(
    path: str | Path,
    part: Encoded,
    features: Iterable[Sequence[np.ndarray]] = (),
    dimension: int = 0,
) -> None:
    """Write a part as .npz: flat ids, offsets of the texts, n-grams, a matrix a task, scales.

    Parameters
    ----------
    features
        Lists of a frozen trunk's features of successive texts: float16 [tokens, dimension] a text.
    dimension
        Width of the features; 0: there are none.
    """
    arrays = {
        "ids": np.concatenate([*part.ids, np.zeros(0, np.int32)]),
        "offsets": np.concatenate([[0], np.cumsum(part.lengths)]),
        "sizes": np.array([part.vocab_size, part.max_tokens]),
        **{f"target.{name}": rows for name, rows in sorted(part.targets.items())},
        **{f"scale.{name}": s.as_array() for name, s in sorted(part.scales.items())},
        **({"trunk": np.array(files.canonical(part.trunk))} if part.trunk else {}),
    }
    if part.ngrams:
        arrays |= {f"ngrams.{name}": np.asarray(v) for name, v in vars(part.ngrams).items()}
    with files.atomic(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        if dimension:
            with archive.open(FEATURES, "w", force_zip64=True) as member:
                shape = (int(part.lengths.sum()), dimension)
                header = {"descr": "<f2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for texts in features:
                    member.write(np.concatenate(texts).tobytes())


def _load_ngrams(archive: Mapping[str, np.ndarray]) -> Ngrams:
    columns, values, offsets = (archive[f"ngrams.{n}"] for n in ("columns", "values", "offsets"))
    return Ngrams(columns, values, offsets, int(archive["ngrams.size"]))


def load_encoded(path: str | Path) -> Encoded:
    """Read a part that `save_encoded` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        offsets = archive["offsets"]
        flat = archive["ids"]
        targets = _by_task(archive, "target.")
        scales = {name: Scale(*rows) for name, rows in _by_task(archive, "scale.").items()}
        vocab_size, max_tokens = archive["sizes"].tolist()
        ngrams = _load_ngrams(archive) if "ngrams.size" in archive.files else None
        trunk = json.loads(str(archive["trunk"])) if "trunk" in archive.files else None
        has_features = FEATURES.removesuffix(".npy") in archive.files
    ids = tuple(flat[a:b] for a, b in pairwise(offsets))
    features = None
    if has_features:
        mapped = _map_member(path, FEATURES)
        features = tuple(mapped[a:b] for a, b in pairwise(offsets))
    return Encoded(ids, targets, vocab_size, max_tokens, ngrams, trunk, features, scales)


def _by_task(archive: Any, prefix: str) -> dict[str, np.ndarray]:
    names = [name for name in archive.files if name.startswith(prefix)]
    return {name.removeprefix(prefix): archive[name] for name in names}


def load_sizes(path: str | Path) -> PartSizes:
    """Read the sizes of a part that `save_encoded` wrote, and none of its texts."""
    with np.load(path, allow_pickle=False) as archive:
        vocab_size, max_tokens = archive["sizes"].tolist()
        lexicon_size = int(archive["ngrams.size"]) if "ngrams.size" in archive.files else 0
        trunk = json.loads(str(archive["trunk"])) if "trunk" in archive.files else None
        has_features = FEATURES.removesuffix(".npy") in archive.files
    width = _map_member(path, FEATURES).shape[1] if has_features else 0
    return PartSizes(vocab_size, max_tokens, lexicon_size, trunk, width)


def _map_member(path: str | Path, name: str) -> np.ndarray:
    """Map an array of an .npz into memory; its values are read from the disk when used."""
    with zipfile.ZipFile(path) as archive, archive.open(name) as member:
        np.lib.format.read_magic(member)
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        begin, header = archive.getinfo(name).header_offset, member.tell()
    with open(path, "rb") as stream:
        # The local header has 30 bytes; its last four hold the lengths of name and extra field.
        stream.seek(begin + 26)
        lengths = struct.unpack("<HH", stream.read(4))
    offset = begin + 30 + sum(lengths) + header
    return np.memmap(path, dtype, "r", offset, shape).view(np.ndarray)


def pad(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids int64 [B, T], padded to the longest, and a mask, True where a token is."""
    lengths = np.array([len(row) for row in rows])
    ids = np.full((len(rows), lengths.max()), PADDING_ID, dtype=np.int64)
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids[mask] = np.concatenate(rows)
    return ids, mask


def training_windows(
    lengths: np.ndarray,
    batch_size: int,
    accumulation: int,
    seed: int,
    epoch: int,
    most_tokens: float = math.inf,
) -> Iterator[list[np.ndarray]]:
    """Yield an epoch's optimizer steps: for each, its micro-batches as arrays of text indices.

    Texts are shuffled, sorted by length, and cut into windows of `batch_size * accumulation`. The
    windows come in random order. One window, drawn at random, takes the remainder and is smaller.
    Its texts depend on `batch_size * accumulation` alone, so another micro-batch size leaves the
    result the same.

    A micro-batch holds no more padded tokens than `batch_size` of the longest texts, nor more than
    `most_tokens`. So it holds more than `batch_size` texts where they are short.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    windows = windows_per_epoch(len(lengths), batch_size, accumulation)
    sizes = np.full(windows, batch_size * accumulation)
    # If the last window were always the smaller one, the longest texts would always weigh more.
    sizes[generator.integers(windows)] -= sizes.sum() - len(lengths)
    parts = np.split(order, np.cumsum(sizes)[:-1])
    most_tokens = min(most_tokens, batch_size * lengths.max())
    for index in generator.permutation(windows):
        texts = parts[index]
        at_once = max(1, int(most_tokens // lengths[texts[-1]]))
        yield np.array_split(texts, -(-len(texts) // at_once))


def windows_per_epoch(texts: int, batch_size: int, accumulation: int) -> int:
    """Return the number of optimizer steps in an epoch."""
    return -(-texts // (batch_size * accumulation))


def evaluation_batches(
    lengths: np.ndarray, tokens_per_batch: int = EVALUATION_TOKENS
) -> Iterator[np.ndarray]:
    """Yield text indices in batches of similar length, of at most `tokens_per_batch` tokens."""
    order = np.argsort(lengths, kind="stable")
    start, real = 0, 0
    for stop, length in enumerate(lengths[order].tolist()):
        real += length
        padded = length * (stop + 1 - start)
        if stop > start and (padded > tokens_per_batch or padded - real > EVALUATION_PADDING):
            yield order[start:stop]
            start, real = stop, length
    if len(order):
        yield order[start:]
