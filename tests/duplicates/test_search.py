from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz import fuzz, process
from related_texts import brute_force, corpora, thresholds

from redheart import duplicates
from redheart.duplicates import index
from redheart.duplicates import search as near_duplicates
from redheart.duplicates.search import near_duplicate_pairs
from redheart.errors import UserError

SCRUPLES = Path(__file__).parents[2] / "data" / "scruples.jsonl.gz"

both_kernels = pytest.mark.parametrize("compiled", [True, False], ids=["numba", "numpy"])
quick = settings(deadline=None, max_examples=30)


def found(texts, threshold, compiled=True):
    columns = near_duplicate_pairs(texts, threshold, compiled=compiled)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@both_kernels
@quick
@given(texts=corpora(), threshold=thresholds)
def test_same_pairs_as_comparing_everything(compiled, texts, threshold):
    assert found(texts, threshold, compiled) == brute_force(texts, threshold)


@both_kernels
@quick
@given(texts=corpora(), pick=st.randoms(use_true_random=False))
def test_a_threshold_that_some_pair_has_exactly(compiled, texts, pick):
    similarities = sorted({s for _, _, s in brute_force(texts, 0.5)})
    threshold = pick.choice(similarities) if similarities else 0.5
    assert found(texts, threshold, compiled) == brute_force(texts, threshold)


@both_kernels
@pytest.mark.parametrize(("threshold", "same"), [(0.92, 46), (0.8, 40), (0.57, 57), (0.83, 83)])
def test_ties_match(compiled, threshold, same):
    length = 50 if same <= 50 else 100
    texts = ["a" * length, "a" * same + "b" * (length - same)]
    assert fuzz.ratio(*texts) == pytest.approx(100 * threshold)
    assert found(texts, threshold, compiled) == brute_force(texts, threshold)
    assert found(["a" * 50, "a" * 46 + "b" * 4], 0.92, compiled) == [(0, 1, 0.92)]


@both_kernels
def test_long_texts_of_hundreds_of_words(compiled):
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("etaoin shrdlu.,"), n)) for n in rng.integers(900, 2600, 24)]
    texts += [text[: len(text) * k // 100] + text[len(text) // 20 :] for text in texts[:6]
              for k in (5, 12, 20)]  # fmt: skip
    for threshold in (0.8, 0.92):
        truth = brute_force(texts, threshold)
        assert len(truth) > 10
        assert found(texts, threshold, compiled) == truth


@both_kernels
def test_blocks_join_without_gap_or_overlap(compiled, monkeypatch):
    monkeypatch.setattr(near_duplicates, "BLOCK_ROWS", 3)
    monkeypatch.setattr(near_duplicates, "BLOCK_COLUMNS", 5)
    monkeypatch.setattr(index, "ENCODING_CHARACTERS", 50)
    monkeypatch.setattr(index, "SAMPLED_TEXTS", 4)
    texts = [f"the {k % 7} quick brown foxes jump over {k} lazy dogs" for k in range(40)]
    assert found(texts, 0.92, compiled) == brute_force(texts, 0.92)


@both_kernels
@pytest.mark.parametrize(
    "texts", [[], ["one"], ["a", "b"], ["a"] * 5, ["x"] * 3 + ["y"] * 2, [" ", "\0", "\n"]]
)
def test_small_corpora(compiled, texts):
    i, j, similarity = near_duplicate_pairs(texts, compiled=compiled)
    assert (i.dtype, j.dtype, similarity.dtype) == (np.int64, np.int64, np.float64)
    assert found(texts, 0.92, compiled) == brute_force(texts, 0.92)


def test_more_than_255_of_one_character():
    texts = ["a" * 300 + "b" * 300, "a" * 44 + "b" * 556, "a" * 310 + "b" * 300]
    assert found(texts, 0.5) == found(texts, 0.5, compiled=False) == brute_force(texts, 0.5)


def test_any_number_of_workers_finds_the_same():
    texts = [f"{k % 50} bottles of beer on the wall, {k % 3}" for k in range(200)]
    one, three = (near_duplicate_pairs(texts, 0.9, workers=n) for n in (1, 3))
    assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))


