"""Measure what needs a GPU, and write a page: `bench/gpu.sh`, nine minutes at most.

    bench/gpu.sh                    the full-size preset under a hard cap of 8 GB
    bench/gpu.sh --device cpu --preset tiny --small tiny --tokens 16 --steps 1 --out page.md
                                    the same code, without a GPU

Each measurement is a separate process, so that none uses memory of another, and prints one line of
JSON. The cap is torch.cuda.set_per_process_memory_fraction: an allocation beyond the cap fails, as
on a card of that size. The page lists the measurements that failed, and those without time left.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from redheart.encoding.tokens import windows_per_epoch
from redheart.json_values import Json
from redheart.machine import memory_plan, tiers
from redheart.machine.device import precision
from redheart.recipe.build import read_recipe
from redheart.recipe.training_options import Recipe
from redheart.storage import files
from redheart.workflow import config as configs
from redheart.workflow import plan_sizes

ROOT = Path(__file__).parents[1]

# Dense 16-bit operations a second, from the vendor's data sheets, by a part of the device's name.
PEAK_FLOPS = {"H200": 989e12, "H100 80GB HBM3": 989e12, "A100": 312e12}
# The whole plan, and the time that its first design gave it on a card of 8 GB.
PLAN_EPOCHS, PLAN_TEXTS, DESIGN_HOURS = 25 + 60, 10_000, "170 to 200"
SECTIONS = "steps,planner,kill,streamed,loss"
# The comparison of losses: steps of training, the last steps whose loss counts, and seeds.
LOSS_STEPS, LAST_STEPS, LOSS_SEEDS = 60, 20, (0, 1, 2)
# The tiers that are compared: the most exact, and what 730m takes under 8 GB.
LOSS_TIERS = ("fp32", "bf16_8bit_average_on_cpu")
STEP_HEADER = (
    "| | tier | predicted peak | peak | step | tokens/s | utilisation | the whole plan |\n"
    "|---|---|---:|---:|---:|---:|---:|---:|"
)
# The cap of the tier that streams weights, in 10^9 bytes: a tenth above the plan of 730m.
STREAMED_GB = 1.1
# How long a leg trains before it is killed, after its first snapshot, in seconds.
KILL_AFTER = 0.3


def full_recipe(given: argparse.Namespace) -> tuple[Recipe, Json]:
    """Return the recipe of the full-size plan with the chosen preset, and its config."""
    config = configs.read([str(ROOT / "config" / "redheart-730m.yaml")])
    config["model"]["preset"] = given.preset
    config["train"] |= {"max_tokens": given.tokens, "device": given.device}
    return read_recipe(config), config


def demo_recipe(given: argparse.Namespace) -> tuple[Recipe, Json]:
    """Return the demo's recipe on the chosen device, and its config."""
    config = configs.read([str(ROOT / "config" / "config.yaml")])
    config["train"] |= {"device": given.device}
    return read_recipe(config), config


# --- measurements, each in a process of its own -----------------------------------------------


def cap_memory(budget_gb: float) -> None:
    """Limit the GPU memory of this process."""
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget_gb * 1e9 / total))


def measure_device(given: argparse.Namespace) -> Json:
    """Return the device and versions that the figures belong to."""
    import platform

    import torch

    on_gpu = torch.cuda.is_available() and given.device != "cpu"
    name = torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine()
    driver = torch.version.cuda if on_gpu else None
    return {"name": name, "torch": torch.__version__, "cuda": driver, "on_gpu": on_gpu}


