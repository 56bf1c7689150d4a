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

from redheart import duplicates
from redheart.duplicates import index
from redheart.duplicates import search as near_duplicates
from redheart.duplicates.removal import DedupOptions, connected_components, deduplicate
from redheart.duplicates.report import LARGEST_CLUSTERS, TEXT_CHARACTERS, label_agreement
from redheart.duplicates.search import near_duplicate_pairs
from redheart.errors import UserError

SCRUPLES = Path(__file__).parents[2] / "data" / "scruples.jsonl.gz"

both_kernels = pytest.mark.parametrize("compiled", [True, False], ids=["numba", "numpy"])
quick = settings(deadline=None, max_examples=30)


def brute_force(texts, threshold):
    return [
        (i, j, fuzz.ratio(texts[i], texts[j]) / 100)
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if fuzz.ratio(texts[i], texts[j]) >= 100 * threshold
    ]


def found(texts, threshold, compiled=True):
    columns = near_duplicate_pairs(texts, threshold, compiled=compiled)
    return list(zip(*(column.tolist() for column in columns), strict=True))


ALPHABETS = (
    "ab",
    "the quick brown fox, and so on. AITA?",
    "가나다라마바사아자차카타파하 힣",
    "e\u0301o\u0308\u200d👩👍🏽🇰🇷",
    "".join(map(chr, range(0x4E00, 0x4E00 + 300))),
)


@st.composite
def corpora(draw):
    """Related texts: each text is new, or an edited copy of an earlier text."""
    letters = st.sampled_from(draw(st.sampled_from(ALPHABETS)))
    any_character = st.characters(exclude_categories=("Cs",))
    new = st.text(draw(st.sampled_from((letters, any_character))), min_size=1, max_size=40)
    texts: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        text = draw(st.sampled_from(texts)) if texts and draw(st.booleans()) else draw(new) * 3
        for place in draw(st.lists(st.integers(0, len(text)), max_size=4)):
            text = text[:place] + draw(st.sampled_from(("", "e", "힣"))) + text[place + 1 :]
        texts.append(text or "e")
    return texts


thresholds = st.sampled_from((0.5, 0.57, 0.7, 0.8, 0.9, 0.92, 0.95, 1.0)) | st.floats(0.5, 1)


# The pairs


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


# The components


@quick
@given(st.data())
def test_components_are_the_smallest_reachable_member(data):
    count = data.draw(st.integers(0, 12))
    node = st.integers(0, max(0, count - 1))
    links = data.draw(st.lists(st.tuples(node, node), max_size=12)) if count else []
    reachable = np.eye(count, dtype=bool)
    for i, j in links:
        reachable[i, j] = reachable[j, i] = True
    for _ in range(count):
        reachable = reachable @ reachable
    labels = connected_components(count, [i for i, _ in links], [j for _, j in links])
    assert labels.dtype == np.int64
    assert labels.tolist() == [int(np.argmax(row)) for row in reachable]


# The policies


def as_records(texts, labels=()):
    labels = [*labels, *[None] * len(texts)]
    return [{"id": f"r{k}", "text": t, "label": labels[k]} for k, t in enumerate(texts)]


def label_of(record):
    return record["label"]


def ids(records):
    return [record["id"] for record in records]


@quick
@given(texts=corpora(), threshold=thresholds)
def test_keep_first_is_the_double_loop(texts, threshold):
    records = as_records(texts)
    kept, removed = [], []
    for record in records:
        for earlier in kept:
            ratio = fuzz.ratio(earlier["text"], record["text"])
            if ratio >= 100 * threshold:
                removed.append((record["id"], earlier["id"], ratio / 100))
                break
        else:
            kept.append(record)
    ours, report = deduplicate(records, DedupOptions(threshold), label_of)
    assert ours == kept
    pairs = [(p["removed"], p["kept"], p["similarity"]) for p in report["removed_pairs"]]
    assert pairs == removed


