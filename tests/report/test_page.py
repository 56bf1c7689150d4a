"""The report: its tables, its figures, its page; text from records never acts as markup."""

from __future__ import annotations

import hashlib
import html.parser
import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace
from functools import cache
from pathlib import Path

import markupsafe
import numpy as np
import pytest
from report_inputs import (
    GROUPS,
    HOSTILE,
    MANY,
    NOISE,
    SEARCHED,
    TASKS,
    UNITS,
    cluster,
    hostile,
    search_file,
    synthetic,
)

from redheart.duplicates.removal import DedupOptions, deduplicate
from redheart.figures import data_figures, training_figures
from redheart.figures.candidate_figures import draw_comparison, draw_heat_map, draw_path
from redheart.report.answers import headline
from redheart.report.candidate_tables import comparison_rows, what_it_is
from redheart.report.contents import SUSPECTS, report_files, without_clock
from redheart.report.data_tables import cluster_diff
from redheart.report.page import build_page, build_report, build_tables, draw_figures
from redheart.split import parts as quotas
from redheart.sweet_spots.choice import SweetSpotOptions, find_sweet_spots

KINDS = ("svg", "pdf", "png")


def page_of(inputs):
    """The page alone: it takes no figures in other formats, which take as long as all else."""
    return build_page(inputs, draw_figures(inputs), build_tables(inputs))


@cache
def paged(*arguments):
    return page_of(synthetic(*arguments))


@cache
def built(*arguments):
    return build_report(synthetic(*arguments), KINDS)


def column(table, title):
    index = [column.title for column in table.columns].index(title)
    return [row[index] for row in table.rows]


def candidate(name, **changes):
    """Return the synthetic inputs with changes to the test scores of one candidate."""
    inputs = synthetic()
    old = inputs.results["candidates"]
    changed = {**old[name], "test": {**old[name]["test"], **changes}}
    return replace(inputs, results={**inputs.results, "candidates": {**old, name: changed}})


# --- tables -----------------------------------------------------------------------------------


def test_every_table_is_a_file_and_its_rows_fit_its_columns():
    tables = build_tables(synthetic((0, 1, 2)))
    files = report_files([task.name for task in TASKS], KINDS)
    kinds = ("csv", "md", "tex")
    assert {f"table_{n}_{kind}" for n in tables for kind in kinds} == {
        n for n in files if "table_" in n
    }
    for name, table in tables.items():
        assert {len(row) for row in table.rows} <= {len(table.columns)}, name


def test_rates_are_chosen_tied_or_eliminated():
    table = build_tables(synthetic())["rates"]
    outcomes = dict(zip(column(table, "learning rate"), column(table, "outcome"), strict=True))
    assert outcomes["0.001"] == "chosen"
    assert outcomes["0.003"] == outcomes["0.01"] == "eliminated"
    assert table.marked == {4}
    assert column(table, "validation loss")[-1] is None


def test_the_least_similar_duplicates_come_first():
    similarity = column(build_tables(synthetic())["duplicates"], "similarity")
    assert similarity == sorted(similarity) and len(similarity) == 40


def test_a_conflict_names_the_labels_and_who_has_them():
    assert build_tables(synthetic())["conflicts"].rows == (
        ("AUTHOR / OTHER", 2, "r1: OTHER; r1001: AUTHOR"),
    )


def test_a_large_cluster_shows_its_labels_and_what_differs():
    first, second = build_tables(synthetic())["clusters"].rows
    assert first[:6] == ("r1", 3, 2, "OTHER 2, AUTHOR 1", "r3", 0.95)
    assert first[6] == "I told my sister [-that it was -]{+it took +}long[-.-]{+!+}"
    assert second[6].endswith("[the rest is not shown] ")


def test_of_cut_texts_the_end_is_no_difference():
    story = "It is a long story about a ladder that I lent to my neighbour. "
    longer = cluster(story * 2, f"So: {story * 2}")
    assert [kind for kind, _ in cluster_diff(longer)] == ["insert", "equal", "gap"]


