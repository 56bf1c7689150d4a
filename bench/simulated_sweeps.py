"""Choose the rate of simulated sweeps whose long-run best is known: full grid and halving.

    python bench/simulated_sweeps.py                 50 sweeps, as in docs/phases.md
    python bench/simulated_sweeps.py --sweeps 1000   the same shares, less noisy

A sweep is ten rates over 1.5 decades, three seeds and 5 epochs of a training of 60. After 60 epochs
the losses of the rates lie within some 10 % of each other, as in the original study. Let x be the
distance in decades between a rate and the best rate. The expected validation loss of the rate after
e epochs is

    floor + (start - floor) * exp(-e / tau),   floor = 1 + c * x^2,   tau = tau_best * 10^(-k * x)

So larger rates learn faster, and the short run prefers them: the order of the rates after 1 and
after 5 epochs is not their order in the long run. These values are drawn for each sweep: the best
rate, from the middle 60 % of the grid; c, 0.05 to 0.09; k, 0.2 to 0.5; start, 1.2 to 1.3; tau_best,
log-normal around 1 epoch. There is noise of the seed (1.5 % of the loss), of the epoch (1 %), and
of 200 validation records (0.1 each, and 0.5 that all trials share). Of the rates 0.75 decades or
more above the best rate, three trials in ten diverge. Gradient norms spread more at larger rates
(`weighted` looks at them). The library's own functions make all choices.

A choice is good if its long-run loss exceeds that of the best rate by one standard error at most.
This is the standard error of a rate's score in the sweep, computed from the planted noise: 1.0 % of
the loss.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from redheart.sweep.choice import ChoiceOptions, choose_rate
from redheart.sweep.halving import HalvingOptions, decide_rung, make_rungs
from redheart.sweep.trials import LAST_EPOCHS, derive, eliminated_trial, join_repeats, summarise

RATES = [float(f"{rate:.2g}") for rate in np.geomspace(1e-5, 10**-3.5, 10)]
SEEDS = (0, 1, 2)
EPOCHS, LONG_RUN = 5, 60
RECORDS = 200
SEED_NOISE, EPOCH_NOISE, RECORD_NOISE, RECORD_SPREAD = 0.015, 0.01, 0.1, 0.5
STANDARD_ERROR = math.sqrt(
    (SEED_NOISE**2 + EPOCH_NOISE**2 / LAST_EPOCHS + RECORD_NOISE**2 / RECORDS) / len(SEEDS)
)
CRITERIA = ("one_standard_error", "weighted")
HALVING = HalvingOptions(rungs=3)


class World:
    """The truth behind one sweep, and the trials that the sweep would show."""

    def __init__(self, number: int) -> None:
        draw = np.random.default_rng(number)
        ends = np.log10([RATES[0], RATES[-1]])
        best = ends[0] + draw.uniform(0.2, 0.8) * (ends[1] - ends[0])
        self.decades = np.log10(RATES) - best
        self.floors = 1 + draw.uniform(0.05, 0.09) * self.decades**2
        self.start = draw.uniform(1.2, 1.3)
        self.taus = math.exp(draw.normal(0, 0.25)) * 10 ** (-draw.uniform(0.2, 0.5) * self.decades)
        self.records = draw.normal(0, RECORD_SPREAD, RECORDS)
        self.trials = {
            (place, seed): self._trial(place, seed, draw)
            for place in range(len(RATES))
            for seed in SEEDS
        }

    def expected(self, epoch: int) -> np.ndarray:
        """Return every rate's validation loss without noise."""
        return self.floors + (self.start - self.floors) * np.exp(-epoch / self.taus)

    def _trial(self, place: int, seed: int, draw: np.random.Generator) -> dict[str, Any]:
        offset = draw.normal(0, SEED_NOISE)
        noise = draw.normal(0, RECORD_NOISE, RECORDS)
        epochs, losses = [], []
        for epoch in range(1, EPOCHS + 1):
            loss = self.expected(epoch)[place] + offset + draw.normal(0, EPOCH_NOISE)
            losses.append(loss + noise + self.records)
            row = {
                "epoch": epoch,
                "train_loss": loss - 0.02 * epoch,
                "val_loss": float(losses[-1].mean()),
                "val_loss_se": float(losses[-1].std()) / math.sqrt(RECORDS),
                "gradient_norm": {
                    "std": 0.3 * 10 ** (self.decades[place] / 2) * draw.uniform(0.8, 1.2)
                },
            }
            epochs.append(row)
        diverges = self.decades[place] > 0.75 and draw.random() < 0.3
        last = int(draw.integers(0, EPOCHS)) if diverges else EPOCHS
        return {"rate": RATES[place], "seed": seed, "last": last, "rows": epochs, "losses": losses}

    def shown(self, place: int, seed: int, epochs: int) -> dict[str, Any]:
        """Return the content of a trial's file after `epochs` epochs."""
        trial = self.trials[place, seed]
        stop = min(epochs, trial["last"])
        rows = derive(trial["rows"][:stop])
        diverged = {"epoch": stop + 1, "reason": "the loss became nan"} if stop < epochs else None
        losses = trial["losses"][:stop][-LAST_EPOCHS:]
        return {
            "learning_rate": trial["rate"],
            "seed": seed,
            "diverged": diverged,
            "epochs": rows,
            "summary": summarise(rows),
            "record_losses": np.mean(losses, axis=0).tolist() if losses else [],
        }


