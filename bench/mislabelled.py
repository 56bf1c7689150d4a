"""How well planted label errors are found, and how many are named (docs/mislabelled.md).

    python bench/mislabelled.py FILE...

The files are those of bench/mislabelled_runs.py. Every method ranks the labels of training.
`checkpoints` is what a run does. cleanlab (pip install -e '.[bench]'; Northcutt et al. 2021, arXiv
1911.00068) gets the mean probabilities of the same checkpoints, which have trained on these labels:
a single training has no others. It also gets those of TF-IDF with logistic regression by five-fold
cross-validation, as it recommends. Intervals are of 95 %, by 200 bootstrap resamples of records.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from redheart.errors import UserError
from redheart.suspects.mapping import HELD_OUT, TRAIN, Mapped
from redheart.suspects.measures import measure
from redheart.suspects.naming import judge_populations
from redheart.suspects.suspicion import checkpoint_weights, suspicions
from redheart.suspects.threshold import Verdict
from redheart.tasks.task import Task

FIRST, RESAMPLES = 30, 200
RATES = (0.05, 0.1, 0.2)


class Run:
    """The content of a file: labels, which of them are wrong, and what the checkpoints said."""

    def __init__(self, path: str) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self.given, self.wrong = archive["given"], archive["given"] != archive["truth"]
            self.texts, self.count = archive["texts"], int(archive["train"])
            self.said = archive["fused"].astype(np.float64)
        self.name = Path(path).stem.rpartition("-")[0]
        names = tuple(str(k) for k in range(self.said.shape[2]))
        self.task = Task("planted", "multiclass", "label", names)

    def mapped(self) -> dict[str, Mapped]:
        """Return what a run would know of training and held-out labels."""
        target, parts = np.eye(self.task.width)[self.given], {}
        rows = {TRAIN: slice(None, self.count), HELD_OUT: slice(self.count, None)}
        weights = checkpoint_weights(self.task, target[rows[TRAIN]], self.said[:, rows[TRAIN]])
        for name, part in rows.items():
            data = self.task, target[part], self.said[:, part]
            parts[name] = Mapped(measure(*data), *suspicions(*data, weights))
        return parts


def cleanlab_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return cleanlab's label quality, with the other sign: higher looks more wrong."""
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        raise UserError(
            "cleanlab is not there; install it with: pip install -e '.[bench]'"
        ) from None
    scores = get_label_quality_scores(labels, probabilities / probabilities.sum(axis=1)[:, None])
    return -np.asarray(scores)


def cross_validated(texts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return out-of-sample probabilities of TF-IDF with logistic regression."""
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
        LogisticRegression(C=10, max_iter=1000),
    )
    return np.asarray(cross_val_predict(model, texts, labels, cv=5, method="predict_proba"))


def rankings(run: Run) -> dict[str, np.ndarray]:
    """Return by method how wrong each training label looks."""
    labels, texts = run.given[: run.count], run.texts[: run.count]
    said = run.said[:, : run.count]
    return {
        "checkpoints": run.mapped()[TRAIN].suspicion,
        "mean probability": -said.mean(axis=0)[np.arange(run.count), labels],
        "last checkpoint": -said[-1][np.arange(run.count), labels],
        "cleanlab, checkpoints": cleanlab_scores(labels, said.mean(axis=0)),
        "cleanlab, TF-IDF": cleanlab_scores(labels, cross_validated(texts, labels)),
    }


def difference(wrong: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """Return the interval of the difference of two average precisions."""
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(wrong), len(wrong))
        if wrong[rows].any():
            pair = [average_precision_score(wrong[rows], s[rows]) for s in (ours, theirs)]
            found.append(pair[0] - pair[1])
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def ranking_rows(run: Run) -> list[list[Any]]:
    """Return a row per method: AUROC, average precision, precision of the first 30, difference."""
    wrong, rows = run.wrong[: run.count], []
    ranked = rankings(run)
    for method, scores in ranked.items():
        first = np.argsort(-scores, kind="stable")[:FIRST]
        values = roc_auc_score(wrong, scores), average_precision_score(wrong, scores)
        interval = difference(wrong, ranked["checkpoints"], scores)
        shown = "" if method == "checkpoints" else "[{:+.3f}, {:+.3f}]".format(*interval)
        numbers = [f"{value:.3f}" for value in (*values, wrong[first].mean())]
        rows.append([run.name, method, *numbers, shown])
    return rows


def named_row(run: Run) -> list[Any]:
    """Return how many labels are named at each rate, and how many of them are right."""
    row: list[Any] = [run.name, f"{run.wrong.mean():.3f}"]
    mapped = run.mapped()
    for rate in RATES:
        verdicts: dict[str, Verdict] = judge_populations(mapped, rate)
        for part, wrong in ((TRAIN, run.wrong[: run.count]), (HELD_OUT, run.wrong[run.count :])):
            named = verdicts[part].named
            row.append(f"{int((~wrong[named]).sum())} of {int(named.sum())}")
    return row


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how planted label errors are found.")
    parser.add_argument("files", nargs="+")
    runs = [Run(path) for path in sorted(parser.parse_args().files)]
    ranked = [row for run in runs if run.wrong.any() for row in ranking_rows(run)]
    head = [
        "run",
        "method",
        "AUROC",
        "average precision",
        f"first {FIRST}",
        "checkpoints are ahead by",
    ]
    print(table(head, ranked), end="\n\n")
    rates = [f"{part} at {rate:.0%}" for rate in RATES for part in ("train", "held-out")]
    print(table(["run", "wrong", *rates], [named_row(run) for run in runs]))


if __name__ == "__main__":
    main()
