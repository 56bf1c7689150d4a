"""Measure training against other trainers: whole legs, each in a separate process.

    python bench/training.py                 titles, then texts of 512 tokens: 6 to 8 minutes
    python bench/training.py texts --legs 5
    python bench/training.py --quick         some titles in under a minute: does everything run?

The contestant `redheart` is a leg as the workflow runs it (scripts/train_leg.py). `plain` is the
PyTorch loop that a careful person writes, with torch's dropout and batches of similar length.
`plain_own_dropout` is the same loop with Red Heart's dropout, which all further contestants use
too. `trainer` is Hugging Face's trainer, and `lightning` is Lightning's, both with their default
batches. With `_grouped`, they have batches of similar length: by Trainer's own `group_by_length`,
and for Lightning by the sampler of the plain loop. All contestants train the same network on the
same texts by the same loss (R-Drop) in the same effective batch, in fp32 with fused AdamW. All go
on from the previous checkpoint, evaluate weights and moving average, and save. The legs of all
contestants take turns, so that other work on the machine slows all of them alike.

A contestant that is not installed is left out and named. These commands install the packages
outside of the environment, and do not fetch torch again:

    pip install --no-deps --target DIR lightning pytorch-lightning lightning-utilities \
        torchmetrics accelerate
    PYTHONPATH=DIR make bench-training
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import training_corpora
import training_job
from training_corpora import Plan

from redheart.encoding import tokens
from redheart.storage import diary, files

PEAK = 3e-3
WINDOW = 64
# Texts of a rival's pass. For titles it is a whole step, with which the rivals are fastest.
MICRO_BATCH = {"titles": 64, "texts": 32}
TEXTS = {"titles": 7500, "texts": 600}
QUICK_TEXTS = 150
# The packages that each contestant needs beyond the project's own.
NEEDS = {
    "redheart": (),
    "plain": (),
    "plain_own_dropout": (),
    "trainer": ("transformers", "accelerate"),
    "trainer_grouped": ("transformers", "accelerate"),
    "lightning": ("lightning",),
    "lightning_grouped": ("lightning",),
}
PACKAGES = ("torch", "transformers", "accelerate", "lightning")
HERE = Path(__file__).parent

Row = dict[str, float]


def missing() -> list[str]:
    """Return the packages that some contestant lacks."""
    needed = {package for packages in NEEDS.values() for package in packages}
    return sorted(package for package in needed if not find_spec(package))


def run_leg(name: str, folder: Path, number: int) -> Row:
    """Run a leg and return its seconds: the process's `wall` and `cpu`, `train`, `evaluate`."""
    own = name == "redheart"
    script = "training_job.py" if own else "training_rivals.py"
    command = [sys.executable, str(HERE / script), *([] if own else [name])]
    # All contestants get the value that the workflow sets: docs/decisions/005-threads.md.
    spin = {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "10000")}
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [*command, str(folder), str(number)],
        env={**os.environ, **spin, **(training_job.environment(folder) if own else {})},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - started, os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    if done.returncode:
        raise SystemExit(f"leg {number} of {name} failed:\n{done.stderr}")
    return {
        "wall": wall,
        "cpu": cpu,
        **(own_facts(folder) if own else rival_facts(folder / name, number)),
    }


def own_facts(folder: Path) -> Row:
    """Return the ledger's figures of the last leg, and its loss."""
    trained, evaluated = diary.read_lines(folder / "run" / "ledger.jsonl")[-2:]
    table = files.read_json(folder / "run" / "ckpt" / Path(evaluated["target"]).name)
    return {
        "train": sum(epoch["seconds"] for epoch in trained["epochs"]),
        "evaluate": evaluated["seconds"],
        "loss": mean_loss(table["modules"], "val_loss"),
    }


def rival_facts(folder: Path, number: int) -> Row:
    facts = files.read_json(folder / f"facts_{number}.json")
    table = files.read_json(folder / f"metrics_{number}.json")["validation"]
    return {**facts, "loss": mean_loss(table, "loss")}


