"""Which values a setting may have, beside its type: `Annotated[float, AtLeast(0), Below(1)]`.

A limit checks nothing itself. The schema of the config is made from the limits
(`redheart/workflow/schema.py`), and the schema checks the config. So each limit names the keyword
of JSON Schema that means the same.
"""

from __future__ import annotations

from typing import Any

# The largest seed of every generator of random numbers that a run uses.
LARGEST_SEED = 2**32 - 1


class Limit:
    """A limit on the values of a setting."""

    keyword: str

    def __init__(self, value: Any = True) -> None:
        self.value = value


class AtLeast(Limit):
    """At least this number."""

    keyword = "minimum"


class Above(Limit):
    """More than this number."""

    keyword = "exclusiveMinimum"


class AtMost(Limit):
    """At most this number."""

    keyword = "maximum"


class Below(Limit):
    """Less than this number."""

    keyword = "exclusiveMaximum"


class OneOf(Limit):
    """One of these texts, where the code lists them elsewhere; otherwise `Literal` lists them."""

    keyword = "enum"


class Matching(Limit):
    """A text that this regular expression matches."""

    keyword = "pattern"


class Hint(Limit):
    """The words that a message uses in place of the regular expression."""

    keyword = "patternHint"


class MostItems(Limit):
    """A list with at most so many items."""

    keyword = "maxItems"


class NotEmpty(Limit):
    """A text that holds at least one character, or a list or mapping with at least one item."""


class Distinct(Limit):
    """A list that holds no value twice."""

    keyword = "uniqueItems"