@quick
@given(texts=corpora(), threshold=thresholds)
def test_cluster_keeps_the_first_of_each_component(texts, threshold):
    first = list(range(len(texts)))
    links = [(i, j) for i, j, _ in brute_force(texts, threshold)]
    for _ in texts:
        for i, j in links:
            first[i] = first[j] = min(first[i], first[j])
    kept, report = deduplicate(as_records(texts), DedupOptions(threshold, "cluster"), label_of)
    assert ids(kept) == [f"r{k}" for k in sorted(set(first))]
    assert [(p["removed"], p["kept"]) for p in report["removed_pairs"]] == [
        (f"r{k}", f"r{first[k]}") for k in range(len(texts)) if first[k] != k
    ]
    for pair in report["removed_pairs"]:
        a, b = (texts[int(pair[end][1:])] for end in ("removed", "kept"))
        assert pair["similarity"] == fuzz.ratio(a, b) / 100


# Of length 25, each differs from the next in one letter: 96 % alike, and 92 % two steps on.
CHAIN = ["a" * (25 - k) + "b" * k for k in range(5)]


def test_the_policies_differ_on_a_chain():
    records = as_records(CHAIN)
    kept, report = deduplicate(records, DedupOptions(0.95), label_of)
    assert ids(kept) == ["r0", "r2", "r4"]
    assert [(p["removed"], p["kept"]) for p in report["removed_pairs"]] == [
        ("r1", "r0"),
        ("r3", "r2"),
    ]
    kept, report = deduplicate(records, DedupOptions(0.95, "cluster"), label_of)
    assert ids(kept) == ["r0"]
    assert [p["similarity"] for p in report["removed_pairs"]] == [0.96, 0.92, 0.88, 0.84]


