"""The page of a comparison: whole, escaped, and by itself."""

from __future__ import annotations

import copy
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from comparison_runs import TASKS, make_records

from redheart.cli.main import main
from redheart.comparing.comparison import compare_runs
from redheart.comparing.page import bar, build_page, headline, span

HOSTILE = ['": [x', "<script>alert(1)</script>", "&amp; {{ 7*7 }} 그는"]


class Reader(HTMLParser):
    """Collects the tags and the text of a page, and that every tag is closed."""

    VOID = ("meta", "br", "link")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_names_from_the_data_are_shown_and_not_run(maker):
    parts = make_records(classes=HOSTILE)
    tasks = {**TASKS, "verdict": {**TASKS["verdict"], "classes": HOSTILE}}
    other = copy.deepcopy(tasks)
    other["verdict"]["classes"] = HOSTILE[::-1]
    maker.run("one", parts, tasks=tasks, note="</td><img src=x onerror=alert(1)>")
    maker.run("two", parts, tasks=other)
    page = read(build_page(compare_runs("one", "two")))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link"}
    assert "<script>alert(1)</script>" in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert "{{ 7*7 }} 그는" in page.text


def test_the_page_needs_no_other_file(maker, parts, tmp_path, capsys):
    maker.run("one", parts)
    maker.run("two", parts, skill=1.0, label_smoothing=0.3)
    assert main(["compare", "one", "two", "--html", str(tmp_path / "new" / "page.html")]) == 0
    assert "page.html: the same as a page" in capsys.readouterr().out
    text = (tmp_path / "new" / "page.html").read_text("utf-8")
    assert not re.search(r"https?://|url\(|@import|src=|href=", text)
    assert "prefers-color-scheme: dark" in text
    page = read(text)
    for words in ("B is better", "train.label_smoothing", "mean over tasks", "choose_candidate"):
        assert words in page.text


def test_what_is_not_comparable_is_told(maker, parts):
    maker.run("one", parts)
    run = maker.run("two", parts)
    (run / "choice.json").unlink()
    comparison = compare_runs("one", "two")
    assert headline(comparison) == "The two models cannot be compared on test or val_confirm."
    assert "Not comparable: B has no choice.json yet." in read(build_page(comparison)).text


@pytest.mark.parametrize(
    ("ends", "kind"), [((0.1, 0.2), "plus"), ((-0.2, -0.1), "minus"), ((-0.1, 0.2), "open")]
)
def test_a_bar_lies_on_the_side_of_the_better_run(ends, kind):
    row = {"low": ends[0], "high": ends[1], "difference": sum(ends) / 2}
    place = bar(row, 0.2)
    assert place["kind"] == kind
    assert float(place["left"]) == pytest.approx(50 + 250 * ends[0])
    assert float(place["left"]) + float(place["width"]) == pytest.approx(50 + 250 * ends[1])


def test_an_undefined_interval_has_no_bar():
    row = {"low": None, "high": None, "difference": None}
    assert bar(row, 1.0) is None
    scores = [{"comparable": True, "macro": row, "tasks": {}}, {"comparable": False}]
    assert span({"scores": scores}) == 0.01


@pytest.mark.slow
def test_a_real_run_and_its_copy_are_equal(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    one = project.result("")
    two = one.parent / "copy"
    shutil.copytree(one, two)
    comparison = compare_runs(one, two)
    assert not comparison["same"]
    assert comparison["settings"] == comparison["steps"] == []
    results = json.loads((one / "final_results.json").read_text())
    shipped = results["candidates"][results["shipped"]["candidate"]]
    for score in comparison["scores"]:
        assert score["comparable"] and score["identical"]
        known = shipped["test"]["macro"] if score["part"] == "test" else shipped[score["part"]]
        assert score["macro"]["a"] == pytest.approx(known, abs=1e-6)
    assert "On test, both models predict the same." in read(build_page(comparison)).text
