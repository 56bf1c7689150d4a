"""The report: what a run's result files say, as tables, figures and one page of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redheart.comparison import NAMES_IN_WORDS
from redheart.data_tables import (
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
from redheart.metrics import MAIN_METRIC
from redheart.tables import Table, make_table, shown, to_csv, to_markdown
from redheart.tasks import Record, Task

# matplotlib and jinja2 are imported where they are used: the workflow reads FILES on every start.

Json = Mapping[str, Any]

TEMPLATE = Path(__file__).parent / "report_template.html"
FIGURES = ("duplicates", "classes", "lengths", "sweep", "training", "comparison")
TABLES = (
    *("labels", "rejected", "duplicates", "conflicts", "clusters"),
    *("parts", "classes", "certificate"),
    *("rates", "sweet_spots", "candidates", "tasks"),
)
# Every file of the report: output name -> place in the run's folder.
FILES: dict[str, str] = {
    "report": "report.html",
    **{f"figure_{name}": f"figures/{name}.svg" for name in FIGURES},
    **{
        f"table_{name}_{kind}": f"tables/{name}.{kind}" for name in TABLES for kind in ("md", "csv")
    },
}

REFERENCE = "best_single"
BASELINE = "tfidf_linear"
VERSUS = "versus_best_single"
# The inputs that are one file each, and are not final_results.json.
SINGLE_FILES = ("records", "dedup", "split", "best", "curves")
# The parts of final_results.json that differ from run to run of the same thing.
CLOCK = ("provenance", "cost")

# What each figure shows, for those who do not see it; the tables hold its numbers.
ALT_TEXTS = {
    "duplicates": "histograms: similarities of removed pairs, label agreement within groups",
    "classes": "share of each class in all records and in each of the four parts",
    "lengths": "cumulative distribution of the text lengths of the four parts",
    "sweep": "validation and training loss of each learning rate by epoch",
    "training": "training and validation loss of each module group with its sweet spot",
    "comparison": "difference of each candidate to the best single checkpoint with its interval",
}


@dataclass(frozen=True)
class ReportInputs:
    """What the report is made of: the run's result files, already read."""

    tasks: Sequence[Task]
    """The tasks of the config, in the order in which they shall stand."""
    results: Json
    """final_results.json; its provenance and cost are not used."""
    sources: Mapping[str, Json]
    """candidates.json by seed: what each candidate is made of."""
    sweet_spots: Mapping[str, Json]
    """sweet_spots.json by seed."""
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
    """Return `final_results.json` without what a second run of the same would change."""
    return {key: value for key, value in results.items() if key not in CLOCK}


def build_report(inputs: ReportInputs) -> dict[str, str]:
    """Return the content of every file of the report.

    Returns
    -------
    By the names of `FILES`; the page needs none of the others. The same inputs give the same
    text: nothing in it depends on the clock.
    """
    from redheart import figures

    rows = comparison_rows(inputs.results)
    drawn = {
        "duplicates": figures.draw_duplicates(inputs.dedup),
        "classes": figures.draw_classes(inputs.split),
        "lengths": figures.draw_lengths(
            {part: [len(r["text"]) for r in members] for part, members in inputs.parts.items()}
        ),
        "sweep": figures.draw_sweep(inputs.curves, inputs.best),
        "training": figures.draw_training(inputs.sweet_spots),
        "comparison": figures.draw_comparison(rows, NAMES_IN_WORDS[REFERENCE]),
    }
    tables = build_tables(inputs)
    return {
        "report": _page(inputs, drawn, tables),
        **{f"figure_{name}": svg for name, svg in drawn.items()},
        **{f"table_{name}_md": to_markdown(table) for name, table in tables.items()},
        **{f"table_{name}_csv": to_csv(table) for name, table in tables.items()},
    }


def build_tables(inputs: ReportInputs) -> dict[str, Table]:
    """Return the tables of the report by name, those of `TABLES`."""
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
        "tasks": tasks_table(inputs.results, inputs.tasks),
    }


