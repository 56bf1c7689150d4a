"""The size, style and colours of all figures, and their files; equal data give equal bytes."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from redheart.json_values import numbers

Floats = NDArray[np.float64]

# In a figure on the page, the page's own colours replace these four: dark mode would hide them.
THEME = {"ink": "#1b1f24", "muted": "#5d6773", "rule": "#dde2e8", "paper": "#ffffff"}
# These are readable on light and on dark ground; the accent marks the choice.
ACCENT, BLUE, ORANGE, GREEN, VIOLET = "#d8404f", "#3a7fc4", "#d07a1f", "#2f9a74", "#8a6cc8"

MINUS = "\N{MINUS SIGN}"
NORMAL_95 = 1.96  # standard errors on either side of a mean, for a 95 % interval
WIDTH = 7.6  # inches
PNG_DPI = 150  # dots an inch
# Files of fonts with Korean and Chinese characters, and the family to ask for; the first is taken.
FALLBACK_FONTS = {
    "NotoSansCJK-Regular.ttc": "Noto Sans CJK KR",
    "NotoSansKR-Regular.otf": "Noto Sans KR",
    "NotoSansKR-Regular.ttf": "Noto Sans KR",
    "NanumGothic.ttf": "NanumGothic",
    "malgun.ttf": "Malgun Gothic",
    "AppleGothic.ttf": "AppleGothic",
}
HANGUL_AND_HAN = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u4e00-\u9fff\uac00-\ud7a3]")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "redheart",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "figure.facecolor": THEME["paper"],
    "axes.facecolor": "none",
    "axes.edgecolor": THEME["muted"],
    "axes.linewidth": 0.7,
    "axes.labelcolor": THEME["muted"],
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": THEME["rule"],
    "grid.linewidth": 0.7,
    "text.color": THEME["ink"],
    "xtick.color": THEME["muted"],
    "ytick.color": THEME["muted"],
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
}


class Drawing:
    """A figure that is drawn once for each format that somebody asks for."""

    def __init__(self, width: float, height: float, draw: Callable[[Figure], None]) -> None:
        """Keep what draws a figure of `width` x `height` inches."""
        self._size, self._draw = (width, height), draw

    @cached_property
    def svg(self) -> str:
        """The figure as SVG; its text stays text, in whatever font the reader has."""
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with _style(()):
            return _saved(self._figure, format="svg", dpi=PNG_DPI, metadata=nothing).decode()

    def files(self, kinds: Sequence[str]) -> dict[str, bytes]:
        """Return the figure by the format of its file: svg, pdf for print, png for slides."""
        return {kind: self.svg.encode() if kind == "svg" else self._glyphs(kind) for kind in kinds}

    def _glyphs(self, kind: str) -> bytes:
        """Return the figure in a format that holds glyphs, and so depends on fonts."""
        undated = {"png": ("Software",), "pdf": ("Creator", "Producer", "CreationDate")}[kind]
        fallback = fallback_fonts() if HANGUL_AND_HAN.search(self.svg) else ()
        with _style(fallback):
            figure = self._drawn() if fallback else self._figure
            return _saved(figure, format=kind, dpi=PNG_DPI, metadata=dict.fromkeys(undated))

    @cached_property
    def _figure(self) -> Figure:
        return self._drawn()

    def _drawn(self) -> Figure:
        layout = ConstrainedLayoutEngine()
        figure = Figure(figsize=self._size, layout=layout)
        self._draw(figure)
        if figure.axes:
            layout.execute(figure)
        # The layout is found. No format need search it again, nor draw twice, as for an engine.
        figure.set_layout_engine(None)
        return figure


@contextmanager
def _style(fallback: Sequence[str]) -> Iterator[None]:
    """Set the figures' own style, whatever the user's is; the fonts help out where glyphs lack."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Matplotlib's font lacks Korean glyphs. It measures another glyph; the reader's fonts show
        # the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        matplotlib.rcParams["font.family"] = ["sans-serif", *fallback]
        yield


def _saved(figure: Figure, **options: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, **options)
    return stream.getvalue()


@cache
def fallback_fonts() -> tuple[str, ...]:
    """Return the installed font, if there is one, with Korean, Chinese and Japanese glyphs.

    PDF and PNG hold glyphs, and matplotlib's own font has none of these. Without such a font they
    show boxes. The file is looked up by its name, since matplotlib's list of fonts may be older.
    """
    paths = {Path(path).name: path for path in sorted(font_manager.findSystemFonts())}
    for file, family in FALLBACK_FONTS.items():
        if file in paths:
            font_manager.fontManager.addfont(paths[file])
            return (family,)
    return ()


def inlined(svg: str, name: str, label: str) -> str:
    """Return a figure as part of a page: no prolog, unique ids, the page's colours.

    Parameters
    ----------
    name
        The prefix of every id, since a page may hold several figures.
    label
        A description of the figure, for readers who cannot see it.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    body = body.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
    body = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for variable, colour in THEME.items():
        body = body.replace(colour, f"var(--{variable})")
    return body


def nothing(words: str) -> Drawing:
    """Return a figure with only the reason why there is nothing to draw."""

    def draw(figure: Figure) -> None:
        figure.text(0.5, 0.5, words, ha="center", va="center", color=THEME["muted"])

    return Drawing(WIDTH, 0.6, draw)


def epoch_axis(axes: Axes) -> None:
    """Let the x axis count epochs."""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def limit(axes: Axes, columns: Sequence[Sequence[float | None]]) -> None:
    """Fit the y axis to all finite values of the columns, with a margin."""
    values = numbers([value for column in columns for value in column])
    values = values[np.isfinite(values)]
    if len(values):
        margin = 0.06 * (values.max() - values.min()) or 0.1
        axes.set_ylim(values.min() - margin, values.max() + margin)


def short(name: str, characters: int = 28) -> str:
    """Return a name in one line of at most so many characters."""
    line = " ".join(name.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def signed(value: float, _: int | None = None) -> str:
    """Return a number with its sign, as a tick's label."""
    return f"{value:+.3g}".replace("-", MINUS) if value else "0"
