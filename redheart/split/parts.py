"""The four parts, the options of the split, and the classes of records."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from redheart.duplicates.search import LOWEST_THRESHOLD
from redheart.errors import UserError
from redheart.limits import LARGEST_SEED, Above, AtLeast, AtMost, Below, NotEmpty
from redheart.spelling import nfc
from redheart.tasks.task import Record, lookup

PARTS = ("train", "val_select", "val_confirm", "test")
TRAIN = PARTS.index("train")
# The order in which the parts get a record of a class that is too small to be shared out.
FILL_ORDER = tuple(PARTS.index(part) for part in ("train", "test", "val_select", "val_confirm"))
# A class of at least this many records is shared out by the fractions.
SHARED_CLASS = 4


def by_name(value: str | None) -> tuple[bool, str]:
    """Return the key that sorts classes by their names; the class without a name comes last."""
    return value is None, value or ""


# The report searches for the highest similarity across parts down to this far below the audit
# threshold. That is near enough to take about as long as the audit, and far above the similarity of
# unrelated texts.
LOOKED_BELOW = 0.05


@dataclass(frozen=True)
class SplitOptions:
    """How the records are shared out."""

    train: Annotated[float, Above(0), Below(1)] = 0.75
    """Share of the records that are trained on."""
    val_select: Annotated[float, Above(0), Below(1)] = 0.10
    """Share on which checkpoints and candidates are chosen."""
    val_confirm: Annotated[float, Above(0), Below(1)] = 0.05
    """Share on which the choice is accepted or refused."""
    test: Annotated[float, Above(0), Below(1)] = 0.10
    """Share that is measured once, at the end."""
    audit_threshold: Annotated[float, AtLeast(0.5), AtMost(1)] = 0.80
    """Similarity from which two records stay in one part."""
    length_bins: Annotated[int, AtLeast(1), AtMost(1_000)] = 10
    """Least number of quantile bins of a large class's text lengths; each bin is shared out."""
    seed: Annotated[int, AtLeast(0), AtMost(LARGEST_SEED)] = 0
    """Seed of the split; another seed is another split."""
    keep: Annotated[str | None, NotEmpty()] = None
    """File that says which records stay in which part (`redheart parts` prints it); null: none."""

    def __post_init__(self) -> None:
        shares = [getattr(self, part) for part in PARTS]
        if min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
            listed = ", ".join(
                f"{part} {share:g}" for part, share in zip(PARTS, shares, strict=True)
            )
            raise UserError(f"the four shares must be above 0 and sum to 1; got {listed}")

    @property
    def searched_from(self) -> float:
        """The similarity from which on the report needs all pairs of texts."""
        return max(LOWEST_THRESHOLD, round(self.audit_threshold - LOOKED_BELOW, 9))

    @property
    def fractions(self) -> tuple[float, ...]:
        """The four shares, in the order of `PARTS`, freed of rounding: their sum is 1."""
        shares = [getattr(self, part) for part in PARTS]
        return tuple(share / sum(shares) for share in shares)


def stratum(record: Record, field: str | None) -> str | None:
    """Return the value that a record is stratified by; None where it has none.

    Raises
    ------
    UserError
        The field holds something that is no name: a number with a fraction, a list, an object.
    """
    value = None if field is None else lookup(record, nfc(field))
    if value is None:
        return None
    if not isinstance(value, str | int):
        raise UserError(
            f"split: cannot stratify by '{field}': record '{record['id']}' has a "
            f"{type(value).__name__} there; name a field of strings or whole numbers"
        )
    return nfc(str(value)) if str(value).strip() else None


def classes_of(strata: Sequence[str | None]) -> dict[str | None, list[int]]:
    """Return each class's record indices, the classes in order of their names."""
    members = defaultdict(list)
    for i, value in enumerate(strata):
        members[value].append(i)
    return {value: members[value] for value in sorted(members, key=by_name)}


def is_oversized(group: Sequence[int], count: int, options: SplitOptions) -> bool:
    """Tell whether a linked group is larger than the smallest part is to be."""
    return len(group) > round(count * min(options.fractions), 9)