def test_the_certificate_says_what_was_measured():
    rows = build_tables(synthetic())["certificate"].rows
    assert ("records not in exactly one part", None, 0, 0, "yes") in rows
    distances = [row for row in rows if row[0].startswith("Kolmogorov-Smirnov")]
    assert {row[1] for row in distances} <= set(quotas.PARTS)
    assert all((measured <= bound) == (holds == "yes") for _, _, measured, bound, holds in rows)


def test_tied_rates_are_named():
    best = synthetic().best
    table = build_tables(replace(synthetic(), best={**best, "tie": [0.0003, 0.001]}))["rates"]
    assert column(table, "outcome")[3:5] == ["tied", "chosen"]


def test_the_candidates_are_in_the_order_of_the_results_and_the_shipped_one_is_marked():
    inputs = synthetic()
    table = build_tables(inputs)["candidates"]
    assert column(table, "name") == list(NOISE)
    assert column(table, "candidate")[1] == "best single checkpoint (best_single)"
    assert table.marked == {list(NOISE).index("greedy_soup")}
    assert column(table, "test")[0] == inputs.results["candidates"]["last"]["test"]["macro"]


def test_candidates_say_what_they_are_made_of():
    inputs = synthetic()
    weights = dict(zip(NOISE, column(build_tables(inputs)["recipes"], "made of"), strict=True))
    assert weights["last"] == "epoch 60"
    assert weights["uniform_soup"] == "epochs 2 to 60 (30 of them)"
    assert weights["greedy_soup"] == "epochs 14, 18, 22"
    assert weights["crossover"].startswith("A of epoch ")
    assert weights["variants_ensemble"] == "variants at offsets -4, -2, 0, 2, 4"

    assert weights["tfidf_linear"] == ""


def test_what_was_searched_names_where_all_else_comes_from():
    table = build_tables(synthetic(searched=True))["recipes"]
    weights = dict(zip(column(table, "candidate"), column(table, "made of"), strict=True))
    assert weights["ascent"] == "the greedy soup, with dsp of epoch 4"


def test_candidates_say_what_they_are_and_which_other_they_came_to_be():
    sources = {
        "0": {"a": {"note": "one"}, "b": {"note": "two", "same_as": "a"}},
        "1": {"a": {"note": "one"}, "b": {"note": "two", "same_as": "a"}},
    }
    assert what_it_is("a", sources) == "one"
    assert what_it_is("b", sources) == "two; the same as a"
    del sources["1"]["b"]["same_as"]
    assert what_it_is("b", sources) == "two; the same as a in seed 0"
    assert "never ships" in what_it_is("tfidf_linear", sources)
    assert what_it_is("last", {"0": {"last": {"epochs": [6]}}}) == ""


def test_several_seeds_stand_beside_each_other():
    inputs = synthetic((0, 1, 2))
    tables = build_tables(inputs)
    per_seed = inputs.results["candidates"]["ema"]["per_seed"]
    assert column(tables["candidates"], "test, seed 1")[2] == per_seed["1"]["test"]["macro"]
    assert column(tables["candidates"], "test, seed 1")[-1] is None  # the baseline has no seed
    assert column(tables["sweet_spots"], "seed") == ["0", "1", "2"] * len(GROUPS)
    sources = {**inputs.sources, "1": {**inputs.sources["1"], "last": {"epochs": [58]}}}
    weights = column(build_tables(replace(inputs, sources=sources))["recipes"], "made of")
    assert weights[0] == "seed 0: epoch 60; seed 1: epoch 58; seed 2: epoch 60"


def test_the_main_metric_of_every_task_is_marked():
    table = build_tables(synthetic())["tasks"]
    marked = [table.rows[i][:2] for i in sorted(table.marked)][:: len(NOISE)]
    assert marked == [
        ("emotion", "js_similarity"),
        ("bentham", "r2"),
        ("regret", "r2"),
        ("topics", "mean_average_precision"),
        ("verdict", "macro_f1"),
    ]


# --- what the page says -----------------------------------------------------------------------


