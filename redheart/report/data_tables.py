"""The report's tables of the data phase: records, near-duplicates and the four parts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from redheart.json_values import Json
from redheart.report.tables import Table, make_table
from redheart.report.text_diff import Piece, as_words, text_diff
from redheart.tasks.task import Task


def parts_table(split: Json) -> Table:
    """Return a row per part: its size, its text lengths, its distance from the whole corpus."""
    return make_table(
        [{"part": name, **part} for name, part in split["parts"].items()],
        ("part", "", lambda row: row["part"]),
        ("records", ",d", lambda row: row["count"]),
        ("share", ".1%", lambda row: row["share"]),
        ("wanted", ".1%", lambda row: row["fraction"]),
        ("mean length", ",.0f", lambda row: row["length"]["mean"]),
        ("std length", ",.0f", lambda row: row["length"]["std"]),
        ("min length", ",.0f", lambda row: row["length"]["min"]),
        ("max length", ",.0f", lambda row: row["length"]["max"]),
        ("KS distance", ".3f", lambda row: row["ks_distance"]),
        ("class furthest off", "", lambda row: row["largest_class_deviation"]["class"]),
        ("by", "+.2%", lambda row: row["largest_class_deviation"]["difference"]),
    )


def classes_table(split: Json) -> Table:
    """Return a row per class: its records, its share of all records and of each part."""
    shares = [
        (f"of {name}", ".1%", lambda row, part=part: part["classes"][row["class"]]["share"])
        for name, part in split["parts"].items()
    ]
    return make_table(
        [{"class": name, **counts} for name, counts in split["classes"].items()],
        ("class", "", lambda row: row["class"]),
        ("records", ",d", lambda row: row["count"]),
        ("share of all", ".1%", lambda row: row["share"]),
        *shares,
    )


def labels_table(tasks: Sequence[Task], records: Json) -> Table:
    """Return a row per task: its field, its outputs, and the share of labelled records."""
    return make_table(
        tasks,
        ("task", "", lambda task: task.name),
        ("kind", "", lambda task: task.kind),
        ("field", "", lambda task: task.field),
        ("outputs", "d", lambda task: task.width),
        ("labelled", ".1%", lambda task: records["labelled"].get(task.name)),
        ("renormalised records", ",d", lambda task: records["renormalised"].get(task.name)),
    )


def rejected_table(records: Json) -> Table:
    """Return a row per rejected record: its place in the file and the reason."""
    return make_table(
        records["rejected"],
        ("place", "", lambda row: row["place"]),
        ("id", "", lambda row: row["id"]),
        ("reason", "", lambda row: row["reason"]),
    )


def corrections_table(records: Json) -> Table:
    """Return a row per change that the file of corrections made."""
    return make_table(
        records.get("corrections", {}).get("applied", []),
        ("id", "", lambda row: row["id"]),
        ("field", "", lambda row: row.get("field", "")),
        ("before", "", lambda row: "" if row.get("dropped") else _shown(row["before"])),
        ("after", "", lambda row: "dropped" if row.get("dropped") else _shown(row["after"])),
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def duplicates_table(dedup: Json) -> Table:
    """Return a row per removed record and the kept record, the least similar pair first.

    The least similar pairs are the most doubtful removals.
    """
    return make_table(
        sorted(dedup["removed_pairs"], key=lambda pair: (pair["similarity"], pair["removed"])),
        ("similarity", ".3f", lambda pair: pair["similarity"]),
        ("removed", "", lambda pair: pair["removed"]),
        ("its text", "", lambda pair: pair["removed_preview"]),
        ("kept", "", lambda pair: pair["kept"]),
        ("text that stays", "", lambda pair: pair["kept_preview"]),
    )


def conflicts_table(dedup: Json) -> Table:
    """Return a row per group of near-duplicates whose records have different labels."""

    def labels_by_record(group: Json) -> str:
        return "; ".join(f"{name}: {label}" for name, label in group["labels"].items())

    return make_table(
        dedup["clusters"]["conflicting"],
        ("labels", "", lambda group: " / ".join(sorted(set(group["labels"].values())))),
        ("records", "d", lambda group: len(group["ids"])),
        ("which record says what", "", labels_by_record),
    )


def clusters_table(dedup: Json) -> Table:
    """Return a row per cluster, the largest first: its labels and its texts' difference."""
    clusters = dedup["clusters"]
    return make_table(
        clusters["largest_clusters"],
        ("first record", "", lambda cluster: cluster["texts"][0]["id"]),
        ("records", ",d", lambda cluster: len(cluster["ids"])),
        ("distinct texts", ",d", lambda cluster: cluster["distinct_texts"]),
        ("labels", "", label_counts),
        ("least similar to the first", "", lambda cluster: cluster["texts"][1]["id"]),
        ("similarity", ".3f", lambda cluster: cluster["similarity"]),
        ("difference", "", lambda cluster: as_words(cluster_diff(cluster))),
    )


def label_counts(cluster: Json) -> str:
    """Return the count of each label in a cluster, the most frequent label first."""
    counts = sorted(Counter(cluster["labels"].values()).items(), key=lambda item: (-item[1], item))
    return ", ".join(f"{label} {count}" for label, count in counts)


def cluster_diff(cluster: Json) -> list[Piece]:
    """Return the difference of the two texts of a cluster that the report holds.

    If a text was cut, a change at the end is left out: it may come from the cut, and not from the
    texts.
    """
    texts = cluster["texts"]
    pieces = text_diff(*(text["text"] for text in texts))
    if all(len(text["text"]) == text["characters"] for text in texts):
        return pieces
    while pieces and pieces[-1].kind in ("delete", "insert"):
        pieces.pop()
    return [*pieces, Piece("gap", "the rest is not shown")]


def certificate_table(split: Json) -> Table:
    """Return a row per proved claim about the split: the measured value and its bound."""
    return make_table(
        split["certificate"],
        ("claim", "", lambda row: row["claim"]),
        ("part", "", lambda row: row["part"]),
        ("measured", ".4g", lambda row: row["measured"]),
        ("at most", ".4g", lambda row: row["bound"]),
        ("holds", "", lambda row: "yes" if row["holds"] else "no"),
    )
