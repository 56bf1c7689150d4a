"""Measure the search for near-duplicates: against other tools, and with growing corpora.

    python bench/dedup.py                       all parts
    python bench/dedup.py methods --threshold 0.8 --cut 500 --corpus shuffled
    python bench/dedup.py --size 1000           everything, a tenth as large, in a minute

Parts: `first_use`, the time that the first search of a process adds; `growth`, from 0.3 to 10 times
--size texts; `hostile`, three times --size texts that are alike in all but order; `methods`, --size
texts by all methods. The texts are those of data/scruples.jsonl.gz if the file exists, otherwise
generated ones. Where more texts are needed, variants are made by dropping and mixing sentences. One
text in twenty is a planted near-duplicate. A method that is too slow for all texts is timed on a
sample; its time is scaled by the number of pairs, and the table says so. The bars are meant for the
default sizes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from typing import Any

import dedup_corpora
import dedup_methods
from dedup_methods import Found

from redheart.machine import meter

GROWTH = (0.3, 1, 3, 10)
HOSTILE = 3
GIB = 1 << 30


def timed(method: Any, texts: list[str], threshold: float) -> tuple[float, Found]:
    started = time.perf_counter()
    found = method(texts, threshold)
    return time.perf_counter() - started, found


def child(action: str, options: argparse.Namespace, *more: str, **environment: str) -> Any:
    """Run an action of this file in a separate process, with its own memory and imports."""
    command = [sys.executable, __file__, action, "--threshold", str(options.threshold)]
    done = subprocess.run(
        [*command, "--repeats", str(options.repeats), *more],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


# The time that the first search of a process adds


def measure_first_use(options: argparse.Namespace) -> dict[str, float]:
    texts = [f"{k} bottles of beer on the wall" for k in range(100)]
    first, again = (timed(dedup_methods.exact, texts, options.threshold)[0] for _ in range(2))
    return {"added_seconds": first - again}


def first_use(options: argparse.Namespace) -> None:
    print("## First search of a process\n\n| numba's cache | seconds added | bar |\n|---|---|---|")
    colds: list[float] = []
    warms: list[float] = []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for seconds in (colds, warms):
                measured = child("measure_first_use", options, NUMBA_CACHE_DIR=cache)
                seconds.append(measured["added_seconds"])
    print(f"| cold | {statistics.median(colds):.2f} | at most 10 |")
    print(f"| warm | {statistics.median(warms):.2f} | at most 1 |\n")


# Growth, and the hostile corpus


def measure(options: argparse.Namespace) -> dict[str, float]:
    texts = dedup_corpora.make(options.corpus, options.size, options.cut)
    dedup_methods.exact(["one", "other"], options.threshold)
    before = meter.peak_memory()
    runs = [timed(dedup_methods.exact, texts, options.threshold) for _ in range(options.repeats)]
    return {
        "size": len(texts),
        "seconds": statistics.median(seconds for seconds, _ in runs),
        "pairs": len(runs[0][1]),
        "before_bytes": before,
        "peak_bytes": meter.peak_memory(),
    }


def measured(corpus: str, size: float, options: argparse.Namespace) -> dict[str, float]:
    cut = ["--cut", str(options.cut)] if options.cut else []
    return child("measure", options, "--corpus", corpus, "--size", str(round(size)), *cut)


def line(row: dict[str, float], exponent: str) -> str:
    return (
        f"| {row['size']:,} | {row['seconds']:.2f} | {row['peak_bytes'] / GIB:.2f} "
        f"| {row['before_bytes'] / GIB:.2f} | {row['pairs']:,} | {exponent} |"
    )


def header(last: str) -> str:
    return (
        f"| texts | seconds (median) | peak GiB | GiB before the search | pairs | {last} |\n"
        "|---|---|---|---|---|---|"
    )


def growth(options: argparse.Namespace) -> None:
    """Time the search at several sizes; time(n) = time(m) * (n / m) ** exponent."""
    print("## Growth\n\n" + header("exponent from the first size"))
    rows: list[dict[str, float]] = []
    for factor in GROWTH:
        row = measured(options.corpus, factor * options.size, options)
        rows.append(row)
        print(line(row, f"{exponent(rows[0], row):.2f}" if len(rows) > 1 else ""), flush=True)
    print(f"\nExponent of the last step: {exponent(rows[-2], rows[-1]):.2f}.")
    print(
        "Bars: from 3,000 to 30,000 under 1.7 and to 100,000 under 1.9; 100,000 in 60 s, 2.5 GiB."
    )
    print()


def exponent(small: dict[str, float], large: dict[str, float]) -> float:
    """Return the exponent of the growth between two measurements."""
    seconds = math.log(large["seconds"] / small["seconds"])
    return seconds / math.log(large["size"] / small["size"])


def hostile(options: argparse.Namespace) -> None:
    print("## Hostile: the sentences of all texts shuffled together\n\n" + header("bar"))
    row = measured("shuffled", HOSTILE * options.size, options)
    print(line(row, "at most 30 s") + "\n", flush=True)


# All methods


def methods(options: argparse.Namespace) -> None:
    texts = dedup_corpora.make(options.corpus, options.size, options.cut)
    mean = statistics.mean(map(len, texts))
    print(f"## {len(texts):,} texts, mean {mean:,.0f} characters, threshold {options.threshold}\n")
    print("| method | seconds (median) | times ours | pairs | recall | precision |")
    print("|---|---|---|---|---|---|")
    dedup_methods.exact(["one", "other"], options.threshold)
    base, truth = median_of("exact search, compiled", dedup_methods.exact, texts, options)
    median_of("exact search, numpy", dedup_methods.exact_numpy, texts, options, base, truth)
    missing = [name for name in dedup_methods.RIVALS if not find_spec(name)]
    for name, method in dedup_methods.RIVALS.items():
        if name not in missing:
            median_of(f"{name}, checked", method, texts, options, base, truth)
    scaled(
        "rapidfuzz cdist", dedup_methods.cdist, texts, options.cdist_sample, options, base, truth
    )
    loop = dedup_methods.double_loop
    scaled("double loop", loop, texts, options.loop_sample, options, base, truth)
    print("\nBars: the loop 4,000 times, cdist 100 times ours; no rival under 1; recall 1.")
    if missing:
        install = f"{sys.executable} -m pip install {' '.join(missing)}"
        print(f"Not measured: {', '.join(missing)}. To install: {install}")


def median_of(
    name: str,
    method: Any,
    texts: list[str],
    options: argparse.Namespace,
    base: float | None = None,
    truth: Found | None = None,
) -> tuple[float, Found]:
    runs = [timed(method, texts, options.threshold) for _ in range(options.repeats)]
    taken, found = statistics.median(seconds for seconds, _ in runs), runs[0][1]
    print_row(name, taken, base or taken, found, found if truth is None else truth)
    return taken, found


def scaled(
    name: str,
    method: Any,
    texts: list[str],
    sample: int,
    options: argparse.Namespace,
    base: float,
    truth: Found,
) -> None:
    """Time a method on the first texts (they are in random order) and scale it by the pairs."""
    sample = min(sample, len(texts))
    taken, found = timed(method, texts[:sample], options.threshold)
    taken *= len(texts) * (len(texts) - 1) / (sample * (sample - 1))
    among = {pair for pair in truth if max(pair) < sample}
    print_row(f"{name}, scaled from {sample:,} texts", taken, base, found, among)


def print_row(name: str, taken: float, base: float, found: Found, truth: Found) -> None:
    hits = len(found & truth)
    recall = hits / len(truth) if truth else 1.0
    precision = hits / len(found) if found else 1.0
    print(
        f"| {name} | {taken:.2f} | {taken / base:,.1f} | {len(found):,} "
        f"| {recall:.3f} | {precision:.3f} |",
        flush=True,
    )


# The actions of `child`.
MEASUREMENTS = {"measure": measure, "measure_first_use": measure_first_use}
# `methods` comes last, since Linux counts the peak memory of a parent as its child's.
PARTS = {"first_use": first_use, "growth": growth, "hostile": hostile, "methods": methods}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all parts")
    parser.add_argument("--size", type=int, default=10_000, help="texts (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.92)
    parser.add_argument("--cut", type=int, default=None, help="cut texts to so many characters")
    parser.add_argument("--corpus", choices=dedup_corpora.CORPORA, default="mixed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop-sample", type=int, default=1000, help="texts of the double loop")
    parser.add_argument("--cdist-sample", type=int, default=2000, help="texts of cdist")
    options = parser.parse_args()
    if options.parts and options.parts[0] in MEASUREMENTS:
        print(json.dumps(MEASUREMENTS[options.parts[0]](options)))
        return
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    for name, part in PARTS.items():
        if not options.parts or name in options.parts:
            part(options)


if __name__ == "__main__":
    main()
