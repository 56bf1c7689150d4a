"""The model card of an exported folder: what a hub reads from it, and what a person does."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from redheart import __version__, markdown
from redheart.export.shipped import Shipped, known_scores
from redheart.json_values import Json
from redheart.selection.shipping import described, how_to_read

# A licence as the hub names it, such as apache-2.0; any other text goes beside it.
IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.-]*")
NOT_STATED = "not stated"
# The hub's names for metrics that it knows by another name.
OF_THE_HUB = {
    "macro_f1": "f1",
    "micro_f1": "f1",
    "mean_average_precision": "average_precision",
    "r2": "r_squared",
    "mean_absolute_error": "mae",
}
# What the config is asked for, by its key in `release`: the words of the card.
LICENSES = {
    "model_license": "this model",
    "data_license": "the data that it learned from",
    "trunk_license": "its pretrained trunk",
}


def asked_for(shipped: Shipped) -> dict[str, str]:
    """Return the licences that a card of this model names: key -> what it is the licence of."""
    return {
        key: words
        for key, words in LICENSES.items()
        if key != "trunk_license" or shipped.config["model"].get("pretrained")
    }


def warn_of_gaps(shipped: Shipped) -> None:
    """Tell once which licences the config does not state."""
    if missing := [key for key in asked_for(shipped) if not shipped.release.get(key)]:
        named = ", ".join(f"release.{key}" for key in missing)
        print(
            f"warning: {named}: not stated in the config, and so the card says; state them there, "
            "run its command again (seconds), and export again",
            file=sys.stderr,
        )


def model_card(shipped: Shipped, with_onnx: bool) -> str:
    """Return README.md: front matter in YAML as the hub reads it, then Markdown.

    Nothing that comes from the data or the config acts as YAML, HTML or markup.
    """
    results = shipped.results()
    front = yaml.safe_dump(
        front_matter(shipped, results, with_onnx), allow_unicode=True, sort_keys=False
    )
    sections = [
        [f"# {markdown.plain(str(shipped.config['run']))}", _about(shipped)],
        ["## What it predicts", *_tasks(shipped)],
        ["## How good it is", *_scores(results, shipped.assessment())],
        ["## Use", *_use(shipped, with_onnx)],
        ["## Licences", *_licenses(shipped)],
        ["## Limits", LIMITS],
    ]
    paragraphs = [paragraph for section in sections for paragraph in section]
    return f"---\n{front}---\n\n" + "\n\n".join(paragraphs) + "\n"


LIMITS = (
    "It knows what its training texts and their labels taught it, their noise and bias included,\n"
    "and was measured on held-out texts of that same source and no other."
)


def front_matter(shipped: Shipped, results: Json | None, with_onnx: bool) -> Json:
    """Return the hub's front matter; what is not known is left out."""
    release, kinds = shipped.release, {task.kind for task in shipped.recipe.tasks}
    front: Json = {}
    if languages := list(release.get("language") or ()):
        front["language"] = languages
    if license_ := _one_line(release.get("model_license") or ""):
        is_known = IDENTIFIER.fullmatch(license_)
        front |= (
            {"license": license_} if is_known else {"license": "other", "license_name": license_}
        )
    front["library_name"] = "redheart"
    front["pipeline_tag"] = "text-classification"
    front["tags"] = ["redheart", *sorted(kinds), *(["onnx"] if with_onnx else [])]
    if shipped.hub_id:
        front["base_model"] = shipped.hub_id
    if results:
        front["model-index"] = [_index(shipped, results)]
    return front


def _index(shipped: Shipped, results: Json) -> Json:
    source = _one_line(PurePath(shipped.config["data"]["source"]).name)
    dataset = {"name": source, "type": source, "split": "test"}
    entries = [
        {
            "task": {"type": "text-classification", "name": name},
            "dataset": dict(dataset),  # one object would become an alias in YAML
            "metrics": [
                {"type": OF_THE_HUB.get(metric, metric), "name": metric, "value": round(value, 4)}
                for metric, value in metrics.items()
                if isinstance(value, int | float)
            ],
        }
        for name, metrics in known_scores(results)["tasks"].items()
    ]
    return {"name": str(results["run"]), "results": [e for e in entries if e["metrics"]]}


