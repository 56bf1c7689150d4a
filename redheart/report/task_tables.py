"""The report's tables of the results: the tasks, their classes, mistakes and suspected labels."""

from __future__ import annotations

from typing import Any

from redheart.json_values import Json
from redheart.report.tables import Cell, Table, make_table

# Metrics in words; a metric without an entry goes by its name.
METRICS_IN_WORDS = {
    "macro_f1": "macro-F1",
    "micro_f1": "micro-F1",
    "accuracy": "accuracy",
    "mean_average_precision": "mean average precision",
    "macro_average_precision": "macro average precision",
    "js_similarity": "similarity of shares (1 − Jensen-Shannon)",
    "top_1_agreement": "top class agrees",
    "r2": "R²",
    "mean_absolute_error": "mean absolute error",
}
SHOWN_CHARACTERS = 240  # of a text on the page; the files have the whole text


def scores_table(assessment: Json) -> Table:
    """Return a row per task: its score and the difference to TF-IDF, each with its interval."""
    return make_table(
        assessment["tasks"].items(),
        ("task", "", lambda row: row[0]),
        ("measured by", "", lambda row: metric_in_words(row[1]["metric"])),
        ("texts", ",d", lambda row: row[1]["labelled"]),
        ("score", ".3f", lambda row: row[1]["score"]),
        ("low", ".3f", lambda row: row[1]["low"]),
        ("high", ".3f", lambda row: row[1]["high"]),
        ("most frequent answer", ".3f", lambda row: row[1]["majority"]),
        ("TF-IDF + linear", ".3f", lambda row: row[1]["baseline"]),
        ("difference", "+.3f", lambda row: row[1]["versus_baseline"]["difference"]),
        ("from", "+.3f", lambda row: row[1]["versus_baseline"]["low"]),
        ("to", "+.3f", lambda row: row[1]["versus_baseline"]["high"]),
        ("p by Holm", ".2g", lambda row: row[1]["versus_baseline"]["p_holm"]),
    )


def metrics_table(assessment: Json) -> Table:
    """Return a row per task and metric: the model's value and that of TF-IDF + linear."""
    rows = [
        (name, task, metric)
        for name, task in assessment["tasks"].items()
        for metric in task["metrics"]
    ]
    return make_table(
        rows,
        ("task", "", lambda row: row[0]),
        ("metric", "", lambda row: metric_in_words(row[2])),
        ("the model", ".3f", lambda row: row[1]["metrics"][row[2]]),
        ("TF-IDF + linear", ".3f", lambda row: row[1]["baseline_metrics"].get(row[2])),
        mark=lambda row: row[2] == row[1]["metric"],
    )


def class_scores_table(assessment: Json, decisions: Json, only: str | None = None) -> Table:
    """Return a row per class: its counts, precision, recall, F1, average precision, threshold.

    Parameters
    ----------
    only
        The task whose classes are listed, the lowest F1 first; None: those of all tasks.
    """

    def threshold(row: Json) -> float | None:
        fitted = decisions.get("tasks", {}).get(row["task"], {}).get("thresholds") or {}
        value: float | None = fitted.get(row["name"])
        return value

    tasks = {n: t for n, t in assessment["tasks"].items() if only in (None, n)}
    rows = [{"task": n, **row} for n, task in tasks.items() for row in task.get("classes") or ()]
    if only:
        rows.sort(key=lambda row: (row["f1"] is None, row["f1"]))
    has_thresholds = any(threshold(row) is not None for row in rows)
    columns: list[tuple[str, str, Any]] = [
        ("class", "", lambda row: row["name"]),
        ("in train", ",d", lambda row: row["train"]),
        ("in test", ",d", lambda row: row["support"]),
        ("predicted", ",d", lambda row: row["predicted"]),
        ("precision", ".2f", lambda row: row["precision"]),
        ("recall", ".2f", lambda row: row["recall"]),
        ("F1", ".2f", lambda row: row["f1"]),
        ("average precision", ".2f", lambda row: row["average_precision"]),
    ]
    task = [] if only else [("task", "", lambda row: row["task"])]
    last = [("threshold", ".2f", threshold)] if has_thresholds else []
    return make_table(rows, *task, *columns, *last)


def confused_table(assessment: Json) -> Table:
    """Return a row per pair of classes that the model takes for each other, task by task."""
    rows = [
        {"task": name, **pair}
        for name, task in assessment["tasks"].items()
        for pair in task.get("confused") or ()
    ]
    return make_table(
        rows,
        ("task", "", lambda row: row["task"]),
        ("true class", "", lambda row: row["true"]),
        ("predicted as", "", lambda row: row["predicted"]),
        ("records", ",d", lambda row: row["count"]),
        ("share of the true class", ".0%", lambda row: row["share"]),
    )


