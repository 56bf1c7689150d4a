"""What reading a source gives, in a form that tests compare: its items, or the line of its error."""

from __future__ import annotations

from typing import Any

import pytest

from redheart.errors import UserError


def shown(places_and_items) -> list[tuple[str, Any]]:
    return [
        (place, f"! {item}" if isinstance(item, ValueError) else item)
        for place, item in places_and_items
    ]


def error(read, *given: Any) -> str:
    """The one line of the error, without the folder."""
    with pytest.raises(UserError) as caught:
        read(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value).rpartition("/in")[2]
