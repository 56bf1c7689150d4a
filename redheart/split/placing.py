"""Where records go: linked groups, records that stay, and each class by its lengths."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redheart.split.balance import Targets
from redheart.split.parts import FILL_ORDER, PARTS, TRAIN, SplitOptions, is_oversized
from redheart.split.quotas import deal
from redheart.tasks.task import Record, Task, target_matrix

# A linked group is at most this share of its part, if that is possible: near-duplicates are alike
# in length and label, so a larger group would make its part unlike the others.
LARGEST_GROUP = 0.04


@dataclass(frozen=True)
class Facts:
    """The facts of records that the split depends on, one entry a record."""

    ids: list[str]
    strata: list[str | None]
    lengths: list[int]
    ranks: list[float]
    """Their places in the seeded order by which they are dealt, 0 to 1."""
    places: list[float]
    """Their places in a second such order, for swaps: in the first one, a part stands together."""
    targets: list[Targets]

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        strata: Sequence[str | None],
        tasks: Sequence[Task],
        seed: int,
    ) -> Facts:
        """Return the facts of records, given the class of each."""
        ids = [str(record["id"]) for record in records]
        return cls(
            ids=ids,
            strata=list(strata),
            lengths=[len(record["text"]) for record in records],
            ranks=[_rank(name, seed) for name in ids],
            places=[_rank(f"swaps:{name}", seed) for name in ids],
            targets=[(task, target_matrix(task, records)) for task in tasks],
        )

    def first(self, count: int) -> Facts:
        """Return the facts of the first records."""
        targets = [(task, matrix[:count]) for task, matrix in self.targets]
        return Facts(
            self.ids[:count],
            self.strata[:count],
            self.lengths[:count],
            self.ranks[:count],
            self.places[:count],
            targets,
        )


def _rank(identity: str, seed: int) -> float:
    """Return a record's place in the seeded order: a number from 0 to 1."""
    digest = hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def place_groups(
    facts: Facts,
    groups: Sequence[Sequence[int]],
    quotas: Mapping[str | None, np.ndarray],
    options: SplitOptions,
    listed_parts: Mapping[int, int],
    earlier_parts: np.ndarray,
) -> dict[int, int]:
    """Place the linked groups: oversized groups in train, each other group by its hash if it fits.

    If an earlier stage gave a part to the group's first record, that part takes the place of the
    hash's. The largest groups are placed first. A group goes to a part in which every class of its
    records has room and of which it is a small share; if there is none, to the part whose quotas it
    exceeds least. A group with a listed record goes to that record's part.

    Returns the part of each linked or listed record.
    """
    placed = dict(listed_parts)
    for group in groups:
        for part in {listed_parts[i] for i in group if i in listed_parts}:
            placed |= dict.fromkeys(group, part)
    count = sum(int(quota.sum()) for quota in quotas.values())
    left = {value: quota.copy() for value, quota in quotas.items()}
    for i, part in placed.items():
        left[facts.strata[i]][part] -= 1
    sizes = np.array(options.fractions) * count
    bounds = np.cumsum(options.fractions)[:-1]
    # The smallest id stands for the group, so that one more member rarely moves it.
    ids = [min(facts.ids[i] for i in group) for group in groups]
    queue = [
        (
            not is_oversized(group, count, options),
            -len(group),
            _rank(name, options.seed),
            group,
        )
        for name, group in zip(ids, groups, strict=True)
        if group[0] not in placed
    ]
    for movable, _, rank, group in sorted(queue):
        counts = Counter(facts.strata[i] for i in group)
        over = np.sum([np.maximum(0, held - left[c]) for c, held in counts.items()], axis=0)
        large = len(group) > (LARGEST_GROUP * sizes).round(9)
        home = (
            earlier_parts[group[0]]
            if group[0] < len(earlier_parts)
            else np.searchsorted(bounds, rank, "right")
        )
        choices = (int(home), *FILL_ORDER)
        room = np.sum(list(left.values()), axis=0)
        order = sorted(choices, key=lambda p: (over[p], over[p] and -room[p], large[p]))
        part = order[0] if movable else TRAIN
        for value, held in counts.items():
            left[value][part] -= held
        placed |= dict.fromkeys(group, part)
    return placed


def staying(
    facts: Facts,
    earlier_parts: np.ndarray,
    fixed: Mapping[int, int],
    quotas: Mapping[str | None, np.ndarray],
) -> dict[int, int]:
    """Return the single records that keep their part, as many of a class as its quota allows."""
    left = {value: quota.copy() for value, quota in quotas.items()}
    for i, part in fixed.items():
        left[facts.strata[i]][part] -= 1
    stay = {}
    for i in sorted(set(range(len(earlier_parts))) - set(fixed), key=lambda i: facts.ranks[i]):
        room = left[facts.strata[i]]
        if room[earlier_parts[i]] > 0:
            room[earlier_parts[i]] -= 1
            stay[i] = int(earlier_parts[i])
    return stay


def deal_class(
    facts: Facts,
    members: Sequence[int],
    placed: Mapping[int, int],
    quota: np.ndarray,
    options: SplitOptions,
) -> dict[int, int]:
    """Place a class's free records, bin by bin of their lengths.

    After each bin every part has its share of the records so far, placed records included. The
    ranks of a bin's records decide which record goes to which part.
    """
    ordered = sorted(members, key=lambda i: (facts.lengths[i], facts.ranks[i]))
    shares = np.array(options.fractions)
    assigned = np.zeros(len(PARTS), dtype=int)
    held = Counter(placed[i] for i in ordered if i in placed)
    room = np.array([max(0, quota[part] - held[part]) for part in range(len(PARTS))])
    dealt: dict[int, int] = {}
    done = 0
    for bin_ in _length_bins(ordered, options):
        done += len(bin_)
        assigned += np.bincount([placed[i] for i in bin_ if i in placed], minlength=len(PARTS))
        free = sorted((i for i in bin_ if i not in placed), key=lambda i: facts.ranks[i])
        due = quota if done == len(ordered) else shares * done
        counts = deal(len(free), due - assigned, room)
        dealt |= dict(zip(free, np.repeat(range(len(PARTS)), counts).tolist(), strict=True))
        assigned += counts
        room -= counts
    return dealt


def _length_bins(ordered: Sequence[int], options: SplitOptions) -> list[Sequence[int]]:
    """Cut a class, sorted by length, into bins of one size; the last takes the remainder.

    A bin holds 1, 2, 4 ... records for the smallest part. So the parts' shares of a bin are whole
    numbers for fractions like the default ones. Unlike a quantile of the class, a bin keeps its
    size when a record is added: only the records at the bins' edges can move.
    """
    size = math.ceil(round(1 / min(options.fractions), 9))
    while len(ordered) >= 2 * size * options.length_bins:
        size *= 2
    edges = [size * b for b in range(1, len(ordered) // size)]
    return [
        ordered[low:high] for low, high in zip([0, *edges], [*edges, len(ordered)], strict=True)
    ]
