"""Four parts of a corpus: alike in classes and lengths, without a near-duplicate across them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from redheart.dedup import connected_components
from redheart.errors import UserError
from redheart.near_duplicates import LOWEST_THRESHOLD
from redheart.split_balance import balance, indicators, ks_distance
from redheart.tasks import Record, Task, lookup

PARTS = ("train", "val_select", "val_confirm", "test")
TRAIN = PARTS.index("train")
# The order in which parts get a record where there are too few to share out.
FILL_ORDER = tuple(PARTS.index(part) for part in ("train", "test", "val_select", "val_confirm"))
# A class of at least this many records is shared out by the fractions.
SHARED_CLASS = 4
# The report looks for the highest similarity across parts so far below the audit threshold: near
# enough to be found in a time like the audit's, far above what unrelated texts have in common.
LOOKED_BELOW = 0.05
# In a corpus of so many records, no part's text lengths are further from the whole's than this
# (Kolmogorov-Smirnov distance).
LENGTHS_CLAIMED_FROM, MAX_KS_DISTANCE = 500, 0.05
# Should they be, lengths count so many times as much, at so many more quantiles, until not.
EMPHASES = (1, 2, 4, 8, 16)
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
    where that makes the parts more alike in lengths and targets. So the order of the records does
    not matter, and a record more moves few of the others.

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
    ranks = [_rank(str(record["id"]), options.seed) for record in records]
    lengths = [len(record["text"]) for record in records]
    quotas = class_quotas(Counter(strata), options.fractions)
    groups = linked_groups(len(records), links)
    fixed = _place_groups(records, groups, strata, quotas, options, kept or {})
    placed = dict(fixed)
    for value, members in classes_of(strata).items():
        ordered = sorted(members, key=lambda i: (lengths[i], ranks[i]))
        placed |= _deal_class(ordered, fixed, quotas[value], options, ranks)
    part_of = np.array([placed[i] for i in range(len(records))], dtype=int)
    _refuse_empty(part_of, strata)
    part_of = _swapped(records, part_of, fixed, strata, tasks, options)
    parts = {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(PARTS)}
    check_split(parts, links)
    return parts


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


# --- quotas -----------------------------------------------------------------------------------


def class_quotas(
    sizes: Mapping[str | None, int], fractions: Sequence[float]
) -> dict[str | None, np.ndarray]:
    """Return how many records of each class go to each part: int arrays in the order of `PARTS`.

    A class of 1 goes to train; classes of 2 and 3 fill train, test, val_select in that order. What
    these leave of the parts is shared out among the other classes: a quota is the class's share of
    the part's total, rounded down or up, and all totals hold.
    """
    quotas = {}
    for value in (value for value, size in sizes.items() if size < SHARED_CLASS):
        quotas[value] = np.zeros(len(PARTS), dtype=int)
        quotas[value][list(FILL_ORDER[: sizes[value]])] = 1
    shared = sorted((value for value in sizes if value not in quotas), key=_by_name)
    counts = np.array([sizes[value] for value in shared], dtype=int)
    left = np.array(fractions) * sum(sizes.values()) - sum(quotas.values())
    return quotas | dict(zip(shared, _shared_out(counts, np.maximum(left, 0)), strict=True))


def _shared_out(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share classes of `counts` records out by the parts' weights: int array (classes, parts).

    A table of which cells, rows and columns are all rounded to a neighbour exists always (Cox
    1987, A constructive procedure for unbiased controlled rounding); the largest flow of ones from
    the classes to the parts through the cells that are no whole numbers finds it.
    """
    if not len(counts):
        return np.zeros((0, len(PARTS)), dtype=int)
    share = (weights / weights.sum() * counts.sum()).round(9)
    down = np.floor(share).astype(int)
    totals = down + _deal(counts.sum() - down.sum(), share - down, share > down)
    exact = (np.outer(counts, totals) / counts.sum()).round(9)
    floor = np.floor(exact).astype(int)
    # Nodes: the classes, the parts, a source, a sink.
    rows, nodes = np.arange(len(counts)), np.arange(len(counts) + len(PARTS) + 2)
    columns, source, sink = nodes[len(rows) : -2], nodes[-2], nodes[-1]
    row, column = np.nonzero(exact > floor)
    tails = np.concatenate([np.full(len(rows), source), row, columns])
    heads = np.concatenate([rows, columns[column], np.full(len(columns), sink)])
    room = [counts - floor.sum(axis=1), np.ones(len(row)), totals - floor.sum(axis=0)]
    edges = csr_array(
        (np.concatenate(room).astype(np.int32), (tails, heads)), shape=(len(nodes),) * 2
    )
    flow = maximum_flow(edges, source, sink).flow
    return floor + flow[rows][:, columns].toarray()


