"""The exported folder: it appears whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from redheart.encoding.tokens import PADDING_ID
from redheart.errors import UserError
from redheart.export import card
from redheart.export.shipped import Shipped, open_shipped
from redheart.json_values import Json
from redheart.selection import checksums
from redheart.serving import model_files
from redheart.storage import files, run_files
from redheart.workflow.config import PATHS

WEIGHTS, TRUNK_WEIGHTS = "model.safetensors", "trunk/model.safetensors"
LABELS, ONNX, SCRIPT = "labels.json", "model.onnx", "predict_onnx.py"


def export_model(model: Path, target: Path, with_onnx: bool = False) -> list[str]:
    """Write a model that shipped as safetensors, with a model card, and as ONNX if asked for.

    Parameters
    ----------
    model
        The folder of a model that shipped, or that of its run.
    target
        The folder to make; it must not exist.

    Returns
    -------
    The names of the files, in sorted order; and the largest difference of ONNX to torch, in words.

    Raises
    ------
    UserError
        The model cannot be exported, or the folder is there already or cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise UserError(f"{target}: is there already; name a new folder, or move that one away")
    shipped = open_shipped(model)
    with _appearing(target) as folder:
        _write_files(folder, shipped)
        remark = _write_onnx(folder, shipped) if with_onnx else []
        files.write_text(folder / model_files.CARD, card.model_card(shipped, with_onnx))
        written = sorted(path for path in folder.rglob("*") if path.is_file())
        checksums.write_checksums(folder / checksums.CHECKSUMS, written)
    card.warn_of_gaps(shipped)
    return [*(path.relative_to(folder).as_posix() for path in written), *remark]


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Lend a hidden folder beside the target, which takes its name once the block is through."""
    folder = files.unused_name(target)
    with files.writable(target):
        folder.mkdir(parents=True)
        try:
            yield folder
            folder.rename(target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write_files(folder: Path, shipped: Shipped) -> None:
    from redheart.export.weights import write_weights

    write_weights(folder / WEIGHTS, shipped.states())
    names = [model_files.TOKENIZER, model_files.LEXICON, model_files.RECIPE]
    names += [n for n in (model_files.SCALES, run_files.TRUNK_CONFIG) if _has(shipped, n)]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(shipped.folder / name, folder / name)
    if _has(shipped, run_files.TRUNK_WEIGHTS) and not shipped.reads_sentences:
        from redheart.storage.tensors import load_deferred

        weights = load_deferred(shipped.folder / run_files.TRUNK_WEIGHTS)
        write_weights(folder / TRUNK_WEIGHTS, {"encoder": weights})
    files.write_json(folder / run_files.CONFIG, public_config(shipped))
    files.write_json(folder / LABELS, labels(shipped))


def _has(shipped: Shipped, name: str) -> bool:
    return (shipped.folder / name).exists()


def _write_onnx(folder: Path, shipped: Shipped) -> list[str]:
    from redheart.export.onnx_file import write_onnx

    difference = write_onnx(folder / ONNX, shipped)
    shutil.copyfile(Path(__file__).with_name(SCRIPT), folder / SCRIPT)
    return [f"{ONNX} differs from torch by {difference:.1g} at most"]


def labels(shipped: Shipped) -> Json:
    """Return what a reader of the outputs needs: the names of each task's outputs, and decisions.

    The tasks stand in the order of the outputs of `model.onnx`.
    """
    decisions: Mapping[str, Any] = shipped.decisions.get("tasks") or {}
    tasks: Json = {}
    for task in shipped.recipe.tasks:
        decision = decisions.get(task.name, {})
        tasks[task.name] = {"kind": task.kind, "outputs": list(task.output_names)}
        if task.kind == "multilabel":
            tasks[task.name]["thresholds"] = decision.get("thresholds") or {}
        if task.kind == "regression":
            tasks[task.name]["half_width"] = decision.get("half_width") or {}
            tasks[task.name]["coverage"] = decision.get("coverage")
    max_tokens = shipped.config["train"]["max_tokens"]
    return {"max_tokens": max_tokens, "padding_id": PADDING_ID, "tasks": tasks}


def public_config(shipped: Shipped) -> Json:
    """Return the config without the folders of the machine: of a path, its last part is kept."""
    config = shipped.config
    public: Json = {name: dict(v) if isinstance(v, Mapping) else v for name, v in config.items()}
    for section, key in PATHS:
        value = public.get(section, {}).get(key)
        if isinstance(value, str) and value != shipped.hub_id:
            public[section][key] = PurePath(value).name
    return public
