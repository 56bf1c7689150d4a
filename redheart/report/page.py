"""The report: a run's result files as tables, figures and one page of HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from redheart.crossover.candidates import NAMES_IN_WORDS, OF_AVERAGES, REFERENCES
from redheart.report.advice import Advice, advice_table, advise
from redheart.report.answers import answers, confused_words, headline, trained_epochs
from redheart.report.candidate_tables import (
    HIDDEN,
    candidates_table,
    comparison_rows,
    recipes_table,
    tasks_table,
)
from redheart.report.contents import FIGURES, ReportInputs, figure_of, in_order
from redheart.report.data_tables import (
    certificate_table,
    classes_table,
    cluster_diff,
    clusters_table,
    conflicts_table,
    corrections_table,
    duplicates_table,
    label_counts,
    labels_table,
    parts_table,
    rejected_table,
)
from redheart.report.tables import Table, shown, to_csv, to_latex, to_markdown
from redheart.report.task_tables import (
    calibration_table,
    class_scores_table,
    confused_table,
    metric_in_words,
    metrics_table,
    mistakes_table,
    outputs_table,
    scores_table,
    suspected_classes_table,
    suspects_table,
)
from redheart.report.training_tables import (
    hyperparameters_table,
    rates_table,
    spots_by_group,
    sweet_spots_table,
)
from redheart.selection.openings import openings_sentence
from redheart.storage import files

if TYPE_CHECKING:
    from redheart.figures.drawing import Drawing

FOLDER = Path(__file__).parent / "templates"
TEMPLATE = "page.html"
# All files that the page is made with; Jinja reads them by name.
TEMPLATES = sorted(FOLDER.glob("*.*"))
# The most suspicious records that the page shows.
MOST_SUSPECTS = 30


def build_report(inputs: ReportInputs, figure_kinds: Sequence[str]) -> dict[str, bytes]:
    """Return the content of every file of the report.

    Parameters
    ----------
    figure_kinds
        The formats of the figures' files, some of svg, pdf and png.

    Returns
    -------
    The contents by the names of `report_files`. The page needs no other file of the report. The
    same inputs give the same bytes: nothing in it depends on the clock.
    """
    inputs = in_order(inputs)
    drawn, tables = draw_figures(inputs), build_tables(inputs)
    figures = {name: drawing.files(figure_kinds) for name, drawing in drawn.items()}
    kinds = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
    return {
        "report": build_page(inputs, drawn, tables).encode(),
        **{f"figure_{n}_{kind}": data for n, of in figures.items() for kind, data in of.items()},
        **{
            f"table_{name}_{kind}": write(table).encode()
            for name, table in tables.items()
            for kind, write in kinds.items()
        },
    }


def write_report(folder: Path, inputs: ReportInputs, figure_kinds: Sequence[str]) -> None:
    """Write every file of the report, under its name in `report_files`, into a folder."""
    for name, content in build_report(inputs, figure_kinds).items():
        with files.atomic(folder / name) as stream:
            stream.write(content)


def draw_figures(inputs: ReportInputs) -> dict[str, Drawing]:
    """Return the figures of the report by the names in `FIGURES`, and one for each task."""
    from redheart.figures import candidate_figures, data_figures, task_figures, training_figures

    drawn = {
        "scores": task_figures.draw_scores(inputs.assessment),
        "map": task_figures.draw_map(inputs.suspects or {"tasks": {}}),
        "duplicates": data_figures.draw_duplicates(inputs.dedup),
        "classes": data_figures.draw_classes(inputs.split),
        "lengths": data_figures.draw_lengths(
            {part: [len(r["text"]) for r in members] for part, members in inputs.parts.items()}
        ),
        "sweep": training_figures.draw_sweep(inputs.curves, inputs.best),
        "training": training_figures.draw_spots(inputs.sweet_spots),
        "units": training_figures.draw_spots(inputs.sweet_spots, "units"),
        "comparison": candidate_figures.draw_comparison(
            comparison_rows(inputs.results, inputs.sources),
            {name: NAMES_IN_WORDS[name] for name in REFERENCES},
        ),
        "search": candidate_figures.draw_path(inputs.search, len(inputs.tasks)),
        "heat_map": candidate_figures.draw_heat_map(inputs.search),
    }
    of_tasks = inputs.assessment["tasks"].items()
    return drawn | {figure_of(name): task_figures.draw_task(task) for name, task in of_tasks}


def build_tables(inputs: ReportInputs) -> dict[str, Table]:
    """Return the tables of the report by the names in `TABLES`."""
    return {
        "scores": scores_table(inputs.assessment),
        "metrics": metrics_table(inputs.assessment),
        "class_scores": class_scores_table(inputs.assessment, inputs.decisions),
        "confused": confused_table(inputs.assessment),
        "calibration": calibration_table(inputs.assessment),
        "outputs": outputs_table(inputs.assessment),
        "mistakes": mistakes_table(inputs.assessment),
        "advice": advice_table(advice_of(inputs)),
        "labels": labels_table(inputs.tasks, inputs.records),
        "rejected": rejected_table(inputs.records),
        "corrections": corrections_table(inputs.records),
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
        "hyperparameters": hyperparameters_table(inputs.hyperparameters),
    }


def advice_of(inputs: ReportInputs) -> list[Advice]:
    """Return what to do next after this run."""
    return advise(
        inputs.assessment,
        inputs.sweet_spots,
        trained_epochs(inputs),
        inputs.hyperparameters.get("model.pretrained"),
        inputs.installed,
        inputs.suspects,
        f"results/{inputs.results['run']}",
    )


def build_page(
    inputs: ReportInputs, drawn: Mapping[str, Drawing], tables: Mapping[str, Table]
) -> str:
    """Fill in the template; it escapes everything except our own figures and style."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from redheart.figures.drawing import inlined

    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = FIGURES | {figure_of(t.name): f"right and wrong of {t.name}" for t in inputs.tasks}
    advice, suspects = advice_of(inputs), inputs.suspects
    return environment.get_template(TEMPLATE).render(
        inputs=inputs,
        style=Markup((FOLDER / "style.css").read_text("utf-8")),
        headline=headline(inputs.assessment),
        answers=answers(inputs, advice),
        advice=advice,
        figures={n: Markup(inlined(d.svg, n, words[n])) for n, d in drawn.items()},
        figure_of=figure_of,
        tables=tables,
        own=_own_tables(inputs),
        suspected=suspects_table(suspects, MOST_SUSPECTS) if suspects else None,
        suspected_classes=suspected_classes_table(suspects) if suspects else None,
        confused_words=confused_words,
        metric_in_words=metric_in_words,
        shown=shown,
        left_out=() if "ema" in inputs.results["candidates"] else OF_AVERAGES,
        openings=openings_sentence(inputs.results["test_access"]),
        label_counts=label_counts,
        cluster_diff=cluster_diff,
        spots=spots_by_group(inputs.sweet_spots),
        hidden_columns=_hidden(tables["candidates"], HIDDEN),
    )


def _own_tables(inputs: ReportInputs) -> dict[str, dict[str, Table]]:
    """Return each task's own tables, as the page shows them: classes or outputs, and mistakes."""
    return {
        name: {
            "classes": class_scores_table(inputs.assessment, inputs.decisions, name),
            "outputs": outputs_table(inputs.assessment, name),
            "mistakes": mistakes_table(inputs.assessment, name),
        }
        for name in inputs.assessment["tasks"]
    }


def _hidden(table: Table, beginnings: Sequence[str]) -> list[str]:
    return [c.title for c in table.columns if c.title.startswith(tuple(beginnings))]
