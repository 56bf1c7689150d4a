"""The simulation of thresholds, small: its probabilities mean what they say, and which rule wins."""

from __future__ import annotations

import numpy as np
from simulated_thresholds import RULES, scores_of_runs, simulate

from redheart.assessment.calibration import reliability


def test_calibrated_probabilities_mean_what_they_say_and_shifted_ones_do_not():
    errors = []
    for shifted in (False, True):
        _, (probabilities, truth) = simulate(0, 10, shifted)
        errors.append(reliability(probabilities.ravel(), truth.ravel())["ece"])
    assert errors[0] < 0.003 < 0.01 < errors[1]


def test_the_mean_cut_beats_the_plain_cut_and_one_half():
    scores = {rule: values.mean() for rule, values in scores_of_runs(6, 300, True).items()}
    assert tuple(scores) == RULES
    assert scores["mean cut"] > scores["plain cut"] > scores["half"]
    assert np.all(np.array([*scores.values()]) < 1)
