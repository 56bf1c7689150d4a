"""The assessment in short: for `final_results.json`, and for its headline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redheart.json_values import Json

# A difference with an adjusted p below this is more than chance.
SIGNIFICANT = 0.05
SHORT = ("score", "low", "high", "versus_baseline")


def short_form(assessment: Mapping[str, Any]) -> Json:
    """Return the `assessment` of `final_results.json`: the scores with their intervals."""
    return {
        "macro": {key: assessment["macro"][key] for key in SHORT},
        "tasks": {
            name: {key: task[key] for key in ("metric", *SHORT)}
            for name, task in assessment["tasks"].items()
        },
    }


def tasks_sentence(assessment: Mapping[str, Any]) -> str:
    """Return on which tasks the model is better or worse than TF-IDF + linear, beyond chance.

    Holm's correction is over the tasks. The sentence is empty if no task can be compared.
    """
    versus = {name: task["versus_baseline"] for name, task in assessment["tasks"].items()}
    compared = {name: v for name, v in versus.items() if v["p_holm"] is not None}
    if not compared:
        return ""
    beyond = {name: v for name, v in compared.items() if v["p_holm"] < SIGNIFICANT}
    signs = {"worse": -1, "better": 1}
    found = [
        f"{word} on {_listed(names)}"
        for word, sign in signs.items()
        if (names := {name: v for name, v in beyond.items() if v["difference"] * sign > 0})
    ]
    if not found:
        return f"No difference on a single task is beyond chance ({_family(len(compared))})."
    return f"By task and beyond chance ({_family(len(compared))}), it is {', and '.join(found)}."


def with_assessment(comparison: Mapping[str, Any], assessment: Mapping[str, Any]) -> Json:
    """Return a comparison with the assessment in short, and with the tasks in its headline.

    Parameters
    ----------
    comparison
        What `compare` returned; its `baseline_sentence` is about all tasks together.
    """
    sentences = [comparison["baseline_sentence"]]
    if len(assessment["tasks"]) > 1:
        sentences.append(tasks_sentence(assessment))
    headline = " ".join(filter(None, sentences))
    return {**comparison, "baseline_sentence": headline, "assessment": short_form(assessment)}


def _listed(versus: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{name} ({difference_in_words(v)})" for name, v in versus.items())


def _family(tasks: int) -> str:
    return f"Holm over {tasks} tasks" if tasks > 1 else "one task"


def difference_in_words(versus: Mapping[str, float | None]) -> str:
    """Return a difference with its interval, as in `+0.020 [+0.001, +0.041]`."""
    difference, low, high = (_signed(versus[key]) for key in ("difference", "low", "high"))
    return f"{difference} [{low}, {high}]"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
