"""The report: a run's result files as tables, figures and one page of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.crossover.candidates import (
    BASELINE,
    BEST_SINGLE,
    NAMES_IN_WORDS,
    OF_AVERAGES,
    REFERENCES,
)
from redheart.json_values import Json
from redheart.report.candidate_tables import (
    HIDDEN,
    candidates_table,
    comparison_rows,
    difference_in_words,
    in_words,
    recipes_table,
    tasks_table,
)
from redheart.report.data_tables import (
    certificate_table,
    classes_table,
    cluster_diff,
    clusters_table,
    conflicts_table,
    duplicates_table,
    label_counts,
    labels_table,
    parts_table,
    rejected_table,
)
from redheart.report.tables import Table, shown, to_csv, to_markdown
from redheart.report.training_tables import rates_table, spots_by_group, sweet_spots_table
from redheart.selection.comparison import noise_sentence
from redheart.selection.openings import openings_sentence
from redheart.tasks.task import Record, Task

TEMPLATE = Path(__file__).with_suffix(".html")
FIGURES = (
    *("duplicates", "classes", "lengths", "sweep", "training", "units"),
    *("comparison", "search", "heat_map"),
)
TABLES = (
    *("labels", "rejected", "duplicates", "conflicts", "clusters"),
    *("parts", "classes", "certificate"),
    *("rates", "sweet_spots", "candidates", "recipes", "tasks"),
)
# Every file of the report: output name -> path in the run's folder.
FILES: dict[str, str] = {
    "report": "report.html",
    **{f"figure_{name}": f"figures/{name}.svg" for name in FIGURES},
    **{
        f"table_{name}_{kind}": f"tables/{name}.{kind}" for name in TABLES for kind in ("md", "csv")
    },
}

REFERENCE = BEST_SINGLE
# The inputs of one file each, without final_results.json.
SINGLE_FILES = ("records", "dedup", "split", "best", "curves")
# The parts of final_results.json that differ between two equal runs.
CLOCK = ("provenance", "cost")

# A description of each figure, for readers who cannot see it; the tables hold its numbers.
ALT_TEXTS = {
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


def without_clock(results: Json) -> dict[str, Any]:
    """Return `final_results.json` without the parts that a second equal run would change."""
    return {key: value for key, value in results.items() if key not in CLOCK}


def build_report(inputs: ReportInputs) -> dict[str, str]:
    """Return the content of every file of the report.

    Returns
    -------
    The contents by the names of `FILES`. The page needs no other file of the report. The same
    inputs give the same text: nothing in it depends on the clock.
    """
    from redheart.report import candidate_figures, data_figures, training_figures

    drawn = {
        "duplicates": data_figures.draw_duplicates(inputs.dedup),
        "classes": data_figures.draw_classes(inputs.split),
        "lengths": data_figures.draw_lengths(
            {part: [len(r["text"]) for r in members] for part, members in inputs.parts.items()}
        ),
        "sweep": training_figures.draw_sweep(inputs.curves, inputs.best),
        "training": training_figures.draw_spots(inputs.sweet_spots),
        "units": training_figures.draw_spots(inputs.sweet_spots, "units"),
        "comparison": candidate_figures.draw_comparison(
            comparison_rows(inputs.results), {name: NAMES_IN_WORDS[name] for name in REFERENCES}
        ),
        "search": candidate_figures.draw_path(inputs.search, len(inputs.tasks)),
        "heat_map": candidate_figures.draw_heat_map(inputs.search),
    }
    tables = build_tables(inputs)
    return {
        "report": _page(inputs, drawn, tables),
        **{f"figure_{name}": svg for name, svg in drawn.items()},
        **{f"table_{name}_md": to_markdown(table) for name, table in tables.items()},
        **{f"table_{name}_csv": to_csv(table) for name, table in tables.items()},
    }


def build_tables(inputs: ReportInputs) -> dict[str, Table]:
    """Return the tables of the report by the names in `TABLES`."""
    return {
        "labels": labels_table(inputs.tasks, inputs.records),
        "rejected": rejected_table(inputs.records),
        "duplicates": duplicates_table(inputs.dedup),
        "conflicts": conflicts_table(inputs.dedup),
        "clusters": clusters_table(inputs.dedup),
        "parts": parts_table(inputs.split),
        "classes": classes_table(inputs.split),
        "certificate": certificate_table(inputs.split),
        "rates": rates_table(inputs.best),
        "sweet_spots": sweet_spots_table(inputs.sweet_spots),
        "candidates": candidates_table(inputs.results, inputs.sources),
        "recipes": recipes_table(inputs.results, inputs.sources),
        "tasks": tasks_table(inputs.results, inputs.tasks),
    }


def headline(results: Json) -> list[str]:
    """Return the report's first sentences: baseline, shipped model, its score, noise, openings."""
    name = results["shipped"]["candidate"]
    test = results["candidates"][name]["test"]
    if test["macro"] is None:
        score = "No task is labelled in the test part, so it has no score there."
    elif name == REFERENCE:
        score = f"Its macro score on test is {test['macro']:.3f}."
    else:
        score = (
            f"Its macro score on test is {test['macro']:.3f}; that of {NAMES_IN_WORDS[REFERENCE]} "
            f"is {_score(results, REFERENCE)}, a difference of "
            f"{difference_in_words(results, name, REFERENCE)}."
        )
    seeds = noise_sentence(_training_seeds(results))
    access = openings_sentence(results["test_access"])
    return [results["baseline_sentence"], results["shipped"]["reason"], score, f"{seeds} {access}"]


