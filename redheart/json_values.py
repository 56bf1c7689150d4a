"""Numbers that may be unknown: NaN in a computation, null in a JSON file, since JSON has no NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# An object of a JSON file.
Json = dict[str, Any]


def number(value: float | None) -> float:
    """Return a number, NaN for null."""
    return math.nan if value is None else float(value)


def numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return an array with NaN for null and for everything that is not finite."""
    array = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def or_null(value: float) -> float | None:
    """Return the number as JSON can hold it: None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def or_nulls(values: Iterable[float]) -> list[float | None]:
    """Return a list that JSON can hold, with None for every number that is not finite."""
    return [or_null(value) for value in values]


def or_lowest(score: float) -> float:
    """Return a score for ranking: minus infinity, and so below every number, where it is NaN."""
    return -math.inf if math.isnan(score) else score


def with_nulls(value: Any) -> Any:
    """Return a nested value that JSON can hold, with None for every number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: with_nulls(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [with_nulls(inner) for inner in value]
    return value