# --- tables -----------------------------------------------------------------------------------


def rates_table(best: Json) -> Table:
    """Return a row per learning rate: its score and what became of it."""

    def outcome(row: Json) -> str:
        if row["eliminated"]:
            return "eliminated"
        if row["learning_rate"] == best["best_learning_rate"]:
            return "chosen"
        return "tied" if row["learning_rate"] in best["tie"] else ""

    return make_table(
        best["scores"],
        ("learning rate", "", lambda row: str(row["learning_rate"])),
        ("outcome", "", outcome),
        ("validation loss", ".4f", lambda row: row["val_loss"]),
        ("standard error", ".4f", lambda row: row["standard_error"]),
        ("to the best, low", "+.4f", lambda row: (row["interval"] or [None])[0]),
        ("high", "+.4f", lambda row: (row["interval"] or [None])[-1]),
        (f"score ({best['criterion']})", ".4f", lambda row: row["score"]),
        ("ended in rung", "d", lambda row: (row["eliminated"] or {}).get("rung")),
        ("why eliminated", "", lambda row: (row["eliminated"] or {}).get("reason")),
        mark=lambda row: outcome(row) == "chosen",
    )


def sweet_spots_table(sweet_spots: Mapping[str, Json]) -> Table:
    """Return a row per group and training seed: the chosen epoch and the reason."""
    return make_table(
        spots_by_group(sweet_spots),
        ("group", "", lambda spot: spot["group"]),
        ("seed", "", lambda spot: spot["seed"]),
        ("modules", "", lambda spot: ", ".join(spot["modules"])),
        ("epoch", "d", lambda spot: spot["epoch"]),
        ("score", ".4f", lambda spot: spot["score"]),
        ("noise", ".2g", lambda spot: spot["noise"]),
        ("as good", "", lambda spot: _epochs(spot["as_good_epochs"])),
        ("overfits from", "d", lambda spot: spot["overfitting_epoch"]),
        ("p", ".2g", lambda spot: spot["overfitting"]["p_value"]),
        ("reason", "", lambda spot: spot["reason"]),
    )


def candidates_table(results: Json, sources: Mapping[str, Json]) -> Table:
    """Return a row per candidate: what it is made of and how it scores on each part."""
    rows = [{"name": name, **scores} for name, scores in results["candidates"].items()]
    seeds = sources if any("per_seed" in row for row in rows) else ()

    def of_seed(row: Json, seed: str) -> float | None:
        return row["per_seed"][seed]["test"]["macro"] if "per_seed" in row else None

    return make_table(
        rows,
        ("candidate", "", lambda row: row["name"]),
        ("val_select", ".3f", lambda row: row["val_select"]),
        ("val_confirm", ".3f", lambda row: row["val_confirm"]),
        ("test", ".3f", lambda row: row["test"]["macro"]),
        (f"against {REFERENCE}", "+.3f", lambda row: row["test"][VERSUS]["difference"]),
        ("low", "+.3f", lambda row: row["test"][VERSUS]["low"]),
        ("high", "+.3f", lambda row: row["test"][VERSUS]["high"]),
        ("passes", "g", lambda row: row["forward_passes"]),
        ("made of", "", lambda row: _made_of(row["name"], sources)),
        *((f"test, seed {s}", ".3f", lambda row, s=s: of_seed(row, s)) for s in seeds),
        mark=lambda row: row["name"] == results["shipped"]["candidate"],
    )


def tasks_table(results: Json, tasks: Sequence[Task]) -> Table:
    """Return a row per task and metric, each task's main one first; a column per candidate."""
    candidates = results["candidates"]
    first = next(iter(candidates.values()))["test"]["tasks"]
    scores = [
        (name, ".3f", lambda row, tested=tested["test"]["tasks"]: tested[row[0].name][row[1]])
        for name, tested in candidates.items()
    ]
    return make_table(
        [(task, metric) for task in tasks for metric in first[task.name]],
        ("task", "", lambda row: row[0].name),
        ("metric", "", lambda row: row[1]),
        *scores,
        mark=lambda row: row[1] == MAIN_METRIC[row[0].kind],
    )


