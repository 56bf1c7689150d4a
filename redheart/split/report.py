"""The description of a split, and its certificate: claims with bounds and measured values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from redheart.data.records import text_statistics
from redheart.errors import UserError
from redheart.split.balance import LENGTHS_CLAIMED_FROM, MAX_KS_DISTANCE, ks_distance
from redheart.split.dealing import linked_groups, linked_pairs
from redheart.split.parts import (
    FILL_ORDER,
    PARTS,
    SHARED_CLASS,
    SplitOptions,
    classes_of,
    is_oversized,
)
from redheart.tasks.task import Record, Task, target_matrix

# The report lists this many pairs across parts, the most similar ones.
LISTED_PAIRS = 20
# The report's name for records without a value.
UNLABELLED = "(unlabelled)"
# A class's share of a part is at most this far from its share of the corpus.
MAX_CLASS_DEVIATION = 0.01

Parts = Mapping[str, Sequence[int]]


def split_report(
    records: Sequence[Record],
    parts: Parts,
    strata: Sequence[str | None],
    pairs: Sequence[tuple[int, int, float]],
    options: SplitOptions,
    tasks: Sequence[Task] = (),
    listed_parts: Mapping[int, int] | None = None,
) -> dict[str, Any]:
    """Return the evidence that the parts are alike and that nothing leaks across them.

    Parameters
    ----------
    pairs : all pairs of record indices at or above `options.searched_from`, with their similarity
        (0 to 1). Those below the audit threshold may stand in two parts.
    tasks : the tasks whose targets are compared.
    listed_parts : records whose part was given. If there are any, the claims on the likeness of
        parts are measured, but a false one stops nothing: perhaps no split could make it true.

    Raises
    ------
    UserError
        A claim of the certificate does not hold; the message names it.
    """
    listed_parts = listed_parts or {}
    links = linked_pairs(pairs, options)
    groups = linked_groups(len(records), links)
    indices = range(len(records))
    targets = [(task, target_matrix(task, records)) for task in tasks]
    described = {
        part: {
            "fraction": fraction,
            **_part_report(records, parts[part], strata),
            "tasks": _task_reports(targets, parts[part]),
        }
        for part, fraction in zip(PARTS, options.fractions, strict=True)
    }
    claims = [
        *_claims_of_whole(len(records), parts, strata, links, groups, listed_parts, options),
        *_claims_of_parts(len(records), parts, strata, described, groups, options),
    ]
    _refuse_broken(claim for claim in claims if not (listed_parts and claim["part"]))
    return {
        "seed": options.seed,
        "length_bins": options.length_bins,
        "kept": len(listed_parts),
        "count": len(records),
        "classes": _class_shares(indices, strata),
        "length": text_statistics(records),
        "tasks": _task_reports(targets, indices),
        "parts": described,
        "leakage": _leakage(records, parts, pairs, options),
        "linked_groups": _groups_report(records, groups, options),
        "small_classes": _small_classes(parts, strata),
        "certificate": claims,
    }


# --- the certificate --------------------------------------------------------------------------


def _claim(claim: str, part: str | None, measured: float, bound: float) -> dict[str, Any]:
    """Return a claim: the value measured in a part (null: in all parts) is at most its bound."""
    holds = round(measured, 9) <= round(bound, 9)
    return {"claim": claim, "part": part, "measured": measured, "bound": bound, "holds": holds}


def _claims_of_whole(
    count: int,
    parts: Parts,
    strata: Sequence[str | None],
    links: Sequence[tuple[int, int]],
    groups: Sequence[Sequence[int]],
    listed_parts: Container[int],
    options: SplitOptions,
) -> list[dict[str, Any]]:
    """Return the claims that the counts of misplaced records, pairs, groups and classes are 0."""
    indices = range(count)
    times = Counter(i for members in parts.values() for i in members)
    part_of = {i: part for part, members in parts.items() for i in members}
    crossing = sum(part_of.get(i) != part_of.get(j) for i, j in links)
    # A group that is linked to a listed record stands in that record's part.
    oversized = [
        group
        for group in groups
        if is_oversized(group, count, options) and not any(i in listed_parts for i in group)
    ]
    bound = {i for group in groups for i in group}.union(i for i in indices if i in listed_parts)
    misplaced = 0
    for members in classes_of(strata).values():
        # A linked record goes where its group goes; a listed record stays.
        if len(members) < SHARED_CLASS and not bound.intersection(members):
            due = [PARTS[part] for part in FILL_ORDER[: len(members)]]
            misplaced += sorted(part_of.get(i, "") for i in members) != sorted(due)
    return [
        _claim("records not in exactly one part", None, sum(times[i] != 1 for i in indices), 0),
        _claim(
            f"pairs of records at least {options.audit_threshold:g} similar across parts",
            None, crossing, 0,
        ),
        _claim(
            "linked groups larger than the smallest part that are not in train",
            None, sum({part_of.get(i) for i in group} != {"train"} for group in oversized), 0,
        ),
        _claim("classes of 1 to 3 records outside their parts", None, misplaced, 0),
    ]  # fmt: skip


def _claims_of_parts(
    count: int,
    parts: Parts,
    strata: Sequence[str | None],
    described: Mapping[str, Mapping[str, Any]],
    groups: Sequence[Sequence[int]],
    options: SplitOptions,
) -> list[dict[str, Any]]:
    """Return, part by part, the claims on class shares and, in a large corpus, text lengths.

    Records and linked groups cannot be divided: if one record, or a part's largest linked group,
    is a larger share of the part than the bound, that share is the bound. Records that are not
    shared out by the fractions (groups that only train can hold, classes of 1 to 3) raise the bound
    by their share of the part or of the corpus, whichever is more.
    """
    oversized = {i for group in groups if is_oversized(group, count, options) for i in group}
    small = {
        i for members in classes_of(strata).values() if len(members) < SHARED_CLASS for i in members
    }
    fixed = oversized | small
    claims = []
    for part, members in parts.items():
        inside = set(members)
        held = [len(group) for group in groups if group[0] in inside - oversized]
        least = max(held, default=1) / len(members)
        extra = max(len(fixed & inside) / len(members), len(fixed) / count)
        largest = described[part]["largest_class_deviation"]
        deviation = abs(largest["difference"])
        bound = max(MAX_CLASS_DEVIATION, least) + extra
        claims.append(_claim("largest deviation of a class's share", part, deviation, bound))
        if count >= LENGTHS_CLAIMED_FROM:
            distance, bound = described[part]["ks_distance"], max(MAX_KS_DISTANCE, least) + extra
            claims.append(
                _claim("Kolmogorov-Smirnov distance of text lengths", part, distance, bound)
            )
    return claims


def _refuse_broken(claims: Iterable[Mapping[str, Any]]) -> None:
    for claim in claims:
        if not claim["holds"]:
            where = f" in {claim['part']}" if claim["part"] else ""
            remedy = (
                "raise that part's share, stratify by a coarser field, lower dedup.threshold so "
                "that linked groups shrink, or take another split.seed"
                if claim["part"]
                else "build the split again"
            )
            raise UserError(
                f"split: cannot be certified: {claim['claim']}{where}: {claim['measured']:.4g}, "
                f"at most {claim['bound']:.4g} is allowed; {remedy}"
            )


# --- the description --------------------------------------------------------------------------


def _class_shares(members: Iterable[int], strata: Sequence[str | None]) -> dict[str, Any]:
    """Return, for every class of the corpus, its count and share among the members."""
    counts = Counter(strata[i] for i in members)
    return {
        _shown(value): {"count": counts[value], "share": counts[value] / max(1, counts.total())}
        for value in classes_of(strata)
    }


def _part_report(
    records: Sequence[Record], members: Sequence[int], strata: Sequence[str | None]
) -> dict[str, Any]:
    """Compare one part with the corpus: class shares and text lengths."""
    classes = _class_shares(members, strata)
    corpus_classes = _class_shares(range(len(records)), strata)
    deviations = {
        name: classes[name]["share"] - corpus_classes[name]["share"] for name in corpus_classes
    }
    largest = max(deviations, key=lambda name: abs(deviations[name]))
    lengths = [len(record["text"]) for record in records]
    return {
        "count": len(members),
        "share": len(members) / len(records),
        "classes": classes,
        "largest_class_deviation": {"class": largest, "difference": deviations[largest]},
        "length": text_statistics([records[i] for i in members]),
        "ks_distance": ks_distance([lengths[i] for i in members], lengths),
    }


def _task_reports(
    targets: Iterable[tuple[Task, np.ndarray]], members: Sequence[int]
) -> dict[str, Any]:
    """Compare the targets of the members with the targets of all records, task by task."""
    return {task.name: _task_report(task, matrix, list(members)) for task, matrix in targets}


def _task_report(task: Task, targets: np.ndarray, members: list[int]) -> dict[str, Any]:
    """Compare one task's targets: prevalence of labels, or mean and spread of numbers.

    Returns
    -------
    `labelled`, the records with a target; for each of `outputs` its `share` (of labels) or `mean`,
    `std` and `ks_distance` (of numbers), null where no member has a value; and
    `largest_deviation`, the output whose share, or distribution, is furthest from the corpus's.
    """
    is_label = task.kind in ("multiclass", "multilabel")
    outputs: dict[str, Any] = {}
    deviations: dict[str, float] = {}
    for name, column in zip(task.output_names, targets.T.astype(float), strict=True):
        corpus_values = column[~np.isnan(column)]
        member_values = column[members][~np.isnan(column[members])]
        if not len(member_values):
            outputs[name] = None
        elif is_label:
            outputs[name] = {"share": float(member_values.mean())}
            deviations[name] = float(member_values.mean() - corpus_values.mean())
        else:
            mean, std = math.fsum(member_values) / len(member_values), float(member_values.std())
            deviations[name] = ks_distance(member_values, corpus_values)
            outputs[name] = {"mean": mean, "std": std, "ks_distance": deviations[name]}
    largest = max(deviations, key=lambda name: abs(deviations[name]), default=None)
    return {
        "labelled": int((~np.isnan(targets[members]).all(axis=1)).sum()),
        "outputs": outputs,
        "largest_deviation": largest and {"output": largest, "difference": deviations[largest]},
    }


def _leakage(
    records: Sequence[Record],
    parts: Parts,
    pairs: Iterable[tuple[int, int, float]],
    options: SplitOptions,
) -> dict[str, Any]:
    """Return the most similar pairs that stand in two parts; null: no pair is similar enough."""
    part_of = {i: part for part, members in parts.items() for i in members}
    crossing: list[dict[str, Any]] = [
        {
            "ids": [records[i]["id"], records[j]["id"]],
            "parts": [part_of[i], part_of[j]],
            "similarity": similarity,
        }
        for i, j, similarity in pairs
        if part_of[i] != part_of[j]
    ]
    crossing.sort(key=lambda pair: (-pair["similarity"], pair["ids"]))
    return {
        "audit_threshold": options.audit_threshold,
        "searched_from": options.searched_from,
        "highest_similarity_across_parts": crossing[0]["similarity"] if crossing else None,
        "closest_pairs_across_parts": crossing[:LISTED_PAIRS],
    }


def _groups_report(
    records: Sequence[Record], groups: Sequence[Sequence[int]], options: SplitOptions
) -> dict[str, Any]:
    """Count the linked groups and name those that were too large for any part but train."""
    oversized = [group for group in groups if is_oversized(group, len(records), options)]
    return {
        "count": len(groups),
        "records": sum(map(len, groups)),
        "largest": max(map(len, groups), default=0),
        "forced_to_train": [sorted(records[i]["id"] for i in group) for group in oversized],
    }


def _small_classes(parts: Parts, strata: Sequence[str | None]) -> list[dict[str, Any]]:
    """Name the classes that are too small to be shared out by the fractions."""
    return [
        {
            "class": _shown(value),
            "count": len(members),
            "parts": {part: len(set(members) & set(parts[part])) for part in PARTS},
        }
        for value, members in classes_of(strata).items()
        if len(members) < SHARED_CLASS
    ]


def _shown(value: str | None) -> str:
    return UNLABELLED if value is None else value
