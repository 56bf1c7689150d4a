"""What a run will take, told before it starts: parameters, memory, disk space, steps, time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from redheart.encoding.tokens import windows_per_epoch
from redheart.json_values import Json
from redheart.machine import memory_plan, tiers
from redheart.machine.device import device_type
from redheart.machine.memory_plan import MemoryPlan
from redheart.recipe.build import build, read_recipe
from redheart.recipe.groups import group_in_words, groups, kind_of
from redheart.recipe.sizes import network_sizes
from redheart.recipe.training_options import LegOptions, checkpoint_epochs
from redheart.storage import run_files
from redheart.storage.store import Store
from redheart.workflow import space
from redheart.workflow.pace import (
    MEASURED_STEPS,
    Pace,
    is_quick,
    ledger_epochs,
    measure,
    sweep_epochs,
)
from redheart.workflow.plan_sizes import (
    NGRAMS_PER_TOKEN,
    Corpus,
    count_parameters,
    read_corpus,
    synthetic_part,
    trunk_config,
)


def report(config: Json, run: Path, measured: bool) -> Iterator[str]:
    """Yield the lines of the plan, each of at most 80 characters unless a path is longer.

    Parameters
    ----------
    run
        The run's folder in `results/`.
    measured
        Whether to take real optimizer steps, however long they take.
    """
    recipe, store = read_recipe(config), Store(config["store"]["path"])
    corpus, trunk = read_corpus(config, run), trunk_config(config, run)
    max_tokens = config["train"]["max_tokens"]
    sample = synthetic_part(recipe, corpus, max_tokens, trunk, 1)
    weights = count_parameters(recipe, sample)
    total = sum(weights.values())
    yield f"{config['run']}: {corpus.records:,} records"
    yield f"  ({corpus.origin})"
    yield f"  about {corpus.train:,} of them in train; {corpus.vocab_size:,} tokens at most"
    yield from _parameter_lines(weights)
    chosen = memory_plan.choose(
        recipe, sample.sizes, devices=config["train"]["devices"], **config["memory"]
    )
    yield from _memory_lines(chosen, device_type(recipe.train))
    architecture = memory_plan.architecture_of(recipe, sample.sizes)
    footprint = tiers.keeps(chosen.tier, total, network_sizes(architecture, recipe.tasks).compact)
    planned = [*space.kinds(config, footprint), *_data_kinds(config, run, corpus, trunk)]
    yield from _disk_lines(planned, store, run)
    steps = windows_per_epoch(corpus.train, recipe.train.batch_size, recipe.train.grad_accumulation)
    sweep, main = sweep_epochs(config), len(config["seeds"]) * config["train"]["epochs"]
    yield from _table(
        "optimizer steps",
        [
            (f"sweep: {sweep} epochs of {steps:,}", f"{sweep * steps:,}"),
            (f"training: {main} epochs of {steps:,}", f"{main * steps:,}"),
        ],
    )
    fits = not chosen.refused
    dense = sum(size for name, size in weights.items() if kind_of(name).dense)
    if fits and (measured or is_quick(recipe, dense, max_tokens)):
        texts = recipe.train.batch_size * recipe.train.grad_accumulation * MEASURED_STEPS
        part = synthetic_part(recipe, corpus, max_tokens, trunk, texts)
        pace = measure(recipe, part, run / run_files.TRUNK_WEIGHTS, chosen)
        yield from _measured_lines(config, corpus, pace, (sweep, main, steps))
    else:
        yield from _unmeasured_lines(fits, sweep, main, ledger_epochs(config, run, store))


def _parameter_lines(weights: Mapping[str, int]) -> Iterator[str]:
    rows = [
        (group_in_words(group), f"{sum(weights[name] for name in modules):,}")
        for group, modules in groups(weights).items()
    ]
    yield from _table("parameters", [*rows, ("together", f"{sum(weights.values()):,}")])


def _memory_lines(chosen: MemoryPlan, device: str) -> Iterator[str]:
    rows = [(name, space.gigabytes(size)) for name, size in chosen.parts.items()]
    title = f"memory at its peak ({device}), with memory.tier: {chosen.tier.name}"
    yield from _table(title, [*rows, ("together", space.gigabytes(chosen.peak))])
    verdict = "does NOT fit" if chosen.refused else "fits"
    yield f"  {verdict} memory.budget_gb: {chosen.budget_gb:g}"
    yield f"  ({chosen.why})"


def _data_kinds(config: Json, run: Path, corpus: Corpus, trunk: Json | None) -> list[space.Kind]:
    max_tokens = config["train"]["max_tokens"]
    # An n-gram takes 4 bytes for its place and 2 for its value.
    ngrams = 6 * NGRAMS_PER_TOKEN * max_tokens if corpus.lexicon_size else 0
    kinds = [space.Kind("encoded texts, about", 1, corpus.records * (4 * max_tokens + ngrams))]
    if trunk:
        source = Path(config["model"]["pretrained"])
        paths = [run / run_files.TRUNK_WEIGHTS, *sorted(source.glob("*.safetensors"))]
        size = max((path.stat().st_size for path in paths if path.is_file()), default=0)
        kinds += [space.Kind("weights of the trunk", 1, size)] if size else []
    if trunk and config["model"]["freeze_after"] == 0:
        size = corpus.records * max_tokens * trunk["hidden_size"] * 2
        kinds.append(space.Kind("features of the trunk, at most", 1, size))
    return kinds


def _disk_lines(planned: Sequence[space.Kind], store: Store, run: Path) -> Iterator[str]:
    rows = [
        (f"{k.name}: {k.number} x {space.gigabytes(k.file_bytes)}", space.gigabytes(k.bytes))
        for k in planned
        if k.number
    ]
    yield from _table("disk space at most, each file counted once", rows)
    for disk in space.disks(planned, store, run):
        needed = sum(disk.needed.values())
        verdict = "does NOT fit" if disk.is_full else "fits"
        yield f"  together {space.gigabytes(needed)} at {disk.place},"
        yield f"  where {space.gigabytes(disk.free)} are free: {verdict}"
    limit = space.gigabytes(store.link_from_bytes)
    yield f"  (what is smaller than {limit} lies in the store and, copied, in results/)"


def _measured_lines(
    config: Json, corpus: Corpus, pace: Pace, counted: tuple[int, int, int]
) -> Iterator[str]:
    sweep, main, steps = counted
    select = math.ceil(corpus.records * config["split"]["val_select"])
    scored = min(corpus.train, config["train"]["scored_train_records"])
    checkpoints = len(checkpoint_epochs(build(LegOptions, config["train"])))
    evaluated = (2 * select * sweep, (2 * select + scored) * checkpoints * len(config["seeds"]))
    seconds = [
        epochs * steps * pace.step_seconds + texts * pace.text_seconds
        for epochs, texts in zip((sweep, main), evaluated, strict=True)
    ]
    device = device_type(read_recipe(config).train)
    rows = [
        (f"an optimizer step, measured here ({device})", _duration(pace.step_seconds)),
        ("sweep", _duration(seconds[0])),
        ("training", _duration(seconds[1])),
        ("peak memory of these steps", space.gigabytes(pace.peak_bytes)),
    ]
    yield from _table("time at most, were every text of the longest length", rows)
    yield "  evaluation of checkpoints included; phase 0, start-up, crossover aside"


def _unmeasured_lines(fits: bool, sweep: int, main: int, epochs: Sequence[float]) -> Iterator[str]:
    if epochs:
        typical = median(epochs)
        yield from _table(
            "time, about",
            [
                (f"an epoch: the median of {len(epochs)} in the ledger", _duration(typical)),
                ("sweep", _duration(sweep * typical)),
                ("training", _duration(main * typical)),
            ],
        )
    elif fits:
        yield "\ntime: not measured, since it may take longer than 10 s; --measure does it"
    else:
        yield "\ntime: not measured, since the model does not fit memory.budget_gb"


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield ""
    yield title
    yield from (f"  {name:<58}{value:>16}" for name, value in rows)


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"