def test_candidates_with_the_same_weights_are_one_row():
    inputs = synthetic(searched=True)
    same = {"ema": {"same_as": "last"}, "ascent": {"same_as": "greedy_soup"}}
    sources = {"0": {**inputs.sources["0"], **same}}
    table = build_tables(replace(inputs, sources=sources))["candidates"]
    rows = dict(zip(column(table, "name"), column(table, "candidate"), strict=True))
    assert rows["last"] == "last checkpoint (last) = EMA weights (ema)"
    assert rows["variant_2"] == "variant 2 (variant_2) = variant 4 (variant_4)"
    assert not {"ema", "ascent", "variant_4"} & set(rows) and len(rows) == len(MANY) - 3
    ships = list(rows).index("greedy_soup")
    assert rows["greedy_soup"] == "greedy soup (greedy_soup) = ascent"
    assert table.marked == {ships}
    labels = [row["label"] for row in comparison_rows(inputs.results, sources)]
    assert labels[ships] == "greedy soup (+1 equal)" and len(labels) == len(rows)
    for_another = {**inputs.results, "shipped": {"candidate": "ascent"}}
    assert comparison_rows(for_another, sources)[ships]["ships"]


def test_candidates_with_the_same_weights_in_some_seeds_only_stay_apart():
    inputs = synthetic((0, 1, 2))
    sources = {**inputs.sources, "1": {**inputs.sources["1"], "ema": {"same_as": "last"}}}
    assert "ema" in column(build_tables(replace(inputs, sources=sources))["candidates"], "name")


def test_scores_that_are_undefined_are_said_to_be():
    nothing = {"difference": None, "low": None, "high": None, "p_holm": None}
    inputs = candidate("greedy_soup", macro=None, versus_best_single=nothing)
    versus = comparison_rows(inputs.results, {})[4]["against"]["best_single"]
    assert (versus["difference"], versus["words"]) == (None, "undefined")
    assert not versus["significant"]


def test_the_reference_is_not_compared_with_itself():
    results = {**synthetic().results, "shipped": {"candidate": "best_single", "reason": "It."}}
    rows = {row["label"]: row["against"] for row in comparison_rows(results, {})}
    assert rows["best single checkpoint"]["best_single"]["words"] == "reference"
    assert rows["best single checkpoint"]["greedy_soup"]["words"] != "reference"
    assert rows["greedy soup"]["greedy_soup"]["words"] == "reference"


def test_seeds_differ_from_the_reference_of_their_own_seed():
    results = synthetic((0, 1, 2)).results
    averages, reference = (
        results["candidates"][name]["per_seed"] for name in ("ema", "best_single")
    )
    versus = comparison_rows(results, {})[2]["against"]["best_single"]
    assert versus["seeds"] == [
        averages[seed]["test"]["macro"] - reference[seed]["test"]["macro"] for seed in "012"
    ]
    assert versus["difference"] == pytest.approx(np.mean(versus["seeds"]))


def test_several_passes_stand_behind_the_name_and_significance_is_by_holm():
    versus = synthetic().results["candidates"]["ema"]["test"]["versus_best_single"]
    for adjusted, filled in ((0.049, True), (0.05, False)):
        inputs = candidate("ema", versus_best_single={**versus, "p": 0.001, "p_holm": adjusted})
        rows = {row["label"]: row for row in comparison_rows(inputs.results, {})}
        assert rows["EMA weights"]["against"]["best_single"]["significant"] == filled
        assert "variants' ensemble ×5" in rows


def test_the_clock_is_taken_out_of_the_results():
    results = synthetic().results
    assert set(results) - set(without_clock(results)) == {"provenance", "cost"}


# --- the page and its figures -----------------------------------------------------------------


