"""Figures as files: three formats, the same bytes twice, and Korean where there is a font for it."""

from __future__ import annotations

import re

import pytest

from redheart.figures import drawing
from redheart.figures.drawing import Drawing, inlined

ALL = ("svg", "pdf", "png")


def named(words):
    return Drawing(2, 1, lambda figure: figure.text(0.5, 0.5, words))


@pytest.mark.slow
def test_the_same_figure_gives_the_same_bytes_in_every_format_and_no_date():
    one, two = named("a $x$ b").files(ALL), named("a $x$ b").files(ALL)
    assert one == two
    assert one["svg"].startswith(b"<?xml") and b"a $x$ b" in one["svg"]
    assert one["pdf"].startswith(b"%PDF") and one["png"].startswith(b"\x89PNG")
    assert not re.search(
        rb"CreationDate|ModDate|20\d\d-\d\d-\d\d|Matplotlib", b"".join(one.values())
    )


@pytest.mark.slow
def test_the_user_s_own_style_changes_no_figure():
    import matplotlib

    usual = named("a").files(ALL)
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "black"}):
        assert named("a").files(ALL) == usual


@pytest.mark.slow
def test_korean_words_are_drawn_with_a_font_that_has_them(monkeypatch):
    with_font = named("나는").files(ALL)
    monkeypatch.setattr(drawing, "fallback_fonts", lambda: ())
    without = named("나는").files(ALL)
    assert with_font["svg"] == without["svg"] and "나는".encode() in without["svg"]
    monkeypatch.undo()
    assert (with_font["png"] != without["png"]) == bool(drawing.fallback_fonts())


def test_a_figure_on_the_page_has_ids_of_its_own_and_the_page_s_colours():
    text = inlined(named("a").svg, "one", 'a "label" <b>')
    assert text.startswith('<svg role="img" aria-label="a &quot;label&quot; &lt;b&gt;"')
    assert all(i.startswith("one-") for i in re.findall(r' id="([^"]*)"', text))
    assert "var(--ink)" in text and drawing.THEME["ink"] not in text
