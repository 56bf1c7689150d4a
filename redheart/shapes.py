"""The shape of JSON values that come from files: which keys an object has, and of which types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any

Shape = type | UnionType | Sequence["Shape"] | Mapping[str, "Shape"]


def has_shape(value: Any, shape: Shape) -> bool:
    """Tell whether a JSON value has a shape.

    Parameters
    ----------
    shape
        A type, or several (`int | float`); a list of one shape for a list whose items all have it;
        a dict of shapes for an object with these keys, of which it may lack those that end with a
        question mark.
    """
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(_fits(value, *pair) for pair in shape.items())
    return isinstance(value, shape)  # type: ignore[arg-type]


def _fits(value: dict[str, Any], key: str, shape: Shape) -> bool:
    name = key.removesuffix("?")
    return has_shape(value[name], shape) if name in value else name != key
