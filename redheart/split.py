"""Four parts of a corpus: alike in classes and lengths, without a near-duplicate across them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redheart.dedup import connected_components
from redheart.errors import UserError
from redheart.near_duplicates import LOWEST_THRESHOLD
from redheart.quotas import FILL_ORDER, PARTS, SHARED_CLASS, TRAIN, by_name, class_quotas, deal
from redheart.split_balance import Targets, mend
from redheart.tasks import Record, Task, lookup, target_matrix

# The report looks for the highest similarity across parts so far below the audit threshold: near
# enough to be found in a time like the audit's, far above what unrelated texts have in common.
LOOKED_BELOW = 0.05
# The records of a stage: so many, or this share of those before if that is more.
STAGE_RECORDS, STAGE_GROWTH = 50, 0.1
# Of a part, a linked group is at most this share where it can be: near-duplicates are alike in
# length and label, and would be felt there.
LARGEST_GROUP = 0.04


@dataclass(frozen=True)
class SplitOptions:
    """How the records are shared out."""

    train: float = 0.75
    """Share of the records that are trained on; above 0, the four sum to 1."""
    val_select: float = 0.10
    """Share on which checkpoints and candidates are chosen; above 0."""
    val_confirm: float = 0.05
    """Share on which the choice is accepted or refused; above 0."""
    test: float = 0.10
    """Share that is measured once, at the end; above 0."""
    audit_threshold: float = 0.80
    """Records at least this similar stay in one part; 0 to 1."""
    length_bins: int = 10
    """Least number of quantile bins of a large class's text lengths; each bin is shared out."""
    seed: int = 0
    """Another seed is another split; any integer."""
    keep: str | None = None
    """File of ids and parts: those records stay in those parts."""

    def __post_init__(self) -> None:
        given = [getattr(self, part) for part in PARTS]
        if min(given) <= 0 or not math.isclose(sum(given), 1, abs_tol=1e-6):
            shares = ", ".join(
                f"{part} {share:g}" for part, share in zip(PARTS, given, strict=True)
            )
            raise UserError(f"the four shares must be above 0 and sum to 1; got {shares}")

    @property
    def searched_from(self) -> float:
        """The similarity from which on the report needs all pairs of texts."""
        return max(LOWEST_THRESHOLD, round(self.audit_threshold - LOOKED_BELOW, 9))

    @property
    def fractions(self) -> tuple[float, ...]:
        """The four shares, in the order of `PARTS`, freed of rounding: their sum is 1."""
        given = [getattr(self, part) for part in PARTS]
        return tuple(share / sum(given) for share in given)


def stratum(record: Record, field: str | None) -> str | None:
    """Return the value that a record is stratified by; None where it has none.

    Raises
    ------
    UserError
        The field holds something that is no name: a number with a fraction, a list, an object.
    """
    value = None if field is None else lookup(record, field)
    if value is None:
        return None
    if not isinstance(value, str | int):
        raise UserError(
            f"split: cannot stratify by '{field}': record '{record['id']}' has a "
            f"{type(value).__name__} there; name a field of strings or whole numbers"
        )
    return str(value) if str(value).strip() else None


def split_records(
    records: Sequence[Record],
    links: Sequence[tuple[int, int]],
    strata: Sequence[str | None],
    options: SplitOptions,
    tasks: Sequence[Task] = (),
    kept: Mapping[int, int] | None = None,
) -> dict[str, list[int]]:
    """Share records out over the four parts.

    Every class gets its quota in each part, and so does every quantile bin of the class's text
    lengths; within a bin a seeded hash of the id decides. Then records of one class are swapped
    where that makes the parts more alike in lengths and targets. All this is done in stages, from
    the first records on, and a stage moves few of those before it: so does a record at the end.

    Parameters
    ----------
    links : pairs of record indices that must stay together; so do chains of them.
    strata : each record's class, None where it has none (a class of its own).
    tasks : those whose targets are to be alike in the parts.
    kept : index -> part, as a number, of records whose part is given. They stay there, and so do
        the records that are linked to them; all others make up for what they leave uneven.

    Returns
    -------
    dict of each part's record indices, ascending.

    Raises
    ------
    UserError
        There are too few records to fill each part.
    """
    facts = _Facts.of(records, strata, tasks, options.seed)
    whole = class_quotas(Counter(strata), options.fractions)
    part_of = np.zeros(0, dtype=int)
    for end in [len(records)] if kept else _stages(len(records)):
        inside = [(i, j) for i, j in links if max(i, j) < end]
        given = {i: part for i, part in (kept or {}).items() if i < end}
        part_of = _dealt(facts.first(end), inside, options, given, part_of, whole)
    _refuse_empty(part_of, strata)
    parts = {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(PARTS)}
    check_split(parts, links)
    return parts


