"""What a run will take, told before it starts: parameters, memory, disk space, steps, time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from redheart import files, memory, memory_plan, sentences, space
from redheart.device import device_type
from redheart.errors import UserError
from redheart.groups import groups
from redheart.halving import HalvingOptions, plan_rungs
from redheart.lexicon import Ngrams
from redheart.memory_plan import MemoryPlan
from redheart.model.sizes import network_sizes
from redheart.options import build, read_recipe
from redheart.sources import input_files, read_items
from redheart.store import Ledger, Store
from redheart.tasks import Task
from redheart.tokens import Encoded, vocabulary_size, windows_per_epoch
from redheart.training_options import PlanOptions, Recipe, checkpoint_epochs

if TYPE_CHECKING:
    from redheart.model.network import Network

Json = Mapping[str, Any]

# Counted where there is no corpus yet.
ASSUMED_RECORDS = 10_000
# A measurement that should take longer, at this pace, is made only when asked for.
PATIENCE_SECONDS = 10.0
OPERATIONS_PER_SECOND = {"cpu": 2e10, "cuda": 1e13}
MEASURED_STEPS = 3
# Distinct n-grams that stand in a text, about, per token.
NGRAMS_PER_TOKEN = 4


@dataclass(frozen=True)
class Corpus:
    """The sizes of a corpus that a network and its training follow from."""

    records: int
    """Records that are divided into parts, at most."""
    train: int
    """Records in *train*."""
    vocab_size: int
    """Tokens, at most."""
    lexicon_size: int
    """N-grams that the lexical branches read, at most."""
    origin: str
    """Where these numbers come from."""


def read_corpus(config: Json, run: Path) -> Corpus:
    """Return the sizes of a run's corpus, from its encoded parts or, without them, as bounds."""
    encoded = [run / "data" / "encoded" / f"{p}.npz" for p in config["split"] if p in _PARTS]
    if all(path.is_file() for path in encoded):
        sizes = {path.stem: _sizes(path) for path in encoded}
        train = sizes["train"]
        records = sum(size["records"] for size in sizes.values())
        return Corpus(
            records, train["records"], train["vocab_size"], train["lexicon_size"], f"in {run}/data"
        )
    records, origin = _count_records(config)
    vocab_size = config["tokenizer"]["vocab_size"]
    tokenizer = run / ("trunk" if config["model"]["pretrained"] else "data") / "tokenizer.json"
    if tokenizer.is_file():
        vocab_size = vocabulary_size(tokenizer)
    train = math.ceil(records * config["split"]["train"])
    return Corpus(records, train, vocab_size, 2 * config["lexicon"]["features"], origin)


_PARTS = ("train", "val_select", "val_confirm", "test")


def _sizes(path: Path) -> dict[str, int]:
    """Return the sizes of an encoded part; most of its file is not read."""
    with np.load(path, allow_pickle=False) as part:
        known = int(part["ngrams.size"]) if "ngrams.size" in part.files else 0
        records, vocab_size = len(part["offsets"]) - 1, int(part["sizes"][0])
        return {"records": records, "vocab_size": vocab_size, "lexicon_size": known}


def _count_records(config: Json) -> tuple[int, str]:
    source = config["data"]["source"]
    if source == "demo":
        return config["demo"]["records"], "at most: near-duplicates not yet removed"
    try:
        paths = input_files(source)
    except UserError:
        return ASSUMED_RECORDS, f"assumed: {source} is not there"
    counted = sum(1 for _ in read_items(source if len(paths) > 1 else paths[0]))
    return counted, "at most: not yet checked for errors and near-duplicates"


def trunk_config(config: Json, run: Path) -> dict[str, Any] | None:
    """Return the config of the pretrained trunk, from the run or its source; None: there is none.

    Raises
    ------
    UserError
        It is named by a model id and not yet imported.
    """
    name = config["model"]["pretrained"]
    if not name:
        return None
    if name == sentences.ENCODER:
        return {"hidden_size": sentences.DIMENSION}
    for path in (run / "trunk" / "config.json", Path(name) / "config.json"):
        if path.is_file():
            return dict(files.read_json(path))
    raise UserError(
        f"model.pretrained: {name} is not imported yet; `snakemake {run}/trunk/config.json "
        "--cores 1` does that"
    )


