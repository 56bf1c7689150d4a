"""The report's tables of the data phase: records, near-duplicates and the four parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from redheart.json_values import Json
from redheart.report.tables import Table, make_table
from redheart.report.text_diff import Piece, as_words, text_diff
from redheart.tasks.task import Task


def parts_table(split: Json) -> Table:
    """Return a row per part: its size, its texts' characters, its distance from the whole."""
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
    """Return a row per class: its records, its share of the whole and of each part."""
    shares = [
        (f"of {name}", ".1%", lambda row, part=part: part["classes"][row["class"]]["share"])
        for name, part in split["parts"].items()
    ]
    return make_table(
        [{"class": name, **whole} for name, whole in split["classes"].items()],
        ("class", "", lambda row: row["class"]),
        ("records", ",d", lambda row: row["count"]),
        ("share of all", ".1%", lambda row: row["share"]),
        *shares,
    )


def labels_table(tasks: Sequence[Task], records: Json) -> Table:
    """Return a row per task: what is predicted, and how many records say so."""
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
    """Return a row per rejected record: where it stands and what is wrong with it."""
    return make_table(
        records["rejected"],
        ("place", "", lambda row: row["place"]),
        ("id", "", lambda row: row["id"]),
        ("reason", "", lambda row: row["reason"]),
    )


def duplicates_table(dedup: Json) -> Table:
    """Return a row per removed record beside the one kept, the least similar pair first.

    Those are the ones to doubt, if any.
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
    """Return a row per group of near-duplicates whose records do not agree on their label."""

    def who(group: Json) -> str:
        return "; ".join(f"{name}: {label}" for name, label in group["labels"].items())

    return make_table(
        dedup["clusters"]["conflicting"],
        ("labels", "", lambda group: " / ".join(sorted(set(group["labels"].values())))),
        ("records", "d", lambda group: len(group["ids"])),
        ("which record says what", "", who),
    )


def clusters_table(dedup: Json) -> Table:
    """Return a row per cluster, the largest first: its labels and how far its texts differ."""
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
    """Return how often each label occurs in a cluster, the most frequent first."""
    counts = sorted(Counter(cluster["labels"].values()).items(), key=lambda item: (-item[1], item))
    return ", ".join(f"{label} {count}" for label, count in counts)


def cluster_diff(cluster: Json) -> list[Piece]:
    """Return what differs between the two texts of a cluster that the report holds.

    Where a text was cut, nothing is said of the end: that one text runs on there and the other
    does not may be the cut's doing.
    """
    texts = cluster["texts"]
    pieces = text_diff(*(text["text"] for text in texts))
    if all(len(text["text"]) == text["characters"] for text in texts):
        return pieces
    while pieces and pieces[-1].kind in ("delete", "insert"):
        pieces.pop()
    return [*pieces, Piece("gap", "the rest is not shown")]


def certificate_table(split: Json) -> Table:
    """Return a row per claim that was proved of the split: what was measured, and its bound."""
    return make_table(
        split["certificate"],
        ("claim", "", lambda row: row["claim"]),
        ("part", "", lambda row: row["part"]),
        ("measured", ".4g", lambda row: row["measured"]),
        ("at most", ".4g", lambda row: row["bound"]),
        ("holds", "", lambda row: "yes" if row["holds"] else "no"),
    )
