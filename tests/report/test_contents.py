"""The list of the report's files: each has its own name, and a caption for `snakemake --report`."""

from __future__ import annotations

from pathlib import Path

from redheart.report.contents import FIGURES, TABLES, figure_of, report_files

CAPTIONS = Path(__file__).parents[2] / "rules" / "captions"


def test_every_figure_and_table_has_a_caption_and_no_caption_is_left_over():
    wanted = {f"figures/{name}" for name in (*FIGURES, "task")} | {f"tables/{n}" for n in TABLES}
    found = {str(p.relative_to(CAPTIONS).with_suffix("")) for p in CAPTIONS.rglob("*.rst")}
    assert found == wanted | {"report"}
    assert all(len(path.read_text("utf-8").split()) > 4 for path in CAPTIONS.rglob("*.rst"))


def test_a_task_with_the_name_of_a_figure_has_its_own_file():
    files = report_files(["scores", "map"], ["svg", "pdf", "png"])
    assert len(set(files.values())) == len(files)
    assert files["figure_scores_svg"] == "figures/scores.svg"
    assert files[f"figure_{figure_of('scores')}_pdf"] == "figures/tasks/scores.pdf"
    assert {path.rpartition(".")[2] for path in files.values()} == {
        *("html", "svg", "pdf", "png", "csv", "md", "tex")
    }