@dataclass(frozen=True)
class _Facts:
    """What is to be known of records, one after the other."""

    ids: list[str]
    strata: list[str | None]
    lengths: list[int]
    ranks: list[float]
    """Their places in the seeded order by which they are dealt, 0 to 1."""
    places: list[float]
    """The same for swaps: an order of its own, since in that of the deal parts stand together."""
    targets: list[Targets]

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        strata: Sequence[str | None],
        tasks: Sequence[Task],
        seed: int,
    ) -> _Facts:
        ids = [str(record["id"]) for record in records]
        return cls(
            ids=ids,
            strata=list(strata),
            lengths=[len(record["text"]) for record in records],
            ranks=[_rank(name, seed) for name in ids],
            places=[_rank(f"swaps:{name}", seed) for name in ids],
            targets=[(task, target_matrix(task, records)) for task in tasks],
        )

    def first(self, count: int) -> _Facts:
        targets = [(task, matrix[:count]) for task, matrix in self.targets]
        return _Facts(
            self.ids[:count],
            self.strata[:count],
            self.lengths[:count],
            self.ranks[:count],
            self.places[:count],
            targets,
        )


def _stages(count: int) -> list[int]:
    """Return how many records are dealt at the end of each stage; the last stage may be short."""
    ends = [0]
    while ends[-1] < count:
        more = max(STAGE_RECORDS, math.ceil(ends[-1] * STAGE_GROWTH))
        ends.append(min(count, ends[-1] + more))
    return ends[1:]


def _dealt(
    facts: _Facts,
    links: Sequence[tuple[int, int]],
    options: SplitOptions,
    kept: Mapping[int, int],
    before: np.ndarray,
    whole: Mapping[str | None, np.ndarray],
) -> np.ndarray:
    """Return each record's part; the first `len(before)` have one, which most of them keep.

    Groups are placed by the quotas of the whole corpus: those of a stage have no room for them.
    """
    strata = facts.strata
    quotas = class_quotas(Counter(strata), options.fractions)
    fixed = _place_groups(facts, linked_groups(len(strata), links), whole, options, kept, before)
    stay = _staying(facts, before, fixed, quotas)
    placed = fixed | stay
    classes = np.zeros(len(strata), dtype=int)
    for number, (value, members) in enumerate(classes_of(strata).items()):
        classes[members] = number
        placed |= _deal_class(facts, members, placed, quotas[value], options)
    part_of = np.array([placed[i] for i in range(len(strata))], dtype=int)
    if len(set(placed.values())) < len(PARTS):
        return part_of
    free = sorted(set(range(len(strata))) - set(fixed), key=lambda i: facts.places[i])
    return mend(part_of, classes, free, stay, facts.lengths, facts.targets)


def check_split(parts: Mapping[str, Sequence[int]], links: Iterable[tuple[int, int]]) -> None:
    """Raise a UserError if a linked pair stands in two parts."""
    part_of = {i: part for part, members in parts.items() for i in members}
    for i, j in links:
        if part_of[i] != part_of[j]:
            raise UserError(
                f"split: records number {i} and {j} are near-duplicates but stand in {part_of[i]} "
                f"and {part_of[j]}; build the split again"
            )