def _deal(count: int, lag: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Deal `count` records one by one, each to the part that lags most and has room left."""
    dealt = np.zeros(len(PARTS), dtype=int)
    # Where parts lag equally, train is the last to get one: it can best do without.
    order = (*FILL_ORDER[1:], TRAIN)
    for _ in range(count):
        open_parts = [part for part in order if dealt[part] < room[part]]
        dealt[max(open_parts, key=lambda part: round(float(lag[part] - dealt[part]), 9))] += 1
    return dealt


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
    return {value: members[value] for value in sorted(members, key=_by_name)}


def _by_name(value: str | None) -> tuple[bool, str]:
    return value is None, value or ""


def is_oversized(group: Sequence[int], count: int, options: SplitOptions) -> bool:
    """Tell whether a linked group is larger than the smallest part is to be."""
    return len(group) > round(count * min(options.fractions), 9)


def _place_groups(
    records: Sequence[Record],
    groups: Sequence[Sequence[int]],
    strata: Sequence[str | None],
    quotas: Mapping[str | None, np.ndarray],
    options: SplitOptions,
    kept: Mapping[int, int],
) -> dict[int, int]:
    """Place the linked groups: the oversized in train, each other by its hash where it fits.

    The largest come first. A group goes where every class of its records has room, and where it
    is a small share of the part, if it can; else where it exceeds the quotas least. One with a
    kept record goes where that is.

    Returns the part of each linked or kept record.
    """
    placed = dict(kept)
    for group in groups:
        for part in {kept[i] for i in group if i in kept}:
            placed |= dict.fromkeys(group, part)
    left = {value: quota.copy() for value, quota in quotas.items()}
    for i, part in placed.items():
        left[strata[i]][part] -= 1
    sizes = np.array(options.fractions) * len(records)
    bounds = np.cumsum(options.fractions)[:-1]
    # The smallest id stands for the group, so that one more member rarely moves it.
    ids = [min(str(records[i]["id"]) for i in group) for group in groups]
    queue = [
        (
            not is_oversized(group, len(records), options),
            -len(group),
            _rank(name, options.seed),
            group,
        )
        for name, group in zip(ids, groups, strict=True)
        if group[0] not in placed
    ]
    for movable, _, rank, group in sorted(queue):
        counts = Counter(strata[i] for i in group)
        over = np.sum([np.maximum(0, count - left[c]) for c, count in counts.items()], axis=0)
        large = len(group) > (LARGEST_GROUP * sizes).round(9)
        choices = (int(np.searchsorted(bounds, rank, side="right")), *FILL_ORDER)
        room = np.sum(list(left.values()), axis=0)
        order = sorted(choices, key=lambda p: (over[p], over[p] and -room[p], large[p]))
        part = order[0] if movable else TRAIN
        for value, count in counts.items():
            left[value][part] -= count
        placed |= dict.fromkeys(group, part)
    return placed


def _deal_class(
    ordered: Sequence[int],
    placed: Mapping[int, int],
    quota: np.ndarray,
    options: SplitOptions,
    ranks: Sequence[float],
) -> dict[int, int]:
    """Place a class's free records, bin by bin of their lengths.

    After each bin every part has its share of the records so far, the placed ones counted; which
    of a bin's records go where follows from their ranks.
    """
    shares = np.array(options.fractions)
    given = np.zeros(len(PARTS), dtype=int)
    held = Counter(placed[i] for i in ordered if i in placed)
    room = np.array([max(0, quota[part] - held[part]) for part in range(len(PARTS))])
    dealt: dict[int, int] = {}
    done = 0
    for members in _length_bins(ordered, options):
        done += len(members)
        given += np.bincount([placed[i] for i in members if i in placed], minlength=len(PARTS))
        free = sorted((i for i in members if i not in placed), key=lambda i: ranks[i])
        due = quota if done == len(ordered) else shares * done
        counts = _deal(len(free), due - given, room)
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


def _swapped(
    records: Sequence[Record],
    part_of: np.ndarray,
    fixed: Mapping[int, int],
    strata: Sequence[str | None],
    tasks: Sequence[Task],
    options: SplitOptions,
) -> np.ndarray:
    """Return each record's part after swaps of free records that make the parts alike."""
    lengths = np.array([len(record["text"]) for record in records])
    numbers = {value: number for number, value in enumerate(classes_of(strata))}
    classes = np.array([numbers[value] for value in strata])
    # An order of its own: by the hashes that records were dealt by, parts would stand together.
    order = [_rank(f"swaps:{record['id']}", options.seed) for record in records]
    free = sorted(set(range(len(records))) - set(fixed), key=lambda i: order[i])
    best, distance = part_of, math.inf
    for emphasis in EMPHASES:
        matrix, weights = indicators(records, tasks, emphasis)
        part_of = balance(part_of, classes, np.array(free, dtype=int), matrix, weights)
        found = max(ks_distance(lengths[part_of == p], lengths) for p in range(len(PARTS)))
        if found < distance:
            best, distance = part_of, found
        if len(records) < LENGTHS_CLAIMED_FROM or distance <= MAX_KS_DISTANCE:
            break
    return best


def _refuse_empty(part_of: np.ndarray, strata: Sequence[str | None]) -> None:
    empty = [part for p, part in enumerate(PARTS) if p not in part_of]
    if empty:
        raise UserError(
            f"split: too few records: {len(strata)} records in {len(set(strata))} classes cannot "
            f"fill {len(PARTS)} parts ({', '.join(empty)} would be empty; classes of fewer than "
            f"{SHARED_CLASS} records and large linked groups are not shared out); add "
            "records, raise that part's share, or stratify by a coarser field"
        )