def _training_seeds(results: Json) -> int:
    return len(results["candidates"][results["shipped"]["candidate"]].get("per_seed", {})) or 1


def tiles(results: Json) -> list[dict[str, str]]:
    """Return the numbers at the top of the page, each with a label and a remark."""
    name, data = results["shipped"]["candidate"], results["data"]
    seeds = _training_seeds(results)
    difference, _, interval = difference_in_words(results, name, REFERENCE).partition(" ")
    entries = (
        ("ships", in_words(name), f"of {len(results['candidates'])} candidates"),
        ("macro on test", _score(results, name), "mean over tasks, 0 to 1"),
        ("against best single", difference, interval or "no interval"),
        ("TF-IDF + linear", _score(results, BASELINE), "macro on test, a yardstick"),
        ("learning rate", str(results["best_learning_rate"]), "chosen in the sweep"),
        ("records", f"{data['kept']:,}", f"of {data['read']:,} read"),
        ("near-duplicates", f"{data['removed']:,}", "removed"),
        (
            "training seeds",
            str(seeds),
            "scores are means" if seeds > 1 else "their noise is unknown",
        ),
    )
    return [{"label": label, "value": value, "remark": remark} for label, value, remark in entries]


def _score(results: Json, name: str) -> str:
    score = results["candidates"].get(name, {}).get("test", {}).get("macro")
    return "–" if score is None else f"{score:.3f}"


def _page(inputs: ReportInputs, drawn: Mapping[str, str], tables: Mapping[str, Table]) -> str:
    """Fill in the template; it escapes everything except our own figures."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from redheart.report.figures import inlined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE.name).render(
        inputs=inputs,
        headline=headline(inputs.results),
        tiles=tiles(inputs.results),
        figures={name: Markup(inlined(svg, name, ALT_TEXTS[name])) for name, svg in drawn.items()},
        tables=tables,
        shown=shown,
        left_out=() if "ema" in inputs.results["candidates"] else OF_AVERAGES,
        label_counts=label_counts,
        cluster_diff=cluster_diff,
        spots=spots_by_group(inputs.sweet_spots),
        hidden_columns=[
            c.title for c in tables["candidates"].columns if c.title.startswith(HIDDEN)
        ],
    )