def mean_loss(table: dict[str, Any], key: str) -> float:
    """Return the mean over all modules and tasks; equal trainings have about equal means."""
    return statistics.mean(row[key] for by_task in table.values() for row in by_task.values())


def own_padded(settings: dict[str, Any], part: tokens.Encoded, epochs: range) -> int:
    """Return the number of tokens that Red Heart's epochs read, padding included."""
    train, lengths = settings["train"], part.lengths
    return sum(
        len(rows) * int(lengths[rows].max())
        for epoch in epochs
        for window in tokens.training_windows(
            lengths,
            train["batch_size"],
            train["grad_accumulation"],
            0,
            epoch,
            tokens.CPU_TOKENS,
        )
        for rows in window
    )


def measure(kind: str, plan: Plan, folder: Path) -> None:
    """Let all contestants train a corpus, and print the times of each."""
    settings = training_corpora.make(kind, plan, folder)
    training_job.write_jobs(folder, settings, PEAK)
    shared = {"micro_batch": MICRO_BATCH[kind], "window": WINDOW, "peak": PEAK}
    files.write_json(folder / "bench.json", shared)
    part = tokens.load_encoded(folder / "train.npz")
    absent = missing()
    names = [name for name, needs in NEEDS.items() if not set(needs) & set(absent)]
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for number in range(1, plan.legs + 1):
        # Another contestant begins each round.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            rows[name].append(run_leg(name, folder, number))
    for number, row in enumerate(rows["redheart"]):
        epochs = range(number * plan.epochs, (number + 1) * plan.epochs)
        row["padded"] = own_padded(settings, part, epochs)
    print(f"\n## {kind}: {len(part):,} of {part.lengths.mean():.0f} tokens on average\n")
    print_table(rows, int(part.lengths.sum()) * plan.epochs)


def print_table(rows: dict[str, list[Row]], real: int) -> None:
    """Print medians over the legs; a ratio is the median over pairs of legs of one round."""
    print(
        "| contestant | real tokens per second | redheart's, as a multiple | in training alone | "
        "of CPU time | padding | seconds of a leg | training | evaluation | all else "
        "| loss at the end |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, legs in rows.items():
        shown = {key: statistics.median(leg[key] for leg in legs) for key in legs[0]}
        times, alone, cpu = (
            statistics.median(
                leg[key] / own[key] for leg, own in zip(legs, rows["redheart"], strict=True)
            )
            for key in ("wall", "train", "cpu")
        )
        rest = statistics.median(leg["wall"] - leg["train"] - leg["evaluate"] for leg in legs)
        print(
            f"| {name} | {real / shown['wall']:,.0f} | {times:.2f} | {alone:.2f} | {cpu:.2f} "
            f"| {1 - real / shown['padded']:.1%} | {shown['wall']:.2f} | {shown['train']:.2f} "
            f"| {shown['evaluate']:.2f} | {rest:.2f} | {legs[-1]['loss']:.4f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="titles, texts; default: both")
    parser.add_argument("--size", type=float, default=1.0, help="factor on the number of texts")
    parser.add_argument("--legs", type=int, default=3, help="default %(default)s")
    parser.add_argument("--epochs", type=int, default=2, help="of a leg; default %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="two short legs on a few titles")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(TEXTS):
        parser.error(f"no kind {', '.join(sorted(unknown))}; kinds: {', '.join(TEXTS)}")
    kinds = given.kinds or ["titles"] * given.quick or list(TEXTS)
    for kind in kinds:
        plan = Plan(round(given.size * TEXTS[kind]), given.legs, given.epochs, given.threads)
        if given.quick:
            plan = Plan(QUICK_TEXTS, 2, 1, given.threads)
        with tempfile.TemporaryDirectory() as folder:
            measure(kind, plan, Path(folder))
    print("\nBars: 1.15 for plain, 1.5 for trainer and lightning; padding 2 % at most.")
    found = [p for p in PACKAGES if find_spec(p)]
    print("Versions: " + ", ".join(f"{p} {metadata.version(p)}" for p in found) + ".")
    if absent := missing():
        print(f"Not measured for want of {', '.join(absent)}: see the head of bench/training.py.")


if __name__ == "__main__":
    main()
