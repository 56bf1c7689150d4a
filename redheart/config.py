"""The config: from raw YAML to checked, complete settings. The only reader of config keys."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from redheart import files, sentences
from redheart.corpus import CorpusOptions
from redheart.crossover import CrossoverOptions
from redheart.dedup import DedupOptions
from redheart.errors import UserError
from redheart.halving import HalvingOptions
from redheart.lexicon import LexiconOptions
from redheart.memory_plan import AUTO
from redheart.model.options import ModelOptions, resolve
from redheart.options import build
from redheart.records import RecordOptions
from redheart.split import SplitOptions
from redheart.sweep import ChoiceOptions
from redheart.sweet_spots import SweetSpotOptions
from redheart.tasks import parse_tasks
from redheart.training_options import (
    CheckpointOptions,
    DeviceOptions,
    FusionOptions,
    PlanOptions,
    ScoringOptions,
    TrainOptions,
)
from redheart.trunk import TrunkOptions

SCHEMA = Path(__file__).parents[1] / "config" / "schemas" / "config.schema.json"


@dataclass(frozen=True)
class DataOptions:
    """Where the records come from."""

    source: str = "demo"
    """Path of the corpus, or `demo` for the generated one."""


@dataclass(frozen=True)
class TokenizerOptions:
    """The byte-level BPE tokenizer."""

    vocab_size: int = 8000
    """Number of tokens, the 256 bytes and the padding token among them; 300 or more."""


@dataclass(frozen=True)
class EncodingOptions:
    """How a text becomes tokens."""

    max_tokens: int = 512
    """Tokens kept per text, from its beginning; 8 or more."""


@dataclass(frozen=True)
class SweepOptions:
    """The learning-rate sweep."""

    learning_rates: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
    """Rates to try; above 0."""
    epochs: int = 5
    """Epochs per rate; 1 or more, at most those of the schedule."""
    seeds: tuple[int, ...] = (0,)
    """A repeat of every rate per seed; three or more make the choice aware of noise."""


@dataclass(frozen=True)
class EvaluationOptions:
    """The comparison of candidates."""

    resamples: int = 1000
    """Bootstrap resamples behind every interval; 100 or more."""


@dataclass(frozen=True)
class MemoryOptions:
    """What training may use."""

    budget_gb: float = 8.0
    """What training may take on its device, in 10^9 bytes; above 0."""
    tier: str = AUTO
    """How it keeps within that: auto (the fastest way that fits), or the name of one."""


@dataclass(frozen=True)
class StoreOptions:
    """The store of results, shared by all runs."""

    path: str = ".redheart/store"
    """Its folder, from the working folder; best on the file system of `results/`."""
    keep_last: int = 2
    """Training states that are kept, the latest ones; 1 or more."""
    keep_every: int = 5
    """Besides them, every k-th training state is kept; 1 or more."""
    snapshot_minutes: float = 10.0
    """Minutes of training that a kill can cost at most; 0 or more."""


# Which settings live under which top-level key. Some sections serve several steps: their settings
# are divided so that a change reaches only the steps that it concerns.
SECTIONS: dict[str, tuple[type, ...]] = {
    "data": (DataOptions, RecordOptions),
    "demo": (CorpusOptions,),
    "dedup": (DedupOptions,),
    "split": (SplitOptions,),
    "tokenizer": (TokenizerOptions,),
    "lexicon": (LexiconOptions,),
    "model": (ModelOptions, TrunkOptions),
    "sweep": (SweepOptions, ChoiceOptions, HalvingOptions),
    "train": (PlanOptions, DeviceOptions, TrainOptions, EncodingOptions, ScoringOptions),
    "checkpoints": (CheckpointOptions,),
    "fusion": (FusionOptions,),
    "sweet_spots": (SweetSpotOptions,),
    "crossover": (CrossoverOptions,),
    "evaluation": (EvaluationOptions,),
    "memory": (MemoryOptions,),
    "store": (StoreOptions,),
}


def defaults() -> dict[str, Any]:
    """Return every setting that has a default, nested as in the config file."""
    sections: dict[str, Any] = {
        name: {
            field.name: _plain(field.default)
            for kind in kinds
            for field in fields(kind)
            if field.default is not MISSING
        }
        for name, kinds in SECTIONS.items()
    }
    sections["train"]["schedule_epochs"] = None
    return {"run": "demo", "seeds": [0], "stratify_by": None, **sections}


def effective(raw: Mapping[str, Any], paths: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Check a config and fill in the defaults.

    Parameters
    ----------
    raw
        The merged config as Snakemake hands it over.
    paths
        The files it came from; they are named in messages.

    Raises
    ------
    UserError
        With one line for each problem: file, key, what was expected, the nearest valid key.
    """
    schema = files.read_json(SCHEMA)
    given = _numbers(raw, schema)
    problems = [*_schema_problems(given, schema)]
    if not problems:
        complete = _fill(given, defaults())
        train = complete["train"]
        train["schedule_epochs"] = train["schedule_epochs"] or train["epochs"]
        # A trial shares the main training's schedule, and behind its end there is nothing to learn.
        complete["sweep"]["epochs"] = min(complete["sweep"]["epochs"], train["schedule_epochs"])
        problems = [*_cross_problems(complete)]
        if not problems:
            complete["model"]["signal"] = _signal_task(complete)
    if problems:
        origin = _Origin(paths)
        raise UserError(
            "\n".join(f"{origin.of(path)}{'.'.join(path)}: {text}" for path, text in problems)
        )
    return complete