def measure_steps(given: argparse.Namespace) -> Json:
    """Take optimizer steps of the full-size plan; return tier, peak, seconds, operations."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from redheart.machine import meter
    from redheart.training import launch
    from redheart.training import state as training_state
    from redheart.training.epochs import train_epoch

    recipe, config = full_recipe(given)
    if given.cap:
        cap_memory(given.budget)
    window = recipe.train.batch_size * recipe.train.grad_accumulation
    corpus = plan_sizes.read_corpus(config, ROOT / "results" / config["run"])
    parts = [
        plan_sizes.synthetic_part(recipe, corpus, given.tokens, None, window * steps)
        for steps in (1, given.steps)
    ]
    budget = given.budget if given.cap else math.inf
    planned = memory_plan.choose(recipe, parts[0].sizes, budget, given.tier)
    with launch.alone(recipe.train, planned.tier) as ranks:
        state = training_state.prepare(recipe, parts[0], 1e-4, 0, planned, ranks=ranks)
        train_epoch(state, parts[0])
        times = [time.monotonic()]
        train_epoch(state, parts[1], lambda *_: times.append(time.monotonic()))
        peak = meter.peak_memory() if torch.cuda.is_initialized() else None
        # Only now, since torch's counter keeps activations alive: it took 1.6 GB for 0.3 GB.
        with FlopCounterMode(display=False) as counter:
            if not planned.tier.recompute:  # what is computed again is none of the model's work
                train_epoch(state, parts[0])
    seconds = median(after - before for before, after in pairwise(times))
    return {
        "parameters": sum(weight.numel() for weight in state.network.parameters()),
        "tier": planned.tier.name,
        "why": planned.why,
        "predicted": planned.peak,
        "peak": peak,
        "seconds": seconds,
        "tokens_per_second": window * given.tokens / seconds,
        "flops": counter.get_total_flops(),
        "precision": precision(state.options),
        "window": window,
        "hours": PLAN_EPOCHS * seconds * windows_per_epoch(
            PLAN_TEXTS, recipe.train.batch_size, recipe.train.grad_accumulation
        ) / 3600,
    }  # fmt: skip


def measure_loss(given: argparse.Namespace) -> Json:
    """Train the small preset on the demo's texts; return the mean loss of the last steps."""
    from step_profile import make_part

    from redheart.training import launch
    from redheart.training import state as training_state
    from redheart.training.epochs import train_epoch

    recipe, config = demo_recipe(given)
    recipe = replace(recipe, model=replace(recipe.model, preset=given.small))
    part = make_part(recipe, config, given.tokens, max(1, given.tokens // 16))
    planned = memory_plan.choose(recipe, part.sizes, math.inf, given.tier)
    with launch.alone(recipe.train, planned.tier) as ranks:
        state = training_state.prepare(recipe, part, 1e-4, given.seed, planned, ranks=ranks)
        while state.step < given.loss_steps:
            train_epoch(state, part)
    losses = [row["loss"] for row in state.steps[: given.loss_steps]]
    return {"loss": mean(losses[-LAST_STEPS:])}


def train_leg(given: argparse.Namespace) -> Json:
    """Train a leg of the demo with a snapshot after each step; return the hashes of its weights."""
    from step_profile import make_part

    from redheart.model.states import module_states
    from redheart.storage.tensors import hash_modules
    from redheart.training import epochs
    from redheart.training import state as training_state
    from redheart.training.legs import Leg
    from redheart.training.snapshots import Snapshots

    recipe, config = demo_recipe(given)
    recipe = replace(recipe, train=replace(recipe.train, deterministic=True))
    part = make_part(recipe, config, 64, 1)
    state = training_state.prepare(recipe, part, 1e-3, 0)
    snapshots = Snapshots(Path(given.folder) / "snapshot", minutes=0)
    with snapshots.listening():
        epochs.train_leg(state, part, Leg(0, 2), None, None, snapshots)
    return {"step": state.step, **hash_modules(module_states(state.network))}


CHILDREN: dict[str, Callable[[argparse.Namespace], Json]] = {
    "device": measure_device,
    "steps": measure_steps,
    "loss": measure_loss,
    "leg": train_leg,
}


# --- the parent -------------------------------------------------------------------------------


class Children:
    """Runs measurements one after the other until the time is over."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.end = time.monotonic() + 60 * given.minutes

    def run(self, child: str, **changed: Any) -> Json:
        """Return what a measurement printed, or `failed` with the reason."""
        left = self.end - time.monotonic()
        if left <= 0:
            return {"failed": "not run: no time was left"}
        try:
            found = subprocess.run(
                self._command(child, changed), capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            return {"failed": "not run to its end: no time was left"}
        if found.returncode:
            print(found.stderr, file=sys.stderr)  # the page has room for its last line
            return {"failed": (found.stderr.strip().splitlines() or ["no message"])[-1]}
        return dict(json.loads(found.stdout.splitlines()[-1]))

    def killed(self, folder: Path) -> bool:
        """Begin a leg and kill it after its first snapshot; tell whether it was still training."""
        process = subprocess.Popen(
            self._command("leg", {"folder": folder}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and not list(folder.glob("snapshot.*")):
            time.sleep(0.01)
        time.sleep(KILL_AFTER)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def _command(self, child: str, changed: Json) -> list[str]:
        values = {**vars(self.given), **changed}
        options = [
            f"--{name.replace('_', '-')}={value}"
            for name, value in values.items()
            if name != "child" and value is not None
        ]
        return [sys.executable, __file__, f"--child={child}", *options]


def gigabytes(size: float) -> str:
    """Return a number of bytes as a cell of a table."""
    return f"{size / 1e9:.2f} GB"


def page(given: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the page, measuring as it goes."""
    children = Children(given)
    device = children.run("device")
    yield "# Results on a GPU\n"
    if "failed" in device:
        yield f"{device['failed']}\n"
        return
    where = (
        device["name"] if device["on_gpu"] else f"{device['name']}: NO GPU, a trial of the script"
    )
    yield (
        f"{where}; torch {device['torch']}, CUDA {device['cuda']}. "
        f"`bench/gpu.sh`, preset {given.preset}, {given.tokens} tokens.\n"
    )
    sections = {
        "steps": _step_lines(children, given, device["name"]),
        "planner": _planner_lines(children),
        "kill": _kill_lines(children),
        "streamed": _streamed_lines(children, device["name"]),
        "loss": _loss_lines(children, given),
    }
    for name in given.sections.split(","):
        yield from sections[name]


def _step_lines(children: Children, given: argparse.Namespace, name: str) -> Iterator[str]:
    capped, free = children.run("steps", cap=1), children.run("steps", cap=0)
    yield f"## A step under a cap of {given.budget:g} GB, and without\n"
    yield STEP_HEADER
    flops = next((row["flops"] for row in (free, capped) if row.get("flops")), None)
    for title, row in (("capped", capped), ("free", free)):
        yield _step_row(title, row, flops, name)
    if "seconds" in capped and "seconds" in free:
        ratio = capped["seconds"] / free["seconds"]
        yield f"\nThe cap makes a step {ratio:.2f} times as long (bar 1.3)."
    if "why" in capped:
        yield (
            f"{capped['parameters'] / 1e6:.0f} M parameters, windows of {capped['window']} texts; "
            f"{capped['tier']}: {capped['why']}."
        )
    yield (
        f"The whole plan: {PLAN_EPOCHS} epochs of {PLAN_TEXTS:,} texts; its first design said "
        f"{DESIGN_HOURS} hours on a card of 8 GB.\n"
    )


def _streamed_lines(children: Children, name: str) -> Iterator[str]:
    """Yield a step of the full-size plan with its weights streamed, under a cap of its own."""
    row = children.run("steps", cap=1, tier="streamed", budget=STREAMED_GB, steps=1)
    yield f"## With weights streamed, under a cap of {STREAMED_GB:g} GB\n"
    yield STEP_HEADER
    yield _step_row("streamed", row, None, name) + "\n"


def _step_row(title: str, row: Json, flops: float | None, device: str) -> str:
    if "failed" in row:
        return f"| {title} | {row['failed']} | | | | | | |"
    peak = next((value for part, value in PEAK_FLOPS.items() if part in device), None)
    used = f"{flops / row['seconds'] / peak:.1%}" if flops and peak else ""
    cells = (
        title,
        f"{row['tier']}, {row['precision']}",
        gigabytes(row["predicted"]),
        gigabytes(row["peak"]) if row["peak"] else "",
        f"{row['seconds']:.3f} s",
        f"{row['tokens_per_second']:,.0f}",
        used,
        f"{row['hours']:.1f} h",
    )
    return f"| {' | '.join(cells)} |"


def _planner_lines(children: Children) -> Iterator[str]:
    yield "## The planner's error, by tier\n"
    yield "| tier | predicted | measured | error |"
    yield "|---|---:|---:|---:|"
    for tier in tiers.TIERS:
        row = children.run("steps", cap=0, preset=children.given.small, tier=tier.name, steps=1)
        if "failed" in row:
            yield f"| {tier.name} | {row['failed']} | | |"
            continue
        measured = row["peak"]
        error = f"{row['predicted'] / measured - 1:+.1%}" if measured else ""
        shown = gigabytes(measured) if measured else ""
        yield f"| {tier.name} | {gigabytes(row['predicted'])} | {shown} | {error} |"
    yield f"\nPreset {children.given.small}; the bar is 10 %.\n"


def _kill_lines(children: Children) -> Iterator[str]:
    yield "## Killed and taken up again\n"
    with tempfile.TemporaryDirectory() as name:
        whole, cut = Path(name) / "whole", Path(name) / "cut"
        for folder in (whole, cut):
            folder.mkdir()
        expected = children.run("leg", folder=whole)
        in_the_midst = children.killed(cut)
        found = children.run("leg", folder=cut)
    if failed := [row["failed"] for row in (expected, found) if "failed" in row]:
        yield f"{failed[0]}\n"
        return
    if not in_the_midst:
        yield "The leg had ended before the kill, so this shows nothing.\n"
        return
    same = "the same, bit for bit" if expected == found else "NOT the same"
    yield (
        f"A leg of {found['step']} steps, killed after its first snapshot, then the same command, "
        f"with deterministic algorithms: the weights are {same}.\n"
    )


def _loss_lines(children: Children, given: argparse.Namespace) -> Iterator[str]:
    full, small = LOSS_TIERS
    yield f"## The loss after {given.loss_steps} steps\n"
    yield f"| seed | {full} | {small} |"
    yield "|---|---:|---:|"
    losses: dict[str, list[float]] = {tier: [] for tier in LOSS_TIERS}
    for seed in LOSS_SEEDS:
        rows = {tier: children.run("loss", seed=seed, tier=tier) for tier in LOSS_TIERS}
        cells = [row.get("failed") or f"{row['loss']:.4f}" for row in rows.values()]
        yield f"| {seed} | {' | '.join(cells)} |"
        if not any("failed" in row for row in rows.values()):
            for tier, row in rows.items():
                losses[tier].append(row["loss"])
    if len(losses[full]) > 1:
        difference = mean(losses[small]) - mean(losses[full])
        yield (
            f"\nPreset {given.small}. Mean difference {difference:+.4f}; "
            f"standard deviation between seeds {stdev(losses[full]):.4f}."
        )


def parse() -> argparse.Namespace:
    """Read the command line; some options are only for child processes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="730m", help="the model (default: 730m)")
    parser.add_argument("--small", default="small", help="the model of the planner's errors")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of a text")
    parser.add_argument("--budget", type=float, default=8.0, help="the cap, in 10^9 bytes")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--steps", type=int, default=5, help="optimizer steps that are timed")
    parser.add_argument("--loss-steps", type=int, default=LOSS_STEPS)
    parser.add_argument("--sections", default=SECTIONS, help=f"of the page (default: {SECTIONS})")
    parser.add_argument("--minutes", type=float, default=8.5, help="when to stop measuring")
    parser.add_argument("--out", help="where the page goes as well")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--cap", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--tier", default=memory_plan.AUTO, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given = parse()
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if given.child:
        print(json.dumps(CHILDREN[given.child](given)))
        return
    lines = []
    for line in page(given):
        print(line, flush=True)
        lines.append(line)
    if given.out:
        files.write_text(given.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