def test_the_report_accounts_for_everything():
    texts = ["unlike the others", *CHAIN[:2], CHAIN[0], "alone\n\n again  " + "x" * 90]
    records = as_records(texts, ["OTHER", "AUTHOR", None, "OTHER", "OTHER"])
    kept, report = deduplicate(records, DedupOptions(), label_of)
    assert ids(kept) == ["r0", "r1", "r4"]
    assert report == {
        "read": 5,
        "kept": 3,
        "removed": 2,
        "removal_rate": 0.4,
        "threshold": 0.92,
        "policy": "keep_first",
        "method": "exact: all pairs by rapidfuzz.fuzz.ratio / 100 >= threshold",
        "removed_pairs": [
            {
                "removed": "r2",
                "kept": "r1",
                "similarity": 0.96,
                "removed_preview": CHAIN[1],
                "kept_preview": CHAIN[0],
            },
            {
                "removed": "r3",
                "kept": "r1",
                "similarity": 1.0,
                "removed_preview": CHAIN[0],
                "kept_preview": CHAIN[0],
            },
        ],
        "similarity_histogram": {
            "edges": [0.96, 0.965, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 1.0],
            "counts": [1, 0, 0, 0, 0, 0, 0, 1],
        },
        "clusters": {
            "count": 1,
            "largest": 3,
            "labelled": 1,
            "agreement": {
                "clusters": 1,
                "records": 2,
                "unanimous": 0,
                "majority_share": {
                    "mean": 0.5,
                    "edges": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
                    "counts": [0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
                },
                "observed": 0.0,
                "expected": 0.0,
                "alpha": 0.0,
            },
            "conflicting": [
                {"ids": ["r1", "r2", "r3"], "labels": {"r1": "AUTHOR", "r3": "OTHER"}},
            ],
            "text_characters": 4000,
            "largest_clusters": [
                {
                    "ids": ["r1", "r2", "r3"],
                    "labels": {"r1": "AUTHOR", "r3": "OTHER"},
                    "similarity": 0.96,
                    "distinct_texts": 2,
                    "texts": [
                        {"id": "r1", "characters": 25, "text": CHAIN[0]},
                        {"id": "r2", "characters": 25, "text": CHAIN[1]},
                    ],
                }
            ],
        },
    }
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_previews_fold_white_space_and_end():
    long = "alone\n\n again  " + "x" * 90
    _, report = deduplicate(as_records([long, long]), DedupOptions(), label_of)
    assert report["removed_pairs"][0]["kept_preview"] == "alone again " + "x" * 68


@pytest.mark.parametrize("policy", ["keep_first", "cluster"])
def test_thousands_of_copies_cost_no_more_than_one(policy):
    records = as_records(["the very same text"] * 20_000 + ["another one"])
    kept, report = deduplicate(records, DedupOptions(0.92, policy), label_of)
    assert ids(kept) == ["r0", "r20000"]
    assert report["removed"] == 19_999
    clusters = report["clusters"]
    assert (clusters["count"], clusters["largest"], clusters["labelled"]) == (1, 20_000, 0)
    largest = clusters["largest_clusters"][0]
    assert (largest["similarity"], largest["distinct_texts"]) == (1.0, 1)
    assert [text["id"] for text in largest["texts"]] == ["r0", "r1"]
    assert clusters["agreement"]["alpha"] is clusters["agreement"]["majority_share"]["mean"] is None


def test_no_records_make_an_empty_report():
    kept, report = deduplicate([], DedupOptions(), label_of)
    assert kept == [] and report["removal_rate"] == 0.0 and report["removed_pairs"] == []


def test_records_are_left_as_they_are():
    records = as_records([*CHAIN, CHAIN[0]])
    before = json.dumps(records)
    kept, _ = deduplicate(records, DedupOptions(), label_of)
    assert json.dumps(records) == before
    assert all(any(record is original for original in records) for record in kept)


# The labels of near-duplicates


def unit(*values):
    return [str(value) for value in values]


# Four observers, twelve units (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability",
# part C): alpha for nominal data is 0.743.
PUBLISHED = [
    *(unit(1, 1, 1), unit(2, 2, 3, 2), unit(3, 3, 3, 3), unit(3, 3, 3, 3), unit(2, 2, 2, 2)),
    *(unit(1, 2, 3, 4), unit(4, 4, 4, 4), unit(1, 1, 2, 1), unit(2, 2, 2, 2), unit(5, 5, 5)),
    *(unit(1, 1), unit(3)),
]


def test_alpha_is_the_published_one():
    agreement = label_agreement(PUBLISHED)
    assert round(agreement["alpha"], 3) == 0.743
    assert (agreement["clusters"], agreement["records"], agreement["unanimous"]) == (11, 40, 8)


labellings = st.lists(st.lists(st.sampled_from("XYZ"), max_size=5), max_size=5)


@quick
@given(labellings)
def test_agreement_is_that_of_all_pairs(clusters):
    agreement = label_agreement(clusters)
    informative = [labels for labels in clusters if len(labels) > 1]
    drawn = [label for labels in informative for label in labels]

    def agreeing_pairs(labels):
        return sum(
            labels[i] == labels[j] for i in range(len(labels)) for j in range(len(labels)) if i != j
        )

    n = len(drawn)
    if not informative:
        assert agreement["observed"] is agreement["expected"] is None
        return
    observed = sum(agreeing_pairs(labels) / (len(labels) - 1) for labels in informative) / n
    assert agreement["observed"] == pytest.approx(observed)
    assert agreement["expected"] == pytest.approx(agreeing_pairs(drawn) / (n * (n - 1)))
    assert (agreement["alpha"] is None) == (len(set(drawn)) == 1)
    shares = [max(map(labels.count, labels)) / len(labels) for labels in informative]
    assert agreement["majority_share"]["mean"] == pytest.approx(sum(shares) / len(shares))
    assert sum(agreement["majority_share"]["counts"]) == len(informative)


def test_a_cluster_of_many_copies_does_not_drown_the_others():
    agreement = label_agreement([["X"] * 1000, *[["X", "Y"]] * 500])
    assert agreement["observed"] == 0.5


def test_the_largest_clusters_come_first_with_the_least_similar_text():
    texts = [f"{k} {'abcdefghijkl'[k] * 40} {k}" for k in range(12) for _ in range(2)]
    records = as_records([*texts, *CHAIN, "z" * (TEXT_CHARACTERS + 5), "z" * TEXT_CHARACTERS])
    _, report = deduplicate(records, DedupOptions(0.95), label_of)
    clusters = report["clusters"]["largest_clusters"]
    assert len(clusters) == LARGEST_CLUSTERS < report["clusters"]["count"]
    chain, long = clusters[:2]
    assert [text["text"] for text in chain["texts"]] == [CHAIN[0], CHAIN[4]]
    assert (chain["similarity"], chain["distinct_texts"], len(chain["ids"])) == (0.84, 5, 5)
    assert [(len(text["text"]), text["characters"]) for text in long["texts"]] == [
        (TEXT_CHARACTERS, TEXT_CHARACTERS + 5),
        (TEXT_CHARACTERS, TEXT_CHARACTERS),
    ]