def _one_line(text: str) -> str:
    """Return a text in one line, so that no line of it can end the front matter."""
    return " ".join(text.split())


def _about(shipped: Shipped) -> str:
    candidate, seed = shipped.source.get("candidate", "?"), shipped.source.get("seed", 0)
    return (
        f"A model that Red Heart {__version__} exported: candidate `{candidate}`, seed {seed}.\n"
        "Its weights are float32, in `model.safetensors`; `labels.json` says what its outputs mean."
    )


def _tasks(shipped: Shipped) -> list[str]:
    lines = [
        f"- **{markdown.plain(name)}**: {described(task)}{_decided(shipped.decisions, name)}"
        for name, task in shipped.config["tasks"].items()
    ]
    return ["\n".join(lines)]


def _decided(decisions: Json, name: str) -> str:
    decision = (decisions.get("tasks") or {}).get(name, {})
    if thresholds := decision.get("thresholds"):
        named = ", ".join(
            f"{markdown.plain(label)} {value:.2f}" for label, value in thresholds.items()
        )
        return f"; a label is predicted from these probabilities on: {named}"
    if any((decision.get("half_width") or {}).values()):
        return f"; each value has an interval that holds {decision['coverage']:.0%} of true values"
    return ""


def _scores(results: Json | None, assessment: Json | None) -> list[str]:
    if results is None:
        return ["The folder was exported away from its run, so its scores are not at hand."]
    scores = known_scores(results)
    rows = [("mean over tasks", "macro", scores["macro"])]
    for name, metrics in scores["tasks"].items():
        rows += [(name, metric, value) for metric, value in metrics.items()]
    intervals = _intervals(assessment)
    shown = [
        f"| {markdown.plain(task)} | {markdown.plain(metric)} | {value:.3f} "
        f"| {intervals.get((task, metric), '')} |"
        for task, metric, value in rows
        if isinstance(value, int | float)
    ]
    counted = f"{results['data']['parts']['test']:,} texts of test"
    return [
        f"Measured on {counted}, which no choice was made on.",
        "\n".join(["| task | metric | score | 95 % interval |", "|---|---|---|---|", *shown]),
        results["baseline_sentence"],
    ]


def _intervals(assessment: Json | None) -> dict[tuple[str, str], str]:
    """Return the interval of each score that has one, by task and metric."""
    if assessment is None:
        return {}
    rows = {("mean over tasks", "macro"): assessment["macro"]}
    rows |= {(name, row["metric"]): row for name, row in assessment["tasks"].items()}
    return {
        key: f"{row['low']:.3f} to {row['high']:.3f}"
        for key, row in rows.items()
        if row.get("low") is not None and row.get("high") is not None
    }


def _use(shipped: Shipped, with_onnx: bool) -> list[str]:
    lines = []
    if with_onnx:
        lines += [
            "Without Red Heart, by `model.onnx`:",
            _code("pip install onnxruntime tokenizers numpy", "python predict_onnx.py texts.jsonl"),
            "Each line of `texts.jsonl` is a JSON object with a `text`. `predict_onnx.py` is\n"
            "short and shows how a text becomes token ids and n-grams.",
        ]
    return [
        *lines,
        "With Red Heart, from the folder that shipped; here the weights have another format.\n"
        + how_to_read(shipped.config["model"]),
        _code("redheart predict SHIPPED_FOLDER texts.jsonl"),
    ]


def _code(*lines: str) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _licenses(shipped: Shipped) -> Sequence[str]:
    stated: Mapping[str, Any] = shipped.release
    lines = [
        f"- of {words}: {markdown.plain(stated.get(key) or NOT_STATED)}"
        for key, words in asked_for(shipped).items()
    ]
    return ["\n".join(lines)]