@dataclass(frozen=True)
class Result:
    """The result of a sweep."""

    excess: float
    """Long-run loss of the chosen rate minus that of the best rate."""
    cost: float
    """Trained epochs as a share of the full grid's."""


def run_sweep(world: World, criterion: Any, halving: HalvingOptions) -> Result:
    """Run a sweep rung by rung, as the workflow does."""
    trials: dict[tuple[int, int], dict[str, Any]] = {}
    eliminated: dict[str, Any] = {}
    done = dict.fromkeys(world.trials, 0)
    rungs = make_rungs(EPOCHS, len(SEEDS), halving)
    for number, rung in enumerate(rungs, 1):
        for place, rate in enumerate(RATES):
            for seed in SEEDS[: rung.seeds]:
                if end := eliminated.get(str(rate)):
                    before = trials.get((place, seed))
                    trials[place, seed] = eliminated_trial(before, rate, seed, end)
                else:
                    trials[place, seed] = world.shown(place, seed, rung.epochs)
                    done[place, seed] = rung.epochs
        if number < len(rungs):
            eliminated = decide_rung(
                [*trials.values()], number, criterion, halving.reduction_factor
            )["eliminated"]
    rates = [join_repeats([trials[place, seed] for seed in SEEDS]) for place in range(len(RATES))]
    best, _ = choose_rate(rates, ChoiceOptions(criterion))
    long_run = world.expected(LONG_RUN)
    chosen = long_run[RATES.index(best["best_learning_rate"])]
    return Result(float(chosen - long_run.min()), sum(done.values()) / (EPOCHS * len(done)))


def agreement(world: World, epoch: int) -> float:
    """Return Kendall's tau between the order of the rates after an epoch and in the long run."""
    from scipy.stats import kendalltau

    return float(kendalltau(world.expected(epoch), world.expected(LONG_RUN)).statistic)


def share_within(results: list[Result]) -> float:
    return fmean(result.excess <= STANDARD_ERROR for result in results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweeps", type=int, default=50)
    worlds = [World(number) for number in range(parser.parse_args().sweeps)]
    spread = fmean(np.ptp(world.expected(EPOCHS)) for world in worlds)
    print(f"{len(worlds)} sweeps; after epoch {EPOCHS} the rates' expected losses lie within")
    print(
        f"{spread:.1%} of each other; one standard error is {STANDARD_ERROR:.2%}. Agreement of the"
    )
    print("order with that of the long run, Kendall's tau:")
    for epoch in range(1, EPOCHS + 1):
        print(f"  after epoch {epoch}: {fmean(agreement(w, epoch) for w in worlds):.2f}")
    print("\n| criterion | sweep | within one standard error | mean excess | cost |")
    print("|---|---|---|---|---|")
    for criterion in CRITERIA:
        for name, halving in (("full grid", HalvingOptions()), ("halving", HALVING)):
            results = [run_sweep(world, criterion, halving) for world in worlds]
            excess, cost = fmean(r.excess for r in results), fmean(r.cost for r in results)
            within = f"{share_within(results):.0%} | {excess:.2%} | {cost:.0%}"
            print(f"| {criterion} | {name} | {within} |")


if __name__ == "__main__":
    main()