def linked_groups(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected components of two records or more, each ascending."""
    groups = defaultdict(list)
    for i, component in enumerate(_components(count, links)):
        groups[component].append(i)
    return [group for group in groups.values() if len(group) > 1]


def clusters_by_part(
    parts: Mapping[str, Sequence[int]], links: Iterable[tuple[int, int]]
) -> dict[str, list[int]]:
    """Return by part, record by record, the cluster of linked records that each belongs to.

    A cluster goes by its first record's index in the whole; a record without links is one alone.
    """
    component = _components(sum(map(len, parts.values())), links)
    return {part: [component[i] for i in members] for part, members in parts.items()}


def _components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    pairs = list(links)
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return list(connected_components(count, first, second).tolist())


# --- placing ----------------------------------------------------------------------------------


def _rank(identity: str, seed: int) -> float:
    """Return a record's place in the seeded order: a number from 0 to 1."""
    digest = hashlib.blake2b(f"{seed}:{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def classes_of(strata: Sequence[str | None]) -> dict[str | None, list[int]]:
    """Return each class's record indices, the classes in order of their names."""
    members = defaultdict(list)
    for i, value in enumerate(strata):
        members[value].append(i)
    return {value: members[value] for value in sorted(members, key=by_name)}


def is_oversized(group: Sequence[int], count: int, options: SplitOptions) -> bool:
    """Tell whether a linked group is larger than the smallest part is to be."""
    return len(group) > round(count * min(options.fractions), 9)


def _place_groups(
    facts: _Facts,
    groups: Sequence[Sequence[int]],
    quotas: Mapping[str | None, np.ndarray],
    options: SplitOptions,
    kept: Mapping[int, int],
    before: np.ndarray,
) -> dict[int, int]:
    """Place the linked groups: the oversized in train, each other by its hash where it fits.

    One whose first record has had a part before goes there rather than by its hash.
    The largest come first. A group goes where every class of its records has room, and where it
    is a small share of the part, if it can; else where it exceeds the quotas least. One with a
    kept record goes where that is.

    Returns the part of each linked or kept record.
    """
    placed = dict(kept)
    for group in groups:
        for part in {kept[i] for i in group if i in kept}:
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
            before[group[0]] if group[0] < len(before) else np.searchsorted(bounds, rank, "right")
        )
        choices = (int(home), *FILL_ORDER)
        room = np.sum(list(left.values()), axis=0)
        order = sorted(choices, key=lambda p: (over[p], over[p] and -room[p], large[p]))
        part = order[0] if movable else TRAIN
        for value, held in counts.items():
            left[value][part] -= held
        placed |= dict.fromkeys(group, part)
    return placed


def _staying(
    facts: _Facts,
    before: np.ndarray,
    fixed: Mapping[int, int],
    quotas: Mapping[str | None, np.ndarray],
) -> dict[int, int]:
    """Return the single records that keep their part: of each class as many as its quota lets."""
    left = {value: quota.copy() for value, quota in quotas.items()}
    for i, part in fixed.items():
        left[facts.strata[i]][part] -= 1
    stay = {}
    for i in sorted(set(range(len(before))) - set(fixed), key=lambda i: facts.ranks[i]):
        room = left[facts.strata[i]]
        if room[before[i]] > 0:
            room[before[i]] -= 1
            stay[i] = int(before[i])
    return stay


def _deal_class(
    facts: _Facts,
    members: Sequence[int],
    placed: Mapping[int, int],
    quota: np.ndarray,
    options: SplitOptions,
) -> dict[int, int]:
    """Place a class's free records, bin by bin of their lengths.

    After each bin every part has its share of the records so far, the placed ones counted; which
    of a bin's records go where follows from their ranks.
    """
    ordered = sorted(members, key=lambda i: (facts.lengths[i], facts.ranks[i]))
    shares = np.array(options.fractions)
    given = np.zeros(len(PARTS), dtype=int)
    held = Counter(placed[i] for i in ordered if i in placed)
    room = np.array([max(0, quota[part] - held[part]) for part in range(len(PARTS))])
    dealt: dict[int, int] = {}
    done = 0
    for bin_ in _length_bins(ordered, options):
        done += len(bin_)
        given += np.bincount([placed[i] for i in bin_ if i in placed], minlength=len(PARTS))
        free = sorted((i for i in bin_ if i not in placed), key=lambda i: facts.ranks[i])
        due = quota if done == len(ordered) else shares * done
        counts = deal(len(free), due - given, room)
        dealt |= dict(zip(free, np.repeat(range(len(PARTS)), counts).tolist(), strict=True))
        given += counts
        room -= counts
    return dealt


def _length_bins(ordered: Sequence[int], options: SplitOptions) -> list[Sequence[int]]:
    """Cut a class, sorted by length, into bins of one size; the last takes the remainder.

    A bin holds 1, 2, 4 ... records for the smallest part. So its shares are whole numbers for
    fractions like the default ones, and its size, unlike a quantile of the class, stays the same
    when a record is added: only the records at the bins' edges can move.
    """
    size = math.ceil(round(1 / min(options.fractions), 9))
    while len(ordered) >= 2 * size * options.length_bins:
        size *= 2
    edges = [size * b for b in range(1, len(ordered) // size)]
    return [
        ordered[low:high] for low, high in zip([0, *edges], [*edges, len(ordered)], strict=True)
    ]


def _refuse_empty(part_of: np.ndarray, strata: Sequence[str | None]) -> None:
    empty = [part for p, part in enumerate(PARTS) if p not in part_of]
    if empty:
        raise UserError(
            f"split: too few records: {len(strata)} records in {len(set(strata))} classes cannot "
            f"fill {len(PARTS)} parts ({', '.join(empty)} would be empty; classes of fewer than "
            f"{SHARED_CLASS} records and large linked groups are not shared out); add "
            "records, raise that part's share, or stratify by a coarser field"
        )