@pytest.mark.parametrize("by", ["loss", "metric"])
def test_the_figure_shows_what_the_sweet_spots_were_chosen_by(by):
    metrics = [
        {
            "epoch": epoch,
            "groups": {"A": {"train_loss": 1 / epoch, "val_loss": epoch / 9, "stability": 1.0}},
            "modules": {"heads.x": {"x": {"val_metric": epoch / 10}}},
        }
        for epoch in range(1, 9)
    ]
    options = SweetSpotOptions(selector="minimum", by=by)
    spots = find_sweet_spots(metrics, {"A": ["heads.x"]}, options)
    drawn = training_figures.draw_spots({"0": spots}).svg
    assert f"A · epoch {1 if by == 'loss' else 8}" in drawn
    assert ("metric (right axis)" in drawn) == (by == "metric")
    assert drawn.count("FillBetweenPolyCollection") == (1 if by == "loss" else 2)


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.names, self.words = [], [], [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]
        assert not any(name.startswith("on") for name in values)
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ((0, 1, 2),),
        ((0,), TASKS[-1:], ("A",), 80),
        SEARCHED,
    ],
    ids=["one seed", "three seeds", "one task", "searched"],
)
def test_the_report_is_complete_and_stands_alone(arguments):
    text = paged(*arguments)
    tasks = arguments[1] if len(arguments) > 1 else TASKS
    files = report_files([task.name for task in tasks], KINDS)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    links = [link for link in page.links if not link.startswith("data:")]
    assert all(link.startswith(("#", "tables/", "figures/")) for link in links)
    assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
    others = {SUSPECTS, "tables/test_predictions.csv"}
    assert {link for link in links if link[0] != "#"} <= {*files.values(), *others}
    assert not re.search(r"url\((?!#)|@import", text)
    assert page.names >= {"svg", "table", "h1"} and "script" not in page.names


@pytest.mark.slow
def test_every_file_is_there_and_is_what_its_name_says():
    report = built()
    assert set(report) == set(report_files([task.name for task in TASKS], KINDS))
    begins = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "tex": b"\\begin{tabular}"}
    for name, content in report.items():
        kind = name.rpartition("_")[2]
        assert content.startswith(begins.get(kind, b"")), name
        if kind == "svg":
            xml.etree.ElementTree.fromstring(content)
    assert report["report"].decode() == paged()


@pytest.mark.slow
def test_the_page_begins_with_the_answers_and_results_come_before_the_evidence():
    page = paged()
    assert f"<h1>{markupsafe.escape(headline(synthetic().assessment))}</h1>" in page
    places = [
        page.index(f'<section id="{name}"') for name in ("next", "tasks", "data", "candidates")
    ]
    assert page.index("How good is it?") < places[0] and places == sorted(places)


@pytest.mark.slow
def test_suspected_labels_are_shown_where_they_were_looked_for():
    inputs = synthetic(searched=True)
    words = "".join(Page(page_of(inputs)).words)
    assert "redheart review results/demo" in words and "corrections: fixes.csv" in words
    assert sum(f">s{k}<" in paged(*SEARCHED) for k in range(45)) == 6
    assert "redheart review" not in paged()