def synthetic_part(
    recipe: Recipe, corpus: Corpus, max_tokens: int, trunk: Json | None, texts: int
) -> Encoded:
    """Return texts of the longest length whose network is that of the corpus."""
    generator = np.random.default_rng(0)
    ids = tuple(generator.integers(1, corpus.vocab_size, (texts, max_tokens), dtype=np.int32))
    size, each = corpus.lexicon_size, min(NGRAMS_PER_TOKEN * max_tokens, corpus.lexicon_size)
    columns = generator.integers(0, max(size, 1), texts * each)
    values = np.full(texts * each, each**-0.5 if each else 0.0, np.float16)
    features = None
    if trunk and recipe.model.frozen:
        features = (np.zeros((max_tokens, trunk["hidden_size"]), np.float16),) * texts
    return Encoded(
        ids,
        {task.name: _targets(task, texts) for task in recipe.tasks},
        corpus.vocab_size,
        max_tokens,
        Ngrams(columns, values, np.arange(texts + 1) * each, size) if size else None,
        None if recipe.model.frozen else trunk,
        features,
    )


def _targets(task: Task, texts: int) -> np.ndarray:
    """Return targets that are valid for any kind: each text has the next class."""
    if task.kind == "regression":
        return np.full((texts, task.width), 0.5, np.float32)
    return np.eye(task.width, dtype=np.float32)[np.arange(texts) % task.width]


def empty_network(recipe: Recipe, part: Encoded) -> Network:
    """Return the network for a part on torch's meta device: all sizes, no memory."""
    import torch

    from redheart.model.network import Network
    from redheart.model.options import resolve
    from redheart.model.pretrained import backbone_for

    sizes = (part.vocab_size, part.max_tokens, part.lexicon_size)
    architecture = resolve(recipe.model, recipe.tasks, *sizes)
    with torch.device("meta"):
        return Network(architecture, recipe.tasks, backbone_for(part))


def count_parameters(recipe: Recipe, part: Encoded) -> dict[str, int]:
    """Return the number of weights of each module, without making any."""
    modules = empty_network(recipe, part).modules_by_name()
    return {
        name: sum(weight.numel() for weight in module.parameters())
        for name, module in modules.items()
    }


def sweep_epochs(config: Json) -> int:
    """Return the epochs that the sweep trains, all trials together."""
    sweep, options = config["sweep"], build(HalvingOptions, config["sweep"])
    rungs = plan_rungs(sweep["epochs"], len(sweep["seeds"]), options)
    rates, seeds, epochs, total = len(sweep["learning_rates"]), 0, 0, 0
    for rung in rungs:
        total += rates * (rung.seeds * rung.epochs - seeds * epochs)
        rates, seeds, epochs = math.ceil(rates / options.reduction_factor), rung.seeds, rung.epochs
    return total


@dataclass(frozen=True)
class Pace:
    """What optimizer steps and evaluations take."""

    step_seconds: float
    """An optimizer step."""
    text_seconds: float
    """A text in an evaluation."""
    peak_bytes: int
    """Highest memory of the process, or of its GPU."""


def measure(recipe: Recipe, part: Encoded, trunk: Path, planned: MemoryPlan) -> Pace:
    """Take some optimizer steps with the very model, on synthetic texts.

    Parameters
    ----------
    part
        The texts of `MEASURED_STEPS` optimizer steps, the first of which does not count.
    trunk
        Weights of the pretrained trunk, where one learns.
    planned
        What is kept in memory.
    """
    from redheart import launch, training, training_state
    from redheart.inference import contributions
    from redheart.meter import peak_memory

    with memory.explained(), launch.alone(recipe.train, planned.tier) as ranks:
        state = training_state.prepare(recipe, part, 1e-4, 0, planned, trunk, ranks)
        times = [time.monotonic()]
        training.train_epoch(state, part, lambda *_: times.append(time.monotonic()))
        few = part.head(min(len(part), 64))
        contributions(state.network, few.head(1), recipe.train)
        started = time.monotonic()
        contributions(state.network, few, recipe.train)
        text_seconds = (time.monotonic() - started) / len(few)
        step = median(after - before for before, after in list(pairwise(times))[1:])
        return Pace(step, text_seconds, peak_memory())


