"""What is wrong with a config, key by key, and in which file the key stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

from redheart.encoding import sentences
from redheart.errors import UserError, did_you_mean
from redheart.recipe.build import build
from redheart.recipe.model_options import ModelOptions, resolve
from redheart.tasks.task import parse_tasks
from redheart.workflow.sections import SECTIONS

# Snakemake plans about a thousand jobs in a second.
MOST_JOBS = 10_000

Problem = tuple[list[str], str]


def schema_problems(config: Any, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield each breach of the schema: the key, and what is wrong with it."""
    validator = jsonschema.Draft202012Validator(schema)
    told: set[tuple[str, ...]] = set()
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        path = [str(part) for part in error.path]
        if error.validator == "additionalProperties":
            keys = sorted(_of(error)["properties"])
            for key in sorted(set(error.instance) - set(keys)):
                yield [*path, key], f"unknown key{did_you_mean(key, keys)}"
        elif error.validator == "required":
            # There is one error for each missing key, and only the message names the key.
            key = error.message.split("'")[1]
            about = _of(error)["properties"][key].get("description", "").rstrip(".")
            yield [*path, key], f"this key is required ({about})"
        elif quotes := _quotes(error):
            # One line tells it of all items of a list.
            key = path[:-1] if isinstance(error.path[-1], int) else path
            if tuple(key) not in told:
                yield key, quotes
            told.add(tuple(key))
        else:
            yield path or ["(config)"], _expectation(error)


def _quotes(error: jsonschema.ValidationError) -> str:
    """Return what to write for a text that YAML read as another value; "" for other errors."""
    wants_text = error.validator == "type" and "string" in str(error.validator_value)
    if not (wants_text and error.path) or isinstance(error.instance, list | dict | None):
        return ""
    if isinstance(error.instance, bool):
        return (
            "expected a text; YAML reads yes, no, on, off, true and false as truth values: write "
            "them in quotes, as in 'yes'"
        )
    kind = "number" if isinstance(error.instance, int | float) else type(error.instance).__name__
    return (
        f"expected a text; YAML reads {error.instance} as a {kind}: write it in quotes, "
        f"'{error.instance}'"
    )


# The expectation that a value did not meet, by the schema's keyword.
_EXPECTED = {
    "minimum": "expected {} or more",
    "exclusiveMinimum": "expected more than {}",
    "maximum": "expected {} or less",
    "exclusiveMaximum": "expected less than {}",
    "minItems": "expected at least {} item(s)",
    "maxItems": "expected at most {} items",
    "minLength": "expected a text that is not empty",
    "minProperties": "expected at least one key with a value",
    "uniqueItems": "expected no value twice",
}
# What a message calls the types of a schema.
_TYPES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "keys with values",
    "null": "null",
}
# A message shows so many characters of a wrong value.
_SHOWN = 60


def _expectation(error: jsonschema.ValidationError) -> str:
    allowed: Any = error.validator_value
    hint = ""
    if error.validator == "type":
        types = allowed if isinstance(allowed, list) else [allowed]
        expected = f"expected {' or '.join(_TYPES[name] for name in types)}"
    elif error.validator == "enum":
        names = ["null" if name is None else str(name) for name in allowed]
        expected = f"expected one of {', '.join(names)}"
        hint = did_you_mean(error.instance, allowed)
    elif error.validator == "pattern":
        expected = str(_of(error).get("patternHint", f"expected a text like {allowed}"))
    else:
        expected = _EXPECTED.get(str(error.validator), error.message).format(allowed)
    if error.validator == "uniqueItems":
        return f"{expected}, got {_shown(_twice(error.instance))} twice"
    return f"{expected}, got {_shown(error.instance)}{hint}"


def _shown(value: Any) -> str:
    """Return a value as a config file has it, and no more of it than fits into a line."""
    words = {None: "null", True: "true", False: "false"}
    is_word = value is None or isinstance(value, bool)
    text = words[value] if is_word else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _twice(values: Any) -> Any:
    return next(value for place, value in enumerate(values) if value in values[:place])


def _of(error: jsonschema.ValidationError) -> Mapping[str, Any]:
    """Return the part of the schema that a value does not meet."""
    return error.schema if isinstance(error.schema, Mapping) else {}


def cross_problems(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the problems that only several keys together show."""
    train = config["train"]
    if train["epochs"] > train["schedule_epochs"] and train["final_rate"] == 0:
        yield (
            ["train", "epochs"],
            f"{train['epochs']} epochs outlast the schedule of {train['schedule_epochs']}, at "
            "whose end the rate is 0; raise train.schedule_epochs or train.final_rate",
        )
    yield from _too_many_jobs(config)
    if train["devices"] > 1 and train["precision"] == "fp16":
        text = (
            "fp16 skips steps, which several devices cannot agree on; set bf16, or train.devices: 1"
        )
        yield ["train", "precision"], text
    yield from _trunk_problems(config["model"])
    if not any(task.get("weight", 1) for task in config["tasks"].values()):
        yield ["tasks"], "every weight is 0, so nothing would be learned; raise one of them"
    for name, task in config["tasks"].items():
        yield from _task_problems(name, task)
    for name, section in SECTIONS.items():
        for kind in section.kinds:
            try:
                options: Any = build(kind, config[name])
                if kind is ModelOptions:
                    resolve(options, parse_tasks(config["tasks"]), vocab_size=1, max_tokens=1)
            except UserError as error:
                key, _, text = str(error).partition(": ")
                names_key = key.startswith((f"{name}.", "tasks."))
                yield (key.split("."), text) if names_key else ([name], str(error))


def _too_many_jobs(config: Mapping[str, Any]) -> Iterator[Problem]:
    train, sweep = config["train"], config["sweep"]
    legs = len(config["seeds"]) * -(-train["epochs"] // train["checkpoint_every"])
    trials = len(sweep["learning_rates"]) * len(sweep["seeds"]) * sweep["rungs"]
    for path, jobs, what, change in (
        (["train", "checkpoint_every"], legs, "checkpoints of all seeds", "raise it"),
        (["sweep", "seeds"], trials, "trials of all rates and rungs", "name fewer"),
    ):
        if jobs > MOST_JOBS:
            yield (
                path,
                f"{jobs:,} {what}: to plan more than {MOST_JOBS:,} takes minutes; {change}",
            )


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


class Origin:
    """Tells from which of several config files a key came: the last one that holds the key."""

    def __init__(self, contents: Sequence[tuple[str, Any]]) -> None:
        self.contents = contents

    def of(self, path: Sequence[str]) -> str:
        """Return the name of the last file with a key, or with the nearest key above it."""
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