@pytest.mark.slow
def test_what_stands_in_records_stays_text():
    inputs = synthetic(searched=True)
    page = Page(page_of(hostile(inputs)))
    assert "script" not in page.names
    shown_once_each = ["a preview", "a kept preview", "a reason", "a class", "a run", "a group"]
    shown_once_each += [
        "a mistake",
        "a mistake's id",
        "a suspect",
        "an assessed class",
        "an output",
    ]
    shown_once_each += ["fixes", "갑의 라벨", "을의 아이디", "a claim"]
    words = "".join(page.words)
    said = " ".join(words.split())
    assert "changed 1,234 labels and dropped 5" in said and "6 of its lines decide" in said
    assert page.names >= {"ins", "del"}
    assert f"을{HOSTILE}갑이 말했다" in words
    for place in shown_once_each:
        assert f"{place} {HOSTILE.split()[0]}" in words


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes_in_another_process_and_at_another_time():
    program = f"""
import hashlib, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from dataclasses import replace
from redheart.report.page import build_report
from report_inputs import synthetic
inputs = synthetic()
other = dict(inputs.results, provenance=dict(commit="other"), cost=dict(seconds=1))
report = build_report(replace(inputs, results=other), ['svg', 'pdf', 'png'])
print(hashlib.sha256(repr(report).encode()).hexdigest())
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert run.stdout.strip() == hashlib.sha256(repr(built()).encode()).hexdigest()


@pytest.mark.slow
def test_the_list_of_files_is_read_without_the_libraries_that_draw():
    program = "import sys, redheart.report.page, redheart.report.contents; print({'matplotlib', 'jinja2', 'torch'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert run.stdout.strip() == "set()"


@pytest.mark.slow
def test_the_page_reads_what_deduplication_writes():
    text = "My neighbour has borrowed the ladder for a month, and I told him what I think"
    twins = [
        {"id": "a", "text": f"{text} about that.", "label": "X"},
        {"id": "b", "text": f"{text} of that.", "label": "Y"},
    ]
    for policy in ("keep_first", "cluster"):
        options = DedupOptions(policy=policy)
        _, report = deduplicate(twins, options, lambda record: record["label"])
        inputs = replace(synthetic((0,), TASKS[-1:], ("A",), 80), dedup=report)
        page = "".join(Page(page_of(inputs)).words)
        assert "X / Y" in page and f"{text} of that"[:80] in page
        assert "0.0 % of the cases" in page and "1 group is too few" in page
        assert "I told him what I think aboutof that." in page  # "about" goes, "of" comes


def forest_row(difference, yardstick=False, significant=False):
    versus = {"difference": difference, "words": "undefined", "seeds": []}
    if difference is not None:
        versus |= {"low": difference - 0.01, "high": difference + 0.01, "words": "b"}
    against = {"c": {**versus, "significant": significant}}
    return {"label": "a", "ships": True, "yardstick": yardstick, "against": against}


@pytest.mark.slow
def test_a_figure_is_drawn_where_nothing_is_known():
    assert "undefined" in draw_comparison([forest_row(None)], {"c": "the reference"}).svg
    best = {"best_learning_rate": 0.1, "tie": [0.1], "scores": []}
    assert "<svg" in training_figures.draw_sweep({"rates": []}, best).svg
    _, alone = deduplicate([], DedupOptions(), lambda record: None)
    assert data_figures.draw_duplicates(alone).svg.count(">none<") == 2
    assert "no units were searched" in draw_path({}, 3).svg
    assert "no unit was tried" in draw_heat_map({}).svg
    assert (
        "no units were looked at" in training_figures.draw_spots({"0": {"groups": {}}}, "units").svg
    )


@pytest.mark.slow
def test_the_search_is_drawn_move_by_move_and_map_by_map():
    generator = np.random.default_rng(0)
    searches = {"0": search_file(list(range(2, 61, 2)), generator)}
    drawn = draw_path(searches, 5).svg
    assert "neural_emotion: epoch 2" in drawn and "emotion 0.400 → 0.412" in drawn
    # Four tasks gain 0.036 in all, of five.
    assert "+0.006" in drawn and "+0.008" not in drawn
    assert (
        "no exchange gained" in draw_path({"0": search_file([2, 4, 6, 8, 10], generator, 0)}, 5).svg
    )
    maps = draw_heat_map(searches).svg
    assert all(f">{unit}<" in maps for unit in UNITS if unit != "trunk")
    assert maps.count("QuadMesh") == len(UNITS) - 1


@pytest.mark.slow
def test_a_tie_of_rates_is_shaded():
    best, curves = synthetic().best, synthetic().curves
    assert ">tied<" not in training_figures.draw_sweep(curves, {**best, "tie": [0.001]}).svg
    assert ">tied<" in training_figures.draw_sweep(curves, {**best, "tie": [0.0003, 0.001]}).svg


@pytest.mark.slow
def test_what_is_significant_is_filled():
    hollow, filled = (
        draw_comparison([forest_row(0.02, significant=found)], {"c": "c"}).svg
        for found in (False, True)
    )
    assert hollow.count("fill: #ffffff; stroke: #d8404f") == 1
    assert "fill: #ffffff; stroke: #d8404f" not in filled


@pytest.mark.slow
def test_of_many_classes_the_most_frequent_are_drawn():
    classes = {f"반 {k} {'y' * 40}": {"count": k, "share": k / 210} for k in range(1, 21)}
    drawn = data_figures.draw_classes(
        {"classes": classes, "parts": {"train": {"classes": classes}}}
    ).svg
    names = re.findall(r">반 (\d+) y+…<", drawn)
    assert names == [str(k) for k in range(20, 20 - data_figures.MOST_CLASSES, -1)]


@pytest.mark.slow
def test_a_yardstick_far_away_does_not_squeeze_the_others():
    near = draw_comparison([forest_row(0.01)], {"c": "c"}).svg
    far = draw_comparison([forest_row(0.01), forest_row(-0.4, yardstick=True)], {"c": "c"}).svg
    ticks = re.compile(r">([+\N{MINUS SIGN}]0\.\d+)<")
    assert ticks.findall(near) == ticks.findall(far) != []