def spots_by_group(sweet_spots: Mapping[str, Json]) -> list[dict[str, Any]]:
    """Return all sweet spots with their `group` and `seed`, the seeds of a group side by side."""
    groups = next(iter(sweet_spots.values()))["groups"]
    return [
        {"group": group, "seed": seed, **found["groups"][group]}
        for group in groups
        for seed, found in sweet_spots.items()
    ]


def _made_of(name: str, sources: Mapping[str, Json]) -> str:
    """Say which weights a candidate is made of, seed by seed where there are several."""
    if name == BASELINE:
        return "a linear model per task on TF-IDF; a yardstick that never ships"
    made = {seed: _weights(found[name]) for seed, found in sources.items() if name in found}
    if len(set(made.values())) < 2:
        return next(iter(made.values()), "")
    return "; ".join(f"seed {seed}: {weights}" for seed, weights in made.items())


def _weights(source: Json) -> str:
    if "offsets" in source:
        return f"variants at offsets {', '.join(map(str, source['offsets']))}"
    epochs = source.get("epochs", ())
    if isinstance(epochs, Mapping):
        return ", ".join(f"{group} of epoch {epoch}" for group, epoch in epochs.items())
    return f"{'epoch' if len(epochs) == 1 else 'epochs'} {_epochs(epochs)}"


def _epochs(epochs: Sequence[int]) -> str:
    """List epochs; more than eight as their number and range."""
    if len(epochs) > 8:
        return f"{min(epochs)} to {max(epochs)} ({len(epochs)} of them)"
    return ", ".join(map(str, sorted(epochs)))


# --- the page ---------------------------------------------------------------------------------


def comparison_rows(results: Json) -> list[dict[str, Any]]:
    """Return a row per candidate for the figure of the comparison, in the order of the results."""
    return [
        {
            "label": in_words(name),
            **result["test"][VERSUS],
            "seeds": _seed_differences(results, name),
            "words": difference_in_words(results, name),
            "ships": name == results["shipped"]["candidate"],
            "yardstick": name == BASELINE,
        }
        for name, result in results["candidates"].items()
    ]


def _seed_differences(results: Json, name: str) -> list[float]:
    """Return each training seed's own difference to the reference; none of one seed alone."""
    own, reference = (
        [seed["test"]["macro"] for seed in results["candidates"][key].get("per_seed", {}).values()]
        for key in (name, REFERENCE)
    )
    pairs = zip(own, reference, strict=False) if name != REFERENCE else ()
    return [score - other for score, other in pairs if score is not None and other is not None]


def in_words(name: str) -> str:
    """Return a candidate's name as a noun without article."""
    return NAMES_IN_WORDS.get(name, name).removeprefix("the ")


def difference_in_words(results: Json, name: str) -> str:
    """Return a candidate's difference to the best single checkpoint with its 95 % interval."""
    versus = results["candidates"][name]["test"][VERSUS]
    if name == REFERENCE:
        return "reference"
    if versus["difference"] is None:
        return "undefined"
    return f"{versus['difference']:+.3f} [{versus['low']:+.3f}, {versus['high']:+.3f}]"


def headline(results: Json) -> list[str]:
    """Return the report's first sentences: against the baseline, what ships and why, its score."""
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
            f"{difference_in_words(results, name)}."
        )
    return [results["baseline_sentence"], results["shipped"]["reason"], score]


def tiles(results: Json) -> list[dict[str, str]]:
    """Return the numbers at the head of the page, each with its label and a remark."""
    name, data = results["shipped"]["candidate"], results["data"]
    seeds = len(results["candidates"][name].get("per_seed", {})) or 1
    difference, _, interval = difference_in_words(results, name).partition(" ")
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
    """Fill in the template; everything but our own figures is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from redheart.figures import inlined

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
        label_counts=label_counts,
        cluster_diff=cluster_diff,
        spots=spots_by_group(inputs.sweet_spots),
    )
