"""The search in shards: together they give the answer of one search, each from some texts only."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redheart.data.records import write_jsonl
from redheart.duplicates import search as near_duplicates
from redheart.duplicates import shards
from redheart.duplicates.removal import DedupOptions, deduplicate
from redheart.duplicates.search import near_duplicate_pairs
from redheart.errors import UserError
from redheart.storage import files

NUMBERS = (1, 2, 7)

# Few letters and short texts: many copies, many of one length, and many near-duplicates.
texts_of_few_letters = st.lists(st.text("ab", min_size=1, max_size=6), max_size=30)
thresholds = st.sampled_from((0.5, 0.6, 0.8, 0.92, 1.0))
quick = settings(deadline=None, max_examples=60)


def in_shards(texts, threshold, count, folder):
    """Every shard's pairs, written to its file and read again."""
    paths = [folder / f"{shard}.npz" for shard in range(count)]
    for shard, path in enumerate(paths):
        shards.save_pairs(path, shards.pairs_of_shard(texts, threshold, shard, count, workers=1))
    return shards.join_pairs(paths)


def listed(pairs):
    return list(zip(*(column.tolist() for column in pairs), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@pytest.mark.slow
@quick
@given(texts=texts_of_few_letters, threshold=thresholds, count=st.sampled_from(NUMBERS))
def test_the_shards_hold_each_pair_of_distinct_texts_once(folder, texts, threshold, count):
    first = [k for k, text in enumerate(texts) if text not in texts[:k]]
    all_pairs = [pair for pair in listed(near_duplicate_pairs(texts, threshold))
             if pair[0] in first and pair[1] in first]  # fmt: skip
    assert listed(in_shards(texts, threshold, count, folder)) == all_pairs


@pytest.mark.slow
@quick
@given(texts=texts_of_few_letters, threshold=thresholds, policy=st.sampled_from(("keep_first", "cluster")))  # fmt: skip
def test_records_and_report_have_the_same_bytes(folder, texts, threshold, policy):
    records = [{"id": f"r{k}", "text": t, "label": t[0]} for k, t in enumerate(texts)]
    options = DedupOptions(threshold, policy)

    def written(pairs):
        for name, value in zip(
            ("deduped", "report"),
            deduplicate(records, options, lambda record: record["label"], pairs=pairs),
            strict=True,
        ):
            files.write_json(folder / name, value)
        return [(folder / name).read_bytes() for name in ("deduped", "report")]

    alone = written(None)
    for count in NUMBERS:
        assert written(in_shards(texts, threshold, count, folder)) == alone


@pytest.fixture(scope="module")
def sentences():
    """600 texts of 20 to 220 characters, some of them near copies."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("etaoin shrd"), n)) for n in rng.integers(20, 220, 500)]
    return texts + [text[:-1] + "x" for text in texts[::5]]


@pytest.mark.parametrize("count", NUMBERS)
def test_longer_texts_in_several_blocks(folder, sentences, count, monkeypatch):
    monkeypatch.setattr(near_duplicates, "BLOCK_ROWS", 16)
    monkeypatch.setattr(near_duplicates, "BLOCK_COLUMNS", 40)
    all_pairs = listed(near_duplicate_pairs(sentences, 0.9))
    assert len(all_pairs) >= 100
    assert listed(in_shards(sentences, 0.9, count, folder)) == all_pairs


def test_a_shard_holds_what_is_in_its_reach_and_no_more(sentences, monkeypatch):
    held = []
    search = near_duplicates.matches_by_length

    def watched(texts, threshold, rows, *rest):
        held.append((list(map(len, texts)), rows))
        return search(texts, threshold, rows, *rest)

    monkeypatch.setattr(shards, "matches_by_length", watched)
    for shard in range(7):
        shards.pairs_of_shard(sentences, 0.92, shard, 7)
    assert sum(rows for _, rows in held) == len(set(sentences))
    for lengths, rows in held:
        assert max(lengths) <= lengths[rows - 1] * 1.08 / 0.92
    tried = [sum(sum(b <= a * 1.08 / 0.92 for b in lengths[k + 1 :]) for k, a in
                 enumerate(lengths[:rows])) for lengths, rows in held]  # fmt: skip
    assert max(tried) < 1.2 * min(tried), "every shard has as much to do"


def test_the_texts_stream_from_the_file_of_records(tmp_path, sentences):
    path = tmp_path / "records.jsonl"
    write_jsonl(path, [{"id": str(k), "text": f"{t}\u2028\n"} for k, t in enumerate(sentences)])
    texts = shards.RecordTexts(path)
    assert list(texts) == [f"{t}\u2028\n" for t in sentences] == list(texts)
    ours, expected = (shards.pairs_of_shard(t, 0.9, 1, 2) for t in (texts, list(texts)))
    assert listed(ours) == listed(expected) != []
    with open(path, "a") as stream:
        stream.write('{"text": "cut sh')
    with pytest.raises(UserError, match=r"records.jsonl: line 601: broken JSON; delete the file"):
        list(texts)


@pytest.mark.parametrize(
    ("texts", "threshold", "message"),
    [
        (["b", "", "ab"], 0.92, "empty"),
        (["a", "\ud800"], 0.92, "surrogate"),
        (["a", "b"], 2, "0.5"),
    ],
)
def test_what_cannot_be_compared_is_refused(texts, threshold, message):
    with pytest.raises(UserError, match=message):
        for shard in range(2):
            shards.pairs_of_shard(texts, threshold, shard, 2)


def test_the_file_of_a_shard_has_the_same_bytes_again(tmp_path, sentences):
    for name in ("one", "two"):
        shards.save_pairs(tmp_path / name, shards.pairs_of_shard(sentences, 0.9, 0, 2, workers=2))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_shards_read_texts_as_the_removal_compares_them(tmp_path):
    forms = ["NFD", "NFC", "NFC", "NFD"]
    texts = [
        unicodedata.normalize(form, "친구가 선물을 보냈다" + "." * (n // 2))
        for n, form in enumerate(forms)
    ]
    records = [{"id": f"r{n}", "text": text} for n, text in enumerate(texts)]
    write_jsonl(tmp_path / "records", records)
    pairs = in_shards(shards.RecordTexts(tmp_path / "records"), 0.9, 2, tmp_path)
    options = DedupOptions(0.9)
    assert deduplicate(records, options, str, pairs=pairs) == deduplicate(records, options, str)
