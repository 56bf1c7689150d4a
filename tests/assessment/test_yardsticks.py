"""The same answer for every text."""

from __future__ import annotations

import numpy as np
import pytest

from redheart.assessment.yardsticks import majority_predictions
from redheart.tasks.task import Task

UNKNOWN = [np.nan, np.nan]


@pytest.mark.parametrize(
    ("kind", "train", "expected"),
    [
        ("multiclass", [[1, 0], [0, 1], [0, 1], UNKNOWN], [0, 1]),
        ("multilabel", [[1, 0], [0, np.nan], [1, 1], UNKNOWN], [2 / 3, 1 / 2]),
        ("distribution", [[0.25, 0.75], [0.75, 0.25], [0.5, 0.5], UNKNOWN], [0.5, 0.5]),
        ("regression", [[1, 5], [3, np.nan], UNKNOWN, UNKNOWN], [2, 5]),
        ("multiclass", [UNKNOWN] * 4, [0.5, 0.5]),
        ("multilabel", [[np.nan, 1]] * 4, [0.5, 1]),
        ("distribution", [UNKNOWN] * 4, [0.5, 0.5]),
        ("regression", [UNKNOWN] * 4, [0, 0]),
    ],
)
def test_it_is_what_train_says_of_any_text(kind, train, expected):
    task = Task("t", kind, "t", ("a", "b"))
    found = majority_predictions([task], {"t": np.array(train, dtype=np.float32)}, 3)["t"]
    assert found == pytest.approx(np.tile(expected, (3, 1)))