def calibration_table(assessment: Json) -> Table:
    """Return a row per task and bin of probabilities: what was stated, and what came true."""
    rows = [
        {"task": name, **row}
        for name, task in assessment["tasks"].items()
        for row in (task.get("calibration") or {}).get("bins", ())
    ]
    return make_table(
        rows,
        ("task", "", lambda row: row["task"]),
        ("from", ".1f", lambda row: row["low"]),
        ("to", ".1f", lambda row: row["high"]),
        ("predictions", ",d", lambda row: row["count"]),
        ("mean probability", ".3f", lambda row: row["mean_probability"]),
        ("share that was so", ".3f", lambda row: row["observed"]),
    )


def outputs_table(assessment: Json, only: str | None = None) -> Table:
    """Return a row per output of a regression: its errors, and its interval's coverage."""
    rows = [
        {"task": name, **output}
        for name, task in assessment["tasks"].items()
        for output in task.get("outputs") or ()
        if only in (None, name)
    ]
    task = [] if only else [("task", "", lambda row: row["task"])]
    return make_table(
        rows,
        *task,
        ("output", "", lambda row: row["name"]),
        ("R²", ".3f", lambda row: row["r2"]),
        ("Spearman", ".3f", lambda row: row["spearman"]),
        ("mean absolute error", ".3g", lambda row: row["mean_absolute_error"]),
        ("interval ±", ".3g", lambda row: row["half_width"]),
        ("true value inside", ".0%", lambda row: row["coverage"]),
        ("error, 5 %", "+.3g", lambda row: (row["residuals"] or {}).get("p05")),
        ("median", "+.3g", lambda row: (row["residuals"] or {}).get("p50")),
        ("95 %", "+.3g", lambda row: (row["residuals"] or {}).get("p95")),
    )


def mistakes_table(assessment: Json, only: str | None = None) -> Table:
    """Return a row per mistake that the model is surest of, task by task.

    Parameters
    ----------
    only
        The task whose mistakes are listed, with texts cut for the page; None: those of all tasks.
    """
    rows = [
        {"task": name, **row}
        for name, task in assessment["tasks"].items()
        for row in task.get("mistakes") or ()
        if only in (None, name)
    ]
    task = [] if only else [("task", "", lambda row: row["task"])]
    columns: list[tuple[str, str, Any]] = [
        ("id", "", lambda row: row["id"]),
        ("label", "", lambda row: as_text(row["label"])),
        ("the model says", "", lambda row: as_text(row["prediction"])),
        ("sure by", ".2f", lambda row: row["probability"]),
        ("text", "", lambda row: cut(row["text"]) if only else row["text"]),
    ]
    if only and all(row["probability"] is None for row in rows):
        columns.pop(3)
    return make_table(rows, *task, *columns)


def suspects_table(suspects: Json, most: int) -> Table:
    """Return a row per record whose label is most likely wrong, at most `most` over all tasks.

    The suspected ones come first, and are marked. Among them, and among the others, the tasks take
    turns, so that each has its most suspicious records in the table.
    """
    by_task = [
        [{"task": name, **record} for record in task["records"]]
        for name, task in suspects["tasks"].items()
    ]
    groups = [
        [[row for row in rows if bool(row["suspected"]) == suspected] for rows in by_task]
        for suspected in (True, False)
    ]
    return make_table(
        [row for group in groups for row in _in_turns(group)][:most],
        ("id", "", lambda row: row["id"]),
        ("task", "", lambda row: row["task"]),
        ("part", "", lambda row: row["part"]),
        ("label", "", lambda row: as_text(row["label"])),
        ("the model says", "", lambda row: as_text(row["model_says"])),
        ("confidence", ".2f", lambda row: row["confidence"]),
        ("text", "", lambda row: cut(row["text"])),
        mark=lambda row: bool(row["suspected"]),
    )


def suspected_classes_table(suspects: Json) -> Table:
    """Return a row per task and class: its records, and how many labels of them are suspected."""
    rows = [
        {"task": name, "class": of_class, **counts}
        for name, task in suspects["tasks"].items()
        for of_class, counts in (task.get("classes") or {}).items()
    ]
    return make_table(
        rows,
        ("task", "", lambda row: row["task"]),
        ("class", "", lambda row: row["class"]),
        ("records", ",d", lambda row: row["records"]),
        ("suspected", ",d", lambda row: row["suspected"]),
    )


def as_text(value: Any) -> Cell:
    """Return a label or a prediction as a reader sees it: words, numbers, lists and shares."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value if value is None else str(value)
    if isinstance(value, int | float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {as_text(item)}" for name, item in value.items())
    return ", ".join(str(as_text(item)) for item in value) or "none"


def metric_in_words(metric: str) -> str:
    """Return the name of a metric as readers know it."""
    return METRICS_IN_WORDS.get(metric, metric.replace("_", " "))


def percent(share: float, digits: int = 0) -> str:
    """Return a share as prose writes it: `15 %`."""
    return f"{100 * share:.{digits}f} %"


def cut(text: str, characters: int = SHOWN_CHARACTERS) -> str:
    """Return the beginning of a text."""
    return text if len(text) <= characters else f"{text[:characters].rstrip()} …"


def _in_turns(lists: list[list[Json]]) -> list[Json]:
    """Return the first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [rows[k] for k in range(longest) for rows in lists if k < len(rows)]
