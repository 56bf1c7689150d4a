"""The page in a real browser: nothing runs, nothing is asked for, nothing is cut off.

A script in a copy of the page measures it and writes what it finds into the copy. What the browser
asks for and what its console says are watched on the page itself.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest
from report_inputs import SEARCHED, TASKS, hostile, many_classes, synthetic

from redheart.report.page import build_page, build_tables, draw_figures

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: make test-browser installs it"),
]

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--hide-scrollbars", "--disable-component-update"),
)
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"
PRINTED = 718  # pixels that a sheet of A4 has between Chromium's margins of 0.4 inches
SECONDS = 300

MEASURE = """
<script>
const boxes = [...document.querySelectorAll(".scroll")];
const inside = (el) => el.closest(".scroll, details:not([open])");
const ends = (el) => el.getBoundingClientRect().right;
const legends = [...document.querySelectorAll("svg g[id*='-legend_']")];
const drawn = (text) => {
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  pen.font = "40px " + getComputedStyle(document.body).fontFamily;
  pen.fillText(text, 5, 60);
  return canvas.toDataURL();
};
const found = {
  window: innerWidth,
  page: document.documentElement.scrollWidth,
  outside: [...document.body.querySelectorAll("*")]
    .filter((el) => !inside(el) && ends(el) > innerWidth + 1 && el.getClientRects().length)
    .map((el) => el.outerHTML.slice(0, 80)),
  cut: boxes.filter((el) => el.scrollWidth > el.clientWidth + 1).map((el) => el.ariaLabel),
  figures: [...document.querySelectorAll(".plot")].map((el) => ({
    name: el.ariaLabel,
    width: el.firstElementChild.getBoundingClientRect().width,
    height: el.firstElementChild.getBoundingClientRect().height,
    shapes: el.querySelectorAll("path, use, text").length,
  })),
  legends: legends.length,
  hidden_legends: legends
    .filter((el) => ends(el) > ends(el.closest(".plot")) + 1).map((el) => el.id),
  closed: [...document.querySelectorAll("details > figure")]
    .filter((el) => !el.checkVisibility({contentVisibilityAuto: true})).length,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  results: document.getElementById("tasks").getBoundingClientRect().top,
  answers: document.querySelector(".answers").getBoundingClientRect().bottom,
  korean: drawn("한국어") !== drawn("\\uFFFF\\uFFFE\\uFFFF"),
  ran: window.ran || 0,
};
parent.postMessage(JSON.stringify(found), "*");
</script>
"""
# A window of Chromium is at least 500 pixels wide, and a frame inside of it may be narrower.
FRAME = """<!doctype html>
<meta name="color-scheme" content="light dark">
<iframe src="{source}" style="width: {width}px; height: 900px; border: 0"></iframe>
<script>
addEventListener("message", (event) => {{
  const box = document.createElement("pre");
  box.id = "measured";
  box.textContent = event.data;
  document.body.append(box);
}});
</script>
"""


def browse(folder, *arguments):
    """Run Chromium with an empty profile, and return its output and what it logs."""
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)


def measured(folder, page, width, *arguments):
    """Return what the script finds in a copy of the page in a window of this width."""
    copy, frame = folder / "copy.html", folder / "frame.html"
    copy.write_text(page.replace("</body>", f"{MEASURE}</body>"), "utf-8")
    frame.write_text(FRAME.format(source=copy.name, width=width), "utf-8")
    wait = "--virtual-time-budget=10000"
    done = browse(folder, "--window-size=1500,1000", *arguments, wait, "--dump-dom", frame.as_uri())
    return json.loads(html.unescape(re.search(r'<pre id="measured">(.*?)</pre>', done.stdout)[1]))


def page_of(inputs):
    return build_page(inputs, draw_figures(inputs), build_tables(inputs))


@pytest.fixture(scope="module")
def page():
    """The largest report, with markup in every text, Korean among the texts."""
    return page_of(hostile(synthetic(*SEARCHED)))


@pytest.fixture(scope="module")
def crowded():
    """A report of a hundred classes and a dozen tasks."""
    return page_of(many_classes())


@pytest.fixture(scope="module")
def wide(page, tmp_path_factory):
    return measured(tmp_path_factory.mktemp("wide"), page, 1300, LIGHT)


@pytest.fixture(scope="module")
def narrow(page, tmp_path_factory):
    return measured(tmp_path_factory.mktemp("narrow"), page, 400, DARK)


def asked_for(folder, page):
    """Return the addresses that a page asks for, and what the browser logs; not its own traffic."""
    path, log = folder / "report.html", folder / "requests.json"
    path.write_text(page, "utf-8")
    watched = (f"--log-net-log={log}", "--enable-logging=stderr", "--v=0")
    done = browse(folder, *watched, "--dump-dom", path.as_uri())
    assert "</html>" in done.stdout
    events = [event.get("params", {}) for event in json.loads(log.read_text("utf-8"))["events"]]
    # What the browser wants for itself has no page as its initiator.
    of_pages = [e for e in events if e.get("initiator", "not an origin") != "not an origin"]
    return {e["url"] for e in of_pages if re.match("(http|ws)s?:", e.get("url", ""))}, done.stderr


def test_nothing_is_asked_for_and_the_console_is_silent(page, tmp_path):
    addresses, logged = asked_for(tmp_path, page)
    assert addresses == set() and "CONSOLE" not in logged


def test_the_watch_sees_requests_and_errors(tmp_path):
    noisy = '<html><img src="http://127.0.0.1:9/a.png"><script>throw Error("b")</script></html>'
    addresses, logged = asked_for(tmp_path, noisy)
    assert addresses == {"http://127.0.0.1:9/a.png"} and "CONSOLE" in logged


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_no_text_runs_and_korean_is_shown(size, request):
    found = request.getfixturevalue(size)
    assert found["ran"] == 0
    assert found["korean"]


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_nothing_is_wider_than_the_window(size, request):
    found = request.getfixturevalue(size)
    assert found["page"] <= found["window"]
    assert found["outside"] == []


def test_no_table_is_cut_off_in_a_wide_window(wide):
    assert wide["window"] == 1300 and wide["cut"] == []


@pytest.mark.parametrize("size", ["wide", "narrow"])
def test_every_figure_is_there_with_its_legend(size, request):
    found = request.getfixturevalue(size)
    assert len(found["figures"]) == 11 + len(TASKS)
    for figure in found["figures"]:
        assert figure["width"] > 300 and figure["height"] > 60 and figure["shapes"] > 10, figure
    assert found["legends"] >= 6 and found["hidden_legends"] == []


def test_light_and_dark_have_their_own_colours(wide, narrow):
    assert (wide["ground"], narrow["ground"]) == ("rgb(244, 245, 247)", "rgb(16, 19, 23)")
    assert wide["ink"] != narrow["ink"]


def test_the_answers_fill_one_screen_and_the_results_follow(wide):
    assert wide["answers"] < 950
    assert wide["results"] < 2500


def test_it_prints_whole(page, tmp_path):
    """What is printed is measured on the screen: the rules for print hold there in a copy."""
    printed = page.replace("@media print", "@media all")
    found = measured(tmp_path, printed, PRINTED, LIGHT)
    assert found["page"] <= found["window"] and found["outside"] == [] and found["closed"] == 0
    path, sheets = tmp_path / "report.html", tmp_path / "report.pdf"
    path.write_text(page, "utf-8")
    browse(tmp_path, f"--print-to-pdf={sheets}", "--no-pdf-header-footer", path.as_uri())
    content = sheets.read_bytes()
    assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) > 10


@pytest.mark.parametrize("width", [1300, 400])
def test_a_hundred_classes_and_a_dozen_tasks_stay_readable(crowded, tmp_path, width):
    found = measured(tmp_path, crowded, width, LIGHT)
    assert found["page"] <= found["window"] and found["outside"] == []
    assert found["hidden_legends"] == [] and (width == 400 or found["cut"] == [])
    assert width == 400 or found["answers"] < 950
