"""Four parts of a corpus: alike in classes and lengths, without a near-duplicate across them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from redheart.duplicates.removal import connected_components
from redheart.duplicates.search import near_duplicate_pairs
from redheart.errors import UserError
from redheart.spelling import nfc
from redheart.split.balance import mend
from redheart.split.kept import kept_indices, refuse_torn
from redheart.split.parts import (
    PARTS,
    SHARED_CLASS,
    SplitOptions,
    classes_of,
    is_oversized,
    stratum,
)
from redheart.split.placing import Facts, deal_class, place_groups, staying
from redheart.split.quotas import class_quotas
from redheart.tasks.task import Record, Task

# A stage deals this many records, or this share of the records before it if that is more.
STAGE_RECORDS, STAGE_GROWTH = 50, 0.1


@dataclass(frozen=True)
class Split:
    """A corpus in four parts, with the classes, pairs and listed parts that they follow from."""

    parts: dict[str, list[int]]
    """Each part's record indices, ascending."""
    strata: list[str | None]
    """Each record's class."""
    pairs: list[tuple[int, int, float]]
    """All pairs of records at or above `SplitOptions.searched_from`, with their similarity."""
    links: list[tuple[int, int]]
    """The pairs whose records must stay together."""
    listed_parts: dict[int, int]
    """Record index -> part, as a number, for each record whose part is given."""


def split_corpus(
    records: Sequence[Record],
    stratify_by: str | None,
    tasks: Sequence[Task],
    part_by_id: Mapping[str, str],
    options: SplitOptions,
) -> Split:
    """Find near-duplicates, and share the records out so that no group of them is torn apart.

    Parameters
    ----------
    part_by_id
        The part of each record whose part is given, as `kept.read_kept` returns it.

    Raises
    ------
    UserError
        There are too few records, or near-duplicates have different parts given.
    """
    # As the tokenizer and the lexicon read them: else the same text could stand in two parts.
    texts = [nfc(record["text"]) for record in records]
    pairs = near_duplicate_pairs(texts, options.searched_from)
    rows = list(zip(*(column.tolist() for column in pairs), strict=True))
    links = linked_pairs(rows, options)
    listed_parts = kept_indices(records, part_by_id)
    refuse_torn(records, links, listed_parts)
    strata = [stratum(record, stratify_by) for record in records]
    parts = split_records(records, links, strata, options, tasks, listed_parts)
    return Split(parts, strata, rows, links, listed_parts)


def linked_pairs(
    pairs: Iterable[tuple[int, int, float]], options: SplitOptions
) -> list[tuple[int, int]]:
    """Return the pairs that are so similar that they must stay in one part."""
    return [(i, j) for i, j, similarity in pairs if similarity >= options.audit_threshold]


def split_records(
    records: Sequence[Record],
    links: Sequence[tuple[int, int]],
    strata: Sequence[str | None],
    options: SplitOptions,
    tasks: Sequence[Task] = (),
    listed_parts: Mapping[int, int] | None = None,
) -> dict[str, list[int]]:
    """Share records out over the four parts.

    Every class gets its quota in each part, and so does every quantile bin of the class's text
    lengths; within a bin a seeded hash of the id decides. Then records of one class are swapped
    where that makes the parts more alike in lengths and targets. All this is done in stages, from
    the first records on. A stage moves few records of the stages before it, so a record that is
    added at the end of the corpus moves few others.

    Parameters
    ----------
    links : pairs of record indices that must stay together; chains of pairs stay together too.
    strata : each record's class, None where it has none (a class of its own).
    tasks : the tasks whose targets are to be alike in the parts.
    listed_parts : record index -> part, as a number, for each record whose part is given. These
        records, and all records that are linked to them, stay there. The other records are dealt
        so that they even out the parts.

    Returns
    -------
    dict of each part's record indices, ascending.

    Raises
    ------
    UserError
        There are too few records to fill each part.
    """
    facts = Facts.of(records, strata, tasks, options.seed)
    corpus_quotas = class_quotas(Counter(strata), options.fractions)
    part_of = np.zeros(0, dtype=int)
    for end in [len(records)] if listed_parts else _stages(len(records)):
        inside = [(i, j) for i, j in links if max(i, j) < end]
        listed_inside = {i: part for i, part in (listed_parts or {}).items() if i < end}
        part_of = _dealt(facts.first(end), inside, options, listed_inside, part_of, corpus_quotas)
    _refuse_empty(part_of, strata, linked_groups(len(records), links), options)
    parts = {part: np.flatnonzero(part_of == p).tolist() for p, part in enumerate(PARTS)}
    check_split(parts, links)
    return parts


def _stages(count: int) -> list[int]:
    """Return how many records are dealt at the end of each stage; the last stage may be short."""
    ends = [0]
    while ends[-1] < count:
        more = max(STAGE_RECORDS, math.ceil(ends[-1] * STAGE_GROWTH))
        ends.append(min(count, ends[-1] + more))
    return ends[1:]


def _dealt(
    facts: Facts,
    links: Sequence[tuple[int, int]],
    options: SplitOptions,
    listed_parts: Mapping[int, int],
    earlier_parts: np.ndarray,
    corpus_quotas: Mapping[str | None, np.ndarray],
) -> np.ndarray:
    """Return each record's part.

    The first `len(earlier_parts)` records have a part already, which most of them keep. Groups are
    placed by the quotas of the whole corpus: the quotas of a stage have no room for them.
    """
    strata = facts.strata
    quotas = class_quotas(Counter(strata), options.fractions)
    groups = linked_groups(len(strata), links)
    fixed = place_groups(facts, groups, corpus_quotas, options, listed_parts, earlier_parts)
    stay = staying(facts, earlier_parts, fixed, quotas)
    placed = fixed | stay
    classes = np.zeros(len(strata), dtype=int)
    for number, (value, members) in enumerate(classes_of(strata).items()):
        classes[members] = number
        placed |= deal_class(facts, members, placed, quotas[value], options)
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
    """Return by part, record by record, the cluster of linked records that the record belongs to.

    A cluster is named by its first record's index in the corpus. A record without links is a
    cluster of its own.
    """
    component = _components(sum(map(len, parts.values())), links)
    return {part: [component[i] for i in members] for part, members in parts.items()}


def _components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    pairs = list(links)
    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    return list(connected_components(count, first, second).tolist())


def _refuse_empty(
    part_of: np.ndarray,
    strata: Sequence[str | None],
    groups: Sequence[Sequence[int]],
    options: SplitOptions,
) -> None:
    empty = [part for p, part in enumerate(PARTS) if p not in part_of]
    largest = max(map(len, groups), default=0)
    if empty and is_oversized(range(largest), len(strata), options):
        raise UserError(
            f"split: {largest:,} of {len(strata):,} records are linked by texts at least "
            f"{options.audit_threshold:g} similar and stand in one part, so that "
            f"{', '.join(empty)} would be empty; where texts that share a template are texts of "
            "their own, raise split.audit_threshold; or add other records (those that "
            "deduplication removed do not count: dedup.threshold)"
        )
    if empty:
        raise UserError(
            f"split: too few records: {len(strata)} records in {len(set(strata))} classes cannot "
            f"fill {len(PARTS)} parts ({', '.join(empty)} would be empty; classes of fewer than "
            f"{SHARED_CLASS} records and large linked groups are not shared out); add "
            "records, raise that part's share, or stratify by a coarser field (near-duplicates "
            "that deduplication removed do not count: dedup.threshold)"
        )
