"""How many records of each class each part of a split is to have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from redheart.split.parts import FILL_ORDER, PARTS, SHARED_CLASS, TRAIN, by_name


def class_quotas(
    sizes: Mapping[str | None, int], fractions: Sequence[float]
) -> dict[str | None, np.ndarray]:
    """Return how many records of each class go to each part: int arrays in the order of `PARTS`.

    A class of 1 goes to train; classes of 2 and 3 fill train, test, val_select in that order. The
    other classes share the rest of the parts: a quota is the class's share of the part's total,
    rounded down or up, and all totals hold.
    """
    quotas = {}
    for value in (value for value, size in sizes.items() if size < SHARED_CLASS):
        quotas[value] = np.zeros(len(PARTS), dtype=int)
        quotas[value][list(FILL_ORDER[: sizes[value]])] = 1
    shared = sorted((value for value in sizes if value not in quotas), key=by_name)
    counts = np.array([sizes[value] for value in shared], dtype=int)
    left = np.array(fractions) * sum(sizes.values()) - sum(quotas.values())
    return quotas | dict(zip(shared, _shared_out(counts, np.maximum(left, 0)), strict=True))


def _shared_out(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share classes of `counts` records out by the parts' weights: int array (classes, parts).

    There is always a table in which all cells, row sums and column sums are rounded to a whole
    neighbour (Cox 1987, A constructive procedure for unbiased controlled rounding). The largest
    flow of ones from the classes to the parts, through the cells that are no whole numbers, finds
    it.
    """
    if not len(counts):
        return np.zeros((0, len(PARTS)), dtype=int)
    share = (weights / weights.sum() * counts.sum()).round(9)
    down = np.floor(share).astype(int)
    totals = down + deal(counts.sum() - down.sum(), share - down, share > down)
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


def deal(count: int, lag: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Deal `count` records one by one, each to the part that lags most and has room left."""
    dealt = np.zeros(len(PARTS), dtype=int)
    # Where parts lag equally, train is the last to get a record: a record less hurts it least.
    order = (*FILL_ORDER[1:], TRAIN)
    for _ in range(count):
        open_parts = [part for part in order if dealt[part] < room[part]]
        most = max(open_parts, key=lambda part: round(float(lag[part] - dealt[part]), 9))
        dealt[most] += 1
    return dealt
