"""Batches: which texts are in them, and in what order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from redheart.encoding.batch import make_batch
from redheart.training.state import prepare


def test_a_batch_holds_the_rows_asked_for_in_that_order(part):
    rows = [7, 0, 39]
    batch = make_batch(part, rows)
    for row, ids, mask in zip(rows, batch.ids, batch.mask, strict=True):
        np.testing.assert_array_equal(ids[mask].numpy(), part.ids[row])
    assert batch.ids.shape[1] == max(len(part.ids[row]) for row in rows)


def test_a_doubled_batch_holds_the_texts_one_copy_after_the_other(part):
    batch = make_batch(part, [3, 1])
    doubled, apart = batch.doubled(), make_batch(part, [3, 1, 3, 1])
    assert torch.equal(doubled.ids, apart.ids)
    assert torch.equal(doubled.mask, apart.mask)
    # The module that reads n-grams has no dropout, so both passes share one copy.
    assert torch.equal(doubled.ngrams, batch.ngrams)
    assert torch.equal(doubled.ngram_values, batch.ngram_values)


def test_a_batch_without_padding_says_so_and_means_the_same(part, recipe):
    lengths = part.lengths
    rows = np.flatnonzero(lengths == np.bincount(lengths).argmax())
    batch = make_batch(part, rows)
    assert len(rows) > 1
    assert batch.full
    assert batch.doubled().full
    assert not make_batch(part, [lengths.argmin(), lengths.argmax()]).full
    network = prepare(recipe, part, 1e-3, 0).network.eval()
    for task, by_module in network(batch).items():
        masked = network(replace(batch, full=False))[task]
        for module, output in by_module.items():
            torch.testing.assert_close(output, masked[module])
