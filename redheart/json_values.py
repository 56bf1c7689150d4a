"""What JSON can hold of a number: a finite one, or null."""

from __future__ import annotations

import math
from typing import Any

Json = dict[str, Any]


def number(value: float | None) -> float:
    """Return a number, NaN for null."""
    return math.nan if value is None else float(value)


def or_null(value: float) -> float | None:
    """Return what JSON can hold: the number, or None where it is not finite."""
    return value if math.isfinite(value) else None