def read(paths: Sequence[str | Path]) -> dict[str, Any]:
    """Read config files, later ones over earlier ones, and check them as a run would.

    Raises
    ------
    UserError
        A file is missing, is no YAML, or holds something that is no config.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            content = yaml.safe_load(Path(path).read_text("utf-8")) or {}
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        except yaml.YAMLError as error:
            raise UserError(f"{path}: no valid YAML ({' '.join(str(error).split())})") from None
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: expected keys and values, got {type(content).__name__}")
        merged = _merged(merged, content)
    return effective(merged, paths)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one config over another key by key, as Snakemake does."""
    both = {
        key: _merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
    }
    return {**below, **above, **both}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def _fill(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a config over the defaults, section by section; `tasks` has no default."""
    merged = dict(default)
    for key, value in given.items():
        section = key in SECTIONS and isinstance(value, Mapping)
        merged[key] = {**default[key], **value} if section else value
    return merged


def _numbers(value: Any, schema: Mapping[str, Any]) -> Any:
    """Read `1e-5` and `60.0` as what they mean: YAML takes one as text, the other as a fraction."""
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties") or {}
        return {key: _numbers(item, known.get(key, rest)) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item, schema.get("items", {})) for item in value]
    wanted = schema.get("type", "")
    is_text = isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value)
    if is_text and ("number" in wanted or "integer" in wanted):
        value = float(value)
    if "integer" in wanted and isinstance(value, float) and value.is_integer():
        value = int(value)
    # No setting may be infinite or NaN; as texts they are refused with the rest.
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


Problem = tuple[list[str], str]


def _schema_problems(config: Any, schema: Mapping[str, Any]) -> Iterator[Problem]:
    validator = jsonschema.Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        path = [str(part) for part in error.path]
        if error.validator == "additionalProperties":
            known = sorted(_of(error)["properties"])
            for key in sorted(set(error.instance) - set(known)):
                yield [*path, key], f"unknown key{_nearest(key, known)}"
        elif error.validator == "required":
            # One error for each missing key, and only its message tells which.
            yield [*path, error.message.split("'")[1]], "this key is required"
        else:
            yield path or ["(config)"], _expectation(error)


# What a value should have been, by the schema's keyword.
_EXPECTED = {
    "minimum": "expected {} or more",
    "exclusiveMinimum": "expected more than {}",
    "maximum": "expected {} or less",
    "exclusiveMaximum": "expected less than {}",
    "minItems": "expected at least {} item(s)",
    "uniqueItems": "expected no value twice",
}


def _expectation(error: jsonschema.ValidationError) -> str:
    wanted: Any = error.validator_value
    hint = ""
    if error.validator == "type":
        expected = f"expected {' or '.join(wanted) if isinstance(wanted, list) else wanted}"
    elif error.validator == "enum":
        expected = f"expected one of {', '.join(map(str, wanted))}"
        hint = _nearest(error.instance, wanted)
    elif error.validator == "pattern":
        expected = str(_of(error).get("patternHint", f"expected a text like {wanted}"))
    else:
        expected = _EXPECTED.get(str(error.validator), error.message).format(wanted)
    return f"{expected}, got {error.instance!r}{hint}"


def _of(error: jsonschema.ValidationError) -> Mapping[str, Any]:
    """Return the part of the schema that was not met."""
    return error.schema if isinstance(error.schema, Mapping) else {}


def _nearest(word: Any, known: Sequence[Any]) -> str:
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; valid: {', '.join(map(str, known))}"


def _cross_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what no single key can show."""
    train = config["train"]
    if train["epochs"] > train["schedule_epochs"] and train["final_rate"] == 0:
        yield (
            ["train", "epochs"],
            f"{train['epochs']} epochs outlast the schedule of {train['schedule_epochs']}, at "
            "whose end the rate is 0; raise train.schedule_epochs or train.final_rate",
        )
    if train["devices"] > 1 and train["precision"] == "fp16":
        text = (
            "fp16 skips steps, which several devices cannot agree on; set bf16, or train.devices: 1"
        )
        yield ["train", "precision"], text
    yield from _trunk_problems(config["model"])
    for name, task in config["tasks"].items():
        yield from _task_problems(name, task)
    for section, kinds in SECTIONS.items():
        for kind in kinds:
            try:
                options: Any = build(kind, config[section])
                if kind is ModelOptions:
                    resolve(options, parse_tasks(config["tasks"]), vocab_size=1, max_tokens=1)
            except UserError as error:
                key, _, text = str(error).partition(": ")
                named = key.startswith(f"{section}.")
                yield (key.split("."), text) if named else ([section], str(error))


def _trunk_problems(model: Mapping[str, Any]) -> Iterator[Problem]:
    if model["freeze_after"] == 0 and not model["pretrained"]:
        text = "0 freezes a trunk that has learned nothing; set model.pretrained, or 1 and more"
        yield ["model", "freeze_after"], text
    if model["pretrained"] == sentences.ENCODER and model["freeze_after"] != 0:
        yield ["model", "freeze_after"], "a sentence encoder never learns; set 0"
    for key in ("dimension", "layers", "attention_heads", "feedforward"):
        if model["pretrained"] and model[key] is not None:
            yield ["model", key], "a pretrained trunk has its own size; remove the key"


def _task_problems(name: str, task: Mapping[str, Any]) -> Iterator[Problem]:
    classes = task.get("classes", [])
    if task["kind"] != "regression" and len(classes) < (1 if task["kind"] == "multilabel" else 2):
        yield ["tasks", name, "classes"], f"a {task['kind']} task needs its classes named"
    if task.get("normalize") and task["kind"] != "distribution":
        yield ["tasks", name, "normalize"], "only a distribution can be normalized"
    if task.get("transform") and (task["kind"] != "regression" or len(classes) < 2):
        yield ["tasks", name, "transform"], "needs kind: regression and the classes counted"


def _signal_task(config: Mapping[str, Any]) -> str | bool:
    """Name the task that the signal chain serves: the first in the file, whatever order follows."""
    tasks = parse_tasks(config["tasks"])
    served = resolve(build(ModelOptions, config["model"]), tasks, vocab_size=1, max_tokens=1)
    return served.signal_task or False


class _Origin:
    """Tells which of several config files a key came from: the last that holds it."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.contents = [
            (str(path), yaml.safe_load(Path(path).read_text("utf-8")) or {}) for path in paths
        ]

    def of(self, path: Sequence[str]) -> str:
        for depth in range(len(path), 0, -1):
            for name, content in reversed(self.contents):
                if _holds(content, path[:depth]):
                    return f"{name}: "
        return f"{self.contents[-1][0]}: " if self.contents else ""


def _holds(content: Any, path: Sequence[str]) -> bool:
    for key in path:
        if isinstance(content, list) and key.isdigit() and int(key) < len(content):
            content = content[int(key)]
        elif isinstance(content, Mapping) and key in content:
            content = content[key]
        else:
            return False
    return True
