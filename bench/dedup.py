"""Measure the search for near-duplicates against what people use instead.

    python bench/dedup.py                      10,000 texts, threshold 0.92
    python bench/dedup.py --size 30000 --threshold 0.8 --cut 500
    python bench/dedup.py --corpus shuffled    sentences of all texts mixed: alike in all but order

The texts are those of data/scruples.jsonl.gz where it is present, otherwise generated ones;
beyond their number, variants are made by dropping and mixing sentences. One text in twenty is a
planted near-duplicate. What is too slow to run in full is timed on a sample and scaled by the
number of pairs, and the table says so.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rapidfuzz import fuzz, process

from redheart.dedup import near_duplicate_pairs

SCRUPLES = Path(__file__).parents[1] / "data" / "scruples.jsonl.gz"
PLANTED_SHARE = 0.05
CDIST_ROWS = 256

Found = set[tuple[int, int]]


# The corpora


def read_or_generate(rng: np.random.Generator) -> list[str]:
    if SCRUPLES.exists():
        with gzip.open(SCRUPLES, "rt", encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines]
        return [text for text in texts if sentences_of(text)]
    letters = list("etaoinshrdlcumwfgypbvkjxqz")
    letter_shares = 0.9 ** np.arange(len(letters))
    letter_shares /= letter_shares.sum()
    words = ["".join(rng.choice(letters, n, p=letter_shares)) for n in rng.integers(2, 9, 4000)]
    word_shares = 1 / np.arange(1, len(words) + 1)
    lengths = rng.lognormal(5.6, 0.6, 10_000).astype(int) + 10
    drawn = rng.choice(words, lengths.sum(), p=word_shares / word_shares.sum())
    return [" ".join(part) + ". " for part in np.split(drawn, np.cumsum(lengths)[:-1])]


def sentences_of(text: str) -> list[str]:
    return [sentence for sentence in text.split(". ") if sentence]


def mixed(texts: list[str], size: int, rng: np.random.Generator) -> list[str]:
    """Take texts; where they run out, halves of two texts without one sentence in four."""
    chosen = [texts[i] for i in rng.permutation(len(texts))[:size]]
    while len(chosen) < size:
        left, right = (sentences_of(texts[i]) for i in rng.integers(len(texts), size=2))
        sentences = left[: len(left) // 2 + 1] + right[len(right) // 2 :]
        kept = [s for s in sentences if rng.random() < 0.75]
        chosen.append(". ".join(kept or sentences))
    return chosen


def shuffled(texts: list[str], size: int, rng: np.random.Generator) -> list[str]:
    """Deal the sentences of all texts out again: texts alike in letters and n-grams."""
    sentences = [s for text in texts for s in sentences_of(text)]
    counts = [len(sentences_of(texts[i])) for i in rng.integers(len(texts), size=size)]
    return [". ".join(sentences[i] for i in rng.integers(len(sentences), size=n)) for n in counts]


def plant(texts: list[str], rng: np.random.Generator) -> list[str]:
    """Replace some texts with near copies of others: one letter in 60 changed or dropped."""
    texts = list(texts)
    for target in rng.choice(len(texts), int(PLANTED_SHARE * len(texts)), replace=False):
        letters = list(texts[rng.integers(len(texts))])
        for place in rng.integers(len(letters), size=1 + len(letters) // 60):
            letters[place] = rng.choice(["", "x", "e"])
        texts[target] = "".join(letters) or "x"
    return texts


CORPORA = {"mixed": mixed, "shuffled": shuffled}


# The methods


def exact(texts: list[str], threshold: float) -> Found:
    i, j, _ = near_duplicate_pairs(texts, threshold)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def exact_numpy(texts: list[str], threshold: float) -> Found:
    i, j, _ = near_duplicate_pairs(texts, threshold, compiled=False)
    return set(zip(i.tolist(), j.tolist(), strict=True))


def cdist(texts: list[str], threshold: float) -> Found:
    found: Found = set()
    for row in range(0, len(texts), CDIST_ROWS):
        ratios = process.cdist(
            texts[row : row + CDIST_ROWS],
            texts[row:],
            scorer=fuzz.ratio,
            score_cutoff=100 * threshold,
            dtype=np.float64,
            workers=-1,
        )
        i, j = np.nonzero(np.triu(ratios >= 100 * threshold, 1))
        found.update(zip((row + i).tolist(), (row + j).tolist(), strict=True))
    return found


def double_loop(texts: list[str], threshold: float) -> Found:
    return {
        (i, j)
        for j, text in enumerate(texts)
        for i in range(j)
        if fuzz.ratio(texts[i], text) >= 100 * threshold
    }


def shingles(text: str) -> list[str]:
    return [text[k : k + 5] for k in range(max(1, len(text) - 4))]


def checked(texts: list[str], pairs: Found, threshold: float) -> Found:
    return {(i, j) for i, j in pairs if fuzz.ratio(texts[i], texts[j]) >= 100 * threshold}


def datasketch_lsh(texts: list[str], threshold: float) -> Found:
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=128, params=(32, 4))
    candidates: Found = set()
    for j, text in enumerate(texts):
        minhash = MinHash(num_perm=128)
        minhash.update_batch([shingle.encode() for shingle in set(shingles(text))])
        candidates.update((i, j) for i in lsh.query(minhash))
        lsh.insert(j, minhash)
    return checked(texts, candidates, threshold)


def rensa_lsh(texts: list[str], threshold: float) -> Found:
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=0.5, num_perm=128, num_bands=32)
    candidates: Found = set()
    for j, text in enumerate(texts):
        minhash = RMinHash(num_perm=128, seed=0)
        minhash.update(shingles(text))
        candidates.update((i, j) for i in lsh.query(minhash))
        lsh.insert(j, minhash)
    return checked(texts, candidates, threshold)


def gaoya_lsh(texts: list[str], threshold: float) -> Found:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32, jaccard_threshold=0.5, num_bands=32, band_size=4, analyzer="char",
        ngram_range=(5, 5),
    )  # fmt: skip
    index.par_bulk_insert_docs(list(range(len(texts))), texts)
    candidates = {
        (min(i, j), max(i, j))
        for j, others in enumerate(index.par_bulk_query(texts))
        for i in others
        if i != j
    }
    return checked(texts, candidates, threshold)


RIVALS = {"datasketch": datasketch_lsh, "rensa": rensa_lsh, "gaoya": gaoya_lsh}


# The table


def seconds(method: Callable[[list[str], float], Found], texts: list[str], threshold: float):
    start = time.perf_counter()
    found = method(texts, threshold)
    return time.perf_counter() - start, found


def row(name: str, taken: float, base: float, found: Found | None, truth: Found) -> str:
    if found is None:
        return f"| {name} | {taken:.2f} | {taken / base:,.1f} | | | |"
    hits = len(found & truth)
    recall, precision = hits / max(1, len(truth)), hits / max(1, len(found))
    return (
        f"| {name} | {taken:.2f} | {taken / base:,.1f} | {len(found)} "
        f"| {recall:.3f} | {precision:.3f} |"
    )


def scaled(method: Callable, texts: list[str], sample: int, threshold: float) -> float:
    """Time a method on the first texts (they are in random order) and scale it by the pairs."""
    sample = min(sample, len(texts))
    taken, _ = seconds(method, texts[:sample], threshold)
    return taken * len(texts) * (len(texts) - 1) / (sample * (sample - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000, help="texts (default %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.92)
    parser.add_argument("--cut", type=int, default=None, help="cut texts to so many characters")
    parser.add_argument("--corpus", choices=CORPORA, default="mixed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loop-sample", type=int, default=1000, help="0: leave the loop out")
    parser.add_argument("--cdist-sample", type=int, default=2000, help="0: leave cdist out")
    parser.add_argument("--no-rivals", action="store_true", help="leave MinHash libraries out")
    parser.add_argument("--no-numpy", action="store_true", help="leave our numpy path out")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    texts = CORPORA[options.corpus](read_or_generate(rng), options.size, rng)
    texts = plant([text[: options.cut] for text in texts], rng)
    mean = statistics.mean(map(len, texts))
    print(f"{len(texts):,} texts, mean {mean:,.0f} characters, threshold {options.threshold}\n")
    print("| method | seconds (median) | times ours | pairs | recall | precision |")
    print("|---|---|---|---|---|---|")

    first, truth = seconds(exact, texts, options.threshold)
    runs = [seconds(exact, texts, options.threshold)[0] for _ in range(options.repeats)]
    base = statistics.median(runs)
    print(row("exact search, compiled", base, base, truth, truth))
    print(row("exact search, compiled, first use in this process", first, base, truth, truth))
    methods = {} if options.no_numpy else {"exact search, numpy": exact_numpy}
    if not options.no_rivals:
        methods |= {f"{name}, checked": RIVALS[name] for name in RIVALS if find_spec(name)}
    for name, method in methods.items():
        runs = [seconds(method, texts, options.threshold) for _ in range(options.repeats)]
        taken = statistics.median(taken for taken, _ in runs)
        print(row(name, taken, base, runs[0][1], truth), flush=True)
    slow = (("rapidfuzz cdist", cdist, options.cdist_sample),
            ("double loop", double_loop, options.loop_sample))  # fmt: skip
    for name, method, sample in slow:
        if sample:
            taken = scaled(method, texts, sample, options.threshold)
            print(row(f"{name}, scaled from {sample:,} texts", taken, base, None, truth))


if __name__ == "__main__":
    main()