def test_without_numba_the_numpy_kernels_serve(monkeypatch):
    monkeypatch.delattr(duplicates, "kernels_numba", raising=False)
    monkeypatch.delitem(sys.modules, "redheart.duplicates.kernels_numba", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert near_duplicates._kernels(compiled=True) == near_duplicates._kernels(compiled=False)
    assert found(["abcd" * 9, "abcd" * 9 + "x"], 0.92) == brute_force(
        ["abcd" * 9, "abcd" * 9 + "x"], 0.92
    )


def test_few_blocks_are_ahead_of_a_slow_reader():
    started, ahead = [], []
    stopped = threading.Event()
    blocks = [(k, k + 1, 0, 9) for k in range(100)]

    def search(block):
        started.append(block)
        return block

    for read, block in enumerate(near_duplicates._in_order(search, blocks, 2, stopped)):
        assert block == blocks[read], "in the order given"
        time.sleep(0.001)
        ahead.append(len(started) - read)
    assert max(ahead) <= 2 * near_duplicates.BLOCKS_AHEAD
    assert stopped.is_set()


def test_no_pairs_pile_up_where_rapidfuzz_is_slower_than_the_filters(monkeypatch):
    monkeypatch.setattr(near_duplicates, "BLOCK_ROWS", 4)
    monkeypatch.setattr(near_duplicates, "BLOCK_COLUMNS", 8)
    texts = [f"bottle {k} of beer on the wall" for k in range(100)]
    expected = brute_force(texts, 0.8)
    kernels, verify = near_duplicates._kernels(compiled=False), near_duplicates._verified
    filtered, waiting = [], []

    def candidates(*block):
        pairs = kernels.candidates(*block)
        filtered.append(block)
        return pairs

    def slow(*given):
        time.sleep(0.001)
        waiting.append(len(filtered) - len(waiting))
        return verify(*given)

    counted = replace(kernels, candidates=candidates)
    monkeypatch.setattr(near_duplicates, "_kernels", lambda compiled: counted)
    monkeypatch.setattr(near_duplicates, "_verified", slow)
    columns = near_duplicate_pairs(texts, 0.8, workers=3)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert len(waiting) > 100
    assert max(waiting) <= 3, "a thread has its pairs verified before it filters the next block"


def test_an_error_in_a_thread_stops_the_search():
    stopped, started = threading.Event(), []

    def search(block):
        started.append(block)
        raise MemoryError("too much")

    blocks = [(k, k + 1, 0, 9) for k in range(1000)]
    with pytest.raises(MemoryError, match="too much"):
        list(near_duplicates._in_order(search, blocks, 2, stopped))
    assert stopped.is_set() and len(started) <= 2 * near_duplicates.BLOCKS_AHEAD


HOPELESS = """
import atexit
import signal
import time

import numpy as np
from redheart.duplicates.search import near_duplicate_pairs

asked = []

def stop(*_):
    asked.append(time.process_time())
    raise KeyboardInterrupt

# A shell's background jobs ignore Ctrl-C, and so would this process.
signal.signal(signal.SIGINT, stop)
atexit.register(lambda: print(time.process_time() - asked[0]))
letters = np.random.default_rng(0).choice(list("ab"), (3000, 2000))
near_duplicate_pairs(["one two three", "one two threes"])  # what numba compiles is compiled
texts = ["".join(row) for row in letters]
print("searching", flush=True)
near_duplicate_pairs(texts, 0.5, workers=2)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_long_search_within_seconds():
    """Seconds of computing, which other work on the machine does not lengthen."""
    with subprocess.Popen(
        [sys.executable, "-c", HOPELESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "searching\n"
        time.sleep(2)
        assert process.poll() is None, "it was to take minutes"
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=300)
        finally:
            process.kill()
        assert float(output) < 10
        assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize(
    ("texts", "threshold", "message"),
    [
        (["a", ""], 0.92, "empty"),
        (["a", "\ud800b"], 0.92, r"lone surrogate U\+D800"),
        (["a", "b"], 0.49, "0.5 to 1"),
        (["a", "b"], 1.01, "0.5 to 1"),
        (["a", "b"], float("nan"), "0.5 to 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(texts, threshold, message):
    with pytest.raises(UserError, match=message):
        near_duplicate_pairs(texts, threshold)


@pytest.fixture(scope="module")
def real_texts():
    """680 real texts, some of them edited copies, and the matrix of their ratios above 79.5."""
    if not SCRUPLES.exists():
        pytest.skip("the corpus is not here")
    with gzip.open(SCRUPLES, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    texts = [text for text in texts if text][:600]
    texts += [text.replace(". ", " ", 12) for text in texts[:40]]
    texts += [text[: int(0.8 * len(text))] for text in texts[:40]]
    return texts, process.cdist(
        texts, texts, scorer=fuzz.ratio, score_cutoff=79.5, dtype=np.float64, workers=-1
    )


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.8, 0.85, 0.92])
def test_real_texts(real_texts, threshold):
    texts, ratios = real_texts
    i, j = np.nonzero(np.triu(ratios >= 100 * threshold, 1))
    truth = list(zip(i.tolist(), j.tolist(), (ratios[i, j] / 100).tolist(), strict=True))
    assert len(truth) >= 40
    assert found(texts, threshold) == truth
