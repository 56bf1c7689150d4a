"""Fit a threshold for each label on few records: which rule does best on fresh ones?

    python bench/simulated_thresholds.py            as in docs/deciding.md
    python bench/simulated_thresholds.py --runs 5   noisier and quicker

A run is 20 labels, with shares of positive records from 1 to 30 %, log-uniform. A label's evidence
z is N(0, 1) for a negative record and N(d, 1) for a positive one, d uniform in 0.8 to 2.8. The
calibrated probability of a record is then

    p = sigmoid(ln(share / (1 - share)) + d z - d^2 / 2)

Calibrated models give p. Shifted ones give sigmoid(slope ln(p / (1 - p)) + offset), with
ln slope ~ N(0, 0.4^2) and offset ~ N(-0.5, 0.7^2) for each label. Thresholds are fitted on n
records; the macro-F1 is that of 20,000 fresh ones. All rules keep 0.5 for a label with fewer than
five positive records.
"""

from __future__ import annotations

import argparse

import numpy as np

from redheart.evaluation.decisions import HALF, LEAST_POSITIVES, best_cuts, fitted_thresholds

LABELS, FRESH = 20, 20_000
SIZES = (150, 300, 1000, 4000)
# Candidates for one threshold that all labels share.
GRID = 1 / (1 + np.exp(-np.linspace(-7, 3, 101)))
# A shrunken threshold counts so many positive records as evidence for what it is drawn to.
PRIOR_POSITIVES = 5
RULES = ("half", "common", "plain cut", "drawn to half", "drawn to common", "mean cut")

Part = tuple[np.ndarray, np.ndarray]


def simulate(seed: int, size: int, shifted: bool) -> tuple[Part, Part]:
    """Return probabilities and labels of the records to fit on, and of fresh ones."""
    rng = np.random.default_rng(seed)
    share = np.exp(rng.uniform(np.log(0.01), np.log(0.3), LABELS))
    distance = rng.uniform(0.8, 2.8, LABELS)
    slope = np.exp(rng.normal(0, 0.4, LABELS)) if shifted else np.ones(LABELS)
    offset = rng.normal(-0.5, 0.7, LABELS) if shifted else np.zeros(LABELS)

    def part(count: int) -> Part:
        truth = rng.random((count, LABELS)) < share
        evidence = rng.normal(size=(count, LABELS)) + distance * truth
        logit = _log_odds(share) + distance * evidence - distance**2 / 2
        return _sigmoid(slope * logit + offset), truth

    return part(size), part(FRESH)


def macro_f1(part: Part, thresholds: np.ndarray) -> float:
    """Return the mean F1 of the labels, each predicted from its threshold on."""
    probabilities, truth = part
    chosen = probabilities >= thresholds
    marked = chosen.sum(axis=0) + truth.sum(axis=0)
    return float(np.mean(2 * (chosen & truth).sum(axis=0) / np.maximum(marked, 1)))


def thresholds(part: Part) -> dict[str, np.ndarray]:
    """Return the thresholds of every rule: shape (labels,)."""
    probabilities, truth = part
    once = np.ones((1, len(truth)), dtype=np.int64)
    positives = truth.sum(axis=0)
    cuts = [best_cuts(p, y, once)[0] for p, y in zip(probabilities.T, truth.T, strict=True)]
    enough = positives >= LEAST_POSITIVES
    plain = np.where(enough, np.nan_to_num(cuts, nan=HALF), HALF)
    common = max(GRID, key=lambda cut: macro_f1(part, np.full(LABELS, cut)))
    trust = positives / (positives + PRIOR_POSITIVES)
    drawn = {
        name: np.where(
            enough, _sigmoid(trust * _log_odds(plain) + (1 - trust) * _log_odds(to)), HALF
        )
        for name, to in (("drawn to half", HALF), ("drawn to common", common))
    }
    return {
        "half": np.full(LABELS, HALF),
        "common": np.full(LABELS, common),
        "plain cut": plain,
        **drawn,
        "mean cut": fitted_thresholds(probabilities, truth.astype(np.float64)),
    }


def scores_of_runs(runs: int, size: int, shifted: bool) -> dict[str, np.ndarray]:
    """Return each rule's macro-F1 on fresh records in every run."""
    scores: dict[str, list[float]] = {rule: [] for rule in RULES}
    for seed in range(runs):
        part, fresh = simulate(seed, size, shifted)
        for rule, cuts in thresholds(part).items():
            scores[rule].append(macro_f1(fresh, cuts))
    return {rule: np.array(values) for rule, values in scores.items()}


def _log_odds(p: np.ndarray | float) -> np.ndarray:
    return np.log(p / (1 - np.asarray(p)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=12)
    runs = parser.parse_args().runs
    titles = ("probabilities", "records", *RULES, "mean cut - plain cut")
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for shifted in (False, True):
        for size in SIZES:
            scores = scores_of_runs(runs, size, shifted)
            gains = scores["mean cut"] - scores["plain cut"]
            cells = [
                "shifted" if shifted else "calibrated",
                f"{size:,}",
                *(f"{values.mean():.3f}" for values in scores.values()),
                f"{gains.mean():+.4f} ± {gains.std() / np.sqrt(runs):.4f}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
