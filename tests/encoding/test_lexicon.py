"""The lexicon: scikit-learn's vectorizers as the oracle, and texts of any characters."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redheart.encoding import lexicon
from redheart.encoding.lexicon import LexiconOptions, fit_lexicon, hash_ngram
from redheart.selection.baseline import WORDS
from redheart.storage import files

TEXTS = [
    "She lied about the money, and I told him WHY?!",
    "그는 돈을 빌려 갔다 😀 to dinner",
    "to dinner to dinner a",
    "...   \n\t so: so so",
    "",
]
OTHERS = ["she lied to the dinner", "unseen 글 xyzzy", "", "돈을 돈을"]


@pytest.fixture(scope="module")
def fitted():
    return fit_lexicon(TEXTS, LexiconOptions())


def oracle(texts):
    """Rows of {(block, n-gram's hash): value} as scikit-learn computes them."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = [{} for _ in texts]
    shared = {"sublinear_tf": True}
    for block, vectorizer in enumerate(
        (
            TfidfVectorizer(ngram_range=(1, 2), token_pattern=WORDS, **shared),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **shared),
        )
    ):
        vectorizer.fit(TEXTS)
        names = vectorizer.get_feature_names_out()
        for row, found in zip(rows, vectorizer.transform(texts), strict=True):
            entries = zip(found.indices, found.data, strict=True)
            row |= {(block, hash_ngram(names[i])): value for i, value in entries}
    return rows


@pytest.mark.parametrize("texts", [TEXTS, OTHERS], ids=["fitted", "unseen"])
def test_values_are_those_of_scikit_learn(fitted, texts):
    ngrams, border = fitted.transform(texts), len(fitted.words.hashes)
    hashes = np.concatenate([fitted.words.hashes, fitted.characters.hashes])
    for row, expected in enumerate(oracle(texts)):
        a, b = ngrams.offsets[row : row + 2]
        columns = ngrams.columns[a:b].astype(int)
        found = {
            (int(column >= border), hashes[column]): value
            for column, value in zip(columns, ngrams.values[a:b], strict=True)
        }
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=1e-3)


def test_the_ngrams_of_most_texts_are_kept():
    few = fit_lexicon(["a b", "a c", "a b d"], LexiconOptions(features=2))
    assert set(few.words.hashes.tolist()) == {hash_ngram("a"), hash_ngram("b")}
    assert few.size == 4
    np.testing.assert_array_equal(few.words.hashes, np.sort(few.words.hashes))


def test_hashes_are_the_same_on_every_machine():
    assert hash_ngram("money") == 0xB7DF13E4
    assert hash_ngram("돈") == 0x058E69C5


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_has_values_of_length_one_or_none(text):
    known = fit_lexicon([text, "money"], LexiconOptions())
    ngrams = known.transform([text])
    border = len(known.words.hashes)
    for block in (ngrams.columns < border, ngrams.columns >= border):
        length = np.linalg.norm(ngrams.values[block].astype(np.float64))
        assert length == pytest.approx(1, abs=2e-3) or (not block.any() and length == 0)
    assert len(np.unique(ngrams.columns)) == len(ngrams.columns)


@given(st.text(max_size=40))
def test_equal_letters_are_equal_however_they_are_composed(text):
    import unicodedata

    one, other = (
        lexicon.count_ngrams(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")
    )
    for (found, counts), (same, as_often) in zip(one, other, strict=True):
        np.testing.assert_array_equal(found, same)
        np.testing.assert_array_equal(counts, as_often)


def test_a_padded_batch_holds_the_rows_asked_for(fitted):
    ngrams = fitted.transform(TEXTS)
    columns, values = ngrams.padded([2, 4, 0])
    for row, text in enumerate((2, 4, 0)):
        a, b = ngrams.offsets[text : text + 2]
        np.testing.assert_array_equal(columns[row, : b - a], ngrams.columns[a:b])
        np.testing.assert_array_equal(values[row, : b - a], ngrams.values[a:b])
        assert not values[row, b - a :].any()
    assert ngrams.padded([4])[0].shape == (1, 0)


def test_the_head_holds_the_first_texts(fitted):
    whole, head = fitted.transform(TEXTS), fitted.transform(TEXTS).head(2)
    alone = fitted.transform(TEXTS[:2])
    for name in ("columns", "values", "offsets"):
        np.testing.assert_array_equal(getattr(head, name), getattr(alone, name))
    assert len(whole.offsets) == len(TEXTS) + 1


def test_equal_texts_give_equal_bytes_and_come_back(tmp_path, fitted):
    for name in ("a.npz", "b.npz"):
        lexicon.save_lexicon(tmp_path / name, fit_lexicon(TEXTS, LexiconOptions()))
    assert files.sha256_file(tmp_path / "a.npz") == files.sha256_file(tmp_path / "b.npz")
    found = lexicon.load_lexicon(tmp_path / "a.npz")
    for block in ("words", "characters"):
        for name in ("hashes", "idf"):
            before, after = (getattr(getattr(one, block), name) for one in (fitted, found))
            np.testing.assert_array_equal(before, after)
            assert before.dtype == after.dtype


def test_the_lexicon_is_fitted_on_train_alone(fitted):
    rules = (Path(__file__).parents[2] / "rules" / "data.smk").read_text()
    (rule,) = re.findall(r"rule fit_lexicon:\n    input:\n(.*?)    output:", rules, flags=re.S)
    assert rule.split() == ['train=f"{RUN}/data/split/train.json",']
    # Texts that are only transformed change neither the kept n-grams nor their weights.
    before = fitted.transform(TEXTS).values
    fitted.transform(["money money", "xyzzy"])
    np.testing.assert_array_equal(fitted.transform(TEXTS).values, before)
    assert hash_ngram("xyzzy") not in fitted.words.hashes
