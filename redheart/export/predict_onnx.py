"""Predict texts with model.onnx: no Red Heart and no torch, only onnxruntime, tokenizers and numpy.

    pip install onnxruntime tokenizers numpy
    python predict_onnx.py texts.jsonl > predictions.jsonl

Each line of texts.jsonl is a JSON object with a `text`; `-` reads standard input. In Python:

    from predict_onnx import Model
    Model("FOLDER").predict(["a text", "another one"])
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

TEXTS_AT_ONCE = 32
WORDS = re.compile(r"\w+|[^\w\s]+")


class Model:
    """The folder of this file, opened."""

    def __init__(self, folder: str | Path = Path(__file__).parent):
        folder = Path(folder)
        self.labels = json.loads((folder / "labels.json").read_text("utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.labels["max_tokens"])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.reads = [entry.name for entry in self.session.get_inputs()]
        if "ngrams" in self.reads:
            with np.load(folder / "lexicon.npz", allow_pickle=False) as lexicon:
                self.lexicon = {name: lexicon[name] for name in lexicon.files}

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return for each text: task -> label and probabilities, or value."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        predictions: list[dict[str, Any]] = [{} for _ in texts]
        for start in range(0, len(order), TEXTS_AT_ONCE):
            chosen = order[start : start + TEXTS_AT_ONCE]
            outputs = self.session.run(None, self.inputs([texts[i] for i in chosen]))
            for (name, task), rows in zip(self.labels["tasks"].items(), outputs, strict=True):
                for i, row in zip(chosen, rows.tolist(), strict=True):
                    predictions[i][name] = _in_words(task, row)
        return predictions

    def inputs(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what the graph reads: token ids with their mask, and n-grams with their values."""
        encodings = self.tokenizer.encode_batch(list(texts))
        ids = [encoding.ids or [self.labels["padding_id"]] for encoding in encodings]
        padded, mask = _padded(ids, self.labels["padding_id"], np.int64)
        views = {"ids": padded, "mask": mask}
        if "ngrams" in self.reads:
            rows = [self._ngrams(text) for text in texts]
            views["ngrams"], _ = _padded([columns for columns, _ in rows], 0, np.int64)
            views["ngram_values"], _ = _padded([values for _, values in rows], 0, np.float32)
        return views

    def _ngrams(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return which n-grams of the lexicon stand in a text, and their tf-idf values."""
        columns, values, first = [], [], 0
        for block, ngrams in zip(("words", "characters"), _ngrams_of(text), strict=True):
            known, idf = self.lexicon[block], self.lexicon[f"{block}_idf"]
            hashes = (zlib.crc32(gram.encode("utf-8", "surrogatepass")) for gram in ngrams)
            hashed, counts = np.unique(np.fromiter(hashes, np.uint32), return_counts=True)
            _, place, kept = np.intersect1d(known, hashed, assume_unique=True, return_indices=True)
            weighted = (1 + np.log(counts[kept])) * idf[place]
            columns.append(first + place)
            values.append((weighted / max(np.linalg.norm(weighted), 1e-12)).astype(np.float16))
            first += len(known)
        return np.concatenate(columns), np.concatenate(values)


def _ngrams_of(text: str) -> tuple[list[str], list[str]]:
    """Return a text's n-grams of words (1 and 2) and of characters within words (3 to 5)."""
    text = unicodedata.normalize("NFC", text).lower()
    words = WORDS.findall(text)
    pairs = [f"{word} {following}" for word, following in pairwise(words)]
    characters = []
    for word in text.split():
        spaced = f" {word} "
        for n in (3, 4, 5):
            characters += [spaced[i : i + n] for i in range(max(1, len(spaced) - n + 1))]
            if len(spaced) <= n:
                break
    return words + pairs, characters


def _padded(rows: Sequence[Any], padding: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    padded = np.full(mask.shape, padding, dtype)
    padded[mask] = np.concatenate(rows)
    return padded, mask


def _in_words(task: dict[str, Any], row: list[float]) -> dict[str, Any]:
    """Return one prediction in words; `labels.json` says how."""
    kind, by_name = task["kind"], dict(zip(task["outputs"], row, strict=True))
    if kind == "regression":
        values = {name: _with_interval(task, name, value) for name, value in by_name.items()}
        return values[task["outputs"][0]] if len(values) == 1 else {"values": values}
    if kind == "multilabel":
        thresholds = task["thresholds"]
        labels = [name for name, value in by_name.items() if value >= thresholds.get(name, 0.5)]
        return {"labels": labels, "probabilities": by_name}
    label = max(by_name, key=by_name.__getitem__)
    if kind == "multiclass":
        return {"label": label, "probability": by_name[label], "probabilities": by_name}
    ranked = [*sorted(row, reverse=True), 0.0]
    return {"label": label, "margin": ranked[0] - ranked[1], "probabilities": by_name}


def _with_interval(task: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    half = task["half_width"].get(name)
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "coverage": task["coverage"]}


def _texts(path: str) -> Iterator[str]:
    content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    for number, line in enumerate(content.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                yield str(json.loads(line)["text"])
            except (ValueError, KeyError, TypeError):
                sys.exit(f'line {number}: expected a JSON object, {{"text": "..."}}')


def main() -> None:
    """Predict the texts of a file and print one line of JSON for each."""
    if len(sys.argv) != 2:
        sys.exit("usage: python predict_onnx.py texts.jsonl")
    for prediction in Model().predict(list(_texts(sys.argv[1]))):
        print(json.dumps(prediction))


if __name__ == "__main__":
    main()
