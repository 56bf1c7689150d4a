"""Tokens: texts encoded and decoded, parts on disk, and the texts of an optimizer step."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from redheart.encoding import tokens
from redheart.storage import files


def decoded(path, ids) -> str:
    return Tokenizer.from_file(str(path)).decode(ids.tolist())


# --- the tokenizer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "She lied about the money.",
        "그는 어제 돈을 빌려 갔다",
        "가족👨‍👩‍👧 and 😀\n\ttabs",
        "never seen: ქართული ☃ \u2028",
        "cafe\u0301",
        "½ ① ﬁ ㎏ ｆｕｌｌ",
    ],
)
def test_any_text_comes_back_from_its_tokens(tokenizer_path, text):
    (ids,) = tokens.encode(tokenizer_path, [text], 1000)
    assert decoded(tokenizer_path, ids) == unicodedata.normalize("NFC", text)


def test_equal_texts_in_another_unicode_form_have_equal_tokens(tokenizer_path):
    forms = [unicodedata.normalize(form, "그는 café") for form in ("NFC", "NFD")]
    composed, decomposed = tokens.encode(tokenizer_path, forms, 100)
    np.testing.assert_array_equal(composed, decomposed)


def test_training_the_tokenizer_again_gives_the_same_file(records, tokenizer_path):
    again = tokens.train_tokenizer([r["text"] for r in records], 300)
    assert again == tokenizer_path.read_text("utf-8")


def test_the_vocabulary_has_the_padding_first_all_bytes_and_the_size_asked_for(tokenizer_path):
    vocabulary = json.loads(tokenizer_path.read_text("utf-8"))["model"]["vocab"]
    assert vocabulary[tokens.PADDING] == tokens.PADDING_ID
    assert sorted(vocabulary.values()) == list(range(300))
    assert tokens.vocabulary_size(tokenizer_path) == 300


def test_frequent_words_become_one_token(records, tokenizer_path):
    (ids,) = tokens.encode(tokenizer_path, [" money"], 10)
    assert len(ids) == 1


def test_long_texts_are_cut_and_empty_ones_keep_a_token(tokenizer_path):
    long, empty = tokens.encode(tokenizer_path, ["money lied " * 50, ""], 8)
    whole, _ = tokens.encode(tokenizer_path, ["money lied " * 50, ""], 1000)
    np.testing.assert_array_equal(long, whole[:8])
    assert len(whole) > 8
    assert empty.tolist() == [tokens.PADDING_ID]


# --- encoded parts --------------------------------------------------------------------------


def test_a_part_comes_back_from_disk_as_it_was(tmp_path, part):
    tokens.save_encoded(tmp_path / "part.npz", part)
    loaded = tokens.load_encoded(tmp_path / "part.npz")
    assert len(loaded.ids) == len(part) == 40
    for before, after in zip(part.ids, loaded.ids, strict=True):
        np.testing.assert_array_equal(before, after)
        assert after.dtype == np.int32
    assert set(loaded.targets) == {"emotion", "verdict", "tags", "regret"}
    for task, rows in part.targets.items():
        np.testing.assert_array_equal(loaded.targets[task], rows)
        assert loaded.targets[task].dtype == np.float32
    assert (loaded.vocab_size, loaded.max_tokens) == (300, 24)
    assert loaded.lexicon_size == part.lexicon_size > 0
    for name in ("columns", "values", "offsets"):
        before, after = (getattr(one.ngrams, name) for one in (part, loaded))
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype


def test_equal_parts_have_equal_bytes(tmp_path, part):
    reordered = dict(reversed(part.targets.items()))
    tokens.save_encoded(tmp_path / "a.npz", part)
    tokens.save_encoded(
        tmp_path / "b.npz",
        tokens.Encoded(part.ids, reordered, part.vocab_size, part.max_tokens, part.ngrams),
    )
    assert files.sha256_file(tmp_path / "a.npz") == files.sha256_file(tmp_path / "b.npz")


def test_a_part_without_texts_comes_back_too(tmp_path, part):
    tokens.save_encoded(tmp_path / "empty.npz", part.head(0))
    loaded = tokens.load_encoded(tmp_path / "empty.npz")
    assert len(loaded) == 0
    assert loaded.targets["emotion"].shape == (0, 3)


def test_the_head_of_a_part_keeps_texts_and_targets_together(part, records, tasks, tokenizer_path):
    head = part.head(7)
    alone = tokens.encode_part(records[:7], tasks, tokenizer_path, 24)
    assert [ids.tolist() for ids in head.ids] == [ids.tolist() for ids in alone.ids]
    for task in tasks:
        np.testing.assert_array_equal(head.targets[task.name], alone.targets[task.name])


def test_no_text_is_longer_than_asked_for(part):
    assert part.lengths.max() == part.max_tokens == 24
    assert part.lengths.tolist() == [len(ids) for ids in part.ids]


def test_padding_fills_up_to_the_longest_and_the_mask_tells(part):
    rows = [np.array([5], np.int32), np.array([7, 8, 9], np.int32)]
    ids, mask = tokens.pad(rows)
    assert ids.tolist() == [[5, 0, 0], [7, 8, 9]]
    assert mask.tolist() == [[True, False, False], [True, True, True]]
    assert ids.dtype == np.int64


# --- batches --------------------------------------------------------------------------------

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=90).map(np.array)


def epoch_of(lengths, batch_size, accumulation, seed=0, epoch=0) -> list[list[list[int]]]:
    windows = tokens.training_windows(lengths, batch_size, accumulation, seed, epoch)
    return [[batch.tolist() for batch in window] for window in windows]


@settings(max_examples=30)
@given(lengths, st.integers(1, 5), st.integers(1, 4))
def test_an_epoch_reads_every_text_exactly_once(lengths, batch_size, accumulation):
    windows = epoch_of(lengths, batch_size, accumulation)
    assert sorted(text for window in windows for batch in window for text in batch) == list(
        range(len(lengths))
    )
    assert len(windows) == tokens.windows_per_epoch(len(lengths), batch_size, accumulation)
    sizes = sorted(sum(map(len, window)) for window in windows)
    assert set(sizes[1:]) <= {batch_size * accumulation}
    most = batch_size * lengths.max()
    assert all(len(b) * lengths[b].max() <= most for window in windows for b in window)


@settings(max_examples=30)
@given(lengths)
def test_the_texts_of_a_step_depend_on_the_window_alone(lengths):
    flat = [
        [[text for batch in window for text in batch] for window in epoch_of(lengths, *sizes)]
        for sizes in ((4, 4), (8, 2), (16, 1), (1, 16))
    ]
    assert all(windows == flat[0] for windows in flat)


def test_every_epoch_and_seed_has_an_order_of_its_own_and_keeps_it():
    lengths = np.arange(40) % 13 + 1
    orders = [epoch_of(lengths, 4, 2, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert epoch_of(lengths, 4, 2, 1, 1) == orders[-1]


def test_windows_hold_texts_of_similar_length():
    lengths = np.random.default_rng(0).integers(1, 500, 640)
    spreads = [
        np.ptp(lengths[np.concatenate(window)])
        for window in tokens.training_windows(lengths, 8, 2, 0, 0)
    ]
    assert len(spreads) == 40
    assert np.mean(spreads) < 500 / 30


def test_no_micro_batch_holds_more_tokens_than_allowed_but_one_of_a_single_text():
    lengths = np.random.default_rng(0).integers(1, 500, 640)
    windows = list(tokens.training_windows(lengths, 32, 2, 0, 0, most_tokens=400))
    batches = [batch for window in windows for batch in window]
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= 400 for b in batches)
    alone = next(iter(tokens.training_windows(lengths, 32, 2, 0, 0)))
    np.testing.assert_array_equal(np.concatenate(windows[0]), np.concatenate(alone))


def test_short_texts_share_a_pass_as_far_as_the_longest_ones_memory_reaches():
    lengths = np.array([10] * 64 + [40] * 64)
    windows = tokens.training_windows(lengths, 16, 4, 0, 0)
    passes = {int(lengths[w[0][0]]): [len(batch) for batch in w] for w in windows}
    assert passes == {10: [64], 40: [16, 16, 16, 16]}


def test_any_window_may_be_the_small_one():
    lengths = np.arange(1, 101)
    smallest = {
        int(lengths[min((np.concatenate(w) for w in epoch), key=len)].min() > 50)
        for epoch in (list(tokens.training_windows(lengths, 8, 2, 0, e)) for e in range(20))
    }
    assert smallest == {0, 1}


@settings(max_examples=30)
@given(lengths, st.integers(1, 200))
def test_evaluation_reads_every_text_once_within_the_size(lengths, tokens_per_batch):
    batches = list(tokens.evaluation_batches(lengths, tokens_per_batch))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        padded = lengths[batch].max() * len(batch)
        assert len(batch) == 1 or padded <= tokens_per_batch
        assert padded - lengths[batch].sum() <= tokens.EVALUATION_PADDING
