"""Show where a training step's time goes: the demo's settings, on texts of 64 and of 256 tokens.

    python bench/step_profile.py           shares of a step by part, and the parts of an evaluation
    python bench/step_profile.py --ops     and the operators of torch that take most of the time
    python bench/step_profile.py --leg     the time of a leg of the demo beside its training

Figures are CPU seconds of one thread, the median of several repeats, so that other work on the
machine hardly counts. docs/performance.md tells which changes followed from the figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

# The value that the workflow sets; it must be set before torch is imported:
# docs/decisions/005-threads.md.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import torch

from redheart.data import corpus
from redheart.encoding import tokens
from redheart.encoding.lexicon import LexiconOptions, fit_lexicon, load_lexicon, save_lexicon
from redheart.evaluation import inference, scoring
from redheart.model.network import Network
from redheart.recipe.build import build, read_recipe
from redheart.recipe.training_options import Recipe, ScoringOptions
from redheart.storage import files
from redheart.training import epochs
from redheart.training import state as training_state
from redheart.training.adamw import AdamW
from redheart.training.epochs import train_epoch, train_leg
from redheart.training.legs import Ancestor, Leg
from redheart.training.optimizer import MovingAverage
from redheart.workflow.config import read

ROOT = Path(__file__).parents[1]
EPOCHS = 5
STORED = ("weights", "manifest", "steps")
# The timed functions, by their names in the output: the module that holds each, and its name there.
PARTS: dict[str, tuple[Any, str]] = {
    "batches": (epochs, "make_batch"),
    "forward": (Network, "forward"),
    "losses": (epochs, "training_losses"),
    "backward": (torch.Tensor, "backward"),
    "clipping": (epochs, "clip"),
    "AdamW": (AdamW, "step"),
    "average": (MovingAverage, "update"),
    "update ratios, once an epoch": (epochs, "update_ratios"),
}


def demo_recipe() -> tuple[Recipe, dict[str, Any]]:
    """Return the recipe of config/config.yaml on one thread, and the whole config."""
    config = read([str(ROOT / "config/config.yaml")])
    config["train"] |= {"cpu_threads": 1, "device": "cpu"}
    return read_recipe(config), config


def make_part(
    recipe: Recipe, config: dict[str, Any], max_tokens: int, texts: int
) -> tokens.Encoded:
    """Return texts that each join several texts of the demo corpus."""
    records, _ = corpus.generate(build(corpus.CorpusOptions, config["demo"]))
    joined = [
        {**record, "text": " ".join(r["text"] for r in records[i : i + texts])}
        for i, record in enumerate(records[:500])
    ]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, lexicon = Path(folder) / "tokenizer.json", Path(folder) / "lexicon.npz"
        plain = [record["text"] for record in joined]
        tokenizer.write_text(tokens.train_tokenizer(plain, 2000), encoding="utf-8")
        save_lexicon(lexicon, fit_lexicon(plain, LexiconOptions()))
        return tokens.encode_part(
            joined, recipe.tasks, tokenizer, max_tokens, load_lexicon(lexicon)
        )


@contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the CPU seconds of every part while this is open."""

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            result = function(*arguments, **named)
            seconds[name] += time.process_time() - started
            return result

        return call

    patches = [
        mock.patch.object(owner, attribute, wrap(name, getattr(owner, attribute)))
        for name, (owner, attribute) in PARTS.items()
    ]
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


def epoch_shares(state: training_state.TrainingState, part: tokens.Encoded) -> dict[str, float]:
    """Return the median CPU seconds of an epoch by part, the `whole` first."""
    train_epoch(state, part)  # the first epoch allocates memory
    rows = []
    for _ in range(EPOCHS):
        seconds: dict[str, float] = defaultdict(float)
        with timed(seconds):
            started = time.process_time()
            train_epoch(state, part)
            whole = time.process_time() - started
        rows.append({"whole": whole, **seconds, "all else": whole - sum(seconds.values())})
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


def evaluation_seconds(state: training_state.TrainingState, part: tokens.Encoded) -> float:
    """Return the median CPU seconds of one pass over a part in evaluation mode."""
    taken = []
    for _ in range(EPOCHS):
        started = time.process_time()
        inference.contributions(state.network, part, state.options)
        taken.append(time.process_time() - started)
    return float(np.median(taken))


def leg_seconds(recipe: Recipe, part: tokens.Encoded, folder: Path) -> dict[str, float]:
    """Return the median CPU seconds of a leg's actions beside its training, by name."""
    data, saved, state = folder / "part.npz", folder / "leg", folder / "state"
    tokens.save_encoded(data, part)
    trained = training_state.prepare(recipe, part, 1e-2, 0)
    statistics = train_leg(trained, part, Leg(0, 1))
    inputs = SimpleNamespace(train=data, val_select=data, parent_metrics=[])
    outputs = SimpleNamespace(weights=saved / "weights", manifest=saved / "manifest")

    def save() -> None:
        training_state.save_leg(trained, statistics, saved, state, {"key": "k", "parent": None})

    def restore() -> None:
        built = training_state.prepare(recipe, part, 1e-2, 0)
        training_state.restore(built, Ancestor(saved / "weights", state, 1))

    work: dict[str, Callable[[], Any]] = {
        "start: Python, numpy and torch": lambda: _run("import torch"),
        "start: the same and the library": lambda: _run(
            "import redheart.training.epochs, redheart.evaluation.scoring"
        ),
        "load the part": lambda: tokens.load_encoded(data),
        "save checkpoint, state, steps, manifest": save,
        "build the network, load what was saved": restore,
        "hash the files again": lambda: [files.sha256_file(saved / n) for n in STORED],
        "evaluate three times 500 texts": lambda: scoring.score_files(
            inputs, outputs, recipe, ScoringOptions()
        ),
    }
    return {
        name: float(np.median([_cpu(act) for _ in range(EPOCHS)])) for name, act in work.items()
    }


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def _cpu(act: Callable[[], Any]) -> float:
    """Return the CPU seconds of this process and of the child processes that it waits for."""
    before = os.times()
    act()
    return sum(after - b for after, b in zip(os.times()[:4], before[:4], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ops", action="store_true", help="torch's operators too")
    parser.add_argument("--leg", action="store_true", help="a leg's own costs instead")
    given = parser.parse_args()
    recipe, config = demo_recipe()
    if given.leg:
        with tempfile.TemporaryDirectory() as folder:
            part = make_part(recipe, config, 64, 1)
            for name, seconds in leg_seconds(recipe, part, Path(folder)).items():
                print(f"{seconds:8.3f} s  {name}")
        return
    for max_tokens, texts in ((64, 1), (256, 4)):
        part = make_part(recipe, config, max_tokens, texts)
        state = training_state.prepare(recipe, part, 1e-2, seed=0)
        shares = epoch_shares(state, part)
        shares["evaluation of the part"] = evaluation_seconds(state, part)
        mean = part.lengths.mean()
        print(f"\n{len(part)} texts of {mean:.0f} tokens on average, {max_tokens} at most")
        for name, seconds in shares.items():
            print(f"{seconds:8.3f} s  {seconds / shares['whole']:6.1%}  {name}")
        if given.ops:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
                train_epoch(state, part)
            averages = found.key_averages()
            print(averages.table(sort_by="self_cpu_time_total", row_limit=25))


if __name__ == "__main__":
    main()
