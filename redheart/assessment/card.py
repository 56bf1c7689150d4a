"""What the shipped folder says of its model: the recipe, and the card with scores and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redheart import markdown
from redheart.assessment.sentences import difference_in_words, with_assessment
from redheart.crossover.candidate_sources import Source
from redheart.selection import shipping


def write_words(folder: Path, run: str, source: Source, told: Mapping[str, Any]) -> None:
    """Write what is no weights of the shipped folder: `config`, `recipe` and `card`.

    Parameters
    ----------
    source
        The shipped candidate's source.
    told
        The contents of `config.json`, `comparison.json`, `decisions.json` and `assessment.json`, by
        these names without their ending.
    """
    assessment, decisions = told["assessment"], told["decisions"]
    comparison = with_assessment(told["comparison"], assessment)
    words = comparison, source, decisions["tasks"], card_lines(assessment, decisions)
    shipping.write_words(folder, run, told["config"], *words)


def card_lines(assessment: Mapping[str, Any], decisions: Mapping[str, Any]) -> list[str]:
    """Return the sections of a model card on how good the model is, and how it decides.

    Parameters
    ----------
    decisions
        The content of `decisions.json`.
    """
    rows = [_row(name, task) for name, task in assessment["tasks"].items()]
    lines = [*_thresholds(decisions), *_intervals(assessment)]
    return [
        "## How good it is",
        "",
        f"On {assessment['records']} test texts, with 95 % intervals (bootstrap over clusters of",
        "near-duplicates), beside TF-IDF + linear and the same answer for every text:",
        "",
        "| task | metric | score | TF-IDF + linear | difference | same answer |",
        "|---|---|---|---|---|---|",
        *rows,
        _row("all", {"metric": "their mean", **assessment["macro"]}),
        "",
        *(["## How it decides", "", *lines, ""] if lines else ()),
    ]


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _row(name: str, task: Mapping[str, Any]) -> str:
    low, high = _plain(task["low"]), _plain(task["high"])
    return (
        f"| {markdown.plain(name)} | {task['metric']} | {_plain(task['score'])} [{low}, {high}] "
        f"| {_plain(task['baseline'])} | {difference_in_words(task['versus_baseline'])} "
        f"| {_plain(task['majority'])} |"
    )


def _thresholds(decisions: Mapping[str, Any]) -> list[str]:
    """Return the thresholds of each multilabel task."""
    return [
        f"- **{markdown.plain(name)}**: a label is predicted from its threshold on: "
        + ", ".join(f"{markdown.plain(c)} {t:.3f}" for c, t in task["thresholds"].items())
        for name, task in decisions["tasks"].items()
        if task["kind"] == "multilabel"
    ]


def _intervals(assessment: Mapping[str, Any]) -> list[str]:
    """Return the interval of each output of a regression, and how often it held on test."""
    return [
        f"- **{markdown.plain(name)}**, {markdown.plain(output['name'])}: the value ± "
        f"{output['half_width']:.4g}, which held {_percent(output['coverage'])} of the test values"
        for name, task in assessment["tasks"].items()
        for output in task.get("outputs", ())
        if output["half_width"] is not None
    ]


def _percent(share: float | None) -> str:
    return "none known" if share is None else f"{100 * share:.0f} %"
