"""Where nothing is to gain, no gain is claimed; where something is, it is found. A small version."""

from __future__ import annotations

import numpy as np
import pytest
from planted_null import DEFAULT, OTHERS, any_significant, chosen, simulate

pytestmark = pytest.mark.slow

SMALL = {"rivals": 8, "seeds": (0,), "parts": ("val_select", "val_confirm")}


@pytest.fixture(scope="module")
def null():
    """Of 100 runs of equal candidates: what ships and what was best on val_select."""
    return [chosen(simulate(number, **SMALL), resamples=200) for number in range(100)]


def test_a_gain_is_claimed_in_at_most_five_of_a_hundred_runs_without_one(null):
    assert sum(ships != DEFAULT for ships, _ in null) <= 5


def test_the_runs_without_a_gain_do_tempt(null):
    """On val_select one of the eight others is nearly always ahead of the default."""
    assert sum(pick != DEFAULT for _, pick in null) >= 80


def test_near_duplicates_taken_for_records_would_be_taken_in():
    """The same runs, confirmed over records: more than the clusters let through."""
    worlds = [simulate(number, **SMALL) for number in range(40)]
    confirmed = {"clusters": 0.0, "records": 0.0}
    for world in worlds:
        for unit in confirmed:
            ships, pick = chosen(world, 200, over_records=unit == "records")
            confirmed[unit] += ships == pick != DEFAULT
    assert confirmed["records"] > confirmed["clusters"]


def test_a_planted_gain_is_found():
    shipped = [chosen(simulate(n, gain=1.15, **SMALL), 200)[0] for n in range(20)]
    assert sum(ships == OTHERS[0] for ships in shipped) >= 16


def test_holm_calls_no_equal_candidate_better():
    worlds = (simulate(n, rivals=8, seeds=(0,)) for n in range(30))
    assert np.mean([any_significant(world, 200) for world in worlds]) <= 0.1