def is_quick(recipe: Recipe, parameters: int, max_tokens: int) -> bool:
    """Tell whether measuring should take but some seconds, if every weight met every token."""
    options = recipe.train
    texts = options.batch_size * options.grad_accumulation * (2 if options.rdrop > 0 else 1)
    operations = 6.0 * parameters * texts * max_tokens * MEASURED_STEPS
    return operations / OPERATIONS_PER_SECOND[device_type(options)] < PATIENCE_SECONDS


def ledger_epochs(config: Json, run: Path, store: Store) -> list[float]:
    """Return the seconds of a run's recorded epochs of the main training under these settings."""
    own = {**config["model"], **config["train"]}
    found = []
    for line in Ledger(run / "ledger.jsonl").lines():
        made = store.ingredients(line["key"]) if line["step"] == "train_leg" else None
        params = {key.partition(".")[2]: v for key, v in (made or {"params": {}})["params"].items()}
        if made and all(own.get(key, value) == value for key, value in params.items()):
            found += [row["seconds"] for row in line.get("epochs", ())]
    return found


def report(config: Json, run: Path, measured: bool) -> Iterator[str]:
    """Yield the lines of the plan, of at most 80 characters where no path is longer.

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
    one = synthetic_part(recipe, corpus, max_tokens, trunk, 1)
    weights = count_parameters(recipe, one)
    total = sum(weights.values())
    yield f"{config['run']}: {corpus.records:,} records"
    yield f"  ({corpus.origin})"
    yield f"  about {corpus.train:,} of them in train; {corpus.vocab_size:,} tokens at most"
    yield from _parameter_lines(weights)
    chosen = memory_plan.choose(
        recipe, one.sizes, devices=config["train"]["devices"], **config["memory"]
    )
    yield from _memory_lines(chosen, device_type(recipe.train))
    network = memory_plan.network_of(recipe, one.sizes)
    kept = memory_plan.keeps(chosen.tier, total, network_sizes(network, recipe.tasks).compact)
    planned = [*space.kinds(config, kept), *_data_kinds(config, run, corpus, trunk)]
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
    # A lexical branch adds up a few rows of its weights.
    dense = sum(size for name, size in weights.items() if not name.startswith("lexical_"))
    if fits and (measured or is_quick(recipe, dense, max_tokens)):
        texts = recipe.train.batch_size * recipe.train.grad_accumulation * MEASURED_STEPS
        part = synthetic_part(recipe, corpus, max_tokens, trunk, texts)
        pace = measure(recipe, part, run / "trunk" / "weights.pt", chosen)
        yield from _measured_lines(config, corpus, pace, (sweep, main, steps))
    else:
        yield from _unmeasured_lines(fits, sweep, main, ledger_epochs(config, run, store))


def _parameter_lines(weights: Mapping[str, int]) -> Iterator[str]:
    named = {"A": "A: backbone and heads", "B": "B: neural analyzers", "C": "C: dsp and kalman"}
    rows = [
        (named.get(group, group), f"{sum(weights[name] for name in modules):,}")
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
    # Each has a place of 4 bytes and a value of 2.
    ngrams = 6 * NGRAMS_PER_TOKEN * max_tokens if corpus.lexicon_size else 0
    kinds = [space.Kind("encoded texts, about", 1, corpus.records * (4 * max_tokens + ngrams))]
    if trunk:
        source = Path(config["model"]["pretrained"])
        found = [run / "trunk" / "weights.pt", *sorted(source.glob("*.safetensors"))]
        size = max((path.stat().st_size for path in found if path.is_file()), default=0)
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
    checkpoints = len(checkpoint_epochs(build(PlanOptions, config["train"])))
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
