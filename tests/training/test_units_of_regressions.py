"""A regression learns the same whatever the unit and the origin of its values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from redheart.encoding.lexicon import load_lexicon
from redheart.encoding.tokens import encode_part, load_encoded, save_encoded
from redheart.evaluation.fusion import equal_weights, fused_predictions
from redheart.evaluation.inference import contributions
from redheart.tasks.metrics import task_metrics
from redheart.tasks.scale import fit_scales
from redheart.tasks.task import Task
from redheart.training.epochs import train_epoch
from redheart.training.state import prepare

PRICE = Task("price", "regression", "price")
EPOCHS = 12


@pytest.fixture(scope="module")
def trained(records, recipe, tokenizer_path, lexicon_path, tmp_path_factory):
    """Return a function: train on values in another unit; return the metrics in that unit."""
    alone = replace(recipe, tasks=(PRICE,), train=replace(recipe.train, schedule_epochs=EPOCHS))
    folder, lexicon = tmp_path_factory.mktemp("units"), load_lexicon(lexicon_path)
    lengths = np.array([len(record["text"].split()) for record in records], dtype=float)

    def metrics(factor, offset):
        values = (lengths + offset * lengths.std()) * factor
        members = [{**r, "price": v} for r, v in zip(records, values.tolist(), strict=True)]
        scales = fit_scales([PRICE], members)
        encoded = encode_part(members, [PRICE], tokenizer_path, 24, lexicon, scales=scales)
        save_encoded(folder / "part.npz", encoded)
        part = load_encoded(folder / "part.npz")
        state = prepare(alone, part, 1e-2, 0)
        for _ in range(EPOCHS):
            train_epoch(state, part)
        outputs = contributions(state.network, part, alone.train)
        learned = fused_predictions([PRICE], outputs, equal_weights(outputs))["price"]
        return task_metrics(PRICE, learned, part.targets["price"], part.scales["price"])

    return metrics


@pytest.fixture(scope="module")
def plain(trained):
    return trained(1.0, 0.0)


def test_the_number_of_words_is_learned(plain):
    assert plain["r2"] > 0.5
    assert 0 < plain["mean_absolute_error"] < 6  # in words


@pytest.mark.parametrize(
    ("factor", "offset"), [(1e-6, 0), (1e6, 0), (1, 1e6), (1e-6, -1e6), (1e6, 1e6)]
)
def test_neither_unit_nor_origin_changes_how_well_it_is_learned(trained, plain, factor, offset):
    found = trained(factor, offset)
    assert found["r2"] == pytest.approx(plain["r2"], abs=0.02)
    assert found["mean_absolute_error"] == pytest.approx(
        factor * plain["mean_absolute_error"], rel=0.05
    )
